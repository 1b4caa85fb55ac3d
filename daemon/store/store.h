/*
 * The memory tier: a sharded table of reference-counted entries under one byte budget.
 * All threads share it. Each shard has one lock, held for nanoseconds, never across I/O, a callback
 * or a log line.
 *
 *     store ── shard[] ── table of entries, eviction queue, stamps          (shard lock)
 *       │
 *       └──── models (lock-free look-ups), generation, byte count           (atomics)
 *
 * Who holds an entry: the table one reference, and whoever got it from here one each, given back by
 * hc_entry_unref(). An entry's bytes never change while anybody but the table holds it; an overwrite puts another
 * entry in its place, or, when nobody else has it, a value of the same length into it. Until it is inserted, an entry
 * is its creator's thread's alone.
 *
 * Valid is an entry whose epoch is its model's, whose generation has not been forgotten, and whose expiry
 * is ahead. What is not valid is not there: every function treats it as missing, and reclaims it
 * when it meets it.
 *
 * Of what is valid, some is suspect: it may be out of date, since changes may have been missed. Reads say so, and else
 * it is there as all the rest is. Making everything suspect, and trusting it again, costs O(1).
 *
 * Coherence with an upstream. A stamp is a slot in a table of counters hashed by key; whatever may
 * make a copy of the key outdated bumps it. A copy on its way (a fill, the value of a write) takes
 * a ticket before it sets out, and is kept only if its ticket is good still when it arrives.
 */
#ifndef HC_STORE_STORE_H
#define HC_STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/status.h"
#include "proto/slice.h"
#include "store/models.h"

struct hc_store;

struct hc_key {
	const char *ptr;
	size_t len;
	uint64_t hash; /* hc_hash of the bytes */
};

static inline struct hc_key
hc_key(struct hc_slice bytes)
{
	return (struct hc_key){bytes.ptr, bytes.len, hc_hash(bytes.ptr, bytes.len)};
}

/* ---- entries ---- */

#define HC_ENTRY_HOT_MAX 3

/*
 * What is the same in most entries is left out of it: the fields here are followed by what the bits
 * of `state` say, in this order, then by key and value. Use the functions below.
 *
 *     HC_ENTRY_LONG       struct hc_entry_lengths: key or value do not fit the short lengths
 *     HC_ENTRY_TAGGED     struct hc_entry_tag: not of model default in its epoch 0
 *     HC_ENTRY_VERSIONED  uint64_t: the write's seq upstream
 */
struct hc_entry {
	/* written before insertion or under the shard lock, read by anyone: expiry in the upper 48
	 * bits, the lowest bits of the generation in the lower 16. The expiry is wall ms; or all ones:
	 * none; or, with its highest bit, the address of a cell that holds it: it does not fit */
	_Atomic uint64_t life;
	_Atomic uint32_t refs; /* 0 before and after its life, as compaction sees it */
	/* what is here and in `used` is the store's when nobody holds the entry any more: where the next such one is */
	uint32_t created_s; /* wall seconds of the insertion; 0: not inserted. Constant while it is held */
	/* written under the shard lock, read by anyone: seconds from insertion to the last hit, coded */
	_Atomic uint16_t used;
	/* constant */
	uint16_t value_len_short;
	uint8_t key_len_short;
	/* as `used`; see hc_entry_hits() */
	_Atomic uint8_t hits;
	/* as `used`: HC_ENTRY_HOT, HC_ENTRY_MAIN, and the constant bits above */
	_Atomic uint8_t state;
	uint8_t stamp; /* eviction's: under the shard lock */
	char data[];
};

#define HC_ENTRY_HOT 0x03 /* 0 … HC_ENTRY_HOT_MAX */
#define HC_ENTRY_MAIN 0x04
#define HC_ENTRY_LONG 0x08
#define HC_ENTRY_TAGGED 0x10
#define HC_ENTRY_VERSIONED 0x20
#define HC_ENTRY_EXTRAS /* 8 bytes for each */ (HC_ENTRY_LONG | HC_ENTRY_TAGGED | HC_ENTRY_VERSIONED)

struct hc_entry_lengths {
	uint32_t key;
	uint32_t value;
};

struct hc_entry_tag {
	uint32_t model;
	uint32_t epoch;
};

