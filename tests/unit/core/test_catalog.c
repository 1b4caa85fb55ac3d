/*
 * What COMMAND INFO says, taken in; and which arguments are keys by it. Replies are written as RESP.
 */
#include "core/catalog.h"
#include "core/pass.h"

#include "tests/unit/support.h"

static redisReply *
reply_of(const char *resp)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	must(redisReaderFeed(reader, resp, strlen(resp)) == REDIS_OK);
	must_msg(redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL, "%s", resp);
	redisReaderFree(reader);
	return reply;
}

static enum hc_status
take(struct hc_catalog *catalog, const char *resp)
{
	redisReply *reply = reply_of(resp);
	enum hc_status status = hc_catalog_take(catalog, reply);

	freeReplyObject(reply);
	return status;
}

#define WORDS_MAX 16
struct call {
	char text[256];
	struct hc_slice argv[WORDS_MAX];
	size_t argc;
	bool marks[WORDS_MAX];
};

static struct call *
call_of(const char *line)
{
	static struct call call;

	call = (struct call){.argc = 0};
	snprintf(call.text, sizeof(call.text), "%s", line);
	for (char *word = strtok(call.text, " "); word != NULL; word = strtok(NULL, " "))
		call.argv[call.argc++] = hc_slice_str(word);
	return &call;
}

/* The indices of the keys must be these, as digits. */
static void
expect_keys(struct hc_catalog *catalog, const char *line, enum hc_status expected, const char *keys)
{
	struct call *call = call_of(line);
	const struct hc_remote_command *command = hc_catalog_find(catalog, call->argv, call->argc);
	char found[WORDS_MAX + 1] = "";
	size_t n = 0;

	must_msg(command != NULL, "%s is not found", line);
	enum hc_status status = hc_remote_keys(command, call->argv, call->argc, call->marks);
	must_msg(status == expected, "%s: %s", line, hc_status_name(status));
	for (size_t i = 0; i < call->argc; i++) {
		if (call->marks[i])
			found[n++] = (char)(i < 10 ? '0' + i : 'a' + i - 10);
	}
	found[n] = '\0';
	must_msg(status != HC_OK || strcmp(found, keys) == 0, "%s: %s, not %s", line, found, keys);
}

#define S(text, len) "$" #len "\r\n" text "\r\n"
#define PAIR_S(name, nlen, value, vlen) S(name, nlen) S(value, vlen)
#define INFO(name, arity, flags, first, last, step) \
	name ":" #arity "\r\n" flags ":" #first "\r\n:" #last "\r\n:" #step "\r\n*0\r\n*0\r\n"
#define INDEX(at)                                                                               \
	S("begin_search", 12)                                                                   \
	"*4\r\n" PAIR_S("type", 4, "index", 5) S("spec", 4) "*2\r\n" S("index", 5) ":" #at "\r" \
										   "\n"
#define WORD(word, len, from)                                                                       \
	S("begin_search", 12)                                                                       \
	"*4\r\n" PAIR_S("type", 4, "keyword", 7) S("spec", 4) "*4\r\n" S("keyword", 7) S(word, len) \
	    S("startfrom", 9) ":" #from "\r\n"
#define RANGE(last, step, limit)                                                                         \
	S("find_keys", 9)                                                                                \
	"*4\r\n" PAIR_S("type", 4, "range", 5) S("spec", 4) "*6\r\n" S("lastkey", 7) ":" #last "\r\n" S( \
	    "keystep", 7) ":" #step "\r\n" S("limit", 5) ":" #limit "\r\n"
#define COUNTED(at, first, step)                                                                          \
	S("find_keys", 9)                                                                                 \
	"*4\r\n" PAIR_S("type", 4, "keynum", 6) S("spec", 4) "*6\r\n" S("keynumidx", 9) ":" #at "\r\n" S( \
	    "firstkey", 8) ":" #first "\r\n" S("keystep", 7) ":" #step "\r\n"
#define SPEC(begin, find) "*6\r\n" S("flags", 5) "*0\r\n" begin find
#define NO_KEY_SPEC(begin, find) "*6\r\n" S("flags", 5) "*1\r\n+not_key\r\n" begin find
#define UNKNOWN                                                                                        \
	"*6\r\n" S("flags", 5) "*0\r\n" S("begin_search", 12) "*4\r\n" PAIR_S("type", 4, "unknown", 7) \
	    S("spec", 4) "*0\r\n" S("find_keys", 9) "*4\r\n" PAIR_S("type", 4, "unknown", 7) S("spec", 4) "*0\r\n"

static const char zunionstore[] = "*10\r\n" INFO(S("zunionstore", 11), -4, "*1\r\n+write\r\n", 1, 1, 1) "*2\r\n" SPEC(
    INDEX(1), RANGE(0, 1, 0)) SPEC(INDEX(2), COUNTED(0, 1, 1)) "*0\r\n";
