/*
 * Writes: where a group of ops goes. One thread: the worker's.
 *
 *     write ─ embedded ────────────────→ memory, at once
 *        ├ fleet, link up ─ tickets ───→ the batch of this turn (write_upstream.c)
 *        └ fleet, link down ─ queue ───→ memory, and the outage list: the upstream is told later
 *                            └ refuse ─→ error
 *
 * A key on the outage list counts as down, until that has been made up for, to whatever depends on its old value.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "core/internal.h"

void
hc_op_group_fini(struct hc_op_group *group)
{
	for (size_t i = 0; i < group->n; i++) {
		struct hc_op *op = &group->ops[i];
		if (op->old == NULL && op->entry == NULL && op->error == NULL && op->answer == NULL)
			continue; /* as most */
		hc_entry_unref(op->old);
		hc_entry_unref(op->entry);
		hc_free(op->error);
		hc_free(op->answer);
		op->old = op->entry = NULL;
		op->error = op->answer = NULL;
	}
}

void
hc_core_op_answered(struct hc_op *op)
{
	struct hc_op_group *group = op->group;

	if (--group->left == 0)
		group->done(group->arg);
}

bool
hc_op_looks(const struct hc_op *op)
{
	switch (op->kind) {
	case HC_OP_SET:
		return op->condition != HC_STORE_ANY || op->want_old || op->ttl == HC_TTL_KEEP;
	case HC_OP_CLEAR_MODEL:
	case HC_OP_CLEAR_ALL:
		return false;
	default:
		return true;
	}
}

/*
 * What only the upstream can know is not guessed while it is down: whether a key is there (conditions), what it held
 * and so what is to become of it, when it expires.
 */
static bool
needs_upstream(const struct hc_op *op)
{
	switch (op->kind) {
	case HC_OP_SET:
		return hc_op_looks(op);
	case HC_OP_DEL:
		return op->want_old;
	case HC_OP_EXPIRE:
		return op->expire_flags != HC_EXPIRE_ANY;
	case HC_OP_INCR:
	case HC_OP_INCR_FLOAT:
	case HC_OP_APPEND:
	case HC_OP_SET_RANGE:
	case HC_OP_COPY_FROM:
	case HC_OP_COPY_TO:
		return true;
	default:
		return false;
	}
}

/*
 * What is known of the fleet. Of what was refuted more is known than has been heard of: what it was refuted for had
 * been carried out before. But where it is open whether the value was computed before that, it counts as older.
 */
static struct hc_outage_since
known_since(const struct hc_core *core, const struct hc_op *op)
{
	struct hc_outage_since since = {
	    atomic_load(&core->heard_life), atomic_load(&core->heard_incarnation), atomic_load(&core->heard)};

	if (!op->has_seen && op->after_in != 0 && op->after_in == since.incarnation && op->after > since.heard)
		since.heard = op->after;
	return since;
}

static enum hc_status
remember_value(struct hc_core_worker *worker, struct hc_op *op)
{
	struct hc_core *core = worker->core;
	const struct hc_outage_limits max = {
	    (uint64_t)core->settings->upstream_queue_max, (uint64_t)core->settings->upstream_queue_bytes};
	uint64_t losses = hc_outage_losses(core->outage); /* first: what is lost meanwhile makes it unsure */
	struct hc_outage_value value = {
	    .expire_ms = hc_core_op_expiry(core, op, worker->now_ms),
	    .losses = losses,
	    .since = known_since(core, op),
	    .sent = op->sent_ms != 0,
	};

	op->entry = value.entry = hc_core_op_entry(core, op, worker->now_ms);
	if (op->entry == NULL)
		return HC_NOMEM;
	if (!value.sent)
		(void)hc_store_peek(core->store, op->key, worker->now_ms, &value.base);
	enum hc_status status = hc_outage_add_value(core->outage, op->key, &value, &max);
	hc_entry_unref(value.base);
	return status;
}

#define ROOM_FOR_DELETES 2 /* times upstream.queue_max: deletes are taken when values are no more */

static enum hc_status
remember(struct hc_core_worker *worker, struct hc_op *op)
{
	struct hc_core *core = worker->core;
	uint64_t max = (uint64_t)core->settings->upstream_queue_max * ROOM_FOR_DELETES;

	switch (op->kind) {
	case HC_OP_CLEAR_ALL:
		hc_outage_add_all(core->outage);
		return HC_OK;
	case HC_OP_SET:
		return op->late ? hc_outage_add_key(core->outage, op->key, max) : remember_value(worker, op);
	case HC_OP_EXPIRE:
	case HC_OP_PERSIST:
		return hc_outage_add_expiry(core->outage, op->key, hc_core_op_expiry(core, op, worker->now_ms), max);
	default:
		return hc_outage_add_key(core->outage, op->key, max);
	}
}

