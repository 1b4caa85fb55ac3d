/*
 * CLIENT: names of connections, the list of them, closing them. Worker threads, each for its own
 * requests; other workers' sessions are seen under the registry's lock only.
 */
#include <inttypes.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/num.h"
#include "command/connection.h"
#include "command/handlers.h"
#include "command/req.h"
#include "command/text.h"

/* ---- names ---- */

/* So that CLIENT LIST, which shows all of them, stays within client.output_max. */
#define TEXT_MAX 1024

/* What goes into lines of CLIENT LIST as it is. */
static bool
is_plain(struct hc_slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '!' || text.ptr[i] > '~')
			return false;
	}
	return true;
}

static bool
set_text(struct hc_req *req, char **field, struct hc_slice text)
{
	if (text.len > TEXT_MAX) {
		hc_reply_errorf(req, "ERR names of clients have %d bytes at most", TEXT_MAX);
		return false;
	}
	if (hc_session_set_text(req->session, field, text) == HC_OK)
		return true;
	hc_reply_nomem(req);
	return false;
}

bool
hc_connection_set_name(struct hc_req *req, struct hc_slice name)
{
	if (!is_plain(name)) {
		hc_reply_error(req, "ERR Client names cannot contain spaces, newlines or special characters.");
		return false;
	}
	return set_text(req, &req->session->name, name);
}

void
hc_cmd_client_id(struct hc_req *req)
{
	hc_reply_int(req, (int64_t)req->session->id);
}

void
hc_cmd_client_getname(struct hc_req *req)
{
	const char *name = req->session->name;

	if (name == NULL || name[0] == '\0')
		hc_reply_null(req);
	else
		hc_reply_str(req, name);
}

void
hc_cmd_client_setname(struct hc_req *req)
{
	if (hc_connection_set_name(req, req->argv[2]))
		hc_reply_ok(req);
}

void
hc_cmd_client_setinfo(struct hc_req *req)
{
	char **field;

	if (hc_req_arg_is(req, 2, "LIB-NAME")) {
		field = &req->session->lib_name;
	} else if (hc_req_arg_is(req, 2, "LIB-VER")) {
		field = &req->session->lib_ver;
	} else {
		hc_reply_errorf(req, "ERR Unrecognized option '%.*s'", hc_text_shown(req->argv[2]), req->argv[2].ptr);
		return;
	}
	if (!is_plain(req->argv[3])) {
		hc_reply_errorf(req, "ERR %.*s cannot contain spaces, newlines or special characters.",
		    hc_text_shown(req->argv[2]), req->argv[2].ptr);
		return;
	}
	if (set_text(req, field, req->argv[3]))
		hc_reply_ok(req);
}

/* ---- switches ---- */

/* False after replying with an error. */
static bool
parse_on_off(struct hc_req *req, bool *on)
{
	*on = hc_req_arg_is(req, 2, "ON");
	if (*on || hc_req_arg_is(req, 2, "OFF"))
		return true;
	hc_reply_syntax_error(req);
	return false;
}

void
hc_cmd_client_no_evict(struct hc_req *req)
{
	bool on;

	if (!parse_on_off(req, &on))
		return;
	atomic_store(&req->session->no_evict, on);
	hc_reply_ok(req);
}

void
hc_cmd_client_no_touch(struct hc_req *req)
{
	bool on;

	if (!parse_on_off(req, &on))
		return;
	req->session->no_touch = on;
	hc_reply_ok(req);
}

/*
 * OFF and SKIP go without a reply themselves. EXEC, though, has promised one for each of its commands: there they
 * answer, and take effect behind it.
 */
void
hc_cmd_client_reply(struct hc_req *req)
{
	struct hc_session *session = req->session;

	if (hc_req_arg_is(req, 2, "ON")) {
		session->silence = HC_SILENCE_NONE;
		hc_req_speak(req);
		hc_reply_ok(req);
	} else if (hc_req_arg_is(req, 2, "OFF")) {
		session->silence = HC_SILENCE_ALL;
		hc_req_hush(req);
	} else if (hc_req_arg_is(req, 2, "SKIP")) {
		if (session->silence == HC_SILENCE_NONE)
			session->silence = HC_SILENCE_NEXT;
		hc_req_hush(req);
	} else {
		hc_reply_syntax_error(req);
	}
}

/* ---- filters ---- */

enum client_type { TYPE_ANY, TYPE_NORMAL, TYPE_OTHER };

