/*
 * Loading: the layers of settings one over the other into a scratch copy, which takes effect as a
 * whole or not at all. hc_settings_load is for the main thread before others run;
 * hc_settings_reload for any thread.
 */
#include "base/settings_private.h"

#include <string.h>
#include "base/log.h"

static bool
starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* The value of NAME in "NAME=value" …, or NULL. */
static const char *
env_find(const char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; env && *env; env++) {
		if (starts_with(*env, name) && (*env)[len] == '=')
			return *env + len + 1;
	}
	return NULL;
}

static const struct hc_setting *
find_env_row(struct hc_slice variable)
{
	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		char name[HC_SETTING_NAME_CAP];
		hc_setting_env_name(row->section, row->key, name);
		if (hc_slice_eq(variable, hc_slice_str(name)))
			return row;
	}
	return NULL;
}

static bool
is_of_known_section(const char *variable)
{
	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		char start[HC_SETTING_NAME_CAP];
		hc_setting_env_name(hc_settings_row(id)->section, NULL, start);
		if (starts_with(variable, start))
			return true;
	}
	return false;
}

/* One HARCA_ variable. Those of sections we do not have may be meant for someone else. */
static enum hc_status
load_variable(struct hc_settings *settings, const char *variable, struct hc_settings_error *err)
{
	const char *equals = strchr(variable, '=');

	if (!equals)
		return HC_OK;
	struct hc_slice name = hc_slice(variable, (size_t)(equals - variable));
	const struct hc_setting *row = find_env_row(name);
	if (row) {
		char where[HC_SETTING_NAME_CAP];
		hc_setting_env_name(row->section, row->key, where);
		return hc_setting_assign(settings, row, hc_slice_str(equals + 1), where, err);
	}
	if (!is_of_known_section(variable))
		return HC_OK;
	const struct hc_setting *guess = hc_setting_guess_env(name);
	struct hc_log_quoted quoted;
	char meant[HC_SETTING_NAME_CAP];
	return hc_setting_fail(err, "", "%s: there is no such setting%s%s%s", hc_log_quote(&quoted, name.ptr, name.len),
	    guess ? "; did you mean " : "", guess ? hc_setting_env_name(guess->section, guess->key, meant) : "",
	    guess ? "?" : "");
}

static enum hc_status
load_environ(struct hc_settings *settings, const char *const *env, struct hc_settings_error *err)
{
	const char *url = env_find(env, "REDIS_URL");
	enum hc_status status = HC_OK;

	/* Set but empty is how many container setups say that there is none. */
	if (url && *url)
		status = hc_setting_assign(
		    settings, hc_settings_row(HC_SETTING_ID_upstream_url), hc_slice_str(url), "REDIS_URL", err);
	for (; status == HC_OK && env && *env; env++) {
		if (starts_with(*env, "HARCA_"))
			status = load_variable(settings, *env, err);
	}
	return status;
}

static enum hc_status
load_overrides(struct hc_settings *settings, const char *const *overrides, struct hc_settings_error *err)
{
	enum hc_status status = HC_OK;

	for (; status == HC_OK && overrides && *overrides; overrides++) {
		const char *equals = strchr(*overrides, '=');
		if (!equals)
			return hc_setting_fail(err, "--set", "allowed: section.key=value");
		struct hc_slice name = hc_slice(*overrides, (size_t)(equals - *overrides));
		const struct hc_setting *row = hc_settings_find(name);
		struct hc_log_quoted quoted;
		if (!row)
			return hc_setting_fail(
			    err, "--set", "there is no setting %s", hc_log_quote(&quoted, name.ptr, name.len));
		status = hc_setting_assign(settings, row, hc_slice_str(equals + 1), "--set", err);
	}
	return status;
}

/* The profile in force, NULL for none. */
static const char *
profile_of(const char *const *env)
{
	const char *profile = env_find(env, "HARCA_ENV");

	return profile && *profile ? profile : NULL;
}

/* All layers over the defaults that `scratch` holds, and the checks. */
static enum hc_status
load_layers(struct hc_settings *scratch, const struct hc_settings_source *source, struct hc_settings_error *err)
{
	enum hc_status status = HC_OK;
	const char *sockets = env_find(source->environ, "LISTEN_FDS");

	if (source->path)
		status = hc_settings_read_file(scratch, source->path, profile_of(source->environ), err);
	if (status == HC_OK)
		status = load_environ(scratch, source->environ, err);
	if (status == HC_OK)
		status = load_overrides(scratch, source->overrides, err);
	if (status == HC_OK)
		status = hc_settings_check(scratch, sockets && strcmp(sockets, "0") != 0, err);
	if (status == HC_OK && source->check && !source->check(scratch, source->check_arg, err))
		status = HC_INVALID;
	return status;
}

enum hc_status
hc_settings_load(struct hc_settings *settings, const struct hc_settings_source *source, struct hc_settings_error *err)
{
	struct hc_settings *scratch = hc_settings_create();

	if (!scratch)
		return hc_setting_nomem(err);
	enum hc_status status = load_layers(scratch, source, err);
	for (enum hc_setting_id id = 0; status == HC_OK && id < HC_SETTING_COUNT; id++)
		hc_setting_swap(settings, scratch, hc_settings_row(id));
	hc_settings_destroy(scratch);
	return status;
}

/*
 * `scratch` has been loaded. Rows that take a restart keep what is in force, and since what remains
 * is another mixture than the one that was loaded, it is checked once more.
 */
static enum hc_status
apply_reload(struct hc_settings *settings, struct hc_settings *scratch, bool differs[HC_SETTING_COUNT],
    struct hc_settings_error *err)
{
	for (enum hc_setting_id id = 0; id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		differs[id] = hc_setting_differs(settings, scratch, row);
		if (differs[id] && !(row->flags & HC_SETTING_RELOAD) && !hc_setting_copy(scratch, settings, row))
			return hc_setting_nomem(err);
	}
	enum hc_status status = hc_settings_check(scratch, true, err);
	for (enum hc_setting_id id = 0; status == HC_OK && id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		/* A string that takes a restart is read without a lock: not even its pointer may
		 * move. */
		if (differs[id] && (row->flags & HC_SETTING_RELOAD))
			hc_setting_swap(settings, scratch, row);
		settings->private->changed[id] = false;
	}
	return status;
}

enum hc_status
hc_settings_reload(struct hc_settings *settings, const struct hc_settings_source *source,
    hc_settings_changed_fn *changed, void *arg, struct hc_settings_error *err)
{
	bool differs[HC_SETTING_COUNT];
	struct hc_settings *scratch = hc_settings_create();

	if (!scratch)
		return hc_setting_nomem(err);
	enum hc_status status = load_layers(scratch, source, err);
	if (status == HC_OK) {
		pthread_mutex_lock(&settings->private->writers);
		status = apply_reload(settings, scratch, differs, err);
		pthread_mutex_unlock(&settings->private->writers);
	}
	hc_settings_destroy(scratch);
	for (enum hc_setting_id id = 0; status == HC_OK && changed && id < HC_SETTING_COUNT; id++) {
		const struct hc_setting *row = hc_settings_row(id);
		if (differs[id])
			changed(arg, row, row->flags & HC_SETTING_RELOAD);
	}
	return status;
}
