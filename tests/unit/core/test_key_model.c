/*
 * Key templates: what they divide, what they refuse, and that matching agrees with a plain search.
 */
#include "core/key_model.h"

#include "base/mem.h"
#include "base/num.h"
#include "store/models.h"
#include "tests/unit/support.h"

static struct hc_key_models *
models_of(const char *templates)
{
	struct hc_key_models *models;
	const char *why = NULL;

	must_msg(hc_key_models_create(templates, &models, &why) == HC_OK, "%s: %s", templates, why);
	return models;
}

/* `expected` NULL: no template fits. */
static void
expect(const char *templates, const char *key, const char *expected)
{
	struct hc_key_models *models = models_of(templates);
	struct hc_slice model = HC_SLICE("untouched");
	enum hc_status status = hc_key_models_match(models, hc_slice_str(key), &model);

	if (expected == NULL) {
		must_msg(status == HC_MISS, "%s fits %s as %.*s", key, templates, (int)model.len, model.ptr);
		must(hc_slice_is(model, "untouched"));
	} else {
		must_msg(status == HC_OK, "%s does not fit %s", key, templates);
		must_msg(hc_slice_eq(model, hc_slice_str(expected)), "%s by %s gives %.*s, not %s", key, templates,
		    (int)model.len, model.ptr, expected);
		must(model.ptr >= key && model.ptr + model.len <= key + strlen(key));
	}
	hc_key_models_destroy(models);
}

START_TEST(key_model_separator_divides_at_the_last)
{
	expect("emb:{model}:{id}", "emb:m:1", "m");
	expect("emb:{model}:{id}", "emb:a/b:c@d:1", "a/b:c@d");
	expect("emb:{model}:{id}", "emb:a::1", "a:");
	expect("emb:{model}:{id}", "emb:::1", ":");
	expect("emb:{model}:{id}", "emb:m:", NULL); /* no id */
	expect("emb:{model}:{id}", "emb::1", NULL); /* no model */
	expect("emb:{model}:{id}", "emb:m", NULL);
	expect("emb:{model}:{id}", "emb:", NULL);
	expect("emb:{model}:{id}", "", NULL);
	expect("emb:{model}:{id}", "Emb:m:1", NULL);
	expect("emb:{model}:{id}", " emb:m:1", NULL);
	expect("e{model}--{id}", "ea--b--1", "a--b");
	expect("emb:{model}:{id}", "emb:a:b:", NULL); /* the last divides, and leaves no id */
	expect("e{model}--{id}", "ea---1", "a-");
	expect("{model}/{id}", "m/1", "m");
}
END_TEST

START_TEST(key_model_id_of_a_length_is_the_last_bytes)
{
	expect("cache/{model}{id:4}", "cache/m1234", "m");
	expect("cache/{model}{id:4}", "cache/m:/1234", "m:/");
	expect("cache/{model}{id:4}", "cache/1234", NULL);
	expect("cache/{model}{id:4}", "cache/234", NULL);
	expect("cache/{model}:{id:4}", "cache/m:1234", "m");
	expect("cache/{model}:{id:4}", "cache/m:12:4", "m");
	expect("cache/{model}:{id:4}", "cache/m12345", NULL);
	expect("{model}{id:1}", "ab", "a");
	expect("{model}{id:4096}", "ab", NULL);
}
END_TEST

START_TEST(key_model_tail_and_missing_id)
{
	expect("emb:{model}:{id}:v1", "emb:m:1:v1", "m");
	expect("emb:{model}:{id}:v1", "emb:m:1:v2", NULL);
	expect("emb:{model}:{id}:v1", "emb:m:v1", NULL);
	expect("emb:{model}{id:2}!", "emb:m12!", "m");
	expect("whole:{model}", "whole:a:b", "a:b");
	expect("whole:{model}", "whole:", NULL);
	expect("whole:{model}!", "whole:a!", "a");
	expect("ab{model}ba", "aba", NULL); /* head and tail must not overlap */
	expect("ab{model}ba", "abba", NULL);
	expect("ab{model}ba", "abxba", "x");
}
END_TEST

START_TEST(key_model_first_template_that_fits_decides)
{
	expect("a:{model}:{id}, a:{model}", "a:m", "m");
	expect("a:{model}:{id}, a:{model}", "a:m:1", "m");
	expect(" a:{model} ,\tb:{model}:{id}\t, ,", "b:m:1", "m");
	expect(" a:{model} ,\tb:{model}:{id}\t, ,", "a:m:1", "m:1");
	expect("", "a:m", NULL);
	expect(" , ", "a:m", NULL);
}
END_TEST

START_TEST(key_model_name_has_at_most_255_bytes)
{
	char key[HC_MODEL_NAME_MAX + 8] = "m:", name[HC_MODEL_NAME_MAX + 2] = "";

	memset(name, 'x', HC_MODEL_NAME_MAX);
	memcpy(key + 2, name, HC_MODEL_NAME_MAX);
	expect("m:{model}", key, name);
	key[2 + HC_MODEL_NAME_MAX] = 'x';
	expect("m:{model}", key, NULL);
}
END_TEST

