/*
 * All items of the index, one part after the other: walking and sweeping. Any thread; a part is locked for one step.
 */
#include "file/index_private.h"

#define CURSOR_BITS 32

/* ---- walking: in the order of the reversed bits that choose a bucket, in which a split only halves an interval ----
 */

static uint32_t
reverse(uint32_t bits)
{
	bits = (bits >> 1 & 0x55555555) | (bits & 0x55555555) << 1;
	bits = (bits >> 2 & 0x33333333) | (bits & 0x33333333) << 2;
	bits = (bits >> 4 & 0x0f0f0f0f) | (bits & 0x0f0f0f0f) << 4;
	return __builtin_bswap32(bits);
}

/* The bucket that has that place in the order; *width: how many of its bits chose it. */
static uint32_t
bucket_in_order(const struct hc_index_part *part, uint32_t place, uint32_t *width)
{
	uint32_t bits = (uint32_t)__builtin_ctz(part->low);
	uint32_t bucket = reverse(place) & (2 * part->low - 1);

	if (bucket >= part->buckets)
		bucket -= part->low;
	*width = bucket >= part->low || bucket + part->low < part->buckets ? bits + 1 : bits;
	return bucket;
}

static void
walk_bucket(struct hc_index_part *part, uint32_t bucket, hc_index_look_fn *fn, void *arg)
{
	void *link = head_of(part, bucket);
	uint32_t number;

	while (((number = link_get(link)) & END) == 0) {
		struct packed *slot = item_at(part, number);
		struct hc_index_item item;
		unpack(slot, whole_hash(part, slot, bucket), &item);
		if (fn(arg, &item) == HC_INDEX_KEEP) {
			link = &slot->next;
		} else {
			/* What moves into the hole may be what led here: begin again. */
			hc_index_take_out(part, link);
			link = head_of(part, bucket);
		}
	}
}

void
hc_index_walk(struct hc_index *index, uint64_t *cursor, hc_index_look_fn *fn, void *arg)
{
	uint32_t number = (uint32_t)(*cursor >> CURSOR_BITS) & (HC_INDEX_PARTS - 1);
	struct hc_index_part *part = &index->parts[number];
	uint32_t width, items, place = (uint32_t)*cursor;

	hc_lock_acquire(&part->lock);
	items = part->items;
	uint32_t bucket = bucket_in_order(part, place, &width);
	walk_bucket(part, bucket, fn, arg);
	for (uint32_t n = 2 * (items - part->items); n > 0; n--)
		hc_index_settle(part);
	hc_lock_release(&part->lock);

	uint64_t interval = (uint64_t)1 << (CURSOR_BITS - width);
	uint64_t next = (place & ~(interval - 1)) + interval;
	if (next >> CURSOR_BITS != 0) {
		number++;
		next = 0;
	}
	*cursor = number == HC_INDEX_PARTS ? 0 : (uint64_t)number << CURSOR_BITS | next;
}

/* ---- sweeping: a part's items from the last to the first, so that what goes leaves no hole to be filled ---- */

/* In place of a number in a cursor, and beside one. */
#define SETTLING UINT32_MAX  /* the items were seen, the buckets become as few */
#define CHECKING 0x80000000u /* those from there on are dead; are all? */

#define AT_ONCE 32768u /* items of a part that may go as a whole: to tell of each takes a tenth of a millisecond */

#define FETCHED 24 /* items by which they are themselves, where that is all that is looked at */

#define AHEAD 8 /* items by which what the next ones' chains lead to is fetched */

/* What link_to() will want: of items further ahead the next in their chain, of nearer ones the head of it. */
static inline __attribute__((always_inline)) void
look_ahead(const struct hc_index_part *part, uint32_t number)
{
	if (number < 2 * AHEAD)
		return;
	uint32_t far = item_at(part, number - 2 * AHEAD)->next, at = number - AHEAD;
	if ((far & END) == 0)
		__builtin_prefetch(item_at(part, far));
	const struct packed *near = item_at(part, at);
	while ((at & END) == 0)
		at = link_get(&item_at(part, at)->next);
	__builtin_prefetch(head_of(part, bucket_of(part, whole_hash(part, near, at))));
}

/* What has gone from one group, and has not been told of. */
struct tally {
	const struct hc_index_sweeper *sweeper;
	uint16_t group;
	uint32_t items;
	uint64_t bytes;
};

static void
tell(struct tally *tally)
{
	if (tally->items > 0)
		tally->sweeper->gone(tally->sweeper->arg, tally->group, tally->items, tally->bytes);
	tally->items = 0;
	tally->bytes = 0;
}

