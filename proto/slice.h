/*
 * A run of bytes somebody else owns. Binary-safe: may hold NULs, is not terminated.
 */
#ifndef HC_PROTO_SLICE_H
#define HC_PROTO_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct hc_slice {
	const char *ptr; /* may be NULL when len is 0 */
	size_t len;      /* bytes */
};

/* A slice over a string literal. */
#define HC_SLICE(literal) ((struct hc_slice){(literal), sizeof(literal) - 1})

static inline struct hc_slice
hc_slice(const char *ptr, size_t len)
{
	return (struct hc_slice){ptr, len};
}

/* A slice over a NUL-terminated string, without its NUL. */
static inline struct hc_slice
hc_slice_str(const char *str)
{
	return (struct hc_slice){str, strlen(str)};
}

static inline bool
hc_slice_eq(struct hc_slice a, struct hc_slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* White space as isspace() has it in the C locale. */
static inline bool
hc_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Without the white space at both ends. */
static inline struct hc_slice
hc_slice_trim(struct hc_slice text)
{
	while (text.len > 0 && hc_is_space(text.ptr[0]))
		text = hc_slice(text.ptr + 1, text.len - 1);
	while (text.len > 0 && hc_is_space(text.ptr[text.len - 1]))
		text.len--;
	return text;
}

#endif
