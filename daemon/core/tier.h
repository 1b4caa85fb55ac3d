/*
 * The file tier, bound to entries: what the memory tier tells it (store.h's `below`), what is read from it, and its
 * beginning and end.
 *
 *     store ─ written, filled, removed, expires, evicted ─→ tier ─→ log (file/file.h)
 *     read_file.c ←──────────────── values ────────────────────────┘
 *
 *                 through                              demote
 *     written     appended; waited for                 what the log has of the key is deleted; waited for
 *     filled      appended, if there is room           the same, not waited for
 *     removed     deleted; waited for                  the same
 *     evicted     counts as read, if it was            appended, if it was read and there is room
 *     shutdown                                         all that memory holds is appended
 *
 * "Waited for" is what a client must not be told before the log has been written so far: only where there is no
 * upstream, which otherwise is the one that keeps it.
 *
 * Any thread, unless it says otherwise.
 */
#ifndef HC_CORE_TIER_H
#define HC_CORE_TIER_H

#include "core/core.h"
#include "file/file.h"

struct hc_tier;

/* Opens the directory. On failure a sentence for the operator is in `why`. */
enum hc_status hc_tier_create(struct hc_core *core, struct hc_tier **out, char *why, size_t why_cap);
/*
 * After all workers: appends what memory holds, when it is to be, until `until_ms` (monotonic) at the latest; writes
 * the list for warming; closes the log. NULL is fine.
 */
void hc_tier_destroy(struct hc_tier *tier, int64_t until_ms);

struct hc_file *hc_tier_file(struct hc_tier *tier);
const char *hc_tier_dir(const struct hc_tier *tier);
bool hc_tier_writes_through(const struct hc_tier *tier);

/* Whether a value is worth being read for. */
bool hc_tier_has(struct hc_tier *tier, struct hc_key key, int64_t now_ms);
/* Whether it lies there still. */
bool hc_tier_lies_at(struct hc_tier *tier, struct hc_key key, int64_t now_ms, uint64_t position);
/* Whether what lies there is fresh; what is not is suspect. */
bool hc_tier_trusts(const struct hc_tier *tier, uint64_t position);
uint64_t hc_tier_trusted_from(const struct hc_tier *tier); /* 0 without a tier */
/* An entry of what was read. HC_MISS: its model was cleared; HC_NOMEM. */
enum hc_status hc_tier_entry(
    struct hc_tier *tier, struct hc_key key, const struct hc_file_value *value, struct hc_entry **out);
/* Counts a read of the key; returns how many there were within file.promote_window. */
unsigned hc_tier_count_read(struct hc_tier *tier, struct hc_key key, int64_t now_ms);

/* A model was cleared here, and this daemon is the one to remember it. */
void hc_tier_clear_model(struct hc_tier *tier, uint32_t model, uint32_t epoch);
/* Everything was: after hc_store_forget_all(). */
void hc_tier_clear_all(struct hc_tier *tier);
/* What is there may be outdated, by changes nobody told us of: all of it is suspect. Returns from where on it was not.
 */
uint64_t hc_tier_suspect(struct hc_tier *tier);
/* What is there from that position on is fresh. */
void hc_tier_trust(struct hc_tier *tier, uint64_t position);

/* At shutdown: an entry that is in memory, as if it had been evicted. See hc_file_claim(). */
enum hc_status hc_tier_append(struct hc_tier *tier, struct hc_entry *entry);
/* Entries that went from memory to the log. */
uint64_t hc_tier_demoted(const struct hc_tier *tier);

/* Without locks, after what may have appended: lets the log's writer know, if it did. */
void hc_tier_kick(struct hc_tier *tier);
/* Much of what memory had was not valid any more: the log's index is likely to have the same. NULL will do. */
void hc_tier_sweep_soon(struct hc_tier *tier);

/* What the calling thread's changes have to wait for: the last mark, 0 when there was none. */
uint64_t hc_tier_mark(void);

#endif
