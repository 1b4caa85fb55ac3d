/*
 * upstream/stragglers.h, and what upstream/link.h says of them: what a connection that was given up has sent is ended
 * at the server before the next one is up. With a server that misbehaves as told, and with a real redis-server that
 * hangs.
 */
#include "tests/support/fake_server.h"
#include "tests/support/redis_server.h"
#include "tests/unit/upstream/support.h"

#define LIFE "0123456789012345678901234567890123456789"
#define ANOTHER_LIFE "abcdefabcdefabcdefabcdefabcdefabcdefabcd"

#define PING "*1\r\n$4\r\nPING\r\n"
#define KILL_1 "*4\r\n$6\r\nCLIENT\r\n$4\r\nKILL\r\n$2\r\nID\r\n$1\r\n1\r\n"

static struct fake_server fake;
static struct hc_stragglers *stragglers;
static _Atomic int kills; /* met by the server */

static void
tell_stragglers(void)
{
	ck_assert_int_eq(hc_stragglers_create(3, &stragglers), HC_OK);
	fix.config.stragglers = stragglers;
	fix.config.number = 1;
}

static void
start(fake_serve_fn *serve, const void *arg)
{
	kills = 0;
	tell_stragglers();
	fake_server_start(&fake, serve, (void *)(uintptr_t)arg);
	fix_create("127.0.0.1:%d", fake.port);
}

static void
finish(void)
{
	fix_destroy_link();
	fake_server_stop(&fake);
	hc_stragglers_destroy(stragglers);
}

/* A script: what it says of who is who, in the first life of the connection and in the second. */
struct script {
	const char *first, *second;
	bool ends;            /* it is to be asked to */
	const char *end_said; /* its answer; NULL: none */
};

static bool
introduce(int fd, const char *text)
{
	if (!fake_read_until(fd, "server\r\n"))
		return false;
	fake_print(fd, text);
	return true;
}

/* The first connection is greeted, and then not answered; those that follow are. */
static void
serve_script(int fd, void *arg)
{
	const struct script *script = arg;

	if (fake.accepted == 1) {
		if (!introduce(fd, script->first) || !fake_read_until(fd, PING))
			return;
		fake_print(fd, "+PONG\r\n");
		fake_wait_for_end(fd);
		return;
	}
	if (!introduce(fd, script->second))
		return;
	if (script->ends) {
		if (!fake_read_until(fd, KILL_1))
			return;
		kills++;
		if (script->end_said == NULL) {
			fake_wait_for_end(fd);
			return;
		}
		fake_print(fd, script->end_said);
	}
	/* These bytes and no others. */
	if (!fake_read_bytes(fd, strlen(PING)))
		return;
	fake_print(fd, "+PONG\r\n");
	while (fake_read_until(fd, "PING\r\n"))
		fake_print(fd, "+PONG\r\n");
}

#define SOON_MS 50      /* for what is not to be answered in time … */
#define PATIENT_MS 5000 /* … and for what is, by a machine with much else to do */

static void
set_timeout(int64_t ms)
{
	fix.config.timeout_ms = ms;
	hc_link_set_times(fix.link, &fix.config);
}

/* Comes up, sends what is not answered in time, and returns when that is known. */
static void
give_up(void)
{
	struct answers answers = {0};

	fix_come_up();
	ck_assert(!hc_stragglers_any(stragglers));
	set_timeout(SOON_MS);
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	LOOP_UNTIL(answers.n == 1);
	ck_assert_int_eq(answers.timeout, 1);
	ck_assert(hc_stragglers_any(stragglers));
	set_timeout(PATIENT_MS);
}

