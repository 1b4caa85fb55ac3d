/*
 * The index file of a segment: a line for each of its records, and the groups they name. It lies beside the segment,
 * not in it: what damages one of the two leaves the other. Written under another name, then renamed: it is whole or
 * not there. It is never synced: when a power cut takes it, the segment is scanned.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/thread.h"
#include "file/internal.h"

#define LINES_MIN 1024

static bool
grow(uint8_t **bytes, uint32_t *room, size_t unit, uint32_t need)
{
	uint32_t more = *room == 0 ? LINES_MIN : *room;
	uint8_t *grown;

	if (need <= *room)
		return true;
	while (more < need)
		more *= 2;
	grown = hc_realloc(*bytes, more * unit);
	if (grown == NULL)
		return false;
	*bytes = grown;
	*room = more;
	return true;
}

void
hc_lines_add(struct hc_lines *lines, const struct hc_entry_line *line)
{
	if (lines->lost || !grow(&lines->lines, &lines->room, HC_ENTRY_BYTES, lines->n + 1)) {
		lines->lost = true;
		return;
	}
	hc_line_encode(line, lines->lines + (size_t)lines->n * HC_ENTRY_BYTES);
	lines->n++;
}

void
hc_lines_add_group(struct hc_lines *lines, struct hc_slice name, uint32_t epoch)
{
	uint32_t need = lines->groups_len + HC_DICT_HEAD + (uint32_t)name.len;

	if (lines->lost || !grow(&lines->groups, &lines->groups_room, 1, need)) {
		lines->lost = true;
		return;
	}
	hc_state_put(lines->groups + lines->groups_len, need - lines->groups_len, name, epoch);
	lines->groups_len = need;
	lines->groups_n++;
}

bool
hc_lines_group(const struct hc_lines *lines, uint32_t *at, struct hc_slice *name, uint32_t *epoch)
{
	struct hc_slice left = hc_slice((const char *)lines->groups + *at, lines->groups_len - *at);

	if (!hc_state_next(&left, name, epoch))
		return false;
	*at = lines->groups_len - (uint32_t)left.len;
	return true;
}

void
hc_lines_reset(struct hc_lines *lines)
{
	lines->n = lines->groups_n = lines->groups_len = 0;
	lines->lost = false;
}

void
hc_lines_fini(struct hc_lines *lines)
{
	hc_free(lines->lines);
	hc_free(lines->groups);
	*lines = (struct hc_lines){0};
}

/* All of it; 0 or errno. */
static int
write_all(const struct hc_file_io *io, int fd, struct iovec *iov, int n)
{
	off_t at = 0;

	while (n > 0) {
		ssize_t wrote = hc_file_io_write(io, fd, iov, n, at);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return wrote < 0 ? errno : ENOSPC;
		at += wrote;
		for (; n > 0 && (size_t)wrote >= iov->iov_len; n--)
			wrote -= (ssize_t)(iov++)->iov_len;
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + wrote;
			iov->iov_len -= (size_t)wrote;
		}
	}
	return 0;
}

static int
write_file(struct hc_file *file, int fd, const struct hc_lines *lines, const struct hc_segment *segment)
{
	struct hc_slice body[] = {
	    hc_slice((const char *)lines->lines, (size_t)lines->n * HC_ENTRY_BYTES),
	    hc_slice((const char *)lines->groups, lines->groups_len),
	};
	struct hc_index_head head = {
	    .seq = segment->seq,
	    .lines = lines->n,
	    .groups = lines->groups_n,
	    .group_bytes = lines->groups_len,
	    .end = segment->end,
	};
	uint8_t coded[HC_INDEX_HEAD];
	struct iovec iov[] = {{coded, sizeof(coded)}, {lines->lines, body[0].len}, {lines->groups, body[1].len}};
	int err;

	hc_index_encode(file->secret, &head, body, 2, coded);
	err = write_all(hc_io(file), fd, iov, 3);
	HC_COUNT(file, written_bytes, HC_INDEX_HEAD + body[0].len + body[1].len);
	return err;
}

