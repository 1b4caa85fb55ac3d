/*
 * The core: what a read and a write mean, whichever tiers there are. Commands above know none of the tiers.
 *
 *   embedded                          fleet
 *   read:  memory, else nothing       memory, else fetched from the upstream (one fetch for all waiters)
 *   write: memory                     the upstream's script, then memory; upstream down: memory and the outage list
 *
 * The way of a read:      lookup ─ hit ──────────────────────────────────────────→ answer
 *                            └ miss → fetch → [link] → reply → kept if its ticket is good → answer all waiters
 * The way of a write:     write → ticket, batch → end of the loop's turn → [link] EVALSHA → reply → kept if … → answer
 * The way of an event:    [event link] → fleet (decode, own ones told apart) → store invalidates → (answers miss)
 *
 * Threads: hc_core is shared, and its functions say who may call them; hc_core_worker belongs to one worker.
 *
 *   core ─┬─ store (memory, models)          shared
 *         ├─ outage list                     shared, own lock
 *         ├─ sync: control link, event link  main thread
 *         └─ worker[] ─ link, fetches, batch each on its worker's thread
 */
#ifndef HC_CORE_CORE_H
#define HC_CORE_CORE_H

#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <stdint.h>
#include "base/settings.h"
#include "base/stats.h"
#include "base/status.h"
#include "core/op.h"
#include "store/store.h"

struct hc_core;
struct hc_core_worker;
struct hc_fleet;

/* ---- life ---- */

/*
 * Makes the store and, when upstream.url is set, what the fleet needs. Settings outlive the core. On failure a sentence
 * for the operator is in `why`.
 */
enum hc_status hc_core_create(struct hc_settings *settings, struct hc_core **out, char *why, size_t why_cap);
void hc_core_destroy(struct hc_core *core);

/* Main thread: timers, and the links that keep the fleet in step, on the main loop. */
enum hc_status hc_core_start(struct hc_core *core, struct event_base *base, struct hc_stats *stats);
/* Any thread: a shutdown has begun, and is to be over in shutdown.timeout. */
void hc_core_ending(struct hc_core *core);
/* Main thread: tells siblings that we leave, gives the links up. Workers may run still. */
void hc_core_stop(struct hc_core *core);

/* One per worker, made before its thread runs; its link starts at hc_core_worker_start(), on the thread. */
enum hc_status hc_core_worker_create(
    struct hc_core *core, struct event_base *base, unsigned index, struct hc_stats *stats, struct hc_core_worker **out);
void hc_core_worker_start(struct hc_core_worker *worker);
/* Waiters and groups under way are answered (HC_DOWN). */
void hc_core_worker_destroy(struct hc_core_worker *worker);

/*
 * True once every link has been up or has failed once: before that a miss would be blamed on an upstream nobody
 * has asked. Always true when embedded. Any thread.
 */
bool hc_core_settled(const struct hc_core *core);

/* Settings that may change at run time did: takes them over. Main thread. */
void hc_core_apply_settings(struct hc_core *core);

/* ---- what others need to know; any thread ---- */

struct hc_store *hc_core_store(struct hc_core *core);
struct hc_models *hc_core_models(struct hc_core *core);
struct hc_fleet *hc_core_fleet(struct hc_core *core); /* NULL when embedded */
bool hc_core_is_fleet(const struct hc_core *core);

enum hc_upstream_state { HC_UPSTREAM_OFF, HC_UPSTREAM_UP, HC_UPSTREAM_DOWN };

/* Whether writes of others than harcads to the upstream are noticed. */
enum hc_foreign_writes { HC_FOREIGN_OFF, HC_FOREIGN_ON, HC_FOREIGN_UNSUPPORTED };

struct hc_core_status {
	enum hc_upstream_state upstream;   /* down when any worker's link is */
	const char *breaker;               /* "closed", "open", "half-open": of all workers' links the worst */
	int64_t upstream_for_ms;           /* it has been so for */
	enum hc_upstream_state event_link; /* up: events are received, nothing is missed */
	int64_t event_link_for_ms;
	int64_t fence_age_ms;       /* since the last proof that no event was missed was asked for; -1: never */
	uint64_t lapses;            /* leases that ended without another */
	const char *upstream_shown; /* the URL without secrets, "" when embedded */
	uint64_t connects, failures, timeouts; /* of all links */
	enum hc_foreign_writes foreign_writes;
	uint64_t queued_writes; /* keys, cleared models, and everything as one, of which the upstream is to be told */
	uint64_t queued_bytes;  /* of their values */
	int64_t queued_age_ms;  /* of the oldest; -1: there is none */
	uint32_t incarnation;
	uint64_t seq;         /* the last one heard of */
	int64_t event_lag_us; /* from PUBLISH of the own heartbeat to its arrival; -1 unknown */
};
void hc_core_status(struct hc_core *core, struct hc_core_status *out);
/* Whether the upstream is yet to be told of a change of that key here, or that everything went. */
bool hc_core_is_queued(struct hc_core *core, struct hc_slice key);

