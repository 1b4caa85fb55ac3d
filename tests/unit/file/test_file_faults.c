/*
 * The disk full, failing, read-only, slow, gone; memory that runs out. The tier switches itself off and comes back, and
 * what it could not write does not come back as it was before.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "tests/unit/support.h"
#include "tests/support/file_world.h"

#define SEGMENT (64u << 10)

static struct world world;

static void
open_world(void)
{
	struct hc_file_failure failure;
	enum hc_status status = world_open(&world, &failure);

	ck_assert_msg(status == HC_OK, "%s", failure.message);
	ck_assert(world_loaded(&world));
}

static void
setup(void)
{
	world_init(&world, 16 * SEGMENT, SEGMENT);
	open_world();
}

static void
teardown(void)
{
	world_close(&world);
	ck_assert_int_eq(atomic_load(&world.owners), 0);
	world_fini(&world);
}

static void
retry_after(uint32_t ms)
{
	world_close(&world);
	world.config.retry_ms = ms;
	open_world();
}

static enum hc_file_mode
mode(void)
{
	return world_stats(&world).mode;
}

static void
await_off(void)
{
	for (int i = 0; i < 20000 && mode() != HC_FILE_OFF; i++)
		usleep(1000);
	ck_assert_int_eq(mode(), HC_FILE_OFF);
}

/* Four keys as they were before the fault; three of them changed by what is not written. */
static void
before(void)
{
	world_put_str(&world, "same", "old");
	world_put_str(&world, "overwritten", "old");
	world_put_str(&world, "deleted", "old");
	world_put_str(&world, "expired", "old");
	ck_assert(world_sync(&world));
}

static void
change(void)
{
	world_put_str(&world, "overwritten", "new");
	world_delete(&world, "deleted", NULL);
	world_expire(&world, "expired", hc_clock_wall_ms() + 100000, NULL);
	ck_assert(world_sync(&world));
}

static void
check_changes(const char *same)
{
	ck_assert(world_holds(&world, "same", same));
	ck_assert(world_holds(&world, "overwritten", NULL));
	ck_assert(world_holds(&world, "deleted", NULL));
	ck_assert(world_holds(&world, "expired", NULL));
}

/* Off by a write that fails; what did not change is still read; back by itself; nothing old after a restart or kill. */
static void
off_and_on(int err)
{
	retry_after(300);
	before();
	world_fail(WORLD_WRITE, 1, 0, err);
	change();
	await_off();
	ck_assert_int_eq(world_stats(&world).fault, err);
	check_changes("old");
	ck_assert(world_on(&world));
	world_heal();
	check_changes("old");
	world_put_str(&world, "later", "there");
	world_restart(&world);
	open_world();
	check_changes("old");
	ck_assert(world_holds(&world, "later", "there"));
	ck_assert(world_sync(&world));
	world_kill(&world);
	open_world();
	check_changes("old");
	ck_assert(world_holds(&world, "later", "there"));
}

START_TEST(write_error_switches_off_and_back_on)
{
	off_and_on(EIO);
}
END_TEST

START_TEST(full_disk_switches_off_and_back_on)
{
	off_and_on(ENOSPC);
}
END_TEST

START_TEST(kill_while_off_loads_nothing)
{
	retry_after(1000000);
	before();
	world_fail(WORLD_WRITE, 1, 0, EIO);
	change();
	await_off();
	world_kill(&world);
	open_world();
	check_changes(NULL);
	world_put_str(&world, "later", "there");
	world_restart(&world);
	open_world();
	ck_assert(world_holds(&world, "later", "there"));
	check_changes(NULL);
}
END_TEST

START_TEST(close_while_off_leaves_nothing_to_load)
{
	retry_after(1000000);
	before();
	world_fail(WORLD_WRITE, 1, 0, EIO);
	change();
	await_off();
	world_restart(&world);
	open_world();
	check_changes(NULL);
}
END_TEST

