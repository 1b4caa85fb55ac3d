/*
 * The chain of bytes on their way out. One thread per pool. See out.h.
 */
#include "base/out.h"

#include <stdint.h>
#include <string.h>
#include "base/mem.h"

#define POOL_CHUNKS_MAX 64 /* a megabyte a worker */
#define POOL_REFS_MAX 256
#define SPLICE_COPY_MAX 1024 /* so few bytes are cheaper to copy than to keep a chunk for */

struct hc_out_chunk {
	struct hc_out_chunk *next;
	const char *ptr;            /* first byte not yet sent */
	size_t len;                 /* bytes not yet sent; of a last chunk that grows still: as of the last seal() */
	hc_out_release_fn *release; /* NULL: the bytes are in buf */
	void *release_arg;
	char buf[];
};

void
hc_out_pool_init(struct hc_out_pool *pool)
{
	*pool = (struct hc_out_pool){0};
}

static void
free_list(struct hc_out_chunk *chunk)
{
	while (chunk != NULL) {
		struct hc_out_chunk *next = chunk->next;
		hc_free(chunk);
		chunk = next;
	}
}

void
hc_out_pool_fini(struct hc_out_pool *pool)
{
	free_list(pool->chunks);
	free_list(pool->refs);
	*pool = (struct hc_out_pool){0};
}

void
hc_out_init(struct hc_out *out, struct hc_out_pool *pool)
{
	*out = (struct hc_out){.pool = pool, .max_bytes = SIZE_MAX};
}

static struct hc_out_chunk *
chunk_get(struct hc_out_pool *pool)
{
	struct hc_out_chunk *chunk = pool->chunks;
	if (chunk != NULL) {
		pool->chunks = chunk->next;
		pool->n_chunks--;
	} else {
		chunk = hc_malloc(sizeof(*chunk) + HC_OUT_CHUNK);
		if (chunk == NULL)
			return NULL;
	}
	chunk->next = NULL;
	chunk->ptr = chunk->buf;
	chunk->len = 0;
	chunk->release = NULL;
	return chunk;
}

static struct hc_out_chunk *
ref_get(struct hc_out_pool *pool)
{
	struct hc_out_chunk *chunk = pool->refs;
	if (chunk != NULL) {
		pool->refs = chunk->next;
		pool->n_refs--;
		return chunk;
	}
	return hc_malloc(sizeof(*chunk));
}

static void
chunk_put(struct hc_out_pool *pool, struct hc_out_chunk *chunk)
{
	if (chunk->release != NULL) {
		chunk->release(chunk->release_arg);
		if (pool->n_refs >= POOL_REFS_MAX) {
			hc_free(chunk);
			return;
		}
		chunk->next = pool->refs;
		pool->refs = chunk;
		pool->n_refs++;
		return;
	}
	if (pool->n_chunks >= POOL_CHUNKS_MAX) {
		hc_free(chunk);
		return;
	}
	chunk->next = pool->chunks;
	pool->chunks = chunk;
	pool->n_chunks++;
}

void
hc_out_fini(struct hc_out *out)
{
	while (out->head != NULL) {
		struct hc_out_chunk *next = out->head->next;
		chunk_put(out->pool, out->head);
		out->head = next;
	}
	out->tail = NULL;
	out->room = 0;
	out->bytes = 0;
}

/* Tells the last chunk how long it has become. */
static void
seal(const struct hc_out *out)
{
	if (out->tail != NULL && out->tail->release == NULL)
		out->tail->len = (size_t)(out->at - out->tail->ptr);
}

static void
fail(struct hc_out *out)
{
	out->failed = true;
	out->room = 0;
}

static void
append_chunk(struct hc_out *out, struct hc_out_chunk *chunk)
{
	seal(out);
	chunk->next = NULL;
	if (out->tail == NULL)
		out->head = chunk;
	else
		out->tail->next = chunk;
	out->tail = chunk;
	out->at = chunk->buf;
	out->room = chunk->release == NULL ? HC_OUT_CHUNK : 0;
}

