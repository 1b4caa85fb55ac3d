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

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include "base/lock.h"
#include "store/belief.h"
#include "store/evict.h"
#include "store/slab.h"
#include "store/store.h"
#include "store/table.h"

#define HC_CACHE_LINE 64
#define HC_SHARDS_MAX 64u
#define HC_READERS_MAX 4u /* what a change costs grows with them */
#define HC_STAMPS 4096u
#define HC_STAMP_SHIFT 40
#define HC_ENTRY_SHARE 8 /* an entry may take this part of the budget at most: one eighth */

struct hc_stamp {
	uint32_t stamp;
	uint32_t writers; /* local writes under way */
};

/* What has come and gone in a shard and is not in the store's and the model's counters yet. */
struct hc_untold {
	uint32_t model;
	int64_t entries;
	int64_t bytes;
};

/* A lock that is alone in its cache line: who takes it has nobody else's line taken away. */
struct hc_shard_lock {
	alignas(HC_CACHE_LINE) struct hc_lock lock;
};

struct hc_shard {
	/* as many as the store has kinds of readers: who reads the shard takes its own, who changes it all of them */
	struct hc_shard_lock locks[HC_READERS_MAX];
	/* what a hit touches, in one cache line; all under the locks */
	alignas(HC_CACHE_LINE) struct hc_table table;
	struct hc_evict evict;
	/* under the locks too */
	alignas(HC_CACHE_LINE) struct hc_stamp *stamps;
	int64_t soonest_ms;       /* no entry expires before */
	int64_t sweep_soonest_ms; /* the same of what the sweep's present walk has met */
	uint64_t evicted;
	/* priority of what would be evicted first, or less; written under the locks, read by anyone */
	_Atomic double evict_best;
	uint64_t expired;
	uint64_t reclaimed;
	struct hc_untold untold;
};

/* What came out of the tables, and nobody holds. */
struct hc_garbage {
	struct hc_entry *entries; /* linked, as shard.c knows */
	void *segments;           /* by their first word */
	void *buckets;            /* behind others, the same */
	void *chunks;             /* of eviction's queues, the same */
};

/* What a sweep has met. */
struct hc_sweep_tally {
	size_t seen;
	size_t reclaimed;
};

struct hc_store {
	/* constant after creation */
	struct hc_shard *shards;
	struct hc_models *models;
	const _Atomic uint32_t *default_epoch; /* model default's */
	uint32_t nshards;
	unsigned shard_shift; /* of the upper half of a hash */
	uint32_t readers;     /* a power of two */
	/* atomic; every operation reads them, hardly any writes them */
	_Atomic uint64_t belief; /* see belief.h */
	_Atomic uint64_t max_bytes;
	/* of them, not for entries: what the process takes beside the store, and what lies idle
	 * in the allocator's slabs */
	_Atomic uint64_t reserved_bytes;
	_Atomic uint64_t idle_bytes;
	_Atomic uint32_t fitting;           /* threads that close holes for what they have inserted */
	_Atomic uint64_t taken_bytes;       /* by the slabs, ever, when that was looked at last */
	_Atomic uint64_t untold_max;        /* bytes that a shard keeps to itself at most */
	bool versions;                      /* constant after creation */
	const struct hc_store_below *below; /* or NULL; constant once there are entries */
	/* atomic; written whenever a shard tells of what has come and gone */
	alignas(HC_CACHE_LINE) _Atomic uint64_t bytes;
	_Atomic uint32_t evict_next; /* which shards to evict from next, beside one's own */
	_Atomic double evict_clock;  /* eviction's; a lost update only loses a step */
	/* written by the sweeping thread, read by anyone: what was the case when its last whole
	 * walk began */
	alignas(HC_CACHE_LINE) _Atomic uint64_t clean_changes;
	_Atomic uint32_t clean_floor; /* no entry is of a generation below */
	/* the sweeping thread's own */
	uint64_t sweep_changes; /* when its present walk began */
	uint32_t sweep_floor;
	uint64_t sweep_cursor;
	uint32_t sweep_shard;
	bool sweep_settles; /* that shard's walk is over, its table and queues catch up */
	/* in the order of memory: when the walk has found much, and then all tables and queues catch up; not again
	 * before the walk has seen as many entries as that has left, or it might never end; nor in this walk, if it
	 * found little */
	enum { HC_BLOCKS_LATER, HC_BLOCKS_NOW, HC_BLOCKS_GIVE_UP, HC_BLOCKS_CATCH_UP } sweep_blocks;
	struct hc_slab_visit sweep_visit;
	struct hc_sweep_tally sweep_met;
	size_t sweep_rest;       /* entries for the walk to see first */
	size_t swept;            /* entries reclaimed since it was asked how many */
	uint32_t sweep_catch_up; /* the shard that does */
	/* what shards have given up, to be freed: lists for hc_slab_free_plain_lists() */
	void *sweep_given_up[2 * HC_SHARDS_MAX];
	unsigned sweep_ngiven_up;
	/* the thread's that calls hc_store_fit_process(): how often since it gave back free pages */
	unsigned untrimmed;
	/* the thread's that has the store to itself */
	struct hc_garbage deferred;
};