START_TEST(clears_while_off_are_kept)
{
	uint32_t model = world_model(&world, "m1");
	uint64_t mark;

	retry_after(300);
	before();
	world_put(&world, "of m1", "old", 3, HC_NO_EXPIRY, model, &mark);
	ck_assert(world_wait(&world, mark));
	world_fail(WORLD_WRITE, 1, 0, EIO);
	world_clear_model(&world, model);
	ck_assert(world_sync(&world));
	await_off();
	ck_assert(world_on(&world));
	ck_assert(world_sync(&world));
	world_kill(&world);
	open_world();
	ck_assert(world_holds(&world, "of m1", NULL));
	ck_assert(world_holds(&world, "same", "old"));
	world_close(&world);
	open_world();
	world_fail(WORLD_WRITE, 1, 0, EIO);
	world_clear_all(&world);
	ck_assert(world_sync(&world));
	await_off();
	ck_assert(world_on(&world));
	world_put_str(&world, "later", "there");
	ck_assert(world_sync(&world));
	world_kill(&world);
	open_world();
	check_changes(NULL);
	ck_assert(world_holds(&world, "later", "there"));
}
END_TEST

/* More keys than are remembered: all that is on disk goes. */
START_TEST(too_many_changes_while_off_drop_everything)
{
	char key[32];

	retry_after(2000);
	before();
	world_fail(WORLD_WRITE, 1, 0, EIO);
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put_str(&world, key, "lost");
	}
	ck_assert(world_sync(&world));
	await_off();
	ck_assert(world_holds(&world, "same", "old"));
	ck_assert(world_on(&world));
	check_changes(NULL);
	world_put_str(&world, "later", "there");
	for (int i = 0; i < 2; i++) {
		world_restart(&world);
		open_world();
		ck_assert(world_holds(&world, "later", "there"));
		ck_assert_uint_eq(hc_file_count(world.file), 1);
	}
}
END_TEST

START_TEST(full_disk_gives_up_the_oldest_segments_first)
{
	char key[32], value[2000];
	uint64_t mark;

	memset(value, 'v', sizeof(value));
	for (int i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put(&world, key, value, sizeof(value), HC_NO_EXPIRY, 0, &mark);
	}
	ck_assert(world_wait(&world, mark));
	uint64_t reclaimed = world_stats(&world).reclaimed;
	world_fail(WORLD_WRITE, 1, 1, ENOSPC);
	world_put(&world, "last", value, sizeof(value), HC_NO_EXPIRY, 0, &mark);
	ck_assert(world_wait(&world, mark));
	ck_assert_int_eq(mode(), HC_FILE_ON);
	ck_assert_uint_ge(world_stats(&world).reclaimed, reclaimed + 1);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("key 0"), 0, NULL), HC_MISS);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("key 199"), 0, NULL), HC_OK);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("last"), 0, NULL), HC_OK);
}
END_TEST

START_TEST(interrupted_and_short_writes_are_carried_on)
{
	for (int i = 0; i < 20; i++) {
		world_fail(WORLD_WRITE, 1, 0, i % 2 == 0 ? EINTR : 0);
		world_put_str(&world, i % 2 == 0 ? "a" : "b", "value that is long enough to be cut in half");
		ck_assert(world_sync(&world));
	}
	ck_assert_int_eq(mode(), HC_FILE_ON);
	world_kill(&world);
	open_world();
	ck_assert(world_holds(&world, "a", "value that is long enough to be cut in half"));
	ck_assert(world_holds(&world, "b", "value that is long enough to be cut in half"));
	ck_assert_uint_eq(world_stats(&world).damaged, 0);
}
END_TEST

START_TEST(sync_error_switches_off)
{
	world_close(&world);
	world.config.sync = HC_FILE_SYNC_ALWAYS;
	world.config.retry_ms = 300;
	open_world();
	before();
	world_fail(WORLD_SYNC, 1, 0, EIO);
	change();
	await_off();
	ck_assert(world_on(&world));
	check_changes("old");
}
END_TEST

