/*
 * Counters. Registered sets hang in a lock-free list that only grows; the values at the last reset are taken off sums.
 */
#include "base/stats.h"

#include <stdatomic.h>
#include <stddef.h>

static _Atomic(struct hc_stats *) registered;
static _Atomic uint64_t at_reset[HC_STATS];

static const struct {
	const char *name;
	const char *help;
} rows[HC_STATS] = {
#define HC_STAT(name, help) {#name, help},
#include "stats.def"
#undef HC_STAT
};

void
hc_stats_register(struct hc_stats *stats)
{
	struct hc_stats *first = atomic_load(&registered);

	do {
		stats->next = first;
	} while (!atomic_compare_exchange_weak(&registered, &first, stats));
}

void
hc_stats_unregister_all(void)
{
	atomic_store(&registered, NULL);
	for (int i = 0; i < HC_STATS; i++)
		atomic_store(&at_reset[i], 0);
}

const char *
hc_stat_name(enum hc_stat stat)
{
	return rows[stat].name;
}

const char *
hc_stat_help(enum hc_stat stat)
{
	return rows[stat].help;
}

static uint64_t
total(enum hc_stat stat)
{
	uint64_t sum = 0;

	for (struct hc_stats *s = atomic_load(&registered); s != NULL; s = s->next)
		sum += atomic_load_explicit(&s->values[stat], memory_order_relaxed);
	return sum;
}

uint64_t
hc_stats_sum(enum hc_stat stat)
{
	/* In this order: a reset in between makes the sum too large by what it took off, not less than nothing. */
	uint64_t before = atomic_load(&at_reset[stat]);

	return total(stat) - before;
}

void
hc_stats_reset(void)
{
	for (int i = 0; i < HC_STATS; i++)
		atomic_store(&at_reset[i], total((enum hc_stat)i));
}