/* The store all of whose shards this thread has locked, to change or only to read them. */
extern _Thread_local const struct hc_store *hc_store_exclusive;
extern _Thread_local bool hc_store_only_reads;
/* Which of a shard's locks this thread takes to read it: this one, modulo how many the store has. */
extern _Thread_local uint32_t hc_store_reader;
/* What chance has come to in this thread. */
extern _Thread_local uint32_t hc_store_chance;

static inline uint32_t
hc_store_generation(const struct hc_store *store)
{
	return hc_belief_present(atomic_load_explicit(&store->belief, memory_order_acquire));
}

/* What is of a generation below is forgotten. */
static inline uint32_t
hc_store_floor(const struct hc_store *store)
{
	uint64_t belief = atomic_load_explicit(&store->belief, memory_order_acquire);

	return hc_belief_present(belief) - hc_belief_floor_back(belief);
}

/* Moves on whenever entries may have become invalid otherwise than by expiring. */
static inline uint64_t
hc_store_changes(const struct hc_store *store)
{
	return hc_models_changes(store->models) + hc_store_floor(store);
}

static inline uint32_t
hc_shard_index(const struct hc_store *store, uint64_t hash)
{
	return (uint32_t)(hash >> 32 >> store->shard_shift);
}

static inline struct hc_shard *
hc_shard_of(const struct hc_store *store, struct hc_key key)
{
	return &store->shards[hc_shard_index(store, key.hash)];
}

/* To change the shard. */
static inline void
hc_shard_lock(const struct hc_store *store, struct hc_shard *shard)
{
	if (__builtin_expect(hc_store_exclusive == store, 0)) {
		assert(!hc_store_only_reads);
		return;
	}
	for (uint32_t i = 0; i < store->readers; i++)
		hc_lock_acquire(&shard->locks[i].lock);
}

static inline void
hc_shard_unlock(const struct hc_store *store, struct hc_shard *shard)
{
	if (__builtin_expect(hc_store_exclusive == store, 0))
		return;
	for (uint32_t i = store->readers; i-- > 0;)
		hc_lock_release(&shard->locks[i].lock);
}

/* Which of a shard's locks this thread reads under. */
static inline uint32_t
hc_store_own_lock(const struct hc_store *store)
{
	return hc_store_reader & (store->readers - 1);
}

/* To read the shard, and to count hits: others may do that meanwhile. */
static inline void
hc_shard_lock_to_read(const struct hc_store *store, struct hc_shard *shard)
{
	if (__builtin_expect(hc_store_exclusive != store, 1))
		hc_lock_acquire(&shard->locks[hc_store_own_lock(store)].lock);
}

static inline void
hc_shard_unlock_read(const struct hc_store *store, struct hc_shard *shard)
{
	if (__builtin_expect(hc_store_exclusive != store, 1))
		hc_lock_release(&shard->locks[hc_store_own_lock(store)].lock);
}

