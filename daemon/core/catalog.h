/*
 * What the upstream's COMMAND says of its commands: flags, and where their keys are. Filled by and by, as commands are
 * asked for, and forgotten with the connection: the next one may lead to another version. One thread: the worker's.
 */
#ifndef HC_CORE_CATALOG_H
#define HC_CORE_CATALOG_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"
#include "proto/slice.h"

struct hc_catalog;

/* Flags; what it does not say that it only reads is taken as a write. */
#define HC_REMOTE_READS 1u
#define HC_REMOTE_ADMIN 2u
#define HC_REMOTE_PUBSUB 4u
#define HC_REMOTE_MOVABLE 8u    /* first, last and step are not all there is to its keys */
#define HC_REMOTE_STRINGS 16u   /* it works on the bytes of strings: strings, bitmaps, HyperLogLogs */
#define HC_REMOTE_CONTAINER 32u /* its subcommands are commands of their own */
#define HC_REMOTE_SPECS 64u     /* `specs` says it all */
#define HC_REMOTE_BLOCKS 128u   /* it may wait */

/* Where keys are, as "key specifications" of Redis 7 have it. */
struct hc_key_spec {
	/* they begin behind this word, looked for from `start` on (from the end when negative); or, without one, at
	 * `start` */
	char keyword[24];
	int start;
	/* `counted`: the argument `count_at` says how many there are, the first is at `first`, both from the beginning
	   on; else up to the argument `last` from the first on, or when it is negative from the end, which `limit`
	   divides */
	bool counted;
	int count_at, first;
	int last, step, limit;
};

#define HC_KEY_SPECS_MAX 8

struct hc_remote_command {
	struct hc_remote_command *next;
	unsigned flags;
	int arity; /* negative: a minimum */
	int first, last, step;
	size_t n_specs;
	struct hc_key_spec specs[HC_KEY_SPECS_MAX];
	char name[]; /* lower case; "xgroup|create" of a subcommand */
};

enum hc_status hc_catalog_create(struct hc_catalog **out);
void hc_catalog_destroy(struct hc_catalog *catalog);
void hc_catalog_forget(struct hc_catalog *catalog);

/* Whether a command may be called so: if not, there is nothing to ask the server. */
bool hc_catalog_is_name(struct hc_slice word);
/* The command that `argv` calls, subcommand or not. NULL: not known (yet). Valid until the next take or forget. */
const struct hc_remote_command *hc_catalog_find(
    const struct hc_catalog *catalog, const struct hc_slice *argv, size_t argc);
/* Takes one command out of the answer to COMMAND INFO, with its subcommands. HC_INVALID: it is none; HC_NOMEM. */
enum hc_status hc_catalog_take(struct hc_catalog *catalog, const redisReply *info);

/*
 * Marks the arguments of a call that are keys. HC_OK; HC_PENDING: only the upstream can tell (COMMAND GETKEYS);
 * HC_INVALID: the call is not as its specifications want it. `marks` has argc elements, false at first.
 */
enum hc_status hc_remote_keys(
    const struct hc_remote_command *command, const struct hc_slice *argv, size_t argc, bool *marks);
/* The same from the keys' names. HC_CONFLICT: an argument that is perhaps none is the same as one, or they are many. */
enum hc_status hc_remote_keys_named(const redisReply *names, const struct hc_slice *argv, size_t argc, bool *marks);

#endif
