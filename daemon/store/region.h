/*
 * Address space for slabs: slots of one size, and apart from each a header, so that what is known
 * about a slot survives its pages and lies close to what is known about the others.
 *
 *     region (16 MiB, aligned) ── headers of all its slots │ slot │ slot │ …
 *
 * Any thread. Regions stay for the life of the process; slots not taken have no pages.
 */
#ifndef HC_STORE_REGION_H
#define HC_STORE_REGION_H

#include <stddef.h>
#include <stdint.h>

#define HC_REGION ((size_t)16 << 20)
#define HC_REGION_SLOT ((size_t)256 << 10)
#define HC_REGION_HEADER ((size_t)1088)

/* The header, zeroed, of a slot whose bytes are all zero and not in memory yet; NULL: no memory. */
void *hc_region_take(void);
/* Gives back a slot of which `touched` bytes from the beginning on may be in memory. */
void hc_region_give(void *header, size_t touched);
/* The bytes of a slot. */
char *hc_region_slot(void *header);
/* Takes the pages of [from, to) out of memory, where both are multiples of hc_region_page(); they read as zeros. */
void hc_region_purge(char *from, char *to);
/* Bytes of a page. Constant from the first slot on. */
size_t hc_region_page(void);

/* Of the slot that holds `ptr`. */
static inline void *
hc_region_header(const void *ptr)
{
	uintptr_t at = (uintptr_t)ptr;

	return (void *)((at & ~(HC_REGION - 1)) + (at % HC_REGION) / HC_REGION_SLOT * HC_REGION_HEADER);
}

#endif