START_TEST(key_model_binary_keys_are_matched_whole)
{
	struct hc_key_models *models = models_of("e:{model}:{id}");
	struct hc_slice model;

	must(hc_key_models_match(models, HC_SLICE("e:a\0b:\0"), &model) == HC_OK);
	must(hc_slice_eq(model, HC_SLICE("a\0b")));
	must(hc_key_models_match(models, hc_slice(NULL, 0), &model) == HC_MISS);
	hc_key_models_destroy(models);
}
END_TEST

START_TEST(key_model_bad_templates_are_refused_with_a_reason)
{
	static const char *const bad[] = {"emb:{id}", "plain", "emb:{model}{id}", "{model}{id:0}", "{model}{id:4097}",
	    "{model}{id:x}", "{model}{id:-1}", "{model}{id:}", "{model}:{id", "{model}:{id4}", "{model}:{id}{more}",
	    "{model}{other}", "{model}:{model}", "a:{model},b"};
	static const char *const good[] = {"{model}{id:1}", "{model}{id:4096}", "{model}:{id}", "{model}"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hc_key_models *models = NULL;
		const char *why = NULL;
		must_msg(hc_key_models_create(bad[i], &models, &why) == HC_INVALID, "%s is accepted", bad[i]);
		must(why != NULL && strlen(why) > 10);
		must(models == NULL);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		hc_key_models_destroy(models_of(good[i]));
	hc_key_models_destroy(NULL);
}
END_TEST

START_TEST(key_model_each_failing_allocation_is_told)
{
	for (long k = 1;; k++) {
		struct hc_key_models *models = NULL;
		const char *why = NULL;
		hc_mem_fail_after(k);
		enum hc_status status = hc_key_models_create("a:{model}:{id},b:{model}", &models, &why);
		hc_mem_fail_after(0);
		must(status == HC_NOMEM || status == HC_OK);
		must((status == HC_OK) == (models != NULL));
		hc_key_models_destroy(models);
		if (status == HC_OK) {
			must(k > 3);
			break;
		}
	}
}
END_TEST

/* What the header says, in as plain a way as there is: the last place where the middle literal stands divides. */
static bool
plain_match(
    const char *before, const char *between, size_t id_len, const char *after, const char *key, struct hc_slice *model)
{
	size_t len = strlen(key), b = strlen(before), m = strlen(between), a = strlen(after);

	for (size_t n = len; n > 0; n--) {
		if (b + n + m + a > len || strncmp(key, before, b) != 0 || strncmp(key + b + n, between, m) != 0)
			continue;
		size_t id = len - b - n - m - a;
		if ((id_len != 0 && id != id_len) || strcmp(key + len - a, after) != 0)
			continue;
		if (id == 0)
			return false;
		*model = hc_slice(key + b, n);
		return true;
	}
	return false;
}

START_TEST(key_model_random_keys_match_as_a_plain_search)
{
	static const char alphabet[] = "ab:";
	struct rng rng = {test_seed()};
	unsigned fits = 0;

	for (unsigned round = 0; round < 20000; round++) {
		char parts[3][4] = {"", "", ""}, key[16] = "", text[64];
		for (unsigned p = 0; p < 3; p++) {
			for (uint32_t i = rng_below(&rng, 3); i > 0; i--)
				parts[p][strlen(parts[p])] = alphabet[rng_below(&rng, 3)];
		}
		for (uint32_t i = rng_below(&rng, 12); i > 0; i--)
			key[strlen(key)] = alphabet[rng_below(&rng, 3)];
		size_t id_len = rng_below(&rng, 4);
		if (id_len == 0 && parts[1][0] == '\0')
			continue;
		if (id_len > 0)
			snprintf(text, sizeof(text), "%s{model}%s{id:%zu}%s", parts[0], parts[1], id_len, parts[2]);
		else
			snprintf(text, sizeof(text), "%s{model}%s{id}%s", parts[0], parts[1], parts[2]);
		struct hc_key_models *models = models_of(text);
		struct hc_slice model, expected;
		bool fit = hc_key_models_match(models, hc_slice_str(key), &model) == HC_OK;
		must_msg(fit == plain_match(parts[0], parts[1], id_len, parts[2], key, &expected), "%s, %s", text, key);
		must_msg(!fit || hc_slice_eq(model, expected), "%s, %s", text, key);
		fits += fit;
		hc_key_models_destroy(models);
	}
	must(fits > 100);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("key_model");
	TCase *tcase = tcase_create("key_model");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, key_model_separator_divides_at_the_last);
	tcase_add_test(tcase, key_model_id_of_a_length_is_the_last_bytes);
	tcase_add_test(tcase, key_model_tail_and_missing_id);
	tcase_add_test(tcase, key_model_first_template_that_fits_decides);
	tcase_add_test(tcase, key_model_name_has_at_most_255_bytes);
	tcase_add_test(tcase, key_model_binary_keys_are_matched_whole);
	tcase_add_test(tcase, key_model_bad_templates_are_refused_with_a_reason);
	tcase_add_test(tcase, key_model_each_failing_allocation_is_told);
	tcase_add_test(tcase, key_model_random_keys_match_as_a_plain_search);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
