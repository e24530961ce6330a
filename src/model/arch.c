/* arch.c: what an architecture is: CLIP's parts, the limits of sizes, presets (open_clip's model_configs),
 * and the model sections of a YAML file. */
#include "arch.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t embed, image, patch, v_width, v_layers, v_head;
    double v_ratio;
    int64_t t_width, t_heads, t_layers;
} presets[] = {
    {"ViT-T-16", 512, 224, 16, 192, 12, 64, 4, 384, 6, 12},
    {"ViT-S-32", 384, 224, 32, 384, 12, 64, 4, 384, 6, 12},
    {"ViT-S-16", 384, 224, 16, 384, 12, 64, 4, 384, 6, 12},
    {"ViT-M-32", 512, 224, 32, 512, 12, 64, 4, 512, 8, 12},
    {"ViT-M-16", 512, 224, 16, 512, 12, 64, 4, 512, 8, 12},
    {"ViT-B-32", 512, 224, 32, 768, 12, 64, 4, 512, 8, 12},
    {"ViT-B-16", 512, 224, 16, 768, 12, 64, 4, 512, 8, 12},
    {"ViT-L-16", 768, 224, 16, 1024, 24, 64, 4, 768, 12, 12},
    {"ViT-L-14", 768, 224, 14, 1024, 24, 64, 4, 768, 12, 12},
    {"ViT-L-14-336", 768, 336, 14, 1024, 24, 64, 4, 768, 12, 12},
    {"ViT-H-14", 1024, 224, 14, 1280, 32, 80, 4, 1024, 16, 24},
    {"ViT-g-14", 1024, 224, 14, 1408, 40, 88, 4.3637, 1024, 16, 24},
    {"ViT-bigG-14", 1280, 224, 14, 1664, 48, 104, 4.9231, 1280, 20, 32},
};

pupil_arch pupil_arch_clip(void)
{
    return (pupil_arch){.image = {.eps = 1e-5},
                        .text = {.eps = 1e-5},
                        .context = 77,
                        .class_token = true,
                        .pre_norm = true,
                        .image_proj = PUPIL_PROJ_MATRIX,
                        .mean = {0.48145466, 0.4578275, 0.40821073},
                        .std = {0.26862954, 0.26130258, 0.27577711},
                        .interpolation = "bicubic",
                        .resize_mode = "shortest"};
}

const char *pupil_arch_family(const pupil_arch *a)
{
    if (a->rope) return a->swiglu ? "EVA02" : "PE-Core";
    return a->pool == PUPIL_POOL_MAP ? "SigLIP" : a->no_k_bias ? "EVA01" : "CLIP";
}

int64_t arch_mlp(int64_t width, double ratio)
{
    return ratio > 0 && ratio < 1 << 20 && width > 0 && width < 1 << 20 ? (int64_t)((double)width * ratio)
                                                                        : -1;
}

double arch_ratio(int64_t mlp, int64_t width)
{
    double ratio = (double)mlp / (double)width;
    return (int64_t)((double)width * ratio) < mlp ? nextafter(ratio, INFINITY) : ratio;
}

static int check_sizes(const pupil_arch *a, const char *what)
{
    const int64_t map = a->pool == PUPIL_POOL_MAP;
    const struct {
        const char *name;
        int64_t v, max;
    } sizes[] = {{"image_size", a->image_size, 4096},
                 {"patch_size", a->patch, 1024},
                 {"vision_width", a->image.width, 16384},
                 {"vision_layers", a->image.layers, 256},
                 {"vision heads", a->image.heads, 1024},
                 {"vision mlp width", a->image.mlp, 131072},
                 {"context_length", a->context, 4096},
                 {"vocab_size", a->vocab, 1 << 22},
                 {"text_width", a->text.width, 16384},
                 {"text_layers", a->text.layers, 256},
                 {"text_heads", a->text.heads, 1024},
                 {"text mlp width", a->text.mlp, 131072},
                 {"embed_dim", a->embed_dim, 16384},
                 {"attention pooling heads", map ? a->pool_heads : 1, 1024},
                 {"attention pooling mlp width", map ? a->pool_mlp : 1, 131072}};
    for (int i = 0; i < PUPIL_COUNT(sizes); i++)
        if (sizes[i].v < 1 || sizes[i].v > sizes[i].max)
            return pupil_fail(PUPIL_EUSER, "%s: %s is %lld, expected 1 to %lld%s", what, sizes[i].name,
                              (long long)sizes[i].v, (long long)sizes[i].max,
                              sizes[i].v == 0 ? "; give it, or a preset name" : "");
    return 0;
}