static inline unsigned
hc_entry_state(const struct hc_entry *entry)
{
	return atomic_load_explicit(&entry->state, memory_order_relaxed);
}

static inline size_t
hc_entry_extras_len(unsigned state)
{
	return 8 * (size_t)((state >> 3 & 1) + (state >> 4 & 1) + (state >> 5 & 1));
}

static inline struct hc_entry_lengths
hc_entry_lengths(const struct hc_entry *entry)
{
	struct hc_entry_lengths lengths = {entry->key_len_short, entry->value_len_short};

	if (__builtin_expect((hc_entry_state(entry) & HC_ENTRY_LONG) != 0, 0))
		memcpy(&lengths, entry->data, sizeof(lengths));
	return lengths;
}

/* The key's bytes; the value's follow. */
static inline const char *
hc_entry_bytes(const struct hc_entry *entry)
{
	unsigned state = hc_entry_state(entry);

	return (state & HC_ENTRY_EXTRAS) == 0 ? entry->data : entry->data + hc_entry_extras_len(state);
}

static inline struct hc_slice
hc_entry_key(const struct hc_entry *entry)
{
	return hc_slice(hc_entry_bytes(entry), hc_entry_lengths(entry).key);
}

static inline struct hc_slice
hc_entry_value(const struct hc_entry *entry)
{
	struct hc_entry_lengths lengths = hc_entry_lengths(entry);

	return hc_slice(hc_entry_bytes(entry) + lengths.key, lengths.value);
}

static inline size_t
hc_entry_value_len(const struct hc_entry *entry)
{
	return hc_entry_lengths(entry).value;
}

/* Where to write the value of an entry that has not been inserted yet. */
static inline char *
hc_entry_value_ptr(struct hc_entry *entry)
{
	return (char *)(uintptr_t)hc_entry_value(entry).ptr;
}

static inline struct hc_entry_tag
hc_entry_tag(const struct hc_entry *entry)
{
	struct hc_entry_tag tag = {HC_MODEL_DEFAULT, 0};
	unsigned state = hc_entry_state(entry);

	if ((state & HC_ENTRY_TAGGED) != 0)
		memcpy(&tag, entry->data + hc_entry_extras_len(state & HC_ENTRY_LONG), sizeof(tag));
	return tag;
}

static inline uint32_t
hc_entry_model(const struct hc_entry *entry)
{
	return hc_entry_tag(entry).model;
}

static inline uint32_t
hc_entry_epoch(const struct hc_entry *entry)
{
	return hc_entry_tag(entry).epoch;
}

#define HC_ENTRY_NO_EXPIRY (((uint64_t)1 << 48) - 1)
#define HC_ENTRY_FAR ((uint64_t)1 << 47)

/* An expiry that does not fit lies in a cell of its own. */
static inline bool
hc_life_has_cell(uint64_t life)
{
	return (int64_t)life < 0 && life >> 16 != HC_ENTRY_NO_EXPIRY; /* HC_ENTRY_FAR is its highest bit */
}

/* Wall ms or HC_NO_EXPIRY. */
static inline int64_t
hc_entry_expire_ms(const struct hc_entry *entry)
{
	uint64_t ms = atomic_load_explicit(&entry->life, memory_order_acquire) >> 16;

	if (ms == HC_ENTRY_NO_EXPIRY)
		return HC_NO_EXPIRY;
	if (__builtin_expect((ms & HC_ENTRY_FAR) == 0, 1))
		return (int64_t)ms;
	return atomic_load_explicit((_Atomic int64_t *)(uintptr_t)(ms & ~HC_ENTRY_FAR), memory_order_relaxed);
}

/* Seq of the write upstream; 0 when unknown, as for raw values and without upstream. */
uint64_t hc_entry_version(const struct hc_entry *entry);

/*
 * Before it is inserted: its expiry (without memory, one after the year 6000 becomes the year
 * 6429); and, in a store that keeps versions, of which write and epoch it is.
 */
void hc_entry_set_expire_ms(struct hc_entry *entry, int64_t expire_ms);
void hc_entry_set_version(struct hc_entry *entry, uint64_t version);
void hc_entry_set_epoch(struct hc_entry *entry, uint32_t epoch);

