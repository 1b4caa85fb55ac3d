/*
 * base/settings.h: the table, its types and addresses, what is shown, descriptions.
 */
#include "base/log.h"
#include "tests/unit/base/settings_fixture.h"

/* The table */

START_TEST(table_defaults_are_valid_and_take_effect)
{
	ck_assert_str_eq(settings->listen_tcp, "127.0.0.1:6380");
	ck_assert_int_eq(settings->listen_unix_mode, 0660);
	ck_assert_int_eq(settings->server_maxclients, 10000);
	ck_assert_int_eq(settings->client_idle_timeout, 0);
	ck_assert_int_eq(settings->client_stall_timeout, 60000);
	ck_assert_int_eq(settings->memory_max_bytes, 256 << 20);
	ck_assert(settings->memory_enabled);
	ck_assert_int_eq(settings->upstream_timeout, 200);
	ck_assert_int_eq(settings->upstream_frame, HC_SETTING_FRAME_AUTO);
	ck_assert_int_eq(settings->upstream_writes_when_down, HC_SETTING_WRITES_QUEUE);
	ck_assert_int_eq(settings->fleet_lease, 2000);
	ck_assert_int_eq(settings->ttl_default, 0);
	ck_assert_int_eq(settings->log_level, HC_LOG_INFO);
	ck_assert_int_eq(load(NULL, NULL, NULL), HC_OK);
}
END_TEST

START_TEST(table_choices_count_as_the_enums_of_c)
{
	ck_assert_str_eq(hc_settings_row(HC_SETTING_ID_upstream_frame)->choices, "auto|always|never");
	ck_assert_int_eq(HC_SETTING_FRAME_NEVER, 2);
	ck_assert_str_eq(hc_settings_row(HC_SETTING_ID_upstream_writes_when_down)->choices, "queue|refuse");
	ck_assert_int_eq(HC_SETTING_WRITES_REFUSE, 1);
	ck_assert_str_eq(hc_settings_row(HC_SETTING_ID_log_level)->choices, "error|warn|info|debug");
	ck_assert_int_eq(HC_LOG_DEBUG, 3);
}
END_TEST

START_TEST(table_rows_are_complete)
{
	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		size_t help = strlen(row->help);
		ck_assert_ptr_eq(hc_settings_find(hc_slice_str(row->name)), row);
		ck_assert_msg(help > 10 && row->help[help - 1] == '.', "%s: help", row->name);
		ck_assert_msg(!strpbrk(row->help, "|\n"), "%s: help breaks tables", row->name);
		ck_assert_msg(strlen(row->name) < 40, "%s", row->name);
		if (row->type == HC_SETTING_TYPE_STRING)
			ck_assert_msg(row->max < (int64_t)sizeof(buf.text) - 8, "%s", row->name);
		/* What may be told in a URL has one way to be hidden only. */
		ck_assert(!(row->flags & HC_SETTING_URL) || !(row->flags & HC_SETTING_RELOAD));
	}
}
END_TEST

static void
count_row(void *arg, const struct hc_setting *row)
{
	size_t *n = arg;

	ck_assert_ptr_eq(row, hc_settings_row((enum hc_setting_id) * n));
	++*n;
}

START_TEST(each_gives_all_rows_in_order)
{
	size_t n = 0;

	hc_settings_each(count_row, &n);
	ck_assert_uint_eq(n, HC_SETTING_COUNT);
}
END_TEST

/* Types */

