/*
 * base/backoff: ranges, growth, jitter. One thread.
 */
#include "base/backoff.h"

#include <check.h>
#include <stdlib.h>

START_TEST(backoff_delays_double_within_their_ranges_up_to_the_cap)
{
	struct hc_backoff backoff;

	hc_backoff_init(&backoff, 100, 1000);
	for (int round = 0; round < 200; round++) {
		static const int64_t ranges[][2] = {{100, 200}, {200, 400}, {400, 800}, {500, 1000}, {500, 1000}};

		for (int i = 0; i < 5; i++) {
			int64_t delay = hc_backoff_next_ms(&backoff);

			ck_assert_int_ge(delay, ranges[i][0]);
			ck_assert_int_le(delay, ranges[i][1]);
		}
		hc_backoff_reset(&backoff);
	}
}
END_TEST

START_TEST(backoff_jitter_spreads_over_the_range)
{
	struct hc_backoff backoff;
	int64_t least = INT64_MAX;
	int64_t most = 0;

	hc_backoff_init(&backoff, 1000, 60000);
	for (int i = 0; i < 1000; i++) {
		int64_t delay = hc_backoff_next_ms(&backoff);

		least = delay < least ? delay : least;
		most = delay > most ? delay : most;
		hc_backoff_reset(&backoff);
	}
	ck_assert_int_lt(least, 1100);
	ck_assert_int_gt(most, 1900);
}
END_TEST

START_TEST(backoff_min_equal_to_max_is_constant)
{
	struct hc_backoff backoff;

	hc_backoff_init(&backoff, 7, 7);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(hc_backoff_next_ms(&backoff), 7);
}
END_TEST

START_TEST(backoff_huge_cap_does_not_overflow)
{
	struct hc_backoff backoff;

	hc_backoff_init(&backoff, 1, INT64_MAX);
	for (int i = 0; i < 100; i++)
		ck_assert_int_gt(hc_backoff_next_ms(&backoff), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("backoff");
	TCase *tc = tcase_create("backoff");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, backoff_delays_double_within_their_ranges_up_to_the_cap);
	tcase_add_test(tc, backoff_jitter_spreads_over_the_range);
	tcase_add_test(tc, backoff_min_equal_to_max_is_constant);
	tcase_add_test(tc, backoff_huge_cap_does_not_overflow);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
