/* Architectures: published configurations become the models they are of; what is written reads back as the
 * same; what would be computed otherwise than its authors compute it is refused by key. */
#include "published.h"

#define CONFIG(model, vision, text, pre)                                                                     \
    "{\"model_cfg\":{\"embed_dim\":32" model                                                                 \
    ",\"vision_cfg\":{\"image_size\":32,\"layers\":2,\"width\":64,\"patch_size\":8" vision                   \
    "},\"text_cfg\":{\"context_length\":9,\"vocab_size\":50,\"width\":64,\"heads\":2,\"layers\":2" text      \
    "}},\"preprocess_cfg\":{\"size\":32" pre "}}"

static void configurations(void **state)
{
    static const struct {
        const char *json, *names; /* NULL: accepted */
    } cases[] = {
        {CONFIG("", "", "", ""), NULL},
        {CONFIG(
             ",\"quick_gelu\":true,\"init_logit_scale\":2.6,\"custom_text\":false,\"init_logit_bias\":null",
             ",\"ls_init_value\":null,\"pool_type\":\"tok\",\"norm_kwargs\":{}",
             ",\"pool_type\":\"argmax\",\"no_causal_mask\":false,\"proj_type\":\"linear\"", ""),
         NULL},
        {CONFIG(",\"custom_text\":1", "", "", ""), "model_cfg.custom_text is 1; true or false"},
        {CONFIG(",\"multimodal_cfg\":{\"width\":3}", "", "", ""), "multimodal_cfg"},
        {CONFIG(",\"\":1", "", "", ""), "model_cfg. is 1"},
        {CONFIG("", ",\"timm_model_name\":\"vit_x\"", "", ""), "vision_cfg.timm_model_name is \"vit_x\""},
        {CONFIG("", ",\"ls_init_value\":0.0001", "", ""), "ls_init_value"},
        {CONFIG("", ",\"norm_kwargs\":{\"bias\":1}", "", ""), "vision_cfg.norm_kwargs.bias"},
        {CONFIG("", ",\"pool_type\":\"avg\"", "", ""), "pool_type"},
        {CONFIG("", "", ",\"hf_model_name\":\"roberta\"", ""), "hf_model_name"},
        {CONFIG("", "", ",\"no_causal_mask\":true", ""), "pool_type is absent; with no_causal_mask"},
        {CONFIG("", ",\"head_width\":24", "", ""), "head_width"},
        {CONFIG("", ",\"head_width\":0", "", ""), "head_width"},
        {CONFIG("", ",\"mlp_ratio\":1e300", "", ""), "vision mlp width"},
        {CONFIG("", "", ",\"mlp_ratio\":\"4\"", ""), "text_cfg.mlp_ratio is \"4\"; a number"},
        {CONFIG("", "", "", ",\"std\":[0.5,0,0.5]"), "std"},
        {CONFIG("", "", "", ",\"interpolation\":\"nearest\""), "nearest"},
        {CONFIG("", "", "", ",\"resize_mode\":\"crop\""), "crop"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":{\"layers\":[3,4,6,3],\"width\":64},\"text_cfg\":{}"
         "}}",
         "vision_cfg.layers is [3,4,6,3]"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":{\"image_size\":7,\"patch_size\":8},\"text_cfg\":{"
         "}}}",
         "image_size 7 is less"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":{\"width\":1000000000000000000,\"head_width\":1},"
         "\"text_cfg\":{}}}",
         "vision_width"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":{},\"text_cfg\":{\"heads\":3}}}", "heads"},
        {"{\"model_cfg\":{\"vision_cfg\":{},\"text_cfg\":{}}}", "embed_dim"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":[],\"text_cfg\":{}}}",
         "model_cfg.vision_cfg is []; an object"},
        {"[]", "expected open_clip"},
        {"{\"model_cfg\":", "config.json:1:"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_arch a;
        int r = arch_of(cases[i].json, &a);
        if (!cases[i].names) {
            CHECK(r == 0, "case %d: %s", i, pupil_reason());
            assert_true(a.image.heads == 1 && a.image.mlp == 256 && a.text.mlp == 256 && a.embed_dim == 32 &&
                        a.mean[0] > 0.48 && !strcmp(a.interpolation, "bicubic"));
            continue;
        }
        CHECK(r == PUPIL_EFORMAT && strstr(pupil_reason(), cases[i].names) &&
                  strstr(pupil_reason(), "config.json"),
              "case %d gave %d: %s, expected it to name %s", i, r, r ? pupil_reason() : "-", cases[i].names);
    }
}

static void published_models(void **state)
{
    for (int i = 0; i < PUPIL_COUNT(published); i++) {
        pupil_arch a;
        GOOD(arch_of(published[i].json, &a));
        assert_string_equal(pupil_arch_family(&a), published[i].family);
        pupil_clip *c = pupil_clip_new(&a);
        double image = (double)pupil_clip_params(c, 0) / 1e6, all = (double)pupil_clip_params(c, -1) / 1e6;
        CHECK(fabs(image - published[i].image) < 0.006 && fabs(all - published[i].all) < 0.006,
              "case %d: %.3f M of %.3f M", i, image, all);
        pupil_clip_free(&c);
        reads_back(&a);
        if (published[i].image_flops == 0) continue;
        /* theirs have all rows in the last block, and no causal half of the attention */
        double saved = a.pool == PUPIL_POOL_MAP ? 0 : 1 / (double)a.image.layers,
               f = pupil_arch_image_flops(&a) / 1e9;
        CHECK(f <= published[i].image_flops * 1.001 && f >= published[i].image_flops * (0.999 - saved),
              "case %d: %.2f GFLOP an image, published %.2f", i, f, published[i].image_flops);
        f = pupil_arch_text_flops(&a, (double)a.context) / 1e9;
        saved = 1 / (double)a.text.layers;
        CHECK(f <= published[i].text_flops * 1.001 && f >= published[i].text_flops * (0.985 - saved),
              "case %d: %.2f GFLOP a caption, published %.2f", i, f, published[i].text_flops);
    }
}

static void parts_of_published_models(void **state)
{
    pupil_arch a;
    GOOD(arch_of(published[0].json, &a));
    assert_true(a.image.act == PUPIL_QUICK_GELU && a.text.act == PUPIL_QUICK_GELU && a.image.heads == 16 &&
                !a.trunk_names);
    GOOD(arch_of(published[1].json, &a));
    assert_true(a.image.mlp == 8192 && a.image.heads == 16 && a.text.mlp == 5120);
    GOOD(arch_of(published[3].json, &a));
    assert_true(a.image.mlp == 4304 && a.pool_mlp == 4304 && a.pool_heads == 16 &&
                a.image.act == PUPIL_GELU && a.image.eps == 1e-6 && a.text.eps == 1e-6 &&
                a.image_size == 384 && a.image_proj == PUPIL_PROJ_NONE && a.logit_bias && a.text_all_to_all &&
                a.text_proj_bias && a.patch_bias && !a.class_token && !a.pre_norm);
    GOOD(arch_of(published[4].json, &a));
    assert_true(a.image.act == PUPIL_GELU_TANH && a.text.act == PUPIL_GELU_TANH && a.image.mlp == 6144);
    GOOD(arch_of(published[5].json, &a));
    assert_true(a.swiglu && a.inner_norm && a.no_k_bias && a.rope && !a.rope_xy && a.rope_reference == 16 &&
                a.rope_offset == 0 && a.image.mlp == 2730 && a.image.eps == 1e-6 && a.text.eps == 1e-5 &&
                a.class_token && a.text_prefix && a.image_proj == PUPIL_PROJ_LINEAR);
    GOOD(arch_of(published[6].json, &a));
    assert_true(a.no_k_bias && !a.rope && !a.swiglu && a.image.mlp == 6144 && a.patch_bias);
    GOOD(arch_of(published[7].json, &a));
    assert_true(a.rope && a.rope_xy && a.rope_reference == 24 && a.rope_offset == 1 && a.class_token &&
                a.pre_norm && !a.patch_bias && a.pool_heads == 8 && a.pool_mlp == 4096 &&
                a.image.eps == 1e-5);
    GOOD(arch_of(published[8].json, &a));
    assert_true(a.rope_offset == 0 && a.rope_reference == 32 && !a.class_token && a.image.mlp == 8960 &&
                a.pool_mlp == 6144);
}

/* What a trunk's keys may not say. */
static void trunks_that_are_refused(void **state)
{
#define BUT(vision)                                                                                          \
    "{\"model_cfg\":{\"embed_dim\":768,\"custom_text\":true,\"vision_cfg\":{\"image_size\":224," vision      \
    "}," TEXT(64, 2, 2) "}}"
#define BASE16 "\"timm_model_name\":\"vit_base_patch16_siglip_224\""
    static const struct {
        const char *json, *names;
    } cases[] = {
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\""), NULL},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"\""), NULL},
        {BUT("\"timm_model_name\":\"vit_base_patch16_siglip_224.v2_webli\",\"timm_pool\":\"map\",\"timm_"
             "proj\":\"none\""),
         NULL},
        {BUT(BASE16 ",\"timm_proj\":\"none\""), "vision_cfg.timm_pool is absent; map was expected"},
        {BUT(BASE16 ",\"timm_pool\":\"avg\",\"timm_proj\":\"none\""), "timm_pool is \"avg\"; map"},
        {BUT(BASE16 ",\"timm_pool\":\"map\""), "vision_cfg.timm_proj is absent"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"mlp\""), "timm_proj is \"mlp\""},
        {BUT("\"timm_model_name\":\"vit_base_patch16_siglip_gap_224\",\"timm_pool\":\"avg\""),
         "siglip_gap_224"},
        {BUT("\"timm_model_name\":\"eva02_enormous_patch14_clip_224\",\"timm_pool\":\"token\",\"timm_proj\":"
             "null"),
         "eva02_enormous"},
        {BUT("\"timm_model_name\":\"naflexvit_base_patch16_siglip\""), "naflexvit"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"img_size\":256}"),
         "vision_cfg.image_size is 224; the trunk"},
        {BUT(BASE16
             ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"img_size\":[224,256]}"),
         "img_size is [224,256]; a square"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"qk_norm\":true}"),
         "timm_model_kwargs.qk_norm is true"},
        {BUT(BASE16
             ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"act_layer\":\"silu\"}"),
         "act_layer is \"silu\"; gelu, quick_gelu or gelu_tanh"},
        {BUT(BASE16
             ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"embed_dim\":1e3}"),
         "embed_dim is 1000.0; a whole"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"num_heads\":0}"),
         "vision heads is 0"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"num_heads\":7}"),
         "no multiple of its heads"},
        {BUT(BASE16
             ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"embed_dim\":384}"),
         "embed_dim 768 is not the vision width 384"},
        {BUT(BASE16
             ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"depth\":100000000}"),
         "vision_layers"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":[1]"),
         "timm_model_kwargs is [1]; an object"},
        {BUT("\"timm_model_name\":\"eva02_base_patch16_clip_224\",\"timm_pool\":\"token\",\"timm_proj\":null,"
             "\"timm_model_kwargs\":{\"act_layer\":\"gelu\"}"),
         "act_layer"},
        {BUT("\"timm_model_name\":\"eva02_base_patch16_clip_224\",\"timm_pool\":\"token\",\"timm_proj\":null,"
             "\"timm_model_kwargs\":{\"embed_dim\":90,\"num_heads\":9}"),
         "head width 10 is no multiple of 4"},
        {BUT("\"timm_model_name\":\"eva02_base_patch16_clip_224\",\"timm_pool\":\"token\",\"timm_proj\":null,"
             "\"timm_model_kwargs\":{\"ref_feat_shape\":0}"),
         "ref_feat_shape is 0"},
        {BUT("\"timm_model_name\":\"vit_pe_core_base_patch16_224\",\"timm_pool\":\"map\",\"timm_proj\":null,"
             "\"timm_model_kwargs\":{\"attn_pool_num_heads\":7}"),
         "7 heads of attention pooling"},
        {BUT("\"timm_model_name\":\"vit_pe_core_base_patch16_224\",\"timm_pool\":\"map\",\"timm_proj\":null,"
             "\"timm_model_kwargs\":{\"rope_grid_indexing\":\"yx\"}"),
         "rope_grid_indexing is \"yx\""},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_arch a;
        int r = arch_of(cases[i].json, &a);
        if (!cases[i].names) CHECK(r == 0, "case %d: %s", i, pupil_reason());
        else
            CHECK(r == PUPIL_EFORMAT && strstr(pupil_reason(), cases[i].names) &&
                      strstr(pupil_reason(), "config.json"),
                  "case %d gave %d: %s, expected it to name %s", i, r, r ? pupil_reason() : "-",
                  cases[i].names);
    }
}

