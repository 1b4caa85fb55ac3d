/*
 * The layer of settings that an ini file holds. The thread that loads or reloads.
 *
 * inih splits the lines; it gets them from our reader one at a time, so the reader knows the number
 * of the line whose setting the handler is told of, and refuses what inih would pass over in
 * silence: a line over its limit, a NUL byte, text behind a section's bracket, a section without
 * keys that does not exist.
 *
 * The file is gone through twice: first all of it, checking each line and taking over the plain
 * sections; then the sections of the profile in force, which lie over the plain ones wherever in
 * the file they stand.
 */
#include "base/settings_private.h"

#include <errno.h>
#include <ini.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define FILE_MAX (1 << 20) /* bytes of a file; a bound against the wrong file, not one to get near */
#define LINE_CAP 8192      /* of a line with its end and a NUL; inih's own default is 200 */
#define PROFILE_CAP 32
#define PROFILE_ALLOWED "a profile's name takes up to 31 letters, digits, _ and -"

/* A setting met in the first pass, to find a second one. */
struct seen {
	const struct hc_setting *row;
	struct hc_slice profile; /* into the file's text */
	int line;
};

struct reading {
	struct hc_settings *settings;
	const char *path;
	const char *profile; /* NULL in the first pass */
	struct hc_slice text;
	size_t at;                                /* how far the text is read */
	int line;                                 /* number of the line read last, from 1 */
	struct hc_slice section, section_profile; /* into the text; the profile empty in plain sections */
	struct seen *seen;
	size_t seen_len, seen_cap;
	enum hc_status status; /* of the first error; nothing more is read then */
	struct hc_settings_error *err;
};

struct place {
	char text[256];
};

static const char *
place(const struct reading *reading, struct place *buf)
{
	snprintf(buf->text, sizeof(buf->text), "%.230s:%d", reading->path, reading->line);
	return buf->text;
}

static void
fail(struct reading *reading, const char *why)
{
	struct place where;

	reading->status = hc_setting_fail(reading->err, place(reading, &where), "%s", why);
}

static void
fail_unknown_section(struct reading *reading)
{
	const char *guess = hc_setting_guess_section(reading->section);
	struct hc_log_quoted quoted;
	struct place where;

	reading->status = hc_setting_fail(reading->err, place(reading, &where), "there is no section %s%s%s%s",
	    hc_log_quote(&quoted, reading->section.ptr, reading->section.len), guess ? "; did you mean " : "",
	    guess ? guess : "", guess ? "?" : "");
}

static void
fail_unknown_key(struct reading *reading, struct hc_slice key)
{
	const struct hc_setting *guess = hc_setting_guess(reading->section, key);
	struct hc_log_quoted quoted;
	struct place where;

	reading->status = hc_setting_fail(reading->err, place(reading, &where), "section %.*s has no setting %s%s%s%s",
	    (int)reading->section.len, reading->section.ptr, hc_log_quote(&quoted, key.ptr, key.len),
	    guess ? "; did you mean " : "", guess ? guess->name : "", guess ? "?" : "");
}

static bool
profile_valid(struct hc_slice profile)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

	for (size_t i = 0; i < profile.len; i++) {
		if (!memchr(allowed, profile.ptr[i], sizeof(allowed) - 1))
			return false;
	}
	return profile.len > 0 && profile.len < PROFILE_CAP;
}

/* "[section]" or "[section.profile]", with nothing behind it but a comment. */
static void
enter_section(struct reading *reading, struct hc_slice line)
{
	const char *end = memchr(line.ptr, ']', line.len);

	if (!end) {
		fail(reading, "a section's name must end with ]");
		return;
	}
	const char *behind = end + 1;
	struct hc_slice rest = hc_slice_trim(hc_slice(behind, (size_t)(line.ptr + line.len - behind)));
	if (rest.len && (rest.ptr[0] != ';' || rest.ptr == behind)) {
		fail(reading, "there must be nothing after a section's ]");
		return;
	}
	reading->section = hc_slice(line.ptr + 1, (size_t)(end - line.ptr) - 1);
	reading->section_profile = hc_slice("", 0);
	const char *dot = memchr(reading->section.ptr, '.', reading->section.len);
	if (dot) {
		reading->section.len = (size_t)(dot - reading->section.ptr);
		reading->section_profile = hc_slice(dot + 1, (size_t)(end - dot) - 1);
	}
	if (!hc_setting_section_known(reading->section))
		fail_unknown_section(reading);
	else if (dot && !profile_valid(reading->section_profile))
		fail(reading, PROFILE_ALLOWED);
}

/* inih's reader: the next line, with its end, as a string of at most `cap` bytes; NULL ends the
 * reading. */
static char *
read_line(char *buf, int cap, void *arg)
{
	struct reading *reading = arg;
	const char *start = reading->text.ptr + reading->at;
	size_t left = reading->text.len - reading->at;

	if (left == 0 || reading->status != HC_OK)
		return NULL;
	const char *newline = memchr(start, '\n', left);
	size_t len = newline ? (size_t)(newline - start) + 1 : left;
	reading->at += len;
	reading->line++;
	/* inih takes a buffer that is full for a line that was cut. */
	if (len + 2 > (size_t)cap) {
		struct place where;
		reading->status = hc_setting_fail(
		    reading->err, place(reading, &where), "the line is too long; allowed: up to %d bytes", cap - 3);
		return NULL;
	}
	if (memchr(start, '\0', len)) {
		fail(reading, "there is a NUL byte in the line");
		return NULL;
	}
	struct hc_slice line = hc_slice_trim(hc_slice(start, len));
	if (line.len && line.ptr[0] == '[')
		enter_section(reading, line);
	if (reading->status != HC_OK)
		return NULL;
	memcpy(buf, start, len);
	buf[len] = '\0';
	return buf;
}

