/*
 * Slabs, against a model: blocks of any size do not overlap, are used again, and give their pages back; what
 * hc_slab_usage() says is what the process takes. Under the sanitizers too: the slabs are switched on, and freed blocks
 * are poisoned.
 */
#include <sys/resource.h>
#include "slab_blocks.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

START_TEST(slab_blocks_in_random_order_keep_their_bytes)
{
	struct rng rng = {test_seed()};

	for (unsigned n = 0; n < 60000; n++) {
		struct block *block = &blocks[rng_below(&rng, BLOCKS)];
		drop(block);
		if (rng_below(&rng, 4) > 0)
			make(block, draw_size(&rng), n);
		if (n % 4000 == 0)
			must(live() == footprints());
	}
	drop_all();
	must(live() == 0);
}
END_TEST

START_TEST(slab_every_size_fits_its_block)
{
	for (size_t size = sizeof(struct content); size <= HC_SLAB_BLOCK_MAX + 100; size += 1 + size / 200) {
		make(&blocks[0], size, (uint32_t)size);
		make(&blocks[1], size, (uint32_t)size + 1);
		drop(&blocks[0]);
		drop(&blocks[1]);
	}
}
END_TEST

static unsigned
free_all(const struct hc_slab_block many[], unsigned n)
{
	hc_slab_free_many(many, n);
	return 0;
}

/* Whichever are freed last, the process has the memory back; and takes what the slabs say meanwhile. One by one, and
 * many at once. */
START_TEST(slab_memory_comes_back)
{
	size_t size = some_sizes[_i / 2];
	struct hc_slab_block many[HC_SLAB_MANY];
	unsigned n_many = 0;
	uint32_t n = (uint32_t)((size_t)(40 << 20) / size);
	void **all = calloc(n, sizeof(*all));
	struct rng rng = {test_seed()};

	memset(all, 1, n * sizeof(*all));
	size_t before = hc_mem_resident();
	for (uint32_t i = 0; i < n; i++) {
		all[i] = hc_slab_alloc(size);
		must(all[i] != NULL);
		memset(all[i], 1, size);
	}
	size_t full = hc_mem_resident() - before;
	must(SANITIZED || full > (size_t)n * size);
	must(SANITIZED || full < (size_t)n * (size + size / 32 + 16) + (2 << 20));
	must(SANITIZED || (full < resident() + (1 << 20) && resident() < full + (1 << 20)));
	for (uint32_t i = n; i > 0; i--) {
		uint32_t at = rng_below(&rng, i);
		memset(all[at], 0, size);
		many[n_many++] = (struct hc_slab_block){all[at], size};
		all[at] = all[i - 1];
		if (_i % 2 == 0)
			hc_slab_free(many[--n_many].ptr, size);
		else if (n_many == HC_SLAB_MANY || i == 1)
			n_many = free_all(many, n_many);
	}
	must(resident() < 1 << 20);
	must(SANITIZED || hc_mem_resident() - before < 2 << 20);
	free(all);
}
END_TEST

static void *
keep_a_spare(void *arg)
{
	void **freed = arg, *block = hc_slab_alloc(100);

	hc_slab_free(block, 100);
	*freed = hc_slab_alloc(100);
	must(SANITIZED || *freed == block);
	hc_slab_free(*freed, 100);
	return NULL;
}

/* What a thread has freed last is at hand for it, and no other; and goes when it ends, or asks. */
START_TEST(slab_spare_block_is_its_threads_own)
{
	struct hc_slab_usage before, after;
	void *freed, *block = hc_slab_alloc(100);
	pthread_t thread;

	hc_slab_usage(&before);
	must(pthread_create(&thread, NULL, keep_a_spare, &freed) == 0);
	must(pthread_join(thread, NULL) == 0);
	must(freed != block);
	hc_slab_usage(&after);
	ck_assert_uint_eq(after.live, before.live);
	hc_slab_free(block, 100);
	hc_slab_usage(&after);
	ck_assert_uint_lt(after.live, before.live);
}
END_TEST

/* Of several sizes in any order, some too large for slabs: as if each was freed alone. */
START_TEST(slab_many_freed_at_once_give_their_memory_back)
{
	struct rng rng = {test_seed()};

	for (unsigned round = 0; round < 200; round++) {
		struct hc_slab_block many[HC_SLAB_MANY];
		unsigned n = 1 + rng_below(&rng, HC_SLAB_MANY);
		for (unsigned at = 0; at < BLOCKS; at++) {
			if (blocks[at].content == NULL)
				make(&blocks[at], rng_below(&rng, 3) > 0 ? 104 : draw_size(&rng), round);
		}
		for (unsigned i = 0, at = rng_below(&rng, BLOCKS); i < n; i++, at = (at + 1) % BLOCKS) {
			check_block(&blocks[at]);
			atomic_store(&blocks[at].content->word, 0);
			many[i] = (struct hc_slab_block){blocks[at].content, blocks[at].size};
			blocks[at].content = NULL;
		}
		hc_slab_free_many(many, n);
		must(live() == footprints());
	}
	for (unsigned at = 0; at < BLOCKS; at += HC_SLAB_MANY / 2) {
		struct hc_slab_block many[HC_SLAB_MANY];
		unsigned n = 0;
		for (unsigned i = at; i < BLOCKS && i < at + HC_SLAB_MANY / 2; i++) {
			if (blocks[i].content == NULL)
				continue;
			atomic_store(&blocks[i].content->word, 0);
			many[n++] = (struct hc_slab_block){blocks[i].content, blocks[i].size};
			blocks[i].content = NULL;
		}
		hc_slab_free_many(many, n);
	}
	must(live() == 0);
	must(resident() < 320 * 2 * (64 << 10)); /* of each class a slab may stay */
}
END_TEST

