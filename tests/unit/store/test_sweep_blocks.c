/*
 * The sweep in the order of memory: what is dead goes, and nothing else; nobody who reads, writes or moves entries
 * meanwhile can tell. Under the sanitizers too, with the slabs switched on.
 */
#include <pthread.h>
#include "support.h"
#include "store/shard.h"
#include "store/slab.h"

#define NOW 1000000
#define LATER (NOW + 2000)
#define KEYS 6000

static struct hc_store *store;

static void
set_up(void)
{
	hc_slab_use_slabs(true);
	store = store_of(256 << 20, 8);
}

static void
tear_down(void)
{
	hc_store_destroy(store);
}

static struct hc_entry *
make(uint32_t i, size_t len, uint32_t model, int64_t expire_ms)
{
	struct hc_entry *entry = whole_entry(store, i, len, model);

	hc_entry_set_expire_ms(entry, expire_ms);
	return entry;
}

static void
put(uint32_t i, size_t len, uint32_t model, int64_t expire_ms)
{
	char name[24];
	struct hc_entry *entry = make(i, len, model, expire_ms);

	must(hc_store_put(store, name_key(i, name), entry, NULL, NOW, NULL) == HC_OK);
	hc_entry_unref(entry);
}

/* With a reference, or NULL. */
static struct hc_entry *
get(uint32_t i, int64_t now_ms)
{
	struct hc_entry *entry;
	char name[24];

	return hc_store_get(store, name_key(i, name), now_ms, &entry) == HC_OK ? entry : NULL;
}

static uint64_t
entries(void)
{
	struct hc_store_stats stats;

	hc_store_stats(store, &stats);
	return stats.entries;
}

/* All of it. Returns how many went. */
static size_t
sweep(int64_t now_ms)
{
	struct hc_slab_visit visit = {0};
	struct hc_sweep_tally tally = {0};

	while (hc_sweep_blocks(store, &visit, now_ms, &tally))
		continue;
	return tally.reclaimed;
}

static const size_t some_lengths[] = {20, 500, 9000, 40000};

/* ---- what goes ---- */

/* Of every eight: two have expired, one is of a model that was cleared, one has expired and is held. */
START_TEST(sweep_blocks_takes_what_is_dead_and_nothing_else)
{
	static struct hc_entry *held[KEYS];
	size_t len = some_lengths[_i];
	struct hc_store_stats stats;
	uint32_t n = len < 1000 ? KEYS : 800, model;

	must(hc_models_intern(hc_store_models(store), HC_SLICE("m"), &model) == HC_OK);
	for (uint32_t i = 0; i < n; i++) {
		put(i, len + i % 3, i % 8 == 5 ? model : HC_MODEL_DEFAULT,
		    i % 8 < 2 || i % 8 == 6 ? NOW + 1000
		    : i % 8 == 2            ? LATER + 1
					    : HC_NO_EXPIRY);
		held[i] = i % 8 == 6 ? get(i, NOW) : NULL;
	}
	must(sweep(NOW) == 0);
	(void)hc_models_bump(hc_store_models(store), model);
	must(sweep(LATER) == n / 8 * 3);
	hc_store_stats(store, &stats);
	ck_assert_uint_eq(stats.entries, n / 8 * 5);
	ck_assert_uint_eq(stats.expired, n / 8 * 2);
	ck_assert_uint_eq(stats.reclaimed, n / 8);
	for (uint32_t i = 0; i < n; i++) {
		struct hc_entry *entry = get(i, NOW);
		bool gone = i % 8 < 2 || i % 8 == 5;
		must((entry == NULL) == gone);
		must(gone || is_whole(entry, i));
		hc_entry_unref(entry);
		must(held[i] == NULL || is_whole(held[i], i));
		hc_entry_unref(held[i]);
	}
	must(sweep(LATER) == n / 8); /* nobody holds them any more */
	must(sweep(LATER) == 0);
}
END_TEST

START_TEST(sweep_blocks_leaves_a_far_expiry_to_the_walk)
{
	for (uint32_t i = 0; i < 100; i++)
		put(i, 50, HC_MODEL_DEFAULT, INT64_MAX / 2 + i);
	must(sweep(INT64_MAX - 1) == 0);
	while (hc_store_sweep(store, INT64_MAX - 1, INT32_MAX) != HC_SWEEP_DONE)
		continue;
	ck_assert_uint_eq(entries(), 0);
}
END_TEST

