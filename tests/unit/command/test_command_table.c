/*
 * The table of commands: every row is whole, is found, and is documented. One thread.
 */
#include "command/command.h"

#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ALL_FLAGS                                                                                                 \
	(HC_CMD_READ | HC_CMD_WRITE | HC_CMD_FAST | HC_CMD_PIPE | HC_CMD_NOAUTH | HC_CMD_NOMULTI | HC_CMD_ADMIN | \
	    HC_CMD_CONTAINER | HC_CMD_NOT_IN_MULTI | HC_CMD_SECRET | HC_CMD_BRIEF)

static const struct hc_command *
find(const char *name)
{
	return hc_command_find(hc_slice_str(name));
}

START_TEST(table_rows_have_a_name_a_function_and_a_sane_arity)
{
	const struct hc_command *row;

	for (size_t i = 0; (row = hc_command_at(i)) != NULL; i++) {
		char name[64];
		hc_command_full_name(row, name);
		ck_assert_msg(row->name[0] != '\0' && strlen(row->name) < 30, "row %zu", i);
		for (const char *c = row->name; *c != '\0'; c++)
			ck_assert_msg(islower((unsigned char)*c) || *c == '-', "%s", name);
		ck_assert_msg(row->fn != NULL, "%s", name);
		ck_assert_msg(row->arity != 0 && row->arity > -10 && row->arity < 10, "%s", name);
		ck_assert_msg((row->flags & ~ALL_FLAGS) == 0, "%s", name);
		/* What reads only cannot be what writes. */
		ck_assert_msg((row->flags & (HC_CMD_READ | HC_CMD_WRITE)) != (HC_CMD_READ | HC_CMD_WRITE), "%s", name);
		/* A command that changes the connection cannot run beside others. */
		ck_assert_msg(
		    !(row->flags & HC_CMD_PIPE) || !(row->flags & (HC_CMD_NOAUTH | HC_CMD_NOMULTI)), "%s", name);
	}
	ck_assert_ptr_null(hc_command_at(SIZE_MAX));
}
END_TEST

START_TEST(table_key_positions_fit_the_arity)
{
	const struct hc_command *row;

	for (size_t i = 0; (row = hc_command_at(i)) != NULL; i++) {
		int least = abs(row->arity);
		if (row->first_key == 0) {
			ck_assert_msg(row->last_key == 0 && row->key_step == 0, "%s", row->name);
			continue;
		}
		/* Behind the subcommand's name. */
		ck_assert_msg(row->container == NULL || row->first_key > 1, "%s", row->name);
		/* WATCH does neither. */
		ck_assert_msg(row->flags & (HC_CMD_READ | HC_CMD_WRITE | HC_CMD_NOMULTI), "%s", row->name);
		ck_assert_msg(row->first_key > 0 && row->first_key < least, "%s", row->name);
		ck_assert_msg(row->key_step > 0 && row->last_key < least, "%s", row->name);
		ck_assert_msg(row->last_key < 0 || row->last_key >= row->first_key, "%s", row->name);
		/* Keys up to the last argument: there must be room for many. */
		ck_assert_msg(row->last_key >= 0 || row->arity < 0, "%s", row->name);
	}
}
END_TEST

START_TEST(table_subcommands_stand_behind_their_container)
{
	const struct hc_command *row, *container = NULL;
	size_t n = 0;

	for (size_t i = 0; (row = hc_command_at(i)) != NULL; i++) {
		if (row->container == NULL) {
			ck_assert_msg(
			    container == NULL || n > 0, "%s has no subcommands", container ? container->name : "");
			container = row->flags & HC_CMD_CONTAINER ? row : NULL;
			n = 0;
			ck_assert_msg(row->group != NULL && row->group[0] != '\0', "%s", row->name);
			continue;
		}
		n++;
		ck_assert_msg(container != NULL && strcmp(row->container, container->name) == 0, "%s", row->name);
		ck_assert_msg(abs(row->arity) >= 2, "%s: the container's name counts", row->name);
		ck_assert_ptr_eq(hc_subcommand_find(container, hc_slice_str(row->name)), row);
	}
}
END_TEST

