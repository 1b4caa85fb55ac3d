/*
 * The arguments of a command as COMMAND DOCS tells them: made from the `syntax` of its row, so that they cannot differ
 * from the reference.
 *
 *     syntax       = sequence { "|" sequence }
 *     sequence     = { WORD in capitals: a token, which what follows belongs to | word: a value | "[" syntax "]" }
 *     "[a b ...]"  behind "a b": those once or more often
 */
#ifndef HC_COMMAND_SYNTAX_H
#define HC_COMMAND_SYNTAX_H

struct hc_command;
struct hc_req;

/* Replies with an array of maps, one for each argument, nested where there are choices. Any thread. */
void hc_reply_syntax(struct hc_req *req, const struct hc_command *row);

#endif
