/*
 * The way of a command that is passed on. One thread: the worker's.
 *
 *     pass ─ not known ─→ COMMAND INFO ─┐
 *       └──────────────────────────────→ refused? keys? ─ by COMMAND GETKEYS, where specifications do not say ─┐
 *            ┌─────────────────────────────────────────────────────────────────────────────────────────────────┘
 *            ├ reads ─────────────→ the command ───────────────────────────────→ reply
 *            ├ works on strings ──→ EVAL pass.lua, which carries it out ───────→ reply
 *            └ writes ─ tickets ──→ MULTI, EVAL pass.lua, the command, EXEC ───→ reply, second of EXEC's
 *
 * A write and the fleet's being told are one transaction: whether or not its reply comes, the one has happened if the
 * other has. The local copies went before, and no fill that was under way is kept.
 */
#include "core/pass.h"

#include <inttypes.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "core/internal.h"
#include "core/transaction.h"
#include "proto/lua_scripts.h"

struct hc_pass_key {
	struct hc_key key;
	struct hc_ticket ticket;
};

static enum hc_status go_on(struct hc_pass *pass);
static enum hc_status send_command(struct hc_pass *pass);

static bool
writes(const struct hc_pass *pass)
{
	return !(pass->flags & HC_REMOTE_READS) && pass->n_keys > 0;
}

/* ---- the end ---- */

static void
clean_up(struct hc_pass *pass)
{
	struct hc_core_worker *worker = pass->worker;

	for (size_t i = 0; pass->begun && i < pass->n_keys; i++)
		(void)hc_store_write_end(
		    worker->core->store, pass->keys[i].key, &pass->keys[i].ticket, NULL, HC_FILL_NEW, worker->now_ms);
	pass->begun = false;
	hc_free(pass->keys);
	hc_free(pass->marks);
	pass->keys = NULL;
	pass->marks = NULL;
}

static void
finish(struct hc_pass *pass, enum hc_status status, const redisReply *reply)
{
	bool lost = pass->begun && (status == HC_DOWN || status == HC_TIMEOUT);

	for (size_t i = 0; lost && i < pass->n_keys; i++)
		hc_stragglers_write(pass->worker->core->stragglers, pass->keys[i].key.hash);
	clean_up(pass);
	pass->fn(pass, status, reply);
}

/* After a step that was answered: on with the next, or the end. (HC_OK: all that was wanted was a check.) */
static void
follow(struct hc_pass *pass, enum hc_status status)
{
	if (status != HC_PENDING)
		finish(pass, status, NULL);
}

static enum hc_status
refuse(struct hc_pass *pass, enum hc_pass_reason reason)
{
	pass->reason = reason;
	return HC_INVALID;
}

/* ---- what it is, and its keys ---- */

static void
on_info(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_pass *pass = arg;
	struct hc_catalog *catalog = pass->worker->catalog;

	hc_core_tick(pass->worker);
	if (status == HC_OK && reply->type == REDIS_REPLY_ERROR) {
		finish(pass, HC_OK, reply);
		return;
	}
	if (status == HC_OK && (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1))
		status = HC_ERROR;
	if (status == HC_OK)
		status = hc_catalog_take(catalog, reply->element[0]);
	if (status == HC_OK && hc_catalog_find(catalog, pass->argv, pass->argc) == NULL)
		status = HC_ERROR; /* it answered for another */
	follow(pass, status == HC_OK ? go_on(pass) : status == HC_INVALID ? HC_MISS : status);
}

static enum hc_status
ask_info(struct hc_pass *pass)
{
	const struct hc_slice argv[] = {HC_SLICE("COMMAND"), HC_SLICE("INFO"), pass->argv[0]};
	enum hc_status status = hc_link_send(pass->worker->link, argv, 3, on_info, pass);

	return status == HC_OK ? HC_PENDING : status;
}

static void
on_names(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_pass *pass = arg;

	hc_core_tick(pass->worker);
	if (status == HC_OK && reply->type == REDIS_REPLY_ERROR) {
		finish(pass, HC_OK, reply);
		return;
	}
	if (status == HC_OK) {
		status = hc_remote_keys_named(reply, pass->argv, pass->argc, pass->marks);
		if (status == HC_CONFLICT)
			status = refuse(pass, HC_PASS_UNCLEAR);
		else if (status == HC_OK)
			status = send_command(pass);
		else
			status = HC_ERROR;
	}
	follow(pass, status);
}

