/*
 * Second-chance FIFO. Called under the shard's lock only; owns the entries' queue links.
 */
#include "store/evict.h"

/* Second chances given in a row before the next in line goes, however hot: a bound on the time
 * under the lock. */
#define CHANCES 32

void
hc_evict_init(struct hc_evict *evict)
{
	*evict = (struct hc_evict){0};
}

static void
append(struct hc_evict *evict, struct hc_entry *entry)
{
	entry->queue_next = NULL;
	entry->queue_prev = evict->tail;
	if (evict->tail != NULL)
		evict->tail->queue_next = entry;
	else
		evict->head = entry;
	evict->tail = entry;
}

void
hc_evict_insert(struct hc_evict *evict, struct hc_entry *entry)
{
	atomic_store_explicit(&entry->hot, 0, memory_order_relaxed);
	append(evict, entry);
}

void
hc_evict_remove(struct hc_evict *evict, struct hc_entry *entry)
{
	if (entry->queue_prev != NULL)
		entry->queue_prev->queue_next = entry->queue_next;
	else
		evict->head = entry->queue_next;
	if (entry->queue_next != NULL)
		entry->queue_next->queue_prev = entry->queue_prev;
	else
		evict->tail = entry->queue_prev;
	entry->queue_prev = entry->queue_next = NULL;
}

struct hc_entry *
hc_evict_victim(struct hc_evict *evict, const struct hc_entry *keep)
{
	for (int chances = 0;; chances++) {
		struct hc_entry *entry = evict->head;
		if (entry == NULL || (entry == keep && entry == evict->tail))
			return NULL;
		uint8_t hot = atomic_load_explicit(&entry->hot, memory_order_relaxed);
		if (entry != keep && (hot == 0 || chances >= CHANCES))
			return entry;
		if (hot > 0 && entry != keep)
			atomic_store_explicit(&entry->hot, (uint8_t)(hot - 1), memory_order_relaxed);
		hc_evict_remove(evict, entry);
		append(evict, entry);
	}
}
