/*
 * The store: its life, reads, and the changes for when this daemon is the only authority. Any
 * thread; owns the shards, and through their tables one reference to each entry.
 */
#include <assert.h>
#include <limits.h>
#include "base/large.h"
#include "base/mem.h"
#include "store/shard.h"

#define DEFAULT_SHARDS 16u
#define SHARD_BYTES (2u << 20)        /* of the budget, for a shard to be worth while: eviction chooses within one */
#define UNTOLD_SHARE 4096u            /* of its part of the budget a shard may keep so much to itself: one 4096th */
#define LARGE_SHARE 64u               /* and this part of it is kept of large blocks that were freed, … */
#define LARGE_MAX ((uint64_t)8 << 20) /* … at most */

_Thread_local const struct hc_store *hc_store_exclusive;
_Thread_local bool hc_store_only_reads;
_Thread_local uint32_t hc_store_reader;
_Thread_local uint32_t hc_store_chance;

/* ---- life ---- */

static enum hc_status
shard_init(struct hc_shard *shard)
{
	shard->soonest_ms = shard->sweep_soonest_ms = HC_NO_EXPIRY;
	atomic_store(&shard->evict_best, HC_EVICT_NONE);
	shard->stamps = hc_calloc(HC_STAMPS, sizeof(*shard->stamps));
	if (shard->stamps == NULL)
		return HC_NOMEM;
	if (hc_evict_init(&shard->evict, &shard->table) != HC_OK)
		goto free_stamps;
	if (hc_table_init(&shard->table) != HC_OK)
		goto fini_evict;
	return HC_OK;

fini_evict:
	hc_evict_fini(&shard->evict);
free_stamps:
	hc_free(shard->stamps);
	return HC_NOMEM;
}

static void
unref_chain(const struct hc_bucket *bucket)
{
	for (; bucket != NULL; bucket = hc_bucket_more(bucket)) {
		for (unsigned used = hc_bucket_used(bucket); used != 0; used &= used - 1)
			hc_entry_unref(hc_bucket_entry(bucket, (unsigned)__builtin_ctz(used)));
	}
}

static void
shard_fini(struct hc_shard *shard)
{
	for (uint32_t i = 0; i < shard->table.buckets; i++)
		unref_chain(hc_table_bucket(&shard->table, i));
	hc_evict_fini(&shard->evict);
	hc_table_fini(&shard->table);
	hc_free(shard->stamps);
}

static unsigned
log2_of(uint32_t power)
{
	return (unsigned)__builtin_ctz(power);
}

static struct hc_store *
alloc_store(uint32_t nshards)
{
	struct hc_store *store = hc_calloc_aligned(HC_CACHE_LINE, sizeof(*store));

	if (store == NULL)
		return NULL;
	store->shards = hc_calloc_aligned(HC_CACHE_LINE, nshards * sizeof(*store->shards));
	if (store->shards == NULL) {
		hc_free(store);
		return NULL;
	}
	return store;
}

static uint32_t
default_shards(uint64_t max_bytes)
{
	uint32_t shards = 1;

	while (shards < DEFAULT_SHARDS && max_bytes / SHARD_BYTES >= 2 * shards)
		shards *= 2;
	return shards;
}

static uint32_t
count_readers(uint32_t wanted)
{
	uint32_t readers = 1;

	while (readers < HC_READERS_MAX && readers < wanted)
		readers *= 2;
	return readers;
}

enum hc_status
hc_store_create(const struct hc_store_config *config, struct hc_store **out)
{
	uint32_t nshards = config->shards == 0 ? default_shards(config->max_bytes) : config->shards;
	uint32_t max_models = config->max_models == 0 ? 1 : config->max_models;
	struct hc_store *store;

	if (nshards > HC_SHARDS_MAX || (nshards & (nshards - 1)) != 0)
		return HC_INVALID;
	store = alloc_store(nshards);
	if (store == NULL)
		return HC_NOMEM;
	store->shard_shift = 32 - log2_of(nshards);
	store->readers = count_readers(config->readers);
	if (hc_models_create(max_models, &store->models) != HC_OK)
		goto destroy_store;
	store->default_epoch = hc_models_epoch_at(store->models, HC_MODEL_DEFAULT);
	for (; store->nshards < nshards; store->nshards++) {
		if (shard_init(&store->shards[store->nshards]) != HC_OK)
			goto destroy_store;
	}
	hc_belief_init(store);
	store->versions = config->versions;
	hc_store_set_limit(store, config->max_bytes);
	hc_store_set_weigh_bytes(store, config->weigh_bytes);
	*out = store;
	return HC_OK;

destroy_store:
	hc_store_destroy(store);
	return HC_NOMEM;
}

