/*
 * What has been heard of a numbered sequence of changes: all up to a number, and beyond a hole, if there is one, a
 * run of what came live after it. Replaying closes the hole.
 *
 *     1 ………… upto   hole   from …… to
 *
 * One thread at a time; owns nothing.
 */
#ifndef HC_FLEET_HEARD_H
#define HC_FLEET_HEARD_H

#include <stdbool.h>
#include <stdint.h>

struct hc_heard {
	uint64_t upto;
	uint64_t from, to; /* 0: nothing has come live since the last cut */
};

/* All up to there counts as heard, whatever was before; what came live since the last cut goes on to count. */
void hc_heard_begin(struct hc_heard *heard, uint64_t upto);
/* The live sequence broke off: what comes next begins another run. */
void hc_heard_cut(struct hc_heard *heard);
/* Changes first … last came live. False: there is a hole before them. */
bool hc_heard_live(struct hc_heard *heard, uint64_t first, uint64_t last);
/* … were replayed. False: there is a hole between them and what has been heard; nothing has changed. */
bool hc_heard_replayed(struct hc_heard *heard, uint64_t first, uint64_t last);
/* The last number before the hole's end; 0: there is none. */
uint64_t hc_heard_hole_end(const struct hc_heard *heard);

#endif
