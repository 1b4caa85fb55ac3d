/*
 * The request parser. Any thread may call it, one at a time for a parser; it owns nothing, all
 * memory is the caller's.
 *
 * Two ways lead through a request. The quick one takes what lies whole in the run and is written
 * plainly, which is nearly everything on a busy connection (resp_quick.c). Where it meets anything else it stops
 * in front of it, and the careful one, a state machine which knows about ends of runs, limits and
 * errors, goes on from there:
 *
 *     START ─'*'─► COUNT ─► BULK_HEAD ◄─► BULK_DATA
 *       │            │          │
 *       │            ▼          ▼
 *       │          DONE ◄───────┘         (DONE becomes START before the caller sees it)
 *       │            ▲
 *       └─ else ─► LINE ─► WORDS          (any state may end in DEAD: an error was reported)
 *
 * Whatever the quick way accepts the careful one would accept too, so that results do not depend on
 * how the bytes were cut into reads.
 */
#include <assert.h>
#include <stdio.h>
#include "proto/resp_internal.h"

/* A line that holds any 64-bit number is never too long, however small max_inline_bytes is. */
#define COUNT_LINE_MIN 32

enum hc_resp_result
hc_resp_fail(struct hc_resp_parser *p, const char *what)
{
	snprintf(p->error, sizeof(p->error), "Protocol error: %s", what);
	p->state = HC_RESP_DEAD;
	return HC_RESP_ERROR;
}

/* The careful way: each step returns OK when another may follow, with the state moved on */

static enum hc_resp_result
fail_expected_bulk(struct hc_resp_parser *p, char got)
{
	char what[40];

	if (got >= ' ' && got <= '~')
		snprintf(what, sizeof(what), "expected '$', got '%c'", got);
	else
		snprintf(what, sizeof(what), "expected '$', got '\\x%02x'", (unsigned char)got);
	return hc_resp_fail(p, what);
}

/* A decimal number the way Redis reads them: no plus sign, no leading zero, no "-0", nothing around
 * it. */
static bool
parse_number(struct hc_slice text, int64_t *value)
{
	bool negative = text.len > 0 && text.ptr[0] == '-';
	const char *s = text.ptr + negative;
	size_t n = text.len - negative;
	uint64_t v = 0;

	if (n == 0 || n > 19) /* 19 digits cannot overflow v */
		return false;
	if (s[0] == '0' && (n > 1 || negative))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (hc_resp_digit(s[i]) > 9)
			return false;
		v = v * 10 + hc_resp_digit(s[i]);
	}
	if (v > (uint64_t)INT64_MAX + negative)
		return false;
	*value = negative ? -(int64_t)(v - 1) - 1 : (int64_t)v;
	return true;
}

/* Searches for the byte which ends the line at `pos`, of at most `limit` bytes before it; leaves it
 * in `scanned`. */
static enum hc_resp_result
find_line_end(struct hc_resp_parser *p, const char *run, size_t len, char mark, size_t limit, const char *too_big)
{
	size_t from = p->scanned > p->pos ? p->scanned : p->pos;
	bool beyond = len - p->pos > limit;
	size_t until = beyond ? p->pos + limit + 1 : len;
	const char *hit = from < until ? memchr(run + from, mark, until - from) : NULL;

	p->scanned = hit ? (size_t)(hit - run) : until;
	if (hit)
		return HC_RESP_OK;
	return beyond ? hc_resp_fail(p, too_big) : HC_RESP_MORE;
}

/* Reads the count line at `pos` and moves behind it. */
static enum hc_resp_result
read_count(struct hc_resp_parser *p, const char *run, size_t len, const char *too_big, const char *bad, int64_t *count)
{
	size_t limit = p->limits->max_inline_bytes;
	if (limit < COUNT_LINE_MIN)
		limit = COUNT_LINE_MIN;

	enum hc_resp_result found = find_line_end(p, run, len, '\r', limit, too_big);
	if (found != HC_RESP_OK)
		return found;
	if (p->scanned + 1 == len)
		return HC_RESP_MORE;
	size_t first = p->pos + 1; /* behind the type */
	if (run[p->scanned + 1] != '\n' || !parse_number(hc_slice(run + first, p->scanned - first), count))
		return hc_resp_fail(p, bad);
	p->pos = p->scanned + HC_RESP_CRLF_LEN;
	return HC_RESP_OK;
}

static enum hc_resp_result
step_count(struct hc_resp_parser *p, const char *run, size_t len)
{
	static const char bad[] = "invalid multibulk length";
	int64_t count;

	enum hc_resp_result read = read_count(p, run, len, "too big mbulk count string", bad, &count);
	if (read != HC_RESP_OK)
		return read;
	if (count > (int64_t)p->limits->max_args)
		return hc_resp_fail(p, bad);
	if (p->pos > p->limits->max_request_bytes)
		return hc_resp_fail(p, "request too large");
	p->args_left = count > 0 ? (uint32_t)count : 0;
	p->state = HC_RESP_BULK_HEAD;
	return HC_RESP_OK;
}

