/*
 * Size-aware S3-FIFO; evict.h says how it works. Called under the shard's lock only.
 */
#include <assert.h>
#include <math.h>
#include "base/mem.h"
#include "store/evict.h"
#include "store/slab.h"

#define CHUNK_ITEMS 22u
#define CHUNK_SHARED 8u   /* items that share a clock however it moves */
#define CLOCK_STEP 0.1    /* by which a chunk's clock may be wrong, in hits of its class's size */
#define SMALL_SHARE 10u   /* small may have this part of its class: one tenth */
#define MOVES 64u         /* entries sent round in a search before one goes, however hot */
#define SEARCH_GROUPS 32u /* groups of buckets looked at in a search for an entry without item */
#define AHEAD 4u          /* items by which buckets are fetched before their turn; entries, half as many */
#define STALE_MIN 64u     /* stale items that are not worth cleaning up */

struct hc_evict_chunk {
	struct hc_evict_chunk *next;
	double clock; /* when its items were queued */
	uint8_t first, end;
	uint8_t stamps[CHUNK_ITEMS];
	uint32_t hashes[CHUNK_ITEMS];
};

static_assert(sizeof(struct hc_evict_chunk) == 2 * HC_SLAB_PLAIN, "the slabs have blocks of that size");

/* ---- weights ---- */

static double
weight(const struct hc_evict *evict, size_t size)
{
	return evict->weigh_bytes ? sqrt((double)size) : (double)size;
}

static double
priority(const struct hc_evict *evict, const struct hc_entry *entry, double clock)
{
	return clock + (hc_entry_hotness(entry) + 1) / weight(evict, hc_evict_size(entry));
}

/* ---- entries and their queues ---- */

static unsigned
class_of(const struct hc_entry *entry)
{
	return hc_evict_class(hc_evict_size(entry));
}

static enum hc_evict_which
which_of(const struct hc_entry *entry)
{
	return (hc_entry_state(entry) & HC_ENTRY_MAIN) != 0 ? HC_EVICT_MAIN : HC_EVICT_SMALL;
}

static struct hc_evict_queue *
queue_of(struct hc_evict *evict, const struct hc_entry *entry)
{
	return &evict->classes[class_of(entry)][which_of(entry)];
}

static void
set_state(struct hc_entry *entry, enum hc_evict_which which, unsigned hot)
{
	unsigned constant = hc_entry_state(entry) & HC_ENTRY_EXTRAS;

	atomic_store_explicit(&entry->state, (uint8_t)(constant | hot | (which == HC_EVICT_MAIN ? HC_ENTRY_MAIN : 0)),
	    memory_order_relaxed);
}

/* The entry that the item stands for and its whole hash, or NULL: it is stale. */
static struct hc_entry *
find_entry(
    const struct hc_evict *evict, const struct hc_evict_queue *queue, uint32_t hash, uint8_t stamp, uint64_t *whole)
{
	const struct hc_bucket *bucket = hc_table_bucket(evict->table, hc_table_index(evict->table, hash));
	uint8_t tag = hc_bucket_tag(hash);

	for (; bucket != NULL; bucket = hc_bucket_more(bucket)) {
		for (unsigned match = hc_bucket_match(bucket, tag); match != 0; match &= match - 1) {
			struct hc_entry *entry = hc_bucket_entry(bucket, (unsigned)__builtin_ctz(match));
			if (entry->stamp != stamp || &evict->classes[class_of(entry)][which_of(entry)] != queue ||
			    entry == queue->oldest)
				continue;
			*whole = hc_entry_hash(entry);
			if ((uint32_t)*whole == hash)
				return entry;
		}
	}
	return NULL;
}

/* ---- chunks ---- */

static struct hc_evict_chunk *
take_spare(struct hc_evict *evict)
{
	struct hc_evict_chunk *chunk = evict->spare;

	if (chunk != NULL) {
		evict->spare = chunk->next;
		evict->nspare -= evict->nspare > 0;
	}
	return chunk;
}

static void
put_spare(struct hc_evict *evict, struct hc_evict_chunk *chunk)
{
	chunk->next = evict->spare;
	evict->spare = chunk;
	evict->nspare++;
}

void *
hc_evict_take_spares(struct hc_evict *evict)
{
	struct hc_evict_chunk *chunks = evict->spare;

	evict->spare = NULL;
	evict->nspare = 0;
	return chunks;
}

