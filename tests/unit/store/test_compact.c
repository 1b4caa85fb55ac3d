/*
 * Compaction in the store: entries move, and nobody can tell; and with it the budget holds for what
 * the process takes, whatever the sizes. Under the sanitizers too, with the slabs switched on.
 */
#include <pthread.h>
#include "support.h"
#include "store/shard.h"
#include "store/slab.h"

#define NOW 1000000
#define KEYS 4000
#define ALL_WORK SIZE_MAX

static struct hc_store *store;

static void
set_up(void)
{
	hc_slab_use_slabs(true);
	store = store_of(256 << 20, 4);
}

static void
tear_down(void)
{
	hc_store_destroy(store);
}

static uint64_t
idle(void)
{
	struct hc_slab_usage usage;

	hc_slab_usage(&usage);
	return usage.resident - usage.live;
}

static void
put(uint32_t i, size_t len)
{
	char name[24];
	struct hc_entry *entry = whole_entry(store, i, len, HC_MODEL_DEFAULT);

	must(hc_store_put(store, name_key(i, name), entry, NULL, NOW, NULL) == HC_OK);
	hc_entry_unref(entry);
}

static void
overwrite(uint32_t i, size_t len)
{
	char name[24];
	struct hc_entry *entry = whole_entry(store, i, len, HC_MODEL_DEFAULT);

	(void)hc_store_overwrite(store, name_key(i, name), HC_MODEL_DEFAULT, hc_entry_value(entry), HC_NO_EXPIRY, NOW);
	hc_entry_unref(entry);
}

static void
del(uint32_t i)
{
	char name[24];

	(void)hc_store_del(store, name_key(i, name), NOW, NULL);
}

/* With a reference, or NULL. */
static struct hc_entry *
get(uint32_t i)
{
	struct hc_entry *entry;
	char name[24];

	return hc_store_get(store, name_key(i, name), NOW, &entry) == HC_OK ? entry : NULL;
}

static const size_t some_lengths[] = {20, 500, 3000, 9000};

/* Every eighth is left. */
static void
fill_sparsely(size_t len)
{
	for (uint32_t i = 0; i < KEYS; i++)
		put(i, len);
	for (uint32_t i = 0; i < KEYS; i++) {
		if (i % 8 != 0)
			del(i);
	}
}

START_TEST(compact_moves_entries_with_all_they_have)
{
	struct hc_entry *before[KEYS / 8];
	unsigned moved = 0;

	fill_sparsely(some_lengths[_i]);
	for (uint32_t i = 0; i < KEYS; i += 8) {
		char name[24];
		/* some in the far future, which is kept beside the entry */
		int64_t expire_ms = i % 3 == 0 ? INT64_MAX / 2 + i : NOW + 1000 + i;
		for (uint32_t n = 0; n < i % 2; n++)
			hc_entry_unref(get(i));
		if (i % 16 == 0)
			must(hc_store_expire(store, name_key(i, name), 0, expire_ms, NOW, NULL) == HC_OK);
		before[i / 8] = get(i);
		hc_entry_unref(before[i / 8]);
	}
	uint64_t sparse = idle();
	hc_compact(store, ALL_WORK, UINT64_MAX);
	must(idle() < sparse / 4);
	must(hc_store_count(store, NOW) == KEYS / 8);
	for (uint32_t i = 0; i < KEYS; i += 8) {
		struct hc_entry *entry = get(i);
		must(entry != NULL && is_whole(entry, i));
		moved += entry != before[i / 8];
		must(hc_entry_hits(entry) == i % 2 + 2);
		must(entry->created_s == NOW / 1000);
		int64_t expire_ms = i % 3 == 0 ? INT64_MAX / 2 + i : NOW + 1000 + i;
		must(hc_entry_expire_ms(entry) == (i % 16 == 0 ? expire_ms : HC_NO_EXPIRY));
		hc_entry_unref(entry);
	}
	must(moved > KEYS / 16);
}
END_TEST

