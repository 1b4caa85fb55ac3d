/*
 * FLUSHDB in a fleet: all keys of the prefix go, page by page, so that the upstream is never held up; the fleet is told
 * before and after, so that what a sibling fetched in between goes too. On the thread of the link that is used.
 *
 *     tell ─→ SCAN ─→ UNLINK ─→ SCAN … cursor 0 ─→ tell ─→ done
 *
 * While it runs, what others write may go as well: it counts as written before.
 */
#include "base/mem.h"
#include "core/internal.h"

#define PAGE "1000"

struct hc_flush {
	struct hc_core *core;
	struct hc_link *link;
	hc_flush_fn *fn;
	void *arg;
	struct hc_op op; /* CLEAR_ALL */
	char cursor[24];
	char *pattern;
	size_t pattern_len;
	bool swept;
};

static void
end(struct hc_flush *flush, enum hc_status status)
{
	flush->fn(flush->arg, status);
	hc_free(flush->pattern);
	hc_free(flush);
}

static void step(struct hc_flush *flush);
static enum hc_status tell(struct hc_flush *flush);

static void
on_unlinked(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_flush *flush = arg;

	if (status != HC_OK || reply->type == REDIS_REPLY_ERROR) {
		end(flush, status != HC_OK ? status : HC_ERROR);
		return;
	}
	step(flush);
}

static bool
is_own(const redisReply *key)
{
	struct hc_slice own = HC_SLICE(HC_FLEET_OWN_PREFIX);

	return (size_t)key->len >= own.len && memcmp(key->str, own.ptr, own.len) == 0;
}

static enum hc_status
unlink_page(struct hc_flush *flush, const redisReply *keys)
{
	struct hc_slice *argv = hc_malloc((keys->elements + 1) * sizeof(*argv));
	size_t argc = 0;

	if (argv == NULL)
		return HC_NOMEM;
	argv[argc++] = HC_SLICE("UNLINK");
	for (size_t i = 0; i < keys->elements; i++) {
		if (!is_own(keys->element[i]))
			argv[argc++] = hc_slice(keys->element[i]->str, (size_t)keys->element[i]->len);
	}
	enum hc_status status = HC_MISS;
	if (argc > 1)
		status = hc_link_send(flush->link, argv, argc, on_unlinked, flush);
	hc_free(argv);
	return status;
}

static bool
is_page(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	       reply->element[0]->type == REDIS_REPLY_STRING && reply->element[0]->len < 24 &&
	       reply->element[1]->type == REDIS_REPLY_ARRAY;
}

static void
on_page(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_flush *flush = arg;

	if (status == HC_OK && !is_page(reply))
		status = HC_ERROR;
	if (status != HC_OK) {
		end(flush, status);
		return;
	}
	memcpy(flush->cursor, reply->element[0]->str, (size_t)reply->element[0]->len + 1);
	flush->swept = strcmp(flush->cursor, "0") == 0;
	status = unlink_page(flush, reply->element[1]);
	if (status == HC_MISS)
		step(flush); /* nothing of ours in this page */
	else if (status != HC_OK)
		end(flush, status);
}

static void
step(struct hc_flush *flush)
{
	const struct hc_slice argv[] = {HC_SLICE("SCAN"), hc_slice_str(flush->cursor), HC_SLICE("MATCH"),
	    hc_slice(flush->pattern, flush->pattern_len), HC_SLICE("COUNT"), HC_SLICE(PAGE)};

	enum hc_status status = flush->swept
				    ? tell(flush)
				    : hc_link_send(flush->link, argv, sizeof(argv) / sizeof(argv[0]), on_page, flush);
	if (status != HC_OK)
		end(flush, status);
}

static void
on_told(void *arg, enum hc_status status, const redisReply *reply)
{
	struct hc_flush *flush = arg;
	struct hc_script_result result;

	if (status == HC_OK && (hc_script_result(reply, 0, &result) != HC_OK || result.error.ptr != NULL))
		status = HC_ERROR;
	if (status == HC_OK)
		hc_core_clear_all(flush->core);
	if (status != HC_OK || flush->swept)
		end(flush, status);
	else
		step(flush);
}

static enum hc_status
tell(struct hc_flush *flush)
{
	struct hc_script_call *call;

	enum hc_status status = hc_script_call_create(flush->core, 1, &call);
	if (status != HC_OK)
		return status;
	status = hc_script_call_add(call, &flush->op);
	if (status == HC_OK)
		status = hc_script_call_send(call, flush->link, "", on_told, flush);
	hc_script_call_destroy(call);
	return status;
}

char *
hc_core_prefix_pattern(const struct hc_core *core, struct hc_slice pattern, size_t *len)
{
	char *text = hc_malloc(core->prefix.len * 2 + pattern.len + 2), *at = text;

	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < core->prefix.len; i++) {
		if (strchr("*?[]^\\", core->prefix.ptr[i]) != NULL)
			*at++ = '\\';
		*at++ = core->prefix.ptr[i];
	}
	at = mempcpy(at, pattern.ptr, pattern.len);
	*at = '\0';
	*len = (size_t)(at - text);
	return text;
}

enum hc_status
hc_flush_start(struct hc_core *core, struct hc_link *link, hc_flush_fn *fn, void *arg)
{
	struct hc_flush *flush = hc_calloc(1, sizeof(*flush));
	if (flush == NULL)
		return HC_NOMEM;
	flush->core = core;
	flush->link = link;
	flush->fn = fn;
	flush->arg = arg;
	flush->op.kind = HC_OP_CLEAR_ALL;
	flush->cursor[0] = '0';
	flush->pattern = hc_core_prefix_pattern(core, HC_SLICE("*"), &flush->pattern_len);
	enum hc_status status = flush->pattern != NULL ? tell(flush) : HC_NOMEM;
	if (status == HC_OK)
		return HC_PENDING;
	hc_free(flush->pattern);
	hc_free(flush);
	return status;
}

/* ---- as an op of a worker ---- */

struct flush_op {
	struct hc_core_worker *worker;
	struct hc_op_group *group;
};

static void
on_flushed(void *arg, enum hc_status status)
{
	struct flush_op *flush = arg;
	struct hc_op *op = &flush->group->ops[0];

	op->status = status;
	if (status == HC_DOWN || status == HC_TIMEOUT)
		hc_core_op_while_down(flush->worker, op);
	flush->group->done(flush->group->arg);
	hc_free(flush);
}

enum hc_status
hc_core_flush(struct hc_core_worker *worker, struct hc_op_group *group)
{
	struct hc_core *core = worker->core;
	struct hc_op *op = &group->ops[0];

	if (core->fleet == NULL)
		return hc_core_write(worker, group);
	/* What is on the list would be read, and told the upstream, after it. */
	if (!hc_link_is_up(worker->link) || hc_stragglers_any(core->stragglers) || !hc_outage_empty(core->outage)) {
		hc_core_op_while_down(worker, op);
		return HC_OK;
	}
	struct flush_op *flush = hc_malloc(sizeof(*flush));
	if (flush == NULL) {
		op->status = HC_NOMEM;
		return HC_OK;
	}
	*flush = (struct flush_op){worker, group};
	hc_core_batch_flush(worker);
	enum hc_status status = hc_flush_start(core, worker->link, on_flushed, flush);
	if (status != HC_PENDING) {
		op->status = status;
		hc_free(flush);
		return HC_OK;
	}
	return HC_PENDING;
}
