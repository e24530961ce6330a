/* tokenizer_clip.c: CLIP's byte-level byte-pair encoding.
 *
 * A token is the string open_clip's SimpleTokenizer knows it by: raw bytes, then "</w>" where it ends a word.
 * Ids are 256 bytes, 256 bytes with "</w>", merges in the order they were added, start, end. Each merge joins
 * two tokens that are there already into one that is not, so that ranks and strings determine each other. A
 * tokenizer is only read when it encodes, by any number of threads. */
#include "tokenizer.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define END_OF_WORD   "</w>"
#define START_OF_TEXT "<start_of_text>"
#define END_OF_TEXT   "<end_of_text>"

/* Unicode 15, which open_clip's regex package has; PCRE2 before 10.43 has 14. */
#define LETTER                                                                                               \
    "\\p{L}\\x{1123f}\\x{11240}\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}\\x{1342f}"                 \
    "\\x{13441}-\\x{13446}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}"                    \
    "\\x{1e4d0}-\\x{1e4eb}\\x{2b739}\\x{31350}-\\x{323af}"
#define NUMBER "\\p{N}\\x{11f50}-\\x{11f59}\\x{1d2c0}-\\x{1d2d3}\\x{1e4f0}-\\x{1e4f9}"
/* After cleaning the only white space is ' ', so it stands for CLIP's \s. U+0345 is in no word: the regex package finds
 * its capital, a letter, in the negated class. */
static const char pattern_text[] = START_OF_TEXT "|" END_OF_TEXT "|'s|'t|'re|'ve|'m|'ll|'d|"
                                                 "[" LETTER "]+|[" NUMBER "]|[^ \\x{345}" LETTER NUMBER "]+";

/* Ids of bytes go as GPT-2's table does: printable Latin-1 first, then the others. */
static uint8_t byte_number[256];

__attribute__((constructor)) static void number_bytes(void)
{
    uint8_t n = 0;
    for (int printable = 1; printable >= 0; printable--)
        for (int b = 0; b < 256; b++)
            if (tokenizer_printable((uint8_t)b) == printable) byte_number[b] = n++;
}

int32_t tokenizer_byte(uint8_t b, bool last)
{
    return byte_number[b] + (last ? TOKENIZER_BYTES : 0);
}

int tokenizer_new(pupil_tokenizer **ret)
{
    pupil_tokenizer *t = pupil_alloc(sizeof *t);
    int code;
    PCRE2_SIZE at;
    t->pattern = pcre2_compile((PCRE2_SPTR)pattern_text, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_CASELESS | PCRE2_NO_UTF_CHECK, &code, &at, NULL);
    if (!t->pattern) {
        pupil_free(&t);
        return pupil_fail(PUPIL_EFORMAT, "this PCRE2 does not take CLIP's pattern (error %d at %zu)", code,
                          at);
    }
    pcre2_jit_compile(t->pattern, PCRE2_JIT_COMPLETE); /* without JIT it matches as well, only slower */
    char text[1 + sizeof END_OF_WORD];
    uint8_t by_number[TOKENIZER_BYTES];
    for (int b = 0; b < 256; b++) by_number[byte_number[b]] = (uint8_t)b;
    for (int id = 0; id < TOKENIZER_FIRST_MERGE; id++) {
        text[0] = (char)by_number[id % TOKENIZER_BYTES];
        memcpy(text + 1, END_OF_WORD, sizeof END_OF_WORD);
        textset_add(&t->token, text, id < TOKENIZER_BYTES ? 1 : sizeof END_OF_WORD);
    }
    *ret = t;
    return 0;
}

void tokenizer_clip_free(pupil_tokenizer *t)
{
    pupil_free(&t->merge);
    pcre2_code_free(t->pattern);
}

int32_t tokenizer_add_merge(pupil_tokenizer *t, int32_t a, int32_t b)
{
    pupil_buf joined = {0};
    pupil_buf_add(&joined, t->token.text[a], t->token.len[a]);
    pupil_buf_add(&joined, t->token.text[b], t->token.len[b]);
    bool fresh = textset_find(&t->token, joined.s, joined.len) < 0;
    int32_t id = -1;
    if (fresh) {
        id = (int32_t)textset_add(&t->token, joined.s, joined.len);
        PUPIL_GROW(t->merge, t->pairs.n, t->merge_cap);
        t->merge[t->pairs.n][0] = a;
        t->merge[t->pairs.n][1] = b;
        tokenizer_pairs_add(&t->pairs, a, b, id);
    }
    pupil_buf_free(&joined);
    return id;
}

