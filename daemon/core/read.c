/*
 * Reads: what memory has, and what is fetched for it. One thread: the worker's.
 *
 *     lookup ─ memory hit → entry
 *        └ miss → fetch ─ one is under way, and nothing happened to the key since → wait with it
 *                    └ ticket, GET + PTTL in one write → replies → entry → kept if the ticket is good → all waiters
 *
 * GET and PTTL are two commands: should someone write between them, that write's event comes, and with it the ticket
 * goes bad or the copy goes, so that a value is never kept with another's expiry.
 */
#include <inttypes.h>
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/internal.h"
#include "proto/frame.h"

struct hc_fetch {
	struct hc_core_worker *worker;
	struct hc_fetch *next; /* in its slot */
	struct hc_key key;     /* bytes are behind this struct */
	struct hc_ticket ticket;
	struct hc_waiter *waiters, **waiters_end;
	struct hc_entry *entry;
	enum hc_status status; /* HC_PENDING until GET is answered */
	int64_t sent_ms;
	bool exact; /* asked for the key's own expiry: shared with nobody, not kept */
	bool linked;
	bool half;          /* PTTL could not be sent: GET's answer ends it */
	bool overtaken;     /* a write was held when it was sent: it came before that */
	uint32_t noscripts; /* the worker's, when it was sent */
};

enum hc_status
hc_core_lookup(struct hc_core_worker *worker, struct hc_key key, unsigned flags, struct hc_entry **entry)
{
	struct hc_core *core = worker->core;
	enum hc_status status = HC_MISS;

	if (flags & HC_READ_EXACT_TTL && core->fleet != NULL && hc_core_caps_ttl(core))
		status = HC_MISS;
	else if (flags & HC_READ_QUIET)
		status = hc_store_peek(core->store, key, worker->now_ms, entry);
	else
		status = hc_store_get(core->store, key, worker->now_ms, entry);
	if (status == HC_OK || core->fleet == NULL)
		return status;
	if (!hc_link_is_up(worker->link)) {
		hc_stats_count(worker->stats, reads_while_down);
		return HC_MISS;
	}
	if (!hc_outage_empty(core->outage) && hc_outage_has_key(core->outage, key))
		return HC_MISS;
	return HC_PENDING;
}

static struct hc_fetch **
slot_of(struct hc_core_worker *worker, struct hc_key key)
{
	return &worker->fetches[key.hash & (HC_FETCH_SLOTS - 1)];
}

/* One under way whose answer will be as new as one asked for now. */
static struct hc_fetch *
find_fetch(struct hc_core_worker *worker, struct hc_key key)
{
	for (struct hc_fetch *f = *slot_of(worker, key); f != NULL; f = f->next) {
		if (f->key.hash == key.hash && f->key.len == key.len && memcmp(f->key.ptr, key.ptr, key.len) == 0 &&
		    !f->exact && hc_store_ticket_good(worker->core->store, key, &f->ticket))
			return f;
	}
	return NULL;
}

static void
unlink_fetch(struct hc_fetch *fetch)
{
	struct hc_fetch **at = slot_of(fetch->worker, fetch->key);

	if (!fetch->linked)
		return;
	while (*at != fetch)
		at = &(*at)->next;
	*at = fetch->next;
	fetch->linked = false;
}

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
	hc_models_raise(core->models, model, frame->epoch);
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

/*
 * It came too late to be kept, and what is kept may be older than what it is about to answer: who has seen that must
 * not be shown the copy. The same again is no older, and stays: workers that fetch side by side would drop each other's
 * copies without end.
 */
static void
drop_older_copy(struct hc_fetch *fetch)
{
	struct hc_store *store = fetch->worker->core->store;
	const struct hc_entry *mine = fetch->entry;
	struct hc_entry *kept;

	if (hc_store_peek(store, fetch->key, fetch->worker->now_ms, &kept) != HC_OK)
		return;
	bool same = mine != NULL && hc_entry_model(mine) == hc_entry_model(kept) &&
		    hc_entry_epoch(mine) == hc_entry_epoch(kept) &&
		    hc_slice_eq(hc_entry_value(mine), hc_entry_value(kept));
	hc_entry_unref(kept);
	if (!same)
		hc_store_invalidate(store, fetch->key, 0);
}

/* Whether the upstream has said what there is. */
static bool
is_answered(enum hc_status status)
{
	return status == HC_OK || status == HC_MISS || status == HC_WRONGTYPE;
}

