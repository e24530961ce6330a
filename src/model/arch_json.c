/* arch_json.c: open_clip's configuration files, read and written: {"model_cfg": ..., "preprocess_cfg": ...}.
 * What this code would not compute as open_clip does is refused by its key. */
#include "arch.h"

#include <string.h>

static const char *const interpolations[] = {"bicubic", "bilinear"};
static const char *const resize_modes[] = {"shortest", "squash", "longest", "shortest-hf"};

/* act_kwargs, norm_kwargs and mlp_ratio of a tower. */
static int read_tower_kwargs(section s, const char *act_name, const char *norm_name, bool quick,
                             pupil_tower_arch *t)
{
    static const char *const forms[] = {"none", "tanh"};
    section act, norm;
    double ratio;
    int tanh;
    PUPIL_TRY(arch_section(s, "act_kwargs", act_name, &act));
    PUPIL_TRY(arch_section(s, "norm_kwargs", norm_name, &norm));
    PUPIL_TRY(arch_known(act, "approximate"));
    PUPIL_TRY(arch_known(norm, "eps"));
    PUPIL_TRY(arch_word(act, "approximate", forms, 2, 0, &tanh));
    if (quick && tanh) return arch_refuse(act, "approximate", "quick_gelu has no such form");
    t->act = quick ? PUPIL_QUICK_GELU : tanh ? PUPIL_GELU_TANH : PUPIL_GELU;
    PUPIL_TRY(arch_number(norm, "eps", 1e-5, &t->eps));
    PUPIL_TRY(arch_number(s, "mlp_ratio", 4, &ratio));
    t->mlp = arch_mlp(t->width, ratio);
    return 0;
}

/* open_clip's own ViT. */
static int read_vit(section v, bool quick, pupil_arch *a)
{
    static const char *const pools[] = {"tok"}, *const positions[] = {"learnable"},
                             *const blocks[] = {"default"};
    int64_t head_width;
    int i;
    if (json_is_array(json_object_get(v.o, "layers")))
        return arch_refuse(v, "layers", "a ResNet is not computed here");
    PUPIL_TRY(arch_known(v, "image_size layers width head_width mlp_ratio patch_size patch_dropout "
                            "attn_pooler_queries attn_pooler_heads "
                            "pool_type pos_embed_type block_type act_kwargs norm_kwargs timm_pool timm_proj "
                            "timm_drop timm_drop_path"));
    PUPIL_TRY(arch_word(v, "pool_type", pools, 1, 0, &i));
    PUPIL_TRY(arch_word(v, "pos_embed_type", positions, 1, 0, &i));
    PUPIL_TRY(arch_word(v, "block_type", blocks, 1, 0, &i));
    PUPIL_TRY(arch_whole(v, "image_size", 224, &a->image_size));
    PUPIL_TRY(arch_whole(v, "patch_size", 16, &a->patch));
    PUPIL_TRY(arch_whole(v, "width", 768, &a->image.width));
    PUPIL_TRY(arch_whole(v, "layers", 12, &a->image.layers));
    PUPIL_TRY(arch_whole(v, "head_width", 64, &head_width));
    if (head_width < 1 || a->image.width % head_width)
        return arch_refuse(v, "head_width", "it must divide the width");
    a->image.heads = a->image.width / head_width;
    return read_tower_kwargs(v, "vision_cfg.act_kwargs", "vision_cfg.norm_kwargs", quick, &a->image);
}

static int read_trunk(section v, pupil_arch *a)
{
    PUPIL_TRY(arch_known(v, "image_size layers width head_width mlp_ratio patch_size patch_dropout "
                            "timm_model_name timm_model_pretrained "
                            "timm_pool timm_proj timm_drop timm_drop_path timm_model_kwargs"));
    return arch_trunk_read(v, a);
}

