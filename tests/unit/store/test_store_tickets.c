/*
 * Races of fills, writes and invalidations of one key, all of them: two fills and two writes
 * (begin, read or apply upstream, end) and an invalidation or a clear, in every order, against an
 * upstream that is one number. Whatever the order, what the store holds when all is over is what
 * the upstream holds, or nothing; and what it serves meanwhile is never older than what it may be.
 */
#include "support.h"

#define NOW 1000

/* An actor is a list of steps taken in order; the interleavings of all actors are enumerated. */
enum kind { FILL, WRITE, FOREIGN, FOREIGN_CLEAR, LOCAL };

static const unsigned steps_of[] = {[FILL] = 3, [WRITE] = 3, [FOREIGN] = 2, [FOREIGN_CLEAR] = 2, [LOCAL] = 1};

#define MAX_ACTORS 4

struct actor {
	enum kind kind;
	unsigned step;
	struct hc_ticket ticket;
	struct hc_entry *entry; /* created before the rest, as a request's would be */
	uint32_t value;         /* what it read or wrote */
};

static struct hc_store *store;
static struct hc_key key;
static uint32_t upstream; /* what the key holds there: the number of its last write */
static uint32_t applied;  /* this daemon knows that upstream is at least here: acks and events it had */
static struct actor actors[MAX_ACTORS];
static unsigned nactors;
static unsigned long orders, kept;
static char trace[256];

static struct hc_entry *
make_entry(uint32_t value)
{
	struct hc_entry *entry = hc_entry_create(store, key, sizeof(value), HC_MODEL_DEFAULT);

	memcpy(hc_entry_value_ptr(entry), &value, sizeof(value));
	return entry;
}

static void
check_serves(bool at_end)
{
	struct hc_entry *entry;
	uint32_t value;

	if (hc_store_peek(store, key, NOW, &entry) != HC_OK)
		return;
	memcpy(&value, hc_entry_value(entry).ptr, sizeof(value));
	hc_entry_unref(entry);
	must_msg(value >= applied, "%s: serves %u after %u was known", trace, value, applied);
	if (at_end) {
		must_msg(value == upstream, "%s: kept %u, upstream has %u", trace, value, upstream);
		kept++;
	}
}

static void
known(uint32_t value)
{
	if (value > applied)
		applied = value;
}

static void
end_fill(struct actor *a)
{
	enum hc_status status;

	memcpy(hc_entry_value_ptr(a->entry), &a->value, sizeof(a->value));
	status = hc_store_fill_end(store, key, &a->ticket, a->entry, HC_FILL_NEW, NOW);
	must(status == HC_OK || status == HC_STALE);
	must_msg(!hc_store_ticket_good(store, key, &a->ticket), "%s", trace);
}

static void
end_write(struct actor *a)
{
	enum hc_status status;

	memcpy(hc_entry_value_ptr(a->entry), &a->value, sizeof(a->value));
	known(a->value);
	status = hc_store_write_end(store, key, &a->ticket, a->entry, HC_FILL_NEW, NOW);
	must(status == HC_OK || status == HC_STALE);
}

static void
step_upstream(struct actor *a)
{
	if (a->kind == FILL)
		a->value = upstream;
	else
		a->value = ++upstream;
}

static void
step(struct actor *a)
{
	unsigned at = a->step++;

	if (a->kind == LOCAL) { /* a copy that has become bad for some reason known here only */
		(void)hc_store_invalidate(store, key, 0);
	} else if (at == 0 && a->kind == FILL) {
		hc_store_fill_begin(store, key, &a->ticket);
	} else if (at == 0 && a->kind == WRITE) {
		hc_store_write_begin(store, key, &a->ticket);
		must(hc_store_writing(store, key));
	} else if (at + 2 == steps_of[a->kind]) {
		step_upstream(a); /* for the foreign ones, somebody else's write */
	} else if (a->kind == FILL) {
		end_fill(a);
	} else if (a->kind == WRITE) {
		end_write(a);
	} else { /* the event of it arrives */
		known(a->value);
		if (a->kind == FOREIGN)
			(void)hc_store_invalidate(store, key, 0);
		else
			hc_store_forget_all(store);
	}
	check_serves(false);
}