static const struct {
	const char *name, *text;
	const char *canonical; /* NULL: invalid */
	const char *why;
} values[] = {
    {"server.maxclients", "1", "1", NULL},
    {"server.maxclients", "1000000", "1000000", NULL},
    {"server.maxclients", "1000001", NULL, "too large; allowed: a whole number from 1 to 1000000"},
    {"server.maxclients", "0", NULL, "too small"},
    {"server.maxclients", "-5", NULL, "too small"},
    {"server.maxclients", "", NULL, "\"\" is not valid"},
    {"server.maxclients", "ten", NULL, "ten is not valid; allowed: a whole number"},
    {"server.maxclients", "10 ", NULL, "\"10 \" is not valid"},
    {"server.maxclients", "9223372036854775808", NULL, "not valid"},
    {"memory.max_bytes", "1048576", "1M", NULL},
    {"memory.max_bytes", "1048577", "1048577", NULL},
    {"memory.max_bytes", "1536K", "1536K", NULL},
    {"memory.max_bytes", "256m", "256M", NULL},
    {"memory.max_bytes", "256MB", "256M", NULL},
    {"memory.max_bytes", "256MiB", "256M", NULL},
    {"memory.max_bytes", "2097152B", "2M", NULL},
    {"memory.max_bytes", "1024M", "1G", NULL},
    {"memory.max_bytes", "16T", "16T", NULL},
    {"memory.max_bytes", "17T", NULL, "too large; allowed: a size from 1M to 16T"},
    {"memory.max_bytes", "1", NULL, "too small"},
    {"memory.max_bytes", "9999999T", NULL, "not valid"}, /* over int64 */
    {"memory.max_bytes", "8388608T", NULL, "not valid"}, /* 2^63 */
    {"memory.max_bytes", "8388607T", NULL, "too large"},
    {"memory.max_bytes", "1.5G", NULL, "not valid"},
    {"memory.max_bytes", "2 G", NULL, "not valid"},
    {"memory.max_bytes", "G", NULL, "not valid"},
    {"memory.max_bytes", "-1G", NULL, "not valid"},
    {"memory.max_bytes", "2GG", NULL, "not valid"},
    {"memory.max_bytes", "2GiBs", NULL, "not valid"},
    {"memory.max_bytes", "2BiB", NULL, "not valid"},
    {"memory.max_bytes", "2P", NULL, "not valid"},
    {"upstream.timeout", "1ms", "1ms", NULL},
    {"upstream.timeout", "1000ms", "1s", NULL},
    {"upstream.timeout", "1500ms", "1500ms", NULL},
    {"upstream.timeout", "60s", "1m", NULL},
    {"upstream.timeout", "90s", "90s", NULL},
    {"upstream.timeout", "60m", "1h", NULL},
    {"upstream.timeout", "61m", NULL, "too large; allowed: a time from 1ms to 1h"},
    {"upstream.timeout", "0", NULL, "too small"},
    {"upstream.timeout", "200", NULL, "200 is not valid; allowed: a time"},
    {"upstream.timeout", "1S", NULL, "not valid"},
    {"upstream.timeout", "1us", NULL, "not valid"},
    {"upstream.timeout", "1m30s", NULL, "not valid"},
    {"upstream.timeout", "s", NULL, "not valid"},
    {"upstream.timeout", "106751991168d", NULL, "not valid"}, /* over int64 in ms */
    {"client.idle_timeout", "0", "0", NULL},
    {"client.idle_timeout", "0s", "0", NULL},
    {"client.idle_timeout", "7d", "7d", NULL},
    {"upstream.writes_when_down", "refuse", "refuse", NULL},
    {"upstream.writes_when_down", "queue", "queue", NULL},
    {"upstream.writes_when_down", "Queue", NULL, "allowed: one of queue, refuse"},
    {"upstream.writes_when_down", "queue|refuse", NULL, "not valid"},
    {"upstream.writes_when_down", "que", NULL, "not valid"},
    {"upstream.writes_when_down", "", NULL, "not valid"},
    {"server.password", "a b;c#d", "a b;c#d", NULL},
    {"server.password", "", "", NULL},
    {"server.password", "two\nlines", NULL, "byte 4 is a control character"},
};

