/*
 * What the files of the link share; nobody else includes it. One thread: the link's loop's.
 *
 *     link.c            the public functions, the timer, failing and backing off
 *     link_state.c      the states: allowed moves, invariants
 *     link_dial.c       names to addresses, addresses to a connected bufferevent; its end
 *     link_handshake.c  from connected to UP
 *     link_replies.c    bytes to replies to reply functions
 *     pending.c         who waits for which reply
 *
 * One rule keeps this simple: a connection is never torn down inside one of its own callbacks.
 * Whoever finds it unusable calls hc_link_break(), which remembers why and makes the timer's event
 * run next; from then on nothing is sent and nothing is read, and the timer's event, with no other
 * function of the link on the stack, closes the connection and tells the waiting ones.
 */
#ifndef HC_UPSTREAM_LINK_INTERNAL_H
#define HC_UPSTREAM_LINK_INTERNAL_H

#include <event2/bufferevent.h>
#include <event2/util.h>
#include "base/backoff.h"
#include "upstream/link.h"
#include "upstream/pending.h"

#define HC_LINK_NEVER INT64_MAX
#define HC_LINK_WHY_MAX 160

struct hc_link_resolve;

struct hc_link {
	uint32_t magic;

	/* Constant after create, but for the timeouts. */
	struct event_base *base; /* not owned */
	struct hc_link_config config;
	struct hc_link_owner owner;
	struct event *timer; /* owned; whatever is due next, see due_ms() in link.c */

	enum hc_link_state state;
	int64_t timer_at_ms;         /* when the timer will fire, or HC_LINK_NEVER */
	int64_t attempt_deadline_ms; /* CONNECTING, HANDSHAKE: when the attempt has taken too long */
	int64_t retry_at_ms;         /* BACKOFF: when to try again */
	struct hc_backoff backoff;
	uint32_t attempts; /* failed in a row: they take turns among the host's addresses */
	uint32_t calling;  /* depth of owner's and reply functions on the stack */

	/* The connection: none in CLOSED and BACKOFF. */
	struct bufferevent *bev; /* owned */
	redisReader *reader;     /* owned */
	struct hc_pending pending;
	struct hc_peer peer;        /* from the handshake on */
	bool proven;                /* it has answered something behind the handshake */
	bool subscribed;            /* hc_link_send_push() was used: pushes may come */
	char note[HC_LINK_WHY_MAX]; /* of the handshake: an error that was ignored, but may explain
				       an EOF */

	/* The former connection, if it has left stragglers. */
	bool has_stragglers;
	struct hc_peer given_up;

	/* Set by hc_link_break(): the connection awaits its end. */
	bool broken;
	bool retry_soon;            /* by hc_link_reconnect(): back-off starts over */
	enum hc_status head_status; /* what the oldest waiting command is told */
	char why[HC_LINK_WHY_MAX];

	/* Where to connect; while CONNECTING. */
	struct hc_link_resolve *resolve; /* owned until it is orphaned */
	struct evutil_addrinfo *addrs;   /* owned */
	uint32_t addrs_left;             /* not yet tried in this attempt */

	enum { REPORTED_NOTHING, REPORTED_UP, REPORTED_DOWN } reported; /* the last log line */
	struct hc_link_stats stats; /* state and waiting are filled in when asked for */
};

/* link.c */

/* `arg` as it comes back from libevent or hiredis, checked. */
struct hc_link *hc_link_of(void *arg);
/* The first reason counts; later ones are ignored. */
void hc_link_break(struct hc_link *link, enum hc_status head_status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Sends regardless of the state; `entry` waits for the answer. HC_OK or HC_NOMEM. */
enum hc_status hc_link_enqueue(
    struct hc_link *link, const struct hc_slice *argv, size_t argc, const struct hc_pending_entry *entry);
void hc_link_came_up(struct hc_link *link);
/* Lets the timer be when nobody waits: a link at rest wakes nobody up. */
void hc_link_rest(struct hc_link *link);

/* link_state.c */
void hc_link_set_state(struct hc_link *link, enum hc_link_state state);
/* Asserts what holds between any two callbacks. */
void hc_link_check(const struct hc_link *link);

/* link_dial.c */
void hc_link_dial(struct hc_link *link);
/* Tries the host's next address; false when there is none left. */
bool hc_link_dial_next(struct hc_link *link);
/* What has been written and is not on its way yet will not be: the end is a reset. */
void hc_link_reset_on_close(struct hc_link *link);
/* Frees all that belongs to connection and attempt, but the waiting commands. */
void hc_link_hang_up(struct hc_link *link);

/* link_handshake.c */
void hc_link_handshake(struct hc_link *link);

/* link_replies.c: bufferevent's callback */
void hc_link_on_readable(struct bufferevent *bev, void *arg);

#endif
