/* What is suspect, what is believed again, what is forgotten: each rule by itself, and all of them against a model. */
#include "support.h"

#define NOW 1000

static struct hc_store *store;

static void
setup(void)
{
	store = store_with(64u << 20, 1, true);
}

static void
teardown(void)
{
	hc_store_destroy(store);
}

static void
put(const char *name)
{
	struct hc_entry *entry = entry_str(store, name, name);

	ck_assert_int_eq(hc_store_put(store, key_str(name), entry, NULL, NOW, NULL), HC_OK);
	hc_entry_unref(entry);
}

static enum hc_status
look(const char *name)
{
	struct hc_entry *entry = NULL;
	enum hc_status status = hc_store_get(store, key_str(name), NOW, &entry);

	ck_assert((status == HC_MISS) == (entry == NULL));
	if (entry != NULL)
		ck_assert(hc_slice_eq(hc_entry_value(entry), hc_slice_str(name)));
	hc_entry_unref(entry);
	return status;
}

static enum hc_status
fill(const char *name, bool brings, enum hc_store_fill how)
{
	struct hc_ticket ticket;
	struct hc_entry *entry = brings ? entry_str(store, name, name) : NULL;

	hc_store_fill_begin(store, key_str(name), &ticket);
	enum hc_status status = hc_store_fill_end(store, key_str(name), &ticket, entry, how, NOW);
	hc_entry_unref(entry);
	return status;
}

START_TEST(suspect_all_leaves_what_is_there_and_says_so)
{
	put("a");
	hc_store_suspect_all(store);
	put("b");
	ck_assert_int_eq(look("a"), HC_SUSPECT);
	ck_assert_int_eq(look("b"), HC_OK);
	ck_assert_uint_eq(hc_store_count(store, NOW), 2);
	(void)hc_store_sweep(store, NOW, 1000000);
	ck_assert_int_eq(look("a"), HC_SUSPECT);
	hc_store_suspect_all(store);
	ck_assert_int_eq(look("a"), HC_SUSPECT);
	ck_assert_int_eq(look("b"), HC_SUSPECT);
}
END_TEST

START_TEST(suspect_entries_are_scanned_deleted_and_given_another_expiry_as_all_others)
{
	struct hc_entry_list list = {0};
	uint64_t cursor = 0;

	put("a");
	put("b");
	hc_store_suspect_all(store);
	do
		ck_assert_int_eq(hc_store_scan(store, &cursor, 10, NOW, &list), HC_OK);
	while (cursor != 0);
	ck_assert_uint_eq(list.n, 2);
	hc_entry_list_fini(&list);
	ck_assert_int_eq(hc_store_expire(store, key_str("a"), HC_EXPIRE_ANY, NOW + 10, NOW, NULL), HC_OK);
	ck_assert_int_eq(look("a"), HC_SUSPECT);
	ck_assert_int_eq(hc_store_del(store, key_str("b"), NOW, NULL), HC_OK);
	ck_assert_int_eq(look("b"), HC_MISS);
}
END_TEST

START_TEST(trust_lifts_what_one_suspicion_has_brought_and_not_the_one_before)
{
	put("old");
	hc_store_suspect_all(store);
	put("a");
	uint32_t fresh_since = hc_store_suspect_all(store);
	put("b");
	hc_store_trust(store, fresh_since);
	ck_assert_int_eq(look("old"), HC_SUSPECT);
	ck_assert_int_eq(look("a"), HC_OK);
	ck_assert_int_eq(look("b"), HC_OK);
	/* What a read has renewed so is of the present generation: another suspicion reaches it all the same. */
	hc_store_suspect_all(store);
	ck_assert_int_eq(look("a"), HC_SUSPECT);
}
END_TEST

START_TEST(trust_across_several_suspicions_lifts_them_all)
{
	put("a");
	uint32_t fresh_since = hc_store_suspect_all(store);
	put("b");
	hc_store_suspect_all(store);
	hc_store_trust(store, fresh_since);
	ck_assert_int_eq(look("a"), HC_OK);
	ck_assert_int_eq(look("b"), HC_OK);
}
END_TEST

