/*
 * Writers of reply elements, RESP2 and RESP3, into the caller's memory. Each writes at most HC_RESP_HEAD_MAX
 * bytes at `dst` (unless it says otherwise), adds no NUL, and returns how many it wrote. `resp` is 2 or 3.
 * Source: https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md
 */
#ifndef HC_PROTO_RESP_REPLY_H
#define HC_PROTO_RESP_REPLY_H

#include <stdint.h>
#include "proto/slice.h"

#define HC_RESP_HEAD_MAX 32

size_t hc_resp_put_int(char *dst, int64_t value);    /* :N */
size_t hc_resp_put_bulk_head(char *dst, size_t len); /* $N, the payload and CRLF follow */
/* The whole string: up to HC_RESP_HEAD_MAX bytes, its length and two more. */
size_t hc_resp_put_bulk(char *dst, struct hc_slice text);

/* The head of a bulk string, kept, since the next one is often as long: of fewer than HC_RESP_LIKE_MAX bytes. */
struct hc_resp_bulk_head {
	size_t of; /* bytes of the string; HC_RESP_LIKE_MAX at first */
	size_t len;
	char text[8];
};

#define HC_RESP_LIKE_MAX 100000 /* of more, "$N\r\n" would not fit */

void hc_resp_learn_bulk_head(struct hc_resp_bulk_head *head, size_t len);

/* hc_resp_put_bulk() of a string that is likely to be as long as the one before it. */
static inline size_t
hc_resp_put_bulk_like(char *dst, struct hc_slice text, struct hc_resp_bulk_head *last)
{
	if (__builtin_expect(text.len != last->of, 0))
		hc_resp_learn_bulk_head(last, text.len);
	memcpy(dst, last->text, sizeof(last->text)); /* what is too much is written over */
	size_t len = last->len;
	if (text.len > 0) /* an empty slice may point nowhere */
		memcpy(dst + len, text.ptr, text.len);
	len += text.len;
	memcpy(dst + len, "\r\n", 2);
	return len + 2;
}

size_t hc_resp_put_array_head(char *dst, size_t n);             /* *N */
size_t hc_resp_put_map_head(char *dst, size_t pairs, int resp); /* %N, or *2N */
size_t hc_resp_put_set_head(char *dst, size_t n, int resp);     /* ~N, or *N */
size_t hc_resp_put_push_head(char *dst, size_t n, int resp);    /* >N, or *N */
size_t hc_resp_put_null(char *dst, int resp);                   /* _ or $-1 */
size_t hc_resp_put_null_array(char *dst, int resp);             /* _ or *-1 */
size_t hc_resp_put_bool(char *dst, bool value, int resp);       /* #t or :1 */
size_t hc_resp_put_verbatim_head(
    char *dst, size_t len, const char type[3], int resp); /* =N txt: or $N; payload and CRLF follow */

/* , or a bulk string in RESP2; %.17g; inf, -inf, nan. Writes at most 64 bytes. */
size_t hc_resp_put_double(char *dst, double value, int resp);

#define HC_RESP_DOUBLE_MAX 64

/* Decimal digits of `value` without terminator, at most 20 bytes; returns their number. */
size_t hc_resp_put_digits(char *dst, int64_t value);
size_t hc_resp_put_udigits(char *dst, uint64_t value);

/*
 * A whole simple error "-<text>\r\n" of at most `cap` bytes: CR and LF in `text` become spaces, what does
 * not fit is cut. Returns the bytes written (at least 3; `cap` must be >= 3).
 */
size_t hc_resp_put_error(char *dst, size_t cap, struct hc_slice text);

/*
 * A command as a RESP array of bulks. Returns the bytes it takes; writes them when that is <= cap, else nothing.
 */
size_t hc_resp_put_command(char *dst, size_t cap, const struct hc_slice *argv, size_t argc);

#endif
