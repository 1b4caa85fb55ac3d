/*
 * Walking the whole store in short holds of the shards' locks: SCAN, exact counts, the sweep. Any
 * thread, but the sweep only one at a time; owns nothing but the sweep's place in the store.
 *
 * A cursor holds the shard in its low bits and the place in the shard's table above them.
 */
#include "base/mem.h"
#include "store/shard.h"

#define AHEAD 4       /* steps by which buckets are fetched before entries, and entries before they are looked at */
#define HOLD 64       /* places looked at in one hold of a lock by who scans … */
#define UPKEEP 256    /* … and by upkeep, which reads ahead */
#define SPARSE 20     /* a scan that finds little looks at up to so many times as many places */
#define LIST_MIN 16   /* items of a list, to begin with */
#define WORTHWHILE 10 /* the sweep is to go on when more than one in so many entries was reclaimed */
#define OVER_PART 4   /* of its time, evicting down to the budget: others insert meanwhile */
#define COUNTED 4096  /* places looked at in one step of a count: some tenths of a millisecond */
#define FREED 512     /* blocks that are freed in one step, of those that shards have given up */
#define ADAPT 64      /* buckets added or removed in one hold, and chunks of queues, when a shard's walk is over */

/* What is seen of one shard in one hold of its lock. */
struct view {
	struct hc_store *store;
	struct hc_shard *shard;
	int64_t now_ms;
	struct hc_entry_list *list; /* NULL: count only */
	struct hc_garbage garbage;
	size_t valid;
	size_t reclaimed;
	size_t places; /* entries, those that were reclaimed included, and empty buckets */
	int64_t soonest_ms;
};

static void
see_entry(struct view *view, struct hc_bucket *bucket, unsigned at)
{
	struct hc_entry *entry = hc_bucket_entry(bucket, at);

	if (!hc_entry_valid(view->store, entry, view->now_ms)) {
		hc_shard_reclaim(view->store, view->shard, bucket, at, &view->garbage);
		view->reclaimed++;
		return;
	}
	int64_t expire_ms = hc_entry_expire_ms(entry);
	if (expire_ms < view->soonest_ms)
		view->soonest_ms = expire_ms;
	view->valid++;
	if (view->list != NULL) {
		hc_entry_ref(entry);
		view->list->items[view->list->n++] = entry;
	}
}

static void
see_bucket(struct view *view, struct hc_bucket *first)
{
	size_t reclaimed = view->reclaimed, seen = view->valid + reclaimed;

	for (struct hc_bucket *bucket = first; bucket != NULL; bucket = hc_bucket_more(bucket)) {
		for (unsigned used = hc_bucket_used(bucket); used != 0; used &= used - 1)
			see_entry(view, bucket, (unsigned)__builtin_ctz(used));
	}
	if (view->reclaimed != reclaimed)
		hc_table_tidy(&view->shard->table, first);
	seen = view->valid + view->reclaimed - seen;
	view->places += seen > 0 ? seen : 1;
}

/*
 * One step of the walk, under the lock. Returns 0, or when the list has no room, how much it needs:
 * then nothing has happened.
 */
static size_t
see_step(struct view *view, uint64_t *cursor)
{
	const struct hc_table *table = &view->shard->table;
	struct hc_bucket *buckets[HC_TABLE_GROUP_MAX];
	unsigned n = hc_table_group(table, *cursor, buckets);

	if (view->list != NULL) {
		size_t need = view->list->n;
		for (unsigned i = 0; i < n; i++)
			need += hc_table_chain_len(buckets[i]);
		if (need > view->list->cap)
			return need;
	}
	for (unsigned i = 0; i < n; i++)
		see_bucket(view, buckets[i]);
	*cursor = hc_table_walk_next(table, *cursor);
	return 0;
}

/* Where the walk will be in some steps: the buckets are fetched first, then the entries. Both are all over memory. */
struct lookahead {
	uint64_t buckets;
	uint64_t entries;
};

static void
look_ahead(const struct hc_table *table, struct lookahead *ahead, bool entries)
{
	struct hc_bucket *buckets[HC_TABLE_GROUP_MAX];
	unsigned n = hc_table_group(table, ahead->buckets, buckets);

	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(buckets[i]);
	ahead->buckets = hc_table_walk_next(table, ahead->buckets);
	if (!entries)
		return;
	n = hc_table_group(table, ahead->entries, buckets);
	for (unsigned i = 0; i < n; i++)
		hc_bucket_prefetch_entries(buckets[i]);
	ahead->entries = hc_table_walk_next(table, ahead->entries);
}

