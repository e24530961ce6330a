/* bench_loss.c: what a loss costs beside the towers: the time of all slots of a global batch, as a share of
 * the student's forward and backward passes over the same pairs, both measured in turns in one run. Ranks
 * share slots and pairs alike, so the share is the same on any number of them; gathering is not in it. */
#include "cli.h"

#include "pupil/math.h"
#include "pupil/model.h"

#include <stdlib.h>
#include <string.h>

static const char *const usual[] = {"clip",      "siglip",    "clip-kd",    "tinyclip",    "mobileclip",
                                    "open_clip", "siglip-kd", "clip-kd-gd", "clip-kd-afd", "rkd",
                                    "dist",      "logit-std", "dime-fm"};
enum { CAPTION = 15, MICRO = 16, ROUNDS_MAX = 31, TEACHER_DIM = 768 };

static float *made_up(uint64_t seed, int64_t n)
{
    float *x = pupil_alloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)((double)(pupil_rng_u64(seed, PUPIL_STREAM_TEST, (uint64_t)i) >> 40) / (1 << 23) - 1);
    return x;
}

/* ---- the student's step --------------------------------------------------------------------------- */
typedef struct {
    pupil_clip *clip;
    pupil_acts *acts;
    pupil_scratch *scratch;
    pupil_weights *weights;
    float *params, *grads, *images, *out;
    int32_t *ids, *cu;
} student;

static student student_new(const pupil_arch *a)
{
    student s = {.clip = pupil_clip_new(a)};
    int64_t total = pupil_clip_table(s.clip)->total;
    s.params = pupil_alloc((size_t)total * sizeof *s.params);
    s.grads = pupil_alloc((size_t)total * sizeof *s.grads);
    pupil_table_init(pupil_clip_table(s.clip), 1, s.params);
    s.weights = pupil_weights_flat(s.params);
    s.acts = pupil_acts_new(s.clip, MICRO, true);
    s.scratch = pupil_scratch_new(s.clip, MICRO);
    s.images = made_up(1, MICRO * 3 * a->image_size * a->image_size);
    s.out = pupil_alloc((size_t)(MICRO * a->embed_dim) * sizeof *s.out);
    s.ids = pupil_alloc(MICRO * CAPTION * sizeof *s.ids);
    s.cu = pupil_alloc((MICRO + 1) * sizeof *s.cu);
    for (int i = 0; i < MICRO * CAPTION; i++)
        s.ids[i] = (int32_t)(pupil_rng_u64(2, PUPIL_STREAM_TEST, (uint64_t)i) % (uint64_t)a->vocab);
    for (int i = 0; i <= MICRO; i++) s.cu[i] = i * CAPTION;
    return s;
}

static void student_free(student *s)
{
    pupil_acts_free(&s->acts);
    pupil_scratch_free(&s->scratch);
    pupil_weights_free(&s->weights);
    pupil_clip_free(&s->clip);
    pupil_free(&s->params);
    pupil_free(&s->grads);
    pupil_free(&s->images);
    pupil_free(&s->out);
    pupil_free(&s->ids);
    pupil_free(&s->cu);
}

/* Seconds of one pair. */
static double student_seconds(student *s)
{
    double begin = pupil_now();
    pupil_image_forward(s->clip, s->weights, s->acts, s->scratch, s->images, MICRO, s->out);
    pupil_text_forward(s->clip, s->weights, s->acts, s->scratch, s->ids, s->cu, MICRO, s->out);
    pupil_image_backward(s->clip, s->params, s->acts, s->scratch, s->out, s->grads, NULL);
    pupil_text_backward(s->clip, s->params, s->acts, s->scratch, s->out, s->grads);
    return (pupil_now() - begin) / MICRO;
}

/* ---- a loss --------------------------------------------------------------------------------------- */
typedef struct {
    const char *name;
    pupil_loss_conf c;
    pupil_loss *loss;
    float *tensor[PUPIL_LOSS_TENSORS], *dtensor[PUPIL_LOSS_TENSORS];
    int tensors;
    double share[ROUNDS_MAX];
} item;

