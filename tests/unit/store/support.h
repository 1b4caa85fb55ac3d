/*
 * What the store's tests share: keys and entries from strings, stores of a size.
 */
#ifndef HC_TESTS_STORE_SUPPORT_H
#define HC_TESTS_STORE_SUPPORT_H

#include <stdatomic.h>
#include <string.h>
#include "base/mem.h"
#include "store/store.h"
#include "tests/unit/support.h"

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

#endif