START_TEST(table_names_are_unique)
{
	const struct hc_command *row;

	for (size_t i = 0; (row = hc_command_at(i)) != NULL; i++) {
		char name[64], other[64];
		hc_command_full_name(row, name);
		for (size_t j = 0; j < i; j++) {
			hc_command_full_name(hc_command_at(j), other);
			ck_assert_str_ne(name, other);
		}
	}
}
END_TEST

START_TEST(table_rows_are_documented)
{
	const struct hc_command *row;

	for (size_t i = 0; (row = hc_command_at(i)) != NULL; i++) {
		size_t len = strlen(row->summary);
		ck_assert_msg(len > 10 && row->summary[len - 1] == '.', "%s", row->name);
		ck_assert_msg(isupper((unsigned char)row->summary[0]), "%s", row->name);
		ck_assert_msg(strchr(row->summary, '\n') == NULL && strchr(row->syntax, '\n') == NULL, "%s", row->name);
		ck_assert_msg(isdigit((unsigned char)row->since[0]), "%s", row->name);
		/* What must have arguments says which. */
		int own = row->container != NULL ? 2 : 1;
		if (!(row->flags & HC_CMD_CONTAINER))
			ck_assert_msg((abs(row->arity) > own) <= (row->syntax[0] != '\0'), "%s", row->name);
	}
}
END_TEST

static void
check_cases(const struct hc_command *row)
{
	char name[64];
	size_t len = strlen(row->name);

	for (unsigned seed = 0; seed < 64; seed++) {
		for (size_t c = 0; c < len; c++)
			name[c] = seed >> (c % 6) & 1 ? (char)toupper((unsigned char)row->name[c]) : row->name[c];
		ck_assert_ptr_eq(hc_command_find(hc_slice(name, len)), row);
	}
}

START_TEST(find_any_case_gives_the_row)
{
	const struct hc_command *row;

	for (size_t i = 0; (row = hc_command_at(i)) != NULL; i++) {
		if (row->container == NULL)
			check_cases(row);
	}
}
END_TEST

START_TEST(find_hostile_names_gives_nothing)
{
	static const char long_name[1 << 16];

	ck_assert_ptr_null(hc_command_find(HC_SLICE("")));
	ck_assert_ptr_null(hc_command_find(hc_slice(NULL, 0)));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("get\0")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("\0get")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("g\0t")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("get ")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("ge")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("gett")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("client|list")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("list")));
	ck_assert_ptr_null(hc_command_find(hc_slice(long_name, sizeof(long_name))));
	/* Letters that differ from others' in the bit that makes case. */
	ck_assert_ptr_null(hc_command_find(HC_SLICE("ge\x14")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("\xc7\xc5\xd4")));
	ck_assert_ptr_null(hc_command_find(HC_SLICE("no-\rvict")));
	/* All names of up to two bytes: none is a command. */
	for (unsigned i = 0; i < 1u << 16; i++) {
		char two[2] = {(char)(i & 0xff), (char)(i >> 8)};
		ck_assert_ptr_null(hc_command_find(hc_slice(two, 2)));
		ck_assert_ptr_null(hc_command_find(hc_slice(two, 1)));
	}
}
END_TEST

START_TEST(find_subcommand_only_in_its_own_container)
{
	const struct hc_command *client = find("client");

	ck_assert_ptr_nonnull(client);
	ck_assert_ptr_nonnull(hc_subcommand_find(client, HC_SLICE("LiSt")));
	ck_assert_ptr_ne(
	    hc_subcommand_find(client, HC_SLICE("list")), hc_subcommand_find(find("command"), HC_SLICE("list")));
	ck_assert_ptr_null(hc_subcommand_find(client, HC_SLICE("docs")));
	ck_assert_ptr_null(hc_subcommand_find(client, HC_SLICE("")));
	ck_assert_ptr_null(hc_subcommand_find(client, HC_SLICE("list\0")));
	ck_assert_ptr_null(hc_subcommand_find(find("get"), HC_SLICE("list")));
}
END_TEST

