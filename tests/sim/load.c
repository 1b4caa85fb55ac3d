/*
 * A load generator that speaks RESP and memcached's text protocol, so that the same load can be put on
 * servers of either kind. One thread; each connection sends a pipeline of requests, reads all of its
 * replies, and goes on with the next.
 *
 *     load -p PORT | -s PATH  [-t resp|memcached] [-o get|set|fill] [-n OPERATIONS] [-c CONNECTIONS]
 *          [-P PIPELINE] [-m MANY] [-k KEYS] [-f FIRST] [-K PREFIX] [-d BYTES] [-x WORD]…
 *
 * get and set draw from KEYS keys evenly, get asks for MANY of them at a time; fill writes each of OPERATIONS keys
 * once, in order, from number FIRST on. Keys are PREFIX:000000000000 and so on, values BYTES long. Each -x is a word at
 * the end of every SET: -x MODEL -x m.
 *
 * Standard output has lines of `name value unit`; latencies are those of whole pipelines. A reply that
 * is neither a value, a miss nor a success ends the program with status 1, and so does a server that
 * says nothing for QUIET_MS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "tests/sim/times.h"

#define KEY_DIGITS 12
#define EXTRAS_MAX 8
#define QUIET_MS 30000
#define CONNECTIONS_MAX 10000

enum operation { OP_GET, OP_SET, OP_FILL };

struct options {
	const char *unix_path;
	uint16_t port;
	bool memcached;
	enum operation operation;
	uint64_t operations, keys, first;
	unsigned connections, pipeline, many;
	const char *prefix;
	size_t value_len;
	const char *extras[EXTRAS_MAX];
	unsigned n_extras;
};

/* A request with the digits of its keys left to be filled in: the last key's, and each `stride` before. */
struct request {
	char *bytes;
	size_t len;
	size_t digits_at;
	size_t stride;
};

struct conn {
	int fd;
	char *out; /* a pipeline of requests */
	size_t out_len, out_sent;
	bool is_waiting_to_send;
	unsigned sent;     /* requests of this pipeline */
	unsigned answered; /* keys of them */
	size_t skip;       /* bytes of a value, and its line's end, still to come */
	char line[128];    /* of a reply, as far as it has come; a longer one is cut */
	size_t line_len;
	int64_t began_ns;
};

struct load {
	struct options options;
	struct request request;
	int epoll_fd;
	uint64_t begun, done, misses;
	uint64_t random;
	struct times times;
};

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void put_text(struct request *request, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(EXIT_FAILURE);
}

static void *
must(void *ptr)
{
	if (ptr == NULL)
		die("out of memory");
	return ptr;
}

/* ---- requests ---- */

static void
put(struct request *request, const void *bytes, size_t len)
{
	request->bytes = must(realloc(request->bytes, request->len + len + 1));
	memcpy(request->bytes + request->len, bytes, len);
	request->len += len;
}

static void
put_text(struct request *request, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	int len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(text))
		die("a word is too long");
	put(request, text, (size_t)len);
}

static void
put_key(struct request *request, const char *prefix)
{
	put_text(request, "%s:", prefix);
	request->digits_at = request->len;
	put_text(request, "%0*d", KEY_DIGITS, 0);
}

static void
put_value(struct request *request, size_t len)
{
	char *value = must(malloc(len + 1));

	memset(value, 'v', len);
	put(request, value, len);
	put_text(request, "\r\n");
	free(value);
}

