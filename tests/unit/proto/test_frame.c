/*
 * Tests of the frame codec. Values lie in memory of their own of exactly their size.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "proto/frame.h"

/* The layout of frame.h, written by hand: model "mod", payload "payload". */
static const char known[] = HC_FRAME_MAGIC "\x01"
					   "\x00"
					   "\x03\x00"
					   "\x08\x07\x06\x05\x04\x03\x02\x01"
					   "\x14\x13\x12\x11"
					   "\x24\x23\x22\x21"
					   "\x07\x00\x00\x00"
					   "\x44\x43\x42\xf1"
					   "mod"
					   "payload";

#define KNOWN_LEN (sizeof(known) - 1)

static const struct hc_frame known_frame = {
    .codec = 0,
    .seq = 0x0102030405060708,
    .incarnation = 0x11121314,
    .epoch = 0x21222324,
    .raw_len = 7,
    .checksum = 0xf1424344,
    .model = {"mod", 3},
    .payload = {"payload", 7},
};

static enum hc_frame_result
decode(struct hc_slice stored, struct hc_frame *out, bool head_only)
{
	char *copy = malloc(stored.len > 0 ? stored.len : 1);
	struct hc_slice exact = hc_slice(copy, stored.len);

	memcpy(copy, stored.ptr, stored.len);
	enum hc_frame_result result = head_only ? hc_frame_decode_head(exact, out) : hc_frame_decode(exact, out);
	free(copy);
	return result;
}

static void
ck_numbers_eq(const struct hc_frame *a, const struct hc_frame *b)
{
	ck_assert_uint_eq(a->codec, b->codec);
	ck_assert_uint_eq(a->seq, b->seq);
	ck_assert_uint_eq(a->incarnation, b->incarnation);
	ck_assert_uint_eq(a->epoch, b->epoch);
	ck_assert_uint_eq(a->raw_len, b->raw_len);
	ck_assert_uint_eq(a->checksum, b->checksum);
}

START_TEST(encode_known_frame_has_the_layout)
{
	char dst[HC_FRAME_HEAD + 3];

	ck_assert_uint_eq(hc_frame_encode_head(dst, &known_frame), sizeof(dst));
	ck_assert(memcmp(dst, known, sizeof(dst)) == 0);
}
END_TEST

START_TEST(decode_known_frame_gives_its_fields)
{
	struct hc_frame out;

	ck_assert_int_eq(hc_frame_decode(hc_slice(known, KNOWN_LEN), &out), HC_FRAME_OK);
	ck_numbers_eq(&out, &known_frame);
	ck_assert(hc_slice_eq(out.model, known_frame.model));
	ck_assert(hc_slice_eq(out.payload, known_frame.payload));
	ck_assert_ptr_eq(out.model.ptr, known + HC_FRAME_HEAD);
}
END_TEST

START_TEST(decode_head_of_known_frame_gives_its_numbers)
{
	struct hc_frame out;

	for (size_t len = HC_FRAME_HEAD; len <= KNOWN_LEN; len++) {
		ck_assert_int_eq(decode(hc_slice(known, len), &out, true), HC_FRAME_OK);
		ck_numbers_eq(&out, &known_frame);
		ck_assert_uint_eq(out.model.len, 0);
		ck_assert_uint_eq(out.payload.len, 0);
	}
}
END_TEST

START_TEST(decode_truncated_is_raw_or_bad)
{
	struct hc_frame out = {.seq = 42};

	for (size_t len = 0; len < KNOWN_LEN; len++) {
		enum hc_frame_result want = len < HC_FRAME_MAGIC_LEN ? HC_FRAME_RAW : HC_FRAME_BAD;
		ck_assert_int_eq(decode(hc_slice(known, len), &out, false), want);
		if (len < HC_FRAME_HEAD)
			ck_assert_int_eq(decode(hc_slice(known, len), &out, true), want);
		ck_assert(hc_frame_looks_framed(hc_slice(known, len)) == (want == HC_FRAME_BAD));
	}
	if (out.seq != 42)
		ck_abort_msg("written without success");
}
END_TEST

/* One byte changed: what is decoded then, whole and head alone. */
static const struct {
	size_t at;
	char byte;
	enum hc_frame_result whole, head;
} changes[] = {
    {0, '\xf4', HC_FRAME_RAW, HC_FRAME_RAW},
    {1, 'H', HC_FRAME_RAW, HC_FRAME_RAW},
    {2, 'C', HC_FRAME_RAW, HC_FRAME_RAW},
    {3, '\x02', HC_FRAME_RAW, HC_FRAME_RAW},
    {4, '\x00', HC_FRAME_BAD, HC_FRAME_BAD}, /* version */
    {4, '\x02', HC_FRAME_BAD, HC_FRAME_BAD},
    {5, '\x01', HC_FRAME_OK, HC_FRAME_OK},   /* a codec: its raw length may differ */
    {6, '\x0a', HC_FRAME_BAD, HC_FRAME_OK},  /* model takes all */
    {6, '\x0b', HC_FRAME_BAD, HC_FRAME_OK},  /* model longer than the rest */
    {7, '\x01', HC_FRAME_BAD, HC_FRAME_BAD}, /* model longer than any */
    {7, '\xff', HC_FRAME_BAD, HC_FRAME_BAD},
    {24, '\x06', HC_FRAME_BAD, HC_FRAME_OK}, /* raw length */
    {24, '\x08', HC_FRAME_BAD, HC_FRAME_OK},
    {27, '\xff', HC_FRAME_BAD, HC_FRAME_OK},
    {28, '\x00', HC_FRAME_OK, HC_FRAME_OK}, /* the checksum is the caller's */
    {38, '\x00', HC_FRAME_OK, HC_FRAME_OK},
};

