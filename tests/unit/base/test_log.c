/*
 * base/log.h: the form of lines, one write a line, quoting, limits. Each test has its own process,
 * whose stderr is a pipe that the test reads.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"

static int reader;        /* the other end of stderr */
static int real_stderr;   /* for the test framework */
static char got[1 << 16]; /* what take() read */

/* A socket that keeps the bounds of messages, so that writes can be counted. */
static void
capture(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	real_stderr = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	reader = ends[0];
}

static void
release(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(reader);
}

/* The next message, or "" when there is none. */
static const char *
take(void)
{
	ssize_t n = recv(reader, got, sizeof(got) - 1, MSG_DONTWAIT);

	got[n > 0 ? n : 0] = '\0';
	return got;
}

static bool
matches(const char *text, const char *pattern)
{
	regex_t regex;

	ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
	bool match = regexec(&regex, text, 0, NULL, 0) == 0;
	regfree(&regex);
	return match;
}

#define TIME "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "

START_TEST(log_line_has_time_level_event_fields)
{
	hc_log(HC_LOG_INFO, "listening", "address=%s backlog=%d", "127.0.0.1:6380", 511);
	ck_assert(matches(take(), TIME "info listening address=127\\.0\\.0\\.1:6380 backlog=511\n$"));
	hc_log(HC_LOG_ERROR, "oops", NULL);
	ck_assert(matches(take(), TIME "error oops\n$"));
	ck_assert_str_eq(take(), "");
}
END_TEST

START_TEST(log_time_is_the_wall_clock_in_utc)
{
	char date[32];
	setenv("TZ", "America/New_York", 1);
	tzset();
	int64_t before = hc_clock_wall_ms();
	hc_log(HC_LOG_INFO, "now", NULL);
	int64_t after = hc_clock_wall_ms();
	memcpy(date, take(), 23);
	date[23] = '\0';

	struct tm tm = {0};
	const char *rest = strptime(date, "%Y-%m-%dT%H:%M:%S", &tm);
	ck_assert_ptr_nonnull(rest);
	int64_t ms = timegm(&tm) * 1000 + atoi(rest + 1);
	ck_assert_int_ge(ms, before);
	ck_assert_int_le(ms, after);
}
END_TEST

START_TEST(log_level_drops_what_is_above)
{
	ck_assert_int_eq(hc_log_level(), HC_LOG_INFO);
	hc_log(HC_LOG_DEBUG, "request", NULL);
	ck_assert_str_eq(take(), "");
	hc_log_set_level(HC_LOG_DEBUG);
	hc_log(HC_LOG_DEBUG, "request", NULL);
	ck_assert(matches(take(), "debug request\n$"));
	hc_log_set_level(HC_LOG_ERROR);
	ck_assert_int_eq(hc_log_level(), HC_LOG_ERROR);
	hc_log(HC_LOG_WARN, "degraded", NULL);
	ck_assert_str_eq(take(), "");
	hc_log(HC_LOG_ERROR, "bad", NULL);
	ck_assert(matches(take(), "error bad\n$"));
}
END_TEST

START_TEST(log_journal_gets_priority_and_no_time)
{
	static const char *const expected[] = {"<3>error e\n", "<4>warn e\n", "<6>info e\n", "<7>debug e\n"};
	struct stat st;
	char stream[64];

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	hc_log_set_level(HC_LOG_DEBUG);
	for (int level = HC_LOG_ERROR; level <= HC_LOG_DEBUG; level++) {
		hc_log((enum hc_log_level)level, "e", NULL);
		ck_assert_str_eq(take(), expected[level]);
	}
}
END_TEST

START_TEST(log_journal_of_another_stderr_is_ignored)
{
	struct stat st;
	char stream[64];

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1);
	hc_log(HC_LOG_INFO, "e", NULL);
	ck_assert(matches(take(), TIME "info e\n$"));
}
END_TEST

START_TEST(log_long_line_is_cut_and_still_one_line)
{
	char *value = malloc(20000);

	memset(value, 'x', 20000);
	value[19999] = '\0';
	hc_log(HC_LOG_INFO, "long", "value=%s after=1", value);
	size_t len = strlen(take());
	ck_assert_uint_eq(len, 4096);
	ck_assert_int_eq(got[len - 1], '\n');
	ck_assert_ptr_eq(strchr(got, '\n'), got + len - 1);
	ck_assert_str_eq(take(), "");
	free(value);
}
END_TEST

START_TEST(log_control_characters_cannot_make_lines)
{
	hc_log(HC_LOG_INFO, "e", "value=%s", "a\nerror forged\r\x1b[2J");
	ck_assert(matches(take(), "info e value=a\\?error forged\\?\\?\\[2J\n$"));
}
END_TEST

START_TEST(log_keeps_errno)
{
	errno = EXDEV;
	hc_log(HC_LOG_INFO, "e", NULL);
	ck_assert_int_eq(errno, EXDEV);
	close(STDERR_FILENO);
	errno = EXDEV;
	hc_log(HC_LOG_INFO, "nobody_reads", NULL);
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

#define WRITERS 4
#define LINES 200

static void *
write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		hc_log(HC_LOG_INFO, "line", "writer=%d n=%d pad=%0200d end=1", *(int *)arg, i, 0);
	return NULL;
}