static void reads_back_from_hugging_face(const pupil_arch *a)
{
    pupil_buf config = {0}, preprocessor = {0};
    pupil_arch b;
    GOOD(pupil_arch_to_hf(a, &config, &preprocessor));
    write_text("preprocessor_config.json", preprocessor.s);
    GOOD(arch_of(config.s, &b));
    if (!strcmp(a->resize_mode, "shortest")) { /* the one thing that Hugging Face rounds otherwise */
        assert_string_equal(b.resize_mode, "shortest-hf");
        strcpy(b.resize_mode, a->resize_mode);
    }
    same_arch(a, &b);
    write_text("preprocessor_config.json", NULL);
    pupil_buf_free(&config);
    pupil_buf_free(&preprocessor);
}

/* ---- there and back --------------------------------------------------------------------------------- */
static int64_t some(pupil_rng *r, int64_t most)
{
    return 1 + (int64_t)pupil_rng_below(r, (uint64_t)most);
}

/* Any sizes, MLP widths (files hold ratios) and pixels a member of published[] may have. */
static void vary(pupil_rng *r, pupil_arch *a)
{
    a->image.heads = some(r, 4), a->image.width = 4 * a->image.heads * some(r, 100);
    a->text.heads = some(r, 4), a->text.width = a->text.heads * some(r, 100);
    a->image.layers = some(r, 9), a->text.layers = some(r, 9);
    a->image.mlp = some(r, 8000), a->text.mlp = some(r, 500);
    a->patch = some(r, 16),
    a->image_size = a->patch * some(r, 9) + (int64_t)pupil_rng_below(r, (uint64_t)a->patch);
    a->context = 1 + some(r, 76), a->vocab = 3 + some(r, 1000);
    a->embed_dim = a->image_proj == PUPIL_PROJ_NONE ? a->image.width : some(r, 999);
    bool map = a->pool == PUPIL_POOL_MAP, own = a->rope;
    a->pool_heads = !map ? 0 : own ? 2 * some(r, 2) : a->image.heads;
    a->pool_mlp = !map ? 0 : own ? some(r, 900) : a->image.mlp;
    if (own) {
        a->rope_reference = (double)some(r, 40), a->rope_offset = (double)some(r, 8) / 4,
        a->rope_xy = pupil_rng_below(r, 2);
        if (map) a->class_token = pupil_rng_below(r, 2);
    }
    for (int i = 0; i < 3; i++) a->mean[i] = pupil_rng_uniform(r), a->std[i] = 0.01 + pupil_rng_uniform(r);
    strcpy(a->interpolation, pupil_rng_below(r, 2) ? "bicubic" : "bilinear");
    strcpy(a->resize_mode, (const char *[]){"squash", "shortest", "shortest-hf"}[pupil_rng_below(r, 3)]);
    if (a->trunk_names) return;
    a->image.eps = pupil_rng_uniform(r) / 100, a->text.eps = pupil_rng_uniform(r) / 100;
    a->image.act = a->text.act = (pupil_activation)pupil_rng_below(r, 3);
}

