/*
 * The file tier's functions, one by one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "file_fixture.h"

START_TEST(append_is_found_and_read_at_once)
{
	struct hc_file_item item;
	struct world_value got;
	uint64_t mark;

	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("k"), 0, NULL), HC_MISS);
	ck_assert_int_eq(world_put(&world, "k", "value", 5, 99999999999999, 0, &mark), HC_OK);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("k"), 0, &item), HC_OK);
	ck_assert_int_eq(item.expire_ms, 99999999999999);
	ck_assert_uint_eq(item.model, 0);
	ck_assert_int_eq(world_get(&world, "k", &got), HC_OK);
	ck_assert_str_eq(got.bytes, "value");
	ck_assert_int_eq(got.expire_ms, 99999999999999);
	free(got.bytes);
	ck_assert(world_wait(&world, mark));
	ck_assert_uint_ge(hc_file_written(world.file), mark);
	ck_assert(world_holds(&world, "k", "value"));
	ck_assert_uint_eq(hc_file_count(world.file), 1);
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("k"), 99999999999999, NULL), HC_MISS);
}
END_TEST

START_TEST(overwrite_delete_expire_take_effect_at_once)
{
	int64_t now_ms = hc_clock_wall_ms();

	world_put_str(&world, "k", "one");
	world_put_str(&world, "k", "two");
	ck_assert(world_holds(&world, "k", "two"));
	ck_assert_int_eq(world_expire(&world, "k", now_ms + 200, NULL), HC_OK);
	ck_assert(world_holds(&world, "k", "two"));
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("k"), now_ms + 200, NULL), HC_MISS);
	ck_assert_int_eq(world_delete(&world, "k", NULL), HC_OK);
	ck_assert(world_holds(&world, "k", NULL));
	ck_assert_int_eq(world_expire(&world, "k", now_ms + 200, NULL), HC_MISS);
	ck_assert_uint_eq(hc_file_count(world.file), 0);
}
END_TEST

static void
check_survival(void)
{
	ck_assert(world_holds(&world, "kept", "value"));
	ck_assert(world_holds(&world, "twice", "second"));
	ck_assert(world_holds(&world, "deleted", NULL));
	ck_assert(world_holds(&world, "again", "back"));
	ck_assert(world_holds(&world, "cleared", NULL));
	ck_assert(world_holds(&world, "after the clear", "there"));
	ck_assert(world_holds(&world, "shortened", NULL));
	ck_assert(world_holds(&world, "prolonged", "still"));
	ck_assert(world_holds(&world, "empty", ""));
	ck_assert_uint_eq(hc_file_count(world.file), 6);
}

static void
make_history(void)
{
	int64_t now_ms = hc_clock_wall_ms();
	uint32_t model = world_model(&world, "m1");
	uint64_t mark;

	world_put_str(&world, "kept", "value");
	world_put_str(&world, "twice", "first");
	world_put_str(&world, "twice", "second");
	world_put_str(&world, "deleted", "x");
	world_delete(&world, "deleted", NULL);
	world_put_str(&world, "again", "x");
	world_delete(&world, "again", NULL);
	world_put_str(&world, "again", "back");
	world_put(&world, "cleared", "x", 1, HC_NO_EXPIRY, model, &mark);
	world_clear_model(&world, model);
	world_put(&world, "after the clear", "there", 5, HC_NO_EXPIRY, model, &mark);
	world_put_str(&world, "shortened", "x");
	world_expire(&world, "shortened", now_ms - 5, NULL);
	world_put(&world, "prolonged", "still", 5, now_ms + 400, 0, &mark);
	world_expire(&world, "prolonged", HC_NO_EXPIRY, NULL);
	sleep_ms(420);
	world_put_str(&world, "empty", "");
}

START_TEST(restart_finds_it_all_again)
{
	make_history();
	for (int i = 0; i < 3; i++) {
		restart();
		check_survival();
	}
	ck_assert_uint_eq(world_stats(&world).damaged, 0);
	ck_assert_uint_le(world_stats(&world).segments, 1);
}
END_TEST

START_TEST(kill_loses_nothing_that_was_written)
{
	make_history();
	for (int i = 0; i < 3; i++) {
		kill_and_open();
		check_survival();
	}
	ck_assert_uint_eq(world_stats(&world).damaged, 0);
}
END_TEST

START_TEST(clear_all_forgets_everything_for_good)
{
	char key[32];

	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put_str(&world, key, "some value that takes a little space");
	}
	world_clear_all(&world);
	ck_assert_uint_eq(hc_file_count(world.file), 0);
	ck_assert(world_holds(&world, "key 5", NULL));
	world_put_str(&world, "key 6", "new");
	for (int i = 0; i < 2; i++) {
		if (i == 0)
			restart();
		else
			kill_and_open();
		ck_assert_uint_eq(hc_file_count(world.file), 1);
		ck_assert(world_holds(&world, "key 5", NULL));
		ck_assert(world_holds(&world, "key 6", "new"));
	}
}
END_TEST

START_TEST(stale_values_are_refused_and_delete_what_was_there)
{
	char owner[] = "kv";
	struct hc_file_record record = {.type = HC_FILE_VALUE,
	    .key = hc_slice(owner, 1),
	    .value = hc_slice(owner + 1, 1),
	    .expire_ms = HC_NO_EXPIRY,
	    .epoch = 0};
	uint64_t mark;

	world_put_str(&world, "k", "old");
	record.epoch = 1;
	ck_assert_int_eq(hc_file_append(world.file, &record, owner, &mark), HC_STALE);
	ck_assert(world_holds(&world, "k", NULL));
	world_put_str(&world, "k", "old");
	record.epoch = 0;
	record.generation = 9;
	ck_assert_int_eq(hc_file_append(world.file, &record, owner, &mark), HC_STALE);
	ck_assert(world_holds(&world, "k", NULL));
	world_put_str(&world, "k", "old");
	record.droppable = true;
	ck_assert_int_eq(hc_file_append(world.file, &record, owner, &mark), HC_STALE);
	ck_assert(world_holds(&world, "k", "old"));
	kill_and_open();
	ck_assert(world_holds(&world, "k", "old"));
}
END_TEST

START_TEST(value_too_long_deletes_what_was_there)
{
	char *value = calloc(1, SEGMENT);
	uint64_t mark;

	world_put_str(&world, "k", "old");
	ck_assert_int_eq(world_put(&world, "k", value, SEGMENT / 2, HC_NO_EXPIRY, 0, &mark), HC_LIMIT);
	ck_assert(world_holds(&world, "k", NULL));
	ck_assert_int_eq(world_put(&world, "j", value, SEGMENT / 2 - 100, HC_NO_EXPIRY, 0, &mark), HC_OK);
	free(value);
	kill_and_open();
	ck_assert(world_holds(&world, "k", NULL));
	ck_assert_int_eq(hc_file_find(world.file, HC_SLICE("j"), 0, NULL), HC_OK);
}
END_TEST

START_TEST(state_is_found_again)
{
	char buf[HC_FILE_STATE_MAX];
	char key[32];

	ck_assert_uint_eq(hc_file_state(world.file, buf), 0);
	hc_file_set_state(world.file, "incarnation", 11);
	restart();
	ck_assert_uint_eq(hc_file_state(world.file, buf), 11);
	ck_assert_mem_eq(buf, "incarnation", 11);
	ck_assert(world_wait(&world, hc_file_set_state(world.file, "second", 6)));
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put_str(&world, key, "some value that takes a little space");
	}
	kill_and_open();
	ck_assert_uint_eq(hc_file_state(world.file, buf), 6);
	ck_assert_mem_eq(buf, "second", 6);
}
END_TEST

/* ---- the directory ---- */

