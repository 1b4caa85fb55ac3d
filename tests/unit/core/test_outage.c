/*
 * The outage list against a plain model, with pages taken and settled while more is added; and with each allocation
 * failing.
 */
#include "core/outage.h"

#include "../store/support.h"

#define KEYS 200u
#define MODELS 12u
#define MAX 150u /* keys it may hold */

static struct hc_store *store;
static const struct hc_outage_limits limits = {MAX, 1 << 30};

/* What the list should hold, and of each item when it was last added. */
struct plain {
	uint64_t keys[KEYS], models[MODELS], all; /* 0: not there */
	uint64_t written[KEYS];                   /* when it was given its value, or went */
	bool values[KEYS];                        /* or else they went */
	uint64_t now;
	uint64_t n_keys;
};

/* A page, and what the model was when it was taken. */
struct taken {
	struct hc_outage_page page;
	struct plain before;
};

static struct hc_outage *
outage_of(void)
{
	struct hc_outage *outage;

	ck_assert_int_eq(hc_outage_create(hc_store_models(store), &outage), HC_OK);
	return outage;
}

static struct hc_key
key_of(unsigned i, char name[16])
{
	snprintf(name, 16, "key%u", i);
	return key_str(name);
}

static uint64_t
plain_count(const struct plain *plain)
{
	uint64_t n = plain->n_keys + (plain->all != 0);

	for (unsigned i = 0; i < MODELS; i++)
		n += plain->models[i] != 0;
	return n;
}

static void
check(struct hc_outage *outage, const struct plain *plain)
{
	char name[16];
	bool any_model = plain_count(plain) > plain->n_keys + (plain->all != 0);

	must(hc_outage_count(outage) == plain_count(plain));
	must(hc_outage_empty(outage) == (plain_count(plain) == 0));
	for (unsigned i = 0; i < KEYS; i++) {
		bool has = plain->all != 0 || plain->keys[i] != 0;
		struct hc_entry *entry;
		must(hc_outage_has_key(outage, key_of(i, name)) == has);
		must(hc_outage_find(outage, key_of(i, name), 1, &entry) == has);
		must((entry != NULL) == (plain->keys[i] != 0 && plain->values[i]));
		hc_entry_unref(entry);
		must(hc_outage_doubts_key(outage, key_of(i, name)) == (has || any_model));
	}
	for (unsigned i = 0; i < MODELS; i++)
		must(hc_outage_has_model(outage, i) == (plain->all != 0 || plain->models[i] != 0));
}

static void
add_key(struct hc_outage *outage, struct plain *plain, unsigned i)
{
	char name[16];
	bool full = plain->keys[i] == 0 && plain->n_keys >= MAX;

	must(hc_outage_add_key(outage, key_of(i, name), MAX) == (full ? HC_LIMIT : HC_OK));
	if (full)
		return;
	plain->n_keys += plain->keys[i] == 0;
	plain->keys[i] = plain->written[i] = ++plain->now;
	plain->values[i] = false;
}

static void
add_value(struct hc_outage *outage, struct plain *plain, unsigned i)
{
	char name[16];
	struct hc_entry *entry = entry_str(store, (key_of(i, name), name), "value");
	const struct hc_outage_value value = {.entry = entry, .expire_ms = HC_NO_EXPIRY};
	bool full = plain->keys[i] == 0 && plain->n_keys >= MAX;

	must(hc_outage_add_value(outage, key_of(i, name), &value, &limits) == (full ? HC_LIMIT : HC_OK));
	hc_entry_unref(entry);
	if (full)
		return;
	plain->n_keys += plain->keys[i] == 0;
	plain->keys[i] = plain->written[i] = ++plain->now;
	plain->values[i] = true;
}

/* Of what is not there, only the upstream could tell what expires. */
static void
add_expiry(struct hc_outage *outage, struct plain *plain, unsigned i)
{
	char name[16];
	bool full = plain->keys[i] == 0 && plain->n_keys >= MAX;

	must(hc_outage_add_expiry(outage, key_of(i, name), 1000, MAX) == (full ? HC_LIMIT : HC_OK));
	if (full)
		return;
	plain->now++;
	if (plain->keys[i] == 0) {
		plain->n_keys++;
		plain->values[i] = false;
		plain->written[i] = plain->now;
	}
	plain->keys[i] = plain->now;
}

