/*
 * Incremental parser of client requests: RESP arrays of bulk strings, and inline commands.
 * Pure functions over the caller's memory: no allocation, no I/O. One parser per connection.
 * Source: https://redis.io/docs/reference/protocol-spec/ and the error texts of Redis 7.
 *
 * The caller keeps the bytes of the request in progress contiguous, from its first byte on, and hands the
 * whole run at each call; the run may have moved between calls (the parser remembers offsets, and never
 * rescans what it has understood). Arguments are not copied: they point into the caller's run.
 */
#ifndef HC_PROTO_RESP_REQUEST_H
#define HC_PROTO_RESP_REQUEST_H

#include <stdint.h>
#include "proto/slice.h"

struct hc_resp_limits {
	uint32_t max_args;        /* arguments of one request, the command name included */
	size_t max_bulk_bytes;    /* one argument */
	size_t max_inline_bytes;  /* one inline line, and any header line */
	size_t max_request_bytes; /* one request, headers included */
};

enum hc_resp_result {
	HC_RESP_OK,    /* one whole request: argc, argv, consumed are set; argc may be 0 (skip it) */
	HC_RESP_MORE,  /* the request goes on past the end of the run: read more, call again */
	HC_RESP_ARGS,  /* argv is full: give the parser a larger one by hc_resp_parser_args(), call again */
	HC_RESP_ERROR, /* not RESP, or over a limit: `error` says what; close after replying */
};

/* All fields are the parser's; the caller reads those of the first group, and `error`, after a result. */
struct hc_resp_parser {
	struct hc_slice *argv; /* caller's array; valid until the run moves or changes */
	uint32_t argc;         /* arguments of the finished request */
	size_t consumed;       /* bytes of the run the finished request took */
	size_t need;           /* after MORE: bytes known to be missing still (at least 1) */

	const struct hc_resp_limits *limits; /* may be exchanged between requests */
	uint32_t args_cap;
	uint32_t args_left;
	uint32_t args_seen;
	uint32_t args_saved; /* of these, the first ones hold offsets in place of pointers: they outlive a call */
	size_t pos;          /* offset of the next byte not yet understood */
	size_t bulk_len;     /* of the argument in progress */
	size_t scanned;      /* offset up to which the line at `pos` has been searched for its end */
	uint8_t state;
	bool http_method; /* the inline request in progress begins as one of HTTP does */

	char error[128]; /* after ERROR: "Protocol error: …", NUL-terminated, no CR or LF in it; last, for it is cold */
};

/* Sets up the parser with the caller's array of `cap` (>= 1) slices, which must outlive it. */
void hc_resp_parser_init(
    struct hc_resp_parser *p, const struct hc_resp_limits *limits, struct hc_slice *argv, uint32_t cap);

/* Exchanges the argument array for a larger one; the caller has copied the old `args_seen` slices over (realloc does).
 */
void hc_resp_parser_args(struct hc_resp_parser *p, struct hc_slice *argv, uint32_t cap);

/*
 * Parses on. `run` holds the request in progress from its first byte; `len` bytes of it have arrived. Inline
 * arguments with quotes are unescaped in place, hence not const. After OK the parser is ready for the next
 * request, whose first byte is run[consumed]; after ERROR it must not be used again.
 */
enum hc_resp_result hc_resp_parse(struct hc_resp_parser *p, char *run, size_t len);

/* A request that was taken as it stands. */
struct hc_resp_taken {
	const struct hc_slice *argv;
	uint32_t argc; /* at least 1 */
	bool again;    /* it begins as the one taken before it: as many arguments, the same first one */
	size_t end;    /* where in the run the next one begins */
};

/*
 * For looking ahead, beside a parser that is idle: takes up to `max` requests from the beginning of the run, as far as
 * they are whole and written plainly, as nearly all are: arrays of up to 999 strings of up to 999 bytes. Their
 * arguments are as hc_resp_parse() would have left them, one request's behind the other's in argv, which has room for
 * `cap`. Returns how many there were; why there are no more, only the parser knows.
 */
size_t hc_resp_take(const struct hc_resp_limits *limits, const char *run, size_t len, struct hc_slice *argv,
    uint32_t cap, struct hc_resp_taken *taken, size_t max);

/* True when no byte of a next request has been looked at. */
bool hc_resp_parser_idle(const struct hc_resp_parser *p);

#endif
