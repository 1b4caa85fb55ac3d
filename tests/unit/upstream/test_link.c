/*
 * upstream/link against a real redis-server, each test with its own. What a real one cannot be made
 * to do is in test_link_faults.c. One thread.
 */
#include "upstream/link.h"

#include "tests/support/redis_server.h"
#include "tests/unit/upstream/support.h"

static struct redis_server redis;

static void
start_redis(const char *const *options)
{
	redis_server_start(&redis, options);
}

static void
finish(void)
{
	fix_destroy_link();
	redis_server_stop(&redis);
}

static void
come_up(void)
{
	start_redis(NULL);
	fix_create("redis://127.0.0.1:%d", redis.port);
	fix_come_up();
}

/* Sends one command and waits for its answer. */
static struct answers
ask(struct hc_slice *argv, size_t argc)
{
	struct answers answers = {0};

	ck_assert_int_eq(send_words(argv, argc, &answers), HC_OK);
	LOOP_UNTIL(answers.n == 1);
	return answers;
}

static char *
filled(size_t len, unsigned seed)
{
	char *value = malloc(len);

	for (size_t i = 0; i < len; i++)
		value[i] = (char)rand_r(&seed);
	return value;
}

/* ---- plain traffic ---- */

START_TEST(link_started_comes_up_named_and_answers)
{
	struct hc_slice getname[] = {HC_SLICE("CLIENT"), HC_SLICE("GETNAME")};
	struct answers answers = {0};

	start_redis(NULL);
	fix_create("redis://127.0.0.1:%d", redis.port);
	ck_assert_int_eq(hc_link_state(fix.link), HC_LINK_CLOSED);
	ck_assert_int_eq(send_ping(&answers), HC_DOWN);
	fix_come_up();
	ck_assert_int_eq(hc_link_state(fix.link), HC_LINK_UP);
	ck_assert_str_eq(ask(getname, ARGC(getname)).text, "test");
	ck_assert_int_eq(answers.n, 0);
	ck_assert_uint_eq(stats_now().connects, 1);
	ck_assert_uint_eq(stats_now().failures, 0);
	ck_assert_uint_eq(stats_now().waiting, 0);
	ck_assert_int_eq(fix.ups, 1);
	ck_assert_int_eq(fix.downs, 0);
	finish();
}
END_TEST

static int next_echo;

static void
expect_echo(void *arg, enum hc_status status, const redisReply *reply)
{
	ck_assert_int_eq(status, HC_OK);
	ck_assert_int_eq((int)(intptr_t)arg, next_echo);
	ck_assert_int_eq(atoi(reply->str), next_echo);
	next_echo++;
}

START_TEST(link_pipeline_of_10000_is_answered_in_order)
{
	come_up();
	for (int i = 0; i < 10000; i++) {
		char digits[16];
		int len = snprintf(digits, sizeof(digits), "%d", i);
		struct hc_slice argv[] = {HC_SLICE("ECHO"), hc_slice(digits, (size_t)len)};

		ck_assert_int_eq(hc_link_send(fix.link, argv, 2, expect_echo, (void *)(intptr_t)i), HC_OK);
	}
	ck_assert_uint_eq(stats_now().waiting, 10000);
	LOOP_UNTIL(next_echo == 10000);
	ck_assert_uint_eq(stats_now().waiting, 0);
	finish();
}
END_TEST

struct expected_value {
	const char *ptr;
	size_t len;
	int seen;
};

static void
expect_value(void *arg, enum hc_status status, const redisReply *reply)
{
	struct expected_value *expected = arg;

	ck_assert_int_eq(status, HC_OK);
	ck_assert_uint_eq(reply->len, expected->len);
	ck_assert(memcmp(reply->str, expected->ptr, expected->len) == 0);
	expected->seen++;
}

