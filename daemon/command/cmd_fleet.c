/*
 * FLEET: this daemon and its siblings, as this daemon knows them. Without an upstream there is
 * nobody else, and the same shape says so. Worker threads, each for its own requests.
 */
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/version.h"
#include "command/handlers.h"
#include "command/info.h"
#include "command/pairs.h"
#include "command/req.h"
#include "fleet/fleet.h"

static void
reply_self(struct hc_req *req, const struct hc_fleet *fleet)
{
	struct hc_command_shared *shared = req->worker->shared;
	const struct hc_slice none = hc_slice("", 0);
	struct hc_core_status status;
	char name[80] = "";

	hc_core_status(shared->core, &status);
	if (fleet != NULL)
		hc_settings_string(shared->settings, HC_SETTING_ID_fleet_name, name, sizeof(name));
	hc_reply_map(req, 14);
	hc_pair_slice(req, "instance", fleet != NULL ? hc_fleet_instance(fleet) : none);
	hc_pair_str(req, "fleet", name);
	hc_pair_slice(req, "channel", fleet != NULL ? hc_fleet_channel(fleet) : none);
	hc_pair_str(req, "upstream", status.upstream_shown);
	hc_pair_str(req, "upstream_state", hc_info_state_name(status.upstream));
	hc_pair_str(req, "event_link", hc_info_state_name(status.event_link));
	hc_pair_int(req, "queued_writes", (int64_t)status.queued_writes);
	hc_pair_int(req, "queued_oldest_ms", status.queued_age_ms);
	hc_pair_int(req, "incarnation", status.incarnation);
	hc_pair_int(req, "seq", (int64_t)status.seq);
	hc_pair_int(req, "event_lag_us", status.event_lag_us);
	hc_pair_str(req, "version", HC_VERSION);
	hc_pair_int(req, "pid", getpid());
	hc_pair_int(req, "uptime_s", (hc_clock_mono_ms() - shared->started_ms) / 1000);
}

static void
reply_sibling(struct hc_req *req, const struct hc_sibling *sibling)
{
	hc_reply_map(req, 10);
	hc_pair_str(req, "instance", sibling->instance);
	hc_reply_str(req, "alive");
	hc_reply_bool(req, sibling->alive);
	hc_pair_str(req, "host", sibling->host);
	hc_pair_str(req, "address", sibling->address);
	hc_pair_str(req, "version", sibling->version);
	hc_pair_int(req, "pid", sibling->pid);
	hc_pair_int(req, "uptime_s", sibling->uptime_s);
	hc_pair_int(req, "heard_ms_ago", sibling->heard_ms_ago);
	hc_pair_int(req, "seq", (int64_t)sibling->seq);
	hc_pair_int(req, "events", (int64_t)sibling->events);
}

void
hc_cmd_fleet(struct hc_req *req)
{
	struct hc_fleet *fleet = hc_core_fleet(req->worker->shared->core);
	struct hc_sibling *siblings = NULL;
	size_t cap = fleet != NULL ? hc_fleet_siblings(fleet, NULL, 0) : 0;
	size_t n = 0;

	if (cap > 0) {
		siblings = hc_req_alloc(req, cap * sizeof(*siblings));
		if (siblings == NULL)
			return;
		n = hc_fleet_siblings(fleet, siblings, cap);
		n = n < cap ? n : cap; /* one more may have come since */
	}
	hc_reply_map(req, 2);
	hc_reply_str(req, "self");
	reply_self(req, fleet);
	hc_reply_str(req, "siblings");
	hc_reply_array(req, n);
	for (size_t i = 0; i < n; i++)
		reply_sibling(req, &siblings[i]);
}
