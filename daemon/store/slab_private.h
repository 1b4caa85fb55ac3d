/*
 * The inside of the slabs, for the files slab*.c only.
 */
#ifndef HC_STORE_SLAB_PRIVATE_H
#define HC_STORE_SLAB_PRIVATE_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include "base/lock.h"
#include "base/sanitizer.h"
#include "store/region.h"
#include "store/slab.h"

#if defined(HC_ADDRESS_SANITIZER) || defined(HC_OTHER_SANITIZER)
#define HC_SLAB_SANITIZED
#endif

#ifdef HC_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

/* AddressSanitizer reports whoever touches what is poisoned: blocks not in use, and what is left of those in use. */
static inline void
hc_slab_poison(void *ptr, size_t size)
{
#ifdef HC_ADDRESS_SANITIZER
	ASAN_POISON_MEMORY_REGION(ptr, size);
#else
	(void)ptr, (void)size;
#endif
}

static inline void
hc_slab_unpoison(void *ptr, size_t size)
{
#ifdef HC_ADDRESS_SANITIZER
	ASAN_UNPOISON_MEMORY_REGION(ptr, size);
#else
	(void)ptr, (void)size;
#endif
}

#define HC_SLAB_BLOCK_MIN ((size_t)32)
#define HC_SLAB_BLOCKS_MAX (HC_REGION_SLOT / HC_SLAB_BLOCK_MIN)

/*
 * Blocks of so many bytes have whole pages of their own: those of a hole are taken out of memory where
 * they are, which is cheaper than moving a block into it. At most 16 in a slab.
 */
#define HC_SLAB_HOLLOW_MIN ((size_t)16 << 10)

#define HC_SLAB_TAIL_MAX ((size_t)64 << 10) /* so much behind the last block stays in memory, for the next ones */
#define HC_SLAB_1K 96u                      /* the class of blocks from 1 KiB on */

/*
 * Lists of slabs: those with holes by how full they are; those whose holes are all hollow; those without
 * holes that have room at the end.
 */
#define HC_SLAB_FULLNESSES 8u
#define HC_SLAB_HOLLOW HC_SLAB_FULLNESSES
#define HC_SLAB_GROWABLE (HC_SLAB_FULLNESSES + 1)
#define HC_SLAB_LISTS (HC_SLAB_FULLNESSES + 2)
#define HC_SLAB_HOLEY ((1u << HC_SLAB_FULLNESSES) - 1)
#define HC_SLAB_UNLISTED HC_SLAB_LISTS

/* All under the class's lock, but for what is constant. */
struct hc_slab {
	struct hc_slab *next, *prev;   /* in its list */
	struct hc_slab *older, *newer; /* of all of the class */
	char *blocks;                  /* constant, as is `class` while it has one */
	struct hc_slab_class *class;   /* */
	uint32_t touched;              /* bytes from the beginning on that may be in memory: whole pages */
	uint16_t used;                 /* blocks */
	uint16_t end;                  /* blocks up to the last one in use; those between that are not are holes */
	uint16_t low;                  /* no hole is in a word before */
	uint16_t hollow;               /* of the holes, a bit each: those whose whole pages are not in memory */
	uint8_t list;
	uint64_t holes[(HC_SLAB_BLOCKS_MAX + 63) / 64]; /* a bit each; none from `end` on */
};

static_assert(sizeof(struct hc_slab) <= HC_REGION_HEADER, "that is where it is kept");

struct hc_slab_class {
	alignas(64) struct hc_lock lock;
	/* under the lock */
	_Atomic uint32_t listed; /* a bit for each list that is not empty; read by anyone */
	struct hc_slab *lists[HC_SLAB_LISTS];
	struct hc_slab *newest;  /* of all slabs of the class */
	struct hc_slab *visited; /* slab_visit.c's: where it goes on; NULL: it has seen them all */
	unsigned visited_at;     /* the same: the block */
	/* constant from its first slab on; `len` too is written under the lock, but read by anyone */
	uint32_t len;             /* bytes of a block */
	uint32_t blocks;          /* of a slab */
	uint32_t per_len;         /* 2^32 / len */
	uint32_t per_block;       /* HC_SLAB_FULLNESSES * 2^16 / blocks */
	_Atomic uint64_t used;    /* bytes of blocks; written under the lock, as is the next */
	_Atomic uint64_t touched; /* bytes in memory */
	_Atomic uint64_t taken;   /* the same, ever: never less */
	_Atomic uint64_t lost;    /* of these, in headers and in parts of pages: about what compaction cannot gain */
};

