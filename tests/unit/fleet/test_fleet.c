/*
 * Events taken apart: whose they are, what is applied, what is told of siblings; and messages that are none. Messages
 * lie in memory of exactly their size, for AddressSanitizer to see who reads past them.
 */
#include "fleet/fleet.h"

#include "base/mem.h"
#include "base/num.h"
#include "tests/unit/support.h"

#define SELF "self"
#define LEASE_MS 3600000 /* the tests are quicker */
#define MESSAGE_MAX 65536

static struct hc_fleet *
fleet_named(const char *name, const char *instance, int64_t lease_ms)
{
	struct hc_fleet_config config = {
	    .name = name, .instance = instance, .address = "127.0.0.1:6380", .lease_ms = lease_ms};
	struct hc_fleet *fleet;

	ck_assert_int_eq(hc_fleet_create(&config, &fleet), HC_OK);
	return fleet;
}

static struct hc_fleet *
fleet_of(void)
{
	return fleet_named("test", SELF, LEASE_MS);
}

/* ---- messages ---- */

struct message {
	char bytes[MESSAGE_MAX];
	size_t len;
};

static void
add_event(struct message *message, const struct hc_event *event)
{
	size_t room = sizeof(message->bytes) - message->len;
	size_t size = hc_event_encode(message->bytes + message->len, room, event);

	must(size <= room);
	message->len += size;
}

static void
add(struct message *message, enum hc_event_type type, const char *instance, uint64_t seq, const struct hc_slice *keys,
    size_t n)
{
	struct hc_event event = {.version = HC_EVENT_VERSION,
	    .type = type,
	    .instance = hc_slice_str(instance),
	    .seq = seq,
	    .time_ms = 1,
	    .keys = keys,
	    .nkeys = n};

	add_event(message, &event);
}

static void
add_beat(struct message *message, const char *instance, const struct hc_slice *fields, size_t n)
{
	add(message, HC_EVENT_HEARTBEAT, instance, 0, fields, n);
}

/* ---- what is applied ---- */

struct applied {
	size_t events, keys, own; /* own ones are counted as nothing else */
	enum hc_event_type last;
	uint64_t seq, epoch;
	char model[64], first_key[64];
};

static void
keep_text(char *dst, size_t cap, struct hc_slice text)
{
	must(text.len < cap);
	memcpy(dst, text.ptr, text.len);
	dst[text.len] = '\0';
}

static void
apply(void *arg, const struct hc_event *event, bool own)
{
	struct applied *applied = arg;

	if (own) {
		applied->own++;
		return;
	}
	applied->events++;
	applied->keys += event->nkeys;
	applied->last = event->type;
	applied->seq = event->seq;
	applied->epoch = event->epoch;
	if (event->model.len > 0)
		keep_text(applied->model, sizeof(applied->model), event->model);
	if (event->nkeys > 0)
		keep_text(applied->first_key, sizeof(applied->first_key), event->keys[0]);
}

static long
receive(struct hc_fleet *fleet, struct hc_slice message, struct applied *applied)
{
	char *copy = malloc(message.len > 0 ? message.len : 1);

	*applied = (struct applied){0};
	must(copy != NULL);
	memcpy(copy, message.ptr, message.len);
	long n = hc_fleet_receive(fleet, hc_slice(copy, message.len), apply, applied);
	free(copy);
	return n;
}

static const struct hc_slice two_keys[] = {{"p:a", 3}, {"p:b", 3}};

START_TEST(fleet_identity_names_what_is_shared)
{
	struct hc_fleet *fleet = fleet_of(), *drawn = fleet_named("other", "", 1000),
			*again = fleet_named("other", "", 1000);

	must(hc_slice_is(hc_fleet_instance(fleet), SELF));
	must(hc_slice_eq(hc_fleet_channel(drawn), hc_fleet_channel(again)));
	must(hc_slice_eq(hc_fleet_state_key(drawn), hc_fleet_state_key(again)));
	must(!hc_slice_eq(hc_fleet_channel(drawn), hc_fleet_channel(fleet)));
	must(!hc_slice_eq(hc_fleet_state_key(drawn), hc_fleet_state_key(fleet)));
	must(!hc_slice_eq(hc_fleet_instance(drawn), hc_fleet_instance(again)));
	must(hc_fleet_instance(drawn).len == 16);
	struct hc_slice own = HC_SLICE(HC_FLEET_OWN_PREFIX), key = hc_fleet_state_key(fleet);
	must(key.len > own.len && memcmp(key.ptr, own.ptr, own.len) == 0);
	must(key.ptr[key.len] == '\0');
	hc_fleet_destroy(fleet);
	hc_fleet_destroy(drawn);
	hc_fleet_destroy(again);
	hc_fleet_destroy(NULL);
}
END_TEST

