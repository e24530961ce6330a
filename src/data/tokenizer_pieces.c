/* tokenizer_pieces.c: a vocabulary of pieces, and the way from a text to ids and back: cleaned, normalised,
 * cut into parts, covered, its ends marked, cut at the context or padded up to it. */
#include "tokenizer_pieces.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the vocabulary ---- */

pupil_tokenizer *pieces_new(tokenizer_kind kind)
{
    pupil_tokenizer *t = pupil_alloc(sizeof *t);
    t->kind = kind;
    t->cleaning = TOKENIZER_AS_IS;
    t->pieces = pupil_alloc(sizeof *t->pieces);
    t->pieces->unknown = t->pieces->first = t->pieces->last = t->pieces->pad = -1;
    return t;
}

void pieces_free(struct tokenizer_pieces **pp)
{
    struct tokenizer_pieces *p = *pp;
    if (!p) return;
    pupil_free(&p->piece);
    prefix_free(&p->table);
    prefix_free(&p->user);
    normalizer_free(&p->normal);
    for (int64_t i = 0; i < p->pres; i++) pattern_free(&p->pre[i].pattern);
    pupil_free(&p->pre);
    for (int k = 0; k < 2; k++) {
        textset_free(&p->added[k].text);
        pupil_free(&p->added[k].token);
        prefix_free(&p->added[k].table);
    }
    pupil_free(&p->path);
    pupil_free(pp);
}

int pieces_add(pupil_tokenizer *t, const char *s, size_t n, piece_type type, double score)
{
    struct tokenizer_pieces *p = t->pieces;
    int64_t id = t->token.n;
    if (id >= TOKENIZER_MAX_VOCAB) return pupil_fail(PUPIL_EFORMAT, "more than 2^22 pieces");
    if (n == 0 || n > PIECE_MAX_BYTES)
        return pupil_fail(PUPIL_EFORMAT, "a piece of %zu bytes: 1 to %d were expected", n, PIECE_MAX_BYTES);
    if (!is_utf8(s, n)) return pupil_fail(PUPIL_EFORMAT, "a piece that is not UTF-8");
    if (!isfinite(score))
        return pupil_fail(PUPIL_EFORMAT, "'%.*s' has a score that is not finite", (int)PUPIL_MIN(n, 64), s);
    if (textset_add(&t->token, s, n) != id)
        return pupil_fail(PUPIL_EFORMAT, "'%.*s' is there twice", (int)PUPIL_MIN(n, 64), s);
    PUPIL_GROW(p->piece, id, p->cap);
    p->piece[id] = (struct piece){score, type};
    return 0;
}

int32_t pieces_find(const pupil_tokenizer *t, const char *s)
{
    return (int32_t)textset_find(&t->token, s, strlen(s));
}

static int find_bytes(pupil_tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        t->pieces->byte[b] = pieces_find(t, name);
        if (t->pieces->byte[b] < 0)
            return pupil_fail(PUPIL_EFORMAT, "byte_fallback, but there is no piece %s", name);
        t->pieces->piece[t->pieces->byte[b]].type = PIECE_BYTE;
    }
    return 0;
}

/* A text holds what SentencePiece calls normal, user-defined or unused; the tokenizers library excepts
 * nothing. */
static bool in_texts(const struct tokenizer_pieces *p, piece_type type)
{
    return !p->normal.spm || type == PIECE_NORMAL || type == PIECE_USER || type == PIECE_UNUSED;
}

int pieces_finish(pupil_tokenizer *t)
{
    struct tokenizer_pieces *p = t->pieces;
    double min = 0;
    bool any = false;
    if (p->unknown < 0) return pupil_fail(PUPIL_EFORMAT, "there is no unknown piece");
    if (p->bytes) PUPIL_TRY(find_bytes(t));
    for (int32_t id = 0; id < t->token.n; id++) {
        piece_type type = p->piece[id].type;
        if (t->kind == TOKENIZER_UNIGRAM && in_texts(p, type)) prefix_add(&p->table, &t->token, id);
        if (type == PIECE_USER) prefix_add(&p->user, &t->token, id);
        if (p->normal.spm && type != PIECE_NORMAL) continue;
        min = any ? fmin(min, p->piece[id].score) : p->piece[id].score;
        p->max_score = fmax(p->max_score, p->piece[id].score);
        any = true;
    }
    prefix_build(&p->table);
    prefix_build(&p->user);
    p->unknown_score = p->single ? (float)((float)min - 10.0f) : min - 10.0;
    return 0;
}

void added_add(added_tokens *a, const char *s, size_t n, struct added_token token)
{
    int64_t k = textset_add(&a->text, s, n);
    PUPIL_GROW(a->token, k, a->cap);
    a->token[k] = token;
}

/* ---- encode ---- */