/* A chunk that has room for an item queued now; NULL: no memory. */
static struct hc_evict_chunk *
tail_with_room(struct hc_evict *evict, struct hc_evict_queue *queue, double clock, double weight_of_one)
{
	struct hc_evict_chunk *chunk = queue->tail;

	if (chunk != NULL && chunk->end < CHUNK_ITEMS &&
	    (chunk->end - chunk->first < (int)CHUNK_SHARED || (clock - chunk->clock) * weight_of_one < CLOCK_STEP))
		return chunk;
	chunk = take_spare(evict);
	if (chunk == NULL)
		chunk = hc_slab_alloc_plain(sizeof(*chunk));
	if (chunk == NULL)
		return NULL;
	*chunk = (struct hc_evict_chunk){.clock = clock};
	if (queue->tail != NULL)
		queue->tail->next = chunk;
	else
		queue->head = chunk;
	queue->tail = chunk;
	return chunk;
}

static void
drop_head(struct hc_evict *evict, struct hc_evict_queue *queue)
{
	struct hc_evict_chunk *chunk = queue->head;

	queue->head = chunk->next;
	if (queue->head == NULL)
		queue->tail = NULL;
	if (queue->cleaned == chunk)
		queue->cleaned = NULL;
	put_spare(evict, chunk);
}

/* All of them, untouched, and so whatever they hold. */
static void
drop_all(struct hc_evict *evict, struct hc_evict_queue *queue)
{
	queue->tail->next = evict->spare;
	evict->spare = queue->head;
	evict->nspare++;
	queue->head = queue->tail = queue->cleaned = NULL;
	evict->items -= queue->items;
	queue->items = 0;
}

static void
lose_items(struct hc_evict *evict, struct hc_evict_queue *queue, unsigned n)
{
	queue->items -= n;
	evict->items -= n;
}

/* Its items that are stale go. */
static void
clean_chunk(struct hc_evict *evict, struct hc_evict_queue *queue, struct hc_evict_chunk *chunk)
{
	uint8_t end = 0;
	uint64_t hash;

	for (unsigned i = chunk->first; i < chunk->end; i++) {
		if (find_entry(evict, queue, chunk->hashes[i], chunk->stamps[i], &hash) == NULL)
			continue;
		chunk->hashes[end] = chunk->hashes[i];
		chunk->stamps[end++] = chunk->stamps[i];
	}
	lose_items(evict, queue, (unsigned)(chunk->end - chunk->first - end));
	chunk->first = 0;
	chunk->end = end;
}

/* Moves the items of the chunk behind into this one, if they have room; their clocks are not far apart. */
static bool
join_next(struct hc_evict *evict, struct hc_evict_queue *queue, struct hc_evict_chunk *chunk)
{
	struct hc_evict_chunk *next = chunk->next;

	if (next == queue->tail || chunk->first != 0 || chunk->end + next->end - next->first > (int)CHUNK_ITEMS)
		return false;
	for (unsigned i = next->first; i < next->end; i++) {
		chunk->hashes[chunk->end] = next->hashes[i];
		chunk->stamps[chunk->end++] = next->stamps[i];
	}
	chunk->next = next->next;
	put_spare(evict, next);
	return true;
}

/* While most items are stale: throws out those of another chunk. Not of the tail, which is in use. */
static void
clean_some(struct hc_evict *evict, struct hc_evict_queue *queue)
{
	if (queue->items < 2 * queue->entries + STALE_MIN || queue->head == queue->tail)
		return;
	if (queue->cleaned == NULL) {
		clean_chunk(evict, queue, queue->head);
		queue->cleaned = queue->head;
		return;
	}
	struct hc_evict_chunk *next = queue->cleaned->next;
	if (next == NULL || next == queue->tail) {
		queue->cleaned = NULL;
		return;
	}
	clean_chunk(evict, queue, next);
	if (!join_next(evict, queue, queue->cleaned))
		queue->cleaned = next;
}

static bool
mostly_stale(const struct hc_evict_queue *queue)
{
	return queue->items >= 2 * queue->entries + STALE_MIN && queue->head != queue->tail;
}

static unsigned
tidy_queue(struct hc_evict *evict, struct hc_evict_queue *queue, unsigned chunks)
{
	for (; chunks > 0 && mostly_stale(queue); chunks--)
		clean_some(evict, queue);
	return chunks;
}

void
hc_evict_give_up(struct hc_evict *evict)
{
	for (unsigned class = 0; class < HC_EVICT_CLASSES; class ++) {
		for (int which = 0; which < 2; which++) {
			struct hc_evict_queue *queue = &evict->classes[class][which];
			if (queue->entries == 0 && queue->head != NULL)
				drop_all(evict, queue);
		}
	}
}