START_TEST(forgotten_stays_forgotten_whatever_is_trusted)
{
	put("a");
	uint32_t fresh_since = hc_store_suspect_all(store);
	hc_store_forget_all(store);
	put("b");
	hc_store_suspect(store, key_str("b"));
	hc_store_trust(store, fresh_since);
	ck_assert_int_eq(look("a"), HC_MISS);
	ck_assert_int_eq(look("b"), HC_SUSPECT);
}
END_TEST

START_TEST(one_key_made_suspect_stays_so_until_it_is_renewed_or_replaced)
{
	struct hc_ticket ticket;
	struct hc_entry *entry;

	put("a");
	put("b");
	hc_store_suspect(store, key_str("a"));
	hc_store_suspect(store, key_str("not there"));
	hc_store_trust(store, 0);
	ck_assert_int_eq(look("a"), HC_SUSPECT);
	ck_assert_int_eq(look("b"), HC_OK);
	hc_store_fill_begin(store, key_str("a"), &ticket);
	ck_assert_int_eq(hc_store_get(store, key_str("a"), NOW, &entry), HC_SUSPECT);
	ck_assert_int_eq(hc_store_renew(store, key_str("a"), &ticket, entry, NOW + 50, HC_FILL_NEW), HC_OK);
	ck_assert_int_eq(hc_entry_expire_ms(entry), NOW + 50);
	ck_assert_int_eq(look("a"), HC_OK);
	ck_assert(!hc_store_ticket_good(store, key_str("a"), &ticket));
	hc_entry_unref(entry);
	hc_store_suspect(store, key_str("a"));
	ck_assert_int_eq(fill("a", true, HC_FILL_NEW), HC_OK);
	ck_assert_int_eq(look("a"), HC_OK);
}
END_TEST

START_TEST(renew_with_a_ticket_that_is_good_no_more_renews_nothing)
{
	struct hc_ticket ticket;
	struct hc_entry *entry;

	for (int what = 0; what < 4; what++) {
		put("a");
		hc_store_suspect_all(store);
		hc_store_fill_begin(store, key_str("a"), &ticket);
		ck_assert_int_eq(hc_store_get(store, key_str("a"), NOW, &entry), HC_SUSPECT);
		if (what == 0)
			(void)hc_store_invalidate(store, key_str("a"), 0);
		else if (what == 1)
			hc_store_suspect(store, key_str("a"));
		else if (what == 2)
			hc_store_suspect_all(store);
		else
			hc_store_forget_all(store);
		ck_assert_int_eq(
		    hc_store_renew(store, key_str("a"), &ticket, entry, HC_NO_EXPIRY, HC_FILL_NEW), HC_STALE);
		hc_entry_unref(entry);
		ck_assert_int_ne(look("a"), HC_OK);
	}
}
END_TEST

START_TEST(what_is_fetched_while_in_doubt_is_suspect_until_that_is_lifted)
{
	uint32_t fresh_since = hc_store_suspect_all(store);

	ck_assert_int_eq(fill("a", true, HC_FILL_DOUBTED), HC_OK);
	ck_assert_int_eq(look("a"), HC_SUSPECT);
	hc_store_trust(store, fresh_since);
	ck_assert_int_eq(look("a"), HC_OK);
	/* Before any suspicion there is nothing to lift. */
	ck_assert_int_eq(fill("b", true, HC_FILL_DOUBTED), HC_OK);
	ck_assert_int_eq(look("b"), HC_SUSPECT);
}
END_TEST

START_TEST(a_fill_that_finds_nothing_takes_a_suspect_copy_away_and_one_that_failed_does_not)
{
	put("a");
	put("b");
	ck_assert_int_eq(fill("b", false, HC_FILL_NEW), HC_OK);
	ck_assert_int_eq(look("b"), HC_OK);
	hc_store_suspect_all(store);
	ck_assert_int_eq(fill("a", false, HC_FILL_FAILED), HC_OK);
	ck_assert_int_eq(look("a"), HC_SUSPECT);
	ck_assert_int_eq(fill("a", false, HC_FILL_NEW), HC_OK);
	ck_assert_int_eq(look("a"), HC_MISS);
}
END_TEST

