/*
 * Encoding and decoding of what is on the disk. Any thread; owns nothing.
 *
 * Checksums are keyed with the directory's secret: bytes of a value cannot pass for a record when a damaged segment
 * is searched for the next one.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "base/clock.h"
#include "file/format.h"

#define MAGIC 0xa7
#define NEVER UINT64_MAX

static const char segment_magic[8] = "harcaLOG", index_magic[8] = "harcaIDX", tier_magic[8] = "harcaDIR";

uint64_t
hc_key_hash(const uint8_t *secret, struct hc_slice key)
{
	return XXH3_64bits_withSecret(key.ptr, key.len, secret, HC_SECRET_BYTES);
}

static uint64_t
keyed(const uint8_t *secret, const void *ptr, size_t len)
{
	return XXH3_64bits_withSecret(ptr, len, secret, HC_SECRET_BYTES);
}

/* ---- records ---- */

/*
 *  0 magic  1 type  2 hits  3 zero  4 checksum u32  8 length u32  12 group u16  14 zero u16  16 position u64
 * 24 VALUE        expire u64, version u64, created u32, key length u32
 *    DELETE       hash u64
 *    EXPIRE       hash u64, expire u64
 *    GROUP        epoch u32, name's length u32
 *    STATE        opaque length u32, epochs' length u32
 */
static uint32_t
head_length(enum hc_record_type type)
{
	static const uint8_t lengths[HC_RECORD_TYPES] = {
	    [HC_RECORD_VALUE] = HC_VALUE_HEAD,
	    [HC_RECORD_DELETE] = HC_DELETE_BYTES,
	    [HC_RECORD_EXPIRE] = HC_EXPIRE_BYTES,
	    [HC_RECORD_CLEAR_MODEL] = HC_RECORD_HEAD,
	    [HC_RECORD_CLEAR_ALL] = HC_RECORD_HEAD,
	    [HC_RECORD_GROUP] = HC_GROUP_HEAD,
	    [HC_RECORD_STATE] = HC_STATE_HEAD,
	};

	return lengths[type];
}

/* Of the head but magic and checksum, and of what follows it in two parts. */
static uint32_t
checksum(const uint8_t *secret, const uint8_t *head, uint32_t head_len, struct hc_slice key, struct hc_slice body)
{
	uint8_t all[HC_VALUE_HEAD + 16];

	memcpy(all, head, head_len);
	memset(all + 4, 0, 4);
	hc_put64(all + head_len, key.len == 0 ? 0 : XXH3_64bits(key.ptr, key.len));
	hc_put64(all + head_len + 8, body.len == 0 ? 0 : XXH3_64bits(body.ptr, body.len));
	return (uint32_t)keyed(secret, all, head_len + 16);
}

static uint64_t
encode_expiry(int64_t expire_ms)
{
	return expire_ms == HC_NO_EXPIRY ? NEVER : (uint64_t)expire_ms;
}

static int64_t
decode_expiry(uint64_t coded)
{
	return coded > (uint64_t)INT64_MAX ? HC_NO_EXPIRY : (int64_t)coded;
}

uint32_t
hc_record_encode(const uint8_t *secret, const struct hc_record *record, uint8_t *head)
{
	uint32_t len = head_length(record->type);

	memset(head, 0, len);
	head[0] = MAGIC;
	head[1] = (uint8_t)record->type;
	head[2] = record->hits;
	hc_put32(head + 8, record->length);
	hc_put16(head + 12, record->group);
	hc_put64(head + 16, record->position);
	switch (record->type) {
	case HC_RECORD_VALUE:
		hc_put64(head + 24, encode_expiry(record->expire_ms));
		hc_put64(head + 32, record->version);
		hc_put32(head + 40, record->created_s);
		hc_put32(head + 44, (uint32_t)record->key.len);
		break;
	case HC_RECORD_EXPIRE:
		hc_put64(head + 32, encode_expiry(record->expire_ms));
		__attribute__((fallthrough));
	case HC_RECORD_DELETE:
		hc_put64(head + 24, record->hash);
		break;
	case HC_RECORD_GROUP:
		hc_put32(head + 24, record->epoch);
		hc_put32(head + 28, (uint32_t)record->key.len);
		break;
	case HC_RECORD_STATE:
		hc_put32(head + 24, (uint32_t)record->key.len);
		hc_put32(head + 28, (uint32_t)record->body.len);
		break;
	default:
		break;
	}
	hc_put32(head + 4, checksum(secret, head, len, record->key, record->body));
	return len;
}

