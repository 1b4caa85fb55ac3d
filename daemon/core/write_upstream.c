/*
 * The batch: writes of one turn of the loop, sent as one call of the write script. One thread: the worker's.
 *
 *     add, add, … → end of the turn → flush → EVALSHA → reply → each op: copy kept if its ticket is good → group done
 *                              │        ├ NOSCRIPT → EVAL, with the script
 *                              │        └ no answer → as while the upstream is down
 *                              └ nothing but SETs, and not little → MULTI, SETs, EVAL, EXEC (script_sets.c)
 *                                       └ refuted: the state is another than was supposed → EVALSHA
 *
 * Groups stay whole: the script carries a call out as one. When the server has forgotten the script, what was sent by
 * its SHA is sent again in the order of the answers, and what comes after is held until all of that has been; a fetch
 * that was overtaken so is asked again (read.c). If others tell the server the script meanwhile, what is under way
 * behind it is carried out first. So a connection's writes of a key are not under way together, nor with a read of it
 * that may be asked again (hc_core_write_depends()); which of those that several have asked for is first is nobody's to
 * say.
 *
 * What was refuted comes behind what has been sent meanwhile. SETs that write a key of it again overwrite it: of that
 * key, it is not sent again, unless they fail, all of them. Whatever else is to be done with a key is held while a
 * transaction writes it.
 */
#include <assert.h>
#include "base/mem.h"
#include "core/write_private.h"

#define BATCH_BYTES_MAX (1u << 20) /* values of a call; a group may be more */

struct hc_batch *
hc_core_batch_create(struct hc_core_worker *worker)
{
	struct hc_batch *batch = hc_calloc(1, sizeof(*batch));
	if (batch != NULL)
		batch->worker = worker;
	return batch;
}

void
hc_core_batch_destroy(struct hc_batch *batch)
{
	if (batch == NULL)
		return;
	hc_free(batch->ops);
	hc_free(batch);
}

bool
hc_core_batch_reserve(struct hc_batch *batch, size_t n)
{
	if (batch->n + n <= batch->cap)
		return true;
	size_t cap = batch->cap == 0 ? 16 : batch->cap * 2;
	while (cap < batch->n + n)
		cap *= 2;
	struct hc_op **ops = hc_realloc(batch->ops, cap * sizeof(*ops));
	if (ops == NULL)
		return false;
	batch->ops = ops;
	batch->cap = cap;
	return true;
}

/* ---- the answer ---- */

static void
lose_all(struct hc_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		hc_core_op_lose(batch->worker, batch->ops[i]);
}

static void
fail_all(struct hc_batch *batch, struct hc_slice error)
{
	for (size_t i = 0; i < batch->n; i++)
		hc_core_op_fail(batch->worker, batch->ops[i], error);
}

static void
answer_all(struct hc_batch *batch)
{
	/* Done functions may start new writes: these go to another batch. */
	for (size_t i = 0; i < batch->n; i++)
		hc_core_op_answered(batch->ops[i]);
	hc_core_batch_destroy(batch);
}

static enum hc_status
result_of(const struct hc_batch *batch, const redisReply *reply, size_t i, struct hc_script_result *out)
{
	return batch->in_transaction ? hc_script_sets_result(&batch->sets, reply, i, out)
				     : hc_script_result(reply, i, out);
}

static void
settle_batch(struct hc_batch *batch, const redisReply *reply)
{
	struct hc_core_worker *worker = batch->worker;
	struct hc_core *core = worker->core;
	uint32_t incarnation = batch->in_transaction ? batch->sets.premise.incarnation : hc_script_incarnation(reply);
	bool known = incarnation != 0 && incarnation == atomic_load(&core->incarnation);

	for (size_t i = 0; i < batch->n; i++) {
		struct hc_script_result result;
		struct hc_slice error = HC_SLICE("ERR the upstream gave an unexpected answer");
		if (reply->type == REDIS_REPLY_ERROR)
			error = hc_slice(reply->str, (size_t)reply->len);
		else if (result_of(batch, reply, i, &result) == HC_OK && result.error.ptr == NULL) {
			hc_core_op_settle(worker, batch->ops[i], &result, known);
			hc_core_overtaken_by(worker, batch->ops[i]);
			continue;
		} else if (result_of(batch, reply, i, &result) == HC_OK)
			error = result.error;
		hc_core_op_fail(worker, batch->ops[i], error);
	}
	/* Last: with the epochs as they are now. */
	if (incarnation != 0 && !known)
		hc_sync_request(core);
}