START_TEST(sync_always_syncs_before_it_counts_as_written)
{
	world_close(&world);
	world.config.sync = HC_FILE_SYNC_ALWAYS;
	open_world();
	long syncs = world_calls(WORLD_SYNC);
	for (int i = 0; i < 10; i++) {
		world_put_str(&world, "k", "v");
		ck_assert(world_sync(&world));
	}
	ck_assert_int_ge(world_calls(WORLD_SYNC) - syncs, 10);
	world_close(&world);
	world.config.sync = HC_FILE_SYNC_NO;
	open_world();
	syncs = world_calls(WORLD_SYNC);
	world_put_str(&world, "k", "v");
	world_close(&world);
	ck_assert_int_eq(world_calls(WORLD_SYNC), syncs);
	open_world();
}
END_TEST

/* Records longer than a call may be, and so many that their index file is: all of it comes in pieces, and is whole. */
START_TEST(no_write_keeps_the_processor_for_long)
{
	static char value[3 * HC_FILE_CALL_BYTES];
	const uint32_t small = 8000; /* of which a line in the index file takes 20 bytes */
	char key[24];

	world_close(&world);
	world.config.segment_bytes = 4u << 20;
	world.config.max_bytes = 32u << 20;
	open_world();
	memset(value, 'v', sizeof(value) - 1);
	world_put_str(&world, "long", value);
	for (uint32_t i = 0; i < small; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		world_put_str(&world, key, key);
	}
	ck_assert(world_sync(&world));
	world_restart(&world); /* which seals the segment */
	open_world();
	ck_assert_uint_le(world_longest(WORLD_WRITE), HC_FILE_CALL_BYTES);
	ck_assert(world_holds(&world, "long", value));
	ck_assert_uint_eq(world_stats(&world).items, small + 1);
	ck_assert(world_holds(&world, "k7999", "k7999"));
}
END_TEST

/* What an fdatasync would have to write back is begun before, in pieces; where it cannot be, all is synced anyway. */
static void
sync_much(bool begun)
{
	static char value[1 << 20];
	char key[24];

	world_close(&world);
	world.config.segment_bytes = 8u << 20;
	world.config.max_bytes = 64u << 20;
	world.config.sync = HC_FILE_SYNC_EVERYSEC;
	open_world();
	memset(value, 'v', sizeof(value) - 1);
	for (int i = 0; i < 5; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		world_put_str(&world, key, value);
	}
	ck_assert(world_sync(&world));
	long syncs = world_calls(WORLD_SYNC);
	if (!begun)
		world_fail(WORLD_BEGIN_SYNC, 1, 1000, EINVAL);
	world_restart(&world);
	ck_assert_int_gt(world_calls(WORLD_SYNC), syncs);
	world_heal();
	open_world();
	ck_assert_int_eq(mode(), HC_FILE_ON);
	ck_assert(world_holds(&world, "k4", value));
}

START_TEST(what_is_synced_is_begun_in_pieces)
{
	sync_much(true);
	ck_assert_uint_gt(world_longest(WORLD_BEGIN_SYNC), 0);
	ck_assert_uint_le(world_longest(WORLD_BEGIN_SYNC), 1 << 20);
	ck_assert_int_ge(world_calls(WORLD_BEGIN_SYNC), 5);
}
END_TEST

START_TEST(what_cannot_be_begun_is_synced_all_the_same)
{
	sync_much(false);
}
END_TEST

START_TEST(read_error_is_an_error_once_and_forgets_nothing)
{
	struct world_value got;

	before();
	world_fail(WORLD_PREAD, 1, 0, EIO);
	ck_assert_int_eq(world_get(&world, "same", &got), HC_ERROR);
	ck_assert_uint_eq(world_stats(&world).read_errors, 1);
	ck_assert(world_holds(&world, "same", "old"));
	ck_assert_int_eq(mode(), HC_FILE_ON);
}
END_TEST

START_TEST(directory_that_vanishes_is_made_again)
{
	struct stat st;

	before();
	world_remove(world.dir);
	for (int i = 0; i < 10000 && world_stats(&world).faults == 0; i++)
		usleep(1000);
	ck_assert_uint_ge(world_stats(&world).faults, 1);
	ck_assert(world_on(&world));
	ck_assert_int_eq(stat(world.dir, &st), 0);
	check_changes(NULL);
	world_put_str(&world, "later", "there");
	ck_assert(world_sync(&world));
	/* Still ours alone. */
	struct hc_file *second;
	struct hc_file_failure failure;
	ck_assert_int_eq(hc_file_open(&world.config, &second, &failure), HC_CONFLICT);
	world_kill(&world);
	open_world();
	ck_assert(world_holds(&world, "later", "there"));
}
END_TEST

