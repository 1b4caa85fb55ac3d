/*
 * The system calls of the file tier, in a table, so that tests can make the k-th of them fail or slow. Each as the
 * call of its name, errno included. Any thread.
 */
#ifndef HC_FILE_IO_H
#define HC_FILE_IO_H

#include <sys/types.h>
#include <sys/uio.h>

struct hc_file_io {
	int (*openat)(int dir, const char *name, int flags, mode_t mode);
	ssize_t (*pread)(int fd, void *buf, size_t len, off_t offset);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t offset);
	int (*fdatasync)(int fd);
	/* With SYNC_FILE_RANGE_WRITE: begins, and does not wait for the disk. */
	int (*sync_file_range)(int fd, off_t offset, off_t len);
	int (*ftruncate)(int fd, off_t len);
	int (*unlinkat)(int dir, const char *name, int flags);
	int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
};

extern const struct hc_file_io hc_file_io_system;

/*
 * Many kernels (PREEMPT_NONE, PREEMPT_VOLUNTARY) let a system call copy megabytes before they look whether another
 * thread should run: whoever serves clients on that processor waits as long. So no call copies more than this,
 * and whoever writes yields after each.
 */
#define HC_FILE_CALL_BYTES (128u << 10)

/* As pwritev, of the first HC_FILE_CALL_BYTES at most: less than all is no failure. `iov` is as it was afterwards. */
ssize_t hc_file_io_write(const struct hc_file_io *io, int fd, struct iovec *iov, int n, off_t offset);
/* As pread, likewise. */
ssize_t hc_file_io_read(const struct hc_file_io *io, int fd, void *buf, size_t len, off_t offset);

#endif
