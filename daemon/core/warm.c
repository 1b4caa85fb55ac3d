/* Warming, after a start; warm_save.c is what it reads. See warm.h. Worker 0's thread, but for status. */
#include "core/warm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/internal.h"
#include "core/warm_list.h"

#define TICK_MS 50
#define AT_A_TIME 32 /* reads under way */

struct hc_warm {
	struct hc_core *core;
	struct hc_warm_list lists[2]; /* the operator's, the last shutdown's */
	/* the thread's */
	struct hc_core_worker *worker;
	struct event *tick;
	unsigned list;    /* at which it is */
	size_t at;        /* how far, in bytes */
	unsigned reading; /* fetches under way */
	uint64_t allowed; /* bytes that may have been read by now */
	uint64_t room;    /* of its share of the budget */
	bool stepping;
	int64_t started_ms;
	/* read by anyone */
	_Atomic int state; /* enum hc_warm_state */
	_Atomic uint64_t keys, tried, loaded, bytes;
};

struct read {
	struct hc_waiter waiter;
	struct hc_warm *warm;
	bool again; /* the second time */
};

static void step(struct hc_warm *warm);

static void
set_state(struct hc_warm *warm, enum hc_warm_state state)
{
	atomic_store(&warm->state, (int)state);
}

static void
end(struct hc_warm *warm)
{
	if (atomic_load(&warm->state) == HC_WARM_DONE)
		return;
	set_state(warm, HC_WARM_DONE);
	event_del(warm->tick);
	hc_log(HC_LOG_INFO, "warmed",
	    "keys=%" PRIu64 " tried=%" PRIu64 " loaded=%" PRIu64 " bytes=%" PRIu64 " ms=%" PRId64,
	    atomic_load(&warm->keys), atomic_load(&warm->tried), atomic_load(&warm->loaded), atomic_load(&warm->bytes),
	    hc_clock_mono_ms() - warm->started_ms);
	for (unsigned i = 0; i < 2; i++)
		hc_warm_list_fini(&warm->lists[i]);
}

/* What is left of the share, whoever fills it. */
static uint64_t
room_left(const struct hc_warm *warm)
{
	const struct hc_settings *settings = warm->core->settings;
	uint64_t share = (uint64_t)(settings->memory_max_bytes / 100 * settings->warmup_share);
	struct hc_store_stats stats;

	hc_store_stats(warm->core->store, &stats);
	return stats.bytes < share ? share - stats.bytes : 0;
}

/*
 * A fill is not kept when another of the same stamp ends meanwhile. That is once in thousands, but the hottest are not
 * to be without it.
 */
static bool
was_lost(const struct hc_warm *warm, struct hc_key key)
{
	struct hc_entry *entry = NULL;
	enum hc_status status = hc_core_lookup(warm->worker, key, HC_READ_QUIET, &entry);

	if (status == HC_OK)
		hc_entry_unref(entry);
	return status == HC_PENDING;
}

static bool
read_again(struct read *read, struct hc_key key)
{
	if (read->again || !was_lost(read->warm, key))
		return false;
	read->again = true;
	return hc_core_fetch(read->warm->worker, key, HC_READ_QUIET | HC_READ_KEEP, &read->waiter) == HC_PENDING;
}

static void
on_read(struct hc_waiter *waiter, enum hc_status status, struct hc_entry *entry, int64_t pttl)
{
	struct read *read = waiter->arg;
	struct hc_warm *warm = read->warm;

	(void)pttl;
	if (status == HC_OK && read_again(read, hc_key(hc_entry_key(entry))))
		return;
	hc_free(read);
	warm->reading--;
	if (status == HC_OK) {
		atomic_fetch_add(&warm->loaded, 1);
		atomic_fetch_add(&warm->bytes, hc_entry_value_len(entry));
		uint64_t taken = hc_entry_footprint(entry);
		warm->room -= taken < warm->room ? taken : warm->room;
	}
	step(warm);
}

static void
fetch(struct hc_warm *warm, struct hc_slice key)
{
	struct hc_entry *entry;

	atomic_fetch_add(&warm->tried, 1);
	enum hc_status status = hc_core_lookup(warm->worker, hc_key(key), HC_READ_QUIET, &entry);
	if (status == HC_OK)
		hc_entry_unref(entry);
	struct read *read = status == HC_PENDING ? hc_malloc(sizeof(*read)) : NULL;
	if (read == NULL)
		return;
	*read = (struct read){.warm = warm, .waiter = {.fn = on_read, .arg = read}};
	warm->reading++;
	if (hc_core_fetch(warm->worker, hc_key(key), HC_READ_QUIET | HC_READ_KEEP, &read->waiter) != HC_PENDING) {
		warm->reading--;
		hc_free(read);
	}
}

