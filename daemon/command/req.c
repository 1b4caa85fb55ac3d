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

void *
hc_run_alloc(struct hc_req *req, size_t size)
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
	void *memory = hc_run_alloc(req, size);

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
	if (session->pending_head != NULL && session->pending_head->deferred)
		hc_run_deferred(session->pending_head);
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
		} else if (req->deferred) {
			hc_run_deferred(req); /* it has been asked for */
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
	req->parked = req->busy = req->complete = req->alone = req->deferred = false;
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
