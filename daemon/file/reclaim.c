/*
 * Space: the oldest segment goes when the next one would not fit. What is alive in it and was of use is carried over to
 * the head of the log before, within a bound. When much has died at once it goes earlier, once so little is alive in it
 * that all of that can be carried. On the keeper thread, but hc_space_…(), where the writer waits for it.
 *
 * Tombstones need no carrying: what they delete is in older segments, and those have gone before.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"
#include "file/internal.h"

#define RESERVED (2 * HC_BLOCK) /* the lock and the tier file */
#define SEQ_WINDOW 32768u       /* an item knows 16 bits of its segment's number */
#define SEGMENTS_MAX 16384u     /* each has a descriptor */
#define WAIT_MS 50
#define LEAVE_LINES \
	16384u /* records: what is kept of them until the segment is sealed takes more than half a megabyte */

static bool
over(const struct hc_file *file, uint64_t bytes)
{
	return file->segments.bytes + bytes + RESERVED > file->config.max_bytes;
}

/* Under segments.lock: which one is to go, or NULL. *plain: without looking at what is in it. */
static struct hc_segment *
choose(struct hc_file *file, bool *plain)
{
	struct hc_segments *segments = &file->segments;
	struct hc_segment *oldest = segments->oldest;
	bool wanted = atomic_load_explicit(&segments->wanted, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&file->log.seq, memory_order_relaxed);

	if (oldest == NULL || oldest->open)
		return NULL;
	*plain = true;
	/* Once the clear is written: what is not acknowledged may not have happened. */
	uint64_t cleared = atomic_load_explicit(&file->cleared, memory_order_acquire);
	if (oldest->seq < segments->drop_below ||
	    (oldest->seq < hc_position_seq(cleared) && hc_file_written(file) > cleared))
		return oldest;
	if (segments->drop_oldest > 0) {
		segments->drop_oldest--;
		return oldest;
	}
	*plain = false;
	if (atomic_load_explicit(&file->closing, memory_order_acquire) && !wanted)
		return NULL;
	return over(file, file->config.segment_bytes) || head - oldest->seq > SEQ_WINDOW ||
		       segments->count > SEGMENTS_MAX
		   ? oldest
		   : NULL;
}

/* ---- what is in it ---- */

struct victim {
	struct hc_file *file;
	struct hc_segment *segment;
	struct hc_lines lines;
	uint32_t end;
	uint64_t budget; /* bytes that may still be carried */
	uint8_t least;   /* heat from which on records are carried */
	bool carrying;
	uint64_t mark; /* up to where the log is to be written before the segment goes */
};

static bool
read_lines(struct victim *victim)
{
	struct hc_file *file = victim->file;

	return victim->segment->indexed &&
	       hc_lines_read(hc_io(file), atomic_load_explicit(&file->dir_fd, memory_order_relaxed), file->secret,
		   victim->segment->seq, &victim->lines, &victim->end) == HC_OK;
}

static bool
line_at(const struct victim *victim, uint32_t i, struct hc_entry_line *line, uint32_t *bytes)
{
	struct hc_entry_line next;
	uint32_t end = victim->end;

	hc_line_decode(victim->lines.lines + (size_t)i * HC_ENTRY_BYTES, line);
	if (i + 1 < victim->lines.n) {
		hc_line_decode(victim->lines.lines + (size_t)(i + 1) * HC_ENTRY_BYTES, &next);
		end = next.offset;
	}
	*bytes = end - line->offset;
	return line->type == HC_RECORD_VALUE;
}

/* The item of that line, if it is still here and alive. */
static bool
live_item(const struct victim *victim, const struct hc_entry_line *line, struct hc_index_item *item)
{
	struct hc_file *file = victim->file;
	struct hc_index_part *part = hc_index_lock(file->index, line->hash);
	bool live = hc_index_find(part, line->hash, item) &&
		    item->place == hc_place(hc_position(victim->segment->seq, line->offset)) &&
		    hc_item_live(file, item, hc_clock_wall_ms());

	hc_index_unlock(part);
	return live;
}

