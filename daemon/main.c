/*
 * harcad: settings, then the parts in order, the loop, and the same parts in reverse.
 */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/settings.h"
#include "base/version.h"
#include "command/command.h"
#include "core/core.h"
#include "core/key_model.h"
#include "file/inspect.h"
#include "net/server.h"
#include "upstream/url.h"

extern char **environ;

struct options {
	const char *config_file;
	const char **overrides; /* NULL-terminated */
	size_t n_overrides;
	bool check_only;
	const char *describe; /* "text", "settings", "commands", "ini" */
	const char *inspect;  /* a directory of the file tier */
};

struct daemon {
	struct options options;
	struct hc_settings *settings;
	struct event_base *base;
	struct hc_core *core;
	struct hc_server *server;
	struct event *signals[3];
	struct event *watchdog;
	bool ready; /* clients are accepted */
};

/* ---- the command line ---- */

static void
print_usage(FILE *to)
{
	fprintf(to, "usage: harcad [-c FILE] [--set section.key=value]... [-t]\n"
		    "       harcad --describe[=text|settings|commands|ini]\n"
		    "       harcad --inspect DIR\n"
		    "       harcad --version | --help\n\n"
		    "  -c, --config FILE    read settings from FILE (ini)\n"
		    "      --set NAME=VALUE one setting; wins over the file and the environment\n"
		    "  -t, --test           check the settings and exit\n"
		    "      --describe       print all settings and what they mean\n"
		    "      --inspect DIR    list what the file tier has in DIR and verify it, changing nothing\n");
}

/* Returns -1 to go on, else the exit status. */
static int
parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"test", no_argument, NULL, 't'},
	    {"set", required_argument, NULL, 's'},
	    {"describe", optional_argument, NULL, 'd'},
	    {"inspect", required_argument, NULL, 'i'},
	    {"version", no_argument, NULL, 'v'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:thv", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			options->config_file = optarg;
			break;
		case 't':
			options->check_only = true;
			break;
		case 's':
			options->overrides[options->n_overrides++] = optarg;
			break;
		case 'd':
			options->describe = optarg != NULL ? optarg : "text";
			break;
		case 'i':
			options->inspect = optarg;
			break;
		case 'v':
			printf("harcad %s\n", HC_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			print_usage(stdout);
			return EXIT_SUCCESS;
		default:
			print_usage(stderr);
			return EXIT_FAILURE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "harcad: unexpected argument: %s\n", argv[optind]);
		print_usage(stderr);
		return EXIT_FAILURE;
	}
	return -1;
}

