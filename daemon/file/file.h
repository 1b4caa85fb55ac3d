/*
 * The file tier: a log of segments in a directory, and an index of it in memory. It knows keys, values and models,
 * and nothing of commands or of the memory tier; `docs/file-format.md` has the format and the reasons.
 *
 *     append ─→ index, at once ──────────────────────────────→ find, read
 *        └────→ queue ─→ writer thread ─→ segment files ─────→ reader threads
 *                                              keeper thread: loads at start, reclaims, sweeps
 *
 * What is promised, and rests on this order:
 *
 *  1. Changes of one key are appended in the order in which they happened (the caller holds its lock of the key).
 *     A position is given, and the index changed, in one step: of two appends of a key, the later has the later
 *     position, and the index has the later one's.
 *  2. The log holds records in the order of positions, and is written in that order without gaps. What is loaded
 *     after a kill is what was written: a beginning of what was appended.
 *  3. A value is appended only while its epoch and generation are the present ones, looked at in the step that gives
 *     it its position. The caller counts the epoch (generation) up first and appends the clear then: no value of the
 *     old one lies behind the clear.
 *  4. A reader looks at the index again after it has read: what it hands out was still the key's value then.
 *  5. Moving a record (reclaim) is one step: the index still has it where it was, and is given the new place.
 *  6. Loading adds only what is not there, newest first. A key deleted, dead or expired leaves a mark until loading
 *     is over, so that nothing older of it is added.
 *  7. What could not be written is deleted before the log is trusted again.
 *
 * A key is known to the index by 64 bits of a hash that is keyed with a secret of the directory. Two keys that share
 * all of them (at 10 million keys: one chance in 400,000) replace each other; no read ever confuses them.
 *
 * All functions may be called from any thread unless it says otherwise. Locks: the caller's may be held around
 * hc_file_append(), hc_file_find(), hc_file_touch(), hc_file_claim() and hc_file_unclaim(), which make no system
 * call; around nothing else.
 */
#ifndef HC_FILE_FILE_H
#define HC_FILE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/status.h"
#include "proto/slice.h"

struct hc_file;
struct hc_file_io;

#define HC_FILE_CALLERS "warm." /* files of such names in the directory are the caller's own */
#define HC_FILE_QUEUE "outage." /* and of such */
#define HC_FILE_STATE_MAX 256   /* bytes of the caller's own state */

enum hc_file_sync {
	HC_FILE_SYNC_NO,       /* the kernel's business: a power cut costs what it had not written back */
	HC_FILE_SYNC_EVERYSEC, /* fdatasync each second, beside the writing */
	HC_FILE_SYNC_ALWAYS,   /* before anything counts as written */
};

struct hc_file_config {
	const char *dir;        /* made when missing, 0700; its parent must be there */
	uint64_t max_bytes;     /* of all files in it; at least 4 segments */
	uint32_t segment_bytes; /* 0: max_bytes / 32, within 1 M … 64 M. Else a multiple of 4096 up to 64 M */
	uint64_t queue_bytes;   /* what may wait for the writer; 0: 64 M */
	uint32_t queue_records; /* 0: 16384 */
	uint32_t readers;       /* threads that read; 0: 4 */
	uint32_t carry_percent; /* of a segment, that reclaim may carry over; 0: 20. Up to 50 */
	bool no_carry;          /* reclaim carries nothing over */
	enum hc_file_sync sync;
	uint32_t retry_ms;           /* between attempts to come back after a fault; 0: 5000 */
	const struct hc_file_io *io; /* NULL: the system's; see io.h */

