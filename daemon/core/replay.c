/*
 * Replay: what was missed, from the journal. Main thread.
 *
 *     heard up to n ─→ XRANGE journal n+1 … , page by page ─→ applied as events are ─→ no hole, up to `replay_to` ─→
 * fence └ trimmed past that, or gone ─→ all is suspect ─→ fence
 *
 * Live events go on being applied meanwhile. That an event is applied twice, or before one that came earlier, does no
 * harm: versions, epochs and stamps only grow.
 */
#include <inttypes.h>
#include <stdio.h>
#include "base/log.h"
#include "core/sync.h"

#define PAGE "500"

static void next_page(struct hc_sync *sync);

static void
end(struct hc_sync *sync)
{
	sync->replaying = false;
	if (sync->replayed > 0)
		hc_log(HC_LOG_INFO, "fleet_replayed", "changes=%" PRIu64 " heard=%" PRIu64, sync->replayed,
		    sync->heard.upto);
	hc_sync_fence(sync);
}

static void
give_up(struct hc_sync *sync, const char *why)
{
	hc_sync_lose(sync, sync->replay_to, why);
	end(sync);
}

/* An entry of the stream: its id, and field and value. */
static const redisReply *
message_of(const redisReply *entry)
{
	if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 || entry->element[1]->type != REDIS_REPLY_ARRAY ||
	    entry->element[1]->elements < 2)
		return NULL;
	return entry->element[1]->element[1];
}

static bool
is_done(struct hc_sync *sync)
{
	uint64_t hole_end = hc_heard_hole_end(&sync->heard);

	if (hole_end > sync->replay_to)
		sync->replay_to = hole_end;
	return hole_end == 0 && sync->heard.upto >= sync->replay_to;
}

static void
on_page(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;
	uint64_t before = sync->heard.upto;

	if (status != HC_OK) {
		sync->replaying = false; /* on the next connection */
		return;
	}
	if (reply->type != REDIS_REPLY_ARRAY) {
		give_up(sync, "the journal cannot be read");
		return;
	}
	for (size_t i = 0; i < reply->elements; i++) {
		const redisReply *message = message_of(reply->element[i]);
		if (message == NULL || !hc_sync_on_replayed(sync, message)) {
			give_up(sync, "the journal begins too late");
			return;
		}
	}
	sync->replayed += sync->heard.upto - before;
	if (is_done(sync))
		end(sync);
	else if (reply->elements == 0)
		give_up(sync, "the journal ends too early");
	else
		next_page(sync);
}

static void
next_page(struct hc_sync *sync)
{
	char from[32];
	int len = snprintf(from, sizeof(from), "%" PRIu64 "-0", sync->heard.upto + 1);
	const struct hc_slice argv[] = {HC_SLICE("XRANGE"), hc_fleet_journal_key(sync->core->fleet),
	    hc_slice(from, (size_t)len), HC_SLICE("+"), HC_SLICE("COUNT"), HC_SLICE(PAGE)};

	if (hc_link_send(sync->control, argv, sizeof(argv) / sizeof(argv[0]), on_page, sync) != HC_OK)
		sync->replaying = false;
}

void
hc_sync_replay(struct hc_sync *sync, uint64_t seq)
{
	hc_doubt_unfenced(sync->core->doubt);
	if (seq > sync->replay_to)
		sync->replay_to = seq;
	if (sync->replaying)
		return;
	sync->replaying = true;
	sync->replay_to = seq;
	sync->replayed = 0;
	if (is_done(sync)) {
		end(sync);
		return;
	}
	hc_stats_count(sync->stats, replays);
	next_page(sync);
}
