/*
 * Tests of the event codec. Runs lie in memory of their own of exactly their size.
 */
#include <check.h>
#include <stdio.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "proto/event.h"

#define CAP 8

static char *
exact(struct hc_slice bytes)
{
	char *copy = malloc(bytes.len > 0 ? bytes.len : 1);

	if (bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	return copy;
}

static enum hc_event_result
decode(struct hc_slice run)
{
	struct hc_slice keys[CAP];
	struct hc_event event;
	size_t used;
	char *copy = exact(run);
	enum hc_event_result result = hc_event_decode(hc_slice(copy, run.len), keys, CAP, &event, &used);

	free(copy);
	return result;
}

static void
ck_event_eq(const struct hc_event *a, const struct hc_event *b)
{
	ck_assert_uint_eq(a->version, b->version);
	ck_assert_int_eq((int)a->type, (int)b->type);
	ck_assert(hc_slice_eq(a->instance, b->instance));
	ck_assert_uint_eq(a->seq, b->seq);
	ck_assert(hc_slice_eq(a->model, b->model));
	ck_assert_uint_eq(a->epoch, b->epoch);
	ck_assert_int_eq(a->time_ms, b->time_ms);
	ck_assert_uint_eq(a->nkeys, b->nkeys);
	for (size_t i = 0; i < a->nkeys; i++)
		ck_assert(hc_slice_eq(a->keys[i], b->keys[i]));
}

static struct hc_slice
encode(const struct hc_event *event)
{
	size_t size = hc_event_encode(NULL, 0, event);
	char *wire = malloc(size);

	ck_assert_uint_eq(hc_event_encode(wire, size, event), size);
	return hc_slice(wire, size);
}

static const struct hc_slice some_keys[] = {
    {"key", 3},
    {NULL, 0},
    {"a\0\r\n$3\r\nb", 9},
};

static const struct hc_event events[] = {
    {1, HC_EVENT_SET, {"i-1", 3}, 7, {"m", 1}, 3, 1700000000000, some_keys, 3},
    {1, HC_EVENT_DEL, {NULL, 0}, UINT64_MAX - 2, {NULL, 0}, 0, 0, some_keys, 3},
    {1, HC_EVENT_PASSED, {"i", 1}, 5, {"", 0}, 0, 1, some_keys, 2},
    {1, HC_EVENT_EXPIRE, {"i", 1}, 0, {"a/b:c@d", 7}, UINT64_MAX, INT64_MAX, some_keys, 1},
    {1, HC_EVENT_CLEAR_MODEL, {"i", 1}, 9, {"m\r\n\0", 4}, 10, -1, NULL, 0},
    {1, HC_EVENT_CLEAR_ALL, {"i", 1}, UINT64_MAX, {NULL, 0}, 0, INT64_MIN, NULL, 0},
    {1, HC_EVENT_SWEPT, {"i", 1}, 0, {NULL, 0}, 0, 0, some_keys, 2},
    {1, HC_EVENT_HEARTBEAT, {"i", 1}, UINT64_MAX, {NULL, 0}, 0, 5, some_keys, 2},
    {1, HC_EVENT_UNKNOWN, {"i", 1}, 1, {NULL, 0}, 0, 5, some_keys, 2},
};

#define EVENTS ((int)(sizeof(events) / sizeof(events[0])))

START_TEST(encode_known_event_spells_it_so)
{
	static const char want[] = "*10\r\n$1\r\n1\r\n$3\r\nset\r\n$3\r\ni-1\r\n$1\r\n7\r\n$1\r\nm\r\n$1\r\n3\r\n"
				   "$13\r\n1700000000000\r\n$3\r\nkey\r\n$0\r\n\r\n$9\r\na\0\r\n$3\r\nb\r\n";
	struct hc_slice wire = encode(&events[0]);

	ck_assert(hc_slice_eq(wire, HC_SLICE(want)));
	free((char *)wire.ptr);
}
END_TEST

START_TEST(event_round_trips)
{
	struct hc_slice wire = encode(&events[_i]);
	struct hc_slice keys[CAP];
	struct hc_event event;
	size_t used;

	ck_assert_int_eq(hc_event_decode(wire, keys, CAP, &event, &used), HC_EVENT_OK);
	ck_assert_uint_eq(used, wire.len);
	ck_event_eq(&event, &events[_i]);
	ck_assert_int_eq(hc_event_decode(hc_slice(wire.ptr + used, 0), keys, CAP, &event, &used), HC_EVENT_END);
	free((char *)wire.ptr);
}
END_TEST

START_TEST(event_truncated_anywhere_is_bad)
{
	struct hc_slice wire = encode(&events[_i]);

	ck_assert_int_eq(decode(hc_slice(wire.ptr, 0)), HC_EVENT_END);
	for (size_t len = 1; len < wire.len; len++)
		ck_assert_int_eq(decode(hc_slice(wire.ptr, len)), HC_EVENT_BAD);
	free((char *)wire.ptr);
}
END_TEST

START_TEST(encode_short_room_writes_nothing)
{
	size_t size = hc_event_encode(NULL, 0, &events[_i]);
	char *dst = malloc(size);

	memset(dst, '#', size);
	ck_assert_uint_eq(hc_event_encode(dst, size - 1, &events[_i]), size);
	for (size_t i = 0; i < size; i++)
		ck_assert_int_eq(dst[i], '#');
	free(dst);
}
END_TEST

/* Together they are the message. */
static void
check_joined(const struct hc_slice parts[], size_t n, struct hc_slice wire)
{
	size_t at = 0;

	for (size_t i = 0; i < n; at += parts[i++].len) {
		ck_assert_uint_le(at + parts[i].len, wire.len);
		ck_assert_mem_eq(wire.ptr + at, parts[i].ptr, parts[i].len);
	}
	ck_assert_uint_eq(at, wire.len);
}

START_TEST(cut_event_is_whole_with_its_numbers)
{
	struct hc_event numberless = events[_i];
	struct hc_event_pieces pieces;
	char seq[32], epoch[32], text[32];

	numberless.seq = 0;
	numberless.epoch = 0;
	struct hc_slice wire = encode(&events[_i]), without = encode(&numberless);
	hc_event_cut(without, &pieces);
	int digits = snprintf(text, sizeof(text), "%" PRIu64, events[_i].seq);
	int seq_len = snprintf(seq, sizeof(seq), "$%d\r\n%s\r\n", digits, text);
	digits = snprintf(text, sizeof(text), "%" PRIu64, events[_i].epoch);
	int epoch_len = snprintf(epoch, sizeof(epoch), "$%d\r\n%s\r\n", digits, text);
	const struct hc_slice parts[] = {pieces.before_seq, {seq, (size_t)seq_len}, pieces.before_epoch,
	    {epoch, (size_t)epoch_len}, pieces.after_epoch};
	check_joined(parts, 5, wire);
	free((char *)wire.ptr);
	free((char *)without.ptr);
}
END_TEST

START_TEST(event_cut_at_seq_is_whole_with_its_number)
{
	struct hc_event numberless = events[_i];
	struct hc_slice before, after;
	char seq[64], text[32];

	numberless.seq = 0;
	struct hc_slice wire = encode(&events[_i]), without = encode(&numberless);
	hc_event_cut_at_seq(without, &before, &after);
	int digits = snprintf(text, sizeof(text), "%" PRIu64, events[_i].seq);
	int seq_len = snprintf(seq, sizeof(seq), "%d\r\n%s", digits, text);
	const struct hc_slice parts[] = {before, {seq, (size_t)seq_len}, after};
	check_joined(parts, 3, wire);
	free((char *)wire.ptr);
	free((char *)without.ptr);
}
END_TEST

START_TEST(decode_more_keys_than_room_tells_how_many)
{
	struct hc_slice wire = encode(&events[0]);
	struct hc_slice keys[3];
	struct hc_event event = {.seq = 42};
	size_t used = 43;

	for (size_t cap = 0; cap < 3; cap++) {
		ck_assert_int_eq(hc_event_decode(wire, keys, cap, &event, &used), HC_EVENT_KEYS);
		ck_assert_uint_eq(event.nkeys, 3);
		ck_assert_uint_eq(event.seq, 42);
		ck_assert_uint_eq(used, 43);
	}
	ck_assert_int_eq(hc_event_decode(wire, keys, 3, &event, &used), HC_EVENT_OK);
	free((char *)wire.ptr);
}
END_TEST

START_TEST(events_end_to_end_decode_one_by_one)
{
	char run[2048];
	size_t len = 0, at = 0;

	for (int i = 0; i < EVENTS; i++)
		len += hc_event_encode(run + len, sizeof(run) - len, &events[i]);
	ck_assert_uint_le(len, sizeof(run));
	for (int i = 0; i < EVENTS; i++) {
		struct hc_slice keys[CAP];
		struct hc_event event;
		size_t used;
		ck_assert_int_eq(hc_event_decode(hc_slice(run + at, len - at), keys, CAP, &event, &used), HC_EVENT_OK);
		ck_event_eq(&event, &events[i]);
		at += used;
	}
	ck_assert_uint_eq(at, len);
}
END_TEST

#define HEAD "$1\r\n1\r\n$3\r\nset\r\n$1\r\ni\r\n"
#define TAIL "$1\r\n7\r\n$1\r\nm\r\n$1\r\n3\r\n$1\r\n5\r\n"

/* A v1 event of the given type, seq, epoch, time and one key. */
#define EVENT(type, seq, epoch, time) "*8\r\n$1\r\n1\r\n" type "$1\r\ni\r\n" seq "$1\r\nm\r\n" epoch time "$1\r\nk\r\n"
#define SEQ "$1\r\n7\r\n"
#define SET "$3\r\nset\r\n"

static const struct {
	const char *wire;
	enum hc_event_result result;
} spellings[] = {
    {EVENT(SET, SEQ, SEQ, SEQ), HC_EVENT_OK},
    {EVENT("$3\r\nSET\r\n", SEQ, SEQ, SEQ), HC_EVENT_OK}, /* unknown */
    {EVENT(SET, "$20\r\n18446744073709551615\r\n", SEQ, SEQ), HC_EVENT_OK},
    {EVENT(SET, "$20\r\n18446744073709551616\r\n", SEQ, SEQ), HC_EVENT_BAD},
    {EVENT(SET, "$20\r\n99999999999999999999\r\n", SEQ, SEQ), HC_EVENT_BAD},
    {EVENT(SET, "$21\r\n184467440737095516150\r\n", SEQ, SEQ), HC_EVENT_BAD},
    {EVENT(SET, "$2\r\n-1\r\n", SEQ, SEQ), HC_EVENT_BAD},
    {EVENT(SET, "$2\r\n07\r\n", SEQ, SEQ), HC_EVENT_BAD},
    {EVENT(SET, "$2\r\n+7\r\n", SEQ, SEQ), HC_EVENT_BAD},
    {EVENT(SET, "$2\r\n7 \r\n", SEQ, SEQ), HC_EVENT_BAD},
    {EVENT(SET, "$0\r\n\r\n", SEQ, SEQ), HC_EVENT_BAD},
    {EVENT(SET, SEQ, "$1\r\nx\r\n", SEQ), HC_EVENT_BAD},
    {EVENT(SET, SEQ, SEQ, "$19\r\n9223372036854775807\r\n"), HC_EVENT_OK},
    {EVENT(SET, SEQ, SEQ, "$19\r\n9223372036854775808\r\n"), HC_EVENT_BAD},
    {EVENT(SET, SEQ, SEQ, "$20\r\n-9223372036854775808\r\n"), HC_EVENT_OK},
    {EVENT(SET, SEQ, SEQ, "$20\r\n-9223372036854775809\r\n"), HC_EVENT_BAD},
    {EVENT(SET, SEQ, SEQ, "$2\r\n-0\r\n"), HC_EVENT_BAD},
    {EVENT(SET, SEQ, SEQ, "$1\r\n-\r\n"), HC_EVENT_BAD},
    {"*9\r\n" HEAD "$20\r\n18446744073709551615\r\n$0\r\n\r\n" SEQ SEQ "$1\r\na\r\n$1\r\nb\r\n", HC_EVENT_BAD},
    {"*7\r\n" HEAD TAIL, HC_EVENT_OK},
    {"*8\r\n" HEAD TAIL, HC_EVENT_BAD},
    {"*6\r\n" HEAD TAIL, HC_EVENT_BAD},
    {"*07\r\n" HEAD TAIL, HC_EVENT_BAD},
    {"*18446744073709551615\r\n" HEAD TAIL, HC_EVENT_BAD},
    {"*18446744073709551616\r\n" HEAD TAIL, HC_EVENT_BAD},
    {"*-1\r\n", HC_EVENT_BAD},
    {"*0\r\n", HC_EVENT_BAD},
    {"*\r\n", HC_EVENT_BAD},
    {"\r\n", HC_EVENT_BAD},
    {"PING\r\n", HC_EVENT_BAD},
    {"*1\r\n$-1\r\n", HC_EVENT_BAD},
    {"*1\r\n:1\r\n", HC_EVENT_BAD},
    {"*1\r\n$1\r\n1\r\n", HC_EVENT_BAD},
    {"*1\r\n$1\rx1\r\n", HC_EVENT_BAD},
    {"*1\r\n$1\r\n2\rx", HC_EVENT_BAD},
    {"*1\r\n$18446744073709551615\r\n2\r\n", HC_EVENT_BAD},
    {"*1\r\n$18446744073709551614\r\n2\r\n", HC_EVENT_BAD},
    {"*1\r\n$1\r\n2\r\n", HC_EVENT_OK}, /* a later version */
    {"*3\r\n$1\r\n2\r\n$3\r\nany\r\n$0\r\n\r\n", HC_EVENT_OK},
    {"*3\r\n$1\r\n2\r\n$3\r\nany\r\n", HC_EVENT_BAD},
    {"*1\r\n$10\r\n4294967295\r\n", HC_EVENT_OK},
    {"*1\r\n$10\r\n4294967296\r\n", HC_EVENT_BAD},
    {"*1\r\n$1\r\nx\r\n", HC_EVENT_BAD},
};

START_TEST(decode_spelling_is_judged)
{
	enum hc_event_result result = decode(hc_slice_str(spellings[_i].wire));

	ck_assert_msg(result == spellings[_i].result, "%s: %d", spellings[_i].wire, result);
}
END_TEST

START_TEST(decode_unknown_version_and_type_are_skipped)
{
	static const char run[] = "*3\r\n$1\r\n2\r\n$3\r\nset\r\n$0\r\n\r\n" EVENT("$4\r\nmove\r\n", SEQ, SEQ, SEQ);
	struct hc_slice keys[CAP];
	struct hc_event event;
	size_t used;

	ck_assert_int_eq(hc_event_decode(HC_SLICE(run), keys, CAP, &event, &used), HC_EVENT_OK);
	ck_assert_uint_eq(event.version, 2);
	ck_assert_int_eq((int)event.type, HC_EVENT_UNKNOWN);
	ck_assert_uint_eq(event.nkeys, 0);
	ck_assert_uint_eq(used, 26);
	struct hc_slice rest = hc_slice(run + used, sizeof(run) - 1 - used);
	ck_assert_int_eq(hc_event_decode(rest, keys, CAP, &event, &used), HC_EVENT_OK);
	ck_assert_int_eq((int)event.type, HC_EVENT_UNKNOWN);
	ck_assert_uint_eq(event.seq, 7);
	ck_assert_uint_eq(used, rest.len);
}
END_TEST

/* Encodes by hand what the encoder would refuse: names of any length. */
static enum hc_event_result
decode_names(size_t instance_len, size_t model_len)
{
	char name[512], run[2048];

	memset(name, 'n', sizeof(name));
	int len = snprintf(run, sizeof(run),
	    "*7\r\n$1\r\n1\r\n$3\r\nset\r\n$%zu\r\n%.*s\r\n$1\r\n7\r\n$%zu\r\n%.*s\r\n$1\r\n3\r\n$1\r\n5\r\n",
	    instance_len, (int)instance_len, name, model_len, (int)model_len, name);
	return decode(hc_slice(run, (size_t)len));
}

START_TEST(decode_names_over_their_bounds_are_bad)
{
	ck_assert_int_eq(decode_names(HC_EVENT_MAX_INSTANCE - 1, HC_EVENT_MAX_MODEL - 1), HC_EVENT_OK);
	ck_assert_int_eq(decode_names(HC_EVENT_MAX_INSTANCE, HC_EVENT_MAX_MODEL), HC_EVENT_OK);
	ck_assert_int_eq(decode_names(HC_EVENT_MAX_INSTANCE + 1, 0), HC_EVENT_BAD);
	ck_assert_int_eq(decode_names(0, HC_EVENT_MAX_MODEL + 1), HC_EVENT_BAD);
}
END_TEST

START_TEST(type_names_are_fixed)
{
	ck_assert_str_eq(hc_event_type_name(HC_EVENT_SET), "set");
	ck_assert_str_eq(hc_event_type_name(HC_EVENT_DEL), "del");
	ck_assert_str_eq(hc_event_type_name(HC_EVENT_EXPIRE), "expire");
	ck_assert_str_eq(hc_event_type_name(HC_EVENT_PASSED), "passed");
	ck_assert_str_eq(hc_event_type_name(HC_EVENT_CLEAR_MODEL), "clear-model");
	ck_assert_str_eq(hc_event_type_name(HC_EVENT_CLEAR_ALL), "clear-all");
	ck_assert_str_eq(hc_event_type_name(HC_EVENT_HEARTBEAT), "heartbeat");
	ck_assert_str_eq(hc_event_type_name(HC_EVENT_UNKNOWN), "unknown");
}
END_TEST

static struct hc_slice
random_bytes(char *buf, size_t most)
{
	size_t len = (size_t)random() % (most + 1);

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(random() % 4 ? random() : "\r\n$*"[random() % 4]);
	return hc_slice(buf, len);
}

static uint64_t
random_u64(void)
{
	return ((uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^ (uint64_t)random()) >> (1 + random() % 63);
}

START_TEST(random_events_round_trip)
{
	static char instance[HC_EVENT_MAX_INSTANCE], model[HC_EVENT_MAX_MODEL], bytes[CAP][300];
	unsigned seed = (unsigned)time(NULL);

	printf("seed %u\n", seed);
	srandom(seed);
	for (int round = 0; round < 2000; round++) {
		struct hc_slice keys[CAP], out_keys[CAP];
		size_t nkeys = (size_t)random() % (CAP + 1), used;
		for (size_t i = 0; i < nkeys; i++)
			keys[i] = random_bytes(bytes[i], sizeof(bytes[i]));
		struct hc_event out, event = {
					 .version = HC_EVENT_VERSION,
					 .type = (enum hc_event_type)(random() % (HC_EVENT_UNKNOWN + 1)),
					 .instance = random_bytes(instance, sizeof(instance)),
					 .seq = random_u64(),
					 .model = random_bytes(model, sizeof(model)),
					 .epoch = random_u64(),
					 .time_ms = (int64_t)random_u64() * (random() % 2 ? 1 : -1),
					 .keys = keys,
					 .nkeys = nkeys,
				     };
		struct hc_slice wire = encode(&event);
		ck_assert_int_eq(hc_event_decode(wire, out_keys, CAP, &out, &used), HC_EVENT_OK);
		ck_assert_uint_eq(used, wire.len);
		ck_event_eq(&out, &event);
		free((char *)wire.ptr);
	}
}
END_TEST

static Suite *
event_suite(void)
{
	Suite *suite = suite_create("event");
	TCase *tcase = tcase_create("all");

	tcase_add_test(tcase, encode_known_event_spells_it_so);
	tcase_add_loop_test(tcase, event_round_trips, 0, EVENTS);
	tcase_add_loop_test(tcase, event_truncated_anywhere_is_bad, 0, EVENTS);
	tcase_add_loop_test(tcase, encode_short_room_writes_nothing, 0, EVENTS);
	tcase_add_loop_test(tcase, cut_event_is_whole_with_its_numbers, 0, EVENTS);
	tcase_add_loop_test(tcase, event_cut_at_seq_is_whole_with_its_number, 0, EVENTS);
	tcase_add_test(tcase, decode_more_keys_than_room_tells_how_many);
	tcase_add_test(tcase, events_end_to_end_decode_one_by_one);
	tcase_add_loop_test(tcase, decode_spelling_is_judged, 0, (int)(sizeof(spellings) / sizeof(spellings[0])));
	tcase_add_test(tcase, decode_unknown_version_and_type_are_skipped);
	tcase_add_test(tcase, decode_names_over_their_bounds_are_bad);
	tcase_add_test(tcase, type_names_are_fixed);
	tcase_add_test(tcase, random_events_round_trip);
	suite_add_tcase(suite, tcase);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(event_suite());

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
