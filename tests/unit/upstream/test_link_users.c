/*
 * What a user of upstream/link may do to it: from inside its callbacks, in each of its states, at its end.
 */
#include "upstream/link.h"

#include "tests/unit/upstream/fake_upstream.h"

/* ---- from inside, and in each state ---- */

static struct {
	struct answers answers;
	int calls;
	int accepted; /* of the sends from inside */
} rude;

/* Every reply sends another command, also when the reply is that the connection is lost. */
static void
send_more(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_slice argv[] = {HC_SLICE("PING")};
	enum hc_status sent;

	(void)arg;
	rude.calls++;
	count_answer(&rude.answers, status, reply);
	sent = hc_link_send(fix.link, argv, 1, count_answer, &rude.answers);
	if (status != HC_OK)
		ck_assert_int_eq(sent, HC_DOWN);
	rude.accepted += sent == HC_OK;
}

START_TEST(link_sending_from_replies_of_a_lost_connection_gets_down)
{
	struct hc_slice argv[] = {HC_SLICE("PING")};

	start(serve_once, "+PONG\r\n");
	fix_come_up();
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(hc_link_send(fix.link, argv, 1, send_more, NULL), HC_OK);
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_int_eq(rude.calls, 300);
	ck_assert_int_eq(rude.accepted, 1);
	ck_assert_int_eq(rude.answers.n, 301);
	ck_assert_int_eq(rude.answers.ok, 1);
	finish();
	ck_assert_int_eq(rude.answers.n, 301);
}
END_TEST

static void
reconnect_in_reply(void *arg, enum hc_status status, const redisReply *reply)
{
	struct answers unsent = {0};

	count_answer(arg, status, reply);
	hc_link_reconnect(fix.link, "wanted");
	hc_link_reconnect(fix.link, "wanted again");
	ck_assert(!hc_link_is_up(fix.link));
	ck_assert_int_eq(send_ping(&unsent), HC_DOWN);
}

START_TEST(link_reconnect_inside_a_reply_function_happens_after_it)
{
	struct hc_slice argv[] = {HC_SLICE("PING")};
	struct answers first = {0};
	struct answers rest = {0};

	start(serve_pongs, NULL);
	fix_come_up();
	ck_assert_int_eq(hc_link_send(fix.link, argv, 1, reconnect_in_reply, &first), HC_OK);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(send_ping(&rest), HC_OK);
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_int_eq(first.ok, 1);
	ck_assert_int_eq(rest.down, 10);
	ck_assert_str_eq(fix.why, "wanted");
	LOOP_UNTIL(fix.ups == 2);
	ck_assert_int_eq(fake.accepted, 2);
	finish();
}
END_TEST

static void
reconnect_when_up(void *arg, struct hc_link *link)
{
	count_up(arg, link);
	if (fix.ups < 5)
		hc_link_reconnect(link, "from on_up");
}

static void
reconnect_when_down(void *arg, struct hc_link *link, const char *why)
{
	char copy[64];

	snprintf(copy, sizeof(copy), "%s", why);
	hc_link_reconnect(link, "from on_down");
	count_down(arg, link, copy);
}

START_TEST(link_reconnect_inside_on_up_and_on_down_is_safe)
{
	fix.owner.on_up = reconnect_when_up;
	fix.owner.on_down = reconnect_when_down;
	start(serve_pongs, NULL);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.ups == 5);
	ck_assert_int_eq(fix.downs, 4);
	ck_assert_str_eq(fix.why, "from on_up");
	finish();
}
END_TEST

START_TEST(link_reconnect_in_each_state_leads_back_up)
{
	start(serve_pongs, NULL);
	hc_link_reconnect(fix.link, "closed");
	ck_assert_int_eq(hc_link_state(fix.link), HC_LINK_CLOSED);
	hc_link_start(fix.link);
	hc_link_start(fix.link); /* a second start is nothing */
	ck_assert_int_eq(hc_link_state(fix.link), HC_LINK_CONNECTING);
	hc_link_reconnect(fix.link, "connecting");
	ck_assert_int_eq(fix.downs, 0); /* nothing is called back from inside */
	LOOP_UNTIL(fix.downs == 1);
	ck_assert_str_eq(fix.why, "connecting");
	LOOP_UNTIL(hc_link_state(fix.link) == HC_LINK_HANDSHAKE || fix.ups == 1);
	hc_link_reconnect(fix.link, "handshake");
	LOOP_UNTIL(hc_link_state(fix.link) == HC_LINK_BACKOFF);
	hc_link_reconnect(fix.link, "backoff");
	LOOP_UNTIL(hc_link_is_up(fix.link));
	ck_assert_int_eq(fix.downs, 2);
	finish();
}
END_TEST

