/*
 * Random histories against a plain model: puts, deletes, expiries, clears, restarts, kills in the midst of a write,
 * faults. What is found after a kill must be the state after some beginning of the history that holds everything
 * acknowledged: all keys at once, not each on its own. Where space or faults may cost values, a value may be missing;
 * an older one, or a deleted one, may never come back.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "tests/unit/support.h"
#include "tests/support/file_world.h"

#define KEYS 150u
#define MODELS 4u
#define OPS_MAX 4096

struct state {
	uint32_t value; /* number of the put; 0: none */
	uint32_t len;
	int64_t expire_ms;
	uint32_t model;
};

enum op_type {
	OP_PUT,
	OP_DELETE,
	OP_EXPIRE,
	OP_CLEAR_MODEL,
	OP_CLEAR_ALL,
};

struct op {
	enum op_type type;
	uint32_t key;
	struct state state;
};

static struct world world;
static struct rng rng;
static struct state acked[KEYS]; /* after what was acknowledged */
static struct op ops[OPS_MAX];   /* since then */
static size_t ops_n;
static struct state seen[KEYS];
static bool may_miss;  /* a value may be lost */
static bool no_memory; /* allocations fail */
static uint32_t put_number;

static const char *
key_name(uint32_t key)
{
	static char name[32];

	snprintf(name, sizeof(name), "%u:a key", key);
	return name;
}

static uint32_t
model_id(uint32_t model)
{
	char name[16];

	snprintf(name, sizeof(name), "model%u", model);
	return world_model(&world, name);
}

static void
apply(struct state *states, const struct op *op)
{
	switch (op->type) {
	case OP_PUT:
		states[op->key] = op->state;
		break;
	case OP_DELETE:
		states[op->key] = (struct state){0};
		break;
	case OP_EXPIRE:
		if (states[op->key].value != 0)
			states[op->key].expire_ms = op->state.expire_ms;
		if (op->state.expire_ms == 1)
			states[op->key] = (struct state){0};
		break;
	case OP_CLEAR_MODEL:
		for (uint32_t i = 0; i < KEYS; i++)
			if (states[i].model == op->state.model)
				states[i] = (struct state){0};
		break;
	case OP_CLEAR_ALL:
		memset(states, 0, KEYS * sizeof(*states));
		break;
	}
}

/* Everything done so far is acknowledged. */
static void
acknowledge(void)
{
	ck_assert(world_sync(&world));
	for (size_t i = 0; i < ops_n; i++)
		apply(acked, &ops[i]);
	ops_n = 0;
}

/* ---- values that tell which they are ---- */

static uint32_t
random_length(void)
{
	switch (rng_below(&rng, 8)) {
	case 0:
		return 4;
	case 1:
		return 4 + rng_below(&rng, 20000);
	case 2:
		return 4 + rng_below(&rng, 4000);
	default:
		return 4 + rng_below(&rng, 300);
	}
}

static void
fill_value(uint8_t *bytes, uint32_t value, uint32_t len)
{
	struct rng own = {value};

	memcpy(bytes, &value, 4);
	for (uint32_t i = 4; i < len; i++)
		bytes[i] = (uint8_t)(rng_next(&own) >> 11);
}

static struct state
read_state(uint32_t key)
{
	static uint8_t expected[65536];
	struct state state = {0};
	struct world_value got;
	char name[16];
	enum hc_status status = world_get(&world, key_name(key), &got);

	must_msg(status == HC_OK || status == HC_MISS, "key %u: %s", key, hc_status_name(status));
	if (status == HC_MISS)
		return state;
	must(got.len >= 4);
	memcpy(&state.value, got.bytes, 4);
	state.len = (uint32_t)got.len;
	state.expire_ms = got.expire_ms;
	fill_value(expected, state.value, state.len);
	must(memcmp(expected, got.bytes, got.len) == 0);
	for (state.model = 0; state.model < MODELS; state.model++) {
		snprintf(name, sizeof(name), "model%u", state.model);
		if (strcmp(name, world.models[got.model].name) == 0)
			break;
	}
	free(got.bytes);
	return state;
}

/* ---- doing ---- */

static void
do_put(struct op *op)
{
	static uint8_t bytes[65536];
	uint64_t mark;

	op->state = (struct state){
	    .value = ++put_number,
	    .len = random_length(),
	    .expire_ms = rng_below(&rng, 3) == 0 ? (int64_t)1 << 46 : HC_NO_EXPIRY,
	    .model = rng_below(&rng, MODELS),
	};
	fill_value(bytes, op->state.value, op->state.len);
	enum hc_status status = world_put(
	    &world, key_name(op->key), bytes, op->state.len, op->state.expire_ms, model_id(op->state.model), &mark);
	must(status == HC_OK || (status == HC_NOMEM && no_memory));
	if (status != HC_OK)
		op->type = OP_DELETE;
}

