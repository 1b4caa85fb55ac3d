/*
 * Tests of the reply writers: what they write byte for byte, how long at most, and where they stop.
 */
#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "proto/resp_reply.h"

/* Writes into memory of its own of the promised size and compares. */
#define ck_put(call, room, want)                                                                                      \
	do {                                                                                                          \
		char *dst = malloc(room);                                                                             \
		size_t len = (call);                                                                                  \
		ck_assert_uint_le(len, (room));                                                                       \
		ck_assert_msg(hc_slice_eq(hc_slice(dst, len), hc_slice_str(want)), "%s: %.*s", #call, (int)len, dst); \
		free(dst);                                                                                            \
	} while (0)

#define HEAD HC_RESP_HEAD_MAX

START_TEST(integers_written_as_decimal)
{
	ck_put(hc_resp_put_int(dst, 0), HEAD, ":0\r\n");
	ck_put(hc_resp_put_int(dst, -1), HEAD, ":-1\r\n");
	ck_put(hc_resp_put_int(dst, INT64_MAX), HEAD, ":9223372036854775807\r\n");
	ck_put(hc_resp_put_int(dst, INT64_MIN), HEAD, ":-9223372036854775808\r\n");
	ck_put(hc_resp_put_digits(dst, INT64_MIN), 20, "-9223372036854775808");
	ck_put(hc_resp_put_udigits(dst, UINT64_MAX), 20, "18446744073709551615");
}
END_TEST

START_TEST(digits_at_each_power_of_ten_agree_with_printf)
{
	char want[32];

	for (uint64_t power = 1;; power *= 10) {
		for (uint64_t v = power - 1; v <= power + 1; v++) {
			snprintf(want, sizeof(want), "%" PRIu64, v);
			ck_put(hc_resp_put_udigits(dst, v), 20, want);
			snprintf(want, sizeof(want), "%" PRId64, -(int64_t)(v / 2));
			ck_put(hc_resp_put_digits(dst, -(int64_t)(v / 2)), 20, want);
		}
		if (power > UINT64_MAX / 10)
			break;
	}
}
END_TEST

START_TEST(digits_random_agree_with_printf)
{
	unsigned seed = (unsigned)time(NULL);
	char want[32];

	printf("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 10000; i++) {
		uint64_t bits = (uint64_t)random() << 33 ^ (uint64_t)random() << 11 ^ (uint64_t)random();
		int64_t v = (int64_t)(bits >> (random() % 64)) * (random() % 2 ? 1 : -1);
		snprintf(want, sizeof(want), "%" PRId64, v);
		ck_put(hc_resp_put_digits(dst, v), 20, want);
	}
}
END_TEST

START_TEST(heads_follow_the_protocol)
{
	ck_put(hc_resp_put_bulk_head(dst, 0), HEAD, "$0\r\n");
	ck_put(hc_resp_put_bulk_head(dst, SIZE_MAX), HEAD, "$18446744073709551615\r\n");
	ck_put(hc_resp_put_array_head(dst, 12), HEAD, "*12\r\n");
	ck_put(hc_resp_put_map_head(dst, 7, 2), HEAD, "*14\r\n");
	ck_put(hc_resp_put_map_head(dst, 7, 3), HEAD, "%7\r\n");
	ck_put(hc_resp_put_set_head(dst, 3, 2), HEAD, "*3\r\n");
	ck_put(hc_resp_put_set_head(dst, 3, 3), HEAD, "~3\r\n");
	ck_put(hc_resp_put_push_head(dst, 2, 2), HEAD, "*2\r\n");
	ck_put(hc_resp_put_push_head(dst, 2, 3), HEAD, ">2\r\n");
	ck_put(hc_resp_put_null(dst, 2), HEAD, "$-1\r\n");
	ck_put(hc_resp_put_null(dst, 3), HEAD, "_\r\n");
	ck_put(hc_resp_put_null_array(dst, 2), HEAD, "*-1\r\n");
	ck_put(hc_resp_put_null_array(dst, 3), HEAD, "_\r\n");
	ck_put(hc_resp_put_bool(dst, true, 2), HEAD, ":1\r\n");
	ck_put(hc_resp_put_bool(dst, false, 2), HEAD, ":0\r\n");
	ck_put(hc_resp_put_bool(dst, true, 3), HEAD, "#t\r\n");
	ck_put(hc_resp_put_bool(dst, false, 3), HEAD, "#f\r\n");
	ck_put(hc_resp_put_verbatim_head(dst, 15, "txt", 2), HEAD, "$15\r\n");
	ck_put(hc_resp_put_verbatim_head(dst, 15, "txt", 3), HEAD, "=19\r\ntxt:");
	ck_put(hc_resp_put_verbatim_head(dst, SIZE_MAX - 4, "mkd", 3), HEAD, "=18446744073709551615\r\nmkd:");
}
END_TEST

/* From memory of exactly its size into memory of the promised size: short ones are not copied byte by byte. */
START_TEST(bulk_of_each_length_is_head_text_and_line_end)
{
	struct hc_resp_bulk_head last = {.of = HC_RESP_LIKE_MAX};
	char want[2048];

	for (size_t n = 0; n <= 1100; n++) {
		char *text = malloc(n + (n == 0));
		for (size_t i = 0; i < n; i++)
			text[i] = (char)('0' + (i * 7 + n) % 75);
		snprintf(want, sizeof(want), "$%zu\r\n%.*s\r\n", n, (int)n, text);
		ck_put(hc_resp_put_bulk(dst, hc_slice(text, n)), HEAD + n + 2, want);
		ck_put(hc_resp_put_bulk_like(dst, hc_slice(text, n), &last), HEAD + n + 2, want);
		ck_put(hc_resp_put_bulk_like(dst, hc_slice(text, n), &last), HEAD + n + 2, want);
		free(text);
	}
	ck_put(hc_resp_put_bulk(dst, (struct hc_slice){0}), HEAD + 2, "$0\r\n\r\n");
}
END_TEST

START_TEST(doubles_written_as_redis_does)
{
	ck_put(hc_resp_put_double(dst, 1.5, 3), HC_RESP_DOUBLE_MAX, ",1.5\r\n");
	ck_put(hc_resp_put_double(dst, 1.5, 2), HC_RESP_DOUBLE_MAX, "$3\r\n1.5\r\n");
	ck_put(hc_resp_put_double(dst, 10, 3), HC_RESP_DOUBLE_MAX, ",10\r\n");
	ck_put(hc_resp_put_double(dst, 0.1, 3), HC_RESP_DOUBLE_MAX, ",0.10000000000000001\r\n");
	ck_put(hc_resp_put_double(dst, (double)INFINITY, 3), HC_RESP_DOUBLE_MAX, ",inf\r\n");
	ck_put(hc_resp_put_double(dst, -(double)INFINITY, 3), HC_RESP_DOUBLE_MAX, ",-inf\r\n");
	ck_put(hc_resp_put_double(dst, -(double)INFINITY, 2), HC_RESP_DOUBLE_MAX, "$4\r\n-inf\r\n");
	ck_put(hc_resp_put_double(dst, (double)NAN, 3), HC_RESP_DOUBLE_MAX, ",nan\r\n");
	ck_put(hc_resp_put_double(dst, -(double)NAN, 2), HC_RESP_DOUBLE_MAX, "$3\r\nnan\r\n");
	ck_put(hc_resp_put_double(dst, -2.2250738585072014e-308, 2), HC_RESP_DOUBLE_MAX,
	    "$24\r\n-2.2250738585072014e-308\r\n");
}
END_TEST

START_TEST(error_with_line_breaks_stays_one_line)
{
	ck_put(hc_resp_put_error(dst, 64, HC_SLICE("ERR no")), 64, "-ERR no\r\n");
	ck_put(hc_resp_put_error(dst, 64, HC_SLICE("ERR a\r\n+OK\r\n")), 64, "-ERR a  +OK  \r\n");
	ck_put(hc_resp_put_error(dst, 64, (struct hc_slice){0}), 64, "-\r\n");
}
END_TEST

START_TEST(error_longer_than_room_is_cut)
{
	static const char *const want[] = {"-\r\n", "-E\r\n", "-ER\r\n", "-ERR\r\n", "-ERR\r\n"};

	for (size_t cap = 3; cap <= 7; cap++)
		ck_put(hc_resp_put_error(dst, cap, HC_SLICE("ERR")), cap, want[cap - 3]);
}
END_TEST

START_TEST(command_fits_exactly_or_writes_nothing)
{
	const struct hc_slice argv[] = {HC_SLICE("SET"), {NULL, 0}, HC_SLICE("a\0\r\nb"), HC_SLICE("0123456789")};
	static const char want[] = "*4\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\na\0\r\nb\r\n$10\r\n0123456789\r\n";
	const size_t size = sizeof(want) - 1;

	ck_assert_uint_eq(hc_resp_put_command(NULL, 0, argv, 4), size);
	for (size_t cap = size - 1; cap <= size + 1; cap++) {
		char *dst = malloc(cap);
		memset(dst, '#', cap);
		ck_assert_uint_eq(hc_resp_put_command(dst, cap, argv, 4), size);
		if (cap >= size)
			ck_assert(memcmp(dst, want, size) == 0);
		for (size_t i = cap >= size ? size : 0; i < cap; i++)
			ck_assert_int_eq(dst[i], '#');
		free(dst);
	}
	ck_assert_uint_eq(hc_resp_put_command(NULL, 0, NULL, 0), 4);
}
END_TEST

static Suite *
resp_reply_suite(void)
{
	Suite *suite = suite_create("resp_reply");
	TCase *tcase = tcase_create("all");

	tcase_add_test(tcase, integers_written_as_decimal);
	tcase_add_test(tcase, digits_at_each_power_of_ten_agree_with_printf);
	tcase_add_test(tcase, digits_random_agree_with_printf);
	tcase_add_test(tcase, heads_follow_the_protocol);
	tcase_add_test(tcase, bulk_of_each_length_is_head_text_and_line_end);
	tcase_add_test(tcase, doubles_written_as_redis_does);
	tcase_add_test(tcase, error_with_line_breaks_stays_one_line);
	tcase_add_test(tcase, error_longer_than_room_is_cut);
	tcase_add_test(tcase, command_fits_exactly_or_writes_nothing);
	suite_add_tcase(suite, tcase);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(resp_reply_suite());

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
