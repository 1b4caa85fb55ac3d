/*
 * Walking the keys of memory and files together, where there is no upstream. One thread: the worker's; but what reader
 * threads call.
 *
 *     cursor below IN_FILES:  memory, as without files
 *     cursor from there on:   the file tier's index ─ items ─→ reader threads ─→ keys that are not in memory
 *
 * A key that moves between the two while it is walked may be met twice, never not at all: what leaves memory for good
 * is in the files already or on its way there.
 */
#include <assert.h>
#include <stddef.h>
#include "base/clock.h"
#include "base/mem.h"
#include "core/scan.h"

#define IN_FILES ((uint64_t)1 << 44) /* clients that keep cursors as Lua prints numbers have fourteen digits */
#define FILE_CURSOR (((uint64_t)1 << 40) - 1)
#define AT_A_TIME 64   /* items of a step, or a few more */
#define STEP_US 1000   /* for looking for them where they are few */
#define COUNT_STEP 500 /* entries of memory looked at in a step of counting */

struct item {
	struct hc_file_read read;
	struct hc_message message;
	struct step *step;
	char *key; /* NULL: there is none */
	size_t key_len;
};

/* Of the walk over the files. */
struct step {
	struct hc_scan *scan;
	struct hc_core_worker *worker;
	uint64_t cursor;
	size_t n, cap, left;
	struct item *items;
};

static void
free_step(struct step *step)
{
	for (size_t i = 0; i < step->n; i++)
		hc_free(step->items[i].key);
	hc_free(step->items);
	hc_free(step);
}

/* ---- files ---- */

static enum hc_status walk_files(struct hc_scan *scan);

static void
collect(void *arg, const struct hc_file_item *found)
{
	struct step *step = arg;

	if (step->n == step->cap) {
		size_t cap = step->cap + AT_A_TIME;
		struct item *items = hc_realloc(step->items, cap * sizeof(*items));
		if (items == NULL) {
			step->scan->status = HC_NOMEM;
			return;
		}
		step->items = items;
		step->cap = cap;
	}
	step->items[step->n++] = (struct item){.read.hash = found->hash};
}

static void
take_key(struct step *step, const struct item *item)
{
	struct hc_scan *scan = step->scan;
	struct hc_slice key = hc_slice(item->key, item->key_len);
	struct hc_entry *entry;

	if (!scan->anything &&
	    hc_store_peek(step->worker->core->store, hc_key(key), step->worker->now_ms, &entry) != HC_MISS) {
		hc_entry_unref(entry); /* memory's walk has it */
		return;
	}
	if (hc_scan_wants(scan, key) && !hc_scan_add(scan, key))
		scan->status = HC_NOMEM;
}

static void
end_step(struct step *step)
{
	struct hc_scan *scan = step->scan;

	for (size_t i = 0; i < step->n; i++) {
		if (step->items[i].key != NULL && scan->status == HC_OK)
			take_key(step, &step->items[i]);
	}
	scan->next = step->cursor == 0 ? 0 : IN_FILES | step->cursor;
	free_step(step);
	if (hc_scan_goes_on(scan)) {
		enum hc_status status = walk_files(scan);
		if (status == HC_PENDING)
			return;
		scan->status = status;
	}
	scan->done(scan->arg);
}

static void
on_back(struct hc_message *message, void *receiver)
{
	struct item *item = (struct item *)((char *)message - offsetof(struct item, message));
	struct step *step = item->step;

	(void)receiver;
	step->worker->file_reads--;
	if (--step->left > 0)
		return;
	hc_core_tick(step->worker);
	end_step(step);
}

/* On a reader thread. */
static void
on_read(struct hc_file_read *read, enum hc_status status, const struct hc_file_value *value)
{
	struct item *item = (struct item *)((char *)read - offsetof(struct item, read));

	if (status == HC_OK) {
		item->key = hc_strndup(value->key.ptr, value->key.len);
		item->key_len = value->key.len;
	}
	item->message.deliver = on_back;
	hc_mailbox_send(item->step->worker->mailbox, &item->message);
}

/* Reads what the step has collected. */
static void
read_items(struct step *step)
{
	struct hc_file *file = hc_tier_file(step->worker->core->tier);
	size_t n = step->n;

	step->left = n;
	step->worker->file_reads += (unsigned)n;
	for (size_t i = 0; i < n; i++) {
		struct item *item = &step->items[i];
		item->step = step;
		item->read.fn = on_read;
		hc_file_read(file, &item->read);
	}
}

static void collect_some(evutil_socket_t fd, short what, void *arg);

/* The walk over the index goes on in a later turn: others first. HC_NOMEM. */
static enum hc_status
give_turn(struct step *step)
{

	return event_base_once(step->worker->base, -1, EV_TIMEOUT, collect_some, step, &hc_scan_next_turn) == 0
		   ? HC_OK
		   : HC_NOMEM;
}

