/*
 * The slabs of a class: which blocks of them are in use, in which list each is, which pages are in memory. All under
 * the class's lock, but for the last functions.
 */
#include "store/slab_private.h"

struct hc_slab_class hc_slab_classes[HC_SLAB_CLASSES];
struct hc_slab_class hc_slab_plain[HC_SLAB_PLAINS];
_Atomic uint64_t hc_slab_known[HC_SLAB_KNOWN];
_Thread_local uint64_t hc_slab_grown;

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
	if ((uintptr_t) class - (uintptr_t)hc_slab_plain < sizeof(hc_slab_plain))
		return;
	unsigned at = (unsigned)(class - hc_slab_classes);
	atomic_fetch_or_explicit(&hc_slab_known[at / 64], (uint64_t)1 << at % 64, memory_order_release);
}

struct hc_slab *
hc_slab_add(struct hc_slab_class *class, size_t len)
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

bool
hc_slab_return_blocks(struct hc_slab_class *class, struct hc_slab *slab, unsigned n, size_t tail_max)
{
	settle_holes(class, slab, n);
	bool unneeded = take_out_unneeded(class, slab);
	if (!unneeded && slab->touched > (size_t)slab->end * class->len + tail_max)
		hc_slab_purge_tail(class, slab);
	return unneeded;
}

/* ---- outside of locks ---- */

void
hc_slab_give_back(struct hc_slab *slab)
{
	hc_slab_unpoison(slab->blocks, HC_REGION_SLOT);
	hc_region_give(slab, slab->touched);
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
