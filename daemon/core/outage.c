/*
 * The outage list itself: what is on it and where, and what reads ask of it; see outage.h. Any thread; `lock` protects
 * all but the count.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "core/outage_private.h"

#define SLOTS_MIN 64

enum hc_status
hc_outage_create(struct hc_models *models, struct hc_outage **out)
{
	struct hc_outage *outage = hc_calloc(1, sizeof(*outage));
	if (outage == NULL)
		return HC_NOMEM;
	outage->slots = hc_calloc(SLOTS_MIN, sizeof(*outage->slots));
	if (outage->slots == NULL) {
		hc_free(outage);
		return HC_NOMEM;
	}
	outage->models = models;
	outage->n_slots = SLOTS_MIN;
	TAILQ_INIT(&outage->values);
	TAILQ_INIT(&outage->gone);
	pthread_mutex_init(&outage->lock, NULL);
	for (size_t i = 0; i < HC_OUTAGE_ORDERS; i++)
		pthread_mutex_init(&outage->order[i], NULL);
	*out = outage;
	return HC_OK;
}

void
hc_outage_destroy(struct hc_outage *outage)
{
	if (outage == NULL)
		return;
	outage->log = NULL; /* it keeps what is on the list */
	for (size_t i = 0; i < outage->n_slots; i++) {
		while (outage->slots[i] != NULL)
			hc_outage_remove(outage, &outage->slots[i]);
	}
	pthread_mutex_destroy(&outage->lock);
	for (size_t i = 0; i < HC_OUTAGE_ORDERS; i++)
		pthread_mutex_destroy(&outage->order[i]);
	hc_free(outage->slots);
	hc_free(outage->cleared);
	hc_free(outage);
}

void
hc_outage_set_log(struct hc_outage *outage, struct hc_outage_log *log)
{
	outage->log = log;
}

uint64_t
hc_outage_count(struct hc_outage *outage)
{
	return atomic_load_explicit(&outage->count, memory_order_acquire);
}

bool
hc_outage_empty(struct hc_outage *outage)
{
	return hc_outage_count(outage) == 0;
}

uint64_t
hc_outage_bytes(struct hc_outage *outage)
{
	pthread_mutex_lock(&outage->lock);
	uint64_t bytes = outage->bytes;
	pthread_mutex_unlock(&outage->lock);
	return bytes;
}

static void
note_older(int64_t *oldest_ms, int64_t at_ms)
{
	if (at_ms < *oldest_ms)
		*oldest_ms = at_ms;
}

int64_t
hc_outage_age_ms(struct hc_outage *outage)
{
	int64_t oldest_ms = INT64_MAX, now_ms = hc_clock_wall_ms();

	pthread_mutex_lock(&outage->lock);
	if (!TAILQ_EMPTY(&outage->values))
		note_older(&oldest_ms, TAILQ_FIRST(&outage->values)->at_ms);
	if (!TAILQ_EMPTY(&outage->gone))
		note_older(&oldest_ms, TAILQ_FIRST(&outage->gone)->at_ms);
	for (size_t i = 0; i < outage->n_cleared; i++)
		note_older(&oldest_ms, outage->cleared[i].at_ms);
	if (outage->all)
		note_older(&oldest_ms, outage->all_at_ms);
	pthread_mutex_unlock(&outage->lock);
	if (oldest_ms == INT64_MAX)
		return -1;
	return oldest_ms < now_ms ? now_ms - oldest_ms : 0;
}

/* ---- the log ---- */

void
hc_outage_log_type(struct hc_outage *outage, enum hc_outage_record_type type, struct hc_slice key)
{
	const struct hc_outage_record record = {.type = type, .key = key, .at_ms = hc_clock_wall_ms()};

	if (outage->log != NULL)
		hc_outage_log_append(outage->log, &record);
}

