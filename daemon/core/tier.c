/* The file tier, bound to entries; see tier.h. */
#include "core/tier.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/internal.h"
#include "core/tier_spill.h"
#include "core/warm.h"

#define DIR_CAP 1100
#define READS_MIN 1024u /* slots for counting reads */
#define READS_MAX (1u << 22)
#define BYTES_A_READ 4096 /* of memory.max_bytes, for each of them */

struct hc_tier {
	/* constant after creation */
	struct hc_core *core;
	struct hc_file *file;
	char dir[DIR_CAP];
	struct hc_store_below below;
	bool through;
	bool waited_for; /* a client is told only what the log has */
	uint32_t reads_mask;
	/* by key: 16 bits of its hash, 8 of when, in halves of the window, 8 how often. A lost update only loses a read
	 */
	_Atomic uint32_t *reads;
	/* atomics */
	_Atomic uint64_t trusted_from;
	_Atomic uint64_t demoted;
};

static _Thread_local uint64_t last_mark;
static _Thread_local bool appended; /* something, since the writer was last woken by this thread */

uint64_t
hc_tier_mark(void)
{
	return last_mark;
}

/* ---- what the memory tier tells ---- */

static enum hc_status
append(struct hc_tier *tier, const struct hc_file_record *record, struct hc_entry *owner)
{
	uint64_t mark = 0;

	if (owner != NULL)
		hc_entry_ref(owner);
	enum hc_status status = hc_file_append(tier->file, record, owner, &mark);
	if (owner != NULL && status != HC_OK)
		hc_entry_unref(owner); /* not the last: it is in memory still */
	if (mark > last_mark && tier->waited_for)
		last_mark = mark;
	appended = true;
	return status;
}

static enum hc_status
append_value(struct hc_tier *tier, struct hc_entry *entry, bool droppable)
{
	struct hc_entry_tag tag = hc_entry_tag(entry);
	const struct hc_file_record record = {
	    .type = HC_FILE_VALUE,
	    .droppable = droppable,
	    .key = hc_entry_key(entry),
	    .value = hc_entry_value(entry),
	    .expire_ms = hc_entry_expire_ms(entry),
	    .model = tag.model,
	    .epoch = tag.epoch,
	    .generation = hc_store_generation_of(tier->core->store, entry),
	    .version = hc_entry_version(entry),
	    .created_s = entry->created_s,
	    .hits = (uint8_t)hc_entry_hits(entry),
	};

	return append(tier, &record, entry);
}

static void
append_delete(struct hc_tier *tier, struct hc_slice key)
{
	(void)append(tier, &(struct hc_file_record){.type = HC_FILE_DELETE, .key = key}, NULL);
}

static void
on_written(void *arg, struct hc_entry *entry)
{
	struct hc_tier *tier = arg;

	if (tier->through)
		(void)append_value(
		    tier, entry, false); /* when it is not taken, what was there is deleted all the same */
	else
		append_delete(tier, hc_entry_key(entry));
}

static void
on_filled(void *arg, struct hc_entry *entry)
{
	struct hc_tier *tier = arg;

	append_delete(tier, hc_entry_key(entry));
	if (tier->through)
		(void)append_value(tier, entry, true);
}

static void
on_removed(void *arg, struct hc_slice key)
{
	append_delete(arg, key);
}

static void
on_expires(void *arg, struct hc_entry *entry, int64_t expire_ms)
{
	const struct hc_file_record record = {
	    .type = HC_FILE_EXPIRE, .key = hc_entry_key(entry), .expire_ms = expire_ms};

	(void)append(arg, &record, NULL);
}

/* What was never read again is not worth a write. */
static void
on_evicted(void *arg, struct hc_entry *entry)
{
	struct hc_tier *tier = arg;

	if (hc_entry_hits(entry) == 0)
		return;
	if (hc_file_find(tier->file, hc_entry_key(entry), 0, NULL) == HC_OK)
		hc_file_touch(tier->file, hc_entry_key(entry));
	else if (append_value(tier, entry, true) == HC_OK)
		atomic_fetch_add_explicit(&tier->demoted, 1, memory_order_relaxed);
}

void
hc_tier_kick(struct hc_tier *tier)
{
	if (!appended || tier == NULL)
		return;
	appended = false;
	hc_file_kick(tier->file);
}

void
hc_tier_sweep_soon(struct hc_tier *tier)
{
	if (tier != NULL)
		hc_file_sweep_soon(tier->file);
}

/* ---- clearing ---- */

void
hc_tier_clear_model(struct hc_tier *tier, uint32_t model, uint32_t epoch)
{
	const struct hc_file_record record = {.type = HC_FILE_CLEAR_MODEL, .model = model, .epoch = epoch};

	if (tier != NULL)
		(void)append(tier, &record, NULL);
}

void
hc_tier_clear_all(struct hc_tier *tier)
{
	if (tier != NULL)
		(void)append(tier, &(struct hc_file_record){.type = HC_FILE_CLEAR_ALL}, NULL);
}

