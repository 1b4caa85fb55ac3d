/*
 * The order of writes: which batches are under way, and what they have in common with another. One thread: the
 * worker's.
 *
 *     sent ─→ worker->first_sent → … → last_sent      answered: always the first; sent again: behind the last
 */
#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"
#include "core/write_private.h"

void
hc_core_batch_sent(struct hc_batch *batch)
{
	struct hc_core_worker *worker = batch->worker;

	batch->next = NULL;
	if (worker->first_sent == NULL)
		worker->first_sent = batch;
	else
		worker->last_sent->next = batch;
	worker->last_sent = batch;
}

void
hc_core_batch_answered(struct hc_batch *batch)
{
	struct hc_core_worker *worker = batch->worker;

	assert(worker->first_sent == batch);
	worker->first_sent = batch->next;
	batch->next = NULL;
}

/* ---- transactions ---- */

static bool
is_in_transaction(const struct hc_core_worker *worker, uint64_t hash)
{
	for (const struct hc_batch *sent = worker->first_sent; sent != NULL; sent = sent->next) {
		for (size_t i = 0; sent->in_transaction && i < sent->n; i++) {
			if (sent->ops[i]->key.hash == hash)
				return true;
		}
	}
	return false;
}

bool
hc_core_batch_must_wait(const struct hc_batch *batch)
{
	for (size_t i = 0; batch->worker->first_sent != NULL && i < batch->n; i++) {
		const struct hc_op *op = batch->ops[i];
		if (op->begun && op->behind && hc_op_looks(op) && is_in_transaction(batch->worker, op->key.hash))
			return true;
	}
	return false;
}

/* ---- overtaken ---- */

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The hashes of the keys that are being written, in their order. NULL: no memory. */
static uint64_t *
hashes_under_way(const struct hc_core_worker *worker, size_t *n)
{
	size_t cap = 1;

	for (const struct hc_batch *sent = worker->first_sent; sent != NULL; sent = sent->next)
		cap += sent->n;
	uint64_t *hashes = hc_malloc(cap * sizeof(*hashes));
	*n = 0;
	if (hashes == NULL)
		return NULL;
	for (const struct hc_batch *sent = worker->first_sent; sent != NULL; sent = sent->next) {
		for (size_t i = 0; i < sent->n; i++) {
			if (sent->ops[i]->begun)
				hashes[(*n)++] = sent->ops[i]->key.hash;
		}
	}
	qsort(hashes, *n, sizeof(*hashes), compare);
	return hashes;
}

struct hc_batch *
hc_core_batch_take_overtaken(struct hc_batch *batch)
{
	struct hc_batch *overtaken = hc_core_batch_create(batch->worker);
	size_t n = 0, kept = 0;
	uint64_t *hashes = hashes_under_way(batch->worker, &n);

	if (overtaken == NULL || hashes == NULL || !hc_core_batch_reserve(overtaken, batch->n)) {
		hc_core_batch_destroy(overtaken);
		hc_free(hashes);
		return NULL;
	}
	for (size_t i = 0; i < batch->n; i++) {
		struct hc_op *op = batch->ops[i];
		if (bsearch(&op->key.hash, hashes, n, sizeof(*hashes), compare) != NULL)
			overtaken->ops[overtaken->n++] = op;
		else
			batch->ops[kept++] = op;
	}
	batch->n = kept;
	hc_free(hashes);
	return overtaken;
}
