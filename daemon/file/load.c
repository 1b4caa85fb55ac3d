/*
 * Finding again what the log holds: all records, the newest first, each only if its key is not in the index yet. On the
 * keeper thread, beside everything else; but the newest segment's at open, see load_begin.c.
 *
 * What does not count any more leaves a mark in the index, so that nothing older of the key is taken instead: deleted,
 * expired, or of an old epoch. Expiries that come later than their values (which are older) are marks too.
 */
#include <errno.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "file/load_private.h"

#define NO_GROUP UINT32_MAX

/* ---- one segment ---- */

/* A group of the segment; `group` is what the index calls it, or NO_GROUP: its records are dead. */
struct hc_load_group {
	uint32_t group;
	uint32_t model;
	uint32_t epoch;
};

/*
 * Epochs of one model, met so far: an older one than the highest is dead, even should nobody have told us of the clear
 * otherwise.
 */
static struct hc_load_group
resolve_group(struct hc_file *file, struct hc_slice name, uint32_t epoch)
{
	struct hc_load_group found = {.group = NO_GROUP, .epoch = epoch};
	struct hc_model_state *state;
	uint16_t group;

	if (name.len == 0 || file->config.model_intern(file->config.arg, name, &found.model) != HC_OK)
		return found;
	pthread_mutex_lock(&file->log.lock);
	state = hc_model_state_make(&file->groups, found.model);
	if (state != NULL && epoch >= state->loaded_epoch &&
	    hc_group_resolve(file, found.model, epoch, &group) == HC_OK)
		found.group = group;
	pthread_mutex_unlock(&file->log.lock);
	return found;
}

/* Under log.lock: the group may have been given to another model since it was resolved, when this one was cleared. */
static bool
is_still(const struct hc_file *file, const struct hc_load_group *found)
{
	const struct hc_group *group = &file->groups.groups[found->group];

	return group->model == found->model && group->epoch == found->epoch &&
	       hc_group_current(file, (uint16_t)found->group);
}

static void
note_epoch(struct hc_file *file, struct hc_slice name, uint32_t epoch)
{
	struct hc_model_state *state;
	uint32_t id;

	if (name.len == 0 || file->config.model_intern(file->config.arg, name, &id) != HC_OK)
		return;
	pthread_mutex_lock(&file->log.lock);
	state = hc_model_state_make(&file->groups, id);
	if (state != NULL && epoch > state->loaded_epoch)
		state->loaded_epoch = epoch;
	pthread_mutex_unlock(&file->log.lock);
}

/* All the segment's groups: first how far their models have come, then which of them are alive. */
static enum hc_status
resolve_groups(struct hc_load_pass *pass)
{
	struct hc_slice name;
	uint32_t epoch, n = 0;

	pass->groups = hc_malloc((pass->lines.groups_n + 1) * sizeof(*pass->groups));
	if (pass->groups == NULL)
		return HC_NOMEM;
	for (uint32_t at = 0; hc_lines_group(&pass->lines, &at, &name, &epoch);)
		note_epoch(pass->file, name, epoch);
	for (uint32_t at = 0; hc_lines_group(&pass->lines, &at, &name, &epoch) && n < pass->lines.groups_n; n++)
		pass->groups[n] = resolve_group(pass->file, name, epoch);
	while (n < pass->lines.groups_n)
		pass->groups[n++].group = NO_GROUP;
	return HC_OK;
}

/* With the part locked and room in it. */
static void
put_mark(struct hc_index_part *part, const struct hc_entry_line *line, enum hc_index_kind kind)
{
	struct hc_index_item old, mark = {.hash = line->hash, .kind = kind, .expire_ms = line->expire_ms};

	hc_index_put(part, &mark, &old);
}

static void
put_value(struct hc_load_pass *pass, struct hc_index_part *part, const struct hc_entry_line *line, uint32_t bytes)
{
	struct hc_file *file = pass->file;
	const struct hc_load_group *found = line->group < pass->lines.groups_n ? &pass->groups[line->group] : NULL;
	bool live =
	    found != NULL && found->group != NO_GROUP && line->expire_ms > pass->now_ms && bytes <= HC_INDEX_BYTES_MAX;

	/* Entered under log.lock, and only while it is current: not reused in between. */
	if (live) {
		pthread_mutex_lock(&file->log.lock);
		live = is_still(file, found);
		if (live)
			hc_group_enter(file, (uint16_t)found->group, bytes);
		pthread_mutex_unlock(&file->log.lock);
	}
	if (!live) {
		put_mark(part, line, HC_INDEX_GONE);
		return;
	}
	struct hc_index_item old, item = {
				      .hash = line->hash,
				      .place = hc_place(hc_position(pass->segment->seq, line->offset)),
				      .bytes = bytes,
				      .expire_ms = line->expire_ms,
				      .group = (uint16_t)found->group,
				  };
	hc_index_put(part, &item, &old);
}

