/*
 * The index of the log: linear hashing in 64 parts. Any thread; a part belongs to who has its lock.
 *
 * A bucket holds the number of its first item, an item that of the next. The last one says, instead, in which of the
 * first 1024 buckets the chain began: so an item's whole hash can be told from anywhere in the chain, although the
 * bits that chose the bucket are not stored, and the last item of a part can be moved into a hole.
 */
#include <assert.h>
#include <endian.h>
#include <string.h>
#include "base/clock.h"
#include "base/lock.h"
#include "base/mem.h"
#include "file/index.h"

#define PART_BITS 6
#define HEADS_BITS 10
#define HEADS (1u << HEADS_BITS) /* buckets in a chunk; and of a part at least */
#define HEADS_BYTES (HEADS * sizeof(uint32_t))
#define ITEMS_BITS 11
#define ITEMS (1u << ITEMS_BITS) /* items in a chunk */
#define ITEMS_BYTES (ITEMS * sizeof(struct packed))
#define PAGE 4096u
#define END 0x80000000u          /* in a link: the chain is over; the lowest 10 bits say where it began */
#define CURSOR_BITS 32

/* Items to a bucket: grown above 5/4, shrunk below 5/8. */
#define TOO_MANY(items, buckets) ((items)*4 > (uint64_t)(buckets)*5)
#define TOO_FEW(items, buckets) ((items)*8 < (uint64_t)(buckets)*5)

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
	uint32_t touched; /* of the chunks there are, the items that were ever in use: what is behind is not in memory */
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

/* An array of chunks, all to be freed but the first `keep`; noted in the first one that is. */
struct hc_index_garbage {
	struct hc_index_garbage *next;
	void **chunks;
	size_t chunk_bytes;
	uint32_t keep;
	uint32_t n;
};

/* ---- coding ---- */

static uint64_t
load48(const uint8_t *at)
{
	uint64_t value = 0;

	memcpy(&value, at, 6);
	return le64toh(value) & NEVER;
}

static void
store48(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, 6);
}

static uint64_t
pack_place(const struct hc_index_item *item)
{
	uint64_t length = (item->bytes + 15) / 16;

	if (length > LENGTH_MASK)
		length = (item->bytes + 255) / 256 | LENGTH_COARSE;
	return (item->place & PLACE_MASK) | length << LENGTH_SHIFT | (uint64_t)item->hot << HOT_SHIFT |
	       (uint64_t)item->kind << KIND_SHIFT;
}

static uint32_t
unpack_bytes(uint64_t place)
{
	uint32_t length = (uint32_t)(place >> LENGTH_SHIFT);
	uint32_t units = length & LENGTH_MASK;

	return (length & LENGTH_COARSE) != 0 ? units * 256 : units * 16;
}

static void
pack(struct packed *slot, const struct hc_index_item *item)
{
	bool never = item->expire_ms >= (int64_t)NEVER;

	slot->group = item->group;
	slot->place = pack_place(item);
	store48(slot->hash, item->hash >> 16);
	store48(slot->expire, never ? NEVER : item->expire_ms < 0 ? 0 : (uint64_t)item->expire_ms);
}

static void
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

static struct packed *
item_at(const struct hc_index_part *part, uint32_t number)
{
	return &part->pool[number >> ITEMS_BITS][number & (ITEMS - 1)];
}

static uint32_t
bucket_of(const struct hc_index_part *part, uint64_t hash)
{
	uint32_t bits = (uint32_t)(hash >> PART_BITS);
	uint32_t bucket = bits & (2 * part->low - 1);

	return bucket < part->buckets ? bucket : bucket - part->low;
}

static uint32_t *
head_of(const struct hc_index_part *part, uint32_t bucket)
{
	return &part->heads[bucket >> HEADS_BITS][bucket & (HEADS - 1)];
}

static uint32_t
end_of(uint32_t bucket)
{
	return END | (bucket & (HEADS - 1));
}

/* A link lies in an item or a head: it is not aligned. */
static uint32_t
link_get(const void *link)
{
	uint32_t number;

	memcpy(&number, link, sizeof(number));
	return number;
}

static void
link_set(void *link, uint32_t number)
{
	memcpy(link, &number, sizeof(number));
}

