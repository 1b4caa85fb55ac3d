/*
 * How long a client that only PINGs has to wait: one connection, one PING at a time, RATE of them a
 * second, each round trip kept. A stall of the server shows up as a round trip of its length, less at
 * most one period.
 *
 *     probe -s PATH -w PID/TID [-r RATE] [-T SECONDS]
 *
 * PID/TID is the server's thread that answers. On a machine that does other work too, a round trip
 * may be long because the scheduler ran somebody else. The kernel counts for each thread how long it
 * was ready and had to wait for a processor (second field of its schedstat): a round trip's own
 * part is without the wait of that thread and of this program meanwhile. While it waited for other
 * threads of its own process, that was the server's doing and is left in: what these used is taken off
 * the wait first.
 *
 * What the host of a virtual machine took away no account of the kernel shows: witnesses do, see witness.h. Of a
 * round trip's own part the gaps in it are taken off, of all processors together, and no moment twice. Where a thread
 * waited as well it may be the same time: only the longer of both is taken off. Too much is taken off where a gap lies
 * on a processor that nobody waited for just then, or the server would have slept during it all the same: of a stall
 * that the server makes each time, the median of a few rounds is not touched by that.
 *
 * Ends after SECONDS, or on SIGTERM, with lines of `name value unit`; own_… is of the own parts, gaps… of what
 * the host took, own_longest_with_host of own parts with the gaps left in. It asks for real-time priority, so as to
 * run at once when the answer is there; `realtime 0` says that it did not get it, and then there are no witnesses.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "tests/sim/gaps.h"
#include "tests/sim/schedstat.h"
#include "tests/sim/times.h"
#include "tests/sim/witness.h"

#define THREADS_MAX 64
#define ANSWER_MAX_S 30
#define LONG_NS 2000000 /* what is counted as long */

struct options {
	const char *unix_path;
	const char *thread; /* PID/TID */
	int rate;
	double seconds; /* 0: until told to stop */
};

/* The schedstat files of the server's threads and of this one, kept open. */
struct watched {
	int worker_fd;
	int own_fd;
	int other_fds[THREADS_MAX];
	size_t n_others;
};

/* The kernel's account of threads, so far. */
struct account {
	int64_t worker_waited_ns;
	int64_t own_waited_ns;
	int64_t others_ran_ns;
};

struct round_trip {
	int64_t began_ns, ended_ns;
	int64_t waited_ns; /* what the scheduler made of it */
};

struct round_trips {
	struct round_trip *all;
	size_t n, cap;
};

struct probe {
	int fd;
	struct watched watched;
	struct round_trips round_trips;
	int64_t worker_waited_ns;
};

static volatile sig_atomic_t is_stopping;

static void die(const char *what) __attribute__((noreturn));

