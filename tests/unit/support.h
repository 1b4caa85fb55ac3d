/*
 * What all tests share: assertions for loops, numbers by seed, running a suite.
 */
#ifndef HC_TESTS_UNIT_SUPPORT_H
#define HC_TESTS_UNIT_SUPPORT_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/hash.h"

/* For loops of many thousand rounds: check's own assertions tell the runner even when they hold. */
#define must(condition)                                 \
	do {                                            \
		if (!(condition))                       \
			ck_abort_msg("%s", #condition); \
	} while (0)
#define must_msg(condition, ...)                   \
	do {                                       \
		if (!(condition))                  \
			ck_abort_msg(__VA_ARGS__); \
	} while (0)

/* A number generator of our own: the same seed gives the same run everywhere. */
struct rng {
	uint64_t state;
};

static inline uint64_t
rng_next(struct rng *rng)
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline uint32_t
rng_below(struct rng *rng, uint32_t n)
{
	return (uint32_t)(rng_next(rng) % n);
}

/* From HC_SEED, else drawn; printed, so that a failure can be repeated. */
static inline uint64_t
test_seed(void)
{
	const char *text = getenv("HC_SEED");
	uint64_t seed = 0;

	if (text != NULL)
		seed = strtoull(text, NULL, 10);
	else
		ck_assert_int_eq(hc_random(&seed, sizeof(seed)), 0);
	printf("HC_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

static inline int
run_suite(Suite *suite)
{
	if (hc_hash_init() != 0)
		return EXIT_FAILURE;
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
