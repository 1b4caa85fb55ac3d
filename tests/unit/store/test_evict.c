/*
 * The policy, rule by rule, on a shard's table and queues alone; and its invariants under random
 * operations on them.
 */
#include "support.h"
#include "store/evict.h"
#include "store/slab.h"

#define MAX_ENTRIES 4000

static struct hc_store *store; /* for making entries */
static struct hc_table table;
static struct hc_evict evict;
static double clock_value;

static void
set_up(void)
{
	store = store_of(1 << 30, 1);
	ck_assert_int_eq(hc_table_init(&table), HC_OK);
	ck_assert_int_eq(hc_evict_init(&evict, &table), HC_OK);
	hc_evict_set_capacity(&evict, 1 << 20);
	clock_value = 0;
}

static void
table_insert(struct hc_entry *entry, struct hc_key key)
{
	struct hc_place place;

	must(hc_table_find(&table, key, &place) == NULL);
	must(hc_table_insert(&table, &place, entry, (uint32_t)key.hash) == HC_OK);
}

static void
table_remove(struct hc_entry *entry)
{
	struct hc_place place = hc_table_place(&table, entry, (uint32_t)hc_entry_hash(entry));

	hc_table_remove(&table, &place);
}

static void
unlink_entry(struct hc_entry *entry)
{
	table_remove(entry);
	hc_evict_remove(&evict, entry);
	hc_table_free(hc_table_adapt(&table, 2));
}

/* Its hash must be the key's. */
static struct hc_entry *
next_victim(struct hc_entry *keep)
{
	uint64_t hash;
	struct hc_entry *entry = hc_evict_victim(&evict, keep, &clock_value, &hash);

	must(entry == NULL || hash == hc_entry_hash(entry));
	return entry;
}

static void
drop(struct hc_entry *entry)
{
	unlink_entry(entry);
	hc_entry_unref(entry);
}

static struct hc_entry *
find(const char *name)
{
	struct hc_place place;

	return hc_table_find(&table, key_str(name), &place);
}

static void
tear_down(void)
{
	struct hc_entry *entry;

	while ((entry = next_victim(NULL)) != NULL)
		drop(entry);
	must(table.count == 0);
	hc_evict_fini(&evict);
	hc_table_fini(&table);
	hc_store_destroy(store);
}

static struct hc_entry *
add(const char *name, size_t value_len)
{
	struct hc_key key = key_str(name);
	struct hc_entry *entry = hc_entry_create(store, key, value_len, HC_MODEL_DEFAULT);

	table_insert(entry, key);
	hc_evict_insert(&evict, entry, key.hash, clock_value);
	hc_table_free(hc_table_adapt(&table, 2));
	return entry;
}

static struct hc_entry *
add_n(const char *prefix, unsigned i, size_t value_len)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%05u", prefix, i);
	return add(name, value_len);
}

static void
hit(struct hc_entry *entry, unsigned times)
{
	while (times-- > 0)
		hc_evict_hit(&evict, entry);
}

static bool
in_main(const struct hc_entry *entry)
{
	return (hc_entry_state(entry) & HC_ENTRY_MAIN) != 0;
}

/* The next victim's key, gone from then on. */
static const char *
evict_one(void)
{
	static char name[32];
	struct hc_entry *entry = next_victim(NULL);

	if (entry == NULL)
		return NULL;
	snprintf(name, sizeof(name), "%.*s", (int)hc_entry_key(entry).len, hc_entry_key(entry).ptr);
	drop(entry);
	return name;
}

