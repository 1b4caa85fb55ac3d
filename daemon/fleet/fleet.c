/*
 * The fleet: identity, events taken apart, siblings. Receiving is for one thread; `lock` protects the siblings and is a
 * leaf.
 */
#include "fleet/fleet.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/version.h"

#define NAME_MAX_BYTES 128
#define SIBLINGS_MAX 1024 /* known at a time; beyond, the one silent for longest goes */
#define KEYS_SMALL 64

struct sibling {
	struct hc_sibling shown; /* heard_ms_ago, alive: made when listed */
	int64_t heard_ms;        /* monotonic */
	bool left;
};

struct hc_fleet {
	/* constant */
	char instance[HC_EVENT_MAX_INSTANCE + 1];
	char channel[NAME_MAX_BYTES + 32];
	char state_key[NAME_MAX_BYTES + 32];
	char journal_key[NAME_MAX_BYTES + 32];
	char host[64];
	char address[128];
	int64_t started_ms;

	_Atomic int64_t lease_ms;

	_Atomic uint64_t seq;
	_Atomic int64_t lag_us;
	_Atomic int64_t beat_us; /* monotonic, when the own heartbeat set out; 0: it came back */

	/* the receiving thread's: room for the keys of an event */
	struct hc_slice *keys;
	size_t cap;

	pthread_mutex_t lock;
	struct sibling *siblings;
	size_t n, cap_siblings;
};

static enum hc_status
draw_instance(char *dst, size_t cap)
{
	uint64_t id;

	if (hc_random(&id, sizeof(id)) != 0)
		return HC_ERROR;
	snprintf(dst, cap, "%016" PRIx64, id);
	return HC_OK;
}

enum hc_status
hc_fleet_create(const struct hc_fleet_config *config, struct hc_fleet **out)
{
	struct hc_fleet *fleet;

	if (strlen(config->name) > NAME_MAX_BYTES || strlen(config->instance) > HC_EVENT_MAX_INSTANCE)
		return HC_INVALID;
	fleet = hc_calloc(1, sizeof(*fleet));
	if (fleet == NULL)
		return HC_NOMEM;
	snprintf(fleet->instance, sizeof(fleet->instance), "%s", config->instance);
	if (fleet->instance[0] == '\0' && draw_instance(fleet->instance, sizeof(fleet->instance)) != HC_OK) {
		hc_free(fleet);
		return HC_ERROR;
	}
	snprintf(fleet->channel, sizeof(fleet->channel), HC_FLEET_OWN_PREFIX "%s/events", config->name);
	snprintf(fleet->state_key, sizeof(fleet->state_key), HC_FLEET_OWN_PREFIX "%s/state", config->name);
	snprintf(fleet->journal_key, sizeof(fleet->journal_key), HC_FLEET_OWN_PREFIX "%s/journal", config->name);
	snprintf(fleet->address, sizeof(fleet->address), "%s", config->address);
	if (gethostname(fleet->host, sizeof(fleet->host) - 1) != 0)
		snprintf(fleet->host, sizeof(fleet->host), "unknown");
	fleet->lease_ms = config->lease_ms;
	fleet->started_ms = hc_clock_mono_ms();
	atomic_store(&fleet->lag_us, -1);
	pthread_mutex_init(&fleet->lock, NULL);
	*out = fleet;
	return HC_OK;
}

void
hc_fleet_destroy(struct hc_fleet *fleet)
{
	if (fleet == NULL)
		return;
	pthread_mutex_destroy(&fleet->lock);
	hc_free(fleet->siblings);
	hc_free(fleet->keys);
	hc_free(fleet);
}

void
hc_fleet_set_lease(struct hc_fleet *fleet, int64_t lease_ms)
{
	atomic_store(&fleet->lease_ms, lease_ms);
}

struct hc_slice
hc_fleet_instance(const struct hc_fleet *fleet)
{
	return hc_slice_str(fleet->instance);
}

struct hc_slice
hc_fleet_channel(const struct hc_fleet *fleet)
{
	return hc_slice_str(fleet->channel);
}

struct hc_slice
hc_fleet_state_key(const struct hc_fleet *fleet)
{
	return hc_slice_str(fleet->state_key);
}

struct hc_slice
hc_fleet_journal_key(const struct hc_fleet *fleet)
{
	return hc_slice_str(fleet->journal_key);
}

uint64_t
hc_fleet_seq(const struct hc_fleet *fleet)
{
	return atomic_load(&fleet->seq);
}