static const struct script scripts[] = {
    {FAKE_INTRODUCTION("1", LIFE), FAKE_INTRODUCTION("2", LIFE), true, ":1\r\n"},
    {FAKE_INTRODUCTION("1", LIFE), FAKE_INTRODUCTION("2", LIFE), true, ":0\r\n"},
    {FAKE_INTRODUCTION("1", LIFE), FAKE_INTRODUCTION("2", LIFE), true, "-NOPERM this user has no permissions\r\n"},
    {FAKE_INTRODUCTION("1", LIFE), FAKE_INTRODUCTION("2", LIFE), true, "+OK\r\n"},
    /* Another server, or another life: the number is somebody else's. */
    {FAKE_INTRODUCTION("1", LIFE), FAKE_INTRODUCTION("2", ANOTHER_LIFE), false, NULL},
    {FAKE_INTRODUCTION("1", LIFE), FAKE_INTRODUCTION("1", ANOTHER_LIFE), false, NULL},
    /* It does not tell. */
    {"+OK\r\n-NOPERM no\r\n-NOPERM no\r\n", FAKE_INTRODUCTION("2", LIFE), false, NULL},
    {FAKE_INTRODUCTION("1", LIFE), "+OK\r\n:2\r\n-NOPERM no\r\n", false, NULL},
    {"+OK\r\n-NOPERM no\r\n$59\r\n# Server\r\nrun_id:" LIFE "\r\n\r\n", FAKE_INTRODUCTION("2", LIFE), false, NULL},
    {"+OK\r\n:1\r\n$20\r\n# Server\r\nrun_id:1\r\n\r\n", "+OK\r\n:2\r\n$20\r\n# Server\r\nrun_id:1\r\n\r\n", false,
	NULL},
    {"+OK\r\n+1\r\n:1\r\n", "+OK\r\n:2\r\n*0\r\n", false, NULL},
};

START_TEST(stragglers_are_ended_before_the_next_connection_is_up)
{
	const struct script *script = &scripts[_i];
	struct answers answers = {0};

	start(serve_script, script);
	give_up();
	fix_come_up();
	ck_assert_int_eq(kills, script->ends);
	ck_assert(!hc_stragglers_any(stragglers));
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	LOOP_UNTIL(answers.n == 1);
	ck_assert_int_eq(answers.ok, 1);
	finish();
}
END_TEST

START_TEST(stragglers_that_were_not_ended_are_asked_for_again)
{
	static const struct script script = {FAKE_INTRODUCTION("1", LIFE), FAKE_INTRODUCTION("2", LIFE), true, NULL};

	fix.config.connect_timeout_ms = 50;
	start(serve_script, &script);
	give_up();
	LOOP_UNTIL(kills == 3); /* of the same connection each time: serve_script() takes no other */
	ck_assert_int_eq(fix.ups, 1);
	ck_assert(hc_stragglers_any(stragglers));
	finish();
}
END_TEST

/* Greets, answers one command, and ends the connection. */
static void
serve_one_each(int fd, void *arg)
{
	(void)arg;
	if (!introduce(fd, FAKE_INTRODUCED))
		return;
	if (!fake_read_bytes(fd, strlen(PING)))
		return;
	fake_print(fd, "+PONG\r\n");
	if (fake_read_until(fd, PING))
		fake_print(fd, "+PONG\r\n");
}

START_TEST(stragglers_are_none_when_all_was_answered)
{
	start(serve_one_each, NULL);
	for (int n = 1; n <= 3; n++) {
		struct answers answers = {0};
		fix_come_up();
		ck_assert_int_eq(send_ping(&answers), HC_OK);
		LOOP_UNTIL(fix.downs == n);
		ck_assert_int_eq(answers.ok, 1);
		ck_assert(!hc_stragglers_any(stragglers));
	}
	finish();
}
END_TEST

/* ---- who has left some ---- */

START_TEST(stragglers_count_by_link)
{
	const struct hc_peer peers[] = {{7, LIFE}, {8, LIFE}};
	struct hc_peer peer;
	unsigned link = 0;

	ck_assert_int_eq(hc_stragglers_create(3, &stragglers), HC_OK);
	ck_assert(!hc_stragglers_any(stragglers) && !hc_stragglers_find(stragglers, &link, &peer));
	hc_stragglers_ended(stragglers, 2, 0); /* there are none */
	hc_stragglers_left(stragglers, 2, &peers[0]);
	hc_stragglers_left(stragglers, 1, &peers[1]);
	ck_assert(hc_stragglers_find(stragglers, &link, &peer) && link == 1 && peer.client_id == 8);
	link++;
	ck_assert(hc_stragglers_find(stragglers, &link, &peer) && link == 2 && peer.client_id == 7);
	link++;
	ck_assert(!hc_stragglers_find(stragglers, &link, &peer));
	hc_stragglers_ended(stragglers, 2, 8); /* not that one */
	hc_stragglers_ended(stragglers, 1, 8);
	ck_assert(hc_stragglers_any(stragglers));
	hc_stragglers_ended(stragglers, 2, 0);
	ck_assert(!hc_stragglers_any(stragglers));
	hc_stragglers_ended(stragglers, 2, 0);
	ck_assert(!hc_stragglers_any(stragglers));
	hc_stragglers_destroy(stragglers);
}
END_TEST

