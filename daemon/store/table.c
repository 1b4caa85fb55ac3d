/*
 * The hash table of a shard, by linear hashing with partial expansions. Called under the shard's
 * lock only; owns the segments.
 */
#include "base/mem.h"
#include "store/slab.h"
#include "store/table.h"

#define MAX_BUCKETS (1u << 29)
#define DIRECTORY_MIN 4u

/* Entries a bucket, on average: above that the table grows, below that it shrinks. */
#define FULL(buckets) ((size_t)(buckets)*6)
#define SPARSE(buckets) ((size_t)(buckets)*7 / 2)

static uint32_t
groups_of(const struct hc_table *table)
{
	return table->mask + 1;
}

static void
count_buckets(struct hc_table *table)
{
	table->buckets = table->wide * groups_of(table) + table->split;
	table->grow_above = FULL(table->buckets);
	table->shrink_below = table->buckets > 2 * HC_TABLE_MIN_GROUPS ? SPARSE(table->buckets) : 0;
}

/* ---- buckets behind others ---- */

static void
free_more(struct hc_bucket *bucket)
{
	while (bucket != NULL) {
		struct hc_bucket *next = hc_bucket_more(bucket);
		hc_slab_free_plain(bucket);
		bucket = next;
	}
}

static void
link_more(struct hc_bucket *bucket, struct hc_bucket *next)
{
	bucket->more = next != NULL;
	if (next != NULL)
		hc_bucket_set_address(bucket, HC_BUCKET_LINK, next);
}

static void
put_spare(struct hc_table *table, void *bucket)
{
	*(void **)bucket = table->spare;
	table->spare = bucket;
	table->nspare++;
}

static bool
reserve_spare(struct hc_table *table, size_t n)
{
	while (table->nspare < n) {
		void *bucket = hc_slab_alloc_plain(sizeof(struct hc_bucket));
		if (bucket == NULL)
			return false;
		put_spare(table, bucket);
	}
	return true;
}

static void
give_spare(struct hc_table *table, struct hc_bucket *bucket)
{
	table->nmore--;
	put_spare(table, bucket);
}

void *
hc_table_take_spares(struct hc_table *table)
{
	void **last = &table->spare;

	if (table->nspare <= HC_TABLE_SPARES)
		return NULL;
	for (unsigned i = 0; i < HC_TABLE_SPARES; i++)
		last = *last;
	void *taken = *last;
	*last = NULL;
	table->nspare = HC_TABLE_SPARES;
	return taken;
}

/* Behind `bucket`, which is full: its last entry moves to the new one. There must be a spare one. */
static struct hc_bucket *
go_on(struct hc_table *table, struct hc_bucket *bucket)
{
	struct hc_bucket *next = table->spare;

	table->spare = *(void **)table->spare;
	table->nspare--;
	table->nmore++;
	memset(next, 0, sizeof(*next));
	hc_bucket_set(next, 0, bucket->tags[HC_BUCKET_LINK], hc_bucket_entry(bucket, HC_BUCKET_LINK));
	hc_bucket_clear(bucket, HC_BUCKET_LINK);
	link_more(bucket, next);
	return next;
}

/* ---- life ---- */

/* All zeros. */
static struct hc_bucket *
new_segment(void)
{
	void *header = hc_mem_faulty() ? NULL : hc_region_take();

	return header != NULL ? (struct hc_bucket *)(void *)hc_region_slot(header) : NULL;
}

static void
free_segment(struct hc_bucket *segment)
{
	if (segment != NULL)
		hc_region_give(hc_region_header(segment), HC_REGION_SLOT);
}

void
hc_table_free(void *segments)
{
	while (segments != NULL) {
		void *next = *(void **)segments;
		free_segment(segments);
		segments = next;
	}
}

enum hc_status
hc_table_init(struct hc_table *table)
{
	*table = (struct hc_table){.mask = HC_TABLE_MIN_GROUPS - 1, .wide = 2, .segments_cap = DIRECTORY_MIN};
	table->segments = hc_calloc(DIRECTORY_MIN, sizeof(*table->segments));
	if (table->segments == NULL)
		return HC_NOMEM;
	table->segments[0] = new_segment();
	if (table->segments[0] == NULL || !reserve_spare(table, 1)) {
		free_segment(table->segments[0]);
		hc_free(table->segments);
		return HC_NOMEM;
	}
	table->nsegments = 1;
	count_buckets(table);
	return HC_OK;
}

