/*
 * upstream/link against a server that misbehaves, and with allocations that fail.
 */
#include "upstream/link.h"

#include <unistd.h>
#include "base/mem.h"
#include "tests/unit/upstream/fake_upstream.h"

/* ---- attempts that fail ---- */

/* Answers the whole handshake with `arg`, and closes. */
static void
serve_answer(int fd, void *arg)
{
	if (fake_read_until(fd, "PING\r\n"))
		fake_print(fd, arg);
}

static void
serve_answer_and_wait(int fd, void *arg)
{
	serve_answer(fd, arg);
	fake_wait_for_end(fd);
}

static const struct {
	const char *answer;
	const char *why; /* its beginning */
} bad_handshakes[] = {
    {FAKE_INTRODUCED "-LOADING Redis is loading the dataset in memory\r\n", "LOADING Redis is loading"},
    {FAKE_INTRODUCED "-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN Link"},
    {FAKE_INTRODUCED "+OK\r\n", "protocol error: PING"},
    {FAKE_INTRODUCED "$4\r\nPONG\r\n", "protocol error: PING"},
    {FAKE_INTRODUCED "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "protocol error: PING"},
    {"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error"},
    {"\0\0\0\0", "closed by the server"},
    {FAKE_INTRODUCED "+PO", "closed by the server"},
    {"-ERR max number of clients reached\r\n", "ERR max number of clients"},
};

START_TEST(link_bad_handshake_fails_the_attempt_once)
{
	start(serve_answer, (void *)bad_handshakes[_i].answer);
	hc_link_start(fix.link);
	for (int n = 1; n <= 3; n++) {
		LOOP_UNTIL(fix.downs == n);
		ck_assert_msg(strstr(fix.why, bad_handshakes[_i].why) == fix.why, "%s", fix.why);
		ck_assert_int_eq(hc_link_state(fix.link), HC_LINK_BACKOFF);
	}
	ck_assert_int_eq(fix.ups, 0);
	finish();
}
END_TEST

START_TEST(link_unknown_name_command_is_ignored)
{
	start(serve_answer_and_wait, "-ERR unknown command 'CLIENT'\r\n-ERR unknown command 'CLIENT'\r\n"
				     "-NOPERM not allowed\r\n+PONG\r\n");
	fix_come_up();
	ck_assert_int_eq(fix.downs, 0);
	finish();
}
END_TEST

START_TEST(link_error_that_quotes_the_password_is_cut)
{
	fake_server_start(
	    &fake, serve_answer_and_wait, "-ERR unknown command 'AUTH', with args beginning with: 'secret' \r\n");
	fix_create("redis://:secret@127.0.0.1:%d", fake.port);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_str_eq(fix.why, "ERR unknown command 'AUTH'");
	finish();
}
END_TEST

START_TEST(link_server_that_never_answers_fails_each_attempt_in_time)
{
	int64_t started_ms = hc_clock_mono_ms();

	fix.config.connect_timeout_ms = 50;
	start(serve_silence, NULL);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 2);
	ck_assert_int_ge(hc_clock_mono_ms() - started_ms, 100);
	ck_assert_int_lt(hc_clock_mono_ms() - started_ms, 1000);
	ck_assert_str_eq(fix.why, "handshake not answered in time");
	finish();
}
END_TEST

START_TEST(link_failing_attempts_back_off)
{
	int64_t started_ms;

	fix.config.backoff_min_ms = 10;
	fix.config.backoff_max_ms = 80;
	start(serve_close, NULL);
	started_ms = hc_clock_mono_ms();
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 6); /* least: 10 + 20 + 40 + 40 + 40 */
	ck_assert_int_ge(hc_clock_mono_ms() - started_ms, 150);
	ck_assert_int_le(fake.accepted, 6);
	finish();
}
END_TEST

/* ---- connections that fail ---- */