static void
keep(struct hc_fetch *fetch, int64_t pttl)
{
	struct hc_core *core = fetch->worker->core;
	struct hc_entry *entry = fetch->entry;
	bool keepable = entry != NULL && !fetch->exact && atomic_load(&core->coherent);

	if (entry != NULL) {
		hc_entry_set_expire_ms(entry, fetch->exact && pttl >= 0 ? fetch->sent_ms + pttl
					      : fetch->exact            ? HC_NO_EXPIRY
							     : hc_core_local_expiry(core, pttl, fetch->sent_ms));
	}
	enum hc_status status =
	    hc_store_fill_end(core->store, fetch->key, &fetch->ticket, keepable ? entry : NULL, fetch->worker->now_ms);
	if (status == HC_STALE && is_answered(fetch->status))
		drop_older_copy(fetch);
	if (entry != NULL && (!keepable || status != HC_OK))
		hc_stats_count(fetch->worker->stats, fills_not_kept);
}

static void
finish(struct hc_fetch *fetch, int64_t pttl)
{
	struct hc_waiter *waiter = fetch->waiters;

	keep(fetch, pttl);
	/* From here on nobody joins: what a waiter does next may ask for the key anew. */
	unlink_fetch(fetch);
	while (waiter != NULL) {
		struct hc_waiter *next = waiter->next;
		waiter->fn(waiter, fetch->status, fetch->entry, pttl);
		waiter = next;
	}
	hc_entry_unref(fetch->entry);
	hc_free(fetch);
}

static enum hc_status send_fetch(struct hc_fetch *fetch);

/* Writes that went before it had to be sent again: it has seen what was before them. */
static bool
was_overtaken(const struct hc_fetch *fetch)
{
	return fetch->overtaken || fetch->noscripts != fetch->worker->noscripts;
}

static enum hc_status
ask_again(struct hc_fetch *fetch)
{
	enum hc_status status = send_fetch(fetch);

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
	if (status == HC_OK && was_overtaken(fetch) && ask_again(fetch) == HC_OK)
		return;
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
	if (!is_answered(fetch->status))
		hc_stats_count(fetch->worker->stats, fills_failed);
	finish(fetch, pttl);
}

/* ---- asking ---- */

static enum hc_status
send_fetch(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;
	struct hc_slice prefix = worker->core->prefix;
	char small[256], *full = small;

	if (prefix.len + fetch->key.len > sizeof(small)) {
		full = hc_malloc(prefix.len + fetch->key.len);
		if (full == NULL)
			return HC_NOMEM;
	}
	fetch->overtaken = worker->batch_held;
	fetch->noscripts = worker->noscripts;
	memcpy(mempcpy(full, prefix.ptr, prefix.len), fetch->key.ptr, fetch->key.len);
	struct hc_slice name = hc_slice(full, prefix.len + fetch->key.len);
	const struct hc_slice get[] = {HC_SLICE("GET"), name}, pttl[] = {HC_SLICE("PTTL"), name};

	enum hc_status status = hc_link_send(worker->link, get, 2, on_value, fetch);
	if (status == HC_OK)
		fetch->half = hc_link_send(worker->link, pttl, 2, on_pttl, fetch) != HC_OK;
	if (full != small)
		hc_free(full);
	return status;
}

static struct hc_fetch *
fetch_create(struct hc_core_worker *worker, struct hc_key key)
{
	struct hc_fetch *fetch = hc_malloc(sizeof(*fetch) + key.len);
	if (fetch == NULL)
		return NULL;
	*fetch = (struct hc_fetch){.worker = worker, .status = HC_PENDING, .sent_ms = worker->now_ms};
	fetch->waiters_end = &fetch->waiters;
	memcpy(fetch + 1, key.ptr, key.len);
	fetch->key = (struct hc_key){(const char *)(fetch + 1), key.len, key.hash};
	return fetch;
}

static void
join(struct hc_fetch *fetch, struct hc_waiter *waiter)
{
	waiter->next = NULL;
	*fetch->waiters_end = waiter;
	fetch->waiters_end = &waiter->next;
}

enum hc_status
hc_core_fetch(struct hc_core_worker *worker, struct hc_key key, unsigned flags, struct hc_waiter *waiter)
{
	struct hc_store *store = worker->core->store;
	bool exact = (flags & HC_READ_EXACT_TTL) != 0 && hc_core_caps_ttl(worker->core);
	struct hc_fetch *fetch = exact ? NULL : find_fetch(worker, key);

	if (fetch != NULL) {
		hc_stats_count(worker->stats, fills_coalesced);
		join(fetch, waiter);
		return HC_PENDING;
	}
	fetch = fetch_create(worker, key);
	if (fetch == NULL)
		return HC_NOMEM;
	fetch->exact = exact;
	hc_store_fill_begin(store, key, &fetch->ticket);
	/* A write of this key that waits in the batch must reach the upstream before we ask. */
	if (hc_store_writing(store, key))
		hc_core_batch_flush(worker);
	enum hc_status status = send_fetch(fetch);
	if (status != HC_OK) {
		hc_free(fetch);
		return status;
	}
	hc_stats_count(worker->stats, fills);
	fetch->next = *slot_of(worker, key);
	*slot_of(worker, key) = fetch;
	fetch->linked = true;
	join(fetch, waiter);
	return HC_PENDING;
}
