/*
 * Random operations against a plain array of what each key should hold. Without eviction the store
 * must agree exactly; with it, a key may be missing but never wrong. A scan is under way all the
 * time, while the store grows and shrinks: it must meet whatever stayed for its whole walk.
 */
#include "support.h"

#define KEYS 6000
#define MODELS 3
#define OPS 150000

struct expected {
	bool there;
	uint32_t tag; /* which write it was: the value is made from it */
	size_t len;
	uint32_t model;
	uint64_t version;
	int64_t expire_ms;
	bool stayed; /* since the scan began */
	bool seen;   /* by the scan */
};

static struct {
	struct hc_store *store;
	struct rng rng;
	struct expected keys[KEYS];
	uint32_t model_ids[MODELS];
	int64_t now_ms;
	uint32_t tag;
	uint64_t cursor;
	bool evicts;
	bool versions;
	unsigned scans; /* finished */
	unsigned overwritten;
} w;

static void
name_of(uint32_t i, char name[16])
{
	snprintf(name, 16, "key-%u", i);
}

static struct hc_key
key_of(uint32_t i)
{
	static char name[16];

	name_of(i, name);
	return key_str(name);
}

static bool
expected_there(uint32_t i)
{
	struct expected *e = &w.keys[i];

	if (e->there && e->expire_ms <= w.now_ms)
		e->there = e->stayed = false;
	return e->there;
}

static void
gone(uint32_t i)
{
	w.keys[i].there = w.keys[i].stayed = false;
}

static struct hc_entry *
new_entry(uint32_t i, struct expected *e)
{
	e->stayed = expected_there(i) && w.keys[i].stayed;
	e->tag = ++w.tag;
	e->there = true;
	e->seen = w.keys[i].seen;
	e->len = 4 + (rng_below(&w.rng, 20) == 0 ? rng_below(&w.rng, 5000) : rng_below(&w.rng, 100));
	e->model = w.model_ids[rng_below(&w.rng, MODELS)];
	e->version = w.versions ? rng_below(&w.rng, 50) : 0;
	e->expire_ms = rng_below(&w.rng, 4) == 0 ? w.now_ms + rng_below(&w.rng, 2000) : HC_NO_EXPIRY;
	struct hc_entry *entry = hc_entry_create(w.store, key_of(i), e->len, e->model);
	memset(hc_entry_value_ptr(entry), (int)(e->tag & 0xff), e->len);
	memcpy(hc_entry_value_ptr(entry), &e->tag, 4);
	if (w.versions)
		hc_entry_set_version(entry, e->version);
	hc_entry_set_expire_ms(entry, e->expire_ms);
	return entry;
}

/* What a look at the key brought must be what is expected; a miss may be an eviction. */
static void
check_found(uint32_t i, const struct hc_entry *entry)
{
	struct expected *e = &w.keys[i];
	uint32_t tag;

	if (entry == NULL) {
		must_msg(!expected_there(i) || w.evicts, "key %u is missing", i);
		gone(i);
		return;
	}
	must_msg(expected_there(i), "key %u should not be there", i);
	must(hc_slice_eq(hc_entry_key(entry), hc_slice(key_of(i).ptr, key_of(i).len)));
	must(hc_entry_value_len(entry) == e->len);
	memcpy(&tag, hc_entry_value(entry).ptr, 4);
	must_msg(tag == e->tag, "key %u holds write %u, not %u", i, tag, e->tag);
	must(
	    hc_entry_value(entry).ptr[e->len - 1] == (e->len == 4 ? hc_entry_value(entry).ptr[3] : (char)(tag & 0xff)));
	must(hc_entry_expire_ms(entry) == e->expire_ms);
}

static void
op_get(uint32_t i)
{
	struct hc_entry *entry = NULL;

	if (rng_below(&w.rng, 2) == 0)
		hc_store_get(w.store, key_of(i), w.now_ms, &entry);
	else
		hc_store_peek(w.store, key_of(i), w.now_ms, &entry);
	check_found(i, entry);
	hc_entry_unref(entry);
}

