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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* memory in use and address space are not ours alone */
#else
#define SANITIZED 0
#endif

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

/* ---- entries that tell whether they are whole ---- */

static inline struct hc_key
name_key(uint32_t i, char name[24])
{
	snprintf(name, 24, "key:%u", i);
	return key_str(name);
}

/* All bytes of its value are the same, and say with its length whose it is. */
static inline struct hc_entry *
whole_entry(const struct hc_store *store, uint32_t i, size_t len, uint32_t model)
{
	char name[24];
	struct hc_entry *entry = hc_entry_create(store, name_key(i, name), len, model);

	must(entry != NULL);
	memset(hc_entry_value_ptr(entry), (int)((i ^ len) & 0xff), len);
	return entry;
}

static inline bool
is_whole(const struct hc_entry *entry, uint32_t i)
{
	struct hc_slice value = hc_entry_value(entry);
	char byte = (char)((i ^ value.len) & 0xff);

	return value.len == 0 || (value.ptr[0] == byte && memcmp(value.ptr, value.ptr + 1, value.len - 1) == 0);
}

/* ---- stores ---- */

static inline struct hc_store *
store_configured(struct hc_store_config config)
{
	struct hc_store *store;

	config.max_models = 1000;
	ck_assert_int_eq(hc_store_create(&config, &store), HC_OK);
	return store;
}

static inline struct hc_store *
store_with(uint64_t max_bytes, uint32_t shards, bool versions)
{
	return store_configured(
	    (struct hc_store_config){.max_bytes = max_bytes, .shards = shards, .versions = versions});
}

/* So many threads may read it at once. */
static inline struct hc_store *
store_for(uint32_t readers, uint64_t max_bytes, uint32_t shards)
{
	return store_configured((struct hc_store_config){.max_bytes = max_bytes, .shards = shards, .readers = readers});
}

static inline struct hc_store *
store_of(uint64_t max_bytes, uint32_t shards)
{
	return store_with(max_bytes, shards, false);
}

#endif
