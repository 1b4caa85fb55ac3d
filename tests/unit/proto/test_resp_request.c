/*
 * Tests of the request parser. Every message is parsed whole, cut at each point and byte by byte; at each call
 * the run lies in memory of its own of exactly its size, so that a sanitizer sees a read past its end and a
 * pointer kept from an earlier call.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "proto/resp_reply.h"
#include "proto/resp_request.h"

static const struct hc_resp_limits roomy = {
    .max_args = 1024,
    .max_bulk_bytes = 1 << 20,
    .max_inline_bytes = 65536,
    .max_request_bytes = 4 << 20,
};

#define MAX_ARGS 64

/* What a test feeds from: the request in progress, in memory that moves whenever something is added. */
struct feed {
	struct hc_resp_parser parser;
	struct hc_slice *argv;
	char *run;
	size_t len;
};

static void
feed_init(struct feed *f, const struct hc_resp_limits *limits, uint32_t cap)
{
	*f = (struct feed){.argv = malloc(cap * sizeof(*f->argv))};
	hc_resp_parser_init(&f->parser, limits, f->argv, cap);
}

static void
feed_fini(struct feed *f)
{
	free(f->argv);
	free(f->run);
}

/* Replaces the run by a copy without its first `drop` bytes and with `bytes` at the end. */
static void
feed_move(struct feed *f, size_t drop, struct hc_slice bytes)
{
	size_t len = f->len - drop + bytes.len;
	char *run = malloc(len > 0 ? len : 1);

	if (f->len > drop)
		memcpy(run, f->run + drop, f->len - drop);
	if (bytes.len > 0)
		memcpy(run + f->len - drop, bytes.ptr, bytes.len);
	if (f->run)
		memset(f->run, '#', f->len); /* whoever still points there shall not find what was */
	free(f->run);
	f->run = run;
	f->len = len;
}

/* Looking ahead sees nothing but what the parser has found; not all of it. */
static void
check_take(const struct feed *f, enum hc_resp_result result)
{
	const struct hc_resp_parser *p = &f->parser;
	struct hc_slice ahead[32];
	struct hc_resp_taken taken;

	if (hc_resp_take(p->limits, f->run, f->len, ahead, 32, &taken, 1) == 0)
		return;
	ck_assert_int_eq(result, HC_RESP_OK);
	ck_assert_uint_eq(taken.end, p->consumed);
	ck_assert_uint_eq(taken.argc, p->argc);
	ck_assert_ptr_eq(taken.argv, ahead);
	for (uint32_t i = 0; i < taken.argc; i++) {
		ck_assert_ptr_eq(ahead[i].ptr, p->argv[i].ptr);
		ck_assert_uint_eq(ahead[i].len, p->argv[i].len);
	}
}

/* Parses on; makes room for arguments and moves the run as often as the parser asks for it. */
static enum hc_resp_result
feed_parse(struct feed *f)
{
	enum hc_resp_result result;

	while ((result = hc_resp_parse(&f->parser, f->run, f->len)) == HC_RESP_ARGS) {
		uint32_t cap = f->parser.args_cap + 1;
		ck_assert_uint_eq(f->parser.args_seen, f->parser.args_cap);
		struct hc_slice *argv = malloc(cap * sizeof(*argv));
		memcpy(argv, f->argv, f->parser.args_cap * sizeof(*argv));
		free(f->argv);
		f->argv = argv;
		hc_resp_parser_args(&f->parser, argv, cap);
		feed_move(f, 0, (struct hc_slice){0});
	}
	check_take(f, result);
	return result;
}

static enum hc_resp_result
feed_add(struct feed *f, struct hc_slice bytes)
{
	feed_move(f, 0, bytes);
	return feed_parse(f);
}

/* A message and what comes of it: `argc` of -1 is an error. */
struct message {
	const char *name;
	struct hc_slice wire;
	int argc;
	const char *error;
	struct hc_slice argv[8];
};

#define WIRE(literal)                          \
	{                                      \
		(literal), sizeof(literal) - 1 \
	}
#define GOOD(wire, argc, ...)                 \
	{                                     \
		wire, WIRE(wire), argc, NULL, \
		{                             \
			__VA_ARGS__           \
		}                             \
	}
