/*
 * A client's requests: read, parsed, run, and kept while they cannot be. One thread: its worker's.
 *
 *     bytes ─→ parse, some requests ahead ─ whole ──→ run ─ now ───────→ reply
 *                 │                                      └ not yet ─→ held, and nothing more is read
 *                 └ unfinished ─→ kept in client->in, arguments in client->args
 *
 * Parsing ahead lets what the requests will look up come nearer while those before them are run.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/large.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/slow.h"
#include "net/client_io.h"
#include "proto/resp_reply.h"

#define IN_MIN 1024
#define LOOK_EACH 16 /* requests from one look at the clock to the next, whatever the slow log does */

/* A command taken from the input whose time has not come. */
struct hc_held {
	uint32_t argc;
	struct hc_slice argv[]; /* their bytes behind them */
};

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

/* Somebody takes this port for another's, or tries what it makes of things. */
static void
log_protocol_error(const struct hc_client *client)
{
	static struct hc_log_limit limit;
	struct hc_log_quoted why;
	const char *error = client->parser.error;

	if (hc_log_allow(&limit, 1000))
		hc_log(HC_LOG_WARN, "protocol_error", "why=%s id=%llu address=%s",
		    hc_log_quote(&why, error, strlen(error)), (unsigned long long)client->session.id,
		    client->session.addr);
}

static void
protocol_error(struct hc_client *client)
{
	struct hc_out *out = &client->session.out;
	char *dst = hc_out_reserve(out, 256);
	char text[192];

	hc_stats_count(&client->worker->stats, protocol_errors);
	log_protocol_error(client);
	snprintf(text, sizeof(text), "ERR %s", client->parser.error);
	if (dst != NULL)
		hc_out_commit(out, hc_resp_put_error(dst, 256, hc_slice_str(text)));
	client->session.close_after_reply = true;
}

/* Puts a command aside whose time has not come. */
static void
hold(struct hc_client *client, const struct hc_call *call)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < call->argc; i++)
		bytes += call->argv[i].len;
	struct hc_held *held = hc_malloc(sizeof(*held) + call->argc * sizeof(struct hc_slice) + bytes);
	if (held == NULL) {
		hc_client_close_for(client, "out_of_memory");
		return;
	}
	char *at = (char *)&held->argv[call->argc];
	held->argc = call->argc;
	for (uint32_t i = 0; i < call->argc; i++) {
		held->argv[i] = hc_slice(at, call->argv[i].len);
		at = mempcpy(at, call->argv[i].ptr, call->argv[i].len);
	}
	client->held = held;
	client->held_bytes = sizeof(*held) + call->argc * sizeof(struct hc_slice) + bytes;
}

/* Whether the next request may be run. */
static inline bool
goes_on(const struct hc_client *client)
{
	return !client->closing && !client->paused && client->held == NULL && !client->session.close_after_reply;
}

/* Some commands have nobody look at the clock: those that wait, or are refused. */
static bool
turn_is_over(struct hc_worker *worker)
{
	const struct hc_slow_watch *watch = &worker->command.watch;

	if (hc_slow_turn_us(watch) >= worker->turn_us)
		return true;
	return ++worker->calls % LOOK_EACH == 0 && hc_clock_mono_us() - watch->began_us >= worker->turn_us;
}

/*
 * After commands: whether what they replied is to be written before others are run, or is more than it may be; and
 * whether other clients are to have their turn first.
 */
static void
look_round(struct hc_client *client)
{
	client->yields = turn_is_over(client->worker);
	if (hc_client_output_waits(client) || client->yields)
		client->paused = true;
	if (hc_client_over_output_max(client))
		hc_client_close_for(client, "client.output_max");
}

static void
run_call(struct hc_client *client, const struct hc_call *call)
{
	if (hc_command_run(&client->worker->command, &client->session, call) == HC_RUN_LATER)
		hold(client, call);
	else
		look_round(client);
}

/*
 * Runs requests from the beginning of the run, the parser being idle: up to HC_CALLS_MAX that lie whole in it. Returns
 * how many bytes these were, 0 when the next one takes care.
 */
static size_t
serve_ahead(struct hc_client *client, const char *run, size_t len)
{
	struct hc_worker *worker = client->worker;
	struct hc_resp_taken taken[HC_CALLS_MAX];
	struct hc_call calls[HC_CALLS_MAX];
	size_t n = hc_resp_take(client->parser.limits, run, len, worker->args, HC_WORKER_ARGS, taken, HC_CALLS_MAX);

	for (size_t i = 0; i < n; i++)
		calls[i] = (struct hc_call){.argv = taken[i].argv, .argc = taken[i].argc, .again = taken[i].again};
	size_t done = hc_command_run_ahead(&worker->command, &client->session, calls, n);
	if (done > 0)
		look_round(client);
	while (done < n && goes_on(client))
		run_call(client, &calls[done++]);
	return done > 0 ? taken[done - 1].end : 0;
}

