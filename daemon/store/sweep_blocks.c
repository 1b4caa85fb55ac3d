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
#define LOOK 128u        /* places looked at in one hold of a slab class's lock */
#define SEEN (4 * BATCH) /* places looked at in a step */

struct batch {
	struct hc_store *store;
	int64_t now_ms;
	unsigned seen, n;
	struct hc_entry *entries[BATCH]; /* with a reference each, in the order of memory */
	uint32_t hashes[BATCH];          /* the lower halves, as the tables use them */
	struct hc_bucket *buckets[BATCH];
	bool gone[BATCH];
	uint16_t next[BATCH]; /* of the same shard, as first[]: one more than where it is; 0: there is none */
	uint16_t first[HC_SHARDS_MAX];
};

/* What those next to each other mostly have in common, looked up once; and what of a model has left a shard. */
struct kind {
	size_t size; /* as allocated */
	size_t extras;
	unsigned class; /* eviction's */
	size_t footprint;
	uint32_t model;
	int64_t left;
	int64_t left_bytes;
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
	uint64_t hash = hc_entry_hash(entry);
	uint16_t *first = &batch->first[hc_shard_index(batch->store, hash)];
	unsigned at = batch->n++;
	batch->entries[at] = entry;
	batch->hashes[at] = (uint32_t)hash;
	batch->next[at] = *first;
	*first = (uint16_t)(at + 1);
}

static void
tell_left(const struct batch *batch, struct hc_shard *shard, struct kind *kind)
{
	if (kind->left > 0)
		hc_shard_account(batch->store, shard, kind->model, -kind->left, -kind->left_bytes);
	kind->left = kind->left_bytes = 0;
}

/* It is in the table no more: neither are its place in eviction's queues and what it counted for. */
static void
forget(const struct batch *batch, struct hc_shard *shard, struct kind *kind, const struct hc_entry *entry)
{
	size_t size = hc_entry_alloc_size(entry), extras = hc_entry_extras_len(hc_entry_state(entry));
	uint32_t model = hc_entry_model(entry);

	if (size != kind->size || extras != kind->extras) {
		kind->size = size;
		kind->extras = extras;
		kind->class = hc_evict_class(size - extras);
		kind->footprint = hc_entry_footprint(entry);
	}
	if (model != kind->model) {
		tell_left(batch, shard, kind);
		kind->model = model;
	}
	kind->left++;
	kind->left_bytes += (int64_t)kind->footprint;
	hc_evict_remove_sized(&shard->evict, entry, size - extras, kind->class);
}

/* Under the lock: if it is in the table and not valid, and nobody else has a reference. */
static bool
take_out(const struct batch *batch, struct hc_shard *shard, struct kind *kind, unsigned at)
{
	struct hc_entry *entry = batch->entries[at];
	struct hc_place place;

	if (atomic_load_explicit(&entry->refs, memory_order_acquire) != 2 ||
	    !hc_table_holds(batch->buckets[at], entry, batch->hashes[at], &place))
		return false;
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_relaxed);
	bool current = hc_entry_current(batch->store, entry);
	if (hc_life_has_cell(life) || (current && (int64_t)(life >> 16) > batch->now_ms))
		return false;
	shard->expired += current;
	shard->reclaimed += !current;
	hc_table_remove(&shard->table, &place);
	forget(batch, shard, kind, entry);
	/* Nobody can come by another reference now. */
	atomic_store_explicit(&entry->refs, 0, memory_order_relaxed);
	return true;
}

static void
sweep_shard(struct batch *batch, struct hc_shard *shard, unsigned first)
{
	struct kind kind = {0};

	hc_shard_lock(batch->store, shard);
	for (unsigned i = first; i != 0; i = batch->next[i - 1]) {
		batch->buckets[i - 1] = hc_table_bucket_of(&shard->table, batch->hashes[i - 1]);
		__builtin_prefetch(batch->buckets[i - 1], 1);
	}
	for (unsigned i = first; i != 0; i = batch->next[i - 1])
		batch->gone[i - 1] = take_out(batch, shard, &kind, i - 1);
	tell_left(batch, shard, &kind);
	hc_shard_unlock(batch->store, shard);
}

/* Returns how many are gone. They have no cells. Under exclusive use, too: the slabs' locks come after the shards'. */
static size_t
let_all_go(const struct batch *batch)
{
	struct hc_slab_block blocks[HC_SLAB_MANY];
	size_t gone = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < batch->n; i++) {
		struct hc_entry *entry = batch->entries[i];
		if (!batch->gone[i]) {
			hc_entry_unref(entry);
			continue;
		}
		gone++;
		blocks[n++] = (struct hc_slab_block){entry, hc_entry_alloc_size(entry)};
		if (n == HC_SLAB_MANY) {
			hc_slab_free_in_order(blocks, n);
			n = 0;
		}
	}
	hc_slab_free_in_order(blocks, n);
	return gone;
}

bool
hc_sweep_blocks(struct hc_store *store, struct hc_slab_visit *visit, int64_t now_ms, struct hc_sweep_tally *tally)
{
	struct batch batch;
	bool more = true;

	batch.store = store;
	batch.now_ms = now_ms;
	batch.seen = batch.n = 0;
	memset(batch.first, 0, sizeof(batch.first));
	for (unsigned i = 0; more && i < SEEN / LOOK && batch.n + LOOK <= BATCH; i++)
		more = hc_slab_visit(visit, LOOK, look, &batch);
	for (uint32_t i = 0; i < store->nshards; i++) {
		if (batch.first[i] != 0)
			sweep_shard(&batch, &store->shards[i], batch.first[i]);
	}
	tally->reclaimed += let_all_go(&batch);
	tally->seen += batch.seen;
	return more;
}
