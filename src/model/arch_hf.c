/* arch_hf.c: Hugging Face's config.json of CLIPModel and SiglipModel, and the preprocessor_config.json beside
 * it, read and written. A key that is absent has the default of transformers' own classes. */
#include "arch.h"

#include <math.h>
#include <string.h>

enum { CLIP, SIGLIP };
static const char *const model_types[] = {"clip", "siglip"};
static const char *const activations[] = {
    [PUPIL_GELU] = "gelu", [PUPIL_QUICK_GELU] = "quick_gelu", [PUPIL_GELU_TANH] = "gelu_pytorch_tanh"};

typedef struct {
    int64_t width, mlp, layers, heads;
    pupil_activation act;
    double eps;
} defaults;
/* by family */
static const defaults of_image[] = {{768, 3072, 12, 12, PUPIL_QUICK_GELU, 1e-5},
                                    {768, 3072, 12, 12, PUPIL_GELU_TANH, 1e-6}};
static const defaults of_text[] = {{512, 2048, 12, 8, PUPIL_QUICK_GELU, 1e-5},
                                   {768, 3072, 12, 12, PUPIL_GELU_TANH, 1e-6}};

static int read_tower(section s, const defaults *d, pupil_tower_arch *t)
{
    int act;
    PUPIL_TRY(arch_whole(s, "hidden_size", d->width, &t->width));
    PUPIL_TRY(arch_whole(s, "intermediate_size", d->mlp, &t->mlp));
    PUPIL_TRY(arch_whole(s, "num_hidden_layers", d->layers, &t->layers));
    PUPIL_TRY(arch_whole(s, "num_attention_heads", d->heads, &t->heads));
    PUPIL_TRY(arch_number(s, "layer_norm_eps", d->eps, &t->eps));
    PUPIL_TRY(arch_word(s, "hidden_act", activations, PUPIL_COUNT(activations), d->act, &act));
    t->act = (pupil_activation)act;
    return 0;
}

/* CLIPConfig lets the old text_config_dict, with its own defaults, win over text_config. */
static int read_section(section root, int family, const char *key, const char *old_key, section *ret)
{
    bool old = family == CLIP && json_is_object(json_object_get(root.o, old_key));
    return arch_section(root, old ? old_key : key, old ? old_key : key, ret);
}

/* CLIPModel pools at the first eos_token_id; where that is 2, as it once was by mistake, at the highest id. */
static int read_end(section t, int64_t vocab)
{
    int64_t end;
    PUPIL_TRY(arch_whole(t, "eos_token_id", 49407, &end));
    return end == 2 || end == vocab - 1
               ? 0
               : arch_refuse(t, "eos_token_id", "texts are pooled at the vocabulary's last id (49407 where it is absent, or 2)");
}

static int read_config(section root, int family, pupil_arch *a)
{
    section v, t;
    int64_t channels, text_out;
    bool head;
    PUPIL_TRY(read_section(root, family, "vision_config", "vision_config_dict", &v));
    PUPIL_TRY(read_section(root, family, "text_config", "text_config_dict", &t));
    PUPIL_TRY(read_tower(v, &of_image[family], &a->image));
    PUPIL_TRY(read_tower(t, &of_text[family], &a->text));
    PUPIL_TRY(arch_whole(v, "image_size", 224, &a->image_size));
    PUPIL_TRY(arch_whole(v, "patch_size", family == CLIP ? 32 : 16, &a->patch));
    PUPIL_TRY(arch_whole(v, "num_channels", 3, &channels));
    if (channels != 3) return arch_refuse(v, "num_channels", "3 was expected");
    PUPIL_TRY(arch_whole(t, "vocab_size", family == CLIP ? 49408 : 32000, &a->vocab));
    PUPIL_TRY(arch_whole(t, "max_position_embeddings", family == CLIP ? 77 : 64, &a->context));
    if (family == CLIP) {
        PUPIL_TRY(read_end(t, a->vocab));
        return arch_whole(root, "projection_dim", 512, &a->embed_dim);
    }
    PUPIL_TRY(arch_bool(v, "vision_use_head", true, &head));
    if (!head) return arch_refuse(v, "vision_use_head", "only pooling by attention is computed");
    if (a->image.eps < 1e-6 || a->image.eps > 1e-6)
        return arch_refuse(v, "layer_norm_eps", "1e-6 alone is computed");
    PUPIL_TRY(arch_whole(t, "projection_size", a->text.width, &text_out));
    if (text_out != a->image.width)
        return pupil_fail(
            PUPIL_EFORMAT,
            "%s: the text tower gives %lld numbers (projection_size), the image tower %lld (hidden_size)",
            root.path, (long long)text_out, (long long)a->image.width);
    a->embed_dim = a->image.width;
    a->class_token = a->pre_norm = false;
    a->patch_bias = a->trunk_names = a->text_all_to_all = a->text_proj_bias = a->text_prefix = a->logit_bias =
        true;
    a->pool = PUPIL_POOL_MAP;
    a->pool_heads = a->image.heads;
    a->pool_mlp = a->image.mlp;
    a->image_proj = PUPIL_PROJ_NONE;
    return 0;
}

