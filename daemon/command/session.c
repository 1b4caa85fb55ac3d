/*
 * Sessions and their registry. Threads: see session.h. `lock` protects the list and the texts; while it is held only
 * the caller's short function runs.
 */
#include "command/session.h"

#include <pthread.h>
#include "base/clock.h"
#include "base/mem.h"
#include "command/multi.h"

struct hc_sessions {
	pthread_mutex_t lock;
	struct hc_session *head, *tail;
	uint64_t last_id;
	_Atomic uint64_t count;
	_Atomic uint64_t held;    /* by all */
	_Atomic uint64_t leaving; /* of that, by those evicted that are not closed yet: as of then */
};

enum hc_status
hc_sessions_create(struct hc_sessions **out)
{
	struct hc_sessions *sessions = hc_calloc(1, sizeof(*sessions));
	if (sessions == NULL)
		return HC_NOMEM;
	pthread_mutex_init(&sessions->lock, NULL);
	*out = sessions;
	return HC_OK;
}

void
hc_sessions_destroy(struct hc_sessions *sessions)
{
	if (sessions == NULL)
		return;
	pthread_mutex_destroy(&sessions->lock);
	hc_free(sessions);
}

static void
set_defaults(struct hc_session *session, bool authenticated)
{
	session->resp = 2;
	atomic_store(&session->shown_resp, 2);
	atomic_store(&session->shown_multi, -1);
	session->model = session->bound_model;
	session->no_touch = false;
	session->silence = HC_SILENCE_NONE;
	session->authenticated = authenticated;
}

void
hc_session_open(struct hc_sessions *sessions, struct hc_session *session, struct hc_out_pool *pool)
{
	hc_out_init(&session->out, pool);
	set_defaults(session, false);
	session->registry = sessions;
	session->opened_ms = hc_clock_wall_ms();
	atomic_store(&session->active_ms, hc_clock_mono_ms());
	pthread_mutex_lock(&sessions->lock);
	session->id = ++sessions->last_id;
	session->next = NULL;
	session->prev = sessions->tail;
	if (sessions->tail != NULL)
		sessions->tail->next = session;
	else
		sessions->head = session;
	sessions->tail = session;
	atomic_fetch_add(&sessions->count, 1);
	pthread_mutex_unlock(&sessions->lock);
}

static void
free_texts(struct hc_session *session)
{
	hc_free(session->name);
	hc_free(session->lib_name);
	hc_free(session->lib_ver);
	session->name = session->lib_name = session->lib_ver = NULL;
}

void
hc_session_close(struct hc_session *session)
{
	struct hc_sessions *sessions = session->registry;

	pthread_mutex_lock(&sessions->lock);
	if (session->prev != NULL)
		session->prev->next = session->next;
	else
		sessions->head = session->next;
	if (session->next != NULL)
		session->next->prev = session->prev;
	else
		sessions->tail = session->prev;
	atomic_fetch_sub(&sessions->count, 1);
	atomic_fetch_sub(&sessions->held, atomic_exchange(&session->held, 0));
	atomic_fetch_sub(&sessions->leaving, atomic_load(&session->evicted_for));
	pthread_mutex_unlock(&sessions->lock);
	free_texts(session);
	hc_multi_discard(session);
	hc_out_fini(&session->out);
}

void
hc_session_reset(struct hc_session *session, bool authenticated)
{
	hc_multi_discard(session);
	(void)hc_session_set_text(session, &session->name, HC_SLICE(""));
	set_defaults(session, authenticated);
}

uint64_t
hc_sessions_count(struct hc_sessions *sessions)
{
	return atomic_load(&sessions->count);
}

enum hc_status
hc_session_set_text(struct hc_session *session, char **field, struct hc_slice text)
{
	char *copy = text.len > 0 ? hc_strndup(text.ptr, text.len) : NULL;

	if (copy == NULL && text.len > 0)
		return HC_NOMEM;
	pthread_mutex_lock(&session->registry->lock);
	char *old = *field;
	*field = copy;
	pthread_mutex_unlock(&session->registry->lock);
	hc_free(old);
	return HC_OK;
}

void
hc_sessions_each(struct hc_sessions *sessions, bool (*fn)(struct hc_session *session, void *arg), void *arg)
{
	pthread_mutex_lock(&sessions->lock);
	for (struct hc_session *s = sessions->head; s != NULL; s = s->next) {
		if (!fn(s, arg))
			break;
	}
	pthread_mutex_unlock(&sessions->lock);
}

/* ---- what they hold ---- */

void
hc_session_tell_held(struct hc_session *session, uint64_t bytes)
{
	uint64_t before = atomic_exchange_explicit(&session->held, bytes, memory_order_relaxed);

	atomic_fetch_add_explicit(&session->registry->held, bytes - before, memory_order_relaxed);
}

uint64_t
hc_sessions_held(const struct hc_sessions *sessions)
{
	return atomic_load_explicit(&sessions->held, memory_order_relaxed);
}

static bool
holds_too_much(const struct hc_sessions *sessions, uint64_t max)
{
	uint64_t held = hc_sessions_held(sessions);
	uint64_t leaving = atomic_load_explicit(&sessions->leaving, memory_order_relaxed);

	return held > leaving && held - leaving > max;
}

static bool
may_be_evicted(const struct hc_session *session)
{
	return !atomic_load_explicit(&session->kill, memory_order_relaxed) &&
	       !atomic_load_explicit(&session->no_evict, memory_order_relaxed);
}

/* NULL: nobody who may be evicted holds anything. Under the lock. */
static struct hc_session *
largest(const struct hc_sessions *sessions)
{
	struct hc_session *found = NULL;
	uint64_t most = 0;

	for (struct hc_session *s = sessions->head; s != NULL; s = s->next) {
		uint64_t held = atomic_load_explicit(&s->held, memory_order_relaxed);
		if (held > most && may_be_evicted(s)) {
			most = held;
			found = s;
		}
	}
	return found;
}

void
hc_sessions_evict(
    struct hc_sessions *sessions, uint64_t max, void (*kill)(void *host, struct hc_session *session), void *host)
{
	struct hc_session *session;

	if (!holds_too_much(sessions, max))
		return;
	pthread_mutex_lock(&sessions->lock);
	while (holds_too_much(sessions, max) && (session = largest(sessions)) != NULL) {
		uint64_t held = atomic_load_explicit(&session->held, memory_order_relaxed);
		atomic_store(&session->evicted_for, held);
		atomic_fetch_add_explicit(&sessions->leaving, held, memory_order_relaxed);
		atomic_store(&session->kill, true);
		kill(host, session);
	}
	pthread_mutex_unlock(&sessions->lock);
}
