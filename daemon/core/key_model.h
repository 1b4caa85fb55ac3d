/*
 * Key templates: which model a key belongs to when nobody says so. A template is a literal, `{model}`, a literal, and
 * `{id}` or `{id:N}`, and perhaps a literal: `emb:{model}:{id}`, `cache/{model}{id:36}`. It is anchored at the right:
 * without a length the last occurrence of the middle literal divides, as models' names hold separators and ids do not.
 *
 * Constant after create; any thread.
 */
#ifndef HC_CORE_KEY_MODEL_H
#define HC_CORE_KEY_MODEL_H

#include "base/status.h"
#include "proto/slice.h"

struct hc_key_models;

/* `templates`: comma-separated. HC_INVALID with a sentence in `why` (a literal); HC_NOMEM. */
enum hc_status hc_key_models_create(const char *templates, struct hc_key_models **out, const char **why);
void hc_key_models_destroy(struct hc_key_models *models);

/* HC_OK: *model points into the key, 1 to 255 bytes. HC_MISS: no template fits. */
enum hc_status hc_key_models_match(const struct hc_key_models *models, struct hc_slice key, struct hc_slice *model);

#endif
