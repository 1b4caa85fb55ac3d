/*
 * Reads: what memory has, and what is fetched for it. One thread: the worker's.
 *
 *     lookup ─ memory hit → entry
 *        └ miss → fetch ─ one is under way, and nothing happened to the key since → wait with it
 *                    └ ticket → file, upstream (fetch.h) → entry → kept if the ticket is good → all waiters
 */
#include "base/mem.h"
#include "core/fetch.h"

bool
hc_core_in_file(struct hc_core_worker *worker, struct hc_key key)
{
	struct hc_core *core = worker->core;

	return core->tier != NULL && hc_tier_has(core->tier, key, worker->now_ms);
}

enum hc_status
hc_core_look_upstream(struct hc_core_worker *worker, struct hc_key key)
{
	struct hc_core *core = worker->core;

	if (core->fleet == NULL)
		return HC_MISS;
	if (!hc_link_is_up(worker->link)) {
		hc_stats_count(worker->stats, reads_while_down);
		return HC_MISS;
	}
	if (hc_fetch_is_of_outage(core, key))
		return HC_MISS;
	return HC_PENDING;
}

/* Memory has dropped it, or what it has is capped: the list of what the upstream is to be told has it still. */
static bool
look_in_outage(struct hc_core_worker *worker, struct hc_key key, struct hc_entry **entry, enum hc_status *status)
{
	struct hc_core *core = worker->core;

	if (core->fleet == NULL || hc_outage_empty(core->outage) ||
	    !hc_outage_find(core->outage, key, worker->now_ms, entry))
		return false;
	/* One that is on its way to the upstream is newer, and not known to be there yet. */
	if (*entry != NULL && hc_store_writing(core->store, key)) {
		hc_entry_unref(*entry);
		*entry = NULL;
	}
	*status = *entry != NULL ? HC_OK : HC_MISS;
	return true;
}

enum hc_status
hc_core_lookup(struct hc_core_worker *worker, struct hc_key key, unsigned flags, struct hc_entry **entry)
{
	struct hc_core *core = worker->core;
	enum hc_status status = HC_MISS;

	if (flags & HC_READ_EXACT_TTL && core->fleet != NULL && hc_core_caps_ttl(core))
		return look_in_outage(worker, key, entry, &status) ? status : hc_core_look_upstream(worker, key);
	if (flags & HC_READ_QUIET)
		status = hc_store_peek(core->store, key, worker->now_ms, entry);
	else
		status = hc_store_get(core->store, key, worker->now_ms, entry);
	if (status == HC_OK)
		return status;
	if (status == HC_SUSPECT)
		return hc_core_meet_suspect(worker, key, entry);
	if (look_in_outage(worker, key, entry, &status))
		return status;
	return hc_core_in_file(worker, key) ? HC_PENDING : hc_core_look_upstream(worker, key);
}

bool
hc_core_loads(const struct hc_core_worker *worker)
{
	return worker->core->tier != NULL && worker->core->fleet == NULL;
}

bool
hc_core_reads_files(const struct hc_core_worker *worker)
{
	return worker->file_reads > 0 || hc_core_loads(worker);
}

bool
hc_core_in_file_only(struct hc_core_worker *worker, struct hc_key key)
{
	struct hc_entry *entry = NULL;

	bool in_memory = hc_store_peek(worker->core->store, key, worker->now_ms, &entry) == HC_OK;
	hc_entry_unref(entry);
	return !in_memory && hc_core_in_file(worker, key);
}

/* ---- those under way ---- */

static struct hc_fetch **
slot_of(struct hc_core_worker *worker, struct hc_key key)
{
	return &worker->fetches[key.hash & (HC_FETCH_SLOTS - 1)];
}

static bool
is_of(const struct hc_fetch *fetch, struct hc_key key)
{
	return fetch->key.hash == key.hash && fetch->key.len == key.len &&
	       memcmp(fetch->key.ptr, key.ptr, key.len) == 0;
}

/* One under way whose answer will be as new as one asked for now. */
static struct hc_fetch *
find_fetch(struct hc_core_worker *worker, struct hc_key key)
{
	for (struct hc_fetch *f = *slot_of(worker, key); f != NULL; f = f->next) {
		if (is_of(f, key) && !f->exact && hc_store_ticket_good(worker->core->store, key, &f->ticket))
			return f;
	}
	return NULL;
}

