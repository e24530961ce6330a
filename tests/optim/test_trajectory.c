/* Ten steps of training against the reference code's: model, losses, schedule, clipping and AdamW together.
 * This is the step of the student loop without ranks: the loss of each step, the norm of its gradient, the
 * final weights. */
#include "../oracle_h5.h"

#include "pupil/loss.h"
#include "pupil/math.h"
#include "pupil/model.h"
#include "pupil/optim.h"

#define STEPS 10

typedef struct {
    pupil_clip *c;
    pupil_table *table;
    pupil_conf_train train;
    pupil_loss_conf lc;
    pupil_loss_tensor info[PUPIL_LOSS_TENSORS];
    int64_t at[PUPIL_LOSS_TENSORS]; /* offsets */
    int tensors;
    float *params, *m, *v, *grads, *images, *feat[2], *dfeat[2], *teacher[2];
    int32_t *ids, *cu;
    pupil_acts **acts;
    pupil_scratch *scratch;
    pupil_loss *loss;
    pupil_decay_run *runs;
    double value, norm, *sums;
} run;

static const char *const side[2] = {"image", "text"};

static pupil_loss_params loss_params(const run *r, float *base)
{
    pupil_loss_params p = {.logit_scale = base + pupil_clip_scale_offset(r->c)};
    for (int i = 0; i < r->tensors; i++) p.tensor[i] = base + r->at[i];
    return p;
}

static void read_inputs(run *r, const char *teacher)
{
    char *path = oracle_path("train/inputs.h5"), name[96];
    pupil_h5 *h;
    GOOD(pupil_h5_open(path, &h));
    int64_t dims[8];
    r->images = h5_floats(h, "images", dims);
    r->lc.batch = dims[0] / 2;
    double *padded = h5_doubles(h, "token_ids", dims);
    r->ids = pupil_alloc((size_t)(dims[0] * dims[1]) * sizeof *r->ids);
    r->cu = pupil_alloc((size_t)(dims[0] + 1) * sizeof *r->cu);
    pack_captions(padded, dims[0], dims[1], pupil_clip_arch(r->c)->vocab - 1, r->ids, r->cu);
    for (int s = 0; s < 2 && teacher; s++) {
        snprintf(name, sizeof name, "%s/%s", teacher, side[s]);
        r->teacher[s] = h5_floats(h, name, dims);
        r->lc.teachers = 1, r->lc.teacher[0] = (pupil_loss_teacher){.dim = dims[1], .scale = 20, .weight = 1};
    }
    pupil_free(&padded);
    pupil_free(&path);
    pupil_h5_close(&h);
}

static void add_loss_tensors(run *r)
{
    r->tensors = pupil_loss_tensors(&r->lc, r->info);
    for (int i = 0; i < r->tensors; i++)
        r->at[i] = pupil_table_add(r->table, strcmp(r->info[i].name, "loss.icl_scale") ? r->info[i].name : "loss.cross_logit_scale", r->info[i].ndim, r->info[i].dim, PUPIL_INIT_CONST, r->info[i].init);
}

static void load_heads(run *r)
{
    char *path = oracle_path("train/inputs.h5");
    pupil_h5 *h;
    GOOD(pupil_h5_open(path, &h));
    for (int i = 0; i < r->tensors; i++) {
        const pupil_loss_tensor *t = &r->info[i];
        char *name = pupil_format("heads/%s", t->name + strlen("loss."));
        if (t->ndim) GOOD(pupil_h5_read(h, name, PUPIL_H5_F32, t->dim[0] * (t->ndim > 1 ? t->dim[1] : 1), r->params + r->at[i]));
        pupil_free(&name);
    }
    pupil_h5_close(&h);
    pupil_free(&path);
}

