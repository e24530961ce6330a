/* slots.c: sums over slots in one fixed binary tree, whoever owns the slots.
 *
 * A node (level l, index k) covers slots k 2^l .. (k+1) 2^l - 1; its value is left + right. A rank owns a run of slots,
 * which splits into maximal whole nodes (one when ranks are a power of two); it adds up inside them as its slots
 * finish, left before right. Then each rank collects its range of elements of everybody's nodes and finishes the
 * tree there. Additions and their order are the same for any number of ranks: so are the bits. */
#include "comm.h"

#include <string.h>

typedef struct {
    int64_t level, index;
} node;

struct pupil_slot_sum {
    pupil_comm *c;
    int64_t slots, n, next; /* next own slot */
    node *own;              /* stack of finished nodes, left to right */
    float **value;          /* their vectors */
    int64_t depth, allocated;
    float *inbox;           /* slices received */
    int64_t inbox_room;
};

int64_t pupil_slot_first(int64_t slots, int size, int rank) { return slots * rank / size; }

static void add_into(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

pupil_slot_sum *pupil_slot_sum_new(pupil_comm *c, int64_t slots, int64_t n)
{
    PUPIL_REQUIRE(slots >= 1 && (slots & (slots - 1)) == 0);
    pupil_slot_sum *s = pupil_alloc(sizeof *s);
    *s = (pupil_slot_sum){.c = c, .slots = slots, .n = n, .next = pupil_slot_first(slots, c->size, c->rank)};
    s->own = pupil_alloc(140 * sizeof *s->own);
    s->value = pupil_alloc(140 * sizeof *s->value);
    return s;
}

void pupil_slot_sum_free(pupil_slot_sum **s)
{
    if (!*s) return;
    for (int64_t i = 0; i < (*s)->allocated; i++) pupil_free(&(*s)->value[i]);
    pupil_free(&(*s)->value);
    pupil_free(&(*s)->own);
    pupil_free(&(*s)->inbox);
    pupil_free(s);
}

float *pupil_slot_sum_begin(pupil_slot_sum *s)
{
    int64_t first = pupil_slot_first(s->slots, s->c->size, s->c->rank);
    if (s->next == pupil_slot_first(s->slots, s->c->size, s->c->rank + 1)) s->next = first;
    if (s->next == first) s->depth = 0;
    if (s->depth == s->allocated) s->value[s->allocated++] = pupil_alloc((size_t)s->n * sizeof(float));
    memset(s->value[s->depth], 0, (size_t)s->n * sizeof(float));
    return s->value[s->depth];
}

void pupil_slot_sum_end(pupil_slot_sum *s)
{
    s->own[s->depth++] = (node){0, s->next++};
    while (s->depth >= 2) {
        node *left = &s->own[s->depth - 2], *right = left + 1;
        if (left->level != right->level || left->index % 2 || left->index + 1 != right->index) break;
        add_into(s->value[s->depth - 2], s->value[s->depth - 1], s->n);
        *left = (node){left->level + 1, left->index / 2};
        s->depth--;
    }
}

/* The maximal whole nodes of slots [a, b), left to right; returns how many. */
static int64_t nodes_of(int64_t a, int64_t b, node *out)
{
    int64_t n = 0;
    while (a < b) {
        int64_t level = 0;
        while (a % ((int64_t)2 << level) == 0 && a + ((int64_t)2 << level) <= b) level++;
        out[n++] = (node){level, a >> level};
        a += (int64_t)1 << level;
    }
    return n;
}

/* A leaf of the tree that is being finished: a node and its slice. */
typedef struct {
    node at;
    float *slice;
} leaf;

/* Adds up leaves[*i ...] until node `at` is complete; its sum is in the returned slice. */
static float *finish(leaf *leaves, int64_t *i, node at, int64_t n)
{
    if (leaves[*i].at.level == at.level) return leaves[(*i)++].slice;
    float *left = finish(leaves, i, (node){at.level - 1, at.index * 2}, n);
    const float *right = finish(leaves, i, (node){at.level - 1, at.index * 2 + 1}, n);
    add_into(left, right, n);
    return left;
}

static int64_t log2_of(int64_t slots)
{
    int64_t level = 0;
    while ((int64_t)1 << level < slots) level++;
    return level;
}

/* Exchange slices: every rank sends rank r its nodes' elements [at[r], at[r+1]). */
static int exchange(pupil_slot_sum *s, const int64_t *at, leaf *leaves, int64_t nleaves, const int64_t *first_leaf)
{
    pupil_comm *c = s->c;
    int64_t mine = at[c->rank + 1] - at[c->rank];
    if (nleaves * mine > s->inbox_room) {
        pupil_free(&s->inbox);
        s->inbox_room = nleaves * mine;
        s->inbox = pupil_alloc((size_t)s->inbox_room * sizeof(float));
    }
    MPI_Request *q = pupil_alloc((size_t)(nleaves + s->depth * c->size) * sizeof *q);
    int nq = 0, r = 0;
    for (int p = 0; p < c->size; p++)
        for (int64_t l = first_leaf[p]; l < first_leaf[p + 1]; l++) {
            leaves[l].slice = p == c->rank ? s->value[l - first_leaf[p]] + at[p] : s->inbox + l * mine;
            if (p != c->rank && mine && r == 0)
                r = mpi_status(MPI_Irecv(leaves[l].slice, (int)mine, MPI_FLOAT, p, (int)(l - first_leaf[p]) + 1000, c->mpi, &q[nq++]), "slot sum");
        }
    for (int k = 1; k < c->size && r == 0; k++) {
        int p = (c->rank + k) % c->size;
        for (int64_t d = 0; d < s->depth && r == 0 && at[p + 1] > at[p]; d++)
            r = mpi_status(MPI_Isend(s->value[d] + at[p], (int)(at[p + 1] - at[p]), MPI_FLOAT, p, (int)d + 1000, c->mpi, &q[nq++]), "slot sum");
    }
    if (r == 0) r = wait_all(c, nq, q, "slot sum");
    pupil_free(&q);
    return r;
}

int pupil_slot_sum_scatter(pupil_slot_sum *s, const int64_t *at, float **ret_mine)
{
    pupil_comm *c = s->c;
    PUPIL_REQUIRE(s->next == pupil_slot_first(s->slots, c->size, c->rank + 1)); /* all own slots are in */
    int64_t nleaves = 0;
    leaf *leaves = pupil_alloc((size_t)(s->slots + 1) * sizeof *leaves);
    int64_t *first_leaf = pupil_alloc((size_t)(c->size + 1) * sizeof *first_leaf);
    for (int p = 0; p < c->size; p++) {
        node list[140];
        int64_t n = nodes_of(pupil_slot_first(s->slots, c->size, p), pupil_slot_first(s->slots, c->size, p + 1), list);
        for (int64_t i = 0; i < n; i++) leaves[nleaves++].at = list[i];
        first_leaf[p + 1] = nleaves;
    }
    int r = exchange(s, at, leaves, nleaves, first_leaf);
    if (r == 0) {
        int64_t i = 0;
        *ret_mine = finish(leaves, &i, (node){log2_of(s->slots), 0}, at[c->rank + 1] - at[c->rank]);
    }
    pupil_free(&leaves);
    pupil_free(&first_leaf);
    return r;
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
