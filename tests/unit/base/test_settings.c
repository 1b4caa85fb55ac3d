/*
 * base/settings.h: the table, the types, the layers and who wins, errors and their places, changes
 * at run time. Run from the repository's root: conf/harcad.ini is tested too.
 */
#include <check.h>
#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/settings.h"

#define CONF "conf/harcad.ini"
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct hc_settings *settings;
static struct hc_settings_error err;
static struct hc_settings_text buf;
static char path[64]; /* of the ini file, of each test its own */

static void
setup(void)
{
	snprintf(path, sizeof(path), "/tmp/hc_settings_XXXXXX");
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	settings = hc_settings_create();
	ck_assert_ptr_nonnull(settings);
	memset(&err, 0, sizeof(err));
}

static void
teardown(void)
{
	hc_settings_destroy(settings);
	unlink(path);
}

static void
write_file(const char *text, size_t len)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(text, 1, len, file), len);
	ck_assert_int_eq(fclose(file), 0);
}

static enum hc_status
load(const char *ini, const char *const *env, const char *const *overrides)
{
	struct hc_settings_source source = {.path = ini ? path : NULL, .environ = env, .overrides = overrides};

	if (ini)
		write_file(ini, strlen(ini));
	return hc_settings_load(settings, &source, &err);
}

static const char *
get(const char *name)
{
	return hc_settings_get(settings, hc_slice_str(name), &buf);
}

static enum hc_status
set(const char *name, const char *text)
{
	return hc_settings_set(settings, hc_slice_str(name), hc_slice_str(text), &err);
}

static void
assert_invalid(enum hc_status status, const char *where, const char *what)
{
	ck_assert_int_eq(status, HC_INVALID);
	if (where[0] == ':') /* a line of the file */
		ck_assert_msg(strncmp(err.text, path, strlen(path)) == 0 &&
				  strncmp(err.text + strlen(path), where, strlen(where)) == 0,
		    "%s does not begin with FILE%s", err.text, where);
	else
		ck_assert_msg(strncmp(err.text, where, strlen(where)) == 0, "%s: not %s", err.text, where);
	ck_assert_msg(strstr(err.text, what) != NULL, "%s: not %s", err.text, what);
}

/* The whole of a file, NUL-terminated; the caller frees. */
static char *
slurp(const char *name, size_t *len)
{
	FILE *file = fopen(name, "r");
	char *text = calloc(1, 1 << 20);

	ck_assert_msg(file != NULL, "%s: tests are run from the repository's root", name);
	*len = fread(text, 1, (1 << 20) - 1, file);
	fclose(file);
	return text;
}

/* conf/harcad.ini with every "#key = value" made "key = value"; the caller frees. */
static char *
uncommented_conf(size_t *len)
{
	char *text = slurp(CONF, len);
	size_t at = 0;

	for (size_t i = 0; i < *len; i++) {
		bool start = i == 0 || text[i - 1] == '\n';
		if (!(start && text[i] == '#' && islower((unsigned char)text[i + 1])))
			text[at++] = text[i];
	}
	text[at] = '\0';
	*len = at;
	return text;
}

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

/* The file */

START_TEST(file_values_taken_without_spaces_and_comments)
{
	ck_assert_int_eq(load("\xef\xbb\xbf; head\n[server] ; ours\r\n  workers = 3 ; "
			      "three\r\n\tmaxclients = 9\r\n\r\n"
			      "# maxclients = 1\npassword = a#b;c # d\n[listen]\ntcp =\nunix=/a b",
			     NULL, NULL),
	    HC_OK);
	ck_assert_int_eq(settings->server_workers, 3);
	ck_assert_int_eq(settings->server_maxclients, 9);
	ck_assert_str_eq(settings->server_password, "a#b;c # d");
	ck_assert_str_eq(settings->listen_tcp, "");
	ck_assert_str_eq(settings->listen_unix, "/a b");
}
END_TEST