static uint64_t
whole_hash(const struct hc_index_part *part, const struct packed *slot, uint32_t begin)
{
	return load48(slot->hash) << 16 | (uint64_t)(begin & (HEADS - 1)) << PART_BITS | part->number;
}

/* The link to the item of that hash, or to the end of the chain where it would be. */
static void *
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
static void *
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

/* ---- growing and shrinking ---- */

/* Room for one more pointer in an array of chunks: `array` itself, or a larger copy, with `array` freed unless it is
 * `fixed`. NULL: no memory. */
static void *
grow_array(void *array, uint32_t used, uint32_t *room, const void *fixed)
{
	uint32_t more = *room < 4 ? 4 : *room * 2;
	void **grown;

	if (used < *room)
		return array;
	grown = hc_realloc(array == fixed ? NULL : array, more * sizeof(*grown));
	if (grown == NULL)
		return NULL;
	if (array == fixed && used > 0)
		memcpy(grown, array, used * sizeof(*grown));
	*room = more;
	return grown;
}

static bool
add_heads(struct hc_index_part *part)
{
	uint32_t **heads = grow_array(part->heads, part->bucket_chunks, &part->bucket_room, part->one);
	uint32_t *chunk;

	if (heads == NULL)
		return false;
	part->heads = heads;
	chunk = hc_mem_take_pages(HEADS_BYTES);
	if (chunk == NULL)
		return false;
	part->heads[part->bucket_chunks++] = chunk;
	return true;
}

static bool
add_items(struct hc_index_part *part)
{
	struct packed **pool = grow_array(part->pool, part->item_chunks, &part->item_room, NULL);
	struct packed *chunk;

	if (pool == NULL)
		return false;
	part->pool = pool;
	chunk = hc_mem_take_pages(ITEMS_BYTES);
	if (chunk == NULL)
		return false;
	part->pool[part->item_chunks++] = chunk;
	return true;
}

static void
drop_heads(struct hc_index_part *part)
{
	hc_mem_give_pages(part->heads[--part->bucket_chunks], HEADS_BYTES);
}

static void
drop_items(struct hc_index_part *part)
{
	hc_mem_give_pages(part->pool[--part->item_chunks], ITEMS_BYTES);
	if (part->touched > part->item_chunks << ITEMS_BITS)
		part->touched = part->item_chunks << ITEMS_BITS;
}

/* One bucket more: the items of its lower half that belong there move over. Without memory: later. */
static void
split(struct hc_index_part *part)
{
	uint32_t fresh = part->buckets;
	uint32_t old = fresh - part->low;

	if (fresh >= END / 2 || (fresh >> HEADS_BITS == part->bucket_chunks && !add_heads(part)))
		return;
	void *stay = head_of(part, old), *move = head_of(part, fresh);
	uint32_t number = link_get(stay);
	part->buckets++;
	if (part->buckets == 2 * part->low)
		part->low *= 2;
	while ((number & END) == 0) {
		struct packed *slot = item_at(part, number);
		void **to = bucket_of(part, whole_hash(part, slot, old)) == fresh ? &move : &stay;
		link_set(*to, number);
		*to = &slot->next;
		number = link_get(&slot->next);
	}
	link_set(stay, end_of(old));
	link_set(move, end_of(fresh));
}

/* The last bucket goes; its items move to the one they once came from. */
static void
merge(struct hc_index_part *part)
{
	uint32_t last = part->buckets - 1;
	uint32_t number = link_get(head_of(part, last));

	if (last < part->low)
		part->low /= 2;
	part->buckets = last;
	void *link = head_of(part, last - part->low);
	while ((link_get(link) & END) == 0)
		link = &item_at(part, link_get(link))->next;
	if ((number & END) == 0)
		link_set(link, number);
	/* A chunk is kept in hand, so that one at the border is not made and freed in turns. */
	if (part->bucket_chunks > (last >> HEADS_BITS) + 2)
		drop_heads(part);
}

static void
settle(struct hc_index_part *part)
{
	if (TOO_MANY((uint64_t)part->items, part->buckets))
		split(part);
	else if (part->buckets > HEADS && TOO_FEW((uint64_t)part->items, part->buckets))
		merge(part);
}

