/*
 * Files as they should not be: every region of a segment overwritten, every length of its last record, index files
 * that are wrong or missing. What is served is right or missing; what was not hit is served.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "file/inspect.h"
#include "tests/unit/support.h"
#include "tests/support/file_world.h"

#define SEGMENT (64u << 10)
#define KEYS 40

static struct world world;
static char pristine[80]; /* a copy of the directory as it was */

/* Some keys are overwritten in a later segment, some deleted there; the first segment has the old ones. */
static void
value_of(int key, int version, char *buf, size_t len)
{
	memset(buf, 'a' + key % 26, len);
	snprintf(buf, len, "key %d version %d", key, version);
}

static size_t
length_of(int key)
{
	return 64 + (size_t)(key * 97 % 1500);
}

static void
put(int key, int version)
{
	char name[32], value[4096];
	uint64_t mark;

	snprintf(name, sizeof(name), "key %d", key);
	value_of(key, version, value, length_of(key));
	ck_assert_int_eq(world_put(&world, name, value, length_of(key), HC_NO_EXPIRY, 0, &mark), HC_OK);
}

static void
build(bool sealed)
{
	char name[32];

	world_init(&world, 64 * SEGMENT, SEGMENT);
	ck_assert_int_eq(world_open(&world, NULL), HC_OK);
	for (int key = 0; key < KEYS; key++)
		put(key, 1);
	for (int i = 0; world_stats(&world).segments < 2; i++)
		put(1000 + i % 40, i), ck_assert(world_sync(&world));
	for (int key = 0; key < KEYS; key++) {
		snprintf(name, sizeof(name), "key %d", key);
		if (key % 4 == 1)
			put(key, 2);
		else if (key % 4 == 2)
			world_delete(&world, name, NULL);
	}
	ck_assert(world_sync(&world));
	if (sealed)
		world_restart(&world);
	else
		world_kill(&world);
}

static void
keep_copy(void)
{
	snprintf(pristine, sizeof(pristine), "%s.copy", world.dir);
	world_copy(world.dir, pristine);
}

static void
restore(void)
{
	world_remove(world.dir);
	world_copy(pristine, world.dir);
}

static void
drop_copy(void)
{
	world_remove(pristine);
}

/* The version that key `key` should have in the end; 0: none. */
static int
last_version(int key)
{
	return key % 4 == 2 ? 0 : key % 4 == 1 ? 2 : 1;
}

/* The version of what was read, which is whole. */
static int
version_of(int key, const struct world_value *got)
{
	char value[4096];
	int version = 0;

	ck_assert_uint_eq(got->len, length_of(key));
	ck_assert_int_eq(sscanf(got->bytes, "key %*d version %d", &version), 1);
	value_of(key, version, value, length_of(key));
	ck_assert_mem_eq(got->bytes, value, got->len);
	return version;
}

/* How many of the forty are right; none may be wrong. `stale_allowed`: what newer records said may have been lost. */
static int
check_all(bool stale_allowed)
{
	char name[32];
	struct world_value got;
	int right = 0;

	for (int key = 0; key < KEYS; key++) {
		snprintf(name, sizeof(name), "key %d", key);
		enum hc_status status = world_get(&world, name, &got);
		int version = status == HC_OK ? version_of(key, &got) : 0;
		ck_assert_msg(stale_allowed || version == 0 || version == last_version(key),
		    "key %d came back as version %d", key, version);
		right += (status == HC_OK) == (last_version(key) != 0);
		free(got.bytes);
	}
	return right;
}

static void
overwrite(const char *name, off_t at, size_t len)
{
	char path[200], junk[8192];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", world.dir, name);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	for (size_t i = 0; i < len; i++) {
		ck_assert_int_ge(pread(fd, junk + i, 1, at + (off_t)i), 0);
		junk[i] = (char)(junk[i] ^ 0x5a);
	}
	ck_assert_int_eq(pwrite(fd, junk, len, at), (ssize_t)len);
	close(fd);
}

static off_t
size_of(const char *name)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", world.dir, name);
	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_size;
}