uint64_t
hc_tier_suspect(struct hc_tier *tier)
{
	return tier == NULL ? 0 : atomic_exchange(&tier->trusted_from, hc_file_head(tier->file));
}

void
hc_tier_trust(struct hc_tier *tier, uint64_t position)
{
	if (tier != NULL)
		atomic_store(&tier->trusted_from, position);
}

/* ---- reading ---- */

bool
hc_tier_trusts(const struct hc_tier *tier, uint64_t position)
{
	return position >= atomic_load_explicit(&tier->trusted_from, memory_order_acquire);
}

uint64_t
hc_tier_trusted_from(const struct hc_tier *tier)
{
	return tier == NULL ? 0 : atomic_load_explicit(&tier->trusted_from, memory_order_acquire);
}

bool
hc_tier_lies_at(struct hc_tier *tier, struct hc_key key, int64_t now_ms, uint64_t position)
{
	struct hc_file_item item;

	return hc_file_find(tier->file, hc_slice(key.ptr, key.len), now_ms, &item) == HC_OK &&
	       item.position == position;
}

bool
hc_tier_has(struct hc_tier *tier, struct hc_key key, int64_t now_ms)
{
	return hc_file_find(tier->file, hc_slice(key.ptr, key.len), now_ms, NULL) == HC_OK;
}

enum hc_status
hc_tier_entry(struct hc_tier *tier, struct hc_key key, const struct hc_file_value *value, struct hc_entry **out)
{
	struct hc_entry *entry = hc_entry_create(tier->core->store, key, value->value.len, value->model);

	if (entry == NULL)
		return HC_NOMEM;
	if (hc_entry_epoch(entry) != value->epoch) {
		hc_entry_unref(entry);
		return HC_MISS;
	}
	if (value->value.len > 0)
		memcpy(hc_entry_value_ptr(entry), value->value.ptr, value->value.len);
	hc_entry_set_expire_ms(entry, value->expire_ms);
	if (tier->core->fleet != NULL)
		hc_entry_set_version(entry, value->version);
	*out = entry;
	return HC_OK;
}

unsigned
hc_tier_count_read(struct hc_tier *tier, struct hc_key key, int64_t now_ms)
{
	_Atomic uint32_t *slot = &tier->reads[(key.hash >> 16) & tier->reads_mask];
	uint32_t seen = atomic_load_explicit(slot, memory_order_relaxed);
	int64_t half_ms = tier->core->settings->file_promote_window / 2;
	uint32_t when = (uint32_t)(now_ms / half_ms) & 0xff, n = seen & 0xff;

	if (seen >> 16 != (key.hash & 0xffff) || ((when - (seen >> 8)) & 0xff) > 1)
		n = 0;
	n += n < 0xff;
	atomic_store_explicit(slot, (uint32_t)(key.hash & 0xffff) << 16 | when << 8 | n, memory_order_relaxed);
	return n;
}

/* ---- what the log asks for ---- */

static struct hc_slice
name_of_model(void *arg, uint32_t id)
{
	const struct hc_tier *tier = arg;

	return hc_models_name(tier->core->models, id);
}

static uint32_t
epoch_of_model(void *arg, uint32_t id)
{
	const struct hc_tier *tier = arg;

	return hc_models_epoch(tier->core->models, id);
}

static uint32_t
present_generation(void *arg)
{
	const struct hc_tier *tier = arg;

	return hc_store_present_generation(tier->core->store);
}

static uint64_t
trusted_from(void *arg)
{
	return hc_tier_trusted_from(arg);
}

static enum hc_status
intern_model(void *arg, struct hc_slice name, uint32_t *id)
{
	struct hc_tier *tier = arg;

	return hc_models_intern(tier->core->models, name, id);
}

static void
raise_model(void *arg, uint32_t id, uint32_t epoch)
{
	struct hc_tier *tier = arg;

	hc_models_raise(tier->core->models, id, epoch);
}

static void
release_entry(void *arg, void *owner)
{
	(void)arg;
	hc_entry_unref(owner);
}

/* ---- life ---- */

/* The directory, and in `parent` one above it that is ours to make; false: there is no place for it. */
static bool
choose_dir(struct hc_tier *tier, char *parent, size_t cap)
{
	const char *set = tier->core->settings->file_dir, *systemd = getenv("CACHE_DIRECTORY");
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	parent[0] = '\0';
	if (set[0] == '\0' && systemd != NULL && systemd[0] != '\0')
		set = systemd;
	if (set[0] != '\0') {
		snprintf(tier->dir, sizeof(tier->dir), "%s", set);
		return true;
	}
	if (xdg != NULL && xdg[0] == '/')
		snprintf(parent, cap, "%s", xdg);
	else if (home != NULL && home[0] != '\0')
		snprintf(parent, cap, "%s/.cache", home);
	else
		return false;
	return (size_t)snprintf(tier->dir, sizeof(tier->dir), "%s/harcad", parent) < sizeof(tier->dir);
}

