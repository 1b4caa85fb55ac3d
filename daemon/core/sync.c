/*
 * Keeping in step with the fleet: the control link and the event link. Main thread, but for what says otherwise.
 *
 *     event link:   up → SUBSCRIBE → confirmed ┐
 *     control link: up ────────────────────────┴→ state script: incarnation, epochs → all local copies forgotten
 *                                                  → coherent: copies may be kept → outage list made up for
 *     every quarter lease: PING on the event link (no pong within half a lease: it is dead), look at the incarnation;
 *                          a heartbeat every other time
 *
 * What happened while the event link was away is not known, so nothing that was kept from before is believed once
 * it is back. While the upstream is away altogether, local copies go on being served.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/internal.h"
#include "proto/lua_scripts.h"

#define REPLAY_PAGE 256
#define HEARTBEAT_BYTES 1024
#define GOODBYE_MS 200
#define TICKS_A_LEASE 4
#define TICKS_A_HEARTBEAT 2

struct hc_sync {
	struct hc_core *core;
	struct event_base *base;
	struct hc_stats *stats;
	struct hc_link *control;
	struct hc_link *events;
	struct event *tick;
	struct hc_mailbox *mailbox;
	struct hc_message request;
	_Atomic bool requested;
	_Atomic int64_t coherent_since_ms; /* monotonic, of the last change either way */
	bool subscribed;
	bool asking; /* the state script is under way */
	bool replaying;
	bool goodbye_sent;
	bool forgotten; /* … all copies, since it was last coherent */
	unsigned ticks;
	struct hc_outage_page page; /* being replayed */
};

static void
set_coherent(struct hc_sync *sync, bool coherent)
{
	if (atomic_exchange(&sync->core->coherent, coherent) == coherent)
		return;
	atomic_store(&sync->coherent_since_ms, hc_clock_mono_ms());
	sync->forgotten = false;
}

void
hc_sync_status(struct hc_core *core, struct hc_core_status *out)
{
	if (core->sync == NULL)
		return;
	out->event_link = atomic_load(&core->coherent) ? HC_UPSTREAM_UP : HC_UPSTREAM_DOWN;
	out->event_link_for_ms = hc_clock_mono_ms() - atomic_load(&core->sync->coherent_since_ms);
}

/* ---- making up for an outage ---- */

static void replay(struct hc_sync *sync);

static void
replay_ended(struct hc_sync *sync, enum hc_status status)
{
	sync->replaying = false;
	if (status == HC_OK)
		hc_outage_settle(sync->core->outage, &sync->page);
	hc_outage_page_fini(&sync->page);
	if (status == HC_OK)
		replay(sync);
	/* Otherwise the next tick, or the next connection, tries again. */
}

static void
on_flushed(void *arg, enum hc_status status)
{
	replay_ended(arg, status);
}

static void
take_new_epochs(struct hc_sync *sync, const redisReply *reply)
{
	for (size_t i = 0; i < sync->page.n_models; i++) {
		struct hc_script_result result;
		if (hc_script_result(reply, i, &result) == HC_OK && result.done)
			hc_models_raise(sync->core->models, sync->page.models[i], result.epoch);
	}
}

/*
 * The keys are gone upstream, and so are whatever was kept here of them from before: nobody would hear of what
 * becomes of a key that only this daemon has.
 */
static void
drop_replayed(struct hc_sync *sync, const redisReply *reply)
{
	for (size_t i = 0; i < sync->page.n_keys; i++) {
		struct hc_script_result result;
		uint64_t version = 1; /* it was not there; what has no version is of the outage */
		if (hc_script_result(reply, sync->page.n_models + i, &result) == HC_OK && result.seq > 0)
			version = result.seq;
		hc_store_invalidate(sync->core->store, hc_key(sync->page.keys[i]), version);
	}
}

static void
on_replayed(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;

	if (status == HC_OK && reply->type != REDIS_REPLY_ARRAY)
		status = HC_ERROR;
	if (status == HC_OK) {
		take_new_epochs(sync, reply);
		drop_replayed(sync, reply);
		hc_stats_add(sync->stats, invalidations_out, sync->page.n_models + sync->page.n_keys);
	}
	replay_ended(sync, status);
}

