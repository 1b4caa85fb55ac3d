/*
 * The keeper thread: loads what is there at the start, then reclaims, syncs each second, looks whether the directory
 * is still there, and sweeps out of the index what is dead.
 */
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include "base/thread.h"
#include "file/internal.h"

#define IDLE_MS 200
#define REST_MS 30000 /* while nothing is written */
#define SYNC_MS 1000
#define SYNC_BYTES (512 << 10) /* of which writing back is begun by one call, */
#define SYNC_PAUSE_MS 1        /* with a pause behind it */
#define LOOK_MS 1000
#define SWEEP_MS 30000
#define SWEEP_HOLD 64   /* items looked at in one hold of a part's lock … */
#define SWEEP_LOOK 1024 /* … and from one look at the clock to the next … */
#define SWEEP_STEP_US 250
#define SWEEP_PAUSE_MS 5  /* from one step to the next, so that a pass takes a twentieth of a core */
#define SWEEP_WORTH 4     /* a hint was worth following when more than one item in so many was dead; if not, … */
#define SWEEP_DEAF 4      /* … the next one waits for so many times as long as the pass took, … */
#define SWEEP_DEAF_MS 500 /* … and that */

void
hc_keeper_nudge(struct hc_file *file)
{
	pthread_mutex_lock(&file->keeper.lock);
	file->keeper.nudged = true;
	pthread_cond_signal(&file->keeper.wake);
	pthread_mutex_unlock(&file->keeper.lock);
}

struct timespec
hc_file_clock_in(long ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += ms % 1000 * 1000000L;
	if (at.tv_nsec >= 1000000000L) {
		at.tv_nsec -= 1000000000L;
		at.tv_sec++;
	}
	return at;
}

static void
rest(struct hc_file *file, long ms)
{
	struct timespec until = hc_file_clock_in(ms);

	pthread_mutex_lock(&file->keeper.lock);
	atomic_store_explicit(&file->keeper.resting, ms >= REST_MS, memory_order_relaxed);
	if (!file->keeper.nudged && !atomic_load_explicit(&file->keeper.stop, memory_order_relaxed))
		pthread_cond_timedwait(&file->keeper.wake, &file->keeper.lock, &until);
	file->keeper.nudged = false;
	atomic_store_explicit(&file->keeper.resting, false, memory_order_relaxed);
	pthread_mutex_unlock(&file->keeper.lock);
}

/*
 * Until the duties are looked at again. Longer only when nothing has been written through a whole round of syncing, and
 * nothing waits for the writer.
 */
static long
pause_ms(struct hc_file *file, bool more)
{
	uint64_t written = hc_file_written(file);
	int64_t now_ms = hc_clock_mono_ms();

	if (written != file->keeper.seen_written) {
		file->keeper.seen_written = written;
		file->keeper.written_ms = now_ms;
	}
	if (more)
		return SWEEP_PAUSE_MS;
	bool hinted = atomic_load_explicit(&file->sweep_soon, memory_order_relaxed); /* and not heard yet */
	return file->keeper.waits || hinted || now_ms - file->keeper.written_ms < 2 * SYNC_MS ? IDLE_MS : REST_MS;
}

/* ---- syncing ---- */

/* The oldest segment above that number that was written since it was synced, with a reference. */
static struct hc_segment *
dirty_segment(struct hc_file *file, uint64_t above)
{
	struct hc_segment *segment;

	pthread_mutex_lock(&file->segments.lock);
	for (segment = file->segments.oldest; segment != NULL; segment = segment->newer) {
		if (segment->seq > above && atomic_exchange_explicit(&segment->dirty, false, memory_order_acq_rel)) {
			segment->refs++;
			break;
		}
	}
	pthread_mutex_unlock(&file->segments.lock);
	return segment;
}

static void
report(struct hc_file *file, int fault)
{
	pthread_mutex_lock(&file->log.lock);
	hc_log_fault(file, fault);
	pthread_mutex_unlock(&file->log.lock);
	hc_file_kick(file);
}