void
hc_table_fini(struct hc_table *table)
{
	for (uint32_t i = 0; i < table->buckets; i++)
		free_more(hc_bucket_more(hc_table_bucket(table, i)));
	hc_slab_free_plain_list(table->spare);
	for (uint32_t i = 0; i < table->nsegments; i++)
		free_segment(table->segments[i]);
	hc_free(table->segments);
}

/* ---- entries ---- */

bool
hc_table_holds(struct hc_bucket *first, const struct hc_entry *entry, uint32_t hash, struct hc_place *place)
{
	uint8_t tag = hc_bucket_tag(hash);

	place->first = first;
	for (place->bucket = first; place->bucket != NULL; place->bucket = hc_bucket_more(place->bucket)) {
		for (unsigned match = hc_bucket_match(place->bucket, tag); match != 0; match &= match - 1) {
			place->at = (unsigned)__builtin_ctz(match);
			if (hc_bucket_entry(place->bucket, place->at) == entry)
				return true;
		}
	}
	return false;
}

struct hc_place
hc_table_place(const struct hc_table *table, const struct hc_entry *entry, uint32_t hash)
{
	struct hc_place place;
	bool holds = hc_table_holds(hc_table_bucket_of(table, hash), entry, hash, &place);

	assert(holds);
	(void)holds;
	return place;
}

/* When all are full, there must be a spare bucket. */
static void
put(struct hc_table *table, struct hc_bucket *bucket, uint8_t tag, const struct hc_entry *entry)
{
	unsigned places;

	while ((places = hc_bucket_free(bucket)) == 0) {
		struct hc_bucket *next = hc_bucket_more(bucket);
		bucket = next != NULL ? next : go_on(table, bucket);
	}
	hc_bucket_set(bucket, (unsigned)__builtin_ctz(places), tag, entry);
}

static bool
has_room(const struct hc_bucket *bucket)
{
	for (; bucket != NULL; bucket = hc_bucket_more(bucket)) {
		if (hc_bucket_free(bucket) != 0)
			return true;
	}
	return false;
}

enum hc_status
hc_table_insert(struct hc_table *table, const struct hc_place *place, const struct hc_entry *entry, uint32_t hash)
{
	if (__builtin_expect(hc_bucket_free(place->first) == 0, 0) && !has_room(place->first)) {
		/* One is for the next insertion, so that it takes two failures to be told of one. */
		if (!reserve_spare(table, 2) && table->nspare == 0)
			return HC_NOMEM;
	}
	put(table, place->first, hc_bucket_tag(hash), entry);
	table->count++;
	return HC_OK;
}

void
hc_table_clear(struct hc_table *table, struct hc_bucket *bucket, unsigned at)
{
	hc_bucket_clear(bucket, at);
	table->count--;
}

/* The last entry goes where there is room for it further in front, and so on. */
void
hc_table_tidy(struct hc_table *table, struct hc_bucket *first)
{
	while (first->more) {
		struct hc_bucket *before = first, *last, *next;
		while ((next = hc_bucket_more(last = hc_bucket_more(before))) != NULL)
			before = last;
		unsigned used = hc_bucket_used(last);
		if (used == 0) {
			before->more = 0;
			give_spare(table, last);
			continue;
		}
		unsigned at = (unsigned)__builtin_ctz(used);
		if ((used & (used - 1)) == 0) { /* one only: it takes the place of the link to it */
			before->more = 0;
			hc_bucket_set(before, HC_BUCKET_LINK, last->tags[at], hc_bucket_entry(last, at));
			give_spare(table, last);
			continue;
		}
		struct hc_bucket *roomy = first;
		while (roomy != last && hc_bucket_free(roomy) == 0)
			roomy = hc_bucket_more(roomy);
		if (roomy == last)
			return;
		hc_bucket_set(
		    roomy, (unsigned)__builtin_ctz(hc_bucket_free(roomy)), last->tags[at], hc_bucket_entry(last, at));
		hc_bucket_clear(last, at);
	}
}

void
hc_table_remove(struct hc_table *table, const struct hc_place *place)
{
	hc_table_clear(table, place->bucket, place->at);
	if (__builtin_expect(place->first->more, 0))
		hc_table_tidy(table, place->first);
}

