/*
 * What the tests of store/slab.h share: blocks that know their bytes, and a compaction that moves them.
 */
#ifndef HC_TESTS_STORE_SLAB_BLOCKS_H
#define HC_TESTS_STORE_SLAB_BLOCKS_H

#include <pthread.h>
#include "support.h"
#include "store/slab.h"

#define BLOCKS 3000

static const size_t some_sizes[] = {64, 112, 700, 4200, 9000, 20500, 65600, 100000};
#define SOME_SIZES ((int)(sizeof(some_sizes) / sizeof(some_sizes[0])))

/* A block as the tests have it. The slabs see `word` only, and 0 there once it is freed. */
struct content {
	void *next;
	_Atomic uint64_t word; /* 0 not in use; 1 in use; 2 in use, and pinned by compaction; 3 not to be moved */
	uint32_t at;           /* in blocks[] */
	uint32_t fill;         /* what all bytes behind are */
	unsigned char bytes[];
};

struct block {
	struct content *content;
	size_t size;
};

static struct block blocks[BLOCKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of `content` in blocks[], as a shard's for its table */

static inline void
set_up(void)
{
	hc_slab_use_slabs(true);
}

/* Small ones mostly, as in life; all classes. */
static inline size_t
draw_size(struct rng *rng)
{
	size_t size = (size_t)48 << rng_below(rng, 12);

	return size + rng_below(rng, (uint32_t)size) / 2;
}

/* For blocks[at]; not to be moved yet. */
static inline struct block
prepare(unsigned at, size_t size, uint32_t fill)
{
	struct content *content = hc_slab_alloc(size);

	must(content != NULL);
	must((uintptr_t)content % HC_SLAB_ALIGN == 0);
	must(size > HC_SLAB_BLOCK_MAX || atomic_load(&content->word) == 0);
	must(hc_slab_footprint(content, size) >= size);
	must(size > HC_SLAB_BLOCK_MAX - 100 ||
	     hc_slab_footprint(content, size) <= (size < 32 ? 32 : size + size / 32 + HC_SLAB_ALIGN));
	content->at = at;
	content->fill = fill;
	memset(content->bytes, (unsigned char)fill, size - sizeof(*content));
	atomic_store(&content->word, 3);
	return (struct block){content, size};
}

static inline void
make(struct block *block, size_t size, uint32_t fill)
{
	*block = prepare((unsigned)(block - blocks), size, fill);
	atomic_store(&block->content->word, 1);
}

static inline void
check_block(const struct block *block)
{
	const struct content *content = block->content;
	size_t len = block->size - sizeof(*content);

	must(content->at == block - blocks);
	must(len == 0 || (content->bytes[0] == (unsigned char)content->fill &&
			     memcmp(content->bytes, content->bytes + 1, len - 1) == 0));
}

static inline void
drop(struct block *block)
{
	if (block->content == NULL)
		return;
	check_block(block);
	atomic_store(&block->content->word, 0);
	hc_slab_free(block->content, block->size);
	block->content = NULL;
}

static inline void
drop_all(void)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		drop(&blocks[i]);
}

static inline uint64_t
live(void)
{
	struct hc_slab_usage usage;

	hc_slab_usage(&usage);
	must(usage.resident >= usage.live && usage.resident - usage.live >= usage.holes);
	return usage.live;
}

static inline uint64_t
footprints(void)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < BLOCKS; i++) {
		if (blocks[i].content != NULL && blocks[i].size <= HC_SLAB_BLOCK_MAX)
			bytes += hc_slab_footprint(blocks[i].content, blocks[i].size);
	}
	return bytes;
}

static inline uint64_t
resident(void)
{
	struct hc_slab_usage usage;

	hc_slab_usage(&usage);
	return usage.resident;
}

/* ---- compaction by a mover of our own ---- */

static inline bool
pin(void *block)
{
	uint64_t word = 1;

	return atomic_compare_exchange_strong(&((struct content *)block)->word, &word, 2);
}

static inline bool
move(void *from, void *to, void *arg)
{
	struct content *source = from, *target = to;
	unsigned *refused = arg;

	pthread_mutex_lock(&lock);
	struct block *block = &blocks[source->at];
	must(block->content == source);
	check_block(block);
	bool moved = refused == NULL || (*refused)++ % 3 != 0;
	if (moved) {
		must(atomic_load(&target->word) == 0);
		target->at = source->at;
		target->fill = source->fill;
		memcpy(target->bytes, source->bytes, block->size - sizeof(*source));
		atomic_store(&target->word, 1);
		block->content = target;
	}
	atomic_store(&source->word, moved ? 0 : 1);
	pthread_mutex_unlock(&lock);
	return moved;
}

/* Until there is nothing to gain. */
static inline void
compact(unsigned *refused)
{
	const struct hc_slab_mover mover = {pin, move, refused};
	struct hc_slab_compaction compaction = {0};
	unsigned steps = 0;

	while (hc_slab_compact(&compaction, &mover) > 0)
		must(++steps < 100 * BLOCKS);
}

#endif