/* All connections are of type normal. False after replying with an error. */
static bool
parse_type(struct hc_req *req, uint32_t i, enum client_type *out)
{
	static const char *const others[] = {"master", "slave", "replica", "pubsub"};

	if (hc_req_arg_is(req, i, "normal")) {
		*out = TYPE_NORMAL;
		return true;
	}
	for (size_t j = 0; j < sizeof(others) / sizeof(others[0]); j++) {
		if (hc_req_arg_is(req, i, others[j])) {
			*out = TYPE_OTHER;
			return true;
		}
	}
	hc_reply_errorf(req, "ERR Unknown client type '%.*s'", hc_text_shown(req->argv[i]), req->argv[i].ptr);
	return false;
}

/* ---- LIST, INFO ---- */

struct listing {
	FILE *to;
	int64_t wall_ms, mono_ms;
	enum client_type type;
	const uint64_t *ids; /* sorted; NULL: all */
	size_t n_ids;
};

static const char *
or_empty(const char *str)
{
	return str == NULL ? "" : str;
}

/*
 * All of Redis's fields, in its order, and none but those: some clients want every one, others refuse what they do not
 * know. What has no meaning here is 0.
 */
static void
write_line(const struct listing *listing, struct hc_session *session)
{
	const struct hc_command *command = atomic_load(&session->last_command);
	uint64_t in = atomic_load(&session->shown_in_buffer);
	uint64_t out = atomic_load(&session->shown_out_buffer);
	int32_t multi = atomic_load(&session->shown_multi);
	bool killed = atomic_load(&session->kill);
	bool no_evict = atomic_load(&session->no_evict);
	char name[64] = "NULL";

	if (command != NULL)
		hc_command_full_name(command, name);
	fprintf(listing->to, "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=%s", session->id, session->addr,
	    session->laddr, session->fd, or_empty(session->name));
	fprintf(listing->to, " age=%" PRId64 " idle=%" PRId64, (listing->wall_ms - session->opened_ms) / 1000,
	    (listing->mono_ms - atomic_load(&session->active_ms)) / 1000);
	fprintf(listing->to, " flags=%s%s%s%s%s", multi >= 0 ? "x" : "", killed ? "A" : "", session->is_unix ? "U" : "",
	    no_evict ? "e" : "", multi < 0 && !killed && !session->is_unix && !no_evict ? "N" : "");
	fprintf(listing->to, " db=0 sub=0 psub=0 ssub=0 multi=%" PRId32, multi);
	fprintf(listing->to, " qbuf=%" PRIu64 " qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0", in);
	fprintf(listing->to, " obl=0 oll=0 omem=%" PRIu64 " tot-mem=%" PRIu64 " events=r", out, in + out);
	fprintf(listing->to, " cmd=%s user=default redir=-1 resp=%" PRIu32, name, atomic_load(&session->shown_resp));
	fprintf(listing->to, " lib-name=%s lib-ver=%s\n", or_empty(session->lib_name), or_empty(session->lib_ver));
}

static int
compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static bool
list_one(struct hc_session *session, void *arg)
{
	const struct listing *listing = arg;

	if (listing->type == TYPE_OTHER)
		return true;
	if (listing->ids == NULL || bsearch(&session->id, listing->ids, listing->n_ids, sizeof(uint64_t), compare_ids))
		write_line(listing, session);
	return true;
}

/* CLIENT LIST ID id … */
static bool
parse_ids(struct hc_req *req, struct listing *listing)
{
	size_t n = req->argc - 3;
	uint64_t *ids = hc_req_alloc(req, n * sizeof(*ids));

	if (ids == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		int64_t id;
		if (!hc_num_i64(req->argv[3 + i], &id)) {
			hc_reply_error(req, "ERR Invalid client ID");
			return false;
		}
		ids[i] = id > 0 ? (uint64_t)id : 0; /* nobody's */
	}
	qsort(ids, n, sizeof(*ids), compare_ids);
	listing->ids = ids;
	listing->n_ids = n;
	return true;
}

static bool
parse_list(struct hc_req *req, struct listing *listing)
{
	if (req->argc == 4 && hc_req_arg_is(req, 2, "TYPE"))
		return parse_type(req, 3, &listing->type);
	if (req->argc > 3 && hc_req_arg_is(req, 2, "ID"))
		return parse_ids(req, listing);
	if (req->argc == 2)
		return true;
	hc_reply_syntax_error(req);
	return false;
}

