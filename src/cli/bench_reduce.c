/* bench_reduce.c: how long gradients are on their way. A vector of every rank is added up over the ranks, and all have the sum:
 * by the sums of par that training uses, in shared memory and in messages, and by MPI_Allreduce, in turns. A round's time is that
 * of its slowest rank, from a barrier on. */
#include "cli.h"

#include "pupil/par.h"

#include <stdlib.h>
#include <string.h>

enum { WAYS = 3, ROUNDS_MAX = 201 };
static const struct {
    const char *name;
    pupil_reduce how;
} own[WAYS - 1] = {{"node", PUPIL_REDUCE_NODE}, {"messages", PUPIL_REDUCE_MESSAGES}};

typedef struct {
    pupil_comm *c;
    int64_t n, *at;
    pupil_slot_sum *sum[WAYS - 1];
    pupil_shared *all[WAYS - 1];
    float *in, *out; /* MPI_Allreduce's */
    double seconds[WAYS][ROUNDS_MAX];
} bench;

/* As a training step does: sum, each rank's range to itself; then everyone's ranges to everyone. */
static int by_own_sums(bench *b, int k)
{
    float *mine;
    int me = pupil_comm_rank(b->c);
    PUPIL_TRY(pupil_slot_sum_scatter(b->sum[k], &mine));
    memcpy(pupil_shared_data(b->all[k]) + b->at[me], mine, (size_t)(b->at[me + 1] - b->at[me]) * sizeof *mine);
    return pupil_shared_gather(b->all[k], b->at);
}

/* Small whole numbers: their sum is exact in every order. */
static float element(const bench *b, int rank, int64_t i) { return (float)((i * 7 + rank * 3) % 101); }

static void fill(const bench *b, float *x)
{
    for (int64_t i = 0; i < b->n; i++) x[i] = element(b, pupil_comm_rank(b->c), i);
}

static int check(const bench *b, const float *x, const char *name)
{
    for (int64_t i = 0; i < b->n; i++) {
        float want = 0;
        for (int p = 0; p < pupil_comm_size(b->c); p++) want += element(b, p, i);
        if (x[i] != want) return pupil_fail(PUPIL_EMPI, "%s: element %lld is %g, expected %g", name, (long long)i, (double)x[i], (double)want);
    }
    return 0;
}

static int one_round(bench *b, int round)
{
    for (int k = 0; k < WAYS; k++) {
        float *mine = b->in;
        if (k < WAYS - 1) mine = pupil_slot_sum_begin(b->sum[k]);
        fill(b, mine);
        if (k < WAYS - 1) pupil_slot_sum_end(b->sum[k]);
        PUPIL_TRY(pupil_barrier(b->c));
        double since = pupil_now();
        PUPIL_TRY(k < WAYS - 1 ? by_own_sums(b, k) : pupil_mpi_sum(b->c, b->in, b->out, b->n));
        int64_t ns = (int64_t)(1e9 * (pupil_now() - since));
        PUPIL_TRY(pupil_max(b->c, &ns, 1));
        if (round >= 0) b->seconds[k][round] = 1e-9 * (double)ns;
        else PUPIL_TRY(pupil_agree(b->c, k < WAYS - 1 ? check(b, pupil_shared_data(b->all[k]), own[k].name) : check(b, b->out, "MPI_Allreduce")));
    }
    return 0;
}

static void print_results(bench *b, int rounds, bool json)
{
    double t[WAYS];
    int ranks = pupil_comm_size(b->c);
    for (int k = 0; k < WAYS; k++) t[k] = cli_median(b->seconds[k], rounds);
    if (json) {
        printf("{\"ranks\": %d, \"bytes\": %lld, \"node_ms\": %.4g, \"messages_ms\": %.4g, \"mpi_allreduce_ms\": %.4g, \"node_over_mpi\": %.4g}\n",
               ranks, (long long)b->n * 4, 1e3 * t[0], 1e3 * t[1], 1e3 * t[2], t[2] / t[0]);
        return;
    }
    char size[32];
    printf("%s of float32 on %d ranks of %d node%s, %d cores here\n", pupil_bytes_text((double)b->n * 4, size), ranks,
           pupil_slot_sum_nodes(b->sum[0]), pupil_slot_sum_nodes(b->sum[0]) == 1 ? "" : "s", cli_bound_cores());
    for (int k = 0; k < WAYS; k++)
        printf("  %-13s %9.3f ms  %6.2f x as fast as MPI_Allreduce\n", k < WAYS - 1 ? own[k].name : "MPI_Allreduce", 1e3 * t[k], t[WAYS - 1] / t[k]);
}

