/*
 * What the fuzz targets share: the entry point they all define, and a check that ends the program.
 */
#ifndef HC_TESTS_FUZZ_H
#define HC_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "proto/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                           \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

/* A copy in memory of exactly its size, so that a read past its end is seen. */
static inline char *
fuzz_copy(struct hc_slice bytes)
{
	char *copy = malloc(bytes.len > 0 ? bytes.len : 1);

	FUZZ_CHECK(copy);
	if (bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	return copy;
}

/* True when `part` lies in `whole`. */
static inline bool
fuzz_inside(struct hc_slice part, struct hc_slice whole)
{
	return part.ptr >= whole.ptr && part.len <= whole.len && (size_t)(part.ptr - whole.ptr) <= whole.len - part.len;
}

#endif
