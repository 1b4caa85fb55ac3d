/*
 * base/settings.h: the layers and who wins; sockets and checks of the caller's.
 */
#include "tests/unit/base/settings_fixture.h"

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

static void
add_tests(TCase *tc)
{
	tcase_add_test(tc, layers_the_last_wins);
	tcase_add_test(tc, env_every_row_has_its_variable);
	tcase_add_test(tc, env_unknown_is_an_error_only_in_known_sections);
	tcase_add_test(tc, overrides_bad_ones_are_errors);
	tcase_add_test(tc, sockets_from_systemd_need_no_listener);
	tcase_add_test(tc, check_of_the_caller_can_refuse);
}

int
main(void)
{
	return run_suite("settings_layers", add_tests);
}
