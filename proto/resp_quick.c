/*
 * The quick way through requests: what lies whole in the run and is written plainly. It stops in front of anything
 * else, which resp_request.c takes on from there. Whatever it accepts the careful way would accept too.
 */
#include <assert.h>
#include "proto/resp_internal.h"

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

#define WORD 8      /* bytes compared at once; a line of three digits has fewer */
#define ALIKE_MIN 2 /* arguments still to come, for it to be worth while to look whether they are as long as this one \
		     */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first bytes of a word are its lowest");

/* Four bytes, the first one lowest; compilers make one load of it. */
static inline uint32_t
load_le32(const char *at)
{
	const unsigned char *b = (const unsigned char *)at;

	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t
load_64(const char *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
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
	if (third <= 9 && second <= 9 && first - 1 <= 8 && hc_resp_is_crlf(at + 4)) {
		*number = first * 100 + second * 10 + third;
		return at + 6;
	}
	return NULL;
}

/*
 * Takes bulk strings that are as long as the one taken last, whose line is the `line_len` bytes at `line`: compared in
 * one word instead of being understood again. As quick_bulks() otherwise.
 */
ALWAYS_INLINE struct hc_slice *
quick_alike(
    const char **pos, const char *end, struct hc_slice *arg, struct hc_slice *stop, const char *line, size_t len)
{
	const char *at = *pos;
	size_t whole = (size_t)(at - line), line_len = whole - len - HC_RESP_CRLF_LEN;
	size_t readable = whole > WORD ? whole : WORD;
	unsigned beyond = (unsigned)(8 * (WORD - line_len)); /* bits of the word that are not the line's */

	if ((size_t)(end - line) < readable)
		return arg;
	uint64_t expected = load_64(line) << beyond;
	while (arg != stop && (size_t)(end - at) >= readable && load_64(at) << beyond == expected &&
	       hc_resp_is_crlf(at + whole - HC_RESP_CRLF_LEN)) {
		*arg++ = hc_slice(at + line_len, len);
		at += whole;
	}
	*pos = at;
	return arg;
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
		const char *line = at, *data = quick_line(at, '$', &len);
		if (!data || end - data - HC_RESP_CRLF_LEN < (ptrdiff_t)len || !hc_resp_is_crlf(data + len))
			break;
		*arg++ = hc_slice(data, len);
		at = data + len + HC_RESP_CRLF_LEN;
		if (stop - arg >= ALIKE_MIN)
			arg = quick_alike(&at, end, arg, stop, line, len);
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
	size_t name_at = (size_t)(argv[0].ptr - at), head_len = name_at + argv[0].len + HC_RESP_CRLF_LEN;

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

bool
hc_resp_quick_start(struct hc_resp_parser *p, const char *run, size_t len)
{
	struct quick quick;

	if (quick_request(p->limits, run, len, p->argv, p->args_cap, &quick)) {
		p->argc = quick.count;
		p->consumed = (size_t)(quick.at - run);
		return true;
	}
	if (quick.count > 0) {
		p->state = HC_RESP_BULK_HEAD;
		p->pos = (size_t)(quick.at - run);
		p->args_seen = (uint32_t)(quick.arg - p->argv);
		p->args_left = quick.count - p->args_seen;
	}
	return false;
}

void
hc_resp_quick_rest(struct hc_resp_parser *p, const char *run, size_t len)
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