void
hc_store_destroy(struct hc_store *store)
{
	if (store == NULL)
		return;
	assert(hc_store_exclusive != store);
	for (uint32_t i = 0; i < store->nshards; i++)
		shard_fini(&store->shards[i]);
	(void)hc_slab_free_plain_lists(store->sweep_given_up, store->sweep_ngiven_up, UINT_MAX);
	hc_models_destroy(store->models);
	hc_free(store->shards);
	hc_free(store);
}

struct hc_models *
hc_store_models(struct hc_store *store)
{
	return store->models;
}

void
hc_store_set_below(struct hc_store *store, const struct hc_store_below *below)
{
	store->below = below;
}

void
hc_store_stats(struct hc_store *store, struct hc_store_stats *out)
{
	struct hc_store_stats stats = {.max_bytes = atomic_load_explicit(&store->max_bytes, memory_order_relaxed)};

	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		hc_shard_lock(store, shard);
		hc_shard_tell(store, shard);
		stats.entries += shard->table.count;
		stats.table_bytes +=
		    hc_table_bytes(&shard->table) + hc_evict_bytes(&shard->evict) + HC_STAMPS * sizeof(*shard->stamps);
		stats.evicted += shard->evicted;
		stats.expired += shard->expired;
		stats.reclaimed += shard->reclaimed;
		hc_shard_unlock(store, shard);
	}
	stats.bytes = atomic_load_explicit(&store->bytes, memory_order_relaxed);
	*out = stats;
}

void
hc_store_tell_models(struct hc_store *store)
{
	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		hc_shard_lock(store, shard);
		hc_shard_tell(store, shard);
		hc_shard_unlock(store, shard);
	}
}

void
hc_store_set_limit(struct hc_store *store, uint64_t max_bytes)
{
	hc_large_set_max(max_bytes / LARGE_SHARE < LARGE_MAX ? max_bytes / LARGE_SHARE : LARGE_MAX);
	atomic_store_explicit(&store->reserved_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&store->max_bytes, max_bytes, memory_order_relaxed);
	atomic_store_explicit(&store->untold_max, max_bytes / store->nshards / UNTOLD_SHARE, memory_order_relaxed);
	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		hc_shard_lock(store, shard);
		hc_evict_set_capacity(&shard->evict, max_bytes / store->nshards);
		hc_shard_unlock(store, shard);
	}
	hc_budget_fit(store, 0, 0, NULL);
}

void
hc_store_set_weigh_bytes(struct hc_store *store, bool weigh_bytes)
{
	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		hc_shard_lock(store, shard);
		shard->evict.weigh_bytes = weigh_bytes;
		hc_shard_unlock(store, shard);
	}
}

/* ---- reads ---- */

/* One that is not there any more, and keeps the lock. */
static void
reclaim_met(struct hc_store *store, struct hc_shard *shard, const struct hc_place *place, struct hc_entry *entry)
{
	struct hc_garbage garbage = {0};

	hc_shard_reclaim_at(store, shard, place, entry, &garbage);
	hc_shard_settle(shard, 1, &garbage);
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
}

/* One that is not of the present generation, or not there any more, was seen: it may be changed. */
static __attribute__((noinline, cold)) enum hc_status
read_other(struct hc_store *store, struct hc_shard *shard, struct hc_key key, int64_t now_ms, bool trace,
    struct hc_entry **out)
{
	enum hc_status status = HC_SUSPECT;
	struct hc_place place;