/* Of all that is forgotten, and of what another store has. */
START_TEST(sweep_blocks_takes_what_is_forgotten_of_this_store_alone)
{
	struct hc_store *other = store_of(64 << 20, 2);
	struct hc_entry *own[100];

	for (uint32_t i = 0; i < 100; i++) {
		char name[24];
		uint32_t model;
		(void)name_key(i, name);
		must(hc_models_intern(hc_store_models(other), hc_slice_str(name), &model) == HC_OK);
		(void)hc_models_bump(hc_store_models(other), model);
		own[i] = hc_entry_create(other, name_key(i, name), 10, model);
		memset(hc_entry_value_ptr(own[i]), 7, 10);
		must(hc_store_put(other, name_key(i, name), own[i], NULL, NOW, NULL) == HC_OK);
		hc_entry_unref(own[i]);
		put(i, 50, HC_MODEL_DEFAULT, HC_NO_EXPIRY);
	}
	hc_store_forget_all(store);
	must(sweep(NOW) == 100);
	ck_assert_uint_eq(entries(), 0);
	for (uint32_t i = 0; i < 100; i++) {
		struct hc_entry *entry;
		char name[24];
		must(hc_store_get(other, name_key(i, name), NOW, &entry) == HC_OK);
		must(entry == own[i] && atomic_load(&entry->refs) == 2);
		hc_entry_unref(entry);
	}
	hc_store_destroy(other);
}
END_TEST

/* An entry that is not in the store yet is not the store's to free, however dead. */
START_TEST(sweep_blocks_leaves_alone_what_is_not_in_the_store)
{
	struct hc_entry *own[200];

	for (uint32_t i = 0; i < 200; i++) {
		if (i % 2 == 0)
			put(i, 60, HC_MODEL_DEFAULT, HC_NO_EXPIRY); /* another of that key is */
		own[i] = make(i, 60, HC_MODEL_DEFAULT, NOW + 1);
	}
	must(sweep(LATER) == 0);
	for (uint32_t i = 0; i < 200; i++) {
		must(is_whole(own[i], i) && atomic_load(&own[i]->refs) == 1);
		hc_entry_unref(own[i]);
	}
	ck_assert_uint_eq(entries(), 100);
}
END_TEST

/* However far behind what is alive: it is not put off until there is nothing else to do. */
START_TEST(sweep_goes_on_until_it_has_come_to_what_is_dead)
{
	uint32_t model;

	must(hc_models_intern(hc_store_models(store), HC_SLICE("m"), &model) == HC_OK);
	for (uint32_t i = 0; i < 36000; i++)
		put(i, i % 6 == 0 ? 3000 : 60, i % 6 == 0 ? model : HC_MODEL_DEFAULT, HC_NO_EXPIRY);
	(void)hc_models_bump(hc_store_models(store), model);
	while (hc_store_sweep(store, NOW, 0) != HC_SWEEP_DONE)
		continue;
	ck_assert_uint_eq(entries(), 30000);
}
END_TEST

/* What has no block is met by the walk alone, and that is not put off for the blocks again and again. */
START_TEST(sweep_goes_on_where_blocks_have_nothing)
{
	unsigned calls = 0;

	hc_store_set_limit(store, (uint64_t)4 << 30);
	for (uint32_t i = 0; i < 3000; i++)
		put(i, HC_SLAB_BLOCK_MAX + 1, HC_MODEL_DEFAULT, NOW + 1000);
	for (uint32_t i = 3000; i < 10000; i++)
		put(i, 60, HC_MODEL_DEFAULT, HC_NO_EXPIRY);
	while (hc_store_sweep(store, LATER, 0) != HC_SWEEP_DONE)
		calls++;
	ck_assert_uint_eq(entries(), 7000);
	ck_assert_uint_lt(calls, 200);
}
END_TEST

static void *
sweep_once(void *arg)
{
	*(size_t *)arg = sweep(LATER);
	return NULL;
}

