/*
 * EXPLAIN: what there is to know of a key, without counting as use of it: a copy in memory does not become hotter, hits
 * and misses stay as they are. What has to be fetched may be kept, as for any read. Worker threads, each for its own
 * requests.
 */
#include "command/handlers.h"
#include "command/info.h"
#include "command/pairs.h"
#include "command/req.h"

/* As PTTL gives it: -1 when it does not expire. */
static int64_t
ttl_ms(const struct hc_entry *entry, int64_t now_ms)
{
	int64_t expire_ms = hc_entry_expire_ms(entry);

	if (expire_ms == HC_NO_EXPIRY)
		return -1;
	return expire_ms > now_ms ? expire_ms - now_ms : 0;
}

/* Of the key, whatever there is of it: whether it was changed here and the upstream is yet to be told. */
static void
reply_queued(struct hc_req *req)
{
	hc_pair_str(req, "queued", hc_core_is_queued(req->worker->shared->core, req->argv[1]) ? "yes" : "no");
}

/* Nine pairs: what is known of an entry wherever it is. It takes `bytes` there. */
#define ENTRY_PAIRS 9
static void
reply_entry(struct hc_req *req, const char *tier, const struct hc_entry *entry, uint64_t bytes)
{
	const struct hc_models *models = hc_core_models(req->worker->shared->core);

	hc_pair_slice(req, "key", req->argv[1]);
	hc_pair_str(req, "tier", tier);
	hc_pair_slice(req, "model", hc_models_name(models, hc_entry_model(entry)));
	hc_pair_int(req, "epoch", hc_entry_epoch(entry));
	hc_pair_int(req, "version", (int64_t)hc_entry_version(entry));
	hc_pair_int(req, "bytes_raw", (int64_t)hc_entry_value_len(entry));
	hc_pair_int(req, "bytes_stored", (int64_t)bytes);
	hc_pair_int(req, "ttl_ms", ttl_ms(entry, hc_core_now_ms(req->worker->core)));
	reply_queued(req);
}

static void
reply_in_memory(struct hc_req *req, const struct hc_entry *entry, bool suspect)
{
	int64_t now_ms = hc_core_now_ms(req->worker->core);

	hc_reply_map(req, ENTRY_PAIRS + 5);
	reply_entry(req, "memory", entry, hc_entry_footprint(entry));
	hc_pair_str(req, "suspect", suspect ? "yes" : "no");
	hc_pair_int(req, "age_s", hc_entry_age_s(entry, now_ms));
	hc_pair_int(req, "idle_s", hc_entry_idle_s(entry, now_ms));
	hc_pair_int(req, "hits", hc_entry_hits(entry));
	hc_pair_int(req, "hot", hc_entry_hotness(entry));
}

/* It is as old as what was written there; `hits` are those from before that. */
static void
reply_in_file(struct hc_req *req, const struct hc_entry *entry, const struct hc_filed *filed)
{
	int64_t age_s = hc_core_now_ms(req->worker->core) / 1000 - filed->created_s;

	hc_reply_map(req, ENTRY_PAIRS + 3);
	reply_entry(req, "file", entry, filed->bytes);
	hc_pair_str(req, "suspect", filed->suspect ? "yes" : "no");
	hc_pair_int(req, "age_s", filed->created_s == 0 || age_s < 0 ? 0 : age_s);
	hc_pair_int(req, "hits", filed->hits);
}

static void
reply_other_type(struct hc_req *req)
{
	hc_reply_map(req, 5);
	hc_pair_slice(req, "key", req->argv[1]);
	hc_pair_str(req, "tier", "upstream");
	hc_pair_str(req, "type", "not a string");
	hc_pair_int(req, "ttl_ms", req->values[0].pttl);
	reply_queued(req);
}

/* Nothing: perhaps because the upstream could not be asked, or was not since it is yet to be told that the key went.
 * And what a SET would give it. */
static void
reply_nothing(struct hc_req *req)
{
	struct hc_core *core = req->worker->shared->core;
	struct hc_core_status status;
	uint32_t model;

	if (!hc_req_model_of(req, req->argv[1], &model))
		return;
	hc_core_status(core, &status);
	hc_reply_map(req, 5);
	hc_pair_slice(req, "key", req->argv[1]);
	hc_pair_str(req, "tier", "none");
	hc_pair_slice(req, "model_if_set", hc_models_name(hc_core_models(core), model));
	hc_pair_str(req, "upstream_state", hc_info_state_name(status.upstream));
	reply_queued(req);
}

static void
explain_done(struct hc_req *req)
{
	const struct hc_req_value *value = &req->values[0];

	if (value->status == HC_WRONGTYPE) {
		reply_other_type(req);
	} else if (value->entry == NULL) {
		reply_nothing(req);
	} else if (value->tier == HC_TIER_FILE) {
		reply_in_file(req, value->entry, &value->filed);
	} else {
		/* Memory: it came there meanwhile, or waits for the upstream to be told. */
		hc_reply_map(req, ENTRY_PAIRS);
		reply_entry(req, value->tier == HC_TIER_MEMORY ? "memory" : "upstream", value->entry,
		    hc_entry_footprint(value->entry));
	}
}

void
hc_cmd_explain(struct hc_req *req)
{
	struct hc_core *core = req->worker->shared->core;
	struct hc_entry *entry;

	enum hc_status status =
	    hc_store_peek(hc_core_store(core), hc_key(req->argv[1]), hc_core_now_ms(req->worker->core), &entry);
	if (status != HC_MISS) {
		reply_in_memory(req, entry, status == HC_SUSPECT);
		hc_entry_unref(entry);
		return;
	}
	/* With the key's own expiry, whatever local copies are capped to. */
	hc_req_read(req, &req->argv[1], 1, 1, HC_READ_QUIET | HC_READ_EXACT_TTL, explain_done);
}
