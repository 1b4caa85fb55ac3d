/*
 * What is changed here while the upstream cannot be told: how it comes onto the outage list. Any thread; see outage.h.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "core/outage_private.h"

/* The node to be changed, of that key. */
static enum hc_status
node_for(struct hc_outage *outage, struct hc_key key, uint64_t max, struct hc_outage_node **node)
{
	*node = *hc_outage_slot(outage, key);
	if (*node != NULL)
		return HC_OK;
	if (outage->n_keys >= max)
		return HC_LIMIT;
	*node = hc_outage_add_node(outage, key);
	return *node != NULL ? HC_OK : HC_NOMEM;
}

static void
changed(struct hc_outage *outage, struct hc_outage_node *node)
{
	node->mark = ++outage->marks;
	node->tries = 0;
	node->overtaken = 0;
	hc_outage_log_node(outage, node);
	hc_outage_recount(outage);
}

static void
written(struct hc_outage *outage, struct hc_outage_node *node)
{
	changed(outage, node);
	node->written = node->mark;
}

/* A base is what the upstream had before the first of these changes, as long as nothing else may have come to it. */
static void
take_base(struct hc_outage *outage, struct hc_outage_node *node, bool was_there, const struct hc_outage_value *value)
{
	if (value->sent || node->doubt == HC_OUTAGE_CONTESTED || node->was_contested)
		hc_outage_drop_base(outage, node);
	else if (!was_there && value->base != NULL)
		hc_outage_put_base(outage, node, value->base, hc_entry_version(value->base));
	if (node->doubt == HC_OUTAGE_UNSURE)
		node->base_is_spare = true;
	node->was_contested = false;
	node->doubt = HC_OUTAGE_SURE; /* this is younger than what another wrote, or may have written, before */
}

/* What the values would take with that one in place of what its key has. */
static uint64_t
bytes_with(const struct hc_outage *outage, const struct hc_outage_node *present, const struct hc_outage_value *value)
{
	uint64_t bytes = outage->bytes + hc_outage_bytes_of(value->entry);

	return present != NULL ? bytes - hc_outage_bytes_of(present->entry) : bytes + hc_outage_bytes_of(value->base);
}

static pthread_mutex_t *
order_of(struct hc_outage *outage, struct hc_key key)
{
	return &outage->order[key.hash & (HC_OUTAGE_ORDERS - 1)];
}

void
hc_outage_enter(struct hc_outage *outage, struct hc_key key)
{
	pthread_mutex_lock(order_of(outage, key));
}

void
hc_outage_leave(struct hc_outage *outage, struct hc_key key)
{
	pthread_mutex_unlock(order_of(outage, key));
}

uint64_t
hc_outage_losses(const struct hc_outage *outage)
{
	return atomic_load(&outage->losses);
}

enum hc_status
hc_outage_add_value(struct hc_outage *outage, struct hc_key key, const struct hc_outage_value *value,
    const struct hc_outage_limits *max)
{
	struct hc_outage_node *node;
	enum hc_status status = HC_LIMIT;

	pthread_mutex_lock(&outage->lock);
	const struct hc_outage_node *present = *hc_outage_slot(outage, key);
	if (bytes_with(outage, present, value) <= max->bytes)
		status = node_for(outage, key, max->keys, &node);
	if (status == HC_OK) {
		hc_outage_put_value(outage, node, value->entry);
		take_base(outage, node, present != NULL, value);
		node->expire_ms = value->expire_ms;
		node->since = value->since;
		node->sent = value->sent;
		node->told = false;
		node->own_of_any = outage->own_of_any;
		node->epoch = hc_entry_epoch(value->entry);
		if (value->losses != atomic_load(&outage->losses))
			hc_outage_doubt(node);
		written(outage, node);
	}
	pthread_mutex_unlock(&outage->lock);
	return status;
}

