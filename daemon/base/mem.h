/*
 * Allocation, with a switch for fault tests: after hc_mem_fail_after(n), the n-th allocation from then on
 * (and only that one) returns NULL. Any thread. Callers handle NULL; sizes given by clients fail softly.
 */
#ifndef HC_BASE_MEM_H
#define HC_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

void *hc_malloc(size_t size) __attribute__((malloc, alloc_size(1), warn_unused_result));
void *hc_calloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2), warn_unused_result));
/* Zeroed, at an address that is a multiple of `align`, a power of two. hc_free() frees it. */
void *hc_calloc_aligned(size_t align, size_t size) __attribute__((malloc, warn_unused_result));
void *hc_realloc(void *ptr, size_t size) __attribute__((alloc_size(2), warn_unused_result));
char *hc_strdup(const char *str) __attribute__((malloc, warn_unused_result));
/* A NUL-terminated copy of `len` bytes. */
char *hc_strndup(const char *ptr, size_t len) __attribute__((malloc, warn_unused_result));
void hc_free(void *ptr);

/*
 * Whole pages, zeroed: for what comes and goes in pieces of some pages, and is to be back with the kernel as soon as it
 * is given back, whatever lies between. Each time costs a system call.
 */
void *hc_mem_take_pages(size_t size) __attribute__((malloc, alloc_size(1), warn_unused_result));
/* `size` is what they were taken with. */
void hc_mem_give_pages(void *pages, size_t size);
/* The same of many, whose order this changes: those that lie next to each other in one call, up to a moderate size. */
struct hc_mem_pages {
	void *pages;
	size_t size;
};
void hc_mem_give_many_pages(struct hc_mem_pages many[], size_t n);
/* They stay, but the memory of those behind the first `used` bytes is given back: these read as zeros. */
void hc_mem_purge_pages(void *pages, size_t used, size_t size);

/* Bytes the allocator spends on `ptr`, its own header included; and those of them that may be used. */
size_t hc_mem_footprint(const void *ptr);
size_t hc_mem_usable(const void *ptr);

/*
 * For a process that keeps many blocks of many sizes for long: large ones get pages of their own,
 * which are given back at once. Once, before there are threads.
 */
void hc_mem_tune(void);
#define HC_MEM_OWN_PAGES ((size_t)32 << 10) /* how large those are, at least */
/* Gives back the pages in which nothing is allocated. Takes milliseconds. */
void hc_mem_trim(void);
/* Bytes of the process in memory; 0 when that cannot be read. */
size_t hc_mem_resident(void);

/* 0 switches the faults off. */
void hc_mem_fail_after(long n);
/* For allocators beside this one: counts as an allocation; true: it is the one to fail. */
bool hc_mem_faulty(void);

#endif
