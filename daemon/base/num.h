/*
 * Numbers in text, strictly: the whole slice must be the number. No locale, no allocation.
 */
#ifndef HC_BASE_NUM_H
#define HC_BASE_NUM_H

#include <stdint.h>
#include "proto/slice.h"

/* Decimal, as Redis's string2ll takes it: optional minus, no plus, no leading zeros or spaces, no overflow. */
bool hc_num_i64(struct hc_slice text, int64_t *out);
bool hc_num_u64(struct hc_slice text, uint64_t *out);

/* ASCII, ignoring case. `word` is a NUL-terminated string in any case. */
bool hc_slice_is(struct hc_slice text, const char *word);

/* Redis's glob: * ? [a-z] [^a] \x. Bounded work on hostile patterns. */
bool hc_glob(struct hc_slice pattern, struct hc_slice text, bool ignore_case);

#endif
