/*
 * Groups: pairs of a model and an epoch, which the index knows by 16 bits. All items of a group are dead as soon as
 * its epoch is not its model's: clearing a model touches none of them. A group is used anew when no item has it.
 *
 * Under log.lock but where internal.h says otherwise.
 */
#include "base/mem.h"
#include "file/internal.h"

enum hc_status
hc_groups_init(struct hc_groups *groups)
{
	groups->groups = hc_calloc(HC_GROUPS, sizeof(*groups->groups));
	return groups->groups == NULL ? HC_NOMEM : HC_OK;
}

void
hc_groups_fini(struct hc_groups *groups)
{
	for (uint32_t i = 0; i < HC_MODEL_CHUNKS; i++)
		hc_free(groups->models[i]);
	hc_free(groups->groups);
}

struct hc_model_state *
hc_model_state(struct hc_groups *groups, uint32_t model)
{
	struct hc_model_state *chunk;

	if (model / HC_MODEL_CHUNK >= HC_MODEL_CHUNKS)
		return NULL;
	chunk = groups->models[model / HC_MODEL_CHUNK];
	return chunk == NULL ? NULL : &chunk[model % HC_MODEL_CHUNK];
}

struct hc_model_state *
hc_model_state_make(struct hc_groups *groups, uint32_t model)
{
	if (model / HC_MODEL_CHUNK >= HC_MODEL_CHUNKS)
		return NULL;
	if (groups->models[model / HC_MODEL_CHUNK] == NULL)
		groups->models[model / HC_MODEL_CHUNK] = hc_calloc(HC_MODEL_CHUNK, sizeof(struct hc_model_state));
	if (groups->models[model / HC_MODEL_CHUNK] == NULL)
		return NULL;
	if (model >= atomic_load_explicit(&groups->models_top, memory_order_relaxed))
		atomic_store_explicit(&groups->models_top, model + 1, memory_order_release);
	return hc_model_state(groups, model);
}

/* No item has it, and it is not the one its model's next item would get. */
static bool
is_free(struct hc_groups *groups, uint32_t number)
{
	struct hc_group *group = &groups->groups[number];
	const struct hc_model_state *model;

	if (!group->used)
		return true;
	/* Acquire: whoever took the last item out has looked at the group before. */
	if (atomic_load_explicit(&group->items, memory_order_acquire) != 0)
		return false;
	model = hc_model_state(groups, group->model);
	return model == NULL || model->group != number;
}

static bool
find_free(struct hc_groups *groups, uint16_t *out)
{
	for (uint32_t i = 0; i < HC_GROUPS; i++) {
		uint32_t number = (groups->next + i) % HC_GROUPS;
		if (is_free(groups, number)) {
			groups->next = (number + 1) % HC_GROUPS;
			*out = (uint16_t)number;
			return true;
		}
	}
	return false;
}

static void
count_epoch(struct hc_file *file, struct hc_model_state *state, uint32_t model, uint32_t epoch)
{
	struct hc_groups *groups = &file->groups;

	if (epoch == 0 || state->in_state)
		return;
	state->in_state = true;
	groups->epoch_bytes += HC_STATE_EPOCH + file->config.model_name(file->config.arg, model).len;
	if (groups->epochs++ == 0)
		groups->epoch_first = model;
	else
		hc_model_state(groups, groups->epoch_last)->state_next = model;
	groups->epoch_last = model;
}

void
hc_group_note_epoch(struct hc_file *file, uint32_t model, uint32_t epoch)
{
	struct hc_model_state *state = hc_model_state_make(&file->groups, model);

	if (state != NULL)
		count_epoch(file, state, model, epoch);
}

size_t
hc_groups_put_epochs(struct hc_file *file, uint64_t n, uint8_t *at, size_t room)
{
	const struct hc_file_config *config = &file->config;
	uint32_t id;
	size_t len = 0;

	pthread_mutex_lock(&file->log.lock);
	id = file->groups.epoch_first;
	for (; n > 0; n--, id = hc_model_state(&file->groups, id)->state_next)
		len += hc_state_put(
		    at + len, room - len, config->model_name(config->arg, id), config->model_epoch(config->arg, id));
	pthread_mutex_unlock(&file->log.lock);
	return len;
}

enum hc_status
hc_group_resolve(struct hc_file *file, uint32_t model, uint32_t epoch, uint16_t *out)
{
	struct hc_groups *groups = &file->groups;
	struct hc_model_state *state = hc_model_state(groups, model);
	uint16_t number;

	if (epoch != file->config.model_epoch(file->config.arg, model))
		return HC_STALE;
	if (state != NULL && state->known && groups->groups[state->group].epoch == epoch) {
		*out = state->group;
		return HC_OK;
	}
	if (state == NULL && (state = hc_model_state_make(groups, model)) == NULL)
		return model / HC_MODEL_CHUNK >= HC_MODEL_CHUNKS ? HC_LIMIT : HC_NOMEM;
	if (!find_free(groups, &number))
		return HC_LIMIT;
	struct hc_group *group = &groups->groups[number];
	group->model = model;
	group->epoch = epoch;
	group->used = true;
	group->defined_seq = 0;
	atomic_store_explicit(&group->bytes, 0, memory_order_relaxed);
	if (number >= atomic_load_explicit(&groups->top, memory_order_relaxed))
		atomic_store_explicit(&groups->top, number + 1u, memory_order_relaxed);
	state->known = true;
	state->group = number;
	count_epoch(file, state, model, epoch);
	*out = number;
	return HC_OK;
}

bool
hc_group_current(const struct hc_file *file, uint16_t number)
{
	const struct hc_group *group = &file->groups.groups[number];

	return group->epoch == file->config.model_epoch(file->config.arg, group->model);
}

void
hc_group_enter(struct hc_file *file, uint16_t number, uint32_t bytes)
{
	struct hc_group *group = &file->groups.groups[number];

	atomic_fetch_add_explicit(&group->items, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&group->bytes, bytes, memory_order_relaxed);
}

void
hc_group_leave(struct hc_file *file, uint16_t number, uint32_t items, uint64_t bytes)
{
	struct hc_group *group = &file->groups.groups[number];

	atomic_fetch_sub_explicit(&group->bytes, bytes, memory_order_relaxed);
	atomic_fetch_sub_explicit(&group->items, items, memory_order_release);
}

void
hc_groups_sum(struct hc_file *file, uint64_t *items, uint64_t *bytes, uint64_t *dead)
{
	*items = *bytes = *dead = 0;
	pthread_mutex_lock(&file->log.lock);
	for (uint32_t i = 0; i < atomic_load_explicit(&file->groups.top, memory_order_relaxed); i++) {
		struct hc_group *group = &file->groups.groups[i];
		uint32_t n = atomic_load_explicit(&group->items, memory_order_relaxed);
		if (n == 0)
			continue;
		if (!hc_group_current(file, (uint16_t)i)) {
			*dead += n;
			continue;
		}
		*items += n;
		*bytes += atomic_load_explicit(&group->bytes, memory_order_relaxed);
	}
	pthread_mutex_unlock(&file->log.lock);
}