/* `order` names an actor a step. */
static void
play(const enum kind *kinds, const unsigned *order, unsigned n)
{
	upstream = applied = 1;
	for (unsigned i = 0; i < nactors; i++)
		actors[i] = (struct actor){.kind = kinds[i], .entry = make_entry(0)};
	size_t at = 0;
	for (unsigned i = 0; i < n; i++) {
		at += (size_t)snprintf(trace + at, sizeof(trace) - at, "%c%u.%u ", "FWXCL"[kinds[order[i]]], order[i],
		    actors[order[i]].step);
		step(&actors[order[i]]);
	}
	check_serves(true);
	must(!hc_store_writing(store, key));
	for (unsigned i = 0; i < nactors; i++)
		hc_entry_unref(actors[i].entry);
	(void)hc_store_invalidate(store, key, 0);
	orders++;
}

static void
enumerate(const enum kind *kinds, unsigned *left, unsigned *order, unsigned n)
{
	bool more = false;

	for (unsigned i = 0; i < nactors; i++) {
		if (left[i] == 0)
			continue;
		more = true;
		left[i]--;
		order[n] = i;
		enumerate(kinds, left, order, n + 1);
		left[i]++;
	}
	if (!more)
		play(kinds, order, n);
}

static void
race(unsigned n, const enum kind *kinds)
{
	unsigned left[MAX_ACTORS], order[MAX_ACTORS * 3];

	nactors = n;
	orders = kept = 0;
	for (unsigned i = 0; i < n; i++)
		left[i] = steps_of[kinds[i]];
	enumerate(kinds, left, order, 0);
	/* A store that keeps nothing would pass all else: one after the other must work. */
	must(orders > 1);
	must(kept > 0);
}

static void
setup(void)
{
	store = store_with(1 << 20, 2, true);
	key = key_str("the key");
}

static void
teardown(void)
{
	hc_store_destroy(store);
}

#define RACE(name, ...)                                         \
	START_TEST(name)                                        \
	{                                                       \
		static const enum kind kinds[] = {__VA_ARGS__}; \
		race(sizeof(kinds) / sizeof(kinds[0]), kinds);  \
	}                                                       \
	END_TEST

RACE(tickets_two_fills_and_a_write_keep_nothing_stale, FILL, FILL, WRITE)
RACE(tickets_fill_and_two_writes_keep_nothing_stale, FILL, WRITE, WRITE)
RACE(tickets_three_writes_keep_nothing_stale, WRITE, WRITE, WRITE)
RACE(tickets_fill_write_local_keep_nothing_stale, FILL, WRITE, LOCAL)

/*
 * With writes by others the upstream is ahead of what is known here until their events arrive: at
 * the end all events have arrived.
 */
RACE(tickets_fill_write_foreign_keep_nothing_stale, FILL, WRITE, FOREIGN)
RACE(tickets_fill_write_clear_keep_nothing_stale, FILL, WRITE, FOREIGN_CLEAR)
RACE(tickets_two_fills_foreign_local_keep_nothing_stale, FILL, FILL, FOREIGN, LOCAL)
RACE(tickets_two_writes_foreign_keep_nothing_stale, WRITE, WRITE, FOREIGN)
RACE(tickets_all_at_once_keep_nothing_stale, FILL, WRITE, FOREIGN, FOREIGN_CLEAR)

START_TEST(fill_undisturbed_is_kept)
{
	struct hc_ticket ticket;
	struct hc_entry *entry = make_entry(1), *found;

	hc_store_fill_begin(store, key, &ticket);
	must(hc_store_ticket_good(store, key, &ticket));
	must(hc_store_fill_end(store, key, &ticket, entry, HC_FILL_NEW, NOW) == HC_OK);
	must(!hc_store_ticket_good(store, key, &ticket));
	must(hc_store_get(store, key, NOW, &found) == HC_OK);
	ck_assert_ptr_eq(found, entry);
	hc_entry_unref(found);
	hc_entry_unref(entry);
	hc_store_fill_begin(store, key, &ticket);
	must(hc_store_fill_end(store, key, &ticket, NULL, HC_FILL_NEW, NOW) == HC_OK);
	must(!hc_store_ticket_good(store, key, &ticket));
}
END_TEST

