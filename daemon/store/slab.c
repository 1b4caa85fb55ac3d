/*
 * Slabs. Any thread; owns the classes, and the slabs in them. A class's lock is taken after a
 * shard's, if at all, and before the regions'.
 */
#include "base/mem.h"
#include "store/slab_private.h"

#define STEP_BITS 3u /* sizes up to 512 bytes go in steps of 8 … */
#define PART_BITS 5u /* … those above in steps of a 32nd of the power of two below them */
#define LARGER_FROM \
	HC_SLAB_1K /* from 1 KiB on, a hole of up to so many classes above is taken rather than new memory */
#define LARGER 3u

struct hc_slab_class hc_slab_classes[HC_SLAB_CLASSES];
static struct hc_slab_class plain; /* not among the known ones */
_Atomic uint64_t hc_slab_known[HC_SLAB_KNOWN];
/* Bytes of blocks in use that their sizes do not need: they were holes of larger ones. */
static _Atomic uint64_t excess;
_Thread_local uint64_t hc_slab_grown;

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

/* ---- slabs of a class; under its lock from here on ---- */

static void
count(_Atomic uint64_t *counter, uint64_t delta)
{
	/* One writer at a time. */
	atomic_store_explicit(
	    counter, atomic_load_explicit(counter, memory_order_relaxed) + delta, memory_order_relaxed);
}

static void
take_memory(struct hc_slab_class *class, size_t bytes)
{
	count(&class->touched, bytes);
	count(&class->taken, bytes);
	hc_slab_grown += bytes;
}

static void
set_listed(struct hc_slab_class *class, unsigned listed)
{
	atomic_store_explicit(&class->listed, listed, memory_order_relaxed);
}

static void
unlist(struct hc_slab_class *class, struct hc_slab *slab)
{
	if (slab->list == HC_SLAB_UNLISTED)
		return;
	if (slab->prev != NULL)
		slab->prev->next = slab->next;
	else
		class->lists[slab->list] = slab->next;
	if (slab->next != NULL)
		slab->next->prev = slab->prev;
	if (class->lists[slab->list] == NULL)
		set_listed(class, class->listed & ~(1u << slab->list));
	slab->list = HC_SLAB_UNLISTED;
}

static void
list(struct hc_slab_class *class, struct hc_slab *slab, unsigned to)
{
	unlist(class, slab);
	slab->list = (uint8_t)to;
	if (to == HC_SLAB_UNLISTED)
		return;
	slab->prev = NULL;
	slab->next = class->lists[to];
	if (slab->next != NULL)
		slab->next->prev = slab;
	class->lists[to] = slab;
	set_listed(class, class->listed | 1u << to);
}

static unsigned
list_of(const struct hc_slab_class *class, const struct hc_slab *slab)
{
	unsigned holes = (unsigned)slab->end - slab->used;

	/* Small blocks are never hollow: no need to count. */
	if (holes > (slab->hollow == 0 ? 0 : (unsigned)__builtin_popcount(slab->hollow)))
		return slab->used * class->per_block >> 16;
	if (holes > 0)
		return HC_SLAB_HOLLOW;
	return slab->end < class->blocks ? HC_SLAB_GROWABLE : HC_SLAB_UNLISTED;
}

static void
relist(struct hc_slab_class *class, struct hc_slab *slab)
{
	unsigned to = list_of(class, slab);

	if (to != slab->list)
		list(class, slab, to);
}

static size_t
whole_pages(size_t bytes)
{
	return (bytes + hc_region_page() - 1) & ~(hc_region_page() - 1);
}

size_t
hc_slab_tail(const struct hc_slab_class *class, const struct hc_slab *slab)
{
	return slab->touched - whole_pages((size_t)slab->end * class->len);
}

void
hc_slab_purge_tail(struct hc_slab_class *class, struct hc_slab *slab)
{
	size_t tail = hc_slab_tail(class, slab);

	slab->touched -= (uint32_t)tail;
	count(&class->touched, -tail);
	hc_region_purge(slab->blocks + slab->touched, slab->blocks + slab->touched + tail);
}

