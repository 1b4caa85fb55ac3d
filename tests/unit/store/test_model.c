/*
 * Models: names, epochs, accounts, and look-ups by many threads while names are added.
 */
#include <pthread.h>
#include "support.h"

static struct hc_models *models;

static void
setup(void)
{
	ck_assert_int_eq(hc_models_create(600, &models), HC_OK);
}

static void
teardown(void)
{
	hc_models_destroy(models);
}

START_TEST(model_default_is_always_there)
{
	uint32_t id = 99;

	ck_assert_int_eq(hc_models_find(models, HC_SLICE("default"), &id), HC_OK);
	ck_assert_uint_eq(id, HC_MODEL_DEFAULT);
	ck_assert_uint_eq(hc_models_count(models), 1);
}
END_TEST

START_TEST(model_intern_same_name_same_id)
{
	uint32_t a = 0, b = 0, c = 0;

	ck_assert_int_eq(hc_models_find(models, HC_SLICE("org/m:1@x"), &a), HC_MISS);
	ck_assert_int_eq(hc_models_intern(models, HC_SLICE("org/m:1@x"), &a), HC_OK);
	ck_assert_int_eq(hc_models_intern(models, HC_SLICE("org/m:1@x"), &b), HC_OK);
	ck_assert_int_eq(hc_models_find(models, HC_SLICE("org/m:1@x"), &c), HC_OK);
	ck_assert_uint_eq(a, 1);
	ck_assert_uint_eq(b, 1);
	ck_assert_uint_eq(c, 1);
	ck_assert(hc_slice_eq(hc_models_name(models, a), HC_SLICE("org/m:1@x")));
}
END_TEST

START_TEST(model_intern_bad_name_is_invalid)
{
	char name[HC_MODEL_NAME_MAX + 1];
	uint32_t id = 7;

	memset(name, 'n', sizeof(name));
	ck_assert_int_eq(hc_models_intern(models, hc_slice(NULL, 0), &id), HC_INVALID);
	ck_assert_int_eq(hc_models_intern(models, hc_slice(name, sizeof(name)), &id), HC_INVALID);
	ck_assert_int_eq(hc_models_find(models, hc_slice(name, sizeof(name)), &id), HC_MISS);
	ck_assert_uint_eq(id, 7);
	ck_assert_int_eq(hc_models_intern(models, hc_slice(name, sizeof(name) - 1), &id), HC_OK);
}
END_TEST

START_TEST(model_intern_full_table_is_limit)
{
	char name[16];
	uint32_t id;

	for (uint32_t i = 1; i < 600; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		ck_assert_int_eq(hc_models_intern(models, hc_slice_str(name), &id), HC_OK);
		ck_assert_uint_eq(id, i);
	}
	ck_assert_int_eq(hc_models_intern(models, HC_SLICE("more"), &id), HC_LIMIT);
	ck_assert_int_eq(hc_models_intern(models, HC_SLICE("m599"), &id), HC_OK);
	ck_assert_uint_eq(id, 599);
	ck_assert_uint_eq(hc_models_count(models), 600);
}
END_TEST

START_TEST(model_epoch_bump_raise_reset)
{
	struct hc_model_info info;
	uint64_t changes = hc_models_changes(models);

	ck_assert_uint_eq(hc_models_bump(models, 0), 1);
	ck_assert(hc_models_raise(models, 0, 5));
	ck_assert_uint_eq(hc_models_changes(models), changes + 2);
	ck_assert(!hc_models_raise(models, 0, 5));
	ck_assert(!hc_models_raise(models, 0, 4));
	ck_assert_uint_eq(hc_models_changes(models), changes + 2);
	hc_models_info(models, 0, &info);
	ck_assert_uint_eq(info.epoch, 5);
	ck_assert_uint_eq(info.clears, 2);
}
END_TEST

#define RAISES 200000

static struct hc_models *raised;
static pthread_barrier_t round_begins;