static void
open_damaged(void)
{
	struct hc_file_failure failure;
	enum hc_status status = world_open(&world, &failure);

	ck_assert_msg(status == HC_OK, "%s", failure.message);
	ck_assert(world_loaded(&world));
}

static const char first[] = "segment-000000000001.log", second[] = "segment-000000000002.log";

/* Every region of every file of segments, in pieces of `step`. */
static void
damage_everywhere(const char *name, size_t step, bool stale_allowed, int least)
{
	restore();
	off_t size = size_of(name);
	for (off_t at = 0; at < size; at += (off_t)step) {
		size_t len = size - at < (off_t)step ? (size_t)(size - at) : step;
		restore();
		overwrite(name, at, len);
		FILE *null = fopen("/dev/null", "w");
		int found = hc_file_inspect(world.dir, null);
		fclose(null);
		open_damaged();
		int right = check_all(stale_allowed);
		uint64_t damaged = world_stats(&world).damaged;
		ck_assert_msg(right >= least, "%s at %ld: only %d of %d are right", name, (long)at, right, KEYS);
		/* Less than 16 bytes at the end may be padding, which nothing covers. */
		ck_assert_msg(
		    found != 0 || stale_allowed || len < 16, "%s at %ld: inspect saw nothing", name, (long)at);
		ck_assert_msg(damaged > 0 || right == KEYS || stale_allowed || len < 16, "%s at %ld: not counted", name,
		    (long)at);
		/* It works as before, and whatever was damaged does not come back either. */
		put(2000, 1);
		world_restart(&world);
		open_damaged();
		ck_assert_int_ge(check_all(stale_allowed), least);
		world_restart(&world);
	}
}

START_TEST(damage_in_a_sealed_segment_costs_what_it_hits)
{
	build(true);
	keep_copy();
	/* At most two records of the forty in a piece. */
	damage_everywhere(first, 487, false, KEYS - 4);
	damage_everywhere(second, 487, false, KEYS - 16);
	damage_everywhere("segment-000000000001.idx", 61, false, KEYS);
	damage_everywhere("segment-000000000002.idx", 61, false, KEYS);
	drop_copy();
	world_fini(&world);
}
END_TEST

START_TEST(damage_of_a_whole_segment_costs_that_segment)
{
	build(true);
	keep_copy();
	for (int i = 0; i < 2; i++) {
		const char *name = i == 0 ? first : second;
		restore();
		for (off_t at = 0; at < size_of(name); at += 4096)
			overwrite(name, at, (size_t)(size_of(name) - at < 4096 ? size_of(name) - at : 4096));
		open_damaged();
		/* All of the first is lost, or all of the second: nothing of the first comes back for it. */
		int right = check_all(false);
		if (i == 1)
			ck_assert_int_ge(right, KEYS * 3 / 4);
		world_restart(&world);
	}
	drop_copy();
	world_fini(&world);
}
END_TEST

/* The end of the log, not sealed: what a power cut may cost. What is damaged is not served, the rest is. */
START_TEST(damage_in_the_unsealed_segment_is_skipped)
{
	build(false);
	keep_copy();
	damage_everywhere(second, 331, true, KEYS - 14);
	drop_copy();
	world_fini(&world);
}
END_TEST

START_TEST(every_length_of_the_last_record_is_cut)
{
	char path[200];
	off_t size;

	build(false);
	keep_copy();
	/* The last change is a put of version 2 or a delete; behind it nothing. */
	size = size_of(second);
	for (off_t cut = 1; cut <= 1700 && cut < size; cut += cut < 70 ? 1 : 13) {
		restore();
		snprintf(path, sizeof(path), "%s/%s", world.dir, second);
		ck_assert_int_eq(truncate(path, size - cut), 0);
		open_damaged();
		check_all(true);
		ck_assert_uint_eq(world_stats(&world).damaged, 0);
		put(3, 1);
		ck_assert(world_sync(&world));
		ck_assert_int_ge(check_all(true), KEYS - 20);
		world_restart(&world);
		FILE *null = fopen("/dev/null", "w");
		ck_assert_int_eq(hc_file_inspect(world.dir, null), 0);
		fclose(null);
	}
	drop_copy();
	world_fini(&world);
}
END_TEST

