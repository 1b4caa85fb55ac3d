/*
 * The outage list: what was changed here while the upstream could not be told. Keys with the value they were given,
 * keys that went, models that were cleared, or everything. A key counts once: its last change stands for all before.
 *
 *     write.c ─ add ─→ list ─ take ─→ page ─→ outage_replay.c ─→ upstream ─ settle ─→ off the list
 *                       │ each change, as a record                    the clears and deletes first, then the values
 *                       └─→ outage_log.h: a file, when there are files; the next start of the daemon restores from it
 *
 * Until it is off the list, what the upstream has of a key is outdated and not fetched; reads are answered from here
 * when memory has dropped it.
 *
 * A value is written to the upstream only where nobody else has written the key since. What others wrote comes by
 * events, live or replayed, so it is known for each key when the list is worked off (see outage_replay.c for what may
 * happen after that):
 *
 *     event of a sibling, younger than the change
 *         → CONTESTED: written only if the upstream has the base still; else off the list, what the sibling wrote stays
 *     own event after that: an older change of ours, whose answer was lost, has replaced the sibling's
 *         → it is deleted there, unless another writes the key once more (and no more of ours is heard of after that)
 *     the upstream is another, or events are lost
 *         → UNSURE: written if it has the base still, or nothing at all; else the key is deleted there. (What was
 *           contested is written only if it has the base still: what it has else may be older than both.)
 *     another value is given to the key here after that
 *         → it is younger than whatever was missed: sure again, and what the upstream has is no reason not to write it
 *
 * A model that was cleared is counted here by one epoch, and by the upstream by another, once it is told. Values that
 * came onto the list after the clear belong behind it, whatever its number. If others have cleared the model meanwhile,
 * they do so only where it is known that they came after that, too: by the events heard; where these prove nothing, the
 * upstream must have had no other epoch, before it was told, than was known here. That everything went does not take it
 * off the list: to an upstream that was not told, what it is given later would be of an epoch that is over here.
 *
 * The base is what this daemon had of the key when it was changed, that is what the upstream had as far as clients were
 * shown. An event that comes late may tell of no more than that.
 *
 * Any thread; one lock, under which the file's is taken and no other. hc_outage_empty() takes none.
 */
#ifndef HC_CORE_OUTAGE_H
#define HC_CORE_OUTAGE_H

#include <stdint.h>
#include "base/status.h"
#include "store/store.h"

struct hc_outage;
struct hc_outage_log;

/* `models` outlives it. */
enum hc_status hc_outage_create(struct hc_models *models, struct hc_outage **out);
void hc_outage_destroy(struct hc_outage *outage);

bool hc_outage_empty(struct hc_outage *outage);
uint64_t hc_outage_count(struct hc_outage *outage);
uint64_t hc_outage_bytes(struct hc_outage *outage); /* of values */
/* For how long the oldest has been on it; -1: it is empty. */
int64_t hc_outage_age_ms(struct hc_outage *outage);

/* ---- what is changed here ---- */

/* What was known of the fleet when a value came onto the list: what is younger is a change of others since. */
struct hc_outage_since {
	uint64_t life;        /* of the upstream, see life.h; 0: not known */
	uint32_t incarnation; /* of the fleet's state in it */
	uint64_t heard;       /* all changes up to there came before */
};

struct hc_outage_limits {
	uint64_t keys;
	uint64_t bytes; /* of values */
};

struct hc_outage_value {
	struct hc_entry *entry; /* its key's value, model and epoch; the list takes a reference */
	struct hc_entry *base;  /* NULL: not known; the same */
	int64_t expire_ms;      /* of the key: wall ms or HC_NO_EXPIRY. (That of the entry may be capped.) */
	struct hc_outage_since since;
	uint64_t losses; /* hc_outage_losses(), asked before `since` was looked up */
	bool sent;       /* the upstream may have carried it out: it has the base no more */
};

/*
 * Between these a key's change comes onto the list and into memory, so that both have changes of several threads in the
 * same order. Taken before any other lock.
 */
