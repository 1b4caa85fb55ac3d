/*
 * Connections. One thread: the worker's.
 *
 *     readable ─→ read ─→ parse ─ run ─ parse ─ run … ─→ one write
 *                  │         └ unfinished: kept in client->in
 *                  └ into the worker's buffer, or behind what is kept
 *
 * Three things hold a client up, and each stops it from being read so that it costs no more memory: a command that must
 * wait for earlier ones (held), replies it does not read (client.output_pause), and too much of either closes it
 * (client.output_max, client.request_max).
 */
#include "net/client.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/large.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/client_io.h"
#include "net/server.h"

#define CLIENT_MAGIC 0x68636c69u

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* ---- events ---- */

static struct hc_client *
checked(void *arg)
{
	struct hc_client *client = arg;

	assert(client->magic == CLIENT_MAGIC);
	return client;
}

static void
want_read(struct hc_client *client, bool want)
{
	if (want == client->reading)
		return;
	if (want)
		event_add(&client->read_event, NULL);
	else
		event_del(&client->read_event);
	client->reading = want;
}

/* Limits in time: when it is over them unless something happens, INT64_MAX for never. */
static int64_t
stall_limit_ms(const struct hc_client *client)
{
	int64_t timeout_ms = client->worker->command.shared->settings->client_stall_timeout;

	return client->writing && timeout_ms > 0 ? client->stalled_since_ms + timeout_ms + 1 : INT64_MAX;
}

static int64_t
idle_limit_ms(const struct hc_client *client)
{
	int64_t timeout_ms = client->worker->command.shared->settings->client_idle_timeout;

	return timeout_ms > 0 ? atomic_load(&client->session.active_ms) + timeout_ms + 1 : INT64_MAX;
}

static void
want_write(struct hc_client *client, bool want)
{
	if (want == client->writing)
		return;
	if (want)
		event_add(&client->write_event, NULL);
	else
		event_del(&client->write_event);
	client->writing = want;
	client->stalled_since_ms = want ? hc_clock_mono_ms() : 0;
	if (want)
		hc_worker_look_by(client->worker, stall_limit_ms(client));
}

/* ---- life ---- */

static void
describe_address(const struct sockaddr_storage *address, char *dst, size_t cap)
{
	char host[64];

	if (address->ss_family == AF_UNIX) {
		const struct sockaddr_un *un = (const struct sockaddr_un *)address;
		snprintf(dst, cap, "%.108s:0", un->sun_path);
	} else if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
		evutil_inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(dst, cap, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else if (address->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;
		evutil_inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(dst, cap, "%s:%u", host, ntohs(in->sin_port));
	} else {
		snprintf(dst, cap, "?:0");
	}
}

static void
describe_ends(struct hc_client *client)
{
	struct hc_session *session = &client->session;
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);

	if (getsockname(client->fd, (struct sockaddr *)&address, &len) == 0)
		describe_address(&address, session->laddr, sizeof(session->laddr));
	session->is_unix = address.ss_family == AF_UNIX;
	if (session->is_unix) { /* the peer has no name: Redis shows the socket's */
		memcpy(session->addr, session->laddr, sizeof(session->addr));
		return;
	}
	len = sizeof(address);
	if (getpeername(client->fd, (struct sockaddr *)&address, &len) == 0)
		describe_address(&address, session->addr, sizeof(session->addr));
}

void
hc_client_apply_settings(struct hc_client *client)
{
	client->session.out.max_bytes = (size_t)client->worker->command.shared->settings->client_output_max;
}

void
hc_client_open(struct hc_worker *worker, int fd, uint32_t bound_model)
{
	struct hc_client *client = hc_calloc(1, sizeof(*client));
	char password[2];

	if (client == NULL) {
		close(fd);
		hc_server_client_gone(worker->server);
		return;
	}
	client->magic = CLIENT_MAGIC;
	client->fd = fd;
	client->worker = worker;
	client->session.fd = fd;
	client->session.owner = client;
	client->session.bound_model = bound_model;
	describe_ends(client);
	hc_session_open(worker->command.shared->sessions, &client->session, &worker->pool);
	hc_client_apply_settings(client);
	client->session.authenticated = hc_settings_string(worker->command.shared->settings,
					    HC_SETTING_ID_server_password, password, sizeof(password)) == 0;
	hc_resp_parser_init(&client->parser, &worker->limits, worker->args, HC_WORKER_ARGS);
	event_assign(&client->read_event, worker->base, fd, EV_READ | EV_PERSIST, on_readable, client);
	event_assign(&client->write_event, worker->base, fd, EV_WRITE | EV_PERSIST, on_writable, client);
	if (worker->clients == NULL)
		hc_worker_first_client(worker);
	client->next = worker->clients;
	if (client->next != NULL)
		client->next->prev = client;
	worker->clients = client;
	hc_stats_count(&worker->stats, connections_received);
	want_read(client, true);
	hc_worker_look_by(worker, idle_limit_ms(client));
}