static enum hc_status
ask_names(struct hc_pass *pass)
{
	struct hc_slice *argv = hc_malloc((pass->argc + 2) * sizeof(*argv));

	if (argv == NULL)
		return HC_NOMEM;
	argv[0] = HC_SLICE("COMMAND");
	argv[1] = HC_SLICE("GETKEYS");
	memcpy(argv + 2, pass->argv, pass->argc * sizeof(*argv));
	enum hc_status status = hc_link_send(pass->worker->link, argv, pass->argc + 2, on_names, pass);
	hc_free(argv);
	return status == HC_OK ? HC_PENDING : status;
}

static enum hc_status
go_on(struct hc_pass *pass)
{
	const struct hc_core *core = pass->worker->core;
	const struct hc_remote_command *command = hc_catalog_find(pass->worker->catalog, pass->argv, pass->argc);

	if (command == NULL)
		return hc_catalog_is_name(pass->argv[0]) ? ask_info(pass) : HC_MISS;
	pass->flags = command->flags;
	enum hc_pass_reason reason = hc_pass_refuses(command, pass->argv, pass->argc, core->prefix.len > 0);
	if (reason != HC_PASS_OK)
		return refuse(pass, reason);
	enum hc_status status = hc_remote_keys(command, pass->argv, pass->argc, pass->marks);
	if (status == HC_PENDING)
		return ask_names(pass);
	return status == HC_OK ? send_command(pass) : refuse(pass, HC_PASS_SYNTAX);
}

/* ---- sending ---- */

static enum hc_status
list_keys(struct hc_pass *pass)
{
	struct hc_core *core = pass->worker->core;

	for (size_t i = 1; i < pass->argc; i++)
		pass->n_keys += pass->marks[i];
	if (pass->n_keys == 0)
		return hc_pass_needs_no_keys(pass->argv, pass->argc) ? HC_OK : refuse(pass, HC_PASS_NO_KEYS);
	if (pass->n_keys > (size_t)core->settings->upstream_keys_max)
		return refuse(pass, HC_PASS_TOO_MANY);
	pass->keys = hc_calloc(pass->n_keys, sizeof(*pass->keys));
	if (pass->keys == NULL)
		return HC_NOMEM;
	for (size_t i = 1, n = 0; i < pass->argc; i++) {
		if (!pass->marks[i])
			continue;
		pass->keys[n++].key = hc_key(pass->argv[i]);
		if (hc_core_is_reserved(core, pass->argv[i]))
			return refuse(pass, HC_PASS_OWN);
	}
	return HC_OK;
}

/* What was written here while the upstream was down has not been made up for there yet. */
static bool
is_behind(const struct hc_pass *pass)
{
	struct hc_core *core = pass->worker->core;
	bool queued = !hc_outage_empty(core->outage), stragglers = hc_stragglers_any(core->stragglers);

	for (size_t i = 0; (queued || stragglers) && i < pass->n_keys; i++) {
		struct hc_key key = pass->keys[i].key;
		if ((queued && hc_outage_has_key(core->outage, key)) ||
		    (stragglers && hc_stragglers_may_write(core->stragglers, key.hash)))
			return true;
	}
	return false;
}

static void
on_reply(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_pass *pass = arg;

	hc_core_tick(pass->worker);
	finish(pass, status, reply);
}

static void
on_exec(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_pass *pass = arg;
	struct hc_core_worker *worker = pass->worker;

	hc_core_tick(worker);
	if (status != HC_OK || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
		bool refused = status == HC_OK && reply->type == REDIS_REPLY_ERROR;
		finish(pass, status != HC_OK || refused ? status : HC_ERROR, reply);
		return;
	}
	if (reply->element[0]->type == REDIS_REPLY_INTEGER && reply->element[0]->integer > 0) {
		uint64_t last = (uint64_t)reply->element[0]->integer + pass->n_keys - 1;
		hc_fleet_saw_seq(worker->core->fleet, last);
	}
	finish(pass, HC_OK, reply->element[1]);
}

/* What both ways by the script have in common. */
struct script_args {
	struct hc_slice *argv;
	size_t argc;
	char count[24], time[24], incarnation[16], journal_len[24];
};

