/*
 * A worker's part of the core: its link to the upstream, and what hangs on it. One thread: the worker's.
 */
#include <assert.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/internal.h"
#include "core/life.h"
#include "core/transaction.h"
#include "proto/lua_scripts.h"

static void
settle(struct hc_core_worker *worker)
{
	if (!worker->settled) {
		worker->settled = true;
		atomic_fetch_add(&worker->core->links_settled, 1);
	}
}

static void
on_loaded(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_core_worker *worker = arg;

	if (status == HC_OK && reply->type == REDIS_REPLY_STRING && reply->len == 40)
		memcpy(worker->write_sha, reply->str, 41);
}

/* Refused, or unknown to what is in between: then nothing may be sent that relies on it. */
static void
on_transaction_tried(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_core_worker *worker = arg;
	struct hc_log_quoted quoted;

	if (status != HC_OK)
		return;
	worker->has_transactions = reply->type == REDIS_REPLY_ARRAY && reply->elements == 0;
	if (worker->has_transactions)
		return;
	struct hc_slice why =
	    reply->type == REDIS_REPLY_ERROR ? hc_slice(reply->str, (size_t)reply->len) : HC_SLICE("unexpected answer");
	hc_log(HC_LOG_WARN, "upstream_without_transactions", "link=%s error=%s", worker->name,
	    hc_log_quote(&quoted, why.ptr, why.len));
	/* If it was EXEC that was refused, the connection may be in the midst of one. */
	worker->transactions_refused = true;
	hc_link_reconnect(worker->link, "it does not take MULTI and EXEC");
}

static void
on_info(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_core_worker *worker = arg;

	if (status != HC_OK || reply->type != REDIS_REPLY_STRING)
		return;
	worker->life = hc_life(hc_slice(reply->str, (size_t)reply->len));
	if (worker->life == atomic_load(&worker->core->life))
		worker->astray = 0;
}

static enum hc_status
ask_for_life(struct hc_core_worker *worker)
{
	const struct hc_slice info[] = {HC_SLICE("INFO")};

	return hc_link_send(worker->link, info, 1, on_info, worker);
}

static void
on_up(void *arg, struct hc_link *link)
{
	struct hc_core_worker *worker = arg;
	struct hc_core *core = worker->core;
	const struct hc_slice load[] = {HC_SLICE("SCRIPT"), HC_SLICE("LOAD"), hc_slice(hc_lua_write, hc_lua_write_len)};

	if (atomic_fetch_add(&core->links_up, 1) + 1 == core->n_workers)
		atomic_store(&core->links_since_ms, hc_clock_mono_ms());
	atomic_fetch_add(&core->link_connects, 1);
	worker->life = 0;
	worker->astray = 0;
	worker->epochs_asked_ms = 0;
	(void)ask_for_life(worker); /* answered before all that is asked from here on */
	worker->write_sha[0] = '\0';
	hc_catalog_forget(worker->catalog);
	(void)hc_link_send(link, load, 3, on_loaded, worker);
	worker->has_transactions = false;
	if (!worker->transactions_refused)
		(void)hc_transaction_send(link, NULL, 0, on_transaction_tried, worker);
	worker->was_up = true;
	settle(worker);
}

static void
on_down(void *arg, struct hc_link *link, const char *why)
{
	struct hc_core_worker *worker = arg;
	struct hc_core *core = worker->core;
	struct hc_link_stats stats;

	(void)why;
	hc_link_stats(link, &stats);
	atomic_fetch_add(&core->link_failures, 1);
	atomic_fetch_add(&core->link_timeouts, stats.timeouts - worker->timeouts_seen);
	worker->timeouts_seen = stats.timeouts;
	if (worker->was_up && atomic_fetch_sub(&core->links_up, 1) == core->n_workers)
		atomic_store(&core->links_since_ms, hc_clock_mono_ms());
	worker->was_up = false;
	settle(worker);
}

/* For INFO, which other threads answer. */
static void
on_state(void *arg, enum hc_link_state from, enum hc_link_state to)
{
	struct hc_core *core = ((struct hc_core_worker *)arg)->core;
	bool was = hc_link_breaker_of(from) == HC_BREAKER_HALF_OPEN,
	     is = hc_link_breaker_of(to) == HC_BREAKER_HALF_OPEN;

	if (is && !was)
		atomic_fetch_add(&core->links_probing, 1);
	if (was && !is)
		atomic_fetch_sub(&core->links_probing, 1);
}

static enum hc_status
create_fetches(struct hc_core_worker *worker)
{
	worker->fetches = hc_calloc(HC_FETCH_SLOTS, sizeof(struct hc_fetch *));
	return worker->fetches != NULL ? HC_OK : HC_NOMEM;
}

static enum hc_status
create_file_side(struct hc_core_worker *worker)
{
	worker->file_buffer = hc_malloc(HC_FILE_BUFFER_BYTES);
	return worker->file_buffer != NULL ? hc_log_watch_create(worker) : HC_NOMEM;
}

static enum hc_status
create_link(struct hc_core_worker *worker)
{
	struct hc_link_config config;
	struct hc_link_owner owner = {.arg = worker, .on_up = on_up, .on_down = on_down, .on_state = on_state};

	enum hc_status status = hc_core_batch_init(worker);
	if (status == HC_OK)
		status = hc_catalog_create(&worker->catalog);
	if (status != HC_OK)
		return status;
	snprintf(worker->name, sizeof(worker->name), "harcad-worker-%u", worker->index);
	hc_core_link_config(worker->core, worker->name, &config);
	config.stragglers = worker->core->stragglers;
	config.number = worker->index;
	return hc_link_create(worker->base, &config, &owner, &worker->link);
}

