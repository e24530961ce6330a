/* Run on 1, 2, 3 and 4 ranks: sums over slots with the bits of one serial tree, agreement, gathers, messages,
 * splits. A rank that finds something wrong says so and ends the job. */
#include "pupil/par.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MUST(cond, ...)                                                                                      \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "rank %d, %s:%d: %s: ", me, __FILE__, __LINE__, #cond);                          \
            fprintf(stderr, __VA_ARGS__);                                                                    \
            fprintf(stderr, "\n");                                                                           \
            pupil_par_abort(1);                                                                              \
        }                                                                                                    \
    } while (0)

static pupil_comm *world;
static int me, np;

/* Element i of slot k: sizes from 1e-6 to 1e6, so that the order of addition shows. */
static float element(int64_t round, int64_t k, int64_t i)
{
    pupil_rng r = pupil_rng_at((uint64_t)round, PUPIL_STREAM_TEST, (uint64_t)(k * 1000000 + i));
    double x = pupil_rng_normal(&r);
    for (int64_t e = (i * 7 + k * 3) % 13; e > 6; e--) x *= 10;
    return (float)x;
}

/* The tree of the definition: node (l, k) = (l-1, 2k) + (l-1, 2k+1). */
static float tree(int64_t round, int64_t first, int64_t slots, int64_t i)
{
    if (slots == 1) return element(round, first, i);
    float left = tree(round, first, slots / 2, i);
    return left + tree(round, first + slots / 2, slots / 2, i);
}

/* at[]: even: equal ranges; odd: uneven ones, the second empty. */
static void ranges(int64_t n, int kind, int64_t *at)
{
    for (int r = 0; r <= np; r++) at[r] = n * r / np;
    if (kind % 2 && np > 1)
        for (int r = 1; r < np; r++) at[r] = n / 3 + (r - 1) / 2 * 5;
}

enum { N = 3001, PIECE = 250, KEPT_BACK = 3, BUCKET = 160 };

/* A slot, made from its end to its beginning as backward does, in pieces; of one piece nobody says that it is final. */
static void fill(pupil_slot_sum *s, int64_t round, int64_t k)
{
    float *v = pupil_slot_sum_begin(s);
    for (int64_t i = 0; i < N; i++) MUST(v[i] == 0, "begin gives a vector that is not zero");
    for (int64_t p = (N - 1) / PIECE; p >= 0; p--) {
        int64_t first = p * PIECE, end = PUPIL_MIN(first + PIECE, N);
        for (int64_t i = first; i < end; i++) v[i] += element(round, k, i);
        if (p != KEPT_BACK) pupil_slot_sum_final(s, first, end);
    }
    pupil_slot_sum_end(s);
}

/* Buckets cover the vector, and each was ready, posted and done in this order; what was final first was ready first. */
static void buckets_are_told(const pupil_slot_sum *s, int64_t slots, double since)
{
    const pupil_bucket *b;
    int64_t n = pupil_slot_sum_buckets(s, &b), at = 0;
    bool own = pupil_slot_first(slots, np, me) < pupil_slot_first(slots, np, me + 1);
    for (int64_t k = 0; k < n; at = b[k++].end) {
        MUST(b[k].first == at && b[k].end > at, "bucket %d", (int)k);
        MUST(since <= b[k].ready && b[k].ready <= b[k].posted && b[k].posted <= b[k].done && b[k].polls > 0, "bucket %d", (int)k);
        if (own && b[k].first >= (KEPT_BACK + 1) * PIECE && k + 2 < n) MUST(b[k].ready >= b[k + 2].ready, "bucket %d", (int)k);
        if (own && b[k].end <= KEPT_BACK * PIECE) MUST(b[k].ready <= b[KEPT_BACK * PIECE / BUCKET + 1].ready, "bucket %d", (int)k);
    }
    MUST(at == N, "buckets end at %d", (int)at);
}

