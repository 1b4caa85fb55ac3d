/*
 * The link's public functions, its one timer, and what happens when a connection fails. One thread:
 * the loop's. Owns the struct and what its fields say.
 */
#include <assert.h>
#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/resp_reply.h"
#include "upstream/link_internal.h"

#define LINK_MAGIC 0x4c696e6bU /* "Link" */

struct hc_link *
hc_link_of(void *arg)
{
	struct hc_link *link = arg;

	assert(link->magic == LINK_MAGIC);
	return link;
}

/* ---- the timer ---- */

/*
 * When the link has to look after itself next. Replies come in the order of the commands, so the
 * oldest command's deadline stands for all.
 */
static int64_t
due_ms(const struct hc_link *link)
{
	const struct hc_pending_entry *head;

	switch (link->state) {
	case HC_LINK_CONNECTING:
	case HC_LINK_HANDSHAKE:
		return link->attempt_deadline_ms;
	case HC_LINK_UP:
		head = hc_pending_head(&link->pending);
		return head == NULL ? HC_LINK_NEVER : head->deadline_ms;
	case HC_LINK_BACKOFF:
		return link->retry_at_ms;
	default:
		return HC_LINK_NEVER;
	}
}

/*
 * Makes the timer fire at `at_ms` or before. Firing too early costs nothing but a look, so the
 * timer is left alone when it stands early enough: it moves once per timeout, not once per command.
 */
static void
arm_timer(struct hc_link *link, int64_t at_ms)
{
	int64_t wait_ms;
	struct timeval wait;

	if (link->timer_at_ms <= at_ms)
		return;
	wait_ms = at_ms - hc_clock_mono_ms();
	if (wait_ms < 0)
		wait_ms = 0;
	wait.tv_sec = (time_t)(wait_ms / 1000);
	wait.tv_usec = (suseconds_t)(wait_ms % 1000 * 1000);
	link->timer_at_ms = at_ms;
	if (event_add(link->timer, &wait) != 0) /* out of memory: poll until it is back */
		event_active(link->timer, EV_TIMEOUT, 0);
}

void
hc_link_rest(struct hc_link *link)
{
	if (link->broken || link->state != HC_LINK_UP || hc_pending_head(&link->pending) != NULL ||
	    link->timer_at_ms == HC_LINK_NEVER)
		return;
	link->timer_at_ms = HC_LINK_NEVER;
	event_del(link->timer);
}

void
hc_link_break(struct hc_link *link, enum hc_status head_status, const char *format, ...)
{
	va_list args;

	if (link->broken)
		return;
	va_start(args, format);
	vsnprintf(link->why, sizeof(link->why), format, args);
	va_end(args);
	link->broken = true;
	link->head_status = head_status;
	event_active(link->timer, EV_TIMEOUT, 0);
}

/* ---- up and down ---- */

/* Commands were sent that nobody knows the end of. */
static void
leave_stragglers(struct hc_link *link)
{
	assert(!link->has_stragglers);
	hc_link_reset_on_close(link);
	link->given_up = link->peer;
	link->has_stragglers = true;
	if (link->config.stragglers != NULL)
		hc_stragglers_left(link->config.stragglers, link->config.number, &link->given_up);
}

static void
forget_stragglers(struct hc_link *link)
{
	if (link->has_stragglers && link->config.stragglers != NULL)
		hc_stragglers_ended(link->config.stragglers, link->config.number, 0);
	link->has_stragglers = false;
}

void
hc_link_came_up(struct hc_link *link)
{
	struct hc_log_quoted url;
	const char *shown = link->config.url->shown;

	forget_stragglers(link);
	hc_link_set_state(link, HC_LINK_UP);
	link->proven = false;
	link->attempts = 0;
	link->note[0] = '\0';
	link->stats.connects++;
	link->reported = REPORTED_UP;
	hc_log(
	    HC_LOG_INFO, "upstream_up", "link=%s url=%s", link->config.name, hc_log_quote(&url, shown, strlen(shown)));
	if (link->owner.on_up != NULL) {
		link->calling++;
		link->owner.on_up(link->owner.arg, link);
		link->calling--;
	}
}

/* A line at the change; an upstream that stays away is not worth one per attempt. */
static void
report_down(struct hc_link *link, const char *why, int64_t delay_ms)
{
	struct hc_log_quoted url;
	struct hc_log_quoted reason;
	const char *shown = link->config.url->shown;
	enum hc_log_level level = link->reported == REPORTED_DOWN ? HC_LOG_DEBUG : HC_LOG_WARN;

	link->reported = REPORTED_DOWN;
	hc_log(level, "upstream_down", "link=%s url=%s why=%s backoff_ms=%lld", link->config.name,
	    hc_log_quote(&url, shown, strlen(shown)), hc_log_quote(&reason, why, strlen(why)), (long long)delay_ms);
}