/* slab_class.c owns them, and the slabs in them. */
extern struct hc_slab_class hc_slab_classes[HC_SLAB_CLASSES];
/* Not among the known ones, which are visited and compacted. */
extern struct hc_slab_class hc_slab_plain[HC_SLAB_PLAINS];
/* Of those that ever had a slab, a bit each. */
#define HC_SLAB_KNOWN ((HC_SLAB_CLASSES + 63) / 64)
extern _Atomic uint64_t hc_slab_known[HC_SLAB_KNOWN];

/* ---- under the class's lock ---- */

/* The slab to take the next block from: the fullest, since those that are emptier may become empty. NULL: none has
 * room. */
static inline struct hc_slab *
hc_slab_fullest(const struct hc_slab_class *class)
{
	unsigned holey = class->listed & HC_SLAB_HOLEY;

	if (holey != 0)
		return class->lists[31 - __builtin_clz(holey)];
	return class->listed != 0 ? class->lists[__builtin_ctz(class->listed)] : NULL;
}

/* A new one; `len` is that of the class's blocks. NULL: no memory. */
struct hc_slab *hc_slab_add(struct hc_slab_class *class, size_t len);
/* Of a slab that has room. */
void *hc_slab_take_block(struct hc_slab_class *class, struct hc_slab *slab);

/* The block is in use no more; hc_slab_return_blocks() is to follow for the slab. */
static inline void
hc_slab_make_hole(const struct hc_slab_class *class, struct hc_slab *slab, void *ptr)
{
	unsigned at = (unsigned)((uint64_t)((const char *)ptr - slab->blocks) * class->per_len >> 32);
	uint64_t bit = (uint64_t)1 << at % 64;

	assert(at < slab->end && (slab->holes[at / 64] & bit) == 0);
	hc_slab_poison(ptr, class->len);
	slab->holes[at / 64] |= bit;
	if (at / 64 < slab->low)
		slab->low = (uint16_t)(at / 64);
}

/*
 * So many holes were made in the slab. Leaves up to `tail_max` bytes, and less than a page, in memory behind its last
 * block. True: nothing is left in it, and it is to be given back, outside of the lock.
 */
bool hc_slab_return_blocks(struct hc_slab_class *class, struct hc_slab *slab, unsigned n, size_t tail_max);

/* Bytes in memory behind the last block; taking them out of memory. */
size_t hc_slab_tail(const struct hc_slab_class *class, const struct hc_slab *slab);
void hc_slab_purge_tail(struct hc_slab_class *class, struct hc_slab *slab);
/* Takes the pages of its holes out of memory, of a slab of large blocks. */
void hc_slab_hollow_out(struct hc_slab_class *class, struct hc_slab *slab);

/* ---- outside of locks ---- */

/* A slab that its class has no more. */
void hc_slab_give_back(struct hc_slab *slab);
/* `tail_max` as above. Returns whether it took pages out of memory, which is most of what it costs then. */
bool hc_slab_free_block(void *ptr, size_t tail_max);
/* Bytes in memory that are in no block in use: all of them, and those that compaction can gain. */
uint64_t hc_slab_idle(const struct hc_slab_class *class);
uint64_t hc_slab_holes(const struct hc_slab_class *class);

/* ---- spare blocks: see slab_spares.c ---- */

#define HC_SLAB_SPARES 4u /* of a thread, each of the classes whose number has the same lowest bits */
#define HC_SLAB_SPARE_CLASSES HC_SLAB_1K

struct hc_slab_spare {
	struct hc_slab_class *class; /* NULL: there is none */
	void *block;
};

extern _Thread_local struct hc_slab_spare hc_slab_spares[HC_SLAB_SPARES];

/* Whether they are freed when this thread ends. */
bool hc_slab_may_keep_spares(void);
void hc_slab_free_spares(void);

static inline struct hc_slab_spare *
hc_slab_spare_of(const struct hc_slab_class *class)
{
	return &hc_slab_spares[(size_t)(class - hc_slab_classes) % HC_SLAB_SPARES];
}

/* NULL: there is none of that class. */
static inline void *
hc_slab_take_spare(const struct hc_slab_class *class)
{
	struct hc_slab_spare *spare = hc_slab_spare_of(class);

	if (spare->class != class)
		return NULL;
	spare->class = NULL;
	return spare->block;
}

/* False: it is to be freed. */
static inline bool
hc_slab_keep_spare(struct hc_slab_class *class, void *block)
{
	struct hc_slab_spare *spare = hc_slab_spare_of(class);

	if (class >= &hc_slab_classes[HC_SLAB_SPARE_CLASSES] || spare->class != NULL || !hc_slab_may_keep_spares())
		return false;
	*spare = (struct hc_slab_spare){class, block};
	return true;
}

#endif
