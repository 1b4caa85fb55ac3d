/* The upstream's sweep: who does it, where it is, how fast. */
#include "core/sweep_upstream.h"

#include <inttypes.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/internal.h"
#include "proto/lua_scripts.h"

#define LEASE_MS "5000"
#define RETRY_MS 1000 /* while another daemon sweeps, or the upstream cannot be asked */
#define FIRST_MS 100  /* behind a clear: more may follow */
#define PAGES_A_SECOND 100
#define PAGE_MAX 1000 /* keys: the upstream serves nobody else meanwhile */
#define ARGS_HEAD 6
#define KEYS_AT 3 /* EVAL, script, count */
#define KEYS_HEAD 3

struct hc_sweeper {
	/* constant after create */
	struct hc_core *core;
	char lease_key[160], pass_key[160];
	char *pattern;
	size_t pattern_len;

	/* main thread; NULL before start and after stop */
	struct event *timer;
	struct hc_link *link;
	struct hc_stats *stats;
	bool wanted; /* a pass may be needed */
	bool mine;   /* this daemon holds the lease, as far as it knows */
	bool busy;   /* an answer is awaited */
	char cursor[24], next[24];
	char life[24];
	char looked[24];
	uint64_t page;   /* keys of the present one */
	int64_t page_ms; /* monotonic: when it was begun */
	int64_t began_ms;

	struct hc_lock lock;
	struct hc_sweeper_status status; /* under the lock; written by the main thread */
};

/* ---- what it is doing ---- */

static void
tell(struct hc_sweeper *sweep, const struct hc_sweeper_status *status)
{
	hc_lock_acquire(&sweep->lock);
	sweep->status = *status;
	hc_lock_release(&sweep->lock);
}

static void
tell_state(struct hc_sweeper *sweep, enum hc_sweeper_state state)
{
	hc_lock_acquire(&sweep->lock);
	sweep->status.state = state;
	hc_lock_release(&sweep->lock);
}

static void
tell_page(struct hc_sweeper *sweep, uint64_t deleted)
{
	hc_lock_acquire(&sweep->lock);
	sweep->status.scanned += sweep->page;
	sweep->status.deleted += deleted;
	hc_lock_release(&sweep->lock);
	hc_stats_add(sweep->stats, swept_keys, deleted);
}

void
hc_sweeper_status(struct hc_sweeper *sweep, struct hc_sweeper_status *out)
{
	hc_lock_acquire(&sweep->lock);
	*out = sweep->status;
	hc_lock_release(&sweep->lock);
}

/* ---- when ---- */

static uint64_t
rate(const struct hc_sweeper *sweep)
{
	return (uint64_t)sweep->core->settings->upstream_sweep_rate;
}

static void
again_in(struct hc_sweeper *sweep, int64_t ms)
{
	struct timeval in = {ms / 1000, ms % 1000 * 1000};

	if (sweep->timer != NULL)
		event_add(sweep->timer, &in);
}

/* Neither the lease nor the upstream can be counted on: it is found out anew. */
static void
ask_later(struct hc_sweeper *sweep)
{
	sweep->mine = false;
	sweep->wanted = true;
	tell_state(sweep, HC_SWEEPER_WAITING);
	again_in(sweep, RETRY_MS);
}

void
hc_sweeper_kick(struct hc_sweeper *sweep)
{
	sweep->wanted = true;
	if (sweep->timer == NULL || sweep->busy || sweep->mine || event_pending(sweep->timer, EV_TIMEOUT, NULL))
		return;
	again_in(sweep, FIRST_MS);
}

/* ---- the script ---- */

/* What all calls of it begin with; argc as far as the keys. */
static size_t
begin_call(const struct hc_sweeper *sweep, struct hc_slice *argv, size_t keys, char *count, size_t count_cap)
{
	snprintf(count, count_cap, "%zu", keys + KEYS_HEAD);
	argv[0] = HC_SLICE("EVAL");
	argv[1] = hc_slice(hc_lua_sweep, hc_lua_sweep_len);
	argv[2] = hc_slice_str(count);
	argv[3] = hc_fleet_state_key(sweep->core->fleet);
	argv[4] = hc_slice_str(sweep->lease_key);
	argv[5] = hc_slice_str(sweep->pass_key);
	return KEYS_AT + KEYS_HEAD;
}

