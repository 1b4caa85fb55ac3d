/*
 * What is in a directory, told from the files alone, newest segment first: that is the order in which it is known what
 * is alive. Its own index is the same as the tier's. One thread, the caller's; nothing is written.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/mem.h"
#include "file/inspect.h"
#include "file/internal.h"

enum {
	SOUND = 0,
	DAMAGED = 1,
	UNREADABLE = 2,
};

struct model {
	char *name;
	size_t len;
	uint32_t epoch;          /* the highest met */
	uint64_t records, bytes; /* live ones */
};

struct inspection {
	FILE *to;
	const char *path;
	int dir;
	struct hc_tier tier;
	uint64_t *seqs;
	size_t n;
	struct hc_index *index; /* keys met: all newer than what comes */
	struct model *models;
	size_t models_n;
	bool cleared; /* a CLEAR_ALL was met: what is older is dead */
	int64_t now_ms;
	uint64_t live, live_bytes, dead, damaged, foreign;
};

/* One segment. */
struct report {
	struct hc_scan scan;
	uint64_t values, tombstones, live, live_bytes;
	size_t *models; /* by number of the group; SIZE_MAX: not known */
	uint32_t models_n;
	bool *current;
};

/* ---- models ---- */

static size_t
model_of(struct inspection *all, struct hc_slice name)
{
	struct model *grown;

	for (size_t i = 0; i < all->models_n; i++)
		if (hc_slice_eq(name, hc_slice(all->models[i].name, all->models[i].len)))
			return i;
	grown = hc_realloc(all->models, (all->models_n + 1) * sizeof(*grown));
	if (grown == NULL)
		return SIZE_MAX;
	all->models = grown;
	grown[all->models_n] = (struct model){.name = hc_strndup(name.ptr, name.len), .len = name.len};
	return grown[all->models_n].name == NULL ? SIZE_MAX : all->models_n++;
}

/* A STATE tells epochs of models, which may have no records here. */
static void
on_record(void *arg, const struct hc_record *record)
{
	struct inspection *all = arg;
	struct hc_slice left = record->body, name;
	uint32_t epoch;

	while (record->type == HC_RECORD_STATE && hc_state_next(&left, &name, &epoch)) {
		size_t model = model_of(all, name);
		if (model != SIZE_MAX && epoch > all->models[model].epoch)
			all->models[model].epoch = epoch;
	}
}

static bool
know_models(struct inspection *all, struct report *report)
{
	const struct hc_lines *lines = &report->scan.lines;
	struct hc_slice name;
	uint32_t epoch, n = 0;

	report->models = hc_malloc((lines->groups_n + 1) * sizeof(*report->models));
	report->current = hc_calloc(lines->groups_n + 1, sizeof(*report->current));
	if (report->models == NULL || report->current == NULL)
		return false;
	for (uint32_t at = 0; hc_lines_group(lines, &at, &name, &epoch) && n < lines->groups_n; n++) {
		size_t model = name.len == 0 ? SIZE_MAX : model_of(all, name);
		report->models[n] = model;
		if (model != SIZE_MAX && epoch > all->models[model].epoch)
			all->models[model].epoch = epoch;
	}
	report->models_n = n;
	n = 0;
	for (uint32_t at = 0; hc_lines_group(lines, &at, &name, &epoch) && n < report->models_n; n++)
		report->current[n] = report->models[n] != SIZE_MAX && epoch == all->models[report->models[n]].epoch;
	return true;
}

/* ---- what is alive ---- */

static void
judge_value(struct inspection *all, struct report *report, const struct hc_entry_line *line, uint32_t bytes)
{
	bool live = line->group < report->models_n && report->current[line->group] && line->expire_ms > all->now_ms;

	report->values++;
	if (!live || all->cleared)
		return;
	struct model *model = &all->models[report->models[line->group]];
	model->records++;
	model->bytes += bytes;
	report->live++;
	report->live_bytes += bytes;
}

/* HC_NOMEM, or HC_OK. */
static enum hc_status
judge_line(struct inspection *all, struct report *report, struct hc_entry_line *line, uint32_t bytes)
{
	struct hc_index_part *part = hc_index_lock(all->index, line->hash);
	struct hc_index_item there, old;
	bool found = hc_index_find(part, line->hash, &there);
	bool expiry = found && there.kind == HC_INDEX_EXPIRY;
	enum hc_status status = hc_index_reserve(part);

	if (status == HC_OK && (!found || expiry)) {
		struct hc_index_item mark = {.hash = line->hash, .expire_ms = line->expire_ms, .kind = HC_INDEX_GONE};
		if (line->type == HC_RECORD_EXPIRE)
			mark = expiry ? there
				      : (struct hc_index_item){
					    .hash = line->hash, .expire_ms = line->expire_ms, .kind = HC_INDEX_EXPIRY};
		hc_index_put(part, &mark, &old);
	}
	hc_index_unlock(part);
	if (line->type != HC_RECORD_VALUE) {
		report->tombstones++;
	} else if (found && !expiry) {
		report->values++;
	} else {
		line->expire_ms = expiry ? there.expire_ms : line->expire_ms;
		judge_value(all, report, line, bytes);
	}
	return status;
}

