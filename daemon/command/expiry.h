/*
 * Expiry times as commands' arguments give them: the words EX, PX, EXAT and PXAT, and the numbers
 * behind them, with the checks and the errors Redis has for them. Worker threads only; nothing is
 * owned.
 */
#ifndef HC_COMMAND_EXPIRY_H
#define HC_COMMAND_EXPIRY_H

#include <stdbool.h>
#include <stdint.h>
#include "core/op.h"

struct hc_req;

/* How a number is meant. */
enum hc_expiry_form {
	HC_EXPIRY_EX,   /* seconds from now */
	HC_EXPIRY_PX,   /* milliseconds from now */
	HC_EXPIRY_EXAT, /* Unix time in seconds */
	HC_EXPIRY_PXAT, /* Unix time in milliseconds */
};

/* What is wrong with a number. */
enum hc_expiry_fault {
	HC_EXPIRY_FINE,
	HC_EXPIRY_NO_NUMBER,    /* ERR value is not an integer or out of range */
	HC_EXPIRY_OUT_OF_RANGE, /* ERR invalid expire time in 'x' command */
};

/* True when the i-th argument is one of the four words. */
bool hc_expiry_word(const struct hc_req *req, uint32_t i, enum hc_expiry_form *form);

/* The i-th argument as SET takes it, which must be above zero, into op->ttl and op->ttl_ms (when it
 * is fine). */
enum hc_expiry_fault hc_expiry_parse(const struct hc_req *req, uint32_t i, enum hc_expiry_form form, struct hc_op *op);

/* The same as EXPIRE takes it: what lies in the past is fine too. */
enum hc_expiry_fault hc_expiry_parse_any(
    const struct hc_req *req, uint32_t i, enum hc_expiry_form form, struct hc_op *op);

/* Replies with the fault's error and returns true, unless there is none. */
bool hc_expiry_failed(struct hc_req *req, enum hc_expiry_fault fault);

#endif