static size_t
put_head(const struct hc_sweeper *sweep, const char *what, struct hc_slice *args)
{
	args[0] = hc_slice_str(what);
	args[1] = hc_fleet_instance(sweep->core->fleet);
	args[2] = HC_SLICE(LEASE_MS);
	args[3] = hc_slice_str(sweep->life);
	return 4;
}

static bool
is_answer(enum hc_status status, const redisReply *reply)
{
	static struct hc_log_limit limit;
	struct hc_log_quoted quoted;

	if (status != HC_OK)
		return false;
	if (reply->type == REDIS_REPLY_ERROR && hc_log_allow(&limit, 60000))
		hc_log(HC_LOG_WARN, "upstream_refused_sweep", "error=%s",
		    hc_log_quote(&quoted, reply->str, (size_t)reply->len));
	return reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && reply->element[0]->type == REDIS_REPLY_STRING;
}

static uint64_t
number_at(const redisReply *reply, size_t i)
{
	if (i >= reply->elements || reply->element[i]->type != REDIS_REPLY_INTEGER || reply->element[i]->integer < 0)
		return 0;
	return (uint64_t)reply->element[i]->integer;
}

/* ---- a page ---- */

static void
finished(struct hc_sweeper *sweep, bool again)
{
	struct hc_sweeper_status status;

	hc_sweeper_status(sweep, &status);
	hc_log(HC_LOG_INFO, "upstream_swept", "scanned=%" PRIu64 " deleted=%" PRIu64 " took_ms=%" PRId64 " again=%s",
	    status.scanned, status.deleted, hc_clock_mono_ms() - sweep->began_ms, again ? "yes" : "no");
	sweep->mine = false;
	tell_state(sweep, sweep->wanted || again ? HC_SWEEPER_WAITING : HC_SWEEPER_IDLE);
	if (sweep->wanted || again)
		again_in(sweep, FIRST_MS);
}

static void
on_page(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sweeper *sweep = arg;

	sweep->busy = false;
	const char *what = is_answer(status, reply) ? reply->element[0]->str : "lost";
	if (strcmp(what, "lost") == 0) {
		ask_later(sweep);
		return;
	}
	tell_page(sweep, number_at(reply, 1));
	if (strcmp(what, "going") != 0) {
		finished(sweep, strcmp(what, "again") == 0);
		return;
	}
	memcpy(sweep->cursor, sweep->next, sizeof(sweep->cursor));
	int64_t due_ms = sweep->page_ms + (rate(sweep) > 0 ? (int64_t)(sweep->page * 1000 / rate(sweep)) : RETRY_MS);
	int64_t now_ms = hc_clock_mono_ms();
	again_in(sweep, due_ms > now_ms ? due_ms - now_ms : 0);
}

/* The model that a raw value under the key belongs to, if it may go with that; else empty. */
static struct hc_slice
raw_model(const struct hc_sweeper *sweep, struct hc_slice key)
{
	struct hc_core *core = sweep->core;
	struct hc_slice name;
	uint32_t id = HC_MODEL_DEFAULT;

	/* Without a prefix, what no template tells of may be anybody's. */
	if (hc_key_models_match(core->key_models, key, &name) == HC_OK) {
		if (hc_models_find(core->models, name, &id) != HC_OK)
			return HC_SLICE("");
	} else if (core->prefix.len == 0) {
		return HC_SLICE("");
	}
	return hc_models_epoch(core->models, id) > 0 ? hc_models_name(core->models, id) : HC_SLICE("");
}

static bool
is_applications(const struct hc_sweeper *sweep, struct hc_slice key)
{
	struct hc_slice own = HC_SLICE(HC_FLEET_OWN_PREFIX), prefix = sweep->core->prefix;

	return key.len >= prefix.len && memcmp(key.ptr, prefix.ptr, prefix.len) == 0 &&
	       (key.len < own.len || memcmp(key.ptr, own.ptr, own.len) != 0);
}