size_t
hc_table_chain_len(const struct hc_bucket *bucket)
{
	size_t n = 0;

	for (; bucket != NULL; bucket = hc_bucket_more(bucket))
		n += (size_t)__builtin_popcount(hc_bucket_used(bucket));
	return n;
}

/* ---- growing and shrinking ---- */

/* Makes sure that the segment of the bucket exists. */
static bool
add_segment(struct hc_table *table, uint32_t index)
{
	if (index >> HC_TABLE_SEGMENT_BITS < table->nsegments)
		return true;
	if (table->nsegments == table->segments_cap) {
		uint32_t cap = table->segments_cap * 2;
		struct hc_bucket **segments = hc_realloc(table->segments, cap * sizeof(*segments));
		if (segments == NULL)
			return false;
		table->segments = segments;
		table->segments_cap = cap;
	}
	struct hc_bucket *segment = new_segment();
	if (segment == NULL)
		return false;
	table->segments[table->nsegments++] = segment;
	return true;
}

/*
 * What the next step will touch, and of what comes after it the buckets: they are all over memory,
 * and fetched while other things are done.
 */
static inline __attribute__((always_inline)) void
look_ahead(const struct hc_table *table, uint32_t group, unsigned n, int by)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t next = i * groups_of(table) + ((group + (uint32_t)by) & table->mask);
		uint32_t after = i * groups_of(table) + ((group + 2 * (uint32_t)by) & table->mask);
		if (after < table->buckets)
			__builtin_prefetch(hc_table_bucket(table, after));
		if (next < table->buckets)
			hc_bucket_prefetch_entries(hc_table_bucket(table, next));
	}
}

/* Moves what does not belong into the index's chain any more. There are spare buckets enough. */
static void
rehash_chain(struct hc_table *table, uint32_t index)
{
	struct hc_bucket *first = hc_table_bucket(table, index);

	for (struct hc_bucket *bucket = first; bucket != NULL; bucket = hc_bucket_more(bucket)) {
		for (unsigned used = hc_bucket_used(bucket); used != 0; used &= used - 1) {
			unsigned at = (unsigned)__builtin_ctz(used);
			struct hc_entry *entry = hc_bucket_entry(bucket, at);
			uint32_t to = hc_table_index(table, (uint32_t)hc_entry_hash(entry));
			if (to == index)
				continue;
			put(table, hc_table_bucket(table, to), bucket->tags[at], entry);
			hc_bucket_clear(bucket, at);
		}
	}
	hc_table_tidy(table, first);
}

/* Buckets behind others that moving the group's entries about may take at most, to be at hand before anything moves. */
static bool
reserve_group(struct hc_table *table, uint32_t group, unsigned n)
{
	size_t entries = 0;

	for (unsigned i = 0; i < n; i++)
		entries += hc_table_chain_len(hc_table_bucket(table, i * groups_of(table) + group));
	return reserve_spare(table, entries / (HC_BUCKET_PLACES - 1) + 1); /* and one for the next insertion */
}

static void
rehash_group(struct hc_table *table, uint32_t group, unsigned n)
{
	for (unsigned i = n; i-- > 0;)
		rehash_chain(table, i * groups_of(table) + group);
}

/* All groups have as many buckets: the next round begins, with twice as many groups when they had four. */
static void
end_round(struct hc_table *table)
{
	if (table->split == groups_of(table)) {
		table->split = 0;
		if (++table->wide == HC_TABLE_GROUP_MAX) {
			table->wide = 2;
			table->mask = 2 * table->mask + 1;
		}
	}
	count_buckets(table);
}

/* Back to where end_round() was. */
static void
reopen_round(struct hc_table *table)
{
	if (table->split > 0)
		return;
	if (table->wide-- == 2) {
		table->wide = HC_TABLE_GROUP_MAX - 1;
		table->mask >>= 1;
	}
	table->split = groups_of(table);
}

/* A bucket more for the next group. Returns false without memory. */
static bool
grow(struct hc_table *table)
{
	uint32_t group = table->split;
	unsigned n = table->wide;

	if (table->buckets == MAX_BUCKETS || !add_segment(table, table->buckets) || !reserve_group(table, group, n))
		return false;
	memset(hc_table_bucket(table, table->buckets), 0, sizeof(struct hc_bucket));
	table->split++;
	rehash_group(table, group, n);
	end_round(table);
	look_ahead(table, group, n, 1);
	return true;
}

