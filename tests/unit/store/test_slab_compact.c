/*
 * Compaction of slabs, against a model: holes are closed and their pages given back, what may not be moved stays where
 * it is, and no byte is lost, whatever other threads do meanwhile.
 */
#include "slab_blocks.h"

#define THREADS 3

/* One in eight stays: without compaction, no slab would come free. */
START_TEST(slab_compaction_closes_holes)
{
	size_t size = some_sizes[_i] + 100;
	struct rng rng = {test_seed()};

	for (unsigned i = 0; i < BLOCKS; i++)
		make(&blocks[i], size, i);
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (rng_below(&rng, 8) > 0)
			drop(&blocks[i]);
	}
	uint64_t sparse = resident();
	compact(NULL);
	struct hc_slab_usage usage;
	hc_slab_usage(&usage);
	must_msg(usage.resident < usage.live + usage.live / 3 + (64 << 10), "%lu of %lu, were %lu",
	    (unsigned long)usage.live, (unsigned long)usage.resident, (unsigned long)sparse);
	must(live() == footprints());
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (blocks[i].content != NULL)
			check_block(&blocks[i]);
	}
	drop_all();
}
END_TEST

/* What a step costs is what it says: taking pages out of memory, far more than copying a block. */
START_TEST(slab_compaction_tells_the_work_of_giving_pages_back)
{
	const struct hc_slab_mover mover = {pin, move, NULL};
	struct hc_slab_compaction compaction = {0};
	size_t size = some_sizes[_i];
	unsigned times = 0;

	for (unsigned i = 0; i < BLOCKS; i++)
		make(&blocks[i], size, i);
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (i % 40 != 0)
			drop(&blocks[i]);
	}
	for (size_t work = 1; work > 0;) {
		uint64_t before = compaction.gained;
		work = hc_slab_compact(&compaction, &mover);
		must_msg(compaction.gained == before || work > 8192, "%zu for %lu bytes", work,
		    (unsigned long)(compaction.gained - before));
		times += compaction.gained > before;
	}
	must(times > 2 || size > HC_SLAB_BLOCK_MAX);
	drop_all();
}
END_TEST

START_TEST(slab_compaction_while_sizes_change_keeps_all_bytes)
{
	struct rng rng = {test_seed()};
	unsigned refused = 0;
	size_t size = 0;

	for (unsigned n = 0; n < 60000; n++) {
		if (n % 5000 == 0)
			size = draw_size(&rng);
		struct block *block = &blocks[rng_below(&rng, BLOCKS)];
		drop(block);
		make(block, rng_below(&rng, 10) > 0 ? size : draw_size(&rng), n);
		if (rng_below(&rng, 500) == 0)
			drop(&blocks[rng_below(&rng, BLOCKS)]);
		if (n % 1000 == 0) {
			compact(n % 3000 == 0 ? &refused : NULL);
			must(live() == footprints());
		}
	}
	drop_all();
	must(live() == 0);
}
END_TEST

/* What is pinned, or being written, is where it was. */
START_TEST(slab_compaction_leaves_alone_what_it_may_not_move)
{
	static struct content *where[BLOCKS];

	for (unsigned i = 0; i < BLOCKS; i++) {
		make(&blocks[i], 300, i);
		where[i] = blocks[i].content;
		if (i % 7 == 0)
			atomic_store(&where[i]->word, 3);
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (i % 7 != 0 && i % 5 != 0)
			drop(&blocks[i]);
	}
	compact(NULL);
	for (unsigned i = 0; i < BLOCKS; i += 7)
		must(blocks[i].content == where[i]);
	drop_all();
}
END_TEST

/* ---- threads ---- */

static _Atomic bool over;

/* Puts the block in its place. Returns what was there, or, when that is being moved, the block again. */
static struct block
swap(unsigned at, struct block block)
{
	pthread_mutex_lock(&lock);
	struct block old = blocks[at];
	uint64_t word = 1;
	if (old.content == NULL || atomic_compare_exchange_strong(&old.content->word, &word, 3)) {
		blocks[at] = block;
		atomic_store(&block.content->word, 1);
	} else {
		old = block;
	}
	pthread_mutex_unlock(&lock);
	return old;
}

/* Each has its own part of blocks[]. */
static void *
churn(void *arg)
{
	unsigned first = (unsigned)(uintptr_t)arg * (BLOCKS / THREADS);
	struct rng rng = {first + 1};

	for (unsigned n = 0; n < 30000; n++) {
		unsigned at = first + rng_below(&rng, BLOCKS / THREADS);
		size_t size = rng_below(&rng, 4) > 0 ? 200 : draw_size(&rng) / 4 + 48;
		struct block old = swap(at, prepare(at, size, n));
		if (old.content == NULL)
			continue;
		must(old.content->at == at);
		atomic_store(&old.content->word, 0);
		hc_slab_free(old.content, old.size);
	}
	return NULL;
}

static void *
compact_all_the_time(void *arg)
{
	(void)arg;
	while (!atomic_load(&over))
		compact(NULL);
	return NULL;
}

START_TEST(slab_threads_and_compaction_at_once_keep_all_bytes)
{
	pthread_t threads[THREADS], compactor;

	must(pthread_create(&compactor, NULL, compact_all_the_time, NULL) == 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		must(pthread_create(&threads[i], NULL, churn, (void *)i) == 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&over, true);
	pthread_join(compactor, NULL);
	must(live() == footprints());
	drop_all();
	must(live() == 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("slab_compact");
	TCase *tcase = tcase_create("slab_compact");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_add_loop_test(tcase, slab_compaction_closes_holes, 0, SOME_SIZES);
	tcase_add_loop_test(tcase, slab_compaction_tells_the_work_of_giving_pages_back, 0, SOME_SIZES);
	tcase_add_test(tcase, slab_compaction_while_sizes_change_keeps_all_bytes);
	tcase_add_test(tcase, slab_compaction_leaves_alone_what_it_may_not_move);
	tcase_add_test(tcase, slab_threads_and_compaction_at_once_keep_all_bytes);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
