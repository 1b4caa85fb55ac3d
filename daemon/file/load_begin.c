/*
 * At open: which segments there are, and what the newest says of epochs, so that they are known before anything is
 * served. Its records are loaded at once (load.c has the others'), and it is written on if it may be.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "file/load_private.h"

struct found {
	uint64_t *seqs; /* of segments, ascending */
	size_t n, room;
};

static bool
add_seq(struct found *found, uint64_t seq)
{
	if (found->n == found->room) {
		size_t more = found->room == 0 ? 64 : 2 * found->room;
		uint64_t *grown = hc_realloc(found->seqs, more * sizeof(*grown));
		if (grown == NULL)
			return false;
		found->seqs = grown;
		found->room = more;
	}
	found->seqs[found->n++] = seq;
	return true;
}

static int
by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void
log_foreign(struct hc_file *file, const char *name)
{
	struct hc_log_quoted dir, quoted;
	uint64_t before = HC_COUNT(file, foreign, 1);

	if (before == 0)
		hc_log(HC_LOG_WARN, "file_foreign", "dir=%s name=%s hint=\"left alone, as are others like it\"",
		    hc_log_quote(&dir, file->path, strlen(file->path)), hc_log_quote(&quoted, name, strlen(name)));
}

static enum hc_status
list_directory(struct hc_file *file, struct found *found)
{
	int fd = openat(file->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	enum hc_status status = HC_OK;
	struct dirent *entry;
	uint64_t seq;
	char suffix[4];

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return HC_ERROR;
	}
	while (status == HC_OK && (entry = readdir(dir)) != NULL) {
		if (hc_segment_is_ours(file->dir_fd, entry, &seq, suffix)) {
			if (strcmp(suffix, "log") == 0 && !add_seq(found, seq))
				status = HC_NOMEM;
		} else if (hc_segment_is_foreign(entry->d_name)) {
			log_foreign(file, entry->d_name);
		}
	}
	closedir(dir);
	if (found->n > 0)
		qsort(found->seqs, found->n, sizeof(uint64_t), by_number);
	return status;
}

/* Opens a segment's file. HC_INVALID: a newer format. */
static enum hc_status
open_segment(struct hc_file *file, uint64_t seq, struct hc_segment **out)
{
	uint8_t head[HC_SEGMENT_HEAD];
	struct hc_segment_head decoded;
	struct hc_segment *segment;
	struct stat st;
	char name[40];
	int fd;

	hc_segment_name(name, seq, "log");
	fd = hc_io(file)->openat(file->dir_fd, name, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0 || fstat(fd, &st) != 0)
		goto failed;
	if (hc_io(file)->pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head)) {
		if (hc_format_is_newer(head)) {
			close(fd);
			return HC_INVALID;
		}
		if (hc_segment_decode(file->secret, head, &decoded) != HC_OK)
			HC_COUNT(file, damaged, 1);
	}
	segment = hc_segment_create(seq, fd);
	if (segment == NULL) {
		close(fd);
		return HC_NOMEM;
	}
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	segment->bytes = hc_file_charge((uint64_t)st.st_size);
	hc_segment_name(name, seq, "idx");
	if (fstatat(file->dir_fd, name, &st, 0) == 0)
		segment->bytes += hc_file_charge((uint64_t)st.st_size);
	*out = segment;
	return HC_OK;

failed:
	if (fd >= 0)
		close(fd);
	return HC_ERROR;
}

static enum hc_status
open_segments(struct hc_file *file, const struct found *found)
{
	for (size_t i = 0; i < found->n; i++) {
		struct hc_segment *segment;
		enum hc_status status = open_segment(file, found->seqs[i], &segment);
		if (status != HC_OK)
			return status;
		hc_segments_add(file, segment);
		HC_COUNT(file, load_segments_left, 1);
	}
	return HC_OK;
}

static void
raise_epoch(struct hc_file *file, struct hc_slice name, uint32_t epoch)
{
	uint32_t id;

	if (name.len == 0 || epoch == 0 || file->config.model_intern(file->config.arg, name, &id) != HC_OK)
		return;
	file->config.model_raise(file->config.arg, id, epoch);
	pthread_mutex_lock(&file->log.lock);
	hc_group_note_epoch(file, id, epoch);
	pthread_mutex_unlock(&file->log.lock);
}

/* The STATE at that offset. HC_OK: what it says is known now. */
static enum hc_status
read_state(struct hc_file *file, const struct hc_segment *segment, uint32_t offset, bool opaque)
{
	uint8_t head[HC_STATE_HEAD], *bytes;
	struct hc_record record;
	struct hc_slice name;
	uint32_t epoch, len;
	enum hc_status status = HC_INVALID;

	if (hc_io(file)->pread(segment->fd, head, sizeof(head), offset) != (ssize_t)sizeof(head))
		return HC_INVALID;
	len = hc_get32(head + 8);
	if (len > file->config.segment_bytes || (bytes = hc_malloc(len + 1)) == NULL)
		return HC_INVALID;
	if (hc_io(file)->pread(segment->fd, bytes, len, offset) == (ssize_t)len)
		status = hc_record_decode(file->secret, bytes, len, len, hc_position(segment->seq, offset), &record);
	if (status == HC_OK && record.type != HC_RECORD_STATE)
		status = HC_INVALID;
	if (status == HC_OK) {
		while (hc_state_next(&record.body, &name, &epoch))
			raise_epoch(file, name, epoch);
		if (opaque && record.key.len <= HC_FILE_STATE_MAX) {
			memcpy(file->log.opaque, record.key.ptr, record.key.len);
			file->log.opaque_len = record.key.len;
		}
	}
	hc_free(bytes);
	return status;
}