/* Steps until `places` places were seen, the shard is done (*cursor is 0) or the list is full
 * (returns its need). */
static size_t
see_some(struct view *view, uint64_t *cursor, size_t places)
{
	size_t need;

	view->places = view->valid = view->reclaimed = 0;
	view->soonest_ms = HC_NO_EXPIRY;
	view->garbage = (struct hc_garbage){0};
	struct lookahead ahead = {*cursor, *cursor};
	for (unsigned i = 0; i < 2 * AHEAD; i++)
		look_ahead(&view->shard->table, &ahead, i >= AHEAD);
	do {
		look_ahead(&view->shard->table, &ahead, true);
		need = see_step(view, cursor);
	} while (need == 0 && *cursor != 0 && view->places < places);
	return need;
}

/*
 * One hold of a lock, at the end of a shard's walk: the table and the queues catch up with what has been reclaimed. Not
 * before, since what is about to be reclaimed is not worth moving. Returns whether there is more to do.
 */
static bool
settle_some(struct hc_store *store, struct hc_shard *shard, struct hc_garbage *garbage)
{
	hc_shard_lock(store, shard);
	uint32_t buckets = shard->table.buckets;
	hc_shard_settle(shard, ADAPT, garbage);
	bool stale = hc_evict_tidy(&shard->evict, ADAPT);
	hc_shard_spare(shard, garbage);
	bool more = stale || (shard->table.buckets != buckets && !hc_table_fits(&shard->table));
	hc_shard_unlock(store, shard);
	return more;
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
scan_enough(size_t count, size_t places, size_t found)
{
	return places >= count && (found >= count || places / SPARSE >= count);
}

enum hc_status
hc_store_scan(struct hc_store *store, uint64_t *cursor, size_t count, int64_t now_ms, struct hc_entry_list *list)
{
	unsigned bits = (unsigned)__builtin_ctz(store->nshards);
	uint32_t at = (uint32_t)*cursor & (store->nshards - 1);
	uint64_t place = *cursor >> bits;
	size_t places = 0, found = 0;
	enum hc_status status = HC_OK;

	if (count == 0)
		count = 1;
	while (at < store->nshards && status == HC_OK && !scan_enough(count, places, found)) {
		struct view view = {.store = store, .shard = &store->shards[at], .now_ms = now_ms, .list = list};
		hc_shard_lock(store, view.shard);
		size_t need = see_some(&view, &place, lesser(count, HOLD));
		hc_shard_unlock(store, view.shard);
		hc_garbage_free(store, &view.garbage);
		places += view.places;
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

/* One hold of a lock. */
static size_t
count_some(struct hc_store *store, struct hc_store_counting *counting, int64_t now_ms)
{
	struct view view = {.store = store, .shard = &store->shards[counting->shard], .now_ms = now_ms};

	/* Was nothing cleared since the sweep's last whole walk began, only expiry can have made entries invalid. */
	bool clean = atomic_load_explicit(&store->clean_changes, memory_order_acquire) == hc_store_changes(store);
	hc_shard_lock(store, view.shard);
	if (counting->place == 0 && clean && view.shard->soonest_ms > now_ms) {
		view.valid = view.shard->table.count;
		view.places = 1;
	} else {
		see_some(&view, &counting->place, UPKEEP);
	}
	hc_shard_unlock(store, view.shard);
	hc_garbage_free(store, &view.garbage);
	counting->n += view.valid;
	if (counting->place == 0)
		counting->shard++;
	return view.places;
}

/* What the walk has reclaimed, the sweep will: it comes by all the same, and lets the tables catch up. */
bool
hc_store_count_on(struct hc_store *store, struct hc_store_counting *counting, int64_t now_ms)
{
	for (size_t places = 0; counting->shard < store->nshards && places < COUNTED;)
		places += count_some(store, counting, now_ms);
	return counting->shard < store->nshards;
}

uint64_t
hc_store_count(struct hc_store *store, int64_t now_ms)
{
	struct hc_store_counting counting = {0};

	while (hc_store_count_on(store, &counting, now_ms))
		continue;
	return counting.n;
}

void
hc_store_purge(struct hc_store *store)
{
	uint32_t floor = hc_store_floor(store);
	struct hc_garbage garbage = {0};

	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		uint64_t place = 0;
		do {
			struct view view = {.store = store, .shard = shard};
			hc_shard_lock(store, shard);
			see_some(&view, &place, UPKEEP);
			hc_shard_unlock(store, shard);
			hc_garbage_free(store, &view.garbage);
		} while (place != 0);
		while (settle_some(store, shard, &garbage))
			hc_garbage_free(store, &garbage);
		hc_garbage_free(store, &garbage);
	}
	atomic_store_explicit(&store->clean_floor, floor, memory_order_release);
}

/* ---- sweep ---- */

/* What one call of the sweep has met. */
struct tally {
	struct hc_sweep_tally met;
	uint32_t shards; /* done with */
	bool settling;   /* the table or the queues of one have more to catch up with */
};

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
sweep_next_shard(struct hc_store *store, struct tally *tally)
{
	tally->shards++;
	if (++store->sweep_shard < store->nshards)
		return;
	store->sweep_shard = 0;
	atomic_store_explicit(&store->clean_changes, store->sweep_changes, memory_order_release);
	/* hc_store_purge() may have been further */
	if ((int32_t)(store->sweep_floor - atomic_load_explicit(&store->clean_floor, memory_order_relaxed)) > 0)
		atomic_store_explicit(&store->clean_floor, store->sweep_floor, memory_order_release);
}

static void
give_up(struct hc_store *store, void **list)
{
	if (*list != NULL)
		store->sweep_given_up[store->sweep_ngiven_up++] = *list;
	*list = NULL;
}

/* What there may be much of is freed by and by: as long as the queues were, and each block is somewhere else. */
static void
give_up_garbage(struct hc_store *store, struct hc_garbage *garbage)
{
	give_up(store, &garbage->buckets);
	give_up(store, &garbage->chunks);
	hc_garbage_free(store, garbage);
}

/* Some of it. Returns whether there is more. */
static bool
free_given_up(struct hc_store *store)
{
	unsigned n = store->sweep_ngiven_up;

	if (!hc_slab_free_plain_lists(store->sweep_given_up, n, (FREED + n - 1) / n))
		store->sweep_ngiven_up = 0;
	return store->sweep_ngiven_up > 0;
}

/* What one hold of a lock of a shard has to settle. Returns whether there is more. */
static bool
settle_and_give_up(struct hc_store *store, struct hc_shard *shard)
{
	struct hc_garbage garbage = {0};
	bool more = settle_some(store, shard, &garbage);

	give_up_garbage(store, &garbage);
	return more;
}

/* One hold of a lock. Returns true when it is done. */
static bool
sweep_settle(struct hc_store *store, struct tally *tally)
{
	store->sweep_settles = tally->settling = settle_and_give_up(store, &store->shards[store->sweep_shard]);
	if (store->sweep_settles)
		return false;
	sweep_next_shard(store, tally);
	return true;
}

static void
add_met(struct hc_sweep_tally *sum, const struct hc_sweep_tally *met)
{
	sum->seen += met->seen;
	sum->reclaimed += met->reclaimed;
}

static bool
is_much(const struct hc_sweep_tally *met)
{
	return met->reclaimed * WORTHWHILE > met->seen;
}

/* One hold of a lock; two, when the first ends with a shard: what is worth while is told by what is in the next. */
static void
sweep_some(struct hc_store *store, int64_t now_ms, struct tally *tally)
{
	if (store->sweep_settles && !sweep_settle(store, tally))
		return;
	struct hc_shard *shard = &store->shards[store->sweep_shard];
	struct view view = {.store = store, .shard = shard, .now_ms = now_ms};

	if (store->sweep_shard == 0 && store->sweep_cursor == 0) {
		store->sweep_rest = 0;
		store->sweep_changes = hc_store_changes(store);
		store->sweep_floor = hc_store_floor(store);
	}
	/* Nothing was cleared since the last whole walk, and nothing has expired: there is nothing to be found here. */
	bool clean = atomic_load_explicit(&store->clean_changes, memory_order_relaxed) == hc_store_changes(store);
	hc_shard_lock(store, shard);
	if (store->sweep_cursor == 0 && clean && shard->soonest_ms > now_ms) {
		hc_shard_unlock(store, shard);
		sweep_next_shard(store, tally);
		return;
	}
	if (store->sweep_cursor == 0)
		shard->sweep_soonest_ms = HC_NO_EXPIRY;
	see_some(&view, &store->sweep_cursor, UPKEEP);
	hc_shard_expires(shard, view.soonest_ms);
	if (store->sweep_cursor == 0)
		sweep_leave_shard(shard);
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &view.garbage);
	struct hc_sweep_tally met = {view.valid + view.reclaimed, view.reclaimed};
	add_met(&tally->met, &met);
	store->sweep_settles = store->sweep_cursor == 0;
	store->sweep_rest -= lesser(store->sweep_rest, met.seen);
	if (store->sweep_rest == 0 && is_much(&met)) {
		store->sweep_blocks = HC_BLOCKS_NOW;
		store->sweep_visit = (struct hc_slab_visit){0};
		store->sweep_met = (struct hc_sweep_tally){0};
	}
}

/* What was taken out in the order of memory has come out of all tables. Their lists are freed together. */
static void
give_up_all(struct hc_store *store, struct tally *tally)
{
	tally->settling = true;
	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		struct hc_garbage garbage = {0};
		hc_shard_lock(store, shard);
		hc_evict_give_up(&shard->evict);
		hc_shard_spare(shard, &garbage);
		hc_shard_unlock(store, shard);
		give_up_garbage(store, &garbage);
	}
	store->sweep_blocks = HC_BLOCKS_CATCH_UP;
	store->sweep_catch_up = 0;
}

