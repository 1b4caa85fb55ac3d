/*
 * Entries: their life outside of the table. Any thread; whoever holds a reference may read them.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include "base/hash.h"
#include "base/mem.h"
#include "store/shard.h"
#include "store/slab.h"

#define SHORT_KEY UINT8_MAX
#define SHORT_VALUE UINT16_MAX

static unsigned
extras_of(const struct hc_store *store, struct hc_key key, size_t value_len, struct hc_entry_tag tag)
{
	unsigned extras = 0;

	if (key.len > SHORT_KEY || value_len > SHORT_VALUE)
		extras |= HC_ENTRY_LONG;
	if (store->versions || tag.model != HC_MODEL_DEFAULT || tag.epoch != 0)
		extras |= HC_ENTRY_TAGGED;
	if (store->versions)
		extras |= HC_ENTRY_VERSIONED;
	return extras;
}

static void
write_extras(struct hc_entry *entry, unsigned extras, struct hc_entry_lengths lengths, struct hc_entry_tag tag)
{
	char *at = entry->data;

	if ((extras & HC_ENTRY_LONG) != 0) {
		memcpy(at, &lengths, sizeof(lengths));
		at += sizeof(lengths);
	}
	if ((extras & HC_ENTRY_TAGGED) != 0) {
		memcpy(at, &tag, sizeof(tag));
		at += sizeof(tag);
	}
	if ((extras & HC_ENTRY_VERSIONED) != 0)
		memset(at, 0, sizeof(uint64_t));
}

static_assert(offsetof(struct hc_entry, data) == 24, "a byte more here is eight more for each entry");
static_assert(offsetof(struct hc_entry, data) == HC_BUCKET_ENTRY_LEN, "so much is fetched ahead");

/* As most are. */
static bool
is_plain(const struct hc_store *store, struct hc_key key, size_t value_len, uint32_t model)
{
	return key.len <= SHORT_KEY && value_len <= SHORT_VALUE && model == HC_MODEL_DEFAULT && !store->versions &&
	       atomic_load_explicit(store->default_epoch, memory_order_acquire) == 0;
}

/* All but `refs`, which compaction may be looking at; it is 0. */
static void
begin_entry(struct hc_entry *entry, unsigned extras, uint32_t generation)
{
	atomic_init(&entry->life, HC_ENTRY_NO_EXPIRY << 16 | (uint16_t)generation);
	entry->created_s = 0;
	atomic_init(&entry->used, 0);
	atomic_init(&entry->hits, 0);
	atomic_init(&entry->state, (uint8_t)extras);
	entry->stamp = 0;
}

struct hc_entry *
hc_entry_create(const struct hc_store *store, struct hc_key key, size_t value_len, uint32_t model)
{
	struct hc_entry_tag tag = {HC_MODEL_DEFAULT, 0};
	unsigned extras = 0;
	struct hc_entry *entry;

	if (__builtin_expect(!is_plain(store, key, value_len, model), 0)) {
		if (key.len > UINT32_MAX || value_len > UINT32_MAX)
			return NULL;
		tag = (struct hc_entry_tag){model, hc_models_epoch(store->models, model)};
		extras = extras_of(store, key, value_len, tag);
	}
	entry = hc_slab_alloc(sizeof(*entry) + hc_entry_extras_len(extras) + key.len + value_len);
	if (entry == NULL)
		return NULL;
	begin_entry(entry, extras, hc_store_generation(store));
	entry->value_len_short = (uint16_t)value_len;
	entry->key_len_short = (uint8_t)key.len;
	if (extras != 0)
		write_extras(entry, extras, (struct hc_entry_lengths){(uint32_t)key.len, (uint32_t)value_len}, tag);
	if (key.len > 0)
		memcpy(entry->data + hc_entry_extras_len(extras), key.ptr, key.len);
	/* From here on compaction may come across it, and reads its key to find that it is not in the table. */
	atomic_store_explicit(&entry->refs, 1, memory_order_release);
	return entry;
}

/* ---- what is left out of most ---- */

static char *
tag_at(const struct hc_entry *entry)
{
	return (char *)(uintptr_t)entry->data + hc_entry_extras_len(hc_entry_state(entry) & HC_ENTRY_LONG);
}

static char *
version_at(const struct hc_entry *entry)
{
	return (char *)(uintptr_t)entry->data +
	       hc_entry_extras_len(hc_entry_state(entry) & (HC_ENTRY_LONG | HC_ENTRY_TAGGED));
}

uint64_t
hc_entry_version(const struct hc_entry *entry)
{
	uint64_t version = 0;

	if ((hc_entry_state(entry) & HC_ENTRY_VERSIONED) != 0)
		memcpy(&version, version_at(entry), sizeof(version));
	return version;
}

void
hc_entry_set_version(struct hc_entry *entry, uint64_t version)
{
	assert((hc_entry_state(entry) & HC_ENTRY_VERSIONED) != 0 && entry->created_s == 0);
	memcpy(version_at(entry), &version, sizeof(version));
}

