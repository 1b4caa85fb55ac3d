/*
 * Workers. Functions say in worker.h which thread may call them.
 */
#include "net/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "core/core.h"
#include "net/client.h"
#include "net/server.h"

#define TICK_MS 1000
#define REST_TICK_MS 30000 /* without clients: often enough for the upstream not to take the link for abandoned */
#define LOOK_EVERY_MS 1000 /* at clients, at most */

/* Redis's own: room for AUTH and HELLO, no more. */
#define GUEST_ARGS_MAX 10
#define GUEST_BULK_MAX 16384

/* ---- what comes by mailbox ---- */

struct adopt_message {
	struct hc_message message;
	int fd;
	uint32_t bound_model;
};

static void
deliver_adopt(struct hc_message *message, void *receiver)
{
	struct adopt_message *adopt = (struct adopt_message *)message;
	struct hc_worker *worker = receiver;

	if (worker->draining) {
		close(adopt->fd);
		hc_server_client_gone(worker->server);
	} else {
		hc_client_open(worker, adopt->fd, adopt->bound_model);
	}
	hc_free(adopt);
}

void
hc_worker_adopt(struct hc_worker *worker, int fd, uint32_t bound_model)
{
	struct adopt_message *adopt = hc_malloc(sizeof(*adopt));

	if (adopt == NULL) {
		close(fd);
		hc_server_client_gone(worker->server);
		return;
	}
	*adopt = (struct adopt_message){.message = {.deliver = deliver_adopt}, .fd = fd, .bound_model = bound_model};
	hc_mailbox_send(worker->mailbox, &adopt->message);
}

static void
send_errand(struct hc_worker *worker, struct hc_worker_errand *errand)
{
	if (!atomic_exchange(&errand->sent, true))
		hc_mailbox_send(worker->mailbox, &errand->message);
}

/* Before it is done: whoever sends it from now on may mean something that this time does not see. */
static void
errand_arrived(struct hc_worker_errand *errand)
{
	(void)atomic_exchange(&errand->sent, false);
}

static void
deliver_reap(struct hc_message *message, void *receiver)
{
	struct hc_worker *worker = receiver;
	struct hc_client *client = worker->clients;

	(void)message;
	errand_arrived(&worker->reap);
	while (client != NULL) {
		struct hc_client *next = client->next;
		if (atomic_load(&client->session.kill))
			hc_client_close(client);
		client = next;
	}
}

void
hc_worker_reap(struct hc_worker *worker)
{
	send_errand(worker, &worker->reap);
}

struct drain_message {
	struct hc_message message;
	bool now;
};

void
hc_worker_client_closed(struct hc_worker *worker)
{
	if (worker->draining && worker->clients == NULL)
		event_base_loopbreak(worker->base);
}

static void
deliver_drain(struct hc_message *message, void *receiver)
{
	bool now = ((struct drain_message *)message)->now;
	struct hc_worker *worker = receiver;
	struct hc_client *client = worker->clients;

	worker->draining = true;
	hc_core_tick(worker->core);
	while (client != NULL) {
		struct hc_client *next = client->next;
		if (now)
			hc_client_close(client);
		else
			hc_client_drain(client);
		client = next;
	}
	hc_free(message);
	hc_worker_client_closed(worker); /* if there was none */
}

void
hc_worker_drain(struct hc_worker *worker, bool now)
{
	struct drain_message *drain = hc_malloc(sizeof(*drain));

	if (drain == NULL)
		return;
	*drain = (struct drain_message){.message = {.deliver = deliver_drain}, .now = now};
	hc_mailbox_send(worker->mailbox, &drain->message);
}

/* ---- the loop ---- */

/* Each goes on once: who is put into the list meanwhile does so the next time. A client closes none but itself. */
static void
go_on(struct hc_worker *worker, enum hc_client_list list)
{
	struct hc_client *client = worker->lists[list], *next;

	worker->lists[list] = NULL;
	for (; client != NULL; client = next) {
		next = client->links[list].next;
		client->links[list].in = false;
		hc_client_go_on(client);
	}
}

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	go_on(arg, HC_CLIENT_READY);
}

