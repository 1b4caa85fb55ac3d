/*
 * Making up for an outage: what was changed here while the upstream could not be told is deleted there, page by page,
 * which tells the fleet too. Main thread.
 */
#include "core/sync.h"

#define PAGE 256

static void
ended(struct hc_sync *sync, enum hc_status status)
{
	sync->making_up = false;
	if (status == HC_OK)
		hc_outage_settle(sync->core->outage, &sync->page);
	hc_outage_page_fini(&sync->page);
	if (status == HC_OK)
		hc_sync_make_up(sync);
	/* Otherwise the next tick, or the next connection, tries again. */
}

static void
on_flushed(void *arg, enum hc_status status)
{
	ended(arg, status);
}

static void
take_new_epochs(struct hc_sync *sync, const redisReply *reply)
{
	for (size_t i = 0; i < sync->page.n_models; i++) {
		struct hc_script_result result;
		if (hc_script_result(reply, i, &result) == HC_OK && result.done)
			hc_models_raise(sync->core->models, sync->page.models[i], result.epoch);
	}
}

/*
 * The keys are gone upstream, and so are whatever was kept here of them from before: nobody would hear of what
 * becomes of a key that only this daemon has.
 */
static void
drop_replayed(struct hc_sync *sync, const redisReply *reply)
{
	for (size_t i = 0; i < sync->page.n_keys; i++) {
		struct hc_script_result result;
		uint64_t version = 1; /* it was not there; what has no version is of the outage */
		if (hc_script_result(reply, sync->page.n_models + i, &result) == HC_OK && result.seq > 0)
			version = result.seq;
		hc_store_invalidate(sync->core->store, hc_key(sync->page.keys[i]), version);
	}
}

static void
on_replayed(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;

	if (status == HC_OK && reply->type != REDIS_REPLY_ARRAY)
		status = HC_ERROR;
	if (status == HC_OK) {
		take_new_epochs(sync, reply);
		drop_replayed(sync, reply);
		hc_stats_add(sync->stats, invalidations_out, sync->page.n_models + sync->page.n_keys);
	}
	ended(sync, status);
}

static enum hc_status
send_replay(struct hc_sync *sync)
{
	const struct hc_outage_page *page = &sync->page;
	struct hc_script_call *call;

	enum hc_status status = hc_script_call_create(sync->core, page->n_models + page->n_keys, &call);
	if (status != HC_OK)
		return status;
	for (size_t i = 0; status == HC_OK && i < page->n_models; i++) {
		/* Cleared here twice, it is two ahead: an upstream that lags behind would make its values look old for
		 * ever. */
		struct hc_op op = {.kind = HC_OP_CLEAR_MODEL, .model = page->models[i]};
		op.epoch = hc_models_epoch(sync->core->models, op.model);
		status = hc_script_call_add(call, &op);
	}
	for (size_t i = 0; status == HC_OK && i < page->n_keys; i++) {
		struct hc_op op = {.kind = HC_OP_DEL, .key = hc_key(page->keys[i])};
		status = hc_script_call_add(call, &op);
	}
	if (status == HC_OK)
		status = hc_script_call_send(call, sync->control, "", on_replayed, sync);
	hc_script_call_destroy(call);
	return status;
}

void
hc_sync_make_up(struct hc_sync *sync)
{
	struct hc_outage *outage = sync->core->outage;
	enum hc_status status;

	if (sync->making_up || hc_outage_empty(outage) || !hc_link_is_up(sync->control))
		return;
	if (hc_outage_take(outage, PAGE, &sync->page) != HC_OK)
		return;
	sync->making_up = true;
	if (sync->page.all) {
		status = hc_flush_start(sync->core, sync->control, on_flushed, sync);
		status = status == HC_PENDING ? HC_OK : status;
	} else {
		status = send_replay(sync);
	}
	if (status != HC_OK)
		ended(sync, status);
}
