/*
 * COMMAND, and HELP of all containers: what the table of commands tells, in the shapes Redis gives
 * it. Worker threads, each for its own requests; the table is constant.
 */
#include "base/num.h"
#include "command/handlers.h"
#include "command/pairs.h"
#include "command/req.h"
#include "command/syntax.h"

/* Redis has subcommands inside what holds them, and in lists of names beside it. */
static bool
is_top(const struct hc_command *row)
{
	return row->container == NULL;
}

static bool
is_in(const struct hc_command *row, const struct hc_command *container)
{
	return row->container != NULL && strcmp(row->container, container->name) == 0;
}

static size_t
count_top(void)
{
	size_t n = 0;

	for (size_t i = 0; hc_command_at(i) != NULL; i++)
		n += is_top(hc_command_at(i));
	return n;
}

static size_t
count_in(const struct hc_command *container)
{
	size_t n = 0;

	for (size_t i = 0; hc_command_at(i) != NULL; i++)
		n += is_in(hc_command_at(i), container);
	return n;
}

/* "get" or "client|list". */
static const struct hc_command *
find_full(struct hc_slice name)
{
	const char *bar = name.len ? memchr(name.ptr, '|', name.len) : NULL;

	if (bar == NULL)
		return hc_command_find(name);
	size_t at = (size_t)(bar - name.ptr);
	const struct hc_command *container = hc_command_find(hc_slice(name.ptr, at));
	if (container == NULL)
		return NULL;
	return hc_subcommand_find(container, hc_slice(bar + 1, name.len - at - 1));
}

static const char *
group_of(const struct hc_command *row)
{
	if (row->container != NULL)
		row = hc_command_find(hc_slice_str(row->container));
	return row->group;
}

static void
reply_full_name(struct hc_req *req, const struct hc_command *row)
{
	char name[64];

	hc_command_full_name(row, name);
	hc_reply_str(req, name);
}

/* ---- what rows are called in Redis's words ---- */

#define WORDS_MAX 16

struct words {
	const char *items[WORDS_MAX];
	size_t n;
};

static void
add_word(struct words *words, bool when, const char *word)
{
	if (when && words->n < WORDS_MAX)
		words->items[words->n++] = word;
}

static void
flags_of(const struct hc_command *row, struct words *out)
{
	unsigned flags = row->flags;

	*out = (struct words){0};
	add_word(out, flags & HC_CMD_WRITE, "write");
	add_word(out, flags & HC_CMD_READ, "readonly");
	add_word(out, flags & HC_CMD_ADMIN, "admin");
	add_word(out, flags & HC_CMD_FAST, "fast");
	add_word(out, flags & HC_CMD_NOAUTH, "no_auth");
	add_word(out, flags & HC_CMD_NOT_IN_MULTI, "no_multi");
}

/* Only categories that Redis has, too, and in its order. */
static void
categories_of(const struct hc_command *row, struct words *out)
{
	const char *group = group_of(row);
	bool fast = row->flags & HC_CMD_FAST;

	*out = (struct words){0};
	add_word(out, strcmp(group, "generic") == 0, "@keyspace");
	add_word(out, row->flags & HC_CMD_READ, "@read");
	add_word(out, row->flags & HC_CMD_WRITE, "@write");
	add_word(out, strcmp(group, "string") == 0, "@string");
	add_word(out, row->flags & HC_CMD_ADMIN, "@admin");
	add_word(out, true, fast ? "@fast" : "@slow");
	add_word(out, row->flags & HC_CMD_ADMIN, "@dangerous");
	add_word(out, strcmp(group, "connection") == 0, "@connection");
	add_word(out, strcmp(group, "transactions") == 0, "@transaction");
}

static void
reply_words(struct hc_req *req, const struct words *words)
{
	hc_reply_set(req, words->n);
	for (size_t i = 0; i < words->n; i++)
		hc_reply_simple(req, words->items[i]);
}

/* ---- COMMAND, COMMAND INFO ---- */

/* Where the keys are: at an index, in a range counted from there. */
static void
reply_key_spec(struct hc_req *req, const struct hc_command *row)
{
	struct words access = {0};

	add_word(&access, true, row->flags & HC_CMD_WRITE ? "RW" : "RO");
	add_word(&access, true, "access");
	add_word(&access, row->flags & HC_CMD_WRITE, "update");

	hc_reply_map(req, 3);
	hc_reply_str(req, "flags");
	reply_words(req, &access);

	hc_reply_str(req, "begin_search");
	hc_reply_map(req, 2);
	hc_pair_str(req, "type", "index");
	hc_reply_str(req, "spec");
	hc_reply_map(req, 1);
	hc_pair_int(req, "index", row->first_key);

	hc_reply_str(req, "find_keys");
	hc_reply_map(req, 2);
	hc_pair_str(req, "type", "range");
	hc_reply_str(req, "spec");
	hc_reply_map(req, 3);
	hc_pair_int(req, "lastkey", row->last_key < 0 ? row->last_key : row->last_key - row->first_key);
	hc_pair_int(req, "keystep", row->key_step);
	hc_pair_int(req, "limit", 0);
}