START_TEST(link_values_of_1_mib_round_trip)
{
	size_t len = 1024 * 1024;
	char *values[8];
	struct expected_value expected[8];
	struct answers sets = {0};

	come_up();
	for (unsigned i = 0; i < 8; i++) {
		char key = (char)('a' + i);
		struct hc_slice set[] = {HC_SLICE("SET"), hc_slice(&key, 1), hc_slice(NULL, len)};
		struct hc_slice get[] = {HC_SLICE("GET"), hc_slice(&key, 1)};

		values[i] = filled(len, i);
		set[2].ptr = values[i];
		expected[i] = (struct expected_value){values[i], len, 0};
		ck_assert_int_eq(send_words(set, 3, &sets), HC_OK);
		ck_assert_int_eq(hc_link_send(fix.link, get, 2, expect_value, &expected[i]), HC_OK);
	}
	LOOP_UNTIL(expected[7].seen == 1);
	ck_assert_int_eq(sets.ok, 8);
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(expected[i].seen, 1);
		free(values[i]);
	}
	ck_assert_uint_ge(stats_now().bytes_in, 8 * len);
	ck_assert_uint_ge(stats_now().bytes_out, 8 * len);
	finish();
}
END_TEST

START_TEST(link_empty_and_binary_arguments_arrive_as_they_are)
{
	struct hc_slice set[] = {HC_SLICE("SET"), HC_SLICE("k\r\n\0k"), {NULL, 0}};
	struct hc_slice strlen_[] = {HC_SLICE("STRLEN"), HC_SLICE("k\r\n\0k")};
	struct hc_slice exists[] = {HC_SLICE("EXISTS"), HC_SLICE("k\r\n\0k")};

	come_up();
	ck_assert_str_eq(ask(set, 3).text, "OK");
	ck_assert_int_eq(ask(strlen_, 2).integer, 0);
	ck_assert_int_eq(ask(exists, 2).integer, 1);
	ck_assert_int_eq(hc_link_send(fix.link, exists, 2, NULL, NULL), HC_OK);
	ck_assert_int_eq(ask(exists, 2).integer, 1);
	finish();
}
END_TEST

START_TEST(link_error_reply_is_an_answer_and_the_link_stays_up)
{
	struct hc_slice argv[] = {HC_SLICE("NOSUCH")};
	struct answers answers;

	come_up();
	answers = ask(argv, 1);
	ck_assert_int_eq(answers.ok, 1);
	ck_assert_int_eq(answers.type, REDIS_REPLY_ERROR);
	ck_assert(hc_link_is_up(fix.link));
	finish();
}
END_TEST

/* ---- URLs ---- */

static void
expect_select(int db)
{
	struct hc_slice argv[] = {HC_SLICE("CLIENT"), HC_SLICE("INFO")};
	char expected[32];

	snprintf(expected, sizeof(expected), " db=%d ", db);
	ck_assert_ptr_nonnull(strstr(ask(argv, 2).text, expected));
}

START_TEST(link_password_and_db_of_the_url_are_used)
{
	const char *options[] = {"--requirepass", "p@ss", NULL};

	start_redis(options);
	fix_create("redis://:p%%40ss@127.0.0.1:%d/3", redis.port);
	fix_come_up();
	expect_select(3);
	finish();
}
END_TEST

START_TEST(link_acl_user_of_the_url_is_used)
{
	const char *options[] = {"--user", "u", "on", ">pw", "~*", "&*", "+@all", NULL};
	struct hc_slice whoami[] = {HC_SLICE("ACL"), HC_SLICE("WHOAMI")};

	start_redis(options);
	fix_create("redis://u:pw@127.0.0.1:%d", redis.port);
	fix_come_up();
	ck_assert_str_eq(ask(whoami, 2).text, "u");
	finish();
}
END_TEST

START_TEST(link_wrong_password_fails_the_attempt_with_redis_words)
{
	const char *options[] = {"--requirepass", "right", NULL};

	start_redis(options);
	fix_create("redis://:wrong@127.0.0.1:%d/1", redis.port);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 3);
	ck_assert_str_eq(fix.why, "WRONGPASS invalid username-password pair or user is disabled.");
	ck_assert_int_eq(fix.ups, 0);
	ck_assert_uint_eq(stats_now().failures, 3);
	ck_assert_uint_eq(stats_now().connects, 0);
	finish();
}
END_TEST