bool
hc_fetch_would_see(struct hc_core_worker *worker, struct hc_key key)
{
	for (const struct hc_fetch *f = *slot_of(worker, key); f != NULL; f = f->next) {
		if (is_of(f, key) && (f->suspect != NULL || f->behind))
			return true;
	}
	return false;
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

	if (hc_store_peek(store, fetch->key, fetch->worker->now_ms, &kept) == HC_MISS)
		return;
	bool same = mine != NULL && hc_entry_model(mine) == hc_entry_model(kept) &&
		    hc_entry_epoch(mine) == hc_entry_epoch(kept) &&
		    hc_slice_eq(hc_entry_value(mine), hc_entry_value(kept));
	hc_entry_unref(kept);
	if (!same)
		(void)hc_store_invalidate(store, fetch->key, 0);
}

static void
keep_from_upstream(struct hc_fetch *fetch, int64_t pttl)
{
	struct hc_core *core = fetch->worker->core;
	struct hc_entry *entry = fetch->entry;
	bool keepable = entry != NULL && !fetch->exact, answered = hc_fetch_is_answered(fetch->status);
	enum hc_store_fill fill = hc_core_fill(fetch->worker);

	if (!answered || fetch->exact)
		fill = HC_FILL_FAILED; /* what is there stays as it is */
	else if (!keepable)
		fill = HC_FILL_NEW;

	if (entry != NULL) {
		hc_entry_set_expire_ms(entry, fetch->exact && pttl >= 0 ? fetch->sent_ms + pttl
					      : fetch->exact            ? HC_NO_EXPIRY
							     : hc_core_local_expiry(core, pttl, fetch->sent_ms));
	}
	enum hc_status status = hc_store_fill_end(
	    core->store, fetch->key, &fetch->ticket, keepable ? entry : NULL, fill, fetch->worker->now_ms);
	if (status == HC_STALE && answered)
		drop_older_copy(fetch);
	if (entry != NULL && (!keepable || status != HC_OK))
		hc_stats_count(fetch->worker->stats, fills_not_kept);
}

/* What is read once, as by a walk over everything, is not to drive out what memory holds. */
static bool
has_earned_it(const struct hc_fetch *fetch)
{
	const struct hc_core *core = fetch->worker->core;

	if (fetch->entry == NULL || !core->settings->memory_enabled)
		return false;
	return (fetch->flags & HC_READ_KEEP) != 0 || fetch->file_hits >= (unsigned)core->settings->file_promote_hits;
}

static void
keep_from_file(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;

	if (!has_earned_it(fetch))
		return;
	if (hc_store_fill_end(
		worker->core->store, fetch->key, &fetch->ticket, fetch->entry, HC_FILL_FILED, worker->now_ms) == HC_OK)
		hc_stats_count(worker->stats, file_promoted);
	else
		hc_stats_count(worker->stats, fills_not_kept);
}

/* What was suspect is what the upstream has: with the expiry it has there. */
static void
keep_renewed(struct hc_fetch *fetch, int64_t pttl)
{
	struct hc_core *core = fetch->worker->core;
	struct hc_entry *entry = fetch->entry;
	int64_t expire_ms = hc_core_local_expiry(core, pttl, fetch->sent_ms);
	enum hc_store_fill fill = hc_core_fill(fetch->worker);
	enum hc_status status;

	if (fetch->suspect_filed && fill == HC_FILL_DOUBTED) {
		/* It stays where it is: no other is more up to date. */
		status = hc_store_fill_end(
		    core->store, fetch->key, &fetch->ticket, NULL, HC_FILL_FAILED, fetch->worker->now_ms);
	} else if (fetch->suspect_filed) {
		hc_entry_set_expire_ms(entry, expire_ms);
		status = hc_store_fill_end(core->store, fetch->key, &fetch->ticket, entry, fill, fetch->worker->now_ms);
	} else {
		status = hc_store_renew(core->store, fetch->key, &fetch->ticket, entry, expire_ms, fill);
	}
	if (status == HC_STALE)
		drop_older_copy(fetch);
}

static void
keep(struct hc_fetch *fetch, int64_t pttl)
{
	struct hc_core_worker *worker = fetch->worker;

	if (fetch->in_place)
		(void)hc_store_fill_end(
		    worker->core->store, fetch->key, &fetch->ticket, NULL, HC_FILL_FAILED, worker->now_ms);
	else if (fetch->renewed)
		keep_renewed(fetch, pttl);
	else if (fetch->tier == HC_TIER_FILE)
		keep_from_file(fetch);
	else
		keep_from_upstream(fetch, pttl);
}