static void
reply_listing(struct hc_req *req, struct listing *listing)
{
	struct hc_text text;

	listing->to = hc_text_begin(req, &text);
	if (listing->to == NULL)
		return;
	listing->wall_ms = hc_clock_wall_ms();
	listing->mono_ms = hc_clock_mono_ms();
	hc_sessions_each(req->worker->shared->sessions, list_one, listing);
	hc_text_reply(req, &text);
}

void
hc_cmd_client_list(struct hc_req *req)
{
	struct listing listing = {0};

	if (parse_list(req, &listing))
		reply_listing(req, &listing);
}

void
hc_cmd_client_info(struct hc_req *req)
{
	struct listing listing = {.ids = &req->session->id, .n_ids = 1};

	reply_listing(req, &listing);
}

/* ---- KILL ---- */

struct killing {
	struct hc_req *req;
	uint64_t id; /* 0: any */
	const struct hc_slice *addr, *laddr;
	enum client_type type;
	bool skip_me;
	int64_t killed;
};

static bool
parse_id(struct hc_req *req, uint32_t i, uint64_t *out)
{
	int64_t id;

	if (!hc_num_i64(req->argv[i], &id) || id < 1) {
		hc_reply_error(req, "ERR client-id should be greater than 0");
		return false;
	}
	*out = (uint64_t)id;
	return true;
}

/* There is one user, whom all connections have. */
static bool
parse_user(struct hc_req *req, uint32_t i)
{

	if (hc_slice_eq(req->argv[i], HC_SLICE("default")))
		return true;
	hc_reply_errorf(req, "ERR No such user '%.*s'", hc_text_shown(req->argv[i]), req->argv[i].ptr);
	return false;
}

/* The filter whose name is at i and whose value is behind it. */
static bool
parse_filter(struct hc_req *req, uint32_t i, struct killing *killing)
{
	if (hc_req_arg_is(req, i, "ID"))
		return parse_id(req, i + 1, &killing->id);
	if (hc_req_arg_is(req, i, "TYPE"))
		return parse_type(req, i + 1, &killing->type);
	if (hc_req_arg_is(req, i, "USER"))
		return parse_user(req, i + 1);
	if (hc_req_arg_is(req, i, "ADDR")) {
		killing->addr = &req->argv[i + 1];
		return true;
	}
	if (hc_req_arg_is(req, i, "LADDR")) {
		killing->laddr = &req->argv[i + 1];
		return true;
	}
	bool yes = hc_req_arg_is(req, i + 1, "YES");
	if (hc_req_arg_is(req, i, "SKIPME") && (yes || hc_req_arg_is(req, i + 1, "NO"))) {
		killing->skip_me = yes;
		return true;
	}
	hc_reply_syntax_error(req);
	return false;
}

static bool
parse_kill(struct hc_req *req, struct killing *killing)
{
	if (req->argc == 3) { /* the old form */
		killing->addr = &req->argv[2];
		return true;
	}
	killing->skip_me = true;
	for (uint32_t i = 2; i < req->argc; i += 2) {
		if (i + 1 == req->argc) {
			hc_reply_syntax_error(req);
			return false;
		}
		if (!parse_filter(req, i, killing))
			return false;
	}
	return true;
}

static bool
fits(const struct killing *killing, const struct hc_session *session)
{
	if (killing->id != 0 && session->id != killing->id)
		return false;
	if (killing->addr != NULL && !hc_slice_eq(*killing->addr, hc_slice_str(session->addr)))
		return false;
	if (killing->laddr != NULL && !hc_slice_eq(*killing->laddr, hc_slice_str(session->laddr)))
		return false;
	if (killing->type == TYPE_OTHER)
		return false;
	return !killing->skip_me || session != killing->req->session;
}

static bool
kill_one(struct hc_session *session, void *arg)
{
	struct killing *killing = arg;
	struct hc_command_shared *shared = killing->req->worker->shared;

	if (!fits(killing, session))
		return true;
	killing->killed++;
	if (session == killing->req->session) {
		session->close_after_reply = true; /* the reply goes out first, as in Redis */
		return true;
	}
	atomic_store(&session->kill, true);
	shared->kill_session(shared->host, session);
	return true;
}

void
hc_cmd_client_kill(struct hc_req *req)
{
	struct killing killing = {.req = req};

	if (!parse_kill(req, &killing))
		return;
	hc_sessions_each(req->worker->shared->sessions, kill_one, &killing);
	if (req->argc > 3)
		hc_reply_int(req, killing.killed);
	else if (killing.killed > 0)
		hc_reply_ok(req);
	else
		hc_reply_error(req, "ERR No such client");
}