/* For a write that set out `ago` changes of the list before. */
static void
forget_key(struct hc_outage *outage, struct plain *plain, unsigned i, uint32_t ago)
{
	char name[16];
	uint64_t mark = hc_outage_mark(outage);

	mark -= ago < mark ? ago : mark;
	hc_outage_forget_key(outage, key_of(i, name), mark);
	if (plain->keys[i] == 0 || plain->written[i] > mark)
		return;
	plain->n_keys--;
	plain->keys[i] = 0;
}

static unsigned
number_of(struct hc_slice key)
{
	char name[16] = "";

	must(key.len > 3 && key.len < sizeof(name));
	memcpy(name, key.ptr, key.len);
	return (unsigned)strtoul(name + 3, NULL, 10);
}

static void
take(struct hc_outage *outage, const struct plain *plain, size_t max, struct taken *taken)
{
	bool seen[KEYS] = {false};

	uint64_t n_values = 0, n_models = plain_count(plain) - plain->n_keys;

	for (unsigned i = 0; i < KEYS; i++)
		n_values += plain->keys[i] != 0 && plain->values[i];
	bool values = n_models == 0 && n_values == plain->n_keys; /* when there is nothing else */
	uint64_t n = values ? n_values : plain->n_keys - n_values;
	taken->before = *plain;
	must(hc_outage_take(outage, max, UINT64_MAX, 1, &taken->page) == HC_OK);
	must(taken->page.all == (plain->all != 0));
	if (taken->page.all) {
		must(taken->page.n_items == 0 && taken->page.n_models == 0);
		return;
	}
	must(taken->page.n_items == (n < max ? n : max));
	for (size_t i = 0; i < taken->page.n_items; i++) {
		unsigned number = number_of(taken->page.items[i].key);
		must(number < KEYS && plain->keys[number] != 0 && !seen[number]);
		must((taken->page.items[i].entry != NULL) == plain->values[number]);
		must(plain->values[number] == values);
		taken->page.items[i].outcome = HC_OUTAGE_SETTLED;
		seen[number] = true;
	}
	for (size_t i = 0; i < taken->page.n_models; i++)
		must(plain->models[taken->page.models[i].id] != 0);
	must(taken->page.n_models == n_models);
}

/* What was added again since the page was taken stays. */
static void
settle(struct hc_outage *outage, struct plain *plain, struct taken *taken)
{
	const struct plain *before = &taken->before;

	hc_outage_settle(outage, &taken->page);
	for (unsigned i = 0; i < KEYS && taken->page.all; i++) {
		if (plain->keys[i] != 0 && plain->keys[i] < before->all) {
			plain->keys[i] = 0;
			plain->n_keys--;
		}
	}
	if (taken->page.all && plain->all == before->all)
		plain->all = 0;
	for (size_t i = 0; i < taken->page.n_models; i++) {
		uint32_t id = taken->page.models[i].id;
		if (plain->models[id] == before->models[id])
			plain->models[id] = 0;
	}
	for (size_t i = 0; i < taken->page.n_items; i++) {
		unsigned n = number_of(taken->page.items[i].key);
		if (plain->keys[n] != 0 && plain->keys[n] == before->keys[n]) {
			plain->keys[n] = 0;
			plain->n_keys--;
		}
	}
	hc_outage_page_fini(&taken->page);
	must(taken->page.items == NULL && taken->page.n_items == 0);
}

static void
give_back(struct hc_outage *outage, struct taken *taken)
{
	hc_outage_lose(outage, &taken->page);
	hc_outage_page_fini(&taken->page);
}

static void
change(struct hc_outage *outage, struct plain *plain, struct rng *rng)
{
	uint32_t id = rng_below(rng, MODELS);

	switch (rng_below(rng, 40)) {
	case 0:
		hc_outage_add_all(outage);
		plain->all = ++plain->now;
		memset(plain->values, 0, sizeof(plain->values)); /* they went too */
		break;
	case 1:
	case 2:
	case 3:
		must(hc_outage_add_model(outage, id, 0) == HC_OK);
		plain->models[id] = ++plain->now;
		break;
	case 4:
	case 5:
	case 6:
		forget_key(outage, plain, rng_below(rng, KEYS), rng_below(rng, 2) * rng_below(rng, 60));
		break;
	case 7:
	case 8:
	case 9:
	case 10:
		add_expiry(outage, plain, rng_below(rng, KEYS));
		break;
	default:
		if (rng_below(rng, 2) == 0)
			add_key(outage, plain, rng_below(rng, KEYS));
		else
			add_value(outage, plain, rng_below(rng, KEYS));
	}
}

