/*
 * A batch of writes, for write_upstream.c, which sends it, write_order.c, which knows what is under way, and
 * write_settle.c, which ends its ops.
 */
#ifndef HC_CORE_WRITE_PRIVATE_H
#define HC_CORE_WRITE_PRIVATE_H

#include "core/internal.h"

struct hc_batch {
	struct hc_core_worker *worker;
	struct hc_batch *next; /* the one that was sent after it, both under way; or overtaken after it */
	struct hc_op **ops;    /* the groups' */
	size_t n, cap;
	size_t bytes;
	bool by_sha;                /* as it was sent */
	bool in_transaction;        /* the same */
	bool refuted;               /* it was, in one: it goes by the script now */
	struct hc_script_sets sets; /* in a transaction */
};

/* write_upstream.c */
/* NULL: no memory. */
struct hc_batch *hc_core_batch_create(struct hc_core_worker *worker);
/* Not the ops. NULL is fine. */
void hc_core_batch_destroy(struct hc_batch *batch);
/* Makes room for n more ops. False: no memory. */
bool hc_core_batch_reserve(struct hc_batch *batch, size_t n);
/* Of what has not been sent: whether the group can go with it. */
bool hc_core_batch_has_room(const struct hc_batch *batch, const struct hc_op_group *group);

/*
 * write_settle.c: the op is not under way any more, and its status is set. Who asked for it is not told yet:
 * hc_core_op_answered().
 */
/* It was carried out, or not; `known`: by the state of the fleet that is known here. */
void hc_core_op_settle(
    struct hc_core_worker *worker, struct hc_op *op, const struct hc_script_result *result, bool known);
/* It was refused, with Redis's words. */
void hc_core_op_fail(struct hc_core_worker *worker, struct hc_op *op, struct hc_slice error);
/* Nobody knows whether it was carried out: as while the upstream is down. */
void hc_core_op_lose(struct hc_core_worker *worker, struct hc_op *op);

/* write_order.c */
/* It is under way, behind all others; until it is answered, which it is before them. */
void hc_core_batch_sent(struct hc_batch *batch);
void hc_core_batch_answered(struct hc_batch *batch);
/*
 * Whether something in it depends on what a key holds that a transaction under way writes: if that is refuted, it would
 * find the key without the value. Or writes a key of what was overtaken: that may have to be sent again before it. And
 * once the link has ended, until all that was under way is lost: so that it comes behind that.
 */
bool hc_core_batch_must_wait(const struct hc_batch *batch);

/*
 * What was overtaken: SETs that are not in force, and of whose keys there were others under way behind them. As soon as
 * one of these is carried out, so are they, as far as anybody can see. If all of these fail, they have to be sent
 * again. Until then they have begun, and are under way as a batch of their own.
 */
/* Takes them out of it. Both keep the order. False: no memory, and nothing is changed. */
bool hc_core_batch_take_overtaken(struct hc_batch *batch);
/* That SET has been carried out, and with it what it has overtaken. */
void hc_core_overtaken_by(struct hc_core_worker *worker, const struct hc_op *op);
/* Whether nothing is under way any more that might carry out what is left of it. */
bool hc_core_overtaken_is_decided(const struct hc_batch *overtaken);
/* Of those that nothing is left of, the first, which is overtaken no more: its ops can be answered. NULL: none. */
struct hc_batch *hc_core_overtaken_take_settled(struct hc_core_worker *worker);

#endif
