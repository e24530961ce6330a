/* arch.c: architectures from presets (open_clip's model_configs), from YAML sections and from open_clip's JSON; their cost. */
#include "pupil/model.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t embed, image, patch, v_width, v_layers, t_width, t_heads, t_layers;
} presets[] = {
    {"ViT-T-16", 512, 224, 16, 192, 12, 384, 6, 12},   {"ViT-S-16", 384, 224, 16, 384, 12, 384, 6, 12},
    {"ViT-B-32", 512, 224, 32, 768, 12, 512, 8, 12},   {"ViT-B-16", 512, 224, 16, 768, 12, 512, 8, 12},
    {"ViT-L-14", 768, 224, 14, 1024, 24, 768, 12, 12},
};

pupil_arch pupil_arch_clip(void)
{
    return (pupil_arch){.image = {.eps = 1e-5}, .text = {.eps = 1e-5}, .context = 77, .class_token = true, .pre_norm = true,
                        .image_proj = PUPIL_PROJ_MATRIX, .mean = {0.48145466, 0.4578275, 0.40821073},
                        .std = {0.26862954, 0.26130258, 0.27577711}, .interpolation = "bicubic", .resize_mode = "shortest"};
}

const char *pupil_arch_family(const pupil_arch *a)
{
    if (a->rope) return a->swiglu ? "EVA02" : "PE-Core";
    return a->pool == PUPIL_POOL_MAP ? "SigLIP" : a->no_k_bias ? "EVA01" : "CLIP";
}

static int check(const pupil_arch *a, const char *what)
{
    const struct {
        const char *name;
        int64_t v, max;
    } sizes[] = {{"image_size", a->image_size, 4096}, {"patch_size", a->patch, 1024},    {"vision_width", a->image.width, 16384},
                 {"vision_layers", a->image.layers, 256}, {"vision heads", a->image.heads, 1024}, {"vision mlp width", a->image.mlp, 131072},
                 {"context_length", a->context, 4096}, {"vocab_size", a->vocab, 1 << 22}, {"text_width", a->text.width, 16384},
                 {"text_layers", a->text.layers, 256},    {"text_heads", a->text.heads, 1024},  {"text mlp width", a->text.mlp, 131072},
                 {"embed_dim", a->embed_dim, 16384}};
    for (int i = 0; i < PUPIL_COUNT(sizes); i++)
        if (sizes[i].v < 1 || sizes[i].v > sizes[i].max)
            return pupil_fail(PUPIL_EUSER, "%s: %s is %lld, expected 1 to %lld%s", what, sizes[i].name,
                              (long long)sizes[i].v, (long long)sizes[i].max,
                              sizes[i].v == 0 ? "; give it, or a preset name" : "");
    if (a->image_size % a->patch)
        return pupil_fail(PUPIL_EUSER, "%s: image_size %lld is no multiple of patch_size %lld", what,
                          (long long)a->image_size, (long long)a->patch);
    if (a->image.width % a->image.heads || a->text.width % a->text.heads)
        return pupil_fail(PUPIL_EUSER, "%s: a width is no multiple of its heads (vision %lld/%lld, text %lld/%lld)", what,
                          (long long)a->image.width, (long long)a->image.heads, (long long)a->text.width, (long long)a->text.heads);
    for (int i = 0; i < 3; i++)
        if (!(a->std[i] > 0)) return pupil_fail(PUPIL_EUSER, "%s: preprocess std is %g, expected more than 0", what, a->std[i]);
    if (strcmp(a->interpolation, "bicubic") && strcmp(a->interpolation, "bilinear"))
        return pupil_fail(PUPIL_EUSER, "%s: interpolation is '%s', expected bicubic or bilinear", what, a->interpolation);
    if (strcmp(a->resize_mode, "shortest") && strcmp(a->resize_mode, "squash") && strcmp(a->resize_mode, "longest"))
        return pupil_fail(PUPIL_EUSER, "%s: resize_mode is '%s', expected shortest, squash or longest", what, a->resize_mode);
    return 0;
}

static void set(int64_t *to, int64_t from)
{
    if (from > 0) *to = from;
}

