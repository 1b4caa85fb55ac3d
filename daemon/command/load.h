/*
 * What a command is to change, brought into memory before it does.
 *
 * Without an upstream, memory and files together are what there is, and writes are decided in memory: whether a key is
 * there, what it holds, when it expires. So what is in files only is read into memory first, and then the handler runs
 * again, from its beginning: it need not know that there are files. Meanwhile nothing else of its connection starts.
 *
 *     handler → hc_req_write ─ all in memory, or nowhere ──→ written
 *                    └ in a file → parked, read → handler → hc_req_write → written
 *
 * One thread: the session's worker.
 */
#ifndef HC_COMMAND_LOAD_H
#define HC_COMMAND_LOAD_H

#include "command/req.h"

/*
 * False: nothing that the request's ops look at is in files only; write them. True: something is, and the ops are
 * dropped; the handler will run again, or an error has been replied.
 */
bool hc_load_for_ops(struct hc_req *req);

struct hc_load_list {
	const struct hc_slice *keys; /* they live as long as the request */
	size_t n;
};
/* The same for any keys: when they are in memory, `then` is called. `req` is parked already. */
bool hc_load_keys(struct hc_req *req, struct hc_load_list list, hc_req_fn *then);

#endif
