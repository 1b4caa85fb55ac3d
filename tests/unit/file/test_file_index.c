/*
 * The index of the file tier against a plain table, through growth, shrinking, clears and walks; and what it weighs.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "file/index.h"
#include "tests/unit/support.h"

#define KEYS 20000u

static struct hc_index *index_;
static struct hc_index_item model[KEYS];
static bool present[KEYS];

static void
setup(void)
{
	ck_assert_int_eq(hc_index_create(&index_), HC_OK);
	memset(present, 0, sizeof(present));
}

static void
teardown(void)
{
	hc_index_destroy(index_);
}

static uint64_t
hash_of(uint32_t key)
{
	struct rng rng = {key};

	return rng_next(&rng);
}

static struct hc_index_item
random_item(struct rng *rng, uint32_t key)
{
	uint64_t bits = rng_next(rng);

	return (struct hc_index_item){
	    .hash = hash_of(key),
	    .place = rng_next(rng) & (((uint64_t)1 << HC_INDEX_PLACE_BITS) - 1),
	    .bytes =
		(bits & 1) != 0 ? 16 * (1 + (uint32_t)(bits >> 40 & 0xffff)) : 256 * (8192 + (uint32_t)(bits >> 50)),
	    .expire_ms = (bits & 2) != 0 ? HC_NO_EXPIRY : (int64_t)(bits >> 18),
	    .group = (uint16_t)(bits >> 8),
	    .hot = (bits >> 2) & 3,
	    .kind = (enum hc_index_kind)((bits >> 4 & 0xff) % 3),
	};
}

static bool
same(const struct hc_index_item *a, const struct hc_index_item *b)
{
	return a->hash == b->hash && a->place == b->place && a->bytes == b->bytes && a->expire_ms == b->expire_ms &&
	       a->group == b->group && a->hot == b->hot && a->kind == b->kind;
}

static enum hc_status
put(const struct hc_index_item *item, bool *replaced, struct hc_index_item *old)
{
	struct hc_index_part *part = hc_index_lock(index_, item->hash);
	enum hc_status status = hc_index_reserve(part);

	if (status == HC_OK)
		*replaced = hc_index_put(part, item, old);
	hc_index_unlock(part);
	return status;
}

static bool
take(uint64_t hash, struct hc_index_item *old)
{
	struct hc_index_part *part = hc_index_lock(index_, hash);
	bool was = hc_index_remove(part, hash, old);

	hc_index_unlock(part);
	return was;
}

static bool
get(uint64_t hash, struct hc_index_item *out)
{
	struct hc_index_part *part = hc_index_lock(index_, hash);
	bool there = hc_index_find(part, hash, out);

	hc_index_unlock(part);
	return there;
}

static void
put_and_compare(struct rng *rng, uint32_t key)
{
	struct hc_index_item item = random_item(rng, key), old;
	bool replaced;

	must(put(&item, &replaced, &old) == HC_OK);
	must(replaced == present[key]);
	must(!replaced || same(&old, &model[key]));
	model[key] = item;
	present[key] = true;
}

static void
take_and_compare(uint32_t key)
{
	struct hc_index_item old;

	must(take(hash_of(key), &old) == present[key]);
	must(!present[key] || same(&old, &model[key]));
	present[key] = false;
}

static void
compare_all(void)
{
	struct hc_index_item item;
	uint64_t n = 0;

	for (uint32_t key = 0; key < KEYS; key++) {
		must(get(hash_of(key), &item) == present[key]);
		must(!present[key] || same(&item, &model[key]));
		n += present[key];
	}
	must(hc_index_count(index_) == n);
}

START_TEST(index_random_changes_match_a_table)
{
	struct rng rng = {test_seed()};

	for (int round = 0; round < 60; round++) {
		uint32_t puts = rng_below(&rng, 101); /* in a hundred: rounds that grow and rounds that shrink */
		for (int i = 0; i < 10000; i++) {
			uint32_t key = rng_below(&rng, KEYS);
			if (rng_below(&rng, 100) < puts)
				put_and_compare(&rng, key);
			else
				take_and_compare(key);
		}
		if (round % 20 == 19) {
			struct hc_index_garbage *garbage = NULL;
			hc_index_lock_all(index_);
			hc_index_clear(index_, &garbage);
			hc_index_unlock_all(index_);
			hc_index_free_garbage(garbage);
			memset(present, 0, sizeof(present));
		}
		if (round % 3 == 0)
			hc_index_trim(index_);
		compare_all();
	}
}
END_TEST

