/*
 * The kernel's account of a thread: how long it ran, and how long it was ready and had to wait for a processor. For
 * programs that measure.
 */
#ifndef HC_TESTS_SIM_SCHEDSTAT_H
#define HC_TESTS_SIM_SCHEDSTAT_H

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* Of the thread that calls; -1 and errno when there is none. The caller closes it. */
static inline int
schedstat_open_own(void)
{
	return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

/* Of one thread: ns it ran, ns it was ready and waited. A thread that is gone has neither. */
static inline void
schedstat_read(int fd, int64_t *ran_ns, int64_t *waited_ns)
{
	char text[96];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	char *end;

	*ran_ns = *waited_ns = 0;
	if (n <= 0)
		return;
	text[n] = '\0';
	*ran_ns = strtoll(text, &end, 10);
	*waited_ns = strtoll(end, NULL, 10);
}

#endif