/* One hold of a lock. */
static void
catch_up(struct hc_store *store, struct tally *tally)
{
	tally->settling = true;
	if (!settle_and_give_up(store, &store->shards[store->sweep_catch_up]) &&
	    ++store->sweep_catch_up == store->nshards)
		store->sweep_blocks = HC_BLOCKS_LATER;
}

/* One step. */
static void
sweep_blocks(struct hc_store *store, int64_t now_ms, struct tally *tally)
{
	struct hc_sweep_tally met = {0};
	bool more = hc_sweep_blocks(store, &store->sweep_visit, now_ms, &met);

	add_met(&tally->met, &met);
	add_met(&store->sweep_met, &met);
	if (more)
		return;
	bool paid = is_much(&store->sweep_met);
	store->sweep_rest = paid ? store->sweep_met.seen - store->sweep_met.reclaimed : SIZE_MAX;
	store->sweep_blocks = HC_BLOCKS_GIVE_UP;
}

static void
sweep_on(struct hc_store *store, int64_t now_ms, struct tally *tally)
{
	/* What little a shard gives up is no step of its own: the walk would seem to have met nothing. */
	if (store->sweep_ngiven_up > 0 && free_given_up(store))
		return;
	switch (store->sweep_blocks) {
	case HC_BLOCKS_LATER:
		sweep_some(store, now_ms, tally);
		break;
	case HC_BLOCKS_NOW:
		sweep_blocks(store, now_ms, tally);
		break;
	case HC_BLOCKS_GIVE_UP:
		give_up_all(store, tally);
		break;
	case HC_BLOCKS_CATCH_UP:
		catch_up(store, tally);
		break;
	}
}