/* Bytes of the whole pages in so many blocks. */
static size_t
pages_in(const struct hc_slab_class *class, unsigned first, unsigned n)
{
	size_t from = whole_pages((size_t)first * class->len);
	size_t to = ((size_t)first + n) * class->len & ~(hc_region_page() - 1);

	return to > from ? to - from : 0;
}

/* Takes the next run of set bits off the mask: its first, and how many. */
static unsigned
next_run(unsigned *mask, unsigned *n)
{
	unsigned first = (unsigned)__builtin_ctz(*mask);

	*n = (unsigned)__builtin_ctz(~(*mask >> first));
	*mask &= ~(((1u << *n) - 1) << first);
	return first;
}

static size_t
hollow_bytes(const struct hc_slab_class *class, unsigned hollow)
{
	size_t bytes = 0;

	for (unsigned n; hollow != 0;) {
		unsigned first = next_run(&hollow, &n);
		bytes += pages_in(class, first, n);
	}
	return bytes;
}

/* Which holes are hollow; what that means for the pages is the caller's. */
static void
set_hollow(struct hc_slab_class *class, struct hc_slab *slab, unsigned hollow)
{
	if (hollow == slab->hollow)
		return;
	size_t before = hollow_bytes(class, slab->hollow), after = hollow_bytes(class, hollow);
	long holes = __builtin_popcount(hollow) - __builtin_popcount(slab->hollow);
	if (before > after)
		take_memory(class, before - after);
	else
		count(&class->touched, before - after);
	count(&class->lost, (uint64_t)(holes * (long)class->len) + before - after);
	slab->hollow = (uint16_t)hollow;
}

void
hc_slab_hollow_out(struct hc_slab_class *class, struct hc_slab *slab)
{
	unsigned holes = (unsigned)slab->holes[0], solid = holes & ~(unsigned)slab->hollow;

	assert(class->len >= HC_SLAB_HOLLOW_MIN);
	set_hollow(class, slab, holes);
	/* Where a run has become longer, pages between two holes come free as well. */
	for (unsigned n; holes != 0;) {
		unsigned first = next_run(&holes, &n);
		if ((solid >> first & ((1u << n) - 1)) == 0)
			continue;
		char *from = slab->blocks + whole_pages((size_t)first * class->len);
		hc_region_purge(from, from + pages_in(class, first, n));
	}
	relist(class, slab);
}

static void
init_class(struct hc_slab_class *class, size_t len)
{
	class->len = (uint32_t)len;
	class->blocks = (uint32_t)(HC_REGION_SLOT / len);
	class->per_len = (uint32_t)((((uint64_t)1 << 32) + len - 1) / len);
	class->per_block = (HC_SLAB_FULLNESSES << 16) / class->blocks;
	if (class == &plain)
		return;
	unsigned at = (unsigned)(class - hc_slab_classes);
	atomic_fetch_or_explicit(&hc_slab_known[at / 64], (uint64_t)1 << at % 64, memory_order_release);
}

static struct hc_slab *
add_slab(struct hc_slab_class *class, size_t len)
{
	struct hc_slab *slab = hc_region_take();

	if (slab == NULL)
		return NULL;
	if (class->len == 0)
		init_class(class, len);
	slab->blocks = hc_region_slot(slab);
	slab->class = class;
	slab->list = HC_SLAB_UNLISTED;
	slab->older = class->newest;
	if (slab->older != NULL)
		slab->older->newer = slab;
	class->newest = slab;
	count(&class->touched, HC_REGION_HEADER);
	count(&class->lost, HC_REGION_HEADER + hc_region_page() / 2);
	hc_slab_poison(slab->blocks, HC_REGION_SLOT);
	relist(class, slab);
	return slab;
}

/* Outside of the lock: it is in no list, and nothing of it is in use. */
static void
give_back(struct hc_slab *slab)
{
	hc_slab_unpoison(slab->blocks, HC_REGION_SLOT);
	hc_region_give(slab, slab->touched);
}

/* ---- blocks ---- */