	hc_shard_lock(store, shard);
	/* Not before: the entry may be of a generation that began meanwhile. And once: one forgotten between two looks
	 * would not be suspect. */
	uint64_t belief = atomic_load_explicit(&store->belief, memory_order_acquire);
	struct hc_entry *entry = hc_table_find(&shard->table, key, &place);
	if (entry == NULL) {
		hc_shard_unlock(store, shard);
		return HC_MISS;
	}
	if (!hc_entry_valid_by(store, belief, entry, now_ms)) {
		reclaim_met(store, shard, &place, entry);
		return HC_MISS;
	}
	if (hc_belief_is_fresh(belief, atomic_load_explicit(&entry->life, memory_order_relaxed))) {
		hc_entry_set_generation(entry, hc_belief_present(belief)); /* the next read is a quick one */
		status = HC_OK;
	}
	hc_entry_ref(entry);
	if (trace)
		hc_shard_count_hit(shard, entry, now_ms);
	hc_shard_unlock(store, shard);
	*out = entry;
	return status;
}

static inline __attribute__((always_inline)) enum hc_status
read_entry(struct hc_store *store, struct hc_key key, int64_t now_ms, bool trace, struct hc_entry **out)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_entry *entry;
	struct hc_place place;

	hc_shard_lock_to_read(store, shard);
	entry = hc_table_find(&shard->table, key, &place);
	if (entry == NULL) {
		hc_shard_unlock_read(store, shard);
		return HC_MISS;
	}
	if (__builtin_expect(!hc_entry_present(store, entry, now_ms), 0)) {
		hc_shard_unlock_read(store, shard);
		return read_other(store, shard, key, now_ms, trace, out);
	}
	hc_entry_ref(entry);
	if (trace)
		hc_shard_count_hit(shard, entry, now_ms);
	hc_shard_unlock_read(store, shard);
	*out = entry;
	return HC_OK;
}

enum hc_status
hc_store_get(struct hc_store *store, struct hc_key key, int64_t now_ms, struct hc_entry **out)
{
	return read_entry(store, key, now_ms, true, out);
}

enum hc_status
hc_store_peek(struct hc_store *store, struct hc_key key, int64_t now_ms, struct hc_entry **out)
{
	return read_entry(store, key, now_ms, false, out);
}

struct hc_entry *
hc_store_borrow(struct hc_store *store, struct hc_key key, int64_t now_ms)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_entry *entry;
	struct hc_place place;

	hc_shard_lock_to_read(store, shard);
	entry = hc_table_find(&shard->table, key, &place);
	if (entry == NULL || !hc_entry_present(store, entry, now_ms)) {
		hc_shard_unlock_read(store, shard);
		return NULL;
	}
	hc_shard_count_hit(shard, entry, now_ms);
	return entry;
}

void
hc_store_give_back(struct hc_store *store, struct hc_key key)
{
	hc_shard_unlock_read(store, hc_shard_of(store, key));
}

/* ---- changes ---- */

static enum hc_status
check_condition(enum hc_store_condition condition, const struct hc_entry *expected, const struct hc_entry *present)
{
	switch (condition) {
	case HC_STORE_ANY:
		return HC_OK;
	case HC_STORE_ABSENT:
		return present == NULL ? HC_OK : HC_MISS;
	case HC_STORE_PRESENT:
		return present != NULL ? HC_OK : HC_MISS;
	case HC_STORE_SAME:
		return present == expected ? HC_OK : HC_CONFLICT;
	}
	return HC_INVALID;
}

static void
give_old(struct hc_entry *present, struct hc_entry **old)
{
	if (old == NULL)
		return;
	if (present != NULL)
		hc_entry_ref(present);
	*old = present;
}

enum hc_status
hc_store_put(struct hc_store *store, struct hc_key key, struct hc_entry *entry, const struct hc_store_put *how,
    int64_t now_ms, struct hc_entry **old)
{
	static const struct hc_store_put any = {.condition = HC_STORE_ANY};
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};
	size_t footprint = hc_entry_footprint(entry);
	struct hc_entry *present;
	struct hc_place place;
	bool kept = false;

	if (how == NULL)
		how = &any;
	if (!how->give)
		hc_entry_ref(entry);
	hc_shard_lock(store, shard);
	present = hc_shard_find(store, shard, key, now_ms, &place, &garbage);
	give_old(present, old);
	enum hc_status status = check_condition(how->condition, how->expected, present);
	if (status == HC_OK) {
		if (how->keep_ttl && present != NULL)
			hc_entry_set_expire_ms(entry, hc_entry_expire_ms(present));
		hc_shard_stamp(shard, key)->stamp++;
		status = hc_shard_put(
		    store, shard, key.hash, &place, present, entry, footprint, HC_PUT_WRITTEN, now_ms, &garbage);
		kept = status == HC_OK;
	}
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
	if (kept)
		hc_budget_fit(store, hc_shard_index(store, key.hash), footprint, entry);
	else
		hc_entry_unref(entry);
	return status == HC_STALE ? HC_OK : status; /* expired or cleared, it is gone at once, which is no error */
}

