/*
 * What the tests of store/store.h share: a small store of each test's own, and what is in it.
 */
#ifndef HC_TESTS_STORE_FIXTURE_H
#define HC_TESTS_STORE_FIXTURE_H

#include "support.h"

#define NOW 1000000

static struct hc_store *store;

static inline void
setup(void)
{
	store = store_of(1 << 20, 4);
}

static inline void
teardown(void)
{
	hc_store_destroy(store);
}

/* Inserts; returns the status. */
static inline enum hc_status
put_how(const char *key, const char *value, const struct hc_store_put *how, int64_t expire_ms)
{
	struct hc_entry *entry = entry_str(store, key, value);
	hc_entry_set_expire_ms(entry, expire_ms);
	enum hc_status status = hc_store_put(store, key_str(key), entry, how, NOW, NULL);
	hc_entry_unref(entry);
	return status;
}

static inline void
put(const char *key, const char *value)
{
	ck_assert_int_eq(put_how(key, value, NULL, HC_NO_EXPIRY), HC_OK);
}

static inline bool
holds_at(const char *key, const char *value, int64_t now_ms)
{
	struct hc_entry *entry;

	if (hc_store_peek(store, key_str(key), now_ms, &entry) != HC_OK)
		return value == NULL;
	bool same = value != NULL && hc_slice_eq(hc_entry_value(entry), hc_slice_str(value));
	hc_entry_unref(entry);
	return same;
}

/* NULL: it is not there. */
static inline bool
holds(const char *key, const char *value)
{
	return holds_at(key, value, NOW);
}

static inline uint64_t
entries(void)
{
	struct hc_store_stats stats;

	hc_store_stats(store, &stats);
	return stats.entries;
}

static inline uint64_t
bytes(void)
{
	struct hc_store_stats stats;

	hc_store_stats(store, &stats);
	return stats.bytes;
}

static inline void
fill_up(unsigned from, unsigned n, size_t value_len)
{
	for (unsigned i = from; i < from + n; i++) {
		char name[16];
		struct hc_entry *entry;
		struct hc_store_stats stats;

		snprintf(name, sizeof(name), "fill%u", i);
		entry = hc_entry_create(store, key_str(name), value_len, HC_MODEL_DEFAULT);
		memset(hc_entry_value_ptr(entry), 'x', value_len);
		ck_assert_int_eq(hc_store_put(store, key_str(name), entry, NULL, NOW, NULL), HC_OK);
		hc_entry_unref(entry);
		hc_store_stats(store, &stats);
		ck_assert_uint_le(stats.bytes, stats.max_bytes);
		ck_assert_int_eq(hc_store_peek(store, key_str(name), NOW, &entry), HC_OK);
		hc_entry_unref(entry);
	}
}

#endif
