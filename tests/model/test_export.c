/* Export: in either layout a model of any family reads back with the same parameters, bit for bit; and
 * Hugging Face's files of the reference models are what they were made from. */
#include "../oracle_h5.h"

#include "pupil/model.h"

static char *dir;

static int setup(void **state)
{
    dir = folder_new();
    return 0;
}

static int teardown(void **state)
{
    folder_end(&dir);
    return 0;
}

/* ---- any family, there and back --------------------------------------------------------------------- */
#define SIZES(e)                                                                                             \
    .image = {.width = 24, .layers = 2, .heads = 3, .mlp = 20, .eps = (e)},                                  \
    .text = {.width = 10, .layers = 2, .heads = 2, .mlp = 12, .eps = 1e-5}, .image_size = 21, .patch = 5,    \
    .context = 7, .vocab = 13, .std = {1, 1, 1}, .interpolation = "bicubic", .resize_mode = "shortest"
#define MAP  .pool = PUPIL_POOL_MAP, .pool_heads = 3, .pool_mlp = 20
#define ROPE .rope = true, .rope_reference = 4
static const pupil_arch families[] = {
    {SIZES(1e-5), .embed_dim = 6, .class_token = true, .pre_norm = true, .image_proj = PUPIL_PROJ_MATRIX},
    {SIZES(1e-6), .embed_dim = 24, MAP, .patch_bias = true, .trunk_names = true, .text_all_to_all = true,
     .text_proj_bias = true, .text_prefix = true, .logit_bias = true},
    {SIZES(1e-6), .embed_dim = 6, ROPE, .class_token = true, .patch_bias = true,
     .image_proj = PUPIL_PROJ_LINEAR, .swiglu = true, .inner_norm = true, .no_k_bias = true,
     .trunk_names = true, .text_prefix = true},
    {SIZES(1e-6), .embed_dim = 6, .class_token = true, .patch_bias = true, .image_proj = PUPIL_PROJ_LINEAR,
     .no_k_bias = true, .trunk_names = true, .text_prefix = true},
    {SIZES(1e-5), .embed_dim = 6, MAP, ROPE, .rope_xy = true, .class_token = true, .pre_norm = true,
     .image_proj = PUPIL_PROJ_LINEAR, .trunk_names = true, .text_prefix = true},
};

/* Numbers that tell their places, none of them 0; biases of k that no file holds are 0. */
static float *parameters(const pupil_clip *c)
{
    const pupil_table *t = pupil_clip_table((pupil_clip *)(uintptr_t)c);
    float *p = floats(t->total);
    for (int64_t i = 0, k = 1; i < t->n; i++) {
        const pupil_tensor *x = &t->t[i];
        for (int64_t j = 0; j < x->count; j++, k++) p[x->offset + j] = (float)k / 4096;
        if (strstr(x->name, "attn.qkv.bias") && pupil_clip_arch(c)->no_k_bias)
            memset(p + x->offset + x->count / 3, 0, (size_t)(x->count / 3) * sizeof *p);
    }
    return p;
}

/* Worst relative difference of what `model` holds to p. */
static double read_back(const char *model, const pupil_arch *a, const float *p)
{
    pupil_arch b;
    GOOD(pupil_model_dir_arch(model, &b));
    assert_string_equal(pupil_arch_family(&b), pupil_arch_family(a));
    pupil_clip *c = pupil_clip_new(&b);
    float *q = floats(pupil_clip_table(c)->total);
    GOOD(pupil_model_dir_load(model, c, q));
    double worst = 0;
    for (int64_t i = 0; i < pupil_clip_table(c)->total; i++)
        if (p[i] != q[i])
            worst = fmax(worst, fabs((double)p[i] - (double)q[i]) / fmax(fabs((double)p[i]), 1e-9));
    pupil_clip_free(&c);
    pupil_free(&q);
    return worst;
}

static void every_family_reads_back(void **state)
{
    for (int i = 0; i < PUPIL_COUNT(families); i++) {
        const pupil_arch *a = &families[i];
        pupil_clip *c = pupil_clip_new(a);
        pupil_table_add(pupil_clip_table(c), "loss.head", 1, (int64_t[]){3}, PUPIL_INIT_CONST,
                        1); /* a guest stays here */
        float *p = parameters(c);
        for (int hf = 0; hf < 2; hf++) {
            char *model = pupil_format("%s/%d-%d", dir, i, hf), *half = pupil_format("%s-half", model);
            if (hf && i > 1) {
                BAD(pupil_model_dir_export(model, c, p, true, PUPIL_ST_F32), PUPIL_EUSER,
                    pupil_arch_family(a));
                assert_false(pupil_exists(model));
            } else {
                GOOD(pupil_model_dir_export(model, c, p, hf, PUPIL_ST_F32));
                assert_true(read_back(model, a, p) == 0);
                GOOD(pupil_model_dir_export(half, c, p, hf, PUPIL_ST_F16));
                double e = read_back(half, a, p);
                CHECK(e > 0 && e <= 0x1p-11, "rounded to halves, %s is off by %g", pupil_arch_family(a), e);
            }
            DROP(model, half);
        }
        pupil_clip_free(&c);
        pupil_free(&p);
    }
}