static void everything_reads_back(void **state)
{
    pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, 0);
    for (int i = 0; i < 180; i++) {
        pupil_arch a;
        GOOD(arch_of(published[i % PUPIL_COUNT(published)].json, &a));
        vary(&r, &a);
        reads_back(&a);
        bool hf = !a.rope && !a.no_k_bias;
        if (hf) reads_back_from_hugging_face(&a);
        pupil_buf b = {0};
        if (!hf) BAD(pupil_arch_to_hf(&a, &b, &b), PUPIL_EUSER, pupil_arch_family(&a));
        strcpy(a.resize_mode, "longest");
        reads_back(&a);
        if (hf) BAD(pupil_arch_to_hf(&a, &b, &b), PUPIL_EUSER, "longest");
        assert_null(b.s); /* outputs on success alone */
    }
}

/* Damaged files are refused in one line that names the file, or are of some other model, which reads back. */
static void damaged_files(void **state)
{
    static const char bytes[] = "0123456789-.eE\"{}[]:,nulltruefalse";
    int refused = 0, n = 0;
    for (uint64_t i = 0; i < 400; i++, n++) {
        pupil_rng r = pupil_rng_at(2, PUPIL_STREAM_TEST, i);
        char *text = pupil_strdup(published[i % PUPIL_COUNT(published)].json);
        for (uint64_t k = 1 + pupil_rng_below(&r, 2); k > 0; k--)
            text[pupil_rng_below(&r, strlen(text))] = bytes[pupil_rng_below(&r, sizeof bytes - 1)];
        pupil_arch a;
        int code = arch_of(text, &a);
        if (code == 0) reads_back(&a);
        else
            CHECK(code == PUPIL_EFORMAT && strstr(pupil_reason(), "config.json") &&
                      !strchr(pupil_reason(), '\n'),
                  "%s\ngave %d: %s", text, code, pupil_reason());
        refused += code != 0;
        pupil_free(&text);
    }
    assert_in_range(refused, n / 2, n - n / 50);
}