int pupil_arch_from_conf(const pupil_conf_model *conf, int64_t vocab, const char *what, pupil_arch *ret)
{
    pupil_arch a = pupil_arch_clip();
    int64_t head_width = 64;
    if (conf->name) {
        int i = 0;
        while (i < PUPIL_COUNT(presets) && strcmp(presets[i].name, conf->name)) i++;
        if (i == PUPIL_COUNT(presets))
            return pupil_fail(PUPIL_EUSER, "%s.name: no preset '%s', expected ViT-T-16, ViT-S-16, ViT-B-32, ViT-B-16 or ViT-L-14",
                              what, conf->name);
        a.embed_dim = presets[i].embed;
        a.image_size = presets[i].image;
        a.patch = presets[i].patch;
        a.image.width = presets[i].v_width;
        a.image.layers = presets[i].v_layers;
        a.text.width = presets[i].t_width;
        a.text.heads = presets[i].t_heads;
        a.text.layers = presets[i].t_layers;
    }
    set(&a.image_size, conf->image_size);
    set(&a.patch, conf->patch_size);
    set(&a.image.width, conf->vision_width);
    set(&a.image.layers, conf->vision_layers);
    set(&head_width, conf->vision_head_width);
    set(&a.text.width, conf->text_width);
    set(&a.text.layers, conf->text_layers);
    set(&a.text.heads, conf->text_heads);
    set(&a.context, conf->context_length);
    set(&a.embed_dim, conf->embed_dim);
    a.vocab = vocab;
    a.image.act = a.text.act = conf->act == PUPIL_ACT_QUICK_GELU ? PUPIL_QUICK_GELU : PUPIL_GELU;
    if (a.image.width && a.image.width % head_width)
        return pupil_fail(PUPIL_EUSER, "%s: vision_width %lld is no multiple of vision_head_width %lld", what,
                          (long long)a.image.width, (long long)head_width);
    a.image.heads = a.image.width / head_width;
    if (a.text.heads == 0) a.text.heads = PUPIL_MAX(1, a.text.width / 64);
    a.image.mlp = 4 * a.image.width;
    a.text.mlp = 4 * a.text.width;
    PUPIL_TRY(check(&a, what));
    *ret = a;
    return 0;
}

/* The value of a key that is absent or null is `otherwise`; of one that is no number, -1, which no size may be. */
static int64_t whole(const json_t *o, const char *key, int64_t otherwise)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return otherwise;
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : -1;
}

static int64_t mlp_of(const json_t *o, int64_t width)
{
    const json_t *v = json_object_get(o, "mlp_ratio");
    double ratio = !v || json_is_null(v) ? 4 : json_is_number(v) ? json_number_value(v) : -1;
    return ratio > 0 && ratio < 1024 && width > 0 && width < 1 << 20 ? (int64_t)((double)width * ratio) : -1;
}

static void triple(const json_t *list, double to[3])
{
    if (!json_is_array(list) || json_array_size(list) != 3) return;
    for (size_t i = 0; i < 3; i++)
        if (json_is_number(json_array_get(list, i))) to[i] = json_number_value(json_array_get(list, i));
}

static void word(const json_t *o, const char *key, char to[12])
{
    const char *s = json_string_value(json_object_get(o, key));
    if (s) snprintf(to, 12, "%s", s);
}

/* What a key may say and still mean CLIP's own towers. */
static bool harmless(const json_t *v)
{
    static const char *const plain[] = {"tok", "argmax", "linear", "learnable"}; /* CLIP's pooling, projection, positions */
    for (int i = 0; i < PUPIL_COUNT(plain); i++)
        if (json_is_string(v) && !strcmp(json_string_value(v), plain[i])) return true;
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0);
}

/* Keys of open_clip's configurations that make an architecture this code does not compute. */
static int refuse_others(const char *path, const json_t *model, const json_t *v, const json_t *t)
{
    static const char *const keys[] = {
        "custom_text", "multimodal_cfg", "init_logit_bias", "timm_model_name", "hf_model_name", "attentional_pool", "no_ln_pre", "pool_type",
        "global_average_pool", "final_ln_after_pool", "pos_embed_type", "ls_init_value", "input_patchnorm", "norm_kwargs", "act_kwargs", "block_type",
        "qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc", "no_causal_mask", "embed_cls", "proj_bias", "proj_type"};
    const json_t *in[] = {model, v, t};
    for (int i = 0; i < PUPIL_COUNT(in); i++)
        for (int k = 0; k < PUPIL_COUNT(keys); k++)
            if (!harmless(json_object_get(in[i], keys[k])))
                return pupil_fail(PUPIL_EFORMAT, "%s: model_cfg uses '%s'; only CLIP's own ViT and text towers can be loaded so far",
                                  path, keys[k]);
    return 0;
}

