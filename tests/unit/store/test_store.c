/*
 * The store's functions, one by one.
 */
#include "store_fixture.h"

START_TEST(create_odd_shards_is_invalid)
{
	struct hc_store_config config = {.max_bytes = 1, .shards = 3, .max_models = 1};
	struct hc_store *none;

	ck_assert_int_eq(hc_store_create(&config, &none), HC_INVALID);
	config.shards = 128;
	ck_assert_int_eq(hc_store_create(&config, &none), HC_INVALID);
}
END_TEST

START_TEST(get_binary_and_empty_keys_hits)
{
	struct hc_key keys[] = {hc_key(hc_slice("a\0b", 3)), hc_key(hc_slice("a\0c", 3)), hc_key(hc_slice("", 0)),
	    hc_key(hc_slice(NULL, 0))};
	struct hc_entry *entry;

	for (size_t i = 0; i < 3; i++) {
		entry = hc_entry_create(store, keys[i], 1, HC_MODEL_DEFAULT);
		*hc_entry_value_ptr(entry) = (char)i;
		ck_assert_int_eq(hc_store_put(store, keys[i], entry, NULL, NOW, NULL), HC_OK);
		hc_entry_unref(entry);
	}
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(hc_store_get(store, keys[i], NOW, &entry), HC_OK);
		ck_assert_int_eq(*hc_entry_value(entry).ptr, i < 3 ? (int)i : 2);
		hc_entry_unref(entry);
	}
}
END_TEST

/* One of ours stays, to look at it. */
static void
check_given(struct hc_store_put how, const char *key, int64_t expire_ms, size_t value_len, enum hc_status expected,
    uint32_t refs)
{
	struct hc_entry *entry = hc_entry_create(store, key_str(key), value_len, HC_MODEL_DEFAULT);

	memset(hc_entry_value_ptr(entry), 'v', value_len);
	hc_entry_set_expire_ms(entry, expire_ms);
	hc_entry_ref(entry);
	how.give = true;
	ck_assert_int_eq(hc_store_put(store, key_str(key), entry, &how, NOW, NULL), expected);
	ck_assert_uint_eq(atomic_load(&entry->refs), refs);
	hc_entry_unref(entry);
}

START_TEST(put_given_reference_is_the_stores_whatever_happens)
{
	put("there", "v");
	check_given((struct hc_store_put){.condition = HC_STORE_ANY}, "new", HC_NO_EXPIRY, 1, HC_OK, 2);
	check_given((struct hc_store_put){.condition = HC_STORE_ANY}, "there", HC_NO_EXPIRY, 1, HC_OK, 2);
	check_given((struct hc_store_put){.condition = HC_STORE_ABSENT}, "there", HC_NO_EXPIRY, 1, HC_MISS, 1);
	check_given((struct hc_store_put){.condition = HC_STORE_SAME}, "there", HC_NO_EXPIRY, 1, HC_CONFLICT, 1);
	check_given((struct hc_store_put){.condition = HC_STORE_ANY}, "there", NOW - 1, 1, HC_OK, 1);
	ck_assert(holds("there", NULL));
	check_given((struct hc_store_put){.condition = HC_STORE_ANY}, "new", HC_NO_EXPIRY, 1 << 20, HC_LIMIT, 1);
	ck_assert(holds("new", NULL));
}
END_TEST

START_TEST(models_are_told_of_what_shards_keep_to_themselves)
{
	struct hc_store *large = store_of((uint64_t)1 << 40, 4);
	struct hc_model_info info;
	struct hc_store_stats stats;
	uint32_t model;

	ck_assert_int_eq(hc_models_intern(hc_store_models(large), HC_SLICE("m"), &model), HC_OK);
	for (int i = 0; i < 300; i++) {
		char name[16];
		snprintf(name, sizeof(name), "k%d", i % 200);
		struct hc_entry *entry = entry_of_model(large, name, name, i % 3 == 0 ? model : HC_MODEL_DEFAULT);
		ck_assert_int_eq(hc_store_put(large, key_str(name), entry, NULL, NOW, NULL), HC_OK);
		hc_entry_unref(entry);
	}
	hc_store_tell_models(large);
	hc_models_info(hc_store_models(large), model, &info);
	/* Of the first 100 keys what was put last counts: i from 200 on. */
	ck_assert_uint_eq(info.entries, 33 + 33);
	uint64_t of_model = info.bytes;
	hc_models_info(hc_store_models(large), HC_MODEL_DEFAULT, &info);
	ck_assert_uint_eq(info.entries, 200 - 66);
	hc_store_stats(large, &stats);
	ck_assert_uint_eq(stats.bytes, of_model + info.bytes);
	hc_store_destroy(large);
}
END_TEST