static enum hc_status
send_replay(struct hc_sync *sync)
{
	const struct hc_outage_page *page = &sync->page;
	struct hc_script_call *call;

	enum hc_status status = hc_script_call_create(sync->core, page->n_models + page->n_keys, &call);
	if (status != HC_OK)
		return status;
	for (size_t i = 0; status == HC_OK && i < page->n_models; i++) {
		/* Cleared here twice, it is two ahead: an upstream that lags behind would make its values look old for
		 * ever. */
		struct hc_op op = {.kind = HC_OP_CLEAR_MODEL, .model = page->models[i]};
		op.epoch = hc_models_epoch(sync->core->models, op.model);
		status = hc_script_call_add(call, &op);
	}
	for (size_t i = 0; status == HC_OK && i < page->n_keys; i++) {
		struct hc_op op = {.kind = HC_OP_DEL, .key = hc_key(page->keys[i])};
		status = hc_script_call_add(call, &op);
	}
	if (status == HC_OK)
		status = hc_script_call_send(call, sync->control, "", on_replayed, sync);
	hc_script_call_destroy(call);
	return status;
}

static void
replay(struct hc_sync *sync)
{
	struct hc_outage *outage = sync->core->outage;
	enum hc_status status;

	if (sync->replaying || hc_outage_empty(outage) || !hc_link_is_up(sync->control))
		return;
	if (hc_outage_take(outage, REPLAY_PAGE, &sync->page) != HC_OK)
		return;
	sync->replaying = true;
	if (sync->page.all) {
		status = hc_flush_start(sync->core, sync->control, on_flushed, sync);
		status = status == HC_PENDING ? HC_OK : status;
	} else {
		status = send_replay(sync);
	}
	if (status != HC_OK)
		replay_ended(sync, status);
}

/* ---- getting in step ---- */

static uint32_t
field_number(const redisReply *value)
{
	uint64_t n = 0;

	if (value->type == REDIS_REPLY_STRING)
		(void)hc_num_u64(hc_slice(value->str, (size_t)value->len), &n);
	return (uint32_t)n;
}

static uint32_t
incarnation_of(const redisReply *state)
{
	for (size_t i = 0; i + 1 < state->elements; i += 2) {
		if (state->element[i]->type == REDIS_REPLY_STRING && strcmp(state->element[i]->str, "inc") == 0)
			return field_number(state->element[i + 1]);
	}
	return 0;
}

static void
take_epochs(struct hc_core *core, const redisReply *state)
{
	for (size_t i = 0; i + 1 < state->elements; i += 2) {
		const redisReply *field = state->element[i];
		uint32_t id;
		if (field->type != REDIS_REPLY_STRING || field->len < 3 || memcmp(field->str, "m:", 2) != 0)
			continue;
		/* A model that has no place here is never served either: its frames find none. */
		if (hc_models_intern(core->models, hc_slice(field->str + 2, (size_t)field->len - 2), &id) == HC_OK)
			hc_models_raise(core->models, id, field_number(state->element[i + 1]));
	}
}

static void
on_state(void *arg, enum hc_status status, const redisReply *state)
{
	struct hc_sync *sync = arg;
	struct hc_core *core = sync->core;
	uint32_t incarnation;

	sync->asking = false;
	if (status != HC_OK || state->type != REDIS_REPLY_ARRAY || (incarnation = incarnation_of(state)) == 0) {
		static struct hc_log_limit limit;
		struct hc_log_quoted quoted;
		if (status == HC_OK && state->type == REDIS_REPLY_ERROR && hc_log_allow(&limit, 10000))
			hc_log(HC_LOG_WARN, "fleet_state_refused", "error=%s",
			    hc_log_quote(&quoted, state->str, (size_t)state->len));
		return;
	}
	bool new_life = atomic_load(&core->incarnation) != incarnation;
	take_epochs(core, state);
	atomic_store(&core->incarnation, incarnation);
	hc_core_distrust_all(core);
	hc_stats_count(sync->stats, resyncs);
	if (sync->subscribed)
		set_coherent(sync, true);
	hc_log(HC_LOG_INFO, "fleet_in_step", "incarnation=%" PRIu32 " new=%s queued=%" PRIu64, incarnation,
	    new_life ? "yes" : "no", hc_outage_count(core->outage));
	replay(sync);
}

