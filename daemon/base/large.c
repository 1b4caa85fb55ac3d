/*
 * Large blocks that are kept when they are freed. Any thread; owns them. Blocks are libc's: its realloc moves the pages
 * of large ones, not their bytes.
 */
#include <stdatomic.h>
#include <string.h>
#include "base/large.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/sanitizer.h"

#define KEPT_MAX 16u /* blocks: how many there are to look through */
#define SPARE 32     /* a block that is larger by this part of what is wanted is taken as it is */
#define FAR 2        /* and one that is so many times larger, or smaller, is left for its like */

#ifdef HC_ADDRESS_SANITIZER
static const bool keeps = false;
#else
static const bool keeps = true;
#endif

struct block {
	void *ptr;
	size_t size; /* that may be used */
	bool aged;   /* since before the last hc_large_age() */
};

static struct {
	struct hc_lock lock;
	struct block blocks[KEPT_MAX]; /* the oldest first */
	unsigned n;
	size_t bytes, max;
} kept;

static _Atomic size_t told; /* kept.bytes */

/* ---- under the lock ---- */

static void
count(size_t bytes)
{
	kept.bytes += bytes;
	atomic_store_explicit(&told, kept.bytes, memory_order_relaxed);
}

static struct block
take_out(unsigned at)
{
	struct block block = kept.blocks[at];

	count(-block.size);
	kept.n--;
	memmove(&kept.blocks[at], &kept.blocks[at + 1], (kept.n - at) * sizeof(block));
	return block;
}

/*
 * Of those that have from `least` to `most` bytes: the smallest of at least `size`, or else the largest; of equals the
 * last that was freed, so that the others age. KEPT_MAX: none.
 */
static unsigned
best_fit(size_t size, size_t least, size_t most)
{
	unsigned best = KEPT_MAX;
	size_t had = 0;

	for (unsigned i = 0; i < kept.n; i++) {
		size_t has = kept.blocks[i].size;
		if (has < least || has > most || (had < size ? has < had : has < size || has > had))
			continue;
		best = i;
		had = has;
	}
	return best;
}

/* The oldest of those that there is no room for beside `size` more bytes, to `out`. Returns how many. */
static unsigned
make_room(size_t size, struct block out[KEPT_MAX])
{
	unsigned n = 0;

	while (kept.n > 0 && (kept.n == KEPT_MAX || kept.bytes + size > kept.max))
		out[n++] = take_out(0);
	return n;
}

/* ---- */

static void
give_back(const struct block blocks[], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		hc_free(blocks[i].ptr);
}

/* What is kept and has from `least` to `most` bytes, the best for `size`. NULL: there is none. */
static struct block
find(size_t size, size_t least, size_t most)
{
	struct block block = {0};

	if (atomic_load_explicit(&told, memory_order_relaxed) < least)
		return block;
	hc_lock_acquire(&kept.lock);
	unsigned at = best_fit(size, least, most);
	if (at < KEPT_MAX)
		block = take_out(at);
	hc_lock_release(&kept.lock);
	return block;
}

void *
hc_large_alloc(size_t size)
{
	struct block block = {0};

	if (size >= HC_MEM_OWN_PAGES && size <= SIZE_MAX / FAR)
		block = find(size, size / FAR, size * FAR);
	if (block.ptr == NULL)
		return hc_malloc(size);
	void *ptr = block.ptr;
	if (block.size >= size && block.size - size <= size / SPARE)
		ptr = hc_mem_faulty() ? NULL : ptr;
	else
		ptr = hc_realloc(ptr, size);
	if (ptr == NULL)
		hc_free(block.ptr);
	return ptr;
}

void *
hc_large_take(size_t *size, size_t wanted)
{
	struct block block = {0};

	if (wanted < *size)
		wanted = *size;
	if (wanted >= HC_MEM_OWN_PAGES && wanted <= SIZE_MAX / FAR)
		block = find(wanted, *size, wanted * FAR);
	if (block.ptr == NULL)
		return hc_malloc(*size);
	if (hc_mem_faulty()) {
		hc_free(block.ptr);
		return NULL;
	}
	*size = block.size;
	return block.ptr;
}

void
hc_large_free(void *ptr)
{
	struct block block = {ptr, ptr != NULL ? hc_mem_usable(ptr) : 0, false}, old[KEPT_MAX];

	if (!keeps || block.size < HC_MEM_OWN_PAGES) {
		hc_free(ptr);
		return;
	}
	hc_lock_acquire(&kept.lock);
	bool fits = block.size <= kept.max;
	unsigned n = fits ? make_room(block.size, old) : 0;
	if (fits) {
		kept.blocks[kept.n++] = block;
		count(block.size);
	}
	hc_lock_release(&kept.lock);
	give_back(old, n);
	if (!fits)
		hc_free(ptr);
}

void
hc_large_set_max(size_t bytes)
{
	struct block old[KEPT_MAX];

	hc_lock_acquire(&kept.lock);
	kept.max = bytes;
	unsigned n = 0;
	while (kept.bytes > bytes)
		old[n++] = take_out(0);
	hc_lock_release(&kept.lock);
	give_back(old, n);
}

size_t
hc_large_kept(void)
{
	return atomic_load_explicit(&told, memory_order_relaxed);
}

bool
hc_large_age(void)
{
	struct block old[KEPT_MAX];
	unsigned n = 0;

	if (hc_large_kept() == 0)
		return false;
	hc_lock_acquire(&kept.lock);
	while (kept.n > 0 && kept.blocks[0].aged)
		old[n++] = take_out(0);
	for (unsigned i = 0; i < kept.n; i++)
		kept.blocks[i].aged = true;
	bool any = kept.n > 0;
	hc_lock_release(&kept.lock);
	give_back(old, n);
	return any;
}
