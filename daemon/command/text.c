/* Texts for replies; see text.h. */
#include "command/text.h"

#include <stdlib.h>
#include "command/req.h"

FILE *
hc_text_begin(struct hc_req *req, struct hc_text *text)
{
	*text = (struct hc_text){0};
	text->file = open_memstream(&text->ptr, &text->len);
	if (text->file == NULL)
		hc_reply_nomem(req);
	return text->file;
}

void
hc_text_reply(struct hc_req *req, struct hc_text *text)
{
	bool failed = ferror(text->file) != 0;

	/* Only closing it makes ptr and len what they should be. */
	if (fclose(text->file) != 0 || failed)
		hc_reply_nomem(req);
	else
		hc_reply_verbatim(req, text->ptr, text->len);
	free(text->ptr); /* the stream's, by malloc() */
}

void
hc_text_escaped(FILE *to, struct hc_slice bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		unsigned char c = (unsigned char)bytes.ptr[i];
		if (c <= ' ' || c > '~' || c == ',' || c == '=' || c == '\\')
			fprintf(to, "\\x%02x", c);
		else
			fputc(c, to);
	}
}
