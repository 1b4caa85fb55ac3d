/*
 * The order in which a shard's entries are evicted: S3-FIFO, aware of sizes.
 *
 *     class by size ─┬─ small: FIFO of what is new       ─→ hit meanwhile: to main; else out, and remembered
 *        (half a     └─ main: FIFO of what has been hit  ─→ hit meanwhile: round again; else out
 *      power of two)
 *     ghost: fingerprints of what left small: who comes back goes to main at once
 *
 * A hit counts up to HC_ENTRY_HOT_MAX in the entry and touches nothing else; it does not count in
 * the newest fifth of small, where hits come in bursts. To evict, each class offers the oldest of
 * small, when small has more than a tenth of the class's bytes, else the oldest of main; and of the
 * offers the one with the lowest `clock when it was queued + (hot + 1) / size` goes. The clock is
 * the highest such priority that ever went: what stays long without hits becomes cheap, whatever
 * its size. The store has one clock for all shards.
 *
 * The queues do not link entries. They hold, in chunks of many, 32 bits of each entry's hash and a
 * stamp; the entry is found again in the table, and the item is its own when the entry is in that
 * queue and has that stamp. So an entry that is removed leaves its item behind, to be skipped when
 * its turn comes, or thrown out before, when such items become the most.
 *
 * Not synchronized: the shard's lock protects it. It owns the queues' chunks and the ghost, and of
 * the entries `stamp`, HC_ENTRY_HOT and HC_ENTRY_MAIN.
 */
#ifndef HC_STORE_EVICT_H
#define HC_STORE_EVICT_H

#include "store/ghost.h"
#include "store/table.h"

#define HC_EVICT_CLASSES 48u
#define HC_EVICT_CLASS_MIN 10u /* sizes below 2^(10/2) share the first class */
#define HC_EVICT_NONE __builtin_inf()

/* What an entry is charged for its place in a queue, stale items included, and for the ghost. */
#define HC_EVICT_SHARE 8u

struct hc_evict_chunk;

struct hc_evict_queue {
	struct hc_evict_chunk *head, *tail;
	/* the oldest entry, its item taken out already; NULL: not known */
	struct hc_entry *oldest;
	uint64_t oldest_hash;   /* of its key */
	double oldest_clock;    /* when it was queued */
	double oldest_priority; /* or less: it may have been hit since */
	uint64_t bytes;         /* of the entries */
	uint32_t entries;
	uint32_t items;   /* in the chunks, stale ones included */
	uint32_t stamped; /* since `stamp` moved */
	uint8_t stamp;
	/* the chunk behind which stale items are thrown out next; NULL: at the head */
	struct hc_evict_chunk *cleaned;
};

enum hc_evict_which {
	HC_EVICT_SMALL,
	HC_EVICT_MAIN,
};

struct hc_evict {
	struct hc_evict_queue (*classes)[2]; /* owned */
	struct hc_table *table;              /* the shard's */
	struct hc_ghost ghost;
	uint64_t used; /* bits of the classes that have entries */
	uint64_t entries;
	uint64_t items;               /* of all queues */
	struct hc_evict_chunk *spare; /* chunks that no queue needs at present, linked */
	unsigned nspare;              /* or more: those of a queue that was given up as a whole count as one */
	uint64_t search;              /* where to look next for an entry without an item */
	bool weigh_bytes;
};

/* HC_NOMEM. `table` outlives it. */
enum hc_status hc_evict_init(struct hc_evict *evict, struct hc_table *table);
void hc_evict_fini(struct hc_evict *evict);
/* What the shard may hold, on average: how much the ghost remembers. */
void hc_evict_set_capacity(struct hc_evict *evict, uint64_t bytes);

/* A new entry of that hash, in the table already. */
void hc_evict_insert(struct hc_evict *evict, struct hc_entry *entry, uint64_t hash, double clock);
/* It takes the place of `old`, which is in the table no more: of the same key, so what `old` has
 * earned is kept. Returns whether another may be the oldest of its queue now. */
bool hc_evict_replace(
    struct hc_evict *evict, struct hc_entry *old, struct hc_entry *entry, uint64_t hash, double clock);
/* It is gone, for whatever reason. */
void hc_evict_remove(struct hc_evict *evict, struct hc_entry *entry);
/* The same of one whose hc_evict_size() and hc_evict_class() are known. */
void hc_evict_remove_sized(struct hc_evict *evict, const struct hc_entry *entry, size_t size, unsigned class);

/* Queues without entries lose all that is left in them: some chunks here and there would keep whole slabs. */
void hc_evict_give_up(struct hc_evict *evict);
/*
 * Many have gone: does that, and throws out what is left of them in other queues, some chunks at a time. Returns
 * whether there is more.
 */
bool hc_evict_tidy(struct hc_evict *evict, unsigned chunks);

/* Takes those chunks that are not needed at present, for hc_slab_free_plain_list() outside of the shard's lock. */
void *hc_evict_take_spares(struct hc_evict *evict);

/*
 * The entry that should go next, and its hash, left in place for the caller to remove at once; NULL
 * when there is none but `keep`. Moves *clock on. Bounded work.
 */
struct hc_entry *hc_evict_victim(struct hc_evict *evict, struct hc_entry *keep, double *clock, uint64_t *hash);
/* The priority of the one that would be offered first (or less), HC_EVICT_NONE when there is none. */
double hc_evict_best(struct hc_evict *evict);
/* The same of the entry's class alone. */
double hc_evict_best_beside(struct hc_evict *evict, const struct hc_entry *entry);

/* Bytes of queues and ghost. */
size_t hc_evict_bytes(const struct hc_evict *evict);

/* Bytes as the policy sees them: without the allocator's rounding. */
static inline size_t
hc_evict_size(const struct hc_entry *entry)
{
	struct hc_entry_lengths lengths = hc_entry_lengths(entry);

	return sizeof(*entry) + lengths.key + (size_t)lengths.value;
}

/* floor(2 log2(size)), counted from the smallest. */
static inline unsigned
hc_evict_class(size_t size)
{
	unsigned log = 63 - (unsigned)__builtin_clzll(size);
	unsigned half = log < 32 && size * size >> (2 * log + 1) != 0;
	unsigned class = 2 * log + half - HC_EVICT_CLASS_MIN;

	return class < HC_EVICT_CLASSES ? class : HC_EVICT_CLASSES - 1;
}

/* A stamp moves on twenty times while a queue turns over once; a fifth of small is four stamps. */
#define HC_EVICT_STAMPS 20u

/* In the newest fifth of small. */
static inline bool
hc_evict_is_young(const struct hc_evict *evict, const struct hc_entry *entry)
{
	const struct hc_evict_queue *small = &evict->classes[hc_evict_class(hc_evict_size(entry))][HC_EVICT_SMALL];
	unsigned fifth = small->entries < HC_EVICT_STAMPS ? small->entries / 5 : HC_EVICT_STAMPS / 5;

	return (uint8_t)(small->stamp - entry->stamp) < fifth;
}

/* The entry was read. Writes only when there is something to change: most hits are on what is hot
 * already. */
static inline void
hc_evict_hit(const struct hc_evict *evict, struct hc_entry *entry)
{
	unsigned state = hc_entry_state(entry);

	if ((state & HC_ENTRY_HOT) == HC_ENTRY_HOT_MAX)
		return;
	if ((state & HC_ENTRY_MAIN) == 0 && hc_evict_is_young(evict, entry))
		return;
	atomic_store_explicit(&entry->state, (uint8_t)(state + 1), memory_order_relaxed);
}

#endif
