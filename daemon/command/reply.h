/*
 * Replies of a request, in its connection's protocol. They append to req->out.
 */
#ifndef HC_COMMAND_REPLY_H
#define HC_COMMAND_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include "proto/slice.h"

struct hc_req;
struct hc_entry;
struct hc_out;

void hc_reply_ok(struct hc_req *req);
void hc_reply_simple(struct hc_req *req, const char *text); /* +text */
void hc_reply_int(struct hc_req *req, int64_t value);
void hc_reply_double(struct hc_req *req, double value);
void hc_reply_bool(struct hc_req *req, bool value);                  /* RESP2: 1 or 0 */
void hc_reply_bulk(struct hc_req *req, const void *ptr, size_t len); /* copied */
void hc_reply_slice(struct hc_req *req, struct hc_slice slice);
void hc_reply_str(struct hc_req *req, const char *str); /* a bulk string */
void hc_reply_strf(struct hc_req *req, const char *format, ...) __attribute__((format(printf, 2, 3))); /* the same */
void hc_reply_verbatim(struct hc_req *req, const char *ptr, size_t len); /* txt; RESP2: bulk */
/* The entry's value: copied when small, else sent from the entry itself (takes a reference of its own). */
void hc_reply_value(struct hc_req *req, struct hc_entry *entry);
void hc_reply_value_to(struct hc_out *out, struct hc_entry *entry);
void hc_reply_null(struct hc_req *req);              /* nil string, or null */
void hc_reply_null_array(struct hc_req *req);        /* nil array, or null */
void hc_reply_array(struct hc_req *req, size_t n);   /* n elements follow */
void hc_reply_map(struct hc_req *req, size_t pairs); /* 2n elements follow */
void hc_reply_set(struct hc_req *req, size_t n);

/* ---- whole replies, as `done` functions ---- */

/* What the first op found there (it asked for it), whether or not a condition kept it there; or its error. */
void hc_reply_old(struct hc_req *req);
/* The length of the first value read. */
void hc_reply_length(struct hc_req *req);

/* ---- errors ---- */

/* "-ERR …": the text begins with its code. Counted. */
void hc_reply_error(struct hc_req *req, const char *text);
void hc_reply_errorf(struct hc_req *req, const char *format, ...) __attribute__((format(printf, 2, 3)));
void hc_reply_error_slice(struct hc_req *req, struct hc_slice text);
void hc_reply_syntax_error(struct hc_req *req); /* ERR syntax error */
void hc_reply_arity_error(struct hc_req *req);  /* ERR wrong number of arguments for 'x' command */
void hc_reply_wrongtype(struct hc_req *req);
void hc_reply_nomem(struct hc_req *req);

#endif
