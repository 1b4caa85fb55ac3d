/*
 * See file_world.h. The system's state is the process's, since the table of calls has no argument for it; unit tests
 * run in processes of their own.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "tests/support/file_world.h"

/* ---- the system ---- */

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

/* ---- what the tier asks ---- */

static struct hc_slice
model_name(void *arg, uint32_t id)
{
	struct world *world = arg;

	return hc_slice_str(world->models[id].name);
}

static uint32_t
model_epoch(void *arg, uint32_t id)
{
	struct world *world = arg;

	return atomic_load(&world->models[id].epoch);
}

static uint32_t
generation(void *arg)
{
	struct world *world = arg;

	return atomic_load(&world->generation);
}

static pthread_mutex_t intern_lock = PTHREAD_MUTEX_INITIALIZER;

static enum hc_status
model_intern(void *arg, struct hc_slice name, uint32_t *id)
{
	struct world *world = arg;
	enum hc_status status = HC_OK;
	uint32_t n;

	pthread_mutex_lock(&intern_lock);
	n = atomic_load(&world->models_n);
	for (*id = 0; *id < n; (*id)++)
		if (hc_slice_eq(name, hc_slice_str(world->models[*id].name)))
			break;
	if (*id == n && (n == WORLD_MODELS || name.len >= sizeof(world->models[0].name))) {
		status = HC_LIMIT;
	} else if (*id == n) {
		memcpy(world->models[n].name, name.ptr, name.len);
		world->models[n].name[name.len] = '\0';
		atomic_store(&world->models_n, n + 1);
	}
	pthread_mutex_unlock(&intern_lock);
	return status;
}

static void
model_raise(void *arg, uint32_t id, uint32_t epoch)
{
	struct world *world = arg;

	if (epoch > atomic_load(&world->models[id].epoch))
		atomic_store(&world->models[id].epoch, epoch);
}

static void
release(void *arg, void *owner)
{
	struct world *world = arg;

	atomic_fetch_sub(&world->owners, 1);
	free(owner);
}

uint32_t
world_model(struct world *world, const char *name)
{
	uint32_t id;

	if (model_intern(world, hc_slice_str(name), &id) != HC_OK)
		abort();
	return id;
}

/* ---- the directory ---- */

static void
forget_models(struct world *world)
{
	for (uint32_t i = 0; i < WORLD_MODELS; i++)
		atomic_store(&world->models[i].epoch, 0);
	memset(world->models, 0, sizeof(world->models));
	atomic_store(&world->models_n, 0);
	world_model(world, "m0");
}

void
world_init(struct world *world, uint64_t max_bytes, uint32_t segment_bytes)
{
	const char *tmp = getenv("TMPDIR");

	memset(world, 0, sizeof(*world));
	snprintf(
	    world->dir, sizeof(world->dir), "%s/harcad-file-XXXXXX", tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
	if (mkdtemp(world->dir) == NULL)
		abort();
	world->config = (struct hc_file_config){
	    .dir = world->dir,
	    .max_bytes = max_bytes,
	    .segment_bytes = segment_bytes,
	    .readers = 2,
	    .retry_ms = 20,
	    .io = &world_io,
	    .arg = world,
	    .model_name = model_name,
	    .model_epoch = model_epoch,
	    .generation = generation,
	    .model_intern = model_intern,
	    .model_raise = model_raise,
	    .release = release,
	};
	forget_models(world);
}

/* Calls fn for each file; all the same when there is no directory. */
static void
each_file(const char *path_of, void (*fn)(void *arg, const char *path), void *arg)
{
	DIR *dir = opendir(path_of);
	struct dirent *entry;
	char path[400];

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", path_of, entry->d_name);
		if (entry->d_name[0] != '.')
			fn(arg, path);
	}
	closedir(dir);
}

static void
remove_one(void *arg, const char *path)
{
	(void)arg;
	unlink(path);
}

void
world_fini(struct world *world)
{
	world_close(world);
	world_heal();
	world_remove(world->dir);
}

