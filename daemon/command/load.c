/* What a command is to change, brought into memory; see load.h. */
#include "command/load.h"

#include <assert.h>
#include "base/mem.h"

#define ROUNDS 16 /* memory may be so small that it loses one key while another is read */

/* What a request has had read, in its own memory: once for all its rounds. */
struct hc_load {
	struct hc_load_list list;
	hc_req_fn *then;
	unsigned rounds;
};

struct fetch {
	struct hc_waiter waiter;
	struct hc_req *req;
};

/* Whatever came of it: the next look tells. */
static void
on_fetched(struct hc_waiter *waiter, enum hc_status status, struct hc_entry *entry, int64_t pttl)
{
	struct fetch *fetch = waiter->arg;
	struct hc_req *req = fetch->req;

	(void)status;
	(void)entry;
	(void)pttl;
	hc_free(fetch);
	hc_req_resume(req);
}

static void
fetch_key(struct hc_req *req, struct hc_slice bytes)
{
	struct hc_core_worker *worker = req->worker->core;
	struct hc_key key = hc_key(bytes);

	if (!hc_core_in_file_only(worker, key))
		return;
	struct fetch *fetch = hc_malloc(sizeof(*fetch));
	if (fetch == NULL)
		return; /* the next round tries again */
	*fetch = (struct fetch){.req = req, .waiter = {.fn = on_fetched, .arg = fetch}};
	req->waiting++;
	if (hc_core_fetch(worker, key, HC_READ_QUIET | HC_READ_KEEP, &fetch->waiter) != HC_PENDING) {
		req->waiting--;
		hc_free(fetch);
	}
}

static bool
any_in_files(const struct hc_req *req, struct hc_load_list list)
{
	for (size_t i = 0; i < list.n; i++) {
		if (hc_core_in_file_only(req->worker->core, hc_key(list.keys[i])))
			return true;
	}
	return false;
}

static void loaded(struct hc_req *req);

static void
fetch_all(struct hc_req *req)
{
	struct hc_load *load = req->load;

	if (load->rounds++ >= ROUNDS) {
		hc_reply_error(req, "OOM what the key holds does not fit into memory (memory.max_bytes)");
		return;
	}
	hc_req_wait(req, loaded); /* not before all have been asked for */
	for (size_t i = 0; i < load->list.n; i++)
		fetch_key(req, load->list.keys[i]);
	hc_req_resume(req);
}

static void
loaded(struct hc_req *req)
{
	struct hc_load *load = req->load;
	bool busy = req->busy;

	req->busy = true; /* what follows may wait for something that is there at once */
	if (any_in_files(req, load->list))
		fetch_all(req);
	else
		load->then(req);
	req->busy = busy;
}

static void
start(struct hc_req *req, struct hc_load_list list, hc_req_fn *then)
{
	if (req->load == NULL)
		req->load = hc_req_alloc(req, sizeof(*req->load));
	if (req->load == NULL)
		return;
	req->load->list = list;
	req->load->then = then;
	fetch_all(req);
}

bool
hc_load_keys(struct hc_req *req, struct hc_load_list list, hc_req_fn *then)
{
	assert(req->parked);
	if (!hc_core_loads(req->worker->core) || !any_in_files(req, list))
		return false;
	start(req, list, then);
	return true;
}

/* ---- for ops ---- */

static bool
is_missing(const struct hc_req *req, const struct hc_op *op)
{
	return hc_op_looks(op) && hc_core_in_file_only(req->worker->core, op->key);
}

static size_t
count_missing(const struct hc_req *req)
{
	size_t n = 0;

	for (size_t i = 0; i < req->n_ops; i++)
		n += is_missing(req, &req->ops[i]);
	return n;
}

/* Which argument the op's key is: parking moves them. */
static uint32_t
arg_of(const struct hc_req *req, const struct hc_op *op)
{
	uint32_t i = 0;

	while (req->argv[i].ptr != op->key.ptr)
		i++;
	return i;
}

static void
run_again(struct hc_req *req)
{
	req->command->fn(req);
}

bool
hc_load_for_ops(struct hc_req *req)
{
	size_t most, n = 0;

	if (!hc_core_loads(req->worker->core) || (most = count_missing(req)) == 0)
		return false;
	uint32_t *args = hc_req_alloc(req, most * sizeof(*args));
	struct hc_slice *keys = args == NULL ? NULL : hc_req_alloc(req, most * sizeof(*keys));
	for (size_t i = 0; keys != NULL && i < req->n_ops && n < most; i++) {
		if (is_missing(req, &req->ops[i]))
			args[n++] = arg_of(req, &req->ops[i]);
	}
	req->n_ops = 0;
	req->alone = true;
	if (keys == NULL || (req = hc_req_park(req)) == NULL)
		return true;
	for (size_t i = 0; i < n; i++)
		keys[i] = req->argv[args[i]];
	start(req, (struct hc_load_list){keys, n}, run_again);
	return true;
}
