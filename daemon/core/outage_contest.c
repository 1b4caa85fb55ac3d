/*
 * What others changed, as far as it is heard of, weighed against what is on the outage list. Any thread; see outage.h.
 */
#include "core/outage_private.h"

void
hc_outage_doubt(struct hc_outage_node *node)
{
	node->doubt = HC_OUTAGE_UNSURE;
	node->since.heard = node->own = node->own_of_any = 0; /* numbers may begin anew */
}

/* Under the lock: what another wrote, which contested the value, is gone. So is what was there before. */
static void
replaced_by_ours(struct hc_outage *outage, struct hc_outage_node *node, uint64_t seq)
{
	node->own = seq;
	hc_outage_drop_value(outage, node);
	hc_outage_log_node(outage, node);
}

/* Under the lock. After another start nothing would be known of the base. */
static void
set_contested(struct hc_outage *outage, struct hc_outage_node *node)
{
	node->doubt = HC_OUTAGE_CONTESTED;
	hc_outage_log_type(outage, HC_OUTAGE_RECORD_DONE, hc_outage_node_key(node));
}

/* Heard of late: it is the base, or what that has replaced. */
static bool
is_older_than_base(const struct hc_outage_node *node, uint64_t seq)
{
	return node->base != NULL && !node->base_is_spare && node->doubt == HC_OUTAGE_SURE && seq <= node->base_version;
}

/* Under the lock. */
static void
contest_value(struct hc_outage *outage, struct hc_outage_node *node, uint64_t seq, bool rewritten)
{
	if (seq <= node->since.heard || is_older_than_base(node, seq))
		return;
	/* If the base is there again, it is what the other has written; unless this may be the event of the base. */
	if (rewritten && (node->base_is_spare || node->doubt == HC_OUTAGE_UNSURE || node->base_version > 0))
		hc_outage_drop_base(outage, node);
	set_contested(outage, node);
	if (seq < node->own_of_any)
		replaced_by_ours(outage, node, node->own_of_any); /* for all that is known */
}

/* Under the lock. */
static void
contest(struct hc_outage *outage, struct hc_outage_node *node, uint64_t seq, bool rewritten)
{
	if (node->entry == NULL && node->doubt == HC_OUTAGE_CONTESTED) {
		if (node->overtaken == 0)
			hc_outage_log_type(outage, HC_OUTAGE_RECORD_DONE, hc_outage_node_key(node));
		if (node->overtaken < seq) /* see replaced_by_ours(), which may yet come */
			node->overtaken = seq;
		outage->any_overtaken = true;
	} else if (node->entry != NULL) {
		contest_value(outage, node, seq, rewritten);
	}
}

void
hc_outage_contest(struct hc_outage *outage, struct hc_key key, uint64_t seq, bool rewritten)
{
	pthread_mutex_lock(&outage->lock);
	struct hc_outage_node *node = *hc_outage_slot(outage, key);
	if (node != NULL && seq > node->own) /* what was missed is caught up with after what is live */
		contest(outage, node, seq, rewritten);
	pthread_mutex_unlock(&outage->lock);
}

bool
hc_outage_will_replace(struct hc_outage *outage, struct hc_key key)
{
	pthread_mutex_lock(&outage->lock);
	const struct hc_outage_node *node = *hc_outage_slot(outage, key);
	/* Once it has been told, one of ours that is heard of may be the value, if it is younger than the base. */
	bool will = node != NULL && node->entry != NULL && !node->sent && node->doubt == HC_OUTAGE_SURE &&
		    (!node->told || node->own == 0 || is_older_than_base(node, node->own));
	pthread_mutex_unlock(&outage->lock);
	return will;
}

void
hc_outage_drop_overtaken(struct hc_outage *outage)
{
	struct hc_outage_node *node, *next;

	pthread_mutex_lock(&outage->lock);
	node = outage->any_overtaken ? TAILQ_FIRST(&outage->gone) : NULL;
	outage->any_overtaken = false;
	for (; node != NULL; node = next) {
		const struct hc_key key = {node->key, node->len, node->hash};
		next = TAILQ_NEXT(node, in_order);
		if (node->overtaken > 0)
			hc_outage_remove(outage, hc_outage_slot(outage, key));
	}
	hc_outage_recount(outage);
	pthread_mutex_unlock(&outage->lock);
}

/* It is to be deleted after all. */
static void
not_overtaken(struct hc_outage *outage, struct hc_outage_node *node)
{
	if (node->overtaken > 0)
		hc_outage_log_node(outage, node);
	node->overtaken = 0;
}

