/* tokenizer.h (private to data): what opening, learning and encoding share. */
#ifndef PUPIL_DATA_TOKENIZER_H
#define PUPIL_DATA_TOKENIZER_H

#include "table.h"
#include "pupil/data.h"

enum {
    TOKENIZER_BYTES = 256,
    TOKENIZER_FIRST_MERGE = 512,
    TOKENIZER_MAX_FILE = 1 << 27,
    TOKENIZER_MAX_VOCAB = 1 << 22
};

typedef enum { TOKENIZER_CLIP, TOKENIZER_UNIGRAM, TOKENIZER_BPE } tokenizer_kind;

/* ---- tokenizer_text.c: text before it is cut into tokens ----------------------------------------- */
/* open_clip's clean=...; as transformers' SiglipTokenizer; code point by code point as its Siglip2Tokenizer;
 * or nothing but what the tokenizer's own file says */
#define TOKENIZER_CLEANING_LIST(X)                                                                           \
    X(TOKENIZER_LOWER, "lower")                                                                              \
    X(TOKENIZER_WHITESPACE, "whitespace")                                                                    \
    X(TOKENIZER_UNDERSCORE, "whitespace_underscore")                                                         \
    X(TOKENIZER_CANONICALIZE, "canonicalize")                                                                \
    X(TOKENIZER_SIGLIP, "siglip")                                                                            \
    X(TOKENIZER_LOWERCASE, "lowercase")                                                                      \
    X(TOKENIZER_AS_IS, "none")
typedef enum {
#define X(name, text) name,
    TOKENIZER_CLEANING_LIST(X)
#undef X
} tokenizer_cleaning;
const char *tokenizer_cleaning_name(tokenizer_cleaning how);
/* The number of a name, or -1. */
int tokenizer_cleaning_of(const char *name);
/* `text` cleaned, valid UTF-8, appended to `out`. */
void tokenizer_clean(tokenizer_cleaning how, const char *text, pupil_buf *out);
/* `n` bytes with what is not UTF-8 replaced by U+FFFD as Python's decode(errors="replace") does. */
void tokenizer_replace_invalid(const char *bytes, size_t n, pupil_buf *out);

/* One code point at *p (< end), or U+FFFD for the longest beginning of one that goes wrong (Unicode 3.9,
 * D93b). */
uint32_t tokenizer_next_point(const uint8_t **p, const uint8_t *end);
void tokenizer_put_point(pupil_buf *out, uint32_t c);
bool tokenizer_is_space(uint32_t c); /* str.isspace() */
/* str.lower() of one code point, where that is one code point: not U+0130. */
uint32_t tokenizer_lower(uint32_t c);

/* The text from byte `from` on lower-cased code point by code point, without Python's final sigma. */
void tokenizer_lower_points(pupil_buf *text, size_t from);

/* ---- tokenizer_merge.c: pairs joined until none can be ------------------------------------------- */
/* Pairs of ids that become one id, the earlier added before the later. */
typedef struct {
    map64 rank; /* both ids -> 1 + number of the pair */
    int32_t *made;
    int64_t n, cap;
} tokenizer_pairs;
void tokenizer_pairs_add(tokenizer_pairs *p, int32_t left, int32_t right, int32_t made);
/* The number of a pair, or -1. */
int64_t tokenizer_pairs_find(const tokenizer_pairs *p, int32_t left, int32_t right);
void tokenizer_pairs_free(tokenizer_pairs *p);

/* Symbols of one text as a linked list from symbol[0], and a heap of the joins that wait. */
typedef struct {
    struct tokenizer_symbol {
        int32_t id, before, after; /* id -1: joined into the one before; -1: none */
        uint32_t at, len;          /* its bytes in the text, where the join looks at them */
        bool fixed;                /* the join is to leave it alone */
    } * symbol;
    struct tokenizer_waiting {
        uint64_t key; /* order << 32 | place */
        int32_t made;
    } * heap;
    int64_t cap, heap_cap, waiting;
} tokenizer_merger;
/* What symbols a and b, neighbours, become: an id, or -1; the pair of lowest *ret_order goes first. */
typedef int32_t (*tokenizer_join)(const void *model, const struct tokenizer_symbol *a,
                                  const struct tokenizer_symbol *b, uint32_t *ret_order);
/* Make room for n symbols, whose bytes are then zero. */
void tokenizer_merger_begin(tokenizer_merger *m, int64_t n);
/* Join the pair of lowest order, the leftmost of equals, until there is none. O(n log n). */
void tokenizer_merge(tokenizer_merger *m, int32_t n, tokenizer_join join, const void *model);
void tokenizer_merger_end(tokenizer_merger *m);

/* ---- tokenizer.c --------------------------------------------------------------------------------- */
struct pupil_tokenizer {
    tokenizer_kind kind;
    tokenizer_cleaning cleaning;
    textset token; /* id -> bytes */
    tokenizer_pairs pairs;
    /* CLIP's */
    int32_t (*merge)[2];
    int64_t merge_cap;
    void *pattern; /* compiled by PCRE2 */
    /* the other kinds' */
    struct tokenizer_pieces *pieces;
};

/* ---- tokenizer_clip.c ---------------------------------------------------------------------------- */
/* The 512 byte tokens and no merges. */
int tokenizer_new(pupil_tokenizer **ret);
void tokenizer_clip_free(pupil_tokenizer *t);
/* Add the merge of tokens a, b; returns the new token's id, or -1 if there is already such a string. */
int32_t tokenizer_add_merge(pupil_tokenizer *t, int32_t a, int32_t b);
/* Byte `b` as the last of a word, or not. */
int32_t tokenizer_byte(uint8_t b, bool last);
int tokenizer_clip_encode(const pupil_tokenizer *t, const char *text, int context, int32_t *ids);
char *tokenizer_clip_decode(const pupil_tokenizer *t, const int32_t *ids, int n);

/* The words of a clean text, one after the other. */
typedef struct {
    void *pattern, *match;
    const char *text;
    size_t n, at;
} tokenizer_words;
void tokenizer_words_begin(tokenizer_words *w, const pupil_tokenizer *t, const char *clean, size_t n);
bool tokenizer_words_next(tokenizer_words *w, const char **word, size_t *len);
void tokenizer_words_end(tokenizer_words *w);

/* ---- tokenizer_merges.c: CLIP's tokens as files write them ---------------------------------------- */
/* Add the merge that a file writes as `a` and `b`; PUPIL_EFORMAT without a place. */
int tokenizer_merge_line(pupil_tokenizer *t, const char *a, size_t na, const char *b, size_t nb);
/* PUPIL_EFORMAT unless `name` is what the vocabulary writes for `id`: merges and vocabulary contradict. */
int tokenizer_check_token(const pupil_tokenizer *t, const char *name, int64_t id);
/* Does GPT-2's table let this byte stand for itself? */
bool tokenizer_printable(uint8_t b);
void tokenizer_print_merges(const pupil_tokenizer *t, pupil_buf *out);

/* ---- tokenizer_json.c ---------------------------------------------------------------------------- */
/* A tokenizer.json's bytes. PUPIL_EFORMAT naming path, key and type of what is not supported. */
int tokenizer_from_json(const char *path, const char *bytes, size_t n, pupil_tokenizer **ret);
/* The vocab.json beside a merges file against it. */
int tokenizer_check_vocab_json(const pupil_tokenizer *t, const char *path);

#endif
