/* Misses, remembered until their SET. */
#include "core/late.h"

#include "base/lock.h"
#include "base/mem.h"

#define SLOTS 32768u /* power of two: what may be computed at a time */

struct slot {
	_Atomic uint64_t hash; /* written under the lock; looked at without it first */
	uint64_t changes;
	int64_t at_ms;
	struct hc_lock lock;
	uint32_t misses; /* whose SET has not come */
};

struct hc_late {
	struct slot slots[SLOTS];
};

enum hc_status
hc_late_create(struct hc_late **out)
{
	*out = hc_calloc(1, sizeof(**out)); /* pages that nobody misses a key of are never touched */
	return *out != NULL ? HC_OK : HC_NOMEM;
}

void
hc_late_destroy(struct hc_late *late)
{
	hc_free(late);
}

static struct slot *
slot_of(struct hc_late *late, uint64_t hash)
{
	return &late->slots[hash & (SLOTS - 1)];
}

void
hc_late_missed(struct hc_late *late, uint64_t hash, uint64_t changes, int64_t now_ms)
{
	struct slot *slot = slot_of(late, hash);

	hc_lock_acquire(&slot->lock);
	bool same = atomic_load_explicit(&slot->hash, memory_order_relaxed) == hash && slot->changes == changes;
	slot->misses = same ? slot->misses + 1 : 1;
	atomic_store_explicit(&slot->hash, hash, memory_order_relaxed);
	slot->changes = changes;
	slot->at_ms = now_ms;
	hc_lock_release(&slot->lock);
}

bool
hc_late_set(struct hc_late *late, uint64_t hash, int64_t now_ms, uint64_t *changes)
{
	struct slot *slot = slot_of(late, hash);
	bool found = false;

	if (atomic_load_explicit(&slot->hash, memory_order_relaxed) != hash)
		return false;
	hc_lock_acquire(&slot->lock);
	if (atomic_load_explicit(&slot->hash, memory_order_relaxed) == hash && slot->misses > 0) {
		slot->misses--;
		*changes = slot->changes;
		found = now_ms - slot->at_ms <= HC_LATE_MS;
	}
	hc_lock_release(&slot->lock);
	return found;
}
