/*
 * What is read from the file tier.
 *
 *     at once:  index → page cache ─ there → entry                      the worker's thread, one system call
 *     fetch:    index → reader thread → entry → mailbox → finish        when a disk would have to be waited for
 *                                   └ gone meanwhile → memory, once more; the upstream
 */
#include "base/mem.h"
#include "core/fetch.h"

#define TRIES 3 /* of a key that is changed again and again while it is read */

/* ---- at once ---- */

static void
promote(struct hc_core_worker *worker, struct hc_key key, const struct hc_ticket *ticket, struct hc_entry *entry)
{
	enum hc_status status =
	    hc_store_fill_end(worker->core->store, key, ticket, entry, HC_FILL_FILED, worker->now_ms);

	if (status == HC_OK)
		hc_stats_count(worker->stats, file_promoted);
	else
		hc_stats_count(worker->stats, fills_not_kept);
}

static bool
is_in_memory(struct hc_core_worker *worker, struct hc_key key)
{
	struct hc_entry *entry = NULL;
	bool is = hc_store_peek(worker->core->store, key, worker->now_ms, &entry) != HC_MISS;

	hc_entry_unref(entry);
	return is;
}

static struct hc_filed
filed_of(const struct hc_file_value *value, bool suspect)
{
	return (struct hc_filed){
	    .bytes = hc_file_record_bytes(value->key.len, value->value.len),
	    .created_s = value->created_s,
	    .hits = value->hits,
	    .suspect = suspect,
	};
}

enum hc_status
hc_core_read_file(
    struct hc_core_worker *worker, struct hc_key key, unsigned flags, struct hc_entry **entry, struct hc_filed *filed)
{
	struct hc_core *core = worker->core;
	bool quiet = (flags & HC_READ_QUIET) != 0;
	struct hc_ticket ticket;
	struct hc_file_value value;

	if (core->tier == NULL || !hc_tier_has(core->tier, key, worker->now_ms))
		return HC_MISS;
	if (core->fleet != NULL && is_in_memory(worker, key))
		return HC_PENDING; /* suspect there, and no older than what is here */
	bool may_keep = core->settings->memory_enabled && !quiet;
	if (may_keep)
		hc_store_fill_begin(core->store, key, &ticket);
	enum hc_status status = hc_file_read_cached(hc_tier_file(core->tier), hc_slice(key.ptr, key.len), !quiet,
	    worker->file_buffer, HC_FILE_BUFFER_BYTES, &value);
	bool suspect = status == HC_OK && !hc_tier_trusts(core->tier, value.position);
	if (suspect)
		status = hc_core_meet_suspect_file(worker, key, value.position);
	if (status == HC_OK)
		status = hc_tier_entry(core->tier, key, &value, entry);
	if (status == HC_OK)
		*filed = filed_of(&value, suspect);
	/* One that has to be fetched is counted when it has been. */
	unsigned reads = status == HC_OK && !quiet ? hc_tier_count_read(core->tier, key, worker->now_ms) : 0;
	if (may_keep && !suspect && reads >= (unsigned)core->settings->file_promote_hits)
		promote(worker, key, &ticket, *entry);
	return status;
}

/* ---- by a reader thread ---- */

static void on_back(struct hc_message *message, void *receiver);

/* On the reader thread: whatever takes time is done here. */
static void
on_read(struct hc_file_read *read, enum hc_status status, const struct hc_file_value *value)
{
	struct hc_fetch *fetch = (struct hc_fetch *)((char *)read - offsetof(struct hc_fetch, read));
	struct hc_tier *tier = fetch->worker->core->tier;

	if (status == HC_OK) {
		fetch->position = value->position;
		fetch->filed = filed_of(value, false);
		status = hc_tier_entry(tier, fetch->key, value, &fetch->entry);
	}
	fetch->status = status;
	fetch->message.deliver = on_back;
	hc_mailbox_send(fetch->worker->mailbox, &fetch->message);
}

static void
submit(struct hc_fetch *fetch)
{
	fetch->read = (struct hc_file_read){
	    .key = hc_slice(fetch->key.ptr, fetch->key.len),
	    .touch = (fetch->flags & HC_READ_QUIET) == 0,
	    .fn = on_read,
	};
	fetch->worker->file_reads++;
	hc_file_read(hc_tier_file(fetch->worker->core->tier), &fetch->read);
}