START_TEST(fleet_names_that_are_too_long_are_refused)
{
	char name[200], instance[HC_EVENT_MAX_INSTANCE + 2];
	struct hc_fleet_config config = {.name = "n", .instance = "i", .address = "", .lease_ms = 1};
	struct hc_fleet *fleet = NULL;

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	memset(instance, 'i', sizeof(instance));
	instance[sizeof(instance) - 1] = '\0';
	config.name = name;
	must(hc_fleet_create(&config, &fleet) == HC_INVALID);
	config.name = "n";
	config.instance = instance;
	must(hc_fleet_create(&config, &fleet) == HC_INVALID);
	instance[HC_EVENT_MAX_INSTANCE] = '\0';
	must(hc_fleet_create(&config, &fleet) == HC_OK);
	must(hc_slice_eq(hc_fleet_instance(fleet), hc_slice_str(instance)));
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_event_of_a_sibling_is_applied)
{
	static const enum hc_event_type types[] = {
	    HC_EVENT_SET, HC_EVENT_DEL, HC_EVENT_EXPIRE, HC_EVENT_PASSED, HC_EVENT_CLEAR_MODEL, HC_EVENT_CLEAR_ALL};
	struct hc_fleet *fleet = fleet_of();

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		static struct message message;
		struct applied applied;
		struct hc_event event = {.version = HC_EVENT_VERSION,
		    .type = types[i],
		    .instance = HC_SLICE("sibling"),
		    .seq = 7 + i,
		    .model = HC_SLICE("m"),
		    .epoch = 3,
		    .time_ms = -1,
		    .keys = two_keys,
		    .nkeys = 2};
		message.len = 0;
		add_event(&message, &event);
		must(receive(fleet, hc_slice(message.bytes, message.len), &applied) == 1);
		must(applied.events == 1 && applied.last == types[i] && applied.keys == 2);
		must(applied.seq == 7 + i && applied.epoch == 3);
		ck_assert_str_eq(applied.model, "m");
		ck_assert_str_eq(applied.first_key, "p:a");
	}
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_own_events_are_told_apart_and_their_seq_is_known)
{
	static struct message message;
	struct hc_fleet *fleet = fleet_of();
	struct applied applied;

	add(&message, HC_EVENT_SET, SELF, 5, two_keys, 2);
	add(&message, HC_EVENT_CLEAR_ALL, SELF, 7, NULL, 0);
	must(receive(fleet, hc_slice(message.bytes, message.len), &applied) == 2);
	must(applied.events == 0 && applied.own == 2);
	must(hc_fleet_seq(fleet) == 7);
	must(hc_fleet_siblings(fleet, NULL, 0) == 0);
	/* A name that only begins alike is somebody else. */
	message.len = 0;
	add(&message, HC_EVENT_SET, SELF "2", 8, two_keys, 2);
	add(&message, HC_EVENT_SET, "sel", 10, two_keys, 1);
	must(receive(fleet, hc_slice(message.bytes, message.len), &applied) == 2);
	must(applied.events == 2 && applied.own == 0);
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_seq_counts_each_key_and_never_goes_back)
{
	static struct message message;
	struct hc_fleet *fleet = fleet_of();
	struct applied applied;

	must(hc_fleet_seq(fleet) == 0);
	add(&message, HC_EVENT_SET, "s", 10, two_keys, 2);
	add(&message, HC_EVENT_DEL, "s", 3, two_keys, 1);
	(void)receive(fleet, hc_slice(message.bytes, message.len), &applied);
	must(hc_fleet_seq(fleet) == 11);
	hc_fleet_saw_seq(fleet, 9);
	must(hc_fleet_seq(fleet) == 11);
	hc_fleet_saw_seq(fleet, 12);
	must(hc_fleet_seq(fleet) == 12);
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_events_of_later_versions_are_passed_over_and_of_later_types_handed_on)
{
	static const char later[] =
	    "*2\r\n$1\r\n2\r\n$3\r\nset\r\n"
	    "*7\r\n$1\r\n1\r\n$4\r\nmove\r\n$1\r\ns\r\n$1\r\n4\r\n$0\r\n\r\n$1\r\n0\r\n$1\r\n0\r\n";
	static struct message message;
	struct hc_fleet *fleet = fleet_of();
	struct applied applied;

	memcpy(message.bytes, later, sizeof(later) - 1);
	message.len = sizeof(later) - 1;
	add(&message, HC_EVENT_DEL, "s", 5, two_keys, 2);
	must(receive(fleet, hc_slice(message.bytes, message.len), &applied) == 3);
	must(applied.events == 2 && applied.last == HC_EVENT_DEL);
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_event_of_many_keys_finds_room)
{
	static struct message message;
	static struct hc_slice keys[2000];
	static char names[2000][16];
	struct hc_fleet *fleet = fleet_of();
	struct applied applied;

	for (size_t i = 0; i < 2000; i++) {
		snprintf(names[i], sizeof(names[i]), "k%zu", i);
		keys[i] = hc_slice_str(names[i]);
	}
	message.len = 0;
	add(&message, HC_EVENT_SET, "s", 1, keys, 1);
	add(&message, HC_EVENT_SET, "s", 2, keys, 65);
	add(&message, HC_EVENT_SET, "s", 67, keys, 2000);
	add(&message, HC_EVENT_DEL, "s", 2067, keys, 1);
	must(receive(fleet, hc_slice(message.bytes, message.len), &applied) == 4);
	must(applied.events == 4 && applied.keys == 2067);
	must(hc_fleet_seq(fleet) == 2067);
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_message_cut_short_anywhere_is_malformed)
{
	static struct message message;
	struct hc_fleet *fleet = fleet_of();
	struct applied applied;
	size_t ends[3];

	message.len = 0;
	add(&message, HC_EVENT_SET, "s", 1, two_keys, 2);
	ends[0] = message.len;
	add(&message, HC_EVENT_CLEAR_ALL, "s", 3, NULL, 0);
	ends[1] = message.len;
	add(&message, HC_EVENT_DEL, "s", 4, two_keys, 1);
	ends[2] = message.len;
	for (size_t len = 0; len <= message.len; len++) {
		size_t whole = (size_t)(len >= ends[0]) + (len >= ends[1]) + (len >= ends[2]);
		bool at_end = len == 0 || len == ends[0] || len == ends[1] || len == ends[2];
		long n = receive(fleet, hc_slice(message.bytes, len), &applied);
		must_msg(n == (at_end ? (long)whole : -1L), "%zu bytes: %ld", len, n);
		must_msg(applied.events == whole, "what is whole is applied");
	}
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_message_with_any_byte_changed_does_no_harm)
{
	static struct message message, damaged;
	struct hc_fleet *fleet = fleet_of();
	struct applied applied;
	struct rng rng = {test_seed()};
	unsigned bad = 0;

	message.len = 0;
	add(&message, HC_EVENT_SET, "s", 1, two_keys, 2);
	add_beat(&message, "t", two_keys, 2);
	for (size_t at = 0; at < message.len; at++) {
		for (unsigned i = 0; i < 20; i++) {
			damaged = message;
			damaged.bytes[at] = (char)rng_next(&rng);
			long n = receive(fleet, hc_slice(damaged.bytes, damaged.len), &applied);
			must(n >= -1 && n <= 3);
			bad += n == -1;
		}
	}
	must(bad > message.len); /* most bytes are the form's */
	hc_fleet_destroy(fleet);
}
END_TEST