/* The parts and the first buckets are chosen by bits that are not stored: they must count all the same. */
START_TEST(index_hashes_that_differ_in_any_bit_are_different_keys)
{
	struct hc_index_item old, item = {.hash = 0x0123456789abcdef, .place = 77, .bytes = 16};
	bool replaced;

	ck_assert_int_eq(put(&item, &replaced, &old), HC_OK);
	for (unsigned bit = 0; bit < 64; bit++) {
		struct hc_index_item other = item;
		other.hash ^= (uint64_t)1 << bit;
		other.place = bit;
		ck_assert(!get(other.hash, &old));
		ck_assert_int_eq(put(&other, &replaced, &old), HC_OK);
		ck_assert(!replaced);
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		ck_assert(get(item.hash ^ (uint64_t)1 << bit, &old));
		ck_assert_uint_eq(old.place, bit);
		ck_assert_uint_eq(old.hash, item.hash ^ (uint64_t)1 << bit);
	}
	ck_assert(get(item.hash, &old));
	ck_assert_uint_eq(old.place, 77);
}
END_TEST

START_TEST(index_lengths_are_never_rounded_down)
{
	static const uint32_t lengths[] = {
	    1, 16, 17, 4096, 0x1ffff * 16, 0x1ffff * 16 + 1, 5000000, HC_INDEX_BYTES_MAX};
	struct hc_index_item old, item = {.hash = 5};
	bool replaced;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		item.bytes = lengths[i];
		ck_assert_int_eq(put(&item, &replaced, &old), HC_OK);
		ck_assert(get(5, &old));
		ck_assert_uint_ge(old.bytes, lengths[i]);
		ck_assert_uint_lt(old.bytes, lengths[i] + 256);
	}
}
END_TEST

/* ---- walking ---- */

static uint8_t met[KEYS], stays[KEYS];
static uint32_t gone[KEYS], to_go[KEYS]; /* of the groups */

static enum hc_index_verdict
note_item(void *arg, const struct hc_index_item *item)
{
	(void)arg;
	must(item->group < KEYS);
	if (item->hash == hash_of(item->group))
		met[item->group]++;
	return HC_INDEX_KEEP;
}

#define STAY 10000u

static void
put_those_that_stay(void)
{
	for (uint32_t key = 0; key < STAY; key++) {
		struct hc_index_item old, item = {.hash = hash_of(key), .bytes = 16, .group = (uint16_t)key};
		bool replaced;
		must(put(&item, &replaced, &old) == HC_OK);
	}
}

/* Some of those that come and go; `next` is the first of them. */
static uint32_t
meddle(struct rng *rng, uint32_t next, bool growing)
{
	for (uint32_t n = rng_below(rng, 8); n > 0; n--, next++) {
		struct hc_index_item old, item = {.hash = hash_of(next), .bytes = 16};
		bool replaced;
		if (growing)
			must(put(&item, &replaced, &old) == HC_OK);
		else
			take(item.hash, &old);
	}
	return next;
}

/* While others come and go, so that the index grows and shrinks under the walk. */
START_TEST(index_walk_meets_what_stays)
{
	struct rng rng = {test_seed()};

	put_those_that_stay();
	for (int round = 0; round < 20; round++) {
		uint64_t cursor = 0;
		uint32_t next = 1000000;
		memset(met, 0, sizeof(met));
		do {
			hc_index_walk(index_, &cursor, note_item, NULL);
			must(cursor >> 38 == 0);
			next = meddle(&rng, next, round % 2 == 0);
		} while (cursor != 0);
		for (uint32_t key = 0; key < STAY; key++)
			must_msg(met[key] >= 1, "round %d: key %u not met", round, key);
	}
}
END_TEST

static enum hc_index_verdict
remove_odd(void *arg, const struct hc_index_item *item)
{
	(void)arg;
	return (item->group & 1) != 0 ? HC_INDEX_REMOVE : HC_INDEX_KEEP;
}

START_TEST(index_walk_removes_what_it_is_told_to)
{
	uint64_t cursor = 0;
	struct hc_index_item old;

	for (uint32_t key = 0; key < KEYS; key++) {
		struct hc_index_item item = {.hash = hash_of(key), .bytes = 16, .group = (uint16_t)key};
		bool replaced;
		must(put(&item, &replaced, &old) == HC_OK);
	}
	do
		hc_index_walk(index_, &cursor, remove_odd, NULL);
	while (cursor != 0);
	for (uint32_t key = 0; key < KEYS; key++)
		must(get(hash_of(key), &old) == (key % 2 == 0));
	ck_assert_uint_eq(hc_index_count(index_), KEYS / 2);
}
END_TEST

/* ---- sweeping ---- */

/* There is no hash to tell who it is: those that stay have a place, from 1 on. */
static bool
note_place(void *arg, const struct hc_index_item *item)
{
	(void)arg;
	must(item->place <= STAY);
	if (item->place > 0)
		met[item->place - 1] = 1;
	return false;
}