/* Whether `n` more bytes may come. */
static bool
within_bound(struct hc_out *out, size_t n)
{
	if (out->failed)
		return false;
	out->full = n > out->max_bytes || out->bytes > out->max_bytes - n;
	if (out->full)
		fail(out);
	return !out->full;
}

char *
hc_out_reserve_slowly(struct hc_out *out, size_t n)
{
	assert(n <= HC_OUT_CHUNK);
	if (!within_bound(out, n))
		return NULL;
	if (out->room < n || out->room == 0) {
		struct hc_out_chunk *chunk = chunk_get(out->pool);
		if (chunk == NULL) {
			fail(out);
			return NULL;
		}
		append_chunk(out, chunk);
	}
	return out->at;
}

void
hc_out_append(struct hc_out *out, const void *ptr, size_t len)
{
	const char *from = ptr;

	while (len > 0) {
		size_t room = out->room > 0 ? out->room : HC_OUT_CHUNK;
		size_t n = len < room ? len : room;
		char *dst = hc_out_reserve(out, n);
		if (dst == NULL)
			return;
		memcpy(dst, from, n);
		hc_out_commit(out, n);
		from += n;
		len -= n;
	}
}

void
hc_out_reference(struct hc_out *out, const void *ptr, size_t len, hc_out_release_fn *release, void *arg)
{
	struct hc_out_chunk *chunk = len == 0 || !within_bound(out, len) ? NULL : ref_get(out->pool);
	if (chunk == NULL) {
		if (len != 0)
			fail(out);
		release(arg);
		return;
	}
	chunk->ptr = ptr;
	chunk->len = len;
	chunk->release = release;
	chunk->release_arg = arg;
	append_chunk(out, chunk);
	out->bytes += len;
}

/* A few copied bytes go into the room there is: a thousand short replies must not hold a chunk each. */
static void
splice_small(struct hc_out *to, struct hc_out *from)
{
	struct hc_out_chunk *chunk = from->head;

	if (chunk == NULL || chunk->release != NULL || chunk->len > SPLICE_COPY_MAX || chunk->len > to->room)
		return;
	if (chunk->len > 0) {
		memcpy(to->at, chunk->ptr, chunk->len);
		hc_out_commit(to, chunk->len);
	}
	hc_out_consume(from, chunk->len);
}

void
hc_out_splice(struct hc_out *to, struct hc_out *from)
{
	assert(to->pool == from->pool);
	seal(from);
	splice_small(to, from);
	if (from->head != NULL) {
		seal(to);
		if (to->tail == NULL)
			to->head = from->head;
		else
			to->tail->next = from->head;
		to->tail = from->tail;
		to->at = from->at;
		to->room = from->room;
		to->bytes += from->bytes;
	}
	if (to->failed || from->failed)
		fail(to);
	to->full = to->full || from->full;
	hc_out_init(from, from->pool);
}

int
hc_out_vectors(const struct hc_out *out, struct iovec *vectors, int max)
{
	int n = 0;

	seal(out);
	for (struct hc_out_chunk *c = out->head; c != NULL && n < max; c = c->next) {
		if (c->len == 0)
			continue;
		vectors[n].iov_base = (void *)(uintptr_t)c->ptr;
		vectors[n].iov_len = c->len;
		n++;
	}
	return n;
}

void
hc_out_consume(struct hc_out *out, size_t n)
{
	assert(n <= out->bytes);
	seal(out);
	out->bytes -= n;
	while (out->head != NULL && n >= out->head->len) {
		struct hc_out_chunk *chunk = out->head;
		n -= chunk->len;
		out->head = chunk->next;
		if (out->head == NULL) {
			out->tail = NULL;
			out->room = 0;
		}
		chunk_put(out->pool, chunk);
	}
	if (n > 0) {
		out->head->ptr += n;
		out->head->len -= n;
	}
}
