/*
 * Who waits for the writer: until the log is written up to a mark, or for room in the queue.
 */
#include "file/internal.h"

uint64_t
hc_file_written(const struct hc_file *file)
{
	return atomic_load_explicit(&file->written, memory_order_acquire);
}

enum hc_status
hc_file_wait(struct hc_file *file, uint64_t mark, struct hc_file_waiter *waiter)
{
	enum hc_status status = HC_OK;

	if (hc_file_written(file) >= mark)
		return HC_OK;
	waiter->mark = mark;
	waiter->next = NULL;
	pthread_mutex_lock(&file->waiters.lock);
	/* The writer moves `written` on before it takes the lock: it sees us, or we see that. */
	if (hc_file_written(file) < mark) {
		if (file->waiters.last == NULL)
			file->waiters.first = waiter;
		else
			file->waiters.last->next = waiter;
		file->waiters.last = waiter;
		status = HC_PENDING;
	}
	pthread_mutex_unlock(&file->waiters.lock);
	if (status == HC_PENDING)
		hc_file_kick(file);
	return status;
}

void
hc_waiters_run(struct hc_file *file)
{
	uint64_t written = hc_file_written(file);
	struct hc_file_waiter *ready = NULL, **ready_end = &ready, **link, *last = NULL;

	pthread_mutex_lock(&file->waiters.lock);
	for (link = &file->waiters.first; *link != NULL;) {
		struct hc_file_waiter *waiter = *link;
		if (waiter->mark > written) {
			last = waiter;
			link = &waiter->next;
			continue;
		}
		*link = waiter->next;
		*ready_end = waiter;
		ready_end = &waiter->next;
	}
	*ready_end = NULL;
	file->waiters.last = last;
	pthread_mutex_unlock(&file->waiters.lock);
	while (ready != NULL) {
		struct hc_file_waiter *next = ready->next;
		ready->fn(ready);
		ready = next;
	}
}

enum hc_status
hc_file_wait_room(struct hc_file *file, struct hc_file_waiter *waiter)
{
	hc_file_kick(file);
	if (hc_log_has_room(file))
		return HC_OK;
	pthread_mutex_lock(&file->waiters.lock);
	waiter->next = file->waiters.room;
	file->waiters.room = waiter;
	atomic_store_explicit(&file->waiters.any_room, true, memory_order_release);
	pthread_mutex_unlock(&file->waiters.lock);
	/* The writer looks every few milliseconds, should it have gone to sleep just before. */
	return HC_PENDING;
}

void
hc_waiters_run_room(struct hc_file *file)
{
	struct hc_file_waiter *ready;

	if (!atomic_load_explicit(&file->waiters.any_room, memory_order_acquire) || !hc_log_has_room(file))
		return;
	pthread_mutex_lock(&file->waiters.lock);
	ready = file->waiters.room;
	file->waiters.room = NULL;
	atomic_store_explicit(&file->waiters.any_room, false, memory_order_relaxed);
	pthread_mutex_unlock(&file->waiters.lock);
	while (ready != NULL) {
		struct hc_file_waiter *next = ready->next;
		ready->fn(ready);
		ready = next;
	}
}
