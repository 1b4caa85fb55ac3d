/*
 * The index of the log: linear hashing in 64 parts. Any thread; a part belongs to who has its lock.
 */
#include <assert.h>
#include "base/mem.h"
#include "file/index_private.h"

/* Items to a bucket: grown above 5/4, shrunk below 5/8. */
#define TOO_MANY(items, buckets) ((items)*4 > (uint64_t)(buckets)*5)
#define TOO_FEW(items, buckets) ((items)*8 < (uint64_t)(buckets)*5)

/* An array of chunks, all to be freed but the first `keep`; noted in the first one that is. */
struct hc_index_garbage {
	struct hc_index_garbage *next;
	void **chunks;
	size_t chunk_bytes;
	uint32_t keep;
	uint32_t n;
};

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

void
hc_index_merge(struct hc_index_part *part)
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

bool
hc_index_is_sparse(const struct hc_index_part *part)
{
	return part->buckets > HEADS && TOO_FEW((uint64_t)part->items, part->buckets);
}

void
hc_index_settle(struct hc_index_part *part)
{
	if (TOO_MANY((uint64_t)part->items, part->buckets))
		split(part);
	else if (hc_index_is_sparse(part))
		hc_index_merge(part);
}

void
hc_index_take_out(struct hc_index_part *part, void *link)
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
	part->puts++;
	if (item->expire_ms > part->latest_ms)
		part->latest_ms = item->expire_ms;
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
	hc_index_settle(part);
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
	hc_index_take_out(part, link);
	hc_index_settle(part);
	hc_index_settle(part); /* one item less may be more than one bucket less */
	return true;
}

/* ---- all of them ---- */

static void
empty_chunk(struct hc_index_part *part)
{
	for (uint32_t i = 0; i < HEADS; i++)
		part->heads[0][i] = end_of(i);
	part->items = 0;
	part->latest_ms = INT64_MIN;
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
hc_index_clear_part(struct hc_index_part *part, struct hc_index_garbage **garbage)
{
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

void
hc_index_clear(struct hc_index *index, struct hc_index_garbage **garbage)
{
	for (uint32_t i = 0; i < HC_INDEX_PARTS; i++)
		hc_index_clear_part(&index->parts[i], garbage);
}

static void
free_one_by_one(struct hc_index_garbage *garbage)
{
	while (garbage != NULL) {
		struct hc_index_garbage note = *garbage;
		for (uint32_t i = note.keep; i < note.n; i++)
			hc_mem_give_pages(note.chunks[i], note.chunk_bytes);
		hc_free(note.chunks);
		garbage = note.next;
	}
}

/* Chunks of different parts lie next to each other. */
void
hc_index_free_garbage(struct hc_index_garbage *garbage)
{
	size_t n = 0;

	for (const struct hc_index_garbage *note = garbage; note != NULL; note = note->next)
		n += note->n - note->keep;
	struct hc_mem_pages *many = n > 0 ? hc_calloc(n, sizeof(*many)) : NULL;
	if (many == NULL) {
		free_one_by_one(garbage);
		return;
	}
	n = 0;
	for (; garbage != NULL; garbage = garbage->next) {
		for (uint32_t i = garbage->keep; i < garbage->n; i++)
			many[n++] = (struct hc_mem_pages){garbage->chunks[i], garbage->chunk_bytes};
		hc_free(garbage->chunks);
	}
	hc_mem_give_many_pages(many, n);
	hc_free(many);
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
	uint64_t arrays = part->item_room * sizeof(*part->pool) +
			  (part->heads == part->one ? 0 : part->bucket_room * sizeof(*part->heads));
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
