/*
 * What clients hold in sum: each tells after its turn what it holds, and when all together hold more than
 * client.memory_max, those that hold most are closed. One thread: the client's worker; the sum is of all workers.
 *
 * A turn may take the sum beyond the bound: by what the turns of one loop iteration add, each no more than
 * client.output_pause and one more reply, or one request.
 */
#include <inttypes.h>
#include "base/log.h"
#include "net/client_io.h"

static uint64_t
held_by(const struct hc_client *client)
{
	const struct hc_session *session = &client->session;
	uint64_t args = client->args != NULL ? client->parser.args_cap * sizeof(*client->args) : 0;
	uint64_t input = client->in_cap + client->held_bytes + args;
	uint64_t replies = session->out.bytes + session->pending_bytes;

	return input + replies + session->parked_bytes + session->multi.bytes + session->watched_bytes;
}

void
hc_client_check_memory(const struct hc_worker *worker)
{
	const struct hc_command_shared *shared = worker->command.shared;
	int64_t max = shared->settings->client_memory_max;

	if (max > 0)
		hc_sessions_evict(shared->sessions, (uint64_t)max, shared->kill_session, shared->host);
}

void
hc_client_tell_memory(struct hc_client *client)
{
	if (hc_session_holds(&client->session, held_by(client)))
		hc_client_check_memory(client->worker);
}

void
hc_client_count_evicted(const struct hc_client *client)
{
	static struct hc_log_limit limit;
	const struct hc_session *session = &client->session;
	uint64_t held = atomic_load(&session->evicted_for);
	struct hc_log_quoted name;

	if (held == 0)
		return;
	hc_stats_count(&client->worker->stats, evicted_clients);
	if (hc_log_allow(&limit, 1000)) {
		const char *text = session->name != NULL ? session->name : "";
		hc_log(HC_LOG_WARN, "client_closed",
		    "why=client.memory_max id=%" PRIu64 " address=%s name=%s held=%" PRIu64, session->id, session->addr,
		    hc_log_quote(&name, text, strlen(text)), held);
	}
}
