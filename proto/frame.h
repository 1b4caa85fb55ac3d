/*
 * Frames: the header in front of an upstream value that has metadata to carry. Little-endian, 32 bytes, then
 * the model's name, then the payload:
 *
 *     0  magic        4  F5 68 63 01          (F5 cannot begin UTF-8 text)
 *     4  version      1  1
 *     5  codec        1  of the payload: 0 none
 *     6  model_len    2  bytes of the model's name, 0 stands for `default`
 *     8  seq          8  the write's number at its upstream node
 *    16  incarnation  4  which life of the upstream numbered it
 *    20  epoch        4  the model's epoch at the write
 *    24  raw_len      4  bytes of the value before the codec
 *    28  checksum     4  of the payload as stored (the caller computes and compares it); 0: whoever stored it could
 *                       not compute it
 *    32  model name, payload
 *
 * The fixed part alone tells whether a copy is current: 32 bytes to fetch instead of the value.
 */
#ifndef HC_PROTO_FRAME_H
#define HC_PROTO_FRAME_H

#include <stdint.h>
#include "proto/slice.h"

#define HC_FRAME_MAGIC "\xF5hc\x01"
#define HC_FRAME_MAGIC_LEN 4
#define HC_FRAME_VERSION 1
#define HC_FRAME_HEAD 32       /* bytes of the fixed part */
#define HC_FRAME_MAX_MODEL 255 /* bytes */

struct hc_frame {
	uint8_t codec;
	uint64_t seq;
	uint32_t incarnation;
	uint32_t epoch;
	uint32_t raw_len;
	uint32_t checksum;
	struct hc_slice model;
	struct hc_slice payload;
};

enum hc_frame_result {
	HC_FRAME_OK,
	HC_FRAME_RAW, /* does not begin with the magic: a raw value */
	HC_FRAME_BAD, /* begins with it, but is truncated, of an unknown version, or contradicts itself */
};

/* Writes the fixed part and the model's name (not the payload): HC_FRAME_HEAD + model.len bytes, returned. */
size_t hc_frame_encode_head(char *dst, const struct hc_frame *frame);

/* Decodes a whole stored value. Slices point into `stored`. */
enum hc_frame_result hc_frame_decode(struct hc_slice stored, struct hc_frame *out);

/* Decodes the fixed part alone (the first HC_FRAME_HEAD bytes of a value); model and payload come back empty. */
enum hc_frame_result hc_frame_decode_head(struct hc_slice head, struct hc_frame *out);

/* True when `value`, stored raw, would be taken for a frame. */
bool hc_frame_looks_framed(struct hc_slice value);

#endif
