/*
 * The look-up table alone: random histories against a model while it grows and shrinks, what a walk
 * promises, allocations that fail, and keys chosen to fall together.
 */
#include <malloc.h>
#include <sys/mman.h>
#include "support.h"
#include "store/shard.h"

#define KEYS 6000
#define MANY 60000 /* they take several segments */
#define NAME_LEN 12

static struct hc_store *store; /* for making entries */
static struct hc_table table;
static struct rng rng;

/* The model: which keys are there. */
static struct hc_entry *model[MANY];
static size_t n_model;

static void
set_up(void)
{
	rng.state = test_seed();
	store = store_of(1 << 30, 1);
	ck_assert_int_eq(hc_table_init(&table), HC_OK);
	memset(model, 0, sizeof(model));
	n_model = 0;
}

static struct hc_key
key_n(unsigned i, char name[NAME_LEN + 1])
{
	snprintf(name, NAME_LEN + 1, "key%09u", i);
	return key_str(name);
}

static void
adapt(unsigned steps)
{
	hc_table_free(hc_table_adapt(&table, steps));
	hc_slab_free_plain_list(hc_table_take_spares(&table));
	must(table.nspare <= HC_TABLE_SPARES);
	unsigned spare = 0;
	for (void *bucket = table.spare; bucket != NULL; bucket = *(void **)bucket)
		spare++;
	must(spare == table.nspare);
}

static void
take_out(unsigned i)
{
	char name[NAME_LEN + 1];
	struct hc_place place;
	struct hc_entry *entry = hc_table_find(&table, key_n(i, name), &place);

	must(entry != NULL && entry == model[i]);
	hc_table_remove(&table, &place);
	hc_entry_unref(entry);
	model[i] = NULL;
	n_model--;
}

static enum hc_status
put_in(unsigned i)
{
	char name[NAME_LEN + 1];
	struct hc_key key = key_n(i, name);
	struct hc_place place;

	must(hc_table_find(&table, key, &place) == NULL);
	struct hc_entry *entry = hc_entry_create(store, key, 0, HC_MODEL_DEFAULT);
	must(entry != NULL);
	if (hc_table_insert(&table, &place, entry, (uint32_t)key.hash) != HC_OK) {
		hc_entry_unref(entry);
		return HC_NOMEM;
	}
	model[i] = entry;
	n_model++;
	return HC_OK;
}

static void
replace(unsigned i)
{
	char name[NAME_LEN + 1];
	struct hc_key key = key_n(i, name);
	struct hc_place place;
	struct hc_entry *old = hc_table_find(&table, key, &place);

	must(old != NULL && old == model[i]);
	model[i] = hc_entry_create(store, key, 0, HC_MODEL_DEFAULT);
	must(model[i] != NULL);
	hc_table_replace(&place, model[i]);
	hc_entry_unref(old);
}

static void
tear_down(void)
{
	for (unsigned i = 0; i < KEYS; i++) {
		if (model[i] != NULL)
			take_out(i);
	}
	must(table.count == 0);
	hc_table_fini(&table);
	hc_store_destroy(store);
}

/* ---- what must hold at all times ---- */

/* Each bucket has what belongs to it and nothing else; only full ones are followed by another. */
static size_t
check_chain(uint32_t index)
{
	size_t n = 0, nodes = 0;

	for (const struct hc_bucket *bucket = hc_table_bucket(&table, index); bucket != NULL;
	     bucket = hc_bucket_more(bucket)) {
		for (unsigned used = hc_bucket_used(bucket); used != 0; used &= used - 1) {
			unsigned at = (unsigned)__builtin_ctz(used);
			uint32_t hash = (uint32_t)hc_entry_hash(hc_bucket_entry(bucket, at));
			must(hc_table_index(&table, hash) == index);
			must(bucket->tags[at] == hc_bucket_tag(hash));
			n++;
		}
		must(hc_bucket_more(bucket) == NULL || hc_bucket_free(bucket) == 0);
		nodes++;
	}
	must(nodes == 1 || n > (nodes - 1) * (HC_BUCKET_PLACES - 1) + 1);
	must(hc_table_chain_len(hc_table_bucket(&table, index)) == n);
	return n;
}