static void
die(const char *what)
{
	fprintf(stderr, "probe: %s%s%s\n", what, errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
	exit(EXIT_FAILURE);
}

static void
on_signal(int number)
{
	(void)number;
	is_stopping = 1;
}

/* ---- what the kernel says of threads ---- */

static int
open_schedstat(const char *pid, const char *tid)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", pid, tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

static void
watch_threads(struct watched *watched, const char *thread)
{
	const char *slash = strchr(thread, '/');
	char pid[32], path[64];

	if (slash == NULL || slash - thread >= (ptrdiff_t)sizeof(pid))
		die("-w wants PID/TID");
	snprintf(pid, sizeof(pid), "%.*s", (int)(slash - thread), thread);
	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	DIR *tasks = opendir(path);
	if (tasks == NULL)
		die(path);
	for (struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
		if (task->d_name[0] == '.' || strcmp(task->d_name, slash + 1) == 0)
			continue;
		if (watched->n_others < THREADS_MAX)
			watched->other_fds[watched->n_others++] = open_schedstat(pid, task->d_name);
	}
	(void)closedir(tasks);
	watched->worker_fd = open_schedstat(pid, slash + 1);
	watched->own_fd = schedstat_open_own();
	if (watched->own_fd < 0)
		die("schedstat");
}

static struct account
take_account(const struct watched *watched)
{
	struct account account = {0};
	int64_t ran_ns, waited_ns;

	schedstat_read(watched->worker_fd, &ran_ns, &account.worker_waited_ns);
	schedstat_read(watched->own_fd, &ran_ns, &account.own_waited_ns);
	for (size_t i = 0; i < watched->n_others; i++) {
		schedstat_read(watched->other_fds[i], &ran_ns, &waited_ns);
		account.others_ran_ns += ran_ns;
	}
	return account;
}

/* How long the scheduler kept the answer back. */
static int64_t
waited_between(const struct account *before, const struct account *after)
{
	int64_t worker_ns = after->worker_waited_ns - before->worker_waited_ns;
	int64_t siblings_ns = after->others_ran_ns - before->others_ran_ns;
	int64_t own_ns = after->own_waited_ns - before->own_waited_ns;

	return own_ns + (worker_ns > siblings_ns ? worker_ns - siblings_ns : 0);
}

/* ---- one PING ---- */

static void
ping(int fd)
{
	static const char request[] = "*1\r\n$4\r\nPING\r\n", answer[] = "+PONG\r\n";
	char bytes[sizeof(answer)];
	size_t got = 0;

	errno = 0;
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
		die("the server takes no PING");
	while (got < sizeof(answer) - 1) {
		ssize_t n = recv(fd, bytes + got, sizeof(answer) - 1 - got, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("the server does not answer");
		got += (size_t)n;
	}
	if (memcmp(bytes, answer, sizeof(answer) - 1) != 0)
		die("the server's answer is not PONG");
}

/* Ends the program when there is no memory. */
static void
keep(struct round_trips *trips, struct round_trip trip)
{
	if (trips->n == trips->cap) {
		trips->cap = trips->cap == 0 ? 1 << 12 : 2 * trips->cap;
		trips->all = realloc(trips->all, trips->cap * sizeof(*trips->all));
		if (trips->all == NULL)
			die("memory");
	}
	trips->all[trips->n++] = trip;
}

static void
measure(struct probe *probe)
{
	struct account before = take_account(&probe->watched);
	struct round_trip trip = {.began_ns = times_now()};

	ping(probe->fd);
	trip.ended_ns = times_now();
	struct account after = take_account(&probe->watched);
	trip.waited_ns = waited_between(&before, &after);
	keep(&probe->round_trips, trip);
	probe->worker_waited_ns += after.worker_waited_ns - before.worker_waited_ns;
}

/* ---- all of them ---- */

/* Periods that went by during a long round trip are left out. */
static void
run(struct probe *probe, const struct options *options)
{
	int64_t period_ns = 1000000000 / options->rate, next_ns = times_now();
	int64_t end_ns = options->seconds > 0 ? next_ns + (int64_t)(options->seconds * 1e9) : INT64_MAX;

	while (!is_stopping && next_ns < end_ns) {
		times_sleep_until(next_ns);
		measure(probe);
		int64_t now_ns = times_now();
		next_ns += period_ns;
		if (next_ns < now_ns)
			next_ns += (now_ns - next_ns + period_ns - 1) / period_ns * period_ns;
	}
}

static uint64_t
count_long(const struct times *times)
{
	uint64_t n = 0;

	for (size_t i = 0; i < times->n; i++)
		n += times->ns[i] > LONG_NS;
	return n;
}

static void
report_times(const struct round_trips *trips, const struct gaps *gaps)
{
	static const struct gaps none;
	struct times whole = {0}, own = {0};
	int64_t longest_with_host_ns = 0;

	for (size_t i = 0; i < trips->n; i++) {
		const struct round_trip *trip = &trips->all[i];
		int64_t with_host_ns = gaps_leave(&none, trip->began_ns, trip->ended_ns, trip->waited_ns);

		times_add(&whole, trip->ended_ns - trip->began_ns);
		times_add(&own, gaps_leave(gaps, trip->began_ns, trip->ended_ns, trip->waited_ns));
		if (with_host_ns > longest_with_host_ns)
			longest_with_host_ns = with_host_ns;
	}
	printf("long %" PRIu64 " pings\n", count_long(&whole));
	printf("own_long %" PRIu64 " pings\n", count_long(&own));
	times_print(&whole, "");
	times_print(&own, "own_");
	printf("own_longest_with_host %.1f us\n", (double)longest_with_host_ns / 1e3);
	free(whole.ns);
	free(own.ns);
}

static void
report_gaps(const struct gaps *gaps)
{
	int64_t longest_ns = 0, total_ns = 0;

	for (size_t i = 0; i < gaps->n; i++) {
		int64_t ns = gaps->all[i].ended_ns - gaps->all[i].began_ns;

		total_ns += ns;
		if (ns > longest_ns)
			longest_ns = ns;
	}
	printf("gaps %zu gaps\n", gaps->n);
	printf("gaps_longest %.1f us\n", (double)longest_ns / 1e3);
	printf("gaps_total %.1f us\n", (double)total_ns / 1e3);
}

static void
report(const struct probe *probe, const struct gaps *gaps, bool is_realtime, const struct witnesses *witnesses)
{
	printf("pings %zu pings\n", probe->round_trips.n);
	printf("waited %.1f us\n", (double)probe->worker_waited_ns / 1e3);
	printf("realtime %d bool\n", is_realtime);
	printf("witnesses %zu threads\n", witnesses->n);
	printf("tickers %zu timers\n", witnesses_with_ticker(witnesses));
	report_gaps(gaps);
	report_times(&probe->round_trips, gaps);
}

/* ---- setting up ---- */

static int
connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = ANSWER_MAX_S};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		die("the path of the socket is too long");
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		die(path);
	return fd;
}

