/*
 * Blocks of any size: which class has them, and its lock. Any thread. A class's lock is taken after a shard's, if at
 * all, and before the regions'.
 */
#include "base/large.h"
#include "base/mem.h"
#include "store/slab_private.h"

#define STEP_BITS 3u /* sizes up to 512 bytes go in steps of 8 … */
#define PART_BITS 5u /* … those above in steps of a 32nd of the power of two below them */
#define LARGER_FROM \
	HC_SLAB_1K /* from 1 KiB on, a hole of up to so many classes above is taken rather than new memory */
#define LARGER 3u

/* Bytes of blocks in use that their sizes do not need: they were holes of larger ones. */
static _Atomic uint64_t excess;

#ifdef HC_SLAB_SANITIZED
static bool use_slabs;
#else
static const bool use_slabs = true;
#endif

void
hc_slab_use_slabs(bool use)
{
#ifdef HC_SLAB_SANITIZED
	use_slabs = use;
#else
	(void)use;
#endif
}

/* ---- sizes ---- */

static bool
is_large(size_t size)
{
	return size > HC_SLAB_BLOCK_MAX || !use_slabs;
}

/* How many bits of size - 1 its class does not tell apart. */
static unsigned
step_bits(size_t last)
{
	return last < (size_t)1 << (STEP_BITS + PART_BITS + 1) ? STEP_BITS
							       : 63 - (unsigned)__builtin_clzll(last) - PART_BITS;
}

static size_t
last_byte(size_t size)
{
	return (size < HC_SLAB_BLOCK_MIN ? HC_SLAB_BLOCK_MIN : size) - 1;
}

static unsigned
class_of(size_t size)
{
	size_t last = last_byte(size);
	unsigned bits = step_bits(last);

	return ((bits - STEP_BITS) << PART_BITS) + (unsigned)(last >> bits);
}

static size_t
block_len(size_t size)
{
	size_t last = last_byte(size);
	unsigned bits = step_bits(last);

	return ((last >> bits) + 1) << bits;
}

size_t
hc_slab_footprint(const void *ptr, size_t size)
{
	return is_large(size) ? hc_mem_footprint(ptr) : block_len(size);
}

/* ---- blocks ---- */

/* A block of the class from a slab it has, among them `lists`. NULL: there is none with room. */
static void *
take_from(struct hc_slab_class *class, unsigned lists)
{
	void *block = NULL;

	if ((atomic_load_explicit(&class->listed, memory_order_relaxed) & lists) == 0)
		return NULL;
	hc_lock_acquire(&class->lock);
	if ((class->listed & lists) != 0)
		block = hc_slab_take_block(class, hc_slab_fullest(class));
	hc_lock_release(&class->lock);
	return block;
}

/* By how much blocks are larger than their sizes need. */
static void
count_excess(uint64_t bytes)
{
	atomic_fetch_add_explicit(&excess, bytes, memory_order_relaxed);
}

/* Rather than to take more memory: a hole that is a bit larger. */
static void *
take_larger(struct hc_slab_class *class, size_t len)
{
	void *block = NULL;

	if (class < &hc_slab_classes[LARGER_FROM])
		return NULL;
	for (unsigned i = 1; i <= LARGER && class + i < &hc_slab_classes[HC_SLAB_CLASSES]; i++) {
		block = take_from(class + i, HC_SLAB_HOLEY);
		if (block != NULL) {
			count_excess(class[i].len - len);
			break;
		}
	}
	return block;
}

static void *
take_new(struct hc_slab_class *class, size_t len)
{
	void *block = NULL;

	hc_lock_acquire(&class->lock);
	struct hc_slab *slab = class->listed != 0 ? hc_slab_fullest(class) : hc_slab_add(class, len);
	if (slab != NULL)
		block = hc_slab_take_block(class, slab);
	hc_lock_release(&class->lock);
	return block;
}

/* What is left of the block. */
static void
poison_rest(char *block, size_t size)
{
	const struct hc_slab *slab = hc_region_header(block);

	hc_slab_poison(block + size, slab->class->len - size);
}

void *
hc_slab_alloc(size_t size)
{
	if (is_large(size))
		return hc_large_alloc(size);
	if (hc_mem_faulty())
		return NULL;
	struct hc_slab_class *class = &hc_slab_classes[class_of(size)];
	void *block = hc_slab_take_spare(class);
	if (block == NULL)
		block = take_from(class, HC_SLAB_HOLEY);
	if (block == NULL)
		block = take_larger(class, block_len(size));
	if (block == NULL)
		block = take_new(class, block_len(size));
	if (block != NULL)
		poison_rest(block, size);
	return block;
}

bool
hc_slab_free_block(void *ptr, size_t tail_max)
{
	struct hc_slab *slab = hc_region_header(ptr);
	struct hc_slab_class *class = slab->class;

	hc_lock_acquire(&class->lock);
	uint32_t touched = slab->touched;
	hc_slab_make_hole(class, slab, ptr);
	bool unneeded = hc_slab_return_blocks(class, slab, 1, tail_max);
	bool purged = slab->touched < touched;
	hc_lock_release(&class->lock);
	if (unneeded)
		hc_slab_give_back(slab);
	return unneeded || purged;
}

/* A block that is about to be freed may be larger than its size needs. */
static void
uncount_excess(const struct hc_slab_class *class, size_t size)
{
	size_t len = block_len(size);

	if (class->len != len)
		count_excess(len - class->len);
}