START_TEST(soonest_expiry_is_never_after_the_first)
{
	ck_assert_int_eq(hc_store_soonest_expiry_ms(store), HC_NO_EXPIRY);
	put("stays", "v");
	ck_assert_int_eq(hc_store_soonest_expiry_ms(store), HC_NO_EXPIRY);
	put_how("goes", "v", NULL, NOW + 500);
	put_how("later", "v", NULL, NOW + 900);
	ck_assert_int_eq(hc_store_soonest_expiry_ms(store), NOW + 500);
	hc_store_sweep(store, NOW + 500, INT32_MAX);
	ck_assert_int_eq(hc_store_soonest_expiry_ms(store), NOW + 900);
	hc_store_sweep(store, NOW + 900, INT32_MAX);
	ck_assert_int_eq(hc_store_soonest_expiry_ms(store), HC_NO_EXPIRY);
	ck_assert_uint_eq(entries(), 1);
}
END_TEST

START_TEST(get_hit_counts_and_peek_does_not)
{
	struct hc_entry *entry;

	put("k", "v");
	ck_assert_int_eq(hc_store_get(store, key_str("k"), NOW + 5000, &entry), HC_OK);
	ck_assert_uint_eq(hc_entry_hits(entry), 1);
	ck_assert_uint_eq(hc_entry_hotness(entry), 1);
	ck_assert_uint_eq(hc_entry_idle_s(entry, NOW + 7000), 2);
	ck_assert_uint_eq(hc_entry_age_s(entry, NOW + 7000), 7);
	ck_assert_uint_eq(hc_entry_age_s(entry, 0), 0);
	hc_entry_unref(entry);
	ck_assert_int_eq(hc_store_peek(store, key_str("k"), NOW + 9000, &entry), HC_OK);
	ck_assert_uint_eq(hc_entry_hits(entry), 1);
	ck_assert_uint_eq(hc_entry_idle_s(entry, NOW + 7000), 2);
	hc_entry_unref(entry);
}
END_TEST

/* Of a thousand entries that were read a hundred times each; a standard deviation of their mean is 1.2. */
START_TEST(hits_are_exact_up_to_three_and_about_right_beyond)
{
	struct hc_entry *entry;
	uint64_t sum = 0;

	for (int i = 0; i < 1000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "k%d", i);
		put(name, "v");
		for (uint32_t n = 1; n <= 100; n++) {
			ck_assert_int_eq(hc_store_get(store, key_str(name), NOW, &entry), HC_OK);
			ck_assert(n > 3 || hc_entry_hits(entry) == n);
			hc_entry_unref(entry);
		}
		sum += hc_entry_hits(entry);
	}
	ck_assert_uint_ge(sum, 93 * 1000);
	ck_assert_uint_le(sum, 107 * 1000);
	for (int n = 0; n < 20000; n++) {
		ck_assert_int_eq(hc_store_get(store, key_str("k0"), NOW, &entry), HC_OK);
		hc_entry_unref(entry);
	}
	ck_assert_uint_eq(hc_entry_hits(entry), 243);
}
END_TEST

START_TEST(get_expired_entry_misses_and_reclaims)
{
	struct hc_entry *entry;
	struct hc_store_stats stats;

	put_how("k", "v", NULL, NOW + 10);
	ck_assert(holds_at("k", "v", NOW + 9));
	ck_assert_int_eq(hc_store_get(store, key_str("k"), NOW + 10, &entry), HC_MISS);
	hc_store_stats(store, &stats);
	ck_assert_uint_eq(stats.entries, 0);
	ck_assert_uint_eq(stats.bytes, 0);
	ck_assert_uint_eq(stats.expired, 1);
	ck_assert_uint_eq(stats.reclaimed, 0);
}
END_TEST

