/*
 * Gaps in time, in which a processor did not run, and how much of an interval lies in them. For programs that
 * measure, one thread. Times are those of times_now().
 *
 * Add gaps in any order, also such as overlap; join them; ask.
 */
#ifndef HC_TESTS_SIM_GAPS_H
#define HC_TESTS_SIM_GAPS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct gap {
	int64_t began_ns, ended_ns;
};

struct gaps {
	struct gap *all;
	size_t n, cap;
};

/* Ends the program when there is no memory. */
static inline void
gaps_add(struct gaps *gaps, int64_t began_ns, int64_t ended_ns)
{
	if (gaps->n == gaps->cap) {
		gaps->cap = gaps->cap == 0 ? 1 << 8 : 2 * gaps->cap;
		gaps->all = realloc(gaps->all, gaps->cap * sizeof(*gaps->all));
		if (gaps->all == NULL)
			abort();
	}
	gaps->all[gaps->n++] = (struct gap){began_ns, ended_ns};
}

static inline int
gaps_compare(const void *a, const void *b)
{
	int64_t x = ((const struct gap *)a)->began_ns, y = ((const struct gap *)b)->began_ns;

	return (x > y) - (x < y);
}

/* Afterwards they are in order of time, and no moment lies in two. */
static inline void
gaps_join(struct gaps *gaps)
{
	size_t kept = 0;

	if (gaps->n > 0)
		qsort(gaps->all, gaps->n, sizeof(*gaps->all), gaps_compare);
	for (size_t i = 0; i < gaps->n; i++) {
		struct gap gap = gaps->all[i];

		if (kept == 0 || gap.began_ns > gaps->all[kept - 1].ended_ns)
			gaps->all[kept++] = gap;
		else if (gap.ended_ns > gaps->all[kept - 1].ended_ns)
			gaps->all[kept - 1].ended_ns = gap.ended_ns;
	}
	gaps->n = kept;
}

/* Joined: the first that ends after `ns`; their number when none does. */
static inline size_t
gaps_after(const struct gaps *gaps, int64_t ns)
{
	size_t low = 0, high = gaps->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (gaps->all[middle].ended_ns > ns)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Joined: how many ns between the two moments lie in gaps. */
static inline int64_t
gaps_within(const struct gaps *gaps, int64_t from_ns, int64_t to_ns)
{
	int64_t within_ns = 0;

	for (size_t i = gaps_after(gaps, from_ns); i < gaps->n && gaps->all[i].began_ns < to_ns; i++) {
		const struct gap *gap = &gaps->all[i];

		within_ns += (gap->ended_ns < to_ns ? gap->ended_ns : to_ns) -
			     (gap->began_ns > from_ns ? gap->began_ns : from_ns);
	}
	return within_ns;
}

/*
 * Joined: what is left of the time between the two moments without gaps and without `lost_ns`, which somebody
 * else counted. The two may be the same time: only the longer is taken off. Never below 0.
 */
static inline int64_t
gaps_leave(const struct gaps *gaps, int64_t from_ns, int64_t to_ns, int64_t lost_ns)
{
	int64_t within_ns = gaps_within(gaps, from_ns, to_ns);
	int64_t left_ns = to_ns - from_ns - (within_ns > lost_ns ? within_ns : lost_ns);

	return left_ns > 0 ? left_ns : 0;
}

#endif
