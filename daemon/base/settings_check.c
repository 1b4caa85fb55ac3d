/*
 * What no single row of the table can tell: that the settings make sense together, and addresses.
 * Any thread: the settings checked are the caller's own.
 */
#include "base/settings_private.h"

#include <string.h>
#include "base/num.h"

static bool
parse_port(struct hc_slice text, int *out)
{
	uint64_t port;

	if (!hc_num_u64(text, &port) || port > 65535)
		return false;
	*out = (int)port;
	return true;
}

/* Splits "host:port" or "[v6]:port"; without a colon all of it is the port. */
static bool
split_address(struct hc_slice text, struct hc_slice *host, struct hc_slice *port)
{
	const char *bracket = text.len ? memchr(text.ptr, ']', text.len) : NULL;
	const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
	const char *end = text.ptr + text.len;

	*host = hc_slice("", 0);
	*port = text;
	if (!colon)
		return true;
	*port = hc_slice(colon + 1, (size_t)(end - colon) - 1);
	*host = hc_slice(text.ptr, (size_t)(colon - text.ptr));
	if (text.ptr[0] != '[') /* an IPv6 address without brackets could end anywhere */
		return host->len == 0 || (!memchr(host->ptr, ':', host->len) && !bracket);
	if (bracket != colon - 1)
		return false;
	*host = hc_slice(text.ptr + 1, host->len - 2);
	return host->len > 0;
}

bool
hc_settings_address(struct hc_slice text, struct hc_settings_address *out)
{
	struct hc_slice host, port;
	int number;

	if (!split_address(text, &host, &port) || !parse_port(port, &number))
		return false;
	if (host.len >= sizeof(out->host))
		return false;
	for (size_t i = 0; i < host.len; i++) {
		if (host.ptr[i] <= ' ' || host.ptr[i] == '/' || host.ptr[i] == 0x7f)
			return false;
	}
	memcpy(out->host, host.ptr, host.len);
	out->host[host.len] = '\0';
	out->port = number;
	return true;
}

/* One "address=model" of listen.models. */
static bool
pair_valid(struct hc_slice pair)
{
	const char *equals = memchr(pair.ptr, '=', pair.len);
	struct hc_settings_address address;

	if (!equals || equals == pair.ptr || equals == pair.ptr + pair.len - 1)
		return false;
	struct hc_slice where = hc_slice(pair.ptr, (size_t)(equals - pair.ptr));
	if (where.ptr[0] == '/') /* what fits sockaddr_un */
		return where.len > 1 && where.len < 108;
	return hc_settings_address(where, &address);
}

static enum hc_status
check_listen(const struct hc_settings *s, bool sockets_given, struct hc_settings_error *err)
{
	struct hc_settings_address address;
	const char *pair = s->listen_models;

	if (*s->listen_tcp && !hc_settings_address(hc_slice_str(s->listen_tcp), &address))
		return hc_setting_fail(err, "",
		    "listen.tcp: not an address; allowed: host:port, [IPv6]:port, a port, or "
		    "empty");
	while (pair += strspn(pair, " \t"), *pair) {
		size_t len = strcspn(pair, " \t");
		if (!pair_valid(hc_slice(pair, len)))
			return hc_setting_fail(err, "",
			    "listen.models: \"%.*s\" is not valid; allowed: address=model pairs "
			    "separated by "
			    "spaces, an address being host:port, [IPv6]:port, a port or an "
			    "absolute path",
			    (int)(len < 200 ? len : 200), pair);
		pair += len;
	}
	if (!*s->listen_tcp && !*s->listen_unix && !s->listen_models[strspn(s->listen_models, " \t")] && !sockets_given)
		return hc_setting_fail(
		    err, "", "listen: nothing to listen on; set listen.tcp, listen.unix or listen.models");
	return HC_OK;
}

enum hc_status
hc_settings_check(const struct hc_settings *settings, bool sockets_given, struct hc_settings_error *err)
{
	enum hc_status status = check_listen(settings, sockets_given, err);

	if (status != HC_OK)
		return status;
	if (settings->upstream_backoff_min > settings->upstream_backoff_max)
		return hc_setting_fail(err, "", "upstream.backoff_min: must not be longer than upstream.backoff_max");
	if (settings->client_output_pause > settings->client_output_max)
		return hc_setting_fail(err, "", "client.output_pause: must not be larger than client.output_max");
	if (!settings->memory_enabled && !*settings->upstream_url)
		return hc_setting_fail(err, "",
		    "memory.enabled: with \"no\" there is nowhere to keep entries; set "
		    "upstream.url");
	return HC_OK;
}
