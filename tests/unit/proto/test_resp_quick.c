/*
 * Looking ahead in what was received: hc_resp_take(). That it reads as the parser does is test_resp_request.c's part,
 * since the parser begins with the same steps.
 */
#include <check.h>
#include <stdlib.h>
#include "proto/resp_reply.h"
#include "proto/resp_request.h"

static const struct hc_resp_limits roomy = {
    .max_args = 1024,
    .max_bulk_bytes = 1 << 20,
    .max_inline_bytes = 65536,
    .max_request_bytes = 4 << 20,
};

START_TEST(take_takes_what_is_plain)
{
	struct hc_slice name = HC_SLICE("MGET"), argv[100], ahead[100];
	struct hc_resp_taken taken;
	char wire[8192];

	for (uint32_t n = 1; n <= 100; n++) {
		for (uint32_t i = 0; i < n; i++)
			argv[i] = i == 0 ? name : hc_slice(wire, i * 37 % 16);
		argv[n - 1] = n == 1 ? name : hc_slice(wire, 999);
		memset(wire, 'x', sizeof(wire));
		char *command = malloc(sizeof(wire));
		size_t len = hc_resp_put_command(command, sizeof(wire), argv, n);
		ck_assert_uint_le(len, sizeof(wire));
		ck_assert_uint_eq(hc_resp_take(&roomy, command, len, ahead, 100, &taken, 1), 1);
		ck_assert_uint_eq(taken.argc, n);
		ck_assert_uint_eq(taken.end, len);
		for (uint32_t i = 0; i < n; i++)
			ck_assert(hc_slice_eq(ahead[i], argv[i]));
		ck_assert_uint_eq(hc_resp_take(&roomy, command, len - 1, ahead, 100, &taken, 1), 0);
		ck_assert_uint_eq(hc_resp_take(&roomy, command, len, ahead, n - 1, &taken, 1), 0);
		free(command);
	}
}
END_TEST

/* What the parser makes of it byte by byte, where nothing is ever taken together. True: a whole request. */
static bool
parse_slowly(char *wire, size_t len, struct hc_slice *argv, uint32_t cap, struct hc_resp_parser *parser)
{
	enum hc_resp_result result = HC_RESP_MORE;

	hc_resp_parser_init(parser, &roomy, argv, cap);
	for (size_t have = 1; have <= len && result == HC_RESP_MORE; have++)
		result = hc_resp_parse(parser, wire, have);
	return result == HC_RESP_OK;
}

static void
check_as_slowly(const char *wire, size_t len)
{
	struct hc_slice quick[8], slow[8];
	struct hc_resp_taken taken;
	struct hc_resp_parser parser;

	if (hc_resp_take(&roomy, wire, len, quick, 8, &taken, 1) == 0)
		return;
	char *copy = malloc(len); /* the parser may write */
	memcpy(copy, wire, len);
	ck_assert(parse_slowly(copy, len, slow, 8, &parser));
	ck_assert_uint_eq(taken.end, parser.consumed);
	ck_assert_uint_eq(taken.argc, parser.argc);
	for (uint32_t i = 0; i < taken.argc; i++) {
		ck_assert_int_eq(quick[i].ptr - wire, slow[i].ptr - copy);
		ck_assert_uint_eq(quick[i].len, slow[i].len);
	}
	free(copy);
}

/* Arguments of one length are compared with the first of them: whatever byte differs must be seen. */
START_TEST(take_of_alike_ones_reads_each)
{
	static const size_t lengths[] = {0, 1, 2, 3, 8, 9, 10, 11, 16, 99, 100, 101};
	static const char others[] = "\r\n019$*x";
	struct hc_slice argv[6], ahead[8];
	struct hc_resp_taken taken;
	char text[128], *wire = malloc(1024);

	memset(text, 'k', sizeof(text));
	for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
		for (int i = 0; i < 6; i++)
			argv[i] = hc_slice(text, lengths[l]);
		size_t len = hc_resp_put_command(wire, 1024, argv, 6);
		wire = realloc(wire, len); /* of exactly its size */
		ck_assert_uint_eq(hc_resp_take(&roomy, wire, len, ahead, 8, &taken, 1), 1);
		for (size_t at = 0; at < len; at++) {
			char was = wire[at];
			for (const char *other = others; *other != '\0'; other++) {
				wire[at] = *other;
				check_as_slowly(wire, len);
			}
			wire[at] = was;
			ck_assert_uint_eq(hc_resp_take(&roomy, wire, at, ahead, 8, &taken, 1), 0);
		}
		wire = realloc(wire, 1024);
	}
	free(wire);
}
END_TEST

