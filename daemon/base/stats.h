/*
 * Counters from the table stats.def. Each thread counts in a set of its own, registered once; readers sum over all
 * sets. A counter has one writer, so adding is a load and a store, no locked instruction.
 */
#ifndef HC_BASE_STATS_H
#define HC_BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

enum hc_stat {
#define HC_STAT(name, help) HC_STAT_##name,
#include "stats.def"
#undef HC_STAT
	HC_STATS
};

struct hc_stats {
	_Atomic uint64_t values[HC_STATS];
	struct hc_stats *next; /* registered sets */
} __attribute__((aligned(64)));

/* Registers a set (zeroed by the caller), which must outlive all readers. Any thread. */
void hc_stats_register(struct hc_stats *stats);
/* Forgets all sets: at the end, or between tests. */
void hc_stats_unregister_all(void);

const char *hc_stat_name(enum hc_stat stat);
const char *hc_stat_help(enum hc_stat stat);

/* The sum over all threads since the start or the last reset. */
uint64_t hc_stats_sum(enum hc_stat stat);
/* CONFIG RESETSTAT: sums count from here on. */
void hc_stats_reset(void);

#define hc_stats_add(stats, stat, n) hc_stats_add_((stats), HC_STAT_##stat, (n))
#define hc_stats_count(stats, stat) hc_stats_add_((stats), HC_STAT_##stat, 1)

static inline void
hc_stats_add_(struct hc_stats *stats, enum hc_stat stat, uint64_t n)
{
	uint64_t now = atomic_load_explicit(&stats->values[stat], memory_order_relaxed);
	atomic_store_explicit(&stats->values[stat], now + n, memory_order_relaxed);
}

#endif