/* False when the setting stands twice in one section, or there is no memory. */
static bool
note_seen(struct reading *reading, const struct hc_setting *row)
{
	for (size_t i = 0; i < reading->seen_len; i++) {
		const struct seen *seen = &reading->seen[i];
		struct place where;
		if (seen->row != row || !hc_slice_eq(seen->profile, reading->section_profile))
			continue;
		reading->status = hc_setting_fail(
		    reading->err, place(reading, &where), "%s is already set in line %d", row->name, seen->line);
		return false;
	}
	if (reading->seen_len == reading->seen_cap) {
		size_t cap = reading->seen_cap ? reading->seen_cap * 2 : 32;
		struct seen *grown = hc_realloc(reading->seen, cap * sizeof(*grown));
		if (!grown) {
			reading->status = hc_setting_nomem(reading->err);
			return false;
		}
		reading->seen = grown;
		reading->seen_cap = cap;
	}
	reading->seen[reading->seen_len++] = (struct seen){row, reading->section_profile, reading->line};
	return true;
}

/* A value of a section that is not in force must be valid all the same. */
static void
check_value(struct reading *reading, const struct hc_setting *row, struct hc_slice text)
{
	struct hc_setting_value value = {0, NULL};
	struct place where;

	reading->status = hc_setting_parse(row, text, place(reading, &where), &value, reading->err);
	hc_free(value.str);
}

/* inih's handler; the section is taken from the reading, since inih would cut a long one. */
static int
on_setting(void *arg, const char *section, const char *name, const char *text)
{
	struct reading *reading = arg;
	const struct hc_setting *row;
	struct hc_slice key = hc_slice_str(name), value = hc_slice_str(text);
	struct place where;

	(void)section;
	if (reading->status != HC_OK)
		return 0;
	if (reading->section.len == 0) {
		fail(reading, "a setting must stand below a [section]");
		return 0;
	}
	row = hc_setting_find(reading->section, key);
	if (!row) {
		fail_unknown_key(reading, key);
		return 0;
	}

	bool first = !reading->profile;
	bool wanted = first ? reading->section_profile.len == 0
			    : hc_slice_eq(reading->section_profile, hc_slice_str(reading->profile));
	if (first && !note_seen(reading, row))
		return 0;
	if (wanted)
		reading->status =
		    hc_setting_assign(reading->settings, row, value, place(reading, &where), reading->err);
	else if (first)
		check_value(reading, row, value);
	return reading->status == HC_OK;
}

/* inih's switches are process-wide in the library; ours is the only use of it. */
static void
configure_inih(void)
{
	ini_max_line = LINE_CAP;
	ini_use_stack = true;
	ini_allow_multiline = false; /* an indented line is a setting like any other */
	ini_allow_inline_comments = true;
	ini_allow_no_value = false;
	ini_stop_on_first_error = true;
}

static enum hc_status
pass(struct reading *reading, const char *profile)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int bad_line;

	pthread_once(&once, configure_inih);
	reading->profile = profile;
	reading->at = 0;
	reading->line = 0;
	reading->section = reading->section_profile = hc_slice("", 0);
	bad_line = ini_parse_stream(read_line, reading, on_setting, reading);
	if (reading->status == HC_OK && bad_line > 0) {
		reading->line = bad_line;
		fail(reading, "neither [section] nor key = value nor a comment");
	} else if (reading->status == HC_OK && bad_line < 0) {
		reading->status = hc_setting_nomem(reading->err);
	}
	return reading->status;
}

/* All of the file; the caller frees `*out`. */
static enum hc_status
read_all(const char *path, char **out, size_t *len, struct hc_settings_error *err)
{
	enum hc_status status;
	FILE *file = fopen(path, "re");

	if (!file)
		return hc_setting_fail(err, path, "cannot be opened: %s", strerror(errno));
	char *text = hc_malloc(FILE_MAX + 1);
	if (!text) {
		status = hc_setting_nomem(err);
		goto close;
	}
	*len = fread(text, 1, FILE_MAX + 1, file);
	if (ferror(file)) {
		status = hc_setting_fail(err, path, "cannot be read: %s", strerror(errno));
		goto free_text;
	}
	if (*len > FILE_MAX) {
		status = hc_setting_fail(err, path, "larger than a settings file can be (1M)");
		goto free_text;
	}
	*out = text;
	fclose(file);
	return HC_OK;

free_text:
	hc_free(text);
close:
	fclose(file);
	return status;
}

enum hc_status
hc_settings_read_file(
    struct hc_settings *settings, const char *path, const char *profile, struct hc_settings_error *err)
{
	struct reading reading = {.settings = settings, .path = path, .err = err, .status = HC_OK};
	char *text = NULL;

	if (profile && !profile_valid(hc_slice_str(profile)))
		return hc_setting_fail(err, "HARCA_ENV", PROFILE_ALLOWED);
	enum hc_status status = read_all(path, &text, &reading.text.len, err);

	if (status != HC_OK)
		return status;
	reading.text.ptr = text;
	if (reading.text.len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		reading.text = hc_slice(text + 3, reading.text.len - 3); /* the mark some editors put */
	status = pass(&reading, NULL);
	if (status == HC_OK && profile)
		status = pass(&reading, profile);
	hc_free(reading.seen);
	hc_free(text);
	return status;
}