/* False without reference data. */
static bool run_new(run *r, const char *teacher, int64_t slots)
{
    char *dir = oracle_path("models/a_gelu/open_clip");
    if (!dir) return false;
    pupil_arch a;
    GOOD(pupil_model_dir_arch(dir, &a));
    *r = (run){
        .c = pupil_clip_new(&a),
        .train = {.steps = STEPS,
                  .lr = 5e-4,
                  .wd = 0.2,
                  .beta1 = 0.9,
                  .beta2 = 0.98,
                  .eps = 1e-6,
                  .warmup = 3,
                  .grad_clip_norm = 1},
        .lc = {.slots = slots, .dim = a.embed_dim}};
    r->table = pupil_clip_table(r->c);
    read_inputs(r, teacher);
    pupil_loss_defaults(&r->lc);
    pupil_loss_term *term = r->lc.term;
    term[PUPIL_TERM_TASK].weight = 1;
    if (teacher) term[PUPIL_TERM_CRD].weight = term[PUPIL_TERM_ICL].weight = 1, term[PUPIL_TERM_FD].weight = 2000;
    term[PUPIL_TERM_ICL].as_released = true;
    add_loss_tensors(r);
    float **whole[] = {&r->params, &r->m, &r->v, &r->grads};
    for (int i = 0; i < 4; i++) *whole[i] = floats(r->table->total);
    pupil_table_init(r->table, 1, r->params);
    GOOD(pupil_model_dir_load(dir, r->c, r->params)); /* leaves the guests alone */
    load_heads(r);
    int64_t rows = r->lc.batch / slots;
    for (int s = 0; s < 2; s++)
        r->feat[s] = floats(r->lc.batch * a.embed_dim), r->dfeat[s] = floats(rows * a.embed_dim);
    r->acts = pupil_alloc((size_t)slots * sizeof(pupil_acts *));
    for (int64_t k = 0; k < slots; k++) r->acts[k] = pupil_acts_new(r->c, rows, true);
    r->scratch = pupil_scratch_new(r->c, rows);
    r->loss = pupil_loss_new(&r->lc);
    r->sums = doubles(r->table->total / PUPIL_CHUNK + 1);
    r->runs = pupil_alloc((size_t)r->table->n * sizeof *r->runs);
    for (int64_t i = 0; i < r->table->n; i++)
        r->runs[i] = (pupil_decay_run){r->table->t[i].offset, r->table->t[i].count, r->table->t[i].decay, 0, 0};
    pupil_free(&dir);
    return true;
}

static void run_end(run *r)
{
    for (int64_t k = 0; k < r->lc.slots; k++) pupil_acts_free(&r->acts[k]);
    pupil_scratch_free(&r->scratch);
    pupil_loss_free(&r->loss);
    pupil_clip_free(&r->c);
    DROP(r->params, r->m, r->v, r->grads, r->images, r->ids, r->cu, r->acts, r->sums, r->runs);
    for (int s = 0; s < 2; s++) DROP(r->feat[s], r->dfeat[s], r->teacher[s]);
}

static pupil_loss_input slot_features(const run *r, int64_t first, int64_t k)
{
    int64_t rows = r->lc.batch / r->lc.slots, at = k * rows;
    pupil_loss_input in = {.student = {r->feat[0] + at * r->lc.dim, r->feat[1] + at * r->lc.dim}};
    for (int s = 0; s < 2 && r->lc.teachers; s++) in.teacher[0][s] = r->teacher[s] + (first + at) * r->lc.teacher[0].dim;
    return in;
}