static enum hc_status
send_page(struct hc_sweeper *sweep, const redisReply *keys)
{
	size_t n = 0, cap = keys->elements;
	struct hc_slice *argv = hc_calloc(KEYS_AT + KEYS_HEAD + ARGS_HEAD + 2 * cap, sizeof(*argv));
	struct hc_slice *models = hc_calloc(cap + 1, sizeof(*models));
	enum hc_status status = HC_NOMEM;
	char count[24];

	if (argv == NULL || models == NULL)
		goto out;
	for (size_t i = 0; i < cap; i++) {
		struct hc_slice key = hc_slice(keys->element[i]->str, (size_t)keys->element[i]->len);
		size_t prefix = sweep->core->prefix.len;
		if (!is_applications(sweep, key))
			continue;
		argv[KEYS_AT + KEYS_HEAD + n] = key;
		models[n++] = raw_model(sweep, hc_slice(key.ptr + prefix, key.len - prefix));
	}
	size_t argc = begin_call(sweep, argv, n, count, sizeof(count)) + n;
	argc += put_head(sweep, "page", &argv[argc]);
	snprintf(sweep->looked, sizeof(sweep->looked), "%" PRIu64, sweep->page);
	argv[argc++] = hc_slice_str(sweep->next);
	argv[argc++] = hc_slice_str(sweep->looked);
	memcpy(&argv[argc], models, n * sizeof(*models));
	status = hc_link_send(sweep->link, argv, argc + n, on_page, sweep);
out:
	hc_free(models);
	hc_free(argv);
	return status;
}

static bool
is_scan_page(const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
	    reply->element[0]->len >= 24 || reply->element[1]->type != REDIS_REPLY_ARRAY)
		return false;
	for (size_t i = 0; i < reply->element[1]->elements; i++) {
		if (reply->element[1]->element[i]->type != REDIS_REPLY_STRING)
			return false;
	}
	return true;
}

static void
on_keys(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sweeper *sweep = arg;

	sweep->busy = false;
	if (status != HC_OK || !is_scan_page(reply)) {
		ask_later(sweep);
		return;
	}
	memcpy(sweep->next, reply->element[0]->str, (size_t)reply->element[0]->len + 1);
	if (reply->element[1]->elements > sweep->page)
		sweep->page = reply->element[1]->elements;
	sweep->busy = send_page(sweep, reply->element[1]) == HC_OK;
	if (!sweep->busy)
		ask_later(sweep);
}

static void
scan(struct hc_sweeper *sweep)
{
	char count[24];

	sweep->page = rate(sweep) / PAGES_A_SECOND;
	if (sweep->page > PAGE_MAX)
		sweep->page = PAGE_MAX;
	if (sweep->page == 0)
		sweep->page = 1;
	sweep->page_ms = hc_clock_mono_ms();
	snprintf(count, sizeof(count), "%" PRIu64, sweep->page);
	const struct hc_slice argv[] = {HC_SLICE("SCAN"), hc_slice_str(sweep->cursor), HC_SLICE("MATCH"),
	    hc_slice(sweep->pattern, sweep->pattern_len), HC_SLICE("COUNT"), hc_slice_str(count)};
	sweep->busy = hc_link_send(sweep->link, argv, sizeof(argv) / sizeof(argv[0]), on_keys, sweep) == HC_OK;
	if (!sweep->busy)
		ask_later(sweep);
}

/* ---- the lease ---- */

static void
taken(struct hc_sweeper *sweep, const redisReply *reply)
{
	struct hc_sweeper_status status = {
	    .state = HC_SWEEPER_RUNNING,
	    .scanned = number_at(reply, 2),
	    .deleted = number_at(reply, 3),
	    .total = number_at(reply, 4),
	};
	struct hc_slice self = hc_fleet_instance(sweep->core->fleet);

	snprintf(status.by, sizeof(status.by), "%.*s", (int)self.len, self.ptr);
	snprintf(sweep->cursor, sizeof(sweep->cursor), "%s", reply->element[1]->str);
	sweep->mine = true;
	sweep->began_ms = hc_clock_mono_ms();
	tell(sweep, &status);
	hc_log(HC_LOG_INFO, "upstream_sweeping", "from=%s keys=%" PRIu64,
	    strcmp(sweep->cursor, "0") == 0 ? "start" : "cursor", status.total);
	scan(sweep);
}

