/*
 * upstream/link: names and addresses. libevent's resolver is replaced by one that answers as the
 * test says, for a test cannot rely on the names of the machine it runs on. The server runs in its
 * own thread.
 */
#include "upstream/link.h"

#include <event2/dns.h>
#include <event2/util.h>
#include "tests/support/fake_server.h"
#include "tests/support/redis_server.h"
#include "tests/unit/upstream/support.h"

static struct fake_server fake;

/* ---- the resolver ---- */

struct evdns_getaddrinfo_request {
	evdns_getaddrinfo_cb callback;
	void *arg;
	bool cancelled;
	struct event *later;
};

static struct {
	const char *addrs[4]; /* what it answers; none: an error */
	const char *ports[4];
	bool at_once; /* before evdns_getaddrinfo() returns */
	bool never;
	int asked;
	int cancelled;
	struct evdns_getaddrinfo_request *request;
} resolver;

static struct evutil_addrinfo *
answer_list(void)
{
	struct evutil_addrinfo hints = {.ai_flags = EVUTIL_AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	struct evutil_addrinfo *list = NULL;
	struct evutil_addrinfo **end = &list;

	for (int i = 0; i < 4 && resolver.addrs[i] != NULL; i++) {
		ck_assert_int_eq(evutil_getaddrinfo(resolver.addrs[i], resolver.ports[i], &hints, end), 0);
		end = &(*end)->ai_next;
	}
	return list;
}

static void
answer(evdns_getaddrinfo_cb callback, void *arg, bool cancelled)
{
	struct evutil_addrinfo *list = cancelled ? NULL : answer_list();

	if (cancelled)
		callback(EVUTIL_EAI_CANCEL, NULL, arg);
	else if (list == NULL)
		callback(EVUTIL_EAI_NONAME, NULL, arg);
	else
		callback(0, list, arg);
}

static void
on_later(evutil_socket_t fd, short events, void *arg)
{
	struct evdns_getaddrinfo_request *request = arg;

	(void)fd;
	(void)events;
	answer(request->callback, request->arg, request->cancelled);
	event_free(request->later);
	free(request);
}

struct evdns_getaddrinfo_request *
evdns_getaddrinfo(struct evdns_base *dns, const char *host, const char *port, const struct evutil_addrinfo *hints,
    evdns_getaddrinfo_cb callback, void *arg)
{
	struct evdns_getaddrinfo_request *request;

	(void)dns;
	(void)port;
	(void)hints;
	ck_assert_str_eq(host, "some.name");
	resolver.asked++;
	if (resolver.at_once) {
		answer(callback, arg, false);
		return NULL;
	}
	request = calloc(1, sizeof(*request));
	request->callback = callback;
	request->arg = arg;
	request->later = event_new(fix.base, -1, 0, on_later, request);
	if (!resolver.never)
		event_active(request->later, EV_TIMEOUT, 0);
	resolver.request = request;
	return request;
}

/* As libevent's: the callback comes later. */
void
evdns_getaddrinfo_cancel(struct evdns_getaddrinfo_request *request)
{
	resolver.cancelled++;
	request->cancelled = true;
	event_active(request->later, EV_TIMEOUT, 0);
}

/* ---- the tests ---- */

static void
serve_pongs(int fd, void *arg)
{
	(void)arg;
	if (fake_handshake(fd))
		fake_wait_for_end(fd);
}

static char good[8], bad[8];

static void
setup_ports(void)
{
	snprintf(bad, sizeof(bad), "%d", free_port());
	fake_server_start(&fake, serve_pongs, NULL);
	snprintf(good, sizeof(good), "%d", fake.port);
	fix_create("redis://some.name:1");
}

static void
finish(void)
{
	fix_destroy_link();
	fake_server_stop(&fake);
}

START_TEST(dial_refused_by_the_first_address_tries_the_next_in_the_same_attempt)
{
	resolver.at_once = _i;
	setup_ports();
	for (int i = 0; i < 3; i++) {
		resolver.addrs[i] = "127.0.0.1";
		resolver.ports[i] = i < 2 ? bad : good;
	}
	fix_come_up();
	ck_assert_int_eq(fix.downs, 0);
	ck_assert_int_eq(resolver.asked, 1);
	ck_assert_uint_eq(stats_now().failures, 0);
	finish();
}
END_TEST

START_TEST(dial_refused_by_all_addresses_is_one_failure_and_asks_anew)
{
	setup_ports();
	resolver.addrs[0] = resolver.addrs[1] = "127.0.0.1";
	resolver.ports[0] = resolver.ports[1] = bad;
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 4);
	ck_assert_str_eq(fix.why, "Connection refused");
	ck_assert_int_eq(resolver.asked, 4);
	resolver.ports[1] = good;
	LOOP_UNTIL(fix.ups == 1);
	finish();
}
END_TEST

