/*
 * The inside of the index, for index.c and index_walk.c only: its parts, and how items are coded and chained. All under
 * the part's lock.
 *
 * A bucket holds the number of its first item, an item that of the next. The last one says, instead, in which of the
 * first 1024 buckets the chain began: so an item's whole hash can be told from anywhere in the chain, although the
 * bits that chose the bucket are not stored, and the last item of a part can be moved into a hole.
 */
#ifndef HC_FILE_INDEX_PRIVATE_H
#define HC_FILE_INDEX_PRIVATE_H

#include <endian.h>
#include <string.h>
#include "base/clock.h"
#include "base/lock.h"
#include "file/index.h"

#define PART_BITS 6
#define HEADS_BITS 10
#define HEADS (1u << HEADS_BITS) /* buckets in a chunk; and of a part at least */
#define HEADS_BYTES (HEADS * sizeof(uint32_t))
#define ITEMS_BITS 11
#define ITEMS (1u << ITEMS_BITS) /* items in a chunk */
#define ITEMS_BYTES (ITEMS * sizeof(struct packed))
#define PAGE 4096u
#define END 0x80000000u /* in a link: the chain is over; the lowest 10 bits say where it began */

/*
 * place: 38 bits of place, 18 of length, 2 of heat, 2 of kind, from the lowest. A length is in units of 16, or, with
 * its highest bit, of 256.
 */
struct packed {
	uint32_t next;
	uint16_t group;
	uint64_t place;
	uint8_t hash[6];
	uint8_t expire[6];
} __attribute__((packed));

_Static_assert(sizeof(struct packed) == 26, "an item takes 26 bytes");
_Static_assert(ITEMS_BYTES % PAGE == 0 && HEADS_BYTES % PAGE == 0, "a chunk takes whole pages");

#define LENGTH_SHIFT HC_INDEX_PLACE_BITS
#define LENGTH_MASK 0x1ffffu
#define LENGTH_COARSE 0x20000u
#define HOT_SHIFT (LENGTH_SHIFT + 18)
#define KIND_SHIFT (HOT_SHIFT + 2)
#define PLACE_MASK (((uint64_t)1 << HC_INDEX_PLACE_BITS) - 1)
#define NEVER (((uint64_t)1 << 48) - 1)

struct hc_index_part {
	struct hc_lock lock; /* all below */
	uint32_t number;
	uint32_t items;
	uint32_t puts;         /* so far: while it stands still, nothing comes to life */
	uint32_t puts_checked; /* the sweep's: what it was when that began to look whether all are dead */
	int64_t latest_ms;     /* no item expires later */
	uint32_t
	    touched; /* of the chunks there are, the items that were ever in use: what is behind is not in memory */
	uint32_t buckets;
	uint32_t low; /* the power of two not above `buckets` */
	uint32_t bucket_chunks;
	uint32_t bucket_room; /* of the array */
	uint32_t item_chunks;
	uint32_t item_room;
	uint32_t **heads; /* chunks; at first `one`, for the chunk that is always there */
	uint32_t *one[1];
	struct packed **pool; /* chunks; pages of their own, so that memory is back as they are given up */
} __attribute__((aligned(64)));

struct hc_index {
	struct hc_index_part parts[HC_INDEX_PARTS];
};

/* ---- coding ---- */

static inline uint64_t
load48(const uint8_t *at)
{
	uint64_t value = 0;

	memcpy(&value, at, 6);
	return le64toh(value) & NEVER;
}

static inline void
store48(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, 6);
}

static inline uint64_t
pack_place(const struct hc_index_item *item)
{
	uint64_t length = (item->bytes + 15) / 16;

	if (length > LENGTH_MASK)
		length = (item->bytes + 255) / 256 | LENGTH_COARSE;
	return (item->place & PLACE_MASK) | length << LENGTH_SHIFT | (uint64_t)item->hot << HOT_SHIFT |
	       (uint64_t)item->kind << KIND_SHIFT;
}

static inline uint32_t
unpack_bytes(uint64_t place)
{
	uint32_t length = (uint32_t)(place >> LENGTH_SHIFT);
	uint32_t units = length & LENGTH_MASK;

	return (length & LENGTH_COARSE) != 0 ? units * 256 : units * 16;
}