/* ---- siblings ---- */

START_TEST(fleet_sibling_is_what_its_heartbeat_says)
{
	static const struct hc_slice fields[] = {{"host", 4}, {"some\nhost", 9}, {"pid", 3}, {"42", 2}, {"address", 7},
	    {":1", 2}, {"version", 7}, {"9.9", 3}, {"uptime", 6}, {"61", 2}, {"seq", 3}, {"17", 2}, {"unknown", 7},
	    {"x", 1}, {"odd", 3}};
	static struct message message;
	struct hc_fleet *fleet = fleet_of();
	struct hc_sibling s;
	struct applied applied;

	/* Only a heartbeat makes a sibling. */
	message.len = 0;
	add(&message, HC_EVENT_SET, "s", 1, two_keys, 2);
	(void)receive(fleet, hc_slice(message.bytes, message.len), &applied);
	must(hc_fleet_siblings(fleet, &s, 1) == 0);
	message.len = 0;
	add_beat(&message, "s", fields, sizeof(fields) / sizeof(fields[0]));
	add(&message, HC_EVENT_SET, "s", 1, two_keys, 2);
	must(receive(fleet, hc_slice(message.bytes, message.len), &applied) == 2);
	must(applied.events == 1);
	must(hc_fleet_siblings(fleet, &s, 1) == 1 && hc_fleet_siblings_alive(fleet) == 1);
	ck_assert_str_eq(s.instance, "s");
	ck_assert_str_eq(s.host, "some?host");
	ck_assert_str_eq(s.address, ":1");
	ck_assert_str_eq(s.version, "9.9");
	must(s.pid == 42 && s.uptime_s == 61 && s.seq == 17 && s.events == 2);
	must(s.alive && s.heard_ms_ago >= 0 && s.heard_ms_ago < LEASE_MS);
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_sibling_that_leaves_or_falls_silent_is_not_alive)
{
	static const struct hc_slice leaving[] = {{"leaving", 7}, {"1", 1}};
	static struct message message;
	struct hc_fleet *fleet = fleet_of(), *strict = fleet_named("test", SELF, 0);
	struct applied applied;
	struct hc_sibling s;

	message.len = 0;
	add_beat(&message, "s", leaving, 2);
	(void)receive(fleet, hc_slice(message.bytes, message.len), &applied);
	must(hc_fleet_siblings(fleet, &s, 1) == 1 && !s.alive && hc_fleet_siblings_alive(fleet) == 0);
	message.len = 0;
	add_beat(&message, "s", NULL, 0); /* it is back */
	(void)receive(fleet, hc_slice(message.bytes, message.len), &applied);
	must(hc_fleet_siblings(fleet, &s, 1) == 1 && s.alive && hc_fleet_siblings_alive(fleet) == 1);
	/* Three leases of no time are over at once. */
	(void)receive(strict, hc_slice(message.bytes, message.len), &applied);
	must(hc_fleet_siblings(strict, &s, 1) == 1 && !s.alive && hc_fleet_siblings_alive(strict) == 0);
	hc_fleet_destroy(fleet);
	hc_fleet_destroy(strict);
}
END_TEST

