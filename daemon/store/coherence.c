/*
 * Copies of an upstream's entries: tickets for what is on its way, and what makes them worthless.
 * Any thread; owns nothing: the stamps are the shards'.
 *
 * For one key, and for those that share its stamp, this is what holds:
 *
 *     fill_begin ──────── fill_end      kept if no begin or end of a write, end of another fill,
 * change or invalidation fell between, and no write is under way write_begin ─────── write_end kept
 * if nothing of that kind fell between
 *
 * The check and the insertion happen under one hold of the shard's lock, as does each of those
 * events.
 */
#include <assert.h>
#include "store/shard.h"

static bool
ticket_good(const struct hc_store *store, const struct hc_stamp *stamp, const struct hc_ticket *ticket)
{
	return stamp->stamp == ticket->stamp && hc_store_generation(store) == ticket->generation;
}

/* Under the lock: `entry` came in time. It is as old as its ticket, whenever it was created. */
static enum hc_status
keep(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_entry *entry,
    const struct hc_ticket *ticket, enum hc_store_fill fill, enum hc_put_kind kind, int64_t now_ms,
    struct hc_garbage *garbage)
{
	struct hc_place place;

	if (fill == HC_FILL_DOUBTED)
		hc_entry_doubt(store, entry, false);
	else
		hc_entry_set_generation(entry, ticket->generation);
	struct hc_entry *present = hc_shard_find(store, shard, key, now_ms, &place, garbage);
	hc_entry_ref(entry);
	enum hc_status status = hc_shard_put(
	    store, shard, key.hash, &place, present, entry, hc_entry_footprint(entry), kind, now_ms, garbage);
	if (status != HC_OK)
		hc_entry_unref(entry);
	return status;
}

/* Under the lock: the key was asked for where it has its home, and is not there. */
static void
drop_suspect(struct hc_store *store, struct hc_shard *shard, struct hc_key key, struct hc_garbage *garbage)
{
	struct hc_place place;
	const struct hc_entry *entry = hc_table_find(&shard->table, key, &place);
	uint64_t belief = atomic_load_explicit(&store->belief, memory_order_acquire);

	if (entry != NULL && !hc_belief_is_fresh(belief, atomic_load_explicit(&entry->life, memory_order_relaxed)))
		hc_shard_drop(store, shard, key, garbage);
}

/* Outside of the lock. */
static enum hc_status
finish(struct hc_store *store, struct hc_key key, struct hc_entry *entry, enum hc_status status,
    struct hc_garbage *garbage)
{
	hc_garbage_free(store, garbage);
	if (status == HC_OK && entry != NULL)
		hc_budget_fit(store, hc_shard_index(store, key.hash), hc_entry_footprint(entry), entry);
	return status;
}

void
hc_store_fill_begin(struct hc_store *store, struct hc_key key, struct hc_ticket *ticket)
{
	struct hc_shard *shard = hc_shard_of(store, key);

	hc_shard_lock_to_read(store, shard);
	ticket->stamp = hc_shard_stamp(shard, key)->stamp;
	ticket->generation = hc_store_generation(store);
	hc_shard_unlock_read(store, shard);
}

bool
hc_store_ticket_good(struct hc_store *store, struct hc_key key, const struct hc_ticket *ticket)
{
	struct hc_shard *shard = hc_shard_of(store, key);

	hc_shard_lock_to_read(store, shard);
	bool good = ticket_good(store, hc_shard_stamp(shard, key), ticket);
	hc_shard_unlock_read(store, shard);
	return good;
}

enum hc_status
hc_store_fill_end(struct hc_store *store, struct hc_key key, const struct hc_ticket *ticket, struct hc_entry *entry,
    enum hc_store_fill fill, int64_t now_ms)
{
	enum hc_put_kind kind = fill == HC_FILL_FILED ? HC_PUT_FILED : HC_PUT_FILLED;
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};
	enum hc_status status = HC_STALE;

	hc_shard_lock(store, shard);
	struct hc_stamp *stamp = hc_shard_stamp(shard, key);
	if (ticket_good(store, stamp, ticket) && stamp->writers == 0) {
		status = HC_OK;
		if (entry != NULL)
			status = keep(store, shard, key, entry, ticket, fill, kind, now_ms, &garbage);
		else if (fill == HC_FILL_NEW)
			drop_suspect(store, shard, key, &garbage);
	}
	stamp->stamp++;
	hc_shard_unlock(store, shard);
	return finish(store, key, entry, status, &garbage);
}