/* Beyond what eviction counts, sixteen at a time, by chance. */
static bool
counted_right(uint32_t before, uint32_t after, bool counted)
{
	return after == before + (counted && before < HC_ENTRY_HOT_MAX) ||
	       (counted && before >= HC_ENTRY_HOT_MAX && after == before + 16);
}

static void
op_find_many(uint32_t i)
{
	static char names[HC_STORE_MANY][16];
	struct hc_key keys[HC_STORE_MANY];
	struct hc_entry *entries[HC_STORE_MANY];
	uint32_t n = rng_below(&w.rng, HC_STORE_MANY + 1), counted = rng_below(&w.rng, n + 1);
	uint32_t hits[HC_STORE_MANY];

	for (uint32_t k = 0; k < n; k++) {
		name_of((i + k) % KEYS, names[k]);
		keys[k] = key_str(names[k]);
	}
	bool alone = rng_below(&w.rng, 2) == 0;
	if (alone)
		hc_store_exclusive_begin(w.store);
	else
		hc_store_read_begin(w.store);
	hc_store_find_many(w.store, keys, n, w.now_ms, entries);
	for (uint32_t k = 0; k < n; k++)
		hits[k] = entries[k] != NULL ? hc_entry_hits(entries[k]) : 0;
	hc_store_count_reads(w.store, keys, counted, w.now_ms, entries);
	for (uint32_t k = 0; k < n; k++) {
		check_found((i + k) % KEYS, entries[k]);
		must(entries[k] == NULL || counted_right(hits[k], hc_entry_hits(entries[k]), k < counted));
	}
	if (alone)
		hc_store_exclusive_end(w.store);
	else
		hc_store_read_end(w.store);
}

static void
op_put(uint32_t i)
{
	struct expected next = {0};
	struct hc_entry *entry = new_entry(i, &next), *old = NULL;
	struct hc_store_put how = {
	    .condition = (enum hc_store_condition)rng_below(&w.rng, 3), .keep_ttl = rng_below(&w.rng, 4) == 0};
	enum hc_status status = hc_store_put(w.store, key_of(i), entry, &how, w.now_ms, &old);

	check_found(i, old);
	bool there = old != NULL;
	bool holds = how.condition == HC_STORE_ANY || (how.condition == HC_STORE_PRESENT) == there;
	must(status == (holds ? HC_OK : HC_MISS));
	if (holds) {
		if (how.keep_ttl && there)
			next.expire_ms = w.keys[i].expire_ms;
		w.keys[i] = next;
	}
	hc_entry_unref(old);
	hc_entry_unref(entry);
}

/* Mostly of the length that is there, or was, and the model. */
static void
op_overwrite(uint32_t i)
{
	struct expected *e = &w.keys[i], next = {0};
	struct hc_entry *entry;
	bool there = expected_there(i);

	if (e->len == 0) /* it never was */
		return;
	do {
		entry = new_entry(i, &next);
		hc_entry_unref(entry);
	} while (next.model != e->model);
	if (rng_below(&w.rng, 4) > 0)
		next.len = e->len;
	char *value = malloc(next.len);
	memset(value, (int)(next.tag & 0xff), next.len);
	memcpy(value, &next.tag, 4);
	bool done =
	    hc_store_overwrite(w.store, key_of(i), next.model, hc_slice(value, next.len), next.expire_ms, w.now_ms);
	free(value);
	must(!done || (there && !w.versions && next.len == e->len && next.expire_ms > w.now_ms));
	must(done || !there || w.versions || w.evicts || next.len != e->len || next.len > 4096 ||
	     next.expire_ms <= w.now_ms);
	if (done)
		*e = next;
	w.overwritten += done;
}

static void
op_put_many(uint32_t i)
{
	struct hc_entry *entries[8];
	struct expected next[8] = {0};
	bool absent = rng_below(&w.rng, 2) == 0, none = true;

	for (uint32_t k = 0; k < 8; k++) {
		entries[k] = new_entry((i + k) % KEYS, &next[k]);
		if (w.evicts)
			op_get((i + k) % KEYS); /* learn what was evicted: nothing is before the call */
		none = none && !expected_there((i + k) % KEYS);
	}
	enum hc_status status =
	    hc_store_put_many(w.store, entries, 8, absent ? HC_STORE_ABSENT : HC_STORE_ANY, w.now_ms);
	must(status == (!absent || none ? HC_OK : HC_MISS));
	for (uint32_t k = 0; k < 8; k++) {
		if (status == HC_OK)
			w.keys[(i + k) % KEYS] = next[k];
		hc_entry_unref(entries[k]);
	}
}