START_TEST(class_of_size_is_twice_its_logarithm)
{
	static const struct {
		size_t size;
		unsigned class;
	} rows[] = {{32, 0}, {45, 0}, {46, 1}, {63, 1}, {64, 2}, {90, 2}, {91, 3}, {4096, 14}, {5792, 14}, {5793, 15},
	    {(size_t)1 << 28, 46}, {(size_t)1 << 29, 47}, {(size_t)1 << 40, 47}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_uint_eq(hc_evict_class(rows[i].size), rows[i].class);
}
END_TEST

START_TEST(small_goes_in_order_of_insertion)
{
	for (unsigned i = 0; i < 100; i++)
		add_n("k", i, 100);
	for (unsigned i = 0; i < 100; i++) {
		char name[32];
		snprintf(name, sizeof(name), "k%05u", i);
		ck_assert_str_eq(evict_one(), name);
	}
	ck_assert_ptr_null(evict_one());
}
END_TEST

START_TEST(hit_in_newest_fifth_does_not_count)
{
	struct hc_entry *entries[100];

	for (unsigned i = 0; i < 100; i++)
		entries[i] = add_n("k", i, 100);
	for (unsigned i = 0; i < 100; i++)
		hit(entries[i], 1);
	for (unsigned i = 0; i < 75; i++)
		ck_assert_uint_eq(hc_entry_hotness(entries[i]), 1);
	for (unsigned i = 85; i < 100; i++)
		ck_assert_uint_eq(hc_entry_hotness(entries[i]), 0);
	hit(entries[0], 10);
	ck_assert_uint_eq(hc_entry_hotness(entries[0]), HC_ENTRY_HOT_MAX);
}
END_TEST

START_TEST(small_hit_moves_to_main_cold)
{
	struct hc_entry *first = add_n("k", 0, 100);

	for (unsigned i = 1; i < 100; i++)
		add_n("k", i, 100);
	hit(first, 2);
	ck_assert_str_eq(evict_one(), "k00001");
	must(in_main(first));
	ck_assert_uint_eq(hc_entry_hotness(first), 0);
	for (unsigned i = 2; i < 100; i++)
		ck_assert_str_ne(evict_one(), "k00000");
	ck_assert_str_eq(evict_one(), "k00000");
}
END_TEST

/* All in main, in the order of their numbers. */
static void
fill_main(struct hc_entry **entries, unsigned n)
{
	for (unsigned from = 0; from < n; from += 20) {
		struct hc_entry *newest[20];
		for (unsigned i = 0; i < 20; i++)
			entries[from + i] = add_n("m", from + i, 100);
		for (unsigned i = 0; i < 20; i++)
			newest[i] = add_n("t", from + i, 100);
		for (unsigned i = 0; i < 20; i++)
			hit(entries[from + i], 1);
		const char *out = evict_one();
		must_msg(out[0] == 't', "%s from %u", out, from);
		for (unsigned i = 0; i < 20; i++)
			must(in_main(entries[from + i]));
		for (unsigned i = 1; i < 20; i++)
			drop(newest[i]);
	}
}

START_TEST(main_hit_goes_round_a_degree_cooler)
{
	struct hc_entry *m[20];

	fill_main(m, 20);
	hit(m[0], 2);
	ck_assert_str_eq(evict_one(), "m00001");
	ck_assert_uint_eq(hc_entry_hotness(m[0]), 1);
	for (unsigned i = 2; i < 20; i++)
		ck_assert_str_ne(evict_one(), "m00000");
	ck_assert_str_eq(evict_one(), "m00000");
}
END_TEST

START_TEST(small_within_its_tenth_is_spared)
{
	struct hc_entry *m[40];

	fill_main(m, 40);
	for (unsigned i = 0; i < 4; i++)
		add_n("s", i, 100);
	ck_assert_str_eq(evict_one(), "m00000");
	for (unsigned i = 4; i < 8; i++)
		add_n("s", i, 100);
	ck_assert_str_eq(evict_one(), "s00000");
}
END_TEST

START_TEST(scan_leaves_main_alone)
{
	struct hc_entry *m[160];

	fill_main(m, 160);
	for (unsigned i = 0; i < 3000; i++) {
		add_n("scan", i, 100);
		must(table.count <= 161 + 20);
		if (table.count > 160 + 20)
			must(strncmp(evict_one(), "scan", 4) == 0);
	}
}
END_TEST

START_TEST(large_goes_before_small_of_equal_age)
{
	add("large", 20000);
	for (unsigned i = 0; i < 10; i++)
		add_n("k", i, 100);
	add("larger", 200000);
	ck_assert_str_eq(evict_one(), "larger");
	ck_assert_str_eq(evict_one(), "large");
}
END_TEST

START_TEST(bytes_weight_needs_more_hits_to_prefer_the_small)
{
	/* 4 hits of 16 times the size: 4/16 < 1, but 4/sqrt(16) = 1. */
	struct hc_entry *large = add("large", 16 * 140 - sizeof(struct hc_entry) - 5);

	hit(large, 3);
	add("s", 140 - sizeof(struct hc_entry) - 1);
	evict.weigh_bytes = true;
	hit(large, 3);
	ck_assert_uint_eq(hc_entry_hotness(large), 3);
	ck_assert_str_eq(evict_one(), "s");
	must(in_main(large) || find("large") == large);
}
END_TEST

START_TEST(clock_ages_what_is_small_too)
{
	unsigned n = 0;

	add("old", 100);
	/* Never hit, but small: it stays until the clock has come near to what its size is worth. */
	while (find("old") != NULL) {
		double before = clock_value;
		add_n("k", n++, 1000);
		evict_one();
		must(clock_value >= before);
		must(n < 10000);
	}
	must(n > 3);
	must(clock_value > 0.9 / 140);
}
END_TEST

START_TEST(ghost_hit_goes_to_main)
{
	for (unsigned i = 0; i < 20; i++)
		add_n("k", i, 100);
	ck_assert_str_eq(evict_one(), "k00000");
	must(in_main(add_n("k", 0, 100)));
	must(!in_main(add_n("new", 0, 100)));
	/* What was remembered is so once. */
	drop(find("k00000"));
	must(!in_main(add_n("k", 0, 100)));
}
END_TEST

START_TEST(removed_otherwise_is_no_ghost)
{
	for (unsigned i = 0; i < 20; i++)
		add_n("k", i, 100);
	drop(find("k00000"));
	must(!in_main(add_n("k", 0, 100)));
}
END_TEST

/* So many went, of which a thousand are the capacity. */
static void
check_remembered(struct hc_ghost *ghost, unsigned n)
{
	unsigned recent = 0, old = 0;

	for (uint64_t i = 0; i < n; i++) {
		bool taken = hc_ghost_take(ghost, hc_hash(&i, sizeof(i)));
		if (i >= n - 900)
			recent += taken;
		if (i < n - 1500)
			old += taken;
	}
	ck_assert_uint_gt(recent, 850);
	ck_assert_uint_lt(old, 20);
}

START_TEST(ghost_remembers_about_the_capacity)
{
	struct hc_ghost ghost = {0};

	hc_ghost_set_capacity(&ghost, 1000 * 1000);
	for (uint64_t i = 0; i < 20000; i++)
		hc_ghost_add(&ghost, hc_hash(&i, sizeof(i)), 1000, 4000);
	must(hc_ghost_bytes(&ghost) <= 4000 * 4 * 2 + 64); /* bounded by the entries, not by what went */
	check_remembered(&ghost, 20000);
	hc_ghost_fini(&ghost);
}
END_TEST

/* As old as it was in parts of the capacity, and no page is new. */
START_TEST(ghost_outlives_a_new_capacity)
{
	static const size_t capacities[] = {100 * 1000, 1000 * 1000, 10 * 1000 * 1000};
	struct hc_ghost ghost = {0};

	hc_ghost_set_capacity(&ghost, 1000 * 1000);
	for (uint64_t i = 0; i < 2000; i++)
		hc_ghost_add(&ghost, hc_hash(&i, sizeof(i)), 1000, 4000);
	const uint32_t *slots = ghost.slots;
	hc_ghost_set_capacity(&ghost, capacities[_i]);
	ck_assert_ptr_eq(ghost.slots, slots);
	check_remembered(&ghost, 2000);
	hc_ghost_fini(&ghost);
}
END_TEST

/* Also when what goes is not to be remembered. */
START_TEST(ghost_follows_the_entries_down)
{
	enum { N = 3000 };
	char name[16];

	for (unsigned i = 0; i < N; i++)
		add_n("k", i, 100);
	for (unsigned i = 0; i < N; i++) {
		const char *out = evict_one();
		must(out != NULL);
		add_n("k", (unsigned)strtoul(out + 1, NULL, 10), 100);
	}
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "k%05u", i);
		if (!in_main(find(name)))
			drop(find(name));
	}
	uint64_t mains = evict.entries;
	ck_assert_uint_gt(mains, N / 2);
	size_t full = hc_ghost_bytes(&evict.ghost);
	for (uint64_t i = 10; i < mains; i++)
		must(evict_one() != NULL);
	ck_assert_uint_lt(hc_ghost_bytes(&evict.ghost), full / 8);
}
END_TEST

