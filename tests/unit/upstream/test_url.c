/*
 * upstream/url: what is accepted, what it means, what is refused and why. One thread.
 */
#include "upstream/url.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct accepted {
	const char *text;
	const char *host, *path, *user, *password;
	int port, db;
	const char *shown;
};

static const struct accepted accepted[] = {
    {"redis://h", "h", NULL, NULL, NULL, 6379, 0, "redis://h:6379"},
    {"redis://h/", "h", NULL, NULL, NULL, 6379, 0, "redis://h:6379"},
    {"redis://h:1", "h", NULL, NULL, NULL, 1, 0, "redis://h:1"},
    {"redis://h:65535/15", "h", NULL, NULL, NULL, 65535, 15, "redis://h:65535/15"},
    {"redis://a-b.c_d.example:7000/0", "a-b.c_d.example", NULL, NULL, NULL, 7000, 0, "redis://a-b.c_d.example:7000"},
    {"redis://:pw@h", "h", NULL, NULL, "pw", 6379, 0, "redis://h:6379"},
    {"redis://:@h", "h", NULL, NULL, NULL, 6379, 0, "redis://h:6379"},
    {"redis://u:@h", "h", NULL, "u", "", 6379, 0, "redis://h:6379"},
    {"redis://u:pw@h:7/2", "h", NULL, "u", "pw", 7, 2, "redis://h:7/2"},
    {"redis://u:a:b@h", "h", NULL, "u", "a:b", 6379, 0, "redis://h:6379"},
    {"redis://u:a@b@h", "h", NULL, "u", "a@b", 6379, 0, "redis://h:6379"},
    {"redis://u%3a:%40%2F%25%c3%A9@h", "h", NULL, "u:", "@/%\xc3\xa9", 6379, 0, "redis://h:6379"},
    {"redis://[::1]", "::1", NULL, NULL, NULL, 6379, 0, "redis://[::1]:6379"},
    {"redis://:p@[fe80::1%eth0]:1/3", "fe80::1%eth0", NULL, NULL, "p", 1, 3, "redis://[fe80::1%eth0]:1/3"},
    {"127.0.0.1:6380", "127.0.0.1", NULL, NULL, NULL, 6380, 0, "redis://127.0.0.1:6380"},
    {"[::1]:6380", "::1", NULL, NULL, NULL, 6380, 0, "redis://[::1]:6380"},
    {"unix:/a/b", NULL, "/a/b", NULL, NULL, 0, 0, "unix:/a/b"},
    {"unix:///a/b", NULL, "/a/b", NULL, NULL, 0, 0, "unix:/a/b"},
    {"unix:///a?db=4", NULL, "/a", NULL, NULL, 0, 4, "unix:/a?db=4"},
    {"unix:/a@b?db=0", NULL, "/a@b", NULL, NULL, 0, 0, "unix:/a@b"},
    {"unix://u:p%3F@/a/b", NULL, "/a/b", "u", "p?", 0, 0, "unix:/a/b"},
};

static const struct {
	const char *text;
	const char *why; /* a part of it */
} refused[] = {
    {"", "host"},
    {"redis://", "host"},
    {"redis://:6379", "host"},
    {"redis:///1", "host"},
    {"h", "port is missing"},
    {"h:", "port must"},
    {"h:6379/1", "nothing may follow"},
    {":6379", "host"},
    {"redis://h:", "port must"},
    {"redis://h:0", "port must"},
    {"redis://h:65536", "port must"},
    {"redis://h:-1", "port must"},
    {"redis://h:6379x", "port must"},
    {"redis://h:99999999999999999999", "port must"},
    {"redis://h/x", "database"},
    {"redis://h/-1", "database"},
    {"redis://h/1/", "database"},
    {"redis://h/2147483648", "database"},
    {"redis://h?db=1", "only /db"},
    {"redis://user@h", "password"},
    {"redis://u:p%4@h", "%"},
    {"redis://u:p%@h", "%"},
    {"redis://u:%zz@h", "%"},
    {"redis://u:%00@h", "%"},
    {"redis://u%:p@h", "%"},
    {"redis://a b", "character"},
    {"redis://h\n", "character"},
    {"redis://[::1", "]"},
    {"redis://[]", "host"},
    {"redis://[::1]x", "only /db"},
    {"rediss://h", "TLS"},
    {"http://h", "scheme"},
    {"unix:", "absolute"},
    {"unix:/", "absolute"},
    {"unix:a/b", "absolute"},
    {"unix://a/b", "absolute"},
    {"unix:/a?x=1", "?db"},
    {"unix:/a?db=", "database"},
};

