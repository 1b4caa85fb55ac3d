/*
 * The order of writes: which batches are under way, and what they have in common with another. One thread: the
 * worker's.
 *
 *     sent ─→ worker->first_sent → … → last_sent      answered: always the first; sent again: behind the last
 *                │ what others under way have overtaken
 *                └→ first_overtaken → … → last_overtaken      settled with one of those; or sent again, when all failed
 */
#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"
#include "core/fetch.h"
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

/* ---- who has to wait ---- */

static bool
writes_key(const struct hc_batch *batch, uint64_t hash)
{
	for (size_t i = 0; i < batch->n; i++) {
		if (batch->ops[i]->begun && batch->ops[i]->key.hash == hash)
			return true;
	}
	return false;
}

static bool
is_in_transaction(const struct hc_core_worker *worker, uint64_t hash)
{
	for (const struct hc_batch *sent = worker->first_sent; sent != NULL; sent = sent->next) {
		if (sent->in_transaction && writes_key(sent, hash))
			return true;
	}
	return false;
}

static bool
is_overtaken(const struct hc_core_worker *worker, uint64_t hash)
{
	for (const struct hc_batch *batch = worker->first_overtaken; batch != NULL; batch = batch->next) {
		if (writes_key(batch, hash))
			return true;
	}
	return false;
}

bool
hc_core_batch_must_wait(const struct hc_batch *batch)
{
	const struct hc_core_worker *worker = batch->worker;

	if (!hc_link_is_up(worker->link))
		return worker->first_sent != NULL;
	for (size_t i = 0; worker->first_sent != NULL && i < batch->n; i++) {
		const struct hc_op *op = batch->ops[i];
		if (!op->begun || !op->behind)
			continue;
		if (is_overtaken(worker, op->key.hash) || (hc_op_looks(op) && is_in_transaction(worker, op->key.hash)))
			return true;
	}
	return false;
}

/* Who asks for the op has asked for another of its key, which is in that batch. */
static bool
writes_for(const struct hc_batch *batch, const struct hc_op *op, const void *by)
{
	for (size_t i = 0; i < batch->n; i++) {
		const struct hc_op *before = batch->ops[i];
		if (before->begun && before->key.hash == op->key.hash && before->group->by == by)
			return true;
	}
	return false;
}

/* Behind a transaction, what overwrites all that is there may go: a refuted one is answered by it. */
static bool
depends_on_sent(const struct hc_batch *sent, const struct hc_op *op, const void *by)
{
	return (sent->by_sha || (sent->in_transaction && hc_op_looks(op))) && writes_for(sent, op, by);
}

static bool
depends_on_any(const struct hc_core_worker *worker, const struct hc_op *op, const void *by, bool alone)
{
	for (const struct hc_batch *batch = worker->first_overtaken; batch != NULL; batch = batch->next) {
		if (writes_for(batch, op, by))
			return true;
	}
	for (const struct hc_batch *batch = worker->first_sent; batch != NULL; batch = batch->next) {
		if (depends_on_sent(batch, op, by))
			return true;
	}
	return alone && writes_for(worker->batch, op, by);
}

bool
hc_core_write_depends(struct hc_core_worker *worker, const struct hc_op_group *group)
{
	bool alone = worker->batch != NULL && !hc_core_batch_has_room(worker->batch, group);
	bool under_way = hc_core_batch_under_way(worker);

	for (size_t i = 0; i < group->n; i++) {
		const struct hc_op *op = &group->ops[i];
		if (op->kind == HC_OP_CLEAR_MODEL || op->kind == HC_OP_CLEAR_ALL)
			continue;
		if (hc_fetch_would_see(worker, op->key))
			return true;
		if (under_way && hc_store_writing(worker->core->store, op->key) &&
		    depends_on_any(worker, op, group->by, alone))
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

static void
append_overtaken(struct hc_batch *overtaken)
{
	struct hc_core_worker *worker = overtaken->worker;

	if (worker->first_overtaken == NULL)
		worker->first_overtaken = overtaken;
	else
		worker->last_overtaken->next = overtaken;
	worker->last_overtaken = overtaken;
}

bool
hc_core_batch_take_overtaken(struct hc_batch *batch)
{
	struct hc_batch *overtaken = hc_core_batch_create(batch->worker);
	size_t n = 0, kept = 0;
	uint64_t *hashes = hashes_under_way(batch->worker, &n);

	if (overtaken == NULL || hashes == NULL || !hc_core_batch_reserve(overtaken, batch->n)) {
		hc_core_batch_destroy(overtaken);
		hc_free(hashes);
		return false;
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
	if (overtaken->n > 0)
		append_overtaken(overtaken);
	else
		hc_core_batch_destroy(overtaken);
	return true;
}

/* None of it is in force, so no copy is kept; and it has no number. */
void
hc_core_overtaken_by(struct hc_core_worker *worker, const struct hc_op *op)
{
	const struct hc_script_result result = {.code = HC_SCRIPT_DONE, .done = true, .pttl = -2};

	for (struct hc_batch *batch = worker->first_overtaken; batch != NULL; batch = batch->next) {
		for (size_t i = 0; i < batch->n; i++) {
			if (batch->ops[i]->begun && batch->ops[i]->key.hash == op->key.hash)
				hc_core_op_settle(worker, batch->ops[i], &result, false);
		}
	}
}

bool
hc_core_overtaken_is_decided(const struct hc_batch *overtaken)
{
	for (size_t i = 0; i < overtaken->n; i++) {
		const struct hc_op *op = overtaken->ops[i];
		for (const struct hc_batch *sent = overtaken->worker->first_sent; op->begun && sent != NULL;
		     sent = sent->next) {
			if (writes_key(sent, op->key.hash))
				return false;
		}
	}
	return true;
}

static bool
is_settled(const struct hc_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++) {
		if (batch->ops[i]->begun)
			return false;
	}
	return true;
}

struct hc_batch *
hc_core_overtaken_take_settled(struct hc_core_worker *worker)
{
	struct hc_batch **at = &worker->first_overtaken, *before = NULL;

	while (*at != NULL && !is_settled(*at)) {
		before = *at;
		at = &before->next;
	}
	struct hc_batch *settled = *at;
	if (settled == NULL)
		return NULL;
	*at = settled->next;
	if (worker->last_overtaken == settled)
		worker->last_overtaken = before;
	settled->next = NULL;
	return settled;
}
