/*
 * Working the outage list off: page by page the upstream, and with it the fleet, is told what was changed here while it
 * could not be. Main thread, with nothing missed of what others have changed meanwhile: all of it is heard of up to
 * sync->heard.
 *
 *     all, clears, deletes ─→ as they are
 *     values ─→ guard, SET ─→ write.lua
 *        ├ a change of that key is in the journal beyond `heard` ─→ hear of it first, then again
 *        ├ another has written it (contested, or not the base)   ─→ what is there stays
 *        └ else                                                  ─→ SET
 *
 * After clears, all that came before them is heard of first: a clear by another would else take the epoch of ours for
 * its own, where the script compares nothing but that.
 *
 * So between what was heard and the SET there is no gap: what came before has been weighed here (outage.h), what came
 * after is seen by the script. The copy that is kept here goes then: from here on it is fetched as any other, and as
 * any other it is heard of.
 *
 * What a link gave up may be on its way still (stragglers.h). Until it is not, nothing is worked off.
 *
 * A key that a worker is writing at this moment is left out: that is newer, and takes it off the list when it is
 * answered (before it counts as answered: write_settle.c).
 */
#include <inttypes.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/sync.h"

#define PAGE 256
#define PAGE_BYTES ((uint64_t)1 << 20)

/* True: something of it is off the list, so that more of it is worth sending at once. */
static bool
has_settled_any(const struct hc_outage_page *page)
{
	bool any = page->all || page->n_models > 0;

	for (size_t i = 0; i < page->n_items && !any; i++)
		any = page->items[i].outcome > HC_OUTAGE_AGAIN;
	return any;
}

static void
ended(struct hc_sync *sync, enum hc_status status)
{
	struct hc_outage_page page = sync->page;

	atomic_store(&sync->core->making_up, false);
	sync->page = (struct hc_outage_page){0};
	bool more = status == HC_OK && has_settled_any(&page);
	if (status == HC_OK)
		hc_outage_settle(sync->core->outage, &page);
	else
		hc_outage_lose(sync->core->outage, &page);
	hc_outage_page_fini(&page);
	if (more || hc_outage_empty(sync->core->outage))
		hc_sync_make_up(sync);
	/* Otherwise the next tick, or the next connection, tries again. */
}

static void
on_flushed(void *arg, enum hc_status status)
{
	ended(arg, status);
}

/* ---- what the script said ---- */

static void
take_new_epochs(struct hc_sync *sync, const redisReply *reply)
{
	for (size_t i = 0; i < sync->page.n_models; i++) {
		struct hc_script_result result;
		if (hc_script_result(reply, i, &result) != HC_OK || !result.done)
			continue;
		const struct hc_outage_clear clear = {
		    hc_script_incarnation(reply), (uint32_t)result.pttl, result.epoch};
		hc_core_raise_epoch(sync->core, sync->page.models[i].id, clear.epoch);
		hc_outage_cleared(sync->core->outage, &sync->page, i, &clear);
		sync->cleared_seq = result.seq;
	}
}

static enum hc_outage_outcome
outcome_of(struct hc_sync *sync, struct hc_outage_item *item, const struct hc_script_result *result)
{
	if (result->error.ptr != NULL)
		return HC_OUTAGE_LATER; /* it is out of memory, say */
	if (result->code == HC_SCRIPT_HEAR_FIRST)
		return HC_OUTAGE_AGAIN;
	if (item->entry == NULL)
		return HC_OUTAGE_SETTLED;
	if (result->done) {
		hc_stats_count(sync->stats, queued_written);
		item->written = result->seq;
		return HC_OUTAGE_SETTLED;
	}
	hc_stats_count(sync->stats, queued_overtaken);
	return item->doubt == HC_OUTAGE_UNSURE ? HC_OUTAGE_DELETE : HC_OUTAGE_SETTLED;
}

/*
 * What is kept here of the key is from before: nobody would hear of what becomes of a key that only this daemon has.
 */
static void
drop_copy(struct hc_sync *sync, const struct hc_outage_item *item, const struct hc_script_result *result)
{
	uint64_t version = result->seq > 0 ? result->seq : 1; /* what has no version is of the outage */

	(void)hc_store_invalidate(sync->core->store, hc_key(item->key), version);
}

static void
take_results(struct hc_sync *sync, const redisReply *reply)
{
	struct hc_outage_page *page = &sync->page;

	for (size_t i = 0, at = page->n_models; i < page->n_items; i++) {
		struct hc_outage_item *item = &page->items[i];
		struct hc_script_result result;
		if (item->left_out)
			continue;
		at += item->entry != NULL; /* the guard's */
		if (hc_script_result(reply, at++, &result) != HC_OK)
			continue;
		item->outcome = outcome_of(sync, item, &result);
		if (item->outcome == HC_OUTAGE_SETTLED)
			drop_copy(sync, item, &result);
		hc_stats_add(sync->stats, invalidations_out, result.seq > 0);
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
		take_results(sync, reply);
		hc_stats_add(sync->stats, invalidations_out, sync->page.n_models);
	}
	ended(sync, status);
}

