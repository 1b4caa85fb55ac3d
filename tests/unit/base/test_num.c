/*
 * base/num.h: numbers at the edges of their types, and globs against a table and a plain recursive
 * matcher.
 */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"

static const struct {
	const char *text;
	bool valid;
	int64_t num;
} integers[] = {
    {"0", true, 0},
    {"7", true, 7},
    {"-1", true, -1},
    {"1234567890", true, 1234567890},
    {"9223372036854775807", true, INT64_MAX},
    {"9223372036854775808", false, 0},
    {"-9223372036854775808", true, INT64_MIN},
    {"-9223372036854775807", true, -INT64_MAX},
    {"-9223372036854775809", false, 0},
    {"18446744073709551617", false, 0},
    {"99999999999999999999", false, 0},
    {"-99999999999999999999", false, 0},
    {"100000000000000000000000", false, 0},
    {"", false, 0},
    {"-", false, 0},
    {"-0", false, 0},
    {"--1", false, 0},
    {"+1", false, 0},
    {"00", false, 0},
    {"01", false, 0},
    {"-01", false, 0},
    {" 1", false, 0},
    {"1 ", false, 0},
    {"1x", false, 0},
    {"0x1", false, 0},
    {"1.0", false, 0},
    {"1e3", false, 0},
    {"/", false, 0},
    {":", false, 0},
};

START_TEST(num_i64_edges_as_redis)
{
	int64_t num = 42;
	bool valid = hc_num_i64(hc_slice_str(integers[_i].text), &num);

	ck_assert_msg(valid == integers[_i].valid, "%s", integers[_i].text);
	ck_assert_int_eq(num, valid ? integers[_i].num : 42);
}
END_TEST

START_TEST(num_u64_edges_exact)
{
	uint64_t num = 42;

	ck_assert(hc_num_u64(HC_SLICE("18446744073709551615"), &num));
	ck_assert_uint_eq(num, UINT64_MAX);
	ck_assert(hc_num_u64(HC_SLICE("0"), &num));
	ck_assert_uint_eq(num, 0);
	num = 42;
	ck_assert(!hc_num_u64(HC_SLICE("18446744073709551616"), &num));
	ck_assert(!hc_num_u64(HC_SLICE("-1"), &num));
	ck_assert(!hc_num_u64(HC_SLICE("-0"), &num));
	ck_assert(!hc_num_u64(HC_SLICE("1\0"), &num));
	ck_assert(!hc_num_u64(hc_slice(NULL, 0), &num));
	ck_assert_uint_eq(num, 42);
}
END_TEST

START_TEST(slice_is_any_case_whole_word)
{
	ck_assert(hc_slice_is(HC_SLICE("gEt"), "GeT"));
	ck_assert(hc_slice_is(HC_SLICE("a-9_[`{"), "A-9_[`{"));
	ck_assert(hc_slice_is(hc_slice(NULL, 0), ""));
	ck_assert(!hc_slice_is(HC_SLICE("get"), "getex"));
	ck_assert(!hc_slice_is(HC_SLICE("getex"), "get"));
	ck_assert(!hc_slice_is(HC_SLICE("get\0ex"), "get"));
	ck_assert(!hc_slice_is(HC_SLICE("get\0"), "get"));
	ck_assert(!hc_slice_is(HC_SLICE("@"), "`"));
	ck_assert(!hc_slice_is(HC_SLICE("["), "{"));
}
END_TEST

