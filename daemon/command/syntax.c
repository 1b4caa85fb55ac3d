/*
 * Arguments out of `syntax`: read into a small tree on the stack, which is then replied. See syntax.h.
 */
#include "command/syntax.h"

#include <assert.h>
#include <ctype.h>
#include "base/num.h"
#include "command/pairs.h"
#include "command/req.h"

#define NODES_MAX 48
#define NONE (-1)

enum node_kind { NODE_VALUE, NODE_TOKEN, NODE_CHOICE, NODE_BLOCK };

struct node {
	enum node_kind kind;
	struct hc_slice name;  /* of a value; the token itself of a NODE_TOKEN */
	struct hc_slice token; /* in front of a value or a block; empty: none */
	bool optional, multiple;
	int child, next;
};

struct parser {
	const char *at;
	struct node nodes[NODES_MAX];
	int n;
};

/* Nodes in order, linked by next. */
struct list {
	int first, last, n;
};

static const struct list empty = {NONE, NONE, 0};

static int
new_node(struct parser *parser, enum node_kind kind, struct hc_slice name)
{
	assert(parser->n < NODES_MAX); /* rows are ours, and a test reads all of them */
	parser->nodes[parser->n] = (struct node){.kind = kind, .name = name, .child = NONE, .next = NONE};
	return parser->n++;
}

static void
append(struct parser *parser, struct list *list, int node)
{
	if (list->last == NONE)
		list->first = node;
	else
		parser->nodes[list->last].next = node;
	list->last = node;
	list->n++;
}

/* The last n of the list become the children of one node. */
static int
wrap_last(struct parser *parser, struct list *list, int n, enum node_kind kind)
{
	int node = new_node(parser, kind, hc_slice_str(kind == NODE_CHOICE ? "choice" : "block"));
	int before = NONE, first = list->first;

	for (int i = 0; i < list->n - n; i++) {
		before = first;
		first = parser->nodes[first].next;
	}
	parser->nodes[node].child = first;
	if (before == NONE)
		list->first = node;
	else
		parser->nodes[before].next = node;
	list->last = node;
	list->n -= n - 1;
	return node;
}

/* One node for all of a list. */
static int
as_one(struct parser *parser, struct list *list)
{
	return list->n == 1 ? list->first : wrap_last(parser, list, list->n, NODE_BLOCK);
}

static void
skip_blanks(struct parser *parser)
{
	while (*parser->at == ' ')
		parser->at++;
}

static struct hc_slice
take_word(struct parser *parser)
{
	size_t len = strcspn(parser->at, " []|");
	struct hc_slice word = hc_slice(parser->at, len);

	parser->at += len;
	skip_blanks(parser);
	return word;
}

static bool
is_token(const char *word)
{
	return isupper((unsigned char)word[0]);
}

static bool
is_value(const char *word)
{
	return islower((unsigned char)word[0]);
}

/* A token, with the values behind it. */
static int
parse_token(struct parser *parser)
{
	struct hc_slice token = take_word(parser);
	struct list values = empty;

	while (is_value(parser->at))
		append(parser, &values, new_node(parser, NODE_VALUE, take_word(parser)));
	if (values.n == 0)
		return new_node(parser, NODE_TOKEN, token);
	int node = as_one(parser, &values);
	parser->nodes[node].token = token;
	return node;
}

static struct list parse_choices(struct parser *parser, bool *repeats);

/* "[ … ]", behind what the list has already. */
static void
parse_brackets(struct parser *parser, struct list *list)
{
	bool repeats = false;

	parser->at++;
	skip_blanks(parser);
	struct list inside = parse_choices(parser, &repeats);
	assert(*parser->at == ']');
	parser->at++;
	skip_blanks(parser);
	int node;
	if (repeats) {
		node = inside.n == 1 ? list->last : wrap_last(parser, list, inside.n, NODE_BLOCK);
		parser->nodes[node].multiple = true;
		return;
	}
	node = as_one(parser, &inside);
	parser->nodes[node].optional = true;
	append(parser, list, node);
}

