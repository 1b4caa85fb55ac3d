/*
 * The codec of events. Pure functions, for any thread; they own nothing. The decoder is strict: of
 * each event of a known type there is one spelling only, so that what is decoded and encoded again
 * is the same bytes.
 */
#include "proto/event.h"

#include <assert.h>
#include "proto/resp_reply.h"

/* The elements in front of the keys. */
enum field { VERSION, TYPE, INSTANCE, SEQ, MODEL, EPOCH, TIME_MS, FIELDS };

static const char *const type_names[] = {
    [HC_EVENT_SET] = "set",
    [HC_EVENT_DEL] = "del",
    [HC_EVENT_EXPIRE] = "expire",
    [HC_EVENT_PASSED] = "passed",
    [HC_EVENT_CLEAR_MODEL] = "clear-model",
    [HC_EVENT_CLEAR_ALL] = "clear-all",
    [HC_EVENT_SWEPT] = "swept",
    [HC_EVENT_HEARTBEAT] = "heartbeat",
    [HC_EVENT_UNKNOWN] = "unknown",
};

const char *
hc_event_type_name(enum hc_event_type type)
{
	return type_names[type <= HC_EVENT_UNKNOWN ? type : HC_EVENT_UNKNOWN];
}

static enum hc_event_type
type_of_name(struct hc_slice name)
{
	for (int type = 0; type < HC_EVENT_UNKNOWN; type++)
		if (hc_slice_eq(name, hc_slice_str(type_names[type])))
			return (enum hc_event_type)type;
	return HC_EVENT_UNKNOWN;
}

/* Decoding */

/* Decimal digits and nothing else, no leading zero. */
static bool
parse_unsigned(struct hc_slice text, uint64_t most, uint64_t *value)
{
	uint64_t v = 0;

	if (text.len == 0 || (text.len > 1 && text.ptr[0] == '0'))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		unsigned d = (unsigned)(unsigned char)text.ptr[i] - '0';
		if (d > 9 || v > (most - d) / 10)
			return false;
		v = v * 10 + d;
	}
	*value = v;
	return true;
}

static bool
parse_signed(struct hc_slice text, int64_t *value)
{
	bool negative = text.len > 0 && text.ptr[0] == '-';
	uint64_t v;

	if (!negative) {
		if (!parse_unsigned(text, INT64_MAX, &v))
			return false;
		*value = (int64_t)v;
		return true;
	}
	if (!parse_unsigned(hc_slice(text.ptr + 1, text.len - 1), (uint64_t)INT64_MAX + 1, &v) || v == 0)
		return false;
	*value = -(int64_t)(v - 1) - 1;
	return true;
}

/* Takes a line "<type>N\r\n" off the front of `run`. */
static bool
take_count(struct hc_slice *run, char type, uint64_t *count)
{
	if (run->len == 0 || run->ptr[0] != type)
		return false;
	const char *cr = memchr(run->ptr, '\r', run->len);
	if (!cr)
		return false;
	size_t line = (size_t)(cr - run->ptr);
	if (run->len - line < 2 || cr[1] != '\n')
		return false;
	if (!parse_unsigned(hc_slice(run->ptr + 1, line - 1), UINT64_MAX, count))
		return false;
	*run = hc_slice(run->ptr + line + 2, run->len - line - 2);
	return true;
}

static bool
take_bulk(struct hc_slice *run, struct hc_slice *bulk)
{
	struct hc_slice rest = *run;
	uint64_t len;

	if (!take_count(&rest, '$', &len) || rest.len < 2 || len > rest.len - 2)
		return false;
	if (memcmp(rest.ptr + len, "\r\n", 2) != 0)
		return false;
	*bulk = hc_slice(rest.ptr, (size_t)len);
	*run = hc_slice(rest.ptr + len + 2, rest.len - (size_t)len - 2);
	return true;
}

/* Takes `n` bulks; the first `cap` of them are kept. A count that lies ends with the bytes, not
 * with memory. */
static bool
take_bulks(struct hc_slice *run, uint64_t n, struct hc_slice *bulks, size_t cap)
{
	for (uint64_t i = 0; i < n; i++) {
		struct hc_slice bulk;
		if (!take_bulk(run, &bulk))
			return false;
		if (i < cap)
			bulks[i] = bulk;
	}
	return true;
}

static bool
read_fields(const struct hc_slice *fields, struct hc_event *event)
{
	event->type = type_of_name(fields[TYPE]);
	event->instance = fields[INSTANCE];
	event->model = fields[MODEL];
	return event->instance.len <= HC_EVENT_MAX_INSTANCE && event->model.len <= HC_EVENT_MAX_MODEL &&
	       parse_unsigned(fields[SEQ], UINT64_MAX, &event->seq) &&
	       parse_unsigned(fields[EPOCH], UINT64_MAX, &event->epoch) &&
	       parse_signed(fields[TIME_MS], &event->time_ms);
}

/* What a later version means is unknown, but it is an array of bulks which begins with its version.
 */
static bool
read_unknown(struct hc_slice *rest, uint64_t n, struct hc_event *event)
{
	event->type = HC_EVENT_UNKNOWN;
	return take_bulks(rest, n, NULL, 0);
}

