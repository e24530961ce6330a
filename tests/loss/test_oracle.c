/* The losses against the reference code's values and gradients (computed in float64 under autograd), over
 * slots. The tolerance of each is ten times what the reference code itself loses in float32, as recorded
 * beside the values. */
#include "../oracle_h5.h"

#include "driver.h"

typedef struct {
    const char *group;
    double weight[PUPIL_TERMS];
    bool raw, sum;
} reference;

static const reference references[] = {
    {"task_infonce", {1}, false, false},
    {"clipkd_released/task", {1}, true, false},
    {"clipkd_released/crd", {0, 1}, true, false},
    {"clipkd_released/icl", {0, 0, 1}, true, false},
    {"clipkd_released/fd", {0, 0, 0, 1}, true, false},
    {"clipkd_released/combined_task_crd_icl_2000fd", {1, 1, 1, 2000}, true, false},
    {"clipkd_released/combined_no_task", {0, 1, 1, 2000}, true, false},
    {"clipkd_published/icl", {0, 0, 1}, false, false},
    {"clipkd_alternative/fd_sum_over_dims", {0, 0, 0, 1}, false, true},
};

static double worst_value, worst_gradient;

static void compare(pupil_h5 *h, const char *group, const char *name, const float *got, int64_t n,
                    double allowed)
{
    char *path = pupil_format("%s/%s", group, name);
    if (pupil_h5_has(h, path)) {
        double *want = h5_doubles(h, path, NULL), e = relative_l2(got, want, n);
        if (l2(want, n) < 1e-12) e = 0;
        CHECK(e <= allowed, "%s: relative error %.3g, allowed %.3g", path, e, allowed);
        worst_gradient = fmax(worst_gradient, e);
        pupil_free(&want);
    }
    pupil_free(&path);
}

static void compare_scalar(pupil_h5 *h, const char *group, const char *name, float got, double allowed)
{
    char *path = pupil_format("%s/%s", group, name);
    if (pupil_h5_has(h, path)) {
        double e = fabs((double)got - h5_number(h, path));
        CHECK(e <= allowed + 1e-6 * fabs(h5_number(h, path)), "%s: %.9g, expected %.9g (allowed %.2g)", path,
              (double)got, h5_number(h, path), allowed);
    }
    pupil_free(&path);
}

static void check_group(pupil_h5 *h, const json_t *batch, const reference *r, loss_case *k)
{
    const json_t *lost = json_object_get(json_object_get(batch, "float32_error"), r->group);
    memcpy(k->c.weight, r->weight, sizeof r->weight);
    k->c.icl_raw = r->raw;
    k->c.fd_sum = r->sum;
    char *path = pupil_format("%s/value", r->group);
    double want = h5_number(h, path), allowed = 10 * json_number_in(lost, "gradient_relative_l2") + 1e-6;
    double of_value = 10 * json_number_in(lost, "value_relative") + 1e-6,
           of_scalar = 10 * json_number_in(lost, "scalar_gradient_absolute") + 1e-6;
    int64_t b = k->c.batch, ds = k->c.dim, dt = k->c.teacher_dim;
    bool heads = pupil_loss_has_heads(&k->c);
    for (int64_t slots = 1; slots <= b; slots++) {
        if (b % slots) continue;
        loss_run(k, slots, (int)PUPIL_MIN(slots, (int64_t)4));
        double e = fabs(k->total / want - 1);
        CHECK(e <= of_value, "%s, %d slots: %.12g, expected %.12g (off by %.2g, allowed %.2g)", r->group,
              (int)slots, k->total, want, e, of_value);
        worst_value = fmax(worst_value, e);
        compare(h, r->group, "d_student_image", k->dstudent[0], b * ds, allowed);
        compare(h, r->group, "d_student_text", k->dstudent[1], b * ds, allowed);
        compare_scalar(h, r->group, "d_log_logit_scale", k->dlog_scale, of_scalar);
        /* theirs is for the scale itself in both forms, ours for the parameter */
        compare_scalar(h, r->group, "d_cross_logit_scale",
                       r->raw ? k->dicl_scale : (float)((double)k->dicl_scale * 0.07), of_scalar);
        if (!heads) continue;
        compare(h, r->group, "d_visual_proj.weight", k->dhead_w[0], dt * ds, allowed);
        compare(h, r->group, "d_text_proj.weight", k->dhead_w[1], dt * ds, allowed);
        compare(h, r->group, "d_visual_proj.bias", k->dhead_b[0], dt, allowed);
        compare(h, r->group, "d_text_proj.bias", k->dhead_b[1], dt, allowed);
    }
    pupil_free(&path);
}

static void check_batch(const char *name)
{
    char *relative = pupil_format("losses/%s.h5", name), *path = oracle_path(relative),
         *values = oracle_path("losses/values.json");
    if (!path) skip();
    pupil_h5 *h;
    GOOD(pupil_h5_open(path, &h));
    json_t *all = json_file(values);
    int64_t s[8], t[8];
    loss_case k = {0};
    k.student[0] = h5_floats(h, "inputs/student_image", s),
    k.student[1] = h5_floats(h, "inputs/student_text", NULL);
    k.teacher[0] = h5_floats(h, "inputs/teacher_image", t),
    k.teacher[1] = h5_floats(h, "inputs/teacher_text", NULL);
    k.c = (pupil_loss_conf){.batch = s[0],
                            .dim = s[1],
                            .teacher_dim = t[1],
                            .teacher_scale = h5_number(h, "inputs/teacher_logit_scale")};
    k.log_scale = (float)h5_number(h, "inputs/log_logit_scale");
    k.icl_scale = (float)log(1 / 0.07);
    if (s[1] != t[1]) {
        k.head_w[0] = h5_floats(h, "inputs/params/visual_proj.weight", NULL),
        k.head_b[0] = h5_floats(h, "inputs/params/visual_proj.bias", NULL);
        k.head_w[1] = h5_floats(h, "inputs/params/text_proj.weight", NULL),
        k.head_b[1] = h5_floats(h, "inputs/params/text_proj.bias", NULL);
    }
    case_results_new(&k);
    worst_value = worst_gradient = 0;
    for (int i = 0; i < PUPIL_COUNT(references); i++)
        check_group(h, json_object_get(all, name), &references[i], &k);
    print_message("%s: values off by %.1e at most, gradients by %.1e\n", name, worst_value, worst_gradient);
    case_results_end(&k);
    for (int i = 0; i < 2; i++)
        DROP((void *)(uintptr_t)k.student[i], (void *)(uintptr_t)k.teacher[i], k.head_w[i], k.head_b[i]);
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