static void
add_line(struct hc_load_pass *pass, const struct hc_index_item *there, struct hc_index_part *part,
    struct hc_entry_line *line, uint32_t bytes)
{
	bool expiry = there != NULL && there->kind == HC_INDEX_EXPIRY;

	if (there != NULL && !expiry)
		return;
	switch (line->type) {
	case HC_RECORD_VALUE:
		if (expiry)
			line->expire_ms = there->expire_ms;
		put_value(pass, part, line, bytes);
		break;
	case HC_RECORD_DELETE:
		put_mark(part, line, HC_INDEX_GONE);
		break;
	case HC_RECORD_EXPIRE:
		if (!expiry)
			put_mark(part, line, HC_INDEX_EXPIRY);
		break;
	default:
		break;
	}
}

/* False: loading was ended, by a clear or for want of memory. */
static bool
load_line(struct hc_load_pass *pass, struct hc_entry_line *line, uint32_t bytes)
{
	struct hc_file *file = pass->file;
	struct hc_index_part *part;
	struct hc_index_item there;
	bool on;

	if (line->type == HC_RECORD_CLEAR_ALL)
		pass->over = true;
	if (line->type > HC_RECORD_EXPIRE)
		return true;
	part = hc_index_lock(file->index, line->hash);
	on = atomic_load_explicit(&file->loading, memory_order_acquire);
	if (on && hc_index_reserve(part) != HC_OK) {
		atomic_store_explicit(&file->loading, false, memory_order_release);
		on = false;
	}
	if (on)
		add_line(pass, hc_index_find(part, line->hash, &there) ? &there : NULL, part, line, bytes);
	hc_index_unlock(part);
	return on;
}

static bool
load_lines(struct hc_load_pass *pass)
{
	uint32_t end = pass->end;

	for (uint32_t i = pass->lines.n; i-- > 0 && !pass->over;) {
		struct hc_entry_line line;
		hc_line_decode(pass->lines.lines + (size_t)i * HC_ENTRY_BYTES, &line);
		if (line.offset >= end)
			continue;
		if (!load_line(pass, &line, end - line.offset))
			return false;
		end = line.offset;
		HC_COUNT(pass->file, load_records, 1);
	}
	return true;
}

/* ---- where its lines come from ---- */

static void
log_scan(struct hc_file *file, const struct hc_segment *segment, const struct hc_scan *scan)
{
	struct hc_log_quoted dir;

	hc_log(HC_LOG_WARN, "file_segment_scanned",
	    "dir=%s segment=%llx records=%llu damaged=%llu skipped_bytes=%llu torn=%u",
	    hc_log_quote(&dir, file->path, strlen(file->path)), (unsigned long long)segment->seq,
	    (unsigned long long)scan->records, (unsigned long long)scan->damaged,
	    (unsigned long long)scan->skipped_bytes, scan->tail);
}

/* Without a good index file: scanned, and given one. A blank end of the log is not worth a file. */
static enum hc_status
scan_lines(struct hc_file *file, struct hc_segment *segment, struct hc_lines *lines, uint32_t *end)
{
	struct hc_scan scan = {0};
	enum hc_status status = hc_scan_segment(hc_io(file), segment->fd, file->secret, segment->seq, &scan);

	if (status == HC_OK && scan.lines.lost)
		status = HC_NOMEM;
	if (status != HC_OK) {
		hc_lines_fini(&scan.lines);
		return status;
	}
	HC_COUNT(file, damaged, scan.damaged);
	log_scan(file, segment, &scan);
	hc_lines_fini(lines);
	*lines = scan.lines;
	*end = segment->end = scan.end;
	/* What is torn off at the end is cut off: positions in it were handed out, and are not given again. */
	if (scan.tail > 0)
		if (hc_io(file)->ftruncate(segment->fd, scan.end) != 0)
			hc_log(HC_LOG_WARN, "file_truncate", "errno=%d", errno);
	if (hc_lines_write(file, lines, segment) == 0)
		hc_segment_charge(file, segment,
		    hc_file_charge(scan.end) + hc_file_charge(hc_index_file_bytes(lines->n, lines->groups_len)));
	return HC_OK;
}

