/*
 * What stands around the file tier in its tests: models with epochs, owners that are counted, a directory of its own,
 * and a system that fails, stops or dawdles when told to.
 */
#ifndef HC_TESTS_FILE_WORLD_H
#define HC_TESTS_FILE_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "file/file.h"
#include "file/io.h"

#define WORLD_MODELS 64

/* Calls of the system, by kind. */
enum world_call {
	WORLD_OPEN,
	WORLD_PREAD,
	WORLD_WRITE,
	WORLD_SYNC,
	WORLD_BEGIN_SYNC,
	WORLD_TRUNCATE,
	WORLD_UNLINK,
	WORLD_RENAME,
	WORLD_CALLS,
};

struct world {
	char dir[64];
	struct hc_file_config config;
	struct hc_file *file;
	/* models: names m0, m1, … ; id is the number in the order of interning */
	struct {
		char name[16];
		_Atomic uint32_t epoch;
	} models[WORLD_MODELS];
	_Atomic uint32_t models_n;
	_Atomic uint32_t generation;
	_Atomic int64_t owners; /* appended and not released */
};

/* A new directory under /tmp (or TMPDIR), small segments. Not opened. */
void world_init(struct world *world, uint64_t max_bytes, uint32_t segment_bytes);
/* Closes, removes the directory. */
void world_fini(struct world *world);
enum hc_status world_open(struct world *world, struct hc_file_failure *failure);
void world_close(struct world *world);
/* As after kill -9: nothing more reaches the disk, not even of what was appended; then open again can follow. Models'
 * epochs are forgotten, as a new process would have. */
void world_kill(struct world *world);
/* Closes properly, forgets the epochs. */
void world_restart(struct world *world);
uint32_t world_model(struct world *world, const char *name);

/* ---- the system ---- */

extern const struct hc_file_io world_io;

/* The n-th call of that kind from now on fails (0: none), and the `more` after it. err 0 of a write: half of it. */
void world_fail(enum world_call call, long n, long more, int err);
/* True while faults of that kind are still to come. */
bool world_failing(enum world_call call);
void world_heal(void);
/* After so many more bytes written, writes stop in the midst, and all changes after that are pretended. */
void world_stop_after(int64_t bytes);
/* They stop here. */
void world_stop(void);
void world_slow(long write_us, long read_us);
/* The next unlinks take so long. */
void world_slow_unlinks(long us);
long world_calls(enum world_call call);
/* The most bytes of all segments that a power cut would have taken away when one was unlinked; since it was asked last.
 */
uint64_t world_unsynced_at_unlink(void);
/* The bytes of the longest call of that kind so far: WORLD_WRITE, WORLD_BEGIN_SYNC. */
uint64_t world_longest(enum world_call call);

/* ---- shorthand ---- */

struct world_value {
	char *bytes; /* malloc'ed; NULL: none */
	size_t len;
	int64_t expire_ms;
	uint32_t model;
};

/* Appends; key and value are copied into an owner. */
enum hc_status world_put(struct world *world, const char *key, const void *value, size_t len, int64_t expire_ms,
    uint32_t model, uint64_t *mark);
enum hc_status world_put_str(struct world *world, const char *key, const char *value);
enum hc_status world_delete(struct world *world, const char *key, uint64_t *mark);
enum hc_status world_expire(struct world *world, const char *key, int64_t expire_ms, uint64_t *mark);
/* Counts the epoch (the generation) up, then appends. */
uint64_t world_clear_model(struct world *world, uint32_t model);
uint64_t world_clear_all(struct world *world);
/* Waits for the mark, up to ten seconds; true: it came. */
bool world_wait(struct world *world, uint64_t mark);
/* All that was appended so far. */
bool world_sync(struct world *world);
/* Waits until it is loaded; until it is not off. */
bool world_loaded(struct world *world);
bool world_on(struct world *world);
/* Reads and waits; HC_OK: *out has the value. */
enum hc_status world_get(struct world *world, const char *key, struct world_value *out);
/* HC_OK and equal to the string; or HC_MISS for NULL. */
bool world_holds(struct world *world, const char *key, const char *value);
/* The directory as a whole: its files, and itself. */
void world_remove(const char *dir);
/* All files of one to another, which is made when missing. */
void world_copy(const char *from, const char *to);
/* Of all files in the directory. */
uint64_t world_disk_bytes(struct world *world);
struct hc_file_stats world_stats(struct world *world);

#endif