/* Gradient of one batch into r->grads, loss into r->value. */
static void gradient(run *r, int64_t first)
{
    int64_t slots = r->lc.slots, rows = r->lc.batch / slots, ds = r->lc.dim;
    int64_t pixels = 3 * pupil_clip_arch(r->c)->image_size * pupil_clip_arch(r->c)->image_size;
    pupil_loss_params p = loss_params(r, r->params), g = loss_params(r, r->grads);
    memset(r->grads, 0, (size_t)r->table->total * sizeof *r->grads);
    pupil_weights *flat = pupil_weights_flat(r->params);
    for (int64_t k = 0; k < slots; k++) {
        int64_t i = first + k * rows, at = k * rows * ds;
        int32_t *cu = pupil_alloc((size_t)(rows + 1) * sizeof *cu);
        for (int64_t j = 0; j <= rows; j++) cu[j] = r->cu[i + j] - r->cu[i];
        pupil_image_forward(r->c, flat, r->acts[k], r->scratch, r->images + i * pixels, rows,
                            r->feat[0] + at);
        pupil_text_forward(r->c, flat, r->acts[k], r->scratch, r->ids + r->cu[i], cu, rows,
                           r->feat[1] + at);
        pupil_free(&cu);
    }
    pupil_weights_free(&flat);
    for (int round = 0; round < pupil_loss_rounds(r->loss); round++)
        for (int64_t k = 0; k < slots; k++) {
            pupil_loss_input in = slot_features(r, first, k);
            pupil_loss_round(r->loss, round, k, &in, &p);
        }
    r->value = 0;
    for (int64_t k = 0; k < slots; k++) {
        double value[PUPIL_TERMS];
        pupil_loss_input in = slot_features(r, first, k);
        float *const dfeat[PUPIL_LOSS_STREAMS] = {r->dfeat[0], r->dfeat[1]};
        pupil_loss_grad(r->loss, k, &in, &p, &g, dfeat, value);
        pupil_image_backward(r->c, r->params, r->acts[k], r->scratch, r->dfeat[0], r->grads, NULL);
        pupil_text_backward(r->c, r->params, r->acts[k], r->scratch, r->dfeat[1], r->grads);
        r->value += pupil_loss_total(&r->lc, value);
    }
}

/* Update in `parts` ranges, as so many ranks would. */
static double update(run *r, int64_t step, int parts)
{
    int64_t n = r->table->total, at[9];
    pupil_optim_ranges(n, parts, at);
    for (int k = 0; k < parts; k++) pupil_grad_sumsq(r->grads + at[k], at[k], at[k + 1], r->sums);
    r->norm = pupil_grad_norm(r->sums, n);
    double lr = pupil_lr_at(&r->train, step);
    for (int k = 0; k < parts; k++)
        pupil_adamw(r->params, r->m, r->v, r->grads + at[k], at[k], at[k + 1], r->runs, r->table->n,
                    &r->train, lr, pupil_clip_factor(r->norm, r->train.grad_clip_norm), step + 1);
    float *scale = r->params + pupil_clip_scale_offset(r->c);
    *scale = fminf(fmaxf(*scale, 0), (float)log(100));
    return lr;
}

static void check_first_gradient(run *r, const json_t *want)
{
    size_t seen = 0;
    for (int64_t i = 0; i < r->table->n; i++) {
        const pupil_tensor *t = &r->table->t[i];
        double *g = to_doubles(r->grads + t->offset, t->count), size = json_number_in(want, t->name);
        CHECK(fabs(l2(g, t->count) - size) <= 2e-5 * size + 1e-6, "gradient of %s: l2 %.9g, expected %.9g",
              t->name, l2(g, t->count), size);
        seen++;
        pupil_free(&g);
    }
    assert_int_equal(seen, json_object_size(want));
}

static double check_final(run *r, const json_t *want)
{
    double worst = 0;
    assert_int_equal(json_object_size(want), r->table->n);
    for (int64_t i = 0; i < r->table->n; i++) {
        const pupil_tensor *t = &r->table->t[i];
        const json_t *one = json_object_get(want, t->name);
        CHECK(one, "no final %s", t->name);
        double *p = to_doubles(r->params + t->offset, t->count), size = json_number_in(one, "l2");
        CHECK(fabs(l2(p, t->count) - size) <= 1e-5 * sqrt((double)t->count),
              "final %s: l2 %.9g, expected %.9g", t->name, l2(p, t->count), size);
        const json_t *ends[2] = {json_object_get(one, "first8"), json_object_get(one, "last8")};
        for (int k = 0; k < 2; k++) {
            int64_t m = (int64_t)json_array_size(ends[k]);
            for (int64_t j = 0; j < m; j++) {
                double x = json_number_value(json_array_get(ends[k], (size_t)j)),
                       e = fabs(p[k ? t->count - m + j : j] - x);
                CHECK(e <= 1e-5, "final %s, element %d from the %s: off by %.3g", t->name, (int)j,
                      k ? "end" : "start", e);
                worst = fmax(worst, e);
            }
        }
        pupil_free(&p);
    }
    return worst;
}