static bool
be_urgent(void)
{
	struct sched_param param = {.sched_priority = WITNESS_PRIORITY - 1};

	(void)mlockall(MCL_CURRENT);
	if (sched_setscheduler(0, SCHED_FIFO, &param) == 0)
		return true;
	(void)setpriority(PRIO_PROCESS, 0, -20);
	return false;
}

static struct options
parse_options(int argc, char **argv)
{
	struct options options = {.rate = 2000};
	int letter;

	while ((letter = getopt(argc, argv, "s:w:r:T:")) != -1) {
		switch (letter) {
		case 's':
			options.unix_path = optarg;
			break;
		case 'w':
			options.thread = optarg;
			break;
		case 'r':
			options.rate = atoi(optarg);
			break;
		case 'T':
			options.seconds = atof(optarg);
			break;
		default:
			optind = argc + 1;
		}
	}
	if (optind != argc || options.unix_path == NULL || options.thread == NULL || options.rate < 1 ||
	    options.rate > 100000 || options.seconds < 0)
		die("usage: probe -s PATH -w PID/TID [-r RATE] [-T SECONDS]");
	return options;
}

int
main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	struct sigaction stop = {.sa_handler = on_signal};
	struct probe probe = {.fd = connect_unix(options.unix_path)};
	struct witnesses witnesses = {0};

	(void)sigaction(SIGTERM, &stop, NULL);
	(void)sigaction(SIGINT, &stop, NULL);
	watch_threads(&probe.watched, options.thread);
	ping(probe.fd); /* the first has the connection to set up */
	bool is_realtime = be_urgent();
	if (is_realtime)
		witnesses_start(&witnesses, atoi(strchr(options.thread, '/') + 1));
	printf("ready 1 bool\n");
	(void)fflush(stdout);
	run(&probe, &options);
	struct gaps gaps = witnesses_stop(&witnesses);
	report(&probe, &gaps, is_realtime, &witnesses);
	free(gaps.all);
	free(probe.round_trips.all);
	return EXIT_SUCCESS;
}
