/*
 * Appending: the index and the log's head changed in one step, with the key's part locked and, inside it, the log.
 * Any thread.
 */
#include <errno.h>
#include "base/mem.h"
#include "file/internal.h"

bool
hc_item_live(struct hc_file *file, const struct hc_index_item *item, int64_t now_ms)
{
	return item->kind == HC_INDEX_VALUE && item->expire_ms > now_ms && hc_group_current(file, item->group);
}

/* ---- the index's side, with the part locked ---- */

static void
leave(struct hc_file *file, const struct hc_index_item *item)
{
	if (item->kind == HC_INDEX_VALUE)
		hc_group_leave(file, item->group, 1, item->bytes);
}

/*
 * The key is gone. While loading a mark stays, so that nothing older comes; when there is no memory for it, loading
 * ends here. True: there was a value.
 */
static bool
unlist(struct hc_file *file, struct hc_index_part *part, uint64_t hash)
{
	struct hc_index_item old;
	bool was;

	if (atomic_load_explicit(&file->loading, memory_order_acquire)) {
		struct hc_index_item mark = {.hash = hash, .kind = HC_INDEX_GONE};
		if (hc_index_reserve(part) == HC_OK) {
			was = hc_index_put(part, &mark, &old);
			if (was)
				leave(file, &old);
			return was && old.kind == HC_INDEX_VALUE;
		}
		atomic_store_explicit(&file->loading, false, memory_order_release);
	}
	was = hc_index_remove(part, hash, &old);
	if (was)
		leave(file, &old);
	return was && old.kind == HC_INDEX_VALUE;
}

/* The value is what the key has now; its group has been entered. There is room for it. */
static void
list(struct hc_file *file, struct hc_index_part *part, const struct hc_slot *slot, uint8_t hot)
{
	const struct hc_record *record = &slot->record;
	struct hc_index_item old, item = {
				      .hash = slot->hash,
				      .place = hc_place(record->position),
				      .bytes = hc_padded(record->length),
				      .expire_ms = record->expire_ms,
				      .group = slot->group,
				      .hot = hot,
				  };

	if (hc_index_put(part, &item, &old))
		leave(file, &old);
}

/* ---- values ---- */

/* Under log.lock: whether the value may be appended now, and its group. */
static enum hc_status
admit(struct hc_file *file, const struct hc_file_record *record, uint16_t *group)
{
	const struct hc_file_config *config = &file->config;

	if (config->generation != NULL && record->generation != config->generation(config->arg))
		return HC_STALE;
	if (record->droppable &&
	    (hc_log_busy(file) || atomic_load_explicit(&file->mode, memory_order_relaxed) == HC_FILE_OFF)) {
		HC_COUNT(file, shed, 1);
		return HC_LIMIT;
	}
	return hc_group_resolve(file, record->model, record->epoch, group);
}

/*
 * With the key's part locked. What the index does not have is not on disk either; but for what is not loaded yet, and
 * what reclaim has taken out of the index and not unlinked yet: a kill may bring it back.
 */
static bool
knows_all(const struct hc_file *file)
{
	return atomic_load_explicit(&file->complete, memory_order_acquire) &&
	       !atomic_load_explicit(&file->emptying, memory_order_acquire);
}

/* Under log.lock and the part's: a DELETE, unless there is nothing on disk that it could delete. */
static enum hc_status
push_delete(struct hc_file *file, struct hc_index_part *part, uint64_t hash)
{
	struct hc_slot slot = {.record = {.type = HC_RECORD_DELETE, .hash = hash}, .hash = hash};
	struct hc_index_item item;

	if (knows_all(file) && !hc_index_find(part, hash, &item))
		return HC_MISS;
	return hc_log_push(file, &slot);
}

static enum hc_status
push_value(struct hc_file *file, const struct hc_file_record *record, struct hc_slot *slot)
{
	enum hc_status status = admit(file, record, &slot->group);

	if (status != HC_OK)
		return status;
	status = hc_log_push(file, slot);
	if (status == HC_OK) {
		hc_group_enter(file, slot->group, hc_padded(slot->record.length));
		HC_COUNT(file, appended_bytes, slot->record.length);
	}
	return status;
}