static struct request
resp_request(const struct options *options)
{
	bool is_get = options->operation == OP_GET;
	struct request request = {0};

	if (options->many > 1)
		put_text(&request, "*%u\r\n$4\r\nMGET\r\n", 1 + options->many);
	else
		put_text(&request, "*%u\r\n$3\r\n%s\r\n", is_get ? 2 : 3 + options->n_extras, is_get ? "GET" : "SET");
	for (unsigned i = 0; i < options->many; i++) {
		size_t before = request.len;
		put_text(&request, "$%zu\r\n", strlen(options->prefix) + 1 + KEY_DIGITS);
		put_key(&request, options->prefix);
		put_text(&request, "\r\n");
		request.stride = request.len - before;
	}
	if (is_get)
		return request;
	put_text(&request, "$%zu\r\n", options->value_len);
	put_value(&request, options->value_len);
	for (unsigned i = 0; i < options->n_extras; i++)
		put_text(&request, "$%zu\r\n%s\r\n", strlen(options->extras[i]), options->extras[i]);
	return request;
}

static struct request
memcached_request(const struct options *options)
{
	bool is_get = options->operation == OP_GET;
	struct request request = {0};

	put_text(&request, is_get ? "get" : "set");
	for (unsigned i = 0; i < options->many; i++) {
		size_t before = request.len;
		put_text(&request, " ");
		put_key(&request, options->prefix);
		request.stride = request.len - before;
	}
	if (is_get) {
		put_text(&request, "\r\n");
		return request;
	}
	put_text(&request, " 0 0 %zu\r\n", options->value_len);
	put_value(&request, options->value_len);
	return request;
}

static uint64_t
next_key(struct load *load)
{
	if (load->options.operation == OP_FILL)
		return load->options.first + load->begun;
	load->random ^= load->random << 13;
	load->random ^= load->random >> 7;
	load->random ^= load->random << 17;
	return load->options.first + (load->random >> 16) % load->options.keys;
}

static void
append_request(struct load *load, struct conn *conn)
{
	char *to = conn->out + conn->out_len;
	char *digits = to + load->request.digits_at;

	memcpy(to, load->request.bytes, load->request.len);
	for (unsigned n = load->options.many; n > 0; n--, digits -= load->request.stride) {
		uint64_t key = next_key(load);
		for (size_t i = KEY_DIGITS; i-- > 0; key /= 10)
			digits[i] = (char)('0' + key % 10);
	}
	conn->out_len += load->request.len;
	conn->sent++;
	load->begun++;
}

/* ---- sending ---- */

static void
watch(struct load *load, struct conn *conn, bool for_sending)
{
	struct epoll_event event = {.events = EPOLLIN | (for_sending ? (uint32_t)EPOLLOUT : 0), .data.ptr = conn};

	conn->is_waiting_to_send = for_sending;
	if (epoll_ctl(load->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event) != 0)
		die("epoll_ctl: %s", strerror(errno));
}

static void
send_rest(struct load *load, struct conn *conn)
{
	while (conn->out_sent < conn->out_len) {
		ssize_t n = send(conn->fd, conn->out + conn->out_sent, conn->out_len - conn->out_sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			if (!conn->is_waiting_to_send)
				watch(load, conn, true);
			return;
		}
		if (n < 0)
			die("send: %s", strerror(errno));
		conn->out_sent += (size_t)n;
	}
	if (conn->is_waiting_to_send)
		watch(load, conn, false);
}

/* Does nothing when all operations have begun. */
static void
begin_pipeline(struct load *load, struct conn *conn)
{
	conn->out_len = conn->out_sent = 0;
	conn->sent = conn->answered = 0;
	while (conn->sent < load->options.pipeline && load->begun < load->options.operations)
		append_request(load, conn);
	if (conn->sent == 0)
		return;
	conn->began_ns = times_now();
	send_rest(load, conn);
}

/* ---- replies ---- */

static void
on_resp_line(struct load *load, struct conn *conn)
{
	switch (conn->line[0]) {
	case '*':
		return;
	case '+':
		break;
	case '$':
		if (conn->line[1] == '-')
			load->misses++;
		else
			conn->skip = strtoul(conn->line + 1, NULL, 10) + 2;
		break;
	default:
		die("the server said: %s", conn->line);
	}
	conn->answered++;
}

