/*
 * Starts and ends a redis-server by its pid. Failures are the test's failures.
 */
#include "tests/support/redis_server.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DIR_PREFIX "/tmp/hc-redis."
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
	char *argv[16 + OPTIONS_MAX] = {"redis-server", "--port", port, "--bind", "127.0.0.1", "--dir",
	    (char *)server->dir, "--unixsocket", (char *)server->socket, "--save", "", "--appendonly", "no"};
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

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && write(fd, "PING\r\n", 6) == 6)
		n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	return n > 0 && strncmp(buf, "-LOADING", 8) != 0;
}

static void
remove_dir(const char *dir)
{
	static const char *const files[] = {"socket", "dump.rdb"};
	char path[128];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	rmdir(dir);
}

/*
 * A failed test is a process that ends at once. Its server dies with it (PR_SET_PDEATHSIG); its directory is
 * removed by the process that runs the tests, which knows it by its own pid in the name.
 */
static pid_t runner;

static void
tidy(void)
{
	char pattern[64];
	glob_t found;

	if (getpid() != runner)
		return;
	snprintf(pattern, sizeof(pattern), DIR_PREFIX "%d.*", (int)runner);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		remove_dir(found.gl_pathv[i]);
	globfree(&found);
}

__attribute__((constructor)) static void
remember_runner(void)
{
	runner = getpid();
	atexit(tidy);
}

void
redis_server_start(struct redis_server *server, const char *const *options)
{
	const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};

	if (server->dir[0] == '\0') {
		snprintf(server->dir, sizeof(server->dir), DIR_PREFIX "%d.XXXXXX", (int)runner);
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
		if (waitpid(server->pid, NULL, WNOHANG) != 0) {
			server->pid = 0;
			ck_abort_msg("redis-server does not run");
		}
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
	if (server->pid != 0)
		redis_server_signal(server, SIGKILL);
	if (server->dir[0] == '\0')
		return;
	remove_dir(server->dir);
	memset(server, 0, sizeof(*server));
}
