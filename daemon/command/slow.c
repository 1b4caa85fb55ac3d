/* Commands that took long; see slow.h. */
#include "command/slow.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "command/req.h"

/* What an entry keeps of its command, as in Redis. */
#define ARGS_MAX 32
#define ARG_BYTES_MAX 128
#define REMARK_CAP 96

struct hc_slow {
	pthread_mutex_t lock;
	/* under the lock */
	struct hc_slow_entry *head; /* the newest */
	uint64_t len, next_id;
	struct hc_slow_history histories[HC_SLOW_EVENTS];
};

enum hc_status
hc_slow_create(struct hc_slow **out)
{
	struct hc_slow *slow = hc_calloc(1, sizeof(*slow));

	if (slow == NULL)
		return HC_NOMEM;
	pthread_mutex_init(&slow->lock, NULL);
	*out = slow;
	return HC_OK;
}

static void
free_entries(struct hc_slow_entry *entry)
{
	while (entry != NULL) {
		struct hc_slow_entry *next = entry->next;
		hc_free(entry);
		entry = next;
	}
}

void
hc_slow_destroy(struct hc_slow *slow)
{
	if (slow == NULL)
		return;
	free_entries(slow->head);
	pthread_mutex_destroy(&slow->lock);
	hc_free(slow);
}

/* ---- entries ---- */

/* A command as it is to be shown. */
struct shown {
	char texts[ARGS_MAX + 1][ARG_BYTES_MAX + REMARK_CAP];
	size_t lens[ARGS_MAX + 1];
	uint32_t n;
};

static void
show_text(struct shown *shown, const char *text)
{
	shown->lens[shown->n] = (size_t)snprintf(shown->texts[shown->n], sizeof(shown->texts[0]), "%s", text);
	shown->n++;
}

static void
show_arg(struct shown *shown, struct hc_slice arg)
{
	size_t len = arg.len < ARG_BYTES_MAX ? arg.len : ARG_BYTES_MAX;
	char *text = shown->texts[shown->n];

	if (len > 0)
		memcpy(text, arg.ptr, len);
	if (arg.len > len)
		len += (size_t)snprintf(text + len, REMARK_CAP, "... (%zu more bytes)", arg.len - len);
	shown->lens[shown->n++] = len;
}

static void
show_command(struct shown *shown, const struct hc_command *command, const struct hc_slice *argv, uint32_t argc)
{
	uint32_t open = command->container != NULL ? 2 : 1;
	char more[REMARK_CAP];

	for (uint32_t i = 0; i < argc; i++) {
		if (i == ARGS_MAX - 1 && argc > ARGS_MAX) {
			snprintf(more, sizeof(more), "... (%u more arguments)", argc - i);
			show_text(shown, more);
			return;
		}
		if (i >= open && (command->flags & HC_CMD_SECRET))
			show_text(shown, "(redacted)");
		else
			show_arg(shown, argv[i]);
	}
}

static struct hc_slice
put(char **at, struct hc_slice text)
{
	char *start = *at;

	if (text.len > 0)
		memcpy(start, text.ptr, text.len);
	*at += text.len;
	return hc_slice(start, text.len);
}

static struct hc_slow_entry *
make_entry(const struct shown *shown, const struct hc_session *session, int64_t took_us)
{
	struct hc_slice client = hc_slice_str(session->addr);
	struct hc_slice name = hc_slice_str(session->name != NULL ? session->name : "");
	size_t bytes = client.len + name.len;

	for (uint32_t i = 0; i < shown->n; i++)
		bytes += shown->lens[i];
	struct hc_slow_entry *entry = hc_malloc(sizeof(*entry) + shown->n * sizeof(entry->argv[0]) + bytes);
	if (entry == NULL)
		return NULL;
	char *at = (char *)&entry->argv[shown->n];
	entry->time_s = hc_clock_wall_ms() / 1000;
	entry->took_us = took_us;
	entry->client = put(&at, client);
	entry->name = put(&at, name);
	entry->argc = shown->n;
	for (uint32_t i = 0; i < shown->n; i++)
		entry->argv[i] = put(&at, hc_slice(shown->texts[i], shown->lens[i]));
	return entry;
}

