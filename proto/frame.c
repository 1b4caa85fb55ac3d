/*
 * The codec of frames. Pure functions, for any thread; they own nothing. Bytes are put together one
 * by one, so neither the machine's byte order nor the value's alignment matters.
 */
#include "proto/frame.h"

#include <assert.h>

/* Offsets of the fixed part. */
enum {
	AT_VERSION = HC_FRAME_MAGIC_LEN,
	AT_CODEC = 5,
	AT_MODEL_LEN = 6,
	AT_SEQ = 8,
	AT_INCARNATION = 16,
	AT_EPOCH = 20,
	AT_RAW_LEN = 24,
	AT_CHECKSUM = 28,
};

#define CODEC_NONE 0

static void
put_le(char *dst, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		dst[i] = (char)(unsigned char)(value >> (8 * i));
}

static uint64_t
get_le(const char *src, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes; i++)
		value |= (uint64_t)(unsigned char)src[i] << (8 * i);
	return value;
}

bool
hc_frame_looks_framed(struct hc_slice value)
{
	return value.len >= HC_FRAME_MAGIC_LEN && memcmp(value.ptr, HC_FRAME_MAGIC, HC_FRAME_MAGIC_LEN) == 0;
}

size_t
hc_frame_encode_head(char *dst, const struct hc_frame *frame)
{
	assert(frame->model.len <= HC_FRAME_MAX_MODEL);
	memcpy(dst, HC_FRAME_MAGIC, HC_FRAME_MAGIC_LEN);
	put_le(dst + AT_VERSION, HC_FRAME_VERSION, 1);
	put_le(dst + AT_CODEC, frame->codec, 1);
	put_le(dst + AT_MODEL_LEN, frame->model.len, 2);
	put_le(dst + AT_SEQ, frame->seq, 8);
	put_le(dst + AT_INCARNATION, frame->incarnation, 4);
	put_le(dst + AT_EPOCH, frame->epoch, 4);
	put_le(dst + AT_RAW_LEN, frame->raw_len, 4);
	put_le(dst + AT_CHECKSUM, frame->checksum, 4);
	if (frame->model.len > 0) /* an empty slice may point nowhere */
		memcpy(dst + HC_FRAME_HEAD, frame->model.ptr, frame->model.len);
	return HC_FRAME_HEAD + frame->model.len;
}

/* Reads the fixed part; `*model_len` is within its bound. */
static enum hc_frame_result
read_head(struct hc_slice head, struct hc_frame *frame, size_t *model_len)
{
	if (!hc_frame_looks_framed(head))
		return HC_FRAME_RAW;
	if (head.len < HC_FRAME_HEAD || get_le(head.ptr + AT_VERSION, 1) != HC_FRAME_VERSION)
		return HC_FRAME_BAD;
	*model_len = (size_t)get_le(head.ptr + AT_MODEL_LEN, 2);
	if (*model_len > HC_FRAME_MAX_MODEL)
		return HC_FRAME_BAD;
	*frame = (struct hc_frame){
	    .codec = (uint8_t)get_le(head.ptr + AT_CODEC, 1),
	    .seq = get_le(head.ptr + AT_SEQ, 8),
	    .incarnation = (uint32_t)get_le(head.ptr + AT_INCARNATION, 4),
	    .epoch = (uint32_t)get_le(head.ptr + AT_EPOCH, 4),
	    .raw_len = (uint32_t)get_le(head.ptr + AT_RAW_LEN, 4),
	    .checksum = (uint32_t)get_le(head.ptr + AT_CHECKSUM, 4),
	};
	return HC_FRAME_OK;
}

enum hc_frame_result
hc_frame_decode_head(struct hc_slice head, struct hc_frame *out)
{
	struct hc_frame frame;
	size_t model_len;

	enum hc_frame_result read = read_head(head, &frame, &model_len);
	if (read == HC_FRAME_OK)
		*out = frame;
	return read;
}

enum hc_frame_result
hc_frame_decode(struct hc_slice stored, struct hc_frame *out)
{
	struct hc_frame frame;
	size_t model_len;

	enum hc_frame_result read = read_head(stored, &frame, &model_len);
	if (read != HC_FRAME_OK)
		return read;
	size_t left = stored.len - HC_FRAME_HEAD;
	if (model_len > left)
		return HC_FRAME_BAD;
	frame.model = hc_slice(stored.ptr + HC_FRAME_HEAD, model_len);
	frame.payload = hc_slice(stored.ptr + HC_FRAME_HEAD + model_len, left - model_len);
	if (frame.codec == CODEC_NONE && frame.raw_len != frame.payload.len)
		return HC_FRAME_BAD;
	*out = frame;
	return HC_FRAME_OK;
}
