/*
 * Looking: by key, at all there is, at the counters. Any thread.
 */
#include "base/mem.h"
#include "file/internal.h"

/* With the part locked. */
static void
describe(struct hc_file *file, const struct hc_index_item *item, struct hc_file_item *out)
{
	const struct hc_group *group = &file->groups.groups[item->group];

	*out = (struct hc_file_item){
	    .hash = item->hash,
	    .position = hc_item_position(file, item),
	    .bytes = item->bytes,
	    .expire_ms = item->expire_ms,
	    .model = group->model,
	    .epoch = group->epoch,
	    .hot = item->hot,
	};
}

enum hc_status
hc_file_find(struct hc_file *file, struct hc_slice key, int64_t now_ms, struct hc_file_item *out)
{
	uint64_t hash = hc_key_hash(file->secret, key);
	struct hc_index_part *part = hc_index_lock(file->index, hash);
	struct hc_index_item item;
	bool live = hc_index_find(part, hash, &item) && hc_item_live(file, &item, now_ms);

	if (live && out != NULL)
		describe(file, &item, out);
	hc_index_unlock(part);
	return live ? HC_OK : HC_MISS;
}

void
hc_file_touch(struct hc_file *file, struct hc_slice key)
{
	uint64_t hash = hc_key_hash(file->secret, key);
	struct hc_index_part *part = hc_index_lock(file->index, hash);
	struct hc_index_item item, old;

	if (hc_index_find(part, hash, &item) && item.kind == HC_INDEX_VALUE && item.hot < HC_INDEX_HOT_MAX) {
		item.hot++;
		hc_index_put(part, &item, &old);
	}
	hc_index_unlock(part);
}

/* ---- walking ---- */

/* A bucket's items; a longer chain than this is all but impossible, and then fn is called under the lock's nose: it is
 * not. The list grows. */
struct batch {
	struct hc_file *file;
	struct hc_file_item *items;
	size_t n, room;
	int64_t now_ms;
	bool full;
};

static enum hc_index_verdict
collect(void *arg, const struct hc_index_item *item)
{
	struct batch *batch = arg;

	if (!hc_item_live(batch->file, item, batch->now_ms))
		return HC_INDEX_KEEP;
	if (batch->n == batch->room) {
		size_t more = 2 * batch->room;
		struct hc_file_item *grown = hc_realloc(batch->items, more * sizeof(*grown));
		if (grown == NULL) {
			batch->full = true;
			return HC_INDEX_KEEP;
		}
		batch->items = grown;
		batch->room = more;
	}
	describe(batch->file, item, &batch->items[batch->n++]);
	return HC_INDEX_KEEP;
}

enum hc_status
hc_file_walk(struct hc_file *file, uint64_t *cursor, size_t n, int64_t now_ms,
    void (*fn)(void *arg, const struct hc_file_item *item), void *arg)
{
	struct batch batch = {.file = file, .room = n + 16, .now_ms = now_ms};

	batch.items = hc_malloc(batch.room * sizeof(*batch.items));
	if (batch.items == NULL)
		return HC_NOMEM;
	/* Empty buckets count too: a call looks at no more than some of them, however few items there are. */
	for (size_t looked = 0; looked < 4 * n + 16 && batch.n < n; looked++) {
		uint64_t before = *cursor;
		size_t had = batch.n;
		hc_index_walk(file->index, cursor, collect, &batch);
		if (batch.full) {
			*cursor = before;
			batch.n = had;
		}
		if (*cursor == 0 || batch.full)
			break;
	}
	for (size_t i = 0; i < batch.n; i++)
		fn(arg, &batch.items[i]);
	hc_free(batch.items);
	return batch.full && batch.n == 0 ? HC_NOMEM : HC_OK;
}

/* ---- counters ---- */

uint64_t
hc_file_count(struct hc_file *file)
{
	uint64_t items, bytes, dead;

	hc_groups_sum(file, &items, &bytes, &dead);
	return items;
}

static enum hc_file_mode
mode_of(struct hc_file *file)
{
	enum hc_file_mode mode = (enum hc_file_mode)atomic_load_explicit(&file->mode, memory_order_acquire);

	if (mode == HC_FILE_ON && atomic_load_explicit(&file->loading, memory_order_acquire))
		return HC_FILE_LOADING;
	return mode;
}

void
hc_file_stats(struct hc_file *file, struct hc_file_stats *out)
{
	uint64_t dead;

	*out = (struct hc_file_stats){.mode = mode_of(file), .max_bytes = file->config.max_bytes};
#define X(name) out->name = atomic_load_explicit(&file->counters.name, memory_order_relaxed);
	HC_FILE_COUNTERS(X)
#undef X
	out->fault = atomic_load_explicit(&file->fault, memory_order_relaxed);
	out->index_bytes = hc_index_bytes(file->index);
	hc_groups_sum(file, &out->items, &out->live_bytes, &dead);
	pthread_mutex_lock(&file->log.lock);
	out->queue_records = file->log.queued;
	out->queue_bytes = file->log.queued_bytes;
	memcpy(out->appended, file->log.appended, sizeof(out->appended));
	pthread_mutex_unlock(&file->log.lock);
	pthread_mutex_lock(&file->segments.lock);
	out->segments = file->segments.count;
	out->disk_bytes = file->segments.bytes + 2 * HC_BLOCK;
	pthread_mutex_unlock(&file->segments.lock);
}

const char *
hc_file_mode_name(enum hc_file_mode mode)
{
	static const char *const names[] = {[HC_FILE_LOADING] = "loading", [HC_FILE_ON] = "on", [HC_FILE_OFF] = "off"};

	return names[mode];
}