static enum hc_status
judge(struct inspection *all, struct report *report)
{
	const struct hc_lines *lines = &report->scan.lines;
	uint32_t end = report->scan.end;
	enum hc_status status = HC_OK;

	if (!know_models(all, report))
		return HC_NOMEM;
	for (uint32_t i = lines->n; i-- > 0 && status == HC_OK;) {
		struct hc_entry_line line;
		hc_line_decode(lines->lines + (size_t)i * HC_ENTRY_BYTES, &line);
		if (line.type == HC_RECORD_CLEAR_ALL)
			all->cleared = true;
		if (line.type <= HC_RECORD_EXPIRE)
			status = judge_line(all, report, &line, end - line.offset);
		end = line.offset;
	}
	return status;
}

/* ---- one segment ---- */

/* What is wrong with its index file, or NULL. */
static const char *
check_index(const struct inspection *all, uint64_t seq, const struct hc_scan *scan, bool newest)
{
	struct hc_lines lines = {0};
	uint32_t end = 0;
	const char *wrong = NULL;

	switch (hc_lines_read(&hc_file_io_system, all->dir, all->tier.secret, seq, &lines, &end)) {
	case HC_OK:
		if (end != scan->end || lines.n != scan->lines.n ||
		    (lines.n > 0 && memcmp(lines.lines, scan->lines.lines, (size_t)lines.n * HC_ENTRY_BYTES) != 0))
			wrong = "index says otherwise";
		break;
	case HC_MISS:
		wrong = newest ? NULL : "no index";
		break;
	default:
		wrong = "index damaged";
	}
	hc_lines_fini(&lines);
	return wrong;
}

