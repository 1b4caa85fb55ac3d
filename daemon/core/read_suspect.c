/*
 * Reads of what may be out of date. One thread: the worker's.
 *
 *     upstream up:    GETRANGE key 0 31, PTTL ─ the same frame ─→ it is served, and fresh again
 *                                             └ another, or raw ─→ GET, as for a miss
 *     upstream down, or it does not answer: served as it is, if upstream.stale_if_down says so, for upstream.stale_max
 *
 * The head of a frame tells it all: seq, epoch, length and checksum. The checksum is compared too, since a server that
 * has lost the end of its sequence gives the same numbers again.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "core/fetch.h"
#include "proto/frame.h"

/* ---- met by a look-up ---- */

enum hc_status
hc_core_meet_suspect(struct hc_core_worker *worker, struct hc_key key, struct hc_entry **entry)
{
	struct hc_core *core = worker->core;
	enum hc_status status;

	hc_stats_count(worker->stats, suspect_reads);
	if (hc_fetch_is_of_outage(core, key))
		return HC_OK;
	status = hc_core_look_upstream(worker, key);
	if (status == HC_MISS && hc_doubt_serves_entry(core->doubt, *entry)) {
		hc_stats_count(worker->stats, stale_served);
		return HC_OK;
	}
	hc_entry_unref(*entry);
	*entry = NULL;
	return status;
}

enum hc_status
hc_core_meet_suspect_file(struct hc_core_worker *worker, struct hc_key key, uint64_t position)
{
	struct hc_core *core = worker->core;

	if (hc_core_look_upstream(worker, key) == HC_PENDING)
		return HC_PENDING;
	hc_stats_count(worker->stats, suspect_reads);
	if (!hc_doubt_serves_file(core->doubt, position))
		return HC_PENDING; /* which will say so */
	hc_stats_count(worker->stats, stale_served);
	return HC_OK;
}

/* ---- asked about ---- */

bool
hc_fetch_meets_suspect(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;
	struct hc_entry *entry = NULL;

	if (hc_store_peek(worker->core->store, fetch->key, worker->now_ms, &entry) == HC_SUSPECT) {
		fetch->suspect = entry;
		return true;
	}
	hc_entry_unref(entry);
	return false;
}

/* Whether the upstream has it in a frame, as far as can be told. */
static bool
is_framed(struct hc_core *core, const struct hc_fetch *fetch)
{
	const struct hc_entry *entry = fetch->suspect;
	uint32_t raw_model = HC_MODEL_DEFAULT;

	if (hc_entry_version(entry) == 0 || core->settings->upstream_frame == HC_FRAME_NEVER)
		return false;
	if (core->settings->upstream_frame == HC_FRAME_ALWAYS || hc_entry_model(entry) != HC_MODEL_DEFAULT ||
	    hc_entry_epoch(entry) != 0)
		return true;
	(void)hc_core_model_of_key(core, hc_slice(fetch->key.ptr, fetch->key.len), &raw_model);
	return raw_model != HC_MODEL_DEFAULT;
}

static bool
is_same(const struct hc_fetch *fetch, struct hc_slice head)
{
	struct hc_core *core = fetch->worker->core;
	const struct hc_entry *entry = fetch->suspect;
	struct hc_slice value = hc_entry_value(entry);
	struct hc_frame frame;

	return head.len == HC_FRAME_HEAD && hc_frame_decode_head(head, &frame) == HC_FRAME_OK &&
	       frame.incarnation == atomic_load(&core->incarnation) && frame.seq == hc_entry_version(entry) &&
	       frame.epoch == hc_entry_epoch(entry) && frame.raw_len == value.len && frame.checksum != 0 &&
	       frame.checksum == hc_checksum(value.ptr, value.len);
}

static void
finish_renewed(struct hc_fetch *fetch, int64_t pttl)
{
	fetch->entry = fetch->suspect;
	fetch->suspect = NULL;
	fetch->renewed = true;
	fetch->status = HC_OK;
	fetch->tier = fetch->suspect_filed ? HC_TIER_FILE : HC_TIER_MEMORY;
	hc_stats_count(fetch->worker->stats, suspect_renewed);
	hc_fetch_finish(fetch, pttl);
}

