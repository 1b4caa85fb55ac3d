/*
 * How far what is kept here is believed: the lease, and what becomes suspect when it ends. Fleet only.
 *
 *     fenced ─────── lease ───────→ lapse: all is suspect     (nothing of it need be wrong)
 *        ↑                             └─ fenced again, with all that was missed made up for: what was fresh is fresh
 * again all() : all is suspect, for good: what was missed cannot be made up for
 *
 * A proof that nothing has been missed (fence.c) holds for fleet.lease from the moment at which it was asked for, by
 * this machine's own monotonic clock. Whoever comes first, a worker before it answers its clients or the main thread's
 * timer, ends the lease; so not even a main thread that hangs makes a copy be served as fresh for longer.
 *
 * Suspect is not gone: it is compared with what the upstream has when it is read (read_suspect.c), and served as it is
 * while the upstream is down, if and for as long as the settings allow.
 *
 * Any thread. Its lock is held around calls of the store and of the file tier's that take none of theirs but their own.
 */
#ifndef HC_CORE_DOUBT_H
#define HC_CORE_DOUBT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"
#include "store/store.h"

struct hc_core;
struct hc_doubt;

/*
 * At first all is suspect. What files hold from the position `trusted_from` on is fresh once it has been fenced; from
 * then on it may first have been out of date `since_ms` (monotonic).
 */
enum hc_status hc_doubt_create(struct hc_core *core, uint64_t trusted_from, int64_t since_ms, struct hc_doubt **out);
void hc_doubt_destroy(struct hc_doubt *doubt); /* NULL is fine */

/*
 * Nothing that happened before `asked_ms` (monotonic) was missed: copies may be kept, the lease begins. False: it is
 * over already.
 */
bool hc_doubt_fenced(struct hc_doubt *doubt, int64_t asked_ms);
/* Something may be missed from now on, or was: nothing is kept as fresh until it is fenced again. The lease goes on. */
void hc_doubt_unfenced(struct hc_doubt *doubt);
/* What was missed cannot be made up for. */
void hc_doubt_all(struct hc_doubt *doubt);
/* Ends the lease if its time has come. To be called before anything is answered. NULL is fine. */
void hc_doubt_check(struct hc_doubt *doubt);
/* When it ends (monotonic), INT64_MAX: it has ended. */
int64_t hc_doubt_lease_end_ms(const struct hc_doubt *doubt);
/* From which position on what files hold is, or will be once it is fenced again, fresh. */
uint64_t hc_doubt_trusted_from(struct hc_doubt *doubt);
/* The daemon ends, nobody reads any more: what a lapse alone made suspect is as good as it will be after the start. */
void hc_doubt_settle(struct hc_doubt *doubt);

/* Whether a suspect entry of memory, or a value of a file, may be served while the upstream cannot be asked. */
bool hc_doubt_serves_entry(struct hc_doubt *doubt, const struct hc_entry *entry);
bool hc_doubt_serves_file(struct hc_doubt *doubt, uint64_t position);

struct hc_doubt_status {
	bool fenced;
	int64_t for_ms;       /* it has been so */
	int64_t fence_age_ms; /* since the last successful fence was asked for; -1: never */
	uint64_t lapses;      /* leases that ended */
};
void hc_doubt_status(struct hc_doubt *doubt, struct hc_doubt_status *out);

#endif
