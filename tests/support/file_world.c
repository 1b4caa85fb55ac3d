/*
 * See file_world.h: models, owners, the directory, shorthand. The system is file_system.c's.
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
	world_stop();
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
