/*
 * Models' epochs as the upstream has them: heard of with the fleet's events, and asked for where those do not come.
 */
#include "base/clock.h"
#include "base/num.h"
#include "core/internal.h"

void
hc_core_raise_epoch(struct hc_core *core, uint32_t model, uint32_t epoch)
{
	if (!hc_models_raise(core->models, model, epoch))
		return;
	hc_tier_clear_model(core->tier, model, epoch); /* after another start the files must not bring it back */
	hc_tier_kick(core->tier);
}

uint64_t
hc_core_reply_number(const redisReply *value)
{
	uint64_t n = 0;

	if (value->type == REDIS_REPLY_STRING)
		(void)hc_num_u64(hc_slice(value->str, (size_t)value->len), &n);
	return n;
}

uint64_t
hc_core_state_number(const redisReply *state, const char *field)
{
	for (size_t i = 0; i + 1 < state->elements; i += 2) {
		if (state->element[i]->type == REDIS_REPLY_STRING && strcmp(state->element[i]->str, field) == 0)
			return hc_core_reply_number(state->element[i + 1]);
	}
	return 0;
}

void
hc_core_take_epochs(struct hc_core *core, const redisReply *state)
{
	for (size_t i = 0; i + 1 < state->elements; i += 2) {
		const redisReply *field = state->element[i];
		uint32_t id;
		if (field->type != REDIS_REPLY_STRING || field->len < 3 || memcmp(field->str, "m:", 2) != 0)
			continue;
		/* A model that has no place here is never served either: its frames find none. */
		if (hc_models_intern(core->models, hc_slice(field->str + 2, (size_t)field->len - 2), &id) == HC_OK)
			hc_core_raise_epoch(core, id, (uint32_t)hc_core_reply_number(state->element[i + 1]));
	}
}

uint32_t
hc_core_epoch_to_tell(struct hc_core *core, uint32_t model)
{
	uint32_t epoch = hc_models_epoch(core->models, model);

	return epoch > 0 && !hc_outage_tells_model(core->outage, model) ? epoch : 0;
}

bool
hc_core_is_ahead(struct hc_core *core, const redisReply *state)
{
	uint32_t models = hc_models_count(core->models), id;
	size_t ahead = 0;

	for (id = 0; id < models; id++)
		ahead += hc_core_epoch_to_tell(core, id) > 0;
	for (size_t i = 0; i + 1 < state->elements; i += 2) {
		const redisReply *field = state->element[i];
		if (field->type == REDIS_REPLY_STRING && field->len >= 3 && memcmp(field->str, "m:", 2) == 0 &&
		    hc_models_find(core->models, hc_slice(field->str + 2, (size_t)field->len - 2), &id) == HC_OK) {
			uint64_t epoch = hc_core_reply_number(state->element[i + 1]);
			ahead -= epoch > 0 && epoch == hc_core_epoch_to_tell(core, id);
		}
	}
	return ahead > 0;
}

static void
on_state(void *arg, enum hc_status status, const redisReply *state)
{
	struct hc_core_worker *worker = arg;
	struct hc_core *core = worker->core;
	uint32_t unknown = 0;

	if (status != HC_OK || state->type != REDIS_REPLY_ARRAY) {
		worker->epochs_asked_ms = 0;
		return;
	}
	hc_core_take_epochs(core, state);
	/* Just after the start, frames say nothing without it. */
	(void)atomic_compare_exchange_strong(
	    &core->incarnation, &unknown, (uint32_t)hc_core_state_number(state, "inc"));
}

enum hc_status
hc_core_epochs_first(struct hc_core_worker *worker)
{
	const struct hc_core *core = worker->core;
	const struct hc_slice argv[] = {HC_SLICE("HGETALL"), hc_fleet_state_key(core->fleet)};

	if (atomic_load(&core->coherent))
		return HC_OK;
	int64_t now_ms = hc_clock_mono_ms();
	if (worker->epochs_asked_ms != 0 && now_ms - worker->epochs_asked_ms < core->settings->fleet_lease / 2)
		return HC_OK;
	enum hc_status status = hc_link_send(worker->link, argv, 2, on_state, worker);
	if (status == HC_OK)
		worker->epochs_asked_ms = now_ms;
	return status;
}