START_TEST(fleet_own_heartbeat_is_no_sibling_and_tells_the_lag)
{
	struct hc_fleet *fleet = fleet_of(), *other = fleet_named("test", "other", LEASE_MS);
	struct applied applied;
	struct hc_sibling s;
	char text[1024];

	must(hc_fleet_event_lag_us(fleet) == -1);
	must(hc_fleet_heartbeat(fleet, text, 10, false) == 0);
	size_t len = hc_fleet_heartbeat(fleet, text, sizeof(text), false);
	must(len > 0 && len <= sizeof(text));
	must(hc_fleet_event_lag_us(fleet) == -1);
	must(receive(fleet, hc_slice(text, len), &applied) == 1);
	must(hc_fleet_event_lag_us(fleet) >= 0);
	must(hc_fleet_siblings(fleet, &s, 1) == 0 && applied.events == 0);

	hc_fleet_saw_seq(fleet, 99);
	len = hc_fleet_heartbeat(fleet, text, sizeof(text), false);
	must(receive(other, hc_slice(text, len), &applied) == 1);
	must(hc_fleet_siblings(other, &s, 1) == 1 && s.alive);
	ck_assert_str_eq(s.instance, SELF);
	ck_assert_str_eq(s.address, "127.0.0.1:6380");
	must(s.seq == 99 && s.pid > 0 && s.uptime_s == 0);
	len = hc_fleet_heartbeat(fleet, text, sizeof(text), true);
	must(receive(other, hc_slice(text, len), &applied) == 1);
	must(hc_fleet_siblings_alive(other) == 0);
	hc_fleet_destroy(fleet);
	hc_fleet_destroy(other);
}
END_TEST

