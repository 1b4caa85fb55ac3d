/*
 * INFO: which sections are asked for, in the order of the table whatever the order they were named
 * in. Worker threads, each for its own requests.
 */
#include "command/handlers.h"
#include "command/info.h"
#include "command/req.h"
#include "command/text.h"

static const struct section {
	const char *title;
	hc_info_fn *write;
	bool long_one;     /* not without being asked for */
	bool counts_store; /* reads what hc_store_stats() tells, or the models' counters */
} sections[] = {
    {"Server", hc_info_server, false, false},
    {"Clients", hc_info_clients, false, false},
    {"Memory", hc_info_memory, false, true},
    {"Persistence", hc_info_persistence, false, false},
    {"Stats", hc_info_stats, false, true},
    {"Replication", hc_info_replication, false, false},
    {"CPU", hc_info_cpu, false, false},
    {"Commandstats", hc_info_commandstats, true, false},
    {"Tiers", hc_info_tiers, false, true},
    {"Upstream", hc_info_upstream, false, false},
    {"Fleet", hc_info_fleet, false, false},
    {"Models", hc_info_models, false, true},
    {"Cluster", hc_info_cluster, false, false},
    {"Keyspace", hc_info_keyspace, false, true},
};

#define N_SECTIONS (sizeof(sections) / sizeof(sections[0]))

static bool
is_asked(const struct hc_req *req, const struct section *section)
{
	if (req->argc == 1)
		return !section->long_one;
	for (uint32_t i = 1; i < req->argc; i++) {
		if (hc_req_arg_is(req, i, "default") && !section->long_one)
			return true;
		if (hc_req_arg_is(req, i, section->title) || hc_req_arg_is(req, i, "all") ||
		    hc_req_arg_is(req, i, "everything"))
			return true;
	}
	return false;
}

static bool
counts_store(const struct hc_req *req)
{
	for (size_t i = 0; i < N_SECTIONS; i++) {
		if (sections[i].counts_store && is_asked(req, &sections[i]))
			return true;
	}
	return false;
}

void
hc_cmd_info(struct hc_req *req)
{
	struct hc_text text;
	struct hc_info info = {
	    .to = hc_text_begin(req, &text),
	    .shared = req->worker->shared,
	    .session = req->session,
	};
	bool first = true;

	if (info.to == NULL)
		return;
	if (counts_store(req))
		hc_store_stats(hc_core_store(info.shared->core), &info.store);
	for (size_t i = 0; i < N_SECTIONS; i++) {
		if (!is_asked(req, &sections[i]))
			continue;
		fprintf(info.to, "%s# %s\r\n", first ? "" : "\r\n", sections[i].title);
		sections[i].write(&info);
		first = false;
	}
	hc_text_reply(req, &text);
}
