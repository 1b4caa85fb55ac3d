/*
 * The server. Main thread, but for what workers call.
 */
#include "net/server.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "net/client.h"
#include "net/listener.h"
#include "net/worker.h"

#define SETTLE_POLL_MS 5
#define SPARE_FDS 64 /* what is open besides clients */

struct hc_server {
	struct hc_server_config config;
	struct hc_command_shared shared;
	struct hc_listeners listeners;
	struct hc_mailbox *mailbox;
	struct hc_worker **workers;
	unsigned n_workers, n_started, n_ended;
	unsigned next_worker;
	_Atomic uint64_t maxclients_cap; /* what the descriptors allow; written by the main thread, read by anyone */
	struct event *settle_timer;
	struct event *stop_timer;
	bool stopping;
	_Atomic uint64_t n_clients;
	struct hc_stats stats; /* the main thread's */
};

struct hc_command_shared *
hc_server_shared(struct hc_server *server)
{
	return &server->shared;
}

/* ---- clients ---- */

static uint64_t
accept_limit(void *host)
{
	struct hc_server *server = host;
	uint64_t wanted = (uint64_t)server->config.settings->server_maxclients;
	uint64_t cap = atomic_load_explicit(&server->maxclients_cap, memory_order_relaxed);

	return wanted < cap ? wanted : cap;
}

void
hc_server_client_gone(struct hc_server *server)
{
	atomic_fetch_sub(&server->n_clients, 1);
}

static void
reject(struct hc_server *server, int fd)
{
	static struct hc_log_limit limit;
	const char text[] = "-ERR max number of clients reached\r\n";

	hc_stats_count(&server->stats, connections_rejected);
	if (hc_log_allow(&limit, 1000))
		hc_log(HC_LOG_WARN, "client_rejected", "why=server.maxclients limit=%" PRIu64, accept_limit(server));
	(void)!send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void
on_accepted(void *arg, int fd, uint32_t bound_model)
{
	struct hc_server *server = arg;

	if (atomic_fetch_add(&server->n_clients, 1) >= accept_limit(server)) {
		atomic_fetch_sub(&server->n_clients, 1);
		reject(server, fd);
		return;
	}
	hc_worker_adopt(server->workers[server->next_worker], fd, bound_model);
	server->next_worker = (server->next_worker + 1) % server->n_workers;
}

/* Makes RLIMIT_NOFILE that large, or as large as it may be. Returns what it is. */
static rlim_t
raise_descriptors(rlim_t want)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return RLIM_INFINITY;
	if (limit.rlim_cur >= want)
		return limit.rlim_cur;
	rlim_t had = limit.rlim_cur;
	limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : had;
}

/* Descriptors for all clients that may come; fewer clients when there are not so many. */
static void
take_maxclients(struct hc_server *server)
{
	rlim_t want = (rlim_t)server->config.settings->server_maxclients + SPARE_FDS;
	rlim_t have = raise_descriptors(want);
	uint64_t cap = UINT64_MAX;

	if (have < want) {
		cap = have > SPARE_FDS ? have - SPARE_FDS : 1;
		if (cap != atomic_load_explicit(&server->maxclients_cap, memory_order_relaxed))
			hc_log(HC_LOG_WARN, "maxclients_lowered",
			    "to=%" PRIu64 " why=\"RLIMIT_NOFILE is %" PRIu64 ", %" PRIu64 " wanted\"", cap,
			    (uint64_t)have, (uint64_t)want);
	}
	atomic_store_explicit(&server->maxclients_cap, cap, memory_order_relaxed);
}

/* ---- what commands ask of the process; any thread ---- */

static void
ask_shutdown(void *host)
{
	(void)host;
	(void)kill(getpid(), SIGTERM);
}

static void
deliver_changed(struct hc_message *message, void *receiver)
{
	struct hc_server *server = receiver;

	hc_free(message);
	server->config.settings_changed(server->config.arg);
}

static void
tell_changed(void *host)
{
	struct hc_server *server = host;
	struct hc_message *message = hc_malloc(sizeof(*message));

	if (message == NULL)
		return;
	message->deliver = deliver_changed;
	hc_mailbox_send(server->mailbox, message);
}

static void
kill_session(void *host, struct hc_session *session)
{
	struct hc_client *client = session->owner;

	(void)host;
	/* At once: who has read the answer to CLIENT KILL finds it closed, as in Redis. */
	(void)shutdown(client->fd, SHUT_RDWR);
	hc_worker_reap(client->worker);
}

/* ---- life ---- */

static enum hc_status
fill_shared(struct hc_server *server)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char id[20];

	server->shared = (struct hc_command_shared){
	    .core = server->config.core,
	    .settings = server->config.settings,
	    .started_ms = hc_clock_mono_ms(),
	    .config_file = server->config.config_file,
	    .host = server,
	    .shutdown = ask_shutdown,
	    .settings_changed = tell_changed,
	    .kill_session = kill_session,
	    .accept_limit = accept_limit,
	};
	if (hc_random(id, sizeof(id)) != 0)
		return HC_ERROR;
	for (size_t i = 0; i < sizeof(id); i++) {
		server->shared.run_id[2 * i] = digits[id[i] >> 4];
		server->shared.run_id[2 * i + 1] = digits[id[i] & 15];
	}
	enum hc_status status = hc_slow_create(&server->shared.slow);
	return status == HC_OK ? hc_sessions_create(&server->shared.sessions) : status;
}

