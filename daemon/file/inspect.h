/*
 * What is in a directory of the file tier, for an operator: read-only, beside a running daemon or without one.
 */
#ifndef HC_FILE_INSPECT_H
#define HC_FILE_INSPECT_H

#include <stdio.h>

/*
 * Lists the segments (sequence, bytes, records, live and dead, models) and verifies every checksum. Opens nothing for
 * writing and takes no lock; when a daemon has the directory, says so, and takes what is torn at the end of the last
 * segment for being written. Returns 0: all is well; 1: damage was found (each said in a line); 2: it cannot be read
 * at all, or is of a newer format.
 */
int hc_file_inspect(const char *dir, FILE *to);

#endif
