/*
 * The table of models. Any thread; look-ups take no lock. It owns the names.
 *
 *     index: open addressing, hash of a name → id + 1     published last, by a release store
 *       │
 *     chunks[id / 256] ── epochs[256], models[256]        published once, never moved or freed
 *
 * Epochs, which every hit reads, are kept apart from the counters, which every insertion writes.
 */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/hash.h"
#include "base/mem.h"
#include "store/models.h"

#define CHUNK_BITS 8
#define CHUNK_SIZE (1u << CHUNK_BITS)
#define INDEX_MIN 16u

struct model {
	struct hc_slice name; /* constant once published; owned */
	uint64_t hash;        /* constant once published */
	_Atomic uint64_t cleared_at;
	_Atomic uint64_t clears;
	_Atomic int64_t entries; /* signed: batches of several threads may arrive out of order */
	_Atomic int64_t bytes;
};

struct chunk {
	_Atomic uint32_t epochs[CHUNK_SIZE];
	struct model models[CHUNK_SIZE];
};

struct hc_models {
	/* constant after creation */
	uint32_t max;
	uint32_t index_mask;
	_Atomic uint32_t *index;
	/* each pointer written once, under the lock; read by anyone */
	struct chunk *_Atomic *chunks;
	/* written under the lock, read by anyone */
	_Atomic uint32_t count;
	_Atomic uint64_t changes;
	pthread_mutex_t lock; /* adding names, changing epochs */
};

static struct chunk *
chunk_of(const struct hc_models *models, uint32_t id)
{
	return atomic_load_explicit(&models->chunks[id >> CHUNK_BITS], memory_order_acquire);
}

static struct model *
model_of(const struct hc_models *models, uint32_t id)
{
	assert(id < hc_models_count(models));
	return &chunk_of(models, id)->models[id & (CHUNK_SIZE - 1)];
}

static _Atomic uint32_t *
epoch_of(const struct hc_models *models, uint32_t id)
{
	return &chunk_of(models, id)->epochs[id & (CHUNK_SIZE - 1)];
}

#define ABSENT UINT32_MAX

/*
 * The place in the index of that name, or, with *id ABSENT, the free one where it would go: the
 * index is never full, having twice as many places as there may be names.
 */
static uint32_t
probe(const struct hc_models *models, struct hc_slice name, uint64_t hash, uint32_t *id)
{
	uint32_t at = (uint32_t)hash & models->index_mask;

	for (;; at = (at + 1) & models->index_mask) {
		uint32_t found = atomic_load_explicit(&models->index[at], memory_order_acquire);
		*id = found - 1; /* none: ABSENT */
		if (found == 0)
			return at;
		const struct model *model = model_of(models, *id);
		if (model->hash == hash && hc_slice_eq(model->name, name))
			return at;
	}
}

/* Under the lock. */
static enum hc_status
add(struct hc_models *models, struct hc_slice name, uint64_t hash, uint32_t at, uint32_t *id)
{
	uint32_t next = atomic_load_explicit(&models->count, memory_order_relaxed);
	struct chunk *chunk;
	struct model *model;
	char *copy;

	if (next == models->max)
		return HC_LIMIT;
	chunk = chunk_of(models, next);
	if (chunk == NULL) {
		chunk = hc_calloc(1, sizeof(*chunk));
		if (chunk == NULL)
			return HC_NOMEM;
		atomic_store_explicit(&models->chunks[next >> CHUNK_BITS], chunk, memory_order_release);
	}
	copy = hc_strndup(name.ptr, name.len);
	if (copy == NULL)
		return HC_NOMEM;
	model = &chunk->models[next & (CHUNK_SIZE - 1)];
	model->name = hc_slice(copy, name.len);
	model->hash = hash;
	atomic_store_explicit(&models->count, next + 1, memory_order_release);
	atomic_store_explicit(&models->index[at], next + 1, memory_order_release);
	*id = next;
	return HC_OK;
}

enum hc_status
hc_models_intern(struct hc_models *models, struct hc_slice name, uint32_t *id)
{
	enum hc_status status = HC_OK;
	uint64_t hash;
	uint32_t at, found;

	if (name.len == 0 || name.len > HC_MODEL_NAME_MAX)
		return HC_INVALID;
	hash = hc_hash(name.ptr, name.len);
	probe(models, name, hash, &found);
	if (found == ABSENT) {
		pthread_mutex_lock(&models->lock);
		at = probe(models, name, hash, &found); /* somebody may have been quicker */
		if (found == ABSENT)
			status = add(models, name, hash, at, &found);
		pthread_mutex_unlock(&models->lock);
	}
	if (status == HC_OK)
		*id = found;
	return status;
}

enum hc_status
hc_models_find(const struct hc_models *models, struct hc_slice name, uint32_t *id)
{
	uint32_t found;

	if (name.len == 0 || name.len > HC_MODEL_NAME_MAX)
		return HC_MISS;
	probe(models, name, hc_hash(name.ptr, name.len), &found);
	if (found == ABSENT)
		return HC_MISS;
	*id = found;
	return HC_OK;
}

uint32_t
hc_models_count(const struct hc_models *models)
{
	return atomic_load_explicit(&models->count, memory_order_acquire);
}

