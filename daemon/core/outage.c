/*
 * The outage list. Any thread; `lock` protects all but the count, and is a leaf.
 */
#include "core/outage.h"

#include <pthread.h>
#include <stdatomic.h>
#include "base/mem.h"

struct node {
	struct node *next;
	uint64_t hash;
	uint64_t mark; /* when it was last added: a replay settles only what it saw */
	size_t len;
	char key[];
};

struct model {
	uint32_t id;
	uint64_t mark;
};

struct hc_outage {
	_Atomic uint64_t count; /* keys, models, and all as one; written under the lock */
	pthread_mutex_t lock;
	uint64_t marks; /* the last one given */
	struct node **slots;
	size_t n_slots; /* power of two */
	size_t n_keys;
	struct model *models;
	size_t n_models, cap_models;
	bool all;
	uint64_t all_mark;
};

#define SLOTS_MIN 64

enum hc_status
hc_outage_create(struct hc_outage **out)
{
	struct hc_outage *outage = hc_calloc(1, sizeof(*outage));
	if (outage == NULL)
		return HC_NOMEM;
	outage->slots = hc_calloc(SLOTS_MIN, sizeof(struct node *));
	if (outage->slots == NULL) {
		hc_free(outage);
		return HC_NOMEM;
	}
	outage->n_slots = SLOTS_MIN;
	pthread_mutex_init(&outage->lock, NULL);
	*out = outage;
	return HC_OK;
}

void
hc_outage_destroy(struct hc_outage *outage)
{
	if (outage == NULL)
		return;
	for (size_t i = 0; i < outage->n_slots; i++) {
		while (outage->slots[i] != NULL) {
			struct node *next = outage->slots[i]->next;
			hc_free(outage->slots[i]);
			outage->slots[i] = next;
		}
	}
	pthread_mutex_destroy(&outage->lock);
	hc_free(outage->slots);
	hc_free(outage->models);
	hc_free(outage);
}

uint64_t
hc_outage_count(struct hc_outage *outage)
{
	return atomic_load_explicit(&outage->count, memory_order_acquire);
}

bool
hc_outage_empty(struct hc_outage *outage)
{
	return hc_outage_count(outage) == 0;
}

static void
recount(struct hc_outage *outage)
{
	atomic_store_explicit(&outage->count, outage->n_keys + outage->n_models + outage->all, memory_order_release);
}

static struct node **
find(struct hc_outage *outage, struct hc_key key)
{
	struct node **at = &outage->slots[key.hash & (outage->n_slots - 1)];

	while (*at != NULL) {
		struct node *n = *at;
		if (n->hash == key.hash && n->len == key.len && memcmp(n->key, key.ptr, key.len) == 0)
			break;
		at = &n->next;
	}
	return at;
}

/* A larger table; without memory the old one goes on, slower. */
static void
grow(struct hc_outage *outage)
{
	size_t n = outage->n_slots * 2;
	struct node **slots = hc_calloc(n, sizeof(struct node *));

	if (slots == NULL)
		return;
	for (size_t i = 0; i < outage->n_slots; i++) {
		while (outage->slots[i] != NULL) {
			struct node *node = outage->slots[i];
			outage->slots[i] = node->next;
			node->next = slots[node->hash & (n - 1)];
			slots[node->hash & (n - 1)] = node;
		}
	}
	hc_free(outage->slots);
	outage->slots = slots;
	outage->n_slots = n;
}

enum hc_status
hc_outage_add_key(struct hc_outage *outage, struct hc_key key, uint64_t max)
{
	enum hc_status status = HC_OK;

	pthread_mutex_lock(&outage->lock);
	struct node *node = *find(outage, key);
	if (node == NULL && outage->n_keys >= max) {
		status = HC_LIMIT;
	} else if (node == NULL) {
		node = hc_malloc(sizeof(*node) + key.len);
		if (node == NULL) {
			status = HC_NOMEM;
		} else {
			if (outage->n_keys >= outage->n_slots)
				grow(outage);
			struct node **slot = &outage->slots[key.hash & (outage->n_slots - 1)];
			node->hash = key.hash;
			node->len = key.len;
			memcpy(node->key, key.ptr, key.len);
			node->next = *slot;
			*slot = node;
			outage->n_keys++;
		}
	}
	if (status == HC_OK)
		node->mark = ++outage->marks;
	recount(outage);
	pthread_mutex_unlock(&outage->lock);
	return status;
}

static struct model *
find_model(struct hc_outage *outage, uint32_t id)
{
	for (size_t i = 0; i < outage->n_models; i++) {
		if (outage->models[i].id == id)
			return &outage->models[i];
	}
	return NULL;
}

enum hc_status
hc_outage_add_model(struct hc_outage *outage, uint32_t id)
{
	enum hc_status status = HC_OK;

	pthread_mutex_lock(&outage->lock);
	struct model *model = find_model(outage, id);
	if (model == NULL && outage->n_models == outage->cap_models) {
		size_t cap = outage->cap_models == 0 ? 8 : outage->cap_models * 2;
		struct model *models = hc_realloc(outage->models, cap * sizeof(*models));
		if (models == NULL) {
			status = HC_NOMEM;
		} else {
			outage->models = models;
			outage->cap_models = cap;
		}
	}
	if (status == HC_OK && model == NULL) {
		model = &outage->models[outage->n_models++];
		model->id = id;
	}
	if (status == HC_OK)
		model->mark = ++outage->marks;
	recount(outage);
	pthread_mutex_unlock(&outage->lock);
	return status;
}