START_TEST(stragglers_write_keys_until_all_have_ended)
{
	const struct hc_peer peer = {7, LIFE};

	ck_assert_int_eq(hc_stragglers_create(2, &stragglers), HC_OK);
	hc_stragglers_write(stragglers, 1); /* there are none */
	ck_assert(!hc_stragglers_may_write(stragglers, 1));
	hc_stragglers_left(stragglers, 0, &peer);
	hc_stragglers_left(stragglers, 1, &peer);
	for (uint64_t hash = 1; hash != 0; hash <<= 1)
		hc_stragglers_write(stragglers, hash);
	for (uint64_t hash = 1; hash != 0; hash <<= 1)
		ck_assert(hc_stragglers_may_write(stragglers, hash));
	ck_assert(!hc_stragglers_may_write(stragglers, 3));
	hc_stragglers_ended(stragglers, 0, 0);
	ck_assert(hc_stragglers_may_write(stragglers, 1));
	hc_stragglers_ended(stragglers, 1, 0);
	ck_assert(!hc_stragglers_may_write(stragglers, 1));
	hc_stragglers_destroy(stragglers);
}
END_TEST

START_TEST(peer_is_there_only_when_both_are_known)
{
	const struct hc_peer peer = {7, LIFE}, no_id = {0, LIFE}, no_life = {7, ""};

	ck_assert(hc_peer_is_there(&peer, LIFE));
	ck_assert(!hc_peer_is_there(&peer, ANOTHER_LIFE) && !hc_peer_is_there(&peer, ""));
	ck_assert(
	    !hc_peer_is_there(&no_id, LIFE) && !hc_peer_is_there(&no_life, LIFE) && !hc_peer_is_there(&no_life, ""));
}
END_TEST

/* ---- a real server ---- */

static enum hc_status
send_set(struct answers *answers, const char *value)
{
	struct hc_slice argv[] = {HC_SLICE("SET"), HC_SLICE("k"), hc_slice_str(value)};

	return send_words(argv, 3, answers);
}

static void
ask_for_k(struct answers *answers)
{
	struct hc_slice argv[] = {HC_SLICE("GET"), HC_SLICE("k")};

	ck_assert_int_eq(send_words(argv, 2, answers), HC_OK);
	LOOP_UNTIL(answers->n == 1);
}

START_TEST(stragglers_of_a_server_that_hangs_keep_the_order)
{
	struct redis_server redis = {0};

	tell_stragglers();
	redis_server_start(&redis, NULL);
	if (_i == 0)
		fix_create("127.0.0.1:%d", redis.port);
	else
		fix_create("unix://%s", redis.socket);
	for (int round = 0; round < 5; round++) {
		struct answers first = {0}, second = {0}, value = {0};
		fix_come_up();
		redis_server_signal(&redis, SIGSTOP);
		set_timeout(SOON_MS);
		ck_assert_int_eq(send_set(&first, "first"), HC_OK);
		LOOP_UNTIL(first.n == 1);
		ck_assert_int_eq(first.timeout, 1);
		ck_assert(hc_stragglers_any(stragglers));
		set_timeout(PATIENT_MS);
		redis_server_signal(&redis, SIGCONT);
		fix_come_up();
		ck_assert(!hc_stragglers_any(stragglers));
		ck_assert_int_eq(send_set(&second, "second"), HC_OK);
		LOOP_UNTIL(second.n == 1);
		ask_for_k(&value);
		ck_assert_str_eq(value.text, "second");
		hc_link_reconnect(fix.link, "test");
	}
	fix_destroy_link();
	redis_server_stop(&redis);
	hc_stragglers_destroy(stragglers);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {stragglers_that_were_not_ended_are_asked_for_again,
	    stragglers_are_none_when_all_was_answered, stragglers_count_by_link,
	    stragglers_write_keys_until_all_have_ended, peer_is_there_only_when_both_are_known};
	TCase *more = tcase_create("link_stragglers_scripts");

	tcase_add_checked_fixture(more, fix_setup, fix_teardown);
	tcase_set_timeout(more, 60);
	tcase_add_loop_test(
	    more, stragglers_are_ended_before_the_next_connection_is_up, 0, sizeof(scripts) / sizeof(scripts[0]));
	tcase_add_loop_test(more, stragglers_of_a_server_that_hangs_keep_the_order, 0, 2);
	return run_cases("link_stragglers", tests, ARGC(tests), more);
}