/* VALUE key flags bytes and the value, for each key that is there; then END. */
static void
on_memcached_line(struct load *load, struct conn *conn)
{
	if (strncmp(conn->line, "VALUE ", 6) == 0) {
		const char *bytes = strrchr(conn->line, ' ');
		conn->skip = strtoul(bytes, NULL, 10) + 2;
		load->misses--; /* what END will count */
		return;
	}
	if (strncmp(conn->line, "END", 3) == 0)
		load->misses += load->options.many;
	else if (strncmp(conn->line, "STORED", 6) != 0)
		die("the server said: %s", conn->line);
	conn->answered += load->options.many;
}

static void
on_line(struct load *load, struct conn *conn)
{
	size_t len = conn->line_len < sizeof(conn->line) ? conn->line_len : sizeof(conn->line) - 1;

	conn->line[len] = '\0';
	conn->line_len = 0;
	if (load->options.memcached)
		on_memcached_line(load, conn);
	else
		on_resp_line(load, conn);
}

/* Replies, however they are cut. */
static void
take(struct load *load, struct conn *conn, const char *bytes, size_t n)
{
	const char *end = bytes + n;

	while (bytes < end) {
		size_t left = (size_t)(end - bytes);
		if (conn->skip > 0) {
			size_t step = conn->skip < left ? conn->skip : left;
			conn->skip -= step;
			bytes += step;
			continue;
		}
		char c = *bytes++;
		if (c == '\n')
			on_line(load, conn);
		else if (conn->line_len < sizeof(conn->line) - 1)
			conn->line[conn->line_len++] = c;
	}
}

static void
receive(struct load *load, struct conn *conn)
{
	static char bytes[256 * 1024];
	ssize_t n = recv(conn->fd, bytes, sizeof(bytes), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("the server closed a connection%s%s", n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
	take(load, conn, bytes, (size_t)n);
	unsigned asked = conn->sent * load->options.many;
	if (conn->answered > asked)
		die("more replies than requests");
	if (conn->answered < asked || conn->skip > 0)
		return;
	times_add(&load->times, times_now() - conn->began_ns);
	load->done += conn->sent;
	begin_pipeline(load, conn);
}

/* ---- connections ---- */

static int
connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		die("the path of the socket is too long");
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static int
connect_tcp(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("port %u: %s", port, strerror(errno));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void
open_conn(struct load *load, struct conn *conn)
{
	const struct options *options = &load->options;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

	conn->fd = options->unix_path != NULL ? connect_unix(options->unix_path) : connect_tcp(options->port);
	conn->out = must(malloc(load->request.len * options->pipeline));
	if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) != 0 ||
	    epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) != 0)
		die("a connection: %s", strerror(errno));
}

static void
close_conn(struct conn *conn)
{
	(void)close(conn->fd);
	free(conn->out);
}

static void
run(struct load *load, struct conn *conns)
{
	for (unsigned i = 0; i < load->options.connections; i++)
		begin_pipeline(load, &conns[i]);
	while (load->done < load->options.operations) {
		struct epoll_event events[64];
		int n = epoll_wait(load->epoll_fd, events, 64, QUIET_MS);
		if (n == 0)
			die("the server has said nothing for %d s", QUIET_MS / 1000);
		if (n < 0 && errno != EINTR)
			die("epoll_wait: %s", strerror(errno));
		for (int i = 0; i < n; i++) {
			struct conn *conn = events[i].data.ptr;
			if ((events[i].events & EPOLLOUT) != 0)
				send_rest(load, conn);
			if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0)
				receive(load, conn);
		}
	}
}

/* ---- what was asked for ---- */

static uint64_t
parse_number(const char *text, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || n < min || n > max)
		die("%s: a number from %" PRIu64 " to %" PRIu64, text, min, max);
	return n;
}

/* The place of the text among the names; NULL is none. */
static unsigned
parse_name(const char *text, const char *first, const char *second, const char *third)
{
	const char *names[] = {first, second, third};

	for (unsigned i = 0; i < 3; i++) {
		if (names[i] != NULL && strcmp(text, names[i]) == 0)
			return i;
	}
	die("%s: not known", text);
}

