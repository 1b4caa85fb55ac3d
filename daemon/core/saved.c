/* How far the files are; see saved.h. */
#include "core/saved.h"

#include <pthread.h>
#include <time.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "core/internal.h"

#define MAGIC 0x32544c46u /* FLT2 */
#define AGAIN_MS 60000    /* what has not changed is written down again after so long, for its time */

/* As it lies in the log; of this machine alone. */
struct record {
	uint32_t magic;
	uint32_t incarnation;
	uint64_t life;
	uint64_t heard;
	uint64_t trusted_from;
	int64_t at_ms;
	uint64_t
	    prefix; /* checksum of upstream.prefix: by another one, the keys in the files are others of the fleet's */
};

struct hc_saved {
	struct hc_file *file; /* not owned; NULL: none */
	uint32_t prefix;
	struct hc_saved_state found;
	pthread_mutex_t lock;
	struct hc_saved_state next; /* to be written down … */
	uint64_t next_mark;         /* … once the log has been written so far; 0: there is none */
	struct hc_saved_state last; /* written down */
};

static struct hc_saved_state
read_state(struct hc_file *file, uint32_t prefix)
{
	char bytes[HC_FILE_STATE_MAX];
	struct record record;

	if (hc_file_state(file, bytes) != sizeof(record))
		return (struct hc_saved_state){0};
	memcpy(&record, bytes, sizeof(record));
	if (record.magic != MAGIC || record.prefix != prefix)
		return (struct hc_saved_state){0};
	return (struct hc_saved_state){
	    record.life, record.incarnation, record.heard, record.trusted_from, record.at_ms};
}

enum hc_status
hc_saved_create(struct hc_core *core, struct hc_saved **out)
{
	struct hc_saved *saved = hc_calloc(1, sizeof(*saved));

	if (saved == NULL)
		return HC_NOMEM;
	pthread_mutex_init(&saved->lock, NULL);
	if (core->tier != NULL) {
		saved->file = hc_tier_file(core->tier);
		saved->prefix = hc_checksum(core->prefix.ptr, core->prefix.len);
		saved->found = saved->last = read_state(saved->file, saved->prefix);
	}
	*out = saved;
	return HC_OK;
}

void
hc_saved_destroy(struct hc_saved *saved)
{
	if (saved == NULL)
		return;
	pthread_mutex_destroy(&saved->lock);
	hc_free(saved);
}

struct hc_saved_state
hc_saved_found(const struct hc_saved *saved)
{
	return saved->found;
}

/* Under the lock. */
static void
write_down(struct hc_saved *saved, const struct hc_saved_state *state)
{
	const struct record record = {
	    .magic = MAGIC,
	    .incarnation = state->incarnation,
	    .life = state->life,
	    .heard = state->heard,
	    .trusted_from = state->trusted_from,
	    .at_ms = hc_clock_wall_ms(),
	    .prefix = saved->prefix,
	};

	(void)hc_file_set_state(saved->file, &record, sizeof(record));
	saved->last = *state;
	saved->last.at_ms = record.at_ms;
	saved->next_mark = 0;
}

static bool
is_news(const struct hc_saved *saved, const struct hc_saved_state *state)
{
	const struct hc_saved_state *last = &saved->last;

	return state->life != last->life || state->incarnation != last->incarnation || state->heard != last->heard ||
	       state->trusted_from != last->trusted_from || hc_clock_wall_ms() - last->at_ms >= AGAIN_MS ||
	       hc_clock_wall_ms() < last->at_ms;
}

void
hc_saved_tell(struct hc_saved *saved, const struct hc_saved_state *state)
{
	if (saved->file == NULL)
		return;
	pthread_mutex_lock(&saved->lock);
	if (saved->next_mark != 0 && hc_file_written(saved->file) >= saved->next_mark)
		write_down(saved, &saved->next);
	if (saved->next_mark == 0 && is_news(saved, state)) {
		saved->next = *state;
		saved->next_mark = hc_file_head(saved->file);
	}
	pthread_mutex_unlock(&saved->lock);
}

void
hc_saved_end(struct hc_saved *saved, const struct hc_saved_state *state, int64_t until_ms)
{
	const struct timespec pause = {0, 1000000};

	if (saved->file == NULL || state->life == 0)
		return;
	pthread_mutex_lock(&saved->lock);
	uint64_t mark = hc_file_head(saved->file);
	hc_file_kick(saved->file);
	while (hc_file_written(saved->file) < mark && hc_clock_mono_ms() < until_ms)
		nanosleep(&pause, NULL);
	if (hc_file_written(saved->file) >= mark)
		write_down(saved, state);
	pthread_mutex_unlock(&saved->lock);
}

void
hc_saved_forget(struct hc_saved *saved)
{
	const struct hc_saved_state nothing = {0};

	if (saved->file == NULL)
		return;
	pthread_mutex_lock(&saved->lock);
	write_down(saved, &nothing);
	pthread_mutex_unlock(&saved->lock);
}

void
hc_saved_leave(struct hc_file *file)
{
	char found[HC_FILE_STATE_MAX];

	if (hc_file_state(file, found) > 0)
		(void)hc_file_set_state(file, "", 0);
}