START_TEST(second_opener_is_told_who_has_it)
{
	struct hc_file *second;
	struct hc_file_failure failure;

	ck_assert_int_eq(hc_file_open(&world.config, &second, &failure), HC_CONFLICT);
	ck_assert_int_eq(failure.holder, getpid());
	ck_assert_ptr_nonnull(strstr(failure.message, world.dir));
}
END_TEST

static void
write_file(const char *name, const void *bytes, size_t len, off_t at)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", world.dir, name);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, bytes, len, at), (ssize_t)len);
	close(fd);
}

static void
flip_byte(const char *name, off_t at)
{
	char path[200], byte;

	snprintf(path, sizeof(path), "%s/%s", world.dir, name);
	int fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	close(fd);
	byte = (char)~byte;
	write_file(name, &byte, 1, at);
}

START_TEST(foreign_files_are_left_alone)
{
	static const char *const names[] = {
	    "README", "segment-1.log", "segment-00000000000z.log", "segment-000000000001.lo"};
	char path[200];
	struct stat st;

	world_put_str(&world, "k", "v");
	world_close(&world);
	for (size_t i = 0; i < 4; i++)
		write_file(names[i], "not yours", 9, 0);
	reopen();
	ck_assert_uint_eq(world_stats(&world).foreign, 4);
	ck_assert(world_holds(&world, "k", "v"));
	world_clear_all(&world);
	restart();
	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", world.dir, names[i]);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_eq(st.st_size, 9);
	}
}
END_TEST

