/*
 * A client's connection: bytes in, commands run, replies out. One thread: its worker's.
 */
#ifndef HC_NET_CLIENT_H
#define HC_NET_CLIENT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include "command/session.h"
#include "net/worker.h"

struct hc_held;

struct hc_client {
	uint32_t magic;
	int fd;
	struct hc_worker *worker;
	struct hc_client *next, *prev; /* among its worker's */
	struct hc_client_link {
		struct hc_client *next;
		bool in;
	} links[HC_CLIENT_LISTS]; /* of the worker's lists */
	struct event read_event;
	struct event write_event;
	struct hc_session session;
	struct hc_resp_parser parser;
	struct hc_slice *args; /* its own, when a request in progress has many; else NULL and the worker's are used */
	char *in;              /* bytes that wait: an unfinished request, or requests that may not start yet */
	size_t in_len, in_cap;
	int64_t stalled_since_ms; /* monotonic: since when the socket takes nothing; 0: it does */
	bool reading;             /* read_event is added */
	bool writing;             /* write_event is added */
	struct hc_held *held;     /* the next command, which has to wait for earlier ones; or NULL */
	size_t held_bytes;        /* of it */
	bool paused;              /* requests in `in` were left for later: replies waited, or … */
	bool yields;              /* … other clients: it goes on when they have had their turn */
	bool bad;                 /* what comes next is no request, but the error's turn has not come yet */
	bool serving;             /* its commands are being run: replies are flushed afterwards */
	bool closing;             /* will be closed as soon as nobody is at work on it */
	bool eof;                 /* it will send nothing more */
};

/* Takes the descriptor over (closes it when it fails). */
void hc_client_open(struct hc_worker *worker, int fd, uint32_t bound_model);
/* Closes it, whatever is under way. Not from inside its own commands. */
void hc_client_close(struct hc_client *client);

/* command's `ready`: replies have come. */
void hc_client_ready(struct hc_session *session);
/* From the worker's loop: flushes what has come, and goes on with what was held up. */
void hc_client_go_on(struct hc_client *client);
/* Takes over settings that are not looked up at each use. */
void hc_client_apply_settings(struct hc_client *client);
/*
 * Looks at the limits in time: idle, or not reading its replies. Returns when to look again (monotonic; INT64_MAX: not
 * before something happens), or closes it and returns INT64_MAX.
 */
int64_t hc_client_look(struct hc_client *client, int64_t now_ms);
/* All of them together may hold too much, as the setting has changed: closes who holds most. */
void hc_client_check_memory(const struct hc_worker *worker);
/* The daemon ends: reads once more, answers, closes. */
void hc_client_drain(struct hc_client *client);

#endif
