/*
 * Fuzz target of the frame codec: the input is a value as the upstream stores it. A frame's parts make up the
 * value, encoding them again gives the same bytes, and the head alone tells the same numbers.
 */
#include "proto/frame.h"
#include "tests/fuzz/fuzz.h"

static void
check_same_numbers(const struct hc_frame *a, const struct hc_frame *b)
{
	FUZZ_CHECK(a->codec == b->codec && a->seq == b->seq && a->incarnation == b->incarnation);
	FUZZ_CHECK(a->epoch == b->epoch && a->raw_len == b->raw_len && a->checksum == b->checksum);
}

static void
check_frame(const struct hc_frame *frame, struct hc_slice stored)
{
	char head[HC_FRAME_HEAD + HC_FRAME_MAX_MODEL];
	size_t len = hc_frame_encode_head(head, frame);

	FUZZ_CHECK(fuzz_inside(frame->model, stored) && fuzz_inside(frame->payload, stored));
	FUZZ_CHECK(len + frame->payload.len == stored.len);
	FUZZ_CHECK(memcmp(head, stored.ptr, len) == 0);
	FUZZ_CHECK(frame->payload.ptr == stored.ptr + len);
	FUZZ_CHECK(frame->codec != 0 || frame->raw_len == frame->payload.len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = fuzz_copy(hc_slice((const char *)data, size));
	struct hc_slice stored = hc_slice(copy, size);
	size_t head_len = size < HC_FRAME_HEAD ? size : HC_FRAME_HEAD;
	char *head_copy = fuzz_copy(hc_slice(copy, head_len));
	struct hc_frame frame, head;

	enum hc_frame_result whole = hc_frame_decode(stored, &frame);
	enum hc_frame_result first = hc_frame_decode_head(hc_slice(head_copy, head_len), &head);
	FUZZ_CHECK((whole == HC_FRAME_RAW) == !hc_frame_looks_framed(stored));
	FUZZ_CHECK((first == HC_FRAME_RAW) == (whole == HC_FRAME_RAW));
	if (whole == HC_FRAME_OK) {
		FUZZ_CHECK(first == HC_FRAME_OK);
		check_same_numbers(&frame, &head);
		check_frame(&frame, stored);
	}
	if (first == HC_FRAME_OK)
		FUZZ_CHECK(head.model.len == 0 && head.payload.len == 0);
	free(copy);
	free(head_copy);
	return 0;
}