/* ---- sent again ---- */

static enum hc_status send_batch(struct hc_batch *batch, const char *sha);

static bool
is_noscript(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0;
}

/* SCRIPT FLUSH, or a restart behind a proxy: the script goes along this time, which makes it known again. */
static enum hc_status
send_with_script(struct hc_batch *batch)
{
	struct hc_core_worker *worker = batch->worker;

	worker->resends++;
	worker->batch_held = worker->batch_held || worker->calls_by_sha > 0;
	enum hc_status status = send_batch(batch, "");
	return status == HC_OK ? HC_PENDING : status;
}

/*
 * The upstream has deleted the values and told the fleet so. They go by the script, which looks at the state itself;
 * but for those that others overwrite meanwhile. HC_OK: there are no others.
 */
static enum hc_status
send_refuted(struct hc_batch *batch, const redisReply *reply)
{
	struct hc_core_worker *worker = batch->worker;
	struct hc_script_result last;
	enum hc_status status = hc_script_sets_result(&batch->sets, reply, batch->n - 1, &last);

	worker->refuted = batch->sets.premise;
	worker->resends++;
	if (status != HC_OK)
		return HC_NOMEM;
	for (size_t i = 0; i < batch->n; i++) {
		batch->ops[i]->after = last.seq;
		batch->ops[i]->after_in = atomic_load(&worker->core->heard_incarnation);
	}
	hc_fleet_saw_seq(worker->core->fleet, last.seq);
	hc_stats_add(worker->stats, invalidations_out, batch->n);
	if (!hc_core_batch_take_overtaken(batch))
		return HC_NOMEM;
	if (batch->n == 0)
		return HC_OK;
	batch->refuted = true;
	status = send_batch(batch, worker->write_sha);
	return status == HC_OK ? HC_PENDING : status;
}

/* ---- overtaken ---- */

/* As what is under way behind them on that link will be: in the order of the writes. */
static void
lose_overtaken(struct hc_core_worker *worker)
{
	for (struct hc_batch *batch = worker->first_overtaken; batch != NULL; batch = batch->next) {
		for (size_t i = 0; i < batch->n; i++) {
			if (batch->ops[i]->begun)
				hc_core_op_lose(worker, batch->ops[i]);
		}
	}
}

/* What is left of it: not what has been settled. On HC_OK it is under way in a batch of its own. */
static enum hc_status
send_overtaken(struct hc_batch *overtaken)
{
	struct hc_core_worker *worker = overtaken->worker;
	struct hc_batch *again = hc_core_batch_create(worker);
	enum hc_status status = HC_NOMEM;
	size_t kept = 0;

	if (again != NULL && hc_core_batch_reserve(again, overtaken->n)) {
		for (size_t i = 0; i < overtaken->n; i++) {
			if (overtaken->ops[i]->begun)
				again->ops[again->n++] = overtaken->ops[i];
		}
		again->refuted = true;
		status = again->n > 0 ? send_batch(again, worker->write_sha) : HC_OK;
	}
	if (status != HC_OK || again->n == 0) {
		hc_core_batch_destroy(again);
		return status;
	}
	worker->resends++;
	for (size_t i = 0; i < overtaken->n; i++) {
		if (!overtaken->ops[i]->begun)
			overtaken->ops[kept++] = overtaken->ops[i];
	}
	overtaken->n = kept;
	return HC_OK;
}