/* ---- visiting ---- */

static unsigned met[BLOCKS];

static void
meet(void *arg, void *block)
{
	const struct content *content = block;

	(void)arg;
	if (atomic_load(&content->word) != 0)
		met[content->at]++;
}

/* Those that are there all the time once, whatever else comes and goes; without that, no others. */
START_TEST(slab_visit_meets_each_block_in_use_once)
{
	struct rng rng = {test_seed()};

	for (unsigned round = 0; round < 20; round++) {
		struct hc_slab_visit visit = {0};
		for (unsigned i = 0; i < BLOCKS; i++) {
			drop(&blocks[i]);
			if (rng_below(&rng, 8) > 0)
				make(&blocks[i], rng_below(&rng, 2) > 0 ? 100 : draw_size(&rng), i);
		}
		memset(met, 0, sizeof(met));
		while (hc_slab_visit(&visit, 1 + rng_below(&rng, 300), meet, NULL)) {
			for (unsigned n = round % 2 == 0 ? 0 : rng_below(&rng, 20); n > 0; n--) {
				struct block *block = &blocks[BLOCKS / 2 + rng_below(&rng, BLOCKS / 2)];
				if (block->content != NULL)
					drop(block);
				else
					make(block, rng_below(&rng, 2) > 0 ? 100 : draw_size(&rng), n);
			}
		}
		for (unsigned i = 0; i < (round % 2 == 0 ? BLOCKS : BLOCKS / 2); i++) {
			bool in_slab = blocks[i].content != NULL && blocks[i].size <= HC_SLAB_BLOCK_MAX;
			must_msg(met[i] == in_slab, "round %u: %u met %u times", round, i, met[i]);
		}
	}
	drop_all();
}
END_TEST

/* The slab that a visit has come to goes, and others in its place: what is left is met all the same. */
START_TEST(slab_visit_goes_on_when_its_slab_has_gone)
{
	struct hc_slab_visit visit = {0};

	for (unsigned i = 0; i < BLOCKS; i++)
		make(&blocks[i], 2000, i);
	memset(met, 0, sizeof(met));
	must(hc_slab_visit(&visit, 10, meet, NULL));
	for (unsigned i = 200; i < BLOCKS; i++) /* the last ones are in the newest slab */
		drop(&blocks[i]);
	for (unsigned i = 200; i < BLOCKS; i++)
		make(&blocks[i], 3000, i);
	memset(met, 0, sizeof(met));
	while (hc_slab_visit(&visit, 10, meet, NULL))
		continue;
	for (unsigned i = 0; i < BLOCKS; i++)
		must_msg(met[i] == 1 || (i >= 100 && i < 200), "%u met %u times", i, met[i]);
	drop_all();
}
END_TEST

/* ---- plain blocks ---- */

START_TEST(slab_plain_blocks_are_nobodys_to_visit_and_give_their_memory_back)
{
	enum { N = 100000 };
	size_t size = ((size_t)_i + 1) * HC_SLAB_PLAIN;
	char **all = calloc(N, sizeof(*all));
	struct hc_slab_visit visit = {0};

	memset(met, 0, sizeof(met));
	size_t before = hc_mem_resident();
	for (unsigned i = 0; i < N; i++) {
		all[i] = hc_slab_alloc_plain(size);
		must(all[i] != NULL && (uintptr_t)all[i] % (SANITIZED ? HC_SLAB_ALIGN : HC_SLAB_PLAIN) == 0);
		memset(all[i], 1, size);
	}
	must(live() == 0);
	while (hc_slab_visit(&visit, 1000, meet, NULL))
		continue;
	compact(NULL);
	for (unsigned i = 0; i < BLOCKS; i++)
		must(met[i] == 0);
	for (unsigned i = 0; i < N; i++) {
		must(all[i][0] == 1 && memcmp(all[i], all[i] + 1, size - 1) == 0);
		hc_slab_free_plain(all[i]);
	}
	must(SANITIZED || hc_mem_resident() - before < 2 << 20);
	hc_slab_free_plain(NULL);
	free(all);
}
END_TEST

