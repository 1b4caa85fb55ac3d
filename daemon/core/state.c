/* What the fleet's state at the upstream is asked for with, and told: the epochs that are known here. Main thread. */
#include <inttypes.h>
#include <stdio.h>
#include "base/hash.h"
#include "base/mem.h"
#include "core/sync.h"
#include "proto/lua_scripts.h"

/* Arguments of the state script: our epochs, those that are not 0. */
struct state_call {
	struct hc_slice *argv;
	size_t argc;
	char (*numbers)[16];
	char incarnation[16];
};

static bool
state_call_fill(struct state_call *call, struct hc_core *core)
{
	uint32_t models = hc_models_count(core->models), candidate = 0;

	call->argv = hc_calloc(5 + (size_t)models * 2, sizeof(*call->argv));
	call->numbers = hc_calloc(models, sizeof(*call->numbers));
	if (call->argv == NULL || call->numbers == NULL)
		return false;
	while (candidate == 0 && hc_random(&candidate, sizeof(candidate)) == 0)
		continue;
	snprintf(call->incarnation, sizeof(call->incarnation), "%" PRIu32, candidate);
	call->argv[call->argc++] = HC_SLICE("EVAL");
	call->argv[call->argc++] = hc_slice(hc_lua_state, hc_lua_state_len);
	call->argv[call->argc++] = HC_SLICE("1");
	call->argv[call->argc++] = hc_fleet_state_key(core->fleet);
	call->argv[call->argc++] = hc_slice_str(call->incarnation);
	for (uint32_t id = 0; id < models; id++) {
		uint32_t epoch = hc_core_epoch_to_tell(core, id);
		if (epoch == 0)
			continue;
		snprintf(call->numbers[id], sizeof(call->numbers[id]), "%" PRIu32, epoch);
		call->argv[call->argc++] = hc_models_name(core->models, id);
		call->argv[call->argc++] = hc_slice_str(call->numbers[id]);
	}
	return true;
}

enum hc_status
hc_sync_send_state(struct hc_sync *sync, hc_link_reply_fn *fn)
{
	struct state_call call = {0};
	enum hc_status status = HC_NOMEM;

	if (state_call_fill(&call, sync->core))
		status = hc_link_send(sync->control, call.argv, call.argc, fn, sync);
	hc_free(call.argv);
	hc_free(call.numbers);
	return status;
}

static void
on_told_epochs(void *arg, enum hc_status status, const redisReply *state)
{
	struct hc_sync *sync = arg;

	if (status != HC_OK || state->type != REDIS_REPLY_ARRAY)
		return;
	hc_core_take_epochs(sync->core, state);
	sync->ahead = hc_core_is_ahead(sync->core, state);
}

void
hc_sync_tell_epochs(struct hc_sync *sync)
{
	if (sync->ahead)
		(void)hc_sync_send_state(sync, on_told_epochs);
}