/* Among large blocks: one that is in memory, if there is one. */
static unsigned
take_large_hole(struct hc_slab_class *class, struct hc_slab *slab)
{
	unsigned holes = (unsigned)slab->holes[0];
	unsigned solid = holes & ~(unsigned)slab->hollow;
	unsigned bit = solid != 0 ? solid & -solid : holes & -holes;

	slab->holes[0] &= ~(uint64_t)bit;
	set_hollow(class, slab, slab->hollow & ~bit);
	return (unsigned)__builtin_ctz(bit);
}

static unsigned
take_hole(struct hc_slab_class *class, struct hc_slab *slab)
{
	if (class->len >= HC_SLAB_HOLLOW_MIN)
		return take_large_hole(class, slab);
	while (slab->holes[slab->low] == 0)
		slab->low++;
	uint64_t *word = &slab->holes[slab->low];
	unsigned bit = (unsigned)__builtin_ctzll(*word);
	*word &= *word - 1;
	return slab->low * 64u + bit;
}

static unsigned
take_next(struct hc_slab_class *class, struct hc_slab *slab)
{
	size_t bytes = ((size_t)slab->end + 1) * class->len;

	if (bytes > slab->touched) {
		bytes = whole_pages(bytes);
		take_memory(class, bytes - slab->touched);
		slab->touched = (uint32_t)bytes;
	}
	return slab->end++;
}

void *
hc_slab_take_block(struct hc_slab_class *class, struct hc_slab *slab)
{
	unsigned at = slab->end > slab->used ? take_hole(class, slab) : take_next(class, slab);

	slab->used++;
	count(&class->used, class->len);
	relist(class, slab);
	char *block = slab->blocks + (size_t)at * class->len;
	hc_slab_unpoison(block, class->len); /* from here on compaction may look at it */
	return block;
}

/* The last block was freed: the holes before it are none any more. */
static void
lower_end(struct hc_slab_class *class, struct hc_slab *slab)
{
	unsigned end = slab->end;

	while (end > 0) {
		unsigned at = (end - 1) / 64;
		uint64_t below = UINT64_MAX >> (63 - (end - 1) % 64);
		uint64_t in_use = ~slab->holes[at] & below;
		if (in_use != 0) {
			end = at * 64 + 64 - (unsigned)__builtin_clzll(in_use);
			slab->holes[at] &= UINT64_MAX >> (63 - (end - 1) % 64);
			break;
		}
		slab->holes[at] = 0;
		end = at * 64;
	}
	slab->end = (uint16_t)end;
	set_hollow(class, slab, slab->hollow & (unsigned)slab->holes[0]);
}

static void
add_hole(const struct hc_slab_class *class, struct hc_slab *slab, const void *ptr)
{
	unsigned at = (unsigned)((uint64_t)((const char *)ptr - slab->blocks) * class->per_len >> 32);
	uint64_t bit = (uint64_t)1 << at % 64;

	assert(at < slab->end && (slab->holes[at / 64] & bit) == 0);
	slab->holes[at / 64] |= bit;
	if (at / 64 < slab->low)
		slab->low = (uint16_t)(at / 64);
}

/* The slab has so many more of them. */
static void
settle_holes(struct hc_slab_class *class, struct hc_slab *slab, unsigned n)
{
	unsigned last = slab->end - 1u;

	slab->used = (uint16_t)(slab->used - n);
	count(&class->used, -(uint64_t)n * class->len);
	/* The last large ones stay holes, for others to find, unless all are. */
	if (slab->used == 0 || ((slab->holes[last / 64] >> last % 64 & 1) != 0 && class->len < HC_SLAB_HOLLOW_MIN))
		lower_end(class, slab);
	relist(class, slab);
}

/* The class has it no more. */
static void
take_out(struct hc_slab_class *class, struct hc_slab *slab)
{
	unlist(class, slab);
	if (slab->newer != NULL)
		slab->newer->older = slab->older;
	else
		class->newest = slab->older;
	if (slab->older != NULL)
		slab->older->newer = slab->newer;
	if (class->visited == slab) {
		class->visited = slab->older;
		class->visited_at = 0;
	}
}

