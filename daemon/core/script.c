/*
 * The call of the write script: arguments from ops. The order of arguments is told at the head of
 * proto/lua/write.lua. On whichever thread the link is.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "core/script_private.h"
#include "proto/frame.h"
#include "proto/lua_scripts.h"

#define PLAIN_HEAD 6 /* model, flags, expiry of all; three pieces of their event */
#define PLAIN_PER_OP 2
#define PLAIN_MAX 1024 /* ops: Lua hands on no more arguments than some thousands */

enum hc_status
hc_script_call_create(const struct hc_core *core, size_t ops, struct hc_script_call **out)
{
	struct hc_script_call *call = hc_calloc(1, sizeof(*call));
	if (call == NULL)
		return HC_NOMEM;
	call->core = core;
	call->cap = ops;
	call->is_plain = ops <= PLAIN_MAX;
	call->argv =
	    hc_calloc(HC_SCRIPT_OPS_AT + ops + HC_SCRIPT_ARGS_HEAD + ops * HC_SCRIPT_ARGS_PER_OP, sizeof(*call->argv));
	call->args = hc_calloc(HC_SCRIPT_ARGS_HEAD + ops * HC_SCRIPT_ARGS_PER_OP, sizeof(*call->args));
	call->texts = hc_calloc(ops, sizeof(*call->texts));
	call->keys = hc_calloc(ops, sizeof(*call->keys));
	if (call->argv == NULL || call->args == NULL || call->texts == NULL || call->keys == NULL) {
		hc_script_call_destroy(call);
		return HC_NOMEM;
	}
	*out = call;
	return HC_OK;
}

void
hc_script_call_destroy(struct hc_script_call *call)
{
	if (call == NULL)
		return;
	for (size_t i = 0; call->keys != NULL && i < call->n; i++)
		hc_free(call->keys[i]);
	hc_free(call->keys);
	hc_free(call->event);
	hc_free(call->texts);
	hc_free(call->args);
	hc_free(call->argv);
	hc_free(call);
}

static const char *
kind_letter(enum hc_op_kind kind)
{
	static const char *const letters[] = {
	    [HC_OP_SET] = "S",
	    [HC_OP_DEL] = "D",
	    [HC_OP_EXPIRE] = "E",
	    [HC_OP_PERSIST] = "P",
	    [HC_OP_CLEAR_MODEL] = "C",
	    [HC_OP_CLEAR_ALL] = "A",
	    [HC_OP_INCR] = "I",
	    [HC_OP_INCR_FLOAT] = "J",
	    [HC_OP_APPEND] = "Q",
	    [HC_OP_SET_RANGE] = "R",
	    [HC_OP_COPY_FROM] = "F",
	    [HC_OP_COPY_TO] = "T",
	    [HC_OP_GUARD] = "G",
	};
	return letters[kind];
}

/*
 * A value goes raw when a reader would know its model from the key alone. (The script frames it even then once that
 * model has been cleared, since raw stands for epoch 0.)
 */
static char
frame_flag(const struct hc_core *core, const struct hc_op *op, uint32_t raw_model)
{
	int64_t mode = core->settings->upstream_frame;

	if (hc_frame_looks_framed(op->value))
		return 'f';
	if (mode == HC_FRAME_NEVER)
		return 'r';
	if (mode == HC_FRAME_ALWAYS || op->model != HC_MODEL_DEFAULT || raw_model != HC_MODEL_DEFAULT)
		return 'f';
	return '\0';
}

/* Whether a key may come of it where there was none, with an expiry of its own. */
static bool
makes_key(enum hc_op_kind kind)
{
	return kind == HC_OP_SET || kind == HC_OP_INCR || kind == HC_OP_INCR_FLOAT || kind == HC_OP_APPEND ||
	       kind == HC_OP_SET_RANGE;
}

/* Whether the script may have a value to put into a frame. */
static bool
writes_value(enum hc_op_kind kind)
{
	return makes_key(kind) || kind == HC_OP_COPY_TO;
}

