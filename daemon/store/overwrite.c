/*
 * Writing over an entry where it is. Any thread, outside of locks (or with all of them, under exclusive use).
 *
 * Of an entry that somebody has a reference to no byte changes: the new value gets an entry of its own. But mostly
 * nobody has, and a value of the same length as the one it takes the place of, as embeddings of one model are, would
 * have a block of the same size, the same place in its queue, and count as much. Then the old one's block will do.
 */
#include "store/shard.h"

/* The shard's lock is held while it is copied. */
#define VALUE_MAX ((size_t)4 << 10)

/* The expiry as entry->life has it; false: it is past, or wants a cell. */
static bool
life_until(int64_t expire_ms, int64_t now_ms, uint64_t *life)
{
	if (expire_ms == HC_NO_EXPIRY) {
		*life = HC_ENTRY_NO_EXPIRY << 16;
		return true;
	}
	*life = (uint64_t)expire_ms << 16;
	return expire_ms > now_ms && (uint64_t)expire_ms < HC_ENTRY_FAR;
}

/*
 * Under the lock. Compaction may have a reference too, or get one now: it waits for the lock before it looks at more
 * than the key. Who had one and gave it back has read the old value.
 */
static bool
will_do(const struct hc_entry *entry, uint32_t model, size_t value_len)
{
	return atomic_load_explicit(&entry->refs, memory_order_acquire) == 1 &&
	       hc_entry_value_len(entry) == value_len && hc_entry_model(entry) == model &&
	       !hc_life_has_cell(atomic_load_explicit(&entry->life, memory_order_relaxed));
}

static void
begin_again(struct hc_entry *entry, struct hc_slice value, uint64_t life, int64_t now_ms)
{
	if (value.len > 0)
		memcpy(hc_entry_value_ptr(entry), value.ptr, value.len);
	entry->created_s = hc_entry_created_s(now_ms);
	atomic_store_explicit(&entry->used, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->hits, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->life, life, memory_order_release);
}

bool
hc_store_overwrite(
    struct hc_store *store, struct hc_key key, uint32_t model, struct hc_slice value, int64_t expire_ms, int64_t now_ms)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};
	struct hc_place place;
	uint64_t life;

	if (value.len > VALUE_MAX || store->below != NULL || store->versions || hc_budget_exceeded(store) ||
	    !life_until(expire_ms, now_ms, &life))
		return false;
	hc_shard_lock(store, shard);
	struct hc_entry *present = hc_shard_find(store, shard, key, now_ms, &place, &garbage);
	bool done = present != NULL && will_do(present, model, value.len);
	if (done) {
		begin_again(present, value, life | (uint16_t)hc_store_generation(store), now_ms);
		hc_shard_stamp(shard, key)->stamp++;
		hc_shard_expires(shard, expire_ms);
	}
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
	return done;
}
