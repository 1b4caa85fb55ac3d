/*
 * What is on the disk, byte by byte: docs/file-format.md. All numbers are little-endian. Encoding and decoding in the
 * caller's memory; no I/O. Any thread.
 *
 * A position is where a record begins: the number of its segment, and the offset in it.
 */
#ifndef HC_FILE_FORMAT_H
#define HC_FILE_FORMAT_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/status.h"
#include "proto/slice.h"

#define HC_FORMAT_VERSION 1u

#define HC_OFFSET_BITS 26
#define HC_RECORD_ALIGN 16u
#define HC_RECORD_HEAD 24u  /* of every record */
#define HC_VALUE_HEAD 48u   /* of a VALUE: key and value follow */
#define HC_DELETE_BYTES 32u /* a whole DELETE, CLEAR_… */
#define HC_EXPIRE_BYTES 40u
#define HC_GROUP_HEAD 32u /* of a GROUP: the name follows */
#define HC_STATE_HEAD 32u /* of a STATE: opaque bytes and epochs follow */
#define HC_STATE_EPOCH 6u /* for each model, before its name */
#define HC_SEGMENT_HEAD 64u
#define HC_ENTRY_BYTES 20u /* of an entry of an index file */
#define HC_INDEX_HEAD 64u
#define HC_DICT_HEAD 6u /* of a group in an index file: the name follows */
#define HC_SECRET_BYTES 192u
#define HC_TIER_BYTES 512u

/* Types of records; the first five are the caller's hc_file_type. */
enum hc_record_type {
	HC_RECORD_VALUE = 1,
	HC_RECORD_DELETE,
	HC_RECORD_EXPIRE,
	HC_RECORD_CLEAR_MODEL,
	HC_RECORD_CLEAR_ALL,
	HC_RECORD_GROUP, /* from here on in this segment, that number is a model and an epoch */
	HC_RECORD_STATE, /* epochs of all models that have one, the caller's own state */
	HC_RECORD_TYPES,
};

struct hc_record {
	enum hc_record_type type;
	uint8_t hits;
	uint16_t group;
	uint32_t length; /* without padding */
	uint64_t position;
	int64_t expire_ms; /* VALUE, EXPIRE */
	uint64_t version;
	uint32_t created_s;
	uint64_t hash;        /* DELETE, EXPIRE */
	uint32_t epoch;       /* GROUP */
	struct hc_slice key;  /* VALUE; GROUP: the model's name; STATE: the opaque bytes */
	struct hc_slice body; /* VALUE: the value; STATE: the epochs, for hc_state_next() */
};

static inline uint64_t
hc_position(uint64_t seq, uint32_t offset)
{
	return seq << HC_OFFSET_BITS | offset;
}

static inline uint64_t
hc_position_seq(uint64_t position)
{
	return position >> HC_OFFSET_BITS;
}

static inline uint32_t
hc_position_offset(uint64_t position)
{
	return (uint32_t)position & ((1u << HC_OFFSET_BITS) - 1);
}

static inline uint32_t
hc_padded(uint32_t length)
{
	return (length + HC_RECORD_ALIGN - 1) & ~(HC_RECORD_ALIGN - 1);
}

static inline uint64_t
hc_get64(const void *at)
{
	uint64_t n;

	memcpy(&n, at, sizeof(n));
	return le64toh(n);
}

static inline uint32_t
hc_get32(const void *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof(n));
	return le32toh(n);
}

static inline uint16_t
hc_get16(const void *at)
{
	uint16_t n;

	memcpy(&n, at, sizeof(n));
	return le16toh(n);
}

static inline void
hc_put64(void *at, uint64_t n)
{
	n = htole64(n);
	memcpy(at, &n, sizeof(n));
}

static inline void
hc_put32(void *at, uint32_t n)
{
	n = htole32(n);
	memcpy(at, &n, sizeof(n));
}

static inline void
hc_put16(void *at, uint16_t n)
{
	n = htole16(n);
	memcpy(at, &n, sizeof(n));
}

/* ---- hashes ---- */

/* The hash of a key, by which all know it. */
uint64_t hc_key_hash(const uint8_t *secret, struct hc_slice key);

/* ---- records ---- */

/*
 * The head of the record, and what belongs to it before key and body: at most HC_VALUE_HEAD bytes. Returns how many.
 * The checksum covers key and body too, but not what `length` may have beyond them (a STATE's room to spare).
 */
uint32_t hc_record_encode(const uint8_t *secret, const struct hc_record *record, uint8_t *head);

/*
 * The record that begins at `ptr` and is said to be at `position`. HC_OK; HC_PENDING: it is longer than `len`, and
 * out->length is how long it would be (no more than `max`); HC_INVALID: it is none, or damaged. Slices point into
 * the buffer.
 */
enum hc_status hc_record_decode(
    const uint8_t *secret, const uint8_t *ptr, size_t len, size_t max, uint64_t position, struct hc_record *out);

/* The next of a STATE's epochs; *left is its body to begin with. False: that was all. */
bool hc_state_next(struct hc_slice *left, struct hc_slice *name, uint32_t *epoch);
/* Writes one; returns its length, 0 when it does not fit. */
size_t hc_state_put(uint8_t *at, size_t room, struct hc_slice name, uint32_t epoch);

/* ---- segments ---- */

struct hc_segment_head {
	uint64_t seq;
	uint64_t created_ms;
	uint32_t segment_bytes;
};

void hc_segment_encode(const uint8_t *secret, const struct hc_segment_head *head, uint8_t *at);
/* HC_OK; HC_INVALID: damaged. */
enum hc_status hc_segment_decode(const uint8_t *secret, const uint8_t *at, struct hc_segment_head *out);
/* True: the head of a file of ours (segment, index, tier) that is of a newer format. */
bool hc_format_is_newer(const uint8_t *at);

/* ---- index files ---- */

struct hc_entry_line {
	uint64_t hash;
	int64_t expire_ms;
	uint16_t group;
	uint32_t offset;
	enum hc_record_type type;
};

void hc_line_encode(const struct hc_entry_line *line, uint8_t *at);
void hc_line_decode(const uint8_t *at, struct hc_entry_line *out);

struct hc_index_head {
	uint64_t seq;
	uint32_t lines;
	uint32_t groups;
	uint32_t group_bytes;
	uint32_t end; /* where the segment's records end */
};

/* The head, with the checksum of it and of the body that follows. */
void hc_index_encode(
    const uint8_t *secret, const struct hc_index_head *head, const struct hc_slice *body, int n, uint8_t *at);
/* Checks head and lengths, and the checksum over all of it. */
enum hc_status hc_index_decode(const uint8_t *secret, const uint8_t *ptr, size_t len, struct hc_index_head *out);

/* ---- the tier file ---- */

struct hc_tier {
	bool trusted;
	uint64_t next_seq;
	uint8_t secret[HC_SECRET_BYTES];
};

void hc_tier_encode(const struct hc_tier *tier, uint8_t *at);
enum hc_status hc_tier_decode(const uint8_t *at, struct hc_tier *out);

#endif