static enum hc_status
append_value(struct hc_file *file, const struct hc_file_record *record, void *owner, uint64_t *mark)
{
	struct hc_slot slot = {
	    .record =
		{
		    .type = HC_RECORD_VALUE,
		    .hits = record->hits,
		    .expire_ms = record->expire_ms,
		    .version = record->version,
		    .created_s = record->created_s,
		    .key = record->key,
		    .body = record->value,
		},
	    .owner = owner,
	    .hash = hc_key_hash(file->secret, record->key),
	};
	struct hc_index_part *part = hc_index_lock(file->index, slot.hash);
	enum hc_status status = HC_LIMIT;

	if (record->key.len + record->value.len + HC_VALUE_HEAD > file->record_max)
		HC_COUNT(file, too_long, 1);
	else
		status = hc_index_reserve(part);
	pthread_mutex_lock(&file->log.lock);
	if (status == HC_OK)
		status = push_value(file, record, &slot);
	if (status != HC_OK && !record->droppable)
		push_delete(file, part, slot.hash);
	*mark = hc_log_head(file);
	pthread_mutex_unlock(&file->log.lock);
	if (status == HC_OK)
		list(file, part, &slot, 0);
	else if (!record->droppable)
		unlist(file, part, slot.hash);
	hc_index_unlock(part);
	return status;
}

/* ---- what has no value ---- */

static enum hc_status
append_delete(struct hc_file *file, uint64_t hash, uint64_t *mark)
{
	struct hc_index_part *part = hc_index_lock(file->index, hash);
	enum hc_status status;
	bool was = false;

	pthread_mutex_lock(&file->log.lock);
	status = push_delete(file, part, hash);
	*mark = hc_log_head(file);
	pthread_mutex_unlock(&file->log.lock);
	if (status != HC_MISS)
		was = unlist(file, part, hash);
	hc_index_unlock(part);
	return was ? HC_OK : HC_MISS;
}

/*
 * Of a live value. One that is not in the index, but may be on disk, is deleted: whether it was alive until now nobody
 * knows, and an expiry must not bring it back to life.
 */
static enum hc_status
append_expire(struct hc_file *file, const struct hc_file_record *record, uint64_t *mark)
{
	uint64_t hash = hc_key_hash(file->secret, record->key);
	struct hc_slot slot = {
	    .record = {.type = HC_RECORD_EXPIRE, .hash = hash, .expire_ms = record->expire_ms}, .hash = hash};
	struct hc_index_part *part = hc_index_lock(file->index, hash);
	struct hc_index_item old, item;
	bool live = hc_index_find(part, hash, &item) && hc_item_live(file, &item, hc_clock_wall_ms());
	enum hc_status status;

	pthread_mutex_lock(&file->log.lock);
	status = live ? hc_log_push(file, &slot) : push_delete(file, part, hash);
	*mark = hc_log_head(file);
	pthread_mutex_unlock(&file->log.lock);
	if (live && status == HC_OK) {
		item.expire_ms = record->expire_ms;
		hc_index_put(part, &item, &old);
	} else if (status != HC_MISS) {
		unlist(file, part, hash);
	}
	hc_index_unlock(part);
	return live || status == HC_NOMEM ? status : HC_MISS;
}

static enum hc_status
append_clear_model(struct hc_file *file, uint32_t model, uint64_t *mark)
{
	struct hc_slot slot = {.record = {.type = HC_RECORD_CLEAR_MODEL}};
	enum hc_status status;

	pthread_mutex_lock(&file->log.lock);
	/* The present epoch, should it have moved on once more. */
	status = hc_group_resolve(file, model, file->config.model_epoch(file->config.arg, model), &slot.group);
	if (status == HC_OK) {
		status = hc_log_push(file, &slot);
	} else {
		/* There is no way to say which model: nothing of what is on disk may come back. */
		file->log.changed.all = true;
		hc_log_fault(file, ENOMEM);
	}
	*mark = hc_log_head(file);
	pthread_mutex_unlock(&file->log.lock);
	atomic_store_explicit(&file->sweep_now, true, memory_order_release);
	return status;
}

void
hc_clear_index(struct hc_file *file, uint64_t position)
{
	atomic_store_explicit(&file->cleared, position, memory_order_release);
	atomic_store_explicit(&file->loading, false, memory_order_release);
	atomic_store_explicit(&file->complete, true, memory_order_release);
	hc_index_clear(file->index, &file->log.garbage);
	for (uint32_t i = 0; i < atomic_load_explicit(&file->groups.top, memory_order_relaxed); i++) {
		atomic_store_explicit(&file->groups.groups[i].items, 0, memory_order_release);
		atomic_store_explicit(&file->groups.groups[i].bytes, 0, memory_order_relaxed);
	}
}