static bool
is_odd(void *arg, const struct hc_index_item *item)
{
	(void)arg;
	return (item->group & 1) != 0;
}

/* By groups. */
static void
note_gone(void *arg, uint16_t group, uint32_t items, uint64_t bytes)
{
	(void)arg;
	must((group & 1) != 0 && items > 0);
	must(bytes == (uint64_t)16 * items);
	gone[group] += items;
}

START_TEST(index_sweep_meets_what_stays)
{
	struct rng rng = {test_seed()};

	for (uint32_t key = 0; key < STAY; key++) {
		struct hc_index_item old, item = {.hash = hash_of(key), .bytes = 16, .place = key + 1};
		bool replaced;
		must(put(&item, &replaced, &old) == HC_OK);
	}
	for (int round = 0; round < 20; round++) {
		uint64_t cursor = 0;
		uint32_t next = 1000000;
		memset(met, 0, sizeof(met));
		do {
			hc_index_sweep(index_, &cursor, 1 + rng_below(&rng, 9),
			    &(struct hc_index_sweeper){.dead = note_place, .now_ms = -1});
			next = meddle(&rng, next, round % 2 == 0);
		} while (cursor != 0);
		for (uint32_t key = 0; key < STAY; key++)
			must_msg(met[key] >= 1, "round %d: key %u not met", round, key);
	}
}
END_TEST

/* In steps of any size: half of them; all but the first of each part; all, after which the buckets have gone. */
START_TEST(index_sweep_removes_what_it_is_told_to)
{
	struct rng rng = {test_seed()};
	uint64_t before = hc_index_bytes(index_);
	struct hc_index_item old;

	for (uint16_t odd = 0; odd < 3; odd++) {
		uint64_t cursor = 0;
		bool begun[HC_INDEX_PARTS] = {false};
		struct hc_index_garbage *garbage = NULL;
		memset(to_go, 0, sizeof(to_go));
		memset(gone, 0, sizeof(gone));
		for (uint32_t key = 0; key < KEYS; key++) {
			struct hc_index_item item = {
			    .hash = hash_of(key), .bytes = 16, .place = key, .group = (uint16_t)(key | (odd > 0))};
			bool replaced, *first = &begun[item.hash % HC_INDEX_PARTS];
			item.group ^= odd == 1 && !*first && (*first = true);
			stays[key] = (item.group & 1) == 0;
			to_go[item.group] += !stays[key];
			must(put(&item, &replaced, &old) == HC_OK);
		}
		do
			hc_index_sweep(index_, &cursor, 1 + rng_below(&rng, 200),
			    &(struct hc_index_sweeper){
				.dead = is_odd, .gone = note_gone, .now_ms = -1, .garbage = odd > 0 ? &garbage : NULL});
		while (cursor != 0);
		hc_index_free_garbage(garbage);
		for (uint32_t key = 0; key < KEYS; key++) {
			bool there = get(hash_of(key), &old);
			must(there == stays[key]);
			must(gone[key] == to_go[key]);
			must(!there || old.place == key);
		}
	}
	ck_assert_uint_eq(hc_index_count(index_), 0);
	hc_index_trim(index_);
	ck_assert_uint_le(hc_index_bytes(index_), before + (uint64_t)HC_INDEX_PARTS * 1024); /* arrays of chunks */
}
END_TEST

/* ---- expired ---- */

#define SOON 1000
#define LATE 2000

static unsigned asked, told;

static bool
count_asked(void *arg, const struct hc_index_item *item)
{
	(void)arg;
	asked++;
	return item->expire_ms <= SOON;
}

static void
count_told(void *arg, uint16_t group, uint32_t items, uint64_t bytes)
{
	(void)arg;
	must(group == 0 && bytes == (uint64_t)16 * items);
	told += items;
}

static void
put_expiring(uint32_t key, int64_t expire_ms)
{
	struct hc_index_item old, item = {.hash = hash_of(key), .bytes = 16, .place = key, .expire_ms = expire_ms};
	bool replaced;

	must(put(&item, &replaced, &old) == HC_OK);
}

/* Returns how many went. */
static uint64_t
sweep_expired(int64_t now_ms)
{
	uint64_t cursor = 0, before = hc_index_count(index_);

	asked = told = 0;
	do
		hc_index_sweep(index_, &cursor, 64,
		    &(struct hc_index_sweeper){.dead = count_asked, .gone = count_told, .now_ms = now_ms});
	while (cursor != 0);
	ck_assert_uint_eq(before - hc_index_count(index_), told);
	return told;
}