static void
op_del(uint32_t i)
{
	struct hc_entry *old = NULL;
	enum hc_status status = hc_store_del(w.store, key_of(i), w.now_ms, &old);

	check_found(i, old);
	must(status == (old != NULL ? HC_OK : HC_MISS));
	hc_entry_unref(old);
	gone(i);
}

static void
op_expire(uint32_t i)
{
	int64_t at = rng_below(&w.rng, 4) == 0 ? HC_NO_EXPIRY : w.now_ms + rng_below(&w.rng, 3000);
	enum hc_status status = hc_store_expire(w.store, key_of(i), 0, at, w.now_ms, NULL);

	if (status == HC_MISS)
		check_found(i, NULL);
	else
		must(expected_there(i));
	if (status == HC_UNCHANGED)
		must(at == HC_NO_EXPIRY && w.keys[i].expire_ms == HC_NO_EXPIRY);
	if (status == HC_OK)
		w.keys[i].expire_ms = at;
	expected_there(i);
}

static void
op_invalidate(uint32_t i)
{
	uint64_t version = rng_below(&w.rng, 50);

	(void)hc_store_invalidate(w.store, key_of(i), version);
	if (version == 0 || w.keys[i].version < version)
		gone(i);
}

/* A fill or a write, sometimes overtaken by an invalidation, a clear or another operation on the
 * key. */
static void
op_ticket(uint32_t i)
{
	struct hc_ticket ticket;
	struct expected next = {0};
	struct hc_entry *entry = new_entry(i, &next);
	bool fill = rng_below(&w.rng, 2) == 0, overtaken = rng_below(&w.rng, 3) == 0;
	enum hc_status status;

	if (fill)
		hc_store_fill_begin(w.store, key_of(i), &ticket);
	else
		hc_store_write_begin(w.store, key_of(i), &ticket);
	if (!fill)
		gone(i);
	if (overtaken)
		op_del(i);
	status = fill ? hc_store_fill_end(w.store, key_of(i), &ticket, entry, HC_FILL_NEW, w.now_ms)
		      : hc_store_write_end(w.store, key_of(i), &ticket, entry, HC_FILL_NEW, w.now_ms);
	hc_entry_unref(entry);
	if (next.expire_ms <= w.now_ms) {
		must(status == HC_STALE);
		gone(i);
	} else {
		must(status == (overtaken ? HC_STALE : HC_OK));
		if (status == HC_OK)
			w.keys[i] = next;
	}
}

static void
op_clear(void)
{
	uint32_t model = w.model_ids[rng_below(&w.rng, MODELS)];
	bool all = rng_below(&w.rng, 3) == 0;

	if (all)
		hc_store_forget_all(w.store);
	else
		hc_models_bump(hc_store_models(w.store), model);
	for (uint32_t i = 0; i < KEYS; i++) {
		if (all || w.keys[i].model == model)
			gone(i);
	}
}

static void
scan_begin(void)
{
	for (uint32_t i = 0; i < KEYS; i++) {
		w.keys[i].stayed = expected_there(i);
		w.keys[i].seen = false;
	}
}

static void
scan_end(void)
{
	w.scans++;
	for (uint32_t i = 0; i < KEYS && !w.evicts; i++) {
		if (expected_there(i) && w.keys[i].stayed)
			must_msg(w.keys[i].seen, "the scan never met key %u", i);
	}
}

