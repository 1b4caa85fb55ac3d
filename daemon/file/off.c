/*
 * The tier switched off by a fault, and coming back. On the writer thread.
 *
 * While it is off, nothing is written and nobody waits. What is on the disk is still there, and some of it is
 * outdated by what was not written: hashes of changed keys are kept in memory, and the tier file says that the
 * directory is not to be trusted, should we be killed meanwhile. Coming back is a new segment that begins with a
 * DELETE for each of them; when they were too many, everything older is deleted first.
 */
#include <errno.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "file/internal.h"

static void
set_mode(struct hc_file *file, enum hc_file_mode mode)
{
	atomic_store_explicit(&file->mode, (int)mode, memory_order_release);
}

void
hc_off_enter(struct hc_file *file, int fault)
{
	static struct hc_log_limit limit;
	struct hc_writer *writer = &file->writer;
	int err;

	set_mode(file, HC_FILE_OFF);
	atomic_store_explicit(&file->fault, fault, memory_order_relaxed);
	HC_COUNT(file, faults, 1);
	hc_batch_discard(file);
	if (writer->segment != NULL) {
		/* Its index file is left out: what is in the lines was not all written. */
		hc_segment_charge(file, writer->segment, hc_file_charge(writer->flushed));
		pthread_mutex_lock(&file->segments.lock);
		writer->segment->open = false;
		writer->segment->end = writer->flushed;
		pthread_mutex_unlock(&file->segments.lock);
		writer->segment = NULL;
	}
	err = hc_tier_write(file, false);
	writer->retry_ms = hc_clock_mono_ms() + file->config.retry_ms;
	if (hc_log_allow(&limit, 60000)) {
		struct hc_log_quoted dir;
		hc_log(HC_LOG_WARN, "file_off", "dir=%s errno=%d reason=\"%s\" marked=%s retry_ms=%u",
		    hc_log_quote(&dir, file->path, strlen(file->path)), fault, strerror(fault), err == 0 ? "yes" : "no",
		    file->config.retry_ms);
	}
}

/* The index forgets what the slot would have made true. */
static void
unlist_slot(struct hc_file *file, const struct hc_slot *slot)
{
	uint64_t position = slot->record.position;

	if (slot->record.type == HC_RECORD_VALUE) {
		hc_item_remove_at(file, slot->hash, position);
	} else if (slot->record.type == HC_RECORD_EXPIRE) {
		/* The value it was for is there with its old expiry: better none. A newer one stays. */
		struct hc_index_part *part = hc_index_lock(file->index, slot->hash);
		struct hc_index_item item;
		bool older = hc_index_find(part, slot->hash, &item) && item.kind == HC_INDEX_VALUE &&
			     hc_item_position(file, &item) < position;
		hc_index_unlock(part);
		if (older)
			hc_item_remove_at(file, slot->hash, hc_item_position(file, &item));
	}
	if (slot->hash != 0)
		HC_COUNT(file, lost, 1);
}

void
hc_off_drop(struct hc_file *file, const struct hc_slot *slot)
{
	pthread_mutex_lock(&file->log.lock);
	hc_log_note_lost(file, slot);
	pthread_mutex_unlock(&file->log.lock);
	unlist_slot(file, slot);
}

/* ---- coming back ---- */

struct comeback {
	uint64_t *hashes; /* changed keys */
	uint32_t n;
	bool all;                 /* they are not known any more: everything older goes */
	bool clears;              /* models were cleared */
	struct hc_record state;   /* the new segment's first record */
	struct hc_slots *dropped; /* what was queued before */
	uint64_t seq;
};

/* Under log.lock. Models cleared meanwhile: the STATE will tell. True: there were some. */
static bool
take_clears(struct hc_file *file)
{
	uint32_t models = atomic_load_explicit(&file->groups.models_top, memory_order_relaxed);
	bool any = false;

	for (uint32_t id = 0; id < models; id++) {
		struct hc_model_state *state = hc_model_state(&file->groups, id);
		if (state == NULL || !state->unlogged)
			continue;
		any = true;
		state->unlogged = false;
	}
	return any;
}

static void
take_changed(struct hc_changed *changed, struct comeback *back)
{
	back->n = 0;
	for (uint32_t i = 0; i <= changed->mask; i++) {
		if (changed->table[i] != 0 && !back->all)
			back->hashes[back->n++] = changed->table[i];
		changed->table[i] = 0;
	}
	changed->n = 0;
	changed->all = false;
}

/* The STATE is ours to write, with the DELETEs behind it: it is taken back from the queue. */
static void
take_state(struct hc_log *log, struct comeback *back)
{
	struct hc_slot *slot = &log->last->slot[--log->last->n];

	back->state = slot->record;
	log->queued--;
	log->queued_bytes -= hc_padded(slot->record.length);
}

/*
 * One step, with everything locked: what is queued so far is counted as lost, and from here on everything goes to
 * the new segment, behind the DELETEs of all that was.
 */
