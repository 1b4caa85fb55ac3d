/*
 * The types of settings: text to value and back, ranges, and the sentences of their errors. A type
 * is one row of the table `types` and its two functions. Any thread: no state.
 */
#include "base/settings_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"

/* What may follow a number, largest first. */
struct unit {
	const char *word;
	int64_t factor;
};

static const struct unit sizes[] = {
    {"T", HC_SETTING_TIB(1)},
    {"G", HC_SETTING_GIB(1)},
    {"M", HC_SETTING_MIB(1)},
    {"K", HC_SETTING_KIB(1)},
    {NULL, 0},
};

static const struct unit times[] = {
    {"d", HC_SETTING_DAYS(1)},
    {"h", HC_SETTING_HOURS(1)},
    {"m", HC_SETTING_SECONDS(60)},
    {"s", HC_SETTING_SECONDS(1)},
    {"ms", 1},
    {NULL, 0},
};

enum hc_status
hc_setting_fail(struct hc_settings_error *err, const char *where, const char *format, ...)
{
	va_list args;
	int n = 0;

	if (*where)
		n = snprintf(err->text, sizeof(err->text), "%s: ", where);
	if (n < 0 || (size_t)n >= sizeof(err->text))
		return HC_INVALID;
	va_start(args, format);
	vsnprintf(err->text + n, sizeof(err->text) - (size_t)n, format, args);
	va_end(args);
	return HC_INVALID;
}

enum hc_status
hc_setting_nomem(struct hc_settings_error *err)
{
	hc_setting_fail(err, "", "out of memory");
	return HC_NOMEM;
}

/* Splits "256M" in its number and what follows; false when there is no number or no room for it. */
static bool
split_number(struct hc_slice text, int64_t *num, struct hc_slice *rest)
{
	size_t digits = 0;

	while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
		digits++;
	*rest = hc_slice(text.ptr + digits, text.len - digits);
	return hc_num_i64(hc_slice(text.ptr, digits), num);
}

static bool
parse_bool(const struct hc_setting *row, struct hc_slice text, int64_t *out)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

	(void)row;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (hc_slice_is(text, words[i])) {
			*out = i % 2;
			return true;
		}
	}
	return false;
}

static bool
parse_int(const struct hc_setting *row, struct hc_slice text, int64_t *out)
{
	(void)row;
	return hc_num_i64(text, out);
}

static bool
parse_size(const struct hc_setting *row, struct hc_slice text, int64_t *out)
{
	struct hc_slice rest;

	(void)row;
	if (!split_number(text, out, &rest))
		return false;
	if (rest.len == 0 || hc_slice_is(rest, "b"))
		return true;
	if (rest.len > 1 && !hc_slice_is(hc_slice(rest.ptr + 1, rest.len - 1), "b") &&
	    !hc_slice_is(hc_slice(rest.ptr + 1, rest.len - 1), "ib"))
		return false;
	for (const struct unit *unit = sizes; unit->word; unit++) {
		if (hc_slice_is(hc_slice(rest.ptr, 1), unit->word))
			return !__builtin_mul_overflow(*out, unit->factor, out);
	}
	return false;
}

static bool
parse_time(const struct hc_setting *row, struct hc_slice text, int64_t *out)
{
	struct hc_slice rest;

	(void)row;
	if (!split_number(text, out, &rest))
		return false;
	/* Of a bare number nobody knows whether seconds or milliseconds were meant. */
	if (rest.len == 0)
		return *out == 0;
	for (const struct unit *unit = times; unit->word; unit++) {
		if (hc_slice_eq(rest, hc_slice_str(unit->word)))
			return !__builtin_mul_overflow(*out, unit->factor, out);
	}
	return false;
}

/* The length of the choice that stands at `choices`. */
static size_t
choice_len(const char *choices)
{
	return strcspn(choices, "|");
}

static bool
parse_enum(const struct hc_setting *row, struct hc_slice text, int64_t *out)
{
	const char *choice = row->choices;

	for (int64_t i = 0;; i++) {
		size_t len = choice_len(choice);
		if (hc_slice_eq(text, hc_slice(choice, len))) {
			*out = i;
			return true;
		}
		if (choice[len] == '\0')
			return false;
		choice += len + 1;
	}
}

static bool
parse_mode(const struct hc_setting *row, struct hc_slice text, int64_t *out)
{
	int64_t mode = 0;

	(void)row;
	if (text.len == 0 || text.len > 5)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '7')
			return false;
		mode = mode * 8 + (text.ptr[i] - '0');
	}
	*out = mode;
	return true;
}

static void
format_bool(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf)
{
	(void)row;
	snprintf(buf->text, sizeof(buf->text), "%s", num ? "yes" : "no");
}

static void
format_int(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf)
{
	(void)row;
	snprintf(buf->text, sizeof(buf->text), "%" PRId64, num);
}

/* In the largest unit that loses nothing. */
static void
format_units(const struct unit *unit, int64_t num, struct hc_setting_text *buf)
{
	while (unit->word && (num == 0 || num % unit->factor != 0))
		unit++;
	snprintf(buf->text, sizeof(buf->text), "%" PRId64 "%s", unit->word ? num / unit->factor : num,
	    unit->word ? unit->word : "");
}

static void
format_size(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf)
{
	(void)row;
	format_units(sizes, num, buf);
}