/* ---- the worker's lists ---- */

static void
enlist(struct hc_client *client, enum hc_client_list list)
{
	struct hc_client_link *link = &client->links[list];

	if (link->in)
		return;
	*link = (struct hc_client_link){.next = client->worker->lists[list], .in = true};
	client->worker->lists[list] = client;
}

static void
unlist(struct hc_client *client, enum hc_client_list list)
{
	struct hc_client **at = &client->worker->lists[list];

	if (!client->links[list].in)
		return;
	while (*at != client)
		at = &(*at)->links[list].next;
	*at = client->links[list].next;
	client->links[list].in = false;
}

void
hc_client_close(struct hc_client *client)
{
	struct hc_worker *worker = client->worker;

	assert(!client->serving);
	want_read(client, false);
	want_write(client, false);
	unlist(client, HC_CLIENT_READY);
	unlist(client, HC_CLIENT_LOGGED);
	unlist(client, HC_CLIENT_TURN);
	if (client->prev != NULL)
		client->prev->next = client->next;
	else
		worker->clients = client->next;
	if (client->next != NULL)
		client->next->prev = client->prev;
	hc_command_abandon(&worker->command, &client->session);
	hc_client_count_evicted(client);
	hc_session_close(&client->session);
	close(client->fd);
	hc_free(client->args);
	hc_free(client->held);
	hc_large_free(client->in);
	client->magic = 0;
	hc_free(client);
	hc_server_client_gone(worker->server);
	hc_worker_client_closed(worker);
}

/* ---- going on ---- */

static void
show_buffers(struct hc_client *client)
{
	struct hc_session *session = &client->session;

	atomic_store_explicit(&session->shown_in_buffer, client->in_cap, memory_order_relaxed);
	atomic_store_explicit(
	    &session->shown_out_buffer, session->out.bytes + session->pending_bytes, memory_order_relaxed);
}

/* Nor did it before: as of most clients after most turns. */
static inline bool
holds_nothing(const struct hc_client *client)
{
	const struct hc_session *s = &client->session;
	uint64_t buffers = client->in_cap | client->held_bytes | (uintptr_t)client->args;
	uint64_t replies = s->out.bytes | s->pending_bytes | s->parked_bytes;

	return (buffers | replies | s->multi.bytes | s->watched_bytes |
		   atomic_load_explicit(&s->held, memory_order_relaxed)) == 0;
}

/* Whether requests that have come wait for nothing but room for their replies. */
static bool
may_go_on(const struct hc_client *client)
{
	if (client->held != NULL)
		return client->session.n_pending == 0;
	return client->paused && client->in_len > 0 && !client->session.close_after_reply;
}

/* Nothing but other clients' turn keeps it from going on. */
static bool
takes_turns(const struct hc_client *client)
{
	return client->held == NULL && client->yields && may_go_on(client) && !hc_client_output_waits(client);
}

/* What it wrote must be in the log before it is told so. */
static bool
waits_for_log(struct hc_client *client)
{
	struct hc_session *session = &client->session;

	if (session->logged_at == 0)
		return false;
	if (hc_core_log_wait(client->worker->core, session->logged_at)) {
		session->logged_at = 0;
		return false;
	}
	enlist(client, HC_CLIENT_LOGGED);
	return true;
}

static void
wait_for_turn(struct hc_client *client)
{
	static const struct timeval at_once = {0};
	struct hc_worker *worker = client->worker;

	if (worker->lists[HC_CLIENT_TURN] == NULL)
		event_add(worker->turn, &at_once);
	enlist(client, HC_CLIENT_TURN);
}

static void
flush(struct hc_client *client)
{
	if (client->session.out.bytes == 0 || !waits_for_log(client))
		hc_client_flush(client);
}