/* The entries beyond `max`, taken out. */
static struct hc_slow_entry *
cut(struct hc_slow *slow, uint64_t max)
{
	struct hc_slow_entry **at = &slow->head;

	if (slow->len <= max)
		return NULL;
	for (uint64_t i = 0; i < max; i++)
		at = &(*at)->next;
	struct hc_slow_entry *rest = *at;
	*at = NULL;
	slow->len = max;
	return rest;
}

static void
add_sample(struct hc_slow_history *history, int64_t time_s, int64_t ms)
{
	struct hc_slow_sample *last = history->n > 0 ? &history->samples[history->n - 1] : NULL;

	if (ms > history->max_ms)
		history->max_ms = ms;
	if (last != NULL && last->time_s == time_s) {
		if (ms > last->ms)
			last->ms = ms;
		return;
	}
	if (history->n == HC_SLOW_SAMPLES) {
		memmove(history->samples, history->samples + 1, (HC_SLOW_SAMPLES - 1) * sizeof(history->samples[0]));
		history->n--;
	}
	history->samples[history->n++] = (struct hc_slow_sample){time_s, ms};
}

static void
add(struct hc_command_shared *shared, const struct hc_session *session, const struct shown *shown,
    enum hc_slow_event event, int64_t took_us)
{
	struct hc_slow *slow = shared->slow;
	uint64_t max = (uint64_t)shared->settings->server_slowlog_max_len;
	struct hc_slow_entry *entry = make_entry(shown, session, took_us);

	if (entry == NULL)
		return;
	pthread_mutex_lock(&slow->lock);
	entry->id = slow->next_id++;
	entry->next = slow->head;
	slow->head = entry;
	slow->len++;
	if (took_us >= 1000)
		add_sample(&slow->histories[event], entry->time_s, took_us / 1000);
	struct hc_slow_entry *rest = cut(slow, max);
	pthread_mutex_unlock(&slow->lock);
	free_entries(rest);
}

void
hc_slow_each(struct hc_slow *slow, uint64_t n, hc_slow_fn *fn, void *arg)
{
	pthread_mutex_lock(&slow->lock);
	const struct hc_slow_entry *entry = slow->head;
	uint64_t of = n < slow->len ? n : slow->len;
	for (uint64_t i = 0; i < of; i++, entry = entry->next)
		fn(entry, of, arg);
	pthread_mutex_unlock(&slow->lock);
}

uint64_t
hc_slow_len(struct hc_slow *slow)
{
	pthread_mutex_lock(&slow->lock);
	uint64_t len = slow->len;
	pthread_mutex_unlock(&slow->lock);
	return len;
}

void
hc_slow_reset(struct hc_slow *slow)
{
	pthread_mutex_lock(&slow->lock);
	struct hc_slow_entry *rest = cut(slow, 0);
	pthread_mutex_unlock(&slow->lock);
	free_entries(rest);
}

/* ---- the watch ---- */

/* Microseconds from which on a command is slow; -1: nobody wants to know. */
static int64_t
slow_from_us(const struct hc_command_worker *worker)
{
	const struct hc_settings *settings = worker->shared->settings;

	return settings->server_slowlog_max_len > 0 ? settings->server_slowlog_slower_than * 1000 : -1;
}

bool
hc_slow_wants_each(const struct hc_command_worker *worker)
{
	return slow_from_us(worker) == 0;
}

int64_t
hc_slow_turn_begin(struct hc_command_worker *worker)
{
	int64_t now_us = hc_clock_mono_us();

	worker->watch = (struct hc_slow_watch){.began_us = now_us, .looked_us = now_us, .patience = 1};
	return now_us;
}

static void
remark_run(struct shown *shown, unsigned n)
{
	char remark[REMARK_CAP];

	if (n < 2)
		return;
	snprintf(remark, sizeof(remark), "... (with the %u commands before it)", n - 1);
	show_text(shown, remark);
}

static void
count_time(struct hc_command_worker *worker, const struct hc_command *command, int64_t took_us)
{
	hc_tally_add(&hc_command_counts(worker, command)->usec, (uint64_t)took_us);
}

