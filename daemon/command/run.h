/*
 * Running handlers: what req*.c, command.c and multi.c share. Nobody else includes this.
 */
#ifndef HC_COMMAND_RUN_H
#define HC_COMMAND_RUN_H

#include "command/req.h"

/* Makes `req` ready for a command whose reply goes to `out`. */
void hc_run_begin(struct hc_req *req, struct hc_command_worker *worker, struct hc_session *session,
    const struct hc_call *call, struct hc_out *out);
/* Has its reply go nowhere. */
void hc_run_hush(struct hc_req *req);
/* Calls the handler, and ends the request unless it has to wait. */
void hc_run_handler(struct hc_req *req);
/* Ends a request that has been answered without its handler. */
void hc_run_end(struct hc_req *req);
/* What a deferred request is to write is written now, and what comes behind it may start. */
void hc_run_deferred(struct hc_req *req);
/* hc_req_alloc(), but not zeroed. */
void *hc_run_alloc(struct hc_req *req, size_t size);
/* Whether a command names more keys than the upstream may be asked for at once; true after replying so. */
bool hc_run_names_too_many(struct hc_req *req, size_t n);
/* Replies that there is no such command. */
void hc_run_refuse_unknown(struct hc_req *req);
/* A command as a part of EXEC: its reply goes to the parent's. False: out of memory, nothing replied. */
bool hc_run_child(struct hc_req *parent, const struct hc_command *command, const struct hc_slice *argv, uint32_t argc);

#endif
