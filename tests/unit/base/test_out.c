/*
 * base/out against a model: a chain of bytes must give what a plain string of them gives, whatever it is made of and
 * however it is sent; references must be released once, never early. One thread.
 */
#include "base/out.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define MODEL_BYTES (1 << 20)
#define REFS 4096
#define VECTORS 16

/* What a chain should hold. */
struct model {
	char *bytes;
	size_t len;
};

/* A referenced value: alive from hc_out_reference() until its release. */
struct ref {
	char *bytes;
	size_t len;
	int released;
};

static struct hc_out_pool pool;
static struct ref refs[REFS];
static size_t n_refs;
static uint64_t seed;

static void
setup(void)
{
	hc_out_pool_init(&pool);
	memset(refs, 0, sizeof(refs));
	n_refs = 0;
	seed = 1;
}

static void
teardown(void)
{
	hc_mem_fail_after(0);
	hc_out_pool_fini(&pool);
	for (size_t i = 0; i < n_refs; i++)
		ck_assert_int_eq(refs[i].released, 1);
}

static uint64_t
rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static void
fill_random(char *dst, size_t len)
{
	for (size_t i = 0; i < len; i++)
		dst[i] = (char)rnd(256);
}

/* Mostly small, often around the size of a chunk, sometimes several. */
static size_t
random_len(void)
{
	switch (rnd(8)) {
	case 0:
		return rnd(4);
	case 1:
		return HC_OUT_CHUNK - 2 + rnd(5);
	case 2:
		return rnd(3 * HC_OUT_CHUNK);
	default:
		return rnd(600);
	}
}

static void
release(void *arg)
{
	struct ref *ref = arg;

	ref->released++;
	ck_assert_int_eq(ref->released, 1);
	/* Whoever reads it from now on is found by valgrind and the sanitizers. */
	free(ref->bytes);
	ref->bytes = NULL;
}

static struct ref *
new_ref(size_t len)
{
	struct ref *ref = &refs[n_refs++];

	ck_assert_uint_le(n_refs, REFS);
	ref->bytes = malloc(len + 1);
	ref->len = len;
	ck_assert_ptr_nonnull(ref->bytes);
	fill_random(ref->bytes, len);
	return ref;
}

static void
model_add(struct model *model, const void *bytes, size_t len)
{
	ck_assert_uint_le(model->len + len, MODEL_BYTES);
	if (len > 0)
		memcpy(model->bytes + model->len, bytes, len);
	model->len += len;
}

static void
model_drop(struct model *model, size_t n)
{
	memmove(model->bytes, model->bytes + n, model->len - n);
	model->len -= n;
}

/* ---- operations, on both ---- */

static void
do_reserve(struct hc_out *out, struct model *model)
{
	size_t room = random_len();
	room = room < HC_OUT_CHUNK ? room : HC_OUT_CHUNK;
	size_t n = rnd(room + 1);

	char *dst = hc_out_reserve(out, room);
	ck_assert_ptr_nonnull(dst);
	fill_random(dst, room); /* all of it may be written, even when less is confirmed */
	model_add(model, dst, n);
	hc_out_commit(out, n);
}

static void
do_append(struct hc_out *out, struct model *model)
{
	static char bytes[3 * HC_OUT_CHUNK];
	size_t len = random_len();

	fill_random(bytes, len);
	hc_out_append(out, bytes, len);
	model_add(model, bytes, len);
	memset(bytes, 'x', len); /* it was copied */
}

static void
do_reference(struct hc_out *out, struct model *model)
{
	if (n_refs == REFS)
		return;
	struct ref *ref = new_ref(random_len());
	model_add(model, ref->bytes, ref->len);
	hc_out_reference(out, ref->bytes, ref->len, release, ref);
	if (ref->len == 0)
		ck_assert_int_eq(ref->released, 1);
}

