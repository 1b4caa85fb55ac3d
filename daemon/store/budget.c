/*
 * The byte budget: evicting until what the tables hold fits. Any thread, outside of locks (or with
 * all of them, under exclusive use); owns nothing.
 */
#include "store/shard.h"

#define BATCH 16 /* evictions in one hold of a lock */
#define EXTRA 64 /* evictions an insertion does beyond what it needs for itself */

bool
hc_budget_exceeded(const struct hc_store *store)
{
	return atomic_load_explicit(&store->bytes, memory_order_relaxed) >
	       atomic_load_explicit(&store->max_bytes, memory_order_relaxed);
}

/* Returns how many it evicted, and adds their bytes to *freed. */
static unsigned
evict_from(struct hc_store *store, struct hc_shard *shard, const struct hc_entry *keep, uint64_t *freed)
{
	struct hc_garbage garbage = {0};
	unsigned n = 0;

	hc_shard_lock(store, shard);
	while (n < BATCH && hc_budget_exceeded(store)) {
		struct hc_entry *victim = hc_evict_victim(&shard->evict, keep);
		if (victim == NULL)
			break;
		*freed += hc_entry_footprint(victim);
		hc_shard_unlink(store, shard, hc_table_link(&shard->table, victim), &garbage);
		hc_shard_settle(shard, 2, &garbage);
		shard->evicted++;
		n++;
	}
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
	return n;
}

static uint32_t
next_shard(struct hc_store *store)
{
	return atomic_fetch_add_explicit(&store->evict_next, 1, memory_order_relaxed) & (store->nshards - 1);
}

void
hc_budget_fit(struct hc_store *store, uint32_t home, uint64_t own_bytes, const struct hc_entry *keep)
{
	uint64_t freed = 0;
	unsigned evicted = 0, empty = 0;

	for (uint32_t at = home; hc_budget_exceeded(store); at = next_shard(store)) {
		if (freed >= own_bytes && evicted >= EXTRA)
			break;
		unsigned n = evict_from(store, &store->shards[at], keep, &freed);
		evicted += n;
		empty = n > 0 ? 0 : empty + 1;
		if (empty > 2 * store->nshards) /* others take turns too: one round may miss a shard */
			break;
	}
}

bool
hc_budget_step(struct hc_store *store)
{
	uint64_t freed = 0;

	for (uint32_t i = 0; i < store->nshards && hc_budget_exceeded(store); i++) {
		if (evict_from(store, &store->shards[next_shard(store)], NULL, &freed) > 0)
			return true;
	}
	return false;
}
