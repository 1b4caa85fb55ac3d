/*
 * Values on the outage list, and what others do meanwhile: what they are weighed against when the upstream is back.
 */
#include "core/outage.h"

#include "tests/unit/core/outage_support.h"

/* Whether nothing is left to be told of the one key on the list; it goes off that when all is heard of. */
static bool
is_overtaken(struct hc_outage *outage)
{
	struct hc_outage_page page;

	must(hc_outage_take(outage, 10, UINT64_MAX, 1, &page) == HC_OK);
	bool is = page.n_items == 0;
	hc_outage_page_fini(&page);
	must(!hc_outage_empty(outage));
	return is;
}

START_TEST(outage_base_is_what_was_there_before_the_first_change)
{
	struct hc_outage *outage = outage_of();

	note(outage, "one", HC_MODEL_DEFAULT, "base", false);
	note(outage, "two", HC_MODEL_DEFAULT, "one", false);
	must_be(outage, "two", "base", HC_OUTAGE_SURE);
	note(outage, "three", HC_MODEL_DEFAULT, NULL, true); /* the upstream may have that one */
	must_be(outage, "three", NULL, HC_OUTAGE_SURE);
	must(hc_outage_count(outage) == 1);
	hc_outage_forget_key(outage, key_str("k"), hc_outage_mark(outage));
	must(hc_outage_bytes(outage) == 0);
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_value_will_replace_what_is_upstream_unless_that_may_be_it_or_newer)
{
	struct hc_outage *outage = outage_of();
	struct hc_key k = key_str("k");

	must(!hc_outage_will_replace(outage, k));
	must(hc_outage_add_key(outage, k, 100) == HC_OK); /* it went */
	must(!hc_outage_will_replace(outage, k));
	note(outage, "one", HC_MODEL_DEFAULT, NULL, false);
	must(hc_outage_will_replace(outage, k));
	note(outage, "two", HC_MODEL_DEFAULT, NULL, true); /* the upstream may have that one */
	must(!hc_outage_will_replace(outage, k));
	note(outage, "three", HC_MODEL_DEFAULT, NULL, false);
	hc_outage_contest(outage, k, 6, true);
	must(!hc_outage_will_replace(outage, k));
	note(outage, "four", HC_MODEL_DEFAULT, NULL, false);
	must(hc_outage_will_replace(outage, k));
	hc_outage_own(outage, k, 7); /* of something else: that has not been told */
	must(hc_outage_will_replace(outage, k));
	hc_outage_destroy(outage);
}
END_TEST

/* One is told, and before that is answered there is another: it is to replace the one, not the other way round. */
START_TEST(outage_value_that_was_told_is_the_base_of_what_came_since)
{
	struct hc_outage *outage = outage_of();
	struct hc_key k = key_str("k");

	note(outage, "one", HC_MODEL_DEFAULT, "base", false);
	struct hc_outage_page page = page_of_one(outage, 1);
	must(hc_outage_will_replace(outage, k)); /* for all that has been heard */
	hc_outage_own(outage, k, 6);             /* that was carried out, and its answer is on its way */
	must(!hc_outage_will_replace(outage, k));
	note(outage, "two", HC_MODEL_DEFAULT, NULL, false);
	must(hc_outage_will_replace(outage, k)); /* this one was not */
	settle(outage, &page, HC_OUTAGE_SETTLED, 6);
	must_be(outage, "two", "one", HC_OUTAGE_SURE); /* has it told, too */
	must(hc_outage_will_replace(outage, k));
	hc_outage_own(outage, k, 7);
	must(!hc_outage_will_replace(outage, k));
	must_be(outage, "two", NULL, HC_OUTAGE_SURE);
	hc_outage_forget_key(outage, k, hc_outage_mark(outage));
	must(hc_outage_bytes(outage) == 0);
	hc_outage_destroy(outage);
}
END_TEST

/* … but not where another may have written after the one: what it wrote is there, and is to be replaced all the same.
 */