bool
hc_evict_tidy(struct hc_evict *evict, unsigned chunks)
{
	hc_evict_give_up(evict);
	for (unsigned class = 0; class < HC_EVICT_CLASSES && chunks > 0; class ++) {
		for (int which = 0; which < 2; which++)
			chunks = tidy_queue(evict, &evict->classes[class][which], chunks);
	}
	return chunks == 0;
}

/* ---- queueing ---- */

static void
move_stamp(struct hc_evict_queue *queue)
{
	if (++queue->stamped <= queue->entries / HC_EVICT_STAMPS)
		return;
	queue->stamped = 0;
	queue->stamp++;
}

/* At the end of its queue. Without memory it has no item, and is found by searching. */
static void
push(struct hc_evict *evict, struct hc_evict_queue *queue, struct hc_entry *entry, uint64_t hash, double clock)
{
	size_t size = hc_evict_size(entry);

	move_stamp(queue);
	entry->stamp = queue->stamp;
	queue->entries++;
	queue->bytes += size;
	struct hc_evict_chunk *chunk = tail_with_room(evict, queue, clock, weight(evict, size));
	if (chunk != NULL) {
		chunk->hashes[chunk->end] = (uint32_t)hash;
		chunk->stamps[chunk->end++] = entry->stamp;
		queue->items++;
		evict->items++;
	}
	clean_some(evict, queue);
}

static void
take_out_sized(struct hc_evict_queue *queue, const struct hc_entry *entry, size_t size)
{
	queue->entries--;
	queue->bytes -= size;
	if (queue->oldest == entry)
		queue->oldest = NULL;
}

static void
take_out(struct hc_evict_queue *queue, const struct hc_entry *entry)
{
	take_out_sized(queue, entry, hc_evict_size(entry));
}

static void
put_in(struct hc_evict *evict, struct hc_entry *entry, uint64_t hash, enum hc_evict_which which, unsigned hot,
    double clock)
{
	unsigned class = class_of(entry);

	set_state(entry, which, hot);
	push(evict, &evict->classes[class][which], entry, hash, clock);
	evict->used |= (uint64_t)1 << class;
	evict->entries++;
}

void
hc_evict_insert(struct hc_evict *evict, struct hc_entry *entry, uint64_t hash, double clock)
{
	put_in(evict, entry, hash, hc_ghost_take(&evict->ghost, hash) ? HC_EVICT_MAIN : HC_EVICT_SMALL, 0, clock);
}

void
hc_evict_remove_sized(struct hc_evict *evict, const struct hc_entry *entry, size_t size, unsigned class)
{
	struct hc_evict_queue *queues = evict->classes[class];

	take_out_sized(&queues[which_of(entry)], entry, size);
	evict->entries--;
	if (queues[HC_EVICT_SMALL].entries == 0 && queues[HC_EVICT_MAIN].entries == 0)
		evict->used &= ~((uint64_t)1 << class);
}

void
hc_evict_remove(struct hc_evict *evict, struct hc_entry *entry)
{
	hc_evict_remove_sized(evict, entry, hc_evict_size(entry), class_of(entry));
}

bool
hc_evict_replace(struct hc_evict *evict, struct hc_entry *old, struct hc_entry *entry, uint64_t hash, double clock)
{
	enum hc_evict_which which = which_of(old);
	unsigned hot = hc_entry_hotness(old);
	size_t size = hc_evict_size(entry), old_size = hc_evict_size(old);
	unsigned class = hc_evict_class(size);

	if (size != old_size && hc_evict_class(old_size) != class) {
		hc_evict_remove(evict, old);
		put_in(evict, entry, hash, which, hot, clock);
		return true;
	}
	/* Its item is the old one's: same hash, same stamp. */
	struct hc_evict_queue *queue = &evict->classes[class][which];
	set_state(entry, which, hot);
	entry->stamp = old->stamp;
	if (size != old_size) /* it may be in other processors' caches, too: hits look at it */
		queue->bytes += size - old_size;
	if (queue->oldest != old)
		return false;
	queue->oldest = entry;
	queue->oldest_priority = priority(evict, entry, queue->oldest_clock);
	return true;
}

/* ---- the oldest of a queue ---- */

static void
set_oldest(
    const struct hc_evict *evict, struct hc_evict_queue *queue, struct hc_entry *entry, uint64_t hash, double clock)
{
	queue->oldest = entry;
	queue->oldest_hash = hash;
	queue->oldest_clock = clock;
	queue->oldest_priority = priority(evict, entry, clock);
}

