/*
 * Several threads on one small store, doing everything at once, for a fixed number of operations
 * each. Checked: values are whole and belong to their key, none is older than what its reader had
 * seen before (one writer a key), exclusive use is exclusive, and the accounts are even when all is
 * over. Once for each number of readers. Run it under ThreadSanitizer.
 */
#include <pthread.h>
#include "support.h"

#define THREADS 4
#define KEYS 200
#define OPS 40000
#define NOW 1000000

static struct hc_store *store;
static uint32_t models[3];
static _Atomic int failures;
static _Atomic int overwritten;
static int inside; /* plain on purpose: the exclusive lock is what protects it */
static int visits;
static _Atomic int read_together;

static const uint32_t readers[] = {1, 2, 3, 4};

#define READERS ((int)(sizeof(readers) / sizeof(readers[0])))

struct worker {
	pthread_t thread;
	struct rng rng;
	uint32_t id;
	uint64_t newest[KEYS]; /* the highest number this thread has seen in each key's values */
	uint64_t number;
};

/* Key, writer, number, and the number again. */
struct value {
	uint32_t key;
	uint32_t writer;
	uint64_t number;
	uint64_t again;
};

static struct hc_key
make_key(uint32_t i, char name[16])
{
	snprintf(name, 16, "t%u", i);
	return key_str(name);
}

static void
wrong_if(bool wrong)
{
	if (wrong)
		atomic_fetch_add(&failures, 1);
}

static void
check_value(struct worker *w, uint32_t i, const struct hc_entry *entry)
{
	struct value value;

	wrong_if(hc_entry_value_len(entry) != sizeof(value));
	memcpy(&value, hc_entry_value(entry).ptr, sizeof(value));
	wrong_if(value.key != i || value.writer != i % THREADS || value.number != value.again);
	wrong_if(value.number < w->newest[i]); /* reads of a key never go back */
	w->newest[i] = value.number;
}

static struct value
make_value(struct worker *w, uint32_t i)
{
	uint64_t number = ++w->number;

	return (struct value){.key = i, .writer = w->id, .number = number, .again = number};
}

static struct hc_entry *
make_entry(struct worker *w, uint32_t i, struct hc_key key)
{
	struct value value = make_value(w, i);
	struct hc_entry *entry = hc_entry_create(store, key, sizeof(value), models[i % 3]);

	memcpy(hc_entry_value_ptr(entry), &value, sizeof(value));
	if (i % 7 == 0)
		hc_entry_set_expire_ms(entry, NOW + 1 + rng_below(&w->rng, 50));
	return entry;
}

static void
read_one(struct worker *w, uint32_t i, struct hc_key key)
{
	struct hc_entry *entry = NULL;
	enum hc_status status = hc_store_get(store, key, NOW + rng_below(&w->rng, 40), &entry);

	if (status == HC_OK)
		check_value(w, i, entry);
	wrong_if(status != HC_OK && status != HC_MISS);
	hc_entry_unref(entry);
}

static void
borrow_one(struct worker *w, uint32_t i, struct hc_key key)
{
	struct hc_entry *entry = hc_store_borrow(store, key, NOW + rng_below(&w->rng, 40));

	if (entry == NULL)
		return;
	check_value(w, i, entry);
	hc_store_give_back(store, key);
}

/* Only its own keys: i % THREADS == id. */
static void
write_one(struct worker *w, uint32_t i, struct hc_key key)
{
	struct hc_entry *entry = make_entry(w, i, key), *old = NULL;
	struct hc_ticket ticket;
	struct value value;

	switch (rng_below(&w->rng, 6)) {
	case 0:
		hc_store_put(store, key, entry, NULL, NOW, &old);
		break;
	case 1:
		hc_store_put_many(store, &entry, 1, HC_STORE_ABSENT, NOW);
		break;
	case 2:
		hc_store_fill_begin(store, key, &ticket);
		hc_store_fill_end(store, key, &ticket, entry, HC_FILL_NEW, NOW);
		break;
	case 3:
		hc_store_write_begin(store, key, &ticket);
		wrong_if(!hc_store_writing(store, key));
		hc_store_write_end(store, key, &ticket, entry, HC_FILL_NEW, NOW);
		break;
	case 4:
		value = make_value(w, i);
		if (hc_store_overwrite(
			store, key, models[i % 3], hc_slice((const char *)&value, sizeof(value)), HC_NO_EXPIRY, NOW))
			atomic_fetch_add(&overwritten, 1);
		break;
	default:
		hc_store_expire(store, key, 0, NOW + rng_below(&w->rng, 100), NOW, &old);
		break;
	}
	if (old != NULL)
		check_value(w, i, old);
	hc_entry_unref(old);
	hc_entry_unref(entry);
}

