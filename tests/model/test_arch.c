/* Architectures: published configurations become the models they are of; what is written reads back as the same; what would
 * be computed otherwise than its authors compute it is refused by key. */
#include "../proof.h"

#include "pupil/model.h"

static char *dir;

static int setup(void **state)
{
    dir = folder_new();
    pupil_log_set_level(PUPIL_LOG_WARN);
    return 0;
}

static int teardown(void **state)
{
    folder_end(&dir);
    return 0;
}

static void write_text(const char *name, const char *text)
{
    char *path = pupil_join(dir, name);
    if (text) GOOD(pupil_write_file(path, text, strlen(text)));
    else unlink(path);
    pupil_free(&path);
}

static int arch_of(const char *json, pupil_arch *a)
{
    write_text("config.json", json);
    char *path = pupil_join(dir, "config.json");
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

/* ---- the same architecture -------------------------------------------------------------------------- */
static void same_tower(const pupil_tower_arch *a, const pupil_tower_arch *b)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->mlp, b->mlp);
    assert_int_equal(a->act, b->act);
    assert_true(a->eps == b->eps);
}

static void same_arch(const pupil_arch *a, const pupil_arch *b)
{
    same_tower(&a->image, &b->image);
    same_tower(&a->text, &b->text);
#define SAME(x) CHECK(a->x == b->x, #x " differs: %g, %g", (double)a->x, (double)b->x)
    SAME(image_size);
    SAME(patch);
    SAME(context);
    SAME(vocab);
    SAME(embed_dim);
    SAME(class_token);
    SAME(pre_norm);
    SAME(patch_bias);
    SAME(pool);
    SAME(pool_heads);
    SAME(pool_mlp);
    SAME(image_proj);
    SAME(rope);
    SAME(rope_xy);
    SAME(rope_reference);
    SAME(rope_offset);
    SAME(swiglu);
    SAME(inner_norm);
    SAME(no_k_bias);
    SAME(trunk_names);
    SAME(text_all_to_all);
    SAME(text_proj_bias);
    SAME(text_prefix);
    SAME(logit_bias);
    for (int i = 0; i < 3; i++) {
        SAME(mean[i]);
        SAME(std[i]);
    }
#undef SAME
    assert_string_equal(a->interpolation, b->interpolation);
    assert_string_equal(a->resize_mode, b->resize_mode);
}

static void reads_back(const pupil_arch *a)
{
    pupil_buf text = {0};
    pupil_arch b;
    pupil_arch_to_json(a, &text);
    GOOD(arch_of(text.s, &b));
    same_arch(a, &b);
    pupil_buf_free(&text);
}

static void reads_back_from_hugging_face(const pupil_arch *a)
{
    pupil_buf config = {0}, preprocessor = {0};
    pupil_arch b;
    GOOD(pupil_arch_to_hf(a, &config, &preprocessor));
    write_text("preprocessor_config.json", preprocessor.s);
    GOOD(arch_of(config.s, &b));
    same_arch(a, &b);
    write_text("preprocessor_config.json", NULL);
    pupil_buf_free(&config);
    pupil_buf_free(&preprocessor);
}

/* ---- published models ------------------------------------------------------------------------------- */
/* open_clip's model_configs; parameters in millions and GFLOPs as its model_profile.csv has them (PE-Core's and SigLIP2's are
 * not in it: its own count of their parameters). */
#define TEXT(w, h, l) "\"text_cfg\":{\"context_length\":77,\"vocab_size\":49408,\"width\":" #w ",\"heads\":" #h ",\"layers\":" #l "}"
#define SIGLIP(e, s, name, ctx, vocab, text) \
    "{\"model_cfg\":{\"embed_dim\":" #e ",\"init_logit_bias\":-10,\"custom_text\":true,\"vision_cfg\":{\"image_size\":" #s ",\"timm_model_name\":\"" name \
    "\",\"timm_model_pretrained\":false,\"timm_pool\":\"map\",\"timm_proj\":\"none\"},\"text_cfg\":{\"context_length\":" #ctx ",\"vocab_size\":" #vocab \
    ",\"hf_tokenizer_name\":\"timm/x\",\"tokenizer_kwargs\":{\"clean\":\"canonicalize\"}," text ",\"no_causal_mask\":true,\"proj_bias\":true,\"pool_type\":\"last\"," \
    "\"norm_kwargs\":{\"eps\":1e-6}"