START_TEST(get_cleared_model_misses_other_stays)
{
	struct hc_models *models = hc_store_models(store);
	struct hc_store_stats stats;
	uint32_t model;

	ck_assert_int_eq(hc_models_intern(models, HC_SLICE("m"), &model), HC_OK);
	struct hc_entry *entry = entry_of_model(store, "k", "v", model);
	hc_store_put(store, key_str("k"), entry, NULL, NOW, NULL);
	put("other", "v");
	hc_models_bump(models, model);
	hc_entry_unref(entry);
	ck_assert(holds("k", NULL));
	ck_assert(holds("other", "v"));
	hc_store_stats(store, &stats);
	ck_assert_uint_eq(stats.reclaimed, 1);
	ck_assert_uint_eq(stats.expired, 0);
}
END_TEST

START_TEST(entry_referenced_survives_overwrite_and_destroy)
{
	struct hc_entry *entry;

	put("k", "old");
	ck_assert_int_eq(hc_store_get(store, key_str("k"), NOW, &entry), HC_OK);
	put("k", "new");
	hc_store_destroy(store);
	ck_assert(hc_slice_eq(hc_entry_value(entry), HC_SLICE("old")));
	hc_entry_unref(entry);
	setup();
}
END_TEST

START_TEST(put_conditions_hold_or_change_nothing)
{
	struct hc_store_put absent = {.condition = HC_STORE_ABSENT};
	struct hc_store_put present = {.condition = HC_STORE_PRESENT};

	ck_assert_int_eq(put_how("k", "1", &present, HC_NO_EXPIRY), HC_MISS);
	ck_assert(holds("k", NULL));
	ck_assert_int_eq(put_how("k", "2", &absent, HC_NO_EXPIRY), HC_OK);
	ck_assert_int_eq(put_how("k", "3", &absent, HC_NO_EXPIRY), HC_MISS);
	ck_assert(holds("k", "2"));
	ck_assert_int_eq(put_how("k", "4", &present, NOW + 5), HC_OK);
	ck_assert(holds("k", "4"));
}
END_TEST

START_TEST(put_absent_over_expired_succeeds)
{
	struct hc_store_put absent = {.condition = HC_STORE_ABSENT};
	struct hc_entry *entry = entry_str(store, "k", "new"), *old = entry;

	put_how("k", "v", NULL, NOW + 5);
	ck_assert_int_eq(hc_store_put(store, key_str("k"), entry, &absent, NOW + 5, &old), HC_OK);
	ck_assert_ptr_null(old);
	hc_entry_unref(entry);
	ck_assert(holds_at("k", "new", NOW + 5));
}
END_TEST

START_TEST(put_same_is_compare_and_swap)
{
	struct hc_entry *first;
	struct hc_store_put same = {.condition = HC_STORE_SAME};

	ck_assert_int_eq(put_how("k", "1", &same, HC_NO_EXPIRY), HC_OK); /* expected none */
	ck_assert_int_eq(put_how("k", "2", &same, HC_NO_EXPIRY), HC_CONFLICT);
	hc_store_get(store, key_str("k"), NOW, &first);
	same.expected = first;
	ck_assert_int_eq(put_how("k", "3", &same, HC_NO_EXPIRY), HC_OK);
	ck_assert_int_eq(put_how("k", "4", &same, HC_NO_EXPIRY), HC_CONFLICT);
	hc_entry_unref(first);
	ck_assert(holds("k", "3"));
}
END_TEST

START_TEST(put_keep_ttl_takes_over_expiry)
{
	struct hc_store_put keep = {.keep_ttl = true};

	put_how("k", "1", NULL, NOW + 10);
	put_how("k", "2", &keep, HC_NO_EXPIRY);
	ck_assert(holds_at("k", "2", NOW + 9));
	ck_assert(holds_at("k", NULL, NOW + 10));
	put_how("k", "3", &keep, NOW + 20); /* none there: its own */
	ck_assert(holds_at("k", NULL, NOW + 20));
}
END_TEST

