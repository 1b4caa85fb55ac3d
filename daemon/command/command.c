/*
 * The table of commands, and running one. The table is constant; running is for the session's worker.
 */
#include "command/command.h"

#include <ctype.h>
#include <pthread.h>
#include "base/mem.h"
#include "base/num.h"
#include "command/handlers.h"
#include "command/multi.h"
#include "command/req.h"
#include "command/run.h"

enum { FIRST_ROW = __COUNTER__ + 1 };
#define NEXT_ROW (__COUNTER__ - FIRST_ROW)

static const struct hc_command rows[] = {
#define HC_COMMAND(name, fn, arity, flags, first, last, step, group, since, syntax, summary) \
	{#name, NULL, fn, arity, flags, first, last, step, group, since, syntax, summary, NEXT_ROW},
#define HC_SUBCOMMAND(container, name, fn, arity, flags, since, syntax, summary) \
	{#name, #container, fn, arity, flags, 0, 0, 0, NULL, since, syntax, summary, NEXT_ROW},
#define HC_KEYS_SUBCOMMAND(container, name, fn, arity, flags, first, last, step, since, syntax, summary) \
	{#name, #container, fn, arity, flags, first, last, step, NULL, since, syntax, summary, NEXT_ROW},
#include "commands.def"
#undef HC_COMMAND
#undef HC_SUBCOMMAND
#undef HC_KEYS_SUBCOMMAND
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))
static_assert(N_ROWS == HC_COMMAND_ROWS, "both are the table");
#define SLOTS 512u /* power of two, several times the number of commands */

static const struct hc_command *slots[SLOTS];
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;

/* Case does not matter to it, and it is cheap: it runs for each command. */
static unsigned
slot_of(const char *name, size_t len)
{
	unsigned h = (unsigned)len;

	for (size_t i = 0; i < len; i++)
		h = h * 31 + ((unsigned char)name[i] | 0x20u);
	return (h ^ h >> 9) & (SLOTS - 1);
}

static void
fill_slots(void)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		if (rows[i].container != NULL)
			continue;
		unsigned s = slot_of(rows[i].name, strlen(rows[i].name));
		while (slots[s] != NULL)
			s = (s + 1) & (SLOTS - 1);
		slots[s] = &rows[i];
	}
}

const struct hc_command *
hc_command_find(struct hc_slice name)
{
	pthread_once(&slots_once, fill_slots);
	for (unsigned s = slot_of(name.ptr, name.len); slots[s] != NULL; s = (s + 1) & (SLOTS - 1)) {
		if (hc_slice_is(name, slots[s]->name))
			return slots[s];
	}
	return NULL;
}

const struct hc_command *
hc_subcommand_find(const struct hc_command *container, struct hc_slice name)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		if (rows[i].container != NULL && strcmp(rows[i].container, container->name) == 0 &&
		    hc_slice_is(name, rows[i].name))
			return &rows[i];
	}
	return NULL;
}

const struct hc_command *
hc_command_at(size_t i)
{
	return i < N_ROWS ? &rows[i] : NULL;
}

void
hc_command_full_name(const struct hc_command *command, char buf[64])
{
	snprintf(buf, 64, "%s%s%s", command->container != NULL ? command->container : "",
	    command->container != NULL ? "|" : "", command->name);
}

/* ---- the reference page ---- */

static void
describe_name(FILE *to, const char *name)
{
	for (; *name != '\0'; name++)
		fputc(toupper((unsigned char)*name), to);
}

static void
describe_row(FILE *to, const struct hc_command *row)
{
	fputs("| `", to);
	if (row->container != NULL) {
		describe_name(to, row->container);
		fputc(' ', to);
	}
	describe_name(to, row->name);
	for (const char *c = row->syntax; *c != '\0'; c++) {
		if (c == row->syntax)
			fputc(' ', to);
		if (*c == '|') /* it would end the cell */
			fputc('\\', to);
		fputc(*c, to);
	}
	fprintf(to, "` | %s | %s |\n", row->since, row->summary);
}

void
hc_command_describe(FILE *to)
{
	const char *group = "";

	fprintf(to, "# Commands\n\nMade from the table of commands by `make docs`.\n");
	for (size_t i = 0; i < N_ROWS; i++) {
		if (rows[i].group != NULL && strcmp(rows[i].group, group) != 0) {
			group = rows[i].group;
			fprintf(to, "\n## %c%s\n\n| command | since | what it does |\n|---|---|---|\n",
			    toupper((unsigned char)group[0]), group + 1);
		}
		describe_row(to, &rows[i]);
	}
}