/* A timer's, so that the sockets have been looked at before. */
static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	go_on(arg, HC_CLIENT_TURN);
}

static void
on_logged(void *arg)
{
	go_on(arg, HC_CLIENT_LOGGED);
}

static void
take_limits(struct hc_worker *worker)
{
	const struct hc_settings *settings = worker->command.shared->settings;

	worker->limits = (struct hc_resp_limits){
	    .max_args = (uint32_t)settings->client_args_max,
	    .max_bulk_bytes = (size_t)settings->client_value_max,
	    .max_inline_bytes = (size_t)settings->client_inline_max,
	    .max_request_bytes = (size_t)settings->client_request_max,
	};
	worker->guest_limits = (struct hc_resp_limits){
	    .max_args = GUEST_ARGS_MAX,
	    .max_bulk_bytes =
		GUEST_BULK_MAX < worker->limits.max_bulk_bytes ? GUEST_BULK_MAX : worker->limits.max_bulk_bytes,
	    .max_inline_bytes = worker->limits.max_inline_bytes,
	    .max_request_bytes = worker->limits.max_request_bytes,
	};
	worker->turn_us = settings->client_turn_us;
}

static enum hc_status
tick_after(struct hc_worker *worker, int64_t wait_ms)
{
	struct timeval wait = {wait_ms / 1000, (wait_ms % 1000) * 1000};

	worker->tick_at_ms = hc_clock_mono_ms() + wait_ms;
	return event_add(worker->tick, &wait) == 0 ? HC_OK : HC_NOMEM;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct hc_worker *worker = arg;

	(void)fd;
	(void)what;
	hc_core_worker_tick(worker->core);
	(void)tick_after(worker, worker->clients != NULL ? TICK_MS : REST_TICK_MS);
}

void
hc_worker_first_client(struct hc_worker *worker)
{
	if (worker->tick_at_ms > hc_clock_mono_ms() + TICK_MS)
		(void)tick_after(worker, TICK_MS);
}

/* Looks at all clients, and finds out when the next look is due. */
static void
look_at_clients(struct hc_worker *worker)
{
	struct hc_client *client = worker->clients;
	int64_t now_ms = hc_clock_mono_ms(), soonest_ms = INT64_MAX;

	worker->look_at_ms = INT64_MAX;
	worker->looked_ms = now_ms;
	while (client != NULL) {
		struct hc_client *next = client->next;
		int64_t at_ms = hc_client_look(client, now_ms);
		if (at_ms < soonest_ms)
			soonest_ms = at_ms;
		client = next;
	}
	hc_worker_look_by(worker, soonest_ms);
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_at_clients(arg);
}

void
hc_worker_look_by(struct hc_worker *worker, int64_t at_ms)
{
	int64_t earliest_ms = worker->looked_ms + LOOK_EVERY_MS;

	if (at_ms >= worker->look_at_ms)
		return;
	worker->look_at_ms = at_ms > earliest_ms ? at_ms : earliest_ms;
	int64_t wait_ms = worker->look_at_ms - hc_clock_mono_ms();
	if (wait_ms < 0)
		wait_ms = 0;
	struct timeval wait = {wait_ms / 1000, (wait_ms % 1000) * 1000};
	event_add(worker->look, &wait);
}

static void
deliver_apply(struct hc_message *message, void *receiver)
{
	struct hc_worker *worker = receiver;

	(void)message;
	errand_arrived(&worker->apply);
	take_limits(worker);
	for (struct hc_client *client = worker->clients; client != NULL; client = client->next)
		hc_client_apply_settings(client);
	hc_core_worker_tick(worker->core);
	hc_client_check_memory(worker);
	look_at_clients(worker);
}

void
hc_worker_apply_settings(struct hc_worker *worker)
{
	send_errand(worker, &worker->apply);
}

