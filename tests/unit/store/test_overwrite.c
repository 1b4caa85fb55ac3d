/*
 * Writing over an entry where it is: that it is done, that it is all a write does, and when it is not done.
 */
#include "support.h"

#define NOW 1000000
#define LATER (NOW + 5000)

static struct hc_store *store;

static void
set_up(void)
{
	store = store_of(1 << 20, 1);
}

static void
tear_down(void)
{
	hc_store_destroy(store);
}

static void
put(const char *key, const char *value, uint32_t model)
{
	struct hc_entry *entry = entry_of_model(store, key, value, model);

	ck_assert_int_eq(hc_store_put(store, key_str(key), entry, NULL, NOW, NULL), HC_OK);
	hc_entry_unref(entry);
}

/* A reference; NULL: it is not there. */
static struct hc_entry *
look(const char *key, int64_t now_ms)
{
	struct hc_entry *entry = NULL;

	(void)hc_store_peek(store, key_str(key), now_ms, &entry);
	return entry;
}

static const void *
where_is(const char *key)
{
	struct hc_entry *entry = look(key, NOW);

	hc_entry_unref(entry);
	return entry;
}

static bool
has_value(const struct hc_entry *entry, const char *value)
{
	return entry != NULL && hc_slice_eq(hc_entry_value(entry), hc_slice_str(value));
}

static bool
holds(const char *key, const char *value)
{
	struct hc_entry *entry = look(key, NOW);
	bool same = has_value(entry, value);

	hc_entry_unref(entry);
	return same;
}

static bool
overwrite(const char *key, const char *value, int64_t expire_ms)
{
	return hc_store_overwrite(store, key_str(key), HC_MODEL_DEFAULT, hc_slice_str(value), expire_ms, NOW + 1);
}

START_TEST(overwrite_of_the_same_length_is_where_it_was)
{
	put("k", "one", HC_MODEL_DEFAULT);
	const void *before = where_is("k");
	ck_assert(overwrite("k", "two", HC_NO_EXPIRY));
	ck_assert(holds("k", "two"));
	ck_assert_ptr_eq(where_is("k"), before);
	put("", "", HC_MODEL_DEFAULT);
	ck_assert(overwrite("", "", HC_NO_EXPIRY));
}
END_TEST

START_TEST(overwrite_of_what_is_not_there_is_not_done)
{
	ck_assert(!overwrite("k", "two", HC_NO_EXPIRY));
	ck_assert_ptr_null(look("k", NOW));
}
END_TEST

START_TEST(overwrite_of_another_length_is_not_done)
{
	put("k", "one", HC_MODEL_DEFAULT);
	ck_assert(!overwrite("k", "three", HC_NO_EXPIRY));
	ck_assert(!overwrite("k", "", HC_NO_EXPIRY));
	ck_assert(holds("k", "one"));
}
END_TEST

START_TEST(overwrite_leaves_what_is_held_as_it_is)
{
	put("k", "one", HC_MODEL_DEFAULT);
	struct hc_entry *held = look("k", NOW);
	ck_assert(!overwrite("k", "two", HC_NO_EXPIRY));
	ck_assert(has_value(held, "one"));
	hc_entry_unref(held);
	ck_assert(overwrite("k", "two", HC_NO_EXPIRY));
}
END_TEST

START_TEST(overwrite_begins_another_life)
{
	struct hc_entry *entry;

	put("k", "one", HC_MODEL_DEFAULT);
	ck_assert_int_eq(hc_store_get(store, key_str("k"), NOW + 3000, &entry), HC_OK);
	hc_entry_unref(entry);
	ck_assert(
	    hc_store_overwrite(store, key_str("k"), HC_MODEL_DEFAULT, hc_slice_str("two"), NOW + 9000, NOW + 4000));
	entry = look("k", NOW + 4000);
	ck_assert_uint_eq(hc_entry_hits(entry), 0);
	ck_assert_uint_eq(hc_entry_age_s(entry, NOW + 4000), 0);
	ck_assert_uint_eq(hc_entry_age_s(entry, NOW + 6000), 2);
	ck_assert_int_eq(hc_entry_expire_ms(entry), NOW + 9000);
	hc_entry_unref(entry);
	ck_assert_int_le(hc_store_soonest_expiry_ms(store), NOW + 9000);
	ck_assert_ptr_null(look("k", NOW + 9000));
}
END_TEST