static void trajectory(const char *file, const char *teacher, int64_t slots, int parts)
{
    run r;
    if (!run_new(&r, teacher, slots)) skip();
    char *relative = pupil_format("train/%s.json", file), *path = oracle_path(relative);
    json_t *all = json_file(path);
    const json_t *steps = json_object_get(all, "float64");
    double worst[2] = {0};
    for (int64_t s = 0; s < STEPS; s++) {
        const json_t *want = json_array_get(steps, (size_t)s);
        gradient(&r, s % 2 * r.lc.batch);
        if (s == 0) check_first_gradient(&r, json_object_get(all, "first_step_grad_l2_float64"));
        double lr = update(&r, s, parts);
        double loss = json_number_in(want, "loss"), norm = json_number_in(want, "grad_norm_before_clip");
        worst[0] = fmax(worst[0], fabs(r.value / loss - 1));
        worst[1] = fmax(worst[1], fabs(r.norm / norm - 1));
        CHECK(fabs(lr - json_number_in(want, "lr")) < 1e-15, "step %d: lr %.17g", (int)s, lr);
        CHECK(fabs(r.value / loss - 1) < 2e-5, "step %d: loss %.9g, expected %.9g", (int)s, r.value, loss);
        CHECK(fabs(r.norm / norm - 1) < 1e-4, "step %d: norm %.9g, expected %.9g", (int)s, r.norm, norm);
        assert_true(fabs((double)r.params[pupil_clip_scale_offset(r.c)] -
                         json_number_in(want, "log_logit_scale_after")) < 1e-5);
        for (int i = 0; i < r.tensors; i++)
            assert_true(r.info[i].ndim || fabs((double)r.params[r.at[i]] - json_number_in(want, "icl_scale_after")) < 1e-5);
    }
    double last = check_final(&r, json_object_get(all, "final_float64"));
    print_message("%s, %d slots: losses off by %.1e, gradient norms by %.1e, final weights by %.1e\n", file,
                  (int)slots, worst[0], worst[1], last);
    if (!strcmp(file, "kd_equal")) { /* all weights, not their ends alone */
        char *final = oracle_path("train/kd_equal_final.safetensors");
        pupil_safetensors *st;
        GOOD(pupil_safetensors_open(final, &st));
        for (int64_t i = 0; i < r.table->n; i++) {
            const pupil_tensor *t = &r.table->t[i];
            float *want = floats(t->count);
            GOOD(pupil_safetensors_read(st, t->name, t->ndim, t->shape, want));
            for (int64_t j = 0; j < t->count; j++)
                CHECK(fabsf(want[j] - r.params[t->offset + j]) <= 1e-5f, "final %s[%d]: %.9g, expected %.9g",
                      t->name, (int)j, (double)r.params[t->offset + j], (double)want[j]);
            pupil_free(&want);
        }
        pupil_safetensors_close(&st);
        pupil_free(&final);
    }
    json_decref(all);
    DROP(relative, path);
    run_end(&r);
}

static void clip(void **state)
{
    trajectory("clip", NULL, 1, 1);
}
static void clip_in_slots(void **state)
{
    trajectory("clip", NULL, 8, 3);
}
static void kd_equal(void **state)
{
    trajectory("kd_equal", "teacher_equal", 2, 4);
}
static void kd_projected(void **state)
{
    trajectory("kd_projected", "teacher_projected", 1, 1);
}
static void kd_projected_in_slots(void **state)
{
    trajectory("kd_projected", "teacher_projected", 4, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clip),         cmocka_unit_test(clip_in_slots),         cmocka_unit_test(kd_equal),
        cmocka_unit_test(kd_projected), cmocka_unit_test(kd_projected_in_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
