/*
 * The outage list's file: what it gives back after an end at any byte, with any byte wrong, and after it was written
 * anew; and that waiting for it ends.
 */
#include "core/outage_log.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../store/support.h"
#include "base/log.h"

#define PATIENCE_MS 10000

static struct hc_store *store;
static struct hc_outage *outage;
static char dir[64], path[128];

/* What was read, as text. */
static char told[1 << 16];
static size_t told_len;

static enum hc_status
tell(void *arg, const struct hc_outage_record *record)
{
	(void)arg;
	if (record->type == HC_OUTAGE_RECORD_INSTANCE)
		return HC_OK;
	told_len += (size_t)snprintf(told + told_len, sizeof(told) - told_len, "%d %.*s %.*s %zu %u %lld %llu;",
	    (int)record->type, (int)record->key.len, record->key.ptr, (int)record->model.len, record->model.ptr,
	    record->value.len, record->epoch, (long long)record->expire_ms, (unsigned long long)record->since.heard);
	for (size_t i = 0; i < record->value.len; i++)
		must(record->value.ptr[i] == 'v');
	return HC_OK;
}

static struct hc_outage_log *
open_log(void)
{
	struct hc_outage_log *log;

	told_len = 0;
	told[0] = '\0';
	must(hc_outage_log_open(dir, false, tell, NULL, &log) == HC_OK);
	return log;
}

static struct hc_outage_log *
start_log(void)
{
	struct hc_outage_log *log = open_log();

	must(hc_outage_log_start(log, outage, hc_store_models(store), HC_SLICE("me")) == HC_OK);
	hc_outage_set_log(outage, log);
	return log;
}

static void
add_value(const char *key, size_t len, uint64_t heard)
{
	struct hc_entry *entry = hc_entry_create(store, key_str(key), len, HC_MODEL_DEFAULT);
	const struct hc_outage_limits max = {1000, 1 << 30};
	const struct hc_outage_value value = {
	    .entry = entry, .expire_ms = 7777, .since = {.life = 1, .incarnation = 2, .heard = heard}};

	memset(hc_entry_value_ptr(entry), 'v', len);
	must(hc_outage_add_value(outage, key_str(key), &value, &max) == HC_OK);
	hc_entry_unref(entry);
}

/* A moment of the patience that ends then. */
static void
wait_a_moment(int64_t until_ms)
{
	must(hc_clock_mono_ms() < until_ms);
	usleep(100);
}

static void
wait_written(struct hc_outage_log *log)
{
	int64_t until_ms = hc_clock_mono_ms() + PATIENCE_MS;

	while (hc_outage_log_written(log) < hc_outage_log_mark())
		wait_a_moment(until_ms);
}

static size_t
file_bytes(void)
{
	struct stat st;

	must(stat(path, &st) == 0);
	return (size_t)st.st_size;
}

