/* What the upstream's COMMAND says of its commands, taken out of its answers and looked up. */
#include "core/catalog.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"

#define SLOTS 256u          /* power of two */
#define COMMANDS_MAX 1024u  /* a server with all its modules has half as many */
#define NAME_MAX_BYTES 128u /* of a command and its subcommand */

struct hc_catalog {
	size_t n;
	struct hc_remote_command *slots[SLOTS];
};

enum hc_status
hc_catalog_create(struct hc_catalog **out)
{
	struct hc_catalog *catalog = hc_calloc(1, sizeof(*catalog));

	if (catalog == NULL)
		return HC_NOMEM;
	*out = catalog;
	return HC_OK;
}

void
hc_catalog_forget(struct hc_catalog *catalog)
{
	for (size_t i = 0; i < SLOTS; i++) {
		while (catalog->slots[i] != NULL) {
			struct hc_remote_command *next = catalog->slots[i]->next;
			hc_free(catalog->slots[i]);
			catalog->slots[i] = next;
		}
	}
	catalog->n = 0;
}

void
hc_catalog_destroy(struct hc_catalog *catalog)
{
	if (catalog == NULL)
		return;
	hc_catalog_forget(catalog);
	hc_free(catalog);
}

/* ---- look-up ---- */

static unsigned
slot_of(const char *name)
{
	unsigned h = 5381;

	for (; *name != '\0'; name++)
		h = h * 33 + (unsigned char)*name;
	return h & (SLOTS - 1);
}

static const struct hc_remote_command *
find(const struct hc_catalog *catalog, const char *name)
{
	const struct hc_remote_command *command = catalog->slots[slot_of(name)];

	while (command != NULL && strcmp(command->name, name) != 0)
		command = command->next;
	return command;
}

/* A server that compares names as C strings may say that it knows "ping\0", if hashes fall together. */
bool
hc_catalog_is_name(struct hc_slice word)
{
	return word.len > 0 && word.len < NAME_MAX_BYTES && memchr(word.ptr, '\0', word.len) == NULL;
}

const struct hc_remote_command *
hc_catalog_find(const struct hc_catalog *catalog, const struct hc_slice *argv, size_t argc)
{
	char name[2 * NAME_MAX_BYTES];

	if (!hc_catalog_is_name(argv[0]))
		return NULL;
	size_t len = 0;
	for (; len < argv[0].len; len++)
		name[len] = (char)tolower((unsigned char)argv[0].ptr[len]);
	name[len] = '\0';
	const struct hc_remote_command *command = find(catalog, name);
	if (command == NULL || !(command->flags & HC_REMOTE_CONTAINER) || argc < 2 || !hc_catalog_is_name(argv[1]))
		return command;
	name[len++] = '|';
	for (size_t i = 0; i < argv[1].len; i++)
		name[len++] = (char)tolower((unsigned char)argv[1].ptr[i]);
	name[len] = '\0';
	const struct hc_remote_command *sub = find(catalog, name);
	return sub != NULL ? sub : command;
}

/* ---- what COMMAND INFO says ---- */

static bool
is_text(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

static bool
says(const redisReply *reply, const char *word)
{
	return is_text(reply) && strcasecmp(reply->str, word) == 0;
}

static bool
lists(const redisReply *list, const char *word)
{
	for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i < list->elements; i++) {
		if (says(list->element[i], word))
			return true;
	}
	return false;
}

/* The value of a field of a map, which RESP2 has as a list; NULL. */
static const redisReply *
field(const redisReply *map, const char *name)
{
	for (size_t i = 0; map != NULL && map->type == REDIS_REPLY_ARRAY && i + 1 < map->elements; i += 2) {
		if (says(map->element[i], name))
			return map->element[i + 1];
	}
	return NULL;
}

static int
number(const redisReply *map, const char *name)
{
	const redisReply *value = field(map, name);

	return value != NULL && value->type == REDIS_REPLY_INTEGER ? (int)value->integer : 0;
}

static bool
take_begin(const redisReply *begin, struct hc_key_spec *spec)
{
	const redisReply *type = field(begin, "type"), *how = field(begin, "spec");

	if (type == NULL || how == NULL)
		return false;
	if (says(type, "index")) {
		spec->start = number(how, "index");
		return true;
	}
	const redisReply *keyword = field(how, "keyword");
	if (!says(type, "keyword") || keyword == NULL || !is_text(keyword) ||
	    (size_t)keyword->len >= sizeof(spec->keyword))
		return false;
	memcpy(spec->keyword, keyword->str, (size_t)keyword->len + 1);
	spec->start = number(how, "startfrom");
	return true;
}

