/*
 * The segments there are: a list from oldest to newest, and a table by number. A reader takes a reference, so that a
 * segment that is dropped meanwhile is closed only when it has read.
 *
 * Any thread; segments.lock for all fields but those that do not change (seq, fd).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/thread.h"
#include "file/internal.h"

#define NAME "segment-%012llx.%s"
#define NAME_PREFIX 8
#define NAME_DIGITS 12
#define EMPTY_STEP ((off_t)512 << 10) /* some tenths of a millisecond */
#define EMPTY_PAUSE_MS 40             /* behind a step that nobody waits for */

void
hc_segment_name(char *buf, uint64_t seq, const char *suffix)
{
	snprintf(buf, 40, NAME, (unsigned long long)seq, suffix);
}

bool
hc_segment_parse_name(const char *name, uint64_t *seq, char suffix[4])
{
	char canonical[40];
	char *end;

	if (strlen(name) != NAME_PREFIX + NAME_DIGITS + 4)
		return false;
	*seq = strtoull(name + NAME_PREFIX, &end, 16);
	if (end != name + NAME_PREFIX + NAME_DIGITS)
		return false;
	memcpy(suffix, end + 1, 4);
	hc_segment_name(canonical, *seq, suffix);
	return *seq != 0 && strcmp(canonical, name) == 0 &&
	       (strcmp(suffix, "log") == 0 || strcmp(suffix, "idx") == 0 || strcmp(suffix, "tmp") == 0);
}