static void cut_added(const pupil_tokenizer *t, int level, const char *s, size_t n, bool from_start,
                      int64_t room, id_list *out);

/* A text without added tokens of this level. */
static void encode_part(const pupil_tokenizer *t, int level, const char *s, size_t n, bool from_start,
                        int64_t room, id_list *out)
{
    const struct tokenizer_pieces *p = t->pieces;
    if (n == 0) return;
    if (level == 0) {
        pupil_buf b = {0};
        normalizer_run(&p->normal, &p->user, s, n, &b);
        cut_added(t, 1, b.s, b.len, from_start, room, out);
        pupil_buf_free(&b);
        return;
    }
    text_parts parts = {.from_start = from_start};
    parts_add(&parts, s, n);
    for (int64_t i = 0; i < p->pres; i++) pre_step_run(&p->pre[i], &parts);
    for (int64_t i = 0; i < parts.n && out->n < room; i++) {
        size_t start = i ? parts.end[i - 1] : 0;
        pieces_cover(t, parts.text.s + start, parts.end[i] - start, out);
    }
    parts_free(&parts);
}

/* Where the white space before `at` begins, not before `from`. */
static size_t white_before(const char *s, size_t from, size_t at)
{
    while (at > from) {
        size_t one = at - 1;
        while (one > from && ((uint8_t)s[one] & 0xc0) == 0x80) one--;
        const uint8_t *p = (const uint8_t *)s + one;
        if (!text_is_white(tokenizer_next_point(&p, (const uint8_t *)s + at))) break;
        at = one;
    }
    return at;
}

static size_t white_after(const char *s, size_t at, size_t n)
{
    const uint8_t *p = (const uint8_t *)s + at, *end = (const uint8_t *)s + n, *here = p;
    while (p < end && text_is_white(tokenizer_next_point(&p, end))) here = p;
    return (size_t)((const char *)here - s);
}

static void cut_added(const pupil_tokenizer *t, int level, const char *s, size_t n, bool from_start,
                      int64_t room, id_list *out)
{
    const added_tokens *a = &t->pieces->added[level];
    size_t done = 0;
    for (size_t at = 0; at < n && out->n < room; at++) {
        int32_t k = prefix_longest(&a->table, s + at, n - at);
        if (k < 0) continue;
        size_t to = at + a->text.len[k], from = a->token[k].lstrip ? white_before(s, done, at) : at;
        encode_part(t, level, s + done, from - done, from_start && done == 0, room, out);
        PUPIL_GROW(out->id, out->n, out->cap);
        out->id[out->n++] = a->token[k].id;
        done = a->token[k].rstrip ? white_after(s, to, n) : to;
        at = done - 1;
    }
    if (out->n < room) encode_part(t, level, s + done, n - done, from_start && done == 0, room, out);
}

int pieces_encode(const pupil_tokenizer *t, const char *text, int context, int32_t *ids)
{
    const struct tokenizer_pieces *p = t->pieces;
    int64_t room = context - (p->first >= 0) - (p->last >= 0);
    pupil_buf clean = {0};
    id_list list = {0};
    int n = 0;
    tokenizer_clean(t->cleaning, text, &clean);
    cut_added(t, 0, clean.s, clean.len, true, room, &list);
    if (p->first >= 0) ids[n++] = p->first;
    for (int64_t i = 0; i < PUPIL_MIN(list.n, room); i++) ids[n++] = list.id[i];
    if (p->last >= 0) ids[n++] = p->last;
    while (n < context) ids[n++] = p->pad;
    pupil_free(&list.id);
    pupil_buf_free(&clean);
    return n;
}

/* ---- decode ---- */

static void decode_piece(const char *s, size_t n, pupil_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        bool blank = n - i >= 3 && memcmp(s + i, BLANK_MARK, 3) == 0;
        pupil_buf_add(out, blank ? " " : s + i, 1);
        if (blank) i += 2;
    }
}

char *pieces_decode(const pupil_tokenizer *t, const int32_t *ids, int n)
{
    const struct tokenizer_pieces *p = t->pieces;
    pupil_buf raw = {0}, out = {0};
    pupil_buf_puts(&raw, "");
    for (int i = 0; i < n; i++) {
        int32_t id = ids[i];
        if (id < 0 || id >= t->token.n) pupil_buf_puts(&raw, "\xff");
        else if (p->piece[id].type == PIECE_BYTE)
            pupil_buf_add(&raw, &(char){(char)strtol(t->token.text[id] + 1, NULL, 16)}, 1);
        else decode_piece(t->token.text[id], t->token.len[id], &raw);
    }
    bool drop = p->drop_blank && raw.s[0] == ' ';
    pupil_buf_puts(&out, "");
    tokenizer_replace_invalid(raw.s + drop, raw.len - drop, &out);
    pupil_buf_free(&raw);
    return out.s;
}