static int64_t sum_is_the_trees(pupil_slot_sum *s, int64_t slots, int64_t round, const int64_t *at)
{
    float *got;
    int64_t differs = 0;
    MUST(pupil_slot_sum_scatter(s, &got) == 0, "%s", pupil_reason());
    for (int64_t i = at[me]; i < at[me + 1]; i++) {
        float sum = tree(round, 0, slots, i), in_order = 0;
        MUST(!memcmp(&got[i - at[me]], &sum, sizeof sum), "slots %d, round %d, element %d: %.9g, expected %.9g", (int)slots, (int)round, (int)i,
             (double)got[i - at[me]], (double)sum);
        for (int64_t k = 0; k < slots; k++) in_order += element(round, k, i);
        differs += in_order != sum;
    }
    return differs;
}

/* want: nodes; 0: all ranks of one, or each alone. */
static void slot_sums_by(pupil_comm *c, pupil_reduce how, int want)
{
    int64_t *at = pupil_alloc((size_t)(np + 1) * sizeof *at), differs = 0;
    for (int64_t slots = 1; slots <= 16; slots *= 2) {
        for (int kind = 0; kind < 4; kind++) {
            pupil_slot_sum *s;
            ranges(N, kind, at);
            MUST(pupil_slot_sum_new(c, how, slots, N, at, kind / 2 ? BUCKET : 0, &s) == 0, "%s", pupil_reason());
            int nodes = pupil_slot_sum_nodes(s);
            if (!want) want = how == PUPIL_REDUCE_MESSAGES ? np : 1;
            MUST(nodes == want, "%d nodes, expected %d", nodes, want);
            for (int64_t round = 2 * kind; round < 2 * kind + 2; round++) {
                double since = pupil_now();
                for (int64_t k = pupil_slot_first(slots, np, me); k < pupil_slot_first(slots, np, me + 1); k++) fill(s, round, k);
                differs += sum_is_the_trees(s, slots, round, at);
                if (np > 1 && kind / 2) buckets_are_told(s, slots, since);
            }
            pupil_slot_sum_free(&s);
        }
    }
    pupil_slot_sum *none = NULL;
    pupil_slot_sum_free(&none);
    MUST(differs > 100 || at[me] == at[me + 1], "the order of addition did not show in the test's numbers");
    pupil_free(&at);
}

/* Elements of what all share, advanced by their owners, as a step does. */
static void shared_by(pupil_comm *c, pupil_reduce how)
{
    enum { ALL = 5000 };
    pupil_shared *s;
    int64_t *at = pupil_alloc((size_t)(np + 1) * sizeof *at);
    MUST(pupil_shared_new(c, how, ALL, &s) == 0, "%s", pupil_reason());
    float *x = pupil_shared_data(s);
    for (int64_t i = 0; i < ALL; i++) MUST(x[i] == 0, "element %d is %g", (int)i, (double)x[i]);
    MUST(pupil_barrier(c) == 0, "%s", pupil_reason());
    for (int round = 0; round < 6; round++) {
        ranges(ALL, round, at);
        if (round) at[0] = 0, at[np] = ALL;
        for (int64_t i = at[me]; i < at[me + 1]; i++) x[i] = element(round, 0, i);
        MUST(pupil_shared_gather(s, at) == 0, "%s", pupil_reason());
        for (int64_t i = at[0]; i < at[np]; i++) MUST(x[i] == element(round, 0, i), "round %d, element %d", round, (int)i);
        MUST(pupil_barrier(c) == 0, "%s", pupil_reason());
    }
    pupil_shared_free(&s);
    pupil_free(&at);
}

