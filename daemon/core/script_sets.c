/*
 * A batch of SETs as a transaction: the values go to the upstream as they will lie there, and the script behind them
 * (proto/lua/whole/sets.lua) numbers them and tells the fleet. So what they are to look like is decided here, by the
 * state of the fleet as it is known here; if it turns out to be another, the script deletes them, and they are sent
 * again by write.lua. Only the number in their frames is put right. On whichever thread the link is.
 *
 *     MULTI, MSET key value … or SET key value PX ttl …, EVAL sets.lua, EXEC
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "core/outage.h"
#include "core/script_private.h"
#include "core/transaction.h"
#include "proto/frame.h"
#include "proto/lua_scripts.h"
#include "proto/pack.h"

/*
 * Instructions of the upstream's, counted by callgrind with Redis 7.0, that a value saves if it does not go through
 * Lua, raw and framed, for itself and for each of its bytes. The transaction costs none beside what the other script
 * does; but it has 500 bytes more on its way, and these are not sent for next to nothing.
 */
#define RAW_GAIN 5100
#define RAW_BYTE_GAIN 11
#define FRAMED_GAIN 10800
#define FRAMED_BYTE_GAIN 23
#define WORTH_IT 15000

/* What Redis would refuse must not be refused within the transaction, where the script would go on all the same. */
#define TTL_DIGITS_MAX 15
#define VALUE_MAX ((size_t)64 << 20) /* with a frame, it might be more than the upstream takes */

#define SCRIPT_ARGS_MAX 15

static const struct hc_slice *
args_of(const struct hc_script_call *call, size_t op)
{
	return &call->args[HC_SCRIPT_ARGS_HEAD + op * HC_SCRIPT_ARGS_PER_OP];
}

/* What all of them have in common: ms, or empty. */
static struct hc_slice
ttl_of(const struct hc_script_call *call)
{
	struct hc_slice expiry = args_of(call, 0)[ARG_EXPIRY];

	return expiry.len > 0 ? hc_slice(expiry.ptr + 1, expiry.len - 1) : hc_slice(NULL, 0);
}

/* Whether there is reason to believe that it will hold. The epoch is asked for once: it may change meanwhile. */
static bool
suppose(const struct hc_script_call *call, struct hc_script_sets *out)
{
	const struct hc_core *core = call->core;
	const char *flags = args_of(call, 0)[ARG_FLAGS].ptr; /* with a NUL behind */
	const char *seen = strchr(flags, 'l');
	struct hc_slice ttl = ttl_of(call);
	struct hc_script_premise premise = {
	    .model = call->model,
	    .incarnation = atomic_load(&core->incarnation),
	    .epoch = hc_models_epoch(core->models, call->model),
	};

	if (premise.incarnation == 0 || ttl.len > TTL_DIGITS_MAX)
		return false;
	if (seen != NULL && strtoll(seen + 1, NULL, 10) < (long long)premise.epoch)
		return false; /* too late, which write.lua knows how to deal with */
	if (!hc_outage_empty(core->outage) && hc_outage_tells_model(core->outage, call->model))
		return false; /* the upstream does not know of that epoch yet */
	*out = (struct hc_script_sets){
	    .premise = premise,
	    .framed = flags[0] == 'f' || (flags[0] != 'r' && premise.epoch > 0),
	    .pttl = ttl.len > 0 ? strtoll(ttl.ptr, NULL, 10) : -1,
	};
	return true;
}

bool
hc_script_sets_pays(const struct hc_script_call *call, struct hc_script_sets *out)
{
	size_t gain = 0;

	if (!call->is_plain || call->n == 0 || !suppose(call, out))
		return false;
	for (size_t i = 0; i < call->n; i++) {
		size_t len = args_of(call, i)[ARG_VALUE].len;
		if (len > VALUE_MAX)
			return false;
		gain += out->framed ? FRAMED_GAIN + len * FRAMED_BYTE_GAIN : RAW_GAIN + len * RAW_BYTE_GAIN;
	}
	return gain > WORTH_IT;
}

/* ---- the values ---- */