/* Takes the item that `link` leads to out of its chain, and the last one of the pool into its place. */
static void
take_out(struct hc_index_part *part, void *link)
{
	uint32_t number = link_get(link);
	uint32_t last = part->items - 1;

	link_set(link, link_get(&item_at(part, number)->next));
	if (number != last) {
		link_set(link_to(part, last), number);
		*item_at(part, number) = *item_at(part, last);
	}
	part->items = last;
	if (part->item_chunks > (last >> ITEMS_BITS) + 2)
		drop_items(part);
}

/* ---- one item ---- */

struct hc_index_part *
hc_index_lock(struct hc_index *index, uint64_t hash)
{
	struct hc_index_part *part = &index->parts[hash & (HC_INDEX_PARTS - 1)];

	hc_lock_acquire(&part->lock);
	return part;
}

void
hc_index_unlock(struct hc_index_part *part)
{
	hc_lock_release(&part->lock);
}

enum hc_status
hc_index_reserve(struct hc_index_part *part)
{
	if (part->items >> ITEMS_BITS < part->item_chunks)
		return HC_OK;
	return part->items < END / 2 && add_items(part) ? HC_OK : HC_NOMEM;
}

bool
hc_index_find(const struct hc_index_part *part, uint64_t hash, struct hc_index_item *out)
{
	uint32_t number = link_get(seek(part, hash));

	if ((number & END) != 0)
		return false;
	unpack(item_at(part, number), hash, out);
	return true;
}

bool
hc_index_put(struct hc_index_part *part, const struct hc_index_item *item, struct hc_index_item *old)
{
	void *link = seek(part, item->hash);
	uint32_t number = link_get(link);

	assert(item->bytes <= HC_INDEX_BYTES_MAX && item->hot <= HC_INDEX_HOT_MAX);
	if ((number & END) == 0) {
		unpack(item_at(part, number), item->hash, old);
		pack(item_at(part, number), item);
		return true;
	}
	assert(part->items >> ITEMS_BITS < part->item_chunks);
	struct packed *slot = item_at(part, part->items);
	pack(slot, item);
	slot->next = number;
	link_set(link, part->items++);
	if (part->items > part->touched)
		part->touched = part->items;
	settle(part);
	return false;
}

bool
hc_index_remove(struct hc_index_part *part, uint64_t hash, struct hc_index_item *old)
{
	void *link = seek(part, hash);
	uint32_t number = link_get(link);

	if ((number & END) != 0)
		return false;
	unpack(item_at(part, number), hash, old);
	take_out(part, link);
	settle(part);
	settle(part); /* one item less may be more than one bucket less */
	return true;
}

/* ---- all of them ---- */

static void
empty_chunk(struct hc_index_part *part)
{
	for (uint32_t i = 0; i < HEADS; i++)
		part->heads[0][i] = end_of(i);
	part->items = 0;
	part->buckets = part->low = HEADS;
}

enum hc_status
hc_index_create(struct hc_index **out)
{
	struct hc_index *index = hc_calloc_aligned(_Alignof(struct hc_index_part), sizeof(*index));

	if (index == NULL)
		return HC_NOMEM;
	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++) {
		index->parts[i].number = i;
		index->parts[i].heads = index->parts[i].one;
		index->parts[i].bucket_room = 1;
	}
	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++) {
		if (!add_heads(&index->parts[i])) {
			hc_index_destroy(index);
			return HC_NOMEM;
		}
		empty_chunk(&index->parts[i]);
	}
	*out = index;
	return HC_OK;
}

void
hc_index_destroy(struct hc_index *index)
{
	if (index == NULL)
		return;
	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++) {
		struct hc_index_part *part = &index->parts[i];
		while (part->bucket_chunks > 0)
			drop_heads(part);
		while (part->item_chunks > 0)
			drop_items(part);
		if (part->heads != part->one)
			hc_free(part->heads);
		hc_free(part->pool);
	}
	hc_free(index);
}

void
hc_index_lock_all(struct hc_index *index)
{
	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++)
		hc_lock_acquire(&index->parts[i].lock);
}

void
hc_index_unlock_all(struct hc_index *index)
{
	for (uint32_t i = HC_INDEX_PARTS; i-- > 0;)
		hc_lock_release(&index->parts[i].lock);
}

