/* Model folders and configurations: what was written reads back; what is broken is refused with a line that
 * names it. */
#include "../proof.h"

#include "pupil/model.h"

/* What makes an architecture CLIP. */
#define CLIP_PARTS .image.eps = 1e-5, .text.eps = 1e-5, .class_token = true, .pre_norm = true, .image_proj = PUPIL_PROJ_MATRIX

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

static const pupil_arch small = {.image_size = 8,
                                 .patch = 4,
                                 .image.width = 12,
                                 .image.layers = 2,
                                 .image.heads = 3,
                                 .image.mlp = 31,
                                 .context = 7,
                                 .vocab = 13,
                                 .text.width = 10,
                                 .text.layers = 1,
                                 .text.heads = 2,
                                 .text.mlp = 40,
                                 .embed_dim = 6,
                                 CLIP_PARTS,
                                 .image.act = PUPIL_QUICK_GELU,
     .text.act = PUPIL_QUICK_GELU,
                                 .mean = {0.1, 0.2, 0.3},
                                 .std = {0.5, 1.0 / 3, 2},
                                 .interpolation = "bilinear",
                                 .resize_mode = "squash"};

static void same_arch(const pupil_arch *a, const pupil_arch *b)
{
    pupil_buf text[2] = {{0}, {0}};
    pupil_arch_to_json(a, &text[0]);
    pupil_arch_to_json(b, &text[1]);
    assert_string_equal(text[0].s, text[1].s);
    assert_memory_equal(a, b, offsetof(pupil_arch, pool)); /* all sizes */
    pupil_buf_free(&text[0]);
    pupil_buf_free(&text[1]);
}

static void folders_read_back(void **state)
{
    pupil_clip *c = pupil_clip_new(&small);
    pupil_table *t = pupil_clip_table(c);
    pupil_table_add(t, "loss.head", 2, (int64_t[]){3, 5}, PUPIL_INIT_NORMAL, 1);
    float *p = floats(t->total), *q = floats(t->total);
    pupil_table_init(t, 3, p);
    char *model = pupil_join(dir, "model/deep"), first[65], second[65];
    GOOD(pupil_model_dir_save(model, c, p));
    pupil_arch a;
    GOOD(pupil_model_dir_arch(model, &a));
    same_arch(&a, &small);
    const pupil_tensor *guest = pupil_table_find(t, "loss.head");
    for (int64_t i = 0; i < guest->count; i++) q[guest->offset + i] = 7;
    GOOD(pupil_model_dir_load(model, c, q));
    for (int64_t i = 0; i < t->n; i++)
        if (&t->t[i] != guest)
            assert_memory_equal(p + t->t[i].offset, q + t->t[i].offset, (size_t)t->t[i].count * sizeof *p);
    for (int64_t i = 0; i < guest->count; i++)
        assert_true(q[guest->offset + i] == 7); /* not in the file, left alone */
    GOOD(pupil_model_dir_digest(model, first));
    GOOD(pupil_model_dir_save(model, c, q));
    GOOD(pupil_model_dir_digest(model, second));
    assert_string_equal(first, second); /* the same weights, the same bytes */
    pupil_safetensors *s;
    char *file = pupil_join(model, "model.safetensors");
    GOOD(pupil_safetensors_open(file, &s));
    assert_true(pupil_safetensors_has(s, "logit_scale") && !pupil_safetensors_has(s, "loss.head"));
    pupil_safetensors_close(&s);
    pupil_clip_free(&c);
    DROP(p, q, model, file);
}

static void a_folder_of_another_size(void **state)
{
    pupil_clip *c = pupil_clip_new(&small);
    float *p = floats(pupil_clip_table(c)->total);
    pupil_table_init(pupil_clip_table(c), 3, p);
    char *model = pupil_join(dir, "other"), *none = pupil_join(dir, "none");
    GOOD(pupil_model_dir_save(model, c, p));
    pupil_clip_free(&c);
    pupil_arch wider = small;
    wider.text.mlp = 44;
    c = pupil_clip_new(&wider);
    float *q = floats(pupil_clip_table(c)->total);
    BAD(pupil_model_dir_load(model, c, q), PUPIL_EFORMAT,
        "tensor transformer.resblocks.0.mlp.c_fc.weight: its shape is [40,10], the architecture wants "
        "[44,10]");
    BAD(pupil_model_dir_load(none, c, q), PUPIL_ENOTFOUND, "none: no model.safetensors");
    pupil_arch a;
    BAD(pupil_model_dir_arch(none, &a), PUPIL_ENOTFOUND, "none: no config.json");
    char hex[65];
    assert_true(pupil_model_dir_digest(none, hex) < 0);
    pupil_clip_free(&c);
    DROP(p, q, model, none);
}

static int arch_of(const char *json, pupil_arch *a)
{
    char *path = pupil_join(dir, "config.json");
    GOOD(pupil_write_file(path, json, strlen(json)));
    int r = pupil_arch_from_json(path, a);
    pupil_free(&path);
    return r;
}

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
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":[],\"text_cfg\":{}}}", "model_cfg.vision_cfg is []; an object"},
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

/* Any MLP width survives the ratio that the file holds in its stead. */
static void any_mlp_width_reads_back(void **state)
{
    pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, 0);
    for (int i = 0; i < 300; i++) {
        pupil_arch a = small, b;
        a.image.width = 1 + (int64_t)pupil_rng_below(&r, 2000), a.image.heads = 1,
        a.image.mlp = 1 + (int64_t)pupil_rng_below(&r, 8000);
        a.text.width = 1 + (int64_t)pupil_rng_below(&r, 50), a.text.heads = 1,
        a.text.mlp = 1 + (int64_t)pupil_rng_below(&r, 500);
        pupil_buf text = {0};
        pupil_arch_to_json(&a, &text);
        GOOD(arch_of(text.s, &b));
        CHECK(a.image.mlp == b.image.mlp && a.text.mlp == b.text.mlp, "%d/%d read back as %d", (int)a.image.mlp, (int)a.image.width,
              (int)b.image.mlp);
        same_arch(&a, &b);
        pupil_buf_free(&text);
    }
}

static void sections_of_a_yaml_file(void **state)
{
    pupil_arch a;
    pupil_conf_model m = {.name = (char *)(uintptr_t) "ViT-B-32",
                          .act = PUPIL_ACT_QUICK_GELU,
                          .image_size = 256,
                          .text_layers = 3};
    GOOD(pupil_arch_from_conf(&m, 1000, "student.model", &a));
    assert_true(a.image_size == 256 && a.patch == 32 && a.text.layers == 3 && a.vocab == 1000 && a.image.act == PUPIL_QUICK_GELU &&
                a.image.heads == 12 && a.text.heads == 8 && a.context == 77);
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
    assert_true(pupil_acts_bytes(&a, 64, 20, false) < pupil_acts_bytes(&a, 64, 20, true) / 8);
    assert_true(pupil_acts_bytes(&a, 64, 10, true) < pupil_acts_bytes(&a, 64, 20, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_read_back),
        cmocka_unit_test(a_folder_of_another_size),
        cmocka_unit_test(configurations),
        cmocka_unit_test(any_mlp_width_reads_back),
        cmocka_unit_test(sections_of_a_yaml_file),
        cmocka_unit_test(costs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