void hc_outage_enter(struct hc_outage *outage, struct hc_key key);
void hc_outage_leave(struct hc_outage *outage, struct hc_key key);
/* How often hc_outage_unsure() has been called. */
uint64_t hc_outage_losses(const struct hc_outage *outage);
/* HC_LIMIT: with it the list would hold more than that; HC_NOMEM. Then it is as it was. */
enum hc_status hc_outage_add_value(struct hc_outage *outage, struct hc_key key, const struct hc_outage_value *value,
    const struct hc_outage_limits *max);
/* The key went, or only the upstream could tell what it holds. */
enum hc_status hc_outage_add_key(struct hc_outage *outage, struct hc_key key, uint64_t max);
/* It expires then: a value that is on the list does, else as above. */
enum hc_status hc_outage_add_expiry(struct hc_outage *outage, struct hc_key key, int64_t expire_ms, uint64_t max);
/* Before a model is cleared: so that the list has room for it, whichever it is, and whoever else adds one. HC_NOMEM. */
enum hc_status hc_outage_reserve_models(struct hc_outage *outage);
/* It was cleared, and has its new epoch here; `known` is the one before, which counts if it is not on the list yet. */
enum hc_status hc_outage_add_model(struct hc_outage *outage, uint32_t model, uint32_t known);
void hc_outage_add_all(struct hc_outage *outage);

/* A number that grows with each change of the list. */
uint64_t hc_outage_mark(const struct hc_outage *outage);
/*
 * The upstream was told something of the key that set out at that mark: it is newer than what was on the list by then.
 * What came onto it since stays there; an expiry that was set since of what had been on it does not.
 */
void hc_outage_forget_key(struct hc_outage *outage, struct hc_key key, uint64_t mark);

/* ---- what reads ask ---- */

/* The upstream's copy is not to be believed. */
bool hc_outage_has_key(struct hc_outage *outage, struct hc_key key);
bool hc_outage_has_model(struct hc_outage *outage, uint32_t model);
/* The list will tell the upstream of the epoch that the model has here; nobody else is to. */
bool hc_outage_tells_model(struct hc_outage *outage, uint32_t model);
/* The same; and *entry is its value, with a reference, or NULL: it has none (any more), or another may have a newer. */
bool hc_outage_find(struct hc_outage *outage, struct hc_key key, int64_t now_ms, struct hc_entry **entry);
/* What the upstream knows of the key may be outdated: that, or a model is here, whose keys nobody knows by name. */
bool hc_outage_doubts_key(struct hc_outage *outage, struct hc_key key);

/* ---- what others changed ---- */

/*
 * A change of another daemon's, the seq-th. `rewritten`: the key was given a value, or went; else only its expiry was
 * changed, or perhaps nothing.
 */
void hc_outage_contest(struct hc_outage *outage, struct hc_key key, uint64_t seq, bool rewritten);
/*
 * Whether a value of the key is here that the upstream cannot have yet, and that nobody has contested: what the
 * upstream has is what it will replace. An expiry of that is no change to contest it.
 */
bool hc_outage_will_replace(struct hc_outage *outage, struct hc_key key);
/*
 * One of this daemon's that the upstream has carried out, perhaps without an answer: it is what the upstream has now.
 * To be told even while the list is empty, if changes before it have not been heard of: what comes onto the list next
 * does not know whether it was of its key.
 */
void hc_outage_own(struct hc_outage *outage, struct hc_key key, uint64_t seq);
/*
 * Another has cleared everything by it, or is about to: values older than that are contested, and go off the list when
 * that is told again, afterwards. In between the upstream may still have what was there before them.
 */
void hc_outage_contest_all(struct hc_outage *outage, uint64_t seq);
/* … has cleared that model, whose epoch is that now: values older than that are to be deleted, others are of it. */
void hc_outage_contest_model(struct hc_outage *outage, uint32_t model, uint64_t seq, uint32_t epoch);
/* A clear, whosever, has given it that epoch upstream: what is on the list has been weighed against it. */
void hc_outage_heard_epoch(struct hc_outage *outage, uint32_t model, uint32_t epoch);
/*
 * All is heard of that the upstream has carried out, and nothing that was given up is on its way to it: what another
 * has written instead of what is to be deleted, stays there, and goes off the list.
 */