START_TEST(link_missing_password_fails_the_attempt)
{
	const char *options[] = {"--requirepass", "right", NULL};

	start_redis(options);
	fix_create("redis://127.0.0.1:%d", redis.port);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_str_eq(fix.why, "NOAUTH Authentication required.");
	finish();
}
END_TEST

START_TEST(link_db_out_of_range_fails_the_attempt)
{
	start_redis(NULL);
	fix_create("redis://127.0.0.1:%d/99", redis.port);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_str_eq(fix.why, "ERR DB index is out of range");
	finish();
}
END_TEST

START_TEST(link_unix_socket_works_and_a_missing_one_is_retried)
{
	start_redis(NULL);
	redis_server_signal(&redis, SIGKILL);
	unlink(redis.socket);
	fix_create("unix:%s?db=2", redis.socket);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 2);
	ck_assert_str_eq(fix.why, "No such file or directory");
	start_redis(NULL);
	LOOP_UNTIL(fix.ups == 1);
	expect_select(2);
	finish();
}
END_TEST

START_TEST(link_name_from_the_hosts_file_works)
{
	start_redis(NULL);
	fix_create("redis://localhost:%d", redis.port);
	fix_come_up();
	ck_assert_int_eq(fix.downs, 0);
	finish();
}
END_TEST

/* ---- losing it ---- */

START_TEST(link_refused_until_the_server_appears_then_up_by_itself)
{
	redis.port = free_port();
	fix_create("redis://127.0.0.1:%d", redis.port);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 3);
	ck_assert_str_eq(fix.why, "Connection refused");
	ck_assert_int_eq(hc_link_state(fix.link), HC_LINK_BACKOFF);
	start_redis(NULL);
	LOOP_UNTIL(fix.ups == 1);
	ck_assert_int_eq((int)stats_now().failures, fix.downs);
	finish();
}
END_TEST

START_TEST(link_server_killed_fails_each_waiting_once_and_recovers)
{
	struct answers answers[1000] = {0};
	struct answers after = {0};
	int64_t since_ms;

	come_up();
	redis_server_signal(&redis, SIGSTOP);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(send_ping(&answers[i]), HC_OK);
	for (int i = 0; i < 10; i++)
		event_base_loop(fix.base, EVLOOP_ONCE);
	redis_server_signal(&redis, SIGKILL);
	since_ms = stats_now().since_ms;
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_int_gt(stats_now().since_ms, since_ms);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(answers[i].n, 1);
		ck_assert_int_eq(answers[i].first, HC_DOWN);
	}
	ck_assert_int_eq(send_ping(&after), HC_DOWN);
	ck_assert_uint_eq(stats_now().waiting, 0);

	LOOP_UNTIL(fix.downs >= 2);
	start_redis(NULL);
	LOOP_UNTIL(fix.ups == 2);
	ck_assert_int_eq(send_ping(&after), HC_OK);
	LOOP_UNTIL(after.ok == 1);
	ck_assert_int_eq(answers[0].n, 1);
	finish();
}
END_TEST

START_TEST(link_server_stopped_times_out_opens_the_breaker_and_recovers)
{
	struct answers late = {0};
	struct answers rest = {0};
	struct answers after = {0};
	int64_t sent_ms;
	int64_t took_ms;

	come_up();
	for (int i = 0; i < 10; i++) { /* the timer is armed from earlier traffic, as it would be */
		ck_assert_int_eq(send_ping(&after), HC_OK);
		LOOP_UNTIL(after.ok == i + 1);
	}
	fix.config.timeout_ms = 100;
	hc_link_set_times(fix.link, &fix.config);
	redis_server_signal(&redis, SIGSTOP);
	sent_ms = hc_clock_mono_ms();
	ck_assert_int_eq(send_ping(&late), HC_OK);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(send_ping(&rest), HC_OK);
	LOOP_UNTIL(fix.downs == 1);
	took_ms = hc_clock_mono_ms() - sent_ms;
	ck_assert_int_ge(took_ms, 100);
	ck_assert_int_lt(took_ms, 100 + 400);
	ck_assert_int_eq(late.n, 1);
	ck_assert_int_eq(late.timeout, 1);
	ck_assert_int_eq(rest.n, 50);
	ck_assert_int_eq(rest.down, 50);
	ck_assert_uint_eq(stats_now().timeouts, 1);
	ck_assert_int_eq(send_ping(&after), HC_DOWN);
	ck_assert_str_eq(fix.why, "command not answered in time");

	redis_server_signal(&redis, SIGCONT);
	LOOP_UNTIL(fix.ups == 2);
	ck_assert_int_eq(late.n, 1);
	finish();
}
END_TEST

