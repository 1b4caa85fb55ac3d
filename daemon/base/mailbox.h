/*
 * How threads talk: messages put into a thread's mailbox by any thread, taken out on its own event loop. The
 * sender wakes the loop by an eventfd, once for however many messages wait; the receiver detaches the whole
 * list under the lock and runs it outside.
 */
#ifndef HC_BASE_MAILBOX_H
#define HC_BASE_MAILBOX_H

#include <event2/event.h>
#include "base/status.h"

/* Put one into whatever is sent; the receiver's function gets it back and owns it. */
struct hc_message {
	struct hc_message *next;
	void (*deliver)(struct hc_message *message, void *receiver);
};

struct hc_mailbox;

/* `receiver` is handed to each message's deliver function. HC_NOMEM, HC_ERROR (errno). */
enum hc_status hc_mailbox_create(struct event_base *base, void *receiver, struct hc_mailbox **out);
/* On the receiver's thread or after it ended; no more senders. Messages still waiting are delivered first. */
void hc_mailbox_destroy(struct hc_mailbox *mailbox);

/* Any thread. Takes the message over. */
void hc_mailbox_send(struct hc_mailbox *mailbox, struct hc_message *message);

#endif