static enum hc_status
begin_anew(struct hc_file *file, struct comeback *back)
{
	struct hc_log *log = &file->log;
	enum hc_status status;

	hc_index_lock_all(file->index);
	pthread_mutex_lock(&log->lock);
	for (struct hc_slots *block = log->first; block != NULL; block = block->next)
		for (uint32_t i = 0; i < block->n; i++)
			hc_log_note_lost(file, &block->slot[i]);
	back->clears = take_clears(file);
	/* … unless it has no room for all epochs. */
	back->all = back->all || log->changed.all ||
		    (back->clears && file->groups.epoch_bytes > file->config.segment_bytes / 4);
	back->dropped = log->first;
	struct hc_slots *last = log->last;
	log->first = log->last = NULL;
	status = hc_log_roll(file, back->all ? 0 : log->changed.n);
	if (status == HC_OK) {
		take_state(log, back);
		take_changed(&log->changed, back);
		back->seq = atomic_load_explicit(&log->seq, memory_order_relaxed);
		if (back->all)
			hc_clear_index(file, hc_position(back->seq, 0));
	} else {
		log->changed.all = log->changed.all || back->clears;
		log->first = back->dropped;
		log->last = last;
		back->dropped = NULL;
	}
	pthread_mutex_unlock(&log->lock);
	hc_index_unlock_all(file->index);
	return status;
}

static void
drop_old(struct hc_file *file, struct comeback *back)
{
	for (struct hc_slots *block = back->dropped; block != NULL; block = block->next) {
		for (uint32_t i = 0; i < block->n; i++)
			unlist_slot(file, &block->slot[i]);
		hc_writer_finish(file, block->slot, block->n);
	}
	hc_writer_recycle(file, back->dropped);
	back->dropped = NULL;
	hc_writer_set_written(file, hc_position(back->seq, 0));
}

static int
write_deletes(struct hc_file *file, const struct comeback *back)
{
	uint32_t offset = hc_position_offset(back->state.position) + hc_padded(back->state.length);
	int err = 0;

	for (uint32_t i = 0; i < back->n && err == 0; i++, offset += HC_DELETE_BYTES) {
		struct hc_record record = {
		    .type = HC_RECORD_DELETE,
		    .hash = back->hashes[i],
		    .length = HC_DELETE_BYTES,
		    .position = hc_position(back->seq, offset),
		};
		if (!hc_batch_has_room(file, &record))
			err = hc_batch_flush(file);
		if (err == 0)
			err = hc_batch_put(file, &record, record.hash);
	}
	return err == 0 ? hc_batch_flush(file) : err;
}

static int
write_beginning(struct hc_file *file, const struct comeback *back)
{
	int err = 0;

	if (back->all) {
		hc_space_drop_below(file, back->seq);
		err = hc_dir_sweep(file, back->seq);
	}
	if (err == 0)
		err = hc_batch_open_segment(file, back->seq);
	if (err == 0)
		err = hc_batch_put(file, &back->state, 0);
	if (err == 0)
		err = write_deletes(file, back);
	if (err == 0 && file->config.sync != HC_FILE_SYNC_NO && hc_io(file)->fdatasync(file->writer.segment->fd) != 0)
		err = errno;
	/* Last: until here, a kill loses everything, and nothing comes back. */
	return err == 0 ? hc_tier_write(file, true) : err;
}

/* It did not work: what was changed is remembered again. */
static void
give_up(struct hc_file *file, const struct comeback *back)
{
	struct hc_segment *segment = file->writer.segment;

	hc_batch_discard(file);
	file->writer.segment = NULL;
	if (segment != NULL)
		hc_segment_drop(file, segment, false);
	pthread_mutex_lock(&file->log.lock);
	for (uint32_t i = 0; i < back->n; i++) {
		struct hc_slot slot = {.record = {.type = HC_RECORD_DELETE}, .hash = back->hashes[i]};
		hc_log_note_lost(file, &slot);
	}
	/* Which models were cleared is forgotten. */
	file->log.changed.all = file->log.changed.all || back->all || back->clears;
	pthread_mutex_unlock(&file->log.lock);
}

void
hc_off_return(struct hc_file *file)
{
	struct comeback back = {0};

	if (hc_clock_mono_ms() < file->writer.retry_ms)
		return;
	file->writer.retry_ms = hc_clock_mono_ms() + file->config.retry_ms;
	if (!hc_dir_there(file)) {
		if (hc_dir_again(file) != 0)
			return;
		back.all = true;
	}
	back.hashes = hc_malloc(file->log.changed.max * sizeof(*back.hashes));
	if (back.hashes == NULL || begin_anew(file, &back) != HC_OK) {
		hc_free(back.hashes);
		return;
	}
	drop_old(file, &back);
	if (write_beginning(file, &back) == 0) {
		set_mode(file, HC_FILE_ON);
		hc_log(HC_LOG_INFO, "file_on", "deleted=%u emptied=%s", back.n, back.all ? "yes" : "no");
	} else {
		give_up(file, &back);
	}
	hc_free(back.hashes);
}