/* Under the lock: what is there goes. */
static void
remove_present(struct hc_store *store, struct hc_shard *shard, const struct hc_place *place, struct hc_entry *present,
    struct hc_garbage *garbage)
{
	hc_shard_remove(store, shard, place, present, garbage);
	hc_shard_settle(shard, 1, garbage);
}

enum hc_status
hc_store_del(struct hc_store *store, struct hc_key key, int64_t now_ms, struct hc_entry **old)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};
	struct hc_entry *present;
	struct hc_place place;

	hc_shard_lock(store, shard);
	present = hc_shard_find(store, shard, key, now_ms, &place, &garbage);
	give_old(present, old);
	/* Even when nothing is here: a copy may be on its way from a slower tier. */
	hc_shard_stamp(shard, key)->stamp++;
	if (present != NULL)
		remove_present(store, shard, &place, present, &garbage);
	hc_below_removed(store, hc_slice(key.ptr, key.len));
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
	return present != NULL ? HC_OK : HC_MISS;
}

/* Redis's rules: no expiry is later than any. */
static bool
expire_applies(unsigned flags, int64_t present_ms, int64_t expire_ms)
{
	bool has = present_ms != HC_NO_EXPIRY;

	if (expire_ms == HC_NO_EXPIRY && !has)
		return false;
	if ((flags & HC_EXPIRE_NX) != 0 && has)
		return false;
	if ((flags & HC_EXPIRE_XX) != 0 && !has)
		return false;
	if ((flags & HC_EXPIRE_GT) != 0 && expire_ms <= present_ms)
		return false;
	return (flags & HC_EXPIRE_LT) == 0 || expire_ms < present_ms;
}

/* Under the lock; the entry is there and the change applies. */
static void
change_expiry(struct hc_store *store, struct hc_shard *shard, const struct hc_place *place, struct hc_entry *entry,
    int64_t expire_ms, int64_t now_ms, struct hc_garbage *garbage)
{
	if (expire_ms <= now_ms) {
		hc_below_removed(store, hc_entry_key(entry));
		remove_present(store, shard, place, entry, garbage);
		return;
	}
	hc_entry_set_expire_ms(entry, expire_ms);
	if (store->below != NULL)
		store->below->expires(store->below->arg, entry, expire_ms);
	hc_shard_expires(shard, expire_ms);
}

enum hc_status
hc_store_expire(
    struct hc_store *store, struct hc_key key, unsigned flags, int64_t expire_ms, int64_t now_ms, struct hc_entry **old)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};
	enum hc_status status = HC_MISS;
	struct hc_entry *present;
	struct hc_place place;

	hc_shard_lock(store, shard);
	present = hc_shard_find(store, shard, key, now_ms, &place, &garbage);
	give_old(present, old);
	if (present != NULL) {
		int64_t present_ms = hc_entry_expire_ms(present);
		status = expire_applies(flags, present_ms, expire_ms) ? HC_OK : HC_UNCHANGED;
	}
	if (status == HC_OK) {
		hc_shard_stamp(shard, key)->stamp++;
		change_expiry(store, shard, &place, present, expire_ms, now_ms, &garbage);
	}
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
	return status;
}

/* ---- several shards at once ---- */

static void
lock_many(struct hc_store *store, uint64_t shards)
{
	for (; shards != 0; shards &= shards - 1)
		hc_shard_lock(store, &store->shards[__builtin_ctzll(shards)]);
}

static void
unlock_many(struct hc_store *store, uint64_t shards)
{
	for (; shards != 0; shards &= shards - 1)
		hc_shard_unlock(store, &store->shards[__builtin_ctzll(shards)]);
}

static struct hc_key
key_of(const struct hc_entry *entry)
{
	struct hc_slice key = hc_entry_key(entry);

	return (struct hc_key){key.ptr, key.len, hc_entry_hash(entry)};
}