static const struct {
	const char *ini, *where, *what;
} bad_files[] = {
    {"[server]\n\nworkers = 0\n", ":3: server.workers: ", "0 is too small; allowed: a whole number from 1 to 64"},
    {"[server]\nworkers = many\n", ":2: server.workers: ", "many is not valid"},
    {"\n\n[server]\n\n\n\nworkers = 65", ":7: server.workers: ", "65 is too large"},
    {"[server]\nworker = 1\n", ":2: ", "section server has no setting worker; did you mean server.workers?"},
    {"[server]\nbacklog = 1\n", ":2: ", "did you mean listen.backlog?"},
    {"[server]\nxyzzy = 1\n", ":2: ", "section server has no setting xyzzy"},
    {"[server]\nWorkers = 1\n", ":2: ", "did you mean server.workers?"},
    {"[serve]\n", ":1: ", "there is no section serve; did you mean server?"},
    {"[server]\n[nothing-like-it]\n", ":2: ", "there is no section nothing-like-it"},
    {"[]\n", ":1: ", "there is no section \"\""},
    {"[Server]\n", ":1: ", "did you mean server?"},
    {"workers = 1\n", ":1: ", "below a [section]"},
    {"[server]\nworkers\n", ":2: ", "neither [section] nor key = value"},
    {"[server]\nworkers = 1\nnonsense\nworkers = 0\n", ":3: ", "neither"},
    {"[server\n", ":1: ", "must end with ]"},
    {"[server] workers = 2\n", ":1: ", "nothing after a section's ]"},
    {"[server];x\n", ":1: ", "nothing after a section's ]"},
    {"[server]\n= 1\n", ":2: ", "has no setting \"\""},
    {"[server]\nworkers = 1\nworkers = 1\n", ":3: ", "server.workers is already set in line 2"},
    {"[server]\nworkers = 1\n[log]\n[server]\nworkers = 2\n", ":5: ", "already set in line 2"},
    {"[server.a]\nworkers = 1\n[server]\n[server.a]\nworkers = 1\n", ":5: ", "already set in line 2"},
    {"[server.other]\nworkers = 0\n", ":2: server.workers: ", "too small"},
    {"[server.other]\nwork = 0\n", ":2: ", "has no setting work"},
    {"[serv.other]\n", ":1: ", "no section serv"},
    {"[server.]\n", ":1: ", "profile's name"},
    {"[server.a.b]\n", ":1: ", "profile's name"},
    {"[server.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n", ":1: ", "profile's name"},
    {"[listen]\ntcp = nowhere\n", "listen.tcp: ", "host:port"},
    {"[listen]\ntcp =\n", "listen: ", "nothing to listen on"},
    {"[listen]\nmodels = 7001=a 7002\n", "listen.models: ", "\"7002\" is not valid"},
    {"[upstream]\nbackoff_min = 6s\n", "upstream.backoff_min: ", "longer than upstream.backoff_max"},
    {"[client]\noutput_pause = 65M\n", "client.output_pause: ", "larger than client.output_max"},
    {"[memory]\nenabled = no\n", "memory.enabled: ", "set upstream.url"},
    {"[fleet]\nname =\n", ":2: fleet.name: ", "0 bytes are too few; allowed: text of 1 to 64 bytes"},
};

START_TEST(file_errors_name_line_and_what_is_allowed)
{
	assert_invalid(load(bad_files[_i].ini, NULL, NULL), bad_files[_i].where, bad_files[_i].what);
	/* And nothing took effect. */
	ck_assert_int_eq(settings->server_workers, 1);
	ck_assert_str_eq(settings->listen_tcp, "127.0.0.1:6380");
}
END_TEST