void
hc_models_info(const struct hc_models *models, uint32_t id, struct hc_model_info *out)
{
	const struct model *model = model_of(models, id);
	int64_t entries = atomic_load_explicit(&model->entries, memory_order_relaxed);
	int64_t bytes = atomic_load_explicit(&model->bytes, memory_order_relaxed);

	*out = (struct hc_model_info){
	    .name = model->name,
	    .epoch = hc_models_epoch(models, id),
	    .clears = atomic_load_explicit(&model->clears, memory_order_relaxed),
	    .entries = entries > 0 ? (uint64_t)entries : 0,
	    .bytes = bytes > 0 ? (uint64_t)bytes : 0,
	};
}

const _Atomic uint32_t *
hc_models_epoch_at(const struct hc_models *models, uint32_t id)
{
	return epoch_of(models, id);
}

uint32_t
hc_models_epoch(const struct hc_models *models, uint32_t id)
{
	return atomic_load_explicit(epoch_of(models, id), memory_order_acquire);
}

struct hc_slice
hc_models_name(const struct hc_models *models, uint32_t id)
{
	return model_of(models, id)->name;
}

/*
 * Under the lock. Who sees the new epoch is told that the model was cleared; who sees the new count sees the epoch,
 * too. In between, what was missed just now counts as missed before the clear, which nobody has been told of yet.
 */
static void
clear(struct hc_models *models, uint32_t id, uint32_t epoch)
{
	struct model *model = model_of(models, id);
	uint64_t change = hc_models_changes(models) + 1;

	atomic_store_explicit(&model->cleared_at, change, memory_order_release);
	atomic_store_explicit(epoch_of(models, id), epoch, memory_order_release);
	atomic_fetch_add_explicit(&model->clears, 1, memory_order_relaxed);
	atomic_store_explicit(&models->changes, change, memory_order_release);
}

uint32_t
hc_models_bump(struct hc_models *models, uint32_t id)
{
	pthread_mutex_lock(&models->lock);
	uint32_t epoch = hc_models_epoch(models, id) + 1;
	clear(models, id, epoch);
	pthread_mutex_unlock(&models->lock);
	return epoch;
}

/* Another thread may be in the midst of it; to those who are told here that it is done, it is done. */
static bool
is_raised(const struct hc_models *models, uint32_t id, uint32_t epoch)
{
	return hc_models_epoch(models, id) >= epoch && !hc_models_cleared_since(models, id, hc_models_changes(models));
}

bool
hc_models_raise(struct hc_models *models, uint32_t id, uint32_t epoch)
{
	if (is_raised(models, id, epoch))
		return false;
	pthread_mutex_lock(&models->lock);
	bool moves = hc_models_epoch(models, id) < epoch;
	if (moves)
		clear(models, id, epoch);
	pthread_mutex_unlock(&models->lock);
	return moves;
}

uint64_t
hc_models_changes(const struct hc_models *models)
{
	return atomic_load_explicit(&models->changes, memory_order_acquire);
}

bool
hc_models_cleared_since(const struct hc_models *models, uint32_t id, uint64_t changes)
{
	return atomic_load_explicit(&model_of(models, id)->cleared_at, memory_order_acquire) > changes;
}

void
hc_models_account(struct hc_models *models, uint32_t id, int64_t entries, int64_t bytes)
{
	struct model *model = model_of(models, id);

	atomic_fetch_add_explicit(&model->entries, entries, memory_order_relaxed);
	atomic_fetch_add_explicit(&model->bytes, bytes, memory_order_relaxed);
}

enum hc_status
hc_models_create(uint32_t max, struct hc_models **out)
{
	struct hc_models *models;
	uint32_t id, slots = INDEX_MIN;

	assert(max >= 1 && max <= 1u << 24);
	while (slots < 2 * max)
		slots *= 2;
	models = hc_calloc(1, sizeof(*models));
	if (models == NULL)
		return HC_NOMEM;
	pthread_mutex_init(&models->lock, NULL);
	models->max = max;
	models->index_mask = slots - 1;
	models->index = hc_calloc(slots, sizeof(*models->index));
	models->chunks = hc_calloc((max + CHUNK_SIZE - 1) >> CHUNK_BITS, sizeof(*models->chunks));
	if (models->index == NULL || models->chunks == NULL ||
	    hc_models_intern(models, HC_SLICE("default"), &id) != HC_OK) {
		hc_models_destroy(models);
		return HC_NOMEM;
	}
	assert(id == HC_MODEL_DEFAULT);
	*out = models;
	return HC_OK;
}

void
hc_models_destroy(struct hc_models *models)
{
	if (models == NULL)
		return;
	for (uint32_t id = 0; id < hc_models_count(models); id++)
		hc_free((void *)(uintptr_t)hc_models_name(models, id).ptr);
	for (uint32_t i = 0; models->chunks != NULL && i << CHUNK_BITS < models->max; i++)
		hc_free(atomic_load_explicit(&models->chunks[i], memory_order_relaxed));
	hc_free(models->chunks);
	hc_free(models->index);
	pthread_mutex_destroy(&models->lock);
	hc_free(models);
}
