/*
 * MULTI, EXEC, DISCARD. One thread: the session's worker.
 */
#include "command/multi.h"

#include "base/mem.h"
#include "command/handlers.h"
#include "command/load.h"
#include "command/req.h"
#include "command/run.h"
#include "command/watch.h"

struct hc_queued {
	struct hc_queued *next;
	const struct hc_command *command;
	uint32_t argc;
	struct hc_slice argv[]; /* their bytes behind them */
};

/* EXEC under way: req->data. */
struct exec {
	struct hc_queued *queue; /* all, freed at the end */
	struct hc_queued *next;  /* to be run */
	size_t n;                /* all */
	bool running;            /* exec_on() is on the stack */
};

static void
free_queue(struct hc_queued *queued)
{
	while (queued != NULL) {
		struct hc_queued *next = queued->next;
		hc_free(queued);
		queued = next;
	}
}

static void
clear(struct hc_session *session)
{
	session->multi.active = session->multi.failed = false;
	session->multi.head = session->multi.tail = NULL;
	session->multi.n = 0;
	session->multi.bytes = 0;
	atomic_store(&session->shown_multi, -1);
}

void
hc_multi_discard(struct hc_session *session)
{
	free_queue(session->multi.head);
	clear(session);
	hc_watch_forget(session);
}

static struct hc_queued *
copy_command(const struct hc_req *req, size_t bytes)
{
	struct hc_queued *queued = hc_malloc(sizeof(*queued) + req->argc * sizeof(struct hc_slice) + bytes);
	if (queued == NULL)
		return NULL;
	char *at = (char *)&queued->argv[req->argc];
	queued->next = NULL;
	queued->command = req->command;
	queued->argc = req->argc;
	for (uint32_t i = 0; i < req->argc; i++) {
		queued->argv[i] = hc_slice(at, req->argv[i].len);
		at = mempcpy(at, req->argv[i].ptr, req->argv[i].len);
	}
	return queued;
}

void
hc_multi_queue(struct hc_req *req)
{
	struct hc_session *session = req->session;
	size_t bytes = 0, max = (size_t)req->worker->shared->settings->client_request_max;
	size_t overhead = sizeof(struct hc_queued) + req->argc * sizeof(struct hc_slice);

	for (uint32_t i = 0; i < req->argc; i++)
		bytes += req->argv[i].len;
	if (session->multi.bytes + overhead + bytes > max) {
		session->multi.failed = true;
		hc_reply_error(req, "ERR transaction is larger than client.request_max");
		return;
	}
	struct hc_queued *queued = copy_command(req, bytes);
	if (queued == NULL) {
		session->multi.failed = true;
		hc_reply_nomem(req);
		return;
	}
	if (session->multi.tail != NULL)
		session->multi.tail->next = queued;
	else
		session->multi.head = queued;
	session->multi.tail = queued;
	session->multi.n++;
	session->multi.bytes += overhead + bytes;
	atomic_store(&session->shown_multi, (int32_t)session->multi.n);
	hc_reply_simple(req, "QUEUED");
}

void
hc_cmd_multi(struct hc_req *req)
{
	if (req->session->multi.active) {
		hc_reply_error(req, "ERR MULTI calls can not be nested");
		return;
	}
	req->session->multi.active = true;
	atomic_store(&req->session->shown_multi, 0);
	hc_reply_ok(req);
}

void
hc_cmd_discard(struct hc_req *req)
{
	if (!req->session->multi.active) {
		hc_reply_error(req, "ERR DISCARD without MULTI");
		return;
	}
	hc_multi_discard(req->session);
	hc_reply_ok(req);
}

/* ---- EXEC ---- */

/*
 * Runs what is queued, one after the other, until one has to wait. The loop is never entered twice: a command that ends
 * while it runs just lets it go on.
 */
