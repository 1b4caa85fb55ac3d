/*
 * The writer thread: takes all that is queued, writes it in large pieces, tells who waits.
 *
 *     queue ─→ taken blocks ─→ batch ─→ pwritev ─→ `written` moves on ─→ waiters, owners released
 *                                         └ a fault ─→ off.c: what is not written is dropped, and remembered
 */
#include <errno.h>
#include <time.h>
#include "base/mem.h"
#include "base/thread.h"
#include "file/internal.h"

#define IDLE_MS 20    /* from one look to the next, while something has come lately */
#define LATELY 50     /* looks */
#define REST_MS 30000 /* … and else: who appends is to call hc_file_kick() */

/* ---- what is over ---- */

void
hc_writer_set_written(struct hc_file *file, uint64_t position)
{
	if (position <= atomic_load_explicit(&file->written, memory_order_relaxed))
		return;
	atomic_store_explicit(&file->written, position, memory_order_release);
	hc_waiters_run(file);
	if (atomic_load_explicit(&file->keeper.resting, memory_order_relaxed))
		hc_keeper_nudge(file); /* there will be something to sync */
}

void
hc_writer_finish(struct hc_file *file, const struct hc_slot *slots, uint32_t n)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		bytes += hc_padded(slots[i].record.length);
		if (slots[i].carried)
			hc_free(slots[i].owner);
		else if (slots[i].owner != NULL)
			file->config.release(file->config.arg, slots[i].owner);
	}
	if (n == 0)
		return;
	pthread_mutex_lock(&file->log.lock);
	file->log.queued -= n;
	file->log.queued_bytes -= bytes;
	pthread_mutex_unlock(&file->log.lock);
	const struct hc_record *last = &slots[n - 1].record;
	hc_writer_set_written(file, last->position + hc_padded(last->length));
}

void
hc_writer_recycle(struct hc_file *file, struct hc_slots *blocks)
{
	uint32_t most = file->config.queue_records / HC_SLOTS + 2;

	while (blocks != NULL) {
		struct hc_slots *next = blocks->next, *spare = blocks;
		pthread_mutex_lock(&file->log.lock);
		if (file->log.pooled < most) {
			blocks->next = file->log.pool;
			file->log.pool = blocks;
			file->log.pooled++;
			spare = NULL;
		}
		pthread_mutex_unlock(&file->log.lock);
		hc_free(spare);
		blocks = next;
	}
}

/* ---- one block ---- */

static bool
is_off(const struct hc_file *file)
{
	return atomic_load_explicit(&file->mode, memory_order_relaxed) == HC_FILE_OFF;
}

/* The slots from *done up to `to` are in the batch: they are written now. */
static int
flush_up_to(struct hc_file *file, const struct hc_slots *block, uint32_t *done, uint32_t to)
{
	int err = hc_batch_flush(file);

	if (err == 0) {
		hc_writer_finish(file, block->slot + *done, to - *done);
		*done = to;
	}
	return err;
}

static int
put_slot(struct hc_file *file, const struct hc_slots *block, uint32_t *done, uint32_t i)
{
	struct hc_writer *writer = &file->writer;
	const struct hc_slot *slot = &block->slot[i];
	uint64_t seq = hc_position_seq(slot->record.position);
	bool other = writer->segment == NULL || writer->segment->seq != seq;
	int err = 0;

	if (other || !hc_batch_has_room(file, &slot->record))
		err = flush_up_to(file, block, done, i);
	if (err == 0 && other)
		err = hc_batch_seal(file);
	if (err == 0 && other)
		err = hc_batch_open_segment(file, seq);
	if (err == 0)
		err = hc_batch_put(file, &slot->record, slot->hash);
	return err;
}

static void
drop_slots(struct hc_file *file, const struct hc_slots *block, uint32_t *done, uint32_t to)
{
	for (uint32_t i = *done; i < to; i++)
		hc_off_drop(file, &block->slot[i]);
	hc_writer_finish(file, block->slot + *done, to - *done);
	*done = to;
}

static void
write_block(struct hc_file *file, const struct hc_slots *block)
{
	uint32_t done = 0;
	int err = 0;

	for (uint32_t i = 0; i < block->n && !is_off(file) && err == 0; i++) {
		err = put_slot(file, block, &done, i);
		if (err != 0)
			hc_off_enter(file, err);
	}
	if (!is_off(file)) {
		err = flush_up_to(file, block, &done, block->n);
		if (err != 0)
			hc_off_enter(file, err);
	}
	if (is_off(file))
		drop_slots(file, block, &done, block->n);
}

/* ---- all of them ---- */

struct taken {
	struct hc_slots *blocks;
	uint64_t head; /* the log's, when they were taken */
	int fault;
	bool stop;
};

static void
take(struct hc_file *file, struct taken *taken, long patience_ms)
{
	struct hc_log *log = &file->log;

	pthread_mutex_lock(&log->lock);
	if (log->first == NULL && !log->stop && log->fault == 0) {
		struct timespec until = hc_file_clock_in(patience_ms);
		atomic_store_explicit(&log->asleep, true, memory_order_relaxed);
		pthread_cond_timedwait(&log->wake, &log->lock, &until);
		atomic_store_explicit(&log->asleep, false, memory_order_relaxed);
	}
	*taken =
	    (struct taken){.blocks = log->first, .head = hc_log_head(file), .fault = log->fault, .stop = log->stop};
	log->first = log->last = NULL;
	log->fault = 0;
	struct hc_index_garbage *garbage = log->garbage;
	log->garbage = NULL;
	pthread_mutex_unlock(&log->lock);
	hc_index_free_garbage(garbage);
}

static void
work(struct hc_file *file, struct taken *taken)
{
	if (taken->fault != 0 && !is_off(file))
		hc_off_enter(file, taken->fault);
	for (struct hc_slots *block = taken->blocks; block != NULL;) {
		struct hc_slots *next = block->next;
		write_block(file, block);
		block->next = NULL;
		hc_writer_recycle(file, block);
		hc_waiters_run_room(file);
		block = next;
	}
	hc_writer_set_written(file, taken->head);
	hc_waiters_run_room(file);
}

void *
hc_writer_main(void *arg)
{
	struct hc_file *file = arg;
	struct taken taken;
	unsigned idle = 0;

	hc_thread_begin("file-writer", HC_THREAD_CATCHES_UP);
	do {
		bool off = is_off(file);
		if (off)
			hc_off_return(file);
		take(file, &taken, off || idle < LATELY ? IDLE_MS : REST_MS);
		idle = taken.blocks != NULL ? 0 : idle + 1;
		work(file, &taken);
	} while (!taken.stop || taken.blocks != NULL);
	if (!is_off(file))
		hc_batch_seal(file);
	return NULL;
}
