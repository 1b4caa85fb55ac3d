/*
 * What the files of a client share among themselves: client.c (its life and events), client_input.c,
 * client_output.c, client_memory.c. Nobody else includes this.
 */
#ifndef HC_NET_CLIENT_IO_H
#define HC_NET_CLIENT_IO_H

#include "net/client.h"

/* It goes for a limit: logged, since the one who wonders is the operator. Closed when its turn ends. */
void hc_client_close_for(struct hc_client *client, const char *why);

/* ---- memory ---- */

/* After its turn: what it holds counts, and may be too much. */
void hc_client_tell_memory(struct hc_client *client);
/* It is about to be closed: counted and logged, if that is since it held most. */
void hc_client_count_evicted(const struct hc_client *client);

/* ---- output ---- */

/* Writes what the socket takes now. */
void hc_client_flush(struct hc_client *client);
/* Replies waiting are more than client.output_max. */
static inline bool
hc_client_over_output_max(const struct hc_client *client)
{
	const struct hc_session *session = &client->session;
	size_t max = (size_t)client->worker->command.shared->settings->client_output_max;

	return session->out.bytes + session->pending_bytes > max;
}

/* … than client.output_pause: nothing more is executed before some of them have been read. */
static inline bool
hc_client_output_waits(const struct hc_client *client)
{
	return client->session.out.bytes > (size_t)client->worker->command.shared->settings->client_output_pause;
}

/* ---- input ---- */

/* One read, and what it brings. */
void hc_client_read(struct hc_client *client);
/* Goes on with what waits, as far as it may. */
void hc_client_serve_waiting(struct hc_client *client);

#endif