static int
open_segment(const struct inspection *all, uint64_t seq, uint64_t *bytes, const char **wrong)
{
	uint8_t head[HC_SEGMENT_HEAD];
	struct hc_segment_head decoded;
	struct stat st;
	char name[40];
	int fd;

	hc_segment_name(name, seq, "log");
	fd = openat(all->dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	*bytes = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	if (pread(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	    hc_segment_decode(all->tier.secret, head, &decoded) != HC_OK || decoded.seq != seq)
		*wrong = "head damaged";
	return fd;
}

static void
print_segment(struct inspection *all, uint64_t seq, uint64_t bytes, const struct report *report, const char *head,
    const char *index)
{
	const struct hc_scan *scan = &report->scan;

	fprintf(all->to,
	    "segment %012" PRIx64 "  bytes %" PRIu64 "  records %" PRIu64 "  values %" PRIu64 "  live %" PRIu64
	    " (%" PRIu64 " bytes)  dead %" PRIu64 "  tombstones %" PRIu64 "  models %u",
	    seq, bytes, scan->records, report->values, report->live, report->live_bytes, report->values - report->live,
	    report->tombstones, report->models_n);
	if (head != NULL)
		fprintf(all->to, "  DAMAGED: %s", head);
	if (scan->damaged > 0)
		fprintf(
		    all->to, "  DAMAGED: %" PRIu64 " places, %" PRIu64 " bytes", scan->damaged, scan->skipped_bytes);
	if (index != NULL)
		fprintf(all->to, "  DAMAGED: %s", index);
	if (scan->tail > 0)
		fprintf(all->to, "  %s: %u bytes at the end", seq == all->seqs[all->n - 1] ? "unfinished" : "DAMAGED",
		    scan->tail);
	fputc('\n', all->to);
}

static int
inspect_segment(struct inspection *all, uint64_t seq)
{
	struct report report = {.scan = {.on_record = on_record, .arg = all}};
	bool newest = seq == all->seqs[all->n - 1];
	const char *head = NULL, *index;
	uint64_t bytes;
	int fd = open_segment(all, seq, &bytes, &head), outcome = SOUND;

	if (fd < 0) {
		/* Reclaimed meanwhile, by the daemon that has the directory. */
		fprintf(all->to, "segment %012" PRIx64 "  %s\n", seq, strerror(errno));
		return errno == ENOENT ? SOUND : DAMAGED;
	}
	enum hc_status status = hc_scan_segment(&hc_file_io_system, fd, all->tier.secret, seq, &report.scan);
	index = check_index(all, seq, &report.scan, newest);
	if (status == HC_OK)
		status = judge(all, &report);
	if (status != HC_OK) {
		fprintf(all->to, "segment %012" PRIx64 "  cannot be read: %s\n", seq, hc_status_name(status));
		outcome = DAMAGED;
	} else {
		print_segment(all, seq, bytes, &report, head, index);
	}
	if (head != NULL || index != NULL || report.scan.damaged > 0 || (report.scan.tail > 0 && !newest))
		outcome = DAMAGED;
	all->live += report.live;
	all->live_bytes += report.live_bytes;
	all->dead += report.values - report.live;
	close(fd);
	hc_lines_fini(&report.scan.lines);
	hc_free(report.models);
	hc_free(report.current);
	return outcome;
}

/* ---- the directory ---- */

static int
by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool
list_segments(struct inspection *all)
{
	int fd = openat(all->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	bool whole = dir != NULL;
	char suffix[4];
	uint64_t seq;

	while (whole && (entry = readdir(dir)) != NULL) {
		if (!hc_segment_is_ours(all->dir, entry, &seq, suffix)) {
			all->foreign += hc_segment_is_foreign(entry->d_name);
		} else if (strcmp(suffix, "log") == 0) {
			uint64_t *grown = hc_realloc(all->seqs, (all->n + 1) * sizeof(*grown));
			whole = grown != NULL;
			all->seqs = whole ? grown : all->seqs;
			if (whole)
				grown[all->n++] = seq;
		}
	}
	if (dir != NULL)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
	if (whole && all->n > 0)
		qsort(all->seqs, all->n, sizeof(*all->seqs), by_number);
	return whole;
}

/*
 * Who has that file locked, 0: nobody. The kernel's list tells, and to read it is in nobody's way: a lock tried here
 * could keep a daemon from starting just then, and the pid in the file outlives its process.
 */
static long
locked_by(const struct stat *st)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[128];
	long holder = 0;

	while (holder == 0 && locks != NULL && fgets(line, sizeof(line), locks) != NULL) {
		unsigned high, low;
		unsigned long inode;
		long pid;
		if (sscanf(line, "%*d: FLOCK %*s %*s %ld %x:%x:%lu", &pid, &high, &low, &inode) == 4 &&
		    inode == st->st_ino && high == major(st->st_dev) && low == minor(st->st_dev))
			holder = pid;
	}
	if (locks != NULL)
		fclose(locks);
	return holder;
}

static void
tell_holder(struct inspection *all)
{
	struct stat st;
	long pid = fstatat(all->dir, HC_LOCK_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 ? locked_by(&st) : 0;

	if (pid != 0)
		fprintf(all->to, "in use by process %ld: what it writes meanwhile is not told\n", pid);
}

/* SOUND: the directory can be read. */
static int
read_tier(struct inspection *all)
{
	uint8_t bytes[HC_TIER_BYTES];
	int fd = openat(all->dir, HC_TIER_NAME, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : pread(fd, bytes, sizeof(bytes), 0);

	if (fd >= 0)
		close(fd);
	if (got >= 16 && hc_format_is_newer(bytes)) {
		fprintf(all->to, "%s is of a newer format than this program knows\n", all->path);
		return UNREADABLE;
	}
	if (got != (ssize_t)sizeof(bytes) || hc_tier_decode(bytes, &all->tier) != HC_OK) {
		fprintf(all->to,
		    "%s/%s is missing or damaged: nothing can be verified, and a daemon would begin anew\n", all->path,
		    HC_TIER_NAME);
		return UNREADABLE;
	}
	if (!all->tier.trusted)
		fprintf(all->to, "marked as outdated by a fault: a daemon that starts will empty it\n");
	return SOUND;
}

static void
sum_up(struct inspection *all)
{
	for (size_t i = 0; i < all->models_n; i++)
		fprintf(all->to, "model %.*s  epoch %u  live %" PRIu64 " (%" PRIu64 " bytes)\n",
		    (int)all->models[i].len, all->models[i].name, all->models[i].epoch, all->models[i].records,
		    all->models[i].bytes);
	fprintf(all->to,
	    "segments %zu  live %" PRIu64 " (%" PRIu64 " bytes)  dead %" PRIu64 "  foreign files %" PRIu64
	    "  damaged segments %" PRIu64 "\n",
	    all->n, all->live, all->live_bytes, all->dead, all->foreign, all->damaged);
}

static int
inspect_all(struct inspection *all)
{
	int outcome = read_tier(all);

	if (outcome != SOUND)
		return outcome;
	tell_holder(all);
	if (hc_index_create(&all->index) != HC_OK || !list_segments(all)) {
		fprintf(all->to, "%s: %s\n", all->path, strerror(errno));
		return UNREADABLE;
	}
	for (size_t i = all->n; i-- > 0;)
		all->damaged += inspect_segment(all, all->seqs[i]) != SOUND;
	sum_up(all);
	return all->damaged > 0 ? DAMAGED : SOUND;
}

int
hc_file_inspect(const char *dir, FILE *to)
{
	struct inspection all = {.to = to, .path = dir, .now_ms = hc_clock_wall_ms()};
	int outcome;

	all.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (all.dir < 0) {
		fprintf(to, "%s: %s\n", dir, strerror(errno));
		return UNREADABLE;
	}
	outcome = inspect_all(&all);
	hc_index_destroy(all.index);
	for (size_t i = 0; i < all.models_n; i++)
		hc_free(all.models[i].name);
	hc_free(all.models);
	hc_free(all.seqs);
	close(all.dir);
	return outcome;
}
