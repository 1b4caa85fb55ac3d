/*
 * The fleet as this daemon knows it: who it is itself, the names it shares with its siblings, what their events say,
 * and who they are. No sockets here: the core brings messages in and carries heartbeats out.
 *
 * Threads: identity is constant; siblings may be listed by any thread (own lock); receiving is for one thread.
 */
#ifndef HC_FLEET_FLEET_H
#define HC_FLEET_FLEET_H

#include <stdint.h>
#include "base/status.h"
#include "proto/event.h"
#include "proto/slice.h"

/* Keys of the upstream that are a fleet's own and never an application's begin so. */
#define HC_FLEET_OWN_PREFIX "harcad/"

struct hc_fleet;

struct hc_fleet_config {
	const char *name;     /* fleet.name */
	const char *instance; /* fleet.instance; "" draws one */
	const char *address;  /* where clients reach this daemon, for people */
	int64_t lease_ms;
};

enum hc_status hc_fleet_create(const struct hc_fleet_config *config, struct hc_fleet **out);
void hc_fleet_destroy(struct hc_fleet *fleet);

/* A new lease from now on. Any thread. */
void hc_fleet_set_lease(struct hc_fleet *fleet, int64_t lease_ms);

/* Identity: constant, NUL-terminated too. */
struct hc_slice hc_fleet_instance(const struct hc_fleet *fleet);
struct hc_slice hc_fleet_channel(const struct hc_fleet *fleet);     /* of events */
struct hc_slice hc_fleet_state_key(const struct hc_fleet *fleet);   /* the hash of seq, incarnation, epochs */
struct hc_slice hc_fleet_journal_key(const struct hc_fleet *fleet); /* the stream of the events published last */

/*
 * Takes a message of the event channel, or of the journal, apart. `apply` is called for each event of this version but
 * heartbeats, of which track is kept here, and told whether it is an own one come back. Returns how many events the
 * message held, or -1 when it is malformed (what came before the fault has been applied).
 */
typedef void hc_fleet_apply_fn(void *arg, const struct hc_event *event, bool own);
long hc_fleet_receive(struct hc_fleet *fleet, struct hc_slice message, hc_fleet_apply_fn *apply, void *arg);

/* The last seq heard of, from siblings' events and own answers. Any thread. */
uint64_t hc_fleet_seq(const struct hc_fleet *fleet);
void hc_fleet_saw_seq(struct hc_fleet *fleet, uint64_t seq);
/* The upstream numbers its changes anew. */
void hc_fleet_restart_seq(struct hc_fleet *fleet, uint64_t seq);

/*
 * Encodes a heartbeat; `leaving` says good-bye. Returns its length, at most `cap` (else 0). Remembers when, so that its
 * own arrival tells how long the way of an event is.
 */
size_t hc_fleet_heartbeat(struct hc_fleet *fleet, char *dst, size_t cap, bool leaving);
/* From sending the own heartbeat to receiving it, the last time; -1 unknown. Any thread. */
int64_t hc_fleet_event_lag_us(const struct hc_fleet *fleet);

struct hc_sibling {
	char instance[HC_EVENT_MAX_INSTANCE + 1];
	char host[64];
	char address[128];
	char version[16];
	int64_t pid;
	int64_t uptime_s;
	int64_t heard_ms_ago; /* since its last heartbeat */
	uint64_t seq;         /* the last it had heard of when it sent that */
	uint64_t events;      /* received from it */
	bool alive;           /* heard within three leases, and has not said good-bye */
};

/* Copies of up to `cap` siblings, the longest known first; returns how many there are. Any thread. */
size_t hc_fleet_siblings(struct hc_fleet *fleet, struct hc_sibling *out, size_t cap);
size_t hc_fleet_siblings_alive(struct hc_fleet *fleet);

#endif
