/*
 * What the files of the outage list share: outage.c (the list), outage_add.c, outage_contest.c, outage_pages.c (working
 * it off). Nobody else includes this.
 */
#ifndef HC_CORE_OUTAGE_PRIVATE_H
#define HC_CORE_OUTAGE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include "core/outage.h"
#include "core/outage_log.h"

struct hc_outage_node {
	struct hc_outage_node *next;          /* in its slot */
	TAILQ_ENTRY(hc_outage_node) in_order; /* among the values, or among those that went; the oldest first */
	uint64_t hash;
	uint64_t mark;    /* when it was changed last: a page settles only what it saw */
	uint64_t written; /* when it was given its value, or went: what sets its expiry alone does not count */
	struct hc_outage_since since;
	uint64_t own;           /* change of ours that the upstream carried out last: it replaced what came before */
	uint64_t own_of_any;    /* the list's, when this came onto it */
	uint64_t overtaken;     /* it is to be deleted no more, by that change of another's; 0: it is */
	uint32_t epoch;         /* that the value counts as of */
	int64_t at_ms;          /* wall clock, when it came onto the list */
	struct hc_entry *entry; /* owned, as is base; NULL: it went */
	struct hc_entry *base;
	uint64_t base_version;
	bool was_contested; /* by another, before the value became unsure */
	bool base_is_spare; /* needed only if the value becomes unsure: another may have replaced it before */
	int64_t expire_ms;
	enum hc_outage_doubt doubt;
	bool sent; /* the upstream may have the value already: its write, or a page with it, was lost under way */
	bool told; /* the same: a page with it is under way */
	unsigned tries;
	size_t len;
	char key[];
};

TAILQ_HEAD(hc_outage_nodes, hc_outage_node);

struct hc_outage_model {
	uint32_t id;
	uint32_t epoch; /* here, since it was cleared last: values of that or a later one came after */
	uint32_t known; /* upstream, as far as has been heard */
	uint64_t mark;
	int64_t at_ms;
};

#define HC_OUTAGE_ORDERS 64 /* power of two */

struct hc_outage {
	struct hc_models *models;                /* not owned; constant */
	struct hc_outage_log *log;               /* the same; NULL: no files */
	_Atomic uint64_t count;                  /* keys, models, and all as one; written under the lock */
	_Atomic uint64_t losses;                 /* the same */
	_Atomic uint64_t marks;                  /* the same: the last one given */
	pthread_mutex_t order[HC_OUTAGE_ORDERS]; /* by hash: see hc_outage_enter() */
	pthread_mutex_t lock;                    /* all that follows */
	struct hc_outage_node **slots;
	size_t n_slots; /* power of two */
	size_t n_keys;
	uint64_t bytes;
	struct hc_outage_nodes values, gone;
	bool any_overtaken;
	uint64_t own_of_any; /* the last change of ours that was heard of, whatever its key */
	struct hc_outage_model *cleared;
	size_t n_cleared, cap_cleared;
	bool all;
	uint64_t all_mark;
	int64_t all_at_ms;
};

/* All under the lock. */
struct hc_outage_node **hc_outage_slot(struct hc_outage *outage, struct hc_key key);
/* One that went; NULL: no memory. The key is not on the list. */
struct hc_outage_node *hc_outage_add_node(struct hc_outage *outage, struct hc_key key);
/* The node takes a reference, in the place of the value it had; of a base if there is one. */
void hc_outage_put_value(struct hc_outage *outage, struct hc_outage_node *node, struct hc_entry *entry);
void hc_outage_put_base(struct hc_outage *outage, struct hc_outage_node *node, struct hc_entry *base, uint64_t version);
/* What it counts in the list's `bytes`; NULL: 0. */
uint64_t hc_outage_bytes_of(const struct hc_entry *entry);
struct hc_outage_model *hc_outage_model(struct hc_outage *outage, uint32_t id);
/* The node's value and base go; it becomes one that went. */
void hc_outage_drop_value(struct hc_outage *outage, struct hc_outage_node *node);
void hc_outage_drop_base(struct hc_outage *outage, struct hc_outage_node *node);
void hc_outage_remove(struct hc_outage *outage, struct hc_outage_node **at);
void hc_outage_remove_model(struct hc_outage *outage, struct hc_outage_model *model);
/* After any change: the count; an empty list needs no file. */
void hc_outage_recount(struct hc_outage *outage);
/* The node is told to the log as it is. */
void hc_outage_log_node(struct hc_outage *outage, const struct hc_outage_node *node);
void hc_outage_log_model(
    struct hc_outage *outage, enum hc_outage_record_type type, const struct hc_outage_model *model);
void hc_outage_log_type(struct hc_outage *outage, enum hc_outage_record_type type, struct hc_slice key);
/* Nobody can tell any more whether others have changed its key. */
void hc_outage_doubt(struct hc_outage_node *node);
/* The value counts no more: its model was cleared since, or its time is over. */
bool hc_outage_is_stale(const struct hc_outage *outage, const struct hc_outage_node *node, int64_t now_ms);

static inline struct hc_slice
hc_outage_node_key(const struct hc_outage_node *node)
{
	return hc_slice(node->key, node->len);
}

#endif
