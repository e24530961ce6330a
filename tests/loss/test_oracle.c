/* The losses against the reference code's values and gradients (computed in float64 under autograd), over
 * slots: every group of the reference data. The tolerance of each is ten times what the reference code itself
 * loses in float32, as recorded beside the values. */
#include "../oracle_h5.h"

#include "driver.h"

typedef struct {
    const char *group;
    struct {
        int term;
        pupil_loss_term how;
    } terms[4];
    int teachers, captions;
    double scale[2]; /* of the teachers, instead of their own */
    bool plain_heads;
} reference;

#define TASK(w)                                                                                              \
    {                                                                                                        \
        PUPIL_TERM_TASK,                                                                                     \
        {                                                                                                    \
            .weight = (w)                                                                                    \
        }                                                                                                    \
    }
#define CRD(w)                                                                                               \
    {                                                                                                        \
        PUPIL_TERM_CRD,                                                                                      \
        {                                                                                                    \
            .weight = (w)                                                                                    \
        }                                                                                                    \
    }
#define RAW(t)                                                                                               \
    {                                                                                                        \
        t,                                                                                                   \
        {                                                                                                    \
            .weight = 1, .as_released = true                                                                 \
        }                                                                                                    \
    }
#define FD(w)                                                                                                \
    {                                                                                                        \
        PUPIL_TERM_FD,                                                                                       \
        {                                                                                                    \
            .weight = (w)                                                                                    \
        }                                                                                                    \
    }
#define RKD(t, of, r)                                                                                        \
    {                                                                                                        \
        {                                                                                                    \
            t,                                                                                               \
            {                                                                                                \
                .weight = 1, .raw = r, .sides = of                                                           \
            }                                                                                                \
        }                                                                                                    \
    }
#define ENSEMBLE(w, s)                                                                                       \
    {                                                                                                        \
        PUPIL_TERM_ENSEMBLE,                                                                                 \
        {                                                                                                    \
            .weight = (w), .scale = (s)                                                                      \
        }                                                                                                    \
    }
#define DIST(tau_, b, one)                                                                                   \
    {                                                                                                        \
        {                                                                                                    \
            PUPIL_TERM_DIST,                                                                                 \
            {                                                                                                \
                .weight = 1, .tau = tau_, .beta = b, .gamma = b, .one_way = one                              \
            }                                                                                                \
        }                                                                                                    \
    }
#define STD(w, one)                                                                                          \
    {                                                                                                        \
        {                                                                                                    \
            PUPIL_TERM_LOGIT_STD,                                                                            \
            {                                                                                                \
                .weight = w, .tau = 2, .one_way = one                                                        \
            }                                                                                                \
        }                                                                                                    \
    }
#define HINTON(t, one)                                                                                       \
    {                                                                                                        \
        {                                                                                                    \
            PUPIL_TERM_HINTON,                                                                               \
            {                                                                                                \
                .weight = 1, .tau = t, .one_way = one                                                        \
            }                                                                                                \
        }                                                                                                    \
    }
#define DISTANCE PUPIL_TERM_RKD_DISTANCE
#define ANGLE    PUPIL_TERM_RKD_ANGLE
#define OF_IMAGE PUPIL_SIDES_IMAGE
#define OF_TEXT  PUPIL_SIDES_TEXT

