/*
 * Commands that are carried out as one: MULTI, the commands, EXEC, over a link. One thread: the link's.
 */
#ifndef HC_CORE_TRANSACTION_H
#define HC_CORE_TRANSACTION_H

#include <stddef.h>
#include "upstream/link.h"

struct hc_command {
	const struct hc_slice *argv;
	size_t argc;
};

/*
 * HC_OK: `fn` will be called once, with HC_OK and what EXEC answers: an array of the commands' answers, or an error,
 * after which none of them has been carried out; if it is because of one of them, that one's. Or with HC_TIMEOUT,
 * HC_DOWN: nobody knows. Not HC_OK: nothing has been sent.
 */
enum hc_status hc_transaction_send(
    struct hc_link *link, const struct hc_command *commands, size_t n, hc_link_reply_fn *fn, void *arg);

#endif