static void sections_of_a_yaml_file(void **state)
{
    pupil_arch a;
    pupil_conf_model m = {.name = (char *)(uintptr_t) "ViT-B-32",
                          .act = PUPIL_ACT_QUICK_GELU,
                          .image_size = 256,
                          .text_layers = 3};
    GOOD(pupil_arch_from_conf(&m, 1000, "student.model", &a));
    assert_true(a.image_size == 256 && a.patch == 32 && a.text.layers == 3 && a.vocab == 1000 &&
                a.image.act == PUPIL_QUICK_GELU && a.image.heads == 12 && a.text.heads == 8 &&
                a.context == 77);
    m.name = (char *)(uintptr_t) "ViT-B-23";
    BAD(pupil_arch_from_conf(&m, 1000, "student.model", &a), PUPIL_EUSER,
        "student.model.name: no preset 'ViT-B-23', expected ViT-T-16");
    pupil_conf_model own = {.act = PUPIL_ACT_PRESET,
                            .image_size = 64,
                            .patch_size = 8,
                            .vision_width = 96,
                            .vision_layers = 2,
                            .vision_head_width = 32,
                            .text_width = 100,
                            .text_layers = 2,
                            .context_length = 16,
                            .embed_dim = 64};
    GOOD(pupil_arch_from_conf(&own, 600, "student.model", &a));
    assert_true(a.image.heads == 3 && a.text.heads == 1 && a.image.mlp == 384 && a.image.act == PUPIL_GELU);
    static const struct {
        size_t at;
        int64_t value;
        const char *names;
    } wrong[] = {{offsetof(pupil_conf_model, image_size), 60, "image_size 60 is no multiple"},
                 {offsetof(pupil_conf_model, vision_head_width), 36, "vision_head_width 36"},
                 {offsetof(pupil_conf_model, text_heads), 3, "text 100/3"},
                 {offsetof(pupil_conf_model, embed_dim), 0, "embed_dim is 0"},
                 {offsetof(pupil_conf_model, vision_layers), 0,
                  "vision_layers is 0, expected 1 to 256; give it, or a preset name"},
                 {offsetof(pupil_conf_model, text_layers), 1000, "text_layers is 1000"}};
    for (int i = 0; i < PUPIL_COUNT(wrong); i++) {
        pupil_conf_model bad = own;
        *(int64_t *)(void *)((char *)&bad + wrong[i].at) = wrong[i].value;
        BAD(pupil_arch_from_conf(&bad, 600, "student.model", &a), PUPIL_EUSER, wrong[i].names);
        assert_int_equal(strncmp(pupil_reason(), "student.model", 13), 0);
    }
    BAD(pupil_arch_from_conf(&own, 0, "student.model", &a), PUPIL_EUSER, "vocab_size is 0");
}

