/*
 * base/mailbox: order, that nothing is lost or delivered twice, and that a sleeping loop wakes. The receiver's loop
 * runs on this thread, senders on threads of their own.
 */
#include "base/mailbox.h"

#include <check.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include "base/mem.h"

#define SENDERS 4
#define MESSAGES 20000

struct numbered {
	struct hc_message message;
	unsigned sender;
	unsigned number;
};

struct receiver {
	struct event_base *base;
	struct hc_mailbox *mailbox;
	unsigned next[SENDERS]; /* the number each sender's next message must have */
	unsigned n, expected;
};

static struct receiver receiver;

static void
setup(void)
{
	receiver = (struct receiver){.base = event_base_new()};
	ck_assert_ptr_nonnull(receiver.base);
	ck_assert_int_eq(hc_mailbox_create(receiver.base, &receiver, &receiver.mailbox), HC_OK);
}

static void
teardown(void)
{
	hc_mailbox_destroy(receiver.mailbox);
	event_base_free(receiver.base);
}

static void
deliver(struct hc_message *message, void *arg)
{
	struct numbered *numbered = (struct numbered *)message;
	struct receiver *at = arg;

	ck_assert_ptr_eq(at, &receiver);
	ck_assert_uint_eq(numbered->number, at->next[numbered->sender]);
	at->next[numbered->sender]++;
	at->n++;
	free(numbered);
	if (at->n == at->expected)
		event_base_loopbreak(at->base);
}

static void
send_one(unsigned sender, unsigned number)
{
	struct numbered *numbered = malloc(sizeof(*numbered));

	ck_assert_ptr_nonnull(numbered);
	*numbered = (struct numbered){.message = {.deliver = deliver}, .sender = sender, .number = number};
	hc_mailbox_send(receiver.mailbox, &numbered->message);
}

static void *
send_many(void *arg)
{
	unsigned sender = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < MESSAGES; i++)
		send_one(sender, i);
	return NULL;
}

START_TEST(mailbox_messages_come_in_order_and_once)
{
	receiver.expected = 100;
	for (unsigned i = 0; i < 100; i++)
		send_one(0, i);
	ck_assert_uint_eq(receiver.n, 0); /* only the loop delivers */
	event_base_loop(receiver.base, EVLOOP_NO_EXIT_ON_EMPTY);
	ck_assert_uint_eq(receiver.n, 100);
	event_base_loop(receiver.base, EVLOOP_NONBLOCK);
	ck_assert_uint_eq(receiver.n, 100);
}
END_TEST

START_TEST(mailbox_many_senders_lose_nothing_and_keep_each_ones_order)
{
	pthread_t threads[SENDERS];

	receiver.expected = SENDERS * MESSAGES;
	for (unsigned i = 0; i < SENDERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, send_many, (void *)(uintptr_t)i), 0);
	/* A lost wake-up hangs here, and the test's time runs out. */
	event_base_loop(receiver.base, EVLOOP_NO_EXIT_ON_EMPTY);
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(receiver.n, SENDERS * MESSAGES);
}
END_TEST

/* Two threads that answer each other: each message meets a loop that is about to sleep, or sleeps. */
struct player {
	struct hc_message message;
	struct event_base *base;
	struct hc_mailbox *mailbox;
	struct player *other;
	unsigned left;
};

static void
deliver_ball(struct hc_message *message, void *arg)
{
	struct player *player = arg;

	if (player->left == 0) {
		event_base_loopbreak(player->base);
		return;
	}
	player->left--;
	if (player->left == 0)
		event_base_loopbreak(player->base);
	hc_mailbox_send(player->other->mailbox, message);
}

static void *
play(void *arg)
{
	event_base_loop(((struct player *)arg)->base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

START_TEST(mailbox_sleeping_loop_wakes_for_each_message)
{
	struct player players[2] = {{.left = 10000}, {.left = 10000}};
	struct hc_message ball = {.deliver = deliver_ball};
	pthread_t thread;

	for (int i = 0; i < 2; i++) {
		players[i].base = event_base_new();
		players[i].other = &players[1 - i];
		ck_assert_int_eq(hc_mailbox_create(players[i].base, &players[i], &players[i].mailbox), HC_OK);
	}
	hc_mailbox_send(players[0].mailbox, &ball);
	ck_assert_int_eq(pthread_create(&thread, NULL, play, &players[1]), 0);
	play(&players[0]);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(players[0].left, 0);
	ck_assert_uint_eq(players[1].left, 0);
	for (int i = 0; i < 2; i++) {
		hc_mailbox_destroy(players[i].mailbox);
		event_base_free(players[i].base);
	}
}
END_TEST

/* What a message sends to its own mailbox comes in a later turn: a loop cannot be kept busy by one mailbox. */
static void
deliver_again(struct hc_message *message, void *arg)
{
	struct receiver *at = arg;

	at->n++;
	if (at->n < 10)
		hc_mailbox_send(at->mailbox, message);
}

START_TEST(mailbox_message_sent_while_delivering_comes_next_turn)
{
	struct hc_message message = {.deliver = deliver_again};

	hc_mailbox_send(receiver.mailbox, &message);
	for (unsigned i = 1; i <= 10; i++) {
		event_base_loop(receiver.base, EVLOOP_ONCE);
		ck_assert_uint_eq(receiver.n, i);
	}
	event_base_loop(receiver.base, EVLOOP_NONBLOCK);
	ck_assert_uint_eq(receiver.n, 10);
}
END_TEST

START_TEST(mailbox_destroy_delivers_what_waits)
{
	receiver.expected = 50;
	for (unsigned i = 0; i < 50; i++)
		send_one(1, i);
	hc_mailbox_destroy(receiver.mailbox);
	receiver.mailbox = NULL;
	ck_assert_uint_eq(receiver.n, 50);
	hc_mailbox_destroy(NULL);
}
END_TEST

START_TEST(mailbox_create_out_of_memory_says_so)
{
	struct hc_mailbox *mailbox = NULL;

	hc_mem_fail_after(1);
	ck_assert_int_eq(hc_mailbox_create(receiver.base, NULL, &mailbox), HC_NOMEM);
	hc_mem_fail_after(0);
	ck_assert_ptr_null(mailbox);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("mailbox");
	TCase *tc = tcase_create("mailbox");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, mailbox_messages_come_in_order_and_once);
	tcase_add_test(tc, mailbox_many_senders_lose_nothing_and_keep_each_ones_order);
	tcase_add_test(tc, mailbox_sleeping_loop_wakes_for_each_message);
	tcase_add_test(tc, mailbox_message_sent_while_delivering_comes_next_turn);
	tcase_add_test(tc, mailbox_destroy_delivers_what_waits);
	tcase_add_test(tc, mailbox_create_out_of_memory_says_so);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
