/*
 * The outage list's file: what is acknowledged while the upstream is down is in it before it is acknowledged, so that
 * it is made up for even if the daemon is killed before. One file beside those of the file tier; no file once the list
 * is empty.
 *
 *     list ─ record, under its lock ─→ buffer ─→ writer thread ─→ DIR/outage.log
 *     worker: reply held back ←─ mailbox ←─ waiter ←──┘
 *
 * Records of a key follow each other as its changes did; the last one counts. When the file has grown to a multiple of
 * what is on the list, it is written anew from the list, beside the old one, whose place it takes then. A file that
 * cannot be written is emptied, which is better than one that tells half; nothing waits for it any more.
 *
 * Any thread, but for what says otherwise.
 */
#ifndef HC_CORE_OUTAGE_LOG_H
#define HC_CORE_OUTAGE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"
#include "core/outage.h"
#include "file/file.h"

struct hc_outage_log;

/* For the operator, when there is none. */
#define HC_OUTAGE_LOG_CONSEQUENCE "what is written while the upstream is down is lost with the daemon"

enum hc_outage_record_type {
	HC_OUTAGE_RECORD_INSTANCE = 1, /* key: who wrote what follows */
	HC_OUTAGE_RECORD_VALUE,
	HC_OUTAGE_RECORD_GONE,  /* key: to be deleted */
	HC_OUTAGE_RECORD_DONE,  /* key: off the list */
	HC_OUTAGE_RECORD_MODEL, /* model and the epoch that it has since */
	HC_OUTAGE_RECORD_MODEL_DONE,
	HC_OUTAGE_RECORD_ALL, /* what came before counts no more */
	HC_OUTAGE_RECORD_ALL_DONE,
	HC_OUTAGE_RECORD_UNSURE, /* nobody can tell any more what others have changed since the values before this */
};

struct hc_outage_record {
	enum hc_outage_record_type type;
	struct hc_slice key, model, value;
	uint32_t epoch;
	uint32_t known; /* of a model: see outage_private.h */
	int64_t expire_ms;
	struct hc_outage_since since; /* life 0: nobody can tell */
	int64_t at_ms;
};

/*
 * Reads the file in `dir`, if there is one, calls `fn` for each record, and cuts off what a kill has left half written.
 * The log goes on behind it. HC_NOMEM; HC_ERROR: errno.
 */
typedef enum hc_status hc_outage_record_fn(void *arg, const struct hc_outage_record *record);
enum hc_status hc_outage_log_open(
    const char *dir, bool sync, hc_outage_record_fn *fn, void *arg, struct hc_outage_log **out);
/* Begins to write. `outage` is asked for what is on it when the file is written anew; `instance`: who we are. */
enum hc_status hc_outage_log_start(
    struct hc_outage_log *log, struct hc_outage *outage, const struct hc_models *models, struct hc_slice instance);
/* Writes what waits, ends the thread. Nobody waits any more. NULL is fine. */
void hc_outage_log_close(struct hc_outage_log *log);

/* Under the list's lock. The calling thread's mark moves on, see hc_outage_log_mark(). */
void hc_outage_log_append(struct hc_outage_log *log, const struct hc_outage_record *record);
/* Under the list's lock: all that was appended is obsolete, be it written or not. `emptied`: there is nothing else. */
void hc_outage_log_begin_anew(struct hc_outage_log *log, bool emptied);

/* Of the last record that the calling thread has appended; 0: there is none. */
uint64_t hc_outage_log_mark(void);
/* Up to where it is written (or will not be, with the file given up). */
uint64_t hc_outage_log_written(const struct hc_outage_log *log);
/* As hc_file_wait(). */
enum hc_status hc_outage_log_wait(struct hc_outage_log *log, uint64_t mark, struct hc_file_waiter *waiter);

#endif
