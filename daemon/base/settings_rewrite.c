/*
 * Puts what was set at run time into the ini file, as little changed as can be: a line that sets it gets another value;
 * where there is none, one is put behind the setting's commented line, or at the end of its section, or in a new
 * section. The new file is read once before it takes the old one's place, so that it surely says what is in force. Any
 * thread; no lock is held while files are at work.
 */
#include "base/settings_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

#define FILE_MAX (1 << 20) /* as settings_file.c has it */

struct rewriting {
	struct hc_settings *wanted; /* the values to be written */
	bool changed[HC_SETTING_COUNT];
	const char *path;    /* what the operator named it */
	const char *profile; /* or NULL */
	char *text;          /* the file, in memory */
	size_t len;
	struct hc_settings_error *err;
};

static enum hc_status
fail_errno(struct rewriting *rewriting, const char *what)
{
	return hc_setting_fail(rewriting->err, rewriting->path, "%s: %s", what, strerror(errno));
}

/* ---- lines ---- */

/* Whether a line, trimmed, is "[section]", or "[section.profile]" when there is a profile. */
static bool
is_header(struct hc_slice line, const char *section, const char *profile)
{
	char header[128];
	int n = snprintf(header, sizeof(header), profile ? "[%s.%s]" : "[%s]", section, profile);

	return n > 0 && line.len >= (size_t)n && memcmp(line.ptr, header, (size_t)n) == 0;
}

/* Whether a line, trimmed, sets the key; then *value is what stands there, without the comment behind it. */
static bool
sets_key(struct hc_slice line, const char *key, struct hc_slice *value)
{
	size_t at = 0;

	while (at < line.len && line.ptr[at] != '=' && line.ptr[at] != ':')
		at++;
	if (at == line.len || !hc_slice_eq(hc_slice_trim(hc_slice(line.ptr, at)), hc_slice_str(key)))
		return false;
	size_t start = ++at;
	while (at < line.len && !(line.ptr[at] == ';' && hc_is_space(line.ptr[at - 1])))
		at++;
	*value = hc_slice_trim(hc_slice(line.ptr + start, at - start));
	if (value->len == 0) /* where it would begin */
		*value = hc_slice(line.ptr + start, 0);
	return true;
}

/* Where a setting is, or could be, in the text; SIZE_MAX: nowhere. */
struct spot {
	size_t value, value_len;
	size_t behind_comment;
	size_t section_end;
};

static void
look_at_line(const struct rewriting *rewriting, struct hc_slice line, size_t next, const char *key, struct spot *spot)
{
	struct hc_slice value;

	if (line.len == 0)
		return;
	spot->section_end = next;
	if (line.ptr[0] == '#' || line.ptr[0] == ';') {
		if (sets_key(hc_slice_trim(hc_slice(line.ptr + 1, line.len - 1)), key, &value))
			spot->behind_comment = next;
	} else if (sets_key(line, key, &value)) {
		spot->value = (size_t)(value.ptr - rewriting->text);
		spot->value_len = value.len;
	}
}

static struct spot
find_spot(const struct rewriting *rewriting, const struct hc_setting *row, const char *profile)
{
	struct spot spot = {SIZE_MAX, 0, SIZE_MAX, SIZE_MAX};
	bool marked = rewriting->len >= 3 && memcmp(rewriting->text, "\xef\xbb\xbf", 3) == 0;
	bool inside = false;

	for (size_t at = marked ? 3 : 0, next; at < rewriting->len && spot.value == SIZE_MAX; at = next) {
		const char *newline = memchr(rewriting->text + at, '\n', rewriting->len - at);
		next = newline ? (size_t)(newline - rewriting->text) + 1 : rewriting->len;
		struct hc_slice line = hc_slice_trim(hc_slice(rewriting->text + at, next - at));
		if (line.len && line.ptr[0] == '[') {
			inside = is_header(line, row->section, profile);
			if (inside)
				spot.section_end = next;
		} else if (inside) {
			look_at_line(rewriting, line, next, row->key, &spot);
		}
	}
	return spot;
}

