/*
 * Parses upstream URLs. No I/O, no state; any thread. The caller owns the strings of a struct
 * hc_url.
 */
#include "upstream/url.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include "base/mem.h"
#include "base/num.h"
#include "proto/slice.h"

#define DEFAULT_PORT 6379
#define SHOWN_MAX 512

static const char *const no_user_alone = "a user needs a password: write user:password@, or :password@ without a user";

static bool
starts_with(struct hc_slice text, const char *prefix)
{
	size_t len = strlen(prefix);

	return text.len >= len && memcmp(text.ptr, prefix, len) == 0;
}

static struct hc_slice
skip(struct hc_slice text, size_t len)
{
	return hc_slice(text.ptr + len, text.len - len);
}

/* Cuts `text` before the first of `stops`; `rest` begins with it, or is empty. */
static struct hc_slice
cut(struct hc_slice text, const char *stops, struct hc_slice *rest)
{
	size_t len = 0;

	while (len < text.len && strchr(stops, text.ptr[len]) == NULL)
		len++;
	*rest = skip(text, len);
	return hc_slice(text.ptr, len);
}

static enum hc_status
invalid(const char **why, const char *sentence)
{
	*why = sentence;
	return HC_INVALID;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static enum hc_status
decode_percent(struct hc_slice text, char **out, const char **why)
{
	char *dst = hc_malloc(text.len + 1);
	size_t n = 0;

	if (dst == NULL)
		return HC_NOMEM;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '%') {
			int high = text.len - i > 2 ? hex_digit(text.ptr[i + 1]) : -1;
			int low = text.len - i > 2 ? hex_digit(text.ptr[i + 2]) : -1;

			if (high < 0 || low < 0 || (high == 0 && low == 0)) {
				hc_free(dst);
				return invalid(why, "a % in user or password must begin an escape like %40");
			}
			c = (char)(high << 4 | low);
			i += 2;
		}
		dst[n++] = c;
	}
	dst[n] = '\0';
	*out = dst;
	return HC_OK;
}

/* "[user]:password"; `:` alone is no password. */
static enum hc_status
parse_credentials(struct hc_slice text, struct hc_url *url, const char **why)
{
	struct hc_slice password;
	struct hc_slice user = cut(text, ":", &password);
	enum hc_status status = HC_OK;

	if (password.len == 0)
		return invalid(why, no_user_alone);
	password = skip(password, 1);
	if (user.len != 0)
		status = decode_percent(user, &url->user, why);
	if (status == HC_OK && (user.len != 0 || password.len != 0))
		status = decode_percent(password, &url->password, why);
	return status;
}

/* Takes "credentials@" off the front of `text`, if it is there. */
static enum hc_status
take_credentials(struct hc_slice *text, struct hc_url *url, const char **why)
{
	struct hc_slice rest;
	struct hc_slice authority = cut(*text, "/", &rest);
	const char *at = authority.len == 0 ? NULL : memrchr(authority.ptr, '@', authority.len);
	enum hc_status status;

	if (at == NULL)
		return HC_OK;
	status = parse_credentials(hc_slice(text->ptr, (size_t)(at - text->ptr)), url, why);
	if (status == HC_OK)
		*text = skip(*text, (size_t)(at - text->ptr) + 1);
	return status;
}

static bool
is_host_char(char c, bool bracketed)
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return true;
	return c != '\0' && strchr(bracketed ? ":.%-_" : ".-_", c) != NULL;
}

/* "name", "1.2.3.4" or "[::1]"; `rest` is what follows. The brackets are not kept. */
static enum hc_status
take_host(struct hc_slice text, struct hc_url *url, struct hc_slice *rest, const char **why)
{
	bool bracketed = text.len != 0 && text.ptr[0] == '[';
	struct hc_slice host = cut(bracketed ? skip(text, 1) : text, bracketed ? "]" : ":/?", rest);

	if (bracketed && rest->len == 0)
		return invalid(why, "the ] of an IPv6 address is missing");
	if (bracketed)
		*rest = skip(*rest, 1);
	if (host.len == 0)
		return invalid(why, "the host is missing");
	for (size_t i = 0; i < host.len; i++) {
		if (!is_host_char(host.ptr[i], bracketed))
			return invalid(why, "the host holds a character that hosts cannot have");
	}
	if (host.len > 255)
		return invalid(why, "the host is longer than 255 characters");
	url->host = hc_strndup(host.ptr, host.len);
	return url->host == NULL ? HC_NOMEM : HC_OK;
}

/* ":port" or nothing. */
static enum hc_status
take_port(struct hc_slice *text, struct hc_url *url, const char **why)
{
	struct hc_slice rest;
	uint64_t port;

	url->port = DEFAULT_PORT;
	if (text->len == 0 || text->ptr[0] != ':')
		return HC_OK;
	if (!hc_num_u64(cut(skip(*text, 1), "/?", &rest), &port) || port == 0 || port > 65535)
		return invalid(why, "the port must be a number from 1 to 65535");
	url->port = (int)port;
	*text = rest;
	return HC_OK;
}