void
world_remove(const char *dir)
{
	each_file(dir, remove_one, NULL);
	rmdir(dir);
}

static void
copy_one(void *arg, const char *path)
{
	static char bytes[1 << 20];
	char to[400];
	ssize_t len;
	int in = open(path, O_RDONLY | O_CLOEXEC), out;

	snprintf(to, sizeof(to), "%s%s", (const char *)arg, strrchr(path, '/'));
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (in < 0 || out < 0)
		abort();
	while ((len = read(in, bytes, sizeof(bytes))) > 0)
		if (write(out, bytes, (size_t)len) != len)
			abort();
	close(in);
	close(out);
}

void
world_copy(const char *from, const char *to)
{
	mkdir(to, 0700);
	each_file(from, copy_one, (void *)(uintptr_t)to);
}

static void
add_size(void *arg, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		*(uint64_t *)arg += (uint64_t)st.st_size;
}

uint64_t
world_disk_bytes(struct world *world)
{
	uint64_t sum = 0;

	each_file(world->dir, add_size, &sum);
	return sum;
}

enum hc_status
world_open(struct world *world, struct hc_file_failure *failure)
{
	struct hc_file_failure ignored;

	return hc_file_open(&world->config, &world->file, failure != NULL ? failure : &ignored);
}

void
world_close(struct world *world)
{
	hc_file_close(world->file);
	world->file = NULL;
}

void
world_kill(struct world *world)
{
	atomic_store(&sys.stopped, true);
	world_close(world);
	world_heal();
	forget_models(world);
}

void
world_restart(struct world *world)
{
	world_close(world);
	forget_models(world);
}

/* ---- shorthand ---- */

enum hc_status
world_put(struct world *world, const char *key, const void *value, size_t len, int64_t expire_ms, uint32_t model,
    uint64_t *mark)
{
	size_t key_len = strlen(key);
	char *owner = malloc(key_len + len + 1);
	struct hc_file_record record = {
	    .type = HC_FILE_VALUE,
	    .key = hc_slice(owner, key_len),
	    .value = hc_slice(owner + key_len, len),
	    .expire_ms = expire_ms,
	    .model = model,
	    .epoch = atomic_load(&world->models[model].epoch),
	    .generation = atomic_load(&world->generation),
	    .version = 7,
	    .created_s = 9,
	    .hits = 3,
	};

	if (owner == NULL)
		abort();
	memcpy(owner, key, key_len);
	if (len > 0)
		memcpy(owner + key_len, value, len);
	atomic_fetch_add(&world->owners, 1);
	enum hc_status status = hc_file_append(world->file, &record, owner, mark);
	if (status != HC_OK)
		release(world, owner);
	return status;
}

enum hc_status
world_put_str(struct world *world, const char *key, const char *value)
{
	uint64_t mark;

	return world_put(world, key, value, strlen(value), HC_NO_EXPIRY, 0, &mark);
}

enum hc_status
world_delete(struct world *world, const char *key, uint64_t *mark)
{
	struct hc_file_record record = {.type = HC_FILE_DELETE, .key = hc_slice_str(key)};
	uint64_t ignored;

	return hc_file_append(world->file, &record, NULL, mark != NULL ? mark : &ignored);
}

enum hc_status
world_expire(struct world *world, const char *key, int64_t expire_ms, uint64_t *mark)
{
	struct hc_file_record record = {.type = HC_FILE_EXPIRE, .key = hc_slice_str(key), .expire_ms = expire_ms};
	uint64_t ignored;

	return hc_file_append(world->file, &record, NULL, mark != NULL ? mark : &ignored);
}

uint64_t
world_clear_model(struct world *world, uint32_t model)
{
	uint32_t epoch = atomic_fetch_add(&world->models[model].epoch, 1) + 1;
	struct hc_file_record record = {.type = HC_FILE_CLEAR_MODEL, .model = model, .epoch = epoch};
	uint64_t mark;

	hc_file_append(world->file, &record, NULL, &mark);
	return mark;
}

