/*
 * Commands about the daemon as a whole: TIME ROLE SHUTDOWN. Worker threads, each for its own requests.
 */
#include <inttypes.h>
#include "base/clock.h"
#include "command/handlers.h"
#include "command/req.h"

void
hc_cmd_time(struct hc_req *req)
{
	int64_t now_us = hc_clock_wall_us();

	hc_reply_array(req, 2);
	hc_reply_strf(req, "%" PRId64, now_us / 1000000);
	hc_reply_strf(req, "%" PRId64, now_us % 1000000);
}

/* Nobody follows, nobody is followed: see INFO replication. */
void
hc_cmd_role(struct hc_req *req)
{
	hc_reply_array(req, 3);
	hc_reply_str(req, "master");
	hc_reply_int(req, 0);
	hc_reply_array(req, 0);
}

/* There is nothing to save, and the daemon always goes as soon as its clients are served: the words
 * are only checked. */
void
hc_cmd_shutdown(struct hc_req *req)
{
	struct hc_command_shared *shared = req->worker->shared;
	bool save = false, nosave = false, abort = false;

	for (uint32_t i = 1; i < req->argc; i++) {
		bool now = hc_req_arg_is(req, i, "NOW") || hc_req_arg_is(req, i, "FORCE");
		save |= hc_req_arg_is(req, i, "SAVE");
		nosave |= hc_req_arg_is(req, i, "NOSAVE");
		abort |= hc_req_arg_is(req, i, "ABORT");
		if (!now && !hc_req_arg_is(req, i, "SAVE") && !hc_req_arg_is(req, i, "NOSAVE") &&
		    !hc_req_arg_is(req, i, "ABORT")) {
			hc_reply_syntax_error(req);
			return;
		}
	}
	if ((save && nosave) || (abort && req->argc > 2)) {
		hc_reply_syntax_error(req);
		return;
	}
	if (abort) {
		hc_reply_error(req, "ERR No shutdown in progress.");
		return;
	}
	/* Clients take the end of the connection for the answer, and a reply for a failure. */
	req->session->close_after_reply = true;
	shared->shutdown(shared->host);
}
