/*
 * Commands about the own connection: PING ECHO QUIT RESET HELLO AUTH SELECT. Worker threads, each
 * for its own requests.
 */
#include "base/num.h"
#include "base/version.h"
#include "command/connection.h"
#include "command/handlers.h"
#include "command/pairs.h"
#include "command/req.h"
#include "command/text.h"

#define PASSWORD_MAX 512 /* bytes of server.password */
#define WRONGPASS "WRONGPASS invalid username-password pair or user is disabled."

void
hc_cmd_ping(struct hc_req *req)
{
	if (req->argc > 2)
		hc_reply_arity_error(req);
	else if (req->argc == 2)
		hc_reply_slice(req, req->argv[1]);
	else
		hc_reply_simple(req, "PONG");
}

void
hc_cmd_echo(struct hc_req *req)
{
	hc_reply_slice(req, req->argv[1]);
}

void
hc_cmd_quit(struct hc_req *req)
{
	req->session->close_after_reply = true;
	hc_reply_ok(req);
}

/* ---- passwords ---- */

struct password {
	char text[PASSWORD_MAX + 1]; /* zeroed behind its end */
	size_t len;
};

static void
password_get(struct hc_req *req, struct password *out)
{
	*out = (struct password){0};
	out->len = hc_settings_string(
	    req->worker->shared->settings, HC_SETTING_ID_server_password, out->text, sizeof(out->text));
}

/* In the same time whatever the guess and however much of it is right. */
static bool
password_is(const struct password *password, struct hc_slice guess)
{
	unsigned char padded[PASSWORD_MAX + 1] = {0};
	volatile unsigned differs = guess.len != password->len;

	memcpy(padded, guess.len ? guess.ptr : "", guess.len < PASSWORD_MAX ? guess.len : PASSWORD_MAX);
	for (size_t i = 0; i < sizeof(padded); i++)
		differs |= padded[i] ^ (unsigned char)password->text[i];
	return differs == 0;
}

/* Without a password anything goes for the user `default`, as for Redis's nopass. */
static bool
authenticate(struct hc_req *req, struct hc_slice user, struct hc_slice guess)
{
	struct password password;

	password_get(req, &password);
	bool right = password.len == 0 || password_is(&password, guess);
	if (!hc_slice_eq(user, HC_SLICE("default")) || !right) {
		hc_reply_error(req, WRONGPASS);
		return false;
	}
	req->session->authenticated = true;
	return true;
}

void
hc_cmd_auth(struct hc_req *req)
{
	struct hc_slice user = HC_SLICE("default");
	struct password password;

	if (req->argc > 3) {
		hc_reply_syntax_error(req);
		return;
	}
	password_get(req, &password);
	if (req->argc == 2 && password.len == 0) {
		hc_reply_error(req, "ERR AUTH <password> called without any password configured for the "
				    "default user. Are you sure your configuration is correct?");
		return;
	}
	if (req->argc == 3)
		user = req->argv[1];
	if (authenticate(req, user, req->argv[req->argc - 1]))
		hc_reply_ok(req);
}

void
hc_cmd_reset(struct hc_req *req)
{
	struct password password;

	password_get(req, &password);
	hc_session_reset(req->session, password.len == 0);
	req->resp = req->session->resp;
	hc_req_speak(req);
	hc_reply_simple(req, "RESET");
}

/* ---- HELLO ---- */

static bool
hello_version(struct hc_req *req, int *resp)
{
	int64_t version;

	if (!hc_num_i64(req->argv[1], &version)) {
		hc_reply_error(req, "ERR Protocol version is not an integer or out of range");
		return false;
	}
	if (version < 2 || version > 3) {
		hc_reply_error(req, "NOPROTO unsupported protocol version");
		return false;
	}
	*resp = (int)version;
	return true;
}

/* As in Redis each option takes effect when it is met: what comes before a mistake is done. */
static bool
hello_options(struct hc_req *req)
{
	for (uint32_t i = 2; i < req->argc; i++) {
		uint32_t more = req->argc - 1 - i;
		if (hc_req_arg_is(req, i, "AUTH") && more >= 2) {
			if (!authenticate(req, req->argv[i + 1], req->argv[i + 2]))
				return false;
			i += 2;
		} else if (hc_req_arg_is(req, i, "SETNAME") && more >= 1) {
			if (!hc_connection_set_name(req, req->argv[i + 1]))
				return false;
			i++;
		} else {
			hc_reply_errorf(req, "ERR Syntax error in HELLO option '%.*s'", hc_text_shown(req->argv[i]),
			    req->argv[i].ptr);
			return false;
		}
	}
	return true;
}

void
hc_cmd_hello(struct hc_req *req)
{
	int resp = req->session->resp;

	if (req->argc > 1 && (!hello_version(req, &resp) || !hello_options(req)))
		return;
	if (!req->session->authenticated) {
		hc_reply_error(req, "NOAUTH HELLO must be called with the client already authenticated, otherwise "
				    "the HELLO AUTH <user> <pass> option can be used to authenticate the client "
				    "and "
				    "select the RESP protocol version at the same time");
		return;
	}
	req->session->resp = resp;
	atomic_store_explicit(&req->session->shown_resp, (uint32_t)resp, memory_order_relaxed);
	req->resp = resp;

	hc_reply_map(req, 7);
	hc_pair_str(req, "server", "harcad");
	hc_pair_str(req, "version", HC_REDIS_VERSION);
	hc_reply_str(req, "proto");
	hc_reply_int(req, resp);
	hc_reply_str(req, "id");
	hc_reply_int(req, (int64_t)req->session->id);
	hc_pair_str(req, "mode", "standalone");
	hc_pair_str(req, "role", "master");
	hc_reply_str(req, "modules");
	hc_reply_array(req, 0);
}

void
hc_cmd_select(struct hc_req *req)
{
	int64_t index;

	if (!hc_req_arg_int(req, 1, &index))
		return;
	if (index != 0)
		hc_reply_error(req, "ERR DB index is out of range");
	else
		hc_reply_ok(req);
}