static int open_bench(bench *b)
{
    int size = pupil_comm_size(b->c);
    int64_t slots = 1;
    while (slots < size) slots *= 2;
    if (slots != size) return pupil_fail(PUPIL_EUSER, "bench allreduce: %d ranks, expected a power of two: one slot a rank", size);
    b->at = pupil_alloc((size_t)(size + 1) * sizeof *b->at);
    for (int p = 0; p <= size; p++) b->at[p] = b->n / 16 * p / size * 16;
    b->at[size] = b->n;
    for (int k = 0; k < WAYS - 1; k++) {
        PUPIL_TRY(pupil_slot_sum_new(b->c, own[k].how, slots, b->n, b->at, 0, &b->sum[k]));
        PUPIL_TRY(pupil_shared_new(b->c, own[k].how, b->n, &b->all[k]));
    }
    b->in = pupil_alloc((size_t)b->n * sizeof *b->in);
    b->out = pupil_alloc((size_t)b->n * sizeof *b->out);
    return 0;
}

static int on_this_rank(int64_t kib, int rounds, bool json)
{
    bench *b = pupil_alloc(sizeof *b);
    b->c = pupil_par_world();
    b->n = kib * 256;
    int r = open_bench(b);
    for (int k = -1; k < rounds && r == 0; k++) r = one_round(b, k);
    if (r == 0 && pupil_comm_rank(b->c) == 0) print_results(b, rounds, json);
    for (int k = 0; k < WAYS - 1; k++) {
        pupil_slot_sum_free(&b->sum[k]);
        pupil_shared_free(&b->all[k]);
    }
    pupil_free(&b->in);
    pupil_free(&b->out);
    pupil_free(&b->at);
    pupil_free(&b);
    return r;
}

int cmd_bench_reduce(int argc, char **argv)
{
    bool json = false;
    int64_t ranks = 4, kib = 16384, rounds = 21;
    const cli_option options[] = {
        {"ranks", CLI_COUNT, &ranks, "N", "ranks to start here (default 4); not where mpirun or srun has started them"},
        {"kib", CLI_COUNT, &kib, "N", "KiB of each rank's vector (default 16384)"},
        {"rounds", CLI_COUNT, &rounds, "N", "rounds, of which medians are taken (default 21, at most 201)"},
        {"json", CLI_FLAG, &json, NULL, "one JSON object"},
    };
    const cli_spec spec = {"bench allreduce",
                           "",
                           "Adds a vector up over ranks and gives the sum to all: by pupil's own sums in shared memory and in messages, in "
                           "the order that is the same for any number of ranks, and by MPI_Allreduce, in turns.",
                           "pupil bench allreduce --ranks 4",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (kib > 1 << 22 || rounds > ROUNDS_MAX || ranks > 1024)
        return pupil_fail(PUPIL_EUSER, "bench allreduce: at most %d --kib, %d --rounds and 1024 --ranks were expected", 1 << 22, ROUNDS_MAX);
    if (!pupil_par_launched()) {
        char size[24], times[24];
        snprintf(size, sizeof size, "%lld", (long long)kib);
        snprintf(times, sizeof times, "%lld", (long long)rounds);
        return cli_on_ranks_here((int)ranks, 1, (const char *const[]){"bench", "allreduce", "--kib", size, "--rounds", times, json ? "--json" : NULL, NULL});
    }
    PUPIL_TRY(pupil_par_start(&argc, &argv, 60));
    r = on_this_rank(kib, (int)rounds, json);
    cli_said = r < 0 && pupil_comm_rank(pupil_par_world()) != 0;
    pupil_par_end();
    return r;
}