/* Of its model's present epoch. */
static inline bool
hc_entry_of_epoch(const struct hc_store *store, const struct hc_entry *entry)
{
	if ((hc_entry_state(entry) & HC_ENTRY_TAGGED) == 0)
		return atomic_load_explicit(store->default_epoch, memory_order_acquire) == 0;
	struct hc_entry_tag tag = hc_entry_tag(entry);
	return tag.epoch == hc_models_epoch(store->models, tag.model);
}

/* Neither cleared nor forgotten; perhaps expired. */
static inline bool
hc_entry_current(const struct hc_store *store, const struct hc_entry *entry)
{
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_relaxed);

	return hc_belief_is_there(atomic_load_explicit(&store->belief, memory_order_acquire), life) &&
	       hc_entry_of_epoch(store, entry);
}

static inline bool
hc_life_is_over(const struct hc_entry *entry, uint64_t life, int64_t now_ms)
{
	/* As most are: none, or one that fits. No expiry is the highest there is. */
	if ((int64_t)(life >> 16) <= now_ms)
		return true;
	return hc_life_has_cell(life) && hc_entry_expire_ms(entry) <= now_ms;
}

/* There, be it fresh or suspect, by that belief. */
static inline bool
hc_entry_valid_by(const struct hc_store *store, uint64_t belief, const struct hc_entry *entry, int64_t now_ms)
{
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_acquire);

	return !hc_life_is_over(entry, life, now_ms) && hc_belief_is_there(belief, life) &&
	       hc_entry_of_epoch(store, entry);
}

static inline bool
hc_entry_valid(const struct hc_store *store, const struct hc_entry *entry, int64_t now_ms)
{
	return hc_entry_valid_by(store, atomic_load_explicit(&store->belief, memory_order_acquire), entry, now_ms);
}

/* Valid and of the present generation: fresh at one glance. What is not may be so all the same. */
static inline bool
hc_entry_present(const struct hc_store *store, const struct hc_entry *entry, int64_t now_ms)
{
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_acquire);

	return !hc_life_is_over(entry, life, now_ms) &&
	       hc_belief_is_present(atomic_load_explicit(&store->belief, memory_order_acquire), life) &&
	       hc_entry_of_epoch(store, entry);
}

/* Under the key's shard's lock. */
static inline void
hc_below_removed(const struct hc_store *store, struct hc_slice key)
{
	if (store->below != NULL)
		store->below->removed(store->below->arg, key);
}

/* What the tier below is to be told of an entry that is put in its place. */
enum hc_put_kind { HC_PUT_WRITTEN, HC_PUT_FILLED, HC_PUT_FILED };

/* Of an entry that has not been inserted yet, or under the lock of its shard. */
void hc_entry_set_generation(struct hc_entry *entry, uint32_t generation);
/* The same: it is suspect from now on; `for_good`: hc_store_trust() does not change that. */
void hc_entry_doubt(const struct hc_store *store, struct hc_entry *entry, bool for_good);
/* entry->created_s of one that is inserted now. */
static inline uint32_t
hc_entry_created_s(int64_t now_ms)
{
	int64_t now_s = now_ms / 1000;

	return now_s > 0 ? (uint32_t)now_s : 1;
}

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

/*
 * Of what several threads read, each count takes the entry out of the others' caches. So it is exact as far as eviction
 * counts, and then goes up by sixteen for one hit in sixteen, by chance.
 */
#define HC_HITS_EXACT HC_ENTRY_HOT_MAX
#define HC_HITS_STEP 16u

static inline bool
hc_hit_counts(void)
{
	/* A linear congruential generator, with the numbers of PCG (O'Neill, 2014); its upper bits are good enough. */
	hc_store_chance = hc_store_chance * 747796405u + 2891336453u;
	return hc_store_chance / (UINT32_MAX / HC_HITS_STEP + 1) == 0;
}

