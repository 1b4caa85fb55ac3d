/*
 * What is under way, and what of it is overtaken; also with each allocation failing.
 */
#include "core/write_private.h"

#include "../store/support.h"

#define KEYS 3u

static struct hc_core_worker worker;
static struct hc_op ops[2 * KEYS];

/* Of the keys from that on, each once, all begun; the ops are those from `first` on. */
static struct hc_batch *
batch_of(unsigned key, unsigned first)
{
	static const char *const names[] = {"a", "b", "c"};
	struct hc_batch *batch = hc_core_batch_create(&worker);

	must(batch != NULL && hc_core_batch_reserve(batch, KEYS));
	for (unsigned i = 0; key + i < KEYS; i++) {
		struct hc_op *op = &ops[first + i];
		*op = (struct hc_op){.kind = HC_OP_SET, .key = key_str(names[key + i]), .begun = true};
		batch->ops[batch->n++] = op;
	}
	return batch;
}

static void
must_hold(const struct hc_batch *batch, unsigned first, size_t n)
{
	must(batch->n == n);
	for (size_t i = 0; i < n; i++)
		must(batch->ops[i] == &ops[first + i]);
}

START_TEST(order_without_memory_for_what_is_overtaken_nothing_is_changed)
{
	struct hc_batch *refuted = batch_of(0, 0), *later = batch_of(1, KEYS);
	long failed = 0;

	hc_core_batch_sent(later);
	for (;;) {
		hc_mem_fail_after(++failed);
		bool taken = hc_core_batch_take_overtaken(refuted);
		hc_mem_fail_after(0);
		if (taken)
			break;
		must_hold(refuted, 0, KEYS);
		must_hold(later, KEYS, 2);
		must(worker.first_overtaken == NULL);
	}
	must(failed > 3); /* the batch, its ops, the hashes */
	must_hold(refuted, 0, 1);
	struct hc_batch *overtaken = worker.first_overtaken;
	must_hold(overtaken, 1, 2);
	must(worker.last_overtaken == overtaken && overtaken->next == NULL);

	must(!hc_core_overtaken_is_decided(overtaken) && hc_core_overtaken_take_settled(&worker) == NULL);
	hc_core_batch_answered(later);
	must(hc_core_overtaken_is_decided(overtaken) && hc_core_overtaken_take_settled(&worker) == NULL);
	ops[1].begun = ops[2].begun = false;
	must(hc_core_overtaken_take_settled(&worker) == overtaken);
	must(worker.first_overtaken == NULL && hc_core_overtaken_take_settled(&worker) == NULL);
	hc_core_batch_destroy(overtaken);
	hc_core_batch_destroy(later);
	hc_core_batch_destroy(refuted);
}
END_TEST

/* In the order in which they were overtaken, though a later one may be through before. */
START_TEST(order_what_is_settled_leaves_those_that_are_not)
{
	struct hc_batch *first = batch_of(0, 0), *second = batch_of(0, KEYS);
	struct hc_op more[KEYS];
	memcpy(more, ops, sizeof(more));
	struct hc_op *under_way[] = {&more[0], &more[1], &more[2]};
	struct hc_batch later = {.worker = &worker, .ops = under_way, .n = KEYS};

	hc_core_batch_sent(&later);
	must(hc_core_batch_take_overtaken(first) && hc_core_batch_take_overtaken(second));
	must(first->n == 0 && second->n == 0);
	struct hc_batch *one = worker.first_overtaken, *two = worker.last_overtaken;
	must(one != two && one->next == two && two->next == NULL);
	for (unsigned i = 0; i < KEYS; i++)
		ops[KEYS + i].begun = false;
	must(hc_core_overtaken_take_settled(&worker) == two);
	must(worker.first_overtaken == one && worker.last_overtaken == one && one->next == NULL);
	for (unsigned i = 0; i < KEYS; i++)
		ops[i].begun = false;
	must(hc_core_overtaken_take_settled(&worker) == one);
	hc_core_batch_answered(&later);
	hc_core_batch_destroy(one);
	hc_core_batch_destroy(two);
	hc_core_batch_destroy(first);
	hc_core_batch_destroy(second);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("write_order");
	TCase *tcase = tcase_create("write_order");

	tcase_add_test(tcase, order_without_memory_for_what_is_overtaken_nothing_is_changed);
	tcase_add_test(tcase, order_what_is_settled_leaves_those_that_are_not);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
