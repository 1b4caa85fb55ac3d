/*
 * Where an upstream is: redis://[[user]:password@]host[:port][/db], unix:/path or unix:///path[?db=N],
 * host:port. Percent-escapes in user and password are decoded.
 */
#ifndef HC_UPSTREAM_URL_H
#define HC_UPSTREAM_URL_H

#include "base/status.h"

struct hc_url {
	char *host; /* NULL for a Unix socket */
	char *path; /* NULL for TCP */
	char *user; /* NULL when none */
	char *password;
	int port;
	int db;
	char *shown; /* for people: without user and password */
};

/* HC_INVALID with a sentence in `why` (a literal), HC_NOMEM. */
enum hc_status hc_url_parse(const char *text, struct hc_url *out, const char **why);
void hc_url_fini(struct hc_url *url);

#endif
