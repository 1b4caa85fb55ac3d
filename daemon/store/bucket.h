/*
 * A bucket of the look-up table: one cache line of nine places, each a tag of eight bits of the hash
 * and the address of an entry in 48. All tags are compared at once; an entry is touched only when
 * its tag is the one that is looked for.
 *
 *      0         9  10                                                           64
 *      tag × 9   more   address × 9, the ninth that of another bucket when `more` is set
 *
 * Not synchronized. A bucket owns the bucket that goes on behind it, but no entry.
 */
#ifndef HC_STORE_BUCKET_H
#define HC_STORE_BUCKET_H

#include <assert.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct hc_entry;

#define HC_BUCKET_PLACES 9u
#define HC_BUCKET_LINK (HC_BUCKET_PLACES - 1) /* the place that may lead to another bucket */

struct hc_bucket {
	uint8_t tags[HC_BUCKET_PLACES]; /* 0: nothing is there */
	uint8_t more;
	uint8_t addresses[HC_BUCKET_PLACES][6];
};

static_assert(sizeof(struct hc_bucket) == 64, "one cache line");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "addresses are read with the two bytes in front of them");

/* Never 0. From the upper end of the lower half of the hash: what the eviction queues keep of it. */
static inline uint8_t
hc_bucket_tag(uint32_t hash)
{
	uint8_t tag = (uint8_t)(hash >> 24);

	return tag != 0 ? tag : 1;
}

static inline void *
hc_bucket_address(const struct hc_bucket *bucket, size_t place)
{
	uint64_t word;

	memcpy(&word, (const char *)&bucket->addresses[place] - 2, sizeof(word));
	return (void *)(uintptr_t)(word >> 16);
}

static inline void
hc_bucket_set_address(struct hc_bucket *bucket, unsigned place, const void *address)
{
	uint64_t word = (uintptr_t)address;

	assert(word >> 48 == 0);
	memcpy(&bucket->addresses[place], &word, sizeof(bucket->addresses[place]));
}

static inline struct hc_entry *
hc_bucket_entry(const struct hc_bucket *bucket, unsigned place)
{
	return (struct hc_entry *)hc_bucket_address(bucket, place);
}

/* The one that goes on behind it, or NULL. */
static inline struct hc_bucket *
hc_bucket_more(const struct hc_bucket *bucket)
{
	return bucket->more ? (struct hc_bucket *)hc_bucket_address(bucket, HC_BUCKET_LINK) : NULL;
}

/* A bit for each place with that tag. */
static inline unsigned
hc_bucket_match(const struct hc_bucket *bucket, uint8_t tag)
{
#ifdef __SSE2__
	__m128i tags = _mm_loadu_si128((const __m128i *)(const void *)bucket);

	return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag))) &
	       ((1u << HC_BUCKET_PLACES) - 1);
#else
	const uint64_t lowest = 0x0101010101010101, rest = 0x7f7f7f7f7f7f7f7f;
	uint64_t tags;

	memcpy(&tags, bucket->tags, sizeof(tags));
	tags ^= tag * lowest;
	uint64_t same = ~(((tags & rest) + rest) | tags | rest) >> 7; /* 1 in each byte that has become 0 */
	return (unsigned)(same * 0x0102040810204080 >> 56) | (unsigned)(bucket->tags[8] == tag) << 8;
#endif
}

static inline unsigned
hc_bucket_used(const struct hc_bucket *bucket)
{
	return ~hc_bucket_match(bucket, 0) & ((1u << HC_BUCKET_PLACES) - 1);
}

static inline unsigned
hc_bucket_free(const struct hc_bucket *bucket)
{
	return hc_bucket_match(bucket, 0) & (bucket->more ? (1u << HC_BUCKET_LINK) - 1 : (1u << HC_BUCKET_PLACES) - 1);
}

#define HC_BUCKET_ENTRY_LEN 24 /* of an entry's own, as entry.c makes sure of */

/* Inlined in any case: gcc leaves out calls of a function that does nothing but prefetch. One entry in four begins in
 * one line and has its state in the next. */
static inline __attribute__((always_inline)) void
hc_bucket_prefetch_entries(const struct hc_bucket *bucket)
{
	for (unsigned used = hc_bucket_used(bucket); used != 0; used &= used - 1) {
		const char *entry = (const char *)hc_bucket_entry(bucket, (unsigned)__builtin_ctz(used));
		__builtin_prefetch(entry);
		__builtin_prefetch(entry + HC_BUCKET_ENTRY_LEN - 1);
	}
}

/*
 * The same of what is likely to be the entry with that tag: a small one whole, which lies in two or three lines.
 * Returns it; NULL when none has the tag.
 */
static inline __attribute__((always_inline)) struct hc_entry *
hc_bucket_prefetch_match(const struct hc_bucket *bucket, uint8_t tag)
{
	unsigned match = hc_bucket_match(bucket, tag);

	if (match == 0)
		return NULL;
	struct hc_entry *entry = hc_bucket_entry(bucket, (unsigned)__builtin_ctz(match));
	const char *at = (const char *)entry;
	__builtin_prefetch(at);
	__builtin_prefetch(at + 64);
	__builtin_prefetch(at + 96);
	return entry;
}

static inline void
hc_bucket_set(struct hc_bucket *bucket, unsigned place, uint8_t tag, const struct hc_entry *entry)
{
	bucket->tags[place] = tag;
	hc_bucket_set_address(bucket, place, entry);
}

static inline void
hc_bucket_clear(struct hc_bucket *bucket, unsigned place)
{
	bucket->tags[place] = 0;
}

#endif
