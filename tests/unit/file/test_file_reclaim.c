/*
 * Space: the oldest segments go when there is no more room, and earlier when much has died at once; what is carried
 * over, and in what order things reach the disk.
 */
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "file_fixture.h"

static void
put_numbered(int i, size_t len)
{
	char key[32], *value = malloc(len);
	uint64_t mark;

	snprintf(key, sizeof(key), "key %d", i);
	memset(value, 'a' + i % 26, len);
	ck_assert_int_eq(world_put(&world, key, value, len, HC_NO_EXPIRY, 0, &mark), HC_OK);
	free(value);
	if (i % 16 == 0) {
		ck_assert(world_wait(&world, mark));
		ck_assert_uint_le(world_disk_bytes(&world), MAX_BYTES);
		ck_assert_uint_le(world_stats(&world).disk_bytes, MAX_BYTES);
	}
}

START_TEST(reclaim_keeps_within_max_bytes_and_drops_the_oldest)
{
	for (int i = 0; i < 5000; i++)
		put_numbered(i, 2000);
	struct hc_file_stats stats = world_stats(&world);
	ck_assert_uint_gt(stats.reclaimed, 100);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("key 0"), 0, NULL), HC_MISS);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("key 4999"), 0, NULL), HC_OK);
	/* Most of the room is in use. */
	ck_assert_uint_gt(stats.live_bytes, MAX_BYTES * 8 / 10);
	ck_assert_uint_eq(stats.live_bytes / 2064, stats.items);
	restart();
	ck_assert_uint_le(hc_file_count(world.file), stats.items);
	ck_assert_uint_ge(hc_file_count(world.file) + 2 * 31, stats.items); /* a segment or two, for the next one */
}
END_TEST

/* Of the first ten values, five are hot, five are deleted. */
static void
check_carried(void)
{
	struct world_value got;
	char key[32];

	for (int j = 0; j < 10; j++) {
		snprintf(key, sizeof(key), "key %d", j);
		enum hc_status status = world_get(&world, key, &got);
		ck_assert_msg(status == (j < 5 ? HC_OK : HC_MISS), "%s: %s", key, hc_status_name(status));
		ck_assert(j >= 5 || (got.len == 2000 && got.bytes[1999] == 'a' + j));
		free(got.bytes);
	}
}

START_TEST(reclaim_carries_over_what_is_hot_and_nothing_deleted)
{
	char key[32];

	for (int i = 0; i < 10; i++)
		put_numbered(i, 2000);
	for (int i = 10; i < 6000; i++) {
		put_numbered(i, 2000);
		/* The keeper is given time, as it has when segments are larger. */
		for (int ms = 0; i % 8 == 0 && ms < 5000 && world_stats(&world).disk_bytes + SEGMENT > MAX_BYTES; ms++)
			sleep_ms(1);
		for (int j = 5; i == 100 && j < 10; j++) {
			snprintf(key, sizeof(key), "key %d", j);
			world_delete(&world, key, NULL);
		}
		for (int j = 0; i % 100 == 0 && j < 10; j++) {
			snprintf(key, sizeof(key), "key %d", j);
			hc_file_touch(world.file, hc_slice_str(key));
		}
	}
	struct hc_file_stats stats = world_stats(&world);
	ck_assert_uint_ge(stats.carried, 25);
	ck_assert_uint_le(stats.written_bytes, stats.appended_bytes * 13 / 10);
	check_carried();
	restart();
	check_carried();
	kill_and_open();
	check_carried();
}
END_TEST

static void
check_every_hundredth(uint64_t n)
{
	char key[32];

	ck_assert_uint_eq(hc_file_count(world.file), n);
	for (uint64_t i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "key %d", (int)i * 100);
		ck_assert(world_holds(&world, key, "value"));
	}
}

/* n values, all of the model but each of `but_each`. They are on the disk. */
static void
fill_segments(uint32_t segment_bytes, int n, uint32_t model, int but_each)
{
	char key[32];
	uint64_t mark;

	world_close(&world);
	world.config.segment_bytes = segment_bytes;
	world.config.max_bytes = 32 << 20;
	reopen();
	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put(&world, key, "value", 5, HC_NO_EXPIRY, i % but_each == 0 ? 0 : model, &mark);
	}
	ck_assert(world_sync(&world));
}

