/*
 * A lock for what is held for nanoseconds: one word, taken and given back inline when nobody else
 * wants it; otherwise a short spin, then a futex. Smaller and cheaper than a pthread mutex, and 64
 * of them can be held at once.
 *
 * Any thread. Not recursive. A zeroed lock is a free one.
 */
#ifndef HC_BASE_LOCK_H
#define HC_BASE_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

struct hc_lock {
	_Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody may be asleep for it */
};

void hc_lock_acquire_slow(struct hc_lock *lock);
void hc_lock_wake(struct hc_lock *lock);

static inline void
hc_lock_acquire(struct hc_lock *lock)
{
	uint32_t word = 0;

	if (__builtin_expect(!atomic_compare_exchange_strong_explicit(
				 &lock->word, &word, 1, memory_order_acquire, memory_order_relaxed),
		0))
		hc_lock_acquire_slow(lock);
}

static inline void
hc_lock_release(struct hc_lock *lock)
{
	if (__builtin_expect(atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2, 0))
		hc_lock_wake(lock);
}

#endif
