/*
 * Commands about all the keys there are: SCAN, KEYS, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL. Worker
 * threads only; a walk over the keys (struct hc_scan) belongs to its request.
 *
 *     start_scan → hc_core_scan ─ at once ──────────────────→ done function
 *                        └ pending → … → scan_answered → resume ┘
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "command/handlers.h"
#include "command/req.h"

/* ---- walks ---- */

static void
fini_scan(struct hc_req *req)
{
	hc_scan_fini(req->data);
}

static void
scan_answered(void *arg)
{
	hc_req_resume(arg);
}

/* Carries out a walk asked for by `asked`, of which the request gets a copy as its data. */
static void
start_scan(struct hc_req *req, const struct hc_scan *asked, hc_req_fn *done)
{
	struct hc_scan *scan = hc_req_alloc(req, sizeof(*scan));

	if (!scan)
		return;
	*scan = *asked;
	scan->done = scan_answered;
	scan->arg = req;
	req->data = scan;
	req->data_fini = fini_scan;
	hc_req_wait(req, done);
	if (hc_core_scan(req->worker->core, scan) != HC_PENDING)
		hc_req_resume(req);
}

/* True after replying with what went wrong. */
static bool
scan_failed(struct hc_req *req, const struct hc_scan *scan)
{
	switch (scan->status) {
	case HC_OK:
		return false;
	case HC_DOWN:
	case HC_TIMEOUT:
		hc_reply_error(req, "UPSTREAMDOWN the upstream, which holds the keys, cannot be asked");
		return true;
	case HC_NOMEM:
		hc_reply_nomem(req);
		return true;
	case HC_LIMIT:
		hc_reply_error(req, "ERR matching this pattern takes too long");
		return true;
	default:
		hc_reply_error(req, "ERR the upstream failed");
		return true;
	}
}

/* ---- SCAN ---- */

static void
scan_done(struct hc_req *req)
{
	const struct hc_scan *scan = req->data;

	if (scan_failed(req, scan))
		return;
	hc_reply_array(req, 2);
	hc_reply_strf(req, "%" PRIu64, scan->next);
	hc_reply_array(req, scan->n);
	for (size_t i = 0; i < scan->n; i++)
		hc_reply_slice(req, scan->keys[i]);
}

/* As strtoul takes it, which is what Redis accepts: a sign and leading zeros are fine, spaces are
 * not. */
static bool
parse_cursor(struct hc_req *req, uint64_t *cursor)
{
	char text[40];
	char *end;
	struct hc_slice arg = req->argv[1];

	if (arg.len < sizeof(text)) {
		if (arg.len > 0)
			memcpy(text, arg.ptr, arg.len);
		text[arg.len] = '\0';
		errno = 0;
		*cursor = strtoull(text, &end, 10);
		if (!strchr(" \t\n\v\f\r", text[0]) || text[0] == '\0') {
			if (*end == '\0' && errno == 0)
				return true;
		}
	}
	hc_reply_error(req, "ERR invalid cursor");
	return false;
}

/* An empty pattern is one that only the empty key matches; a NULL pointer would mean none. */
static struct hc_slice
given(struct hc_slice arg)
{
	return arg.ptr ? arg : HC_SLICE("");
}

static bool
parse_count(struct hc_req *req, uint32_t i, struct hc_scan *scan)
{
	int64_t count;

	if (!hc_req_arg_int(req, i, &count))
		return false;
	if (count < 1) {
		hc_reply_syntax_error(req);
		return false;
	}
	scan->count = (size_t)count;
	return true;
}

static bool
parse_scan_options(struct hc_req *req, struct hc_scan *scan)
{
	for (uint32_t i = 2; i < req->argc; i += 2) {
		bool more = i + 1 < req->argc;

		if (more && hc_req_arg_is(req, i, "count")) {
			if (!parse_count(req, i + 1, scan))
				return false;
		} else if (more && hc_req_arg_is(req, i, "match")) {
			scan->pattern = given(req->argv[i + 1]);
		} else if (more && hc_req_arg_is(req, i, "type")) {
			scan->type = given(req->argv[i + 1]);
		} else {
			hc_reply_syntax_error(req);
			return false;
		}
	}
	return true;
}

void
hc_cmd_scan(struct hc_req *req)
{
	struct hc_scan scan = {.count = 10};

	/* Before parsing: the walk borrows arguments, which parking copies. */
	req = hc_req_park(req);
	if (!req)
		return;
	if (!parse_cursor(req, &scan.cursor) || !parse_scan_options(req, &scan))
		return;
	start_scan(req, &scan, scan_done);
}

