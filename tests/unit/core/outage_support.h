/*
 * What tests of the outage list share: a list over a small store, with one key on it.
 */
#ifndef HC_TESTS_OUTAGE_SUPPORT_H
#define HC_TESTS_OUTAGE_SUPPORT_H

#include "core/outage.h"
#include "tests/unit/store/support.h"

static struct hc_store *store;
static const struct hc_outage_limits limits = {150, 1 << 30};

static inline void
set_up(void)
{
	store = store_with(1 << 20, 1, true);
}

static inline void
tear_down(void)
{
	hc_store_destroy(store);
}

static inline struct hc_outage *
outage_of(void)
{
	struct hc_outage *outage;

	ck_assert_int_eq(hc_outage_create(hc_store_models(store), &outage), HC_OK);
	return outage;
}

static inline struct hc_outage_page
page_of_one(struct hc_outage *outage, int64_t now_ms)
{
	struct hc_outage_page page;

	must(hc_outage_take(outage, 10, UINT64_MAX, now_ms, &page) == HC_OK);
	must(page.n_items == 1 && page.n_models == 0 && !page.all);
	return page;
}

/* A value of model `id`, noted when all up to 5 had been heard. */
static inline void
note(struct hc_outage *outage, const char *text, uint32_t id, const char *base, bool sent)
{
	struct hc_entry *entry = entry_of_model(store, "k", text, id);
	struct hc_entry *was = base != NULL ? entry_str(store, "k", base) : NULL;
	const struct hc_outage_value value = {.entry = entry,
	    .base = was,
	    .expire_ms = 1000,
	    .since = {.life = 1, .heard = 5},
	    .losses = hc_outage_losses(outage),
	    .sent = sent};

	must(hc_outage_add_value(outage, key_str("k"), &value, &limits) == HC_OK);
	hc_entry_unref(entry);
	hc_entry_unref(was);
}

static inline void
must_be(struct hc_outage *outage, const char *text, const char *base, enum hc_outage_doubt doubt)
{
	struct hc_outage_page page = page_of_one(outage, 1);
	const struct hc_outage_item *item = &page.items[0];

	must(item->entry != NULL && hc_slice_eq(hc_entry_value(item->entry), hc_slice_str(text)));
	must(base == NULL ? item->base == NULL
			  : item->base != NULL && hc_slice_eq(hc_entry_value(item->base), hc_slice_str(base)));
	must(item->doubt == doubt);
	hc_outage_page_fini(&page);
}

/* What became of the page's one item; it is settled then. */
static inline void
settle(struct hc_outage *outage, struct hc_outage_page *page, enum hc_outage_outcome outcome, uint64_t written)
{
	page->items[0].outcome = outcome;
	page->items[0].written = written;
	hc_outage_settle(outage, page);
	hc_outage_page_fini(page);
}

#endif
