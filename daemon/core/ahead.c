/*
 * Fetches ahead of anybody asking: keys that a client names, and keys whose copies a sibling's write has made worthless
 * while they were being read here.
 *
 *     PREFETCH ─────────────────────────────────────────┐
 *     event → copy goes → had it been read? → mailbox ──┴→ fetch, as for a reader (who may join it)
 *
 * A copy that comes so counts as not read: until somebody reads it, the next write fetches nothing. So there is one
 * fetch for a read at most, however often a key is written.
 *
 * Any thread sends; fetches are the worker's.
 */
#include "base/mem.h"
#include "core/internal.h"

#define PREFETCHES_MAX 4096u /* of a worker, at a time */
#define REFETCHES_MAX 256u   /* that wait in mailboxes; and fetches under way beside which there are no more of them */

/* ---- for a client ---- */

struct prefetch {
	struct hc_waiter waiter;
	struct hc_core_worker *worker;
};

static void
on_prefetched(struct hc_waiter *waiter, enum hc_status status, struct hc_entry *entry, int64_t pttl)
{
	struct prefetch *prefetch = waiter->arg;

	(void)status;
	(void)entry;
	(void)pttl;
	prefetch->worker->prefetches--;
	hc_free(prefetch);
}

enum hc_status
hc_core_prefetch(struct hc_core_worker *worker, struct hc_key key)
{
	struct hc_entry *entry;

	enum hc_status status = hc_core_lookup(worker, key, HC_READ_QUIET, &entry);
	if (status == HC_OK)
		hc_entry_unref(entry);
	if (status != HC_PENDING)
		return status;
	if (worker->prefetches >= PREFETCHES_MAX)
		return HC_LIMIT;
	struct prefetch *prefetch = hc_malloc(sizeof(*prefetch));
	if (prefetch == NULL)
		return HC_NOMEM;
	*prefetch = (struct prefetch){.worker = worker, .waiter = {.fn = on_prefetched, .arg = prefetch}};
	worker->prefetches++;
	status = hc_core_fetch(worker, key, HC_READ_QUIET | HC_READ_KEEP, &prefetch->waiter);
	if (status != HC_PENDING) {
		worker->prefetches--;
		hc_free(prefetch);
	}
	return status;
}

/* ---- after an event ---- */

struct refetch {
	struct hc_message message;
	struct hc_key key; /* bytes are behind this struct */
};

static void
deliver_refetch(struct hc_message *message, void *receiver)
{
	struct refetch *refetch = (struct refetch *)message;
	struct hc_core_worker *worker = receiver;

	atomic_fetch_sub_explicit(&worker->core->refetches, 1, memory_order_relaxed);
	/* Without a link: the worker is about to go. */
	if (worker->link != NULL && worker->prefetches < REFETCHES_MAX) {
		hc_core_tick(worker);
		if (hc_core_prefetch(worker, refetch->key) == HC_PENDING)
			hc_stats_count(worker->stats, refetches);
	}
	hc_free(refetch);
}

void
hc_core_refetch(struct hc_core *core, struct hc_key key)
{
	struct hc_core_worker *worker = core->workers[(key.hash >> 32) % core->n_workers];

	if (atomic_load_explicit(&core->refetches, memory_order_relaxed) >= REFETCHES_MAX)
		return;
	struct refetch *refetch = hc_malloc(sizeof(*refetch) + key.len);
	if (refetch == NULL)
		return;
	memcpy(refetch + 1, key.ptr, key.len);
	*refetch = (struct refetch){
	    .message = {.deliver = deliver_refetch}, .key = {(const char *)(refetch + 1), key.len, key.hash}};
	atomic_fetch_add_explicit(&core->refetches, 1, memory_order_relaxed);
	hc_mailbox_send(worker->mailbox, &refetch->message);
}
