/*
 * Warming: after a start, what was hottest at the last shutdown is read back into memory, and what a file of the
 * operator's names; hottest first, throttled, up to a share of memory.
 *
 *     shutdown: memory ─ sorted by how often it was read ─→ DIR/warm.keys
 *     start:    warmup.keys_file, then DIR/warm.keys ─→ worker 0 ─→ fetches, as PREFETCH does
 *
 * The files are lines, one key each; bytes that are not printable ASCII, and backslashes, are \xHH.
 */
#ifndef HC_CORE_WARM_H
#define HC_CORE_WARM_H

#include "core/core.h"

struct hc_warm;

enum hc_warm_state { HC_WARM_OFF, HC_WARM_WAITING, HC_WARM_RUNNING, HC_WARM_DONE };

/* What there is to know of it; any thread. */
struct hc_warm_status {
	enum hc_warm_state state;
	uint64_t keys;   /* listed */
	uint64_t tried;  /* of them, so far */
	uint64_t loaded; /* of these, now in memory */
	uint64_t bytes;  /* of their values */
};

/*
 * Reads the lists; `dir` may be NULL. Before the workers run. *out is NULL when there is nothing to do. HC_NOMEM. A
 * file that cannot be read is logged and counts as empty.
 */
enum hc_status hc_warm_create(struct hc_core *core, const char *dir, struct hc_warm **out);
void hc_warm_destroy(struct hc_warm *warm);
/* On the worker's thread, which does the work from then on; NULL is fine. */
void hc_warm_start(struct hc_warm *warm, struct hc_core_worker *worker, struct event_base *base);
/* On that thread, before the worker is destroyed. */
void hc_warm_stop(struct hc_warm *warm);
void hc_warm_status(const struct hc_warm *warm, struct hc_warm_status *out);

/* At shutdown, when nobody changes the store any more: writes DIR/warm.keys. HC_ERROR (errno), HC_NOMEM. */
enum hc_status hc_warm_save(struct hc_core *core, const char *dir);

#endif
