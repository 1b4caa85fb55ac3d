/*
 * base/settings.h: the ini file, its errors and their places; conf/harcad.ini is tested too, so this is run from the
 * repository's root.
 */
#include "tests/unit/base/settings_fixture.h"

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

static void
add_tests(TCase *tc)
{
	tcase_add_test(tc, file_values_taken_without_spaces_and_comments);
	tcase_add_loop_test(tc, file_errors_name_line_and_what_is_allowed, 0, COUNT(bad_files));
	tcase_add_test(tc, file_long_line_is_an_error_not_cut);
	tcase_add_test(tc, file_nul_byte_is_an_error);
	tcase_add_test(tc, file_that_cannot_be_read_is_an_error);
	tcase_add_test(tc, error_never_shows_a_secret);
	tcase_add_test(tc, conf_lists_exactly_the_table);
	tcase_add_test(tc, conf_uncommented_loads_and_changes_nothing);
	tcase_add_test(tc, conf_cut_anywhere_loads_or_names_a_line);
	tcase_add_test(tc, file_damaged_anywhere_never_crashes);
}

int
main(void)
{
	return run_suite("settings_file", add_tests);
}