START_TEST(fleet_more_siblings_than_it_knows_drop_the_most_silent)
{
	static struct message message;
	static struct hc_sibling siblings[2000];
	struct hc_fleet *fleet = fleet_of();
	struct applied applied;
	char instance[16];

	for (unsigned i = 0; i < 1500; i++) {
		snprintf(instance, sizeof(instance), "s%u", i);
		message.len = 0;
		add_beat(&message, instance, NULL, 0);
		must(receive(fleet, hc_slice(message.bytes, message.len), &applied) == 1);
	}
	size_t n = hc_fleet_siblings(fleet, siblings, 2000);
	must(n == 1024 && hc_fleet_siblings_alive(fleet) == n);
	must(strcmp(siblings[n - 1].instance, "s1499") == 0);
	must(hc_fleet_siblings(fleet, siblings, 5) == n);
	hc_fleet_destroy(fleet);
}
END_TEST

START_TEST(fleet_each_failing_allocation_is_told_or_harmless)
{
	static struct message message;
	static struct hc_slice keys[200];
	unsigned failed = 0;

	for (size_t i = 0; i < 200; i++)
		keys[i] = HC_SLICE("k");
	message.len = 0;
	add_beat(&message, "s", NULL, 0);
	add(&message, HC_EVENT_SET, "s", 1, keys, 200);
	for (long k = 1; k <= 10; k++) {
		struct hc_fleet_config config = {.name = "n", .instance = SELF, .address = "", .lease_ms = 1};
		struct hc_fleet *fleet = NULL;
		struct applied applied;
		hc_mem_fail_after(k);
		enum hc_status status = hc_fleet_create(&config, &fleet);
		long n = status == HC_OK ? receive(fleet, hc_slice(message.bytes, message.len), &applied) : 0;
		hc_mem_fail_after(0);
		must(status == HC_OK || (status == HC_NOMEM && fleet == NULL));
		must(n != 2 || applied.keys == 200);
		failed += status != HC_OK || n == -1;
		if (status == HC_OK)
			must(
			    receive(fleet, hc_slice(message.bytes, message.len), &applied) == 2 && applied.keys == 200);
		hc_fleet_destroy(fleet);
	}
	must(failed >= 2);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("fleet");
	TCase *tcase = tcase_create("fleet");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, fleet_identity_names_what_is_shared);
	tcase_add_test(tcase, fleet_names_that_are_too_long_are_refused);
	tcase_add_test(tcase, fleet_event_of_a_sibling_is_applied);
	tcase_add_test(tcase, fleet_own_events_are_told_apart_and_their_seq_is_known);
	tcase_add_test(tcase, fleet_seq_counts_each_key_and_never_goes_back);
	tcase_add_test(tcase, fleet_events_of_later_versions_are_passed_over_and_of_later_types_handed_on);
	tcase_add_test(tcase, fleet_event_of_many_keys_finds_room);
	tcase_add_test(tcase, fleet_message_cut_short_anywhere_is_malformed);
	tcase_add_test(tcase, fleet_message_with_any_byte_changed_does_no_harm);
	tcase_add_test(tcase, fleet_sibling_is_what_its_heartbeat_says);
	tcase_add_test(tcase, fleet_sibling_that_leaves_or_falls_silent_is_not_alive);
	tcase_add_test(tcase, fleet_own_heartbeat_is_no_sibling_and_tells_the_lag);
	tcase_add_test(tcase, fleet_more_siblings_than_it_knows_drop_the_most_silent);
	tcase_add_test(tcase, fleet_each_failing_allocation_is_told_or_harmless);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
