/* INFO's sections about what is cached and with whom it is shared: Tiers, Upstream, Fleet, Models,
 * Keyspace. See info.h. */
#include <inttypes.h>
#include <stdlib.h>
#include "command/info.h"
#include "command/text.h"
#include "fleet/fleet.h"

#define MODELS_SHOWN 100

static void
write_yes_no(FILE *to, const char *name, bool value)
{
	fprintf(to, "%s:%s\r\n", name, value ? "yes" : "no");
}

void
hc_info_tiers(const struct hc_info *info)
{
	struct hc_store_stats store;

	hc_store_stats(hc_core_store(info->shared->core), &store);
	write_yes_no(info->to, "memory_enabled", info->shared->settings->memory_enabled);
	fprintf(info->to, "memory_entries:%" PRIu64 "\r\n", store.entries);
	fprintf(info->to, "memory_bytes:%" PRIu64 "\r\n", store.bytes);
	fprintf(info->to, "memory_table_bytes:%" PRIu64 "\r\n", store.table_bytes);
	fprintf(info->to, "memory_max_bytes:%" PRIu64 "\r\n", store.max_bytes);
	fprintf(info->to, "memory_evicted:%" PRIu64 "\r\n", store.evicted);
	fprintf(info->to, "memory_expired:%" PRIu64 "\r\n", store.expired);
	fprintf(info->to, "memory_reclaimed:%" PRIu64 "\r\n", store.reclaimed);
}

/* ---- Upstream, Fleet ---- */

const char *
hc_info_state_name(enum hc_upstream_state state)
{
	switch (state) {
	case HC_UPSTREAM_UP:
		return "up";
	case HC_UPSTREAM_DOWN:
		return "down";
	case HC_UPSTREAM_OFF:
		break;
	}
	return "off";
}

void
hc_info_upstream(const struct hc_info *info)
{
	struct hc_core_status status;

	hc_core_status(info->shared->core, &status);
	fprintf(info->to, "upstream_state:%s\r\n", hc_info_state_name(status.upstream));
	fprintf(info->to, "upstream_state_seconds:%" PRId64 "\r\n", status.upstream_for_ms / 1000);
	fprintf(info->to, "upstream_url:");
	hc_text_escaped(info->to, hc_slice_str(status.upstream_shown));
	fprintf(info->to, "\r\nupstream_connects:%" PRIu64 "\r\n", status.connects);
	fprintf(info->to, "upstream_failures:%" PRIu64 "\r\n", status.failures);
	fprintf(info->to, "upstream_timeouts:%" PRIu64 "\r\n", status.timeouts);
	fprintf(info->to, "queued_writes:%" PRIu64 "\r\n", status.queued_writes);
	fprintf(info->to, "event_link:%s\r\n", hc_info_state_name(status.event_link));
	fprintf(info->to, "event_link_seconds:%" PRId64 "\r\n", status.event_link_for_ms / 1000);
}

void
hc_info_fleet(const struct hc_info *info)
{
	struct hc_fleet *fleet = hc_core_fleet(info->shared->core);
	struct hc_core_status status;
	char name[80];

	hc_core_status(info->shared->core, &status);
	hc_settings_string(info->shared->settings, HC_SETTING_ID_fleet_name, name, sizeof(name));
	fprintf(info->to, "fleet_name:");
	hc_text_escaped(info->to, hc_slice_str(name));
	fprintf(info->to, "\r\nfleet_instance:");
	if (fleet != NULL)
		hc_text_escaped(info->to, hc_fleet_instance(fleet));
	fprintf(info->to, "\r\nfleet_siblings:%zu\r\n", fleet != NULL ? hc_fleet_siblings_alive(fleet) : 0);
	fprintf(info->to, "fleet_seq:%" PRIu64 "\r\n", status.seq);
	fprintf(info->to, "fleet_incarnation:%" PRIu32 "\r\n", status.incarnation);
	fprintf(info->to, "fleet_event_lag_us:%" PRId64 "\r\n", status.event_lag_us);
}

/* ---- Models ---- */

struct sized {
	uint64_t bytes;
	uint32_t id;
};

/*
 * The largest of all models so far: collected until there are twice as many as are shown, then
 * sorted and cut. From then on those that are not larger than the smallest shown are passed over.
 */
struct largest {
	struct sized items[2 * MODELS_SHOWN];
	size_t n;
	uint64_t floor;
};

static int
compare_sizes(const void *a, const void *b)
{
	const struct sized *x = a;
	const struct sized *y = b;

	return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

static void
largest_cut(struct largest *largest)
{
	qsort(largest->items, largest->n, sizeof(largest->items[0]), compare_sizes);
	if (largest->n <= MODELS_SHOWN)
		return;
	largest->n = MODELS_SHOWN;
	largest->floor = largest->items[MODELS_SHOWN - 1].bytes + 1;
}

static void
largest_add(struct largest *largest, uint32_t id, uint64_t bytes)
{
	if (bytes < largest->floor)
		return;
	largest->items[largest->n] = (struct sized){bytes, id};
	if (++largest->n == 2 * MODELS_SHOWN)
		largest_cut(largest);
}

void
hc_info_models(const struct hc_info *info)
{
	const struct hc_models *models = hc_core_models(info->shared->core);
	uint32_t count = hc_models_count(models);
	struct hc_model_info model;
	struct largest largest = {.n = 0};

	hc_store_tell_models(hc_core_store(info->shared->core));
	for (uint32_t id = 0; id < count; id++) {
		hc_models_info(models, id, &model);
		largest_add(&largest, id, model.bytes);
	}
	largest_cut(&largest);
	fprintf(info->to, "models:%" PRIu32 "\r\n", count);
	fprintf(info->to, "models_shown:%zu\r\n", largest.n);
	for (size_t i = 0; i < largest.n; i++) {
		hc_models_info(models, largest.items[i].id, &model);
		fprintf(info->to, "model_%zu:name=", i);
		hc_text_escaped(info->to, model.name);
		fprintf(info->to, ",epoch=%" PRIu32 ",clears=%" PRIu64 ",entries=%" PRIu64 ",bytes=%" PRIu64 "\r\n",
		    model.epoch, model.clears, model.entries, model.bytes);
	}
}

/* As Redis has it, of what is in memory; how many of them expire, and when, nobody counts. */
void
hc_info_keyspace(const struct hc_info *info)
{
	struct hc_store_stats store;

	hc_store_stats(hc_core_store(info->shared->core), &store);
	if (store.entries > 0)
		fprintf(info->to, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0\r\n", store.entries);
}
