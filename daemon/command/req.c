/*
 * Requests: how they wait, and how their replies get into order. One thread: the session's worker. The way of a request
 * is drawn in req.h.
 *
 * Who holds a request: the worker its scratch one; a session its pending ones, until hc_command_abandon(); and
 * whatever it waits for a pointer to it, so that it lives until the last answer has come, session or not.
 */
#include "command/req.h"

#include <assert.h>
#include <stddef.h>
#include "base/mem.h"
#include "base/num.h"
#include "command/load.h"
#include "command/multi.h"
#include "command/run.h"

struct hc_block {
	struct hc_block *next;
	max_align_t memory[];
};

static bool
is_abandoned(const struct hc_req *req)
{
	return req->session == NULL || (req->parent != NULL && req->parent->session == NULL);
}

/* hc_req_alloc(), but not zeroed. */
static void *
alloc(struct hc_req *req, size_t size)
{
	struct hc_block *block = size > SIZE_MAX / 2 ? NULL : hc_malloc(sizeof(*block) + size);
	if (block == NULL) {
		hc_reply_nomem(req);
		return NULL;
	}
	block->next = req->blocks;
	req->blocks = block;
	return block->memory;
}

void *
hc_req_alloc(struct hc_req *req, size_t size)
{
	void *memory = alloc(req, size);

	return memory != NULL ? memset(memory, 0, size) : NULL;
}

static void
release(struct hc_req *req)
{
	if (req->data_fini != NULL)
		req->data_fini(req);
	req->data_fini = NULL;
	for (size_t i = 0; i < req->n_values; i++)
		hc_entry_unref(req->values[i].entry);
	req->n_values = 0;
	if (req->n_ops > 0) {
		req->group.ops = req->ops;
		req->group.n = req->n_ops;
		hc_op_group_fini(&req->group);
		req->n_ops = 0;
	}
	while (req->blocks != NULL) {
		struct hc_block *next = req->blocks->next;
		hc_free(req->blocks);
		req->blocks = next;
	}
}

/* ---- the pending ones of a session ---- */

static bool
is_alone(const struct hc_req *req)
{
	return req->alone || !(req->command->flags & HC_CMD_PIPE);
}

static void
pending_append(struct hc_session *session, struct hc_req *req)
{
	req->next = NULL;
	req->prev = session->pending_tail;
	if (session->pending_tail != NULL)
		session->pending_tail->next = req;
	else
		session->pending_head = req;
	session->pending_tail = req;
	session->n_pending++;
	session->parked_bytes += req->arg_bytes;
	if (is_alone(req))
		session->barrier = true;
}

static void
pending_drop_head(struct hc_session *session)
{
	struct hc_req *req = session->pending_head;

	session->pending_head = req->next;
	if (req->next != NULL)
		req->next->prev = NULL;
	else
		session->pending_tail = NULL;
	session->n_pending--;
	session->parked_bytes -= req->arg_bytes;
	if (is_alone(req))
		session->barrier = false;
}

/* Moves the replies that are next in order to where they are sent from. */
static void
drain(struct hc_session *session, struct hc_command_worker *worker)
{
	bool any = false;

	while (session->pending_head != NULL && session->pending_head->complete) {
		struct hc_req *req = session->pending_head;
		session->pending_bytes -= req->own_out.bytes;
		if (req->silent)
			hc_out_fini(&req->own_out);
		else
			hc_out_splice(&session->out, &req->own_out);
		pending_drop_head(session);
		hc_free(req);
		any = true;
	}
	if (any || session->pending_bytes > 0)
		worker->ready(session);
}

static void
finish(struct hc_req *req)
{
	struct hc_session *session = req->session;
	struct hc_req *parent = req->parent;

	if (req->failed)
		hc_tally_add(&hc_command_counts(req->worker, req->command)->failed, 1);
	release(req);
	if (!req->parked)
		return;
	if (parent != NULL) {
		hc_free(req);
		hc_multi_child_ended(parent);
		return;
	}
	if (session == NULL) {
		hc_out_fini(&req->own_out);
		hc_free(req);
		return;
	}
	hc_slow_waited(req, req->since_us);
	req->complete = true;
	session->pending_bytes += req->own_out.bytes;
	drain(session, req->worker);
}

void
hc_run_end(struct hc_req *req)
{
	finish(req);
}

void
hc_command_abandon(struct hc_command_worker *worker, struct hc_session *session)
{
	(void)worker;
	while (session->pending_head != NULL) {
		struct hc_req *req = session->pending_head;
		pending_drop_head(session);
		req->session = NULL;
		if (req->complete) {
			hc_out_fini(&req->own_out);
			hc_free(req);
		}
	}
	session->pending_bytes = 0;
}

/* ---- running ---- */

