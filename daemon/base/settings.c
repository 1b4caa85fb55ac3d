/*
 * The settings in force: creation, reading and setting single ones, exchanging values between the
 * settings all threads see and a scratch copy that was made and checked beforehand. Owns the
 * strings. Threads: settings.h; the locks and their order: settings_private.h.
 */
#include "base/settings_private.h"

#include <stdatomic.h>
#include <string.h>
#include "base/mem.h"

static void *
field(const struct hc_settings *settings, const struct hc_setting *row)
{
	return (char *)(uintptr_t)settings + row->offset;
}

static char **
string_field(const struct hc_settings *settings, const struct hc_setting *row)
{
	return field(settings, row);
}

int64_t
hc_setting_num(const struct hc_settings *settings, const struct hc_setting *row)
{
	if (row->type == HC_SETTING_TYPE_BOOL)
		return atomic_load((_Atomic bool *)field(settings, row));
	return atomic_load((_Atomic int64_t *)field(settings, row));
}

static void
store_num(struct hc_settings *settings, const struct hc_setting *row, int64_t num)
{
	if (row->type == HC_SETTING_TYPE_BOOL)
		atomic_store((_Atomic bool *)field(settings, row), num != 0);
	else
		atomic_store((_Atomic int64_t *)field(settings, row), num);
}

const char *
hc_setting_str(const struct hc_settings *settings, const struct hc_setting *row)
{
	return *string_field(settings, row);
}

enum hc_status
hc_setting_assign(struct hc_settings *settings, const struct hc_setting *row, struct hc_slice text, const char *where,
    struct hc_settings_error *err)
{
	struct hc_setting_value value;
	enum hc_status status = hc_setting_parse(row, text, where, &value, err);

	if (status != HC_OK)
		return status;
	if (row->type == HC_SETTING_TYPE_STRING) {
		hc_free(*string_field(settings, row));
		*string_field(settings, row) = value.str;
	} else {
		store_num(settings, row, value.num);
	}
	return HC_OK;
}

struct hc_settings *
hc_settings_create(void)
{
	struct hc_settings *settings = hc_calloc(1, sizeof(*settings));
	struct hc_settings_error err;

	if (!settings)
		return NULL;
	settings->private = hc_calloc(1, sizeof(*settings->private));
	if (!settings->private)
		goto free_settings;
	pthread_mutex_init(&settings->private->writers, NULL);
	pthread_mutex_init(&settings->private->strings, NULL);
	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		struct hc_slice text = hc_slice_str(row->default_text);
		if (hc_setting_assign(settings, row, text, "", &err) != HC_OK)
			goto destroy;
	}
	return settings;

destroy:
	hc_settings_destroy(settings);
	return NULL;
free_settings:
	hc_free(settings);
	return NULL;
}

void
hc_settings_destroy(struct hc_settings *settings)
{
	if (!settings)
		return;
	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		if (row->type == HC_SETTING_TYPE_STRING)
			hc_free(*string_field(settings, row));
	}
	pthread_mutex_destroy(&settings->private->strings);
	pthread_mutex_destroy(&settings->private->writers);
	hc_free(settings->private);
	hc_free(settings);
}

void
hc_setting_swap(struct hc_settings *live, struct hc_settings *scratch, const struct hc_setting *row)
{
	if (row->type != HC_SETTING_TYPE_STRING) {
		int64_t num = hc_setting_num(live, row);
		store_num(live, row, hc_setting_num(scratch, row));
		store_num(scratch, row, num);
		return;
	}
	pthread_mutex_lock(&live->private->strings);
	char *str = *string_field(live, row);
	*string_field(live, row) = *string_field(scratch, row);
	*string_field(scratch, row) = str;
	pthread_mutex_unlock(&live->private->strings);
}

bool
hc_setting_differs(const struct hc_settings *a, const struct hc_settings *b, const struct hc_setting *row)
{
	if (row->type == HC_SETTING_TYPE_STRING)
		return strcmp(hc_setting_str(a, row), hc_setting_str(b, row)) != 0;
	return hc_setting_num(a, row) != hc_setting_num(b, row);
}

bool
hc_setting_copy(struct hc_settings *scratch, const struct hc_settings *live, const struct hc_setting *row)
{
	if (row->type != HC_SETTING_TYPE_STRING) {
		store_num(scratch, row, hc_setting_num(live, row));
		return true;
	}
	char *str = hc_strdup(hc_setting_str(live, row));
	if (!str)
		return false;
	hc_free(*string_field(scratch, row));
	*string_field(scratch, row) = str;
	return true;
}

size_t
hc_settings_string(struct hc_settings *settings, enum hc_setting_id id, char *buf, size_t cap)
{
	const struct hc_setting *row = hc_settings_row(id);

	pthread_mutex_lock(&settings->private->strings);
	const char *str = hc_setting_str(settings, row);
	size_t len = strlen(str);
	size_t copied = len < cap ? len : cap - 1;
	memcpy(buf, str, copied);
	pthread_mutex_unlock(&settings->private->strings);
	buf[copied] = '\0';
	return len;
}

