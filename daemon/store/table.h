/*
 * A shard's hash table: chains of entries in slots that come and go one at a time (linear hashing),
 * so that no operation ever rehashes more than a few chains, and no second table is ever needed.
 * Slots live in segments of fixed size.
 *
 *     segments[] ── [256 slots] ── chain of entries
 *
 * There are mask + 1 + split slots. A hash belongs to slot `hash & mask`, or, when that one is
 * below `split`, has been split already, to slot `hash & (2 * mask + 1)`.
 *
 * Entries do not keep their hash: it is made anew from the key where it is needed, when a slot is
 * split. That costs less than the memory.
 *
 * Not synchronized: the shard's lock protects it. It owns the segments, not the entries.
 */
#ifndef HC_STORE_TABLE_H
#define HC_STORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "store/store.h"

#define HC_TABLE_SEGMENT_BITS 8
#define HC_TABLE_SEGMENT (1u << HC_TABLE_SEGMENT_BITS)
#define HC_TABLE_MIN_SLOTS 4u

/*
 * What an entry is charged for its place: there are at most two slots for each entry (beyond the
 * smallest table), and one, most of the time.
 */
#define HC_TABLE_SHARE (2 * sizeof(void *))

struct hc_table {
	struct hc_entry ***segments;
	uint32_t mask;
	uint32_t split;
	size_t count; /* entries */
	uint32_t nsegments;
	uint32_t segments_cap;
};

enum hc_status hc_table_init(struct hc_table *table);
void hc_table_fini(struct hc_table *table);

static inline size_t
hc_table_slots(const struct hc_table *table)
{
	return (size_t)table->mask + 1 + table->split;
}

static inline struct hc_entry **
hc_table_slot(const struct hc_table *table, uint32_t index)
{
	return &table->segments[index >> HC_TABLE_SEGMENT_BITS][index & (HC_TABLE_SEGMENT - 1)];
}

static inline uint32_t
hc_table_index(const struct hc_table *table, uint64_t hash)
{
	uint32_t index = (uint32_t)hash & table->mask;

	return index < table->split ? (uint32_t)hash & (2 * table->mask + 1) : index;
}

/* Short keys without a call: most are 8 to 32 bytes, and entries of a chain often differ in the last ones only. */
static inline bool
hc_table_same_bytes(const char *a, const char *b, size_t len)
{
	uint64_t x, y;

	if (len < sizeof(x) || len > 4 * sizeof(x))
		return len == 0 || memcmp(a, b, len) == 0;
	for (size_t end = len; end > sizeof(x); end -= sizeof(x)) {
		memcpy(&x, a + end - sizeof(x), sizeof(x));
		memcpy(&y, b + end - sizeof(y), sizeof(y));
		if (x != y)
			return false;
	}
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x == y;
}

static inline bool
hc_table_has_key(const struct hc_entry *entry, struct hc_key key)
{
	if (__builtin_expect((hc_entry_state(entry) & HC_ENTRY_EXTRAS) == 0, 1))
		return entry->key_len_short == key.len && hc_table_same_bytes(entry->data, key.ptr, key.len);
	return hc_entry_lengths(entry).key == key.len && hc_table_same_bytes(hc_entry_bytes(entry), key.ptr, key.len);
}

/* The link that points at the entry of that key; at NULL when there is none. Good until the table
 * changes. */
static inline struct hc_entry **
hc_table_find(const struct hc_table *table, struct hc_key key)
{
	struct hc_entry **link = hc_table_slot(table, hc_table_index(table, key.hash));
	struct hc_entry *entry;

	for (; (entry = *link) != NULL; link = &entry->next) {
		if (hc_table_has_key(entry, key))
			break;
	}
	return link;
}

/*
 * The two steps of a look-up ahead of it: the slot, and, once that is there, the first entry of its chain. Inlined in
 * any case: gcc leaves out calls of a function that does nothing but prefetch.
 */
static inline __attribute__((always_inline)) void
hc_table_prefetch_slot(const struct hc_table *table, uint64_t hash)
{
	__builtin_prefetch(hc_table_slot(table, hc_table_index(table, hash)));
}

static inline __attribute__((always_inline)) void
hc_table_prefetch_entry(const struct hc_table *table, uint64_t hash)
{
	const char *entry = (const char *)*hc_table_slot(table, hc_table_index(table, hash));

	/* A small one whole: it lies in two or three lines. */
	__builtin_prefetch(entry);
	__builtin_prefetch(entry + 64);
	__builtin_prefetch(entry + 96);
}

/* The link that points at an entry known to be in the table. */
struct hc_entry **hc_table_link(const struct hc_table *table, const struct hc_entry *entry);
/* The key must not be there yet. */
void hc_table_insert(struct hc_table *table, struct hc_entry *entry, uint64_t hash);
/* Takes out what `link` points at. */
void hc_table_remove(struct hc_table *table, struct hc_entry **link);

/*
 * Brings the number of slots nearer to what the entries need, by `steps` slots at most: one for
 * each insertion and two for each removal keep up. Returns a segment that is not used any more, for
 * the caller to hc_free(), or NULL: then it is done, or has used up its steps. Without memory it
 * does not grow, chains get longer.
 */
void *hc_table_adapt(struct hc_table *table, unsigned steps);

/*
 * Walking in steps, as Redis's SCAN: a cursor counts with its bits reversed, so that what is in the
 * table all the time is met however much the table grows or shrinks between the steps. Begins with
 * 0. hc_table_walk() sets slots[] to the one or two slots of this step and returns how many;
 * hc_table_walk_next() is the cursor of the next step, 0 after the last.
 */
unsigned hc_table_walk(const struct hc_table *table, uint64_t cursor, struct hc_entry **slots[2]);
uint64_t hc_table_walk_next(const struct hc_table *table, uint64_t cursor);

/* Bytes of the segments and their directory. */
size_t hc_table_bytes(const struct hc_table *table);

#endif
