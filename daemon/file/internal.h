/*
 * What the files of this module share. Nobody else includes it.
 *
 *     hc_file ── index            parts' locks (index.h)
 *       ├─ log                    where the next record goes, and the queue          log.lock
 *       │    └─ groups            pairs of model and epoch; what the index calls them log.lock
 *       ├─ segments               files: oldest … newest                             segments.lock
 *       ├─ writer                 the segment being written                          writer thread only
 *       ├─ waiters                who waits for the writer                           waiters.lock
 *       ├─ reads                  who waits for a reader                             reads.lock
 *       └─ keeper                 loads, reclaims, sweeps                            keeper.lock
 *
 * Order of locks: an index part (all of them: in their order) → log → one of the others, of which no two are held at
 * once, but for segments → keeper. None is held across a system call but those that sleep on it, or wake who does.
 *
 * Who changes what an item of the index says, always with its part locked:
 *   append   a new position, an expiry, or gone; position and index in one hold of part and log (file.h, 1)
 *   writer   while the tier is off: gone, if the item is still what is dropped
 *   keeper   loading: adds what is not there; reclaim: moves or removes what is still where it was; sweep: removes
 *            what is dead
 *   readers  nothing but heat; what is damaged is deleted by an append
 */
#ifndef HC_FILE_INTERNAL_H
#define HC_FILE_INTERNAL_H

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/clock.h"
#include "file/file.h"
#include "file/format.h"
#include "file/index.h"
#include "file/io.h"

/* ---- counters: relaxed, by any thread ---- */

#define HC_FILE_COUNTERS(X)   \
	X(faults)             \
	X(appended_bytes)     \
	X(written_bytes)      \
	X(writes)             \
	X(syncs)              \
	X(carried)            \
	X(carried_bytes)      \
	X(dropped_live)       \
	X(reclaimed)          \
	X(shed)               \
	X(too_long)           \
	X(lost)               \
	X(reads)              \
	X(read_bytes)         \
	X(reads_cached)       \
	X(read_misses)        \
	X(read_errors)        \
	X(damaged)            \
	X(foreign)            \
	X(load_records)       \
	X(load_segments_left) \
	X(load_ms)

struct hc_file_counters {
#define X(name) _Atomic uint64_t name;
	HC_FILE_COUNTERS(X)
#undef X
};

#define HC_COUNT(file, name, n) atomic_fetch_add_explicit(&(file)->counters.name, (n), memory_order_relaxed)

/* ---- groups ---- */

#define HC_GROUPS 65536u

struct hc_group {
	uint32_t model; /* these three: under log.lock, while no item has the group; read by who holds an item's part */
	uint32_t epoch;
	bool used;
	uint16_t number;      /* its name in segment `defined_seq`; under log.lock */
	uint64_t defined_seq; /* 0: in none */
	_Atomic uint32_t
	    items; /* up under log.lock, down by whoever took them out: the group is not reused before it is 0 */
	_Atomic uint64_t bytes;
};

/* What is known of one of the caller's models; under log.lock. */
struct hc_model_state {
	bool known; /* `group` is its latest */
	uint16_t group;
	bool in_state;         /* its epoch is counted in epoch_bytes */
	uint32_t state_next;   /* the one that was counted after it */
	bool unlogged;         /* cleared while the tier was off */
	uint32_t loaded_epoch; /* the highest that loading has met */
};

#define HC_MODEL_CHUNK 256u
#define HC_MODEL_CHUNKS 4096u

struct hc_groups {
	struct hc_group *groups; /* HC_GROUPS */
	_Atomic uint32_t top;    /* none beyond is used */
	uint32_t next;           /* where to look for a free one */
	struct hc_model_state *models[HC_MODEL_CHUNKS];
	_Atomic uint32_t models_top; /* ids seen are below */
	/* what the epochs take in a STATE: of so many models, from that one on */
	uint64_t epoch_bytes;
	uint32_t epochs, epoch_first, epoch_last;
};

/* ---- the queue ---- */

#define HC_SLOTS 128u