/* What others do with the shard while the sweep waits for its lock counts. */
START_TEST(sweep_blocks_spares_what_is_held_or_alive_once_it_has_the_lock)
{
	struct hc_entry *three[3];
	size_t reclaimed;
	pthread_t thread;

	for (uint32_t i = 0; i < 3; i++) {
		put(i, 60, HC_MODEL_DEFAULT, NOW + 1000);
		three[i] = get(i, NOW);
		hc_entry_unref(three[i]);
	}
	for (uint32_t i = 0; i < store->nshards; i++)
		hc_shard_lock(store, &store->shards[i]);
	must(pthread_create(&thread, NULL, sweep_once, &reclaimed) == 0);
	for (int64_t end = hc_clock_mono_ms() + 10000; atomic_load(&three[0]->refs) != 2 ||
						       atomic_load(&three[1]->refs) != 2 ||
						       atomic_load(&three[2]->refs) != 2;)
		must(hc_clock_mono_ms() < end);
	hc_entry_ref(three[0]);
	hc_entry_set_expire_ms(three[1], HC_NO_EXPIRY);
	for (uint32_t i = 0; i < store->nshards; i++)
		hc_shard_unlock(store, &store->shards[i]);
	pthread_join(thread, NULL);
	must(reclaimed == 1 && entries() == 2);
	for (uint32_t i = 0; i < 2; i++) {
		struct hc_entry *entry = get(i, NOW);
		must(entry == three[i] && is_whole(entry, i));
		hc_entry_unref(entry);
	}
	hc_entry_unref(three[0]);
}
END_TEST

/* Entries of several models and sizes lie next to each other. */
START_TEST(sweep_blocks_counts_for_each_model_what_of_it_has_gone)
{
	struct hc_models *models = hc_store_models(store);
	uint32_t ids[3] = {HC_MODEL_DEFAULT};

	must(hc_models_intern(models, HC_SLICE("m"), &ids[1]) == HC_OK);
	must(hc_models_intern(models, HC_SLICE("n"), &ids[2]) == HC_OK);
	for (uint32_t i = 0; i < KEYS; i++)
		put(i, 20 + i % 5, ids[i % 3], NOW + 1000);
	must(sweep(LATER) == KEYS);
	hc_store_tell_models(store);
	for (unsigned i = 0; i < 3; i++) {
		struct hc_model_info info;
		hc_models_info(models, ids[i], &info);
		ck_assert_uint_eq(info.entries, 0);
		ck_assert_uint_eq(info.bytes, 0);
	}
}
END_TEST

/* By the sweep as a whole: of entries, tables and queues; and nothing is left for eviction to stumble on. */
START_TEST(sweep_gives_the_memory_back)
{
	struct hc_slab_usage usage;
	struct hc_store_stats before, stats;

	hc_store_stats(store, &before);
	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 20 * KEYS; i++)
			put(i, 60, HC_MODEL_DEFAULT, NOW + 1000);
		while (hc_store_sweep(store, LATER, 0) != HC_SWEEP_DONE)
			continue;
		hc_store_stats(store, &stats);
		ck_assert_uint_eq(stats.entries, 0);
		ck_assert_uint_eq(stats.bytes, 0);
		ck_assert_uint_lt(stats.table_bytes, before.table_bytes + (64 << 10));
		hc_slab_usage(&usage);
		ck_assert_uint_eq(usage.live, 0);
		ck_assert_uint_lt(usage.resident, 1 << 20);
		ck_assert_uint_eq(store->sweep_ngiven_up, 0);
	}
}
END_TEST

/* What tables and queues have given up goes with the store, though the sweep has not come to freeing it. */
START_TEST(store_goes_with_what_is_given_up)
{
	size_t before = 0;

	for (unsigned round = 0; round < 10; round++) {
		for (uint32_t i = 0; i < 20 * KEYS; i++)
			put(i, 60, HC_MODEL_DEFAULT, NOW + 1000);
		while (store->sweep_ngiven_up < 2) /* both lists of a shard */
			must(hc_store_sweep(store, LATER, 0) == HC_SWEEP_MORE);
		hc_store_destroy(store);
		store = store_of(256 << 20, 8);
		if (round == 0)
			before = hc_mem_resident();
	}
	must(SANITIZED || hc_mem_resident() < before + (1 << 20));
}
END_TEST

