/*
 * The directory: made, locked, and whether what is in it is to be trusted.
 *
 *     DIR/lock                  flock()ed by who has it; his pid
 *     DIR/tier                  512 bytes, only ever overwritten in place: works on a full disk, too
 *     DIR/segment-….log, .idx   see format.h
 *
 * At open; later on the writer thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/log.h"
#include "file/internal.h"

static void explain(struct hc_file_failure *failure, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
explain(struct hc_file_failure *failure, const char *format, ...)
{
	int saved = errno;
	va_list args;

	va_start(args, format);
	vsnprintf(failure->message, sizeof(failure->message), format, args);
	va_end(args);
	errno = saved;
}

/* ---- the lock ---- */

static pid_t
holder_of(int fd)
{
	char text[32] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* 0: *out is locked. Else errno; EWOULDBLOCK: somebody else has it. */
static int
lock(struct hc_file *file, int dir, int *out, pid_t *holder)
{
	int fd = hc_io(file)->openat(dir, HC_LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char text[32];

	if (fd < 0)
		return errno;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int err = errno;
		*holder = holder_of(fd);
		close(fd);
		return err;
	}
	/* For people: a disk without room for it is no reason to refuse. */
	int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
		hc_log(HC_LOG_DEBUG, "file_lock_pid", "errno=%d", errno);
	*out = fd;
	return 0;
}

/* ---- the tier file ---- */

static int
write_tier(struct hc_file *file, int fd, bool trusted)
{
	struct hc_tier tier = {
	    .trusted = trusted, .next_seq = atomic_load_explicit(&file->log.seq, memory_order_relaxed)};
	uint8_t bytes[HC_TIER_BYTES];
	struct iovec iov = {bytes, sizeof(bytes)};
	ssize_t wrote;

	memcpy(tier.secret, file->secret, HC_SECRET_BYTES);
	hc_tier_encode(&tier, bytes);
	do
		wrote = hc_io(file)->pwritev(fd, &iov, 1, 0);
	while (wrote < 0 && errno == EINTR);
	if (wrote != (ssize_t)sizeof(bytes))
		return wrote < 0 ? errno : ENOSPC;
	if (file->config.sync != HC_FILE_SYNC_NO && hc_io(file)->fdatasync(fd) != 0)
		return errno;
	return 0;
}

int
hc_tier_write(struct hc_file *file, bool trusted)
{
	return write_tier(file, file->tier_fd, trusted);
}

/* HC_OK; HC_MISS: there is none, or not a whole one; HC_INVALID: of a newer format; HC_ERROR. */
static enum hc_status
read_tier(struct hc_file *file, int dir, struct hc_tier *tier)
{
	uint8_t bytes[HC_TIER_BYTES];
	int fd = hc_io(file)->openat(dir, HC_TIER_NAME, O_RDONLY | O_CLOEXEC, 0);
	ssize_t got;

	if (fd < 0)
		return errno == ENOENT ? HC_MISS : HC_ERROR;
	got = hc_io(file)->pread(fd, bytes, sizeof(bytes), 0);
	close(fd);
	if (got >= 16 && hc_format_is_newer(bytes))
		return HC_INVALID;
	if (got < 0)
		return HC_ERROR;
	return got == (ssize_t)sizeof(bytes) && hc_tier_decode(bytes, tier) == HC_OK ? HC_OK : HC_MISS;
}

/* ---- what is in it ---- */

/* Calls fn for each of our segments' files; 0, or the first errno. */
static int
each_file(int dir_fd, int (*fn)(void *arg, const char *name, uint64_t seq), void *arg)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	uint64_t seq;
	char suffix[4];

	if (dir == NULL) {
		err = errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while ((entry = readdir(dir)) != NULL) {
		int one = hc_segment_is_ours(dir_fd, entry, &seq, suffix) ? fn(arg, entry->d_name, seq) : 0;
		err = err != 0 ? err : one;
	}
	closedir(dir);
	return err;
}

struct sweep {
	struct hc_file *file;
	uint64_t below;
	uint64_t highest;
};

static int
sweep_one(void *arg, const char *name, uint64_t seq)
{
	struct sweep *sweep = arg;

	if (seq > sweep->highest)
		sweep->highest = seq;
	if (seq >= sweep->below)
		return 0;
	if (hc_io(sweep->file)->unlinkat(sweep->file->dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	return errno;
}

int
hc_dir_sweep(struct hc_file *file, uint64_t below)
{
	struct sweep sweep = {.file = file, .below = below};

	return each_file(file->dir_fd, sweep_one, &sweep);
}

/* What a kill may have left: an index file that was not finished, or that has lost its segment. */
static int
tidy_one(void *arg, const char *name, uint64_t seq)
{
	struct hc_file *file = arg;
	char log_name[40];
	struct stat st;
	size_t len = strlen(name);

	hc_segment_name(log_name, seq, "log");
	if (strcmp(name + len - 3, "tmp") == 0 ||
	    (strcmp(name + len - 3, "idx") == 0 && fstatat(file->dir_fd, log_name, &st, 0) != 0 && errno == ENOENT))
		hc_io(file)->unlinkat(file->dir_fd, name, 0);
	return 0;
}

/* A segment of a newer format among them: nothing may be touched. */
static int
check_one(void *arg, const char *name, uint64_t seq)
{
	struct hc_file *file = arg;
	uint8_t head[16];
	int fd = hc_io(file)->openat(file->dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
	bool newer = fd >= 0 && hc_io(file)->pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
		     hc_format_is_newer(head);

	(void)seq;
	if (fd >= 0)
		close(fd);
	return newer ? EPROTO : 0;
}

/* ---- opening ---- */

static enum hc_status
open_path(struct hc_file *file, struct hc_file_failure *failure)
{
	if (mkdir(file->path, 0700) != 0 && errno != EEXIST) {
		explain(failure, "cannot make the directory %s: %s", file->path, strerror(errno));
		return HC_ERROR;
	}
	file->dir_fd = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file->dir_fd < 0) {
		explain(failure, "cannot open the directory %s: %s", file->path, strerror(errno));
		return HC_ERROR;
	}
	return HC_OK;
}

static enum hc_status
refuse_newer(struct hc_file *file, struct hc_file_failure *failure)
{
	explain(
	    failure, "the directory %s is of a newer format than this program knows: it is left as it is", file->path);
	return HC_INVALID;
}

static enum hc_status
lock_path(struct hc_file *file, struct hc_file_failure *failure)
{
	int err = lock(file, file->dir_fd, &file->lock_fd, &failure->holder);

	if (err == 0)
		return HC_OK;
	if (err == EWOULDBLOCK) {
		explain(failure, "the directory %s is in use by process %ld", file->path, (long)failure->holder);
		return HC_CONFLICT;
	}
	errno = err;
	explain(failure, "cannot lock the directory %s: %s", file->path, strerror(err));
	return HC_ERROR;
}

/* Nothing in it counts: a new secret, a tier file, no segments. */
static int
begin_empty(struct hc_file *file, struct hc_tier *tier)
{
	struct sweep sweep = {.file = file, .below = UINT64_MAX};
	int err = each_file(file->dir_fd, sweep_one, &sweep);

	if (err != 0)
		return err;
	if (sweep.highest > 0)
		hc_log(HC_LOG_WARN, "file_untrusted",
		    "dir=%s hint=\"emptied: it was outdated when the last run ended\"", file->path);
	if (hc_random(tier->secret, sizeof(tier->secret)) != 0)
		return errno;
	if (tier->next_seq <= sweep.highest)
		tier->next_seq = sweep.highest + 1;
	memcpy(file->secret, tier->secret, HC_SECRET_BYTES);
	return 0;
}

static enum hc_status
open_tier(struct hc_file *file, struct hc_tier *tier, enum hc_status found, struct hc_file_failure *failure)
{
	int err = 0;

	memcpy(file->secret, tier->secret, HC_SECRET_BYTES);
	if (found != HC_OK || !tier->trusted)
		err = begin_empty(file, tier);
	if (err == 0)
		err = each_file(file->dir_fd, tidy_one, file);
	if (err == 0) {
		file->tier_fd = hc_io(file)->openat(file->dir_fd, HC_TIER_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		err = file->tier_fd < 0 ? errno : 0;
	}
	if (err == 0)
		return HC_OK;
	errno = err;
	explain(failure, "cannot use the directory %s: %s", file->path, strerror(err));
	return HC_ERROR;
}

enum hc_status
hc_dir_open(struct hc_file *file, struct hc_tier *tier, struct hc_file_failure *failure)
{
	enum hc_status status = open_path(file, failure), found;

	if (status != HC_OK)
		return status;
	*tier = (struct hc_tier){.next_seq = 1};
	found = read_tier(file, file->dir_fd, tier);
	if (found == HC_INVALID || each_file(file->dir_fd, check_one, file) == EPROTO)
		return refuse_newer(file, failure);
	status = lock_path(file, failure);
	if (status != HC_OK)
		return status;
	/* Who had it may have changed it until just now. */
	found = read_tier(file, file->dir_fd, tier);
	if (found == HC_ERROR) {
		explain(failure, "cannot read %s/%s: %s", file->path, HC_TIER_NAME, strerror(errno));
		return HC_ERROR;
	}
	return open_tier(file, tier, found, failure);
}

void
hc_dir_close(struct hc_file *file)
{
	if (file->tier_fd >= 0)
		close(file->tier_fd);
	if (file->lock_fd >= 0)
		close(file->lock_fd);
	if (file->dir_fd >= 0)
		close(file->dir_fd);
}

/* ---- taken away, and come again ---- */

bool
hc_dir_there(struct hc_file *file)
{
	struct stat there, ours;
	int dir = atomic_load_explicit(&file->dir_fd, memory_order_acquire);

	return stat(file->path, &there) == 0 && fstat(dir, &ours) == 0 && there.st_ino == ours.st_ino &&
	       there.st_dev == ours.st_dev && fstatat(dir, HC_TIER_NAME, &there, 0) == 0;
}

int
hc_dir_again(struct hc_file *file)
{
	int dir, lock_fd = -1, tier_fd, err;
	pid_t holder;

	if (mkdir(file->path, 0700) != 0 && errno != EEXIST)
		return errno;
	dir = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno;
	err = lock(file, dir, &lock_fd, &holder);
	if (err != 0)
		goto close_dir;
	tier_fd = hc_io(file)->openat(dir, HC_TIER_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	err = tier_fd < 0 ? errno : write_tier(file, tier_fd, false);
	if (err != 0)
		goto close_lock;
	/* Number for number, so that who uses the directory's sees the old one or the new one. */
	if (dup3(dir, file->dir_fd, O_CLOEXEC) < 0 || dup3(tier_fd, file->tier_fd, O_CLOEXEC) < 0)
		err = errno;
	close(tier_fd);
	if (err == 0) {
		close(file->lock_fd);
		file->lock_fd = lock_fd;
		close(dir);
		return 0;
	}

close_lock:
	close(lock_fd);
close_dir:
	close(dir);
	return err;
}