/* Some keys of all writers, found together: nobody changes them meanwhile. */
static void
read_some(struct worker *w)
{
	static _Thread_local char names[8][16];
	struct hc_key keys[8];
	struct hc_entry *entries[8];
	uint32_t first = rng_below(&w->rng, KEYS - 8);

	for (uint32_t n = 0; n < 8; n++)
		keys[n] = make_key(first + n, names[n]);
	hc_store_find_many(store, keys, 8, NOW, entries);
	hc_store_count_reads(store, keys, 8, NOW, entries);
	for (uint32_t n = 0; n < 8; n++) {
		if (entries[n] != NULL)
			check_value(w, first + n, entries[n]);
	}
}

static void
read_beside_readers(struct worker *w)
{
	hc_store_read_begin(store);
	wrong_if(inside != 0);
	read_some(w);
	hc_store_read_end(store);
	atomic_fetch_add(&read_together, 1);
}

static void
use_alone(struct worker *w)
{
	struct hc_entry *entries[3];
	char name[16];

	hc_store_exclusive_begin(store);
	wrong_if(inside++ != 0);
	visits++;
	read_some(w);
	for (uint32_t n = 0; n < 3; n++) {
		uint32_t i = rng_below(&w->rng, KEYS / THREADS) * THREADS + w->id;
		entries[n] = make_entry(w, i, make_key(i, name));
		read_one(w, i, make_key(i, name));
	}
	hc_store_put_many(store, entries, 3, HC_STORE_ANY, NOW);
	for (uint32_t n = 0; n < 3; n++)
		hc_entry_unref(entries[n]);
	wrong_if(--inside != 0);
	hc_store_exclusive_end(store);
}

static void
scan_some(struct worker *w)
{
	struct hc_entry_list list = {0};
	uint64_t cursor = rng_next(&w->rng);

	wrong_if(hc_store_scan(store, &cursor, 20, NOW, &list) != HC_OK);
	for (size_t n = 0; n < list.n; n++) {
		char name[16] = {0};
		memcpy(name, hc_entry_key(list.items[n]).ptr, hc_entry_key(list.items[n]).len);
		uint32_t i = (uint32_t)atoi(name + 1);
		struct value value;
		memcpy(&value, hc_entry_value(list.items[n]).ptr, sizeof(value));
		wrong_if(value.key != i || value.number != value.again);
	}
	hc_entry_list_fini(&list);
}

static void
upkeep(struct worker *w)
{
	struct hc_store_stats stats;

	if (w->id == 0)
		hc_store_sweep(store, NOW + 20, 50);
	else if (w->id == 1)
		hc_store_set_limit(store, 3000 + rng_below(&w->rng, 2000));
	hc_store_stats(store, &stats);
	hc_store_count(store, NOW);
}

static void *
work(void *arg)
{
	struct worker *w = arg;

	hc_store_read_as(w->id);
	for (int n = 0; n < OPS; n++) {
		char name[16];
		uint32_t dice = rng_below(&w->rng, 1000), i = rng_below(&w->rng, KEYS);
		uint32_t own = i / THREADS * THREADS + w->id;
		if (dice < 200)
			read_one(w, i, make_key(i, name));
		else if (dice < 450)
			borrow_one(w, i, make_key(i, name));
		else if (dice < 500)
			read_beside_readers(w);
		else if (dice < 850)
			write_one(w, own, make_key(own, name));
		else if (dice < 900)
			hc_store_del(store, make_key(i, name), NOW, NULL);
		else if (dice < 940)
			(void)hc_store_invalidate(store, make_key(i, name), 0);
		else if (dice < 960)
			scan_some(w);
		else if (dice < 970)
			use_alone(w);
		else if (dice < 980)
			hc_models_bump(hc_store_models(store), models[i % 3]);
		else if (dice < 981)
			hc_store_forget_all(store);
		else
			upkeep(w);
	}
	return NULL;
}

START_TEST(threads_doing_everything_see_whole_values)
{
	static struct worker workers[THREADS];
	uint64_t seed = test_seed();
	struct hc_store_stats stats;

	store = store_for(readers[_i], 4000, 4);
	for (int m = 0; m < 3; m++) {
		char name[2] = {(char)('a' + m), 0};
		hc_models_intern(hc_store_models(store), hc_slice_str(name), &models[m]);
	}
	for (uint32_t t = 0; t < THREADS; t++) {
		workers[t].id = t;
		workers[t].rng.state = seed + t;
		pthread_create(&workers[t].thread, NULL, work, &workers[t]);
	}
	for (int t = 0; t < THREADS; t++)
		pthread_join(workers[t].thread, NULL);
	ck_assert_int_eq(atomic_load(&failures), 0);
	ck_assert_int_gt(visits, 0);
	ck_assert_int_gt(atomic_load(&read_together), 0);
	ck_assert_int_gt(atomic_load(&overwritten), 0);
	hc_store_stats(store, &stats);
	ck_assert_uint_gt(stats.evicted, 0);
	for (uint32_t i = 0; i < KEYS; i++) {
		char name[16];
		ck_assert(!hc_store_writing(store, make_key(i, name)));
	}
	hc_store_forget_all(store);
	hc_store_sweep(store, NOW, INT32_MAX);
	hc_store_sweep(store, NOW, INT32_MAX);
	hc_store_stats(store, &stats);
	ck_assert_uint_eq(stats.entries, 0);
	ck_assert_uint_eq(stats.bytes, 0);
	hc_store_destroy(store);
}
END_TEST

