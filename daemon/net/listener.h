/*
 * Listening sockets: TCP and Unix, opened here or handed over by systemd. Main thread.
 */
#ifndef HC_NET_LISTENER_H
#define HC_NET_LISTENER_H

#include <event2/event.h>
#include <stdint.h>
#include "base/settings.h"
#include "base/status.h"

struct hc_listener;

typedef void hc_listener_fn(void *arg, int fd, uint32_t bound_model);

struct hc_listeners {
	struct hc_listener *head;
	struct event_base *base;
	hc_listener_fn *fn; /* is given each accepted, non-blocking descriptor */
	void *arg;
};

/*
 * Binds and listens: what systemd passed (LISTEN_FDS), else listen.tcp and listen.unix; and listen.models, whose names
 * `model_of` turns into ids. Nothing is accepted before hc_listeners_accept(). A sentence in `why` when it fails.
 */
enum hc_status hc_listeners_open(struct hc_listeners *listeners, const struct hc_settings *settings,
    enum hc_status (*model_of)(void *arg, struct hc_slice name, uint32_t *model), void *model_arg, char *why,
    size_t why_cap);
enum hc_status hc_listeners_accept(struct hc_listeners *listeners);
/* Stops accepting; Unix sockets that were made here are removed. */
void hc_listeners_close(struct hc_listeners *listeners);

#endif
