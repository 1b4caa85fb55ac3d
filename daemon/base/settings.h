/*
 * Settings: one table (settings.def) from which come the struct below, parsing, errors with file
 * and line, environment overrides, CONFIG GET/SET, `harcad --describe`, the reference page, and the
 * check of conf/harcad.ini.
 *
 * Order, later wins: the row's default; the file's [section]; with HARCA_ENV=profile the file's
 * [section.profile]; REDIS_URL (for upstream.url); HARCA_<SECTION>_<KEY>; --set section.key=value.
 *
 * Threads: numbers are atomics and may be read by any thread at any time. Strings are constant once
 * the threads run, but for rows marked RELOAD: read those by hc_settings_string() only. All
 * functions but create, load and destroy may be called by any thread at any time.
 */
#ifndef HC_BASE_SETTINGS_H
#define HC_BASE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/status.h"
#include "proto/slice.h"

/* What the rows' types are in C. SIZE in bytes (K M G T: 1024), TIME in ms (ms s m h d). */
#define HC_SETTING_C_STRING char *
#define HC_SETTING_C_BOOL _Atomic bool
#define HC_SETTING_C_INT _Atomic int64_t
#define HC_SETTING_C_SIZE _Atomic int64_t
#define HC_SETTING_C_TIME _Atomic int64_t
#define HC_SETTING_C_ENUM _Atomic int64_t /* index of the word among the row's choices */
#define HC_SETTING_C_MODE _Atomic int64_t /* octal file mode */

/* For the ranges of the rows: bytes, milliseconds. */
#define HC_SETTING_KIB(n) (INT64_C(n) << 10)
#define HC_SETTING_MIB(n) (INT64_C(n) << 20)
#define HC_SETTING_GIB(n) (INT64_C(n) << 30)
#define HC_SETTING_TIB(n) (INT64_C(n) << 40)
#define HC_SETTING_SECONDS(n) (INT64_C(n) * 1000)
#define HC_SETTING_HOURS(n) (INT64_C(n) * 3600 * 1000)
#define HC_SETTING_DAYS(n) (INT64_C(n) * 24 * 3600 * 1000)

/* Each row becomes the field section_key. */
struct hc_settings {
#define HC_SETTING(section, key, type, ...) HC_SETTING_C_##type section##_##key;
#include "settings.def"
#undef HC_SETTING
	struct hc_settings_private *private;
};

/* And the id HC_SETTING_ID_section_key. */
enum hc_setting_id {
#define HC_SETTING(section, key, ...) HC_SETTING_ID_##section##_##key,
#include "settings.def"
#undef HC_SETTING
	HC_SETTING_COUNT,
};

enum hc_setting_type {
	HC_SETTING_TYPE_STRING,
	HC_SETTING_TYPE_BOOL,
	HC_SETTING_TYPE_INT,
	HC_SETTING_TYPE_SIZE,
	HC_SETTING_TYPE_TIME,
	HC_SETTING_TYPE_ENUM,
	HC_SETTING_TYPE_MODE,
};

enum hc_setting_flags {
	HC_SETTING_RELOAD = 1, /* may change while running: by SIGHUP and CONFIG SET */
	HC_SETTING_SECRET = 2, /* shown only to CONFIG GET, as Redis shows requirepass; never in logs */
	HC_SETTING_URL = 4,    /* what stands before the @ is masked wherever it is shown */
};

/* Indices of the ENUM rows' choices. log.level counts as enum hc_log_level does. */
enum hc_setting_frame {
	HC_SETTING_FRAME_AUTO,
	HC_SETTING_FRAME_ALWAYS,
	HC_SETTING_FRAME_NEVER,
};

enum hc_setting_policy_weight {
	HC_SETTING_WEIGHT_OBJECTS,
	HC_SETTING_WEIGHT_BYTES,
};

enum hc_setting_file_write {
	HC_SETTING_FILE_AUTO,
	HC_SETTING_FILE_THROUGH,
	HC_SETTING_FILE_DEMOTE,
};

enum hc_setting_file_sync {
	HC_SETTING_SYNC_NO,
	HC_SETTING_SYNC_EVERYSEC,
	HC_SETTING_SYNC_ALWAYS,
};

enum hc_setting_writes_when_down {
	HC_SETTING_WRITES_QUEUE,
	HC_SETTING_WRITES_REFUSE,
};

/* One row of the table. Constant. */
struct hc_setting {
	const char *section;
	const char *key;
	const char *name; /* "section.key" */
	enum hc_setting_type type;
	const char *default_text;
	int64_t min; /* of the number; of a STRING, its bytes */
	int64_t max;
	const char *choices; /* "a|b|c" of an ENUM, else "" */
	unsigned flags;
	const char *help;
	size_t offset; /* of the field in struct hc_settings */
};

