/*
 * Compaction of slabs: closing the holes, block by block. Any thread; owns nothing.
 */
#include "store/slab_private.h"

#define TURN ((size_t)64 << 10)      /* work on one class before the worst is looked for again */
#define TRIES 4                      /* slabs looked at in one step; moves refused in one class */
#define MOVE_WORK 256                /* what a move costs beyond copying the bytes */
#define PURGE_WORK 16384             /* what taking pages out of memory, and in again later, costs */
#define TAIL_LEFT ((size_t)16 << 10) /* behind the last block, while the slab is being emptied */

/* Fewer are not worth while. */
static uint64_t
holes_min(const struct hc_slab_class *class)
{
	return hc_region_page() + class->len;
}

/* The one in which the greatest part of the memory is holes; NULL: none is worth while. */
static struct hc_slab_class *
worst_class(const struct hc_slab_compaction *compaction)
{
	struct hc_slab_class *worst = NULL;
	double worst_part = 0;

	for (unsigned i = 0; i < HC_SLAB_KNOWN; i++) {
		uint64_t bits = atomic_load_explicit(&hc_slab_known[i], memory_order_acquire);
		for (bits &= ~compaction->hopeless[i]; bits != 0; bits &= bits - 1) {
			struct hc_slab_class *class = &hc_slab_classes[i * 64 + (unsigned)__builtin_ctzll(bits)];
			uint64_t holes = hc_slab_holes(class);
			double part =
			    (double)holes / (double)(atomic_load_explicit(&class->used, memory_order_relaxed) + holes);
			if (holes >= holes_min(class) && part > worst_part) {
				worst = class;
				worst_part = part;
			}
		}
	}
	return worst;
}

/* Under the lock. Whether there was something to give back. */
static bool
purge_some(struct hc_slab_class *class)
{
	unsigned holey = class->listed & HC_SLAB_HOLEY;

	if (holey != 0 && class->len >= HC_SLAB_HOLLOW_MIN) {
		hc_slab_hollow_out(class, class->lists[__builtin_ctz(holey)]);
		return true;
	}
	struct hc_slab *slab = class->lists[HC_SLAB_GROWABLE];

	for (unsigned i = 0; i < TRIES && slab != NULL; i++, slab = slab->next) {
		if (hc_slab_tail(class, slab) > 0) {
			hc_slab_purge_tail(class, slab);
			return true;
		}
	}
	return false;
}

/* Under the lock. One of the emptiest, whose last block can be moved: *from is it. NULL: none can. */
static struct hc_slab *
find_source(struct hc_slab_class *class, const struct hc_slab_mover *mover, void **from)
{
	unsigned holey = class->listed & HC_SLAB_HOLEY;
	struct hc_slab *slab = holey != 0 ? class->lists[__builtin_ctz(holey)] : NULL;

	for (unsigned i = 0; i < TRIES && slab != NULL; i++, slab = slab->next) {
		void *last = slab->blocks + ((size_t)slab->end - 1) * class->len;
		if (mover->pin(last)) {
			*from = last;
			return slab;
		}
	}
	return NULL;
}

/* Under the lock. In another slab with holes, or in one of its own, all of which are before its last block. */
static void *
take_destination(struct hc_slab_class *class, struct hc_slab *source)
{
	struct hc_slab *slab = hc_slab_fullest(class);

	if (slab == source && slab->next != NULL)
		slab = slab->next;
	return hc_slab_take_block(class, slab);
}

static size_t
move_block(struct hc_slab_compaction *compaction, const struct hc_slab_mover *mover, void *from, void *to)
{
	struct hc_slab_class *class = compaction->class;

	bool moved = mover->move(from, to, mover->arg);
	if (!moved)
		compaction->refused++;
	/* Where blocks in use are far apart, every few moves empty some pages. */
	bool purged = hc_slab_free_block(moved ? from : to, TAIL_LEFT);
	return MOVE_WORK + class->len + (purged ? PURGE_WORK : 0);
}

/* In the class at work. 0: there is nothing more to gain. */
static size_t
step(struct hc_slab_compaction *compaction, const struct hc_slab_mover *mover)
{
	struct hc_slab_class *class = compaction->class;
	void *from = NULL, *to = NULL;

	if (compaction->refused >= TRIES || hc_slab_holes(class) < holes_min(class))
		return 0;
	hc_lock_acquire(&class->lock);
	bool purged = purge_some(class);
	if (!purged && class->len < HC_SLAB_HOLLOW_MIN) {
		struct hc_slab *source = find_source(class, mover, &from);
		if (source != NULL)
			to = take_destination(class, source);
	}
	hc_lock_release(&class->lock);
	if (purged)
		return PURGE_WORK;
	return from != NULL ? move_block(compaction, mover, from, to) : 0;
}

static void
give_up_class(struct hc_slab_compaction *compaction)
{
	unsigned at = (unsigned)(compaction->class - hc_slab_classes);

	compaction->hopeless[at / 64] |= (uint64_t)1 << at % 64;
	compaction->left = 0;
}

size_t
hc_slab_compact(struct hc_slab_compaction *compaction, const struct hc_slab_mover *mover)
{
	hc_slab_free_spares();
	for (;;) {
		if (compaction->left == 0) {
			compaction->class = worst_class(compaction);
			compaction->left = TURN;
			compaction->refused = 0;
		}
		if (compaction->class == NULL)
			return 0;
		uint64_t before = atomic_load_explicit(&compaction->class->touched, memory_order_relaxed);
		size_t work = step(compaction, mover);
		uint64_t after = atomic_load_explicit(&compaction->class->touched, memory_order_relaxed);
		compaction->gained += before > after ? before - after : 0;
		if (work > 0) {
			compaction->left -= work < compaction->left ? work : compaction->left;
			return work;
		}
		give_up_class(compaction);
	}
}
