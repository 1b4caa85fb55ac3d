/* Which arguments of a command are keys, by what the upstream's COMMAND says. No state. */
#include <string.h>
#include "base/num.h"
#include "core/catalog.h"

static bool
mark(bool *marks, size_t argc, int64_t at)
{
	if (at < 1 || at >= (int64_t)argc)
		return false;
	marks[at] = true;
	return true;
}

/* Where the search for keys begins; 0: the word is not there. */
static int64_t
begin_of(const struct hc_key_spec *spec, const struct hc_slice *argv, size_t argc)
{
	int64_t n = (int64_t)argc;

	if (spec->keyword[0] == '\0')
		return spec->start;
	if (spec->start >= 0) {
		for (int64_t i = spec->start; i < n - 1; i++) {
			if (hc_slice_is(argv[i], spec->keyword))
				return i + 1;
		}
		return 0;
	}
	for (int64_t i = n + spec->start; i > 0; i--) {
		if (hc_slice_is(argv[i], spec->keyword))
			return i + 1;
	}
	return 0;
}

static enum hc_status
mark_counted(const struct hc_key_spec *spec, int64_t begin, const struct hc_slice *argv, size_t argc, bool *marks)
{
	int64_t count_at = begin + spec->count_at, count;

	if (count_at < 1 || count_at >= (int64_t)argc || !hc_num_i64(argv[count_at], &count) || count < 0 ||
	    count > (int64_t)argc)
		return HC_INVALID;
	for (int64_t i = 0; i < count; i++) {
		if (!mark(marks, argc, begin + spec->first + i * spec->step))
			return HC_INVALID;
	}
	return HC_OK;
}

static enum hc_status
mark_range(int64_t begin, int64_t last, int step, size_t argc, bool *marks)
{
	if (last < begin)
		return HC_INVALID;
	for (int64_t i = begin; i <= last; i += step) {
		if (!mark(marks, argc, i))
			return HC_INVALID;
	}
	return HC_OK;
}

static enum hc_status
mark_spec(const struct hc_key_spec *spec, const struct hc_slice *argv, size_t argc, bool *marks)
{
	int64_t begin = begin_of(spec, argv, argc), n = (int64_t)argc;

	if (begin == 0)
		return HC_OK;
	if (spec->counted)
		return mark_counted(spec, begin, argv, argc, marks);
	int64_t last = begin + spec->last;
	if (spec->last < 0)
		last = spec->limit > 1 ? begin + (n - begin) / spec->limit + spec->last : n + spec->last;
	return mark_range(begin, last, spec->step, argc, marks);
}

enum hc_status
hc_remote_keys(const struct hc_remote_command *command, const struct hc_slice *argv, size_t argc, bool *marks)
{
	enum hc_status status = HC_OK;

	if (command->flags & HC_REMOTE_SPECS) {
		for (size_t i = 0; status == HC_OK && i < command->n_specs; i++)
			status = mark_spec(&command->specs[i], argv, argc, marks);
		return status;
	}
	if (command->flags & HC_REMOTE_MOVABLE)
		return HC_PENDING;
	if (command->first < 1)
		return HC_OK;
	int64_t last = command->last < 0 ? (int64_t)argc + command->last : command->last;
	return command->step > 0 ? mark_range(command->first, last, command->step, argc, marks) : HC_INVALID;
}

static size_t
count_args(struct hc_slice name, const struct hc_slice *argv, size_t argc, bool *marks)
{
	size_t n = 0;

	for (size_t i = 1; i < argc; i++) {
		if (hc_slice_eq(argv[i], name)) {
			marks[i] = true;
			n++;
		}
	}
	return n;
}

#define NAMES_MAX 256 /* each is compared with all */

static bool
are_names(const redisReply *names)
{
	if (names->type != REDIS_REPLY_ARRAY)
		return false;
	for (size_t i = 0; i < names->elements; i++) {
		if (names->element[i]->type != REDIS_REPLY_STRING)
			return false;
	}
	return true;
}

static size_t
count_names(const redisReply *names, struct hc_slice name)
{
	size_t n = 0;

	for (size_t i = 0; i < names->elements; i++)
		n += hc_slice_eq(hc_slice(names->element[i]->str, (size_t)names->element[i]->len), name);
	return n;
}

enum hc_status
hc_remote_keys_named(const redisReply *names, const struct hc_slice *argv, size_t argc, bool *marks)
{
	if (!are_names(names))
		return HC_INVALID;
	if (names->elements > NAMES_MAX)
		return HC_CONFLICT;
	for (size_t i = 0; i < names->elements; i++) {
		struct hc_slice name = hc_slice(names->element[i]->str, (size_t)names->element[i]->len);
		if (count_args(name, argv, argc, marks) != count_names(names, name))
			return HC_CONFLICT;
	}
	return HC_OK;
}