int
hc_lines_write(struct hc_file *file, const struct hc_lines *lines, struct hc_segment *segment)
{
	int dir = atomic_load_explicit(&file->dir_fd, memory_order_relaxed);
	char name[40], temporary[40];
	int fd, err;

	if (lines->lost)
		return 0;
	hc_segment_name(name, segment->seq, "idx");
	hc_segment_name(temporary, segment->seq, "tmp");
	fd = hc_io(file)->openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	err = write_file(file, fd, lines, segment);
	close(fd);
	if (err == 0 && hc_io(file)->renameat(dir, temporary, dir, name) != 0)
		err = errno;
	if (err != 0)
		hc_io(file)->unlinkat(dir, temporary, 0);
	else
		segment->indexed = true;
	return err;
}

/* ---- reading ---- */

/* The lines of a segment take megabytes: others get the processor between pieces, of which each is some tenths of a
 * millisecond of work. */
#define PIECE ((size_t)512 << 10)

static size_t
piece_of(size_t left)
{
	return left < PIECE ? left : PIECE;
}

static void
copy_by_and_by(uint8_t *to, const uint8_t *from, size_t len)
{
	for (size_t n; len > 0; to += n, from += n, len -= n) {
		n = piece_of(len);
		memcpy(to, from, n);
		hc_thread_yield();
	}
}

static void
free_by_and_by(uint8_t *bytes, size_t len)
{
	for (size_t n; len > 0; bytes += n, len -= n) {
		n = piece_of(len);
		hc_mem_give_pages(bytes, n);
		hc_thread_yield();
	}
}

static enum hc_status
read_all(const struct hc_file_io *io, int fd, uint8_t **out, size_t *len)
{
	struct stat st;
	size_t got = 0;
	uint8_t *bytes;

	if (fstat(fd, &st) != 0)
		return HC_ERROR;
	if (st.st_size < (off_t)HC_INDEX_HEAD || st.st_size > (off_t)(64 << 20))
		return HC_INVALID;
	bytes = hc_mem_take_pages((size_t)st.st_size);
	if (bytes == NULL)
		return HC_NOMEM;
	while (got < (size_t)st.st_size) {
		ssize_t n = hc_file_io_read(io, fd, bytes + got, (size_t)st.st_size - got, (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free_by_and_by(bytes, (size_t)st.st_size);
			return n == 0 ? HC_INVALID : HC_ERROR;
		}
		got += (size_t)n;
		hc_thread_yield();
	}
	*out = bytes;
	*len = got;
	return HC_OK;
}

/* What was read becomes the lines: one block of memory each, as when they are written. */
static enum hc_status
adopt(const uint8_t *secret, const uint8_t *bytes, size_t len, uint64_t seq, struct hc_lines *lines, uint32_t *end)
{
	struct hc_index_head head;
	size_t lines_len;

	if (hc_index_decode(secret, bytes, len, &head) != HC_OK || head.seq != seq)
		return HC_INVALID;
	lines_len = (size_t)head.lines * HC_ENTRY_BYTES;
	hc_lines_reset(lines);
	if (!grow(&lines->lines, &lines->room, HC_ENTRY_BYTES, head.lines) ||
	    !grow(&lines->groups, &lines->groups_room, 1, head.group_bytes))
		return HC_NOMEM;
	if (head.lines > 0)
		copy_by_and_by(lines->lines, bytes + HC_INDEX_HEAD, lines_len);
	if (head.group_bytes > 0)
		memcpy(lines->groups, bytes + HC_INDEX_HEAD + lines_len, head.group_bytes);
	lines->n = head.lines;
	lines->groups_n = head.groups;
	lines->groups_len = head.group_bytes;
	*end = head.end;
	return HC_OK;
}

enum hc_status
hc_lines_read(
    const struct hc_file_io *io, int dir, const uint8_t *secret, uint64_t seq, struct hc_lines *lines, uint32_t *end)
{
	enum hc_status status;
	uint8_t *bytes;
	char name[40];
	size_t len;
	int fd;

	hc_segment_name(name, seq, "idx");
	fd = io->openat(dir, name, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return errno == ENOENT ? HC_MISS : HC_ERROR;
	status = read_all(io, fd, &bytes, &len);
	close(fd);
	if (status != HC_OK)
		return status;
	status = adopt(secret, bytes, len, seq, lines, end);
	free_by_and_by(bytes, len);
	return status;
}
