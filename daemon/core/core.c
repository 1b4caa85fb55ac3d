/*
 * The core's life, what its parts share, and the sweep. Functions say in core.h which threads may call them.
 */
#include <inttypes.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/large.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/internal.h"

/*
 * The sweep comes in steps so short that who shares its processor, or waits for a lock it has, does not notice: to
 * reclaim what nobody misses it takes a twentieth of a core at most, to be within memory.max_bytes again about a
 * quarter of one.
 *
 * What it works on is all over memory, and after a pause of some milliseconds the processor has forgotten where: a step
 * costs up to three times as much then as soon after another. So they come in long runs, in which the pauses are as
 * short as can be. But they are real ones: who merely yields may be chosen again, for as long as it has slept before.
 */
#define SWEEP_STEP_US 500      /* a quarter of it to be within memory.max_bytes */
#define SWEEP_RUN_STEP_US 1000 /* in a run */
#define SWEEP_RUN 22           /* steps, while much is reclaimed, … */
#define SWEEP_BREATH_US 100    /* … from one to the next; */
#define SWEEP_RUN_MS 500       /* from one run to the next; */
#define SWEEP_OVER_US 375      /* from one step to the next, while more memory is taken than may be; */
#define SWEPT_MANY 4096        /* entries in one step, be it the last: there may be more in the files */
#define SWEEP_INTERVAL_MS 100  /* while little is reclaimed */
#define PROBE_INTERVAL_MS 500  /* while something has expired, but little was found */
#define REST_INTERVAL_MS 1500  /* while nothing happens: with the file tier's threads less than one wake-up a second */
#define REST_BYTES 65536       /* by which the process may grow or shrink meanwhile */

static enum hc_status
fail(char *why, size_t cap, const char *what, enum hc_status status)
{
	snprintf(why, cap, "%s", what);
	return status;
}

static enum hc_status
create_fleet_side(struct hc_core *core, char *why, size_t cap)
{
	struct hc_settings *s = core->settings;
	const char *reason = NULL;

	enum hc_status status = hc_url_parse(s->upstream_url, &core->url, &reason);
	if (status == HC_INVALID) {
		snprintf(why, cap, "upstream.url: %s", reason);
		return status;
	}
	if (status != HC_OK)
		return fail(why, cap, "out of memory", status);
	if (strlen(s->upstream_prefix) >= sizeof(core->prefix_text))
		return fail(why, cap, "upstream.prefix is too long", HC_INVALID);
	memcpy(core->prefix_text, s->upstream_prefix, strlen(s->upstream_prefix) + 1);
	core->prefix = hc_slice_str(core->prefix_text);

	struct hc_slice own = HC_SLICE(HC_FLEET_OWN_PREFIX);
	if (core->prefix.len >= own.len && memcmp(core->prefix.ptr, own.ptr, own.len) == 0)
		return fail(why, cap, "upstream.prefix begins as the fleet's own keys do", HC_INVALID);
	if (memcmp(core->prefix.ptr, own.ptr, core->prefix.len < own.len ? core->prefix.len : own.len) == 0)
		core->reserved = hc_slice(own.ptr + core->prefix.len, own.len - core->prefix.len);

	struct hc_fleet_config config = {
	    .name = s->fleet_name,
	    .instance = s->fleet_instance,
	    .address = s->listen_tcp[0] != '\0' ? s->listen_tcp : s->listen_unix,
	    .lease_ms = s->fleet_lease,
	};
	if (hc_fleet_create(&config, &core->fleet) != HC_OK)
		return fail(why, cap, "out of memory, or fleet.name or fleet.instance is too long", HC_NOMEM);
	core->workers = hc_calloc(core->n_workers, sizeof(struct hc_core_worker *));
	if (core->workers == NULL || hc_outage_create(core->models, &core->outage) != HC_OK ||
	    hc_stragglers_create(core->n_workers + 1, &core->stragglers) != HC_OK)
		return fail(why, cap, "out of memory", HC_NOMEM);
	return HC_OK;
}

/* What is in files is suspect until what was missed since the last stop is known. */
static enum hc_status
create_belief(struct hc_core *core)
{
	enum hc_status status = hc_saved_create(core, &core->saved);

	if (status != HC_OK)
		return status;
	struct hc_saved_state found = hc_saved_found(core->saved);
	uint64_t trusted_from = found.life != 0 ? found.trusted_from : UINT64_MAX;
	int64_t ago_ms = hc_clock_wall_ms() - found.at_ms;
	return hc_doubt_create(core, trusted_from, hc_clock_mono_ms() - (ago_ms > 0 ? ago_ms : 0), &core->doubt);
}

