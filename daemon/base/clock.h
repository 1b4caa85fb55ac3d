/*
 * Time. Wall time decides expiry (as in Redis); monotonic time everything else. Tests may freeze either.
 */
#ifndef HC_BASE_CLOCK_H
#define HC_BASE_CLOCK_H

#include <stdint.h>

#define HC_NO_EXPIRY INT64_MAX /* expire_ms of an entry that does not expire */

int64_t hc_clock_wall_ms(void);
int64_t hc_clock_wall_us(void);
int64_t hc_clock_mono_ms(void);
int64_t hc_clock_mono_us(void);
/* Monotonic as of the kernel's last tick, up to 10 ms ago, at a fraction of the cost: for what lasts minutes. */
int64_t hc_clock_mono_coarse_ms(void);
/* What the calling thread has had of a processor: for budgets that being held up does not use up. A system call. */
int64_t hc_clock_cpu_us(void);

/* For tests: both clocks stand `ms` further on than the real ones. Any thread. */
void hc_clock_advance(int64_t ms);

#endif
