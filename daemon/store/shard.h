/*
 * The inside of the store, for the files of this directory only: what the store and a shard are
 * made of, and the steps the public functions are composed of.
 *
 * A public function takes the shard's lock, changes the table, puts what came out into its garbage,
 * gives the lock back, evicts until the budget holds, and frees the garbage: nothing is freed under
 * a lock. Shard locks are taken one at a time, or, where several are needed, in the order of the
 * shards; no other lock is taken while one is held but the allocator's.
 *
 * Bits of a hash: from the lowest up for the table's slot, 40 … 51 for the stamp, the topmost for
 * the shard.
 */
#ifndef HC_STORE_SHARD_H
#define HC_STORE_SHARD_H

#include <stdalign.h>
#include <stdatomic.h>
#include "store/evict.h"
#include "store/lock.h"
#include "store/store.h"
#include "store/table.h"

#define HC_CACHE_LINE 64
/*
 * Entries keep 16 bits of their generation: before these come round, everything older must have
 * been reclaimed.
 */
#define HC_GENERATIONS 0x8000u
#define HC_STAMPS 4096u
#define HC_STAMP_SHIFT 40
#define HC_ENTRY_SHARE 8 /* an entry may take this part of the budget at most: one eighth */

struct hc_stamp {
	uint32_t stamp;
	uint32_t writers; /* local writes under way */
};

struct hc_shard {
	/* what a hit touches, in one cache line; all under `lock` */
	alignas(HC_CACHE_LINE) struct hc_lock lock;
	struct hc_table table;
	struct hc_evict evict;
	/* under `lock` too */
	alignas(HC_CACHE_LINE) struct hc_stamp *stamps;
	int64_t soonest_ms;       /* no entry expires before */
	int64_t sweep_soonest_ms; /* the same of what the sweep's present walk has met */
	uint64_t evicted;
	/* priority of what would be evicted first, or less; written under `lock`, read by anyone */
	_Atomic double evict_best;
	uint64_t expired;
	uint64_t reclaimed;
};

/* What came out of the tables, with the reference the table had. */
struct hc_garbage {
	struct hc_entry *entries; /* by next */
	void *segments;           /* by their first word */
};

struct hc_store {
	/* constant after creation */
	struct hc_shard *shards;
	struct hc_models *models;
	const _Atomic uint32_t *default_epoch; /* model default's */
	uint32_t nshards;
	unsigned shard_shift;
	/* atomic; every operation reads them, hardly any writes them */
	_Atomic uint32_t generation;
	_Atomic uint64_t max_bytes;
	/* of them, not for entries: what the process takes beside the store, and what lies idle
	 * in the allocator's slabs */
	_Atomic uint64_t reserved_bytes;
	_Atomic uint64_t idle_bytes;
	bool versions;                   /* constant after creation */
	/* atomic; every insertion and removal writes it */
	alignas(HC_CACHE_LINE) _Atomic uint64_t bytes;
	_Atomic uint32_t evict_next; /* which shards to evict from next, beside one's own */
	_Atomic double evict_clock;  /* eviction's; a lost update only loses a step */
	/* written by the sweeping thread, read by anyone: what was the case when its last whole
	 * walk began */
	alignas(HC_CACHE_LINE) _Atomic uint64_t clean_changes;
	_Atomic uint32_t clean_generation;
	/* the sweeping thread's own */
	uint64_t sweep_changes; /* when its present walk began */
	uint32_t sweep_generation;
	uint64_t sweep_cursor;
	uint32_t sweep_shard;
	/* the thread's that calls hc_store_fit_process(): how often since it gave back free pages */
	unsigned untrimmed;
	/* the thread's that has the store to itself */
	struct hc_garbage deferred;
};

/* The store which this thread has to itself; all its locks are held. */
extern _Thread_local const struct hc_store *hc_store_exclusive;

static inline uint32_t
hc_store_generation(const struct hc_store *store)
{
	return atomic_load_explicit(&store->generation, memory_order_acquire);
}

/* Moves on whenever entries may have become invalid otherwise than by expiring. */
static inline uint64_t
hc_store_changes(const struct hc_store *store)
{
	return hc_models_changes(store->models) + hc_store_generation(store);
}

static inline uint32_t
hc_shard_index(const struct hc_store *store, uint64_t hash)
{
	return store->nshards == 1 ? 0 : (uint32_t)(hash >> store->shard_shift);
}

static inline struct hc_shard *
hc_shard_of(const struct hc_store *store, struct hc_key key)
{
	return &store->shards[hc_shard_index(store, key.hash)];
}

static inline void
hc_shard_lock(const struct hc_store *store, struct hc_shard *shard)
{
	if (__builtin_expect(hc_store_exclusive != store, 1))
		hc_lock_acquire(&shard->lock);
}

