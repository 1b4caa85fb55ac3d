/*
 * Sessions and their registry: identity, order, texts, and walks beside workers that come and go.
 */
#include "command/session.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"

#define WORKERS 4
#define ROUNDS 2000
#define EACH 8 /* sessions of a worker at a time */

static struct hc_sessions *sessions;
static struct hc_out_pool pool;

static void
setup(void)
{
	hc_out_pool_init(&pool);
	ck_assert_int_eq(hc_sessions_create(&sessions), HC_OK);
}

static void
teardown(void)
{
	hc_sessions_destroy(sessions);
	hc_out_pool_fini(&pool);
}

static void
open_session(struct hc_session *session, uint32_t bound_model)
{
	*session = (struct hc_session){.fd = 7, .bound_model = bound_model};
	hc_session_open(sessions, session, &pool);
}

/* ---- walking ---- */

struct seen {
	uint64_t ids[64];
	size_t n, stop_after;
};

static bool
see(struct hc_session *session, void *arg)
{
	struct seen *seen = arg;

	seen->ids[seen->n++] = session->id;
	return seen->n != seen->stop_after;
}

static struct seen
walk(size_t stop_after)
{
	struct seen seen = {.stop_after = stop_after};

	hc_sessions_each(sessions, see, &seen);
	return seen;
}

START_TEST(session_open_has_the_state_of_a_new_connection)
{
	struct hc_session session;

	open_session(&session, 5);
	ck_assert_uint_eq(session.id, 1);
	ck_assert_int_eq(session.resp, 2);
	ck_assert(!session.authenticated && !session.close_after_reply && !session.multi.active);
	ck_assert_uint_eq(session.model, 5);
	ck_assert_int_eq(atomic_load(&session.shown_multi), -1);
	ck_assert_ptr_null(session.name);
	ck_assert_int_gt(session.opened_ms, 1600000000000);
	ck_assert_uint_eq(hc_sessions_count(sessions), 1);
	hc_session_close(&session);
	ck_assert_uint_eq(hc_sessions_count(sessions), 0);
}
END_TEST

START_TEST(sessions_each_is_in_order_of_age_and_ends_early)
{
	struct hc_session s[5];

	ck_assert_uint_eq(walk(0).n, 0);
	for (int i = 0; i < 5; i++)
		open_session(&s[i], HC_SESSION_NO_MODEL);
	hc_session_close(&s[2]); /* from the middle, */
	hc_session_close(&s[0]); /* the head, */
	hc_session_close(&s[4]); /* the tail */
	struct seen seen = walk(0);
	ck_assert_uint_eq(seen.n, 2);
	ck_assert_uint_eq(seen.ids[0], 2);
	ck_assert_uint_eq(seen.ids[1], 4);
	ck_assert_uint_eq(walk(1).n, 1);
	open_session(&s[0], HC_SESSION_NO_MODEL);
	seen = walk(0);
	ck_assert_uint_eq(seen.n, 3);
	ck_assert_uint_eq(seen.ids[2], 6); /* ids are not used again */
	hc_session_close(&s[0]);
	hc_session_close(&s[1]);
	hc_session_close(&s[3]);
	ck_assert_uint_eq(walk(0).n, 0);
}
END_TEST

START_TEST(session_set_text_copies_replaces_and_clears)
{
	struct hc_session session;
	char bytes[] = "name-and-more";

	open_session(&session, HC_SESSION_NO_MODEL);
	ck_assert_int_eq(hc_session_set_text(&session, &session.name, hc_slice(bytes, 4)), HC_OK);
	bytes[0] = 'X';
	ck_assert_str_eq(session.name, "name");
	ck_assert_int_eq(hc_session_set_text(&session, &session.name, HC_SLICE("other")), HC_OK);
	ck_assert_str_eq(session.name, "other");
	hc_mem_fail_after(1);
	ck_assert_int_eq(hc_session_set_text(&session, &session.name, HC_SLICE("third")), HC_NOMEM);
	hc_mem_fail_after(0);
	ck_assert_str_eq(session.name, "other");
	ck_assert_int_eq(hc_session_set_text(&session, &session.name, HC_SLICE("")), HC_OK);
	ck_assert_ptr_null(session.name);
	ck_assert_int_eq(hc_session_set_text(&session, &session.lib_name, HC_SLICE("lib")), HC_OK);
	ck_assert_int_eq(hc_session_set_text(&session, &session.lib_ver, HC_SLICE("1")), HC_OK);
	hc_session_close(&session); /* frees them: sanitizers and valgrind look */
}
END_TEST

