/*
 * Listening sockets. Main thread.
 */
#include "net/listener.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "command/session.h"

#define ACCEPTS_A_TURN 256
#define REST_MS 100 /* when there are no descriptors left */
#define SYSTEMD_FIRST_FD 3

struct hc_listener {
	struct hc_listener *next;
	struct hc_listeners *all;
	int fd;
	uint32_t model;
	struct event *event;
	struct event *rest; /* accepting again after a rest */
	char *path;         /* of a Unix socket made here, to be removed */
	ino_t inode;        /* … unless another daemon has put its own there since */
};

/* ---- accepting ---- */

static void
on_rested(evutil_socket_t fd, short what, void *arg)
{
	struct hc_listener *listener = arg;

	(void)fd;
	(void)what;
	event_add(listener->event, NULL);
}

static void
take_a_rest(struct hc_listener *listener)
{
	static struct hc_log_limit limit;
	struct timeval rest = {0, REST_MS * 1000};

	if (hc_log_allow(&limit, 10000))
		hc_log(HC_LOG_ERROR, "accept_failed", "error=\"%s\"", strerror(errno));
	event_del(listener->event);
	event_add(listener->rest, &rest);
}

static void
on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct hc_listener *listener = arg;

	(void)what;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (client >= 0) {
			listener->all->fn(listener->all->arg, client, listener->model);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			take_a_rest(listener);
		else if (errno == EINTR || errno == ECONNABORTED)
			continue;
		return;
	}
}

/* ---- opening ---- */

