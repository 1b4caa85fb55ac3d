/*
 * Appenders, readers, clears, reclaim and walks at once. A read that begins after an append has returned sees that
 * value or a newer one, or none; never an older one. For ThreadSanitizer, too.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "base/clock.h"
#include "tests/unit/support.h"
#include "tests/support/file_world.h"

#define KEYS 400
#define APPENDERS 3
#define READERS 3
#define RUN_MS 3000

static struct world world;
static _Atomic bool over;

static struct {
	pthread_mutex_t lock;       /* the caller's lock of the key */
	_Atomic uint32_t begun;     /* version of the last change that was begun … */
	_Atomic uint32_t committed; /* … and that was appended */
} keys[KEYS];

static void
key_name(uint32_t key, char buf[32])
{
	snprintf(buf, 32, "key number %u", key);
}

static uint32_t
key_model(uint32_t key)
{
	return key % 4;
}

static void
change(struct rng *rng, uint32_t key)
{
	char name[32];
	uint32_t value[600];
	uint64_t mark;

	key_name(key, name);
	pthread_mutex_lock(&keys[key].lock);
	uint32_t version = atomic_load(&keys[key].begun) + 1;
	atomic_store(&keys[key].begun, version);
	for (size_t i = 0; i < 600; i++)
		value[i] = version;
	uint32_t what = rng_below(rng, 10);
	if (what < 8)
		world_put(&world, name, value, 4 * (1 + rng_below(rng, 600)), HC_NO_EXPIRY, key_model(key), &mark);
	else
		world_delete(&world, name, &mark);
	atomic_store(&keys[key].committed, version);
	pthread_mutex_unlock(&keys[key].lock);
	if (rng_below(rng, 20) == 0)
		world_wait(&world, mark);
}

static void *
append_all_the_time(void *arg)
{
	struct rng rng = {(uint64_t)(uintptr_t)arg};

	while (!atomic_load(&over)) {
		uint32_t records = 1 + rng_below(&rng, 8);
		if (!hc_file_claim(world.file, records, records * 3000)) {
			world_sync(&world);
			continue;
		}
		for (uint32_t i = 0; i < records; i++)
			change(&rng, rng_below(&rng, KEYS));
		hc_file_unclaim(world.file, records, records * 3000);
		hc_file_kick(world.file);
	}
	return NULL;
}

static void
check_value(const struct world_value *got, uint32_t least, uint32_t most)
{
	for (size_t i = 0; i < got->len / 4; i++) {
		uint32_t version;
		memcpy(&version, got->bytes + 4 * i, 4);
		must_msg(version >= least && version <= most, "version %u, not within %u and %u", version, least, most);
	}
}

static void *
read_all_the_time(void *arg)
{
	struct rng rng = {(uint64_t)(uintptr_t)arg};
	char name[32];

	while (!atomic_load(&over)) {
		uint32_t key = rng_below(&rng, KEYS);
		struct world_value got;
		key_name(key, name);
		uint32_t least = atomic_load(&keys[key].committed);
		enum hc_status status = world_get(&world, name, &got);
		must(status == HC_OK || status == HC_MISS);
		if (status == HC_OK)
			check_value(&got, least, atomic_load(&keys[key].begun));
		free(got.bytes);
		if (rng_below(&rng, 3) == 0)
			hc_file_touch(world.file, hc_slice_str(name));
	}
	return NULL;
}

static void
ignore_item(void *arg, const struct hc_file_item *item)
{
	(void)arg;
	must(item->bytes >= 48);
}

