/*
 * Allocation on top of libc's, with a switch for fault tests. Any thread; owns the fault counter.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/mem.h"

#define CHUNK_HEADER sizeof(size_t) /* what glibc keeps in front of each block */

/* Allocations left until the one that fails; 0 or less: none will. */
static _Atomic long fail_after;

bool
hc_mem_faulty(void)
{
	if (atomic_load_explicit(&fail_after, memory_order_relaxed) <= 0)
		return false;
	return atomic_fetch_sub_explicit(&fail_after, 1, memory_order_relaxed) == 1;
}

void *
hc_malloc(size_t size)
{
	return hc_mem_faulty() ? NULL : malloc(size);
}

void *
hc_calloc(size_t n, size_t size)
{
	return hc_mem_faulty() ? NULL : calloc(n, size);
}

void *
hc_calloc_aligned(size_t align, size_t size)
{
	void *ptr;

	if (hc_mem_faulty() || posix_memalign(&ptr, align, size) != 0)
		return NULL;
	return memset(ptr, 0, size);
}

void *
hc_realloc(void *ptr, size_t size)
{
	return hc_mem_faulty() ? NULL : realloc(ptr, size);
}

char *
hc_strdup(const char *str)
{
	return hc_strndup(str, strlen(str));
}

char *
hc_strndup(const char *ptr, size_t len)
{
	if (len == SIZE_MAX)
		return NULL;
	char *copy = hc_malloc(len + 1);
	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, ptr, len);
	copy[len] = '\0';
	return copy;
}

void
hc_free(void *ptr)
{
	free(ptr);
}

void *
hc_mem_take_pages(size_t size)
{
	void *pages = MAP_FAILED;

	if (!hc_mem_faulty())
		pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return pages != MAP_FAILED ? pages : NULL;
}

void
hc_mem_give_pages(void *pages, size_t size)
{
	/* It fails where it would leave the process with more mappings than it may have: then the addresses are lost.
	 */
	if (pages != NULL && munmap(pages, size) != 0)
		(void)madvise(pages, size, MADV_DONTNEED);
}

/* Others may have to wait for one call: about a tenth of a millisecond. */
#define GIVE_MAX ((size_t)1 << 20)

static int
by_address(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct hc_mem_pages *)a)->pages;
	uintptr_t y = (uintptr_t)((const struct hc_mem_pages *)b)->pages;

	return x < y ? -1 : x > y;
}

void
hc_mem_give_many_pages(struct hc_mem_pages many[], size_t n)
{
	qsort(many, n, sizeof(*many), by_address);
	for (size_t i = 0; i < n;) {
		char *from = many[i].pages;
		size_t size = 0;
		while (i < n && many[i].pages == from + size && (size == 0 || size + many[i].size <= GIVE_MAX))
			size += many[i++].size;
		hc_mem_give_pages(from, size);
	}
}

void
hc_mem_purge_pages(void *pages, size_t used, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), from = (used + page - 1) / page * page;

	/* Where it fails (locked memory), they stay in memory and have to be zeroed. */
	if (from < size && madvise((char *)pages + from, size - from, MADV_DONTNEED) != 0)
		memset((char *)pages + from, 0, size - from);
}

size_t
hc_mem_usable(const void *ptr)
{
	/* Older declarations take a plain pointer; nothing is written through it. */
	return malloc_usable_size((void *)(uintptr_t)ptr);
}

size_t
hc_mem_footprint(const void *ptr)
{
	return ptr == NULL ? 0 : hc_mem_usable(ptr) + CHUNK_HEADER;
}

#define MMAP_MAX 32768 /* half of what the kernel allows a process by default (vm.max_map_count) */

void
hc_mem_tune(void)
{
	mallopt(M_MMAP_THRESHOLD, (int)HC_MEM_OWN_PAGES);
	mallopt(M_MMAP_MAX, MMAP_MAX);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

void
hc_mem_trim(void)
{
	malloc_trim(0);
}

size_t
hc_mem_resident(void)
{
	char text[64] = "";
	unsigned long total, resident = 0;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) <= 0 || sscanf(text, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	close(fd);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

void
hc_mem_fail_after(long n)
{
	atomic_store_explicit(&fail_after, n, memory_order_relaxed);
}
