/*
 * A text of unknown length put together line by line for one reply: CLIENT LIST, INFO. It is
 * written through a FILE, so that the parts of it need to know nothing else.
 *
 *     struct hc_text text;
 *     FILE *to = hc_text_begin(req, &text);
 *     if (to == NULL)
 *             return;
 *     fprintf(to, …);
 *     hc_text_reply(req, &text);
 *
 * One thread: that of the request.
 */
#ifndef HC_COMMAND_TEXT_H
#define HC_COMMAND_TEXT_H

#include <stdio.h>
#include "proto/slice.h"

struct hc_req;

struct hc_text {
	FILE *file;
	char *ptr;
	size_t len;
};

/* NULL after replying with an out-of-memory error. */
FILE *hc_text_begin(struct hc_req *req, struct hc_text *text);
/* Replies with it as text (RESP2: a bulk string), and frees it. */
void hc_text_reply(struct hc_req *req, struct hc_text *text);

/*
 * Writes bytes that somebody else chose where lines, commas and `name=value` mean something:
 * whatever is not a printable ASCII character, and , = \ and space, becomes \xNN.
 */
void hc_text_escaped(FILE *to, struct hc_slice bytes);

/* How many bytes of a client's own words an error repeats: for %.*s. */
static inline int
hc_text_shown(struct hc_slice words)
{
	return words.len < 128 ? (int)words.len : 128;
}

#endif
