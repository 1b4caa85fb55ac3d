/*
 * What the table says of the settings, for people: `harcad --describe`, the body of
 * docs/settings.md and of conf/harcad.ini. Any thread; shows rows only, never what is in force.
 */
#include "base/settings_private.h"

#include <string.h>

#define WIDTH 100

/* Writes `text` broken at spaces, each line behind `indent`. */
static void
write_wrapped(FILE *out, const char *indent, const char *text)
{
	size_t room = WIDTH - strlen(indent);

	while (*text) {
		size_t len = strlen(text);
		if (len > room) {
			len = room;
			while (len > 0 && text[len] != ' ')
				len--;
			if (len == 0)
				len = strcspn(text, " ");
		}
		fprintf(out, "%s%.*s\n", indent, (int)len, text);
		text += len + (text[len] == ' ');
	}
}

static const char *
shown_default(const struct hc_setting *row)
{
	return *row->default_text ? row->default_text : "empty";
}

static const char *
reload_word(const struct hc_setting *row)
{
	return row->flags & HC_SETTING_RELOAD ? "yes" : "no";
}

static void
plain_row(FILE *out, const struct hc_setting *row)
{
	struct hc_setting_text allowed;
	char env[HC_SETTING_NAME_CAP];

	fprintf(out, "  %s\n", row->name);
	write_wrapped(out, "      ", row->help);
	fprintf(out, "      default %s; %s\n", shown_default(row), hc_setting_allowed(row, &allowed));
	fprintf(out, "      %s; reload: %s\n\n", hc_setting_env_name(row->section, row->key, env), reload_word(row));
}

static void
markdown_row(FILE *out, const struct hc_setting *row)
{
	struct hc_setting_text allowed;
	char env[HC_SETTING_NAME_CAP];
	const char *tick = *row->default_text ? "`" : "";

	fprintf(out, "| `%s` | %s | %s%s%s | %s | %s | `%s` | %s |\n", row->name, hc_setting_type_name(row->type), tick,
	    shown_default(row), tick, hc_setting_allowed(row, &allowed), reload_word(row),
	    hc_setting_env_name(row->section, row->key, env), row->help);
}

static void
ini_row(FILE *out, const struct hc_setting *row)
{
	struct hc_setting_text allowed;

	fprintf(out, "\n");
	write_wrapped(out, "# ", row->help);
	fprintf(out, "# Allowed: %s.%s\n", hc_setting_allowed(row, &allowed),
	    row->flags & HC_SETTING_RELOAD ? " Reloadable." : "");
	fprintf(out, "#%s =%s%s\n", row->key, *row->default_text ? " " : "", row->default_text);
}

static void
plain_section(FILE *out, const char *section)
{
	fprintf(out, "[%s]\n", section);
}

static void
markdown_section(FILE *out, const char *section)
{
	fprintf(out, "\n## %s\n\n", section);
	fprintf(out, "| name | type | default | allowed | reload | environment | meaning |\n"
		     "|---|---|---|---|---|---|---|\n");
}

static void
ini_section(FILE *out, const char *section)
{
	fprintf(out, "\n[%s]\n", section);
}

static const struct {
	void (*section)(FILE *out, const char *section);
	void (*row)(FILE *out, const struct hc_setting *row);
} formats[] = {
    [HC_SETTINGS_PLAIN] = {plain_section, plain_row},
    [HC_SETTINGS_MARKDOWN] = {markdown_section, markdown_row},
    [HC_SETTINGS_INI] = {ini_section, ini_row},
};

void
hc_settings_describe(FILE *out, enum hc_settings_format format)
{
	const char *section = "";

	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		if (strcmp(row->section, section) != 0) {
			section = row->section;
			formats[format].section(out, section);
		}
		formats[format].row(out, row);
	}
}
