/*
 * CONFIG: the settings, and Redis's names for those that clients ask for. Worker threads, each for
 * its own requests.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/num.h"
#include "base/stats.h"
#include "command/handlers.h"
#include "command/req.h"
#include "command/text.h"

/* ---- Redis's names: to be read only ---- */

typedef void alias_fn(struct hc_settings *settings, struct hc_settings_text *out);

struct alias {
	const char *name;
	const char *means; /* the setting that is to be set instead, or NULL: it is as it is */
	const char *fixed; /* its value, or NULL: read() tells */
	alias_fn *read;
};

static void
read_maxmemory(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->memory_max_bytes);
}

static void
read_maxmemory_clients(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->client_memory_max);
}

static void
read_maxclients(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->server_maxclients);
}

static void
read_timeout(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->client_idle_timeout / 1000);
}

static void
read_bulk_max(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->client_value_max);
}

static void
read_backlog(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->listen_backlog);
}

static void
read_requirepass(struct hc_settings *settings, struct hc_settings_text *out)
{
	hc_settings_string(settings, HC_SETTING_ID_server_password, out->text, sizeof(out->text));
}

static void
read_unixsocket(struct hc_settings *settings, struct hc_settings_text *out)
{
	hc_settings_string(settings, HC_SETTING_ID_listen_unix, out->text, sizeof(out->text));
}

static bool
tcp_address(struct hc_settings *settings, struct hc_settings_address *out)
{
	char text[320];

	hc_settings_string(settings, HC_SETTING_ID_listen_tcp, text, sizeof(text));
	return hc_settings_address(hc_slice_str(text), out);
}

static void
read_bind(struct hc_settings *settings, struct hc_settings_text *out)
{
	struct hc_settings_address address;

	out->text[0] = '\0';
	if (tcp_address(settings, &address))
		snprintf(out->text, sizeof(out->text), "%s", address.host[0] != '\0' ? address.host : "* -::*");
}

static void
read_port(struct hc_settings *settings, struct hc_settings_text *out)
{
	struct hc_settings_address address = {.port = 0};

	tcp_address(settings, &address);
	snprintf(out->text, sizeof(out->text), "%d", address.port);
}

static void
read_slower_than(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->server_slowlog_slower_than * 1000);
}

static void
read_latency_threshold(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->server_slowlog_slower_than);
}

static void
read_slowlog_len(struct hc_settings *settings, struct hc_settings_text *out)
{
	snprintf(out->text, sizeof(out->text), "%" PRId64, settings->server_slowlog_max_len);
}

static const struct alias aliases[] = {
    {"appendonly", NULL, "no", NULL},
    {"bind", "listen.tcp", NULL, read_bind},
    {"databases", NULL, "1", NULL},
    {"latency-monitor-threshold", "server.slowlog_slower_than", NULL, read_latency_threshold},
    {"maxclients", "server.maxclients", NULL, read_maxclients},
    {"maxmemory", "memory.max_bytes", NULL, read_maxmemory},
    {"maxmemory-clients", "client.memory_max", NULL, read_maxmemory_clients},
    {"maxmemory-policy", NULL, "allkeys-lru", NULL}, /* of those Redis knows the nearest */
    {"port", "listen.tcp", NULL, read_port},
    {"proto-max-bulk-len", "client.value_max", NULL, read_bulk_max},
    {"requirepass", "server.password", NULL, read_requirepass},
    {"save", NULL, "", NULL},
    {"slowlog-log-slower-than", "server.slowlog_slower_than", NULL, read_slower_than},
    {"slowlog-max-len", "server.slowlog_max_len", NULL, read_slowlog_len},
    {"tcp-backlog", "listen.backlog", NULL, read_backlog},
    {"timeout", "client.idle_timeout", NULL, read_timeout},
    {"unixsocket", "listen.unix", NULL, read_unixsocket},
};

#define N_ALIASES (sizeof(aliases) / sizeof(aliases[0]))

/* ---- both kinds of names, in one row of indices ---- */

#define N_NAMES (HC_SETTING_COUNT + N_ALIASES)

static const char *
name_at(size_t i)
{
	if (i < HC_SETTING_COUNT)
		return hc_settings_row((enum hc_setting_id)i)->name;
	return aliases[i - HC_SETTING_COUNT].name;
}

static const char *
value_at(struct hc_settings *settings, size_t i, struct hc_settings_text *buf)
{
	if (i < HC_SETTING_COUNT)
		return hc_settings_get(settings, hc_slice_str(name_at(i)), buf);
	const struct alias *alias = &aliases[i - HC_SETTING_COUNT];
	if (alias->fixed != NULL)
		return alias->fixed;
	alias->read(settings, buf);
	return buf->text;
}

/* N_NAMES when there is none of that name. */
static size_t
find_name(struct hc_slice name)
{
	size_t i = 0;

	while (i < N_NAMES && !hc_slice_is(name, name_at(i)))
		i++;
	return i;
}

/*
 * ---- GET ----
 *
 * Every name is matched with every pattern, so these are bounded in number and size.
 */

#define PATTERNS_MAX 1000
#define PATTERN_MAX 256 /* a longer one matches nothing */

