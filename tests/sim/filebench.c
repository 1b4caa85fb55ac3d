/*
 * What the file tier costs: CPU of an append, reads by several threads against bare pread of the same places, the time
 * to load after a clean close and after a kill, memory of the index. `make filebench DIR=… N=…` runs it; DIR is made
 * and removed, and takes N times 4 KiB.
 *
 * CPU is user and system time of the whole process, but for appends, where the caller's thread is told beside it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "file/file.h"
#include "file/index.h"

#define VALUE 4096u
#define THREADS 4u
#define WINDOW 32u /* reads a thread has under way */
#define READS 400000u
#define KEY_LEN 16u

static const char *dir;
static uint64_t n_values;
static char value_bytes[VALUE];

static void
die(const char *why)
{
	fprintf(stderr, "filebench: %s\n", why);
	exit(EXIT_FAILURE);
}

/* ---- clocks ---- */

static double
seconds_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct span {
	double wall, cpu, own;
};

static struct span
begin(void)
{
	return (struct span){
	    seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_PROCESS_CPUTIME_ID), seconds_of(CLOCK_THREAD_CPUTIME_ID)};
}

static struct span
since(struct span then)
{
	struct span now = begin();

	return (struct span){now.wall - then.wall, now.cpu - then.cpu, now.own - then.own};
}

/* ---- what the tier asks ---- */

static struct hc_slice
model_name(void *arg, uint32_t id)
{
	(void)arg;
	(void)id;
	return HC_SLICE("default");
}

static uint32_t
model_epoch(void *arg, uint32_t id)
{
	(void)arg;
	(void)id;
	return 0;
}

static enum hc_status
model_intern(void *arg, struct hc_slice name, uint32_t *id)
{
	(void)arg;
	(void)name;
	*id = 0;
	return HC_OK;
}

static void
model_raise(void *arg, uint32_t id, uint32_t epoch)
{
	(void)arg;
	(void)id;
	(void)epoch;
}

static void
release(void *arg, void *owner)
{
	(void)arg;
	(void)owner;
}

static struct hc_file *
open_file(void)
{
	struct hc_file_config config = {
	    .dir = dir,
	    .max_bytes = n_values * (VALUE + 128) * 9 / 8 + ((uint64_t)1 << 30),
	    .readers = THREADS,
	    .model_name = model_name,
	    .model_epoch = model_epoch,
	    .model_intern = model_intern,
	    .model_raise = model_raise,
	    .release = release,
	};
	struct hc_file_failure failure;
	struct hc_file *file;

	if (hc_file_open(&config, &file, &failure) != HC_OK)
		die(failure.message);
	return file;
}

