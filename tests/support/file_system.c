/*
 * The system that file_world.h tells of: calls that fail, stop, dawdle and are counted. Its state is the process's,
 * since the table of calls has no argument for it; unit tests run in processes of their own.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "tests/support/file_world.h"

#define FDS 4096

static struct {
	_Atomic long at[WORLD_CALLS]; /* calls until the one that fails; <= 0: none, or past it */
	_Atomic long more[WORLD_CALLS];
	_Atomic int err[WORLD_CALLS];
	_Atomic long calls[WORLD_CALLS];
	_Atomic bool armed[WORLD_CALLS];
	_Atomic bool stopping, stopped;
	_Atomic int64_t stop_after;
	_Atomic long write_us, read_us, unlink_us;
	_Atomic uint64_t longest[WORLD_CALLS]; /* bytes of one call */
	_Atomic bool segment[FDS];
	_Atomic uint64_t unsynced[FDS]; /* bytes written to a segment since it was synced last */
	_Atomic uint64_t unsynced_at_unlink;
} sys;

static void
was_written(int fd, uint64_t len)
{
	if (fd >= 0 && fd < FDS && atomic_load(&sys.segment[fd]))
		atomic_fetch_add(&sys.unsynced[fd], len);
}

/* What has been written when that began is safe. */
static uint64_t
sync_begins(int fd)
{
	return fd >= 0 && fd < FDS ? atomic_load(&sys.unsynced[fd]) : 0;
}

static void
was_synced(int fd, uint64_t len)
{
	if (fd >= 0 && fd < FDS)
		atomic_fetch_sub(&sys.unsynced[fd], len);
}

static void
opened(int fd, bool segment)
{
	if (fd < 0 || fd >= FDS)
		return;
	atomic_store(&sys.unsynced[fd], 0);
	atomic_store(&sys.segment[fd], segment);
}

static bool
is_segment(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, ".log") == 0;
}

/* Counts what would be lost if the power went now. */
static void
look_at_unsynced(void)
{
	uint64_t sum = 0;

	for (int fd = 0; fd < FDS; fd++)
		sum += atomic_load(&sys.unsynced[fd]);
	if (sum > atomic_load(&sys.unsynced_at_unlink))
		atomic_store(&sys.unsynced_at_unlink, sum);
}

static bool
faulty(enum world_call call)
{
	atomic_fetch_add(&sys.calls[call], 1);
	if (!atomic_load(&sys.armed[call]))
		return false;
	long left = atomic_fetch_sub(&sys.at[call], 1) - 1;
	if (left > 0)
		return false;
	if (-left >= atomic_load(&sys.more[call]))
		atomic_store(&sys.armed[call], false);
	errno = atomic_load(&sys.err[call]);
	return true;
}

static void
measure(enum world_call call, uint64_t len)
{
	uint64_t longest = atomic_load(&sys.longest[call]);

	while (len > longest && !atomic_compare_exchange_weak(&sys.longest[call], &longest, len))
		;
}

static void
dawdle(long us)
{
	struct timespec pause = {us / 1000000, us % 1000000 * 1000};

	if (us > 0)
		nanosleep(&pause, NULL);
}

static int
sys_openat(int dir, const char *name, int flags, mode_t mode)
{
	if (faulty(WORLD_OPEN))
		return -1;
	if (atomic_load(&sys.stopped) && (flags & (O_CREAT | O_TRUNC)) != 0)
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	int fd = openat(dir, name, flags, mode);
	opened(fd, is_segment(name));
	return fd;
}

static ssize_t
sys_pread(int fd, void *buf, size_t len, off_t offset)
{
	dawdle(atomic_load(&sys.read_us));
	if (faulty(WORLD_PREAD))
		return -1;
	return pread(fd, buf, len, offset);
}

/* At most `most` bytes of it. */
static ssize_t
write_some(int fd, const struct iovec *iov, int n, off_t offset, size_t most)
{
	size_t done = 0;

	for (int i = 0; i < n && done < most; i++) {
		size_t len = iov[i].iov_len < most - done ? iov[i].iov_len : most - done;
		ssize_t wrote = pwrite(fd, iov[i].iov_base, len, offset + (off_t)done);
		if (wrote < 0)
			return -1;
		done += (size_t)wrote;
	}
	return (ssize_t)done;
}

static size_t
length_of(const struct iovec *iov, int n)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

