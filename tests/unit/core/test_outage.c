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
	plain->keys[i] = ++plain->now;
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
	plain->keys[i] = ++plain->now;
	plain->values[i] = true;
}

static void
forget_key(struct hc_outage *outage, struct plain *plain, unsigned i)
{
	char name[16];

	hc_outage_forget_key(outage, key_of(i, name), hc_outage_mark(outage));
	plain->n_keys -= plain->keys[i] != 0;
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
	for (unsigned i = 0; i < MODELS && taken->page.all; i++) {
		if (plain->models[i] < before->all)
			plain->models[i] = 0;
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
		forget_key(outage, plain, rng_below(rng, KEYS));
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

START_TEST(outage_all_stands_for_what_was_before_it_and_not_after)
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

/* ---- values, and what others do meanwhile ---- */

static struct hc_outage_page
page_of_one(struct hc_outage *outage, int64_t now_ms)
{
	struct hc_outage_page page;

	must(hc_outage_take(outage, 10, UINT64_MAX, now_ms, &page) == HC_OK);
	must(page.n_items == 1 && page.n_models == 0 && !page.all);
	return page;
}

/* A value of model `id`, noted when all up to 5 had been heard. */
static void
note(struct hc_outage *outage, const char *text, uint32_t id, const char *base, bool sent)
{
	struct hc_entry *entry = entry_of_model(store, "k", text, id);
	struct hc_entry *was = base != NULL ? entry_str(store, "k", base) : NULL;
	const struct hc_outage_value value = {
	    .entry = entry, .base = was, .expire_ms = 1000, .since = {.life = 1, .heard = 5}, .sent = sent};

	must(hc_outage_add_value(outage, key_str("k"), &value, &limits) == HC_OK);
	hc_entry_unref(entry);
	hc_entry_unref(was);
}

static void
must_be(struct hc_outage *outage, const char *text, const char *base, enum hc_outage_doubt doubt)
{
	struct hc_outage_page page = page_of_one(outage, 1);
	const struct hc_outage_item *item = &page.items[0];

	must(item->entry != NULL && hc_slice_eq(hc_entry_value(item->entry), hc_slice_str(text)));
	must(base == NULL ? item->base == NULL
			  : item->base != NULL && hc_slice_eq(hc_entry_value(item->base), hc_slice_str(base)));
	must(item->doubt == doubt);
	hc_outage_page_fini(&page);
}

START_TEST(outage_base_is_what_was_there_before_the_first_change)
{
	struct hc_outage *outage = outage_of();

	note(outage, "one", HC_MODEL_DEFAULT, "base", false);
	note(outage, "two", HC_MODEL_DEFAULT, "one", false);
	must_be(outage, "two", "base", HC_OUTAGE_SURE);
	note(outage, "three", HC_MODEL_DEFAULT, NULL, true); /* the upstream may have that one */
	must_be(outage, "three", NULL, HC_OUTAGE_SURE);
	must(hc_outage_count(outage) == 1);
	hc_outage_forget_key(outage, key_str("k"), hc_outage_mark(outage));
	must(hc_outage_bytes(outage) == 0);
	hc_outage_destroy(outage);
}
END_TEST

/* One worker's write is answered late, and another's came onto the list meanwhile. */
START_TEST(outage_what_came_onto_the_list_after_a_write_set_out_is_not_forgotten_for_its_answer)
{
	struct hc_outage *outage = outage_of();

	note(outage, "one", HC_MODEL_DEFAULT, NULL, false);
	uint64_t set_out = hc_outage_mark(outage);
	note(outage, "two", HC_MODEL_DEFAULT, NULL, false);
	hc_outage_forget_key(outage, key_str("k"), set_out);
	must_be(outage, "two", NULL, HC_OUTAGE_SURE);
	must(hc_outage_add_key(outage, key_str("k"), 100) == HC_OK);
	hc_outage_forget_key(outage, key_str("k"), set_out);
	must(hc_outage_has_key(outage, key_str("k")));
	hc_outage_forget_key(outage, key_str("k"), hc_outage_mark(outage));
	must(hc_outage_empty(outage));
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_change_of_another_contests_what_is_older_than_it)
{
	struct hc_outage *outage = outage_of();

	note(outage, "mine", HC_MODEL_DEFAULT, "base", false);
	hc_outage_contest(outage, key_str("k"), 5);
	must_be(outage, "mine", "base", HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 6);
	must_be(outage, "mine", "base", HC_OUTAGE_CONTESTED);
	hc_outage_own(outage, key_str("k"), 7); /* an older change of ours has replaced that */
	struct hc_outage_page page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_outage_contest(outage, key_str("k"), 6); /* what that replaced, heard of once more */
	must(!hc_outage_empty(outage));
	hc_outage_contest(outage, key_str("k"), 8); /* … and theirs this */
	must(hc_outage_empty(outage));
	note(outage, "mine", HC_MODEL_DEFAULT, "base", false);
	hc_outage_own(outage, key_str("k"), 9);
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 8); /* heard of late: ours came after it */
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 10);
	note(outage, "younger", HC_MODEL_DEFAULT, "theirs", false);
	must_be(outage, "younger", NULL, HC_OUTAGE_SURE);
	hc_outage_unsure(outage);
	must_be(outage, "younger", NULL, HC_OUTAGE_UNSURE);
	hc_outage_contest_all(outage, 1);
	must(hc_outage_empty(outage));
	hc_outage_destroy(outage);
}
END_TEST