enum hc_status
hc_load_get_lines(
    struct hc_file *file, struct hc_segment *segment, struct hc_lines *lines, uint32_t *end, bool *scanned)
{
	enum hc_status status = hc_lines_read(hc_io(file), atomic_load_explicit(&file->dir_fd, memory_order_relaxed),
	    file->secret, segment->seq, lines, end);

	*scanned = status != HC_OK;
	if (status == HC_OK) {
		segment->end = *end;
		segment->indexed = true;
		return HC_OK;
	}
	if (status == HC_INVALID || status == HC_ERROR)
		HC_COUNT(file, damaged, 1);
	return scan_lines(file, segment, lines, end);
}

/* ---- all segments ---- */

static struct hc_segment *
newest_unloaded(struct hc_file *file)
{
	struct hc_segment *segment;

	pthread_mutex_lock(&file->segments.lock);
	segment = file->segments.newest;
	while (segment != NULL && segment->loaded)
		segment = segment->older;
	if (segment != NULL && segment->seq < file->segments.drop_below)
		segment = NULL;
	pthread_mutex_unlock(&file->segments.lock);
	return segment;
}

bool
hc_load_pass(struct hc_load_pass *pass)
{
	struct hc_file *file = pass->file;
	enum hc_status status = resolve_groups(pass);
	bool on = false;

	/* From here on items may be of it. */
	pass->segment->loaded = true;
	if (status == HC_OK)
		on = load_lines(pass) && !pass->over;
	else
		atomic_store_explicit(&file->loading, false, memory_order_release);
	if (pass->over) {
		pthread_mutex_lock(&file->segments.lock);
		file->segments.drop_below = pass->segment->seq;
		pthread_mutex_unlock(&file->segments.lock);
	}
	hc_free(pass->groups);
	return on;
}

void
hc_load_lose_segment(struct hc_file *file, struct hc_segment *segment, enum hc_status status)
{
	segment->loaded = true;
	if (status != HC_NOMEM)
		HC_COUNT(file, damaged, 1);
	atomic_store_explicit(&file->loading, false, memory_order_release);
	hc_log(HC_LOG_WARN, "file_load_ended", "segment=%llx status=%s", (unsigned long long)segment->seq,
	    hc_status_name(status));
}

/* False: loading is over. */
static bool
load_segment(struct hc_file *file, struct hc_segment *segment)
{
	struct hc_load_pass pass = {.file = file, .segment = segment, .now_ms = hc_clock_wall_ms()};
	bool scanned, on = false;
	enum hc_status status = hc_load_get_lines(file, segment, &pass.lines, &pass.end, &scanned);

	if (status == HC_OK)
		on = hc_load_pass(&pass);
	else
		hc_load_lose_segment(file, segment, status);
	hc_lines_fini(&pass.lines);
	return on;
}

static enum hc_index_verdict
remove_marks(void *arg, const struct hc_index_item *item)
{
	(void)arg;
	return item->kind == HC_INDEX_VALUE ? HC_INDEX_KEEP : HC_INDEX_REMOVE;
}

static void
finish(struct hc_file *file, int64_t began_ms)
{
	uint64_t cursor = 0;

	atomic_store_explicit(&file->counters.load_ms, (uint64_t)(hc_clock_mono_ms() - began_ms), memory_order_relaxed);
	/* Unless somebody ended it for want of memory: then deletes of what is not in the index are to be written. */
	if (atomic_exchange_explicit(&file->loading, false, memory_order_acq_rel))
		atomic_store_explicit(&file->complete, true, memory_order_release);
	do
		hc_index_walk(file->index, &cursor, remove_marks, NULL);
	while (cursor != 0);
	hc_log(HC_LOG_INFO, "file_loaded", "records=%llu values=%llu ms=%llu",
	    (unsigned long long)atomic_load_explicit(&file->counters.load_records, memory_order_relaxed),
	    (unsigned long long)hc_file_count(file),
	    (unsigned long long)atomic_load_explicit(&file->counters.load_ms, memory_order_relaxed));
}

void
hc_load_run(struct hc_file *file)
{
	int64_t began_ms = hc_clock_mono_ms();
	struct hc_segment *segment;
	bool on = true;

	while (on && (segment = newest_unloaded(file)) != NULL) {
		if (atomic_load_explicit(&file->keeper.stop, memory_order_relaxed))
			return;
		on = load_segment(file, segment);
		atomic_fetch_sub_explicit(&file->counters.load_segments_left, 1, memory_order_relaxed);
		hc_keeper_duties(file);
	}
	atomic_store_explicit(&file->counters.load_segments_left, 0, memory_order_relaxed);
	finish(file, began_ms);
}
