/* What is not passed on to the upstream, and why. No state. */
#include <string.h>
#include "base/num.h"
#include "core/pass.h"

struct rule {
	const char *name;
	const char *word; /* "": always */
	size_t from;
	enum hc_pass_reason reason;
};

static const struct rule rules[] = {
#define HC_NOT_PASSED(name, word, from, reason) {#name, word, from, reason},
#include "not_passed.def"
#undef HC_NOT_PASSED
};

const char *
hc_pass_reason_text(enum hc_pass_reason reason)
{
	static const char *const texts[HC_PASS_REASONS] = {
	    [HC_PASS_OK] = "",
	    [HC_PASS_BLOCKS] = "it may wait there, and all clients of this daemon would wait with it",
	    [HC_PASS_PUBSUB] = "the connection to the upstream is shared by all clients: subscribe and publish there",
	    [HC_PASS_SERVER] = "it is about the upstream as a whole, which is shared",
	    [HC_PASS_STATE] = "it changes the state of the connection to the upstream, which all clients share",
	    [HC_PASS_NO_KEYS] = "it names no key",
	    [HC_PASS_PATTERNS] = "BY and GET name keys by patterns, which cannot be given upstream.prefix",
	    [HC_PASS_UNCLEAR] = "the upstream does not tell which of its arguments are keys",
	    [HC_PASS_ARITY] = "it has not as many arguments as it must",
	    [HC_PASS_SYNTAX] = "its keys are not where the upstream says they are",
	    [HC_PASS_SUBCOMMAND] = "the upstream knows no such subcommand",
	    [HC_PASS_TOO_MANY] = "it has too many keys (upstream.keys_max)",
	    [HC_PASS_OWN] = "the key is one of the fleet's own",
	};
	return texts[reason];
}

/* Whether the word is among the arguments, up to where XREAD's streams begin. */
static bool
has_word(const struct rule *rule, const struct hc_slice *argv, size_t argc)
{
	for (size_t i = rule->from; i < argc && !hc_slice_is(argv[i], "streams"); i++) {
		if (hc_slice_is(argv[i], rule->word))
			return true;
	}
	return false;
}

/* SORT's other keys: a pattern without a star names none. */
static bool
has_patterns(const struct hc_slice *argv, size_t argc)
{
	if (!hc_slice_is(argv[0], "sort") && !hc_slice_is(argv[0], "sort_ro"))
		return false;
	for (size_t i = 2; i + 1 < argc; i++) {
		if ((hc_slice_is(argv[i], "by") || hc_slice_is(argv[i], "get")) && argv[i + 1].len > 0 &&
		    memchr(argv[i + 1].ptr, '*', argv[i + 1].len) != NULL)
			return true;
	}
	return false;
}

enum hc_pass_reason
hc_pass_refuses(const struct hc_remote_command *command, const struct hc_slice *argv, size_t argc, bool prefixed)
{
	bool waits = command->flags & HC_REMOTE_BLOCKS; /* those that do so for one word only have a row */

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (!hc_slice_is(argv[0], rules[i].name))
			continue;
		if (rules[i].word[0] == '\0' || has_word(&rules[i], argv, argc))
			return rules[i].reason;
		waits = false;
	}
	if (waits)
		return HC_PASS_BLOCKS;
	if (command->flags & HC_REMOTE_PUBSUB)
		return HC_PASS_PUBSUB;
	if (command->flags & HC_REMOTE_ADMIN)
		return HC_PASS_SERVER;
	if (command->flags & HC_REMOTE_CONTAINER)
		return HC_PASS_SUBCOMMAND;
	bool fits = command->arity >= 0 ? argc == (size_t)command->arity : argc >= (size_t)-command->arity;
	if (!fits)
		return HC_PASS_ARITY;
	return prefixed && has_patterns(argv, argc) ? HC_PASS_PATTERNS : HC_PASS_OK;
}

/* What clients ask to be able to call scripts by their SHA, and where the keys of a command are. */
bool
hc_pass_needs_no_keys(const struct hc_slice *argv, size_t argc)
{
	if (argc < 2)
		return false;
	if (hc_slice_is(argv[0], "command"))
		return hc_slice_is(argv[1], "getkeys");
	return hc_slice_is(argv[0], "script") && (hc_slice_is(argv[1], "load") || hc_slice_is(argv[1], "exists"));
}