START_TEST(outage_value_that_was_told_is_no_base_of_what_came_after_a_change_of_another)
{
	static const uint64_t heard[] = {7, 5}, own[] = {0, 7};
	struct hc_outage *outage = outage_of();
	struct hc_key k = key_str("k");

	for (size_t i = 0; i < 2; i++) {
		struct hc_entry *entry = entry_str(store, "k", "two");
		const struct hc_outage_value two = {
		    .entry = entry, .expire_ms = 1000, .since = {.life = 1, .heard = heard[i]}};
		note(outage, "one", HC_MODEL_DEFAULT, NULL, false);
		struct hc_outage_page page = page_of_one(outage, 1);
		must(hc_outage_add_value(outage, k, &two, &limits) == HC_OK);
		hc_outage_own(outage, k, own[i]);
		settle(outage, &page, HC_OUTAGE_SETTLED, 6);
		must_be(outage, "two", NULL, HC_OUTAGE_SURE);
		hc_outage_forget_key(outage, k, hc_outage_mark(outage));
		hc_entry_unref(entry);
	}
	hc_outage_destroy(outage);
}
END_TEST

/* Its expiry is set while it is told: it is there, and another's expiry would be of it. */
START_TEST(outage_value_that_was_told_is_no_base_of_itself)
{
	struct hc_outage *outage = outage_of();
	struct hc_key k = key_str("k");

	note(outage, "one", HC_MODEL_DEFAULT, NULL, false);
	struct hc_outage_page page = page_of_one(outage, 1);
	must(hc_outage_add_expiry(outage, k, 2000, 100) == HC_OK);
	settle(outage, &page, HC_OUTAGE_SETTLED, 6);
	hc_outage_own(outage, k, 6);
	must(!hc_outage_will_replace(outage, k));
	must_be(outage, "one", NULL, HC_OUTAGE_SURE);
	hc_outage_destroy(outage);
}
END_TEST

/* It was told, refused because there is more to be heard of first, and is not there. */
START_TEST(outage_value_that_was_not_taken_will_replace_what_is_there_still)
{
	struct hc_outage *outage = outage_of();

	note(outage, "one", HC_MODEL_DEFAULT, NULL, false);
	struct hc_outage_page page = page_of_one(outage, 1);
	hc_outage_own(outage, key_str("k"), 6);
	must(!hc_outage_will_replace(outage, key_str("k")));
	settle(outage, &page, HC_OUTAGE_AGAIN, 0);
	must(hc_outage_will_replace(outage, key_str("k")));
	/* What is lost on its way may be there for good. */
	page = page_of_one(outage, 1);
	hc_outage_lose(outage, &page);
	hc_outage_page_fini(&page);
	must(!hc_outage_will_replace(outage, key_str("k")));
	page = page_of_one(outage, 1);
	settle(outage, &page, HC_OUTAGE_AGAIN, 0);
	must(!hc_outage_will_replace(outage, key_str("k")));
	/* What is given up for another is told by no value any more: nor by that of a page. */
	page = page_of_one(outage, 1);
	must(hc_outage_add_key(outage, key_str("k"), 100) == HC_OK);
	settle(outage, &page, HC_OUTAGE_SETTLED, 7);
	must(hc_outage_bytes(outage) == 0 && hc_outage_has_key(outage, key_str("k")));
	hc_outage_destroy(outage);
}
END_TEST

/* What is on the list is newer than a write that set out at that mark; not than one that sets out now. */
static void
stays_for_what_set_out_before(struct hc_outage *outage, uint64_t set_out)
{
	hc_outage_forget_key(outage, key_str("k"), set_out);
	must(hc_outage_has_key(outage, key_str("k")));
	hc_outage_forget_key(outage, key_str("k"), hc_outage_mark(outage));
	must(hc_outage_empty(outage));
}

/* One worker's write is answered late, and another's came onto the list meanwhile. */
START_TEST(outage_what_came_onto_the_list_after_a_write_set_out_is_not_forgotten_for_its_answer)
{
	struct hc_outage *outage = outage_of();

	note(outage, "one", HC_MODEL_DEFAULT, NULL, false);
	uint64_t set_out = hc_outage_mark(outage);
	note(outage, "two", HC_MODEL_DEFAULT, NULL, false);
	hc_outage_forget_key(outage, key_str("k"), set_out);
	must_be(outage, "two", NULL, HC_OUTAGE_SURE);
	must(hc_outage_add_key(outage, key_str("k"), 100) == HC_OK);
	stays_for_what_set_out_before(outage, set_out);
	hc_outage_destroy(outage);
}
END_TEST

