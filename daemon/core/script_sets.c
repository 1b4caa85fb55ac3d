/*
 * A batch of SETs as a transaction: the values go to the upstream as they will lie there, and the script behind them
 * (proto/lua/whole/sets.lua) numbers them and tells the fleet. For that, frames are made here, with the number that is
 * to be expected; the script puts right what turns out otherwise. On whichever thread the link is.
 *
 *     MULTI, MSET key value … or SET key value PX ttl …, EVAL sets.lua, EXEC
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "core/script_private.h"
#include "core/transaction.h"
#include "proto/frame.h"
#include "proto/lua_scripts.h"
#include "proto/pack.h"

/*
 * Instructions of the upstream's, counted by callgrind with Redis 7.0: what a value costs in Lua, raw and framed, for
 * itself and for each of its bytes; and what the transaction and the longer text of the script cost.
 */
#define RAW_COST 4500
#define RAW_BYTE_COST 11
#define FRAMED_COST 11000
#define FRAMED_BYTE_COST 23
#define TRANSACTION_COST 93000

/* What Redis would refuse must not be refused within the transaction, where the script would go on all the same. */
#define TTL_DIGITS_MAX 15
#define VALUE_MAX ((size_t)64 << 20) /* with a frame, it might be more than the upstream takes */

#define ANY_EPOCH 9007199254740992.0 /* 2^53, later than all */
#define SCRIPT_ARGS 11

/* What all of the SETs have in common. */
struct sets {
	char how[2]; /* "f", "r" or "", as sets.lua has it */
	bool framed;
	uint64_t seq; /* expected */
	uint32_t incarnation, epoch;
	double latest;       /* epoch that they may be of */
	struct hc_slice ttl; /* ms; empty: none */
};

static const struct hc_slice *
args_of(const struct hc_script_call *call, size_t op)
{
	return &call->args[HC_SCRIPT_ARGS_HEAD + op * HC_SCRIPT_ARGS_PER_OP];
}

static struct sets
sets_of(const struct hc_script_call *call, uint64_t seq)
{
	const struct hc_core *core = call->core;
	const struct hc_slice *args = args_of(call, 0);
	const char *flags = args[ARG_FLAGS].ptr; /* with a NUL behind */
	const char *seen = strchr(flags, 'l');
	struct sets sets = {
	    .seq = seq,
	    .incarnation = atomic_load(&core->incarnation),
	    .epoch = hc_models_epoch(core->models, call->model),
	    .latest = seen != NULL ? (double)strtoll(seen + 1, NULL, 10) : ANY_EPOCH,
	};

	if (flags[0] == 'f' || flags[0] == 'r')
		sets.how[0] = flags[0];
	else if (sets.epoch > 0)
		sets.how[0] = 'f'; /* which the script would have to do otherwise */
	sets.framed = sets.how[0] == 'f';
	if (args[ARG_EXPIRY].len > 0)
		sets.ttl = hc_slice(args[ARG_EXPIRY].ptr + 1, args[ARG_EXPIRY].len - 1);
	return sets;
}

bool
hc_script_sets_pays(const struct hc_script_call *call)
{
	size_t gain = 0;

	if (!call->is_plain || call->n == 0)
		return false;
	struct sets sets = sets_of(call, 0);
	if (sets.latest < 0 || sets.ttl.len > TTL_DIGITS_MAX)
		return false; /* the one is known to be late */
	for (size_t i = 0; i < call->n; i++) {
		size_t len = args_of(call, i)[ARG_VALUE].len;
		if (len > VALUE_MAX)
			return false;
		gain += sets.framed ? FRAMED_COST + len * FRAMED_BYTE_COST : RAW_COST + len * RAW_BYTE_COST;
	}
	return gain > TRANSACTION_COST;
}

/* ---- the values ---- */

/* With their frames, one behind the other; what each takes is in lens[]. NULL: no memory. */
static char *
make_frames(const struct hc_script_call *call, const struct sets *sets, struct hc_slice *out)
{
	struct hc_frame frame = {
	    .incarnation = sets->incarnation, .epoch = sets->epoch, .model = args_of(call, 0)[ARG_MODEL]};
	size_t head = HC_FRAME_HEAD + frame.model.len, bytes = 1;

	for (size_t i = 0; i < call->n; i++)
		bytes += head + args_of(call, i)[ARG_VALUE].len;
	char *frames = hc_malloc(bytes), *at = frames;
	for (size_t i = 0; frames != NULL && i < call->n; i++) {
		const struct hc_slice *args = args_of(call, i);
		frame.seq = sets->seq + i;
		frame.raw_len = (uint32_t)args[ARG_VALUE].len;
		frame.checksum = (uint32_t)strtoul(args[ARG_SUM].ptr, NULL, 10);
		char *start = at;
		at += hc_frame_encode_head(at, &frame);
		if (args[ARG_VALUE].len > 0)
			at = mempcpy(at, args[ARG_VALUE].ptr, args[ARG_VALUE].len);
		out[i] = hc_slice(start, (size_t)(at - start));
	}
	return frames;
}

static struct hc_slice
stored(const struct hc_script_call *call, const struct sets *sets, const struct hc_slice *frames, size_t op)
{
	return sets->framed ? frames[op] : args_of(call, op)[ARG_VALUE];
}

/* One MSET, or with an expiry a SET for each. Returns how many commands there are. */
static size_t
set_commands(const struct hc_script_call *call, const struct sets *sets, const struct hc_slice *frames,
    struct hc_slice *argv, struct hc_command *commands)
{
	const struct hc_slice *keys = &call->argv[HC_SCRIPT_OPS_AT];

