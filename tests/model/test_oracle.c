/* Models in open_clip's layout against what open_clip itself computed: features, logits, gradients of every
 * tensor. */
#include "../oracle_h5.h"

#include "pupil/math.h"
#include "pupil/model.h"

typedef struct {
    pupil_arch arch;
    pupil_clip *c;
    float *params, *images, *feature[2];
    pupil_weights *weights;
    int32_t *ids, *cu;
    int64_t n;
    pupil_acts *acts;
    pupil_scratch *scratch;
    pupil_h5 *io;
} world;

/* False when the reference data are not here. */
static bool world_new(world *w, const char *model, const char *layout)
{
    char *relative = pupil_format("models/%s/%s", model, layout), *dir = oracle_path(relative);
    pupil_free(&relative);
    if (!dir) return false;
    relative = pupil_format("models/%s/io.h5", model);
    char *io = oracle_path(relative);
    assert_non_null(io);
    GOOD(pupil_h5_open(io, &w->io));
    GOOD(pupil_model_dir_arch(dir, &w->arch));
    w->c = pupil_clip_new(&w->arch);
    w->params = floats(pupil_clip_table(w->c)->total);
    GOOD(pupil_model_dir_open(dir, w->c, &w->weights));
    pupil_weights_copy(w->weights, w->c, w->params);
    int64_t dims[8];
    w->images = h5_floats(w->io, "inputs/images", dims);
    w->n = dims[0];
    assert_int_equal(dims[2], w->arch.image_size);
    double *padded = h5_doubles(w->io, "inputs/token_ids", dims);
    assert_int_equal(dims[1], w->arch.context);
    w->ids = pupil_alloc((size_t)(w->n * w->arch.context) * sizeof *w->ids);
    w->cu = pupil_alloc((size_t)(w->n + 1) * sizeof *w->cu);
    pack_captions(padded, w->n, w->arch.context, w->arch.text_all_to_all ? -1 : w->arch.vocab - 1, w->ids, w->cu);
    w->acts = pupil_acts_new(w->c, w->n, true);
    w->scratch = pupil_scratch_new(w->c, w->n);
    for (int s = 0; s < 2; s++) w->feature[s] = floats(w->n * w->arch.embed_dim);
    pupil_image_forward(w->c, w->weights, w->acts, w->scratch, w->images, w->n, w->feature[0]);
    pupil_text_forward(w->c, w->weights, w->acts, w->scratch, w->ids, w->cu, w->n, w->feature[1]);
    DROP(padded, relative, dir, io);
    return true;
}

static void world_end(world *w)
{
    pupil_h5_close(&w->io);
    pupil_acts_free(&w->acts);
    pupil_scratch_free(&w->scratch);
    pupil_weights_free(&w->weights);
    pupil_clip_free(&w->c);
    DROP(w->params, w->images, w->feature[0], w->feature[1], w->ids, w->cu);
}

static double against(world *w, const char *name, const float *got, int64_t n, double allowed)
{
    double *want = h5_doubles(w->io, name, NULL), e = max_error(got, want, n);
    CHECK(e <= allowed, "%s: error %.3g, allowed %.3g", name, e, allowed);
    pupil_free(&want);
    return e;
}

/* Features against `group`; what follows from them against outputs/ where that is the same model. */
static void features(const char *model, const char *layout, const char *group)
{
    static const char *const side[2] = {"image", "text"};
    world w;
    if (!world_new(&w, model, layout)) skip();
    int64_t n = w.n, d = w.arch.embed_dim;
    float *unit[2], *logits = floats(n * n), *norm = floats(n);
    char name[96];
    double e[2], el = 0;
    for (int s = 0; s < 2; s++) {
        snprintf(name, sizeof name, "%s/%s_features", group, side[s]);
        e[s] = against(&w, name, w.feature[s], n * d, 2e-5);
        unit[s] = floats(n * d);
        pupil_normalize_forward(unit[s], norm, w.feature[s], n, d);
        if (strcmp(group, "outputs_float64")) continue;
        snprintf(name, sizeof name, "outputs/%s_features_normalized", side[s]);
        against(&w, name, unit[s], n * d, 2e-6);
    }
    double scale = pupil_clip_scale(w.c, w.weights), bias = pupil_clip_bias(w.c, w.weights);
    for (int s = 0; s < 2; s++) {
        pupil_gemm(false, true, n, n, d, (float)scale, unit[s], d, unit[!s], d, 0, logits, n);
        for (int64_t i = 0; i < n * n; i++) logits[i] += (float)bias;
        snprintf(name, sizeof name, "%s/logits_per_image", group);
        if (s) snprintf(name, sizeof name, "outputs/logits_per_text");
        if (s == 0 || !strcmp(group, "outputs_float64"))
            el = fmax(el, against(&w, name, logits, n * n, 5e-5));
    }
    if (!strcmp(group, "outputs_float64"))
        assert_true(fabs(scale / h5_number(w.io, "outputs/logit_scale_exp") - 1) < 1e-6);
    print_message("%s/%s: image features %.1e, text %.1e, logits %.1e\n", model, layout, e[0], e[1], el);
    DROP(unit[0], unit[1], logits, norm);
    world_end(&w);
}

