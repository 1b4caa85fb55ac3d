/*
 * The contended side of the lock. Any thread; owns nothing.
 */
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/lock.h"

/* What it protects is held for some hundred nanoseconds: worth a wait of about that before going to sleep. */
#define SPINS 100

static void
pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

void
hc_lock_acquire_slow(struct hc_lock *lock)
{
	for (int i = 0; i < SPINS; i++) {
		uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
		if (word == 0 && atomic_compare_exchange_strong_explicit(
				     &lock->word, &word, 1, memory_order_acquire, memory_order_relaxed))
			return;
		pause_cpu();
	}
	/* From here on the word says 2 while we hold it too: others may sleep, we cannot know. */
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
		syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

void
hc_lock_wake(struct hc_lock *lock)
{
	syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
