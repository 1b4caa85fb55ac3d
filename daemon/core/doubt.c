/* How far what is kept here is believed; see doubt.h. */
#include "core/doubt.h"

#include <pthread.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/internal.h"

#define RAISES 16

/*
 * When what became suspect: what is below a number (of generations, of positions) has been so since then. The oldest
 * first; where there is no room, two are told as one, with the earlier time.
 */
struct history {
	struct {
		uint64_t below;
		int64_t since_ms;
	} raises[RAISES];
	unsigned n;
	int64_t before_ms; /* for what is suspect and below none of them */
};

struct hc_doubt {
	struct hc_core *core; /* not owned */
	_Atomic int64_t lease_end_ms;
	_Atomic int64_t since_ms;  /* monotonic: of the last change of core->coherent */
	_Atomic int64_t fenced_ms; /* 0: never */
	_Atomic uint64_t lapses;

	pthread_mutex_t lock;
	bool lapsed;          /* what follows says how to undo it */
	uint32_t fresh_since; /* generation of the store */
	uint64_t filed_since; /* position in the files */
	struct history memory, files;
};

static void
history_add(struct history *history, uint64_t below, int64_t since_ms)
{
	if (history->n == RAISES) {
		history->raises[1].below = history->raises[2].below;
		memmove(&history->raises[2], &history->raises[3], (RAISES - 3) * sizeof(history->raises[0]));
		history->n--;
	}
	history->raises[history->n].below = below;
	history->raises[history->n++].since_ms = since_ms;
}

/* What is at `from` or above is suspect no more. */
static void
history_lift(struct history *history, uint64_t from)
{
	while (history->n > 0 && history->raises[history->n - 1].below > from)
		history->n--;
}

static int64_t
history_since(const struct history *history, uint64_t at)
{
	for (unsigned i = 0; i < history->n; i++) {
		if (history->raises[i].below > at)
			return history->raises[i].since_ms;
	}
	return history->before_ms;
}

enum hc_status
hc_doubt_create(struct hc_core *core, uint64_t trusted_from, int64_t since_ms, struct hc_doubt **out)
{
	struct hc_doubt *doubt = hc_calloc(1, sizeof(*doubt));
	int64_t now_ms = hc_clock_mono_ms();

	if (doubt == NULL)
		return HC_NOMEM;
	doubt->core = core;
	doubt->since_ms = doubt->memory.before_ms = now_ms;
	doubt->files.before_ms = since_ms;
	doubt->lease_end_ms = INT64_MAX;
	doubt->lapsed = true;
	doubt->fresh_since = hc_store_present_generation(core->store);
	(void)hc_tier_suspect(core->tier);
	doubt->filed_since = hc_tier_trusted_from(core->tier);
	if (trusted_from < doubt->filed_since)
		doubt->filed_since = trusted_from;
	pthread_mutex_init(&doubt->lock, NULL);
	*out = doubt;
	return HC_OK;
}

void
hc_doubt_destroy(struct hc_doubt *doubt)
{
	if (doubt == NULL)
		return;
	pthread_mutex_destroy(&doubt->lock);
	hc_free(doubt);
}

static void
set_coherent(struct hc_doubt *doubt, bool coherent)
{
	if (atomic_exchange(&doubt->core->coherent, coherent) != coherent)
		atomic_store(&doubt->since_ms, hc_clock_mono_ms());
}

/* Under the lock. Returns what hc_store_trust() and hc_tier_trust() take to undo it. */
static void
suspect_all(struct hc_doubt *doubt, uint32_t *fresh_since, uint64_t *filed_since)
{
	struct hc_core *core = doubt->core;
	int64_t now_ms = hc_clock_mono_ms();

	atomic_store(&doubt->lease_end_ms, INT64_MAX);
	set_coherent(doubt, false); /* first: what is kept as fresh from here on is of before */
	*fresh_since = hc_store_suspect_all(core->store);
	*filed_since = hc_tier_suspect(core->tier);
	history_add(&doubt->memory, hc_store_present_generation(core->store), now_ms);
	history_add(&doubt->files, hc_tier_trusted_from(core->tier), now_ms);
}

/* Under the lock. */
static void
lift(struct hc_doubt *doubt)
{
	struct hc_core *core = doubt->core;

	if (!doubt->lapsed)
		return;
	doubt->lapsed = false;
	hc_store_trust(core->store, doubt->fresh_since);
	hc_tier_trust(core->tier, doubt->filed_since);
	history_lift(&doubt->memory, doubt->fresh_since);
	history_lift(&doubt->files, doubt->filed_since);
}