/* Every one that was moved is found by eviction, and its bytes are given back once. */
START_TEST(compact_leaves_eviction_and_accounts_even)
{
	struct hc_store_stats stats;

	for (unsigned round = 0; round < 3; round++) {
		fill_sparsely(some_lengths[_i]);
		for (uint32_t i = 0; i < KEYS; i += 16)
			hc_entry_unref(get(i));
		hc_compact(store, ALL_WORK, UINT64_MAX);
		for (uint32_t i = 1; i < KEYS; i += 8)
			put(i, some_lengths[_i]);
		hc_compact(store, ALL_WORK, UINT64_MAX);
	}
	hc_store_set_limit(store, 1);
	while (hc_store_sweep(store, NOW, INT32_MAX))
		;
	hc_store_stats(store, &stats);
	ck_assert_uint_eq(stats.entries, 0);
	ck_assert_uint_eq(stats.bytes, 0);
}
END_TEST

START_TEST(compact_does_not_move_what_somebody_reads)
{
	static struct hc_entry *held[KEYS];

	fill_sparsely(300);
	for (uint32_t i = 0; i < KEYS; i += 8)
		held[i] = get(i);
	hc_compact(store, ALL_WORK, UINT64_MAX);
	for (uint32_t i = 0; i < KEYS; i += 8) {
		struct hc_entry *entry = get(i);
		must(entry == held[i] && is_whole(entry, i));
		hc_entry_unref(entry);
		hc_entry_unref(held[i]);
	}
}
END_TEST

static void *
compact_once(void *arg)
{
	(void)arg;
	hc_compact(store, ALL_WORK, UINT64_MAX);
	return NULL;
}

/* The entry that compaction is about to move; it waits for the shard's lock. */
static uint32_t
wait_for_pinned(struct hc_entry *const *entries)
{
	for (int64_t end = hc_clock_mono_ms() + 10000; hc_clock_mono_ms() < end;) {
		for (uint32_t i = 0; i < KEYS; i += 8) {
			if (atomic_load(&entries[i]->refs) == 2)
				return i;
		}
	}
	ck_abort_msg("nothing was to be moved");
	return 0;
}

START_TEST(compact_does_not_move_what_somebody_has_begun_to_read)
{
	static struct hc_entry *entries[KEYS];
	pthread_t thread;

	fill_sparsely(300);
	for (uint32_t i = 0; i < KEYS; i += 8) {
		entries[i] = get(i);
		hc_entry_unref(entries[i]);
	}
	for (uint32_t i = 0; i < store->nshards; i++)
		hc_shard_lock(store, &store->shards[i]);
	must(pthread_create(&thread, NULL, compact_once, NULL) == 0);
	uint32_t pinned = wait_for_pinned(entries);
	hc_entry_ref(entries[pinned]);
	for (uint32_t i = 0; i < store->nshards; i++)
		hc_shard_unlock(store, &store->shards[i]);
	pthread_join(thread, NULL);
	struct hc_entry *entry = get(pinned);
	must(entry == entries[pinned] && is_whole(entry, pinned) && atomic_load(&entry->refs) == 3);
	hc_entry_unref(entry);
	hc_entry_unref(entry);
}
END_TEST

/* An entry that is not in the store yet, or not any more, is not the store's to move. */
START_TEST(compact_does_not_move_what_is_not_in_the_store)
{
	static struct hc_entry *own[KEYS];

	for (uint32_t i = 0; i < KEYS; i++)
		own[i] = whole_entry(store, i, 300, HC_MODEL_DEFAULT);
	for (uint32_t i = 0; i < KEYS; i++) {
		if (i % 8 != 0)
			hc_entry_unref(own[i]);
	}
	hc_compact(store, ALL_WORK, UINT64_MAX);
	for (uint32_t i = 0; i < KEYS; i += 8) {
		must(is_whole(own[i], i));
		hc_entry_unref(own[i]);
	}
}
END_TEST

/* ---- the budget ---- */

static const struct {
	size_t low, high;
} phases[] = {{4096, 4096}, {64, 64}, {20480, 20480}, {64, 65536}, {1000, 5000}, {100, 20000}, {70000, 130000}};