#define BAD(wire, error)                                        \
	{                                                       \
		wire, WIRE(wire), -1, "Protocol error: " error, \
		{                                               \
			{                                       \
				0                               \
			}                                       \
		}                                               \
	}
#define HUNDRED                                                                                    \
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" \
	"890123456789"

static const struct message messages[] = {
    GOOD("*1\r\n$4\r\nPING\r\n", 1, WIRE("PING")),
    GOOD("*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n", 2, WIRE("GET"), WIRE("key:000000000001")),
    GOOD("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\n\r\n\0\r\n\r\n", 3, WIRE("SET"), WIRE(""), WIRE("\r\n\0\r\n")),
    GOOD("*2\r\n$4\r\nECHO\r\n$100\r\n" HUNDRED "\r\n", 2, WIRE("ECHO"), WIRE(HUNDRED)),
    GOOD("*6\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$2\r\nde\r\n$0\r\n\r\n$3\r\nfgh\r\n", 6, WIRE("a"), WIRE("b"),
	WIRE("c"), WIRE("de"), WIRE(""), WIRE("fgh")),
    GOOD("*0\r\n", 0, {0}),
    GOOD("*-1\r\n", 0, {0}),
    GOOD("*-9223372036854775808\r\n", 0, {0}),
    GOOD("\r\n", 0, {0}),
    GOOD("\n", 0, {0}),
    GOOD(" \t \r\n", 0, {0}),

    BAD("*\r\n", "invalid multibulk length"),
    BAD("*x\r\n", "invalid multibulk length"),
    BAD("*1x\r\n", "invalid multibulk length"),
    BAD("*+1\r\n", "invalid multibulk length"),
    BAD("*01\r\n", "invalid multibulk length"),
    BAD("*-0\r\n", "invalid multibulk length"),
    BAD("*-\r\n", "invalid multibulk length"),
    BAD("* 1\r\n", "invalid multibulk length"),
    BAD("*1\0\r\n", "invalid multibulk length"),
    BAD("*1\rx", "invalid multibulk length"),
    BAD("*\n1\r\n", "invalid multibulk length"),
    BAD("*1025\r\n", "invalid multibulk length"),
    BAD("*4294967297\r\n", "invalid multibulk length"),
    BAD("*9223372036854775807\r\n", "invalid multibulk length"),
    BAD("*9223372036854775808\r\n", "invalid multibulk length"),
    BAD("*-9223372036854775809\r\n", "invalid multibulk length"),
    BAD("*18446744073709551617\r\n", "invalid multibulk length"),
    BAD("*99999999999999999999999999\r\n", "invalid multibulk length"),
    BAD("*1\r\n$-1\r\n", "invalid bulk length"),
    BAD("*1\r\n$\r\n", "invalid bulk length"),
    BAD("*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
    BAD("*1\r\n$004\r\nPING\r\n", "invalid bulk length"),
    BAD("*1\r\n$4 \r\nPING\r\n", "invalid bulk length"),
    BAD("*1\r\n$4:\r\nPING\r\n", "invalid bulk length"),
    BAD("*1\r\n$:\r\nPING\r\n", "invalid bulk length"),
    BAD("*1\r\n$4\rxPING\r\n", "invalid bulk length"),
    BAD("*1\r\n$10\rx0123456789\r\n", "invalid bulk length"),
    BAD("*1\r\n$100\rx" HUNDRED "\r\n", "invalid bulk length"),
    BAD("*1\r\n$1048577\r\n", "invalid bulk length"),
    BAD("*1\r\n$4294967300\r\nPING\r\n", "invalid bulk length"),
    BAD("*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
    BAD("*1\r\n$18446744073709551620\r\nPING\r\n", "invalid bulk length"),
    BAD("*1\r\n:4\r\n", "expected '$', got ':'"),
    BAD("*1\r\n+OK\r\n", "expected '$', got '+'"),
    BAD("*2\r\n$3\r\nGET\r\n#t\r\n", "expected '$', got '#'"),
    BAD("*2\r\n$3\r\nGET\r\n*1\r\n", "expected '$', got '*'"),
    BAD("*2\r\n$3\r\nGET\r\n_\r\n", "expected '$', got '_'"),
    BAD("*1\r\n\r\n", "expected '$', got '\\x0d'"),
    BAD("*1\r\n\0", "expected '$', got '\\x00'"),
    BAD("*1\r\n\xff", "expected '$', got '\\xff'"),
    BAD("*1\r\n$4\r\nPINGxx", "expected CRLF after bulk"),
    BAD("*1\r\n$4\r\nPING\rx", "expected CRLF after bulk"),
    BAD("*1\r\n$4\r\nPING\n\r", "expected CRLF after bulk"),
    BAD("*1\r\n$3\r\nPING\r\n", "expected CRLF after bulk"),
    BAD("*1\r\n$0\r\nPING\r\n", "expected CRLF after bulk"),

    /* Inline requests: known results of Redis 7's own splitter. */
    GOOD("PING\r\n", 1, WIRE("PING")),
    GOOD("PING\n", 1, WIRE("PING")),
    GOOD("  get \t a\v b\f\r\n", 3, WIRE("get"), WIRE("a\v"), WIRE("b\f")),
    GOOD("a \vb\r\n", 2, WIRE("a"), WIRE("b")),
    GOOD("a\rb\n", 2, WIRE("a"), WIRE("b")),
    GOOD("a\r\r\n", 1, WIRE("a")),
    GOOD("$3\r\n", 1, WIRE("$3")),
    GOOD("a\0b\r\n", 1, WIRE("a\0b")),
    GOOD("\"\" ''\n", 2, WIRE(""), WIRE("")),
    GOOD("SET k \"a b\"\r\n", 3, WIRE("SET"), WIRE("k"), WIRE("a b")),
    GOOD("\"\\n\\r\\t\\b\\a\\\"\\\\\\q\\'\"\r\n", 1, WIRE("\n\r\t\b\a\"\\q'")),
    GOOD("\"\\x41\\x0a\\xfF\\x4\\xg1\\x\"\r\n", 1, WIRE("A\n\xffx4xg1x")),
    GOOD("\"\\x00\" x\n", 2, WIRE("\0"), WIRE("x")),
    GOOD("'a\\'b\\n\"' c\r\n", 2, WIRE("a'b\\n\""), WIRE("c")),
    GOOD("foo\"bar baz\" q'u'\r\n", 2, WIRE("foobar baz"), WIRE("qu")),
    GOOD("\"a\"\vb\r\n", 2, WIRE("a"), WIRE("b")),
    GOOD("\"\\x41\\x42\" \"\\x43\" d\r\n", 3, WIRE("AB"), WIRE("C"), WIRE("d")),
    GOOD("SET GET HTTP/1.1\r\n", 3, WIRE("SET"), WIRE("GET"), WIRE("HTTP/1.1")),
    GOOD("GET / HTTP\r\n", 3, WIRE("GET"), WIRE("/"), WIRE("HTTP")),
    GOOD("DELETE HTTP/1.1 x\r\n", 3, WIRE("DELETE"), WIRE("HTTP/1.1"), WIRE("x")),
    GOOD("Host :\r\n", 2, WIRE("Host"), WIRE(":")),
    GOOD("*3\r\n$3\r\nGET\r\n$1\r\n/\r\n$8\r\nHTTP/1.1\r\n", 3, WIRE("GET"), WIRE("/"), WIRE("HTTP/1.1")),
    GOOD("*1\r\n$4\r\nPOST\r\n", 1, WIRE("POST")),
    BAD("\"a\r\n", "unbalanced quotes in request"),
    BAD("'a\r\n", "unbalanced quotes in request"),
    BAD("a \"\r\n", "unbalanced quotes in request"),
    BAD("\"a\"b\r\n", "unbalanced quotes in request"),
    BAD("'a'b\r\n", "unbalanced quotes in request"),
    BAD("\"a\"'b'\r\n", "unbalanced quotes in request"),
    BAD("\"a\\\r\n", "unbalanced quotes in request"),
    BAD("\"a\\\"\r\n", "unbalanced quotes in request"),
    BAD("'a\\'\r\n", "unbalanced quotes in request"),
    BAD("\"\\x4\r\n", "unbalanced quotes in request"),
    BAD("\"a\\\n", "unbalanced quotes in request"),
    BAD("\"\\x4\n", "unbalanced quotes in request"),
    BAD("'\\\n", "unbalanced quotes in request"),
    BAD("GET / HTTP/1.1\r\n", "HTTP is not spoken here"),
    BAD("put /a?b=c HTTP/1.0\n", "HTTP is not spoken here"),
    BAD("OPTIONS * HTTP/1.1 x\r\n", "HTTP is not spoken here"),
    BAD("PRI * HTTP/2.0\r\n", "HTTP is not spoken here"),
    BAD("POST /\r\n", "HTTP is not spoken here"),
    BAD("Host: localhost:6380\r\n", "HTTP is not spoken here"),
    BAD("hOST:\n", "HTTP is not spoken here"),
};

#define MESSAGES ((int)(sizeof(messages) / sizeof(messages[0])))

static void
check_result(struct feed *f, enum hc_resp_result result, const struct message *m)
{
	struct hc_resp_parser *p = &f->parser;

	if (m->argc < 0) {
		ck_assert_msg(result == HC_RESP_ERROR, "%s: result %d", m->name, result);
		ck_assert_str_eq(p->error, m->error);
		return;
	}
	ck_assert_msg(result == HC_RESP_OK, "%s: result %d, %s", m->name, result, p->error);
	ck_assert_int_eq((int)p->argc, m->argc);
	ck_assert_uint_eq(p->consumed, m->wire.len);
	for (uint32_t i = 0; i < p->argc; i++) {
		struct hc_slice arg = p->argv[i];
		ck_assert_msg(hc_slice_eq(arg, m->argv[i]), "%s: argument %u", m->name, i);
		ck_assert(arg.ptr >= f->run && arg.ptr + arg.len <= f->run + p->consumed);
	}
	ck_assert(hc_resp_parser_idle(p));
}

/* Checks what came of the first `fed` bytes; true when they decided it. An error may be told before the last. */
static bool
judge(struct feed *f, enum hc_resp_result result, const struct message *m, size_t fed)
{
	if (result != HC_RESP_MORE) {
		ck_assert_msg(m->argc < 0 || fed == m->wire.len, "%s: done after %zu bytes", m->name, fed);
		check_result(f, result, m);
		return true;
	}
	ck_assert_msg(fed < m->wire.len, "%s: not done at its end", m->name);
	ck_assert_uint_ge(f->parser.need, 1);
	if (m->argc >= 0)
		ck_assert_uint_le(f->parser.need, m->wire.len - fed);
	ck_assert(hc_resp_parser_idle(&f->parser) == (fed == 0));
	return false;
}

/* Feeds [from, to) of the message; true when that decided it. */
static bool
feed_part(struct feed *f, const struct message *m, size_t from, size_t to)
{
	return judge(f, feed_add(f, hc_slice(m->wire.ptr + from, to - from)), m, to);
}

START_TEST(message_whole_parses)
{
	for (uint32_t cap = 1; cap <= 8; cap++) {
		struct feed f;
		feed_init(&f, &roomy, cap);
		ck_assert(feed_part(&f, &messages[_i], 0, messages[_i].wire.len));
		feed_fini(&f);
	}
}
END_TEST

START_TEST(message_cut_once_parses_the_same)
{
	const struct message *m = &messages[_i];

	for (size_t cut = 0; cut <= m->wire.len; cut++) {
		struct feed f;
		feed_init(&f, &roomy, 1 + (uint32_t)cut % 3);
		if (!feed_part(&f, m, 0, cut))
			ck_assert(feed_part(&f, m, cut, m->wire.len));
		feed_fini(&f);
	}
}
END_TEST

START_TEST(message_cut_twice_parses_the_same)
{
	const struct message *m = &messages[_i];
	size_t most = m->wire.len < 48 ? m->wire.len : 48; /* the cuts, not the message */

	for (size_t a = 1; a < most; a++) {
		for (size_t b = a + 1; b < most; b++) {
			struct feed f;
			feed_init(&f, &roomy, 1 + (uint32_t)b % 3);
			if (!feed_part(&f, m, 0, a) && !feed_part(&f, m, a, b))
				ck_assert(feed_part(&f, m, b, m->wire.len));
			feed_fini(&f);
		}
	}
}
END_TEST

START_TEST(message_byte_by_byte_parses_the_same)
{
	const struct message *m = &messages[_i];
	struct feed f;
	bool done = false;

	feed_init(&f, &roomy, 1);
	for (size_t at = 0; at < m->wire.len && !done; at++)
		done = feed_part(&f, m, at, at + 1);
	ck_assert(done);
	feed_fini(&f);
}
END_TEST

START_TEST(message_behind_another_parses)
{
	static const struct message ping = GOOD("*1\r\n$4\r\nPING\r\n", 1, WIRE("PING"));
	const struct message *m = &messages[_i];

	for (size_t cut = 0; cut <= m->wire.len; cut++) {
		struct feed f;
		feed_init(&f, &roomy, 1);
		feed_move(&f, 0, ping.wire);
		check_result(&f, feed_add(&f, hc_slice(m->wire.ptr, cut)), &ping);
		feed_move(&f, ping.wire.len, (struct hc_slice){0});
		if (!judge(&f, feed_parse(&f), m, cut))
			ck_assert(feed_part(&f, m, cut, m->wire.len));
		feed_fini(&f);
	}
}
END_TEST

START_TEST(need_inside_bulk_is_exact)
{
	static const char wire[] = "*2\r\n$4\r\nECHO\r\n$2000\r\n";
	const size_t head = sizeof(wire) - 1;
	char bytes[2002];
	struct feed f;

	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes + 2000, "\r\n", 2);
	feed_init(&f, &roomy, 4);
	ck_assert_int_eq(feed_add(&f, hc_slice(wire, head - 1)), HC_RESP_MORE);
	ck_assert_uint_eq(f.parser.need, 1);
	ck_assert_int_eq(feed_add(&f, hc_slice(wire + head - 1, 1)), HC_RESP_MORE);
	ck_assert_uint_eq(f.parser.need, 2002);
	ck_assert_int_eq(feed_add(&f, hc_slice(bytes, 1000)), HC_RESP_MORE);
	ck_assert_uint_eq(f.parser.need, 1002);
	ck_assert_int_eq(feed_add(&f, hc_slice(bytes + 1000, 1001)), HC_RESP_MORE);
	ck_assert_uint_eq(f.parser.need, 1);
	ck_assert_int_eq(feed_add(&f, hc_slice(bytes + 2001, 1)), HC_RESP_OK);
	ck_assert_uint_eq(f.parser.argv[1].len, 2000);
	feed_fini(&f);
}
END_TEST

START_TEST(empty_run_is_idle)
{
	struct hc_resp_parser p;
	struct hc_slice argv[1];

	hc_resp_parser_init(&p, &roomy, argv, 1);
	ck_assert(hc_resp_parser_idle(&p));
	ck_assert_int_eq(hc_resp_parse(&p, NULL, 0), HC_RESP_MORE);
	ck_assert_uint_eq(p.need, 1);
	ck_assert(hc_resp_parser_idle(&p));
}
END_TEST

/* What follows an empty array is the next request, even if it looks like a bulk. */
START_TEST(empty_array_ends_before_what_follows)
{
	struct feed f;

	feed_init(&f, &roomy, 1);
	ck_assert_int_eq(feed_add(&f, HC_SLICE("*0\r\n$1\r\na\r\n")), HC_RESP_OK);
	ck_assert_uint_eq(f.parser.argc, 0);
	ck_assert_uint_eq(f.parser.consumed, 4);
	feed_fini(&f);
}
END_TEST

/* A count alone asks for nothing; only an argument that arrives does. */
START_TEST(huge_count_alone_asks_for_no_room)
{
	struct hc_resp_parser p;
	struct hc_slice argv[1];
	char wire[] = "*1024\r\n$1\r\na\r\n$";

	hc_resp_parser_init(&p, &roomy, argv, 1);
	ck_assert_int_eq(hc_resp_parse(&p, wire, 7), HC_RESP_MORE);
	ck_assert_int_eq(hc_resp_parse(&p, wire, 14), HC_RESP_MORE);
	ck_assert_int_eq(hc_resp_parse(&p, wire, 15), HC_RESP_ARGS);
	ck_assert_int_eq(hc_resp_parse(&p, wire, 15), HC_RESP_ARGS);
}
END_TEST

START_TEST(error_stays_an_error)
{
	struct feed f;

	feed_init(&f, &roomy, 1);
	ck_assert_int_eq(feed_add(&f, HC_SLICE("*x\r\n")), HC_RESP_ERROR);
	ck_assert_int_eq(feed_add(&f, HC_SLICE("*1\r\n$4\r\nPING\r\n")), HC_RESP_ERROR);
	ck_assert_str_eq(f.parser.error, "Protocol error: invalid multibulk length");
	feed_fini(&f);
}
END_TEST

/* Limits: what comes of a message, fed whole and byte by byte */

static void
expect(const struct hc_resp_limits *limits, struct hc_slice wire, enum hc_resp_result want, const char *error)
{
	for (size_t step = 1; step <= wire.len; step += wire.len > 1 ? wire.len - 1 : 1) {
		struct feed f;
		enum hc_resp_result result = HC_RESP_MORE;
		feed_init(&f, limits, 4);
		for (size_t at = 0; at < wire.len && result == HC_RESP_MORE; at += step) {
			size_t left = wire.len - at;
			result = feed_add(&f, hc_slice(wire.ptr + at, left < step ? left : step));
		}
		ck_assert_msg(result == want, "%.*s: %d, %s", (int)wire.len, wire.ptr, result, f.parser.error);
		if (want == HC_RESP_ERROR)
			ck_assert_str_eq(f.parser.error, error);
		feed_fini(&f);
	}
}

static struct hc_slice
fill(char *dst, const char *head, size_t n, const char *tail)
{
	size_t len = strlen(head);

	memcpy(dst, head, len);
	memset(dst + len, '1', n);
	memcpy(dst + len + n, tail, strlen(tail));
	return hc_slice(dst, len + n + strlen(tail));
}

START_TEST(max_args_holds)
{
	struct hc_resp_limits limits = roomy;
	const char *error = "Protocol error: invalid multibulk length";

	limits.max_args = 3;
	expect(&limits, HC_SLICE("*2\r\n$1\r\na\r\n$1\r\nb\r\n"), HC_RESP_OK, NULL);
	expect(&limits, HC_SLICE("*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"), HC_RESP_OK, NULL);
	expect(&limits, HC_SLICE("*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"), HC_RESP_ERROR, error);
	expect(&limits, HC_SLICE("a b c \r\n"), HC_RESP_OK, NULL);
	expect(&limits, HC_SLICE("a b c d\r\n"), HC_RESP_ERROR, error);
	limits.max_args = UINT32_MAX;
	expect(&limits, HC_SLICE("*4294967295\r\n"), HC_RESP_MORE, NULL);
	expect(&limits, HC_SLICE("*4294967296\r\n"), HC_RESP_ERROR, error);
}
END_TEST

START_TEST(max_bulk_bytes_holds)
{
	struct hc_resp_limits limits = roomy;
	const char *error = "Protocol error: invalid bulk length";

	limits.max_bulk_bytes = 12;
	expect(&limits, HC_SLICE("*1\r\n$11\r\n01234567890\r\n"), HC_RESP_OK, NULL);
	expect(&limits, HC_SLICE("*1\r\n$12\r\n012345678901\r\n"), HC_RESP_OK, NULL);
	expect(&limits, HC_SLICE("*1\r\n$13\r\n0123456789012\r\n"), HC_RESP_ERROR, error);
	limits.max_bulk_bytes = SIZE_MAX;
	limits.max_request_bytes = SIZE_MAX;
	expect(&limits, HC_SLICE("*1\r\n$9223372036854775807\r\n"), HC_RESP_MORE, NULL);
	expect(&limits, HC_SLICE("*1\r\n$9223372036854775808\r\n"), HC_RESP_ERROR, error);
}
END_TEST

START_TEST(max_request_bytes_holds)
{
	static const char *const wires[] = {
	    "*2\r\n$3\r\nGET\r\n$3\r\nabc\r\n",
	    "*1\r\n$1\r\na\r\n",
	    "*0\r\n",
	    "a b c\r\n",
	    "a b c\n",
	};
	struct hc_resp_limits limits = roomy;

	for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++) {
		struct hc_slice wire = hc_slice_str(wires[i]);
		limits.max_request_bytes = wire.len + 1;
		expect(&limits, wire, HC_RESP_OK, NULL);
		limits.max_request_bytes = wire.len;
		expect(&limits, wire, HC_RESP_OK, NULL);
		for (size_t less = 0; less < wire.len; less++) {
			limits.max_request_bytes = less;
			expect(&limits, wire, HC_RESP_ERROR, "Protocol error: request too large");
		}
	}
}
END_TEST