static void
put_flags(const struct hc_core *core, const struct hc_op *op, uint32_t raw_model, char *dst)
{
	static const struct {
		unsigned flag;
		char letter;
	} expire_letters[] = {{HC_EXPIRE_NX, 'N'}, {HC_EXPIRE_XX, 'X'}, {HC_EXPIRE_GT, 'G'}, {HC_EXPIRE_LT, 'L'}};

	if (op->kind == HC_OP_SET || op->kind == HC_OP_COPY_TO) {
		if (op->condition == HC_STORE_ABSENT)
			*dst++ = 'n';
		if (op->condition == HC_STORE_PRESENT)
			*dst++ = 'x';
	}
	if (op->kind == HC_OP_SET && op->ttl == HC_TTL_KEEP)
		*dst++ = 'k';
	if (op->together && op->group->n > 1)
		*dst++ = op == op->group->ops ? 'b' : 'a';
	if (op->move)
		*dst++ = 'd';
	if (op->guarded)
		*dst++ = 'q';
	if (op->kind == HC_OP_GUARD) {
		if (op->guard->contested)
			*dst++ = 'c';
		if (op->guard->unsure)
			*dst++ = 'u';
		if (op->guard->has_base)
			*dst++ = 'b';
	}
	if (writes_value(op->kind)) {
		char frame = frame_flag(core, op, raw_model);
		if (frame != '\0')
			*dst++ = frame;
	}
	for (size_t i = 0; op->kind == HC_OP_EXPIRE && i < sizeof(expire_letters) / sizeof(expire_letters[0]); i++) {
		if (op->expire_flags & expire_letters[i].flag)
			*dst++ = expire_letters[i].letter;
	}
	if (op->want_old)
		*dst++ = 'g';
	/* One that is known to be late is that whatever the upstream has been told of clears. */
	if (op->kind == HC_OP_SET && op->late)
		dst += sprintf(dst, "l-1");
	else if (op->kind == HC_OP_SET && op->has_seen)
		dst += sprintf(dst, "l%" PRIu32, op->seen);
	*dst = '\0';
}

static void
put_expiry(const struct hc_core *core, const struct hc_op *op, char *dst, size_t cap)
{
	int64_t standard = core->settings->ttl_default;

	if (op->ttl == HC_TTL_RELATIVE)
		snprintf(dst, cap, "P%" PRId64, op->ttl_ms);
	else if (op->ttl == HC_TTL_ABSOLUTE)
		snprintf(dst, cap, "A%" PRId64, op->ttl_ms);
	else if (op->kind == HC_OP_CLEAR_MODEL && op->epoch > 0)
		snprintf(dst, cap, "%" PRIu32, op->epoch);
	else if (op->kind == HC_OP_GUARD)
		snprintf(dst, cap, "%" PRIu32, op->guard->epoch);
	else if (makes_key(op->kind) && op->ttl == HC_TTL_NONE && standard > 0 && !op->guarded)
		snprintf(dst, cap, "P%" PRId64, standard);
	else
		dst[0] = '\0';
}

static struct hc_slice
model_name(const struct hc_core *core, uint32_t id)
{
	return id == HC_MODEL_DEFAULT ? HC_SLICE("") : hc_models_name(core->models, id);
}

static enum hc_status
prefixed_key(const struct hc_core *core, const struct hc_op *op, char **out, struct hc_slice *key)
{
	if (op->kind == HC_OP_CLEAR_MODEL || op->kind == HC_OP_CLEAR_ALL) {
		*key = hc_fleet_state_key(core->fleet);
		return HC_OK;
	}
	char *copy = hc_malloc(core->prefix.len + op->key.len + 1);
	if (copy == NULL)
		return HC_NOMEM;
	memcpy(copy, core->prefix.ptr, core->prefix.len);
	memcpy(copy + core->prefix.len, op->key.ptr, op->key.len);
	*out = copy;
	*key = hc_slice(copy, core->prefix.len + op->key.len);
	return HC_OK;
}

/* A SET that the short form has words for: of the flags no more than how it is stored, and how old it is. */
static bool
is_plain(const struct hc_op *op, const struct hc_slice *args)
{
	struct hc_slice flags = args[ARG_FLAGS];
	size_t form = flags.len > 0 && memchr("fr", flags.ptr[0], 2) != NULL;

	return op->kind == HC_OP_SET && op->ttl != HC_TTL_ABSOLUTE && (flags.len == form || flags.ptr[form] == 'l');
}

static bool
has_same_head(const struct hc_slice *args, const struct hc_slice *first)
{
	return hc_slice_eq(args[ARG_MODEL], first[ARG_MODEL]) && hc_slice_eq(args[ARG_FLAGS], first[ARG_FLAGS]) &&
	       hc_slice_eq(args[ARG_EXPIRY], first[ARG_EXPIRY]);
}

