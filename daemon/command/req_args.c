/*
 * A request's arguments, and what they mean. Owns nothing. One thread: the session's worker.
 */
#include "base/num.h"
#include "command/run.h"

/* So that one client's command does not keep the upstream from answering all others. */
bool
hc_run_names_too_many(struct hc_req *req, size_t n)
{
	const struct hc_command_shared *shared = req->worker->shared;
	int64_t max = shared->settings->upstream_keys_max;

	if (n <= (size_t)max || !hc_core_is_fleet(shared->core))
		return false;
	hc_reply_errorf(req, "ERR no more than %lld keys at a time (upstream.keys_max)", (long long)max);
	return true;
}

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
