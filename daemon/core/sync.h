/*
 * What the parts of the synchronisation with the fleet share. Main thread, but for what says otherwise.
 *
 *     event link:   up → INFO, SUBSCRIBE → confirmed ┐
 *     control link: up ──────────────────────────────┴→ INFO, state script (state.c)
 *                        the same life of the upstream ─→ replay.c: what was missed, from the journal
 *                        another, or too much missed ───→ all is suspect
 *                     ─→ fence.c: nothing is missing ───→ doubt.c: fresh, for a lease → outage_replay.c
 *     events.c          applies what the event link brings, and what is replayed
 *     tracking.c        subscribes, and applies what the server itself tells of keys that others write
 *
 *     each half lease:  fence.c, a heartbeat;  each quarter: PING on the event link (no pong in half a lease: it is
 * dead)
 */
#ifndef HC_CORE_SYNC_H
#define HC_CORE_SYNC_H

#include "core/internal.h"
#include "fleet/heard.h"

#define HC_TRACKING_CHANNEL "__redis__:invalidate"

struct hc_told;

struct hc_fence {
	bool asked; /* an answer is awaited */
	int64_t asked_ms;
	uint64_t heard; /* when it was asked for */
	uint64_t seq;   /* what must have been heard when the pong comes */
	bool alone;     /* no stragglers were left when it was asked for */
};

struct hc_sync {
	struct hc_core *core;
	struct event_base *base;
	struct hc_stats *stats;
	struct hc_link *control; /* these three owned */
	struct hc_link *events;
	struct event *tick, *save, *lease_end; /* owned */
	struct hc_mailbox *mailbox;
	struct hc_message request;
	_Atomic bool requested;
	bool goodbye_sent;
	unsigned ticks;

	/* sync.c's */
	bool subscribed;
	bool asking;    /* the state script is under way */
	bool unwatched; /* the event link was away since the state was last taken */
	bool ahead;     /* a model was cleared more often here than the upstream knows of */
	bool following; /* since it has answered: the event link brings all that is new */
	uint64_t life;  /* of the upstream that `heard` is about; 0: there is none */
	uint32_t incarnation;
	uint64_t events_life, control_life; /* to which the links lead */
	int64_t looked_ms;                  /* monotonic: when the control link's was last seen to be that */
	struct hc_heard heard;
	uint64_t asked_at; /* up to which all had been heard when the state was asked for */

	/* replay.c's */
	bool replaying;
	bool replay_broken; /* there is a hole in what came */
	uint64_t replay_to;
	uint64_t replayed; /* changes, this time */

	/* fence.c's */
	struct hc_fence fence;
	bool fence_restarted; /* since it last held */

	/* tracking.c's */
	size_t channels;       /* asked to be subscribed to */
	bool tracking_refused; /* by an access list */
	struct hc_told *told;  /* owned; NULL: not wanted, or no memory for it */
	int64_t message_ms;    /* monotonic: when the present message of events came */

	/* outage_replay.c's */
	struct hc_outage_page page; /* being made up for */
	bool behind;                /* pages have been taken since the list was empty */
	uint64_t cleared_seq;       /* the last clear that was made up for; 0: all before it has been heard of */
};

/* sync.c */
/* Asks what has been missed, when both links are ready. */
void hc_sync_get_in_step(struct hc_sync *sync);
/* How far changes have been heard of, for all threads: once they are applied. */
void hc_sync_note_heard(struct hc_sync *sync);
/* Which life INFO's answer tells of; 0: none. */
uint64_t hc_sync_life_of(enum hc_status status, const redisReply *info);
/* What was missed up to `seq` cannot be made up for. */
void hc_sync_lose(struct hc_sync *sync, uint64_t seq, const char *why);

/* state.c */
/* Asks for the state, with the epochs known here: the upstream has them when it answers. */
enum hc_status hc_sync_send_state(struct hc_sync *sync, hc_link_reply_fn *fn);
/* What was cleared here while the state was asked for, or of another state than this one, the upstream is to know. */
void hc_sync_tell_epochs(struct hc_sync *sync);

/* tracking.c */
/* On a new connection of the event link. */
void hc_sync_subscribe(struct hc_sync *sync);
/* That connection is lost. */
void hc_sync_tracking_down(struct hc_sync *sync, const char *why);
/* An event told of the key. */
void hc_sync_told_of(struct hc_sync *sync, struct hc_key key, bool surely);
/* The server tells that these keys, or with nil all, have changed. */
void hc_sync_on_invalidated(struct hc_sync *sync, const redisReply *keys);

/* events.c */
/* Anything may have changed, and nothing will tell what. */
void hc_sync_doubt_everything(struct hc_sync *sync);
void hc_sync_on_message(struct hc_sync *sync, const redisReply *payload);
/* An entry of the journal; false: there is a hole before it, or it makes no sense. */
bool hc_sync_on_replayed(struct hc_sync *sync, const redisReply *payload);

/* replay.c: replays up to `seq` at least, then has it fenced. */
void hc_sync_replay(struct hc_sync *sync, uint64_t seq);

/* fence.c */
void hc_sync_fence(struct hc_sync *sync);

/* straggle.c: has what workers gave up ended, where the control link leads. */
void hc_sync_end_stragglers(struct hc_sync *sync);

/* outage_replay.c: makes up for what was changed here while the upstream could not be told. */
void hc_sync_make_up(struct hc_sync *sync);

#endif
