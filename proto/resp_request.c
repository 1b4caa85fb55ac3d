/*
 * The request parser. Any thread may call it, one at a time for a parser; it owns nothing, all
 * memory is the caller's.
 *
 * Two ways lead through a request. The quick one takes what lies whole in the run and is written
 * plainly, which is nearly everything on a busy connection. Where it meets anything else it stops
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
#include "proto/resp_request.h"

#include <assert.h>
#include <stdio.h>

enum state {
	START,     /* between requests: nothing looked at */
	COUNT,     /* at "*N" */
	BULK_HEAD, /* at "$N" */
	BULK_DATA, /* at the first byte of an argument of bulk_len bytes */
	LINE,      /* in an inline request whose end has not been seen */
	WORDS,     /* in an inline request which ends at `scanned` */
	DONE,      /* pos is behind the request's last byte */
	DEAD,
};

/* A line that holds any 64-bit number is never too long, however small max_inline_bytes is. */
#define COUNT_LINE_MIN 32

#define CRLF_LEN 2

static inline bool
is_crlf(const char *at)
{
	return memcmp(at, "\r\n", CRLF_LEN) == 0;
}

/* The digit's value, or more than 9. */
static inline uint32_t
digit(char c)
{
	return (uint32_t)(unsigned char)c - '0';
}

/*
 * The quick way, one function in the machine's eyes: calls would cost it half as many instructions
 * more. It reads numbers of up to three digits; an argument of 1000 bytes bears the price of the
 * careful way.
 */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The shortest bulk is "$0\r\n\r\n": where an argument lies whole, a line of three digits does not
 * leave the run. */
#define BULK_MIN 6

#define SHORT_LINE_LEN 4 /* "*N\r\n" */