/* A record on its way to the writer. */
struct hc_slot {
	struct hc_record record; /* key and value in the owner's memory */
	void *owner;             /* NULL: none */
	uint16_t group;          /* of VALUE, CLEAR_MODEL */
	bool carried;            /* the owner is a block of the keeper's */
	uint64_t hash;           /* of VALUE, DELETE, EXPIRE */
};

struct hc_slots {
	struct hc_slots *next;
	uint32_t n;
	struct hc_slot slot[HC_SLOTS];
};

/* Hashes of keys changed while nothing could be written; a table of a fixed size. */
struct hc_changed {
	uint64_t *table; /* 0: free */
	uint32_t mask;
	uint32_t n;
	uint32_t max;
	bool all; /* they were too many, or everything was cleared: nothing on disk is to be trusted */
};

struct hc_log {
	pthread_mutex_t lock;
	pthread_cond_t wake; /* of the writer */
	/* the rest under lock; atomic: read by anyone */
	_Atomic bool asleep;
	bool stop;
	bool begun;           /* a segment is; else `seq` will be the first, and `offset` is 0 */
	_Atomic uint64_t seq; /* where the next record goes */
	uint32_t offset;
	uint32_t lines;       /* records in this segment so far */
	uint32_t groups;      /* defined in it */
	uint32_t group_bytes; /* what they take in its index file */
	struct hc_slots *first, *last;
	struct hc_slots *pool; /* empty */
	uint32_t pooled;
	uint64_t queued; /* until they are written or dropped */
	uint64_t queued_bytes;
	uint64_t claimed;
	uint64_t claimed_bytes;
	uint8_t opaque[HC_FILE_STATE_MAX];
	size_t opaque_len;
	struct hc_index_garbage *garbage;
	int fault; /* errno: the writer is to switch off */
	struct hc_changed changed;
	uint64_t appended[HC_FILE_CLEAR_ALL + 1];
};

/* ---- segments ---- */

struct hc_segment {
	struct hc_segment *older, *newer;
	uint64_t seq;
	int fd;
	uint32_t refs;
	uint32_t end;       /* where records end */
	uint64_t bytes;     /* charged for its files */
	bool loaded;        /* its records are in the index, or never will be */
	bool indexed;       /* has an index file */
	bool open;          /* the writer's */
	_Atomic bool dirty; /* written since it was synced */
	off_t synced;       /* what lies before was; keeper thread only */
};

#define HC_SEGMENT_SLOTS 65536u
#define HC_BLOCK 4096u

struct hc_segments {
	pthread_mutex_t lock;
	pthread_cond_t freed; /* space, or a request to the keeper, is settled */
	struct hc_segment *oldest, *newest;
	struct hc_segment **by_seq; /* HC_SEGMENT_SLOTS, by the low bits */
	uint32_t count;
	uint64_t bytes;
	_Atomic bool wanted;  /* the writer waits for space */
	uint64_t drop_below;  /* the keeper is to drop all segments below, whatever is in them */
	uint32_t drop_oldest; /* and so many of the oldest */
	bool exhausted;       /* nothing is left that could be dropped */
};

/* ---- the lines of a segment's index file ---- */

struct hc_lines {
	uint8_t *lines;
	uint32_t n, room;
	uint8_t *groups; /* as in the file */
	uint32_t groups_n, groups_len, groups_room;
	bool lost; /* no memory: there will be no index file */
};

/* ---- the writer ---- */

#define HC_BATCH_IOV 256
#define HC_BATCH_COPY (256u << 10)

struct hc_writer {
	struct hc_segment *segment; /* being written; NULL: none yet */
	struct hc_lines lines;
	uint32_t at;      /* where the next record goes in it: what is in the batch is before */
	uint32_t flushed; /* up to where it is written */
	struct iovec iov[HC_BATCH_IOV];
	int iov_n;
	uint64_t iov_bytes;
	uint8_t *copy; /* HC_BATCH_COPY: heads, padding and what is short */
	uint32_t copied;
	uint8_t *held;    /* a STATE's bytes, until it is written */
	int64_t retry_ms; /* mono: when to try to come back */
};

