/*
 * What the kernel's perf writes down of one processor: an event's records, in a ring shared with the kernel. For
 * programs that measure; one thread.
 *
 * Source: perf_event_open(2).
 */
#ifndef HC_TESTS_SIM_PERF_RING_H
#define HC_TESTS_SIM_PERF_RING_H

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PERF_RING_BYTES ((size_t)64 << 10)
#define PERF_RING_WORDS 2 /* that are kept of a record, behind its header */

struct perf_ring {
	int fd;                            /* -1: there is none */
	struct perf_event_mmap_page *page; /* the ring is behind it */
	uint64_t seen;                     /* bytes of the ring, ever */
};

struct perf_record {
	uint32_t type;
	uint64_t words[PERF_RING_WORDS]; /* as far as it has them */
};

static inline size_t
perf_ring_map_len(void)
{
	return (size_t)sysconf(_SC_PAGESIZE) + PERF_RING_BYTES;
}

/* Whether there is one: it takes a privilege, or kernel.perf_event_paranoid below 1. The caller closes it. */
static inline bool
perf_ring_open(struct perf_ring *ring, struct perf_event_attr *attr, int cpu)
{
	*ring = (struct perf_ring){.fd = (int)syscall(SYS_perf_event_open, attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)};
	if (ring->fd < 0)
		return false;
	void *map = mmap(NULL, perf_ring_map_len(), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (map != MAP_FAILED) {
		ring->page = map;
		return true;
	}
	(void)close(ring->fd);
	ring->fd = -1;
	return false;
}

static inline void
perf_ring_close(struct perf_ring *ring)
{
	if (ring->fd < 0)
		return;
	(void)munmap(ring->page, perf_ring_map_len());
	(void)close(ring->fd);
}

/* Records are of multiples of 8 bytes, and so is the ring: a word lies in it as a whole. */
static inline uint64_t
perf_ring_word(const struct perf_ring *ring, uint64_t at)
{
	const char *bytes = (const char *)ring->page + ring->page->data_offset;
	uint64_t word;

	memcpy(&word, bytes + at % ring->page->data_size, sizeof(word));
	return word;
}

/* The next record; false: there is none now. */
static inline bool
perf_ring_next(struct perf_ring *ring, struct perf_record *record)
{
	struct perf_event_header header;
	uint64_t word;

	if (ring->fd < 0 || ring->seen >= __atomic_load_n(&ring->page->data_head, __ATOMIC_ACQUIRE))
		return false;
	word = perf_ring_word(ring, ring->seen);
	memcpy(&header, &word, sizeof(header));
	*record = (struct perf_record){.type = header.type};
	for (size_t i = 0; i < PERF_RING_WORDS && (i + 2) * sizeof(word) <= header.size; i++)
		record->words[i] = perf_ring_word(ring, ring->seen + (i + 1) * sizeof(word));
	ring->seen += header.size;
	__atomic_store_n(&ring->page->data_tail, ring->seen, __ATOMIC_RELEASE);
	return true;
}

#endif