/*
 * Where all that they were overtaken by failed, they are sent again. To answer them with that error would be sound,
 * too, but it is another's: of a server that was out of memory for a moment, or of a value that was too large. Nothing
 * that is under way writes these keys any more, and what came after has waited, so that the order is kept.
 */
static void
decide_overtaken(struct hc_core_worker *worker)
{
	for (struct hc_batch *batch = worker->first_overtaken; batch != NULL; batch = batch->next) {
		if (!hc_core_overtaken_is_decided(batch))
			continue;
		enum hc_status status = send_overtaken(batch);
		if (status == HC_OK)
			continue;
		if (status != HC_NOMEM) {
			lose_overtaken(worker);
			return;
		}
		for (size_t i = 0; i < batch->n; i++) {
			if (batch->ops[i]->begun)
				hc_core_op_fail(worker, batch->ops[i], HC_SLICE("OOM out of memory"));
		}
	}
}

static void
answer_overtaken(struct hc_core_worker *worker)
{
	struct hc_batch *batch;

	while ((batch = hc_core_overtaken_take_settled(worker)) != NULL)
		answer_all(batch);
}

/* What was sent before is in order: what has been held comes next. */
static void
let_batch_go(struct hc_core_worker *worker)
{
	if (!worker->batch_held || worker->calls_by_sha > 0)
		return;
	worker->batch_held = false;
	hc_core_batch_flush(worker);
}

static void
on_reply(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_batch *batch = arg;
	struct hc_core_worker *worker = batch->worker;

	hc_core_tick(worker);
	hc_core_batch_answered(batch);
	if (--worker->calls == 0)
		worker->seq_ahead = 0;
	worker->calls_by_sha -= batch->by_sha;
	if (status == HC_OK && batch->in_transaction)
		reply = hc_script_sets_reply(reply);
	if (status == HC_OK && is_noscript(reply))
		status = send_with_script(batch);
	else if (status == HC_OK && batch->in_transaction && hc_script_sets_refuted(reply))
		status = send_refuted(batch, reply);
	if (status == HC_OK)
		settle_batch(batch, reply);
	else if (status == HC_NOMEM)
		fail_all(batch, HC_SLICE("OOM out of memory"));
	else if (status != HC_PENDING) {
		lose_overtaken(worker);
		lose_all(batch);
	}
	decide_overtaken(worker);
	/* Behind these, also where all of it is lost. */
	let_batch_go(worker);
	hc_tier_kick(worker->core->tier);
	if (status != HC_PENDING)
		answer_all(batch);
	answer_overtaken(worker);
}

/* ---- the call ---- */

/*
 * Whether what a transaction was refuted for is what the next one would suppose. Those that were under way with it had
 * to be sent twice, and no others shall: until more is known, the script looks by itself, and tells what it finds.
 */
static bool
is_refuted(const struct hc_core_worker *worker)
{
	const struct hc_core *core = worker->core;
	const struct hc_script_premise *refuted = &worker->refuted;

	return refuted->incarnation != 0 && refuted->incarnation == atomic_load(&core->incarnation) &&
	       refuted->epoch == hc_models_epoch(core->models, refuted->model);
}

/*
 * Not behind a call by SHA: that might have to be sent again, and would then come after this. (Nor the other way round:
 * what is sent by SHA while this is under way comes later in any case.)
 */
static bool
suits_a_transaction(const struct hc_core_worker *worker, const struct hc_script_call *call, const char *sha,
    struct hc_script_sets *sets)
{
	return worker->has_transactions && sha[0] != '\0' && worker->calls_by_sha == 0 && !is_refuted(worker) &&
	       hc_script_sets_pays(call, sets);
}

/* What the first change of the batch will be numbered, if nobody else writes meanwhile. */
static uint64_t
expected_seq(const struct hc_core_worker *worker)
{
	uint64_t heard = hc_fleet_seq(worker->core->fleet);

	return (heard > worker->seq_ahead ? heard : worker->seq_ahead) + 1;
}

