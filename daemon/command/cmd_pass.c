/*
 * Commands of the upstream that are none of ours: passed on, and answered as it answers. Worker threads only.
 *
 *     hc_cmd_pass_on → hc_core_pass → … → on_passed: its reply, in the words of the client's protocol
 *        └ inside MULTI ──────→ … → on_checked: queued, or refused; EXEC runs it as above
 */
#include "core/pass.h"

#include <ctype.h>
#include "command/handlers.h"
#include "command/multi.h"
#include "command/req.h"
#include "command/run.h"
#include "command/text.h"

#define DEPTH_MAX 16 /* hiredis allows for less */

static void
reply_as(struct hc_req *req, const redisReply *reply, unsigned depth)
{
	struct hc_slice text = {0};

	switch (reply->type) {
	case REDIS_REPLY_INTEGER:
		hc_reply_int(req, reply->integer);
		break;
	case REDIS_REPLY_STRING:
		hc_reply_bulk(req, reply->str, (size_t)reply->len);
		break;
	case REDIS_REPLY_STATUS:
		hc_reply_simple(req, reply->str);
		break;
	case REDIS_REPLY_ERROR:
		text = hc_slice(reply->str, (size_t)reply->len);
		hc_reply_error_slice(req, text);
		break;
	case REDIS_REPLY_ARRAY:
		if (depth < DEPTH_MAX) {
			hc_reply_array(req, reply->elements);
			for (size_t i = 0; i < reply->elements; i++)
				reply_as(req, reply->element[i], depth + 1);
			break;
		} /* fall through */
	default:
		hc_reply_null(req);
	}
}

/* As the upstream would. */
static void
reply_arity_error(struct hc_req *req)
{
	char name[HC_COMMAND_NAME_MAX];
	size_t len = req->argv[0].len < sizeof(name) ? req->argv[0].len : sizeof(name);

	for (size_t i = 0; i < len; i++)
		name[i] = (char)tolower((unsigned char)req->argv[0].ptr[i]);
	hc_reply_errorf(req, "ERR wrong number of arguments for '%.*s' command", (int)len, name);
}

static void
reply_failure(struct hc_req *req, const struct hc_pass *pass, enum hc_status status)
{
	switch (status) {
	case HC_MISS:
		hc_run_refuse_unknown(req);
		break;
	case HC_INVALID:
		if (pass->reason == HC_PASS_ARITY) {
			reply_arity_error(req);
			break;
		}
		hc_reply_errorf(req, "ERR '%.*s' is not passed on to the upstream: %s", hc_text_shown(req->argv[0]),
		    req->argv[0].ptr, hc_pass_reason_text(pass->reason));
		break;
	case HC_DOWN:
	case HC_TIMEOUT:
		hc_reply_error(req, "UPSTREAMDOWN the upstream cannot be asked or has not answered, and this command "
				    "is carried out there "
				    "only (upstream.pass_through)");
		break;
	case HC_NOMEM:
		hc_reply_nomem(req);
		break;
	default:
		hc_reply_error(req, "ERR the upstream gave an unexpected answer");
	}
}

static void
replied(struct hc_req *req)
{
	(void)req; /* on_passed() has, as long as there was what to reply */
}

static void
on_passed(struct hc_pass *pass, enum hc_status status, const redisReply *reply)
{
	struct hc_req *req = pass->arg;

	if (status == HC_OK)
		reply_as(req, reply, 0);
	else
		reply_failure(req, pass, status);
	hc_req_resume(req);
}

/* Inside MULTI: what would not be passed on shall not be queued. */
static void
queue(struct hc_req *req, const struct hc_pass *pass, enum hc_status status)
{
	if (req->session == NULL) /* the client is gone */
		return;
	if (status == HC_OK) {
		hc_multi_queue(req);
		return;
	}
	req->session->multi.failed = true;
	reply_failure(req, pass, status);
}

static void
on_checked(struct hc_pass *pass, enum hc_status status, const redisReply *reply)
{
	struct hc_req *req = pass->arg;

	if (status == HC_OK && reply != NULL) { /* an error, instead of what was to be known */
		reply_as(req, reply, 0);
		if (req->session != NULL)
			req->session->multi.failed = true;
	} else {
		queue(req, pass, status);
	}
	hc_req_resume(req);
}

void
hc_cmd_pass_on(struct hc_req *req)
{
	struct hc_pass *pass = hc_req_alloc(req, sizeof(*pass));

	if (pass == NULL)
		return;
	pass->argv = req->argv;
	pass->argc = req->argc;
	pass->only_check = req->parent == NULL && req->session->multi.active;
	pass->fn = pass->only_check ? on_checked : on_passed;
	pass->arg = req;
	enum hc_status status = hc_core_pass(req->worker->core, pass);
	if (status == HC_PENDING)
		hc_req_wait(req, replied);
	else if (pass->only_check)
		queue(req, pass, status);
	else
		reply_failure(req, pass, status);
}

const struct hc_command hc_command_passed = {
    .name = "upstream",
    .fn = hc_cmd_pass_on,
    .arity = -1,
    .flags = HC_CMD_WRITE | HC_CMD_NOMULTI, /* it may write, for all that is known here; it queues itself */
    .group = "upstream",
    .since = "0.1",
    .syntax = "",
    .summary = "",
    .row = HC_COMMAND_ROWS,
};
