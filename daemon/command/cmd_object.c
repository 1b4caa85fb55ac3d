/*
 * OBJECT and MEMORY: what a key costs and how it is used, and what all of them cost. Looking leaves no trace: a copy in
 * memory does not become hotter, hits and misses stay as they are. Worker threads, each for its own requests.
 *
 *     read ─ string, nothing → answer
 *        └── another type: the upstream knows more → the same command there → relayed → answer
 */
#include <malloc.h>
#include <stdio.h>
#include "base/mem.h"
#include "base/num.h"
#include "command/handlers.h"
#include "command/pairs.h"
#include "command/req.h"
#include "command/text.h"

/* ---- other types ---- */

struct relayed {
	int type; /* REDIS_REPLY_…; NIL unless the upstream says otherwise: what cannot be read is not there */
	int64_t number;
	char text[512]; /* Redis's errors have up to 200 */
};

static void
relay_done(struct hc_req *req)
{
	const struct relayed *relayed = req->data;

	if (relayed->type == REDIS_REPLY_INTEGER)
		hc_reply_int(req, relayed->number);
	else if (relayed->type == REDIS_REPLY_STRING)
		hc_reply_str(req, relayed->text);
	else if (relayed->type == REDIS_REPLY_ERROR)
		hc_reply_error(req, relayed->text);
	else
		hc_reply_null(req);
}

static void
relay(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_req *req = arg;
	struct relayed *relayed = req->data;

	if (status == HC_OK) {
		relayed->type = reply->type;
		relayed->number = reply->integer;
		if (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_ERROR)
			snprintf(relayed->text, sizeof(relayed->text), "%s", reply->str);
	}
	hc_req_resume(req);
}

/* The whole command as it came. The request is parked. */
static void
ask_upstream(struct hc_req *req)
{
	struct relayed *relayed = hc_req_alloc(req, sizeof(*relayed));

	if (relayed == NULL)
		return;
	relayed->type = REDIS_REPLY_NIL;
	req->data = relayed;
	if (hc_core_forward(req->worker->core, req->argv, req->argc, 2, relay, req) == HC_PENDING)
		hc_req_wait(req, relay_done);
	else
		relay_done(req);
}

/* The entry of the request's key; NULL after replying, or when the upstream is asked. */
static const struct hc_entry *
entry_found(struct hc_req *req)
{
	const struct hc_req_value *value = &req->values[0];

	if (value->entry != NULL)
		return value->entry;
	if (value->status == HC_WRONGTYPE)
		ask_upstream(req);
	else
		hc_reply_null(req);
	return NULL;
}

static void
look(struct hc_req *req, hc_req_fn *done)
{
	hc_req_read(req, &req->argv[2], 1, 1, HC_READ_QUIET, done);
}

/* ---- OBJECT ---- */

#define EMBSTR_MAX 44

/* What Redis would keep a string that was SET as. */
static const char *
encoding_of(struct hc_slice value)
{
	int64_t number;

	if (hc_num_i64(value, &number))
		return "int";
	return value.len <= EMBSTR_MAX ? "embstr" : "raw";
}

static void
encoding_done(struct hc_req *req)
{
	const struct hc_entry *entry = entry_found(req);

	if (entry != NULL)
		hc_reply_str(req, encoding_of(hc_entry_value(entry)));
}

void
hc_cmd_object_encoding(struct hc_req *req)
{
	look(req, encoding_done);
}

static void
freq_done(struct hc_req *req)
{
	const struct hc_entry *entry = entry_found(req);

	if (entry != NULL)
		hc_reply_int(req, hc_entry_hits(entry));
}

void
hc_cmd_object_freq(struct hc_req *req)
{
	look(req, freq_done);
}

static void
idletime_done(struct hc_req *req)
{
	const struct hc_entry *entry = entry_found(req);

	if (entry != NULL)
		hc_reply_int(req, hc_entry_idle_s(entry, hc_core_now_ms(req->worker->core)));
}

void
hc_cmd_object_idletime(struct hc_req *req)
{
	look(req, idletime_done);
}

static void
refcount_done(struct hc_req *req)
{
	if (entry_found(req) != NULL)
		hc_reply_int(req, 1); /* no value is shared by keys */
}

void
hc_cmd_object_refcount(struct hc_req *req)
{
	look(req, refcount_done);
}

/* ---- MEMORY ---- */

static void
usage_done(struct hc_req *req)
{
	const struct hc_entry *entry = entry_found(req);

	if (entry != NULL)
		hc_reply_int(req, (int64_t)hc_entry_footprint(entry));
}

/* Strings have nothing to take samples of: the number is only checked. */
void
hc_cmd_memory_usage(struct hc_req *req)
{
	for (uint32_t i = 3; i < req->argc; i += 2) {
		int64_t samples;

		if (i + 1 == req->argc || !hc_req_arg_is(req, i, "samples")) {
			hc_reply_syntax_error(req);
			return;
		}
		if (!hc_req_arg_int(req, i + 1, &samples))
			return;
		if (samples < 0) {
			hc_reply_syntax_error(req);
			return;
		}
	}
	look(req, usage_done);
}

/* Those of Redis's fields that mean something here. */
void
hc_cmd_memory_stats(struct hc_req *req)
{
	struct hc_store_stats store;

	hc_store_stats(hc_core_store(req->worker->shared->core), &store);
	int64_t used = (int64_t)(store.bytes + store.table_bytes);
	int64_t each = store.entries > 0 ? (int64_t)(store.bytes / store.entries) : 0;
	double percentage = used > 0 ? 100.0 * (double)store.bytes / (double)used : 0;

	hc_reply_map(req, 8);
	hc_pair_int(req, "total.allocated", used);
	hc_pair_int(req, "overhead.total", (int64_t)store.table_bytes);
	hc_pair_int(req, "keys.count", (int64_t)store.entries);
	hc_pair_int(req, "keys.bytes-per-key", each);
	hc_pair_int(req, "dataset.bytes", (int64_t)store.bytes);
	hc_reply_str(req, "dataset.percentage");
	hc_reply_double(req, percentage);
	hc_pair_int(req, "allocator.resident", (int64_t)hc_mem_resident());
	hc_pair_int(req, "maxmemory", (int64_t)store.max_bytes);
}

/* From so much on eviction has work to do. */
#define NEARLY_FULL 0.95

void
hc_cmd_memory_doctor(struct hc_req *req)
{
	struct hc_store_stats store;
	struct hc_text text;
	FILE *to = hc_text_begin(req, &text);

	if (to == NULL)
		return;
	hc_store_stats(hc_core_store(req->worker->shared->core), &store);
	uint64_t used = store.bytes + store.table_bytes;
	fprintf(to, "%llu of %llu bytes are in use (memory.max_bytes). ", (unsigned long long)used,
	    (unsigned long long)store.max_bytes);
	if ((double)used < NEARLY_FULL * (double)store.max_bytes)
		fprintf(to, "There is room.\n");
	else
		fprintf(to,
		    "It is full, and the least useful entries go; %llu have gone so far. Where misses are dear, give "
		    "it "
		    "more.\n",
		    (unsigned long long)store.evicted);
	hc_text_reply(req, &text);
}

void
hc_cmd_memory_malloc_stats(struct hc_req *req)
{
	struct hc_text text;
	FILE *to = hc_text_begin(req, &text);

	if (to == NULL)
		return;
	(void)malloc_info(0, to);
	hc_text_reply(req, &text);
}

void
hc_cmd_memory_purge(struct hc_req *req)
{
	(void)malloc_trim(0);
	hc_reply_ok(req);
}