/* ---- refusals ---- */

void
hc_run_refuse_unknown(struct hc_req *req)
{
	char args[160];
	size_t used = 0;

	args[0] = '\0';
	for (uint32_t i = 1; i < req->argc && used < 128; i++) {
		int room = 128 - (int)used;
		int len = req->argv[i].len < (size_t)room ? (int)req->argv[i].len : room;
		int n = snprintf(args + used, sizeof(args) - used, "'%.*s' ", len, req->argv[i].ptr);
		used += n > 0 ? (size_t)n : 0;
	}
	int len = req->argv[0].len < 128 ? (int)req->argv[0].len : 128;
	hc_reply_errorf(req, "ERR unknown command '%.*s', with args beginning with: %s", len, req->argv[0].ptr, args);
}

static void
reply_unknown_subcommand(struct hc_req *req)
{
	char name[32];
	int len = req->argv[1].len < 128 ? (int)req->argv[1].len : 128;

	snprintf(name, sizeof(name), "%s", req->command->name);
	for (char *c = name; *c != '\0'; c++)
		*c = (char)toupper((unsigned char)*c);
	hc_reply_errorf(req, "ERR unknown subcommand '%.*s'. Try %s HELP.", len, req->argv[1].ptr, name);
}

static bool
arity_fits(const struct hc_command *command, uint32_t argc)
{
	return command->arity >= 0 ? argc == (uint32_t)command->arity : argc >= (uint32_t)-command->arity;
}

static uint64_t
hash_of_key(const struct hc_req *req)
{
	uint32_t first = (uint32_t)req->command->first_key;

	return first > 0 && first < req->argc ? hc_key(req->argv[first]).hash : 0;
}

/* What keeps the command from being run or queued has been replied: true. */
static bool
refuse(struct hc_req *req)
{
	const struct hc_command_shared *shared = req->worker->shared;

	if (req->command == NULL && hc_core_is_fleet(shared->core) && shared->settings->upstream_pass_through)
		req->command = &hc_command_passed;
	const struct hc_command *command = req->command;
	if (command == NULL) {
		hc_run_refuse_unknown(req);
		return true;
	}
	if ((command->flags & HC_CMD_CONTAINER) && req->argc >= 2) {
		command = hc_subcommand_find(command, req->argv[1]);
		if (command == NULL) {
			reply_unknown_subcommand(req);
			return true;
		}
		req->command = command;
		req->hash = hash_of_key(req); /* the container had no keys */
	}
	if (!arity_fits(command, req->argc)) {
		hc_reply_arity_error(req);
		return true;
	}
	if (!req->session->authenticated && !(command->flags & HC_CMD_NOAUTH)) {
		hc_reply_error(req, "NOAUTH Authentication required.");
		return true;
	}
	if (req->session->multi.active && (command->flags & HC_CMD_NOT_IN_MULTI)) {
		hc_reply_errorf(req, "ERR Command not allowed inside a transaction");
		return true;
	}
	return false;
}

/* ---- running ---- */

enum hc_status
hc_command_worker_init(struct hc_command_worker *worker)
{
	hc_out_init(&worker->nowhere, worker->pool);
	worker->scratch = hc_calloc(1, sizeof(*worker->scratch));
	if (worker->scratch == NULL || hc_tally_create(&worker->tally) != HC_OK)
		return HC_NOMEM;
	worker->counts = hc_tally_rows(worker->tally);
	return HC_OK;
}

void
hc_command_worker_fini(struct hc_command_worker *worker)
{
	hc_tally_destroy(worker->tally);
	worker->tally = NULL;
	hc_free(worker->scratch);
	worker->scratch = NULL;
}

/* Whether the command may start beside those that its session waits for. */
static bool
may_start(const struct hc_command_worker *worker, const struct hc_session *session, const struct hc_command *command)
{
	const struct hc_settings *settings = worker->shared->settings;

	if (session->n_pending == 0)
		return true;
	/* A read that waits for a file would be shown what was written behind it. */
	if (command != NULL && (command->flags & HC_CMD_WRITE) && hc_core_reads_files(worker->core))
		return false;
	/* What it asks may hold as much memory as what it is answered. */
	return command != NULL && (command->flags & HC_CMD_PIPE) && !session->barrier && !session->multi.active &&
	       session->authenticated && session->n_pending < (unsigned)settings->client_pending_max &&
	       session->parked_bytes < (size_t)settings->client_output_max;
}