/* An empty slab stays while it is the only one with room: who goes to and fro needs no system call. */
static bool
take_out_unneeded(struct hc_slab_class *class, struct hc_slab *slab)
{
	if (slab->used > 0 || (slab->next == NULL && slab->prev == NULL && class->listed == 1u << HC_SLAB_GROWABLE))
		return false;
	take_out(class, slab);
	count(&class->touched, -(HC_REGION_HEADER + (uint64_t)slab->touched));
	count(&class->lost, -(HC_REGION_HEADER + (uint64_t)hc_region_page() / 2));
	return true;
}

/* ---- outside of locks ---- */

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
	struct hc_slab *slab = class->listed != 0 ? hc_slab_fullest(class) : add_slab(class, len);
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
		return hc_malloc(size);
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

/* Under the lock; return_blocks() is to follow for the slab. */
static void
free_block(const struct hc_slab_class *class, struct hc_slab *slab, void *ptr)
{
	hc_slab_poison(ptr, class->len);
	add_hole(class, slab, ptr);
}

/* Under the lock. Returns whether the slab is to be given back, outside of it. */
static bool
return_blocks(struct hc_slab_class *class, struct hc_slab *slab, unsigned n, size_t tail_max)
{
	settle_holes(class, slab, n);
	bool unneeded = take_out_unneeded(class, slab);
	if (!unneeded && slab->touched > (size_t)slab->end * class->len + tail_max)
		hc_slab_purge_tail(class, slab);
	return unneeded;
}

void
hc_slab_free_block(void *ptr, size_t tail_max)
{
	struct hc_slab *slab = hc_region_header(ptr);
	struct hc_slab_class *class = slab->class;

	hc_lock_acquire(&class->lock);
	free_block(class, slab, ptr);
	bool unneeded = return_blocks(class, slab, 1, tail_max);
	hc_lock_release(&class->lock);
	if (unneeded)
		give_back(slab);
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
		hc_free(ptr);
		return;
	}
	const struct hc_slab *slab = hc_region_header(ptr);
	/* Not one that is larger than its size needs: that is counted in `excess`. */
	if (slab->class == &hc_slab_classes[class_of(size)] && hc_slab_keep_spare(slab->class, ptr))
		return;
	uncount_excess(slab->class, size);
	hc_slab_free_block(ptr, HC_SLAB_TAIL_MAX);
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
		free_block(class, slab, blocks[i].ptr);
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
		if (return_blocks(class, slab, freed, HC_SLAB_TAIL_MAX)) {
			slab->next = unneeded;
			unneeded = slab;
		}
		i += freed;
	} while (i < n && !is_large(blocks[i].size) && (slab = hc_region_header(blocks[i].ptr))->class == class);
	hc_lock_release(&class->lock);
	for (struct hc_slab *next; unneeded != NULL; unneeded = next) {
		next = unneeded->next;
		give_back(unneeded);
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
			hc_free(blocks[i++].ptr);
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
hc_slab_alloc_plain(void)
{
	if (is_large(HC_SLAB_PLAIN))
		return hc_malloc(HC_SLAB_PLAIN);
	return hc_mem_faulty() ? NULL : take_new(&plain, HC_SLAB_PLAIN);
}

void
hc_slab_free_plain(void *ptr)
{
	if (is_large(HC_SLAB_PLAIN) || ptr == NULL)
		hc_free(ptr);
	else
		hc_slab_free_block(ptr, HC_SLAB_TAIL_MAX);
}

uint64_t
hc_slab_idle(const struct hc_slab_class *class)
{
	uint64_t touched = atomic_load_explicit(&class->touched, memory_order_relaxed);
	uint64_t used = atomic_load_explicit(&class->used, memory_order_relaxed);

	return touched > used ? touched - used : 0; /* they are not read at once */
}

uint64_t
hc_slab_holes(const struct hc_slab_class *class)
{
	uint64_t idle = hc_slab_idle(class), lost = atomic_load_explicit(&class->lost, memory_order_relaxed);

	return idle > lost ? idle - lost : 0;
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
	uint64_t more = atomic_load_explicit(&excess, memory_order_relaxed);
	usage.live -= more < usage.live ? more : usage.live; /* they are not read at once */
	*out = usage;
}
