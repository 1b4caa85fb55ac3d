/*
 * How soon a write at one daemon is seen at another of its fleet, beside what Redis itself needs to tell somebody:
 *
 *     spread REDIS_PORT WRITER_PORT READER_PORT ROUNDS
 *
 * Each round does both, one after the other, so that what else the machine does meets both alike:
 *
 *   publish   PUBLISH sent to Redis, until a subscriber has the message;
 *   seen      OK of a SET at the writer, until the first GET at the reader that answers the new value. The reader
 *             had the old one in memory: it was asked just before. One GET at a time, the next as soon as one is
 * answered. whole     the same from the moment the SET was sent.
 *
 * Prints lines of `name value unit`; `gets` is how many GETs a round took, `backwards` how often one answered an old
 * value after the new one, which must not be.
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/time.h>
#include "tests/sim/times.h"

#define CHANNEL "harcad-spread"
#define KEY "spread"
#define LINGER 3 /* GETs after the first new value */
#define TIMEOUT_S 10

struct spread {
	redisContext *redis, *subscriber, *writer, *reader;
	struct times publish, seen, whole;
	uint64_t gets, backwards;
};

static void die(const char *what, const char *why) __attribute__((noreturn));

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "spread: %s: %s\n", what, why);
	exit(EXIT_FAILURE);
}

static redisContext *
connect_to(const char *port)
{
	struct timeval timeout = {.tv_sec = TIMEOUT_S};
	redisContext *context = redisConnectWithTimeout("127.0.0.1", (int)strtol(port, NULL, 10), timeout);

	if (context == NULL || context->err != 0)
		die(port, context == NULL ? "no memory" : context->errstr);
	(void)redisSetTimeout(context, timeout);
	return context;
}

static redisReply *
receive(redisContext *context)
{
	void *reply;

	if (redisGetReply(context, &reply) != REDIS_OK)
		die("no reply", context->errstr);
	if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
		die("error reply", ((redisReply *)reply)->str);
	return reply;
}

static void
send_command(redisContext *context, const char *format, ...)
{
	va_list arguments;
	int is_written = 0;

	va_start(arguments, format);
	if (redisvAppendCommand(context, format, arguments) != REDIS_OK)
		die(format, context->errstr);
	va_end(arguments);
	while (is_written == 0) {
		if (redisBufferWrite(context, &is_written) != REDIS_OK)
			die(format, context->errstr);
	}
}

static long
read_number(redisContext *reader)
{
	send_command(reader, "GET " KEY);
	redisReply *reply = receive(reader);
	long number = reply->type == REDIS_REPLY_STRING ? strtol(reply->str, NULL, 10) : -1;

	freeReplyObject(reply);
	return number;
}

static void
publish(struct spread *spread)
{
	int64_t began_ns = times_now();

	send_command(spread->redis, "PUBLISH " CHANNEL " x");
	freeReplyObject(receive(spread->subscriber));
	times_add(&spread->publish, times_now() - began_ns);
	freeReplyObject(receive(spread->redis));
}

static void
write_and_read(struct spread *spread, long number)
{
	int64_t began_ns = times_now();

	send_command(spread->writer, "SET " KEY " %ld", number);
	freeReplyObject(receive(spread->writer));
	int64_t ok_ns = times_now(), end_ns = ok_ns + TIMEOUT_S * INT64_C(1000000000);
	do {
		spread->gets++;
		if (times_now() > end_ns)
			die("a write", "it is not seen");
	} while (read_number(spread->reader) != number);
	int64_t now_ns = times_now();
	times_add(&spread->seen, now_ns - ok_ns);
	times_add(&spread->whole, now_ns - began_ns);
	for (int i = 0; i < LINGER; i++) /* so that it is in memory again, too */
		spread->backwards += read_number(spread->reader) != number;
}

static void
run(struct spread *spread, long rounds)
{
	freeReplyObject(redisCommand(spread->subscriber, "SUBSCRIBE " CHANNEL));
	for (long i = 1; i <= rounds; i++) {
		publish(spread);
		write_and_read(spread, i);
	}
}

int
main(int argc, char **argv)
{
	struct spread spread = {0};

	if (argc != 5)
		die("usage", "spread REDIS_PORT WRITER_PORT READER_PORT ROUNDS");
	spread.redis = connect_to(argv[1]);
	spread.subscriber = connect_to(argv[1]);
	spread.writer = connect_to(argv[2]);
	spread.reader = connect_to(argv[3]);
	run(&spread, strtol(argv[4], NULL, 10));
	times_print(&spread.publish, "publish_");
	times_print(&spread.seen, "seen_");
	times_print(&spread.whole, "whole_");
	printf("gets %.2f a_round\n", (double)spread.gets / (double)spread.seen.n);
	printf("backwards %" PRIu64 " gets\n", spread.backwards);
	return EXIT_SUCCESS;
}