static inline void
hc_shard_unlock(const struct hc_store *store, struct hc_shard *shard)
{
	if (__builtin_expect(hc_store_exclusive != store, 1))
		hc_lock_release(&shard->lock);
}

/* Of the present generation and its model's present epoch. */
static inline bool
hc_entry_is_of(const struct hc_store *store, const struct hc_entry *entry, uint64_t life)
{
	if ((uint16_t)life != (uint16_t)hc_store_generation(store))
		return false;
	if ((hc_entry_state(entry) & HC_ENTRY_TAGGED) == 0)
		return atomic_load_explicit(store->default_epoch, memory_order_acquire) == 0;
	struct hc_entry_tag tag = hc_entry_tag(entry);
	return tag.epoch == hc_models_epoch(store->models, tag.model);
}

static inline bool
hc_entry_current(const struct hc_store *store, const struct hc_entry *entry)
{
	return hc_entry_is_of(store, entry, atomic_load_explicit(&entry->life, memory_order_relaxed));
}

static inline bool
hc_entry_valid(const struct hc_store *store, const struct hc_entry *entry, int64_t now_ms)
{
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_acquire);

	/* As most are: none, or one that fits. No expiry is the highest there is. */
	if ((int64_t)(life >> 16) <= now_ms)
		return false;
	if ((int64_t)life < 0 && life >> 16 != HC_ENTRY_NO_EXPIRY && hc_entry_expire_ms(entry) <= now_ms)
		return false;
	return hc_entry_is_of(store, entry, life);
}

/* Bytes it was allocated with. */
size_t hc_entry_alloc_size(const struct hc_entry *entry);
/* For an entry that has not been inserted yet. */
void hc_entry_set_generation(struct hc_entry *entry, uint32_t generation);
/* entry->used for a hit so long after the insertion. */
uint16_t hc_entry_used_code(uint32_t seconds);

/* ---- under the shard's lock ---- */

static inline struct hc_stamp *
hc_shard_stamp(struct hc_shard *shard, struct hc_key key)
{
	return &shard->stamps[(key.hash >> HC_STAMP_SHIFT) & (HC_STAMPS - 1)];
}

/* An entry of the shard expires then. */
static inline void
hc_shard_expires(struct hc_shard *shard, int64_t expire_ms)
{
	if (expire_ms < shard->soonest_ms)
		shard->soonest_ms = expire_ms;
	if (expire_ms < shard->sweep_soonest_ms)
		shard->sweep_soonest_ms = expire_ms;
}

/* The valid entry of that key or NULL. One that is not valid is taken out. */
struct hc_entry *hc_shard_find(
    struct hc_store *store, struct hc_shard *shard, struct hc_key key, int64_t now_ms, struct hc_garbage *garbage);
/*
 * Puts `entry` in place of whatever is there under its key. HC_OK; HC_STALE: it is not valid (any
 * more), and HC_LIMIT: it is too large: then nothing is there.
 */
enum hc_status hc_shard_replace(struct hc_store *store, struct hc_shard *shard, struct hc_key key,
    struct hc_entry *entry, int64_t now_ms, struct hc_garbage *garbage);
/* Takes out what is there under the key, valid or not. */
void hc_shard_drop(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_garbage *garbage);
/* Takes out what the link points at; the same for an entry that is not valid, counted by its
 * reason. */
void hc_shard_unlink(
    struct hc_store *store, struct hc_shard *shard, struct hc_entry **link, struct hc_garbage *garbage);
void hc_shard_reclaim(
    struct hc_store *store, struct hc_shard *shard, struct hc_entry **link, struct hc_garbage *garbage);
/* Lets the table follow the number of entries, by `steps` at most. After changes, before the lock
 * goes. */
void hc_shard_settle(struct hc_shard *shard, unsigned steps, struct hc_garbage *garbage);

/* ---- outside of locks ---- */

void hc_garbage_free(struct hc_store *store, struct hc_garbage *garbage);

/*
 * Evicts until the budget holds, beginning with the shard `home`, sparing `keep`; but stops once
 * `own_bytes` have been made free and some more entries than that have gone: a lowered limit is the
 * sweep's to reach.
 */
void hc_budget_fit(struct hc_store *store, uint32_t home, uint64_t own_bytes, struct hc_entry *keep);
/* Evicts some entries from the next shard in turn. Returns false when the budget holds or nothing
 * is left. */
bool hc_budget_step(struct hc_store *store);
bool hc_budget_exceeded(const struct hc_store *store);

/*
 * Closes holes that have come about in the allocator's slabs, for `work` units (hc_slab_compact()) or
 * until the budget has room for what they take.
 */
void hc_compact(struct hc_store *store, size_t work);
/* Reclaims everything that is not of the present generation and epochs, before it returns. */
void hc_store_purge(struct hc_store *store);

#endif
