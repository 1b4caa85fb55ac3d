/*
 * The store's budget: what has to go for what comes, and when.
 */
#include "store_fixture.h"

START_TEST(put_over_budget_evicts_before_it_returns)
{
	struct hc_store_stats stats;

	fill_up(0, 10000, 200);
	hc_store_stats(store, &stats);
	ck_assert_uint_gt(stats.evicted, 5000);
	ck_assert_uint_gt(stats.bytes, stats.max_bytes - stats.max_bytes / 8);
	fill_up(20000, 30, 100000); /* each in place of hundreds */
	fill_up(30000, 10000, 1);
}
END_TEST

START_TEST(put_over_budget_spares_what_is_hot)
{
	struct hc_entry *entry;

	/* As large as what comes: smaller, it would stay longer for that. */
	char value[101] = "";
	memset(value, 'v', 100);
	put("hot", value);
	put("cold", value);
	for (unsigned i = 0; i < 50; i++) {
		ck_assert_int_eq(hc_store_get(store, key_str("hot"), NOW, &entry), HC_OK);
		hc_entry_unref(entry);
		fill_up(i * 500, 500, 100);
	}
	ck_assert(holds("hot", value));
	ck_assert(holds("cold", NULL));
}
END_TEST

/* fill_up() checks that the entry just put is there still, though it is the only one that is not hot. */
START_TEST(put_among_hot_ones_is_not_its_own_victim)
{
	hc_store_set_limit(store, 40000);
	for (unsigned i = 0; i < 100; i++) {
		fill_up(i, 1, 4000);
		for (unsigned n = 0; n < 3 * (i + 1); n++) {
			char name[16];
			struct hc_entry *entry;
			snprintf(name, sizeof(name), "fill%u", n % (i + 1));
			if (hc_store_get(store, key_str(name), NOW, &entry) == HC_OK)
				hc_entry_unref(entry);
		}
	}
}
END_TEST

START_TEST(process_grown_over_the_limit_takes_from_the_budget)
{
	uint64_t limit = 1 << 20, grown = limit + limit / 5 + HC_PROCESS_SLACK;

	fill_up(0, 10000, 200);
	uint64_t before = bytes();
	for (unsigned i = 0; i < 5; i++)
		hc_store_fit_process(store, grown);
	while (hc_store_sweep(store, NOW, INT32_MAX))
		;
	ck_assert_uint_lt(bytes(), before - limit / 11);
	for (unsigned i = 0; i < 100; i++) /* never more than half of it */
		hc_store_fit_process(store, 3 * grown);
	fill_up(10000, 3000, 200);
	ck_assert_uint_gt(bytes(), limit / 3);
	ck_assert_uint_lt(bytes(), limit - limit / 3);
	for (unsigned i = 0; i < 200; i++)
		hc_store_fit_process(store, limit / 2);
	fill_up(20000, 10000, 200);
	ck_assert_uint_gt(bytes(), limit - limit / 8);
}
END_TEST

START_TEST(set_limit_smaller_is_reached_by_sweeping)
{
	struct hc_store_stats stats;

	fill_up(0, 4000, 100);
	hc_store_set_limit(store, 10000);
	hc_store_stats(store, &stats);
	ck_assert_uint_gt(stats.evicted, 0);
	ck_assert_uint_gt(stats.bytes, 10000); /* not all at once */
	while (hc_store_sweep(store, NOW, 0))
		continue;
	hc_store_stats(store, &stats);
	ck_assert_uint_le(stats.bytes, 10000);
	ck_assert_uint_gt(stats.entries, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_budget");
	TCase *tcase = tcase_create("store_budget");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, put_over_budget_evicts_before_it_returns);
	tcase_add_test(tcase, put_over_budget_spares_what_is_hot);
	tcase_add_test(tcase, put_among_hot_ones_is_not_its_own_victim);
	tcase_add_test(tcase, process_grown_over_the_limit_takes_from_the_budget);
	tcase_add_test(tcase, set_limit_smaller_is_reached_by_sweeping);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