enum hc_status
hc_script_call_add(struct hc_script_call *call, const struct hc_op *op)
{
	const struct hc_core *core = call->core;
	struct hc_script_text *text = &call->texts[call->n];
	struct hc_slice *args = &call->args[HC_SCRIPT_ARGS_HEAD + call->n * HC_SCRIPT_ARGS_PER_OP];
	uint32_t raw_model = HC_MODEL_DEFAULT;

	assert(call->n < call->cap);
	if (call->n == 0)
		call->model = op->model;
	enum hc_status status = prefixed_key(core, op, &call->keys[call->n], &call->argv[HC_SCRIPT_OPS_AT + call->n]);
	if (status != HC_OK)
		return status;
	if (op->kind != HC_OP_CLEAR_MODEL && op->kind != HC_OP_CLEAR_ALL)
		(void)hc_core_model_of_key(
		    (struct hc_core *)(uintptr_t)core, hc_slice(op->key.ptr, op->key.len), &raw_model);
	put_flags(core, op, raw_model, text->flags);
	put_expiry(core, op, text->expiry, sizeof(text->expiry));
	args[ARG_KIND] = hc_slice_str(kind_letter(op->kind));
	args[ARG_FLAGS] = hc_slice_str(text->flags);
	args[ARG_MODEL] = model_name(core, op->model);
	args[ARG_RAW_MODEL] = model_name(core, raw_model);
	args[ARG_EXPIRY] = hc_slice_str(text->expiry);
	args[ARG_LENGTH] = args[ARG_SUM] = HC_SLICE("");
	args[ARG_VALUE] = op->value;
	if (op->kind == HC_OP_APPEND || op->kind == HC_OP_SET_RANGE) {
		snprintf(text->length, sizeof(text->length), "%" PRId64, op->max_bytes);
		snprintf(text->offset, sizeof(text->offset), "%" PRId64, op->offset);
		args[ARG_LENGTH] = hc_slice_str(text->length);
		args[ARG_SUM] = hc_slice_str(text->offset);
	}
	if (op->kind == HC_OP_GUARD) {
		snprintf(text->length, sizeof(text->length), "%" PRIu64, op->guard->heard);
		snprintf(text->offset, sizeof(text->offset), "%" PRIu64, op->guard->base_version);
		args[ARG_LENGTH] = hc_slice_str(text->length);
		args[ARG_SUM] = hc_slice_str(text->offset);
		args[ARG_VALUE] = op->guard->base;
	}
	if (op->kind == HC_OP_SET) {
		snprintf(text->length, sizeof(text->length), "%zu", op->value.len);
		snprintf(text->sum, sizeof(text->sum), "%" PRIu32, hc_checksum(op->value.ptr, op->value.len));
		args[ARG_LENGTH] = hc_slice_str(text->length);
		args[ARG_SUM] = hc_slice_str(text->sum);
	}
	call->is_plain = call->is_plain && is_plain(op, args) && has_same_head(args, &call->args[HC_SCRIPT_ARGS_HEAD]);
	call->n++;
	return HC_OK;
}

uint32_t
hc_script_new_incarnation(void)
{
	uint32_t candidate = 0;

	while (candidate == 0 && hc_random(&candidate, sizeof(candidate)) == 0)
		continue;
	return candidate;
}

enum hc_status
hc_script_event(struct hc_script_call *call, int64_t time_ms, uint32_t epoch, struct hc_slice *out)
{
	struct hc_event event = {
	    .version = HC_EVENT_VERSION,
	    .type = HC_EVENT_SET,
	    .instance = hc_fleet_instance(call->core->fleet),
	    .model = call->args[HC_SCRIPT_ARGS_HEAD + ARG_MODEL],
	    .epoch = epoch,
	    .time_ms = time_ms,
	    .keys = &call->argv[HC_SCRIPT_OPS_AT],
	    .nkeys = call->n,
	};
	size_t len = hc_event_encode(NULL, 0, &event);

	call->event = hc_malloc(len);
	if (call->event == NULL)
		return HC_NOMEM;
	(void)hc_event_encode(call->event, len, &event);
	*out = hc_slice(call->event, len);
	return HC_OK;
}

/* The arguments in the short form, in place. Returns how many there are with the head. */
static size_t
shorten(struct hc_script_call *call, struct hc_slice event)
{
	struct hc_event_pieces pieces;
	const struct hc_slice *from = &call->args[HC_SCRIPT_ARGS_HEAD];
	struct hc_slice *to = &call->args[HC_SCRIPT_ARGS_HEAD + PLAIN_HEAD];

	hc_event_cut(event, &pieces);
	struct hc_slice head[PLAIN_HEAD] = {from[ARG_MODEL], from[ARG_FLAGS], from[ARG_EXPIRY], pieces.before_seq,
	    pieces.before_epoch, pieces.after_epoch};
	for (size_t i = 0; i < call->n; i++, from += HC_SCRIPT_ARGS_PER_OP, to += PLAIN_PER_OP) {
		struct hc_slice sum = from[ARG_SUM], value = from[ARG_VALUE];
		to[0] = sum;
		to[1] = value;
	}
	memcpy(&call->args[HC_SCRIPT_ARGS_HEAD], head, sizeof(head));
	return HC_SCRIPT_ARGS_HEAD + PLAIN_HEAD + call->n * PLAIN_PER_OP;
}

