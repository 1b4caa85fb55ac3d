/*
 * Transactions: commands queued between MULTI and EXEC. Embedded, EXEC has the store to itself while it runs; in a
 * fleet its commands are carried out one after the other, each atomic, others' may come between. One thread: the
 * session's worker.
 */
#ifndef HC_COMMAND_MULTI_H
#define HC_COMMAND_MULTI_H

#include <stdbool.h>
#include "command/command.h"

struct hc_req;
struct hc_session;

/* Puts the request's command into its session's queue and replies QUEUED, or an error. */
void hc_multi_queue(struct hc_req *req);
/* The transaction, if there is one, is forgotten, and what was watched for it. */
void hc_multi_discard(struct hc_session *session);
/* A command of EXEC that had to wait has ended. */
void hc_multi_child_ended(struct hc_req *exec);

#endif