/* The first pipelined request fills the limit, the second is a request of its own. */
START_TEST(max_request_bytes_counts_each_request_alone)
{
	struct hc_resp_limits limits = roomy;
	struct feed f;

	limits.max_request_bytes = 14;
	feed_init(&f, &limits, 4);
	for (int i = 0; i < 3; i++)
		feed_move(&f, 0, HC_SLICE("*1\r\n$4\r\nPING\r\n"));
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(feed_parse(&f), HC_RESP_OK);
		feed_move(&f, f.parser.consumed, (struct hc_slice){0});
	}
	ck_assert_uint_eq(f.len, 0);
	feed_fini(&f);
}
END_TEST

START_TEST(max_inline_bytes_holds)
{
	static const struct {
		const char *head, *tail, *too_big, *bad;
	} lines[] = {
	    {"", "\n", "Protocol error: too big inline request", NULL},
	    {"*", "\r\n", "Protocol error: too big mbulk count string", "Protocol error: invalid multibulk length"},
	    {"*1\r\n$", "\r\n", "Protocol error: too big bulk count string", "Protocol error: invalid bulk length"},
	};
	struct hc_resp_limits limits = roomy;
	char wire[256];

	limits.max_inline_bytes = 100;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t type = lines[i].bad ? 1 : 0; /* the type counts */
		for (size_t n = 99; n <= 100; n++) {
			struct hc_slice whole = fill(wire, lines[i].head, n - type, lines[i].tail);
			expect(&limits, whole, lines[i].bad ? HC_RESP_ERROR : HC_RESP_OK, lines[i].bad);
			whole = fill(wire, lines[i].head, n - type, "");
			expect(&limits, whole, HC_RESP_MORE, NULL);
		}
		expect(&limits, fill(wire, lines[i].head, 101 - type, ""), HC_RESP_ERROR, lines[i].too_big);
		expect(&limits, fill(wire, lines[i].head, 101 - type, lines[i].tail), HC_RESP_ERROR, lines[i].too_big);
	}
}
END_TEST

