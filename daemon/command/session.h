/*
 * What the commands know of a connection, and the list of all of them. The network layer embeds a session in each of
 * its clients; commands never see sockets.
 *
 * Threads: a session belongs to its worker. Other threads (CLIENT LIST, CLIENT KILL, INFO) see it through the
 * registry, under the registry's lock, and touch only what is marked so.
 */
#ifndef HC_COMMAND_SESSION_H
#define HC_COMMAND_SESSION_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/out.h"
#include "base/status.h"
#include "proto/slice.h"

#define HC_SESSION_NO_MODEL UINT32_MAX
#define HC_SESSION_ADDR_MAX 128

struct hc_command;
struct hc_req;
struct hc_sessions;

/* Which commands go without a reply. */
enum hc_silence { HC_SILENCE_NONE, HC_SILENCE_NEXT, HC_SILENCE_ALL };

struct hc_session {
	/* constant after hc_session_open() */
	uint64_t id;
	int64_t opened_ms; /* wall clock */
	int fd;
	char addr[HC_SESSION_ADDR_MAX];  /* of the peer: "127.0.0.1:4711", or "/path:0" */
	char laddr[HC_SESSION_ADDR_MAX]; /* ours */
	bool is_unix;
	uint32_t bound_model; /* of the listener, or HC_SESSION_NO_MODEL: what RESET goes back to */
	void *owner;          /* the network layer's */
	struct hc_sessions *registry;

	/* its worker only */
	int resp; /* 2 or 3 */
	bool authenticated;
	bool close_after_reply;      /* QUIT, protocol errors: nothing more is read */
	uint32_t model;              /* MODEL USE, or HC_SESSION_NO_MODEL: by key */
	bool no_touch;               /* CLIENT NO-TOUCH */
	enum hc_silence silence;     /* CLIENT REPLY */
	struct hc_out out;           /* replies in order, ready to be sent */
	uint64_t logged_at;          /* … once the log has been written up to here; 0: at once */
	bool wants_room;             /* its next command waits for room in the log */
	struct hc_req *pending_head; /* commands under way, in order; their replies wait for those before */
	struct hc_req *pending_tail;
	unsigned n_pending;
	size_t pending_bytes; /* of replies among them that are ready but have to wait */
	size_t parked_bytes;  /* of their arguments */
	bool barrier;         /* one of them runs alone: nothing else may start */
	struct {
		bool active;
		bool failed; /* a command was refused while queueing: EXEC aborts */
		struct hc_queued *head, *tail;
		unsigned n;
		size_t bytes;
	} multi;
	struct hc_watched *watched; /* WATCH */
	size_t watched_bytes;

	/* under the registry's lock; read by its worker without it, as only the worker writes */
	char *name;     /* CLIENT SETNAME, or NULL */
	char *lib_name; /* CLIENT SETINFO */
	char *lib_ver;
	struct hc_session *next, *prev;

	/* atomics: written by its worker, read by anyone */
	_Atomic int64_t active_ms; /* monotonic: last command; or when it still waited for its answer */
	_Atomic(const struct hc_command *) last_command;
	_Atomic uint64_t commands;
	_Atomic uint64_t bytes_in, bytes_out;
	_Atomic uint32_t shown_resp; /* of resp, multi.n (of EXEC while it runs) and the buffers, for CLIENT LIST */
	_Atomic int32_t shown_multi;
	_Atomic uint64_t shown_in_buffer, shown_out_buffer;
	_Atomic uint64_t held; /* hc_session_holds() */
	_Atomic bool no_evict; /* CLIENT NO-EVICT; RESET leaves it, as in Redis 7.0 */
	/* written by anyone: its worker closes it */
	_Atomic bool kill;
	/* written under the registry's lock: it is to be closed as it held so much, more than all others; 0: it is not
	 */
	_Atomic uint64_t evicted_for;
};

/* ---- the registry: any thread ---- */

enum hc_status hc_sessions_create(struct hc_sessions **out);
void hc_sessions_destroy(struct hc_sessions *sessions);

/* Gives it an id and enters it. The caller has filled in addr, laddr, fd, is_unix, bound_model, owner. */
void hc_session_open(struct hc_sessions *sessions, struct hc_session *session, struct hc_out_pool *pool);
/* Takes it out, frees what it holds. Requests under way must have been let go (hc_req_abandon). */
void hc_session_close(struct hc_session *session);
/*
 * As after connecting: RESP2, no name, no transaction, the listener's model; but `no_evict` stays, and
 * `authenticated` is as given.
 */
void hc_session_reset(struct hc_session *session, bool authenticated);

uint64_t hc_sessions_count(struct hc_sessions *sessions);

/* ---- what sessions hold of memory: buffers, queued commands, replies ---- */

void hc_session_tell_held(struct hc_session *session, uint64_t bytes);

/* The session holds so much now. Its worker only, after each turn; costs a comparison as long as nothing changes. True:
 * something has. */
static inline bool
hc_session_holds(struct hc_session *session, uint64_t bytes)
{
	if (__builtin_expect(bytes == atomic_load_explicit(&session->held, memory_order_relaxed), 1))
		return false;
	hc_session_tell_held(session, bytes);
	return true;
}

/* Of all. */
uint64_t hc_sessions_held(const struct hc_sessions *sessions);
/*
 * Has those that hold most closed, so many that the others hold no more than `max`: sets their `kill` and calls
 * kill(host, session) for each, under the lock. Those with `no_evict` are spared, though what they hold counts; those
 * that are being closed already are not looked at; what has been evicted and is not closed yet counts as gone.
 */
void hc_sessions_evict(
    struct hc_sessions *sessions, uint64_t max, void (*kill)(void *host, struct hc_session *session), void *host);

/* Sets one of name, lib_name, lib_ver (the field's address) to a copy. Its worker only. */
enum hc_status hc_session_set_text(struct hc_session *session, char **field, struct hc_slice text);

/*
 * Calls fn for each session, oldest first, under the lock: fn must be short and must not call into the registry. It
 * ends early when fn returns false.
 */
void hc_sessions_each(struct hc_sessions *sessions, bool (*fn)(struct hc_session *session, void *arg), void *arg);

#endif
