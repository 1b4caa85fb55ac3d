/*
 * Capped exponential back-off with jitter. Owns nothing; any thread, each with its own struct.
 */
#include "base/backoff.h"

#include <assert.h>
#include "base/hash.h"

static int64_t
doubled(int64_t ms, int64_t max_ms)
{
	return ms > max_ms / 2 ? max_ms : ms * 2;
}

void
hc_backoff_init(struct hc_backoff *backoff, int64_t min_ms, int64_t max_ms)
{
	assert(min_ms > 0 && min_ms <= max_ms);
	backoff->min_ms = min_ms;
	backoff->max_ms = max_ms;
	hc_backoff_reset(backoff);
}

int64_t
hc_backoff_next_ms(struct hc_backoff *backoff)
{
	int64_t high = backoff->ceiling_ms;
	int64_t low = high / 2 > backoff->min_ms ? high / 2 : backoff->min_ms;
	uint64_t random = 0;

	backoff->ceiling_ms = doubled(high, backoff->max_ms);
	if (hc_random(&random, sizeof(random)) != 0)
		return high; /* no jitter is better than no back-off */
	return low + (int64_t)(random % (uint64_t)(high - low + 1));
}

void
hc_backoff_reset(struct hc_backoff *backoff)
{
	backoff->ceiling_ms = doubled(backoff->min_ms, backoff->max_ms);
}