START_TEST(outage_random_operations_agree_with_a_plain_model)
{
	struct rng rng = {test_seed()};

	for (unsigned life = 0; life < 20; life++) {
		struct hc_outage *outage = outage_of();
		struct plain plain = {0};
		for (unsigned round = 0; round < 300; round++) {
			struct taken taken;
			for (uint32_t i = rng_below(&rng, 20); i > 0; i--)
				change(outage, &plain, &rng);
			take(outage, &plain, 1 + rng_below(&rng, KEYS), &taken);
			for (uint32_t i = rng_below(&rng, 8); i > 0; i--)
				change(outage, &plain, &rng);
			if (rng_below(&rng, 4) == 0)
				give_back(outage, &taken); /* the upstream did not answer */
			else
				settle(outage, &plain, &taken);
			check(outage, &plain);
		}
		/* With nothing added, pages end. */
		for (unsigned pages = 0; !hc_outage_empty(outage); pages++) {
			struct taken taken;
			must(pages < 2 * KEYS);
			take(outage, &plain, 7, &taken);
			settle(outage, &plain, &taken);
		}
		check(outage, &plain);
		hc_outage_destroy(outage);
	}
}
END_TEST

START_TEST(outage_key_added_again_survives_the_settling_of_its_page)
{
	struct hc_outage *outage = outage_of();
	struct plain plain = {0};
	struct taken taken;

	add_key(outage, &plain, 1);
	add_key(outage, &plain, 2);
	take(outage, &plain, 10, &taken);
	add_key(outage, &plain, 1);
	settle(outage, &plain, &taken);
	check(outage, &plain);
	must(hc_outage_count(outage) == 1);
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_all_stands_for_keys_from_before_it_and_not_after)
{
	struct hc_outage *outage = outage_of();
	struct plain plain = {0};
	struct taken taken;

	add_key(outage, &plain, 1);
	hc_outage_add_all(outage);
	plain.all = ++plain.now;
	add_key(outage, &plain, 2);
	check(outage, &plain);
	take(outage, &plain, 10, &taken);
	settle(outage, &plain, &taken);
	check(outage, &plain);
	must(hc_outage_count(outage) == 1);
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_all_leaves_it_to_the_list_to_tell_of_clears_from_before_it)
{
	struct hc_outage *outage = outage_of();
	struct plain plain = {0};
	struct taken taken;

	must(hc_outage_add_model(outage, 1, 0) == HC_OK);
	plain.models[1] = ++plain.now;
	hc_outage_add_all(outage);
	plain.all = ++plain.now;
	must(hc_outage_tells_model(outage, 1) && !hc_outage_tells_model(outage, 2));
	take(outage, &plain, 10, &taken);
	settle(outage, &plain, &taken);
	check(outage, &plain);
	must(hc_outage_tells_model(outage, 1));
	take(outage, &plain, 10, &taken);
	must(taken.page.n_models == 1);
	settle(outage, &plain, &taken);
	must(hc_outage_empty(outage));
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_keys_are_bytes_and_may_be_empty_or_long)
{
	static char large[100000];
	struct hc_outage *outage = outage_of();
	struct hc_key keys[] = {hc_key(HC_SLICE("")), hc_key(HC_SLICE("a\0b")), hc_key(HC_SLICE("a\0c")),
	    hc_key(HC_SLICE("a")), hc_key(hc_slice(large, sizeof(large)))};
	struct hc_outage_page page;

	for (size_t i = 0; i < 5; i++) {
		must(!hc_outage_has_key(outage, keys[i]));
		must(hc_outage_add_key(outage, keys[i], 10) == HC_OK);
		must(hc_outage_count(outage) == i + 1);
	}
	must(hc_outage_take(outage, 10, 0, 1, &page) == HC_OK);
	must(page.n_items == 5);
	for (size_t i = 0; i < 5; i++)
		page.items[i].outcome = HC_OUTAGE_SETTLED;
	hc_outage_forget_key(outage, keys[1], hc_outage_mark(outage));
	must(!hc_outage_has_key(outage, keys[1]) && hc_outage_has_key(outage, keys[2]) &&
	     hc_outage_has_key(outage, keys[3]));
	hc_outage_settle(outage, &page);
	hc_outage_page_fini(&page);
	must(hc_outage_empty(outage));
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_limit_of_nothing_refuses_keys_and_takes_clears)
{
	struct hc_outage *outage = outage_of();

	must(hc_outage_add_key(outage, key_str("k"), 0) == HC_LIMIT);
	must(hc_outage_empty(outage));
	must(hc_outage_add_model(outage, 0, 0) == HC_OK);
	hc_outage_add_all(outage);
	must(hc_outage_count(outage) == 2);
	hc_outage_destroy(outage);
	hc_outage_destroy(NULL);
}
END_TEST

