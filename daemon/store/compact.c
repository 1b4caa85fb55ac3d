/*
 * Moving entries to where they leave fewer holes in the allocator's slabs. Any thread, outside of
 * locks (or with all of them, under exclusive use); owns nothing.
 *
 * An entry that is held changes only in what the shard's lock protects, and can be had from the table only. So
 * one that nobody but the table has a reference to may be copied under the lock, and the copy put in its
 * place: nobody can tell. Which blocks are entries, the slab does not know: `refs` is 0 in all others.
 */
#include <assert.h>
#include <stddef.h>
#include "base/mem.h"
#include "store/shard.h"
#include "store/slab.h"

/* Only one that has a single reference, most likely the table's. */
static bool
pin(void *block)
{
	struct hc_entry *entry = block;
	uint32_t refs = 1;

	return atomic_compare_exchange_strong_explicit(
	    &entry->refs, &refs, 2, memory_order_acquire, memory_order_relaxed);
}

/* `refs` is written last: before that, another compaction leaves the block alone. */
static void
copy_entry(struct hc_entry *to, const struct hc_entry *from)
{
	size_t at = offsetof(struct hc_entry, created_s);

	static_assert(offsetof(struct hc_entry, refs) + sizeof(from->refs) == offsetof(struct hc_entry, created_s),
	    "refs alone is left out");
	memcpy(to, from, offsetof(struct hc_entry, refs));
	memcpy((char *)to + at, (const char *)from + at, hc_entry_alloc_size(from) - at);
	atomic_store_explicit(&to->refs, 1, memory_order_release);
}

/* Under the lock. */
static bool
replace(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_entry *from, struct hc_entry *to)
{
	double clock = atomic_load_explicit(&store->evict_clock, memory_order_relaxed);
	struct hc_place place;

	/* The table's reference and ours. Nobody can come by another one now. */
	if (hc_table_find(&shard->table, key, &place) != from ||
	    atomic_load_explicit(&from->refs, memory_order_acquire) != 2)
		return false;
	copy_entry(to, from);
	hc_table_replace(&place, to);
	(void)hc_evict_replace(&shard->evict, from, to, key.hash, clock);
	atomic_store_explicit(&from->refs, 0, memory_order_relaxed);
	return true;
}

/* It may be one that is not in the table, but still being made, or read by others; its key is there. */
static bool
move(void *from, void *to, void *arg)
{
	struct hc_store *store = arg;
	struct hc_key key = hc_key(hc_entry_key(from));
	struct hc_shard *shard = hc_shard_of(store, key);

	hc_shard_lock(store, shard);
	bool moved = replace(store, shard, key, from, to);
	hc_shard_unlock(store, shard);
	if (!moved)
		hc_entry_unref(from);
	return moved;
}

uint64_t
hc_compact(struct hc_store *store, size_t work, uint64_t goal)
{
	const struct hc_slab_mover mover = {pin, move, store};
	struct hc_slab_compaction compaction = {0};

	for (size_t done = 0, step; done < work && compaction.gained < goal; done += step) {
		step = hc_slab_compact(&compaction, &mover);
		if (step == 0)
			break;
	}
	return compaction.gained;
}
