/*
 * A client's replies on their way to its socket. One thread: its worker's.
 */
#include <errno.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/log.h"
#include "net/client_io.h"

#define WRITE_VECTORS 64
#define WRITES_A_TURN 16 /* of one client, so that others get theirs */

/* For a limit: logged, since the one who wonders is the operator. */
void
hc_client_close_for(struct hc_client *client, const char *why)
{
	static struct hc_log_limit limit;
	struct hc_log_quoted name;

	hc_stats_count(&client->worker->stats, connections_limited);
	if (hc_log_allow(&limit, 1000)) {
		const char *text = client->session.name != NULL ? client->session.name : "";
		hc_log(HC_LOG_WARN, "client_closed", "why=%s id=%llu address=%s name=%s", why,
		    (unsigned long long)client->session.id, client->session.addr,
		    hc_log_quote(&name, text, strlen(text)));
	}
	client->closing = true;
}

static ssize_t
write_some(struct hc_client *client)
{
	struct iovec vectors[WRITE_VECTORS];
	int n = hc_out_vectors(&client->session.out, vectors, WRITE_VECTORS);

	if (n == 1)
		return send(client->fd, vectors[0].iov_base, vectors[0].iov_len, MSG_NOSIGNAL);
	struct msghdr message = {.msg_iov = vectors, .msg_iovlen = (size_t)n};
	return sendmsg(client->fd, &message, MSG_NOSIGNAL);
}

/* Writes what the socket takes now. */
void
hc_client_flush(struct hc_client *client)
{
	struct hc_session *session = &client->session;

	if (hc_out_failed(&session->out)) {
		hc_client_close_for(client, session->out.full ? "client.output_max" : "out_of_memory");
		return;
	}
	for (int i = 0; session->out.bytes > 0 && i < WRITES_A_TURN; i++) {
		ssize_t n = write_some(client);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
			client->closing = true;
			return;
		}
		if (n < 0)
			break;
		hc_out_consume(&session->out, (size_t)n);
		hc_stats_add(&client->worker->stats, net_output_bytes, (uint64_t)n);
		atomic_store_explicit(&session->bytes_out,
		    atomic_load_explicit(&session->bytes_out, memory_order_relaxed) + (uint64_t)n,
		    memory_order_relaxed);
		if (client->writing)
			client->stalled_since_ms = hc_clock_mono_ms();
	}
}