/* From which heat on all that is warm fits into the budget: the hottest first. */
static void
choose_heat(struct victim *victim)
{
	uint64_t bytes[HC_INDEX_HOT_MAX + 1] = {0}, sum = 0;
	uint8_t least = HC_INDEX_HOT_MAX + 1;

	for (uint32_t i = 0; i < victim->lines.n; i++) {
		struct hc_entry_line line;
		struct hc_index_item item;
		uint32_t len;
		if (line_at(victim, i, &line, &len) && live_item(victim, &line, &item))
			bytes[item.hot] += len;
	}
	while (least > 1 && sum < victim->budget)
		sum += bytes[--least];
	victim->least = least;
}

/* A whole record, from the file into a block of its own. */
static uint8_t *
read_record(const struct victim *victim, const struct hc_entry_line *line, uint32_t bytes, struct hc_record *record)
{
	struct hc_file *file = victim->file;
	uint8_t *block = hc_malloc(bytes);
	ssize_t got;

	if (block == NULL)
		return NULL;
	got = hc_io(file)->pread(victim->segment->fd, block, bytes, line->offset);
	if (got > 0 && hc_record_decode(file->secret, block, (size_t)got, bytes,
			   hc_position(victim->segment->seq, line->offset), record) == HC_OK)
		return block;
	HC_COUNT(file, damaged, 1);
	hc_free(block);
	return NULL;
}

/* Its new place must not make it look newer than it is. */
static bool
may_move(const struct victim *victim, uint32_t offset)
{
	const struct hc_file_config *config = &victim->file->config;

	return config->carry_from == NULL ||
	       hc_position(victim->segment->seq, offset) >= config->carry_from(config->arg);
}

static bool
carry(struct victim *victim, const struct hc_entry_line *line, uint32_t bytes)
{
	struct hc_file *file = victim->file;
	struct hc_index_item item;
	struct hc_record record;
	uint8_t *block;

	if (!victim->carrying || bytes > victim->budget || !may_move(victim, line->offset) ||
	    atomic_load_explicit(&file->segments.wanted, memory_order_relaxed) || !live_item(victim, line, &item) ||
	    item.hot < victim->least)
		return false;
	block = read_record(victim, line, bytes, &record);
	if (block == NULL)
		return false;
	if (hc_append_carried(file, &item, &record, block, &victim->mark) != HC_OK) {
		hc_free(block);
		return false;
	}
	victim->budget -= bytes;
	HC_COUNT(file, carried, 1);
	HC_COUNT(file, carried_bytes, bytes);
	return true;
}

/* False: the tier is being closed, and can do without this space: the segment stays. What was taken from the index
 * will be found again. */
static bool
empty_by_lines(struct victim *victim)
{
	struct hc_file *file = victim->file;

	victim->carrying = !file->config.no_carry && victim->segment->loaded;
	victim->budget = (uint64_t)file->config.segment_bytes * file->config.carry_percent / 100;
	if (victim->carrying)
		choose_heat(victim);
	for (uint32_t i = 0; i < victim->lines.n; i++) {
		struct hc_entry_line line;
		uint32_t bytes;
		if (atomic_load_explicit(&file->closing, memory_order_acquire) &&
		    !atomic_load_explicit(&file->segments.wanted, memory_order_relaxed))
			return false;
		if (!line_at(victim, i, &line, &bytes) || carry(victim, &line, bytes))
			continue;
		if (hc_item_remove_at(file, line.hash, hc_position(victim->segment->seq, line.offset)))
			HC_COUNT(file, dropped_live, 1);
	}
	return true;
}

static void
wait_for_writer(struct hc_file *file, uint64_t mark)
{
	struct timespec pause = {0, 1000000};

	while (hc_file_written(file) < mark && !atomic_load_explicit(&file->segments.wanted, memory_order_relaxed) &&
	       !atomic_load_explicit(&file->keeper.stop, memory_order_relaxed)) {
		hc_file_kick(file);
		nanosleep(&pause, NULL);
	}
}

/* ---- what nobody needs goes before its space is needed ---- */

#define THIN_STEP 4096  /* lines looked at in one go: some tenths of a millisecond, … */
#define THIN_PAUSE_MS 1 /* … and the pause behind it */

/* Nobody waits for what it is about: others come first. */
static void
pause_at(const struct victim *victim, uint32_t line)
{
	if (line % THIN_STEP == THIN_STEP - 1)
		hc_keeper_let_others_run(victim->file, THIN_PAUSE_MS);
}

