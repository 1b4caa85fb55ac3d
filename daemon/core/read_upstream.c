/*
 * What is fetched from the upstream: GET and PTTL, and what the stored form of a value says. One thread: the worker's.
 *
 * GET and PTTL are two commands: should someone write between them, that write's event comes, and with it the ticket
 * goes bad or the copy goes, so that a value is never kept with another's expiry.
 */
#include <inttypes.h>
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/fetch.h"
#include "proto/frame.h"

/* ---- from the stored form to an entry ---- */

static enum hc_status
entry_of(struct hc_core_worker *worker, struct hc_key key, struct hc_slice value, uint32_t model, struct hc_entry **out)
{
	struct hc_entry *entry = hc_entry_create(worker->core->store, key, value.len, model);
	if (entry == NULL)
		return HC_NOMEM;
	if (value.len > 0)
		memcpy(hc_entry_value_ptr(entry), value.ptr, value.len);
	*out = entry;
	return HC_OK;
}

static enum hc_status
entry_from_raw(struct hc_core_worker *worker, struct hc_key key, struct hc_slice stored, struct hc_entry **out)
{
	struct hc_core *core = worker->core;
	uint32_t model;

	enum hc_status status = hc_core_model_of_key(core, hc_slice(key.ptr, key.len), &model);
	if (status != HC_OK)
		return status;
	/* Raw stands for epoch 0: once its model has been cleared, nobody can tell whether it is from before. */
	if (hc_models_epoch(core->models, model) != 0) {
		hc_stats_count(worker->stats, frames_stale);
		return HC_MISS;
	}
	status = entry_of(worker, key, stored, model, out);
	if (status == HC_OK)
		hc_entry_set_epoch(*out, 0);
	return status;
}

static enum hc_status
entry_from_frame(struct hc_core_worker *worker, struct hc_key key, const struct hc_frame *frame, struct hc_entry **out)
{
	struct hc_core *core = worker->core;
	uint32_t model = HC_MODEL_DEFAULT;

	if (frame->codec != 0 || frame->raw_len != frame->payload.len ||
	    (frame->checksum != 0 && frame->checksum != hc_checksum(frame->payload.ptr, frame->payload.len))) {
		hc_stats_count(worker->stats, frames_bad);
		return HC_MISS;
	}
	if (frame->incarnation != atomic_load(&core->incarnation)) {
		hc_stats_count(worker->stats, frames_stale);
		return HC_MISS;
	}
	enum hc_status status = HC_OK;
	if (frame->model.len > 0)
		status = hc_models_intern(core->models, frame->model, &model);
	if (status != HC_OK)
		return status;
	/* A frame may tell of a clear before its event does. */
	hc_core_raise_epoch(core, model, frame->epoch);
	if (frame->epoch < hc_models_epoch(core->models, model)) {
		hc_stats_count(worker->stats, frames_stale);
		return HC_MISS;
	}
	status = entry_of(worker, key, frame->payload, model, out);
	if (status == HC_OK) {
		hc_entry_set_epoch(*out, frame->epoch);
		hc_entry_set_version(*out, frame->seq);
	}
	return status;
}

enum hc_status
hc_core_entry_from_stored(
    struct hc_core_worker *worker, struct hc_key key, struct hc_slice stored, struct hc_entry **out)
{
	struct hc_frame frame;
	struct hc_entry *entry;
	enum hc_status status;

	switch (hc_frame_decode(stored, &frame)) {
	case HC_FRAME_OK:
		status = entry_from_frame(worker, key, &frame, &entry);
		break;
	case HC_FRAME_RAW:
		status = entry_from_raw(worker, key, stored, &entry);
		break;
	default:
		hc_stats_count(worker->stats, frames_bad);
		return HC_MISS;
	}
	if (status != HC_OK)
		return status;
	if (!hc_outage_empty(worker->core->outage) &&
	    hc_outage_has_model(worker->core->outage, hc_entry_model(entry))) {
		hc_entry_unref(entry);
		return HC_MISS;
	}
	*out = entry;
	return HC_OK;
}

/* ---- the replies ---- */

static bool
is_wrongtype(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "WRONGTYPE", 9) == 0;
}

