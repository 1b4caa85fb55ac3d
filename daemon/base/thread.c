/*
 * Where there are fewer processors than threads with work, a thread that was just woken waits until the one that runs
 * has had its slice: 3 to 8 ms, for a client that asked for what takes some microseconds. Since Linux 6.12 a thread can
 * ask for a slice of its own (sched_runtime of SCHED_OTHER, sched(7)); the shorter it is, the sooner it runs when it
 * wakes, and its share of the processor stays the same.
 *
 * A thread that works all the time is not woken. It loses the processor when its slice is over, and many kernels
 * (PREEMPT_NONE, 250 ticks a second) see that at their next tick: the other one has it for 4 ms then. So that one
 * yields each time it has done a bit, and has short slices too: a yield may cost it what is left of one. But not as
 * short: within the slice that has just begun, only who asks for a shorter one takes the processor away.
 */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SERVING_SLICE_NS 100000 /* the least there is */
#define CATCHING_UP_SLICE_NS 200000
#define NICE 5 /* a third of the share of those that serve */

/* As the system call has it; C libraries learn of it late. */
struct attributes {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static void
ask_for_slices(uint64_t slice_ns)
{
	struct attributes attributes = {.size = sizeof(attributes)};

	if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0 || attributes.policy != SCHED_OTHER)
		return; /* whoever chose another policy had a reason */
	attributes.runtime = slice_ns;
	(void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void
hc_thread_begin(const char *name, enum hc_thread_kind kind)
{
	(void)pthread_setname_np(pthread_self(), name);
	ask_for_slices(kind == HC_THREAD_SERVES ? SERVING_SLICE_NS : CATCHING_UP_SLICE_NS);
	if (kind == HC_THREAD_CATCHES_UP && getpriority(PRIO_PROCESS, 0) < NICE)
		(void)setpriority(PRIO_PROCESS, 0, NICE); /* of this thread: Linux has it so */
}

void
hc_thread_yield(void)
{
	(void)sched_yield();
}