static struct list
parse_sequence(struct parser *parser, bool *repeats)
{
	struct list list = empty;

	while (*parser->at != '\0' && *parser->at != '|' && *parser->at != ']') {
		if (*parser->at == '[') {
			parse_brackets(parser, &list);
		} else if (*parser->at == '.') {
			(void)take_word(parser);
			*repeats = true;
		} else if (is_token(parser->at)) {
			append(parser, &list, parse_token(parser));
		} else {
			append(parser, &list, new_node(parser, NODE_VALUE, take_word(parser)));
		}
	}
	return list;
}

static struct list
parse_choices(struct parser *parser, bool *repeats)
{
	struct list first = parse_sequence(parser, repeats);

	if (*parser->at != '|')
		return first;
	struct list choices = empty;
	append(parser, &choices, as_one(parser, &first));
	while (*parser->at == '|') {
		parser->at++;
		skip_blanks(parser);
		struct list more = parse_sequence(parser, repeats);
		append(parser, &choices, as_one(parser, &more));
	}
	(void)wrap_last(parser, &choices, choices.n, NODE_CHOICE);
	return choices;
}

/* ---- the reply ---- */

static const char *
type_of_value(struct hc_slice name)
{
	static const struct {
		const char *name, *type;
	} known[] = {
	    {"key", "key"},
	    {"newkey", "key"},
	    {"source", "key"},
	    {"destination", "key"},
	    {"pattern", "pattern"},
	    {"unix-time-seconds", "unix-time"},
	    {"unix-time-milliseconds", "unix-time"},
	    {"seconds", "integer"},
	    {"milliseconds", "integer"},
	    {"count", "integer"},
	    {"cursor", "integer"},
	    {"offset", "integer"},
	    {"start", "integer"},
	    {"end", "integer"},
	    {"index", "integer"},
	    {"client-id", "integer"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (hc_slice_is(name, known[i].name))
			return known[i].type;
	}
	return "string";
}

static const char *
type_of(const struct node *node)
{
	switch (node->kind) {
	case NODE_TOKEN:
		return "pure-token";
	case NODE_CHOICE:
		return "oneof";
	case NODE_BLOCK:
		return "block";
	case NODE_VALUE:
		break;
	}
	return type_of_value(node->name);
}

static void
reply_name(struct hc_req *req, const struct node *node)
{
	char name[64];
	size_t len = node->name.len < sizeof(name) ? node->name.len : sizeof(name);

	for (size_t i = 0; i < len; i++)
		name[i] = (char)tolower((unsigned char)node->name.ptr[i]);
	hc_reply_str(req, "name");
	hc_reply_bulk(req, name, len);
}

static void
reply_flags(struct hc_req *req, const struct node *node)
{
	hc_reply_str(req, "flags");
	hc_reply_set(req, (size_t)node->optional + (size_t)node->multiple);
	if (node->optional)
		hc_reply_simple(req, "optional");
	if (node->multiple)
		hc_reply_simple(req, "multiple");
}

static void
reply_list(struct hc_req *req, const struct parser *parser, int first, bool has_keys)
{
	size_t n = 0;

	for (int i = first; i != NONE; i = parser->nodes[i].next)
		n++;
	hc_reply_array(req, n);
	for (int i = first; i != NONE; i = parser->nodes[i].next) {
		const struct node *node = &parser->nodes[i];
		const char *type = type_of(node);
		bool key = has_keys && strcmp(type, "key") == 0;
		struct hc_slice token = node->kind == NODE_TOKEN ? node->name : node->token;
		bool flags = node->optional || node->multiple;

		hc_reply_map(req, 2 + (size_t)key + (token.len > 0) + (size_t)flags + (size_t)(node->child != NONE));
		reply_name(req, node);
		hc_pair_str(req, "type", type);
		if (key)
			hc_pair_int(req, "key_spec_index", 0);
		if (token.len > 0)
			hc_pair_slice(req, "token", token);
		if (flags)
			reply_flags(req, node);
		if (node->child != NONE) {
			hc_reply_str(req, "arguments");
			reply_list(req, parser, node->child, has_keys);
		}
	}
}

void
hc_reply_syntax(struct hc_req *req, const struct hc_command *row)
{
	struct parser parser = {.at = row->syntax, .n = 0};
	bool repeats = false;
	struct list list = parse_choices(&parser, &repeats);

	assert(*parser.at == '\0');
	reply_list(req, &parser, list.first, row->first_key > 0);
}