static void
log_refusal(const redisReply *reply)
{
	static struct hc_log_limit limit;
	struct hc_log_quoted quoted;

	if (reply->type == REDIS_REPLY_ERROR && hc_log_allow(&limit, 1000))
		hc_log(HC_LOG_WARN, "upstream_refused_read", "error=%s",
		    hc_log_quote(&quoted, reply->str, (size_t)reply->len));
}

static enum hc_status ask(struct hc_fetch *fetch);
static void on_pttl(void *arg, enum hc_status status, const redisReply *reply);

static void
on_value(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_fetch *fetch = arg;

	if (status != HC_OK) {
		fetch->status = status;
	} else if (reply->type == REDIS_REPLY_STRING) {
		fetch->status = hc_core_entry_from_stored(
		    fetch->worker, fetch->key, hc_slice(reply->str, (size_t)reply->len), &fetch->entry);
	} else if (reply->type == REDIS_REPLY_NIL) {
		fetch->status = HC_MISS;
	} else if (is_wrongtype(reply)) {
		fetch->status = HC_WRONGTYPE;
	} else {
		log_refusal(reply);
		fetch->status = HC_ERROR;
	}
	if (fetch->half)
		on_pttl(fetch, HC_NOMEM, NULL);
}

/* ---- the other reply ---- */

static enum hc_status
ask_again(struct hc_fetch *fetch)
{
	enum hc_status status = ask(fetch);

	if (status != HC_OK)
		return status;
	hc_entry_unref(fetch->entry);
	fetch->entry = NULL;
	fetch->status = HC_PENDING;
	fetch->sent_ms = fetch->worker->now_ms;
	return HC_OK;
}

static void
on_pttl(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_fetch *fetch = arg;
	int64_t pttl = -2;

	hc_core_tick(fetch->worker);
	if (status == HC_OK && hc_fetch_was_overtaken(fetch)) {
		status = ask_again(fetch);
		if (status == HC_OK)
			return;
		fetch->status = status; /* what has come is from before what it was to see */
	}
	if (status == HC_OK && reply->type == REDIS_REPLY_INTEGER)
		pttl = reply->integer;
	else if (fetch->status == HC_OK)
		fetch->status = status == HC_OK ? HC_ERROR : status;
	if (fetch->status == HC_OK && pttl == -2)
		fetch->status = HC_MISS; /* it went between the two */
	/* Someone who joined after a CLEAR MODEL must not get what came before it. */
	if (fetch->status == HC_OK &&
	    hc_entry_epoch(fetch->entry) != hc_models_epoch(fetch->worker->core->models, hc_entry_model(fetch->entry)))
		fetch->status = HC_MISS;
	if (fetch->status != HC_OK) {
		hc_entry_unref(fetch->entry);
		fetch->entry = NULL;
	}
	if (!hc_fetch_is_answered(fetch->status))
		hc_stats_count(fetch->worker->stats, fills_failed);
	hc_fetch_finish(fetch, pttl);
}

/* ---- asking ---- */

static enum hc_status
ask(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;
	struct hc_slice prefix = worker->core->prefix;
	char small[256], *full = small;

	if (prefix.len + fetch->key.len > sizeof(small)) {
		full = hc_malloc(prefix.len + fetch->key.len);
		if (full == NULL)
			return HC_NOMEM;
	}
	hc_fetch_note_order(fetch);
	memcpy(mempcpy(full, prefix.ptr, prefix.len), fetch->key.ptr, fetch->key.len);
	struct hc_slice name = hc_slice(full, prefix.len + fetch->key.len);
	const struct hc_slice get[] = {HC_SLICE("GET"), name}, pttl[] = {HC_SLICE("PTTL"), name};

	enum hc_status status = hc_core_epochs_first(worker);
	if (status == HC_OK)
		status = hc_link_send(worker->link, get, 2, on_value, fetch);
	if (status == HC_OK)
		fetch->half = hc_link_send(worker->link, pttl, 2, on_pttl, fetch) != HC_OK;
	if (full != small)
		hc_free(full);
	return status;
}

enum hc_status
hc_fetch_from_upstream(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;

	/* A write of this key that waits in the batch must reach the upstream before we ask. */
	if (hc_store_writing(worker->core->store, fetch->key))
		hc_core_batch_flush(worker);
	fetch->tier = HC_TIER_UPSTREAM;
	fetch->sent_ms = worker->now_ms;
	enum hc_status status = ask(fetch);
	if (status == HC_OK)
		hc_stats_count(worker->stats, fills);
	return status;
}