/* ---- pixels ---------------------------------------------------------------------------------------- */
/* A size that must be the model's: a whole number, {"shortest_edge": n} or {"height": n, "width": n}. */
static int read_size(section s, const char *key, int64_t otherwise, bool one_is_edge, int64_t wanted,
                     bool *ret_edge)
{
    const json_t *v = json_object_get(s.o, key);
    const json_t *h = json_object_get(v, "height"), *w = json_object_get(v, "width"),
                 *edge = json_object_get(v, "shortest_edge");
    const json_t *n = json_is_integer(v) ? v : edge ? edge : h;
    *ret_edge = json_is_object(v) ? edge != NULL : one_is_edge;
    if (!v || json_is_null(v)) {
        if (otherwise == wanted) return 0;
        return pupil_fail(PUPIL_EFORMAT,
                          "%s: %s is absent, which means %lld; the model sees %lld pixels a side", s.path,
                          key, (long long)otherwise, (long long)wanted);
    }
    if (!json_is_integer(n) || (!edge && json_is_object(v) && !json_equal(h, w)))
        return arch_refuse(s, key,
                           "a number, {\"shortest_edge\": n} or {\"height\": n, \"width\": n} was expected");
    if (json_integer_value(n) == wanted) return 0;
    char why[96];
    snprintf(why, sizeof why, "the model sees %lld pixels a side, and no other size is computed",
             (long long)wanted);
    return arch_refuse(s, key, why);
}

static int refuse_unless(section s, const char *key, const char *why)
{
    bool on;
    PUPIL_TRY(arch_bool(s, key, true, &on));
    return on ? 0 : arch_refuse(s, key, why);
}

/* Mean and std, the filter and the scale from bytes to 0..1. */
static int read_values(section s, pupil_arch *a)
{
    int64_t resample;
    double factor;
    bool normalise;
    PUPIL_TRY(arch_whole(s, "resample", 3, &resample));
    if (resample != 2 && resample != 3)
        return arch_refuse(s, "resample", "2 (bilinear) or 3 (bicubic) was expected");
    strcpy(a->interpolation, resample == 2 ? "bilinear" : "bicubic");
    PUPIL_TRY(refuse_unless(s, "do_rescale", "pixels are always scaled to 0..1"));
    PUPIL_TRY(arch_number(s, "rescale_factor", 1.0 / 255, &factor));
    if (fabs(factor * 255 - 1) > 1e-6) return arch_refuse(s, "rescale_factor", "1/255 was expected");
    PUPIL_TRY(arch_triple(s, "image_mean", a->mean));
    PUPIL_TRY(arch_triple(s, "image_std", a->std));
    PUPIL_TRY(arch_bool(s, "do_normalize", true, &normalise));
    for (int i = 0; i < 3 && !normalise; i++) a->mean[i] = 0, a->std[i] = 1;
    return 0;
}

