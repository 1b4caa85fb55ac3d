/*
 * Large blocks of memory. The kernel gives each page of one when it is first written, by a fault that costs more than
 * what is then copied into the page, and takes all of them back when it is freed. So blocks that have been freed are
 * kept for a while with their pages, up to a bound, and are the next ones: values that are replaced or evicted by
 * others about as large, and the buffers these are received in, take no page faults.
 *
 * Any thread. What is below HC_MEM_OWN_PAGES bytes is libc's at once. Under AddressSanitizer nothing is kept, so that
 * it sees who uses what has been freed.
 */
#ifndef HC_BASE_LARGE_H
#define HC_BASE_LARGE_H

#include <stdbool.h>
#include <stddef.h>

/* As hc_malloc(), which hc_realloc() and hc_free() are for, too. It may be a 32nd larger: hc_mem_footprint() tells. */
void *hc_large_alloc(size_t size) __attribute__((malloc, alloc_size(1), warn_unused_result));
/* For a buffer that is going to grow to `wanted`: *size bytes, or the more that a kept block has, which then is *size.
 */
void *hc_large_take(size_t *size, size_t wanted) __attribute__((malloc, warn_unused_result));
/* Of any block that hc_free() is for; NULL too. */
void hc_large_free(void *ptr);

/* At most so many bytes are kept: 0, none, to begin with. */
void hc_large_set_max(size_t bytes);
/* Bytes that are kept. */
size_t hc_large_kept(void);
/* Gives back what nobody has wanted since the call before. Returns whether any is kept still. */
bool hc_large_age(void);

#endif
