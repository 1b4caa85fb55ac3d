/*
 * WATCH: the keys whose change between WATCH and EXEC makes EXEC do nothing. Only where this daemon is the one
 * authority; with an upstream others may write a key without it being known here in time. One thread: the session's
 * worker.
 */
#ifndef HC_COMMAND_WATCH_H
#define HC_COMMAND_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct hc_session;
struct hc_store;

/*
 * True when nothing that the session watches has been changed, has expired or has gone otherwise. False also when a key
 * that shares its stamp with a watched one has been changed.
 */
bool hc_watch_holds(struct hc_session *session, struct hc_store *store, int64_t now_ms);
/* The session watches nothing any more. */
void hc_watch_forget(struct hc_session *session);

#endif
