/*
 * Log lines to stderr, one write(2) each, so that lines of threads and of processes that share
 * stderr never mix. Any thread. Owns nothing but the level and what it found out about stderr.
 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"

/* A pipe takes so much at once without mixing it with what others write (PIPE_BUF); longer lines
 * are cut. */
#define LINE_CAP 4096

static const struct {
	const char *word;
	const char *priority; /* syslog's, as sd-daemon(3) wants it before a line */
} levels[] = {
    [HC_LOG_ERROR] = {"error", "<3>"},
    [HC_LOG_WARN] = {"warn", "<4>"},
    [HC_LOG_INFO] = {"info", "<6>"},
    [HC_LOG_DEBUG] = {"debug", "<7>"},
};

static atomic_int max_level = HC_LOG_INFO;
static pthread_once_t stderr_once = PTHREAD_ONCE_INIT;
static bool to_journal; /* constant after stderr_once */

struct line {
	char text[LINE_CAP];
	size_t len; /* < LINE_CAP: the newline always fits */
};

void
hc_log_set_level(enum hc_log_level level)
{
	atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

enum hc_log_level
hc_log_level(void)
{
	return (enum hc_log_level)atomic_load_explicit(&max_level, memory_order_relaxed);
}

/*
 * JOURNAL_STREAM is "device:inode" of the socket systemd gave us. It is inherited by children whose
 * stderr goes elsewhere, so it only counts when it is our stderr's.
 */
static void
look_at_stderr(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;

	to_journal = stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
		     st.st_dev == device && st.st_ino == inode;
}

static void line_vadd(struct line *line, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void line_add(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
line_vadd(struct line *line, const char *format, va_list args)
{
	size_t room = sizeof(line->text) - line->len;
	int n = vsnprintf(line->text + line->len, room, format, args);

	if (n < 0)
		return;
	line->len += (size_t)n < room ? (size_t)n : room - 1;
}

static void
line_add(struct line *line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line_vadd(line, format, args);
	va_end(args);
}

/* 2024-05-17T09:30:00.123Z */
static void
line_add_time(struct line *line)
{
	int64_t now_ms = hc_clock_wall_ms();
	time_t seconds = (time_t)(now_ms / 1000);
	struct tm tm;
	char date[32];

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	line_add(line, "%s.%03dZ ", date, (int)(now_ms % 1000));
}

/* Who forgot to quote must not be able to make two lines of one. */
static void
line_end(struct line *line)
{
	for (size_t i = 0; i < line->len; i++) {
		unsigned char c = (unsigned char)line->text[i];
		if (c < ' ' || c == 0x7f)
			line->text[i] = '?';
	}
	line->text[line->len++] = '\n';
}

void
hc_log(enum hc_log_level level, const char *event, const char *format, ...)
{
	if (level > hc_log_level())
		return;

	int saved = errno;
	struct line line;
	line.len = 0;
	pthread_once(&stderr_once, look_at_stderr);
	if (to_journal)
		line_add(&line, "%s", levels[level].priority);
	else
		line_add_time(&line);
	line_add(&line, "%s %s", levels[level].word, event);
	if (format) {
		va_list args;
		line_add(&line, " ");
		va_start(args, format);
		line_vadd(&line, format, args);
		va_end(args);
	}
	line_end(&line);

	/* A reader that went away or is slow costs the line, never the daemon: no second try but
	 * for a signal. */
	while (write(STDERR_FILENO, line.text, line.len) < 0 && errno == EINTR)
		;
	errno = saved;
}

static bool
plain(const char *ptr, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)ptr[i];
		if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=')
			return false;
	}
	return len > 0;
}

/* Writes one byte as it stands between quotes, at most four; returns how many. */
static size_t
escape(unsigned char c, char out[static 5])
{
	static const char specials[] = "\"\\\n\r\t", names[] = "\"\\nrt";
	const char *special = c ? strchr(specials, c) : NULL;

	if (special)
		return (size_t)sprintf(out, "\\%c", names[special - specials]);
	if (c < ' ' || c >= 0x7f)
		return (size_t)sprintf(out, "\\x%02x", c);
	out[0] = (char)c;
	return 1;
}

const char *
hc_log_quote(struct hc_log_quoted *buf, const char *ptr, unsigned long len)
{
	static const char cut[] = "...\"";
	size_t at = 0;

	if (len < sizeof(buf->text) && plain(ptr, len)) {
		memcpy(buf->text, ptr, len);
		buf->text[len] = '\0';
		return buf->text;
	}
	buf->text[at++] = '"';
	for (size_t i = 0; i < len; i++) {
		char escaped[5];
		size_t n = escape((unsigned char)ptr[i], escaped);
		if (at + n + sizeof(cut) > sizeof(buf->text)) {
			memcpy(buf->text + at, cut, sizeof(cut));
			return buf->text;
		}
		memcpy(buf->text + at, escaped, n);
		at += n;
	}
	buf->text[at++] = '"';
	buf->text[at] = '\0';
	return buf->text;
}

int
hc_log_allow(struct hc_log_limit *limit, long long interval_ms)
{
	long long now = hc_clock_mono_ms();
	long long next = atomic_load_explicit(&limit->next_ms, memory_order_relaxed);

	/* Of the threads that come at once, the one whose exchange succeeds may speak. */
	return now >= next && atomic_compare_exchange_strong_explicit(&limit->next_ms, &next, now + interval_ms,
				  memory_order_relaxed, memory_order_relaxed);
}