void
hc_keeper_let_others_run(const struct hc_file *file, long ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000};

	if (!atomic_load_explicit(&file->keeper.stop, memory_order_relaxed))
		(void)nanosleep(&pause, NULL);
}

/*
 * What was written lately is given to the disk piece by piece, so that little of it is left to one fdatasync: see
 * HC_FILE_CALL_BYTES in io.h. What cannot be begun so (not every file system can) is left to it as a whole.
 */
static off_t
begin_sync(struct hc_file *file, const struct hc_segment *segment)
{
	off_t at = segment->synced;
	struct stat st;

	if (fstat(segment->fd, &st) != 0)
		return at;
	while (at < st.st_size) {
		off_t len = st.st_size - at < SYNC_BYTES ? st.st_size - at : SYNC_BYTES;
		if (hc_io(file)->sync_file_range(segment->fd, at, len) != 0)
			break;
		at += len;
		hc_keeper_let_others_run(file, SYNC_PAUSE_MS);
	}
	return at;
}

void
hc_keeper_sync(struct hc_file *file)
{
	struct hc_segment *segment;

	for (uint64_t seq = 0; (segment = dirty_segment(file, seq)) != NULL;) {
		off_t begun = begin_sync(file, segment);
		seq = segment->seq;
		HC_COUNT(file, syncs, 1);
		if (hc_io(file)->fdatasync(segment->fd) != 0)
			report(file, errno);
		else
			segment->synced = begun;
		hc_segment_unref(file, segment);
	}
}

static void
sync_if_due(struct hc_file *file, int64_t now_ms)
{
	if (file->config.sync != HC_FILE_SYNC_EVERYSEC || now_ms < file->keeper.sync_next_ms)
		return;
	hc_keeper_sync(file);
	file->keeper.sync_next_ms = now_ms + SYNC_MS;
}

static void
look_if_due(struct hc_file *file, int64_t now_ms)
{
	if (now_ms < file->keeper.look_next_ms)
		return;
	bool on = atomic_load_explicit(&file->mode, memory_order_acquire) != HC_FILE_OFF;
	if (on && !hc_dir_there(file))
		report(file, ENOENT);
	file->keeper.look_next_ms = now_ms + LOOK_MS;
}

static void
each_second(struct hc_file *file, int64_t now_ms)
{
	sync_if_due(file, now_ms);
	look_if_due(file, now_ms);
}

void
hc_keeper_take_a_rest(struct hc_file *file, long ms)
{
	struct timespec until = hc_file_clock_in(ms);

	/* Other nudges are for when this is over. */
	pthread_mutex_lock(&file->keeper.lock);
	while (!atomic_load_explicit(&file->keeper.stop, memory_order_relaxed) &&
	       !atomic_load_explicit(&file->segments.wanted, memory_order_relaxed)) {
		if (pthread_cond_timedwait(&file->keeper.wake, &file->keeper.lock, &until) != 0)
			break;
	}
	pthread_mutex_unlock(&file->keeper.lock);
	each_second(file, hc_clock_mono_ms());
}

/* ---- sweeping ---- */

void
hc_file_sweep_soon(struct hc_file *file)
{
	if (!atomic_exchange_explicit(&file->sweep_soon, true, memory_order_relaxed))
		hc_keeper_nudge(file);
}

struct step {
	struct hc_file *file;
	int64_t now_ms; /* wall */
};

static bool
is_dead(void *arg, const struct hc_index_item *item)
{
	const struct step *step = arg;
	bool dead = item->kind == HC_INDEX_VALUE && !hc_item_live(step->file, item, step->now_ms);

	step->file->keeper.kept += !dead;
	return dead;
}

/* With the part locked: with all of them locked, everything is cleared. */
static void
leave_group(void *arg, uint16_t group, uint32_t items, uint64_t bytes)
{
	const struct step *step = arg;

	hc_group_leave(step->file, group, items, bytes);
	step->file->keeper.removed += items;
}

