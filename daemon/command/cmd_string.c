/*
 * Commands that return strings: GET, MGET, STRLEN, GETRANGE, and those that take or touch what they
 * return, GETDEL and GETEX. Worker threads only; owns nothing.
 */
#include "base/stats.h"
#include "command/expiry.h"
#include "command/handlers.h"
#include "command/req.h"
#include "proto/resp_reply.h"

/* ---- GET ---- */

static void
reply_value(struct hc_req *req, const struct hc_req_value *value)
{
	if (value->status == HC_WRONGTYPE)
		hc_reply_wrongtype(req);
	else if (value->entry)
		hc_reply_value(req, value->entry);
	else
		hc_reply_null(req);
}

/* Who is told that there is none may compute it. */
static void
miss(struct hc_req *req, const struct hc_req_value *value, struct hc_slice key)
{
	if (value->status == HC_MISS)
		hc_core_missed(req->worker->core, hc_key(key));
}

static void
get_done(struct hc_req *req)
{
	miss(req, &req->values[0], req->argv[1]);
	reply_value(req, &req->values[0]);
}

/* Looked up only now: the entry may have brought the model's name along. */
static bool
is_of_model(const struct hc_req *req, const struct hc_entry *entry, struct hc_slice name)
{
	const struct hc_models *models = hc_core_models(req->worker->shared->core);
	uint32_t model;

	return hc_models_find(models, name, &model) == HC_OK && model == hc_entry_model(entry);
}

static void
get_of_model_done(struct hc_req *req)
{
	const struct hc_req_value *value = &req->values[0];
	struct hc_stats *stats = req->worker->stats;
	bool found = value->entry && is_of_model(req, value->entry, req->argv[3]);

	hc_req_count_read(req, found, value->tier);
	if (value->entry && !found) {
		hc_stats_count(stats, model_mismatches);
		hc_core_missed(req->worker->core, hc_key(req->argv[1]));
		hc_reply_null(req);
		return;
	}
	miss(req, value, req->argv[1]);
	reply_value(req, value);
}

/* Values up to here are copied while the entry is borrowed; for others it is worth a reference. */
#define BORROW_MAX 1024

bool
hc_cmd_get_hit(struct hc_command_worker *worker, struct hc_out *out, struct hc_key key)
{
	struct hc_store *store = hc_core_store(worker->shared->core);
	char *dst = hc_out_reserve(out, HC_RESP_HEAD_MAX + BORROW_MAX + 2);
	struct hc_entry *entry = dst == NULL ? NULL : hc_store_borrow(store, key, hc_core_now_ms(worker->core));

	if (entry == NULL)
		return false;
	struct hc_slice value = hc_entry_value(entry);
	if (value.len <= BORROW_MAX) {
		size_t len = hc_resp_put_bulk(dst, value);
		hc_store_give_back(store, key);
		hc_out_commit(out, len);
	} else {
		hc_entry_ref(entry);
		hc_store_give_back(store, key);
		hc_reply_value_to(out, entry);
		hc_entry_unref(entry);
	}
	hc_stats_count(worker->stats, memory_hits);
	return true;
}

/* ---- many at once ---- */

bool
hc_cmd_owns_memory(const struct hc_command_worker *worker)
{
	return worker->shared->settings->server_workers <= 1;
}

static inline void
put_found(struct hc_out *out, struct hc_entry *entry, struct hc_resp_bulk_head *head)
{
	struct hc_slice value = hc_entry_value(entry);

	if (value.len > BORROW_MAX) {
		hc_reply_value_to(out, entry);
		return;
	}
	char *dst = hc_out_reserve(out, HC_RESP_HEAD_MAX + BORROW_MAX + 2);
	if (dst != NULL)
		hc_out_commit(out, hc_resp_put_bulk_like(dst, value, head));
}

static void
put_missed(struct hc_out *out, int resp)
{
	char *dst = hc_out_reserve(out, HC_RESP_HEAD_MAX);

	if (dst != NULL)
		hc_out_commit(out, hc_resp_put_null(dst, resp));
}