/* With their frames, one behind the other; they are what is in out[]. NULL: no memory. */
static char *
make_frames(
    const struct hc_script_call *call, const struct hc_script_premise *premise, uint64_t seq, struct hc_slice *out)
{
	struct hc_frame frame = {
	    .incarnation = premise->incarnation, .epoch = premise->epoch, .model = args_of(call, 0)[ARG_MODEL]};
	size_t head = HC_FRAME_HEAD + frame.model.len, bytes = 1;

	for (size_t i = 0; i < call->n; i++)
		bytes += head + args_of(call, i)[ARG_VALUE].len;
	char *frames = hc_malloc(bytes), *at = frames;
	for (size_t i = 0; frames != NULL && i < call->n; i++) {
		const struct hc_slice *args = args_of(call, i);
		frame.seq = seq + i;
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

/* One MSET, or with an expiry a SET for each. Returns how many commands there are. */
static size_t
set_commands(const struct hc_script_call *call, const struct hc_slice *values, struct hc_slice *argv,
    struct hc_command *commands)
{
	const struct hc_slice *keys = &call->argv[HC_SCRIPT_OPS_AT];
	struct hc_slice ttl = ttl_of(call);

	if (ttl.len == 0) {
		commands[0] = (struct hc_command){argv, 1 + 2 * call->n};
		*argv++ = HC_SLICE("MSET");
		for (size_t i = 0; i < call->n; i++) {
			*argv++ = keys[i];
			*argv++ = values[i];
		}
		return 1;
	}
	for (size_t i = 0; i < call->n; i++) {
		commands[i] = (struct hc_command){argv, 5};
		*argv++ = HC_SLICE("SET");
		*argv++ = keys[i];
		*argv++ = values[i];
		*argv++ = HC_SLICE("PX");
		*argv++ = ttl;
	}
	return call->n;
}

/* ---- the script behind them ---- */

/* What its arguments need of their own memory. */
struct script_text {
	char field[2 + HC_EVENT_MAX_MODEL];
	char count[24], journal_len[24], incarnation[24], epoch[24], seq[24];
};

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

static struct hc_slice
number(char *dst, size_t cap, uint64_t value)
{
	return hc_slice(dst, (size_t)snprintf(dst, cap, "%" PRIu64, value));
}

static struct hc_slice
state_field(const struct hc_script_call *call, char *dst)
{
	struct hc_slice model = args_of(call, 0)[ARG_MODEL];

	if (model.len == 0)
		model = HC_SLICE("default");
	memcpy(dst, "m:", 2);
	memcpy(dst + 2, model.ptr, model.len);
	return hc_slice(dst, 2 + model.len);
}

/* Returns how many arguments there are. */
static size_t
script_command(const struct hc_script_call *call, const struct hc_script_sets *sets, uint64_t seq, struct hc_slice keys,
    struct hc_slice event, struct script_text *text, struct hc_slice *argv)
{
	const struct hc_core *core = call->core;
	const struct hc_slice *first = argv;

	*argv++ = HC_SLICE("EVAL");
	*argv++ = hc_slice(hc_lua_sets, hc_lua_sets_len);
	*argv++ = HC_SLICE("2");
	*argv++ = hc_fleet_state_key(core->fleet);
	*argv++ = hc_fleet_journal_key(core->fleet);
	*argv++ = hc_fleet_channel(core->fleet);
	*argv++ = number(text->count, sizeof(text->count), call->n);
	*argv++ = keys;
	hc_event_cut_at_seq(event, &argv[0], &argv[1]);
	argv += 2;
	*argv++ = number(text->journal_len, sizeof(text->journal_len), (uint64_t)core->settings->fleet_journal_len);
	*argv++ = number(text->incarnation, sizeof(text->incarnation), sets->premise.incarnation);
	*argv++ = state_field(call, text->field);
	*argv++ = number(text->epoch, sizeof(text->epoch), sets->premise.epoch);
	if (sets->framed)
		*argv++ = number(text->seq, sizeof(text->seq), seq);
	return (size_t)(argv - first);
}

/* ---- both ---- */

static enum hc_status
send_all(struct hc_script_call *call, struct hc_link *link, const struct hc_slice *values,
    const struct hc_slice *script, size_t script_args, hc_link_reply_fn *fn, void *arg)
{
	struct hc_slice *argv = hc_malloc((1 + 5 * call->n) * sizeof(*argv));
	struct hc_command *commands = hc_malloc((call->n + 1) * sizeof(*commands));
	enum hc_status status = HC_NOMEM;

	if (argv != NULL && commands != NULL) {
		size_t n = set_commands(call, values, argv, commands);
		commands[n++] = (struct hc_command){script, script_args};
		status = hc_transaction_send(link, commands, n, fn, arg);
	}
	hc_free(commands);
	hc_free(argv);
	return status;
}

enum hc_status
hc_script_sets_send(struct hc_script_call *call, struct hc_link *link, const struct hc_script_sets *sets, uint64_t seq,
    hc_link_reply_fn *fn, void *arg)
{
	struct script_text text;
	struct hc_slice script[SCRIPT_ARGS_MAX], keys, event;
	struct hc_slice *values = hc_malloc(call->n * sizeof(*values));
	char *packed = pack_keys(call, &keys), *frames = NULL;
	enum hc_status status = HC_NOMEM;

	if (values == NULL || packed == NULL)
		goto out;
	if (sets->framed && (frames = make_frames(call, &sets->premise, seq, values)) == NULL)
		goto out;
	for (size_t i = 0; !sets->framed && i < call->n; i++)
		values[i] = args_of(call, i)[ARG_VALUE];
	status = hc_script_event(call, hc_clock_wall_ms(), sets->premise.epoch, &event);
	if (status != HC_OK)
		goto out;
	size_t script_args = script_command(call, sets, seq, keys, event, &text, script);
	status = send_all(call, link, values, script, script_args, fn, arg);
out:
	hc_free(frames);
	hc_free(packed);
	hc_free(values);
	return status;
}

/* ---- the answer ---- */

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

enum hc_status
hc_script_sets_result(
    const struct hc_script_sets *sets, const redisReply *reply, size_t op, struct hc_script_result *out)
{
	if (reply->type != REDIS_REPLY_INTEGER || reply->integer == 0 || reply->integer == INT64_MIN)
		return HC_ERROR;
	*out = (struct hc_script_result){
	    .code = HC_SCRIPT_DONE,
	    .done = true,
	    .seq = (uint64_t)(reply->integer < 0 ? -reply->integer : reply->integer) + op,
	    .epoch = sets->premise.epoch,
	    .pttl = hc_script_sets_refuted(reply) ? -2 : sets->pttl,
	};
	return HC_OK;
}

bool
hc_script_sets_refuted(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_INTEGER && reply->integer < 0;
}
