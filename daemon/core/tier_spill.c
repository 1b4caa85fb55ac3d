/* What memory holds, into the log; see tier_spill.h. The thread that ends the daemon. */
#include "core/tier_spill.h"

#include <inttypes.h>
#include <pthread.h>
#include "base/clock.h"
#include "base/log.h"

#define PAGE 1000

struct room {
	struct hc_file_waiter waiter;
	pthread_mutex_t lock;
	pthread_cond_t come;
	bool there;
};

static void
on_room(struct hc_file_waiter *waiter)
{
	struct room *room = (struct room *)waiter;

	pthread_mutex_lock(&room->lock);
	room->there = true;
	pthread_cond_signal(&room->come);
	pthread_mutex_unlock(&room->lock);
}

/* The writer always gets on, be it that the tier is off: nobody has to wait for long. */
static void
wait_for_room(struct hc_file *file)
{
	struct room room = {
	    .waiter = {.fn = on_room}, .lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};

	if (hc_file_wait_room(file, &room.waiter) != HC_PENDING)
		return;
	pthread_mutex_lock(&room.lock);
	while (!room.there)
		pthread_cond_wait(&room.come, &room.lock);
	pthread_mutex_unlock(&room.lock);
}

static void
spill(struct hc_tier *tier, struct hc_entry *entry)
{
	struct hc_file *file = hc_tier_file(tier);
	uint64_t bytes = hc_file_record_bytes(hc_entry_key(entry).len, hc_entry_value_len(entry));

	while (!hc_file_claim(file, 1, bytes))
		wait_for_room(file);
	(void)hc_tier_append(tier, entry);
	hc_file_unclaim(file, 1, bytes);
}

void
hc_tier_spill(struct hc_tier *tier, int64_t until_ms, struct hc_store *store)
{
	int64_t now_ms = hc_clock_wall_ms(), began_ms = hc_clock_mono_ms();
	uint64_t cursor = 0, n = 0, seen = 0;
	bool late = false;

	do {
		struct hc_entry_list page = {0};
		if (hc_store_scan(store, &cursor, PAGE, now_ms, &page) != HC_OK)
			cursor = 0;
		for (size_t i = 0; i < page.n && !late; i++, seen++) {
			if (hc_file_find(hc_tier_file(tier), hc_entry_key(page.items[i]), now_ms, NULL) == HC_OK)
				continue;
			spill(tier, page.items[i]);
			n++;
		}
		hc_entry_list_fini(&page);
		late = hc_clock_mono_ms() >= until_ms;
	} while (cursor != 0 && !late);
	hc_log(late ? HC_LOG_WARN : HC_LOG_INFO, late ? "spill_late" : "spilled",
	    "entries=%" PRIu64 " seen=%" PRIu64 " ms=%" PRId64, n, seen, hc_clock_mono_ms() - began_ms);
}
