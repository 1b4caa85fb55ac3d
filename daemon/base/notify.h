/*
 * What the daemon tells its service manager: the datagrams of sd_notify(3), written by hand, so
 * that no library of systemd is needed. Without a manager (no NOTIFY_SOCKET in the environment)
 * every call is HC_MISS and costs nothing.
 *
 * Any thread, as long as nobody changes the environment meanwhile; in harcad it is the main thread.
 * Nothing is kept between calls: each opens its socket and closes it. A manager that does not read
 * holds a caller up for HC_NOTIFY_WAIT_MS at most.
 */
#ifndef HC_BASE_NOTIFY_H
#define HC_BASE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"

#define HC_NOTIFY_WAIT_MS 250
#define HC_NOTIFY_MAX_BYTES 512 /* one datagram; a longer STATUS is cut */

/*
 * All return HC_OK: sent; HC_MISS: nobody to tell; HC_INVALID: NOTIFY_SOCKET is no address of a
 * Unix socket; HC_TIMEOUT: the manager did not read, try again later; HC_ERROR: errno says what.
 */

/* READY=1: start-up, or the reload announced before, is done. `status` as below, or NULL. */
enum hc_status hc_notify_ready(const char *status);
/* RELOADING=1 with the time the manager wants to see; hc_notify_ready() ends it. */
enum hc_status hc_notify_reloading(void);
/* STOPPING=1: shutdown has begun. */
enum hc_status hc_notify_stopping(void);
/* STATUS=…: one line for people, shown by `systemctl status`. Line breaks become spaces. */
enum hc_status hc_notify_status(const char *status);
/* WATCHDOG=1: the daemon lives. */
enum hc_status hc_notify_watchdog(void);

/*
 * How often hc_notify_watchdog() is to be called, in ms: half of what the manager grants, at
 * least 1. 0: no watchdog is wanted of this process.
 */
int64_t hc_notify_watchdog_ms(void);

#endif
