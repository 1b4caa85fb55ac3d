/*
 * WATCH and UNWATCH. The store's stamps tell of changes, whoever makes them; what is gone without one (expired,
 * evicted, its model cleared) shows by not being there. One thread: the session's worker.
 */
#include "base/mem.h"
#include "command/handlers.h"
#include "command/load.h"
#include "command/req.h"
#include "command/watch.h"

struct hc_watched {
	struct hc_watched *next;
	struct hc_ticket ticket;
	bool was_there;
	size_t len;
	char key[];
};

static bool
is_there(struct hc_store *store, struct hc_key key, int64_t now_ms)
{
	struct hc_entry *entry;

	if (hc_store_peek(store, key, now_ms, &entry) == HC_MISS)
		return false;
	hc_entry_unref(entry);
	return true;
}

/* False after replying with an error. A key that is watched already may come again: the older ticket counts as well. */
static bool
watch(struct hc_req *req, struct hc_slice key)
{
	struct hc_session *session = req->session;
	struct hc_store *store = hc_core_store(req->worker->shared->core);
	size_t size = sizeof(struct hc_watched) + key.len;

	if (session->watched_bytes + size > (size_t)req->worker->shared->settings->client_request_max) {
		hc_reply_error(req, "ERR the keys watched are more than client.request_max");
		return false;
	}
	struct hc_watched *watched = hc_malloc(size);
	if (watched == NULL) {
		hc_reply_nomem(req);
		return false;
	}
	watched->len = key.len;
	memcpy(watched->key, key.len > 0 ? key.ptr : "", key.len);
	/* The ticket first: a change between the two makes it void. */
	hc_store_fill_begin(store, hc_key(key), &watched->ticket);
	watched->was_there = is_there(store, hc_key(key), hc_core_now_ms(req->worker->core));
	watched->next = session->watched;
	session->watched = watched;
	session->watched_bytes += size;
	return true;
}

static void
watch_all(struct hc_req *req)
{
	for (uint32_t i = 1; i < req->argc; i++) {
		if (req->session != NULL && !watch(req, req->argv[i]))
			return;
	}
	hc_reply_ok(req);
}

void
hc_cmd_watch(struct hc_req *req)
{
	if (req->session->multi.active) {
		hc_reply_error(req, "ERR WATCH inside MULTI is not allowed");
		return;
	}
	if (hc_core_is_fleet(req->worker->shared->core)) {
		hc_reply_error(req, "ERR WATCH is for daemons without an upstream: others may write the key unseen");
		return;
	}
	if (!hc_core_loads(req->worker->core)) {
		watch_all(req);
		return;
	}
	/* EXEC would read them from files, which counts as a change. */
	req = hc_req_park(req);
	if (req != NULL && !hc_load_keys(req, (struct hc_load_list){req->argv + 1, req->argc - 1}, watch_all))
		watch_all(req);
}

void
hc_cmd_unwatch(struct hc_req *req)
{
	hc_watch_forget(req->session);
	hc_reply_ok(req);
}

bool
hc_watch_holds(struct hc_session *session, struct hc_store *store, int64_t now_ms)
{
	for (const struct hc_watched *w = session->watched; w != NULL; w = w->next) {
		struct hc_key key = hc_key(hc_slice(w->key, w->len));
		if (!hc_store_ticket_good(store, key, &w->ticket) || is_there(store, key, now_ms) != w->was_there)
			return false;
	}
	return true;
}

void
hc_watch_forget(struct hc_session *session)
{
	while (session->watched != NULL) {
		struct hc_watched *next = session->watched->next;
		hc_free(session->watched);
		session->watched = next;
	}
	session->watched_bytes = 0;
}