/* A part of a tick is not lost with each setting that is applied. */
START_TEST(ghost_grows_old_between_settings)
{
	struct hc_ghost ghost = {0};
	unsigned kept = 0;

	hc_ghost_set_capacity(&ghost, 10 * 1000 * 1000);
	for (uint64_t i = 0; i < 20000; i++) {
		hc_ghost_add(&ghost, hc_hash(&i, sizeof(i)), 1000, 40000);
		hc_ghost_set_capacity(&ghost, 10 * 1000 * 1000);
	}
	for (uint64_t i = 0; i < 7000; i++)
		kept += hc_ghost_take(&ghost, hc_hash(&i, sizeof(i)));
	ck_assert_uint_lt(kept, 20);
	hc_ghost_fini(&ghost);
}
END_TEST

static struct hc_entry *
overwrite(struct hc_entry *old, size_t value_len)
{
	struct hc_slice name = hc_entry_key(old);
	struct hc_key key = hc_key(name);
	struct hc_entry *entry = hc_entry_create(store, key, value_len, HC_MODEL_DEFAULT);

	table_remove(old);
	table_insert(entry, key);
	hc_evict_replace(&evict, old, entry, key.hash, clock_value);
	hc_entry_unref(old);
	return entry;
}

START_TEST(overwrite_of_same_class_keeps_its_place)
{
	for (unsigned i = 0; i < 100; i++)
		add_n("k", i, 100);
	for (unsigned i = 0; i < 1000; i++)
		overwrite(find("k00000"), 100 + i % 3);
	ck_assert_uint_eq(evict.classes[hc_evict_class(140)][HC_EVICT_SMALL].items, 100);
	ck_assert_str_eq(evict_one(), "k00000");
}
END_TEST