static bool
is_pattern(struct hc_slice text)
{
	for (size_t i = 0; i < text.len && text.len <= PATTERN_MAX; i++) {
		if (memchr("*?[", text.ptr[i], 3) != NULL)
			return true;
	}
	return false;
}

/* What the i-th name is called in the reply: as the client spelt it when it did, as Redis has it.
 * ptr NULL: not asked for. */
static struct hc_slice
asked_as(struct hc_req *req, size_t i)
{
	const char *name = name_at(i);

	for (uint32_t j = 2; j < req->argc; j++) {
		if (hc_slice_is(req->argv[j], name))
			return req->argv[j];
		if (is_pattern(req->argv[j]) && hc_glob(req->argv[j], hc_slice_str(name), true))
			return hc_slice_str(name);
	}
	return hc_slice(NULL, 0);
}

void
hc_cmd_config_get(struct hc_req *req)
{
	struct hc_settings_text buf;
	struct hc_slice names[N_NAMES];
	size_t n = 0;

	if (req->argc - 2 > PATTERNS_MAX) {
		hc_reply_errorf(req, "ERR CONFIG GET takes no more than %d names", PATTERNS_MAX);
		return;
	}
	for (size_t i = 0; i < N_NAMES; i++) {
		names[i] = asked_as(req, i);
		n += names[i].ptr != NULL;
	}
	hc_reply_map(req, n);
	for (size_t i = 0; i < N_NAMES; i++) {
		if (names[i].ptr == NULL)
			continue;
		hc_reply_slice(req, names[i]);
		hc_reply_str(req, value_at(req->worker->shared->settings, i, &buf));
	}
}

/* ---- SET ---- */

static void
reply_set_error(struct hc_req *req, struct hc_slice name, const char *why)
{
	hc_reply_errorf(req, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s", hc_text_shown(name),
	    name.ptr, why);
}

/* One name and value; false after replying with an error. */
static bool
take_pair(struct hc_req *req, uint32_t i, bool seen[N_NAMES], struct hc_settings_pair *out)
{
	struct hc_slice name = req->argv[i];
	size_t at = find_name(name);
	char why[160];

	if (at == N_NAMES) {
		hc_reply_errorf(req, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
		    hc_text_shown(name), name.ptr);
		return false;
	}
	if (at >= HC_SETTING_COUNT) {
		const struct alias *alias = &aliases[at - HC_SETTING_COUNT];
		snprintf(why, sizeof(why), "can't set immutable config%s%s",
		    alias->means != NULL ? ": its name here is " : "", alias->means != NULL ? alias->means : "");
		reply_set_error(req, name, why);
		return false;
	}
	if (!(hc_settings_row((enum hc_setting_id)at)->flags & HC_SETTING_RELOAD)) {
		reply_set_error(req, name, "can't set immutable config: set it in the file and restart");
		return false;
	}
	if (seen[at]) {
		reply_set_error(req, name, "duplicate parameter");
		return false;
	}
	seen[at] = true;
	out->name = hc_slice_str(name_at(at));
	out->text = req->argv[i + 1];
	return true;
}

/* Sentences about a setting begin with its name and a colon. */
static void
reply_refused(struct hc_req *req, const struct hc_settings_pair *pairs, size_t n, const struct hc_settings_error *err)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = pairs[i].name.len;
		if (strncmp(err->text, pairs[i].name.ptr, len) == 0 && strncmp(err->text + len, ": ", 2) == 0) {
			reply_set_error(req, pairs[i].name, err->text + len + 2);
			return;
		}
	}
	hc_reply_errorf(req, "ERR CONFIG SET failed - %s", err->text);
}

void
hc_cmd_config_set(struct hc_req *req)
{
	struct hc_command_shared *shared = req->worker->shared;
	struct hc_settings_pair pairs[HC_SETTING_COUNT] = {0};
	struct hc_settings_error err;
	bool seen[N_NAMES] = {false};
	size_t n = 0;

	if (req->argc % 2 != 0) {
		hc_reply_syntax_error(req);
		return;
	}
	/* No name comes twice, so there are never more pairs than settings. */
	for (uint32_t i = 2; i < req->argc; i += 2) {
		if (!take_pair(req, i, seen, &pairs[n]))
			return;
		n++;
	}
	enum hc_status status = hc_settings_set_many(shared->settings, pairs, n, &err);
	if (status != HC_OK) {
		reply_refused(req, pairs, n, &err);
		return;
	}
	shared->settings_changed(shared->host);
	hc_reply_ok(req);
}

void
hc_cmd_config_rewrite(struct hc_req *req)
{
	struct hc_command_shared *shared = req->worker->shared;
	struct hc_settings_error err;

	if (shared->config_file == NULL) {
		hc_reply_error(req, "ERR The server is running without a config file");
		return;
	}
	if (hc_settings_rewrite(shared->settings, shared->config_file, getenv("HARCA_ENV"), &err) != HC_OK) {
		hc_reply_errorf(req, "ERR Rewriting config file: %s", err.text);
		return;
	}
	hc_log(HC_LOG_INFO, "config_rewritten", "file=%s", shared->config_file);
	hc_reply_ok(req);
}

void
hc_cmd_config_resetstat(struct hc_req *req)
{
	hc_stats_reset();
	hc_tally_reset();
	hc_reply_ok(req);
}
