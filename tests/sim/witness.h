/*
 * When the host of a virtual machine let a processor of it stand still, or woke it late, which no account of the
 * kernel shows. For programs that measure; one thread starts and stops the witnesses.
 *
 * Each processor has a witness, a real-time thread that sleeps and looks when it wakes. It is late for two reasons.
 * Either the interrupt of its timer came late: from the time asked for until then the processor did nothing. That is a
 * gap. Or the kernel had made the witness ready in time, and counts how long it waited: the processor ran something
 * else first, or it stood still just then, which it often does, since setting a timer and waking another processor is
 * what a virtual machine asks its host for. Had it nothing else to run (see switches.h), it stood still. Otherwise a
 * ticker tells the two apart, an interrupt each TICKER_NS while the processor has work (see ticker.h): where none came,
 * it stood still.
 *
 * What a witness cannot tell:
 *   - When within its sleep a gap began. Up to WITNESS_NS of each, and gaps of less than WITNESS_LATE_NS, are missed:
 *     among them what the host takes for each page of memory that it has to find first.
 *   - Interrupts come late too while somebody has the kernel work with interrupts off, for a tenth of a millisecond
 *     and more. Of what a cache asks for, to free huge pages is such work: 2.5 ms in one go for 512 of them, which is
 *     taken for the host's. Ordinary pages are freed with interrupts on.
 */
#ifndef HC_TESTS_SIM_WITNESS_H
#define HC_TESTS_SIM_WITNESS_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/sim/gaps.h"
#include "tests/sim/schedstat.h"
#include "tests/sim/switches.h"
#include "tests/sim/ticker.h"
#include "tests/sim/times.h"

#define WITNESS_PRIORITY 2 /* real-time; whoever is measured or measures has less */
#define WITNESSES_MAX 64
#define WITNESS_NS 200000      /* how long it sleeps */
#define WITNESS_LATE_NS 150000 /* more than it is late when nobody takes time away */

struct witness {
	pthread_t thread;
	int cpu;
	bool has_ticker; /* and what tells of switches; its thread's, as `gaps` */
	const atomic_bool *is_over;
	struct gaps gaps; /* its thread's, until that is joined */
};

/* Zeros are one without witnesses. It stays where it is from start to stop. */
struct witnesses {
	struct witness all[WITNESSES_MAX];
	size_t n;
	atomic_bool is_over; /* guards nothing */
};

static inline void *
witness_run(void *arg)
{
	struct witness *self = arg;
	int fd = schedstat_open_own();
	int64_t ran_ns, waited_ns, waited_before_ns;
	struct ticker ticker;
	struct switches switches;

	if (fd < 0)
		return NULL;
	bool has_switches = switches_start(&switches, self->cpu);
	self->has_ticker = ticker_start(&ticker, self->cpu) && has_switches;
	schedstat_read(fd, &ran_ns, &waited_before_ns);
	while (!atomic_load(self->is_over)) {
		int64_t asked_ns = times_now() + WITNESS_NS;

		times_sleep_until(asked_ns);
		int64_t woke_ns = times_now();
		schedstat_read(fd, &ran_ns, &waited_ns);
		int64_t came_ns = woke_ns - (waited_ns - waited_before_ns);
		if (came_ns - asked_ns > WITNESS_LATE_NS)
			gaps_add(&self->gaps, asked_ns, came_ns);
		if (switches_say_idle(&switches, came_ns, woke_ns) && woke_ns - came_ns > WITNESS_LATE_NS)
			gaps_add(&self->gaps, came_ns, woke_ns);
		ticker_look(&ticker, came_ns, woke_ns, &self->gaps);
		waited_before_ns = waited_ns;
	}
	switches_stop(&switches);
	ticker_stop(&ticker);
	(void)close(fd);
	return NULL;
}

/* Whether there is one: a processor may be closed to us. */
static inline bool
witness_start(struct witness *self, size_t cpu)
{
	struct sched_param param = {.sched_priority = WITNESS_PRIORITY};
	pthread_attr_t attr;
	cpu_set_t only;

	self->cpu = (int)cpu;
	CPU_ZERO(&only);
	CPU_SET(cpu, &only);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	(void)pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	(void)pthread_attr_setschedparam(&attr, &param);
	(void)pthread_attr_setaffinity_np(&attr, sizeof(only), &only);
	bool is_started = pthread_create(&self->thread, &attr, witness_run, self) == 0;
	(void)pthread_attr_destroy(&attr);
	return is_started;
}

/* On each processor that this thread or `tid` may run on, as far as real-time priority is given. No signal goes to
 * them. */
static inline void
witnesses_start(struct witnesses *witnesses, pid_t tid)
{
	cpu_set_t theirs, ours;
	sigset_t all, before;

	CPU_ZERO(&theirs);
	CPU_ZERO(&ours);
	(void)sched_getaffinity(tid, sizeof(theirs), &theirs);
	(void)sched_getaffinity(0, sizeof(ours), &ours);
	CPU_OR(&ours, &ours, &theirs);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	for (size_t cpu = 0; cpu < CPU_SETSIZE && witnesses->n < WITNESSES_MAX; cpu++) {
		struct witness *next = &witnesses->all[witnesses->n];

		next->is_over = &witnesses->is_over;
		if (CPU_ISSET(cpu, &ours) && witness_start(next, cpu))
			witnesses->n++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* After the end: how many of them had one. */
static inline size_t
witnesses_with_ticker(const struct witnesses *witnesses)
{
	size_t n = 0;

	for (size_t i = 0; i < witnesses->n; i++)
		n += witnesses->all[i].has_ticker;
	return n;
}

/* Ends them. Returns the gaps that they saw, joined, of which the caller frees `all`. */
static inline struct gaps
witnesses_stop(struct witnesses *witnesses)
{
	struct gaps seen = {0};

	atomic_store(&witnesses->is_over, true);
	for (size_t i = 0; i < witnesses->n; i++) {
		struct gaps *gaps = &witnesses->all[i].gaps;

		(void)pthread_join(witnesses->all[i].thread, NULL);
		for (size_t j = 0; j < gaps->n; j++)
			gaps_add(&seen, gaps->all[j].began_ns, gaps->all[j].ended_ns);
		free(gaps->all);
	}
	gaps_join(&seen);
	return seen;
}

#endif