static void
check_table(void)
{
	size_t n = 0, more = 0;

	must(table.buckets == table.wide * (table.mask + 1) + table.split);
	must(table.split <= table.mask);
	must(table.wide == 2 || table.wide == 3);
	for (uint32_t i = 0; i < table.buckets; i++) {
		n += check_chain(i);
		for (const struct hc_bucket *b = hc_bucket_more(hc_table_bucket(&table, i)); b != NULL;
		     b = hc_bucket_more(b))
			more++;
	}
	must(n == table.count && n == n_model);
	must(more == table.nmore);
	for (unsigned i = 0; i < KEYS; i++) {
		char name[NAME_LEN + 1];
		struct hc_key key = key_n(i, name);
		struct hc_place place;
		must(hc_table_find(&table, key, &place) == model[i]);
		if (model[i] == NULL)
			continue;
		struct hc_place same = hc_table_place(&table, model[i], (uint32_t)key.hash);
		must(same.first == place.first && same.bucket == place.bucket && same.at == place.at);
	}
}

START_TEST(match_finds_each_tag_in_each_place)
{
	struct hc_bucket bucket;

	for (unsigned round = 0; round < 20000; round++) {
		unsigned same = 0, nothing = 0;
		uint8_t tag = (uint8_t)(1 + rng_below(&rng, 255));
		memset(&bucket, 0xff, sizeof(bucket));
		bucket.more = 0;
		for (unsigned at = 0; at < HC_BUCKET_PLACES; at++) {
			/* Near each other: what differs in one bit must not be taken for the same. */
			unsigned near = tag ^ (1u << rng_below(&rng, 8)), kind = rng_below(&rng, 3);
			bucket.tags[at] = kind == 0 ? tag : (uint8_t)(kind == 1 ? near : rng_below(&rng, 3));
			same |= (unsigned)(bucket.tags[at] == tag) << at;
			nothing |= (unsigned)(bucket.tags[at] == 0) << at;
		}
		must(hc_bucket_match(&bucket, tag) == same);
		must(hc_bucket_free(&bucket) == nothing);
		must(hc_bucket_used(&bucket) == (~nothing & 0x1ff));
	}
}
END_TEST

START_TEST(address_of_48_bits_comes_back)
{
	struct hc_bucket bucket = {0};

	for (unsigned at = 0; at < HC_BUCKET_PLACES; at++)
		hc_bucket_set(&bucket, at, (uint8_t)(at + 1), (void *)(uintptr_t)(0xfedcba987650 + at));
	for (unsigned at = 0; at < HC_BUCKET_PLACES; at++) {
		must(hc_bucket_entry(&bucket, at) == (void *)(uintptr_t)(0xfedcba987650 + at));
		must(bucket.tags[at] == at + 1);
	}
	must(bucket.more == 0);
}
END_TEST

START_TEST(table_random_history_equals_model)
{
	size_t most = 0;

	/* Waves of more insertions than removals, then the other way round. */
	for (unsigned i = 0; i < 60000; i++) {
		unsigned key = rng_below(&rng, KEYS), filling = i / 10000 % 2 == 0 ? 80 : 20;
		if (model[key] == NULL && rng_below(&rng, 100) < filling)
			must(put_in(key) == HC_OK);
		else if (model[key] != NULL && rng_below(&rng, 100) >= filling)
			take_out(key);
		else if (model[key] != NULL)
			replace(key);
		adapt(1 + rng_below(&rng, 3));
		if (i % 1000 == 0)
			check_table();
		if (n_model > most)
			most = n_model;
	}
	must(most > KEYS / 2);
	check_table();
}
END_TEST

