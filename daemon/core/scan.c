/*
 * Walking the keys: this store's when embedded, the upstream's in a fleet. One thread: the worker's.
 */
#include <inttypes.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/scan.h"
#include "proto/lua_scripts.h"

void
hc_scan_fini(struct hc_scan *scan)
{
	if (scan->keys != NULL) {
		for (size_t i = 0; i < scan->n; i++)
			hc_free((void *)(uintptr_t)scan->keys[i].ptr);
	}
	hc_free(scan->keys);
	scan->keys = NULL;
	scan->n = 0;
}

bool
hc_scan_add(struct hc_scan *scan, struct hc_slice key)
{
	if (scan->count_only) {
		scan->n++;
		return true;
	}
	if (scan->n == scan->cap) {
		size_t cap = scan->cap == 0 ? 16 : scan->cap * 2;
		struct hc_slice *keys = hc_realloc(scan->keys, cap * sizeof(*keys));
		if (keys == NULL)
			return false;
		scan->keys = keys;
		scan->cap = cap;
	}
	char *copy = hc_malloc(key.len + 1);
	if (copy == NULL)
		return false;
	memcpy(copy, key.ptr, key.len);
	scan->keys[scan->n++] = hc_slice(copy, key.len);
	return true;
}

/* Sensible patterns read about as many bytes of themselves as of the key. */
#define MATCH_STEPS (1 << 24)
#define MATCH_STEPS_A_BYTE 16

bool
hc_scan_wants(struct hc_scan *scan, struct hc_slice key)
{
	if (scan->pattern.ptr == NULL)
		return true;
	scan->match_steps += (key.len + 1) * MATCH_STEPS_A_BYTE;
	bool match = hc_glob_within(scan->pattern, key, false, &scan->match_steps);
	if (scan->match_steps == 0)
		scan->status = HC_LIMIT;
	return match;
}

/* COUNT is a hint: whatever it is, nobody else waits long for one step. */
static size_t
step_of(const struct hc_scan *scan, size_t most)
{
	return scan->count < most ? scan->count : most;
}

#define FRUITLESS_STEP_MAX 1000

bool
hc_scan_goes_on(struct hc_scan *scan)
{
	bool fruitless = scan->anything && scan->n == 0;

	if (fruitless && scan->count < FRUITLESS_STEP_MAX)
		scan->count *= 4;
	return scan->status == HC_OK && scan->next != 0 && (scan->to_the_end || fruitless);
}

/* ---- embedded ---- */

#define STORE_STEP_MAX 10000
#define TURN_US 1000 /* for which a long walk keeps the worker from others */

/* At once would be before anything else is looked at. */
const struct timeval hc_scan_next_turn = {0, 1};

bool
hc_scan_takes_strings(const struct hc_scan *scan)
{
	return scan->type.ptr == NULL || hc_slice_is(scan->type, "string");
}

static void
scan_memory_some(struct hc_scan *scan)
{
	struct hc_core_worker *worker = scan->worker;
	struct hc_entry_list list = {0};
	size_t step = step_of(scan, STORE_STEP_MAX);

	scan->status = hc_store_scan(worker->core->store, &scan->next, step, worker->now_ms, &list);
	bool strings = hc_scan_takes_strings(scan);
	for (size_t i = 0; scan->status == HC_OK && strings && i < list.n; i++) {
		if (hc_scan_wants(scan, hc_entry_key(list.items[i])) && !hc_scan_add(scan, hc_entry_key(list.items[i])))
			scan->status = HC_NOMEM;
	}
	hc_entry_list_fini(&list);
}

/* A step of the walk. Returns whether there is more. */
static bool
walk_some(struct hc_scan *scan)
{
	if (!scan->count_only) {
		scan_memory_some(scan);
		return hc_scan_goes_on(scan);
	}
	bool more = hc_store_count_on(scan->worker->core->store, &scan->counting, scan->worker->now_ms);
	scan->n = scan->counting.n;
	return more;
}

/* For a turn; but within a transaction nobody else gets any. Returns whether there is more. */
static bool
walk_for_a_turn(struct hc_scan *scan)
{
	int64_t end_us = hc_clock_mono_us() + TURN_US;
	bool more;

	do
		more = walk_some(scan);
	while (more && (hc_store_is_exclusive(scan->worker->core->store) || hc_clock_mono_us() < end_us));
	return more;
}

static enum hc_status
memory_is_walked(struct hc_scan *scan)
{
	return scan->then != NULL ? scan->then(scan) : HC_OK;
}

static void
walk_on(evutil_socket_t fd, short what, void *arg)
{
	struct hc_scan *scan = arg;

	(void)fd;
	(void)what;
	hc_core_tick(scan->worker);
	while (walk_for_a_turn(scan)) {
		if (event_base_once(scan->worker->base, -1, EV_TIMEOUT, walk_on, scan, &hc_scan_next_turn) == 0)
			return;
	}
	if (memory_is_walked(scan) != HC_PENDING)
		scan->done(scan->arg);
}

enum hc_status
hc_scan_memory_in_turns(struct hc_scan *scan)
{
	while (walk_for_a_turn(scan)) {
		if (event_base_once(scan->worker->base, -1, EV_TIMEOUT, walk_on, scan, &hc_scan_next_turn) == 0)
			return HC_PENDING;
	}
	return memory_is_walked(scan);
}

static enum hc_status
scan_here(struct hc_scan *scan)
{
	if (scan->worker->core->tier != NULL)
		return scan->count_only ? hc_scan_count_with_files(scan) : hc_scan_with_files(scan);
	scan->next = scan->cursor;
	return hc_scan_memory_in_turns(scan);
}

