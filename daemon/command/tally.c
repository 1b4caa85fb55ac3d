/*
 * Tallies hang in a list under a lock, which nobody takes to count. What they said at the last reset is taken off sums.
 */
#include "command/tally.h"

#include <pthread.h>
#include "base/mem.h"
#include "command/command.h"

struct hc_tally {
	struct hc_tally_row rows[HC_COMMAND_ROWS + 1];
	struct hc_tally *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct hc_tally *all;
static struct hc_tally_sum at_reset[HC_COMMAND_ROWS + 1];

enum hc_status
hc_tally_create(struct hc_tally **out)
{
	struct hc_tally *tally = hc_calloc(1, sizeof(*tally));

	*out = tally;
	if (tally == NULL)
		return HC_NOMEM;
	pthread_mutex_lock(&lock);
	tally->next = all;
	all = tally;
	pthread_mutex_unlock(&lock);
	return HC_OK;
}

void
hc_tally_destroy(struct hc_tally *tally)
{
	struct hc_tally **at = &all;

	if (tally == NULL)
		return;
	pthread_mutex_lock(&lock);
	while (*at != tally)
		at = &(*at)->next;
	*at = tally->next;
	if (all == NULL) /* nothing is left that a reset was about */
		memset(at_reset, 0, sizeof(at_reset));
	pthread_mutex_unlock(&lock);
	hc_free(tally);
}

struct hc_tally_row *
hc_tally_rows(struct hc_tally *tally)
{
	return tally->rows;
}

static void
add(struct hc_tally_sum *sum, const struct hc_tally_row *row)
{
	sum->calls += atomic_load_explicit(&row->calls, memory_order_relaxed);
	sum->usec += atomic_load_explicit(&row->usec, memory_order_relaxed);
	sum->rejected += atomic_load_explicit(&row->rejected, memory_order_relaxed);
	sum->failed += atomic_load_explicit(&row->failed, memory_order_relaxed);
}

static struct hc_tally_sum
total(size_t i)
{
	struct hc_tally_sum sum = {0};

	for (const struct hc_tally *tally = all; tally != NULL; tally = tally->next)
		add(&sum, &tally->rows[i]);
	return sum;
}

struct hc_tally_sum
hc_tally_sum(const struct hc_command *command)
{
	size_t i = command->row;

	pthread_mutex_lock(&lock);
	struct hc_tally_sum sum = total(i);
	sum.calls -= at_reset[i].calls;
	sum.usec -= at_reset[i].usec;
	sum.rejected -= at_reset[i].rejected;
	sum.failed -= at_reset[i].failed;
	pthread_mutex_unlock(&lock);
	return sum;
}

void
hc_tally_reset(void)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i <= HC_COMMAND_ROWS; i++)
		at_reset[i] = total(i);
	pthread_mutex_unlock(&lock);
}
