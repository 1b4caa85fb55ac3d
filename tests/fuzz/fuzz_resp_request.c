/*
 * Fuzz target of the request parser: the input is what a client sends. However it is cut into reads the same
 * requests and the same end come of it, arguments lie in their request, and what was parsed parses again when
 * it is written as a command.
 */
#include "proto/resp_reply.h"
#include "proto/resp_request.h"
#include "tests/fuzz/fuzz.h"

/* Inputs longer than this are cut at some points only. */
#define CUT_EVERYWHERE 48

static const struct hc_resp_limits limits[] = {
    {.max_args = 1024, .max_bulk_bytes = 4096, .max_inline_bytes = 1024, .max_request_bytes = 8192},
    {.max_args = 3, .max_bulk_bytes = 14, .max_inline_bytes = 40, .max_request_bytes = 48},
    {.max_args = UINT32_MAX, .max_bulk_bytes = SIZE_MAX, .max_inline_bytes = SIZE_MAX, .max_request_bytes = SIZE_MAX},
};

/* All that came of a stream, in one string of bytes. */
struct transcript {
	char *bytes;
	size_t len, cap;
};

static void
note(struct transcript *t, const void *bytes, size_t len)
{
	if (t->len + len > t->cap) {
		t->cap = 2 * (t->len + len);
		t->bytes = realloc(t->bytes, t->cap);
		FUZZ_CHECK(t->bytes);
	}
	if (len > 0)
		memcpy(t->bytes + t->len, bytes, len);
	t->len += len;
}

/* The daemon's end of a connection: the request in progress, in memory that moves at each read. */
struct reader {
	struct hc_resp_parser parser;
	struct hc_slice *argv;
	char *run;
	size_t len;
	size_t need; /* what MORE said was missing */
	bool ended;
	struct transcript *told;
};

static void
reader_init(struct reader *r, const struct hc_resp_limits *with, struct transcript *told)
{
	*r = (struct reader){.argv = malloc(sizeof(*r->argv)), .told = told};
	FUZZ_CHECK(r->argv);
	hc_resp_parser_init(&r->parser, with, r->argv, 1);
}

static void
reader_fini(struct reader *r)
{
	free(r->argv);
	free(r->run);
}

static void
move(struct reader *r, size_t drop, struct hc_slice more)
{
	size_t kept = r->len - drop;
	char *run = malloc(kept + more.len > 0 ? kept + more.len : 1);

	FUZZ_CHECK(run);
	if (kept > 0)
		memcpy(run, r->run + drop, kept);
	if (more.len > 0)
		memcpy(run + kept, more.ptr, more.len);
	free(r->run);
	r->run = run;
	r->len = kept + more.len;
}

static void
enlarge(struct reader *r)
{
	uint32_t cap = r->parser.args_cap + 1;

	FUZZ_CHECK(r->parser.args_seen == r->parser.args_cap);
	r->argv = realloc(r->argv, cap * sizeof(*r->argv));
	FUZZ_CHECK(r->argv);
	hc_resp_parser_args(&r->parser, r->argv, cap);
}

/* What was parsed, written as a command, parses to the same. */
static void
check_again(const struct hc_slice *argv, uint32_t argc)
{
	struct hc_resp_parser parser;
	struct hc_slice *again = malloc(argc * sizeof(*again));
	size_t size = hc_resp_put_command(NULL, 0, argv, argc);
	char *wire = malloc(size);

	FUZZ_CHECK(again && wire);
	FUZZ_CHECK(hc_resp_put_command(wire, size, argv, argc) == size);
	hc_resp_parser_init(&parser, &limits[2], again, argc);
	FUZZ_CHECK(hc_resp_parse(&parser, wire, size) == HC_RESP_OK);
	FUZZ_CHECK(parser.consumed == size && parser.argc == argc);
	for (uint32_t i = 0; i < argc; i++)
		FUZZ_CHECK(hc_slice_eq(again[i], argv[i]));
	free(again);
	free(wire);
}

static void
tell_request(struct reader *r)
{
	const struct hc_resp_parser *p = &r->parser;
	struct hc_slice request = hc_slice(r->run, p->consumed);

	FUZZ_CHECK(p->consumed > 0 && p->consumed <= r->len);
	FUZZ_CHECK(p->consumed <= p->limits->max_request_bytes && p->argc <= p->limits->max_args);
	FUZZ_CHECK(hc_resp_parser_idle(p));
	note(r->told, &p->consumed, sizeof(p->consumed));
	for (uint32_t i = 0; i < p->argc; i++) {
		FUZZ_CHECK(fuzz_inside(p->argv[i], request));
		note(r->told, &p->argv[i].len, sizeof(p->argv[i].len));
		note(r->told, p->argv[i].ptr, p->argv[i].len);
	}
	if (p->argc > 0)
		check_again(p->argv, p->argc);
}

