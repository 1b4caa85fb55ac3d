/*
 * PREFETCH: keys brought into memory before anybody asks for them. It answers at once; what it began goes on by itself.
 * Worker threads only.
 */
#include "command/handlers.h"
#include "command/req.h"

void
hc_cmd_prefetch(struct hc_req *req)
{
	int64_t n = 0;

	for (uint32_t i = 1; i < req->argc; i++) {
		enum hc_status status = hc_core_prefetch(req->worker->core, hc_key(req->argv[i]));
		n += status == HC_OK || status == HC_PENDING;
	}
	hc_reply_int(req, n);
}
