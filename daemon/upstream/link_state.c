/*
 * The link's states: which moves are allowed, and what must hold in each. Only assertions: a
 * failure here is a bug of ours. One thread: the link's.
 */
#include <assert.h>
#include "base/clock.h"
#include "upstream/link_internal.h"

static const bool allowed[HC_LINK_STATES][HC_LINK_STATES] = {
    [HC_LINK_CLOSED] = {[HC_LINK_CONNECTING] = true},
    [HC_LINK_CONNECTING] = {[HC_LINK_HANDSHAKE] = true, [HC_LINK_BACKOFF] = true, [HC_LINK_CLOSED] = true},
    [HC_LINK_HANDSHAKE] = {[HC_LINK_UP] = true, [HC_LINK_BACKOFF] = true, [HC_LINK_CLOSED] = true},
    [HC_LINK_UP] = {[HC_LINK_BACKOFF] = true, [HC_LINK_CLOSED] = true},
    [HC_LINK_BACKOFF] = {[HC_LINK_CONNECTING] = true, [HC_LINK_CLOSED] = true},
};

static const char *const names[HC_LINK_STATES] = {
    [HC_LINK_CLOSED] = "closed",
    [HC_LINK_CONNECTING] = "connecting",
    [HC_LINK_HANDSHAKE] = "handshake",
    [HC_LINK_UP] = "up",
    [HC_LINK_BACKOFF] = "backoff",
};

const char *
hc_link_state_name(enum hc_link_state state)
{
	return names[state];
}

enum hc_breaker
hc_link_breaker_of(enum hc_link_state state)
{
	switch (state) {
	case HC_LINK_UP:
		return HC_BREAKER_CLOSED;
	case HC_LINK_CONNECTING:
	case HC_LINK_HANDSHAKE:
		return HC_BREAKER_HALF_OPEN;
	default:
		return HC_BREAKER_OPEN;
	}
}

void
hc_link_set_state(struct hc_link *link, enum hc_link_state state)
{
	enum hc_link_state from = link->state;

	assert(allowed[from][state]);
	if ((from == HC_LINK_UP) != (state == HC_LINK_UP))
		link->stats.since_ms = hc_clock_mono_ms();
	link->state = state;
	if (link->owner.on_state != NULL)
		link->owner.on_state(link->owner.arg, from, state);
}

static void
check_no_connection(const struct hc_link *link)
{
	assert(link->bev == NULL && link->reader == NULL);
	assert(link->resolve == NULL && link->addrs == NULL);
	assert(link->pending.count == 0);
	assert(!link->broken && !link->subscribed);
}

void
hc_link_check(const struct hc_link *link)
{
	bool will_run = link->broken || link->timer_at_ms != HC_LINK_NEVER;

	switch (link->state) {
	case HC_LINK_CLOSED:
		check_no_connection(link);
		break;
	case HC_LINK_BACKOFF:
		check_no_connection(link);
		assert(will_run);
		break;
	case HC_LINK_CONNECTING:
		assert(link->bev != NULL || link->resolve != NULL || link->broken);
		assert(link->pending.count == 0 && !link->subscribed);
		assert(will_run);
		break;
	case HC_LINK_HANDSHAKE:
		assert(link->bev != NULL && link->reader != NULL);
		assert(link->pending.count != 0 || link->broken);
		assert(!link->subscribed);
		assert(will_run);
		break;
	case HC_LINK_UP:
		assert(link->bev != NULL && link->reader != NULL);
		assert(!link->has_stragglers);
		assert(link->pending.count == 0 || will_run);
		break;
	default:
		assert(link->state < HC_LINK_STATES);
	}
}
