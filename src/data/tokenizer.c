/* tokenizer.c: CLIP's byte-level byte-pair encoding: loading, saving, encoding, decoding.
 *
 * A token is the string open_clip's SimpleTokenizer knows it by: raw bytes, then "</w>" where it ends a word;
 * only files write bytes as the printable characters of GPT-2's table. Ids are 256 bytes, 256 bytes with
 * "</w>", merges in file order, start, end. A file is refused unless each merge joins two tokens that are
 * there already into one that is not, so that ranks and strings determine each other. A word of n bytes is
 * merged in O(n log n) time through a heap of pairs; a tokenizer is only read then, by any number of threads.
 */
#include "tokenizer.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define END_OF_WORD   "</w>"
#define START_OF_TEXT "<start_of_text>"
#define END_OF_TEXT   "<end_of_text>"

enum { CLIP_MERGES = 49408 - 514, MAX_FILE_BYTES = 1 << 26 };

/* After cleaning the only white space is ' ', so it stands for CLIP's \s. */
static const char pattern_text[] = START_OF_TEXT "|" END_OF_TEXT "|'s|'t|'re|'ve|'m|'ll|'d|"
                                                 "[\\p{L}]+|[\\p{N}]|[^ \\p{L}\\p{N}]+";

struct pupil_tokenizer {
    textset token;
    int32_t (*merge)[2];
    int64_t merges, cap;
    map64 rank; /* pair -> 1 + number of its merge */
    pcre2_code *pattern;
};

/* GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on; the ids of bytes
 * are numbered in that order. */
static uint16_t byte_point[256], byte_number[256];
static int16_t point_byte[256 + 68];

__attribute__((constructor)) static void fill_byte_table(void)
{
    memset(point_byte, 0xff, sizeof point_byte);
    int plain = 0, other = 0;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        byte_number[b] = (uint16_t)(printable ? plain++ : 188 + other);
        byte_point[b] = (uint16_t)(printable ? b : 256 + other++);
        point_byte[byte_point[b]] = (int16_t)b;
    }
}

int32_t tokenizer_byte(uint8_t b, bool last)
{
    return byte_number[b] + (last ? TOKENIZER_BYTES : 0);
}

const textset *tokenizer_tokens(const pupil_tokenizer *t)
{
    return &t->token;
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

void pupil_tokenizer_free(pupil_tokenizer **t)
{
    if (!*t) return;
    textset_free(&(*t)->token);
    map64_free(&(*t)->rank);
    pupil_free(&(*t)->merge);
    pcre2_code_free((*t)->pattern);
    pupil_free(t);
}

static uint64_t pair_key(int32_t a, int32_t b)
{
    return (uint64_t)a << 32 | (uint32_t)b;
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
        PUPIL_GROW(t->merge, t->merges, t->cap);
        t->merge[t->merges][0] = a;
        t->merge[t->merges][1] = b;
        map64_set(&t->rank, pair_key(a, b), ++t->merges);
    }
    pupil_buf_free(&joined);
    return id;
}

int64_t pupil_tokenizer_vocab(const pupil_tokenizer *t)
{
    return t->token.n + 2;
}

/* ---- files ---- */

/* A token's id by its printable form, or -1. */
static int64_t find_printed(const pupil_tokenizer *t, const char *s, size_t n)
{
    pupil_buf raw = {0};
    int64_t id = -1;
    size_t i = 0;
    while (i < n) {
        uint32_t cp = (uint8_t)s[i++];
        if (cp >= 0xc2 && cp <= 0xc5 && i < n) cp = (cp & 0x1f) << 6 | ((uint8_t)s[i++] & 0x3f);
        if (cp >= (uint32_t)PUPIL_COUNT(point_byte) || point_byte[cp] < 0) break;
        pupil_buf_add(&raw, &(char){(char)point_byte[cp]}, 1);
    }
    if (n && i == n) id = textset_find(&t->token, raw.s, raw.len);
    pupil_buf_free(&raw);
    return id;
}