/* The same, but what came onto the list meanwhile is when the value expires: it goes with it. */
START_TEST(outage_expiry_of_what_a_write_overtook_is_forgotten_with_it)
{
	struct hc_outage *outage = outage_of();

	note(outage, "one", HC_MODEL_DEFAULT, NULL, false);
	uint64_t set_out = hc_outage_mark(outage);
	must(hc_outage_add_expiry(outage, key_str("k"), 2000, 100) == HC_OK);
	must_be(outage, "one", NULL, HC_OUTAGE_SURE);
	hc_outage_forget_key(outage, key_str("k"), set_out);
	must(hc_outage_empty(outage));
	/* Of what is not on it, only the upstream could tell what expires. */
	must(hc_outage_add_expiry(outage, key_str("k"), 2000, 100) == HC_OK);
	stays_for_what_set_out_before(outage, set_out);
	hc_outage_destroy(outage);
}
END_TEST

/* "mine" over a "base" that the seventh change wrote, of which nothing has been heard. */
static void
note_over_seventh(struct hc_outage *outage)
{
	struct hc_entry *entry = entry_str(store, "k", "mine"), *base = entry_str(store, "k", "base");
	const struct hc_outage_value value = {.entry = entry,
	    .base = base,
	    .expire_ms = 1000,
	    .since = {.life = 1, .heard = 5},
	    .losses = hc_outage_losses(outage)};

	hc_entry_set_version(base, 7);
	must(hc_outage_add_value(outage, key_str("k"), &value, &limits) == HC_OK);
	hc_entry_unref(entry);
	hc_entry_unref(base);
}

/* A change of ours that is heard of late: what is as old as the base does not replace it. */
START_TEST(outage_base_stays_what_was_there_whatever_of_ours_it_had_replaced)
{
	struct hc_outage *outage = outage_of();

	note_over_seventh(outage);
	hc_outage_own(outage, key_str("k"), 6);
	hc_outage_own(outage, key_str("k"), 7);
	must(hc_outage_will_replace(outage, key_str("k"))); /* which is what the upstream has still */
	must_be(outage, "mine", "base", HC_OUTAGE_SURE);
	hc_outage_own(outage, key_str("k"), 8);
	must(!hc_outage_will_replace(outage, key_str("k")));
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_outage_forget_key(outage, key_str("k"), hc_outage_mark(outage));
	/* By numbers that may have begun anew, nothing can be told. */
	note_over_seventh(outage);
	hc_outage_unsure(outage);
	hc_outage_own(outage, key_str("k"), 6); /* of something else: that has not been told */
	must_be(outage, "mine", NULL, HC_OUTAGE_UNSURE);
	hc_outage_own(outage, key_str("k"), 7); /* but now it has */
	must_be(outage, "mine", "mine", HC_OUTAGE_UNSURE);
	hc_outage_destroy(outage);
}
END_TEST

/* What the base itself was written by, heard of late, contests nothing. */
START_TEST(outage_event_of_the_base_contests_nothing)
{
	struct hc_outage *outage = outage_of();

	note_over_seventh(outage);
	hc_outage_contest(outage, key_str("k"), 6, true);
	hc_outage_contest(outage, key_str("k"), 7, true);
	must_be(outage, "mine", "base", HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 8, true);
	must_be(outage, "mine", NULL, HC_OUTAGE_CONTESTED);
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_change_of_another_contests_what_is_older_than_it)
{
	struct hc_outage *outage = outage_of();

	note(outage, "mine", HC_MODEL_DEFAULT, "base", false);
	hc_outage_contest(outage, key_str("k"), 5, true);
	must_be(outage, "mine", "base", HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 6, true);
	must_be(outage, "mine", "base", HC_OUTAGE_CONTESTED);
	hc_outage_own(outage, key_str("k"), 7); /* an older change of ours has replaced that */
	struct hc_outage_page page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_outage_contest(outage, key_str("k"), 6, true); /* what that replaced, heard of once more */
	must(!is_overtaken(outage));
	hc_outage_contest(outage, key_str("k"), 8, true); /* … and theirs this */
	must(is_overtaken(outage));
	hc_outage_drop_overtaken(outage);
	must(hc_outage_empty(outage));
	note(outage, "mine", HC_MODEL_DEFAULT, "base", false);
	hc_outage_own(outage, key_str("k"), 9);
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 8, true); /* heard of late: ours came after it */
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 10, true);
	note(outage, "younger", HC_MODEL_DEFAULT, "theirs", false);
	must_be(outage, "younger", NULL, HC_OUTAGE_SURE);
	hc_outage_unsure(outage);
	must_be(outage, "younger", NULL, HC_OUTAGE_UNSURE);
	hc_outage_contest_all(outage, 1); /* about to be cleared: what was there before is there still */
	must_be(outage, "younger", NULL, HC_OUTAGE_CONTESTED);
	hc_outage_contest_all(outage, 2);
	must(hc_outage_empty(outage));
	hc_outage_destroy(outage);
}
END_TEST