START_TEST(fills_and_writes_under_way_are_not_kept_when_all_becomes_suspect)
{
	struct hc_ticket fill, write;
	struct hc_entry *a = entry_str(store, "a", "a"), *b = entry_str(store, "b", "b");

	hc_store_fill_begin(store, key_str("a"), &fill);
	hc_store_write_begin(store, key_str("b"), &write);
	hc_store_trust(store, hc_store_suspect_all(store));
	ck_assert_int_eq(hc_store_fill_end(store, key_str("a"), &fill, a, HC_FILL_NEW, NOW), HC_STALE);
	ck_assert_int_eq(hc_store_write_end(store, key_str("b"), &write, b, HC_FILL_NEW, NOW), HC_STALE);
	hc_entry_unref(a);
	hc_entry_unref(b);
}
END_TEST

START_TEST(suspicions_without_number_make_nothing_fresh_again)
{
	put("old");
	for (int i = 0; i < 200000; i++) {
		hc_store_suspect_all(store);
		if (i % 10000 == 0) {
			ck_assert_int_ne(look("old"), HC_OK);
			put("new");
			ck_assert_int_eq(look("new"), HC_OK);
		}
	}
	ck_assert_int_eq(look("old"), HC_MISS);
	ck_assert_int_eq(look("new"), HC_SUSPECT);
}
END_TEST

/* ---- a model ---- */

#define KEYS 12

struct model {
	bool there;
	bool alone; /* suspect by itself */
	uint32_t born;
} model[KEYS];

START_TEST(any_sequence_of_these_agrees_with_a_model)
{
	struct rng rng = {test_seed()};
	uint32_t clock = 1, trusted = 0, token = 0, store_token = 0;
	bool liftable = false;

	for (int i = 0; i < 300000; i++) {
		uint32_t k = rng_below(&rng, KEYS);
		char name[8];
		snprintf(name, sizeof(name), "k%u", (unsigned)k);
		switch (rng_below(&rng, 16)) {
		case 0:
			if (!liftable) {
				token = trusted;
				store_token = hc_store_suspect_all(store);
				liftable = true;
			} else {
				hc_store_suspect_all(store);
			}
			trusted = ++clock;
			break;
		case 1:
			if (liftable) {
				hc_store_trust(store, store_token);
				trusted = token;
				liftable = false;
			}
			break;
		case 2:
			if (rng_below(&rng, 4) != 0)
				break;
			hc_store_forget_all(store);
			trusted = ++clock;
			liftable = false;
			memset(model, 0, sizeof(model));
			break;
		case 3:
			hc_store_suspect(store, key_str(name));
			model[k].alone = true;
			break;
		case 4:
		case 5:
			must(fill(name, true, HC_FILL_NEW) == HC_OK);
			model[k] = (struct model){.there = true, .born = ++clock};
			break;
		case 6:
			must(fill(name, false, HC_FILL_NEW) == HC_OK);
			if (model[k].alone || model[k].born < trusted)
				model[k].there = false;
			break;
		default: {
			enum hc_status want = !model[k].there                             ? HC_MISS
					      : model[k].alone || model[k].born < trusted ? HC_SUSPECT
											  : HC_OK;
			enum hc_status is = look(name);
			must_msg(
			    is == want, "step %d: %s is %s, not %s", i, name, hc_status_name(is), hc_status_name(want));
		}
		}
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("belief");
	TCase *tcase = tcase_create("belief");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, suspect_all_leaves_what_is_there_and_says_so);
	tcase_add_test(tcase, suspect_entries_are_scanned_deleted_and_given_another_expiry_as_all_others);
	tcase_add_test(tcase, trust_lifts_what_one_suspicion_has_brought_and_not_the_one_before);
	tcase_add_test(tcase, trust_across_several_suspicions_lifts_them_all);
	tcase_add_test(tcase, forgotten_stays_forgotten_whatever_is_trusted);
	tcase_add_test(tcase, one_key_made_suspect_stays_so_until_it_is_renewed_or_replaced);
	tcase_add_test(tcase, renew_with_a_ticket_that_is_good_no_more_renews_nothing);
	tcase_add_test(tcase, what_is_fetched_while_in_doubt_is_suspect_until_that_is_lifted);
	tcase_add_test(tcase, a_fill_that_finds_nothing_takes_a_suspect_copy_away_and_one_that_failed_does_not);
	tcase_add_test(tcase, fills_and_writes_under_way_are_not_kept_when_all_becomes_suspect);
	tcase_add_test(tcase, suspicions_without_number_make_nothing_fresh_again);
	tcase_add_test(tcase, any_sequence_of_these_agrees_with_a_model);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