static void
reply_info(struct hc_req *req, const struct hc_command *row)
{
	struct words words;

	hc_reply_array(req, 10);
	reply_full_name(req, row);
	hc_reply_int(req, row->arity);
	flags_of(row, &words);
	reply_words(req, &words);
	hc_reply_int(req, row->first_key);
	hc_reply_int(req, row->last_key);
	hc_reply_int(req, row->key_step);
	categories_of(row, &words);
	reply_words(req, &words);
	hc_reply_set(req, 0); /* tips */
	hc_reply_set(req, row->first_key > 0);
	if (row->first_key > 0)
		reply_key_spec(req, row);

	if (!(row->flags & HC_CMD_CONTAINER)) {
		hc_reply_set(req, 0);
		return;
	}
	hc_reply_array(req, count_in(row));
	for (size_t i = 0; hc_command_at(i) != NULL; i++) {
		if (is_in(hc_command_at(i), row))
			reply_info(req, hc_command_at(i));
	}
}

void
hc_cmd_command(struct hc_req *req)
{
	hc_reply_array(req, count_top());
	for (size_t i = 0; hc_command_at(i) != NULL; i++) {
		if (is_top(hc_command_at(i)))
			reply_info(req, hc_command_at(i));
	}
}

void
hc_cmd_command_info(struct hc_req *req)
{
	if (req->argc == 2) {
		hc_cmd_command(req);
		return;
	}
	hc_reply_array(req, req->argc - 2);
	for (uint32_t i = 2; i < req->argc; i++) {
		const struct hc_command *row = find_full(req->argv[i]);
		if (row == NULL)
			hc_reply_null(req);
		else
			reply_info(req, row);
	}
}

void
hc_cmd_command_count(struct hc_req *req)
{
	hc_reply_int(req, (int64_t)count_top());
}

/* ---- COMMAND DOCS ---- */

static void
reply_docs(struct hc_req *req, const struct hc_command *row)
{
	bool container = row->flags & HC_CMD_CONTAINER;
	bool syntax = row->syntax[0] != '\0';

	reply_full_name(req, row);
	hc_reply_map(req, 3 + 2 * (size_t)syntax + (size_t)container);
	hc_pair_str(req, "summary", row->summary);
	hc_pair_str(req, "since", row->since);
	hc_pair_str(req, "group", group_of(row));
	if (syntax) {
		hc_pair_str(req, "syntax", row->syntax);
		hc_reply_str(req, "arguments");
		hc_reply_syntax(req, row);
	}
	if (!container)
		return;
	hc_reply_str(req, "subcommands");
	hc_reply_map(req, count_in(row));
	for (size_t i = 0; hc_command_at(i) != NULL; i++) {
		if (is_in(hc_command_at(i), row))
			reply_docs(req, hc_command_at(i));
	}
}

void
hc_cmd_command_docs(struct hc_req *req)
{
	size_t n = 0;

	if (req->argc == 2) {
		hc_reply_map(req, count_top());
		for (size_t i = 0; hc_command_at(i) != NULL; i++) {
			if (is_top(hc_command_at(i)))
				reply_docs(req, hc_command_at(i));
		}
		return;
	}
	for (uint32_t i = 2; i < req->argc; i++)
		n += find_full(req->argv[i]) != NULL;
	hc_reply_map(req, n);
	for (uint32_t i = 2; i < req->argc; i++) {
		const struct hc_command *row = find_full(req->argv[i]);
		if (row != NULL)
			reply_docs(req, row);
	}
}

/* ---- COMMAND LIST ---- */

enum list_filter { LIST_ALL, LIST_NONE, LIST_CATEGORY, LIST_PATTERN };

#define PATTERN_MAX 256 /* a longer one matches nothing */

static bool
list_fits(const struct hc_command *row, enum list_filter filter, struct hc_slice what)
{
	char name[64];
	struct words words;

	switch (filter) {
	case LIST_ALL:
		return true;
	case LIST_NONE:
		return false;
	case LIST_CATEGORY:
		categories_of(row, &words);
		for (size_t i = 0; i < words.n; i++) {
			if (hc_slice_is(what, words.items[i] + 1))
				return true;
		}
		return false;
	case LIST_PATTERN:
		hc_command_full_name(row, name);
		return what.len <= PATTERN_MAX && hc_glob(what, hc_slice_str(name), true);
	}
	return false;
}

