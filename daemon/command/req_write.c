/*
 * Writes of a request: its operations, how they are handed to the core, and what is replied when one has failed. One
 * thread: the session's worker. The operations are the request's until it ends.
 */
#include <assert.h>
#include "command/load.h"
#include "command/run.h"

struct hc_op *
hc_req_ops(struct hc_req *req, size_t n)
{
	req->ops = &req->inline_op;
	if (n > 1 && hc_run_names_too_many(req, n))
		return NULL;
	if (n > 1)
		req->ops = hc_run_alloc(req, n * sizeof(*req->ops));
	if (req->ops == NULL)
		return NULL;
	memset(req->ops, 0, n * sizeof(*req->ops)); /* of one, too: what gcc makes of a known size is slower */
	req->n_ops = n;
	return req->ops;
}

static void
on_written(void *arg)
{
	struct hc_req *req = arg;

	/* What was queued for the upstream instead must be in the file first. */
	if (req->session != NULL)
		req->session->logged_at = hc_core_log_mark(req->worker->core);
	hc_req_resume(req);
}

/* It depends on what its session waits for, and nothing else of that may start before it does. */
static bool
has_to_wait(struct hc_req *req)
{
	struct hc_session *session = req->session;

	if (!req->parked || req->parent != NULL || session == NULL || session->pending_head == req ||
	    !hc_core_write_depends(req->worker->core, &req->group))
		return false;
	req->alone = session->barrier = true;
	return true;
}

static void
write_by(struct hc_req *req, hc_req_fn *done,
    enum hc_status (*write)(struct hc_core_worker *worker, struct hc_op_group *group))
{
	req->group =
	    (struct hc_op_group){.ops = req->ops, .n = req->n_ops, .done = on_written, .arg = req, .by = req->session};
	req->done = done;
	req->waiting++;
	req->deferred = has_to_wait(req);
	if (req->deferred)
		return;
	if (write(req->worker->core, &req->group) == HC_PENDING) {
		assert(req->parked); /* WRITE rows are, in a fleet */
		return;
	}
	req->waiting--;
	if (req->session != NULL)
		req->session->logged_at = hc_core_log_mark(req->worker->core);
	done(req);
}

void
hc_run_deferred(struct hc_req *req)
{
	req->deferred = req->alone = false;
	if (req->session != NULL)
		req->session->barrier = false;
	if (hc_core_write(req->worker->core, &req->group) != HC_PENDING)
		on_written(req);
}

void
hc_req_write(struct hc_req *req, hc_req_fn *done)
{
	if (!hc_load_for_ops(req))
		write_by(req, done, hc_core_write);
}

void
hc_req_flush(struct hc_req *req, hc_req_fn *done)
{
	write_by(req, done, hc_core_flush);
}

bool
hc_req_op_failed(struct hc_req *req, const struct hc_op *op)
{
	switch (op->status) {
	case HC_OK:
	case HC_MISS:
	case HC_UNCHANGED:
		return false;
	case HC_DOWN:
	case HC_TIMEOUT:
		hc_reply_error(req,
		    "UPSTREAMDOWN the upstream cannot be asked, and this write cannot be decided without it "
		    "(upstream.writes_when_down)");
		return true;
	case HC_LIMIT:
		if (hc_core_is_fleet(req->worker->shared->core))
			hc_reply_error(req, "UPSTREAMDOWN too many writes are queued for it (upstream.queue_max, "
					    "upstream.queue_bytes)");
		else
			hc_reply_error(
			    req, "OOM the value is larger than an eighth of the memory tier (memory.max_bytes)");
		return true;
	case HC_INVALID:
		hc_reply_error(req, "ERR the key is one of the fleet's own");
		return true;
	case HC_WRONGTYPE:
		hc_reply_wrongtype(req);
		return true;
	case HC_ERROR:
		hc_reply_error(req, op->error != NULL ? op->error : "ERR the upstream failed");
		return true;
	default:
		hc_reply_nomem(req);
		return true;
	}
}