/* Where key and body are in a record of that length; false: they do not fit into it. */
static bool
locate(const uint8_t *ptr, uint32_t head_len, struct hc_record *out)
{
	uint64_t key = 0, body = 0, rest = out->length - head_len;
	const char *at = (const char *)ptr + head_len;

	switch (out->type) {
	case HC_RECORD_VALUE:
		key = hc_get32(ptr + 44);
		body = rest - key; /* wrapped around when the key is too long: caught below */
		break;
	case HC_RECORD_GROUP:
		key = hc_get32(ptr + 28);
		break;
	case HC_RECORD_STATE:
		key = hc_get32(ptr + 24);
		body = hc_get32(ptr + 28);
		break;
	default:
		break;
	}
	if (key > rest || body > rest - key)
		return false;
	out->key = hc_slice(at, (size_t)key);
	out->body = hc_slice(at + key, (size_t)body);
	return true;
}

static void
decode_fields(const uint8_t *ptr, struct hc_record *out)
{
	switch (out->type) {
	case HC_RECORD_VALUE:
		out->expire_ms = decode_expiry(hc_get64(ptr + 24));
		out->version = hc_get64(ptr + 32);
		out->created_s = hc_get32(ptr + 40);
		break;
	case HC_RECORD_EXPIRE:
		out->expire_ms = decode_expiry(hc_get64(ptr + 32));
		__attribute__((fallthrough));
	case HC_RECORD_DELETE:
		out->hash = hc_get64(ptr + 24);
		break;
	case HC_RECORD_GROUP:
		out->epoch = hc_get32(ptr + 24);
		break;
	default:
		break;
	}
}

enum hc_status
hc_record_decode(
    const uint8_t *secret, const uint8_t *ptr, size_t len, size_t max, uint64_t position, struct hc_record *out)
{
	if (len < HC_RECORD_HEAD || ptr[0] != MAGIC || ptr[1] == 0 || ptr[1] >= HC_RECORD_TYPES ||
	    hc_get64(ptr + 16) != position)
		return HC_INVALID;
	*out = (struct hc_record){
	    .type = (enum hc_record_type)ptr[1],
	    .hits = ptr[2],
	    .length = hc_get32(ptr + 8),
	    .group = hc_get16(ptr + 12),
	    .position = position,
	};
	uint32_t head_len = head_length(out->type);
	if (out->length < head_len || out->length > max)
		return HC_INVALID;
	if (out->length > len)
		return HC_PENDING;
	if (!locate(ptr, head_len, out) || checksum(secret, ptr, head_len, out->key, out->body) != hc_get32(ptr + 4))
		return HC_INVALID;
	decode_fields(ptr, out);
	return HC_OK;
}

bool
hc_state_next(struct hc_slice *left, struct hc_slice *name, uint32_t *epoch)
{
	size_t len;

	if (left->len < HC_STATE_EPOCH)
		return false;
	len = hc_get16(left->ptr + 4);
	if (len > left->len - HC_STATE_EPOCH)
		return false;
	*epoch = hc_get32(left->ptr);
	*name = hc_slice(left->ptr + HC_STATE_EPOCH, len);
	*left = hc_slice(left->ptr + HC_STATE_EPOCH + len, left->len - HC_STATE_EPOCH - len);
	return true;
}

size_t
hc_state_put(uint8_t *at, size_t room, struct hc_slice name, uint32_t epoch)
{
	if (room < HC_STATE_EPOCH + name.len)
		return 0;
	hc_put32(at, epoch);
	hc_put16(at + 4, (uint16_t)name.len);
	memcpy(at + HC_STATE_EPOCH, name.ptr, name.len);
	return HC_STATE_EPOCH + name.len;
}

/* ---- heads of files: magic, version, its complement ---- */

static void
encode_magic(const char *magic, uint8_t *at)
{
	memcpy(at, magic, 8);
	hc_put32(at + 8, HC_FORMAT_VERSION);
	hc_put32(at + 12, ~HC_FORMAT_VERSION);
}

static bool
is_magic(const char *magic, const uint8_t *at)
{
	return memcmp(at, magic, 8) == 0 && hc_get32(at + 8) == HC_FORMAT_VERSION &&
	       hc_get32(at + 12) == ~HC_FORMAT_VERSION;
}

bool
hc_format_is_newer(const uint8_t *at)
{
	bool ours =
	    memcmp(at, segment_magic, 8) == 0 || memcmp(at, index_magic, 8) == 0 || memcmp(at, tier_magic, 8) == 0;

	return ours && hc_get32(at + 8) > HC_FORMAT_VERSION && hc_get32(at + 12) == ~hc_get32(at + 8);
}

void
hc_segment_encode(const uint8_t *secret, const struct hc_segment_head *head, uint8_t *at)
{
	memset(at, 0, HC_SEGMENT_HEAD);
	encode_magic(segment_magic, at);
	hc_put64(at + 16, head->seq);
	hc_put64(at + 24, head->created_ms);
	hc_put32(at + 32, head->segment_bytes);
	hc_put64(at + 56, keyed(secret, at, 56));
}

enum hc_status
hc_segment_decode(const uint8_t *secret, const uint8_t *at, struct hc_segment_head *out)
{
	if (!is_magic(segment_magic, at) || hc_get64(at + 56) != keyed(secret, at, 56))
		return HC_INVALID;
	*out = (struct hc_segment_head){
	    .seq = hc_get64(at + 16), .created_ms = hc_get64(at + 24), .segment_bytes = hc_get32(at + 32)};
	return HC_OK;
}