START_TEST(file_long_line_is_an_error_not_cut)
{
	static char ini[10000];
	const char head[] = "[model]\ntemplates = ";

	/* The longest value there may be is read whole. */
	memcpy(ini, head, sizeof(head));
	memset(ini + sizeof(head) - 1, 'x', 4096);
	ck_assert_msg(load(ini, NULL, NULL) == HC_OK, "%s", err.text);
	ck_assert_uint_eq(strlen(settings->model_templates), 4096);
	ini[sizeof(head) - 1 + 4096] = 'x';
	assert_invalid(load(ini, NULL, NULL), ":2: model.templates: ", "4097 bytes are too many");
	/* Around inih's own limit no length is cut. */
	for (size_t line = 8150; line < 8250; line++) {
		memset(ini, ' ', sizeof(ini));
		memcpy(ini, head, sizeof(head) - 1);
		ini[8 + line - 1] = 'y';
		ini[8 + line] = '\n';
		ini[8 + line + 1] = '\0';
		enum hc_status status = load(ini, NULL, NULL);
		if (line <= 8189) {
			ck_assert_msg(status == HC_OK, "%zu: %s", line, err.text);
			ck_assert_str_eq(settings->model_templates, "y");
		} else {
			assert_invalid(status, ":2: ", "line is too long; allowed: up to 8189 bytes");
		}
	}
}
END_TEST

START_TEST(file_nul_byte_is_an_error)
{
	struct hc_settings_source source = {.path = path};

	write_file("[server]\nworkers = 2\0 0\n", 24);
	assert_invalid(hc_settings_load(settings, &source, &err), ":2: ", "NUL byte");
}
END_TEST

START_TEST(file_that_cannot_be_read_is_an_error)
{
	struct hc_settings_source source = {.path = "/nonexistent/harcad.ini"};

	assert_invalid(hc_settings_load(settings, &source, &err),
	    "/nonexistent/harcad.ini: ", "cannot be opened: No such file or directory");
	source.path = "/tmp";
	assert_invalid(hc_settings_load(settings, &source, &err), "/tmp: ", "cannot be read");
	source.path = "/dev/zero";
	assert_invalid(hc_settings_load(settings, &source, &err), "/dev/zero: ", "larger than");
}
END_TEST

START_TEST(error_never_shows_a_secret)
{
	assert_invalid(load("[server]\npassword = hunter\x01two\n", NULL, NULL), ":2: server.password: ", "control");
	ck_assert_ptr_null(strstr(err.text, "hunter"));
	assert_invalid(load(NULL, NULL, LIST("server.pass=hunter")), "--set: ", "no setting server.pass");
	ck_assert_ptr_null(strstr(err.text, "hunter"));
	assert_invalid(load(NULL, LIST("HARCA_SERVER_PASSWORT=hunter"), NULL),
	    "HARCA_SERVER_PASSWORT: ", "did you mean HARCA_SERVER_PASSWORD?");
	ck_assert_ptr_null(strstr(err.text, "hunter"));
}
END_TEST

/* Layers */

START_TEST(layers_the_last_wins)
{
	const char ini[] = "[upstream.production]\nurl=profile:1\n[upstream]\nurl=file:1\nprefix=file:\n";
	const char *const *none = LIST("PATH=/bin");

	ck_assert_int_eq(load(ini, none, NULL), HC_OK);
	ck_assert_str_eq(settings->upstream_url, "file:1");
	ck_assert_int_eq(load(ini, LIST("HARCA_ENV=production"), NULL), HC_OK);
	ck_assert_str_eq(settings->upstream_url, "profile:1");
	ck_assert_str_eq(settings->upstream_prefix, "file:");
	ck_assert_int_eq(load(ini, LIST("HARCA_ENV=prod"), NULL), HC_OK);
	ck_assert_str_eq(settings->upstream_url, "file:1");
	ck_assert_int_eq(load(ini, LIST("HARCA_ENV=", "REDIS_URL="), NULL), HC_OK);
	ck_assert_str_eq(settings->upstream_url, "file:1");
	ck_assert_int_eq(load(ini, LIST("REDIS_URL=redis:1", "HARCA_ENV=production"), NULL), HC_OK);
	ck_assert_str_eq(settings->upstream_url, "redis:1");
	ck_assert_int_eq(load(ini, LIST("HARCA_UPSTREAM_URL=env:1", "REDIS_URL=redis:1"), NULL), HC_OK);
	ck_assert_str_eq(settings->upstream_url, "env:1");
	ck_assert_int_eq(
	    load(ini, LIST("HARCA_UPSTREAM_URL=env:1"), LIST("upstream.url=set:1", "upstream.url=set:2")), HC_OK);
	ck_assert_str_eq(settings->upstream_url, "set:2");
	assert_invalid(load(ini, LIST("HARCA_ENV=a.b"), NULL), "HARCA_ENV: ", "profile's name");
	/* Each load begins at the defaults. */
	ck_assert_int_eq(load(NULL, NULL, NULL), HC_OK);
	ck_assert_str_eq(settings->upstream_url, "");
}
END_TEST

