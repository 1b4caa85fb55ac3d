/*
 * The upstream's sweep: values there that a CLEAR MODEL has made invisible are deleted in the background, by one daemon
 * of the fleet at a time, as slowly as upstream.sweep_rate says. Nothing depends on it but the upstream's memory: what
 * is stale is a miss to everyone before it goes as well as after.
 *
 *     a clear is heard of ─→ take ─ none ──→ nothing to do                (proto/lua/sweep.lua says what is asked)
 *                             │ └── other ─→ another daemon sweeps: asked again, in case it ends
 *                            mine
 *                             └→ SCAN ─→ page: checked and deleted in one script ─→ (pause) ─→ SCAN … cursor 0 ─→ done
 *
 * One pass serves all models. A clear during a pass asks for another one. Who sweeps holds a lease in the upstream,
 * which each page renews and whose end is the upstream's to decide; where the pass is stands beside it, and who takes
 * the lease next goes on from there. A cursor means something to one life of a server only (core/life.h): another one
 * is begun with anew. What is deleted is not told as events, since nobody may serve it; where the upstream tells of
 * writes by others, a deletion makes a copy suspect at most.
 *
 * Main thread, on the control link; hc_sweeper_status() any thread.
 */
#ifndef HC_CORE_SWEEP_UPSTREAM_H
#define HC_CORE_SWEEP_UPSTREAM_H

#include <event2/event.h>
#include <stdint.h>
#include "base/stats.h"
#include "base/status.h"
#include "core/core.h"
#include "upstream/link.h"

struct hc_sweeper;

enum hc_status hc_sweeper_create(struct hc_core *core, struct hc_sweeper **out);
void hc_sweeper_destroy(struct hc_sweeper *sweep);

/* Between these the link is used; it and `stats` outlive that. Nothing is sent before it is kicked. */
enum hc_status hc_sweeper_start(
    struct hc_sweeper *sweep, struct event_base *base, struct hc_link *control, struct hc_stats *stats);
void hc_sweeper_stop(struct hc_sweeper *sweep);

/* There may be something to sweep: a clear was heard of, the upstream can be reached again, or the rate is another. */
void hc_sweeper_kick(struct hc_sweeper *sweep);

void hc_sweeper_status(struct hc_sweeper *sweep, struct hc_sweeper_status *out);

#endif