/* Tells those who waited; frees `lost`. */
static void
answer_lost(struct hc_link *link, struct hc_pending *lost, enum hc_status head_status)
{
	struct hc_pending_entry entry;
	enum hc_status status = head_status;

	link->calling++;
	while (hc_pending_pop(lost, &entry)) {
		if (entry.fn != NULL)
			entry.fn(entry.arg, status, NULL);
		status = HC_DOWN;
	}
	link->calling--;
	hc_pending_fini(lost);
}

/*
 * The end of a connection or of an attempt. The link is in its new state before anyone is called,
 * so whatever they do finds it consistent: what they send gets HC_DOWN.
 */
static void
fail(struct hc_link *link)
{
	struct hc_pending lost;
	char why[HC_LINK_WHY_MAX];
	int64_t delay_ms;

	memcpy(why, link->why, sizeof(why));
	if (link->state == HC_LINK_UP && link->pending.count > 0)
		leave_stragglers(link);
	hc_pending_take(&link->pending, &lost);
	hc_link_hang_up(link);
	bool hung = link->head_status == HC_TIMEOUT && !link->proven;
	if (link->retry_soon || (link->state == HC_LINK_UP && !hung))
		hc_backoff_reset(&link->backoff);
	link->retry_soon = false;
	link->attempts++;
	link->stats.failures++;
	delay_ms = hc_backoff_next_ms(&link->backoff);
	link->retry_at_ms = hc_clock_mono_ms() + delay_ms;
	hc_link_set_state(link, HC_LINK_BACKOFF);
	arm_timer(link, link->retry_at_ms);

	report_down(link, why, delay_ms);
	answer_lost(link, &lost, link->head_status);
	if (link->owner.on_down != NULL) {
		link->calling++;
		link->owner.on_down(link->owner.arg, link, why);
		link->calling--;
	}
}

static void
attempt(struct hc_link *link)
{
	link->attempt_deadline_ms = hc_clock_mono_ms() + link->config.connect_timeout_ms;
	hc_link_set_state(link, HC_LINK_CONNECTING);
	hc_link_dial(link);
}

static void
handle_due(struct hc_link *link)
{
	switch (link->state) {
	case HC_LINK_CONNECTING:
		hc_link_break(link, HC_TIMEOUT, "not connected in time");
		break;
	case HC_LINK_HANDSHAKE:
		hc_link_break(link, HC_TIMEOUT, "handshake not answered in time");
		break;
	case HC_LINK_UP:
		link->stats.timeouts++;
		hc_link_break(link, HC_TIMEOUT, "command not answered in time");
		break;
	case HC_LINK_BACKOFF:
		attempt(link);
		break;
	default:
		break;
	}
}

/* The only place where a connection ends, but for destroy; nothing of the link is on the stack
 * below it. */
static void
handle_broken(struct hc_link *link)
{
	bool in_time = hc_clock_mono_ms() < link->attempt_deadline_ms;

	if (link->state == HC_LINK_CONNECTING && in_time && !link->retry_soon && hc_link_dial_next(link))
		return;
	fail(link);
}

static void
on_timer(evutil_socket_t fd, short events, void *arg)
{
	struct hc_link *link = hc_link_of(arg);

	(void)fd;
	(void)events;
	link->timer_at_ms = HC_LINK_NEVER;
	if (link->broken)
		handle_broken(link);
	else if (hc_clock_mono_ms() >= due_ms(link))
		handle_due(link);
	if (!link->broken && due_ms(link) != HC_LINK_NEVER)
		arm_timer(link, due_ms(link));
	hc_link_check(link);
}

/* ---- public functions ---- */

enum hc_status
hc_link_create(struct event_base *base, const struct hc_link_config *config, const struct hc_link_owner *owner,
    struct hc_link **out)
{
	struct hc_link *link = hc_calloc(1, sizeof(*link));

	if (link == NULL)
		return HC_NOMEM;
	link->magic = LINK_MAGIC;
	link->base = base;
	link->config = *config;
	link->owner = *owner;
	link->timer_at_ms = HC_LINK_NEVER;
	link->stats.since_ms = hc_clock_mono_ms();
	hc_backoff_init(&link->backoff, config->backoff_min_ms, config->backoff_max_ms);
	hc_pending_init(&link->pending);
	link->timer = event_new(base, -1, 0, on_timer, link);
	if (link->timer == NULL) {
		hc_free(link);
		return HC_NOMEM;
	}
	*out = link;
	return HC_OK;
}

