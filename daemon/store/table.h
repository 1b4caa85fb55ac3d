/*
 * A shard's hash table: buckets of one cache line each (bucket.h), which come and go one at a time
 * (linear hashing), so that no operation ever rehashes more than a few of them, and no second table
 * is ever needed. Buckets live in segments, each a slot of address space (region.h) of which the pages
 * in use are in memory.
 *
 *     segments[] ── [4096 buckets] ── tags and addresses of entries ──(more than nine)── bucket ── …
 *
 * There are mask + 1 groups; a hash belongs to group `hash & mask`. A group has `wide` buckets, or
 * one more when it is below `split`; it grows from two to three to four, and when all have four,
 * each becomes two groups of two. So no bucket is ever expected to hold more than half as much
 * again as the emptiest, where doubling at once would make that twice as much, and hardly any need
 * to go on in another one.
 *
 *     bucket      0 …       groups …     2 groups …     3 groups …
 *     holds       group's   group's      group's        group's
 *                 1st       2nd          3rd            4th
 *
 * Of two, a hash belongs to the one its next bit says, of four to the one its next two bits say. Of
 * three, two thirds of those that will be in the upper two of four are in the third, and all others
 * where they were.
 *
 * Only the lower half of the hash is used. Entries do not keep it: it is made anew from the key
 * where it is needed, when a group changes. That costs less than the memory.
 *
 * Not synchronized: the shard's lock protects it. It owns segments and buckets, not the entries.
 */
#ifndef HC_STORE_TABLE_H
#define HC_STORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "store/bucket.h"
#include "store/region.h"
#include "store/store.h"

#define HC_TABLE_SEGMENT_BITS 12
#define HC_TABLE_SEGMENT (1u << HC_TABLE_SEGMENT_BITS)
#define HC_TABLE_MIN_GROUPS 4u
#define HC_TABLE_SPARES 4u
static_assert(HC_TABLE_SEGMENT * sizeof(struct hc_bucket) == HC_REGION_SLOT, "that is where they are");
#define HC_TABLE_GROUP_MAX 4u /* buckets */

/* What an entry is charged for its place: mostly that, up to eighteen while the table is about to shrink. */
#define HC_TABLE_SHARE 12u

struct hc_table {
	struct hc_bucket **segments;
	uint32_t mask;
	uint32_t split;
	uint32_t wide;    /* 2 or 3 */
	uint32_t buckets; /* those behind others not counted */
	size_t count;     /* entries */
	/* the table is to grow, or to shrink, when the count is above, or below */
	size_t grow_above;
	size_t shrink_below;
	uint32_t nsegments;
	uint32_t segments_cap;
	void *spare;     /* buckets for what does not fit, linked by their first word */
	uint32_t nspare; /* more than HC_TABLE_SPARES are for the caller to take */
	uint32_t nmore;  /* buckets behind others */
};

/* Where an entry is, or is not yet. Good until the table changes. */
struct hc_place {
	struct hc_bucket *first; /* of those in which it may be */
	struct hc_bucket *bucket;
	unsigned at;
};

enum hc_status hc_table_init(struct hc_table *table);
void hc_table_fini(struct hc_table *table);

static inline struct hc_bucket *
hc_table_bucket(const struct hc_table *table, uint32_t index)
{
	return &table->segments[index >> HC_TABLE_SEGMENT_BITS][index & (HC_TABLE_SEGMENT - 1)];
}

/* All ones for two of three hashes, else 0: whether one that goes to the upper two of four goes there from the third
 * on. */
static inline uint32_t
hc_table_moves_early(uint32_t hash)
{
	return -(uint32_t)(hash < 0xaaaaaaaa);
}

/* Its bucket, by arithmetic alone: where hashes fall, no branch predictor knows. */
static inline uint32_t
hc_table_index(const struct hc_table *table, uint32_t hash)
{
	uint32_t groups = table->mask + 1, group = hash & table->mask;
	uint32_t second = hash & groups, upper = hash & 2 * groups;
	uint32_t third = upper & hc_table_moves_early(hash);
	uint32_t of_three = third + (second & ~(third >> 1));
	uint32_t narrow = second, wide = of_three;

	if (table->wide == 3) {
		narrow = of_three;
		wide = upper + second;
	}
	return group + (group < table->split ? wide : narrow);
}

static inline uint64_t
hc_table_differ(const char *a, const char *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x ^ y;
}

/* Short keys without a call, and all at once: with the same tag, they are mostly the same. */
static inline __attribute__((always_inline)) bool
hc_table_same_bytes(const char *a, const char *b, size_t len)
{
	if (__builtin_expect(len - 8 > 24, 0))
		return len == 0 || memcmp(a, b, len) == 0;
	uint64_t differ = hc_table_differ(a, b) | hc_table_differ(a + len - 8, b + len - 8);
	if (len > 16)
		differ |= hc_table_differ(a + 8, b + 8) | hc_table_differ(a + len - 16, b + len - 16);
	return differ == 0;
}

static inline __attribute__((always_inline)) bool
hc_table_has_key(const struct hc_entry *entry, struct hc_key key)
{
	if (__builtin_expect((hc_entry_state(entry) & HC_ENTRY_EXTRAS) == 0, 1))
		return entry->key_len_short == key.len && hc_table_same_bytes(entry->data, key.ptr, key.len);
	return hc_entry_lengths(entry).key == key.len && hc_table_same_bytes(hc_entry_bytes(entry), key.ptr, key.len);
}

