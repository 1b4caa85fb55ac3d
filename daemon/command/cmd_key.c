/*
 * Commands about keys whatever they hold: DEL, UNLINK, EXISTS, TOUCH, TYPE. Worker threads only;
 * owns nothing.
 */
#include <stdio.h>

#include "command/handlers.h"
#include "command/req.h"

/* ---- DEL, UNLINK ---- */

static void
del_done(struct hc_req *req)
{
	int64_t deleted = 0;

	for (size_t i = 0; i < req->n_ops; i++) {
		if (hc_req_op_failed(req, &req->ops[i]))
			return;
		deleted += req->ops[i].status == HC_OK;
	}
	hc_reply_int(req, deleted);
}

void
hc_cmd_del(struct hc_req *req)
{
	struct hc_op *ops = hc_req_ops(req, req->argc - 1);

	if (!ops)
		return;
	for (uint32_t i = 1; i < req->argc; i++) {
		ops[i - 1].kind = HC_OP_DEL;
		ops[i - 1].key = hc_key(req->argv[i]);
	}
	hc_req_write(req, del_done);
}

/* ---- EXISTS, TOUCH ---- */

static bool
is_there(const struct hc_req_value *value)
{
	return value->entry || value->status == HC_WRONGTYPE;
}

/* A key that is named twice counts twice. */
static void
count_done(struct hc_req *req)
{
	int64_t there = 0;

	for (size_t i = 0; i < req->n_values; i++)
		there += is_there(&req->values[i]);
	hc_reply_int(req, there);
}

void
hc_cmd_exists(struct hc_req *req)
{
	hc_req_read(req, &req->argv[1], req->argc - 1, 1, HC_READ_QUIET, count_done);
}

/* The same, but it keeps the keys from being evicted as a read does. */
void
hc_cmd_touch(struct hc_req *req)
{
	hc_req_read(req, &req->argv[1], req->argc - 1, 1, 0, count_done);
}

/*
 * ---- TYPE ----
 *
 *     read ─ string, nothing → answer
 *        └── another type: the upstream knows which → forward → type_forwarded_done → answer
 */

#define TYPE_NAME_CAP 64

static void
type_forwarded_done(struct hc_req *req)
{
	hc_reply_simple(req, req->data);
}

static void
type_forwarded(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_req *req = arg;
	char *name = req->data;

	if (status == HC_OK && reply->type == REDIS_REPLY_STATUS)
		snprintf(name, TYPE_NAME_CAP, "%s", reply->str);
	hc_req_resume(req);
}

static void
forward_type(struct hc_req *req)
{
	const struct hc_slice argv[] = {HC_SLICE("TYPE"), req->argv[1]};

	/* Unless the upstream says otherwise: what cannot be read is not there. */
	char *name = hc_req_alloc(req, TYPE_NAME_CAP);
	if (!name)
		return;
	strcpy(name, "none");
	req->data = name;
	if (hc_core_forward(req->worker->core, argv, 2, 1, type_forwarded, req) == HC_PENDING)
		hc_req_wait(req, type_forwarded_done);
	else
		type_forwarded_done(req);
}

/* Another type was met upstream: the request is parked. */
static void
type_done(struct hc_req *req)
{
	if (req->values[0].status == HC_WRONGTYPE)
		forward_type(req);
	else
		hc_reply_simple(req, req->values[0].entry ? "string" : "none");
}

void
hc_cmd_type(struct hc_req *req)
{
	hc_req_read(req, &req->argv[1], 1, 1, HC_READ_QUIET, type_done);
}