/* In one node, in messages, and over nodes of two ranks or ranks dealt out to two nodes. */
static void slot_sums(pupil_comm *c)
{
    static const struct {
        pupil_reduce how;
        const char *node_ranks;
    } ways[] = {{PUPIL_REDUCE_NODE, NULL}, {PUPIL_REDUCE_MESSAGES, NULL}, {PUPIL_REDUCE_NODE, "2"}, {PUPIL_REDUCE_NODE, "-2"}, {PUPIL_REDUCE_AUTO, "3"}};
    for (int i = 0; i < PUPIL_COUNT(ways); i++) {
        if (ways[i].node_ranks) setenv("PUPIL_NODE_RANKS", ways[i].node_ranks, 1);
        slot_sums_by(c, ways[i].how, !ways[i].node_ranks ? 0 : ways[i].node_ranks[0] == '-' ? PUPIL_MIN(np, 2) : (np + ways[i].node_ranks[0] - '1') / (ways[i].node_ranks[0] - '0'));
        shared_by(c, ways[i].how);
        unsetenv("PUPIL_NODE_RANKS");
    }
}

static void slot_sums_of_doubles(void)
{
    for (int64_t slots = 1; slots <= 16; slots *= 2)
        for (int n = 1; n <= 5; n += 4) {
            double values[16 * 5], ret[5], work[16 * 5];
            for (int64_t k = 0; k < slots; k++)
                for (int j = 0; j < n; j++) {
                    bool own =
                        k >= pupil_slot_first(slots, np, me) && k < pupil_slot_first(slots, np, me + 1);
                    work[k * n + j] = (double)element(9, k, j) / 3;
                    values[k * n + j] = own ? work[k * n + j] : -1e300;
                }
            MUST(pupil_slot_sum_doubles(world, slots, values, n, ret) == 0, "%s", pupil_reason());
            for (int64_t left = slots; left > 1; left /= 2)
                for (int64_t k = 0; k < left / 2; k++)
                    for (int j = 0; j < n; j++)
                        work[k * n + j] = work[2 * k * n + j] + work[(2 * k + 1) * n + j];
            MUST(!memcmp(work, ret, (size_t)n * sizeof *ret), "slots %d: other bits", (int)slots);
        }
}

static void every_slot_has_one_rank(void)
{
    for (int size = 1; size <= 20; size++)
        for (int64_t slots = 1; slots <= 64; slots *= 2) {
            MUST(pupil_slot_first(slots, size, 0) == 0 && pupil_slot_first(slots, size, size) == slots,
                 "size %d", size);
            for (int r = 0; r < size; r++) {
                int64_t own = pupil_slot_first(slots, size, r + 1) - pupil_slot_first(slots, size, r);
                MUST(own >= slots / size && own <= (slots + size - 1) / size,
                     "rank %d of %d owns %d of %d slots", r, size, (int)own, (int)slots);
            }
        }
}

static void gathers(void)
{
    static const size_t sizes[] = {0, 1, 3, 1000, 1024, 65536, 1000003};
    size_t *at = pupil_alloc((size_t)(np + 1) * sizeof *at), total = 2100000;
    uint8_t *bytes = pupil_alloc(total);
    for (int shape = 0; shape < 14; shape++) {
        at[0] = shape % 3 ? 17 : 0;
        for (int r = 0; r < np; r++)
            at[r + 1] = at[r] + (shape < 7 ? sizes[shape] / (size_t)np : sizes[(r + shape) % 7] % 300007);
        memset(bytes, 0xee, total);
        for (size_t i = at[me]; i < at[me + 1]; i++) bytes[i] = (uint8_t)(i * 31 + 7);
        MUST(pupil_gather_ranges(world, bytes, at) == 0, "%s", pupil_reason());
        for (size_t i = at[0]; i < at[np]; i++)
            MUST(bytes[i] == (uint8_t)(i * 31 + 7), "shape %d, byte %zu", shape, i);
        for (size_t i = at[np]; i < at[np] + 100; i++)
            MUST(bytes[i] == 0xee, "shape %d: written beyond the end", shape);
        for (size_t i = 0; i < at[0]; i++)
            MUST(bytes[i] == 0xee, "shape %d: written before the beginning", shape);
        /* to rank 0 alone, and from it */
        memset(bytes, 0xee, total);
        for (size_t i = at[me]; i < at[me + 1]; i++) bytes[i] = (uint8_t)(i * 13 + 5);
        MUST(pupil_collect_ranges(world, bytes, at) == 0, "%s", pupil_reason());
        for (size_t i = at[0]; i < at[np]; i++) {
            bool here = me == 0 || (i >= at[me] && i < at[me + 1]);
            MUST(bytes[i] == (here ? (uint8_t)(i * 13 + 5) : 0xee), "shape %d, byte %zu", shape, i);
        }
        if (me) memset(bytes, 0xee, total);
        MUST(pupil_deal_ranges(world, bytes, at) == 0, "%s", pupil_reason());
        for (size_t i = at[0]; i < at[np]; i++) {
            bool here = me == 0 || (i >= at[me] && i < at[me + 1]);
            MUST(bytes[i] == (here ? (uint8_t)(i * 13 + 5) : 0xee), "shape %d, byte %zu", shape, i);
        }
    }
    pupil_free(&at);
    pupil_free(&bytes);
}