/* Four bytes, the first one lowest; compilers make one load of it. */
static inline uint32_t
load_le32(const char *at)
{
	const unsigned char *b = (const unsigned char *)at;

	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Moves the first byte, which is to be 0, out of the way: if it is not, the result is huge. */
static inline uint32_t
rotate(uint32_t word)
{
	return word >> 8 | word << 24;
}

/* What the first four bytes of a line have beyond `type` and the three of `zero`. When they differ in
 * digits alone, these, the first one lowest; else something larger. */
ALWAYS_INLINE uint32_t
line_less(const char *line, char type, const char *zero)
{
	const char expected[] = {type, zero[0], zero[1], zero[2]};

	return rotate(load_le32(line) - load_le32(expected));
}

/* Reads a line of `type` and a number, which may look at BULK_MIN bytes. Returns what follows it,
 * NULL when it takes care. */
ALWAYS_INLINE const char *
quick_line(const char *at, char type, uint32_t *number)
{
	*number = line_less(at, type, "0\r\n");
	if (*number <= 9)
		return at + SHORT_LINE_LEN;

	uint32_t digits = line_less(at, type, "00\r");
	uint32_t first = digits & 0xff, second = digits >> 8;
	if (second <= 9 && first - 1 <= 8 && at[4] == '\n') {
		*number = first * 10 + second;
		return at + 5;
	}
	digits = line_less(at, type, "000");
	first = digits & 0xff, second = digits >> 8 & 0xff;
	uint32_t third = digits >> 16;
	if (third <= 9 && second <= 9 && first - 1 <= 8 && is_crlf(at + 4)) {
		*number = first * 100 + second * 10 + third;
		return at + 6;
	}
	return NULL;
}

/*
 * Takes bulk strings from `*pos` on into [arg, stop) and moves `*pos` behind them; returns the
 * first slice left.
 */
ALWAYS_INLINE struct hc_slice *
quick_bulks(const char **pos, const char *end, struct hc_slice *arg, struct hc_slice *stop)
{
	const char *at = *pos;

	while (arg != stop && end - at >= BULK_MIN) {
		uint32_t len;
		const char *data = quick_line(at, '$', &len);
		if (!data || end - data - CRLF_LEN < (ptrdiff_t)len || !is_crlf(data + len))
			break;
		*arg++ = hc_slice(data, len);
		at = data + len + CRLF_LEN;
	}
	*pos = at;
	return arg;
}

/* How much of the run the quick way may enter: no more than a request or a bulk may have, so it
 * need not count. */
static inline size_t
quick_len(const struct hc_resp_limits *limits, size_t len)
{
	if (len > limits->max_request_bytes)
		len = limits->max_request_bytes;
	return len < limits->max_bulk_bytes ? len : limits->max_bulk_bytes;
}

/* How far the quick way got. */
struct quick {
	uint32_t count;       /* of arguments; 0: not even into the first line */
	struct hc_slice *arg; /* behind the last one found */
	const char *at;       /* behind its bytes */
};

/* True when the whole request was there. */
ALWAYS_INLINE bool
quick_request(const struct hc_resp_limits *limits, const char *run, size_t len, struct hc_slice *argv, uint32_t cap,
    struct quick *quick)
{
	uint32_t count;

	len = quick_len(limits, len);
	quick->count = 0;
	if (len < SHORT_LINE_LEN + BULK_MIN)
		return false;
	quick->at = quick_line(run, '*', &count);
	if (!quick->at || count == 0 || count > cap || count > limits->max_args)
		return false;
	quick->count = count;
	quick->arg = quick_bulks(&quick->at, run + len, argv, argv + count);
	return quick->arg == argv + count;
}

/*
 * What one request after the other often begins with, the same bytes each time: its count and first argument, which is
 * the command. Compared in two words instead of being understood again.
 */
struct head {
	uint64_t first, rest; /* the bytes, zeros behind them */
	uint64_t rest_mask;
	uint32_t len; /* HEAD_MIN … HEAD_MAX */
	uint32_t count;
	uint32_t name_at, name_len;
};

#define HEAD_MIN 9
#define HEAD_MAX 16

static inline uint64_t
load_64(const char *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* None: what is compared with it differs. */
static const struct head no_head = {.rest = 1};

ALWAYS_INLINE bool
has_head(const struct head *head, const char *at, size_t len)
{
	return len >= HEAD_MAX && load_64(at) == head->first && (load_64(at + 8) & head->rest_mask) == head->rest;
}

/* Of a request that has been taken. */
static void
learn_head(struct head *head, const char *at, size_t len, const struct hc_slice *argv, uint32_t count)
{
	size_t name_at = (size_t)(argv[0].ptr - at), head_len = name_at + argv[0].len + CRLF_LEN;

	*head = no_head;
	if (len < HEAD_MAX || head_len < HEAD_MIN || head_len > HEAD_MAX)
		return;
	uint64_t mask = 0;
	memset(&mask, 0xff, head_len - 8);
	*head = (struct head){.first = load_64(at),
	    .rest = load_64(at + 8) & mask,
	    .rest_mask = mask,
	    .len = (uint32_t)head_len,
	    .count = count,
	    .name_at = (uint32_t)name_at,
	    .name_len = (uint32_t)argv[0].len};
}

/* One that begins as the one before did. */
ALWAYS_INLINE bool
quick_again(
    const struct head *head, const char *run, size_t len, struct hc_slice *argv, uint32_t cap, struct quick *quick)
{
	if (head->count > cap)
		return false;
	argv[0] = hc_slice(run + head->name_at, head->name_len);
	quick->count = head->count;
	quick->at = run + head->len;
	quick->arg = quick_bulks(&quick->at, run + len, argv + 1, argv + head->count);
	return quick->arg == argv + head->count;
}

size_t
hc_resp_take(const struct hc_resp_limits *limits, const char *run, size_t len, struct hc_slice *argv, uint32_t cap,
    struct hc_resp_taken *taken, size_t max)
{
	const char *at = run, *end = run + len;
	struct head head = no_head;
	struct quick quick;
	size_t n = 0;

	for (; n < max && at < end; n++) {
		size_t left = quick_len(limits, (size_t)(end - at));
		bool again = has_head(&head, at, left);
		if (again ? !quick_again(&head, at, left, argv, cap, &quick)
			  : !quick_request(limits, at, left, argv, cap, &quick))
			break;
		if (!again && quick.at < end)
			learn_head(&head, at, left, argv, quick.count);
		at = quick.at;
		taken[n] = (struct hc_resp_taken){argv, quick.count, again, (size_t)(at - run)};
		argv += quick.count;
		cap -= quick.count;
	}
	return n;
}

/* The same for a parser. If not all was there, it stands in front of what needs care. */
ALWAYS_INLINE bool
quick_start(struct hc_resp_parser *p, const char *run, size_t len)
{
	struct quick quick;

	if (quick_request(p->limits, run, len, p->argv, p->args_cap, &quick)) {
		p->argc = quick.count;
		p->consumed = (size_t)(quick.at - run);
		return true;
	}
	if (quick.count > 0) {
		p->state = BULK_HEAD;
		p->pos = (size_t)(quick.at - run);
		p->args_seen = (uint32_t)(quick.arg - p->argv);
		p->args_left = quick.count - p->args_seen;
	}
	return false;
}

/* Takes all arguments that lie ready. */
static void
quick_rest(struct hc_resp_parser *p, const char *run, size_t len)
{
	uint32_t room = p->args_cap - p->args_seen;
	struct hc_slice *arg = p->argv + p->args_seen;
	struct hc_slice *stop = arg + (p->args_left < room ? p->args_left : room);
	const char *at = run + p->pos;

	len = quick_len(p->limits, len);
	if (len < p->pos)
		return;
	struct hc_slice *left = quick_bulks(&at, run + len, arg, stop);
	p->pos = (size_t)(at - run);
	p->args_seen += (uint32_t)(left - arg);
	p->args_left -= (uint32_t)(left - arg);
}

/* The careful way: each step returns OK when another may follow, with the state moved on */

static enum hc_resp_result
fail(struct hc_resp_parser *p, const char *what)
{
	snprintf(p->error, sizeof(p->error), "Protocol error: %s", what);
	p->state = DEAD;
	return HC_RESP_ERROR;
}

static enum hc_resp_result
fail_expected_bulk(struct hc_resp_parser *p, char got)
{
	char what[40];

	if (got >= ' ' && got <= '~')
		snprintf(what, sizeof(what), "expected '$', got '%c'", got);
	else
		snprintf(what, sizeof(what), "expected '$', got '\\x%02x'", (unsigned char)got);
	return fail(p, what);
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
		if (digit(s[i]) > 9)
			return false;
		v = v * 10 + digit(s[i]);
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
	return beyond ? fail(p, too_big) : HC_RESP_MORE;
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
		return fail(p, bad);
	p->pos = p->scanned + CRLF_LEN;
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
		return fail(p, bad);
	if (p->pos > p->limits->max_request_bytes)
		return fail(p, "request too large");
	p->args_left = count > 0 ? (uint32_t)count : 0;
	p->state = BULK_HEAD;
	return HC_RESP_OK;
}

static enum hc_resp_result
step_bulk_head(struct hc_resp_parser *p, const char *run, size_t len)
{
	static const char bad[] = "invalid bulk length";
	int64_t count;

	quick_rest(p, run, len);
	if (p->args_left == 0) {
		p->state = DONE;
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
		return fail(p, bad);
	size_t most = p->limits->max_request_bytes;
	size_t room = most > p->pos ? most - p->pos : 0;
	if (room < CRLF_LEN || (uint64_t)count > room - CRLF_LEN)
		return fail(p, "request too large");
	p->bulk_len = (size_t)count;
	p->state = BULK_DATA;
	return HC_RESP_OK;
}

static enum hc_resp_result
step_bulk_data(struct hc_resp_parser *p, const char *run, size_t len)
{
	if (len - p->pos < p->bulk_len + CRLF_LEN)
		return HC_RESP_MORE;
	if (!is_crlf(run + p->pos + p->bulk_len))
		return fail(p, "expected CRLF after bulk");
	p->argv[p->args_seen++] = hc_slice(run + p->pos, p->bulk_len);
	p->args_left--;
	p->pos += p->bulk_len + CRLF_LEN;
	p->state = BULK_HEAD;
	return HC_RESP_OK;
}

/* Inline requests: words split as Redis does it, except that a NUL is a byte as any other */

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Vertical tab and form feed separate words only when a blank went before: so does Redis. */
static bool
ends_word(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The value of a hexadecimal digit, or -1. */
static int
hex_digit(char c)
{
	if (digit(c) <= 9)
		return (int)digit(c);
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char
escaped(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'b':
		return '\b';
	case 'a':
		return '\a';
	default:
		return c;
	}
}

/* Reads one byte, or the escape sequence that stands for it, inside quotes. Returns what follows.
 */
static const char *
unescape(const char *in, const char *end, char quote, char *out)
{
	if (in[0] != '\\' || end - in < 2 || (quote == '\'' && in[1] != '\'')) {
		*out = in[0];
		return in + 1;
	}
	if (in[1] == 'x' && end - in >= 4 && hex_digit(in[2]) >= 0 && hex_digit(in[3]) >= 0) {
		*out = (char)(hex_digit(in[2]) * 16 + hex_digit(in[3]));
		return in + 4;
	}
	*out = escaped(in[1]);
	return in + 2;
}

/*
 * Takes the word at `in`, which is not blank; what its quotes stand for is written over it. Returns
 * what follows, NULL when a quote is not closed or something sticks to the closing one.
 */
static const char *
take_word(char *in, const char *end, struct hc_slice *word)
{
	const char *at = in;
	char *out = in;

	while (at < end && !ends_word(*at) && *at != '"' && *at != '\'')
		at++, out++;
	if (at < end && !ends_word(*at)) {
		char quote = *at++;
		while (at < end && *at != quote)
			at = unescape(at, end, quote, out++);
		if (at == end)
			return NULL;
		at++;
		if (at < end && !is_space(*at))
			return NULL;
	}
	*word = hc_slice(in, (size_t)(out - in));
	return at;
}

static enum hc_resp_result
step_line(struct hc_resp_parser *p, const char *run, size_t len)
{
	enum hc_resp_result found =
	    find_line_end(p, run, len, '\n', p->limits->max_inline_bytes, "too big inline request");
	if (found != HC_RESP_OK)
		return found;
	if (p->scanned >= p->limits->max_request_bytes)
		return fail(p, "request too large");
	p->state = WORDS;
	return HC_RESP_OK;
}

static bool
is_word(struct hc_slice word, const char *lower_case)
{
	size_t i = 0;

	for (; i < word.len; i++) {
		char c = word.ptr[i];
		c = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
		if (lower_case[i] == '\0' || c != lower_case[i])
			return false;
	}
	return lower_case[i] == '\0';
}

/*
 * The words of a request of HTTP, as they come. A browser made to send one to this port must not have the lines of its
 * body carried out; so the connection ends at the first line, or, as in Redis, at the "Host:" behind it.
 */
static bool
is_http(struct hc_resp_parser *p, struct hc_slice word)
{
	static const char *const methods[] = {
	    "get", "head", "put", "delete", "options", "patch", "trace", "connect", "pri"};
	static const char version[] = "HTTP/";
	size_t version_len = sizeof(version) - 1;

	if (p->args_seen == 0) {
		p->http_method = false;
		for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
			p->http_method = p->http_method || is_word(word, methods[i]);
		return is_word(word, "post") || is_word(word, "host:");
	}
	return p->args_seen == 2 && p->http_method && word.len > version_len &&
	       memcmp(word.ptr, version, version_len) == 0;
}

static enum hc_resp_result
step_words(struct hc_resp_parser *p, char *run)
{
	const char *end = run + p->scanned; /* a CR before it is a blank as any other */

	for (;;) {
		while (run + p->pos < end && is_space(run[p->pos]))
			p->pos++;
		if (run + p->pos == end)
			break;
		if (p->args_seen == p->limits->max_args)
			return fail(p, "invalid multibulk length");
		if (p->args_seen == p->args_cap)
			return HC_RESP_ARGS;
		const char *next = take_word(run + p->pos, end, &p->argv[p->args_seen]);
		if (!next)
			return fail(p, "unbalanced quotes in request");
		if (is_http(p, p->argv[p->args_seen]))
			return fail(p, "HTTP is not spoken here");
		p->args_seen++;
		p->pos = (size_t)(next - run);
	}
	p->pos++; /* the LF */
	p->state = DONE;
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
	p->state = START;
}

static enum hc_resp_result
step(struct hc_resp_parser *p, char *run, size_t len)
{
	switch ((enum state)p->state) {
	case COUNT:
		return step_count(p, run, len);
	case BULK_HEAD:
		return step_bulk_head(p, run, len);
	case BULK_DATA:
		return step_bulk_data(p, run, len);
	case LINE:
		return step_line(p, run, len);
	case WORDS:
		return step_words(p, run);
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
	while (result == HC_RESP_OK && p->state != DONE);

	if (result == HC_RESP_OK) {
		finish(p, run);
		return result;
	}
	save_args(p, run);
	p->need = p->state == BULK_DATA ? p->pos + p->bulk_len + CRLF_LEN - len : 1;
	return result;
}

enum hc_resp_result
hc_resp_parse(struct hc_resp_parser *p, char *run, size_t len)
{
	if (p->state == START) {
		if (quick_start(p, run, len))
			return HC_RESP_OK;
		if (len == 0) {
			p->need = 1;
			return HC_RESP_MORE;
		}
		if (p->state == START)
			p->state = run[0] == '*' ? COUNT : LINE;
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
	p->state = START;
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
	return p->state == START;
}
