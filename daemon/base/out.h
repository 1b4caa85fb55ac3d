/*
 * Bytes on their way out: a chain of pooled chunks, and of references to large values that are not copied.
 *
 *     out ── chunk(copied bytes) ── chunk(reference: ptr, len, release) ── chunk …
 *
 * One thread: the pool and every chain over it belong to one worker. Chunks go back to the pool when their
 * bytes are gone, so that a connection at rest holds nothing. Running out of memory, or over the chain's own bound,
 * marks it as failed (what it holds is cut short and must not be sent on): check hc_out_failed() before writing.
 */
#ifndef HC_BASE_OUT_H
#define HC_BASE_OUT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define HC_OUT_CHUNK 16320 /* bytes a chunk holds; with its header just under 16 KiB */

struct hc_out_chunk;
typedef void hc_out_release_fn(void *arg);

struct hc_out_pool {
	struct hc_out_chunk *chunks; /* free ones */
	unsigned n_chunks;
	struct hc_out_chunk *refs; /* free ones without room for bytes */
	unsigned n_refs;
};

struct hc_out {
	struct hc_out_pool *pool;
	struct hc_out_chunk *head;
	struct hc_out_chunk *tail;
	char *at;         /* in the last chunk: where the next copied byte goes */
	size_t room;      /* … and how many fit; 0 without such a chunk, and once it has failed */
	size_t bytes;     /* waiting, referenced ones included */
	size_t max_bytes; /* more than that are refused; the owner sets it, none after hc_out_init() */
	bool failed;
	bool full; /* failed for max_bytes */
};

void hc_out_pool_init(struct hc_out_pool *pool);
void hc_out_pool_fini(struct hc_out_pool *pool);

void hc_out_init(struct hc_out *out, struct hc_out_pool *pool);
void hc_out_fini(struct hc_out *out);

char *hc_out_reserve_slowly(struct hc_out *out, size_t n);

/*
 * Contiguous room for `n` <= HC_OUT_CHUNK bytes, to be confirmed by hc_out_commit() with how many were written.
 * NULL when it failed.
 */
static inline char *
hc_out_reserve(struct hc_out *out, size_t n)
{
	if (__builtin_expect(n < out->room && out->bytes + n <= out->max_bytes, 1))
		return out->at;
	return hc_out_reserve_slowly(out, n);
}

static inline void
hc_out_commit(struct hc_out *out, size_t n)
{
	assert(n <= out->room);
	out->at += n;
	out->room -= n;
	out->bytes += n;
}

void hc_out_append(struct hc_out *out, const void *ptr, size_t len);

/* Puts `len` bytes at `ptr` in line without copying; release(arg) when they are gone, or at once on failure. */
void hc_out_reference(struct hc_out *out, const void *ptr, size_t len, hc_out_release_fn *release, void *arg);

/* Moves all of `from` to the end of `to`, whose bound does not count; both over one pool. A failure moves too. */
void hc_out_splice(struct hc_out *to, struct hc_out *from);

/* Describes what comes first in up to `max` vectors; returns how many. */
int hc_out_vectors(const struct hc_out *out, struct iovec *vectors, int max);
/* `n` bytes have been sent. */
void hc_out_consume(struct hc_out *out, size_t n);

static inline bool
hc_out_failed(const struct hc_out *out)
{
	return out->failed;
}

#endif