/* In the order of memory what is dead may be behind much that is not. */
static bool
is_worthwhile(const struct hc_store *store, const struct tally *tally)
{
	return store->sweep_blocks != HC_BLOCKS_LATER || store->sweep_ngiven_up > 0 || tally->settling ||
	       is_much(&tally->met);
}

enum hc_sweep
hc_store_sweep(struct hc_store *store, int64_t now_ms, int64_t budget_us)
{
	int64_t begin_us = hc_clock_cpu_us();
	struct tally tally = {0};
	enum hc_sweep left = HC_SWEEP_DONE;

	while (hc_budget_step(store)) {
		if (hc_clock_cpu_us() - begin_us >= budget_us / OVER_PART)
			return HC_SWEEP_OVER;
	}
	/* Once round, from where the last call stopped. */
	uint32_t shards = store->nshards + (store->sweep_cursor != 0 || store->sweep_settles);
	while (tally.shards < shards || store->sweep_ngiven_up > 0) {
		sweep_on(store, now_ms, &tally);
		if (hc_clock_cpu_us() - begin_us >= budget_us) {
			left = is_worthwhile(store, &tally) ? HC_SWEEP_MORE : HC_SWEEP_DONE;
			break;
		}
	}
	store->swept += tally.met.reclaimed;
	return left;
}

size_t
hc_store_swept(struct hc_store *store)
{
	size_t swept = store->swept;

	store->swept = 0;
	return swept;
}

int64_t
hc_store_soonest_expiry_ms(struct hc_store *store)
{
	int64_t soonest_ms = HC_NO_EXPIRY;

	for (uint32_t i = 0; i < store->nshards; i++) {
		struct hc_shard *shard = &store->shards[i];
		hc_shard_lock(store, shard);
		if (shard->soonest_ms < soonest_ms)
			soonest_ms = shard->soonest_ms;
		hc_shard_unlock(store, shard);
	}
	return soonest_ms;
}