/* ---- index files ---- */

#define EXPIRE_MASK (((uint64_t)1 << 48) - 1)

/* 0 hash u64  8 expire 48 bits, group 16  16 offset/16 in 24 bits, type in 8 */
void
hc_line_encode(const struct hc_entry_line *line, uint8_t *at)
{
	uint64_t expire = line->expire_ms >= (int64_t)EXPIRE_MASK ? EXPIRE_MASK
			  : line->expire_ms < 0                   ? 0
								  : (uint64_t)line->expire_ms;

	hc_put64(at, line->hash);
	hc_put64(at + 8, expire | (uint64_t)line->group << 48);
	hc_put32(at + 16, line->offset / HC_RECORD_ALIGN | (uint32_t)line->type << 24);
}

void
hc_line_decode(const uint8_t *at, struct hc_entry_line *out)
{
	uint64_t middle = hc_get64(at + 8);
	uint32_t last = hc_get32(at + 16);

	*out = (struct hc_entry_line){
	    .hash = hc_get64(at),
	    .expire_ms = (middle & EXPIRE_MASK) == EXPIRE_MASK ? HC_NO_EXPIRY : (int64_t)(middle & EXPIRE_MASK),
	    .group = (uint16_t)(middle >> 48),
	    .offset = (last & 0xffffff) * HC_RECORD_ALIGN,
	    .type = (enum hc_record_type)(last >> 24),
	};
}

/* 0 magic, version  16 seq u64  24 lines u32  28 groups u32  32 bytes of groups u32  36 end u32  40 checksum u64 */
void
hc_index_encode(
    const uint8_t *secret, const struct hc_index_head *head, const struct hc_slice *body, int n, uint8_t *at)
{
	memset(at, 0, HC_INDEX_HEAD);
	encode_magic(index_magic, at);
	hc_put64(at + 16, head->seq);
	hc_put32(at + 24, head->lines);
	hc_put32(at + 28, head->groups);
	hc_put32(at + 32, head->group_bytes);
	hc_put32(at + 36, head->end);
	/* Each part's own, mixed into the head: they need not lie together. */
	uint64_t sum = keyed(secret, at, HC_INDEX_HEAD);
	for (int i = 0; i < n; i++)
		sum = XXH3_64bits_withSeed(body[i].ptr, body[i].len, sum);
	hc_put64(at + 40, sum);
}

enum hc_status
hc_index_decode(const uint8_t *secret, const uint8_t *ptr, size_t len, struct hc_index_head *out)
{
	if (len < HC_INDEX_HEAD || !is_magic(index_magic, ptr))
		return HC_INVALID;
	*out = (struct hc_index_head){
	    .seq = hc_get64(ptr + 16),
	    .lines = hc_get32(ptr + 24),
	    .groups = hc_get32(ptr + 28),
	    .group_bytes = hc_get32(ptr + 32),
	    .end = hc_get32(ptr + 36),
	};
	uint64_t lines_len = (uint64_t)out->lines * HC_ENTRY_BYTES;
	if (len != HC_INDEX_HEAD + lines_len + out->group_bytes)
		return HC_INVALID;
	struct hc_slice body[] = {hc_slice((const char *)ptr + HC_INDEX_HEAD, (size_t)lines_len),
	    hc_slice((const char *)ptr + HC_INDEX_HEAD + lines_len, out->group_bytes)};
	uint8_t head[HC_INDEX_HEAD];
	hc_index_encode(secret, out, body, 2, head);
	return memcmp(head, ptr, HC_INDEX_HEAD) == 0 ? HC_OK : HC_INVALID;
}

/* ---- the tier file ---- */

/* 0 magic, version  16 trusted u64  24 next seq u64  32 secret  504 checksum u64 */
void
hc_tier_encode(const struct hc_tier *tier, uint8_t *at)
{
	memset(at, 0, HC_TIER_BYTES);
	encode_magic(tier_magic, at);
	hc_put64(at + 16, tier->trusted);
	hc_put64(at + 24, tier->next_seq);
	memcpy(at + 32, tier->secret, HC_SECRET_BYTES);
	hc_put64(at + HC_TIER_BYTES - 8, XXH3_64bits(at, HC_TIER_BYTES - 8));
}

enum hc_status
hc_tier_decode(const uint8_t *at, struct hc_tier *out)
{
	if (!is_magic(tier_magic, at) || hc_get64(at + HC_TIER_BYTES - 8) != XXH3_64bits(at, HC_TIER_BYTES - 8) ||
	    hc_get64(at + 16) > 1)
		return HC_INVALID;
	out->trusted = hc_get64(at + 16) == 1;
	out->next_seq = hc_get64(at + 24);
	memcpy(out->secret, at + 32, HC_SECRET_BYTES);
	return HC_OK;
}
