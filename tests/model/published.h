/* published.h: what the tests of architectures share: published configurations, files of one folder, and what
 * it means that two architectures are the same. */
#ifndef PUPIL_TESTS_PUBLISHED_H
#define PUPIL_TESTS_PUBLISHED_H

#include "../proof.h"

#include "pupil/model.h"

static char *dir;

static inline int setup(void **state)
{
    dir = folder_new();
    pupil_log_set_level(PUPIL_LOG_WARN);
    return 0;
}

static inline int teardown(void **state)
{
    folder_end(&dir);
    return 0;
}

static inline void write_text(const char *name, const char *text)
{
    char *path = pupil_join(dir, name);
    if (text) GOOD(pupil_write_file(path, text, strlen(text)));
    else unlink(path);
    pupil_free(&path);
}

static inline int arch_of(const char *json, pupil_arch *a)
{
    write_text("config.json", json);
    char *path = pupil_join(dir, "config.json");
    int r = pupil_arch_from_json(path, a);
    pupil_free(&path);
    return r;
}

/* ---- the same architecture -------------------------------------------------------------------------- */
static inline void same_tower(const pupil_tower_arch *a, const pupil_tower_arch *b)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->mlp, b->mlp);
    assert_int_equal(a->act, b->act);
    assert_true(a->eps == b->eps);
}

static inline void same_arch(const pupil_arch *a, const pupil_arch *b)
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

static inline void reads_back(const pupil_arch *a)
{
    pupil_buf text = {0};
    pupil_arch b;
    pupil_arch_to_json(a, &text);
    GOOD(arch_of(text.s, &b));
    same_arch(a, &b);
    pupil_buf_free(&text);
}

/* ---- published models ------------------------------------------------------------------------------- */
/* open_clip's model_configs; parameters in millions and GFLOPs as its model_profile.csv has them (PE-Core's
 * and SigLIP2's are not in it: its own count of their parameters). */
#define TEXT(w, h, l)                                                                                        \
    "\"text_cfg\":{\"context_length\":77,\"vocab_size\":49408,\"width\":" #w ",\"heads\":" #h                \
    ",\"layers\":" #l "}"
#define SIGLIP(e, s, name, ctx, vocab, text)                                                                 \
    "{\"model_cfg\":{\"embed_dim\":" #e                                                                      \
    ",\"init_logit_bias\":-10,\"custom_text\":true,\"vision_cfg\":{\"image_size\":" #s                       \
    ",\"timm_model_name\":\"" name "\",\"timm_model_pretrained\":false,\"timm_pool\":\"map\",\"timm_proj\":" \
    "\"none\"},\"text_cfg\":{\"context_length\":" #ctx ",\"vocab_size\":" #vocab                             \
    ",\"hf_tokenizer_name\":\"timm/x\",\"tokenizer_kwargs\":{\"clean\":\"canonicalize\"}," text              \
    ",\"no_causal_mask\":true,\"proj_bias\":true,\"pool_type\":\"last\","                                    \
    "\"norm_kwargs\":{\"eps\":1e-6}"
#define TRUNK(e, s, name, pool)                                                                              \
    "{\"model_cfg\":{\"embed_dim\":" #e ",\"custom_text\":true,\"vision_cfg\":{\"image_size\":" #s           \
    ",\"timm_model_name\":\"" name "\",\"timm_model_pretrained\":false,\"timm_pool\":\"" pool                \
    "\",\"timm_proj\":null},"

static const struct {
    const char *json, *family;
    double image, all;              /* million parameters */
    double image_flops, text_flops; /* 1e9, with all rows in the last block; 0: not published */
} published[] = {
    {"{\"model_cfg\":{\"embed_dim\":1024,\"quick_gelu\":true,\"vision_cfg\":{\"image_size\":224,\"layers\":"
     "32,\"width\":1280,\"head_width\":80,\"patch_size\":14}," TEXT(1024, 16, 24) "}}",
     "CLIP", 632.08, 986.11, 334.59, 47.09},
    {"{\"model_cfg\":{\"embed_dim\":1280,\"vision_cfg\":{\"image_size\":224,\"layers\":48,\"width\":1664,"
     "\"head_width\":104,\"mlp_ratio\":4.9231,\"patch_size\":14}," TEXT(1280, 20, 32) "}}",
     "CLIP", 1844.91, 2539.57, 967.5, 97.86},
    {SIGLIP(768, 224, "vit_base_patch16_siglip_224", 64, 32000,
            "\"width\":768,\"heads\":12,\"layers\":12") "}}}",
     "SigLIP", 92.88, 203.16, 35.42, 11.02},
    {SIGLIP(1152, 384, "vit_so400m_patch14_siglip_384", 64, 32000,
            "\"width\":1152,\"heads\":16,\"layers\":27,\"mlp_ratio\":3.7362") "}}}",
     "SigLIP", 428.23, 877.96, 670.35, 53.13},
    {SIGLIP(1536, 384, "vit_giantopt_patch16_siglip_384", 64, 256000,
            "\"width\":1152,\"heads\":16,\"layers\":27,\"mlp_ratio\":3.7362") ",\"act_kwargs\":{"
                                                                              "\"approximate\":\"tanh\"}}}}",
     "SigLIP", 1163.66, 1871.89, 0, 0},
    {TRUNK(768, 336, "eva02_large_patch14_clip_336", "token") TEXT(768, 12, 12) "}}", "EVA02", 304.43, 428.08,
     381.86, 13.3},
    {TRUNK(1024, 224, "eva_giant_patch14_224", "token") TEXT(768, 12, 12) "}}", "EVA01", 1012.59, 1136.44,
     534.06, 13.3},
    {TRUNK(1024, 336, "vit_pe_core_large_patch14_336",
           "map") "\"text_cfg\":{\"context_length\":32,\"vocab_size\":49408,\"width\":1024,\"heads\":16,"
                  "\"layers\":24}}}",
     "PE-Core", 317.15, 671.14, 0, 0},
    {TRUNK(1280, 448, "vit_pe_core_gigantic_patch14_448",
           "map") "\"text_cfg\":{\"context_length\":72,\"vocab_size\":49408,\"width\":1280,\"heads\":20,"
                  "\"layers\":24}}}",
     "PE-Core", 1882.03, 2419.27, 0, 0},
};

#endif