static void
exec_on(struct hc_req *req)
{
	struct exec *exec = req->data;

	exec->running = true;
	while (exec->next != NULL && req->waiting == 1) {
		struct hc_queued *queued = exec->next;
		exec->next = queued->next;
		req->waiting++;
		if (!hc_run_child(req, queued->command, queued->argv, queued->argc)) {
			hc_reply_nomem(req);
			req->waiting--;
		}
	}
	exec->running = false;
}

static void
exec_done(struct hc_req *req)
{
	(void)req; /* each command has replied */
}

static void
exec_fini(struct hc_req *req)
{
	free_queue(((struct exec *)req->data)->queue);
	if (req->session != NULL)
		atomic_store(&req->session->shown_multi, -1);
}

void
hc_multi_child_ended(struct hc_req *req)
{
	struct exec *exec = req->data;

	req->waiting--;
	if (exec->running)
		return;
	exec_on(req);
	if (req->waiting == 1)
		hc_req_resume(req);
}

static void
exec_begin(struct hc_req *req)
{
	struct hc_store *store = hc_core_store(req->worker->shared->core);
	bool fleet = hc_core_is_fleet(req->worker->shared->core);
	struct hc_session *session = req->session; /* NULL: the client has gone while keys were read */

	hc_req_wait(req, exec_done); /* for the loop itself */
	if (!fleet)
		hc_store_exclusive_begin(store);
	if (session != NULL && hc_watch_holds(session, store, hc_core_now_ms(req->worker->core))) {
		hc_reply_array(req, ((struct exec *)req->data)->n);
		exec_on(req);
	} else {
		hc_reply_null_array(req);
	}
	if (session != NULL)
		hc_watch_forget(session);
	if (!fleet)
		hc_store_exclusive_end(store);
	if (req->waiting == 1)
		hc_req_resume(req);
}

/* The keys that the table knows of the queued commands; `keys` may be NULL. Returns how many. */
static size_t
list_keys(const struct exec *exec, struct hc_slice *keys)
{
	size_t n = 0;

	for (const struct hc_queued *queued = exec->queue; queued != NULL; queued = queued->next) {
		const struct hc_command *command = queued->command;
		int64_t last = command->last_key < 0 ? (int64_t)queued->argc + command->last_key : command->last_key;
		for (int64_t i = command->first_key; i > 0 && i <= last; i += command->key_step, n++) {
			if (keys != NULL)
				keys[n] = queued->argv[i];
		}
	}
	return n;
}

/* What is in files is read before, so that nothing has to be waited for once it has begun. */
static bool
load_keys(struct hc_req *req)
{
	const struct exec *exec = req->data;
	size_t n = hc_core_loads(req->worker->core) ? list_keys(exec, NULL) : 0;

	if (n == 0)
		return false;
	struct hc_slice *keys = hc_req_alloc(req, n * sizeof(*keys));
	if (keys == NULL)
		return true;
	(void)list_keys(exec, keys);
	return hc_load_keys(req, (struct hc_load_list){keys, n}, exec_begin);
}

void
hc_cmd_exec(struct hc_req *req)
{
	struct hc_session *session = req->session;

	if (!session->multi.active) {
		hc_reply_error(req, "ERR EXEC without MULTI");
		return;
	}
	if (session->multi.failed) {
		hc_multi_discard(session);
		hc_reply_error(req, "EXECABORT Transaction discarded because of previous errors.");
		return;
	}
	req = hc_req_park(req);
	struct exec *exec = req == NULL ? NULL : hc_req_alloc(req, sizeof(*exec));
	if (exec == NULL) {
		hc_multi_discard(session);
		return;
	}
	size_t n = session->multi.n;
	exec->queue = exec->next = session->multi.head;
	clear(session);
	req->data = exec;
	req->data_fini = exec_fini;
	exec->n = n;
	atomic_store(&session->shown_multi, (int32_t)n); /* to CLIENT INFO, in it too, until it is through */
	if (!load_keys(req))
		exec_begin(req);
}
