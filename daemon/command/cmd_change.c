/*
 * Commands that change a string: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT, APPEND, SETRANGE. What they change keeps its
 * expiry and its model. Worker threads only; owns nothing.
 *
 *     parse → one op → hc_req_write → changed_done, which replies with the op's answer
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/num.h"
#include "command/handlers.h"
#include "command/req.h"

/* ---- replies ---- */

static void
number_done(struct hc_req *req)
{
	const struct hc_op *op = &req->ops[0];
	int64_t number = 0;

	if (hc_req_op_failed(req, op))
		return;
	(void)hc_num_i64(hc_slice_str(op->answer), &number);
	hc_reply_int(req, number);
}

static void
text_done(struct hc_req *req)
{
	const struct hc_op *op = &req->ops[0];

	if (!hc_req_op_failed(req, op))
		hc_reply_str(req, op->answer);
}

/* ---- commands ---- */

/* The request's one op, of the key that is the first argument. NULL after replying with an error. */
static struct hc_op *
change_op(struct hc_req *req, enum hc_op_kind kind, struct hc_slice value)
{
	struct hc_op *op = hc_req_ops(req, 1);

	if (!op)
		return NULL;
	op->kind = kind;
	op->key = hc_key(req->argv[1]);
	op->value = value;
	op->max_bytes = req->worker->shared->settings->client_value_max;
	return hc_req_model_of(req, req->argv[1], &op->model) ? op : NULL;
}

static void
change(struct hc_req *req, enum hc_op_kind kind, struct hc_slice value, hc_req_fn *done)
{
	if (change_op(req, kind, value))
		hc_req_write(req, done);
}

void
hc_cmd_incr(struct hc_req *req)
{
	change(req, HC_OP_INCR, HC_SLICE("1"), number_done);
}

void
hc_cmd_decr(struct hc_req *req)
{
	change(req, HC_OP_INCR, HC_SLICE("-1"), number_done);
}

void
hc_cmd_incrby(struct hc_req *req)
{
	int64_t by;

	if (hc_req_arg_int(req, 2, &by))
		change(req, HC_OP_INCR, req->argv[2], number_done);
}

#define NUMBER_CAP 24

void
hc_cmd_decrby(struct hc_req *req)
{
	int64_t by;

	if (!hc_req_arg_int(req, 2, &by))
		return;
	if (by == INT64_MIN) { /* it has no opposite */
		hc_reply_error(req, "ERR decrement would overflow");
		return;
	}
	char *text = hc_req_alloc(req, NUMBER_CAP);
	if (!text)
		return;
	snprintf(text, NUMBER_CAP, "%" PRId64, -by);
	change(req, HC_OP_INCR, hc_slice_str(text), number_done);
}

/* Whether it is a number is looked at later, as in Redis: another type is the first thing to be wrong. */
void
hc_cmd_incrbyfloat(struct hc_req *req)
{
	change(req, HC_OP_INCR_FLOAT, req->argv[2], text_done);
}

void
hc_cmd_append(struct hc_req *req)
{
	change(req, HC_OP_APPEND, req->argv[2], number_done);
}

void
hc_cmd_setrange(struct hc_req *req)
{
	int64_t offset;

	if (!hc_req_arg_int(req, 2, &offset))
		return;
	if (offset < 0) {
		hc_reply_error(req, "ERR offset is out of range");
		return;
	}
	/* Nothing to write changes nothing: not even a key comes of it. */
	if (req->argv[3].len == 0) {
		hc_req_read(req, &req->argv[1], 1, 1, HC_READ_QUIET, hc_reply_length);
		return;
	}
	struct hc_op *op = change_op(req, HC_OP_SET_RANGE, req->argv[3]);
	if (!op)
		return;
	op->offset = offset;
	hc_req_write(req, number_done);
}