START_TEST(value_table)
{
	const char *name = values[_i].name;
	char before[64];

	snprintf(before, sizeof(before), "%s", get(name));
	enum hc_status status = set(name, values[_i].text);
	if (values[_i].canonical) {
		ck_assert_msg(status == HC_OK, "%s: %s", values[_i].text, err.text);
		ck_assert_str_eq(get(name), values[_i].canonical);
	} else {
		assert_invalid(status, name, values[_i].why);
		ck_assert_str_eq(get(name), before);
	}
}
END_TEST

static const struct {
	const char *text;
	int value; /* -1: invalid */
} bools[] = {{"yes", 1}, {"no", 0}, {"true", 1}, {"false", 0}, {"on", 1}, {"off", 0}, {"1", 1}, {"0", 0}, {"Yes", 1},
    {"", -1}, {"2", -1}, {"yess", -1}, {"y", -1}};

START_TEST(bool_all_words)
{
	char ini[64];

	snprintf(ini, sizeof(ini), "[upstream]\nurl=h:1\n[memory]\nenabled = %s\n", bools[_i].text);
	enum hc_status status = load(ini, NULL, NULL);
	if (bools[_i].value < 0) {
		assert_invalid(status, ":4: memory.enabled: ", "allowed: yes or no");
		return;
	}
	ck_assert_msg(status == HC_OK, "%s", err.text);
	ck_assert_int_eq(settings->memory_enabled, bools[_i].value);
	ck_assert_str_eq(get("memory.enabled"), bools[_i].value ? "yes" : "no");
}
END_TEST

static const struct {
	const char *text;
	int mode; /* -1: invalid */
} modes[] = {{"0660", 0660}, {"777", 0777}, {"0", 0}, {"00600", 0600}, {"1777", -1}, {"0888", -1}, {"", -1}, {"-1", -1},
    {"rw", -1}, {"000777", -1}};

START_TEST(mode_is_octal)
{
	char ini[64];

	snprintf(ini, sizeof(ini), "[listen]\nunix_mode = %s\n", modes[_i].text);
	enum hc_status status = load(ini, NULL, NULL);
	if (modes[_i].mode < 0) {
		assert_invalid(status, ":2: listen.unix_mode: ", "octal permissions from 0000 to 0777");
		return;
	}
	ck_assert_msg(status == HC_OK, "%s", err.text);
	ck_assert_int_eq(settings->listen_unix_mode, modes[_i].mode);
	ck_assert_uint_eq(strlen(get("listen.unix_mode")), 4);
}
END_TEST

/* Some text that may be a value of the row, or nearly; at most 32 bytes. */
static void
random_text(const struct hc_setting *row, char *out, size_t cap)
{
	static const char *const units[] = {"", "K", "mb", "GiB", "ms", "s", "m", "h", "d", "x"};
	long num = (((long)rand() << 31) | rand()) & ((1L << rand() % 40) - 1);
	size_t len = (size_t)rand() % 20;

	if (row->type == HC_SETTING_TYPE_STRING) {
		for (size_t i = 0; i < len; i++)
			out[i] = (char)(rand() % 100 ? ' ' + rand() % 95 : 1 + rand() % 255);
		out[len] = '\0';
	} else if (row->type == HC_SETTING_TYPE_ENUM && rand() % 4) {
		snprintf(out, cap, "%.*s", (int)strcspn(row->choices, "|"), row->choices);
	} else {
		snprintf(out, cap, "%ld%s", num, units[rand() % 10]);
	}
}

START_TEST(value_random_texts_get_and_set_again_the_same)
{
	unsigned taken = 0, refused = 0;
	char text[64], canonical[64];

	srand(3);
	for (int round = 0; round < 20000; round++) {
		const struct hc_setting *row = hc_settings_row((enum hc_setting_id)(rand() % HC_SETTING_COUNT));
		random_text(row, text, sizeof(text));
		if (!(row->flags & HC_SETTING_RELOAD)) {
			ck_assert_int_eq(set(row->name, text), HC_INVALID);
			continue;
		}
		if (set(row->name, text) != HC_OK) {
			ck_assert_ptr_nonnull(strchr(err.text, '.'));
			refused++;
			continue;
		}
		snprintf(canonical, sizeof(canonical), "%s", get(row->name));
		ck_assert_msg(set(row->name, canonical) == HC_OK, "%s=%s: %s", row->name, canonical, err.text);
		ck_assert_str_eq(get(row->name), canonical);
		taken++;
	}
	ck_assert_uint_gt(taken, 1000);
	ck_assert_uint_gt(refused, 1000);
}
END_TEST