static void
taken_by_another(struct hc_sweeper *sweep, const redisReply *reply)
{
	struct hc_sweeper_status status = {
	    .state = HC_SWEEPER_RUNNING,
	    .scanned = number_at(reply, 2),
	    .deleted = number_at(reply, 3),
	    .total = number_at(reply, 4),
	};

	snprintf(status.by, sizeof(status.by), "%s", reply->element[1]->str);
	tell(sweep, &status);
	sweep->wanted = true;
	again_in(sweep, RETRY_MS);
}

static void
on_taken(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_sweeper *sweep = arg;

	sweep->busy = false;
	const char *what = is_answer(status, reply) ? reply->element[0]->str : "";
	bool named = is_answer(status, reply) && reply->elements == 5 && reply->element[1]->type == REDIS_REPLY_STRING;
	if (strcmp(what, "mine") == 0 && named && reply->element[1]->len < 24) {
		taken(sweep, reply);
	} else if (strcmp(what, "other") == 0 && named) {
		taken_by_another(sweep, reply);
	} else if (strcmp(what, "none") == 0) {
		tell_state(sweep, HC_SWEEPER_IDLE);
		if (sweep->wanted) /* heard of since it was asked */
			again_in(sweep, FIRST_MS);
	} else {
		ask_later(sweep);
	}
}

static void
take(struct hc_sweeper *sweep)
{
	struct hc_slice argv[KEYS_AT + KEYS_HEAD + ARGS_HEAD];
	uint64_t life = atomic_load(&sweep->core->life);
	char count[24];

	snprintf(sweep->life, sizeof(sweep->life), "%" PRIu64, life);
	size_t argc = begin_call(sweep, argv, 0, count, sizeof(count));
	argc += put_head(sweep, "take", &argv[argc]);
	/* Until the daemon is in step again, that may be an earlier life than what the link leads to. */
	if (life != 0 && atomic_load(&sweep->core->coherent))
		sweep->busy = hc_link_send(sweep->link, argv, argc, on_taken, sweep) == HC_OK;
	if (sweep->busy)
		sweep->wanted = false;
	else
		ask_later(sweep);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hc_sweeper *sweep = arg;

	(void)fd;
	(void)what;
	if (sweep->busy)
		return;
	if (rate(sweep) == 0) {
		sweep->mine = false; /* the lease ends by itself */
		tell_state(sweep, HC_SWEEPER_OFF);
	} else if (sweep->mine) {
		scan(sweep);
	} else if (sweep->wanted) {
		take(sweep);
	}
}

/* ---- life ---- */

enum hc_status
hc_sweeper_create(struct hc_core *core, struct hc_sweeper **out)
{
	struct hc_sweeper *sweep = hc_calloc(1, sizeof(*sweep));
	struct hc_slice state = hc_fleet_state_key(core->fleet);
	int own = (int)(state.len - strlen("state"));

	if (sweep == NULL)
		return HC_NOMEM;
	sweep->core = core;
	snprintf(sweep->lease_key, sizeof(sweep->lease_key), "%.*ssweeper", own, state.ptr);
	snprintf(sweep->pass_key, sizeof(sweep->pass_key), "%.*ssweep", own, state.ptr);
	sweep->status.state = rate(sweep) > 0 ? HC_SWEEPER_IDLE : HC_SWEEPER_OFF;
	sweep->pattern = hc_core_prefix_pattern(core, HC_SLICE("*"), &sweep->pattern_len);
	if (sweep->pattern == NULL) {
		hc_free(sweep);
		return HC_NOMEM;
	}
	*out = sweep;
	return HC_OK;
}

void
hc_sweeper_destroy(struct hc_sweeper *sweep)
{
	if (sweep == NULL)
		return;
	hc_free(sweep->pattern);
	hc_free(sweep);
}

enum hc_status
hc_sweeper_start(struct hc_sweeper *sweep, struct event_base *base, struct hc_link *control, struct hc_stats *stats)
{
	sweep->link = control;
	sweep->stats = stats;
	sweep->timer = event_new(base, -1, 0, on_timer, sweep);
	return sweep->timer != NULL ? HC_OK : HC_NOMEM;
}

void
hc_sweeper_stop(struct hc_sweeper *sweep)
{
	if (sweep->timer != NULL)
		event_free(sweep->timer);
	sweep->timer = NULL;
}