/* True: a STATE was found, and everything older is known by it. */
static bool
learn(struct hc_file *file, const struct hc_segment *segment, const struct hc_lines *lines)
{
	struct hc_slice name;
	uint32_t epoch;

	for (uint32_t at = 0; hc_lines_group(lines, &at, &name, &epoch);)
		raise_epoch(file, name, epoch);
	for (uint32_t i = lines->n; i-- > 0;) {
		struct hc_entry_line line;
		hc_line_decode(lines->lines + (size_t)i * HC_ENTRY_BYTES, &line);
		if (line.type == HC_RECORD_STATE && read_state(file, segment, line.offset, true) == HC_OK)
			return true;
	}
	return false;
}

/* A segment in which there is nothing but what it began with: repeated starts leave none behind. */
static bool
is_blank(const struct hc_lines *lines)
{
	for (uint32_t i = 0; i < lines->n; i++) {
		struct hc_entry_line line;
		hc_line_decode(lines->lines + (size_t)i * HC_ENTRY_BYTES, &line);
		if (line.type <= HC_RECORD_CLEAR_ALL)
			return false;
	}
	return true;
}

static bool
may_resume(const struct hc_file *file, const struct hc_segment *segment, const struct hc_lines *lines)
{
	struct stat st;

	return segment->end <= file->config.segment_bytes / 2 && fstat(segment->fd, &st) == 0 &&
	       st.st_size == (off_t)segment->end && segment->end % HC_RECORD_ALIGN == 0 &&
	       lines->groups_n <= UINT16_MAX / 2 &&
	       hc_index_file_bytes(lines->n, lines->groups_len) <= file->config.segment_bytes / 4;
}

/*
 * The newest segment, closed properly and not nearly full, is written on: restarts do not make many small ones. Its
 * index file goes first, or it would be believed after a kill.
 */
static void
resume(struct hc_file *file, struct hc_segment *segment, struct hc_lines *lines)
{
	struct hc_log *log = &file->log;
	struct hc_writer *writer = &file->writer;
	char name[40];

	hc_segment_name(name, segment->seq, "idx");
	if (!may_resume(file, segment, lines) || hc_io(file)->unlinkat(file->dir_fd, name, 0) != 0)
		return;
	segment->indexed = false;
	segment->open = true;
	hc_segment_charge(file, segment, file->config.segment_bytes);
	writer->segment = segment;
	writer->at = writer->flushed = segment->end;
	writer->lines = *lines;
	*lines = (struct hc_lines){0};
	log->begun = true;
	atomic_store_explicit(&log->seq, segment->seq, memory_order_relaxed);
	log->offset = segment->end;
	log->lines = writer->lines.n;
	log->groups = writer->lines.groups_n;
	log->group_bytes = writer->lines.groups_len;
}

/* The newest is loaded at once, then resumed, or dropped when it is blank. */
static bool
begin_with_newest(struct hc_file *file, struct hc_segment *segment)
{
	struct hc_load_pass pass = {.file = file, .segment = segment, .now_ms = hc_clock_wall_ms()};
	bool scanned, known;
	enum hc_status status = hc_load_get_lines(file, segment, &pass.lines, &pass.end, &scanned);

	if (status != HC_OK) {
		hc_load_lose_segment(file, segment, status);
		return false;
	}
	known = learn(file, segment, &pass.lines);
	hc_load_pass(&pass);
	if (!scanned)
		resume(file, segment, &pass.lines);
	else if (is_blank(&pass.lines))
		hc_segment_drop(file, segment, false);
	hc_lines_fini(&pass.lines);
	return known;
}

/* What the newest cannot tell of epochs, an older one may. */
static void
learn_from_older(struct hc_file *file, struct hc_segment *segment)
{
	for (bool known = false; segment != NULL && !known; segment = segment->older) {
		struct hc_lines lines = {0};
		uint32_t end;
		bool scanned;
		if (hc_load_get_lines(file, segment, &lines, &end, &scanned) == HC_OK)
			known = learn(file, segment, &lines);
		hc_lines_fini(&lines);
	}
}

enum hc_status
hc_load_begin(struct hc_file *file, const struct hc_tier *tier)
{
	struct found found = {0};
	struct hc_segment *newest;
	uint64_t seq = tier->next_seq;
	enum hc_status status = list_directory(file, &found);

	if (status == HC_OK)
		status = open_segments(file, &found);
	if (status == HC_OK && found.n > 0 && found.seqs[found.n - 1] >= seq)
		seq = found.seqs[found.n - 1] + 1;
	hc_free(found.seqs);
	if (status != HC_OK)
		return status;
	atomic_store_explicit(&file->log.seq, seq, memory_order_relaxed);
	atomic_store_explicit(&file->loading, true, memory_order_relaxed);
	newest = file->segments.newest;
	if (newest != NULL) {
		struct hc_segment *older = newest->older;
		atomic_fetch_sub_explicit(&file->counters.load_segments_left, 1, memory_order_relaxed);
		if (!begin_with_newest(file, newest))
			learn_from_older(file, older);
	}
	atomic_store_explicit(&file->written, hc_log_head(file), memory_order_relaxed);
	return HC_OK;
}