/* ---- fleet ---- */

#define UPSTREAM_STEP_MAX 1000

static enum hc_status ask(struct hc_scan *scan);

/*
 * Whether the upstream, which serves all the fleet and nobody while it matches, is asked to match: only patterns that
 * cost little on any key, which are most. Of others it gets the part before the first special byte.
 */
#define STARS_MAX 2
#define BEHIND_STAR_MAX 32

static bool
is_cheap(struct hc_slice pattern)
{
	size_t stars = 0, behind = 0;

	for (size_t i = 0; i < pattern.len; i++) {
		if (pattern.ptr[i] == '*') {
			stars++;
			behind = 0;
		} else if (stars > 0 && ++behind > BEHIND_STAR_MAX) {
			return false;
		}
	}
	return stars <= STARS_MAX;
}

static size_t
plain_length(struct hc_slice pattern)
{
	size_t n = 0;

	while (n < pattern.len && memchr("*?[\\", pattern.ptr[n], 4) == NULL)
		n++;
	return n;
}

/* What the upstream is to match, to be freed. */
static char *
upstream_pattern(struct hc_scan *scan, size_t *len)
{
	const struct hc_core *core = scan->worker->core;
	struct hc_slice pattern = scan->pattern.ptr != NULL ? scan->pattern : HC_SLICE("*");

	if (scan->match_upstream)
		return hc_core_prefix_pattern(core, pattern, len);
	char *text = hc_core_prefix_pattern(core, hc_slice(pattern.ptr, plain_length(pattern)), len);
	if (text != NULL)
		text[(*len)++] = '*'; /* in place of the NUL: it has a length */
	return text;
}

/* What the script could not know: whether a raw value's model has been cleared. */
static bool
is_live(struct hc_scan *scan, struct hc_slice key, char kind)
{
	struct hc_core *core = scan->worker->core;
	uint32_t model;

	if (kind != 'r')
		return true;
	return hc_core_model_of_key(core, key, &model) == HC_OK && hc_models_epoch(core->models, model) == 0;
}

static enum hc_status
take_key(struct hc_scan *scan, struct hc_slice key, char kind)
{
	if (!is_live(scan, key, kind) || (!scan->match_upstream && !hc_scan_wants(scan, key)))
		return scan->status;
	return hc_scan_add(scan, key) ? HC_OK : HC_NOMEM;
}

static enum hc_status
take_page(struct hc_scan *scan, const redisReply *reply)
{
	const struct hc_core *core = scan->worker->core;
	struct hc_slice own = HC_SLICE(HC_FLEET_OWN_PREFIX);

	for (size_t i = 1; i + 1 < reply->elements && scan->status == HC_OK; i += 2) {
		const redisReply *key = reply->element[i], *kind = reply->element[i + 1];
		if (key->type != REDIS_REPLY_STRING || kind->type != REDIS_REPLY_STRING || kind->len != 1)
			continue;
		struct hc_slice full = hc_slice(key->str, (size_t)key->len);
		bool is_own = full.len >= own.len && memcmp(full.ptr, own.ptr, own.len) == 0;
		if (is_own || full.len < core->prefix.len)
			continue;
		struct hc_slice name = hc_slice(full.ptr + core->prefix.len, full.len - core->prefix.len);
		scan->status = take_key(scan, name, kind->str[0]);
	}
	return scan->status;
}

static void
on_page(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_scan *scan = arg;

	scan->status = status;
	if (status == HC_OK &&
	    (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1 || reply->element[0]->type != REDIS_REPLY_STRING ||
		!hc_num_u64(hc_slice(reply->element[0]->str, (size_t)reply->element[0]->len), &scan->next)))
		scan->status = HC_ERROR;
	if (scan->status == HC_OK)
		scan->status = take_page(scan, reply);
	if (hc_scan_goes_on(scan)) {
		scan->cursor = scan->next;
		scan->status = ask(scan);
		if (scan->status == HC_OK)
			return;
	}
	scan->done(scan->arg);
}

static enum hc_status
ask(struct hc_scan *scan)
{
	struct hc_core *core = scan->worker->core;
	char count[24];
	size_t pattern_len;
	char *pattern = upstream_pattern(scan, &pattern_len);

	if (pattern == NULL)
		return HC_NOMEM;
	snprintf(scan->upstream_cursor, sizeof(scan->upstream_cursor), "%" PRIu64, scan->cursor);
	snprintf(count, sizeof(count), "%zu", step_of(scan, UPSTREAM_STEP_MAX));
	const struct hc_slice argv[] = {HC_SLICE("EVAL"), hc_slice(hc_lua_scan, hc_lua_scan_len), HC_SLICE("1"),
	    hc_fleet_state_key(core->fleet), hc_slice_str(scan->upstream_cursor), hc_slice(pattern, pattern_len),
	    hc_slice_str(count), scan->type.ptr != NULL ? scan->type : HC_SLICE("")};
	hc_core_batch_flush(scan->worker);
	enum hc_status status = hc_link_send(scan->worker->link, argv, sizeof(argv) / sizeof(argv[0]), on_page, scan);
	hc_free(pattern);
	return status;
}

enum hc_status
hc_core_scan(struct hc_core_worker *worker, struct hc_scan *scan)
{
	scan->worker = worker;
	scan->next = 0;
	scan->match_steps = MATCH_STEPS;
	scan->match_upstream = scan->pattern.ptr == NULL || is_cheap(scan->pattern);
	if (worker->core->fleet == NULL)
		return scan_here(scan);
	scan->status = ask(scan);
	return scan->status == HC_OK ? HC_PENDING : HC_OK;
}