uint64_t
world_clear_all(struct world *world)
{
	struct hc_file_record record = {.type = HC_FILE_CLEAR_ALL};
	uint64_t mark;

	atomic_fetch_add(&world->generation, 1);
	hc_file_append(world->file, &record, NULL, &mark);
	return mark;
}

struct flag {
	struct hc_file_waiter waiter;
	pthread_mutex_t lock;
	pthread_cond_t set;
	bool up;
};

static void
raise_flag(struct flag *flag)
{
	pthread_mutex_lock(&flag->lock);
	flag->up = true;
	pthread_cond_signal(&flag->set);
	pthread_mutex_unlock(&flag->lock);
}

static bool
await_flag(struct flag *flag)
{
	struct timespec until;
	bool up;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&flag->lock);
	while (!flag->up && pthread_cond_timedwait(&flag->set, &flag->lock, &until) == 0)
		;
	up = flag->up;
	pthread_mutex_unlock(&flag->lock);
	return up;
}

static void
on_written(struct hc_file_waiter *waiter)
{
	raise_flag((struct flag *)(void *)waiter);
}

bool
world_wait(struct world *world, uint64_t mark)
{
	struct flag flag = {
	    .waiter = {.fn = on_written}, .lock = PTHREAD_MUTEX_INITIALIZER, .set = PTHREAD_COND_INITIALIZER};

	if (hc_file_wait(world->file, mark, &flag.waiter) == HC_OK)
		return true;
	if (!await_flag(&flag))
		abort(); /* the writer has our stack */
	return true;
}

bool
world_sync(struct world *world)
{
	uint64_t mark;

	world_delete(world, "\x01nobody has this key", &mark);
	return world_wait(world, mark);
}

bool
world_loaded(struct world *world)
{
	struct timespec pause = {0, 1000000};

	for (int i = 0; i < 20000; i++) {
		if (world_stats(world).mode != HC_FILE_LOADING)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

bool
world_on(struct world *world)
{
	struct timespec pause = {0, 1000000};

	for (int i = 0; i < 20000; i++) {
		if (world_stats(world).mode != HC_FILE_OFF)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

struct reading {
	struct hc_file_read read;
	struct flag flag;
	enum hc_status status;
	struct world_value *out;
};

static void
on_read(struct hc_file_read *read, enum hc_status status, const struct hc_file_value *value)
{
	struct reading *reading = (struct reading *)(void *)read;

	reading->status = status;
	if (status == HC_OK) {
		reading->out->bytes = malloc(value->value.len + 1);
		reading->out->len = value->value.len;
		if (reading->out->bytes == NULL)
			abort();
		memcpy(reading->out->bytes, value->value.ptr, value->value.len);
		reading->out->bytes[value->value.len] = '\0';
		reading->out->expire_ms = value->expire_ms;
		reading->out->model = value->model;
	}
	raise_flag(&reading->flag);
}

enum hc_status
world_get(struct world *world, const char *key, struct world_value *out)
{
	struct reading reading = {
	    .read = {.key = hc_slice_str(key), .fn = on_read},
	    .flag = {.lock = PTHREAD_MUTEX_INITIALIZER, .set = PTHREAD_COND_INITIALIZER},
	    .out = out,
	};

	out->bytes = NULL;
	hc_file_read(world->file, &reading.read);
	if (!await_flag(&reading.flag))
		abort();
	return reading.status;
}

bool
world_holds(struct world *world, const char *key, const char *value)
{
	struct world_value got;
	enum hc_status status = world_get(world, key, &got);
	bool same = status == HC_OK
			? value != NULL && got.len == strlen(value) && memcmp(got.bytes, value, got.len) == 0
			: status == HC_MISS && value == NULL;

	free(got.bytes);
	return same;
}

struct hc_file_stats
world_stats(struct world *world)
{
	struct hc_file_stats stats;

	hc_file_stats(world->file, &stats);
	return stats;
}