/* Onto the list, and into memory. */
static void
take_op(struct hc_core_worker *worker, struct hc_op *op)
{
	struct hc_core *core = worker->core;

	/* Which is put onto the list by the epoch that it has then: it must not have one that the upstream is never
	 * told of. */
	op->status = op->kind == HC_OP_CLEAR_MODEL ? hc_outage_reserve_models(core->outage) : remember(worker, op);
	if (op->status != HC_OK) {
		hc_stats_count(worker->stats, writes_refused);
		return;
	}
	hc_stats_count(worker->stats, writes_while_down);
	if (op->late)
		hc_stats_count(worker->stats, late_sets);
	/* Fills that other workers have under way carry what is older than this. */
	if (op->kind != HC_OP_CLEAR_MODEL && op->kind != HC_OP_CLEAR_ALL && op->kind != HC_OP_EXPIRE &&
	    op->kind != HC_OP_PERSIST)
		(void)hc_store_invalidate(core->store, op->key, 0);
	hc_core_apply_local(core, op, worker->now_ms);
	if (op->kind == HC_OP_CLEAR_MODEL)
		op->status = hc_outage_add_model(core->outage, op->model, op->epoch - 1);
}

void
hc_core_op_while_down(struct hc_core_worker *worker, struct hc_op *op)
{
	struct hc_core *core = worker->core;

	if (core->settings->upstream_writes_when_down == HC_DOWN_REFUSE || needs_upstream(op)) {
		hc_stats_count(worker->stats, writes_refused);
		op->status = HC_DOWN;
		return;
	}
	hc_outage_enter(core->outage, op->key);
	take_op(worker, op);
	hc_outage_leave(core->outage, op->key);
}

void
hc_core_missed(struct hc_core_worker *worker, struct hc_key key)
{
	const struct hc_core *core = worker->core;

	hc_late_missed(core->late, key.hash, hc_models_changes(core->models), hc_clock_mono_coarse_ms());
}

/*
 * Finds out what comes too late. Only of plain SETs: the answer to others depends on whether they are carried out. The
 * epoch is read first, so that a clear in between is noticed by the one or the other.
 */
static void
mark_late(const struct hc_core *core, struct hc_op_group *group)
{
	for (size_t i = 0; i < group->n; i++) {
		struct hc_op *op = &group->ops[i];
		uint64_t changes;
		op->late = op->has_seen = false;
		if (op->kind != HC_OP_SET || hc_op_looks(op) || !hc_late_may_have(core->late, op->key.hash) ||
		    !hc_late_set(core->late, op->key.hash, hc_clock_mono_coarse_ms(), &changes))
			continue;
		op->seen = hc_models_epoch(core->models, op->model);
		op->late = hc_models_cleared_since(core->models, op->model, changes);
		op->has_seen = !op->late;
	}
}

static void
begin(struct hc_core_worker *worker, struct hc_op *op)
{
	struct hc_core *core = worker->core;

	op->sent_ms = worker->now_ms;
	op->mark = hc_outage_mark(core->outage);
	op->status = HC_PENDING;
	if (op->kind == HC_OP_CLEAR_MODEL || op->kind == HC_OP_CLEAR_ALL)
		return;
	op->behind = hc_store_write_begin(core->store, op->key, &op->ticket);
	op->begun = true;
	if (op->kind == HC_OP_SET) /* without memory for it, no copy is kept */
		op->entry = hc_core_op_entry(core, op, worker->now_ms);
}

/*
 * Whether it might be overtaken: by what was given up of the same key, or stands behind a clear, and may yet be carried
 * out by the upstream; or by what the list is just telling the upstream of its key. Then it goes onto the list, and
 * comes after that.
 */
static bool
may_be_overtaken(struct hc_core *core, const struct hc_op_group *group)
{
	bool stragglers = hc_stragglers_any(core->stragglers);

	if (!stragglers && !atomic_load(&core->making_up))
		return false;
	for (size_t i = 0; i < group->n; i++) {
		const struct hc_op *op = &group->ops[i];
		if (op->kind == HC_OP_CLEAR_MODEL || op->kind == HC_OP_CLEAR_ALL) {
			if (stragglers)
				return true;
			continue;
		}
		if (hc_outage_has_key(core->outage, op->key) ||
		    (stragglers && hc_stragglers_may_write(core->stragglers, op->key.hash)))
			return true;
	}
	return false;
}