/* Writes must not be faster than the file tier for long. */
static bool
has_room(struct hc_command_worker *worker, struct hc_session *session, const struct hc_call *call)
{
	uint64_t bytes = 0;

	session->wants_room = false;
	if (call->command == NULL || !(call->command->flags & HC_CMD_WRITE) || !hc_core_has_log(worker->core))
		return true;
	for (uint32_t i = 1; i < call->argc; i++)
		bytes += call->argv[i].len;
	session->wants_room = !hc_core_log_has_room(worker->core, bytes);
	return !session->wants_room;
}

/* Whether CLIENT REPLY wants none to this one. */
static bool
goes_unanswered(struct hc_session *session)
{
	if (session->silence != HC_SILENCE_NEXT)
		return session->silence == HC_SILENCE_ALL;
	session->silence = HC_SILENCE_NONE;
	return true;
}

/* `n` more have been carried out, the last one of them given. */
static inline void
watch(struct hc_command_worker *worker, const struct hc_session *session, const struct hc_command *command,
    const struct hc_call *call, unsigned n)
{
	if (hc_slow_ran(&worker->watch, n, command->flags & (HC_CMD_FAST | HC_CMD_BRIEF)))
		hc_slow_look(worker, session, command, call->argv, call->argc);
}

/* It was refused. Of a subcommand that there is none of, as of a command, nothing is counted. */
static void
count_rejected(struct hc_req *req)
{
	const struct hc_command *command = req->command;

	req->failed = false; /* that is another count */
	if (command != NULL && (!(command->flags & HC_CMD_CONTAINER) || req->argc < 2))
		hc_tally_add(&hc_command_counts(req->worker, command)->rejected, 1);
}

static void
run(struct hc_command_worker *worker, struct hc_session *session, const struct hc_call *call)
{
	struct hc_req *req = worker->scratch;

	hc_run_begin(req, worker, session, call, &session->out);
	if (__builtin_expect(session->silence != HC_SILENCE_NONE, 0) && goes_unanswered(session))
		hc_run_hush(req);
	if (session->n_pending > 0) {
		/* Its reply has to wait for others', even if it is there at once. */
		req = hc_req_park(req);
		if (req == NULL)
			return;
		req->moved_to = NULL;
	}
	if (refuse(req)) {
		count_rejected(req);
		if (session->multi.active)
			session->multi.failed = true;
		hc_run_end(req);
		return;
	}
	atomic_store_explicit(&session->last_command, req->command, memory_order_relaxed);
	if (session->multi.active && !(req->command->flags & HC_CMD_NOMULTI)) {
		hc_multi_queue(req);
		hc_run_end(req);
		return;
	}
	if ((req->command->flags & HC_CMD_WRITE) && hc_core_is_fleet(worker->shared->core)) {
		struct hc_req *parked = hc_req_park(req);
		if (parked == NULL)
			return;
		parked->moved_to = NULL;
		hc_run_handler(parked);
		return;
	}
	hc_run_handler(req);
	if (!req->parked && req->moved_to == NULL)
		watch(worker, session, req->command, call, 1);
}

/* Nothing is unusual about the session that a read of what memory has would have to know. */
static inline bool
is_plain(const struct hc_session *session)
{
	return session->n_pending == 0 && !session->multi.active && !session->no_touch && session->authenticated &&
	       session->silence == HC_SILENCE_NONE;
}

static inline bool
is_get(const struct hc_call *call)
{
	return call->command != NULL && call->command->fn == hc_cmd_get && call->argc == 2;
}

static void
ran_gets(struct hc_command_worker *worker, struct hc_session *session, const struct hc_call *last, unsigned n)
{
	hc_stats_add(worker->stats, commands_processed, n);
	hc_tally_add(&hc_command_counts(worker, last->command)->calls, n);
	atomic_store_explicit(&session->last_command, last->command, memory_order_relaxed);
	watch(worker, session, last->command, last, n);
}

/*
 * The shortest way, for what most commands are: GET of a key that is here, by a session with which nothing is unusual.
 * False: it has to be run, and nothing has been done.
 */
