/* tokenizer_cover.c: the ids that cover a normalised text.
 *
 * Unigram: the path of greatest score (Viterbi), as sentencepiece's EncodeOptimized() and the tokenizers
 * library's port of it, ties included: the path that came first stays. One pass; memory is linear in the
 * text. BPE: symbols are joined by the tokenizer's pairs, or as sentencepiece does wherever two neighbours
 * make a piece, the piece of greatest score first. */
#include "tokenizer_pieces.h"

#include <string.h>

static void add_id(id_list *out, int32_t id)
{
    PUPIL_GROW(out->id, out->n, out->cap);
    out->id[out->n++] = id;
}

/* Text that no piece covers: bytes, or the unknown id, once for a run. */
static void add_unknown(const struct tokenizer_pieces *p, const char *s, size_t n, bool *in_run, id_list *out)
{
    for (size_t i = 0; p->bytes && i < n; i++) add_id(out, p->byte[(uint8_t)s[i]]);
    if (p->bytes) return;
    if (!*in_run || !p->fuse_unknown) add_id(out, p->unknown);
    *in_run = true;
}

/* ---- unigram ---- */

/* The best path that ends at a byte: its score, and its last piece. */
typedef struct {
    double score;
    int64_t start; /* -1: no path yet */
    int32_t id;
} path_end;

static void offer(const struct tokenizer_pieces *p, path_end *end, double score, int64_t start, int32_t id)
{
    if (end->start >= 0 && score <= end->score) return;
    *end = (path_end){p->single ? (float)score : score, start, id};
}

/* A piece that a user defined is always taken: it scores more than any way to cover it. */
static double score_of(const struct tokenizer_pieces *p, int32_t id, size_t bytes)
{
    if (p->piece[id].type != PIECE_USER) return p->piece[id].score;
    return (double)((float)bytes * (float)p->max_score) - 0.1;
}

/* Every path that goes on from byte `at` by one piece. */
static void extend(const struct tokenizer_pieces *p, const char *s, size_t n, size_t at, size_t one,
                   path_end *end)
{
    prefix_walk w = {0};
    int32_t id;
    bool alone = false; /* a piece covers just this code point */
    for (size_t i = at; i < n && prefix_step(&p->table, &w, (uint8_t)s[i], &id); i++) {
        if (id < 0 || p->piece[id].type == PIECE_UNUSED) continue;
        offer(p, &end[i + 1], score_of(p, id, i + 1 - at) + end[at].score, (int64_t)at, id);
        alone |= i + 1 - at == one;
    }
    if (alone) return;
    double unknown = end[at].score + p->unknown_score;
    offer(p, &end[at + one], p->single ? (float)unknown : unknown, (int64_t)at, p->unknown);
}

static void unigram(const struct tokenizer_pieces *p, const char *s, size_t n, id_list *out)
{
    path_end *end = pupil_alloc((n + 1) * sizeof *end);
    for (size_t i = 1; i <= n; i++) end[i].start = -1;
    for (size_t at = 0, one; at < n; at += one) {
        one = point_len(s + at, s + n);
        extend(p, s, n, at, one, end);
    }
    for (int64_t at = (int64_t)n, next = -1, before; at > 0; at = before) { /* turn the path round */
        before = end[at].start;
        end[at].start = next;
        next = at;
        if (before == 0) end[0].start = next;
    }
    bool in_run = false;
    for (int64_t at = 0; at < (int64_t)n; at = end[at].start) {
        int32_t id = end[end[at].start].id;
        if (id == p->unknown) {
            add_unknown(p, s + at, (size_t)(end[at].start - at), &in_run, out);
        } else {
            add_id(out, id);
            in_run = false;
        }
    }
    pupil_free(&end);
}

/* ---- BPE ---- */

typedef struct {
    const pupil_tokenizer *t;
    const char *s;
} joining;

/* Smaller for a greater score. */
static uint32_t score_order(double score)
{
    float f = (float)score + 0.0f;
    uint32_t u;
    memcpy(&u, &f, 4);
    return ~(u >> 31 ? ~u : u | 1u << 31);
}

static int32_t join_by_score(const void *model, const struct tokenizer_symbol *a,
                             const struct tokenizer_symbol *b, uint32_t *order)
{
    const joining *j = model;
    const struct tokenizer_pieces *p = j->t->pieces;
    if (a->fixed || b->fixed) return -1;
    int64_t id = textset_find(&j->t->token, j->s + a->at, (size_t)a->len + b->len);
    if (id < 0 || (p->piece[id].type != PIECE_NORMAL && p->piece[id].type != PIECE_USER)) return -1;
    *order = score_order(p->piece[id].score);
    return (int32_t)id;
}

static int32_t join_by_pairs(const void *model, const struct tokenizer_symbol *a,
                             const struct tokenizer_symbol *b, uint32_t *order)
{
    const joining *j = model;
    int64_t rank = tokenizer_pairs_find(&j->t->pairs, a->id, b->id);
    *order = (uint32_t)rank;
    return rank < 0 ? -1 : j->t->pairs.made[rank];
}

/* The id of one code point, or of a piece that stays as it is; `unknown` where there is none. */
static int32_t symbol_id(const pupil_tokenizer *t, const char *s, size_t n)
{
    const struct tokenizer_pieces *p = t->pieces;
    int64_t id = textset_find(&t->token, s, n);
    if (id < 0 || p->piece[id].type == PIECE_CONTROL || p->piece[id].type == PIECE_BYTE) return p->unknown;
    return (int32_t)id;
}

static int32_t first_symbols(const pupil_tokenizer *t, const char *s, size_t n, tokenizer_merger *m)
{
    const struct tokenizer_pieces *p = t->pieces;
    int32_t k = 0;
    for (size_t at = 0, one; at < n; at += one) {
        int32_t user = prefix_longest(&p->user, s + at, n - at);
        one = user >= 0 ? t->token.len[user] : point_len(s + at, s + n);
        m->symbol[k++] = (struct tokenizer_symbol){.id = user >= 0 ? user : symbol_id(t, s + at, one),
                                                   .at = (uint32_t)at,
                                                   .len = (uint32_t)one,
                                                   .fixed = user >= 0};
    }
    return k;
}

static void bpe(const pupil_tokenizer *t, const char *s, size_t n, id_list *out)
{
    const struct tokenizer_pieces *p = t->pieces;
    tokenizer_merger m = {0};
    tokenizer_merger_begin(&m, (int64_t)n);
    int32_t k = first_symbols(t, s, n, &m);
    joining j = {t, s};
    tokenizer_merge(&m, k, p->by_score ? join_by_score : join_by_pairs, &j);
    bool in_run = false;
    for (int32_t i = 0; i >= 0; i = m.symbol[i].after) {
        const struct tokenizer_symbol *a = &m.symbol[i];
        if (a->id == p->unknown) {
            add_unknown(p, s + a->at, a->len, &in_run, out);
        } else {
            add_id(out, a->id);
            in_run = false;
        }
    }
    tokenizer_merger_end(&m);
}

void pieces_cover(const pupil_tokenizer *t, const char *s, size_t n, id_list *out)
{
    if (n == 0) return;
    if (t->kind == TOKENIZER_UNIGRAM) unigram(t->pieces, s, n, out);
    else bpe(t, s, n, out);
}