static enum hc_status
parse_db(struct hc_slice text, struct hc_url *url, const char **why)
{
	uint64_t db;

	if (!hc_num_u64(text, &db) || db > INT32_MAX)
		return invalid(why, "the database must be a number from 0");
	url->db = (int)db;
	return HC_OK;
}

/* What follows redis:// */
static enum hc_status
parse_tcp(struct hc_slice text, struct hc_url *url, const char **why)
{
	enum hc_status status = take_credentials(&text, url, why);

	if (status == HC_OK)
		status = take_host(text, url, &text, why);
	if (status == HC_OK)
		status = take_port(&text, url, why);
	if (status != HC_OK || text.len == 0)
		return status;
	if (text.ptr[0] != '/')
		return invalid(why, "after the port only /db may follow");
	text = skip(text, 1);
	return text.len == 0 ? HC_OK : parse_db(text, url, why);
}

/* What follows unix: or unix:// */
static enum hc_status
parse_unix(struct hc_slice text, struct hc_url *url, const char **why)
{
	struct hc_slice query;
	struct hc_slice path;
	enum hc_status status = take_credentials(&text, url, why);

	if (status != HC_OK)
		return status;
	path = cut(text, "?", &query);
	if (path.len < 2 || path.ptr[0] != '/')
		return invalid(why, "the socket's path must be absolute: unix:/path");
	if (path.len >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return invalid(why, "the socket's path is longer than 107 characters");
	if (query.len != 0) {
		if (!starts_with(query, "?db="))
			return invalid(why, "after the socket's path only ?db=N may follow");
		status = parse_db(skip(query, strlen("?db=")), url, why);
	}
	if (status != HC_OK)
		return status;
	url->path = hc_strndup(path.ptr, path.len);
	return url->path == NULL ? HC_NOMEM : HC_OK;
}

static enum hc_status
parse_host_port(struct hc_slice text, struct hc_url *url, const char **why)
{
	struct hc_slice rest;
	enum hc_status status = take_host(text, url, &rest, why);

	if (status != HC_OK)
		return status;
	if (rest.len == 0)
		return invalid(why, "the port is missing: write host:port or redis://host");
	status = take_port(&rest, url, why);
	if (status == HC_OK && rest.len != 0)
		return invalid(why, "after host:port nothing may follow: write redis://host:port/db");
	return status;
}

static enum hc_status
make_shown(struct hc_url *url)
{
	char text[SHOWN_MAX];
	char db[24] = "";

	if (url->path != NULL) {
		if (url->db != 0)
			snprintf(db, sizeof(db), "?db=%d", url->db);
		snprintf(text, sizeof(text), "unix:%s%s", url->path, db);
	} else {
		bool v6 = strchr(url->host, ':') != NULL;

		if (url->db != 0)
			snprintf(db, sizeof(db), "/%d", url->db);
		snprintf(
		    text, sizeof(text), "redis://%s%s%s:%d%s", v6 ? "[" : "", url->host, v6 ? "]" : "", url->port, db);
	}
	url->shown = hc_strdup(text);
	return url->shown == NULL ? HC_NOMEM : HC_OK;
}

static enum hc_status
parse(struct hc_slice text, struct hc_url *url, const char **why)
{
	if (starts_with(text, "redis://"))
		return parse_tcp(skip(text, strlen("redis://")), url, why);
	if (starts_with(text, "unix://"))
		return parse_unix(skip(text, strlen("unix://")), url, why);
	if (starts_with(text, "unix:"))
		return parse_unix(skip(text, strlen("unix:")), url, why);
	if (starts_with(text, "rediss://"))
		return invalid(why, "rediss:// (TLS) is not supported");
	if (memmem(text.ptr, text.len, "://", 3) != NULL)
		return invalid(why, "unknown scheme: write redis://, unix: or host:port");
	return parse_host_port(text, url, why);
}

enum hc_status
hc_url_parse(const char *text, struct hc_url *out, const char **why)
{
	struct hc_url url = {0};
	enum hc_status status = parse(hc_slice_str(text), &url, why);

	if (status == HC_OK)
		status = make_shown(&url);
	if (status != HC_OK) {
		hc_url_fini(&url);
		return status;
	}
	*out = url;
	return HC_OK;
}

void
hc_url_fini(struct hc_url *url)
{
	hc_free(url->host);
	hc_free(url->path);
	hc_free(url->user);
	if (url->password != NULL)
		explicit_bzero(url->password, strlen(url->password));
	hc_free(url->password);
	hc_free(url->shown);
	memset(url, 0, sizeof(*url));
}
