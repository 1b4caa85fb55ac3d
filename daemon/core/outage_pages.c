/*
 * The outage list in pages: what is taken of it to be told to the upstream, what becomes of that, and the list as a
 * whole, to and from its file. Any thread; see outage.h.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "core/outage_private.h"

#define TRIES_MAX 40 /* then a value's key is deleted upstream instead */

/* ---- taking ---- */

/* What the upstream must have still, or others know better. */
static struct hc_entry *
base_of(const struct hc_outage_node *node)
{
	return node->base_is_spare && node->doubt == HC_OUTAGE_SURE ? NULL : node->base;
}

/* `stale`: as one that went. */
static bool
copy_node(const struct hc_outage_node *node, bool stale, struct hc_outage_page *page)
{
	struct hc_outage_item *item = &page->items[page->n_items];
	char *key = hc_malloc(node->len + 1);

	if (key == NULL)
		return false;
	memcpy(key, node->key, node->len);
	*item = (struct hc_outage_item){
	    .key = hc_slice(key, node->len),
	    .entry = stale ? NULL : node->entry,
	    .base = stale ? NULL : base_of(node),
	    .base_version = node->base_version,
	    .expire_ms = node->expire_ms,
	    .epoch = node->epoch,
	    .since = node->since,
	    .at_ms = node->at_ms,
	    .doubt = node->doubt,
	    .was_contested = node->was_contested,
	    .mark = node->mark,
	};
	if (item->entry != NULL)
		hc_entry_ref(item->entry);
	if (item->base != NULL)
		hc_entry_ref(item->base);
	page->n_items++;
	return true;
}

static enum hc_status
copy_models(struct hc_outage *outage, struct hc_outage_page *page)
{
	page->models = hc_calloc(outage->n_cleared + 1, sizeof(*page->models));
	if (page->models == NULL)
		return HC_NOMEM;
	for (; page->n_models < outage->n_cleared; page->n_models++) {
		const struct hc_outage_model *model = &outage->cleared[page->n_models];
		page->models[page->n_models] = (struct hc_outage_page_model){model->id, model->known, model->mark};
	}
	return HC_OK;
}

static enum hc_status
copy_gone(const struct hc_outage *outage, size_t max, struct hc_outage_page *page)
{
	const struct hc_outage_node *node;

	TAILQ_FOREACH(node, &outage->gone, in_order)
	{
		if (page->n_items >= max)
			break;
		if (node->overtaken == 0 && !copy_node(node, false, page))
			return HC_NOMEM;
	}
	return HC_OK;
}

static enum hc_status
copy_values(const struct hc_outage *outage, size_t max, uint64_t max_bytes, int64_t now_ms, struct hc_outage_page *page)
{
	const struct hc_outage_node *node;
	uint64_t bytes = 0;

	TAILQ_FOREACH(node, &outage->values, in_order)
	{
		if (page->n_items >= max || bytes >= max_bytes)
			break;
		if (!copy_node(node, hc_outage_is_stale(outage, node, now_ms), page))
			return HC_NOMEM;
		bytes += hc_entry_value_len(node->entry);
	}
	return HC_OK;
}

static enum hc_status
fill_page(struct hc_outage *outage, size_t max, uint64_t max_bytes, int64_t now_ms, struct hc_outage_page *page)
{
	page->all = outage->all;
	page->all_mark = outage->all_mark;
	if (outage->all)
		return HC_OK; /* which stands for all keys that were before, and goes before all that came after */
	page->items = hc_calloc(max, sizeof(*page->items));
	enum hc_status status = page->items != NULL ? copy_models(outage, page) : HC_NOMEM;
	if (status == HC_OK)
		status = copy_gone(outage, max, page);
	if (status == HC_OK && page->n_items == 0 && page->n_models == 0)
		status = copy_values(outage, max, max_bytes, now_ms, page);
	return status;
}

static void
note_told(struct hc_outage *outage, const struct hc_outage_page *page)
{
	for (size_t i = 0; i < page->n_items; i++)
		(*hc_outage_slot(outage, hc_key(page->items[i].key)))->told = true;
}

enum hc_status
hc_outage_take(struct hc_outage *outage, size_t max, uint64_t max_bytes, int64_t now_ms, struct hc_outage_page *page)
{
	pthread_mutex_lock(&outage->lock);
	*page = (struct hc_outage_page){.losses = atomic_load(&outage->losses)};
	enum hc_status status = fill_page(outage, max, max_bytes, now_ms, page);
	if (status == HC_OK)
		note_told(outage, page);
	pthread_mutex_unlock(&outage->lock);
	if (status != HC_OK)
		hc_outage_page_fini(page);
	return status;
}