typedef struct {
    float *student[2], *teacher[2][2], *d[2];
} features;

static int item_open(item *t, const char *name, int64_t batch, int64_t slots, int64_t dim)
{
    pupil_loss_tensor info[PUPIL_LOSS_TENSORS];
    *t = (item){.name = name, .c = {.batch = batch, .slots = slots, .dim = dim}};
    PUPIL_TRY(cli_loss_terms(name, NULL, NULL, &t->c));
    bool all = t->c.term[PUPIL_TERM_ENSEMBLE].weight != 0 || t->c.term[PUPIL_TERM_SOFT_SIGMOID].weight != 0;
    t->c.teachers = pupil_loss_wants(&t->c, PUPIL_WANTS_TEACHER) ? 1 + all : 0;
    for (int k = 0; k < t->c.teachers; k++) t->c.teacher[k] = (pupil_loss_teacher){TEACHER_DIM, 100, -10, 1};
    t->loss = pupil_loss_new(&t->c);
    t->tensors = pupil_loss_tensors(&t->c, info);
    for (int i = 0; i < t->tensors; i++) {
        int64_t n = 1;
        for (int d = 0; d < info[i].ndim; d++) n *= info[i].dim[d];
        t->tensor[i] = made_up(3 + (uint64_t)i, n);
        t->dtensor[i] = pupil_alloc((size_t)n * sizeof(float));
    }
    return 0;
}

static void item_close(item *t)
{
    pupil_loss_free(&t->loss);
    for (int i = 0; i < t->tensors; i++) {
        pupil_free(&t->tensor[i]);
        pupil_free(&t->dtensor[i]);
    }
}

static double item_seconds(item *t, const features *f)
{
    float log_scale = 3, dlog = 0;
    pupil_loss_params p = {.logit_scale = &log_scale}, g = {.logit_scale = &dlog};
    pupil_loss_input in = {0};
    float *d[PUPIL_LOSS_STREAMS] = {f->d[0], f->d[1]};
    int64_t rows = t->c.batch / t->c.slots;
    memcpy(p.tensor, t->tensor, sizeof p.tensor);
    memcpy(g.tensor, t->dtensor, sizeof g.tensor);
    double begin = pupil_now();
    for (int round = 0; round <= pupil_loss_rounds(t->loss); round++)
        for (int64_t k = 0; k < t->c.slots; k++) {
            double value[PUPIL_TERMS];
            for (int s = 0; s < 2; s++) {
                in.student[s] = f->student[s] + k * rows * t->c.dim;
                for (int i = 0; i < t->c.teachers; i++)
                    in.teacher[i][s] = f->teacher[i][s] + k * rows * TEACHER_DIM;
            }
            if (round < pupil_loss_rounds(t->loss)) pupil_loss_round(t->loss, round, k, &in, &p);
            else pupil_loss_grad(t->loss, k, &in, &p, &g, d, value);
        }
    return pupil_now() - begin;
}

static void print_results(item *items, int n, int rounds, double pair_seconds, bool json)
{
    pupil_buf out = {0};
    int64_t batch = items[0].c.batch, slots = items[0].c.slots;
    pupil_buf_printf(&out,
                     "{\"batch\": %lld, \"slots\": %lld, \"threads\": %d, \"student_step_seconds\": %.4g, "
                     "\"share_of_step\": {",
                     (long long)batch, (long long)slots, pupil_math_threads(), pair_seconds * (double)batch);
    if (!json)
        printf("student ViT-T-16, %lld pairs in %lld slots: %.2f s a step on %d thread%s\n", (long long)batch,
               (long long)slots, pair_seconds * (double)batch, pupil_math_threads(),
               pupil_math_threads() == 1 ? "" : "s");
    for (int i = 0; i < n; i++) {
        double share = cli_median(items[i].share, rounds);
        if (!json)
            printf("  %-12s %d teacher%s  %7.3f %% of it\n", items[i].name, items[i].c.teachers,
                   items[i].c.teachers == 1 ? " " : "s", 100 * share);
        pupil_buf_printf(&out, "%s\"%s\": %.5f", i ? ", " : "", items[i].name, share);
    }
    printf("%s}}\n", out.s);
    pupil_buf_free(&out);
}

