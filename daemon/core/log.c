/*
 * Waiting for the log (in a fleet: for the file of what is queued for the upstream, outage_log.h): a worker's clients
 * are told OK when what they wrote is in it. One wait at a time, for the highest mark anybody wants, begun at the end
 * of the turn: so the writes of a turn are written together.
 *
 *     log_wait ─ not yet → (end of the turn) file_wait → writer thread → mailbox → logged → who can go on does
 *
 * One thread: the worker's; but what the writer thread calls.
 */
#include <stddef.h>
#include "base/mem.h"
#include "core/internal.h"

/* One of the two things that can be waited for. */
struct wait {
	struct hc_file_waiter waiter;
	struct hc_message message;
	struct hc_core_worker *worker;
	uint64_t mark;
	bool under_way;
};

struct hc_log_watch {
	struct wait written, room;
	struct event *turn_end;
	uint64_t wanted;   /* the highest mark asked for */
	uint64_t released; /* up to here nothing is held up, whatever the log has */
	void (*logged)(void *arg);
	void *arg;
};

static void
tell(struct hc_core_worker *worker)
{
	hc_core_tick(worker);
	if (worker->log->logged != NULL)
		worker->log->logged(worker->log->arg);
}

static void
on_message(struct hc_message *message, void *receiver)
{
	struct wait *wait = (struct wait *)((char *)message - offsetof(struct wait, message));
	struct hc_core_worker *worker = receiver;
	struct hc_log_watch *log = worker->log;

	wait->under_way = false;
	if (wait == &log->written && wait->mark > log->released)
		log->released = wait->mark;
	tell(worker);
}

/* On the writer thread. */
static void
on_reached(struct hc_file_waiter *waiter)
{
	struct wait *wait = (struct wait *)((char *)waiter - offsetof(struct wait, waiter));

	wait->message.deliver = on_message;
	hc_mailbox_send(wait->worker->mailbox, &wait->message);
}

static enum hc_status
wait_for(struct hc_core *core, uint64_t mark, struct hc_file_waiter *waiter)
{
	return core->outage_log != NULL ? hc_outage_log_wait(core->outage_log, mark, waiter)
					: hc_file_wait(hc_tier_file(core->tier), mark, waiter);
}

static uint64_t
written_upto(struct hc_core *core)
{
	return core->outage_log != NULL ? hc_outage_log_written(core->outage_log)
					: hc_file_written(hc_tier_file(core->tier));
}

static void
on_turn_end(evutil_socket_t fd, short what, void *arg)
{
	struct hc_core_worker *worker = arg;
	struct hc_log_watch *log = worker->log;

	(void)fd;
	(void)what;
	if (log->written.under_way)
		return;
	/* Another look has found it written since: who made this event waits all the same. */
	if (log->wanted <= log->released) {
		tell(worker);
		return;
	}
	log->written.mark = log->wanted;
	log->written.under_way = true;
	if (wait_for(worker->core, log->wanted, &log->written.waiter) == HC_PENDING)
		return;
	log->written.under_way = false;
	log->released = log->wanted;
	tell(worker);
}

uint64_t
hc_core_log_mark(const struct hc_core_worker *worker)
{
	if (worker->log == NULL)
		return 0;
	return worker->core->outage_log != NULL ? hc_outage_log_mark() : hc_tier_mark();
}

bool
hc_core_log_wait(struct hc_core_worker *worker, uint64_t mark)
{
	struct hc_log_watch *log = worker->log;

	if (mark <= log->released)
		return true;
	uint64_t written = written_upto(worker->core);
	if (written > log->released)
		log->released = written;
	if (mark <= log->released)
		return true;
	if (mark > log->wanted)
		log->wanted = mark;
	/* Made active from inside this turn, the event runs when what is active now has run. */
	if (!log->written.under_way)
		event_active(log->turn_end, EV_TIMEOUT, 0);
	return false;
}

bool
hc_core_has_log(const struct hc_core_worker *worker)
{
	return worker->log != NULL;
}

bool
hc_core_log_has_room(struct hc_core_worker *worker, uint64_t bytes)
{
	struct hc_log_watch *log = worker->log;
	struct hc_file *file;

	if (log == NULL)
		return true;
	file = hc_tier_file(worker->core->tier);
	if (hc_file_claim(file, 1, bytes)) {
		hc_file_unclaim(file, 1, bytes);
		return true;
	}
	if (log->room.under_way)
		return false;
	log->room.under_way = true;
	if (hc_file_wait_room(file, &log->room.waiter) == HC_PENDING)
		return false;
	log->room.under_way = false;
	return true;
}

void
hc_core_on_logged(struct hc_core_worker *worker, void (*logged)(void *arg), void *arg)
{
	if (worker->log == NULL)
		return;
	worker->log->logged = logged;
	worker->log->arg = arg;
}

enum hc_status
hc_log_watch_create(struct hc_core_worker *worker)
{
	struct hc_log_watch *log = hc_calloc(1, sizeof(*log));

	if (log == NULL)
		return HC_NOMEM;
	worker->log = log;
	log->written.worker = log->room.worker = worker;
	log->written.waiter.fn = log->room.waiter.fn = on_reached;
	log->turn_end = event_new(worker->base, -1, 0, on_turn_end, worker);
	return log->turn_end != NULL ? HC_OK : HC_NOMEM;
}

void
hc_log_watch_destroy(struct hc_core_worker *worker)
{
	if (worker->log == NULL)
		return;
	if (worker->log->turn_end != NULL)
		event_free(worker->log->turn_end);
	hc_free(worker->log);
	worker->log = NULL;
}

bool
hc_log_watch_is_idle(const struct hc_core_worker *worker)
{
	return worker->log == NULL || (!worker->log->written.under_way && !worker->log->room.under_way);
}
