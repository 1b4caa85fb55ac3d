/*
 * What becomes of an op that has been sent: the copy that is kept, what the client is answered, what is heard of by it.
 * One thread: the worker's.
 */
#include "base/log.h"
#include "base/mem.h"
#include "core/write_private.h"

static void
take_old(struct hc_core_worker *worker, struct hc_op *op, struct hc_slice stored)
{
	if (!op->want_old || stored.ptr == NULL)
		return;
	if (hc_core_entry_from_stored(worker, op->key, stored, &op->old) != HC_OK)
		op->old = NULL;
}

/* The copy a SET leaves here, finished; NULL when none is to be kept. */
static struct hc_entry *
copy_to_keep(struct hc_core_worker *worker, struct hc_op *op, const struct hc_script_result *result, bool known)
{
	struct hc_core *core = worker->core;
	struct hc_entry *entry = op->entry;

	/* A pttl of -2: its expiry was over when it was written, or it is overwritten; or it came too late. */
	if (op->kind != HC_OP_SET || !result->done || result->pttl < -1 || entry == NULL || !known)
		return NULL;
	hc_core_raise_epoch(core, op->model, result->epoch);
	hc_entry_set_epoch(entry, result->epoch);
	hc_entry_set_version(entry, result->seq);
	hc_entry_set_expire_ms(entry, hc_core_local_expiry(core, result->pttl, op->sent_ms));
	return entry;
}

static bool
is_change(enum hc_op_kind kind)
{
	return kind == HC_OP_INCR || kind == HC_OP_INCR_FLOAT || kind == HC_OP_APPEND || kind == HC_OP_SET_RANGE;
}

static void
settle_clear(struct hc_core *core, struct hc_op *op, const struct hc_script_result *result, bool known)
{
	bool counted_on = hc_outage_tells_model(core->outage, op->model); /* here, beyond what the upstream counts to */

	op->epoch = result->epoch;
	if (known && !counted_on) {
		hc_core_raise_epoch(core, op->model, result->epoch);
		return;
	}
	uint32_t epoch = hc_models_bump(core->models, op->model);
	hc_tier_clear_model(core->tier, op->model, epoch);
	if (counted_on)
		(void)hc_outage_add_model(core->outage, op->model, result->epoch);
}

/* A transaction was refuted, but by now the upstream has told of that model what it supposed. */
static void
confirm(struct hc_core_worker *worker, const struct hc_op *op, const struct hc_script_result *result)
{
	if (op->kind == HC_OP_SET && result->done && result->pttl >= -1 && op->model == worker->refuted.model &&
	    result->epoch == worker->refuted.epoch)
		worker->refuted.incarnation = 0;
}

void
hc_core_op_settle(struct hc_core_worker *worker, struct hc_op *op, const struct hc_script_result *result, bool known)
{
	struct hc_core *core = worker->core;

	take_old(worker, op, result->old);
	op->status = result->done ? HC_OK : HC_MISS;
	if (result->answer.ptr != NULL) {
		op->answer = hc_strndup(result->answer.ptr, result->answer.len);
		if (op->answer == NULL)
			op->status = HC_NOMEM;
	} else if (result->done && is_change(op->kind)) {
		op->status = HC_ERROR; /* not what the script answers */
	}
	if (op->kind == HC_OP_SET && result->pttl == HC_SCRIPT_LATE)
		hc_stats_count(worker->stats, late_sets);
	if (op->kind == HC_OP_CLEAR_MODEL && result->done)
		settle_clear(core, op, result, known);
	if (known)
		confirm(worker, op, result);
	/* Before it counts as answered: who finds no write under way may replay what is on the list. */
	if (op->begun && result->seq > 0 && !hc_outage_empty(core->outage))
		hc_outage_forget_key(core->outage, op->key, op->mark);
	if (op->begun) {
		struct hc_entry *copy = copy_to_keep(worker, op, result, known);
		enum hc_store_fill fill = hc_core_fill(worker);
		(void)hc_store_write_end(core->store, op->key, &op->ticket, copy, fill, worker->now_ms);
		op->begun = false;
	}
	if (result->seq > 0) {
		hc_fleet_saw_seq(core->fleet, result->seq);
		hc_stats_count(worker->stats, invalidations_out);
	}
	hc_stats_count(worker->stats, upstream_writes);
}

void
hc_core_op_fail(struct hc_core_worker *worker, struct hc_op *op, struct hc_slice error)
{
	if (op->begun) {
		(void)hc_store_write_end(worker->core->store, op->key, &op->ticket, NULL, HC_FILL_NEW, worker->now_ms);
		op->begun = false;
	}
	hc_stats_count(worker->stats, writes_failed);
	if (error.len >= 9 && memcmp(error.ptr, "WRONGTYPE", 9) == 0) {
		op->status = HC_WRONGTYPE;
		return;
	}
	static struct hc_log_limit limit;
	struct hc_log_quoted quoted;
	if (hc_log_allow(&limit, 10000))
		hc_log(HC_LOG_WARN, "upstream_refused_write", "error=%s", hc_log_quote(&quoted, error.ptr, error.len));
	op->status = HC_ERROR;
	op->error = hc_strndup(error.ptr, error.len);
}

void
hc_core_op_lose(struct hc_core_worker *worker, struct hc_op *op)
{
	if (op->begun) {
		hc_stragglers_write(worker->core->stragglers, op->key.hash);
		(void)hc_store_write_end(worker->core->store, op->key, &op->ticket, NULL, HC_FILL_NEW, worker->now_ms);
		op->begun = false;
	}
	hc_entry_unref(op->entry);
	op->entry = NULL;
	hc_stats_count(worker->stats, writes_failed);
	hc_core_op_while_down(worker, op);
}