	if (sets->ttl.len == 0) {
		commands[0] = (struct hc_command){argv, 1 + 2 * call->n};
		*argv++ = HC_SLICE("MSET");
		for (size_t i = 0; i < call->n; i++) {
			*argv++ = keys[i];
			*argv++ = stored(call, sets, frames, i);
		}
		return 1;
	}
	for (size_t i = 0; i < call->n; i++) {
		commands[i] = (struct hc_command){argv, 5};
		*argv++ = HC_SLICE("SET");
		*argv++ = keys[i];
		*argv++ = stored(call, sets, frames, i);
		*argv++ = HC_SLICE("PX");
		*argv++ = sets->ttl;
	}
	return call->n;
}

/* ---- the script behind them ---- */

#define HEAD_MAX (6 * HC_PACK_HEAD_MAX + 4 * HC_PACK_NUMBER + 2 + HC_EVENT_MAX_MODEL + 1 + 4 * 24)

static struct hc_slice
pack_head(const struct hc_script_call *call, const struct sets *sets, char *dst)
{
	struct hc_slice model = args_of(call, 0)[ARG_MODEL];
	char field[2 + HC_EVENT_MAX_MODEL] = "m:", number[24], *at = dst;
	int len;

	if (model.len == 0)
		model = HC_SLICE("default");
	memcpy(field + 2, model.ptr, model.len);
	at += hc_pack_string(at, hc_slice(field, 2 + model.len));
	at += hc_pack_string(at, hc_slice_str(sets->how));
	at += hc_pack_number(at, (double)call->n);
	at += hc_pack_number(at, (double)sets->seq);
	len = snprintf(number, sizeof(number), "%" PRIu32, sets->incarnation);
	at += hc_pack_string(at, hc_slice(number, (size_t)len));
	len = snprintf(number, sizeof(number), "%" PRIu32, sets->epoch);
	at += hc_pack_string(at, hc_slice(number, (size_t)len));
	at += hc_pack_number(at, sets->latest);
	at += hc_pack_number(at, sets->ttl.len > 0 ? (double)strtoll(sets->ttl.ptr, NULL, 10) : -1);
	len = snprintf(number, sizeof(number), "%" PRIu32, hc_script_new_incarnation());
	at += hc_pack_string(at, hc_slice(number, (size_t)len));
	len = snprintf(number, sizeof(number), "%" PRId64, call->core->settings->fleet_journal_len);
	at += hc_pack_string(at, hc_slice(number, (size_t)len));
	return hc_slice(dst, (size_t)(at - dst));
}

static char *
pack_keys(const struct hc_script_call *call, struct hc_slice *out)
{
	const struct hc_slice *keys = &call->argv[HC_SCRIPT_OPS_AT];
	size_t bytes = 0, len = 0;

	for (size_t i = 0; i < call->n; i++)
		bytes += hc_pack_size(keys[i]);
	char *packed = hc_malloc(bytes);
	for (size_t i = 0; packed != NULL && i < call->n; i++)
		len += hc_pack_string(packed + len, keys[i]);
	*out = hc_slice(packed, len);
	return packed;
}

static enum hc_status
send_all(struct hc_script_call *call, struct hc_link *link, const struct sets *sets, const struct hc_slice *frames,
    struct hc_slice keys, hc_link_reply_fn *fn, void *arg)
{
	const struct hc_core *core = call->core;
	struct hc_event_pieces event;
	char head[HEAD_MAX];

	enum hc_status status = hc_script_event(call, hc_clock_wall_ms(), &event);
	if (status != HC_OK)
		return status;
	const struct hc_slice script[SCRIPT_ARGS] = {HC_SLICE("EVAL"), hc_slice(hc_lua_sets, hc_lua_sets_len),
	    HC_SLICE("2"), hc_fleet_state_key(core->fleet), hc_fleet_journal_key(core->fleet),
	    hc_fleet_channel(core->fleet), pack_head(call, sets, head), keys, event.before_seq, event.before_epoch,
	    event.after_epoch};
	struct hc_slice *argv = hc_malloc((1 + 5 * call->n) * sizeof(*argv));
	struct hc_command *commands = hc_malloc((call->n + 1) * sizeof(*commands));
	status = HC_NOMEM;
	if (argv != NULL && commands != NULL) {
		size_t n = set_commands(call, sets, frames, argv, commands);
		commands[n++] = (struct hc_command){script, SCRIPT_ARGS};
		status = hc_transaction_send(link, commands, n, fn, arg);
	}
	hc_free(commands);
	hc_free(argv);
	return status;
}

enum hc_status
hc_script_sets_send(struct hc_script_call *call, struct hc_link *link, uint64_t seq, hc_link_reply_fn *fn, void *arg)
{
	struct sets sets = sets_of(call, seq);
	struct hc_slice keys;
	struct hc_slice *frames = hc_malloc(call->n * sizeof(*frames));
	char *packed = pack_keys(call, &keys);
	char *values = sets.framed && frames != NULL ? make_frames(call, &sets, frames) : NULL;
	enum hc_status status = HC_NOMEM;

	if (frames != NULL && packed != NULL && (values != NULL || !sets.framed))
		status = send_all(call, link, &sets, frames, keys, fn, arg);
	hc_free(values);
	hc_free(packed);
	hc_free(frames);
	return status;
}

const redisReply *
hc_script_sets_reply(const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
		return reply;
	for (size_t i = 0; i < reply->elements; i++) {
		if (reply->element[i]->type == REDIS_REPLY_ERROR)
			return reply->element[i];
	}
	return reply->element[reply->elements - 1];
}