static struct hc_entry *
first_in_queue(struct hc_evict *evict, const struct hc_evict_queue *queue, const struct hc_bucket *bucket)
{
	for (; bucket != NULL; bucket = hc_bucket_more(bucket)) {
		for (unsigned used = hc_bucket_used(bucket); used != 0; used &= used - 1) {
			struct hc_entry *entry = hc_bucket_entry(bucket, (unsigned)__builtin_ctz(used));
			if (queue_of(evict, entry) == queue)
				return entry;
		}
	}
	return NULL;
}

/* There are entries but no items any more: they were queued without memory. Looks at some groups. */
static void
search_oldest(struct hc_evict *evict, struct hc_evict_queue *queue)
{
	for (unsigned n = 0; n < SEARCH_GROUPS && queue->oldest == NULL; n++) {
		struct hc_bucket *buckets[HC_TABLE_GROUP_MAX];
		unsigned count = hc_table_group(evict->table, evict->search, buckets);
		struct hc_entry *entry = NULL;
		for (unsigned i = 0; i < count && entry == NULL; i++)
			entry = first_in_queue(evict, queue, buckets[i]);
		if (entry != NULL)
			set_oldest(evict, queue, entry, hc_entry_hash(entry), 0);
		evict->search = hc_table_walk_next(evict->table, evict->search);
	}
}

/* The hash of the n-th item from here on, of this chunk or of the next. */
static inline __attribute__((always_inline)) bool
item_ahead(const struct hc_evict_chunk *chunk, unsigned n, uint32_t *hash)
{
	unsigned at = chunk->first + n;

	if (at >= chunk->end) {
		at -= chunk->end;
		chunk = chunk->next;
		if (chunk == NULL || (at += chunk->first) >= chunk->end)
			return false;
	}
	*hash = chunk->hashes[at];
	return true;
}

/*
 * The next items' turn comes soon: the next chunk is fetched, then the buckets of the next items, then their entries
 * and where the ghost will remember them.
 */
static inline __attribute__((always_inline)) void
look_ahead(const struct hc_evict *evict, const struct hc_evict_chunk *chunk)
{
	uint32_t hash;

	if (chunk->next != NULL && chunk->first + AHEAD * 2 >= chunk->end)
		__builtin_prefetch(chunk->next);
	if (item_ahead(chunk, AHEAD, &hash))
		hc_table_prefetch_slot(evict->table, hash);
	if (item_ahead(chunk, AHEAD / 2 - 1, &hash)) {
		hc_table_prefetch_entry(evict->table, hash);
		hc_ghost_prefetch(&evict->ghost, hash);
	}
}

static struct hc_entry *
oldest(struct hc_evict *evict, struct hc_evict_queue *queue)
{
	if (queue->entries == 0)
		return NULL;
	while (queue->oldest == NULL && queue->head != NULL) {
		struct hc_evict_chunk *chunk = queue->head;
		if (chunk->first == chunk->end) {
			drop_head(evict, queue);
			continue;
		}
		unsigned at = chunk->first++;
		lose_items(evict, queue, 1);
		look_ahead(evict, chunk);
		uint64_t hash;
		struct hc_entry *entry = find_entry(evict, queue, chunk->hashes[at], chunk->stamps[at], &hash);
		if (entry != NULL)
			set_oldest(evict, queue, entry, hash, chunk->clock);
	}
	if (queue->oldest == NULL)
		search_oldest(evict, queue);
	return queue->oldest;
}

/* The same, but `keep` only when there is no other: it goes to the end of the queue. */
static struct hc_entry *
oldest_but(struct hc_evict *evict, struct hc_evict_queue *queue, struct hc_entry *keep)
{
	struct hc_entry *entry = oldest(evict, queue);

	if (entry == NULL || entry != keep || queue->entries == 1)
		return entry;
	double clock = queue->oldest_clock;
	take_out(queue, entry);
	push(evict, queue, entry, queue->oldest_hash, clock);
	return oldest(evict, queue);
}

/* ---- the choice ---- */

/* The queue whose oldest the class offers; NULL: it has none but `keep`. */
static struct hc_evict_queue *
offer(struct hc_evict *evict, unsigned class, struct hc_entry *keep)
{
	struct hc_evict_queue *small = &evict->classes[class][HC_EVICT_SMALL];
	struct hc_evict_queue *main = &evict->classes[class][HC_EVICT_MAIN];
	bool over = main->entries == 0 || small->bytes * SMALL_SHARE > small->bytes + main->bytes;
	struct hc_evict_queue *first = over ? small : main, *second = over ? main : small;

	struct hc_entry *entry = oldest_but(evict, first, keep);
	if (entry != NULL && entry != keep)
		return first;
	entry = oldest_but(evict, second, keep);
	return entry != NULL && entry != keep ? second : NULL;
}