/* It is another: nobody is to get it any more. */
static void
fetch_instead(struct hc_fetch *fetch)
{
	hc_entry_unref(fetch->suspect);
	fetch->suspect = NULL;
	fetch->suspect_filed = false;
	enum hc_status status = hc_fetch_from_upstream(fetch);
	if (status == HC_OK)
		return;
	fetch->status = status;
	hc_fetch_finish(fetch, -2);
}

static void
on_pttl(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_fetch *fetch = arg;
	const struct hc_models *models = fetch->worker->core->models;

	hc_core_tick(fetch->worker);
	if (status != HC_OK) {
		fetch->status = status;
		hc_stats_count(fetch->worker->stats, fills_failed);
		hc_fetch_finish(fetch, -2);
	} else if (fetch->is_same && reply->type == REDIS_REPLY_INTEGER && reply->integer >= -1 &&
		   !hc_fetch_was_overtaken(fetch) &&
		   hc_entry_epoch(fetch->suspect) == hc_models_epoch(models, hc_entry_model(fetch->suspect))) {
		finish_renewed(fetch, reply->integer);
	} else {
		fetch_instead(fetch);
	}
}

static void
on_head(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_fetch *fetch = arg;

	fetch->is_same = status == HC_OK && reply->type == REDIS_REPLY_STRING &&
			 is_same(fetch, hc_slice(reply->str, (size_t)reply->len));
	if (fetch->half)
		on_pttl(fetch, HC_NOMEM, NULL);
}

static enum hc_status
ask(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;
	struct hc_slice prefix = worker->core->prefix;
	size_t len = prefix.len + fetch->key.len;
	char *name = hc_malloc(len);

	if (name == NULL)
		return HC_NOMEM;
	memcpy(mempcpy(name, prefix.ptr, prefix.len), fetch->key.ptr, fetch->key.len);
	const struct hc_slice head[] = {HC_SLICE("GETRANGE"), hc_slice(name, len), HC_SLICE("0"), HC_SLICE("31")};
	const struct hc_slice pttl[] = {HC_SLICE("PTTL"), hc_slice(name, len)};
	hc_fetch_note_order(fetch);
	enum hc_status status = hc_core_epochs_first(worker);
	if (status == HC_OK)
		status = hc_link_send(worker->link, head, 4, on_head, fetch);
	if (status == HC_OK)
		fetch->half = hc_link_send(worker->link, pttl, 2, on_pttl, fetch) != HC_OK;
	hc_free(name);
	return status;
}

enum hc_status
hc_fetch_revalidate(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;

	if (!is_framed(worker->core, fetch))
		return hc_fetch_from_upstream(fetch);
	if (hc_store_writing(worker->core->store, fetch->key))
		hc_core_batch_flush(worker);
	fetch->tier = HC_TIER_UPSTREAM;
	fetch->sent_ms = worker->now_ms;
	return ask(fetch);
}

/* ---- no answer ---- */

/* Whether it is what there is still; else something has happened to the key meanwhile, which came after the question.
 */
static bool
is_there_still(const struct hc_fetch *fetch)
{
	const struct hc_core_worker *worker = fetch->worker;
	struct hc_core *core = worker->core;
	struct hc_entry *entry = NULL;

	enum hc_status status = hc_store_peek(core->store, fetch->key, worker->now_ms, &entry);
	hc_entry_unref(entry);
	if (!fetch->suspect_filed)
		return entry == fetch->suspect;
	return status == HC_MISS && hc_tier_lies_at(core->tier, fetch->key, worker->now_ms, fetch->position);
}

static bool
may_be_served(const struct hc_fetch *fetch)
{
	struct hc_doubt *doubt = fetch->worker->core->doubt;

	return fetch->suspect_filed ? hc_doubt_serves_file(doubt, fetch->position)
				    : hc_doubt_serves_entry(doubt, fetch->suspect);
}

void
hc_fetch_fall_back(struct hc_fetch *fetch)
{
	bool own;

	if (fetch->suspect == NULL || !is_there_still(fetch))
		return;
	own = hc_fetch_is_of_outage(fetch->worker->core, fetch->key);
	if (!own && !may_be_served(fetch))
		return;
	fetch->entry = fetch->suspect;
	fetch->suspect = NULL;
	fetch->in_place = true;
	fetch->stale = !own;
	fetch->status = HC_OK;
	fetch->tier = fetch->suspect_filed ? HC_TIER_FILE : HC_TIER_MEMORY;
}