START_TEST(table_follows_the_number_of_entries)
{
	for (unsigned i = 0; i < KEYS; i++) {
		must(put_in(i) == HC_OK);
		adapt(1);
		must(hc_table_fits(&table));
	}
	must(table.buckets >= KEYS / 7 && table.buckets <= KEYS / 5);
	check_table();
	for (unsigned i = 0; i < KEYS; i++) {
		take_out(i);
		adapt(1);
		must(hc_table_fits(&table));
		if (i % 500 == 0)
			check_table();
	}
	must(table.buckets == 2 * HC_TABLE_MIN_GROUPS);
	must(table.nsegments == 1 && table.nmore == 0);
}
END_TEST

/* However far it has grown, nearly all entries are in the first bucket they are looked for in. */
START_TEST(table_keeps_entries_in_their_first_bucket)
{
	size_t far = 0, seen = 0;

	for (unsigned i = 0; i < KEYS; i++) {
		must(put_in(i) == HC_OK);
		adapt(1);
		if (i < 1000 || i % 100 != 0)
			continue;
		for (uint32_t j = 0; j < table.buckets; j++) {
			size_t len = hc_table_chain_len(hc_table_bucket(&table, j));
			far += len - (size_t)__builtin_popcount(hc_bucket_used(hc_table_bucket(&table, j)));
			must(len <= 40);
		}
		seen += table.count;
	}
	must_msg(far * 100 <= seen * 7, "%zu of %zu are not", far, seen);
}
END_TEST

/* ---- walking ---- */

static unsigned times_met[KEYS];

static void
walk_step(uint64_t *cursor)
{
	struct hc_bucket *buckets[HC_TABLE_GROUP_MAX];
	unsigned n = hc_table_group(&table, *cursor, buckets);

	for (unsigned i = 0; i < n; i++) {
		for (const struct hc_bucket *b = buckets[i]; b != NULL; b = hc_bucket_more(b)) {
			for (unsigned used = hc_bucket_used(b); used != 0; used &= used - 1) {
				struct hc_slice key = hc_entry_key(hc_bucket_entry(b, (unsigned)__builtin_ctz(used)));
				times_met[strtoul(key.ptr + 3, NULL, 10)]++;
			}
		}
	}
	*cursor = hc_table_walk_next(&table, *cursor);
}

/* Between the steps so much happens that the table may double or halve several times during one walk. */
static void
change_much(bool filling, bool *stays)
{
	for (unsigned i = 0; i < 30; i++) {
		unsigned key = rng_below(&rng, KEYS);
		if (model[key] == NULL && filling)
			must(put_in(key) == HC_OK);
		else if (model[key] != NULL && !filling && !stays[key])
			take_out(key);
		adapt(2);
	}
}

START_TEST(walk_meets_what_stays)
{
	static bool stays[KEYS];
	unsigned grown = 0, shrunk = 0;

	for (unsigned round = 0; round < 40; round++) {
		uint64_t cursor = 0;
		bool filling = round % 2 == 0;
		memset(times_met, 0, sizeof(times_met));
		for (unsigned i = 0; i < KEYS; i++)
			stays[i] = model[i] != NULL && rng_below(&rng, 10) == 0;
		uint32_t before = table.mask;
		do {
			walk_step(&cursor);
			change_much(filling, stays);
		} while (cursor != 0);
		grown += table.mask > before;
		shrunk += table.mask < before;
		for (unsigned i = 0; i < KEYS; i++)
			must(!stays[i] || times_met[i] > 0);
	}
	must(grown > 5 && shrunk > 5);
}
END_TEST

START_TEST(walk_meets_each_once_while_nothing_changes)
{
	uint64_t cursor = 0;

	for (unsigned i = 0; i < KEYS; i++) {
		must(put_in(i) == HC_OK);
		adapt(1);
	}
	memset(times_met, 0, sizeof(times_met));
	do
		walk_step(&cursor);
	while (cursor != 0);
	for (unsigned i = 0; i < KEYS; i++)
		must(times_met[i] == 1);
}
END_TEST

