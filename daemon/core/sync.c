/*
 * Keeping in step with the fleet: the two links, what is asked once both are there, the tick. sync.h has the drawing.
 * Main thread, but for what says otherwise.
 *
 * What happened while the event link was away is replayed from the journal; if that cannot be, nothing that was kept
 * from before is believed until the upstream has been asked. While the upstream is away altogether, copies go on being
 * served.
 */
#include "core/sync.h"

#include <inttypes.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/life.h"

#define HEARTBEAT_BYTES 1024
#define GOODBYE_MS 200
#define TICKS_A_LEASE 4
#define TICKS_A_HEARTBEAT 2
#define SAVE_MS 1000

void
hc_sync_status(struct hc_core *core, struct hc_core_status *out)
{
	struct hc_doubt_status doubt;

	hc_doubt_status(core->doubt, &doubt);
	out->event_link = doubt.fenced ? HC_UPSTREAM_UP : HC_UPSTREAM_DOWN;
	out->event_link_for_ms = doubt.for_ms;
	out->fence_age_ms = doubt.fence_age_ms;
	out->lapses = doubt.lapses;
}

/* ---- the state ---- */

void
hc_sync_note_heard(struct hc_sync *sync)
{
	atomic_store(&sync->core->heard, sync->heard.upto);
	atomic_store(&sync->core->heard_life, sync->life);
	atomic_store(&sync->core->heard_incarnation, sync->incarnation);
}

static void
doubt_copies(struct hc_sync *sync, uint64_t seq, const char *why)
{
	hc_log(HC_LOG_INFO, "fleet_copies_suspect", "heard=%" PRIu64 " seq=%" PRIu64 " reason=\"%s\"", sync->heard.upto,
	    seq, why);
	hc_doubt_all(sync->core->doubt);
	hc_stats_count(sync->stats, resyncs);
}

void
hc_sync_lose(struct hc_sync *sync, uint64_t seq, const char *why)
{
	doubt_copies(sync, seq, why);
	hc_heard_begin(&sync->heard, seq);
	hc_sync_note_heard(sync);
	sync->cleared_seq = 0;
	hc_outage_unsure(sync->core->outage);
}

/* Whether the upstream goes on from where it was when it was heard of last; else why not. */
static const char *
why_not_the_same(const struct hc_sync *sync, uint32_t incarnation, uint64_t seq)
{
	if (sync->life == 0)
		return "what was heard before is not known";
	if (sync->control_life != sync->life)
		return "the upstream is another, or was restarted";
	if (incarnation != sync->incarnation)
		return "the upstream has lost the fleet's state";
	/* The event link may have brought more while the answer was on its way. */
	return seq < sync->asked_at ? "the upstream has lost changes" : NULL;
}

static void
refuse_state(const redisReply *state)
{
	static struct hc_log_limit limit;
	struct hc_log_quoted quoted;

	if (state->type == REDIS_REPLY_ERROR && hc_log_allow(&limit, 10000))
		hc_log(HC_LOG_WARN, "fleet_state_refused", "error=%s",
		    hc_log_quote(&quoted, state->str, (size_t)state->len));
}

static void
take_state(struct hc_sync *sync, uint32_t incarnation, uint64_t seq)
{
	const char *why = why_not_the_same(sync, incarnation, seq);

	if (why != NULL) {
		hc_heard_cut(&sync->heard); /* it was numbered otherwise */
		hc_sync_lose(sync, seq, why);
		hc_fleet_restart_seq(sync->core->fleet, seq);
	} else if (sync->unwatched && sync->core->settings->upstream_foreign_writes == HC_FOREIGN_MODE_STRICT) {
		/* Of what siblings did the journal tells all the same. */
		doubt_copies(sync, seq, "others may have written while nobody watched");
	}
	sync->unwatched = false;
	sync->life = sync->control_life;
	sync->incarnation = incarnation;
	atomic_store(&sync->core->incarnation, incarnation);
	atomic_store(&sync->core->life, sync->life);
	hc_sync_note_heard(sync);
	sync->following = true;
	hc_sync_replay(sync, seq);
}

static void
on_state(void *arg, enum hc_status status, const redisReply *state)
{
	struct hc_sync *sync = arg;

	sync->asking = false;
	if (status != HC_OK)
		return;
	uint32_t incarnation = state->type == REDIS_REPLY_ARRAY ? (uint32_t)hc_core_state_number(state, "inc") : 0;
	if (incarnation == 0) {
		refuse_state(state);
		return;
	}
	if (!sync->subscribed)
		return;
	if (sync->events_life != sync->control_life) { /* either may have been left behind */
		hc_link_reconnect(sync->events, "it leads to another server than the control link");
		hc_link_reconnect(sync->control, "it leads to another server than the event link");
		return;
	}
	hc_core_take_epochs(sync->core, state);
	sync->ahead = hc_core_is_ahead(sync->core, state);
	hc_sync_tell_epochs(sync);
	take_state(sync, incarnation, hc_core_state_number(state, "seq"));
}