static bool
read_known(struct hc_slice *rest, uint64_t n, struct hc_slice *keys, size_t cap, struct hc_event *event)
{
	struct hc_slice fields[FIELDS];

	if (n < FIELDS - 1 || !take_bulks(rest, FIELDS - 1, fields + 1, FIELDS - 1))
		return false;
	n -= FIELDS - 1;
	if (!read_fields(fields, event) || !take_bulks(rest, n, keys, cap))
		return false;
	event->keys = keys;
	event->nkeys = (size_t)n;
	return !hc_event_is_by_keys(event->type) || n == 0 || event->seq <= UINT64_MAX - (n - 1);
}

enum hc_event_result
hc_event_decode(struct hc_slice run, struct hc_slice *keys, size_t cap, struct hc_event *out, size_t *used)
{
	struct hc_event event = {0};
	struct hc_slice rest = run;
	struct hc_slice first;
	uint64_t n, version;

	if (run.len == 0)
		return HC_EVENT_END;
	if (!take_count(&rest, '*', &n) || n == 0 || !take_bulk(&rest, &first))
		return HC_EVENT_BAD;
	if (!parse_unsigned(first, UINT32_MAX, &version))
		return HC_EVENT_BAD;
	event.version = (uint32_t)version;
	bool whole = version == HC_EVENT_VERSION ? read_known(&rest, n - 1, keys, cap, &event)
						 : read_unknown(&rest, n - 1, &event);
	if (!whole)
		return HC_EVENT_BAD;
	if (event.nkeys > cap) {
		out->nkeys = event.nkeys;
		return HC_EVENT_KEYS;
	}
	*out = event;
	*used = run.len - rest.len;
	return HC_EVENT_OK;
}

/* Encoding */

/* The numbers of an event as text, and slices over all its fields. */
struct spelling {
	struct hc_slice fields[FIELDS];
	char digits[4][20];
};

static void
spell(struct spelling *s, const struct hc_event *event)
{
	s->fields[VERSION] = hc_slice(s->digits[0], hc_resp_put_udigits(s->digits[0], event->version));
	s->fields[TYPE] = hc_slice_str(hc_event_type_name(event->type));
	s->fields[INSTANCE] = event->instance;
	s->fields[SEQ] = hc_slice(s->digits[1], hc_resp_put_udigits(s->digits[1], event->seq));
	s->fields[MODEL] = event->model;
	s->fields[EPOCH] = hc_slice(s->digits[2], hc_resp_put_udigits(s->digits[2], event->epoch));
	s->fields[TIME_MS] = hc_slice(s->digits[3], hc_resp_put_digits(s->digits[3], event->time_ms));
}

static size_t
bulk_size(struct hc_slice bulk)
{
	char head[HC_RESP_HEAD_MAX];

	return hc_resp_put_bulk_head(head, bulk.len) + bulk.len + 2;
}

static char *
put_bulk(char *dst, struct hc_slice bulk)
{
	dst += hc_resp_put_bulk_head(dst, bulk.len);
	if (bulk.len > 0) /* an empty slice may point nowhere */
		memcpy(dst, bulk.ptr, bulk.len);
	memcpy(dst + bulk.len, "\r\n", 2);
	return dst + bulk.len + 2;
}

size_t
hc_event_encode(char *dst, size_t cap, const struct hc_event *event)
{
	char head[HC_RESP_HEAD_MAX];
	struct spelling s;

	assert(event->instance.len <= HC_EVENT_MAX_INSTANCE);
	assert(event->model.len <= HC_EVENT_MAX_MODEL);
	spell(&s, event);
	size_t head_len = hc_resp_put_array_head(head, FIELDS + event->nkeys);
	size_t size = head_len;
	for (size_t i = 0; i < FIELDS; i++)
		size += bulk_size(s.fields[i]);
	for (size_t i = 0; i < event->nkeys; i++)
		size += bulk_size(event->keys[i]);
	if (size > cap)
		return size;

	memcpy(dst, head, head_len);
	char *at = dst + head_len;
	for (size_t i = 0; i < FIELDS; i++)
		at = put_bulk(at, s.fields[i]);
	for (size_t i = 0; i < event->nkeys; i++)
		at = put_bulk(at, event->keys[i]);
	assert((size_t)(at - dst) == size);
	return size;
}

void
hc_event_cut(struct hc_slice wire, struct hc_event_pieces *out)
{
	struct hc_slice rest = wire, bulk;
	const char *seq = NULL, *model = NULL, *epoch = NULL, *time = NULL;
	uint64_t n;
	bool whole = take_count(&rest, '*', &n);

	for (int i = 0; whole && i < FIELDS; i++) {
		seq = i == SEQ ? rest.ptr : seq;
		model = i == MODEL ? rest.ptr : model;
		epoch = i == EPOCH ? rest.ptr : epoch;
		time = i == TIME_MS ? rest.ptr : time;
		whole = take_bulk(&rest, &bulk);
	}
	assert(whole);
	out->before_seq = hc_slice(wire.ptr, (size_t)(seq - wire.ptr));
	out->before_epoch = hc_slice(model, (size_t)(epoch - model));
	out->after_epoch = hc_slice(time, (size_t)(wire.ptr + wire.len - time));
}

void
hc_event_cut_at_seq(struct hc_slice wire, struct hc_slice *before_seq, struct hc_slice *after_seq)
{
	struct hc_event_pieces pieces;

	hc_event_cut(wire, &pieces);
	const char *after = pieces.before_epoch.ptr - 2; /* with the CR LF behind the seq */
	*before_seq = hc_slice(wire.ptr, pieces.before_seq.len + 1);
	*after_seq = hc_slice(after, (size_t)(wire.ptr + wire.len - after));
}
