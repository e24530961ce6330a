/* buckets.c: the way of a sum's elements to the ranks that want them, a bucket of them at a time, so that what is final travels
 * while backward still makes the rest. A bucket is, on this rank,
 *
 *   open     while its last slot may add to it;
 *   own      when it will not: said to the ranks of this machine. When all of them are so far, each adds up a share of the
 *            bucket's elements: what is whole among all of theirs, in the place of the leftmost;
 *   shared   when it has done so: said to them, too. When all have, what ranks of other machines want of it is sent;
 *   posted   when it is. When what this rank wants has come, it finishes the tree there;
 *   done.
 *
 * On one machine, "own" leads to "done" at once. Nothing here waits but pupil_slot_sum_scatter(): pupil_slot_sum_final() takes
 * each bucket as far as it will go, and MPI with it. */
#include "slots.h"

enum { BUCKETS = 256, TAG = 1000, TAGS = 32767 - TAG, SAID_OWN = 0, SAID_SHARED, SAID };

/* ---- lists ------------------------------------------------------------------------------------------- */
/* Elements of bucket k that rank p wants. */
static int64_t wanted(const pupil_slot_sum *s, int64_t k, int p, int64_t *ret_first)
{
    int64_t a = PUPIL_MAX(s->bucket[k].first, s->at[p]), b = PUPIL_MIN(s->bucket[k].end, s->at[p + 1]);
    *ret_first = a;
    return PUPIL_MAX(b - a, (int64_t)0);
}

/* Every message of a round has a tag of its own, of those that every MPI has. */
void buckets_list(pupil_slot_sum *s, int64_t width)
{
    int64_t most = PUPIL_MAX((int64_t)1, PUPIL_MIN((int64_t)BUCKETS, TAGS / s->leaves)), n = s->stride;
    width = width > 0 ? PUPIL_MAX(width, (n + most - 1) / most) : n;
    s->width = (PUPIL_MAX(width, (int64_t)16) + 15) / 16 * 16;
    s->buckets = (n + s->width - 1) / s->width;
    s->bucket = pupil_alloc((size_t)s->buckets * sizeof *s->bucket);
    s->state = pupil_alloc((size_t)s->buckets * sizeof *s->state);
    s->missing = pupil_alloc((size_t)s->buckets * sizeof *s->missing);
    s->receives = pupil_alloc((size_t)s->buckets * sizeof *s->receives);
    for (int64_t k = 0; k < s->buckets; k++) {
        s->bucket[k].first = k * s->width;
        s->bucket[k].end = PUPIL_MIN((k + 1) * s->width, s->n);
    }
}

size_t buckets_head(const pupil_slot_sum *s) { return (SAID * (size_t)s->buckets * sizeof(int64_t) + 63) / 64 * 64; }

void buckets_new(pupil_slot_sum *s)
{
    const pupil_comm *c = s->c;
    int64_t from = s->at[c->rank], mine = s->at[c->rank + 1] - from;
    bool one = s->nb->nodes == 1;
    s->parts = one ? s->leaves : s->tops;
    s->part = pupil_alloc((size_t)(s->parts + 1) * sizeof *s->part);
    s->below = pupil_alloc((size_t)(s->leaves + 1) * sizeof *s->below);
    if (c->size == 1) return;
    s->total = pupil_alloc((size_t)(mine + 1) * sizeof *s->total);
    if (!one) {
        s->inbox = pupil_alloc((size_t)(s->tops * mine + 1) * sizeof *s->inbox);
        s->receive = pupil_alloc((size_t)(s->buckets * s->tops) * sizeof(MPI_Request));
        s->send = pupil_alloc((size_t)((s->buckets + c->size) * s->tops) * sizeof(MPI_Request));
    }
    for (int64_t t = 0; t < s->parts; t++) {
        const held *h = one ? &s->leaf[t] : &s->top[t];
        bool here = s->nb->node_of[h->rank] == s->nb->node;
        s->part[t] = (part){h->at, here ? slots_vector(s, h->rank, h->v) + from : s->inbox + t * mine};
    }
}