enum hc_status
hc_core_worker_create(
    struct hc_core *core, struct event_base *base, unsigned index, struct hc_stats *stats, struct hc_core_worker **out)
{
	struct hc_core_worker *worker = hc_calloc(1, sizeof(*worker));
	if (worker == NULL)
		return HC_NOMEM;
	worker->core = core;
	worker->base = base;
	worker->index = index;
	worker->stats = stats;
	hc_core_tick(worker);
	enum hc_status status = HC_OK;
	if (core->fleet != NULL || core->tier != NULL)
		status = create_fetches(worker);
	if (status == HC_OK && worker->fetches != NULL)
		status = hc_mailbox_create(base, worker, &worker->mailbox);
	if (status == HC_OK && core->fleet != NULL)
		status = create_link(worker);
	if (status == HC_OK && core->tier != NULL)
		status = create_file_side(worker);
	if (status != HC_OK) {
		hc_core_worker_destroy(worker);
		return status;
	}
	if (core->workers != NULL)
		core->workers[index] = worker;
	*out = worker;
	return HC_OK;
}

void
hc_core_worker_start(struct hc_core_worker *worker)
{
	hc_store_read_as(worker->index);
	if (worker->link != NULL)
		hc_link_start(worker->link);
	if (worker->index == 0)
		hc_warm_start(worker->core->warm, worker, worker->base);
}

void
hc_core_worker_destroy(struct hc_core_worker *worker)
{
	if (worker == NULL)
		return;
	if (worker->index == 0)
		hc_warm_stop(worker->core->warm);
	/* What other threads have of ours comes back first. */
	while (worker->file_reads > 0 || !hc_log_watch_is_idle(worker))
		event_base_loop(worker->base, EVLOOP_ONCE);
	hc_core_batch_flush(worker); /* while there is a link to fail */
	hc_link_destroy(worker->link);
	worker->link = NULL;
	hc_core_batch_fini(worker);
	hc_catalog_destroy(worker->catalog);
	hc_log_watch_destroy(worker);
	hc_mailbox_destroy(worker->mailbox);
	hc_free(worker->file_buffer);
	hc_free(worker->fetches);
	hc_free(worker);
}

enum hc_store_fill
hc_core_fill(const struct hc_core_worker *worker)
{
	const struct hc_core *core = worker->core;

	return atomic_load(&core->coherent) && worker->life == atomic_load(&core->life) ? HC_FILL_NEW : HC_FILL_DOUBTED;
}

#define ASTRAY_TICKS 2 /* just after a change, it may be the core that does not know yet */

/* Left behind in a failover, it would write where nobody reads. */
static void
look_where_it_leads(struct hc_core_worker *worker)
{
	const struct hc_core *core = worker->core;

	if (!hc_link_is_up(worker->link) || !atomic_load(&core->coherent) || worker->life == atomic_load(&core->life))
		worker->astray = 0;
	else if (++worker->astray >= ASTRAY_TICKS)
		hc_link_reconnect(worker->link, "it leads to another server than the event link");
	else
		(void)ask_for_life(worker); /* it may be the same, by a new name */
}

void
hc_core_worker_tick(struct hc_core_worker *worker)
{
	const struct hc_slice ping[] = {HC_SLICE("PING")};
	struct hc_link_config config;

	if (worker->link == NULL)
		return;
	hc_core_link_config(worker->core, worker->name, &config);
	hc_link_set_times(worker->link, &config);
	(void)hc_link_send(worker->link, ping, 1, NULL, NULL);
	look_where_it_leads(worker);
}

int64_t
hc_core_now_ms(const struct hc_core_worker *worker)
{
	return worker->now_ms;
}

void
hc_core_tick(struct hc_core_worker *worker)
{
	worker->now_ms = hc_clock_wall_ms();
	hc_doubt_check(worker->core->doubt);
}

struct hc_slice *
hc_core_prefixed_args(const struct hc_core *core, const struct hc_slice *argv, size_t argc, const bool *is_key)
{
	size_t bytes = 0;

	for (size_t i = 0; i < argc; i++)
		bytes += is_key[i] ? core->prefix.len + argv[i].len : 0;
	struct hc_slice *copy = hc_malloc(argc * sizeof(*copy) + bytes + 1);
	if (copy == NULL)
		return NULL;
	char *at = (char *)(copy + argc);
	memcpy(copy, argv, argc * sizeof(*copy));
	for (size_t i = 0; i < argc; i++) {
		if (!is_key[i])
			continue;
		copy[i] = hc_slice(at, core->prefix.len + argv[i].len);
		at = mempcpy(at, core->prefix.ptr, core->prefix.len);
		at = mempcpy(at, argv[i].ptr, argv[i].len);
	}
	return copy;
}

enum hc_status
hc_core_forward(
    struct hc_core_worker *worker, const struct hc_slice *argv, size_t argc, size_t key, hc_forward_fn *fn, void *arg)
{
	const struct hc_core *core = worker->core;
	bool is_key[HC_FORWARD_ARGS_MAX] = {false};

	assert(argc <= HC_FORWARD_ARGS_MAX);
	if (core->fleet == NULL || !hc_link_is_up(worker->link))
		return HC_DOWN;
	is_key[key] = true;
	struct hc_slice *copy = hc_core_prefixed_args(core, argv, argc, is_key);
	if (copy == NULL)
		return HC_NOMEM;
	/* What the connection asked before must reach the upstream before. */
	hc_core_batch_flush(worker);
	enum hc_status status = hc_link_send(worker->link, copy, argc, fn, arg);
	hc_free(copy);
	return status == HC_OK ? HC_PENDING : status;
}