static bool
take_range(const redisReply *range, struct hc_key_spec *spec)
{
	const redisReply *type = field(range, "type"), *how = field(range, "spec");

	if (type == NULL || how == NULL)
		return false;
	spec->step = number(how, "keystep");
	spec->last = number(how, "lastkey");
	spec->limit = number(how, "limit");
	spec->counted = says(type, "keynum");
	spec->count_at = number(how, "keynumidx");
	spec->first = number(how, "firstkey");
	return (spec->counted || says(type, "range")) && spec->step > 0;
}

static void
take_specs(const redisReply *specs, struct hc_remote_command *command)
{
	if (specs->type != REDIS_REPLY_ARRAY || specs->elements > HC_KEY_SPECS_MAX)
		return;
	for (size_t i = 0; i < specs->elements; i++) {
		const redisReply *flags = field(specs->element[i], "flags");
		struct hc_key_spec *spec = &command->specs[command->n_specs];
		if (flags != NULL && lists(flags, "not_key"))
			continue;
		if (!take_begin(field(specs->element[i], "begin_search"), spec) ||
		    !take_range(field(specs->element[i], "find_keys"), spec))
			return;
		command->n_specs++;
	}
	command->flags |= HC_REMOTE_SPECS;
}

static unsigned
flags_of(const redisReply *info)
{
	static const struct {
		const char *word;
		unsigned flag;
	} words[] = {{"readonly", HC_REMOTE_READS}, {"admin", HC_REMOTE_ADMIN}, {"pubsub", HC_REMOTE_PUBSUB},
	    {"movablekeys", HC_REMOTE_MOVABLE}, {"blocking", HC_REMOTE_BLOCKS}},
	  categories[] = {
	      {"@string", HC_REMOTE_STRINGS}, {"@bitmap", HC_REMOTE_STRINGS}, {"@hyperloglog", HC_REMOTE_STRINGS}};
	unsigned flags = 0;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		flags |= lists(info->element[2], words[i].word) ? words[i].flag : 0;
	for (size_t i = 0; info->elements > 6 && i < sizeof(categories) / sizeof(categories[0]); i++)
		flags |= lists(info->element[6], categories[i].word) ? categories[i].flag : 0;
	return flags;
}

static bool
is_info(const redisReply *info)
{
	if (info->type != REDIS_REPLY_ARRAY || info->elements < 6 || !is_text(info->element[0]) ||
	    (size_t)info->element[0]->len >= NAME_MAX_BYTES || info->element[2]->type != REDIS_REPLY_ARRAY)
		return false;
	for (size_t i = 1; i < 6; i++) {
		if (i != 2 && info->element[i]->type != REDIS_REPLY_INTEGER)
			return false;
	}
	return true;
}

enum hc_status
hc_catalog_take(struct hc_catalog *catalog, const redisReply *info)
{
	if (!is_info(info))
		return HC_INVALID;
	if (catalog->n >= COMMANDS_MAX)
		hc_catalog_forget(catalog);
	size_t len = (size_t)info->element[0]->len;
	struct hc_remote_command *command = hc_calloc(1, sizeof(*command) + len + 1);
	if (command == NULL)
		return HC_NOMEM;
	for (size_t i = 0; i < len; i++)
		command->name[i] = (char)tolower((unsigned char)info->element[0]->str[i]);
	command->flags = flags_of(info);
	command->arity = (int)info->element[1]->integer;
	command->first = (int)info->element[3]->integer;
	command->last = (int)info->element[4]->integer;
	command->step = (int)info->element[5]->integer;
	if (info->elements > 8)
		take_specs(info->element[8], command);
	const redisReply *subs = info->elements > 9 ? info->element[9] : NULL;
	if (subs != NULL && subs->type == REDIS_REPLY_ARRAY && subs->elements > 0)
		command->flags |= HC_REMOTE_CONTAINER;
	unsigned slot = slot_of(command->name);
	command->next = catalog->slots[slot];
	catalog->slots[slot] = command;
	catalog->n++;
	enum hc_status status = HC_OK;
	for (size_t i = 0; status == HC_OK && (command->flags & HC_REMOTE_CONTAINER) && i < subs->elements; i++)
		status = hc_catalog_take(catalog, subs->element[i]);
	return status;
}