/* Returns whether any call told of a failure; what failed is not in the list, what did not is. */
static bool
faulty_run(void)
{
	struct hc_outage *outage;
	struct plain plain = {0};
	struct taken taken = {0};
	bool told = false;
	char name[16];

	if (hc_outage_create(hc_store_models(store), &outage) != HC_OK)
		return true;
	for (unsigned i = 0; i < 100; i++) {
		if (hc_outage_add_key(outage, key_of(i, name), MAX) != HC_OK)
			told = true;
		else
			plain.keys[i] = ++plain.now, plain.n_keys++;
	}
	for (uint32_t i = 0; i < 10; i++) {
		if (hc_outage_add_model(outage, i, 0) != HC_OK)
			told = true;
		else
			plain.models[i] = ++plain.now;
	}
	check(outage, &plain);
	taken.before = plain;
	if (hc_outage_take(outage, 50, 0, 1, &taken.page) != HC_OK) {
		told = true;
		must(taken.page.items == NULL && taken.page.models == NULL);
	} else {
		for (size_t i = 0; i < taken.page.n_items; i++)
			taken.page.items[i].outcome = HC_OUTAGE_SETTLED;
		settle(outage, &plain, &taken);
	}
	check(outage, &plain);
	hc_outage_destroy(outage);
	return told;
}

/* A clear that has been carried out here has to be told of. */
START_TEST(outage_has_the_room_for_models_that_was_asked_for)
{
	struct hc_outage *outage;
	char name[16];

	must(hc_outage_create(hc_store_models(store), &outage) == HC_OK);
	hc_mem_fail_after(1);
	must(hc_outage_reserve_models(outage) == HC_NOMEM);
	must(hc_outage_empty(outage));
	must(hc_outage_reserve_models(outage) == HC_OK);
	for (uint32_t i = 0; i < hc_models_count(hc_store_models(store)); i++) {
		hc_mem_fail_after(1);
		must(hc_outage_add_model(outage, i, 0) == HC_OK);
		must(hc_outage_tells_model(outage, i));
	}
	hc_mem_fail_after(0);
	must(hc_outage_add_key(outage, key_of(1, name), MAX) == HC_OK);
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_each_failing_allocation_is_told_or_harmless)
{
	unsigned told = 0, silent = 0;

	for (long k = 1;; k++) {
		hc_mem_fail_after(k);
		bool failed = faulty_run();
		void *probe = hc_malloc(1); /* fails when the count was not used up */
		hc_mem_fail_after(0);
		bool fired = probe != NULL || failed;
		hc_free(probe);
		told += failed;
		silent += fired && !failed;
		if (!fired || k > 1000)
			break;
	}
	must(told > 150);
	must(silent >= 1); /* a table that could not grow */
}
END_TEST

static void
set_up(void)
{
	store = store_with(1 << 20, 1, true);
}

static void
tear_down(void)
{
	hc_store_destroy(store);
}

int
main(void)
{
	Suite *suite = suite_create("outage");
	TCase *tcase = tcase_create("outage");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, outage_random_operations_agree_with_a_plain_model);
	tcase_add_test(tcase, outage_key_added_again_survives_the_settling_of_its_page);
	tcase_add_test(tcase, outage_all_stands_for_keys_from_before_it_and_not_after);
	tcase_add_test(tcase, outage_all_leaves_it_to_the_list_to_tell_of_clears_from_before_it);
	tcase_add_test(tcase, outage_keys_are_bytes_and_may_be_empty_or_long);
	tcase_add_test(tcase, outage_limit_of_nothing_refuses_keys_and_takes_clears);
	tcase_add_test(tcase, outage_has_the_room_for_models_that_was_asked_for);
	tcase_add_test(tcase, outage_each_failing_allocation_is_told_or_harmless);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
