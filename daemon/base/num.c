/*
 * Numbers and glob patterns in text that came from outside. Pure functions: any thread, no state,
 * no allocation.
 */
#include "base/num.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned char
lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c + ('a' - 'A')) : c;
}

bool
hc_num_u64(struct hc_slice text, uint64_t *out)
{
	if (text.len == 0 || text.len > 20)
		return false;
	if (text.ptr[0] == '0' && text.len > 1)
		return false;

	uint64_t num = 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned)(unsigned char)text.ptr[i] - '0';
		if (digit > 9)
			return false;
		if (__builtin_mul_overflow(num, 10, &num) || __builtin_add_overflow(num, digit, &num))
			return false;
	}
	*out = num;
	return true;
}

bool
hc_num_i64(struct hc_slice text, int64_t *out)
{
	bool negative = text.len > 0 && text.ptr[0] == '-';
	uint64_t num;

	if (negative) {
		text.ptr++;
		text.len--;
	}
	if (!hc_num_u64(text, &num))
		return false;
	if (!negative) {
		if (num > INT64_MAX)
			return false;
		*out = (int64_t)num;
		return true;
	}
	if (num == 0 || num > (uint64_t)INT64_MAX + 1)
		return false;
	*out = -(int64_t)(num - 1) - 1; /* INT64_MIN has no positive counterpart */
	return true;
}

bool
hc_num_float(struct hc_slice text, long double *out)
{
	char copy[HC_NUM_FLOAT_CAP];
	char *end;

	if (text.len == 0 || text.len >= sizeof(copy) || strchr(" \t\n\v\f\r", text.ptr[0]) != NULL)
		return false;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	errno = 0;
	long double value = strtold(copy, &end);
	if (end != copy + text.len || isnan(value))
		return false;
	if (errno == ERANGE && (isinf(value) || fpclassify(value) == FP_ZERO))
		return false;
	*out = value;
	return true;
}

size_t
hc_num_put_float(char dst[static HC_NUM_FLOAT_CAP], long double value)
{
	/* There is always a point, so the zeros taken away are behind it. */
	int n = snprintf(dst, HC_NUM_FLOAT_CAP, "%.17Lf", value);
	size_t len = n > 0 ? (size_t)n : 0;

	while (len > 0 && dst[len - 1] == '0')
		len--;
	if (len > 0 && dst[len - 1] == '.')
		len--;
	if (len == 2 && memcmp(dst, "-0", 2) == 0) {
		dst[0] = '0';
		len = 1;
	}
	return len;
}

bool
hc_slice_is(struct hc_slice text, const char *word)
{
	size_t i = 0;

	/* A NUL in the text never equals a byte of the word, and ends the word before it is run
	 * over. */
	for (; i < text.len; i++) {
		if (word[i] == '\0' || lower((unsigned char)text.ptr[i]) != lower((unsigned char)word[i]))
			return false;
	}
	return word[i] == '\0';
}

/* A pattern being read from `at` on. */
struct glob {
	const unsigned char *pattern;
	size_t len;
	bool ignore_case;
};

static bool
same(const struct glob *glob, unsigned char a, unsigned char b)
{
	return glob->ignore_case ? lower(a) == lower(b) : a == b;
}

static bool
in_range(const struct glob *glob, unsigned char from, unsigned char to, unsigned char c)
{
	if (from > to) {
		unsigned char swap = from;
		from = to;
		to = swap;
	}
	if (glob->ignore_case)
		return lower(c) >= lower(from) && lower(c) <= lower(to);
	return c >= from && c <= to;
}

/*
 * One class, `*at` behind its '['; moves behind its ']'. As in Redis a class that is never closed
 * ends with the pattern, a first ']' closes it, and a range runs to whatever follows the '-', even
 * to ']'.
 */
static bool
match_class(const struct glob *glob, size_t *at, unsigned char c)
{
	const unsigned char *p = glob->pattern;
	size_t i = *at;
	bool negated = i < glob->len && p[i] == '^';
	bool match = false;

	if (negated)
		i++;
	while (i < glob->len && p[i] != ']') {
		if (p[i] == '\\' && glob->len - i >= 2) {
			match |= p[i + 1] == c;
			i += 2;
		} else if (glob->len - i >= 3 && p[i + 1] == '-') {
			match |= in_range(glob, p[i], p[i + 2], c);
			i += 3;
		} else {
			match |= same(glob, p[i], c);
			i++;
		}
	}
	*at = i < glob->len ? i + 1 : i;
	return match != negated;
}

/* One element of the pattern that is no star against one byte; moves `*at` behind the element. */
static bool
match_one(const struct glob *glob, size_t *at, unsigned char c)
{
	unsigned char p = glob->pattern[(*at)++];

	if (p == '?')
		return true;
	if (p == '[')
		return match_class(glob, at, c);
	if (p == '\\' && *at < glob->len)
		p = glob->pattern[(*at)++];
	return same(glob, p, c);
}

/*
 * Every element but the star takes exactly one byte, so when a match fails only the last star needs
 * to be tried one byte further on: what earlier stars could take more of, the last one can as well.
 * The work is at most pattern × text, without recursion.
 *
 * Unlike Redis a star also matches the empty text (Redis answers KEYS * before it comes to
 * matching), and bytes are unsigned in ranges on all machines.
 */
bool
hc_glob(struct hc_slice pattern, struct hc_slice text, bool ignore_case)
{
	uint64_t steps = UINT64_MAX;

	return hc_glob_within(pattern, text, ignore_case, &steps);
}

/* Takes n of the steps; false when these were the last. */
static bool
spend(uint64_t *steps, uint64_t n)
{
	*steps -= n < *steps ? n : *steps;
	return *steps > 0;
}

bool
hc_glob_within(struct hc_slice pattern, struct hc_slice text, bool ignore_case, uint64_t *steps)
{
	const struct glob glob = {(const unsigned char *)pattern.ptr, pattern.len, ignore_case};
	size_t at = 0, i = 0;
	size_t star_at = SIZE_MAX, star_i = 0; /* behind the last star; where what follows it was tried */

	while (i < text.len) {
		if (at < glob.len && glob.pattern[at] == '*') {
			star_at = ++at;
			star_i = i;
			if (at == glob.len)
				return spend(steps, at);
			continue;
		}
		if (at < glob.len && match_one(&glob, &at, (unsigned char)text.ptr[i])) {
			i++;
			continue;
		}
		if (!spend(steps, at + 1 - (star_at == SIZE_MAX ? 0 : star_at)) || star_at == SIZE_MAX)
			return false;
		at = star_at;
		i = ++star_i;
	}
	while (at < glob.len && glob.pattern[at] == '*')
		at++;
	return spend(steps, at + 1) && at == glob.len;
}