/* However small the limit on lines, any number can be written. */
START_TEST(max_inline_bytes_small_spares_counts)
{
	struct hc_resp_limits limits = roomy;

	limits.max_inline_bytes = 1;
	expect(&limits, HC_SLICE("*1\r\n$100\r\n" HUNDRED "\r\n"), HC_RESP_OK, NULL);
	expect(&limits, HC_SLICE("ab\n"), HC_RESP_ERROR, "Protocol error: too big inline request");
}
END_TEST

/* Random requests, pipelined, fed in random pieces, come out as they went in */

struct request {
	uint32_t argc;
	struct hc_slice argv[MAX_ARGS];
};

static size_t
random_below(size_t n)
{
	return (size_t)random() % n;
}

static void
random_request(struct request *r)
{
	static const size_t sizes[] = {1, 10, 11, 100, 101, 1000, 1001, 5000};

	r->argc = 1 + (uint32_t)random_below(random_below(4) ? 5 : MAX_ARGS);
	for (uint32_t i = 0; i < r->argc; i++) {
		size_t len = random_below(sizes[random_below(8)] + 1);
		char *bytes = malloc(len + 1);
		for (size_t b = 0; b < len; b++)
			bytes[b] = (char)(random_below(4) ? random() : "\r\n$*"[random_below(4)]);
		r->argv[i] = hc_slice(bytes, len);
	}
}

