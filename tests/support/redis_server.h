/*
 * A real redis-server for a test: its own port and directory, gone with the test, also when that fails. One thread.
 */
#ifndef HC_TESTS_SUPPORT_REDIS_SERVER_H
#define HC_TESTS_SUPPORT_REDIS_SERVER_H

#include <sys/types.h>

struct redis_server {
	pid_t pid; /* 0: not running */
	int port;
	char dir[40];
	char socket[64]; /* its Unix socket */
};

/* A TCP port of 127.0.0.1 nobody listens on right now. */
int free_port(void);

/*
 * Starts it and waits until it answers; on `server->port`, or a free one when that is 0. `server`
 * is zeroed, or was killed. `options`: more words for its command line, ended by NULL; may be NULL.
 */
void redis_server_start(struct redis_server *server, const char *const *options);

/* Sends a signal; after SIGKILL and SIGTERM it waits for the end. */
void redis_server_signal(struct redis_server *server, int signal);

/* Kills it when it runs, and removes its directory. */
void redis_server_stop(struct redis_server *server);

#endif