/* clang-format off */
static const reference references[] = {
    {.group = "task_infonce", .terms = {TASK(1)}},
    {.group = "clipkd_released/task", .terms = {TASK(1)}},
    {.group = "clipkd_released/crd", .terms = {CRD(1)}},
    {.group = "clipkd_released/icl", .terms = {RAW(PUPIL_TERM_ICL)}},
    {.group = "clipkd_released/cross_kd", .terms = {RAW(PUPIL_TERM_CROSS_KD)}},
    {.group = "clipkd_released/fd", .terms = {FD(1)}},
    {.group = "clipkd_released/gd", .terms = {RAW(PUPIL_TERM_GD)}},
    {.group = "clipkd_released/afd", .terms = {RAW(PUPIL_TERM_AFD)}},
    {.group = "clipkd_released/combined_task_crd_icl_2000fd", .terms = {TASK(1), CRD(1), RAW(PUPIL_TERM_ICL), FD(2000)}},
    {.group = "clipkd_released/combined_no_task", .terms = {CRD(1), RAW(PUPIL_TERM_ICL), FD(2000)}},
    {.group = "clipkd_released/gd_times_1e8", .terms = {{PUPIL_TERM_GD, {.weight = 1e8, .as_released = true}}}},
    {.group = "clipkd_published/icl", .terms = {{PUPIL_TERM_ICL, {.weight = 1}}}},
    {.group = "clipkd_published/cross_kd", .terms = {{PUPIL_TERM_CROSS_KD, {.weight = 1}}}},
    {.group = "clipkd_published/afd", .terms = {{PUPIL_TERM_AFD, {.weight = 1}}}},
    {.group = "clipkd_published/gd", .terms = {{PUPIL_TERM_GD, {.weight = 1}}}},
    {.group = "clipkd_alternative/fd_sum_over_dims", .terms = {{PUPIL_TERM_FD, {.weight = 1, .sum = true}}}},
    {.group = "nanoclip_released/contrastive_loss", .terms = {TASK(1)}, .plain_heads = true},
    {.group = "nanoclip_released/fd_loss", .terms = {FD(2000)}, .plain_heads = true},
    {.group = "nanoclip_released/icl_loss", .terms = {RAW(PUPIL_TERM_ICL)}, .plain_heads = true},
    {.group = "nanoclip_released/ckd_loss", .terms = {{PUPIL_TERM_CRD, {.weight = 1, .reversed = true}}}, .plain_heads = true},
    {.group = "nanoclip_released/total", .terms = {TASK(1), FD(2000), RAW(PUPIL_TERM_ICL), {PUPIL_TERM_CRD, {.weight = 1, .reversed = true}}}, .plain_heads = true},
    {.group = "tinyclip/affinity_own_scales", .terms = {{PUPIL_TERM_AFFINITY, {.weight = 1}}}},
    {.group = "tinyclip/affinity_scale50", .terms = {{PUPIL_TERM_AFFINITY, {.weight = 1, .scale = 50}}}},
    {.group = "openclip_distill/contrastive", .terms = {TASK(1)}},
    {.group = "openclip_distill/distill", .terms = {{PUPIL_TERM_AFFINITY, {.weight = 1}}}},
    {.group = "openclip_distill/total", .terms = {TASK(1), {PUPIL_TERM_AFFINITY, {.weight = 1}}}},
    {.group = "mobileclip/v1_ensemble_scale100_distill", .terms = {ENSEMBLE(1, 100)}, .teachers = 2},
    {.group = "mobileclip/v1_dr_lambda1", .terms = {ENSEMBLE(1, 100)}, .teachers = 2, .captions = 2},
    {.group = "mobileclip/v1_dr_lambda075", .terms = {TASK(0.25), ENSEMBLE(0.75, 100)}, .teachers = 2, .captions = 2},
    {.group = "mobileclip/v2_ensemble_scales_70_60", .terms = {ENSEMBLE(1, 0)}, .teachers = 2, .scale = {70, 60}},
    {.group = "mobileclip/v2_ensemble_own_scales", .terms = {ENSEMBLE(1, 0)}, .teachers = 2},
    {.group = "mobileclip/v2_dr_own_scales_lambda075", .terms = {TASK(0.25), ENSEMBLE(0.75, 0)}, .teachers = 2, .captions = 2},
    {.group = "mobileclip/v2_sigmoid_distill", .terms = {{PUPIL_TERM_SOFT_SIGMOID, {.weight = 1}}}, .teachers = 2},
    {.group = "siglip/sigmoid", .terms = {{PUPIL_TERM_SIGMOID, {.weight = 1}}}},
    {.group = "rkd/distance_image", .terms = RKD(DISTANCE, OF_IMAGE, false)},
    {.group = "rkd/distance_text", .terms = RKD(DISTANCE, OF_TEXT, false)},
    {.group = "rkd/distance_image_raw", .terms = RKD(DISTANCE, OF_IMAGE, true)},
    {.group = "rkd/distance_text_raw", .terms = RKD(DISTANCE, OF_TEXT, true)},
    {.group = "rkd/angle_image", .terms = RKD(ANGLE, OF_IMAGE, false)},
    {.group = "rkd/angle_text", .terms = RKD(ANGLE, OF_TEXT, false)},
    {.group = "rkd/angle_image_raw", .terms = RKD(ANGLE, OF_IMAGE, true)},
    {.group = "rkd/angle_text_raw", .terms = RKD(ANGLE, OF_TEXT, true)},
    {.group = "dist/tau1_beta1_gamma1", .terms = DIST(1, 1, false)},
    {.group = "dist/tau4_beta2_gamma2", .terms = DIST(4, 2, false)},
    {.group = "dist/tau1_image_to_text_only", .terms = DIST(1, 1, true)},
    {.group = "logit_std/T2_image_to_text_only", .terms = STD(0.25, true)}, /* theirs lacks the factor T^2 */
    {.group = "logit_std/T2_both_times_T2", .terms = STD(1, false)},
    {.group = "logit_std/T2_both_times_T2_weight9", .terms = STD(9, false)},
    {.group = "hinton/tau1_both_times_tau2", .terms = HINTON(1, false)},
    {.group = "hinton/tau4_both_times_tau2", .terms = HINTON(4, false)},
    {.group = "hinton/tau4_clipkd_DistillKL_image_to_text", .terms = HINTON(4, true)},
};

