/*
 * The memory of what was evicted without ever having been read: a fingerprint of 18 bits each, and
 * when it went, in sets of four. Time is counted in bytes that went: what is longer ago than about
 * the shard's capacity is forgotten.
 *
 * Not synchronized: the shard's lock protects it. It owns the slots.
 */
#ifndef HC_STORE_GHOST_H
#define HC_STORE_GHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HC_GHOST_WAYS 4u

struct hc_ghost {
	uint32_t *slots; /* NULL until the first is remembered */
	uint32_t mask;   /* sets - 1 */
	uint64_t bytes;  /* that went, in the present unit: the clock */
	uint64_t unit;   /* bytes of one tick */
};

void hc_ghost_fini(struct hc_ghost *ghost);
/*
 * What is remembered stays, as old as it was in parts of the capacity: to forget it would be to touch all its pages
 * anew, in the midst of the evictions that a lowered budget brings. They make it smaller, one by one.
 */
void hc_ghost_set_capacity(struct hc_ghost *ghost, uint64_t bytes);
/* An entry of that hash and size went, of `entries` the shard has: as many it remembers at most.
 * Without memory it remembers fewer, or nothing. */
void hc_ghost_add(struct hc_ghost *ghost, uint64_t hash, size_t size, uint64_t entries);
/* One of so many went that is not to be remembered. */
void hc_ghost_shrink(struct hc_ghost *ghost, uint64_t entries);
/* Whether it is remembered; from then on no more. */
bool hc_ghost_take(struct hc_ghost *ghost, uint64_t hash);

/* The set comes from the lowest bits. Inlined in any case: gcc leaves out calls of a function that only prefetches. */
static inline __attribute__((always_inline)) void
hc_ghost_prefetch(const struct hc_ghost *ghost, uint32_t hash)
{
	if (ghost->slots != NULL)
		__builtin_prefetch(&ghost->slots[(hash & ghost->mask) * HC_GHOST_WAYS]);
}

size_t hc_ghost_bytes(const struct hc_ghost *ghost);

#endif
