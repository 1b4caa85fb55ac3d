/*
 * A run of operations during which the k-th allocation fails, for every k: nothing crashes, nothing
 * leaks (run it under AddressSanitizer), and what the store holds is right.
 */
#include "support.h"

#define NOW 1000000
#define KEYS 1200 /* enough for the only shard's table to need more segments and a larger directory */

static void
name_of(unsigned i, char name[16])
{
	snprintf(name, 16, "k%u", i);
}

/* Returns whether it is there; a value must be its key's. */
static bool
check_key(struct hc_store *store, unsigned i)
{
	struct hc_entry *entry;
	char name[16];

	name_of(i, name);
	if (hc_store_get(store, key_str(name), NOW, &entry) != HC_OK)
		return false;
	must(hc_slice_eq(hc_entry_value(entry), hc_slice_str(name)));
	hc_entry_unref(entry);
	return true;
}

static unsigned
put_all(struct hc_store *store)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < KEYS; i++) {
		char name[16];
		name_of(i, name);
		struct hc_entry *entry = entry_str(store, name, name);
		if (entry == NULL) {
			must(!check_key(store, i));
			failed++;
			continue;
		}
		must(hc_store_put(store, key_str(name), entry, NULL, NOW, NULL) == HC_OK);
		hc_entry_unref(entry);
		must(check_key(store, i));
	}
	return failed;
}

/* A scan that ran out of memory goes on where it was. Returns how often it had to. */
static unsigned
scan_all(struct hc_store *store, size_t expected)
{
	struct hc_entry_list list = {0};
	uint64_t cursor = 0;
	unsigned failed = 0;
	enum hc_status status;

	do {
		status = hc_store_scan(store, &cursor, 100, NOW, &list);
		must(status == HC_OK || status == HC_NOMEM);
		failed += status == HC_NOMEM;
	} while (status == HC_NOMEM || cursor != 0);
	must(list.n == expected);
	hc_entry_list_fini(&list);
	return failed;
}

/* Returns how many calls told of a failure. */
static unsigned
run(struct hc_store **store)
{
	struct hc_store_config config = {.max_bytes = 1 << 20, .shards = 1, .max_models = 10};
	unsigned failed;
	uint32_t model;

	if (hc_store_create(&config, store) != HC_OK)
		return 1;
	failed = hc_models_intern(hc_store_models(*store), HC_SLICE("m"), &model) == HC_NOMEM;
	unsigned lost = put_all(*store);
	must(hc_store_count(*store, NOW) == KEYS - lost);
	failed += lost + scan_all(*store, KEYS - lost);
	return failed;
}

/* Without faults again: all is well, whatever failed before. */
static void
recover(struct hc_store *store)
{
	struct hc_store_stats stats;

	hc_mem_fail_after(0);
	must(put_all(store) == 0);
	must(scan_all(store, KEYS) == 0);
	hc_store_stats(store, &stats);
	must(stats.entries == KEYS);
	must(stats.table_bytes >= KEYS * sizeof(void *)); /* the table has caught up */
	for (unsigned i = 0; i < KEYS; i++) {
		char name[16];
		name_of(i, name);
		must(hc_store_del(store, key_str(name), NOW, NULL) == HC_OK);
	}
	hc_store_stats(store, &stats);
	must(stats.bytes == 0);
}

START_TEST(store_each_failing_allocation_is_survived)
{
	unsigned told = 0, silent = 0;
	long k = 0;

	for (;;) {
		struct hc_store *store = NULL;
		hc_mem_fail_after(++k);
		unsigned failed = run(&store);
		told += failed > 0;
		silent += failed == 0;
		/* Did it fire? What is left of the count would still fail something in so few
		 * allocations. */
		void *probe = hc_malloc(1);
		bool fired = probe != NULL;
		hc_free(probe);
		hc_mem_fail_after(0);
		if (store != NULL)
			recover(store);
		hc_store_destroy(store);
		if (!fired || k > 2 * KEYS)
			break;
	}
	must(told > KEYS);
	must(silent > 3); /* the table could not grow: slower, but right */
}
END_TEST

START_TEST(mem_fail_after_fails_once_and_only_then)
{
	void *ptr;

	hc_mem_fail_after(2);
	ptr = hc_malloc(8);
	ck_assert_ptr_nonnull(ptr);
	ck_assert_ptr_null(hc_realloc(ptr, 16));
	ptr = hc_realloc(ptr, 16);
	ck_assert_ptr_nonnull(ptr);
	must(hc_mem_footprint(ptr) >= 16);
	must(hc_mem_footprint(NULL) == 0);
	hc_free(ptr);
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_strdup("x"));
	char *copy = hc_strndup("abc", 2);
	ck_assert_str_eq(copy, "ab");
	hc_free(copy);
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_calloc_aligned(64, 64));
	char *line = hc_calloc_aligned(64, 100);
	must((uintptr_t)line % 64 == 0);
	must(line[99] == 0);
	hc_free(line);
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_mem_take_pages(100));
	char *pages = hc_mem_take_pages(3 << 16);
	memset(pages, 1, 3 << 16);
	hc_mem_purge_pages(pages, (1 << 16) + 1, 3 << 16);
	must(pages[1 << 16] == 1);
	must(pages[(3 << 16) - 1] == 0);
	hc_mem_give_pages(pages, 3 << 16);
	hc_mem_give_pages(NULL, 100);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("mem_faults");
	TCase *tcase = tcase_create("mem_faults");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, store_each_failing_allocation_is_survived);
	tcase_add_test(tcase, mem_fail_after_fails_once_and_only_then);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
