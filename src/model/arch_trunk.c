/* arch_trunk.c: timm's trunks that open_clip puts under "visual.trunk.": SigLIP's and SigLIP2's ViTs, EVA01
 * and EVA02, and PE-Core's. A name stands for sizes (timm's models/vision_transformer.py and eva.py);
 * timm_model_kwargs override them. */
#include "arch.h"

#include <string.h>

typedef enum { SIGLIP, EVA01, EVA02, PE } kind;

#define SIZES(w, l, h, r) .width = (w), .depth = (l), .heads = (h), .ratio = (r)
#define BASE              SIZES(768, 12, 12, 4)
#define LARGE             SIZES(1024, 24, 16, 4)
#define SO400M            SIZES(1152, 27, 16, 3.7362)
#define GIANTOPT          SIZES(1536, 40, 16, 4)
#define EVA_GIANT         SIZES(1408, 40, 16, 6144.0 / 1408)

/* clang-format off */
static const struct trunk {
    const char *name;
    kind kind;
    int64_t image, patch, width, depth, heads;
    double ratio, grid; /* mlp width / width; the grid that rotary positions are of */
    bool tanh, headless; /* SigLIP: GELU in its tanh form. PE: no class token, and patches are counted from 0 */
} trunks[] = {
    {"vit_base_patch16_siglip_224", SIGLIP, 224, 16, BASE},
    {"vit_base_patch16_siglip_256", SIGLIP, 256, 16, BASE},
    {"vit_base_patch16_siglip_384", SIGLIP, 384, 16, BASE},
    {"vit_base_patch16_siglip_512", SIGLIP, 512, 16, BASE},
    {"vit_base_patch32_siglip_256", SIGLIP, 256, 32, BASE, .tanh = true},
    {"vit_large_patch16_siglip_256", SIGLIP, 256, 16, LARGE},
    {"vit_large_patch16_siglip_384", SIGLIP, 384, 16, LARGE},
    {"vit_large_patch16_siglip_512", SIGLIP, 512, 16, LARGE, .tanh = true},
    {"vit_so400m_patch14_siglip_224", SIGLIP, 224, 14, SO400M},
    {"vit_so400m_patch14_siglip_378", SIGLIP, 378, 14, SO400M},
    {"vit_so400m_patch14_siglip_384", SIGLIP, 384, 14, SO400M},
    {"vit_so400m_patch16_siglip_256", SIGLIP, 256, 16, SO400M, .tanh = true},
    {"vit_so400m_patch16_siglip_384", SIGLIP, 384, 16, SO400M, .tanh = true},
    {"vit_so400m_patch16_siglip_512", SIGLIP, 512, 16, SO400M, .tanh = true},
    {"vit_giantopt_patch16_siglip_256", SIGLIP, 256, 16, GIANTOPT, .tanh = true},
    {"vit_giantopt_patch16_siglip_384", SIGLIP, 384, 16, GIANTOPT, .tanh = true},
    {"eva_giant_patch14_clip_224", EVA01, 224, 14, EVA_GIANT},
    {"eva_giant_patch14_224", EVA01, 224, 14, EVA_GIANT},
    {"eva02_base_patch16_clip_224", EVA02, 224, 16, SIZES(768, 12, 12, 8.0 / 3), .grid = 16},
    {"eva02_large_patch14_clip_224", EVA02, 224, 14, SIZES(1024, 24, 16, 8.0 / 3), .grid = 16},
    {"eva02_large_patch14_clip_336", EVA02, 336, 14, SIZES(1024, 24, 16, 8.0 / 3), .grid = 16},
    {"vit_pe_core_tiny_patch16_384", PE, 384, 16, SIZES(192, 12, 3, 4), .grid = 24},
    {"vit_pe_core_small_patch16_384", PE, 384, 16, SIZES(384, 12, 6, 4), .grid = 24},
    {"vit_pe_core_base_patch16_224", PE, 224, 16, BASE, .grid = 14},
    {"vit_pe_core_large_patch14_336", PE, 336, 14, LARGE, .grid = 24},
    {"vit_pe_core_gigantic_patch14_448", PE, 448, 14, SIZES(1536, 50, 16, 8960.0 / 1536), .grid = 32, .headless = true},
};
/* clang-format on */

/* Words of kwargs that change nothing at inference, and those that are read. */
#define COMMON                                                                                               \
    "img_size patch_size embed_dim depth num_heads mlp_ratio drop_rate pos_drop_rate patch_drop_rate "       \
    "proj_drop_rate attn_drop_rate drop_path_rate"