/* What becomes of values in the upstream that a clear has made invisible. */
enum hc_sweeper_state { HC_SWEEPER_OFF, HC_SWEEPER_IDLE, HC_SWEEPER_WAITING, HC_SWEEPER_RUNNING };

struct hc_sweeper_status {
	enum hc_sweeper_state state; /* waiting: a pass is to come, and cannot be begun */
	char by[65];                 /* running: the instance that sweeps; else the last one */
	uint64_t scanned, deleted;   /* of this pass, or the last one this daemon knows of */
	uint64_t total;              /* keys there were when it began */
};
/* False: there is no upstream. */
bool hc_core_sweep_status(struct hc_core *core, struct hc_sweeper_status *out);

struct hc_file_stats;
struct hc_warm_status;
/* False: there is no file tier. */
bool hc_core_file_stats(struct hc_core *core, struct hc_file_stats *out);
/* Entries that went from memory to files. */
uint64_t hc_core_demoted(const struct hc_core *core);
/* What is in files is not all known yet. */
bool hc_core_file_loading(struct hc_core *core);
void hc_core_warm_status(const struct hc_core *core, struct hc_warm_status *out);

/* The model of a key that is written without naming one, and of raw values: by template, else default. */
enum hc_status hc_core_model_of_key(struct hc_core *core, struct hc_slice key, uint32_t *model);

/* ---- a worker's own ---- */

/* The wall clock at the start of what the worker is doing now. */
int64_t hc_core_now_ms(const struct hc_core_worker *worker);
/* To be called at the start of each turn of work: reads the clock. */
void hc_core_tick(struct hc_core_worker *worker);

/* Each second or so: takes over settings that may change at run time, and makes sure that a silent link is noticed. */
void hc_core_worker_tick(struct hc_core_worker *worker);

/* ---- reads ---- */

#define HC_READ_QUIET 1u     /* leaves no trace in the eviction's view of the key */
#define HC_READ_EXACT_TTL 2u /* the entry's expiry must be the key's own, not a cap of this daemon's */
#define HC_READ_KEEP 4u      /* by hc_core_fetch(): it goes into memory, however rarely it is asked for */

/* Where a value was found. */
enum hc_tier_name { HC_TIER_MEMORY, HC_TIER_FILE, HC_TIER_UPSTREAM };

/* What a file says of a value beside what becomes its entry: for people. */
struct hc_filed {
	uint64_t bytes;     /* of the record */
	uint32_t created_s; /* wall seconds at which what was written then had come into memory; 0: not known */
	uint8_t hits;       /* it had had in memory until then */
	bool suspect;
};

/*
 * HC_OK: *entry has a reference. HC_MISS: nothing, for certain or for now (upstream down). HC_PENDING: ask by
 * hc_core_read_file(), then by hc_core_fetch(). Never blocks, never allocates.
 */
enum hc_status hc_core_lookup(
    struct hc_core_worker *worker, struct hc_key key, unsigned flags, struct hc_entry **entry);

/*
 * What is in a file that the system has in memory: HC_OK, *entry has a reference, *filed is set. HC_PENDING: it would
 * have to be waited for. HC_MISS: it is not in a file; HC_NOMEM, HC_ERROR. In any case but HC_OK hc_core_fetch() is
 * next.
 */
enum hc_status hc_core_read_file(
    struct hc_core_worker *worker, struct hc_key key, unsigned flags, struct hc_entry **entry, struct hc_filed *filed);

/*
 * Someone who waits for a fetch. status: HC_OK with `entry` (borrowed for the call), HC_MISS, HC_WRONGTYPE, HC_DOWN,
 * HC_TIMEOUT, HC_ERROR. pttl: what is left of the key's life, as PTTL gives it (-2 unknown), with HC_WRONGTYPE too.
 */
struct hc_waiter;
typedef void hc_waiter_fn(struct hc_waiter *waiter, enum hc_status status, struct hc_entry *entry, int64_t pttl);
struct hc_waiter {
	hc_waiter_fn *fn;
	void *arg;
	struct hc_waiter *next;
	/* when fn is called */
	enum hc_tier_name tier; /* where it was found, or looked for last */
	struct hc_filed filed;  /* with HC_OK and HC_TIER_FILE */
};

/* HC_PENDING: waiter->fn will be called, once. Otherwise it will not: HC_DOWN, HC_NOMEM. */
enum hc_status hc_core_fetch(
    struct hc_core_worker *worker, struct hc_key key, unsigned flags, struct hc_waiter *waiter);