START_TEST(link_reconnect_in_a_long_backoff_shortens_it)
{
	fix.config.backoff_min_ms = 1;
	fix.config.backoff_max_ms = 1 << 30;
	start(serve_close, NULL);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 12); /* the next delay is at least two seconds */
	fake.serve = serve_pongs;
	hc_link_reconnect(fix.link, "now");
	fix.deadline_ms = hc_clock_mono_ms();
	LOOP_UNTIL(fix.ups == 1);
	ck_assert_int_lt(hc_clock_mono_ms() - (fix.deadline_ms - DEADLINE_MS), 1500);
	finish();
}
END_TEST

/* ---- the end ---- */

START_TEST(link_destroyed_in_each_state_answers_the_waiting_and_calls_no_owner)
{
	static const enum hc_link_state states[] = {
	    HC_LINK_CLOSED, HC_LINK_CONNECTING, HC_LINK_HANDSHAKE, HC_LINK_UP, HC_LINK_BACKOFF};
	struct hc_slice argv[] = {HC_SLICE("PING")};
	int downs;
	int ups;

	fix.config.backoff_min_ms = fix.config.backoff_max_ms = 1000;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		fake_server_start(&fake,
		    states[i] == HC_LINK_HANDSHAKE ? serve_silence
		    : states[i] == HC_LINK_BACKOFF ? serve_close
						   : serve_once,
		    "");
		hc_url_fini(&fix.url);
		fix_create("redis://127.0.0.1:%d", fake.port);
		if (states[i] != HC_LINK_CLOSED)
			hc_link_start(fix.link);
		LOOP_UNTIL(hc_link_state(fix.link) == states[i]);
		memset(&rude, 0, sizeof(rude));
		for (int n = 0; states[i] == HC_LINK_UP && n < 500; n++)
			ck_assert_int_eq(hc_link_send(fix.link, argv, 1, send_more, NULL), HC_OK);
		ups = fix.ups;
		downs = fix.downs;
		finish();
		ck_assert_int_eq(rude.calls, states[i] == HC_LINK_UP ? 500 : 0);
		ck_assert_int_eq(rude.answers.down, rude.calls);
		ck_assert_int_eq(fix.ups, ups);
		ck_assert_int_eq(fix.downs, downs);
	}
}
END_TEST

START_TEST(link_destroyed_while_broken_is_clean)
{
	struct answers answers = {0};

	start(serve_pongs, NULL);
	fix_come_up();
	ck_assert_int_eq(send_ping(&answers), HC_OK);
	hc_link_reconnect(fix.link, "about to go");
	finish();
	ck_assert_int_eq(answers.down, 1);
	ck_assert_int_eq(fix.downs, 0);
	hc_link_destroy(NULL);
}
END_TEST

static void
destroy_in_reply(void *arg, enum hc_status status, const redisReply *reply)
{
	(void)arg;
	(void)status;
	(void)reply;
	hc_link_destroy(fix.link);
}

START_TEST(link_destroyed_inside_a_callback_is_caught)
{
	struct hc_slice argv[] = {HC_SLICE("PING")};

	start(serve_pongs, NULL);
	fix_come_up();
	ck_assert_int_eq(hc_link_send(fix.link, argv, 1, destroy_in_reply, NULL), HC_OK);
	event_base_dispatch(fix.base);
}
END_TEST

int
main(void)
{
	const TTest *const list[] = {
	    link_sending_from_replies_of_a_lost_connection_gets_down,
	    link_reconnect_inside_a_reply_function_happens_after_it,
	    link_reconnect_inside_on_up_and_on_down_is_safe,
	    link_reconnect_in_each_state_leads_back_up,
	    link_reconnect_in_a_long_backoff_shortens_it,
	    link_destroyed_in_each_state_answers_the_waiting_and_calls_no_owner,
	    link_destroyed_while_broken_is_clean,
	};
	TCase *aborts = tcase_create("aborts");

	tcase_add_checked_fixture(aborts, fix_setup, fix_teardown);
	tcase_add_test_raise_signal(aborts, link_destroyed_inside_a_callback_is_caught, SIGABRT);
	return run_cases("link_users", list, sizeof(list) / sizeof(list[0]), aborts);
}