static enum hc_resp_result
step_bulk_head(struct hc_resp_parser *p, const char *run, size_t len)
{
	static const char bad[] = "invalid bulk length";
	int64_t count;

	hc_resp_quick_rest(p, run, len);
	if (p->args_left == 0) {
		p->state = HC_RESP_DONE;
		return HC_RESP_OK;
	}
	if (p->pos == len)
		return HC_RESP_MORE;
	if (run[p->pos] != '$')
		return fail_expected_bulk(p, run[p->pos]);
	if (p->args_seen == p->args_cap)
		return HC_RESP_ARGS;

	enum hc_resp_result read = read_count(p, run, len, "too big bulk count string", bad, &count);
	if (read != HC_RESP_OK)
		return read;
	if (count < 0 || (uint64_t)count > p->limits->max_bulk_bytes)
		return hc_resp_fail(p, bad);
	size_t most = p->limits->max_request_bytes;
	size_t room = most > p->pos ? most - p->pos : 0;
	if (room < HC_RESP_CRLF_LEN || (uint64_t)count > room - HC_RESP_CRLF_LEN)
		return hc_resp_fail(p, "request too large");
	p->bulk_len = (size_t)count;
	p->state = HC_RESP_BULK_DATA;
	return HC_RESP_OK;
}

static enum hc_resp_result
step_bulk_data(struct hc_resp_parser *p, const char *run, size_t len)
{
	if (len - p->pos < p->bulk_len + HC_RESP_CRLF_LEN)
		return HC_RESP_MORE;
	if (!hc_resp_is_crlf(run + p->pos + p->bulk_len))
		return hc_resp_fail(p, "expected CRLF after bulk");
	p->argv[p->args_seen++] = hc_slice(run + p->pos, p->bulk_len);
	p->args_left--;
	p->pos += p->bulk_len + HC_RESP_CRLF_LEN;
	p->state = HC_RESP_BULK_HEAD;
	return HC_RESP_OK;
}

static enum hc_resp_result
step_line(struct hc_resp_parser *p, const char *run, size_t len)
{
	enum hc_resp_result found =
	    find_line_end(p, run, len, '\n', p->limits->max_inline_bytes, "too big inline request");
	if (found != HC_RESP_OK)
		return found;
	if (p->scanned >= p->limits->max_request_bytes)
		return hc_resp_fail(p, "request too large");
	p->state = HC_RESP_WORDS;
	return HC_RESP_OK;
}

/* Makes the arguments found in this call outlive it: by the next one the run may have moved. */
static void
save_args(struct hc_resp_parser *p, const char *run)
{
	for (uint32_t i = p->args_saved; i < p->args_seen; i++)
		p->argv[i].ptr = (const char *)(uintptr_t)(p->argv[i].ptr - run);
	p->args_saved = p->args_seen;
}

static void
finish(struct hc_resp_parser *p, const char *run)
{
	for (uint32_t i = 0; i < p->args_saved; i++)
		p->argv[i].ptr = run + (uintptr_t)p->argv[i].ptr;
	p->argc = p->args_seen;
	p->consumed = p->pos;
	p->args_seen = p->args_saved = 0;
	p->pos = p->scanned = 0;
	p->state = HC_RESP_START;
}

static enum hc_resp_result
step(struct hc_resp_parser *p, char *run, size_t len)
{
	switch ((enum hc_resp_state)p->state) {
	case HC_RESP_COUNT:
		return step_count(p, run, len);
	case HC_RESP_BULK_HEAD:
		return step_bulk_head(p, run, len);
	case HC_RESP_BULK_DATA:
		return step_bulk_data(p, run, len);
	case HC_RESP_LINE:
		return step_line(p, run, len);
	case HC_RESP_WORDS:
		return hc_resp_step_words(p, run);
	default:
		return HC_RESP_ERROR; /* DEAD: `error` still says why */
	}
}

/* Kept out of the quick way's frame. */
static __attribute__((noinline)) enum hc_resp_result
parse_on(struct hc_resp_parser *p, char *run, size_t len)
{
	enum hc_resp_result result;

	assert(len >= p->pos);
	do
		result = step(p, run, len);
	while (result == HC_RESP_OK && p->state != HC_RESP_DONE);

	if (result == HC_RESP_OK) {
		finish(p, run);
		return result;
	}
	save_args(p, run);
	p->need = p->state == HC_RESP_BULK_DATA ? p->pos + p->bulk_len + HC_RESP_CRLF_LEN - len : 1;
	return result;
}

enum hc_resp_result
hc_resp_parse(struct hc_resp_parser *p, char *run, size_t len)
{
	if (p->state == HC_RESP_START) {
		if (hc_resp_quick_start(p, run, len))
			return HC_RESP_OK;
		if (len == 0) {
			p->need = 1;
			return HC_RESP_MORE;
		}
		if (p->state == HC_RESP_START)
			p->state = run[0] == '*' ? HC_RESP_COUNT : HC_RESP_LINE;
	}
	return parse_on(p, run, len);
}

void
hc_resp_parser_init(struct hc_resp_parser *p, const struct hc_resp_limits *limits, struct hc_slice *argv, uint32_t cap)
{
	assert(cap >= 1);
	memset(p, 0, sizeof(*p));
	p->limits = limits;
	p->argv = argv;
	p->args_cap = cap;
	p->state = HC_RESP_START;
}

void
hc_resp_parser_args(struct hc_resp_parser *p, struct hc_slice *argv, uint32_t cap)
{
	assert(cap > p->args_seen);
	p->argv = argv;
	p->args_cap = cap;
}

bool
hc_resp_parser_idle(const struct hc_resp_parser *p)
{
	return p->state == HC_RESP_START;
}
