/*
 * The index: from the 64-bit hash of a key to where its record is, 26 bytes an item and 3 for its bucket. It grows
 * and shrinks by a bucket at a time (linear hashing), so that no operation ever waits for a rehash.
 *
 *     index ── part[64], by the lowest bits of the hash, each with a lock
 *                ├── buckets: 4 bytes each, in chunks of 1024; never fewer than 1024
 *                └── items, in chunks of 2048, without holes: what is removed is replaced by the last one
 *
 * Of a hash, 48 bits are stored; the other 16 are which part and which of the first 1024 buckets: all 64 count.
 *
 * Any thread. Functions that take a part want it locked by the caller. A part's lock is taken before the log's lock
 * (log.h), and held for no call that could wait.
 */
#ifndef HC_FILE_INDEX_H
#define HC_FILE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

#define HC_INDEX_PARTS 64u
#define HC_INDEX_PLACE_BITS 38
#define HC_INDEX_BYTES_MAX ((32u << 20) - 256)
#define HC_INDEX_HOT_MAX 3

struct hc_index;
struct hc_index_part;

enum hc_index_kind {
	HC_INDEX_VALUE,
	/* these two only while the log is loaded */
	HC_INDEX_GONE,   /* nothing older of this key is to be added */
	HC_INDEX_EXPIRY, /* an older value of this key gets this expiry */
};

struct hc_index_item {
	uint64_t hash;
	uint64_t place;    /* of its record, modulo 2^38, in units of 16 bytes */
	uint32_t bytes;    /* its length: rounded up to 16, from 2 M on to 256; up to HC_INDEX_BYTES_MAX */
	int64_t expire_ms; /* HC_NO_EXPIRY; what is beyond 48 bits becomes that */
	uint16_t group;
	uint8_t hot; /* up to HC_INDEX_HOT_MAX */
	enum hc_index_kind kind;
};

enum hc_status hc_index_create(struct hc_index **out);
void hc_index_destroy(struct hc_index *index);

struct hc_index_part *hc_index_lock(struct hc_index *index, uint64_t hash);
void hc_index_unlock(struct hc_index_part *part);

/* Allocates, when need be, so that the next put of this part cannot fail. HC_NOMEM. */
enum hc_status hc_index_reserve(struct hc_index_part *part);

bool hc_index_find(const struct hc_index_part *part, uint64_t hash, struct hc_index_item *out);
/* In place of what has the same hash, if anything. True: something had, and it is in *old. Reserved before. */
bool hc_index_put(struct hc_index_part *part, const struct hc_index_item *item, struct hc_index_item *old);
/* True: it was there, and is in *old. */
bool hc_index_remove(struct hc_index_part *part, uint64_t hash, struct hc_index_item *old);

/* All parts, in their order; for hc_index_clear(). */
void hc_index_lock_all(struct hc_index *index);
void hc_index_unlock_all(struct hc_index *index);

/* What an index was made of, to be freed later; NULL is none. */
struct hc_index_garbage;
/* With all parts locked: empty. What it held is put on *garbage (which may hold some already). No allocation. */
void hc_index_clear(struct hc_index *index, struct hc_index_garbage **garbage);
void hc_index_free_garbage(struct hc_index_garbage *garbage);

enum hc_index_verdict {
	HC_INDEX_KEEP,
	HC_INDEX_REMOVE,
};
typedef enum hc_index_verdict hc_index_look_fn(void *arg, const struct hc_index_item *item);
/*
 * The bucket at *cursor (0 to begin): fn for each item in it, with its part locked; the item may be met twice. The
 * cursor moves on to the next bucket; 0: it was the last. What is there from begin to end is met, whatever is added,
 * removed, grown or shrunk meanwhile. A cursor has 38 bits.
 */
void hc_index_walk(struct hc_index *index, uint64_t *cursor, hc_index_look_fn *fn, void *arg);

/* What goes: `dead` says so, and may be asked more than once; `gone` is told how many of a group did, with their part
 * locked still. */
struct hc_index_sweeper {
	bool (*dead)(void *arg, const struct hc_index_item *item);
	void (*gone)(void *arg, uint16_t group, uint32_t items, uint64_t bytes);
	void *arg;
	int64_t now_ms; /* what expires by then is dead, in any case */
	/* where what is left of parts that go as a whole is put, for hc_index_free_garbage(), many together cheaper;
	 * NULL: it is freed at once */
	struct hc_index_garbage **garbage;
};
/*
 * The same, for who wants no hashes (they are 0 here) and takes much out, several times cheaper: up to `n` items, with
 * their part locked, in the order in which they lie in memory. A part's buckets follow when all its items were seen.
 * A part of moderate size in which all turn out to be dead goes as a whole, cheaper by far. One sweep at a time.
 * Returns how much work it was, in items.
 */
unsigned hc_index_sweep(struct hc_index *index, uint64_t *cursor, unsigned n, const struct hc_index_sweeper *sweeper);

/* Gives back what parts keep in hand for growing, each locked for a moment. */
void hc_index_trim(struct hc_index *index);

/* Sums over the parts, each locked for a moment. */
uint64_t hc_index_count(struct hc_index *index);
uint64_t hc_index_bytes(struct hc_index *index);

#endif
