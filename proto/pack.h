/*
 * MessagePack, as much of it as goes to a script: strings and numbers, end to end, for cmsgpack.unpack() to make as
 * many values of. (Source: https://github.com/msgpack/msgpack/blob/master/spec.md; strings in the forms that its first
 * version had, too, which all decoders know.) Caller's memory; each returns what it takes or took.
 */
#ifndef HC_PROTO_PACK_H
#define HC_PROTO_PACK_H

#include <stdint.h>
#include "proto/slice.h"

#define HC_PACK_NUMBER 9   /* bytes */
#define HC_PACK_HEAD_MAX 5 /* beside a string's own */

static inline size_t
hc_pack_size(struct hc_slice text)
{
	return (text.len < 32 ? 1 : text.len < 65536 ? 3 : 5) + text.len;
}

/* hc_pack_size() bytes; up to 4 GiB. */
static inline size_t
hc_pack_string(char *dst, struct hc_slice text)
{
	size_t len = text.len, head = 0;

	if (len < 32) {
		dst[head++] = (char)(0xa0 | len);
	} else {
		dst[head++] = (char)(len < 65536 ? 0xda : 0xdb);
		for (int shift = len < 65536 ? 8 : 24; shift >= 0; shift -= 8)
			dst[head++] = (char)(len >> shift);
	}
	if (len > 0)
		memcpy(dst + head, text.ptr, len);
	return head + len;
}

/* HC_PACK_NUMBER bytes. To Lua it is a double, so that beyond 2^53 not each number is one. */
static inline size_t
hc_pack_number(char *dst, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	*dst++ = (char)0xcb;
	for (int shift = 56; shift >= 0; shift -= 8)
		*dst++ = (char)(bits >> shift);
	return HC_PACK_NUMBER;
}

#endif
