/* The handlers that the table names: one function per row. Each is described by its row in commands.def. */
#ifndef HC_COMMAND_HANDLERS_H
#define HC_COMMAND_HANDLERS_H

#include <stdbool.h>
#include "store/store.h"

struct hc_command;
struct hc_command_worker;
struct hc_out;
struct hc_req;

#define HC_COMMAND(name, fn, ...) void fn(struct hc_req *req);
#define HC_SUBCOMMAND(container, name, fn, ...) void fn(struct hc_req *req);
#define HC_KEYS_SUBCOMMAND HC_SUBCOMMAND
#include "commands.def"
#undef HC_COMMAND
#undef HC_SUBCOMMAND
#undef HC_KEYS_SUBCOMMAND

/* Not in the table: what every other command is in a fleet, passed on to the upstream (cmd_pass.c). */
extern const struct hc_command hc_command_passed;
/* Its function, also for a command of ours that asks about one of the upstream's. `req` is parked. The last thing a
 * handler does. */
void hc_cmd_pass_on(struct hc_req *req);

/* GET of a key that memory has: replies to `out`, counts. False when memory has not: nothing has been done. */
bool hc_cmd_get_hit(struct hc_command_worker *worker, struct hc_out *out, struct hc_key key);

/* From so many keys on, taking all of the store's locks costs less than taking one for each key. */
#define HC_LOCK_ALL_MIN 8

/* Nobody else changes memory for clients: what several keys hold need not be read at one moment to be of one. */
bool hc_cmd_owns_memory(const struct hc_command_worker *worker);
/*
 * GET of many keys (up to HC_STORE_MANY) at once, for one reply after the other to `out`, in RESP2 or 3; counts. For
 * who owns memory. Stops in front of the first that has to be looked for elsewhere, and when more than out_pause bytes
 * wait in `out`; returns how many have been answered.
 */
size_t hc_cmd_get_many(struct hc_command_worker *worker, struct hc_out *out, int resp, const struct hc_key *keys,
    size_t n, size_t out_pause);

#endif
