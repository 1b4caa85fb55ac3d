/*
 * What is forgotten, what becomes suspect, and what is believed again: all of it by moving a number, single keys under
 * their shard's lock. Any thread; owns nothing. belief.h has the drawing.
 */
#include "store/shard.h"

/* The store begins with a generation below the present one to be suspect in. */
#define FLOOR_BACK 1u

void
hc_belief_init(struct hc_store *store)
{
	atomic_store_explicit(&store->belief, hc_belief(FLOOR_BACK, 0, FLOOR_BACK), memory_order_relaxed);
}

/* Entries keep 16 bits of their generation: nothing in the table may be so old that these have come round. */
static void
keep_in_reach(struct hc_store *store, uint64_t belief)
{
	uint32_t clean = atomic_load_explicit(&store->clean_floor, memory_order_acquire);

	if (hc_belief_present(belief) - clean >= HC_GENERATIONS)
		hc_store_purge(store);
}

void
hc_store_forget_all(struct hc_store *store)
{
	uint64_t was = atomic_load_explicit(&store->belief, memory_order_acquire), is;

	do
		is = hc_belief(hc_belief_present(was) + FLOOR_BACK + 1, 0, FLOOR_BACK);
	while (!atomic_compare_exchange_weak_explicit(
	    &store->belief, &was, is, memory_order_acq_rel, memory_order_acquire));
	keep_in_reach(store, is);
}

uint32_t
hc_store_suspect_all(struct hc_store *store)
{
	uint64_t was = atomic_load_explicit(&store->belief, memory_order_acquire), is;

	do {
		uint32_t floor_back = hc_belief_floor_back(was) + 1;
		if (floor_back >= HC_GENERATIONS) /* what has been suspect for so many times is forgotten */
			floor_back = HC_GENERATIONS / 2;
		is = hc_belief(hc_belief_present(was) + 1, 0, floor_back);
	} while (!atomic_compare_exchange_weak_explicit(
	    &store->belief, &was, is, memory_order_acq_rel, memory_order_acquire));
	keep_in_reach(store, is);
	return hc_belief_present(was) - hc_belief_trusted_back(was);
}

void
hc_store_trust(struct hc_store *store, uint32_t generation)
{
	uint64_t was = atomic_load_explicit(&store->belief, memory_order_acquire), is;

	do {
		uint32_t back = hc_belief_present(was) - generation, most = hc_belief_floor_back(was) - 1;
		if (back > most) /* what has been forgotten since stays so */
			back = most;
		if (back <= hc_belief_trusted_back(was))
			return;
		is = hc_belief(hc_belief_present(was), back, hc_belief_floor_back(was));
	} while (!atomic_compare_exchange_weak_explicit(
	    &store->belief, &was, is, memory_order_acq_rel, memory_order_acquire));
}

uint32_t
hc_store_present_generation(const struct hc_store *store)
{
	return hc_store_generation(store);
}

uint32_t
hc_store_generation_of(const struct hc_store *store, const struct hc_entry *entry)
{
	uint64_t belief = atomic_load_explicit(&store->belief, memory_order_acquire);
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_relaxed);

	if (hc_belief_is_fresh(belief, life))
		return hc_belief_present(belief);
	return hc_belief_present(belief) - hc_belief_back(belief, life);
}

void
hc_entry_doubt(const struct hc_store *store, struct hc_entry *entry, bool for_good)
{
	uint64_t belief = atomic_load_explicit(&store->belief, memory_order_acquire);
	uint32_t back = for_good ? hc_belief_floor_back(belief) : hc_belief_trusted_back(belief) + 1;

	hc_entry_set_generation(entry, hc_belief_present(belief) - back);
}

void
hc_store_suspect(struct hc_store *store, struct hc_key key)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_place place;

	hc_shard_lock(store, shard);
	struct hc_entry *entry = hc_table_find(&shard->table, key, &place);
	uint64_t life = entry == NULL ? 0 : atomic_load_explicit(&entry->life, memory_order_relaxed);
	if (entry != NULL && hc_belief_is_there(atomic_load_explicit(&store->belief, memory_order_acquire), life))
		hc_entry_doubt(store, entry, true);
	hc_below_removed(store, hc_slice(key.ptr, key.len));
	hc_shard_stamp(shard, key)->stamp++;
	hc_shard_unlock(store, shard);
}