static int read_processor(section s, int family, pupil_arch *a)
{
    static const char *const types[] = {"CLIPImageProcessor", "CLIPImageProcessorFast",
                                        "CLIPFeatureExtractor", "SiglipImageProcessor",
                                        "SiglipImageProcessorFast"};
    const char *key =
        json_object_get(s.o, "image_processor_type") ? "image_processor_type" : "feature_extractor_type";
    bool crop, edge, crop_edge;
    int type;
    PUPIL_TRY(arch_word(s, key, types, PUPIL_COUNT(types), family == CLIP ? 0 : 3, &type));
    bool clip = type < 3;
    if (!clip)
        for (int i = 0; i < 3; i++) a->mean[i] = a->std[i] = 0.5;
    else {
        pupil_arch own = pupil_arch_clip();
        memcpy(a->mean, own.mean, sizeof a->mean);
        memcpy(a->std, own.std, sizeof a->std);
    }
    PUPIL_TRY(read_values(s, a));
    PUPIL_TRY(refuse_unless(s, "do_resize", "pictures are always resized"));
    PUPIL_TRY(read_size(s, "size", 224, clip, a->image_size, &edge));
    PUPIL_TRY(arch_bool(s, "do_center_crop", clip, &crop));
    if (crop && clip) PUPIL_TRY(read_size(s, "crop_size", 224, false, a->image_size, &crop_edge));
    if (edge && !clip)
        return arch_refuse(s, "size", "SigLIP's processor makes {\"height\": n, \"width\": n}");
    if (edge && !crop)
        return arch_refuse(s, "do_center_crop", "with size.shortest_edge pictures would not become squares");
    strcpy(a->resize_mode, edge ? "shortest-hf" : "squash");
    return 0;
}

/* preprocessor_config.json in the folder of `path`; without one, what the family's processor does by default,
 * but at the model's own size. */
static int read_pixels(const char *path, int family, pupil_arch *a)
{
    const char *slash = strrchr(path, '/');
    char *file = pupil_format("%.*spreprocessor_config.json", slash ? (int)(slash - path + 1) : 0, path);
    json_t *root = NULL;
    int r = pupil_exists(file) ? arch_load(file, &root) : 0;
    if (r == 0 && root) r = read_processor((section){file, "", root}, family, a);
    if (r == 0 && !root) {
        strcpy(a->resize_mode, family == CLIP ? "shortest-hf" : "squash");
        for (int i = 0; i < 3 && family == SIGLIP; i++) a->mean[i] = a->std[i] = 0.5;
        pupil_info("%s: there is none: pixels as %s has them by default (%s, bicubic, mean %g %g %g)", file,
                   family == CLIP ? "CLIP" : "SigLIP", a->resize_mode, a->mean[0], a->mean[1], a->mean[2]);
    }
    json_decref(root);
    pupil_free(&file);
    return r;
}

int arch_from_hf(section root, pupil_arch *a)
{
    const json_t *type = json_object_get(root.o, "model_type");
    if (json_is_string(type) && !strcmp(json_string_value(type), "siglip2"))
        return arch_refuse(root, "model_type",
                           "SigLIP2 with patches of any shape (NaFlex) is not computed; its checkpoints of "
                           "one resolution say \"siglip\"");
    int family;
    PUPIL_TRY(arch_word(root, "model_type", model_types, 2, 0, &family));
    PUPIL_TRY(read_config(root, family, a));
    return read_pixels(root.path, family, a);
}

/* ---- writing --------------------------------------------------------------------------------------- */
static void write_tower(const char *type, const pupil_tower_arch *t, pupil_buf *out)
{
    pupil_buf_printf(out,
                     "  \"model_type\": \"%s\",\n  \"hidden_size\": %lld,\n  \"intermediate_size\": %lld,\n  "
                     "\"num_hidden_layers\": %lld,\n"
                     "  \"num_attention_heads\": %lld,\n  \"hidden_act\": \"%s\",\n  \"layer_norm_eps\": ",
                     type, (long long)t->width, (long long)t->mlp, (long long)t->layers, (long long)t->heads,
                     activations[t->act]);
    pupil_buf_json_num(out, t->eps);
}

static void write_config(const pupil_arch *a, int family, pupil_buf *out)
{
    bool clip = family == CLIP;
    pupil_buf_printf(
        out, "{\n \"architectures\": [\"%s\"],\n \"model_type\": \"%s\",\n \"initializer_factor\": 1.0,\n",
        clip ? "CLIPModel" : "SiglipModel", model_types[family]);
    if (clip)
        pupil_buf_printf(out, " \"projection_dim\": %lld,\n \"logit_scale_init_value\": 2.6592,\n",
                         (long long)a->embed_dim);
    pupil_buf_puts(out, " \"text_config\": {\n");
    write_tower(clip ? "clip_text_model" : "siglip_text_model", &a->text, out);
    pupil_buf_printf(out,
                     ",\n  \"max_position_embeddings\": %lld,\n  \"vocab_size\": %lld,\n  \"%s\": %lld,\n  "
                     "\"attention_dropout\": 0.0,\n",
                     (long long)a->context, (long long)a->vocab, clip ? "projection_dim" : "projection_size",
                     (long long)a->embed_dim);
    /* CLIPModel pools at the first id that is eos_token_id */
    if (clip)
        pupil_buf_printf(out, "  \"bos_token_id\": %lld,\n  \"eos_token_id\": %lld,\n",
                         (long long)(a->vocab - 2), (long long)(a->vocab - 1));
    pupil_buf_puts(out, "  \"pad_token_id\": 1\n },\n \"vision_config\": {\n");
    write_tower(clip ? "clip_vision_model" : "siglip_vision_model", &a->image, out);
    if (clip) pupil_buf_printf(out, ",\n  \"projection_dim\": %lld", (long long)a->embed_dim);
    pupil_buf_printf(out,
                     ",\n  \"num_channels\": 3,\n  \"image_size\": %lld,\n  \"patch_size\": %lld,\n  "
                     "\"attention_dropout\": 0.0\n }\n}\n",
                     (long long)a->image_size, (long long)a->patch);
}

