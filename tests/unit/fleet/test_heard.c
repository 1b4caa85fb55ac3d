/* What has been heard: each rule by itself, and every order in which live events and replay can come. */
#include <check.h>
#include <stdlib.h>
#include "fleet/heard.h"

START_TEST(live_changes_without_a_hole_are_heard)
{
	struct hc_heard heard = {0};

	hc_heard_begin(&heard, 10);
	ck_assert(hc_heard_live(&heard, 11, 11));
	ck_assert(hc_heard_live(&heard, 12, 15));
	ck_assert(hc_heard_live(&heard, 14, 15)); /* told twice */
	ck_assert_uint_eq(heard.upto, 15);
	ck_assert_uint_eq(hc_heard_hole_end(&heard), 0);
}
END_TEST

START_TEST(a_hole_is_noticed_and_closed_by_replay)
{
	struct hc_heard heard = {0};

	hc_heard_begin(&heard, 10);
	ck_assert(!hc_heard_live(&heard, 14, 14));
	ck_assert_uint_eq(heard.upto, 10);
	ck_assert_uint_eq(hc_heard_hole_end(&heard), 13);
	ck_assert(!hc_heard_live(&heard, 15, 16));
	ck_assert(!hc_heard_replayed(&heard, 12, 13)); /* trimmed past 11 */
	ck_assert_uint_eq(heard.upto, 10);
	ck_assert(hc_heard_replayed(&heard, 11, 12));
	ck_assert_uint_eq(heard.upto, 12);
	ck_assert(hc_heard_replayed(&heard, 13, 13));
	ck_assert_uint_eq(heard.upto, 16);
	ck_assert_uint_eq(hc_heard_hole_end(&heard), 0);
}
END_TEST

START_TEST(after_a_cut_another_run_begins)
{
	struct hc_heard heard = {0};

	hc_heard_begin(&heard, 10);
	ck_assert(!hc_heard_live(&heard, 12, 12));
	hc_heard_cut(&heard);
	ck_assert(!hc_heard_live(&heard, 14, 14));
	ck_assert(hc_heard_replayed(&heard, 11, 11));
	ck_assert_uint_eq(heard.upto, 11);
	ck_assert_uint_eq(hc_heard_hole_end(&heard), 13);
}
END_TEST

START_TEST(a_hole_within_the_run_begins_another)
{
	struct hc_heard heard = {0};

	hc_heard_begin(&heard, 10);
	ck_assert(!hc_heard_live(&heard, 12, 12));
	ck_assert(!hc_heard_live(&heard, 15, 15));
	ck_assert(hc_heard_replayed(&heard, 11, 11));
	ck_assert(hc_heard_replayed(&heard, 12, 13));
	ck_assert_uint_eq(heard.upto, 13);
	ck_assert(hc_heard_replayed(&heard, 14, 14));
	ck_assert_uint_eq(heard.upto, 15);
}
END_TEST

START_TEST(a_later_beginning_takes_the_run_along)
{
	struct hc_heard heard = {0};

	ck_assert(!hc_heard_live(&heard, 20, 22));
	hc_heard_begin(&heard, 19);
	ck_assert_uint_eq(heard.upto, 22);
	hc_heard_begin(&heard, 5);
	ck_assert_uint_eq(heard.upto, 5);
}
END_TEST

/*
 * 12 changes; some are lost on the live way; replay reads the journal, from where we are, at any moments. Never may
 * more be called heard than has come, and once the replay has read all, all is.
 */
START_TEST(whatever_the_order_nothing_is_called_heard_that_has_not_come)
{
	for (unsigned lost = 0; lost < 1u << 12; lost++) {
		for (unsigned pace = 1; pace < 5; pace++) {
			struct hc_heard heard = {0};
			unsigned come = 0; /* bits */
			uint64_t read = 1;
			for (uint64_t seq = 1; seq <= 12; seq++) {
				if ((lost >> (seq - 1) & 1) == 0) {
					hc_heard_live(&heard, seq, seq);
					come |= 1u << (seq - 1);
				}
				if (seq % pace == 0 && hc_heard_hole_end(&heard) > 0) {
					read = heard.upto + 1;
					ck_assert(hc_heard_replayed(&heard, read, read));
					come |= 1u << (read - 1);
				}
				for (uint64_t i = 1; i <= heard.upto; i++) {
					if ((come >> (i - 1) & 1) == 0)
						ck_abort_msg(
						    "lost %x pace %u: %u was not heard", lost, pace, (unsigned)i);
				}
			}
			while (heard.upto < 12)
				hc_heard_replayed(&heard, heard.upto + 1, heard.upto + 1);
			if (hc_heard_hole_end(&heard) != 0)
				ck_abort_msg("lost %x pace %u: a hole is left", lost, pace);
		}
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("heard");
	TCase *tcase = tcase_create("heard");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, live_changes_without_a_hole_are_heard);
	tcase_add_test(tcase, a_hole_is_noticed_and_closed_by_replay);
	tcase_add_test(tcase, after_a_cut_another_run_begins);
	tcase_add_test(tcase, a_hole_within_the_run_begins_another);
	tcase_add_test(tcase, a_later_beginning_takes_the_run_along);
	tcase_add_test(tcase, whatever_the_order_nothing_is_called_heard_that_has_not_come);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
