/*
 * upstream/pending against a plain counter. One thread.
 */
#include "upstream/pending.h"

#include <check.h>
#include <stdlib.h>
#include "base/mem.h"

static struct hc_pending queue;
static int64_t pushed, popped;

static void
setup(void)
{
	hc_pending_init(&queue);
	pushed = popped = 0;
}

static void
teardown(void)
{
	hc_pending_fini(&queue);
}

static void
push(void)
{
	struct hc_pending_entry entry = {.deadline_ms = pushed++};

	ck_assert_int_eq(hc_pending_reserve(&queue), HC_OK);
	hc_pending_push(&queue, &entry);
}

static void
pop(struct hc_pending *from)
{
	struct hc_pending_entry entry;

	ck_assert_int_eq(hc_pending_head(from)->deadline_ms, popped);
	ck_assert(hc_pending_pop(from, &entry));
	ck_assert_int_eq(entry.deadline_ms, popped);
	popped++;
}

START_TEST(pending_random_pushes_and_pops_keep_the_order)
{
	struct hc_pending_entry entry;
	unsigned seed = 1;

	for (int round = 0; round < 200; round++) {
		int n = rand_r(&seed) % 400;

		while (n-- > 0)
			push();
		n = rand_r(&seed) % 400;
		while (n-- > 0 && popped < pushed)
			pop(&queue);
		ck_assert_int_eq(queue.count, pushed - popped);
	}
	while (popped < pushed)
		pop(&queue);
	ck_assert_ptr_null(hc_pending_head(&queue));
	ck_assert(!hc_pending_pop(&queue, &entry));
}
END_TEST

START_TEST(pending_steady_traffic_allocates_nothing)
{
	for (int i = 0; i < 300; i++)
		push();
	for (int i = 0; i < 1000; i++) {
		push();
		pop(&queue);
	}
	for (int i = 0; i < 100000; i++) {
		hc_mem_fail_after(1);
		push();
		pop(&queue);
	}
	hc_mem_fail_after(0);
}
END_TEST

START_TEST(pending_take_leaves_it_empty_and_usable)
{
	struct hc_pending taken;

	for (int i = 0; i < 1000; i++)
		push();
	for (int i = 0; i < 500; i++)
		pop(&queue);
	hc_pending_take(&queue, &taken);
	ck_assert_int_eq(queue.count, 0);
	while (popped < pushed)
		pop(&taken);
	hc_pending_fini(&taken);
	push();
	pop(&queue);
}
END_TEST

START_TEST(pending_out_of_memory_is_told_by_reserve_and_nothing_is_lost)
{
	hc_mem_fail_after(1);
	ck_assert_int_eq(hc_pending_reserve(&queue), HC_NOMEM);
	hc_mem_fail_after(2);
	for (int i = 0; hc_pending_reserve(&queue) == HC_OK; i++) {
		ck_assert_int_lt(i, 10000);
		push();
	}
	ck_assert_int_gt(pushed, 1);
	push();
	while (popped < pushed)
		pop(&queue);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pending");
	TCase *tc = tcase_create("pending");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, pending_random_pushes_and_pops_keep_the_order);
	tcase_add_test(tc, pending_steady_traffic_allocates_nothing);
	tcase_add_test(tc, pending_take_leaves_it_empty_and_usable);
	tcase_add_test(tc, pending_out_of_memory_is_told_by_reserve_and_nothing_is_lost);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
