/*
 * From a URL to a connected bufferevent, and back to nothing. A host with several addresses is
 * tried at each in turn; names are resolved anew for each attempt, so that a changed /etc/hosts,
 * resolv.conf or record counts. Nothing blocks. One thread: the link's.
 */
#include <assert.h>
#include <event2/dns.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/un.h>
#include "base/mem.h"
#include "upstream/link_internal.h"

#define IO_MAX ((size_t)256 * 1024)      /* per turn of the loop; libevent's own 16 KiB is for many clients */
#define READER_KEEP ((size_t)256 * 1024) /* the reader frees a larger buffer when it runs empty */

#define KEEPALIVE_IDLE_S 15
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_PROBES 3

/*
 * A name being resolved. Its own allocation with its own evdns_base, for libevent calls back even
 * for what was cancelled, some time later, when the link may be gone: then `link` is NULL and the
 * callback frees.
 */
struct hc_link_resolve {
	struct hc_link *link; /* NULL: orphaned */
	struct evdns_base *dns;
	struct evdns_getaddrinfo_request *request; /* NULL when it is done */
};

/* The one place where a connection's transport is made. */
static struct bufferevent *
make_transport(struct hc_link *link)
{
	return bufferevent_socket_new(link->base, -1, BEV_OPT_CLOSE_ON_FREE);
}

/* ---- the connection ---- */

