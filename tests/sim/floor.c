/*
 * What a server on an epoll loop cannot do without: it reads, counts bytes, and writes replies made beforehand. It
 * neither parses nor looks anything up, so that its CPU time is the least that any server could need for the same
 * exchange on the same machine.
 *
 *     floor -p PORT -s PATH
 *
 * A connection that begins with the line `FLOOR <bytes of a request> <bytes of a reply>` and that reply sets what every
 * connection gets from then on, answered by +OK. INFO tells the process id, CONFIG is an error: what asks for these is
 * no part of what is measured. Ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES 65536
#define REPLIES_BYTES (1u << 20) /* of replies side by side: for a pipeline */
#define CONNECTIONS_MAX 1024

struct floor {
	int epoll;
	size_t request_len, reply_len;
	char *replies; /* as many as there is room for */
	size_t n_replies;
	size_t got[CONNECTIONS_MAX]; /* of a request that is not whole, by descriptor */
};

static void die(const char *what) __attribute__((noreturn));

static void
die(const char *what)
{
	fprintf(stderr, "floor: %s%s%s\n", what, errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
	exit(EXIT_FAILURE);
}

static void
watch(const struct floor *floor, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (fd < 0 || epoll_ctl(floor->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll");
}

static int
listen_at(const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 || bind(fd, address, len) != 0 ||
	    listen(fd, 511) != 0)
		die("listening");
	return fd;
}

static void
write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return; /* the reader finds out */
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
}

/* The line of it has been found at the beginning of `bytes`; the reply is behind it, whole. */
static void
set_exchange(struct floor *floor, const char *bytes, size_t len)
{
	const char *reply = memchr(bytes, '\n', len);

	if (reply == NULL || sscanf(bytes, "FLOOR %zu %zu", &floor->request_len, &floor->reply_len) != 2 ||
	    floor->request_len == 0 || floor->reply_len == 0 || floor->reply_len > REPLIES_BYTES ||
	    (size_t)(bytes + len - ++reply) != floor->reply_len)
		die("not an exchange");
	floor->n_replies = REPLIES_BYTES / floor->reply_len;
	for (size_t i = 0; i < floor->n_replies; i++)
		memcpy(floor->replies + i * floor->reply_len, reply, floor->reply_len);
	memset(floor->got, 0, sizeof(floor->got));
}

/* What is said beside the exchange; true when it was. */
static bool
answer_aside(struct floor *floor, int fd, const char *bytes, size_t len)
{
	char text[64], reply[128];

	if (len > 6 && memcmp(bytes, "FLOOR ", 6) == 0) {
		set_exchange(floor, bytes, len);
		write_all(fd, "+OK\r\n", 5);
		return true;
	}
	if (memmem(bytes, len < 32 ? len : 32, "INFO", 4) != NULL) {
		int n = snprintf(text, sizeof(text), "process_id:%ld\r\n", (long)getpid());
		write_all(fd, reply, (size_t)snprintf(reply, sizeof(reply), "$%d\r\n%s\r\n", n, text));
		return true;
	}
	const char *config = memmem(bytes, len < 32 ? len : 32, "CONFIG", 6);
	if (config == NULL)
		return false;
	for (; config != NULL; config = memmem(config + 6, (size_t)(bytes + len - config) - 6, "CONFIG", 6))
		write_all(fd, "-ERR none\r\n", 11);
	return true;
}

static void
serve(struct floor *floor, int fd)
{
	static char bytes[READ_BYTES + 1];
	ssize_t n = recv(fd, bytes, READ_BYTES, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		floor->got[fd] = 0;
		close(fd);
		return;
	}
	bytes[n] = '\0';
	if (floor->got[fd] == 0 && answer_aside(floor, fd, bytes, (size_t)n))
		return;
	if (floor->request_len == 0)
		die("asked before there was an exchange");
	size_t got = floor->got[fd] + (size_t)n, requests = got / floor->request_len;
	floor->got[fd] = got % floor->request_len;
	for (size_t some; requests > 0; requests -= some) {
		some = requests < floor->n_replies ? requests : floor->n_replies;
		write_all(fd, floor->replies, some * floor->reply_len);
	}
}

static void
accept_one(const struct floor *floor, int listener, bool is_tcp)
{
	int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (fd >= CONNECTIONS_MAX)
		die("too many connections");
	if (is_tcp && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		die("TCP_NODELAY");
	watch(floor, fd);
}

static void
run(struct floor *floor, int tcp, int local)
{
	struct epoll_event events[64];

	for (;;) {
		int n = epoll_wait(floor->epoll, events, 64, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == tcp || fd == local)
				accept_one(floor, fd, fd == tcp);
			else
				serve(floor, fd);
		}
	}
}

int
main(int argc, char **argv)
{
	static struct floor floor;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int option;

	while ((option = getopt(argc, argv, "p:s:")) != -1) {
		if (option == 'p')
			in.sin_port = htons((uint16_t)atoi(optarg));
		else if (option == 's' && strlen(optarg) < sizeof(un.sun_path))
			strcpy(un.sun_path, optarg);
		else
			return EXIT_FAILURE;
	}
	floor.epoll = epoll_create1(EPOLL_CLOEXEC);
	floor.replies = malloc(REPLIES_BYTES);
	if (in.sin_port == 0 || un.sun_path[0] == '\0' || floor.epoll < 0 || floor.replies == NULL)
		die("floor -p PORT -s PATH");
	int tcp = listen_at((struct sockaddr *)&in, sizeof(in)), local = listen_at((struct sockaddr *)&un, sizeof(un));
	watch(&floor, tcp);
	watch(&floor, local);
	run(&floor, tcp, local);
}