struct hc_file {
	struct hc_file_config config; /* constant after open, as are those up to `index` */
	char *path;
	uint8_t secret[HC_SECRET_BYTES];
	uint32_t record_max; /* bytes of the longest record */
	int lock_fd;         /* these three: constant but for a directory that comes back: writer thread */
	int tier_fd;
	_Atomic int dir_fd;
	struct hc_index *index;
	struct hc_log log;
	struct hc_groups groups;
	struct hc_segments segments;
	struct hc_writer writer;
	struct hc_file_counters counters;

	_Atomic int mode;         /* hc_file_mode; LOADING is `loading` */
	_Atomic int fault;        /* errno */
	_Atomic bool loading;     /* marks are left in the index; read under a part's lock */
	_Atomic bool complete;    /* all there is on disk is in the index, but for … */
	_Atomic bool emptying;    /* … a segment that is on its way out: a change of nothing is nothing */
	_Atomic uint64_t cleared; /* position of the last CLEAR_ALL; changed under all parts' locks */
	_Atomic uint64_t written; /* by the writer thread, release: file.h */
	_Atomic bool dirty;       /* written and not synced */
	_Atomic bool sweep_now;
	_Atomic bool sweep_soon; /* a hint */
	_Atomic bool closing;    /* nothing is carried over any more */

	struct {
		pthread_mutex_t lock;
		struct hc_file_waiter *first, *last; /* for a mark */
		struct hc_file_waiter *room;         /* for room */
		_Atomic bool any_room;
	} waiters;

	struct {
		pthread_mutex_t lock;
		pthread_cond_t wake;
		struct hc_file_read *first, *last;
		uint32_t idle;
		bool stop;
		pthread_t *threads;
		uint32_t n;
	} reads;

	struct {
		pthread_mutex_t lock;
		pthread_cond_t wake;
		bool nudged;
		_Atomic bool resting; /* for long */
		_Atomic bool stop;
		pthread_t thread;
		uint64_t sweep_cursor;
		int64_t sweep_next_ms;
		uint64_t kept, removed;           /* items in the present pass, about */
		bool hinted;                      /* why that began */
		int64_t began_ms;                 /* and when */
		int64_t deaf_until_ms;            /* to hints */
		struct hc_index_garbage *garbage; /* of it */
		bool swept;                       /* what was dead, and segments have not been looked at since */
		bool waits;                       /* to look at them: for the writer */
		int64_t sync_next_ms;
		int64_t look_next_ms;
		uint64_t seen_written; /* and since when it has been that */
		int64_t written_ms;
	} keeper;
	pthread_t writer_thread;
};

static inline const struct hc_file_io *
hc_io(const struct hc_file *file)
{
	return file->config.io;
}

/* The whole position of an item whose part is locked. */
static inline uint64_t
hc_item_position(struct hc_file *file, const struct hc_index_item *item)
{
	uint64_t head = atomic_load_explicit(&file->log.seq, memory_order_acquire);
	uint64_t low = item->place >> (HC_OFFSET_BITS - 4);
	uint64_t seq = head - ((head - low) & 0xffff);

	return hc_position(seq, (uint32_t)(item->place << 4) & ((1u << HC_OFFSET_BITS) - 1));
}

static inline uint64_t
hc_place(uint64_t position)
{
	return position >> 4 & (((uint64_t)1 << HC_INDEX_PLACE_BITS) - 1);
}

/* ---- groups.c ---- */

