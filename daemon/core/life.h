/*
 * Which life of which server a connection leads to, from the server's own INFO: another process, or the same one with
 * another's data, is another life, and what it numbers need not go on from where the last one was. Pure.
 */
#ifndef HC_CORE_LIFE_H
#define HC_CORE_LIFE_H

#include <stdbool.h>
#include <stdint.h>
#include "proto/slice.h"

/* Of INFO's text: of run_id in the upper half, of master_replid in the lower. 0 when it does not tell both. */
uint64_t hc_life(struct hc_slice info);
/* Of INFO replication: the lower half alone; 0 when it does not tell. */
uint32_t hc_life_lineage(struct hc_slice info);
/*
 * Of INFO, of a process whose lineage is another than just before: whether only the name is. A master that gets its
 * first replica begins a lineage and follows none; one that was a replica in between names the one that it followed,
 * until it gives up its backlog, a second later at the soonest. (Redis: changeReplicationId(), shiftReplicationId() in
 * replication.c.)
 */
bool hc_life_goes_on(struct hc_slice info);
/* Whether it is a node of a Redis Cluster. */
bool hc_life_in_cluster(struct hc_slice info);

#endif
