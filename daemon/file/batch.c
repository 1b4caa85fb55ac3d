/*
 * The segment being written: records are collected and written by one pwritev. Heads and what is short are copied
 * together; long values are written from where they are.
 *
 * On the writer thread, which alone owns all of it. Errors are errno.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/mem.h"
#include "file/internal.h"

#define COPY_MAX 1024          /* a key and value up to this are copied */
#define BATCH_BYTES (1u << 20) /* flushed beyond */
#define SHRINK_TRIES 4         /* segments given up for one write, when the disk is full */

bool
hc_batch_has_room(const struct hc_file *file, const struct hc_record *record)
{
	const struct hc_writer *writer = &file->writer;

	return writer->iov_n + 4 <= HC_BATCH_IOV && writer->copied + COPY_MAX + 128 <= HC_BATCH_COPY &&
	       writer->iov_bytes < BATCH_BYTES && (record->type != HC_RECORD_STATE || writer->held == NULL);
}

static void
add_piece(struct hc_writer *writer, const void *ptr, size_t len)
{
	struct iovec *last = writer->iov_n > 0 ? &writer->iov[writer->iov_n - 1] : NULL;

	if (len == 0)
		return;
	writer->iov_bytes += len;
	if (last != NULL && (const char *)last->iov_base + last->iov_len == ptr) {
		last->iov_len += len;
		return;
	}
	writer->iov[writer->iov_n++] = (struct iovec){(void *)(uintptr_t)ptr, len};
}

static void
add_copy(struct hc_writer *writer, const void *ptr, size_t len)
{
	uint8_t *at = writer->copy + writer->copied;

	if (len > 0)
		memcpy(at, ptr, len);
	writer->copied += (uint32_t)len;
	add_piece(writer, at, len);
}

static void
add_padding(struct hc_writer *writer, size_t len)
{
	static const uint8_t zeros[HC_RECORD_ALIGN];

	add_copy(writer, zeros, len);
}

/* ---- records ---- */

/* The STATE's bytes behind its head: the caller's own state, the epochs. */
static int
fill_state(struct hc_file *file, struct hc_record *record)
{
	size_t room = record->length - HC_STATE_HEAD, len, opaque;
	uint8_t *bytes = hc_calloc(1, room);

	if (bytes == NULL)
		return ENOMEM;
	opaque = hc_file_state(file, bytes);
	len = opaque + hc_groups_put_epochs(file, record->version, bytes + opaque, room - opaque);
	record->key = hc_slice((const char *)bytes, opaque);
	record->body = hc_slice((const char *)bytes + opaque, len - opaque);
	file->writer.held = bytes;
	return 0;
}

static void
add_line(struct hc_writer *writer, const struct hc_record *record, uint64_t hash)
{
	struct hc_entry_line line = {
	    .hash = hash,
	    .expire_ms = record->expire_ms,
	    .group = record->group,
	    .offset = hc_position_offset(record->position),
	    .type = record->type,
	};

	hc_lines_add(&writer->lines, &line);
	if (record->type == HC_RECORD_GROUP)
		hc_lines_add_group(&writer->lines, record->key, record->epoch);
}

static void
add_body(struct hc_writer *writer, const struct hc_record *record, uint32_t head_len)
{
	if (record->type == HC_RECORD_STATE) {
		add_piece(writer, writer->held, record->length - head_len);
	} else if (record->key.len + record->body.len <= COPY_MAX) {
		add_copy(writer, record->key.ptr, record->key.len);
		add_copy(writer, record->body.ptr, record->body.len);
	} else {
		add_piece(writer, record->key.ptr, record->key.len);
		add_piece(writer, record->body.ptr, record->body.len);
	}
}

int
hc_batch_put(struct hc_file *file, const struct hc_record *given, uint64_t hash)
{
	struct hc_writer *writer = &file->writer;
	struct hc_record record = *given;
	uint8_t head[HC_VALUE_HEAD];

	assert(record.position == hc_position(writer->segment->seq, writer->at));
	if (record.type == HC_RECORD_STATE) {
		int err = fill_state(file, &record);
		if (err != 0)
			return err;
	}
	uint32_t head_len = hc_record_encode(file->secret, &record, head);
	add_copy(writer, head, head_len);
	add_body(writer, &record, head_len);
	add_padding(writer, hc_padded(record.length) - record.length);
	writer->at += hc_padded(record.length);
	assert(writer->flushed + writer->iov_bytes == writer->at);
	add_line(writer, &record, hash);
	return 0;
}

/* ---- writing ---- */

void
hc_batch_discard(struct hc_file *file)
{
	struct hc_writer *writer = &file->writer;

	writer->iov_n = 0;
	writer->iov_bytes = 0;
	writer->copied = 0;
	hc_free(writer->held);
	writer->held = NULL;
}

