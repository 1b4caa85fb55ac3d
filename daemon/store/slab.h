/*
 * Memory of entries. Small ones come out of slabs, each of blocks of one size, so that they have
 * neither a header nor the rounding of the general allocator, and do not lie between large ones,
 * which would keep whole pages from being given back. Large ones come from hc_malloc().
 *
 *     region (4 MiB of address space) ── slabs of 64 KiB ── blocks of one size, a multiple of 16
 *
 * Any thread. A slab that is empty gives its pages back; regions stay for the life of the process.
 * Under the sanitizers all comes from hc_malloc(), so that they see each block.
 */
#ifndef HC_STORE_SLAB_H
#define HC_STORE_SLAB_H

#include <stddef.h>

#define HC_SLAB_BLOCK_MAX 128u

/* NULL: no memory. */
void *hc_slab_alloc(size_t size) __attribute__((malloc, alloc_size(1), warn_unused_result));
/* `size` is what it was allocated with. */
void hc_slab_free(void *ptr, size_t size);
/* Bytes that the block takes, the share of its slab's header included. */
size_t hc_slab_footprint(const void *ptr, size_t size);

#endif
