/*
 * The server: listeners and workers around one core. Made, run and ended by the main thread on its event loop.
 *
 *     server ─┬─ listeners ── accept → the next worker
 *             ├─ sessions, what commands share
 *             └─ worker[]
 */
#ifndef HC_NET_SERVER_H
#define HC_NET_SERVER_H

#include <event2/event.h>
#include "base/settings.h"
#include "base/status.h"
#include "command/command.h"
#include "core/core.h"

struct hc_server;

struct hc_server_config {
	struct event_base *base;
	struct hc_settings *settings; /* outlive the server, as does the core */
	struct hc_core *core;
	const char *config_file; /* or NULL */
	/* Both on the main thread. ready: clients are accepted from now on. ended: all workers have. */
	void *arg;
	void (*ready)(void *arg);
	void (*ended)(void *arg);
	/* CONFIG SET changed something; main thread. */
	void (*settings_changed)(void *arg);
};

/* Binds the listeners and makes the workers. A sentence in `why` when it fails. */
enum hc_status hc_server_create(
    const struct hc_server_config *config, struct hc_server **out, char *why, size_t why_cap);
/* Starts the threads; clients are accepted once the upstream has been tried. */
enum hc_status hc_server_start(struct hc_server *server);
/* Settings have changed: the workers take them over by and by. */
void hc_server_apply_settings(struct hc_server *server);
/*
 * Stops accepting, answers what has been asked, closes all connections; `ended` follows, after shutdown.timeout at the
 * latest.
 */
void hc_server_stop(struct hc_server *server);
/* After `ended`, or when never started: joins the threads and frees. */
void hc_server_destroy(struct hc_server *server);

/* ---- for workers and clients ---- */

struct hc_command_shared *hc_server_shared(struct hc_server *server);
void hc_server_client_gone(struct hc_server *server);  /* any thread */
void hc_server_worker_ended(struct hc_server *server); /* the worker's thread, its last act */

#endif