size_t
hc_cmd_get_many(struct hc_command_worker *worker, struct hc_out *out, int resp, const struct hc_key *keys, size_t n,
    size_t out_pause)
{
	struct hc_core *core = worker->shared->core;
	struct hc_store *store = hc_core_store(core);
	bool lock = !hc_store_is_exclusive(store), is_fleet = hc_core_is_fleet(core);
	int64_t now_ms = hc_core_now_ms(worker->core);
	struct hc_entry *entries[HC_STORE_MANY];
	struct hc_resp_bulk_head head = {.of = HC_RESP_LIKE_MAX};
	size_t done = 0, misses = 0;

	if (lock)
		hc_store_read_begin(store);
	hc_store_find_many(store, keys, n, now_ms, entries);
	for (; done < n && out->bytes <= out_pause; done++) {
		if (entries[done] != NULL) {
			put_found(out, entries[done], &head);
		} else if (!is_fleet && !hc_core_in_file(worker->core, keys[done])) {
			put_missed(out, resp);
			hc_core_missed(worker->core, keys[done]);
			misses++;
		} else {
			break;
		}
	}
	hc_store_count_reads(store, keys, done, now_ms, entries);
	if (lock)
		hc_store_read_end(store);
	hc_stats_add(worker->stats, memory_hits, done - misses);
	hc_stats_add(worker->stats, misses, misses);
	return done;
}

void
hc_cmd_get(struct hc_req *req)
{
	if (req->argc == 2) {
		hc_req_read(req, &req->argv[1], 1, 1, HC_REQ_COUNT, get_done);
		return;
	}
	/* Other arguments get the error they get in Redis, which has none. */
	if (req->argc != 4 || !hc_req_arg_is(req, 2, "model")) {
		hc_reply_arity_error(req);
		return;
	}
	/* Counted when it is known whether the model is the one: not by the read. */
	hc_req_read(req, &req->argv[1], 1, 1, 0, get_of_model_done);
}

/* ---- MGET, STRLEN ---- */

/* What is no string is nil here, as in Redis. */
static void
mget_rest_done(struct hc_req *req)
{
	uint32_t first = req->argc - (uint32_t)req->n_values; /* what was before has been answered */

	for (size_t i = 0; i < req->n_values; i++) {
		miss(req, &req->values[i], req->argv[first + i]);
		if (req->values[i].entry)
			hc_reply_value(req, req->values[i].entry);
		else
			hc_reply_null(req);
	}
}

static void
mget_done(struct hc_req *req)
{
	hc_reply_array(req, req->n_values);
	mget_rest_done(req);
}

/*
 * Values of some keys from the `at`-th argument on go straight into the reply, up to the first that is to be had from a
 * file only. Returns how many.
 */
static uint32_t
mget_some(struct hc_req *req, uint32_t at, uint32_t n)
{
	struct hc_key keys[HC_STORE_MANY];

	for (uint32_t i = 0; i < n; i++)
		keys[i] = hc_key(req->argv[at + i]);
	return (uint32_t)hc_cmd_get_many(req->worker, req->out, req->resp, keys, n, SIZE_MAX);
}

void
hc_cmd_mget(struct hc_req *req)
{
	const struct hc_command_shared *shared = req->worker->shared;
	uint32_t n = req->argc - 1;

	/* With nobody else to change memory, and memory all there is, keys need not be read at one moment. */
	if (!hc_cmd_owns_memory(req->worker) || hc_core_is_fleet(shared->core) || req->session->no_touch) {
		hc_req_read(req, &req->argv[1], n, 1, HC_REQ_COUNT, mget_done);
		return;
	}
	hc_reply_array(req, n);
	for (uint32_t at = 0; at < n;) {
		uint32_t some = n - at < HC_STORE_MANY ? n - at : HC_STORE_MANY;
		uint32_t done = mget_some(req, 1 + at, some);
		at += done;
		if (done < some) {
			hc_req_read(req, &req->argv[1 + at], n - at, 1, HC_REQ_COUNT, mget_rest_done);
			return;
		}
	}
}

void
hc_cmd_strlen(struct hc_req *req)
{
	hc_req_read(req, &req->argv[1], 1, 1, HC_REQ_COUNT, hc_reply_length);
}