START_TEST(overwrite_takes_an_expiry_away)
{
	struct hc_entry *entry = entry_str(store, "k", "one");

	hc_entry_set_expire_ms(entry, LATER);
	ck_assert_int_eq(hc_store_put(store, key_str("k"), entry, NULL, NOW, NULL), HC_OK);
	hc_entry_unref(entry);
	ck_assert(overwrite("k", "two", HC_NO_EXPIRY));
	entry = look("k", LATER);
	ck_assert(has_value(entry, "two"));
	hc_entry_unref(entry);
}
END_TEST

START_TEST(overwrite_that_is_past_or_far_away_is_not_done)
{
	put("k", "one", HC_MODEL_DEFAULT);
	ck_assert(!overwrite("k", "two", NOW));
	ck_assert(!overwrite("k", "two", -1));
	ck_assert(!overwrite("k", "two", INT64_MAX - 1));
	ck_assert(!overwrite("k", "two", (int64_t)HC_ENTRY_FAR));
	ck_assert(holds("k", "one"));
	ck_assert(overwrite("k", "two", (int64_t)HC_ENTRY_FAR - 1));
	struct hc_entry *entry = entry_str(store, "far", "one");
	hc_entry_set_expire_ms(entry, INT64_MAX - 1);
	ck_assert_int_eq(hc_store_put(store, key_str("far"), entry, NULL, NOW, NULL), HC_OK);
	hc_entry_unref(entry);
	ck_assert(!overwrite("far", "two", HC_NO_EXPIRY));
}
END_TEST

START_TEST(overwrite_is_of_one_model_and_its_epoch)
{
	uint32_t model;

	ck_assert_int_eq(hc_models_intern(hc_store_models(store), hc_slice_str("m"), &model), HC_OK);
	put("k", "one", model);
	ck_assert(!overwrite("k", "two", HC_NO_EXPIRY));
	ck_assert(hc_store_overwrite(store, key_str("k"), model, hc_slice_str("two"), HC_NO_EXPIRY, NOW));
	ck_assert(holds("k", "two"));
	hc_models_bump(hc_store_models(store), model);
	ck_assert(!hc_store_overwrite(store, key_str("k"), model, hc_slice_str("one"), HC_NO_EXPIRY, NOW));
	ck_assert_ptr_null(look("k", NOW));
	put("k", "one", HC_MODEL_DEFAULT);
	hc_models_bump(hc_store_models(store), HC_MODEL_DEFAULT);
	ck_assert(!overwrite("k", "two", HC_NO_EXPIRY));
	put("k", "one", HC_MODEL_DEFAULT);
	ck_assert(overwrite("k", "two", HC_NO_EXPIRY));
}
END_TEST

/* It was suspect; what is written now is not. */
START_TEST(overwrite_is_of_the_present_generation)
{
	put("k", "one", HC_MODEL_DEFAULT);
	(void)hc_store_suspect_all(store);
	ck_assert(overwrite("k", "two", HC_NO_EXPIRY));
	struct hc_entry *entry = NULL;
	ck_assert_int_eq(hc_store_get(store, key_str("k"), NOW, &entry), HC_OK);
	hc_entry_unref(entry);
	hc_store_forget_all(store);
	ck_assert(!overwrite("k", "one", HC_NO_EXPIRY));
	ck_assert_ptr_null(look("k", NOW));
}
END_TEST

START_TEST(overwrite_makes_fills_under_way_stale)
{
	struct hc_ticket ticket;
	struct hc_entry *late = entry_str(store, "k", "old");

	put("k", "one", HC_MODEL_DEFAULT);
	hc_store_fill_begin(store, key_str("k"), &ticket);
	ck_assert(overwrite("k", "two", HC_NO_EXPIRY));
	ck_assert_int_eq(hc_store_fill_end(store, key_str("k"), &ticket, late, HC_FILL_NEW, NOW), HC_STALE);
	hc_entry_unref(late);
	ck_assert(holds("k", "two"));
}
END_TEST

