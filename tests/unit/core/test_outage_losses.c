/*
 * Values on the outage list of which numbers prove nothing: what they are worth, and what makes them sure again.
 */
#include "core/outage.h"

#include "tests/unit/core/outage_support.h"

/* Numbers prove nothing of a value; the next one comes when they do again, whatever the upstream has of before. */
START_TEST(outage_value_that_comes_after_what_was_missed_is_sure)
{
	struct hc_outage *outage = outage_of();
	struct hc_key k = key_str("k");

	note(outage, "one", HC_MODEL_DEFAULT, "base", false);
	hc_outage_unsure(outage);
	must_be(outage, "one", "base", HC_OUTAGE_UNSURE);
	struct hc_outage_page page = page_of_one(outage, 1);
	note(outage, "two", HC_MODEL_DEFAULT, NULL, false);
	must_be(outage, "two", NULL, HC_OUTAGE_SURE);
	note(outage, "three", HC_MODEL_DEFAULT, NULL, false);
	must_be(outage, "three", NULL, HC_OUTAGE_SURE);
	hc_outage_contest(outage, k, 5, true);
	must_be(outage, "three", NULL, HC_OUTAGE_SURE);
	hc_outage_unsure(outage); /* once more: who has the base still, has nothing of others */
	must_be(outage, "three", "base", HC_OUTAGE_UNSURE);
	note(outage, "four", HC_MODEL_DEFAULT, NULL, false);
	settle(outage, &page, HC_OUTAGE_SETTLED, 6);
	must_be(outage, "four", "one", HC_OUTAGE_SURE); /* what it was told meanwhile is needed */
	hc_outage_contest(outage, k, 7, true);
	must_be(outage, "four", NULL, HC_OUTAGE_CONTESTED);
	hc_outage_forget_key(outage, k, hc_outage_mark(outage));
	must(hc_outage_bytes(outage) == 0);
	/* What others tell of after it contests it. If they changed nothing, the upstream has the base still. */
	for (int rewritten = 0; rewritten < 2; rewritten++) {
		note(outage, "one", HC_MODEL_DEFAULT, "base", false);
		hc_outage_unsure(outage);
		note(outage, "two", HC_MODEL_DEFAULT, NULL, false);
		hc_outage_contest(outage, k, 6, rewritten);
		must_be(outage, "two", rewritten ? NULL : "base", HC_OUTAGE_CONTESTED);
		hc_outage_forget_key(outage, k, hc_outage_mark(outage));
		note(outage, "one", HC_MODEL_DEFAULT, "base", false);
		hc_outage_unsure(outage);
		hc_outage_contest(outage, k, 1, rewritten);
		must_be(outage, "one", rewritten ? NULL : "base", HC_OUTAGE_CONTESTED);
		hc_outage_forget_key(outage, k, hc_outage_mark(outage));
	}
	hc_outage_destroy(outage);
}
END_TEST

/* What is lost while a value comes onto the list may be younger. */
START_TEST(outage_value_that_comes_while_something_is_lost_is_unsure)
{
	struct hc_outage *outage = outage_of();
	struct hc_entry *entry = entry_str(store, "k", "two");
	const struct hc_outage_value two = {
	    .entry = entry, .expire_ms = 1000, .since = {.life = 1, .heard = 5}, .losses = hc_outage_losses(outage)};

	note(outage, "one", HC_MODEL_DEFAULT, "base", false);
	hc_outage_unsure(outage);
	must(hc_outage_add_value(outage, key_str("k"), &two, &limits) == HC_OK);
	must_be(outage, "two", "base", HC_OUTAGE_UNSURE);
	hc_entry_unref(entry);
	hc_outage_destroy(outage);
}
END_TEST

/* An expiry is set of a value of which numbers prove nothing, while that is told: they do of what comes after it. */
START_TEST(outage_value_that_was_told_is_sure_unless_something_is_lost_meanwhile)
{
	for (int lost = 0; lost < 2; lost++) {
		struct hc_outage *outage = outage_of();
		struct hc_key k = key_str("k");
		note(outage, "one", HC_MODEL_DEFAULT, "base", false);
		hc_outage_unsure(outage);
		struct hc_outage_page page = page_of_one(outage, 1);
		must(hc_outage_add_expiry(outage, k, 2000, 100) == HC_OK);
		if (lost)
			hc_outage_unsure(outage);
		settle(outage, &page, HC_OUTAGE_SETTLED, 6);
		hc_outage_contest(outage, k, 6, true);
		must_be(outage, "one", NULL, lost ? HC_OUTAGE_CONTESTED : HC_OUTAGE_SURE);
		hc_outage_contest(outage, k, 7, true);
		must_be(outage, "one", NULL, HC_OUTAGE_CONTESTED);
		hc_outage_destroy(outage);
	}
}
END_TEST

/* What is lost on its way may be there, or what was there before. Which one, its event tells, unless that may be
 * missed. */
