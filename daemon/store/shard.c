/*
 * The steps in which a shard changes: entries go in, come out, and their bytes are counted. Under
 * the shard's lock, but for freeing the garbage.
 */
#include <assert.h>
#include <stddef.h>
#include "base/mem.h"
#include "store/shard.h"
#include "store/slab.h"

#define SPARES 32u /* chunks that eviction leaves to the queues: they may need them again */

/* ---- what there is of each model, and in all ---- */

void
hc_shard_tell(struct hc_store *store, struct hc_shard *shard)
{
	struct hc_untold *untold = &shard->untold;

	if (untold->entries == 0 && untold->bytes == 0)
		return;
	atomic_fetch_add_explicit(&store->bytes, (uint64_t)untold->bytes, memory_order_relaxed);
	hc_models_account(store->models, untold->model, untold->entries, untold->bytes);
	untold->entries = 0;
	untold->bytes = 0;
}

/* All shards write the counters: so it is done once for many entries. */
void
hc_shard_account(struct hc_store *store, struct hc_shard *shard, uint32_t model, int64_t entries, int64_t bytes)
{
	struct hc_untold *untold = &shard->untold;
	int64_t most = (int64_t)atomic_load_explicit(&store->untold_max, memory_order_relaxed);

	if (untold->model != model) {
		hc_shard_tell(store, shard);
		untold->model = model;
	}
	untold->entries += entries;
	untold->bytes += bytes;
	if (untold->bytes > most || untold->bytes < -most)
		hc_shard_tell(store, shard);
}

static void
account_one(struct hc_store *store, struct hc_shard *shard, const struct hc_entry *entry, int64_t sign)
{
	hc_shard_account(store, shard, hc_entry_model(entry), sign, sign * (int64_t)hc_entry_footprint(entry));
}

static void
account_replacement(struct hc_store *store, struct hc_shard *shard, const struct hc_entry *old,
    const struct hc_entry *entry, size_t footprint)
{
	uint32_t model = hc_entry_model(entry);
	bool same_model = hc_entry_model(old) == model;
	size_t size = hc_entry_alloc_size(entry);

	/* As most are. Blocks of slabs take the same when they are of the same size. */
	if (same_model && size <= HC_SLAB_BLOCK_MAX && hc_entry_alloc_size(old) == size)
		return;
	int64_t old_footprint = (int64_t)hc_entry_footprint(old);
	if (same_model) {
		hc_shard_account(store, shard, model, 0, (int64_t)footprint - old_footprint);
		return;
	}
	hc_shard_account(store, shard, hc_entry_model(old), -1, -old_footprint);
	hc_shard_account(store, shard, model, 1, (int64_t)footprint);
}

/* ---- entries that nobody holds: 48 bits of an address in what is of no use any more ---- */

#define NEXT offsetof(struct hc_entry, created_s)
#define NEXT_LEN 6u

static_assert(offsetof(struct hc_entry, value_len_short) == NEXT + NEXT_LEN, "that is still needed");

static struct hc_entry *
next_of(const struct hc_entry *entry)
{
	uint64_t next = 0;

	memcpy(&next, (const char *)entry + NEXT, NEXT_LEN);
	return (struct hc_entry *)(uintptr_t)next;
}

static void
set_next(struct hc_entry *entry, const struct hc_entry *next)
{
	uint64_t address = (uintptr_t)next;

	memcpy((char *)entry + NEXT, &address, NEXT_LEN);
}

static void
throw_away(struct hc_garbage *garbage, struct hc_entry *entry)
{
	set_next(entry, garbage->entries);
	garbage->entries = entry;
}

void
hc_garbage_let_go(struct hc_garbage *garbage, struct hc_entry *entry)
{
	if (hc_entry_let_go(entry))
		throw_away(garbage, entry);
}

/* It is in the table no more. */
static void
forget(struct hc_store *store, struct hc_shard *shard, struct hc_entry *entry, struct hc_garbage *garbage)
{
	hc_evict_remove(&shard->evict, entry);
	account_one(store, shard, entry, -1);
	hc_garbage_let_go(garbage, entry);
}

void
hc_shard_remove(struct hc_store *store, struct hc_shard *shard, const struct hc_place *place, struct hc_entry *entry,
    struct hc_garbage *garbage)
{
	hc_table_remove(&shard->table, place);
	forget(store, shard, entry, garbage);
}

static void
count_reclaimed(const struct hc_store *store, struct hc_shard *shard, const struct hc_entry *entry)
{
	if (hc_entry_current(store, entry))
		shard->expired++;
	else
		shard->reclaimed++;
}