static void
do_something(void)
{
	struct op *op = &ops[ops_n];
	uint32_t what = rng_below(&rng, 1000);

	must(ops_n < OPS_MAX);
	*op = (struct op){.key = rng_below(&rng, KEYS)};
	if (what < 600) {
		op->type = OP_PUT;
		do_put(op);
	} else if (what < 800) {
		op->type = OP_DELETE;
		world_delete(&world, key_name(op->key), NULL);
	} else if (what < 950) {
		op->type = OP_EXPIRE;
		op->state.expire_ms = rng_below(&rng, 4) == 0 ? 1 : (int64_t)1 << (42 + rng_below(&rng, 4));
		/* A value that is not known (yet, while loading) is deleted. */
		if (world_expire(&world, key_name(op->key), op->state.expire_ms, NULL) != HC_OK)
			op->type = OP_DELETE;
	} else if (what < 985) {
		op->type = OP_CLEAR_MODEL;
		op->state.model = rng_below(&rng, MODELS);
		if (rng_below(&rng, 4) != 0)
			return;
		world_clear_model(&world, model_id(op->state.model));
	} else {
		op->type = OP_CLEAR_ALL;
		if (rng_below(&rng, 5) != 0)
			return;
		world_clear_all(&world);
	}
	ops_n++;
	if (rng_below(&rng, 4) == 0)
		hc_file_touch(world.file, hc_slice_str(key_name(rng_below(&rng, KEYS))));
}

static void
do_some(uint32_t n)
{
	while (n-- > 0)
		do_something();
}

/* ---- comparing ---- */

static bool
same(const struct state *a, const struct state *b)
{
	return a->value == b->value && a->len == b->len && a->expire_ms == b->expire_ms && a->model == b->model;
}

/* A clear that was not acknowledged may have taken effect before what came just before it: a segment begins with the
 * epochs there are when it is written. */
static bool
cleared_later(uint32_t model, size_t done)
{
	for (; done < ops_n; done++)
		if (ops[done].type == OP_CLEAR_MODEL && ops[done].state.model == model)
			return true;
	return false;
}

static bool
fits(const struct state *states, size_t done, uint32_t *where)
{
	for (uint32_t i = 0; i < KEYS; i++) {
		*where = i;
		if (seen[i].value != 0 ? !same(&seen[i], &states[i])
				       : states[i].value != 0 && !may_miss && !cleared_later(states[i].model, done))
			return false;
	}
	return true;
}

static void
look(void)
{
	for (uint32_t i = 0; i < KEYS; i++)
		seen[i] = read_state(i);
}

/* All that was done is there; or, after a kill, all up to some point. The model takes over what is. */
static void
compare(const char *after, bool all)
{
	uint32_t where = 0, last = 0;
	bool found = false;

	look();
	for (size_t done = 0; !found && done <= ops_n; done++) {
		if (done > 0)
			apply(acked, &ops[done - 1]);
		if (done == ops_n || !all)
			found = fits(acked, done, &where);
		if (!found)
			last = where;
	}
	must_msg(found,
	    "after %s: no beginning of the last %zu operations explains what is there (key %u: put %u, at the end it "
	    "was %u)",
	    after, ops_n, last, seen[last].value, acked[last].value);
	memcpy(acked, seen, sizeof(acked));
	ops_n = 0;
	/* What is missing may have been taken out of the index and be on disk still, and come back: now it may not. */
	for (uint32_t i = 0; may_miss && i < KEYS; i++)
		if (seen[i].value == 0)
			world_delete(&world, key_name(i), NULL);
	acknowledge();
}

static void
open_again(void)
{
	struct hc_file_failure failure;

	must_msg(world_open(&world, &failure) == HC_OK, "%s", failure.message);
}

static void
round_of(uint32_t what)
{
	static const char *const names[] = {
	    "a look", "a restart", "a kill", "a kill in the midst", "kills while loading"};

	switch (what) {
	case 0:
		break;
	case 1:
		world_restart(&world);
		open_again();
		break;
	case 2:
		acknowledge();
		world_kill(&world);
		open_again();
		break;
	case 3:
		acknowledge();
		world_stop_after(1 + rng_below(&rng, 200000));
		do_some(rng_below(&rng, 300));
		world_kill(&world);
		open_again();
		break;
	default:
		/* What is done while it is being loaded counts too. */
		acknowledge();
		for (uint32_t i = 0; i < 3; i++) {
			world_kill(&world);
			open_again();
			do_some(rng_below(&rng, 50));
			acknowledge();
		}
	}
	ck_assert(world_loaded(&world));
	compare(names[what], what != 3);
}

