/*
 * Durations, all of them kept, and what is said about them. For programs that measure, one thread.
 */
#ifndef HC_TESTS_SIM_TIMES_H
#define HC_TESTS_SIM_TIMES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct times {
	int64_t *ns;
	size_t n, cap;
};

static inline int64_t
times_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Returns early when a signal comes. */
static inline void
times_sleep_until(int64_t ns)
{
	struct timespec at = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

/* Ends the program when there is no memory. */
static inline void
times_add(struct times *times, int64_t ns)
{
	if (times->n == times->cap) {
		times->cap = times->cap == 0 ? 1 << 12 : 2 * times->cap;
		times->ns = realloc(times->ns, times->cap * sizeof(*times->ns));
		if (times->ns == NULL)
			abort();
	}
	times->ns[times->n++] = ns;
}

static inline int
times_compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Sorted: the smallest that so many of a thousand do not exceed, in us. */
static inline double
times_permille(const struct times *times, size_t permille)
{
	size_t at = (times->n * permille + 999) / 1000;

	return times->n == 0 ? 0 : (double)times->ns[at == 0 ? 0 : at - 1] / 1e3;
}

/* Sorts, and prints lines of `name value unit`, each name with `prefix` in front. */
static inline void
times_print(struct times *times, const char *prefix)
{
	if (times->n > 0)
		qsort(times->ns, times->n, sizeof(*times->ns), times_compare);
	printf("%sp50 %.1f us\n", prefix, times_permille(times, 500));
	printf("%sp99 %.1f us\n", prefix, times_permille(times, 990));
	printf("%sp999 %.1f us\n", prefix, times_permille(times, 999));
	printf("%slongest %.1f us\n", prefix, times_permille(times, 1000));
}

#endif
