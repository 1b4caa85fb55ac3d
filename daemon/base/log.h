/*
 * Logging: one line an event, `level event key=value …`, to stderr (journald adds the time when it is the
 * reader; otherwise a timestamp is put in front). Any thread. Values never hold keys' values or passwords;
 * strings are quoted and escaped when they hold anything but printable characters without spaces.
 */
#ifndef HC_BASE_LOG_H
#define HC_BASE_LOG_H

enum hc_log_level {
	HC_LOG_ERROR, /* an operator must act */
	HC_LOG_WARN,  /* degraded */
	HC_LOG_INFO,  /* lifecycle */
	HC_LOG_DEBUG, /* per request */
};

/* Lines above `level` are dropped from now on. */
void hc_log_set_level(enum hc_log_level level);
enum hc_log_level hc_log_level(void);

/*
 * hc_log(HC_LOG_INFO, "listening", "address=%s backlog=%d", addr, n): `event` is a bare word in snake_case; the
 * format gives the fields, may be NULL. Wrap strings that may hold anything in hc_log_quote().
 */
void hc_log(enum hc_log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

struct hc_log_quoted {
	char text[256];
};
/* The string as one log value: as is when it is plain, else in quotes with escapes, cut at the buffer's end. */
const char *hc_log_quote(struct hc_log_quoted *buf, const char *ptr, unsigned long len);

/*
 * For events that can come by the thousand: true at most once per `interval_ms` for this place in the code.
 *     static struct hc_log_limit limit;
 *     if (hc_log_allow(&limit, 1000)) hc_log(...);
 */
struct hc_log_limit {
	_Atomic long long next_ms;
};
int hc_log_allow(struct hc_log_limit *limit, long long interval_ms);

#endif