/* After any work on it: flush, close it if that is due, wait for the right events. */
static void
settle(struct hc_client *client)
{
	struct hc_session *session = &client->session;

	if (!client->closing)
		flush(client);
	if (!client->closing && hc_client_over_output_max(client))
		hc_client_close_for(client, "client.output_max");
	bool more = may_go_on(client);
	bool silent = session->n_pending == 0 && session->out.bytes == 0;
	if (atomic_load_explicit(&session->kill, memory_order_relaxed) && silent)
		client->closing = true;
	if (silent && client->held == NULL && (session->close_after_reply || (client->eof && !more)))
		client->closing = true;
	if (client->closing) {
		hc_client_close(client);
		return;
	}
	show_buffers(client);
	if (!holds_nothing(client))
		hc_client_tell_memory(client);
	if (session->wants_room)
		enlist(client, HC_CLIENT_LOGGED);
	/* What was left goes on as soon as the socket is writable, which it is when all has been written; or when the
	 * log has been; or after others. */
	bool turns = takes_turns(client);
	if (turns)
		wait_for_turn(client);
	want_write(client, (session->out.bytes > 0 || (more && !turns)) && !client->links[HC_CLIENT_LOGGED].in);
	want_read(client, client->held == NULL && !client->eof && !client->bad && !more &&
			      !session->close_after_reply && !hc_client_output_waits(client) &&
			      !atomic_load_explicit(&session->kill, memory_order_relaxed));
}

void
hc_client_go_on(struct hc_client *client)
{
	hc_core_tick(client->worker->core);
	flush(client);
	hc_client_serve_waiting(client);
	settle(client);
}

void
hc_client_ready(struct hc_session *session)
{
	struct hc_client *client = checked(session->owner);
	struct hc_worker *worker = client->worker;

	if (worker->lists[HC_CLIENT_READY] == NULL)
		event_active(worker->ready_event, EV_TIMEOUT, 0);
	enlist(client, HC_CLIENT_READY);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hc_client *client = checked(arg);

	(void)fd;
	(void)what;
	hc_core_tick(client->worker->core);
	hc_client_read(client);
	settle(client);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hc_client_go_on(checked(arg));
}

/* There is something for it to come: from the upstream, the log, the socket, or at its turn. */
static bool
is_owed(const struct hc_client *client)
{
	return client->session.n_pending > 0 || client->writing || client->links[HC_CLIENT_LOGGED].in ||
	       client->links[HC_CLIENT_TURN].in;
}

/* The loop has not come to what its socket is ready for: others have had long turns since it looked at sockets. */
static bool
is_ready(const struct hc_client *client, short what)
{
	struct pollfd at = {.fd = client->fd, .events = what};

	return poll(&at, 1, 0) > 0 && (at.revents & what) != 0;
}

/* It has taken nothing for too long, and there is no room yet. */
static bool
is_stalled(const struct hc_client *client, int64_t now_ms)
{
	return stall_limit_ms(client) <= now_ms && !is_ready(client, POLLOUT);
}

/* It has sent nothing for too long, and nothing is to come for it either. */
static bool
is_idle(const struct hc_client *client, int64_t now_ms)
{
	return idle_limit_ms(client) <= now_ms && !is_owed(client) && !(client->reading && is_ready(client, POLLIN));
}

int64_t
hc_client_look(struct hc_client *client, int64_t now_ms)
{
	if (is_stalled(client, now_ms))
		hc_client_close_for(client, "client.stall_timeout");
	else if (is_idle(client, now_ms))
		hc_client_close_for(client, "client.idle_timeout");
	if (client->closing) {
		hc_client_close(client);
		return INT64_MAX;
	}
	/* It takes nothing, and is silent, from when on it is the client's turn again. */
	if (stall_limit_ms(client) <= now_ms)
		client->stalled_since_ms = now_ms;
	if (idle_limit_ms(client) <= now_ms)
		atomic_store_explicit(&client->session.active_ms, now_ms, memory_order_relaxed);
	int64_t stall_ms = stall_limit_ms(client), idle_ms = idle_limit_ms(client);
	return stall_ms < idle_ms ? stall_ms : idle_ms;
}

void
hc_client_drain(struct hc_client *client)
{
	if ((client->reading || client->yields) && !client->eof)
		hc_client_read(client);
	client->eof = true;
	hc_client_serve_waiting(client);
	settle(client);
}