static inline void
count_gone(struct tally *tally, const struct packed *slot)
{
	if (slot->group != tally->group) {
		tell(tally);
		tally->group = slot->group;
	}
	tally->items++;
	tally->bytes += unpack_bytes(slot->place);
}

/* Under the lock. Whether the item goes. */
static bool
is_dead(const struct hc_index_sweeper *sweeper, const struct packed *slot)
{
	struct hc_index_item item;

	unpack(slot, 0, &item);
	return sweeper->dead(sweeper->arg, &item);
}

/* Under the lock. Returns the number of the item to go on below; 0: they were all seen. */
static uint32_t
sweep_items(struct hc_index_part *part, uint32_t number, unsigned n, const struct hc_index_sweeper *sweeper)
{
	struct tally tally = {.sweeper = sweeper};

	for (; n > 0 && number > 0; n--) {
		look_ahead(part, number);
		const struct packed *slot = item_at(part, --number);
		if (is_dead(sweeper, slot)) {
			count_gone(&tally, slot);
			hc_index_take_out(part, link_to(part, number));
		}
	}
	tell(&tally);
	return number;
}

/* Under the lock. Looks whether items below `number` are dead. Returns the number to go on below; *all: as far as that.
 */
static uint32_t
check_items(
    const struct hc_index_part *part, uint32_t number, unsigned n, const struct hc_index_sweeper *sweeper, bool *all)
{
	*all = part->puts == part->puts_checked;
	if (number > part->items)
		number = part->items;
	while (*all && n > 0 && number > 0) {
		*all = is_dead(sweeper, item_at(part, number - 1));
		number -= *all;
		n--;
	}
	return number;
}

/* Under the lock. All items are dead. */
static void
sweep_part(struct hc_index_part *part, const struct hc_index_sweeper *sweeper, struct hc_index_garbage **garbage)
{
	struct tally tally = {.sweeper = sweeper};

	for (uint32_t number = 0; number < part->items; number++) {
		const struct packed *slot = item_at(part, number);
		__builtin_prefetch(slot + FETCHED);
		count_gone(&tally, slot);
	}
	tell(&tally);
	hc_index_clear_part(part, garbage);
}

/* Under the lock. True: it is done. */
static bool
settle_some(struct hc_index_part *part, unsigned n)
{
	while (n > 0 && hc_index_is_sparse(part)) {
		hc_index_merge(part);
		n--;
	}
	return n > 0;
}

/*
 * Under the lock: one step in a part, from `number` on as a cursor has it. Returns that of the next step; 0: the part
 * is done. First it is seen whether all items are dead, unless there are too many; if they are not, each is. That is
 * known without a look where none expires later than now.
 */
static uint32_t
step(struct hc_index_part *part, uint32_t number, unsigned n, const struct hc_index_sweeper *sweeper,
    struct hc_index_garbage **garbage)
{
	if (number == SETTLING)
		return settle_some(part, n) ? 0 : SETTLING;
	if (number == 0 && part->items <= AT_ONCE && part->latest_ms <= sweeper->now_ms) {
		if (part->items > 0)
			sweep_part(part, sweeper, garbage);
		return SETTLING;
	}
	if (number == 0) {
		part->puts_checked = part->puts;
		number = part->items <= AT_ONCE ? part->items | CHECKING : part->items;
	}
	if ((number & CHECKING) != 0) {
		bool all;
		number = check_items(part, number & ~CHECKING, n, sweeper, &all);
		if (!all)
			return part->items > 0 ? part->items : SETTLING;
		if (number > 0)
			return number | CHECKING;
		if (part->items > 0)
			sweep_part(part, sweeper, garbage);
		return SETTLING;
	}
	if (number > part->items)
		number = part->items;
	number = sweep_items(part, number, n, sweeper);
	return number > 0 ? number : SETTLING;
}

unsigned
hc_index_sweep(struct hc_index *index, uint64_t *cursor, unsigned n, const struct hc_index_sweeper *sweeper)
{
	uint32_t at = (uint32_t)(*cursor >> CURSOR_BITS) & (HC_INDEX_PARTS - 1);
	struct hc_index_part *part = &index->parts[at];
	struct hc_index_garbage *garbage = NULL, **keep = sweeper->garbage != NULL ? sweeper->garbage : &garbage;

	hc_lock_acquire(&part->lock);
	uint32_t items = part->items, number = step(part, (uint32_t)*cursor, n, sweeper, keep);
	unsigned gone = items - part->items;
	hc_lock_release(&part->lock);
	hc_index_free_garbage(garbage);
	if (number == 0)
		at++;
	*cursor = at == HC_INDEX_PARTS ? 0 : (uint64_t)at << CURSOR_BITS | number;
	return gone > n ? gone : n;
}