/* ---- changing the text ---- */

static enum hc_status
put_text(struct rewriting *rewriting, size_t at, size_t gone, const char *fresh)
{
	size_t len = strlen(fresh), rest = rewriting->len - at - gone;
	char *text = hc_malloc(rewriting->len - gone + len + 1);

	if (!text)
		return hc_setting_nomem(rewriting->err);
	char *end = mempcpy(mempcpy(text, rewriting->text, at), fresh, len);
	memcpy(end, rewriting->text + at + gone, rest);
	hc_free(rewriting->text);
	rewriting->text = text;
	rewriting->len = at + len + rest;
	return HC_OK;
}

static enum hc_status
put_value(struct rewriting *rewriting, const struct spot *spot, const char *value)
{
	struct hc_settings_text spaced;
	bool glued = spot->value_len == 0 && value[0];

	snprintf(spaced.text, sizeof(spaced.text), "%s%s", glued ? " " : "", value);
	return put_text(rewriting, spot->value, spot->value_len, spaced.text);
}

static enum hc_status
put_line(struct rewriting *rewriting, const struct hc_setting *row, const struct spot *spot, const char *value)
{
	char line[sizeof(struct hc_settings_text) + 2 * HC_SETTING_NAME_CAP];
	size_t at = spot->behind_comment != SIZE_MAX ? spot->behind_comment : spot->section_end;

	if (at != SIZE_MAX) {
		snprintf(line, sizeof(line), "%s = %s\n", row->key, value);
		return put_text(rewriting, at, 0, line);
	}
	snprintf(line, sizeof(line), "%s[%s]\n%s = %s\n", rewriting->len ? "\n" : "", row->section, row->key, value);
	return put_text(rewriting, rewriting->len, 0, line);
}

/* The profile's line counts, where there is one. */
static enum hc_status
put_setting(struct rewriting *rewriting, const struct hc_setting *row)
{
	struct hc_settings_text buf;
	const char *value = hc_settings_get(rewriting->wanted, hc_slice_str(row->name), &buf);

	if (rewriting->profile) {
		struct spot spot = find_spot(rewriting, row, rewriting->profile);
		if (spot.value != SIZE_MAX)
			return put_value(rewriting, &spot, value);
	}
	struct spot spot = find_spot(rewriting, row, NULL);
	if (spot.value != SIZE_MAX)
		return put_value(rewriting, &spot, value);
	return put_line(rewriting, row, &spot, value);
}

static enum hc_status
put_all(struct rewriting *rewriting)
{
	enum hc_status status = HC_OK;

	if (rewriting->len && rewriting->text[rewriting->len - 1] != '\n')
		status = put_text(rewriting, rewriting->len, 0, "\n");
	for (enum hc_setting_id id = 0; status == HC_OK && id < HC_SETTING_COUNT; id++) {
		if (rewriting->changed[id])
			status = put_setting(rewriting, hc_settings_row(id));
	}
	return status;
}

/* ---- files ---- */