START_TEST(full_name_joins_container_and_subcommand)
{
	char name[64];

	hc_command_full_name(find("get"), name);
	ck_assert_str_eq(name, "get");
	hc_command_full_name(hc_subcommand_find(find("client"), HC_SLICE("list")), name);
	ck_assert_str_eq(name, "client|list");
}
END_TEST

/* ---- the reference page ---- */

static char text[1 << 17]; /* the page */

static size_t
describe(void)
{
	FILE *to = fmemopen(text, sizeof(text), "w");

	ck_assert_ptr_nonnull(to);
	hc_command_describe(to);
	long len = ftell(to);
	ck_assert_int_gt(len, 0);
	ck_assert_int_lt(len, (long)sizeof(text) - 1);
	fclose(to);
	return (size_t)len;
}

/* The page's line about the command, at or behind `from`; or NULL. */
static const char *
line_of(const char *from, const struct hc_command *row)
{
	char begin[80];

	int len = snprintf(begin, sizeof(begin), "\n| `%s%s%s", row->container != NULL ? row->container : "",
	    row->container != NULL ? " " : "", row->name);
	for (const char *line = strchr(from, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
		if (strncasecmp(line, begin, (size_t)len) == 0 && (line[len] == ' ' || line[len] == '`'))
			return line + 1;
	}
	return NULL;
}

START_TEST(describe_names_every_row_once)
{
	const struct hc_command *row;

	(void)describe();
	for (size_t i = 0; (row = hc_command_at(i)) != NULL; i++) {
		const char *line = line_of(text, row);
		ck_assert_msg(line != NULL, "%s", row->name);
		const char *summary = strstr(line, row->summary);
		ck_assert_msg(summary != NULL && summary < strchr(line, '\n'), "%s", row->name);
		/* A container and its subcommand without arguments look alike but for the second word. */
		ck_assert_msg(line_of(line, row) == NULL || row->flags & HC_CMD_CONTAINER, "%s", row->name);
	}
}
END_TEST

/* docs/commands.md, seen from the tree's root or from where the test lies in it. */
static FILE *
open_page(void)
{
	char path[4096] = "";
	FILE *page = fopen("docs/commands.md", "r");
	ssize_t n = page != NULL ? 0 : readlink("/proc/self/exe", path, sizeof(path) - 32);

	for (int up = 0; page == NULL && n > 0 && up < 8; up++) {
		char *slash = strrchr(path, '/');
		if (slash == NULL)
			break;
		strcpy(slash, "/docs/commands.md");
		page = fopen(path, "r");
		*slash = '\0';
	}
	return page;
}

START_TEST(describe_equals_the_page_in_docs)
{
	FILE *page = open_page();
	size_t len, at;
	int c;

	if (page == NULL)
		return; /* a build outside of the tree */
	len = describe();
	for (at = 0; (c = fgetc(page)) != EOF; at++)
		ck_assert_msg(at < len && text[at] == (char)c, "docs/commands.md is stale at byte %zu: make docs", at);
	ck_assert_uint_eq(at, len);
	fclose(page);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("command table");
	TCase *tc = tcase_create("command table");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, table_rows_have_a_name_a_function_and_a_sane_arity);
	tcase_add_test(tc, table_key_positions_fit_the_arity);
	tcase_add_test(tc, table_subcommands_stand_behind_their_container);
	tcase_add_test(tc, table_names_are_unique);
	tcase_add_test(tc, table_rows_are_documented);
	tcase_add_test(tc, find_any_case_gives_the_row);
	tcase_add_test(tc, find_hostile_names_gives_nothing);
	tcase_add_test(tc, find_subcommand_only_in_its_own_container);
	tcase_add_test(tc, full_name_joins_container_and_subcommand);
	tcase_add_test(tc, describe_names_every_row_once);
	tcase_add_test(tc, describe_equals_the_page_in_docs);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