/* A late change of ours is heard of live, a value comes onto the list, then a sibling's change from before is caught up
 * with: whether the upstream has theirs or ours nobody knows. */
START_TEST(outage_change_from_before_an_own_one_makes_the_key_go)
{
	struct hc_outage *outage = outage_of();

	hc_outage_own(outage, key_str("k"), 9);
	must(hc_outage_empty(outage));
	note(outage, "mine", HC_MODEL_DEFAULT, NULL, false);
	hc_outage_contest(outage, key_str("k"), 5); /* heard of before it came onto the list */
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_outage_contest(outage, key_str("k"), 7);
	struct hc_outage_page page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_outage_contest(outage, key_str("k"), 8);
	must(!hc_outage_empty(outage));
	hc_outage_contest(outage, key_str("k"), 10); /* theirs is what is there */
	must(hc_outage_empty(outage));
	note(outage, "mine", HC_MODEL_DEFAULT, NULL, false);
	hc_outage_contest(outage, key_str("k"), 10);
	must_be(outage, "mine", NULL, HC_OUTAGE_CONTESTED);
	hc_outage_destroy(outage);
}
END_TEST

/* A worker has looked up how far changes had been heard of, and then those numbers were given up. */
START_TEST(outage_value_noted_by_numbers_that_were_given_up_meanwhile_is_unsure)
{
	struct hc_outage *outage = outage_of();
	struct hc_entry *entry = entry_str(store, "k", "mine");
	struct hc_outage_value value = {
	    .entry = entry, .expire_ms = 1000, .since = {.life = 1, .heard = 500}, .losses = hc_outage_losses(outage)};

	hc_outage_unsure(outage);
	must(hc_outage_add_value(outage, key_str("k"), &value, &limits) == HC_OK);
	must_be(outage, "mine", NULL, HC_OUTAGE_UNSURE);
	hc_outage_contest(outage, key_str("k"), 7); /* by the new numbers, that is younger */
	must_be(outage, "mine", NULL, HC_OUTAGE_CONTESTED);
	hc_outage_forget_key(outage, key_str("k"), hc_outage_mark(outage));
	value.losses = hc_outage_losses(outage);
	must(hc_outage_add_value(outage, key_str("k"), &value, &limits) == HC_OK);
	must_be(outage, "mine", NULL, HC_OUTAGE_SURE);
	hc_entry_unref(entry);
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_value_whose_time_or_model_is_over_is_to_be_deleted)
{
	struct hc_models *models = hc_store_models(store);
	struct hc_outage *outage = outage_of();
	struct hc_entry *entry;
	uint32_t id;

	must(hc_models_intern(models, HC_SLICE("over"), &id) == HC_OK);
	note(outage, "v", id, NULL, false);
	must(hc_outage_find(outage, key_str("k"), 999, &entry) && entry != NULL);
	hc_entry_unref(entry);
	must(hc_outage_find(outage, key_str("k"), 1000, &entry) && entry == NULL);
	struct hc_outage_page page = page_of_one(outage, 1000);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_models_bump(models, id);
	page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	note(outage, "v", id, NULL, false);
	hc_outage_contest_model(outage, id, 5);
	must_be(outage, "v", NULL, HC_OUTAGE_SURE);
	hc_outage_contest_model(outage, id, 6);
	page = page_of_one(outage, 1);
	must(page.items[0].entry == NULL);
	hc_outage_page_fini(&page);
	hc_outage_destroy(outage);
}
END_TEST

/* The upstream is told of what was cleared, and has that epoch since. Returns whether the value is kept. */
static bool
is_kept_behind(struct hc_outage *outage, uint32_t id, const struct hc_outage_clear *clear)
{
	struct hc_outage_page page;

	must(hc_outage_take(outage, 10, 0, 1, &page) == HC_OK);
	must(page.n_models == 1 && page.models[0].id == id);
	hc_models_raise(hc_store_models(store), id, clear->epoch);
	hc_outage_cleared(outage, &page, 0, clear);
	hc_outage_settle(outage, &page);
	hc_outage_page_fini(&page);
	page = page_of_one(outage, 1);
	bool kept = page.items[0].entry != NULL;
	must(!kept || page.items[0].epoch == clear->epoch);
	hc_outage_page_fini(&page);
	return kept;
}

