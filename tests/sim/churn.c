/*
 * What the process takes beside what it keeps, while the sizes of values change altogether: phases of
 * cache-aside traffic (GET, on a miss SET) against the memory tier itself, with the upkeep the daemon
 * does. `make churn BYTES=N OPS=M SEED=S` runs it: N bytes of budget, M requests a phase, all optional.
 *
 * A line a phase: `rss` is the whole process, `grown` what it has grown by since the store was
 * created, each at the end of the phase and at its worst; `payload` is the bytes of the keys and values
 * kept. All three as parts of the budget.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/large.h"
#include "base/mem.h"
#include "store/slab.h"
#include "store/store.h"

#define TICK_OPS 1000 /* requests from one upkeep to the next: 10,000 a second */
#define SWEEP_BUDGET_US 5000
#define OVERSIZE 3 /* the keys of a phase would take so many times the budget */
#define SCAN_STEP 1000

enum shape {
	FIXED,   /* low */
	UNIFORM, /* low … high */
	LOG,     /* the same, each doubling as likely as any */
};

struct phase {
	const char *name;
	enum shape shape;
	size_t low, high;
	unsigned writes_percent; /* of the requests: overwrite, with another size; one in ten of them deletes */
	unsigned ttl_percent;    /* of what is written: with an expiry soon */
};

static const struct phase phases[] = {
    {"4 KiB", FIXED, 4096, 4096, 0, 0},
    {"64 B", FIXED, 64, 64, 0, 0},
    {"20 KiB", FIXED, 20480, 20480, 0, 0},
    {"mixed 64 B-64 KiB", LOG, 64, 65536, 0, 0},
    {"uniform 64 B-64 KiB", UNIFORM, 64, 65536, 0, 0},
    {"1 KiB", FIXED, 1024, 1024, 0, 0},
    {"64 KiB", FIXED, 65536, 65536, 0, 0},
    {"small 64-600 B", UNIFORM, 64, 600, 10, 0},
    {"6 KiB", FIXED, 6144, 6144, 0, 0},
    {"mixed, overwritten", LOG, 64, 65536, 30, 20},
    {"100-300 KiB", UNIFORM, 100 << 10, 300 << 10, 0, 0},
    {"mixed again", LOG, 64, 65536, 5, 5},
};

struct churn {
	struct hc_store *store;
	uint64_t max_bytes;
	uint64_t random;
	int64_t now_ms;
	size_t rss_at_start;
	size_t worst_rss; /* of the phase */
	uint64_t gets, hits;
	char *bytes; /* any, as many as a value has at most */
};

static void
die(const char *why)
{
	fprintf(stderr, "churn: %s\n", why);
	exit(EXIT_FAILURE);
}

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t
draw(struct churn *churn)
{
	return mix(churn->random += 0x9e3779b97f4a7c15);
}

static double
draw_unit(struct churn *churn)
{
	return (double)(draw(churn) >> 11) / (double)((uint64_t)1 << 53);
}

/* ---- requests ---- */

static size_t
size_at(const struct phase *phase, double unit)
{
	switch (phase->shape) {
	case FIXED:
		break;
	case UNIFORM:
		return phase->low + (size_t)(unit * (double)(phase->high - phase->low));
	case LOG: {
		/* linear within a doubling */
		double doublings = 0;
		while (phase->low << ((unsigned)doublings + 1) <= phase->high)
			doublings++;
		double at = unit * doublings;
		unsigned whole = (unsigned)at;
		return (size_t)((double)(phase->low << whole) * (1 + at - whole));
	}
	}
	return phase->low;
}

/* Of a key, always the same unless it is written anew. */
static size_t
size_of(const struct phase *phase, uint64_t id)
{
	return size_at(phase, (double)(mix(id) >> 11) / (double)((uint64_t)1 << 53));
}

static uint64_t
keys_of(const struct churn *churn, const struct phase *phase)
{
	double sum = 0;

	for (unsigned i = 0; i < 1000; i++)
		sum += 100 + (double)size_at(phase, (i + 0.5) / 1000);
	return (uint64_t)(OVERSIZE * (double)churn->max_bytes / (sum / 1000));
}

static struct hc_key
name_key(size_t phase, uint64_t id, char name[32])
{
	int len = snprintf(name, 32, "p%zu:%012" PRIu64, phase, id);

	return hc_key(hc_slice(name, (size_t)len));
}

static void
set(struct churn *churn, const struct phase *phase, struct hc_key key, size_t size)
{
	struct hc_entry *entry = hc_entry_create(churn->store, key, size, HC_MODEL_DEFAULT);

	if (entry == NULL)
		die("out of memory");
	memcpy(hc_entry_value_ptr(entry), churn->bytes, size);
	if (phase->ttl_percent > 0 && draw(churn) % 100 < phase->ttl_percent)
		hc_entry_set_expire_ms(entry, churn->now_ms + (int64_t)(draw(churn) % 60000));
	(void)hc_store_put(churn->store, key, entry, NULL, churn->now_ms, NULL);
	hc_entry_unref(entry);
}

