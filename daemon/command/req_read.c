/*
 * Reads of a request: from memory, then from files as far as that needs no waiting, then whatever has to be fetched.
 * One thread: the session's worker. Entries found are the request's until it ends.
 */
#include <stddef.h>
#include "base/num.h"
#include "command/run.h"

static void
count_read(struct hc_req *req, enum hc_status status, enum hc_tier_name tier)
{
	if (req->read_flags & HC_REQ_COUNT)
		hc_req_count_read(req, status == HC_OK, tier);
}

void
hc_req_count_read(struct hc_req *req, bool found, enum hc_tier_name tier)
{
	struct hc_stats *stats = req->worker->stats;

	if (!found)
		hc_stats_count(stats, misses);
	else if (tier == HC_TIER_MEMORY)
		hc_stats_count(stats, memory_hits);
	else if (tier == HC_TIER_FILE)
		hc_stats_count(stats, file_hits);
	else
		hc_stats_count(stats, upstream_hits);
}

static void
on_fetched(struct hc_waiter *waiter, enum hc_status status, struct hc_entry *entry, int64_t pttl)
{
	struct hc_req *req = waiter->arg;
	struct hc_req_value *value = (struct hc_req_value *)((char *)waiter - offsetof(struct hc_req_value, waiter));

	if (status == HC_OK) {
		hc_entry_ref(entry);
		value->entry = entry;
	}
	value->pttl = pttl;
	value->tier = waiter->tier;
	value->filed = waiter->filed;
	value->status = status == HC_OK || status == HC_WRONGTYPE ? status : HC_MISS;
	count_read(req, value->status, waiter->tier);
	hc_req_resume(req);
}

/* Has what memory did not have fetched; `req` is parked. */
static void
fetch_missing(struct hc_req *req, const struct hc_slice *keys, size_t stride)
{
	req->waiting++; /* not before all have been asked for */
	for (size_t i = 0; i < req->n_values; i++) {
		struct hc_req_value *value = &req->values[i];
		if (value->status != HC_PENDING)
			continue;
		value->waiter = (struct hc_waiter){.fn = on_fetched, .arg = req};
		req->waiting++;
		if (hc_core_fetch(req->worker->core, hc_key(keys[i * stride]), req->read_flags, &value->waiter) !=
		    HC_PENDING) {
			req->waiting--;
			value->status = HC_MISS;
			count_read(req, HC_MISS, HC_TIER_UPSTREAM);
		}
	}
	hc_req_resume(req);
}

struct hc_key
hc_req_key(const struct hc_req *req)
{
	struct hc_slice key = req->argv[req->command->first_key];

	return (struct hc_key){key.ptr, key.len, req->hash};
}

/* Looks keys up, from the `at`-th on; returns whether one has to be fetched. */
static bool
look_up(struct hc_req *req, const struct hc_key *keys, size_t at, size_t n)
{
	bool pending = false;

	for (size_t i = 0; i < n; i++) {
		struct hc_req_value *value = &req->values[at + i];
		value->entry = NULL;
		value->pttl = -2;
		value->tier = HC_TIER_MEMORY;
		value->status = hc_core_lookup(req->worker->core, keys[i], req->read_flags, &value->entry);
		if (value->status == HC_PENDING)
			pending = true;
		else
			count_read(req, value->status, HC_TIER_MEMORY);
	}
	return pending;
}

/* What can be had from files without waiting; returns whether there is more that has to be fetched. */
static bool
look_in_files(struct hc_req *req, const struct hc_slice *keys, size_t stride)
{
	bool pending = false;

	for (size_t i = 0; i < req->n_values; i++) {
		struct hc_req_value *value = &req->values[i];
		if (value->status != HC_PENDING)
			continue;
		if (hc_core_read_file(req->worker->core, hc_key(keys[i * stride]), req->read_flags, &value->entry,
			&value->filed) != HC_OK) {
			pending = true;
			continue;
		}
		value->status = HC_OK;
		value->tier = HC_TIER_FILE;
		count_read(req, HC_OK, HC_TIER_FILE);
	}
	return pending;
}

/* All of them, some at a time. */
static bool
look_all_up(struct hc_req *req, const struct hc_slice *slices, size_t stride)
{
	struct hc_key keys[HC_CALLS_MAX];
	bool pending = false;

	if (req->n_values == 1) {
		keys[0] = slices == &req->argv[req->command->first_key] ? hc_req_key(req) : hc_key(slices[0]);
		return look_up(req, keys, 0, 1);
	}
	for (size_t at = 0, n; at < req->n_values; at += n) {
		n = req->n_values - at < HC_CALLS_MAX ? req->n_values - at : HC_CALLS_MAX;
		for (size_t i = 0; i < n; i++)
			keys[i] = hc_key(slices[(at + i) * stride]);
		hc_store_prefetch(hc_core_store(req->worker->shared->core), keys, n);
		pending |= look_up(req, keys, at, n);
	}
	return pending;
}

/* Several keys of an embedded daemon are read at one moment, as Redis does; EXEC has the store to itself already. */
static bool
wants_one_moment(const struct hc_req *req)
{
	const struct hc_command_shared *shared = req->worker->shared;

	return req->n_values > 1 && req->parent == NULL && shared->settings->server_workers > 1 &&
	       !hc_core_is_fleet(shared->core);
}

void
hc_req_read(struct hc_req *req, const struct hc_slice *keys, size_t n, size_t stride, unsigned flags, hc_req_fn *done)
{
	struct hc_store *store = hc_core_store(req->worker->shared->core);

	if (req->session->no_touch && !hc_slice_is(hc_slice_str(req->command->name), "touch"))
		flags |= HC_READ_QUIET;
	req->values = &req->inline_value;
	if (n > 1 && hc_run_names_too_many(req, n))
		return;
	if (n > 1)
		req->values = hc_run_alloc(req, n * sizeof(*req->values));
	if (req->values == NULL)
		return;
	req->n_values = n;
	req->read_flags = flags;
	req->done = done;
	bool together = wants_one_moment(req);
	if (together)
		hc_store_exclusive_begin(store);
	bool pending = look_all_up(req, keys, stride);
	if (together)
		hc_store_exclusive_end(store);
	if (pending)
		pending = look_in_files(req, keys, stride);
	if (!pending) {
		done(req);
		return;
	}
	size_t first = (size_t)(keys - req->argv);
	req = hc_req_park(req);
	if (req != NULL)
		fetch_missing(req, req->argv + first, stride);
}
