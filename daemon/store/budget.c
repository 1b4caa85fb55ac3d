/*
 * The byte budget: evicting until what the tables hold fits. Any thread, outside of locks (or with
 * all of them, under exclusive use); owns nothing.
 *
 * There is one budget for all shards: each victim is the best of its home shard and two others.
 */
#include "base/mem.h"
#include "store/shard.h"
#include "store/slab.h"

#define IDLE_SHARE 12 /* this part of the budget at most is left to what lies idle in slabs … */
#define HOLES_LEFT 32 /* … and this part of it as holes that are not closed */
#define TURN_WORK ((size_t)8 * HC_BUDGET_TURN) /* units of work of closing holes meanwhile, … */
#define STEP_WORK ((size_t)2 * HC_BUDGET_TURN) /* … and in a step of upkeep */
#define TRIM_CALLS 20 /* of hc_store_fit_process(), from one return of free pages to the next, at least */
#define LOWERED 8     /* entries are over the budget by this part of it only when it was lowered */
#define EXTRA 2       /* evictions an insertion does once it has what it needs itself: the rest is the sweep's */
#define STEP 8        /* evictions in a step of upkeep */

/* ---- memory that is taken, but not by entries ---- */

static uint64_t
lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * How much of them is left: where sizes differ much, what comes finds a hole of its size only among
 * many, and costs system calls otherwise; where they do not, any hole will do.
 */
static uint64_t
holes_left(struct hc_store *store, const struct hc_slab_usage *usage, uint64_t max)
{
	uint64_t before = atomic_exchange_explicit(&store->taken_bytes, usage->taken, memory_order_relaxed);

	return usage->taken - before > HC_BUDGET_TURN / 4 ? max / HOLES_LEFT : 0;
}

/*
 * What lies idle in slabs is taken off the budget, up to a part of it: evicting more makes more holes,
 * at first. So when it is too much, holes are closed, by so much work at most. Returns whether that brought something,
 * and idle is still more than is taken off.
 */
static bool
fit_idle(struct hc_store *store, size_t work)
{
	uint64_t max = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);
	uint64_t most = max / IDLE_SHARE, gained = 0;
	struct hc_slab_usage usage;

	hc_slab_usage(&usage);
	uint64_t idle = usage.resident - usage.live, left = holes_left(store, &usage, max);
	if (hc_budget_taken(store) + idle > max && usage.holes > left)
		gained = hc_compact(store, work, usage.holes - left);
	atomic_store_explicit(&store->idle_bytes, lesser(idle, most), memory_order_relaxed);
	return gained >= work / 8 && idle > most;
}

/* What is evicted gives its pages back only by and by: so the part set apart changes in small steps. */
static uint64_t
approach(uint64_t reserved, uint64_t beside, uint64_t max)
{
	if (beside > reserved)
		return lesser(lesser(beside, reserved + max / 50), max / 2);
	return reserved - lesser(reserved - beside, max / 200);
}

bool
hc_store_fit_process(struct hc_store *store, uint64_t grown_bytes)
{
	uint64_t max = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);
	uint64_t before = atomic_load_explicit(&store->reserved_bytes, memory_order_relaxed);
	struct hc_slab_usage usage;

	(void)fit_idle(store, TURN_WORK);
	hc_slab_usage(&usage);
	uint64_t known = atomic_load_explicit(&store->bytes, memory_order_relaxed) + usage.resident - usage.live;
	uint64_t beside = grown_bytes > known + HC_PROCESS_SLACK ? grown_bytes - known - HC_PROCESS_SLACK : 0;
	if (++store->untrimmed >= TRIM_CALLS && beside > before) {
		store->untrimmed = 0;
		hc_mem_trim();
	}
	uint64_t reserved = approach(before, beside, max);
	atomic_store_explicit(&store->reserved_bytes, reserved, memory_order_relaxed);
	return reserved == before;
}

/* Up to `n`, while the budget is exceeded. Returns whether it evicted any, and adds their bytes to *freed. */
static bool
evict_from(struct hc_store *store, struct hc_shard *shard, struct hc_entry *keep, unsigned n, uint64_t *freed)
{
	struct hc_garbage garbage = {0};
	size_t bytes = 0, more = 0;

	hc_shard_lock(store, shard);
	do {
		more = hc_shard_evict(store, shard, keep, &garbage);
		bytes += more;
	} while (--n > 0 && more > 0 && hc_budget_exceeded(store));
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

/* Up to `n` from the shard that has the best to offer, or from any. */
static bool
evict_some(struct hc_store *store, uint32_t home, struct hc_entry *keep, unsigned n, uint64_t *freed)
{
	if (evict_from(store, &store->shards[choose_shard(store, home)], keep, n, freed))
		return true;
	for (uint32_t i = 0; i < store->nshards; i++) {
		if (evict_from(store, &store->shards[i], keep, n, freed))
			return true;
	}
	return false;
}

/* What entries take is far more than the budget: that was lowered, and the sweep is at it. */
static bool
is_lowered(const struct hc_store *store)
{
	uint64_t max = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);

	return atomic_load_explicit(&store->bytes, memory_order_relaxed) > max + max / LOWERED;
}

/* An insertion's. Meanwhile the sweep leaves the holes alone: where both share a processor, a client waits for both. */
static void
fit_idle_now(struct hc_store *store)
{
	atomic_fetch_add_explicit(&store->fitting, 1, memory_order_relaxed);
	(void)fit_idle(store, TURN_WORK);
	atomic_fetch_sub_explicit(&store->fitting, 1, memory_order_relaxed);
}

void
hc_budget_evict(struct hc_store *store, uint32_t home, uint64_t own_bytes, struct hc_entry *keep)
{
	static _Thread_local uint64_t turned;
	uint64_t freed = 0;
	unsigned extra = 0;

	while (hc_budget_exceeded(store) && (freed < own_bytes || extra < EXTRA)) {
		extra += freed >= own_bytes;
		if (!evict_some(store, home, keep, 1, &freed))
			break;
	}
	turned += freed > own_bytes ? freed : own_bytes;
	/* What has gone into a hole may not have to drive out anything; what has not, may have to. */
	if (hc_slab_grown >= HC_BUDGET_TURN || (turned >= HC_BUDGET_TURN && !is_lowered(store))) {
		turned = 0;
		hc_slab_grown = 0;
		fit_idle_now(store);
	}
}

/*
 * First what is over the budget goes, then the holes it leaves are closed: what goes need not be moved. Several from
 * one shard, since there is much to go: the next one is at hand then.
 */
bool
hc_budget_step(struct hc_store *store)
{
	uint64_t max = atomic_load_explicit(&store->max_bytes, memory_order_relaxed), freed = 0;
	uint32_t home = atomic_load_explicit(&store->evict_next, memory_order_relaxed) & (store->nshards - 1);

	if (hc_budget_exceeded(store) && evict_some(store, home, NULL, STEP, &freed))
		return true;
	return atomic_load_explicit(&store->idle_bytes, memory_order_relaxed) >= max / IDLE_SHARE &&
	       atomic_load_explicit(&store->fitting, memory_order_relaxed) == 0 && fit_idle(store, STEP_WORK);
}
