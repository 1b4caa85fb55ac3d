/*
 * Large blocks that are kept: the pages come again without faults, no more is kept than may be, what is not used again
 * goes, and no two have the same bytes.
 */
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include "../support.h"
#include "base/large.h"
#include "base/mem.h"
#include "base/sanitizer.h"

#ifdef HC_ADDRESS_SANITIZER
#define KEEPS false
#else
#define KEEPS true
#endif
#ifdef HC_OTHER_SANITIZER
#define MOVES_PAGES false /* its realloc copies */
#else
#define MOVES_PAGES KEEPS
#endif

#define MAX ((size_t)4 << 20)
#define SIZE ((size_t)300 << 10)
#define BLOCKS 24

static void
set_up(void)
{
	hc_mem_tune();
	hc_large_set_max(MAX);
}

static void
tear_down(void)
{
	hc_large_set_max(0);
	must(hc_large_kept() == 0);
}

static long
faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* Valgrind's realloc copies, too. */
static bool
moves_pages(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return MOVES_PAGES && (preload == NULL || strstr(preload, "vgpreload") == NULL);
}

static void *
filled(size_t size)
{
	void *ptr = hc_large_alloc(size);

	must(ptr != NULL);
	must(hc_mem_usable(ptr) >= size);
	memset(ptr, 1, size);
	return ptr;
}

START_TEST(large_block_comes_again_with_its_pages)
{
	hc_large_free(filled(SIZE));
	must(hc_large_kept() >= SIZE || !KEEPS);
	long before = faults();
	for (unsigned i = 0; i < 100; i++)
		hc_large_free(filled(SIZE - i));
	must_msg(faults() - before < 200 || !KEEPS, "%ld faults", faults() - before);
}
END_TEST

START_TEST(large_block_of_another_size_brings_the_pages_it_has)
{
	hc_large_free(filled(SIZE));
	long before = faults();
	void *ptr = filled(SIZE + SIZE / 4);
	must_msg(faults() - before < (long)(SIZE / 2 / 4096) || !moves_pages(), "%ld faults", faults() - before);
	must(hc_large_kept() == 0);
	hc_large_free(ptr);
	ptr = filled(SIZE - SIZE / 4);
	must(hc_mem_usable(ptr) < SIZE || !KEEPS); /* what is too much goes */
	hc_large_free(ptr);
	hc_large_free(filled(SIZE * 4)); /* it is left for its like */
	must(hc_large_kept() > SIZE * 4 || !KEEPS);
}
END_TEST

START_TEST(large_buffer_takes_what_it_is_going_to_need)
{
	size_t small = 40 << 10, size = small;

	void *blocks[] = {filled(SIZE * 2), filled(SIZE), filled(small)};
	for (unsigned i = 0; i < 3; i++)
		hc_large_free(blocks[i]);
	void *ptr = hc_large_take(&size, SIZE - 100);
	must(ptr != NULL && ((size >= SIZE && size < SIZE * 2) || !KEEPS));
	memset(ptr, 2, size);
	size_t more = small;
	void *other = hc_large_take(&more, SIZE * 10); /* the largest there is */
	must(other != NULL && (more >= SIZE * 2 || !KEEPS));
	memset(other, 2, more);
	size_t least = 1000;
	void *tiny = hc_large_take(&least, 1000);
	must(tiny != NULL && least == 1000);
	hc_large_free(tiny);
	hc_large_free(ptr);
	hc_large_free(other);
}
END_TEST

START_TEST(large_no_more_is_kept_than_may_be)
{
	void *blocks[BLOCKS];

	for (unsigned i = 0; i < BLOCKS; i++)
		blocks[i] = filled(SIZE);
	for (unsigned i = 0; i < BLOCKS; i++) {
		hc_large_free(blocks[i]);
		must(hc_large_kept() <= MAX);
	}
	must(hc_large_kept() > MAX - 2 * SIZE || !KEEPS);
	hc_large_free(filled(2 * MAX));
	must(hc_large_kept() <= MAX);
	hc_large_set_max(SIZE + SIZE / 2);
	must(hc_large_kept() <= SIZE + SIZE / 2);
	hc_large_free(NULL);
	size_t before = hc_large_kept();
	hc_large_free(filled(HC_MEM_OWN_PAGES / 2));
	must(hc_large_kept() == before);
}
END_TEST

START_TEST(large_what_is_not_used_again_goes)
{
	hc_large_free(filled(SIZE));
	hc_large_free(filled(2 * SIZE));
	must(hc_large_age() == KEEPS);
	hc_large_free(filled(SIZE));
	must(hc_large_age() == KEEPS);
	must((hc_large_kept() >= SIZE && hc_large_kept() < 2 * SIZE) || !KEEPS);
	must(!hc_large_age());
	must(hc_large_kept() == 0);
}
END_TEST

