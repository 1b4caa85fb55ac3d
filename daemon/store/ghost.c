/*
 * The ghost. Called under the shard's lock only; owns its slots.
 *
 * A slot: fingerprint in the upper 18 bits, tick in the lower 14; 0 is free. The set comes from the
 * hash's lowest bits, the fingerprint from bits 28 up.
 */
#include <string.h>
#include "base/mem.h"
#include "store/ghost.h"

#define WAYS HC_GHOST_WAYS
#define TICK_BITS 14
#define TICKS (1u << TICK_BITS)
#define CAPACITY_TICKS 1024u
#define REMEMBERED (CAPACITY_TICKS + CAPACITY_TICKS / 5) /* 1.2 times the capacity */
#define MIN_SETS 16u

static uint32_t
now(const struct hc_ghost *ghost)
{
	return (uint32_t)(ghost->bytes / ghost->unit) & (TICKS - 1);
}

static uint32_t
age(uint32_t slot, uint32_t tick)
{
	return (tick - slot) & (TICKS - 1);
}

/* Never 0, so that no slot in use is. */
static uint32_t
fingerprint(uint64_t hash)
{
	uint32_t bits = (uint32_t)(hash >> 28) << TICK_BITS;

	return bits == 0 ? 1u << TICK_BITS : bits;
}

static uint32_t *
set_of(const struct hc_ghost *ghost, uint64_t hash)
{
	return &ghost->slots[((uint32_t)hash & ghost->mask) * WAYS];
}

void
hc_ghost_fini(struct hc_ghost *ghost)
{
	hc_free(ghost->slots);
	ghost->slots = NULL;
}

void
hc_ghost_set_capacity(struct hc_ghost *ghost, uint64_t bytes)
{
	uint64_t unit = bytes / CAPACITY_TICKS + 1;

	if (unit == ghost->unit) /* as at each setting that is changed: a part of a tick is not to get lost */
		return;
	ghost->bytes = ghost->unit == 0 ? 0 : now(ghost) * unit;
	ghost->unit = unit;
}

static bool
grow(struct hc_ghost *ghost, uint32_t sets)
{
	uint32_t *slots = hc_calloc((size_t)sets * WAYS, sizeof(*slots));
	uint32_t old = ghost->slots == NULL ? 0 : ghost->mask + 1;

	if (slots == NULL)
		return old > 0;
	/* Which half of a doubled table a fingerprint belongs to is not known: it is put into both,
	 * and in the wrong one it grows old. */
	for (uint32_t at = 0; old > 0 && at < sets; at++)
		memcpy(&slots[at * WAYS], &ghost->slots[(at & (old - 1)) * WAYS], WAYS * sizeof(*slots));
	hc_free(ghost->slots);
	ghost->slots = slots;
	ghost->mask = sets - 1;
	return true;
}

/* What is in the upper half is forgotten. Nothing is copied, and no new page touched: many shrink at once. */
static void
halve(struct hc_ghost *ghost)
{
	uint32_t sets = (ghost->mask + 1) / 2;
	uint32_t *slots = hc_realloc(ghost->slots, (size_t)sets * WAYS * sizeof(*slots));

	if (slots == NULL)
		return;
	ghost->slots = slots;
	ghost->mask = sets - 1;
}

void
hc_ghost_shrink(struct hc_ghost *ghost, uint64_t entries)
{
	if (ghost->slots != NULL && ghost->mask + 1 > MIN_SETS && ((uint64_t)ghost->mask + 1) * WAYS > entries * 4)
		halve(ghost);
}

static bool
fit(struct hc_ghost *ghost, uint64_t entries)
{
	uint64_t slots;

	if (ghost->slots == NULL) {
		uint32_t sets = MIN_SETS;
		while ((uint64_t)sets * WAYS < entries && sets < 1u << 26)
			sets *= 2;
		return grow(ghost, sets);
	}
	slots = ((uint64_t)ghost->mask + 1) * WAYS;
	if (slots < entries && ghost->mask < 1u << 26)
		return grow(ghost, (ghost->mask + 1) * 2);
	hc_ghost_shrink(ghost, entries);
	return true;
}

void
hc_ghost_add(struct hc_ghost *ghost, uint64_t hash, size_t size, uint64_t entries)
{
	if (!fit(ghost, entries))
		return;
	ghost->bytes += size;
	uint32_t tick = now(ghost);
	uint32_t *set = set_of(ghost, hash), *slot = &set[0];
	for (unsigned i = 0; i < WAYS; i++) {
		if (age(set[i], tick) >= REMEMBERED)
			set[i] = 0; /* or it would be young again when the ticks come round */
		if (*slot != 0 && (set[i] == 0 || age(set[i], tick) > age(*slot, tick)))
			slot = &set[i];
	}
	*slot = fingerprint(hash) | tick;
}

bool
hc_ghost_take(struct hc_ghost *ghost, uint64_t hash)
{
	if (ghost->slots == NULL)
		return false;
	uint32_t *set = set_of(ghost, hash), tick = now(ghost);
	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i] == 0 || (set[i] & ~(TICKS - 1)) != fingerprint(hash))
			continue;
		bool fresh = age(set[i], tick) < REMEMBERED;
		set[i] = 0;
		return fresh;
	}
	return false;
}

size_t
hc_ghost_bytes(const struct hc_ghost *ghost)
{
	return ghost->slots == NULL ? 0 : ((size_t)ghost->mask + 1) * WAYS * sizeof(*ghost->slots);
}