static void
run(uint64_t max_bytes, uint32_t segment_bytes, int rounds)
{
	rng.state = test_seed();
	world_init(&world, max_bytes, segment_bytes);
	open_again();
	for (int i = 0; i < rounds; i++) {
		do_some(rng_below(&rng, 400));
		round_of(rng_below(&rng, 5));
		ck_assert_uint_le(world_disk_bytes(&world), max_bytes);
	}
	ck_assert_uint_eq(world_stats(&world).damaged, 0);
	world_close(&world);
	ck_assert_int_eq(atomic_load(&world.owners), 0);
	world_fini(&world);
}

START_TEST(random_histories_with_room_lose_nothing)
{
	may_miss = false;
	/* All that can be written in a run of rounds, and more. */
	for (int i = 0; i < 8; i++) {
		memset(acked, 0, sizeof(acked));
		run(256 << 20, 64 << 10, 20);
	}
}
END_TEST

START_TEST(random_histories_without_room_bring_nothing_back)
{
	may_miss = true;
	memset(acked, 0, sizeof(acked));
	run(6 * 64 << 10 | 8192, 64 << 10, 150);
}
END_TEST

/* ---- with faults ---- */

static void
random_fault(void)
{
	static const enum world_call calls[] = {
	    WORLD_WRITE, WORLD_WRITE, WORLD_WRITE, WORLD_OPEN, WORLD_RENAME, WORLD_SYNC, WORLD_UNLINK, WORLD_TRUNCATE};
	static const int errs[] = {EIO, ENOSPC, EROFS, EINTR};
	enum world_call call = calls[rng_below(&rng, 8)];

	/* One call alone, so that the tier file can be marked after it: docs/file-format.md. */
	world_fail(call, 1 + rng_below(&rng, 30), 0, errs[rng_below(&rng, call == WORLD_WRITE ? 4 : 3)]);
}

START_TEST(random_histories_with_faults_bring_nothing_back)
{
	may_miss = true;
	memset(acked, 0, sizeof(acked));
	rng.state = test_seed();
	world_init(&world, 12 * 64 << 10 | 8192, 64 << 10);
	world.config.retry_ms = 3;
	open_again();
	uint64_t faults = 0;
	for (int i = 0; i < 150; i++) {
		world.config.sync = (enum hc_file_sync)rng_below(&rng, 3);
		random_fault();
		for (int j = 0; j < 20; j++) {
			do_some(rng_below(&rng, 20));
			acknowledge();
		}
		if (rng_below(&rng, 3) == 0)
			usleep(rng_below(&rng, 8000));
		do_some(rng_below(&rng, 200));
		/* Sometimes killed while it is off. */
		if (rng_below(&rng, 3) == 0) {
			acknowledge();
			world_kill(&world);
			open_again();
		}
		world_heal();
		ck_assert(world_on(&world));
		faults += world_stats(&world).faults;
		round_of(rng_below(&rng, 5));
	}
	/* It was worth it. */
	ck_assert_uint_gt(faults, 5);
	world_close(&world);
	ck_assert_int_eq(atomic_load(&world.owners), 0);
	world_fini(&world);
}
END_TEST

/* An allocation that fails costs at most what it was for; what was deleted for want of memory stays so. */
START_TEST(random_histories_without_memory_bring_nothing_back)
{
	may_miss = no_memory = true;
	memset(acked, 0, sizeof(acked));
	rng.state = test_seed();
	world_init(&world, 12 * 64 << 10 | 8192, 64 << 10);
	world.config.retry_ms = 3;
	world.config.queue_records = 128;
	open_again();
	for (int i = 0; i < 150; i++) {
		for (int j = 0; j < 20; j++) {
			hc_mem_fail_after(1 + (long)rng_below(&rng, 12));
			do_some(rng_below(&rng, 40));
			acknowledge();
		}
		hc_mem_fail_after(0);
		ck_assert(world_on(&world));
		round_of(rng_below(&rng, 5));
		if (rng_below(&rng, 2) == 0) {
			/* Loading without memory. */
			world_restart(&world);
			open_again();
			hc_mem_fail_after(1 + (long)rng_below(&rng, 3));
			ck_assert(world_loaded(&world));
			hc_mem_fail_after(0);
		}
	}
	world_close(&world);
	ck_assert_int_eq(atomic_load(&world.owners), 0);
	world_fini(&world);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("file_random");
	TCase *tcase = tcase_create("file_random");

	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, random_histories_with_room_lose_nothing);
	tcase_add_test(tcase, random_histories_without_room_bring_nothing_back);
	tcase_add_test(tcase, random_histories_with_faults_bring_nothing_back);
	tcase_add_test(tcase, random_histories_without_memory_bring_nothing_back);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