static const char *const kwargs_of[] = {
    [SIGLIP] = COMMON " act_layer",
    [EVA01] = COMMON,
    [EVA02] = COMMON " ref_feat_shape rope_grid_offset rope_grid_indexing",
    [PE] = COMMON
    " ref_feat_shape rope_grid_offset rope_grid_indexing class_token attn_pool_num_heads attn_pool_mlp_ratio",
};
static const char *const activations[] = {
    [PUPIL_GELU] = "gelu", [PUPIL_QUICK_GELU] = "quick_gelu", [PUPIL_GELU_TANH] = "gelu_tanh"};
static const char *const indexings[] = {"ij", "xy"};

/* A whole number, or [n, n]. */
static int square(section s, const char *key, int64_t otherwise, int64_t *ret)
{
    const json_t *v = json_object_get(s.o, key);
    if (!json_is_array(v)) return arch_whole(s, key, otherwise, ret);
    const json_t *x = json_array_get(v, 0), *y = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(x) || !json_equal(x, y))
        return arch_refuse(s, key, "a square was expected");
    *ret = (int64_t)json_integer_value(x);
    return 0;
}

static int read_sizes(section kw, const struct trunk *t, pupil_arch *a)
{
    double ratio;
    int act;
    PUPIL_TRY(square(kw, "img_size", t->image, &a->image_size));
    PUPIL_TRY(square(kw, "patch_size", t->patch, &a->patch));
    PUPIL_TRY(arch_whole(kw, "embed_dim", t->width, &a->image.width));
    PUPIL_TRY(arch_whole(kw, "depth", t->depth, &a->image.layers));
    PUPIL_TRY(arch_whole(kw, "num_heads", t->heads, &a->image.heads));
    PUPIL_TRY(arch_number(kw, "mlp_ratio", t->ratio, &ratio));
    PUPIL_TRY(arch_word(kw, "act_layer", activations, PUPIL_COUNT(activations),
                        t->tanh ? PUPIL_GELU_TANH : PUPIL_GELU, &act));
    a->image.mlp = arch_mlp(a->image.width, ratio);
    a->image.act = (pupil_activation)act;
    a->image.eps = t->kind == PE ? 1e-5 : 1e-6;
    if (t->kind == SIGLIP) a->pool_heads = a->image.heads, a->pool_mlp = a->image.mlp;
    return 0;
}

static int read_rope(section kw, const struct trunk *t, pupil_arch *a)
{
    int64_t grid;
    int xy;
    PUPIL_TRY(square(kw, "ref_feat_shape", (int64_t)t->grid, &grid));
    PUPIL_TRY(arch_number(kw, "rope_grid_offset", t->kind == PE && !t->headless, &a->rope_offset));
    PUPIL_TRY(arch_word(kw, "rope_grid_indexing", indexings, 2, t->kind == PE, &xy));
    if (grid < 1) return arch_refuse(kw, "ref_feat_shape", "more than 0 was expected");
    a->rope = true;
    a->rope_reference = (double)grid;
    a->rope_xy = xy;
    return 0;
}

static int read_pe(section kw, const struct trunk *t, pupil_arch *a)
{
    double ratio;
    PUPIL_TRY(arch_bool(kw, "class_token", !t->headless, &a->class_token));
    PUPIL_TRY(arch_whole(kw, "attn_pool_num_heads", 8, &a->pool_heads));
    PUPIL_TRY(arch_number(kw, "attn_pool_mlp_ratio", 4, &ratio));
    a->pool_mlp = arch_mlp(a->image.width, ratio);
    return 0;
}

/* timm_pool and timm_proj: open_clip's defaults (avg, linear) are none of what is computed. */
static int read_head(section v, bool map, pupil_arch *a)
{
    const char *const pools[] = {map ? "map" : "token"};
    const json_t *proj = json_object_get(v.o, "timm_proj");
    const char *word = json_string_value(proj);
    int i;
    PUPIL_TRY(arch_word(v, "timm_pool", pools, 1, 1, &i));
    if (json_is_null(proj) || (word && !*word)) a->image_proj = PUPIL_PROJ_LINEAR;
    else if (word && !strcmp(word, "none")) a->image_proj = PUPIL_PROJ_NONE;
    else return arch_refuse(v, "timm_proj", "null (the trunk's own linear head) or \"none\" was expected");
    return 0;
}

static const struct trunk *find(const char *name)
{
    size_t n = strcspn(name, "."); /* a pretrained tag may follow */
    for (int i = 0; i < PUPIL_COUNT(trunks); i++)
        if (strlen(trunks[i].name) == n && !strncmp(trunks[i].name, name, n)) return &trunks[i];
    return NULL;
}