static void
put_another(void)
{
	struct hc_entry *entry = make_entry(3);

	ck_assert_int_eq(hc_store_put(store, key, entry, NULL, NOW, NULL), HC_OK);
	hc_entry_unref(entry);
}

START_TEST(fill_overtaken_by_each_change_is_stale)
{
	for (int change = 0; change < 7; change++) {
		struct hc_ticket ticket;
		struct hc_entry *entry = make_entry(1), *other = make_entry(2);
		hc_store_put(store, key, other, NULL, NOW, NULL);
		hc_store_fill_begin(store, key, &ticket);
		if (change == 0)
			hc_store_del(store, key, NOW, NULL);
		else if (change == 1)
			hc_store_expire(store, key, 0, NOW + 5, NOW, NULL);
		else if (change == 2)
			hc_store_forget_all(store);
		else if (change == 3)
			(void)hc_store_invalidate(store, key, 1);
		else if (change == 4)
			hc_store_fill_end(store, key, &ticket, NULL, HC_FILL_NEW, NOW);
		else if (change == 5)
			put_another();
		must(hc_store_fill_end(store, key, &ticket, entry, HC_FILL_NEW, NOW) ==
		     (change == 6 ? HC_OK : HC_STALE));
		hc_entry_unref(entry);
		hc_entry_unref(other);
	}
}
END_TEST

static bool
holds_nothing(void)
{
	struct hc_entry *found;

	if (hc_store_get(store, key, NOW, &found) == HC_MISS)
		return true;
	hc_entry_unref(found);
	return false;
}

START_TEST(fill_during_a_write_is_not_kept_nor_joined)
{
	struct hc_ticket before, during, write;
	struct hc_entry *entry = make_entry(1);

	hc_store_fill_begin(store, key, &before);
	hc_store_write_begin(store, key, &write);
	ck_assert(!hc_store_ticket_good(store, key, &before));
	hc_store_fill_begin(store, key, &during);
	ck_assert_int_eq(hc_store_fill_end(store, key, &during, entry, HC_FILL_NEW, NOW), HC_STALE);
	ck_assert(holds_nothing());
	hc_store_write_end(store, key, &write, NULL, HC_FILL_NEW, NOW);
	hc_entry_unref(entry);
}
END_TEST

START_TEST(write_with_another_under_way_leaves_nothing)
{
	struct hc_ticket first, second;
	struct hc_entry *entry = make_entry(1);

	ck_assert(!hc_store_write_begin(store, key, &first));
	ck_assert(hc_store_write_begin(store, key, &second));
	ck_assert_int_eq(hc_store_write_end(store, key, &second, entry, HC_FILL_NEW, NOW), HC_STALE);
	ck_assert(holds_nothing());
	ck_assert(hc_store_writing(store, key));
	ck_assert_int_eq(hc_store_write_end(store, key, &first, entry, HC_FILL_NEW, NOW), HC_STALE);
	ck_assert(holds_nothing());
	ck_assert(!hc_store_writing(store, key));
	hc_store_write_begin(store, key, &first);
	put_another();
	ck_assert_int_eq(hc_store_write_end(store, key, &first, entry, HC_FILL_NEW, NOW), HC_STALE);
	ck_assert(holds_nothing());
	hc_entry_unref(entry);
}
END_TEST

/* The caller may create the entry when the answer arrives: it is as old as its ticket all the same.
 */
START_TEST(fill_created_after_forget_is_stale)
{
	struct hc_ticket ticket;
	struct hc_entry *entry, *found;

	hc_store_write_begin(store, key, &ticket);
	hc_store_forget_all(store);
	ck_assert(!hc_store_ticket_good(store, key, &ticket));
	entry = make_entry(1);
	must(hc_store_write_end(store, key, &ticket, entry, HC_FILL_NEW, NOW) == HC_STALE);
	must(hc_store_get(store, key, NOW, &found) == HC_MISS);
	hc_entry_unref(entry);
}
END_TEST