static struct hc_slice
write_requests(const struct request *requests, size_t n)
{
	size_t len = 0, cap = 0;
	char *wire;

	for (size_t i = 0; i < n; i++)
		cap += hc_resp_put_command(NULL, 0, requests[i].argv, requests[i].argc);
	wire = malloc(cap);
	for (size_t i = 0; i < n; i++)
		len += hc_resp_put_command(wire + len, cap - len, requests[i].argv, requests[i].argc);
	ck_assert_uint_eq(len, cap);
	return hc_slice(wire, len);
}

static void
check_request(const struct feed *f, const struct request *want)
{
	ck_assert_uint_eq(f->parser.argc, want->argc);
	for (uint32_t i = 0; i < want->argc; i++)
		ck_assert(hc_slice_eq(f->parser.argv[i], want->argv[i]));
}

static void
check_stream(struct hc_slice wire, const struct request *requests, size_t n)
{
	struct feed f;
	size_t at = 0, done = 0;

	feed_init(&f, &roomy, 1 + (uint32_t)random_below(8));
	while (done < n) {
		enum hc_resp_result result = feed_parse(&f);
		if (result == HC_RESP_OK) {
			check_request(&f, &requests[done++]);
			feed_move(&f, f.parser.consumed, (struct hc_slice){0});
			continue;
		}
		ck_assert_msg(result == HC_RESP_MORE, "%s", f.parser.error);
		size_t piece = 1 + random_below(random_below(3) ? 20 : 8000);
		if (piece > wire.len - at)
			piece = wire.len - at;
		ck_assert_uint_gt(piece, 0);
		feed_move(&f, 0, hc_slice(wire.ptr + at, piece));
		at += piece;
	}
	ck_assert_uint_eq(f.len + wire.len - at, 0);
	feed_fini(&f);
}

