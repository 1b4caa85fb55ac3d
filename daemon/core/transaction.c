/*
 * Transactions. One thread: the link's; each is its own allocation until EXEC has been answered.
 */
#include "core/transaction.h"

#include "base/mem.h"

struct transaction {
	hc_link_reply_fn *fn;
	void *arg;
	size_t sent; /* and not answered yet */
	bool broken; /* EXEC was not sent: the connection goes */
	char *error; /* why one of them was not queued; the first */
};

static void
finish(struct transaction *transaction, enum hc_status status, const redisReply *reply)
{
	transaction->fn(transaction->arg, status, reply);
	hc_free(transaction->error);
	hc_free(transaction);
}

static void
on_queued(void *arg, enum hc_status status, const redisReply *reply)
{
	struct transaction *transaction = arg;

	transaction->sent--;
	if (status == HC_OK && reply->type == REDIS_REPLY_ERROR && transaction->error == NULL)
		transaction->error = hc_strndup(reply->str, (size_t)reply->len);
	if (transaction->broken && transaction->sent == 0)
		finish(transaction, HC_DOWN, NULL);
}

static void
on_exec(void *arg, enum hc_status status, const redisReply *reply)
{
	struct transaction *transaction = arg;

	if (status == HC_OK && reply->type == REDIS_REPLY_ERROR && transaction->error != NULL) {
		redisReply error = {.type = REDIS_REPLY_ERROR, .str = transaction->error};
		error.len = strlen(error.str);
		finish(transaction, HC_OK, &error);
		return;
	}
	finish(transaction, status, reply);
}

static enum hc_status
send_one(struct hc_link *link, const struct hc_slice *argv, size_t argc, hc_link_reply_fn *fn,
    struct transaction *transaction)
{
	enum hc_status status = hc_link_send(link, argv, argc, fn, transaction);

	transaction->sent += status == HC_OK;
	return status;
}

enum hc_status
hc_transaction_send(struct hc_link *link, const struct hc_command *commands, size_t n, hc_link_reply_fn *fn, void *arg)
{
	const struct hc_slice multi = HC_SLICE("MULTI"), exec = HC_SLICE("EXEC");
	struct transaction *transaction = hc_calloc(1, sizeof(*transaction));

	if (transaction == NULL)
		return HC_NOMEM;
	transaction->fn = fn;
	transaction->arg = arg;
	enum hc_status status = send_one(link, &multi, 1, on_queued, transaction);
	for (size_t i = 0; status == HC_OK && i < n; i++)
		status = send_one(link, commands[i].argv, commands[i].argc, on_queued, transaction);
	if (status == HC_OK)
		status = send_one(link, &exec, 1, on_exec, transaction);
	if (status == HC_OK)
		return HC_OK;
	if (transaction->sent == 0) {
		hc_free(transaction);
		return status;
	}
	transaction->broken = true;
	hc_link_reconnect(link, "a transaction could not be sent whole");
	return HC_OK;
}
