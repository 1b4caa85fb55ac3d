/*
 * The sd_notify datagrams. Any thread; owns nothing.
 * Source: https://www.freedesktop.org/software/systemd/man/sd_notify.html
 */
#include "base/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"

/* Takes a path, or with a leading '@' the name of an abstract socket, whose first byte is a NUL. */
static enum hc_status
parse_address(const char *text, struct sockaddr_un *addr, socklen_t *addr_len)
{
	size_t len = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof(addr->sun_path))
		return HC_INVALID;

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(addr->sun_path, text, len);
	if (text[0] == '@')
		addr->sun_path[0] = '\0';
	/* An abstract name ends where the address does: a terminator would be part of it. */
	*addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/'));
	return HC_OK;
}

static enum hc_status
send_datagram(const struct sockaddr_un *addr, socklen_t addr_len, const char *text, size_t len)
{
	const struct timeval wait = {.tv_usec = HC_NOTIFY_WAIT_MS * 1000L};
	enum hc_status status = HC_OK;
	ssize_t sent;
	int saved;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return HC_ERROR;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0) {
		status = HC_ERROR;
		goto close_fd;
	}
	do {
		sent = sendto(fd, text, len, MSG_NOSIGNAL, (const struct sockaddr *)addr, addr_len);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		status = errno == EAGAIN || errno == EWOULDBLOCK ? HC_TIMEOUT : HC_ERROR;

close_fd:
	saved = errno;
	close(fd);
	errno = saved;
	return status;
}

static enum hc_status
notify(const char *text, size_t len)
{
	const char *address = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr;
	socklen_t addr_len;

	if (!address || !address[0])
		return HC_MISS;
	if (parse_address(address, &addr, &addr_len) != HC_OK)
		return HC_INVALID;
	return send_datagram(&addr, addr_len, text, len);
}

/* `prefix` and then STATUS=…, which a line break would end: the rest would be read as assignments
 * of its own. */
static enum hc_status
notify_with_status(const char *prefix, const char *status)
{
	char text[HC_NOTIFY_MAX_BYTES];
	int written = snprintf(text, sizeof(text), "%sSTATUS=%s", prefix, status);
	size_t len = written < (int)sizeof(text) ? (size_t)written : sizeof(text) - 1;

	for (size_t i = strlen(prefix); i < len; i++) {
		if (text[i] == '\n' || text[i] == '\r')
			text[i] = ' ';
	}
	return notify(text, len);
}

enum hc_status
hc_notify_ready(const char *status)
{
	static const char ready[] = "READY=1\n";

	return status ? notify_with_status(ready, status) : notify(ready, strlen(ready));
}

enum hc_status
hc_notify_reloading(void)
{
	char text[64];
	struct timespec now;
	int len;

	/* The manager compares with its own CLOCK_MONOTONIC, so this is not the clock that tests
	 * may advance. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	len = snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
	    (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	return notify(text, (size_t)len);
}

enum hc_status
hc_notify_stopping(void)
{
	static const char stopping[] = "STOPPING=1";

	return notify(stopping, strlen(stopping));
}

enum hc_status
hc_notify_status(const char *status)
{
	return notify_with_status("", status);
}

enum hc_status
hc_notify_watchdog(void)
{
	static const char watchdog[] = "WATCHDOG=1";

	return notify(watchdog, strlen(watchdog));
}

int64_t
hc_notify_watchdog_ms(void)
{
	const char *usec_text = getenv("WATCHDOG_USEC");
	const char *pid_text = getenv("WATCHDOG_PID");
	uint64_t usec, pid, period_ms;

	if (!usec_text || !hc_num_u64(hc_slice_str(usec_text), &usec) || usec == 0)
		return 0;
	/* The variables are inherited: those of a parent's watchdog are not ours. */
	if (pid_text && (!hc_num_u64(hc_slice_str(pid_text), &pid) || pid != (uint64_t)getpid()))
		return 0;
	period_ms = usec / 2000;
	return period_ms > 0 ? (int64_t)period_ms : 1;
}
