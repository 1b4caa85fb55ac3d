/*
 * Reading. Reader threads take reads from a queue; hc_file_read_cached() is for any thread.
 *
 *     index: where? ─→ pread ─→ checksum, key ─→ index: still there? ─→ answer
 *        ↑                                            └ no: once more
 *
 * A record that is not written yet is waited for: the read comes back to the queue when the writer is there.
 */
#include <errno.h>
#include <sys/uio.h>
#include "base/mem.h"
#include "base/thread.h"
#include "file/internal.h"

#define TRIES 4
#define BUFFER_MIN (64u << 10)
#define BUFFER_KEEP (1u << 20)

struct place {
	uint64_t hash;
	uint64_t position;
	uint32_t bytes;
};

struct buffer {
	uint8_t *bytes;
	size_t room;
};

static enum hc_status
look_up(struct hc_file *file, uint64_t hash, struct place *place)
{
	struct hc_index_part *part = hc_index_lock(file->index, hash);
	struct hc_index_item item;
	bool live = hc_index_find(part, hash, &item) && hc_item_live(file, &item, hc_clock_wall_ms());

	if (live)
		*place = (struct place){hash, hc_item_position(file, &item), item.bytes};
	hc_index_unlock(part);
	return live ? HC_OK : HC_MISS;
}

/* Is what was read there still the key's value? Then what the index knows of it is put into *value. */
static bool
confirm(struct hc_file *file, const struct place *place, bool touch, struct hc_file_value *value)
{
	struct hc_index_part *part = hc_index_lock(file->index, place->hash);
	struct hc_index_item item, old;
	bool same = hc_index_find(part, place->hash, &item) && item.place == hc_place(place->position) &&
		    hc_item_live(file, &item, hc_clock_wall_ms());

	if (same) {
		value->expire_ms = item.expire_ms;
		value->model = file->groups.groups[item.group].model;
		value->epoch = file->groups.groups[item.group].epoch;
	}
	if (same && touch && item.hot < HC_INDEX_HOT_MAX) {
		item.hot++;
		hc_index_put(part, &item, &old);
	}
	hc_index_unlock(part);
	return same;
}

static bool
still_listed(struct hc_file *file, const struct place *place)
{
	struct hc_file_value ignored;

	return confirm(file, place, false, &ignored);
}

static void
fill(struct hc_file_value *value, const struct hc_record *record)
{
	value->key = record->key;
	value->value = record->body;
	value->version = record->version;
	value->created_s = record->created_s;
	value->hits = record->hits;
	value->position = record->position;
}

/*
 * What was read from that place, judged. HC_OK: confirmed; HC_STALE: it has moved, look again; HC_MISS: another key of
 * this hash; HC_ERROR: damaged.
 */
static enum hc_status
judge(struct hc_file *file, const struct place *place, const struct hc_slice *key, bool touch, const uint8_t *bytes,
    size_t len, struct hc_file_value *value)
{
	struct hc_record record;

	if (hc_record_decode(file->secret, bytes, len, file->record_max, place->position, &record) != HC_OK ||
	    record.type != HC_RECORD_VALUE) {
		if (!still_listed(file, place))
			return HC_STALE;
		HC_COUNT(file, damaged, 1);
		hc_append_damaged(file, place->hash, place->position);
		return HC_ERROR;
	}
	if (key != NULL ? !hc_slice_eq(record.key, *key) : hc_key_hash(file->secret, record.key) != place->hash)
		return HC_MISS;
	fill(value, &record);
	return confirm(file, place, touch, value) ? HC_OK : HC_STALE;
}

static void
count(struct hc_file *file, enum hc_status status, uint32_t bytes)
{
	if (status == HC_OK) {
		HC_COUNT(file, reads, 1);
		HC_COUNT(file, read_bytes, bytes);
	} else if (status == HC_MISS) {
		HC_COUNT(file, read_misses, 1);
	}
}

/* ---- on reader threads ---- */

static bool
grow_buffer(struct buffer *buffer, size_t need)
{
	uint8_t *grown;

	if (need <= buffer->room)
		return true;
	need = need < BUFFER_MIN ? BUFFER_MIN : need;
	grown = hc_realloc(buffer->bytes, need);
	if (grown == NULL)
		return false;
	buffer->bytes = grown;
	buffer->room = need;
	return true;
}