static void
collect_some(evutil_socket_t fd, short what, void *arg)
{
	struct step *step = arg;
	struct hc_scan *scan = step->scan;
	struct hc_file *file = hc_tier_file(step->worker->core->tier);
	size_t want = scan->count < AT_A_TIME ? scan->count : AT_A_TIME;
	int64_t end_us = hc_clock_mono_us() + STEP_US;
	enum hc_status status;

	(void)fd;
	(void)what;
	do
		status = hc_file_walk(file, &step->cursor, want, step->worker->now_ms, collect, step);
	while (status == HC_OK && step->n < want && step->cursor != 0 && hc_clock_mono_us() < end_us);
	bool more = status == HC_OK && step->n < want && step->cursor != 0;
	if (more)
		status = give_turn(step);
	if (status != HC_OK)
		scan->status = status;
	else if (more)
		return;
	if (scan->status == HC_OK && step->n > 0)
		read_items(step);
	else
		end_step(step);
}

/* HC_PENDING, or HC_NOMEM. */
static enum hc_status
walk_files(struct hc_scan *scan)
{
	struct step *step = hc_calloc(1, sizeof(*step));

	if (step == NULL)
		return HC_NOMEM;
	step->scan = scan;
	step->worker = scan->worker;
	scan->status = HC_OK;
	step->cursor = scan->next & FILE_CURSOR;
	if (give_turn(step) == HC_OK)
		return HC_PENDING;
	hc_free(step);
	return HC_NOMEM;
}

static enum hc_status
begin_files(struct hc_scan *scan)
{
	if (!hc_scan_takes_strings(scan)) {
		scan->next = 0;
		return HC_OK;
	}
	enum hc_status status = walk_files(scan);
	if (status != HC_PENDING)
		scan->status = status;
	return status == HC_PENDING ? HC_PENDING : HC_OK;
}

static enum hc_status
leave_memory(struct hc_scan *scan)
{
	if (scan->status != HC_OK || scan->next != 0)
		return HC_OK;
	if (hc_file_count(hc_tier_file(scan->worker->core->tier)) == 0)
		return HC_OK;
	scan->next = IN_FILES;
	if (!scan->to_the_end && scan->n >= (scan->anything ? 1 : scan->count))
		return HC_OK;
	return begin_files(scan);
}

enum hc_status
hc_scan_with_files(struct hc_scan *scan)
{
	scan->next = scan->cursor;
	if (scan->next >= IN_FILES)
		return begin_files(scan);
	scan->then = leave_memory;
	return hc_scan_memory_in_turns(scan);
}

/* ---- counting ---- */

/* Entries of memory that are in no file, some at a time, so that others get their turn. */
static void
count_some(evutil_socket_t fd, short what, void *arg)
{
	struct hc_scan *scan = arg;
	struct hc_core_worker *worker = scan->worker;
	struct hc_file *file = hc_tier_file(worker->core->tier);
	struct hc_entry_list list = {0};

	(void)fd;
	(void)what;
	hc_core_tick(worker);
	scan->status = hc_store_scan(worker->core->store, &scan->next, COUNT_STEP, worker->now_ms, &list);
	for (size_t i = 0; i < list.n; i++) {
		if (hc_file_find(file, hc_entry_key(list.items[i]), worker->now_ms, NULL) != HC_OK)
			scan->n++;
	}
	hc_entry_list_fini(&list);
	if (scan->status == HC_OK && scan->next != 0 &&
	    event_base_once(worker->base, -1, EV_TIMEOUT, count_some, scan, &hc_scan_next_turn) == 0)
		return;
	scan->done(scan->arg);
}

/* Whether whatever is in memory is in a file as well, for certain. */
static bool
all_is_filed(struct hc_core *core, const struct hc_file_stats *stats)
{
	return hc_tier_writes_through(core->tier) && stats->mode == HC_FILE_ON && stats->dropped_live == 0 &&
	       stats->too_long == 0 && stats->lost == 0 && stats->faults == 0;
}

enum hc_status
hc_scan_count_with_files(struct hc_scan *scan)
{
	struct hc_core_worker *worker = scan->worker;
	struct hc_file_stats stats;

	hc_file_stats(hc_tier_file(worker->core->tier), &stats);
	scan->n = stats.items;
	scan->next = 0;
	if (stats.items == 0)
		return hc_scan_memory_in_turns(scan);
	if (all_is_filed(worker->core, &stats))
		return HC_OK;
	if (event_base_once(worker->base, -1, EV_TIMEOUT, count_some, scan, &hc_scan_next_turn) == 0)
		return HC_PENDING;
	scan->status = HC_NOMEM;
	return HC_OK;
}