/*
 * Whether a pass is due: each half minute, or because a model was cleared, or because of a hint. After a hint that was
 * not worth following the next one waits for some times as long as that took: what was met alive may have died since.
 */
static bool
begin_pass(struct hc_file *file, int64_t now_ms)
{
	bool asked = atomic_exchange_explicit(&file->sweep_now, false, memory_order_acq_rel);
	bool due = asked || now_ms >= file->keeper.sweep_next_ms;

	if (!due &&
	    (now_ms < file->keeper.deaf_until_ms || !atomic_load_explicit(&file->sweep_soon, memory_order_relaxed)))
		return false;
	atomic_store_explicit(&file->sweep_soon, false, memory_order_relaxed);
	file->keeper.sweep_next_ms = now_ms + SWEEP_MS;
	file->keeper.kept = file->keeper.removed = 0;
	file->keeper.hinted = !due;
	file->keeper.began_ms = now_ms;
	return true;
}

static void
free_garbage(struct hc_file *file)
{
	hc_index_free_garbage(file->keeper.garbage);
	file->keeper.garbage = NULL;
}

static void
end_pass(struct hc_file *file)
{
	free_garbage(file);
	if (file->keeper.removed > 0) {
		file->keeper.swept = true;
		hc_index_trim(file->index);
	}
	if (file->keeper.hinted && file->keeper.removed * (SWEEP_WORTH - 1) < file->keeper.kept) {
		int64_t now_ms = hc_clock_mono_ms();
		file->keeper.deaf_until_ms = now_ms + SWEEP_DEAF_MS + SWEEP_DEAF * (now_ms - file->keeper.began_ms);
	}
}

static void
sweep_some(struct hc_file *file, const struct hc_index_sweeper *sweeper)
{
	uint64_t *cursor = &file->keeper.sweep_cursor;
	unsigned work = 0;

	do
		work += hc_index_sweep(file->index, cursor, SWEEP_HOLD, sweeper);
	while (*cursor != 0 && work < SWEEP_LOOK);
}

/* A step of a pass over the index. True: the pass is not over. Not while loading: what is dead is a mark then. */
static bool
sweep(struct hc_file *file, int64_t now_ms)
{
	uint64_t *cursor = &file->keeper.sweep_cursor;
	struct step step = {.file = file, .now_ms = hc_clock_wall_ms()};
	const struct hc_index_sweeper sweeper = {is_dead, leave_group, &step, step.now_ms, &file->keeper.garbage};
	int64_t end_us = hc_clock_cpu_us() + SWEEP_STEP_US;

	if (atomic_load_explicit(&file->loading, memory_order_acquire))
		return false;
	if (*cursor == 0 && !begin_pass(file, now_ms))
		return false;
	do
		sweep_some(file, &sweeper);
	while (*cursor != 0 && hc_clock_cpu_us() < end_us);
	if (*cursor == 0)
		end_pass(file);
	return *cursor != 0;
}

/* After a pass that found something: the oldest segments, one at a time, while there is little alive in them. */
static bool
thin_out(struct hc_file *file)
{
	file->keeper.waits = false;
	if (!file->keeper.swept || file->keeper.sweep_cursor != 0)
		return false;
	enum hc_status status = hc_reclaim_thin(file);
	file->keeper.swept = status != HC_MISS;
	file->keeper.waits = status == HC_PENDING && hc_reclaim_may_thin(file);
	return status == HC_OK;
}

/* ---- all of it ---- */

bool
hc_keeper_duties(struct hc_file *file)
{
	int64_t now_ms = hc_clock_mono_ms();

	hc_reclaim(file);
	each_second(file, now_ms);
	return sweep(file, now_ms) || thin_out(file);
}

void *
hc_keeper_main(void *arg)
{
	struct hc_file *file = arg;

	hc_thread_begin("file-keeper", HC_THREAD_CATCHES_UP);
	hc_load_run(file);
	while (!atomic_load_explicit(&file->keeper.stop, memory_order_relaxed))
		rest(file, pause_ms(file, hc_keeper_duties(file)));
	free_garbage(file);
	return NULL;
}
