/*
 * What the files of the core share among themselves. Nobody else includes this.
 */
#ifndef HC_CORE_INTERNAL_H
#define HC_CORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/mailbox.h"
#include "base/out.h"
#include "core/catalog.h"
#include "core/core.h"
#include "core/doubt.h"
#include "core/key_model.h"
#include "core/late.h"
#include "core/outage.h"
#include "core/outage_log.h"
#include "core/saved.h"
#include "core/sweep_upstream.h"
#include "core/tier.h"
#include "core/warm.h"
#include "fleet/fleet.h"
#include "upstream/link.h"
#include "upstream/url.h"

#define HC_PREFIX_MAX 1024 /* bytes of upstream.prefix */

enum hc_frame_mode { HC_FRAME_AUTO, HC_FRAME_ALWAYS, HC_FRAME_NEVER };                    /* upstream.frame's choices */
enum hc_foreign_mode { HC_FOREIGN_MODE_NO, HC_FOREIGN_MODE_YES, HC_FOREIGN_MODE_STRICT }; /* upstream.foreign_writes' */
enum hc_down_mode { HC_DOWN_QUEUE, HC_DOWN_REFUSE }; /* upstream.writes_when_down's */

struct hc_sync;

struct hc_core {
	/* constant after create */
	struct hc_settings *settings;
	struct hc_store *store;
	struct hc_models *models;
	struct hc_key_models *key_models;
	struct hc_late *late;
	struct hc_tier *tier;   /* NULL without files */
	struct hc_warm *warm;   /* NULL: nothing to be read back */
	struct hc_fleet *fleet; /* these are NULL when embedded */
	struct hc_outage *outage;
	struct hc_outage_log *outage_log; /* NULL without files */
	struct hc_earlier *earlier;       /* the same */
	struct hc_saved *saved;
	struct hc_doubt *doubt;
	struct hc_sweeper *sweeper;
	struct hc_sync *sync;
	struct hc_stragglers *stragglers; /* of the workers' links, and behind them of the control link */
	struct hc_url url;
	struct hc_slice prefix;
	char prefix_text[HC_PREFIX_MAX];
	struct hc_slice reserved; /* an application's keys must not begin so; empty: none could get in the way */
	unsigned n_workers;
	struct hc_core_worker *
	    *workers; /* fleet only; each is there from its creation until the loop of main has ended */

	/* atomics */
	_Atomic bool coherent;        /* the event link misses nothing: copies may be kept as fresh */
	_Atomic int foreign_writes;   /* enum hc_foreign_writes */
	_Atomic uint64_t life;        /* of the upstream whose events are heard, see life.h; 0: not known */
	_Atomic uint32_t incarnation; /* 0: not known yet */
	/* changes of the fleet, without a hole; and of which life and state: those that a file tells of before it is
	 * asked */
	_Atomic uint64_t heard, heard_life;
	_Atomic uint32_t heard_incarnation;
	_Atomic uint32_t links_up;      /* workers' links that are */
	_Atomic uint32_t links_probing; /* … that try to be */
	_Atomic uint32_t links_settled; /* … that have been up or failed once */
	_Atomic int64_t links_since_ms; /* monotonic: last change between all up and not */
	_Atomic uint64_t link_connects, link_failures, link_timeouts;
	_Atomic uint32_t refetches; /* in mailboxes */
	_Atomic bool making_up;     /* the upstream is being told of a page of the outage list */

	/* main thread */
	struct event *sweep_timer;
	_Atomic int64_t end_by_ms; /* monotonic: when a shutdown is to be over; 0: there is none */
	/* main thread only: what the process takes without the store, and took at the last sweep */
	size_t resident_at_start;
	size_t resident_before;
	int64_t fit_next_ms; /* monotonic: when it looks again */
	unsigned sweep_run;  /* steps so far */
	bool sweep_found;    /* much that was to be reclaimed, which the files have not been told of */
	struct event_base *base;
	struct hc_saved_state last_state; /* when sync was destroyed */
};

struct hc_fetch;
struct hc_batch;

/* What is taken for the fleet's state: which life of the upstream's data, and how often a model has been cleared. */
struct hc_script_premise {
	uint32_t incarnation; /* 0: there is no premise */
	uint32_t model, epoch;
};