/* A full disk takes what overwrites. */
static bool
harmless(int fd, off_t offset, size_t len)
{
	struct stat st;

	return atomic_load(&sys.armed[WORLD_WRITE]) && atomic_load(&sys.err[WORLD_WRITE]) == ENOSPC &&
	       fstat(fd, &st) == 0 && st.st_size >= offset + (off_t)len;
}

static ssize_t
sys_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	size_t len = length_of(iov, n);

	measure(WORLD_WRITE, len);
	dawdle(atomic_load(&sys.write_us));
	if (!harmless(fd, offset, len) && faulty(WORLD_WRITE))
		return errno != 0 ? -1 : write_some(fd, iov, n, offset, len / 2);
	if (atomic_load(&sys.stopped))
		return (ssize_t)len;
	if (atomic_load(&sys.stopping)) {
		int64_t left = atomic_fetch_sub(&sys.stop_after, (int64_t)len);
		if (left > 0 && left < (int64_t)len)
			write_some(fd, iov, n, offset, (size_t)left);
		if (left < (int64_t)len) {
			atomic_store(&sys.stopped, true);
			return (ssize_t)len;
		}
	}
	ssize_t wrote = pwritev(fd, iov, n, offset);
	if (wrote > 0)
		was_written(fd, (uint64_t)wrote);
	return wrote;
}

static int
sys_fdatasync(int fd)
{
	if (faulty(WORLD_SYNC))
		return -1;
	if (atomic_load(&sys.stopped))
		return 0;
	uint64_t safe = sync_begins(fd);
	int result = fdatasync(fd);
	if (result == 0)
		was_synced(fd, safe);
	return result;
}

static int
sys_sync_file_range(int fd, off_t offset, off_t len)
{
	measure(WORLD_BEGIN_SYNC, (uint64_t)len);
	if (faulty(WORLD_BEGIN_SYNC))
		return -1;
	return atomic_load(&sys.stopped) ? 0 : sync_file_range(fd, offset, len, SYNC_FILE_RANGE_WRITE);
}

static int
sys_ftruncate(int fd, off_t len)
{
	if (faulty(WORLD_TRUNCATE))
		return -1;
	return atomic_load(&sys.stopped) ? 0 : ftruncate(fd, len);
}

static int
sys_unlinkat(int dir, const char *name, int flags)
{
	bool fails = faulty(WORLD_UNLINK);
	int err = errno;

	dawdle(atomic_load(&sys.unlink_us));
	if (fails) {
		errno = err;
		return -1;
	}
	if (is_segment(name))
		look_at_unsynced();
	return atomic_load(&sys.stopped) ? 0 : unlinkat(dir, name, flags);
}

static int
sys_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	if (faulty(WORLD_RENAME))
		return -1;
	return atomic_load(&sys.stopped) ? 0 : renameat(from_dir, from, to_dir, to);
}

const struct hc_file_io world_io = {
    .openat = sys_openat,
    .pread = sys_pread,
    .pwritev = sys_pwritev,
    .fdatasync = sys_fdatasync,
    .sync_file_range = sys_sync_file_range,
    .ftruncate = sys_ftruncate,
    .unlinkat = sys_unlinkat,
    .renameat = sys_renameat,
};

uint64_t
world_longest(enum world_call call)
{
	return atomic_load(&sys.longest[call]);
}

void
world_fail(enum world_call call, long n, long more, int err)
{
	atomic_store(&sys.at[call], n);
	atomic_store(&sys.more[call], more);
	atomic_store(&sys.err[call], err);
	atomic_store(&sys.armed[call], n > 0);
}

bool
world_failing(enum world_call call)
{
	return atomic_load(&sys.armed[call]);
}

void
world_heal(void)
{
	for (int i = 0; i < WORLD_CALLS; i++)
		atomic_store(&sys.armed[i], false);
	atomic_store(&sys.stopping, false);
	atomic_store(&sys.stopped, false);
	world_slow(0, 0);
	world_slow_unlinks(0);
}

void
world_stop_after(int64_t bytes)
{
	atomic_store(&sys.stop_after, bytes);
	atomic_store(&sys.stopping, true);
}

void
world_slow(long write_us, long read_us)
{
	atomic_store(&sys.write_us, write_us);
	atomic_store(&sys.read_us, read_us);
}

void
world_slow_unlinks(long us)
{
	atomic_store(&sys.unlink_us, us);
}

uint64_t
world_unsynced_at_unlink(void)
{
	return atomic_exchange(&sys.unsynced_at_unlink, 0);
}

long
world_calls(enum world_call call)
{
	return atomic_load(&sys.calls[call]);
}

void
world_stop(void)
{
	atomic_store(&sys.stopped, true);
}
