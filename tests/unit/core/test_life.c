/*
 * Which life of a server INFO tells of, and when only its name is another.
 */
#include "core/life.h"

#include "tests/unit/support.h"

#define ID_A "0123456789abcdef0123456789abcdef01234567"
#define ID_B "89abcdef0123456789abcdef0123456789abcdef"
#define NONE "0000000000000000000000000000000000000000"

static struct hc_slice
info_of(const char *run, const char *lineage)
{
	static char text[512];

	snprintf(text, sizeof(text), "# Server\r\nrun_id:%s\r\nmaster_replid:%s\r\nmaster_replid2:" NONE "\r\n", run,
	    lineage);
	return hc_slice_str(text);
}

START_TEST(life_is_of_a_process_and_of_its_data)
{
	uint64_t life = hc_life(info_of(ID_A, ID_B));

	ck_assert_uint_ne(life, 0);
	ck_assert_uint_eq(hc_life(info_of(ID_A, ID_B)), life);
	ck_assert_uint_ne(hc_life(info_of(ID_A, ID_A)), life);
	ck_assert_uint_ne(hc_life(info_of(ID_B, ID_B)), life);
	ck_assert_uint_eq(hc_life_lineage(info_of(ID_A, ID_B)), (uint32_t)life);
	ck_assert_uint_eq(hc_life(HC_SLICE("run_id:" ID_A "\r\n")), 0);
	ck_assert_uint_eq(hc_life(HC_SLICE("master_replid:" ID_A "\r\n")), 0);
	ck_assert_uint_eq(hc_life_lineage(HC_SLICE("master_replid:\r\nmaster_replid2:" ID_A "\r\n")), 0);
}
END_TEST

static const struct {
	const char *info;
	bool goes_on;
} followed[] = {
    {"role:master\r\nconnected_slaves:1\r\nmaster_replid:" ID_A "\r\nmaster_replid2:" NONE "\r\n", true},
    {"role:master\nconnected_slaves:10\nmaster_replid2:" NONE "\n", true},
    {"role:master\r\nconnected_slaves:1\r\nmaster_replid2:" ID_B "\r\n", false}, /* it was a replica */
    {"role:slave\r\nconnected_slaves:1\r\nmaster_replid2:" NONE "\r\n", false},  /* it is one */
    {"role:master\r\nconnected_slaves:0\r\nmaster_replid2:" NONE "\r\n", false}, /* it has none */
    {"role:master\r\nmaster_replid2:" NONE "\r\n", false},
    {"role:master\r\nconnected_slaves:1\r\nmaster_replid2:\r\n", false},
    {"role:master\r\nconnected_slaves:1\r\nmaster_replid:" NONE "\r\n", false},
    {"connected_slaves:1\r\nmaster_replid2:" NONE "\r\n", false},
    {"", false},
};

START_TEST(life_of_a_master_that_follows_nobody_goes_on)
{
	ck_assert_int_eq(hc_life_goes_on(hc_slice_str(followed[_i].info)), followed[_i].goes_on);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("life");
	TCase *tcase = tcase_create("life");

	tcase_add_test(tcase, life_is_of_a_process_and_of_its_data);
	tcase_add_loop_test(
	    tcase, life_of_a_master_that_follows_nobody_goes_on, 0, sizeof(followed) / sizeof(followed[0]));
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
