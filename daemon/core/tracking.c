/*
 * Foreign writes: what others than harcads write to the upstream. Main thread.
 *
 *     event link up → CLIENT ID → CLIENT TRACKING ON REDIRECT <id> BCAST PREFIX <upstream.prefix>
 *                        └→ SUBSCRIBE events, __redis__:invalidate         (one connection, and so one order)
 *     push ─ keys ─→ told of by an event just before → that was it
 *        │              └ not, or perhaps → the copy is suspect: compared when it is read next, and in files it goes
 *        └ null ───→ FLUSHALL: all is suspect
 *
 * The server tells of every change of a key, ours included; of ours by the event first, since that is published by the
 * script and the push leaves at the end of the server's turn. One push stands for all changes of the key within that
 * turn: a foreign write in the same turn as, and behind, a harcad's of the same key is not told apart from it. Where an
 * event tells of a command that may have left its keys as they were, a push of them may be somebody else's.
 *
 * Keys that expire or are evicted upstream are pushed too. What was written while the connection was away is in no
 * journal: see upstream.foreign_writes = strict.
 */
#include <inttypes.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/sync.h"

#define TOLD_SLOTS 16384u /* power of two */
#define TOLD_MS 1000      /* from an event to the push that belongs to it, at most */

enum told { NOT_TOLD, PERHAPS, TOLD };

/* Keys that events told of lately, by hash. One that shares its slot only costs a comparison. */
struct hc_told {
	struct {
		uint64_t hash;
		int64_t at_ms;
		enum told told;
	} slots[TOLD_SLOTS];
};

static void
set_state(struct hc_sync *sync, enum hc_foreign_writes state)
{
	enum hc_foreign_writes was = (enum hc_foreign_writes)atomic_exchange(&sync->core->foreign_writes, (int)state);

	if (was != state && state == HC_FOREIGN_UNSUPPORTED)
		hc_log(HC_LOG_WARN, "foreign_writes_unnoticed",
		    "reason=\"the upstream does not offer CLIENT TRACKING with BCAST\"");
}

static void
subscribe(struct hc_sync *sync, bool tracking)
{
	const struct hc_slice argv[] = {
	    HC_SLICE("SUBSCRIBE"), hc_fleet_channel(sync->core->fleet), HC_SLICE(HC_TRACKING_CHANNEL)};

	sync->channels = tracking ? 2 : 1;
	if (hc_link_send_push(sync->events, argv, 1 + sync->channels) != HC_OK)
		hc_link_reconnect(sync->events, "out of memory");
}

static void
on_tracking(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;

	if (status != HC_OK)
		return;
	bool on = reply->type == REDIS_REPLY_STATUS;
	set_state(sync, on ? HC_FOREIGN_ON : HC_FOREIGN_UNSUPPORTED);
	subscribe(sync, on);
}

static void
on_client_id(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sync *sync = arg;
	char id[24];

	if (status != HC_OK)
		return;
	if (reply->type != REDIS_REPLY_INTEGER) {
		set_state(sync, HC_FOREIGN_UNSUPPORTED);
		subscribe(sync, false);
		return;
	}
	int len = snprintf(id, sizeof(id), "%lld", reply->integer);
	const struct hc_slice argv[] = {HC_SLICE("CLIENT"), HC_SLICE("TRACKING"), HC_SLICE("ON"), HC_SLICE("REDIRECT"),
	    hc_slice(id, (size_t)len), HC_SLICE("BCAST"), HC_SLICE("PREFIX"), sync->core->prefix};
	size_t argc = sizeof(argv) / sizeof(argv[0]) - (sync->core->prefix.len == 0 ? 2 : 0);
	if (hc_link_send(sync->events, argv, argc, on_tracking, sync) != HC_OK)
		hc_link_reconnect(sync->events, "out of memory");
}

void
hc_sync_subscribe(struct hc_sync *sync)
{
	const struct hc_slice argv[] = {HC_SLICE("CLIENT"), HC_SLICE("ID")};

	if (sync->core->settings->upstream_foreign_writes == HC_FOREIGN_MODE_NO || sync->tracking_refused) {
		subscribe(sync, false);
		return;
	}
	/* Anew: pushes that belong to what the last connection told of were lost with it. */
	hc_free(sync->told);
	sync->told = hc_calloc(1, sizeof(*sync->told)); /* without it, own writes are compared too */
	if (hc_link_send(sync->events, argv, 2, on_client_id, sync) != HC_OK)
		hc_link_reconnect(sync->events, "out of memory");
}

void
hc_sync_tracking_down(struct hc_sync *sync, const char *why)
{
	/* An access list may allow the one channel and not the other. */
	if (sync->channels == 2 && !sync->subscribed && strstr(why, "NOPERM") != NULL) {
		sync->tracking_refused = true;
		set_state(sync, HC_FOREIGN_UNSUPPORTED);
	}
	sync->channels = 0;
}

/* Whether an event told of it just now; then that is used up. */
static enum told
take_told(struct hc_told *told, struct hc_key key)
{
	size_t slot = key.hash & (TOLD_SLOTS - 1);

	if (told == NULL || told->slots[slot].hash != key.hash)
		return NOT_TOLD;
	told->slots[slot].hash = 0;
	return hc_clock_mono_ms() - told->slots[slot].at_ms < TOLD_MS ? told->slots[slot].told : NOT_TOLD;
}

void
hc_sync_told_of(struct hc_sync *sync, struct hc_key key, bool surely)
{
	struct hc_told *told = sync->told;
	size_t slot = key.hash & (TOLD_SLOTS - 1);

	if (told == NULL)
		return;
	/* One push may stand for both. */
	surely = take_told(told, key) == TOLD || surely;
	told->slots[slot].hash = key.hash;
	told->slots[slot].at_ms = sync->message_ms;
	told->slots[slot].told = surely ? TOLD : PERHAPS;
}

static bool
begins_with(struct hc_slice text, struct hc_slice start)
{
	return text.len >= start.len && memcmp(text.ptr, start.ptr, start.len) == 0;
}

static void
take_key(struct hc_sync *sync, const redisReply *name)
{
	struct hc_core *core = sync->core;
	struct hc_slice full = hc_slice(name->str, (size_t)name->len);

	if (name->type != REDIS_REPLY_STRING || !begins_with(full, core->prefix) ||
	    begins_with(full, HC_SLICE(HC_FLEET_OWN_PREFIX)))
		return;
	struct hc_key key = hc_key(hc_slice(full.ptr + core->prefix.len, full.len - core->prefix.len));
	enum told was = take_told(sync->told, key);
	if (was == TOLD)
		return;
	hc_store_suspect(core->store, key);
	hc_stats_add(sync->stats, foreign_changes, was == NOT_TOLD);
}

void
hc_sync_on_invalidated(struct hc_sync *sync, const redisReply *keys)
{
	if (keys->type == REDIS_REPLY_NIL) {
		hc_sync_doubt_everything(sync);
		hc_stats_count(sync->stats, foreign_changes);
		return;
	}
	for (size_t i = 0; keys->type == REDIS_REPLY_ARRAY && i < keys->elements; i++)
		take_key(sync, keys->element[i]);
	hc_tier_kick(sync->core->tier);
}