static void
check_front(struct hc_out *out, const struct model *model)
{
	struct iovec vectors[VECTORS];
	int max = 1 + (int)rnd(VECTORS);
	int n = hc_out_vectors(out, vectors, max);
	size_t at = 0;

	ck_assert_uint_eq(out->bytes, model->len);
	ck_assert_int_le(n, max);
	ck_assert_int_eq(n > 0, model->len > 0);
	for (int i = 0; i < n; i++) {
		ck_assert_uint_gt(vectors[i].iov_len, 0);
		ck_assert_uint_le(at + vectors[i].iov_len, model->len);
		ck_assert_mem_eq(vectors[i].iov_base, model->bytes + at, vectors[i].iov_len);
		at += vectors[i].iov_len;
	}
	/* Fewer vectors than asked for: that was all. */
	if (n < max)
		ck_assert_uint_eq(at, model->len);
}

static void
do_consume(struct hc_out *out, struct model *model)
{
	size_t n = model->len == 0 ? 0 : rnd(3) == 0 ? model->len : rnd(model->len + 1);

	hc_out_consume(out, n);
	model_drop(model, n);
}

static void
consume_all(struct hc_out *out, struct model *model)
{
	while (model->len > 0) {
		struct iovec vectors[VECTORS];
		int n = hc_out_vectors(out, vectors, VECTORS);
		size_t len = 0;
		check_front(out, model);
		for (int i = 0; i < n; i++)
			len += vectors[i].iov_len;
		hc_out_consume(out, len);
		model_drop(model, len);
	}
	ck_assert_uint_eq(out->bytes, 0);
}

/* ---- the tests ---- */

START_TEST(out_empty_chain_has_no_vectors)
{
	struct hc_out out;
	struct iovec vectors[1];

	hc_out_init(&out, &pool);
	ck_assert_int_eq(hc_out_vectors(&out, vectors, 1), 0);
	hc_out_consume(&out, 0);
	hc_out_append(&out, "", 0);
	ck_assert_int_eq(hc_out_vectors(&out, vectors, 1), 0);
	ck_assert_uint_eq(out.bytes, 0);
	hc_out_fini(&out);
}
END_TEST

START_TEST(out_reserve_of_a_whole_chunk_is_contiguous)
{
	struct hc_out out;
	struct iovec vectors[4];

	hc_out_init(&out, &pool);
	hc_out_append(&out, "x", 1);
	char *dst = hc_out_reserve(&out, HC_OUT_CHUNK);
	ck_assert_ptr_nonnull(dst);
	memset(dst, 'y', HC_OUT_CHUNK);
	hc_out_commit(&out, HC_OUT_CHUNK);
	ck_assert_uint_eq(out.bytes, HC_OUT_CHUNK + 1);
	ck_assert_int_eq(hc_out_vectors(&out, vectors, 4), 2);
	ck_assert_uint_eq(vectors[0].iov_len, 1);
	ck_assert_uint_eq(vectors[1].iov_len, HC_OUT_CHUNK);
	hc_out_fini(&out);
}
END_TEST

/* Replies that had to wait are spliced one by one: small ones must not hold a chunk each. */
START_TEST(out_splice_small_chains_share_chunks)
{
	enum { N = 10000 };
	struct hc_out to, from;
	size_t n_chunks = 0;

	hc_out_init(&to, &pool);
	for (int i = 0; i < N; i++) {
		hc_out_init(&from, &pool);
		hc_out_append(&from, "+OK\r\n", 5);
		hc_out_splice(&to, &from);
		ck_assert_uint_eq(from.bytes, 0);
	}
	ck_assert_uint_eq(to.bytes, N * 5);
	while (to.bytes > 0) {
		struct iovec vector;
		ck_assert_int_eq(hc_out_vectors(&to, &vector, 1), 1);
		n_chunks++;
		hc_out_consume(&to, vector.iov_len);
	}
	ck_assert_uint_le(n_chunks, N * 5 / HC_OUT_CHUNK + 2);
	hc_out_fini(&to);
}
END_TEST

