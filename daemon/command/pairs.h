/*
 * Name and value, as they follow each other in a reply's map. Same rules as reply.h.
 */
#ifndef HC_COMMAND_PAIRS_H
#define HC_COMMAND_PAIRS_H

#include "command/reply.h"

static inline void
hc_pair_str(struct hc_req *req, const char *name, const char *value)
{
	hc_reply_str(req, name);
	hc_reply_str(req, value);
}

static inline void
hc_pair_slice(struct hc_req *req, const char *name, struct hc_slice value)
{
	hc_reply_str(req, name);
	hc_reply_slice(req, value);
}

static inline void
hc_pair_int(struct hc_req *req, const char *name, int64_t value)
{
	hc_reply_str(req, name);
	hc_reply_int(req, value);
}

#endif