static void measure(item *items, int n, int rounds, student *s, const features *f, double *ret_pair)
{
    double pair[ROUNDS_MAX];
    student_seconds(s); /* touch all memory once */
    for (int k = 0; k < rounds; k++) {
        for (int i = 0; i < n; i++) {
            pupil_progress(k + 1 == rounds && i + 1 == n, "round %d of %d: %s", k + 1, rounds, items[i].name);
            pair[k] = student_seconds(s);
            items[i].share[k] = item_seconds(&items[i], f) / (pair[k] * (double)items[i].c.batch);
        }
    }
    *ret_pair = cli_median(pair, rounds);
}

int cmd_bench_loss(int argc, char **argv)
{
    cli_list presets = {0};
    bool json = false;
    int64_t batch = 1024, slots = 8, rounds = 3, threads = 0;
    const cli_option options[] = {
        {"preset", CLI_LIST, &presets, "NAME", "a preset (repeatable; default: one of each kind)"},
        {"batch", CLI_COUNT, &batch, "N", "pairs in the global batch (default 1024)"},
        {"slots", CLI_COUNT, &slots, "N", "slots of it (default 8)"},
        {"rounds", CLI_COUNT, &rounds, "N", "rounds, of which medians are taken (default 3, at most 31)"},
        {"threads", CLI_COUNT, &threads, "N", "threads (default: OMP_NUM_THREADS, else 1)"},
        {"json", CLI_FLAG, &json, NULL, "the JSON line alone, without the table"},
    };
    const cli_spec spec = {
        "bench loss",
        "",
        "Time of a loss as a share of a ViT-T/16 student's step over the same pairs, measured in turns.",
        "pupil bench loss --preset clip-kd",
        options,
        PUPIL_COUNT(options),
        0,
        0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (batch > 65536 || batch % slots || rounds > ROUNDS_MAX)
        return pupil_fail(PUPIL_EUSER, "pupil bench loss: a --batch of at most 65536 that --slots divides, "
                                       "and at most 31 --rounds were expected");
    const char *const *names = presets.n ? presets.item : usual;
    int count = presets.n ? presets.n : PUPIL_COUNT(usual), open = 0;
    pupil_arch arch;
    for (int i = 0; i < count; i++) PUPIL_TRY(cli_loss_terms(names[i], NULL, NULL, &(pupil_loss_conf){0}));
    PUPIL_TRY(pupil_arch_from_conf(
        &(pupil_conf_model){.name = (char *)(uintptr_t) "ViT-T-16", .act = PUPIL_ACT_PRESET}, 49408, "model",
        &arch));
    cli_best_kernel();
    cli_warn_binding(cli_bound_cores(), cli_set_threads(threads));
    item *items = pupil_alloc((size_t)count * sizeof *items);
    while (r == 0 && open < count) {
        r = item_open(&items[open], names[open], batch, slots, arch.embed_dim);
        if (r == 0) open++;
    }
    features f;
    student s = student_new(&arch);
    for (int k = 0; k < 2; k++) {
        f.student[k] = made_up(10 + (uint64_t)k, batch * arch.embed_dim);
        f.d[k] = pupil_alloc((size_t)(batch / slots * arch.embed_dim) * sizeof(float));
        for (int i = 0; i < 2; i++)
            f.teacher[i][k] = made_up(20 + (uint64_t)(2 * i + k), batch * TEACHER_DIM);
    }
    double pair = 0;
    if (r == 0) {
        measure(items, count, (int)rounds, &s, &f, &pair);
        print_results(items, count, (int)rounds, pair, json);
    }
    while (open > 0) item_close(&items[--open]);
    for (int k = 0; k < 2; k++) {
        float **all[] = {&f.student[k], &f.d[k], &f.teacher[0][k], &f.teacher[1][k]};
        for (int i = 0; i < PUPIL_COUNT(all); i++) pupil_free(all[i]);
    }
    student_free(&s);
    pupil_free(&items);
    cli_list_free(&presets);
    return r;
}
