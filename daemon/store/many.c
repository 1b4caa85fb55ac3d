/*
 * Many keys at once: each step of a look-up for all of them before the next step, so that what one waits for comes
 * while the others are looked at. Owns nothing. Any thread; those functions that read need the store for themselves,
 * and prefetching costs less then.
 */
#include <assert.h>
#include "store/shard.h"

/*
 * Both steps ahead of a look-up: the buckets, and, once these are there, the entries. Sets buckets[], and likely[] to
 * what is most likely the entry of each key: the first one of its tag, or NULL. Inlined in any case: gcc leaves out
 * calls of a function that does nothing but prefetch. All locks are held.
 */
static inline __attribute__((always_inline)) void
bring_near(const struct hc_store *store, const struct hc_key *keys, size_t n, struct hc_bucket **buckets,
    struct hc_entry **likely)
{
	for (size_t i = 0; i < n; i++) {
		buckets[i] = hc_table_bucket_of(&hc_shard_of(store, keys[i])->table, (uint32_t)keys[i].hash);
		__builtin_prefetch(buckets[i]);
	}
	for (size_t i = 0; i < n; i++)
		likely[i] = hc_bucket_prefetch_match(buckets[i], hc_bucket_tag((uint32_t)keys[i].hash));
}

/* The same, for who has to take a lock for each. */
static void
bring_near_locked(struct hc_store *store, const struct hc_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct hc_shard *shard = hc_shard_of(store, keys[i]);
		hc_shard_lock_to_read(store, shard);
		hc_table_prefetch_slot(&shard->table, keys[i].hash);
		hc_shard_unlock_read(store, shard);
	}
	for (size_t i = 0; i < n; i++) {
		struct hc_shard *shard = hc_shard_of(store, keys[i]);
		hc_shard_lock_to_read(store, shard);
		hc_table_prefetch_entry(&shard->table, keys[i].hash);
		hc_shard_unlock_read(store, shard);
	}
}

/* What a write of each changes besides. They stay where they are, and nothing is read: no lock. */
static void
bring_stamps_near(const struct hc_store *store, const struct hc_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(hc_shard_stamp(hc_shard_of(store, keys[i]), keys[i]), 1);
}

void
hc_store_prefetch(struct hc_store *store, const struct hc_key *keys, size_t n)
{
	struct hc_bucket *buckets[HC_STORE_MANY];
	struct hc_entry *likely[HC_STORE_MANY];

	if (n < 2) /* it would be waited for at once */
		return;
	bring_stamps_near(store, keys, n);
	if (hc_store_exclusive == store)
		bring_near(store, keys, n < HC_STORE_MANY ? n : HC_STORE_MANY, buckets, likely);
	else
		bring_near_locked(store, keys, n);
}

/* Behind another one of the same tag, or in a bucket behind the first. */
static __attribute__((noinline, cold)) struct hc_entry *
find_further(struct hc_bucket *bucket, struct hc_key key)
{
	struct hc_place place;

	return hc_table_find_in(bucket, key, &place);
}

/* `entries` are at first those that bring_near() found likely. */
void
hc_store_find_many(
    struct hc_store *store, const struct hc_key *keys, size_t n, int64_t now_ms, struct hc_entry **entries)
{
	struct hc_bucket *buckets[HC_STORE_MANY];

	assert(n <= HC_STORE_MANY && hc_store_exclusive == store);
	bring_near(store, keys, n, buckets, entries);
	for (size_t i = 0; i < n; i++) {
		struct hc_entry *entry = entries[i];
		if (__builtin_expect(entry == NULL || !hc_table_has_key(entry, keys[i]), 0))
			entry = find_further(buckets[i], keys[i]);
		entries[i] = entry != NULL && hc_entry_present(store, entry, now_ms) ? entry : NULL;
	}
}

void
hc_store_count_reads(
    struct hc_store *store, const struct hc_key *keys, size_t n, int64_t now_ms, struct hc_entry *const *entries)
{
	assert(hc_store_exclusive == store);
	for (size_t i = 0; i < n; i++) {
		if (entries[i] != NULL)
			hc_shard_count_hit(hc_shard_of(store, keys[i]), entries[i], now_ms);
	}
}
