/*
 * How far entries are believed, by the generation they are of: for the files of this directory only.
 *
 *     generation   0 … floor ……… trusted ……… present
 *                  forgotten │ suspect   │ fresh
 *
 * All three are in one word, so that each is seen as it was together with the others: the present generation in the
 * lower half, how far behind it the others are in 16 bits each. An entry keeps the lowest 16 bits of its own. Before
 * these come round, what is below the floor must have been reclaimed, and the floor itself follows (belief.c).
 *
 * The floor is always below `trusted`, so that there is a generation to give what is suspect alone.
 */
#ifndef HC_STORE_BELIEF_H
#define HC_STORE_BELIEF_H

#include <stdbool.h>
#include <stdint.h>

#define HC_GENERATIONS 0x8000u /* between the oldest in the table and the present one, at most */

static inline uint64_t
hc_belief(uint32_t present, uint32_t trusted_back, uint32_t floor_back)
{
	return (uint64_t)floor_back << 48 | (uint64_t)trusted_back << 32 | present;
}

static inline uint32_t
hc_belief_present(uint64_t belief)
{
	return (uint32_t)belief;
}

static inline uint32_t
hc_belief_trusted_back(uint64_t belief)
{
	return (uint16_t)(belief >> 32);
}

static inline uint32_t
hc_belief_floor_back(uint64_t belief)
{
	return (uint16_t)(belief >> 48);
}

/* How far behind the present generation one is whose lowest 16 bits are those of `life`. */
static inline uint32_t
hc_belief_back(uint64_t belief, uint64_t life)
{
	return (uint16_t)(belief - life);
}

/* Of the present generation: fresh, as nearly all that is read is. */
static inline bool
hc_belief_is_present(uint64_t belief, uint64_t life)
{
	return (uint16_t)belief == (uint16_t)life;
}

static inline bool
hc_belief_is_fresh(uint64_t belief, uint64_t life)
{
	return hc_belief_back(belief, life) <= hc_belief_trusted_back(belief);
}

/* Fresh or suspect. */
static inline bool
hc_belief_is_there(uint64_t belief, uint64_t life)
{
	return hc_belief_back(belief, life) <= hc_belief_floor_back(belief);
}

#endif
