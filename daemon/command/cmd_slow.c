/*
 * SLOWLOG and LATENCY: what slow.h has kept. Worker threads, each for its own requests.
 */
#include "base/num.h"
#include "command/handlers.h"
#include "command/req.h"
#include "command/slow.h"
#include "command/text.h"

#define GET_DEFAULT 10

/* ---- SLOWLOG ---- */

struct page {
	struct hc_req *req;
	bool begun;
};

static void
reply_entry(const struct hc_slow_entry *entry, uint64_t of, void *arg)
{
	struct page *page = arg;
	struct hc_req *req = page->req;

	if (!page->begun)
		hc_reply_array(req, (size_t)of);
	page->begun = true;
	hc_reply_array(req, 6);
	hc_reply_int(req, (int64_t)entry->id);
	hc_reply_int(req, entry->time_s);
	hc_reply_int(req, entry->took_us);
	hc_reply_array(req, entry->argc);
	for (uint32_t i = 0; i < entry->argc; i++)
		hc_reply_slice(req, entry->argv[i]);
	hc_reply_slice(req, entry->client);
	hc_reply_slice(req, entry->name);
}

void
hc_cmd_slowlog_get(struct hc_req *req)
{
	struct page page = {.req = req};
	int64_t count = GET_DEFAULT;

	if (req->argc > 3) {
		hc_reply_errorf(req,
		    "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try SLOWLOG HELP.",
		    hc_text_shown(req->argv[1]), req->argv[1].ptr);
		return;
	}
	if (req->argc == 3 && (!hc_num_i64(req->argv[2], &count) || count < -1)) {
		hc_reply_error(req, "ERR count should be greater than or equal to -1");
		return;
	}
	hc_slow_each(req->worker->shared->slow, count < 0 ? UINT64_MAX : (uint64_t)count, reply_entry, &page);
	if (!page.begun)
		hc_reply_array(req, 0);
}

void
hc_cmd_slowlog_len(struct hc_req *req)
{
	hc_reply_int(req, (int64_t)hc_slow_len(req->worker->shared->slow));
}

void
hc_cmd_slowlog_reset(struct hc_req *req)
{
	hc_slow_reset(req->worker->shared->slow);
	hc_reply_ok(req);
}

/* ---- LATENCY ---- */

void
hc_cmd_latency_latest(struct hc_req *req)
{
	struct hc_slow_history histories[HC_SLOW_EVENTS];
	size_t n = 0;

	for (int i = 0; i < HC_SLOW_EVENTS; i++) {
		hc_slow_history(req->worker->shared->slow, (enum hc_slow_event)i, &histories[i]);
		n += histories[i].n > 0;
	}
	hc_reply_array(req, n);
	for (int i = 0; i < HC_SLOW_EVENTS; i++) {
		const struct hc_slow_history *history = &histories[i];
		if (history->n == 0)
			continue;
		hc_reply_array(req, 4);
		hc_reply_str(req, hc_slow_event_name((enum hc_slow_event)i));
		hc_reply_int(req, history->samples[history->n - 1].time_s);
		hc_reply_int(req, history->samples[history->n - 1].ms);
		hc_reply_int(req, history->max_ms);
	}
}

void
hc_cmd_latency_history(struct hc_req *req)
{
	enum hc_slow_event event = hc_slow_event_named(req->argv[2]);
	struct hc_slow_history history = {.n = 0};

	if (event != HC_SLOW_EVENTS)
		hc_slow_history(req->worker->shared->slow, event, &history);
	hc_reply_array(req, history.n);
	for (unsigned i = 0; i < history.n; i++) {
		hc_reply_array(req, 2);
		hc_reply_int(req, history.samples[i].time_s);
		hc_reply_int(req, history.samples[i].ms);
	}
}

/* Replies with how many events had samples. */
void
hc_cmd_latency_reset(struct hc_req *req)
{
	struct hc_slow *slow = req->worker->shared->slow;
	int64_t n = 0;

	for (int i = 0; req->argc == 2 && i < HC_SLOW_EVENTS; i++)
		n += hc_slow_history_reset(slow, (enum hc_slow_event)i);
	for (uint32_t i = 2; i < req->argc; i++) {
		enum hc_slow_event event = hc_slow_event_named(req->argv[i]);
		n += event != HC_SLOW_EVENTS && hc_slow_history_reset(slow, event);
	}
	hc_reply_int(req, n);
}
