/*
 * Stragglers of workers' links (upstream/stragglers.h), ended over the control link: a worker may be in no position to
 * reconnect, and until then nothing of the outage list could be made up for. Main thread.
 */
#include <stdio.h>
#include "base/log.h"
#include "base/mem.h"
#include "core/sync.h"

struct ending {
	struct hc_sync *sync;
	unsigned link;
	int64_t client_id;
};

static void
on_killed(void *arg, enum hc_status status, const redisReply *reply)
{
	struct ending *ending = arg;

	/* If it was refused, the link's own next connection says what that means. */
	if (status == HC_OK && reply->type == REDIS_REPLY_INTEGER) {
		hc_log(HC_LOG_INFO, "upstream_stragglers_ended", "link=harcad-control client=%lld found=%s",
		    (long long)ending->client_id, reply->integer > 0 ? "yes" : "no");
		hc_stragglers_ended(ending->sync->core->stragglers, ending->link, ending->client_id);
		hc_sync_make_up(ending->sync);
	}
	hc_free(ending);
}

static void
end(struct hc_sync *sync, unsigned link, int64_t client_id)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%lld", (long long)client_id);
	const struct hc_slice argv[] = {
	    HC_SLICE("CLIENT"), HC_SLICE("KILL"), HC_SLICE("ID"), hc_slice(digits, (size_t)len)};
	struct ending *ending = hc_malloc(sizeof(*ending));

	if (ending == NULL)
		return; /* the next tick tries again */
	*ending = (struct ending){sync, link, client_id};
	if (hc_link_send(sync->control, argv, 4, on_killed, ending) != HC_OK)
		hc_free(ending);
}

void
hc_sync_end_stragglers(struct hc_sync *sync)
{
	struct hc_stragglers *stragglers = sync->core->stragglers;
	struct hc_peer peer;

	if (!hc_stragglers_any(stragglers) || !hc_link_is_up(sync->control))
		return;
	for (unsigned link = 0; hc_stragglers_find(stragglers, &link, &peer); link++) {
		if (hc_peer_is_there(&peer, hc_link_peer(sync->control)->run_id))
			end(sync, link, peer.client_id);
	}
}