/* Addresses */

static const struct {
	const char *text;
	const char *host; /* NULL: invalid */
	int port;
} addresses[] = {
    {"127.0.0.1:6380", "127.0.0.1", 6380},
    {"localhost:1", "localhost", 1},
    {"[::1]:6380", "::1", 6380},
    {"[::]:65535", "::", 65535},
    {"6380", "", 6380},
    {":6380", "", 6380},
    {"h:0", "h", 0},
    {"", NULL, 0},
    {":", NULL, 0},
    {"h:", NULL, 0},
    {"host", NULL, 0},
    {"h:65536", NULL, 0},
    {"h:-1", NULL, 0},
    {"h:06380", NULL, 0},
    {"h:1 ", NULL, 0},
    {"a b:1", NULL, 0},
    {"::1:6380", NULL, 0},
    {"::1", NULL, 0},
    {"[::1]", NULL, 0},
    {"[::1]6380", NULL, 0},
    {"[::1]x:6380", NULL, 0},
    {"[]:1", NULL, 0},
    {"[", NULL, 0},
    {"]:1", NULL, 0},
    {"[:1", NULL, 0},
    {"[::1:1", NULL, 0},
    {"/path:1", NULL, 0},
};

START_TEST(address_table)
{
	struct hc_settings_address address;
	bool valid = hc_settings_address(hc_slice_str(addresses[_i].text), &address);

	ck_assert_msg(valid == (addresses[_i].host != NULL), "%s", addresses[_i].text);
	if (valid) {
		ck_assert_str_eq(address.host, addresses[_i].host);
		ck_assert_int_eq(address.port, addresses[_i].port);
	}
}
END_TEST

START_TEST(models_pairs_are_checked)
{
	ck_assert_int_eq(load(NULL, NULL, LIST("listen.models= 7001=org/m:7b@1  /run/m.sock=b [::1]:7002=c ")), HC_OK);
	ck_assert_int_eq(load(NULL, NULL, LIST("listen.models=7001=")), HC_INVALID);
	ck_assert_int_eq(load(NULL, NULL, LIST("listen.models==m")), HC_INVALID);
	ck_assert_int_eq(load(NULL, NULL, LIST("listen.models=relative/path=m")), HC_INVALID);
	ck_assert_int_eq(load(NULL, NULL, LIST("listen.models=/=m")), HC_INVALID);
	ck_assert_int_eq(load(NULL, NULL, LIST("listen.tcp=", "listen.models= ")), HC_INVALID);
	ck_assert_int_eq(load(NULL, NULL, LIST("listen.tcp=", "listen.models=7001=m")), HC_OK);
}
END_TEST

START_TEST(get_unknown_is_null)
{
	ck_assert_ptr_null(get("server.nothing"));
	ck_assert_ptr_null(get("server"));
	ck_assert_ptr_null(get(""));
}
END_TEST

static const struct {
	const char *url, *shown;
} urls[] = {
    {"", ""},
    {"h:6379", "h:6379"},
    {"redis://h:6379/1", "redis://h:6379/1"},
    {"redis://:pw@h:6379/1", "redis://***@h:6379/1"},
    {"redis://user:pw@h", "redis://***@h"},
    {"redis://user:p/w@x@h", "redis://***@h"},
    {"user:pw@h:1", "***@h:1"},
    {"redis://@h", "redis://***@h"},
    {"@", "***@"},
    {"unix:///run/redis.sock", "unix:///run/redis.sock"},
};

