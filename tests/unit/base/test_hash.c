/*
 * Hash, checksum, randomness.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"

START_TEST(hash_same_bytes_same_hash)
{
	char a[] = "some key", b[] = "some key", c[] = "some kez";

	ck_assert_uint_eq(hc_hash(a, 8), hc_hash(b, 8));
	ck_assert_uint_ne(hc_hash(a, 8), hc_hash(c, 8));
	ck_assert_uint_ne(hc_hash(a, 8), hc_hash(a, 7));
	ck_assert_uint_eq(hc_hash(a, 0), hc_hash(NULL, 0));
}
END_TEST

/* Every bit that the store uses must be a fair one, for keys of every size class of XXH3. */
START_TEST(hash_bits_are_fair)
{
	static const size_t lens[] = {4, 8, 16, 40, 200, 400};

	for (size_t l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
		unsigned ones[64] = {0};
		char key[400] = {0};
		for (unsigned i = 0; i < 4096; i++) {
			memcpy(key, &i, sizeof(i));
			uint64_t hash = hc_hash(key, lens[l]);
			for (int bit = 0; bit < 64; bit++)
				ones[bit] += (unsigned)(hash >> bit & 1);
		}
		for (int bit = 0; bit < 64; bit++) /* ten standard deviations are 320 */
			ck_assert_msg(ones[bit] > 2048 - 320 && ones[bit] < 2048 + 320, "length %zu bit %d: %u",
			    lens[l], bit, ones[bit]);
	}
}
END_TEST

START_TEST(hash_second_init_keeps_the_secret)
{
	uint64_t before = hc_hash("k", 1);

	ck_assert_int_eq(hc_hash_init(), 0);
	ck_assert_uint_eq(hc_hash("k", 1), before);
}
END_TEST

/* What is on disk must be readable by the next process: the values are XXH3's, whatever the secret.
 */
START_TEST(checksum_is_the_same_everywhere)
{
	ck_assert_uint_eq(hc_checksum("", 0), 0x38d394c2u);
	ck_assert_uint_ne(hc_checksum("abc", 3), hc_checksum("abd", 3));
	ck_assert_uint_ne(hc_checksum("abc", 3), (uint32_t)hc_hash("abc", 3));
}
END_TEST

START_TEST(random_fills_the_whole_buffer)
{
	unsigned char buf[1000] = {0};
	unsigned zeros = 0;

	ck_assert_int_eq(hc_random(buf, sizeof(buf)), 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		zeros += buf[i] == 0;
	ck_assert_uint_lt(zeros, 40);
	ck_assert_int_eq(hc_random(NULL, 0), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hash");
	TCase *tcase = tcase_create("hash");

	if (hc_hash_init() != 0)
		return EXIT_FAILURE;
	tcase_add_test(tcase, hash_same_bytes_same_hash);
	tcase_add_test(tcase, hash_bits_are_fair);
	tcase_add_test(tcase, hash_second_init_keeps_the_secret);
	tcase_add_test(tcase, checksum_is_the_same_everywhere);
	tcase_add_test(tcase, random_fills_the_whole_buffer);
	suite_add_tcase(suite, tcase);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
