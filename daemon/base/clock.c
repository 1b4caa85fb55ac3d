/*
 * The clocks. Any thread; owns one number, by how much tests have moved time on.
 */
#include <stdatomic.h>
#include <time.h>
#include "base/clock.h"

static _Atomic int64_t advanced_us;

static int64_t
now_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts); /* cannot fail for these clocks */
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 +
	       atomic_load_explicit(&advanced_us, memory_order_relaxed);
}

int64_t
hc_clock_wall_us(void)
{
	return now_us(CLOCK_REALTIME);
}

int64_t
hc_clock_wall_ms(void)
{
	return now_us(CLOCK_REALTIME) / 1000;
}

int64_t
hc_clock_mono_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

int64_t
hc_clock_mono_ms(void)
{
	return now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
hc_clock_mono_coarse_ms(void)
{
	return now_us(CLOCK_MONOTONIC_COARSE) / 1000;
}

int64_t
hc_clock_cpu_us(void)
{
	return now_us(CLOCK_THREAD_CPUTIME_ID);
}

void
hc_clock_advance(int64_t ms)
{
	atomic_fetch_add_explicit(&advanced_us, ms * 1000, memory_order_relaxed);
}