/* Sums are kept under exclusive use only; a lost update would show. */
static void *
add_ones(void *arg)
{
	hc_store_read_as(*(uint32_t *)arg);
	for (int n = 0; n < 3000; n++) {
		struct hc_key key = key_str("sum");
		struct hc_entry *old = NULL, *entry = hc_entry_create(store, key, sizeof(int), HC_MODEL_DEFAULT);
		int sum = 0;
		hc_store_exclusive_begin(store);
		if (hc_store_get(store, key, NOW, &old) == HC_OK)
			memcpy(&sum, hc_entry_value(old).ptr, sizeof(sum));
		sum++;
		memcpy(hc_entry_value_ptr(entry), &sum, sizeof(sum));
		hc_store_put(store, key, entry, NULL, NOW, NULL);
		hc_store_exclusive_end(store);
		hc_entry_unref(old);
		hc_entry_unref(entry);
	}
	return NULL;
}

START_TEST(threads_exclusive_loses_no_update)
{
	uint32_t ids[3] = {0, 1, 2};
	pthread_t threads[3];
	struct hc_entry *entry;
	int sum;

	store = store_for(readers[_i], 1 << 20, 64);
	for (int t = 0; t < 3; t++)
		pthread_create(&threads[t], NULL, add_ones, &ids[t]);
	for (int t = 0; t < 3; t++)
		pthread_join(threads[t], NULL);
	ck_assert_int_eq(hc_store_get(store, key_str("sum"), NOW, &entry), HC_OK);
	memcpy(&sum, hc_entry_value(entry).ptr, sizeof(sum));
	ck_assert_int_eq(sum, 9000);
	hc_entry_unref(entry);
	hc_store_destroy(store);
}
END_TEST

/* ---- what was forgotten, and written again at once ---- */

#define FORGETS 20000

static _Atomic bool forgetting;

/* Nobody else writes: what it has written since it forgot is there. */
static void *
forget_and_write(void *arg)
{
	static const struct hc_store_put give = {.give = true};
	struct hc_key key = key_str("key");

	(void)arg;
	for (int n = 0; n < FORGETS; n++) {
		hc_store_forget_all(store);
		hc_store_put(store, key, hc_entry_create(store, key, 8, HC_MODEL_DEFAULT), &give, NOW, NULL);
		struct hc_entry *entry = NULL;
		wrong_if(hc_store_get(store, key, NOW, &entry) != HC_OK);
		hc_entry_unref(entry);
	}
	atomic_store(&forgetting, false);
	return NULL;
}

static void *
read_forgotten(void *arg)
{
	struct hc_key key = key_str("key");

	hc_store_read_as(*(uint32_t *)arg);
	while (atomic_load(&forgetting)) {
		struct hc_entry *entry = NULL;
		wrong_if(hc_store_get(store, key, NOW, &entry) == HC_SUSPECT);
		hc_entry_unref(entry);
	}
	return NULL;
}

START_TEST(threads_forgetting_leave_nothing_suspect)
{
	uint32_t ids[3] = {1, 2, 3};
	pthread_t threads[4];

	store = store_for(readers[_i], 1 << 20, 1);
	atomic_store(&forgetting, true);
	pthread_create(&threads[0], NULL, forget_and_write, NULL);
	for (int t = 1; t < 4; t++)
		pthread_create(&threads[t], NULL, read_forgotten, &ids[t - 1]);
	for (int t = 0; t < 4; t++)
		pthread_join(threads[t], NULL);
	ck_assert_int_eq(atomic_load(&failures), 0);
	hc_store_destroy(store);
}
END_TEST

/* ---- a table that grows and shrinks all the time ---- */

#define STAYING 500
#define WAVE 4000 /* keys each writer puts and deletes again, a few times */
#define WAVES 10

static _Atomic int writers;

static struct hc_key
wave_key(uint32_t writer, uint32_t i, char name[24])
{
	snprintf(name, 24, "w%u:%u", writer, i);
	return key_str(name);
}