void
hc_fleet_saw_seq(struct hc_fleet *fleet, uint64_t seq)
{
	uint64_t last = atomic_load(&fleet->seq);

	while (seq > last && !atomic_compare_exchange_weak(&fleet->seq, &last, seq))
		continue;
}

void
hc_fleet_restart_seq(struct hc_fleet *fleet, uint64_t seq)
{
	atomic_store(&fleet->seq, seq);
}

int64_t
hc_fleet_event_lag_us(const struct hc_fleet *fleet)
{
	return atomic_load(&fleet->lag_us);
}

/* ---- siblings ---- */

static struct sibling *
find_sibling(struct hc_fleet *fleet, struct hc_slice instance)
{
	for (size_t i = 0; i < fleet->n; i++) {
		if (hc_slice_eq(hc_slice_str(fleet->siblings[i].shown.instance), instance))
			return &fleet->siblings[i];
	}
	return NULL;
}

static void
drop_most_silent(struct hc_fleet *fleet)
{
	size_t worst = 0;

	for (size_t i = 1; i < fleet->n; i++) {
		if (fleet->siblings[i].heard_ms < fleet->siblings[worst].heard_ms)
			worst = i;
	}
	fleet->n--;
	memmove(&fleet->siblings[worst], &fleet->siblings[worst + 1], (fleet->n - worst) * sizeof(*fleet->siblings));
}

static struct sibling *
add_sibling(struct hc_fleet *fleet, struct hc_slice instance)
{
	if (fleet->n == SIBLINGS_MAX)
		drop_most_silent(fleet);
	if (fleet->n == fleet->cap_siblings) {
		size_t cap = fleet->cap_siblings == 0 ? 8 : fleet->cap_siblings * 2;
		struct sibling *siblings = hc_realloc(fleet->siblings, cap * sizeof(*siblings));
		if (siblings == NULL)
			return NULL;
		fleet->siblings = siblings;
		fleet->cap_siblings = cap;
	}
	struct sibling *sibling = &fleet->siblings[fleet->n++];
	*sibling = (struct sibling){0};
	memcpy(sibling->shown.instance, instance.ptr, instance.len);
	return sibling;
}

static void
copy_text(char *dst, size_t cap, struct hc_slice text)
{
	size_t len = text.len < cap ? text.len : cap - 1;

	memcpy(dst, text.ptr, len);
	dst[len] = '\0';
	/* It is shown to people: no line breaks or terminal escapes from elsewhere. */
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)dst[i] < ' ' || dst[i] == 127)
			dst[i] = '?';
	}
}

static void
take_field(struct sibling *sibling, struct hc_slice field, struct hc_slice value)
{
	struct hc_sibling *shown = &sibling->shown;
	int64_t number = 0;

	(void)hc_num_i64(value, &number);
	if (hc_slice_eq(field, HC_SLICE("host")))
		copy_text(shown->host, sizeof(shown->host), value);
	else if (hc_slice_eq(field, HC_SLICE("address")))
		copy_text(shown->address, sizeof(shown->address), value);
	else if (hc_slice_eq(field, HC_SLICE("version")))
		copy_text(shown->version, sizeof(shown->version), value);
	else if (hc_slice_eq(field, HC_SLICE("pid")))
		shown->pid = number;
	else if (hc_slice_eq(field, HC_SLICE("uptime")))
		shown->uptime_s = number;
	else if (hc_slice_eq(field, HC_SLICE("seq")))
		shown->seq = (uint64_t)number;
	else if (hc_slice_eq(field, HC_SLICE("leaving")))
		sibling->left = true;
}

static void
note_sibling(struct hc_fleet *fleet, const struct hc_event *event)
{
	bool heartbeat = event->type == HC_EVENT_HEARTBEAT;

	pthread_mutex_lock(&fleet->lock);
	struct sibling *sibling = find_sibling(fleet, event->instance);
	if (sibling == NULL && heartbeat)
		sibling = add_sibling(fleet, event->instance);
	if (sibling != NULL) {
		sibling->shown.events++;
		if (heartbeat) {
			sibling->heard_ms = hc_clock_mono_ms();
			sibling->left = false;
			for (size_t i = 0; i + 1 < event->nkeys; i += 2)
				take_field(sibling, event->keys[i], event->keys[i + 1]);
		}
	}
	pthread_mutex_unlock(&fleet->lock);
}

