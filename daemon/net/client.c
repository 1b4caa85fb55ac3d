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
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/server.h"
#include "proto/resp_reply.h"

#define CLIENT_MAGIC 0x68636c69u
#define WRITE_VECTORS 64
#define WRITES_A_TURN 16 /* of one client, so that others get theirs */
#define IN_MIN 1024

/* A command taken from the input whose time has not come. */
struct hc_held {
	uint32_t argc;
	struct hc_slice argv[]; /* their bytes behind them */
};

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
	int one = 1;

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
	(void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(client->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

/* What is not looked up at each use. */
static void
take_settings(struct hc_client *client)
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
	take_settings(client);
	client->session.authenticated = hc_settings_string(worker->command.shared->settings,
					    HC_SETTING_ID_server_password, password, sizeof(password)) == 0;
	hc_resp_parser_init(&client->parser, &worker->limits, worker->args, HC_WORKER_ARGS);
	event_assign(&client->read_event, worker->base, fd, EV_READ | EV_PERSIST, on_readable, client);
	event_assign(&client->write_event, worker->base, fd, EV_WRITE | EV_PERSIST, on_writable, client);
	client->next = worker->clients;
	if (client->next != NULL)
		client->next->prev = client;
	worker->clients = client;
	hc_stats_count(&worker->stats, connections_received);
	want_read(client, true);
}

static void
leave_ready_list(struct hc_client *client)
{
	struct hc_client **at = &client->worker->ready;

	if (!client->is_ready)
		return;
	while (*at != client)
		at = &(*at)->ready_next;
	*at = client->ready_next;
	client->is_ready = false;
}

void
hc_client_close(struct hc_client *client)
{
	struct hc_worker *worker = client->worker;

	assert(!client->serving);
	want_read(client, false);
	want_write(client, false);
	leave_ready_list(client);
	if (client->prev != NULL)
		client->prev->next = client->next;
	else
		worker->clients = client->next;
	if (client->next != NULL)
		client->next->prev = client->prev;
	hc_command_abandon(&worker->command, &client->session);
	hc_session_close(&client->session);
	close(client->fd);
	hc_free(client->args);
	hc_free(client->held);
	hc_free(client->in);
	client->magic = 0;
	hc_free(client);
	hc_server_client_gone(worker->server);
	hc_worker_client_closed(worker);
}

/* For a limit: logged, since the one who wonders is the operator. */
static void
close_for(struct hc_client *client, const char *why)
{
	static struct hc_log_limit limit;
	struct hc_log_quoted name;

	hc_stats_count(&client->worker->stats, connections_limited);
	if (hc_log_allow(&limit, 1000)) {
		const char *text = client->session.name != NULL ? client->session.name : "";
		hc_log(HC_LOG_WARN, "client_closed", "why=%s id=%llu address=%s name=%s", why,
		    (unsigned long long)client->session.id, client->session.addr,
		    hc_log_quote(&name, text, strlen(text)));
	}
	client->closing = true;
}

/* ---- out ---- */

static int64_t
setting_or_max(int64_t value)
{
	return value > 0 ? value : INT64_MAX;
}

static bool
over_output_limit(const struct hc_client *client)
{
	const struct hc_settings *settings = client->worker->command.shared->settings;

	return client->session.out.bytes + client->session.pending_bytes >
	       (size_t)setting_or_max(settings->client_output_max);
}

static bool
output_waits(const struct hc_client *client)
{
	return client->session.out.bytes > (size_t)client->worker->command.shared->settings->client_output_pause;
}

static ssize_t
write_some(struct hc_client *client)
{
	struct iovec vectors[WRITE_VECTORS];
	int n = hc_out_vectors(&client->session.out, vectors, WRITE_VECTORS);

	if (n == 1)
		return send(client->fd, vectors[0].iov_base, vectors[0].iov_len, MSG_NOSIGNAL);
	struct msghdr message = {.msg_iov = vectors, .msg_iovlen = (size_t)n};
	return sendmsg(client->fd, &message, MSG_NOSIGNAL);
}

/* Writes what the socket takes now. */
static void
flush(struct hc_client *client)
{
	struct hc_session *session = &client->session;

	if (hc_out_failed(&session->out)) {
		close_for(client, session->out.full ? "client.output_max" : "out_of_memory");
		return;
	}
	for (int i = 0; session->out.bytes > 0 && i < WRITES_A_TURN; i++) {
		ssize_t n = write_some(client);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
			client->closing = true;
			return;
		}
		if (n < 0)
			break;
		hc_out_consume(&session->out, (size_t)n);
		hc_stats_add(&client->worker->stats, net_output_bytes, (uint64_t)n);
		atomic_store_explicit(&session->bytes_out,
		    atomic_load_explicit(&session->bytes_out, memory_order_relaxed) + (uint64_t)n,
		    memory_order_relaxed);
		if (client->writing)
			client->stalled_since_ms = hc_clock_mono_ms();
	}
}