static int read_text(section t, bool quick, pupil_arch *a)
{
    static const char *const pools[] = {"argmax", "last"}, *const projections[] = {"linear"},
                             *const blocks[] = {"default"}, *const arches[] = {"clip"};
    int last, i;
    PUPIL_TRY(arch_known(t, "text_arch context_length vocab_size width heads layers mlp_ratio pool_type "
                            "proj_type proj_bias no_causal_mask "
                            "block_type act_kwargs norm_kwargs pad_id bos_id eos_id hf_tokenizer_name "
                            "tokenizer_kwargs tokenizer_mode"));
    PUPIL_TRY(arch_word(t, "text_arch", arches, 1, 0, &i));
    PUPIL_TRY(arch_word(t, "proj_type", projections, 1, 0, &i));
    PUPIL_TRY(arch_word(t, "block_type", blocks, 1, 0, &i));
    PUPIL_TRY(arch_word(t, "pool_type", pools, 2, 0, &last));
    PUPIL_TRY(arch_bool(t, "no_causal_mask", false, &a->text_all_to_all));
    if (last != a->text_all_to_all)
        return arch_refuse(t, "pool_type",
                           last ? "it is computed with no_causal_mask alone"
                                : "with no_causal_mask, \"last\" alone is computed");
    PUPIL_TRY(arch_bool(t, "proj_bias", false, &a->text_proj_bias));
    PUPIL_TRY(arch_whole(t, "context_length", 77, &a->context));
    PUPIL_TRY(arch_whole(t, "vocab_size", 49408, &a->vocab));
    PUPIL_TRY(arch_whole(t, "width", 512, &a->text.width));
    PUPIL_TRY(arch_whole(t, "heads", 8, &a->text.heads));
    PUPIL_TRY(arch_whole(t, "layers", 12, &a->text.layers));
    return read_tower_kwargs(t, "text_cfg.act_kwargs", "text_cfg.norm_kwargs", quick, &a->text);
}

static int read_preprocess(section p, pupil_arch *a)
{
    static const char *const modes[] = {"RGB"};
    int i, mode;
    PUPIL_TRY(arch_triple(p, "mean", a->mean));
    PUPIL_TRY(arch_triple(p, "std", a->std));
    PUPIL_TRY(arch_word(p, "mode", modes, 1, 0, &i));
    PUPIL_TRY(arch_word(p, "interpolation", interpolations, PUPIL_COUNT(interpolations), 0, &i));
    PUPIL_TRY(arch_word(p, "resize_mode", resize_modes, PUPIL_COUNT(resize_modes), 0, &mode));
    strcpy(a->interpolation, interpolations[i]);
    strcpy(a->resize_mode, resize_modes[mode]);
    double fill;
    PUPIL_TRY(arch_number(p, "fill_color", 0, &fill));
    return fill != 0 && mode == 2 ? arch_refuse(p, "fill_color", "pictures are padded with 0 alone") : 0;
}

int arch_from_open_clip(section root, pupil_arch *a)
{
    section model, v, t, pre;
    bool quick;
    double bias, scale;
    PUPIL_TRY(arch_section(root, "model_cfg", "model_cfg", &model));
    PUPIL_TRY(arch_section(root, "preprocess_cfg", "preprocess_cfg", &pre));
    PUPIL_TRY(arch_known(model, "embed_dim quick_gelu vision_cfg text_cfg custom_text init_logit_scale "
                                "init_logit_bias nonscalar_logit_scale"));
    PUPIL_TRY(arch_section(model, "vision_cfg", "vision_cfg", &v));
    PUPIL_TRY(arch_section(model, "text_cfg", "text_cfg", &t));
    if (!v.o || !t.o)
        return pupil_fail(PUPIL_EFORMAT,
                          "%s: expected open_clip's {\"model_cfg\": {\"vision_cfg\": {...}, \"text_cfg\": "
                          "{...}}}, or Hugging Face's \"model_type\"",
                          root.path);
    PUPIL_TRY(arch_bool(model, "quick_gelu", false, &quick));
    PUPIL_TRY(arch_bool(model, "custom_text", false, &a->text_prefix));
    PUPIL_TRY(arch_number(model, "init_logit_scale", 0, &scale));
    PUPIL_TRY(arch_number(model, "init_logit_bias", 0, &bias));
    a->logit_bias = json_is_number(json_object_get(model.o, "init_logit_bias"));
    PUPIL_TRY(json_is_string(json_object_get(v.o, "timm_model_name")) ? read_trunk(v, a)
                                                                      : read_vit(v, quick, a));
    PUPIL_TRY(read_text(t, quick, a));
    PUPIL_TRY(arch_whole(model, "embed_dim", 0, &a->embed_dim));
    return read_preprocess(pre, a);
}