enum hc_status
hc_core_create(struct hc_settings *settings, struct hc_core **out, char *why, size_t why_cap)
{
	struct hc_core *core = hc_calloc(1, sizeof(*core));
	const char *reason = NULL;

	if (core == NULL)
		return fail(why, why_cap, "out of memory", HC_NOMEM);
	core->settings = settings;
	core->n_workers = (unsigned)settings->server_workers;
	hc_mem_tune();
	/* Not what it grows by for what it caches. */
	core->resident_at_start = hc_mem_resident() + hc_late_bytes();
	atomic_store(&core->links_since_ms, hc_clock_mono_ms());
	struct hc_store_config config = {
	    .max_bytes = settings->memory_enabled ? (uint64_t)settings->memory_max_bytes : 0,
	    .max_models = (uint32_t)settings->model_max,
	    .versions = settings->upstream_url[0] != '\0',
	    .weigh_bytes = settings->memory_policy_weight == HC_SETTING_WEIGHT_BYTES,
	    .readers = core->n_workers,
	};
	enum hc_status status = hc_key_models_create(settings->model_templates, &core->key_models, &reason);
	if (status != HC_OK) {
		snprintf(why, why_cap, "model.templates: %s", reason != NULL ? reason : "out of memory");
		goto fail;
	}
	status = hc_late_create(&core->late);
	if (status == HC_OK)
		status = hc_store_create(&config, &core->store);
	if (status != HC_OK) {
		snprintf(why, why_cap, "out of memory for the memory tier");
		goto fail;
	}
	core->models = hc_store_models(core->store);
	if (settings->upstream_url[0] != '\0')
		status = create_fleet_side(core, why, why_cap);
	if (status == HC_OK && settings->file_enabled)
		status = hc_tier_create(core, &core->tier, why, why_cap);
	if (status == HC_OK && core->fleet != NULL)
		status = create_belief(core);
	if (status == HC_OK && core->fleet == NULL && core->tier != NULL)
		hc_saved_leave(hc_tier_file(core->tier));
	if (status == HC_OK && core->fleet != NULL)
		status = hc_outage_restore_all(core);
	if (status == HC_OK && core->fleet != NULL)
		status = hc_sweeper_create(core, &core->sweeper);
	if (status == HC_OK)
		status = hc_warm_create(core, core->tier != NULL ? hc_tier_dir(core->tier) : NULL, &core->warm);
	if (status != HC_OK)
		goto fail;
	*out = core;
	return HC_OK;

fail:
	hc_core_destroy(core);
	return status;
}

void
hc_core_destroy(struct hc_core *core)
{
	if (core == NULL)
		return;
	hc_warm_destroy(core->warm);
	hc_outage_restore_fini(core); /* while the directory is ours */
	hc_doubt_settle(core->doubt);
	hc_tier_destroy(core->tier, atomic_load(&core->end_by_ms));
	hc_doubt_destroy(core->doubt);
	hc_saved_destroy(core->saved);
	if (core->fleet != NULL)
		hc_url_fini(&core->url);
	hc_outage_destroy(core->outage);
	hc_stragglers_destroy(core->stragglers);
	hc_sweeper_destroy(core->sweeper);
	hc_fleet_destroy(core->fleet);
	hc_late_destroy(core->late);
	hc_key_models_destroy(core->key_models);
	hc_store_destroy(core->store);
	hc_large_set_max(0);
	hc_free(core->workers);
	hc_free(core);
}

/*
 * Keeps what the process has grown by within memory.max_bytes, whatever the allocator makes of it; looks once in
 * SWEEP_INTERVAL_MS at most. Large blocks that are kept, and nobody wanted, go. Returns whether that is to be watched.
 */
static bool
fit_process(struct hc_core *core)
{
	int64_t now_ms = hc_clock_mono_ms();

	if (now_ms < core->fit_next_ms)
		return true;
	bool kept = hc_large_age();
	size_t resident = hc_mem_resident(), before = core->resident_before;
	size_t grown = resident > core->resident_at_start ? resident - core->resident_at_start : 0;

	if (!core->settings->memory_enabled || resident == 0)
		return kept;
	core->fit_next_ms = now_ms + SWEEP_INTERVAL_MS - SWEEP_INTERVAL_MS / 10;
	core->resident_before = resident;
	bool fits = hc_store_fit_process(core->store, grown);
	return kept || !fits || resident + REST_BYTES < before || before + REST_BYTES < resident;
}

/* Until the next sweep, when this one has found little: at rest not before something expires. */
static int64_t
rest_ms(struct hc_core *core, int64_t now_ms)
{
	int64_t soonest_ms = hc_store_soonest_expiry_ms(core->store);

	if (soonest_ms <= now_ms)
		return PROBE_INTERVAL_MS;
	if (soonest_ms >= now_ms + REST_INTERVAL_MS)
		return REST_INTERVAL_MS;
	return soonest_ms > now_ms + SWEEP_INTERVAL_MS ? soonest_ms - now_ms + 1 : SWEEP_INTERVAL_MS;
}