/* The array of chunks becomes garbage, without being walked. A chunk is larger than the note. */
static void
discard(void **chunks, size_t chunk_bytes, uint32_t keep, uint32_t n, struct hc_index_garbage **garbage)
{
	struct hc_index_garbage *note = chunks[keep];

	*note = (struct hc_index_garbage){*garbage, chunks, chunk_bytes, keep, n};
	*garbage = note;
}

void
hc_index_clear(struct hc_index *index, struct hc_index_garbage **garbage)
{
	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++) {
		struct hc_index_part *part = &index->parts[i];
		if (part->bucket_chunks > 1) {
			part->one[0] = part->heads[0];
			discard((void **)part->heads, HEADS_BYTES, 1, part->bucket_chunks, garbage);
			part->heads = part->one;
			part->bucket_chunks = part->bucket_room = 1;
		}
		if (part->item_chunks > 0) {
			discard((void **)part->pool, ITEMS_BYTES, 0, part->item_chunks, garbage);
			part->pool = NULL;
			part->item_chunks = part->item_room = part->touched = 0;
		}
		empty_chunk(part);
	}
}

void
hc_index_free_garbage(struct hc_index_garbage *garbage)
{
	while (garbage != NULL) {
		struct hc_index_garbage note = *garbage;
		for (uint32_t i = note.keep; i < note.n; i++)
			hc_mem_give_pages(note.chunks[i], note.chunk_bytes);
		hc_free(note.chunks);
		garbage = note.next;
	}
}

/* ---- walking: in the order of the reversed bits that choose a bucket, in which a split only halves an interval ----
 */

static uint32_t
reverse(uint32_t bits)
{
	bits = (bits >> 1 & 0x55555555) | (bits & 0x55555555) << 1;
	bits = (bits >> 2 & 0x33333333) | (bits & 0x33333333) << 2;
	bits = (bits >> 4 & 0x0f0f0f0f) | (bits & 0x0f0f0f0f) << 4;
	return __builtin_bswap32(bits);
}

/* The bucket that has that place in the order; *width: how many of its bits chose it. */
static uint32_t
bucket_in_order(const struct hc_index_part *part, uint32_t place, uint32_t *width)
{
	uint32_t bits = (uint32_t)__builtin_ctz(part->low);
	uint32_t bucket = reverse(place) & (2 * part->low - 1);

	if (bucket >= part->buckets)
		bucket -= part->low;
	*width = bucket >= part->low || bucket + part->low < part->buckets ? bits + 1 : bits;
	return bucket;
}

static void
walk_bucket(struct hc_index_part *part, uint32_t bucket, hc_index_look_fn *fn, void *arg)
{
	void *link = head_of(part, bucket);
	uint32_t number;

	while (((number = link_get(link)) & END) == 0) {
		struct packed *slot = item_at(part, number);
		struct hc_index_item item;
		unpack(slot, whole_hash(part, slot, bucket), &item);
		if (fn(arg, &item) == HC_INDEX_KEEP) {
			link = &slot->next;
		} else {
			/* What moves into the hole may be what led here: begin again. */
			take_out(part, link);
			link = head_of(part, bucket);
		}
	}
}

void
hc_index_walk(struct hc_index *index, uint64_t *cursor, hc_index_look_fn *fn, void *arg)
{
	uint32_t number = (uint32_t)(*cursor >> CURSOR_BITS) & (HC_INDEX_PARTS - 1);
	struct hc_index_part *part = &index->parts[number];
	uint32_t width, items, place = (uint32_t)*cursor;

	hc_lock_acquire(&part->lock);
	items = part->items;
	uint32_t bucket = bucket_in_order(part, place, &width);
	walk_bucket(part, bucket, fn, arg);
	for (uint32_t n = 2 * (items - part->items); n > 0; n--)
		settle(part);
	hc_lock_release(&part->lock);

	uint64_t interval = (uint64_t)1 << (CURSOR_BITS - width);
	uint64_t next = (place & ~(interval - 1)) + interval;
	if (next >> CURSOR_BITS != 0) {
		number++;
		next = 0;
	}
	*cursor = number == HC_INDEX_PARTS ? 0 : (uint64_t)number << CURSOR_BITS | next;
}

/* ---- sweeping: a part's items from the last to the first, so that what goes leaves no hole to be filled ---- */

#define SETTLING UINT32_MAX /* in place of a number in a cursor: the items were seen, the buckets become as few */

