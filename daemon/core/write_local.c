/*
 * Writes on the memory tier alone: embedded, and while the upstream is down. Any worker.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "core/internal.h"

int64_t
hc_core_op_expiry(const struct hc_core *core, const struct hc_op *op, int64_t now_ms)
{
	int64_t ttl = op->ttl_ms;

	if (op->kind == HC_OP_PERSIST)
		return HC_NO_EXPIRY;
	switch (op->ttl) {
	case HC_TTL_ABSOLUTE:
		return op->ttl_ms < HC_NO_EXPIRY ? op->ttl_ms : HC_NO_EXPIRY - 1;
	case HC_TTL_KEEP:
		return HC_NO_EXPIRY;
	case HC_TTL_NONE:
		ttl = core->settings->ttl_default;
		if (op->kind == HC_OP_EXPIRE || ttl == 0)
			return HC_NO_EXPIRY;
		break;
	case HC_TTL_RELATIVE:
		break;
	}
	return hc_core_expiry_after(now_ms, ttl);
}

/* Of what is written here: no later than the upstream is to be asked again. */
static int64_t
expiry_here(const struct hc_core *core, const struct hc_op *op, int64_t now_ms)
{
	int64_t expiry = hc_core_op_expiry(core, op, now_ms);

	if (!hc_core_caps_ttl(core))
		return expiry;
	int64_t left = expiry == HC_NO_EXPIRY ? -1 : expiry > now_ms ? expiry - now_ms : 0;
	return hc_core_local_expiry(core, left, now_ms);
}

struct hc_entry *
hc_core_op_entry(struct hc_core *core, const struct hc_op *op, int64_t now_ms)
{
	struct hc_entry *entry = hc_entry_create(core->store, op->key, op->value.len, op->model);
	if (entry == NULL)
		return NULL;
	if (op->value.len > 0)
		memcpy(hc_entry_value_ptr(entry), op->value.ptr, op->value.len);
	hc_entry_set_expire_ms(entry, expiry_here(core, op, now_ms));
	return entry;
}

/* Without an entry of its own: nothing is asked about the one that is there. */
static bool
overwrite(struct hc_core *core, const struct hc_op *op, int64_t now_ms)
{
	return op->entry == NULL && op->condition == HC_STORE_ANY && op->ttl != HC_TTL_KEEP && !op->want_old &&
	       hc_store_overwrite(core->store, op->key, op->model, op->value, expiry_here(core, op, now_ms), now_ms);
}

static void
set(struct hc_core *core, struct hc_op *op, int64_t now_ms)
{
	if (overwrite(core, op, now_ms)) {
		op->status = HC_OK;
		return;
	}
	struct hc_store_put how = {.condition = op->condition, .keep_ttl = op->ttl == HC_TTL_KEEP, .give = true};
	struct hc_entry *entry = op->entry != NULL ? op->entry : hc_core_op_entry(core, op, now_ms);

	op->entry = NULL;
	if (entry == NULL) {
		op->status = HC_NOMEM;
		return;
	}
	op->status = hc_store_put(core->store, op->key, entry, &how, now_ms, op->want_old ? &op->old : NULL);
}

void
hc_core_apply_local(struct hc_core *core, struct hc_op *op, int64_t now_ms)
{
	struct hc_entry **old = op->want_old ? &op->old : NULL;

	if (op->late) { /* written, and cleared at once */
		(void)hc_store_del(core->store, op->key, now_ms, NULL);
		op->status = HC_OK;
		return;
	}

	switch (op->kind) {
	case HC_OP_SET:
		set(core, op, now_ms);
		break;
	case HC_OP_DEL:
		op->status = hc_store_del(core->store, op->key, now_ms, old);
		break;
	case HC_OP_EXPIRE:
		op->status = hc_store_expire(
		    core->store, op->key, op->expire_flags, hc_core_op_expiry(core, op, now_ms), now_ms, old);
		break;
	case HC_OP_PERSIST:
		op->status = hc_store_expire(core->store, op->key, HC_EXPIRE_ANY, HC_NO_EXPIRY, now_ms, old);
		break;
	case HC_OP_CLEAR_MODEL:
		op->epoch = hc_models_bump(core->models, op->model);
		hc_tier_clear_model(core->tier, op->model, op->epoch);
		op->status = HC_OK;
		break;
	case HC_OP_CLEAR_ALL:
		hc_core_clear_all(core);
		op->status = HC_OK;
		break;
	case HC_OP_INCR:
	case HC_OP_INCR_FLOAT:
	case HC_OP_APPEND:
	case HC_OP_SET_RANGE:
		hc_core_change_local(core, op, now_ms);
		break;
	case HC_OP_COPY_FROM:
	case HC_OP_COPY_TO:
	case HC_OP_GUARD:
		op->status = HC_INVALID; /* only both at once, as a group */
		break;
	}
}

static bool
is_mset(const struct hc_op_group *group)
{
	for (size_t i = 0; i < group->n; i++) {
		const struct hc_op *op = &group->ops[i];
		if (op->kind != HC_OP_SET || op->want_old || op->ttl == HC_TTL_KEEP ||
		    op->condition != group->ops[0].condition)
			return false;
	}
	return group->n > 1;
}

bool
hc_core_apply_local_group(struct hc_core *core, struct hc_op_group *group, int64_t now_ms)
{
	enum hc_status status = HC_OK;
	size_t n = 0;

	if (group->ops[0].kind == HC_OP_COPY_FROM) {
		hc_core_copy_local(core, group->ops, now_ms);
		return true;
	}
	if (!is_mset(group))
		return false;
	struct hc_entry **entries = hc_calloc(group->n, sizeof(*entries));
	if (entries == NULL)
		status = HC_NOMEM;
	for (size_t i = 0; status == HC_OK && i < group->n; i++) {
		if (group->ops[i].late) {
			hc_core_apply_local(core, &group->ops[i], now_ms);
			continue;
		}
		entries[n] = hc_core_op_entry(core, &group->ops[i], now_ms);
		if (entries[n++] == NULL)
			status = HC_NOMEM;
	}
	if (status == HC_OK && n > 0)
		status = hc_store_put_many(core->store, entries, n, group->ops[0].condition, now_ms);
	for (size_t i = 0; i < group->n; i++) {
		group->ops[i].status = status;
		if (entries != NULL)
			hc_entry_unref(entries[i]);
	}
	hc_free(entries);
	return true;
}
