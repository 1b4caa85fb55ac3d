/*
 * base/notify against a real datagram socket, which stands for the service manager's. One thread.
 */
#include "base/notify.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/test_notify.XXXXXX";
static char path[sizeof(dir) + 16];
static int manager = -1;

/* Binds the manager's end: a path, or an abstract name given with its '@'. */
static void
manager_listen(const char *address)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(address);

	memcpy(addr.sun_path, address, len);
	if (address[0] == '@')
		addr.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(manager, 0);
	ck_assert_int_eq(
	    bind(manager, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", address, 1), 0);
}

static void
manager_expects(const char *expected)
{
	char buf[2 * HC_NOTIFY_MAX_BYTES];
	ssize_t n = recv(manager, buf, sizeof(buf) - 1, 0);

	ck_assert_int_ge(n, 0);
	buf[n] = '\0';
	ck_assert_str_eq(buf, expected);
	/* The terminator is no part of the datagram. */
	ck_assert_int_eq((int)n, (int)strlen(expected));
}

static void
setup(void)
{
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/notify", dir);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void
teardown(void)
{
	if (manager >= 0)
		close(manager);
	manager = -1;
	unlink(path);
	rmdir(dir);
}

START_TEST(notify_no_manager_is_a_miss)
{
	ck_assert_int_eq(hc_notify_ready(NULL), HC_MISS);
	setenv("NOTIFY_SOCKET", "", 1);
	ck_assert_int_eq(hc_notify_watchdog(), HC_MISS);
}
END_TEST

START_TEST(notify_path_socket_gets_each_message)
{
	manager_listen(path);
	ck_assert_int_eq(hc_notify_ready(NULL), HC_OK);
	manager_expects("READY=1\n");
	ck_assert_int_eq(hc_notify_ready("serving on 2 sockets"), HC_OK);
	manager_expects("READY=1\nSTATUS=serving on 2 sockets");
	ck_assert_int_eq(hc_notify_watchdog(), HC_OK);
	manager_expects("WATCHDOG=1");
	ck_assert_int_eq(hc_notify_stopping(), HC_OK);
	manager_expects("STOPPING=1");
}
END_TEST

START_TEST(notify_abstract_socket_gets_the_message)
{
	char name[64];

	snprintf(name, sizeof(name), "@harcad-test-notify-%d", (int)getpid());
	manager_listen(name);
	ck_assert_int_eq(hc_notify_ready(NULL), HC_OK);
	manager_expects("READY=1\n");
}
END_TEST

START_TEST(notify_reloading_carries_the_monotonic_time)
{
	char buf[128] = "";
	int64_t sent_us, before_us, after_us;
	struct timespec t;

	manager_listen(path);
	clock_gettime(CLOCK_MONOTONIC, &t);
	before_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
	ck_assert_int_eq(hc_notify_reloading(), HC_OK);
	clock_gettime(CLOCK_MONOTONIC, &t);
	after_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;

	ck_assert_int_gt(recv(manager, buf, sizeof(buf) - 1, 0), 0);
	ck_assert_int_eq(sscanf(buf, "RELOADING=1\nMONOTONIC_USEC=%" SCNd64, &sent_us), 1);
	ck_assert_int_ge(sent_us, before_us);
	ck_assert_int_le(sent_us, after_us);
}
END_TEST

START_TEST(notify_status_with_line_breaks_stays_one_assignment)
{
	manager_listen(path);
	ck_assert_int_eq(hc_notify_status("a\nREADY=1\r\nb"), HC_OK);
	manager_expects("STATUS=a READY=1  b");
}
END_TEST

START_TEST(notify_status_too_long_is_cut)
{
	char status[2 * HC_NOTIFY_MAX_BYTES];
	char expected[HC_NOTIFY_MAX_BYTES];

	memset(status, 'x', sizeof(status) - 1);
	status[sizeof(status) - 1] = '\0';
	snprintf(expected, sizeof(expected), "READY=1\nSTATUS=%.*s",
	    (int)(sizeof(expected) - sizeof("READY=1\nSTATUS=")), status);

	manager_listen(path);
	ck_assert_int_eq(hc_notify_ready(status), HC_OK);
	manager_expects(expected);
}
END_TEST

START_TEST(notify_bad_address_is_invalid)
{
	char longest[200];
	const char *bad[] = {"relative/path", "/", "@", "vsock:2:1234", longest};

	memset(longest, 'a', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		ck_assert_int_eq(hc_notify_ready(NULL), HC_INVALID);
	}
}
END_TEST

START_TEST(notify_manager_gone_is_an_error)
{
	setenv("NOTIFY_SOCKET", path, 1);
	ck_assert_int_eq(hc_notify_ready(NULL), HC_ERROR);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(notify_manager_not_reading_times_out)
{
	enum hc_status status = HC_OK;

	manager_listen(path);
	/* The queue of a datagram socket is short: some ten messages unless the system was told
	 * otherwise. */
	for (int i = 0; i < 100000 && status == HC_OK; i++)
		status = hc_notify_watchdog();
	ck_assert_int_eq(status, HC_TIMEOUT);
	manager_expects("WATCHDOG=1");
	ck_assert_int_eq(hc_notify_watchdog(), HC_OK);
}
END_TEST

START_TEST(notify_watchdog_of_this_process_gives_half_the_time)
{
	char pid[32];

	ck_assert_int_eq(hc_notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "10000000", 1);
	ck_assert_int_eq(hc_notify_watchdog_ms(), 5000);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	ck_assert_int_eq(hc_notify_watchdog_ms(), 5000);
	setenv("WATCHDOG_USEC", "1", 1);
	ck_assert_int_eq(hc_notify_watchdog_ms(), 1);
}
END_TEST

START_TEST(notify_watchdog_of_another_process_or_garbage_is_none)
{
	setenv("WATCHDOG_USEC", "10000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	ck_assert_int_eq(hc_notify_watchdog_ms(), 0);
	setenv("WATCHDOG_PID", "me", 1);
	ck_assert_int_eq(hc_notify_watchdog_ms(), 0);
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "10s", 1);
	ck_assert_int_eq(hc_notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "0", 1);
	ck_assert_int_eq(hc_notify_watchdog_ms(), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("notify");
	TCase *tc = tcase_create("notify");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, notify_no_manager_is_a_miss);
	tcase_add_test(tc, notify_path_socket_gets_each_message);
	tcase_add_test(tc, notify_abstract_socket_gets_the_message);
	tcase_add_test(tc, notify_reloading_carries_the_monotonic_time);
	tcase_add_test(tc, notify_status_with_line_breaks_stays_one_assignment);
	tcase_add_test(tc, notify_status_too_long_is_cut);
	tcase_add_test(tc, notify_bad_address_is_invalid);
	tcase_add_test(tc, notify_manager_gone_is_an_error);
	tcase_add_test(tc, notify_manager_not_reading_times_out);
	tcase_add_test(tc, notify_watchdog_of_this_process_gives_half_the_time);
	tcase_add_test(tc, notify_watchdog_of_another_process_or_garbage_is_none);
	suite_add_tcase(suite, tc);

	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
