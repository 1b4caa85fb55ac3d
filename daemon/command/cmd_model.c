/*
 * Commands about models: CLEAR and MODEL. Worker threads, each for its own requests; the table of
 * models may be read by all.
 */
#include "command/handlers.h"
#include "command/pairs.h"
#include "command/req.h"

/* ---- CLEAR ---- */

static void
clear_done(struct hc_req *req)
{
	if (!hc_req_op_failed(req, &req->ops[0]))
		hc_reply_ok(req);
}

void
hc_cmd_clear_model(struct hc_req *req)
{
	uint32_t model;

	/* A name that is new here may be an old one to the siblings. */
	if (!hc_req_model_named(req, req->argv[2], &model))
		return;
	struct hc_op *op = hc_req_ops(req, 1);
	if (op == NULL)
		return;
	op->kind = HC_OP_CLEAR_MODEL;
	op->model = model;
	hc_req_write(req, clear_done);
}

static void
clear_key_done(struct hc_req *req)
{
	int64_t n = 0;

	for (size_t i = 0; i < req->n_ops; i++) {
		if (hc_req_op_failed(req, &req->ops[i]))
			return;
		n += req->ops[i].status == HC_OK;
	}
	hc_reply_int(req, n);
}

void
hc_cmd_clear_key(struct hc_req *req)
{
	size_t n = req->argc - 2;
	struct hc_op *ops = hc_req_ops(req, n);

	if (ops == NULL)
		return;
	for (size_t i = 0; i < n; i++) {
		ops[i].kind = HC_OP_DEL;
		ops[i].key = hc_key(req->argv[2 + i]);
	}
	hc_req_write(req, clear_key_done);
}

void
hc_cmd_clear_all(struct hc_req *req)
{
	struct hc_op *op = hc_req_ops(req, 1);

	if (op == NULL)
		return;
	op->kind = HC_OP_CLEAR_ALL;
	hc_req_flush(req, clear_done);
}

/* ---- MODEL ---- */

static struct hc_models *
models_of(const struct hc_req *req)
{
	return hc_core_models(req->worker->shared->core);
}

void
hc_cmd_model_list(struct hc_req *req)
{
	const struct hc_models *models = models_of(req);
	uint32_t count = hc_models_count(models);

	hc_reply_array(req, count);
	for (uint32_t id = 0; id < count; id++)
		hc_reply_slice(req, hc_models_name(models, id));
}

static void
reply_sweep(struct hc_req *req, const struct hc_sweeper_status *sweep)
{
	static const char *const states[] = {
	    [HC_SWEEPER_OFF] = "off",
	    [HC_SWEEPER_IDLE] = "idle",
	    [HC_SWEEPER_WAITING] = "waiting",
	    [HC_SWEEPER_RUNNING] = "running",
	};
	uint64_t percent = 100;

	/* The number of keys is from when it began, and so is a part of them only. */
	if (sweep->state == HC_SWEEPER_RUNNING || sweep->state == HC_SWEEPER_WAITING)
		percent = sweep->scanned < sweep->total ? sweep->scanned * 100 / sweep->total : 99;
	hc_pair_str(req, "sweep", states[sweep->state]);
	hc_pair_str(req, "sweep_by", sweep->by);
	hc_pair_int(req, "sweep_scanned", (int64_t)sweep->scanned);
	hc_pair_int(req, "sweep_deleted", (int64_t)sweep->deleted);
	hc_pair_int(req, "sweep_percent", (int64_t)percent);
}

void
hc_cmd_model_info(struct hc_req *req)
{
	const struct hc_models *models = models_of(req);
	struct hc_sweeper_status sweep;
	struct hc_model_info info;
	uint32_t id;

	if (hc_models_find(models, req->argv[2], &id) != HC_OK) {
		hc_reply_null_array(req);
		return;
	}
	hc_store_tell_models(hc_core_store(req->worker->shared->core));
	hc_models_info(models, id, &info);
	bool sweeps = hc_core_sweep_status(req->worker->shared->core, &sweep);
	hc_reply_map(req, sweeps ? 10 : 5);
	hc_reply_str(req, "name");
	hc_reply_slice(req, info.name);
	hc_pair_int(req, "epoch", info.epoch);
	hc_pair_int(req, "clears", (int64_t)info.clears);
	hc_pair_int(req, "entries", (int64_t)info.entries);
	hc_pair_int(req, "bytes", (int64_t)info.bytes);
	if (sweeps)
		reply_sweep(req, &sweep);
}

static void
model_of_done(struct hc_req *req)
{
	const struct hc_req_value *value = &req->values[0];

	if (value->status == HC_WRONGTYPE)
		hc_reply_wrongtype(req);
	else if (value->entry == NULL)
		hc_reply_null(req);
	else
		hc_reply_slice(req, hc_models_name(models_of(req), hc_entry_model(value->entry)));
}

void
hc_cmd_model_of(struct hc_req *req)
{
	hc_req_read(req, &req->argv[2], 1, 1, HC_READ_QUIET, model_of_done);
}

void
hc_cmd_model_use(struct hc_req *req)
{
	uint32_t model = HC_SESSION_NO_MODEL;

	if (req->argc > 3) {
		hc_reply_arity_error(req);
		return;
	}
	if (req->argc == 3 && req->argv[2].len > 0 && !hc_req_model_named(req, req->argv[2], &model))
		return;
	req->session->model = model;
	hc_reply_ok(req);
}
