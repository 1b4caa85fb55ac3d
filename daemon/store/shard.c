/*
 * The steps in which a shard changes: entries go in, come out, and their bytes are counted. Under
 * the shard's lock, but for freeing the garbage.
 */
#include <assert.h>
#include "base/mem.h"
#include "store/shard.h"

static void
account(struct hc_store *store, const struct hc_entry *entry, int64_t sign)
{
	int64_t bytes = sign * (int64_t)hc_entry_footprint(entry);

	atomic_fetch_add_explicit(&store->bytes, (uint64_t)bytes, memory_order_relaxed);
	hc_models_account(store->models, hc_entry_model(entry), sign, bytes);
}

static void
throw_away(struct hc_garbage *garbage, struct hc_entry *entry)
{
	entry->next = garbage->entries;
	garbage->entries = entry;
}

void
hc_shard_unlink(struct hc_store *store, struct hc_shard *shard, struct hc_entry **link, struct hc_garbage *garbage)
{
	struct hc_entry *entry = *link;

	hc_table_remove(&shard->table, link);
	hc_evict_remove(&shard->evict, entry);
	account(store, entry, -1);
	throw_away(garbage, entry);
}

void
hc_shard_reclaim(struct hc_store *store, struct hc_shard *shard, struct hc_entry **link, struct hc_garbage *garbage)
{
	if (hc_entry_current(store, *link))
		shard->expired++;
	else
		shard->reclaimed++;
	hc_shard_unlink(store, shard, link, garbage);
}

void
hc_shard_settle(struct hc_shard *shard, unsigned steps, struct hc_garbage *garbage)
{
	void **segment = hc_table_adapt(&shard->table, steps);

	if (segment != NULL) {
		*segment = garbage->segments;
		garbage->segments = segment;
	}
}

struct hc_entry *
hc_shard_find(
    struct hc_store *store, struct hc_shard *shard, struct hc_key key, int64_t now_ms, struct hc_garbage *garbage)
{
	struct hc_entry **link = hc_table_find(&shard->table, key);

	if (*link == NULL || hc_entry_valid(store, *link, now_ms))
		return *link;
	hc_shard_reclaim(store, shard, link, garbage);
	hc_shard_settle(shard, 2, garbage);
	return NULL;
}

void
hc_shard_drop(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_garbage *garbage)
{
	struct hc_entry **link = hc_table_find(&shard->table, key);

	if (*link == NULL)
		return;
	hc_shard_unlink(store, shard, link, garbage);
	hc_shard_settle(shard, 2, garbage);
}

/* Others decide by it whether to evict from this shard. */
static void
offer_beside(struct hc_shard *shard, const struct hc_entry *entry)
{
	double best = hc_evict_best_beside(&shard->evict, entry);

	if (best < atomic_load_explicit(&shard->evict_best, memory_order_relaxed))
		atomic_store_explicit(&shard->evict_best, best, memory_order_relaxed);
}

/* In place of `old`, when there is one. */
static void
link_entry(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_entry *entry,
    struct hc_entry *old, int64_t now_ms)
{
	double clock = atomic_load_explicit(&store->evict_clock, memory_order_relaxed);
	int64_t now_s = now_ms / 1000;

	assert(entry->created_s == 0); /* once only: someone may still be reading it where it was */
	entry->created_s = now_s > 0 ? (uint32_t)now_s : 1;
	hc_entry_ref(entry);
	hc_table_insert(&shard->table, entry, key.hash);
	if (old != NULL)
		hc_evict_replace(&shard->evict, old, entry, key.hash, clock);
	else
		hc_evict_insert(&shard->evict, entry, key.hash, clock);
	account(store, entry, 1);
	hc_shard_expires(shard, hc_entry_expire_ms(entry));
	offer_beside(shard, entry);
}

static enum hc_status
check_entry(const struct hc_store *store, const struct hc_entry *entry, int64_t now_ms)
{
	uint64_t max_bytes = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);

	if (!hc_entry_valid(store, entry, now_ms))
		return HC_STALE;
	return hc_entry_footprint(entry) > max_bytes / HC_ENTRY_SHARE ? HC_LIMIT : HC_OK;
}

enum hc_status
hc_shard_replace(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_entry *entry,
    int64_t now_ms, struct hc_garbage *garbage)
{
	struct hc_entry **link = hc_table_find(&shard->table, key), *old = *link;
	enum hc_status status = check_entry(store, entry, now_ms);

	assert(hc_entry_lengths(entry).key == key.len);
	if (status == HC_OK) {
		if (old != NULL) {
			hc_table_remove(&shard->table, link);
			account(store, old, -1);
			throw_away(garbage, old);
		}
		link_entry(store, shard, key, entry, old, now_ms);
	} else if (old != NULL) {
		hc_shard_unlink(store, shard, link, garbage);
	}
	hc_shard_settle(shard, 2, garbage);
	return status;
}

static void
free_segments(void *segments)
{
	while (segments != NULL) {
		void *next = *(void **)segments;
		hc_free(segments);
		segments = next;
	}
}

/* Under exclusive use the locks stay held: what there is to free is kept until they are given back.
 */
static void
defer(struct hc_store *store, struct hc_garbage *garbage)
{
	struct hc_entry **entry = &store->deferred.entries;
	void **segment = &store->deferred.segments;

	for (struct hc_entry *next; (next = garbage->entries) != NULL;) {
		garbage->entries = next->next;
		next->next = *entry;
		*entry = next;
	}
	for (void *next; (next = garbage->segments) != NULL;) {
		garbage->segments = *(void **)next;
		*(void **)next = *segment;
		*segment = next;
	}
}

void
hc_garbage_free(struct hc_store *store, struct hc_garbage *garbage)
{
	if (garbage->entries == NULL && garbage->segments == NULL)
		return;
	if (hc_store_exclusive == store) {
		defer(store, garbage);
		return;
	}
	for (struct hc_entry *entry = garbage->entries; entry != NULL;) {
		struct hc_entry *next = entry->next;
		hc_entry_unref(entry);
		entry = next;
	}
	free_segments(garbage->segments);
	*garbage = (struct hc_garbage){0};
}