void hc_outage_drop_overtaken(struct hc_outage *outage);
/* Nobody can tell any more what others have changed. */
void hc_outage_unsure(struct hc_outage *outage);

/* ---- working it off ---- */

enum hc_outage_doubt { HC_OUTAGE_SURE, HC_OUTAGE_CONTESTED, HC_OUTAGE_UNSURE };

enum hc_outage_outcome {
	HC_OUTAGE_LATER,   /* it could not be carried out: stays, behind the others */
	HC_OUTAGE_AGAIN,   /* the same, but not for ever: what others do there is heard of too late each time */
	HC_OUTAGE_SETTLED, /* the upstream knows, or others know better */
	HC_OUTAGE_DELETE,  /* it is to be deleted there instead */
};

struct hc_outage_item {
	struct hc_slice key;    /* of `entry`, or a copy */
	struct hc_entry *entry; /* a reference; NULL: to be deleted */
	struct hc_entry *base;  /* the same; NULL: not known */
	uint64_t base_version;
	int64_t expire_ms;
	uint32_t epoch; /* of its model, which the value counts as */
	struct hc_outage_since since;
	int64_t at_ms; /* wall clock, when the key came onto the list */
	enum hc_outage_doubt doubt;
	bool was_contested;             /* before it became unsure */
	bool left_out;                  /* the replay's own */
	enum hc_outage_outcome outcome; /* to be filled in before the page is settled */
	uint64_t written; /* the same: the change by which the upstream was given the value; 0: it was not */
	uint64_t mark;
};

struct hc_outage_page_model {
	uint32_t id;
	uint32_t known; /* the epoch upstream, as far as has been heard */
	uint64_t mark;
};

/*
 * A page holds either `all`, or models and keys that went, or, when there are none of these, values. Take one, tell the
 * upstream, settle the page; what was changed anew in between stays on the list.
 */
struct hc_outage_page {
	uint64_t losses; /* hc_outage_losses() when it was taken */
	bool all;
	uint64_t all_mark;
	struct hc_outage_page_model *models;
	size_t n_models;
	struct hc_outage_item *items;
	size_t n_items;
};

/* At most `max` keys, and values of about `max_bytes`; none, when there is nothing to tell yet. */
enum hc_status hc_outage_take(
    struct hc_outage *outage, size_t max, uint64_t max_bytes, int64_t now_ms, struct hc_outage_page *page);
void hc_outage_settle(struct hc_outage *outage, const struct hc_outage_page *page);
/* What the upstream answered to a clear. */
struct hc_outage_clear {
	uint32_t incarnation;
	uint32_t before, epoch; /* the model's */
};
/*
 * The upstream was told of the i-th clear of the page. Values that came onto the list after it count as of its epoch;
 * where others may have cleared the model since they came, they are to be deleted.
 */
void hc_outage_cleared(
    struct hc_outage *outage, const struct hc_outage_page *page, size_t i, const struct hc_outage_clear *clear);
/* Nobody knows what the upstream has carried out of it: it stays on the list. */
void hc_outage_lose(struct hc_outage *outage, const struct hc_outage_page *page);
void hc_outage_page_fini(struct hc_outage_page *page);

/* ---- its file ---- */

/* From now on each change is told to the log, which outlives the list. Before there are other threads. */
void hc_outage_set_log(struct hc_outage *outage, struct hc_outage_log *log);
/* Everything that is on it, as one page; the log, whose lock is not held, begins anew at this moment. */
enum hc_status hc_outage_snapshot(struct hc_outage *outage, struct hc_outage_page *page);
/* An item of an earlier life of this daemon's; takes references of its own. Without limits. */
enum hc_status hc_outage_restore(struct hc_outage *outage, const struct hc_outage_item *item);
/* The upstream was told of the clear; of all keys that went before the present `all`. HC_OK. */
enum hc_status hc_outage_drop_model(struct hc_outage *outage, uint32_t model);
void hc_outage_drop_all(struct hc_outage *outage);

#endif
