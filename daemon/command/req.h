/*
 * A command being carried out, as its handler sees it.
 *
 * A handler parses req->argv and ends by replying, or by hc_req_read() or hc_req_write() with a function that
 * replies later; after either of those it must not touch `req`. While nothing has to wait, the request is a scratch
 * one and its arguments are the connection's input; when it has to, it moves to the heap with a copy of them, so a
 * `done` function gets the request anew.
 *
 *     run ─→ handler ─ replied ─→ finish
 *               └→ read/write ─ all here ──→ done ─→ finish
 *                      └ pending → parked … answers come … → done → finish → replies in order → session.ready
 */
#ifndef HC_COMMAND_REQ_H
#define HC_COMMAND_REQ_H

#include "command/command.h"
#include "command/reply.h"
#include "core/core.h"

typedef void hc_req_fn(struct hc_req *req);

/* One key of a read: what came of it. */
struct hc_req_value {
	struct hc_entry *entry; /* with a reference while the request lives, or NULL */
	enum hc_status status;  /* HC_OK, HC_MISS, HC_WRONGTYPE (anything else has become a miss) */
	int64_t pttl;           /* with HC_WRONGTYPE: what PTTL says */
	enum hc_tier_name tier; /* where it was found, or looked for last */
	struct hc_filed filed;  /* with an entry of HC_TIER_FILE */
	struct hc_waiter waiter;
};

struct hc_req {
	struct hc_command_worker *worker;
	struct hc_session *session; /* NULL once abandoned */
	const struct hc_command *command;
	const struct hc_slice *argv;
	uint32_t argc;
	int resp;           /* protocol of the reply */
	uint64_t hash;      /* of the first key, see hc_req_key() */
	struct hc_out *out; /* where the reply goes */

	/* reads */
	struct hc_req_value *values;
	size_t n_values;
	/* writes */
	struct hc_op *ops;
	size_t n_ops;
	/* a handler's own, for its done function; memory by hc_req_alloc() */
	void *data;
	int64_t number;

	/* req*.c's */
	hc_req_fn *done;
	void (*data_fini)(struct hc_req *req);
	unsigned read_flags;
	size_t waiting; /* answers that are still to come */
	bool parked, busy, complete;
	bool alone;           /* nothing else of its session may start while it waits */
	bool deferred;        /* its write waits until it is the first of its session's pending ones */
	struct hc_load *load; /* load.c's */
	bool failed;          /* it has been answered with an error */
	bool silent;          /* CLIENT REPLY: what is replied goes nowhere */
	size_t arg_bytes;     /* parked: of its copy of the arguments */
	int64_t since_us;     /* parked: see hc_slow_since() */
	struct hc_op_group group;
	struct hc_op inline_op;
	struct hc_req_value inline_value;
	struct hc_req *next, *prev; /* among its session's pending ones */
	struct hc_req *parent;      /* EXEC: whose part it is */
	struct hc_req *moved_to;    /* the scratch one's: it was parked */
	struct hc_out own_out;
	struct hc_block *blocks; /* hc_req_alloc() */
};

/* Memory that lives as long as the request; zeroed. NULL after replying with an out-of-memory error. */
void *hc_req_alloc(struct hc_req *req, size_t size);

/*
 * Makes the request one that can wait, and returns it: for handlers that start something of their own which ends later.
 * They call hc_req_resume(req) when it has. WRITE commands in a fleet are parked before their handler runs.
 * NULL after replying with an out-of-memory error.
 */
struct hc_req *hc_req_park(struct hc_req *req);
void hc_req_wait(struct hc_req *req, hc_req_fn *done); /* parked: one answer more is to come */
void hc_req_resume(struct hc_req *req);                /* it came */

#define HC_REQ_COUNT 0x100u /* a GET-like read: counted as hit or miss */

/*
 * Reads n keys (slices of req->argv) from wherever they are, then calls done with req->values. flags: HC_READ_*,
 * HC_REQ_COUNT. The last thing a handler does.
 */
void hc_req_read(
    struct hc_req *req, const struct hc_slice *keys, size_t n, size_t stride, unsigned flags, hc_req_fn *done);

/* Counts a GET-like read, for handlers that know only afterwards what came of it: those without HC_REQ_COUNT. */
void hc_req_count_read(struct hc_req *req, bool found, enum hc_tier_name tier);

/* Room for n ops, zeroed, as req->ops. NULL after replying with an error. */
struct hc_op *hc_req_ops(struct hc_req *req, size_t n);

/*
 * Carries out req->ops[0..n), then calls done. The last thing a handler does; but where something has to be read from
 * files first, the handler runs once more.
 */
void hc_req_write(struct hc_req *req, hc_req_fn *done);
/* The same for one CLEAR_ALL op that shall take everything of the own prefix away. */
void hc_req_flush(struct hc_req *req, hc_req_fn *done);

/*
 * For done functions of writes: when an op did not go through for a reason that is an error (upstream down, limits, out
 * of memory, wrong type, the upstream's own words), replies with it and returns true.
 */
bool hc_req_op_failed(struct hc_req *req, const struct hc_op *op);

/* The model for a write of `key` without MODEL option: the connection's default, else by key. Error replied: false. */
bool hc_req_model_of(struct hc_req *req, struct hc_slice key, uint32_t *model);
/* The id of a model named by the client, made when new. Error replied: false. */
bool hc_req_model_named(struct hc_req *req, struct hc_slice name, uint32_t *model);

/* Whatever CLIENT REPLY says, this request's reply is sent; or is not, unless it is a part of EXEC's and then is OK. */
void hc_req_speak(struct hc_req *req);
void hc_req_hush(struct hc_req *req);

/* The first key, of a command that has keys. */
struct hc_key hc_req_key(const struct hc_req *req);
/* True when the i-th argument is that word, ignoring case. */
bool hc_req_arg_is(const struct hc_req *req, uint32_t i, const char *word);
/* The i-th argument as an integer; false after replying "ERR value is not an integer or out of range". */
bool hc_req_arg_int(struct hc_req *req, uint32_t i, int64_t *out);

#endif
