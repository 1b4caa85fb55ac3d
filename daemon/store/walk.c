/*
 * Walking the whole store in short holds of the shards' locks: SCAN, exact counts, the sweep. Any
 * thread, but the sweep only one at a time; owns nothing but the sweep's place in the store.
 *
 * A cursor holds the shard in its low bits and the place in the shard's table above them.
 */
#include "base/mem.h"
#include "store/shard.h"

#define AHEAD 8       /* steps by which slots are fetched before entries, and entries before they are looked at */
#define HOLD 64       /* slots looked at in one hold of a lock */
#define SPARSE 10     /* a scan that finds little looks at up to so many times as many slots */
#define LIST_MIN 16   /* items of a list, to begin with */
#define WORTHWHILE 10 /* sweep again at once when one in so many entries was reclaimed */
#define ADAPT 16      /* slots the sweep adds or removes in each hold, beyond those it emptied */

/* What is seen of one shard in one hold of its lock. */
struct view {
	struct hc_store *store;
	struct hc_shard *shard;
	int64_t now_ms;
	struct hc_entry_list *list; /* NULL: count only */
	struct hc_garbage garbage;
	size_t valid;
	size_t reclaimed;
	size_t slots;
	int64_t soonest_ms;
};

static void
see_slot(struct view *view, struct hc_entry **link)
{
	struct hc_entry *entry;

	view->slots++;
	while ((entry = *link) != NULL) {
		if (!hc_entry_valid(view->store, entry, view->now_ms)) {
			hc_shard_reclaim(view->store, view->shard, link, &view->garbage);
			view->reclaimed++;
			continue;
		}
		int64_t expire_ms = hc_entry_expire_ms(entry);
		if (expire_ms < view->soonest_ms)
			view->soonest_ms = expire_ms;
		view->valid++;
		if (view->list != NULL) {
			hc_entry_ref(entry);
			view->list->items[view->list->n++] = entry;
		}
		link = &entry->next;
	}
}

static size_t
chain_length(const struct hc_entry *entry)
{
	size_t n = 0;

	for (; entry != NULL; entry = entry->next)
		n++;
	return n;
}

/*
 * One step of the walk, under the lock. Returns 0, or when the list has no room, how much it needs:
 * then nothing has happened.
 */
static size_t
see_step(struct view *view, uint64_t *cursor)
{
	struct hc_table *table = &view->shard->table;
	struct hc_entry **slots[2];
	unsigned n = hc_table_walk(table, *cursor, slots);
	size_t reclaimed = view->reclaimed;

	if (view->list != NULL) {
		size_t need = view->list->n;
		for (unsigned i = 0; i < n; i++)
			need += chain_length(*slots[i]);
		if (need > view->list->cap)
			return need;
	}
	for (unsigned i = 0; i < n; i++)
		see_slot(view, slots[i]);
	*cursor = hc_table_walk_next(table, *cursor);
	/* Only now: it moves slots about. */
	hc_shard_settle(view->shard, (unsigned)(2 * (view->reclaimed - reclaimed)), &view->garbage);
	return 0;
}

/* Where the walk will be in some steps: the slot is fetched first, then the entry in it. Both are all over memory. */
struct lookahead {
	uint64_t slot;
	uint64_t entry;
};

static void
look_ahead(const struct hc_table *table, struct lookahead *ahead, bool entries)
{
	struct hc_entry **slots[2];
	unsigned n = hc_table_walk(table, ahead->slot, slots);

	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(slots[i]);
	ahead->slot = hc_table_walk_next(table, ahead->slot);
	if (!entries)
		return;
	for (unsigned i = 0, m = hc_table_walk(table, ahead->entry, slots); i < m; i++)
		__builtin_prefetch(*slots[i]);
	ahead->entry = hc_table_walk_next(table, ahead->entry);
}

/* Steps until `slots` slots were seen, the shard is done (*cursor is 0) or the list is full
 * (returns its need). */