/* The first of the buckets in which what has that hash may be. */
static inline struct hc_bucket *
hc_table_bucket_of(const struct hc_table *table, uint32_t hash)
{
	return hc_table_bucket(table, hc_table_index(table, hash));
}

/* The entry of that key and its place, in the bucket that is its first; NULL, and where it would go. */
static inline __attribute__((always_inline)) struct hc_entry *
hc_table_find_in(struct hc_bucket *bucket, struct hc_key key, struct hc_place *place)
{
	uint8_t tag = hc_bucket_tag((uint32_t)key.hash);

	place->first = bucket;
	do {
		for (unsigned match = hc_bucket_match(bucket, tag); match != 0; match &= match - 1) {
			unsigned at = (unsigned)__builtin_ctz(match);
			struct hc_entry *entry = hc_bucket_entry(bucket, at);
			if (__builtin_expect(hc_table_has_key(entry, key), 1)) {
				place->bucket = bucket;
				place->at = at;
				return entry;
			}
		}
		bucket = hc_bucket_more(bucket);
	} while (__builtin_expect(bucket != NULL, 0));
	return NULL;
}

static inline __attribute__((always_inline)) struct hc_entry *
hc_table_find(const struct hc_table *table, struct hc_key key, struct hc_place *place)
{
	return hc_table_find_in(hc_table_bucket_of(table, (uint32_t)key.hash), key, place);
}

/*
 * The two steps of a look-up ahead of it: the bucket, and, once that is there, the entry. Inlined in any
 * case: gcc leaves out calls of a function that does nothing but prefetch.
 */
static inline __attribute__((always_inline)) void
hc_table_prefetch_slot(const struct hc_table *table, uint64_t hash)
{
	__builtin_prefetch(hc_table_bucket_of(table, (uint32_t)hash));
}

static inline __attribute__((always_inline)) void
hc_table_prefetch_entry(const struct hc_table *table, uint64_t hash)
{
	(void)hc_bucket_prefetch_match(hc_table_bucket_of(table, (uint32_t)hash), hc_bucket_tag((uint32_t)hash));
}

/* Whether that entry is in the bucket, which is the first of its hash; *place is where. Touches only the table. */
bool hc_table_holds(struct hc_bucket *first, const struct hc_entry *entry, uint32_t hash, struct hc_place *place);
/* The place of an entry known to be in the table. */
struct hc_place hc_table_place(const struct hc_table *table, const struct hc_entry *entry, uint32_t hash);
/*
 * Its key must not be there yet; `place` is what hc_table_find() said. HC_NOMEM: the bucket is full
 * and there is none to go on in.
 */
enum hc_status hc_table_insert(
    struct hc_table *table, const struct hc_place *place, const struct hc_entry *entry, uint32_t hash);
/* Puts `entry` in the place of another one of the same key. */
static inline void
hc_table_replace(const struct hc_place *place, const struct hc_entry *entry)
{
	hc_bucket_set_address(place->bucket, place->at, entry);
}
/* Takes out what is at the place. */
void hc_table_remove(struct hc_table *table, const struct hc_place *place);

/*
 * Brings the number of buckets nearer to what the entries need, by `steps` buckets at most: one for
 * each insertion or removal keeps up; an empty table is the smallest at once. Returns segments that
 * are not used any more, for the caller to give to hc_table_free(), or NULL: then it is done, or has
 * used up its steps. Without memory it does not change; buckets are followed by more.
 */
void *hc_table_adapt(struct hc_table *table, unsigned steps);
/* Segments linked by their first words. Any thread, outside of the shard's lock. */
void hc_table_free(void *segments);
/* Takes the spare buckets that are too many, for hc_slab_free_plain_list() outside of the shard's lock. */
void *hc_table_take_spares(struct hc_table *table);

static inline bool
hc_table_fits(const struct hc_table *table)
{
	return table->count <= table->grow_above && table->count >= table->shrink_below;
}

/*
 * Walking in steps, as Redis's SCAN: a cursor counts groups with its bits reversed, so that what is
 * in the table all the time is met however much the table grows or shrinks between the steps. Begins
 * with 0. hc_table_group() sets buckets[] to the buckets of this step and returns how many;
 * hc_table_walk_next() is the cursor of the next step, 0 after the last.
 */
unsigned hc_table_group(const struct hc_table *table, uint64_t cursor, struct hc_bucket *buckets[HC_TABLE_GROUP_MAX]);
uint64_t hc_table_walk_next(const struct hc_table *table, uint64_t cursor);
/*
 * Takes out, while walking, what is at a place of one of the buckets that begin with `first`; other
 * places stay as they are until, after the last, hc_table_tidy() closes up what was left open.
 */
void hc_table_clear(struct hc_table *table, struct hc_bucket *bucket, unsigned at);
void hc_table_tidy(struct hc_table *table, struct hc_bucket *first);
/* Entries in the bucket and those behind it. */
size_t hc_table_chain_len(const struct hc_bucket *bucket);

/* Bytes of the buckets and their directory. */
size_t hc_table_bytes(const struct hc_table *table);

#endif