/* Of its key, made anew. */
uint64_t hc_entry_hash(const struct hc_entry *entry);
/* Whole seconds since it was inserted, since it was last hit (or inserted); 0 when it never was. */
uint32_t hc_entry_age_s(const struct hc_entry *entry, int64_t now_ms);
uint32_t hc_entry_idle_s(const struct hc_entry *entry, int64_t now_ms);
/* Hits since it was inserted: exact up to three, then about, up to 243; how dear it is to eviction, 0 …
 * HC_ENTRY_HOT_MAX. */
uint32_t hc_entry_hits(const struct hc_entry *entry);
unsigned hc_entry_hotness(const struct hc_entry *entry);

/*
 * An entry of that key with room for `value_len` bytes, one reference (the caller's), the store's
 * present generation, the model's present epoch, no expiry, version 0. NULL when out of memory or
 * too long. The caller fills in value and expiry before it inserts it, which it may do once.
 */
struct hc_entry *hc_entry_create(const struct hc_store *store, struct hc_key key, size_t value_len, uint32_t model);
static inline void
hc_entry_ref(struct hc_entry *entry)
{
	atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
}
void hc_entry_unref(struct hc_entry *entry); /* NULL is fine */
/* Bytes it is charged with: allocator's overhead and its share of table and queues included. */
size_t hc_entry_footprint(const struct hc_entry *entry);

/* ---- the store ---- */

/*
 * What a slower tier below this one wants to know, so that nothing outdated is ever found there. Called under the lock
 * of the key's shard, in the order in which things happen to a key: quick, without system calls, and calling nothing
 * in here but functions of entries.
 */
struct hc_store_below {
	void *arg;
	/* A write: it holds this from now on. */
	void (*written)(void *arg, struct hc_entry *entry);
	/* The same, of a copy that was fetched from a tier yet slower. */
	void (*filled)(void *arg, struct hc_entry *entry);
	/* Whatever is below is outdated; perhaps nothing is. */
	void (*removed)(void *arg, struct hc_slice key);
	/* It expires then; HC_NO_EXPIRY. */
	void (*expires)(void *arg, struct hc_entry *entry, int64_t expire_ms);
	/* It goes for want of room, and is valid as far as is known. */
	void (*evicted)(void *arg, struct hc_entry *entry);
};

struct hc_store_config {
	uint64_t max_bytes; /* 0: keep nothing */
	uint32_t shards;    /* power of two up to 64; 0: as many as suit the budget */
	uint32_t max_models;
	bool versions;    /* entries have a version: 8 bytes more each */
	bool weigh_bytes; /* hc_store_set_weigh_bytes() */
	/* as many threads, up to four, may read at once without a word to one another: see hc_store_read_as(). 0: one
	 */
	uint32_t readers;
};

struct hc_store_stats {
	uint64_t entries; /* those invalid but not reclaimed yet included */
	uint64_t bytes;   /* of all entries' footprints */
	uint64_t table_bytes;
	uint64_t max_bytes;
	uint64_t evicted;
	uint64_t expired;   /* reclaimed because their time was over */
	uint64_t reclaimed; /* … because their model or everything had been cleared */
};

enum hc_status hc_store_create(const struct hc_store_config *config, struct hc_store **out);
/* No other thread may be inside. Entries still referenced outside survive until their unref. */
void hc_store_destroy(struct hc_store *store);
struct hc_models *hc_store_models(struct hc_store *store);
/* Before anything is in it; `below` outlives it. */
void hc_store_set_below(struct hc_store *store, const struct hc_store_below *below);
/* Moves on whenever everything is forgotten or becomes suspect. */
uint32_t hc_store_present_generation(const struct hc_store *store);
/* The present generation when the entry, which is or was in the store, is fresh; else the one it is of. */
uint32_t hc_store_generation_of(const struct hc_store *store, const struct hc_entry *entry);
void hc_store_stats(struct hc_store *store, struct hc_store_stats *out);
/* Shards keep the last bit of what has come and gone to themselves: before hc_models_info() is to be exact. */
void hc_store_tell_models(struct hc_store *store);
/* A new budget; hc_store_sweep() evicts down to a smaller one. A part of it bounds what base/large.h keeps. */
void hc_store_set_limit(struct hc_store *store, uint64_t max_bytes);
/*
 * The process has grown by so much since it began to fill the store. What of that is neither the
 * store's nor lies idle in the slabs of entries, beyond HC_PROCESS_SLACK (buffers of connections, what
 * the general allocator makes of them), is taken off the limit by and by, up to half of it. To be
 * called every 100 ms or so while the store changes, by one thread; hc_store_sweep() carries it out.
 * False: it is not done yet.
 */
