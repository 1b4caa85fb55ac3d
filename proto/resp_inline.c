/*
 * The words of inline requests, split as Redis does it, except that a NUL is a byte as any other; and what tells HTTP
 * from them.
 */
#include "proto/resp_internal.h"

/* Vertical tab and form feed separate words only when a blank went before: so does Redis. */
static bool
ends_word(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The value of a hexadecimal digit, or -1. */
static int
hex_digit(char c)
{
	if (hc_resp_digit(c) <= 9)
		return (int)hc_resp_digit(c);
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char
escaped(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'b':
		return '\b';
	case 'a':
		return '\a';
	default:
		return c;
	}
}

/* Reads one byte, or the escape sequence that stands for it, inside quotes. Returns what follows.
 */
static const char *
unescape(const char *in, const char *end, char quote, char *out)
{
	if (in[0] != '\\' || end - in < 2 || (quote == '\'' && in[1] != '\'')) {
		*out = in[0];
		return in + 1;
	}
	if (in[1] == 'x' && end - in >= 4 && hex_digit(in[2]) >= 0 && hex_digit(in[3]) >= 0) {
		*out = (char)(hex_digit(in[2]) * 16 + hex_digit(in[3]));
		return in + 4;
	}
	*out = escaped(in[1]);
	return in + 2;
}

/*
 * Takes the word at `in`, which is not blank; what its quotes stand for is written over it. Returns
 * what follows, NULL when a quote is not closed or something sticks to the closing one.
 */
static const char *
take_word(char *in, const char *end, struct hc_slice *word)
{
	const char *at = in;
	char *out = in;

	while (at < end && !ends_word(*at) && *at != '"' && *at != '\'')
		at++, out++;
	if (at < end && !ends_word(*at)) {
		char quote = *at++;
		while (at < end && *at != quote)
			at = unescape(at, end, quote, out++);
		if (at == end)
			return NULL;
		at++;
		if (at < end && !hc_is_space(*at))
			return NULL;
	}
	*word = hc_slice(in, (size_t)(out - in));
	return at;
}

static bool
is_word(struct hc_slice word, const char *lower_case)
{
	size_t i = 0;

	for (; i < word.len; i++) {
		char c = word.ptr[i];
		c = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
		if (lower_case[i] == '\0' || c != lower_case[i])
			return false;
	}
	return lower_case[i] == '\0';
}

/*
 * The words of a request of HTTP, as they come. A browser made to send one to this port must not have the lines of its
 * body carried out; so the connection ends at the first line, or, as in Redis, at the "Host:" behind it.
 */
static bool
is_http(struct hc_resp_parser *p, struct hc_slice word)
{
	static const char *const methods[] = {
	    "get", "head", "put", "delete", "options", "patch", "trace", "connect", "pri"};
	static const char version[] = "HTTP/";
	size_t version_len = sizeof(version) - 1;

	if (p->args_seen == 0) {
		p->http_method = false;
		for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
			p->http_method = p->http_method || is_word(word, methods[i]);
		return is_word(word, "post") || is_word(word, "host:");
	}
	return p->args_seen == 2 && p->http_method && word.len > version_len &&
	       memcmp(word.ptr, version, version_len) == 0;
}

enum hc_resp_result
hc_resp_step_words(struct hc_resp_parser *p, char *run)
{
	const char *end = run + p->scanned; /* a CR before it is a blank as any other */

	for (;;) {
		while (run + p->pos < end && hc_is_space(run[p->pos]))
			p->pos++;
		if (run + p->pos == end)
			break;
		if (p->args_seen == p->limits->max_args)
			return hc_resp_fail(p, "invalid multibulk length");
		if (p->args_seen == p->args_cap)
			return HC_RESP_ARGS;
		const char *next = take_word(run + p->pos, end, &p->argv[p->args_seen]);
		if (!next)
			return hc_resp_fail(p, "unbalanced quotes in request");
		if (is_http(p, p->argv[p->args_seen]))
			return hc_resp_fail(p, "HTTP is not spoken here");
		p->args_seen++;
		p->pos = (size_t)(next - run);
	}
	p->pos++; /* the LF */
	p->state = HC_RESP_DONE;
	return HC_RESP_OK;
}
