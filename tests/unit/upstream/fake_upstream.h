/*
 * A server for the link's tests, in a thread of its own, and the ways it serves that several of them ask for.
 */
#ifndef HC_TESTS_UPSTREAM_FAKE_UPSTREAM_H
#define HC_TESTS_UPSTREAM_FAKE_UPSTREAM_H

#include <sys/socket.h>
#include "tests/support/fake_server.h"
#include "tests/unit/upstream/support.h"

static struct fake_server fake;

static inline void
start(fake_serve_fn *serve, void *arg)
{
	fake_server_start(&fake, serve, arg);
	fix_create("redis://127.0.0.1:%d", fake.port);
}

static inline void
finish(void)
{
	fix_destroy_link();
	fake_server_stop(&fake);
}

static inline void
serve_silence(int fd, void *arg)
{
	(void)arg;
	fake_wait_for_end(fd);
}

static inline void
serve_close(int fd, void *arg)
{
	(void)fd;
	(void)arg;
}

/* After the handshake it waits for one PING, answers with `arg`, and ends its side; without a
 * reset. */
static inline void
serve_once(int fd, void *arg)
{
	if (!fake_handshake(fd) || !fake_read_until(fd, "PING\r\n"))
		return;
	fake_print(fd, arg);
	shutdown(fd, SHUT_WR);
	fake_wait_for_end(fd);
}

static inline void
serve_pongs(int fd, void *arg)
{
	(void)arg;
	if (!fake_handshake(fd))
		return;
	while (fake_read_until(fd, "PING\r\n"))
		fake_print(fd, "+PONG\r\n");
}

#endif
