/*
 * LATENCY DOCTOR, GRAPH and HISTOGRAM: for people, what slow.h has kept. Worker threads, each for its own requests.
 */
#include <inttypes.h>
#include "base/clock.h"
#include "command/handlers.h"
#include "command/req.h"
#include "command/slow.h"
#include "command/text.h"

static void
write_age(FILE *to, int64_t seconds)
{
	static const struct {
		int64_t seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (seconds >= units[i].seconds) {
			fprintf(to, "%" PRId64 "%c", seconds / units[i].seconds, units[i].unit);
			return;
		}
	}
	fprintf(to, "%" PRId64 "s", seconds > 0 ? seconds : 0);
}

struct range {
	int64_t low, high, sum;
};

static struct range
range_of(const struct hc_slow_history *history)
{
	struct range range = {INT64_MAX, 0, 0};

	for (unsigned i = 0; i < history->n; i++) {
		int64_t ms = history->samples[i].ms;
		range.low = ms < range.low ? ms : range.low;
		range.high = ms > range.high ? ms : range.high;
		range.sum += ms;
	}
	return range;
}

/* ---- DOCTOR ---- */

static const char *
advice(enum hc_slow_event event)
{
	switch (event) {
	case HC_SLOW_COMMAND:
		return "SLOWLOG GET names the commands. KEYS, MGET of many keys and large values take long in "
		       "themselves; "
		       "prefer SCAN and smaller pieces.";
	case HC_SLOW_FAST_COMMAND:
		return "Commands that take next to nothing took long: the machine had something else to do, or memory "
		       "was "
		       "paged out.";
	case HC_SLOW_WAITED:
		return "They waited: for the upstream, for the file tier, or, walking over many keys, for other "
		       "connections' turns. SLOWLOG at the upstream, and the network and the disk, tell more; "
		       "upstream.timeout bounds the first of these waits.";
	case HC_SLOW_EVENTS:
		break;
	}
	return "";
}

static void
diagnose(FILE *to, enum hc_slow_event event, const struct hc_slow_history *history)
{
	struct range range = range_of(history);

	fprintf(to, "%s: %u seconds with slow ones, the last ", hc_slow_event_name(event), history->n);
	write_age(to, hc_clock_wall_ms() / 1000 - history->samples[history->n - 1].time_s);
	fprintf(to, " ago; %" PRId64 " ms in the mean, at most %" PRId64 " ms. %s\n", range.sum / history->n,
	    history->max_ms, advice(event));
}

void
hc_cmd_latency_doctor(struct hc_req *req)
{
	int64_t from_ms = req->worker->shared->settings->server_slowlog_slower_than;
	struct hc_slow_history history;
	struct hc_text text;
	FILE *to = hc_text_begin(req, &text);
	bool any = false;

	if (to == NULL)
		return;
	for (int i = 0; i < HC_SLOW_EVENTS; i++) {
		hc_slow_history(req->worker->shared->slow, (enum hc_slow_event)i, &history);
		if (history.n > 0)
			diagnose(to, (enum hc_slow_event)i, &history);
		any |= history.n > 0;
	}
	if (!any)
		fprintf(to, "No command has taken %" PRId64 " ms or longer (server.slowlog_slower_than).\n", from_ms);
	hc_text_reply(req, &text);
}

/* ---- GRAPH ---- */

#define GRAPH_ROWS 4
#define STEPS 3 /* of a character */

/* The character of a column in a row, the lowest being 0: a bar with a fine upper end. */
static char
bar(int64_t level, int row)
{
	int64_t rest = level - (int64_t)row * STEPS;

	if (rest < 0)
		return ' ';
	return rest >= STEPS ? '|' : "_-`"[rest];
}

/* Below each column how long ago it was, to be read downwards. */
static void
write_ages(FILE *to, const struct hc_slow_history *history)
{
	char ages[HC_SLOW_SAMPLES][24] = {{0}};
	int64_t now_s = hc_clock_wall_ms() / 1000;
	bool more = true;

	for (unsigned i = 0; i < history->n; i++) {
		FILE *age = fmemopen(ages[i], sizeof(ages[i]), "w");
		if (age == NULL)
			return;
		write_age(age, now_s - history->samples[i].time_s);
		fclose(age);
	}
	for (size_t row = 0; more; row++) {
		more = false;
		for (unsigned i = 0; i < history->n; i++) {
			bool has = strlen(ages[i]) > row;
			fputc(has ? ages[i][row] : ' ', to);
			more |= strlen(ages[i]) > row + 1;
		}
		fputc('\n', to);
	}
}

static void
draw(FILE *to, const char *name, const struct hc_slow_history *history)
{
	struct range range = range_of(history);
	int64_t span = range.high > range.low ? range.high - range.low : 1;

	fprintf(to, "%s - high %" PRId64 " ms, low %" PRId64 " ms (all time high %" PRId64 " ms)\n", name, range.high,
	    range.low, history->max_ms);
	for (unsigned i = 0; i < 80; i++)
		fputc('-', to);
	fputc('\n', to);
	for (int row = GRAPH_ROWS - 1; row >= 0; row--) {
		for (unsigned i = 0; i < history->n; i++) {
			int64_t over = history->samples[i].ms - range.low;
			fputc(bar(over * (GRAPH_ROWS * STEPS - 1) / span, row), to);
		}
		fputc('\n', to);
	}
	fputc('\n', to);
	write_ages(to, history);
}

void
hc_cmd_latency_graph(struct hc_req *req)
{
	enum hc_slow_event event = hc_slow_event_named(req->argv[2]);
	struct hc_slow_history history = {.n = 0};
	struct hc_text text;

	if (event != HC_SLOW_EVENTS)
		hc_slow_history(req->worker->shared->slow, event, &history);
	if (history.n == 0) {
		hc_reply_errorf(
		    req, "ERR No samples available for event '%.*s'", hc_text_shown(req->argv[2]), req->argv[2].ptr);
		return;
	}
	FILE *to = hc_text_begin(req, &text);
	if (to == NULL)
		return;
	draw(to, hc_slow_event_name(event), &history);
	hc_text_reply(req, &text);
}

/* ---- HISTOGRAM ---- */

/* Commands are not timed one by one (see slow.h): there are none, as in a Redis that has latency-tracking off. */
void
hc_cmd_latency_histogram(struct hc_req *req)
{
	hc_reply_map(req, 0);
}