/* What the upstream has for all that is known, and without numbers only that counts: the value itself, once it is told.
 */
static void
rebase(struct hc_outage *outage, struct hc_outage_node *node, uint64_t seq)
{
	if (is_older_than_base(node, seq))
		return;
	if (node->doubt == HC_OUTAGE_UNSURE && !node->was_contested && (node->sent || node->told))
		hc_outage_put_base(outage, node, node->entry, seq);
	else
		hc_outage_drop_base(outage, node);
}

void
hc_outage_own(struct hc_outage *outage, struct hc_key key, uint64_t seq)
{
	pthread_mutex_lock(&outage->lock);
	struct hc_outage_node *node = *hc_outage_slot(outage, key);
	if (outage->own_of_any < seq)
		outage->own_of_any = seq;
	if (node != NULL && node->own < seq)
		node->own = seq;
	if (node != NULL && node->entry != NULL) {
		rebase(outage, node, seq);
		if (node->doubt == HC_OUTAGE_CONTESTED)
			replaced_by_ours(outage, node, node->own);
	}
	if (node != NULL && node->overtaken < seq)
		not_overtaken(outage, node);
	pthread_mutex_unlock(&outage->lock);
}

void
hc_outage_contest_all(struct hc_outage *outage, uint64_t seq)
{
	struct hc_outage_node *node, *next;

	pthread_mutex_lock(&outage->lock);
	for (node = TAILQ_FIRST(&outage->values); node != NULL; node = next) {
		const struct hc_key key = {node->key, node->len, node->hash};
		next = TAILQ_NEXT(node, in_order);
		if (seq <= node->since.heard)
			continue;
		if (node->doubt == HC_OUTAGE_CONTESTED)
			hc_outage_remove(outage, hc_outage_slot(outage, key));
		else
			set_contested(outage, node);
	}
	hc_outage_recount(outage);
	pthread_mutex_unlock(&outage->lock);
}

void
hc_outage_contest_model(struct hc_outage *outage, uint32_t model, uint64_t seq, uint32_t epoch)
{
	struct hc_outage_node *node, *next;

	pthread_mutex_lock(&outage->lock);
	for (node = TAILQ_FIRST(&outage->values); node != NULL; node = next) {
		/* Numbers that begin anew tell nothing of what a clear of this daemon's had ended already: that stays
		 * so. */
		bool older = seq > node->since.heard || node->epoch != hc_models_epoch(outage->models, model);
		next = TAILQ_NEXT(node, in_order);
		if (hc_entry_model(node->entry) != model || (!older && node->epoch >= epoch))
			continue;
		if (older) /* what the upstream has may be of another model: it went with this, and must go there too */
			hc_outage_drop_value(outage, node);
		else
			node->epoch = epoch;
		hc_outage_log_node(outage, node);
	}
	pthread_mutex_unlock(&outage->lock);
}

void
hc_outage_heard_epoch(struct hc_outage *outage, uint32_t id, uint32_t epoch)
{
	pthread_mutex_lock(&outage->lock);
	struct hc_outage_model *model = hc_outage_model(outage, id);
	if (model != NULL && epoch > model->known)
		model->known = epoch;
	pthread_mutex_unlock(&outage->lock);
}

/*
 * Under the lock. What may have been told before this may have been replaced, by what had been there before it, too.
 * And of what another had written instead, the upstream may have something older now.
 */
static void
doubt_value(struct hc_outage *outage, struct hc_outage_node *node)
{
	bool contested = node->doubt == HC_OUTAGE_CONTESTED;

	if (node->sent && node->base != node->entry)
		hc_outage_drop_base(outage, node);
	hc_outage_doubt(node);
	if (!contested)
		return;
	node->was_contested = true;
	hc_outage_log_node(outage, node);
}

void
hc_outage_unsure(struct hc_outage *outage)
{
	struct hc_outage_node *node;

	pthread_mutex_lock(&outage->lock);
	atomic_fetch_add(&outage->losses, 1);
	outage->own_of_any = 0;
	TAILQ_FOREACH(node, &outage->values, in_order)
	{
		doubt_value(outage, node);
	}
	if (!TAILQ_EMPTY(&outage->values))
		hc_outage_log_type(outage, HC_OUTAGE_RECORD_UNSURE, HC_SLICE(""));
	TAILQ_FOREACH(node, &outage->gone, in_order)
	{
		not_overtaken(outage, node);
	}
	pthread_mutex_unlock(&outage->lock);
}
