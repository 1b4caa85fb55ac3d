/* base/thread.h: what the kernel knows of a thread afterwards. */
#include "base/thread.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct seen {
	enum hc_thread_kind kind;
	char name[16];
	int nice;
};

static void *
look(void *arg)
{
	struct seen *seen = arg;

	hc_thread_begin("a-thread", seen->kind);
	(void)pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
	seen->nice = getpriority(PRIO_PROCESS, 0);
	return NULL;
}

static struct seen
on_its_own(enum hc_thread_kind kind)
{
	struct seen seen = {.kind = kind};
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, look, &seen), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	return seen;
}

START_TEST(thread_that_serves_keeps_its_share)
{
	struct seen seen = on_its_own(HC_THREAD_SERVES);

	ck_assert_str_eq(seen.name, "a-thread");
	ck_assert_int_eq(seen.nice, getpriority(PRIO_PROCESS, 0));
}
END_TEST

START_TEST(thread_that_catches_up_stands_back_alone)
{
	int before = getpriority(PRIO_PROCESS, 0);
	struct seen seen = on_its_own(HC_THREAD_CATCHES_UP);

	ck_assert_str_eq(seen.name, "a-thread");
	ck_assert_int_ge(seen.nice, 5);
	ck_assert_int_eq(getpriority(PRIO_PROCESS, 0), before);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("thread");
	TCase *tcase = tcase_create("thread");
	SRunner *runner = srunner_create(suite);

	tcase_add_test(tcase, thread_that_serves_keeps_its_share);
	tcase_add_test(tcase, thread_that_catches_up_stands_back_alone);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