size_t
hc_fleet_siblings(struct hc_fleet *fleet, struct hc_sibling *out, size_t cap)
{
	int64_t now_ms = hc_clock_mono_ms();

	pthread_mutex_lock(&fleet->lock);
	size_t n = fleet->n;
	for (size_t i = 0; i < n && i < cap; i++) {
		const struct sibling *s = &fleet->siblings[i];
		out[i] = s->shown;
		out[i].heard_ms_ago = now_ms - s->heard_ms;
		out[i].alive = !s->left && out[i].heard_ms_ago < 3 * fleet->lease_ms;
	}
	pthread_mutex_unlock(&fleet->lock);
	return n;
}

size_t
hc_fleet_siblings_alive(struct hc_fleet *fleet)
{
	int64_t now_ms = hc_clock_mono_ms();
	size_t alive = 0;

	pthread_mutex_lock(&fleet->lock);
	for (size_t i = 0; i < fleet->n; i++) {
		const struct sibling *s = &fleet->siblings[i];
		alive += !s->left && now_ms - s->heard_ms < 3 * fleet->lease_ms;
	}
	pthread_mutex_unlock(&fleet->lock);
	return alive;
}

/* ---- events ---- */

static void
take_own_beat(struct hc_fleet *fleet)
{
	int64_t sent_us = atomic_exchange(&fleet->beat_us, 0);
	if (sent_us != 0)
		atomic_store(&fleet->lag_us, hc_clock_mono_us() - sent_us);
}

static void
take_event(struct hc_fleet *fleet, const struct hc_event *event, hc_fleet_apply_fn *apply, void *arg)
{
	bool own = hc_slice_eq(event->instance, hc_slice_str(fleet->instance));
	bool change = event->type != HC_EVENT_HEARTBEAT;

	if (event->seq > 0 && change)
		hc_fleet_saw_seq(fleet, hc_event_last_seq(event));
	if (!own)
		note_sibling(fleet, event);
	else if (event->type == HC_EVENT_HEARTBEAT)
		take_own_beat(fleet);
	if (change && event->version == HC_EVENT_VERSION)
		apply(arg, event, own);
}

static bool
room_for_keys(struct hc_fleet *fleet, size_t n)
{
	size_t cap = fleet->cap == 0 ? KEYS_SMALL : fleet->cap;

	while (cap < n)
		cap *= 2;
	struct hc_slice *keys = hc_realloc(fleet->keys, cap * sizeof(*keys));
	if (keys == NULL)
		return false;
	fleet->keys = keys;
	fleet->cap = cap;
	return true;
}

long
hc_fleet_receive(struct hc_fleet *fleet, struct hc_slice message, hc_fleet_apply_fn *apply, void *arg)
{
	long n = 0;

	for (;;) {
		struct hc_event event;
		size_t used = 0;
		switch (hc_event_decode(message, fleet->keys, fleet->cap, &event, &used)) {
		case HC_EVENT_OK:
			take_event(fleet, &event, apply, arg);
			message = hc_slice(message.ptr + used, message.len - used);
			n++;
			break;
		case HC_EVENT_KEYS:
			if (!room_for_keys(fleet, event.nkeys))
				return -1;
			break;
		case HC_EVENT_END:
			return n;
		case HC_EVENT_BAD:
			return -1;
		}
	}
}

size_t
hc_fleet_heartbeat(struct hc_fleet *fleet, char *dst, size_t cap, bool leaving)
{
	char pid[24], uptime[24], seq[24];
	struct hc_slice fields[] = {HC_SLICE("host"), hc_slice_str(fleet->host), HC_SLICE("pid"), {0},
	    HC_SLICE("address"), hc_slice_str(fleet->address), HC_SLICE("version"), HC_SLICE(HC_VERSION),
	    HC_SLICE("uptime"), {0}, HC_SLICE("seq"), {0}, HC_SLICE("leaving"), HC_SLICE("1")};
	size_t n = sizeof(fields) / sizeof(fields[0]);

	snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	snprintf(uptime, sizeof(uptime), "%" PRId64, (hc_clock_mono_ms() - fleet->started_ms) / 1000);
	snprintf(seq, sizeof(seq), "%" PRIu64, hc_fleet_seq(fleet));
	fields[3] = hc_slice_str(pid);
	fields[9] = hc_slice_str(uptime);
	fields[11] = hc_slice_str(seq);
	struct hc_event event = {
	    .version = HC_EVENT_VERSION,
	    .type = HC_EVENT_HEARTBEAT,
	    .instance = hc_slice_str(fleet->instance),
	    .time_ms = hc_clock_wall_ms(),
	    .keys = fields,
	    .nkeys = leaving ? n : n - 2,
	};
	size_t len = hc_event_encode(dst, cap, &event);
	if (len > cap)
		return 0;
	atomic_store(&fleet->beat_us, hc_clock_mono_us());
	return len;
}