struct hc_core_worker {
	struct hc_core *core;
	struct event_base *base;
	struct hc_stats *stats;
	int64_t now_ms;
	unsigned index;
	char name[32];
	unsigned prefetches; /* under way */
	/* with files or in a fleet only */
	struct hc_mailbox *mailbox; /* what was read, how far the log has got, what is to be fetched */
	/* with files only */
	char *file_buffer;   /* HC_FILE_BUFFER_BYTES */
	unsigned file_reads; /* under way */
	struct hc_log_watch *log;
	/* fleet only */
	struct hc_link *link;
	struct hc_fetch **fetches; /* table of those under way, chained, by hash */
	struct hc_batch *batch;    /* ops of this turn */
	struct event *flush;       /* runs at the end of the turn in which it was made active */
	struct hc_catalog *catalog;
	uint64_t life;             /* of the upstream that the link leads to; 0: not known */
	int64_t epochs_asked_ms;   /* monotonic: the last question for epochs on this connection; 0: none */
	unsigned astray;           /* ticks for which that has been another than the core's */
	bool transactions_refused; /* once: it is not tried again */
	bool has_transactions;     /* the server takes MULTI and EXEC from us */
	uint64_t seq_ahead;        /* the last number of the calls under way, if nobody else writes */
	unsigned calls;            /* of the write script, under way */
	char write_sha[41];        /* of the write script, as the server gave it; "" not yet */
	unsigned calls_by_sha;     /* of it, under way */
	uint32_t resends;          /* calls that had to be sent again */
	bool batch_held;           /* until those that were sent before it are in order again */
	struct hc_batch *first_sent, *last_sent;           /* those under way; the last counts while there is a first */
	struct hc_batch *first_overtaken, *last_overtaken; /* see write_private.h; the same */
	uint64_t timeouts_seen;                            /* of the link, added to the core's count already */
	bool was_up;
	bool settled;
	/* Of the last transaction that had to be sent again by the script, until something else is known. */
	struct hc_script_premise refuted;
};

#define HC_FETCH_SLOTS 1024 /* power of two */
#define HC_FILE_BUFFER_BYTES ((size_t)64 << 10)

/* The same for the worker's links and the main thread's. */
void hc_core_link_config(const struct hc_core *core, const char *name, struct hc_link_config *out);

/* ttl_ms after from_ms, without overflow. */
int64_t hc_core_expiry_after(int64_t from_ms, int64_t ttl_ms);
/* Expiry of a local copy whose key has `pttl` left (as PTTL gives it) since `from_ms`: capped and jittered. */
int64_t hc_core_local_expiry(const struct hc_core *core, int64_t pttl, int64_t from_ms);
/* True when what is kept here may live shorter than the key. */
bool hc_core_caps_ttl(const struct hc_core *core);

/* worker.c: a copy of the arguments, the keys among them prefixed; to be freed as one. NULL: no memory. */
struct hc_slice *hc_core_prefixed_args(
    const struct hc_core *core, const struct hc_slice *argv, size_t argc, const bool *is_key);

/* write.c: with an empty prefix an application could name the fleet's own keys. */
bool hc_core_is_reserved(const struct hc_core *core, struct hc_slice key);

/* worker.c: how what comes from the upstream now may be kept: as fresh only if changes of it would be heard of */
enum hc_store_fill hc_core_fill(const struct hc_core_worker *worker);

/* epochs.c */
/* The model was cleared up to there: in memory, and for the files. */
void hc_core_raise_epoch(struct hc_core *core, uint32_t model, uint32_t epoch);
/* From all of the fleet's state, as HGETALL gives it. */
void hc_core_take_epochs(struct hc_core *core, const redisReply *state);
/* The epoch that the upstream is to have at least; 0: any will do, as when a clear on the outage list will see to it.
 */
uint32_t hc_core_epoch_to_tell(struct hc_core *core, uint32_t model);
/* Whether a model has been cleared here more often than that state, whose epochs have been taken, tells. */
bool hc_core_is_ahead(struct hc_core *core, const redisReply *state);
/* The number that it has in a field; of a reply. 0: there is none. */
uint64_t hc_core_state_number(const redisReply *state, const char *field);
uint64_t hc_core_reply_number(const redisReply *value);
/*
 * Before a question whose answer is judged by epochs: they are asked for on the same connection, unless events tell of
 * them, or they have been asked for lately. Fetched values look up to date to whoever has not heard of a clear.
 */