void
hc_run_begin(struct hc_req *req, struct hc_command_worker *worker, struct hc_session *session,
    const struct hc_call *call, struct hc_out *out)
{
	req->worker = worker;
	req->session = session;
	req->command = call->command;
	req->argv = call->argv;
	req->argc = call->argc;
	req->hash = call->hash;
	req->resp = session->resp;
	req->out = out;
	req->n_values = req->n_ops = req->waiting = 0;
	req->data = NULL;
	req->data_fini = NULL;
	req->number = 0;
	req->done = NULL;
	req->parked = req->busy = req->complete = req->alone = false;
	req->load = NULL;
	req->failed = false;
	req->silent = false;
	req->parent = NULL;
	req->blocks = NULL;
	req->moved_to = NULL;
}

void
hc_req_speak(struct hc_req *req)
{
	req->silent = false;
	if (!req->parked)
		req->out = &req->session->out;
}

void
hc_req_hush(struct hc_req *req)
{
	if (req->parent != NULL)
		hc_reply_ok(req);
	else
		hc_run_hush(req);
}

void
hc_run_hush(struct hc_req *req)
{
	req->silent = true;
	if (!req->parked)
		req->out = &req->worker->nowhere;
}

void
hc_run_handler(struct hc_req *req)
{
	/* `busy` keeps the request from ending under its handler, even when all it waited for is there already. */
	req->busy = true;
	hc_tally_add(&hc_command_counts(req->worker, req->command)->calls, 1);
	req->command->fn(req);
	if (req->moved_to != NULL)
		req = req->moved_to;
	req->busy = false;
	if (req->waiting == 0)
		finish(req);
}

bool
hc_run_child(struct hc_req *parent, const struct hc_command *command, const struct hc_slice *argv, uint32_t argc)
{
	struct hc_req *req = hc_malloc(sizeof(*req));
	if (req == NULL)
		return false;
	if (parent->session == NULL) { /* the client is gone: so are its commands */
		hc_free(req);
		hc_multi_child_ended(parent);
		return true;
	}
	struct hc_call call = {.argv = argv, .argc = argc, .command = command};
	if (hc_call_has_key(&call))
		call.hash = hc_key(argv[command->first_key]).hash;
	hc_run_begin(req, parent->worker, parent->session, &call, parent->out);
	req->parked = true;
	req->parent = parent;
	hc_run_handler(req);
	return true;
}

struct hc_req *
hc_req_park(struct hc_req *req)
{
	size_t bytes = 0;

	if (req->parked)
		return req;
	assert(req->n_ops == 0 && req->waiting == 0);
	for (uint32_t i = 0; i < req->argc; i++)
		bytes += req->argv[i].len;
	struct hc_req *parked = hc_malloc(sizeof(*parked) + req->argc * sizeof(struct hc_slice) + bytes);
	if (parked == NULL) {
		hc_reply_nomem(req);
		return NULL;
	}
	*parked = *req;
	struct hc_slice *argv = (struct hc_slice *)(parked + 1);
	char *at = (char *)(argv + req->argc);
	for (uint32_t i = 0; i < req->argc; i++) {
		argv[i] = hc_slice(at, req->argv[i].len);
		at = mempcpy(at, req->argv[i].ptr, req->argv[i].len);
	}
	parked->argv = argv;
	parked->arg_bytes = bytes;
	parked->since_us = hc_slow_since(req->worker);
	parked->parked = true;
	if (req->values == &req->inline_value)
		parked->values = &parked->inline_value;
	hc_out_init(&parked->own_out, req->out->pool);
	parked->own_out.max_bytes = req->out->max_bytes;
	parked->out = &parked->own_out;
	pending_append(parked->session, parked);
	/* What it holds is the parked one's now; the handler that is running owns that one. */
	req->n_values = 0;
	req->blocks = NULL;
	req->data_fini = NULL;
	req->moved_to = parked;
	return parked;
}

void
hc_req_wait(struct hc_req *req, hc_req_fn *done)
{
	assert(req->parked);
	req->done = done;
	req->waiting++;
}

void
hc_req_resume(struct hc_req *req)
{
	assert(req->waiting > 0);
	if (--req->waiting > 0)
		return;
	if (!is_abandoned(req))
		req->done(req);
	if (req->waiting == 0 && !req->busy)
		finish(req);
}

/* ---- reads ---- */

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

/* One client's command must not keep the upstream from answering all others; true after replying so. */
static bool
names_too_many(struct hc_req *req, size_t n)
{
	const struct hc_command_shared *shared = req->worker->shared;
	int64_t max = shared->settings->upstream_keys_max;

	if (n <= (size_t)max || !hc_core_is_fleet(shared->core))
		return false;
	hc_reply_errorf(req, "ERR no more than %lld keys at a time (upstream.keys_max)", (long long)max);
	return true;
}