enum hc_status
hc_store_renew(struct hc_store *store, struct hc_key key, const struct hc_ticket *ticket, struct hc_entry *entry,
    int64_t expire_ms, enum hc_store_fill fill)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	enum hc_status status = HC_STALE;
	struct hc_place place;

	hc_shard_lock(store, shard);
	struct hc_stamp *stamp = hc_shard_stamp(shard, key);
	if (ticket_good(store, stamp, ticket) && stamp->writers == 0 &&
	    hc_table_find(&shard->table, key, &place) == entry) {
		if (fill != HC_FILL_DOUBTED)
			hc_entry_set_generation(entry, ticket->generation);
		if (hc_entry_expire_ms(entry) != expire_ms) {
			hc_entry_set_expire_ms(entry, expire_ms);
			hc_shard_expires(shard, expire_ms);
			if (store->below != NULL)
				store->below->expires(store->below->arg, entry, expire_ms);
		}
		status = HC_OK;
	}
	stamp->stamp++;
	hc_shard_unlock(store, shard);
	return status;
}

bool
hc_store_write_begin(struct hc_store *store, struct hc_key key, struct hc_ticket *ticket)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};

	hc_shard_lock(store, shard);
	struct hc_stamp *stamp = hc_shard_stamp(shard, key);
	bool behind = stamp->writers++ > 0;
	ticket->stamp = ++stamp->stamp;
	ticket->generation = hc_store_generation(store);
	hc_shard_drop(store, shard, key, &garbage);
	hc_below_removed(store, hc_slice(key.ptr, key.len));
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
	return behind;
}

enum hc_status
hc_store_write_end(struct hc_store *store, struct hc_key key, const struct hc_ticket *ticket, struct hc_entry *entry,
    enum hc_store_fill fill, int64_t now_ms)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};
	enum hc_status status = HC_STALE;

	hc_shard_lock(store, shard);
	struct hc_stamp *stamp = hc_shard_stamp(shard, key);
	assert(stamp->writers > 0);
	stamp->writers--;
	hc_shard_drop(store, shard, key, &garbage);
	if (ticket_good(store, stamp, ticket) && stamp->writers == 0)
		status = entry == NULL ? HC_OK
				       : keep(store, shard, key, entry, ticket, fill, HC_PUT_WRITTEN, now_ms, &garbage);
	/* Fills asked for while it was under way may have read what it has replaced. */
	stamp->stamp++;
	hc_shard_unlock(store, shard);
	return finish(store, key, entry, status, &garbage);
}

bool
hc_store_writing(struct hc_store *store, struct hc_key key)
{
	struct hc_shard *shard = hc_shard_of(store, key);

	hc_shard_lock_to_read(store, shard);
	bool writing = hc_shard_stamp(shard, key)->writers > 0;
	hc_shard_unlock_read(store, shard);
	return writing;
}

bool
hc_store_invalidate(struct hc_store *store, struct hc_key key, uint64_t version)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};
	bool was_read = false;

	hc_shard_lock(store, shard);
	struct hc_place place;
	const struct hc_entry *entry = hc_table_find(&shard->table, key, &place);
	if (entry == NULL || version == 0 || hc_entry_version(entry) < version) {
		was_read = entry != NULL && hc_entry_hits(entry) > 0;
		hc_shard_drop(store, shard, key, &garbage);
		hc_below_removed(store, hc_slice(key.ptr, key.len));
	}
	/* Also when the copy stays: what is on its way may be older than the event. */
	hc_shard_stamp(shard, key)->stamp++;
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
	return was_read;
}

void
hc_store_invalidate_older(struct hc_store *store, struct hc_key key, uint64_t version)
{
	struct hc_shard *shard = hc_shard_of(store, key);
	struct hc_garbage garbage = {0};

	hc_shard_lock(store, shard);
	struct hc_place place;
	const struct hc_entry *entry = hc_table_find(&shard->table, key, &place);
	struct hc_stamp *stamp = hc_shard_stamp(shard, key);
	if (stamp->writers == 0 && (entry == NULL || hc_entry_version(entry) < version)) {
		hc_shard_drop(store, shard, key, &garbage);
		hc_below_removed(store, hc_slice(key.ptr, key.len));
		stamp->stamp++;
	}
	hc_shard_unlock(store, shard);
	hc_garbage_free(store, &garbage);
}