START_TEST(clear_while_walking_then_tidy_leaves_it_whole)
{
	for (unsigned i = 0; i < KEYS; i++)
		must(put_in(i) == HC_OK); /* never adapted: long chains */
	for (uint32_t index = 0; index < table.buckets; index++) {
		struct hc_bucket *first = hc_table_bucket(&table, index);
		for (struct hc_bucket *b = first; b != NULL; b = hc_bucket_more(b)) {
			for (unsigned used = hc_bucket_used(b); used != 0; used &= used - 1) {
				unsigned at = (unsigned)__builtin_ctz(used);
				struct hc_entry *entry = hc_bucket_entry(b, at);
				if (rng_below(&rng, 10) < 1 + index)
					continue;
				hc_table_clear(&table, b, at);
				model[strtoul(hc_entry_key(entry).ptr + 3, NULL, 10)] = NULL;
				n_model--;
				hc_entry_unref(entry);
			}
		}
		hc_table_tidy(&table, first);
	}
	check_table();
	must(n_model > 0 && n_model < KEYS);
}
END_TEST

/* ---- memory ---- */

/* Of the segments that the table has now. */
static size_t
resident_bytes(void)
{
	unsigned char in_memory[HC_REGION_SLOT / 4096];
	size_t page = hc_region_page(), pages = 0;

	for (uint32_t i = 0; i < table.nsegments; i++) {
		must(mincore(table.segments[i], HC_REGION_SLOT, in_memory) == 0);
		for (size_t at = 0; at < HC_REGION_SLOT / page; at++)
			pages += in_memory[at] & 1;
	}
	return pages * page;
}

static void
check_resident(void)
{
	size_t resident = resident_bytes(), said = hc_table_bytes(&table);

	must_msg(
	    resident <= said && said <= resident + resident / 4 + hc_region_page(), "%zu, said %zu", resident, said);
}

/* Little by little, and all at once, as after everything was cleared; what lies beside it stays as it was. */
START_TEST(table_takes_the_memory_it_says_and_gives_it_back)
{
	bool at_once = _i;
	struct hc_table beside;
	struct hc_place place;
	char name[NAME_LEN + 1];
	size_t listed = mallinfo2().fsmblks;

	for (unsigned i = 0; i < MANY; i++) {
		must(put_in(i) == HC_OK);
		adapt(1);
		if (i == 0) /* in the slot after the first */
			must(hc_table_init(&beside) == HC_OK);
	}
	struct hc_key key = key_n(1, name);
	must(hc_table_find(&beside, key, &place) == NULL);
	must(hc_table_insert(&beside, &place, model[1], (uint32_t)key.hash) == HC_OK);
	must(table.nsegments > 2);
	check_resident();
	for (unsigned i = 0; i < MANY; i++) {
		if (i % 1000 == 0 && !at_once)
			check_resident();
		if (i == 1)
			continue;
		take_out(i);
		if (!at_once)
			adapt(1);
	}
	hc_entry_ref(model[1]);
	take_out(1);
	adapt(1);
	must(table.nsegments == 1 && resident_bytes() == hc_region_page());
	struct hc_entry *found = hc_table_find(&beside, key, &place);
	must(found != NULL);
	hc_entry_unref(found);
	hc_table_fini(&beside);
	must(mallinfo2().fsmblks <= listed + 4096); /* nothing that malloc_trim() would have to walk */
}
END_TEST

