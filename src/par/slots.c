/* slots.c: sums over slots in one fixed binary tree (tree.h), whoever owns the slots.
 *
 * A rank owns a run of slots, which splits into maximal whole nodes (one when ranks are a power of two); it adds up inside them
 * as its slots finish, left before right, in memory that the other ranks of its machine see. What then becomes of them is in
 * buckets.c. Additions and their order are the same for any number of ranks and machines: so are the bits. */
#include "slots.h"

#include <string.h>

int64_t pupil_slot_first(int64_t slots, int size, int rank) { return slots * rank / size; }

/* ---- who holds what -------------------------------------------------------------------------------- */
static void list_leaves(pupil_slot_sum *s)
{
    node cover[2 * TREE_LEVELS];
    s->leaf = pupil_alloc((size_t)(s->slots + 1) * sizeof *s->leaf);
    s->top = pupil_alloc((size_t)(s->slots + 1) * sizeof *s->top);
    for (int p = 0; p < s->c->size; p++) {
        int64_t n = tree_cover(slots_of(s, p), slots_of(s, p + 1), cover);
        for (int64_t v = 0; v < n; v++) s->leaf[s->leaves++] = (held){cover[v], p, v};
    }
}

/* What ranks of one machine can make of their leaves. Neighbours in the list that are on one machine. */
static void list_tops(pupil_slot_sum *s)
{
    for (int64_t i = 0; i < s->leaves; i++) {
        s->top[s->tops++] = s->leaf[i];
        for (; s->tops >= 2; s->tops--) {
            held *left = &s->top[s->tops - 2], *right = left + 1;
            if (s->nb->node_of[left->rank] != s->nb->node_of[right->rank] || !tree_join(&left->at, &right->at)) break;
        }
    }
}

/* Vectors that a rank needs at most: its unfinished nodes. */
static int64_t deepest(const pupil_slot_sum *s)
{
    int64_t most = 1, depth = 0;
    for (int64_t k = slots_of(s, s->c->rank); k < slots_of(s, s->c->rank + 1); k++) {
        s->own[depth++] = (node){0, k};
        most = PUPIL_MAX(most, depth);
        while (depth >= 2 && tree_join(&s->own[depth - 2], &s->own[depth - 1])) depth--;
    }
    return most;
}

int pupil_slot_sum_new(pupil_comm *c, pupil_reduce how, int64_t slots, int64_t n, const int64_t *at, int64_t bucket, pupil_slot_sum **ret)
{
    PUPIL_REQUIRE(slots >= 1 && (slots & (slots - 1)) == 0);
    pupil_slot_sum *s = pupil_alloc(sizeof *s);
    *s = (pupil_slot_sum){.c = c, .slots = slots, .n = n, .stride = (n + 15) / 16 * 16};
    *ret = s;
    s->next = slots_of(s, c->rank);
    s->at = pupil_alloc((size_t)(c->size + 1) * sizeof *s->at);
    memcpy(s->at, at, (size_t)(c->size + 1) * sizeof *s->at);
    s->own = pupil_alloc((size_t)(2 * TREE_LEVELS) * sizeof *s->own);
    list_leaves(s);
    buckets_list(s, bucket);
    size_t bytes = buckets_head(s) + (size_t)(deepest(s) * s->stride) * sizeof(float);
    PUPIL_TRY(segments_new(c, how, bytes, bytes, &s->nb, &s->mem));
    list_tops(s);
    buckets_new(s);
    return 0;
}

int pupil_slot_sum_nodes(const pupil_slot_sum *s) { return s->nb->nodes; }

void pupil_slot_sum_free(pupil_slot_sum **sp)
{
    pupil_slot_sum *s = *sp;
    if (!s) return;
    buckets_free(s);
    segments_free(&s->mem);
    neighbours_free(&s->nb);
    pupil_free(&s->at);
    pupil_free(&s->own);
    pupil_free(&s->leaf);
    pupil_free(&s->top);
    pupil_free(sp);
}

/* ---- own slots ---------------------------------------------------------------------------------------- */
float *slots_vector(const pupil_slot_sum *s, int rank, int64_t v)
{
    return (float *)(void *)(s->mem->segment[s->nb->local_of[rank]] + buckets_head(s)) + v * s->stride;
}

float *pupil_slot_sum_begin(pupil_slot_sum *s)
{
    if (s->next == slots_of(s, s->c->rank + 1)) s->next = slots_of(s, s->c->rank);
    if (s->next == slots_of(s, s->c->rank)) s->depth = 0;
    if (slots_is_last(s)) buckets_begin(s);
    float *v = slots_vector(s, s->c->rank, s->depth);
    memset(v, 0, (size_t)s->n * sizeof *v);
    return v;
}

void slots_join(pupil_slot_sum *s, int64_t a, int64_t b)
{
    node right = {0, s->next};
    for (int64_t d = s->depth; d >= 1; d--) {
        node left = s->own[d - 1];
        if (!tree_join(&left, &right)) break;
        tree_add_into(slots_vector(s, s->c->rank, d - 1) + a, slots_vector(s, s->c->rank, d) + a, b - a);
        right = left;
    }
}

void pupil_slot_sum_end(pupil_slot_sum *s)
{
    if (slots_is_last(s)) buckets_close(s);
    else slots_join(s, 0, s->n);
    s->own[s->depth++] = (node){0, s->next++};
    while (s->depth >= 2 && tree_join(&s->own[s->depth - 2], &s->own[s->depth - 1])) s->depth--;
}

int pupil_slot_sum_doubles(pupil_comm *c, int64_t slots, double *values, int n, double *ret)
{
    size_t *at = pupil_alloc((size_t)(c->size + 1) * sizeof *at);
    for (int p = 0; p <= c->size; p++) at[p] = (size_t)pupil_slot_first(slots, c->size, p) * (size_t)n * sizeof *values;
    int r = pupil_gather_ranges(c, values, at);
    pupil_free(&at);
    PUPIL_TRY(r);
    for (int64_t half = slots / 2, step = 1; half >= 1; half /= 2, step *= 2)
        for (int64_t k = 0; k < half; k++)
            for (int j = 0; j < n; j++) values[2 * k * step * n + j] += values[(2 * k + 1) * step * n + j];
    memcpy(ret, values, (size_t)n * sizeof *ret);
    return 0;
}