static int64_t
pause_us(struct hc_core *core, int64_t now_ms, enum hc_sweep left, bool busy)
{
	if (left == HC_SWEEP_MORE && ++core->sweep_run < SWEEP_RUN)
		return SWEEP_BREATH_US;
	core->sweep_run = 0;
	if (left == HC_SWEEP_OVER)
		return SWEEP_OVER_US;
	if (left == HC_SWEEP_MORE)
		return SWEEP_RUN_MS * 1000;
	return (busy ? SWEEP_INTERVAL_MS : rest_ms(core, now_ms)) * 1000;
}

static int
schedule_sweep(struct hc_core *core, int64_t in_us)
{
	struct timeval interval = {in_us / 1000000, in_us % 1000000};

	return event_add(core->sweep_timer, &interval);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct hc_core *core = arg;
	int64_t now_ms = hc_clock_wall_ms();

	(void)fd;
	(void)what;
	bool busy = fit_process(core);
	int64_t step_us = core->sweep_run > 0 ? SWEEP_RUN_STEP_US : SWEEP_STEP_US;
	enum hc_sweep left = hc_store_sweep(core->store, now_ms, step_us);
	hc_tier_kick(core->tier);
	/* Files come after memory: both together would take twice as much of a core. Not when tables only caught up. */
	size_t swept = hc_store_swept(core->store);
	core->sweep_found = core->sweep_found || (left == HC_SWEEP_MORE && swept > 0) || swept >= SWEPT_MANY;
	if (core->sweep_found && left == HC_SWEEP_DONE) {
		hc_tier_sweep_soon(core->tier);
		core->sweep_found = false;
	}
	(void)schedule_sweep(core, pause_us(core, now_ms, left, busy));
}

enum hc_status
hc_core_start(struct hc_core *core, struct event_base *base, struct hc_stats *stats)
{
	core->base = base;
	core->sweep_timer = event_new(base, -1, 0, on_sweep, core);
	if (core->sweep_timer == NULL || schedule_sweep(core, SWEEP_INTERVAL_MS * 1000) != 0)
		return HC_NOMEM;
	if (core->fleet != NULL)
		return hc_sync_create(core, base, stats);
	return HC_OK;
}

void
hc_core_ending(struct hc_core *core)
{
	/* What is not done by then is left undone, with some time for closing the files. */
	atomic_store(&core->end_by_ms, hc_clock_mono_ms() + core->settings->shutdown_timeout * 4 / 5);
}

void
hc_core_stop(struct hc_core *core)
{
	hc_sync_destroy(core);
	if (core->sweep_timer != NULL)
		event_free(core->sweep_timer);
	core->sweep_timer = NULL;
}

void
hc_core_apply_settings(struct hc_core *core)
{
	if (core->settings->memory_enabled)
		hc_store_set_limit(core->store, (uint64_t)core->settings->memory_max_bytes);
	hc_store_set_weigh_bytes(core->store, core->settings->memory_policy_weight == HC_SETTING_WEIGHT_BYTES);
	if (core->sweep_timer != NULL)
		(void)schedule_sweep(core, SWEEP_OVER_US); /* a lowered limit is the sweep's to reach */
	if (core->sync != NULL)
		hc_sync_apply_settings(core);
}

bool
hc_core_sweep_status(struct hc_core *core, struct hc_sweeper_status *out)
{
	if (core->sweeper == NULL)
		return false;
	hc_sweeper_status(core->sweeper, out);
	return true;
}

struct hc_store *
hc_core_store(struct hc_core *core)
{
	return core->store;
}

struct hc_models *
hc_core_models(struct hc_core *core)
{
	return core->models;
}

struct hc_fleet *
hc_core_fleet(struct hc_core *core)
{
	return core->fleet;
}

bool
hc_core_is_fleet(const struct hc_core *core)
{
	return core->fleet != NULL;
}

enum hc_status
hc_core_model_of_key(struct hc_core *core, struct hc_slice key, uint32_t *model)
{
	struct hc_slice name;

	if (hc_key_models_match(core->key_models, key, &name) != HC_OK) {
		*model = HC_MODEL_DEFAULT;
		return HC_OK;
	}
	return hc_models_intern(core->models, name, model);
}

void
hc_core_clear_all(struct hc_core *core)
{
	bool held = hc_store_is_exclusive(core->store); /* by EXEC */

	/* What is written meanwhile is either from before or from after, in memory and in the log alike. */
	if (core->tier != NULL && !held)
		hc_store_exclusive_begin(core->store);
	hc_store_forget_all(core->store);
	hc_tier_clear_all(core->tier);
	if (core->tier != NULL && !held)
		hc_store_exclusive_end(core->store);
}

