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
	/*
	 * Changes of what is there, which keep its expiry and its model; nothing there counts as 0 or as empty. The
	 * answer is in `answer`; what is wrong with it, HC_ERROR with Redis's words in `error`.
	 */
	HC_OP_INCR,       /* by the whole number in `value` */
	HC_OP_INCR_FLOAT, /* by the number in `value` */
	HC_OP_APPEND,     /* `value` behind it */
	HC_OP_SET_RANGE,  /* `value`, which is not empty, over it from `offset` on, zeros between */
	/*
	 * A copy, of value, expiry and model, takes a group of two ops: COPY_FROM its source, which goes with `move`,
	 * then COPY_TO its target, with a condition (ANY or ABSENT). HC_MISS of the one: no such key; of the other: not
	 * written. The keys are two.
	 */
	HC_OP_COPY_FROM,
	HC_OP_COPY_TO,
	HC_OP_GUARD, /* the core's own: whether the SET behind it, `guarded`, may be carried out; see struct hc_op_guard
		      */
};

/*
 * What is known of a key that was SET while the upstream could not be told. The SET is carried out if nobody else has
 * written the key since, as far as the upstream can tell.
 */
struct hc_op_guard {
	uint64_t heard; /* all changes up to there are known of here */
	uint32_t epoch; /* of the SET's model */
	bool contested; /* another has written it, unless the base is there still */
	bool unsure;    /* another may have: only the base, or nothing, may be there */
	bool has_base;  /* what the upstream had before: */
	uint64_t base_version;
	struct hc_slice base;
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
	struct hc_slice value;             /* SET and changes: the same */
	uint32_t model;                    /* SET, CLEAR_MODEL; changes, when nothing is there */
	enum hc_store_condition condition; /* SET: ANY, ABSENT, PRESENT */
	bool together;                     /* SET, ABSENT: only when none of the group's keys is there */
	bool guarded;                      /* SET: only if the guard before it allows */
	const struct hc_op_guard *guard;   /* GUARD */
	bool move;                         /* COPY_FROM */
	int64_t offset;                    /* SET_RANGE */
	int64_t max_bytes;                 /* APPEND, SET_RANGE: longest value that may come of it */
	unsigned expire_flags;             /* EXPIRE: enum hc_store_expire */
	enum hc_ttl ttl;
	int64_t ttl_ms;
	bool want_old;

	/* answered: by the core */
	enum hc_status status; /* HC_OK; HC_MISS, HC_UNCHANGED: the condition did not hold, or no such key; … */
	struct hc_entry *old;  /* with want_old: what was there, with a reference, or NULL */
	uint32_t epoch;        /* CLEAR_MODEL: the new one; when asked, the least it shall be (0: any) */
	char *error;           /* with HC_ERROR: Redis's words, the upstream's or our own, or NULL */
	char *answer;          /* changes: the new number, or the new length, as text */

	/* under way: the core's */
	struct hc_op_group *group;
	struct hc_entry *entry; /* SET: the copy that will be kept */
	struct hc_ticket ticket;
	bool late;     /* SET: of a value computed before its model was cleared; see late.h */
	bool has_seen; /* … and, not late as far as is known here, the epoch its model had when it was computed */
	uint32_t seen;
	int64_t sent_ms;   /* wall clock when it set out */
	uint64_t mark;     /* of the outage list then */
	uint64_t after;    /* it was refuted behind all changes up to there, */
	uint32_t after_in; /* in that incarnation of the fleet's state; 0: it was not */
	bool begun;        /* hc_store_write_begin() was called */
	bool behind;       /* … and said that other writes of its key were under way */
};

/* Whether what becomes of it depends on what its key holds. */
bool hc_op_looks(const struct hc_op *op);

typedef void hc_op_group_fn(void *arg);

struct hc_op_group {
	struct hc_op *ops;
	size_t n;
	size_t left;          /* the core's: ops not answered yet */
	hc_op_group_fn *done; /* called once, when hc_core_write() answered HC_PENDING */
	void *arg;
	const void *by; /* who asks; what one asks for is carried out in order. Compared only */
};

/* Gives back what the answers hold. The ops' memory is the caller's. */
void hc_op_group_fini(struct hc_op_group *group);

#endif