static const struct {
	const char *answer;
	const char *why;
	int ok, down;
} bad_replies[] = {
    {"", "closed by the server", 0, 2},
    {"$100\r\nhalf a reply", "closed by the server", 0, 2},
    {"*3\r\n:1\r\n*2\r\n+x\r\n", "closed by the server", 0, 2},
    {"garbage\r\n", "Protocol error", 0, 2},
    {"+PONG\r\n?\r\n", "Protocol error", 1, 1},
    {"$-2\r\n", "Bulk string length out of range", 0, 2},
    {"*-2\r\n", "Multi-bulk length out of range", 0, 2},
    {":12x\r\n", "Bad integer value", 0, 2},
    {"+1\r\n+2\r\n+3\r\n", "protocol error: a reply nobody waits for", 2, 0},
    {"+1\r\n+2\r\n-ERR shutting down\r\n", "ERR shutting down", 2, 0},
};

START_TEST(link_bad_reply_fails_the_connection_and_each_waiting_once)
{
	struct answers answers = {0};

	start(serve_once, (void *)bad_replies[_i].answer);
	fix_come_up();
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_msg(strstr(fix.why, bad_replies[_i].why) == fix.why, "%s", fix.why);
	ck_assert_int_eq(answers.ok, bad_replies[_i].ok);
	ck_assert_int_eq(answers.down, bad_replies[_i].down);
	ck_assert_uint_eq(stats_now().waiting, 0);
	LOOP_UNTIL(fix.ups == 2);
	finish();
}
END_TEST

/* ---- replies in pieces ---- */

static const char stream[] = "+OK\r\n$5\r\nh\r\nlo\r\n*3\r\n:-7\r\n$-1\r\n*1\r\n$0\r\n\r\n-ERR no\r\n:42\r\n";
#define STREAM_LEN (sizeof(stream) - 1)
#define STREAM_REPLIES 5

static void
serve_bytes(int fd, void *arg)
{
	(void)arg;
	if (!fake_handshake(fd))
		return;
	for (int i = 0; i < STREAM_REPLIES; i++) {
		if (!fake_read_until(fd, "PING\r\n"))
			return;
	}
	for (size_t i = 0; i < STREAM_LEN; i++)
		fake_write(fd, stream + i, 1);
	fake_wait_for_end(fd);
}

static int stream_seen;

static void
expect_stream(void *arg, enum hc_status status, const redisReply *reply)
{
	int i = stream_seen++ % STREAM_REPLIES;

	ck_assert_int_eq(status, HC_OK);
	ck_assert_int_eq((int)(intptr_t)arg, i);
	switch (i) {
	case 0:
		ck_assert_str_eq(reply->str, "OK");
		break;
	case 1:
		ck_assert_str_eq(reply->str, "h\r\nlo");
		break;
	case 2:
		ck_assert_uint_eq(reply->elements, 3);
		ck_assert_int_eq(reply->element[0]->integer, -7);
		ck_assert_int_eq(reply->element[1]->type, REDIS_REPLY_NIL);
		ck_assert_uint_eq(reply->element[2]->elements, 1);
		break;
	case 3:
		ck_assert_int_eq(reply->type, REDIS_REPLY_ERROR);
		break;
	case 4:
		ck_assert_int_eq(reply->integer, 42);
		break;
	}
}

static void
ask_for_stream(void)
{
	struct hc_slice argv[] = {HC_SLICE("PING")};

	for (int i = 0; i < STREAM_REPLIES; i++)
		ck_assert_int_eq(hc_link_send(fix.link, argv, 1, expect_stream, (void *)(intptr_t)i), HC_OK);
}

START_TEST(link_replies_byte_by_byte_are_understood)
{
	start(serve_bytes, NULL);
	fix_come_up();
	ask_for_stream();
	LOOP_UNTIL(stream_seen == STREAM_REPLIES);
	finish();
}
END_TEST

/* Round i: the stream cut after i bytes; the rest follows when the client says that it has read the
 * first part. */