static enum hc_status
append_clear_all(struct hc_file *file, uint64_t *mark)
{
	struct hc_slot slot = {.record = {.type = HC_RECORD_CLEAR_ALL}};
	enum hc_status status;

	hc_index_lock_all(file->index);
	pthread_mutex_lock(&file->log.lock);
	status = hc_log_push(file, &slot);
	*mark = hc_log_head(file);
	hc_clear_index(file, status == HC_OK ? slot.record.position : *mark);
	pthread_mutex_unlock(&file->log.lock);
	hc_index_unlock_all(file->index);
	return status;
}

enum hc_status
hc_file_append(struct hc_file *file, const struct hc_file_record *record, void *owner, uint64_t *mark)
{
	switch (record->type) {
	case HC_FILE_VALUE:
		return append_value(file, record, owner, mark);
	case HC_FILE_DELETE:
		return append_delete(file, hc_key_hash(file->secret, record->key), mark);
	case HC_FILE_EXPIRE:
		return append_expire(file, record, mark);
	case HC_FILE_CLEAR_MODEL:
		return append_clear_model(file, record->model, mark);
	case HC_FILE_CLEAR_ALL:
		return append_clear_all(file, mark);
	}
	*mark = 0;
	return HC_INVALID;
}

uint64_t
hc_file_set_state(struct hc_file *file, const void *ptr, size_t len)
{
	struct hc_log *log = &file->log;
	struct hc_slot slot = {0};
	uint64_t mark;

	pthread_mutex_lock(&log->lock);
	log->opaque_len = len < HC_FILE_STATE_MAX ? len : HC_FILE_STATE_MAX;
	memcpy(log->opaque, ptr, log->opaque_len);
	hc_log_make_state(file, &slot.record);
	hc_log_push(file, &slot);
	mark = hc_log_head(file);
	pthread_mutex_unlock(&log->lock);
	hc_file_kick(file);
	return mark;
}

uint64_t
hc_file_head(struct hc_file *file)
{
	pthread_mutex_lock(&file->log.lock);
	uint64_t head = hc_log_head(file);
	pthread_mutex_unlock(&file->log.lock);
	return head;
}

size_t
hc_file_state(struct hc_file *file, void *buf)
{
	size_t len;

	pthread_mutex_lock(&file->log.lock);
	len = file->log.opaque_len;
	memcpy(buf, file->log.opaque, len);
	pthread_mutex_unlock(&file->log.lock);
	return len;
}

/* ---- by the module's own threads ---- */

enum hc_status
hc_append_carried(
    struct hc_file *file, const struct hc_index_item *item, const struct hc_record *record, void *block, uint64_t *mark)
{
	struct hc_index_part *part = hc_index_lock(file->index, item->hash);
	struct hc_index_item now;
	enum hc_status status = HC_MISS;

	if (hc_index_find(part, item->hash, &now) && now.place == item->place &&
	    hc_item_live(file, &now, hc_clock_wall_ms())) {
		struct hc_slot slot = {
		    .record = *record, .owner = block, .carried = true, .group = now.group, .hash = now.hash};
		slot.record.expire_ms = now.expire_ms;
		pthread_mutex_lock(&file->log.lock);
		if (!hc_log_busy(file) && !file->log.stop &&
		    atomic_load_explicit(&file->mode, memory_order_relaxed) != HC_FILE_OFF)
			status = hc_log_push(file, &slot);
		*mark = hc_log_head(file);
		if (status == HC_OK)
			hc_group_enter(file, slot.group, hc_padded(slot.record.length));
		pthread_mutex_unlock(&file->log.lock);
		if (status == HC_OK)
			list(file, part, &slot, now.hot / 2);
		else if (status == HC_NOMEM)
			unlist(file, part, now.hash);
	}
	hc_index_unlock(part);
	return status;
}

void
hc_append_damaged(struct hc_file *file, uint64_t hash, uint64_t position)
{
	struct hc_index_part *part = hc_index_lock(file->index, hash);
	struct hc_index_item item;

	if (hc_index_find(part, hash, &item) && item.kind == HC_INDEX_VALUE && item.place == hc_place(position)) {
		pthread_mutex_lock(&file->log.lock);
		push_delete(file, part, hash);
		pthread_mutex_unlock(&file->log.lock);
		unlist(file, part, hash);
	}
	hc_index_unlock(part);
}

bool
hc_item_remove_at(struct hc_file *file, uint64_t hash, uint64_t position)
{
	struct hc_index_part *part = hc_index_lock(file->index, hash);
	struct hc_index_item item;
	bool was_live = false;

	if (hc_index_find(part, hash, &item) && item.kind == HC_INDEX_VALUE && item.place == hc_place(position)) {
		was_live = hc_item_live(file, &item, hc_clock_wall_ms());
		unlist(file, part, hash);
	}
	hc_index_unlock(part);
	return was_live;
}
