/*
 * Changes of what is there, and copies of it, on the memory tier alone: embedded. Any worker.
 *
 *     change: look → make the new entry → put it in its place, if that still is what was looked at; else again
 *     copy:   both keys at one moment, with the whole store held
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include "base/mem.h"
#include "base/num.h"
#include "core/internal.h"

/* A value under way. */
struct change {
	struct hc_core *core;
	struct hc_op *op;
	struct hc_entry *present; /* with a reference, or NULL */
	struct hc_entry *made;    /* the same */
	int64_t now_ms;
};

static void
fail(struct hc_op *op, const char *words)
{
	op->status = HC_ERROR;
	op->error = hc_strdup(words);
}

static struct hc_slice
present_value(const struct change *change)
{
	return change->present != NULL ? hc_entry_value(change->present) : hc_slice("", 0);
}

/*
 * Room for the new value, with the model of what it comes from and, from hc_store_put(), its expiry. Its epoch is of
 * now: should a clear have come since the present one was looked up, that one is not the present one any more, and the
 * compare-and-swap fails.
 */
static char *
make_entry(struct change *change, size_t len)
{
	struct hc_op *op = change->op;

	if (change->present == NULL) {
		const struct hc_op as_set = {.key = op->key, .kind = HC_OP_SET, .model = op->model, .value = {NULL, 0}};
		struct hc_entry *empty = hc_core_op_entry(change->core, &as_set, change->now_ms);
		if (empty == NULL)
			return NULL;
		change->made = hc_entry_create(change->core->store, op->key, len, op->model);
		if (change->made != NULL)
			hc_entry_set_expire_ms(change->made, hc_entry_expire_ms(empty));
		hc_entry_unref(empty);
	} else {
		change->made = hc_entry_create(change->core->store, op->key, len, hc_entry_model(change->present));
	}
	return change->made != NULL ? hc_entry_value_ptr(change->made) : NULL;
}

static void
answer(struct hc_op *op, const char *text, size_t len)
{
	op->answer = hc_strndup(text, len);
	op->status = op->answer != NULL ? HC_OK : HC_NOMEM;
}

/* A number in text: the new value and the answer. */
static void
make_number(struct change *change, const char *text, size_t len)
{
	char *dst = make_entry(change, len);

	if (dst == NULL) {
		change->op->status = HC_NOMEM;
		return;
	}
	memcpy(dst, text, len);
	answer(change->op, text, len);
}

static void
increase(struct change *change)
{
	struct hc_op *op = change->op;
	int64_t before = 0, by, sum;
	char text[24];

	if ((change->present != NULL && !hc_num_i64(present_value(change), &before)) || !hc_num_i64(op->value, &by)) {
		fail(op, "ERR value is not an integer or out of range");
		return;
	}
	if (__builtin_add_overflow(before, by, &sum)) {
		fail(op, "ERR increment or decrement would overflow");
		return;
	}
	int len = snprintf(text, sizeof(text), "%" PRId64, sum);
	make_number(change, text, (size_t)len);
}

static void
increase_float(struct change *change)
{
	struct hc_op *op = change->op;
	long double before = 0, by;
	char text[HC_NUM_FLOAT_CAP];

	if ((change->present != NULL && !hc_num_float(present_value(change), &before)) ||
	    !hc_num_float(op->value, &by)) {
		fail(op, "ERR value is not a valid float");
		return;
	}
	if (!isfinite(before + by)) {
		fail(op, "ERR increment would produce NaN or Infinity");
		return;
	}
	make_number(change, text, hc_num_put_float(text, before + by));
}