enum hc_status
hc_script_call_send(struct hc_script_call *call, struct hc_link *link, const char *sha, hc_link_reply_fn *fn, void *arg)
{
	const struct hc_core *core = call->core;
	int64_t now_ms = hc_clock_wall_ms();
	struct hc_slice event;
	bool is_plain = call->is_plain && call->n > 0 && hc_script_event(call, now_ms, 0, &event) == HC_OK;
	size_t n_args = is_plain ? shorten(call, event) : HC_SCRIPT_ARGS_HEAD + call->n * HC_SCRIPT_ARGS_PER_OP;

	snprintf(call->count, sizeof(call->count), "%zu", call->n + HC_SCRIPT_KEYS_HEAD);
	snprintf(call->time, sizeof(call->time), "%" PRId64, now_ms);
	snprintf(call->incarnation, sizeof(call->incarnation), "%" PRIu32, hc_script_new_incarnation());
	snprintf(call->journal_len, sizeof(call->journal_len), "%" PRId64, core->settings->fleet_journal_len);
	call->args[0] = hc_fleet_channel(core->fleet);
	call->args[1] = hc_fleet_instance(core->fleet);
	call->args[2] = hc_slice_str(call->time);
	call->args[3] = hc_slice_str(call->incarnation);
	call->args[4] = hc_slice_str(call->journal_len);
	call->args[5] = is_plain ? HC_SLICE("p") : HC_SLICE("");

	bool whole = sha[0] == '\0';
	call->argv[0] = whole ? HC_SLICE("EVAL") : HC_SLICE("EVALSHA");
	call->argv[1] = whole ? hc_slice(hc_lua_write, hc_lua_write_len) : hc_slice_str(sha);
	call->argv[2] = hc_slice_str(call->count);
	call->argv[3] = hc_fleet_state_key(core->fleet);
	call->argv[4] = hc_fleet_journal_key(core->fleet);
	memcpy(&call->argv[HC_SCRIPT_OPS_AT + call->n], call->args, n_args * sizeof(*call->args));
	return hc_link_send(link, call->argv, HC_SCRIPT_OPS_AT + call->n + n_args, fn, arg);
}

uint32_t
hc_script_incarnation(const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 || reply->element[0]->type != REDIS_REPLY_INTEGER)
		return 0;
	return (uint32_t)reply->element[0]->integer;
}

/* What the short form answers is the same for all but the number. */
static enum hc_status
plain_result(const redisReply *reply, size_t op, struct hc_script_result *out)
{
	if (reply->elements != 4)
		return HC_ERROR;
	for (size_t i = 1; i < 4; i++) {
		if (reply->element[i]->type != REDIS_REPLY_INTEGER)
			return HC_ERROR;
	}
	*out = (struct hc_script_result){
	    .code = HC_SCRIPT_DONE,
	    .done = true,
	    .seq = (uint64_t)reply->element[1]->integer + op,
	    .epoch = (uint32_t)reply->element[2]->integer,
	    .pttl = reply->element[3]->integer,
	};
	return HC_OK;
}

enum hc_status
hc_script_result(const redisReply *reply, size_t op, struct hc_script_result *out)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2)
		return HC_ERROR;
	if (reply->element[1]->type == REDIS_REPLY_INTEGER)
		return plain_result(reply, op, out);
	if (reply->elements <= op + 1)
		return HC_ERROR;
	const redisReply *r = reply->element[op + 1];
	*out = (struct hc_script_result){.pttl = -2};
	if (r->type == REDIS_REPLY_ERROR) {
		out->error = hc_slice(r->str, (size_t)r->len);
		return HC_OK;
	}
	if (r->type != REDIS_REPLY_ARRAY || r->elements < 4)
		return HC_ERROR;
	for (size_t i = 0; i < 4; i++) {
		if (r->element[i]->type != REDIS_REPLY_INTEGER)
			return HC_ERROR;
	}
	out->code = (int)r->element[0]->integer;
	out->done = out->code == HC_SCRIPT_DONE;
	out->seq = (uint64_t)r->element[1]->integer;
	out->epoch = (uint32_t)r->element[2]->integer;
	out->pttl = r->element[3]->integer;
	if (r->elements > 4 && r->element[4]->type == REDIS_REPLY_STRING)
		out->old = hc_slice(r->element[4]->str, (size_t)r->element[4]->len);
	if (r->elements > 5 && r->element[5]->type == REDIS_REPLY_STRING)
		out->answer = hc_slice(r->element[5]->str, (size_t)r->element[5]->len);
	return HC_OK;
}