/* What the sizes must be of each other. */
static int check_fit(const pupil_arch *a, const char *what)
{
    int64_t w = a->image.width, heads = a->image.heads;
    if (a->image_size < a->patch)
        return pupil_fail(PUPIL_EUSER, "%s: image_size %lld is less than patch_size %lld", what,
                          (long long)a->image_size, (long long)a->patch);
    if (w % heads || a->text.width % a->text.heads)
        return pupil_fail(PUPIL_EUSER,
                          "%s: a width is no multiple of its heads (vision %lld/%lld, text %lld/%lld)", what,
                          (long long)w, (long long)heads, (long long)a->text.width, (long long)a->text.heads);
    if (a->pool == PUPIL_POOL_MAP && w % a->pool_heads)
        return pupil_fail(PUPIL_EUSER,
                          "%s: vision_width %lld is no multiple of the %lld heads of attention pooling", what,
                          (long long)w, (long long)a->pool_heads);
    if (a->rope && w / heads % 4)
        return pupil_fail(PUPIL_EUSER,
                          "%s: vision head width %lld is no multiple of 4, which rotary positions need", what,
                          (long long)(w / heads));
    if (a->rope && !(a->rope_reference >= 0 && a->rope_reference <= 4096 && fabs(a->rope_offset) <= 4096))
        return pupil_fail(PUPIL_EUSER,
                          "%s: rotary positions on a grid of %g with offset %g, expected 0 to 4096", what,
                          a->rope_reference, a->rope_offset);
    if (a->image_proj == PUPIL_PROJ_NONE && a->embed_dim != w)
        return pupil_fail(PUPIL_EUSER,
                          "%s: embed_dim %lld is not the vision width %lld, and there is no image projection",
                          what, (long long)a->embed_dim, (long long)w);
    if (!a->trunk_names && (a->image.act == PUPIL_QUICK_GELU) != (a->text.act == PUPIL_QUICK_GELU))
        return pupil_fail(
            PUPIL_EUSER,
            "%s: only one of the towers has quick_gelu; open_clip's models have it in both or none", what);
    const double eps[] = {a->image.eps, a->text.eps};
    for (int i = 0; i < 2; i++)
        if (!(eps[i] > 0 && eps[i] < 1))
            return pupil_fail(PUPIL_EUSER, "%s: a layer norm's eps is %g, expected between 0 and 1", what,
                              eps[i]);
    return 0;
}

int arch_check(const pupil_arch *a, const char *what)
{
    PUPIL_TRY(check_sizes(a, what));
    PUPIL_TRY(check_fit(a, what));
    for (int i = 0; i < 3; i++)
        if (!(a->std[i] > 0))
            return pupil_fail(PUPIL_EUSER, "%s: preprocess std is %g, expected more than 0", what, a->std[i]);
    return 0;
}

static void set(int64_t *to, int64_t from)
{
    if (from > 0) *to = from;
}

static int take_preset(const pupil_conf_model *conf, const char *what, pupil_arch *a, int64_t *head_width,
                       double *ratio)
{
    int i = 0;
    while (i < PUPIL_COUNT(presets) && strcmp(presets[i].name, conf->name)) i++;
    if (i == PUPIL_COUNT(presets)) {
        pupil_buf b = {0};
        for (int k = 0; k < i; k++)
            pupil_buf_printf(&b, "%s%s", k == 0 ? "" : k + 1 < i ? ", " : " or ", presets[k].name);
        int r = pupil_fail(PUPIL_EUSER, "%s.name: no preset '%s', expected %s", what, conf->name, b.s);
        pupil_buf_free(&b);
        return r;
    }
    a->embed_dim = presets[i].embed;
    a->image_size = presets[i].image;
    a->patch = presets[i].patch;
    a->image.width = presets[i].v_width;
    a->image.layers = presets[i].v_layers;
    a->text.width = presets[i].t_width;
    a->text.heads = presets[i].t_heads;
    a->text.layers = presets[i].t_layers;
    *head_width = presets[i].v_head;
    *ratio = presets[i].v_ratio;
    return 0;
}

