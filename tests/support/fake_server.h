/*
 * A TCP server that misbehaves as told, in a thread of its own: for what a real Redis cannot be
 * made to do. It serves one connection after the other.
 */
#ifndef HC_TESTS_SUPPORT_FAKE_SERVER_H
#define HC_TESTS_SUPPORT_FAKE_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Serves one connection, on the server's thread; `fd` is closed when it returns. */
typedef void fake_serve_fn(int fd, void *arg);

struct fake_server {
	int port;
	int listener;
	fake_serve_fn *_Atomic serve; /* may be changed: counts for the next connection */
	void *_Atomic arg;
	pthread_t thread;
	_Atomic bool stopping;
	_Atomic int client; /* the connection being served, or -1 */
	_Atomic int accepted;
};

void fake_server_start(struct fake_server *server, fake_serve_fn *serve, void *arg);
/* Wakes whatever the serving function waits for on its connection, and joins the thread. */
void fake_server_stop(struct fake_server *server);

/* For serving functions. Reads until the bytes read end in `end`, or are `n`; false at the end of
 * the connection. */
bool fake_read_until(int fd, const char *end);
bool fake_read_bytes(int fd, size_t n);
void fake_write(int fd, const void *ptr, size_t len);
void fake_print(int fd, const char *text);
/* Waits until the other side closes. */
void fake_wait_for_end(int fd);
/* What Redis answers to CLIENT SETNAME, CLIENT ID and INFO server. */
#define FAKE_INTRODUCTION(client_id, run_id_of_40) \
	"+OK\r\n:" client_id "\r\n$59\r\n# Server\r\nrun_id:" run_id_of_40 "\r\n\r\n"
#define FAKE_INTRODUCED FAKE_INTRODUCTION("1", "0123456789012345678901234567890123456789")
/* Answers all of a handshake as a Redis does that was just started, each time. */
bool fake_handshake(int fd);

#endif