START_TEST(put_old_is_given_whatever_the_status)
{
	struct hc_store_put absent = {.condition = HC_STORE_ABSENT};
	struct hc_entry *entry = entry_str(store, "k", "2"), *old = NULL;

	put("k", "1");
	ck_assert_int_eq(hc_store_put(store, key_str("k"), entry, &absent, NOW, &old), HC_MISS);
	ck_assert(hc_slice_eq(hc_entry_value(old), HC_SLICE("1")));
	hc_entry_unref(old);
	ck_assert_int_eq(hc_store_put(store, key_str("k"), entry, NULL, NOW, &old), HC_OK);
	ck_assert(hc_slice_eq(hc_entry_value(old), HC_SLICE("1")));
	hc_entry_unref(old);
	hc_entry_unref(entry);
}
END_TEST

START_TEST(put_already_invalid_leaves_nothing)
{
	struct hc_entry *late = entry_str(store, "k", "late");

	put("k", "1");
	ck_assert_int_eq(put_how("k", "2", NULL, NOW), HC_OK);
	ck_assert(holds("k", NULL));
	put("k", "1");
	hc_models_bump(hc_store_models(store), HC_MODEL_DEFAULT);
	ck_assert_int_eq(hc_store_put(store, key_str("k"), late, NULL, NOW, NULL), HC_OK);
	hc_entry_unref(late);
	ck_assert(holds("k", NULL));
	ck_assert_uint_eq(entries(), 0);
}
END_TEST

START_TEST(put_larger_than_an_eighth_is_refused_and_removes)
{
	struct hc_key key = key_str("k");
	struct hc_entry *entry = hc_entry_create(store, key, (1 << 17), HC_MODEL_DEFAULT), *old;

	put("k", "1");
	ck_assert_int_eq(hc_store_put(store, key, entry, NULL, NOW, &old), HC_LIMIT);
	hc_entry_unref(old);
	hc_entry_unref(entry);
	ck_assert(holds("k", NULL));
	ck_assert_uint_eq(bytes(), 0);
	hc_store_set_limit(store, 0);
	ck_assert_int_eq(put_how("k", "1", NULL, HC_NO_EXPIRY), HC_LIMIT);
}
END_TEST

START_TEST(forget_all_so_often_that_generations_come_round_stays_forgotten)
{
	put("k", "v");
	for (unsigned i = 0; i < 1u << 16; i++)
		hc_store_forget_all(store);
	ck_assert(holds("k", NULL));
	put("k", "v");
	ck_assert(holds("k", "v"));
}
END_TEST

START_TEST(expiry_beyond_the_short_form_is_exact)
{
	static const int64_t times[] = {HC_NO_EXPIRY - 1, ((int64_t)1 << 47) - 1, (int64_t)1 << 47,
	    ((int64_t)1 << 48) - 1, (int64_t)1 << 48, NOW + 5, HC_NO_EXPIRY, NOW + 7};
	struct hc_entry *entry;

	put("k", "v");
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		ck_assert_int_eq(hc_store_expire(store, key_str("k"), 0, times[i], NOW, NULL), HC_OK);
		ck_assert_int_eq(hc_store_peek(store, key_str("k"), NOW, &entry), HC_OK);
		ck_assert_int_eq(hc_entry_expire_ms(entry), times[i]);
		hc_entry_unref(entry);
	}
	ck_assert_int_eq(hc_store_get(store, key_str("k"), NOW + 7, &entry), HC_MISS);
}
END_TEST

/* ---- put_many, del, expire ---- */