START_TEST(decode_changed_byte_is_judged)
{
	char stored[KNOWN_LEN];
	struct hc_frame out;

	memcpy(stored, known, sizeof(stored));
	stored[changes[_i].at] = changes[_i].byte;
	ck_assert_int_eq(decode(hc_slice(stored, sizeof(stored)), &out, false), changes[_i].whole);
	ck_assert_int_eq(decode(hc_slice(stored, HC_FRAME_HEAD), &out, true), changes[_i].head);
}
END_TEST

START_TEST(decode_compressed_raw_length_is_free)
{
	char stored[KNOWN_LEN];
	struct hc_frame out;

	memcpy(stored, known, sizeof(stored));
	stored[5] = 1;
	memset(stored + 24, 0xff, 4);
	ck_assert_int_eq(decode(hc_slice(stored, sizeof(stored)), &out, false), HC_FRAME_OK);
	ck_assert_uint_eq(out.raw_len, UINT32_MAX);
	stored[6] = 11; /* but the model still has to fit */
	ck_assert_int_eq(decode(hc_slice(stored, sizeof(stored)), &out, false), HC_FRAME_BAD);
}
END_TEST

/* A whole stored value: head, model, payload. */
static struct hc_slice
store(const struct hc_frame *frame)
{
	size_t size = HC_FRAME_HEAD + frame->model.len + frame->payload.len;
	char *stored = malloc(size);
	size_t head = hc_frame_encode_head(stored, frame);

	ck_assert_uint_eq(head, HC_FRAME_HEAD + frame->model.len);
	if (frame->payload.len > 0)
		memcpy(stored + head, frame->payload.ptr, frame->payload.len);
	return hc_slice(stored, size);
}

START_TEST(model_at_its_bounds_round_trips)
{
	static const size_t lens[] = {0, 1, HC_FRAME_MAX_MODEL - 1, HC_FRAME_MAX_MODEL};
	char model[HC_FRAME_MAX_MODEL];
	struct hc_frame out;

	memset(model, 'm', sizeof(model));
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct hc_frame frame = {.model = hc_slice(lens[i] ? model : NULL, lens[i])};
		struct hc_slice stored = store(&frame);
		ck_assert_int_eq(hc_frame_decode(stored, &out), HC_FRAME_OK);
		ck_assert(hc_slice_eq(out.model, frame.model));
		ck_assert_uint_eq(out.payload.len, 0);
		free((char *)stored.ptr);
	}
}
END_TEST

START_TEST(looks_framed_tells_values_that_need_a_frame)
{
	ck_assert(hc_frame_looks_framed(HC_SLICE(HC_FRAME_MAGIC)));
	ck_assert(hc_frame_looks_framed(HC_SLICE(HC_FRAME_MAGIC "anything")));
	ck_assert(!hc_frame_looks_framed(HC_SLICE("\xF5hc")));
	ck_assert(!hc_frame_looks_framed(HC_SLICE(" " HC_FRAME_MAGIC)));
	ck_assert(!hc_frame_looks_framed((struct hc_slice){0}));
}
END_TEST

static uint32_t
random_u32(void)
{
	return (uint32_t)random() << 16 ^ (uint32_t)random();
}

START_TEST(random_frames_round_trip)
{
	static char model[HC_FRAME_MAX_MODEL], payload[1000];
	unsigned seed = (unsigned)time(NULL);

	printf("seed %u\n", seed);
	srandom(seed);
	for (int round = 0; round < 5000; round++) {
		for (size_t i = 0; i < sizeof(payload); i++)
			payload[i] = (char)random();
		memcpy(model, payload, sizeof(model));
		struct hc_frame out, frame = {
					 .codec = (uint8_t)(random() % 4),
					 .seq = (uint64_t)random_u32() << 32 | random_u32(),
					 .incarnation = random_u32(),
					 .epoch = random_u32(),
					 .raw_len = random_u32(),
					 .checksum = random_u32(),
					 .model = hc_slice(model, (size_t)random() % (sizeof(model) + 1)),
					 .payload = hc_slice(payload, (size_t)random() % (sizeof(payload) + 1)),
				     };
		if (frame.codec == 0)
			frame.raw_len = (uint32_t)frame.payload.len;
		struct hc_slice stored = store(&frame);
		ck_assert_int_eq(hc_frame_decode(stored, &out), HC_FRAME_OK);
		ck_numbers_eq(&out, &frame);
		ck_assert(hc_slice_eq(out.model, frame.model));
		ck_assert(hc_slice_eq(out.payload, frame.payload));
		free((char *)stored.ptr);
	}
}
END_TEST

static Suite *
frame_suite(void)
{
	Suite *suite = suite_create("frame");
	TCase *tcase = tcase_create("all");

	tcase_add_test(tcase, encode_known_frame_has_the_layout);
	tcase_add_test(tcase, decode_known_frame_gives_its_fields);
	tcase_add_test(tcase, decode_head_of_known_frame_gives_its_numbers);
	tcase_add_test(tcase, decode_truncated_is_raw_or_bad);
	tcase_add_loop_test(tcase, decode_changed_byte_is_judged, 0, (int)(sizeof(changes) / sizeof(changes[0])));
	tcase_add_test(tcase, decode_compressed_raw_length_is_free);
	tcase_add_test(tcase, model_at_its_bounds_round_trips);
	tcase_add_test(tcase, looks_framed_tells_values_that_need_a_frame);
	tcase_add_test(tcase, random_frames_round_trip);
	suite_add_tcase(suite, tcase);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(frame_suite());

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