/* One sentence for an operator; never holds a secret. Written on HC_INVALID and HC_NOMEM only. */
struct hc_settings_error {
	char text[512];
};

/* Says whether settings about to take effect make sense to a module above; when not, writes `err`.
 */
typedef bool hc_settings_check_fn(const struct hc_settings *settings, void *arg, struct hc_settings_error *err);

/* Where settings come from. Nothing of it is kept. */
struct hc_settings_source {
	const char *path;             /* the ini file, or NULL for none */
	const char *const *environ;   /* "NAME=value" …, NULL-terminated, or NULL for none */
	const char *const *overrides; /* "section.key=value" …, NULL-terminated, or NULL for none */
	hc_settings_check_fn *check;  /* asked after the checks of this module, or NULL */
	void *check_arg;
};

/* All rows at their defaults. NULL when there is no memory. */
struct hc_settings *hc_settings_create(void);
void hc_settings_destroy(struct hc_settings *settings);

/*
 * Replaces all settings by those of `source`, or changes nothing. Before other threads run.
 * HC_INVALID with a sentence in `err`: file and line or variable, setting, what is wrong, what is
 * allowed.
 */
enum hc_status hc_settings_load(
    struct hc_settings *settings, const struct hc_settings_source *source, struct hc_settings_error *err);

/* Told of each row that differs; `applied` is false when it takes a restart. No lock is held. */
typedef void hc_settings_changed_fn(void *arg, const struct hc_setting *row, bool applied);

/*
 * Loads anew and takes over the RELOAD rows that differ, or nothing at all when anything is
 * invalid. What was set at run time gives way to what the source says. `changed` may be NULL.
 */
enum hc_status hc_settings_reload(struct hc_settings *settings, const struct hc_settings_source *source,
    hc_settings_changed_fn *changed, void *arg, struct hc_settings_error *err);

/* Large enough for any setting's text. */
struct hc_settings_text {
	char text[4200];
};

/*
 * The setting in its canonical form (256M, 200ms, yes, 0660), for CONFIG GET: a SECRET in clear, an
 * URL without user and password. Returns buf->text, or NULL when there is no such setting; names
 * are taken exactly.
 */
const char *hc_settings_get(struct hc_settings *settings, struct hc_slice name, struct hc_settings_text *buf);

/* The same for logs and people: a SECRET that is set reads "***". */
const char *hc_settings_show(struct hc_settings *settings, struct hc_slice name, struct hc_settings_text *buf);

struct hc_settings_pair {
	struct hc_slice name;
	struct hc_slice text;
};

/* At run time: sets all of the pairs or none. HC_INVALID also for rows that are not RELOAD and for
 * a name twice. */
enum hc_status hc_settings_set_many(
    struct hc_settings *settings, const struct hc_settings_pair *pairs, size_t n, struct hc_settings_error *err);
enum hc_status hc_settings_set(
    struct hc_settings *settings, struct hc_slice name, struct hc_slice text, struct hc_settings_error *err);

/*
 * Puts what was set at run time, since the settings were last loaded, into the ini file at `path`: all else in it stays
 * as it is. `profile` is the one in force, or NULL. The file is replaced as a whole or not at all.
 */
enum hc_status hc_settings_rewrite(
    struct hc_settings *settings, const char *path, const char *profile, struct hc_settings_error *err);

/* Copies a STRING, cut when it does not fit `cap` (> 0). Returns its whole length. */
size_t hc_settings_string(struct hc_settings *settings, enum hc_setting_id id, char *buf, size_t cap);

/* The rows, in the table's order, sections together. */
const struct hc_setting *hc_settings_row(enum hc_setting_id id);
/* NULL when there is none of that name. */
const struct hc_setting *hc_settings_find(struct hc_slice name);
typedef void hc_settings_each_fn(void *arg, const struct hc_setting *row);
void hc_settings_each(hc_settings_each_fn *fn, void *arg);

enum hc_settings_format {
	HC_SETTINGS_PLAIN,    /* for `--describe` */
	HC_SETTINGS_MARKDOWN, /* the body of docs/settings.md */
	HC_SETTINGS_INI,      /* the body of conf/harcad.ini */
};

/* Writes what the table says of all rows: no value that is in force, so nothing secret. */
void hc_settings_describe(FILE *out, enum hc_settings_format format);

/* A TCP address as listen.tcp and listen.models take it. */
struct hc_settings_address {
	char host[256]; /* empty: all addresses; an IPv6 address without its brackets */
	int port;       /* 0: the system draws one */
};

/* "host:port", "[v6]:port", ":port" or "port"; false when it is none of them. */
bool hc_settings_address(struct hc_slice text, struct hc_settings_address *out);

#endif