void
hc_slab_free(void *ptr, size_t size)
{
	if (is_large(size) || ptr == NULL) {
		hc_large_free(ptr);
		return;
	}
	const struct hc_slab *slab = hc_region_header(ptr);
	/* Not one that is larger than its size needs: that is counted in `excess`. */
	if (slab->class == &hc_slab_classes[class_of(size)] && hc_slab_keep_spare(slab->class, ptr))
		return;
	uncount_excess(slab->class, size);
	(void)hc_slab_free_block(ptr, HC_SLAB_TAIL_MAX);
}

/* What is no block of a slab is in none. */
static bool
is_of(const struct hc_slab *slab, const void *ptr)
{
	return (uintptr_t)ptr - (uintptr_t)slab->blocks < HC_REGION_SLOT;
}

/* Under the lock. Of the blocks from the first on, those of that slab. Returns how many they were. */
static unsigned
free_of_slab(const struct hc_slab_class *class, struct hc_slab *slab, const struct hc_slab_block blocks[], unsigned n)
{
	size_t size = 0, len = class->len;
	uint64_t more = 0;
	unsigned i = 0;

	do {
		if (blocks[i].size != size) {
			size = blocks[i].size;
			len = block_len(size);
		}
		more += class->len - len;
		hc_slab_make_hole(class, slab, blocks[i].ptr);
		i++;
	} while (i < n && is_of(slab, blocks[i].ptr));
	if (more > 0)
		count_excess(-more);
	return i;
}

/* Of the blocks from the first on, those of its class, which has slabs. Returns how many they were. */
static unsigned
free_run(const struct hc_slab_block blocks[], unsigned n)
{
	struct hc_slab *slab = hc_region_header(blocks[0].ptr), *unneeded = NULL;
	struct hc_slab_class *class = slab->class;
	unsigned i = 0;

	hc_lock_acquire(&class->lock);
	do {
		unsigned freed = free_of_slab(class, slab, blocks + i, n - i);
		if (hc_slab_return_blocks(class, slab, freed, HC_SLAB_TAIL_MAX)) {
			slab->next = unneeded;
			unneeded = slab;
		}
		i += freed;
	} while (i < n && !is_large(blocks[i].size) && (slab = hc_region_header(blocks[i].ptr))->class == class);
	hc_lock_release(&class->lock);
	for (struct hc_slab *next; unneeded != NULL; unneeded = next) {
		next = unneeded->next;
		hc_slab_give_back(unneeded);
	}
	return i;
}

/* The word of its holes, whatever the slab is: `per_len` does not change. Inlined, or gcc leaves out the call. */
static inline __attribute__((always_inline)) void
prefetch_hole(const void *ptr)
{
	const struct hc_slab *slab = hc_region_header(ptr);
	uint64_t at = (uint64_t)((const char *)ptr - slab->blocks) * slab->class->per_len >> 32;

	__builtin_prefetch(&slab->holes[at / 64], 1);
}

void
hc_slab_free_in_order(const struct hc_slab_block blocks[], unsigned n)
{
	for (unsigned i = 0; i < n;) {
		if (is_large(blocks[i].size))
			hc_large_free(blocks[i++].ptr);
		else
			i += free_run(blocks + i, n - i);
	}
}

void
hc_slab_free_many(const struct hc_slab_block blocks[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!is_large(blocks[i].size))
			prefetch_hole(blocks[i].ptr);
	}
	hc_slab_free_in_order(blocks, n);
}

void *
hc_slab_alloc_plain(size_t size)
{
	size_t lines = (size + HC_SLAB_PLAIN - 1) / HC_SLAB_PLAIN;

	assert(lines > 0 && lines <= HC_SLAB_PLAINS);
	if (is_large(size))
		return hc_malloc(size);
	return hc_mem_faulty() ? NULL : take_new(&hc_slab_plain[lines - 1], lines * HC_SLAB_PLAIN);
}

void
hc_slab_free_plain(void *ptr)
{
	if (is_large(HC_SLAB_PLAIN) || ptr == NULL)
		hc_free(ptr);
	else
		(void)hc_slab_free_block(ptr, HC_SLAB_TAIL_MAX);
}

void
hc_slab_free_plain_list(void *first)
{
	while (first != NULL) {
		void *next = *(void **)first;
		hc_slab_free_plain(first);
		first = next;
	}
}

bool
hc_slab_free_plain_lists(void *lists[], unsigned n, unsigned rounds)
{
	bool more = true;

	for (; more && rounds > 0; rounds--) {
		more = false;
		for (unsigned i = 0; i < n; i++) {
			void *block = lists[i];
			if (block == NULL)
				continue;
			lists[i] = *(void **)block;
			__builtin_prefetch(lists[i]);
			more = more || lists[i] != NULL;
			hc_slab_free_plain(block);
		}
	}
	return more;
}

void
hc_slab_usage(struct hc_slab_usage *out)
{
	struct hc_slab_usage usage = {0};

	hc_slab_free_spares();
	for (unsigned i = 0; i < HC_SLAB_KNOWN; i++) {
		uint64_t bits = atomic_load_explicit(&hc_slab_known[i], memory_order_acquire);
		for (; bits != 0; bits &= bits - 1) {
			const struct hc_slab_class *class = &hc_slab_classes[i * 64 + (unsigned)__builtin_ctzll(bits)];
			uint64_t used = atomic_load_explicit(&class->used, memory_order_relaxed);
			usage.live += used;
			usage.resident += used + hc_slab_idle(class);
			usage.holes += hc_slab_holes(class);
			usage.taken += atomic_load_explicit(&class->taken, memory_order_relaxed);
		}
	}
	usage.resident += hc_large_kept();
	uint64_t more = atomic_load_explicit(&excess, memory_order_relaxed);
	usage.live -= more < usage.live ? more : usage.live; /* they are not read at once */
	*out = usage;
}