/* The entry has been read. */
static inline void
hc_shard_count_hit(const struct hc_shard *shard, struct hc_entry *entry, int64_t now_ms)
{
	uint32_t since = (uint32_t)((uint64_t)now_ms / 1000) - entry->created_s;
	unsigned hits = atomic_load_explicit(&entry->hits, memory_order_relaxed);

	/* Of two who read it at once one may not be counted. */
	if (hits < HC_HITS_EXACT)
		atomic_store_explicit(&entry->hits, (uint8_t)(hits + 1), memory_order_relaxed);
	else if (hits <= UINT8_MAX - HC_HITS_STEP && hc_hit_counts())
		atomic_store_explicit(&entry->hits, (uint8_t)(hits + HC_HITS_STEP), memory_order_relaxed);
	uint16_t used = __builtin_expect(since < 0x8000, 1) ? (uint16_t)since : hc_entry_used_code(since);
	if (atomic_load_explicit(&entry->used, memory_order_relaxed) != used)
		atomic_store_explicit(&entry->used, used, memory_order_relaxed);
	hc_evict_hit(&shard->evict, entry);
}

/* Gives a reference back; true: it was the last one, nobody else can get at the entry any more. */
static inline bool
hc_entry_let_go(struct hc_entry *entry)
{
	uint32_t refs = atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel);
	assert(refs > 0);
	return refs == 1;
}

/* Of an entry that was let go: frees what it has beside its block, and returns how many bytes that was asked for with.
 */
size_t hc_entry_end(struct hc_entry *entry);
/* The same, and its block. */
void hc_entry_free(struct hc_entry *entry);

/* Bytes its block was asked for with. */
static inline size_t
hc_entry_alloc_size(const struct hc_entry *entry)
{
	struct hc_entry_lengths lengths = hc_entry_lengths(entry);

	return sizeof(*entry) + hc_entry_extras_len(hc_entry_state(entry)) + lengths.key + lengths.value;
}

/* Takes out, and counts, one that is not valid. */
void hc_shard_reclaim_at(struct hc_store *store, struct hc_shard *shard, const struct hc_place *place,
    struct hc_entry *entry, struct hc_garbage *garbage);

/*
 * The valid entry of that key or NULL; in either case *place is where it is or would be. One that is
 * not valid is taken out.
 */
static inline struct hc_entry *
hc_shard_find(struct hc_store *store, struct hc_shard *shard, struct hc_key key, int64_t now_ms, struct hc_place *place,
    struct hc_garbage *garbage)
{
	struct hc_entry *entry = hc_table_find(&shard->table, key, place);

	if (__builtin_expect(entry == NULL || hc_entry_valid(store, entry, now_ms), 1))
		return entry;
	hc_shard_reclaim_at(store, shard, place, entry, garbage);
	return NULL;
}

/*
 * Puts `entry`, with that hash and footprint, in place of `present`, which hc_shard_find() has found there, or of
 * nothing. HC_OK; HC_STALE: it is not valid (any more), and HC_LIMIT: it is too large: then nothing is there.
 */
enum hc_status hc_shard_put(struct hc_store *store, struct hc_shard *shard, uint64_t hash, const struct hc_place *place,
    struct hc_entry *present, struct hc_entry *entry, size_t footprint, enum hc_put_kind kind, int64_t now_ms,
    struct hc_garbage *garbage);
/* Takes out what is there under the key, valid or not. */
void hc_shard_drop(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_garbage *garbage);
/* Takes out the entry at the place. */
void hc_shard_remove(struct hc_store *store, struct hc_shard *shard, const struct hc_place *place,
    struct hc_entry *entry, struct hc_garbage *garbage);
/*
 * The same while walking, for an entry that is not valid, counted by its reason: hc_table_tidy() and
 * hc_shard_settle() are left to the walk.
 */
void hc_shard_reclaim(
    struct hc_store *store, struct hc_shard *shard, struct hc_bucket *bucket, unsigned at, struct hc_garbage *garbage);
