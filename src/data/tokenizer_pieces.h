/* tokenizer_pieces.h (private to data): vocabularies of pieces, SentencePiece's: how text is normalised and
 * cut before it meets them, and how they cover it. Texts in here are valid UTF-8. */
#ifndef PUPIL_DATA_TOKENIZER_PIECES_H
#define PUPIL_DATA_TOKENIZER_PIECES_H

#include "tokenizer.h"

enum { PIECE_MAX_BYTES = 1024 };
#define BLANK_MARK "\xe2\x96\x81" /* U+2581, which stands for a blank in pieces */

/* sentencepiece_model.proto's numbers */
typedef enum {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER,
    PIECE_UNUSED,
    PIECE_BYTE
} piece_type;

/* ---- tokenizer_prefix.c: which tokens a text begins with ------------------------------------------ */
typedef struct {
    const textset *token;
    int32_t *id; /* in byte order once built */
    int64_t n, cap;
    int32_t first[257]; /* where the ids of each first byte begin */
} prefix_table;
void prefix_add(prefix_table *p, const textset *token, int32_t id);
void prefix_build(prefix_table *p);
void prefix_free(prefix_table *p);
/* A walk along a text: {0} before its first byte. */
typedef struct {
    int32_t lo, hi;
    size_t depth;
} prefix_walk;
/* One byte on. False: no token goes on so. *ret: the token that ends here, or -1. */
bool prefix_step(const prefix_table *p, prefix_walk *w, uint8_t byte, int32_t *ret);
/* The longest token that `s` begins with, or -1. */
int32_t prefix_longest(const prefix_table *p, const char *s, size_t n);

/* ---- tokenizer_normal.c: texts into other texts --------------------------------------------------- */
bool is_utf8(const char *s, size_t n);
/* Bytes of the code point at s. */
size_t point_len(const char *s, const char *end);
/* SentencePiece's precompiled_charsmap: a double-array trie (darts-clone's units) of what is replaced, and
 * the replacements, each ended by NUL. Every index is checked when it is used. */
typedef struct {
    uint32_t *unit;
    int64_t units;
    char *text;
    size_t n;
} charsmap;
/* From a file's blob; empty is a map that changes nothing. PUPIL_EFORMAT without a place. */
int charsmap_read(charsmap *m, const void *blob, size_t n);
void charsmap_free(charsmap *m);

/* Unicode's White_Space */
bool text_is_white(uint32_t c);
/* A literal text, or a regular expression, or any white space. */
typedef struct {
    char *text;
    void *regex, *limits;
} text_pattern;
/* A regular expression that can match neither half a character nor for ever. PUPIL_EFORMAT without a place.
 */
int pattern_compile(text_pattern *p, const char *regex);
/* The next match in s at or after `from`: not empty. False: there is none. */
bool pattern_next(const text_pattern *p, const char *s, size_t n, size_t from, size_t *ret_start,
                  size_t *ret_end);
void pattern_free(text_pattern *p);

typedef enum { STEP_CHARSMAP, STEP_REPLACE, STEP_LOWERCASE, STEP_STRIP, STEP_PREPEND } step_kind;
/* One normalizer of a tokenizer.json. */
typedef struct {
    step_kind kind;
    text_pattern pattern;
    char *content;
    bool left, right; /* strip */
} normal_step;

typedef struct {
    charsmap map;
    /* a tokenizer.json's, in order */
    normal_step *step;
    int64_t steps, step_cap;
    /* a SentencePiece model's */
    bool spm, dummy_prefix, squeeze, escape;
} normalizer;
/* `s` normalised, appended to out; user: tokens that stay as they are (NULL: none). */
void normalizer_run(const normalizer *z, const prefix_table *user, const char *s, size_t n, pupil_buf *out);
void normalizer_free(normalizer *z);

/* ---- tokenizer_split.c: a text into parts --------------------------------------------------------- */
/* Parts of one text, end to end in a buffer. */
typedef struct {
    pupil_buf text;
    size_t *end;
    int64_t n, cap;
    bool from_start; /* the first part begins where the whole text does */
} text_parts;
void parts_add(text_parts *p, const char *s, size_t n);
void parts_free(text_parts *p);

typedef enum { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_WITH_PREVIOUS, SPLIT_WITH_NEXT } split_behavior;
typedef enum { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } prepend_scheme;
/* One pre-tokenizer of a tokenizer.json. */
typedef struct {
    text_pattern pattern; /* metaspace: its replacement */
    bool metaspace, split;
    prepend_scheme prepend;
    split_behavior behavior;
} pre_step;
/* Every part cut further, in place. */
void pre_step_run(const pre_step *s, text_parts *parts);

/* ---- tokenizer_pieces.c --------------------------------------------------------------------------- */
/* Tokens that are cut out of a text before it is normalised, or after. */
typedef struct {
    textset text; /* what is looked for, and by its number: */
    struct added_token {
        int32_t id;
        bool lstrip, rstrip; /* takes the white space before it, after it */
    } * token;
    int64_t cap;
    prefix_table table;
} added_tokens;
void added_add(added_tokens *a, const char *s, size_t n, struct added_token token);

typedef struct {
    int32_t *id;
    int64_t n, cap;
} id_list;

struct tokenizer_pieces {
    struct piece {
        double score;
        piece_type type;
    } * piece; /* by id */
    int64_t cap;
    bool single;   /* sums are rounded to float, as in sentencepiece; the tokenizers library keeps doubles */
    bool by_score; /* BPE: any two neighbours that make a piece, by its score; else t->pairs say which */
    bool bytes;    /* what is unknown becomes bytes */
    bool fuse_unknown; /* a run of what is unknown is one id */
    int32_t unknown, byte[256];
    double max_score;     /* of normal pieces, or 0 where they have less: so it is in sentencepiece */
    double unknown_score; /* 10 less than any normal piece's */
    prefix_table table;              /* of pieces that a text can hold */
    prefix_table user;               /* of those that stay as they are written */
    normalizer normal;
    pre_step *pre;
    int64_t pres, pre_cap;
    added_tokens added[2];    /* before and after normalising */
    int32_t first, last, pad; /* ids around a text; -1: none */
    bool drop_blank;          /* the first blank of a decoded text was put there by a prefix */
    char *path, sha[65];      /* the file it came from */
};

pupil_tokenizer *pieces_new(tokenizer_kind kind);
void pieces_free(struct tokenizer_pieces **p);
/* The next id is `s` of this type and score. PUPIL_EFORMAT without a place. */
int pieces_add(pupil_tokenizer *t, const char *s, size_t n, piece_type type, double score);
/* The id of a piece, or -1. */
int32_t pieces_find(const pupil_tokenizer *t, const char *s);
/* Tables over what was added. PUPIL_EFORMAT where bytes or the unknown piece are missing. */
int pieces_finish(pupil_tokenizer *t);
/* The ids of a normalised text, or of a part of it. */
void pieces_cover(const pupil_tokenizer *t, const char *s, size_t n, id_list *out);
int pieces_encode(const pupil_tokenizer *t, const char *text, int context, int32_t *ids);
char *pieces_decode(const pupil_tokenizer *t, const int32_t *ids, int n);

/* ---- tokenizer_spm.c ------------------------------------------------------------------------------- */
/* The bytes of a spiece.model. PUPIL_EFORMAT naming path and place. */
int tokenizer_from_spm(const char *path, const char *bytes, size_t n, pupil_tokenizer **ret);

#endif