static enum hc_file_sync
sync_of(const struct hc_settings *settings)
{
	switch (settings->file_sync) {
	case HC_SETTING_SYNC_NO:
		return HC_FILE_SYNC_NO;
	case HC_SETTING_SYNC_ALWAYS:
		return HC_FILE_SYNC_ALWAYS;
	default:
		return HC_FILE_SYNC_EVERYSEC;
	}
}

static enum hc_status
open_file(struct hc_tier *tier, char *why, size_t why_cap)
{
	const struct hc_settings *settings = tier->core->settings;
	struct hc_file_failure failure = {.message = "out of memory"};
	const struct hc_file_config config = {
	    .dir = tier->dir,
	    .max_bytes = (uint64_t)settings->file_max_bytes,
	    .queue_bytes = (uint64_t)settings->file_queue_bytes,
	    .readers = (uint32_t)settings->file_threads,
	    .sync = sync_of(settings),
	    .retry_ms = (uint32_t)settings->file_retry,
	    .arg = tier,
	    .model_name = name_of_model,
	    .model_epoch = epoch_of_model,
	    .generation = present_generation,
	    .carry_from = trusted_from,
	    .model_intern = intern_model,
	    .model_raise = raise_model,
	    .release = release_entry,
	};

	enum hc_status status = hc_file_open(&config, &tier->file, &failure);
	if (status != HC_OK)
		snprintf(why, why_cap, "file.dir: %s", failure.message);
	return status;
}

static enum hc_status
create_reads(struct hc_tier *tier)
{
	uint32_t slots = READS_MIN;

	while (slots < READS_MAX && (uint64_t)slots * BYTES_A_READ < (uint64_t)tier->core->settings->memory_max_bytes)
		slots *= 2;
	tier->reads = hc_calloc(slots, sizeof(*tier->reads));
	tier->reads_mask = slots - 1;
	return tier->reads != NULL ? HC_OK : HC_NOMEM;
}

enum hc_status
hc_tier_create(struct hc_core *core, struct hc_tier **out, char *why, size_t why_cap)
{
	struct hc_tier *tier = hc_calloc(1, sizeof(*tier));
	char parent[DIR_CAP];

	snprintf(why, why_cap, "out of memory");
	if (tier == NULL)
		return HC_NOMEM;
	tier->core = core;
	tier->waited_for = core->fleet == NULL;
	tier->through = core->settings->file_write == HC_SETTING_FILE_THROUGH ||
			(core->settings->file_write == HC_SETTING_FILE_AUTO && core->fleet == NULL);
	enum hc_status status = create_reads(tier);
	if (status == HC_OK && !choose_dir(tier, parent, sizeof(parent))) {
		snprintf(why, why_cap, "file.dir: there is no HOME to put it in; set it, or file.enabled=no");
		status = HC_INVALID;
	}
	if (status == HC_OK && parent[0] != '\0')
		(void)mkdir(parent, 0700); /* if it cannot be, opening says so */
	if (status == HC_OK)
		status = open_file(tier, why, why_cap);
	if (status != HC_OK) {
		hc_free((void *)tier->reads);
		hc_free(tier);
		return status;
	}
	tier->below = (struct hc_store_below){.arg = tier,
	    .written = on_written,
	    .filled = on_filled,
	    .removed = on_removed,
	    .expires = on_expires,
	    .evicted = on_evicted};
	hc_store_set_below(core->store, &tier->below);
	*out = tier;
	return HC_OK;
}

#define SAVE_MS 1000 /* for the log to be written, where nobody says how long it may take */

static void
save_state(struct hc_tier *tier, int64_t until_ms)
{
	struct hc_saved_state state = tier->core->last_state;

	state.trusted_from = hc_tier_trusted_from(tier);
	hc_saved_end(tier->core->saved, &state, until_ms > 0 ? until_ms : hc_clock_mono_ms() + SAVE_MS);
}

void
hc_tier_destroy(struct hc_tier *tier, int64_t until_ms)
{
	if (tier == NULL)
		return;
	if (!tier->through)
		hc_tier_spill(tier, until_ms, tier->core->store);
	if (tier->core->settings->warmup_enabled && hc_warm_save(tier->core, tier->dir) == HC_ERROR)
		hc_log(HC_LOG_WARN, "warmup_list_unwritten", "error=%s", strerrorname_np(errno));
	if (tier->core->saved != NULL)
		save_state(tier, until_ms);
	hc_file_close(tier->file);
	hc_free((void *)tier->reads);
	hc_free(tier);
}

struct hc_file *
hc_tier_file(struct hc_tier *tier)
{
	return tier->file;
}

const char *
hc_tier_dir(const struct hc_tier *tier)
{
	return tier->dir;
}

bool
hc_tier_writes_through(const struct hc_tier *tier)
{
	return tier->through;
}

uint64_t
hc_tier_demoted(const struct hc_tier *tier)
{
	return atomic_load_explicit(&tier->demoted, memory_order_relaxed);
}

enum hc_status
hc_tier_append(struct hc_tier *tier, struct hc_entry *entry)
{
	return append_value(tier, entry, false);
}
