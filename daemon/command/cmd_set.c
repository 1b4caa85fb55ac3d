/*
 * Commands that store strings: SET with all its options, the older forms of it, MSET and MSETNX.
 * Worker threads only; owns nothing.
 *
 *     parse → ops (one for each key) → hc_req_write → a done function that replies
 */
#include "command/expiry.h"
#include "command/handlers.h"
#include "command/req.h"

/* ---- replies ---- */

static void
set_done(struct hc_req *req)
{
	const struct hc_op *op = &req->ops[0];

	if (hc_req_op_failed(req, op))
		return;
	if (op->status == HC_OK)
		hc_reply_ok(req);
	else
		hc_reply_null(req);
}

static void
setnx_done(struct hc_req *req)
{
	const struct hc_op *op = &req->ops[0];

	if (hc_req_op_failed(req, op))
		return;
	hc_reply_int(req, op->status == HC_OK);
}

static void
mset_done(struct hc_req *req)
{
	for (size_t i = 0; i < req->n_ops; i++) {
		if (hc_req_op_failed(req, &req->ops[i]))
			return;
	}
	hc_reply_ok(req);
}

/* All of them or none have been stored. */
static void
msetnx_done(struct hc_req *req)
{
	for (size_t i = 0; i < req->n_ops; i++) {
		if (hc_req_op_failed(req, &req->ops[i]))
			return;
	}
	hc_reply_int(req, req->ops[0].status == HC_OK);
}

/* ---- SET's options ---- */

struct set_options {
	bool nx, xx, get, keep_ttl;
	uint32_t expiry_arg; /* the argument that is the expiry's number, 0: none */
	enum hc_expiry_form expiry_form;
	uint32_t model_arg; /* the argument that is the model's name, 0: none */
};

/* One of the four words with its number: any other way to set the expiry excludes it, the same one
 * may come again. */
static bool
parse_expiry_option(const struct hc_req *req, uint32_t i, struct set_options *options)
{
	enum hc_expiry_form form;

	if (!hc_expiry_word(req, i, &form) || options->keep_ttl || i + 1 >= req->argc)
		return false;
	if (options->expiry_arg && options->expiry_form != form)
		return false;
	options->expiry_form = form;
	options->expiry_arg = i + 1;
	return true;
}

/* The option at `i`: how many arguments it takes, 0 when it is none or does not go with those
 * before it. */
static uint32_t
parse_option(const struct hc_req *req, uint32_t i, struct set_options *options)
{
	if (hc_req_arg_is(req, i, "nx") && !options->xx) {
		options->nx = true;
		return 1;
	}
	if (hc_req_arg_is(req, i, "xx") && !options->nx) {
		options->xx = true;
		return 1;
	}
	if (hc_req_arg_is(req, i, "get")) {
		options->get = true;
		return 1;
	}
	if (hc_req_arg_is(req, i, "keepttl") && !options->expiry_arg) {
		options->keep_ttl = true;
		return 1;
	}
	if (hc_req_arg_is(req, i, "model") && i + 1 < req->argc) {
		options->model_arg = i + 1;
		return 2;
	}
	return parse_expiry_option(req, i, options) ? 2 : 0;
}

static bool
parse_options(struct hc_req *req, struct set_options *options)
{
	for (uint32_t i = 3; i < req->argc;) {
		uint32_t taken = parse_option(req, i, options);
		if (taken == 0) {
			hc_reply_syntax_error(req);
			return false;
		}
		i += taken;
	}
	return true;
}

static bool
apply_options(struct hc_req *req, const struct set_options *options, struct hc_op *op)
{
	if (options->expiry_arg) {
		if (hc_expiry_failed(req, hc_expiry_parse(req, options->expiry_arg, options->expiry_form, op)))
			return false;
	} else if (options->keep_ttl) {
		op->ttl = HC_TTL_KEEP;
	}
	if (options->nx)
		op->condition = HC_STORE_ABSENT;
	if (options->xx)
		op->condition = HC_STORE_PRESENT;
	op->want_old = options->get;
	if (options->model_arg)
		return hc_req_model_named(req, req->argv[options->model_arg], &op->model);
	return hc_req_model_of(req, req->argv[1], &op->model);
}

/* ---- commands ---- */

/* Fills in what each way to set a key has in common; the model is the key's own. Error replied:
 * false. */
static bool
init_set(struct hc_req *req, struct hc_op *op, struct hc_slice key, struct hc_slice value)
{
	op->kind = HC_OP_SET;
	op->key = hc_key(key);
	op->value = value;
	return hc_req_model_of(req, key, &op->model);
}

void
hc_cmd_set(struct hc_req *req)
{
	struct set_options options = {0};
	struct hc_op *op;

	if (!parse_options(req, &options) || !(op = hc_req_ops(req, 1)))
		return;
	if (!apply_options(req, &options, op))
		return;
	op->kind = HC_OP_SET;
	op->key = hc_req_key(req);
	op->value = req->argv[2];
	hc_req_write(req, options.get ? hc_reply_old : set_done);
}

/* key, expiry, value */
static void
set_expiring(struct hc_req *req, enum hc_expiry_form form)
{
	struct hc_op *op = hc_req_ops(req, 1);

	if (!op || hc_expiry_failed(req, hc_expiry_parse(req, 2, form, op)))
		return;
	if (!init_set(req, op, req->argv[1], req->argv[3]))
		return;
	hc_req_write(req, set_done);
}

void
hc_cmd_setex(struct hc_req *req)
{
	set_expiring(req, HC_EXPIRY_EX);
}

void
hc_cmd_psetex(struct hc_req *req)
{
	set_expiring(req, HC_EXPIRY_PX);
}

void
hc_cmd_setnx(struct hc_req *req)
{
	struct hc_op *op = hc_req_ops(req, 1);

	if (!op || !init_set(req, op, req->argv[1], req->argv[2]))
		return;
	op->condition = HC_STORE_ABSENT;
	hc_req_write(req, setnx_done);
}

void
hc_cmd_getset(struct hc_req *req)
{
	struct hc_op *op = hc_req_ops(req, 1);

	if (!op || !init_set(req, op, req->argv[1], req->argv[2]))
		return;
	op->want_old = true;
	hc_req_write(req, hc_reply_old);
}

/* Key and value, key and value, …: NULL after replying with an error. */
static struct hc_op *
parse_pairs(struct hc_req *req)
{
	size_t n = (req->argc - 1) / 2;
	struct hc_op *ops;

	if (req->argc % 2 == 0) {
		hc_reply_arity_error(req);
		return NULL;
	}
	if (!(ops = hc_req_ops(req, n)))
		return NULL;
	for (size_t i = 0; i < n; i++) {
		const struct hc_slice *pair = &req->argv[1 + 2 * i];
		if (!init_set(req, &ops[i], pair[0], pair[1]))
			return NULL;
	}
	return ops;
}

void
hc_cmd_mset(struct hc_req *req)
{
	if (parse_pairs(req))
		hc_req_write(req, mset_done);
}

void
hc_cmd_msetnx(struct hc_req *req)
{
	struct hc_op *ops = parse_pairs(req);

	if (!ops)
		return;
	for (size_t i = 0; i < req->n_ops; i++) {
		ops[i].condition = HC_STORE_ABSENT;
		ops[i].together = true;
	}
	hc_req_write(req, msetnx_done);
}
