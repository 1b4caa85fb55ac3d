/*
 * The outage list's file; see outage_log.h. `lock` protects what says so, and is a leaf but for the mailboxes' that
 * waiters post to.
 */
#include "core/outage_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "file/io.h"

#define NAME HC_FILE_QUEUE "log"
#define NEW_NAME HC_FILE_QUEUE "new"
#define MAGIC 0x31514348u /* HCQ1 */
#define PATH_CAP 1200
#define CHUNK_BYTES ((size_t)1 << 20)
#define ANEW_BYTES ((uint64_t)16 << 20) /* beyond which, and three times what is kept, it is written anew */

/* As it lies in the file, key, model and value behind it; of this machine alone. */
struct head {
	uint32_t magic;
	uint32_t sum; /* of all that follows */
	uint32_t key_len, value_len;
	uint32_t model_len, epoch;
	uint32_t type, incarnation;
	int64_t expire_ms; /* of a model: `known` */
	uint64_t life, heard;
	int64_t at_ms;
};

struct bytes {
	char *ptr;
	size_t len, cap;
};

struct hc_outage_log {
	/* constant once started */
	char path[PATH_CAP], new_path[PATH_CAP];
	bool sync;
	struct hc_outage *outage;
	const struct hc_models *models;
	struct hc_slice instance;
	pthread_t thread;
	bool started;
	/* the writer's, once started */
	int fd;
	uint64_t file_bytes;
	uint64_t anew_bytes; /* when it was written anew last; 0: not since it was empty */
	/* any thread's */
	_Atomic uint64_t written;
	/* under the lock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct bytes buffer; /* what waits to be written */
	uint64_t head;       /* bytes appended ever */
	bool emptied;        /* what is in the file counts no more; the buffer does */
	bool broken;         /* the file is given up until the list has been empty */
	bool ending;
	struct hc_file_waiter *waiters;
};

static _Thread_local uint64_t last_mark;

uint64_t
hc_outage_log_mark(void)
{
	return last_mark;
}

uint64_t
hc_outage_log_written(const struct hc_outage_log *log)
{
	return atomic_load_explicit(&log->written, memory_order_acquire);
}

/* ---- records ---- */

static bool
reserve(struct bytes *bytes, size_t more)
{
	size_t cap = bytes->cap == 0 ? 65536 : bytes->cap;

	while (cap - bytes->len < more)
		cap *= 2;
	if (cap == bytes->cap)
		return true;
	char *ptr = hc_realloc(bytes->ptr, cap);
	if (ptr == NULL)
		return false;
	bytes->ptr = ptr;
	bytes->cap = cap;
	return true;
}

static bool
encode(struct bytes *to, const struct hc_outage_record *record)
{
	size_t len = sizeof(struct head) + record->key.len + record->model.len + record->value.len;
	struct head head = {
	    .magic = MAGIC,
	    .key_len = (uint32_t)record->key.len,
	    .value_len = (uint32_t)record->value.len,
	    .model_len = (uint32_t)record->model.len,
	    .epoch = record->epoch,
	    .type = record->type,
	    .expire_ms = record->type == HC_OUTAGE_RECORD_MODEL ? record->known : record->expire_ms,
	    .incarnation = record->since.incarnation,
	    .life = record->since.life,
	    .heard = record->since.heard,
	    .at_ms = record->at_ms,
	};

	if (!reserve(to, len))
		return false;
	char *start = to->ptr + to->len, *at = mempcpy(start, &head, sizeof(head));
	const struct hc_slice parts[] = {record->key, record->model, record->value};
	for (size_t i = 0; i < 3; i++)
		at = parts[i].len > 0 ? mempcpy(at, parts[i].ptr, parts[i].len) : at;
	head.sum = hc_checksum(start + 8, len - 8);
	memcpy(start, &head, sizeof(head));
	to->len += len;
	return true;
}

