/* The handlers that the table names: one function per row. Each is described by its row in commands.def. */
#ifndef HC_COMMAND_HANDLERS_H
#define HC_COMMAND_HANDLERS_H

struct hc_req;

#define HC_COMMAND(name, fn, ...) void fn(struct hc_req *req);
#define HC_SUBCOMMAND(container, name, fn, ...) void fn(struct hc_req *req);
#include "commands.def"
#undef HC_COMMAND
#undef HC_SUBCOMMAND

#endif