START_TEST(fill_of_a_cleared_model_is_stale)
{
	struct hc_ticket ticket;
	struct hc_entry *entry = make_entry(1);

	hc_store_fill_begin(store, key, &ticket);
	hc_models_bump(hc_store_models(store), HC_MODEL_DEFAULT);
	must(hc_store_fill_end(store, key, &ticket, entry, HC_FILL_NEW, NOW) == HC_STALE);
	hc_entry_unref(entry);
}
END_TEST

START_TEST(invalidate_keeps_that_version_and_later)
{
	static const struct {
		uint64_t entry, event;
		bool stays;
	} rows[] = {{5, 5, true}, {6, 5, true}, {4, 5, false}, {0, 5, false}, {5, 0, false}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hc_entry *entry = make_entry(1), *found;
		hc_entry_set_version(entry, rows[i].entry);
		hc_store_put(store, key, entry, NULL, NOW, NULL);
		hc_entry_unref(entry);
		(void)hc_store_invalidate(store, key, rows[i].event);
		must(hc_store_get(store, key, NOW, &found) == (rows[i].stays ? HC_OK : HC_MISS));
		if (rows[i].stays)
			hc_entry_unref(found);
	}
}
END_TEST

START_TEST(invalidate_tells_whether_what_went_had_been_read)
{
	static const struct {
		uint64_t version; /* of the event; the entry's is 5 */
		unsigned reads, peeks;
		bool told;
	} rows[] = {
	    {6, 0, 0, false}, {6, 0, 1, false}, {6, 1, 0, true}, {6, 300, 0, true}, {0, 1, 0, true}, {5, 1, 0, false}};

	must(!hc_store_invalidate(store, key, 6)); /* of nothing */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hc_entry *entry = make_entry(1), *found;
		hc_entry_set_version(entry, 5);
		hc_store_put(store, key, entry, NULL, NOW, NULL);
		hc_entry_unref(entry);
		for (unsigned n = 0; n < rows[i].reads + rows[i].peeks; n++) {
			must((n < rows[i].reads ? hc_store_get : hc_store_peek)(store, key, NOW, &found) == HC_OK);
			hc_entry_unref(found);
		}
		must(hc_store_invalidate(store, key, rows[i].version) == rows[i].told);
		/* Once; but of what stayed, when that goes. */
		must(hc_store_invalidate(store, key, 6) == (rows[i].version == 5));
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_tickets");
	TCase *tcase = tcase_create("store_tickets");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, tickets_two_fills_and_a_write_keep_nothing_stale);
	tcase_add_test(tcase, tickets_fill_and_two_writes_keep_nothing_stale);
	tcase_add_test(tcase, tickets_three_writes_keep_nothing_stale);
	tcase_add_test(tcase, tickets_fill_write_local_keep_nothing_stale);
	tcase_add_test(tcase, tickets_fill_write_foreign_keep_nothing_stale);
	tcase_add_test(tcase, tickets_fill_write_clear_keep_nothing_stale);
	tcase_add_test(tcase, tickets_two_fills_foreign_local_keep_nothing_stale);
	tcase_add_test(tcase, tickets_two_writes_foreign_keep_nothing_stale);
	tcase_add_test(tcase, tickets_all_at_once_keep_nothing_stale);
	tcase_add_test(tcase, fill_undisturbed_is_kept);
	tcase_add_test(tcase, fill_overtaken_by_each_change_is_stale);
	tcase_add_test(tcase, fill_during_a_write_is_not_kept_nor_joined);
	tcase_add_test(tcase, write_with_another_under_way_leaves_nothing);
	tcase_add_test(tcase, fill_created_after_forget_is_stale);
	tcase_add_test(tcase, fill_of_a_cleared_model_is_stale);
	tcase_add_test(tcase, invalidate_keeps_that_version_and_later);
	tcase_add_test(tcase, invalidate_tells_whether_what_went_had_been_read);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
