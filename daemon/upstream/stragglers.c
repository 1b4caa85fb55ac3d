/*
 * Which links have left stragglers. Any thread; owns a slot for each link.
 */
#include "upstream/stragglers.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "base/mem.h"

#define BITS 65536u /* power of two */

struct hc_stragglers {
	pthread_mutex_t lock;
	uint64_t written[BITS / 64]; /* a bit for the keys that hash there; all 0 when there are no stragglers */
	_Atomic unsigned count;      /* of slots in use; written under the lock */
	unsigned links;
	struct slot {
		bool used;
		struct hc_peer peer;
	} slots[];
};

bool
hc_peer_is_there(const struct hc_peer *peer, const char *run_id)
{
	return peer->client_id != 0 && peer->run_id[0] != '\0' && strcmp(peer->run_id, run_id) == 0;
}

enum hc_status
hc_stragglers_create(unsigned links, struct hc_stragglers **out)
{
	struct hc_stragglers *stragglers = hc_calloc(1, sizeof(*stragglers) + links * sizeof(stragglers->slots[0]));

	if (stragglers == NULL)
		return HC_NOMEM;
	pthread_mutex_init(&stragglers->lock, NULL);
	stragglers->links = links;
	*out = stragglers;
	return HC_OK;
}

void
hc_stragglers_destroy(struct hc_stragglers *stragglers)
{
	if (stragglers == NULL)
		return;
	pthread_mutex_destroy(&stragglers->lock);
	hc_free(stragglers);
}

void
hc_stragglers_left(struct hc_stragglers *stragglers, unsigned link, const struct hc_peer *peer)
{
	struct slot *slot = &stragglers->slots[link];

	assert(link < stragglers->links);
	pthread_mutex_lock(&stragglers->lock);
	stragglers->count += !slot->used;
	*slot = (struct slot){true, *peer};
	pthread_mutex_unlock(&stragglers->lock);
}

void
hc_stragglers_ended(struct hc_stragglers *stragglers, unsigned link, int64_t client_id)
{
	struct slot *slot = &stragglers->slots[link];

	assert(link < stragglers->links);
	pthread_mutex_lock(&stragglers->lock);
	if (slot->used && (client_id == 0 || slot->peer.client_id == client_id)) {
		slot->used = false;
		if (--stragglers->count == 0)
			memset(stragglers->written, 0, sizeof(stragglers->written));
	}
	pthread_mutex_unlock(&stragglers->lock);
}

static uint64_t *
word_of(struct hc_stragglers *stragglers, uint64_t hash, uint64_t *bit)
{
	*bit = (uint64_t)1 << hash % 64;
	return &stragglers->written[hash / 64 % (BITS / 64)];
}

void
hc_stragglers_write(struct hc_stragglers *stragglers, uint64_t hash)
{
	uint64_t bit, *word = word_of(stragglers, hash, &bit);

	pthread_mutex_lock(&stragglers->lock);
	if (stragglers->count > 0)
		*word |= bit;
	pthread_mutex_unlock(&stragglers->lock);
}

bool
hc_stragglers_may_write(struct hc_stragglers *stragglers, uint64_t hash)
{
	uint64_t bit, *word = word_of(stragglers, hash, &bit);

	pthread_mutex_lock(&stragglers->lock);
	bool may = (*word & bit) != 0;
	pthread_mutex_unlock(&stragglers->lock);
	return may;
}

bool
hc_stragglers_any(const struct hc_stragglers *stragglers)
{
	return atomic_load(&stragglers->count) > 0;
}

bool
hc_stragglers_find(struct hc_stragglers *stragglers, unsigned *link, struct hc_peer *peer)
{
	bool found = false;

	pthread_mutex_lock(&stragglers->lock);
	for (unsigned i = *link; i < stragglers->links && !found; i++) {
		found = stragglers->slots[i].used;
		if (found) {
			*link = i;
			*peer = stragglers->slots[i].peer;
		}
	}
	pthread_mutex_unlock(&stragglers->lock);
	return found;
}