void
hc_outage_log_node(struct hc_outage *outage, const struct hc_outage_node *node)
{
	struct hc_outage_record record = {
	    .type = HC_OUTAGE_RECORD_GONE, .key = hc_outage_node_key(node), .since = node->since, .at_ms = node->at_ms};

	if (outage->log == NULL)
		return;
	if (node->entry != NULL && !node->was_contested) {
		record.type = HC_OUTAGE_RECORD_VALUE;
		record.model = hc_models_name(outage->models, hc_entry_model(node->entry));
		record.epoch = node->epoch;
		record.value = hc_entry_value(node->entry);
		record.expire_ms = node->expire_ms;
		if (node->doubt == HC_OUTAGE_UNSURE)
			record.since.life = 0;
	}
	hc_outage_log_append(outage->log, &record);
}

void
hc_outage_log_model(struct hc_outage *outage, enum hc_outage_record_type type, const struct hc_outage_model *model)
{
	if (outage->log == NULL)
		return;
	const struct hc_outage_record record = {.type = type,
	    .model = hc_models_name(outage->models, model->id),
	    .epoch = hc_models_epoch(outage->models, model->id),
	    .known = model->known,
	    .at_ms = hc_clock_wall_ms()};
	hc_outage_log_append(outage->log, &record);
}

void
hc_outage_recount(struct hc_outage *outage)
{
	uint64_t count = outage->n_keys + outage->n_cleared + outage->all;

	if (count == 0 && outage->log != NULL && !hc_outage_empty(outage))
		hc_outage_log_begin_anew(outage->log, true);
	atomic_store_explicit(&outage->count, count, memory_order_release);
}

/* ---- nodes ---- */

struct hc_outage_node **
hc_outage_slot(struct hc_outage *outage, struct hc_key key)
{
	struct hc_outage_node **at = &outage->slots[key.hash & (outage->n_slots - 1)];

	while (*at != NULL) {
		const struct hc_outage_node *n = *at;
		if (n->hash == key.hash && n->len == key.len && memcmp(n->key, key.ptr, key.len) == 0)
			break;
		at = &(*at)->next;
	}
	return at;
}

/* A larger table; without memory the old one goes on, slower. */
static void
grow(struct hc_outage *outage)
{
	size_t n = outage->n_slots * 2;
	struct hc_outage_node **slots = hc_calloc(n, sizeof(*slots));

	if (slots == NULL)
		return;
	for (size_t i = 0; i < outage->n_slots; i++) {
		while (outage->slots[i] != NULL) {
			struct hc_outage_node *node = outage->slots[i];
			outage->slots[i] = node->next;
			node->next = slots[node->hash & (n - 1)];
			slots[node->hash & (n - 1)] = node;
		}
	}
	hc_free(outage->slots);
	outage->slots = slots;
	outage->n_slots = n;
}

/* One that went; NULL: no memory. */
struct hc_outage_node *
hc_outage_add_node(struct hc_outage *outage, struct hc_key key)
{
	struct hc_outage_node *node = hc_malloc(sizeof(*node) + key.len);

	if (node == NULL)
		return NULL;
	if (outage->n_keys >= outage->n_slots)
		grow(outage);
	*node = (struct hc_outage_node){.hash = key.hash, .len = key.len, .at_ms = hc_clock_wall_ms()};
	memcpy(node->key, key.ptr, key.len);
	struct hc_outage_node **slot = &outage->slots[key.hash & (outage->n_slots - 1)];
	node->next = *slot;
	*slot = node;
	TAILQ_INSERT_TAIL(&outage->gone, node, in_order);
	outage->n_keys++;
	return node;
}

uint64_t
hc_outage_bytes_of(const struct hc_entry *entry)
{
	return entry != NULL ? hc_entry_footprint(entry) : 0;
}

void
hc_outage_drop_base(struct hc_outage *outage, struct hc_outage_node *node)
{
	outage->bytes -= hc_outage_bytes_of(node->base);
	hc_entry_unref(node->base);
	node->base = NULL;
}

void
hc_outage_drop_value(struct hc_outage *outage, struct hc_outage_node *node)
{
	hc_outage_drop_base(outage, node);
	if (node->entry == NULL)
		return;
	outage->bytes -= hc_outage_bytes_of(node->entry);
	hc_entry_unref(node->entry);
	node->entry = NULL;
	TAILQ_REMOVE(&outage->values, node, in_order);
	TAILQ_INSERT_TAIL(&outage->gone, node, in_order);
}

