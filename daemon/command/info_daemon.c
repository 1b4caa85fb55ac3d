/* INFO's sections about the process: Server, Clients, Memory, Stats. See info.h. */
#include <inttypes.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/version.h"
#include "command/info.h"

/* ---- Server ---- */

/* Of listen.tcp; when the system drew it, the one this client found. 0: none. */
static int
tcp_port(const struct hc_info *info)
{
	struct hc_settings_address address;
	char text[HC_SESSION_ADDR_MAX * 3];

	hc_settings_string(info->shared->settings, HC_SETTING_ID_listen_tcp, text, sizeof(text));
	if (!hc_settings_address(hc_slice_str(text), &address))
		return 0;
	if (address.port == 0 && !info->session->is_unix &&
	    hc_settings_address(hc_slice_str(info->session->laddr), &address))
		return address.port;
	return address.port;
}

void
hc_info_server(const struct hc_info *info)
{
	int64_t uptime_s = (hc_clock_mono_ms() - info->shared->started_ms) / 1000;
	const char *config_file = info->shared->config_file;
	struct utsname host = {.sysname = ""};

	uname(&host);
	fprintf(info->to, "redis_version:%s\r\n", HC_REDIS_VERSION);
	fprintf(info->to, "redis_mode:standalone\r\n");
	fprintf(info->to, "harcad_version:%s\r\n", HC_VERSION);
	fprintf(info->to, "os:%s %s %s\r\n", host.sysname, host.release, host.machine);
	fprintf(info->to, "arch_bits:%zu\r\n", sizeof(void *) * 8);
	fprintf(info->to, "process_id:%ld\r\n", (long)getpid());
	fprintf(info->to, "run_id:%s\r\n", info->shared->run_id);
	fprintf(info->to, "tcp_port:%d\r\n", tcp_port(info));
	fprintf(info->to, "workers:%" PRId64 "\r\n", info->shared->settings->server_workers);
	fprintf(info->to, "server_time_usec:%" PRId64 "\r\n", hc_clock_wall_us());
	fprintf(info->to, "uptime_in_seconds:%" PRId64 "\r\n", uptime_s);
	fprintf(info->to, "uptime_in_days:%" PRId64 "\r\n", uptime_s / 86400);
	fprintf(info->to, "config_file:%s\r\n", config_file != NULL ? config_file : "");
}

/* ---- Clients ---- */

void
hc_info_clients(const struct hc_info *info)
{
	struct hc_command_shared *shared = info->shared;

	fprintf(info->to, "connected_clients:%" PRIu64 "\r\n", hc_sessions_count(shared->sessions));
	fprintf(info->to, "maxclients:%" PRIu64 "\r\n", shared->accept_limit(shared->host));
	fprintf(info->to, "blocked_clients:0\r\n");
}

/* ---- Memory ---- */

static uint64_t
system_bytes(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);

	return pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void
write_human(FILE *to, const char *name, uint64_t bytes)
{
	static const char units[] = "BKMGTP";
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 1024 && unit < sizeof(units) - 2; unit++)
		value /= 1024;
	fprintf(to, "%s:%.*f%c\r\n", name, unit == 0 ? 0 : 2, value, units[unit]);
}

/* used_memory is what memory.max_bytes bounds, so that it can be set beside maxmemory. */
void
hc_info_memory(const struct hc_info *info)
{
	const struct hc_store_stats *store = &info->store;
	uint64_t rss = hc_mem_resident(), used = store->bytes + store->table_bytes;

	fprintf(info->to, "used_memory:%" PRIu64 "\r\n", used);
	write_human(info->to, "used_memory_human", used);
	fprintf(info->to, "used_memory_rss:%" PRIu64 "\r\n", rss);
	write_human(info->to, "used_memory_rss_human", rss);
	fprintf(info->to, "maxmemory:%" PRIu64 "\r\n", store->max_bytes);
	write_human(info->to, "maxmemory_human", store->max_bytes);
	fprintf(info->to, "maxmemory_policy:allkeys-lru\r\n");
	fprintf(info->to, "used_memory_overhead:%" PRIu64 "\r\n", store->table_bytes);
	fprintf(info->to, "used_memory_dataset:%" PRIu64 "\r\n", store->bytes);
	fprintf(info->to, "mem_fragmentation_ratio:%.2f\r\n", used > 0 ? (double)rss / (double)used : 1.0);
	fprintf(info->to, "mem_clients_normal:%" PRIu64 "\r\n", hc_sessions_held(info->shared->sessions));
	fprintf(info->to, "total_system_memory:%" PRIu64 "\r\n", system_bytes());
}

/* ---- Stats ---- */

/* What dashboards made for Redis read, then all counters under their own names. */
void
hc_info_stats(const struct hc_info *info)
{
	const struct {
		const char *name;
		uint64_t value;
	} known[] = {
	    {"total_connections_received", hc_stats_sum(HC_STAT_connections_received)},
	    {"total_commands_processed", hc_stats_sum(HC_STAT_commands_processed)},
	    {"total_net_input_bytes", hc_stats_sum(HC_STAT_net_input_bytes)},
	    {"total_net_output_bytes", hc_stats_sum(HC_STAT_net_output_bytes)},
	    {"total_error_replies", hc_stats_sum(HC_STAT_errors_replied)},
	    {"rejected_connections", hc_stats_sum(HC_STAT_connections_rejected)},
	    {"expired_keys", info->store.expired},
	    {"evicted_keys", info->store.evicted},
	    {"keyspace_hits", hc_stats_sum(HC_STAT_memory_hits) + hc_stats_sum(HC_STAT_upstream_hits)},
	    {"keyspace_misses", hc_stats_sum(HC_STAT_misses)},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		fprintf(info->to, "%s:%" PRIu64 "\r\n", known[i].name, known[i].value);
	for (int i = 0; i < HC_STATS; i++) {
		enum hc_stat stat = (enum hc_stat)i;
		fprintf(info->to, "%s:%" PRIu64 "\r\n", hc_stat_name(stat), hc_stats_sum(stat));
	}
}