void
hc_entry_set_epoch(struct hc_entry *entry, uint32_t epoch)
{
	struct hc_entry_tag tag = {hc_entry_model(entry), epoch};

	assert((hc_entry_state(entry) & HC_ENTRY_TAGGED) != 0 && entry->created_s == 0);
	memcpy(tag_at(entry), &tag, sizeof(tag));
}

/* The cell of an expiry that does not fit, or NULL. An entry that has one keeps it: somebody may be reading it. */
static _Atomic int64_t *
cell_of(const struct hc_entry *entry)
{
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_relaxed);

	return hc_life_has_cell(life) ? (void *)(uintptr_t)(life >> 16 & ~HC_ENTRY_FAR) : NULL;
}

/* As the upper 48 bits of `life` say it. */
static uint64_t
far_expiry(int64_t expire_ms)
{
	_Atomic int64_t *cell = hc_malloc(sizeof(*cell));

	if (cell == NULL || ((uintptr_t)cell & ~(HC_ENTRY_FAR - 1)) != 0) {
		hc_free(cell);
		return HC_ENTRY_FAR - 1;
	}
	atomic_init(cell, expire_ms);
	return HC_ENTRY_FAR | (uintptr_t)cell;
}

void
hc_entry_set_expire_ms(struct hc_entry *entry, int64_t expire_ms)
{
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_relaxed);
	uint64_t ms = expire_ms < 0 ? 0 : (uint64_t)expire_ms;
	_Atomic int64_t *cell = cell_of(entry);

	if (cell != NULL) {
		atomic_store_explicit(cell, expire_ms, memory_order_relaxed);
		return;
	}
	if (expire_ms == HC_NO_EXPIRY)
		ms = HC_ENTRY_NO_EXPIRY;
	else if (ms >= HC_ENTRY_FAR)
		ms = far_expiry(expire_ms);
	atomic_store_explicit(&entry->life, ms << 16 | (life & UINT16_MAX), memory_order_release);
}

void
hc_entry_set_generation(struct hc_entry *entry, uint32_t generation)
{
	uint64_t life = atomic_load_explicit(&entry->life, memory_order_relaxed);

	atomic_store_explicit(
	    &entry->life, (life & ~(uint64_t)UINT16_MAX) | (uint16_t)generation, memory_order_relaxed);
}

uint64_t
hc_entry_hash(const struct hc_entry *entry)
{
	struct hc_slice key = hc_entry_key(entry);

	return hc_hash(key.ptr, key.len);
}

/* ---- references ---- */

size_t
hc_entry_end(struct hc_entry *entry)
{
	_Atomic int64_t *cell = cell_of(entry);

	if (__builtin_expect(cell != NULL, 0))
		hc_free((void *)cell);
	return hc_entry_alloc_size(entry);
}

__attribute__((noinline)) void
hc_entry_free(struct hc_entry *entry)
{
	size_t size = hc_entry_end(entry);

	hc_slab_free(entry, size);
}

void
hc_entry_unref(struct hc_entry *entry)
{
	if (entry != NULL && hc_entry_let_go(entry))
		hc_entry_free(entry);
}

size_t
hc_entry_footprint(const struct hc_entry *entry)
{
	return hc_slab_footprint(entry, hc_entry_alloc_size(entry)) + HC_TABLE_SHARE + HC_EVICT_SHARE;
}

static uint32_t
seconds_since(uint32_t then_s, int64_t now_ms)
{
	int64_t s = now_ms / 1000 - then_s;

	return then_s == 0 || s < 0 ? 0 : (uint32_t)s; /* the wall clock may have been set back */
}

uint32_t
hc_entry_age_s(const struct hc_entry *entry, int64_t now_ms)
{
	return seconds_since(entry->created_s, now_ms);
}

/* Exact for nine hours, then in steps of four minutes. */
#define USED_EXACT 0x8000u
#define USED_STEP 256u

uint16_t
hc_entry_used_code(uint32_t seconds)
{
	if (seconds < USED_EXACT)
		return (uint16_t)seconds;
	seconds /= USED_STEP;
	return (uint16_t)(USED_EXACT | (seconds < USED_EXACT ? seconds : USED_EXACT - 1));
}

uint32_t
hc_entry_idle_s(const struct hc_entry *entry, int64_t now_ms)
{
	uint32_t used = atomic_load_explicit(&entry->used, memory_order_relaxed);
	uint32_t after = (used & USED_EXACT) != 0 ? (used - USED_EXACT) * USED_STEP : used;

	return entry->created_s == 0 ? 0 : seconds_since(entry->created_s + after, now_ms);
}

uint32_t
hc_entry_hits(const struct hc_entry *entry)
{
	return atomic_load_explicit(&entry->hits, memory_order_relaxed);
}

unsigned
hc_entry_hotness(const struct hc_entry *entry)
{
	return hc_entry_state(entry) & HC_ENTRY_HOT;
}