/*
 * Puts "***" in place of what stands before the last @ of an URL, behind the scheme. Were there an
 * @ elsewhere, too much would be hidden rather than too little.
 */
static void
mask_url(struct hc_settings_text *buf)
{
	char *scheme = strstr(buf->text, "://");
	char *user = scheme ? scheme + 3 : buf->text;
	char *at = strrchr(buf->text, '@');
	static const char mask[] = "***";
	size_t rest;

	if (!at || at < user)
		return;
	rest = strlen(at) + 1;
	if ((size_t)(user - buf->text) + sizeof(mask) - 1 + rest > sizeof(buf->text))
		rest = 0; /* no row is as long as that */
	memmove(user + sizeof(mask) - 1, at, rest);
	memcpy(user, mask, sizeof(mask) - 1);
}

/* The row's text; a SECRET in clear only when `clear`. */
static const char *
row_text(struct hc_settings *settings, const struct hc_setting *row, bool clear, struct hc_settings_text *buf)
{
	struct hc_setting_text num;

	if (row->type != HC_SETTING_TYPE_STRING) {
		hc_setting_format(row, hc_setting_num(settings, row), &num);
		memcpy(buf->text, num.text, sizeof(num.text));
		return buf->text;
	}
	enum hc_setting_id id = (enum hc_setting_id)(row - hc_settings_row(0));
	hc_settings_string(settings, id, buf->text, sizeof(buf->text));
	if (row->flags & HC_SETTING_URL)
		mask_url(buf);
	if ((row->flags & HC_SETTING_SECRET) && !clear && buf->text[0])
		memcpy(buf->text, "***", 4);
	return buf->text;
}

const char *
hc_settings_get(struct hc_settings *settings, struct hc_slice name, struct hc_settings_text *buf)
{
	const struct hc_setting *row = hc_settings_find(name);

	return row ? row_text(settings, row, true, buf) : NULL;
}

const char *
hc_settings_show(struct hc_settings *settings, struct hc_slice name, struct hc_settings_text *buf)
{
	const struct hc_setting *row = hc_settings_find(name);

	return row ? row_text(settings, row, false, buf) : NULL;
}

/* Parses one pair into `scratch` and notes its row in `touched`. */
static enum hc_status
set_one(struct hc_settings *scratch, const struct hc_settings_pair *pair, bool touched[HC_SETTING_COUNT],
    struct hc_settings_error *err)
{
	const struct hc_setting *row = hc_settings_find(pair->name);

	if (!row)
		return hc_setting_fail(err, "", "no such setting");
	if (!(row->flags & HC_SETTING_RELOAD))
		return hc_setting_fail(err, "",
		    "%s: cannot change while the daemon runs; set it in the "
		    "file and restart",
		    row->name);
	bool *seen = &touched[row - hc_settings_row(0)];
	if (*seen)
		return hc_setting_fail(err, "", "%s: given twice", row->name);
	*seen = true;
	return hc_setting_assign(scratch, row, pair->text, "", err);
}

static enum hc_status
set_all(struct hc_settings *settings, struct hc_settings *scratch, const struct hc_settings_pair *pairs, size_t n,
    struct hc_settings_error *err)
{
	bool touched[HC_SETTING_COUNT] = {false};
	enum hc_status status;

	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		if (!hc_setting_copy(scratch, settings, hc_settings_row(id)))
			return hc_setting_nomem(err);
	}
	for (size_t i = 0; i < n; i++) {
		status = set_one(scratch, &pairs[i], touched, err);
		if (status != HC_OK)
			return status;
	}
	/* Listeners cannot change here, so where they came from does not matter. */
	status = hc_settings_check(scratch, true, err);
	if (status != HC_OK)
		return status;
	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		if (touched[id])
			hc_setting_swap(settings, scratch, hc_settings_row(id));
		settings->private->changed[id] |= touched[id];
	}
	return HC_OK;
}

enum hc_status
hc_settings_set_many(
    struct hc_settings *settings, const struct hc_settings_pair *pairs, size_t n, struct hc_settings_error *err)
{
	struct hc_settings *scratch = hc_settings_create();

	if (!scratch)
		return hc_setting_nomem(err);
	pthread_mutex_lock(&settings->private->writers);
	enum hc_status status = set_all(settings, scratch, pairs, n, err);
	pthread_mutex_unlock(&settings->private->writers);
	hc_settings_destroy(scratch);
	return status;
}

enum hc_status
hc_settings_set(struct hc_settings *settings, struct hc_slice name, struct hc_slice text, struct hc_settings_error *err)
{
	const struct hc_settings_pair pair = {name, text};

	return hc_settings_set_many(settings, &pair, 1, err);
}