START_TEST(session_reset_goes_back_to_the_listeners_state)
{
	struct hc_session session;

	open_session(&session, 3);
	session.resp = 3;
	session.model = 9;
	session.authenticated = true;
	session.multi.active = session.multi.failed = true;
	atomic_store(&session.no_evict, true);
	ck_assert_int_eq(hc_session_set_text(&session, &session.name, HC_SLICE("me")), HC_OK);
	hc_session_reset(&session, false);
	ck_assert_int_eq(session.resp, 2);
	ck_assert_uint_eq(atomic_load(&session.shown_resp), 2);
	ck_assert_uint_eq(session.model, 3);
	ck_assert(!session.authenticated && !session.multi.active && !session.multi.failed);
	ck_assert_ptr_null(session.name);
	ck_assert_uint_eq(session.id, 1);
	ck_assert(atomic_load(&session.no_evict)); /* as in Redis 7.0 */
	hc_session_reset(&session, true);
	ck_assert(session.authenticated);
	hc_session_close(&session);
}
END_TEST

/* ---- eviction ---- */

static void
note_killed(void *host, struct hc_session *session)
{
	struct seen *seen = host;

	seen->ids[seen->n++] = session->id;
}

static struct seen
evict(uint64_t max)
{
	struct seen seen = {0};

	hc_sessions_evict(sessions, max, note_killed, &seen);
	return seen;
}

START_TEST(sessions_evict_takes_the_largest_but_those_spared)
{
	static const uint64_t held[4] = {10, 50, 30, 0};
	struct hc_session s[4];

	for (int i = 0; i < 4; i++) {
		open_session(&s[i], HC_SESSION_NO_MODEL);
		hc_session_tell_held(&s[i], held[i]);
	}
	ck_assert_uint_eq(evict(90).n, 0);
	atomic_store(&s[1].no_evict, true);
	struct seen seen = evict(80);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(seen.ids[0], s[2].id);
	seen = evict(20); /* the one spared is too much by itself: all others that hold anything go */
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(seen.ids[0], s[0].id);
	ck_assert_uint_eq(evict(20).n, 0);
	atomic_store(&s[1].no_evict, false);
	seen = evict(20);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(seen.ids[0], s[1].id);
	for (int i = 0; i < 4; i++)
		hc_session_close(&s[i]);
}
END_TEST

START_TEST(sessions_create_out_of_memory_says_so)
{
	struct hc_sessions *other = NULL;

	hc_mem_fail_after(1);
	ck_assert_int_eq(hc_sessions_create(&other), HC_NOMEM);
	hc_mem_fail_after(0);
	ck_assert_ptr_null(other);
	hc_sessions_destroy(NULL);
}
END_TEST

/* ---- threads ---- */

/* A worker whose clients come, name themselves, and go. */
static void *
come_and_go(void *arg)
{
	static _Thread_local struct hc_session own[EACH];
	struct hc_out_pool own_pool;
	char name[32];

	(void)arg;
	hc_out_pool_init(&own_pool);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < EACH; i++) {
			own[i] = (struct hc_session){.bound_model = HC_SESSION_NO_MODEL};
			hc_session_open(sessions, &own[i], &own_pool);
			snprintf(name, sizeof(name), "%d-%d", round, i);
			ck_assert_int_eq(hc_session_set_text(&own[i], &own[i].name, hc_slice_str(name)), HC_OK);
			atomic_fetch_add(&own[i].commands, 1);
		}
		for (int i = 0; i < EACH; i++)
			hc_session_close(&own[(i * 3) % EACH]);
	}
	hc_out_pool_fini(&own_pool);
	return NULL;
}

struct check {
	uint64_t last_id;
	size_t n;
};

/* What CLIENT LIST does: reads the texts, and marks some as to be killed. */
static bool
look(struct hc_session *session, void *arg)
{
	struct check *check = arg;

	ck_assert_uint_gt(session->id, check->last_id);
	check->last_id = session->id;
	if (session->name != NULL)
		ck_assert_uint_gt(strlen(session->name), 2);
	ck_assert_uint_le(atomic_load(&session->commands), 1);
	atomic_store(&session->kill, true);
	check->n++;
	return true;
}

START_TEST(sessions_each_beside_workers_sees_whole_sessions_in_order)
{
	pthread_t threads[WORKERS];

	for (int i = 0; i < WORKERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	for (int i = 0; i < 2000; i++) {
		struct check check = {0};
		hc_sessions_each(sessions, look, &check);
		ck_assert_uint_le(check.n, WORKERS * EACH);
		ck_assert_uint_le(hc_sessions_count(sessions), WORKERS * EACH);
	}
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(hc_sessions_count(sessions), 0);
	struct hc_session last;
	open_session(&last, HC_SESSION_NO_MODEL);
	ck_assert_uint_eq(last.id, WORKERS * ROUNDS * EACH + 1);
	hc_session_close(&last);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("session");
	TCase *tc = tcase_create("session");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, session_open_has_the_state_of_a_new_connection);
	tcase_add_test(tc, sessions_each_is_in_order_of_age_and_ends_early);
	tcase_add_test(tc, session_set_text_copies_replaces_and_clears);
	tcase_add_test(tc, session_reset_goes_back_to_the_listeners_state);
	tcase_add_test(tc, sessions_evict_takes_the_largest_but_those_spared);
	tcase_add_test(tc, sessions_create_out_of_memory_says_so);
	tcase_add_test(tc, sessions_each_beside_workers_sees_whole_sessions_in_order);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
