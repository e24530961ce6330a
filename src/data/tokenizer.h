/* tokenizer.h (private to data): what loading, learning and encoding share. */
#ifndef PUPIL_DATA_TOKENIZER_H
#define PUPIL_DATA_TOKENIZER_H

#include "table.h"
#include "pupil/data.h"

enum { TOKENIZER_BYTES = 256, TOKENIZER_FIRST_MERGE = 512 };

/* HTML-unescaped twice, white space collapsed, lower-cased, valid UTF-8, appended to `out`. */
void tokenizer_clean(const char *text, pupil_buf *out);
/* `n` bytes with what is not UTF-8 replaced by U+FFFD as Python's decode(errors="replace") does. */
void tokenizer_replace_invalid(const char *bytes, size_t n, pupil_buf *out);

/* The 512 byte tokens and no merges. */
int tokenizer_new(pupil_tokenizer **ret);
/* Add the merge of tokens a, b; returns the new token's id, or -1 if there is already such a string. */
int32_t tokenizer_add_merge(pupil_tokenizer *t, int32_t a, int32_t b);
const textset *tokenizer_tokens(const pupil_tokenizer *t);
/* Byte `b` as the last of a word, or not. */
int32_t tokenizer_byte(uint8_t b, bool last);

/* The words of a clean text, one after the other. */
typedef struct {
    void *pattern, *match;
    const char *text;
    size_t n, at;
} tokenizer_words;
void tokenizer_words_begin(tokenizer_words *w, const pupil_tokenizer *t, const char *clean, size_t n);
bool tokenizer_words_next(tokenizer_words *w, const char **word, size_t *len);
void tokenizer_words_end(tokenizer_words *w);

#endif
