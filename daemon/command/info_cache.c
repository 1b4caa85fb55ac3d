/* INFO's sections about what is cached and with whom it is shared: Tiers, Upstream, Fleet, Models,
 * Keyspace. See info.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "command/info.h"
#include "command/text.h"
#include "core/warm.h"
#include "file/file.h"
#include "fleet/fleet.h"

#define MODELS_SHOWN 100

static void
write_yes_no(FILE *to, const char *name, bool value)
{
	fprintf(to, "%s:%s\r\n", name, value ? "yes" : "no");
}

static void
write_count(const struct hc_info *info, const char *name, uint64_t n)
{
	fprintf(info->to, "%s:%" PRIu64 "\r\n", name, n);
}

/* What was done by the file tier, each with what it costs. */
static void
write_file_work(const struct hc_info *info, const struct hc_file_stats *file)
{
	write_count(info, "file_appended", file->appended[HC_FILE_VALUE]);
	write_count(info, "file_appended_bytes", file->appended_bytes);
	write_count(info, "file_deletes", file->appended[HC_FILE_DELETE]);
	write_count(info, "file_written_bytes", file->written_bytes);
	write_count(info, "file_writes", file->writes);
	write_count(info, "file_syncs", file->syncs);
	write_count(info, "file_reads", file->reads);
	write_count(info, "file_reads_cached", file->reads_cached);
	write_count(info, "file_read_bytes", file->read_bytes);
	write_count(info, "file_read_misses", file->read_misses);
	write_count(info, "file_read_errors", file->read_errors);
	write_count(info, "file_damaged", file->damaged);
	write_count(info, "file_demoted", hc_core_demoted(info->shared->core));
	write_count(info, "file_shed", file->shed);
	write_count(info, "file_too_long", file->too_long);
	write_count(info, "file_lost", file->lost);
	write_count(info, "file_carried", file->carried);
	write_count(info, "file_dropped", file->dropped_live);
	write_count(info, "file_segments_reclaimed", file->reclaimed);
}

static void
write_file(const struct hc_info *info)
{
	struct hc_file_stats file = {0};
	bool enabled = hc_core_file_stats(info->shared->core, &file);

	write_yes_no(info->to, "file_enabled", enabled);
	write_count(info, "file_entries", file.items);
	write_count(info, "file_bytes", file.disk_bytes);
	if (!enabled)
		return;
	fprintf(info->to, "file_state:%s\r\n", hc_file_mode_name(file.mode));
	fprintf(info->to, "file_fault:%s\r\n", file.fault != 0 ? strerrorname_np(file.fault) : "");
	write_count(info, "file_faults", file.faults);
	write_count(info, "file_max_bytes", file.max_bytes);
	write_count(info, "file_live_bytes", file.live_bytes);
	write_count(info, "file_segments", file.segments);
	write_count(info, "file_index_bytes", file.index_bytes);
	write_count(info, "file_queue_records", file.queue_records);
	write_count(info, "file_queue_bytes", file.queue_bytes);
	write_count(info, "file_load_records", file.load_records);
	write_count(info, "file_load_segments_left", file.load_segments_left);
	write_count(info, "file_load_ms", file.load_ms);
	write_file_work(info, &file);
}

static void
write_warmup(const struct hc_info *info)
{
	static const char *const names[] = {
	    [HC_WARM_OFF] = "off",
	    [HC_WARM_WAITING] = "waiting",
	    [HC_WARM_RUNNING] = "running",
	    [HC_WARM_DONE] = "done",
	};
	struct hc_warm_status warm;

	hc_core_warm_status(info->shared->core, &warm);
	fprintf(info->to, "warmup_state:%s\r\n", names[warm.state]);
	write_count(info, "warmup_keys", warm.keys);
	write_count(info, "warmup_tried", warm.tried);
	write_count(info, "warmup_loaded", warm.loaded);
	write_count(info, "warmup_bytes", warm.bytes);
}

void
hc_info_tiers(const struct hc_info *info)
{
	const struct hc_store_stats *store = &info->store;

	write_yes_no(info->to, "memory_enabled", info->shared->settings->memory_enabled);
	fprintf(info->to, "memory_entries:%" PRIu64 "\r\n", store->entries);
	fprintf(info->to, "memory_bytes:%" PRIu64 "\r\n", store->bytes);
	fprintf(info->to, "memory_table_bytes:%" PRIu64 "\r\n", store->table_bytes);
	fprintf(info->to, "memory_max_bytes:%" PRIu64 "\r\n", store->max_bytes);
	fprintf(info->to, "memory_evicted:%" PRIu64 "\r\n", store->evicted);
	fprintf(info->to, "memory_expired:%" PRIu64 "\r\n", store->expired);
	fprintf(info->to, "memory_reclaimed:%" PRIu64 "\r\n", store->reclaimed);
	write_file(info);
	write_warmup(info);
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
	static const char *const foreign[] = {
	    [HC_FOREIGN_OFF] = "off", [HC_FOREIGN_ON] = "on", [HC_FOREIGN_UNSUPPORTED] = "unsupported"};
	struct hc_core_status status;

	hc_core_status(info->shared->core, &status);
	fprintf(info->to, "upstream_state:%s\r\n", hc_info_state_name(status.upstream));
	fprintf(info->to, "upstream_breaker:%s\r\n", status.breaker);
	fprintf(info->to, "upstream_state_seconds:%" PRId64 "\r\n", status.upstream_for_ms / 1000);
	fprintf(info->to, "upstream_url:");
	hc_text_escaped(info->to, hc_slice_str(status.upstream_shown));
	fprintf(info->to, "\r\nupstream_connects:%" PRIu64 "\r\n", status.connects);
	fprintf(info->to, "upstream_failures:%" PRIu64 "\r\n", status.failures);
	fprintf(info->to, "upstream_timeouts:%" PRIu64 "\r\n", status.timeouts);
	fprintf(info->to, "queued_writes:%" PRIu64 "\r\n", status.queued_writes);
	fprintf(info->to, "queued_bytes:%" PRIu64 "\r\n", status.queued_bytes);
	fprintf(info->to, "queued_oldest_ms:%" PRId64 "\r\n", status.queued_age_ms);
	fprintf(info->to, "event_link:%s\r\n", hc_info_state_name(status.event_link));
	fprintf(info->to, "event_link_seconds:%" PRId64 "\r\n", status.event_link_for_ms / 1000);
	fprintf(info->to, "fence_age_ms:%" PRId64 "\r\n", status.fence_age_ms);
	fprintf(info->to, "lease_lapses:%" PRIu64 "\r\n", status.lapses);
	fprintf(info->to, "foreign_writes:%s\r\n", foreign[status.foreign_writes]);
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
	if (info->store.entries > 0)
		fprintf(info->to, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0\r\n", info->store.entries);
}