#define TRUNK(e, s, name, pool) \
    "{\"model_cfg\":{\"embed_dim\":" #e ",\"custom_text\":true,\"vision_cfg\":{\"image_size\":" #s ",\"timm_model_name\":\"" name \
    "\",\"timm_model_pretrained\":false,\"timm_pool\":\"" pool "\",\"timm_proj\":null},"

static const struct {
    const char *json, *family;
    double image, all; /* million parameters */
    double image_flops, text_flops; /* 1e9, with all rows in the last block; 0: not published */
} published[] = {
    {"{\"model_cfg\":{\"embed_dim\":1024,\"quick_gelu\":true,\"vision_cfg\":{\"image_size\":224,\"layers\":32,\"width\":1280,\"head_width\":80,\"patch_size\":14}," TEXT(1024, 16, 24) "}}",
     "CLIP", 632.08, 986.11, 334.59, 47.09},
    {"{\"model_cfg\":{\"embed_dim\":1280,\"vision_cfg\":{\"image_size\":224,\"layers\":48,\"width\":1664,\"head_width\":104,\"mlp_ratio\":4.9231,\"patch_size\":14}," TEXT(1280, 20, 32) "}}",
     "CLIP", 1844.91, 2539.57, 967.5, 97.86},
    {SIGLIP(768, 224, "vit_base_patch16_siglip_224", 64, 32000, "\"width\":768,\"heads\":12,\"layers\":12") "}}}", "SigLIP", 92.88, 203.16, 35.42, 11.02},
    {SIGLIP(1152, 384, "vit_so400m_patch14_siglip_384", 64, 32000, "\"width\":1152,\"heads\":16,\"layers\":27,\"mlp_ratio\":3.7362") "}}}", "SigLIP", 428.23, 877.96, 670.35, 53.13},
    {SIGLIP(1536, 384, "vit_giantopt_patch16_siglip_384", 64, 256000, "\"width\":1152,\"heads\":16,\"layers\":27,\"mlp_ratio\":3.7362") ",\"act_kwargs\":{\"approximate\":\"tanh\"}}}}", "SigLIP", 1163.66, 1871.89, 0, 0},
    {TRUNK(768, 336, "eva02_large_patch14_clip_336", "token") TEXT(768, 12, 12) "}}", "EVA02", 304.43, 428.08, 381.86, 13.3},
    {TRUNK(1024, 224, "eva_giant_patch14_224", "token") TEXT(768, 12, 12) "}}", "EVA01", 1012.59, 1136.44, 534.06, 13.3},
    {TRUNK(1024, 336, "vit_pe_core_large_patch14_336", "map") "\"text_cfg\":{\"context_length\":32,\"vocab_size\":49408,\"width\":1024,\"heads\":16,\"layers\":24}}}", "PE-Core", 317.15, 671.14, 0, 0},
    {TRUNK(1280, 448, "vit_pe_core_gigantic_patch14_448", "map") "\"text_cfg\":{\"context_length\":72,\"vocab_size\":49408,\"width\":1280,\"heads\":20,\"layers\":24}}}", "PE-Core", 1882.03, 2419.27, 0, 0},
};

