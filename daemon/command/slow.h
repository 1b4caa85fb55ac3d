/*
 * Commands that took long: the entries of SLOWLOG and the samples of LATENCY, and the watch that finds them.
 *
 * The watch. A command's time is from the look at the clock before it to the one behind it, and looks are shared: the
 * clock is read as a worker's turn begins (a read from a socket, which wants the time anyway), behind the turn's first
 * command, or the first ones if they were carried out together, behind each command that is neither FAST nor BRIEF, and
 * behind some of those that are: the second ones from then on, the fourth, and so on to every HC_SLOW_RUN-th (or so
 * many later as are carried out together), which cost less than looking twice would; again behind each when they took
 * HC_SLOW_PACE_US and more, since a turn is to end in time. What is left is looked at as the turn ends. So a time may
 * be that of several commands: the entry then says so, and has the arguments of the last one only. A command that waits
 * (for the upstream, a file, or its next turn in a long walk) is timed by itself, until its reply is there. Parsing
 * counts; reading and writing the socket does not. Within EXEC only EXEC is timed.
 *
 * Any thread may call what takes a struct hc_slow; it has a lock of its own, a leaf, which is taken only for commands
 * that were slow. The watch is its worker's.
 */
#ifndef HC_COMMAND_SLOW_H
#define HC_COMMAND_SLOW_H

#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"
#include "proto/slice.h"

struct hc_command;
struct hc_command_worker;
struct hc_req;
struct hc_session;
struct hc_slow;

#define HC_SLOW_RUN 16
#define HC_SLOW_PACE_US 8

/* One worker's; see above. */
struct hc_slow_watch {
	int64_t began_us;  /* monotonic: the turn */
	int64_t looked_us; /* monotonic: last look; 0: outside of turns */
	unsigned unseen;   /* commands since */
	unsigned patience; /* so many FAST or BRIEF ones may be, before it is time for a look */
};

enum hc_status hc_slow_create(struct hc_slow **out);
void hc_slow_destroy(struct hc_slow *slow);

/* A turn begins; returns the monotonic time in microseconds. */
int64_t hc_slow_turn_begin(struct hc_command_worker *worker);
void hc_slow_turn_end(struct hc_command_worker *worker, struct hc_session *session);
/* How long the turn has lasted, as far as the clock has been looked at. */
static inline int64_t
hc_slow_turn_us(const struct hc_slow_watch *watch)
{
	return watch->looked_us - watch->began_us;
}
/* Commands are not to be carried out many at once: each one's time is wanted. */
bool hc_slow_wants_each(const struct hc_command_worker *worker);
/* `n` commands have been carried out, of one kind. True: it is time for a look. */
static inline bool
hc_slow_ran(struct hc_slow_watch *watch, unsigned n, bool fast)
{
	watch->unseen += n;
	return watch->unseen >= watch->patience || !fast;
}
void hc_slow_look(struct hc_command_worker *worker, const struct hc_session *session, const struct hc_command *command,
    const struct hc_slice *argv, uint32_t argc);
/* A command is going to wait: since when, for hc_slow_waited(). */
int64_t hc_slow_since(const struct hc_command_worker *worker);
/* Its reply is there. */
void hc_slow_waited(const struct hc_req *req, int64_t since_us);

/* ---- SLOWLOG ---- */

/* All in one piece of memory, freed by hc_free(). */
struct hc_slow_entry {
	struct hc_slow_entry *next; /* the one before it in time */
	uint64_t id;
	int64_t time_s; /* wall clock */
	int64_t took_us;
	struct hc_slice client, name;
	uint32_t argc;
	struct hc_slice argv[];
};

/* Calls fn for the newest `n`, newest first, under the lock, with how many they are: fn must be short. */
typedef void hc_slow_fn(const struct hc_slow_entry *entry, uint64_t of, void *arg);
void hc_slow_each(struct hc_slow *slow, uint64_t n, hc_slow_fn *fn, void *arg);
uint64_t hc_slow_len(struct hc_slow *slow);
void hc_slow_reset(struct hc_slow *slow);

/* ---- LATENCY ---- */

enum hc_slow_event {
	HC_SLOW_COMMAND,      /* not FAST */
	HC_SLOW_FAST_COMMAND, /* FAST, or several of them */
	HC_SLOW_WAITED,       /* was put aside: for the upstream, the file tier, or other connections' turns */
	HC_SLOW_EVENTS,
};

#define HC_SLOW_SAMPLES 160

struct hc_slow_sample {
	int64_t time_s; /* wall clock; one sample a second, the largest */
	int64_t ms;
};

struct hc_slow_history {
	struct hc_slow_sample samples[HC_SLOW_SAMPLES]; /* oldest first */
	unsigned n;
	int64_t max_ms; /* since it was reset */
};

const char *hc_slow_event_name(enum hc_slow_event event);
/* HC_SLOW_EVENTS when there is none of that name. */
enum hc_slow_event hc_slow_event_named(struct hc_slice name);
void hc_slow_history(struct hc_slow *slow, enum hc_slow_event event, struct hc_slow_history *out);
/* True when there was something to forget. */
bool hc_slow_history_reset(struct hc_slow *slow, enum hc_slow_event event);

#endif