static void
reply_list(struct hc_req *req, enum list_filter filter, struct hc_slice what)
{
	size_t n = 0;

	for (size_t i = 0; hc_command_at(i) != NULL; i++)
		n += list_fits(hc_command_at(i), filter, what);
	hc_reply_array(req, n);
	for (size_t i = 0; hc_command_at(i) != NULL; i++) {
		if (list_fits(hc_command_at(i), filter, what))
			reply_full_name(req, hc_command_at(i));
	}
}

void
hc_cmd_command_list(struct hc_req *req)
{
	bool filtered = req->argc == 5 && hc_req_arg_is(req, 2, "FILTERBY");

	if (req->argc == 2)
		reply_list(req, LIST_ALL, hc_slice("", 0));
	else if (filtered && hc_req_arg_is(req, 3, "MODULE")) /* there are no modules */
		reply_list(req, LIST_NONE, req->argv[4]);
	else if (filtered && hc_req_arg_is(req, 3, "ACLCAT"))
		reply_list(req, LIST_CATEGORY, req->argv[4]);
	else if (filtered && hc_req_arg_is(req, 3, "PATTERN"))
		reply_list(req, LIST_PATTERN, req->argv[4]);
	else
		hc_reply_syntax_error(req);
}

/* ---- COMMAND GETKEYS ---- */

static bool
arity_fits(const struct hc_command *row, uint32_t argc)
{
	return row->arity >= 0 ? argc == (uint32_t)row->arity : argc >= (uint32_t)-row->arity;
}

/* In a fleet such a command is passed on, and so is the question where its keys are. */
static bool
passes_on(const struct hc_req *req)
{
	const struct hc_command_shared *shared = req->worker->shared;

	return hc_core_is_fleet(shared->core) && shared->settings->upstream_pass_through;
}

void
hc_cmd_command_getkeys(struct hc_req *req)
{
	const struct hc_slice *argv = req->argv + 2;
	uint32_t argc = req->argc - 2;
	const struct hc_command *row = hc_command_find(argv[0]);

	if (row == NULL && passes_on(req)) {
		req = hc_req_park(req);
		if (req != NULL)
			hc_cmd_pass_on(req);
		return;
	}
	if (row != NULL && (row->flags & HC_CMD_CONTAINER) && argc > 1)
		row = hc_subcommand_find(row, argv[1]);
	if (row == NULL) {
		hc_reply_error(req, "ERR Invalid command specified");
		return;
	}
	if (row->first_key == 0) {
		hc_reply_error(req, "ERR The command has no key arguments");
		return;
	}
	if (!arity_fits(row, argc)) {
		hc_reply_error(req, "ERR Invalid number of arguments specified for command");
		return;
	}
	int64_t last = row->last_key < 0 ? (int64_t)argc + row->last_key : row->last_key;
	int64_t n = (last - row->first_key) / row->key_step + 1;
	hc_reply_array(req, (size_t)n);
	for (int64_t i = row->first_key; i <= last; i += row->key_step)
		hc_reply_slice(req, argv[i]);
}

/* ---- HELP ---- */

/* Of a container without a subcommand, which its arity forbids already. */
void
hc_cmd_container(struct hc_req *req)
{
	hc_reply_arity_error(req);
}

static void
reply_upper(struct hc_req *req, const char *name, const char *rest)
{
	char line[512];
	size_t n = 0;

	for (; n < sizeof(line) - 1 && name[n] != '\0'; n++)
		line[n] = (char)(name[n] >= 'a' && name[n] <= 'z' ? name[n] - 'a' + 'A' : name[n]);
	snprintf(line + n, sizeof(line) - n, "%s%s", rest[0] != '\0' ? " " : "", rest);
	hc_reply_simple(req, line);
}

/* For every container: its rows. */
void
hc_cmd_help(struct hc_req *req)
{
	const struct hc_command *of = hc_command_find(hc_slice_str(req->command->container));
	char line[512];

	hc_reply_array(req, 1 + 2 * count_in(of));
	reply_upper(req, of->name, "<subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
	for (size_t i = 0; hc_command_at(i) != NULL; i++) {
		const struct hc_command *row = hc_command_at(i);
		if (!is_in(row, of))
			continue;
		reply_upper(req, row->name, row->syntax);
		snprintf(line, sizeof(line), "    %s", row->summary);
		hc_reply_simple(req, line);
	}
}
