/*
 * Key templates. Constant after create; any thread.
 */
#include "core/key_model.h"

#include "base/mem.h"
#include "base/num.h"
#include "store/models.h"

struct template
{
	struct hc_slice before; /* these point into `text` */
	struct hc_slice between;
	struct hc_slice after;
	size_t id_len; /* 0: any, divided at the last `between` */
	bool has_id;
};

struct hc_key_models {
	char *text;
	struct template *templates;
	size_t n;
};

static bool
starts_with(struct hc_slice text, struct hc_slice with)
{
	return text.len >= with.len && memcmp(text.ptr, with.ptr, with.len) == 0;
}

static bool
ends_with(struct hc_slice text, struct hc_slice with)
{
	return text.len >= with.len && memcmp(text.ptr + text.len - with.len, with.ptr, with.len) == 0;
}

static struct hc_slice
from(struct hc_slice text, size_t at)
{
	return hc_slice(text.ptr + at, text.len - at);
}

/* Offset of the first `part` in `text`, or text.len. */
static size_t
find(struct hc_slice text, const char *part)
{
	const char *at = memmem(text.ptr, text.len, part, strlen(part));
	return at == NULL ? text.len : (size_t)(at - text.ptr);
}

/* `rest` begins with "{id" of a template. */
static const char *
parse_id(struct hc_slice rest, struct template *t)
{
	size_t end = find(rest, "}");
	uint64_t n = 0;

	if (end == rest.len)
		return "a template's `{id` has no closing brace";
	if (end > 3) {
		if (rest.ptr[3] != ':' || !hc_num_u64(hc_slice(rest.ptr + 4, end - 4), &n) || n == 0 || n > 4096)
			return "a template's `{id:N}` wants a length from 1 to 4096";
	}
	t->has_id = true;
	t->id_len = (size_t)n;
	t->after = from(rest, end + 1);
	return NULL;
}

static const char *
parse_template(struct hc_slice text, struct template *t)
{
	size_t at = find(text, "{model}");
	const char *why;

	if (at == text.len)
		return "a template holds no `{model}`";
	t->before = hc_slice(text.ptr, at);
	struct hc_slice rest = from(text, at + strlen("{model}"));
	size_t id = find(rest, "{id");
	if (id == rest.len) {
		t->after = rest;
	} else {
		t->between = hc_slice(rest.ptr, id);
		why = parse_id(from(rest, id), t);
		if (why != NULL)
			return why;
		if (t->between.len == 0 && t->id_len == 0)
			return "between `{model}` and `{id}` a template needs a literal, or `{id:N}` a length";
	}
	if (memchr(t->after.ptr, '{', t->after.len) != NULL)
		return "a template ends in an unknown `{`";
	return NULL;
}

static const char *
parse_all(struct hc_key_models *models)
{
	struct hc_slice rest = hc_slice_str(models->text);

	while (rest.len > 0) {
		size_t end = find(rest, ",");
		struct hc_slice one = hc_slice_trim(hc_slice(rest.ptr, end));
		if (one.len > 0) {
			const char *why = parse_template(one, &models->templates[models->n]);
			if (why != NULL)
				return why;
			models->n++;
		}
		rest = from(rest, end < rest.len ? end + 1 : end);
	}
	return NULL;
}

enum hc_status
hc_key_models_create(const char *templates, struct hc_key_models **out, const char **why)
{
	struct hc_key_models *models = hc_calloc(1, sizeof(*models));
	size_t n = 1;

	if (models == NULL)
		return HC_NOMEM;
	for (const char *c = templates; *c != '\0'; c++)
		n += *c == ',';
	models->text = hc_strdup(templates);
	models->templates = hc_calloc(n, sizeof(*models->templates));
	if (models->text == NULL || models->templates == NULL) {
		hc_key_models_destroy(models);
		return HC_NOMEM;
	}
	*why = parse_all(models);
	if (*why != NULL) {
		hc_key_models_destroy(models);
		return HC_INVALID;
	}
	*out = models;
	return HC_OK;
}

void
hc_key_models_destroy(struct hc_key_models *models)
{
	if (models == NULL)
		return;
	hc_free(models->templates);
	hc_free(models->text);
	hc_free(models);
}

static bool
match(const struct template *t, struct hc_slice key, struct hc_slice *model)
{
	if (!starts_with(key, t->before))
		return false;
	struct hc_slice rest = from(key, t->before.len);
	if (!ends_with(rest, t->after))
		return false;
	rest.len -= t->after.len;
	if (t->id_len > 0) {
		if (rest.len < t->id_len)
			return false;
		rest.len -= t->id_len;
		if (!ends_with(rest, t->between))
			return false;
		rest.len -= t->between.len;
	} else if (t->has_id) {
		size_t at = rest.len;
		while (at > 0 && !ends_with(hc_slice(rest.ptr, at), t->between))
			at--;
		if (at < t->between.len || at == rest.len)
			return false;
		rest.len = at - t->between.len;
	}
	if (rest.len == 0 || rest.len > HC_MODEL_NAME_MAX)
		return false;
	*model = rest;
	return true;
}

enum hc_status
hc_key_models_match(const struct hc_key_models *models, struct hc_slice key, struct hc_slice *model)
{
	for (size_t i = 0; i < models->n; i++) {
		if (match(&models->templates[i], key, model))
			return HC_OK;
	}
	return HC_MISS;
}
