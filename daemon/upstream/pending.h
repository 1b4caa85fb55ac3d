/*
 * The commands of one connection that wait for their replies, first in, first out. Entries live in
 * blocks of a page each; a few emptied blocks are kept, so that steady traffic allocates nothing
 * and a burst's memory goes back. One thread: the link's.
 *
 *     head ─→ block ─→ block ─→ block ←─ tail        spare ─→ block ─→ …
 *               ↑ first              ↑ end
 */
#ifndef HC_UPSTREAM_PENDING_H
#define HC_UPSTREAM_PENDING_H

#include <stdint.h>
#include "base/status.h"
#include "upstream/link.h"

struct hc_pending_entry {
	hc_link_reply_fn *fn; /* may be NULL */
	void *arg;
	int64_t deadline_ms; /* monotonic */
	uint32_t pushes;     /* 0: one reply answers it. Else it is answered by so many pushes */
};

struct hc_pending_block;

struct hc_pending {
	struct hc_pending_block *head;  /* owned, as is what it leads to */
	struct hc_pending_block *tail;  /* the last of them */
	struct hc_pending_block *spare; /* owned */
	uint32_t spares;
	uint32_t first; /* of head's entries */
	uint32_t end;   /* of tail's entries: where the next goes */
	uint32_t count;
};

void hc_pending_init(struct hc_pending *pending);
/* Frees the memory; entries still in it are forgotten. */
void hc_pending_fini(struct hc_pending *pending);

/* Makes room for one entry, so that the push that follows cannot fail. HC_OK or HC_NOMEM. */
enum hc_status hc_pending_reserve(struct hc_pending *pending);
/* After a successful reserve. */
void hc_pending_push(struct hc_pending *pending, const struct hc_pending_entry *entry);

/* The oldest, or NULL; it may be changed in place and stays valid until it is popped. */
struct hc_pending_entry *hc_pending_head(const struct hc_pending *pending);
/* Takes the oldest out; false when there is none. */
bool hc_pending_pop(struct hc_pending *pending, struct hc_pending_entry *out);

/* Moves all entries to `to`, which the caller has to fini; `from` is empty afterwards. */
void hc_pending_take(struct hc_pending *from, struct hc_pending *to);

#endif