START_TEST(put_many_is_all_or_none)
{
	const char *names[] = {"a", "b", "c", "d", "e", "f", "a"};
	struct hc_entry *many[7];

	for (int i = 0; i < 7; i++)
		many[i] = entry_str(store, names[i], i == 6 ? "last" : "first");
	put("f", "there");
	ck_assert_int_eq(hc_store_put_many(store, many, 7, HC_STORE_ABSENT, NOW), HC_MISS);
	ck_assert_int_eq(hc_store_put_many(store, many, 7, HC_STORE_PRESENT, NOW), HC_MISS);
	ck_assert_uint_eq(entries(), 1);
	hc_store_del(store, key_str("f"), NOW, NULL);
	ck_assert_int_eq(hc_store_put_many(store, many, 7, HC_STORE_ABSENT, NOW), HC_OK);
	ck_assert_uint_eq(entries(), 6);
	ck_assert(holds("a", "last"));
	for (int i = 0; i < 7; i++)
		hc_entry_unref(many[i]);
	ck_assert_int_eq(hc_store_put_many(store, NULL, 0, HC_STORE_ANY, NOW), HC_OK);
}
END_TEST

START_TEST(put_many_one_too_large_changes_nothing)
{
	struct hc_entry *many[2] = {
	    entry_str(store, "a", "new"), hc_entry_create(store, key_str("b"), 1 << 18, HC_MODEL_DEFAULT)};

	put("a", "old");
	ck_assert_int_eq(hc_store_put_many(store, many, 2, HC_STORE_ANY, NOW), HC_LIMIT);
	ck_assert(holds("a", "old"));
	hc_entry_unref(many[0]);
	hc_entry_unref(many[1]);
}
END_TEST

START_TEST(del_removes_once_and_gives_old)
{
	struct hc_entry *old;

	put("k", "v");
	ck_assert_int_eq(hc_store_del(store, key_str("k"), NOW, &old), HC_OK);
	ck_assert(hc_slice_eq(hc_entry_value(old), HC_SLICE("v")));
	hc_entry_unref(old);
	ck_assert_int_eq(hc_store_del(store, key_str("k"), NOW, &old), HC_MISS);
	ck_assert_ptr_null(old);
	put_how("k", "v", NULL, NOW + 5);
	ck_assert_int_eq(hc_store_del(store, key_str("k"), NOW + 5, NULL), HC_MISS);
}
END_TEST

START_TEST(expire_flags_follow_redis)
{
	static const struct {
		unsigned flags;
		int64_t present, wanted;
		enum hc_status status;
	} rows[] = {
	    {HC_EXPIRE_ANY, HC_NO_EXPIRY, NOW + 5, HC_OK},
	    {HC_EXPIRE_ANY, HC_NO_EXPIRY, HC_NO_EXPIRY, HC_UNCHANGED},
	    {HC_EXPIRE_ANY, NOW + 5, HC_NO_EXPIRY, HC_OK},
	    {HC_EXPIRE_NX, HC_NO_EXPIRY, NOW + 5, HC_OK},
	    {HC_EXPIRE_NX, NOW + 9, NOW + 5, HC_UNCHANGED},
	    {HC_EXPIRE_XX, HC_NO_EXPIRY, NOW + 5, HC_UNCHANGED},
	    {HC_EXPIRE_XX, NOW + 9, NOW + 5, HC_OK},
	    {HC_EXPIRE_GT, NOW + 9, NOW + 10, HC_OK},
	    {HC_EXPIRE_GT, NOW + 9, NOW + 9, HC_UNCHANGED},
	    {HC_EXPIRE_GT, HC_NO_EXPIRY, NOW + 9, HC_UNCHANGED},
	    {HC_EXPIRE_LT, NOW + 9, NOW + 8, HC_OK},
	    {HC_EXPIRE_LT, NOW + 9, NOW + 9, HC_UNCHANGED},
	    {HC_EXPIRE_LT, HC_NO_EXPIRY, NOW + 9, HC_OK},
	    {HC_EXPIRE_XX | HC_EXPIRE_LT, HC_NO_EXPIRY, NOW + 9, HC_UNCHANGED},
	    {HC_EXPIRE_XX | HC_EXPIRE_GT, NOW + 9, NOW + 10, HC_OK},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hc_entry *old;
		put_how("k", "v", NULL, rows[i].present);
		ck_assert_msg(
		    hc_store_expire(store, key_str("k"), rows[i].flags, rows[i].wanted, NOW, &old) == rows[i].status,
		    "row %zu", i);
		int64_t left = rows[i].status == HC_OK ? rows[i].wanted : rows[i].present;
		ck_assert_int_eq(hc_entry_expire_ms(old), left);
		hc_entry_unref(old);
	}
	ck_assert_int_eq(hc_store_expire(store, key_str("no"), 0, NOW + 1, NOW, NULL), HC_MISS);
}
END_TEST