/* Of many as large as one that comes and goes. */
START_TEST(large_what_is_not_used_goes_beside_what_is)
{
	void *blocks[10];

	for (unsigned i = 0; i < 10; i++)
		blocks[i] = filled(SIZE);
	for (unsigned i = 0; i < 10; i++)
		hc_large_free(blocks[i]);
	for (unsigned round = 0; round < 2; round++) {
		must(hc_large_age() == KEEPS);
		for (unsigned n = 0; n < 20; n++)
			hc_large_free(filled(SIZE));
	}
	must((hc_large_kept() >= SIZE && hc_large_kept() < 2 * SIZE) || !KEEPS);
}
END_TEST

START_TEST(large_one_far_larger_hides_none_that_would_do)
{
	void *far = filled(8 * SIZE), *near = filled(SIZE);

	hc_large_free(far);
	hc_large_free(near);
	void *ptr = filled(SIZE + SIZE / 4);
	must((hc_large_kept() >= 8 * SIZE && hc_large_kept() < 9 * SIZE) || !KEEPS);
	hc_large_free(ptr);
	size_t size = SIZE;
	ptr = hc_large_take(&size, 1000); /* what it has already wants as much */
	must((size > SIZE && size < 2 * SIZE) || !KEEPS);
	hc_large_free(ptr);
}
END_TEST

START_TEST(large_each_failing_allocation_is_survived)
{
	for (long k = 1; k <= 3; k++) {
		hc_large_free(filled(SIZE));
		hc_mem_fail_after(k);
		void *same = hc_large_alloc(SIZE);
		void *larger = hc_large_alloc(SIZE + SIZE / 2);
		size_t size = 1000;
		void *buffer = hc_large_take(&size, SIZE);
		hc_mem_fail_after(0);
		must((same == NULL) + (larger == NULL) + (buffer == NULL) == 1);
		hc_large_free(same);
		hc_large_free(larger);
		hc_large_free(buffer);
	}
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_large_alloc(SIZE));
}
END_TEST

/* Blocks of any size, each filled with its own byte, which nobody else writes. */
static void *
come_and_go(void *arg)
{
	struct rng rng = {*(uint64_t *)arg};
	struct {
		unsigned char *ptr, fill;
		size_t size;
	} own[8] = {{NULL, 0, 0}};

	for (unsigned n = 0; n < 4000; n++) {
		unsigned at = rng_below(&rng, 8);
		if (own[at].ptr != NULL) {
			must(own[at].ptr[0] == own[at].fill && own[at].ptr[own[at].size - 1] == own[at].fill);
			must(memcmp(own[at].ptr, own[at].ptr + 1, own[at].size - 1) == 0);
			hc_large_free(own[at].ptr);
		}
		size_t size = HC_MEM_OWN_PAGES / 2 + rng_below(&rng, 9 * HC_MEM_OWN_PAGES);
		own[at].size = size;
		own[at].fill = (unsigned char)rng_next(&rng);
		own[at].ptr =
		    rng_below(&rng, 2) == 0 ? hc_large_alloc(size) : hc_large_take(&own[at].size, size + size / 2);
		must(own[at].ptr != NULL && own[at].size >= size);
		memset(own[at].ptr, own[at].fill, own[at].size);
		if (rng_below(&rng, 200) == 0)
			(void)hc_large_age();
	}
	for (unsigned at = 0; at < 8; at++)
		hc_large_free(own[at].ptr);
	return NULL;
}

START_TEST(large_blocks_of_many_threads_are_each_ones_own)
{
	pthread_t threads[3];
	uint64_t seeds[3], seed = test_seed();

	for (unsigned i = 0; i < 3; i++) {
		seeds[i] = seed + i;
		must(pthread_create(&threads[i], NULL, come_and_go, &seeds[i]) == 0);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	must(hc_large_kept() <= MAX);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("large");
	TCase *tcase = tcase_create("large");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, large_block_comes_again_with_its_pages);
	tcase_add_test(tcase, large_block_of_another_size_brings_the_pages_it_has);
	tcase_add_test(tcase, large_buffer_takes_what_it_is_going_to_need);
	tcase_add_test(tcase, large_no_more_is_kept_than_may_be);
	tcase_add_test(tcase, large_what_is_not_used_again_goes);
	tcase_add_test(tcase, large_what_is_not_used_goes_beside_what_is);
	tcase_add_test(tcase, large_one_far_larger_hides_none_that_would_do);
	tcase_add_test(tcase, large_each_failing_allocation_is_survived);
	tcase_add_test(tcase, large_blocks_of_many_threads_are_each_ones_own);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