/* EVAL pass.lua with the command's keys, and with the command itself when `whole`. `args` is the command prefixed. */
static enum hc_status
script_args(
    const struct hc_pass *pass, const struct hc_slice *args, const char *how, bool whole, struct script_args *out)
{
	const struct hc_core *core = pass->worker->core;
	struct hc_slice *argv = hc_malloc((5 + pass->n_keys + 6 + pass->argc) * sizeof(*argv));
	size_t n = 0;

	if (argv == NULL)
		return HC_NOMEM;
	snprintf(out->count, sizeof(out->count), "%zu", pass->n_keys + 2);
	snprintf(out->time, sizeof(out->time), "%" PRId64, hc_clock_wall_ms());
	snprintf(out->incarnation, sizeof(out->incarnation), "%" PRIu32, hc_script_new_incarnation());
	snprintf(out->journal_len, sizeof(out->journal_len), "%" PRId64, core->settings->fleet_journal_len);
	argv[n++] = HC_SLICE("EVAL");
	argv[n++] = hc_slice(hc_lua_pass, hc_lua_pass_len);
	argv[n++] = hc_slice_str(out->count);
	argv[n++] = hc_fleet_state_key(core->fleet);
	argv[n++] = hc_fleet_journal_key(core->fleet);
	for (size_t i = 1; i < pass->argc; i++) {
		if (pass->marks[i])
			argv[n++] = args[i];
	}
	argv[n++] = hc_fleet_channel(core->fleet);
	argv[n++] = hc_fleet_instance(core->fleet);
	argv[n++] = hc_slice_str(out->time);
	argv[n++] = hc_slice_str(out->incarnation);
	argv[n++] = hc_slice_str(out->journal_len);
	argv[n++] = hc_slice_str(how);
	for (size_t i = 0; whole && i < pass->argc; i++)
		argv[n++] = args[i];
	out->argv = argv;
	out->argc = n;
	return HC_OK;
}

static enum hc_status
send_by_script(struct hc_pass *pass, const struct hc_slice *args)
{
	bool strings = pass->flags & HC_REMOTE_STRINGS;
	const char *how = !strings ? "w" : writes(pass) ? "ws" : "s";
	struct script_args script;

	enum hc_status status = script_args(pass, args, how, strings, &script);
	if (status != HC_OK)
		return status;
	if (strings) {
		status = hc_link_send(pass->worker->link, script.argv, script.argc, on_reply, pass);
		status = status == HC_OK ? HC_PENDING : status;
	} else {
		const struct hc_command commands[] = {{script.argv, script.argc}, {args, pass->argc}};
		status = hc_transaction_send(pass->worker->link, commands, 2, on_exec, pass);
		status = status == HC_OK ? HC_PENDING : status;
	}
	hc_free(script.argv);
	return status;
}

static void
begin_writes(struct hc_pass *pass)
{
	struct hc_core_worker *worker = pass->worker;

	for (size_t i = 0; i < pass->n_keys; i++) {
		(void)hc_store_write_begin(worker->core->store, pass->keys[i].key, &pass->keys[i].ticket);
		hc_stats_count(worker->stats, invalidations_out);
	}
	pass->begun = true;
}

static enum hc_status
send_command(struct hc_pass *pass)
{
	struct hc_core_worker *worker = pass->worker;

	enum hc_status status = list_keys(pass);
	if (status != HC_OK || pass->only_check)
		return status;
	if (is_behind(pass))
		return HC_DOWN;
	struct hc_slice *args = hc_core_prefixed_args(worker->core, pass->argv, pass->argc, pass->marks);
	if (args == NULL)
		return HC_NOMEM;
	hc_stats_count(worker->stats, passed_through);
	hc_core_batch_flush(worker); /* what the connection asked before must reach the upstream before */
	if (writes(pass))
		begin_writes(pass);
	if (writes(pass) || (pass->n_keys > 0 && (pass->flags & HC_REMOTE_STRINGS))) {
		status = send_by_script(pass, args);
	} else {
		status = hc_link_send(worker->link, args, pass->argc, on_reply, pass);
		status = status == HC_OK ? HC_PENDING : status;
	}
	hc_free(args);
	return status;
}

enum hc_status
hc_core_pass(struct hc_core_worker *worker, struct hc_pass *pass)
{
	pass->worker = worker;
	pass->reason = HC_PASS_OK;
	if (!hc_link_is_up(worker->link))
		return HC_DOWN;
	pass->marks = hc_calloc(pass->argc, sizeof(*pass->marks));
	if (pass->marks == NULL)
		return HC_NOMEM;
	enum hc_status status = go_on(pass);
	if (status != HC_PENDING)
		clean_up(pass);
	return status;
}
