/*
 * Reads of many keys at once, by the thread that has the store to itself: each step for all of them before the next, so
 * that what one waits for comes while the others are looked at, and no lock is taken or asked for. Owns nothing.
 */
#include <assert.h>
#include "store/shard.h"

void
hc_store_find_many(
    struct hc_store *store, const struct hc_key *keys, size_t n, int64_t now_ms, struct hc_entry **entries)
{
	struct hc_bucket *buckets[HC_STORE_MANY];

	assert(n <= HC_STORE_MANY && hc_store_exclusive == store);
	for (size_t i = 0; i < n; i++) {
		buckets[i] = hc_table_bucket_of(&hc_shard_of(store, keys[i])->table, (uint32_t)keys[i].hash);
		__builtin_prefetch(buckets[i]);
	}
	for (size_t i = 0; i < n; i++)
		hc_bucket_prefetch_match(buckets[i], hc_bucket_tag((uint32_t)keys[i].hash));
	for (size_t i = 0; i < n; i++) {
		struct hc_place place;
		struct hc_entry *entry = hc_table_find_in(buckets[i], keys[i], &place);
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