static ino_t
inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* What accepted connections take over from their listener, so that it need not be set for each. */
static void
set_options(int fd)
{
	int one = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails for a Unix socket */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

static enum hc_status
add(struct hc_listeners *listeners, int fd, uint32_t model, const char *path)
{
	struct hc_listener *listener = hc_calloc(1, sizeof(*listener));
	if (listener == NULL)
		goto fail;
	set_options(fd);
	listener->all = listeners;
	listener->fd = fd;
	listener->model = model;
	listener->path = path != NULL ? hc_strdup(path) : NULL;
	listener->inode = path != NULL ? inode_of(path) : 0;
	listener->event = event_new(listeners->base, fd, EV_READ | EV_PERSIST, on_acceptable, listener);
	listener->rest = evtimer_new(listeners->base, on_rested, listener);
	listener->next = listeners->head;
	listeners->head = listener;
	if (listener->event == NULL || listener->rest == NULL)
		return HC_NOMEM;
	return HC_OK;

fail:
	close(fd);
	return HC_NOMEM;
}

static enum hc_status
complain(char *why, size_t cap, const char *address, const char *what)
{
	snprintf(why, cap, "cannot listen on %s: %s", address, what);
	return HC_ERROR;
}

static int
bind_tcp(const struct addrinfo *info, int backlog)
{
	int one = 1;
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (info->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, backlog) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static enum hc_status
open_tcp(struct hc_listeners *listeners, struct hc_slice address, int backlog, uint32_t model, char *why, size_t cap)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *infos, *info;
	struct hc_settings_address parsed;
	enum hc_status status = HC_OK;
	char port[16], shown[320];

	snprintf(shown, sizeof(shown), "%.*s", (int)address.len, address.ptr);
	if (!hc_settings_address(address, &parsed))
		return complain(why, cap, shown, "not host:port");
	snprintf(port, sizeof(port), "%d", parsed.port);
	int rc = getaddrinfo(parsed.host[0] != '\0' ? parsed.host : NULL, port, &hints, &infos);
	if (rc != 0)
		return complain(why, cap, shown, gai_strerror(rc));
	/* A name may have addresses of a family that this machine does not have. */
	int fault = 0;
	bool bound = false;
	for (info = infos; info != NULL && status == HC_OK; info = info->ai_next) {
		int fd = bind_tcp(info, backlog);
		if (fd >= 0) {
			status = add(listeners, fd, model, NULL);
			bound = true;
			continue;
		}
		fault = errno;
		if (fault != EAFNOSUPPORT && fault != EADDRNOTAVAIL)
			status = complain(why, cap, shown, strerror(fault));
	}
	if (status == HC_OK && !bound)
		status = complain(why, cap, shown, strerror(fault));
	freeaddrinfo(infos);
	return status;
}

/* A socket nobody listens on any more was left by a daemon that was killed. Files of other kinds are somebody's. */
static bool
is_abandoned(const struct sockaddr_un *address)
{
	struct stat found;

	if (lstat(address->sun_path, &found) != 0 || !S_ISSOCK(found.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

/* Names or numbers to ids; (uid_t)-1 for "", which chown() leaves alone. */
static bool
user_id(const char *name, uid_t *id)
{
	uint64_t number;
	const struct passwd *user;

	*id = (uid_t)-1;
	if (name[0] == '\0')
		return true;
	if (hc_num_u64(hc_slice_str(name), &number) && number < UINT32_MAX)
		*id = (uid_t)number;
	else if ((user = getpwnam(name)) != NULL)
		*id = user->pw_uid;
	return *id != (uid_t)-1;
}

static bool
group_id(const char *name, gid_t *id)
{
	uint64_t number;
	const struct group *group;

	*id = (gid_t)-1;
	if (name[0] == '\0')
		return true;
	if (hc_num_u64(hc_slice_str(name), &number) && number < UINT32_MAX)
		*id = (gid_t)number;
	else if ((group = getgrnam(name)) != NULL)
		*id = group->gr_gid;
	return *id != (gid_t)-1;
}

static const char *
set_owner(const char *path, const struct hc_settings *settings)
{
	uid_t uid;
	gid_t gid;

	if (!user_id(settings->listen_unix_owner, &uid))
		return "listen.unix_owner is not a user";
	if (!group_id(settings->listen_unix_group, &gid))
		return "listen.unix_group is not a group";
	if ((uid != (uid_t)-1 || gid != (gid_t)-1) && chown(path, uid, gid) != 0)
		return strerror(errno);
	if (chmod(path, (mode_t)settings->listen_unix_mode) != 0)
		return strerror(errno);
	return NULL;
}

static enum hc_status
open_unix(struct hc_listeners *listeners, const char *path, const struct hc_settings *settings, uint32_t model,
    char *why, size_t cap)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return complain(why, cap, path, "the path is longer than a socket's may be (107 bytes)");
	memcpy(address.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return complain(why, cap, path, strerror(errno));
	/* Nobody else may connect before the mode is set. */
	mode_t mask = umask(0177);
	int rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
	if (rc != 0 && errno == EADDRINUSE && is_abandoned(&address)) {
		(void)unlink(path);
		rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
	}
	(void)umask(mask);
	const char *fault = rc != 0 ? strerror(errno) : set_owner(path, settings);
	if (fault == NULL && listen(fd, (int)settings->listen_backlog) != 0)
		fault = strerror(errno);
	if (fault == NULL)
		return add(listeners, fd, model, path);
	close(fd);
	return complain(why, cap, path, fault);
}

static enum hc_status
open_one(struct hc_listeners *listeners, struct hc_slice address, const struct hc_settings *settings, uint32_t model,
    char *why, size_t cap)
{
	char path[512];

	if (address.len == 0 || address.ptr[0] != '/')
		return open_tcp(listeners, address, (int)settings->listen_backlog, model, why, cap);
	snprintf(path, sizeof(path), "%.*s", (int)address.len, address.ptr);
	return open_unix(listeners, path, settings, model, why, cap);
}

/* How many sockets systemd handed over, from SYSTEMD_FIRST_FD on (sd_listen_fds(3)). */
static int
handed_over(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int64_t for_pid = 0, n = 0;

	if (pid == NULL || fds == NULL || !hc_num_i64(hc_slice_str(pid), &for_pid) || for_pid != getpid() ||
	    !hc_num_i64(hc_slice_str(fds), &n) || n < 0 || n > 64)
		return 0;
	return (int)n;
}

static enum hc_status
take_over(struct hc_listeners *listeners, int fd, char *why, size_t cap)
{
	char shown[64];
	int listens = 0;
	socklen_t len = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 || !listens) {
		snprintf(shown, sizeof(shown), "the descriptor %d of LISTEN_FDS", fd);
		return complain(why, cap, shown, "not a listening socket");
	}
	evutil_make_socket_nonblocking(fd);
	evutil_make_socket_closeonexec(fd);
	return add(listeners, fd, HC_SESSION_NO_MODEL, NULL);
}

static enum hc_status
open_models(struct hc_listeners *listeners, const struct hc_settings *settings,
    enum hc_status (*model_of)(void *arg, struct hc_slice name, uint32_t *model), void *model_arg, char *why,
    size_t cap)
{
	enum hc_status status = HC_OK;

	for (const char *at = settings->listen_models; *at != '\0' && status == HC_OK;) {
		size_t len = strcspn(at, " ");
		struct hc_slice pair = hc_slice(at, len);
		const char *equals = memchr(pair.ptr, '=', pair.len);
		uint32_t model;
		at += len + (at[len] == ' ');
		if (len == 0)
			continue;
		if (equals == NULL)
			return complain(why, cap, "listen.models", "each wants address=model");
		struct hc_slice address = hc_slice(pair.ptr, (size_t)(equals - pair.ptr));
		if (model_of(model_arg, hc_slice(equals + 1, pair.len - address.len - 1), &model) != HC_OK)
			return complain(why, cap, "listen.models", "not a model's name");
		status = open_one(listeners, address, settings, model, why, cap);
	}
	return status;
}

enum hc_status
hc_listeners_open(struct hc_listeners *listeners, const struct hc_settings *settings,
    enum hc_status (*model_of)(void *arg, struct hc_slice name, uint32_t *model), void *model_arg, char *why,
    size_t why_cap)
{
	int n = handed_over();
	enum hc_status status = HC_OK;

	for (int i = 0; i < n && status == HC_OK; i++)
		status = take_over(listeners, SYSTEMD_FIRST_FD + i, why, why_cap);
	if (n == 0 && settings->listen_tcp[0] != '\0')
		status = open_one(
		    listeners, hc_slice_str(settings->listen_tcp), settings, HC_SESSION_NO_MODEL, why, why_cap);
	if (n == 0 && status == HC_OK && settings->listen_unix[0] != '\0')
		status = open_one(
		    listeners, hc_slice_str(settings->listen_unix), settings, HC_SESSION_NO_MODEL, why, why_cap);
	if (status == HC_OK)
		status = open_models(listeners, settings, model_of, model_arg, why, why_cap);
	if (status == HC_NOMEM)
		snprintf(why, why_cap, "out of memory");
	return status;
}

enum hc_status
hc_listeners_accept(struct hc_listeners *listeners)
{
	for (struct hc_listener *l = listeners->head; l != NULL; l = l->next) {
		if (event_add(l->event, NULL) != 0)
			return HC_NOMEM;
	}
	return HC_OK;
}

void
hc_listeners_close(struct hc_listeners *listeners)
{
	while (listeners->head != NULL) {
		struct hc_listener *l = listeners->head;
		listeners->head = l->next;
		if (l->event != NULL)
			event_free(l->event);
		if (l->rest != NULL)
			event_free(l->rest);
		close(l->fd);
		if (l->path != NULL && inode_of(l->path) == l->inode)
			(void)unlink(l->path);
		hc_free(l->path);
		hc_free(l);
	}
}
