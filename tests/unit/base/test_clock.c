/*
 * The clocks and their being moved on; the statuses' words.
 */
#include <check.h>
#include <stdlib.h>
#include <time.h>
#include "base/clock.h"
#include "base/status.h"

START_TEST(clock_units_agree)
{
	int64_t ms = hc_clock_wall_ms(), us = hc_clock_wall_us();

	ck_assert_int_ge(us / 1000, ms);
	ck_assert_int_lt(us / 1000 - ms, 60000);
	ck_assert_int_le(llabs(ms / 1000 - (long long)time(NULL)), 60);
	ms = hc_clock_mono_ms();
	us = hc_clock_mono_us();
	ck_assert_int_ge(us / 1000, ms);
	ck_assert_int_lt(us / 1000 - ms, 60000);
}
END_TEST

START_TEST(clock_mono_never_goes_back)
{
	int64_t last = hc_clock_mono_us();

	for (int i = 0; i < 1000; i++) {
		int64_t now = hc_clock_mono_us();
		ck_assert_int_ge(now, last);
		last = now;
	}
}
END_TEST

START_TEST(clock_advance_moves_both)
{
	int64_t wall = hc_clock_wall_ms(), mono = hc_clock_mono_ms();

	hc_clock_advance(3600000);
	hc_clock_advance(3600000);
	ck_assert_int_ge(hc_clock_wall_ms(), wall + 7200000);
	ck_assert_int_lt(hc_clock_wall_ms(), wall + 7260000);
	ck_assert_int_ge(hc_clock_mono_ms(), mono + 7200000);
	ck_assert_int_lt(hc_clock_mono_ms(), mono + 7260000);
}
END_TEST

START_TEST(status_each_has_its_word)
{
	for (int a = HC_OK; a <= HC_ERROR; a++) {
		ck_assert_str_ne(hc_status_name((enum hc_status)a), "unknown");
		for (int b = HC_OK; b < a; b++)
			ck_assert_str_ne(hc_status_name((enum hc_status)a), hc_status_name((enum hc_status)b));
	}
	ck_assert_str_eq(hc_status_name((enum hc_status)999), "unknown");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("clock");
	TCase *tcase = tcase_create("clock");

	tcase_add_test(tcase, clock_units_agree);
	tcase_add_test(tcase, clock_mono_never_goes_back);
	tcase_add_test(tcase, clock_advance_moves_both);
	tcase_add_test(tcase, status_each_has_its_word);
	suite_add_tcase(suite, tcase);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
