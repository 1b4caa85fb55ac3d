/*
 * Entries: their life outside of the table. Any thread; whoever holds a reference may read them.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include "base/hash.h"
#include "base/mem.h"
#include "store/shard.h"

struct hc_key
hc_key(struct hc_slice bytes)
{
	return (struct hc_key){bytes.ptr, bytes.len, hc_hash(bytes.ptr, bytes.len)};
}

struct hc_entry *
hc_entry_create(const struct hc_store *store, struct hc_key key, size_t value_len)
{
	struct hc_entry *entry;

	if (key.len > UINT32_MAX || value_len > UINT32_MAX)
		return NULL;
	/* The struct's tail padding is the data's already, but a tiny entry is a whole struct
	 * still. */
	size_t size = offsetof(struct hc_entry, data) + key.len + value_len;
	entry = hc_malloc(size < sizeof(*entry) ? sizeof(*entry) : size);
	if (entry == NULL)
		return NULL;
	*entry = (struct hc_entry){
	    .hash = key.hash,
	    .key_len = (uint32_t)key.len,
	    .value_len = (uint32_t)value_len,
	    .model = HC_MODEL_DEFAULT,
	    .epoch = hc_models_epoch(store->models, HC_MODEL_DEFAULT),
	    .generation = hc_store_generation(store),
	    .refs = 1,
	    .expire_ms = HC_NO_EXPIRY,
	};
	if (key.len > 0)
		memcpy(entry->data, key.ptr, key.len);
	return entry;
}

void
hc_entry_ref(struct hc_entry *entry)
{
	atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
}

void
hc_entry_unref(struct hc_entry *entry)
{
	if (entry == NULL)
		return;
	uint32_t refs = atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel);
	assert(refs > 0);
	if (refs == 1)
		hc_free(entry);
}

size_t
hc_entry_footprint(const struct hc_entry *entry)
{
	return hc_mem_footprint(entry) + HC_TABLE_SHARE;
}

static uint32_t
seconds_since(uint32_t then_s, int64_t now_ms)
{
	int64_t s = now_ms / 1000 - then_s;

	return then_s == 0 || s < 0 ? 0 : (uint32_t)s; /* the wall clock may have been set back */
}

uint32_t
hc_entry_age_s(const struct hc_entry *entry, int64_t now_ms)
{
	return seconds_since(entry->created_s, now_ms);
}

uint32_t
hc_entry_idle_s(const struct hc_entry *entry, int64_t now_ms)
{
	return seconds_since(atomic_load_explicit(&entry->accessed_s, memory_order_relaxed), now_ms);
}

uint32_t
hc_entry_hits(const struct hc_entry *entry)
{
	return atomic_load_explicit(&entry->hits, memory_order_relaxed);
}

unsigned
hc_entry_hotness(const struct hc_entry *entry)
{
	return atomic_load_explicit(&entry->hot, memory_order_relaxed);
}