/* The next key of the lists. Good until the next call. */
static bool
next_key(struct hc_warm *warm, struct hc_slice *key)
{
	for (; warm->list < 2; warm->list++, warm->at = 0) {
		if (hc_warm_list_next(&warm->lists[warm->list], &warm->at, key))
			return true;
	}
	return false;
}

/* Asks for as many as may be under way, and as rate and share allow. Never entered twice. */
static void
step(struct hc_warm *warm)
{
	struct hc_slice key;

	if (warm->stepping || atomic_load(&warm->state) != HC_WARM_RUNNING)
		return;
	warm->stepping = true;
	bool more = true;
	while (more && warm->reading < AT_A_TIME && warm->room > 0 && atomic_load(&warm->bytes) < warm->allowed) {
		more = next_key(warm, &key);
		if (more)
			fetch(warm, key);
	}
	warm->stepping = false;
	if (!more && warm->reading == 0)
		end(warm);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct hc_warm *warm = arg;

	(void)fd;
	(void)what;
	if (hc_core_file_loading(warm->core))
		return;
	hc_core_tick(warm->worker);
	set_state(warm, HC_WARM_RUNNING);
	warm->allowed = atomic_load(&warm->bytes) + (uint64_t)(warm->core->settings->warmup_rate * TICK_MS / 1000);
	warm->room = room_left(warm);
	if (warm->room == 0)
		end(warm);
	step(warm);
}

void
hc_warm_start(struct hc_warm *warm, struct hc_core_worker *worker, struct event_base *base)
{
	const struct timeval interval = {0, TICK_MS * 1000};

	if (warm == NULL)
		return;
	warm->worker = worker;
	warm->started_ms = hc_clock_mono_ms();
	warm->tick = event_new(base, -1, EV_PERSIST, on_tick, warm);
	if (warm->tick == NULL || event_add(warm->tick, &interval) != 0)
		hc_log(HC_LOG_WARN, "warmup_skipped", "why=out_of_memory");
}

void
hc_warm_stop(struct hc_warm *warm)
{
	if (warm == NULL)
		return;
	set_state(warm, HC_WARM_OFF);
	if (warm->tick != NULL)
		event_free(warm->tick);
	warm->tick = NULL;
}

enum hc_status
hc_warm_create(struct hc_core *core, const char *dir, struct hc_warm **out)
{
	char keys_file[1025];

	*out = NULL;
	hc_settings_string(core->settings, HC_SETTING_ID_warmup_keys_file, keys_file, sizeof(keys_file));
	if (!core->settings->memory_enabled ||
	    (keys_file[0] == '\0' && (dir == NULL || !core->settings->warmup_enabled)))
		return HC_OK;
	struct hc_warm *warm = hc_calloc(1, sizeof(*warm));
	if (warm == NULL)
		return HC_NOMEM;
	warm->core = core;
	if (keys_file[0] != '\0')
		hc_warm_list_read(&warm->lists[0], NULL, keys_file);
	if (dir != NULL && core->settings->warmup_enabled)
		hc_warm_list_read(&warm->lists[1], dir, HC_WARM_LIST_NAME);
	atomic_store(&warm->keys, warm->lists[0].n + warm->lists[1].n);
	if (warm->lists[0].n + warm->lists[1].n == 0) {
		hc_warm_destroy(warm);
		return HC_OK;
	}
	set_state(warm, HC_WARM_WAITING);
	*out = warm;
	return HC_OK;
}

void
hc_warm_destroy(struct hc_warm *warm)
{
	if (warm == NULL)
		return;
	for (unsigned i = 0; i < 2; i++)
		hc_warm_list_fini(&warm->lists[i]);
	hc_free(warm);
}

void
hc_warm_status(const struct hc_warm *warm, struct hc_warm_status *out)
{
	*out = (struct hc_warm_status){.state = HC_WARM_OFF};
	if (warm == NULL)
		return;
	out->state = (enum hc_warm_state)atomic_load(&warm->state);
	out->keys = atomic_load(&warm->keys);
	out->tried = atomic_load(&warm->tried);
	out->loaded = atomic_load(&warm->loaded);
	out->bytes = atomic_load(&warm->bytes);
}