/* Arguments of the state script: our epochs, those that are not 0. */
struct state_call {
	struct hc_slice *argv;
	size_t argc;
	char (*numbers)[16];
	char incarnation[16];
};

static bool
state_call_fill(struct state_call *call, struct hc_core *core)
{
	uint32_t models = hc_models_count(core->models), candidate = 0;

	call->argv = hc_calloc(5 + (size_t)models * 2, sizeof(*call->argv));
	call->numbers = hc_calloc(models, sizeof(*call->numbers));
	if (call->argv == NULL || call->numbers == NULL)
		return false;
	while (candidate == 0 && hc_random(&candidate, sizeof(candidate)) == 0)
		continue;
	snprintf(call->incarnation, sizeof(call->incarnation), "%" PRIu32, candidate);
	call->argv[call->argc++] = HC_SLICE("EVAL");
	call->argv[call->argc++] = hc_slice(hc_lua_state, hc_lua_state_len);
	call->argv[call->argc++] = HC_SLICE("1");
	call->argv[call->argc++] = hc_fleet_state_key(core->fleet);
	call->argv[call->argc++] = hc_slice_str(call->incarnation);
	for (uint32_t id = 0; id < models; id++) {
		uint32_t epoch = hc_models_epoch(core->models, id);
		if (epoch == 0)
			continue;
		snprintf(call->numbers[id], sizeof(call->numbers[id]), "%" PRIu32, epoch);
		call->argv[call->argc++] = hc_models_name(core->models, id);
		call->argv[call->argc++] = hc_slice_str(call->numbers[id]);
	}
	return true;
}

/* When both links are ready: what has been missed? */
static void
get_in_step(struct hc_sync *sync)
{
	struct state_call call = {0};

	if (sync->asking || !sync->subscribed || !hc_link_is_up(sync->control))
		return;
	if (state_call_fill(&call, sync->core)) /* else the next tick tries again */
		sync->asking = hc_link_send(sync->control, call.argv, call.argc, on_state, sync) == HC_OK;
	hc_free(call.argv);
	hc_free(call.numbers);
}

static void
on_request(struct hc_message *message, void *receiver)
{
	struct hc_sync *sync = receiver;

	(void)message;
	atomic_store(&sync->requested, false);
	set_coherent(sync, false);
	get_in_step(sync);
}

void
hc_sync_request(struct hc_core *core)
{
	struct hc_sync *sync = core->sync;

	atomic_store(&core->coherent, false);
	if (sync == NULL || atomic_exchange(&sync->requested, true))
		return;
	sync->request.deliver = on_request;
	hc_mailbox_send(sync->mailbox, &sync->request);
}

/* ---- is it there? ---- */

/* Answered: the upstream is there. */
static void
on_incarnation(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;
	struct hc_core *core = sync->core;

	if (status != HC_OK || reply->type == REDIS_REPLY_ERROR)
		return;
	if (!atomic_load(&core->coherent)) {
		/* … but its events are not: what is kept would grow old unnoticed. */
		if (!sync->subscribed && !sync->forgotten)
			hc_core_distrust_all(core);
		sync->forgotten = true;
		get_in_step(sync);
	} else if (field_number(reply) != atomic_load(&core->incarnation)) {
		set_coherent(sync, false);
		get_in_step(sync);
	}
}

static void
ask_incarnation(struct hc_sync *sync)
{
	const struct hc_slice argv[] = {HC_SLICE("HGET"), hc_fleet_state_key(sync->core->fleet), HC_SLICE("inc")};

	(void)hc_link_send(sync->control, argv, 3, on_incarnation, sync);
}

/* ---- events ---- */

/*
 * Own events come back as well. Mostly they tell nothing new; but one of a write whose answer never came tells that
 * it was carried out after all, perhaps after its key had been fetched anew.
 */