START_TEST(random_requests_round_trip)
{
	static struct request requests[8];
	unsigned seed = (unsigned)time(NULL) + (unsigned)_i;

	printf("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 8; i++)
		random_request(&requests[i]);
	struct hc_slice wire = write_requests(requests, 8);
	for (int i = 0; i < 4; i++)
		check_stream(wire, requests, 8);
	free((char *)wire.ptr);
	for (int i = 0; i < 8; i++)
		for (uint32_t a = 0; a < requests[i].argc; a++)
			free((char *)requests[i].argv[a].ptr);
}
END_TEST

static Suite *
resp_request_suite(void)
{
	Suite *suite = suite_create("resp_request");
	TCase *tcase = tcase_create("all");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, message_whole_parses, 0, MESSAGES);
	tcase_add_loop_test(tcase, message_cut_once_parses_the_same, 0, MESSAGES);
	tcase_add_loop_test(tcase, message_cut_twice_parses_the_same, 0, MESSAGES);
	tcase_add_loop_test(tcase, message_byte_by_byte_parses_the_same, 0, MESSAGES);
	tcase_add_loop_test(tcase, message_behind_another_parses, 0, MESSAGES);
	tcase_add_test(tcase, need_inside_bulk_is_exact);
	tcase_add_test(tcase, empty_run_is_idle);
	tcase_add_test(tcase, empty_array_ends_before_what_follows);
	tcase_add_test(tcase, huge_count_alone_asks_for_no_room);
	tcase_add_test(tcase, error_stays_an_error);
	tcase_add_test(tcase, max_args_holds);
	tcase_add_test(tcase, max_bulk_bytes_holds);
	tcase_add_test(tcase, max_request_bytes_holds);
	tcase_add_test(tcase, max_request_bytes_counts_each_request_alone);
	tcase_add_test(tcase, max_inline_bytes_holds);
	tcase_add_test(tcase, max_inline_bytes_small_spares_counts);
	tcase_add_loop_test(tcase, random_requests_round_trip, 0, 16);
	suite_add_tcase(suite, tcase);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(resp_request_suite());

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