static void
take_back(struct hc_core_worker *worker, struct hc_op *op)
{
	if (op->begun)
		(void)hc_store_write_end(worker->core->store, op->key, &op->ticket, NULL, HC_FILL_NEW, worker->now_ms);
	op->begun = false;
	op->sent_ms = 0;
	hc_entry_unref(op->entry);
	op->entry = NULL;
	hc_core_op_while_down(worker, op);
}

static enum hc_status
write_upstream(struct hc_core_worker *worker, struct hc_op_group *group)
{
	group->left = group->n;
	for (size_t i = 0; i < group->n; i++) {
		group->ops[i].group = group;
		begin(worker, &group->ops[i]);
	}
	/* Once more: what the main thread began to tell in between has not seen these, and what it tells from now on
	 * has. */
	if (may_be_overtaken(worker->core, group)) {
		for (size_t i = 0; i < group->n; i++)
			take_back(worker, &group->ops[i]);
		return HC_OK;
	}
	hc_core_batch_add(worker, group);
	return group->left == 0 ? HC_OK : HC_PENDING;
}

/*
 * Whether what is to become of a key depends on what the upstream has of it, which is outdated: a change of it was
 * acknowledged here that the upstream has not been told yet.
 */
static bool
builds_on_outdated(struct hc_core *core, const struct hc_op_group *group)
{
	if (hc_outage_empty(core->outage))
		return false;
	for (size_t i = 0; i < group->n; i++) {
		const struct hc_op *op = &group->ops[i];
		bool builds = needs_upstream(op) || op->kind == HC_OP_EXPIRE || op->kind == HC_OP_PERSIST;
		if (builds && hc_outage_doubts_key(core->outage, op->key))
			return true;
	}
	return false;
}

/*
 * Whether a model is to be cleared before what is written under it. Not while the key is being written: what others
 * wrote before that, and has not been heard of yet, would count as written after this.
 */
static bool
waits_for_a_clear(struct hc_core *core, const struct hc_op_group *group)
{
	bool waits = false;

	if (hc_outage_empty(core->outage))
		return false;
	for (size_t i = 0; i < group->n; i++) {
		const struct hc_op *op = &group->ops[i];
		if (op->kind != HC_OP_SET || hc_store_writing(core->store, op->key))
			return false;
		waits = waits || hc_outage_has_model(core->outage, op->model);
	}
	return waits;
}

bool
hc_core_is_reserved(const struct hc_core *core, struct hc_slice key)
{
	struct hc_slice reserved = core->reserved;

	return reserved.len > 0 && key.len >= reserved.len && memcmp(key.ptr, reserved.ptr, reserved.len) == 0;
}

static bool
names_reserved(const struct hc_core *core, const struct hc_op_group *group)
{
	for (size_t i = 0; i < group->n; i++) {
		if (hc_core_is_reserved(core, hc_slice(group->ops[i].key.ptr, group->ops[i].key.len)))
			return true;
	}
	return false;
}

/* Also when the link has ended already, as long as what went before has yet to be lost. */
static bool
has_way_upstream(const struct hc_core_worker *worker)
{
	return hc_link_is_up(worker->link) || hc_core_batch_under_way(worker);
}

enum hc_status
hc_core_write(struct hc_core_worker *worker, struct hc_op_group *group)
{
	struct hc_core *core = worker->core;

	mark_late(core, group);
	if (core->fleet == NULL) {
		for (size_t i = 0; i < group->n; i++) {
			if (group->ops[i].late)
				hc_stats_count(worker->stats, late_sets);
		}
		if (group->n > 1 && hc_core_apply_local_group(core, group, worker->now_ms))
			return HC_OK;
		for (size_t i = 0; i < group->n; i++)
			hc_core_apply_local(core, &group->ops[i], worker->now_ms);
		return HC_OK;
	}
	if (names_reserved(core, group)) {
		for (size_t i = 0; i < group->n; i++)
			group->ops[i].status = HC_INVALID;
		return HC_OK;
	}
	if (has_way_upstream(worker) && !builds_on_outdated(core, group) && !waits_for_a_clear(core, group) &&
	    !may_be_overtaken(core, group))
		return write_upstream(worker, group);
	for (size_t i = 0; i < group->n; i++)
		hc_core_op_while_down(worker, &group->ops[i]);
	return HC_OK;
}