enum hc_status hc_core_epochs_first(struct hc_core_worker *worker);

/* read.c */
/* Whether the upstream is to be asked: HC_PENDING; or HC_MISS. */
enum hc_status hc_core_look_upstream(struct hc_core_worker *worker, struct hc_key key);

/* ahead.c */
/* Its copy was read, and a sibling's write has made it worthless: it is fetched, unless there is too much of that. Main
 * thread. */
void hc_core_refetch(struct hc_core *core, struct hc_key key);

/* read_suspect.c */
/* A suspect entry was met in memory: HC_OK: it may be served as it is; HC_PENDING, HC_MISS: *entry has been given back.
 */
enum hc_status hc_core_meet_suspect(struct hc_core_worker *worker, struct hc_key key, struct hc_entry **entry);
/* The same of what lies in a file at that position; HC_PENDING: it is to be fetched. */
enum hc_status hc_core_meet_suspect_file(struct hc_core_worker *worker, struct hc_key key, uint64_t position);

/* core.c: everything is forgotten, in memory and in files */
void hc_core_clear_all(struct hc_core *core);

/* log.c: waiting for the log */
enum hc_status hc_log_watch_create(struct hc_core_worker *worker);
void hc_log_watch_destroy(struct hc_core_worker *worker);
/* Nothing is waited for. */
bool hc_log_watch_is_idle(const struct hc_core_worker *worker);

/* read_upstream.c */
/*
 * The stored form of a key's value to an entry: frame taken off, checked. HC_OK; HC_MISS: not valid (stale epoch,
 * another life, raw under a cleared model, damaged); HC_NOMEM. The entry has no expiry yet.
 */
enum hc_status hc_core_entry_from_stored(
    struct hc_core_worker *worker, struct hc_key key, struct hc_slice stored, struct hc_entry **out);

/* write_local.c: carries an op out on the memory tier alone. */
void hc_core_apply_local(struct hc_core *core, struct hc_op *op, int64_t now_ms);
/* When its expiry falls due, by the local clock and without a cap. */
int64_t hc_core_op_expiry(const struct hc_core *core, const struct hc_op *op, int64_t now_ms);
/* The entry a SET makes, with its model, epoch and (local) expiry; NULL when out of memory. */
struct hc_entry *hc_core_op_entry(struct hc_core *core, const struct hc_op *op, int64_t now_ms);
/* What is carried out as one: several SETs, all or none, and a copy. False when the group is of another kind. */
bool hc_core_apply_local_group(struct hc_core *core, struct hc_op_group *group, int64_t now_ms);

/* change_local.c: the same for changes of what is there, and for copies, whose two ops are at `ops`. */
void hc_core_change_local(struct hc_core *core, struct hc_op *op, int64_t now_ms);
void hc_core_copy_local(struct hc_core *core, struct hc_op *ops, int64_t now_ms);

/* write_upstream.c */
/* Takes the group's ops up; without memory for it they are answered at once, and group->left is 0. */
void hc_core_batch_add(struct hc_core_worker *worker, struct hc_op_group *group);
void hc_core_batch_flush(struct hc_core_worker *worker); /* sends what has been added */
/* Whether there are ops that are to be sent, or have been and are neither answered nor lost. */
bool hc_core_batch_under_way(const struct hc_core_worker *worker);
enum hc_status hc_core_batch_init(struct hc_core_worker *worker);
void hc_core_batch_fini(struct hc_core_worker *worker);
/* An op that the upstream will not be asked for: decided here, or refused. */
void hc_core_op_while_down(struct hc_core_worker *worker, struct hc_op *op);
/* Counts the op as answered, and its group when it was the last. */
void hc_core_op_answered(struct hc_op *op);

/* script.c: argv of the write script */
struct hc_script_call;
enum hc_status hc_script_call_create(const struct hc_core *core, size_t ops, struct hc_script_call **out);
void hc_script_call_destroy(struct hc_script_call *call);
/* Adds one op. `key` without prefix (ignored for clears). */
enum hc_status hc_script_call_add(struct hc_script_call *call, const struct hc_op *op);
/* Sends it by the script's SHA, or with the script itself when that is "". */
enum hc_status hc_script_call_send(
    struct hc_script_call *call, struct hc_link *link, const char *sha, hc_link_reply_fn *fn, void *arg);

