/*
 * sim/gaps: what lies in gaps is counted once, and only within the interval. One thread.
 */
#include "tests/sim/gaps.h"

#include <string.h>
#include "tests/unit/support.h"

static struct gaps
joined(const struct gap *all, size_t n)
{
	struct gaps gaps = {0};

	for (size_t i = 0; i < n; i++)
		gaps_add(&gaps, all[i].began_ns, all[i].ended_ns);
	gaps_join(&gaps);
	return gaps;
}

START_TEST(gaps_none_leave_all)
{
	struct gaps gaps = joined(NULL, 0);

	ck_assert_int_eq(gaps_within(&gaps, 0, 100), 0);
	ck_assert_int_eq(gaps_leave(&gaps, 0, 100, 0), 100);
}
END_TEST

/* Two processors: of the second, one overlaps, one lies inside another, one touches. */
START_TEST(gaps_of_two_processors_are_joined)
{
	static const struct gap all[] = {{100, 200}, {300, 400}, {500, 600}, {150, 250}, {320, 330}, {600, 650}};
	static const struct gap want[] = {{100, 250}, {300, 400}, {500, 650}};
	struct gaps gaps = joined(all, 6);

	ck_assert_uint_eq(gaps.n, 3);
	ck_assert_mem_eq(gaps.all, want, sizeof(want));
	ck_assert_int_eq(gaps_within(&gaps, 0, 1000), 400);
	free(gaps.all);
}
END_TEST

static const struct {
	int64_t from, to, within;
} intervals[] = {
    {0, 50, 0},      /* before all */
    {0, 100, 0},     /* up to the first */
    {200, 300, 0},   /* between two */
    {400, 900, 0},   /* after all */
    {0, 150, 50},    /* ends in one */
    {150, 250, 50},  /* begins in one */
    {120, 130, 10},  /* inside one */
    {100, 200, 100}, /* one exactly */
    {50, 250, 100},  /* around one */
    {150, 350, 100}, /* from one into the next */
    {0, 1000, 200},  /* around all */
};

START_TEST(gaps_within_an_interval_count_only_there)
{
	static const struct gap all[] = {{300, 400}, {100, 200}};
	struct gaps gaps = joined(all, 2);

	ck_assert_int_eq(gaps_within(&gaps, intervals[_i].from, intervals[_i].to), intervals[_i].within);
	free(gaps.all);
}
END_TEST

START_TEST(gaps_leave_takes_off_the_longer_of_the_two_once)
{
	static const struct gap all[] = {{100, 200}};
	struct gaps gaps = joined(all, 1);

	ck_assert_int_eq(gaps_leave(&gaps, 0, 250, 0), 150);
	ck_assert_int_eq(gaps_leave(&gaps, 0, 250, 60), 150);
	ck_assert_int_eq(gaps_leave(&gaps, 0, 250, 130), 120);
	ck_assert_int_eq(gaps_leave(&gaps, 0, 250, 300), 0);
	ck_assert_int_eq(gaps_leave(&gaps, 100, 200, 0), 0);
	free(gaps.all);
}
END_TEST

/* Against a map of moments, each in a gap or not. */
START_TEST(gaps_random_agree_with_a_map_of_moments)
{
	enum { MOMENTS = 2000 };
	struct rng rng = {test_seed()};

	for (int round = 0; round < 300; round++) {
		struct gaps gaps = {0};
		char map[MOMENTS] = {0};

		for (uint32_t i = rng_below(&rng, 40); i > 0; i--) {
			uint32_t began = rng_below(&rng, MOMENTS - 100), length = rng_below(&rng, 100);

			gaps_add(&gaps, began, began + length);
			memset(map + began, 1, length);
		}
		gaps_join(&gaps);
		for (int asked = 0; asked < 50; asked++) {
			uint32_t from = rng_below(&rng, MOMENTS), to = from + rng_below(&rng, MOMENTS - from + 1);
			int64_t within = 0;

			for (uint32_t at = from; at < to; at++)
				within += map[at];
			must(gaps_within(&gaps, from, to) == within);
		}
		free(gaps.all);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("gaps");
	TCase *tc = tcase_create("gaps");

	tcase_add_test(tc, gaps_none_leave_all);
	tcase_add_test(tc, gaps_of_two_processors_are_joined);
	tcase_add_loop_test(tc, gaps_within_an_interval_count_only_there, 0, sizeof(intervals) / sizeof(intervals[0]));
	tcase_add_test(tc, gaps_leave_takes_off_the_longer_of_the_two_once);
	tcase_add_test(tc, gaps_random_agree_with_a_map_of_moments);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