static void
serve_nothing(int fd, void *arg)
{
	(void)arg;
	fake_wait_for_end(fd);
}

/* The address that swallows the attempt's whole time comes first in one attempt only. */
START_TEST(dial_address_that_never_answers_does_not_hide_the_others)
{
	struct fake_server mute;
	char mute_port[8];

	setup_ports();
	fake_server_start(&mute, serve_nothing, NULL);
	snprintf(mute_port, sizeof(mute_port), "%d", mute.port);
	fix.config.timeout_ms = fix.config.connect_timeout_ms = 50;
	hc_link_set_times(fix.link, &fix.config);
	resolver.addrs[0] = resolver.addrs[1] = "127.0.0.1";
	resolver.ports[0] = mute_port;
	resolver.ports[1] = good;
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 1);
	fix.config.timeout_ms = fix.config.connect_timeout_ms = 5000; /* the next one may have its time */
	hc_link_set_times(fix.link, &fix.config);
	LOOP_UNTIL(fix.ups == 1);
	ck_assert_int_eq(fix.downs, 1);
	finish();
	fake_server_stop(&mute);
}
END_TEST

START_TEST(dial_name_that_is_not_found_fails_the_attempt)
{
	resolver.at_once = _i;
	setup_ports();
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 3);
	ck_assert_ptr_eq(strstr(fix.why, "host not resolved: "), fix.why);
	finish();
}
END_TEST

START_TEST(dial_resolver_that_never_answers_fails_the_attempt_in_time)
{
	setup_ports();
	resolver.never = true;
	fix.config.timeout_ms = fix.config.connect_timeout_ms = 30;
	hc_link_set_times(fix.link, &fix.config);
	hc_link_start(fix.link);
	LOOP_UNTIL(fix.downs == 2);
	ck_assert_int_ge(resolver.cancelled, 2);
	resolver.never = false;
	resolver.addrs[0] = "127.0.0.1";
	resolver.ports[0] = good;
	LOOP_UNTIL(fix.ups == 1);
	finish();
}
END_TEST

START_TEST(dial_destroyed_while_resolving_is_clean)
{
	setup_ports();
	resolver.never = _i;
	resolver.addrs[0] = "127.0.0.1";
	resolver.ports[0] = good;
	hc_link_start(fix.link);
	ck_assert_int_eq(hc_link_state(fix.link), HC_LINK_CONNECTING);
	finish();
	ck_assert_int_eq(resolver.cancelled, 1);
	ck_assert_int_eq(fix.downs, 0);
}
END_TEST

/* The answer is there, its callback waits in the loop's queue, and the attempt is given up
 * meanwhile. */
START_TEST(dial_reconnect_while_resolving_starts_over)
{
	setup_ports();
	resolver.addrs[0] = "127.0.0.1";
	resolver.ports[0] = good;
	hc_link_start(fix.link);
	hc_link_reconnect(fix.link, "changed my mind");
	LOOP_UNTIL(fix.ups == 1);
	ck_assert_int_eq(fix.downs, 1);
	ck_assert_str_eq(fix.why, "changed my mind");
	finish();
}
END_TEST

int
main(void)
{
	const TTest *const list[] = {
	    dial_refused_by_all_addresses_is_one_failure_and_asks_anew,
	    dial_address_that_never_answers_does_not_hide_the_others,
	    dial_resolver_that_never_answers_fails_the_attempt_in_time,
	    dial_reconnect_while_resolving_starts_over,
	};
	TCase *both = tcase_create("both ways");

	tcase_add_checked_fixture(both, fix_setup, fix_teardown);
	tcase_add_loop_test(both, dial_refused_by_the_first_address_tries_the_next_in_the_same_attempt, 0, 2);
	tcase_add_loop_test(both, dial_name_that_is_not_found_fails_the_attempt, 0, 2);
	tcase_add_loop_test(both, dial_destroyed_while_resolving_is_clean, 0, 2);
	return run_cases("link_dial", list, sizeof(list) / sizeof(list[0]), both);
}