/* ---- in ---- */

/* The request in progress keeps its arguments when other clients use the worker's array. */
static bool
keep_args(struct hc_client *client, uint32_t cap)
{
	struct hc_resp_parser *parser = &client->parser;
	bool own = client->args != NULL;
	struct hc_slice *args = hc_realloc(client->args, cap * sizeof(*args));

	if (args == NULL)
		return false;
	if (!own)
		memcpy(args, client->worker->args, parser->args_seen * sizeof(*args));
	client->args = args;
	hc_resp_parser_args(parser, args, cap);
	return true;
}

static void
release_args(struct hc_client *client)
{
	if (client->args == NULL)
		return;
	hc_free(client->args);
	client->args = NULL;
	hc_resp_parser_args(&client->parser, client->worker->args, HC_WORKER_ARGS);
}

static void
protocol_error(struct hc_client *client)
{
	struct hc_out *out = &client->session.out;
	char *dst = hc_out_reserve(out, 256);
	char text[192];

	hc_stats_count(&client->worker->stats, protocol_errors);
	snprintf(text, sizeof(text), "ERR %s", client->parser.error);
	if (dst != NULL)
		hc_out_commit(out, hc_resp_put_error(dst, 256, hc_slice_str(text)));
	client->session.close_after_reply = true;
}

/* Puts the parsed command aside. */
static void
hold(struct hc_client *client)
{
	const struct hc_resp_parser *parser = &client->parser;
	size_t bytes = 0;

	for (uint32_t i = 0; i < parser->argc; i++)
		bytes += parser->argv[i].len;
	struct hc_held *held = hc_malloc(sizeof(*held) + parser->argc * sizeof(struct hc_slice) + bytes);
	if (held == NULL) {
		close_for(client, "out_of_memory");
		return;
	}
	char *at = (char *)&held->argv[parser->argc];
	held->argc = parser->argc;
	for (uint32_t i = 0; i < parser->argc; i++) {
		held->argv[i] = hc_slice(at, parser->argv[i].len);
		at = mempcpy(at, parser->argv[i].ptr, parser->argv[i].len);
	}
	client->held = held;
}

/* Runs the requests in `run`; returns how many bytes of it are done with. */
static size_t
serve(struct hc_client *client, char *run, size_t len)
{
	struct hc_session *session = &client->session;
	struct hc_resp_parser *parser = &client->parser;
	size_t done = 0;

	client->paused = false;
	while (done < len && !client->closing && !session->close_after_reply) {
		if (hc_resp_parser_idle(parser))
			parser->limits =
			    session->authenticated ? &client->worker->limits : &client->worker->guest_limits;
		switch (hc_resp_parse(parser, run + done, len - done)) {
		case HC_RESP_OK:
			done += parser->consumed;
			if (parser->argc > 0 && hc_command_run(&client->worker->command, session, parser->argv,
						    parser->argc) == HC_RUN_LATER)
				hold(client);
			release_args(client);
			if (client->held != NULL)
				return done;
			break;
		case HC_RESP_MORE:
			return done;
		case HC_RESP_ARGS:
			if (!keep_args(client, parser->args_cap * 2))
				close_for(client, "out_of_memory");
			break;
		case HC_RESP_ERROR:
			client->bad = true;
			if (session->n_pending == 0)
				protocol_error(client);
			return len;
		}
		if (over_output_limit(client))
			close_for(client, "client.output_max");
		if (output_waits(client)) { /* to be written first; and others get their turn */
			client->paused = true;
			return done;
		}
	}
	return done;
}

