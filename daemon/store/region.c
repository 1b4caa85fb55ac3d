/*
 * Regions, cut into slots. Any thread; owns the list of slots that are not taken.
 */
#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/lock.h"
#include "base/mem.h"
#include "store/region.h"

#define SLOTS (HC_REGION / HC_REGION_SLOT)

static_assert(SLOTS * HC_REGION_HEADER <= HC_REGION_SLOT, "the headers are where the first slot would be");
static_assert(HC_REGION_HEADER % 64 == 0, "each has its cache lines to itself");

/* In the header of a slot that is not taken. */
struct vacant {
	struct vacant *next;
};

static struct {
	struct hc_lock lock;
	struct vacant *vacant;
	size_t page;
} regions;

/*
 * Aligned, whatever the kernel's choice. Never in huge pages: the first byte of a slot would bring
 * those of its neighbours into memory, and giving back one of them would give back nothing.
 */
static char *
map_region(void)
{
	char *map =
	    mmap(NULL, 2 * HC_REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	size_t before = -(uintptr_t)map & (HC_REGION - 1);
	if (before > 0)
		munmap(map, before);
	munmap(map + before + HC_REGION, HC_REGION - before);
	madvise(map + before, HC_REGION, MADV_NOHUGEPAGE);
	return map + before;
}

/* Under the lock. The headers lie where the first slot would be. */
static void
add_region(void)
{
	char *region = map_region();

	if (region == NULL)
		return;
	if (regions.page == 0)
		regions.page = (size_t)sysconf(_SC_PAGESIZE);
	for (size_t i = SLOTS - 1; i > 0; i--) {
		struct vacant *vacant = (void *)(region + i * HC_REGION_HEADER);
		vacant->next = regions.vacant;
		regions.vacant = vacant;
	}
}

void *
hc_region_take(void)
{
	hc_lock_acquire(&regions.lock);
	if (regions.vacant == NULL)
		add_region();
	struct vacant *vacant = regions.vacant;
	if (vacant != NULL)
		regions.vacant = vacant->next;
	hc_lock_release(&regions.lock);
	return vacant != NULL ? memset(vacant, 0, HC_REGION_HEADER) : NULL;
}

void
hc_region_give(void *header, size_t touched)
{
	char *slot = hc_region_slot(header);
	struct vacant *vacant = header;

	hc_region_purge(slot, slot + touched);
	hc_lock_acquire(&regions.lock);
	vacant->next = regions.vacant;
	regions.vacant = vacant;
	hc_lock_release(&regions.lock);
}

char *
hc_region_slot(void *header)
{
	uintptr_t at = (uintptr_t)header;

	return (char *)(at & ~(HC_REGION - 1)) + at % HC_REGION / HC_REGION_HEADER * HC_REGION_SLOT;
}

void
hc_region_purge(char *from, char *to)
{
	if (from < to)
		hc_mem_purge_pages(from, 0, (size_t)(to - from));
}

size_t
hc_region_page(void)
{
	return regions.page;
}