static size_t
see_some(struct view *view, uint64_t *cursor, size_t slots)
{
	size_t need;

	view->slots = view->valid = view->reclaimed = 0;
	view->soonest_ms = HC_NO_EXPIRY;
	view->garbage = (struct hc_garbage){0};
	struct lookahead ahead = {*cursor, *cursor};
	for (unsigned i = 0; i < 2 * AHEAD; i++)
		look_ahead(&view->shard->table, &ahead, i >= AHEAD);
	do {
		look_ahead(&view->shard->table, &ahead, true);
		need = see_step(view, cursor);
	} while (need == 0 && *cursor != 0 && view->slots < slots);
	return need;
}

/* ---- scan ---- */

static enum hc_status
list_reserve(struct hc_entry_list *list, size_t need)
{
	size_t cap = list->cap < LIST_MIN ? LIST_MIN : list->cap;
	struct hc_entry **items;

	while (cap < need)
		cap *= 2;
	items = hc_realloc(list->items, cap * sizeof(*items));
	if (items == NULL)
		return HC_NOMEM;
	list->items = items;
	list->cap = cap;
	return HC_OK;
}

static size_t
lesser(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* As Redis does: where entries are few and far between, a step goes further. */
static bool
scan_enough(size_t count, size_t slots, size_t found)
{
	return slots >= count && (found >= count || slots / SPARSE >= count);
}

enum hc_status
hc_store_scan(struct hc_store *store, uint64_t *cursor, size_t count, int64_t now_ms, struct hc_entry_list *list)
{
	unsigned bits = (unsigned)__builtin_ctz(store->nshards);
	uint32_t at = (uint32_t)*cursor & (store->nshards - 1);
	uint64_t place = *cursor >> bits;
	size_t slots = 0, found = 0;
	enum hc_status status = HC_OK;

	if (count == 0)
		count = 1;
	while (at < store->nshards && status == HC_OK && !scan_enough(count, slots, found)) {
		struct view view = {.store = store, .shard = &store->shards[at], .now_ms = now_ms, .list = list};
		hc_shard_lock(store, view.shard);
		size_t need = see_some(&view, &place, lesser(count, HOLD));
		hc_shard_unlock(store, view.shard);
		hc_garbage_free(store, &view.garbage);
		slots += view.slots;
		found += view.valid;
		if (need > 0)
			status = list_reserve(list, need);
		else if (place == 0)
			at++;
	}
	*cursor = at == store->nshards ? 0 : place << bits | at;
	return status;
}

void
hc_entry_list_fini(struct hc_entry_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		hc_entry_unref(list->items[i]);
	hc_free(list->items);
	*list = (struct hc_entry_list){0};
}

/* ---- count ---- */

static uint64_t
count_by_walking(struct hc_store *store, struct hc_shard *shard, int64_t now_ms)
{
	uint64_t n = 0, place = 0;

	do {
		struct view view = {.store = store, .shard = shard, .now_ms = now_ms};
		hc_shard_lock(store, shard);
		see_some(&view, &place, HOLD);
		hc_shard_unlock(store, shard);
		hc_garbage_free(store, &view.garbage);
		n += view.valid;
	} while (place != 0);
	return n;
}

uint64_t
hc_store_count(struct hc_store *store, int64_t now_ms)
{
	/* Was nothing cleared since the sweep's last whole walk began, only expiry can have made
	 * entries invalid. */
	bool clean = atomic_load_explicit(&store->clean_changes, memory_order_acquire) == hc_store_changes(store);
	uint64_t n = 0;

	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		hc_shard_lock(store, shard);
		bool counted = clean && shard->soonest_ms > now_ms;
		uint64_t entries = shard->table.count;
		hc_shard_unlock(store, shard);
		n += counted ? entries : count_by_walking(store, shard, now_ms);
	}
	return n;
}

void
hc_store_purge(struct hc_store *store)
{
	uint32_t generation = hc_store_generation(store);

	for (uint32_t i = 0; i < store->nshards; i++)
		(void)count_by_walking(store, &store->shards[i], 0);
	atomic_store_explicit(&store->clean_generation, generation, memory_order_release);
}

/* ---- sweep ---- */