#define HC_PROCESS_SLACK ((uint64_t)1 << 20)
bool hc_store_fit_process(struct hc_store *store, uint64_t grown_bytes);
/*
 * What eviction is to save: misses (false), where small entries stay longest, since many of them fit; or
 * bytes that have to be fetched anew (true), where that counts for less. Any time.
 */
void hc_store_set_weigh_bytes(struct hc_store *store, bool weigh_bytes);

/*
 * HC_OK: a valid entry, *out has a reference; HC_SUSPECT: the same, and it may be out of date; HC_MISS. A hit counts
 * for eviction. No allocation.
 */
enum hc_status hc_store_get(struct hc_store *store, struct hc_key key, int64_t now_ms, struct hc_entry **out);
/* The same, but leaves no trace: for EXPLAIN, OBJECT and the like. */
enum hc_status hc_store_peek(struct hc_store *store, struct hc_key key, int64_t now_ms, struct hc_entry **out);

/*
 * The same as get for who only looks for a moment, as to copy the value: the entry without a reference, or NULL, after
 * which hc_store_get() may have something to say still. It
 * stays as it is until hc_store_give_back(), to be called at once: others wait. Nothing else of the store may be called
 * in between.
 */
struct hc_entry *hc_store_borrow(struct hc_store *store, struct hc_key key, int64_t now_ms);
void hc_store_give_back(struct hc_store *store, struct hc_key key);

/*
 * These keys are about to be asked for or written: has what that will read brought nearer, all of it at once, so that
 * several of them wait for memory as long as one does. Changes nothing; of more than HC_STORE_MANY, the first ones.
 */
#define HC_STORE_MANY 128
void hc_store_prefetch(struct hc_store *store, const struct hc_key *keys, size_t n);

/* ---- changes, when this daemon is the only authority (no upstream) ---- */

enum hc_store_condition {
	HC_STORE_ANY,
	HC_STORE_ABSENT,  /* only when the key is not there (NX) */
	HC_STORE_PRESENT, /* only when it is (XX) */
	HC_STORE_SAME,    /* only when the present entry is `expected` (NULL: none): compare-and-swap
			   */
};

struct hc_store_put {
	enum hc_store_condition condition;
	struct hc_entry *expected; /* borrowed */
	bool keep_ttl;             /* the new entry takes over the present one's expiry */
	bool give;                 /* the caller's reference to the new entry goes to the store, whatever the status */
};

/*
 * Inserts `entry` (the store takes a reference of its own) in place of what is there. `old`, when
 * not NULL, gets the entry that was there before with a reference, or NULL, whatever the status.
 * HC_OK; HC_MISS: the condition did not hold; HC_CONFLICT: SAME did not; HC_LIMIT: larger than an
 * eighth of the budget (what was there is removed); HC_NOMEM. Evicts others as needed before it
 * returns. An entry that is not valid any more (expired, or its model was cleared since it was
 * created) takes the place of the old one and is gone at once: HC_OK, and the key is not there.
 * `how` may be NULL: HC_STORE_ANY.
 */
enum hc_status hc_store_put(struct hc_store *store, struct hc_key key, struct hc_entry *entry,
    const struct hc_store_put *how, int64_t now_ms, struct hc_entry **old);

/*
 * Does what hc_store_put() of an entry of that model, value and expiry would under HC_STORE_ANY, if that takes no
 * other entry than the one that is there. False, for whatever reason it may be: nothing was done, so that is to be
 * called.
 */
bool hc_store_overwrite(struct hc_store *store, struct hc_key key, uint32_t model, struct hc_slice value,
    int64_t expire_ms, int64_t now_ms);

/*
 * All or none: with HC_STORE_ABSENT none is inserted when one of the keys is there (HC_MISS), with
 * PRESENT when one is not. Of two entries of one key the later stays. HC_LIMIT: one is too large,
 * nothing changed. No SAME.
 */
enum hc_status hc_store_put_many(struct hc_store *store, struct hc_entry *const *entries, size_t n,
    enum hc_store_condition condition, int64_t now_ms);