/* Bytes of it that are alive; UINT64_MAX: some of them may not be moved. */
static uint64_t
live_bytes(const struct victim *victim)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < victim->lines.n; i++) {
		struct hc_entry_line line;
		struct hc_index_item item;
		uint32_t len;
		pause_at(victim, i);
		if (!line_at(victim, i, &line, &len) || !live_item(victim, &line, &item))
			continue;
		if (!may_move(victim, line.offset))
			return UINT64_MAX;
		sum += len;
	}
	return sum;
}

/* Carries all that is alive. HC_MISS: it is too much, or damaged; HC_PENDING: not now. What has been carried may stay
 * so. */
static enum hc_status
carry_all(struct victim *victim)
{
	const struct hc_file_config *config = &victim->file->config;
	uint64_t live = live_bytes(victim);

	victim->carrying = !config->no_carry;
	victim->budget = (uint64_t)config->segment_bytes * config->carry_percent / 100;
	if (live > (victim->carrying ? victim->budget : 0))
		return HC_MISS;
	for (uint32_t i = 0; i < victim->lines.n; i++) {
		struct hc_entry_line line;
		struct hc_index_item item;
		uint32_t len;
		pause_at(victim, i);
		if (line_at(victim, i, &line, &len) && live_item(victim, &line, &item) && !carry(victim, &line, len) &&
		    live_item(victim, &line, &item))
			return hc_log_has_room(victim->file) ? HC_MISS : HC_PENDING;
	}
	return HC_OK;
}

static struct hc_segment *
oldest_sealed(struct hc_file *file)
{
	struct hc_segment *oldest;

	pthread_mutex_lock(&file->segments.lock);
	oldest = file->segments.oldest;
	if (oldest != NULL && (oldest->open || !oldest->indexed))
		oldest = NULL;
	pthread_mutex_unlock(&file->segments.lock);
	return oldest;
}

/*
 * Nothing at all is alive, and there is much in the segment that is being written: the next one begins, and this one is
 * sealed, so that it can go, and what the writer keeps of it in memory. Returns whether that is so.
 */
static bool
leave_what_is_dead(struct hc_file *file)
{
	pthread_mutex_lock(&file->log.lock);
	bool left = !file->log.stop && file->log.lines >= LEAVE_LINES && hc_log_roll(file, 0) == HC_OK;
	pthread_mutex_unlock(&file->log.lock);
	if (left)
		hc_file_kick(file);
	return left;
}

bool
hc_reclaim_may_thin(const struct hc_file *file)
{
	return atomic_load_explicit(&file->complete, memory_order_acquire) &&
	       atomic_load_explicit(&file->mode, memory_order_acquire) == HC_FILE_ON &&
	       !atomic_load_explicit(&file->closing, memory_order_acquire);
}

enum hc_status
hc_reclaim_thin(struct hc_file *file)
{
	bool behind = hc_file_written(file) < hc_file_head(file);
	struct victim victim = {.file = file, .segment = oldest_sealed(file)};
	enum hc_status status = HC_MISS;

	if (!hc_reclaim_may_thin(file) || !hc_log_has_room(file) ||
	    (victim.segment == NULL && behind)) /* it may be full in a moment */
		return HC_PENDING;
	bool none_alive = hc_index_count(file->index) == 0, left = none_alive && leave_what_is_dead(file);
	if (victim.segment == NULL && left)
		return HC_PENDING;
	if (victim.segment != NULL && none_alive)
		status = HC_OK;
	else if (victim.segment != NULL && read_lines(&victim))
		status = carry_all(&victim);
	hc_lines_fini(&victim.lines);
	if (status != HC_OK)
		return status;
	/* Nothing asks for the space: what is in it stays until that is safe which it is dead by. */
	victim.mark = hc_file_head(file);
	wait_for_writer(file, victim.mark);
	if (hc_file_written(file) < victim.mark || !hc_reclaim_may_thin(file))
		return HC_PENDING;
	if (file->config.sync != HC_FILE_SYNC_NO)
		hc_keeper_sync(file);
	hc_segment_drop(file, victim.segment, true);
	return HC_OK;
}

/* ---- without its lines: all of the index is looked through ---- */

struct by_walk {
	struct hc_file *file;
	uint64_t seq;
};