/* HC_OK: it is in memory; HC_PENDING: it will be, if it is there at all; HC_LIMIT: too many are on their way; … */
enum hc_status hc_core_prefetch(struct hc_core_worker *worker, struct hc_key key);

/* A client was told that there is no value, and may be about to compute one: see core/late.h. */
void hc_core_missed(struct hc_core_worker *worker, struct hc_key key);

/* There is (all but certainly) a value in a file. */
bool hc_core_in_file(struct hc_core_worker *worker, struct hc_key key);

/*
 * Whether writes are decided here with part of what they look at in files: then what hc_core_in_file_only() says yes to
 * must be fetched (HC_READ_KEEP) before an op that looks at it is carried out.
 */
bool hc_core_loads(const struct hc_core_worker *worker);
bool hc_core_in_file_only(struct hc_core_worker *worker, struct hc_key key);

/* Whether a read under way on this thread may yet be answered with what is written from now on: it waits for a file. */
bool hc_core_reads_files(const struct hc_core_worker *worker);

/* ---- writes ---- */

/*
 * HC_OK: carried out, each op is answered. HC_PENDING: the group and all it points at must stay until group->done is
 * called. (The statuses of single ops are in the ops.)
 */
enum hc_status hc_core_write(struct hc_core_worker *worker, struct hc_op_group *group);

/*
 * Whether it is to wait until what group->by has asked for before is answered. What the upstream has forgotten the
 * script for is sent again, behind this; and if a sibling tells it the script meanwhile, this is carried out first.
 *
 * Or a read of that key is under way and may have to ask once more: it must not find this. Clears depend on nothing:
 * what their connection asked before has been answered.
 */
bool hc_core_write_depends(struct hc_core_worker *worker, const struct hc_op_group *group);

/* Everything of the own prefix is forgotten, here, upstream, at siblings. Answers into group->ops[0] (CLEAR_ALL). */
enum hc_status hc_core_flush(struct hc_core_worker *worker, struct hc_op_group *group);

/* ---- the log of the file tier ---- */

/*
 * How far the log has to be written before the writes that this thread carried out may be acknowledged; 0: they may.
 * The last write's mark, so it only grows.
 */
uint64_t hc_core_log_mark(const struct hc_core_worker *worker);
/* True: it is written up to there. False: `logged` will be called when it is, or when the log does not work. */
bool hc_core_log_wait(struct hc_core_worker *worker, uint64_t mark);
bool hc_core_has_log(const struct hc_core_worker *worker);
/* Whether the log takes more now; false: `logged` will be called when it does. */
bool hc_core_log_has_room(struct hc_core_worker *worker, uint64_t bytes);
/* Who is told, on the worker's thread. Before it runs. */
void hc_core_on_logged(struct hc_core_worker *worker, void (*logged)(void *arg), void *arg);

/* ---- walking the keys ---- */

struct hc_scan {
	/* asked */
	uint64_t cursor;
	struct hc_slice pattern; /* borrowed until done; empty ptr: all */
	struct hc_slice type;    /* the same */
	size_t count;
	bool to_the_end; /* walk on to the end */
	bool count_only; /* keep no keys */
	bool anything;   /* whatever is met first will do: walk on to there, and it does not matter what comes twice */
	/* answered */
	enum hc_status status;
	uint64_t next;         /* cursor to go on with; 0: done */
	struct hc_slice *keys; /* allocated, as is what they point at; see hc_scan_fini */
	size_t n;              /* keys, or with count_only how many there are */
	/* under way */
	void (*done)(void *arg);
	void *arg;
	enum hc_status (*then)(struct hc_scan *scan); /* when memory has been walked; NULL: nothing */
	struct hc_core_worker *worker;
	struct hc_store_counting counting;
	bool match_upstream;  /* or else here */
	uint64_t match_steps; /* what matching may still cost: see hc_glob_within() */
	char upstream_cursor[24];
	size_t cap;
};
/* As hc_core_write(). scan->status may be HC_LIMIT: the pattern costs too much, as only one made for that does. */
enum hc_status hc_core_scan(struct hc_core_worker *worker, struct hc_scan *scan);
void hc_scan_fini(struct hc_scan *scan);

/* ---- anything else ---- */

/*
 * Sends a command that reads on as it stands, but for the argument `key`, which gets the prefix.
 * HC_PENDING: fn will be called with the upstream's answer (see hc_link_reply_fn). HC_DOWN, HC_NOMEM.
 * Commands that nobody knows here: core/pass.h.
 */
#define HC_FORWARD_ARGS_MAX 16
typedef void hc_forward_fn(void *arg, enum hc_status status, const redisReply *reply);
enum hc_status hc_core_forward(
    struct hc_core_worker *worker, const struct hc_slice *argv, size_t argc, size_t key, hc_forward_fn *fn, void *arg);

#endif