static enum hc_status
read_text(struct rewriting *rewriting, int fd)
{
	rewriting->text = hc_malloc(FILE_MAX + 1);
	if (!rewriting->text)
		return hc_setting_nomem(rewriting->err);
	for (;;) {
		ssize_t n = read(fd, rewriting->text + rewriting->len, FILE_MAX + 1 - rewriting->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(rewriting, "cannot be read");
		if (n == 0)
			return HC_OK;
		rewriting->len += (size_t)n;
		if (rewriting->len > FILE_MAX)
			return hc_setting_fail(
			    rewriting->err, rewriting->path, "larger than a settings file can be (1M)");
	}
}

static bool
write_text(const struct rewriting *rewriting, int fd)
{
	for (size_t done = 0; done < rewriting->len;) {
		ssize_t n = write(fd, rewriting->text + done, rewriting->len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		done += (size_t)n;
	}
	return fsync(fd) == 0;
}

/* Whether the file at `path` says what is wanted: a value may not be one that a line can hold. */
static enum hc_status
check_written(struct rewriting *rewriting, const char *path)
{
	struct hc_settings *said = hc_settings_create();

	if (!said)
		return hc_setting_nomem(rewriting->err);
	enum hc_status status = hc_settings_read_file(said, path, rewriting->profile, rewriting->err);
	for (enum hc_setting_id id = 0; status == HC_OK && id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		if (rewriting->changed[id] && hc_setting_differs(said, rewriting->wanted, row))
			status =
			    hc_setting_fail(rewriting->err, "", "%s: its value cannot stand in the file", row->name);
	}
	hc_settings_destroy(said);
	return status;
}

/* A file of the same mode and, if that is allowed, the same owner, beside the old one; then in its place. */
static enum hc_status
replace_file(struct rewriting *rewriting, const char *real, const struct stat *old)
{
	char fresh[PATH_MAX + 8];
	enum hc_status status;

	snprintf(fresh, sizeof(fresh), "%s.XXXXXX", real);
	int fd = mkostemp(fresh, O_CLOEXEC);
	if (fd < 0)
		return fail_errno(rewriting, "cannot make a new file beside it");
	bool owned = fchown(fd, old->st_uid, old->st_gid) == 0;
	if (fchmod(fd, old->st_mode & (owned ? 07777 : 0700)) != 0 || !write_text(rewriting, fd)) {
		status = fail_errno(rewriting, "cannot be written");
		goto fail;
	}
	status = check_written(rewriting, fresh);
	if (status != HC_OK)
		goto fail;
	if (rename(fresh, real) != 0) {
		status = fail_errno(rewriting, "cannot be replaced");
		goto fail;
	}
	close(fd);
	return HC_OK;

fail:
	close(fd);
	unlink(fresh);
	return status;
}

static enum hc_status
rewrite_file(struct rewriting *rewriting)
{
	struct stat old;
	char *real = realpath(rewriting->path, NULL); /* the file stays where a link leads to it */
	int fd = real ? open(real, O_RDONLY | O_CLOEXEC) : -1;
	enum hc_status status;

	if (fd < 0 || fstat(fd, &old) != 0) {
		status = fail_errno(rewriting, "cannot be opened");
		goto end;
	}
	status = read_text(rewriting, fd);
	if (status == HC_OK)
		status = put_all(rewriting);
	if (status == HC_OK)
		status = replace_file(rewriting, real, &old);
end:
	if (fd >= 0)
		close(fd);
	hc_free(rewriting->text);
	free(real); /* realpath()'s, by malloc() */
	return status;
}

static enum hc_status
take_changed(struct rewriting *rewriting, struct hc_settings *settings)
{
	enum hc_status status = HC_OK;

	pthread_mutex_lock(&settings->private->writers);
	for (enum hc_setting_id id = 0; status == HC_OK && id < HC_SETTING_COUNT; id++) {
		rewriting->changed[id] = settings->private->changed[id];
		if (rewriting->changed[id] && !hc_setting_copy(rewriting->wanted, settings, hc_settings_row(id)))
			status = hc_setting_nomem(rewriting->err);
	}
	pthread_mutex_unlock(&settings->private->writers);
	return status;
}

enum hc_status
hc_settings_rewrite(struct hc_settings *settings, const char *path, const char *profile, struct hc_settings_error *err)
{
	struct rewriting rewriting = {
	    .wanted = hc_settings_create(), .path = path, .profile = profile && *profile ? profile : NULL, .err = err};

	if (!rewriting.wanted)
		return hc_setting_nomem(err);
	enum hc_status status = take_changed(&rewriting, settings);
	if (status == HC_OK)
		status = rewrite_file(&rewriting);
	hc_settings_destroy(rewriting.wanted);
	return status;
}