/* HC_OK: it was there and is gone; HC_MISS. `old` as above. */
enum hc_status hc_store_del(struct hc_store *store, struct hc_key key, int64_t now_ms, struct hc_entry **old);

enum hc_store_expire {
	HC_EXPIRE_ANY,
	HC_EXPIRE_NX = 1, /* only when it has no expiry */
	HC_EXPIRE_XX = 2, /* only when it has one */
	HC_EXPIRE_GT = 4, /* only when the new one is later; no expiry counts as infinite */
	HC_EXPIRE_LT = 8, /* only when it is earlier */
};

/*
 * Sets the expiry (HC_NO_EXPIRY: takes it away). Flags may be ORed as Redis allows. A time not
 * after now_ms removes the entry. HC_OK; HC_MISS; HC_UNCHANGED: the condition did not hold, or
 * there was no expiry to take.
 */
enum hc_status hc_store_expire(struct hc_store *store, struct hc_key key, unsigned flags, int64_t expire_ms,
    int64_t now_ms, struct hc_entry **old);

/* Whether the entry is small enough to be kept at all: what hc_store_put() answers HC_LIMIT to is not. */
bool hc_store_fits(const struct hc_store *store, const struct hc_entry *entry);

/*
 * This thread, before it reads: which of the readers it is. Any number will do, but threads that read a lot should
 * have numbers that follow one another.
 */
void hc_store_read_as(uint32_t reader);

/* Between these, on one thread, nothing else changes or reads the store: all shard locks are held.
 * For EXEC. */
void hc_store_exclusive_begin(struct hc_store *store);
void hc_store_exclusive_end(struct hc_store *store);
/* The same, but others may read, and this thread may call nothing of the store but hc_store_prefetch() and the two
 * below. */
void hc_store_read_begin(struct hc_store *store);
void hc_store_read_end(struct hc_store *store);
/* True on the thread that is between these or those. */
bool hc_store_is_exclusive(const struct hc_store *store);

/*
 * Between them, of up to HC_STORE_MANY keys, in entries[]: what hc_store_borrow() would give, but all of it until the
 * end of being exclusive or the next change, and without it counting as read. That is for hc_store_count_reads(), of
 * the entries[] found (others may be NULL), which may be called for the first `n` of them.
 */
void hc_store_find_many(
    struct hc_store *store, const struct hc_key *keys, size_t n, int64_t now_ms, struct hc_entry **entries);
void hc_store_count_reads(
    struct hc_store *store, const struct hc_key *keys, size_t n, int64_t now_ms, struct hc_entry *const *entries);

/* ---- copies of an upstream's entries ---- */

struct hc_ticket {
	uint32_t stamp;
	uint32_t generation;
};

/* Before a fill is asked for. */
void hc_store_fill_begin(struct hc_store *store, struct hc_key key, struct hc_ticket *ticket);
/* True while nothing has made what a fill under that ticket may bring outdated: another reader may
 * join it. */
bool hc_store_ticket_good(struct hc_store *store, struct hc_key key, const struct hc_ticket *ticket);
enum hc_store_fill {
	HC_FILL_NEW,     /* from upstream: the tier below does not have it */
	HC_FILL_DOUBTED, /* the same, while changes may be missed: it is suspect from the start */
	HC_FILL_FILED,   /* from the tier below */
	HC_FILL_FAILED,  /* nobody could say what there is */
};

/*
 * The fill has come (`entry`), or came to nothing (NULL). Kept when the ticket is good and no local
 * write of the key is under way: HC_OK. Otherwise HC_STALE (or HC_LIMIT, HC_NOMEM): answer from it,
 * it is not kept. Either way the stamp moves on, so that no later read joins a fill that was asked
 * for before this one came. NULL with HC_FILL_NEW: the key is not there, and a suspect copy of it goes.
 */
enum hc_status hc_store_fill_end(struct hc_store *store, struct hc_key key, const struct hc_ticket *ticket,
    struct hc_entry *entry, enum hc_store_fill fill, int64_t now_ms);

/*
 * A suspect `entry` was found to be what the upstream has: fresh again, if it is what the store has still and the
 * ticket is good: HC_OK; else HC_STALE. It expires then. With HC_FILL_DOUBTED it stays suspect. Stamps as above.
 */