START_TEST(budget_holds_for_memory_taken_while_sizes_change)
{
	uint64_t max = 32 << 20;
	struct rng rng = {test_seed()};
	uint32_t next = 0;
	struct hc_slab_usage usage;
	struct hc_store_stats stats;

	hc_store_set_limit(store, max);
	for (unsigned phase = 0; phase < sizeof(phases) / sizeof(phases[0]); phase++) {
		size_t range = phases[phase].high - phases[phase].low + 1;
		uint64_t bytes = 0;
		for (unsigned n = 0; bytes < 3 * max && n < 100000; n++) {
			size_t len = phases[phase].low + rng_below(&rng, (uint32_t)range);
			/* most are new, some change their size */
			put(rng_below(&rng, 8) > 0 ? next++ : rng_below(&rng, next + 1), len);
			bytes += len;
			if (n % 500 != 0)
				continue;
			hc_slab_usage(&usage);
			hc_store_stats(store, &stats);
			must_msg(usage.resident + stats.table_bytes < max + max / 20, "phase %u: %lu and %lu", phase,
			    (unsigned long)usage.resident, (unsigned long)stats.table_bytes);
		}
		hc_store_stats(store, &stats);
		must_msg(stats.bytes > max - max / 7, "phase %u: %lu", phase, (unsigned long)stats.bytes);
	}
}
END_TEST

/* ---- threads ---- */

#define THREADS 3
static _Atomic bool over;

static void *
read_and_write(void *arg)
{
	struct rng rng = {(uintptr_t)arg};
	struct hc_entry *held[16] = {0};
	uint32_t of[16] = {0};

	for (unsigned n = 0; n < 60000; n++) {
		/* a window that moves on: behind it, what is left gets sparse */
		uint32_t i = (n / 20 + rng_below(&rng, 300)) % KEYS, at = n % 16;
		switch (rng_below(&rng, 5)) {
		case 2:
			overwrite(i, 100);
			break;
		case 0:
			put(i, rng_below(&rng, 2) > 0 ? 100 : rng_below(&rng, 3000));
			break;
		case 1:
			del(i);
			break;
		default:
			if (held[at] != NULL)
				must(is_whole(held[at], of[at]));
			hc_entry_unref(held[at]);
			held[at] = get(i);
			of[at] = i;
			if (held[at] != NULL)
				must(is_whole(held[at], i));
			break;
		}
	}
	for (unsigned at = 0; at < 16; at++)
		hc_entry_unref(held[at]);
	return NULL;
}

static void *
compact_all_the_time(void *arg)
{
	(void)arg;
	while (!atomic_load(&over))
		hc_compact(store, ALL_WORK, UINT64_MAX);
	return NULL;
}

START_TEST(compact_beside_threads_that_read_and_write_is_not_noticed)
{
	pthread_t threads[THREADS], compactors[2];

	for (unsigned i = 0; i < 2; i++)
		must(pthread_create(&compactors[i], NULL, compact_all_the_time, NULL) == 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		must(pthread_create(&threads[i], NULL, read_and_write, (void *)(i + 1)) == 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&over, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(compactors[i], NULL);
	uint64_t bytes = 0;
	struct hc_store_stats stats;
	for (uint32_t i = 0; i < KEYS; i++) {
		struct hc_entry *entry = get(i);
		if (entry == NULL)
			continue;
		must(is_whole(entry, i));
		bytes += hc_entry_footprint(entry);
		hc_entry_unref(entry);
	}
	hc_store_stats(store, &stats);
	must(stats.bytes == bytes);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("compact");
	TCase *tcase = tcase_create("compact");
	int lengths = sizeof(some_lengths) / sizeof(some_lengths[0]);

	tcase_set_timeout(tcase, 240);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, compact_moves_entries_with_all_they_have, 0, lengths);
	tcase_add_loop_test(tcase, compact_leaves_eviction_and_accounts_even, 0, lengths);
	tcase_add_test(tcase, compact_does_not_move_what_somebody_reads);
	tcase_add_test(tcase, compact_does_not_move_what_somebody_has_begun_to_read);
	tcase_add_test(tcase, compact_does_not_move_what_is_not_in_the_store);
	tcase_add_test(tcase, budget_holds_for_memory_taken_while_sizes_change);
	tcase_add_test(tcase, compact_beside_threads_that_read_and_write_is_not_noticed);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
