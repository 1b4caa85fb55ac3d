/*
 * Expiry times in arguments: parsed and checked in one place for SET, GETEX, SETEX and the family
 * of EXPIRE. Worker threads only; owns nothing.
 */
#include "command/expiry.h"

#include "base/clock.h"
#include "base/num.h"
#include "command/req.h"

bool
hc_expiry_word(const struct hc_req *req, uint32_t i, enum hc_expiry_form *form)
{
	static const char *const words[] = {
	    [HC_EXPIRY_EX] = "ex",
	    [HC_EXPIRY_PX] = "px",
	    [HC_EXPIRY_EXAT] = "exat",
	    [HC_EXPIRY_PXAT] = "pxat",
	};

	for (unsigned f = 0; f < sizeof(words) / sizeof(words[0]); f++) {
		if (hc_req_arg_is(req, i, words[f])) {
			*form = (enum hc_expiry_form)f;
			return true;
		}
	}
	return false;
}

static bool
in_seconds(enum hc_expiry_form form)
{
	return form == HC_EXPIRY_EX || form == HC_EXPIRY_EXAT;
}

static bool
from_now(enum hc_expiry_form form)
{
	return form == HC_EXPIRY_EX || form == HC_EXPIRY_PX;
}

enum hc_expiry_fault
hc_expiry_parse_any(const struct hc_req *req, uint32_t i, enum hc_expiry_form form, struct hc_op *op)
{
	int64_t base_ms = from_now(form) ? hc_core_now_ms(req->worker->core) : 0;
	int64_t ms;

	if (!hc_num_i64(req->argv[i], &ms))
		return HC_EXPIRY_NO_NUMBER;
	if (in_seconds(form) && __builtin_mul_overflow(ms, 1000, &ms))
		return HC_EXPIRY_OUT_OF_RANGE;
	if (ms > INT64_MAX - base_ms)
		return HC_EXPIRY_OUT_OF_RANGE;
	/* The very last millisecond stands for "never" in entries. */
	if (ms >= HC_NO_EXPIRY - base_ms)
		ms = HC_NO_EXPIRY - 1 - base_ms;
	op->ttl = from_now(form) ? HC_TTL_RELATIVE : HC_TTL_ABSOLUTE;
	op->ttl_ms = ms;
	return HC_EXPIRY_FINE;
}

enum hc_expiry_fault
hc_expiry_parse(const struct hc_req *req, uint32_t i, enum hc_expiry_form form, struct hc_op *op)
{
	int64_t number;

	if (hc_num_i64(req->argv[i], &number) && number <= 0)
		return HC_EXPIRY_OUT_OF_RANGE;
	return hc_expiry_parse_any(req, i, form, op);
}

bool
hc_expiry_failed(struct hc_req *req, enum hc_expiry_fault fault)
{
	char name[64];

	switch (fault) {
	case HC_EXPIRY_FINE:
		return false;
	case HC_EXPIRY_NO_NUMBER:
		hc_reply_error(req, "ERR value is not an integer or out of range");
		return true;
	case HC_EXPIRY_OUT_OF_RANGE:
		hc_command_full_name(req->command, name);
		hc_reply_errorf(req, "ERR invalid expire time in '%s' command", name);
		return true;
	}
	return false;
}