	/* All with `arg`, from any thread, with locks of this module held: quick, and calling nothing in here. */
	void *arg;
	/* Lives as long as the file. */
	struct hc_slice (*model_name)(void *arg, uint32_t id);
	/* The present epoch. */
	uint32_t (*model_epoch)(void *arg, uint32_t id);
	/* The present generation, which clearing all moves on; NULL: there is none. */
	uint32_t (*generation)(void *arg);
	/* What lies before is not carried over when its segment is reclaimed; NULL: 0. */
	uint64_t (*carry_from)(void *arg);
	/* These two by hc_file_open() and while loading, without locks. HC_LIMIT, HC_NOMEM: the model's records are
	 * left out. */
	enum hc_status (*model_intern)(void *arg, struct hc_slice name, uint32_t *id);
	/* Only during hc_file_open(). */
	void (*model_raise)(void *arg, uint32_t id, uint32_t epoch);
	/* An owner is needed no more. On the writer thread, without locks. */
	void (*release)(void *arg, void *owner);
};

struct hc_file_failure {
	pid_t holder;      /* of a directory that is in use; 0: not known */
	char message[256]; /* for an operator, one line */
};

/*
 * HC_OK: open, and loading in the background. What the log knows of epochs has been told by model_raise.
 * HC_CONFLICT: another process has the directory; HC_INVALID: settings that cannot be, or a directory of a newer
 * format (which is left as it was); HC_NOMEM; HC_ERROR: the system refused, errno. `failure` says more.
 */
enum hc_status hc_file_open(const struct hc_file_config *config, struct hc_file **out, struct hc_file_failure *failure);
/*
 * Writes what waits, seals the last segment, syncs it (unless HC_FILE_SYNC_NO), ends the threads. No other thread may
 * be inside, nor any read be under way that the caller has not seen come back. NULL is fine.
 */
void hc_file_close(struct hc_file *file);

/* ---- appending ---- */

enum hc_file_type {
	HC_FILE_VALUE = 1,
	HC_FILE_DELETE,      /* key */
	HC_FILE_EXPIRE,      /* key, expire_ms: of the value that is there */
	HC_FILE_CLEAR_MODEL, /* model, epoch: its new one, already in force */
	HC_FILE_CLEAR_ALL,   /* after the generation has moved on */
};

struct hc_file_record {
	enum hc_file_type type;
	bool droppable; /* a value that may be refused when there is much to write: a demotion */
	struct hc_slice key;
	struct hc_slice value;
	int64_t expire_ms; /* wall ms, HC_NO_EXPIRY */
	uint32_t model;
	uint32_t epoch;
	uint32_t generation;
	uint64_t version;
	uint32_t created_s;
	uint8_t hits;
};

/*
 * No system call, no allocation but one in a thousand, no waiting. `*mark` is set whatever the status: see
 * hc_file_wait(); what the status says is safe against a kill once the log is written up to it. It is 0 when nothing
 * needs to be waited for.
 *
 * VALUE: HC_OK: key and value stay where they are until release(owner); they are not copied. With any other status
 * the owner stays the caller's:
 *   HC_STALE    its epoch or generation is not the present one
 *   HC_LIMIT    droppable: there is too much to write, nothing happened. Else: longer than half a segment
 *   HC_NOMEM
 * and, but for a droppable one, what the log had of the key is gone, as after a DELETE.
 * DELETE: HC_OK; HC_MISS: there was nothing to delete (the mark still counts: an earlier change may be on its way).
 * EXPIRE: HC_OK; HC_MISS: no live value is known (while loading, one that has not been met yet is deleted). HC_NOMEM:
 * it is deleted. CLEAR_MODEL, CLEAR_ALL: HC_OK. O(1) both (CLEAR_ALL: O(partitions of the index)). Only a value has an
 * owner, and only for it key and value must stay.
 *
 * The writer is not woken by this (that would be a system call under the caller's lock): call hc_file_kick() when no
 * lock is held, or hc_file_wait(), which does. Without either it looks every few milliseconds while there is something
 * to do, and after seconds when there was nothing for long.
 */
enum hc_status hc_file_append(struct hc_file *file, const struct hc_file_record *record, void *owner, uint64_t *mark);
void hc_file_kick(struct hc_file *file);