static int read_unzipped(const char *path, pupil_buf *out)
{
    gzFile f = gzopen(path, "rb"); /* reads plain files as they are */
    if (!f) return pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", path, strerror(errno));
    char *block = pupil_alloc(1 << 16);
    int n, r = 0;
    while (r == 0 && (n = gzread(f, block, 1 << 16)) > 0) {
        pupil_buf_add(out, block, (size_t)n);
        if (out->len > MAX_FILE_BYTES) r = pupil_fail(PUPIL_EFORMAT, "%s: too long for a merges file", path);
    }
    if (r == 0 && !gzeof(f)) r = pupil_fail(PUPIL_EFORMAT, "%s: %s", path, gzerror(f, &n));
    gzclose(f);
    pupil_free(&block);
    return r;
}

static int parse_merge(pupil_tokenizer *t, const char *line, size_t n)
{
    const char *gap = memchr(line, ' ', n);
    if (!gap) return pupil_fail(PUPIL_EFORMAT, "two tokens with a blank between them were expected");
    size_t na = (size_t)(gap - line), nb = n - na - 1;
    int64_t a = find_printed(t, line, na), b = find_printed(t, gap + 1, nb);
    if (a < 0 || b < 0)
        return pupil_fail(PUPIL_EFORMAT, "'%.*s' is no token yet", (int)PUPIL_MIN(a < 0 ? na : nb, 64),
                          a < 0 ? line : gap + 1);
    if (tokenizer_add_merge(t, (int32_t)a, (int32_t)b) < 0)
        return pupil_fail(PUPIL_EFORMAT, "'%.*s' makes a token that is there already", (int)PUPIL_MIN(n, 64),
                          line);
    return 0;
}

static int parse_merges(pupil_tokenizer *t, const char *path, const char *s, size_t n)
{
    const char *end = s + n, *eol = memchr(s, '\n', n);
    if (!eol) return pupil_fail(PUPIL_EFORMAT, "%s:1: a header line was expected, then merges", path);
    bool clip = memmem(s, (size_t)(eol - s), "bpe_simple_vocab_16e6", 21) != NULL;
    for (int line = 2; eol + 1 < end && !(clip && t->merges == CLIP_MERGES); line++) {
        const char *at = eol + 1;
        eol = memchr(at, '\n', (size_t)(end - at));
        if (!eol) eol = end;
        int r = parse_merge(t, at, (size_t)(eol - at));
        if (r < 0) return pupil_context(r, "%s:%d", path, line);
    }
    return 0;
}

int pupil_tokenizer_load(const char *path, pupil_tokenizer **ret)
{
    pupil_buf text = {0};
    pupil_tokenizer *t = NULL;
    int r = read_unzipped(path, &text);
    if (r == 0) r = tokenizer_new(&t);
    if (r == 0) r = parse_merges(t, path, text.s ? text.s : "", text.len);
    pupil_buf_free(&text);
    if (r < 0) {
        pupil_tokenizer_free(&t);
        return r;
    }
    *ret = t;
    return 0;
}

static void print_token(const pupil_tokenizer *t, int32_t id, pupil_buf *out)
{
    for (size_t i = 0; i < t->token.len[id]; i++) {
        unsigned cp = byte_point[(uint8_t)t->token.text[id][i]];
        char two[2] = {(char)(0xc0 | cp >> 6), (char)(0x80 | (cp & 0x3f))};
        if (cp < 0x80) pupil_buf_add(out, &(char){(char)cp}, 1);
        else pupil_buf_add(out, two, 2);
    }
}

static void print_merges(const pupil_tokenizer *t, pupil_buf *out)
{
    for (int64_t i = 0; i < t->merges; i++) {
        print_token(t, t->merge[i][0], out);
        pupil_buf_puts(out, " ");
        print_token(t, t->merge[i][1], out);
        pupil_buf_puts(out, "\n");
    }
}

int pupil_tokenizer_save(const pupil_tokenizer *t, const char *path)
{
    pupil_buf out = {0};
    pupil_buf_puts(&out, "#version: 0.2\n");
    print_merges(t, &out);
    int r = pupil_write_file(path, out.s, out.len);
    pupil_buf_free(&out);
    return r;
}