void buckets_free(pupil_slot_sum *s)
{
    pupil_free(&s->bucket);
    pupil_free(&s->state);
    pupil_free(&s->missing);
    pupil_free(&s->receives);
    pupil_free(&s->part);
    pupil_free(&s->below);
    pupil_free(&s->inbox);
    pupil_free(&s->total);
    pupil_free(&s->receive);
    pupil_free(&s->send);
}

/* ---- what the ranks of a machine tell each other ------------------------------------------------------ */
static _Atomic int64_t *said(const pupil_slot_sum *s, int local, int64_t k, int what)
{
    return (_Atomic int64_t *)(void *)s->mem->segment[local] + SAID * k + what;
}

static void say(const pupil_slot_sum *s, int64_t k, int what)
{
    atomic_store_explicit(said(s, s->nb->me, k, what), s->round, memory_order_release);
}

static bool all_said(const pupil_slot_sum *s, int64_t k, int what)
{
    for (int i = 0; i < s->nb->size; i++)
        if (atomic_load_explicit(said(s, i, k, what), memory_order_acquire) != s->round) return false;
    return true;
}

/* ---- from state to state ------------------------------------------------------------------------------ */
static int tag_of(const pupil_slot_sum *s, int64_t k, int64_t top) { return (int)(TAG + k * s->tops + top); }

/* This rank's elements of other machines' tops are awaited, each from the rank there that stands for it. */
static int await(pupil_slot_sum *s, int64_t k)
{
    int64_t first, mine = s->at[s->c->rank + 1] - s->at[s->c->rank], n = wanted(s, k, s->c->rank, &first);
    for (int64_t t = 0; t < s->tops && n; t++) {
        int from = s->nb->node_of[s->top[t].rank];
        if (from == s->nb->node) continue;
        MPI_TRY(MPI_Irecv(s->inbox + t * mine + (first - s->at[s->c->rank]), (int)n, MPI_FLOAT, neighbours_peer(s->nb, s->c->rank, from),
                          tag_of(s, k, t), s->c->mpi, &s->receive[k * s->tops + s->receives[k]++]), "slot sum");
    }
    return 0;
}

void buckets_begin(pupil_slot_sum *s)
{
    if (s->c->size == 1) return;
    s->round++;
    s->undone = s->buckets;
    s->sends = 0;
    for (int64_t k = 0; k < s->buckets; k++) {
        pupil_bucket *b = &s->bucket[k];
        *b = (pupil_bucket){.first = b->first, .end = b->end};
        s->state[k] = BUCKET_OPEN;
        s->missing[k] = b->end - b->first;
        s->receives[k] = 0;
        if (s->nb->nodes > 1 && s->failed == 0) s->failed = await(s, k);
    }
}

static void add_up_tops(pupil_slot_sum *s, int64_t k)
{
    int64_t first = s->bucket[k].first, lines = (s->bucket[k].end - first + 15) / 16, a = first + lines * s->nb->me / s->nb->size * 16;
    int64_t b = PUPIL_MIN(first + lines * (s->nb->me + 1) / s->nb->size * 16, s->bucket[k].end);
    for (int64_t t = 0, l = 0; t < s->tops; t++) {
        int64_t n = 0;
        for (; l < s->leaves && tree_is_inside(s->leaf[l].at, s->top[t].at); l++)
            if (s->nb->node_of[s->leaf[l].rank] == s->nb->node) s->below[n++] = (part){s->leaf[l].at, slots_vector(s, s->leaf[l].rank, s->leaf[l].v)};
        if (n > 1) tree_add_up(slots_vector(s, s->top[t].rank, s->top[t].v), s->below, s->top[t].at, a, b);
    }
}

static int post(pupil_slot_sum *s, int64_t k)
{
    const neighbours *nb = s->nb;
    for (int64_t t = 0; t < s->tops; t++) {
        const held *h = &s->top[t];
        if (nb->node_of[h->rank] != nb->node) continue;
        const float *x = slots_vector(s, h->rank, h->v);
        for (int i = 1; i < s->c->size; i++) {
            int p = (s->c->rank + i) % s->c->size;
            int64_t first, n = wanted(s, k, p, &first);
            if (n && nb->node_of[p] != nb->node && neighbours_peer(nb, p, nb->node) == s->c->rank)
                MPI_TRY(MPI_Isend(x + first, (int)n, MPI_FLOAT, p, tag_of(s, k, t), s->c->mpi, &s->send[s->sends++]), "slot sum");
        }
    }
    return 0;
}