/* A command's time counts from its sending, also when the one before it was sent much earlier. */
START_TEST(link_answers_that_keep_coming_keep_it_up)
{
	struct answers answers = {0};
	int64_t end_ms;
	int sent = 0;

	fix.config.timeout_ms = 400;
	come_up();
	end_ms = hc_clock_mono_ms() + 1000;
	while (hc_clock_mono_ms() < end_ms) {
		ck_assert_int_eq(send_ping(&answers), HC_OK);
		sent++;
		event_base_loop(fix.base, EVLOOP_ONCE);
	}
	LOOP_UNTIL(answers.ok == sent);
	ck_assert_int_eq(fix.downs, 0);
	finish();
}
END_TEST

START_TEST(link_new_timeout_counts_for_what_is_sent_later)
{
	struct answers answers = {0};
	int64_t sent_ms;

	fix.config.timeout_ms = 60000;
	come_up();
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	LOOP_UNTIL(answers.ok == 1);
	fix.config.timeout_ms = fix.config.connect_timeout_ms = 50;
	hc_link_set_times(fix.link, &fix.config);
	redis_server_signal(&redis, SIGSTOP);
	sent_ms = hc_clock_mono_ms();
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	LOOP_UNTIL(answers.timeout == 1);
	ck_assert_int_lt(hc_clock_mono_ms() - sent_ms, 1000);
	/* The server does not come back: the handshake has the new timeout too. */
	LOOP_UNTIL(fix.downs == 2);
	ck_assert_str_eq(fix.why, "handshake not answered in time");
	redis_server_signal(&redis, SIGCONT);
	finish();
}
END_TEST

/* ---- pub/sub ---- */

static struct {
	int subscribed, messages;
	char last[64];
} pushes;

static void
on_push(void *arg, struct hc_link *link, const redisReply *push)
{
	(void)arg;
	(void)link;
	ck_assert_int_eq(push->type, REDIS_REPLY_ARRAY);
	if (strcmp(push->element[0]->str, "message") == 0) {
		pushes.messages++;
		snprintf(pushes.last, sizeof(pushes.last), "%s", push->element[2]->str);
	} else {
		pushes.subscribed++;
	}
}

static void
expect_pong_array(void *arg, enum hc_status status, const redisReply *reply)
{
	ck_assert_int_eq(status, HC_OK);
	ck_assert_int_eq(reply->type, REDIS_REPLY_ARRAY);
	ck_assert_str_eq(reply->element[0]->str, "pong");
	++*(int *)arg;
}

START_TEST(link_subscribed_gets_messages_and_pings_are_answered_in_between)
{
	struct hc_slice subscribe[] = {HC_SLICE("SUBSCRIBE"), HC_SLICE("a"), HC_SLICE("b")};
	struct hc_slice ping[] = {HC_SLICE("PING")};
	struct hc_slice publish[] = {HC_SLICE("PUBLISH"), HC_SLICE("b"), HC_SLICE("hi")};
	struct fixture subscriber;
	struct hc_link *publisher;
	int pongs = 0;

	fix.owner.on_push = on_push;
	come_up();
	ck_assert_int_eq(hc_link_send_push(fix.link, subscribe, 3), HC_OK);
	ck_assert_uint_eq(stats_now().waiting, 1);
	LOOP_UNTIL(pushes.subscribed == 2);
	ck_assert_uint_eq(stats_now().waiting, 0);

	subscriber = fix;
	ck_assert_int_eq(hc_link_create(fix.base, &fix.config, &fix.owner, &publisher), HC_OK);
	hc_link_start(publisher);
	LOOP_UNTIL(fix.ups == 2);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(hc_link_send(publisher, publish, 3, NULL, NULL), HC_OK);
		ck_assert_int_eq(hc_link_send(subscriber.link, ping, 1, expect_pong_array, &pongs), HC_OK);
		if (i % 10 == 0)
			event_base_loop(fix.base, EVLOOP_ONCE);
	}
	LOOP_UNTIL(pongs == 100 && pushes.messages == 100);
	ck_assert_str_eq(pushes.last, "hi");
	ck_assert_int_eq(fix.downs, 0);
	hc_link_destroy(publisher);
	finish();
}
END_TEST