enum hc_status hc_groups_init(struct hc_groups *groups);
void hc_groups_fini(struct hc_groups *groups);
/* Under log.lock. The group of that model in its present epoch. HC_STALE: the epoch is another; HC_LIMIT, HC_NOMEM. */
enum hc_status hc_group_resolve(struct hc_file *file, uint32_t model, uint32_t epoch, uint16_t *out);
/* Under log.lock: as it is, or made; NULL: no memory, or the id is too high. */
struct hc_model_state *hc_model_state_make(struct hc_groups *groups, uint32_t model);
/* Under log.lock: NULL for a model that was never met. */
struct hc_model_state *hc_model_state(struct hc_groups *groups, uint32_t model);
/* Under log.lock. The model has an epoch, and is to be in every segment's STATE. */
void hc_group_note_epoch(struct hc_file *file, uint32_t model, uint32_t epoch);
/* The epochs of the first n models that have one, as a STATE has them. Takes log.lock. Returns the length. */
size_t hc_groups_put_epochs(struct hc_file *file, uint64_t n, uint8_t *at, size_t room);
/* With the part locked of an item that has the group: whether it is of its model's present epoch. */
bool hc_group_current(const struct hc_file *file, uint16_t number);
/* One item more (under log.lock) or so many less (once they are out of the index) have the group. */
void hc_group_enter(struct hc_file *file, uint16_t number, uint32_t bytes);
void hc_group_leave(struct hc_file *file, uint16_t number, uint32_t items, uint64_t bytes);
/* Sums over the current groups. Takes log.lock. `dead`: items of others. */
void hc_groups_sum(struct hc_file *file, uint64_t *items, uint64_t *bytes, uint64_t *dead);

/* ---- log.c: under log.lock, each ---- */

enum hc_status hc_log_init(struct hc_file *file);
void hc_log_fini(struct hc_file *file);
/*
 * Puts a record into the queue: gives it its position (slot->record.position) and, with a group, its number. A new
 * segment is begun when this one is full. HC_NOMEM: it could not be, and the key is remembered as changed; the
 * tier goes off and comes back without it.
 */
enum hc_status hc_log_push(struct hc_file *file, struct hc_slot *slot);
/* The next segment; its STATE is queued, with room for so many DELETEs behind it. HC_NOMEM. */
enum hc_status hc_log_roll(struct hc_file *file, uint32_t deletes);
uint64_t hc_log_head(const struct hc_file *file);
/* A STATE of now: its length, and of how many models it will tell. */
void hc_log_make_state(const struct hc_file *file, struct hc_record *record);
/* The writer is told to switch off for that errno. Who appends after this waits until it has marked the directory: what
 * is not on the disk, or should not be, is known of there by then. */
void hc_log_fault(struct hc_file *file, int err);
/* The change in the slot is remembered as one that was not written. */
void hc_log_note_lost(struct hc_file *file, const struct hc_slot *slot);
/* More than half of the queue is in use: droppable values are refused, reclaim does not carry. */
bool hc_log_busy(const struct hc_file *file);
/* The same, by who does not hold the log's lock: whether it is not so. */
bool hc_log_has_room(struct hc_file *file);
/* Bytes a segment of so many lines and so many bytes of groups has beside its records. */
uint64_t hc_index_file_bytes(uint64_t lines, uint64_t group_bytes);

/* ---- append.c ---- */

/* The keeper carries a record over: HC_OK: it is on its way, and the block its; HC_MISS: not there any more, or too
 * much to do. */
enum hc_status hc_append_carried(struct hc_file *file, const struct hc_index_item *item, const struct hc_record *record,
    void *block, uint64_t *mark);
/* What is at that position is damaged: deleted, if the index still has it there. */
void hc_append_damaged(struct hc_file *file, uint64_t hash, uint64_t position);
/* The item goes, if it is still there. True: it was, and alive. */
bool hc_item_remove_at(struct hc_file *file, uint64_t hash, uint64_t position);
/* With the part locked. */
bool hc_item_live(struct hc_file *file, const struct hc_index_item *item, int64_t now_ms);
/* Everything goes from memory: under all parts' locks and log.lock. */
void hc_clear_index(struct hc_file *file, uint64_t position);

/* ---- segments.c ---- */