static void
same(const char *text, const char *got, const char *expected)
{
	ck_assert_msg((got == NULL) == (expected == NULL), "%s", text);
	if (got != NULL)
		ck_assert_msg(strcmp(got, expected) == 0, "%s: %s", text, got);
}

START_TEST(url_accepted_has_the_parts)
{
	const struct accepted *row = &accepted[_i];
	struct hc_url url;
	const char *why = NULL;

	ck_assert_msg(hc_url_parse(row->text, &url, &why) == HC_OK, "%s: %s", row->text, why);
	same(row->text, url.host, row->host);
	same(row->text, url.path, row->path);
	same(row->text, url.user, row->user);
	same(row->text, url.password, row->password);
	same(row->text, url.shown, row->shown);
	ck_assert_msg(url.port == row->port && url.db == row->db, "%s", row->text);
	hc_url_fini(&url);
	ck_assert_ptr_null(url.host);
}
END_TEST

START_TEST(url_refused_says_why_and_writes_nothing)
{
	struct hc_url url = {.port = 42};
	const char *why = "";

	ck_assert_msg(hc_url_parse(refused[_i].text, &url, &why) == HC_INVALID, "%s", refused[_i].text);
	ck_assert_msg(strstr(why, refused[_i].why) != NULL, "%s: %s", refused[_i].text, why);
	ck_assert_int_eq(url.port, 42);
}
END_TEST

START_TEST(url_socket_path_at_the_limit_is_accepted_and_past_it_refused)
{
	char text[128] = "unix:/";
	struct hc_url url;
	const char *why = "";

	memset(text + 6, 'x', 106);
	ck_assert_int_eq(hc_url_parse(text, &url, &why), HC_OK);
	ck_assert_uint_eq(strlen(url.path), 107);
	hc_url_fini(&url);
	text[6 + 106] = 'x';
	ck_assert_int_eq(hc_url_parse(text, &url, &why), HC_INVALID);
	ck_assert_ptr_nonnull(strstr(why, "107"));
}
END_TEST

START_TEST(url_any_allocation_failing_is_nomem_without_leak)
{
	static const char *const texts[] = {"redis://u:p@h:1/2", "unix://u:p@/a?db=1", "h:1"};
	int failures = 0;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		for (long k = 1; k <= 6; k++) {
			struct hc_url url;
			const char *why = "";
			enum hc_status status;

			hc_mem_fail_after(k);
			status = hc_url_parse(texts[i], &url, &why);
			hc_mem_fail_after(0);
			if (status == HC_OK)
				hc_url_fini(&url);
			else
				ck_assert_int_eq(status, HC_NOMEM);
			failures += status == HC_NOMEM;
		}
	}
	ck_assert_int_eq(failures, 4 + 4 + 2);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("url");
	TCase *tc = tcase_create("url");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, url_accepted_has_the_parts, 0, (int)(sizeof(accepted) / sizeof(accepted[0])));
	tcase_add_loop_test(
	    tc, url_refused_says_why_and_writes_nothing, 0, (int)(sizeof(refused) / sizeof(refused[0])));
	tcase_add_test(tc, url_socket_path_at_the_limit_is_accepted_and_past_it_refused);
	tcase_add_test(tc, url_any_allocation_failing_is_nomem_without_leak);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
