/*
 * Slabs. Any thread; a lock for each size of block, one for the slabs that are empty. An empty
 * slab's lock is taken last.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include "base/lock.h"
#include "base/mem.h"
#include "store/slab.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#ifdef SANITIZED
#define BLOCK_MAX ((size_t)0)
#else
#define BLOCK_MAX ((size_t)HC_SLAB_BLOCK_MAX)
#endif

#define STEP 16u
#define SLAB ((size_t)64 << 10)
#define REGION ((size_t)4 << 20)
#define CLASSES (HC_SLAB_BLOCK_MAX / STEP)

/* At the beginning of the slab. All under the class's lock. */
struct slab {
	struct slab *next, *prev; /* among those of its class that have room */
	void *freed;              /* blocks given back, by their first word */
	uint32_t fresh;           /* where the blocks that were never given out begin */
	uint32_t used;            /* blocks */
};

#define HEADER ((uint32_t)64)

static_assert(sizeof(struct slab) <= HEADER, "the first block comes behind");

static struct {
	struct hc_lock lock;
	struct slab *roomy; /* those with room, the longest so first */
	struct slab *last;
} classes[CLASSES];

/* Slabs whose pages were given back: where they are is kept apart from them. */
static struct {
	struct hc_lock lock;
	struct slab **items; /* has room for all slabs there are */
	size_t n, cap;
} empty;

/* ---- whole slabs ---- */

/* Under empty's lock: SLAB-aligned, whatever the kernel's choice. */
static bool
add_region(void)
{
	size_t more = REGION / SLAB;
	struct slab **items = hc_realloc(empty.items, (empty.cap + more) * sizeof(struct slab *));

	if (items == NULL)
		return false;
	empty.items = items;
	char *map =
	    mmap(NULL, REGION + SLAB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return false;
	empty.cap += more;
	char *at = map + (-(uintptr_t)map & (SLAB - 1));
	for (size_t i = more; i > 0; i--)
		empty.items[empty.n++] = (struct slab *)(void *)(at + (i - 1) * SLAB);
	return true;
}

static struct slab *
take_empty(void)
{
	struct slab *slab = NULL;

	hc_lock_acquire(&empty.lock);
	if (empty.n > 0 || add_region())
		slab = empty.items[--empty.n];
	hc_lock_release(&empty.lock);
	if (slab != NULL)
		*slab = (struct slab){.fresh = HEADER};
	return slab;
}

static void
give_back(struct slab *slab)
{
	madvise(slab, SLAB, MADV_DONTNEED);
	hc_lock_acquire(&empty.lock);
	empty.items[empty.n++] = slab;
	hc_lock_release(&empty.lock);
}

/* ---- blocks; under the class's lock ---- */

static unsigned
class_of(size_t size)
{
	return (unsigned)((size + STEP - 1) / STEP - 1);
}

static uint32_t
block_len(unsigned class)
{
	return (class + 1) * STEP;
}

static bool
is_full(const struct slab *slab, unsigned class)
{
	return slab->freed == NULL && slab->fresh + block_len(class) > SLAB;
}

static void
link_last(struct slab *slab, unsigned class)
{
	slab->next = NULL;
	slab->prev = classes[class].last;
	if (slab->prev != NULL)
		slab->prev->next = slab;
	else
		classes[class].roomy = slab;
	classes[class].last = slab;
}

static void
unlink_slab(struct slab *slab, unsigned class)
{
	if (slab->prev != NULL)
		slab->prev->next = slab->next;
	else
		classes[class].roomy = slab->next;
	if (slab->next != NULL)
		slab->next->prev = slab->prev;
	else
		classes[class].last = slab->prev;
}

static void *
take_block(struct slab *slab, unsigned class)
{
	void *block = slab->freed;

	if (block != NULL) {
		slab->freed = *(void **)block;
	} else {
		block = (char *)slab + slab->fresh;
		slab->fresh += block_len(class);
	}
	slab->used++;
	if (is_full(slab, class))
		unlink_slab(slab, class);
	return block;
}

void *
hc_slab_alloc(size_t size)
{
	void *block = NULL;

	if (size > BLOCK_MAX || size == 0)
		return hc_malloc(size);
	if (hc_mem_faulty())
		return NULL;
	unsigned class = class_of(size);
	hc_lock_acquire(&classes[class].lock);
	if (classes[class].roomy == NULL) {
		struct slab *slab = take_empty();
		if (slab != NULL)
			link_last(slab, class);
	}
	if (classes[class].roomy != NULL)
		block = take_block(classes[class].roomy, class);
	hc_lock_release(&classes[class].lock);
	return block;
}

void
hc_slab_free(void *ptr, size_t size)
{
	if (size > BLOCK_MAX || size == 0) {
		hc_free(ptr);
		return;
	}
	struct slab *slab = (struct slab *)((uintptr_t)ptr & ~(uintptr_t)(SLAB - 1));
	unsigned class = class_of(size);

	hc_lock_acquire(&classes[class].lock);
	if (is_full(slab, class))
		link_last(slab, class);
	*(void **)ptr = slab->freed;
	slab->freed = ptr;
	assert(slab->used > 0);
	/* One that is empty stays while it is the only one with room: who goes to and fro needs no system call. */
	bool unneeded = --slab->used == 0 && classes[class].roomy != classes[class].last;
	if (unneeded)
		unlink_slab(slab, class);
	hc_lock_release(&classes[class].lock);
	if (unneeded)
		give_back(slab);
}

size_t
hc_slab_footprint(const void *ptr, size_t size)
{
	if (size > BLOCK_MAX || size == 0)
		return hc_mem_footprint(ptr);
	uint32_t len = block_len(class_of(size));
	return SLAB / ((SLAB - HEADER) / len);
}
