/*
 * Stragglers: commands that links have sent and given up on, and that may be carried out all the same, at any time:
 * they are on their way in the network, or before a server that hangs. Whoever has the server end the connection they
 * were sent on (CLIENT KILL ID) knows from its answer on that nothing of it will be carried out any more.
 *
 *     link: a connection fails with commands on it ─→ left ─→ any() ─┬─ its next connection ends the former first ──→
 * ended └─ somebody else whose link leads there does ──┘
 *
 * Any thread; one lock, under which no other is taken. any() takes none.
 */
#ifndef HC_UPSTREAM_STRAGGLERS_H
#define HC_UPSTREAM_STRAGGLERS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"

#define HC_RUN_ID_LEN 40 /* hexadecimal digits */

/* A connection as the server knows it. */
struct hc_peer {
	int64_t client_id;              /* 0: not known */
	char run_id[HC_RUN_ID_LEN + 1]; /* of the server's life; "": not known */
};

/* Both are known, and of the same life of the same server: else that number may be somebody else's there. */
bool hc_peer_is_there(const struct hc_peer *peer, const char *run_id);

struct hc_stragglers;

/* For so many links, which are told apart by a number. */
enum hc_status hc_stragglers_create(unsigned links, struct hc_stragglers **out);
void hc_stragglers_destroy(struct hc_stragglers *stragglers); /* NULL is fine */

/* What was sent on that connection of the link's may be carried out yet. One at a time for each link. */
void hc_stragglers_left(struct hc_stragglers *stragglers, unsigned link, const struct hc_peer *peer);
/* No more. Of a connection left behind before, 0 for whichever it is; nothing if it is not that. */
void hc_stragglers_ended(struct hc_stragglers *stragglers, unsigned link, int64_t client_id);

/* One of them, of a connection that has been left behind, is a write of the key with that hash. */
void hc_stragglers_write(struct hc_stragglers *stragglers, uint64_t hash);
/* Whether one of them may be; seldom of another key than was told. */
bool hc_stragglers_may_write(struct hc_stragglers *stragglers, uint64_t hash);

/* Whether there may be any. What was told of on another thread before, is seen. */
bool hc_stragglers_any(const struct hc_stragglers *stragglers);
/* The first of them from *link on, which is set; false: there is none. */
bool hc_stragglers_find(struct hc_stragglers *stragglers, unsigned *link, struct hc_peer *peer);

#endif