/* Nothing is released before its last byte is gone, and then at once. */
START_TEST(out_reference_is_released_with_its_last_byte)
{
	struct hc_out out;
	struct ref *ref = new_ref(100);

	hc_out_init(&out, &pool);
	hc_out_append(&out, "head", 4);
	hc_out_reference(&out, ref->bytes, ref->len, release, ref);
	hc_out_append(&out, "tail", 4);
	hc_out_consume(&out, 4);
	ck_assert_int_eq(ref->released, 0);
	hc_out_consume(&out, 99);
	ck_assert_int_eq(ref->released, 0);
	hc_out_consume(&out, 1);
	ck_assert_int_eq(ref->released, 1);
	ck_assert_uint_eq(out.bytes, 4);
	hc_out_fini(&out);
}
END_TEST

START_TEST(out_fini_releases_what_was_not_sent)
{
	struct hc_out out;

	hc_out_init(&out, &pool);
	for (int i = 0; i < 10; i++) {
		struct ref *ref = new_ref(10);
		hc_out_reference(&out, ref->bytes, ref->len, release, ref);
	}
	hc_out_consume(&out, 35);
	hc_out_fini(&out); /* teardown() looks at the references */
}
END_TEST

START_TEST(out_random_operations_match_a_string)
{
	struct hc_out out, other;
	struct model model = {malloc(MODEL_BYTES), 0}, other_model = {malloc(MODEL_BYTES), 0};

	seed = 0x9e3779b97f4a7c15u + (uint64_t)_i;
	hc_out_init(&out, &pool);
	hc_out_init(&other, &pool);
	for (int step = 0; step < 3000; step++) {
		bool first = rnd(4) != 0;
		struct hc_out *at = first ? &out : &other;
		struct model *at_model = first ? &model : &other_model;
		if (at_model->len > 8 * HC_OUT_CHUNK)
			do_consume(at, at_model);
		switch (rnd(6)) {
		case 0:
			do_reserve(at, at_model);
			break;
		case 1:
			do_append(at, at_model);
			break;
		case 2:
			do_reference(at, at_model);
			break;
		case 3:
			hc_out_splice(&out, &other);
			model_add(&model, other_model.bytes, other_model.len);
			other_model.len = 0;
			break;
		default:
			do_consume(at, at_model);
			break;
		}
		check_front(&out, &model);
		check_front(&other, &other_model);
		ck_assert(!hc_out_failed(&out) && !hc_out_failed(&other));
	}
	consume_all(&out, &model);
	hc_out_fini(&out);
	hc_out_fini(&other);
	free(model.bytes);
	free(other_model.bytes);
}
END_TEST

/* A fixed sequence of everything that allocates; what it holds when nothing fails goes to `whole`. */
static void
all_kinds(struct hc_out *out, struct hc_out *other)
{
	static char bytes[2 * HC_OUT_CHUNK];

	memset(bytes, 'b', sizeof(bytes));
	hc_out_append(out, bytes, sizeof(bytes));
	struct ref *ref = new_ref(500);
	hc_out_reference(out, ref->bytes, ref->len, release, ref);
	char *dst = hc_out_reserve(out, 1000);
	if (dst != NULL) {
		memset(dst, 'r', 1000);
		hc_out_commit(out, 1000);
	}
	hc_out_append(other, bytes, 100);
	ref = new_ref(50);
	hc_out_reference(other, ref->bytes, ref->len, release, ref);
	hc_out_splice(out, other);
	hc_out_append(out, bytes, HC_OUT_CHUNK);
}

START_TEST(out_failing_allocation_marks_the_chain_and_leaks_nothing)
{
	const size_t whole = 2 * HC_OUT_CHUNK + 500 + 1000 + 100 + 50 + HC_OUT_CHUNK;
	bool failed = true;
	int k;

	for (k = 1; failed; k++) {
		struct hc_out out, other;
		/* An empty pool each time, so that everything has to be allocated. */
		hc_out_pool_fini(&pool);
		hc_out_init(&out, &pool);
		hc_out_init(&other, &pool);
		hc_mem_fail_after(k);
		all_kinds(&out, &other);
		hc_mem_fail_after(0);
		failed = hc_out_failed(&out);
		if (failed)
			ck_assert_uint_lt(out.bytes, whole);
		else
			ck_assert_uint_eq(out.bytes, whole);
		/* Once failed, it stays so and takes nothing more. */
		size_t before = out.bytes;
		hc_out_append(&out, "more", 4);
		ck_assert_uint_eq(out.bytes, before + (failed ? 0 : 4));
		struct ref *ref = new_ref(7);
		hc_out_reference(&out, ref->bytes, ref->len, release, ref);
		ck_assert_int_eq(ref->released, failed);
		hc_out_fini(&out);
		hc_out_fini(&other);
	}
	ck_assert_int_gt(k, 6); /* so many allocations there are at least */
}
END_TEST

