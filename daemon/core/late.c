/* Misses, remembered until their SET: buckets of a few keys each, of which the one missed longest ago gives way. */
#include "core/late.h"

#include "base/lock.h"
#include "base/mem.h"

#define BUCKETS 8192u /* power of two */
#define WAYS 4u       /* 32768 keys in all: what may be computed at a time */

struct missed {
	uint64_t changes;
	int64_t at_ms;
	uint32_t misses; /* whose SET has not come; 0: the place is free */
};

struct bucket {
	_Atomic uint64_t hashes[WAYS]; /* written under the lock; looked at without it first */
	struct hc_lock lock;
	struct missed missed[WAYS]; /* under the lock */
};

struct hc_late {
	struct bucket buckets[BUCKETS];
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

size_t
hc_late_bytes(void)
{
	return sizeof(struct hc_late);
}

static struct bucket *
bucket_of(struct hc_late *late, uint64_t hash)
{
	return &late->buckets[hash & (BUCKETS - 1)];
}

/* WAYS when it is not there. */
static unsigned
find(struct bucket *bucket, uint64_t hash)
{
	unsigned way = 0;

	while (way < WAYS && atomic_load_explicit(&bucket->hashes[way], memory_order_relaxed) != hash)
		way++;
	return way;
}

static unsigned
make_room(const struct bucket *bucket)
{
	unsigned oldest = 0;

	for (unsigned way = 0; way < WAYS; way++) {
		if (bucket->missed[way].misses == 0)
			return way;
		if (bucket->missed[way].at_ms < bucket->missed[oldest].at_ms)
			oldest = way;
	}
	return oldest;
}

void
hc_late_missed(struct hc_late *late, uint64_t hash, uint64_t changes, int64_t now_ms)
{
	struct bucket *bucket = bucket_of(late, hash);

	hc_lock_acquire(&bucket->lock);
	unsigned way = find(bucket, hash);
	bool again = way < WAYS && bucket->missed[way].changes == changes;
	if (way == WAYS)
		way = make_room(bucket);
	struct missed *missed = &bucket->missed[way];
	*missed = (struct missed){changes, now_ms, again ? missed->misses + 1 : 1};
	atomic_store_explicit(&bucket->hashes[way], hash, memory_order_relaxed);
	hc_lock_release(&bucket->lock);
}

bool
hc_late_may_have(struct hc_late *late, uint64_t hash)
{
	return find(bucket_of(late, hash), hash) < WAYS;
}

bool
hc_late_set(struct hc_late *late, uint64_t hash, int64_t now_ms, uint64_t *changes)
{
	struct bucket *bucket = bucket_of(late, hash);
	bool found = false;

	hc_lock_acquire(&bucket->lock);
	unsigned way = find(bucket, hash);
	if (way < WAYS && bucket->missed[way].misses > 0) {
		struct missed *missed = &bucket->missed[way];
		missed->misses--;
		*changes = missed->changes;
		found = now_ms - missed->at_ms <= HC_LATE_MS;
	}
	hc_lock_release(&bucket->lock);
	return found;
}
