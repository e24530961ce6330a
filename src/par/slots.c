/* slots.c: sums over slots in one fixed binary tree, whoever owns the slots.
 *
 * A node of the tree (level l, index k) covers slots k 2^l .. (k+1) 2^l - 1; its value is left + right. A rank owns a run of
 * slots, which splits into maximal whole nodes (one when ranks are a power of two); it adds up inside them as its slots finish,
 * left before right, in memory that the other ranks of its machine see. These then add up what is whole among all of theirs,
 * each a part of the elements; last, each rank collects its range of elements from every machine and finishes the tree there.
 * Additions and their order are the same for any number of ranks and machines: so are the bits. */
#include "comm.h"

#include <string.h>

typedef struct {
    int64_t level, index;
} node;

/* A node whose value a rank holds: its v-th vector. */
typedef struct {
    node at;
    int rank;
    int64_t v;
} held;

/* A node and (a slice of) its value. */
typedef struct {
    node at;
    const float *x;
} part;

enum { BLOCK = 2048, LEVELS = 24 };

struct pupil_slot_sum {
    pupil_comm *c;
    int64_t slots, n, stride, next; /* stride: n, rounded to cache lines; next own slot */
    node *own;                      /* stack of finished nodes, left to right */
    int64_t depth;
    neighbours *nb;
    segments *mem;                  /* vectors of the ranks of this machine */
    held *leaf, *top;               /* left to right: of single ranks; of machines */
    int64_t leaves, tops;
    part *part;                     /* [leaves + 1] */
    float *inbox, *total;           /* slices received; their sum */
    int64_t inbox_room, total_room;
    MPI_Request *request;
};

int64_t pupil_slot_first(int64_t slots, int size, int rank) { return slots * rank / size; }