START_TEST(directory_of_a_newer_format_is_refused_untouched)
{
	static const char *const names[] = {"tier", "segment-000000000001.log"};
	const uint32_t newer[] = {2, ~2u}, present[] = {1, ~1u};
	struct hc_file_failure failure;

	world_put_str(&world, "k", "v");
	for (size_t i = 0; i < 2; i++) {
		world_restart(&world);
		write_file(names[i], newer, sizeof(newer), 8);
		uint64_t before = world_disk_bytes(&world);
		ck_assert_int_eq(world_open(&world, &failure), HC_INVALID);
		ck_assert_ptr_nonnull(strstr(failure.message, "newer"));
		ck_assert_uint_eq(world_disk_bytes(&world), before);
		write_file(names[i], present, sizeof(present), 8);
		reopen();
		ck_assert(world_holds(&world, "k", "v"));
	}
}
END_TEST

START_TEST(damaged_tier_file_empties_the_directory)
{
	world_put_str(&world, "k", "v");
	world_restart(&world);
	flip_byte("tier", 40);
	reopen();
	ck_assert(world_holds(&world, "k", NULL));
	world_put_str(&world, "k", "w");
	restart();
	ck_assert(world_holds(&world, "k", "w"));
}
END_TEST

START_TEST(files_are_for_the_owner_alone)
{
	char path[200];
	struct stat st;

	world_put_str(&world, "k", "v");
	restart();
	static const char *const names[] = {"tier", "lock", "segment-000000000001.log"};
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", world.dir, names[i]);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_eq(st.st_mode & 0777, 0600);
	}
}
END_TEST

/* ---- room ---- */

START_TEST(claims_bound_what_is_queued)
{
	world_close(&world);
	world.config.queue_records = 100;
	world.config.queue_bytes = 10000;
	reopen();
	ck_assert(hc_file_claim(world.file, 60, 100));
	ck_assert(!hc_file_claim(world.file, 60, 100));
	ck_assert(!hc_file_claim(world.file, 1, 9999));
	ck_assert(hc_file_claim(world.file, 40, 100));
	hc_file_unclaim(world.file, 60, 100);
	hc_file_unclaim(world.file, 40, 100);
	ck_assert(hc_file_claim(world.file, 1000, 1000000));
	ck_assert(!hc_file_claim(world.file, 1, 1));
	hc_file_unclaim(world.file, 1000, 1000000);
}
END_TEST

static _Atomic int room_calls;

static void
on_room(struct hc_file_waiter *waiter)
{
	(void)waiter;
	atomic_fetch_add(&room_calls, 1);
}

START_TEST(slow_disk_sheds_demotions_and_never_blocks)
{
	static struct hc_file_waiter waiter = {.fn = on_room};
	char owner[] = "kv", key[32];
	struct hc_file_record record = {.type = HC_FILE_VALUE,
	    .droppable = true,
	    .key = hc_slice(owner, 1),
	    .value = hc_slice(owner + 1, 1),
	    .expire_ms = HC_NO_EXPIRY};
	uint64_t mark;

	world_close(&world);
	world.config.queue_records = 256;
	reopen();
	world_slow(300000, 0);
	int64_t began_us = hc_clock_mono_us();
	for (int i = 0; i < 400; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put_str(&world, key, "v");
	}
	ck_assert_int_eq(hc_file_append(world.file, &record, owner, &mark), HC_LIMIT);
	ck_assert(!hc_file_claim(world.file, 1, 100));
	ck_assert_int_eq(hc_file_wait_room(world.file, &waiter), HC_PENDING);
	ck_assert_int_lt(hc_clock_mono_us() - began_us, 250000);
	ck_assert_uint_eq(world_stats(&world).shed, 1);
	world_slow(0, 0);
	ck_assert(world_sync(&world));
	for (int i = 0; i < 2000 && atomic_load(&room_calls) == 0; i++)
		sleep_ms(1);
	ck_assert_int_eq(atomic_load(&room_calls), 1);
	ck_assert(world_holds(&world, "key 399", "v"));
}
END_TEST

/* ---- reading ---- */

struct late_read {
	struct hc_file_read read;
	_Atomic int status; /* -1: not yet */
	char value[16];
};

