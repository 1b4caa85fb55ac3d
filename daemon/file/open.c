/*
 * Opening and closing: in which order the parts come and go.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "file/internal.h"

#define SEGMENT_LEAST (64u << 10)
#define SEGMENT_MOST (64u << 20)
#define SEGMENTS_LEAST 4u
#define QUEUE_BYTES (64u << 20)
#define QUEUE_RECORDS 16384u
#define READERS 4u
#define CARRY_PERCENT 20u
#define RETRY_MS 5000u

static uint32_t
segment_bytes_for(uint64_t max_bytes)
{
	uint64_t bytes = max_bytes / 32 & ~(uint64_t)(HC_BLOCK - 1);

	return bytes < (1 << 20) ? 1 << 20 : bytes > SEGMENT_MOST ? SEGMENT_MOST : (uint32_t)bytes;
}

static enum hc_status
settle_config(struct hc_file_config *config, struct hc_file_failure *failure)
{
	const char *wrong = NULL;

	if (config->segment_bytes == 0)
		config->segment_bytes = segment_bytes_for(config->max_bytes);
	if (config->queue_bytes == 0)
		config->queue_bytes = QUEUE_BYTES;
	if (config->queue_records == 0)
		config->queue_records = QUEUE_RECORDS;
	if (config->readers == 0)
		config->readers = READERS;
	if (config->carry_percent == 0)
		config->carry_percent = CARRY_PERCENT;
	if (config->retry_ms == 0)
		config->retry_ms = RETRY_MS;
	if (config->io == NULL)
		config->io = &hc_file_io_system;
	if (config->segment_bytes < SEGMENT_LEAST || config->segment_bytes > SEGMENT_MOST ||
	    config->segment_bytes % HC_BLOCK != 0)
		wrong = "segments must be a multiple of 4096 bytes, from 64 K to 64 M";
	else if (config->max_bytes < (uint64_t)SEGMENTS_LEAST * config->segment_bytes + 2 * HC_BLOCK)
		wrong = "there must be room for 4 segments and 8 K";
	else if (config->carry_percent > 50)
		wrong = "no more than 50 percent may be carried over";
	if (wrong == NULL)
		return HC_OK;
	snprintf(failure->message, sizeof(failure->message), "%s", wrong);
	return HC_INVALID;
}

static void
init_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* Everything in memory. What it did is undone by free_parts(), whatever it returns. */
static enum hc_status
make_parts(struct hc_file *file)
{
	enum hc_status status, more;

	pthread_mutex_init(&file->waiters.lock, NULL);
	pthread_mutex_init(&file->reads.lock, NULL);
	pthread_cond_init(&file->reads.wake, NULL);
	pthread_mutex_init(&file->keeper.lock, NULL);
	init_monotonic(&file->keeper.wake);
	status = hc_log_init(file);
	more = hc_segments_init(file);
	status = status != HC_OK ? status : more;
	more = hc_groups_init(&file->groups);
	status = status != HC_OK ? status : more;
	more = hc_index_create(&file->index);
	status = status != HC_OK ? status : more;
	file->path = hc_strdup(file->config.dir);
	file->writer.copy = hc_malloc(HC_BATCH_COPY);
	return file->path == NULL || file->writer.copy == NULL ? HC_NOMEM : status;
}

static void
free_parts(struct hc_file *file)
{
	hc_log_fini(file);
	hc_segments_fini(file);
	hc_groups_fini(&file->groups);
	hc_index_destroy(file->index);
	hc_lines_fini(&file->writer.lines);
	hc_batch_discard(file);
	hc_free(file->writer.copy);
	hc_dir_close(file);
	pthread_mutex_destroy(&file->waiters.lock);
	pthread_mutex_destroy(&file->reads.lock);
	pthread_cond_destroy(&file->reads.wake);
	pthread_mutex_destroy(&file->keeper.lock);
	pthread_cond_destroy(&file->keeper.wake);
	hc_free(file->path);
	hc_free(file);
}