static void published_models(void **state)
{
    for (int i = 0; i < PUPIL_COUNT(published); i++) {
        pupil_arch a;
        GOOD(arch_of(published[i].json, &a));
        assert_string_equal(pupil_arch_family(&a), published[i].family);
        pupil_clip *c = pupil_clip_new(&a);
        double image = (double)pupil_clip_params(c, 0) / 1e6, all = (double)pupil_clip_params(c, -1) / 1e6;
        CHECK(fabs(image - published[i].image) < 0.006 && fabs(all - published[i].all) < 0.006, "case %d: %.3f M of %.3f M", i, image, all);
        pupil_clip_free(&c);
        reads_back(&a);
        if (published[i].image_flops == 0) continue;
        /* theirs have all rows in the last block, and no causal half of the attention */
        double saved = a.pool == PUPIL_POOL_MAP ? 0 : 1 / (double)a.image.layers, f = pupil_arch_image_flops(&a) / 1e9;
        CHECK(f <= published[i].image_flops * 1.001 && f >= published[i].image_flops * (0.999 - saved), "case %d: %.2f GFLOP an image, published %.2f", i, f, published[i].image_flops);
        f = pupil_arch_text_flops(&a, (double)a.context) / 1e9;
        saved = 1 / (double)a.text.layers;
        CHECK(f <= published[i].text_flops * 1.001 && f >= published[i].text_flops * (0.985 - saved), "case %d: %.2f GFLOP a caption, published %.2f", i, f, published[i].text_flops);
    }
}

static void parts_of_published_models(void **state)
{
    pupil_arch a;
    GOOD(arch_of(published[0].json, &a));
    assert_true(a.image.act == PUPIL_QUICK_GELU && a.text.act == PUPIL_QUICK_GELU && a.image.heads == 16 && !a.trunk_names);
    GOOD(arch_of(published[1].json, &a));
    assert_true(a.image.mlp == 8192 && a.image.heads == 16 && a.text.mlp == 5120);
    GOOD(arch_of(published[3].json, &a));
    assert_true(a.image.mlp == 4304 && a.pool_mlp == 4304 && a.pool_heads == 16 && a.image.act == PUPIL_GELU && a.image.eps == 1e-6 && a.text.eps == 1e-6 && a.image_size == 384 &&
                a.image_proj == PUPIL_PROJ_NONE && a.logit_bias && a.text_all_to_all && a.text_proj_bias && a.patch_bias && !a.class_token && !a.pre_norm);
    GOOD(arch_of(published[4].json, &a));
    assert_true(a.image.act == PUPIL_GELU_TANH && a.text.act == PUPIL_GELU_TANH && a.image.mlp == 6144);
    GOOD(arch_of(published[5].json, &a));
    assert_true(a.swiglu && a.inner_norm && a.no_k_bias && a.rope && !a.rope_xy && a.rope_reference == 16 && a.rope_offset == 0 && a.image.mlp == 2730 &&
                a.image.eps == 1e-6 && a.text.eps == 1e-5 && a.class_token && a.text_prefix && a.image_proj == PUPIL_PROJ_LINEAR);
    GOOD(arch_of(published[6].json, &a));
    assert_true(a.no_k_bias && !a.rope && !a.swiglu && a.image.mlp == 6144 && a.patch_bias);
    GOOD(arch_of(published[7].json, &a));
    assert_true(a.rope && a.rope_xy && a.rope_reference == 24 && a.rope_offset == 1 && a.class_token && a.pre_norm && !a.patch_bias && a.pool_heads == 8 && a.pool_mlp == 4096 && a.image.eps == 1e-5);
    GOOD(arch_of(published[8].json, &a));
    assert_true(a.rope_offset == 0 && a.rope_reference == 32 && !a.class_token && a.image.mlp == 8960 && a.pool_mlp == 6144);
}