/* ---- threads ---- */

#define THREADS 3
static _Atomic bool over;

/* For whom nothing has expired: what the others sweep goes all of a sudden. */
static void *
read_and_write(void *arg)
{
	struct rng rng = {(uintptr_t)arg};
	struct hc_entry *held[16] = {0};
	uint32_t of[16] = {0};

	for (unsigned n = 0; n < 60000; n++) {
		uint32_t i = rng_below(&rng, KEYS), at = n % 16;
		char name[24];
		switch (rng_below(&rng, 4)) {
		case 0:
		case 1:
			put(i, rng_below(&rng, 2) > 0 ? 100 : rng_below(&rng, 2000), HC_MODEL_DEFAULT,
			    rng_below(&rng, 4) > 0 ? NOW + 1000 : HC_NO_EXPIRY);
			break;
		case 2:
			(void)hc_store_expire(store, name_key(i, name), 0, NOW + 1000, NOW, NULL);
			break;
		default:
			if (held[at] != NULL)
				must(is_whole(held[at], of[at]));
			hc_entry_unref(held[at]);
			held[at] = get(i, NOW);
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
sweep_all_the_time(void *arg)
{
	(void)arg;
	while (!atomic_load(&over))
		(void)sweep(LATER);
	return NULL;
}

static void *
compact_all_the_time(void *arg)
{
	(void)arg;
	while (!atomic_load(&over))
		hc_compact(store, SIZE_MAX, UINT64_MAX);
	return NULL;
}

START_TEST(sweep_blocks_beside_threads_that_read_write_and_move_is_not_noticed)
{
	pthread_t threads[THREADS], sweeper, compactor;
	struct hc_store_stats stats;
	uint64_t bytes = 0;

	must(pthread_create(&sweeper, NULL, sweep_all_the_time, NULL) == 0);
	must(pthread_create(&compactor, NULL, compact_all_the_time, NULL) == 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		must(pthread_create(&threads[i], NULL, read_and_write, (void *)(i + 1)) == 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&over, true);
	pthread_join(sweeper, NULL);
	pthread_join(compactor, NULL);
	(void)sweep(LATER);
	for (uint32_t i = 0; i < KEYS; i++) {
		struct hc_entry *entry = get(i, NOW);
		if (entry == NULL)
			continue;
		must(is_whole(entry, i) && hc_entry_expire_ms(entry) == HC_NO_EXPIRY);
		must(atomic_load(&entry->refs) == 2);
		bytes += hc_entry_footprint(entry);
		hc_entry_unref(entry);
	}
	hc_store_stats(store, &stats);
	must(stats.bytes == bytes);
	hc_store_set_limit(store, 1); /* eviction finds each */
	while (hc_store_sweep(store, NOW, INT32_MAX))
		continue;
	ck_assert_uint_eq(entries(), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sweep_blocks");
	TCase *tcase = tcase_create("sweep_blocks");

	tcase_set_timeout(tcase, 240);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(
	    tcase, sweep_blocks_takes_what_is_dead_and_nothing_else, 0, sizeof(some_lengths) / sizeof(some_lengths[0]));
	tcase_add_test(tcase, sweep_blocks_leaves_a_far_expiry_to_the_walk);
	tcase_add_test(tcase, sweep_blocks_takes_what_is_forgotten_of_this_store_alone);
	tcase_add_test(tcase, sweep_blocks_leaves_alone_what_is_not_in_the_store);
	tcase_add_test(tcase, sweep_blocks_spares_what_is_held_or_alive_once_it_has_the_lock);
	tcase_add_test(tcase, sweep_goes_on_until_it_has_come_to_what_is_dead);
	tcase_add_test(tcase, sweep_goes_on_where_blocks_have_nothing);
	tcase_add_test(tcase, sweep_blocks_counts_for_each_model_what_of_it_has_gone);
	tcase_add_test(tcase, sweep_gives_the_memory_back);
	tcase_add_test(tcase, store_goes_with_what_is_given_up);
	tcase_add_test(tcase, sweep_blocks_beside_threads_that_read_write_and_move_is_not_noticed);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