static void *
write_waves(void *arg)
{
	uint32_t id = *(uint32_t *)arg;
	const struct hc_store_put give = {.give = true};
	char name[24];

	for (unsigned wave = 0; wave < WAVES; wave++) {
		for (uint32_t i = 0; i < WAVE; i++) {
			struct hc_key key = wave_key(id, i, name);
			struct hc_entry *entry = hc_entry_create(store, key, i % 50, models[(wave + i) % 3]);
			wrong_if(hc_store_put(store, key, entry, i % 2 == 0 ? &give : NULL, NOW, NULL) != HC_OK);
			if (i % 2 != 0)
				hc_entry_unref(entry);
		}
		for (uint32_t i = 0; i < WAVE; i++)
			wrong_if(hc_store_del(store, wave_key(id, i, name), NOW, NULL) != HC_OK);
	}
	atomic_fetch_sub(&writers, 1);
	return NULL;
}

/* Whole scans, one after the other: each must meet all that stays. */
static void *
scan_all(void *arg)
{
	unsigned *scans = arg;

	while (atomic_load(&writers) > 0) {
		struct hc_entry_list list = {0};
		bool met[STAYING] = {false};
		uint64_t cursor = 0;
		do
			wrong_if(hc_store_scan(store, &cursor, 50, NOW, &list) != HC_OK);
		while (cursor != 0);
		for (size_t n = 0; n < list.n; n++) {
			struct hc_slice key = hc_entry_key(list.items[n]);
			char name[24] = {0};
			memcpy(name, key.ptr, key.len);
			if (name[0] == 't')
				met[atoi(name + 1)] = true;
		}
		for (unsigned i = 0; i < STAYING; i++)
			wrong_if(!met[i]);
		hc_entry_list_fini(&list);
		++*scans;
	}
	return NULL;
}

static void *
read_staying(void *arg)
{
	struct rng rng = {.state = *(uint32_t *)arg};

	hc_store_read_as(*(uint32_t *)arg);
	while (atomic_load(&writers) > 0) {
		struct hc_entry *entry;
		char name[16];
		struct hc_key key = make_key(rng_below(&rng, STAYING), name);
		if (hc_store_get(store, key, NOW, &entry) != HC_OK) {
			wrong_if(true);
			continue;
		}
		wrong_if(!hc_slice_eq(hc_entry_key(entry), hc_slice(key.ptr, key.len)));
		hc_entry_unref(entry);
	}
	return NULL;
}

START_TEST(threads_growing_and_shrinking_lose_nothing_that_stays)
{
	uint32_t ids[2] = {0, 1};
	pthread_t threads[4];
	struct hc_store_stats stats;
	unsigned scans = 0;

	store = store_for(readers[_i], (uint64_t)1 << 30, 2);
	for (int m = 0; m < 3; m++) {
		char name[2] = {(char)('a' + m), 0};
		hc_models_intern(hc_store_models(store), hc_slice_str(name), &models[m]);
	}
	for (uint32_t i = 0; i < STAYING; i++) {
		char name[16];
		make_key(i, name);
		struct hc_entry *entry = entry_str(store, name, name);
		ck_assert_int_eq(hc_store_put(store, key_str(name), entry, NULL, NOW, NULL), HC_OK);
		hc_entry_unref(entry);
	}
	atomic_store(&writers, 2);
	pthread_create(&threads[0], NULL, write_waves, &ids[0]);
	pthread_create(&threads[1], NULL, write_waves, &ids[1]);
	pthread_create(&threads[2], NULL, scan_all, &scans);
	pthread_create(&threads[3], NULL, read_staying, &ids[1]);
	for (int t = 0; t < 4; t++)
		pthread_join(threads[t], NULL);
	ck_assert_int_eq(atomic_load(&failures), 0);
	ck_assert_uint_gt(scans, 0);
	hc_store_stats(store, &stats);
	ck_assert_uint_eq(stats.entries, STAYING);
	hc_store_tell_models(store);
	for (int m = 0; m < 3; m++) {
		struct hc_model_info info;
		hc_models_info(hc_store_models(store), models[m], &info);
		ck_assert_uint_eq(info.entries, 0);
		ck_assert_uint_eq(info.bytes, 0);
	}
	hc_store_destroy(store);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_threads");
	TCase *tcase = tcase_create("store_threads");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, threads_doing_everything_see_whole_values, 0, READERS);
	tcase_add_loop_test(tcase, threads_exclusive_loses_no_update, 0, READERS);
	tcase_add_loop_test(tcase, threads_forgetting_leave_nothing_suspect, 0, READERS);
	tcase_add_loop_test(tcase, threads_growing_and_shrinking_lose_nothing_that_stays, 0, READERS);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