/* The question was lost, and with it a write that had been sent before: that one is here now. */
static void
find_own(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;
	struct hc_core *core = worker->core;
	struct hc_entry *entry = NULL;
	enum hc_status status = HC_OK;

	if (core->fleet == NULL || !hc_fetch_is_of_outage(core, fetch->key))
		return;
	if (hc_store_peek(core->store, fetch->key, worker->now_ms, &entry) == HC_MISS &&
	    !look_in_outage(worker, fetch->key, &entry, &status))
		return;
	fetch->entry = entry;
	fetch->status = status;
	fetch->in_place = true;
	fetch->tier = HC_TIER_MEMORY;
}

void
hc_fetch_finish(struct hc_fetch *fetch, int64_t pttl)
{
	struct hc_waiter *waiter = fetch->waiters;

	if (!hc_fetch_is_answered(fetch->status))
		hc_fetch_fall_back(fetch);
	if (!hc_fetch_is_answered(fetch->status))
		find_own(fetch);
	keep(fetch, pttl);
	hc_tier_kick(fetch->worker->core->tier);
	/* From here on nobody joins: what a waiter does next may ask for the key anew. */
	unlink_fetch(fetch);
	while (waiter != NULL) {
		struct hc_waiter *next = waiter->next;
		waiter->tier = fetch->tier;
		waiter->filed = fetch->filed;
		waiter->filed.suspect = fetch->stale;
		if (fetch->stale)
			hc_stats_count(fetch->worker->stats, stale_served);
		waiter->fn(waiter, fetch->status, fetch->entry, pttl);
		waiter = next;
	}
	hc_entry_unref(fetch->entry);
	hc_entry_unref(fetch->suspect);
	hc_free(fetch);
}

/* ---- asking ---- */

static struct hc_fetch *
fetch_create(struct hc_core_worker *worker, struct hc_key key)
{
	struct hc_fetch *fetch = hc_malloc(sizeof(*fetch) + key.len);
	if (fetch == NULL)
		return NULL;
	*fetch = (struct hc_fetch){
	    .worker = worker, .status = HC_PENDING, .tier = HC_TIER_UPSTREAM, .sent_ms = worker->now_ms};
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

/* HC_PENDING, or nobody can be asked. */
static enum hc_status
ask(struct hc_fetch *fetch)
{
	struct hc_core_worker *worker = fetch->worker;
	struct hc_core *core = worker->core;

	if (core->fleet != NULL && !fetch->exact && hc_fetch_meets_suspect(fetch)) {
		enum hc_status asked = hc_fetch_revalidate(fetch);
		return asked == HC_OK ? HC_PENDING : asked;
	}
	if (core->tier != NULL && !fetch->exact && hc_fetch_from_file(fetch) == HC_PENDING)
		return HC_PENDING;
	if (core->fleet == NULL)
		return HC_MISS;
	enum hc_status status = hc_fetch_from_upstream(fetch);
	return status == HC_OK ? HC_PENDING : status;
}

enum hc_status
hc_core_fetch(struct hc_core_worker *worker, struct hc_key key, unsigned flags, struct hc_waiter *waiter)
{
	struct hc_store *store = worker->core->store;
	bool exact = (flags & HC_READ_EXACT_TTL) != 0 && worker->core->fleet != NULL && hc_core_caps_ttl(worker->core);
	struct hc_fetch *fetch = exact ? NULL : find_fetch(worker, key);

	if (fetch != NULL) {
		hc_stats_count(worker->stats, fills_coalesced);
		fetch->flags |= flags & HC_READ_KEEP;
		join(fetch, waiter);
		return HC_PENDING;
	}
	fetch = fetch_create(worker, key);
	if (fetch == NULL)
		return HC_NOMEM;
	fetch->exact = exact;
	fetch->flags = flags;
	hc_store_fill_begin(store, key, &fetch->ticket);
	enum hc_status status = ask(fetch);
	if (status != HC_PENDING) {
		hc_entry_unref(fetch->suspect);
		hc_free(fetch);
		return status;
	}
	fetch->next = *slot_of(worker, key);
	*slot_of(worker, key) = fetch;
	fetch->linked = true;
	join(fetch, waiter);
	return HC_PENDING;
}
