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
	int (*ftruncate)(int fd, off_t len);
	int (*unlinkat)(int dir, const char *name, int flags);
	int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
};

extern const struct hc_file_io hc_file_io_system;

#endif
