/*
 * hiredis, its synchronous interface, as an application that keeps vectors uses it. See tests/clients/conftest.py for
 * how it is told where.
 */
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define HOST "127.0.0.1"
#define VECTOR 4096

static redisContext *redis;
static bool on_redis, can_watch, step_failed;
static int failed;

#define CHECK(what)                                                          \
	do {                                                                 \
		if (!(what)) {                                               \
			step_failed = true;                                  \
			printf("FAILED line %d: not %s\n", __LINE__, #what); \
		}                                                            \
	} while (0)

static const char *
setting(const char *name)
{
	const char *value = getenv(name);
	return value != NULL ? value : "";
}

static void
fill_vector(char *out, int seed)
{
	for (int i = 0; i < VECTOR; i++)
		out[i] = (char)(unsigned char)(i + seed * 31 + (i >> 8));
}

/* ---- replies; each is freed ---- */

static bool
is_status(void *reply, const char *text)
{
	redisReply *r = reply;
	bool is = r != NULL && r->type == REDIS_REPLY_STATUS && strcmp(r->str, text) == 0;
	freeReplyObject(r);
	return is;
}

static bool
is_bytes(void *reply, const char *bytes, size_t len)
{
	redisReply *r = reply;
	bool is = r != NULL && r->type == REDIS_REPLY_STRING && r->len == len && memcmp(r->str, bytes, len) == 0;
	freeReplyObject(r);
	return is;
}

static bool
is_string(void *reply, const char *text)
{
	return is_bytes(reply, text, strlen(text));
}

static bool
is_nil(void *reply)
{
	redisReply *r = reply;
	bool is = r != NULL && r->type == REDIS_REPLY_NIL;
	freeReplyObject(r);
	return is;
}

static bool
is_error(void *reply, const char *begin)
{
	redisReply *r = reply;
	bool is = r != NULL && r->type == REDIS_REPLY_ERROR && strncmp(r->str, begin, strlen(begin)) == 0;
	freeReplyObject(r);
	return is;
}

static long long
number(void *reply)
{
	redisReply *r = reply;
	long long n = r != NULL && r->type == REDIS_REPLY_INTEGER ? r->integer : -1000;
	freeReplyObject(r);
	return n;
}

static redisReply *
next_reply(void)
{
	void *reply = NULL;
	return redisGetReply(redis, &reply) == REDIS_OK ? reply : NULL;
}

static redisContext *
connect_to(const char *port)
{
	struct timeval patience = {10, 0};
	redisContext *context = redisConnectWithTimeout(HOST, atoi(port), patience);

	if (context == NULL || context->err != 0 || redisSetTimeout(context, patience) != REDIS_OK) {
		printf("FAILED to connect: %s\n", context != NULL ? context->errstr : "no memory");
		exit(1);
	}
	return context;
}

/* ---- the steps ---- */

static void
keeps_vectors(void)
{
	static const char key[] = {0, (char)255, '\r', '\n', (char)128};
	char vector[VECTOR];

	CHECK(is_status(redisCommand(redis, "PING"), "PONG"));
	for (int i = 0; i < 16; i++) {
		fill_vector(vector, i);
		CHECK(is_status(redisCommand(redis, "SET vec:%d %b", i, vector, sizeof(vector)), "OK"));
	}
	for (int i = 0; i < 16; i++) {
		fill_vector(vector, i);
		CHECK(is_bytes(redisCommand(redis, "GET vec:%d", i), vector, sizeof(vector)));
	}
	const char *argv[] = {"SET", key, vector};
	const size_t lens[] = {3, sizeof(key), 0};
	CHECK(is_status(redisCommandArgv(redis, 3, argv, lens), "OK"));
	CHECK(is_bytes(redisCommand(redis, "GET %b", key, sizeof(key)), "", 0));
	CHECK(is_nil(redisCommand(redis, "GET none")));
}

static void
expires(void)
{
	CHECK(is_status(redisCommand(redis, "SET ttl x EX %d", 100), "OK"));
	CHECK(number(redisCommand(redis, "TTL ttl")) > 90);
	CHECK(number(redisCommand(redis, "PEXPIRE ttl %lld", 200000LL)) == 1);
	CHECK(number(redisCommand(redis, "PTTL ttl")) > 190000);
	CHECK(number(redisCommand(redis, "PERSIST ttl")) == 1);
	CHECK(number(redisCommand(redis, "TTL ttl")) == -1);
	CHECK(is_status(redisCommand(redis, "SET short x PX 30"), "OK"));
	time_t deadline = time(NULL) + 10;
	while (number(redisCommand(redis, "EXISTS short")) == 1 && time(NULL) < deadline)
		nanosleep(&(struct timespec){0, 10000000}, NULL);
	CHECK(is_nil(redisCommand(redis, "GET short")));
}

static void
pipelines(void)
{
	char vector[VECTOR];

	for (int i = 0; i < 500; i++) {
		fill_vector(vector, i);
		redisAppendCommand(redis, "SET pipe:%d %b", i, vector, sizeof(vector));
		redisAppendCommand(redis, "GET pipe:%d", i);
	}
	for (int i = 0; i < 500; i++) {
		fill_vector(vector, i);
		CHECK(is_status(next_reply(), "OK"));
		CHECK(is_bytes(next_reply(), vector, sizeof(vector)));
	}
}

static void
runs_transactions(void)
{
	CHECK(is_status(redisCommand(redis, "MULTI"), "OK"));
	CHECK(is_status(redisCommand(redis, "SET tx 1"), "QUEUED"));
	CHECK(is_status(redisCommand(redis, "INCR tx"), "QUEUED"));
	redisReply *reply = redisCommand(redis, "EXEC");
	CHECK(reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	      reply->element[0]->type == REDIS_REPLY_STATUS && reply->element[1]->integer == 2);
	freeReplyObject(reply);
	CHECK(is_status(redisCommand(redis, "MULTI"), "OK"));
	CHECK(is_error(redisCommand(redis, "NOSUCH"), "ERR unknown command"));
	CHECK(is_error(redisCommand(redis, "EXEC"), "EXECABORT"));
	if (!can_watch) {
		CHECK(is_error(redisCommand(redis, "WATCH tx"), "ERR WATCH is for daemons without an upstream"));
		return;
	}
	CHECK(is_status(redisCommand(redis, "WATCH tx"), "OK"));
	CHECK(number(redisCommand(redis, "INCR tx")) == 3);
	CHECK(is_status(redisCommand(redis, "MULTI"), "OK"));
	CHECK(is_nil(redisCommand(redis, "EXEC")));
}

static void
scans(void)
{
	char cursor[32] = "0";
	bool seen[1000] = {false};
	int n = 0;

	for (int i = 0; i < 1000; i++)
		redisAppendCommand(redis, "SET scan:%d %d", i, i);
	for (int i = 0; i < 1000; i++)
		CHECK(is_status(next_reply(), "OK"));
	do {
		redisReply *page = redisCommand(redis, "SCAN %s MATCH scan:* COUNT 100", cursor);
		if (page == NULL || page->type != REDIS_REPLY_ARRAY || page->elements != 2) {
			CHECK(!"a page");
			freeReplyObject(page);
			return;
		}
		snprintf(cursor, sizeof(cursor), "%s", page->element[0]->str);
		for (size_t i = 0; i < page->element[1]->elements; i++)
			seen[atoi(page->element[1]->element[i]->str + strlen("scan:"))] = true;
		freeReplyObject(page);
	} while (strcmp(cursor, "0") != 0);
	for (int i = 0; i < 1000; i++)
		n += seen[i];
	CHECK(n == 1000);
}

static void
gets_errors(void)
{
	CHECK(
	    is_error(redisCommand(redis, "NOSUCH a"), "ERR unknown command 'NOSUCH', with args beginning with: 'a' "));
	CHECK(is_error(redisCommand(redis, "GET"), "ERR wrong number of arguments for 'get' command"));
	CHECK(is_status(redisCommand(redis, "SET text x"), "OK"));
	CHECK(is_error(redisCommand(redis, "INCR text"), "ERR value is not an integer or out of range"));
	CHECK(redis->err == 0);
}

static void
authenticates(void)
{
	redisContext *locked = connect_to(setting("HARCAD_AUTH_PORT"));

	CHECK(is_error(redisCommand(locked, "GET a"), "NOAUTH Authentication required."));
	CHECK(is_error(redisCommand(locked, "AUTH wrong"), "WRONGPASS"));
	CHECK(is_status(redisCommand(locked, "AUTH %s", setting("HARCAD_PASSWORD")), "OK"));
	CHECK(is_status(redisCommand(locked, "AUTH default %s", setting("HARCAD_PASSWORD")), "OK"));
	CHECK(is_status(redisCommand(locked, "SET a 1"), "OK"));
	redisFree(locked);
}

static void
comes_back(void)
{
	redisContext *killer = connect_to(setting("HARCAD_PORT"));
	long long id = number(redisCommand(redis, "CLIENT ID"));

	CHECK(number(redisCommand(killer, "CLIENT KILL ID %lld", id)) == 1);
	CHECK(redisCommand(redis, "PING") == NULL);
	CHECK(redis->err == REDIS_ERR_EOF || redis->err == REDIS_ERR_IO);
	CHECK(redisReconnect(redis) == REDIS_OK);
	CHECK(is_status(redisCommand(redis, "PING"), "PONG"));
	redisFree(killer);
}

static void
uses_the_unix_socket(void)
{
	redisContext *near = redisConnectUnix(setting("HARCAD_SOCKET"));
	char vector[VECTOR];

	fill_vector(vector, 2);
	CHECK(near != NULL && near->err == 0);
	CHECK(is_bytes(redisCommand(near, "GET vec:2"), vector, sizeof(vector)));
	redisFree(near);
}

static void
names_models(void)
{
	if (on_redis)
		return;
	CHECK(is_status(redisCommand(redis, "SET m:1 %b MODEL %s", "\0\r\n", (size_t)3, "minilm"), "OK"));
	CHECK(is_string(redisCommand(redis, "MODEL OF m:1"), "minilm"));
	CHECK(is_status(redisCommand(redis, "SET emb:e5@v2:17 x"), "OK"));
	CHECK(is_string(redisCommand(redis, "MODEL OF emb:e5@v2:17"), "e5@v2"));
	CHECK(is_status(redisCommand(redis, "MODEL USE gte"), "OK"));
	CHECK(is_status(redisCommand(redis, "SET m:2 x"), "OK"));
	CHECK(is_string(redisCommand(redis, "MODEL OF m:2"), "gte"));
	CHECK(is_status(redisCommand(redis, "CLEAR MODEL minilm"), "OK"));
	CHECK(is_nil(redisCommand(redis, "GET m:1")));
	CHECK(is_string(redisCommand(redis, "GET m:2"), "x"));
}

static void
step(const char *name, void (*what)(void))
{
	step_failed = false;
	what();
	failed += step_failed;
	if (!step_failed)
		printf("ok %s\n", name);
}

int
main(void)
{
	on_redis = strcmp(setting("HARCAD_KIND"), "redis") == 0;
	can_watch = strcmp(setting("HARCAD_KIND"), "fleet") != 0;
	redis = connect_to(setting("HARCAD_PORT"));
	step("keeps vectors byte for byte", keeps_vectors);
	step("expires", expires);
	step("pipelines", pipelines);
	step("runs transactions", runs_transactions);
	step("scans to the end", scans);
	step("gets errors in Redis's words", gets_errors);
	step("authenticates", authenticates);
	step("comes back after the daemon has closed the connection", comes_back);
	step("uses the Unix socket", uses_the_unix_socket);
	step("names models", names_models);
	redisFree(redis);
	return failed > 0;
}