/*
 * Others wrote it, cleared its model, and wrote it again; then one of ours was carried out that had been given up. All
 * that is heard of in this order, when the link is back.
 */
START_TEST(outage_change_of_ours_that_comes_last_makes_the_key_go)
{
	struct hc_outage *outage = outage_of();
	struct hc_models *models = hc_store_models(store);
	struct hc_key k = key_str("k");
	uint32_t id;

	must(hc_models_intern(models, HC_SLICE("m"), &id) == HC_OK);
	note(outage, "mine", id, NULL, false);
	hc_outage_contest(outage, k, 6, true);
	hc_outage_contest_model(outage, id, 7, hc_models_bump(models, id));
	hc_outage_contest(outage, k, 8, true);
	hc_outage_own(outage, k, 9);
	hc_outage_contest(outage, k, 8, true); /* once more */
	hc_outage_drop_overtaken(outage);
	must(!is_overtaken(outage));
	hc_outage_contest(outage, k, 11, true);
	hc_outage_own(outage, k, 10); /* heard of late */
	must(is_overtaken(outage));
	hc_outage_drop_overtaken(outage);
	must(hc_outage_empty(outage));
	/* What is changed here after that is to be told again; and so is what nobody can say of what came after what.
	 */
	note(outage, "mine", HC_MODEL_DEFAULT, NULL, false);
	hc_outage_contest(outage, k, 12, true);
	hc_outage_own(outage, k, 13);
	hc_outage_contest(outage, k, 14, true);
	must(hc_outage_add_expiry(outage, k, 1000, 100) == HC_OK);
	must(!is_overtaken(outage));
	hc_outage_contest(outage, k, 15, true);
	must(is_overtaken(outage));
	hc_outage_unsure(outage);
	hc_outage_drop_overtaken(outage);
	must(!is_overtaken(outage));
	hc_outage_destroy(outage);
}
END_TEST

/* A late change of ours is heard of live, a value comes onto the list, then a sibling's change from before is caught up
 * with: whether the upstream has theirs or ours nobody knows. */