void
hc_req_read(struct hc_req *req, const struct hc_slice *keys, size_t n, size_t stride, unsigned flags, hc_req_fn *done)
{
	struct hc_store *store = hc_core_store(req->worker->shared->core);

	if (req->session->no_touch && !hc_slice_is(hc_slice_str(req->command->name), "touch"))
		flags |= HC_READ_QUIET;
	req->values = &req->inline_value;
	if (n > 1 && names_too_many(req, n))
		return;
	if (n > 1)
		req->values = alloc(req, n * sizeof(*req->values));
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

/* ---- writes ---- */

struct hc_op *
hc_req_ops(struct hc_req *req, size_t n)
{
	req->ops = &req->inline_op;
	if (n > 1 && names_too_many(req, n))
		return NULL;
	if (n > 1)
		req->ops = hc_req_alloc(req, n * sizeof(*req->ops));
	if (req->ops == NULL)
		return NULL;
	if (n == 1)
		req->inline_op = (struct hc_op){0};
	req->n_ops = n;
	return req->ops;
}

static void
on_written(void *arg)
{
	struct hc_req *req = arg;

	/* What was queued for the upstream instead must be in the file first. */
	if (req->session != NULL)
		req->session->logged_at = hc_core_log_mark(req->worker->core);
	hc_req_resume(req);
}

static void
write_by(struct hc_req *req, hc_req_fn *done,
    enum hc_status (*write)(struct hc_core_worker *worker, struct hc_op_group *group))
{
	req->group = (struct hc_op_group){.ops = req->ops, .n = req->n_ops, .done = on_written, .arg = req};
	req->done = done;
	req->waiting++;
	if (write(req->worker->core, &req->group) == HC_PENDING) {
		assert(req->parked); /* WRITE rows are, in a fleet */
		return;
	}
	req->waiting--;
	if (req->session != NULL)
		req->session->logged_at = hc_core_log_mark(req->worker->core);
	done(req);
}

void
hc_req_write(struct hc_req *req, hc_req_fn *done)
{
	if (!hc_load_for_ops(req))
		write_by(req, done, hc_core_write);
}

void
hc_req_flush(struct hc_req *req, hc_req_fn *done)
{
	write_by(req, done, hc_core_flush);
}

bool
hc_req_op_failed(struct hc_req *req, const struct hc_op *op)
{
	switch (op->status) {
	case HC_OK:
	case HC_MISS:
	case HC_UNCHANGED:
		return false;
	case HC_DOWN:
	case HC_TIMEOUT:
		hc_reply_error(req,
		    "UPSTREAMDOWN the upstream cannot be asked, and this write cannot be decided without it "
		    "(upstream.writes_when_down)");
		return true;
	case HC_LIMIT:
		if (hc_core_is_fleet(req->worker->shared->core))
			hc_reply_error(req, "UPSTREAMDOWN too many writes are queued for it (upstream.queue_max, "
					    "upstream.queue_bytes)");
		else
			hc_reply_error(
			    req, "OOM the value is larger than an eighth of the memory tier (memory.max_bytes)");
		return true;
	case HC_INVALID:
		hc_reply_error(req, "ERR the key is one of the fleet's own");
		return true;
	case HC_WRONGTYPE:
		hc_reply_wrongtype(req);
		return true;
	case HC_ERROR:
		hc_reply_error(req, op->error != NULL ? op->error : "ERR the upstream failed");
		return true;
	default:
		hc_reply_nomem(req);
		return true;
	}
}

/* ---- arguments ---- */

bool
hc_req_model_named(struct hc_req *req, struct hc_slice name, uint32_t *model)
{
	switch (hc_models_intern(hc_core_models(req->worker->shared->core), name, model)) {
	case HC_OK:
		return true;
	case HC_INVALID:
		hc_reply_errorf(req, "ERR a model's name has 1 to %d bytes", HC_MODEL_NAME_MAX);
		return false;
	case HC_LIMIT:
		hc_reply_error(req, "ERR too many models (model.max)");
		return false;
	default:
		hc_reply_nomem(req);
		return false;
	}
}

bool
hc_req_model_of(struct hc_req *req, struct hc_slice key, uint32_t *model)
{
	if (req->session->model != HC_SESSION_NO_MODEL) {
		*model = req->session->model;
		return true;
	}
	if (hc_core_model_of_key(req->worker->shared->core, key, model) == HC_OK)
		return true;
	hc_reply_error(req, "ERR too many models (model.max)");
	return false;
}

bool
hc_req_arg_is(const struct hc_req *req, uint32_t i, const char *word)
{
	return i < req->argc && hc_slice_is(req->argv[i], word);
}

bool
hc_req_arg_int(struct hc_req *req, uint32_t i, int64_t *out)
{
	if (hc_num_i64(req->argv[i], out))
		return true;
	hc_reply_error(req, "ERR value is not an integer or out of range");
	return false;
}