void
hc_outage_remove(struct hc_outage *outage, struct hc_outage_node **at)
{
	struct hc_outage_node *node = *at;

	hc_outage_log_type(outage, HC_OUTAGE_RECORD_DONE, hc_outage_node_key(node));
	hc_outage_drop_value(outage, node);
	*at = node->next;
	TAILQ_REMOVE(&outage->gone, node, in_order);
	hc_free(node);
	outage->n_keys--;
}

void
hc_outage_put_value(struct hc_outage *outage, struct hc_outage_node *node, struct hc_entry *entry)
{
	if (node->entry == NULL) {
		TAILQ_REMOVE(&outage->gone, node, in_order);
		TAILQ_INSERT_TAIL(&outage->values, node, in_order);
	}
	hc_entry_ref(entry);
	outage->bytes += hc_outage_bytes_of(entry) - hc_outage_bytes_of(node->entry);
	hc_entry_unref(node->entry);
	node->entry = entry;
}

void
hc_outage_put_base(struct hc_outage *outage, struct hc_outage_node *node, struct hc_entry *base, uint64_t version)
{
	hc_outage_drop_base(outage, node);
	if (base == NULL)
		return;
	hc_entry_ref(base);
	node->base = base;
	node->base_version = version;
	node->base_is_spare = false;
	outage->bytes += hc_outage_bytes_of(base);
}

bool
hc_outage_is_stale(const struct hc_outage *outage, const struct hc_outage_node *node, int64_t now_ms)
{
	return node->expire_ms <= now_ms || node->epoch != hc_models_epoch(outage->models, hc_entry_model(node->entry));
}

/* ---- models ---- */

struct hc_outage_model *
hc_outage_model(struct hc_outage *outage, uint32_t id)
{
	for (size_t i = 0; i < outage->n_cleared; i++) {
		if (outage->cleared[i].id == id)
			return &outage->cleared[i];
	}
	return NULL;
}

void
hc_outage_remove_model(struct hc_outage *outage, struct hc_outage_model *model)
{
	hc_outage_log_model(outage, HC_OUTAGE_RECORD_MODEL_DONE, model);
	*model = outage->cleared[--outage->n_cleared];
}

/* ---- what reads ask ---- */

bool
hc_outage_has_key(struct hc_outage *outage, struct hc_key key)
{
	pthread_mutex_lock(&outage->lock);
	bool has = outage->all || *hc_outage_slot(outage, key) != NULL;
	pthread_mutex_unlock(&outage->lock);
	return has;
}

bool
hc_outage_has_model(struct hc_outage *outage, uint32_t id)
{
	pthread_mutex_lock(&outage->lock);
	bool has = outage->all || hc_outage_model(outage, id) != NULL;
	pthread_mutex_unlock(&outage->lock);
	return has;
}

bool
hc_outage_tells_model(struct hc_outage *outage, uint32_t id)
{
	pthread_mutex_lock(&outage->lock);
	bool tells = hc_outage_model(outage, id) != NULL;
	pthread_mutex_unlock(&outage->lock);
	return tells;
}

bool
hc_outage_find(struct hc_outage *outage, struct hc_key key, int64_t now_ms, struct hc_entry **entry)
{
	*entry = NULL;
	pthread_mutex_lock(&outage->lock);
	const struct hc_outage_node *node = *hc_outage_slot(outage, key);
	bool has = outage->all || node != NULL;
	if (node != NULL && node->entry != NULL && node->doubt != HC_OUTAGE_CONTESTED && !node->was_contested &&
	    !hc_outage_is_stale(outage, node, now_ms) && hc_entry_expire_ms(node->entry) > now_ms) {
		*entry = node->entry;
		hc_entry_ref(*entry);
	}
	pthread_mutex_unlock(&outage->lock);
	return has;
}

bool
hc_outage_doubts_key(struct hc_outage *outage, struct hc_key key)
{
	pthread_mutex_lock(&outage->lock);
	bool doubts = outage->all || outage->n_cleared > 0 || *hc_outage_slot(outage, key) != NULL;
	pthread_mutex_unlock(&outage->lock);
	return doubts;
}
