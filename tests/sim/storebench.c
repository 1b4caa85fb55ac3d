/*
 * What the memory tier costs by itself, without sockets: `make storebench` runs it. Keys of 16 bytes,
 * values of 64, a million of each.
 *
 *     one thread    ns and instructions of a hit, a miss, an overwrite, an insertion, one that evicts
 *     two threads   95 % hits and 5 % overwrites, uniform and by Zipf's law, against one thread: on one
 *                   store, and (what the machine allows at best) on a store each
 *     upkeep        what the sweep needs for an entry that has expired
 *     stalls        the longest insertion while the table grows and while others are evicted, and the
 *                   longest the sweep holds a lock
 *     memory        bytes an entry takes beyond key and value, from the resident size
 *
 * Times are of the threads' CPU clocks, so that other load on the machine disturbs them little: the
 * best of some rounds counts. Instructions are counted by the kernel where it lets us, else left out.
 */
#include <inttypes.h>
#include <linux/perf_event.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/mem.h"
#include "store/store.h"

#define KEY_LEN 16
#define VALUE_LEN 64
#define NOW_MS 1000000
#define ROUNDS 5
#define ROUNDS_OF_TWO 9 /* threads: who else is on the machine meets them in more ways */
#define REPEATS 3
#define THREADS 2
#define SKEW 0.99
#define BIG ((uint64_t)1 << 30)

static uint32_t n_keys = 1000000;
static uint32_t n_ops = 2000000;
static int64_t ttl_ms;        /* of what is put; 0: none */
static int instructions = -1; /* the counter's descriptor */

static void
die(const char *why)
{
	fprintf(stderr, "storebench: %s\n", why);
	exit(EXIT_FAILURE);
}

static void *
must(void *ptr)
{
	if (ptr == NULL)
		die("out of memory");
	return ptr;
}

/* ---- keys ---- */

static uint64_t
next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static struct hc_key
key_of(uint32_t id, char name[KEY_LEN])
{
	static const char digits[] = "0123456789abcdef";

	memcpy(name, "emb:key:", KEY_LEN / 2);
	for (unsigned i = 0; i < KEY_LEN / 2; i++)
		name[KEY_LEN / 2 + i] = digits[id >> (28 - 4 * i) & 15];
	return hc_key(hc_slice(name, KEY_LEN));
}

/* Keys of the operations to come, drawn before the clock runs. */
static uint32_t *
draw_uniform(uint64_t seed)
{
	uint32_t *ids = must(malloc(n_ops * sizeof(*ids)));

	for (uint32_t i = 0; i < n_ops; i++)
		ids[i] = (uint32_t)(next_random(&seed) % n_keys);
	return ids;
}

/* By the method of Gray et al., "Quickly generating billion-record synthetic databases". */
static uint32_t *
draw_zipf(uint64_t seed)
{
	uint32_t *ids = must(malloc(n_ops * sizeof(*ids)));
	double zeta = 0, two = 1 + pow(0.5, SKEW);

	for (uint32_t i = 1; i <= n_keys; i++)
		zeta += 1 / pow(i, SKEW);
	double alpha = 1 / (1 - SKEW), eta = (1 - pow(2.0 / n_keys, 1 - SKEW)) / (1 - two / zeta);
	for (uint32_t i = 0; i < n_ops; i++) {
		double u = (double)(next_random(&seed) >> 11) / (double)((uint64_t)1 << 53), uz = u * zeta;
		double rank = uz < 1 ? 0 : uz < two ? 1 : n_keys * pow(eta * u - eta + 1, alpha);
		ids[i] = (uint32_t)rank < n_keys ? (uint32_t)rank : n_keys - 1;
	}
	return ids;
}

/* ---- operations ---- */

static __attribute__((noipa)) void
put(struct hc_store *store, uint32_t id)
{
	static const struct hc_store_put how = {.give = true};
	char name[KEY_LEN];
	struct hc_key key = key_of(id, name);
	struct hc_entry *entry = must(hc_entry_create(store, key, VALUE_LEN, HC_MODEL_DEFAULT));

	memset(hc_entry_value_ptr(entry), 'v', VALUE_LEN);
	if (ttl_ms > 0)
		hc_entry_set_expire_ms(entry, NOW_MS + ttl_ms);
	if (hc_store_put(store, key, entry, &how, NOW_MS, NULL) != HC_OK)
		die("an entry was not kept");
}

