/*
 * Lists of keys in files: a line each, the first the most wanted. Bytes that are not printable ASCII, and backslashes,
 * are written \xHH. Plain functions; the caller owns everything.
 */
#ifndef HC_CORE_WARM_LIST_H
#define HC_CORE_WARM_LIST_H

#include <stdio.h>
#include "base/status.h"
#include "file/file.h"
#include "proto/slice.h"

#define HC_WARM_LIST_NAME HC_FILE_CALLERS "keys"
#define HC_WARM_LIST_BYTES ((size_t)256 << 20) /* a larger file is read up to here */

struct hc_warm_list {
	char *bytes; /* of the file; lines are unescaped in place when their turn comes */
	size_t len;
	size_t n; /* lines that are not empty */
};

/* `name` in `dir`, or as it is. A file that is not there is empty; one that cannot be read too, and is logged. */
void hc_warm_list_read(struct hc_warm_list *list, const char *dir, const char *name);
void hc_warm_list_fini(struct hc_warm_list *list);
/* The key of the next line from *at on, once. False: there is none any more. */
bool hc_warm_list_next(struct hc_warm_list *list, size_t *at, struct hc_slice *key);
/* A key as a line. */
void hc_warm_list_put(FILE *to, struct hc_slice key);

#endif
