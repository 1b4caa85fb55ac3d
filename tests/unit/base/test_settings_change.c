/*
 * base/settings.h: changes at run time and reloads, from several threads, and without memory.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "base/log.h"
#include "base/mem.h"
#include "tests/unit/base/settings_fixture.h"

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

static void
add_tests(TCase *tc)
{
	tcase_add_test(tc, set_takes_reload_rows_only);
	tcase_add_test(tc, set_many_all_or_none);
	tcase_add_test(tc, reload_applies_what_may_change_and_reports_all);
	tcase_add_test(tc, reload_undoes_what_was_set_at_run_time);
	tcase_add_test(tc, reload_invalid_changes_nothing);
	tcase_add_test(tc, threads_read_while_others_set_and_reload);
	tcase_add_test(tc, load_any_allocation_failing_changes_nothing);
	tcase_add_test(tc, change_any_allocation_failing_changes_nothing);
}

int
main(void)
{
	return run_suite("settings_change", add_tests);
}