static void write_triple(const char *name, const double x[3], pupil_buf *out)
{
    pupil_buf_printf(out, " \"%s\": [", name);
    for (int i = 0; i < 3; i++) pupil_buf_puts(out, i ? ", " : ""), pupil_buf_json_num(out, x[i]);
    pupil_buf_puts(out, "]");
}

static void write_processor(const pupil_arch *a, int family, pupil_buf *out)
{
    bool squash = !strcmp(a->resize_mode, "squash"), siglip = family == SIGLIP && squash;
    long long n = (long long)a->image_size;
    pupil_buf_printf(
        out, "{\n \"image_processor_type\": \"%s\",\n \"do_convert_rgb\": true,\n \"do_resize\": true,\n",
        siglip ? "SiglipImageProcessor" : "CLIPImageProcessor");
    pupil_buf_printf(out,
                     squash ? " \"size\": {\"height\": %lld, \"width\": %lld},\n"
                            : " \"size\": {\"shortest_edge\": %lld},\n",
                     n, n);
    if (!siglip)
        pupil_buf_printf(out,
                         " \"do_center_crop\": %s,\n \"crop_size\": {\"height\": %lld, \"width\": %lld},\n",
                         squash ? "false" : "true", n, n);
    pupil_buf_printf(out,
                     " \"resample\": %d,\n \"do_rescale\": true,\n \"rescale_factor\": "
                     "0.00392156862745098,\n \"do_normalize\": true,\n",
                     strcmp(a->interpolation, "bilinear") ? 3 : 2);
    write_triple("image_mean", a->mean, out);
    pupil_buf_puts(out, ",\n");
    write_triple("image_std", a->std, out);
    pupil_buf_puts(out, "\n}\n");
}

/* Nothing beyond what CLIPModel, or SiglipModel, computes. */
static bool plain_clip(const pupil_arch *a)
{
    return !strcmp(pupil_arch_family(a), "CLIP") && !a->trunk_names && a->class_token && a->pre_norm &&
           !a->patch_bias && a->image_proj == PUPIL_PROJ_MATRIX && !a->text_all_to_all &&
           !a->text_proj_bias && !a->text_prefix && !a->logit_bias;
}

static bool plain_siglip(const pupil_arch *a)
{
    return !strcmp(pupil_arch_family(a), "SigLIP") && a->trunk_names && !a->class_token && !a->pre_norm &&
           a->patch_bias && a->image_proj == PUPIL_PROJ_NONE && a->pool_heads == a->image.heads &&
           a->pool_mlp == a->image.mlp && a->text_all_to_all && a->text_proj_bias && a->text_prefix &&
           a->logit_bias;
}

int pupil_arch_to_hf(const pupil_arch *a, pupil_buf *config, pupil_buf *preprocessor)
{
    int family = plain_siglip(a) ? SIGLIP : CLIP;
    if (family == CLIP && !plain_clip(a))
        return pupil_fail(PUPIL_EUSER,
                          "this %s model has parts that neither CLIPModel nor SiglipModel of Hugging Face "
                          "has; open_clip's format has them",
                          pupil_arch_family(a));
    if (!strcmp(a->resize_mode, "longest"))
        return pupil_fail(PUPIL_EUSER, "resize_mode longest: Hugging Face's processors of CLIP and SigLIP "
                                       "cannot do that; open_clip's format can");
    write_config(a, family, config);
    write_processor(a, family, preprocessor);
    return 0;
}
