/*
 * The order in which a shard's entries are evicted. The policy behind these five functions can be
 * exchanged; now it is second-chance FIFO: a hit makes an entry hotter, up to HC_ENTRY_HOT_MAX; one
 * that comes to the head of the queue while it is hot goes round again, a degree cooler.
 *
 * Not synchronized: the shard's lock protects it. It owns nothing but the entries' queue links and
 * hotness.
 */
#ifndef HC_STORE_EVICT_H
#define HC_STORE_EVICT_H

#include <stdatomic.h>
#include "store/store.h"

struct hc_evict {
	struct hc_entry *head; /* next to go */
	struct hc_entry *tail;
};

void hc_evict_init(struct hc_evict *evict);
/* A new entry; one that is gone for whatever reason. */
void hc_evict_insert(struct hc_evict *evict, struct hc_entry *entry);
void hc_evict_remove(struct hc_evict *evict, struct hc_entry *entry);
/*
 * The entry that should go next, left in place for the caller to remove; NULL when there is none
 * but `keep`. Bounded work.
 */
struct hc_entry *hc_evict_victim(struct hc_evict *evict, const struct hc_entry *keep);

/* The entry was read. Writes only when there is something to change: most hits are on what is hot
 * already. */
static inline void
hc_evict_hit(struct hc_entry *entry)
{
	uint8_t hot = atomic_load_explicit(&entry->hot, memory_order_relaxed);

	if (hot < HC_ENTRY_HOT_MAX)
		atomic_store_explicit(&entry->hot, (uint8_t)(hot + 1), memory_order_relaxed);
}

#endif