static void agreement(void)
{
    MUST(pupil_agree(world, 0) == 0, "all is well");
    MUST(pupil_agree(world, 7) == 0, "a positive code is no failure");
    char want[64];
    for (int bad = 0; bad < np; bad++) {
        int mine = me == bad ? pupil_fail(PUPIL_ECRC, "disk of %d", bad) : 0, got = pupil_agree(world, mine);
        snprintf(want, sizeof want, me == bad ? "disk of %d" : "rank %d: disk of %d", bad, bad);
        MUST(got == PUPIL_ECRC && !strcmp(pupil_reason(), want), "%d, \"%s\", expected \"%s\"", got,
             pupil_reason(), want);
    }
    /* all fail, the last one worst: its code for all; who failed itself keeps its own words */
    int worst = pupil_agree(world, me == np - 1 ? pupil_fail(PUPIL_EFAULT, "worst")
                                                : pupil_fail(PUPIL_EUSER, "mild %d", me));
    snprintf(want, sizeof want, me == np - 1 ? "worst" : "mild %d", me);
    MUST(worst == PUPIL_EFAULT && !strcmp(pupil_reason(), want), "%d \"%s\"", worst, pupil_reason());
    /* two ranks with the same code: the first speaks */
    int same =
        pupil_agree(world, me == np - 1 || me == np - 2 ? pupil_fail(PUPIL_EIO, "rank %d's disk", me) : 0);
    if (np >= 3 && me == 0) {
        snprintf(want, sizeof want, "rank %d: rank %d's disk", np - 2, np - 2);
        MUST(same == PUPIL_EIO && !strcmp(pupil_reason(), want), "%d \"%s\"", same, pupil_reason());
    }
}

static void maxima_and_broadcasts(void)
{
    int64_t v[16];
    for (int i = 0; i < 16; i++) v[i] = i % 2 ? me * 10 + i : -me * INT64_C(1000000000000) - i;
    MUST(pupil_max(world, v, 16) == 0, "%s", pupil_reason());
    for (int i = 0; i < 16; i++)
        MUST(v[i] == (i % 2 ? (np - 1) * 10 + i : -i), "value %d: %lld", i, (long long)v[i]);
    static const size_t sizes[] = {0, 1, 4097, 3000000};
    uint8_t *b = pupil_alloc(3000000);
    for (int root = 0; root < np; root++)
        for (int k = 0; k < 4; k++) {
            for (size_t i = 0; i < sizes[k]; i++) b[i] = me == root ? (uint8_t)(i * 13 + (size_t)root) : 0xff;
            MUST(pupil_bcast(world, b, sizes[k], root) == 0, "%s", pupil_reason());
            for (size_t i = 0; i < sizes[k]; i++)
                MUST(b[i] == (uint8_t)(i * 13 + (size_t)root), "byte %zu", i);
        }
    MUST(pupil_barrier(world) == 0, "%s", pupil_reason());
    pupil_free(&b);
}

/* Everybody writes 200 messages of two kinds to everybody (itself too); all arrive, of one sender in order.
 */