void
hc_outage_page_fini(struct hc_outage_page *page)
{
	for (size_t i = 0; i < page->n_items; i++) {
		hc_free((void *)(uintptr_t)page->items[i].key.ptr);
		hc_entry_unref(page->items[i].entry);
		hc_entry_unref(page->items[i].base);
	}
	hc_free(page->items);
	hc_free(page->models);
	*page = (struct hc_outage_page){0};
}

/* ---- settling ---- */

static void
settle_all(struct hc_outage *outage, uint64_t mark)
{
	/* All keys went, and with them what had been noted of them before. Models stay: how far they have been cleared
	 * here is yet to be told. */
	for (size_t i = 0; i < outage->n_slots; i++) {
		struct hc_outage_node **at = &outage->slots[i];
		while (*at != NULL) {
			if ((*at)->mark < mark)
				hc_outage_remove(outage, at);
			else
				at = &(*at)->next;
		}
	}
	if (outage->all_mark == mark && outage->all) {
		outage->all = false;
		hc_outage_log_type(outage, HC_OUTAGE_RECORD_ALL_DONE, HC_SLICE(""));
	}
}

static void
to_be_deleted(struct hc_outage *outage, struct hc_outage_node *node)
{
	hc_outage_drop_value(outage, node);
	hc_outage_log_node(outage, node);
}

/* Behind the others, which may fare better. */
static void
try_again(struct hc_outage *outage, struct hc_outage_node *node, bool counts)
{
	struct hc_outage_nodes *nodes = node->entry != NULL ? &outage->values : &outage->gone;

	TAILQ_REMOVE(nodes, node, in_order);
	TAILQ_INSERT_TAIL(nodes, node, in_order);
	node->told = false;
	node->tries += counts;
	if (node->tries >= TRIES_MAX && node->entry != NULL)
		to_be_deleted(outage, node);
}

/* Whether the key has been given another value here, knowing of nothing that had replaced what was written. */
static bool
is_base_of(const struct hc_outage_item *item, const struct hc_outage_node *node)
{
	return item->written > 0 && node->entry != NULL && node->entry != item->entry && !node->sent &&
	       node->doubt == HC_OUTAGE_SURE && node->since.heard <= item->written && node->own <= item->written;
}

/* The key was changed again while it was told. */
static void
settle_changed(struct hc_outage *outage, const struct hc_outage_page *page, const struct hc_outage_item *item,
    struct hc_outage_node *node)
{
	if (item->outcome <= HC_OUTAGE_AGAIN) { /* for nothing */
		node->told = false;
		return;
	}
	bool misses_nothing = item->written > 0 && page->losses == atomic_load(&outage->losses);
	if (misses_nothing && node->doubt == HC_OUTAGE_UNSURE) { /* whoever has changed that since will be heard of */
		node->doubt = HC_OUTAGE_SURE;
		node->was_contested = false;
		node->since.heard = item->written;
	}
	if (is_base_of(item, node))
		hc_outage_put_base(outage, node, item->entry, item->written);
	else
		hc_outage_drop_base(outage, node); /* the upstream has another than before */
}

static void
settle_item(struct hc_outage *outage, const struct hc_outage_page *page, const struct hc_outage_item *item)
{
	struct hc_outage_node **at = hc_outage_slot(outage, hc_key(item->key)), *node = *at;

	if (node == NULL)
		return;
	if (node->mark != item->mark) {
		settle_changed(outage, page, item, node);
		return;
	}
	switch (item->outcome) {
	case HC_OUTAGE_LATER:
	case HC_OUTAGE_AGAIN:
		try_again(outage, node, item->outcome == HC_OUTAGE_AGAIN);
		break;
	case HC_OUTAGE_SETTLED:
		hc_outage_remove(outage, at);
		break;
	case HC_OUTAGE_DELETE:
		to_be_deleted(outage, node);
		break;
	}
}

void
hc_outage_settle(struct hc_outage *outage, const struct hc_outage_page *page)
{
	pthread_mutex_lock(&outage->lock);
	if (page->all)
		settle_all(outage, page->all_mark);
	for (size_t i = 0; i < page->n_models; i++) {
		struct hc_outage_model *model = hc_outage_model(outage, page->models[i].id);
		if (model != NULL && model->mark == page->models[i].mark)
			hc_outage_remove_model(outage, model);
	}
	for (size_t i = 0; i < page->n_items; i++)
		settle_item(outage, page, &page->items[i]);
	hc_outage_recount(outage);
	pthread_mutex_unlock(&outage->lock);
}

/*
 * Whether others may have cleared the model after the value came, by what that clear found upstream. What counts is
 * what was known when that was sent: its event may have come before its answer.
 */