/* clang-format on */
static double worst_value, worst_gradient; /* as shares of what is allowed */

static void compare(pupil_h5 *h, const char *group, const char *name, const float *got, int64_t n,
                    double allowed)
{
    char *path = pupil_format("%s/d_%s", group, name);
    if (pupil_h5_has(h, path)) {
        double *want = h5_doubles(h, path, NULL), e = relative_l2(got, want, n);
        if (l2(want, n) < 1e-12) e = 0;
        CHECK(e <= allowed, "%s: relative error %.3g, allowed %.3g", path, e, allowed);
        worst_gradient = fmax(worst_gradient, e / allowed);
        pupil_free(&want);
    }
    pupil_free(&path);
}

static void compare_scalar(pupil_h5 *h, const char *group, const char *name, double got, double allowed)
{
    char *path = pupil_format("%s/d_%s", group, name);
    if (pupil_h5_has(h, path)) {
        double want = h5_number(h, path);
        CHECK(fabs(got - want) <= allowed + 1e-6 * fabs(want), "%s: %.9g, expected %.9g (allowed %.2g)", path,
              got, want, allowed);
    }
    pupil_free(&path);
}

/* Our "loss.visual_proj.weight" is their "visual_proj.weight"; scales have other names. */
static const char *their_name(const char *ours)
{
    ours += strlen("loss.");
    return !strcmp(ours, "icl_scale")      ? "cross_logit_scale"
           : !strcmp(ours, "fusion_scale") ? "fusion_logit_scale"
                                           : ours;
}

/* Bias and cross scales as given, heads as stored. */
static void load_tensors(loss_case *k, pupil_h5 *h)
{
    for (int i = 0; i < k->tensors; i++) {
        const char *name = their_name(k->info[i].name);
        char *path = pupil_format("inputs/params/%s", name);
        bool scalar = k->info[i].ndim == 0;
        if (scalar)
            *k->tensor[i] =
                (float)(strcmp(name, "logit_bias") ? log(1 / 0.07) : h5_number(h, "inputs/logit_bias"));
        else GOOD(pupil_h5_read(h, path, PUPIL_H5_F32, tensor_count(&k->info[i]), k->tensor[i]));
        pupil_free(&path);
    }
}

static void check_gradients(pupil_h5 *h, const reference *r, const loss_case *k, double allowed,
                            double of_scalar)
{
    static const char *const stream[] = {"student_image", "student_text", "student_text2"};
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++)
        compare(h, r->group, stream[s], k->dstudent[s], k->c.batch * k->c.dim, allowed);
    compare_scalar(h, r->group, "log_logit_scale", (double)k->dlog_scale, of_scalar);
    for (int i = 0; i < k->tensors; i++) {
        const char *name = their_name(k->info[i].name);
        int64_t n = tensor_count(&k->info[i]);
        if (k->info[i].ndim) {
            compare(h, r->group, name, k->dtensor[i], n, allowed);
        } else { /* theirs is for the scale itself in both forms, ours for the parameter */
            bool of_exp = strcmp(name, "logit_bias") && !k->c.term[r->terms[0].term].as_released &&
                          !r->plain_heads && !strstr(r->group, "released");
            compare_scalar(h, r->group, name, (double)*k->dtensor[i] * (of_exp ? 0.07 : 1), of_scalar);
        }
    }
}