START_TEST(table_survives_failing_allocations)
{
	unsigned refused = 0;

	for (unsigned i = 0; i < 60000; i++) {
		unsigned key = rng_below(&rng, KEYS), filling = i / 15000 % 2 == 0 ? 80 : 20;
		bool put = model[key] == NULL && rng_below(&rng, 100) < filling;
		if (model[key] != NULL && rng_below(&rng, 100) >= filling)
			take_out(key);
		if (put) {
			char name[NAME_LEN + 1];
			struct hc_key hkey = key_n(key, name);
			struct hc_place place;
			struct hc_entry *entry = hc_entry_create(store, hkey, 0, HC_MODEL_DEFAULT);
			must(hc_table_find(&table, hkey, &place) == NULL);
			hc_mem_fail_after(rng_below(&rng, 100) < 90);
			enum hc_status status = hc_table_insert(&table, &place, entry, (uint32_t)hkey.hash);
			hc_mem_fail_after(0);
			must(status == HC_OK || status == HC_NOMEM);
			if (status == HC_OK) {
				model[key] = entry;
				n_model++;
			} else {
				hc_entry_unref(entry);
				refused++;
			}
		}
		hc_mem_fail_after(rng_below(&rng, 100) < 90 ? 1 + rng_below(&rng, 2) : 0);
		adapt(1);
		hc_mem_fail_after(0);
		if (i % 1000 == 0)
			check_table();
	}
	must(refused > 10);
	for (unsigned i = 0; i < KEYS && !hc_table_fits(&table); i++)
		adapt(1);
	must(hc_table_fits(&table));
	check_table();
}
END_TEST

/* Without memory for another bucket the store evicts from the full one: what was put last is there. */
START_TEST(store_evicts_from_the_bucket_when_memory_fails)
{
	struct hc_store_stats stats;

	for (unsigned i = 0; i < KEYS; i++) {
		char name[NAME_LEN + 1];
		struct hc_key key = key_n(i, name);
		struct hc_entry *entry = hc_entry_create(store, key, 0, HC_MODEL_DEFAULT), *found;
		hc_mem_fail_after(1);
		must(hc_store_put(store, key, entry, NULL, 1000, NULL) == HC_OK);
		hc_mem_fail_after(0);
		must(hc_store_get(store, key, 1000, &found) == HC_OK && found == entry);
		hc_entry_unref(found);
		hc_entry_unref(entry);
	}
	hc_store_stats(store, &stats);
	must(stats.evicted > 0);
	must(stats.entries + stats.evicted == KEYS);
	must(hc_store_count(store, 1000) == stats.entries);
}
END_TEST

/* They are freed when its lock is given back, not kept. */
START_TEST(store_keeps_few_spare_buckets)
{
	struct hc_store *large = store_of((uint64_t)1 << 30, 1);
	char name[NAME_LEN + 1];

	for (unsigned i = 0; i < MANY; i++) {
		struct hc_key key = key_n(i, name);
		struct hc_entry *entry = hc_entry_create(large, key, 0, HC_MODEL_DEFAULT);
		must(hc_store_put(large, key, entry, NULL, 1000, NULL) == HC_OK);
		hc_entry_unref(entry);
	}
	must(large->shards[0].table.nmore > 20 * HC_TABLE_SPARES);
	for (unsigned i = 0; i < MANY; i++)
		must(hc_store_del(large, key_n(i, name), 1000, NULL) == HC_OK);
	must(large->shards[0].table.nmore == 0 && large->shards[0].table.nspare <= HC_TABLE_SPARES);
	hc_store_destroy(large);
}
END_TEST

/* ---- keys chosen to fall together ---- */

#define FLOOD 4096

/* Many keys whose plain hash has the same lowest 12 bits: as would find a bucket in a table of that size. */
static void
name_same_xxh3(unsigned i, char name[32])
{
	static uint64_t next;

	if (i == 0)
		next = 0;
	do
		snprintf(name, 32, "xx%016llx", (unsigned long long)next++);
	while ((hc_checksum(name, strlen(name)) & 0xfff) != 0x123);
}

/* The classic: "Ez" and "FY" are the same to h * 33 + c, and so is every sequence of them. */
static void
name_same_djb(unsigned i, char name[32])
{
	for (unsigned bit = 0; bit < 12; bit++)
		memcpy(&name[2 * bit], (i >> bit & 1) != 0 ? "Ez" : "FY", 2);
	name[24] = '\0';
}

static uint32_t
crc32_of(const unsigned char *bytes, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
	}
	return ~crc;
}

