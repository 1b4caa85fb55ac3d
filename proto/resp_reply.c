/*
 * Writers of reply elements and of commands. Pure functions, for any thread; they own nothing.
 */
#include "proto/resp_reply.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

static size_t
count_digits(uint64_t value)
{
	size_t n = 1;

	for (; value >= 10000; value /= 10000)
		n += 4;
	return n + (value >= 10) + (value >= 100) + (value >= 1000);
}

size_t
hc_resp_put_udigits(char *dst, uint64_t value)
{
	size_t len = count_digits(value);
	char *at = dst + len;

	do {
		*--at = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	return len;
}

size_t
hc_resp_put_digits(char *dst, int64_t value)
{
	if (value >= 0)
		return hc_resp_put_udigits(dst, (uint64_t)value);
	*dst = '-';
	return 1 + hc_resp_put_udigits(dst + 1, 0 - (uint64_t)value); /* INT64_MIN has no positive twin */
}

static size_t
put_crlf(char *dst)
{
	memcpy(dst, "\r\n", 2);
	return 2;
}

static size_t
put_text(char *dst, struct hc_slice text)
{
	if (text.len > 0) /* an empty slice may point nowhere */
		memcpy(dst, text.ptr, text.len);
	return text.len;
}

static size_t
put_head(char *dst, char type, size_t n)
{
	size_t len = 1;

	dst[0] = type;
	if (n < 100) { /* as most are: without a loop or a call */
		if (n >= 10)
			dst[len++] = (char)('0' + n / 10);
		dst[len++] = (char)('0' + n % 10);
		return len + put_crlf(dst + len);
	}
	len += hc_resp_put_udigits(dst + len, n);
	return len + put_crlf(dst + len);
}

size_t
hc_resp_put_int(char *dst, int64_t value)
{
	size_t len = 1;

	dst[0] = ':';
	len += hc_resp_put_digits(dst + len, value);
	return len + put_crlf(dst + len);
}

size_t
hc_resp_put_bulk_head(char *dst, size_t len)
{
	return put_head(dst, '$', len);
}

size_t
hc_resp_put_bulk(char *dst, struct hc_slice text)
{
	size_t len = put_head(dst, '$', text.len);

	len += put_text(dst + len, text);
	return len + put_crlf(dst + len);
}

void
hc_resp_learn_bulk_head(struct hc_resp_bulk_head *head, size_t len)
{
	assert(len < HC_RESP_LIKE_MAX);
	head->of = len;
	head->len = put_head(head->text, '$', len);
}

size_t
hc_resp_put_array_head(char *dst, size_t n)
{
	return put_head(dst, '*', n);
}

size_t
hc_resp_put_map_head(char *dst, size_t pairs, int resp)
{
	return resp >= 3 ? put_head(dst, '%', pairs) : put_head(dst, '*', 2 * pairs);
}

size_t
hc_resp_put_set_head(char *dst, size_t n, int resp)
{
	return put_head(dst, resp >= 3 ? '~' : '*', n);
}

size_t
hc_resp_put_push_head(char *dst, size_t n, int resp)
{
	return put_head(dst, resp >= 3 ? '>' : '*', n);
}

size_t
hc_resp_put_null(char *dst, int resp)
{
	return put_text(dst, resp >= 3 ? HC_SLICE("_\r\n") : HC_SLICE("$-1\r\n"));
}

size_t
hc_resp_put_null_array(char *dst, int resp)
{
	return put_text(dst, resp >= 3 ? HC_SLICE("_\r\n") : HC_SLICE("*-1\r\n"));
}

size_t
hc_resp_put_bool(char *dst, bool value, int resp)
{
	if (resp >= 3)
		return put_text(dst, value ? HC_SLICE("#t\r\n") : HC_SLICE("#f\r\n"));
	return put_text(dst, value ? HC_SLICE(":1\r\n") : HC_SLICE(":0\r\n"));
}

size_t
hc_resp_put_verbatim_head(char *dst, size_t len, const char type[3], int resp)
{
	if (resp < 3)
		return hc_resp_put_bulk_head(dst, len);
	size_t n = put_head(dst, '=', len + 4); /* the type and its colon count */
	memcpy(dst + n, type, 3);
	dst[n + 3] = ':';
	return n + 4;
}

/* The text of a double; neither sign nor payload of a NaN shows. Room for 32 bytes. */
static struct hc_slice
double_text(char *buf, double value)
{
	if (isnan(value))
		return HC_SLICE("nan");
	if (isinf(value))
		return value > 0 ? HC_SLICE("inf") : HC_SLICE("-inf");
	int n = snprintf(buf, 32, "%.17g", value); /* at most 24, as in -2.2250738585072014e-308 */
	return hc_slice(buf, (size_t)n);
}

size_t
hc_resp_put_double(char *dst, double value, int resp)
{
	char buf[32];
	struct hc_slice text = double_text(buf, value);
	size_t len = 0;

	if (resp >= 3)
		dst[len++] = ',';
	else
		len = hc_resp_put_bulk_head(dst, text.len);
	len += put_text(dst + len, text);
	return len + put_crlf(dst + len);
}

size_t
hc_resp_put_error(char *dst, size_t cap, struct hc_slice text)
{
	size_t room = cap - 3;
	size_t len = text.len < room ? text.len : room;

	assert(cap >= 3);
	dst[0] = '-';
	for (size_t i = 0; i < len; i++) {
		char c = text.ptr[i];
		dst[1 + i] = c == '\r' || c == '\n' ? ' ' : c;
	}
	return 1 + len + put_crlf(dst + 1 + len);
}

size_t
hc_resp_put_command(char *dst, size_t cap, const struct hc_slice *argv, size_t argc)
{
	size_t size = 1 + count_digits(argc) + 2;

	for (size_t i = 0; i < argc; i++)
		size += 1 + count_digits(argv[i].len) + 2 + argv[i].len + 2;
	if (size > cap)
		return size;

	char *at = dst;
	at += hc_resp_put_array_head(at, argc);
	for (size_t i = 0; i < argc; i++) {
		at += hc_resp_put_bulk_head(at, argv[i].len);
		at += put_text(at, argv[i]);
		at += put_crlf(at);
	}
	assert((size_t)(at - dst) == size);
	return size;
}