static enum hc_status
model_named(void *arg, struct hc_slice name, uint32_t *model)
{
	struct hc_server *server = arg;

	return hc_models_intern(hc_core_models(server->config.core), name, model);
}

static enum hc_status
create_workers(struct hc_server *server)
{
	unsigned n = (unsigned)server->config.settings->server_workers;

	server->workers = hc_calloc(n, sizeof(struct hc_worker *));
	if (server->workers == NULL)
		return HC_NOMEM;
	for (; server->n_workers < n; server->n_workers++) {
		enum hc_status status =
		    hc_worker_create(server, server->n_workers, &server->workers[server->n_workers]);
		if (status != HC_OK)
			return status;
	}
	return HC_OK;
}

enum hc_status
hc_server_create(const struct hc_server_config *config, struct hc_server **out, char *why, size_t why_cap)
{
	struct hc_server *server = aligned_alloc(_Alignof(struct hc_server), sizeof(*server));
	enum hc_status status;

	snprintf(why, why_cap, "out of memory");
	if (server == NULL)
		return HC_NOMEM;
	memset(server, 0, sizeof(*server));
	server->config = *config;
	server->listeners = (struct hc_listeners){.base = config->base, .fn = on_accepted, .arg = server};
	hc_stats_register(&server->stats);
	take_maxclients(server);
	status = fill_shared(server);
	if (status == HC_OK)
		status = hc_mailbox_create(config->base, server, &server->mailbox);
	if (status == HC_OK)
		status = hc_listeners_open(&server->listeners, config->settings, model_named, server, why, why_cap);
	if (status == HC_OK)
		status = create_workers(server);
	if (status != HC_OK) {
		hc_server_destroy(server);
		return status;
	}
	*out = server;
	return HC_OK;
}

static void
on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct hc_server *server = arg;

	(void)fd;
	(void)what;
	if (server->stopping || !hc_core_settled(server->config.core))
		return;
	event_del(server->settle_timer);
	if (hc_listeners_accept(&server->listeners) == HC_OK)
		server->config.ready(server->config.arg);
}

enum hc_status
hc_server_start(struct hc_server *server)
{
	struct timeval poll = {0, SETTLE_POLL_MS * 1000};

	enum hc_status status = hc_core_start(server->config.core, server->config.base, &server->stats);
	if (status != HC_OK)
		return status;
	for (; server->n_started < server->n_workers; server->n_started++) {
		status = hc_worker_start(server->workers[server->n_started]);
		if (status != HC_OK)
			return status;
	}
	server->settle_timer = event_new(server->config.base, -1, EV_PERSIST, on_settle, server);
	if (server->settle_timer == NULL || event_add(server->settle_timer, &poll) != 0)
		return HC_NOMEM;
	on_settle(-1, 0, server);
	return HC_OK;
}

void
hc_server_apply_settings(struct hc_server *server)
{
	take_maxclients(server);
	for (unsigned i = 0; i < server->n_workers; i++)
		hc_worker_apply_settings(server->workers[i]);
}

static void
on_stop_late(evutil_socket_t fd, short what, void *arg)
{
	struct hc_server *server = arg;

	(void)fd;
	(void)what;
	hc_log(HC_LOG_WARN, "shutdown_late", "why=shutdown.timeout clients=%" PRIu64, atomic_load(&server->n_clients));
	for (unsigned i = 0; i < server->n_started; i++)
		hc_worker_drain(server->workers[i], true);
}

void
hc_server_stop(struct hc_server *server)
{
	int64_t timeout_ms = server->config.settings->shutdown_timeout;
	struct timeval timeout = {timeout_ms / 1000, (timeout_ms % 1000) * 1000};

	if (server->stopping)
		return;
	server->stopping = true;
	hc_core_ending(server->config.core);
	hc_listeners_close(&server->listeners);
	server->stop_timer = evtimer_new(server->config.base, on_stop_late, server);
	if (server->stop_timer != NULL)
		event_add(server->stop_timer, &timeout);
	for (unsigned i = 0; i < server->n_started; i++)
		hc_worker_drain(server->workers[i], false);
}

static void
deliver_ended(struct hc_message *message, void *receiver)
{
	struct hc_server *server = receiver;

	hc_free(message);
	server->n_ended++;
	if (server->n_ended == server->n_started && server->config.ended != NULL)
		server->config.ended(server->config.arg);
}

void
hc_server_worker_ended(struct hc_server *server)
{
	struct hc_message *message = hc_malloc(sizeof(*message));

	if (message == NULL)
		abort(); /* nobody would ever hear of it */
	message->deliver = deliver_ended;
	hc_mailbox_send(server->mailbox, message);
}

void
hc_server_destroy(struct hc_server *server)
{
	if (server == NULL)
		return;
	for (unsigned i = 0; i < server->n_started; i++) {
		if (server->n_ended < server->n_started)
			hc_worker_drain(server->workers[i], true);
		pthread_join(server->workers[i]->thread, NULL);
	}
	hc_listeners_close(&server->listeners);
	if (server->settle_timer != NULL)
		event_free(server->settle_timer);
	if (server->stop_timer != NULL)
		event_free(server->stop_timer);
	hc_core_stop(server->config.core);
	server->config.ended = NULL;
	for (unsigned i = 0; i < server->n_workers; i++)
		hc_worker_destroy(server->workers[i]);
	hc_stats_unregister_all();
	hc_free(server->workers);
	hc_sessions_destroy(server->shared.sessions);
	hc_slow_destroy(server->shared.slow);
	hc_mailbox_destroy(server->mailbox);
	free(server);
}