static void finish(pupil_slot_sum *s, int64_t k)
{
    int64_t first, n = wanted(s, k, s->c->rank, &first), from = s->at[s->c->rank];
    if (n) tree_add_up(s->total, s->part, tree_root(s->slots), first - from, first - from + n);
    s->state[k] = BUCKET_DONE;
    s->bucket[k].done = pupil_now();
    s->undone--;
}

/* As far as it will go now. */
static int advance(pupil_slot_sum *s, int64_t k)
{
    int come = 0;
    if (s->state[k] != BUCKET_OPEN && s->state[k] != BUCKET_DONE) s->bucket[k].polls++;
    if (s->state[k] == BUCKET_OWN && all_said(s, k, SAID_OWN)) {
        if (s->nb->nodes == 1) {
            finish(s, k);
            return 0;
        }
        add_up_tops(s, k);
        say(s, k, SAID_SHARED);
        s->state[k] = BUCKET_SHARED;
    }
    if (s->state[k] == BUCKET_SHARED && all_said(s, k, SAID_SHARED)) {
        PUPIL_TRY(post(s, k));
        s->bucket[k].posted = pupil_now();
        s->state[k] = BUCKET_POSTED;
    }
    if (s->state[k] != BUCKET_POSTED) return 0;
    MPI_TRY(MPI_Testall(s->receives[k], s->receive + k * s->tops, &come, MPI_STATUSES_IGNORE), "slot sum");
    if (come) finish(s, k);
    return 0;
}

static void poll(pupil_slot_sum *s)
{
    for (int64_t k = 0; k < s->buckets && s->undone && s->failed == 0; k++) s->failed = advance(s, k);
}

static void close_bucket(pupil_slot_sum *s, int64_t k)
{
    if (slots_is_last(s)) slots_join(s, s->bucket[k].first, s->bucket[k].end);
    s->missing[k] = 0;
    s->state[k] = BUCKET_OWN;
    s->bucket[k].ready = s->bucket[k].posted = pupil_now();
    say(s, k, SAID_OWN);
}

void buckets_close(pupil_slot_sum *s)
{
    if (s->c->size == 1) slots_join(s, 0, s->n);
    for (int64_t k = 0; k < s->buckets && s->c->size > 1; k++)
        if (s->state[k] == BUCKET_OPEN) close_bucket(s, k);
}

void pupil_slot_sum_final(pupil_slot_sum *s, int64_t first, int64_t end)
{
    if (s->c->size == 1 || !slots_is_last(s)) return;
    for (int64_t k = first / s->width; k < s->buckets && s->bucket[k].first < end; k++) {
        s->missing[k] -= PUPIL_MIN(end, s->bucket[k].end) - PUPIL_MAX(first, s->bucket[k].first);
        PUPIL_REQUIRE(s->missing[k] >= 0);
        if (s->missing[k] == 0) close_bucket(s, k);
    }
    poll(s);
}

int pupil_slot_sum_scatter(pupil_slot_sum *s, float **ret_mine)
{
    const pupil_comm *c = s->c;
    PUPIL_REQUIRE(s->next == slots_of(s, c->rank + 1)); /* all own slots are in */
    if (c->size == 1) {
        *ret_mine = slots_vector(s, 0, 0) + s->at[0];
        return 0;
    }
    if (slots_of(s, c->rank) == s->next) { /* it has none */
        buckets_begin(s);
        buckets_close(s);
    }
    double since = wait_begin(c);
    for (poll(s); s->undone && s->failed == 0; poll(s)) wait_turn(c, since, "slot sum");
    PUPIL_TRY(s->failed);
    PUPIL_TRY(wait_all(c, s->sends, s->send, "slot sum"));
    *ret_mine = s->total;
    return segments_barrier(s->mem, "slot sum"); /* nobody's vectors are needed any more */
}

int64_t pupil_slot_sum_buckets(const pupil_slot_sum *s, const pupil_bucket **ret)
{
    *ret = s->bucket;
    return s->buckets;
}