/* All parts, while one of them has an item that stays: that part is looked at, and no other. */
START_TEST(index_sweep_asks_of_no_part_that_has_expired)
{
	struct hc_index_item old;
	uint32_t later = rng_below(&(struct rng){test_seed()}, KEYS), beside = 0;

	for (uint32_t key = 0; key < KEYS; key++) {
		put_expiring(key, SOON);
		beside += hash_of(key) % HC_INDEX_PARTS == hash_of(later) % HC_INDEX_PARTS;
	}
	/* In place of what is there: nothing comes, but it lives on. */
	put_expiring(later, LATE);
	ck_assert_uint_eq(sweep_expired(SOON - 1), KEYS - 1); /* each was asked about */
	ck_assert_uint_ge(asked, KEYS);
	for (uint32_t key = 0; key < KEYS; key++)
		put_expiring(key, key == later ? LATE : SOON);
	ck_assert_uint_eq(sweep_expired(SOON), KEYS - 1);
	ck_assert_uint_ge(asked, beside);
	ck_assert_uint_le(asked, 2 * beside);
	ck_assert(get(hash_of(later), &old));
	ck_assert_int_eq(old.expire_ms, LATE);
	/* What is known of a part is forgotten with what was in it. */
	ck_assert(take(hash_of(later), &old));
	ck_assert_uint_eq(hc_index_count(index_), 0);
	for (uint32_t key = 0; key < KEYS; key++)
		put_expiring(key, SOON);
	ck_assert_uint_eq(sweep_expired(SOON), KEYS);
}
END_TEST

/* ---- memory ---- */

static void
fill(uint32_t from, uint32_t to)
{
	for (uint32_t key = from; key < to; key++) {
		struct hc_index_item old, item = {.hash = hash_of(key), .bytes = 4096, .expire_ms = HC_NO_EXPIRY};
		bool replaced;
		must(put(&item, &replaced, &old) == HC_OK);
	}
}

START_TEST(index_weighs_at_most_32_bytes_an_item)
{
	uint32_t n = 1000000, marks[] = {200000, 500000, 700000, n};
	uint64_t before = hc_index_bytes(index_);
	size_t resident = hc_mem_resident();
	uint32_t from = 0;
	struct hc_index_item old;

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		fill(from, marks[i]);
		from = marks[i];
		printf("%u items: %.2f bytes each\n", from, (double)hc_index_bytes(index_) / from);
		if (from >= 500000)
			ck_assert_uint_le(hc_index_bytes(index_), (uint64_t)from * 32);
	}
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	if (hc_mem_resident() > resident)
		ck_assert_uint_le(hc_mem_resident() - resident, (size_t)n * 33);
#else
	(void)resident;
#endif
	for (uint32_t key = 0; key < n; key++)
		must(take(hash_of(key), &old));
	hc_index_trim(index_);
	ck_assert_uint_le(hc_index_bytes(index_), before + (uint64_t)HC_INDEX_PARTS * 1024); /* arrays of chunks */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	ck_assert_uint_le(hc_mem_resident(), resident + ((size_t)1 << 20));
#endif
}
END_TEST

START_TEST(index_without_memory_says_so_and_stays_whole)
{
	struct rng rng = {test_seed()};

	for (uint32_t key = 0; key < KEYS; key++) {
		struct hc_index_item old, item = random_item(&rng, key);
		bool replaced = false;
		hc_mem_fail_after(1);
		if (put(&item, &replaced, &old) != HC_OK) {
			hc_mem_fail_after(0);
			must(!get(item.hash, &old));
			must(put(&item, &replaced, &old) == HC_OK);
		}
		hc_mem_fail_after(0);
		model[key] = item;
		present[key] = true;
	}
	compare_all();
	for (long k = 1; k < 200; k++) {
		struct hc_index *none = NULL;
		hc_mem_fail_after(k);
		enum hc_status status = hc_index_create(&none);
		hc_mem_fail_after(0);
		if (status == HC_OK) {
			hc_index_destroy(none);
			return;
		}
		ck_assert_int_eq(status, HC_NOMEM);
	}
	ck_abort_msg("creation never succeeded");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("file_index");
	TCase *tcase = tcase_create("file_index");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, index_random_changes_match_a_table);
	tcase_add_test(tcase, index_hashes_that_differ_in_any_bit_are_different_keys);
	tcase_add_test(tcase, index_lengths_are_never_rounded_down);
	tcase_add_test(tcase, index_walk_meets_what_stays);
	tcase_add_test(tcase, index_walk_removes_what_it_is_told_to);
	tcase_add_test(tcase, index_sweep_meets_what_stays);
	tcase_add_test(tcase, index_sweep_removes_what_it_is_told_to);
	tcase_add_test(tcase, index_sweep_asks_of_no_part_that_has_expired);
	tcase_add_test(tcase, index_weighs_at_most_32_bytes_an_item);
	tcase_add_test(tcase, index_without_memory_says_so_and_stays_whole);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