static const char xread[] = "*10\r\n" INFO(S("xread", 5), -4, "*3\r\n+readonly\r\n+blocking\r\n+movablekeys\r\n", 0, 0,
    0) "*1\r\n" SPEC(WORD("STREAMS", 7, 1), RANGE(-1, 1, 2)) "*0\r\n";
static const char mset[] =
    "*10\r\n" INFO(S("mset", 4), -3, "*1\r\n+write\r\n", 1, -1, 2) "*1\r\n" SPEC(INDEX(1), RANGE(-1, 2, 0)) "*0\r\n";
static const char last_word[] = "*10\r\n" INFO(S("lastword", 8), -2, "*0\r\n", 0, 0, 0) "*1\r\n" SPEC(
    WORD("KEYS", 4, -2), RANGE(-1, 1, 0)) "*0\r\n";
static const char spublish[] = "*10\r\n" INFO(S("spublish", 8), 3, "*1\r\n+pubsub\r\n", 1, 1, 1) "*1\r\n" NO_KEY_SPEC(
    INDEX(1), RANGE(0, 1, 0)) "*0\r\n";
static const char sort[] = "*10\r\n" INFO(S("sort", 4), -2, "*2\r\n+write\r\n+movablekeys\r\n", 1, 1, 1) "*2\r\n" SPEC(
    INDEX(1), RANGE(0, 1, 0)) UNKNOWN "*0\r\n";
static const char old_blpop[] = "*7\r\n" S("blpop", 5) ":-3\r\n*1\r\n+write\r\n:1\r\n:-2\r\n:1\r\n*1\r\n+@list\r\n";
static const char waiting[] =
    "*10\r\n" INFO(S("my.wait", 7), -2, "*2\r\n+readonly\r\n+blocking\r\n", 1, 1, 1) "*0\r\n*0\r\n";
static const char old_setbit[] = "*7\r\n" S("setbit", 6) ":4\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n*1\r\n+@bitmap\r\n";
static const char xgroup[] =
    "*10\r\n" INFO(S("xgroup", 6), -2, "*0\r\n", 0, 0, 0) "*0\r\n*1\r\n"
							  "*10\r\n" INFO(S("xgroup|create", 13), -5, "*1\r\n+write\r\n",
							      2, 2, 1) "*1\r\n" SPEC(INDEX(2), RANGE(0, 1, 0)) "*0\r\n";

static struct hc_catalog *
filled(void)
{
	static const char *const all[] = {
	    zunionstore, xread, mset, last_word, spublish, sort, old_blpop, waiting, old_setbit, xgroup};
	struct hc_catalog *catalog;

	must(hc_catalog_create(&catalog) == HC_OK);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		must_msg(take(catalog, all[i]) == HC_OK, "%s", all[i]);
	return catalog;
}

START_TEST(catalog_keys_are_where_the_specifications_say)
{
	struct hc_catalog *catalog = filled();

	expect_keys(catalog, "ZUNIONSTORE d 2 a b WEIGHTS 1 2", HC_OK, "134");
	expect_keys(catalog, "zunionstore 2 1 1", HC_OK, "13");
	expect_keys(catalog, "ZUNIONSTORE d 0", HC_OK, "1");
	expect_keys(catalog, "ZUNIONSTORE d 3 a b", HC_INVALID, "");
	expect_keys(catalog, "ZUNIONSTORE d -1 a b", HC_INVALID, "");
	expect_keys(catalog, "ZUNIONSTORE d x a b", HC_INVALID, "");
	expect_keys(catalog, "ZUNIONSTORE d 9223372036854775807 a b", HC_INVALID, "");
	expect_keys(catalog, "XREAD COUNT 1 streams a b 0 0", HC_OK, "45");
	expect_keys(catalog, "XREAD COUNT 1 a b", HC_OK, "");
	expect_keys(catalog, "MSET a 1 b 2", HC_OK, "13");
	expect_keys(catalog, "LASTWORD x keys a b KEYS c", HC_OK, "6");
	expect_keys(catalog, "SPUBLISH c m", HC_OK, "");
	expect_keys(catalog, "SORT l", HC_PENDING, "");
	expect_keys(catalog, "BLPOP a b 0", HC_OK, "12");
	expect_keys(catalog, "BLPOP 0", HC_INVALID, "");
	expect_keys(catalog, "XGroup Create s g 0", HC_OK, "2");
	hc_catalog_destroy(catalog);
}
END_TEST