static void
stop_writer(struct hc_file *file)
{
	pthread_mutex_lock(&file->log.lock);
	file->log.stop = true;
	pthread_cond_signal(&file->log.wake);
	pthread_mutex_unlock(&file->log.lock);
	pthread_join(file->writer_thread, NULL);
}

static enum hc_status
start_threads(struct hc_file *file)
{
	enum hc_status status = hc_readers_start(file);
	int err;

	if (status != HC_OK)
		return status;
	err = pthread_create(&file->writer_thread, NULL, hc_writer_main, file);
	if (err != 0)
		goto stop_readers;
	err = pthread_create(&file->keeper.thread, NULL, hc_keeper_main, file);
	if (err == 0)
		return HC_OK;
	stop_writer(file);

stop_readers:
	hc_readers_stop(file);
	errno = err;
	return HC_ERROR;
}

static void
explain(const struct hc_file *file, enum hc_status status, struct hc_file_failure *failure)
{
	if (failure->message[0] != '\0')
		return;
	snprintf(failure->message, sizeof(failure->message), "cannot open the directory %s: %s", file->config.dir,
	    status == HC_NOMEM ? "out of memory" : strerror(errno));
}

enum hc_status
hc_file_open(const struct hc_file_config *config, struct hc_file **out, struct hc_file_failure *failure)
{
	struct hc_file *file = hc_calloc(1, sizeof(*file));
	enum hc_status status;
	struct hc_tier tier;

	*failure = (struct hc_file_failure){0};
	if (file == NULL) {
		snprintf(failure->message, sizeof(failure->message), "out of memory");
		return HC_NOMEM;
	}
	file->config = *config;
	file->lock_fd = file->tier_fd = -1;
	atomic_init(&file->dir_fd, -1);
	atomic_init(&file->mode, HC_FILE_ON);
	status = settle_config(&file->config, failure);
	file->record_max = file->config.segment_bytes / 2;
	if (file->record_max > HC_INDEX_BYTES_MAX)
		file->record_max = HC_INDEX_BYTES_MAX;
	enum hc_status made = make_parts(file);
	status = status != HC_OK ? status : made;
	if (status == HC_OK)
		status = hc_dir_open(file, &tier, failure);
	if (status == HC_OK)
		status = hc_load_begin(file, &tier);
	if (status == HC_OK && (errno = hc_tier_write(file, true)) != 0)
		status = HC_ERROR;
	if (status == HC_OK)
		status = start_threads(file);
	if (status == HC_OK) {
		*out = file;
		return HC_OK;
	}
	explain(file, status, failure);
	int saved = errno;
	free_parts(file);
	errno = saved;
	return status;
}

/* The tier file keeps the number of the next segment, so that no position is given twice. */
static void
leave_directory(struct hc_file *file)
{
	if (file->log.begun)
		atomic_fetch_add_explicit(&file->log.seq, 1, memory_order_relaxed);
	if (hc_tier_write(file, true) != 0)
		hc_log(HC_LOG_WARN, "file_tier", "errno=%d", errno);
}

void
hc_file_close(struct hc_file *file)
{
	if (file == NULL)
		return;
	/* The writer may need the keeper for space until its end; what the keeper would carry, nobody writes then. */
	atomic_store_explicit(&file->closing, true, memory_order_release);
	stop_writer(file);
	atomic_store_explicit(&file->keeper.stop, true, memory_order_relaxed);
	hc_keeper_nudge(file);
	pthread_join(file->keeper.thread, NULL);
	hc_readers_stop(file);
	if (file->config.sync != HC_FILE_SYNC_NO)
		hc_keeper_sync(file);
	if (atomic_load_explicit(&file->mode, memory_order_relaxed) != HC_FILE_OFF)
		leave_directory(file);
	free_parts(file);
}