START_TEST(env_every_row_has_its_variable)
{
	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		char variable[64];
		snprintf(variable, sizeof(variable), "HARCA_%s_%s=\x01", row->section, row->key);
		for (char *c = variable; *c != '='; c++)
			*c = (char)toupper((unsigned char)*c);
		enum hc_status status = load(NULL, LIST(variable), NULL);
		*strchr(variable, '=') = ':';
		variable[strlen(variable) - 1] = '\0';
		assert_invalid(status, variable, row->name);
	}
}
END_TEST

START_TEST(env_unknown_is_an_error_only_in_known_sections)
{
	assert_invalid(load(NULL, LIST("HARCA_SERVER_WORKER=1"), NULL),
	    "HARCA_SERVER_WORKER: ", "there is no such setting; did you mean HARCA_SERVER_WORKERS?");
	assert_invalid(load(NULL, LIST("HARCA_SERVER_=1"), NULL), "HARCA_SERVER_: ", "no such setting");
	ck_assert_int_eq(load(NULL,
			     LIST("HARCA_HOME=/x", "HARCA_SERVER", "HARCA_SERVERX_Y=1", "HARCA_=1", "XHARCA_LOG_X=1",
				 "harca_log_x=1"),
			     NULL),
	    HC_OK);
	assert_invalid(
	    load(NULL, LIST("HARCA_SERVER_WORKERS="), NULL), "HARCA_SERVER_WORKERS: server.workers: ", "not valid");
	assert_invalid(load(NULL, LIST("REDIS_URL=a\tb"), NULL), "REDIS_URL: upstream.url: ", "control");
}
END_TEST

START_TEST(overrides_bad_ones_are_errors)
{
	assert_invalid(load(NULL, NULL, LIST("server.workers")), "--set: ", "section.key=value");
	assert_invalid(load(NULL, NULL, LIST("workers=1")), "--set: ", "no setting workers");
	assert_invalid(load(NULL, NULL, LIST("server.workers=0")), "--set: server.workers: ", "too small");
	assert_invalid(load(NULL, NULL, LIST("server.Workers=2")), "--set: ", "no setting");
	ck_assert_int_eq(load(NULL, NULL, LIST("listen.models=7001=m=x")), HC_OK);
	ck_assert_str_eq(settings->listen_models, "7001=m=x");
}
END_TEST

START_TEST(sockets_from_systemd_need_no_listener)
{
	ck_assert_int_eq(load("[listen]\ntcp=\n", LIST("LISTEN_FDS=1"), NULL), HC_OK);
	ck_assert_int_eq(load("[listen]\ntcp=\n", LIST("LISTEN_FDS=0"), NULL), HC_INVALID);
}
END_TEST

static bool
no_foo(const struct hc_settings *candidate, void *arg, struct hc_settings_error *why)
{
	++*(int *)arg;
	snprintf(why->text, sizeof(why->text), "no foo here");
	return strcmp(candidate->fleet_name, "foo") != 0;
}