#define S(literal) literal, sizeof(literal) - 1
static const struct {
	const char *pattern;
	size_t pattern_len;
	const char *text;
	size_t text_len;
	bool ignore_case;
	bool match;
} globs[] = {
    {S("*"), S("anything"), false, true},
    {S("*"), S(""), false, true},
    {S(""), S(""), false, true},
    {S(""), S("a"), false, false},
    {S("a"), S(""), false, false},
    {S("h?llo"), S("hello"), false, true},
    {S("h?llo"), S("hllo"), false, false},
    {S("h*llo"), S("heeeello"), false, true},
    {S("h*llo"), S("hllo"), false, true},
    {S("h*llo"), S("hell"), false, false},
    {S("**a**"), S("bab"), false, true},
    {S("a*b*c"), S("aXbXbXc"), false, true},
    {S("a*b*c"), S("aXbXbXcX"), false, false},
    {S("*ab"), S("aab"), false, true},
    {S("*.ini"), S("a.ini.ini"), false, true},
    {S("a**"), S("a"), false, true},
    {S("a*?"), S("a"), false, false},
    {S("a*?"), S("ab"), false, true},
    {S("h[ae]llo"), S("hallo"), false, true},
    {S("h[ae]llo"), S("hillo"), false, false},
    {S("h[^e]llo"), S("hallo"), false, true},
    {S("h[^e]llo"), S("hello"), false, false},
    {S("h[a-b]llo"), S("hbllo"), false, true},
    {S("h[a-b]llo"), S("hcllo"), false, false},
    {S("h[b-a]llo"), S("hallo"), false, true},
    {S("[a-cx-z]"), S("y"), false, true},
    {S("[a-cx-z]"), S("m"), false, false},
    {S("[]"), S("a"), false, false},
    {S("[^]"), S("a"), false, true},
    {S("[]a]"), S("a]"), false, false},
    {S("[\\]]"), S("]"), false, true},
    {S("[\\-x]"), S("-"), false, true},
    {S("[a\\-z]"), S("m"), false, false},
    {S("[abc"), S("b"), false, true},
    {S("[abc"), S("d"), false, false},
    {S("["), S("["), false, false},
    {S("[^"), S("x"), false, true},
    {S("[a-"), S("-"), false, true},
    {S("[a-]"), S("^"), false, true}, /* a range from ] to a */
    {S("[a\\"), S("\\"), false, true},
    {S("[x]*"), S("xyz"), false, true},
    {S("\\*"), S("*"), false, true},
    {S("\\*"), S("a"), false, false},
    {S("\\?\\["), S("?["), false, true},
    {S("\\\\"), S("\\"), false, true},
    {S("\\"), S("\\"), false, true},
    {S("\\a"), S("a"), false, true},
    {S("HELLO"), S("hello"), true, true},
    {S("HELLO"), S("hello"), false, false},
    {S("[A-C]x"), S("bX"), true, true},
    {S("[A-C]x"), S("bX"), false, false},
    {S("[XYZ]"), S("y"), true, true},
    {S("a\0b"), S("a\0b"), false, true},
    {S("a\0b"), S("a\0c"), false, false},
    {S("a?b"), S("a\0b"), false, true},
    {S("[\x80-\xff]"), S("\xc3"), false, true},
    {S("[a-\xff]"), S("\x80"), false, true},
};

START_TEST(glob_table_as_redis)
{
	bool match = hc_glob(hc_slice(globs[_i].pattern, globs[_i].pattern_len),
	    hc_slice(globs[_i].text, globs[_i].text_len), globs[_i].ignore_case);

	ck_assert_msg(match == globs[_i].match, "%s against %s", globs[_i].pattern, globs[_i].text);
}
END_TEST

START_TEST(glob_hostile_pattern_is_bounded)
{
	/* A matcher that tries every star anew would take 2^60 steps. */
	static char text[20000], pattern[121];

	memset(text, 'a', sizeof(text));
	for (size_t i = 0; i < 120; i++)
		pattern[i] = i % 2 ? 'a' : '*';
	pattern[120] = 'b';
	ck_assert(!hc_glob(hc_slice(pattern, 121), hc_slice(text, sizeof(text)), false));
	ck_assert(hc_glob(hc_slice(pattern, 120), hc_slice(text, sizeof(text)), false));
	/* Nor may a long pattern cost stack. */
	static char stars[1 << 20];
	memset(stars, '*', sizeof(stars));
	ck_assert(hc_glob(hc_slice(stars, sizeof(stars)), hc_slice(text, 3), false));
}
END_TEST

START_TEST(glob_within_gives_up_and_counts)
{
	static char text[10000], pattern[1002];
	uint64_t steps = 1000000;

	/* One star, and behind it much that fits everywhere but for its end. */
	memset(text, 'a', sizeof(text));
	memset(pattern, 'a', sizeof(pattern));
	pattern[0] = '*';
	pattern[sizeof(pattern) - 1] = 'b';
	ck_assert(!hc_glob_within(hc_slice(pattern, sizeof(pattern)), hc_slice(text, sizeof(text)), false, &steps));
	ck_assert_uint_eq(steps, 0);
	/* Stars, and classes that are never closed, cost what they are long. */
	memset(pattern, '*', sizeof(pattern));
	steps = 1500;
	ck_assert(hc_glob_within(hc_slice(pattern, sizeof(pattern)), hc_slice("x", 1), false, &steps));
	ck_assert_uint_eq(steps, 1500 - sizeof(pattern));
	ck_assert(!hc_glob_within(hc_slice(pattern, sizeof(pattern)), hc_slice("x", 1), false, &steps));
	ck_assert_uint_eq(steps, 0);
	memset(pattern, 'x', sizeof(pattern));
	pattern[0] = '[';
	steps = 1500;
	ck_assert(!hc_glob_within(hc_slice(pattern, sizeof(pattern)), hc_slice("y", 1), false, &steps));
	ck_assert_uint_eq(steps, 1500 - sizeof(pattern) - 1);
	/* What is sensible hardly counts. */
	steps = 100;
	ck_assert(hc_glob_within(HC_SLICE("user:*:name"), HC_SLICE("user:12:first:name"), false, &steps));
	ck_assert_uint_gt(steps, 50);
}
END_TEST

/* What is a match by definition, for patterns of letters, ? and * only. */
static bool
reference(const char *pattern, const char *text)
{
	if (*pattern == '\0')
		return *text == '\0';
	if (*pattern == '*')
		return reference(pattern + 1, text) || (*text && reference(pattern, text + 1));
	return *text && (*pattern == '?' || *pattern == *text) && reference(pattern + 1, text + 1);
}