/* How long the record at the start of `run` is; 0: there is no whole and sound one. */
static size_t
decode(struct hc_slice run, struct hc_outage_record *out)
{
	struct head head;

	if (run.len < sizeof(head))
		return 0;
	memcpy(&head, run.ptr, sizeof(head));
	size_t len = sizeof(head) + (size_t)head.key_len + head.model_len + head.value_len;
	if (head.magic != MAGIC || len > run.len || head.sum != hc_checksum(run.ptr + 8, len - 8))
		return 0;
	const char *at = run.ptr + sizeof(head);
	*out = (struct hc_outage_record){
	    .type = (enum hc_outage_record_type)head.type,
	    .key = hc_slice(at, head.key_len),
	    .model = hc_slice(at + head.key_len, head.model_len),
	    .value = hc_slice(at + head.key_len + head.model_len, head.value_len),
	    .epoch = head.epoch,
	    .known = (uint32_t)head.expire_ms,
	    .expire_ms = head.expire_ms,
	    .since = {head.life, head.incarnation, head.heard},
	    .at_ms = head.at_ms,
	};
	return len;
}

/* ---- opening ---- */

static enum hc_status
read_all(int fd, struct bytes *to)
{
	ssize_t got;

	do {
		if (!reserve(to, CHUNK_BYTES))
			return HC_NOMEM;
		got = read(fd, to->ptr + to->len, CHUNK_BYTES);
		if (got > 0)
			to->len += (size_t)got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	return got == 0 ? HC_OK : HC_ERROR;
}

static enum hc_status
replay(struct hc_outage_log *log, const struct bytes *bytes, hc_outage_record_fn *fn, void *arg)
{
	struct hc_outage_record record;
	size_t at = 0, len;

	while ((len = decode(hc_slice(bytes->ptr + at, bytes->len - at), &record)) > 0) {
		enum hc_status status = fn(arg, &record);
		if (status != HC_OK)
			return status;
		at += len;
	}
	if (at < bytes->len)
		hc_log(HC_LOG_WARN, "outage_log_cut", "at=%zu bytes=%zu", at, bytes->len);
	log->file_bytes = at;
	return ftruncate(log->fd, (off_t)at) == 0 ? HC_OK : HC_ERROR;
}

enum hc_status
hc_outage_log_open(const char *dir, bool sync, hc_outage_record_fn *fn, void *arg, struct hc_outage_log **out)
{
	struct hc_outage_log *log = hc_calloc(1, sizeof(*log));
	struct bytes bytes = {0};

	if (log == NULL)
		return HC_NOMEM;
	log->sync = sync;
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->wake, NULL);
	snprintf(log->path, sizeof(log->path), "%s/" NAME, dir);
	snprintf(log->new_path, sizeof(log->new_path), "%s/" NEW_NAME, dir);
	(void)unlink(log->new_path); /* half written, when it was killed */
	log->fd = open(log->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	enum hc_status status = log->fd >= 0 ? read_all(log->fd, &bytes) : HC_ERROR;
	if (status == HC_OK)
		status = replay(log, &bytes, fn, arg);
	hc_free(bytes.ptr);
	if (status != HC_OK) {
		hc_outage_log_close(log);
		return status;
	}
	*out = log;
	return HC_OK;
}

/* ---- the writer ---- */

static bool
write_all(int fd, const char *ptr, size_t len)
{
	while (len > 0) {
		ssize_t wrote = write(fd, ptr, len < HC_FILE_CALL_BYTES ? len : HC_FILE_CALL_BYTES);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return false;
		ptr += wrote;
		len -= (size_t)wrote;
	}
	return true;
}

/* Encoded, and written when there is enough of it. */
static bool
put(int fd, struct bytes *bytes, const struct hc_outage_record *record)
{
	if (!encode(bytes, record))
		return false;
	if (bytes->len < CHUNK_BYTES)
		return true;
	size_t len = bytes->len;
	bytes->len = 0;
	return write_all(fd, bytes->ptr, len);
}

static struct hc_outage_record
record_of(const struct hc_outage_log *log, const struct hc_outage_item *item)
{
	struct hc_outage_record record = {
	    .type = HC_OUTAGE_RECORD_GONE, .key = item->key, .since = item->since, .at_ms = item->at_ms};

	if (item->entry == NULL || item->was_contested) /* nothing would be known of the base */
		return record;
	record.type = HC_OUTAGE_RECORD_VALUE;
	record.model = hc_models_name(log->models, hc_entry_model(item->entry));
	record.epoch = item->epoch;
	record.value = hc_entry_value(item->entry);
	record.expire_ms = item->expire_ms;
	if (item->doubt == HC_OUTAGE_UNSURE)
		record.since.life = 0;
	return record;
}

static struct hc_outage_record
about_us(const struct hc_outage_log *log)
{
	return (struct hc_outage_record){
	    .type = HC_OUTAGE_RECORD_INSTANCE, .key = log->instance, .at_ms = hc_clock_wall_ms()};
}

static bool
write_page(const struct hc_outage_log *log, int fd, struct bytes *bytes, const struct hc_outage_page *page)
{
	struct hc_outage_record record = about_us(log);
	bool done = put(fd, bytes, &record);

	record = (struct hc_outage_record){.type = HC_OUTAGE_RECORD_ALL, .at_ms = hc_clock_wall_ms()};
	if (done && page->all)
		done = put(fd, bytes, &record);
	for (size_t i = 0; done && i < page->n_models; i++) {
		record = (struct hc_outage_record){.type = HC_OUTAGE_RECORD_MODEL,
		    .model = hc_models_name(log->models, page->models[i].id),
		    .epoch = hc_models_epoch(log->models, page->models[i].id),
		    .known = page->models[i].known,
		    .at_ms = hc_clock_wall_ms()};
		done = put(fd, bytes, &record);
	}
	for (size_t i = 0; done && i < page->n_items; i++) {
		record = record_of(log, &page->items[i]);
		bool counts = page->items[i].entry == NULL || page->items[i].doubt != HC_OUTAGE_CONTESTED;
		done = !counts || put(fd, bytes, &record);
	}
	return done && write_all(fd, bytes->ptr, bytes->len);
}

/* From the list, beside the old file; the log's lock is not held. */
static bool
write_anew(struct hc_outage_log *log)
{
	struct hc_outage_page page;
	struct bytes bytes = {0};
	struct stat st;

	int fd = open(log->new_path, O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	if (hc_outage_snapshot(log->outage, &page) != HC_OK) {
		close(fd);
		return true; /* without memory it goes on growing */
	}
	bool done = write_page(log, fd, &bytes, &page) && (!log->sync || fdatasync(fd) == 0) && fstat(fd, &st) == 0 &&
		    rename(log->new_path, log->path) == 0;
	hc_outage_page_fini(&page);
	hc_free(bytes.ptr);
	if (!done) {
		close(fd);
		return false;
	}
	close(log->fd);
	log->fd = fd;
	log->file_bytes = log->anew_bytes = (uint64_t)st.st_size;
	return true;
}

/* The list's own bytes are those of its values: what else it holds is known from the last time. */
static bool
is_overgrown(const struct hc_outage_log *log)
{
	uint64_t values = hc_outage_bytes(log->outage), kept = log->anew_bytes > values ? log->anew_bytes : values;

	return log->file_bytes > ANEW_BYTES && log->file_bytes / 3 > kept;
}

static bool
write_down(struct hc_outage_log *log, const struct bytes *bytes, bool emptied)
{
	if (emptied && log->file_bytes > 0) {
		if (ftruncate(log->fd, 0) != 0)
			return false;
		log->file_bytes = log->anew_bytes = 0;
	}
	if (bytes->len == 0)
		return true;
	if (log->file_bytes == 0) {
		struct hc_outage_record us = about_us(log);
		struct bytes first = {0};
		bool done = encode(&first, &us) && write_all(log->fd, first.ptr, first.len);
		log->file_bytes += first.len;
		hc_free(first.ptr);
		if (!done)
			return false;
	}
	if (!write_all(log->fd, bytes->ptr, bytes->len) || (log->sync && fdatasync(log->fd) != 0))
		return false;
	log->file_bytes += bytes->len;
	return is_overgrown(log) ? write_anew(log) : true;
}

/* What tells only half would bring back what was changed later. */
static void
give_up(struct hc_outage_log *log)
{
	hc_log(HC_LOG_WARN, "outage_log_failed", "errno=%d consequence=\"%s\"", errno, HC_OUTAGE_LOG_CONSEQUENCE);
	if (ftruncate(log->fd, 0) != 0)
		(void)unlink(log->path);
	log->file_bytes = log->anew_bytes = 0;
}

/* Under the lock. */
static struct hc_file_waiter *
take_reached(struct hc_outage_log *log, uint64_t written)
{
	struct hc_file_waiter **at = &log->waiters, *reached = NULL;

	while (*at != NULL) {
		struct hc_file_waiter *waiter = *at;
		if (waiter->mark > written) {
			at = &waiter->next;
			continue;
		}
		*at = waiter->next;
		waiter->next = reached;
		reached = waiter;
	}
	return reached;
}

/* Under the lock, which is let go meanwhile: writes what waits. */
static void
write_what_waits(struct hc_outage_log *log)
{
	struct bytes bytes = log->buffer;
	uint64_t head = log->head;
	bool emptied = log->emptied;

	log->buffer = (struct bytes){0};
	log->emptied = false;
	bool skip = log->broken && !emptied;
	pthread_mutex_unlock(&log->lock);
	bool failed = !skip && !write_down(log, &bytes, emptied);
	if (failed)
		give_up(log);
	hc_free(bytes.ptr);
	pthread_mutex_lock(&log->lock);
	log->broken = log->broken || failed;
	atomic_store_explicit(&log->written, head, memory_order_release);
	struct hc_file_waiter *reached = take_reached(log, head);
	pthread_mutex_unlock(&log->lock);
	while (reached != NULL) {
		struct hc_file_waiter *next = reached->next;
		reached->fn(reached);
		reached = next;
	}
	pthread_mutex_lock(&log->lock);
}

static void *
writer(void *arg)
{
	struct hc_outage_log *log = arg;

	hc_thread_begin("outage-log", HC_THREAD_SERVES);
	pthread_mutex_lock(&log->lock);
	while (true) {
		if (log->buffer.len > 0 || log->emptied || log->head > hc_outage_log_written(log))
			write_what_waits(log);
		else if (log->ending)
			break;
		else
			pthread_cond_wait(&log->wake, &log->lock);
	}
	pthread_mutex_unlock(&log->lock);
	return NULL;
}

enum hc_status
hc_outage_log_start(
    struct hc_outage_log *log, struct hc_outage *outage, const struct hc_models *models, struct hc_slice instance)
{
	log->outage = outage;
	log->models = models;
	log->instance = instance;
	if (log->file_bytes > 0) {
		/* What follows is ours, what is there was an earlier life's. */
		const struct hc_outage_record us = about_us(log);
		if (!encode(&log->buffer, &us))
			return HC_NOMEM;
	}
	log->started = pthread_create(&log->thread, NULL, writer, log) == 0;
	return log->started ? HC_OK : HC_ERROR;
}

void
hc_outage_log_close(struct hc_outage_log *log)
{
	if (log == NULL)
		return;
	if (log->started) {
		pthread_mutex_lock(&log->lock);
		log->ending = true;
		pthread_cond_signal(&log->wake);
		pthread_mutex_unlock(&log->lock);
		pthread_join(log->thread, NULL);
	}
	if (log->fd >= 0)
		close(log->fd);
	pthread_cond_destroy(&log->wake);
	pthread_mutex_destroy(&log->lock);
	hc_free(log->buffer.ptr);
	hc_free(log);
}

/* ---- appending ---- */

void
hc_outage_log_append(struct hc_outage_log *log, const struct hc_outage_record *record)
{
	pthread_mutex_lock(&log->lock);
	if (!log->broken && !encode(&log->buffer, record)) {
		/* Without this one the file must not be believed. */
		log->buffer.len = 0;
		log->emptied = log->broken = true;
	}
	last_mark = ++log->head;
	pthread_cond_signal(&log->wake);
	pthread_mutex_unlock(&log->lock);
}

void
hc_outage_log_begin_anew(struct hc_outage_log *log, bool emptied)
{
	pthread_mutex_lock(&log->lock);
	log->buffer.len = 0;
	if (emptied) {
		log->emptied = true;
		log->broken = false; /* it is worth another try */
	}
	pthread_cond_signal(&log->wake);
	pthread_mutex_unlock(&log->lock);
}

enum hc_status
hc_outage_log_wait(struct hc_outage_log *log, uint64_t mark, struct hc_file_waiter *waiter)
{
	enum hc_status status = HC_OK;

	pthread_mutex_lock(&log->lock);
	if (hc_outage_log_written(log) < mark) {
		waiter->mark = mark;
		waiter->next = log->waiters;
		log->waiters = waiter;
		status = HC_PENDING;
		pthread_cond_signal(&log->wake);
	}
	pthread_mutex_unlock(&log->lock);
	return status;
}
