/* bench.c: speed as a share of this machine's own ceiling, the best large sgemm measured in the same run,
 * with the same threads. Ceiling and work are timed in turns, so that a machine that slows down slows both;
 * medians are reported. A training step counts as three forward passes (pupil_arch_*_flops). */
#include "cli.h"

#include "pupil/math.h"
#include "pupil/model.h"
#include "pupil/role.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void print_setting(int threads)
{
    printf("OpenBLAS kernel %s, %d thread%s, %d core%s\n", pupil_blas_kernel(), threads,
           threads == 1 ? "" : "s", cli_bound_cores(), cli_bound_cores() == 1 ? "" : "s");
}

static int start_bench(int64_t threads)
{
    cli_best_kernel();
    int n = cli_set_threads(threads);
    cli_warn_binding(cli_bound_cores(), n);
    return n;
}

/* ---- bench gemm ------------------------------------------------------------------------------------ */
static int cmd_gemm(int argc, char **argv)
{
    static const int64_t sizes[] = {128, 256, 512, 1024, 2048, 3072};
    bool json = false;
    int64_t threads = 0;
    const cli_option options[] = {
        {"threads", CLI_COUNT, &threads, "N", "threads (default: OMP_NUM_THREADS, else 1)"},
        {"json", CLI_FLAG, &json, NULL, "one JSON object"},
    };
    const cli_spec spec = {"bench gemm",
                           "",
                           "The sgemm ceiling by size: n x n times n x n in single precision.",
                           "pupil bench gemm --threads 2",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    int t = start_bench(threads);
    if (json) printf("{\"kernel\": \"%s\", \"threads\": %d, \"sgemm\": {", pupil_blas_kernel(), t);
    else print_setting(t);
    for (int i = 0; i < PUPIL_COUNT(sizes); i++) {
        double g = cli_gemm_gflops(sizes[i], 0.3);
        if (json) printf("%s\"%lld\": %.1f", i ? ", " : "", (long long)sizes[i], g);
        else printf("  sgemm %5lld  %8.1f GFLOP/s\n", (long long)sizes[i], g);
    }
    if (json) puts("}}");
    return 0;
}

/* ---- bench model ----------------------------------------------------------------------------------- */
enum { CAPTION = 15, ROUNDS_MAX = 101 };

/* A model with one micro-batch of made-up input. Captions are end to end: cu[i] is where caption i begins. */
typedef struct {
    pupil_arch arch;
    pupil_clip *clip;
    pupil_acts *acts;
    pupil_scratch *scratch;
    int64_t batch;
    bool train;
    float *params, *grads, *images, *out;
    pupil_weights *weights;
    int32_t *ids, *cu[2]; /* captions of CAPTION ids, and padded to the context */
} bench_model;

typedef struct {
    char name[96];
    bench_model *m;
    enum { IMAGE, TEXT, PADDED_TEXT } what;
    double flops, seconds[ROUNDS_MAX];
} bench_item;

static float *made_up(int64_t n, double scale)
{
    float *x = pupil_alloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(scale *
                       ((double)(pupil_rng_u64(1, PUPIL_STREAM_TEST, (uint64_t)i) >> 40) / (1 << 23) - 1));
    return x;
}

static void model_open(bench_model *m, int64_t batch, bool train)
{
    const pupil_arch *a = &m->arch;
    m->batch = batch;
    m->train = train;
    m->clip = pupil_clip_new(a);
    int64_t total = pupil_clip_table(m->clip)->total;
    m->params = pupil_alloc((size_t)total * sizeof *m->params);
    pupil_table_init(pupil_clip_table(m->clip), 1, m->params);
    m->weights = pupil_weights_flat(m->params);
    if (train) m->grads = pupil_alloc((size_t)total * sizeof *m->grads);
    m->acts = pupil_acts_new(m->clip, batch, train);
    m->scratch = pupil_scratch_new(m->clip, batch);
    m->images = made_up(batch * 3 * a->image_size * a->image_size, 2);
    m->out = pupil_alloc((size_t)(batch * a->embed_dim) * sizeof *m->out);
    m->ids = pupil_alloc((size_t)(batch * a->context) * sizeof *m->ids);
    for (int64_t i = 0; i < batch * a->context; i++)
        m->ids[i] = (int32_t)(pupil_rng_u64(2, PUPIL_STREAM_TEST, (uint64_t)i) % (uint64_t)a->vocab);
    for (int k = 0; k < 2; k++) {
        m->cu[k] = pupil_alloc((size_t)(batch + 1) * sizeof(int32_t));
        int64_t len = k ? a->context : PUPIL_MIN((int64_t)CAPTION, a->context);
        for (int64_t i = 0; i <= batch; i++) m->cu[k][i] = (int32_t)(i * len);
    }
}

static void model_close(bench_model *m)
{
    pupil_acts_free(&m->acts);
    pupil_scratch_free(&m->scratch);
    pupil_clip_free(&m->clip);
    pupil_weights_free(&m->weights);
    pupil_free(&m->params);
    pupil_free(&m->grads);
    pupil_free(&m->images);
    pupil_free(&m->out);
    pupil_free(&m->ids);
    pupil_free(&m->cu[0]);
    pupil_free(&m->cu[1]);
}

static void item_add(bench_item *items, int *n, const char *who, bench_model *m, int what)
{
    const pupil_arch *a = &m->arch;
    int64_t tokens = what == PADDED_TEXT ? a->context : PUPIL_MIN((int64_t)CAPTION, a->context);
    bench_item *t = &items[(*n)++];
    *t = (bench_item){
        .m = m,
        .what = what,
        .flops = (double)m->batch * (m->train ? 3 : 1) *
                 (what == IMAGE ? pupil_arch_image_flops(a) : pupil_arch_text_flops(a, (double)tokens))};
    if (what == IMAGE) snprintf(t->name, sizeof t->name, "%s, %lld images", who, (long long)m->batch);
    else
        snprintf(t->name, sizeof t->name, "%s, %lld captions of %lld ids", who, (long long)m->batch,
                 (long long)tokens);
}

static double item_run(const bench_item *t)
{
    bench_model *m = t->m;
    const int32_t *cu = m->cu[t->what == PADDED_TEXT];
    double begin = pupil_now();
    if (t->what == IMAGE) {
        pupil_image_forward(m->clip, m->weights, m->acts, m->scratch, m->images, m->batch, m->out);
        if (m->train) pupil_image_backward(m->clip, m->params, m->acts, m->scratch, m->out, m->grads, NULL);
    } else {
        pupil_text_forward(m->clip, m->weights, m->acts, m->scratch, m->ids, cu, m->batch, m->out);
        if (m->train) pupil_text_backward(m->clip, m->params, m->acts, m->scratch, m->out, m->grads);
    }
    return pupil_now() - begin;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double cli_median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

typedef struct {
    int64_t n;     /* the size that ran best */
    double gflops; /* median over the rounds */
    double peak;   /* bytes of this process before any of it */
} ceiling;

static ceiling measure(bench_item *items, int n, int rounds)
{
    static const int64_t sizes[] = {1024, 1536, 2048, 3072};
    struct rusage used;
    double seen[ROUNDS_MAX];
    for (int i = 0; i < n; i++) item_run(&items[i]); /* touch all memory once */
    getrusage(RUSAGE_SELF, &used);
    ceiling top = {.peak = 1024 * (double)used.ru_maxrss};
    for (int i = 0; i < PUPIL_COUNT(sizes); i++) {
        double g = cli_gemm_gflops(sizes[i], 0.3);
        if (g > top.gflops) top.n = sizes[i], top.gflops = g;
    }
    for (int k = 0; k < rounds; k++) {
        pupil_progress(k + 1 == rounds, "round %d of %d", k + 1, rounds);
        seen[k] = cli_gemm_gflops(top.n, 0.2);
        for (int i = 0; i < n; i++) items[i].seconds[k] = item_run(&items[i]);
    }
    top.gflops = cli_median(seen, rounds);
    return top;
}

static void print_row(bool quiet, const char *name, double flops, double seconds, double top)
{
    if (quiet) return;
    printf("  %-52s %8.1f ms  %8.1f GFLOP/s  %5.1f %%\n", name, 1e3 * seconds, flops / seconds / 1e9,
           100 * flops / seconds / 1e9 / top);
}

static void print_results(bench_item *items, int n, int first_student, int rounds, ceiling top, int threads,
                          bool quiet)
{
    pupil_buf json = {0};
    double flops[2] = {0}, seconds[2] = {0}; /* of the whole student step, packed and padded */
    if (!quiet) print_setting(threads);
    if (!quiet)
        printf("  %-52s %8lld     %8.1f GFLOP/s  100.0 %%\n", "ceiling: best sgemm of size", (long long)top.n,
               top.gflops);
    pupil_buf_printf(&json,
                     "{\"kernel\": \"%s\", \"threads\": %d, \"ceiling_size\": %lld, \"ceiling_gflops\": "
                     "%.1f, \"rounds\": %d, \"peak_bytes\": %.0f, \"items\": [",
                     pupil_blas_kernel(), threads, (long long)top.n, top.gflops, rounds, top.peak);
    for (int i = 0; i < n; i++) {
        double s = cli_median(items[i].seconds, rounds);
        print_row(quiet, items[i].name, items[i].flops, s, top.gflops);
        pupil_buf_printf(&json, "%s{\"name\": \"%s\", \"seconds\": %.6g, \"gflops\": %.1f, \"share\": %.4f}", i ? ", " : "",
                         items[i].name, s, items[i].flops / s / 1e9, items[i].flops / s / 1e9 / top.gflops);
        for (int k = 0; k < 2 && i >= first_student; k++) {
            if (items[i].what == (k ? TEXT : PADDED_TEXT)) continue;
            flops[k] += items[i].flops;
            seconds[k] += s;
        }
    }
    for (int k = 0; k < 2 && first_student < n; k++) {
        const char *name =
            k ? "student step, both towers, padded captions" : "student step, both towers, packed captions";
        print_row(quiet, name, flops[k], seconds[k], top.gflops);
        pupil_buf_printf(&json, ", {\"name\": \"%s\", \"seconds\": %.6g, \"gflops\": %.1f, \"share\": %.4f}",
                         name, seconds[k], flops[k] / seconds[k] / 1e9,
                         flops[k] / seconds[k] / 1e9 / top.gflops);
    }
    char size[32];
    if (!quiet) printf("  peak memory of this process before the ceiling was measured: %s\n", pupil_bytes_text(top.peak, size));
    printf("%s]}\n", json.s);
    pupil_buf_free(&json);
}

/* Teacher and student: those of a configuration, one preset twice, or the pair the targets are stated for. */
static int choose(const char *preset, const char *path, const cli_list *sets, pupil_arch *teacher,
                  pupil_arch *student, bool *ret_teacher)
{
    pupil_conf *conf = NULL;
    *ret_teacher = true;
    if (!path) {
        pupil_conf_model t = {.name = (char *)(preset ? preset : "ViT-B-16"), .act = PUPIL_ACT_PRESET}, s = t;
        if (!preset) s.name = (char *)"ViT-T-16";
        PUPIL_TRY(pupil_arch_from_conf(&t, 49408, "model", teacher));
        return pupil_arch_from_conf(&s, 49408, "model", student);
    }
    PUPIL_TRY(cli_load_conf(path, sets, &conf));
    int64_t vocab;
    int r = pupil_role_vocab(conf, &vocab);
    if (r == 0) r = pupil_role_student_arch(conf, student);
    if (r == 0 && conf->teacher.train_here)
        r = pupil_arch_from_conf(&conf->teacher.model, vocab, "teacher.model", teacher);
    else if (r == 0 && conf->teacher.dir) r = pupil_model_dir_arch(conf->teacher.dir, teacher);
    else *ret_teacher = false;
    pupil_conf_free(&conf);
    return r;
}

static int cmd_bench_model(int argc, char **argv)
{
    cli_list sets = {0};
    const char *preset = NULL, *path = NULL, *only = NULL;
    bool json = false;
    int64_t batch = 16, rounds = 5, threads = 0;
    const cli_option options[] = {
        {"preset", CLI_TEXT, &preset, "NAME",
         "one architecture as teacher and student (default: ViT-B-16 and ViT-T-16)"},
        {"conf", CLI_TEXT, &path, "CONF", "teacher and student of a configuration"},
        {"set", CLI_LIST, &sets, "KEY=VALUE", "override one setting of CONF (repeatable)"},
        {"only", CLI_TEXT, &only, "WHO", "teacher or student alone"},
        {"batch", CLI_COUNT, &batch, "N", "pairs in a micro-batch (default 16)"},
        {"rounds", CLI_COUNT, &rounds, "N", "rounds, of which medians are taken (default 5, at most 101)"},
        {"threads", CLI_COUNT, &threads, "N", "threads (default: OMP_NUM_THREADS, else 1)"},
        {"json", CLI_FLAG, &json, NULL, "the JSON line alone, without the table"},
    };
    const cli_spec spec = {"bench model",
                           "",
                           "Teacher forward passes and student training steps as a share of the sgemm "
                           "ceiling of this machine, measured in turns.",
                           "pupil bench model --batch 32",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    bench_model teacher = {0}, student = {0};
    bool has_teacher = false;
    if (r == 0 && batch > 65536)
        r = pupil_fail(PUPIL_EUSER, "pupil bench model: --batch %lld: at most 65536 was expected",
                       (long long)batch);
    if (r == 0 && only && strcmp(only, "teacher") && strcmp(only, "student"))
        r = pupil_fail(PUPIL_EUSER, "pupil bench model: --only is '%s', expected teacher or student", only);
    if (r == 0) r = choose(preset, path, &sets, &teacher.arch, &student.arch, &has_teacher);
    cli_list_free(&sets);
    if (r) return r;
    int t = start_bench(threads), ni = 0, rounds_n = (int)PUPIL_MIN(rounds, (int64_t)ROUNDS_MAX);
    bench_item *items = pupil_alloc(6 * sizeof *items);
    for (int what = IMAGE; what <= PADDED_TEXT && has_teacher && !(only && *only == 's'); what++) {
        if (what == IMAGE) model_open(&teacher, batch, false);
        item_add(items, &ni, "teacher forward", &teacher, what);
    }
    int first_student = ni;
    for (int what = IMAGE; what <= PADDED_TEXT && !(only && *only == 't'); what++) {
        if (what == IMAGE) model_open(&student, batch, true);
        item_add(items, &ni, "student step", &student, what);
    }
    ceiling top = measure(items, ni, rounds_n);
    print_results(items, ni, first_student, rounds_n, top, t, json);
    model_close(&student);
    model_close(&teacher);
    pupil_free(&items);
    return 0;
}

int cmd_bench(int argc, char **argv)
{
    static const cli_command verbs[] = {
        {"gemm", cmd_gemm, "the sgemm ceiling by size"},
        {"model", cmd_bench_model, "teacher forward and student step as a share of it"},
        {"loss", cmd_bench_loss, "losses as a share of a student's step"},
        {"allreduce", cmd_bench_reduce, "gradients' way between ranks, against MPI's own all-reduce"},
        {"cache", cmd_bench_cache, "a teacher cache written and read, against plain files"},
        {"input", cmd_bench_input, "pictures decoded, resized and normalised per second"},
    };
    return cli_family("bench", verbs, PUPIL_COUNT(verbs), argc, argv);
}
