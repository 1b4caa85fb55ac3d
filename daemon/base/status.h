/*
 * The statuses fallible functions return. A miss is a status, not an error.
 */
#ifndef HC_BASE_STATUS_H
#define HC_BASE_STATUS_H

enum hc_status {
	HC_OK = 0,
	HC_PENDING,   /* under way: the function given along will be called */
	HC_MISS,      /* no such key, or a condition on it did not hold */
	HC_UNCHANGED, /* it exists, but the change asked for did not apply */
	HC_STALE,     /* something newer happened meanwhile: not kept */
	HC_SUSPECT,   /* it is there, and may be out of date */
	HC_CONFLICT,  /* a compare-and-swap lost: look again */
	HC_NOMEM,     /* an allocation failed */
	HC_LIMIT,     /* over a configured bound */
	HC_INVALID,   /* malformed input */
	HC_DOWN,      /* the upstream cannot be asked now */
	HC_TIMEOUT,   /* it was asked and did not answer in time */
	HC_WRONGTYPE, /* the upstream holds something else than a string there */
	HC_ERROR,     /* anything else; errno or a message beside it says what */
};

/* A word for logs: "ok", "miss", … Never NULL. */
const char *hc_status_name(enum hc_status status);

#endif
