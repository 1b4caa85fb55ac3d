/*
 * How often commands were called, and what became of it: INFO commandstats. Each worker counts in a tally of its own,
 * which has a row for each of the table's and one for what is passed on to the upstream; readers sum over all.
 *
 * A call is counted when its handler is about to run, within EXEC too. `rejected` are those that never came so far
 * (wrong number of arguments, no password given); `failed` those whose handler replied with an error. `usec` is what
 * the watch of slow.h measures: for commands that it times together, all of it goes to the last of them; of one that
 * waits, the time until its reply is there. It stays as it is while SLOWLOG is off.
 *
 * Counting is for the tally's worker; everything else for any thread.
 */
#ifndef HC_COMMAND_TALLY_H
#define HC_COMMAND_TALLY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

struct hc_command;

struct hc_tally_row {
	_Atomic uint64_t calls, usec, rejected, failed;
};

struct hc_tally;

enum hc_status hc_tally_create(struct hc_tally **out);
void hc_tally_destroy(struct hc_tally *tally);

/* Its rows, by a command's `row`. */
struct hc_tally_row *hc_tally_rows(struct hc_tally *tally);

/* One writer: no locked instruction. */
static inline void
hc_tally_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

struct hc_tally_sum {
	uint64_t calls, usec, rejected, failed;
};

/* Of all workers since the start or the last reset. */
struct hc_tally_sum hc_tally_sum(const struct hc_command *command);
/* CONFIG RESETSTAT. */
void hc_tally_reset(void);

#endif
