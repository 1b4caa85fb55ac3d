/*
 * The head of the log: which position the next record gets, and the queue that leads to the writer. Everything under
 * log.lock, for some ten nanoseconds; see internal.h.
 *
 * The queue is a list of blocks of 128 slots from a pool made at the start. The writer takes the whole list and gives
 * emptied blocks back. When the pool is empty (somebody appended without a claim), blocks come from the heap.
 */
#include <errno.h>
#include "base/mem.h"
#include "file/internal.h"

#define SPARE_SLOTS 3 /* what one push may need: a STATE, a GROUP, the record */

/* ---- keys changed while nothing could be written ---- */

static enum hc_status
changed_init(struct hc_changed *changed, uint32_t max)
{
	uint32_t size = 2;

	while (size < 2 * max)
		size *= 2;
	changed->table = hc_calloc(size, sizeof(*changed->table));
	changed->mask = size - 1;
	changed->max = max;
	return changed->table == NULL ? HC_NOMEM : HC_OK;
}

static void
changed_add(struct hc_changed *changed, uint64_t hash)
{
	uint32_t at = (uint32_t)(hash >> 32) & changed->mask;

	if (changed->all)
		return;
	if (hash == 0 || changed->n == changed->max) {
		changed->all = true;
		return;
	}
	for (; changed->table[at] != 0; at = (at + 1) & changed->mask)
		if (changed->table[at] == hash)
			return;
	changed->table[at] = hash;
	changed->n++;
}

/* ---- blocks of slots ---- */

static enum hc_status
fill_pool(struct hc_log *log, uint32_t blocks)
{
	for (; log->pooled < blocks; log->pooled++) {
		struct hc_slots *block = hc_malloc(sizeof(*block));
		if (block == NULL)
			return HC_NOMEM;
		block->next = log->pool;
		log->pool = block;
	}
	return HC_OK;
}

/* Room for what one push may need, in one block. */
static bool
reserve_slots(struct hc_log *log)
{
	struct hc_slots *block = log->last;

	if (block != NULL && block->n + SPARE_SLOTS <= HC_SLOTS)
		return true;
	if (log->pool != NULL) {
		block = log->pool;
		log->pool = block->next;
		log->pooled--;
	} else if ((block = hc_malloc(sizeof(*block))) == NULL) {
		return false;
	}
	block->next = NULL;
	block->n = 0;
	if (log->last == NULL)
		log->first = block;
	else
		log->last->next = block;
	log->last = block;
	return true;
}