START_TEST(glob_random_patterns_agree_with_reference)
{
	unsigned matches = 0;

	srand(1);
	for (int round = 0; round < 200000; round++) {
		char pattern[9] = "", text[9] = "";
		for (int i = rand() % 8; i > 0; i--)
			pattern[i - 1] = "ab?*"[rand() % 4];
		for (int i = rand() % 8; i > 0; i--)
			text[i - 1] = "ab"[rand() % 2];
		bool expected = reference(pattern, text);
		matches += expected;
		ck_assert_msg(hc_glob(hc_slice_str(pattern), hc_slice_str(text), false) == expected, "%s against %s",
		    pattern, text);
	}
	ck_assert_uint_gt(matches, 10000);
}
END_TEST

START_TEST(glob_random_bytes_stay_within_bounds)
{
	/* For the sanitizers: exact allocations, all sorts of special characters, cut anywhere. */
	srand(2);
	for (int round = 0; round < 50000; round++) {
		size_t len = (size_t)rand() % 12;
		char *pattern = malloc(len + !len);
		for (size_t i = 0; i < len; i++)
			pattern[i] = "[]^-\\*?ab\xff"[rand() % 10];
		(void)hc_glob(hc_slice(pattern, len), HC_SLICE("a-b^]\xff"), round % 2);
		free(pattern);
	}
}
END_TEST

static const struct {
	const char *text;
	bool valid;
	const char *written;
} floats[] = {
    {"0", true, "0"},
    {"-0", true, "0"},
    {"-0.0", true, "0"},
    {"3.0", true, "3"},
    {"10.50", true, "10.5"},
    {"100", true, "100"},
    {"-100.250", true, "-100.25"},
    {"+5.", true, "5"},
    {".5", true, "0.5"},
    {"5e3", true, "5000"},
    {"0x10", true, "16"},
    {"1e-17", true, "0.00000000000000001"},
    {"1e-18", true, "0"},
    {"-1e-18", true, "0"},
    {"3.14159", true, "3.14159"},
    {"", false, NULL},
    {" 1", false, NULL},
    {"\t1", false, NULL},
    {"1 ", false, NULL},
    {"1x", false, NULL},
    {"--1", false, NULL},
    {"1,5", false, NULL},
    {"nan", false, NULL},
    {"-nan", false, NULL},
    {"1e4933", false, NULL},
    {"-1e4933", false, NULL},
    {"1e-5000", false, NULL},
};

START_TEST(num_float_table_as_redis)
{
	char text[HC_NUM_FLOAT_CAP];
	long double value;

	ck_assert_int_eq(hc_num_float(hc_slice_str(floats[_i].text), &value), floats[_i].valid);
	if (!floats[_i].valid)
		return;
	size_t len = hc_num_put_float(text, value);
	ck_assert_uint_eq(len, strlen(floats[_i].written));
	ck_assert_mem_eq(text, floats[_i].written, len);
}
END_TEST

START_TEST(num_float_infinity_is_taken)
{
	long double value = 0;

	ck_assert(hc_num_float(HC_SLICE("-Infinity"), &value));
	ck_assert(isinf(value) && value < 0);
	ck_assert(!hc_num_float(hc_slice("1\0", 2), &value));
}
END_TEST

START_TEST(num_float_longest_fits)
{
	char digits[HC_NUM_FLOAT_CAP], text[HC_NUM_FLOAT_CAP];
	long double value;

	memset(digits, '0', sizeof(digits));
	ck_assert(hc_num_float(hc_slice(digits, sizeof(digits) - 1), &value));
	ck_assert(!hc_num_float(hc_slice(digits, sizeof(digits)), &value));
	ck_assert_uint_lt(hc_num_put_float(text, -LDBL_MAX), sizeof(text));
	ck_assert(hc_num_float(hc_slice(text, hc_num_put_float(text, -LDBL_MAX)), &value));
	ck_assert(value == -LDBL_MAX);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("num");
	TCase *tc = tcase_create("num");

	tcase_add_loop_test(tc, num_i64_edges_as_redis, 0, sizeof(integers) / sizeof(integers[0]));
	tcase_add_test(tc, num_u64_edges_exact);
	tcase_add_loop_test(tc, num_float_table_as_redis, 0, sizeof(floats) / sizeof(floats[0]));
	tcase_add_test(tc, num_float_infinity_is_taken);
	tcase_add_test(tc, num_float_longest_fits);
	tcase_add_test(tc, slice_is_any_case_whole_word);
	tcase_add_loop_test(tc, glob_table_as_redis, 0, sizeof(globs) / sizeof(globs[0]));
	tcase_add_test(tc, glob_hostile_pattern_is_bounded);
	tcase_add_test(tc, glob_within_gives_up_and_counts);
	tcase_add_test(tc, glob_random_patterns_agree_with_reference);
	tcase_add_test(tc, glob_random_bytes_stay_within_bounds);
	suite_add_tcase(suite, tc);

	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