static void
make_key(uint64_t number, char key[KEY_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";

	memcpy(key, "key:", 4);
	for (uint32_t i = KEY_LEN; i-- > 4; number >>= 4)
		key[i] = digits[number & 15];
	key[KEY_LEN] = '\0';
}

/* ---- appending ---- */

struct wait {
	struct hc_file_waiter waiter;
	_Atomic bool over;
};

static void
on_waited(struct hc_file_waiter *waiter)
{
	atomic_store(&((struct wait *)(void *)waiter)->over, true);
}

static void
await(struct hc_file *file, uint64_t mark)
{
	struct wait wait = {.waiter = {.fn = on_waited}};
	struct timespec pause = {0, 200000};

	if (hc_file_wait(file, mark, &wait.waiter) == HC_OK)
		return;
	while (!atomic_load(&wait.over))
		nanosleep(&pause, NULL);
}

/* All keys have memory of their own: nothing is copied by the tier. Every 64 appends a room is asked for, as a worker
 * does in each turn of its loop. */
static uint64_t
append_all(struct hc_file *file, const char *keys, uint64_t n, uint32_t len, double *appending)
{
	struct hc_file_record record = {
	    .type = HC_FILE_VALUE, .value = hc_slice(value_bytes, len), .expire_ms = HC_NO_EXPIRY};
	struct timespec pause = {0, 100000};
	uint64_t mark = 0, bytes = hc_file_record_bytes(KEY_LEN, len);

	*appending = 0;
	for (uint64_t i = 0; i < n; i += 64) {
		while (!hc_file_claim(file, 64, 64 * bytes))
			nanosleep(&pause, NULL);
		double then = seconds_of(CLOCK_THREAD_CPUTIME_ID);
		for (uint64_t j = i; j < i + 64 && j < n; j++) {
			record.key = hc_slice(keys + j * (KEY_LEN + 1), KEY_LEN);
			if (hc_file_append(file, &record, NULL, &mark) != HC_OK)
				die("an append failed");
		}
		*appending += seconds_of(CLOCK_THREAD_CPUTIME_ID) - then;
		hc_file_unclaim(file, 64, 64 * bytes);
		hc_file_kick(file);
	}
	return mark;
}

static char *
make_keys(uint64_t n)
{
	char *keys = malloc(n * (KEY_LEN + 1));

	if (keys == NULL)
		die("out of memory");
	for (uint64_t i = 0; i < n; i++)
		make_key(i, keys + i * (KEY_LEN + 1));
	return keys;
}

static void
bench_append(struct hc_file *file, uint32_t len)
{
	char *keys = make_keys(n_values);
	struct span then = begin(), took;
	double appending;

	await(file, append_all(file, keys, n_values, len, &appending));
	took = since(then);
	printf("append   %u bytes: %.0f ns in the caller, %.2f us CPU in all, %.0f records/s, %.0f MB/s\n", len,
	    appending * 1e9 / (double)n_values, took.cpu * 1e6 / (double)n_values, (double)n_values / took.wall,
	    (double)n_values * len / took.wall / 1e6);
	free(keys);
}

/* ---- reading ---- */

struct reader {
	pthread_t thread;
	struct hc_file *file;
	unsigned seed;
	_Atomic uint32_t under_way;
	pthread_mutex_t lock;
	pthread_cond_t one_less;
	double *latencies;
};

struct request {
	struct hc_file_read read;
	struct reader *reader;
	char key[KEY_LEN + 1];
	double began;
	uint32_t number;
	bool free;
};

static void
on_read(struct hc_file_read *read, enum hc_status status, const struct hc_file_value *value)
{
	struct request *request = (struct request *)(void *)read;
	struct reader *reader = request->reader;

	if (status != HC_OK || value->value.len != VALUE)
		die("a read failed");
	reader->latencies[request->number] = seconds_of(CLOCK_MONOTONIC) - request->began;
	pthread_mutex_lock(&reader->lock);
	request->free = true;
	atomic_fetch_sub(&reader->under_way, 1);
	pthread_cond_signal(&reader->one_less);
	pthread_mutex_unlock(&reader->lock);
}

static struct request *
free_request(struct reader *reader, struct request *requests, uint32_t window)
{
	struct request *found = NULL;

	pthread_mutex_lock(&reader->lock);
	while (atomic_load(&reader->under_way) == window)
		pthread_cond_wait(&reader->one_less, &reader->lock);
	for (uint32_t i = 0; found == NULL; i++)
		if (requests[i].free)
			found = &requests[i];
	found->free = false;
	atomic_fetch_add(&reader->under_way, 1);
	pthread_mutex_unlock(&reader->lock);
	return found;
}

static uint64_t
random_number(struct reader *reader)
{
	return ((uint64_t)(unsigned)rand_r(&reader->seed) << 16 ^ (uint64_t)(unsigned)rand_r(&reader->seed)) % n_values;
}

static void
read_queued(struct reader *reader, uint32_t window)
{
	struct request *requests = calloc(window, sizeof(*requests));

	if (requests == NULL)
		die("out of memory");
	for (uint32_t i = 0; i < window; i++)
		requests[i].free = true;
	for (uint32_t i = 0; i < READS / THREADS; i++) {
		struct request *request = free_request(reader, requests, window);
		make_key(random_number(reader), request->key);
		request->reader = reader;
		request->number = i;
		request->read = (struct hc_file_read){.key = hc_slice(request->key, KEY_LEN), .fn = on_read};
		request->began = seconds_of(CLOCK_MONOTONIC);
		hc_file_read(reader->file, &request->read);
	}
	pthread_mutex_lock(&reader->lock);
	while (atomic_load(&reader->under_way) > 0)
		pthread_cond_wait(&reader->one_less, &reader->lock);
	pthread_mutex_unlock(&reader->lock);
	free(requests);
}

static void *
run_queued(void *arg)
{
	read_queued(arg, WINDOW);
	return NULL;
}

static void *
run_one_by_one(void *arg)
{
	read_queued(arg, 1);
	return NULL;
}

static void *
run_cached(void *arg)
{
	struct reader *reader = arg;
	static _Thread_local char buf[VALUE + 256];
	struct hc_file_value value;
	char key[KEY_LEN + 1];

	for (uint32_t i = 0; i < READS / THREADS; i++) {
		make_key(random_number(reader), key);
		double began = seconds_of(CLOCK_MONOTONIC);
		enum hc_status status =
		    hc_file_read_cached(reader->file, hc_slice(key, KEY_LEN), false, buf, sizeof(buf), &value);
		reader->latencies[i] = seconds_of(CLOCK_MONOTONIC) - began;
		if (status != HC_OK && status != HC_PENDING)
			die("a cached read failed");
	}
	return NULL;
}

#define MAX_FILES 1000u

static struct bare {
	int fd;
	uint64_t bytes;
} bare[MAX_FILES];
static uint32_t bare_n;

static void *
run_bare(void *arg)
{
	struct reader *reader = arg;
	static _Thread_local char buf[VALUE + 64];

	for (uint32_t i = 0; i < READS / THREADS; i++) {
		const struct bare *file = &bare[random_number(reader) % bare_n];
		uint64_t at = random_number(reader) * 4160 % (file->bytes - sizeof(buf)) & ~(uint64_t)15;
		double began = seconds_of(CLOCK_MONOTONIC);
		if (pread(file->fd, buf, sizeof(buf), (off_t)at) != (ssize_t)sizeof(buf))
			die("pread failed");
		reader->latencies[i] = seconds_of(CLOCK_MONOTONIC) - began;
	}
	return NULL;
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void
bench_reads(const char *name, struct hc_file *file, void *(*run)(void *))
{
	struct reader readers[THREADS];
	double *latencies = malloc(READS * sizeof(double));
	struct span then = begin(), took;

	if (latencies == NULL)
		die("out of memory");
	for (unsigned i = 0; i < THREADS; i++) {
		readers[i] = (struct reader){.file = file,
		    .seed = i + 1,
		    .lock = PTHREAD_MUTEX_INITIALIZER,
		    .one_less = PTHREAD_COND_INITIALIZER,
		    .latencies = latencies + (size_t)i * (READS / THREADS)};
		pthread_create(&readers[i].thread, NULL, run, &readers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(readers[i].thread, NULL);
	took = since(then);
	qsort(latencies, READS, sizeof(double), by_size);
	printf("read     %-28s %8.0f/s  %6.2f us CPU  p50 %7.1f us  p99 %7.1f us\n", name, READS / took.wall,
	    took.cpu * 1e6 / READS, latencies[READS / 2] * 1e6, latencies[(size_t)READS * 99 / 100] * 1e6);
	free(latencies);
}

/* The same files, without the tier. */
static void
bench_bare(void)
{
	DIR *listing = opendir(dir);
	struct dirent *entry;

	if (listing == NULL)
		die("cannot list the directory");
	while ((entry = readdir(listing)) != NULL && bare_n < MAX_FILES) {
		struct stat st;
		if (strstr(entry->d_name, ".log") == NULL)
			continue;
		int fd = openat(dirfd(listing), entry->d_name, O_RDONLY);
		if (fd < 0 || fstat(fd, &st) != 0)
			die("cannot open a segment");
		posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
		if (st.st_size > 2 * (off_t)VALUE)
			bare[bare_n++] = (struct bare){fd, (uint64_t)st.st_size};
	}
	closedir(listing);
	bench_reads("bare pread", NULL, run_bare);
	while (bare_n > 0)
		close(bare[--bare_n].fd);
}

/* ---- loading ---- */

static void
bench_load(const char *after)
{
	struct hc_file_stats stats;
	struct timespec pause = {0, 1000000};
	struct span then = begin(), opened, took;
	struct hc_file *file = open_file();

	opened = since(then);
	do {
		nanosleep(&pause, NULL);
		hc_file_stats(file, &stats);
	} while (stats.mode == HC_FILE_LOADING);
	took = since(then);
	printf("load     after %-12s %" PRIu64
	       " values in %.3f s (%.3f s until open), %.2f s CPU; index %.2f bytes an item\n",
	    after, stats.items, took.wall, opened.wall, took.cpu, (double)stats.index_bytes / (double)stats.items);
	hc_file_close(file);
}

/* A process that appends once more and is killed. */
static void
abandon(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("cannot fork");
	if (pid == 0) {
		struct hc_file *file = open_file();
		char *keys = make_keys(8000);
		double ignored;
		await(file, append_all(file, keys, 8000, VALUE, &ignored));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* ---- the index alone ---- */

static void
bench_index(uint64_t n)
{
	struct hc_index *index;
	struct span then = begin(), took;

	if (hc_index_create(&index) != HC_OK)
		die("out of memory");
	for (uint64_t i = 0; i < n; i++) {
		uint64_t z = (i + 1) * 0x9e3779b97f4a7c15;
		struct hc_index_item old, item = {.place = i, .bytes = VALUE, .expire_ms = HC_NO_EXPIRY};
		item.hash = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
		item.hash ^= item.hash >> 27;
		struct hc_index_part *part = hc_index_lock(index, item.hash);
		if (hc_index_reserve(part) != HC_OK)
			die("out of memory");
		hc_index_put(part, &item, &old);
		hc_index_unlock(part);
	}
	took = since(then);
	printf("index    %9" PRIu64 " items: %.2f bytes each, %.0f ns an insertion\n", n,
	    (double)hc_index_bytes(index) / (double)n, took.cpu * 1e9 / (double)n);
	hc_index_destroy(index);
}

static void
clean(void)
{
	DIR *listing = opendir(dir);
	struct dirent *entry;

	while (listing != NULL && (entry = readdir(listing)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(listing), entry->d_name, 0);
	if (listing != NULL)
		closedir(listing);
	rmdir(dir);
}

int
main(int argc, char **argv)
{
	struct hc_file *file;

	if (argc != 3 || (n_values = strtoull(argv[2], NULL, 10)) < 1000) {
		fprintf(stderr, "usage: filebench DIR VALUES\n");
		return EXIT_FAILURE;
	}
	dir = argv[1];
	hc_log_set_level(HC_LOG_WARN);
	if (hc_hash_init() != 0 || hc_random(value_bytes, sizeof(value_bytes)) != 0)
		die("no randomness");
	bench_index(1000000);
	bench_index(10000000);
	file = open_file();
	bench_append(file, 200);
	bench_append(file, VALUE);
	bench_bare();
	bench_reads("queued, 32 under way", file, run_queued);
	bench_reads("queued, one by one", file, run_one_by_one);
	bench_reads("cached, in the caller", file, run_cached);
	hc_file_close(file);
	bench_load("a clean close");
	abandon();
	bench_load("a kill");
	clean();
	return EXIT_SUCCESS;
}
