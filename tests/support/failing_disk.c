/*
 * Loaded before libc (LD_PRELOAD) into a daemon under test: makes its reads, writes and syncs of files fail or dawdle
 * as a test says while it runs. The test writes rules into the file that FAILING_DISK names, which has one of struct
 * rule for each kind of call; failing_disk.py has the same layout. Files are told by the call: the daemon uses these
 * for its file tier alone.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SLICE_MS 2

enum kind { WRITE, MARK, READ, READ_CACHED, SYNC, KINDS };

struct rule {
	_Atomic uint64_t calls; /* begun so far */
	_Atomic uint64_t done;
	_Atomic int64_t skip; /* so many more are well … */
	_Atomic int64_t fail; /* … then so many fail, with */
	_Atomic int32_t err;
	_Atomic int32_t delay_ms; /* before each; while it lasts: 0 lets all go on */
};

static struct rule *rules;

__attribute__((constructor)) static void
set_up(void)
{
	const char *path = getenv("FAILING_DISK");
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, KINDS * sizeof(*rules), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		abort();
	close(fd);
	rules = at;
}

static void
dawdle(const struct rule *rule)
{
	for (int slept = 0; slept < atomic_load(&rule->delay_ms); slept += SLICE_MS)
		nanosleep(&(struct timespec){.tv_nsec = SLICE_MS * 1000000L}, NULL);
}

/* The file that says whether the rest is to be trusted is another matter: the tier's answer to a fault is to write it.
 */
static int
is_mark(int fd)
{
	char link[40], name[512];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, name, sizeof(name));
	return len > 5 && memcmp(name + len - 5, "/tier", 5) == 0;
}

/* True: it is to fail, errno is set. */
static int
fails(enum kind kind)
{
	struct rule *rule = &rules[kind];

	atomic_fetch_add(&rule->calls, 1);
	dawdle(rule);
	if (atomic_load(&rule->fail) <= 0 || atomic_fetch_sub(&rule->skip, 1) > 0)
		return 0;
	if (atomic_fetch_sub(&rule->fail, 1) <= 0)
		return 0;
	errno = atomic_load(&rule->err);
	return 1;
}

static ssize_t
done(enum kind kind, ssize_t result)
{
	int err = errno;

	atomic_fetch_add(&rules[kind].done, 1);
	errno = err;
	return result;
}

static void *
next(const char *name)
{
	void *symbol = dlsym(RTLD_NEXT, name);

	if (symbol == NULL)
		abort();
	return symbol;
}

ssize_t
pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
	static _Atomic(ssize_t(*)(int, const struct iovec *, int, off64_t)) real;

	if (real == NULL)
		real = (ssize_t(*)(int, const struct iovec *, int, off64_t))next("pwritev64");
	enum kind kind = is_mark(fd) ? MARK : WRITE;
	return fails(kind) ? -1 : done(kind, real(fd, iov, n, offset));
}

ssize_t
pread64(int fd, void *buf, size_t len, off64_t offset)
{
	static _Atomic(ssize_t(*)(int, void *, size_t, off64_t)) real;

	if (real == NULL)
		real = (ssize_t(*)(int, void *, size_t, off64_t))next("pread64");
	return fails(READ) ? -1 : done(READ, real(fd, buf, len, offset));
}

ssize_t
preadv64v2(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	static _Atomic(ssize_t(*)(int, const struct iovec *, int, off64_t, int)) real;

	if (real == NULL)
		real = (ssize_t(*)(int, const struct iovec *, int, off64_t, int))next("preadv64v2");
	return fails(READ_CACHED) ? -1 : done(READ_CACHED, real(fd, iov, n, offset, flags));
}

int
fdatasync(int fd)
{
	static _Atomic(int (*)(int)) real;

	if (real == NULL)
		real = (int (*)(int))next("fdatasync");
	return fails(SYNC) ? -1 : (int)done(SYNC, real(fd));
}
