/*
 * Where a processor that had work did not run: interrupts that come at a steady pace, and the gaps between them. For
 * programs that measure; one thread.
 *
 * They are samples that perf takes by a timer of the kernel's. The time is taken in the interrupt itself, which waits
 * for no scheduler, nor for kernel code that is not to be preempted. A processor without work may have none.
 *
 * Source: perf_event_open(2), PERF_COUNT_SW_CPU_CLOCK.
 */
#ifndef HC_TESTS_SIM_TICKER_H
#define HC_TESTS_SIM_TICKER_H

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "tests/sim/gaps.h"

#define TICKER_NS 200000               /* from one to the next */
#define TICKER_LATE_NS 100000          /* more than one is late when nobody takes time away */
#define TICKER_RING ((size_t)64 << 10) /* bytes, 16 for each: for 0.8 s */

struct ticker {
	int fd;                            /* -1: there is none */
	struct perf_event_mmap_page *page; /* the ring is behind it */
	uint64_t seen;                     /* bytes of the ring, ever */
	int64_t last_ns;                   /* the last one's; 0: there is none to compare with */
};

static inline size_t
ticker_map_len(void)
{
	return (size_t)sysconf(_SC_PAGESIZE) + TICKER_RING;
}

/* Whether there is one: it takes a privilege, or kernel.perf_event_paranoid below 1. The caller stops it. */
static inline bool
ticker_start(struct ticker *ticker, int cpu)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_SOFTWARE,
	    .size = sizeof(attr),
	    .config = PERF_COUNT_SW_CPU_CLOCK,
	    .sample_period = TICKER_NS,
	    .sample_type = PERF_SAMPLE_TIME,
	    .use_clockid = 1,
	    .clockid = CLOCK_MONOTONIC,
	};

	*ticker = (struct ticker){.fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)};
	if (ticker->fd < 0)
		return false;
	void *map = mmap(NULL, ticker_map_len(), PROT_READ | PROT_WRITE, MAP_SHARED, ticker->fd, 0);
	if (map != MAP_FAILED) {
		ticker->page = map;
		return true;
	}
	(void)close(ticker->fd);
	ticker->fd = -1;
	return false;
}

static inline void
ticker_stop(struct ticker *ticker)
{
	if (ticker->fd < 0)
		return;
	(void)munmap(ticker->page, ticker_map_len());
	(void)close(ticker->fd);
}

/* Records are of multiples of 8 bytes, and so is the ring: a word lies in it as a whole. */
static inline uint64_t
ticker_word(const struct ticker *ticker, uint64_t at)
{
	const char *ring = (const char *)ticker->page + ticker->page->data_offset;
	uint64_t word;

	memcpy(&word, ring + at % ticker->page->data_size, sizeof(word));
	return word;
}

/* One more; a gap before it is added as far as it lies between the two moments. */
static inline void
ticker_take(struct ticker *ticker, int64_t ns, int64_t from_ns, int64_t to_ns, struct gaps *gaps)
{
	int64_t due_ns = ticker->last_ns + TICKER_NS;
	int64_t began_ns = due_ns > from_ns ? due_ns : from_ns, ended_ns = ns < to_ns ? ns : to_ns;

	if (ticker->last_ns != 0 && ns - due_ns > TICKER_LATE_NS && began_ns < ended_ns)
		gaps_add(gaps, began_ns, ended_ns);
	ticker->last_ns = ns;
}

/*
 * What came since the last look. The processor had work between the two moments, the later of which is now: gaps in
 * there are added. Anything but a sample says that some are left out.
 */
static inline void
ticker_look(struct ticker *ticker, int64_t from_ns, int64_t to_ns, struct gaps *gaps)
{
	if (ticker->fd < 0)
		return;
	uint64_t head = __atomic_load_n(&ticker->page->data_head, __ATOMIC_ACQUIRE);

	while (ticker->seen < head) {
		struct perf_event_header header;
		uint64_t word = ticker_word(ticker, ticker->seen);

		memcpy(&header, &word, sizeof(header));
		if (header.type == PERF_RECORD_SAMPLE)
			ticker_take(
			    ticker, (int64_t)ticker_word(ticker, ticker->seen + sizeof(header)), from_ns, to_ns, gaps);
		else
			ticker->last_ns = 0;
		ticker->seen += header.size;
	}
	__atomic_store_n(&ticker->page->data_tail, ticker->seen, __ATOMIC_RELEASE);
}

#endif
