/*
 * Memory of entries: slabs, each of blocks of one size, up to HC_SLAB_BLOCK_MAX; what is larger comes
 * from hc_malloc(), which has pages of its own for it. A block has neither a header nor more than a
 * thirty-second of its size lost to rounding (8 bytes, for small ones), and freed blocks are known
 * down to the byte: the process takes what hc_slab_usage() says.
 *
 *     class (320, by size) ── slabs, sorted by how full they are ── blocks, the fullest slab's first
 *     slab ── a slot of 256 KiB, of which the part in use from the beginning on is in memory
 *
 * What is freed here and there leaves holes that are of use to blocks of the same size only. Since the
 * store can move entries, hc_slab_compact() closes them: it moves the last block of the emptiest slab
 * into a hole of a fuller one, and gives back the pages that come free behind the last block.
 *
 * Any thread; a lock for each class. No slab lock is held while pages of a whole slab are given back
 * or a block is moved.
 */
#ifndef HC_STORE_SLAB_H
#define HC_STORE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HC_SLAB_BLOCK_MAX ((size_t)128 << 10)
#define HC_SLAB_CLASSES 320u
#define HC_SLAB_ALIGN 8u

/*
 * NULL: no memory. What a new block holds is zeros, or what a block of the same class held when it
 * was freed.
 */
void *hc_slab_alloc(size_t size) __attribute__((malloc, alloc_size(1), warn_unused_result));
/* `size` is what it was allocated with. */
void hc_slab_free(void *ptr, size_t size);
/*
 * The same of several: cheaper where many of them, one after the other, are of one size, since what is known of their
 * slabs is fetched ahead and the class's lock taken once for all of these.
 */
#define HC_SLAB_MANY 32u
struct hc_slab_block {
	void *ptr;
	size_t size;
};
void hc_slab_free_many(const struct hc_slab_block blocks[], unsigned n);
/* The same, but they come in the order of memory: nothing is fetched ahead. */
void hc_slab_free_in_order(const struct hc_slab_block blocks[], unsigned n);
/* Bytes that the block takes: depends on the size alone, up to HC_SLAB_BLOCK_MAX. */
size_t hc_slab_footprint(const void *ptr, size_t size);

/*
 * Blocks that are no entries, of up to two cache lines: classes by themselves, which are neither moved, nor visited,
 * nor part of the usage. There are many of them and they come and go with the entries: with malloc() those that are
 * free lie in its fast bins, which malloc_trim() walks, for milliseconds. NULL: no memory.
 */
#define HC_SLAB_PLAIN ((size_t)64)
#define HC_SLAB_PLAINS 2u /* the largest is so many times that */
void *hc_slab_alloc_plain(size_t size) __attribute__((malloc, alloc_size(1), warn_unused_result));
void hc_slab_free_plain(void *ptr);
/* The same of several, linked by their first words. May give pages back: outside of locks. */
void hc_slab_free_plain_list(void *first);
/*
 * The same of `n` such lists, `rounds` blocks of each at most. They are freed in turn: while one list's next block
 * comes out of memory there is something to do. Returns whether there are more.
 */
bool hc_slab_free_plain_lists(void *lists[], unsigned n, unsigned rounds);

/* Of blocks up to HC_SLAB_BLOCK_MAX, all over the process. */
struct hc_slab_usage {
	uint64_t resident; /* bytes of memory taken, and what base/large.h keeps */
	uint64_t live;     /* of them, the footprints of blocks that are in use */
	uint64_t holes;    /* of the others, what compaction can gain, about */
	uint64_t taken;    /* bytes of memory that were ever taken: how much since, is what found no hole */
};

void hc_slab_usage(struct hc_slab_usage *out);
/* Bytes of memory that this thread's blocks have taken, found no hole; the caller's to set back. */
extern _Thread_local uint64_t hc_slab_grown;

/* ---- compaction ---- */

struct hc_slab_mover {
	/*
	 * Under the lock of the block's class: whether the block, which is in use, may be offered to
	 * move(); if so it must not be freed by anyone else until then. It may have been allocated
	 * this moment, and be being written: atomics only.
	 */
	bool (*pin)(void *block);
	/*
	 * Outside of locks, for a block that was pinned: true when its content is at `to` now, and nobody
	 * uses `from` any more, which is then freed. False: `to` is freed, `from` is as it was.
	 */
	bool (*move)(void *from, void *to, void *arg);
	void *arg;
};

/* What a run of steps has seen; the caller's, {0} to begin with. */
struct hc_slab_compaction {
	uint64_t hopeless[(HC_SLAB_CLASSES + 63) / 64]; /* classes in which nothing can be moved now */
	struct hc_slab_class *class;                    /* the one at work */
	size_t left;                                    /* work until another is looked for */
	unsigned refused;                               /* moves in it that came to nothing */
	uint64_t gained;                                /* bytes of memory given back so far, about */
};

/*
 * One step, where most memory is lost in holes: moves a block, or gives pages back. Returns how much
 * work it was, in units that take about as long as copying a byte; 0: there is nothing to gain.
 */
size_t hc_slab_compact(struct hc_slab_compaction *compaction, const struct hc_slab_mover *mover);

/* ---- visiting ---- */

/*
 * Under the lock of the block's class, which keeps the block, which is in use, from being freed meanwhile. It may have
 * been allocated this moment, and be being written: atomics only.
 */
typedef void hc_slab_look_fn(void *arg, void *block);

/* How far a visit has come; the caller's, {0} to begin with. */
struct hc_slab_visit {
	unsigned class;
	bool begun; /* with that */
};

/*
 * All blocks that are in use throughout, slab by slab, each in the order of memory: looks at the next `n` places for
 * blocks at most. False: that was all. Of two visits at a time each may miss some.
 */
bool hc_slab_visit(struct hc_slab_visit *visit, unsigned n, hc_slab_look_fn *look, void *arg);

/*
 * Under the sanitizers all blocks come from hc_malloc(), so that they see each; true: from slabs
 * nevertheless, for the tests of these. Before the first allocation, or while nothing is allocated.
 */
void hc_slab_use_slabs(bool use);

#endif
