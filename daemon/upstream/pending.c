/*
 * The FIFO of waiting commands. One thread: the link's. Owns its blocks, nothing that entries point
 * at.
 */
#include "upstream/pending.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

#define BLOCK_ENTRIES 126 /* with the pointer and malloc's header: a page */
#define SPARES_MAX 8

struct hc_pending_block {
	struct hc_pending_block *next;
	struct hc_pending_entry entries[BLOCK_ENTRIES];
};

static void
free_blocks(struct hc_pending_block *block)
{
	while (block != NULL) {
		struct hc_pending_block *next = block->next;

		hc_free(block);
		block = next;
	}
}

void
hc_pending_init(struct hc_pending *pending)
{
	memset(pending, 0, sizeof(*pending));
}

void
hc_pending_fini(struct hc_pending *pending)
{
	free_blocks(pending->head);
	free_blocks(pending->spare);
	hc_pending_init(pending);
}

static struct hc_pending_block *
get_block(struct hc_pending *pending)
{
	struct hc_pending_block *block = pending->spare;

	if (block == NULL)
		return hc_malloc(sizeof(*block));
	pending->spare = block->next;
	pending->spares--;
	return block;
}

static void
put_block(struct hc_pending *pending, struct hc_pending_block *block)
{
	if (pending->spares == SPARES_MAX) {
		hc_free(block);
		return;
	}
	block->next = pending->spare;
	pending->spare = block;
	pending->spares++;
}

enum hc_status
hc_pending_reserve(struct hc_pending *pending)
{
	struct hc_pending_block *block;

	if (pending->tail != NULL && pending->end < BLOCK_ENTRIES)
		return HC_OK;
	block = get_block(pending);
	if (block == NULL)
		return HC_NOMEM;
	block->next = NULL;
	if (pending->tail == NULL) {
		pending->head = block;
		pending->first = 0;
	} else {
		pending->tail->next = block;
	}
	pending->tail = block;
	pending->end = 0;
	return HC_OK;
}

void
hc_pending_push(struct hc_pending *pending, const struct hc_pending_entry *entry)
{
	assert(pending->tail != NULL && pending->end < BLOCK_ENTRIES);
	pending->tail->entries[pending->end++] = *entry;
	pending->count++;
}

struct hc_pending_entry *
hc_pending_head(const struct hc_pending *pending)
{
	return pending->count == 0 ? NULL : &pending->head->entries[pending->first];
}

bool
hc_pending_pop(struct hc_pending *pending, struct hc_pending_entry *out)
{
	struct hc_pending_block *block = pending->head;

	if (pending->count == 0)
		return false;
	*out = block->entries[pending->first++];
	pending->count--;
	if (pending->count == 0 && block == pending->tail) {
		/* Used again from its start: a queue that keeps running empty stays in one block.
		 */
		pending->first = pending->end = 0;
	} else if (pending->first == BLOCK_ENTRIES) {
		pending->head = block->next;
		pending->first = 0;
		put_block(pending, block);
	}
	return true;
}

void
hc_pending_take(struct hc_pending *from, struct hc_pending *to)
{
	struct hc_pending_block *spare = from->spare;
	uint32_t spares = from->spares;

	*to = *from;
	to->spare = NULL;
	to->spares = 0;
	hc_pending_init(from);
	from->spare = spare;
	from->spares = spares;
}
