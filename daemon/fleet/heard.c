/* What has been heard; see heard.h. */
#include "fleet/heard.h"

static void
join(struct hc_heard *heard)
{
	if (heard->from != 0 && heard->from <= heard->upto + 1 && heard->to > heard->upto)
		heard->upto = heard->to;
}

void
hc_heard_begin(struct hc_heard *heard, uint64_t upto)
{
	heard->upto = upto;
	join(heard);
}

void
hc_heard_cut(struct hc_heard *heard)
{
	heard->from = heard->to = 0;
}

bool
hc_heard_live(struct hc_heard *heard, uint64_t first, uint64_t last)
{
	if (heard->from == 0 || first > heard->to + 1) {
		heard->from = first;
		heard->to = last;
	} else if (last > heard->to) {
		heard->to = last;
	}
	join(heard);
	return heard->to <= heard->upto;
}

bool
hc_heard_replayed(struct hc_heard *heard, uint64_t first, uint64_t last)
{
	if (first > heard->upto + 1)
		return false;
	if (last > heard->upto)
		heard->upto = last;
	join(heard);
	return true;
}

uint64_t
hc_heard_hole_end(const struct hc_heard *heard)
{
	return heard->to > heard->upto ? heard->from - 1 : 0;
}
