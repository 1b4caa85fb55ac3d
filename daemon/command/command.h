/*
 * The table of commands: look-up, what COMMAND and the reference tell, and running one.
 */
#ifndef HC_COMMAND_COMMAND_H
#define HC_COMMAND_COMMAND_H

#include <stdint.h>
#include <stdio.h>
#include "base/out.h"
#include "base/settings.h"
#include "base/stats.h"
#include "command/session.h"
#include "command/slow.h"
#include "command/tally.h"
#include "core/core.h"
#include "proto/slice.h"

struct hc_req;
typedef void hc_command_fn(struct hc_req *req);

/* Flags of rows. */
#define HC_CMD_READ 1u  /* reads keys */
#define HC_CMD_WRITE 2u /* changes keys or models: in a fleet it always waits for the upstream */
#define HC_CMD_FAST 4u  /* constant time, for COMMAND's sake */
#define HC_CMD_PIPE                                                                                                 \
	8u                 /* may run while earlier commands of its connection wait: all it touches are string keys \
			      named in its arguments. Without it, it waits for those and holds up what follows. */
#define HC_CMD_NOAUTH 16u  /* allowed before AUTH */
#define HC_CMD_NOMULTI 32u /* runs at once even inside MULTI */
#define HC_CMD_ADMIN 64u
#define HC_CMD_CONTAINER 128u    /* has subcommands; runs itself only when no subcommand is given */
#define HC_CMD_NOT_IN_MULTI 256u /* refused inside MULTI */
#define HC_CMD_SECRET 512u       /* SLOWLOG does not show its arguments */
#define HC_CMD_BRIEF 1024u       /* FAST, but not to COMMAND, since it is not in Redis */

struct hc_command {
	const char *name;      /* lower case; of a subcommand: the subcommand's own name */
	const char *container; /* of a subcommand; NULL for commands */
	hc_command_fn *fn;
	int arity; /* as in Redis: negative is a minimum; the container's name counts */
	unsigned flags;
	int first_key, last_key, key_step;
	const char *group;   /* connection, generic, string, server, model, transactions */
	const char *since;   /* version of harcad */
	const char *syntax;  /* arguments as documented: "key value [NX | XX] …" */
	const char *summary; /* one sentence */
	size_t row;          /* which of the table's it is; HC_COMMAND_ROWS: of what is passed on to the upstream */
};

/* How many the table has. */
enum {
	HC_COMMAND_ROWS = 0
#define HC_COMMAND(...) +1
#define HC_SUBCOMMAND(...) +1
#define HC_KEYS_SUBCOMMAND(...) +1
#include "commands.def"
#undef HC_COMMAND
#undef HC_SUBCOMMAND
#undef HC_KEYS_SUBCOMMAND
};

const struct hc_command *hc_command_find(struct hc_slice name);
const struct hc_command *hc_subcommand_find(const struct hc_command *container, struct hc_slice name);
/* The i-th row (subcommands included), NULL past the end. */
const struct hc_command *hc_command_at(size_t i);
/* "client|list" or "get", at most 64 bytes with its NUL. */
void hc_command_full_name(const struct hc_command *command, char buf[64]);
/* docs/commands.md. */
void hc_command_describe(FILE *to);

/* What commands need of the process; constant while workers run. */
struct hc_command_shared {
	struct hc_core *core;
	struct hc_settings *settings;
	struct hc_sessions *sessions;
	struct hc_slow *slow;
	int64_t started_ms; /* monotonic */
	char run_id[41];
	const char *config_file;      /* or NULL */
	void *host;                   /* the network layer's, for the functions below; any thread may call them */
	void (*shutdown)(void *host); /* ends the daemon as SIGTERM does */
	void (*settings_changed)(void *host); /* CONFIG SET changed something */
	void (*kill_session)(
	    void *host, struct hc_session *session); /* under the registry's lock: have its worker look at `kill` */
	uint64_t (*accept_limit)(void *host);        /* server.maxclients as it is in force */
};

/* A command as it came, and what has been found out about it before its turn. */
struct hc_call {
	const struct hc_slice *argv; /* borrowed */
	uint32_t argc;               /* at least 1 */
	bool again;                  /* argc and argv[0] are those of the call in front of it, in an array of them */
	/* hc_command_foresee()'s */
	const struct hc_command *command; /* NULL: there is none of that name */
	uint64_t hash;                    /* of its first key, when it has one */
};

#define HC_CALLS_MAX 32 /* that are foreseen at once */

static inline bool
hc_call_has_key(const struct hc_call *call)
{
	return call->command != NULL && call->command->first_key > 0 && (uint32_t)call->command->first_key < call->argc;
}

#define HC_COMMAND_NAME_MAX 32 /* bytes of a command's name */

/* One worker's. */
struct hc_command_worker {
	struct hc_command_shared *shared;
	struct hc_core_worker *core;
	struct hc_stats *stats;
	struct hc_out_pool *pool;
	/* The session's replies grew outside of hc_command_run(): flush, and go on with what it has sent. */
	void (*ready)(struct hc_session *session);
	/* The command found last, and how it was spelt. */
	const struct hc_command *last_found;
	size_t last_len;
	char last_name[HC_COMMAND_NAME_MAX];
	struct hc_req *scratch; /* the one at hand, reused while nothing has to wait */
	struct hc_slow_watch watch;
	struct hc_tally *tally;
	struct hc_tally_row *counts; /* its rows */
	struct hc_out nowhere;       /* replies nobody wants (CLIENT REPLY) until their request ends */
};

/* What the worker counts of the command. */
static inline struct hc_tally_row *
hc_command_counts(const struct hc_command_worker *worker, const struct hc_command *command)
{
	return &worker->counts[command->row];
}

enum hc_status hc_command_worker_init(struct hc_command_worker *worker);
void hc_command_worker_fini(struct hc_command_worker *worker);

enum hc_run {
	HC_RUN_DONE,  /* its reply is in session->out, or will be */
	HC_RUN_LATER, /* it cannot start yet: call again with the same call after `ready` */
};

/*
 * Finds out which commands these are (up to HC_CALLS_MAX; argv, argc and again given), and has what memory holds of
 * their keys brought nearer. Each must be foreseen before it is run, not necessarily soon before.
 */
void hc_command_foresee(struct hc_command_worker *worker, struct hc_call *calls, size_t n);

/*
 * The same, and those at the beginning that are plain reads of what memory has are run, all at once. Returns how many
 * these were; the others are for hc_command_run().
 */
size_t hc_command_run_ahead(
    struct hc_command_worker *worker, struct hc_session *session, struct hc_call *calls, size_t n);

/*
 * Runs one command. Calls come in turns, each of one session's commands, between hc_slow_turn_begin() and
 * hc_slow_turn_end().
 */
enum hc_run hc_command_run(struct hc_command_worker *worker, struct hc_session *session, const struct hc_call *call);

/* The connection is gone: whatever is under way for it ends without a reply. Before hc_session_close(). */
void hc_command_abandon(struct hc_command_worker *worker, struct hc_session *session);

#endif