int arch_trunk_read(section v, pupil_arch *a)
{
    const char *name = json_string_value(json_object_get(v.o, "timm_model_name"));
    const struct trunk *t = name ? find(name) : NULL;
    if (!t)
        return arch_refuse(v, "timm_model_name",
                           "computed are vit_*_siglip_*, eva_giant_patch14_224, eva02_*_clip_* (base, large) "
                           "and vit_pe_core_*");
    section kw;
    int64_t size;
    PUPIL_TRY(arch_section(v, "timm_model_kwargs", "vision_cfg.timm_model_kwargs", &kw));
    PUPIL_TRY(arch_known(kw, kwargs_of[t->kind]));
    bool map = t->kind == SIGLIP || t->kind == PE;
    a->trunk_names = true;
    a->class_token = !map;
    a->pre_norm = t->kind == PE;
    a->patch_bias = t->kind != PE;
    a->pool = map ? PUPIL_POOL_MAP : PUPIL_POOL_CLASS;
    a->no_k_bias = t->kind == EVA01 || t->kind == EVA02;
    a->swiglu = a->inner_norm = t->kind == EVA02;
    PUPIL_TRY(read_head(v, map, a));
    PUPIL_TRY(read_sizes(kw, t, a));
    if (t->kind == EVA02 || t->kind == PE) PUPIL_TRY(read_rope(kw, t, a));
    if (t->kind == PE) PUPIL_TRY(read_pe(kw, t, a));
    PUPIL_TRY(square(v, "image_size", a->image_size, &size));
    if (size != a->image_size)
        return arch_refuse(v, "image_size",
                           "the trunk (its name, or timm_model_kwargs.img_size) has another");
    return 0;
}

/* The trunk of a's kind that has most of its sizes. */
static const struct trunk *fitting(const pupil_arch *a, kind k)
{
    const struct trunk *best = NULL;
    int most = -1;
    for (int i = 0; i < PUPIL_COUNT(trunks); i++) {
        const struct trunk *t = &trunks[i];
        if (t->kind != k) continue;
        int fits = 4 * (t->width == a->image.width) + 2 * (t->patch == a->patch) +
                   (t->image == a->image_size) + (t->headless == !a->class_token) +
                   (t->tanh == (a->image.act == PUPIL_GELU_TANH));
        if (fits > most) most = fits, best = t;
    }
    return best;
}

void arch_trunk_write(const pupil_arch *a, pupil_buf *out)
{
    kind k = a->rope ? a->swiglu ? EVA02 : PE : a->pool == PUPIL_POOL_MAP ? SIGLIP : EVA01;
    pupil_buf_printf(out,
                     "\"image_size\": %lld, \"timm_model_name\": \"%s\", \"timm_model_pretrained\": false, "
                     "\"timm_pool\": \"%s\", \"timm_proj\": %s,\n",
                     (long long)a->image_size, fitting(a, k)->name,
                     a->pool == PUPIL_POOL_MAP ? "map" : "token",
                     a->image_proj == PUPIL_PROJ_NONE ? "\"none\"" : "null");
    pupil_buf_printf(out,
                     "   \"timm_model_kwargs\": {\"img_size\": %lld, \"patch_size\": %lld, \"embed_dim\": "
                     "%lld, \"depth\": %lld, \"num_heads\": %lld, \"mlp_ratio\": ",
                     (long long)a->image_size, (long long)a->patch, (long long)a->image.width,
                     (long long)a->image.layers, (long long)a->image.heads);
    pupil_buf_json_num(out, arch_ratio(a->image.mlp, a->image.width));
    if (k == SIGLIP) pupil_buf_printf(out, ", \"act_layer\": \"%s\"", activations[a->image.act]);
    if (a->rope) {
        pupil_buf_printf(out,
                         ", \"ref_feat_shape\": %lld, \"rope_grid_indexing\": \"%s\", \"rope_grid_offset\": ",
                         (long long)a->rope_reference, indexings[a->rope_xy]);
        pupil_buf_json_num(out, a->rope_offset);
    }
    if (k == PE) {
        pupil_buf_printf(out,
                         ", \"class_token\": %s, \"attn_pool_num_heads\": %lld, \"attn_pool_mlp_ratio\": ",
                         a->class_token ? "true" : "false", (long long)a->pool_heads);
        pupil_buf_json_num(out, arch_ratio(a->pool_mlp, a->image.width));
    }
    pupil_buf_puts(out, "}");
}