#define AHEAD 8 /* items by which what the next ones' chains lead to is fetched */

/* What link_to() will want: of items further ahead the next in their chain, of nearer ones the head of it. */
static inline __attribute__((always_inline)) void
look_ahead(const struct hc_index_part *part, uint32_t number)
{
	if (number < 2 * AHEAD)
		return;
	uint32_t far = item_at(part, number - 2 * AHEAD)->next, at = number - AHEAD;
	if ((far & END) == 0)
		__builtin_prefetch(item_at(part, far));
	const struct packed *near = item_at(part, at);
	while ((at & END) == 0)
		at = link_get(&item_at(part, at)->next);
	__builtin_prefetch(head_of(part, bucket_of(part, whole_hash(part, near, at))));
}

/* Under the lock. Returns the number of the item to go on below; 0: they were all seen. */
static uint32_t
sweep_items(struct hc_index_part *part, uint32_t number, unsigned n, hc_index_look_fn *look, void *arg)
{
	for (; n > 0 && number > 0; n--) {
		struct hc_index_item item;
		look_ahead(part, number);
		unpack(item_at(part, --number), 0, &item);
		if (look(arg, &item) == HC_INDEX_REMOVE)
			take_out(part, link_to(part, number));
	}
	return number;
}

/* Under the lock. True: it is done. */
static bool
settle_some(struct hc_index_part *part, unsigned n)
{
	while (n > 0 && part->buckets > HEADS && TOO_FEW((uint64_t)part->items, part->buckets)) {
		merge(part);
		n--;
	}
	return n > 0;
}

void
hc_index_sweep(struct hc_index *index, uint64_t *cursor, unsigned n, hc_index_look_fn *look, void *arg)
{
	uint32_t at = (uint32_t)(*cursor >> CURSOR_BITS) & (HC_INDEX_PARTS - 1), number = (uint32_t)*cursor;
	struct hc_index_part *part = &index->parts[at];

	hc_lock_acquire(&part->lock);
	if (number != SETTLING) {
		if (number == 0 || number > part->items)
			number = part->items;
		number = sweep_items(part, number, n, look, arg);
		number = number == 0 ? SETTLING : number;
	} else if (settle_some(part, n)) {
		number = 0;
		at++;
	}
	hc_lock_release(&part->lock);
	*cursor = at == HC_INDEX_PARTS ? 0 : (uint64_t)at << CURSOR_BITS | number;
}

uint64_t
hc_index_count(struct hc_index *index)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++) {
		hc_lock_acquire(&index->parts[i].lock);
		n += index->parts[i].items;
		hc_lock_release(&index->parts[i].lock);
	}
	return n;
}

static void
trim_part(struct hc_index_part *part)
{
	while (part->item_chunks > (part->items + ITEMS - 1) >> ITEMS_BITS)
		drop_items(part);
	while (part->bucket_chunks > (part->buckets + HEADS - 1) >> HEADS_BITS)
		drop_heads(part);
	if (part->touched > part->items) {
		uint32_t last = part->item_chunks - 1;
		size_t used = (part->items - (last << ITEMS_BITS)) * sizeof(struct packed);
		hc_mem_purge_pages(part->pool[last], used, ITEMS_BYTES);
		part->touched = part->items;
	}
}

void
hc_index_trim(struct hc_index *index)
{
	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++) {
		hc_lock_acquire(&index->parts[i].lock);
		trim_part(&index->parts[i]);
		hc_lock_release(&index->parts[i].lock);
	}
}

static uint64_t
part_bytes(const struct hc_index_part *part)
{
	uint64_t arrays = hc_mem_footprint(part->pool) + (part->heads == part->one ? 0 : hc_mem_footprint(part->heads));

	uint64_t items = (uint64_t)part->touched * sizeof(struct packed);

	return arrays + part->bucket_chunks * HEADS_BYTES + (items + PAGE - 1) / PAGE * PAGE;
}

uint64_t
hc_index_bytes(struct hc_index *index)
{
	uint64_t n = hc_mem_footprint(index);

	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++) {
		hc_lock_acquire(&index->parts[i].lock);
		n += part_bytes(&index->parts[i]);
		hc_lock_release(&index->parts[i].lock);
	}
	return n;
}