static struct hc_evict_queue *
best_offer(struct hc_evict *evict, struct hc_entry *keep)
{
	struct hc_evict_queue *best = NULL;

	for (uint64_t classes = evict->used; classes != 0; classes &= classes - 1) {
		struct hc_evict_queue *queue = offer(evict, (unsigned)__builtin_ctzll(classes), keep);
		if (queue != NULL && (best == NULL || queue->oldest_priority < best->oldest_priority))
			best = queue;
	}
	return best;
}

/* From small to main, or round in main a degree cooler. */
static void
move_on(struct hc_evict *evict, struct hc_evict_queue *queue, double clock)
{
	struct hc_entry *entry = queue->oldest;
	unsigned class = class_of(entry);
	unsigned hot = which_of(entry) == HC_EVICT_SMALL ? 0 : hc_entry_hotness(entry) - 1;

	take_out(queue, entry);
	set_state(entry, HC_EVICT_MAIN, hot);
	push(evict, &evict->classes[class][HC_EVICT_MAIN], entry, queue->oldest_hash, clock);
}

/* The next victim is known: it is about to go. */
static struct hc_entry *
depart(struct hc_evict *evict, struct hc_evict_queue *queue, double *clock, uint64_t *hash)
{
	struct hc_entry *entry = queue->oldest;

	*hash = queue->oldest_hash;
	if (which_of(entry) == HC_EVICT_SMALL)
		hc_ghost_add(&evict->ghost, *hash, hc_evict_size(entry), evict->entries);
	else
		hc_ghost_shrink(&evict->ghost, evict->entries);
	if (queue->oldest_priority > *clock)
		*clock = queue->oldest_priority;
	return entry;
}

struct hc_entry *
hc_evict_victim(struct hc_evict *evict, struct hc_entry *keep, double *clock, uint64_t *hash)
{
	for (unsigned moves = 0;;) {
		struct hc_evict_queue *queue = best_offer(evict, keep);
		if (queue == NULL)
			return NULL;
		double now = priority(evict, queue->oldest, queue->oldest_clock);
		if (now > queue->oldest_priority) {
			queue->oldest_priority = now; /* it was hit: others may come first now */
			continue;
		}
		if (hc_entry_hotness(queue->oldest) == 0 || moves++ == MOVES)
			return depart(evict, queue, clock, hash);
		move_on(evict, queue, *clock);
	}
}

double
hc_evict_best(struct hc_evict *evict)
{
	struct hc_evict_queue *queue = best_offer(evict, NULL);

	return queue != NULL ? queue->oldest_priority : HC_EVICT_NONE;
}

double
hc_evict_best_beside(struct hc_evict *evict, const struct hc_entry *entry)
{
	struct hc_evict_queue *queue = offer(evict, class_of(entry), NULL);

	return queue != NULL ? queue->oldest_priority : HC_EVICT_NONE;
}

/* ---- life ---- */

enum hc_status
hc_evict_init(struct hc_evict *evict, struct hc_table *table)
{
	*evict = (struct hc_evict){.table = table};
	evict->classes = hc_calloc(HC_EVICT_CLASSES, sizeof(*evict->classes));
	return evict->classes != NULL ? HC_OK : HC_NOMEM;
}

static void
queue_fini(struct hc_evict *evict, struct hc_evict_queue *queue)
{
	if (queue->head != NULL)
		drop_all(evict, queue);
}

void
hc_evict_fini(struct hc_evict *evict)
{
	for (unsigned class = 0; evict->classes != NULL && class < HC_EVICT_CLASSES; class ++) {
		queue_fini(evict, &evict->classes[class][HC_EVICT_SMALL]);
		queue_fini(evict, &evict->classes[class][HC_EVICT_MAIN]);
	}
	hc_slab_free_plain_list(hc_evict_take_spares(evict));
	hc_free(evict->classes);
	hc_ghost_fini(&evict->ghost);
}

void
hc_evict_set_capacity(struct hc_evict *evict, uint64_t bytes)
{
	hc_ghost_set_capacity(&evict->ghost, bytes);
}

size_t
hc_evict_bytes(const struct hc_evict *evict)
{
	return (size_t)2 * HC_EVICT_CLASSES * sizeof(evict->classes[0][0]) + hc_ghost_bytes(&evict->ghost) +
	       evict->items * sizeof(struct hc_evict_chunk) / CHUNK_ITEMS;
}