static void
op_scan(void)
{
	struct hc_entry_list list = {0};

	if (w.cursor == 0)
		scan_begin();
	must(hc_store_scan(w.store, &w.cursor, 1 + rng_below(&w.rng, 100), w.now_ms, &list) == HC_OK);
	for (size_t n = 0; n < list.n; n++) {
		char name[16] = {0};
		memcpy(name, hc_entry_key(list.items[n]).ptr, hc_entry_key(list.items[n]).len);
		uint32_t i = (uint32_t)atoi(name + 4);
		check_found(i, list.items[n]);
		w.keys[i].seen = true;
	}
	hc_entry_list_fini(&list);
	if (w.cursor == 0)
		scan_end();
}

static void
op_count(void)
{
	uint64_t expected = 0, n = hc_store_count(w.store, w.now_ms);

	for (uint32_t i = 0; i < KEYS; i++)
		expected += expected_there(i);
	if (w.evicts)
		must(n <= expected);
	else
		must(n == expected);
}

static void
check_budget(void)
{
	struct hc_store_stats stats;
	uint64_t entries = 0, bytes = 0;

	hc_store_stats(w.store, &stats);
	must(stats.bytes <= stats.max_bytes);
	for (uint32_t id = 0; id < hc_models_count(hc_store_models(w.store)); id++) {
		struct hc_model_info info;
		hc_models_info(hc_store_models(w.store), id, &info);
		entries += info.entries;
		bytes += info.bytes;
	}
	must(entries == stats.entries);
	must(bytes == stats.bytes);
}

/* Rounds of growing, with mostly puts, take turns with rounds of shrinking, with mostly dels. */
static void
one_op(unsigned n)
{
	uint32_t i = rng_below(&w.rng, KEYS), dice = rng_below(&w.rng, 100);
	bool grow = n / 15000 % 2 == 0;

	w.now_ms += rng_below(&w.rng, 50) == 0;
	if (dice < 40)
		grow ? op_put(i) : op_del(i);
	else if (dice < 45)
		grow ? op_put_many(i) : op_del(i);
	else if (dice < 48)
		op_find_many(i);
	else if (dice < 55)
		op_overwrite(i);
	else if (dice < 65)
		op_get(i);
	else if (dice < 75)
		op_ticket(i);
	else if (dice < 80)
		op_expire(i);
	else if (dice < 85)
		op_invalidate(i);
	else
		op_scan();
	if (n % 1000 == 0)
		hc_store_sweep(w.store, w.now_ms, 200);
	if (n % 5000 == 4999)
		op_count();
	if (n % 20000 == 19999)
		op_clear();
	if (n % 100 == 0 || w.evicts)
		check_budget();
}

static void
run(uint64_t max_bytes, uint32_t shards)
{
	memset(&w, 0, sizeof(w));
	w.rng.state = test_seed();
	w.versions = shards == 64;
	w.store = store_with(max_bytes, shards, w.versions);
	w.evicts = max_bytes < 100 << 20;
	w.now_ms = 1000000;
	for (uint32_t m = 0; m < MODELS; m++) {
		char name[16];
		name_of(m, name);
		hc_models_intern(hc_store_models(w.store), hc_slice_str(name), &w.model_ids[m]);
	}
	for (unsigned n = 0; n < OPS; n++)
		one_op(n);
	must(w.scans > 3);
	must((w.overwritten > 100) == !w.versions);
	for (uint32_t i = 0; i < KEYS; i++)
		op_get(i);
	hc_store_forget_all(w.store);
	hc_store_sweep(w.store, w.now_ms, INT32_MAX);
	struct hc_store_stats stats;
	hc_store_stats(w.store, &stats);
	must(stats.entries == 0);
	must(stats.bytes == 0);
	hc_store_destroy(w.store);
}

START_TEST(store_random_ops_without_eviction_agree)
{
	run((uint64_t)1 << 30, 1);
}
END_TEST

START_TEST(store_random_ops_many_shards_agree)
{
	run((uint64_t)1 << 30, 64);
}
END_TEST

START_TEST(store_random_ops_with_eviction_never_wrong)
{
	run(200000, 4);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_random");
	TCase *tcase = tcase_create("store_random");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, store_random_ops_without_eviction_agree);
	tcase_add_test(tcase, store_random_ops_many_shards_agree);
	tcase_add_test(tcase, store_random_ops_with_eviction_never_wrong);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