/* ---- what is known of the file tier ---- */

bool
hc_core_file_stats(struct hc_core *core, struct hc_file_stats *out)
{
	if (core->tier == NULL)
		return false;
	hc_file_stats(hc_tier_file(core->tier), out);
	return true;
}

uint64_t
hc_core_demoted(const struct hc_core *core)
{
	return core->tier != NULL ? hc_tier_demoted(core->tier) : 0;
}

bool
hc_core_file_loading(struct hc_core *core)
{
	struct hc_file_stats stats;

	return hc_core_file_stats(core, &stats) && stats.mode == HC_FILE_LOADING;
}

void
hc_core_warm_status(const struct hc_core *core, struct hc_warm_status *out)
{
	hc_warm_status(core->warm, out);
}

/* Uniform in [0, n), good enough to spread expiries. */
static uint64_t
spread(uint64_t n)
{
	static _Thread_local uint64_t state;

	if (state == 0 && hc_random(&state, sizeof(state)) != 0)
		state = (uint64_t)hc_clock_mono_us() | 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return n == 0 ? 0 : state % n;
}

bool
hc_core_caps_ttl(const struct hc_core *core)
{
	return core->settings->ttl_local_max > 0;
}

int64_t
hc_core_expiry_after(int64_t from_ms, int64_t ttl_ms)
{
	/* However far away, it is not "never". */
	return ttl_ms >= HC_NO_EXPIRY - from_ms ? HC_NO_EXPIRY - 1 : from_ms + ttl_ms;
}

int64_t
hc_core_local_expiry(const struct hc_core *core, int64_t pttl, int64_t from_ms)
{
	int64_t cap = core->settings->ttl_local_max;
	int64_t expiry = pttl < 0 ? HC_NO_EXPIRY : hc_core_expiry_after(from_ms, pttl);

	if (cap > 0) {
		uint64_t most = (uint64_t)(cap / 100 * core->settings->ttl_jitter);
		int64_t capped = from_ms + cap - (int64_t)spread(most + 1);
		if (capped < expiry)
			expiry = capped;
	}
	return expiry;
}

bool
hc_core_settled(const struct hc_core *core)
{
	return core->fleet == NULL || atomic_load(&core->links_settled) >= core->n_workers;
}

void
hc_core_link_config(const struct hc_core *core, const char *name, struct hc_link_config *out)
{
	const struct hc_settings *s = core->settings;

	*out = (struct hc_link_config){
	    .url = &core->url,
	    .name = name,
	    .connect_timeout_ms = s->upstream_connect_timeout,
	    .timeout_ms = s->upstream_timeout,
	    .backoff_min_ms = s->upstream_backoff_min,
	    .backoff_max_ms = s->upstream_backoff_max,
	};
}

static const char *
breaker_of(struct hc_core *core)
{
	if (atomic_load(&core->links_up) >= core->n_workers)
		return "closed";
	return atomic_load(&core->links_probing) > 0 ? "half-open" : "open";
}

void
hc_core_status(struct hc_core *core, struct hc_core_status *out)
{
	*out =
	    (struct hc_core_status){.upstream_shown = "", .event_lag_us = -1, .queued_age_ms = -1, .breaker = "closed"};
	if (core->fleet == NULL)
		return;
	out->upstream = atomic_load(&core->links_up) >= core->n_workers ? HC_UPSTREAM_UP : HC_UPSTREAM_DOWN;
	out->breaker = breaker_of(core);
	out->upstream_for_ms = hc_clock_mono_ms() - atomic_load(&core->links_since_ms);
	out->upstream_shown = core->url.shown;
	out->connects = atomic_load(&core->link_connects);
	out->failures = atomic_load(&core->link_failures);
	out->timeouts = atomic_load(&core->link_timeouts);
	out->queued_writes = hc_outage_count(core->outage);
	out->queued_bytes = hc_outage_bytes(core->outage);
	out->queued_age_ms = hc_outage_age_ms(core->outage);
	out->foreign_writes = (enum hc_foreign_writes)atomic_load(&core->foreign_writes);
	out->incarnation = atomic_load(&core->incarnation);
	out->seq = hc_fleet_seq(core->fleet);
	out->event_lag_us = hc_fleet_event_lag_us(core->fleet);
	hc_sync_status(core, out);
}

bool
hc_core_is_queued(struct hc_core *core, struct hc_slice key)
{
	return core->fleet != NULL && !hc_outage_empty(core->outage) && hc_outage_has_key(core->outage, hc_key(key));
}