static void
serve_splits(int fd, void *arg)
{
	const int *go = arg;
	char byte;

	if (!fake_handshake(fd))
		return;
	for (size_t i = 1; i < STREAM_LEN; i++) {
		for (int n = 0; n < STREAM_REPLIES; n++) {
			if (!fake_read_until(fd, "PING\r\n"))
				return;
		}
		fake_write(fd, stream, i);
		if (read(*go, &byte, 1) != 1)
			return;
		fake_write(fd, stream + i, STREAM_LEN - i);
	}
	fake_wait_for_end(fd);
}

START_TEST(link_every_split_of_a_reply_stream_is_understood)
{
	int go[2];

	ck_assert_int_eq(pipe(go), 0);
	start(serve_splits, &go[0]);
	fix_come_up();
	for (size_t i = 1; i < STREAM_LEN; i++) {
		uint64_t mark = stats_now().bytes_in;

		ask_for_stream();
		LOOP_UNTIL(stats_now().bytes_in == mark + i);
		ck_assert_int_eq((int)write(go[1], "x", 1), 1);
		LOOP_UNTIL(stream_seen == (int)i * STREAM_REPLIES);
	}
	ck_assert_int_eq(fix.downs, 0);
	finish();
	close(go[0]);
	close(go[1]);
}
END_TEST

/* ---- backing off ---- */

START_TEST(link_lost_after_it_was_up_backs_off_from_the_least_again)
{
	struct answers answers = {0};
	int64_t lost_ms;

	fix.config.backoff_min_ms = 1;
	fix.config.backoff_max_ms = 1 << 30;
	start(serve_close, NULL);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 11); /* the delay after the next would be at least two seconds */
	fake.arg = "";
	fake.serve = serve_once;
	LOOP_UNTIL(fix.ups == 1);
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	LOOP_UNTIL(fix.downs == 12);
	lost_ms = hc_clock_mono_ms();
	LOOP_UNTIL(fix.ups == 2);
	ck_assert_int_lt(hc_clock_mono_ms() - lost_ms, 1200);
	finish();
}
END_TEST

static void
serve_greeting(int fd, void *arg)
{
	(void)arg;
	if (fake_handshake(fd))
		fake_wait_for_end(fd);
}

static void
ask_at_once(void *arg, struct hc_link *link)
{
	const struct hc_slice ping[] = {HC_SLICE("PING")};

	count_up(arg, link);
	ck_assert_int_eq(hc_link_send(link, ping, 1, NULL, NULL), HC_OK);
}

START_TEST(link_server_that_greets_and_hangs_is_tried_less_and_less)
{
	int64_t started_ms;

	fix.config.backoff_min_ms = 10;
	fix.config.backoff_max_ms = 80;
	fix.config.timeout_ms = 5;
	fix.owner.on_up = ask_at_once;
	start(serve_greeting, NULL);
	started_ms = hc_clock_mono_ms();
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 6); /* least: 10 + 20 + 40 + 40 + 40, and the timeouts */
	ck_assert_int_ge(hc_clock_mono_ms() - started_ms, 150 + 6 * 5);
	ck_assert_int_eq(fix.ups, 6);
	finish();
}
END_TEST

static enum hc_breaker breakers[64];
static size_t n_breakers;

static void
note_breaker(void *arg, enum hc_link_state from, enum hc_link_state to)
{
	(void)arg;
	if (hc_link_breaker_of(from) == hc_link_breaker_of(to))
		return;
	ck_assert_uint_lt(n_breakers, ARGC(breakers));
	breakers[n_breakers++] = hc_link_breaker_of(to);
}

