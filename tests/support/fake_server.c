/*
 * The misbehaving server. Failures are the test's failures.
 */
#include "tests/support/fake_server.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *
serve_all(void *arg)
{
	struct fake_server *server = arg;
	int one = 1;

	while (!server->stopping) {
		int fd = accept(server->listener, NULL, NULL);
		fake_serve_fn *serve = server->serve;

		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		server->client = fd;
		server->accepted++;
		if (!server->stopping)
			serve(fd, server->arg);
		server->client = -1;
		close(fd);
	}
	return NULL;
}

void
fake_server_start(struct fake_server *server, fake_serve_fn *serve, void *arg)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	memset(server, 0, sizeof(*server));
	server->serve = serve;
	server->arg = arg;
	server->client = -1;
	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(server->listener, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(listen(server->listener, 16), 0);
	ck_assert_int_eq(getsockname(server->listener, (struct sockaddr *)&addr, &len), 0);
	server->port = ntohs(addr.sin_port);
	ck_assert_int_eq(pthread_create(&server->thread, NULL, serve_all, server), 0);
}

void
fake_server_stop(struct fake_server *server)
{
	int client;

	server->stopping = true;
	shutdown(server->listener, SHUT_RDWR);
	client = server->client;
	if (client >= 0)
		shutdown(client, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->listener);
}

bool
fake_read_until(int fd, const char *end)
{
	char tail[64] = "";
	size_t want = strlen(end);
	size_t have = 0;

	while (have < want || memcmp(tail + have - want, end, want) != 0) {
		if (have == sizeof(tail)) {
			have = want - 1;
			memmove(tail, tail + sizeof(tail) - have, have);
		}
		if (read(fd, tail + have, 1) != 1)
			return false;
		have++;
	}
	return true;
}

bool
fake_read_bytes(int fd, size_t n)
{
	char buf[4096];

	while (n > 0) {
		ssize_t got = read(fd, buf, n < sizeof(buf) ? n : sizeof(buf));

		if (got <= 0)
			return false;
		n -= (size_t)got;
	}
	return true;
}

void
fake_write(int fd, const void *ptr, size_t len)
{
	const char *src = ptr;

	while (len > 0) {
		ssize_t n = send(fd, src, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		src += n;
		len -= (size_t)n;
	}
}

void
fake_print(int fd, const char *text)
{
	fake_write(fd, text, strlen(text));
}

void
fake_wait_for_end(int fd)
{
	char buf[256];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

bool
fake_handshake(int fd)
{
	static _Atomic unsigned lives;
	char text[128];

	if (!fake_read_until(fd, "server\r\n"))
		return false;
	snprintf(text, sizeof(text), FAKE_INTRODUCTION("1", "%040u"), ++lives);
	fake_print(fd, text);
	if (!fake_read_until(fd, "PING\r\n"))
		return false;
	fake_print(fd, "+PONG\r\n");
	return true;
}