void
hc_shard_reclaim(
    struct hc_store *store, struct hc_shard *shard, struct hc_bucket *bucket, unsigned at, struct hc_garbage *garbage)
{
	struct hc_entry *entry = hc_bucket_entry(bucket, at);

	count_reclaimed(store, shard, entry);
	hc_table_clear(&shard->table, bucket, at);
	forget(store, shard, entry, garbage);
}

/* What is linked by first words, in front of what there is. */
static void
append(void **all, void *some)
{
	void **last = some;

	if (some == NULL)
		return;
	if (*all == NULL) { /* whatever its length */
		*all = some;
		return;
	}
	while (*last != NULL)
		last = *last;
	*last = *all;
	*all = some;
}

void
hc_shard_settle(struct hc_shard *shard, unsigned steps, struct hc_garbage *garbage)
{
	if (__builtin_expect(hc_table_fits(&shard->table), 1))
		return;
	void *segments = hc_table_adapt(&shard->table, steps);
	append(&garbage->segments, segments);
	append(&garbage->buckets, hc_table_take_spares(&shard->table));
}

void
hc_shard_spare(struct hc_shard *shard, struct hc_garbage *garbage)
{
	append(&garbage->chunks, hc_evict_take_spares(&shard->evict));
	append(&garbage->buckets, hc_table_take_spares(&shard->table));
}

__attribute__((noinline, cold)) void
hc_shard_reclaim_at(struct hc_store *store, struct hc_shard *shard, const struct hc_place *place,
    struct hc_entry *entry, struct hc_garbage *garbage)
{
	count_reclaimed(store, shard, entry);
	hc_shard_remove(store, shard, place, entry, garbage);
}

void
hc_shard_drop(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_garbage *garbage)
{
	struct hc_place place;
	struct hc_entry *entry = hc_table_find(&shard->table, key, &place);

	if (entry == NULL)
		return;
	hc_shard_remove(store, shard, &place, entry, garbage);
	hc_shard_settle(shard, 1, garbage);
}

/* Others decide by it whether to evict from this shard; nobody does before there is anything to evict. */
static void
offer_beside(const struct hc_store *store, struct hc_shard *shard, const struct hc_entry *entry)
{
	double best = atomic_load_explicit(&shard->evict_best, memory_order_relaxed);

	if (best == HC_EVICT_NONE && !hc_budget_exceeded(store))
		return;
	double beside = hc_evict_best_beside(&shard->evict, entry);
	if (beside < best)
		atomic_store_explicit(&shard->evict_best, beside, memory_order_relaxed);
}

static void
begin_life(struct hc_entry *entry, int64_t now_ms)
{
	assert(entry->created_s == 0); /* once only: someone may still be reading it where it was */
	entry->created_s = hc_entry_created_s(now_ms);
}

/* Without memory for another bucket, one of those in the full one has to go. */
static void
insert_entry(struct hc_store *store, struct hc_shard *shard, uint64_t hash, const struct hc_place *place,
    struct hc_entry *entry, struct hc_garbage *garbage)
{
	while (hc_table_insert(&shard->table, place, entry, (uint32_t)hash) != HC_OK) {
		struct hc_place one = {.first = place->first, .bucket = place->first};
		hc_shard_remove(store, shard, &one, hc_bucket_entry(one.bucket, one.at), garbage);
		shard->evicted++;
	}
}

static void
link_new(struct hc_store *store, struct hc_shard *shard, uint64_t hash, const struct hc_place *place,
    struct hc_entry *entry, size_t footprint, struct hc_garbage *garbage)
{
	double clock = atomic_load_explicit(&store->evict_clock, memory_order_relaxed);

	insert_entry(store, shard, hash, place, entry, garbage);
	hc_evict_insert(&shard->evict, entry, hash, clock);
	hc_shard_account(store, shard, hc_entry_model(entry), 1, (int64_t)footprint);
	offer_beside(store, shard, entry);
}

static void
link_instead(struct hc_store *store, struct hc_shard *shard, uint64_t hash, const struct hc_place *place,
    struct hc_entry *present, struct hc_entry *entry, size_t footprint, struct hc_garbage *garbage)
{
	double clock = atomic_load_explicit(&store->evict_clock, memory_order_relaxed);

	hc_table_replace(place, entry);
	if (hc_evict_replace(&shard->evict, present, entry, hash, clock))
		offer_beside(store, shard, entry);
	account_replacement(store, shard, present, entry, footprint);
	hc_garbage_let_go(garbage, present);
}