/* Sizes and activation that the section gives, and what follows from them. */
static int take_sizes(const pupil_conf_model *conf, const char *what, int64_t head_width, double ratio,
                      double text_ratio, pupil_arch *a)
{
    set(&a->image_size, conf->image_size);
    set(&a->patch, conf->patch_size);
    set(&a->image.width, conf->vision_width);
    set(&a->image.layers, conf->vision_layers);
    set(&head_width, conf->vision_head_width);
    set(&a->text.width, conf->text_width);
    set(&a->text.layers, conf->text_layers);
    set(&a->text.heads, conf->text_heads);
    set(&a->context, conf->context_length);
    set(&a->embed_dim, conf->embed_dim);
    if (conf->act != PUPIL_ACT_PRESET)
        a->image.act = a->text.act = conf->act == PUPIL_ACT_QUICK_GELU ? PUPIL_QUICK_GELU : PUPIL_GELU;
    if (a->image.width && a->image.width % head_width)
        return pupil_fail(PUPIL_EUSER, "%s: vision_width %lld is no multiple of vision_head_width %lld", what,
                          (long long)a->image.width, (long long)head_width);
    a->image.heads = a->image.width / head_width;
    a->image.mlp = arch_mlp(a->image.width, ratio);
    a->text.mlp = arch_mlp(a->text.width, text_ratio);
    set(&a->image.mlp, conf->vision_mlp);
    set(&a->text.mlp, conf->text_mlp);
    return 0;
}

static int check_new(const pupil_arch *a, const char *what)
{
    PUPIL_TRY(arch_check(a, what));
    if (a->image_size % a->patch) /* published models may leave the last pixels out; in a new one it is a slip */
        return pupil_fail(PUPIL_EUSER, "%s: image_size %lld is no multiple of patch_size %lld", what,
                          (long long)a->image_size, (long long)a->patch);
    return 0;
}

int pupil_arch_from_conf(const pupil_conf_model *conf, int64_t vocab, const char *what, pupil_arch *ret)
{
    pupil_arch a = pupil_arch_clip();
    int64_t head_width = 64;
    double ratio = 4;
    if (conf->name) PUPIL_TRY(take_preset(conf, what, &a, &head_width, &ratio));
    PUPIL_TRY(take_sizes(conf, what, head_width, ratio, 4, &a));
    a.vocab = vocab;
    if (a.text.heads == 0) a.text.heads = PUPIL_MAX(1, a.text.width / 64);
    PUPIL_TRY(check_new(&a, what));
    *ret = a;
    return 0;
}

int pupil_arch_like(const pupil_arch *base, const pupil_conf_model *conf, const char *what, pupil_arch *ret)
{
    pupil_arch a = *base;
    int64_t head_width = base->image.width / base->image.heads, text_head = base->text.width / base->text.heads;
    double ratio = arch_ratio(base->image.mlp, base->image.width);
    if (conf->name) PUPIL_TRY(take_preset(conf, what, &a, &head_width, &ratio));
    PUPIL_TRY(take_sizes(conf, what, head_width, ratio, arch_ratio(base->text.mlp, base->text.width), &a));
    if (!conf->text_heads && !conf->name) a.text.heads = a.text.width / text_head;
    if (base->pool == PUPIL_POOL_MAP) { /* heads of attention pooling keep their width, too */
        a.pool_heads = a.image.width / (base->image.width / base->pool_heads);
        a.pool_mlp = base->pool_mlp == base->image.mlp
                         ? a.image.mlp
                         : arch_mlp(a.image.width, arch_ratio(base->pool_mlp, base->image.width));
    }
    if (a.image_proj == PUPIL_PROJ_NONE && !conf->embed_dim) a.embed_dim = a.image.width;
    PUPIL_TRY(check_new(&a, what));
    *ret = a;
    return 0;
}
