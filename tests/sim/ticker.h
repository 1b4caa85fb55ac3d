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

#include <time.h>
#include "tests/sim/gaps.h"
#include "tests/sim/perf_ring.h"

#define TICKER_NS 200000      /* from one to the next */
#define TICKER_LATE_NS 100000 /* more than one is late when nobody takes time away */

struct ticker {
	struct perf_ring ring;
	int64_t last_ns; /* the last one's; 0: there is none to compare with */
};

/* Whether there is one, see perf_ring_open(). The caller stops it. */
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

	ticker->last_ns = 0;
	return perf_ring_open(&ticker->ring, &attr, cpu);
}

static inline void
ticker_stop(struct ticker *ticker)
{
	perf_ring_close(&ticker->ring);
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
	struct perf_record record;

	while (perf_ring_next(&ticker->ring, &record)) {
		if (record.type == PERF_RECORD_SAMPLE)
			ticker_take(ticker, (int64_t)record.words[0], from_ns, to_ns, gaps);
		else
			ticker->last_ns = 0;
	}
}

#endif
