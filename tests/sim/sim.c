/*
 * Replays a trace against the memory tier itself, as a cache-aside client would: GET, on a miss SET.
 * Beside it, on the same requests, two policies are simulated: plain LRU, and Redis's LRU by
 * sampling. `make sim TRACE=FILE BYTES=N` runs it; N is bytes, or a percentage of the footprint of
 * the trace's values.
 *
 * The trace comes on standard input, a request a line: `key size`, the keys numbered from 0 in the
 * order they first appear. The store is charged with what its entries really take; the simulated
 * policies with 72 bytes an object beyond its value.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"
#include "store/store.h"

#define OVERHEAD 72 /* bytes an object in the simulated policies */
#define NOW_MS 1000000
#define NONE UINT32_MAX
#define SAMPLES 5
#define POOL 16

struct request {
	uint32_t key;
	uint32_t size;
};

struct trace {
	struct request *requests;
	size_t n, cap;
	uint32_t keys;
	uint64_t bytes; /* of all requests */
	uint64_t footprint;
};

struct result {
	uint64_t hits;
	uint64_t hit_bytes;
};

static void
die(const char *why)
{
	fprintf(stderr, "sim: %s\n", why);
	exit(EXIT_FAILURE);
}

static void *
must(void *ptr)
{
	if (ptr == NULL)
		die("out of memory");
	return ptr;
}

static void
read_trace(struct trace *trace)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		char *end;
		struct request request = {.key = (uint32_t)strtoul(line, &end, 10)};
		request.size = (uint32_t)strtoul(end, NULL, 10);
		if (line[0] == '#' || end == line)
			continue;
		if (trace->n == trace->cap) {
			trace->cap = trace->cap == 0 ? 1 << 16 : 2 * trace->cap;
			trace->requests = must(realloc(trace->requests, trace->cap * sizeof(request)));
		}
		trace->requests[trace->n++] = request;
		trace->bytes += request.size;
		if (request.key >= trace->keys) {
			trace->keys = request.key + 1;
			trace->footprint += request.size;
		}
	}
	if (trace->n == 0)
		die("no requests on standard input");
}

static void
count_hit(struct result *result, const struct request *request)
{
	result->hits++;
	result->hit_bytes += request->size;
}

/* ---- the real one ---- */

static struct hc_key
key_of(uint32_t key, char name[16])
{
	int len = snprintf(name, 16, "t:%" PRIu32, key);

	return hc_key(hc_slice(name, (size_t)len));
}

static void
fill(struct hc_store *store, struct hc_key key, uint32_t size)
{
	struct hc_entry *entry = must(hc_entry_create(store, key, size, HC_MODEL_DEFAULT));

	(void)hc_store_put(store, key, entry, NULL, NOW_MS, NULL);
	hc_entry_unref(entry);
}

static struct result
run_store(const struct trace *trace, uint64_t bytes, bool weigh_bytes)
{
	struct hc_store_config config = {.max_bytes = bytes, .weigh_bytes = weigh_bytes};
	struct result result = {0};
	struct hc_store *store;

	if (hc_store_create(&config, &store) != HC_OK)
		die("the store could not be created");
	for (size_t i = 0; i < trace->n; i++) {
		const struct request *request = &trace->requests[i];
		struct hc_entry *entry;
		char name[16];
		struct hc_key key = key_of(request->key, name);
		if (hc_store_get(store, key, NOW_MS, &entry) != HC_OK) {
			fill(store, key, request->size);
			continue;
		}
		hc_entry_unref(entry);
		count_hit(&result, request);
	}
	hc_store_destroy(store);
	return result;
}

/* ---- plain LRU ---- */

struct lru_node {
	uint32_t prev, next;
	uint32_t size;
	bool there;
};

static void
lru_unlink(struct lru_node *nodes, uint32_t at)
{
	nodes[nodes[at].prev].next = nodes[at].next;
	nodes[nodes[at].next].prev = nodes[at].prev;
}

static void
lru_link(struct lru_node *nodes, uint32_t head, uint32_t at)
{
	nodes[at].prev = head;
	nodes[at].next = nodes[head].next;
	nodes[nodes[head].next].prev = at;
	nodes[head].next = at;
}

static struct result
run_lru(const struct trace *trace, uint64_t bytes)
{
	uint32_t head = trace->keys;
	struct lru_node *nodes = must(calloc((size_t)trace->keys + 1, sizeof(*nodes)));
	struct result result = {0};
	uint64_t used = 0;

	nodes[head].prev = nodes[head].next = head;
	for (size_t i = 0; i < trace->n; i++) {
		const struct request *request = &trace->requests[i];
		struct lru_node *node = &nodes[request->key];
		if (node->there) {
			count_hit(&result, request);
			lru_unlink(nodes, request->key);
		} else {
			used += request->size + OVERHEAD;
			node->size = request->size;
			node->there = true;
		}
		lru_link(nodes, head, request->key);
		while (used > bytes) {
			uint32_t victim = nodes[head].prev;
			lru_unlink(nodes, victim);
			nodes[victim].there = false;
			used -= nodes[victim].size + OVERHEAD;
		}
	}
	free(nodes);
	return result;
}