/* Few of the keys get most of the requests. */
static void
request(struct churn *churn, size_t at, uint64_t keys)
{
	const struct phase *phase = &phases[at];
	double skewed = draw_unit(churn);
	uint64_t id = (uint64_t)((double)keys * skewed * skewed);
	struct hc_entry *entry;
	char name[32];
	struct hc_key key = name_key(at, id, name);

	if (phase->writes_percent > 0 && draw(churn) % 100 < phase->writes_percent) {
		if (draw(churn) % 10 == 0)
			(void)hc_store_del(churn->store, key, churn->now_ms, NULL);
		else
			set(churn, phase, key, size_at(phase, draw_unit(churn)));
		return;
	}
	churn->gets++;
	if (hc_store_get(churn->store, key, churn->now_ms, &entry) != HC_OK) {
		set(churn, phase, key, size_of(phase, id));
		return;
	}
	hc_entry_unref(entry);
	churn->hits++;
}

static size_t
grown(const struct churn *churn, size_t rss)
{
	return rss > churn->rss_at_start ? rss - churn->rss_at_start : 0;
}

/* As the daemon does ten times a second. */
static void
upkeep(struct churn *churn)
{
	size_t rss = hc_mem_resident();

	if (rss > churn->worst_rss)
		churn->worst_rss = rss;
	(void)hc_large_age();
	hc_store_fit_process(churn->store, grown(churn, rss));
	(void)hc_store_sweep(churn->store, churn->now_ms, SWEEP_BUDGET_US);
	churn->now_ms += 100;
}

/* ---- what is kept ---- */

static uint64_t
payload(struct churn *churn)
{
	struct hc_entry_list list = {0};
	uint64_t cursor = 0, bytes = 0;

	do {
		if (hc_store_scan(churn->store, &cursor, SCAN_STEP, churn->now_ms, &list) != HC_OK)
			die("out of memory");
		for (size_t i = 0; i < list.n; i++) {
			struct hc_entry_lengths lengths = hc_entry_lengths(list.items[i]);
			bytes += (uint64_t)lengths.key + lengths.value;
		}
		hc_entry_list_fini(&list);
	} while (cursor != 0);
	return bytes;
}

static double
cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
run_phase(struct churn *churn, size_t at, uint64_t ops)
{
	uint64_t keys = keys_of(churn, &phases[at]);
	double began = cpu_seconds(), max = (double)churn->max_bytes;
	struct hc_store_stats stats;
	struct hc_slab_usage usage;

	churn->gets = churn->hits = 0;
	churn->worst_rss = 0;
	for (uint64_t i = 0; i < ops; i++) {
		request(churn, at, keys);
		if (i % TICK_OPS == TICK_OPS - 1)
			upkeep(churn);
	}
	double us = (cpu_seconds() - began) * 1e6 / (double)ops;
	size_t rss = hc_mem_resident();
	hc_store_stats(churn->store, &stats);
	hc_slab_usage(&usage);
	printf("%-20s %6.3f %6.3f  %6.3f %6.3f  %7.3f %7.3f %6.3f  %8" PRIu64 "  %6.4f  %6.2f\n", phases[at].name,
	    (double)rss / max, (double)churn->worst_rss / max, (double)grown(churn, rss) / max,
	    (double)grown(churn, churn->worst_rss) / max, (double)payload(churn) / max, (double)stats.bytes / max,
	    (double)(usage.resident - usage.live) / max, stats.entries, (double)churn->hits / (double)churn->gets, us);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	struct churn churn = {.max_bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)256 << 20,
	    .random = argc > 3 ? strtoull(argv[3], NULL, 10) : 1,
	    .now_ms = hc_clock_wall_ms()};
	uint64_t ops = argc > 2 ? strtoull(argv[2], NULL, 10) : 3000000;

	if (hc_hash_init() != 0)
		die("no secret for the hash");
	hc_mem_tune();
	churn.bytes = malloc(1 << 20);
	if (churn.bytes == NULL)
		die("out of memory");
	memset(churn.bytes, 'v', 1 << 20);
	churn.rss_at_start = hc_mem_resident();
	struct hc_store_config config = {.max_bytes = churn.max_bytes};
	if (hc_store_create(&config, &churn.store) != HC_OK)
		die("the store could not be created");
	printf("%" PRIu64 " bytes, %" PRIu64 " requests a phase\n", churn.max_bytes, ops);
	printf("%-20s %6s %6s  %6s %6s  %7s %7s %6s  %8s  %6s  %6s\n", "values", "rss", "worst", "grown", "worst",
	    "payload", "charged", "idle", "entries", "hits", "us/op");
	for (size_t at = 0; at < sizeof(phases) / sizeof(phases[0]); at++)
		run_phase(&churn, at, ops);
	hc_store_destroy(churn.store);
	free(churn.bytes);
	return EXIT_SUCCESS;
}