static void
set_up(void)
{
	hc_log_set_level(HC_LOG_ERROR);
	snprintf(dir, sizeof(dir), "/tmp/harcad-outage-XXXXXX");
	must(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/outage.log", dir);
	store = store_with(64 << 20, 1, true);
	must(hc_outage_create(hc_store_models(store), &outage) == HC_OK);
}

static void
tear_down(void)
{
	hc_outage_destroy(outage);
	hc_store_destroy(store);
	unlink(path);
	must(rmdir(dir) == 0);
}

static ino_t
file_number(void)
{
	struct stat st;

	must(stat(path, &st) == 0);
	return st.st_ino;
}

/* Some of each, written and closed. */
static void
fill(void)
{
	struct hc_outage_log *log = start_log();

	add_value("one", 10, 5);
	add_value("two", 0, 6);
	must(hc_outage_add_key(outage, key_str("gone"), 10) == HC_OK);
	must(hc_outage_add_model(outage, HC_MODEL_DEFAULT, 0) == HC_OK);
	hc_outage_forget_key(outage, key_str("two"), hc_outage_mark(outage));
	must(hc_outage_log_mark() > 0);
	wait_written(log);
	hc_outage_set_log(outage, NULL);
	hc_outage_log_close(log);
}

static const char all_told[] = "2 one default 10 0 7777 5;2 two default 0 0 7777 6;3 gone  0 0 0 0;5  default 0 0 0 0;"
			       "4 two  0 0 0 0;";

START_TEST(outage_log_gives_back_what_was_appended)
{
	fill();
	hc_outage_log_close(open_log());
	ck_assert_str_eq(told, all_told);
}
END_TEST

START_TEST(outage_log_that_ends_at_any_byte_gives_back_what_is_whole)
{
	fill();
	for (size_t len = file_bytes(); len-- > 0;) {
		must(truncate(path, (off_t)len) == 0);
		hc_outage_log_close(open_log());
		must(strncmp(told, all_told, told_len) == 0);
		must(told_len == 0 || told[told_len - 1] == ';');
		must(file_bytes() <= len);
		len = file_bytes() < len ? file_bytes() : len;
	}
	must(told_len == 0);
}
END_TEST

START_TEST(outage_log_with_any_byte_wrong_gives_back_what_is_before_it)
{
	static char whole[4096];

	fill();
	size_t len = file_bytes();
	int fd = open(path, O_RDONLY);
	must(len < sizeof(whole) && read(fd, whole, len) == (ssize_t)len);
	close(fd);
	for (size_t i = 0; i < len; i++) {
		whole[i] ^= 0x10;
		fd = open(path, O_WRONLY | O_TRUNC);
		must(write(fd, whole, len) == (ssize_t)len);
		close(fd);
		whole[i] ^= 0x10;
		hc_outage_log_close(open_log());
		must(told_len < strlen(all_told) && strncmp(told, all_told, told_len) == 0);
	}
}
END_TEST

START_TEST(outage_log_is_empty_once_the_list_is)
{
	struct hc_outage_log *log = start_log();

	add_value("one", 1000, 5);
	wait_written(log);
	must(file_bytes() > 1000);
	hc_outage_forget_key(outage, key_str("one"), hc_outage_mark(outage));
	hc_outage_set_log(outage, NULL);
	hc_outage_log_close(log);
	must(file_bytes() == 0);
}
END_TEST

START_TEST(outage_log_that_has_grown_is_written_anew_from_the_list)
{
	struct hc_outage_log *log = start_log();

	add_value("kept", 10, 1);
	for (unsigned i = 0; i < 200; i++) {
		add_value("hot", 200000 + i, i);
		wait_written(log);
	}
	must(hc_outage_add_key(outage, key_str("gone"), 10) == HC_OK);
	hc_outage_set_log(outage, NULL);
	hc_outage_log_close(log);
	must(file_bytes() < (size_t)20 << 20);
	hc_outage_log_close(open_log());
	must(strstr(told, " kept ") != NULL && strstr(told, " gone ") != NULL);
	const char *last = NULL;
	for (const char *at = told; (at = strstr(at, "2 hot ")) != NULL; at++)
		last = at;
	must(last != NULL && strncmp(last, "2 hot default 200199 0 7777 199;", 32) == 0);
}
END_TEST

static _Atomic unsigned reached;

static void
on_reached(struct hc_file_waiter *waiter)
{
	(void)waiter;
	atomic_fetch_add(&reached, 1);
}

START_TEST(outage_log_waiting_ends_when_it_is_written_or_given_up)
{
	struct hc_outage_log *log = start_log();
	struct hc_file_waiter waiters[100] = {0};
	unsigned pending = 0;

	atomic_store(&reached, 0);
	for (unsigned i = 0; i < 100; i++) {
		add_value(i % 2 == 0 ? "a" : "b", 100, i);
		waiters[i].fn = on_reached;
		if (i % 10 == 9) /* the list is empty, and the file is: what was appended counts as written */
			hc_outage_forget_key(outage, key_str("a"), hc_outage_mark(outage)),
			    hc_outage_forget_key(outage, key_str("b"), hc_outage_mark(outage));
		pending += hc_outage_log_wait(log, hc_outage_log_mark(), &waiters[i]) == HC_PENDING;
	}
	int64_t until_ms = hc_clock_mono_ms() + PATIENCE_MS;
	while (atomic_load(&reached) < pending)
		wait_a_moment(until_ms);
	hc_outage_set_log(outage, NULL);
	hc_outage_log_close(log);
	must(atomic_load(&reached) == pending);
}
END_TEST

/* The system's limit stands for a full disk. */
static void
limit_files(rlim_t bytes)
{
	const struct rlimit limit = {bytes, RLIM_INFINITY};

	must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

START_TEST(outage_log_that_cannot_be_written_tells_nothing_rather_than_half)
{
	struct hc_outage_log *log;

	signal(SIGXFSZ, SIG_IGN);
	log = start_log();
	add_value("one", 100, 1);
	wait_written(log);
	limit_files(1000);
	add_value("two", 2000, 2);
	wait_written(log);
	must(file_bytes() == 0);
	add_value("three", 10, 3);
	wait_written(log);
	must(file_bytes() == 0);
	/* With nothing left to tell it is worth another try. */
	limit_files(RLIM_INFINITY);
	hc_outage_forget_key(outage, key_str("one"), hc_outage_mark(outage));
	hc_outage_forget_key(outage, key_str("two"), hc_outage_mark(outage));
	hc_outage_forget_key(outage, key_str("three"), hc_outage_mark(outage));
	add_value("four", 10, 4);
	hc_outage_set_log(outage, NULL);
	hc_outage_log_close(log);
	hc_outage_log_close(open_log());
	ck_assert_str_eq(told, "2 four default 10 0 7777 4;");
}
END_TEST

/* They have no values to be counted by. */
START_TEST(outage_log_of_many_deletions_is_not_written_anew_each_time)
{
	struct hc_outage_log *log = start_log();
	unsigned anew = 0;
	ino_t number = 0;

	for (unsigned i = 0; i < 200000; i++) {
		char name[80];
		snprintf(name, sizeof(name), "%070u", i);
		must(hc_outage_add_key(outage, key_str(name), UINT64_MAX) == HC_OK);
		if (i % 100 != 0)
			continue;
		wait_written(log);
		anew += number != 0 && file_number() != number;
		number = file_number();
	}
	ck_assert_uint_gt(file_bytes(), 20 << 20);
	ck_assert_uint_le(anew, 2);
	hc_outage_set_log(outage, NULL);
	hc_outage_log_close(log);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("outage_log");
	TCase *tcase = tcase_create("outage_log");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, outage_log_gives_back_what_was_appended);
	tcase_add_test(tcase, outage_log_that_ends_at_any_byte_gives_back_what_is_whole);
	tcase_add_test(tcase, outage_log_with_any_byte_wrong_gives_back_what_is_before_it);
	tcase_add_test(tcase, outage_log_is_empty_once_the_list_is);
	tcase_add_test(tcase, outage_log_that_has_grown_is_written_anew_from_the_list);
	tcase_add_test(tcase, outage_log_of_many_deletions_is_not_written_anew_each_time);
	tcase_add_test(tcase, outage_log_waiting_ends_when_it_is_written_or_given_up);
	tcase_add_test(tcase, outage_log_that_cannot_be_written_tells_nothing_rather_than_half);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