static void
fill_small_segments(int n, uint32_t model, int but_each)
{
	fill_segments(1 << 20, n, model, but_each);
}

START_TEST(segments_go_early_only_when_hardly_anything_in_them_is_alive)
{
	uint32_t model = world_model(&world, "m1");

	fill_small_segments(240000, model, 3);
	uint64_t index_bytes = world_stats(&world).index_bytes, disk_bytes = world_stats(&world).disk_bytes;
	world_clear_model(&world, model);
	for (int i = 0; i < 10000 && world_stats(&world).index_bytes > index_bytes * 8 / 10; i++)
		sleep_ms(1);
	ck_assert_uint_le(world_stats(&world).index_bytes, index_bytes * 8 / 10); /* it has been swept */
	sleep_ms(300);                                                            /* a round of the keeper's duties */
	ck_assert_uint_eq(world_stats(&world).carried, 0);
	ck_assert_uint_ge(world_stats(&world).disk_bytes, disk_bytes);
	ck_assert_uint_eq(hc_file_count(world.file), 80000);
}
END_TEST

START_TEST(clear_model_frees_index_and_space_in_the_background)
{
	uint32_t model = world_model(&world, "m1");
	uint64_t mark;

	fill_small_segments(150000, model, 100);
	ck_assert_uint_eq(hc_file_count(world.file), 150000);
	uint64_t index_bytes = world_stats(&world).index_bytes;
	world_clear_model(&world, model);
	ck_assert_uint_eq(hc_file_count(world.file), 1500);
	ck_assert(world_holds(&world, "key 1", NULL));
	ck_assert(world_holds(&world, "key 100", "value"));
	for (int i = 0; i < 10000 && world_stats(&world).index_bytes > index_bytes * 7 / 10; i++)
		sleep_ms(1);
	ck_assert_uint_le(world_stats(&world).index_bytes, index_bytes * 7 / 10);
	/* The space too, though there is enough: the hundredth that is alive is carried. */
	for (int i = 0; i < 10000 && world_stats(&world).disk_bytes > 3 << 20; i++)
		sleep_ms(1);
	ck_assert_uint_le(world_stats(&world).disk_bytes, 3 << 20);
	check_every_hundredth(1500);
	kill_and_open();
	check_every_hundredth(1500);
	/* The same name, written anew in its new epoch. */
	model = world_model(&world, "m1");
	world_put(&world, "key 1", "new", 3, HC_NO_EXPIRY, model, &mark);
	restart();
	ck_assert(world_holds(&world, "key 1", "new"));
	ck_assert(world_holds(&world, "key 3", NULL));
}
END_TEST

/* Also the one that is being written, with what is kept of it in memory; but not while anything is alive. */
START_TEST(segment_being_written_is_left_when_nothing_at_all_is_alive)
{
	uint32_t model = world_model(&world, "m1");
	uint64_t mark;

	world.config.sync = HC_FILE_SYNC_EVERYSEC;
	for (int alive = 1; alive >= 0; alive--) {
		fill_segments(4 << 20, 16500, model, alive ? 16000 : 20000);
		long unlinks = world_calls(WORLD_UNLINK);
		if (!alive)
			world_delete(&world, "key 0", NULL);
		world_clear_model(&world, model);
		for (int i = 0; i < (alive ? 300 : 10000) && world_calls(WORLD_UNLINK) == unlinks; i++)
			sleep_ms(1);
		ck_assert_int_eq(world_calls(WORLD_UNLINK) > unlinks, !alive);
		model = world_model(&world, "m1");
	}
	ck_assert_uint_eq(hc_file_count(world.file), 0);
	ck_assert_uint_eq(world_unsynced_at_unlink(), 0);
	world_put(&world, "key 1", "new", 3, HC_NO_EXPIRY, model, &mark);
	ck_assert(world_sync(&world));
	kill_and_open();
	ck_assert(world_holds(&world, "key 1", "new"));
	ck_assert(world_holds(&world, "key 0", NULL));
	ck_assert(world_holds(&world, "key 16000", NULL));
	ck_assert_uint_eq(hc_file_count(world.file), 1);
}
END_TEST