enum hc_status hc_store_renew(struct hc_store *store, struct hc_key key, const struct hc_ticket *ticket,
    struct hc_entry *entry, int64_t expire_ms, enum hc_store_fill fill);

/* A write is on its way upstream: the present copy goes, fills under way are not kept. Pairs with
 * write_end. True: another of the key (or of one that shares its stamp) is under way already. */
bool hc_store_write_begin(struct hc_store *store, struct hc_key key, struct hc_ticket *ticket);
/*
 * It was answered: `entry` is what the key holds now (NULL: nothing, or not known). Kept (HC_FILL_NEW, HC_FILL_DOUBTED)
 * when nothing came between and no other write of the key is under way: HC_OK; else HC_STALE, and no
 * copy is left.
 */
enum hc_status hc_store_write_end(struct hc_store *store, struct hc_key key, const struct hc_ticket *ticket,
    struct hc_entry *entry, enum hc_store_fill fill, int64_t now_ms);
/* True while a write of the key (or of one that shares its stamp) is under way. */
bool hc_store_writing(struct hc_store *store, struct hc_key key);

/*
 * The key changed elsewhere: the copy goes unless it is of that version or a later one (0: goes in any case). True: it
 * went, and had been read since it was kept.
 */
bool hc_store_invalidate(struct hc_store *store, struct hc_key key, uint64_t version);
/*
 * The key was at that version upstream, by a write of this daemon whose answer may never have come: unless one is under
 * way still, an older copy goes.
 */
void hc_store_invalidate_older(struct hc_store *store, struct hc_key key, uint64_t version);
/* Everything is forgotten, fills and writes under way included. O(1); memory comes back by
 * sweeping. */
void hc_store_forget_all(struct hc_store *store);

/*
 * Everything is suspect from now on; fills and writes under way are not kept. O(1). Returns the first generation that
 * was fresh until now, for hc_store_trust().
 */
uint32_t hc_store_suspect_all(struct hc_store *store);
/* What is of that generation or a later one is fresh again, but for what was made suspect alone or is forgotten. O(1).
 */
void hc_store_trust(struct hc_store *store, uint32_t generation);
/* One key: its copy is suspect, until it is renewed or replaced. What is on its way is not kept. */
void hc_store_suspect(struct hc_store *store, struct hc_key key);

/* ---- walking and upkeep ---- */

/*
 * SCAN: at least `count` places of the table on from *cursor (0 to begin; 0 again when done), valid entries
 * appended to the caller's list with a reference each. What stays in the store for the whole walk
 * is seen at least once.
 */
struct hc_entry_list {
	struct hc_entry **items;
	size_t n;
	size_t cap;
};
enum hc_status hc_store_scan(
    struct hc_store *store, uint64_t *cursor, size_t count, int64_t now_ms, struct hc_entry_list *list);
/* Gives the references back and frees the array. */
void hc_entry_list_fini(struct hc_entry_list *list);

/* Valid entries. Known when nothing is waiting to be reclaimed, else counted by walking, which may take long. */
uint64_t hc_store_count(struct hc_store *store, int64_t now_ms);
/* The same in steps of less than a millisecond, for who has others to serve; {0} to begin with. */
struct hc_store_counting {
	uint64_t n; /* so far */
	uint64_t place;
	uint32_t shard;
};
/* False: that was the last. */
bool hc_store_count_on(struct hc_store *store, struct hc_store_counting *counting, int64_t now_ms);

/* What a sweep has left to do. */
enum hc_sweep {
	HC_SWEEP_DONE, /* little */
	HC_SWEEP_MORE, /* another call is worth while: much of what it met was not valid */
	HC_SWEEP_OVER, /* the same, soon: more memory is taken than the budget allows */
};

/*
 * Evicts down to the budget, for a quarter of `budget_us` of the thread's time on a processor, about. Once there,
 * reclaims what is not valid, for the rest. One thread at a time.
 */
enum hc_sweep hc_store_sweep(struct hc_store *store, int64_t now_ms, int64_t budget_us);
/* Entries that it has reclaimed since this was asked last, about. The sweeping thread. */
size_t hc_store_swept(struct hc_store *store);
/* Wall ms before which nothing expires, HC_NO_EXPIRY when nothing does; it may be long past. */
int64_t hc_store_soonest_expiry_ms(struct hc_store *store);

#endif