START_TEST(outage_change_from_before_an_own_one_makes_the_key_go)
{
	struct hc_outage *outage = outage_of();

	hc_outage_own(outage, key_str("k"), 9);
	must(hc_outage_empty(outage));
	note(outage, "mine", HC_MODEL_DEFAULT, NULL, false);
	hc_outage_contest(outage, key_str("k"), 5, true); /* heard of before it came onto the list */
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 7, true);
	struct hc_outage_page page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_outage_contest(outage, key_str("k"), 8, true);
	must(!is_overtaken(outage));
	hc_outage_contest(outage, key_str("k"), 10, true); /* theirs is what is there */
	must(is_overtaken(outage));
	hc_outage_drop_overtaken(outage);
	must(hc_outage_empty(outage));
	note(outage, "mine", HC_MODEL_DEFAULT, NULL, false);
	hc_outage_contest(outage, key_str("k"), 10, true);
	must_be(outage, "mine", NULL, HC_OUTAGE_CONTESTED);
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_value_whose_time_or_model_is_over_is_to_be_deleted)
{
	struct hc_models *models = hc_store_models(store);
	struct hc_outage *outage = outage_of();
	struct hc_entry *entry;
	uint32_t id;

	must(hc_models_intern(models, HC_SLICE("over"), &id) == HC_OK);
	note(outage, "v", id, NULL, false);
	must(hc_outage_find(outage, key_str("k"), 999, &entry) && entry != NULL);
	hc_entry_unref(entry);
	must(hc_outage_find(outage, key_str("k"), 1000, &entry) && entry == NULL);
	struct hc_outage_page page = page_of_one(outage, 1000);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_models_bump(models, id);
	page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	note(outage, "v", id, NULL, false);
	uint32_t epoch = hc_models_epoch(models, id);
	hc_outage_contest_model(outage, id, 5, epoch);
	must_be(outage, "v", NULL, HC_OUTAGE_SURE);
	hc_outage_contest_model(outage, id, 5, epoch + 1); /* not known here yet, but the value came after it */
	hc_models_raise(models, id, epoch + 1);
	must_be(outage, "v", NULL, HC_OUTAGE_SURE);
	hc_outage_contest_model(outage, id, 6, epoch + 2);
	page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_outage_destroy(outage);
}
END_TEST

/* By numbers that began anew the value looks younger than that other clear. */
START_TEST(outage_value_that_a_clear_of_this_daemon_ended_is_not_moved_behind_one_of_another)
{
	struct hc_models *models = hc_store_models(store);
	struct hc_outage *outage = outage_of();
	uint32_t id;

	must(hc_models_intern(models, HC_SLICE("over"), &id) == HC_OK);
	note(outage, "v", id, NULL, false);
	hc_models_bump(models, id);
	hc_outage_contest_model(outage, id, 3, hc_models_epoch(models, id));
	struct hc_outage_page page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_outage_destroy(outage);
}
END_TEST

/*
 * The upstream is told of what was cleared, and has that epoch since. Returns whether the value is kept. `heard_first`:
 * the event of that comes before the answer.
 */
static bool
is_kept_behind(struct hc_outage *outage, uint32_t id, const struct hc_outage_clear *clear, bool heard_first)
{
	struct hc_outage_page page;

	must(hc_outage_take(outage, 10, 0, 1, &page) == HC_OK);
	must(page.n_models == 1 && page.models[0].id == id);
	hc_models_raise(hc_store_models(store), id, clear->epoch);
	if (heard_first)
		hc_outage_heard_epoch(outage, id, clear->epoch);
	hc_outage_cleared(outage, &page, 0, clear);
	hc_outage_settle(outage, &page);
	hc_outage_page_fini(&page);
	page = page_of_one(outage, 1);
	bool kept = page.items[0].entry != NULL;
	must(!kept || page.items[0].epoch == clear->epoch);
	hc_outage_page_fini(&page);
	return kept;
}

START_TEST(outage_value_set_after_a_clear_of_this_daemon_is_of_the_epoch_that_this_gets)
{
	static const struct {
		uint32_t heard, before; /* epochs: by a clear of another's, before the value came; upstream */
		bool unsure, kept;
	} cases[] = {{0, 0, false, true}, {0, 0, true, true}, {0, 7, false, true}, {0, 7, true, false},
	    {7, 7, true, true}, {7, 8, true, false}};
	struct hc_models *models = hc_store_models(store);

	const unsigned n = sizeof(cases) / sizeof(cases[0]);
	for (unsigned j = 0; j < 2 * n; j++) {
		struct hc_outage *outage = outage_of();
		unsigned i = j % n;
		char name[32];
		uint32_t id;
		snprintf(name, sizeof(name), "cleared here %u", j);
		must(hc_models_intern(models, hc_slice_str(name), &id) == HC_OK);
		must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
		hc_outage_heard_epoch(outage, id, cases[i].heard);
		hc_models_raise(models, id, cases[i].heard);
		note(outage, "v", id, NULL, false);
		if (cases[i].unsure)
			hc_outage_unsure(outage);
		const struct hc_outage_clear clear = {0, cases[i].before, cases[i].before + 1};
		must(is_kept_behind(outage, id, &clear, j >= n) == cases[i].kept);
		hc_outage_destroy(outage);
	}
}
END_TEST