/* ---- encode ---- */

void tokenizer_words_begin(tokenizer_words *w, const pupil_tokenizer *t, const char *clean, size_t n)
{
    *w = (tokenizer_words){.pattern = t->pattern, .text = clean, .n = n};
    w->match = pcre2_match_data_create(1, NULL);
    PUPIL_REQUIRE(w->match);
}

bool tokenizer_words_next(tokenizer_words *w, const char **word, size_t *len)
{
    int r = pcre2_match(w->pattern, (PCRE2_SPTR)w->text, w->n, w->at, PCRE2_NO_UTF_CHECK, w->match, NULL);
    PUPIL_REQUIRE(r > 0 || r == PCRE2_ERROR_NOMATCH);
    if (r < 0) return false;
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(w->match);
    *word = w->text + span[0];
    *len = span[1] - span[0];
    w->at = span[1];
    return true;
}

void tokenizer_words_end(tokenizer_words *w)
{
    pcre2_match_data_free(w->match);
}

static int32_t join(const void *model, const struct tokenizer_symbol *a, const struct tokenizer_symbol *b,
                    uint32_t *order)
{
    const pupil_tokenizer *t = model;
    int64_t rank = tokenizer_pairs_find(&t->pairs, a->id, b->id);
    *order = (uint32_t)rank;
    return rank < 0 ? -1 : t->pairs.made[rank];
}

static void merge_word(const pupil_tokenizer *t, tokenizer_merger *m, const char *word, size_t len)
{
    tokenizer_merger_begin(m, (int64_t)len);
    for (size_t i = 0; i < len; i++) m->symbol[i].id = tokenizer_byte((uint8_t)word[i], i == len - 1);
    tokenizer_merge(m, (int32_t)len, join, t);
}

int tokenizer_clip_encode(const pupil_tokenizer *t, const char *text, int context, int32_t *ids)
{
    int32_t start = (int32_t)t->token.n, end = start + 1;
    pupil_buf clean = {0};
    tokenizer_clean(t->cleaning, text, &clean);
    tokenizer_words words;
    tokenizer_words_begin(&words, t, clean.s, clean.len);
    tokenizer_merger m = {0};
    int n = 0;
    ids[n++] = start;
    const char *word;
    size_t len;
    while (n < context - 1 && tokenizer_words_next(&words, &word, &len)) {
        if (len == strlen(START_OF_TEXT) && memcmp(word, START_OF_TEXT, len) == 0) {
            ids[n++] = start;
        } else if (len == strlen(END_OF_TEXT) && memcmp(word, END_OF_TEXT, len) == 0) {
            ids[n++] = end;
        } else {
            merge_word(t, &m, word, len);
            for (int32_t i = 0; i >= 0 && n < context - 1; i = m.symbol[i].after) ids[n++] = m.symbol[i].id;
        }
    }
    ids[n++] = end;
    tokenizer_words_end(&words);
    tokenizer_merger_end(&m);
    pupil_buf_free(&clean);
    return n;
}

char *tokenizer_clip_decode(const pupil_tokenizer *t, const int32_t *ids, int n)
{
    pupil_buf raw = {0}, text = {0}, out = {0};
    for (int i = 0; i < n; i++) {
        if (ids[i] >= 0 && ids[i] < t->token.n)
            pupil_buf_add(&raw, t->token.text[ids[i]], t->token.len[ids[i]]);
        else
            pupil_buf_puts(&raw, ids[i] == t->token.n       ? START_OF_TEXT
                                 : ids[i] == t->token.n + 1 ? END_OF_TEXT
                                                            : "\xff");
    }
    tokenizer_replace_invalid(raw.s, raw.len, &text);
    pupil_buf_puts(&out, "");
    for (const char *s = text.s, *at; s; s = at ? at + strlen(END_OF_WORD) : NULL) {
        at = strstr(s, END_OF_WORD);
        pupil_buf_add(&out, s, at ? (size_t)(at - s) : strlen(s));
        if (at) pupil_buf_add(&out, " ", 1);
    }
    pupil_buf_free(&raw);
    pupil_buf_free(&text);
    return out.s;
}