#define ROW_MAX 12

/* Requests that begin alike or nearly so, in memory of exactly their size. */
static void
random_row(unsigned *seed, char **row, size_t *len)
{
	static const char *const names[] = {
	    "GET", "SET", "GEX", "DEL", "MGET", "a", "", "PEXPIRE", "PEXPIRES", "PERSISTS"};
	uint32_t n = 1 + (uint32_t)rand_r(seed) % ROW_MAX;
	const char *name = names[rand_r(seed) % 10];
	char wire[ROW_MAX * 256];

	*len = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct hc_slice argv[4] = {hc_slice_str(name)};
		uint32_t argc = 1 + (uint32_t)rand_r(seed) % 3;
		for (uint32_t k = 1; k < argc; k++)
			argv[k] = hc_slice("keys and values", (size_t)rand_r(seed) % 15);
		*len += hc_resp_put_command(wire + *len, sizeof(wire) - *len, argv, argc);
		if (rand_r(seed) % 3 == 0)
			name = names[rand_r(seed) % 10];
	}
	*len -= (size_t)rand_r(seed) % 3; /* the last one may not be whole */
	if (rand_r(seed) % 4 == 0)
		wire[(size_t)rand_r(seed) % *len] = (char)rand_r(seed);
	*row = malloc(*len);
	memcpy(*row, wire, *len);
}

START_TEST(take_of_a_row_is_what_each_alone_is)
{
	unsigned seed = (unsigned)_i;

	for (int round = 0; round < 5000; round++) {
		struct hc_slice alone[3], before = {0};
		struct hc_resp_taken row[ROW_MAX], one;
		uint32_t cap = (uint32_t)rand_r(&seed) % (3 * ROW_MAX + 1), args = 0;
		size_t len, at = 0, i = 0;
		char *wire;

		random_row(&seed, &wire, &len);
		struct hc_slice *together = malloc(cap > 0 ? cap * sizeof(*together) : 1);
		size_t n = hc_resp_take(&roomy, wire, len, together, cap, row, ROW_MAX);
		for (; i < n; i++) {
			ck_assert_uint_eq(hc_resp_take(&roomy, wire + at, len - at, alone, 3, &one, 1), 1);
			ck_assert_uint_eq(row[i].argc, one.argc);
			ck_assert_uint_eq(row[i].end, at + one.end);
			ck_assert_ptr_eq(row[i].argv, together + args);
			for (uint32_t k = 0; k < one.argc; k++) {
				ck_assert_ptr_eq(row[i].argv[k].ptr, alone[k].ptr);
				ck_assert_uint_eq(row[i].argv[k].len, alone[k].len);
			}
			if (row[i].again)
				ck_assert(i > 0 && row[i - 1].argc == one.argc && hc_slice_eq(before, alone[0]));
			before = alone[0];
			args += one.argc;
			at = row[i].end;
		}
		ck_assert_uint_le(args, cap);
		/* No more of them because there is none, or no room. */
		if (n < ROW_MAX && hc_resp_take(&roomy, wire + at, len - at, alone, 3, &one, 1) == 1)
			ck_assert_uint_gt(args + one.argc, cap);
		free(together);
		free(wire);
	}
}
END_TEST

/* It is what makes a row of the same command cheap. */
START_TEST(take_knows_a_beginning_again)
{
	static const char row[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$2\r\nbb\r\n"
				  "*2\r\n$3\r\nGEX\r\n$1\r\na\r\n*3\r\n$3\r\nGEX\r\n$0\r\n\r\n$0\r\n\r\n";
	struct hc_slice argv[16];
	struct hc_resp_taken taken[4];

	ck_assert_uint_eq(hc_resp_take(&roomy, row, sizeof(row) - 1, argv, 16, taken, 4), 4);
	ck_assert(!taken[0].again && taken[1].again && !taken[2].again && !taken[3].again);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("resp_quick");
	TCase *tcase = tcase_create("take");
	SRunner *runner = srunner_create(suite);

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, take_takes_what_is_plain);
	tcase_add_test(tcase, take_of_alike_ones_reads_each);
	tcase_add_loop_test(tcase, take_of_a_row_is_what_each_alone_is, 0, 8);
	tcase_add_test(tcase, take_knows_a_beginning_again);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
