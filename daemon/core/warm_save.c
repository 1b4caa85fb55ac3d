/* The list of what memory held, hottest first, for the next start; see warm.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "core/internal.h"
#include "core/warm.h"
#include "core/warm_list.h"

#define PAGE 1000

struct ranked {
	struct hc_entry *entry; /* with a reference */
	uint64_t rank;          /* higher: hotter */
};

struct ranking {
	struct ranked *items;
	size_t n, cap;
};

/* What eviction thinks of it first, then how often it was read, then how lately. */
static uint64_t
rank_of(const struct hc_entry *entry, int64_t now_ms)
{
	uint64_t is_main = (hc_entry_state(entry) & HC_ENTRY_MAIN) != 0;

	return (hc_entry_hotness(entry) * 2 + is_main) << 40 | (uint64_t)hc_entry_hits(entry) << 32 |
	       (UINT32_MAX - hc_entry_idle_s(entry, now_ms));
}

static int
compare_ranks(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	return (x->rank < y->rank) - (x->rank > y->rank);
}

/* Takes the list's references over. */
static enum hc_status
take_page(struct ranking *ranking, struct hc_entry_list *page, int64_t now_ms)
{
	if (ranking->n + page->n > ranking->cap) {
		size_t cap = ranking->cap * 2 + page->n;
		struct ranked *items = hc_realloc(ranking->items, cap * sizeof(*items));
		if (items == NULL)
			return HC_NOMEM;
		ranking->items = items;
		ranking->cap = cap;
	}
	for (size_t i = 0; i < page->n; i++)
		ranking->items[ranking->n++] = (struct ranked){page->items[i], rank_of(page->items[i], now_ms)};
	page->n = 0;
	return HC_OK;
}

static enum hc_status
rank_all(struct hc_core *core, struct ranking *ranking)
{
	int64_t now_ms = hc_clock_wall_ms();
	uint64_t cursor = 0;
	enum hc_status status;

	do {
		struct hc_entry_list page = {0};
		status = hc_store_scan(core->store, &cursor, PAGE, now_ms, &page);
		if (status == HC_OK)
			status = take_page(ranking, &page, now_ms);
		hc_entry_list_fini(&page);
	} while (status == HC_OK && cursor != 0);
	if (ranking->n > 1)
		qsort(ranking->items, ranking->n, sizeof(*ranking->items), compare_ranks);
	return status;
}

/* As many as may be read back. */
static void
write_keys(FILE *to, const struct ranking *ranking, uint64_t budget)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < ranking->n && bytes < budget; i++) {
		hc_warm_list_put(to, hc_entry_key(ranking->items[i].entry));
		bytes += hc_entry_footprint(ranking->items[i].entry);
	}
}

/* Under another name first: a list is whole, or the one before. */
static enum hc_status
write_file(const struct ranking *ranking, const char *dir, uint64_t budget)
{
	char path[4096], temporary[4096 + 8];

	snprintf(path, sizeof(path), "%s/%s", dir, HC_WARM_LIST_NAME);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	mode_t mask = umask(077);
	FILE *to = fopen(temporary, "we");
	umask(mask);
	if (to == NULL)
		return HC_ERROR;
	write_keys(to, ranking, budget);
	bool failed = ferror(to) != 0;
	if (fclose(to) != 0 || failed || rename(temporary, path) != 0) {
		int error = errno;
		(void)unlink(temporary);
		errno = error;
		return HC_ERROR;
	}
	return HC_OK;
}

enum hc_status
hc_warm_save(struct hc_core *core, const char *dir)
{
	const struct hc_settings *settings = core->settings;
	struct ranking ranking = {0};

	enum hc_status status = rank_all(core, &ranking);
	if (status == HC_OK)
		status =
		    write_file(&ranking, dir, (uint64_t)(settings->memory_max_bytes / 100 * settings->warmup_share));
	for (size_t i = 0; i < ranking.n; i++)
		hc_entry_unref(ranking.items[i].entry);
	hc_free(ranking.items);
	return status;
}