/*
 * A hint: much of what the log has is likely to have expired, and the index is worth looking through before that is
 * due. Cheap; may be repeated.
 */
void hc_file_sweep_soon(struct hc_file *file);

/* What a value takes in the log, for hc_file_claim(). Records without a value: lengths 0. */
uint64_t hc_file_record_bytes(size_t key_len, size_t value_len);

/*
 * Room in the queue, claimed before a command runs and given back after it has appended (or not). True: so many
 * records of so many bytes will be taken, whatever others do. False: there is not enough now; wait by
 * hc_file_wait_room() and try again. More than all the room there is, is granted when the queue is empty and nobody
 * else has a claim. An append that was not claimed is taken all the same (the queue then grows on the heap).
 */
bool hc_file_claim(struct hc_file *file, uint32_t records, uint64_t bytes);
void hc_file_unclaim(struct hc_file *file, uint32_t records, uint64_t bytes);

/* In the caller's storage, untouched from the call until fn is called. */
struct hc_file_waiter {
	void (*fn)(struct hc_file_waiter *waiter); /* on the writer thread, without locks: only post it on */
	struct hc_file_waiter *next;               /* the file's, like mark */
	uint64_t mark;
};
/* HC_OK: a claim is worth a try at once, fn is not called; HC_PENDING: it will be when it is. */
enum hc_status hc_file_wait_room(struct hc_file *file, struct hc_file_waiter *waiter);

/* Up to where the log is in the page cache; with HC_FILE_SYNC_ALWAYS, on the disk. */
uint64_t hc_file_written(const struct hc_file *file);
/* HC_OK: written up to the mark, fn is not called; HC_PENDING: it will be when it is, or when the tier was switched
 * off by a fault and does not hold writes up any more. */
enum hc_status hc_file_wait(struct hc_file *file, uint64_t mark, struct hc_file_waiter *waiter);

/* State of the caller's own, up to HC_FILE_STATE_MAX bytes: kept with the log from here on, found again by the next
 * hc_file_open(). No lock of the caller's. Returns the mark. */
uint64_t hc_file_set_state(struct hc_file *file, const void *ptr, size_t len);
/* The position that the next record gets, or a later one. */
uint64_t hc_file_head(struct hc_file *file);
/* What was found at open or set since; returns its length (0: none). `buf` has HC_FILE_STATE_MAX bytes. */
size_t hc_file_state(struct hc_file *file, void *buf);

/* ---- finding and reading ---- */

struct hc_file_item {
	uint64_t hash;     /* of the key, under the directory's secret */
	uint64_t position; /* where its record begins */
	uint32_t bytes;    /* of the whole record, rounded up to 16 */
	int64_t expire_ms;
	uint32_t model;
	uint32_t epoch;
	uint8_t hot; /* 0 … 3: how often it was touched, halved when it is carried over */
};

/* HC_OK: there is (all but certainly) a live value; HC_MISS. By the index alone. `out` may be NULL. While the log is
 * being loaded, what has not been met yet is a miss. */
enum hc_status hc_file_find(struct hc_file *file, struct hc_slice key, int64_t now_ms, struct hc_file_item *out);
/* The value was of use: reclaim carries it over. */
void hc_file_touch(struct hc_file *file, struct hc_slice key);

struct hc_file_value {
	struct hc_slice key;
	struct hc_slice value;
	int64_t expire_ms;
	uint32_t model;
	uint32_t epoch;
	uint64_t version;
	uint32_t created_s;
	uint8_t hits;
	uint64_t position;
};

