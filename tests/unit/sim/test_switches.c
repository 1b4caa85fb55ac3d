/*
 * sim/switches: a processor had nothing to do where nobody was put off it, as far as that is known. A ring of our own.
 * One thread.
 */
#include "tests/sim/switches.h"

#include "tests/unit/sim/ring.h"
#include "tests/unit/support.h"

#define PID 4711u

static struct switches switches;

static void
set_up(void)
{
	switches = (struct switches){.ring = empty_ring()};
}

static void
put_off(uint32_t pid, uint64_t ns)
{
	push_record(PERF_RECORD_SAMPLE, 2, (const uint64_t[]){(uint64_t)pid << 32 | pid, ns});
}

static void
push(uint32_t type)
{
	push_record(type, 3, (const uint64_t[]){150, 0, 0});
}

START_TEST(processor_is_idle_where_nobody_was_put_off)
{
	must(switches_say_idle(&switches, 100, 200));
	put_off(PID, 99);
	put_off(PID, 201);
	must(switches_say_idle(&switches, 100, 200));
	put_off(0, 150); /* the idle thread */
	must(switches_say_idle(&switches, 100, 200));
}
END_TEST

START_TEST(processor_has_work_until_somebody_is_put_off)
{
	for (uint64_t n = 0; n < 10; n++) { /* some times round the ring */
		put_off(PID, 1000 * n + 100 + n % 2 * 100);
		put_off(0, 1000 * n + 150);
		must(!switches_say_idle(&switches, (int64_t)(1000 * n + 100), (int64_t)(1000 * n + 200)));
		must(switches_say_idle(&switches, (int64_t)(1000 * n + 100), (int64_t)(1000 * n + 200)));
	}
	must(map.page.data_tail == map.page.data_head);
}
END_TEST

START_TEST(processor_may_have_work_where_that_is_not_known)
{
	push(PERF_RECORD_LOST);
	must(!switches_say_idle(&switches, 100, 200));
	must(switches_say_idle(&switches, 200, 300));
	push(PERF_RECORD_THROTTLE);
	must(!switches_say_idle(&switches, 300, 400));
	must(!switches_say_idle(&switches, 400, 500)); /* none are written down meanwhile */
	push(PERF_RECORD_UNTHROTTLE);
	must(!switches_say_idle(&switches, 500, 600));
	must(switches_say_idle(&switches, 600, 700));
	switches.ring.fd = -1;
	must(!switches_say_idle(&switches, 700, 800));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("switches");
	TCase *tc = tcase_create("switches");

	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, processor_is_idle_where_nobody_was_put_off);
	tcase_add_test(tc, processor_has_work_until_somebody_is_put_off);
	tcase_add_test(tc, processor_may_have_work_where_that_is_not_known);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