static int from_json(const char *path, const json_t *root, pupil_arch *a)
{
    const json_t *model = json_object_get(root, "model_cfg"), *pre = json_object_get(root, "preprocess_cfg");
    const json_t *v = json_object_get(model, "vision_cfg"), *t = json_object_get(model, "text_cfg");
    if (!json_is_object(v) || !json_is_object(t))
        return pupil_fail(PUPIL_EFORMAT, "%s: expected open_clip's {\"model_cfg\": {\"vision_cfg\": {...}, \"text_cfg\": {...}}}", path);
    PUPIL_TRY(refuse_others(path, model, v, t));
    *a = pupil_arch_clip();
    a->embed_dim = whole(model, "embed_dim", 0);
    a->image.act = a->text.act = json_is_true(json_object_get(model, "quick_gelu")) ? PUPIL_QUICK_GELU : PUPIL_GELU;
    a->image_size = whole(v, "image_size", 224);
    a->patch = whole(v, "patch_size", 16);
    a->image.width = whole(v, "width", 768);
    a->image.layers = whole(v, "layers", 12);
    int64_t head_width = whole(v, "head_width", 64);
    if (head_width < 1 || a->image.width % head_width) return pupil_fail(PUPIL_EFORMAT, "%s: vision head_width does not divide width", path);
    a->image.heads = a->image.width / head_width;
    a->image.mlp = mlp_of(v, a->image.width);
    a->context = whole(t, "context_length", 77);
    a->vocab = whole(t, "vocab_size", 49408);
    a->text.width = whole(t, "width", 512);
    a->text.heads = whole(t, "heads", 8);
    a->text.layers = whole(t, "layers", 12);
    a->text.mlp = mlp_of(t, a->text.width);
    triple(json_object_get(pre, "mean"), a->mean);
    triple(json_object_get(pre, "std"), a->std);
    word(pre, "interpolation", a->interpolation);
    word(pre, "resize_mode", a->resize_mode);
    int r = check(a, path);
    return r == PUPIL_EUSER ? PUPIL_EFORMAT : r;
}

int pupil_arch_from_json(const char *path, pupil_arch *ret)
{
    char *text;
    PUPIL_TRY(pupil_read_file(path, 1 << 20, &text, NULL));
    json_error_t e;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    pupil_free(&text);
    if (!root) return pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    pupil_arch a;
    int r = from_json(path, root, &a);
    json_decref(root);
    if (r == 0) *ret = a;
    return r;
}

/* The ratio that open_clip's int(width * ratio) turns into `mlp` again. */
static double ratio_of(int64_t mlp, int64_t width)
{
    double ratio = (double)mlp / (double)width;
    return (int64_t)((double)width * ratio) < mlp ? nextafter(ratio, INFINITY) : ratio;
}

void pupil_arch_to_json(const pupil_arch *a, pupil_buf *out)
{
    pupil_buf_printf(out, "{\n \"model_cfg\": {\n  \"embed_dim\": %lld,\n  \"quick_gelu\": %s,\n", (long long)a->embed_dim,
                     a->image.act == PUPIL_QUICK_GELU ? "true" : "false");
    pupil_buf_printf(out, "  \"vision_cfg\": {\"image_size\": %lld, \"layers\": %lld, \"width\": %lld, \"head_width\": %lld, \"patch_size\": %lld, \"mlp_ratio\": ",
                     (long long)a->image_size, (long long)a->image.layers, (long long)a->image.width,
                     (long long)(a->image.width / a->image.heads), (long long)a->patch);
    pupil_buf_json_num(out, ratio_of(a->image.mlp, a->image.width));
    pupil_buf_printf(out, "},\n  \"text_cfg\": {\"context_length\": %lld, \"vocab_size\": %lld, \"width\": %lld, \"heads\": %lld, \"layers\": %lld, \"mlp_ratio\": ",
                     (long long)a->context, (long long)a->vocab, (long long)a->text.width, (long long)a->text.heads, (long long)a->text.layers);
    pupil_buf_json_num(out, ratio_of(a->text.mlp, a->text.width));
    pupil_buf_puts(out, "}\n },\n \"preprocess_cfg\": {\"mean\": [");
    for (int i = 0; i < 3; i++) pupil_buf_puts(out, i ? ", " : ""), pupil_buf_json_num(out, a->mean[i]);
    pupil_buf_puts(out, "], \"std\": [");
    for (int i = 0; i < 3; i++) pupil_buf_puts(out, i ? ", " : ""), pupil_buf_json_num(out, a->std[i]);
    pupil_buf_printf(out, "], \"interpolation\": \"%s\", \"resize_mode\": \"%s\"}\n}\n", a->interpolation, a->resize_mode);
}

/* Forward cost of `layers` blocks over n tokens, the last one for its pooled row alone. */
static double blocks_flops(double n, double width, double mlp, double layers, bool causal)
{
    double attend = causal ? (n + 1) / 2 : n;
    double full = 2 * n * (4 * width * width + 2 * width * mlp) + 4 * n * attend * width;
    double last = 2 * n * 3 * width * width + 2 * (width * width + 2 * width * mlp) + 4 * n * width;
    return full * (layers - 1) + last;
}

double pupil_arch_image_flops(const pupil_arch *a)
{
    double side = (double)(a->image_size / a->patch), np = side * side, w = (double)a->image.width;
    return 2 * np * w * 3 * (double)(a->patch * a->patch) + 2 * w * (double)a->embed_dim +
           blocks_flops(np + 1, w, (double)a->image.mlp, (double)a->image.layers, false);
}

double pupil_arch_text_flops(const pupil_arch *a, double tokens)
{
    double w = (double)a->text.width;
    return 2 * w * (double)a->embed_dim + blocks_flops(tokens, w, (double)a->text.mlp, (double)a->text.layers, true);
}