bool
hc_doubt_fenced(struct hc_doubt *doubt, int64_t asked_ms)
{
	int64_t end_ms = asked_ms + doubt->core->settings->fleet_lease;
	bool holds;

	pthread_mutex_lock(&doubt->lock);
	holds = hc_clock_mono_ms() < end_ms;
	if (holds) {
		lift(doubt);
		atomic_store(&doubt->fenced_ms, asked_ms);
		atomic_store(&doubt->lease_end_ms, end_ms);
		set_coherent(doubt, true);
	}
	pthread_mutex_unlock(&doubt->lock);
	return holds;
}

void
hc_doubt_unfenced(struct hc_doubt *doubt)
{
	set_coherent(doubt, false);
}

void
hc_doubt_all(struct hc_doubt *doubt)
{
	uint32_t fresh_since;
	uint64_t filed_since;

	pthread_mutex_lock(&doubt->lock);
	suspect_all(doubt, &fresh_since, &filed_since);
	/* Nothing of this is to be undone, nor of a lapse before. */
	doubt->lapsed = false;
	hc_saved_forget(doubt->core->saved);
	pthread_mutex_unlock(&doubt->lock);
}

static void
lapse(struct hc_doubt *doubt, int64_t now_ms)
{
	bool ended;

	pthread_mutex_lock(&doubt->lock);
	ended = now_ms >= atomic_load(&doubt->lease_end_ms);
	if (ended) {
		suspect_all(doubt, &doubt->fresh_since, &doubt->filed_since);
		doubt->lapsed = true;
	}
	pthread_mutex_unlock(&doubt->lock);
	if (!ended)
		return;
	atomic_fetch_add(&doubt->lapses, 1);
	hc_log(HC_LOG_WARN, "fleet_lease_over", "copies=suspect");
}

void
hc_doubt_check(struct hc_doubt *doubt)
{
	if (doubt == NULL)
		return;
	int64_t now_ms = hc_clock_mono_ms();
	if (__builtin_expect(now_ms >= atomic_load_explicit(&doubt->lease_end_ms, memory_order_acquire), 0))
		lapse(doubt, now_ms);
}

int64_t
hc_doubt_lease_end_ms(const struct hc_doubt *doubt)
{
	return atomic_load(&doubt->lease_end_ms);
}

uint64_t
hc_doubt_trusted_from(struct hc_doubt *doubt)
{
	pthread_mutex_lock(&doubt->lock);
	uint64_t position = doubt->lapsed ? doubt->filed_since : hc_tier_trusted_from(doubt->core->tier);
	pthread_mutex_unlock(&doubt->lock);
	return position;
}

void
hc_doubt_settle(struct hc_doubt *doubt)
{
	if (doubt == NULL)
		return;
	pthread_mutex_lock(&doubt->lock);
	lift(doubt);
	pthread_mutex_unlock(&doubt->lock);
}

static bool
is_young_enough(const struct hc_doubt *doubt, int64_t since_ms)
{
	const struct hc_settings *settings = doubt->core->settings;

	return settings->upstream_stale_if_down &&
	       (settings->upstream_stale_max == 0 || hc_clock_mono_ms() - since_ms <= settings->upstream_stale_max);
}

bool
hc_doubt_serves_entry(struct hc_doubt *doubt, const struct hc_entry *entry)
{
	uint32_t generation = hc_store_generation_of(doubt->core->store, entry);

	pthread_mutex_lock(&doubt->lock);
	int64_t since_ms = history_since(&doubt->memory, generation);
	pthread_mutex_unlock(&doubt->lock);
	return is_young_enough(doubt, since_ms);
}

bool
hc_doubt_serves_file(struct hc_doubt *doubt, uint64_t position)
{
	pthread_mutex_lock(&doubt->lock);
	int64_t since_ms = history_since(&doubt->files, position);
	pthread_mutex_unlock(&doubt->lock);
	return is_young_enough(doubt, since_ms);
}

void
hc_doubt_status(struct hc_doubt *doubt, struct hc_doubt_status *out)
{
	int64_t now_ms = hc_clock_mono_ms(), fenced_ms = atomic_load(&doubt->fenced_ms);

	*out = (struct hc_doubt_status){
	    .fenced = atomic_load(&doubt->core->coherent),
	    .for_ms = now_ms - atomic_load(&doubt->since_ms),
	    .fence_age_ms = fenced_ms == 0 ? -1 : now_ms - fenced_ms,
	    .lapses = atomic_load(&doubt->lapses),
	};
}