void
hc_slow_turn_end(struct hc_command_worker *worker, struct hc_session *session)
{
	struct hc_slow_watch *watch = &worker->watch;
	int64_t from_us = slow_from_us(worker);
	const struct hc_command *command = atomic_load_explicit(&session->last_command, memory_order_relaxed);

	if (watch->unseen > 0 && from_us >= 0 && command != NULL) {
		int64_t took_us = hc_clock_mono_us() - watch->looked_us;
		count_time(worker, command, took_us);
		if (took_us >= from_us) {
			struct shown shown = {.n = 0};
			show_text(&shown, command->name);
			show_text(&shown, "... (arguments were not kept)");
			remark_run(&shown, watch->unseen);
			add(worker->shared, session, &shown, HC_SLOW_FAST_COMMAND, took_us);
		}
	}
	watch->unseen = 0;
	watch->looked_us = 0;
}

void
hc_slow_look(struct hc_command_worker *worker, const struct hc_session *session, const struct hc_command *command,
    const struct hc_slice *argv, uint32_t argc)
{
	struct hc_slow_watch *watch = &worker->watch;
	int64_t from_us = slow_from_us(worker);
	int64_t now_us = hc_clock_mono_us(), took_us = now_us - watch->looked_us;
	bool in_turn = watch->looked_us > 0;

	if (from_us == 0 || took_us >= HC_SLOW_PACE_US * (int64_t)watch->unseen)
		watch->patience = 1;
	else if (watch->patience < HC_SLOW_RUN)
		watch->patience *= 2;
	if (in_turn && from_us >= 0)
		count_time(worker, command, took_us);
	if (in_turn && from_us >= 0 && took_us >= from_us) {
		bool fast = command->flags & HC_CMD_FAST;
		struct shown shown = {.n = 0};
		show_command(&shown, command, argv, argc);
		remark_run(&shown, watch->unseen);
		add(worker->shared, session, &shown, fast ? HC_SLOW_FAST_COMMAND : HC_SLOW_COMMAND, took_us);
	}
	watch->looked_us = now_us;
	watch->unseen = 0;
}

int64_t
hc_slow_since(const struct hc_command_worker *worker)
{
	return worker->watch.looked_us > 0 ? worker->watch.looked_us : hc_clock_mono_us();
}

void
hc_slow_waited(const struct hc_req *req, int64_t since_us)
{
	struct hc_command_worker *worker = req->worker;
	struct hc_slow_watch *watch = &worker->watch;
	int64_t from_us = slow_from_us(worker);

	if (from_us < 0)
		return;
	int64_t now_us = hc_clock_mono_us();
	count_time(worker, req->command, now_us - since_us);
	if (watch->looked_us > 0) { /* it did not have to wait: what follows begins here */
		watch->looked_us = now_us;
		watch->unseen = 0;
	}
	if (now_us - since_us < from_us)
		return;
	struct shown shown = {.n = 0};
	show_command(&shown, req->command, req->argv, req->argc);
	add(worker->shared, req->session, &shown, watch->looked_us > 0 ? HC_SLOW_COMMAND : HC_SLOW_WAITED,
	    now_us - since_us);
}

/* ---- samples ---- */

const char *
hc_slow_event_name(enum hc_slow_event event)
{
	static const char *const names[] = {
	    [HC_SLOW_COMMAND] = "command",
	    [HC_SLOW_FAST_COMMAND] = "fast-command",
	    [HC_SLOW_WAITED] = "waited",
	};
	return names[event];
}

enum hc_slow_event
hc_slow_event_named(struct hc_slice name)
{
	int i = 0;

	while (i < HC_SLOW_EVENTS && !hc_slice_eq(name, hc_slice_str(hc_slow_event_name((enum hc_slow_event)i))))
		i++;
	return (enum hc_slow_event)i;
}

void
hc_slow_history(struct hc_slow *slow, enum hc_slow_event event, struct hc_slow_history *out)
{
	pthread_mutex_lock(&slow->lock);
	*out = slow->histories[event];
	pthread_mutex_unlock(&slow->lock);
}

bool
hc_slow_history_reset(struct hc_slow *slow, enum hc_slow_event event)
{
	pthread_mutex_lock(&slow->lock);
	bool any = slow->histories[event].n > 0;
	slow->histories[event].n = 0;
	slow->histories[event].max_ms = 0;
	pthread_mutex_unlock(&slow->lock);
	return any;
}