/* As GET of a small value does. */
static __attribute__((noipa)) bool
get(struct hc_store *store, uint32_t id)
{
	char name[KEY_LEN], value[VALUE_LEN];
	struct hc_key key = key_of(id, name);
	struct hc_entry *entry = hc_store_borrow(store, key, NOW_MS);

	if (entry == NULL)
		return false;
	memcpy(value, hc_entry_value(entry).ptr, VALUE_LEN);
	__asm__ volatile("" : : "r"(value) : "memory");
	hc_store_give_back(store, key);
	return true;
}

static void
run_gets(struct hc_store *store, const uint32_t *ids)
{
	for (uint32_t i = 0; i < n_ops; i++)
		get(store, ids[i]);
}

static void
run_misses(struct hc_store *store, const uint32_t *ids)
{
	for (uint32_t i = 0; i < n_ops; i++)
		get(store, ids[i] | 0x80000000);
}

static void
run_puts(struct hc_store *store, const uint32_t *ids)
{
	for (uint32_t i = 0; i < n_ops; i++)
		put(store, ids[i]);
}

static void
run_mixed(struct hc_store *store, const uint32_t *ids)
{
	for (uint32_t i = 0; i < n_ops; i++) {
		if (i % 20 == 0)
			put(store, ids[i]);
		else
			get(store, ids[i]);
	}
}

/* ---- one thread ---- */

static int64_t
cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * (int64_t)1000000000 + ts.tv_nsec;
}

static void
open_counter(void)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_HARDWARE,
	    .size = sizeof(attr),
	    .config = PERF_COUNT_HW_INSTRUCTIONS,
	    .exclude_kernel = 1,
	    .exclude_hv = 1,
	};

	instructions = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t
