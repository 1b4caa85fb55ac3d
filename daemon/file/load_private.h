/* What load.c and load_begin.c share. Nobody else includes this. */
#ifndef HC_FILE_LOAD_PRIVATE_H
#define HC_FILE_LOAD_PRIVATE_H

#include "file/internal.h"

struct hc_load_group;

struct hc_load_pass {
	struct hc_file *file;
	struct hc_segment *segment;
	struct hc_lines lines;
	uint32_t end;
	struct hc_load_group *groups; /* hc_load_pass()'s, by number in the segment */
	int64_t now_ms;
	bool over; /* everything was cleared here: what is older does not count */
};

/*
 * The lines of a segment's records, and where the last one ends. *scanned: it was not closed properly, or its index
 * file is damaged.
 */
enum hc_status hc_load_get_lines(
    struct hc_file *file, struct hc_segment *segment, struct hc_lines *lines, uint32_t *end, bool *scanned);
/* Its records, which pass->lines has, to the index. False: loading is over. */
bool hc_load_pass(struct hc_load_pass *pass);
/*
 * Its lines could not be had, for want of memory or because the system cannot read it. What it deleted is not known:
 * nothing older may be added. It all stays where it is, for the next start.
 */
void hc_load_lose_segment(struct hc_file *file, struct hc_segment *segment, enum hc_status status);

#endif
