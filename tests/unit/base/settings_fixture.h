/*
 * What the tests of base/settings.h share: settings of each test's own, an ini file to load, and conf/harcad.ini.
 */
#ifndef HC_TESTS_SETTINGS_FIXTURE_H
#define HC_TESTS_SETTINGS_FIXTURE_H

#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/settings.h"

#define CONF "conf/harcad.ini"
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct hc_settings *settings;
static struct hc_settings_error err;
static struct hc_settings_text buf;
static char path[64]; /* of the ini file, of each test its own */

static inline void
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

static inline void
teardown(void)
{
	hc_settings_destroy(settings);
	unlink(path);
}

static inline void
write_file(const char *text, size_t len)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(text, 1, len, file), len);
	ck_assert_int_eq(fclose(file), 0);
}

static inline enum hc_status
load(const char *ini, const char *const *env, const char *const *overrides)
{
	struct hc_settings_source source = {.path = ini ? path : NULL, .environ = env, .overrides = overrides};

	if (ini)
		write_file(ini, strlen(ini));
	return hc_settings_load(settings, &source, &err);
}

static inline const char *
get(const char *name)
{
	return hc_settings_get(settings, hc_slice_str(name), &buf);
}

static inline enum hc_status
set(const char *name, const char *text)
{
	return hc_settings_set(settings, hc_slice_str(name), hc_slice_str(text), &err);
}

static inline void
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
static inline char *
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
static inline char *
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

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Runs all tests of the suite's one case; what main() returns. */
static inline int
run_suite(const char *name, void (*add_tests)(TCase *tc))
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120); /* sanitizers are slow */
	add_tests(tc);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