static bool
may_be_older(const struct hc_outage_node *node, uint32_t known, const struct hc_outage_clear *clear)
{
	return node->doubt == HC_OUTAGE_UNSURE &&
	       (node->since.incarnation != clear->incarnation || clear->before != known);
}

/* Under the lock. */
static void
move_behind(
    struct hc_outage *outage, const struct hc_outage_model *model, uint32_t known, const struct hc_outage_clear *clear)
{
	struct hc_outage_node *node, *next;

	for (node = TAILQ_FIRST(&outage->values); node != NULL; node = next) {
		next = TAILQ_NEXT(node, in_order);
		if (hc_entry_model(node->entry) != model->id || node->mark < model->mark || node->epoch < model->epoch)
			continue;
		if (may_be_older(node, known, clear))
			hc_outage_drop_value(outage, node);
		else if (node->epoch < clear->epoch) /* else it came after a later clear, which has been heard of */
			node->epoch = clear->epoch;
		hc_outage_log_node(outage, node);
	}
}

void
hc_outage_cleared(
    struct hc_outage *outage, const struct hc_outage_page *page, size_t i, const struct hc_outage_clear *clear)
{
	pthread_mutex_lock(&outage->lock);
	struct hc_outage_model *model = hc_outage_model(outage, page->models[i].id);
	if (model != NULL && model->mark == page->models[i].mark) /* else they wait for the clear after this one */
		move_behind(outage, model, page->models[i].known, clear);
	if (model != NULL && model->known == clear->before)
		model->known = clear->epoch;
	pthread_mutex_unlock(&outage->lock);
}

void
hc_outage_lose(struct hc_outage *outage, const struct hc_outage_page *page)
{
	pthread_mutex_lock(&outage->lock);
	for (size_t i = 0; i < page->n_items; i++) {
		struct hc_outage_node *node = *hc_outage_slot(outage, hc_key(page->items[i].key));
		if (node == NULL || page->items[i].entry == NULL)
			continue;
		if (node->doubt != HC_OUTAGE_UNSURE || page->losses != atomic_load(&outage->losses))
			hc_outage_drop_base(outage, node); /* it may be this one by now, and else nothing tells */
		node->sent = node->sent || node->told;
	}
	pthread_mutex_unlock(&outage->lock);
}

/* ---- to and from the file ---- */

static enum hc_status
fill_snapshot(struct hc_outage *outage, struct hc_outage_page *page)
{
	page->all = outage->all;
	page->items = hc_calloc(outage->n_keys + 1, sizeof(*page->items));
	enum hc_status status = page->items != NULL ? copy_models(outage, page) : HC_NOMEM;
	if (status == HC_OK)
		status = copy_gone(outage, SIZE_MAX, page);
	if (status == HC_OK)
		status = copy_values(outage, SIZE_MAX, UINT64_MAX, 0, page);
	return status;
}

enum hc_status
hc_outage_snapshot(struct hc_outage *outage, struct hc_outage_page *page)
{
	*page = (struct hc_outage_page){0};
	pthread_mutex_lock(&outage->lock);
	enum hc_status status = fill_snapshot(outage, page);
	if (status == HC_OK)
		hc_outage_log_begin_anew(outage->log, false);
	pthread_mutex_unlock(&outage->lock);
	if (status != HC_OK)
		hc_outage_page_fini(page);
	return status;
}

enum hc_status
hc_outage_restore(struct hc_outage *outage, const struct hc_outage_item *item)
{
	static const struct hc_outage_limits none = {UINT64_MAX, UINT64_MAX};
	struct hc_key key = hc_key(item->key);
	enum hc_status status;

	if (item->entry == NULL) {
		status = hc_outage_add_key(outage, key, UINT64_MAX);
	} else {
		const struct hc_outage_value value = {.entry = item->entry,
		    .expire_ms = item->expire_ms,
		    .since = item->since,
		    .losses = hc_outage_losses(outage),
		    .sent = true};
		status = hc_outage_add_value(outage, key, &value, &none);
	}
	if (status != HC_OK)
		return status;
	struct hc_outage_node *node = *hc_outage_slot(outage, key);
	node->at_ms = item->at_ms;
	node->doubt = item->doubt;
	return HC_OK;
}

enum hc_status
hc_outage_drop_model(struct hc_outage *outage, uint32_t id)
{
	pthread_mutex_lock(&outage->lock);
	struct hc_outage_model *model = hc_outage_model(outage, id);
	if (model != NULL)
		hc_outage_remove_model(outage, model);
	hc_outage_recount(outage);
	pthread_mutex_unlock(&outage->lock);
	return HC_OK;
}

void
hc_outage_drop_all(struct hc_outage *outage)
{
	const struct hc_outage_page page = {.all = true, .all_mark = outage->all_mark};

	hc_outage_settle(outage, &page);
}