/* Keeps what is not done with behind what is kept already. */
static bool
keep_input(struct hc_client *client, const char *bytes, size_t len)
{
	if (client->in_len + len > client->in_cap) {
		size_t cap = client->in_cap * 2 > IN_MIN ? client->in_cap * 2 : IN_MIN;
		while (cap < client->in_len + len)
			cap *= 2;
		char *in = hc_realloc(client->in, cap);
		if (in == NULL)
			return false;
		client->in = in;
		client->in_cap = cap;
	}
	if (len > 0)
		memcpy(client->in + client->in_len, bytes, len);
	client->in_len += len;
	return true;
}

static void
drop_input(struct hc_client *client, size_t done)
{
	client->in_len -= done;
	if (client->in_len > 0) {
		if (done > 0)
			memmove(client->in, client->in + done, client->in_len);
		return;
	}
	hc_free(client->in);
	client->in = NULL;
	client->in_cap = 0;
}

/* An unfinished request's arguments must outlive the turn. */
static void
keep_progress(struct hc_client *client)
{
	if (client->parser.args_seen > 0 && client->args == NULL && !client->closing &&
	    !keep_args(client, client->parser.args_seen < 8 ? 16 : client->parser.args_seen * 2))
		close_for(client, "out_of_memory");
}

static void
serve_new(struct hc_client *client, char *bytes, size_t len)
{
	client->serving = true;
	size_t done = serve(client, bytes, len);
	client->serving = false;
	if (done < len) {
		keep_progress(client);
		if (!keep_input(client, bytes + done, len - done))
			close_for(client, "out_of_memory");
	}
}

static void
serve_kept(struct hc_client *client)
{
	client->serving = true;
	size_t done = serve(client, client->in, client->in_len);
	client->serving = false;
	keep_progress(client);
	drop_input(client, done);
}

/* Room behind what is kept: as much as the request is known to want, but no more than has come already, doubled. */
static size_t
make_room(struct hc_client *client)
{
	size_t room = client->in_cap - client->in_len;

	if (room >= IN_MIN || (room > 0 && room >= client->parser.need))
		return room;
	size_t want = client->parser.need > HC_WORKER_READ_BYTES ? client->parser.need : HC_WORKER_READ_BYTES;
	size_t most = client->in_len > HC_WORKER_READ_BYTES ? client->in_len : HC_WORKER_READ_BYTES;
	size_t cap = client->in_len + (want < most ? want : most);
	char *in = hc_realloc(client->in, cap);
	if (in == NULL)
		return room;
	client->in = in;
	client->in_cap = cap;
	return cap - client->in_len;
}

static void
note_input(struct hc_client *client, size_t n)
{
	struct hc_session *session = &client->session;

	hc_stats_add(&client->worker->stats, net_input_bytes, n);
	atomic_store_explicit(&session->bytes_in, atomic_load_explicit(&session->bytes_in, memory_order_relaxed) + n,
	    memory_order_relaxed);
	atomic_store_explicit(&session->active_ms, hc_clock_mono_ms(), memory_order_relaxed);
}