/* What is deleted after that is on the disk still, and not in the index: nothing is written, but that the directory is
 * not to be trusted is. */
START_TEST(after_a_segment_that_stays_nothing_is_acknowledged_before_the_mark)
{
	char value[SEGMENT / 3] = {0};
	uint64_t mark;

	retry_after(1000000);
	for (int i = 0; i < 3; i++)
		world_put(&world, "victim", value, sizeof(value), HC_NO_EXPIRY, 0, &mark);
	ck_assert(world_wait(&world, mark));
	uint64_t reclaimed = world_stats(&world).reclaimed;
	world_fail(WORLD_UNLINK, 1, 0, EROFS);
	world_slow_unlinks(100000);
	world_clear_all(&world);
	for (int i = 0; i < 10000 && world_failing(WORLD_UNLINK); i++)
		usleep(1000);
	world_slow(600000, 0);
	world_put_str(&world, "other", "keeps the writer busy while the unlink fails");
	for (int i = 0; i < 10000 && world_stats(&world).reclaimed == reclaimed; i++)
		usleep(1000);
	ck_assert_uint_gt(world_stats(&world).reclaimed, reclaimed);
	world_delete(&world, "not there", &mark);
	ck_assert(world_wait(&world, mark));
	world_kill(&world);
	open_world();
	ck_assert_uint_eq(hc_file_count(world.file), 0);
}
END_TEST

/* A segment that cannot be unlinked would be found by the next start, older than what deleted it. */
START_TEST(segment_that_cannot_be_unlinked_does_not_come_back)
{
	char key[32], value[2000];
	uint64_t mark = 0;

	memset(value, 'v', sizeof(value));
	world_put(&world, "victim", value, sizeof(value), HC_NO_EXPIRY, 0, &mark);
	world_fail(WORLD_UNLINK, 1, 1, EROFS);
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put(&world, key, value, sizeof(value), HC_NO_EXPIRY, 0, &mark);
		if (i == 20)
			world_delete(&world, "victim", NULL);
		if (i % 50 == 0)
			ck_assert(world_wait(&world, mark));
	}
	ck_assert(world_wait(&world, mark));
	ck_assert(!world_failing(WORLD_UNLINK));
	ck_assert_uint_ge(world_stats(&world).faults, 1);
	ck_assert(world_on(&world));
	world_put_str(&world, "later", "there");
	world_restart(&world);
	open_world();
	ck_assert(world_holds(&world, "victim", NULL));
	ck_assert(world_holds(&world, "later", "there"));
	ck_assert_uint_le(world_disk_bytes(&world), 16 * SEGMENT);
}
END_TEST

/* Reclaim has taken a value out of the index, and its segment is still there: a delete must be written all the same. */
START_TEST(change_of_what_is_being_reclaimed_outlives_a_kill)
{
	char key[32], value[2000];
	uint64_t mark = 0;

	memset(value, 'v', sizeof(value));
	world_slow_unlinks(400000);
	for (int i = 0; world_stats(&world).dropped_live == 0; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put(&world, key, value, sizeof(value), HC_NO_EXPIRY, 0, &mark);
		ck_assert(world_wait(&world, mark));
		usleep(100);
	}
	for (int i = 0; i < 5000 && hc_file_find(world.file, HC_SLICE("key 1"), 0, NULL) == HC_OK; i++)
		usleep(100);
	uint64_t reclaimed = world_stats(&world).reclaimed;
	ck_assert_int_eq(world_delete(&world, "key 0", NULL), HC_MISS);
	ck_assert_int_eq(world_expire(&world, "key 1", hc_clock_wall_ms() - 1, NULL), HC_MISS);
	ck_assert(world_sync(&world));
	ck_assert_uint_eq(world_stats(&world).reclaimed, reclaimed);
	world_kill(&world);
	open_world();
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("key 2"), 0, NULL), HC_OK);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("key 0"), 0, NULL), HC_MISS);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("key 1"), 0, NULL), HC_MISS);
}
END_TEST