bool
hc_segment_is_ours(int dir, const struct dirent *entry, uint64_t *seq, char suffix[4])
{
	struct stat st;

	if (!hc_segment_parse_name(entry->d_name, seq, suffix))
		return false;
	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_REG;
	return fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

bool
hc_segment_is_foreign(const char *name)
{
	return name[0] != '.' && strcmp(name, HC_TIER_NAME) != 0 && strcmp(name, HC_LOCK_NAME) != 0 &&
	       strncmp(name, HC_FILE_CALLERS, strlen(HC_FILE_CALLERS)) != 0 &&
	       strncmp(name, HC_FILE_QUEUE, strlen(HC_FILE_QUEUE)) != 0;
}

enum hc_status
hc_segments_init(struct hc_file *file)
{
	struct hc_segments *segments = &file->segments;
	pthread_condattr_t attr;

	pthread_mutex_init(&segments->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&segments->freed, &attr);
	pthread_condattr_destroy(&attr);
	segments->by_seq = hc_calloc(HC_SEGMENT_SLOTS, sizeof(struct hc_segment *));
	return segments->by_seq == NULL ? HC_NOMEM : HC_OK;
}

static void
segment_destroy(struct hc_segment *segment)
{
	if (segment->fd >= 0)
		close(segment->fd);
	hc_free(segment);
}

void
hc_segments_fini(struct hc_file *file)
{
	struct hc_segment *segment = file->segments.oldest;

	while (segment != NULL) {
		struct hc_segment *newer = segment->newer;
		segment_destroy(segment);
		segment = newer;
	}
	hc_free(file->segments.by_seq);
	pthread_cond_destroy(&file->segments.freed);
	pthread_mutex_destroy(&file->segments.lock);
}

struct hc_segment *
hc_segment_create(uint64_t seq, int fd)
{
	struct hc_segment *segment = hc_calloc(1, sizeof(*segment));

	if (segment == NULL)
		return NULL;
	segment->seq = seq;
	segment->fd = fd;
	segment->refs = 1;
	return segment;
}

void
hc_segments_add(struct hc_file *file, struct hc_segment *segment)
{
	struct hc_segments *segments = &file->segments;

	pthread_mutex_lock(&segments->lock);
	assert(segments->newest == NULL || segments->newest->seq < segment->seq);
	segment->older = segments->newest;
	if (segments->newest == NULL)
		segments->oldest = segment;
	else
		segments->newest->newer = segment;
	segments->newest = segment;
	segments->by_seq[segment->seq % HC_SEGMENT_SLOTS] = segment;
	segments->count++;
	segments->bytes += segment->bytes;
	pthread_mutex_unlock(&segments->lock);
}

struct hc_segment *
hc_segment_ref(struct hc_file *file, uint64_t seq)
{
	struct hc_segment *segment;

	pthread_mutex_lock(&file->segments.lock);
	segment = file->segments.by_seq[seq % HC_SEGMENT_SLOTS];
	if (segment != NULL && segment->seq == seq)
		segment->refs++;
	else
		segment = NULL;
	pthread_mutex_unlock(&file->segments.lock);
	return segment;
}

void
hc_segment_unref(struct hc_file *file, struct hc_segment *segment)
{
	bool last;

	if (segment == NULL)
		return;
	pthread_mutex_lock(&file->segments.lock);
	last = --segment->refs == 0;
	pthread_mutex_unlock(&file->segments.lock);
	if (last)
		segment_destroy(segment);
}

static int
unlink_one(struct hc_file *file, uint64_t seq, const char *suffix)
{
	char name[40];

	hc_segment_name(name, seq, suffix);
	if (hc_io(file)->unlinkat(atomic_load_explicit(&file->dir_fd, memory_order_relaxed), name, 0) == 0)
		return 0;
	return errno == ENOENT ? 0 : errno;
}

/* A segment that stays although it was dropped would be loaded again: everything is to be swept before the next
 * record is written. */
static void
stays(struct hc_file *file, int err)
{
	pthread_mutex_lock(&file->log.lock);
	file->log.changed.all = true;
	hc_log_fault(file, err);
	pthread_mutex_unlock(&file->log.lock);
}

/* From here on nobody else gets at it. False: somebody is still reading it. */
static bool
take_alone(struct hc_segments *segments, struct hc_segment *segment)
{
	pthread_mutex_lock(&segments->lock);
	segments->by_seq[segment->seq % HC_SEGMENT_SLOTS] = NULL;
	bool alone = segment->refs == 1;
	pthread_mutex_unlock(&segments->lock);
	return alone;
}

/* What an unlinked file has in the page cache and on the disk goes with its last descriptor: all of it in one call. See
 * HC_FILE_CALL_BYTES. */
static void
empty_by_and_by(struct hc_file *file, const struct hc_segment *segment, bool leisurely)
{
	struct stat st;

	if (fstat(segment->fd, &st) != 0)
		return;
	for (off_t left = st.st_size; left > EMPTY_STEP;) {
		left -= EMPTY_STEP;
		if (hc_io(file)->ftruncate(segment->fd, left) != 0)
			return;
		if (leisurely && !atomic_load_explicit(&file->closing, memory_order_acquire) && hc_log_has_room(file))
			hc_keeper_take_a_rest(file, EMPTY_PAUSE_MS);
		hc_thread_yield();
	}
}

void
hc_segment_drop(struct hc_file *file, struct hc_segment *segment, bool leisurely)
{
	struct hc_segments *segments = &file->segments;

	/* The index file last: a segment without records may be found, an index without segment is nothing. */
	int err = unlink_one(file, segment->seq, "log"), also = unlink_one(file, segment->seq, "idx");
	bool alone = take_alone(segments, segment);
	if (err != 0 || also != 0)
		stays(file, err != 0 ? err : also);
	else if (alone)
		empty_by_and_by(file, segment, leisurely);
	pthread_mutex_lock(&segments->lock);
	if (segment->older == NULL)
		segments->oldest = segment->newer;
	else
		segment->older->newer = segment->newer;
	if (segment->newer == NULL)
		segments->newest = segment->older;
	else
		segment->newer->older = segment->older;
	segments->count--;
	segments->bytes -= segment->bytes;
	pthread_cond_broadcast(&segments->freed);
	pthread_mutex_unlock(&segments->lock);
	HC_COUNT(file, reclaimed, 1);
	hc_segment_unref(file, segment);
}

void
hc_segment_charge(struct hc_file *file, struct hc_segment *segment, uint64_t bytes)
{
	pthread_mutex_lock(&file->segments.lock);
	file->segments.bytes += bytes - segment->bytes;
	segment->bytes = bytes;
	pthread_mutex_unlock(&file->segments.lock);
}