static void check_group(pupil_h5 *h, const json_t *batch, const reference *r, loss_case k)
{
    const json_t *lost = json_object_get(json_object_get(batch, "float32_error"), r->group);
    if (!lost) return; /* afd is defined for equal widths only */
    char *path = pupil_format("%s/value", r->group);
    double want = h5_number(h, path), allowed = 10 * json_number_in(lost, "gradient_relative_l2") + 1e-6;
    double of_value = 10 * json_number_in(lost, "value_relative") + 1e-6,
           of_scalar = 10 * json_number_in(lost, "scalar_gradient_absolute") + 1e-6;
    k.c.teachers = PUPIL_MAX(1, r->teachers), k.c.captions = PUPIL_MAX(1, r->captions),
    k.c.plain_heads = r->plain_heads;
    for (int i = 0; i < PUPIL_COUNT(r->terms); i++)
        if (r->terms[i].how.weight != 0) k.c.term[r->terms[i].term] = r->terms[i].how;
    for (int i = 0; i < k.c.teachers; i++)
        if (r->scale[i] > 0) k.c.teacher[i].scale = r->scale[i];
    case_open(&k);
    load_tensors(&k, h);
    for (int64_t slots = 1; slots <= k.c.batch; slots++) {
        if (k.c.batch % slots) continue;
        loss_run(&k, slots, (int)PUPIL_MIN(slots, (int64_t)4));
        double e = fabs(k.total / want - 1);
        CHECK(e <= of_value, "%s, %d slots: %.12g, expected %.12g (off by %.2g, allowed %.2g)", r->group,
              (int)slots, k.total, want, e, of_value);
        worst_value = fmax(worst_value, e / of_value);
        check_gradients(h, r, &k, allowed, of_scalar);
    }
    case_close(&k);
    pupil_free(&path);
}

/* Every loss of the reference data is in the table above. */
static void check_complete(const json_t *batch)
{
    const char *group;
    json_t *value;
    json_object_foreach(json_object_get(batch, "values"), group, value)
    {
        int found = 0;
        for (int i = 0; i < PUPIL_COUNT(references); i++) found += !strcmp(references[i].group, group);
        CHECK(found == 1, "%s is %d times in the table of this test", group, found);
    }
}

static void check_batch(const char *name)
{
    char *relative = pupil_format("losses/%s.h5", name), *path = oracle_path(relative),
         *values = oracle_path("losses/values.json");
    if (!path) skip();
    pupil_h5 *h;
    GOOD(pupil_h5_open(path, &h));
    json_t *all = json_file(values);
    static const char *const stream[] = {"image", "text", "text2"}, *const teacher[] = {"teacher",
                                                                                        "teacher2"};
    int64_t dims[8];
    loss_case k = {.c = {.teachers = 2}};
    pupil_loss_defaults(&k.c);
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) {
        char key[96];
        snprintf(key, sizeof key, "inputs/student_%s", stream[s]);
        k.in.student[s] = h5_floats(h, key, dims);
        k.c.batch = dims[0], k.c.dim = dims[1];
        for (int t = 0; t < 2; t++) {
            snprintf(key, sizeof key, "inputs/%s_%s", teacher[t], stream[s]);
            k.in.teacher[t][s] = h5_floats(h, key, dims);
            k.c.teacher[t].dim = dims[1], k.c.teacher[t].weight = 1;
            snprintf(key, sizeof key, "inputs/%s_logit_scale", teacher[t]);
            k.c.teacher[t].scale = h5_number(h, key);
            snprintf(key, sizeof key, "inputs/%s_logit_bias", teacher[t]);
            k.c.teacher[t].bias = h5_number(h, key);
        }
    }
    k.log_scale = (float)h5_number(h, "inputs/log_logit_scale");
    worst_value = worst_gradient = 0;
    check_complete(json_object_get(all, name));
    for (int i = 0; i < PUPIL_COUNT(references); i++)
        check_group(h, json_object_get(all, name), &references[i], k);
    print_message("%s: values off by at most %.2f of what is allowed, gradients by %.2f\n", name, worst_value,
                  worst_gradient);
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++)
        DROP((void *)(uintptr_t)k.in.student[s], (void *)(uintptr_t)k.in.teacher[0][s],
             (void *)(uintptr_t)k.in.teacher[1][s]);
    DROP(relative, path, values);
    json_decref(all);
    pupil_h5_close(&h);
}

static void b8_equal(void **state)
{
    check_batch("b8_equal");
}
static void b8_mixed(void **state)
{
    check_batch("b8_mixed");
}
static void b32_equal(void **state)
{
    check_batch("b32_equal");
}
static void b32_mixed(void **state)
{
    check_batch("b32_mixed");
}
static void b5_sharp(void **state)
{
    check_batch("b5_sharp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(b8_equal),  cmocka_unit_test(b8_mixed), cmocka_unit_test(b32_equal),
        cmocka_unit_test(b32_mixed), cmocka_unit_test(b5_sharp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
