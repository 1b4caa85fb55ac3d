/*
 * Words for the statuses. Any thread; owns nothing.
 */
#include "base/status.h"

const char *
hc_status_name(enum hc_status status)
{
	switch (status) {
	case HC_OK:
		return "ok";
	case HC_PENDING:
		return "pending";
	case HC_MISS:
		return "miss";
	case HC_UNCHANGED:
		return "unchanged";
	case HC_STALE:
		return "stale";
	case HC_SUSPECT:
		return "suspect";
	case HC_CONFLICT:
		return "conflict";
	case HC_NOMEM:
		return "nomem";
	case HC_LIMIT:
		return "limit";
	case HC_INVALID:
		return "invalid";
	case HC_DOWN:
		return "down";
	case HC_TIMEOUT:
		return "timeout";
	case HC_WRONGTYPE:
		return "wrongtype";
	case HC_ERROR:
		return "error";
	}
	return "unknown";
}