START_TEST(open_without_memory_or_system_says_so)
{
	static const enum world_call calls[] = {WORLD_OPEN, WORLD_PREAD, WORLD_WRITE, WORLD_UNLINK};
	struct hc_file_failure failure;
	bool opened = false;

	before();
	for (size_t i = 0; i <= 4; i++) {
		opened = false;
		for (long k = 1; !opened && k < 2000; k++) {
			world_close(&world);
			if (i == 4)
				hc_mem_fail_after(k);
			else
				world_fail(calls[i], k, 0, EIO);
			enum hc_status status = world_open(&world, &failure);
			hc_mem_fail_after(0);
			opened = status == HC_OK && (i == 4 ? k > 300 : world_failing(calls[i]));
			world_heal();
			if (status != HC_OK) {
				ck_assert(status == (i == 4 ? HC_NOMEM : HC_ERROR));
				ck_assert_str_ne(failure.message, "");
				world.file = NULL;
				continue;
			}
			ck_assert(world_loaded(&world));
		}
		ck_assert(opened);
	}
	world_close(&world);
	open_world();
	ck_assert(world_holds(&world, "same", "old"));
}
END_TEST

START_TEST(settings_that_cannot_be_are_refused)
{
	struct hc_file_failure failure;
	struct hc_file *file;
	struct hc_file_config config = world.config;

	world_close(&world);
	config.segment_bytes = 4096;
	ck_assert_int_eq(hc_file_open(&config, &file, &failure), HC_INVALID);
	config.segment_bytes = (64u << 10) + 1;
	ck_assert_int_eq(hc_file_open(&config, &file, &failure), HC_INVALID);
	config.segment_bytes = 64u << 10;
	config.max_bytes = 256u << 10;
	ck_assert_int_eq(hc_file_open(&config, &file, &failure), HC_INVALID);
	config.max_bytes += 8192;
	ck_assert_int_eq(hc_file_open(&config, &file, &failure), HC_OK);
	hc_file_close(file);
	config.dir = "/nowhere/at/all";
	ck_assert_int_eq(hc_file_open(&config, &file, &failure), HC_ERROR);
	ck_assert_ptr_nonnull(strstr(failure.message, "/nowhere/at/all"));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("file_faults");
	TCase *tcase = tcase_create("file_faults");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, after_a_segment_that_stays_nothing_is_acknowledged_before_the_mark);
	tcase_add_test(tcase, write_error_switches_off_and_back_on);
	tcase_add_test(tcase, full_disk_switches_off_and_back_on);
	tcase_add_test(tcase, kill_while_off_loads_nothing);
	tcase_add_test(tcase, close_while_off_leaves_nothing_to_load);
	tcase_add_test(tcase, clears_while_off_are_kept);
	tcase_add_test(tcase, too_many_changes_while_off_drop_everything);
	tcase_add_test(tcase, full_disk_gives_up_the_oldest_segments_first);
	tcase_add_test(tcase, interrupted_and_short_writes_are_carried_on);
	tcase_add_test(tcase, sync_error_switches_off);
	tcase_add_test(tcase, sync_always_syncs_before_it_counts_as_written);
	tcase_add_test(tcase, no_write_keeps_the_processor_for_long);
	tcase_add_test(tcase, what_is_synced_is_begun_in_pieces);
	tcase_add_test(tcase, what_cannot_be_begun_is_synced_all_the_same);
	tcase_add_test(tcase, read_error_is_an_error_once_and_forgets_nothing);
	tcase_add_test(tcase, directory_that_vanishes_is_made_again);
	tcase_add_test(tcase, segment_that_cannot_be_unlinked_does_not_come_back);
	tcase_add_test(tcase, change_of_what_is_being_reclaimed_outlives_a_kill);
	tcase_add_test(tcase, open_without_memory_or_system_says_so);
	tcase_add_test(tcase, settings_that_cannot_be_are_refused);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