static void add_into(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

/* Joins the two last of a stack as long as they are siblings. */
static bool join(node *left, const node *right)
{
    if (left->level != right->level || left->index % 2 || left->index + 1 != right->index) return false;
    *left = (node){left->level + 1, left->index / 2};
    return true;
}

/* ---- who holds what -------------------------------------------------------------------------------- */
/* The maximal whole nodes of a rank's slots, left to right; returns how many. */
static int64_t nodes_of(const pupil_slot_sum *s, int rank, held *out)
{
    int64_t a = pupil_slot_first(s->slots, s->c->size, rank), b = pupil_slot_first(s->slots, s->c->size, rank + 1), n = 0;
    while (a < b) {
        int64_t level = 0;
        while (a % ((int64_t)2 << level) == 0 && a + ((int64_t)2 << level) <= b) level++;
        out[n] = (held){{level, a >> level}, rank, n};
        n++;
        a += (int64_t)1 << level;
    }
    return n;
}

static void list_leaves(pupil_slot_sum *s)
{
    s->leaf = pupil_alloc((size_t)(s->slots + 2 * LEVELS) * sizeof *s->leaf);
    s->top = pupil_alloc((size_t)(s->slots + 2 * LEVELS) * sizeof *s->top);
    s->part = pupil_alloc((size_t)(s->slots + 1) * sizeof *s->part);
    for (int p = 0; p < s->c->size; p++) s->leaves += nodes_of(s, p, s->leaf + s->leaves);
}

/* What ranks of one machine can make of their leaves. Neighbours in the list that are on one machine. */
static void list_tops(pupil_slot_sum *s)
{
    for (int64_t i = 0; i < s->leaves; i++) {
        s->top[s->tops++] = s->leaf[i];
        for (; s->tops >= 2; s->tops--) {
            held *left = &s->top[s->tops - 2], *right = left + 1;
            if (s->nb->node_of[left->rank] != s->nb->node_of[right->rank] || !join(&left->at, &right->at)) break;
        }
    }
}

/* Vectors that a rank needs at most: its unfinished nodes. */
static int64_t deepest(const pupil_slot_sum *s)
{
    int64_t most = 1, depth = 0;
    for (int64_t k = pupil_slot_first(s->slots, s->c->size, s->c->rank); k < pupil_slot_first(s->slots, s->c->size, s->c->rank + 1); k++) {
        s->own[depth++] = (node){0, k};
        most = PUPIL_MAX(most, depth);
        while (depth >= 2 && join(&s->own[depth - 2], &s->own[depth - 1])) depth--;
    }
    return most;
}

int pupil_slot_sum_new(pupil_comm *c, pupil_reduce how, int64_t slots, int64_t n, pupil_slot_sum **ret)
{
    PUPIL_REQUIRE(slots >= 1 && (slots & (slots - 1)) == 0);
    pupil_slot_sum *s = pupil_alloc(sizeof *s);
    *s = (pupil_slot_sum){.c = c, .slots = slots, .n = n, .stride = (n + 15) / 16 * 16, .next = pupil_slot_first(slots, c->size, c->rank)};
    *ret = s;
    s->own = pupil_alloc((size_t)(slots + 2 * LEVELS) * sizeof *s->own);
    list_leaves(s);
    size_t bytes = (size_t)(deepest(s) * s->stride) * sizeof(float);
    PUPIL_TRY(segments_new(c, how, bytes, bytes, &s->nb, &s->mem));
    list_tops(s);
    s->request = pupil_alloc((size_t)((s->tops + 1) * (c->size + 1)) * sizeof *s->request);
    return 0;
}

int pupil_slot_sum_nodes(const pupil_slot_sum *s) { return s->nb->nodes; }

void pupil_slot_sum_free(pupil_slot_sum **sp)
{
    pupil_slot_sum *s = *sp;
    if (!s) return;
    segments_free(&s->mem);
    neighbours_free(&s->nb);
    pupil_free(&s->own);
    pupil_free(&s->leaf);
    pupil_free(&s->top);
    pupil_free(&s->part);
    pupil_free(&s->inbox);
    pupil_free(&s->total);
    pupil_free(&s->request);
    pupil_free(sp);
}

/* ---- own slots ---------------------------------------------------------------------------------------- */
/* The v-th vector of a rank of this machine. */
static float *vector_of(const pupil_slot_sum *s, int rank, int64_t v)
{
    return (float *)(void *)s->mem->segment[s->nb->local_of[rank]] + v * s->stride;
}

float *pupil_slot_sum_begin(pupil_slot_sum *s)
{
    int64_t first = pupil_slot_first(s->slots, s->c->size, s->c->rank);
    if (s->next == pupil_slot_first(s->slots, s->c->size, s->c->rank + 1)) s->next = first;
    if (s->next == first) s->depth = 0;
    float *v = vector_of(s, s->c->rank, s->depth);
    memset(v, 0, (size_t)s->n * sizeof *v);
    return v;
}

void pupil_slot_sum_end(pupil_slot_sum *s)
{
    s->own[s->depth++] = (node){0, s->next++};
    while (s->depth >= 2 && join(&s->own[s->depth - 2], &s->own[s->depth - 1])) {
        s->depth--;
        add_into(vector_of(s, s->c->rank, s->depth - 1), vector_of(s, s->c->rank, s->depth), s->n);
    }
}

/* ---- the tree over parts ------------------------------------------------------------------------------ */
/* out[n] = elements [from, from + n) of node `at` from parts[*i ...]; out may be where the first of them lies. */
static void add_block(float *out, float *scratch, const part *parts, int64_t *i, node at, int64_t from, int64_t n)
{
    const part *p = &parts[*i];
    if (p->at.level == at.level) {
        if (p->x + from != out) memcpy(out, p->x + from, (size_t)n * sizeof *out);
        (*i)++;
        return;
    }
    node left = {at.level - 1, at.index * 2}, right = {at.level - 1, at.index * 2 + 1};
    add_block(out, scratch, parts, i, left, from, n);
    if (parts[*i].at.level == right.level) {
        add_into(out, parts[(*i)++].x + from, n);
        return;
    }
    add_block(scratch, scratch + BLOCK, parts, i, right, from, n);
    add_into(out, scratch, n);
}

/* Elements [a, b) of node `at`, a block at a time so that what is in between stays in the cache. */
static void add_up(float *out, const part *parts, node at, int64_t a, int64_t b)
{
    float scratch[LEVELS * BLOCK];
    for (int64_t from = a; from < b; from += BLOCK) {
        int64_t i = 0;
        add_block(out + from, scratch, parts, &i, at, from, PUPIL_MIN((int64_t)BLOCK, b - from));
    }
}

static bool is_inside(node x, node of) { return x.level <= of.level && x.index >> (of.level - x.level) == of.index; }

/* The nodes that are whole on this machine, each in the place of its leftmost leaf; this rank's share of the elements. */
static void add_up_tops(pupil_slot_sum *s)
{
    int64_t lines = s->stride / 16, a = lines * s->nb->me / s->nb->size * 16, b = lines * (s->nb->me + 1) / s->nb->size * 16;
    for (int64_t t = 0, l = 0; t < s->tops; t++) {
        int64_t n = 0;
        for (; l < s->leaves && is_inside(s->leaf[l].at, s->top[t].at); l++)
            if (s->nb->node_of[s->leaf[l].rank] == s->nb->node) s->part[n++] = (part){s->leaf[l].at, vector_of(s, s->leaf[l].rank, s->leaf[l].v)};
        if (n > 1) add_up(vector_of(s, s->top[t].rank, s->top[t].v), s->part, s->top[t].at, a, PUPIL_MIN(b, s->n));
    }
}

/* Every rank gets its elements [at[r], at[r+1]) of other machines' tops from the rank there that stands for it. */
static int exchange(pupil_slot_sum *s, const int64_t *at)
{
    const pupil_comm *c = s->c;
    const neighbours *nb = s->nb;
    int64_t mine = at[c->rank + 1] - at[c->rank];
    if (s->tops * mine > s->inbox_room) {
        pupil_free(&s->inbox);
        s->inbox_room = s->tops * mine;
        s->inbox = pupil_alloc((size_t)s->inbox_room * sizeof(float));
    }
    int nq = 0, r = 0;
    for (int64_t t = 0; t < s->tops && r == 0; t++) {
        const held *h = &s->top[t];
        int from = nb->node_of[h->rank], tag = (int)t + 1000;
        if (from != nb->node) {
            s->part[t] = (part){h->at, s->inbox + t * mine};
            if (mine) r = mpi_status(MPI_Irecv(s->inbox + t * mine, (int)mine, MPI_FLOAT, neighbours_peer(nb, c->rank, from), tag, c->mpi, &s->request[nq++]), "slot sum");
            continue;
        }
        const float *x = vector_of(s, h->rank, h->v);
        s->part[t] = (part){h->at, x + at[c->rank]};
        for (int k = 1; k < c->size && r == 0; k++) {
            int p = (c->rank + k) % c->size;
            if (nb->node_of[p] != nb->node && neighbours_peer(nb, p, nb->node) == c->rank && at[p + 1] > at[p])
                r = mpi_status(MPI_Isend(x + at[p], (int)(at[p + 1] - at[p]), MPI_FLOAT, p, tag, c->mpi, &s->request[nq++]), "slot sum");
        }
    }
    return r < 0 ? r : wait_all(c, nq, s->request, "slot sum");
}

static int64_t log2_of(int64_t slots)
{
    int64_t level = 0;
    while ((int64_t)1 << level < slots) level++;
    return level;
}

int pupil_slot_sum_scatter(pupil_slot_sum *s, const int64_t *at, float **ret_mine)
{
    int64_t mine = at[s->c->rank + 1] - at[s->c->rank];
    PUPIL_REQUIRE(s->next == pupil_slot_first(s->slots, s->c->size, s->c->rank + 1)); /* all own slots are in */
    if (s->c->size == 1) {
        *ret_mine = vector_of(s, 0, 0) + at[0];
        return 0;
    }
    if (mine > s->total_room) {
        pupil_free(&s->total);
        s->total = pupil_alloc((size_t)mine * sizeof(float));
        s->total_room = mine;
    }
    PUPIL_TRY(segments_barrier(s->mem, "slot sum"));
    if (s->nb->nodes == 1) {
        for (int64_t l = 0; l < s->leaves; l++) s->part[l] = (part){s->leaf[l].at, vector_of(s, s->leaf[l].rank, s->leaf[l].v) + at[s->c->rank]};
    } else {
        add_up_tops(s);
        PUPIL_TRY(segments_barrier(s->mem, "slot sum"));
        PUPIL_TRY(exchange(s, at));
    }
    add_up(s->total, s->part, (node){log2_of(s->slots), 0}, 0, mine);
    *ret_mine = s->total;
    return segments_barrier(s->mem, "slot sum"); /* nobody's vectors are needed any more */
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