static void
invalidate_keys(struct hc_sync *sync, const struct hc_event *event, bool own)
{
	struct hc_core *core = sync->core;

	for (size_t i = 0; i < event->nkeys; i++) {
		struct hc_slice key = event->keys[i];
		uint64_t version = event->seq == 0 ? 0 : event->seq + i;
		if (key.len < core->prefix.len || memcmp(key.ptr, core->prefix.ptr, core->prefix.len) != 0)
			continue; /* a sibling of another prefix */
		key = hc_slice(key.ptr + core->prefix.len, key.len - core->prefix.len);
		if (own)
			hc_store_invalidate_older(core->store, hc_key(key), version);
		else
			hc_store_invalidate(core->store, hc_key(key), version);
	}
	if (!own)
		hc_stats_add(sync->stats, invalidations_in, event->nkeys);
	hc_tier_kick(core->tier);
}

static void
apply(void *arg, const struct hc_event *event, bool own)
{
	struct hc_sync *sync = arg;
	struct hc_core *core = sync->core;
	struct hc_slice name = event->model.len > 0 ? event->model : HC_SLICE("default");
	uint32_t id;

	switch (event->type) {
	case HC_EVENT_SET:
	case HC_EVENT_DEL:
	case HC_EVENT_EXPIRE:
		invalidate_keys(sync, event, own);
		return;
	case HC_EVENT_CLEAR_MODEL:
		if (hc_models_intern(core->models, name, &id) == HC_OK)
			hc_models_raise(core->models, id, (uint32_t)event->epoch);
		break;
	case HC_EVENT_CLEAR_ALL:
		if (!own) /* its own part is done by whoever flushes */
			hc_core_clear_all(core);
		break;
	default:
		return;
	}
	if (!own)
		hc_stats_count(sync->stats, invalidations_in);
}

static void
on_message(struct hc_sync *sync, const redisReply *payload)
{
	static struct hc_log_limit limit;

	if (payload->type != REDIS_REPLY_STRING)
		return;
	long n = hc_fleet_receive(sync->core->fleet, hc_slice(payload->str, (size_t)payload->len), apply, sync);
	if (n > 0)
		hc_stats_add(sync->stats, events_received, (uint64_t)n);
	if (n >= 0)
		return;
	hc_stats_count(sync->stats, events_bad);
	if (hc_log_allow(&limit, 1000))
		hc_log(HC_LOG_WARN, "event_malformed", "bytes=%d", (int)payload->len);
	/* It may have told of anything. */
	hc_core_distrust_all(sync->core);
}

static void
on_push(void *arg, struct hc_link *link, const redisReply *push)
{
	struct hc_sync *sync = arg;
	const char *kind = push->element[0]->str;

	(void)link;
	if (strcmp(kind, "message") == 0 && push->elements == 3) {
		on_message(sync, push->element[2]);
	} else if (strcmp(kind, "subscribe") == 0) {
		sync->subscribed = true;
		get_in_step(sync);
	}
}

static void
on_events_up(void *arg, struct hc_link *link)
{
	struct hc_sync *sync = arg;
	const struct hc_slice argv[] = {HC_SLICE("SUBSCRIBE"), hc_fleet_channel(sync->core->fleet)};

	if (hc_link_send_push(link, argv, 2) != HC_OK)
		hc_link_reconnect(link, "out of memory");
}

static void
on_events_down(void *arg, struct hc_link *link, const char *why)
{
	struct hc_sync *sync = arg;

	(void)link;
	(void)why;
	sync->subscribed = false;
	set_coherent(sync, false);
	ask_incarnation(sync);
}

static void
on_control_up(void *arg, struct hc_link *link)
{
	(void)link;
	get_in_step(arg);
}

static void
on_control_down(void *arg, struct hc_link *link, const char *why)
{
	struct hc_sync *sync = arg;

	(void)link;
	(void)why;
	sync->asking = false;
}

/* ---- the tick ---- */

static enum hc_status
publish_heartbeat(struct hc_sync *sync, bool leaving, hc_link_reply_fn *fn)
{
	char text[HEARTBEAT_BYTES];
	size_t len = hc_fleet_heartbeat(sync->core->fleet, text, sizeof(text), leaving);
	const struct hc_slice argv[] = {HC_SLICE("PUBLISH"), hc_fleet_channel(sync->core->fleet), hc_slice(text, len)};

	return len == 0 ? HC_LIMIT : hc_link_send(sync->control, argv, 3, fn, sync);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct hc_sync *sync = arg;
	const struct hc_slice ping[] = {HC_SLICE("PING")};

	(void)fd;
	(void)what;
	(void)hc_link_send(sync->events, ping, 1, NULL, NULL);
	ask_incarnation(sync);
	if (sync->ticks++ % TICKS_A_HEARTBEAT == 0 && hc_link_is_up(sync->control))
		(void)publish_heartbeat(sync, false, NULL);
	if (atomic_load(&sync->core->coherent))
		replay(sync);
}