START_TEST(check_of_the_caller_can_refuse)
{
	int calls = 0;
	struct hc_settings_source source = {.overrides = LIST("fleet.name=foo"), .check = no_foo, .check_arg = &calls};

	assert_invalid(hc_settings_load(settings, &source, &err), "", "no foo here");
	ck_assert_str_eq(settings->fleet_name, "harca");
	source.overrides = LIST("fleet.name=bar");
	ck_assert_int_eq(hc_settings_load(settings, &source, &err), HC_OK);
	ck_assert_int_eq(calls, 2);
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

/* At run time */

START_TEST(set_takes_reload_rows_only)
{
	ck_assert_int_eq(set("log.level", "debug"), HC_OK);
	ck_assert_int_eq(settings->log_level, HC_LOG_DEBUG);
	assert_invalid(set("server.workers", "2"), "server.workers: ", "cannot change while");
	assert_invalid(set("server.nothing", "2"), "", "no such setting");
	assert_invalid(set("LOG.level", "info"), "", "no such setting");
	assert_invalid(hc_settings_set(settings, HC_SLICE("log.level"), HC_SLICE("info\0"), &err),
	    "log.level: ", "\"info\\x00\" is not valid");
	assert_invalid(set("upstream.backoff_min", "6s"), "upstream.backoff_min", "longer than");
	ck_assert_str_eq(get("upstream.backoff_min"), "50ms");
}
END_TEST

START_TEST(set_many_all_or_none)
{
	const struct hc_settings_pair both[] = {
	    {HC_SLICE("upstream.backoff_min"), HC_SLICE("6s")}, {HC_SLICE("upstream.backoff_max"), HC_SLICE("7s")}};
	const struct hc_settings_pair bad[] = {{HC_SLICE("server.password"), HC_SLICE("x")},
	    {HC_SLICE("log.level"), HC_SLICE("debug")}, {HC_SLICE("ttl.jitter"), HC_SLICE("51")}};
	const struct hc_settings_pair twice[] = {
	    {HC_SLICE("ttl.jitter"), HC_SLICE("1")}, {HC_SLICE("ttl.jitter"), HC_SLICE("2")}};

	ck_assert_int_eq(hc_settings_set_many(settings, both, 2, &err), HC_OK);
	ck_assert_int_eq(settings->upstream_backoff_min, 6000);
	ck_assert_int_eq(settings->upstream_backoff_max, 7000);
	assert_invalid(hc_settings_set_many(settings, bad, 3, &err), "ttl.jitter: ", "too large");
	ck_assert_str_eq(get("server.password"), "");
	ck_assert_str_eq(get("log.level"), "info");
	assert_invalid(hc_settings_set_many(settings, twice, 2, &err), "ttl.jitter: ", "twice");
	ck_assert_str_eq(get("ttl.jitter"), "10");
	ck_assert_int_eq(hc_settings_set_many(settings, NULL, 0, &err), HC_OK);
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

/* Reload */

static char reported[512];

static void
report(void *arg, const struct hc_setting *row, bool applied)
{
	(void)arg;
	size_t at = strlen(reported);
	snprintf(reported + at, sizeof(reported) - at, "%s%c ", row->name, applied ? '+' : '-');
}

static enum hc_status
reload(const char *ini)
{
	struct hc_settings_source source = {.path = path};

	reported[0] = '\0';
	write_file(ini, strlen(ini));
	return hc_settings_reload(settings, &source, report, NULL, &err);
}

START_TEST(reload_applies_what_may_change_and_reports_all)
{
	ck_assert_int_eq(load("[server]\nworkers=2\npassword=a\n[ttl]\njitter=5\n", NULL, NULL), HC_OK);
	const char *tcp = settings->listen_tcp;
	ck_assert_int_eq(reload("[server]\nworkers=2\npassword=a\n[ttl]\njitter=5\n"), HC_OK);
	ck_assert_str_eq(reported, "");
	ck_assert_int_eq(reload("[listen]\ntcp=7000\n[server]\nworkers=3\npassword=b\n[log]\nlevel=debug\n"), HC_OK);
	ck_assert_str_eq(reported, "listen.tcp- server.workers- server.password+ ttl.jitter+ log.level+ ");
	ck_assert_int_eq(settings->server_workers, 2);
	ck_assert_ptr_eq(settings->listen_tcp, tcp); /* readers hold it without a lock */
	ck_assert_str_eq(settings->listen_tcp, "127.0.0.1:6380");
	ck_assert_str_eq(get("server.password"), "b");
	ck_assert_int_eq(settings->ttl_jitter, 10);
	ck_assert_int_eq(settings->log_level, HC_LOG_DEBUG);
}
END_TEST

START_TEST(reload_undoes_what_was_set_at_run_time)
{
	ck_assert_int_eq(set("ttl.jitter", "1"), HC_OK);
	ck_assert_int_eq(reload(""), HC_OK);
	ck_assert_str_eq(reported, "ttl.jitter+ ");
	ck_assert_str_eq(get("ttl.jitter"), "10");
}
END_TEST

START_TEST(reload_invalid_changes_nothing)
{
	ck_assert_int_eq(load("[log]\nlevel=warn\n", NULL, NULL), HC_OK);
	assert_invalid(reload("[log]\nlevel=debug\n[server]\npassword=x\nworkers=0\n"), ":5: ", "too small");
	assert_invalid(reload("[log]\nlevel=debug\n[upstream]\nbackoff_max=1ms\n"), "upstream.backoff_min", "");
	ck_assert_str_eq(reported, "");
	ck_assert_str_eq(get("log.level"), "warn");
	ck_assert_str_eq(get("server.password"), "");
}
END_TEST

/* Threads: for the thread sanitizer, and that a copied string is one that was set. */

static atomic_bool stop;

static void *
read_settings(void *arg)
{
	struct hc_settings_text text;

	(void)arg;
	while (!stop) {
		char password[64];
		size_t len = hc_settings_string(settings, HC_SETTING_ID_server_password, password, sizeof(password));
		for (size_t i = 1; i < len; i++)
			ck_assert_int_eq(password[i], password[0]);
		ck_assert_ptr_nonnull(hc_settings_get(settings, HC_SLICE("server.password"), &text));
		ck_assert_int_le(settings->upstream_backoff_max, 24 * 3600 * 1000);
		ck_assert_str_eq(settings->listen_tcp, "127.0.0.1:6380");
	}
	return NULL;
}

static void *
write_settings(void *arg)
{
	const char *fill = arg;
	struct hc_settings_error why;

	for (size_t i = 0; i < 300; i++) {
		struct hc_slice text = hc_slice(fill, i % 40);
		ck_assert_int_eq(hc_settings_set(settings, HC_SLICE("server.password"), text, &why), HC_OK);
	}
	return NULL;
}

START_TEST(threads_read_while_others_set_and_reload)
{
	static char as[40], bs[40];
	pthread_t readers[2], writers[2];
	struct hc_settings_source source = {.overrides = LIST("server.password=cccccccc", "listen.tcp=7000")};

	memset(as, 'a', sizeof(as));
	memset(bs, 'b', sizeof(bs));
	for (int i = 0; i < 2; i++) {
		pthread_create(&readers[i], NULL, read_settings, NULL);
		pthread_create(&writers[i], NULL, write_settings, i ? as : bs);
	}
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(hc_settings_reload(settings, &source, NULL, NULL, &err), HC_OK);
	for (int i = 0; i < 2; i++)
		pthread_join(writers[i], NULL);
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(readers[i], NULL);
}
END_TEST

/* conf/harcad.ini */

START_TEST(conf_lists_exactly_the_table)
{
	size_t len, size;
	char *text = slurp(CONF, &len), *expected;
	FILE *out = open_memstream(&expected, &size);

	hc_settings_describe(out, HC_SETTINGS_INI);
	fclose(out);
	const char *body = strstr(text, "\n\n[listen]\n");
	ck_assert_ptr_nonnull(body);
	ck_assert_msg(strcmp(body + 1, expected) == 0, "%s is not what --describe=ini writes", CONF);
	/* The head is prose only. */
	for (const char *line = text; line < body; line = strchr(line, '\n') + 1)
		ck_assert_msg(line[0] == '#' && (line[1] == ' ' || line[1] == '\n'), "%.20s", line);
	free(text);
	free(expected);
}
END_TEST

START_TEST(conf_uncommented_loads_and_changes_nothing)
{
	struct hc_settings *defaults = hc_settings_create();
	size_t len, keys = 0;
	char *text = uncommented_conf(&len);
	char section[32] = "";
	const char *next;

	ck_assert_msg(load(text, NULL, NULL) == HC_OK, "%s", err.text);
	/* Read once more by other means: the keys, in the table's order, with its defaults. */
	for (const char *line = text; *line; line = next) {
		next = line + strcspn(line, "\n");
		next += *next != '\0';
		if (sscanf(line, "[%31[a-z]]", section) == 1 || !islower((unsigned char)*line))
			continue;
		const struct hc_setting *row = hc_settings_row((enum hc_setting_id)keys++);
		char expected[256];
		snprintf(expected, sizeof(expected), "%s =%s%s\n", row->key, *row->default_text ? " " : "",
		    row->default_text);
		ck_assert_str_eq(section, row->section);
		ck_assert_msg(strncmp(line, expected, strlen(expected)) == 0, "%s", expected);
		struct hc_settings_text a;
		ck_assert_str_eq(get(row->name), hc_settings_get(defaults, hc_slice_str(row->name), &a));
	}
	ck_assert_uint_eq(keys, HC_SETTING_COUNT);
	hc_settings_destroy(defaults);
	free(text);
}
END_TEST

START_TEST(conf_cut_anywhere_loads_or_names_a_line)
{
	struct hc_settings_source source = {.path = path};
	size_t len, errors = 0;
	char *text = uncommented_conf(&len);

	for (size_t cut = 0; cut <= len; cut++) {
		write_file(text, cut);
		if (hc_settings_load(settings, &source, &err) == HC_OK)
			continue;
		const char *line = err.text + strlen(path);
		errors++;
		/* What is valid in itself may still not go together. */
		if (strncmp(err.text, "listen", 6) == 0 || strncmp(err.text, "client", 6) == 0 ||
		    strncmp(err.text, "upstream", 8) == 0)
			continue;
		ck_assert_msg(
		    strncmp(err.text, path, strlen(path)) == 0 && line[0] == ':' && isdigit((unsigned char)line[1]),
		    "cut at %zu: %s", cut, err.text);
	}
	ck_assert_uint_gt(errors, 100);
	free(text);
}
END_TEST

START_TEST(file_damaged_anywhere_never_crashes)
{
	struct hc_settings_source source = {.path = path};
	size_t len;
	char *text = uncommented_conf(&len);

	srand(4);
	for (int round = 0; round < 3000; round++) {
		size_t at = (size_t)rand() % len;
		char was = text[at];
		text[at] = (char)(rand() % 2 ? "[]=;:#.\n\r \t"[rand() % 11] : rand() % 256);
		write_file(text, len);
		err.text[0] = '\0';
		if (hc_settings_load(settings, &source, &err) != HC_OK)
			ck_assert_uint_gt(strlen(err.text), 10);
		text[at] = was;
	}
	free(text);
}
END_TEST

/* Memory: leaks show under the address sanitizer. */

START_TEST(load_any_allocation_failing_changes_nothing)
{
	struct hc_settings_source source = {.path = path,
	    .environ = LIST("HARCA_ENV=p", "REDIS_URL=h:1", "HARCA_FLEET_NAME=f"),
	    .overrides = LIST("fleet.instance=i")};
	size_t len;
	char *text = uncommented_conf(&len);
	long n = 0;
	enum hc_status status;

	/* Enough for the list of keys met to grow, and a profile in force. */
	len += (size_t)sprintf(text + len, "[server.p]\npassword=x\n[model.q]\ntemplates=y\n");
	write_file(text, len);
	do {
		hc_mem_fail_after(++n);
		status = hc_settings_load(settings, &source, &err);
		hc_mem_fail_after(0);
		ck_assert_str_eq(settings->fleet_name, status == HC_OK ? "f" : "harca");
		if (status == HC_NOMEM)
			ck_assert_str_eq(err.text, "out of memory");
	} while (status == HC_NOMEM);
	ck_assert_msg(status == HC_OK, "%s", err.text);
	ck_assert_int_gt(n, 20);
	free(text);
}
END_TEST

START_TEST(change_any_allocation_failing_changes_nothing)
{
	struct hc_settings_source source = {.overrides = LIST("server.password=new", "fleet.name=f")};
	long n = 0;
	enum hc_status status;

	do {
		hc_mem_fail_after(++n);
		status = set("server.password", "old");
		hc_mem_fail_after(0);
		ck_assert_str_eq(get("server.password"), status == HC_OK ? "old" : "");
	} while (status == HC_NOMEM);
	ck_assert_int_eq(status, HC_OK);
	n = 0;
	do {
		hc_mem_fail_after(++n);
		status = hc_settings_reload(settings, &source, NULL, NULL, &err);
		hc_mem_fail_after(0);
		ck_assert_str_eq(get("server.password"), status == HC_OK ? "new" : "old");
	} while (status == HC_NOMEM);
	ck_assert_int_eq(status, HC_OK);
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

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static Suite *
settings_suite(void)
{
	Suite *suite = suite_create("settings");
	TCase *tc = tcase_create("settings");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120); /* sanitizers are slow */
	tcase_add_test(tc, table_defaults_are_valid_and_take_effect);
	tcase_add_test(tc, table_choices_count_as_the_enums_of_c);
	tcase_add_test(tc, table_rows_are_complete);
	tcase_add_test(tc, each_gives_all_rows_in_order);
	tcase_add_loop_test(tc, value_table, 0, COUNT(values));
	tcase_add_loop_test(tc, bool_all_words, 0, COUNT(bools));
	tcase_add_loop_test(tc, mode_is_octal, 0, COUNT(modes));
	tcase_add_test(tc, value_random_texts_get_and_set_again_the_same);
	tcase_add_test(tc, file_values_taken_without_spaces_and_comments);
	tcase_add_loop_test(tc, file_errors_name_line_and_what_is_allowed, 0, COUNT(bad_files));
	tcase_add_test(tc, file_long_line_is_an_error_not_cut);
	tcase_add_test(tc, file_nul_byte_is_an_error);
	tcase_add_test(tc, file_that_cannot_be_read_is_an_error);
	tcase_add_test(tc, error_never_shows_a_secret);
	tcase_add_test(tc, layers_the_last_wins);
	tcase_add_test(tc, env_every_row_has_its_variable);
	tcase_add_test(tc, env_unknown_is_an_error_only_in_known_sections);
	tcase_add_test(tc, overrides_bad_ones_are_errors);
	tcase_add_test(tc, sockets_from_systemd_need_no_listener);
	tcase_add_test(tc, check_of_the_caller_can_refuse);
	tcase_add_loop_test(tc, address_table, 0, COUNT(addresses));
	tcase_add_test(tc, models_pairs_are_checked);
	tcase_add_test(tc, set_takes_reload_rows_only);
	tcase_add_test(tc, set_many_all_or_none);
	tcase_add_test(tc, get_unknown_is_null);
	tcase_add_loop_test(tc, url_is_shown_without_password, 0, COUNT(urls));
	tcase_add_test(tc, password_is_given_but_not_shown);
	tcase_add_test(tc, reload_applies_what_may_change_and_reports_all);
	tcase_add_test(tc, reload_undoes_what_was_set_at_run_time);
	tcase_add_test(tc, reload_invalid_changes_nothing);
	tcase_add_test(tc, threads_read_while_others_set_and_reload);
	tcase_add_test(tc, conf_lists_exactly_the_table);
	tcase_add_test(tc, conf_uncommented_loads_and_changes_nothing);
	tcase_add_test(tc, conf_cut_anywhere_loads_or_names_a_line);
	tcase_add_test(tc, file_damaged_anywhere_never_crashes);
	tcase_add_test(tc, load_any_allocation_failing_changes_nothing);
	tcase_add_test(tc, change_any_allocation_failing_changes_nothing);
	tcase_add_test(tc, describe_names_every_row_in_every_format);
	tcase_add_test(tc, describe_markdown_is_tables_of_seven_columns);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	SRunner *sr = srunner_create(settings_suite());

	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
