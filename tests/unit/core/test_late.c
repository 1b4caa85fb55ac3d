/*
 * Misses remembered until their SET; and which clears came after them.
 */
#include "core/late.h"

#include "store/models.h"
#include "tests/unit/support.h"

static struct hc_late *
late_new(void)
{
	struct hc_late *late;

	must(hc_late_create(&late) == HC_OK);
	return late;
}

START_TEST(late_each_miss_is_one_set)
{
	struct hc_late *late = late_new();
	uint64_t changes = 0;

	must(!hc_late_may_have(late, 1) && !hc_late_set(late, 1, 0, &changes));
	hc_late_missed(late, 1, 7, 0);
	hc_late_missed(late, 1, 7, 0);
	must(hc_late_may_have(late, 1) && !hc_late_may_have(late, 2));
	must(hc_late_set(late, 1, 0, &changes) && changes == 7);
	must(hc_late_set(late, 1, 0, &changes) && changes == 7);
	must(!hc_late_set(late, 1, 0, &changes));
	hc_late_destroy(late);
}
END_TEST

START_TEST(late_a_miss_after_a_clear_takes_the_place_of_those_before)
{
	struct hc_late *late = late_new();
	uint64_t changes = 0;

	hc_late_missed(late, 1, 7, 0);
	hc_late_missed(late, 1, 7, 0);
	hc_late_missed(late, 1, 8, 0);
	must(hc_late_set(late, 1, 0, &changes) && changes == 8);
	must(!hc_late_set(late, 1, 0, &changes));
	hc_late_destroy(late);
}
END_TEST

START_TEST(late_keys_of_the_same_bucket_are_others_and_the_one_missed_longest_ago_gives_way)
{
	struct hc_late *late = late_new();
	uint64_t changes = 0;

	hc_late_missed(late, 1, 7, 0);
	for (uint64_t other = 1; other <= 3; other++) {
		must(!hc_late_set(late, 1 + (other << 40), 0, &changes));
		hc_late_missed(late, 1 + (other << 40), 7 + other, (int64_t)other);
	}
	hc_late_missed(late, 1, 11, 4);
	hc_late_missed(late, 1 + (4ull << 40), 12, 5);
	must(!hc_late_set(late, 1 + (1ull << 40), 5, &changes));
	must(hc_late_set(late, 1 + (2ull << 40), 5, &changes) && changes == 9);
	must(hc_late_set(late, 1, 5, &changes) && changes == 11);
	hc_late_destroy(late);
}
END_TEST

START_TEST(late_old_misses_are_forgotten)
{
	struct hc_late *late = late_new();
	uint64_t changes = 0;

	hc_late_missed(late, 1, 7, 0);
	must(!hc_late_set(late, 1, HC_LATE_MS + 1, &changes));
	hc_late_missed(late, 1, 7, 0);
	must(hc_late_set(late, 1, HC_LATE_MS, &changes));
	hc_late_destroy(late);
}
END_TEST

START_TEST(late_clears_count_for_their_own_model)
{
	struct hc_models *models;
	uint32_t a, b;

	must(hc_models_create(16, &models) == HC_OK);
	must(hc_models_intern(models, HC_SLICE("a"), &a) == HC_OK &&
	     hc_models_intern(models, HC_SLICE("b"), &b) == HC_OK);
	uint64_t before = hc_models_changes(models);
	must(!hc_models_cleared_since(models, a, before));
	hc_models_bump(models, a);
	must(hc_models_cleared_since(models, a, before) && !hc_models_cleared_since(models, b, before));
	must(!hc_models_cleared_since(models, a, hc_models_changes(models)));
	before = hc_models_changes(models);
	must(!hc_models_raise(models, a, 1) && !hc_models_cleared_since(models, a, before));
	must(hc_models_raise(models, b, 5) && hc_models_cleared_since(models, b, before));
	must(!hc_models_cleared_since(models, a, before));
	hc_models_destroy(models);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("late");
	TCase *tcase = tcase_create("late");

	tcase_add_test(tcase, late_each_miss_is_one_set);
	tcase_add_test(tcase, late_a_miss_after_a_clear_takes_the_place_of_those_before);
	tcase_add_test(tcase, late_keys_of_the_same_bucket_are_others_and_the_one_missed_longest_ago_gives_way);
	tcase_add_test(tcase, late_old_misses_are_forgotten);
	tcase_add_test(tcase, late_clears_count_for_their_own_model);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
