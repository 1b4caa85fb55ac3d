/*
 * Slabs: blocks of any size do not overlap, are used again, and give their pages back.
 */
#include "support.h"
#include "store/slab.h"

#define BLOCKS 20000

START_TEST(slab_blocks_in_random_order_keep_their_bytes)
{
	static struct {
		unsigned char *ptr;
		size_t size;
		unsigned char fill;
	} blocks[BLOCKS];
	struct rng rng = {test_seed()};

	for (unsigned n = 0; n < 300000; n++) {
		unsigned i = rng_below(&rng, BLOCKS);
		if (blocks[i].ptr != NULL) {
			must(blocks[i].ptr[0] == blocks[i].fill);
			must(blocks[i].ptr[blocks[i].size - 1] == blocks[i].fill);
			hc_slab_free(blocks[i].ptr, blocks[i].size);
		}
		blocks[i].size = 1 + rng_below(&rng, HC_SLAB_BLOCK_MAX + 20);
		blocks[i].fill = (unsigned char)n;
		blocks[i].ptr = hc_slab_alloc(blocks[i].size);
		must((uintptr_t)blocks[i].ptr % 16 == 0);
		must(hc_slab_footprint(blocks[i].ptr, blocks[i].size) >= blocks[i].size);
		memset(blocks[i].ptr, blocks[i].fill, blocks[i].size);
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (blocks[i].ptr != NULL)
			hc_slab_free(blocks[i].ptr, blocks[i].size);
	}
}
END_TEST

START_TEST(slab_memory_comes_back)
{
	enum { N = 400000 };
	void **blocks = calloc(N, sizeof(*blocks));
	size_t before = hc_mem_resident();

	for (unsigned i = 0; i < N; i++) {
		blocks[i] = hc_slab_alloc(112);
		memset(blocks[i], 1, 112);
	}
	size_t full = hc_mem_resident();
	must(full - before > (size_t)N * 112 * 9 / 10);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	must(full - before - N * sizeof(*blocks) < (size_t)N * 118);
#endif
	for (unsigned i = 0; i < N; i++)
		hc_slab_free(blocks[i], 112);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	must(full - hc_mem_resident() > (size_t)N * 112 * 9 / 10);
#endif
	free(blocks);
}
END_TEST

START_TEST(slab_alloc_fails_when_told_to)
{
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_slab_alloc(100));
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_slab_alloc(1000));
	hc_mem_fail_after(0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("slab");
	TCase *tcase = tcase_create("slab");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, slab_blocks_in_random_order_keep_their_bytes);
	tcase_add_test(tcase, slab_memory_comes_back);
	tcase_add_test(tcase, slab_alloc_fails_when_told_to);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
