/*
 * A worker: one thread, one event loop, its clients, its part of the core. What comes from other threads comes by
 * mailbox.
 *
 *     worker ─┬─ thread, loop, mailbox
 *             ├─ core worker (link, fetches, batch)
 *             ├─ command worker (scratch request)
 *             ├─ reply chunks, read buffer, arguments: shared by its clients, one at a time
 *             └─ clients
 */
#ifndef HC_NET_WORKER_H
#define HC_NET_WORKER_H

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/mailbox.h"
#include "base/out.h"
#include "base/stats.h"
#include "command/command.h"
#include "proto/resp_request.h"

struct hc_client;
struct hc_server;

/* Lists that clients are put into until the loop comes to them. */
enum hc_client_list {
	HC_CLIENT_READY,  /* replies grew while they were not being served */
	HC_CLIENT_LOGGED, /* replies wait until the log has been written far enough */
	HC_CLIENT_TURN,   /* requests wait until others have had their turn */
	HC_CLIENT_LISTS,
};

#define HC_WORKER_READ_BYTES 65536
#define HC_WORKER_ARGS 1024 /* arguments a request may have before its client gets an array of its own */

/* A message that is sent again and again, at most once at a time, and costs no memory then. Any thread may send it. */
struct hc_worker_errand {
	struct hc_message message;
	atomic_bool sent;
};

struct hc_worker {
	/* constant while the thread runs */
	struct hc_server *server;
	unsigned index;
	pthread_t thread;
	struct hc_mailbox *mailbox; /* any thread may send */

	/* any thread's */
	struct hc_worker_errand reap, apply;

	/* the thread's */
	struct event_base *base;
	struct hc_core_worker *core;
	struct hc_command_worker command;
	struct hc_out_pool pool;
	struct hc_client *clients; /* all */
	struct hc_client *lists[HC_CLIENT_LISTS];
	struct event *ready_event;
	struct event *turn; /* the next one, of those who have had theirs and are not done */
	int64_t turn_us;    /* for which one client's requests that have come together may go on */
	unsigned calls;     /* that have been looked round after, see client_input.c */
	struct event *tick; /* in a fleet, for the link to the upstream */
	struct event *look; /* for clients over a limit in time: when the first may be */
	int64_t look_at_ms; /* monotonic: when that is; INT64_MAX: not in sight */
	int64_t tick_at_ms; /* monotonic */
	int64_t looked_ms;  /* last look */
	struct hc_resp_limits limits;
	struct hc_resp_limits guest_limits; /* of clients that have not given the password */
	bool draining;
	struct hc_slice args[HC_WORKER_ARGS];
	char *read_buffer;

	struct hc_stats stats; /* its only writer; read by anyone */
};

/* Before the thread runs; hc_worker_start() runs it. HC_NOMEM, HC_ERROR. */
enum hc_status hc_worker_create(struct hc_server *server, unsigned index, struct hc_worker **out);
enum hc_status hc_worker_start(struct hc_worker *worker);
/* After the thread ended, or never ran. */
void hc_worker_destroy(struct hc_worker *worker);

/*
 * A client may be over a limit in time then (monotonic), and not before unless this is called again: clients are looked
 * at together, once a second at most, and not at all while no limit is near. The worker's thread.
 */
void hc_worker_look_by(struct hc_worker *worker, int64_t at_ms);

/* A client is about to be entered in the list, which was empty. The worker's thread. */
void hc_worker_first_client(struct hc_worker *worker);
/* A client is gone from the list: while draining, the last one ends the loop. The worker's thread. */
void hc_worker_client_closed(struct hc_worker *worker);

/* ---- any thread ---- */

/* A connection just accepted: the worker owns the descriptor from now on, also when this fails (it is closed). */
void hc_worker_adopt(struct hc_worker *worker, int fd, uint32_t bound_model);
/* Looks for clients that are to be killed. */
void hc_worker_reap(struct hc_worker *worker);
/* Settings have changed: takes over what is not looked up at each use. */
void hc_worker_apply_settings(struct hc_worker *worker);
/* Answers what has been asked, closes all connections, and ends the thread; at once when `now`. */
void hc_worker_drain(struct hc_worker *worker, bool now);

#endif