static enum hc_status
send_call(struct hc_batch *batch, struct hc_script_call *call, const char *sha)
{
	struct hc_core_worker *worker = batch->worker;
	uint64_t seq = expected_seq(worker);
	enum hc_status status;

	batch->in_transaction = !batch->refuted && suits_a_transaction(worker, call, sha, &batch->sets);
	if (batch->in_transaction)
		status = hc_script_sets_send(call, worker->link, &batch->sets, seq, on_reply, batch);
	else
		status = hc_script_call_send(call, worker->link, sha, on_reply, batch);
	batch->by_sha = status == HC_OK && !batch->in_transaction && sha[0] != '\0';
	if (status != HC_OK)
		return status;
	hc_core_batch_sent(batch);
	worker->calls_by_sha += batch->by_sha;
	worker->calls++;
	worker->seq_ahead = seq + batch->n - 1;
	hc_stats_add(worker->stats, upstream_transactions, batch->in_transaction);
	return HC_OK;
}

static enum hc_status
send_batch(struct hc_batch *batch, const char *sha)
{
	struct hc_core_worker *worker = batch->worker;
	struct hc_script_call *call;

	enum hc_status status = hc_script_call_create(worker->core, batch->n, &call);
	if (status != HC_OK)
		return status;
	for (size_t i = 0; status == HC_OK && i < batch->n; i++)
		status = hc_script_call_add(call, batch->ops[i]);
	if (status == HC_OK)
		status = send_call(batch, call, sha);
	hc_script_call_destroy(call);
	return status;
}

void
hc_core_batch_flush(struct hc_core_worker *worker)
{
	struct hc_batch *batch = worker->batch;

	if (batch == NULL || batch->n == 0 || worker->batch_held)
		return;
	worker->batch_held = hc_core_batch_must_wait(batch);
	if (worker->batch_held)
		return;
	worker->batch = NULL;
	hc_stats_count(worker->stats, upstream_batches);
	if (send_batch(batch, worker->write_sha) == HC_OK)
		return;
	lose_all(batch);
	answer_all(batch);
}

static void
on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hc_core_batch_flush(arg);
}

bool
hc_core_batch_has_room(const struct hc_batch *batch, const struct hc_op_group *group)
{
	size_t max = (size_t)batch->worker->core->settings->upstream_batch_max;

	return batch->n + group->n <= max && batch->bytes <= BATCH_BYTES_MAX;
}

void
hc_core_batch_add(struct hc_core_worker *worker, struct hc_op_group *group)
{
	struct hc_batch *batch = worker->batch;

	if (batch != NULL && !hc_core_batch_has_room(batch, group)) {
		hc_core_batch_flush(worker);
		batch = worker->batch;
	}
	if (batch == NULL)
		batch = worker->batch = hc_core_batch_create(worker);
	if (batch == NULL || !hc_core_batch_reserve(batch, group->n)) {
		for (size_t i = 0; i < group->n; i++)
			hc_core_op_fail(worker, &group->ops[i], HC_SLICE("OOM out of memory"));
		group->left = 0;
		return;
	}
	/* Made active from inside this turn, the event runs when what is active now has run. */
	if (batch->n == 0)
		event_active(worker->flush, EV_TIMEOUT, 0);
	for (size_t i = 0; i < group->n; i++) {
		batch->ops[batch->n++] = &group->ops[i];
		batch->bytes += group->ops[i].value.len;
	}
}

bool
hc_core_batch_under_way(const struct hc_core_worker *worker)
{
	return worker->first_sent != NULL || (worker->batch != NULL && worker->batch->n > 0);
}

enum hc_status
hc_core_batch_init(struct hc_core_worker *worker)
{
	worker->flush = event_new(worker->base, -1, 0, on_flush, worker);
	return worker->flush != NULL ? HC_OK : HC_NOMEM;
}

void
hc_core_batch_fini(struct hc_core_worker *worker)
{
	hc_core_batch_destroy(worker->batch);
	worker->batch = NULL;
	if (worker->flush != NULL)
		event_free(worker->flush);
}
