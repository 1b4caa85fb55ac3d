/*
 * The table of settings, finding its rows by name, and guessing which one was meant. Any thread:
 * all is constant.
 */
#include "base/settings_private.h"

#include <stdio.h>
#include <string.h>

static const struct hc_setting rows[] = {
#define HC_SETTING(section, key, type, default_text, min, max, choices, flags, help)                              \
	{#section, #key, #section "." #key, HC_SETTING_TYPE_##type, default_text, min, max, choices, flags, help, \
	    offsetof(struct hc_settings, section##_##key)},
#include "settings.def"
#undef HC_SETTING
};

const struct hc_setting *
hc_settings_row(enum hc_setting_id id)
{
	return &rows[id];
}

void
hc_settings_each(hc_settings_each_fn *fn, void *arg)
{
	for (size_t i = 0; i < HC_SETTING_COUNT; i++)
		fn(arg, &rows[i]);
}

static bool
equals(struct hc_slice text, const char *word)
{
	return hc_slice_eq(text, hc_slice_str(word));
}

const struct hc_setting *
hc_settings_find(struct hc_slice name)
{
	for (size_t i = 0; i < HC_SETTING_COUNT; i++) {
		if (equals(name, rows[i].name))
			return &rows[i];
	}
	return NULL;
}

const struct hc_setting *
hc_setting_find(struct hc_slice section, struct hc_slice key)
{
	for (size_t i = 0; i < HC_SETTING_COUNT; i++) {
		if (equals(section, rows[i].section) && equals(key, rows[i].key))
			return &rows[i];
	}
	return NULL;
}

bool
hc_setting_section_known(struct hc_slice section)
{
	for (size_t i = 0; i < HC_SETTING_COUNT; i++) {
		if (equals(section, rows[i].section))
			return true;
	}
	return false;
}

const char *
hc_setting_env_name(const char *section, const char *key, char out[static HC_SETTING_NAME_CAP])
{
	snprintf(out, HC_SETTING_NAME_CAP, "HARCA_%s_%s", section, key ? key : "");
	for (char *c = out; *c; c++) {
		if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - ('a' - 'A'));
	}
	return out;
}

static size_t
min_of(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* How many insertions, deletions and replacements of one byte make one of the other (Levenshtein).
 */
static size_t
distance(struct hc_slice a, struct hc_slice b)
{
	size_t row[HC_SETTING_NAME_CAP + 1];

	if (a.len > HC_SETTING_NAME_CAP || b.len > HC_SETTING_NAME_CAP)
		return SIZE_MAX;
	for (size_t j = 0; j <= b.len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			size_t replaced = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
			diagonal = row[j];
			row[j] = min_of(replaced, 1 + min_of(row[j], row[j - 1]));
		}
	}
	return row[b.len];
}

/* A third of the word may be wrong; what is further off would be no guess but a lottery. */
static size_t
allowance(struct hc_slice word)
{
	return word.len / 3 + 1;
}

const struct hc_setting *
hc_setting_guess(struct hc_slice section, struct hc_slice key)
{
	const struct hc_setting *best = NULL;
	size_t least = allowance(key) + 1;

	for (size_t i = 0; i < HC_SETTING_COUNT; i++) {
		size_t d = distance(key, hc_slice_str(rows[i].key));
		if (equals(section, rows[i].section) && d < least) {
			least = d;
			best = &rows[i];
		}
	}
	/* The right key in the wrong section. */
	for (size_t i = 0; i < HC_SETTING_COUNT && !best; i++) {
		if (equals(key, rows[i].key))
			best = &rows[i];
	}
	return best;
}

const char *
hc_setting_guess_section(struct hc_slice section)
{
	const char *best = NULL;
	size_t least = allowance(section) + 1;

	for (size_t i = 0; i < HC_SETTING_COUNT; i++) {
		size_t d = distance(section, hc_slice_str(rows[i].section));
		if (d < least) {
			least = d;
			best = rows[i].section;
		}
	}
	return best;
}

const struct hc_setting *
hc_setting_guess_env(struct hc_slice variable)
{
	const struct hc_setting *best = NULL;
	size_t least = 4; /* the names share much, so a third of them would be too much */

	for (size_t i = 0; i < HC_SETTING_COUNT; i++) {
		char name[HC_SETTING_NAME_CAP];
		hc_setting_env_name(rows[i].section, rows[i].key, name);
		size_t d = distance(variable, hc_slice_str(name));
		if (d < least) {
			least = d;
			best = &rows[i];
		}
	}
	return best;
}
