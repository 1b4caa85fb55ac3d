/*
 * Replies. One thread: the request's worker.
 */
#include "command/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include "base/out.h"
#include "command/req.h"
#include "proto/resp_reply.h"

/* Values from here on are sent from where they lie: a reference costs about as much as copying so many bytes. */
#define REFERENCE_MIN 16384
#define ERROR_MAX 1024

void
hc_reply_simple(struct hc_req *req, const char *text)
{
	size_t len = strlen(text);
	char *dst = hc_out_reserve(req->out, len + 3);

	if (dst == NULL)
		return;
	dst[0] = '+';
	memcpy(dst + 1, text, len);
	memcpy(dst + 1 + len, "\r\n", 2);
	hc_out_commit(req->out, len + 3);
}

void
hc_reply_ok(struct hc_req *req)
{
	char *dst = hc_out_reserve(req->out, 5);

	if (dst == NULL)
		return;
	memcpy(dst, "+OK\r\n", 5);
	hc_out_commit(req->out, 5);
}

/* Each element's writer wants the same: room, the bytes, how many they are. */
#define PUT_TO(out, room, call)                            \
	do {                                               \
		char *dst = hc_out_reserve((out), (room)); \
		if (dst != NULL)                           \
			hc_out_commit((out), (call));      \
	} while (0)
#define PUT(req, room, call) PUT_TO((req)->out, (room), (call))

void
hc_reply_int(struct hc_req *req, int64_t value)
{
	PUT(req, HC_RESP_HEAD_MAX, hc_resp_put_int(dst, value));
}

void
hc_reply_double(struct hc_req *req, double value)
{
	PUT(req, HC_RESP_DOUBLE_MAX, hc_resp_put_double(dst, value, req->resp));
}

void
hc_reply_bool(struct hc_req *req, bool value)
{
	PUT(req, HC_RESP_HEAD_MAX, hc_resp_put_bool(dst, value, req->resp));
}

static void
put_bulk(struct hc_out *out, const void *ptr, size_t len)
{
	if (len <= HC_OUT_CHUNK / 4) {
		PUT_TO(out, HC_RESP_HEAD_MAX + len + 2, hc_resp_put_bulk(dst, hc_slice(ptr, len)));
		return;
	}
	PUT_TO(out, HC_RESP_HEAD_MAX, hc_resp_put_bulk_head(dst, len));
	hc_out_append(out, ptr, len);
	hc_out_append(out, "\r\n", 2);
}

void
hc_reply_bulk(struct hc_req *req, const void *ptr, size_t len)
{
	put_bulk(req->out, ptr, len);
}

void
hc_reply_slice(struct hc_req *req, struct hc_slice slice)
{
	hc_reply_bulk(req, slice.ptr, slice.len);
}

void
hc_reply_str(struct hc_req *req, const char *str)
{
	hc_reply_bulk(req, str, strlen(str));
}

void
hc_reply_strf(struct hc_req *req, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	hc_reply_bulk(req, text, len);
}

void
hc_reply_verbatim(struct hc_req *req, const char *ptr, size_t len)
{
	PUT(req, HC_RESP_HEAD_MAX, hc_resp_put_verbatim_head(dst, len, "txt", req->resp));
	hc_out_append(req->out, ptr, len);
	hc_out_append(req->out, "\r\n", 2);
}

static void
release_entry(void *arg)
{
	hc_entry_unref(arg);
}

void
hc_reply_value_to(struct hc_out *out, struct hc_entry *entry)
{
	struct hc_slice value = hc_entry_value(entry);

	if (value.len < REFERENCE_MIN) {
		put_bulk(out, value.ptr, value.len);
		return;
	}
	PUT_TO(out, HC_RESP_HEAD_MAX, hc_resp_put_bulk_head(dst, value.len));
	hc_entry_ref(entry);
	hc_out_reference(out, value.ptr, value.len, release_entry, entry);
	hc_out_append(out, "\r\n", 2);
}

void
hc_reply_value(struct hc_req *req, struct hc_entry *entry)
{
	hc_reply_value_to(req->out, entry);
}

void
hc_reply_null(struct hc_req *req)
{
	PUT(req, HC_RESP_HEAD_MAX, hc_resp_put_null(dst, req->resp));
}

void
hc_reply_null_array(struct hc_req *req)
{
	PUT(req, HC_RESP_HEAD_MAX, hc_resp_put_null_array(dst, req->resp));
}

void
hc_reply_array(struct hc_req *req, size_t n)
{
	PUT(req, HC_RESP_HEAD_MAX, hc_resp_put_array_head(dst, n));
}

void
hc_reply_map(struct hc_req *req, size_t pairs)
{
	PUT(req, HC_RESP_HEAD_MAX, hc_resp_put_map_head(dst, pairs, req->resp));
}

void
hc_reply_set(struct hc_req *req, size_t n)
{
	PUT(req, HC_RESP_HEAD_MAX, hc_resp_put_set_head(dst, n, req->resp));
}

void
hc_reply_error_slice(struct hc_req *req, struct hc_slice text)
{
	hc_stats_count(req->worker->stats, errors_replied);
	req->failed = true;
	PUT(req, ERROR_MAX, hc_resp_put_error(dst, ERROR_MAX, text));
}

void
hc_reply_error(struct hc_req *req, const char *text)
{
	hc_reply_error_slice(req, hc_slice_str(text));
}

void
hc_reply_errorf(struct hc_req *req, const char *format, ...)
{
	char text[ERROR_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	hc_reply_error(req, text);
}

void
hc_reply_syntax_error(struct hc_req *req)
{
	hc_reply_error(req, "ERR syntax error");
}

void
hc_reply_arity_error(struct hc_req *req)
{
	char name[64];

	hc_command_full_name(req->command, name);
	hc_reply_errorf(req, "ERR wrong number of arguments for '%s' command", name);
}

void
hc_reply_wrongtype(struct hc_req *req)
{
	hc_reply_error(req, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

void
hc_reply_nomem(struct hc_req *req)
{
	hc_reply_error(req, "OOM out of memory");
}

void
hc_reply_old(struct hc_req *req)
{
	const struct hc_op *op = &req->ops[0];

	if (hc_req_op_failed(req, op))
		return;
	if (op->old != NULL)
		hc_reply_value(req, op->old);
	else
		hc_reply_null(req);
}

void
hc_reply_length(struct hc_req *req)
{
	const struct hc_req_value *value = &req->values[0];

	if (value->status == HC_WRONGTYPE)
		hc_reply_wrongtype(req);
	else
		hc_reply_int(req, value->entry != NULL ? (int64_t)hc_entry_value_len(value->entry) : 0);
}