void
hc_outage_add_all(struct hc_outage *outage)
{
	pthread_mutex_lock(&outage->lock);
	outage->all = true;
	outage->all_mark = ++outage->marks;
	recount(outage);
	pthread_mutex_unlock(&outage->lock);
}

bool
hc_outage_has_key(struct hc_outage *outage, struct hc_key key)
{
	pthread_mutex_lock(&outage->lock);
	bool has = outage->all || *find(outage, key) != NULL;
	pthread_mutex_unlock(&outage->lock);
	return has;
}

bool
hc_outage_has_model(struct hc_outage *outage, uint32_t id)
{
	pthread_mutex_lock(&outage->lock);
	bool has = outage->all || find_model(outage, id) != NULL;
	pthread_mutex_unlock(&outage->lock);
	return has;
}

bool
hc_outage_doubts_key(struct hc_outage *outage, struct hc_key key)
{
	pthread_mutex_lock(&outage->lock);
	bool doubts = outage->all || outage->n_models > 0 || *find(outage, key) != NULL;
	pthread_mutex_unlock(&outage->lock);
	return doubts;
}

/* Takes the node at `at` out when it is of that mark (0: of any). */
static void
remove_node(struct hc_outage *outage, struct node **at, uint64_t mark)
{
	struct node *node = *at;

	if (node == NULL || (mark != 0 && node->mark != mark))
		return;
	*at = node->next;
	hc_free(node);
	outage->n_keys--;
}

void
hc_outage_forget_key(struct hc_outage *outage, struct hc_key key)
{
	pthread_mutex_lock(&outage->lock);
	remove_node(outage, find(outage, key), 0);
	recount(outage);
	pthread_mutex_unlock(&outage->lock);
}

static bool
copy_key(const struct node *node, struct hc_outage_page *page)
{
	char *copy = hc_malloc(node->len + 1);
	if (copy == NULL)
		return false;
	memcpy(copy, node->key, node->len);
	page->keys[page->n_keys] = hc_slice(copy, node->len);
	page->key_marks[page->n_keys++] = node->mark;
	return true;
}

static enum hc_status
fill_page(struct hc_outage *outage, size_t max, struct hc_outage_page *page)
{
	page->all = outage->all;
	page->all_mark = outage->all_mark;
	if (outage->all)
		return HC_OK; /* which stands for all the rest */
	page->models = hc_calloc(outage->n_models + 1, sizeof(*page->models));
	page->model_marks = hc_calloc(outage->n_models + 1, sizeof(*page->model_marks));
	page->keys = hc_calloc(max, sizeof(*page->keys));
	page->key_marks = hc_calloc(max, sizeof(*page->key_marks));
	if (page->models == NULL || page->model_marks == NULL || page->keys == NULL || page->key_marks == NULL)
		return HC_NOMEM;
	for (; page->n_models < outage->n_models; page->n_models++) {
		page->models[page->n_models] = outage->models[page->n_models].id;
		page->model_marks[page->n_models] = outage->models[page->n_models].mark;
	}
	for (size_t i = 0; i < outage->n_slots && page->n_keys < max; i++) {
		for (struct node *n = outage->slots[i]; n != NULL && page->n_keys < max; n = n->next) {
			if (!copy_key(n, page))
				return HC_NOMEM;
		}
	}
	return HC_OK;
}

enum hc_status
hc_outage_take(struct hc_outage *outage, size_t max, struct hc_outage_page *page)
{
	*page = (struct hc_outage_page){0};
	pthread_mutex_lock(&outage->lock);
	enum hc_status status = fill_page(outage, max, page);
	pthread_mutex_unlock(&outage->lock);
	if (status != HC_OK)
		hc_outage_page_fini(page);
	return status;
}

static void
settle_all(struct hc_outage *outage, uint64_t mark)
{
	/* Everything went, and with it whatever had been noted before. */
	for (size_t i = 0; i < outage->n_slots; i++) {
		struct node **at = &outage->slots[i];
		while (*at != NULL) {
			if ((*at)->mark < mark)
				remove_node(outage, at, 0);
			else
				at = &(*at)->next;
		}
	}
	size_t kept = 0;
	for (size_t i = 0; i < outage->n_models; i++) {
		if (outage->models[i].mark > mark)
			outage->models[kept++] = outage->models[i];
	}
	outage->n_models = kept;
	if (outage->all_mark == mark)
		outage->all = false;
}

void
hc_outage_settle(struct hc_outage *outage, const struct hc_outage_page *page)
{
	pthread_mutex_lock(&outage->lock);
	if (page->all)
		settle_all(outage, page->all_mark);
	for (size_t i = 0; i < page->n_models; i++) {
		struct model *model = find_model(outage, page->models[i]);
		if (model != NULL && model->mark == page->model_marks[i])
			*model = outage->models[--outage->n_models];
	}
	for (size_t i = 0; i < page->n_keys; i++)
		remove_node(outage, find(outage, hc_key(page->keys[i])), page->key_marks[i]);
	recount(outage);
	pthread_mutex_unlock(&outage->lock);
}

void
hc_outage_page_fini(struct hc_outage_page *page)
{
	for (size_t i = 0; i < page->n_keys; i++)
		hc_free((void *)(uintptr_t)page->keys[i].ptr);
	hc_free(page->keys);
	hc_free(page->key_marks);
	hc_free(page->models);
	hc_free(page->model_marks);
	*page = (struct hc_outage_page){0};
}