START_TEST(outage_value_set_after_a_clear_of_this_daemon_is_of_the_epoch_that_this_gets)
{
	static const struct {
		uint32_t heard, before; /* epochs: by a clear of another's, before the value came; upstream */
		bool unsure, kept;
	} cases[] = {{0, 0, false, true}, {0, 0, true, true}, {0, 7, false, true}, {0, 7, true, false},
	    {7, 7, true, true}, {7, 8, true, false}};
	struct hc_models *models = hc_store_models(store);

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hc_outage *outage = outage_of();
		char name[32];
		uint32_t id;
		snprintf(name, sizeof(name), "cleared here %u", i);
		must(hc_models_intern(models, hc_slice_str(name), &id) == HC_OK);
		must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
		hc_outage_heard_epoch(outage, id, cases[i].heard);
		hc_models_raise(models, id, cases[i].heard);
		note(outage, "v", id, NULL, false);
		if (cases[i].unsure)
			hc_outage_unsure(outage);
		const struct hc_outage_clear clear = {0, cases[i].before, cases[i].before + 1};
		must(is_kept_behind(outage, id, &clear) == cases[i].kept);
		hc_outage_destroy(outage);
	}
}
END_TEST

START_TEST(outage_value_set_before_a_clear_or_in_another_life_is_not_moved_behind_it)
{
	static const struct hc_outage_clear clear = {0, 0, 9}, other_life = {1, 0, 9};
	struct hc_models *models = hc_store_models(store);
	struct hc_outage *outage = outage_of();
	struct hc_outage_page page;
	uint32_t id;

	must(hc_models_intern(models, HC_SLICE("cleared between"), &id) == HC_OK);
	note(outage, "v", id, NULL, false);
	must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
	must(
	    hc_outage_add_expiry(outage, key_str("k"), 2000, 10) == HC_OK); /* later than the clear; its value is not */
	must(!is_kept_behind(outage, id, &clear));
	must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
	note(outage, "v", id, NULL, false);
	hc_outage_unsure(outage);
	must(!is_kept_behind(outage, id, &other_life));

	/* Cleared once more while the upstream is told: the value in between goes, that behind it waits for the second.
	 */
	must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
	must(hc_outage_take(outage, 10, 0, 1, &page) == HC_OK);
	must(hc_outage_add_model(outage, id, hc_models_bump(models, id) - 1) == HC_OK);
	note(outage, "v", id, NULL, false);
	uint32_t epoch = hc_models_epoch(models, id);
	const struct hc_outage_clear first = {0, epoch - 2, epoch - 1}, second = {0, epoch - 1, epoch};
	hc_outage_cleared(outage, &page, 0, &first);
	hc_outage_settle(outage, &page);
	hc_outage_page_fini(&page);
	must(hc_outage_has_model(outage, id));
	must(is_kept_behind(outage, id, &second));
	hc_outage_destroy(outage);
}
END_TEST

START_TEST(outage_value_that_is_never_taken_is_deleted_in_the_end)
{
	struct hc_outage *outage = outage_of();
	unsigned tries = 0;

	note(outage, "v", HC_MODEL_DEFAULT, NULL, false);
	for (bool is_value = true; is_value; tries++) {
		struct hc_outage_page page = page_of_one(outage, 1);
		is_value = page.items[0].entry != NULL;
		page.items[0].outcome = HC_OUTAGE_AGAIN;
		hc_outage_settle(outage, &page);
		hc_outage_page_fini(&page);
	}
	must(tries > 10 && tries < 100 && hc_outage_count(outage) == 1);
	hc_outage_destroy(outage);
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
	tcase_add_test(tcase, outage_all_stands_for_what_was_before_it_and_not_after);
	tcase_add_test(tcase, outage_keys_are_bytes_and_may_be_empty_or_long);
	tcase_add_test(tcase, outage_limit_of_nothing_refuses_keys_and_takes_clears);
	tcase_add_test(tcase, outage_base_is_what_was_there_before_the_first_change);
	tcase_add_test(tcase, outage_what_came_onto_the_list_after_a_write_set_out_is_not_forgotten_for_its_answer);
	tcase_add_test(tcase, outage_change_of_another_contests_what_is_older_than_it);
	tcase_add_test(tcase, outage_change_from_before_an_own_one_makes_the_key_go);
	tcase_add_test(tcase, outage_value_noted_by_numbers_that_were_given_up_meanwhile_is_unsure);
	tcase_add_test(tcase, outage_value_whose_time_or_model_is_over_is_to_be_deleted);
	tcase_add_test(tcase, outage_value_set_after_a_clear_of_this_daemon_is_of_the_epoch_that_this_gets);
	tcase_add_test(tcase, outage_value_set_before_a_clear_or_in_another_life_is_not_moved_behind_it);
	tcase_add_test(tcase, outage_value_that_is_never_taken_is_deleted_in_the_end);
	tcase_add_test(tcase, outage_each_failing_allocation_is_told_or_harmless);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