void hc_segment_name(char *buf, uint64_t seq, const char *suffix); /* 40 bytes */
/* True: the name of one of our files; *suffix is "log", "idx" or "tmp". */
bool hc_segment_parse_name(const char *name, uint64_t *seq, char suffix[4]);
/* The same of what was met in a directory: a pipe, a link or a directory of such a name is not ours. */
bool hc_segment_is_ours(int dir, const struct dirent *entry, uint64_t *seq, char suffix[4]);
/* Of a name that is no segment's. */
bool hc_segment_is_foreign(const char *name);
enum hc_status hc_segments_init(struct hc_file *file);
void hc_segments_fini(struct hc_file *file);
/* A segment of an open file, which it owns. NULL: no memory, the file stays open. */
struct hc_segment *hc_segment_create(uint64_t seq, int fd);
/* At the newest end: the list takes it over. Its bytes are charged. */
void hc_segments_add(struct hc_file *file, struct hc_segment *segment);
struct hc_segment *hc_segment_ref(struct hc_file *file, uint64_t seq); /* NULL: there is none */
void hc_segment_unref(struct hc_file *file, struct hc_segment *segment);
/*
 * Takes it from the list and unlinks its files. `leisurely`: nobody waits for the space, so that it takes a twentieth
 * of a core at most (the keeper only); but no longer than there is room in the log.
 */
void hc_segment_drop(struct hc_file *file, struct hc_segment *segment, bool leisurely);
/* Its files take so much now. */
void hc_segment_charge(struct hc_file *file, struct hc_segment *segment, uint64_t bytes);
/* As many bytes as a file system counts for a file of that length. */
static inline uint64_t
hc_file_charge(uint64_t bytes)
{
	return (bytes + HC_BLOCK - 1) & ~(uint64_t)(HC_BLOCK - 1);
}

/* ---- lines.c ---- */

void hc_lines_add(struct hc_lines *lines, const struct hc_entry_line *line);
void hc_lines_add_group(struct hc_lines *lines, struct hc_slice name, uint32_t epoch);
void hc_lines_reset(struct hc_lines *lines);
void hc_lines_fini(struct hc_lines *lines);
/* Writes the segment's index file. 0, or errno. */
int hc_lines_write(struct hc_file *file, const struct hc_lines *lines, struct hc_segment *segment);
/* Reads it. HC_OK; HC_MISS: there is none; HC_INVALID: damaged; HC_NOMEM; HC_ERROR. *end: where records end. */
enum hc_status hc_lines_read(
    const struct hc_file_io *io, int dir, const uint8_t *secret, uint64_t seq, struct hc_lines *lines, uint32_t *end);
/* The next group of lines->groups; *at is 0 to begin. */
bool hc_lines_group(const struct hc_lines *lines, uint32_t *at, struct hc_slice *name, uint32_t *epoch);

/* ---- scan.c ---- */

struct hc_scan {
	struct hc_lines lines; /* what a proper index file would have */
	uint64_t records;
	uint64_t damaged; /* places at which something was skipped */
	uint64_t skipped_bytes;
	uint32_t end;  /* of the last whole record */
	uint32_t tail; /* bytes behind it */
	/* called for each record, when not NULL */
	void (*on_record)(void *arg, const struct hc_record *record);
	void *arg;
};
/* All records of a segment's file, by their checksums. HC_OK, HC_NOMEM, HC_ERROR (errno: it could not be read). */
enum hc_status hc_scan_segment(
    const struct hc_file_io *io, int fd, const uint8_t *secret, uint64_t seq, struct hc_scan *scan);

/* ---- writer.c: all on the writer thread ---- */

void *hc_writer_main(void *arg);
/* Slots are over: their owners are released, the queue has their room again, `written` moves behind the last. */
void hc_writer_finish(struct hc_file *file, const struct hc_slot *slots, uint32_t n);
/* Gives blocks back. */
void hc_writer_recycle(struct hc_file *file, struct hc_slots *blocks);
void hc_writer_set_written(struct hc_file *file, uint64_t position);

/* ---- batch.c: all on the writer thread, before it is there or after it ended ---- */