void pupil_tokenizer_digest(const pupil_tokenizer *t, char ret_hex[65])
{
    pupil_buf out = {0};
    print_merges(t, &out);
    pupil_sha256_of(out.s, out.len, ret_hex);
    pupil_buf_free(&out);
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

/* The symbols of one word as a linked list, and a heap of (rank << 32 | place) of the pairs that may merge.
 */
typedef struct {
    struct symbol {
        int32_t id; /* -1: merged into the one before */
        int32_t before, after;
    } * symbol;
    uint64_t *heap;
    int64_t cap, heap_cap, waiting;
} merger;

static void heap_push(merger *m, uint64_t key)
{
    PUPIL_GROW(m->heap, m->waiting, m->heap_cap);
    int64_t i = m->waiting++;
    for (; i && m->heap[(i - 1) / 2] > key; i = (i - 1) / 2) m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = key;
}

static uint64_t heap_pop(merger *m)
{
    uint64_t top = m->heap[0], key = m->heap[--m->waiting];
    int64_t i = 0;
    for (int64_t c; (c = 2 * i + 1) < m->waiting; i = c) {
        if (c + 1 < m->waiting && m->heap[c + 1] < m->heap[c]) c++;
        if (m->heap[c] >= key) break;
        m->heap[i] = m->heap[c];
    }
    m->heap[i] = key;
    return top;
}

/* 1 + the merge of the symbol at `i` with the one after it, or 0. */
static int64_t rank_at(const pupil_tokenizer *t, const merger *m, int32_t i)
{
    const struct symbol *s = &m->symbol[i];
    if (s->id < 0 || s->after < 0) return 0;
    return map64_get(&t->rank, pair_key(s->id, m->symbol[s->after].id));
}

static void offer(const pupil_tokenizer *t, merger *m, int32_t i)
{
    int64_t rank = i < 0 ? 0 : rank_at(t, m, i);
    if (rank) heap_push(m, (uint64_t)(rank - 1) << 32 | (uint32_t)i);
}

/* Merge the pair of lowest rank, the leftmost of equals, until there is none; symbol 0 starts the result. */
static void merge_word(const pupil_tokenizer *t, merger *m, const char *word, size_t len)
{
    int32_t n = (int32_t)len;
    PUPIL_GROW(m->symbol, n, m->cap);
    for (int32_t i = 0; i < n; i++)
        m->symbol[i] =
            (struct symbol){tokenizer_byte((uint8_t)word[i], i == n - 1), i - 1, i == n - 1 ? -1 : i + 1};
    for (int32_t i = 0; i < n; i++) offer(t, m, i);
    while (m->waiting) {
        uint64_t key = heap_pop(m);
        int32_t i = (int32_t)(uint32_t)key;
        if (rank_at(t, m, i) != (int64_t)(key >> 32) + 1) continue; /* merged otherwise meanwhile */
        struct symbol *s = &m->symbol[i], *gone = &m->symbol[s->after];
        s->id = TOKENIZER_FIRST_MERGE + (int32_t)(key >> 32);
        gone->id = -1;
        s->after = gone->after;
        if (s->after >= 0) m->symbol[s->after].before = i;
        offer(t, m, s->before);
        offer(t, m, i);
    }
}

int pupil_tokenizer_encode(const pupil_tokenizer *t, const char *text, int context, int32_t *ids)
{
    PUPIL_REQUIRE(context >= 2);
    int32_t start = (int32_t)t->token.n, end = start + 1;
    pupil_buf clean = {0};
    tokenizer_clean(text, &clean);
    tokenizer_words words;
    tokenizer_words_begin(&words, t, clean.s, clean.len);
    merger m = {0};
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
    pupil_free(&m.symbol);
    pupil_free(&m.heap);
    pupil_buf_free(&clean);
    return n;
}

char *pupil_tokenizer_decode(const pupil_tokenizer *t, const int32_t *ids, int n)
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