static void *
run(void *arg)
{
	struct hc_worker *worker = arg;
	char name[16];

	snprintf(name, sizeof(name), "worker-%u", worker->index % 1000);
	hc_thread_begin(name, HC_THREAD_SERVES);
	hc_core_worker_start(worker->core);
	event_base_loop(worker->base, EVLOOP_NO_EXIT_ON_EMPTY);
	hc_server_worker_ended(worker->server);
	return NULL;
}

/* ---- life ---- */

static enum hc_status
create_events(struct hc_worker *worker)
{
	worker->ready_event = event_new(worker->base, -1, 0, on_ready, worker);
	worker->look = evtimer_new(worker->base, on_look, worker);
	worker->tick = evtimer_new(worker->base, on_tick, worker);
	worker->turn = evtimer_new(worker->base, on_turn, worker);
	if (worker->turn == NULL || worker->ready_event == NULL || worker->look == NULL || worker->tick == NULL)
		return HC_NOMEM;
	/* Without an upstream it has nothing to do while its clients have not. */
	return hc_core_is_fleet(worker->command.shared->core) ? tick_after(worker, TICK_MS) : HC_OK;
}

/* The time of each turn is looked up by those who need it: few have timers. */
static struct event_base *
create_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config != NULL && event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME) == 0)
		base = event_base_new_with_config(config);
	if (config != NULL)
		event_config_free(config);
	return base;
}

enum hc_status
hc_worker_create(struct hc_server *server, unsigned index, struct hc_worker **out)
{
	struct hc_command_shared *shared = hc_server_shared(server);
	struct hc_worker *worker = aligned_alloc(_Alignof(struct hc_worker), sizeof(*worker));
	enum hc_status status = HC_NOMEM;

	if (worker == NULL)
		return HC_NOMEM;
	memset(worker, 0, sizeof(*worker));
	worker->server = server;
	worker->index = index;
	worker->reap.message.deliver = deliver_reap;
	worker->apply.message.deliver = deliver_apply;
	worker->look_at_ms = INT64_MAX;
	hc_out_pool_init(&worker->pool);
	hc_stats_register(&worker->stats);
	worker->command = (struct hc_command_worker){
	    .shared = shared, .stats = &worker->stats, .pool = &worker->pool, .ready = hc_client_ready};
	take_limits(worker);
	worker->read_buffer = hc_malloc(HC_WORKER_READ_BYTES);
	worker->base = create_base();
	if (worker->read_buffer == NULL || worker->base == NULL)
		goto fail;
	status = hc_mailbox_create(worker->base, worker, &worker->mailbox);
	if (status == HC_OK)
		status = create_events(worker);
	if (status == HC_OK)
		status = hc_core_worker_create(shared->core, worker->base, index, &worker->stats, &worker->core);
	worker->command.core = worker->core;
	if (status == HC_OK) {
		hc_core_on_logged(worker->core, on_logged, worker);
		status = hc_command_worker_init(&worker->command);
	}
	if (status != HC_OK)
		goto fail;
	*out = worker;
	return HC_OK;

fail:
	hc_worker_destroy(worker);
	return status;
}

enum hc_status
hc_worker_start(struct hc_worker *worker)
{
	sigset_t all, before;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&worker->thread, NULL, run, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc == 0 ? HC_OK : HC_ERROR;
}

void
hc_worker_destroy(struct hc_worker *worker)
{
	if (worker == NULL)
		return;
	worker->draining = true; /* whoever is still in the mailbox is turned away */
	while (worker->clients != NULL)
		hc_client_close(worker->clients);
	hc_mailbox_destroy(worker->mailbox);
	/* Answers whatever still waits, which lets the requests go. */
	hc_core_worker_destroy(worker->core);
	hc_command_worker_fini(&worker->command);
	if (worker->ready_event != NULL)
		event_free(worker->ready_event);
	if (worker->turn != NULL)
		event_free(worker->turn);
	if (worker->tick != NULL)
		event_free(worker->tick);
	if (worker->look != NULL)
		event_free(worker->look);
	if (worker->base != NULL)
		event_base_free(worker->base);
	hc_out_pool_fini(&worker->pool);
	hc_free(worker->read_buffer);
	free(worker);
}