enum hc_status
hc_outage_add_key(struct hc_outage *outage, struct hc_key key, uint64_t max)
{
	struct hc_outage_node *node;

	pthread_mutex_lock(&outage->lock);
	enum hc_status status = node_for(outage, key, max, &node);
	if (status == HC_OK) {
		hc_outage_drop_value(outage, node);
		node->doubt = HC_OUTAGE_SURE;
		written(outage, node);
	}
	pthread_mutex_unlock(&outage->lock);
	return status;
}

enum hc_status
hc_outage_add_expiry(struct hc_outage *outage, struct hc_key key, int64_t expire_ms, uint64_t max)
{
	struct hc_outage_node *node;

	pthread_mutex_lock(&outage->lock);
	bool was_there = *hc_outage_slot(outage, key) != NULL;
	enum hc_status status = node_for(outage, key, max, &node);
	if (status == HC_OK) {
		node->expire_ms = expire_ms;
		changed(outage, node);
		if (!was_there)
			node->written = node->mark;
	}
	pthread_mutex_unlock(&outage->lock);
	return status;
}

static bool
reserve_models(struct hc_outage *outage, size_t n)
{
	if (n <= outage->cap_cleared)
		return true;
	struct hc_outage_model *cleared = hc_realloc(outage->cleared, n * sizeof(*cleared));
	if (cleared == NULL)
		return false;
	outage->cleared = cleared;
	outage->cap_cleared = n;
	return true;
}

enum hc_status
hc_outage_reserve_models(struct hc_outage *outage)
{
	pthread_mutex_lock(&outage->lock);
	bool enough = reserve_models(outage, hc_models_count(outage->models));
	pthread_mutex_unlock(&outage->lock);
	return enough ? HC_OK : HC_NOMEM;
}

static struct hc_outage_model *
add_model(struct hc_outage *outage, uint32_t id, uint32_t known)
{
	size_t cap = outage->cap_cleared;

	if (outage->n_cleared == cap && !reserve_models(outage, cap == 0 ? 8 : cap * 2))
		return NULL;
	struct hc_outage_model *model = &outage->cleared[outage->n_cleared++];
	*model = (struct hc_outage_model){.id = id, .known = known, .at_ms = hc_clock_wall_ms()};
	return model;
}

enum hc_status
hc_outage_add_model(struct hc_outage *outage, uint32_t id, uint32_t known)
{
	pthread_mutex_lock(&outage->lock);
	struct hc_outage_model *model = hc_outage_model(outage, id);
	if (model == NULL)
		model = add_model(outage, id, known);
	if (model != NULL) {
		model->mark = ++outage->marks;
		model->epoch = hc_models_epoch(outage->models, id);
		hc_outage_log_model(outage, HC_OUTAGE_RECORD_MODEL, model);
		hc_outage_recount(outage);
	}
	pthread_mutex_unlock(&outage->lock);
	return model != NULL ? HC_OK : HC_NOMEM;
}

void
hc_outage_add_all(struct hc_outage *outage)
{
	pthread_mutex_lock(&outage->lock);
	while (!TAILQ_EMPTY(&outage->values))
		hc_outage_drop_value(outage, TAILQ_FIRST(&outage->values));
	outage->all = true;
	outage->all_at_ms = hc_clock_wall_ms();
	outage->all_mark = ++outage->marks;
	hc_outage_log_type(outage, HC_OUTAGE_RECORD_ALL, HC_SLICE(""));
	hc_outage_recount(outage);
	pthread_mutex_unlock(&outage->lock);
}

uint64_t
hc_outage_mark(const struct hc_outage *outage)
{
	return atomic_load(&outage->marks);
}

void
hc_outage_forget_key(struct hc_outage *outage, struct hc_key key, uint64_t mark)
{
	pthread_mutex_lock(&outage->lock);
	struct hc_outage_node **at = hc_outage_slot(outage, key);
	if (*at != NULL && (*at)->written <= mark)
		hc_outage_remove(outage, at);
	hc_outage_recount(outage);
	pthread_mutex_unlock(&outage->lock);
}