/* Under the lock. What the walk met in this shard, and what was added meanwhile, is all there is.
 */
static void
sweep_leave_shard(struct hc_shard *shard)
{
	shard->soonest_ms = shard->sweep_soonest_ms;
	shard->sweep_soonest_ms = HC_NO_EXPIRY;
}

/* From the last shard the walk begins again. */
static void
sweep_next_shard(struct hc_store *store)
{
	if (++store->sweep_shard < store->nshards)
		return;
	store->sweep_shard = 0;
	atomic_store_explicit(&store->clean_changes, store->sweep_changes, memory_order_release);
	/* hc_store_purge() may have been further */
	if ((int32_t)(store->sweep_generation - atomic_load_explicit(&store->clean_generation, memory_order_relaxed)) >
	    0)
		atomic_store_explicit(&store->clean_generation, store->sweep_generation, memory_order_release);
}

/* One hold of a lock. Adds to *seen and *reclaimed; returns true at the end of a shard. */
static bool
sweep_some(struct hc_store *store, int64_t now_ms, size_t *seen, size_t *reclaimed)
{
	struct hc_shard *shard = &store->shards[store->sweep_shard];
	struct view view = {.store = store, .shard = shard, .now_ms = now_ms};

	if (store->sweep_shard == 0 && store->sweep_cursor == 0) {
		store->sweep_changes = hc_store_changes(store);
		store->sweep_generation = hc_store_generation(store);
	}
	/* Nothing was cleared since the last whole walk, and nothing has expired: there is nothing to be found here. */
	bool clean = atomic_load_explicit(&store->clean_changes, memory_order_relaxed) == hc_store_changes(store);
	hc_shard_lock(store, shard);
	if (store->sweep_cursor == 0 && clean && shard->soonest_ms > now_ms) {
		hc_shard_settle(shard, ADAPT, &view.garbage);
		hc_shard_unlock(store, shard);
		hc_garbage_free(store, &view.garbage);
		sweep_next_shard(store);
		return true;
	}
	if (store->sweep_cursor == 0)
		shard->sweep_soonest_ms = HC_NO_EXPIRY;
	see_some(&view, &store->sweep_cursor, HOLD);
	hc_shard_expires(shard, view.soonest_ms);
	if (store->sweep_cursor == 0)
		sweep_leave_shard(shard);
	hc_shard_settle(shard, ADAPT, &view.garbage);
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &view.garbage);
	*seen += view.valid + view.reclaimed;
	*reclaimed += view.reclaimed;
	if (store->sweep_cursor != 0)
		return false;
	sweep_next_shard(store);
	return true;
}

int64_t
hc_store_sweep_due(struct hc_store *store, int64_t now_ms)
{
	uint64_t bytes = atomic_load_explicit(&store->bytes, memory_order_relaxed);
	bool clean = atomic_load_explicit(&store->clean_changes, memory_order_relaxed) == hc_store_changes(store);
	int64_t due_ms = HC_NO_EXPIRY;

	if (bytes != store->sweep_bytes || !clean || store->sweep_cursor != 0 || hc_budget_exceeded(store)) {
		store->sweep_bytes = bytes;
		return now_ms;
	}
	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		hc_shard_lock(store, shard);
		if (shard->soonest_ms < due_ms)
			due_ms = shard->soonest_ms;
		hc_shard_unlock(store, shard);
	}
	return due_ms;
}

bool
hc_store_sweep(struct hc_store *store, int64_t now_ms, int64_t budget_us)
{
	int64_t end_us = hc_clock_mono_us() + budget_us;
	size_t seen = 0, reclaimed = 0;

	while (hc_budget_step(store)) {
		if (hc_clock_mono_us() >= end_us)
			return hc_budget_exceeded(store);
	}
	/* Once round, from where the last call stopped. */
	for (size_t shards = store->nshards + (store->sweep_cursor != 0); shards > 0;) {
		if (sweep_some(store, now_ms, &seen, &reclaimed))
			shards--;
		if (hc_clock_mono_us() >= end_us)
			return reclaimed * WORTHWHILE > seen;
	}
	return false;
}