static void
set_option(evutil_socket_t fd, int level, int option, int value)
{
	/* Each is a help, not a need. */
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

static void
tune_socket(const struct hc_link *link)
{
	evutil_socket_t fd = bufferevent_getfd(link->bev);

	if (link->config.url->path != NULL)
		return;
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

static void
break_with_errno(struct hc_link *link, int error)
{
	char text[HC_LINK_WHY_MAX];

	hc_link_break(link, HC_DOWN, "%s", strerror_r(error, text, sizeof(text)));
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	int error = EVUTIL_SOCKET_ERROR();
	struct hc_link *link = hc_link_of(arg);

	assert(bev == link->bev);
	if (link->broken) {
		/* it has been given up; how it ends no longer matters */
	} else if (what & BEV_EVENT_CONNECTED) {
		tune_socket(link);
		hc_link_handshake(link);
	} else if (what & BEV_EVENT_EOF) {
		hc_link_break(link, HC_DOWN, "%s", link->note[0] != '\0' ? link->note : "closed by the server");
	} else {
		break_with_errno(link, error);
	}
	/* No check while connecting: libevent may call from inside of bufferevent_socket_connect().
	 */
	if (link->state != HC_LINK_CONNECTING)
		hc_link_check(link);
}

static void
connect_to(struct hc_link *link, const struct sockaddr *addr, int len)
{
	link->reader = redisReaderCreate();
	link->bev = make_transport(link);
	if (link->reader == NULL || link->bev == NULL) {
		hc_link_break(link, HC_DOWN, "out of memory");
		return;
	}
	link->reader->maxbuf = READER_KEEP;
	bufferevent_setcb(link->bev, hc_link_on_readable, NULL, on_event, link);
	(void)bufferevent_set_max_single_read(link->bev, IO_MAX);
	(void)bufferevent_set_max_single_write(link->bev, IO_MAX);
	if (bufferevent_socket_connect(link->bev, addr, len) != 0 ||
	    bufferevent_enable(link->bev, EV_READ | EV_WRITE) != 0)
		break_with_errno(link, EVUTIL_SOCKET_ERROR());
}

void
hc_link_reset_on_close(struct hc_link *link)
{
	const struct linger now = {.l_onoff = 1};

	if (link->bev != NULL)
		(void)setsockopt(bufferevent_getfd(link->bev), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void
close_connection(struct hc_link *link)
{
	if (link->bev != NULL)
		bufferevent_free(link->bev);
	link->bev = NULL;
	if (link->reader != NULL)
		redisReaderFree(link->reader);
	link->reader = NULL;
	link->subscribed = false;
	link->broken = false;
}

/* ---- addresses ---- */

static void
connect_unix(struct hc_link *link, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	assert(strlen(path) < sizeof(addr.sun_path)); /* hc_url_parse() saw to it */
	memcpy(addr.sun_path, path, strlen(path));
	connect_to(link, (const struct sockaddr *)&addr, (int)sizeof(addr));
}

/* Attempts begin at different addresses, so that one that swallows packets does not hide the others
 * for good. */
static void
connect_to_one(struct hc_link *link)
{
	const struct evutil_addrinfo *addr = link->addrs;
	uint32_t n = 0;
	uint32_t skip;

	for (const struct evutil_addrinfo *each = addr; each != NULL; each = each->ai_next)
		n++;
	skip = (link->attempts + n - link->addrs_left) % n;
	link->addrs_left--;
	while (skip-- != 0)
		addr = addr->ai_next;
	connect_to(link, addr->ai_addr, (int)addr->ai_addrlen);
}

static void
use_addresses(struct hc_link *link, struct evutil_addrinfo *addrs)
{
	link->addrs = addrs;
	link->addrs_left = 0;
	for (; addrs != NULL; addrs = addrs->ai_next)
		link->addrs_left++;
	connect_to_one(link);
}

static void
free_resolve(struct hc_link_resolve *resolve)
{
	if (resolve->dns != NULL)
		evdns_base_free(resolve->dns, 0);
	hc_free(resolve);
}

static void
on_resolved(int error, struct evutil_addrinfo *addrs, void *arg)
{
	struct hc_link_resolve *resolve = arg;
	struct hc_link *link = resolve->link;

	resolve->request = NULL;
	if (link == NULL) {
		if (addrs != NULL)
			evutil_freeaddrinfo(addrs);
		free_resolve(resolve);
		return;
	}
	if (link->broken) {
		if (addrs != NULL)
			evutil_freeaddrinfo(addrs);
	} else if (error != 0 || addrs == NULL) {
		hc_link_break(link, HC_DOWN, "host not resolved: %s", evutil_gai_strerror(error));
	} else {
		use_addresses(link, addrs);
	}
}

static void
resolve_name(struct hc_link *link, const char *host, const char *port)
{
	struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct hc_link_resolve *resolve = hc_calloc(1, sizeof(*resolve));

	link->resolve = resolve;
	if (resolve != NULL)
		resolve->dns = evdns_base_new(link->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (resolve == NULL || resolve->dns == NULL) {
		hc_link_break(link, HC_DOWN, "out of memory");
		return;
	}
	resolve->link = link;
	/* Reads /etc/hosts too. Without a resolv.conf libevent asks 127.0.0.1, as libc does. */
	(void)evdns_base_resolv_conf_parse(resolve->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
	/* May call back before it returns, and then returns NULL. */
	resolve->request = evdns_getaddrinfo(resolve->dns, host, port, &hints, on_resolved, resolve);
}

static void
forget_addresses(struct hc_link *link)
{
	struct hc_link_resolve *resolve = link->resolve;

	if (link->addrs != NULL)
		evutil_freeaddrinfo(link->addrs);
	link->addrs = NULL;
	link->addrs_left = 0;
	link->resolve = NULL;
	if (resolve == NULL)
		return;
	if (resolve->request == NULL) {
		free_resolve(resolve);
	} else {
		resolve->link = NULL;
		evdns_getaddrinfo_cancel(resolve->request);
	}
}

/* ---- for the link's other files ---- */

void
hc_link_dial(struct hc_link *link)
{
	const struct hc_url *url = link->config.url;
	struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV};
	struct evutil_addrinfo *literal = NULL;
	char port[8];

	if (url->path != NULL) {
		connect_unix(link, url->path);
		return;
	}
	snprintf(port, sizeof(port), "%d", url->port);
	if (evutil_getaddrinfo(url->host, port, &hints, &literal) == 0)
		use_addresses(link, literal);
	else
		resolve_name(link, url->host, port);
}

bool
hc_link_dial_next(struct hc_link *link)
{
	if (link->addrs_left == 0)
		return false;
	close_connection(link);
	connect_to_one(link);
	return true;
}

void
hc_link_hang_up(struct hc_link *link)
{
	close_connection(link);
	forget_addresses(link);
}