static void
on_late_read(struct hc_file_read *read, enum hc_status status, const struct hc_file_value *value)
{
	struct late_read *late = (struct late_read *)(void *)read;

	if (status == HC_OK)
		snprintf(late->value, sizeof(late->value), "%.*s", (int)value->value.len, value->value.ptr);
	atomic_store(&late->status, (int)status);
}

static struct late_read
begin_late_read(const char *key)
{
	return (struct late_read){.read = {.key = hc_slice_str(key), .fn = on_late_read}, .status = -1};
}

static enum hc_status
end_late_read(struct late_read *late)
{
	for (int i = 0; i < 10000 && atomic_load(&late->status) < 0; i++)
		sleep_ms(1);
	return (enum hc_status)atomic_load(&late->status);
}

/* The record is on its way from the disk when the key changes: what is handed out is what the key has then. */
START_TEST(read_that_is_overtaken_by_a_change_sees_the_change)
{
	struct late_read overwritten = begin_late_read("overwritten"), deleted = begin_late_read("deleted");

	world_put_str(&world, "overwritten", "old");
	world_put_str(&world, "deleted", "old");
	ck_assert(world_sync(&world));
	world_slow(0, 1000000);
	hc_file_read(world.file, &overwritten.read);
	hc_file_read(world.file, &deleted.read);
	sleep_ms(30);
	world_put_str(&world, "overwritten", "new");
	world_delete(&world, "deleted", NULL);
	ck_assert_int_eq(end_late_read(&overwritten), HC_OK);
	ck_assert_str_eq(overwritten.value, "new");
	ck_assert_int_eq(end_late_read(&deleted), HC_MISS);
}
END_TEST

static int walked;

static void
count_item(void *arg, const struct hc_file_item *item)
{
	(void)arg;
	(void)item;
	walked++;
}

START_TEST(walk_meets_everything_once)
{
	uint64_t cursor = 0;
	char key[32];

	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		world_put_str(&world, key, "v");
	}
	walked = 0;
	do
		ck_assert_int_eq(hc_file_walk(world.file, &cursor, 10, 0, count_item, NULL), HC_OK);
	while (cursor != 0);
	ck_assert_int_eq(walked, 3000);
}
END_TEST

START_TEST(read_cached_answers_without_a_thread)
{
	struct hc_file_value value;
	char buf[4096];
	enum hc_status status;

	world_put_str(&world, "k", "value");
	ck_assert(world_sync(&world));
	status = hc_file_read_cached(world.file, HC_SLICE("k"), true, buf, sizeof(buf), &value);
	if (status != HC_PENDING) { /* tmpfs cannot tell */
		ck_assert_int_eq(status, HC_OK);
		ck_assert(hc_slice_eq(value.value, HC_SLICE("value")));
		ck_assert_uint_eq(value.version, 7);
		ck_assert_uint_eq(value.hits, 3);
	}
	ck_assert_int_eq(hc_file_read_cached(world.file, HC_SLICE("j"), true, buf, sizeof(buf), &value), HC_MISS);
	ck_assert_int_eq(hc_file_read_cached(world.file, HC_SLICE("k"), true, buf, 16, &value), HC_PENDING);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("file");
	TCase *tcase = tcase_create("file");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, append_is_found_and_read_at_once);
	tcase_add_test(tcase, overwrite_delete_expire_take_effect_at_once);
	tcase_add_test(tcase, restart_finds_it_all_again);
	tcase_add_test(tcase, kill_loses_nothing_that_was_written);
	tcase_add_test(tcase, clear_all_forgets_everything_for_good);
	tcase_add_test(tcase, stale_values_are_refused_and_delete_what_was_there);
	tcase_add_test(tcase, value_too_long_deletes_what_was_there);
	tcase_add_test(tcase, state_is_found_again);
	tcase_add_test(tcase, second_opener_is_told_who_has_it);
	tcase_add_test(tcase, foreign_files_are_left_alone);
	tcase_add_test(tcase, directory_of_a_newer_format_is_refused_untouched);
	tcase_add_test(tcase, damaged_tier_file_empties_the_directory);
	tcase_add_test(tcase, files_are_for_the_owner_alone);
	tcase_add_test(tcase, claims_bound_what_is_queued);
	tcase_add_test(tcase, slow_disk_sheds_demotions_and_never_blocks);
	tcase_add_test(tcase, read_that_is_overtaken_by_a_change_sees_the_change);
	tcase_add_test(tcase, walk_meets_everything_once);
	tcase_add_test(tcase, read_cached_answers_without_a_thread);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