static inline void
pack(struct packed *slot, const struct hc_index_item *item)
{
	bool never = item->expire_ms >= (int64_t)NEVER;

	slot->group = item->group;
	slot->place = pack_place(item);
	store48(slot->hash, item->hash >> 16);
	store48(slot->expire, never ? NEVER : item->expire_ms < 0 ? 0 : (uint64_t)item->expire_ms);
}

static inline void
unpack(const struct packed *slot, uint64_t hash, struct hc_index_item *out)
{
	uint64_t expire = load48(slot->expire);

	*out = (struct hc_index_item){
	    .hash = hash,
	    .place = slot->place & PLACE_MASK,
	    .bytes = unpack_bytes(slot->place),
	    .expire_ms = expire == NEVER ? HC_NO_EXPIRY : (int64_t)expire,
	    .group = slot->group,
	    .hot = slot->place >> HOT_SHIFT & 3,
	    .kind = (enum hc_index_kind)(slot->place >> KIND_SHIFT & 3),
	};
}

/* ---- buckets and chains ---- */

static inline struct packed *
item_at(const struct hc_index_part *part, uint32_t number)
{
	return &part->pool[number >> ITEMS_BITS][number & (ITEMS - 1)];
}

static inline uint32_t
bucket_of(const struct hc_index_part *part, uint64_t hash)
{
	uint32_t bits = (uint32_t)(hash >> PART_BITS);
	uint32_t bucket = bits & (2 * part->low - 1);

	return bucket < part->buckets ? bucket : bucket - part->low;
}

static inline uint32_t *
head_of(const struct hc_index_part *part, uint32_t bucket)
{
	return &part->heads[bucket >> HEADS_BITS][bucket & (HEADS - 1)];
}

static inline uint32_t
end_of(uint32_t bucket)
{
	return END | (bucket & (HEADS - 1));
}

/* A link lies in an item or a head: it is not aligned. */
static inline uint32_t
link_get(const void *link)
{
	uint32_t number;

	memcpy(&number, link, sizeof(number));
	return number;
}

static inline void
link_set(void *link, uint32_t number)
{
	memcpy(link, &number, sizeof(number));
}

static inline uint64_t
whole_hash(const struct hc_index_part *part, const struct packed *slot, uint32_t begin)
{
	return load48(slot->hash) << 16 | (uint64_t)(begin & (HEADS - 1)) << PART_BITS | part->number;
}

/* The link to the item of that hash, or to the end of the chain where it would be. */
static inline void *
seek(const struct hc_index_part *part, uint64_t hash)
{
	void *link = head_of(part, bucket_of(part, hash));
	uint32_t number;

	while (((number = link_get(link)) & END) == 0) {
		struct packed *slot = item_at(part, number);
		if (load48(slot->hash) == hash >> 16)
			break;
		link = &slot->next;
	}
	return link;
}

/* The link to that item, told by its place in the pool. */
static inline void *
link_to(const struct hc_index_part *part, uint32_t number)
{
	const struct packed *slot = item_at(part, number);
	uint32_t at = number;

	while ((at & END) == 0)
		at = link_get(&item_at(part, at)->next);
	void *link = head_of(part, bucket_of(part, whole_hash(part, slot, at)));
	while ((at = link_get(link)) != number)
		link = &item_at(part, at)->next;
	return link;
}

/* ---- index.c ---- */

/* Takes the item that `link` leads to out of its chain, and the last one of the pool into its place. */
void hc_index_take_out(struct hc_index_part *part, void *link);
/* The part is empty then; as hc_index_clear(). */
void hc_index_clear_part(struct hc_index_part *part, struct hc_index_garbage **garbage);
/* After an item has come or gone: one bucket more or less, when need be. */
void hc_index_settle(struct hc_index_part *part);
/* Fewer items than the buckets are for. */
bool hc_index_is_sparse(const struct hc_index_part *part);
/* The last bucket goes; its items move to the one they once came from. */
void hc_index_merge(struct hc_index_part *part);

#endif
