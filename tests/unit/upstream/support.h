/*
 * What the link's tests share: a loop with a link on it, counters of what it called, and a wait for
 * a condition.
 */
#ifndef HC_TESTS_UPSTREAM_SUPPORT_H
#define HC_TESTS_UPSTREAM_SUPPORT_H

#include <check.h>
#include <event2/event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "upstream/link.h"

#define DEADLINE_MS 20000
#define ARGC(argv) (sizeof(argv) / sizeof((argv)[0]))

static struct fixture {
	struct event_base *base;
	struct event *tick; /* so that LOOP_UNTIL looks at its condition now and then */
	struct hc_url url;
	struct hc_link_config config;
	struct hc_link_owner owner;
	struct hc_link *link;
	int ups, downs;
	char why[256];
	int64_t deadline_ms;
} fix;

/* Runs the loop until the condition holds. */
#define LOOP_UNTIL(condition)                                                                      \
	do {                                                                                       \
		fix.deadline_ms = hc_clock_mono_ms() + DEADLINE_MS;                                \
		while (!(condition)) {                                                             \
			ck_assert_msg(hc_clock_mono_ms() < fix.deadline_ms, "never: " #condition); \
			event_base_loop(fix.base, EVLOOP_ONCE);                                    \
		}                                                                                  \
	} while (0)

static inline void
on_tick(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	(void)arg;
}

static inline void
count_up(void *arg, struct hc_link *link)
{
	(void)arg;
	ck_assert(hc_link_is_up(link));
	fix.ups++;
}

static inline void
count_down(void *arg, struct hc_link *link, const char *why)
{
	(void)arg;
	ck_assert(!hc_link_is_up(link));
	fix.downs++;
	snprintf(fix.why, sizeof(fix.why), "%s", why);
}

/* Before each test. */
static inline void
fix_setup(void)
{
	const struct timeval tick = {.tv_usec = 1000};

	memset(&fix, 0, sizeof(fix));
	signal(SIGPIPE, SIG_IGN);
	hc_log_set_level(HC_LOG_ERROR);
	fix.base = event_base_new();
	fix.tick = event_new(fix.base, -1, EV_PERSIST, on_tick, NULL);
	event_add(fix.tick, &tick);
	fix.config = (struct hc_link_config){
	    .url = &fix.url,
	    .name = "test",
	    .connect_timeout_ms = 2000,
	    .timeout_ms = 5000,
	    .backoff_min_ms = 1,
	    .backoff_max_ms = 20,
	};
	fix.owner = (struct hc_link_owner){.on_up = count_up, .on_down = count_down};
}

static inline void
fix_destroy_link(void)
{
	hc_link_destroy(fix.link);
	fix.link = NULL;
	/* libevent frees some of its own a turn later. */
	for (int i = 0; i < 5; i++)
		event_base_loop(fix.base, EVLOOP_NONBLOCK);
}

static inline void
fix_teardown(void)
{
	fix_destroy_link();
	event_free(fix.tick);
	event_base_free(fix.base);
	hc_url_fini(&fix.url);
}

__attribute__((format(printf, 1, 2))) static inline void
fix_parse(const char *format, ...)
{
	char text[256];
	const char *why = "";
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ck_assert_msg(hc_url_parse(text, &fix.url, &why) == HC_OK, "%s: %s", text, why);
}

/* A link to that URL. */
#define fix_create(...)                                                                                \
	do {                                                                                           \
		fix_parse(__VA_ARGS__);                                                                \
		ck_assert_int_eq(hc_link_create(fix.base, &fix.config, &fix.owner, &fix.link), HC_OK); \
	} while (0)

static inline void
fix_come_up(void)
{
	int ups = fix.ups;

	if (hc_link_state(fix.link) == HC_LINK_CLOSED)
		hc_link_start(fix.link);
	LOOP_UNTIL(fix.ups > ups);
}

/* What became of some commands: how often each was answered, in which order, and how. */
struct answers {
	int n;
	int ok, down, timeout;
	enum hc_status first;
	int type;       /* of the last reply */
	char text[256]; /* the last reply's, cut */
	long long integer;
};

static inline void
count_answer(void *arg, enum hc_status status, const redisReply *reply)
{
	struct answers *answers = arg;

	if (answers->n++ == 0)
		answers->first = status;
	answers->ok += status == HC_OK;
	answers->down += status == HC_DOWN;
	answers->timeout += status == HC_TIMEOUT;
	ck_assert((status == HC_OK) == (reply != NULL));
	if (reply == NULL)
		return;
	answers->type = reply->type;
	answers->integer = reply->integer;
	if (reply->str != NULL)
		snprintf(answers->text, sizeof(answers->text), "%s", reply->str);
}

static inline enum hc_status
send_words(struct hc_slice *argv, size_t argc, struct answers *answers)
{
	return hc_link_send(fix.link, argv, argc, count_answer, answers);
}

static inline enum hc_status
send_ping(struct answers *answers)
{
	struct hc_slice argv[] = {HC_SLICE("PING")};

	return send_words(argv, 1, answers);
}

static inline struct hc_link_stats
stats_now(void)
{
	struct hc_link_stats stats;

	hc_link_stats(fix.link, &stats);
	return stats;
}

/* Runs them, and the cases of `more`, which may be NULL. */
static inline int
run_cases(const char *name, const TTest *const *tests, size_t n, TCase *more)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, fix_setup, fix_teardown);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	if (more != NULL)
		suite_add_tcase(suite, more);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