/* ---- Redis's LRU: of a few at random the one idle longest, with a memory of earlier good ones ---- */

struct redis {
	struct {
		uint64_t used_at;
		uint32_t size;
		uint32_t place; /* in live[]; NONE: not there */
	} * objects;
	uint32_t *live;
	uint32_t n;
	uint32_t pool[POOL]; /* by idle time, the longest last */
	unsigned pooled;
	uint64_t random;
};

static uint32_t
redis_random(struct redis *redis)
{
	redis->random ^= redis->random << 13;
	redis->random ^= redis->random >> 7;
	redis->random ^= redis->random << 17;
	return (uint32_t)(redis->random >> 16) % redis->n;
}

static void
pool_add(struct redis *redis, uint32_t key)
{
	unsigned at = 0;

	for (unsigned i = 0; i < redis->pooled; i++) {
		if (redis->pool[i] == key)
			return;
	}
	while (at < redis->pooled && redis->objects[redis->pool[at]].used_at > redis->objects[key].used_at)
		at++;
	if (redis->pooled < POOL) {
		memmove(&redis->pool[at + 1], &redis->pool[at], (redis->pooled - at) * sizeof(*redis->pool));
		redis->pooled++;
	} else {
		if (at == 0)
			return;
		at--;
		memmove(&redis->pool[0], &redis->pool[1], at * sizeof(*redis->pool));
	}
	redis->pool[at] = key;
}

static uint32_t
redis_victim(struct redis *redis)
{
	for (;;) {
		for (unsigned i = 0; i < SAMPLES; i++)
			pool_add(redis, redis->live[redis_random(redis)]);
		while (redis->pooled > 0) {
			uint32_t key = redis->pool[--redis->pooled];
			if (redis->objects[key].place != NONE)
				return key;
		}
	}
}

static void
redis_remove(struct redis *redis, uint32_t key)
{
	uint32_t place = redis->objects[key].place, last = redis->live[--redis->n];

	redis->live[place] = last;
	redis->objects[last].place = place;
	redis->objects[key].place = NONE;
}

static struct result
run_redis(const struct trace *trace, uint64_t bytes)
{
	struct redis redis = {.random = 88172645463325252u};
	struct result result = {0};
	uint64_t used = 0;

	redis.objects = must(calloc(trace->keys, sizeof(*redis.objects)));
	redis.live = must(calloc(trace->keys, sizeof(*redis.live)));
	for (uint32_t key = 0; key < trace->keys; key++)
		redis.objects[key].place = NONE;
	for (size_t i = 0; i < trace->n; i++) {
		const struct request *request = &trace->requests[i];
		uint32_t key = request->key;
		redis.objects[key].used_at = i;
		if (redis.objects[key].place != NONE) {
			count_hit(&result, request);
			continue;
		}
		while (redis.n > 0 && used + request->size + OVERHEAD > bytes) {
			uint32_t victim = redis_victim(&redis);
			used -= redis.objects[victim].size + OVERHEAD;
			redis_remove(&redis, victim);
		}
		redis.objects[key].size = request->size;
		redis.objects[key].place = redis.n;
		redis.live[redis.n++] = key;
		used += request->size + OVERHEAD;
	}
	free(redis.objects);
	free(redis.live);
	return result;
}

/* ---- the report ---- */

static void
report(const char *name, const struct trace *trace, struct result result, int64_t began_us)
{
	printf("%-22s %10.4f %10.4f %8.2f\n", name, (double)result.hits / (double)trace->n,
	    (double)result.hit_bytes / (double)trace->bytes, (double)(hc_clock_mono_us() - began_us) / 1e6);
	fflush(stdout);
}

static uint64_t
parse_bytes(const char *text, const struct trace *trace)
{
	char *end;
	double n = strtod(text, &end);

	if (n <= 0 || (*end != '\0' && strcmp(end, "%") != 0))
		die("the budget is a number of bytes, or a percentage of the footprint as in 10%");
	return *end == '%' ? (uint64_t)(n / 100 * (double)trace->footprint) : (uint64_t)n;
}

int
main(int argc, char **argv)
{
	struct trace trace = {0};

	if (argc != 2)
		die("usage: gzip -dc TRACE | sim BYTES|PERCENT%");
	if (hc_hash_init() != 0)
		die("no random numbers");
	read_trace(&trace);
	uint64_t bytes = parse_bytes(argv[1], &trace);
	printf("%zu requests, %" PRIu32 " keys, footprint %" PRIu64 ", budget %" PRIu64 "\n", trace.n, trace.keys,
	    trace.footprint, bytes);
	printf("%-22s %10s %10s %8s\n", "", "hits", "hit bytes", "seconds");
	int64_t began_us = hc_clock_mono_us();
	report("store, objects", &trace, run_store(&trace, bytes, false), began_us);
	began_us = hc_clock_mono_us();
	report("store, bytes", &trace, run_store(&trace, bytes, true), began_us);
	began_us = hc_clock_mono_us();
	report("LRU, simulated", &trace, run_lru(&trace, bytes), began_us);
	began_us = hc_clock_mono_us();
	report("Redis LRU, simulated", &trace, run_redis(&trace, bytes), began_us);
	free(trace.requests);
	return EXIT_SUCCESS;
}