int pupil_arch_from_json(const char *path, pupil_arch *ret)
{
    json_t *root;
    PUPIL_TRY(arch_load(path, &root));
    section s = {path, "", root};
    pupil_arch a = pupil_arch_clip();
    int r = json_object_get(root, "model_type") ? arch_from_hf(s, &a) : arch_from_open_clip(s, &a);
    json_decref(root);
    if (r == 0) r = arch_check(&a, path);
    if (r == 0) *ret = a;
    return r == PUPIL_EUSER ? PUPIL_EFORMAT : r;
}

/* ---- writing --------------------------------------------------------------------------------------- */
/* mlp_ratio, and what is not open_clip's default. */
static void write_tower_kwargs(const pupil_tower_arch *t, pupil_buf *out)
{
    pupil_buf_puts(out, ", \"mlp_ratio\": ");
    pupil_buf_json_num(out, arch_ratio(t->mlp, t->width));
    if (t->act == PUPIL_GELU_TANH) pupil_buf_puts(out, ", \"act_kwargs\": {\"approximate\": \"tanh\"}");
    if (t->eps < 1e-5 || t->eps > 1e-5) {
        pupil_buf_puts(out, ", \"norm_kwargs\": {\"eps\": ");
        pupil_buf_json_num(out, t->eps);
        pupil_buf_puts(out, "}");
    }
}

static void write_triple(const char *name, const double x[3], pupil_buf *out)
{
    pupil_buf_printf(out, "\"%s\": [", name);
    for (int i = 0; i < 3; i++) pupil_buf_puts(out, i ? ", " : ""), pupil_buf_json_num(out, x[i]);
    pupil_buf_puts(out, "], ");
}

void pupil_arch_to_json(const pupil_arch *a, pupil_buf *out)
{
    pupil_buf_printf(out, "{\n \"model_cfg\": {\n  \"embed_dim\": %lld,\n  \"quick_gelu\": %s,\n",
                     (long long)a->embed_dim, a->text.act == PUPIL_QUICK_GELU ? "true" : "false");
    if (a->text_prefix) pupil_buf_puts(out, "  \"custom_text\": true,\n");
    if (a->logit_bias) pupil_buf_puts(out, "  \"init_logit_bias\": -10,\n");
    pupil_buf_puts(out, "  \"vision_cfg\": {");
    if (a->trunk_names) {
        arch_trunk_write(a, out);
    } else {
        pupil_buf_printf(out,
                         "\"image_size\": %lld, \"layers\": %lld, \"width\": %lld, \"head_width\": %lld, "
                         "\"patch_size\": %lld",
                         (long long)a->image_size, (long long)a->image.layers, (long long)a->image.width,
                         (long long)(a->image.width / a->image.heads), (long long)a->patch);
        write_tower_kwargs(&a->image, out);
    }
    pupil_buf_printf(out,
                     "},\n  \"text_cfg\": {\"context_length\": %lld, \"vocab_size\": %lld, \"width\": %lld, "
                     "\"heads\": %lld, \"layers\": %lld",
                     (long long)a->context, (long long)a->vocab, (long long)a->text.width,
                     (long long)a->text.heads, (long long)a->text.layers);
    if (a->text_all_to_all) pupil_buf_puts(out, ", \"no_causal_mask\": true, \"pool_type\": \"last\"");
    if (a->text_proj_bias) pupil_buf_puts(out, ", \"proj_bias\": true");
    write_tower_kwargs(&a->text, out);
    /* open_clip's own tokenizer has CLIP's ids; given a name, it takes the one beside a local-dir: model */
    if (a->text_all_to_all) pupil_buf_puts(out, ", \"hf_tokenizer_name\": \"local-dir\"");
    else if (a->vocab != 49408)
        pupil_buf_puts(
            out, ", \"hf_tokenizer_name\": \"local-dir\", \"tokenizer_kwargs\": {\"clean\": \"lower\"}");
    pupil_buf_puts(out, "}\n },\n \"preprocess_cfg\": {");
    write_triple("mean", a->mean, out);
    write_triple("std", a->std, out);
    pupil_buf_printf(out, "\"interpolation\": \"%s\", \"resize_mode\": \"%s\"}\n}\n", a->interpolation,
                     a->resize_mode);
}
