/*
 * How long to wait before trying again: a range that doubles from `min_ms` to `max_ms`, with the
 * delay drawn at random from it, so that a fleet that lost the same server does not come back to it
 * in step. Not thread-safe: each user has its own.
 */
#ifndef HC_BASE_BACKOFF_H
#define HC_BASE_BACKOFF_H

#include <stdint.h>

struct hc_backoff {
	int64_t min_ms;
	int64_t max_ms;
	int64_t ceiling_ms; /* the next delay is at most this */
};

/* 0 < min_ms <= max_ms. */
void hc_backoff_init(struct hc_backoff *backoff, int64_t min_ms, int64_t max_ms);

/* The n-th delay since init or reset lies in [min * 2^(n-1), min * 2^n], or in [max / 2, max] once
 * that is less. */
int64_t hc_backoff_next_ms(struct hc_backoff *backoff);

/* After a success: the next delay is the least again. */
void hc_backoff_reset(struct hc_backoff *backoff);

#endif