START_TEST(link_subscription_refused_fails_the_connection_not_the_command_behind_it)
{
	const char *options[] = {"--user", "u", "on", ">pw", "~*", "resetchannels", "&allowed", "+@all", NULL};
	struct hc_slice allowed[] = {HC_SLICE("SUBSCRIBE"), HC_SLICE("allowed"), HC_SLICE("allowed")};
	struct hc_slice refused[] = {HC_SLICE("SUBSCRIBE"), HC_SLICE("refused")};
	struct answers ping = {0};

	fix.owner.on_push = on_push;
	start_redis(options);
	fix_create("redis://u:pw@127.0.0.1:%d", redis.port);
	fix_come_up();
	ck_assert_int_eq(hc_link_send_push(fix.link, allowed, 3), HC_OK);
	ck_assert_int_eq(hc_link_send_push(fix.link, refused, 2), HC_OK);
	ck_assert_int_eq(send_ping(&ping), HC_OK);
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_int_eq(pushes.subscribed, 2);
	ck_assert_ptr_eq(strstr(fix.why, "NOPERM"), fix.why);
	ck_assert_int_eq(ping.n, 1);
	ck_assert_int_eq(ping.down, 1);
	finish();
}
END_TEST

static void
expect_three(void *arg, enum hc_status status, const redisReply *reply)
{
	ck_assert_int_eq(status, HC_OK);
	ck_assert_uint_eq(reply->elements, 3);
	++*(int *)arg;
}

START_TEST(link_value_that_looks_like_a_push_is_an_answer)
{
	struct hc_slice set[] = {HC_SLICE("SET"), HC_SLICE("k"), HC_SLICE("message")};
	struct hc_slice mget[] = {HC_SLICE("MGET"), HC_SLICE("k"), HC_SLICE("k"), HC_SLICE("k")};
	int seen = 0;

	fix.owner.on_push = on_push;
	come_up();
	ask(set, 3);
	ck_assert_int_eq(hc_link_send(fix.link, mget, 4, expect_three, &seen), HC_OK);
	LOOP_UNTIL(seen == 1);
	ck_assert_int_eq(pushes.messages, 0);
	finish();
}
END_TEST

int
main(void)
{
	const TTest *const list[] = {
	    link_started_comes_up_named_and_answers,
	    link_pipeline_of_10000_is_answered_in_order,
	    link_values_of_1_mib_round_trip,
	    link_empty_and_binary_arguments_arrive_as_they_are,
	    link_error_reply_is_an_answer_and_the_link_stays_up,
	    link_password_and_db_of_the_url_are_used,
	    link_acl_user_of_the_url_is_used,
	    link_wrong_password_fails_the_attempt_with_redis_words,
	    link_missing_password_fails_the_attempt,
	    link_db_out_of_range_fails_the_attempt,
	    link_unix_socket_works_and_a_missing_one_is_retried,
	    link_name_from_the_hosts_file_works,
	    link_refused_until_the_server_appears_then_up_by_itself,
	    link_server_killed_fails_each_waiting_once_and_recovers,
	    link_server_stopped_times_out_opens_the_breaker_and_recovers,
	    link_answers_that_keep_coming_keep_it_up,
	    link_new_timeout_counts_for_what_is_sent_later,
	    link_subscribed_gets_messages_and_pings_are_answered_in_between,
	    link_subscription_refused_fails_the_connection_not_the_command_behind_it,
	    link_value_that_looks_like_a_push_is_an_answer,
	};

	return run_cases("link", list, sizeof(list) / sizeof(list[0]), NULL);
}