/* The i-th of a row is the one that begins there, taken alone. */
static void
check_row(const struct hc_resp_limits *with, const struct reader *r, const struct hc_resp_taken *row, size_t i)
{
	size_t at = i > 0 ? row[i - 1].end : 0;
	struct hc_slice alone[64];
	struct hc_resp_taken one;

	FUZZ_CHECK(hc_resp_take(with, r->run + at, r->len - at, alone, 64, &one, 1) == 1);
	FUZZ_CHECK(row[i].argc == one.argc && row[i].end == at + one.end);
	for (uint32_t k = 0; k < one.argc; k++)
		FUZZ_CHECK(row[i].argv[k].ptr == alone[k].ptr && row[i].argv[k].len == alone[k].len);
}

/* Looking ahead sees what the parser has found, or nothing. */
static void
check_take(const struct reader *r, enum hc_resp_result result)
{
	const struct hc_resp_parser *p = &r->parser;
	struct hc_slice ahead[64];
	struct hc_resp_taken row[8];
	size_t n = hc_resp_take(p->limits, r->run, r->len, ahead, 64, row, 8);

	for (size_t i = 1; i < n; i++)
		check_row(p->limits, r, row, i);
	if (n == 0)
		return;
	FUZZ_CHECK(result == HC_RESP_OK && row[0].end == p->consumed && row[0].argc == p->argc);
	for (uint32_t i = 0; i < row[0].argc; i++)
		FUZZ_CHECK(ahead[i].ptr == p->argv[i].ptr && ahead[i].len == p->argv[i].len);
}

/* Reads `more` and parses as far as it goes. */
static void
reader_read(struct reader *r, struct hc_slice more)
{
	enum hc_resp_result result;

	move(r, 0, more);
	while ((result = hc_resp_parse(&r->parser, r->run, r->len)) != HC_RESP_MORE) {
		size_t drop = 0;
		if (result != HC_RESP_ARGS)
			check_take(r, result);
		if (result == HC_RESP_ERROR) {
			FUZZ_CHECK(strncmp(r->parser.error, "Protocol error: ", 16) == 0);
			FUZZ_CHECK(!strpbrk(r->parser.error, "\r\n"));
			r->ended = true;
			return;
		}
		FUZZ_CHECK(more.len == 0 || r->need <= more.len);
		if (result == HC_RESP_ARGS) {
			enlarge(r);
		} else {
			tell_request(r);
			drop = r->parser.consumed;
			r->need = 0;
		}
		move(r, drop, (struct hc_slice){0});
	}
	check_take(r, result);
	FUZZ_CHECK(r->parser.need > 0);
	r->need = r->parser.need;
}

static void
tell_end(struct reader *r)
{
	if (r->ended) {
		note(r->told, r->parser.error, strlen(r->parser.error));
		return;
	}
	bool idle = hc_resp_parser_idle(&r->parser);
	FUZZ_CHECK(idle == (r->len == 0));
	note(r->told, &idle, sizeof(idle));
	note(r->told, &r->parser.need, sizeof(r->parser.need));
}

/* Reads the stream in pieces: the first of `first` bytes, the others of `step`. */
static struct transcript
read_stream(struct hc_slice stream, const struct hc_resp_limits *with, size_t first, size_t step)
{
	struct transcript told = {0};
	struct reader r;

	reader_init(&r, with, &told);
	for (size_t at = 0, piece = first; at < stream.len && !r.ended; at += piece, piece = step) {
		if (piece > stream.len - at)
			piece = stream.len - at;
		reader_read(&r, hc_slice(stream.ptr + at, piece));
	}
	tell_end(&r);
	reader_fini(&r);
	return told;
}

static void
check_cut(struct hc_slice stream, const struct hc_resp_limits *with, const struct transcript *whole, size_t first,
    size_t step)
{
	struct transcript told = read_stream(stream, with, first, step);

	FUZZ_CHECK(hc_slice_eq(hc_slice(told.bytes, told.len), hc_slice(whole->bytes, whole->len)));
	free(told.bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hc_slice stream = hc_slice((const char *)data, size);
	size_t stride = 1 + size / CUT_EVERYWHERE;

	if (size == 0)
		return 0;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct transcript whole = read_stream(stream, &limits[i], size, size);
		for (size_t first = 1; first < size; first += stride)
			check_cut(stream, &limits[i], &whole, first, size);
		check_cut(stream, &limits[i], &whole, stride, stride);
		free(whole.bytes);
	}
	return 0;
}