void
hc_link_destroy(struct hc_link *link)
{
	struct hc_pending lost;

	if (link == NULL)
		return;
	assert(link->calling == 0);
	if (link->pending.count > 0)
		hc_link_reset_on_close(link);
	hc_pending_take(&link->pending, &lost);
	hc_link_hang_up(link);
	link->owner.on_state = NULL;
	if (link->state != HC_LINK_CLOSED)
		hc_link_set_state(link, HC_LINK_CLOSED);
	answer_lost(link, &lost, HC_DOWN);
	event_free(link->timer);
	hc_pending_fini(&link->pending);
	link->magic = 0;
	hc_free(link);
}

void
hc_link_start(struct hc_link *link)
{
	if (link->state != HC_LINK_CLOSED)
		return;
	attempt(link);
	arm_timer(link, due_ms(link));
	hc_link_check(link);
}

/*
 * Formats straight into the output buffer, in one run of memory: the arguments are copied once, and
 * a failed allocation leaves no half a command behind.
 */
static enum hc_status
write_command(struct hc_link *link, const struct hc_slice *argv, size_t argc)
{
	struct evbuffer *output = bufferevent_get_output(link->bev);
	size_t len = hc_resp_put_command(NULL, 0, argv, argc);
	struct evbuffer_iovec space;

	if (evbuffer_reserve_space(output, (ev_ssize_t)len, &space, 1) != 1)
		return HC_NOMEM;
	hc_resp_put_command(space.iov_base, space.iov_len, argv, argc);
	space.iov_len = len;
	if (evbuffer_commit_space(output, &space, 1) != 0)
		return HC_NOMEM;
	link->stats.bytes_out += len;
	return HC_OK;
}

enum hc_status
hc_link_enqueue(struct hc_link *link, const struct hc_slice *argv, size_t argc, const struct hc_pending_entry *entry)
{
	enum hc_status status = hc_pending_reserve(&link->pending);

	if (status == HC_OK)
		status = write_command(link, argv, argc);
	if (status != HC_OK)
		return status;
	hc_pending_push(&link->pending, entry);
	link->stats.commands++;
	arm_timer(link, entry->deadline_ms);
	return HC_OK;
}

enum hc_status
hc_link_send(struct hc_link *link, const struct hc_slice *argv, size_t argc, hc_link_reply_fn *fn, void *arg)
{
	struct hc_pending_entry entry = {.fn = fn, .arg = arg};

	if (!hc_link_is_up(link))
		return HC_DOWN;
	entry.deadline_ms = hc_clock_mono_ms() + link->config.timeout_ms;
	return hc_link_enqueue(link, argv, argc, &entry);
}

enum hc_status
hc_link_send_push(struct hc_link *link, const struct hc_slice *argv, size_t argc)
{
	struct hc_pending_entry entry = {0};
	enum hc_status status;

	assert(link->owner.on_push != NULL);
	if (!hc_link_is_up(link))
		return HC_DOWN;
	/* One push confirms each channel. UNSUBSCRIBE without channels is confirmed at least once.
	 */
	entry.pushes = argc > 1 ? (uint32_t)(argc - 1) : 1;
	entry.deadline_ms = hc_clock_mono_ms() + link->config.timeout_ms;
	status = hc_link_enqueue(link, argv, argc, &entry);
	if (status == HC_OK)
		link->subscribed = true;
	return status;
}

void
hc_link_reconnect(struct hc_link *link, const char *why)
{
	switch (link->state) {
	case HC_LINK_CLOSED:
		return;
	case HC_LINK_BACKOFF:
		hc_backoff_reset(&link->backoff);
		link->retry_at_ms = hc_clock_mono_ms() + hc_backoff_next_ms(&link->backoff);
		arm_timer(link, link->retry_at_ms);
		return;
	default:
		link->retry_soon = true;
		hc_link_break(link, HC_DOWN, "%s", why);
	}
}

enum hc_link_state
hc_link_state(const struct hc_link *link)
{
	return link->state;
}

bool
hc_link_is_up(const struct hc_link *link)
{
	return link->state == HC_LINK_UP && !link->broken;
}

void
hc_link_stats(const struct hc_link *link, struct hc_link_stats *out)
{
	*out = link->stats;
	out->state = link->state;
	out->waiting = link->pending.count;
}

const struct hc_peer *
hc_link_peer(const struct hc_link *link)
{
	return &link->peer;
}

void
hc_link_set_times(struct hc_link *link, const struct hc_link_config *config)
{
	link->config.timeout_ms = config->timeout_ms;
	link->config.connect_timeout_ms = config->connect_timeout_ms;
	if (link->backoff.min_ms != config->backoff_min_ms || link->backoff.max_ms != config->backoff_max_ms)
		hc_backoff_init(&link->backoff, config->backoff_min_ms, config->backoff_max_ms);
}