static void a_gelu(void **state)
{
    features("a_gelu", "open_clip", "outputs_float64");
}
static void a_gelu_f16(void **state)
{
    features("a_gelu", "open_clip_f16", "outputs_from_f16_weights");
}
static void a_gelu_bf16(void **state)
{
    features("a_gelu", "open_clip_bf16", "outputs_from_bf16_weights");
}
static void b_quickgelu(void **state)
{
    features("b_quickgelu", "open_clip", "outputs_float64");
}
static void c_vit_t16(void **state)
{
    features("c_vit_t16", "open_clip", "outputs_float64");
}

static void a_hugging_face(void **state)
{
    features("a_gelu", "huggingface", "outputs_float64");
}
static void b_hugging_face(void **state)
{
    features("b_quickgelu", "huggingface", "outputs_float64");
}
static void d_siglip_gelu(void **state)
{
    features("d_siglip_gelu", "open_clip", "outputs_float64");
}
static void d_siglip_tanh(void **state)
{
    features("d_siglip_tanh", "open_clip", "outputs_float64");
}
static void d_hugging_face(void **state)
{
    features("d_siglip_tanh", "huggingface", "outputs_float64");
}
static void e_eva02(void **state)
{
    features("e_eva02", "open_clip", "outputs_float64");
}

/* README tolerances: l2 relative 1e-5, elements 1e-4 l2/sqrt(n) + 1e-5. */
static void check_tensor(const char *name, const json_t *want, const float *grad, int64_t n, double *worst)
{
    double size = json_number_in(want, "l2"), *g = to_doubles(grad, n),
           e = fabs(l2(g, n) - size) / fmax(size, 1e-12);
    CHECK(e <= 1e-5 || size < 1e-9, "%s: l2 %.9g, expected %.9g", name, l2(g, n), size);
    *worst = fmax(*worst, e);
    double allowed = 1e-4 * size / sqrt((double)n) + 1e-5;
    const json_t *ends[2] = {json_object_get(want, "first8"), json_object_get(want, "last8")};
    for (int k = 0; k < 2; k++) {
        int64_t m = (int64_t)json_array_size(ends[k]);
        for (int64_t i = 0; i < m; i++) {
            double x = json_number_value(json_array_get(ends[k], (size_t)i)), got = g[k ? n - m + i : i];
            CHECK(fabs(got - x) <= allowed, "%s: element %d from the %s: %.9g, expected %.9g (allowed %.2g)",
                  name, (int)i, k ? "end" : "start", got, x, allowed);
        }
    }
    pupil_free(&g);
}

static void gradients(const char *model)
{
    world w;
    if (!world_new(&w, model, "open_clip")) skip();
    const pupil_table *t = pupil_clip_table(w.c);
    char *relative = pupil_format("models/%s/gradients.json", model), *path = oracle_path(relative);
    json_t *want = json_file(path);
    int64_t pixels = 3 * w.arch.image_size * w.arch.image_size;
    float *ci = h5_floats(w.io, "gradients/cotangent_image", NULL),
          *ct = h5_floats(w.io, "gradients/cotangent_text", NULL);
    float *grads = floats(t->total), *dimages = floats(w.n * pixels);
    pupil_image_backward(w.c, w.params, w.acts, w.scratch, ci, grads, dimages);
    pupil_text_backward(w.c, w.params, w.acts, w.scratch, ct, grads);
    size_t seen = 0;
    double worst = 0;
    for (int64_t i = 0; i < t->n; i++) {
        const json_t *one = json_object_get(want, t->t[i].name);
        if (!one) {
            assert_string_equal(t->t[i].name, "logit_scale"); /* not part of the scalar */
            continue;
        }
        seen++;
        check_tensor(t->t[i].name, one, grads + t->t[i].offset, t->t[i].count, &worst);
    }
    assert_int_equal(seen, json_object_size(want)); /* every tensor of theirs is one of ours */
    print_message("%s: %d tensors, worst l2 of a gradient off by %.1e\n", model, (int)seen, worst);
    if (pupil_h5_has(w.io, "gradients/d_images_sample0")) {
        double *d = h5_doubles(w.io, "gradients/d_images_sample0", NULL), e = relative_l2(dimages, d, pixels);
        CHECK(e < 1e-5, "d_images: relative error %.3g", e);
        pupil_free(&d);
    }
    json_decref(want);
    DROP(ci, ct, grads, dimages, relative, path);
    world_end(&w);
}

static void a_gradients(void **state)
{
    gradients("a_gelu");
}
static void b_gradients(void **state)
{
    gradients("b_quickgelu");
}
static void c_gradients(void **state)
{
    gradients("c_vit_t16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gelu),
        cmocka_unit_test(a_gelu_f16),
        cmocka_unit_test(a_gelu_bf16),
        cmocka_unit_test(b_quickgelu),
        cmocka_unit_test(c_vit_t16),
        cmocka_unit_test(a_hugging_face),
        cmocka_unit_test(b_hugging_face),
        cmocka_unit_test(d_siglip_gelu),
        cmocka_unit_test(d_siglip_tanh),
        cmocka_unit_test(d_hugging_face),
        cmocka_unit_test(e_eva02),
        cmocka_unit_test(a_gradients),
        cmocka_unit_test(b_gradients),
        cmocka_unit_test(c_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
