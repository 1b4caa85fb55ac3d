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

#endif
