/* `pupil loss` on the reference data, as a user compares it with other code; and what is refused. */
#include "program.h"

#include "pupil/loss.h"

#include "../oracle_h5.h"

static char *dir;

static void same_rows(pupil_h5 *got, pupil_h5 *want, const char *group, const char *name, double allowed)
{
    char *path = pupil_format("%s/%s", group, name);
    int64_t dims[8] = {1, 1}, n;
    int ndim;
    GOOD(pupil_h5_shape(want, path, &ndim, dims));
    n = ndim ? dims[0] * (ndim > 1 ? dims[1] : 1) : 1;
    double *w = h5_doubles(want, path, NULL);
    float *g = h5_floats(got, name, NULL);
    CHECK(relative_l2(g, w, n) <= allowed, "%s: relative error %.3g", path, relative_l2(g, w, n));
    DROP(path, w, g);
}

static void reference_losses(void **state)
{
    (void)state;
    static const struct {
        const char *file, *what, *name, *more[2], *group, *gradient[4];
    } one[] = {
        {"b8_mixed",
         "--preset",
         "clip-kd",
         {"--variant", "as-released"},
         "clipkd_released/combined_task_crd_icl_2000fd",
         {"d_student_image", "d_text_proj.weight", "d_visual_proj.bias", "d_cross_logit_scale"}},
        {"b8_equal",
         "--preset",
         "nano-clip",
         {"--variant=as-released", "--slots=4"},
         "nanoclip_released/total",
         {"d_student_text", "d_cross_logit_scale"}},
        {"b32_mixed",
         "--preset",
         "open_clip",
         {"--slots", "8"},
         "openclip_distill/total",
         {"d_student_image", "d_student_text"}},
        {"b5_sharp",
         "--preset",
         "tinyclip",
         {"--slots", "5"},
         "tinyclip/affinity_scale50",
         {"d_student_image"}},
        {"b8_equal",
         "--preset",
         "mobileclip-b",
         {"--captions", "2"},
         "mobileclip/v1_dr_lambda075",
         {"d_student_image", "d_student_text", "d_student_text2", "d_log_logit_scale"}},
        {"b8_mixed",
         "--terms",
         "soft_sigmoid",
         {"--slots", "2"},
         "mobileclip/v2_sigmoid_distill",
         {"d_logit_bias", "d_student_text"}},
        {"b8_equal",
         "--terms",
         "afd",
         {"--slots", "2"},
         "clipkd_published/afd",
         {"d_fusion_logit_scale", "d_text_fusion_proj.weight"}},
        {"b8_mixed", "--terms", "icl", {"--teachers", "1"}, "clipkd_published/icl", {"d_cross_logit_scale"}},
        {"b32_equal",
         "--terms",
         "dist,dist.tau=4, dist.beta=2, dist.gamma=2",
         {"--slots", "4"},
         "dist/tau4_beta2_gamma2",
         {"d_student_image"}},
        {"b8_mixed",
         "--terms",
         "fd=1,fd.reduce=sum",
         {"--slots", "1"},
         "clipkd_alternative/fd_sum_over_dims",
         {"d_text_proj.bias"}},
    };
    for (int i = 0; i < PUPIL_COUNT(one); i++) {
        char *relative = pupil_format("losses/%s.h5", one[i].file), *in = oracle_path(relative),
             *out = pupil_join(dir, "g.h5");
        if (!in) skip();
        program p;
        RUN(&p, dir, "loss", one[i].what, one[i].name, one[i].more[0], one[i].more[1], "--features", in,
            "--out", out);
        CHECK(p.code == 0, "%s %s: %s", one[i].what, one[i].name, p.err);
        pupil_h5 *got, *want;
        GOOD(pupil_h5_open(out, &got));
        GOOD(pupil_h5_open(in, &want));
        char *value = pupil_format("%s/value", one[i].group);
        double w = h5_number(want, value), g = h5_number(got, "value");
        CHECK(fabs(g / w - 1) < 1e-6, "%s: %.12g, expected %.12g", one[i].group, g, w);
        for (int k = 0; k < 4 && one[i].gradient[k]; k++)
            same_rows(got, want, one[i].group, one[i].gradient[k], 2e-6);
        pupil_h5_close(&got);
        pupil_h5_close(&want);
        program_free(&p);
        DROP(relative, in, out, value);
    }
}

static void what_is_refused(void **state)
{
    (void)state;
    char *in = pupil_join(dir, "f.h5");
    float image[6] = {1, 2, 3, 4, 5, 6}, text[6] = {1, 0, 0, 1, 1, NAN};
    pupil_h5 *h;
    GOOD(pupil_h5_create(in, &h));
    GOOD(pupil_h5_write(h, "inputs/student_image", PUPIL_H5_F32, 2, (const int64_t[]){3, 2}, image));
    GOOD(pupil_h5_write(h, "inputs/student_text", PUPIL_H5_F32, 2, (const int64_t[]){3, 2}, text));
    GOOD(pupil_h5_write(h, "inputs/teacher_image", PUPIL_H5_F32, 2, (const int64_t[]){2, 3}, image));
    GOOD(pupil_h5_close(&h));
    const struct {
        const char *words[6];
        int code;
        const char *says;
    } wrong[] = {
        {{"loss", "--preset", "clip"}, 2, "--features F.h5 is missing"},
        {{"loss", "--features", in}, 2, "expected --preset NAME or --terms LIST"},
        {{"loss", "--features", in, "--preset", "tiny-clip"}, 2, "did you mean 'tinyclip'?"},
        {{"loss", "--features", in, "--terms", "crdd"},
         2,
         "unknown key 'loss.crdd', expected a key of `pupil help config`, did you mean 'loss.crd'?"},
        {{"loss", "--features", in, "--terms", " "}, 2, "no term in ' '"},
        {{"loss", "--features", "none.h5", "--preset", "clip"}, 1, "none.h5"},
        {{"loss", "--features", in, "--preset", "clip"}, 1, "row 2 of inputs/student_text is not finite"},
    };
    for (int i = 0; i < PUPIL_COUNT(wrong); i++) {
        program p;
        program_begin(&p, dir, wrong[i].words);
        program_end(&p);
        CHECK(p.code == wrong[i].code, "%d: exit code %d: %s", i, p.code, p.err);
        HOLDS(p.err, wrong[i].says);
        program_free(&p);
    }
    pupil_free(&in);
}

/* Every term and preset is on the page; losses are timed. */
static void page_and_bench(void **state)
{
    (void)state;
    program p;
    RUN(&p, dir, "help", "losses");
    assert_int_equal(p.code, 0);
    for (int t = 0; t < PUPIL_TERMS; t++) HOLDS(p.out, pupil_term[t].formula);
    HOLDS(p.out, "  nano-clip     task=1 crd=1 icl=1 fd=2000\n");
    program_free(&p);
    RUN(&p, dir, "bench", "loss", "--help");
    bool built = p.code == 0;
    program_free(&p);
    if (!built) return;
    RUN(&p, dir, "bench", "loss", "--batch", "32", "--slots", "4", "--rounds", "1", "--preset", "rkd",
        "--json");
    assert_int_equal(p.code, 0);
    json_t *j = json_loads(p.out, 0, NULL);
    const json_t *share = json_object_get(j, "share_of_step");
    assert_true(json_number_in(share, "rkd") > 0);
    json_decref(j);
    program_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_losses),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(page_and_bench),
    };
    dir = folder_new();
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    folder_end(&dir);
    return r;
}
