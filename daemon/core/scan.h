/* What the files that walk the keys share: scan.c, scan_files.c. Nobody else includes this. */
#ifndef HC_CORE_SCAN_H
#define HC_CORE_SCAN_H

#include "core/internal.h"

/* Whether the walk is to give the key (should matching take too long, scan->status says so); whether it wants strings
 * at all, which is what everything here is. */
bool hc_scan_wants(struct hc_scan *scan, struct hc_slice key);
bool hc_scan_takes_strings(const struct hc_scan *scan);
/* Adds a copy, or counts it. False: no memory. */
bool hc_scan_add(struct hc_scan *scan, struct hc_slice key);

/* After a step: whether there is more, and it is wanted. Where anything would do and nothing was found, the next step
 * is longer. */
bool hc_scan_goes_on(struct hc_scan *scan);

/* The same in memory and files; and how many keys they have. HC_PENDING: `done` will be called; else HC_OK. */
enum hc_status hc_scan_with_files(struct hc_scan *scan);
enum hc_status hc_scan_count_with_files(struct hc_scan *scan);
/* Walks on in memory from scan->next, or counts it, in turns with the worker's other clients, and then does what
 * scan->then says; the same. */
enum hc_status hc_scan_memory_in_turns(struct hc_scan *scan);
/* In how much time the next turn is. */
extern const struct timeval hc_scan_next_turn;

#endif
