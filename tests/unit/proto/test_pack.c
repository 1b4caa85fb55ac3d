/*
 * proto/pack.h: each form of a string, at its limits, byte for byte; numbers as Lua reads them.
 */
#include <check.h>
#include <stdlib.h>
#include "proto/pack.h"

static const struct {
	size_t len;
	const char *head;
	size_t head_len;
} strings[] = {
    {0, "\xa0", 1},
    {1, "\xa1", 1},
    {31, "\xbf", 1},
    {32, "\xda\x00\x20", 3},
    {255, "\xda\x00\xff", 3},
    {256, "\xda\x01\x00", 3},
    {65535, "\xda\xff\xff", 3},
    {65536, "\xdb\x00\x01\x00\x00", 5},
    {0x01020304, "\xdb\x01\x02\x03\x04", 5},
};

START_TEST(pack_string_has_the_head_of_its_length)
{
	size_t len = strings[_i].len, head_len = strings[_i].head_len;
	char *text = malloc(len + 1), *packed = malloc(HC_PACK_HEAD_MAX + len + 1);

	memset(text, 'x', len);
	struct hc_slice slice = hc_slice(len > 0 ? text : NULL, len);
	packed[head_len + len] = '#';
	ck_assert_uint_eq(hc_pack_size(slice), head_len + len);
	ck_assert_uint_eq(hc_pack_string(packed, slice), head_len + len);
	ck_assert_mem_eq(packed, strings[_i].head, head_len);
	ck_assert(memcmp(packed + head_len, text, len) == 0);
	ck_assert_int_eq(packed[head_len + len], '#');
	free(packed);
	free(text);
}
END_TEST

static const struct {
	double value;
	const char *bytes;
} numbers[] = {
    {0, "\xcb\x00\x00\x00\x00\x00\x00\x00\x00"},
    {1, "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"},
    {-1, "\xcb\xbf\xf0\x00\x00\x00\x00\x00\x00"},
    {9007199254740991.0, "\xcb\x43\x3f\xff\xff\xff\xff\xff\xff"},
    {9007199254740992.0, "\xcb\x43\x40\x00\x00\x00\x00\x00\x00"},
};

START_TEST(pack_number_is_a_double_in_network_order)
{
	char packed[HC_PACK_NUMBER];

	ck_assert_uint_eq(hc_pack_number(packed, numbers[_i].value), HC_PACK_NUMBER);
	ck_assert_mem_eq(packed, numbers[_i].bytes, HC_PACK_NUMBER);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pack");
	TCase *tc = tcase_create("pack");

	tcase_add_loop_test(tc, pack_string_has_the_head_of_its_length, 0, sizeof(strings) / sizeof(strings[0]));
	tcase_add_loop_test(tc, pack_number_is_a_double_in_network_order, 0, sizeof(numbers) / sizeof(numbers[0]));
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
