/*
 * The hash table of a shard, by linear hashing. Called under the shard's lock only; owns the
 * segments.
 */
#include "base/mem.h"
#include "store/table.h"

#define MAX_MASK ((1u << 30) - 1)
#define DIRECTORY_MIN 4u

enum hc_status
hc_table_init(struct hc_table *table)
{
	struct hc_entry ***segments = hc_calloc(DIRECTORY_MIN, sizeof(*segments));
	if (segments == NULL)
		return HC_NOMEM;
	segments[0] = hc_calloc(HC_TABLE_SEGMENT, sizeof(**segments));
	if (segments[0] == NULL) {
		hc_free(segments);
		return HC_NOMEM;
	}
	*table = (struct hc_table){
	    .segments = segments,
	    .mask = HC_TABLE_MIN_SLOTS - 1,
	    .nsegments = 1,
	    .segments_cap = DIRECTORY_MIN,
	};
	return HC_OK;
}

void
hc_table_fini(struct hc_table *table)
{
	for (uint32_t i = 0; i < table->nsegments; i++)
		hc_free(table->segments[i]);
	hc_free(table->segments);
}

struct hc_entry **
hc_table_link(const struct hc_table *table, const struct hc_entry *entry)
{
	struct hc_entry **link = hc_table_slot(table, hc_table_index(table, hc_entry_hash(entry)));

	while (*link != entry)
		link = &(*link)->next;
	return link;
}

void
hc_table_insert(struct hc_table *table, struct hc_entry *entry, uint64_t hash)
{
	struct hc_entry **slot = hc_table_slot(table, hc_table_index(table, hash));

	entry->next = *slot;
	*slot = entry;
	table->count++;
}

void
hc_table_remove(struct hc_table *table, struct hc_entry **link)
{
	*link = (*link)->next;
	table->count--;
}

/* Makes sure that the segment of the slot exists. */
static bool
add_segment(struct hc_table *table, uint32_t index)
{
	if (index >> HC_TABLE_SEGMENT_BITS < table->nsegments)
		return true;
	if (table->nsegments == table->segments_cap) {
		uint32_t cap = table->segments_cap * 2;
		struct hc_entry ***segments = hc_realloc(table->segments, cap * sizeof(*segments));
		if (segments == NULL)
			return false;
		table->segments = segments;
		table->segments_cap = cap;
	}
	struct hc_entry **segment = hc_calloc(HC_TABLE_SEGMENT, sizeof(*segment));
	if (segment == NULL)
		return false;
	table->segments[table->nsegments++] = segment;
	return true;
}

/* Splits the next slot in two. */
static bool
grow(struct hc_table *table)
{
	uint32_t index = table->mask + 1 + table->split;

	if (table->mask >= MAX_MASK || !add_segment(table, index))
		return false;
	struct hc_entry **from = hc_table_slot(table, table->split);
	struct hc_entry **to = hc_table_slot(table, index);
	*to = NULL;
	while (*from != NULL) {
		struct hc_entry *entry = *from;
		if (((uint32_t)hc_entry_hash(entry) & (table->mask + 1)) == 0) {
			from = &entry->next;
			continue;
		}
		*from = entry->next;
		entry->next = *to;
		*to = entry;
	}
	if (++table->split > table->mask) {
		table->mask = 2 * table->mask + 1;
		table->split = 0;
	}
	return true;
}

/* Joins the last slot to the one it was split from. Returns the segment when it was the last slot
 * in it. */
static void *
shrink(struct hc_table *table)
{
	if (table->split == 0) {
		table->mask >>= 1;
		table->split = table->mask + 1;
	}
	uint32_t index = table->mask + table->split;
	struct hc_entry **to = hc_table_slot(table, --table->split);

	while (*to != NULL)
		to = &(*to)->next;
	*to = *hc_table_slot(table, index);
	if ((index & (HC_TABLE_SEGMENT - 1)) != 0)
		return NULL;
	return table->segments[--table->nsegments];
}

void *
hc_table_adapt(struct hc_table *table, unsigned steps)
{
	for (; steps > 0; steps--) {
		size_t slots = hc_table_slots(table);
		if (table->count > slots) {
			if (!grow(table))
				break;
		} else if (table->count < slots / 2 && slots > HC_TABLE_MIN_SLOTS) {
			void *segment = shrink(table);
			if (segment != NULL)
				return segment;
		} else {
			break;
		}
	}
	return NULL;
}

unsigned
hc_table_walk(const struct hc_table *table, uint64_t cursor, struct hc_entry **slots[2])
{
	uint32_t index = (uint32_t)cursor & table->mask;

	slots[0] = hc_table_slot(table, index);
	if (index >= table->split)
		return 1;
	slots[1] = hc_table_slot(table, index + table->mask + 1);
	return 2;
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
	size_t bytes = hc_mem_footprint(table->segments);

	for (uint32_t i = 0; i < table->nsegments; i++)
		bytes += hc_mem_footprint(table->segments[i]);
	return bytes;
}