enum hc_status
hc_fetch_from_file(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;
	struct hc_tier *tier = worker->core->tier;

	if (!hc_tier_has(tier, fetch->key, worker->now_ms))
		return HC_MISS;
	fetch->tier = HC_TIER_FILE;
	submit(fetch);
	return HC_PENDING;
}

/* It was there, and is not any more: moved to memory, changed, or deleted. */
static bool
look_again(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;
	struct hc_store *store = worker->core->store;
	struct hc_entry *entry = NULL;

	enum hc_status found = hc_store_peek(store, fetch->key, worker->now_ms, &entry);
	if (found == HC_SUSPECT) {
		fetch->suspect = entry;
		return false;
	}
	if (found == HC_OK) {
		fetch->entry = entry;
		fetch->status = HC_OK;
		fetch->in_place = true;
		fetch->tier = HC_TIER_MEMORY;
		return false;
	}
	if (fetch->file_tries++ >= TRIES || !hc_tier_has(worker->core->tier, fetch->key, worker->now_ms))
		return false;
	hc_store_fill_begin(store, fetch->key, &fetch->ticket);
	submit(fetch);
	return true;
}

/* Cleared while it came through the mailbox: who joined after the clear must not get it. */
static bool
was_cleared(const struct hc_fetch *fetch)
{
	const struct hc_core_worker *worker = fetch->worker;
	struct hc_core *core = worker->core;

	if (hc_entry_epoch(fetch->entry) != hc_models_epoch(core->models, hc_entry_model(fetch->entry)))
		return true;
	return hc_store_present_generation(core->store) != fetch->ticket.generation &&
	       !hc_tier_has(core->tier, fetch->key, worker->now_ms);
}

/* What may be out of date goes on to the upstream. */
static void
finish_suspect(struct hc_fetch *fetch)
{
	fetch->suspect = fetch->entry;
	fetch->entry = NULL;
	fetch->suspect_filed = true;
	fetch->status = HC_PENDING;
	hc_stats_count(fetch->worker->stats, suspect_reads);
	if (hc_core_look_upstream(fetch->worker, fetch->key) == HC_PENDING && hc_fetch_revalidate(fetch) == HC_OK)
		return;
	fetch->status = HC_DOWN;
	hc_fetch_finish(fetch, -2);
}

static void
finish_found(struct hc_fetch *fetch)
{
	struct hc_tier *tier = fetch->worker->core->tier;

	if (was_cleared(fetch)) {
		hc_entry_unref(fetch->entry);
		fetch->entry = NULL;
		fetch->status = HC_MISS;
	} else if (!fetch->in_place && !hc_tier_trusts(tier, fetch->position)) {
		finish_suspect(fetch);
		return;
	}
	hc_fetch_finish(fetch, -2);
}

static void
on_back(struct hc_message *message, void *receiver)
{
	struct hc_fetch *fetch = (struct hc_fetch *)((char *)message - offsetof(struct hc_fetch, message));
	struct hc_core_worker *worker = receiver;

	worker->file_reads--;
	hc_core_tick(worker);
	if (fetch->status == HC_OK) {
		if ((fetch->flags & HC_READ_QUIET) == 0)
			fetch->file_hits = hc_tier_count_read(worker->core->tier, fetch->key, worker->now_ms);
		finish_found(fetch);
		return;
	}
	if (look_again(fetch))
		return;
	if (fetch->status == HC_OK) {
		finish_found(fetch);
		return;
	}
	if (worker->core->fleet != NULL && hc_core_look_upstream(worker, fetch->key) == HC_PENDING) {
		fetch->status = HC_PENDING;
		if ((fetch->suspect != NULL ? hc_fetch_revalidate(fetch) : hc_fetch_from_upstream(fetch)) == HC_OK)
			return;
	}
	fetch->tier = HC_TIER_FILE;
	fetch->status = fetch->suspect != NULL ? HC_DOWN : HC_MISS;
	hc_fetch_finish(fetch, -2);
}