#define HC_SCRIPT_LATE (-3) /* pttl of a SET that came too late */

/* What the script answered for one op. */
enum hc_script_code { HC_SCRIPT_NOT, HC_SCRIPT_DONE, HC_SCRIPT_HEAR_FIRST };
struct hc_script_result {
	int code; /* of a guard, and of what it guards: HEAR_FIRST, there are changes not known of here */
	bool done;
	uint64_t seq;
	uint32_t epoch;
	int64_t pttl;           /* CLEAR_MODEL: the epoch that the upstream had before */
	struct hc_slice old;    /* stored form; ptr NULL: none. Points into the reply */
	struct hc_slice answer; /* the same: a change's */
	struct hc_slice error;  /* ptr NULL: none */
};

/* A number for another life of the upstream's data, in case it has none. */
uint32_t hc_script_new_incarnation(void);

/* HC_OK; HC_ERROR: not what the script returns. */
enum hc_status hc_script_result(const redisReply *reply, size_t op, struct hc_script_result *out);
/* The incarnation a reply of the script begins with; 0 when it does not. */
uint32_t hc_script_incarnation(const redisReply *reply);

/* script_sets.c: the same of a batch that is SETs and nothing else, in a transaction that keeps their values out of Lua
 */
struct hc_script_sets {
	/* If it does not hold, the upstream deletes the values, and they are to be sent again. */
	struct hc_script_premise premise;
	bool framed;
	int64_t pttl; /* they will have; -1: no expiry */
};
/* Whether it can be done so, and costs the upstream less; and what it is then. */
bool hc_script_sets_pays(const struct hc_script_call *call, struct hc_script_sets *out);
/*
 * `seq`: the number that the first of them will probably have; of others it costs more. fn as with
 * hc_script_call_send(), but the reply is hc_script_sets_reply()'s to read.
 */
enum hc_status hc_script_sets_send(struct hc_script_call *call, struct hc_link *link, const struct hc_script_sets *sets,
    uint64_t seq, hc_link_reply_fn *fn, void *arg);
/* What its script answered: an error, or what the next two read. */
const redisReply *hc_script_sets_reply(const redisReply *reply);
/* As hc_script_result(); when refuted, of what the keys held before, which is gone: pttl is -2. */
enum hc_status hc_script_sets_result(
    const struct hc_script_sets *sets, const redisReply *reply, size_t op, struct hc_script_result *out);
/* Whether it says that the premise did not hold. */
bool hc_script_sets_refuted(const redisReply *reply);

/* outage_restore.c */
/*
 * What an earlier life of this daemon's left behind, from the files; from now on the list is kept there. A file that
 * cannot be read or written is a warning: HC_OK, or HC_NOMEM.
 */
enum hc_status hc_outage_restore_all(struct hc_core *core);
/* From where on the fleet's changes are to be heard of for that; life 0: there is nothing of that kind. */
struct hc_outage_since hc_outage_earlier_since(const struct hc_core *core);
void hc_outage_restore_fini(struct hc_core *core);
/* Whether a change told of under that name may be what the list is about, made by an earlier life of this daemon. */
bool hc_outage_is_earlier(const struct hc_core *core, struct hc_slice instance);

/* flush.c: takes away all keys of the prefix over a link, telling the fleet before and after. */
struct hc_flush;
typedef void hc_flush_fn(void *arg, enum hc_status status);
/* HC_PENDING: fn will be called once. Else HC_DOWN, HC_NOMEM. */
enum hc_status hc_flush_start(struct hc_core *core, struct hc_link *link, hc_flush_fn *fn, void *arg);

/* The glob for keys of the own prefix that go on like `pattern`; allocated, with a NUL behind its *len bytes. */
char *hc_core_prefix_pattern(const struct hc_core *core, struct hc_slice pattern, size_t *len);

/* sync.c */
enum hc_status hc_sync_create(struct hc_core *core, struct event_base *base, struct hc_stats *stats);
void hc_sync_destroy(struct hc_core *core);
void hc_sync_apply_settings(struct hc_core *core);
void hc_sync_status(struct hc_core *core, struct hc_core_status *out);
/* Any thread: another life of the upstream was seen; local copies must go and epochs be read anew. */
void hc_sync_request(struct hc_core *core);

#endif