static void messages(void)
{
    enum { EACH = 200 };
    int from, got[2] = {0};
    int64_t w[PUPIL_WORDS], *next = pupil_alloc((size_t)(2 * np) * sizeof *next);
    MUST(!pupil_poll(world, 5, &from, w), "a message nobody sent");
    MUST(pupil_barrier(world) == 0, "%s", pupil_reason());
    for (int k = 0; k < EACH; k++)
        for (int to = 0; to < np; to++)
            MUST(pupil_post(world, to, 5 + k % 2, (int64_t[PUPIL_WORDS]){me, k, to, -1}) == 0, "%s",
                 pupil_reason());
    double since = pupil_now();
    while (got[0] + got[1] < EACH * np) {
        for (int kind = 0; kind < 2; kind++)
            if (pupil_poll(world, 5 + kind, &from, w)) {
                MUST(w[0] == from && w[2] == me && w[3] == -1 && w[1] == 2 * next[kind * np + from] + kind,
                     "message %lld of rank %d", (long long)w[1], from);
                next[kind * np + from]++;
                got[kind]++;
            }
        pupil_idle(since, "test messages");
    }
    MUST(got[0] == got[1] && !pupil_poll(world, 5, &from, w) && !pupil_poll(world, 6, &from, w), "%d and %d",
         got[0], got[1]);
    pupil_free(&next);
}

static void splits(void)
{
    for (int round = 0; round < 10; round++) { /* more often than the board has counters */
        pupil_comm *c;
        int color = round % 3 == 2 && me == 0 ? -1 : me % 2;
        MUST(pupil_comm_split(world, color, &c) == 0, "%s", pupil_reason());
        if (color < 0) {
            MUST(c == NULL, "color < 0");
        } else {
            int others = 0, before = 0;
            for (int r = 0; r < np; r++) {
                if (r % 2 != me % 2 || (round % 3 == 2 && r == 0)) continue;
                others++;
                before += r < me;
            }
            MUST(pupil_comm_size(c) == others && pupil_comm_rank(c) == before, "rank %d of %d",
                 pupil_comm_rank(c), pupil_comm_size(c));
            int64_t v = me;
            MUST(pupil_max(c, &v, 1) == 0 && v % 2 == me % 2, "%lld", (long long)v);
        }
        pupil_comm_free(&c);
        MUST(c == NULL, "free leaves the pointer");
    }
    /* sums over slots inside a part of the world */
    pupil_comm *all;
    MUST(pupil_comm_split(world, 0, &all) == 0, "%s", pupil_reason());
    slot_sums(all);
    pupil_comm_free(&all);
    pupil_comm *w = pupil_par_world();
    pupil_comm_free(&w);
    MUST(pupil_comm_size(pupil_par_world()) == np, "the world is not freed");
}

int main(int argc, char **argv)
{
    if (pupil_par_start(&argc, &argv, 30) < 0) {
        fprintf(stderr, "%s\n", pupil_reason());
        return 1;
    }
    world = pupil_par_world();
    me = pupil_comm_rank(world);
    np = pupil_comm_size(world);
    const char *want = getenv("EXPECT_RANKS");
    MUST(!want || atoi(want) == np, "started as %d ranks", np);
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {{"slots", every_slot_has_one_rank},
                 {"sums of doubles", slot_sums_of_doubles},
                 {"gathers", gathers},
                 {"agreement", agreement},
                 {"maxima and broadcasts", maxima_and_broadcasts},
                 {"messages", messages},
                 {"splits", splits}};
    pupil_par_phase("test: slot sums");
    slot_sums(world);
    for (int i = 0; i < PUPIL_COUNT(tests); i++) {
        pupil_par_phase(tests[i].name);
        tests[i].run();
        MUST(pupil_barrier(world) == 0, "%s", pupil_reason());
        if (me == 0) printf("ok %s\n", tests[i].name);
    }
    if (me == 0) printf("%d ranks, %s, launched: %d\n", np, pupil_par_version(), pupil_par_launched());
    pupil_par_end();
    return 0;
}
