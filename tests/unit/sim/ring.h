/*
 * A ring of our own, as the kernel's perf would fill it. One thread.
 */
#ifndef HC_TESTS_SIM_RING_H
#define HC_TESTS_SIM_RING_H

#include "tests/sim/perf_ring.h"

#define RING 64 /* bytes */

static struct {
	struct perf_event_mmap_page page;
	char ring[RING];
} map;

static inline struct perf_ring
empty_ring(void)
{
	memset(&map, 0, sizeof(map));
	map.page.data_offset = sizeof(map.page);
	map.page.data_size = RING;
	return (struct perf_ring){.fd = 0, .page = &map.page};
}

static inline void
push_word(uint64_t word)
{
	memcpy(map.ring + map.page.data_head % RING, &word, sizeof(word));
	map.page.data_head += sizeof(word);
}

/* A record of so many words behind its header, all of which must have been read before they come round again. */
static inline void
push_record(uint32_t type, unsigned n, const uint64_t words[])
{
	struct perf_event_header header = {.type = type, .size = (uint16_t)(8 * (n + 1))};
	uint64_t word;

	memcpy(&word, &header, sizeof(word));
	push_word(word);
	for (unsigned i = 0; i < n; i++)
		push_word(words[i]);
}

#endif
