/*
 * Events: what they say is applied, be they live or replayed. Main thread.
 */
#include "base/clock.h"
#include "base/log.h"
#include "core/sync.h"

/* Whether it may be of a change that is on the outage list, whose answer was lost. */
static bool
is_ours(const struct hc_core *core, const struct hc_event *event, bool own)
{
	return own || hc_outage_is_earlier(core, event->instance);
}

/* False: it is of a sibling that has another prefix. */
static bool
take_prefix_off(const struct hc_core *core, struct hc_slice *key)
{
	if (key->len < core->prefix.len || memcmp(key->ptr, core->prefix.ptr, core->prefix.len) != 0)
		return false;
	*key = hc_slice(key->ptr + core->prefix.len, key->len - core->prefix.len);
	return true;
}

/* Redis tells of them, too: that is nobody else's doing. */
static void
expect_pushes(struct hc_sync *sync, const struct hc_event *event)
{
	for (size_t i = 0; i < event->nkeys; i++) {
		struct hc_slice key = event->keys[i];
		if (take_prefix_off(sync->core, &key))
			hc_sync_told_of(sync, hc_key(key), true);
	}
}

/*
 * Another's expiry is of the value that the upstream has. What is on the outage list comes after that, with a life of
 * its own: it is not contested, and the copy here, which is what was set, stays.
 */
static bool
is_of_what_is_replaced(struct hc_core *core, const struct hc_event *event, struct hc_key key)
{
	return event->type == HC_EVENT_EXPIRE && hc_outage_will_replace(core->outage, key);
}

/*
 * Own events come back as well. Mostly they tell nothing new; but one of a write whose answer never came tells that
 * it was carried out after all, perhaps after its key had been fetched anew.
 */
static void
invalidate_keys(struct hc_sync *sync, const struct hc_event *event, bool own, bool live)
{
	struct hc_core *core = sync->core;
	bool queued = !hc_outage_empty(core->outage), ours = is_ours(core, event, own);
	bool ahead = hc_heard_hole_end(&sync->heard) > 0;
	bool rewritten = event->type == HC_EVENT_SET || event->type == HC_EVENT_DEL;
	bool may_be_there = event->type == HC_EVENT_SET || event->type == HC_EVENT_EXPIRE;
	bool refetch = live && may_be_there && core->settings->fleet_refetch;

	for (size_t i = 0; i < event->nkeys; i++) {
		struct hc_slice key = event->keys[i];
		uint64_t version = event->seq == 0 ? 0 : event->seq + i;
		if (!take_prefix_off(core, &key))
			continue;
		struct hc_key hashed = hc_key(key);
		bool stays = queued && !ours && is_of_what_is_replaced(core, event, hashed);
		if ((queued || ahead) && ours)
			hc_outage_own(core->outage, hashed, version);
		else if (queued && !stays)
			hc_outage_contest(core->outage, hashed, version, rewritten);
		if (own)
			hc_store_invalidate_older(core->store, hashed, version);
		else if (!stays && hc_store_invalidate(core->store, hashed, version) && refetch)
			hc_core_refetch(core, hashed);
		if (live)
			hc_sync_told_of(sync, hashed, event->type != HC_EVENT_PASSED);
	}
	if (!own)
		hc_stats_add(sync->stats, invalidations_in, event->nkeys);
	hc_tier_kick(core->tier);
}

void
hc_sync_doubt_everything(struct hc_sync *sync)
{
	hc_doubt_all(sync->core->doubt);
	hc_outage_unsure(sync->core->outage);
	hc_stats_count(sync->stats, resyncs);
	hc_sync_fence(sync);
}

/*
 * What values on the outage list are compared with, by the number of what had been heard when they came. Where the
 * event link leads to another life of the upstream than has been followed, which this daemon may learn only after the
 * event, numbers began anew: what came by them is after all that is here.
 */
static uint64_t
number_of_clear(const struct hc_sync *sync, const struct hc_event *event)
{
	return sync->events_life == sync->life ? event->seq : UINT64_MAX;
}