/* Evicts the one that should go next, sparing `keep`. Returns the bytes it was charged with; 0: there is none. */
size_t hc_shard_evict(
    struct hc_store *store, struct hc_shard *shard, struct hc_entry *keep, struct hc_garbage *garbage);
/* So many entries and bytes of the model have come; negative: have gone. */
void hc_shard_account(struct hc_store *store, struct hc_shard *shard, uint32_t model, int64_t entries, int64_t bytes);
/* Brings the store's and the model's counters up to date. */
void hc_shard_tell(struct hc_store *store, struct hc_shard *shard);
/* Lets the table follow the number of entries, by `steps` at most. After changes, before the lock
 * goes. */
void hc_shard_settle(struct hc_shard *shard, unsigned steps, struct hc_garbage *garbage);
/* Gives up what eviction's queues and the table have to spare. */
void hc_shard_spare(struct hc_shard *shard, struct hc_garbage *garbage);

/* Gives a reference back. When it was the last one the entry is garbage, in front of what there is. */
void hc_garbage_let_go(struct hc_garbage *garbage, struct hc_entry *entry);

/* ---- outside of locks ---- */

void hc_garbage_free_all(struct hc_store *store, struct hc_garbage *garbage);

static inline void
hc_garbage_free(struct hc_store *store, struct hc_garbage *garbage)
{
	if (garbage->entries != NULL || garbage->segments != NULL || garbage->buckets != NULL ||
	    garbage->chunks != NULL)
		hc_garbage_free_all(store, garbage);
}

/*
 * Evicts some entries, or closes some holes. Returns false when the budget holds and nothing is left to gain, or others
 * are closing holes.
 */
bool hc_budget_step(struct hc_store *store);

/* Of the budget, beside what lies idle. Counts all that shards may keep to themselves: what is over it is always told.
 */
static inline uint64_t
hc_budget_taken(const struct hc_store *store)
{
	return atomic_load_explicit(&store->bytes, memory_order_relaxed) +
	       atomic_load_explicit(&store->reserved_bytes, memory_order_relaxed) +
	       store->nshards * atomic_load_explicit(&store->untold_max, memory_order_relaxed);
}

static inline bool
hc_budget_exceeded(const struct hc_store *store)
{
	return hc_budget_taken(store) + atomic_load_explicit(&store->idle_bytes, memory_order_relaxed) >
	       atomic_load_explicit(&store->max_bytes, memory_order_relaxed);
}

/* Bytes that a thread evicts, or finds new memory for, from one look at the slabs to the next. */
#define HC_BUDGET_TURN ((uint64_t)64 << 10)

/*
 * Evicts until the budget holds, beginning with the shard `home`, sparing `keep`; but stops once
 * `own_bytes` have been made free, and two more entries have gone: a lowered limit is the sweep's to
 * reach.
 */
void hc_budget_evict(struct hc_store *store, uint32_t home, uint64_t own_bytes, struct hc_entry *keep);

static inline void
hc_budget_fit(struct hc_store *store, uint32_t home, uint64_t own_bytes, struct hc_entry *keep)
{
	if (__builtin_expect(hc_budget_exceeded(store) || hc_slab_grown >= HC_BUDGET_TURN, 0))
		hc_budget_evict(store, home, own_bytes, keep);
}

/* sweep_blocks.c: a step of the sweep in the order of memory. False: it is over. */
bool hc_sweep_blocks(struct hc_store *store, struct hc_slab_visit *visit, int64_t now_ms, struct hc_sweep_tally *tally);

/*
 * Closes holes that have come about in the allocator's slabs, for `work` units (hc_slab_compact()) or
 * until `goal` bytes of memory are given back. Returns how many were, about.
 */
uint64_t hc_compact(struct hc_store *store, size_t work, uint64_t goal);
/* Reclaims everything that is forgotten or cleared, before it returns. */
void hc_store_purge(struct hc_store *store);
/* belief.c: of a store in which nothing is yet. */
void hc_belief_init(struct hc_store *store);

#endif
