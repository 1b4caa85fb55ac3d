/*
 * How far in the fleet's sequence of changes the files of this daemon are: kept with their log, so that after a restart
 * what was missed can be replayed and the rest is as good as before. Without files there is nothing, and all calls do
 * nothing.
 *
 * What is said to have been heard must be in the log already: "everything up to change 7 is taken into account" may
 * only be found where the deletion that change 7 asked for is found too. So what is told here is written down once the
 * log has been written up to where it was then.
 *
 * Main thread, but for hc_saved_forget(): any.
 */
#ifndef HC_CORE_SAVED_H
#define HC_CORE_SAVED_H

#include <stdint.h>
#include "base/status.h"

struct hc_core;
struct hc_file;
struct hc_saved;

struct hc_saved_state {
	uint64_t life;         /* of the upstream, see life.h; 0: nothing is known */
	uint32_t incarnation;  /* of the fleet's state in it */
	uint64_t heard;        /* all changes up to this one are taken into account */
	uint64_t trusted_from; /* position in the files: what is before is suspect whatever is replayed */
	int64_t at_ms;         /* wall clock of this machine, when it was written down */
};

enum hc_status hc_saved_create(struct hc_core *core, struct hc_saved **out);
void hc_saved_destroy(struct hc_saved *saved); /* NULL is fine */

/* What was found at the start. */
struct hc_saved_state hc_saved_found(const struct hc_saved *saved);
/* How far it is now. To be told about each second; written down by and by. */
void hc_saved_tell(struct hc_saved *saved, const struct hc_saved_state *state);
/* The same when nothing more will be appended, at the end: waits until `until_ms` (monotonic) for the log. */
void hc_saved_end(struct hc_saved *saved, const struct hc_saved_state *state, int64_t until_ms);
/* All that is in the files now is suspect for good. */
void hc_saved_forget(struct hc_saved *saved);
/* This daemon has no fleet now: what these files hold from here on, no fleet has heard of. */
void hc_saved_leave(struct hc_file *file);

#endif
