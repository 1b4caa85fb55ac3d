/*
 * The sections of INFO: each a function that writes its `name:value` lines, each line ended by
 * CRLF. A field's name comes once in all of INFO, as clients make one map of it.
 *
 * Any worker thread; they read only what is shared and may be read by all.
 */
#ifndef HC_COMMAND_INFO_H
#define HC_COMMAND_INFO_H

#include <stdio.h>
#include "command/command.h"
#include "store/store.h"

struct hc_info {
	FILE *to;
	struct hc_command_shared *shared;
	const struct hc_session *session; /* of who asks */
	/* taken once, if a section that is asked for counts what is in memory: it is a walk over all shards, after
	 * which the models' counters are exact too */
	struct hc_store_stats store;
};

typedef void hc_info_fn(const struct hc_info *info);

/* info_daemon.c */
hc_info_fn hc_info_server;
hc_info_fn hc_info_clients;
hc_info_fn hc_info_memory;
hc_info_fn hc_info_stats;

/* info_redis.c */
hc_info_fn hc_info_persistence;
hc_info_fn hc_info_replication;
hc_info_fn hc_info_cpu;
hc_info_fn hc_info_commandstats;
hc_info_fn hc_info_cluster;

/* info_cache.c */
hc_info_fn hc_info_tiers;
hc_info_fn hc_info_upstream;
hc_info_fn hc_info_fleet;
hc_info_fn hc_info_models;
hc_info_fn hc_info_keyspace;

/* "up", "down", "off". */
const char *hc_info_state_name(enum hc_upstream_state state);

#endif