START_TEST(link_breaker_lets_one_probe_through_while_it_is_half_open)
{
	static const enum hc_breaker expected[] = {HC_BREAKER_HALF_OPEN, HC_BREAKER_OPEN, HC_BREAKER_HALF_OPEN,
	    HC_BREAKER_OPEN, HC_BREAKER_HALF_OPEN, HC_BREAKER_CLOSED, HC_BREAKER_OPEN, HC_BREAKER_HALF_OPEN};
	struct answers answers = {0};

	n_breakers = 0;
	fix.config.connect_timeout_ms = 30;
	fix.owner.on_state = note_breaker;
	start(serve_silence, NULL);
	hc_link_start(fix.link);
	while (fix.downs < 2) {
		ck_assert_int_eq(send_ping(&answers), HC_DOWN); /* at once, be it open or half-open */
		event_base_loop(fix.base, EVLOOP_ONCE);
	}
	fake.arg = "";
	fake.serve = serve_once;
	fix.config.connect_timeout_ms = 2000;
	hc_link_set_times(fix.link, &fix.config);
	LOOP_UNTIL(fix.ups == 1);
	ck_assert_int_eq(hc_link_breaker_of(hc_link_state(fix.link)), HC_BREAKER_CLOSED);
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	LOOP_UNTIL(n_breakers >= ARGC(expected));
	ck_assert_mem_eq(breakers, expected, sizeof(expected));
	finish();
}
END_TEST

/* ---- allocations that fail ---- */

static void *
faulty_malloc(size_t size)
{
	return hc_malloc(size);
}

static void *
faulty_realloc(void *ptr, size_t size)
{
	return hc_realloc(ptr, size);
}

/* One life of a link; false when it could not be created. Else it comes up and answers, whatever
 * fails. */
static bool
live(int commands)
{
	struct answers answers = {0};
	int sent = 0;

	if (hc_link_create(fix.base, &fix.config, &fix.owner, &fix.link) != HC_OK)
		return false;
	hc_link_start(fix.link);
	LOOP_UNTIL(hc_link_is_up(fix.link));
	for (int i = 0; i < commands; i++) {
		enum hc_status status = send_ping(&answers);

		ck_assert(status == HC_OK || status == HC_NOMEM);
		sent += status == HC_OK;
	}
	LOOP_UNTIL(answers.n == sent);
	fix_destroy_link();
	return true;
}

START_TEST(link_any_allocation_failing_is_survived)
{
	int failed_creates = 0;

	fake_server_start(&fake, serve_pongs, NULL);
	fix_parse("redis://%s:%d", _i ? "localhost" : "127.0.0.1", fake.port);
	fix.config.connect_timeout_ms = fix.config.timeout_ms = 100;
	for (long k = 1; k <= 150; k++) {
		hc_mem_fail_after(k);
		failed_creates += !live(300);
		hc_mem_fail_after(0);
	}
	ck_assert_int_eq(failed_creates, 2); /* the link and its event */
	fake_server_stop(&fake);
}
END_TEST

int
main(void)
{
	const TTest *const list[] = {
	    link_unknown_name_command_is_ignored,
	    link_error_that_quotes_the_password_is_cut,
	    link_server_that_never_answers_fails_each_attempt_in_time,
	    link_failing_attempts_back_off,
	    link_replies_byte_by_byte_are_understood,
	    link_every_split_of_a_reply_stream_is_understood,
	    link_lost_after_it_was_up_backs_off_from_the_least_again,
	    link_server_that_greets_and_hangs_is_tried_less_and_less,
	    link_breaker_lets_one_probe_through_while_it_is_half_open,
	};
	TCase *tables = tcase_create("tables");

	/* libevent's allocations fail like ours. */
	event_set_mem_functions(faulty_malloc, faulty_realloc, hc_free);
	tcase_add_checked_fixture(tables, fix_setup, fix_teardown);
	tcase_add_loop_test(tables, link_bad_handshake_fails_the_attempt_once, 0, (int)ARGC(bad_handshakes));
	tcase_add_loop_test(
	    tables, link_bad_reply_fails_the_connection_and_each_waiting_once, 0, (int)ARGC(bad_replies));
	tcase_add_loop_test(tables, link_any_allocation_failing_is_survived, 0, 2);
	return run_cases("link_faults", list, sizeof(list) / sizeof(list[0]), tables);
}