counted(void)
{
	uint64_t n = 0;

	return instructions >= 0 && read(instructions, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

typedef void run_fn(struct hc_store *store, const uint32_t *ids);

static void
measure(const char *what, struct hc_store *store, const uint32_t *ids, run_fn *run, unsigned rounds)
{
	double best = INFINITY;
	uint64_t count = 0;

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t count_before = counted();
		int64_t before = cpu_ns();
		run(store, ids);
		double ns = (double)(cpu_ns() - before) / n_ops;
		count = (counted() - count_before) / n_ops;
		if (ns < best)
			best = ns;
	}
	printf("%-28s %8.1f ns", what, best);
	if (instructions >= 0)
		printf(" %6" PRIu64 " instructions", count);
	printf("\n");
	fflush(stdout);
}

static struct hc_store *
create_for(uint64_t max_bytes, uint32_t readers)
{
	struct hc_store_config config = {.max_bytes = max_bytes, .max_models = 10, .readers = readers};
	struct hc_store *store;

	if (hc_store_create(&config, &store) != HC_OK)
		die("the store could not be created");
	return store;
}

static struct hc_store *
create(uint64_t max_bytes)
{
	return create_for(max_bytes, 1);
}

static void
fill(struct hc_store *store)
{
	for (uint32_t id = 0; id < n_keys; id++)
		put(store, id);
}

static uint32_t *
ascending(void)
{
	uint32_t *ids = must(malloc(n_ops * sizeof(*ids)));

	for (uint32_t i = 0; i < n_ops; i++)
		ids[i] = i;
	return ids;
}

/* Before each: a store of that many bytes, filled or not. */
static const struct {
	const char *name;
	const char *what;
	run_fn *run;
	uint64_t max_bytes;
	enum {
		RANDOM,
		RANDOM_FEW,
		ASCENDING,
	} order;
	unsigned rounds;
} rows[] = {
    {"hit", "hit, of all", run_gets, BIG, RANDOM, ROUNDS},
    {"hit-few", "hit, of a thousand", run_gets, BIG, RANDOM_FEW, ROUNDS},
    {"miss", "miss", run_misses, BIG, RANDOM, ROUNDS},
    {"overwrite", "overwrite, of all", run_puts, BIG, RANDOM, ROUNDS},
    {"overwrite-few", "overwrite, of a thousand", run_puts, BIG, RANDOM_FEW, ROUNDS},
    {"insert", "insertion", run_puts, BIG, ASCENDING, 1},
    {"evict", "insertion that evicts", run_puts, 16 << 20, ASCENDING, 1},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void
measure_row(size_t row)
{
	struct hc_store *store = create(rows[row].max_bytes);
	uint32_t *ids = rows[row].order == ASCENDING ? ascending() : draw_uniform(row);

	for (uint32_t i = 0; rows[row].order == RANDOM_FEW && i < n_ops; i++)
		ids[i] %= 1000;
	if (rows[row].order != ASCENDING)
		fill(store);
	measure(rows[row].what, store, ids, rows[row].run, rows[row].rounds);
	hc_store_destroy(store);
	free(ids);
}

/* ---- two threads ---- */

struct worker {
	struct hc_store *store;
	const uint32_t *ids;
	uint32_t number;
	pthread_barrier_t *start;
	double per_s;
};

static void *
work(void *arg)
{
	struct worker *worker = arg;

	hc_store_read_as(worker->number);
	pthread_barrier_wait(worker->start);
	int64_t before = cpu_ns();
	run_mixed(worker->store, worker->ids);
	worker->per_s = n_ops / ((double)(cpu_ns() - before) / 1e9);
	return NULL;
}

/* Operations a second of CPU time, of all threads together. */
static double
run_threads(struct worker *workers, unsigned n)
{
	pthread_barrier_t start;
	pthread_t threads[THREADS];
	double sum = 0;

	pthread_barrier_init(&start, NULL, n);
	for (unsigned i = 0; i < n; i++) {
		workers[i].start = &start;
		workers[i].number = i;
		if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
			die("no thread");
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		sum += workers[i].per_s;
	}
	pthread_barrier_destroy(&start);
	return sum;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[n / 2];
}

/* One thread, two on a store for two, two on a store each, in turn: the medians of the rounds' ratios. */
static void
measure_two(const char *what, uint32_t *(*draw)(uint64_t seed))
{
	struct hc_store *stores[THREADS] = {create(BIG), create(BIG)}, *both = create_for(BIG, THREADS);
	uint32_t *ids[THREADS] = {draw(11), draw(12)};
	double one[ROUNDS_OF_TWO], shared[ROUNDS_OF_TWO], apart[ROUNDS_OF_TWO];

	fill(stores[0]);
	fill(stores[1]);
	fill(both);
	for (unsigned i = 0; i < ROUNDS_OF_TWO; i++) {
		struct worker workers[] = {
		    {.store = stores[0], .ids = ids[0]},
		    {.store = stores[1], .ids = ids[1]},
		};
		one[i] = run_threads(workers, 1);
		apart[i] = run_threads(workers, 2) / one[i];
		workers[0].store = workers[1].store = both;
		shared[i] = run_threads(workers, 2) / one[i];
	}
	double ratio = median(shared, ROUNDS_OF_TWO), ideal = median(apart, ROUNDS_OF_TWO);
	printf("%-28s %8.2f million/s, two threads %.2f times that, a store each %.2f: %.0f %% of it\n", what,
	    median(one, ROUNDS_OF_TWO) / 1e6, ratio, ideal, 100 * ratio / ideal);
	fflush(stdout);
	hc_store_destroy(both);
	for (unsigned i = 0; i < THREADS; i++) {
		hc_store_destroy(stores[i]);
		free(ids[i]);
	}
}

/* ---- memory ---- */

static void
measure_memory(void)
{
	struct hc_store *store = create(BIG);
	struct hc_store_stats stats;
	size_t before = hc_mem_resident();

	fill(store);
	size_t grown = hc_mem_resident() - before;
	hc_store_stats(store, &stats);
	printf("%-28s %8.1f bytes; charged %.1f, table and queues %.1f\n", "an entry, beyond its own",
	    (double)grown / n_keys - KEY_LEN - VALUE_LEN, (double)stats.bytes / n_keys - KEY_LEN - VALUE_LEN,
	    (double)stats.table_bytes / n_keys);
	fflush(stdout);
	hc_store_destroy(store);
}

/* ---- upkeep ---- */

/* What the sweep needs for a million entries that have expired unread, table and queues included. */
static void
measure_expiry(void)
{
	struct hc_store *store = create(BIG);

	ttl_ms = 1000;
	fill(store);
	ttl_ms = 0;
	size_t full = hc_mem_resident();
	int64_t before = cpu_ns();
	unsigned calls = 1;
	while (hc_store_sweep(store, NOW_MS + 1000, 250) != HC_SWEEP_DONE)
		calls++;
	printf("%-28s %8.1f ns an entry, %u calls, %zu MB given back\n", "expired unread",
	    (double)(cpu_ns() - before) / n_keys, calls, (full - hc_mem_resident()) >> 20);
	fflush(stdout);
	hc_store_destroy(store);
}

/*
 * The longest that anything else can be kept from a shard, or a worker from its other clients: of one
 * insertion, or of what the sweep does at a time, since without time it holds a lock once. The machine
 * holds things up as well; but what the store itself does comes again in the same place when all is
 * repeated, so that of each piece the least counts.
 */
struct pieces {
	uint32_t *least_ns;
	size_t n, at;
};

static int64_t piece_began_ns;

static void
begin_piece(void)
{
	piece_began_ns = cpu_ns();
}

static void
end_piece(struct pieces *pieces)
{
	int64_t ns = cpu_ns() - piece_began_ns;

	if (pieces->at < pieces->n && ns < pieces->least_ns[pieces->at])
		pieces->least_ns[pieces->at] = (uint32_t)ns;
	pieces->at++;
}

typedef void pieces_fn(struct pieces *pieces);

static void
measure_pieces(const char *what, size_t n, pieces_fn *run)
{
	struct pieces pieces = {.least_ns = must(malloc(n * sizeof(uint32_t))), .n = n};
	uint32_t longest = 0;
	size_t which = 0;

	memset(pieces.least_ns, 0xff, n * sizeof(uint32_t));
	for (unsigned i = 0; i < REPEATS; i++) {
		pieces.at = 0;
		run(&pieces);
	}
	for (size_t i = 0; i < n && i < pieces.at; i++) {
		if (pieces.least_ns[i] > longest) {
			longest = pieces.least_ns[i];
			which = i;
		}
	}
	printf("%-28s %8.0f us, the %zuth of %zu\n", what, (double)longest / 1000, which + 1, pieces.at);
	fflush(stdout);
	free(pieces.least_ns);
}

static void
put_pieces(struct pieces *pieces, uint64_t max_bytes)
{
	struct hc_store *store = create(max_bytes);

	for (uint32_t id = 0; id < pieces->n; id++) {
		begin_piece();
		put(store, id);
		end_piece(pieces);
	}
	hc_store_destroy(store);
}

static void
grow_pieces(struct pieces *pieces)
{
	put_pieces(pieces, (uint64_t)8 << 30);
}

static void
evict_pieces(struct pieces *pieces)
{
	put_pieces(pieces, 64 << 20);
}

static void
sweep_pieces(struct pieces *pieces, bool clear)
{
	struct hc_store *store = create(BIG);
	struct hc_store_stats stats;

	ttl_ms = clear ? 0 : 1000;
	fill(store);
	ttl_ms = 0;
	if (clear)
		hc_models_bump(hc_store_models(store), HC_MODEL_DEFAULT);
	do {
		begin_piece();
		hc_store_sweep(store, NOW_MS + 1000, 0);
		end_piece(pieces);
		hc_store_stats(store, &stats);
	} while (stats.entries > 0);
	hc_store_destroy(store);
}

static void
expire_pieces(struct pieces *pieces)
{
	sweep_pieces(pieces, false);
}

static void
clear_pieces(struct pieces *pieces)
{
	sweep_pieces(pieces, true);
}

static void
measure_stalls(void)
{
	measure_pieces("longest insertion, growing", 10 * (size_t)n_keys, grow_pieces);
	measure_pieces("longest insertion, evicting", 2 * (size_t)n_keys, evict_pieces);
	measure_pieces("longest piece, expired", n_keys, expire_pieces);
	measure_pieces("longest piece, cleared", n_keys, clear_pieces);
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "all";
	bool all = strcmp(what, "all") == 0;

	if (argc > 2)
		n_ops = (uint32_t)strtoul(argv[2], NULL, 10);
	if (argc > 3)
		n_keys = (uint32_t)strtoul(argv[3], NULL, 10);
	if (n_ops == 0 || n_keys == 0)
		die("usage: storebench [all|memory|one|expire|stalls|two|hit|hit-few|… [OPERATIONS [KEYS]]]");
	if (hc_hash_init() != 0)
		die("no random numbers");
	hc_mem_tune();
	open_counter();
	if (all || strcmp(what, "memory") == 0)
		measure_memory();
	for (size_t row = 0; row < ROWS; row++) {
		if (all || strcmp(what, "one") == 0 || strcmp(what, rows[row].name) == 0)
			measure_row(row);
	}
	if (all || strcmp(what, "expire") == 0)
		measure_expiry();
	if (all || strcmp(what, "stalls") == 0)
		measure_stalls();
	if (all || strcmp(what, "two") == 0) {
		measure_two("mixed, uniform", draw_uniform);
		measure_two("mixed, by Zipf's law", draw_zipf);
	}
	return EXIT_SUCCESS;
}