/* A write came to its end, or in part: what is left begins at the returned iovec. */
static struct iovec *
skip_written(struct iovec *iov, int *n, size_t wrote)
{
	for (; *n > 0 && wrote >= iov->iov_len; (*n)--)
		wrote -= (iov++)->iov_len;
	if (*n > 0) {
		iov->iov_base = (char *)iov->iov_base + wrote;
		iov->iov_len -= wrote;
	}
	return iov;
}

static int
write_batch(struct hc_file *file)
{
	struct hc_writer *writer = &file->writer;
	struct iovec *iov = writer->iov;
	int n = writer->iov_n, shrinks = 0;

	while (n > 0) {
		ssize_t wrote = hc_file_io_write(hc_io(file), writer->segment->fd, iov, n, writer->flushed);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote == 0 || (wrote < 0 && (errno == ENOSPC || errno == EDQUOT))) {
			if (shrinks++ == SHRINK_TRIES || !hc_space_shrink(file))
				return ENOSPC;
			continue;
		}
		if (wrote < 0)
			return errno;
		writer->flushed += (uint32_t)wrote;
		HC_COUNT(file, written_bytes, (uint64_t)wrote);
		HC_COUNT(file, writes, 1);
		iov = skip_written(iov, &n, (size_t)wrote);
	}
	return 0;
}

int
hc_batch_flush(struct hc_file *file)
{
	struct hc_writer *writer = &file->writer;
	int err;

	if (writer->iov_n == 0)
		return 0;
	err = write_batch(file);
	if (err != 0)
		return err;
	hc_batch_discard(file);
	if (file->config.sync != HC_FILE_SYNC_ALWAYS) {
		atomic_store_explicit(&writer->segment->dirty, true, memory_order_release);
		return 0;
	}
	HC_COUNT(file, syncs, 1);
	return hc_io(file)->fdatasync(writer->segment->fd) == 0 ? 0 : errno;
}

/* ---- segments ---- */

static int
create_file(struct hc_file *file, uint64_t seq)
{
	int dir = atomic_load_explicit(&file->dir_fd, memory_order_relaxed), fd, shrinks = 0;
	char name[40];

	hc_segment_name(name, seq, "log");
	for (;;) {
		fd = hc_io(file)->openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd >= 0 || (errno != ENOSPC && errno != EDQUOT))
			return fd;
		if (shrinks++ == SHRINK_TRIES || !hc_space_shrink(file)) {
			errno = ENOSPC;
			return -1;
		}
	}
}

int
hc_batch_open_segment(struct hc_file *file, uint64_t seq)
{
	struct hc_writer *writer = &file->writer;
	struct hc_segment_head head = {
	    .seq = seq, .created_ms = (uint64_t)hc_clock_wall_ms(), .segment_bytes = file->config.segment_bytes};
	uint8_t coded[HC_SEGMENT_HEAD];
	struct hc_segment *segment;
	int fd, err = hc_space_take(file, file->config.segment_bytes);

	if (err != 0)
		return err;
	fd = create_file(file, seq);
	if (fd < 0)
		return errno;
	segment = hc_segment_create(seq, fd);
	if (segment == NULL) {
		close(fd);
		return ENOMEM;
	}
	/* Records are read one by one, all over it: reading ahead would only fill memory. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	if (file->config.sync != HC_FILE_SYNC_NO)
		hc_io(file)->fdatasync(atomic_load_explicit(&file->dir_fd, memory_order_relaxed));
	segment->bytes = file->config.segment_bytes;
	segment->open = true;
	segment->loaded = true;
	hc_segments_add(file, segment);
	/* Room for the one after this is made while this is written. */
	hc_keeper_nudge(file);
	writer->segment = segment;
	writer->at = writer->flushed = 0;
	hc_lines_reset(&writer->lines);
	hc_segment_encode(file->secret, &head, coded);
	add_copy(writer, coded, sizeof(coded));
	writer->at = sizeof(coded);
	return 0;
}

int
hc_batch_seal(struct hc_file *file)
{
	struct hc_writer *writer = &file->writer;
	struct hc_segment *segment = writer->segment;
	uint64_t bytes;
	int err;

	if (segment == NULL)
		return 0;
	segment->end = writer->flushed;
	err = hc_lines_write(file, &writer->lines, segment);
	if (err == ENOSPC && hc_space_shrink(file))
		hc_lines_write(file, &writer->lines, segment);
	/* Without an index file the segment will be scanned: no reason to stop. */
	bytes = hc_file_charge(segment->end);
	if (segment->indexed)
		bytes += hc_file_charge(hc_index_file_bytes(writer->lines.n, writer->lines.groups_len));
	hc_segment_charge(file, segment, bytes);
	pthread_mutex_lock(&file->segments.lock);
	segment->open = false;
	pthread_mutex_unlock(&file->segments.lock);
	writer->segment = NULL;
	hc_lines_fini(&writer->lines); /* megabytes, and the next segment may be long in filling */
	return 0;
}