enum hc_status
hc_log_init(struct hc_file *file)
{
	struct hc_log *log = &file->log;
	uint32_t quarter = file->config.segment_bytes / 4 / HC_DELETE_BYTES;
	pthread_condattr_t attr;

	pthread_mutex_init(&log->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&log->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (changed_init(&log->changed, quarter < 65536 ? quarter : 65536) != HC_OK)
		return HC_NOMEM;
	return fill_pool(log, file->config.queue_records / HC_SLOTS + 2);
}

static void
free_blocks(struct hc_slots *block)
{
	while (block != NULL) {
		struct hc_slots *next = block->next;
		hc_free(block);
		block = next;
	}
}

void
hc_log_fini(struct hc_file *file)
{
	free_blocks(file->log.first);
	free_blocks(file->log.pool);
	hc_free(file->log.changed.table);
	hc_index_free_garbage(file->log.garbage);
	pthread_cond_destroy(&file->log.wake);
	pthread_mutex_destroy(&file->log.lock);
}

/* ---- positions ---- */

uint64_t
hc_log_head(const struct hc_file *file)
{
	return hc_position(atomic_load_explicit(&file->log.seq, memory_order_relaxed), file->log.offset);
}

uint64_t
hc_index_file_bytes(uint64_t lines, uint64_t group_bytes)
{
	return HC_INDEX_HEAD + lines * HC_ENTRY_BYTES + group_bytes;
}

static uint32_t
record_length(const struct hc_record *record)
{
	switch (record->type) {
	case HC_RECORD_VALUE:
		return HC_VALUE_HEAD + (uint32_t)(record->key.len + record->body.len);
	case HC_RECORD_DELETE:
		return HC_DELETE_BYTES;
	case HC_RECORD_EXPIRE:
		return HC_EXPIRE_BYTES;
	case HC_RECORD_GROUP:
		return HC_GROUP_HEAD + (uint32_t)record->key.len;
	case HC_RECORD_STATE:
		return record->length;
	default:
		return HC_RECORD_HEAD;
	}
}

/* The slot gets the next place. There is a slot free, and room in the segment. */
static void
place(struct hc_log *log, struct hc_slot *slot)
{
	struct hc_record *record = &slot->record;
	uint32_t bytes;

	record->length = record_length(record);
	bytes = hc_padded(record->length);
	record->position = hc_position(atomic_load_explicit(&log->seq, memory_order_relaxed), log->offset);
	log->offset += bytes;
	log->lines++;
	log->last->slot[log->last->n++] = *slot;
	log->queued++;
	log->queued_bytes += bytes;
	log->appended[record->type <= HC_RECORD_CLEAR_ALL ? record->type : 0]++;
}

/* With its index file, the segment stays within its size. */
static bool
fits(const struct hc_file *file, uint64_t bytes, uint32_t lines, uint64_t group_bytes)
{
	const struct hc_log *log = &file->log;
	uint64_t beside = hc_index_file_bytes((uint64_t)log->lines + lines, log->group_bytes + group_bytes);

	return log->begun && log->offset + bytes + beside <= file->config.segment_bytes - 2 * HC_BLOCK &&
	       log->groups + lines < UINT16_MAX;
}

void
hc_log_make_state(const struct hc_file *file, struct hc_record *record)
{
	uint64_t epochs = file->groups.epoch_bytes, most = file->config.segment_bytes / 4;

	/* What is counted later has its own record behind this one, and no room in it. */
	*record = (struct hc_record){
	    .type = HC_RECORD_STATE,
	    .length = HC_STATE_HEAD + HC_FILE_STATE_MAX + (uint32_t)(epochs < most ? epochs : most),
	    .version = file->groups.epochs,
	};
}

/* `deletes` leaves a hole, which the writer fills on its own. */
static void
roll(struct hc_file *file, uint32_t deletes)
{
	struct hc_log *log = &file->log;
	struct hc_slot slot = {0};

	if (log->begun)
		atomic_fetch_add_explicit(&log->seq, 1, memory_order_release);
	log->begun = true;
	log->offset = HC_SEGMENT_HEAD;
	log->lines = deletes;
	log->groups = log->group_bytes = 0;
	hc_log_make_state(file, &slot.record);
	place(log, &slot);
	log->offset += deletes * HC_DELETE_BYTES;
}

enum hc_status
hc_log_roll(struct hc_file *file, uint32_t deletes)
{
	if (!reserve_slots(&file->log))
		return HC_NOMEM;
	roll(file, deletes);
	return HC_OK;
}

void
hc_log_note_lost(struct hc_file *file, const struct hc_slot *slot)
{
	struct hc_changed *changed = &file->log.changed;

	switch (slot->record.type) {
	case HC_RECORD_CLEAR_ALL:
		changed->all = true;
		break;
	case HC_RECORD_CLEAR_MODEL:
		hc_model_state(&file->groups, file->groups.groups[slot->group].model)->unlogged = true;
		break;
	case HC_RECORD_VALUE:
	case HC_RECORD_DELETE:
	case HC_RECORD_EXPIRE:
		changed_add(changed, slot->hash);
		break;
	default:
		break;
	}
}

void
hc_log_fault(struct hc_file *file, int err)
{
	struct hc_log *log = &file->log;

	log->fault = err;
	/* Nothing comes to be there: this segment is not written on. */
	if (log->offset + HC_RECORD_ALIGN < file->config.segment_bytes)
		log->offset += HC_RECORD_ALIGN;
}

/* Without memory for the queue itself: the writer is told to switch off, and this change will not come back. */
static enum hc_status
push_lost(struct hc_file *file, const struct hc_slot *slot)
{
	hc_log_note_lost(file, slot);
	hc_log_fault(file, ENOMEM);
	return HC_NOMEM;
}

/* The group gets a number in this segment, by a record of its own. */
static void
define_group(struct hc_file *file, struct hc_group *group, struct hc_slice name)
{
	struct hc_log *log = &file->log;
	struct hc_slot slot = {
	    .record = {.type = HC_RECORD_GROUP, .group = (uint16_t)log->groups, .epoch = group->epoch, .key = name}};

	group->number = (uint16_t)log->groups++;
	group->defined_seq = atomic_load_explicit(&log->seq, memory_order_relaxed);
	log->group_bytes += HC_DICT_HEAD + (uint32_t)name.len;
	place(log, &slot);
}

enum hc_status
hc_log_push(struct hc_file *file, struct hc_slot *slot)
{
	struct hc_log *log = &file->log;
	enum hc_record_type type = slot->record.type;
	bool grouped = type == HC_RECORD_VALUE || type == HC_RECORD_CLEAR_MODEL;
	struct hc_group *group = grouped ? &file->groups.groups[slot->group] : NULL;
	struct hc_slice name = {0};
	uint64_t bytes = hc_padded(record_length(&slot->record));

	if (grouped)
		name = file->config.model_name(file->config.arg, group->model);
	/* A GROUP is counted whether it is needed or not: which segment it will be is not known yet. */
	uint64_t with_group = bytes + (grouped ? hc_padded(HC_GROUP_HEAD + (uint32_t)name.len) : 0);
	if (!reserve_slots(log))
		return push_lost(file, slot);
	if (!fits(file, with_group, 2, HC_DICT_HEAD + name.len))
		roll(file, 0);
	if (grouped) {
		if (group->defined_seq != atomic_load_explicit(&log->seq, memory_order_relaxed))
			define_group(file, group, name);
		slot->record.group = group->number;
	}
	place(log, slot);
	slot->record.position = log->last->slot[log->last->n - 1].record.position;
	return HC_OK;
}

/* ---- room ---- */

bool
hc_log_busy(const struct hc_file *file)
{
	const struct hc_log *log = &file->log;

	return (log->queued + log->claimed) * 2 > file->config.queue_records ||
	       (log->queued_bytes + log->claimed_bytes) * 2 > file->config.queue_bytes;
}

bool
hc_log_has_room(struct hc_file *file)
{
	pthread_mutex_lock(&file->log.lock);
	bool busy = hc_log_busy(file);
	pthread_mutex_unlock(&file->log.lock);
	return !busy;
}

uint64_t
hc_file_record_bytes(size_t key_len, size_t value_len)
{
	uint64_t length = HC_VALUE_HEAD + (uint64_t)key_len + value_len;

	return (length + HC_RECORD_ALIGN - 1) & ~(uint64_t)(HC_RECORD_ALIGN - 1);
}

bool
hc_file_claim(struct hc_file *file, uint32_t records, uint64_t bytes)
{
	struct hc_log *log = &file->log;
	bool granted;

	pthread_mutex_lock(&log->lock);
	granted = (log->queued + log->claimed + records <= file->config.queue_records &&
		      log->queued_bytes + log->claimed_bytes + bytes <= file->config.queue_bytes) ||
		  (log->queued == 0 && log->claimed == 0);
	if (granted) {
		log->claimed += records;
		log->claimed_bytes += bytes;
	}
	pthread_mutex_unlock(&log->lock);
	return granted;
}

void
hc_file_unclaim(struct hc_file *file, uint32_t records, uint64_t bytes)
{
	pthread_mutex_lock(&file->log.lock);
	file->log.claimed -= records;
	file->log.claimed_bytes -= bytes;
	pthread_mutex_unlock(&file->log.lock);
}

void
hc_file_kick(struct hc_file *file)
{
	if (!atomic_load_explicit(&file->log.asleep, memory_order_relaxed))
		return;
	pthread_mutex_lock(&file->log.lock);
	if (atomic_exchange_explicit(&file->log.asleep, false, memory_order_relaxed))
		pthread_cond_signal(&file->log.wake);
	pthread_mutex_unlock(&file->log.lock);
}