/* What a trunk's keys may not say. */
static void trunks_that_are_refused(void **state)
{
#define BUT(vision) "{\"model_cfg\":{\"embed_dim\":768,\"custom_text\":true,\"vision_cfg\":{\"image_size\":224," vision "}," TEXT(64, 2, 2) "}}"
#define BASE16 "\"timm_model_name\":\"vit_base_patch16_siglip_224\""
    static const struct {
        const char *json, *names;
    } cases[] = {
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\""), NULL},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"\""), NULL},
        {BUT("\"timm_model_name\":\"vit_base_patch16_siglip_224.v2_webli\",\"timm_pool\":\"map\",\"timm_proj\":\"none\""), NULL},
        {BUT(BASE16 ",\"timm_proj\":\"none\""), "vision_cfg.timm_pool is absent; map was expected"},
        {BUT(BASE16 ",\"timm_pool\":\"avg\",\"timm_proj\":\"none\""), "timm_pool is \"avg\"; map"},
        {BUT(BASE16 ",\"timm_pool\":\"map\""), "vision_cfg.timm_proj is absent"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"mlp\""), "timm_proj is \"mlp\""},
        {BUT("\"timm_model_name\":\"vit_base_patch16_siglip_gap_224\",\"timm_pool\":\"avg\""), "siglip_gap_224"},
        {BUT("\"timm_model_name\":\"eva02_enormous_patch14_clip_224\",\"timm_pool\":\"token\",\"timm_proj\":null"), "eva02_enormous"},
        {BUT("\"timm_model_name\":\"naflexvit_base_patch16_siglip\""), "naflexvit"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"img_size\":256}"), "vision_cfg.image_size is 224; the trunk"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"img_size\":[224,256]}"), "img_size is [224,256]; a square"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"qk_norm\":true}"), "timm_model_kwargs.qk_norm is true"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"act_layer\":\"silu\"}"), "act_layer is \"silu\"; gelu, quick_gelu or gelu_tanh"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"embed_dim\":1e3}"), "embed_dim is 1000.0; a whole"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"num_heads\":0}"), "vision heads is 0"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"num_heads\":7}"), "no multiple of its heads"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"embed_dim\":384}"), "embed_dim 768 is not the vision width 384"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":{\"depth\":100000000}"), "vision_layers"},
        {BUT(BASE16 ",\"timm_pool\":\"map\",\"timm_proj\":\"none\",\"timm_model_kwargs\":[1]"), "timm_model_kwargs is [1]; an object"},
        {BUT("\"timm_model_name\":\"eva02_base_patch16_clip_224\",\"timm_pool\":\"token\",\"timm_proj\":null,\"timm_model_kwargs\":{\"act_layer\":\"gelu\"}"), "act_layer"},
        {BUT("\"timm_model_name\":\"eva02_base_patch16_clip_224\",\"timm_pool\":\"token\",\"timm_proj\":null,\"timm_model_kwargs\":{\"embed_dim\":90,\"num_heads\":9}"), "head width 10 is no multiple of 4"},
        {BUT("\"timm_model_name\":\"eva02_base_patch16_clip_224\",\"timm_pool\":\"token\",\"timm_proj\":null,\"timm_model_kwargs\":{\"ref_feat_shape\":0}"), "ref_feat_shape is 0"},
        {BUT("\"timm_model_name\":\"vit_pe_core_base_patch16_224\",\"timm_pool\":\"map\",\"timm_proj\":null,\"timm_model_kwargs\":{\"attn_pool_num_heads\":7}"), "7 heads of attention pooling"},
        {BUT("\"timm_model_name\":\"vit_pe_core_base_patch16_224\",\"timm_pool\":\"map\",\"timm_proj\":null,\"timm_model_kwargs\":{\"rope_grid_indexing\":\"yx\"}"), "rope_grid_indexing is \"yx\""},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_arch a;
        int r = arch_of(cases[i].json, &a);
        if (!cases[i].names) CHECK(r == 0, "case %d: %s", i, pupil_reason());
        else CHECK(r == PUPIL_EFORMAT && strstr(pupil_reason(), cases[i].names) && strstr(pupil_reason(), "config.json"), "case %d gave %d: %s, expected it to name %s", i, r, r ? pupil_reason() : "-", cases[i].names);
    }
}