START_TEST(overwrite_changes_no_account)
{
	struct hc_store_stats before, after;

	put("k", "one", HC_MODEL_DEFAULT);
	hc_store_stats(store, &before);
	ck_assert(overwrite("k", "two", HC_NO_EXPIRY));
	hc_store_stats(store, &after);
	ck_assert_uint_eq(before.entries, after.entries);
	ck_assert_uint_eq(before.bytes, after.bytes);
}
END_TEST

START_TEST(overwrite_beyond_the_budget_is_not_done)
{
	char name[16];

	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "k%d", i);
		put(name, "one", HC_MODEL_DEFAULT);
	}
	hc_store_set_limit(store, 50 << 10); /* which the sweep reaches */
	ck_assert(where_is(name) != NULL);
	ck_assert(!overwrite(name, "two", HC_NO_EXPIRY));
}
END_TEST

START_TEST(overwrite_where_versions_are_kept_is_not_done)
{
	hc_store_destroy(store);
	store = store_with(1 << 20, 1, true);
	put("k", "one", HC_MODEL_DEFAULT);
	ck_assert(!overwrite("k", "two", HC_NO_EXPIRY));
}
END_TEST

static void
nothing_of(void *arg, struct hc_entry *entry)
{
	(void)arg;
	(void)entry;
}

static void
nothing_at(void *arg, struct hc_slice key)
{
	(void)arg;
	(void)key;
}

START_TEST(overwrite_of_what_a_tier_below_is_told_of_is_not_done)
{
	static const struct hc_store_below below = {
	    .written = nothing_of, .filled = nothing_of, .removed = nothing_at, .evicted = nothing_of};

	hc_store_set_below(store, &below);
	put("k", "one", HC_MODEL_DEFAULT);
	ck_assert(!overwrite("k", "two", HC_NO_EXPIRY));
}
END_TEST

START_TEST(overwrite_within_exclusive_use_is_seen_there)
{
	put("k", "one", HC_MODEL_DEFAULT);
	hc_store_exclusive_begin(store);
	ck_assert(overwrite("k", "two", HC_NO_EXPIRY));
	ck_assert(holds("k", "two"));
	hc_store_exclusive_end(store);
	ck_assert(holds("k", "two"));
}
END_TEST

START_TEST(overwrite_of_long_values_is_not_done)
{
	static char one[(4 << 10) + 2], two[sizeof(one)];

	memset(one, 'a', sizeof(one) - 1);
	memset(two, 'b', sizeof(two) - 1);
	put("k", one, HC_MODEL_DEFAULT);
	ck_assert(!overwrite("k", two, HC_NO_EXPIRY));
	one[4 << 10] = two[4 << 10] = 0;
	put("k", one, HC_MODEL_DEFAULT);
	ck_assert(overwrite("k", two, HC_NO_EXPIRY));
	ck_assert(holds("k", two));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("overwrite");
	TCase *tcase = tcase_create("overwrite");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, overwrite_of_the_same_length_is_where_it_was);
	tcase_add_test(tcase, overwrite_of_what_is_not_there_is_not_done);
	tcase_add_test(tcase, overwrite_of_another_length_is_not_done);
	tcase_add_test(tcase, overwrite_leaves_what_is_held_as_it_is);
	tcase_add_test(tcase, overwrite_begins_another_life);
	tcase_add_test(tcase, overwrite_takes_an_expiry_away);
	tcase_add_test(tcase, overwrite_that_is_past_or_far_away_is_not_done);
	tcase_add_test(tcase, overwrite_is_of_one_model_and_its_epoch);
	tcase_add_test(tcase, overwrite_is_of_the_present_generation);
	tcase_add_test(tcase, overwrite_makes_fills_under_way_stale);
	tcase_add_test(tcase, overwrite_changes_no_account);
	tcase_add_test(tcase, overwrite_beyond_the_budget_is_not_done);
	tcase_add_test(tcase, overwrite_where_versions_are_kept_is_not_done);
	tcase_add_test(tcase, overwrite_of_what_a_tier_below_is_told_of_is_not_done);
	tcase_add_test(tcase, overwrite_within_exclusive_use_is_seen_there);
	tcase_add_test(tcase, overwrite_of_long_values_is_not_done);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