START_TEST(catalog_flags_and_subcommands_are_told)
{
	struct hc_catalog *catalog = filled();
	struct call *call = call_of("xread");

	must(hc_catalog_find(catalog, call->argv, 1)->flags & HC_REMOTE_READS);
	call = call_of("SETBIT k 0 1");
	must(hc_catalog_find(catalog, call->argv, 4)->flags == HC_REMOTE_STRINGS);
	call = call_of("xgroup nope");
	must(hc_catalog_find(catalog, call->argv, 2)->flags & HC_REMOTE_CONTAINER);
	call = call_of("xgroup|create s");
	must(hc_catalog_find(catalog, call->argv, 2)->flags == HC_REMOTE_SPECS);
	call = call_of("nope");
	must(hc_catalog_find(catalog, call->argv, 1) == NULL);
	char name[4096];
	memset(name, 'x', sizeof(name));
	must(hc_catalog_find(catalog, &(struct hc_slice){name, sizeof(name)}, 1) == NULL);
	must(hc_catalog_find(catalog, (struct hc_slice[]){HC_SLICE("xgroup"), {name, sizeof(name)}}, 2) != NULL);
	/* Servers that compare names as C strings take this for "xread", now and then, and tell of it. */
	must(hc_catalog_find(catalog, &HC_SLICE("xread\0"), 1) == NULL);
	must(hc_catalog_find(catalog, (struct hc_slice[]){HC_SLICE("xgroup"), HC_SLICE("create\0")}, 2)->flags &
	     HC_REMOTE_CONTAINER);
	must(hc_catalog_find(catalog, &HC_SLICE(""), 1) == NULL);
	hc_catalog_forget(catalog);
	call = call_of("xread");
	must(hc_catalog_find(catalog, call->argv, 1) == NULL);
	hc_catalog_destroy(catalog);
}
END_TEST

START_TEST(catalog_what_blocks_is_not_passed)
{
	static const struct {
		const char *line;
		enum hc_pass_reason reason;
	} cases[] = {
	    {"my.wait k", HC_PASS_BLOCKS},
	    {"BLPOP k 0", HC_PASS_BLOCKS},
	    {"XREAD BLOCK 0 STREAMS s 0", HC_PASS_BLOCKS},
	    {"XREAD COUNT 1 STREAMS s 0", HC_PASS_OK},
	    {"XREAD STREAMS block 0", HC_PASS_OK},
	    {"SETBIT k 0 1", HC_PASS_OK},
	};
	struct hc_catalog *catalog = filled();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct call *call = call_of(cases[i].line);
		const struct hc_remote_command *command = hc_catalog_find(catalog, call->argv, call->argc);
		must_msg(
		    hc_pass_refuses(command, call->argv, call->argc, true) == cases[i].reason, "%s", cases[i].line);
	}
	hc_catalog_destroy(catalog);
}
END_TEST

START_TEST(catalog_what_is_no_command_is_refused)
{
	static const char *const bad[] = {"$-1\r\n", "*0\r\n", "*-1\r\n", "+OK\r\n",
	    "*6\r\n$1\r\nx\r\n:1\r\n*0\r\n:1\r\n:1\r\n+1\r\n", "*6\r\n:1\r\n:1\r\n*0\r\n:1\r\n:1\r\n:1\r\n",
	    "*6\r\n$1\r\nx\r\n:1\r\n:0\r\n:1\r\n:1\r\n:1\r\n"};
	struct hc_catalog *catalog;

	must(hc_catalog_create(&catalog) == HC_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		must_msg(take(catalog, bad[i]) == HC_INVALID, "%s", bad[i]);
	hc_catalog_destroy(catalog);
}
END_TEST

START_TEST(catalog_names_stand_for_keys_only_when_that_is_certain)
{
	static const struct {
		const char *names, *line;
		enum hc_status status;
	} cases[] = {
	    {"*2\r\n$1\r\nl\r\n$1\r\nd\r\n", "SORT l STORE d", HC_OK},
	    {"*2\r\n$1\r\nl\r\n$1\r\nl\r\n", "SORT l STORE l", HC_OK},
	    {"*2\r\n$1\r\nl\r\n$1\r\n0\r\n", "SORT l LIMIT 0 1 STORE 0", HC_CONFLICT},
	    {"*1\r\n$1\r\nx\r\n", "SORT l", HC_CONFLICT},
	    {"*1\r\n:1\r\n", "SORT l", HC_INVALID},
	    {"+OK\r\n", "SORT l", HC_INVALID},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		redisReply *names = reply_of(cases[i].names);
		struct call *call = call_of(cases[i].line);
		must_msg(hc_remote_keys_named(names, call->argv, call->argc, call->marks) == cases[i].status, "%s",
		    cases[i].line);
		freeReplyObject(names);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("catalog");
	TCase *tcase = tcase_create("catalog");

	tcase_add_test(tcase, catalog_keys_are_where_the_specifications_say);
	tcase_add_test(tcase, catalog_flags_and_subcommands_are_told);
	tcase_add_test(tcase, catalog_what_blocks_is_not_passed);
	tcase_add_test(tcase, catalog_what_is_no_command_is_refused);
	tcase_add_test(tcase, catalog_names_stand_for_keys_only_when_that_is_certain);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
