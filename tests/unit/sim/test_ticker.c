/*
 * sim/ticker: a gap is where no tick came while the processor had work. A ring of our own. One thread.
 */
#include "tests/sim/ticker.h"

#include "tests/unit/sim/ring.h"
#include "tests/unit/support.h"

#define TICK TICKER_NS

static struct ticker ticker;
static struct gaps gaps;

static void
set_up(void)
{
	ticker = (struct ticker){.ring = empty_ring()};
	gaps = (struct gaps){0};
}

static void
tear_down(void)
{
	free(gaps.all);
}

static void
tick(int64_t ns)
{
	push_record(PERF_RECORD_SAMPLE, 1, (const uint64_t[]){(uint64_t)ns});
}

static void
expect_gap(int64_t began_ns, int64_t ended_ns)
{
	ck_assert_uint_eq(gaps.n, 1);
	ck_assert_int_eq(gaps.all[0].began_ns, began_ns);
	ck_assert_int_eq(gaps.all[0].ended_ns, ended_ns);
}

START_TEST(ticker_steady_has_no_gap)
{
	for (int64_t n = 1; n <= 40; n++) { /* ten times round the ring */
		tick(n * TICK + (n % 2 == 0 ? TICKER_LATE_NS : 0));
		ticker_look(&ticker, 0, (n + 1) * TICK, &gaps);
	}
	ck_assert_uint_eq(gaps.n, 0);
	ck_assert_uint_eq(map.page.data_tail, map.page.data_head);
}
END_TEST

START_TEST(ticker_late_one_ends_a_gap_that_began_when_it_was_due)
{
	tick(TICK);
	tick(10 * TICK);
	tick(11 * TICK);
	ticker_look(&ticker, 0, 12 * TICK, &gaps);
	expect_gap(2 * TICK, 10 * TICK);
}
END_TEST

/* Without work it may have no ticks, and nobody waits for it. */
START_TEST(ticker_gap_counts_only_where_there_was_work)
{
	tick(TICK);
	ticker_look(&ticker, 0, TICK, &gaps);
	tick(10 * TICK);
	ticker_look(&ticker, 7 * TICK, 9 * TICK, &gaps);
	expect_gap(7 * TICK, 9 * TICK);
	tick(20 * TICK);
	ticker_look(&ticker, 20 * TICK, 21 * TICK, &gaps);
	ck_assert_uint_eq(gaps.n, 1);
}
END_TEST

START_TEST(ticker_what_was_left_out_is_no_gap)
{
	tick(TICK);
	push_record(PERF_RECORD_LOST, 0, NULL);
	tick(10 * TICK);
	push_record(PERF_RECORD_THROTTLE, 0, NULL);
	ticker_look(&ticker, 0, 10 * TICK, &gaps);
	tick(20 * TICK);
	ticker_look(&ticker, 0, 20 * TICK, &gaps);
	ck_assert_uint_eq(gaps.n, 0);
}
END_TEST

START_TEST(ticker_that_is_none_has_no_gap)
{
	ticker.ring.fd = -1;
	tick(TICK);
	tick(10 * TICK);
	ticker_look(&ticker, 0, 10 * TICK, &gaps);
	ck_assert_uint_eq(gaps.n, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ticker");
	TCase *tc = tcase_create("ticker");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, ticker_steady_has_no_gap);
	tcase_add_test(tc, ticker_late_one_ends_a_gap_that_began_when_it_was_due);
	tcase_add_test(tc, ticker_gap_counts_only_where_there_was_work);
	tcase_add_test(tc, ticker_what_was_left_out_is_no_gap);
	tcase_add_test(tc, ticker_that_is_none_has_no_gap);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