START_TEST(outage_value_that_was_lost_on_its_way_is_its_own_base_if_it_is_heard_of)
{
	struct hc_outage *outage = outage_of();

	for (int lost = 0; lost < 3; lost++) {
		note(outage, "one", HC_MODEL_DEFAULT, "base", false);
		hc_outage_unsure(outage);
		struct hc_outage_page page = page_of_one(outage, 1);
		if (lost == 1)
			hc_outage_unsure(outage);
		hc_outage_lose(outage, &page);
		hc_outage_page_fini(&page);
		if (lost == 2)
			hc_outage_unsure(outage);
		must_be(outage, "one", lost ? NULL : "base", HC_OUTAGE_UNSURE);
		hc_outage_own(outage, key_str("k"), 6);
		must_be(outage, "one", "one", HC_OUTAGE_UNSURE);
		hc_outage_unsure(outage);
		must_be(outage, "one", "one", HC_OUTAGE_UNSURE);
		hc_outage_forget_key(outage, key_str("k"), hc_outage_mark(outage));
		must(hc_outage_bytes(outage) == 0);
	}
	hc_outage_destroy(outage);
}
END_TEST

/* What was told was not taken: the upstream has what it had before, whatever has become of the value since. */
START_TEST(outage_base_stays_when_what_was_told_was_not_taken)
{
	struct hc_outage *outage = outage_of();

	note(outage, "one", HC_MODEL_DEFAULT, "base", false);
	hc_outage_unsure(outage);
	struct hc_outage_page page = page_of_one(outage, 1);
	must(hc_outage_add_expiry(outage, key_str("k"), 2000, 100) == HC_OK);
	settle(outage, &page, HC_OUTAGE_AGAIN, 0);
	must_be(outage, "one", "base", HC_OUTAGE_UNSURE);
	hc_outage_destroy(outage);
}
END_TEST

/* Another wrote it; then the upstream may have what was there before both. */
START_TEST(outage_value_that_was_contested_before_a_loss_replaces_the_base_and_nothing_else)
{
	struct hc_outage *outage = outage_of();
	struct hc_key k = key_str("k");
	struct hc_entry *found;

	note(outage, "one", HC_MODEL_DEFAULT, "base", false);
	hc_outage_contest(outage, k, 6, false);
	hc_outage_unsure(outage);
	struct hc_outage_page page = page_of_one(outage, 1);
	must(page.items[0].was_contested && page.items[0].base != NULL && page.items[0].doubt == HC_OUTAGE_UNSURE);
	must(hc_outage_find(outage, k, 1, &found) && found == NULL);
	hc_outage_own(outage, k, 3);
	must_be(outage, "one", NULL, HC_OUTAGE_UNSURE);
	hc_outage_page_fini(&page);
	note(outage, "two", HC_MODEL_DEFAULT, NULL, false);
	page = page_of_one(outage, 1);
	must(!page.items[0].was_contested && page.items[0].doubt == HC_OUTAGE_SURE);
	hc_outage_page_fini(&page);
	hc_outage_destroy(outage);
}
END_TEST

/* A worker has looked up how far changes had been heard of, and then those numbers were given up. */
START_TEST(outage_value_noted_by_numbers_that_were_given_up_meanwhile_is_unsure)
{
	struct hc_outage *outage = outage_of();
	struct hc_entry *entry = entry_str(store, "k", "mine");
	struct hc_outage_value value = {
	    .entry = entry, .expire_ms = 1000, .since = {.life = 1, .heard = 500}, .losses = hc_outage_losses(outage)};

	hc_outage_unsure(outage);
	must(hc_outage_add_value(outage, key_str("k"), &value, &limits) == HC_OK);
	must_be(outage, "mine", NULL, HC_OUTAGE_UNSURE);
	hc_outage_contest(outage, key_str("k"), 7, true); /* by the new numbers, that is younger */
	must_be(outage, "mine", NULL, HC_OUTAGE_CONTESTED);
	hc_outage_forget_key(outage, key_str("k"), hc_outage_mark(outage));
	value.losses = hc_outage_losses(outage);
	must(hc_outage_add_value(outage, key_str("k"), &value, &limits) == HC_OK);
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_entry_unref(entry);
	hc_outage_destroy(outage);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("outage_losses");
	TCase *tcase = tcase_create("outage_losses");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, outage_value_that_comes_after_what_was_missed_is_sure);
	tcase_add_test(tcase, outage_value_that_comes_while_something_is_lost_is_unsure);
	tcase_add_test(tcase, outage_value_that_was_told_is_sure_unless_something_is_lost_meanwhile);
	tcase_add_test(tcase, outage_value_that_was_lost_on_its_way_is_its_own_base_if_it_is_heard_of);
	tcase_add_test(tcase, outage_base_stays_when_what_was_told_was_not_taken);
	tcase_add_test(tcase, outage_value_that_was_contested_before_a_loss_replaces_the_base_and_nothing_else);
	tcase_add_test(tcase, outage_value_noted_by_numbers_that_were_given_up_meanwhile_is_unsure);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
