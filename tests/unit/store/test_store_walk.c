/*
 * The whole store walked: counts, the sweep, SCAN.
 */
#include "store_fixture.h"

START_TEST(count_is_exact_with_expired_and_cleared)
{
	ck_assert_uint_eq(hc_store_count(store, NOW), 0);
	fill_up(0, 500, 1);
	ck_assert_uint_eq(hc_store_count(store, NOW), 500);
	put_how("x", "v", NULL, NOW + 5);
	ck_assert_uint_eq(hc_store_count(store, NOW), 501);
	ck_assert_uint_eq(hc_store_count(store, NOW + 5), 500);
	hc_store_sweep(store, NOW, INT32_MAX);
	put_how("y", "v", NULL, NOW + 7);
	hc_store_sweep(store, NOW, INT32_MAX);
	ck_assert_uint_eq(hc_store_count(store, NOW + 6), 501);
	ck_assert_uint_eq(hc_store_count(store, NOW + 7), 500);
	hc_store_expire(store, key_str("fill7"), 0, NOW + 8, NOW, NULL);
	ck_assert_uint_eq(hc_store_count(store, NOW + 8), 499);
	hc_models_bump(hc_store_models(store), HC_MODEL_DEFAULT);
	ck_assert_uint_eq(hc_store_count(store, NOW), 0);
	put("z", "v");
	ck_assert_uint_eq(hc_store_count(store, NOW), 1);
	hc_store_forget_all(store);
	ck_assert_uint_eq(hc_store_count(store, NOW), 0);
}
END_TEST

START_TEST(count_in_steps_is_of_what_is_valid)
{
	struct hc_store_counting counting = {0};
	unsigned steps = 1;

	for (int i = 0; i < 16000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "s%d", i);
		put_how(name, "v", NULL, i % 4 > 0 ? NOW + 5 : HC_NO_EXPIRY);
	}
	ck_assert_uint_eq(hc_store_count(store, NOW), 16000);
	ck_assert(!hc_store_count_on(store, &counting, NOW)); /* known without looking */
	ck_assert_uint_eq(counting.n, 16000);
	counting = (struct hc_store_counting){0};
	for (; hc_store_count_on(store, &counting, NOW + 5); steps++)
		put_how("s0", "other", NULL, HC_NO_EXPIRY);
	ck_assert_uint_eq(counting.n, 4000);
	ck_assert_int_ge(steps, 3);
	ck_assert_uint_eq(hc_store_count(store, NOW + 5), 4000);
}
END_TEST

START_TEST(sweep_reclaims_within_many_small_budgets)
{
	struct hc_store_stats stats;

	hc_store_set_limit(store, 1 << 30);
	for (int i = 0; i < 64000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "s%d", i);
		put_how(name, "v", NULL, i % 4 == 0 ? NOW + 5 : HC_NO_EXPIRY);
	}
	int calls = 0, again = 0;
	for (; entries() > 48000; calls++) {
		again += hc_store_sweep(store, NOW + 5, 0) != HC_SWEEP_DONE;
		ck_assert_int_lt(calls, 4000);
	}
	ck_assert_int_gt(calls, 10); /* each a small piece */
	ck_assert_int_gt(again, calls / 2);
	hc_store_stats(store, &stats);
	ck_assert_uint_eq(stats.expired, 16000);
	ck_assert_uint_eq(hc_store_swept(store), 16000);
	ck_assert_uint_eq(hc_store_swept(store), 0);
	while (hc_store_sweep(store, NOW + 5, INT32_MAX) != HC_SWEEP_DONE)
		continue;
	for (int i = 0; i < 100; i++)
		ck_assert(!hc_store_sweep(store, NOW + 5, 0)); /* nothing left */
	hc_store_forget_all(store);
	size_t before = stats.table_bytes;
	hc_store_sweep(store, NOW, INT32_MAX);
	hc_store_sweep(store, NOW, INT32_MAX);
	hc_store_stats(store, &stats);
	ck_assert_uint_eq(stats.bytes, 0);
	ck_assert_uint_eq(stats.reclaimed, 48000);
	ck_assert_uint_lt(stats.table_bytes, before); /* the table shrinks too */
}
END_TEST

/* Throwing out what is left of many entries in the queues takes several calls, in which nothing else is met. */
START_TEST(sweep_goes_on_while_a_shard_catches_up)
{
	hc_store_set_limit(store, 1 << 30);
	for (unsigned i = 0; i < 200000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "s%u", i);
		put_how(name, "v", NULL, NOW + 5);
	}
	unsigned settling = 0;
	for (uint64_t before = entries(); hc_store_sweep(store, NOW + 5, 0) != HC_SWEEP_DONE; before = entries())
		settling += entries() == before;
	ck_assert_uint_eq(entries(), 0);
	ck_assert_uint_gt(settling, 10); /* calls */
}
END_TEST

START_TEST(scan_small_store_ends_in_few_calls)
{
	struct hc_entry_list list = {0};
	uint64_t cursor = 0;
	int calls = 0;

	put("a", "1");
	put("b", "2");
	put_how("gone", "3", NULL, NOW + 1);
	do
		ck_assert_int_eq(hc_store_scan(store, &cursor, 10, NOW + 1, &list), HC_OK);
	while (++calls < 10 && cursor != 0);
	ck_assert_int_le(calls, 2);
	ck_assert_uint_eq(list.n, 2);
	hc_entry_list_fini(&list);
	cursor = UINT64_MAX; /* anybody's number */
	hc_store_scan(store, &cursor, 0, NOW, &list);
	hc_entry_list_fini(&list);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_walk");
	TCase *tcase = tcase_create("store_walk");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, count_is_exact_with_expired_and_cleared);
	tcase_add_test(tcase, count_in_steps_is_of_what_is_valid);
	tcase_add_test(tcase, sweep_reclaims_within_many_small_budgets);
	tcase_add_test(tcase, sweep_goes_on_while_a_shard_catches_up);
	tcase_add_test(tcase, scan_small_store_ends_in_few_calls);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