static enum hc_index_verdict
remove_of_segment(void *arg, const struct hc_index_item *item)
{
	struct by_walk *walk = arg;

	if (item->kind != HC_INDEX_VALUE || hc_position_seq(hc_item_position(walk->file, item)) != walk->seq)
		return HC_INDEX_KEEP;
	HC_COUNT(walk->file, dropped_live, hc_item_live(walk->file, item, hc_clock_wall_ms()));
	hc_group_leave(walk->file, item->group, 1, item->bytes);
	return HC_INDEX_REMOVE;
}

static void
empty_by_walk(struct hc_file *file, const struct hc_segment *segment)
{
	struct by_walk walk = {file, segment->seq};
	uint64_t cursor = 0;

	do
		hc_index_walk(file->index, &cursor, remove_of_segment, &walk);
	while (cursor != 0);
}

/* ---- the segment goes ---- */

static bool
reclaim_one(struct hc_file *file, struct hc_segment *segment, bool plain)
{
	struct victim victim = {.file = file, .segment = segment};
	bool lines = read_lines(&victim);

	atomic_store_explicit(&file->emptying, true, memory_order_release);
	/* Not loaded: nothing in the index is of it. All cleared: neither. */
	bool emptied = true;
	if (segment->loaded && lines && !plain)
		emptied = empty_by_lines(&victim);
	else if (segment->loaded &&
		 segment->seq >= hc_position_seq(atomic_load_explicit(&file->cleared, memory_order_acquire)))
		empty_by_walk(file, segment);
	hc_lines_fini(&victim.lines);
	if (!emptied)
		return false;
	wait_for_writer(file, victim.mark);
	hc_segment_drop(file, segment, false);
	atomic_store_explicit(&file->emptying, false, memory_order_release);
	return true;
}

bool
hc_reclaim(struct hc_file *file)
{
	struct hc_segment *segment;
	bool any = false, plain = false;

	for (;;) {
		pthread_mutex_lock(&file->segments.lock);
		segment = choose(file, &plain);
		pthread_mutex_unlock(&file->segments.lock);
		if (segment == NULL || !reclaim_one(file, segment, plain))
			return any;
		any = true;
	}
}

/* ---- the writer waits ---- */

/* Under segments.lock. */
static void
wait_for_keeper(struct hc_file *file)
{
	struct timespec until;

	hc_keeper_nudge(file);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WAIT_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	pthread_cond_timedwait(&file->segments.freed, &file->segments.lock, &until);
}

int
hc_space_take(struct hc_file *file, uint64_t bytes)
{
	struct hc_segments *segments = &file->segments;
	int err = 0;

	pthread_mutex_lock(&segments->lock);
	while (over(file, bytes) && err == 0) {
		atomic_store_explicit(&segments->wanted, true, memory_order_relaxed);
		if (segments->oldest == NULL)
			err = ENOSPC;
		else
			wait_for_keeper(file);
	}
	atomic_store_explicit(&segments->wanted, false, memory_order_relaxed);
	pthread_mutex_unlock(&segments->lock);
	return err;
}

bool
hc_space_shrink(struct hc_file *file)
{
	struct hc_segments *segments = &file->segments;
	uint64_t seq = 0;

	pthread_mutex_lock(&segments->lock);
	if (segments->oldest != NULL && !segments->oldest->open) {
		seq = segments->oldest->seq;
		segments->drop_oldest = 1;
		atomic_store_explicit(&segments->wanted, true, memory_order_relaxed);
	}
	while (seq != 0 && segments->oldest != NULL && segments->oldest->seq == seq)
		wait_for_keeper(file);
	segments->drop_oldest = 0;
	atomic_store_explicit(&segments->wanted, false, memory_order_relaxed);
	pthread_mutex_unlock(&segments->lock);
	return seq != 0;
}

void
hc_space_drop_below(struct hc_file *file, uint64_t seq)
{
	struct hc_segments *segments = &file->segments;

	pthread_mutex_lock(&segments->lock);
	segments->drop_below = seq;
	atomic_store_explicit(&segments->wanted, true, memory_order_relaxed);
	while (segments->oldest != NULL && segments->oldest->seq < seq)
		wait_for_keeper(file);
	atomic_store_explicit(&segments->wanted, false, memory_order_relaxed);
	pthread_mutex_unlock(&segments->lock);
}
