/*
 * Operations: what commands ask of the core. One op changes one key (or clears a model, or everything); a group
 * of ops is carried out in order and, where the authority is one server, as one.
 */
#ifndef HC_CORE_OP_H
#define HC_CORE_OP_H

#include <stdint.h>
#include "base/status.h"
#include "proto/slice.h"
#include "store/store.h"

enum hc_op_kind {
	HC_OP_SET,
	HC_OP_DEL,
	HC_OP_EXPIRE,
	HC_OP_PERSIST,
	HC_OP_CLEAR_MODEL,
	HC_OP_CLEAR_ALL, /* upstream: announces it only; hc_core_flush() does the work */
};

enum hc_ttl {
	HC_TTL_NONE,     /* no expiry (SET: ttl.default applies) */
	HC_TTL_RELATIVE, /* ttl_ms from now */
	HC_TTL_ABSOLUTE, /* at ttl_ms, wall clock of who keeps the entry */
	HC_TTL_KEEP,     /* SET: as it is */
};

struct hc_op_group;

struct hc_op {
	/* asked: by the command */
	enum hc_op_kind kind;
	struct hc_key key;                 /* bytes borrowed until the group is done */
	struct hc_slice value;             /* SET: the same */
	uint32_t model;                    /* SET, CLEAR_MODEL */
	enum hc_store_condition condition; /* SET: ANY, ABSENT, PRESENT */
	unsigned expire_flags;             /* EXPIRE: enum hc_store_expire */
	enum hc_ttl ttl;
	int64_t ttl_ms;
	bool want_old;

	/* answered: by the core */
	enum hc_status status; /* HC_OK; HC_MISS, HC_UNCHANGED: the condition did not hold, or no such key; … */
	struct hc_entry *old;  /* with want_old: what was there, with a reference, or NULL */
	uint32_t epoch;        /* CLEAR_MODEL: the new one; when asked, the least it shall be (0: any) */
	char *error;           /* with HC_ERROR: the upstream's words, or NULL */

	/* under way: the core's */
	struct hc_op_group *group;
	struct hc_entry *entry; /* SET: the copy that will be kept */
	struct hc_ticket ticket;
	int64_t sent_ms; /* wall clock when it set out */
	bool begun;      /* hc_store_write_begin() was called */
};

typedef void hc_op_group_fn(void *arg);

struct hc_op_group {
	struct hc_op *ops;
	size_t n;
	size_t left;          /* the core's: ops not answered yet */
	hc_op_group_fn *done; /* called once, when hc_core_write() answered HC_PENDING */
	void *arg;
};

/* Gives back what the answers hold. The ops' memory is the caller's. */
void hc_op_group_fini(struct hc_op_group *group);

#endif