static int
describe(const char *what)
{
	if (strcmp(what, "text") == 0) {
		hc_settings_describe(stdout, HC_SETTINGS_PLAIN);
	} else if (strcmp(what, "settings") == 0) {
		printf("# Settings\n\nMade from the table of settings by `make docs`. How they are given: "
		       "[guide](guide.md#8-settings).\n");
		hc_settings_describe(stdout, HC_SETTINGS_MARKDOWN);
	} else if (strcmp(what, "ini") == 0) {
		hc_settings_describe(stdout, HC_SETTINGS_INI);
	} else if (strcmp(what, "commands") == 0) {
		hc_command_describe(stdout);
	} else {
		fprintf(stderr, "harcad: --describe takes text, settings, commands or ini\n");
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

/* ---- settings ---- */

/* What the modules above the table know to be nonsense. */
static bool
check_settings(const struct hc_settings *settings, void *arg, struct hc_settings_error *err)
{
	struct hc_key_models *models = NULL;
	struct hc_url url;
	const char *why = NULL;

	(void)arg;
	if (settings->upstream_url[0] != '\0') {
		if (hc_url_parse(settings->upstream_url, &url, &why) == HC_INVALID) {
			snprintf(err->text, sizeof(err->text), "upstream.url: %s", why);
			return false;
		}
		hc_url_fini(&url);
	}
	if (hc_key_models_create(settings->model_templates, &models, &why) == HC_INVALID) {
		snprintf(err->text, sizeof(err->text), "model.templates: %s", why);
		return false;
	}
	hc_key_models_destroy(models);
	return true;
}

static struct hc_settings_source
source_of(const struct options *options)
{
	return (struct hc_settings_source){
	    .path = options->config_file,
	    .environ = (const char *const *)environ,
	    .overrides = options->overrides,
	    .check = check_settings,
	};
}

static void
apply_settings(void *arg)
{
	struct daemon *daemon = arg;

	hc_log_set_level((enum hc_log_level)daemon->settings->log_level);
	hc_core_apply_settings(daemon->core);
	hc_server_apply_settings(daemon->server);
}

static void
on_setting_changed(void *arg, const struct hc_setting *row, bool applied)
{
	struct daemon *daemon = arg;
	struct hc_settings_text text;
	struct hc_log_quoted quoted;

	if (!applied) {
		hc_log(HC_LOG_WARN, "setting_needs_restart", "name=%s", row->name);
		return;
	}
	const char *value = hc_settings_show(daemon->settings, hc_slice_str(row->name), &text);
	hc_log(
	    HC_LOG_INFO, "setting_changed", "name=%s value=%s", row->name, hc_log_quote(&quoted, value, strlen(value)));
}

static void
reload(struct daemon *daemon)
{
	struct hc_settings_source source = source_of(&daemon->options);
	struct hc_settings_error err;

	if (daemon->ready)
		(void)hc_notify_reloading();
	if (hc_settings_reload(daemon->settings, &source, on_setting_changed, daemon, &err) == HC_OK) {
		apply_settings(daemon);
		hc_log(HC_LOG_INFO, "reloaded", NULL);
	} else {
		struct hc_log_quoted quoted;
		hc_log(HC_LOG_ERROR, "reload_failed", "why=%s", hc_log_quote(&quoted, err.text, strlen(err.text)));
	}
	if (daemon->ready)
		(void)hc_notify_ready(NULL);
}

/* ---- signals and systemd ---- */

static void
on_signal(evutil_socket_t signal, short what, void *arg)
{
	struct daemon *daemon = arg;

	(void)what;
	if (signal == SIGHUP) {
		reload(daemon);
		return;
	}
	hc_log(HC_LOG_INFO, "stopping", "signal=%d", (int)signal);
	(void)hc_notify_stopping();
	hc_server_stop(daemon->server);
}

static void
on_watchdog(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	(void)hc_notify_watchdog();
}

static void
on_ready(void *arg)
{
	struct daemon *daemon = arg;

	daemon->ready = true;
	hc_log(HC_LOG_INFO, "ready", "version=%s pid=%ld mode=%s workers=%" PRId64 " tcp=%s unix=%s", HC_VERSION,
	    (long)getpid(), hc_core_is_fleet(daemon->core) ? "fleet" : "embedded",
	    (int64_t)daemon->settings->server_workers,
	    daemon->settings->listen_tcp[0] != '\0' ? daemon->settings->listen_tcp : "off",
	    daemon->settings->listen_unix[0] != '\0' ? daemon->settings->listen_unix : "off");
	(void)hc_notify_ready(hc_core_is_fleet(daemon->core) ? "serving a fleet's cache" : "serving, embedded");
}

static void
on_ended(void *arg)
{
	struct daemon *daemon = arg;

	event_base_loopbreak(daemon->base);
}

static enum hc_status
watch_signals(struct daemon *daemon)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
	int64_t watchdog_ms = hc_notify_watchdog_ms();
	struct timeval interval = {watchdog_ms / 1000, (watchdog_ms % 1000) * 1000};

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		daemon->signals[i] = evsignal_new(daemon->base, numbers[i], on_signal, daemon);
		if (daemon->signals[i] == NULL || event_add(daemon->signals[i], NULL) != 0)
			return HC_NOMEM;
	}
	if (watchdog_ms <= 0)
		return HC_OK;
	daemon->watchdog = event_new(daemon->base, -1, EV_PERSIST, on_watchdog, NULL);
	return daemon->watchdog != NULL && event_add(daemon->watchdog, &interval) == 0 ? HC_OK : HC_NOMEM;
}