/* ---- life ---- */

static struct timeval
tick_period(const struct hc_core *core)
{
	int64_t ms = core->settings->fleet_lease / TICKS_A_LEASE;

	return (struct timeval){ms / 1000, ms % 1000 * 1000};
}

void
hc_sync_apply_settings(struct hc_core *core)
{
	struct hc_sync *sync = core->sync;
	struct timeval period = tick_period(core);
	struct hc_link_config config;

	hc_fleet_set_lease(core->fleet, core->settings->fleet_lease);
	hc_core_link_config(core, "harcad-control", &config);
	hc_link_set_times(sync->control, &config);
	config.timeout_ms = core->settings->fleet_lease / 2;
	hc_link_set_times(sync->events, &config);
	event_add(sync->tick, &period);
}

static enum hc_status
create_links(struct hc_sync *sync)
{
	struct hc_link_config config;
	const struct hc_link_owner events = {
	    .arg = sync, .on_up = on_events_up, .on_down = on_events_down, .on_push = on_push};
	const struct hc_link_owner control = {.arg = sync, .on_up = on_control_up, .on_down = on_control_down};

	hc_core_link_config(sync->core, "harcad-events", &config);
	config.timeout_ms = sync->core->settings->fleet_lease / 2;
	enum hc_status status = hc_link_create(sync->base, &config, &events, &sync->events);
	if (status != HC_OK)
		return status;
	hc_core_link_config(sync->core, "harcad-control", &config);
	return hc_link_create(sync->base, &config, &control, &sync->control);
}

enum hc_status
hc_sync_create(struct hc_core *core, struct event_base *base, struct hc_stats *stats)
{
	struct timeval period = tick_period(core);
	struct hc_sync *sync = hc_calloc(1, sizeof(*sync));

	if (sync == NULL)
		return HC_NOMEM;
	core->sync = sync;
	sync->core = core;
	sync->base = base;
	sync->stats = stats;
	atomic_store(&sync->coherent_since_ms, hc_clock_mono_ms());
	enum hc_status status = hc_mailbox_create(base, sync, &sync->mailbox);
	if (status == HC_OK)
		status = create_links(sync);
	if (status == HC_OK) {
		sync->tick = event_new(base, -1, EV_PERSIST, on_tick, sync);
		status = sync->tick != NULL && event_add(sync->tick, &period) == 0 ? HC_OK : HC_NOMEM;
	}
	if (status != HC_OK) {
		hc_sync_destroy(core);
		return status;
	}
	hc_link_start(sync->control);
	hc_link_start(sync->events);
	return HC_OK;
}

static void
on_goodbye(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;

	(void)status;
	(void)reply;
	sync->goodbye_sent = true;
}

static void
say_goodbye(struct hc_sync *sync)
{
	int64_t deadline_ms = hc_clock_mono_ms() + GOODBYE_MS;
	struct timeval slice = {0, 10000};

	if (sync->control == NULL || !hc_link_is_up(sync->control) ||
	    publish_heartbeat(sync, true, on_goodbye) != HC_OK)
		return;
	while (!sync->goodbye_sent && hc_clock_mono_ms() < deadline_ms) {
		event_base_loopexit(sync->base, &slice);
		event_base_loop(sync->base, EVLOOP_ONCE);
	}
}

void
hc_sync_destroy(struct hc_core *core)
{
	struct hc_sync *sync = core->sync;

	if (sync == NULL)
		return;
	say_goodbye(sync);
	atomic_store(&core->coherent, false);
	if (sync->tick != NULL)
		event_free(sync->tick);
	hc_link_destroy(sync->events);
	hc_link_destroy(sync->control);
	hc_outage_page_fini(&sync->page);
	core->sync = NULL;
	hc_mailbox_destroy(sync->mailbox);
	hc_free(sync);
}