/* One read, and what it brings. */
static void
read_and_serve(struct hc_client *client)
{
	struct hc_worker *worker = client->worker;
	bool kept = client->in_len > 0;
	char *dst = worker->read_buffer;
	size_t room = HC_WORKER_READ_BYTES;

	if (kept) {
		room = make_room(client);
		if (room == 0) {
			close_for(client, "out_of_memory");
			return;
		}
		dst = client->in + client->in_len;
	}
	ssize_t n = recv(client->fd, dst, room, 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0) {
		client->eof = true;
		client->closing = n < 0;
		return;
	}
	note_input(client, (size_t)n);
	if (kept) {
		client->in_len += (size_t)n;
		serve_kept(client);
	} else {
		serve_new(client, dst, (size_t)n);
	}
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

/* Whether requests that have come wait for nothing but room for their replies. */
static bool
may_go_on(const struct hc_client *client)
{
	if (client->held != NULL)
		return client->session.n_pending == 0;
	return client->paused && client->in_len > 0;
}

/* After any work on it: flush, close it if that is due, wait for the right events. */
static void
settle(struct hc_client *client)
{
	struct hc_session *session = &client->session;

	if (!client->closing)
		flush(client);
	if (!client->closing && over_output_limit(client))
		close_for(client, "client.output_max");
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
	/* What was left goes on as soon as the socket is writable, which it is when all has been written. */
	want_write(client, session->out.bytes > 0 || more);
	want_read(client, client->held == NULL && !client->eof && !client->bad && !more &&
			      !session->close_after_reply && !output_waits(client) &&
			      !atomic_load_explicit(&session->kill, memory_order_relaxed));
}

/* The command that was held back. False when it has to wait still. */
static bool
run_held(struct hc_client *client)
{
	struct hc_held *held = client->held;

	if (held == NULL)
		return true;
	if (hc_command_run(&client->worker->command, &client->session, held->argv, held->argc) == HC_RUN_LATER)
		return false;
	hc_free(held);
	client->held = NULL;
	return true;
}

/* Goes on with what waits, as far as it may. */
static void
serve_waiting(struct hc_client *client)
{
	struct hc_session *session = &client->session;

	while (!client->closing && !session->close_after_reply && !output_waits(client)) {
		size_t before = client->in_len;
		client->serving = true;
		bool free_to_go = run_held(client);
		client->serving = false;
		if (!free_to_go || session->close_after_reply)
			return;
		if (client->in_len > 0)
			serve_kept(client);
		if (client->held == NULL && client->in_len == before)
			break;
	}
	if (client->bad && !session->close_after_reply && session->n_pending == 0 && client->held == NULL)
		protocol_error(client);
}

void
hc_client_go_on(struct hc_client *client)
{
	hc_core_tick(client->worker->core);
	flush(client);
	serve_waiting(client);
	settle(client);
}

void
hc_client_ready(struct hc_session *session)
{
	struct hc_client *client = checked(session->owner);
	struct hc_worker *worker = client->worker;

	if (client->is_ready)
		return;
	client->is_ready = true;
	client->ready_next = worker->ready;
	if (worker->ready == NULL)
		event_active(worker->ready_event, EV_TIMEOUT, 0);
	worker->ready = client;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hc_client *client = checked(arg);

	(void)fd;
	(void)what;
	hc_core_tick(client->worker->core);
	read_and_serve(client);
	settle(client);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hc_client_go_on(checked(arg));
}

bool
hc_client_tick(struct hc_client *client, int64_t now_ms)
{
	const struct hc_settings *settings = client->worker->command.shared->settings;
	int64_t idle_ms = settings->client_idle_timeout, stall_ms = settings->client_stall_timeout;

	take_settings(client);
	if (client->writing && stall_ms > 0 && now_ms - client->stalled_since_ms > stall_ms)
		close_for(client, "client.stall_timeout");
	else if (idle_ms > 0 && client->session.n_pending == 0 && !client->writing &&
		 now_ms - atomic_load(&client->session.active_ms) > idle_ms)
		close_for(client, "client.idle_timeout");
	if (!client->closing)
		return false;
	hc_client_close(client);
	return true;
}

void
hc_client_drain(struct hc_client *client)
{
	if (client->reading && !client->eof)
		read_and_serve(client);
	client->eof = true;
	serve_waiting(client);
	settle(client);
}
