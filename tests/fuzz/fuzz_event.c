/*
 * Fuzz target of the event codec: the input is one Pub/Sub message. Slices lie in it, truncation never passes,
 * the room for keys makes no difference, and an event of a known type is the only spelling of itself.
 */
#include "proto/event.h"
#include "tests/fuzz/fuzz.h"

#define FEW_KEYS 2

static void
check_inside(const struct hc_event *event, struct hc_slice run)
{
	FUZZ_CHECK(event->instance.len <= HC_EVENT_MAX_INSTANCE);
	FUZZ_CHECK(event->model.len <= HC_EVENT_MAX_MODEL);
	if (event->version != HC_EVENT_VERSION)
		return;
	FUZZ_CHECK(fuzz_inside(event->instance, run));
	FUZZ_CHECK(fuzz_inside(event->model, run));
	for (size_t i = 0; i < event->nkeys; i++)
		FUZZ_CHECK(fuzz_inside(event->keys[i], run));
}

static void
check_spelling(const struct hc_event *event, struct hc_slice run)
{
	size_t size = hc_event_encode(NULL, 0, event);
	char *wire = malloc(size);

	FUZZ_CHECK(wire && size == run.len);
	FUZZ_CHECK(hc_event_encode(wire, size, event) == size);
	FUZZ_CHECK(memcmp(wire, run.ptr, size) == 0);
	free(wire);
}

static void
check_truncated(struct hc_slice run)
{
	size_t stride = 1 + run.len / 64;

	for (size_t len = 1; len < run.len; len += stride) {
		struct hc_slice keys[FEW_KEYS];
		struct hc_event event;
		size_t used;
		char *copy = fuzz_copy(hc_slice(run.ptr, len));
		FUZZ_CHECK(hc_event_decode(hc_slice(copy, len), keys, FEW_KEYS, &event, &used) == HC_EVENT_BAD);
		free(copy);
	}
}

/* Decodes the first event of `run`; returns its length, 0 at the end. */
static size_t
check_first(struct hc_slice run)
{
	struct hc_slice few[FEW_KEYS], *keys = few;
	struct hc_event event;
	size_t used = 0;

	enum hc_event_result result = hc_event_decode(run, few, FEW_KEYS, &event, &used);
	if (result == HC_EVENT_KEYS) {
		size_t n = event.nkeys;
		FUZZ_CHECK(n > FEW_KEYS && n <= run.len / 6);
		keys = malloc(n * sizeof(*keys));
		FUZZ_CHECK(keys);
		result = hc_event_decode(run, keys, n, &event, &used);
		FUZZ_CHECK(result == HC_EVENT_OK && event.nkeys == n);
	}
	FUZZ_CHECK((result == HC_EVENT_END) == (run.len == 0));
	if (result == HC_EVENT_OK) {
		FUZZ_CHECK(used > 0 && used <= run.len);
		struct hc_slice whole = hc_slice(run.ptr, used);
		check_inside(&event, whole);
		check_truncated(whole);
		if (event.type != HC_EVENT_UNKNOWN)
			check_spelling(&event, whole);
	}
	if (keys != few)
		free(keys);
	return used;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = fuzz_copy(hc_slice((const char *)data, size));
	size_t at = 0, used;

	while ((used = check_first(hc_slice(copy + at, size - at))) > 0)
		at += used;
	free(copy);
	return 0;
}