static void *
meddle_all_the_time(void *arg)
{
	struct rng rng = {(uint64_t)(uintptr_t)arg};
	struct timespec pause = {0, 5000000};
	uint64_t cursor = 0;

	while (!atomic_load(&over)) {
		switch (rng_below(&rng, 8)) {
		case 0:
			world_wait(&world, world_clear_model(&world, rng_below(&rng, 4)));
			break;
		case 1:
			if (rng_below(&rng, 10) == 0)
				world_clear_all(&world);
			break;
		case 2:
			hc_file_set_state(world.file, &cursor, sizeof(cursor));
			break;
		default:
			must(hc_file_walk(world.file, &cursor, 50, hc_clock_wall_ms(), ignore_item, NULL) == HC_OK);
		}
		must(world_stats(&world).disk_bytes <= world.config.max_bytes);
		must(world_disk_bytes(&world) <= world.config.max_bytes);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void
run_threads(void)
{
	pthread_t threads[APPENDERS + READERS + 1];
	struct timespec run = {RUN_MS / 1000, RUN_MS % 1000 * 1000000L};
	size_t n = 0;

	atomic_store(&over, false);
	for (; n < APPENDERS; n++)
		pthread_create(&threads[n], NULL, append_all_the_time, (void *)(uintptr_t)(n + 1));
	for (; n < APPENDERS + READERS; n++)
		pthread_create(&threads[n], NULL, read_all_the_time, (void *)(uintptr_t)(n + 1));
	pthread_create(&threads[n++], NULL, meddle_all_the_time, (void *)(uintptr_t)99);
	nanosleep(&run, NULL);
	atomic_store(&over, true);
	while (n > 0)
		pthread_join(threads[--n], NULL);
}

/* All that is there is the last version. */
static void
check_all(void)
{
	char name[32];

	for (uint32_t key = 0; key < KEYS; key++) {
		struct world_value got;
		key_name(key, name);
		if (world_get(&world, name, &got) == HC_OK)
			check_value(&got, atomic_load(&keys[key].committed), atomic_load(&keys[key].committed));
		free(got.bytes);
	}
}

static void
prepare(uint64_t max_bytes)
{
	world_init(&world, max_bytes, 64 << 10);
	for (uint32_t i = 1; i < 4; i++) {
		char name[16];
		snprintf(name, sizeof(name), "m%u", i);
		world_model(&world, name);
	}
	for (uint32_t key = 0; key < KEYS; key++) {
		pthread_mutex_init(&keys[key].lock, NULL);
		atomic_store(&keys[key].begun, 0);
		atomic_store(&keys[key].committed, 0);
	}
	ck_assert_int_eq(world_open(&world, NULL), HC_OK);
}

START_TEST(threads_never_see_anything_older)
{
	prepare(12 * 64 << 10);
	run_threads();
	check_all();
	ck_assert_uint_gt(world_stats(&world).reclaimed, 5);
	ck_assert_uint_eq(world_stats(&world).damaged, 0);
	world_close(&world);
	ck_assert_int_eq(atomic_load(&world.owners), 0);
	ck_assert_int_eq(world_open(&world, NULL), HC_OK);
	ck_assert(world_loaded(&world));
	check_all();
	world_fini(&world);
}
END_TEST

/* The same while what an earlier run has left is being loaded, slowly. */
START_TEST(threads_beside_loading_never_see_anything_older)
{
	prepare(64 * 64 << 10);
	run_threads();
	world_close(&world);
	world_slow(0, 3000);
	ck_assert_int_eq(world_open(&world, NULL), HC_OK);
	run_threads();
	world_slow(0, 0);
	ck_assert(world_loaded(&world));
	check_all();
	world_close(&world);
	ck_assert_int_eq(atomic_load(&world.owners), 0);
	world_fini(&world);
}
END_TEST

/* … and while the disk fails now and then. */
START_TEST(threads_beside_faults_never_see_anything_older)
{
	prepare(12 * 64 << 10);
	world_close(&world);
	world.config.retry_ms = 10;
	ck_assert_int_eq(world_open(&world, NULL), HC_OK);
	for (int i = 0; i < 3; i++) {
		world_fail(WORLD_WRITE, 20, 1, 5 /* EIO; one may hit an index file, which is no fault */);
		run_threads();
		ck_assert(world_on(&world));
	}
	ck_assert_uint_ge(world_stats(&world).faults, 3);
	check_all();
	world_close(&world);
	ck_assert_int_eq(world_open(&world, NULL), HC_OK);
	ck_assert(world_loaded(&world));
	check_all();
	world_fini(&world);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("file_threads");
	TCase *tcase = tcase_create("file_threads");

	tcase_set_timeout(tcase, 180);
	tcase_add_test(tcase, threads_never_see_anything_older);
	tcase_add_test(tcase, threads_beside_loading_never_see_anything_older);
	tcase_add_test(tcase, threads_beside_faults_never_see_anything_older);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