START_TEST(overwrite_of_another_class_keeps_what_it_earned)
{
	struct hc_entry *m[20];

	fill_main(m, 20);
	hit(m[0], 2);
	m[0] = overwrite(m[0], 5000);
	must(in_main(m[0]));
	ck_assert_uint_eq(hc_entry_hotness(m[0]), 2);
	ck_assert_uint_eq(evict.classes[hc_evict_class(5040)][HC_EVICT_MAIN].entries, 1);
	ck_assert_uint_eq(evict.classes[hc_evict_class(140)][HC_EVICT_MAIN].entries, 19);
}
END_TEST

START_TEST(items_of_removed_entries_are_bounded)
{
	for (unsigned i = 0; i < 200; i++)
		add_n("stay", i, 100);
	for (unsigned i = 0; i < 100000; i++) {
		drop(add_n("go", i, 100));
		must(evict.classes[hc_evict_class(141)][HC_EVICT_SMALL].items < 4 * 200 + 200);
	}
	ck_assert_str_eq(evict_one(), "stay00000");
}
END_TEST

/* Its chunks are there for others, more of them than are counted, and then to be taken; those in use are neither. */
START_TEST(queue_without_entries_gives_up_what_it_has)
{
	for (unsigned i = 0; i < 1000; i++)
		add_n("stay", i, 100);
	for (unsigned i = 0; i < 1000; i++)
		add_n("go", i, 4000);
	for (unsigned i = 0; i < 1000; i++) {
		char name[32];
		snprintf(name, sizeof(name), "go%05u", i);
		drop(find(name));
	}
	hc_evict_give_up(&evict);
	ck_assert_uint_eq(evict.classes[hc_evict_class(4040)][HC_EVICT_SMALL].items, 0);
	ck_assert_uint_eq(evict.items, 1000);
	for (unsigned i = 0; i < 500; i++)
		add_n("back", i, 300);
	ck_assert_uint_eq(evict.items, 1500);
	ck_assert_uint_lt(evict.nspare, 1000);
	unsigned spare = 0;
	for (void *chunk = evict.spare; chunk != NULL; chunk = *(void **)chunk)
		spare++;
	ck_assert_uint_gt(spare, 1);
	hc_slab_free_plain_list(hc_evict_take_spares(&evict));
	unsigned left = 0;
	while (evict_one() != NULL)
		left++;
	ck_assert_uint_eq(left, 1500);
	ck_assert_uint_eq(evict.items, 0); /* each was found by its item */
}
END_TEST

START_TEST(entries_queued_without_memory_go_too)
{
	char name[32];
	unsigned n = 0;

	for (unsigned i = 0; i < 300; i++) {
		struct hc_entry *entry;
		struct hc_key key;
		snprintf(name, sizeof(name), "k%05u", i);
		key = key_str(name);
		entry = hc_entry_create(store, key, 100, HC_MODEL_DEFAULT);
		table_insert(entry, key);
		if (i % 22 == 0)
			hc_mem_fail_after(1);
		hc_evict_insert(&evict, entry, key.hash, 0);
		hc_mem_fail_after(0);
		hc_table_free(hc_table_adapt(&table, 2));
	}
	ck_assert_uint_lt(evict.classes[hc_evict_class(137)][HC_EVICT_SMALL].items, 300);
	while (evict_one() != NULL)
		n++;
	ck_assert_uint_eq(n, 300);
}
END_TEST

/* ---- random operations, against what walking the table says ---- */

static struct hc_entry *live[MAX_ENTRIES];
static unsigned n_live;