/* ---- Hugging Face ----------------------------------------------------------------------------------- */
static void hugging_face_defaults(void **state)
{
    pupil_arch a, b;
    /* the whole of google/siglip-base-patch16-224's file, but for its versions */
    GOOD(arch_of("{\"architectures\":[\"SiglipModel\"],\"initializer_factor\":1.0,\"model_type\":\"siglip\",\"text_config\":{\"model_type\":\"siglip_text_model\"},"
                 "\"vision_config\":{\"model_type\":\"siglip_vision_model\"}}", &a));
    assert_string_equal(pupil_arch_family(&a), "SigLIP");
    assert_true(a.image_size == 224 && a.patch == 16 && a.vocab == 32000 && a.context == 64 && a.image.act == PUPIL_GELU_TANH && a.text.act == PUPIL_GELU_TANH &&
                a.embed_dim == 768 && a.mean[0] == 0.5 && !strcmp(a.resize_mode, "squash"));
    GOOD(arch_of(published[2].json, &b)); /* open_clip has GELU in its erf form, and by default CLIP's pixels */
    b.image.act = b.text.act = PUPIL_GELU_TANH;
    memcpy(b.mean, a.mean, sizeof a.mean), memcpy(b.std, a.std, sizeof a.std);
    strcpy(b.resize_mode, "squash");
    same_arch(&a, &b);
    /* transformers' CLIPConfig(): openai/clip-vit-base-patch32 */
    GOOD(arch_of("{\"model_type\":\"clip\"}", &a));
    pupil_conf_model m = {.name = (char *)(uintptr_t) "ViT-B-32", .act = PUPIL_ACT_QUICK_GELU};
    GOOD(pupil_arch_from_conf(&m, 49408, "x", &b));
    same_arch(&a, &b);
    /* as openai/clip-vit-large-patch14 has it: the old *_config_dict win, with their own defaults */
    GOOD(arch_of("{\"model_type\":\"clip\",\"projection_dim\":768,\"text_config\":{\"hidden_size\":1,\"vocab_size\":1},\"text_config_dict\":{\"hidden_size\":768,"
                 "\"intermediate_size\":3072,\"num_attention_heads\":12,\"num_hidden_layers\":12},\"vision_config\":null,\"vision_config_dict\":{\"hidden_size\":1024,"
                 "\"intermediate_size\":4096,\"num_attention_heads\":16,\"num_hidden_layers\":24,\"patch_size\":14}}", &a));
    m.name = (char *)(uintptr_t) "ViT-L-14";
    GOOD(pupil_arch_from_conf(&m, 49408, "x", &b));
    same_arch(&a, &b);
    /* siglip2-giant-opt: towers of two widths, one projection_size */
    GOOD(arch_of("{\"model_type\":\"siglip\",\"text_config\":{\"hidden_size\":1152,\"intermediate_size\":4304,\"num_attention_heads\":16,\"num_hidden_layers\":27,\"vocab_size\":256000,"
                 "\"projection_size\":1536},\"vision_config\":{\"hidden_size\":1536,\"intermediate_size\":6144,\"num_attention_heads\":16,\"num_hidden_layers\":40,\"image_size\":384}}", &a));
    GOOD(arch_of(published[4].json, &b));
    memcpy(b.mean, a.mean, sizeof a.mean), memcpy(b.std, a.std, sizeof a.std);
    strcpy(b.resize_mode, "squash");
    same_arch(&a, &b);
}

