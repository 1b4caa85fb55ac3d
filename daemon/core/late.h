/*
 * What was computed before its model was cleared, and is SET after it. A miss remembers how many times models had been
 * cleared when it was answered; the next SET of that key brings what was computed for it, and is as old as that. A
 * value whose model has been cleared since is answered OK and treated as written and then cleared: the key holds
 * nothing.
 *
 * Bounded: of too many keys missed those missed longest ago are forgotten, and so is a miss whose SET takes longer than
 * HC_LATE_MS. Several who miss a key side by side are so many SETs. When the key was missed again after a clear, those
 * who missed it before are no longer told apart: whatever comes counts as computed for the later miss.
 *
 * Any thread; each bucket's lock is a leaf.
 */
#ifndef HC_CORE_LATE_H
#define HC_CORE_LATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"
#include "store/store.h"

#define HC_LATE_MS 600000

struct hc_late;

enum hc_status hc_late_create(struct hc_late **out);
void hc_late_destroy(struct hc_late *late);
/* What it takes of memory once misses have been all over it, as they will be: whatever is cached. */
size_t hc_late_bytes(void);

/* The key was missed; `changes` is hc_models_changes(), `now_ms` monotonic. */
void hc_late_missed(struct hc_late *late, uint64_t hash, uint64_t changes, int64_t now_ms);
/* Whether such a miss may be remembered: no lock, no clock, for SETs of keys that nobody missed. */
bool hc_late_may_have(struct hc_late *late, uint64_t hash);
/* It is SET. True: for a miss, at *changes, that is remembered no more. */
bool hc_late_set(struct hc_late *late, uint64_t hash, int64_t now_ms, uint64_t *changes);

#endif
