/*
 * What the files of the settings module share. For settings*.c only.
 *
 *     settings.def ─▶ rows (settings_names.c) ─▶ settings_parse.c   text ⇄ value, per type
 *                                              ▶ settings_file.c    the ini file's layer
 *                                              ▶ settings_load.c    all layers; load, reload
 *                                              ▶ settings_rewrite.c the values in force, into the file
 *                                              ▶ settings_check.c   checks over several settings
 *                                              ▶ settings_describe.c
 *                                              ▶ settings.c         the values in force; get, set
 *
 * Locks, in the order they are taken:
 *     private->writers  one change at a time: held while it is checked and applied, never while a
 *                       file is read
 *     private->strings  the STRING fields of RELOAD rows: held for one copy or one swap
 */
#ifndef HC_BASE_SETTINGS_PRIVATE_H
#define HC_BASE_SETTINGS_PRIVATE_H

#include <pthread.h>
#include "base/settings.h"

struct hc_settings_private {
	pthread_mutex_t writers;
	pthread_mutex_t strings;
	bool changed[HC_SETTING_COUNT]; /* set at run time, not loaded; under `writers` */
};

/* A value on its way from text to field. `str` is of a STRING: the holder frees it, by hc_free. */
struct hc_setting_value {
	int64_t num;
	char *str;
};

struct hc_setting_text {
	char text[160];
};

/* settings_names.c */

/* Larger than any "section.key" and any HARCA_<SECTION>_<KEY>. */
#define HC_SETTING_NAME_CAP 64

/* True when some row is of the section. */
bool hc_setting_section_known(struct hc_slice section);
/* "section.key" of `section` and `key`, or NULL. */
const struct hc_setting *hc_setting_find(struct hc_slice section, struct hc_slice key);
/* Writes HARCA_<SECTION>_<KEY>; with `key` NULL, HARCA_<SECTION>_. Returns `out`. */
const char *hc_setting_env_name(const char *section, const char *key, char out[static HC_SETTING_NAME_CAP]);
/* The row, or the section, or the variable, that someone may have meant; each NULL when nothing is
 * close. */
const struct hc_setting *hc_setting_guess(struct hc_slice section, struct hc_slice key);
const char *hc_setting_guess_section(struct hc_slice section);
const struct hc_setting *hc_setting_guess_env(struct hc_slice variable);

/* settings_parse.c */

/*
 * Text to value, checked against the row. `where` ("harcad.ini:12") goes before the error when not
 * empty. HC_OK, HC_INVALID or HC_NOMEM.
 */
enum hc_status hc_setting_parse(const struct hc_setting *row, struct hc_slice text, const char *where,
    struct hc_setting_value *out, struct hc_settings_error *err);
/* The canonical text of a number of the row's type (not of a STRING). Returns buf->text. */
const char *hc_setting_format(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf);
/* "a whole number from 1 to 64". Returns buf->text. */
const char *hc_setting_allowed(const struct hc_setting *row, struct hc_setting_text *buf);
/* "time", "size" … */
const char *hc_setting_type_name(enum hc_setting_type type);
/* Writes "where: " (unless empty) and the sentence; returns HC_INVALID. */
enum hc_status hc_setting_fail(struct hc_settings_error *err, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum hc_status hc_setting_nomem(struct hc_settings_error *err);

/* settings.c: fields by row */

int64_t hc_setting_num(const struct hc_settings *settings, const struct hc_setting *row);
const char *hc_setting_str(const struct hc_settings *settings, const struct hc_setting *row);
/* Parses `text` into a field of settings nobody else sees yet. */
enum hc_status hc_setting_assign(struct hc_settings *settings, const struct hc_setting *row, struct hc_slice text,
    const char *where, struct hc_settings_error *err);
/* Exchanges the row's value between both; a string of `live` under its lock. */
void hc_setting_swap(struct hc_settings *live, struct hc_settings *scratch, const struct hc_setting *row);
bool hc_setting_differs(const struct hc_settings *a, const struct hc_settings *b, const struct hc_setting *row);
/* `scratch` gets a copy of `live`'s value. False when there is no memory. The caller keeps other
 * writers out. */
bool hc_setting_copy(struct hc_settings *scratch, const struct hc_settings *live, const struct hc_setting *row);

/* settings_file.c: reads the file's sections, and those of `profile` unless it is NULL, into
 * `settings`. */

enum hc_status hc_settings_read_file(
    struct hc_settings *settings, const char *path, const char *profile, struct hc_settings_error *err);

/* settings_check.c: what no single row can tell. HC_OK or HC_INVALID. */

enum hc_status hc_settings_check(const struct hc_settings *settings, bool sockets_given, struct hc_settings_error *err);

#endif