/* Those of one length, some lists longer than others, a few at a time: each once, and no more than were asked for. */
START_TEST(slab_lists_of_plain_blocks_are_freed_in_turn)
{
	enum { LISTS = 9, LONGEST = 8000 };
	void *lists[LISTS] = {NULL};
	unsigned lengths[LISTS], rounds = 0;
	size_t before = hc_mem_resident();

	for (unsigned i = 0; i < LISTS; i++) {
		lengths[i] = i == 3 ? 0 : LONGEST / (i + 1);
		for (unsigned n = 0; n < lengths[i]; n++) {
			void **block = hc_slab_alloc_plain(2 * HC_SLAB_PLAIN);
			*block = lists[i];
			lists[i] = block;
		}
	}
	for (bool more = true; more; rounds++) {
		more = hc_slab_free_plain_lists(lists, LISTS, 7);
		for (unsigned i = 0; i < LISTS; i++)
			must((lists[i] == NULL) == (7 * (rounds + 1) >= lengths[i]));
	}
	ck_assert_uint_eq(rounds, (LONGEST + 6) / 7);
	must(!hc_slab_free_plain_lists(lists, LISTS, 1) && !hc_slab_free_plain_lists(lists, 0, 1));
	must(SANITIZED || hc_mem_resident() - before < 1 << 20);
}
END_TEST

START_TEST(slab_alloc_fails_when_told_to)
{
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_slab_alloc(100));
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_slab_alloc(1000));
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_slab_alloc(HC_SLAB_BLOCK_MAX + 1));
	hc_mem_fail_after(1);
	ck_assert_ptr_null(hc_slab_alloc_plain(HC_SLAB_PLAIN));
	hc_mem_fail_after(0);
}
END_TEST

/* The kernel gives no more: NULL, and all goes on with what there is. */
START_TEST(slab_alloc_without_address_space_fails_softly)
{
	struct rlimit old, none = {64 << 20, 64 << 20};
	enum { SIZE = 60000 };
	unsigned n = 0;

	if (SANITIZED)
		return;
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &old), 0);
	none.rlim_max = old.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
	while (n < BLOCKS && (blocks[n].content = hc_slab_alloc(SIZE)) != NULL) {
		memset(blocks[n].content, 0, SIZE);
		n++;
	}
	must(n < BLOCKS);
	for (unsigned i = 0; i < n; i++)
		hc_slab_free(blocks[i].content, SIZE);
	for (unsigned i = 0; i < n; i++) {
		blocks[i].content = hc_slab_alloc(SIZE / 3);
		must(blocks[i].content != NULL);
	}
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &old), 0);
	for (unsigned i = 0; i < n; i++) {
		hc_slab_free(blocks[i].content, SIZE / 3);
		blocks[i].content = NULL;
	}
	must(live() == 0);
}
END_TEST

#ifdef __SANITIZE_ADDRESS__
START_TEST(slab_freed_and_unused_bytes_are_poisoned)
{
	char *block = hc_slab_alloc(104), *other = hc_slab_alloc(112);

	must(!__asan_address_is_poisoned(block) && !__asan_address_is_poisoned(block + 103));
	must(__asan_address_is_poisoned(block + 104));
	memset(block, 0, 104);
	memset(other, 0, 112);
	hc_slab_free(block, 104);
	must(__asan_address_is_poisoned(block) && __asan_address_is_poisoned(block + 103));
	must(!__asan_address_is_poisoned(other));
	hc_slab_free(other, 112);
	must(__asan_address_is_poisoned(other));
}
END_TEST
#endif

int
main(void)
{
	Suite *suite = suite_create("slab");
	TCase *tcase = tcase_create("slab");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_add_test(tcase, slab_blocks_in_random_order_keep_their_bytes);
	tcase_add_test(tcase, slab_every_size_fits_its_block);
	tcase_add_test(tcase, slab_spare_block_is_its_threads_own);
	tcase_add_test(tcase, slab_many_freed_at_once_give_their_memory_back);
	tcase_add_loop_test(tcase, slab_memory_comes_back, 0, 2 * SOME_SIZES);
	tcase_add_test(tcase, slab_visit_meets_each_block_in_use_once);
	tcase_add_test(tcase, slab_visit_goes_on_when_its_slab_has_gone);
	tcase_add_loop_test(
	    tcase, slab_plain_blocks_are_nobodys_to_visit_and_give_their_memory_back, 0, HC_SLAB_PLAINS);
	tcase_add_test(tcase, slab_lists_of_plain_blocks_are_freed_in_turn);
	tcase_add_test(tcase, slab_alloc_fails_when_told_to);
	tcase_add_test(tcase, slab_alloc_without_address_space_fails_softly);
#ifdef __SANITIZE_ADDRESS__
	tcase_add_test(tcase, slab_freed_and_unused_bytes_are_poisoned);
#endif
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