/* What was safe from a power cut is so in its new place before the old one goes. */
START_TEST(what_is_carried_early_is_synced_before_its_segment_is_unlinked)
{
	uint32_t model = world_model(&world, "m1");

	world.config.sync = HC_FILE_SYNC_EVERYSEC;
	fill_small_segments(150000, model, 100);
	long unlinks = world_calls(WORLD_UNLINK), truncations = world_calls(WORLD_TRUNCATE);
	(void)world_unsynced_at_unlink();
	world_clear_model(&world, model);
	for (int i = 0; i < 10000 && world_stats(&world).disk_bytes > 3 << 20; i++)
		sleep_ms(1);
	ck_assert_uint_gt(world_stats(&world).carried, 1000);
	ck_assert_int_gt(world_calls(WORLD_UNLINK), unlinks);
	ck_assert_uint_eq(world_unsynced_at_unlink(), 0);
	ck_assert_int_gt(
	    world_calls(WORLD_TRUNCATE), truncations); /* by and by, not all of it with the last descriptor */
}
END_TEST

/* Nor what it is dead by: without that, a kill would lose what was there before. */
START_TEST(segments_do_not_go_early_before_that_is_written_which_they_are_dead_by)
{
	uint32_t model = world_model(&world, "m1");

	fill_small_segments(150000, model, 200000);
	world_delete(&world, "key 0", NULL); /* nothing is to be carried: that would be waited for */
	ck_assert(world_sync(&world));
	long unlinks = world_calls(WORLD_UNLINK);
	world_slow(1500000, 0);
	uint64_t mark = world_clear_model(&world, model);
	for (int i = 0; i < 10000 && world_calls(WORLD_UNLINK) == unlinks; i++)
		sleep_ms(1);
	bool written = hc_file_written(world.file) >= mark;
	world_slow(0, 0);
	ck_assert_int_gt(world_calls(WORLD_UNLINK), unlinks);
	ck_assert(written);
}
END_TEST

/* Emptying takes two seconds and a half, as long as nobody waits for it: for space, or for the end. */
START_TEST(segment_that_is_emptied_by_and_by_keeps_nobody_waiting)
{
	uint32_t model = world_model(&world, "over");
	uint64_t mark;
	char key[32], *value = calloc(1, 8000);

	world_close(&world);
	world.config.segment_bytes = 32 << 20;
	world.config.max_bytes = 256 << 20;
	world.config.sync = HC_FILE_SYNC_EVERYSEC;
	reopen();
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		ck_assert_int_eq(world_put(&world, key, value, 8000, HC_NO_EXPIRY, model, &mark), HC_OK);
		if (i % 100 == 0)
			ck_assert(world_wait(&world, mark));
	}
	ck_assert(world_sync(&world));
	long unlinks = world_calls(WORLD_UNLINK);
	world_clear_model(&world, model);
	for (int ms = 0; ms < 10000 && world_calls(WORLD_UNLINK) == unlinks; ms++)
		sleep_ms(1);
	world_fail(WORLD_WRITE, 1, 0, ENOSPC);
	int64_t begin_ms = hc_clock_mono_ms();
	ck_assert_int_eq(world_put(&world, "one", "v", 1, HC_NO_EXPIRY, 0, &mark), HC_OK);
	if (_i == 0)
		ck_assert(world_wait(&world, mark));
	else
		world_close(&world);
	ck_assert_int_lt(hc_clock_mono_ms() - begin_ms, 1500);
	if (_i == 1)
		reopen();
	free(value);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("file_reclaim");
	TCase *tcase = tcase_create("file_reclaim");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, reclaim_keeps_within_max_bytes_and_drops_the_oldest);
	tcase_add_test(tcase, reclaim_carries_over_what_is_hot_and_nothing_deleted);
	tcase_add_test(tcase, segments_go_early_only_when_hardly_anything_in_them_is_alive);
	tcase_add_test(tcase, clear_model_frees_index_and_space_in_the_background);
	tcase_add_test(tcase, segment_being_written_is_left_when_nothing_at_all_is_alive);
	tcase_add_test(tcase, what_is_carried_early_is_synced_before_its_segment_is_unlinked);
	tcase_add_test(tcase, segments_do_not_go_early_before_that_is_written_which_they_are_dead_by);
	tcase_add_loop_test(tcase, segment_that_is_emptied_by_and_by_keeps_nobody_waiting, 0, 2);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