START_TEST(outage_value_set_before_a_clear_or_in_another_life_is_not_moved_behind_it)
{
	static const struct hc_outage_clear clear = {0, 0, 9}, other_life = {1, 0, 9};
	struct hc_models *models = hc_store_models(store);
	struct hc_outage *outage = outage_of();
	struct hc_outage_page page;
	uint32_t id;

	must(hc_models_intern(models, HC_SLICE("cleared between"), &id) == HC_OK);
	note(outage, "v", id, NULL, false);
	must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
	must(
	    hc_outage_add_expiry(outage, key_str("k"), 2000, 10) == HC_OK); /* later than the clear; its value is not */
	must(!is_kept_behind(outage, id, &clear, false));
	must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
	note(outage, "v", id, NULL, false);
	hc_outage_unsure(outage);
	must(!is_kept_behind(outage, id, &other_life, false));

	/* Cleared once more while the upstream is told: the value in between goes, that behind it waits for the second.
	 */
	must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
	must(hc_outage_take(outage, 10, 0, 1, &page) == HC_OK);
	must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
	note(outage, "v", id, NULL, false);
	uint32_t epoch = hc_models_epoch(models, id);
	const struct hc_outage_clear first = {0, epoch - 2, epoch - 1}, second = {0, epoch - 1, epoch};
	hc_outage_cleared(outage, &page, 0, &first);
	hc_outage_settle(outage, &page);
	hc_outage_page_fini(&page);
	must(hc_outage_has_model(outage, id));
	must(is_kept_behind(outage, id, &second, false));
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_value_that_is_never_taken_is_deleted_in_the_end)
{
	struct hc_outage *outage = outage_of();
	unsigned tries = 0;

	note(outage, "v", HC_MODEL_DEFAULT, NULL, false);
	for (bool is_value = true; is_value; tries++) {
		struct hc_outage_page page = page_of_one(outage, 1);
		is_value = page.items[0].entry != NULL;
		settle(outage, &page, HC_OUTAGE_AGAIN, 0);
	}
	must(tries > 10 && tries < 100 && hc_outage_count(outage) == 1);
	hc_outage_destroy(outage);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("outage_values");
	TCase *tcase = tcase_create("outage_values");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, outage_base_is_what_was_there_before_the_first_change);
	tcase_add_test(tcase, outage_value_that_a_clear_of_this_daemon_ended_is_not_moved_behind_one_of_another);
	tcase_add_test(tcase, outage_value_will_replace_what_is_upstream_unless_that_may_be_it_or_newer);
	tcase_add_test(tcase, outage_value_that_was_told_is_the_base_of_what_came_since);
	tcase_add_test(tcase, outage_value_that_was_told_is_no_base_of_what_came_after_a_change_of_another);
	tcase_add_test(tcase, outage_value_that_was_told_is_no_base_of_itself);
	tcase_add_test(tcase, outage_value_that_was_not_taken_will_replace_what_is_there_still);
	tcase_add_test(tcase, outage_what_came_onto_the_list_after_a_write_set_out_is_not_forgotten_for_its_answer);
	tcase_add_test(tcase, outage_expiry_of_what_a_write_overtook_is_forgotten_with_it);
	tcase_add_test(tcase, outage_base_stays_what_was_there_whatever_of_ours_it_had_replaced);
	tcase_add_test(tcase, outage_event_of_the_base_contests_nothing);
	tcase_add_test(tcase, outage_change_of_another_contests_what_is_older_than_it);
	tcase_add_test(tcase, outage_change_of_ours_that_comes_last_makes_the_key_go);
	tcase_add_test(tcase, outage_change_from_before_an_own_one_makes_the_key_go);
	tcase_add_test(tcase, outage_value_whose_time_or_model_is_over_is_to_be_deleted);
	tcase_add_test(tcase, outage_value_set_after_a_clear_of_this_daemon_is_of_the_epoch_that_this_gets);
	tcase_add_test(tcase, outage_value_set_before_a_clear_or_in_another_life_is_not_moved_behind_it);
	tcase_add_test(tcase, outage_value_that_is_never_taken_is_deleted_in_the_end);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