START_TEST(log_threads_never_mix_lines)
{
	pthread_t threads[WRITERS];
	int ids[WRITERS], next[WRITERS] = {0};

	for (int i = 0; i < WRITERS; i++) {
		ids[i] = i;
		pthread_create(&threads[i], NULL, write_lines, &ids[i]);
	}
	for (int i = 0; i < WRITERS * LINES; i++) {
		int writer, n;
		ssize_t len = recv(reader, got, sizeof(got) - 1, 0); /* one write is one message */
		ck_assert_int_gt(len, 0);
		got[len] = '\0';
		ck_assert(matches(got, TIME "info line writer=[0-3] n=[0-9]+ pad=0{200} end=1\n$"));
		ck_assert_int_eq(sscanf(strstr(got, "writer="), "writer=%d n=%d", &writer, &n), 2);
		ck_assert_int_eq(n, next[writer]++);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

#define S(literal) literal, sizeof(literal) - 1
static const struct {
	const char *text;
	size_t len;
	const char *quoted;
} quotes[] = {
    {S("plain"), "plain"},
    {S("127.0.0.1:6380"), "127.0.0.1:6380"},
    {S("/run/harcad.sock"), "/run/harcad.sock"},
    {S(""), "\"\""},
    {S("two words"), "\"two words\""},
    {S("a=b"), "\"a=b\""},
    {S("say \"hi\""), "\"say \\\"hi\\\"\""},
    {S("back\\slash"), "\"back\\\\slash\""},
    {S("a\nb\r\t"), "\"a\\nb\\r\\t\""},
    {S("nul\0in"), "\"nul\\x00in\""},
    {S("\x1b\x7f"), "\"\\x1b\\x7f\""},
    {S("caf\xc3\xa9"), "\"caf\\xc3\\xa9\""},
};

START_TEST(log_quote_table)
{
	struct hc_log_quoted buf;

	ck_assert_str_eq(hc_log_quote(&buf, quotes[_i].text, quotes[_i].len), quotes[_i].quoted);
}
END_TEST

START_TEST(log_quote_any_length_fits_and_closes)
{
	static char text[600];
	struct hc_log_quoted buf;
	static const char fills[] = {'x', ' ', '\n', '\0'};

	for (size_t f = 0; f < sizeof(fills); f++) {
		memset(text, fills[f], sizeof(text));
		for (size_t len = 0; len <= sizeof(text); len++) {
			memset(buf.text, '#', sizeof(buf.text));
			const char *quoted = hc_log_quote(&buf, text, len);
			size_t n = strnlen(quoted, sizeof(buf.text));
			ck_assert_uint_lt(n, sizeof(buf.text));
			if (quoted[0] != '"')
				ck_assert_uint_eq(n, len);
			else
				ck_assert_int_eq(quoted[n - 1], '"');
		}
		ck_assert_str_eq(buf.text + strlen(buf.text) - 4, "...\"");
	}
}
END_TEST

START_TEST(log_allow_once_per_interval)
{
	static struct hc_log_limit limit;

	ck_assert(hc_log_allow(&limit, 3600 * 1000));
	ck_assert(!hc_log_allow(&limit, 3600 * 1000));
	hc_clock_advance(3599 * 1000);
	ck_assert(!hc_log_allow(&limit, 3600 * 1000));
	hc_clock_advance(2 * 1000);
	ck_assert(hc_log_allow(&limit, 3600 * 1000));
	ck_assert(!hc_log_allow(&limit, 3600 * 1000));
}
END_TEST

static struct hc_log_limit shared_limit;
static _Atomic int allowed;

static void *
ask(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++)
		allowed += hc_log_allow(&shared_limit, 3600 * 1000);
	return NULL;
}

START_TEST(log_allow_threads_at_once_one_speaks)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, ask, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(allowed, 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("log");
	TCase *lines = tcase_create("lines");
	TCase *helpers = tcase_create("helpers");

	unsetenv("JOURNAL_STREAM");
	tcase_add_checked_fixture(lines, capture, release);
	tcase_add_test(lines, log_line_has_time_level_event_fields);
	tcase_add_test(lines, log_time_is_the_wall_clock_in_utc);
	tcase_add_test(lines, log_level_drops_what_is_above);
	tcase_add_test(lines, log_journal_gets_priority_and_no_time);
	tcase_add_test(lines, log_journal_of_another_stderr_is_ignored);
	tcase_add_test(lines, log_long_line_is_cut_and_still_one_line);
	tcase_add_test(lines, log_control_characters_cannot_make_lines);
	tcase_add_test(lines, log_keeps_errno);
	tcase_add_test(lines, log_threads_never_mix_lines);
	suite_add_tcase(suite, lines);
	tcase_add_loop_test(helpers, log_quote_table, 0, sizeof(quotes) / sizeof(quotes[0]));
	tcase_add_test(helpers, log_quote_any_length_fits_and_closes);
	tcase_add_test(helpers, log_allow_once_per_interval);
	tcase_add_test(helpers, log_allow_threads_at_once_one_speaks);
	suite_add_tcase(suite, helpers);

	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