START_TEST(expire_in_the_past_removes)
{
	put("k", "v");
	ck_assert_int_eq(hc_store_expire(store, key_str("k"), 0, NOW, NOW, NULL), HC_OK);
	ck_assert_uint_eq(entries(), 0);
	put("k", "v");
	ck_assert_int_eq(hc_store_expire(store, key_str("k"), HC_EXPIRE_GT, NOW, NOW, NULL), HC_UNCHANGED);
	ck_assert(holds("k", "v"));
}
END_TEST

START_TEST(exclusive_own_calls_do_not_block)
{
	struct hc_entry *entry;
	uint64_t cursor = 0;
	struct hc_entry_list list = {0};

	fill_up(0, 3000, 100);
	hc_store_exclusive_begin(store);
	put("k", "v");
	ck_assert(holds("k", "v"));
	fill_up(10000, 6000, 100); /* evicts */
	ck_assert_int_eq(hc_store_get(store, key_str("fill15999"), NOW, &entry), HC_OK);
	hc_entry_unref(entry);
	hc_store_del(store, key_str("fill15999"), NOW, NULL);
	ck_assert_int_eq(hc_store_scan(store, &cursor, 100, NOW, &list), HC_OK);
	hc_entry_list_fini(&list);
	ck_assert_uint_eq(hc_store_count(store, NOW), entries());
	hc_store_forget_all(store);
	hc_store_sweep(store, NOW, INT32_MAX);
	ck_assert_uint_eq(bytes(), 0);
	hc_store_exclusive_end(store);
	put("k", "again");
	ck_assert(holds("k", "again"));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store");
	TCase *tcase = tcase_create("store");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, create_odd_shards_is_invalid);
	tcase_add_test(tcase, get_binary_and_empty_keys_hits);
	tcase_add_test(tcase, put_given_reference_is_the_stores_whatever_happens);
	tcase_add_test(tcase, models_are_told_of_what_shards_keep_to_themselves);
	tcase_add_test(tcase, soonest_expiry_is_never_after_the_first);
	tcase_add_test(tcase, get_hit_counts_and_peek_does_not);
	tcase_add_test(tcase, hits_are_exact_up_to_three_and_about_right_beyond);
	tcase_add_test(tcase, get_expired_entry_misses_and_reclaims);
	tcase_add_test(tcase, get_cleared_model_misses_other_stays);
	tcase_add_test(tcase, entry_referenced_survives_overwrite_and_destroy);
	tcase_add_test(tcase, put_conditions_hold_or_change_nothing);
	tcase_add_test(tcase, put_absent_over_expired_succeeds);
	tcase_add_test(tcase, put_same_is_compare_and_swap);
	tcase_add_test(tcase, put_keep_ttl_takes_over_expiry);
	tcase_add_test(tcase, put_old_is_given_whatever_the_status);
	tcase_add_test(tcase, put_already_invalid_leaves_nothing);
	tcase_add_test(tcase, put_larger_than_an_eighth_is_refused_and_removes);
	tcase_add_test(tcase, forget_all_so_often_that_generations_come_round_stays_forgotten);
	tcase_add_test(tcase, expiry_beyond_the_short_form_is_exact);
	tcase_add_test(tcase, put_many_is_all_or_none);
	tcase_add_test(tcase, put_many_one_too_large_changes_nothing);
	tcase_add_test(tcase, del_removes_once_and_gives_old);
	tcase_add_test(tcase, expire_flags_follow_redis);
	tcase_add_test(tcase, expire_in_the_past_removes);
	tcase_add_test(tcase, exclusive_own_calls_do_not_block);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