static void a_value_too_large_for_halves(void **state)
{
    pupil_clip *c = pupil_clip_new(&families[0]);
    float *p = parameters(c);
    p[pupil_table_find(pupil_clip_table(c), "ln_final.bias")->offset] = 1e6f;
    char *model = pupil_join(dir, "large");
    BAD(pupil_model_dir_export(model, c, p, true, PUPIL_ST_F16), PUPIL_ENUMERIC,
        "text_model.final_layer_norm.bias");
    char *weights = pupil_join(model, "model.safetensors");
    assert_false(pupil_exists(weights));
    pupil_clip_free(&c);
    DROP(p, model, weights);
}

/* ---- against the reference files -------------------------------------------------------------------- */
static json_t *header_of(const char *path)
{
    char *bytes;
    size_t n;
    uint64_t size;
    GOOD(pupil_read_file(path, 0, &bytes, &n));
    memcpy(&size, bytes, 8);
    json_t *h = json_loadb(bytes + 8, size, 0, NULL);
    json_object_del(h, "__metadata__");
    pupil_free(&bytes);
    return h;
}

static void same_file(const char *mine, const char *theirs)
{
    json_t *h[2] = {header_of(mine), header_of(theirs)}, *v;
    pupil_safetensors *s[2];
    GOOD(pupil_safetensors_open(mine, &s[0]));
    GOOD(pupil_safetensors_open(theirs, &s[1]));
    const char *name;
    assert_int_equal(json_object_size(h[0]), json_object_size(h[1]));
    json_object_foreach(h[1], name, v)
    {
        pupil_st_tensor t[2];
        float *x[2];
        CHECK(pupil_safetensors_find(s[0], name, &t[0]) && pupil_safetensors_find(s[1], name, &t[1]),
              "%s is not in both", name);
        CHECK(t[0].ndim == t[1].ndim &&
                  !memcmp(t[0].shape, t[1].shape, (size_t)t[0].ndim * sizeof *t[0].shape),
              "%s: shapes differ", name);
        for (int k = 0; k < 2; k++) {
            x[k] = floats(t[k].count);
            GOOD(pupil_st_unpack(&t[k], 0, t[k].count, x[k]));
        }
        CHECK(!memcmp(x[0], x[1], (size_t)t[0].count * sizeof **x), "%s: values differ", name);
        DROP(x[0], x[1]);
    }
    for (int k = 0; k < 2; k++) {
        json_decref(h[k]);
        pupil_safetensors_close(&s[k]);
    }
}

static void reference_models(void **state)
{
    static const char *const models[] = {"a_gelu", "b_quickgelu", "d_siglip_tanh"};
    for (int i = 0; i < PUPIL_COUNT(models); i++) {
        char *ours = pupil_format("models/%s/open_clip", models[i]), *from = oracle_path(ours);
        char *hf = pupil_format("models/%s/huggingface/model.safetensors", models[i]),
             *theirs = oracle_path(hf);
        if (!from || !theirs) skip();
        pupil_arch a;
        GOOD(pupil_model_dir_arch(from, &a));
        pupil_clip *c = pupil_clip_new(&a);
        float *p = floats(pupil_clip_table(c)->total);
        GOOD(pupil_model_dir_load(from, c, p));
        char *out = pupil_join(dir, models[i]), *mine = pupil_join(out, "model.safetensors");
        GOOD(pupil_model_dir_export(out, c, p, true, PUPIL_ST_F32));
        same_file(mine, theirs);
        pupil_weights_file about;
        GOOD(pupil_weights_about(theirs, c, &about));
        assert_string_equal(about.layout, "Hugging Face");
        assert_string_equal(about.formats, i < 2 ? "F16" : "F32");
        pupil_clip_free(&c);
        DROP(ours, from, hf, theirs, p, out, mine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_reads_back),
        cmocka_unit_test(a_value_too_large_for_halves),
        cmocka_unit_test(reference_models),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