/* In the caller's storage, untouched from the call until fn is called. */
struct hc_file_read {
	struct hc_slice key; /* its bytes stay too. ptr NULL: whatever key has that `hash`, as for items of a walk */
	uint64_t hash;       /* used only then; else set by the call */
	bool touch;          /* as hc_file_touch(), when it is found */
	/*
	 * On a reader thread, without locks. HC_OK: `value` is valid during the call. Else it is NULL: HC_MISS: not
	 * (or no longer) there; HC_ERROR: damaged (and deleted), or the system could not read it; HC_NOMEM.
	 */
	void (*fn)(struct hc_file_read *read, enum hc_status status, const struct hc_file_value *value);
	/* the file's */
	struct hc_file_read *next;
	struct hc_file_waiter waiter;
	struct hc_file *file;
};
/* Always answers by fn, never before it is called on another thread. At most a pread or, when the record moved
 * meanwhile, another. A record not yet written is waited for. */
void hc_file_read(struct hc_file *file, struct hc_file_read *read);

/*
 * The same without a thread in between, when the page cache has the record: HC_OK, HC_MISS, HC_ERROR as above,
 * `value` pointing into `buf`; HC_PENDING: it would have to wait for a disk (or `cap` is too small, or the system
 * cannot tell): use hc_file_read(). Never blocks; one system call. No lock of the caller's.
 */
enum hc_status hc_file_read_cached(
    struct hc_file *file, struct hc_slice key, bool touch, void *buf, size_t cap, struct hc_file_value *value);

/* ---- all of it ---- */

/*
 * At least about `n` items on from *cursor (0 to begin; 0 again when done; it fits in 40 bits): fn is called for each
 * live one, without locks. What is there for the whole walk is met at least once, and may be met twice.
 */
enum hc_status hc_file_walk(struct hc_file *file, uint64_t *cursor, size_t n, int64_t now_ms,
    void (*fn)(void *arg, const struct hc_file_item *item), void *arg);

enum hc_file_mode {
	HC_FILE_LOADING, /* on, and not everything found yet */
	HC_FILE_ON,
	HC_FILE_OFF, /* by a fault: nothing is written; what has not changed is still read */
};

struct hc_file_stats {
	enum hc_file_mode mode;
	int fault;           /* errno that switched it off last; 0: none so far */
	uint64_t faults;     /* times it was switched off */
	uint64_t items;      /* live values; those expired but not swept yet included */
	uint64_t live_bytes; /* of their records */
	uint64_t disk_bytes; /* of all files; the segment being written counts in full */
	uint64_t max_bytes;
	uint64_t segments;
	uint64_t index_bytes;  /* memory of the index */
	uint64_t load_records; /* met by loading so far */
	uint64_t load_segments_left;
	uint64_t load_ms;                         /* that loading took, once it is over */
	uint64_t appended[HC_FILE_CLEAR_ALL + 1]; /* records by type; [0]: the log's own */
	uint64_t appended_bytes;                  /* of values, as the caller appended them */
	uint64_t written_bytes;                   /* to files: carried records and indexes too */
	uint64_t writes;                          /* system calls that wrote records */
	uint64_t syncs;
	uint64_t carried; /* records carried over by reclaim */
	uint64_t carried_bytes;
	uint64_t dropped_live;  /* live values given up by reclaim */
	uint64_t reclaimed;     /* segments */
	uint64_t shed;          /* droppable values refused */
	uint64_t too_long;      /* values longer than half a segment */
	uint64_t lost;          /* records not written because the tier was off */
	uint64_t reads;         /* answered HC_OK */
	uint64_t read_bytes;    /* of their records */
	uint64_t reads_cached;  /* of them, by hc_file_read_cached() */
	uint64_t read_misses;   /* not there any more, or another key of that hash */
	uint64_t read_errors;   /* the system could not read */
	uint64_t damaged;       /* records whose checksum was wrong, indexes and headers too */
	uint64_t queue_records; /* waiting for the writer */
	uint64_t queue_bytes;
	uint64_t foreign; /* files in the directory that are not ours */
};

void hc_file_stats(struct hc_file *file, struct hc_file_stats *out);
/* Live values, as in the statistics. Cheap. */
uint64_t hc_file_count(struct hc_file *file);
/* A word for logs and INFO: "loading", "on", "off". */
const char *hc_file_mode_name(enum hc_file_mode mode);

#endif
