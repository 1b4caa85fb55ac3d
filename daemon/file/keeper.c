/*
 * The keeper thread: loads what is there at the start, then reclaims, syncs each second, looks whether the directory
 * is still there, and sweeps out of the index what is dead.
 */
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include "base/mem.h"
#include "base/thread.h"
#include "file/internal.h"

#define IDLE_MS 200
#define REST_MS 30000 /* while nothing is written */
#define SYNC_MS 1000
#define SYNC_BYTES (512 << 10) /* of which writing back is begun by one call, */
#define SYNC_PAUSE_NS 1000000  /* with a pause behind it */
#define LOOK_MS 1000
#define SWEEP_MS 30000
#define SWEEP_STEP 256 /* buckets looked at between other duties */

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

/* Until the duties are looked at again. Longer only when nothing has been written through a whole round of syncing. */
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
		return 1;
	return now_ms - file->keeper.written_ms < 2 * SYNC_MS ? IDLE_MS : REST_MS;
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
	file->log.fault = fault;
	pthread_mutex_unlock(&file->log.lock);
	hc_file_kick(file);
}

/* A thread that slept for a second may run for milliseconds before another gets the processor: it lets go. */
static void
let_others_run(const struct hc_file *file)
{
	const struct timespec pause = {.tv_nsec = SYNC_PAUSE_NS};

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
		let_others_run(file);
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

/* ---- sweeping ---- */

static enum hc_index_verdict
remove_dead(void *arg, const struct hc_index_item *item)
{
	struct hc_file *file = arg;

	if (item->kind != HC_INDEX_VALUE || hc_item_live(file, item, hc_clock_wall_ms()))
		return HC_INDEX_KEEP;
	hc_group_leave(file, item->group, item->bytes);
	file->keeper.swept = true;
	return HC_INDEX_REMOVE;
}

/* A step of a pass over the index. True: the pass is not over. Not while loading: what is dead is a mark then. */
static bool
sweep(struct hc_file *file, int64_t now_ms)
{
	uint64_t *cursor = &file->keeper.sweep_cursor;

	if (atomic_load_explicit(&file->loading, memory_order_acquire))
		return false;
	if (*cursor == 0) {
		bool asked = atomic_exchange_explicit(&file->sweep_now, false, memory_order_acq_rel);
		if (!asked && now_ms < file->keeper.sweep_next_ms)
			return false;
		file->keeper.sweep_next_ms = now_ms + SWEEP_MS;
	}
	for (int i = 0; i < SWEEP_STEP; i++) {
		hc_index_walk(file->index, cursor, remove_dead, file);
		if (*cursor == 0) {
			if (file->keeper.swept)
				hc_mem_trim(); /* the index's chunks lie in this thread's part of the heap */
			return false;
		}
	}
	return true;
}

/* After a pass that found something: the oldest segments, one at a time, while there is little alive in them. */
static bool
thin_out(struct hc_file *file)
{
	if (!file->keeper.swept || file->keeper.sweep_cursor != 0)
		return false;
	enum hc_status status = hc_reclaim_thin(file);
	file->keeper.swept = status != HC_MISS;
	return status == HC_OK;
}

/* ---- all of it ---- */

bool
hc_keeper_duties(struct hc_file *file)
{
	int64_t now_ms = hc_clock_mono_ms();

	hc_reclaim(file);
	if (file->config.sync == HC_FILE_SYNC_EVERYSEC && now_ms >= file->keeper.sync_next_ms) {
		hc_keeper_sync(file);
		file->keeper.sync_next_ms = now_ms + SYNC_MS;
	}
	if (now_ms >= file->keeper.look_next_ms) {
		bool on = atomic_load_explicit(&file->mode, memory_order_acquire) != HC_FILE_OFF;
		if (on && !hc_dir_there(file))
			report(file, ENOENT);
		file->keeper.look_next_ms = now_ms + LOOK_MS;
	}
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
	return NULL;
}
