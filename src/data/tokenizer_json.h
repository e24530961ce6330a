/* tokenizer_json.h (private to data): what the readers of tokenizer.json share. */
#ifndef PUPIL_DATA_TOKENIZER_JSON_H
#define PUPIL_DATA_TOKENIZER_JSON_H

#include <jansson.h>

#include "tokenizer.h"

typedef struct {
    const char *s;
    size_t n;
} tokenizer_slice;
/* A merge is written "a b" or ["a", "b"]; both slices are NULL where it is neither. */
void tokenizer_merge_texts(const json_t *merge, tokenizer_slice side[2]);

/* A file's bytes, parsed; PUPIL_EFORMAT with path:line:column. */
int tokenizer_parse_json(const char *path, const char *bytes, size_t n, json_t **ret);
/* A parsed tokenizer.json whose model is Unigram, or BPE over pieces. (tokenizer_json_pieces.c) */
int tokenizer_pieces_from_json(const json_t *root, tokenizer_kind kind, pupil_tokenizer **ret);

#endif