static void
check_counts(void)
{
	uint64_t entries[HC_EVICT_CLASSES][2] = {0}, bytes[HC_EVICT_CLASSES][2] = {0}, items = 0;

	for (unsigned i = 0; i < n_live; i++) {
		unsigned class = hc_evict_class(hc_evict_size(live[i]));
		entries[class][in_main(live[i])]++;
		bytes[class][in_main(live[i])] += hc_evict_size(live[i]);
	}
	must(evict.entries == n_live);
	must(table.count == n_live);
	for (unsigned class = 0; class < HC_EVICT_CLASSES; class ++) {
		bool any = false;
		for (int which = 0; which < 2; which++) {
			const struct hc_evict_queue *queue = &evict.classes[class][which];
			must(queue->entries == entries[class][which]);
			must(queue->bytes == bytes[class][which]);
			/* Each entry has its item, unless it is the one known to be the oldest. */
			must(queue->items + (queue->oldest != NULL) >= queue->entries);
			must(queue->items <= 3 * queue->entries + 500);
			items += queue->items;
			any = any || queue->entries > 0;
		}
		must(any == ((evict.used >> class & 1) != 0));
	}
	must(evict.items == items);
}

static unsigned
index_of(const struct hc_entry *entry)
{
	for (unsigned i = 0; i < n_live; i++) {
		if (live[i] == entry)
			return i;
	}
	ck_abort_msg("the victim is not among the entries");
}

static void
random_op(struct rng *rng, unsigned n)
{
	unsigned dice = rng_below(rng, 100), i = n_live == 0 ? 0 : rng_below(rng, n_live);
	size_t len = (size_t)1 << rng_below(rng, 18);

	len += rng_below(rng, (uint32_t)len);
	if (n_live < MAX_ENTRIES && (n_live == 0 || dice < (n / 20000 % 2 == 0 ? 40 : 20))) {
		live[n_live++] = add_n("k", n, len);
	} else if (dice < 60) {
		hit(live[i], 1);
	} else if (dice < 70) {
		live[i] = overwrite(live[i], len);
	} else if (dice < 80) {
		drop(live[i]);
		live[i] = live[--n_live];
	} else {
		struct hc_entry *keep = live[i], *victim = next_victim(keep);
		must((victim == NULL) == (n_live == 1));
		must(victim != keep);
		if (victim == NULL)
			return;
		i = index_of(victim);
		drop(victim);
		live[i] = live[--n_live];
	}
}

/* What upkeep does now and then, each as often with the others before it as not. */
static void
random_upkeep(struct rng *rng)
{
	if (rng_below(rng, 2) == 0)
		hc_evict_give_up(&evict);
	if (rng_below(rng, 2) == 0)
		(void)hc_evict_tidy(&evict, rng_below(rng, 4));
	if (rng_below(rng, 4) == 0)
		hc_slab_free_plain_list(hc_evict_take_spares(&evict));
}

START_TEST(random_ops_keep_counts_and_find_all)
{
	struct rng rng = {test_seed()};

	n_live = 0;
	for (unsigned n = 0; n < 100000; n++) {
		random_op(&rng, n);
		if (rng_below(&rng, 100) == 0)
			random_upkeep(&rng);
		if (n % 500 == 0)
			check_counts();
	}
	/* tear_down() evicts all there is, and finds that nothing is left. */
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("evict");
	TCase *tcase = tcase_create("evict");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, class_of_size_is_twice_its_logarithm);
	tcase_add_test(tcase, small_goes_in_order_of_insertion);
	tcase_add_test(tcase, hit_in_newest_fifth_does_not_count);
	tcase_add_test(tcase, small_hit_moves_to_main_cold);
	tcase_add_test(tcase, main_hit_goes_round_a_degree_cooler);
	tcase_add_test(tcase, small_within_its_tenth_is_spared);
	tcase_add_test(tcase, scan_leaves_main_alone);
	tcase_add_test(tcase, large_goes_before_small_of_equal_age);
	tcase_add_test(tcase, bytes_weight_needs_more_hits_to_prefer_the_small);
	tcase_add_test(tcase, clock_ages_what_is_small_too);
	tcase_add_test(tcase, ghost_hit_goes_to_main);
	tcase_add_test(tcase, removed_otherwise_is_no_ghost);
	tcase_add_test(tcase, ghost_remembers_about_the_capacity);
	tcase_add_loop_test(tcase, ghost_outlives_a_new_capacity, 0, 3);
	tcase_add_test(tcase, ghost_follows_the_entries_down);
	tcase_add_test(tcase, ghost_grows_old_between_settings);
	tcase_add_test(tcase, overwrite_of_same_class_keeps_its_place);
	tcase_add_test(tcase, overwrite_of_another_class_keeps_what_it_earned);
	tcase_add_test(tcase, items_of_removed_entries_are_bounded);
	tcase_add_test(tcase, queue_without_entries_gives_up_what_it_has);
	tcase_add_test(tcase, entries_queued_without_memory_go_too);
	tcase_add_test(tcase, random_ops_keep_counts_and_find_all);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
