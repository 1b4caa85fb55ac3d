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

/*
 * Floating point as Redis's INCRBYFLOAT takes and writes it: what strtold() takes, but for spaces before it, NaN, and
 * what is out of range; 17 digits behind the point, without zeros at their end. Infinity is taken, and not to be
 * written.
 */
#define HC_NUM_FLOAT_CAP 5120
bool hc_num_float(struct hc_slice text, long double *out);
/* Returns how many bytes; no NUL counts among them. */
size_t hc_num_put_float(char dst[static HC_NUM_FLOAT_CAP], long double value);

/* ASCII, ignoring case. `word` is a NUL-terminated string in any case. */
bool hc_slice_is(struct hc_slice text, const char *word);

/* Redis's glob: * ? [a-z] [^a] \x. The work is at most pattern × text, also for a hostile pattern. */
bool hc_glob(struct hc_slice pattern, struct hc_slice text, bool ignore_case);
/*
 * The same for at most *steps, which are counted down by the bytes of the pattern that were read: where they do not
 * suffice, *steps is 0 afterwards, and the result means nothing.
 */
bool hc_glob_within(struct hc_slice pattern, struct hc_slice text, bool ignore_case, uint64_t *steps);

#endif