uint64_t
hc_sync_life_of(enum hc_status status, const redisReply *info)
{
	if (status != HC_OK || info->type != REDIS_REPLY_STRING)
		return 0;
	return hc_life(hc_slice(info->str, (size_t)info->len));
}

/* It works as long as all keys of the fleet hash to one slot, and this is the node that has it. */
static void
look_for_cluster(enum hc_status status, const redisReply *info)
{
	static struct hc_log_limit limit;

	if (status == HC_OK && info->type == REDIS_REPLY_STRING &&
	    hc_life_in_cluster(hc_slice(info->str, (size_t)info->len)) && hc_log_allow(&limit, 60000))
		hc_log(HC_LOG_WARN, "upstream_in_cluster",
		    "consequence=\"writes fail unless upstream.prefix and fleet.name share a hash tag\"");
}

static void
on_control_info(void *arg, enum hc_status status, const redisReply *info)
{
	struct hc_sync *sync = arg;

	look_for_cluster(status, info);
	sync->control_life = hc_sync_life_of(status, info);
}

static void
on_events_info(void *arg, enum hc_status status, const redisReply *info)
{
	struct hc_sync *sync = arg;

	sync->events_life = hc_sync_life_of(status, info);
}

void
hc_sync_get_in_step(struct hc_sync *sync)
{
	const struct hc_slice info[] = {HC_SLICE("INFO")};

	if (sync->asking || !sync->subscribed || !hc_link_is_up(sync->control))
		return;
	sync->following = false; /* when it cannot be sent, the next tick tries again */
	sync->asked_at = sync->heard.upto;
	sync->looked_ms = hc_clock_mono_ms();
	if (hc_link_send(sync->control, info, 1, on_control_info, sync) == HC_OK)
		sync->asking = hc_sync_send_state(sync, on_state) == HC_OK;
}

static void
on_request(struct hc_message *message, void *receiver)
{
	struct hc_sync *sync = receiver;

	(void)message;
	atomic_store(&sync->requested, false);
	hc_doubt_unfenced(sync->core->doubt);
	hc_sync_get_in_step(sync);
}

void
hc_sync_request(struct hc_core *core)
{
	struct hc_sync *sync = core->sync;

	hc_doubt_unfenced(core->doubt);
	if (sync == NULL || atomic_exchange(&sync->requested, true))
		return;
	sync->request.deliver = on_request;
	hc_mailbox_send(sync->mailbox, &sync->request);
}

/* ---- the links ---- */

static void
on_push(void *arg, struct hc_link *link, const redisReply *push)
{
	struct hc_sync *sync = arg;
	const char *kind = push->element[0]->str;

	(void)link;
	if (push->elements != 3 || push->element[1]->type != REDIS_REPLY_STRING)
		return;
	if (strcmp(kind, "message") == 0 && strcmp(push->element[1]->str, HC_TRACKING_CHANNEL) == 0) {
		hc_sync_on_invalidated(sync, push->element[2]);
	} else if (strcmp(kind, "message") == 0) {
		hc_sync_on_message(sync, push->element[2]);
	} else if (strcmp(kind, "subscribe") == 0 && push->element[2]->integer == (long long)sync->channels) {
		sync->subscribed = true;
		hc_sync_get_in_step(sync);
	}
}

static void
on_events_up(void *arg, struct hc_link *link)
{
	struct hc_sync *sync = arg;
	const struct hc_slice info[] = {HC_SLICE("INFO")};

	if (hc_link_send(link, info, 1, on_events_info, sync) != HC_OK)
		hc_link_reconnect(link, "out of memory");
	else
		hc_sync_subscribe(sync);
}

static void
on_events_down(void *arg, struct hc_link *link, const char *why)
{
	struct hc_sync *sync = arg;

	(void)link;
	hc_sync_tracking_down(sync, why);
	sync->subscribed = sync->following = false;
	sync->unwatched = true;
	sync->events_life = 0;
	hc_heard_cut(&sync->heard);
	hc_doubt_unfenced(sync->core->doubt);
}

static void
on_control_up(void *arg, struct hc_link *link)
{
	(void)link;
	hc_sync_get_in_step(arg);
}

