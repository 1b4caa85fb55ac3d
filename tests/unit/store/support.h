/*
 * What the store's tests share: keys and entries from strings, a seed from the environment.
 */
#ifndef HC_TESTS_STORE_SUPPORT_H
#define HC_TESTS_STORE_SUPPORT_H

#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/hash.h"
#include "base/mem.h"
#include "store/store.h"

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

static inline struct hc_key
key_str(const char *str)
{
	return hc_key(hc_slice_str(str));
}

static inline struct hc_entry *
entry_of_model(struct hc_store *store, const char *key, const char *value, uint32_t model)
{
	struct hc_entry *entry = hc_entry_create(store, key_str(key), strlen(value), model);

	if (entry != NULL)
		memcpy(hc_entry_value_ptr(entry), value, strlen(value));
	return entry;
}

static inline struct hc_entry *
entry_str(struct hc_store *store, const char *key, const char *value)
{
	return entry_of_model(store, key, value, HC_MODEL_DEFAULT);
}

static inline struct hc_store *
store_with(uint64_t max_bytes, uint32_t shards, bool versions)
{
	struct hc_store_config config = {
	    .max_bytes = max_bytes, .shards = shards, .max_models = 1000, .versions = versions};
	struct hc_store *store;

	ck_assert_int_eq(hc_store_create(&config, &store), HC_OK);
	return store;
}

static inline struct hc_store *
store_of(uint64_t max_bytes, uint32_t shards)
{
	return store_with(max_bytes, shards, false);
}

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