static void costs(void **state)
{
    pupil_arch a;
    pupil_conf_model m = {.name = (char *)(uintptr_t) "ViT-B-32", .act = PUPIL_ACT_PRESET};
    GOOD(pupil_arch_from_conf(&m, 49408, "x", &a));
    /* open_clip's model_profile: 8.82 GFLOPs (4.41 GMACs) an image, 5.96 a text of 77, all rows in all blocks
     */
    double image = pupil_arch_image_flops(&a), text = pupil_arch_text_flops(&a, 77);
    print_message("ViT-B-32: %.3g FLOPs an image, %.3g a caption of 77\n", image, text);
    assert_true(image < 8.9e9 && image > 8.9e9 * 11 / 12 * 0.98 && text < 5.97e9 &&
                text > 5.96e9 * 11 / 12 * 0.95);
    assert_true(pupil_acts_bytes(&a, 64, 20, false) < pupil_acts_bytes(&a, 64, 20, true) / 5);
    assert_true(pupil_acts_bytes(&a, 64, 10, true) < pupil_acts_bytes(&a, 64, 20, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations),
        cmocka_unit_test(published_models),
        cmocka_unit_test(parts_of_published_models),
        cmocka_unit_test(trunks_that_are_refused),
        cmocka_unit_test(everything_reads_back),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(sections_of_a_yaml_file),
        cmocka_unit_test(costs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
