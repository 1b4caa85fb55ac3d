/*
 * Pass-through: commands that are none of ours, carried out by the upstream. Their keys get the prefix, copies of keys
 * they may write go, here and at the siblings. One thread: the worker's.
 */
#ifndef HC_CORE_PASS_H
#define HC_CORE_PASS_H

#include "core/catalog.h"
#include "core/core.h"

/* Why a command is not passed on. */
enum hc_pass_reason {
	HC_PASS_OK,
	HC_PASS_BLOCKS,
	HC_PASS_PUBSUB,
	HC_PASS_SERVER,
	HC_PASS_STATE,
	HC_PASS_NO_KEYS,
	HC_PASS_PATTERNS,
	HC_PASS_UNCLEAR,
	HC_PASS_ARITY,
	HC_PASS_SYNTAX,
	HC_PASS_SUBCOMMAND,
	HC_PASS_TOO_MANY,
	HC_PASS_OWN,
	HC_PASS_REASONS
};
/* A part of a sentence. */
const char *hc_pass_reason_text(enum hc_pass_reason reason);

/* pass_rules.c: what can be told before its keys are known, and with them. `prefixed`: keys get a prefix. */
enum hc_pass_reason hc_pass_refuses(
    const struct hc_remote_command *command, const struct hc_slice *argv, size_t argc, bool prefixed);
/* Whether it may go though it has no keys. */
bool hc_pass_needs_no_keys(const struct hc_slice *argv, size_t argc);

struct hc_pass;
/*
 * How it ended. HC_OK: `reply` is what the upstream answered to the command, perhaps an error, borrowed for the call.
 * HC_MISS: the upstream does not know it either. HC_INVALID: it is not passed on, pass->reason says why. HC_DOWN,
 * HC_TIMEOUT: it may or may not have been carried out, but not without the fleet being told. HC_NOMEM; HC_ERROR.
 */
typedef void hc_pass_fn(struct hc_pass *pass, enum hc_status status, const redisReply *reply);

struct hc_pass_key;
struct hc_pass {
	/* asked */
	const struct hc_slice *argv; /* borrowed until fn is called */
	size_t argc;
	hc_pass_fn *fn;
	void *arg;
	bool only_check; /* HC_OK without a reply: it would be passed on */
	/* answered */
	enum hc_pass_reason reason;
	/* under way */
	struct hc_core_worker *worker;
	unsigned flags; /* HC_REMOTE_* */
	bool *marks;    /* which arguments are keys */
	struct hc_pass_key *keys;
	size_t n_keys;
	bool begun; /* writes of the keys have */
};

/* HC_PENDING: fn will be called, once. Otherwise it has ended so, with `reason` as above. */
enum hc_status hc_core_pass(struct hc_core_worker *worker, struct hc_pass *pass);

#endif