static inline bool
run_hit(struct hc_command_worker *worker, struct hc_session *session, const struct hc_call *call)
{
	if (!is_get(call) || !is_plain(session))
		return false;
	struct hc_slice key = call->argv[1];
	if (!hc_cmd_get_hit(worker, &session->out, (struct hc_key){key.ptr, key.len, call->hash}))
		return false;
	ran_gets(worker, session, call, 1);
	return true;
}

/* Commands' names are short. */
static inline bool
same_name(const char *a, const char *b, size_t len)
{
	while (len > 0 && a[len - 1] == b[len - 1])
		len--;
	return len == 0;
}

/* Clients say the same word again and again: the last one is tried first. */
static const struct hc_command *
find_again(struct hc_command_worker *worker, struct hc_slice name)
{
	if (name.len == worker->last_len && same_name(name.ptr, worker->last_name, name.len))
		return worker->last_found;
	const struct hc_command *command = hc_command_find(name);
	if (command != NULL && name.len <= HC_COMMAND_NAME_MAX) {
		worker->last_found = command;
		worker->last_len = name.len;
		memcpy(worker->last_name, name.ptr, name.len);
	}
	return command;
}

/* Sets keys[] to the first keys of the calls that have one, and returns how many these are. */
static inline size_t
recognize(struct hc_command_worker *worker, struct hc_call *calls, size_t n, struct hc_key *keys)
{
	const struct hc_command *command = NULL;
	size_t n_keys = 0;

	for (size_t i = 0; i < n; i++) {
		struct hc_call *call = &calls[i];
		if (!call->again)
			command = find_again(worker, call->argv[0]);
		call->command = command;
		call->hash = 0;
		if (hc_call_has_key(call)) {
			keys[n_keys] = hc_key(call->argv[command->first_key]);
			call->hash = keys[n_keys++].hash;
		}
	}
	return n_keys;
}

void
hc_command_foresee(struct hc_command_worker *worker, struct hc_call *calls, size_t n)
{
	struct hc_key keys[HC_CALLS_MAX];
	size_t n_keys = recognize(worker, calls, n, keys);

	hc_store_prefetch(hc_core_store(worker->shared->core), keys, n_keys);
}

/* How many at the beginning may be answered together; fewer than it is worth while for are none. */
static size_t
count_gets(
    const struct hc_command_worker *worker, const struct hc_session *session, const struct hc_call *calls, size_t n)
{
	size_t gets = 0;

	if (n < HC_LOCK_ALL_MIN || !is_plain(session) || hc_slow_wants_each(worker))
		return 0;
	while (gets < n && is_get(&calls[gets]))
		gets++;
	return gets >= HC_LOCK_ALL_MIN ? gets : 0;
}

static void
prefetch(struct hc_command_worker *worker, const struct hc_key *keys, size_t n)
{
	struct hc_store *store = hc_core_store(worker->shared->core);
	bool lock_all = n >= HC_LOCK_ALL_MIN;

	if (lock_all)
		hc_store_read_begin(store);
	hc_store_prefetch(store, keys, n);
	if (lock_all)
		hc_store_read_end(store);
}

size_t
hc_command_run_ahead(struct hc_command_worker *worker, struct hc_session *session, struct hc_call *calls, size_t n)
{
	struct hc_key keys[HC_CALLS_MAX];
	size_t n_keys = recognize(worker, calls, n, keys);
	size_t gets = count_gets(worker, session, calls, n), done = 0;

	if (gets > 0) {
		size_t pause = (size_t)worker->shared->settings->client_output_pause;
		done = hc_cmd_get_many(worker, &session->out, session->resp, keys, gets, pause);
	}
	if (done > 0)
		ran_gets(worker, session, &calls[done - 1], (unsigned)done);
	prefetch(worker, keys + gets, n_keys - gets);
	return done;
}

enum hc_run
hc_command_run(struct hc_command_worker *worker, struct hc_session *session, const struct hc_call *call)
{
	if (run_hit(worker, session, call))
		return HC_RUN_DONE;
	if (!may_start(worker, session, call->command) || !has_room(worker, session, call))
		return HC_RUN_LATER;
	hc_stats_count(worker->stats, commands_processed);
	run(worker, session, call);
	if (worker->nowhere.bytes > 0 || hc_out_failed(&worker->nowhere)) {
		hc_out_fini(&worker->nowhere);
		hc_out_init(&worker->nowhere, worker->pool);
	}
	return HC_RUN_DONE;
}
