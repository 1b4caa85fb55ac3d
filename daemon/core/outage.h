/*
 * What was changed here while the upstream could not be told: the keys, the models cleared, or everything. The
 * upstream's copies of these are outdated: they are not fetched, and once it is back they are deleted there before
 * anything else, so that nothing a client was told is gone comes back. Bounded; a key counts once.
 *
 * Any thread; one lock, a leaf. hc_outage_empty() takes none.
 */
#ifndef HC_CORE_OUTAGE_H
#define HC_CORE_OUTAGE_H

#include <stdint.h>
#include "base/status.h"
#include "store/store.h"

struct hc_outage;

enum hc_status hc_outage_create(struct hc_outage **out);
void hc_outage_destroy(struct hc_outage *outage);

bool hc_outage_empty(struct hc_outage *outage);
uint64_t hc_outage_count(struct hc_outage *outage);

/* HC_LIMIT: it holds `max` already and the key is not among them; HC_NOMEM. */
enum hc_status hc_outage_add_key(struct hc_outage *outage, struct hc_key key, uint64_t max);
enum hc_status hc_outage_add_model(struct hc_outage *outage, uint32_t model);
void hc_outage_add_all(struct hc_outage *outage);

/* The upstream's copy is not to be believed. */
bool hc_outage_has_key(struct hc_outage *outage, struct hc_key key);
bool hc_outage_has_model(struct hc_outage *outage, uint32_t model);

/* What the upstream knows of the key may be outdated: that, or a model is here, whose keys nobody knows by name. */
bool hc_outage_doubts_key(struct hc_outage *outage, struct hc_key key);

/* The upstream was told something newer of the key. */
void hc_outage_forget_key(struct hc_outage *outage, struct hc_key key);

/*
 * Replay: take a page, tell the upstream, settle the page. What was added anew in between stays. A page holds either
 * `all`, or models and keys; n == 0 and !all: nothing is left.
 */
struct hc_outage_page {
	bool all;
	uint32_t *models;
	uint64_t *model_marks;
	size_t n_models;
	struct hc_slice *keys; /* copies */
	uint64_t *key_marks;
	size_t n_keys;
	uint64_t all_mark;
};
enum hc_status hc_outage_take(struct hc_outage *outage, size_t max, struct hc_outage_page *page);
void hc_outage_settle(struct hc_outage *outage, const struct hc_outage_page *page);
void hc_outage_page_fini(struct hc_outage_page *page);

#endif
