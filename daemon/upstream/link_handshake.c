/*
 * From connected to UP: AUTH, SELECT, CLIENT SETNAME as URL and config ask, then PING, all in one
 * write. The first error ends the attempt. One thread: the link's.
 */
#include <stdio.h>
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

void
hc_link_handshake(struct hc_link *link)
{
	struct hc_slice name[] = {HC_SLICE("CLIENT"), HC_SLICE("SETNAME"), hc_slice_str(link->config.name)};
	struct hc_slice ping[] = {HC_SLICE("PING")};

	hc_link_set_state(link, HC_LINK_HANDSHAKE);
	link->note[0] = '\0';
	if (link->config.url->password != NULL)
		ask_auth(link);
	if (link->config.url->db != 0)
		ask_select(link);
	ask(link, name, 3, on_named);
	ask(link, ping, 1, on_pong);
}
