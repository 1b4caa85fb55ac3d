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
	hc_models_account(store->models, entry->model, sign, bytes);
}

void
hc_shard_unlink(struct hc_store *store, struct hc_shard *shard, struct hc_entry **link, struct hc_garbage *garbage)
{
	struct hc_entry *entry = *link;

	hc_table_remove(&shard->table, link);
	hc_evict_remove(&shard->evict, entry);
	account(store, entry, -1);
	entry->next = garbage->entries;
	garbage->entries = entry;
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

static void
link_entry(struct hc_store *store, struct hc_shard *shard, struct hc_entry *entry, int64_t now_ms)
{
	int64_t expire_ms = atomic_load_explicit(&entry->expire_ms, memory_order_relaxed);
	int64_t now_s = now_ms / 1000;

	assert(entry->created_s == 0); /* once only: someone may still be reading it where it was */
	entry->created_s = now_s > 0 ? (uint32_t)now_s : 1;
	atomic_store_explicit(&entry->accessed_s, entry->created_s, memory_order_relaxed);
	hc_entry_ref(entry);
	hc_table_insert(&shard->table, entry);
	hc_evict_insert(&shard->evict, entry);
	account(store, entry, 1);
	hc_shard_expires(shard, expire_ms);
}

enum hc_status
hc_shard_replace(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_entry *entry,
    int64_t now_ms, struct hc_garbage *garbage)
{
	struct hc_entry **link = hc_table_find(&shard->table, key);
	uint64_t max_bytes = atomic_load_explicit(&store->max_bytes, memory_order_relaxed);

	assert(entry->hash == key.hash && entry->key_len == key.len);
	if (*link != NULL)
		hc_shard_unlink(store, shard, link, garbage);
	if (!hc_entry_valid(store, entry, now_ms)) {
		hc_shard_settle(shard, 2, garbage);
		return HC_STALE;
	}
	if (hc_entry_footprint(entry) > max_bytes / HC_ENTRY_SHARE) {
		hc_shard_settle(shard, 2, garbage);
		return HC_LIMIT;
	}
	link_entry(store, shard, entry, now_ms);
	hc_shard_settle(shard, 2, garbage);
	return HC_OK;
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
