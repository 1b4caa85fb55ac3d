/*
 * A fetch: what is not in memory, or is suspect there, on its way from a slower tier. What read.c, read_file.c,
 * read_upstream.c and read_suspect.c share.
 *
 *     fetch → file, if it may be there ─ fresh ──────────────────→ finish: kept if it has been asked for often enough
 *        │            │       └ suspect ─┐
 *        │            └ not, or no longer ┼→ upstream, if there is one ─────────────────→ finish: kept
 *        └ suspect in memory ─────────────┴→ upstream: is it that still? ─ yes ─────────→ finish: renewed
 *                                                   │                  └ no → upstream, as above
 *                                                   └ no answer ────────────────────────→ finish: served as it is, or a
 * miss
 *
 * One thread: the worker's; but while it is in the file tier's hands (read_file.c), it is a reader thread's.
 */
#ifndef HC_CORE_FETCH_H
#define HC_CORE_FETCH_H

#include <stddef.h>
#include "core/internal.h"

struct hc_fetch {
	struct hc_core_worker *worker;
	struct hc_fetch *next; /* in its slot */
	struct hc_key key;     /* bytes are behind this struct */
	struct hc_ticket ticket;
	struct hc_waiter *waiters, **waiters_end;
	struct hc_entry *entry;
	enum hc_status status;  /* HC_PENDING until it is known what there is */
	enum hc_tier_name tier; /* where it was found */
	int64_t sent_ms;
	unsigned flags; /* HC_READ_*, of all who wait */
	bool exact;     /* asked for the key's own expiry: shared with nobody, not kept */
	bool linked;
	/* read_suspect.c's */
	struct hc_entry *suspect; /* what may be out of date, with a reference, or NULL */
	bool suspect_filed;       /* it was read from a file, from `position` */
	uint64_t position;
	bool is_same;  /* the upstream has that still */
	bool renewed;  /* `entry` is it */
	bool in_place; /* `entry` is where it was found: there is nothing to keep */
	bool stale;    /* … and nobody knows whether it is out of date */
	/* read_upstream.c's */
	bool half;        /* PTTL could not be sent: GET's answer ends it */
	bool behind;      /* the key was being written when it was sent */
	bool overtaken;   /* a write was held then: it came before that */
	uint32_t resends; /* the worker's then */
	/* read_file.c's */
	struct hc_file_read read;
	struct hc_message message;
	struct hc_filed filed;
	unsigned file_hits; /* of the key in its file, lately */
	unsigned file_tries;
};

/* Asks the file tier. HC_PENDING; HC_MISS: it has nothing to offer. */
enum hc_status hc_fetch_from_file(struct hc_fetch *fetch);
/* Asks the upstream. HC_OK: it will be answered; HC_DOWN, HC_NOMEM: nothing has been sent. */
enum hc_status hc_fetch_from_upstream(struct hc_fetch *fetch);

/* Notes what the question that is about to be sent may be overtaken by. */
static inline void
hc_fetch_note_order(struct hc_fetch *fetch)
{
	fetch->behind = hc_store_writing(fetch->worker->core->store, fetch->key);
	fetch->overtaken = fetch->worker->batch_held;
	fetch->resends = fetch->worker->resends;
}

/* Writes of its key that went before it may have had to be sent again: it has seen what was before them. */
static inline bool
hc_fetch_was_overtaken(const struct hc_fetch *fetch)
{
	return fetch->behind && (fetch->overtaken || fetch->resends != fetch->worker->resends);
}

/*
 * Whether a read of the key is under way here that might be shown what is written from now on: one that asks first
 * whether what is here is what the upstream has, or one that is asked again if a write before it has to be sent again.
 */
bool hc_fetch_would_see(struct hc_core_worker *worker, struct hc_key key);

/* What was changed here while the upstream could not be told is not asked for there: this daemon knows best. */
static inline bool
hc_fetch_is_of_outage(struct hc_core *core, struct hc_key key)
{
	return !hc_outage_empty(core->outage) && hc_outage_has_key(core->outage, key);
}

/* Takes what is suspect in memory, if it is; false: it is not. */
bool hc_fetch_meets_suspect(struct hc_fetch *fetch);
/* Asks the upstream whether fetch->suspect is what it has. As hc_fetch_from_upstream(). */
enum hc_status hc_fetch_revalidate(struct hc_fetch *fetch);
/* The upstream did not say: what is suspect is the answer, if that may be. */
void hc_fetch_fall_back(struct hc_fetch *fetch);

/* Whether the upstream has said what there is. */
static inline bool
hc_fetch_is_answered(enum hc_status status)
{
	return status == HC_OK || status == HC_MISS || status == HC_WRONGTYPE;
}

/* `status`, `entry` and `tier` are set: the entry is kept if it may be, all who wait are answered, the fetch is freed.
 */
void hc_fetch_finish(struct hc_fetch *fetch, int64_t pttl);

#endif
