/*
 * What the files of the request parser share: resp_request.c, the state machine; resp_quick.c, the quick way;
 * resp_inline.c, the words of inline requests. For nobody else.
 */
#ifndef HC_PROTO_RESP_INTERNAL_H
#define HC_PROTO_RESP_INTERNAL_H

#include "proto/resp_request.h"

/* hc_resp_parser.state */
enum hc_resp_state {
	HC_RESP_START,     /* between requests: nothing looked at */
	HC_RESP_COUNT,     /* at "*N" */
	HC_RESP_BULK_HEAD, /* at "$N" */
	HC_RESP_BULK_DATA, /* at the first byte of an argument of bulk_len bytes */
	HC_RESP_LINE,      /* in an inline request whose end has not been seen */
	HC_RESP_WORDS,     /* in an inline request which ends at `scanned` */
	HC_RESP_DONE,      /* pos is behind the request's last byte */
	HC_RESP_DEAD,
};

#define HC_RESP_CRLF_LEN 2

static inline bool
hc_resp_is_crlf(const char *at)
{
	return memcmp(at, "\r\n", HC_RESP_CRLF_LEN) == 0;
}

/* The digit's value, or more than 9. */
static inline uint32_t
hc_resp_digit(char c)
{
	return (uint32_t)(unsigned char)c - '0';
}

/* The error, ready to be told; the parser is dead. Returns HC_RESP_ERROR. */
enum hc_resp_result hc_resp_fail(struct hc_resp_parser *p, const char *what);

/* resp_quick.c. True when a whole request was there. If not, the parser stands in front of what needs care. */
bool hc_resp_quick_start(struct hc_resp_parser *p, const char *run, size_t len);
/* Takes all arguments that lie ready. */
void hc_resp_quick_rest(struct hc_resp_parser *p, const char *run, size_t len);

/* resp_inline.c: the words of a line that ends at `scanned`. */
enum hc_resp_result hc_resp_step_words(struct hc_resp_parser *p, char *run);

#endif
