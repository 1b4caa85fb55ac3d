/* Lists of keys in files; see warm_list.h. */
#include "core/warm_list.h"

#include <errno.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

static void
log_unreadable(const char *path)
{
	struct hc_log_quoted quoted;

	hc_log(HC_LOG_WARN, "warmup_list_unreadable", "path=%s error=%s", hc_log_quote(&quoted, path, strlen(path)),
	    strerrorname_np(errno));
}

/* Whole lines only: what a limit has cut through is no key. */
static void
count_lines(struct hc_warm_list *list, bool is_cut)
{
	const char *at = list->bytes, *end;

	if (is_cut) {
		const char *last = memrchr(list->bytes, '\n', list->len);
		list->len = last != NULL ? (size_t)(last - list->bytes) : 0;
	}
	for (end = list->bytes + list->len; at < end; at++) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		if (line_end == NULL)
			line_end = end;
		list->n += line_end > at;
		at = line_end;
	}
}

/* HC_ERROR (errno), HC_NOMEM. */
static enum hc_status
read_all(struct hc_warm_list *list, FILE *from)
{
	size_t cap = 0, n;

	do {
		if (list->len == cap) {
			cap = cap == 0 ? 65536 : cap * 2;
			char *bytes = hc_realloc(list->bytes, cap);
			if (bytes == NULL)
				return HC_NOMEM;
			list->bytes = bytes;
		}
		n = fread(list->bytes + list->len, 1, cap - list->len, from);
		list->len += n;
	} while (n > 0 && list->len < HC_WARM_LIST_BYTES);
	return ferror(from) ? HC_ERROR : HC_OK;
}

void
hc_warm_list_read(struct hc_warm_list *list, const char *dir, const char *name)
{
	char path[4096];

	*list = (struct hc_warm_list){0};
	snprintf(path, sizeof(path), "%s%s%s", dir != NULL ? dir : "", dir != NULL ? "/" : "", name);
	FILE *from = fopen(path, "re");
	if (from == NULL) {
		if (errno != ENOENT || dir == NULL)
			log_unreadable(path);
		return;
	}
	enum hc_status status = read_all(list, from);
	if (status != HC_OK) {
		log_unreadable(path);
		hc_warm_list_fini(list);
	} else {
		count_lines(list, list->len >= HC_WARM_LIST_BYTES);
	}
	fclose(from);
}

void
hc_warm_list_fini(struct hc_warm_list *list)
{
	hc_free(list->bytes);
	*list = (struct hc_warm_list){0};
}

static int
hex_value(char c)
{
	const char *digits = "0123456789abcdef", *at = c != '\0' ? strchr(digits, c | 0x20) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

static size_t
unescape(char *line, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		int high = -1, low = -1;
		if (line[i] == '\\' && len - i >= 4 && line[i + 1] == 'x') {
			high = hex_value(line[i + 2]);
			low = hex_value(line[i + 3]);
		}
		if (high >= 0 && low >= 0) {
			line[out++] = (char)(high * 16 + low);
			i += 3;
		} else {
			line[out++] = line[i];
		}
	}
	return out;
}

bool
hc_warm_list_next(struct hc_warm_list *list, size_t *at, struct hc_slice *key)
{
	while (*at < list->len) {
		char *line = list->bytes + *at, *end = memchr(line, '\n', list->len - *at);
		size_t len = end != NULL ? (size_t)(end - line) : list->len - *at;
		*at += len + 1;
		if (len > 0) {
			*key = hc_slice(line, unescape(line, len));
			return true;
		}
	}
	return false;
}

void
hc_warm_list_put(FILE *to, struct hc_slice key)
{
	for (size_t i = 0; i < key.len; i++) {
		unsigned char c = (unsigned char)key.ptr[i];
		if (c < ' ' || c > '~' || c == '\\')
			fprintf(to, "\\x%02x", c);
		else
			fputc(c, to);
	}
	fputc('\n', to);
}