/* ---- the parts ---- */

static void
complain(const char *event, const char *why)
{
	struct hc_log_quoted quoted;

	hc_log(HC_LOG_ERROR, event, "why=%s", hc_log_quote(&quoted, why, strlen(why)));
}

/* With timers to the microsecond: else they are late by as much as four milliseconds, and upkeep in short steps with
 * them. */
static struct event_base *
create_base(void)
{
	struct event_config *config = event_config_new();

	if (config == NULL)
		return NULL;
	struct event_base *base = event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0
				      ? event_base_new_with_config(config)
				      : NULL;
	event_config_free(config);
	return base;
}

static int
run(struct daemon *daemon)
{
	struct hc_server_config config = {
	    .settings = daemon->settings,
	    .config_file = daemon->options.config_file,
	    .arg = daemon,
	    .ready = on_ready,
	    .ended = on_ended,
	    .settings_changed = apply_settings,
	};
	int status = EXIT_FAILURE;
	char why[512] = "out of memory";

	daemon->base = config.base = create_base();
	if (daemon->base == NULL || hc_core_create(daemon->settings, &daemon->core, why, sizeof(why)) != HC_OK)
		goto failed;
	config.core = daemon->core;
	if (hc_server_create(&config, &daemon->server, why, sizeof(why)) != HC_OK)
		goto failed;
	snprintf(why, sizeof(why), "out of memory, or of threads");
	if (watch_signals(daemon) != HC_OK || hc_server_start(daemon->server) != HC_OK)
		goto failed;
	event_base_loop(daemon->base, EVLOOP_NO_EXIT_ON_EMPTY);
	status = EXIT_SUCCESS;
	goto end;

failed:
	complain("start_failed", why);
end:
	hc_server_destroy(daemon->server);
	hc_core_destroy(daemon->core);
	for (size_t i = 0; i < sizeof(daemon->signals) / sizeof(daemon->signals[0]); i++) {
		if (daemon->signals[i] != NULL)
			event_free(daemon->signals[i]);
	}
	if (daemon->watchdog != NULL)
		event_free(daemon->watchdog);
	if (daemon->base != NULL)
		event_base_free(daemon->base);
	if (status == EXIT_SUCCESS)
		hc_log(HC_LOG_INFO, "stopped", NULL);
	return status;
}

int
main(int argc, char **argv)
{
	struct daemon daemon = {0};
	struct hc_settings_error err = {"out of memory"};
	int status = EXIT_FAILURE;

	daemon.options.overrides = calloc((size_t)argc + 1, sizeof(char *));
	daemon.settings = hc_settings_create();
	if (daemon.options.overrides == NULL || daemon.settings == NULL) {
		complain("start_failed", err.text);
		goto end;
	}
	status = parse_options(argc, argv, &daemon.options);
	if (status < 0 && daemon.options.describe != NULL)
		status = describe(daemon.options.describe);
	if (status < 0 && daemon.options.inspect != NULL)
		status = hc_file_inspect(daemon.options.inspect, stdout);
	if (status >= 0)
		goto end;
	struct hc_settings_source source = source_of(&daemon.options);
	if (hc_settings_load(daemon.settings, &source, &err) != HC_OK) {
		fprintf(stderr, "harcad: %s\n", err.text);
		status = EXIT_FAILURE;
	} else if (daemon.options.check_only) {
		printf("harcad: the settings are valid\n");
		status = EXIT_SUCCESS;
	} else {
		hc_log_set_level((enum hc_log_level)daemon.settings->log_level);
		status = EXIT_FAILURE;
		if (hc_hash_init() == 0)
			status = run(&daemon);
		else
			complain("start_failed", "the system gives no randomness");
	}
end:
	hc_settings_destroy(daemon.settings);
	free(daemon.options.overrides);
	libevent_global_shutdown();
	return status;
}
