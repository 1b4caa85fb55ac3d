/*
 * A thread's mailbox. hc_mailbox_send() from any thread, the rest on the receiver's.
 * Lock: `lock` protects head and tail; it is a leaf.
 */
#include "base/mailbox.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/mem.h"

struct hc_mailbox {
	struct event *event;
	void *receiver;
	int fd;
	pthread_mutex_t lock;
	struct hc_message *head; /* under lock, as is tail */
	struct hc_message *tail;
};

static void
deliver_all(struct hc_mailbox *mailbox)
{
	pthread_mutex_lock(&mailbox->lock);
	struct hc_message *message = mailbox->head;
	mailbox->head = mailbox->tail = NULL;
	pthread_mutex_unlock(&mailbox->lock);

	while (message != NULL) {
		struct hc_message *next = message->next;
		message->deliver(message, mailbox->receiver);
		message = next;
	}
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	(void)what;
	/* Reset before the list is taken: a message put in after that wakes us again. */
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	deliver_all(arg);
}

enum hc_status
hc_mailbox_create(struct event_base *base, void *receiver, struct hc_mailbox **out)
{
	struct hc_mailbox *mailbox = hc_calloc(1, sizeof(*mailbox));
	if (mailbox == NULL)
		return HC_NOMEM;
	mailbox->receiver = receiver;
	mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mailbox->fd < 0)
		goto free_mailbox;
	mailbox->event = event_new(base, mailbox->fd, EV_READ | EV_PERSIST, on_wake, mailbox);
	if (mailbox->event == NULL || event_add(mailbox->event, NULL) != 0)
		goto close_fd;
	pthread_mutex_init(&mailbox->lock, NULL);
	*out = mailbox;
	return HC_OK;

close_fd:
	if (mailbox->event != NULL)
		event_free(mailbox->event);
	close(mailbox->fd);
free_mailbox:
	hc_free(mailbox);
	return HC_ERROR;
}

void
hc_mailbox_destroy(struct hc_mailbox *mailbox)
{
	if (mailbox == NULL)
		return;
	deliver_all(mailbox);
	/* Who sent the last one may be waking us still. */
	pthread_mutex_lock(&mailbox->lock);
	pthread_mutex_unlock(&mailbox->lock);
	event_free(mailbox->event);
	close(mailbox->fd);
	pthread_mutex_destroy(&mailbox->lock);
	hc_free(mailbox);
}

void
hc_mailbox_send(struct hc_mailbox *mailbox, struct hc_message *message)
{
	uint64_t one = 1;
	bool was_empty;

	assert(message->deliver != NULL);
	message->next = NULL;
	pthread_mutex_lock(&mailbox->lock);
	was_empty = mailbox->head == NULL;
	if (was_empty)
		mailbox->head = message;
	else
		mailbox->tail->next = message;
	mailbox->tail = message;
	/* Under the lock, so that the mailbox is not destroyed meanwhile by a receiver that has found the message. */
	if (was_empty && write(mailbox->fd, &one, sizeof(one)) < 0) {
		/* The counter is at its top: the receiver is awake already. */
	}
	pthread_mutex_unlock(&mailbox->lock);
}
