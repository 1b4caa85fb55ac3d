/*
 * The system's calls, as they are; and what keeps them short.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/thread.h"
#include "file/io.h"

static int
open_at(int dir, const char *name, int flags, mode_t mode)
{
	return openat(dir, name, flags, mode);
}

static int
begin_writing_back(int fd, off_t offset, off_t len)
{
	return sync_file_range(fd, offset, len, SYNC_FILE_RANGE_WRITE);
}

const struct hc_file_io hc_file_io_system = {
    .openat = open_at,
    .pread = pread,
    .pwritev = pwritev,
    .fdatasync = fdatasync,
    .sync_file_range = begin_writing_back,
    .ftruncate = ftruncate,
    .unlinkat = unlinkat,
    .renameat = renameat,
};

ssize_t
hc_file_io_write(const struct hc_file_io *io, int fd, struct iovec *iov, int n, off_t offset)
{
	size_t room = HC_FILE_CALL_BYTES;
	int last = 0;

	while (last + 1 < n && iov[last].iov_len < room)
		room -= iov[last++].iov_len;
	size_t whole = iov[last].iov_len;
	if (whole > room)
		iov[last].iov_len = room;
	ssize_t wrote = io->pwritev(fd, iov, last + 1, offset);
	iov[last].iov_len = whole;
	hc_thread_yield();
	return wrote;
}

ssize_t
hc_file_io_read(const struct hc_file_io *io, int fd, void *buf, size_t len, off_t offset)
{
	return io->pread(fd, buf, len < HC_FILE_CALL_BYTES ? len : HC_FILE_CALL_BYTES, offset);
}