/* Under the locks: whether the condition holds for all. */
static enum hc_status
check_all(struct hc_store *store, struct hc_entry *const *entries, size_t n, enum hc_store_condition condition,
    int64_t now_ms, struct hc_garbage *garbage)
{
	for (size_t i = 0; i < n && condition != HC_STORE_ANY; i++) {
		struct hc_key key = key_of(entries[i]);
		struct hc_place place;
		struct hc_entry *present = hc_shard_find(store, hc_shard_of(store, key), key, now_ms, &place, garbage);
		if (check_condition(condition, NULL, present) != HC_OK)
			return HC_MISS;
	}
	return HC_OK;
}

enum hc_status
hc_store_put_many(struct hc_store *store, struct hc_entry *const *entries, size_t n, enum hc_store_condition condition,
    int64_t now_ms)
{
	uint64_t max_bytes = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);
	uint64_t shards = 0, bytes = 0;
	struct hc_garbage garbage = {0};
	enum hc_status status;

	assert(condition != HC_STORE_SAME);
	for (size_t i = 0; i < n; i++) {
		size_t footprint = hc_entry_footprint(entries[i]);
		if (footprint > max_bytes / HC_ENTRY_SHARE)
			return HC_LIMIT;
		bytes += footprint;
		shards |= (uint64_t)1 << hc_shard_index(store, hc_entry_hash(entries[i]));
	}
	lock_many(store, shards);
	status = check_all(store, entries, n, condition, now_ms, &garbage);
	for (size_t i = 0; i < n && status == HC_OK; i++) {
		struct hc_key key = key_of(entries[i]);
		struct hc_shard *shard = hc_shard_of(store, key);
		struct hc_place place;
		struct hc_entry *present = hc_shard_find(store, shard, key, now_ms, &place, &garbage);
		hc_shard_stamp(shard, key)->stamp++;
		hc_entry_ref(entries[i]);
		if (hc_shard_put(store, shard, key.hash, &place, present, entries[i], hc_entry_footprint(entries[i]),
			HC_PUT_WRITTEN, now_ms, &garbage) != HC_OK)
			hc_entry_unref(entries[i]);
	}
	unlock_many(store, shards);
	hc_garbage_free(store, &garbage);
	if (status == HC_OK && n > 0)
		hc_budget_fit(store, hc_shard_index(store, hc_entry_hash(entries[0])), bytes, NULL);
	return status;
}

static uint64_t
all_shards(const struct hc_store *store)
{
	return UINT64_MAX >> (64 - store->nshards);
}

void
hc_store_read_as(uint32_t reader)
{
	hc_store_reader = reader;
}

void
hc_store_read_begin(struct hc_store *store)
{
	uint32_t own = hc_store_own_lock(store);

	assert(hc_store_exclusive == NULL);
	for (uint32_t i = 0; i < store->nshards; i++)
		hc_lock_acquire(&store->shards[i].locks[own].lock);
	hc_store_exclusive = store;
	hc_store_only_reads = true;
}

void
hc_store_read_end(struct hc_store *store)
{
	uint32_t own = hc_store_own_lock(store);

	assert(hc_store_exclusive == store && hc_store_only_reads);
	hc_store_exclusive = NULL;
	hc_store_only_reads = false;
	for (uint32_t i = 0; i < store->nshards; i++)
		hc_lock_release(&store->shards[i].locks[own].lock);
}

void
hc_store_exclusive_begin(struct hc_store *store)
{
	assert(hc_store_exclusive == NULL); /* one store at a time, not nested */
	lock_many(store, all_shards(store));
	hc_store_exclusive = store;
}

void
hc_store_exclusive_end(struct hc_store *store)
{
	struct hc_garbage garbage = store->deferred;

	assert(hc_store_exclusive == store && !hc_store_only_reads);
	store->deferred = (struct hc_garbage){0};
	hc_store_exclusive = NULL;
	unlock_many(store, all_shards(store));
	hc_garbage_free(store, &garbage);
}

bool
hc_store_is_exclusive(const struct hc_store *store)
{
	return hc_store_exclusive == store;
}

bool
hc_store_fits(const struct hc_store *store, const struct hc_entry *entry)
{
	uint64_t max_bytes = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);

	return hc_entry_footprint(entry) <= max_bytes / HC_ENTRY_SHARE;
}
