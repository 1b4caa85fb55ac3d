/*
 * INFO's sections that tools made for Redis read, most of which say little here: Persistence, Replication, CPU,
 * Commandstats, Cluster. See
 * info.h.
 */
#include <inttypes.h>
#include <sys/resource.h>
#include "command/handlers.h"
#include "command/info.h"

/* Nothing is being loaded, saved or rewritten, ever. */
void
hc_info_persistence(const struct hc_info *info)
{
	fprintf(info->to, "loading:0\r\nasync_loading:0\r\n");
	fprintf(info->to, "rdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0\r\n");
	fprintf(info->to, "aof_enabled:0\r\naof_rewrite_in_progress:0\r\n");
}

/* Siblings share an upstream, none follows another: to a client each is a master. */
void
hc_info_replication(const struct hc_info *info)
{
	fprintf(info->to, "role:master\r\n");
	fprintf(info->to, "connected_slaves:0\r\n");
	fprintf(info->to, "master_failover_state:no-failover\r\n");
	fprintf(info->to, "master_replid:%s\r\n", info->shared->run_id);
	fprintf(info->to, "master_repl_offset:0\r\n");
	fprintf(info->to, "second_repl_offset:-1\r\n");
}

static void
write_seconds(FILE *to, const char *name, struct timeval time)
{
	fprintf(to, "%s:%" PRId64 ".%06" PRId64 "\r\n", name, (int64_t)time.tv_sec, (int64_t)time.tv_usec);
}

void
hc_info_cpu(const struct hc_info *info)
{
	struct rusage used = {0}, children = {0};

	getrusage(RUSAGE_SELF, &used);
	getrusage(RUSAGE_CHILDREN, &children);
	write_seconds(info->to, "used_cpu_sys", used.ru_stime);
	write_seconds(info->to, "used_cpu_user", used.ru_utime);
	write_seconds(info->to, "used_cpu_sys_children", children.ru_stime);
	write_seconds(info->to, "used_cpu_user_children", children.ru_utime);
}

static void
write_command(FILE *to, const struct hc_command *command)
{
	struct hc_tally_sum sum = hc_tally_sum(command);
	char name[64];

	if (sum.calls == 0 && sum.rejected == 0 && sum.failed == 0)
		return;
	hc_command_full_name(command, name);
	fprintf(to, "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64 ",usec_per_call=%.2f,", name, sum.calls, sum.usec,
	    sum.calls > 0 ? (double)sum.usec / (double)sum.calls : 0);
	fprintf(to, "rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64 "\r\n", sum.rejected, sum.failed);
}

void
hc_info_commandstats(const struct hc_info *info)
{
	for (size_t i = 0; i < HC_COMMAND_ROWS; i++)
		write_command(info->to, hc_command_at(i));
	write_command(info->to, &hc_command_passed);
}

void
hc_info_cluster(const struct hc_info *info)
{
	fprintf(info->to, "cluster_enabled:0\r\n");
}