/* One request by the parser, as far as it has come: false when it goes on behind the run, or is none. */
static bool
serve_careful(struct hc_client *client, char *run, size_t len, size_t *done)
{
	struct hc_resp_parser *parser = &client->parser;
	struct hc_call call;

	switch (hc_resp_parse(parser, run + *done, len - *done)) {
	case HC_RESP_OK:
		*done += parser->consumed;
		call = (struct hc_call){.argv = parser->argv, .argc = parser->argc};
		if (call.argc > 0) {
			hc_command_foresee(&client->worker->command, &call, 1);
			run_call(client, &call);
		}
		release_args(client);
		return true;
	case HC_RESP_MORE:
		return false;
	case HC_RESP_ARGS:
		if (!keep_args(client, parser->args_cap * 2))
			hc_client_close_for(client, "out_of_memory");
		return true;
	case HC_RESP_ERROR:
		client->bad = true;
		if (client->session.n_pending == 0)
			protocol_error(client);
		*done = len;
		return false;
	}
	return false;
}

/* Runs the requests in `run`; returns how many bytes of it are done with. */
static size_t
serve(struct hc_client *client, char *run, size_t len)
{
	const struct hc_worker *worker = client->worker;
	size_t done = 0;

	client->paused = client->yields = false;
	while (done < len && goes_on(client)) {
		size_t ahead = 0;
		if (hc_resp_parser_idle(&client->parser)) {
			client->parser.limits = client->session.authenticated ? &worker->limits : &worker->guest_limits;
			ahead = serve_ahead(client, run + done, len - done);
		}
		done += ahead;
		if (ahead == 0 && !serve_careful(client, run, len, &done))
			break;
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
		size_t missing = hc_resp_parser_idle(&client->parser) ? 0 : client->parser.need;
		char *in = client->in == NULL ? hc_large_take(&cap, len + missing) : hc_realloc(client->in, cap);
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
	hc_large_free(client->in);
	client->in = NULL;
	client->in_cap = 0;
}

/* An unfinished request's arguments must outlive the turn. */
static void
keep_progress(struct hc_client *client)
{
	if (client->parser.args_seen > 0 && client->args == NULL && !client->closing &&
	    !keep_args(client, client->parser.args_seen < 8 ? 16 : client->parser.args_seen * 2))
		hc_client_close_for(client, "out_of_memory");
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
			hc_client_close_for(client, "out_of_memory");
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
	int64_t now_us = hc_slow_turn_begin(&client->worker->command); /* the turn's clock is ours, too */

	hc_stats_add(&client->worker->stats, net_input_bytes, n);
	atomic_store_explicit(&session->bytes_in, atomic_load_explicit(&session->bytes_in, memory_order_relaxed) + n,
	    memory_order_relaxed);
	atomic_store_explicit(&session->active_ms, now_us / 1000, memory_order_relaxed);
}

/* One read, and what it brings. */
void
hc_client_read(struct hc_client *client)
{
	struct hc_worker *worker = client->worker;
	bool kept = client->in_len > 0;
	char *dst = worker->read_buffer;
	size_t room = HC_WORKER_READ_BYTES;

	if (kept) {
		room = make_room(client);
		if (room == 0) {
			hc_client_close_for(client, "out_of_memory");
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
	hc_slow_turn_end(&worker->command, &client->session);
}

/* The command that was held back. False when it has to wait still. */
static bool
run_held(struct hc_client *client)
{
	struct hc_held *held = client->held;

	if (held == NULL)
		return true;
	struct hc_call call = {.argv = held->argv, .argc = held->argc};
	hc_command_foresee(&client->worker->command, &call, 1);
	if (hc_command_run(&client->worker->command, &client->session, &call) == HC_RUN_LATER)
		return false;
	hc_free(held);
	client->held = NULL;
	client->held_bytes = 0;
	return true;
}

/* Goes on with what waits, as far as it may. */
static void
serve_waiting(struct hc_client *client)
{
	struct hc_session *session = &client->session;

	while (!client->closing && !session->close_after_reply && !hc_client_output_waits(client)) {
		size_t before = client->in_len;
		client->serving = true;
		bool free_to_go = run_held(client);
		client->serving = false;
		if (!free_to_go || session->close_after_reply)
			return;
		if (client->in_len > 0)
			serve_kept(client);
		if (client->paused || (client->held == NULL && client->in_len == before))
			break;
	}
	if (client->bad && !session->close_after_reply && session->n_pending == 0 && client->held == NULL)
		protocol_error(client);
}

void
hc_client_serve_waiting(struct hc_client *client)
{
	(void)hc_slow_turn_begin(&client->worker->command);
	serve_waiting(client);
	hc_slow_turn_end(&client->worker->command, &client->session);
}
