/*
 * base/stats: sums over several threads' sets, resets, and that the table's rows can be shown.
 */
#include "base/stats.h"

#include <check.h>
#include <ctype.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4
#define ROUNDS 200000

static struct hc_stats sets[THREADS];
static _Atomic bool stop;

static void
setup(void)
{
	hc_stats_unregister_all();
	memset(sets, 0, sizeof(sets));
	atomic_store(&stop, false);
}

static void
teardown(void)
{
	hc_stats_unregister_all();
}

START_TEST(stats_rows_have_unique_names_fit_for_info_and_help)
{
	for (int i = 0; i < HC_STATS; i++) {
		const char *name = hc_stat_name((enum hc_stat)i);
		for (const char *c = name; *c != '\0'; c++)
			ck_assert_msg(islower((unsigned char)*c) || *c == '_', "%s", name);
		ck_assert_msg(strlen(hc_stat_help((enum hc_stat)i)) >= 10, "%s", name);
		ck_assert_msg(strpbrk(hc_stat_help((enum hc_stat)i), "\r\n\"\\") == NULL, "%s", name);
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(name, hc_stat_name((enum hc_stat)j));
	}
	ck_assert_str_eq(hc_stat_name(HC_STAT_misses), "misses");
}
END_TEST

START_TEST(stats_sum_is_over_all_sets)
{
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_misses), 0);
	for (int i = 0; i < THREADS; i++)
		hc_stats_register(&sets[i]);
	for (uint64_t i = 0; i < THREADS; i++) {
		hc_stats_add(&sets[i], misses, i * 10);
		hc_stats_count(&sets[i], fills);
	}
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_misses), 60);
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_fills), THREADS);
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_resyncs), 0);
}
END_TEST

START_TEST(stats_reset_counts_from_here_on)
{
	hc_stats_register(&sets[0]);
	hc_stats_register(&sets[1]);
	hc_stats_add(&sets[0], misses, 5);
	hc_stats_reset();
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_misses), 0);
	hc_stats_add(&sets[1], misses, 2);
	hc_stats_count(&sets[0], misses);
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_misses), 3);
	hc_stats_reset();
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_misses), 0);
}
END_TEST

START_TEST(stats_unregister_all_forgets_sets_and_resets)
{
	hc_stats_register(&sets[0]);
	hc_stats_add(&sets[0], misses, 5);
	hc_stats_reset();
	hc_stats_unregister_all();
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_misses), 0);
	hc_stats_register(&sets[0]);
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_misses), 5);
}
END_TEST

static void *
count_on(void *arg)
{
	struct hc_stats *stats = arg;

	hc_stats_register(stats);
	for (int i = 0; i < ROUNDS; i++) {
		hc_stats_count(stats, commands_processed);
		hc_stats_add(stats, net_input_bytes, 3);
	}
	return NULL;
}

START_TEST(stats_concurrent_writers_and_readers_agree)
{
	pthread_t threads[THREADS];
	uint64_t last = 0;

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count_on, &sets[i]), 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t now = hc_stats_sum(HC_STAT_commands_processed);
		ck_assert_uint_ge(now, last);
		last = now;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_commands_processed), THREADS * ROUNDS);
	ck_assert_uint_eq(hc_stats_sum(HC_STAT_net_input_bytes), 3 * THREADS * ROUNDS);
}
END_TEST

static void *
count_until_stopped(void *arg)
{
	while (!atomic_load(&stop))
		hc_stats_count((struct hc_stats *)arg, misses);
	return NULL;
}

static void *
reset_until_stopped(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop))
		hc_stats_reset();
	return NULL;
}

/*
 * A sum taken while another thread resets must not come out below zero, which is a huge number. With many sets, the one
 * that counts being the first to be read, there is time for a reset in the middle of a sum.
 */
START_TEST(stats_sum_beside_a_reset_never_underflows)
{
	static struct hc_stats quiet[200];
	pthread_t writer, resetter;
	uint64_t most = 0;

	for (size_t i = 0; i < sizeof(quiet) / sizeof(quiet[0]); i++)
		hc_stats_register(&quiet[i]);
	hc_stats_register(&sets[0]);
	ck_assert_int_eq(pthread_create(&writer, NULL, count_until_stopped, &sets[0]), 0);
	ck_assert_int_eq(pthread_create(&resetter, NULL, reset_until_stopped, NULL), 0);
	for (int i = 0; i < 300000; i++) {
		uint64_t now = hc_stats_sum(HC_STAT_misses);
		most = now > most ? now : most;
	}
	atomic_store(&stop, true);
	pthread_join(writer, NULL);
	pthread_join(resetter, NULL);
	ck_assert_uint_lt(most, UINT64_C(1) << 40);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("stats");
	TCase *tc = tcase_create("stats");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, stats_rows_have_unique_names_fit_for_info_and_help);
	tcase_add_test(tc, stats_sum_is_over_all_sets);
	tcase_add_test(tc, stats_reset_counts_from_here_on);
	tcase_add_test(tc, stats_unregister_all_forgets_sets_and_resets);
	tcase_add_test(tc, stats_concurrent_writers_and_readers_agree);
	tcase_add_test(tc, stats_sum_beside_a_reset_never_underflows);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
