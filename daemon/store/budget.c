/*
 * The byte budget: evicting until what the tables hold fits. Any thread, outside of locks (or with
 * all of them, under exclusive use); owns nothing.
 *
 * There is one budget for all shards: each victim is the best of its home shard and two others.
 */
#include "store/shard.h"

#define EXTRA 64 /* evictions an insertion does beyond what it needs for itself */

/* In small steps: what is evicted gives its pages back only by and by. */
void
hc_store_fit_process(struct hc_store *store, uint64_t grown_bytes)
{
	uint64_t max = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);
	uint64_t reserved = atomic_load_explicit(&store->reserved_bytes, memory_order_relaxed);
	uint64_t most = max + max / 20 + HC_PROCESS_SLACK;

	if (grown_bytes > most && reserved < max / 2)
		reserved += max / 50;
	else if (grown_bytes < most - max / 50)
		reserved -= reserved < max / 200 ? reserved : max / 200;
	atomic_store_explicit(&store->reserved_bytes, reserved, memory_order_relaxed);
}

/* Returns whether it evicted one, and adds its bytes to *freed. */
static bool
evict_from(struct hc_store *store, struct hc_shard *shard, struct hc_entry *keep, uint64_t *freed)
{
	struct hc_garbage garbage = {0};

	hc_shard_lock(store, shard);
	size_t bytes = hc_shard_evict(store, shard, keep, &garbage);
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
	*freed += bytes;
	return bytes > 0;
}

static double
best_of(struct hc_store *store, uint32_t shard)
{
	return atomic_load_explicit(&store->shards[shard].evict_best, memory_order_relaxed);
}

/* The best of `home` and two others at random. */
static uint32_t
choose_shard(struct hc_store *store, uint32_t home)
{
	uint64_t random = atomic_fetch_add_explicit(&store->evict_next, 1, memory_order_relaxed);

	random *= 0x9e3779b97f4a7c15;
	for (unsigned shift = 32; shift <= 48; shift += 16) {
		uint32_t other = (uint32_t)(random >> shift) & (store->nshards - 1);
		if (best_of(store, other) < best_of(store, home))
			home = other;
	}
	return home;
}

/* One from any shard. */
static bool
evict_any(struct hc_store *store, struct hc_entry *keep, uint64_t *freed)
{
	for (uint32_t i = 0; i < store->nshards; i++) {
		if (evict_from(store, &store->shards[i], keep, freed))
			return true;
	}
	return false;
}

void
hc_budget_evict(struct hc_store *store, uint32_t home, uint64_t own_bytes, struct hc_entry *keep)
{
	uint64_t freed = 0;
	unsigned evicted = 0;

	while (hc_budget_exceeded(store) && (freed < own_bytes || evicted < EXTRA)) {
		if (!evict_from(store, &store->shards[choose_shard(store, home)], keep, &freed) &&
		    !evict_any(store, keep, &freed))
			break;
		evicted++;
	}
}

bool
hc_budget_step(struct hc_store *store)
{
	uint64_t freed = 0;
	uint32_t home = atomic_load_explicit(&store->evict_next, memory_order_relaxed) & (store->nshards - 1);

	if (!hc_budget_exceeded(store))
		return false;
	return evict_from(store, &store->shards[choose_shard(store, home)], NULL, &freed) ||
	       evict_any(store, NULL, &freed);
}