/* Each 0, or errno. */
int hc_batch_open_segment(struct hc_file *file, uint64_t seq);
/* The segment is full, or the file is closed: its index file is written. Nothing is in the batch. */
int hc_batch_seal(struct hc_file *file);
/* False: the batch is to be flushed before this record is put. */
bool hc_batch_has_room(const struct hc_file *file, const struct hc_record *record);
int hc_batch_put(struct hc_file *file, const struct hc_record *given, uint64_t hash);
int hc_batch_flush(struct hc_file *file);
/* What is in the batch is forgotten. */
void hc_batch_discard(struct hc_file *file);

/* ---- off.c: all on the writer thread ---- */

void hc_off_enter(struct hc_file *file, int fault);
/* The change in the slot is not going to be written. */
void hc_off_drop(struct hc_file *file, const struct hc_slot *slot);
/* Tries to come back, when it is time. */
void hc_off_return(struct hc_file *file);

/* ---- waiters.c ---- */

void hc_waiters_run(struct hc_file *file);
void hc_waiters_run_room(struct hc_file *file);

/* ---- reader.c ---- */

enum hc_status hc_readers_start(struct hc_file *file);
void hc_readers_stop(struct hc_file *file);

/* ---- keeper.c, load.c, load_begin.c, reclaim.c ---- */

void *hc_keeper_main(void *arg);
void hc_keeper_nudge(struct hc_file *file);
/* The keeper, without locks: a thread that slept for long may run for milliseconds before another gets the processor,
 * so in what takes as long it sleeps for a moment now and then. */
void hc_keeper_let_others_run(const struct hc_file *file, long ms);
/* The same of who does what nobody waits for: not when the writer wants space. And what is due each second is done. */
void hc_keeper_take_a_rest(struct hc_file *file, long ms);
/* So many ms from now, for pthread_cond_timedwait() by the monotonic clock. */
struct timespec hc_file_clock_in(long ms);
/* Keeper thread: what is to be done now. True: there is more. */
bool hc_keeper_duties(struct hc_file *file);
/* Syncs all that was written and not synced. Keeper thread, or when it has ended. */
void hc_keeper_sync(struct hc_file *file);
/* Keeper thread: makes room, drops what it was asked to. True: something was done. */
bool hc_reclaim(struct hc_file *file);
/* The same: the oldest segment goes, if there is so little alive in it that all of that can be carried over. HC_OK: it
 * is gone; HC_MISS: there is more in it; HC_PENDING: not now. */
enum hc_status hc_reclaim_thin(struct hc_file *file);
/* Whether that may come to anything soon. */
bool hc_reclaim_may_thin(const struct hc_file *file);
/* At open: which segments there are; what the newest says. */
enum hc_status hc_load_begin(struct hc_file *file, const struct hc_tier *tier);
/* Keeper thread: all the rest. */
void hc_load_run(struct hc_file *file);
/* These three wait for the keeper, on the writer thread. Until so many bytes may be added: 0, or ENOSPC. */
int hc_space_take(struct hc_file *file, uint64_t bytes);
/* The disk is full: until the oldest segment is gone. False: there is none. */
bool hc_space_shrink(struct hc_file *file);
/* Until no segment below is left. */
void hc_space_drop_below(struct hc_file *file, uint64_t seq);

/* ---- directory.c ---- */

#define HC_TIER_NAME "tier"
#define HC_LOCK_NAME "lock"

/* Makes, locks and reads the directory; without a trusted tier file, it is emptied. */
enum hc_status hc_dir_open(struct hc_file *file, struct hc_tier *tier, struct hc_file_failure *failure);
void hc_dir_close(struct hc_file *file);
/* Writes the tier file in place. 0, or errno. */
int hc_tier_write(struct hc_file *file, bool trusted);
/* True: the path leads to the directory that is open. */
bool hc_dir_there(struct hc_file *file);
/* The directory was taken away: makes it anew, not trusted. 0, or errno. */
int hc_dir_again(struct hc_file *file);
/* Unlinks all files of segments below that number. 0, or errno. */
int hc_dir_sweep(struct hc_file *file, uint64_t below);

#endif