static void hugging_face_refusals(void **state)
{
    static const char *const cases[][2] = {
        {"{\"model_type\":\"siglip2\"}", "model_type is \"siglip2\"; SigLIP2 with patches of any shape"},
        {"{\"model_type\":\"blip\"}", "model_type is \"blip\"; clip or siglip was expected"},
        {"{\"model_type\":7}", "model_type is 7"},
        {"{\"model_type\":\"clip\",\"vision_config\":{\"hidden_act\":\"relu\"}}", "vision_config.hidden_act is \"relu\""},
        {"{\"model_type\":\"clip\",\"vision_config\":{\"hidden_act\":\"gelu\"}}", "only one of the towers has quick_gelu"},
        {"{\"model_type\":\"clip\",\"vision_config\":{\"num_channels\":4}}", "num_channels is 4"},
        {"{\"model_type\":\"clip\",\"text_config\":{\"num_attention_heads\":-8}}", "text_heads is -8"},
        {"{\"model_type\":\"clip\",\"text_config\":[]}", "text_config is []; an object"},
        {"{\"model_type\":\"clip\",\"text_config_dict\":{\"hidden_size\":500}}", "multiple of its heads"},
        {"{\"model_type\":\"siglip\",\"vision_config\":{\"vision_use_head\":false}}", "vision_use_head"},
        {"{\"model_type\":\"siglip\",\"vision_config\":{\"layer_norm_eps\":1e-5}}", "vision_config.layer_norm_eps is 1e-5;"},
        {"{\"model_type\":\"siglip\",\"vision_config\":{\"hidden_size\":1152,\"num_attention_heads\":16}}", "768 numbers (projection_size)"},
        {"{\"model_type\":\"clip\",\"text_config\":{\"layer_norm_eps\":0}}", "eps is 0"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_arch a;
        BAD(arch_of(cases[i][0], &a), PUPIL_EFORMAT, cases[i][1]);
        assert_non_null(strstr(pupil_reason(), "config.json"));
    }
}

static void preprocessors(void **state)
{
    static const struct {
        const char *type, *json, *mode, *filter; /* accepted */
        double mean;
        const char *names; /* refused */
    } cases[] = {
        {"clip", "{}", "shortest", "bicubic", 0.48145466, NULL},
        {"clip", "{\"image_processor_type\":\"CLIPImageProcessor\",\"size\":224,\"crop_size\":224,\"resample\":2,\"image_mean\":[0.1,0.2,0.3]}", "shortest", "bilinear", 0.1, NULL},
        {"clip", "{\"feature_extractor_type\":\"CLIPFeatureExtractor\",\"size\":{\"shortest_edge\":224},\"crop_size\":{\"height\":224,\"width\":224}}", "shortest", "bicubic", 0.48145466, NULL},
        {"clip", "{\"size\":{\"height\":224,\"width\":224},\"do_center_crop\":false,\"do_normalize\":false}", "squash", "bicubic", 0, NULL},
        {"siglip", "{\"size\":{\"height\":224,\"width\":224},\"resample\":3,\"do_convert_rgb\":null}", "squash", "bicubic", 0.5, NULL},
        {"siglip", "{\"image_processor_type\":\"CLIPImageProcessor\"}", "shortest", "bicubic", 0.48145466, NULL},
        {"clip", "{\"image_processor_type\":\"BlipImageProcessor\"}", NULL, NULL, 0, "image_processor_type is \"BlipImageProcessor\""},
        {"clip", "{\"size\":{\"shortest_edge\":256}}", NULL, NULL, 0, "size is {\"shortest_edge\":256}; the model sees 224"},
        {"clip", "{\"crop_size\":{\"height\":336,\"width\":336}}", NULL, NULL, 0, "crop_size is {\"height\":336,\"width\":336}; the model sees 224"},
        {"clip", "{\"size\":{\"height\":224,\"width\":256}}", NULL, NULL, 0, "size is"},
        {"clip", "{\"size\":{\"longest_edge\":224}}", NULL, NULL, 0, "size is {\"longest_edge\":224}"},
        {"clip", "{\"do_center_crop\":false}", NULL, NULL, 0, "do_center_crop is false"},
        {"clip", "{\"do_resize\":false}", NULL, NULL, 0, "do_resize is false"},
        {"clip", "{\"do_rescale\":false}", NULL, NULL, 0, "do_rescale is false"},
        {"clip", "{\"rescale_factor\":1}", NULL, NULL, 0, "rescale_factor is 1"},
        {"clip", "{\"resample\":0}", NULL, NULL, 0, "resample is 0"},
        {"clip", "{\"image_std\":[0.5,0,0.5]}", NULL, NULL, 0, "std is 0"},
        {"clip", "{\"image_mean\":[0.5,0.5]}", NULL, NULL, 0, "image_mean is [0.5,0.5]"},
        {"clip", "{\"do_resize\":\"yes\"}", NULL, NULL, 0, "do_resize is \"yes\""},
        {"siglip", "{\"size\":{\"shortest_edge\":224}}", NULL, NULL, 0, "size is {\"shortest_edge\":224}"},
        {"siglip", "{\"size\":", NULL, NULL, 0, "preprocessor_config.json:1:"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_arch a;
        char *config = pupil_format("{\"model_type\":\"%s\",\"vision_config\":{\"patch_size\":16}}", cases[i].type);
        write_text("preprocessor_config.json", cases[i].json);
        int r = arch_of(config, &a);
        if (cases[i].names) {
            CHECK(r == PUPIL_EFORMAT && strstr(pupil_reason(), cases[i].names) && strstr(pupil_reason(), "config.json"), "case %d gave %d: %s, expected it to name %s", i, r, r ? pupil_reason() : "-", cases[i].names);
        } else {
            CHECK(r == 0, "case %d: %s", i, pupil_reason());
            assert_string_equal(a.resize_mode, cases[i].mode);
            assert_string_equal(a.interpolation, cases[i].filter);
            CHECK(a.mean[0] == cases[i].mean, "case %d: mean %g", i, a.mean[0]);
        }
        pupil_free(&config);
    }
    write_text("preprocessor_config.json", NULL);
}

/* ---- there and back --------------------------------------------------------------------------------- */
static int64_t some(pupil_rng *r, int64_t most) { return 1 + (int64_t)pupil_rng_below(r, (uint64_t)most); }

/* Any sizes, MLP widths (files hold ratios) and pixels a member of published[] may have. */
static void vary(pupil_rng *r, pupil_arch *a)
{
    a->image.heads = some(r, 4), a->image.width = 4 * a->image.heads * some(r, 100);
    a->text.heads = some(r, 4), a->text.width = a->text.heads * some(r, 100);
    a->image.layers = some(r, 9), a->text.layers = some(r, 9);
    a->image.mlp = some(r, 8000), a->text.mlp = some(r, 500);
    a->patch = some(r, 16), a->image_size = a->patch * some(r, 9) + (int64_t)pupil_rng_below(r, (uint64_t)a->patch);
    a->context = 1 + some(r, 76), a->vocab = 3 + some(r, 1000);
    a->embed_dim = a->image_proj == PUPIL_PROJ_NONE ? a->image.width : some(r, 999);
    bool map = a->pool == PUPIL_POOL_MAP, own = a->rope;
    a->pool_heads = !map ? 0 : own ? 2 * some(r, 2) : a->image.heads;
    a->pool_mlp = !map ? 0 : own ? some(r, 900) : a->image.mlp;
    if (own) {
        a->rope_reference = (double)some(r, 40), a->rope_offset = (double)some(r, 8) / 4, a->rope_xy = pupil_rng_below(r, 2);
        if (map) a->class_token = pupil_rng_below(r, 2);
    }
    for (int i = 0; i < 3; i++) a->mean[i] = pupil_rng_uniform(r), a->std[i] = 0.01 + pupil_rng_uniform(r);
    strcpy(a->interpolation, pupil_rng_below(r, 2) ? "bicubic" : "bilinear");
    strcpy(a->resize_mode, pupil_rng_below(r, 2) ? "squash" : "shortest");
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
        cmocka_unit_test(configurations),
        cmocka_unit_test(published_models),
        cmocka_unit_test(parts_of_published_models),
        cmocka_unit_test(trunks_that_are_refused),
        cmocka_unit_test(hugging_face_defaults),
        cmocka_unit_test(hugging_face_refusals),
        cmocka_unit_test(preprocessors),
        cmocka_unit_test(everything_reads_back),
        cmocka_unit_test(sections_of_a_yaml_file),
        cmocka_unit_test(costs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
