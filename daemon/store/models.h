/*
 * Models: names that CLEAR MODEL addresses, each with an epoch. An entry carries its model's id and
 * the epoch it was written in, and is valid only while that is the model's epoch still: forgetting
 * a model is one store.
 *
 * Any thread. Look-ups take no lock; new names are added under one. Ids are small, dense and never
 * reused; id HC_MODEL_DEFAULT is the model `default`, always there.
 */
#ifndef HC_STORE_MODELS_H
#define HC_STORE_MODELS_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/status.h"
#include "proto/slice.h"

#define HC_MODEL_DEFAULT 0u
#define HC_MODEL_NAME_MAX 255 /* bytes */

struct hc_models;

struct hc_model_info {
	struct hc_slice name; /* lives as long as the table */
	uint32_t epoch;
	uint64_t clears;  /* times this daemon saw its epoch go up */
	uint64_t entries; /* in memory, those of older epochs not yet reclaimed included */
	uint64_t bytes;
};

/* `max` bounds how many names are kept (>= 1). HC_NOMEM. */
enum hc_status hc_models_create(uint32_t max, struct hc_models **out);
void hc_models_destroy(struct hc_models *models);

/* The id of `name`, added with epoch 0 when new. HC_LIMIT: table full; HC_INVALID: empty or too
 * long; HC_NOMEM. */
enum hc_status hc_models_intern(struct hc_models *models, struct hc_slice name, uint32_t *id);
/* The id of a name that is there already, else HC_MISS. */
enum hc_status hc_models_find(const struct hc_models *models, struct hc_slice name, uint32_t *id);

uint32_t hc_models_count(const struct hc_models *models);
void hc_models_info(const struct hc_models *models, uint32_t id, struct hc_model_info *out);
/* Where the epoch of that model is; as long as the table. */
const _Atomic uint32_t *hc_models_epoch_at(const struct hc_models *models, uint32_t id);
uint32_t hc_models_epoch(const struct hc_models *models, uint32_t id);
struct hc_slice hc_models_name(const struct hc_models *models, uint32_t id);

/* The next epoch: everything written in the model before is invalid. Returns the new one. */
uint32_t hc_models_bump(struct hc_models *models, uint32_t id);
/*
 * Raises the epoch to `epoch` unless it is there or beyond already. Returns true when it moved. Whoever did it, it is
 * done then: what is missed from here on was not missed before the clear.
 */
bool hc_models_raise(struct hc_models *models, uint32_t id, uint32_t epoch);

/* Moves on after every change of any model's epoch: while it stands still, no entry has become
 * invalid by one. */
uint64_t hc_models_changes(const struct hc_models *models);

/*
 * Whether that model has been cleared since hc_models_changes() was `changes`. True a moment too early rather than too
 * late: whoever has seen the new epoch is told so.
 */
bool hc_models_cleared_since(const struct hc_models *models, uint32_t id, uint64_t changes);

/* For the store: what the model holds in memory changed. */
void hc_models_account(struct hc_models *models, uint32_t id, int64_t entries, int64_t bytes);

#endif