/* CRC is linear: four bytes at the end make of it whatever is wanted. */
static void
name_same_crc(unsigned i, char name[32])
{
	uint32_t crc, want = ~0xdeadbeefu;

	snprintf(name, 32, "crc%05u....", i);
	crc = ~crc32_of((unsigned char *)name, 8);
	for (unsigned bit = 0; bit < 32; bit++)
		want = want << 1 ^ ((want & 0x80000000) != 0 ? 0xdb710641 : 0);
	want ^= crc;
	memcpy(&name[8], &want, sizeof(want));
	must(crc32_of((unsigned char *)name, 12) == 0xdeadbeef);
}

/* As low entropy as keys come: all bits but a few in the middle are the same. */
static void
name_counted(unsigned i, char name[32])
{
	memset(name, 'a', 24);
	name[24] = '\0';
	for (unsigned at = 0; at < 4; at++)
		name[10 + at] = (char)('a' + (i >> 3 * at & 7));
}

static const struct {
	const char *what;
	void (*name)(unsigned i, char name[32]);
	size_t len;
} floods[] = {
    {"the same XXH3", name_same_xxh3, 18},
    {"the same djb2", name_same_djb, 24},
    {"the same CRC-32", name_same_crc, 12},
    {"counted", name_counted, 24},
};

START_TEST(chosen_keys_flood_neither_shard_nor_bucket)
{
	struct hc_store *flooded = store_of(64 << 20, 16);
	size_t longest = 0, far = 0, fullest = 0;

	for (unsigned i = 0; i < FLOOD; i++) {
		char name[32];
		floods[_i].name(i, name);
		struct hc_key key = hc_key(hc_slice(name, floods[_i].len));
		struct hc_entry *entry = hc_entry_create(flooded, key, 0, HC_MODEL_DEFAULT);
		must(hc_store_put(flooded, key, entry, NULL, 1000, NULL) == HC_OK);
		hc_entry_unref(entry);
	}
	must(hc_store_count(flooded, 1000) == FLOOD);
	for (uint32_t s = 0; s < flooded->nshards; s++) {
		const struct hc_table *t = &flooded->shards[s].table;
		fullest = t->count > fullest ? t->count : fullest;
		for (uint32_t i = 0; i < t->buckets; i++) {
			const struct hc_bucket *first = hc_table_bucket(t, i);
			size_t len = hc_table_chain_len(first);
			longest = len > longest ? len : longest;
			far += len - (size_t)__builtin_popcount(hc_bucket_used(first));
		}
	}
	must_msg(fullest < 2 * FLOOD / 16, "%s: %zu in a shard", floods[_i].what, fullest);
	must_msg(longest <= 30, "%s: %zu in a bucket", floods[_i].what, longest);
	must_msg(far < FLOOD / 8, "%s: %zu not in their first bucket", floods[_i].what, far);
	hc_store_destroy(flooded);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("table");
	TCase *tcase = tcase_create("table");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, match_finds_each_tag_in_each_place);
	tcase_add_test(tcase, address_of_48_bits_comes_back);
	tcase_add_test(tcase, table_random_history_equals_model);
	tcase_add_test(tcase, table_follows_the_number_of_entries);
	tcase_add_test(tcase, table_keeps_entries_in_their_first_bucket);
	tcase_add_test(tcase, walk_meets_what_stays);
	tcase_add_test(tcase, walk_meets_each_once_while_nothing_changes);
	tcase_add_test(tcase, clear_while_walking_then_tidy_leaves_it_whole);
	tcase_add_loop_test(tcase, table_takes_the_memory_it_says_and_gives_it_back, 0, 2);
	tcase_add_test(tcase, table_survives_failing_allocations);
	tcase_add_test(tcase, store_evicts_from_the_bucket_when_memory_fails);
	tcase_add_test(tcase, store_keeps_few_spare_buckets);
	tcase_add_loop_test(tcase, chosen_keys_flood_neither_shard_nor_bucket, 0, sizeof(floods) / sizeof(floods[0]));
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
