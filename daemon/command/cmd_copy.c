/*
 * Commands that give a value another key: RENAME, RENAMENX, COPY. Expiry and model go along. Worker threads only; owns
 * nothing.
 *
 *     two ops, source and target → hc_req_write → a done function that replies
 */
#include "command/handlers.h"
#include "command/req.h"

/* ---- replies ---- */

/* True after replying with what went wrong: no such key is not among it. */
static bool
copy_failed(struct hc_req *req)
{
	return hc_req_op_failed(req, &req->ops[0]) ||
	       (req->ops[0].status == HC_OK && hc_req_op_failed(req, &req->ops[1]));
}

static bool
source_missing(struct hc_req *req)
{
	if (req->ops[0].status == HC_OK)
		return false;
	hc_reply_error(req, "ERR no such key");
	return true;
}

static void
rename_done(struct hc_req *req)
{
	if (!copy_failed(req) && !source_missing(req))
		hc_reply_ok(req);
}

static void
renamenx_done(struct hc_req *req)
{
	if (!copy_failed(req) && !source_missing(req))
		hc_reply_int(req, req->ops[1].status == HC_OK);
}

static void
copy_done(struct hc_req *req)
{
	if (!copy_failed(req))
		hc_reply_int(req, req->ops[0].status == HC_OK && req->ops[1].status == HC_OK);
}

/* ---- commands ---- */

static void
copy(struct hc_req *req, bool move, enum hc_store_condition condition, hc_req_fn *done)
{
	struct hc_op *ops = hc_req_ops(req, 2);

	if (!ops)
		return;
	ops[0].kind = HC_OP_COPY_FROM;
	ops[0].key = hc_key(req->argv[1]);
	ops[0].move = move;
	ops[1].kind = HC_OP_COPY_TO;
	ops[1].key = hc_key(req->argv[2]);
	ops[1].condition = condition;
	hc_req_write(req, done);
}

static bool
names_one_key(const struct hc_req *req)
{
	return hc_slice_eq(req->argv[1], req->argv[2]);
}

/* A key that is to have the name it has: all that counts is whether it is there. */
static void
same_name_done(struct hc_req *req)
{
	const struct hc_req_value *value = &req->values[0];

	if (!value->entry && value->status != HC_WRONGTYPE)
		hc_reply_error(req, "ERR no such key");
	else if (req->number)
		hc_reply_int(req, 0);
	else
		hc_reply_ok(req);
}

static void
rename_to_same(struct hc_req *req, bool nx)
{
	req->number = nx;
	hc_req_read(req, &req->argv[1], 1, 1, HC_READ_QUIET, same_name_done);
}

void
hc_cmd_rename(struct hc_req *req)
{
	if (names_one_key(req))
		rename_to_same(req, false);
	else
		copy(req, true, HC_STORE_ANY, rename_done);
}

void
hc_cmd_renamenx(struct hc_req *req)
{
	if (names_one_key(req))
		rename_to_same(req, true);
	else
		copy(req, true, HC_STORE_ABSENT, renamenx_done);
}

/* There is database 0 and no other. */
static bool
parse_db(struct hc_req *req, uint32_t i)
{
	int64_t db;

	if (!hc_req_arg_int(req, i, &db))
		return false;
	if (db < INT32_MIN || db > INT32_MAX) {
		hc_reply_error(req, "ERR value is out of range, value must between -2147483648 and 2147483647");
		return false;
	}
	if (db != 0)
		hc_reply_error(req, "ERR DB index is out of range");
	return db == 0;
}

void
hc_cmd_copy(struct hc_req *req)
{
	bool replace = false;

	for (uint32_t i = 3; i < req->argc; i++) {
		if (hc_req_arg_is(req, i, "replace")) {
			replace = true;
		} else if (hc_req_arg_is(req, i, "db") && i + 1 < req->argc) {
			if (!parse_db(req, ++i))
				return;
		} else {
			hc_reply_syntax_error(req);
			return;
		}
	}
	if (names_one_key(req))
		hc_reply_error(req, "ERR source and destination objects are the same");
	else
		copy(req, false, replace ? HC_STORE_ANY : HC_STORE_ABSENT, copy_done);
}