/* ---- what it is asked ---- */

static enum hc_status
add_value(struct hc_script_call *call, const struct hc_sync *sync, const struct hc_outage_item *item, int64_t now_ms)
{
	struct hc_op_guard guard = {
	    .heard = sync->heard.upto,
	    .epoch = item->epoch,
	    .contested = item->doubt == HC_OUTAGE_CONTESTED || item->was_contested,
	    .unsure = item->doubt == HC_OUTAGE_UNSURE,
	};
	struct hc_op op = {.kind = HC_OP_GUARD, .key = hc_key(item->key), .guard = &guard};

	if (item->base != NULL) {
		guard.has_base = true;
		guard.base = hc_entry_value(item->base);
		guard.base_version = item->base_version;
	}
	op.model = hc_entry_model(item->entry);
	enum hc_status status = hc_script_call_add(call, &op);
	if (status != HC_OK)
		return status;
	op.kind = HC_OP_SET;
	op.guarded = true;
	op.value = hc_entry_value(item->entry);
	if (item->expire_ms != HC_NO_EXPIRY) { /* the upstream's clock may be another */
		op.ttl = HC_TTL_RELATIVE;
		op.ttl_ms = item->expire_ms > now_ms ? item->expire_ms - now_ms : 1;
	}
	return hc_script_call_add(call, &op);
}

static enum hc_status
add_item(struct hc_script_call *call, struct hc_sync *sync, struct hc_outage_item *item, int64_t now_ms)
{
	const struct hc_op gone = {.kind = HC_OP_DEL, .key = hc_key(item->key)};

	item->left_out = hc_store_writing(sync->core->store, gone.key);
	if (item->left_out)
		return HC_OK;
	return item->entry != NULL ? add_value(call, sync, item, now_ms) : hc_script_call_add(call, &gone);
}

static enum hc_status
send_page(struct hc_sync *sync, int64_t now_ms)
{
	struct hc_outage_page *page = &sync->page;
	struct hc_script_call *call;

	enum hc_status status = hc_script_call_create(sync->core, page->n_models + 2 * page->n_items, &call);
	if (status != HC_OK)
		return status;
	for (size_t i = 0; status == HC_OK && i < page->n_models; i++) {
		/* Cleared here twice, it is two ahead: an upstream that lags behind would make its values look old for
		 * ever. */
		struct hc_op op = {.kind = HC_OP_CLEAR_MODEL, .model = page->models[i].id};
		op.epoch = hc_models_epoch(sync->core->models, op.model);
		status = hc_script_call_add(call, &op);
	}
	for (size_t i = 0; status == HC_OK && i < page->n_items; i++)
		status = add_item(call, sync, &page->items[i], now_ms);
	if (status == HC_OK)
		status = hc_script_call_send(call, sync->control, "", on_replayed, sync);
	hc_script_call_destroy(call);
	return status;
}

/* All of the list has been told, by pages or by what was written again. */
static void
note_caught_up(struct hc_sync *sync)
{
	if (sync->behind)
		hc_log(HC_LOG_INFO, "upstream_caught_up", "heard=%" PRIu64, sync->heard.upto);
	sync->behind = false;
}

void
hc_sync_make_up(struct hc_sync *sync)
{
	struct hc_outage *outage = sync->core->outage;
	int64_t now_ms = hc_clock_wall_ms();
	enum hc_status status;

	if (atomic_load(&sync->core->making_up))
		return;
	if (hc_outage_empty(outage)) {
		note_caught_up(sync);
		return;
	}
	/* A lease outlives the control link: what that leads to now may number its changes otherwise. */
	if (hc_stragglers_any(sync->core->stragglers))
		return; /* what they gave up is on the list, and is not to come after what replaces it there */
	if (!hc_link_is_up(sync->control) || !sync->following || !atomic_load(&sync->core->coherent) ||
	    sync->heard.upto < sync->cleared_seq)
		return;
	/* First: who begins to write a key of it from now on either sees this, or is seen by add_item(). */
	atomic_store(&sync->core->making_up, true);
	if (hc_outage_take(outage, PAGE, PAGE_BYTES, now_ms, &sync->page) != HC_OK) {
		atomic_store(&sync->core->making_up, false);
		return;
	}
	sync->behind = true;
	if (!sync->page.all && sync->page.n_models == 0 && sync->page.n_items == 0) {
		ended(sync, HC_OK);
		return;
	}
	if (sync->page.all) {
		status = hc_flush_start(sync->core, sync->control, on_flushed, sync);
		status = status == HC_PENDING ? HC_OK : status;
	} else {
		status = send_page(sync, now_ms);
	}
	if (status != HC_OK)
		ended(sync, status);
}