static void
on_control_down(void *arg, struct hc_link *link, const char *why)
{
	struct hc_sync *sync = arg;

	(void)link;
	(void)why;
	sync->asking = false;
}

/* ---- how far we are, for the next start ---- */

static struct hc_saved_state
present_state(const struct hc_sync *sync)
{
	return (struct hc_saved_state){
	    .life = sync->life,
	    .incarnation = sync->incarnation,
	    .heard = sync->heard.upto,
	    .trusted_from = hc_doubt_trusted_from(sync->core->doubt),
	};
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
	if (!sync->following)
		hc_sync_get_in_step(sync);
	hc_sync_tell_epochs(sync);
	if (sync->ticks++ % TICKS_A_HEARTBEAT == 0 && hc_link_is_up(sync->control)) {
		hc_sync_fence(sync);
		(void)publish_heartbeat(sync, false, NULL);
	}
	hc_sync_end_stragglers(sync);
	if (atomic_load(&sync->core->coherent))
		hc_sync_make_up(sync);
}

static void
on_lease_end(evutil_socket_t fd, short what, void *arg)
{
	struct hc_sync *sync = arg;

	(void)fd;
	(void)what;
	hc_doubt_check(sync->core->doubt);
}

static void
on_save(evutil_socket_t fd, short what, void *arg)
{
	struct hc_sync *sync = arg;
	struct hc_saved_state state = present_state(sync);

	(void)fd;
	(void)what;
	hc_saved_tell(sync->core->saved, &state);
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
	hc_sweeper_kick(core->sweeper);
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
	config.stragglers = sync->core->stragglers;
	config.number = sync->core->n_workers;
	return hc_link_create(sync->base, &config, &control, &sync->control);
}

static enum hc_status
create_timers(struct hc_sync *sync)
{
	struct timeval period = tick_period(sync->core), second = {SAVE_MS / 1000, SAVE_MS % 1000 * 1000};

	sync->tick = event_new(sync->base, -1, EV_PERSIST, on_tick, sync);
	sync->save = event_new(sync->base, -1, EV_PERSIST, on_save, sync);
	sync->lease_end = event_new(sync->base, -1, 0, on_lease_end, sync);
	if (sync->tick == NULL || sync->save == NULL || sync->lease_end == NULL ||
	    event_add(sync->tick, &period) != 0 || event_add(sync->save, &second) != 0)
		return HC_NOMEM;
	return HC_OK;
}

static void
destroy_timers(struct hc_sync *sync)
{
	struct event *const timers[] = {sync->tick, sync->save, sync->lease_end};

	for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
		if (timers[i] != NULL)
			event_free(timers[i]);
	}
}

/* What the files hold is as it was when the daemon stopped: what came after is to be replayed. */
static void
go_on_from_saved(struct hc_sync *sync)
{
	struct hc_saved_state found = hc_saved_found(sync->core->saved);

	struct hc_outage_since since = hc_outage_earlier_since(sync->core);

	/* Without files' state, what is queued is reason enough to look into the journal. */
	if (found.life == 0)
		found =
		    (struct hc_saved_state){.life = since.life, .incarnation = since.incarnation, .heard = since.heard};
	sync->unwatched = true;
	sync->life = found.life;
	sync->incarnation = found.incarnation;
	hc_heard_begin(&sync->heard, found.heard);
	hc_sync_note_heard(sync);
}

enum hc_status
hc_sync_create(struct hc_core *core, struct event_base *base, struct hc_stats *stats)
{
	struct hc_sync *sync = hc_calloc(1, sizeof(*sync));

	if (sync == NULL)
		return HC_NOMEM;
	core->sync = sync;
	sync->core = core;
	sync->base = base;
	sync->stats = stats;
	go_on_from_saved(sync);
	enum hc_status status = hc_mailbox_create(base, sync, &sync->mailbox);
	if (status == HC_OK)
		status = create_links(sync);
	if (status == HC_OK)
		status = create_timers(sync);
	if (status == HC_OK)
		status = hc_sweeper_start(core->sweeper, base, sync->control, stats);
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
	hc_doubt_unfenced(core->doubt);
	core->last_state = present_state(sync);
	destroy_timers(sync);
	hc_sweeper_stop(core->sweeper);
	hc_link_destroy(sync->events);
	hc_link_destroy(sync->control);
	hc_outage_page_fini(&sync->page);
	hc_free(sync->told);
	core->sync = NULL;
	hc_mailbox_destroy(sync->mailbox);
	hc_free(sync);
}
