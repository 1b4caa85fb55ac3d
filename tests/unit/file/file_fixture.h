/*
 * What the tests of file/file.h share: a tier in a directory of each test's own, opened, restarted and killed.
 */
#ifndef HC_TESTS_FILE_FIXTURE_H
#define HC_TESTS_FILE_FIXTURE_H

#include <stdatomic.h>
#include <unistd.h>
#include "tests/unit/support.h"
#include "tests/support/file_world.h"

#define SEGMENT (64u << 10)
#define MAX_BYTES (32u * SEGMENT)

static struct world world;

static inline void
setup(void)
{
	world_init(&world, MAX_BYTES, SEGMENT);
	ck_assert_int_eq(world_open(&world, NULL), HC_OK);
}

static inline void
teardown(void)
{
	world_close(&world);
	ck_assert_int_eq(atomic_load(&world.owners), 0);
	world_fini(&world);
}

static inline void
reopen(void)
{
	ck_assert_int_eq(world_open(&world, NULL), HC_OK);
	ck_assert(world_loaded(&world));
}

static inline void
restart(void)
{
	world_restart(&world);
	reopen();
}

static inline void
kill_and_open(void)
{
	ck_assert(world_sync(&world));
	world_kill(&world);
	reopen();
}

static inline void
sleep_ms(long ms)
{
	usleep((useconds_t)ms * 1000);
}

#endif