/* The last bucket goes. Returns false without memory. */
static bool
shrink(struct hc_table *table)
{
	reopen_round(table);
	uint32_t group = table->split - 1;
	unsigned n = table->wide + 1;
	bool enough = reserve_group(table, group, n);

	if (enough) {
		table->split = group;
		rehash_group(table, group, n);
	}
	end_round(table);
	look_ahead(table, group, n, -1);
	return enough;
}

/* Takes the whole pages from a bucket on out of memory, up to `end`, in its segment or at the end of it. */
static void
purge(const struct hc_table *table, uint32_t from, uint32_t end)
{
	size_t page = hc_region_page();
	char *first = (char *)hc_table_bucket(table, from);
	char *last = first + (end - from) * sizeof(struct hc_bucket);

	hc_region_purge(first + (-(uintptr_t)first & (page - 1)), last);
}

/* Nothing is in it: all segments but the first, linked by their first words. */
static void *
start_anew(struct hc_table *table)
{
	void *segments = NULL;

	while (table->nsegments > 1) {
		struct hc_bucket *segment = table->segments[--table->nsegments];
		memcpy(segment, &segments, sizeof(segments));
		segments = segment;
	}
	table->mask = HC_TABLE_MIN_GROUPS - 1;
	table->wide = 2;
	table->split = 0;
	count_buckets(table);
	purge(table, table->buckets, HC_TABLE_SEGMENT);
	return segments;
}

/* The last bucket has gone. Returns its segment, when it was the last in it. */
static void *
trim(struct hc_table *table)
{
	size_t page = hc_region_page(), in_page = table->buckets * sizeof(struct hc_bucket) & (page - 1);

	if ((table->buckets & (HC_TABLE_SEGMENT - 1)) == 0) {
		struct hc_bucket *segment = table->segments[--table->nsegments];
		memset(segment, 0, sizeof(*segment));
		return segment;
	}
	if (in_page == 0)
		purge(table, table->buckets, table->buckets + (uint32_t)(page / sizeof(struct hc_bucket)));
	return NULL;
}

void *
hc_table_adapt(struct hc_table *table, unsigned steps)
{
	void *segments = NULL;

	if (table->count == 0 && table->nmore == 0 && steps > 0 && !hc_table_fits(table))
		return start_anew(table);
	for (; steps > 0 && segments == NULL && !hc_table_fits(table); steps--) {
		if (table->count > table->grow_above) {
			if (!grow(table))
				break;
		} else {
			if (!shrink(table))
				break;
			segments = trim(table);
		}
	}
	return segments;
}

/* ---- walking ---- */

unsigned
hc_table_group(const struct hc_table *table, uint64_t cursor, struct hc_bucket *buckets[HC_TABLE_GROUP_MAX])
{
	uint32_t group = (uint32_t)cursor & table->mask;
	unsigned n = table->wide + (group < table->split);

	for (unsigned i = 0; i < n; i++)
		buckets[i] = hc_table_bucket(table, i * groups_of(table) + group);
	return n;
}

static uint64_t
reverse(uint64_t v)
{
	v = ((v >> 1) & 0x5555555555555555) | ((v & 0x5555555555555555) << 1);
	v = ((v >> 2) & 0x3333333333333333) | ((v & 0x3333333333333333) << 2);
	v = ((v >> 4) & 0x0f0f0f0f0f0f0f0f) | ((v & 0x0f0f0f0f0f0f0f0f) << 4);
	return __builtin_bswap64(v);
}

uint64_t
hc_table_walk_next(const struct hc_table *table, uint64_t cursor)
{
	cursor |= ~(uint64_t)table->mask; /* so that the carry runs into the bits below */
	return reverse(reverse(cursor) + 1);
}

size_t
hc_table_bytes(const struct hc_table *table)
{
	size_t page = hc_region_page(), bytes = table->buckets * sizeof(struct hc_bucket);

	bytes = (bytes + page - 1) & ~(page - 1);
	return table->segments_cap * sizeof(*table->segments) + bytes +
	       (table->nspare + table->nmore) * sizeof(struct hc_bucket);
}