static void
format_time(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf)
{
	(void)row;
	format_units(times, num, buf);
}

static void
format_enum(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf)
{
	const char *choice = row->choices;

	while (num-- > 0)
		choice += choice_len(choice) + 1;
	snprintf(buf->text, sizeof(buf->text), "%.*s", (int)choice_len(choice), choice);
}

static void
format_mode(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf)
{
	(void)row;
	snprintf(buf->text, sizeof(buf->text), "%04" PRIo64, (uint64_t)num);
}

static const struct {
	const char *name;
	const char *allowed;
	const char *hint; /* behind what is allowed */
	bool ranged;      /* the row's min and max bound the number */
	bool (*parse)(const struct hc_setting *row, struct hc_slice text, int64_t *out);
	void (*format)(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf);
} types[] = {
    [HC_SETTING_TYPE_STRING] = {"string", "text", "", false, NULL, format_int},
    [HC_SETTING_TYPE_BOOL] = {"bool", "yes or no", "", false, parse_bool, format_bool},
    [HC_SETTING_TYPE_INT] = {"int", "a whole number", "", true, parse_int, format_int},
    [HC_SETTING_TYPE_SIZE] = {"size", "a size", " (bytes, or K M G T)", true, parse_size, format_size},
    [HC_SETTING_TYPE_TIME] = {"time", "a time", " (in ms s m h d)", true, parse_time, format_time},
    [HC_SETTING_TYPE_ENUM] = {"enum", "one of", "", false, parse_enum, format_enum},
    [HC_SETTING_TYPE_MODE] = {"mode", "octal permissions", "", true, parse_mode, format_mode},
};

const char *
hc_setting_type_name(enum hc_setting_type type)
{
	return types[type].name;
}

const char *
hc_setting_format(const struct hc_setting *row, int64_t num, struct hc_setting_text *buf)
{
	types[row->type].format(row, num, buf);
	return buf->text;
}

static void
allowed_choices(const struct hc_setting *row, struct hc_setting_text *buf)
{
	size_t at = (size_t)snprintf(buf->text, sizeof(buf->text), "one of ");

	for (const char *c = row->choices; *c && at + 3 < sizeof(buf->text); c++) {
		buf->text[at++] = *c == '|' ? ',' : *c;
		if (*c == '|')
			buf->text[at++] = ' ';
	}
	buf->text[at] = '\0';
}

const char *
hc_setting_allowed(const struct hc_setting *row, struct hc_setting_text *buf)
{
	struct hc_setting_text min, max;

	hc_setting_format(row, row->min, &min);
	hc_setting_format(row, row->max, &max);
	if (row->type == HC_SETTING_TYPE_ENUM)
		allowed_choices(row, buf);
	else if (row->type == HC_SETTING_TYPE_STRING && row->min == 0)
		snprintf(buf->text, sizeof(buf->text), "text of up to %.20s bytes", max.text);
	else if (row->type == HC_SETTING_TYPE_STRING)
		snprintf(buf->text, sizeof(buf->text), "text of %.20s to %.20s bytes", min.text, max.text);
	else if (types[row->type].ranged)
		snprintf(buf->text, sizeof(buf->text), "%s from %.20s to %.20s%s", types[row->type].allowed, min.text,
		    max.text, types[row->type].hint);
	else
		snprintf(buf->text, sizeof(buf->text), "%s", types[row->type].allowed);
	return buf->text;
}

static enum hc_status
parse_string(const struct hc_setting *row, struct hc_slice text, const char *where, struct hc_setting_value *out,
    struct hc_settings_error *err)
{
	struct hc_setting_text allowed;

	if (text.len < (uint64_t)row->min || text.len > (uint64_t)row->max)
		return hc_setting_fail(err, where, "%s: %zu bytes are too %s; allowed: %s", row->name, text.len,
		    text.len < (uint64_t)row->min ? "few" : "many", hc_setting_allowed(row, &allowed));
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];
		if (c < ' ' || c == 0x7f)
			return hc_setting_fail(err, where,
			    "%s: byte %zu is a control character; allowed: %s without them", row->name, i + 1,
			    hc_setting_allowed(row, &allowed));
	}
	out->str = hc_strndup(text.ptr ? text.ptr : "", text.len);
	return out->str ? HC_OK : hc_setting_nomem(err);
}

enum hc_status
hc_setting_parse(const struct hc_setting *row, struct hc_slice text, const char *where, struct hc_setting_value *out,
    struct hc_settings_error *err)
{
	struct hc_setting_text allowed;
	struct hc_log_quoted quoted;
	int64_t num;

	if (row->type == HC_SETTING_TYPE_STRING)
		return parse_string(row, text, where, out, err);
	if (!types[row->type].parse(row, text, &num))
		return hc_setting_fail(err, where, "%s: %s is not valid; allowed: %s", row->name,
		    hc_log_quote(&quoted, text.ptr, text.len), hc_setting_allowed(row, &allowed));
	if (types[row->type].ranged && (num < row->min || num > row->max))
		return hc_setting_fail(err, where, "%s: %s is too %s; allowed: %s", row->name,
		    hc_log_quote(&quoted, text.ptr, text.len), num < row->min ? "small" : "large",
		    hc_setting_allowed(row, &allowed));
	out->num = num;
	return HC_OK;
}