/* ---- KEYS ---- */

static int
compare_keys(const void *a, const void *b)
{
	const struct hc_slice *x = a, *y = b;
	size_t len = x->len < y->len ? x->len : y->len;
	int order = len > 0 ? memcmp(x->ptr, y->ptr, len) : 0;

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* A walk may meet a key twice; KEYS names it once. Returns how many are left at the front. */
static size_t
drop_repeated(const struct hc_scan *scan, struct hc_slice *keys)
{
	size_t n = 0;

	for (size_t i = 0; i < scan->n; i++)
		keys[i] = scan->keys[i];
	if (scan->n > 1)
		qsort(keys, scan->n, sizeof(*keys), compare_keys);
	for (size_t i = 0; i < scan->n; i++) {
		if (n == 0 || compare_keys(&keys[i], &keys[n - 1]) != 0)
			keys[n++] = keys[i];
	}
	return n;
}

static void
keys_done(struct hc_req *req)
{
	const struct hc_scan *scan = req->data;
	struct hc_slice *keys;

	if (scan_failed(req, scan) || !(keys = hc_req_alloc(req, (scan->n + 1) * sizeof(*keys))))
		return;
	size_t n = drop_repeated(scan, keys);
	hc_reply_array(req, n);
	for (size_t i = 0; i < n; i++)
		hc_reply_slice(req, keys[i]);
}

void
hc_cmd_keys(struct hc_req *req)
{
	struct hc_scan scan = {.count = 1000, .to_the_end = true};

	req = hc_req_park(req); /* the walk borrows the pattern, which parking copies */
	if (!req)
		return;
	scan.pattern = given(req->argv[1]);
	start_scan(req, &scan, keys_done);
}

/*
 * ---- RANDOMKEY ----
 *
 * A walk that begins somewhere, and ends with the first step that finds keys; if it comes to the end without, with
 * another one from the beginning. Keys with few neighbours are drawn more often than others, as in Redis. Where much
 * has expired others have their turns meanwhile.
 */

#define RANDOM_STEP 8

static uint64_t
draw(void)
{
	uint64_t number = 0;

	(void)hc_random(&number, sizeof(number));
	return number;
}

/* req->number: how often the end has been come to. */
static void
random_done(struct hc_req *req)
{
	struct hc_scan *scan = req->data;

	if (scan_failed(req, scan))
		return;
	if (scan->n > 0) {
		hc_reply_slice(req, scan->keys[draw() % scan->n]);
		return;
	}
	if (req->number++ > 0) {
		hc_reply_null(req);
		return;
	}
	scan->cursor = 0;
	if (hc_core_scan(req->worker->core, scan) == HC_PENDING)
		hc_req_wait(req, random_done);
	else
		random_done(req);
}

void
hc_cmd_randomkey(struct hc_req *req)
{
	const struct hc_scan scan = {.count = RANDOM_STEP, .cursor = draw() >> 16, .anything = true};

	req = hc_req_park(req);
	if (req)
		start_scan(req, &scan, random_done);
}

/* ---- DBSIZE ---- */

static void
dbsize_done(struct hc_req *req)
{
	const struct hc_scan *scan = req->data;

	if (!scan_failed(req, scan))
		hc_reply_int(req, (int64_t)scan->n);
}

/* In a fleet what the upstream holds under the own prefix counts, which only a walk over it can
 * tell. */
void
hc_cmd_dbsize(struct hc_req *req)
{
	const struct hc_scan scan = {.count = 1000, .to_the_end = true, .count_only = true};

	req = hc_req_park(req);
	if (req)
		start_scan(req, &scan, dbsize_done);
}

/* ---- FLUSHDB, FLUSHALL ---- */

static void
flush_done(struct hc_req *req)
{
	if (!hc_req_op_failed(req, &req->ops[0]))
		hc_reply_ok(req);
}

/* ASYNC and SYNC make no difference: what is forgotten is invisible at once either way. */
void
hc_cmd_flush(struct hc_req *req)
{
	struct hc_op *op;

	if (req->argc > 2 || (req->argc == 2 && !hc_req_arg_is(req, 1, "async") && !hc_req_arg_is(req, 1, "sync"))) {
		hc_reply_syntax_error(req);
		return;
	}
	if (!(op = hc_req_ops(req, 1)))
		return;
	op->kind = HC_OP_CLEAR_ALL;
	hc_req_flush(req, flush_done);
}