/* Both raise it at the same time: to neither it looks as if it were being cleared yet. */
static void *
raise_each(void *arg)
{
	bool *seen = arg;

	for (uint32_t epoch = 1; epoch <= RAISES; epoch++) {
		(void)hc_models_raise(raised, HC_MODEL_DEFAULT, epoch);
		*seen = *seen || hc_models_cleared_since(raised, HC_MODEL_DEFAULT, hc_models_changes(raised));
		pthread_barrier_wait(&round_begins);
	}
	return NULL;
}

START_TEST(model_that_was_raised_is_raised_for_all)
{
	bool seen[2] = {false, false};
	pthread_t thread;

	ck_assert_int_eq(hc_models_create(10, &raised), HC_OK);
	pthread_barrier_init(&round_begins, NULL, 2);
	pthread_create(&thread, NULL, raise_each, &seen[1]);
	raise_each(&seen[0]);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&round_begins);
	ck_assert(!seen[0] && !seen[1]);
	ck_assert_uint_eq(hc_models_epoch(raised, HC_MODEL_DEFAULT), RAISES);
	hc_models_destroy(raised);
}
END_TEST

START_TEST(model_account_follows_the_store)
{
	struct hc_store *store = store_of(1 << 20, 2);
	struct hc_models *table = hc_store_models(store);
	struct hc_model_info info;
	uint32_t model;

	hc_models_intern(table, HC_SLICE("m"), &model);
	struct hc_entry *a = entry_of_model(store, "a", "x", model), *b = entry_of_model(store, "b", "yy", model);
	hc_store_put(store, key_str("a"), a, NULL, 1, NULL);
	hc_store_put(store, key_str("b"), b, NULL, 1, NULL);
	hc_store_tell_models(store);
	hc_models_info(table, model, &info);
	ck_assert_uint_eq(info.entries, 2);
	ck_assert_uint_eq(info.bytes, hc_entry_footprint(a) + hc_entry_footprint(b));
	hc_store_del(store, key_str("a"), 1, NULL);
	hc_store_tell_models(store);
	hc_models_info(table, model, &info);
	ck_assert_uint_eq(info.entries, 1);
	hc_models_bump(table, model);
	hc_store_sweep(store, 1, INT32_MAX);
	hc_store_tell_models(store);
	hc_models_info(table, model, &info);
	ck_assert_uint_eq(info.entries, 0);
	ck_assert_uint_eq(info.bytes, 0);
	hc_entry_unref(a);
	hc_entry_unref(b);
	hc_store_destroy(store);
}
END_TEST

static void *
intern_all(void *arg)
{
	uint32_t *ids = arg;
	char name[16];

	for (uint32_t i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		if (hc_models_intern(models, hc_slice_str(name), &ids[i]) != HC_OK ||
		    !hc_slice_eq(hc_models_name(models, ids[i]), hc_slice_str(name)))
			ids[i] = UINT32_MAX;
		hc_models_bump(models, ids[i] % 500);
	}
	return NULL;
}

START_TEST(model_intern_by_threads_agrees)
{
	static uint32_t ids[3][500];
	pthread_t threads[3];

	for (int t = 0; t < 3; t++)
		pthread_create(&threads[t], NULL, intern_all, ids[t]);
	for (int t = 0; t < 3; t++)
		pthread_join(threads[t], NULL);
	ck_assert_uint_eq(hc_models_count(models), 501);
	for (int i = 0; i < 500; i++) {
		ck_assert_uint_ne(ids[0][i], UINT32_MAX);
		ck_assert_uint_eq(ids[0][i], ids[1][i]);
		ck_assert_uint_eq(ids[0][i], ids[2][i]);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("model");
	TCase *tcase = tcase_create("model");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, model_default_is_always_there);
	tcase_add_test(tcase, model_intern_same_name_same_id);
	tcase_add_test(tcase, model_intern_bad_name_is_invalid);
	tcase_add_test(tcase, model_intern_full_table_is_limit);
	tcase_add_test(tcase, model_epoch_bump_raise_reset);
	tcase_add_test(tcase, model_that_was_raised_is_raised_for_all);
	tcase_add_test(tcase, model_account_follows_the_store);
	tcase_add_test(tcase, model_intern_by_threads_agrees);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
