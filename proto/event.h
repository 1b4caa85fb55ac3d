/*
 * Events: what a daemon tells its siblings. One event is a RESP array of bulk strings:
 *
 *     version  type  instance  seq  model  epoch  time_ms  key…
 *
 * Numbers are decimal text. One Pub/Sub message holds one event or several, end to end. An event of several
 * keys stands for as many changes, numbered seq, seq+1, … in the order of the keys. `time_ms` is the sender's
 * wall clock, for people: nothing is decided by it. A receiver skips types and versions it does not know, and
 * elements past those it knows, so that fleets can be upgraded daemon by daemon.
 */
#ifndef HC_PROTO_EVENT_H
#define HC_PROTO_EVENT_H

#include <stdint.h>
#include "proto/slice.h"

#define HC_EVENT_VERSION 1
#define HC_EVENT_MAX_MODEL 255   /* bytes */
#define HC_EVENT_MAX_INSTANCE 64 /* bytes */

enum hc_event_type {
	HC_EVENT_SET,         /* keys were written; their seq follow each other */
	HC_EVENT_DEL,         /* keys were removed */
	HC_EVENT_EXPIRE,      /* keys' expiry was changed */
	HC_EVENT_PASSED,      /* a command was passed on that may change keys, or leave them as they are */
	HC_EVENT_CLEAR_MODEL, /* `model` is at `epoch` now */
	HC_EVENT_CLEAR_ALL,   /* everything is forgotten */
	HC_EVENT_SWEPT,       /* keys were removed that nobody could see any more: no change, and no seq */
	HC_EVENT_HEARTBEAT,   /* the sender lives; keys hold field, value, field, value… about it */
	HC_EVENT_UNKNOWN,     /* a type of a later version */
};

struct hc_event {
	uint32_t version;
	enum hc_event_type type;
	struct hc_slice instance;
	uint64_t seq;
	struct hc_slice model; /* may be empty */
	uint64_t epoch;
	int64_t time_ms;
	const struct hc_slice *keys;
	size_t nkeys;
};

enum hc_event_result {
	HC_EVENT_OK,
	HC_EVENT_END,  /* the run is empty */
	HC_EVENT_BAD,  /* malformed or truncated */
	HC_EVENT_KEYS, /* more keys than `cap`: call again with room for `nkeys` of them */
};

/*
 * Decodes the event at the start of `run`. Slices point into `run`; `keys` is the caller's array of `cap`.
 * On OK `*used` is the event's length. On KEYS only out->nkeys is set. Never reads past run.len.
 */
enum hc_event_result hc_event_decode(
    struct hc_slice run, struct hc_slice *keys, size_t cap, struct hc_event *out, size_t *used);

/* Each key of these takes a number of its own: they are the first in the list. */
static inline bool
hc_event_is_by_keys(enum hc_event_type type)
{
	return type <= HC_EVENT_PASSED;
}

/* The number of the last of the changes it stands for; 0: it has none. */
static inline uint64_t
hc_event_last_seq(const struct hc_event *event)
{
	return event->seq +
	       (event->seq > 0 && hc_event_is_by_keys(event->type) && event->nkeys > 1 ? event->nkeys - 1 : 0);
}

/* Encodes; returns the bytes it takes, and writes them when that is <= cap, else nothing. */
size_t hc_event_encode(char *dst, size_t cap, const struct hc_event *event);

/*
 * What is around the seq and the epoch of an encoded event, for somebody else to put them in: the event is before_seq,
 * seq as a bulk string, before_epoch, epoch as a bulk string, after_epoch. Slices of `wire`, which must be of
 * hc_event_encode().
 */
struct hc_event_pieces {
	struct hc_slice before_seq, before_epoch, after_epoch;
};
void hc_event_cut(struct hc_slice wire, struct hc_event_pieces *out);
/*
 * The same around the seq alone, to be put in with as few words as can be: the event is before_seq, the length of seq
 * in decimal, CR LF, seq, after_seq.
 */
void hc_event_cut_at_seq(struct hc_slice wire, struct hc_slice *before_seq, struct hc_slice *after_seq);

/* "set", "del", "expire", "passed", "clear-model", "clear-all", "swept", "heartbeat", "unknown". */
const char *hc_event_type_name(enum hc_event_type type);

#endif
