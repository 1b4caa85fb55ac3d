/*
 * Whether a processor had somebody to run until the thread that asks got it: from the kernel's record of who was put
 * off it. For programs that measure; one thread, of the highest priority there.
 *
 * A thread of that priority that becomes ready gets the processor at once, in the place of whoever has it. Where nobody
 * was put off, the processor had nothing to do: what it took to come to that thread nobody else spent.
 *
 * Source: perf_event_open(2), PERF_COUNT_SW_CONTEXT_SWITCHES: a sample each, taken of who goes.
 */
#ifndef HC_TESTS_SIM_SWITCHES_H
#define HC_TESTS_SIM_SWITCHES_H

#include <time.h>
#include "tests/sim/perf_ring.h"

struct switches {
	struct perf_ring ring;
	bool is_blind; /* none are written down for a while */
};

/* Whether there are any, see perf_ring_open(). The caller stops it. */
static inline bool
switches_start(struct switches *switches, int cpu)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_SOFTWARE,
	    .size = sizeof(attr),
	    .config = PERF_COUNT_SW_CONTEXT_SWITCHES,
	    .sample_period = 1,
	    .sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME,
	    .use_clockid = 1,
	    .clockid = CLOCK_MONOTONIC,
	};

	switches->is_blind = false;
	return perf_ring_open(&switches->ring, &attr, cpu);
}

static inline void
switches_stop(struct switches *switches)
{
	perf_ring_close(&switches->ring);
}

/* The idle thread is 0; that of some processors has no samples at all. */
static inline bool
switches_is_idle(uint64_t pid_and_tid)
{
	return (uint32_t)pid_and_tid == 0;
}

/* Whether nobody was put off the processor between the two moments, the later of which is now. False, too, when that is
 * not known. */
static inline bool
switches_say_idle(struct switches *switches, int64_t from_ns, int64_t to_ns)
{
	bool is_idle = switches->ring.fd >= 0 && !switches->is_blind;
	struct perf_record record;

	while (perf_ring_next(&switches->ring, &record)) {
		int64_t ns = (int64_t)record.words[1];

		if (record.type != PERF_RECORD_SAMPLE) {
			switches->is_blind = record.type == PERF_RECORD_THROTTLE;
			is_idle = false;
		} else if (from_ns <= ns && ns <= to_ns && !switches_is_idle(record.words[0])) {
			is_idle = false;
		}
	}
	return is_idle;
}

#endif