static void
set_option(struct options *options, int letter, const char *text)
{
	switch (letter) {
	case 'p':
		options->port = (uint16_t)parse_number(text, 1, UINT16_MAX);
		break;
	case 's':
		options->unix_path = text;
		break;
	case 't':
		options->memcached = parse_name(text, "resp", "memcached", NULL) == 1;
		break;
	case 'o':
		options->operation = (enum operation)parse_name(text, "get", "set", "fill");
		break;
	case 'n':
		options->operations = parse_number(text, 1, UINT32_MAX);
		break;
	case 'c':
		options->connections = (unsigned)parse_number(text, 1, CONNECTIONS_MAX);
		break;
	case 'P':
		options->pipeline = (unsigned)parse_number(text, 1, 10000);
		break;
	case 'm':
		options->many = (unsigned)parse_number(text, 1, 1000);
		break;
	case 'k':
		options->keys = parse_number(text, 1, UINT32_MAX);
		break;
	case 'f':
		options->first = parse_number(text, 0, UINT32_MAX);
		break;
	case 'K':
		options->prefix = text;
		break;
	case 'd':
		options->value_len = parse_number(text, 0, 1 << 20);
		break;
	case 'x':
		if (options->n_extras == EXTRAS_MAX)
			die("too many -x");
		options->extras[options->n_extras++] = text;
		break;
	default:
		die("usage: load -p PORT|-s PATH [-t resp|memcached] [-o get|set|fill] [-n OPERATIONS]\n"
		    "            [-c CONNECTIONS] [-P PIPELINE] [-m MANY] [-k KEYS] [-f FIRST] [-K PREFIX] [-d BYTES]\n"
		    "            [-x WORD]...");
	}
}

static struct options
parse_options(int argc, char **argv)
{
	struct options options = {.operations = 100000,
	    .keys = 10000,
	    .connections = 50,
	    .pipeline = 1,
	    .many = 1,
	    .prefix = "key",
	    .value_len = 64};
	int letter;

	while ((letter = getopt(argc, argv, "p:s:t:o:n:c:P:m:k:f:K:d:x:")) != -1)
		set_option(&options, letter, optarg);
	if (optind != argc || (options.unix_path == NULL) == (options.port == 0))
		die("one of -p PORT and -s PATH, and no other words");
	if (options.memcached && options.n_extras > 0)
		die("-x is for RESP");
	if (options.operation != OP_GET && options.many > 1)
		die("-m is for get");
	return options;
}

static void
report(struct load *load, int64_t took_ns)
{
	double seconds = (double)took_ns / 1e9;

	printf("operations %" PRIu64 " ops\n", load->done);
	printf("misses %" PRIu64 " ops\n", load->misses);
	printf("seconds %.6f s\n", seconds);
	printf("throughput %.1f ops/s\n", (double)load->done / seconds);
	times_print(&load->times, "");
}

int
main(int argc, char **argv)
{
	struct load load = {.options = parse_options(argc, argv), .random = 88172645463325252u};
	struct conn *conns = must(calloc(load.options.connections, sizeof(*conns)));

	load.request = load.options.memcached ? memcached_request(&load.options) : resp_request(&load.options);
	load.epoll_fd = epoll_create1(0);
	if (load.epoll_fd < 0)
		die("epoll: %s", strerror(errno));
	for (unsigned i = 0; i < load.options.connections; i++)
		open_conn(&load, &conns[i]);
	int64_t began_ns = times_now();
	run(&load, conns);
	report(&load, times_now() - began_ns);
	for (unsigned i = 0; i < load.options.connections; i++)
		close_conn(&conns[i]);
	(void)close(load.epoll_fd);
	free(conns);
	free(load.request.bytes);
	free(load.times.ns);
	return EXIT_SUCCESS;
}
