/*
 * Commands about the time a key has left: the families of EXPIRE and TTL, and PERSIST. Worker
 * threads only; owns nothing.
 */
#include "base/clock.h"
#include "command/expiry.h"
#include "command/handlers.h"
#include "command/req.h"

/* ---- EXPIRE ---- */

static unsigned
expire_flag(const struct hc_req *req, uint32_t i)
{
	if (hc_req_arg_is(req, i, "nx"))
		return HC_EXPIRE_NX;
	if (hc_req_arg_is(req, i, "xx"))
		return HC_EXPIRE_XX;
	if (hc_req_arg_is(req, i, "gt"))
		return HC_EXPIRE_GT;
	if (hc_req_arg_is(req, i, "lt"))
		return HC_EXPIRE_LT;
	return 0;
}

static bool
parse_flags(struct hc_req *req, unsigned *flags)
{
	for (uint32_t i = 3; i < req->argc; i++) {
		unsigned flag = expire_flag(req, i);
		if (!flag) {
			/* As in Redis the text ends at a NUL; no error line needs more of it than
			 * this. */
			int len = req->argv[i].len < 256 ? (int)req->argv[i].len : 256;
			hc_reply_errorf(req, "ERR Unsupported option %.*s", len, req->argv[i].ptr);
			return false;
		}
		*flags |= flag;
	}
	if ((*flags & HC_EXPIRE_NX) && (*flags & (HC_EXPIRE_XX | HC_EXPIRE_GT | HC_EXPIRE_LT))) {
		hc_reply_error(req, "ERR NX and XX, GT or LT options at the same time are not compatible");
		return false;
	}
	if ((*flags & HC_EXPIRE_GT) && (*flags & HC_EXPIRE_LT)) {
		hc_reply_error(req, "ERR GT and LT options at the same time are not compatible");
		return false;
	}
	return true;
}

/* 1 when it was done, 0 when there was no such key or a condition did not hold. */
static void
done_or_not(struct hc_req *req)
{
	const struct hc_op *op = &req->ops[0];

	if (hc_req_op_failed(req, op))
		return;
	hc_reply_int(req, op->status == HC_OK);
}

static void
expire(struct hc_req *req, enum hc_expiry_form form)
{
	unsigned flags = 0;
	struct hc_op *op;

	if (!parse_flags(req, &flags) || !(op = hc_req_ops(req, 1)))
		return;
	if (hc_expiry_failed(req, hc_expiry_parse_any(req, 2, form, op)))
		return;
	op->kind = HC_OP_EXPIRE;
	op->key = hc_key(req->argv[1]);
	op->expire_flags = flags;
	hc_req_write(req, done_or_not);
}

void
hc_cmd_expire(struct hc_req *req)
{
	expire(req, HC_EXPIRY_EX);
}

void
hc_cmd_pexpire(struct hc_req *req)
{
	expire(req, HC_EXPIRY_PX);
}

void
hc_cmd_expireat(struct hc_req *req)
{
	expire(req, HC_EXPIRY_EXAT);
}

void
hc_cmd_pexpireat(struct hc_req *req)
{
	expire(req, HC_EXPIRY_PXAT);
}

void
hc_cmd_persist(struct hc_req *req)
{
	struct hc_op *op = hc_req_ops(req, 1);

	if (!op)
		return;
	op->kind = HC_OP_PERSIST;
	op->key = hc_key(req->argv[1]);
	hc_req_write(req, done_or_not);
}

/* ---- TTL ---- */

#define NO_KEY (-2)
#define NO_EXPIRY (-1)

/* When the key expires, by this clock; NO_KEY, NO_EXPIRY. */
static int64_t
expires_at_ms(const struct hc_req_value *value, int64_t now_ms)
{
	if (value->entry) {
		int64_t at_ms = hc_entry_expire_ms(value->entry);
		return at_ms == HC_NO_EXPIRY ? NO_EXPIRY : at_ms;
	}
	if (value->status != HC_WRONGTYPE)
		return NO_KEY;
	return value->pttl < 0 ? value->pttl : now_ms + value->pttl;
}

/* Seconds are rounded, half of one upwards. */
static void
reply_time(struct hc_req *req, int64_t ms, bool seconds)
{
	if (!seconds || ms < 0)
		hc_reply_int(req, ms);
	else
		hc_reply_int(req, ms / 1000 + (ms % 1000 >= 500));
}

static void
reply_left(struct hc_req *req, bool seconds)
{
	int64_t now_ms = hc_core_now_ms(req->worker->core);
	int64_t at_ms = expires_at_ms(&req->values[0], now_ms);

	if (at_ms < 0)
		hc_reply_int(req, at_ms);
	else
		reply_time(req, at_ms > now_ms ? at_ms - now_ms : 0, seconds);
}

static void
reply_at(struct hc_req *req, bool seconds)
{
	int64_t now_ms = hc_core_now_ms(req->worker->core);

	reply_time(req, expires_at_ms(&req->values[0], now_ms), seconds);
}

static void
ttl_done(struct hc_req *req)
{
	reply_left(req, true);
}

static void
pttl_done(struct hc_req *req)
{
	reply_left(req, false);
}

static void
expiretime_done(struct hc_req *req)
{
	reply_at(req, true);
}

static void
pexpiretime_done(struct hc_req *req)
{
	reply_at(req, false);
}

static void
read_expiry(struct hc_req *req, hc_req_fn *done)
{
	hc_req_read(req, &req->argv[1], 1, 1, HC_READ_QUIET | HC_READ_EXACT_TTL, done);
}

void
hc_cmd_ttl(struct hc_req *req)
{
	read_expiry(req, ttl_done);
}

void
hc_cmd_pttl(struct hc_req *req)
{
	read_expiry(req, pttl_done);
}

void
hc_cmd_expiretime(struct hc_req *req)
{
	read_expiry(req, expiretime_done);
}

void
hc_cmd_pexpiretime(struct hc_req *req)
{
	read_expiry(req, pexpiretime_done);
}