/* How many bytes there were; below 0: errno. */
static ssize_t
read_bytes(struct hc_file *file, int fd, const struct place *place, uint8_t *to)
{
	off_t at = hc_position_offset(place->position);
	size_t got = 0;

	while (got < place->bytes) {
		ssize_t n = hc_io(file)->pread(fd, to + got, place->bytes - got, at + (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* HC_PENDING: it is not written yet; place->position says up to where to wait. */
static enum hc_status
try_read(struct hc_file *file, const struct hc_file_read *read, struct buffer *buffer, struct place *place,
    struct hc_file_value *value)
{
	enum hc_status status = look_up(file, read->hash, place);
	struct hc_segment *segment;
	ssize_t got;

	if (status != HC_OK)
		return status;
	if (place->position >= hc_file_written(file))
		return HC_PENDING;
	if (!grow_buffer(buffer, place->bytes))
		return HC_NOMEM;
	segment = hc_segment_ref(file, hc_position_seq(place->position));
	if (segment == NULL)
		return still_listed(file, place) ? HC_MISS : HC_STALE;
	got = read_bytes(file, segment->fd, place, buffer->bytes);
	hc_segment_unref(file, segment);
	if (got < 0) {
		HC_COUNT(file, read_errors, 1);
		return HC_ERROR;
	}
	return judge(
	    file, place, read->key.ptr == NULL ? NULL : &read->key, read->touch, buffer->bytes, (size_t)got, value);
}

static void
enqueue(struct hc_file *file, struct hc_file_read *read)
{
	bool wake;

	read->next = NULL;
	pthread_mutex_lock(&file->reads.lock);
	if (file->reads.last == NULL)
		file->reads.first = read;
	else
		file->reads.last->next = read;
	file->reads.last = read;
	wake = file->reads.idle > 0;
	pthread_mutex_unlock(&file->reads.lock);
	if (wake)
		pthread_cond_signal(&file->reads.wake);
}

static void
on_written(struct hc_file_waiter *waiter)
{
	struct hc_file_read *read =
	    (struct hc_file_read *)(void *)((char *)waiter - offsetof(struct hc_file_read, waiter));

	enqueue(read->file, read);
}

static void
carry_out(struct hc_file *file, struct hc_file_read *read, struct buffer *buffer)
{
	struct hc_file_value value;
	struct place place = {0};
	enum hc_status status = HC_STALE;

	for (int i = 0; i < TRIES && status == HC_STALE; i++) {
		status = try_read(file, read, buffer, &place, &value);
		if (status != HC_PENDING)
			continue;
		read->waiter.fn = on_written;
		if (hc_file_wait(file, place.position + place.bytes, &read->waiter) == HC_PENDING)
			return;
		status = HC_STALE; /* it just was */
	}
	if (status == HC_STALE)
		status = HC_MISS;
	count(file, status, place.bytes);
	read->fn(read, status, status == HC_OK ? &value : NULL);
	if (buffer->room > BUFFER_KEEP) {
		hc_free(buffer->bytes);
		*buffer = (struct buffer){0};
	}
}

static void *
reader_main(void *arg)
{
	struct hc_file *file = arg;
	struct buffer buffer = {0};

	hc_thread_begin("file-reader", HC_THREAD_SERVES);
	pthread_mutex_lock(&file->reads.lock);
	for (;;) {
		struct hc_file_read *read = file->reads.first;
		if (read != NULL) {
			file->reads.first = read->next;
			if (read->next == NULL)
				file->reads.last = NULL;
			pthread_mutex_unlock(&file->reads.lock);
			carry_out(file, read, &buffer);
			pthread_mutex_lock(&file->reads.lock);
		} else if (file->reads.stop) {
			break;
		} else {
			file->reads.idle++;
			pthread_cond_wait(&file->reads.wake, &file->reads.lock);
			file->reads.idle--;
		}
	}
	pthread_mutex_unlock(&file->reads.lock);
	hc_free(buffer.bytes);
	return NULL;
}

enum hc_status
hc_readers_start(struct hc_file *file)
{
	file->reads.threads = hc_calloc(file->config.readers, sizeof(pthread_t));
	if (file->reads.threads == NULL)
		return HC_NOMEM;
	for (; file->reads.n < file->config.readers; file->reads.n++) {
		int err = pthread_create(&file->reads.threads[file->reads.n], NULL, reader_main, file);
		if (err != 0) {
			hc_readers_stop(file);
			errno = err;
			return HC_ERROR;
		}
	}
	return HC_OK;
}

void
hc_readers_stop(struct hc_file *file)
{
	pthread_mutex_lock(&file->reads.lock);
	file->reads.stop = true;
	pthread_cond_broadcast(&file->reads.wake);
	pthread_mutex_unlock(&file->reads.lock);
	while (file->reads.n > 0)
		pthread_join(file->reads.threads[--file->reads.n], NULL);
	hc_free(file->reads.threads);
	file->reads.threads = NULL;
}

void
hc_file_read(struct hc_file *file, struct hc_file_read *read)
{
	read->file = file;
	if (read->key.ptr != NULL)
		read->hash = hc_key_hash(file->secret, read->key);
	enqueue(file, read);
}

/* ---- on any thread ---- */

enum hc_status
hc_file_read_cached(
    struct hc_file *file, struct hc_slice key, bool touch, void *buf, size_t cap, struct hc_file_value *value)
{
	struct place place;
	enum hc_status status = look_up(file, hc_key_hash(file->secret, key), &place);
	struct hc_segment *segment;

	if (status != HC_OK)
		return status;
	if (place.bytes > cap || place.position >= hc_file_written(file))
		return HC_PENDING;
	segment = hc_segment_ref(file, hc_position_seq(place.position));
	if (segment == NULL)
		return HC_PENDING;
	struct iovec iov = {buf, place.bytes};
	ssize_t got = preadv2(segment->fd, &iov, 1, hc_position_offset(place.position), RWF_NOWAIT);
	hc_segment_unref(file, segment);
	/* A part of it may be there: whether that is all of it, or damaged, is for hc_file_read() to find out. */
	if (got < (ssize_t)HC_VALUE_HEAD || hc_get32((uint8_t *)buf + 8) > (uint64_t)got)
		return HC_PENDING;
	status = judge(file, &place, &key, touch, buf, (size_t)got, value);
	if (status == HC_STALE)
		return HC_PENDING;
	count(file, status, place.bytes);
	if (status == HC_OK)
		HC_COUNT(file, reads_cached, 1);
	return status;
}
