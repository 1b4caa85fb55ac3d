/*
 * The way of a reply: socket → bufferevent's input → hiredis's reader → the function that waits for
 * it, or the owner's on_push. One thread: the link's.
 */
#include <assert.h>
#include <event2/buffer.h>
#include "upstream/link_internal.h"

/* The reader moves its rest to the front every 1 KiB it parses: fed with little, it has little to
 * move. */
#define FEED_MAX ((size_t)16 * 1024)

static void
protocol_error(struct hc_link *link, const char *what)
{
	hc_link_break(link, HC_DOWN, "protocol error: %s", what);
}

/* Of RESP2's pushes: "message" and its kin, or a confirmation of a subscription's change. */
enum push { NO_PUSH, PUSH_MESSAGE, PUSH_CONFIRMATION };

static enum push
classify(const redisReply *reply)
{
	static const struct {
		const char *name;
		enum push push;
	} kinds[] = {
	    {"message", PUSH_MESSAGE},
	    {"pmessage", PUSH_MESSAGE},
	    {"smessage", PUSH_MESSAGE},
	    {"subscribe", PUSH_CONFIRMATION},
	    {"psubscribe", PUSH_CONFIRMATION},
	    {"ssubscribe", PUSH_CONFIRMATION},
	    {"unsubscribe", PUSH_CONFIRMATION},
	    {"punsubscribe", PUSH_CONFIRMATION},
	    {"sunsubscribe", PUSH_CONFIRMATION},
	};
	const redisReply *first;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3)
		return NO_PUSH;
	first = reply->element[0];
	if (first->type != REDIS_REPLY_STRING)
		return NO_PUSH;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (hc_slice_eq(hc_slice(first->str, (size_t)first->len), hc_slice_str(kinds[i].name)))
			return kinds[i].push;
	}
	return NO_PUSH;
}

static void
deliver_push(struct hc_link *link, enum push push, const redisReply *reply)
{
	struct hc_pending_entry *head = hc_pending_head(&link->pending);
	struct hc_pending_entry done;

	if (push == PUSH_CONFIRMATION && head != NULL && head->pushes != 0 && --head->pushes == 0)
		(void)hc_pending_pop(&link->pending, &done);
	link->owner.on_push(link->owner.arg, link, reply);
}

static void
deliver_reply(struct hc_link *link, const redisReply *reply)
{
	struct hc_pending_entry entry;

	if (!hc_pending_pop(&link->pending, &entry)) {
		if (reply->type == REDIS_REPLY_ERROR) /* e.g. why we are about to be thrown out */
			hc_link_break(link, HC_DOWN, "%s", reply->str);
		else
			protocol_error(link, "a reply nobody waits for");
	} else if (entry.pushes != 0) {
		/* SUBSCRIBE was refused: its sender relies on pushes that will not come. */
		if (reply->type == REDIS_REPLY_ERROR)
			hc_link_break(link, HC_DOWN, "%s", reply->str);
		else
			protocol_error(link, "a reply where a subscription's was due");
	} else {
		link->proven = link->state == HC_LINK_UP;
		if (entry.fn != NULL)
			entry.fn(entry.arg, HC_OK, reply);
	}
}

static void
deliver(struct hc_link *link, const redisReply *reply)
{
	/* Only who has subscribed gets pushes: elsewhere such an array is a value somebody has
	 * stored. */
	enum push push = link->subscribed ? classify(reply) : NO_PUSH;

	link->calling++;
	if (push != NO_PUSH)
		deliver_push(link, push, reply);
	else
		deliver_reply(link, reply);
	link->calling--;
}

/* Delivers what the reader has complete, until a callback breaks the connection. */
static void
deliver_complete(struct hc_link *link)
{
	while (!link->broken) {
		void *reply = NULL;

		if (redisReaderGetReply(link->reader, &reply) != REDIS_OK) {
			hc_link_break(link, HC_DOWN, "%s", link->reader->errstr);
			return;
		}
		if (reply == NULL)
			return;
		deliver(link, reply);
		freeReplyObject(reply);
	}
}

void
hc_link_on_readable(struct bufferevent *bev, void *arg)
{
	struct hc_link *link = hc_link_of(arg);
	struct evbuffer *input = bufferevent_get_input(bev);
	struct evbuffer_iovec chunk;

	while (!link->broken && evbuffer_peek(input, -1, NULL, &chunk, 1) > 0) {
		size_t len = chunk.iov_len < FEED_MAX ? chunk.iov_len : FEED_MAX;

		if (redisReaderFeed(link->reader, chunk.iov_base, len) != REDIS_OK) {
			hc_link_break(link, HC_DOWN, "%s", link->reader->errstr);
			break;
		}
		evbuffer_drain(input, len);
		link->stats.bytes_in += len;
		deliver_complete(link);
	}
	hc_link_rest(link);
	hc_link_check(link);
}
