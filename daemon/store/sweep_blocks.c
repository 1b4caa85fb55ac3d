/*
 * The sweep in the order of memory. One thread, the sweep's; owns nothing.
 *
 * Entries are all over memory, in the order of their hashes: to walk that way costs the most of what it takes to
 * reclaim one. In the order of blocks they come by themselves, and what is freed is whole slabs, one after the other.
 * The look-up tables are all over memory then, but are a tenth of it.
 *
 *     blocks ─→ those that look dead, pinned ─→ sorted by shard ─→ under its lock: found there, taken out ─→ freed
 *
 * It leaves out what it is not sure of: what others hold at that moment, what has no block, what has a far expiry.
 * hc_store_sweep() walks over the tables in any case.
 */
#include "store/shard.h"

#define BATCH 1024u      /* entries pinned at a time */
#define LOOK 256u        /* places looked at in one hold of a slab class's lock */
#define SEEN (4 * BATCH) /* places looked at in a step */
#define AHEAD 12u        /* entries by which buckets are fetched */

struct batch {
	const struct hc_store *store;
	int64_t now_ms;
	unsigned seen, n;
	struct hc_entry *entries[BATCH]; /* with a reference each, in the order of memory */
	uint64_t hashes[BATCH];
	uint16_t by_shard[BATCH];
	bool gone[BATCH];
};

/* Another store's may be of a model that this one has no epoch of. */
static bool
is_of_known_model(const struct hc_store *store, const struct hc_entry *entry)
{
	return (hc_entry_state(entry) & HC_ENTRY_TAGGED) == 0 ||
	       hc_entry_tag(entry).model < hc_models_count(store->models);
}

/* Under the lock of the block's class only, of any entry, be it in this store's table or not. */
static bool
looks_dead(const struct batch *batch, const struct hc_entry *entry)
{
	const struct hc_store *store = batch->store;
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_relaxed);

	if (hc_life_has_cell(life))
		return false;
	return (int64_t)(life >> 16) <= batch->now_ms ||
	       !hc_belief_is_there(atomic_load_explicit(&store->belief, memory_order_acquire), life) ||
	       (is_of_known_model(store, entry) && !hc_entry_of_epoch(store, entry));
}

/* What others hold is left alone; what is no entry has no references. */
static void
look(void *arg, void *block)
{
	struct batch *batch = arg;
	struct hc_entry *entry = block;
	uint32_t refs = 1;

	batch->seen++;
	if (atomic_load_explicit(&entry->refs, memory_order_acquire) != 1 || !looks_dead(batch, entry) ||
	    !atomic_compare_exchange_strong_explicit(
		&entry->refs, &refs, 2, memory_order_acquire, memory_order_relaxed))
		return;
	batch->entries[batch->n++] = entry;
}

/* Sets ends[] to where in by_shard[] those of each shard end. */
static void
sort_by_shard(struct batch *batch, uint16_t *ends)
{
	uint16_t at = 0;

	for (unsigned i = 0; i < batch->n; i++) {
		batch->hashes[i] = hc_key(hc_entry_key(batch->entries[i])).hash;
		ends[hc_shard_index(batch->store, batch->hashes[i])]++;
	}
	for (uint32_t i = 0; i < batch->store->nshards; i++) {
		uint16_t n = ends[i];
		ends[i] = at;
		at = (uint16_t)(at + n);
	}
	for (unsigned i = 0; i < batch->n; i++)
		batch->by_shard[ends[hc_shard_index(batch->store, batch->hashes[i])]++] = (uint16_t)i;
}

static void
sweep_shard(struct hc_store *store, struct hc_shard *shard, struct batch *batch, unsigned from, unsigned to)
{
	hc_shard_lock(store, shard);
	for (unsigned i = from; i < to && i < from + AHEAD; i++)
		hc_table_prefetch_slot(&shard->table, batch->hashes[batch->by_shard[i]]);
	for (unsigned i = from; i < to; i++) {
		if (i + AHEAD < to)
			hc_table_prefetch_slot(&shard->table, batch->hashes[batch->by_shard[i + AHEAD]]);
		unsigned at = batch->by_shard[i];
		batch->gone[at] =
		    hc_shard_reclaim_pinned(store, shard, batch->entries[at], batch->hashes[at], batch->now_ms);
	}
	hc_shard_unlock(store, shard);
}

/* The last first: what is freed is linked from the front, and goes in the order of memory. Returns how many are gone.
 */
static size_t
let_all_go(struct hc_store *store, struct batch *batch)
{
	struct hc_garbage garbage = {0};
	size_t gone = 0;

	for (unsigned i = batch->n; i-- > 0; gone += batch->gone[i]) {
		if (batch->gone[i])
			hc_garbage_add(&garbage, batch->entries[i]);
		else
			hc_garbage_let_go(&garbage, batch->entries[i]);
	}
	hc_garbage_free(store, &garbage);
	return gone;
}

bool
hc_sweep_blocks(struct hc_store *store, struct hc_slab_visit *visit, int64_t now_ms, struct hc_sweep_tally *tally)
{
	struct batch batch;
	uint16_t ends[HC_SHARDS_MAX] = {0}, from = 0;
	bool more = true;

	batch.store = store;
	batch.now_ms = now_ms;
	batch.seen = batch.n = 0;
	for (unsigned i = 0; more && i < SEEN / LOOK && batch.n + LOOK <= BATCH; i++)
		more = hc_slab_visit(visit, LOOK, look, &batch);
	sort_by_shard(&batch, ends);
	for (uint32_t i = 0; i < store->nshards; from = ends[i++]) {
		if (from < ends[i])
			sweep_shard(store, &store->shards[i], &batch, from, ends[i]);
	}
	tally->reclaimed += let_all_go(store, &batch);
	tally->seen += batch.seen;
	return more;
}
