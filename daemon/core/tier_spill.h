/* At shutdown, what memory holds goes into the log. After all workers. */
#ifndef HC_CORE_TIER_SPILL_H
#define HC_CORE_TIER_SPILL_H

#include "core/tier.h"

/* Appends all entries that the log does not have, until `until_ms` (monotonic) at the latest; logs how many. */
void hc_tier_spill(struct hc_tier *tier, int64_t until_ms, struct hc_store *store);

#endif
