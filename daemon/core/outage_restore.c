/*
 * The outage list over a restart: what the file of an earlier life holds is on the list again, and in memory, before
 * anybody is served. Main thread, at the start and at the end.
 */
#include <errno.h>
#include <inttypes.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/internal.h"

#define NAMES 8 /* lives that one outage may have seen; more are forgotten, the oldest first */

/* As whom the list was made, and what was known of the fleet when it began. */
struct hc_earlier {
	struct hc_outage_since since;
	char names[NAMES][HC_EVENT_MAX_INSTANCE + 1];
	unsigned n;
};

bool
hc_outage_is_earlier(const struct hc_core *core, struct hc_slice instance)
{
	const struct hc_earlier *earlier = core->earlier;

	for (unsigned i = 0; earlier != NULL && i < earlier->n && i < NAMES; i++) {
		if (hc_slice_eq(instance, hc_slice_str(earlier->names[i])))
			return true;
	}
	return false;
}

struct hc_outage_since
hc_outage_earlier_since(const struct hc_core *core)
{
	return core->earlier != NULL ? core->earlier->since : (struct hc_outage_since){0};
}

/* What has been heard by then was weighed by then; false: it was numbered otherwise. */
static bool
note_since(struct hc_core *core, const struct hc_outage_since *since)
{
	struct hc_saved_state found = hc_saved_found(core->saved);
	struct hc_outage_since *earliest = &core->earlier->since;

	if (earliest->life == 0) {
		*earliest = *since;
		if (found.life != 0)
			*earliest = (struct hc_outage_since){found.life, found.incarnation, found.heard};
	}
	if (since->life == 0 || since->life != earliest->life || since->incarnation != earliest->incarnation)
		return false;
	if (since->heard < earliest->heard && found.life == 0)
		earliest->heard = since->heard;
	return true;
}

static void
note_name(struct hc_earlier *earlier, struct hc_slice name)
{
	if (name.len > HC_EVENT_MAX_INSTANCE)
		return;
	char *to = earlier->names[earlier->n++ % NAMES];
	memcpy(to, name.ptr, name.len);
	to[name.len] = '\0';
}

/* Its time or its epoch may be over: it is on the list then, and nowhere else. */
static enum hc_status
restore_value(struct hc_core *core, const struct hc_outage_record *record)
{
	int64_t now_ms = hc_clock_wall_ms();
	struct hc_key key = hc_key(record->key);
	uint32_t model;

	enum hc_status status = hc_models_intern(core->models, record->model, &model);
	if (status != HC_OK)
		return status;
	(void)hc_models_raise(core->models, model, record->epoch);
	struct hc_entry *entry = hc_entry_create(core->store, key, record->value.len, model);
	if (entry == NULL)
		return HC_NOMEM;
	if (record->value.len > 0)
		memcpy(hc_entry_value_ptr(entry), record->value.ptr, record->value.len);
	hc_entry_set_epoch(entry, record->epoch);
	int64_t left_ms = record->expire_ms == HC_NO_EXPIRY ? -1 : record->expire_ms - now_ms;
	hc_entry_set_expire_ms(entry, left_ms >= 0 || record->expire_ms == HC_NO_EXPIRY
					  ? hc_core_local_expiry(core, left_ms, now_ms)
					  : record->expire_ms);
	const struct hc_outage_item item = {.key = record->key,
	    .entry = entry,
	    .expire_ms = record->expire_ms,
	    .since = record->since,
	    .at_ms = record->at_ms,
	    .doubt = note_since(core, &record->since) ? HC_OUTAGE_SURE : HC_OUTAGE_UNSURE};
	status = hc_outage_restore(core->outage, &item);
	if (status == HC_OK)
		(void)hc_store_put(core->store, key, entry, NULL, now_ms, NULL);
	hc_entry_unref(entry);
	return status;
}

static enum hc_status
restore_model(struct hc_core *core, const struct hc_outage_record *record, bool done)
{
	uint32_t model;

	enum hc_status status = hc_models_intern(core->models, record->model, &model);
	if (status != HC_OK)
		return status;
	(void)hc_models_raise(core->models, model, record->epoch);
	return done ? hc_outage_drop_model(core->outage, model)
		    : hc_outage_add_model(core->outage, model, record->known);
}

static enum hc_status
restore_key(struct hc_core *core, const struct hc_outage_record *record)
{
	const struct hc_outage_item item = {.key = record->key, .at_ms = record->at_ms};

	(void)hc_store_del(core->store, hc_key(record->key), hc_clock_wall_ms(), NULL);
	return hc_outage_restore(core->outage, &item);
}

static enum hc_status
on_record(void *arg, const struct hc_outage_record *record)
{
	struct hc_core *core = arg;

	switch (record->type) {
	case HC_OUTAGE_RECORD_INSTANCE:
		note_name(core->earlier, record->key);
		break;
	case HC_OUTAGE_RECORD_VALUE:
		return restore_value(core, record);
	case HC_OUTAGE_RECORD_GONE:
		return restore_key(core, record);
	case HC_OUTAGE_RECORD_DONE:
		(void)hc_store_del(core->store, hc_key(record->key), hc_clock_wall_ms(), NULL);
		hc_outage_forget_key(core->outage, hc_key(record->key), hc_outage_mark(core->outage));
		break;
	case HC_OUTAGE_RECORD_MODEL:
	case HC_OUTAGE_RECORD_MODEL_DONE:
		return restore_model(core, record, record->type == HC_OUTAGE_RECORD_MODEL_DONE);
	case HC_OUTAGE_RECORD_ALL:
		hc_core_clear_all(core);
		hc_outage_add_all(core->outage);
		break;
	case HC_OUTAGE_RECORD_ALL_DONE:
		hc_outage_drop_all(core->outage);
		break;
	case HC_OUTAGE_RECORD_UNSURE:
		hc_outage_unsure(core->outage);
		break;
	}
	return HC_OK;
}

static enum hc_status
open_log(struct hc_core *core)
{
	enum hc_status status = hc_outage_log_open(hc_tier_dir(core->tier),
	    core->settings->file_sync == HC_SETTING_SYNC_ALWAYS, on_record, core, &core->outage_log);

	if (status == HC_OK)
		status =
		    hc_outage_log_start(core->outage_log, core->outage, core->models, hc_fleet_instance(core->fleet));
	return status;
}

enum hc_status
hc_outage_restore_all(struct hc_core *core)
{
	if (core->tier == NULL)
		return HC_OK;
	core->earlier = hc_calloc(1, sizeof(*core->earlier));
	enum hc_status status = core->earlier != NULL ? open_log(core) : HC_NOMEM;
	if (status == HC_ERROR) {
		hc_log(
		    HC_LOG_WARN, "outage_log_failed", "errno=%d consequence=\"%s\"", errno, HC_OUTAGE_LOG_CONSEQUENCE);
		hc_outage_log_close(core->outage_log);
		core->outage_log = NULL;
		return HC_OK;
	}
	if (status != HC_OK)
		return status;
	hc_outage_set_log(core->outage, core->outage_log);
	uint64_t queued = hc_outage_count(core->outage);
	if (queued == 0)
		hc_outage_log_begin_anew(core->outage_log, true);
	else
		hc_log(HC_LOG_INFO, "queued_writes_found", "queued=%" PRIu64 " age_ms=%" PRId64, queued,
		    hc_outage_age_ms(core->outage));
	return HC_OK;
}

void
hc_outage_restore_fini(struct hc_core *core)
{
	hc_outage_log_close(core->outage_log);
	hc_free(core->earlier);
	core->outage_log = NULL;
	core->earlier = NULL;
}