static enum hc_status
check_entry(const struct hc_store *store, const struct hc_entry *entry, size_t footprint, int64_t now_ms)
{
	uint64_t max_bytes = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);

	if (!hc_entry_valid(store, entry, now_ms))
		return HC_STALE;
	return footprint > max_bytes / HC_ENTRY_SHARE ? HC_LIMIT : HC_OK;
}

static void
tell_put(const struct hc_store *store, struct hc_entry *entry, enum hc_put_kind kind)
{
	const struct hc_store_below *below = store->below;

	if (below == NULL || kind == HC_PUT_FILED)
		return;
	if (kind == HC_PUT_WRITTEN)
		below->written(below->arg, entry);
	else
		below->filled(below->arg, entry);
}

enum hc_status
hc_shard_put(struct hc_store *store, struct hc_shard *shard, uint64_t hash, const struct hc_place *place,
    struct hc_entry *present, struct hc_entry *entry, size_t footprint, enum hc_put_kind kind, int64_t now_ms,
    struct hc_garbage *garbage)
{
	enum hc_status status = check_entry(store, entry, footprint, now_ms);

	if (status != HC_OK) {
		if (present != NULL)
			hc_shard_remove(store, shard, place, present, garbage);
		if (kind == HC_PUT_WRITTEN)
			hc_below_removed(store, hc_entry_key(entry));
	} else {
		begin_life(entry, now_ms);
		if (present != NULL)
			link_instead(store, shard, hash, place, present, entry, footprint, garbage);
		else
			link_new(store, shard, hash, place, entry, footprint, garbage);
		hc_shard_expires(shard, hc_entry_expire_ms(entry));
		tell_put(store, entry, kind);
	}
	hc_shard_settle(shard, 1, garbage);
	return status;
}

size_t
hc_shard_evict(struct hc_store *store, struct hc_shard *shard, struct hc_entry *keep, struct hc_garbage *garbage)
{
	double clock = atomic_load_explicit(&store->evict_clock, memory_order_relaxed), before = clock;
	size_t freed = 0;
	uint64_t hash;
	struct hc_entry *victim = hc_evict_victim(&shard->evict, keep, &clock, &hash);

	if (victim != NULL) {
		struct hc_place place = hc_table_place(&shard->table, victim, (uint32_t)hash);
		freed = hc_entry_footprint(victim);
		if (store->below != NULL && hc_entry_current(store, victim))
			store->below->evicted(store->below->arg, victim);
		hc_shard_remove(store, shard, &place, victim, garbage);
		hc_shard_settle(shard, 1, garbage);
		if (shard->evict.nspare >= SPARES)
			hc_shard_spare(shard, garbage);
		shard->evicted++;
	}
	if (clock > before)
		atomic_store_explicit(&store->evict_clock, clock, memory_order_relaxed);
	atomic_store_explicit(&shard->evict_best, hc_evict_best(&shard->evict), memory_order_relaxed);
	return freed;
}

/* Under exclusive use the locks stay held: what there is to free is kept until they are given back.
 */
static void
defer(struct hc_store *store, struct hc_garbage *garbage)
{
	struct hc_entry **entry = &store->deferred.entries;

	for (struct hc_entry *next; (next = garbage->entries) != NULL;) {
		garbage->entries = next_of(next);
		set_next(next, *entry);
		*entry = next;
	}
	append(&store->deferred.segments, garbage->segments);
	append(&store->deferred.buckets, garbage->buckets);
	append(&store->deferred.chunks, garbage->chunks);
	garbage->segments = garbage->buckets = garbage->chunks = NULL;
}

/* Out of line: who frees a single one is to pay for no array. */
static __attribute__((noinline)) void
free_entries(struct hc_entry *entry)
{
	struct hc_slab_block blocks[HC_SLAB_MANY];

	while (entry != NULL) {
		unsigned n = 0;
		for (struct hc_entry *next; n < HC_SLAB_MANY && entry != NULL; entry = next) {
			next = next_of(entry);
			blocks[n++] = (struct hc_slab_block){entry, hc_entry_end(entry)};
		}
		hc_slab_free_many(blocks, n);
	}
}

void
hc_garbage_free_all(struct hc_store *store, struct hc_garbage *garbage)
{
	if (hc_store_exclusive == store) {
		defer(store, garbage);
		return;
	}
	struct hc_entry *first = garbage->entries;
	if (first != NULL && next_of(first) == NULL)
		hc_entry_free(first);
	else if (first != NULL)
		free_entries(first);
	hc_table_free(garbage->segments);
	hc_slab_free_plain_list(garbage->buckets);
	hc_slab_free_plain_list(garbage->chunks);
	*garbage = (struct hc_garbage){0};
}
