/*
 * The fence: the proof that no event was missed so far. Main thread.
 *
 *     control link: HMGET state inc seq, INFO replication ─→ answered: up to `seq` all has been published
 *     event link:   PING ─→ PONG: all that was published before it was sent has come ─→ has `seq` been heard?
 *
 * It holds from the moment at which the first question was sent. Silence proves nothing: a connection cut without a
 * word, a server that hangs, a link that leads elsewhere, all of them end in a lease that is not renewed.
 */
#include <inttypes.h>
#include "base/clock.h"
#include "base/log.h"
#include "core/life.h"
#include "core/sync.h"

/*
 * From one look to the next at a server that goes on, see hc_life_goes_on(): half a lease and a little. One that gives
 * up its backlog after a second, and needs less than half of one to take another's data, could pass unseen.
 */
#define LOOK_GAP_MS 1500

static void
arm_lease_end(struct hc_sync *sync)
{
	int64_t left_ms = hc_doubt_lease_end_ms(sync->core->doubt) - hc_clock_mono_ms();
	struct timeval left = {0, 0};

	if (left_ms > 0)
		left = (struct timeval){left_ms / 1000, left_ms % 1000 * 1000};
	event_add(sync->lease_end, &left);
}

static void
on_pong(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;
	struct hc_fence *fence = &sync->fence;

	(void)reply;
	if (!fence->asked)
		return;
	fence->asked = false;
	if (status != HC_OK || !sync->following || sync->replaying)
		return;
	if (sync->heard.upto < fence->seq) {
		hc_log(HC_LOG_WARN, "fleet_events_missing", "heard=%" PRIu64 " seq=%" PRIu64, sync->heard.upto,
		    fence->seq);
		hc_sync_replay(sync, fence->seq);
		return;
	}
	bool was = atomic_load(&sync->core->coherent);
	if (!hc_doubt_fenced(sync->core->doubt, fence->asked_ms))
		return; /* it took a whole lease */
	sync->fence_restarted = false;
	arm_lease_end(sync);
	if (fence->alone && !hc_stragglers_any(sync->core->stragglers))
		hc_outage_drop_overtaken(sync->core->outage);
	if (was)
		return;
	hc_log(HC_LOG_INFO, "fleet_in_step", "incarnation=%" PRIu32 " heard=%" PRIu64 " queued=%" PRIu64,
	    sync->incarnation, sync->heard.upto, hc_outage_count(sync->core->outage));
	hc_sync_make_up(sync);
	hc_sweeper_kick(sync->core->sweeper);
}

/* At once; but what does not hold even then is left to the next tick. */
static void
start_over(struct hc_sync *sync)
{
	bool again = sync->fence_restarted;

	sync->fence.asked = false;
	sync->fence_restarted = true;
	sync->following = false;
	hc_doubt_unfenced(sync->core->doubt);
	if (!again)
		hc_sync_get_in_step(sync);
}

static void
on_state(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;
	struct hc_fence *fence = &sync->fence;

	if (status != HC_OK || reply->type == REDIS_REPLY_ERROR) {
		fence->asked = false;
		return;
	}
	if (!fence->asked)
		return;
	fence->seq = reply->elements == 2 ? hc_core_reply_number(reply->element[1]) : 0;
	/* Another state, or this one as it was before: the server has lost what it had told. */
	if (reply->elements != 2 || hc_core_reply_number(reply->element[0]) != sync->incarnation ||
	    fence->seq < fence->heard)
		start_over(sync);
}

/*
 * The same life by its new name, which workers are told when they notice that their links lead to one of another
 * (worker.c).
 */
static void
rename_life(struct hc_sync *sync, uint64_t life)
{
	sync->life = sync->control_life = sync->events_life = life; /* which are one while it is followed */
	sync->looked_ms = hc_clock_mono_ms();
	atomic_store(&sync->core->life, life);
	hc_sync_note_heard(sync);
	hc_log(HC_LOG_INFO, "upstream_lineage_begun", "heard=%" PRIu64 " reason=\"it has a replica now\"",
	    sync->heard.upto);
}

/* All of INFO: whether it is the same process, which has had no time to take another's data since it was looked at. */
static void
on_renamed(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;
	uint64_t life = hc_sync_life_of(status, reply);

	if (!sync->following || life == 0 || life == sync->life)
		return; /* the next fence looks again */
	if (life >> 32 != sync->life >> 32 || !hc_life_goes_on(hc_slice(reply->str, reply->len)) ||
	    hc_clock_mono_ms() - sync->looked_ms > LOOK_GAP_MS) {
		start_over(sync);
		return;
	}
	rename_life(sync, life);
	hc_sync_fence(sync);
}

static bool
is_same_lineage(const struct hc_sync *sync, const redisReply *reply)
{
	return sync->life == 0 || reply->type != REDIS_REPLY_STRING ||
	       hc_life_lineage(hc_slice(reply->str, reply->len)) == (uint32_t)sync->life;
}

static void
on_lineage(void *arg, enum hc_status status, const redisReply *reply)
{
	const struct hc_slice ping[] = {HC_SLICE("PING")}, info[] = {HC_SLICE("INFO")};
	struct hc_sync *sync = arg;
	struct hc_fence *fence = &sync->fence;

	if (!fence->asked)
		return;
	if (status == HC_OK && !is_same_lineage(sync, reply)) {
		fence->asked = false;
		(void)hc_link_send(sync->control, info, 1, on_renamed, sync);
		return;
	}
	if (status == HC_OK)
		sync->looked_ms = fence->asked_ms;
	if (status != HC_OK || hc_link_send(sync->events, ping, 1, on_pong, sync) != HC_OK)
		fence->asked = false;
}

void
hc_sync_fence(struct hc_sync *sync)
{
	const struct hc_slice state[] = {
	    HC_SLICE("HMGET"), hc_fleet_state_key(sync->core->fleet), HC_SLICE("inc"), HC_SLICE("seq")};
	const struct hc_slice info[] = {HC_SLICE("INFO"), HC_SLICE("replication")};
	struct hc_fence *fence = &sync->fence;

	if (!sync->following || sync->asking || sync->replaying || fence->asked)
		return;
	*fence = (struct hc_fence){.asked = true, .asked_ms = hc_clock_mono_ms(), .heard = sync->heard.upto};
	fence->alone = !hc_stragglers_any(sync->core->stragglers);
	if (hc_link_send(sync->control, state, 4, on_state, sync) != HC_OK ||
	    hc_link_send(sync->control, info, 2, on_lineage, sync) != HC_OK)
		fence->asked = false;
}