START_TEST(out_over_its_bound_fails_and_takes_no_more)
{
	static char bytes[4 * HC_OUT_CHUNK];
	struct hc_out out, other;

	hc_out_init(&out, &pool);
	out.max_bytes = 3 * HC_OUT_CHUNK;
	hc_out_append(&out, bytes, 3 * HC_OUT_CHUNK);
	ck_assert(!hc_out_failed(&out));
	hc_out_append(&out, bytes, 1);
	ck_assert(hc_out_failed(&out) && out.full);
	ck_assert_ptr_null(hc_out_reserve(&out, 1));
	ck_assert_uint_le(out.bytes, 3 * HC_OUT_CHUNK);
	/* It is told on. */
	hc_out_init(&other, &pool);
	hc_out_splice(&other, &out);
	ck_assert(hc_out_failed(&other) && other.full);
	hc_out_fini(&other);

	hc_out_init(&out, &pool);
	out.max_bytes = 100;
	struct ref *ref = new_ref(101);
	hc_out_reference(&out, ref->bytes, ref->len, release, ref);
	ck_assert_int_eq(ref->released, 1);
	ck_assert(out.failed && out.full);
	hc_out_fini(&out);
}
END_TEST

START_TEST(out_pool_keeps_chunks_for_the_next_chain)
{
	struct hc_out out;

	hc_out_init(&out, &pool);
	hc_out_append(&out, "x", 1);
	struct ref *ref = new_ref(1);
	hc_out_reference(&out, ref->bytes, ref->len, release, ref);
	hc_out_consume(&out, 2);
	ck_assert_uint_eq(out.bytes, 0);
	ck_assert_uint_eq(pool.n_chunks, 1);
	ck_assert_uint_eq(pool.n_refs, 1);
	/* The next ones need no allocation. */
	hc_mem_fail_after(1);
	hc_out_append(&out, "y", 1);
	ref = new_ref(1);
	hc_out_reference(&out, ref->bytes, ref->len, release, ref);
	hc_mem_fail_after(0);
	ck_assert(!hc_out_failed(&out));
	hc_out_fini(&out);
}
END_TEST

START_TEST(out_pool_is_bounded)
{
	static char bytes[HC_OUT_CHUNK];
	struct hc_out out;

	hc_out_init(&out, &pool);
	for (int i = 0; i < 500; i++) {
		struct ref *ref = new_ref(1);
		hc_out_append(&out, bytes, sizeof(bytes));
		hc_out_reference(&out, ref->bytes, ref->len, release, ref);
	}
	hc_out_fini(&out);
	ck_assert_uint_le(pool.n_chunks, 64);
	ck_assert_uint_le(pool.n_refs, 256);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("out");
	TCase *tc = tcase_create("out");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, out_empty_chain_has_no_vectors);
	tcase_add_test(tc, out_reserve_of_a_whole_chunk_is_contiguous);
	tcase_add_test(tc, out_splice_small_chains_share_chunks);
	tcase_add_test(tc, out_reference_is_released_with_its_last_byte);
	tcase_add_test(tc, out_fini_releases_what_was_not_sent);
	tcase_add_loop_test(tc, out_random_operations_match_a_string, 0, 10);
	tcase_add_test(tc, out_failing_allocation_marks_the_chain_and_leaks_nothing);
	tcase_add_test(tc, out_over_its_bound_fails_and_takes_no_more);
	tcase_add_test(tc, out_pool_keeps_chunks_for_the_next_chain);
	tcase_add_test(tc, out_pool_is_bounded);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
