/*
 * From connected to UP. One thread: the link's.
 *
 *     AUTH, SELECT, CLIENT SETNAME, as URL and config ask; CLIENT ID, INFO server ─┬──────────────────→ PING → UP
 *                                       the former connection has left stragglers └→ CLIENT KILL ID ─┘
 *
 * All in one write, but for what is behind CLIENT KILL. The first error ends the attempt, unless it is of what is a
 * courtesy (the name), or of what not everybody has the right to.
 */
#include <stdio.h>
#include "base/log.h"
#include "upstream/link_internal.h"

/* Redis quotes the arguments of commands it does not know: a password must not get into our log
 * that way. */
static int
error_len(const redisReply *error)
{
	const char *quoting = strstr(error->str, ", with args");
	size_t len = quoting != NULL ? (size_t)(quoting - error->str) : strlen(error->str);

	return len < HC_LINK_WHY_MAX ? (int)len : HC_LINK_WHY_MAX;
}

static void
on_answer(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_link *link = hc_link_of(arg);

	if (status == HC_OK && reply->type == REDIS_REPLY_ERROR)
		hc_link_break(link, HC_DOWN, "%.*s", error_len(reply), reply->str);
}

/* A name is a courtesy. But the error may say why the connection is about to be closed. */
static void
on_named(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_link *link = hc_link_of(arg);

	if (status == HC_OK && reply->type == REDIS_REPLY_ERROR)
		snprintf(link->note, sizeof(link->note), "%.*s", error_len(reply), reply->str);
}

static void
on_pong(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_link *link = hc_link_of(arg);

	if (status != HC_OK)
		return;
	on_answer(arg, status, reply); /* its reason, if any, is the first and counts */
	if (reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "PONG") == 0)
		hc_link_came_up(link);
	else
		hc_link_break(link, HC_DOWN, "protocol error: PING was not answered by PONG");
}

static void
ask(struct hc_link *link, const struct hc_slice *argv, size_t argc, hc_link_reply_fn *fn)
{
	struct hc_pending_entry entry = {.fn = fn, .arg = link, .deadline_ms = link->attempt_deadline_ms};

	if (hc_link_enqueue(link, argv, argc, &entry) != HC_OK)
		hc_link_break(link, HC_DOWN, "out of memory");
}

static void
ask_auth(struct hc_link *link)
{
	const struct hc_url *url = link->config.url;
	struct hc_slice argv[3] = {HC_SLICE("AUTH")};
	size_t argc = 1;

	if (url->user != NULL)
		argv[argc++] = hc_slice_str(url->user);
	argv[argc++] = hc_slice_str(url->password);
	ask(link, argv, argc, on_answer);
}

static void
ask_select(struct hc_link *link)
{
	char digits[16];
	int len = snprintf(digits, sizeof(digits), "%d", link->config.url->db);
	struct hc_slice argv[] = {HC_SLICE("SELECT"), hc_slice(digits, (size_t)len)};

	ask(link, argv, 2, on_answer);
}

static void
ask_ping(struct hc_link *link)
{
	struct hc_slice ping[] = {HC_SLICE("PING")};

	ask(link, ping, 1, on_pong);
}

/* ---- who we are to the server, and who we were ---- */

static void
on_client_id(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_link *link = hc_link_of(arg);

	if (status == HC_OK && reply->type == REDIS_REPLY_INTEGER)
		link->peer.client_id = reply->integer;
}

static void
take_run_id(struct hc_link *link, const redisReply *info)
{
	static const char field[] = "\r\nrun_id:";

	if (info->type != REDIS_REPLY_STRING)
		return;
	const char *at = strstr(info->str, field); /* hiredis ends it with a NUL */
	if (at != NULL && strcspn(at + sizeof(field) - 1, "\r") == HC_RUN_ID_LEN)
		memcpy(link->peer.run_id, at + sizeof(field) - 1, HC_RUN_ID_LEN);
}

static void
warn_of_stragglers(const struct hc_link *link, struct hc_slice error)
{
	static struct hc_log_limit limit;
	struct hc_log_quoted quoted;

	if (hc_log_allow(&limit, 60000))
		hc_log(HC_LOG_WARN, "upstream_stragglers_left",
		    "link=%s error=%s consequence=\"what was given up may yet be carried out\"", link->config.name,
		    hc_log_quote(&quoted, error.ptr, error.len));
}

static void
on_killed(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_link *link = hc_link_of(arg);

	if (status != HC_OK)
		return;
	if (reply->type == REDIS_REPLY_INTEGER)
		hc_log(HC_LOG_INFO, "upstream_stragglers_ended", "link=%s client=%lld found=%s", link->config.name,
		    (long long)link->given_up.client_id, reply->integer > 0 ? "yes" : "no");
	else if (reply->type == REDIS_REPLY_ERROR)
		warn_of_stragglers(link, hc_slice(reply->str, (size_t)reply->len));
	else
		warn_of_stragglers(link, HC_SLICE("an unexpected answer"));
}

static void
end_stragglers(struct hc_link *link)
{
	const struct hc_peer *former = &link->given_up;
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%lld", (long long)former->client_id);
	struct hc_slice argv[] = {HC_SLICE("CLIENT"), HC_SLICE("KILL"), HC_SLICE("ID"), hc_slice(digits, (size_t)len)};

	if (hc_peer_is_there(former, link->peer.run_id))
		ask(link, argv, 4, on_killed);
	else if (former->client_id == 0 || former->run_id[0] == '\0' || link->peer.run_id[0] == '\0')
		warn_of_stragglers(link, HC_SLICE("the server tells no client id, or no run_id"));
}

static void
on_server(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_link *link = hc_link_of(arg);

	if (status != HC_OK)
		return;
	take_run_id(link, reply);
	if (!link->has_stragglers)
		return; /* PING is on its way */
	end_stragglers(link);
	ask_ping(link);
}

/* ---- the whole of it ---- */

void
hc_link_handshake(struct hc_link *link)
{
	const struct hc_slice name[] = {HC_SLICE("CLIENT"), HC_SLICE("SETNAME"), hc_slice_str(link->config.name)};
	const struct hc_slice id[] = {HC_SLICE("CLIENT"), HC_SLICE("ID")};
	const struct hc_slice server[] = {HC_SLICE("INFO"), HC_SLICE("server")};

	hc_link_set_state(link, HC_LINK_HANDSHAKE);
	link->note[0] = '\0';
	link->peer = (struct hc_peer){0};
	if (link->config.url->password != NULL)
		ask_auth(link);
	if (link->config.url->db != 0)
		ask_select(link);
	ask(link, name, 3, on_named);
	ask(link, id, 2, on_client_id);
	ask(link, server, 2, on_server);
	if (!link->has_stragglers)
		ask_ping(link);
}