START_TEST(missing_and_empty_files_are_survived)
{
	static const char *const names[] = {"segment-000000000001.log", "segment-000000000001.idx",
	    "segment-000000000002.log", "segment-000000000002.idx"};
	char path[200];

	build(true);
	keep_copy();
	for (int i = 0; i < 8; i++) {
		restore();
		snprintf(path, sizeof(path), "%s/%s", world.dir, names[i / 2]);
		ck_assert_int_eq(i % 2 == 0 ? unlink(path) : truncate(path, 0), 0);
		open_damaged();
		/* A segment that was taken away whole takes its deletes with it. */
		int right = check_all(i == 4);
		ck_assert(right == KEYS || i / 2 % 2 == 0);
		world_restart(&world);
	}
	drop_copy();
	world_fini(&world);
}
END_TEST

/* A record that turns bad while the tier is open: an error, counted, then a miss, and not back after a restart. */
START_TEST(damage_found_by_a_read_is_deleted)
{
	struct world_value got;

	build(true);
	open_damaged();
	overwrite(first, 400, 4000);
	int errors = 0;
	for (int round = 0; round < 2; round++) {
		for (int key = 0; key < KEYS; key++) {
			char name[32];
			snprintf(name, sizeof(name), "key %d", key);
			errors += world_get(&world, name, &got) == HC_ERROR;
			free(got.bytes);
		}
	}
	ck_assert_int_ge(errors, 2);
	ck_assert_uint_eq(world_stats(&world).damaged, (uint64_t)errors);
	int right = check_all(false);
	world_restart(&world);
	open_damaged();
	ck_assert_int_eq(check_all(false), right);
	world_fini(&world);
}
END_TEST

START_TEST(inspect_tells_what_there_is)
{
	char text[8192] = "";
	FILE *to = fmemopen(text, sizeof(text), "w");

	build(true);
	open_damaged();
	uint64_t live = hc_file_count(world.file);
	world_restart(&world);
	ck_assert_int_eq(hc_file_inspect(world.dir, to), 0);
	fflush(to);
	char expected[64];
	snprintf(expected, sizeof(expected), "  live %llu (", (unsigned long long)live);
	const char *sum = strstr(text, "\nsegments 2");
	ck_assert_ptr_nonnull(sum);
	ck_assert_msg(strstr(sum, expected) != NULL, "%s not in %s", expected, sum);
	ck_assert_ptr_nonnull(strstr(text, "model m0  epoch 0"));
	open_damaged();
	rewind(to);
	ck_assert_int_eq(hc_file_inspect(world.dir, to), 0);
	fflush(to);
	ck_assert_ptr_nonnull(strstr(text, "in use by process"));
	world_close(&world);
	/* Its pid is there still, and is ours: of whoever has it by now. */
	memset(text, 0, sizeof(text));
	rewind(to);
	ck_assert_int_eq(hc_file_inspect(world.dir, to), 0);
	fflush(to);
	ck_assert_ptr_null(strstr(text, "in use by process"));
	overwrite("tier", 8, 4);
	rewind(to);
	ck_assert_int_eq(hc_file_inspect(world.dir, to), 2);
	ck_assert_int_eq(hc_file_inspect("/nowhere/at/all", to), 2);
	fclose(to);
	world_fini(&world);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("file_damage");
	TCase *tcase = tcase_create("file_damage");

	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, damage_in_a_sealed_segment_costs_what_it_hits);
	tcase_add_test(tcase, damage_of_a_whole_segment_costs_that_segment);
	tcase_add_test(tcase, damage_in_the_unsealed_segment_is_skipped);
	tcase_add_test(tcase, every_length_of_the_last_record_is_cut);
	tcase_add_test(tcase, missing_and_empty_files_are_survived);
	tcase_add_test(tcase, damage_found_by_a_read_is_deleted);
	tcase_add_test(tcase, inspect_tells_what_there_is);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
