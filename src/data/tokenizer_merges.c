/* tokenizer_merges.c: CLIP's tokens as its files write them: each byte as the printable character of GPT-2's
 * table, a merge as two tokens with a blank between them. A merges file is refused unless each merge joins
 * two tokens known by then into a new one; a vocabulary beside it may only say what the merges say. */
#include "tokenizer.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

enum { CLIP_MERGES = 49408 - 514 };

/* Printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on. */
static uint16_t byte_point[256];
static int16_t point_byte[256 + 68];

bool tokenizer_printable(uint8_t b)
{
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

__attribute__((constructor)) static void fill_byte_table(void)
{
    memset(point_byte, 0xff, sizeof point_byte);
    int other = 256;
    for (int b = 0; b < 256; b++) {
        byte_point[b] = (uint16_t)(tokenizer_printable((uint8_t)b) ? b : other++);
        point_byte[byte_point[b]] = (int16_t)b;
    }
}

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

int tokenizer_merge_line(pupil_tokenizer *t, const char *a, size_t na, const char *b, size_t nb)
{
    int64_t left = find_printed(t, a, na), right = find_printed(t, b, nb);
    if (left < 0 || right < 0)
        return pupil_fail(PUPIL_EFORMAT, "'%.*s' is no token yet", (int)PUPIL_MIN(left < 0 ? na : nb, 64),
                          left < 0 ? a : b);
    if (t->token.n >= TOKENIZER_MAX_VOCAB) return pupil_fail(PUPIL_EFORMAT, "more than 2^22 tokens");
    if (tokenizer_add_merge(t, (int32_t)left, (int32_t)right) < 0)
        return pupil_fail(PUPIL_EFORMAT, "'%.*s %.*s' makes a token that is there already",
                          (int)PUPIL_MIN(na, 32), a, (int)PUPIL_MIN(nb, 32), b);
    return 0;
}

int tokenizer_check_token(const pupil_tokenizer *t, const char *name, int64_t id)
{
    int64_t ours = find_printed(t, name, strlen(name));
    if (!strcmp(name, "<|startoftext|>") || !strcmp(name, "<start_of_text>")) ours = t->token.n;
    if (!strcmp(name, "<|endoftext|>") || !strcmp(name, "<end_of_text>")) ours = t->token.n + 1;
    if (ours < 0)
        return pupil_fail(PUPIL_EFORMAT, "'%.64s' (id %lld) is no token that the merges make", name,
                          (long long)id);
    if (ours != id)
        return pupil_fail(PUPIL_EFORMAT, "'%.64s' has id %lld, but the merges give it %lld", name,
                          (long long)id, (long long)ours);
    return 0;
}

/* ---- merges.txt ---- */

static int read_unzipped(const char *path, pupil_buf *out)
{
    gzFile f = gzopen(path, "rb"); /* reads plain files as they are */
    if (!f) return pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", path, strerror(errno));
    char *block = pupil_alloc(1 << 16);
    int n, r = 0;
    while (r == 0 && (n = gzread(f, block, 1 << 16)) > 0) {
        pupil_buf_add(out, block, (size_t)n);
        if (out->len > TOKENIZER_MAX_FILE)
            r = pupil_fail(PUPIL_EFORMAT, "%s: too long for a merges file", path);
    }
    if (r == 0 && !gzeof(f)) r = pupil_fail(PUPIL_EFORMAT, "%s: %s", path, gzerror(f, &n));
    gzclose(f);
    pupil_free(&block);
    return r;
}

static int parse_merges(pupil_tokenizer *t, const char *path, const char *s, size_t n)
{
    const char *end = s + n, *eol = memchr(s, '\n', n);
    if (!eol) return pupil_fail(PUPIL_EFORMAT, "%s:1: a header line was expected, then merges", path);
    bool clip = memmem(s, (size_t)(eol - s), "bpe_simple_vocab_16e6", 21) != NULL;
    for (int line = 2; eol + 1 < end && !(clip && t->pairs.n == CLIP_MERGES); line++) {
        const char *at = eol + 1;
        eol = memchr(at, '\n', (size_t)(end - at));
        if (!eol) eol = end;
        const char *gap = memchr(at, ' ', (size_t)(eol - at));
        int r = gap ? tokenizer_merge_line(t, at, (size_t)(gap - at), gap + 1, (size_t)(eol - gap - 1))
                    : pupil_fail(PUPIL_EFORMAT, "two tokens with a blank between them were expected");
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

/* ---- writing ---- */

static void print_token(const pupil_tokenizer *t, int32_t id, pupil_buf *out)
{
    for (size_t i = 0; i < t->token.len[id]; i++) {
        unsigned cp = byte_point[(uint8_t)t->token.text[id][i]];
        char two[2] = {(char)(0xc0 | cp >> 6), (char)(0x80 | (cp & 0x3f))};
        if (cp < 0x80) pupil_buf_add(out, &(char){(char)cp}, 1);
        else pupil_buf_add(out, two, 2);
    }
}

void tokenizer_print_merges(const pupil_tokenizer *t, pupil_buf *out)
{
    for (int64_t i = 0; i < t->pairs.n; i++) {
        print_token(t, t->merge[i][0], out);
        pupil_buf_puts(out, " ");
        print_token(t, t->merge[i][1], out);
        pupil_buf_puts(out, "\n");
    }
}

int pupil_tokenizer_save(const pupil_tokenizer *t, const char *path)
{
    if (t->kind != TOKENIZER_CLIP)
        return pupil_fail(PUPIL_EUSER, "%s: a %s tokenizer has no merges.txt; its own file is to be copied",
                          path, pupil_tokenizer_kind(t));
    pupil_buf out = {0};
    pupil_buf_puts(&out, "#version: 0.2\n");
    tokenizer_print_merges(t, &out);
    int r = pupil_write_file(path, out.s, out.len);
    pupil_buf_free(&out);
    return r;
}

int pupil_tokenizer_vocab_json(const pupil_tokenizer *t, pupil_buf *out)
{
    if (t->kind != TOKENIZER_CLIP)
        return pupil_fail(PUPIL_EUSER, "a %s tokenizer has no vocab.json", pupil_tokenizer_kind(t));
    pupil_buf name = {0};
    for (int32_t id = 0; id < t->token.n; id++) {
        name.len = 0;
        print_token(t, id, &name);
        pupil_buf_puts(out, id ? ", " : "{");
        pupil_buf_json(out, name.s);
        pupil_buf_printf(out, ": %d", id);
    }
    pupil_buf_printf(out, ", \"<|startoftext|>\": %lld, \"<|endoftext|>\": %lld}\n", (long long)t->token.n,
                     (long long)t->token.n + 1);
    pupil_buf_free(&name);
    return 0;
}
