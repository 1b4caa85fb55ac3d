/*
 * A connection to Redis on one event loop: libevent's bufferevent below, hiredis's reader and formatter above,
 * our own timers and states between. It connects, keeps itself connected, and pipelines commands; what is sent
 * in one turn of the loop leaves in one write. Nothing blocks. One thread: its loop's.
 *
 *     CLOSED ─start→ CONNECTING ─→ HANDSHAKE ─→ UP
 *                        ↑  └────────┴─ failed ──┤
 *                        └───── BACKOFF ←────────┘        destroy: from anywhere
 *
 * Handshake: AUTH, SELECT, CLIENT SETNAME as the URL and config ask, CLIENT ID, INFO server, then PING.
 * Breaker: while the link is not UP, sends fail at once (HC_DOWN). A command not answered within timeout_ms
 * fails that connection: all commands waiting on it fail (HC_TIMEOUT for the late one, HC_DOWN for the rest).
 *
 *     closed ─ a timeout, or the connection is lost ─→ open ─ back-off ─→ half-open: one PING goes through, no more
 *        └←──────────────────────── it is answered ──────────────────────────┴─ else ─→ open, for longer
 *
 * Stragglers (stragglers.h): what was sent and not answered when a connection failed may yet be carried out. The next
 * connection to the same server has the former one ended there before it is UP.
 *
 * Back-off before the next attempt grows from min to max by doubling, with jitter, and starts over after UP; but not
 * when nothing is answered except the handshake: a server that greets and then hangs is tried less and less.
 *
 * No function here calls back before it returns, but for destroy and on_state: what goes wrong is told in a later turn
 * of the loop. Until then hc_link_state() may still say UP; hc_link_is_up() is already false. The process ignores
 * SIGPIPE.
 */
#ifndef HC_UPSTREAM_LINK_H
#define HC_UPSTREAM_LINK_H

#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <stdint.h>
#include "base/status.h"
#include "proto/slice.h"
#include "upstream/stragglers.h"
#include "upstream/url.h"

enum hc_link_state {
	HC_LINK_CLOSED,
	HC_LINK_CONNECTING,
	HC_LINK_HANDSHAKE,
	HC_LINK_UP,
	HC_LINK_BACKOFF,
	HC_LINK_STATES
};
const char *hc_link_state_name(enum hc_link_state state);

enum hc_breaker { HC_BREAKER_CLOSED, HC_BREAKER_HALF_OPEN, HC_BREAKER_OPEN };
enum hc_breaker hc_link_breaker_of(enum hc_link_state state);

struct hc_link;

/*
 * The answer to one command, called exactly once for each successful send, in order. HC_OK: `reply` is
 * set (it may be an error reply: REDIS_REPLY_ERROR), borrowed for the call. HC_TIMEOUT, HC_DOWN: it is NULL and the
 * command may or may not have been carried out. May send more, must not destroy the link.
 */
typedef void hc_link_reply_fn(void *arg, enum hc_status status, const redisReply *reply);

struct hc_link_config {
	const struct hc_url *url;   /* outlives the link */
	const char *name;           /* for logs and CLIENT SETNAME, e.g. "harcad-w0"; outlives the link */
	int64_t connect_timeout_ms; /* for connect and handshake together */
	int64_t timeout_ms;         /* for a command */
	int64_t backoff_min_ms;
	int64_t backoff_max_ms;
	struct hc_stragglers *stragglers; /* who is told of them, or NULL; outlives the link */
	unsigned number;                  /* of the link, for it */
};

struct hc_link_owner {
	void *arg;
	/* All optional. on_up: commands may be sent. on_down: the connection is lost, or an attempt failed; `why` is
	   a short word or sentence; called after the waiting commands' reply functions. */
	void (*on_up)(void *arg, struct hc_link *link);
	void (*on_down)(void *arg, struct hc_link *link, const char *why);
	/* The state is another now: to take note of it, nothing else. */
	void (*on_state)(void *arg, enum hc_link_state from, enum hc_link_state to);
	/* Pub/Sub: arrays that begin with "message", "pmessage", "subscribe", "unsubscribe"… are given here and
	   never answer a command. Only on connections on which hc_link_send_push() was used, and required for it:
	   elsewhere Redis sends none, and an array that looks like one is somebody's value. */
	void (*on_push)(void *arg, struct hc_link *link, const redisReply *push);
};

struct hc_link_stats {
	enum hc_link_state state;
	int64_t since_ms;  /* monotonic time of the last change of up/not up */
	uint64_t connects; /* successful ones */
	uint64_t failures; /* attempts that failed and connections that were lost */
	uint64_t timeouts;
	uint64_t commands;
	uint64_t bytes_in, bytes_out;
	uint32_t waiting; /* commands sent, not answered */
};

enum hc_status hc_link_create(struct event_base *base, const struct hc_link_config *config,
    const struct hc_link_owner *owner, struct hc_link **out);
/* Waiting commands fail with HC_DOWN; no owner function is called any more. Not from inside a callback of this link.
 * NULL is fine. */
void hc_link_destroy(struct hc_link *link);
void hc_link_start(struct hc_link *link);

/*
 * Sends a command. HC_OK: `fn` (may be NULL) will be called once. HC_DOWN: it will not (not UP). HC_NOMEM.
 * The arguments are copied.
 */
enum hc_status hc_link_send(
    struct hc_link *link, const struct hc_slice *argv, size_t argc, hc_link_reply_fn *fn, void *arg);

/*
 * The same for commands that are answered only by pushes (SUBSCRIBE …). One push per argument is expected within
 * the timeout; an error reply instead fails the connection.
 */
enum hc_status hc_link_send_push(struct hc_link *link, const struct hc_slice *argv, size_t argc);

/* Gives the connection up and connects again (state BACKOFF with the least delay). `why` as in on_down; copied. May be
   called from inside callbacks. Nothing while CLOSED. */
void hc_link_reconnect(struct hc_link *link, const char *why);

enum hc_link_state hc_link_state(const struct hc_link *link);
bool hc_link_is_up(const struct hc_link *link);
void hc_link_stats(const struct hc_link *link, struct hc_link_stats *out);
/* Of its present connection, while it is up. */
const struct hc_peer *hc_link_peer(const struct hc_link *link);
/* The durations of `config` are in force from now on; the rest of it does not count. */
void hc_link_set_times(struct hc_link *link, const struct hc_link_config *config);

#endif
