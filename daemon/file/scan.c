/*
 * A segment without its index file: its records, found by their checksums. What is damaged is skipped: the search
 * goes on at each multiple of 16, until a record says that it belongs just there.
 *
 * Any thread; touches nothing but what it is given.
 */
#include <errno.h>
#include "base/mem.h"
#include "file/internal.h"

#define WINDOW (1u << 20)
#define LONGEST (64u << 20)

/* The piece of the file in memory. */
struct window {
	const struct hc_file_io *io;
	int fd;
	uint8_t *bytes;
	size_t room;
	uint64_t from;
	size_t len;
	bool ended; /* the file has no more than this */
};

/* Makes `len` bytes from `at` on be there, or as many as the file has. */
static enum hc_status
window_at(struct window *window, uint64_t at, size_t len, const uint8_t **ptr, size_t *avail)
{
	size_t skip = (size_t)(at - window->from);

	if (skip + len > window->len && !window->ended) {
		if (len > window->room) {
			uint8_t *grown = hc_realloc(window->bytes, len + WINDOW);
			if (grown == NULL)
				return HC_NOMEM;
			window->bytes = grown;
			window->room = len + WINDOW;
		}
		size_t kept = skip < window->len ? window->len - skip : 0;
		memmove(window->bytes, window->bytes + window->len - kept, kept);
		window->from = at;
		window->len = kept;
		skip = 0;
		while (window->len < window->room && !window->ended) {
			ssize_t n = window->io->pread(window->fd, window->bytes + window->len,
			    window->room - window->len, (off_t)(window->from + window->len));
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return HC_ERROR;
			window->ended = n == 0;
			window->len += (size_t)n;
		}
	}
	*avail = skip < window->len ? window->len - skip : 0;
	*ptr = window->bytes + (skip < window->len ? skip : 0);
	return HC_OK;
}

static void
add_record(struct hc_scan *scan, const uint8_t *secret, const struct hc_record *record)
{
	struct hc_entry_line line = {
	    .hash = record->type == HC_RECORD_VALUE ? hc_key_hash(secret, record->key) : record->hash,
	    .expire_ms = record->type == HC_RECORD_VALUE || record->type == HC_RECORD_EXPIRE ? record->expire_ms : 0,
	    .group = record->group,
	    .offset = hc_position_offset(record->position),
	    .type = record->type,
	};

	hc_lines_add(&scan->lines, &line);
	if (record->type == HC_RECORD_GROUP) {
		/* Lost ones keep their numbers: no record that names them is taken for another's. */
		while (scan->lines.groups_n < record->group && !scan->lines.lost)
			hc_lines_add_group(&scan->lines, hc_slice(NULL, 0), 0);
		if (scan->lines.groups_n == record->group)
			hc_lines_add_group(&scan->lines, record->key, record->epoch);
	}
	scan->records++;
	if (scan->on_record != NULL)
		scan->on_record(scan->arg, record);
}

/* The record at *at, or nothing: *at moves on. HC_MISS: the file is over. */
static enum hc_status
step(struct window *window, const uint8_t *secret, uint64_t seq, struct hc_scan *scan, uint64_t *at)
{
	struct hc_record record;
	const uint8_t *ptr;
	size_t avail;
	enum hc_status status = window_at(window, *at, HC_VALUE_HEAD, &ptr, &avail);

	if (status != HC_OK)
		return status;
	if (avail == 0)
		return HC_MISS;
	status = hc_record_decode(secret, ptr, avail, LONGEST, hc_position(seq, (uint32_t)*at), &record);
	if (status == HC_PENDING) {
		status = window_at(window, *at, record.length, &ptr, &avail);
		if (status != HC_OK)
			return status;
		status = hc_record_decode(secret, ptr, avail, LONGEST, hc_position(seq, (uint32_t)*at), &record);
	}
	if (status != HC_OK) {
		*at += HC_RECORD_ALIGN;
		return HC_OK;
	}
	if (*at > scan->end) {
		scan->damaged++;
		scan->skipped_bytes += *at - scan->end;
	}
	add_record(scan, secret, &record);
	*at += hc_padded(record.length);
	scan->end = (uint32_t)*at;
	return HC_OK;
}

enum hc_status
hc_scan_segment(const struct hc_file_io *io, int fd, const uint8_t *secret, uint64_t seq, struct hc_scan *scan)
{
	struct window window = {.io = io, .fd = fd, .room = WINDOW};
	uint64_t at = HC_SEGMENT_HEAD;
	enum hc_status status = HC_OK;

	window.bytes = hc_malloc(window.room);
	if (window.bytes == NULL)
		return HC_NOMEM;
	window.from = at;
	scan->end = HC_SEGMENT_HEAD;
	while (status == HC_OK && at < LONGEST)
		status = step(&window, secret, seq, scan, &at);
	uint64_t size = window.from + window.len;
	scan->tail = size > scan->end ? (uint32_t)(size - scan->end) : 0;
	hc_free(window.bytes);
	return status == HC_MISS || status == HC_OK ? HC_OK : status;
}
