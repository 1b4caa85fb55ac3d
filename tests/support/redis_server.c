/*
 * Starts and ends a redis-server by its pid. Failures are the test's failures.
 */
#include "tests/support/redis_server.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPTIONS_MAX 24
#define START_TRIES 2000 /* of 5 ms */

static struct sockaddr_in
loopback(int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return addr;
}

int
free_port(void)
{
	struct sockaddr_in addr = loopback(0);
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	close(fd);
	return ntohs(addr.sin_port);
}

static void
run(const struct redis_server *server, const char *const *options)
{
	char port[8];
	char *argv[16 + OPTIONS_MAX] = {"redis-server", "--port", port, "--bind", "127.0.0.1",
	    "--dir", (char *)server->dir, "--unixsocket", (char *)server->socket, "--save", "",
	    "--appendonly", "no"};
	size_t n = 13;

	snprintf(port, sizeof(port), "%d", server->port);
	while (options != NULL && *options != NULL && n < sizeof(argv) / sizeof(argv[0]) - 1)
		argv[n++] = (char *)*options++;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execvp(argv[0], argv);
	_exit(127);
}

/* Any answer to PING will do, even an error, but for "I am loading". */
static int
answers(const struct redis_server *server)
{
	struct sockaddr_in addr = loopback(server->port);
	char buf[16] = "";
	ssize_t n = -1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	    write(fd, "PING\r\n", 6) == 6)
		n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	return n > 0 && strncmp(buf, "-LOADING", 8) != 0;
}

void
redis_server_start(struct redis_server *server, const char *const *options)
{
	const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};

	if (server->dir[0] == '\0') {
		strcpy(server->dir, "/tmp/hc-redis.XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(server->dir));
		snprintf(server->socket, sizeof(server->socket), "%s/socket", server->dir);
	}
	if (server->port == 0)
		server->port = free_port();
	server->pid = fork();
	if (server->pid == 0)
		run(server, options);
	ck_assert_int_gt(server->pid, 0);
	for (int i = 0; !answers(server); i++) {
		ck_assert_int_lt(i, START_TRIES);
		ck_assert_msg(
		    waitpid(server->pid, NULL, WNOHANG) == 0, "redis-server does not run");
		nanosleep(&pause, NULL);
	}
}

void
redis_server_signal(struct redis_server *server, int signal)
{
	ck_assert_int_gt(server->pid, 0);
	ck_assert_int_eq(kill(server->pid, signal), 0);
	if (signal != SIGKILL && signal != SIGTERM)
		return;
	while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
		;
	server->pid = 0;
}

void
redis_server_stop(struct redis_server *server)
{
	static const char *const files[] = {"socket", "dump.rdb"};
	char path[128];

	if (server->pid != 0)
		redis_server_signal(server, SIGKILL);
	if (server->dir[0] == '\0')
		return;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", server->dir, files[i]);
		unlink(path);
	}
	rmdir(server->dir);
	memset(server, 0, sizeof(*server));
}