/* ---- GETRANGE, SUBSTR ---- */

/* Counted from the end when negative; what lies before the beginning is the beginning. */
static int64_t
place_in(int64_t len, int64_t at)
{
	if (at < 0)
		at += len;
	return at < 0 ? 0 : at;
}

static struct hc_slice
range_of(struct hc_slice value, int64_t start, int64_t end)
{
	int64_t len = (int64_t)value.len;

	if (start < 0 && end < 0 && start > end)
		return hc_slice("", 0);
	start = place_in(len, start);
	end = place_in(len, end);
	if (end >= len)
		end = len - 1;
	if (start > end)
		return hc_slice("", 0);
	return hc_slice(value.ptr + start, (size_t)(end - start + 1));
}

static void
getrange_done(struct hc_req *req)
{
	const struct hc_req_value *value = &req->values[0];
	int64_t start, end;

	if (value->status == HC_WRONGTYPE)
		hc_reply_wrongtype(req);
	else if (!value->entry)
		hc_reply_str(req, "");
	else if (hc_req_arg_int(req, 2, &start) && hc_req_arg_int(req, 3, &end))
		hc_reply_slice(req, range_of(hc_entry_value(value->entry), start, end));
}

void
hc_cmd_getrange(struct hc_req *req)
{
	int64_t start, end;

	/* Both are checked before the key is looked at. */
	if (hc_req_arg_int(req, 2, &start) && hc_req_arg_int(req, 3, &end))
		hc_req_read(req, &req->argv[1], 1, 1, HC_REQ_COUNT, getrange_done);
}

/* ---- GETDEL, GETEX ---- */

void
hc_cmd_getdel(struct hc_req *req)
{
	struct hc_op *op = hc_req_ops(req, 1);

	if (!op)
		return;
	op->kind = HC_OP_DEL;
	op->key = hc_req_key(req);
	op->want_old = true;
	hc_req_write(req, hc_reply_old);
}

/* GETEX's options: what they ask for last counts; those of different kinds exclude each other. */
struct getex_options {
	bool persist;
	uint32_t expiry_arg; /* 0: none */
	enum hc_expiry_form form;
};

static bool
parse_getex(struct hc_req *req, struct getex_options *options)
{
	for (uint32_t i = 2; i < req->argc; i++) {
		enum hc_expiry_form form;

		if (hc_req_arg_is(req, i, "persist") && !options->expiry_arg) {
			options->persist = true;
			continue;
		}
		if (!hc_expiry_word(req, i, &form) || options->persist || i + 1 >= req->argc ||
		    (options->expiry_arg && options->form != form)) {
			hc_reply_syntax_error(req);
			return false;
		}
		options->form = form;
		options->expiry_arg = ++i;
	}
	return true;
}

/* Redis looks at the number only when there is a string to return. */
static void
getex_fault_done(struct hc_req *req)
{
	if (req->values[0].entry)
		hc_expiry_failed(req, (enum hc_expiry_fault)req->number);
	else
		reply_value(req, &req->values[0]);
}

void
hc_cmd_getex(struct hc_req *req)
{
	struct getex_options options = {0};
	enum hc_expiry_fault fault = HC_EXPIRY_FINE;
	struct hc_op asked = {.kind = HC_OP_PERSIST, .want_old = true};

	if (!parse_getex(req, &options))
		return;
	if (options.expiry_arg) {
		asked.kind = HC_OP_EXPIRE;
		fault = hc_expiry_parse(req, options.expiry_arg, options.form, &asked);
	}
	if (fault != HC_EXPIRY_FINE) {
		req->number = fault;
		hc_req_read(req, &req->argv[1], 1, 1, 0, getex_fault_done);
		return;
	}
	if (!options.expiry_arg && !options.persist) {
		hc_req_read(req, &req->argv[1], 1, 1, HC_REQ_COUNT, get_done);
		return;
	}

	struct hc_op *op = hc_req_ops(req, 1);
	if (!op)
		return;
	*op = asked;
	op->key = hc_req_key(req);
	hc_req_write(req, hc_reply_old);
}