START_TEST(url_is_shown_without_password)
{
	char set_url[64];

	snprintf(set_url, sizeof(set_url), "upstream.url=%s", urls[_i].url);
	ck_assert_int_eq(load(NULL, NULL, LIST(set_url)), HC_OK);
	ck_assert_str_eq(settings->upstream_url, urls[_i].url);
	ck_assert_str_eq(get("upstream.url"), urls[_i].shown);
	ck_assert_str_eq(hc_settings_show(settings, HC_SLICE("upstream.url"), &buf), urls[_i].shown);
}
END_TEST

START_TEST(password_is_given_but_not_shown)
{
	char copy[4];

	ck_assert_str_eq(hc_settings_show(settings, HC_SLICE("server.password"), &buf), "");
	ck_assert_int_eq(set("server.password", "hunter"), HC_OK);
	ck_assert_str_eq(get("server.password"), "hunter");
	ck_assert_str_eq(hc_settings_show(settings, HC_SLICE("server.password"), &buf), "***");
	ck_assert_uint_eq(hc_settings_string(settings, HC_SETTING_ID_server_password, copy, sizeof(copy)), 6);
	ck_assert_str_eq(copy, "hun");
}
END_TEST

/* Descriptions */

START_TEST(describe_names_every_row_in_every_format)
{
	for (int format = HC_SETTINGS_PLAIN; format <= HC_SETTINGS_MARKDOWN; format++) {
		char *text;
		size_t size;
		FILE *out = open_memstream(&text, &size);
		hc_settings_describe(out, (enum hc_settings_format)format);
		fclose(out);
		for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
			const char *name = hc_settings_row(id)->name;
			ck_assert_msg(strstr(text, name) != NULL, "%s", name);
		}
		ck_assert_ptr_nonnull(strstr(text, "HARCA_UPSTREAM_WRITES_WHEN_DOWN"));
		ck_assert_ptr_nonnull(strstr(text, "one of auto, always, never"));
		free(text);
	}
}
END_TEST

START_TEST(describe_markdown_is_tables_of_seven_columns)
{
	char *text, *save = NULL;
	size_t size, rows = 0;
	FILE *out = open_memstream(&text, &size);

	hc_settings_describe(out, HC_SETTINGS_MARKDOWN);
	fclose(out);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t bars = 0;
		if (line[0] != '|')
			continue;
		for (const char *c = line; *c; c++)
			bars += *c == '|';
		ck_assert_msg(bars == 8, "%s", line);
		rows += strncmp(line, "| `", 3) == 0;
	}
	ck_assert_uint_eq(rows, HC_SETTING_COUNT);
	free(text);
}
END_TEST

static void
add_tests(TCase *tc)
{
	tcase_add_test(tc, table_defaults_are_valid_and_take_effect);
	tcase_add_test(tc, table_choices_count_as_the_enums_of_c);
	tcase_add_test(tc, table_rows_are_complete);
	tcase_add_test(tc, each_gives_all_rows_in_order);
	tcase_add_loop_test(tc, value_table, 0, COUNT(values));
	tcase_add_loop_test(tc, bool_all_words, 0, COUNT(bools));
	tcase_add_loop_test(tc, mode_is_octal, 0, COUNT(modes));
	tcase_add_test(tc, value_random_texts_get_and_set_again_the_same);
	tcase_add_loop_test(tc, address_table, 0, COUNT(addresses));
	tcase_add_test(tc, models_pairs_are_checked);
	tcase_add_test(tc, get_unknown_is_null);
	tcase_add_loop_test(tc, url_is_shown_without_password, 0, COUNT(urls));
	tcase_add_test(tc, password_is_given_but_not_shown);
	tcase_add_test(tc, describe_names_every_row_in_every_format);
	tcase_add_test(tc, describe_markdown_is_tables_of_seven_columns);
}

int
main(void)
{
	return run_suite("settings", add_tests);
}