/* APPEND is writing from the end on. */
static void
write_range(struct change *change, size_t offset)
{
	struct hc_op *op = change->op;
	struct hc_slice old = present_value(change);
	size_t end = offset + op->value.len, len = end > old.len ? end : old.len;
	char text[24];

	if (end > (size_t)op->max_bytes) {
		fail(op, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
		return;
	}
	char *dst = make_entry(change, len);
	if (dst == NULL) {
		op->status = HC_NOMEM;
		return;
	}
	if (old.len > 0)
		memcpy(dst, old.ptr, old.len);
	if (len > old.len)
		memset(dst + old.len, 0, len - old.len);
	if (op->value.len > 0)
		memcpy(dst + offset, op->value.ptr, op->value.len);
	answer(op, text, (size_t)snprintf(text, sizeof(text), "%zu", len));
}

static void
make(struct change *change)
{
	switch (change->op->kind) {
	case HC_OP_INCR:
		increase(change);
		break;
	case HC_OP_INCR_FLOAT:
		increase_float(change);
		break;
	case HC_OP_APPEND:
		write_range(change, present_value(change).len);
		break;
	default:
		write_range(change, (size_t)change->op->offset);
		break;
	}
}

/* One look and one attempt. False: somebody else was faster. */
static bool
try_change(struct change *change)
{
	struct hc_store *store = change->core->store;
	struct hc_op *op = change->op;

	change->present = change->made = NULL;
	(void)hc_store_peek(store, op->key, change->now_ms, &change->present);
	make(change);
	if (op->status == HC_OK && !hc_store_fits(store, change->made))
		op->status = HC_LIMIT; /* what is there stays */
	if (op->status == HC_OK) {
		const struct hc_store_put how = {
		    .condition = HC_STORE_SAME, .expected = change->present, .keep_ttl = change->present != NULL};
		op->status = hc_store_put(store, op->key, change->made, &how, change->now_ms, NULL);
	}
	hc_entry_unref(change->present);
	hc_entry_unref(change->made);
	if (op->status != HC_CONFLICT)
		return true;
	hc_free(op->answer);
	op->answer = NULL;
	return false;
}

void
hc_core_change_local(struct hc_core *core, struct hc_op *op, int64_t now_ms)
{
	struct change change = {.core = core, .op = op, .now_ms = now_ms};

	while (!try_change(&change))
		continue;
}

/* ---- copies ---- */

static struct hc_entry *
duplicate(struct hc_core *core, const struct hc_entry *source, struct hc_key key)
{
	struct hc_slice value = hc_entry_value(source);
	struct hc_entry *entry = hc_entry_create(core->store, key, value.len, hc_entry_model(source));

	if (entry == NULL)
		return NULL;
	if (value.len > 0)
		memcpy(hc_entry_value_ptr(entry), value.ptr, value.len);
	hc_entry_set_expire_ms(entry, hc_entry_expire_ms(source));
	return entry;
}

/* A clear asks for no lock. The copy's epoch was read after the source was looked up: is that one valid still? */
static bool
is_there_still(struct hc_core *core, struct hc_key key, int64_t now_ms)
{
	struct hc_entry *entry;

	if (hc_store_peek(core->store, key, now_ms, &entry) != HC_OK)
		return false;
	hc_entry_unref(entry);
	return true;
}

static void
copy(struct hc_core *core, struct hc_op *from, struct hc_op *to, int64_t now_ms)
{
	const struct hc_store_put how = {.condition = to->condition};
	struct hc_entry *source, *entry;

	to->status = HC_MISS;
	from->status = hc_store_peek(core->store, from->key, now_ms, &source);
	if (from->status != HC_OK)
		return;
	entry = duplicate(core, source, to->key);
	if (entry == NULL)
		to->status = HC_NOMEM;
	else if (!hc_store_fits(core->store, entry))
		to->status = HC_LIMIT; /* the longer name is too much; what is there stays */
	else if (!is_there_still(core, from->key, now_ms))
		from->status = HC_MISS;
	else
		to->status = hc_store_put(core->store, to->key, entry, &how, now_ms, NULL);
	if (to->status == HC_OK && from->move)
		(void)hc_store_del(core->store, from->key, now_ms, NULL);
	hc_entry_unref(entry);
	hc_entry_unref(source);
}

void
hc_core_copy_local(struct hc_core *core, struct hc_op *ops, int64_t now_ms)
{
	bool held = hc_store_is_exclusive(core->store); /* by EXEC */

	if (!held)
		hc_store_exclusive_begin(core->store);
	copy(core, &ops[0], &ops[1], now_ms);
	if (!held)
		hc_store_exclusive_end(core->store);
}
