/*
 * Visiting all blocks of all slabs. Any thread; where a visit is, its class keeps, so that a slab that goes takes
 * nothing with it.
 */
#include "store/slab_private.h"

#define AHEAD 20 /* blocks by which the next ones are fetched */

static bool
is_known(unsigned at)
{
	return (atomic_load_explicit(&hc_slab_known[at / 64], memory_order_acquire) >> at % 64 & 1) != 0;
}

static void
begin(struct hc_slab_class *class)
{
	hc_lock_acquire(&class->lock);
	class->visited = class->newest;
	class->visited_at = 0;
	hc_lock_release(&class->lock);
}

/* Under the lock. */
static void
look_at(struct hc_slab_class *class, unsigned n, hc_slab_look_fn *look, void *arg)
{
	const struct hc_slab *slab = class->visited;
	unsigned at = class->visited_at, end = at + n < slab->end ? at + n : slab->end;

	for (char *block = slab->blocks + (size_t)at * class->len; at < end; at++, block += class->len) {
		__builtin_prefetch(block + AHEAD * (size_t) class->len);
		__builtin_prefetch(block + AHEAD * (size_t) class->len + 64);
		if ((slab->holes[at / 64] >> at % 64 & 1) == 0)
			look(arg, block);
	}
	class->visited_at = at;
	if (at >= slab->end) {
		class->visited = slab->older;
		class->visited_at = 0;
	}
}

/* False: the class is done. */
static bool
go_on(struct hc_slab_class *class, unsigned n, hc_slab_look_fn *look, void *arg)
{
	hc_lock_acquire(&class->lock);
	if (class->visited != NULL)
		look_at(class, n, look, arg);
	bool more = class->visited != NULL;
	hc_lock_release(&class->lock);
	return more;
}

bool
hc_slab_visit(struct hc_slab_visit *visit, unsigned n, hc_slab_look_fn *look, void *arg)
{
	while (visit->class < HC_SLAB_CLASSES && !is_known(visit->class))
		visit->class ++;
	if (visit->class == HC_SLAB_CLASSES)
		return false;
	struct hc_slab_class *class = &hc_slab_classes[visit->class];
	if (!visit->begun)
		begin(class);
	visit->begun = go_on(class, n, look, arg);
	visit->class += !visit->begun;
	return true;
}
