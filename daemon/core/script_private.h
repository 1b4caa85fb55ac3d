/*
 * The call of the write script as it is being made, for script.c and script_sets.c only.
 */
#ifndef HC_CORE_SCRIPT_PRIVATE_H
#define HC_CORE_SCRIPT_PRIVATE_H

#include "core/internal.h"
#include "proto/event.h"

#define HC_SCRIPT_KEYS_HEAD 2 /* state, journal */
#define HC_SCRIPT_ARGS_HEAD 6 /* channel, instance, time, incarnation, length of the journal, form */
#define HC_SCRIPT_ARGS_PER_OP 8

enum hc_script_arg { ARG_KIND, ARG_FLAGS, ARG_MODEL, ARG_RAW_MODEL, ARG_EXPIRY, ARG_LENGTH, ARG_SUM, ARG_VALUE };
#define HC_SCRIPT_OPS_AT (3 + HC_SCRIPT_KEYS_HEAD) /* in argv: where the ops' keys begin */

/* What an op's arguments need of their own memory. */
struct hc_script_text {
	char flags[24];
	char expiry[24];
	char length[24];
	char sum[16];
	char offset[24];
};

struct hc_script_call {
	const struct hc_core *core;
	size_t cap, n;
	bool is_plain;         /* so far: it can have the short form */
	uint32_t model;        /* of the first op */
	struct hc_slice *argv; /* EVALSHA, script, count, the fleet's keys, then cap keys, then the arguments */
	struct hc_slice *args;
	struct hc_script_text *texts;
	char **keys; /* with their prefix */
	char *event; /* of the short form */
	char count[24], time[24], incarnation[16], journal_len[24];
};

/* The event of all ops of a plain call, of that epoch, without the number it will have: it is call->event. HC_OK,
 * HC_NOMEM. */
enum hc_status hc_script_event(struct hc_script_call *call, int64_t time_ms, uint32_t epoch, struct hc_slice *out);

#endif