static void
apply(struct hc_sync *sync, const struct hc_event *event, bool own, bool live)
{
	struct hc_core *core = sync->core;
	struct hc_slice name = event->model.len > 0 ? event->model : HC_SLICE("default");
	uint32_t id;

	switch (event->type) {
	case HC_EVENT_SET:
	case HC_EVENT_DEL:
	case HC_EVENT_EXPIRE:
	case HC_EVENT_PASSED:
		invalidate_keys(sync, event, own, live);
		return;
	case HC_EVENT_SWEPT:
		expect_pushes(sync, event);
		return;
	case HC_EVENT_CLEAR_MODEL:
		if (hc_models_intern(core->models, name, &id) != HC_OK)
			break;
		if (!is_ours(core, event, own))
			hc_outage_contest_model(core->outage, id, number_of_clear(sync, event), (uint32_t)event->epoch);
		hc_outage_heard_epoch(core->outage, id, (uint32_t)event->epoch);
		hc_core_raise_epoch(core, id, (uint32_t)event->epoch);
		hc_sweeper_kick(core->sweeper);
		break;
	case HC_EVENT_CLEAR_ALL:
		if (own) /* its own part is done by whoever flushes */
			break;
		if (!is_ours(core, event, own))
			hc_outage_contest_all(core->outage, number_of_clear(sync, event));
		hc_core_clear_all(core);
		break;
	default:
		/* Of a later version: it may have changed anything. */
		hc_sync_doubt_everything(sync);
		return;
	}
	if (!own)
		hc_stats_count(sync->stats, invalidations_in);
}

static void
apply_live(void *arg, const struct hc_event *event, bool own)
{
	struct hc_sync *sync = arg;

	if (event->seq > 0)
		(void)hc_heard_live(&sync->heard, event->seq, hc_event_last_seq(event));
	apply(sync, event, own, true);
	hc_sync_note_heard(sync);
}

static void
apply_replayed(void *arg, const struct hc_event *event, bool own)
{
	struct hc_sync *sync = arg;

	if (sync->replay_broken || !hc_heard_replayed(&sync->heard, event->seq, hc_event_last_seq(event))) {
		sync->replay_broken = true;
		return;
	}
	apply(sync, event, own, false);
	hc_sync_note_heard(sync);
}

static struct hc_slice
bytes_of(const redisReply *payload)
{
	return hc_slice(payload->str, (size_t)payload->len);
}

void
hc_sync_on_message(struct hc_sync *sync, const redisReply *payload)
{
	static struct hc_log_limit limit;

	if (payload->type != REDIS_REPLY_STRING)
		return;
	sync->message_ms = hc_clock_mono_ms();
	long n = hc_fleet_receive(sync->core->fleet, bytes_of(payload), apply_live, sync);
	if (n > 0)
		hc_stats_add(sync->stats, events_received, (uint64_t)n);
	if (n < 0) {
		hc_stats_count(sync->stats, events_bad);
		if (hc_log_allow(&limit, 1000))
			hc_log(HC_LOG_WARN, "event_malformed", "bytes=%d", (int)payload->len);
		hc_sync_doubt_everything(sync); /* it may have told of anything */
	}
	if (sync->cleared_seq > 0 && sync->heard.upto >= sync->cleared_seq) {
		sync->cleared_seq = 0;
		hc_sync_make_up(sync);
	}
	/* While not in step yet, the state's answer is waited for. */
	uint64_t hole_end = hc_heard_hole_end(&sync->heard);
	if (hole_end > 0 && sync->following && !sync->asking)
		hc_sync_replay(sync, hole_end);
}

bool
hc_sync_on_replayed(struct hc_sync *sync, const redisReply *payload)
{
	if (payload->type != REDIS_REPLY_STRING)
		return false;
	sync->replay_broken = false;
	return hc_fleet_receive(sync->core->fleet, bytes_of(payload), apply_replayed, sync) > 0 && !sync->replay_broken;
}
