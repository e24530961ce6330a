/* plain_clip.h: the two towers of every family in double, straight from the definition: every block for every row, no
 * packing of work, no BLAS. What src/model must agree with. Parameters lie as in the model's table. */
#ifndef PUPIL_TESTS_PLAIN_CLIP_H
#define PUPIL_TESTS_PLAIN_CLIP_H

#include "pupil/math.h"
#include "pupil/model.h"

#include "../proof.h"

/* The tensor prefix + name; NULL where the model has none. */
static inline const double *plain_param(pupil_clip *c, const double *params, const char *prefix, const char *name)
{
    char whole[160];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    const pupil_tensor *t = pupil_table_find(pupil_clip_table(c), whole);
    return t ? params + t->offset : NULL;
}

static inline void plain_add(double *y, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

typedef struct {
    const char *prefix; /* "visual.transformer.resblocks.", ... */
    bool trunk;         /* timm's names */
    const pupil_tower_arch *a;
    bool causal, swiglu;
    const double *angle; /* RoPE; NULL: none */
    int64_t tokens, first;
} plain_tower;

/* y = y norm, where the model has that norm. */
static inline void plain_inner(double *y, const double *w, const double *b, int64_t n, int64_t width, double eps)
{
    if (w) pupil_plain_layernorm(y, y, w, b, n, width, eps);
}

/* x[rows,width] through all blocks. */
static inline void plain_blocks(pupil_clip *c, const double *params, const plain_tower *t, double *x, const int32_t *cu, int64_t nseq)
{
#define P(clip, timm) plain_param(c, params, prefix, t->trunk ? timm : clip)
    int64_t n = cu[nseq], w = t->a->width, m = t->a->mlp, hd = w / t->a->heads, wide = t->swiglu ? 2 * m : m;
    double *y = doubles(n * w), *qkv = doubles(n * 3 * w), *att = doubles(n * w), *h = doubles(n * wide), *g = doubles(n * m);
    for (int64_t l = 0; l < t->a->layers; l++) {
        char prefix[96];
        snprintf(prefix, sizeof prefix, "%s%d.", t->prefix, (int)l);
        pupil_plain_layernorm(y, x, P("ln_1.weight", "norm1.weight"), P("ln_1.bias", "norm1.bias"), n, w, t->a->eps);
        pupil_plain_linear(qkv, y, P("attn.in_proj_weight", "attn.qkv.weight"), P("attn.in_proj_bias", "attn.qkv.bias"), n, w, 3 * w);
        if (t->angle) pupil_plain_rope(qkv, t->angle, n, t->tokens, t->first, t->a->heads, hd);
        pupil_plain_attention(att, qkv, cu, nseq, t->a->heads, hd, t->causal, NULL);
        plain_inner(att, P("-", "attn.norm.weight"), P("-", "attn.norm.bias"), n, w, t->a->eps);
        pupil_plain_linear(y, att, P("attn.out_proj.weight", "attn.proj.weight"), P("attn.out_proj.bias", "attn.proj.bias"), n, w, w);
        plain_add(x, y, n * w);
        pupil_plain_layernorm(y, x, P("ln_2.weight", "norm2.weight"), P("ln_2.bias", "norm2.bias"), n, w, t->a->eps);
        pupil_plain_linear(h, y, P("mlp.c_fc.weight", "mlp.fc1.weight"), P("mlp.c_fc.bias", "mlp.fc1.bias"), n, w, wide);
        if (t->swiglu) pupil_plain_swiglu(g, h, n, m);
        for (int64_t i = 0; i < n * m && !t->swiglu; i++) g[i] = pupil_plain_act(h[i], t->a->act);
        plain_inner(g, P("-", "mlp.norm.weight"), P("-", "mlp.norm.bias"), n, m, t->a->eps);
        pupil_plain_linear(y, g, P("mlp.c_proj.weight", "mlp.fc2.weight"), P("mlp.c_proj.bias", "mlp.fc2.bias"), n, m, w);
        plain_add(x, y, n * w);
    }
    DROP(y, qkv, att, h, g);
#undef P
}

/* out[embed] = row projected by a matrix [width, embed], a linear layer [embed, width] with bias, or not at all. */
static inline void plain_project(const double *row, int64_t width, const double *matrix, const double *w, const double *b,
                                 int64_t embed, double *out)
{
    if (matrix) pupil_plain_gemm(false, false, 1, embed, width, 1, row, width, matrix, embed, 0, out, embed);
    else if (w) pupil_plain_linear(out, row, w, b, 1, width, embed);
    else memcpy(out, row, (size_t)width * sizeof *out);
}

/* The MAP head: one query of its own over the rows of each sequence -> out[nseq,width]. */
static inline void plain_map(pupil_clip *c, const double *params, const double *x, const int32_t *cu, int64_t nseq, double *out)
{
#define P(name) plain_param(c, params, "visual.trunk.attn_pool.", name)
    const pupil_arch *a = pupil_clip_arch(c);
    int64_t w = a->image.width, n = cu[nseq], m = a->pool_mlp;
    double *q = doubles(w), *kv = doubles(n * 2 * w), *att = doubles(nseq * w), *y = doubles(nseq * w), *h = doubles(nseq * m);
    pupil_plain_linear(q, P("latent"), P("in_proj_weight"), P("in_proj_bias"), 1, w, w);
    pupil_plain_linear(kv, x, P("in_proj_weight") + w * w, P("in_proj_bias") + w, n, w, 2 * w);
    pupil_plain_pool_attention(att, q, kv, cu, nseq, a->pool_heads, w / a->pool_heads);
    pupil_plain_linear(out, att, P("proj.weight"), P("proj.bias"), nseq, w, w);
    pupil_plain_layernorm(y, out, P("norm.weight"), P("norm.bias"), nseq, w, a->image.eps);
    pupil_plain_linear(h, y, P("mlp.fc1.weight"), P("mlp.fc1.bias"), nseq, w, m);
    for (int64_t i = 0; i < nseq * m; i++) h[i] = pupil_plain_act(h[i], a->image.act);
    pupil_plain_linear(y, h, P("mlp.fc2.weight"), P("mlp.fc2.bias"), nseq, m, w);
    plain_add(out, y, nseq * w);
    DROP(q, kv, att, y, h);
#undef P
}

/* Angles of the patches: the first half of a head's pairs turn with one coordinate, the rest with the other. */
static inline double *plain_angles(const pupil_arch *a)
{
    int64_t n = a->image_size / a->patch, pairs = a->image.width / a->image.heads / 2;
    double *angle = doubles(n * n * pairs);
    for (int64_t row = 0; row < n; row++)
        for (int64_t col = 0; col < n; col++)
            for (int64_t i = 0; i < pairs; i++) {
                bool second = i >= pairs / 2;
                double at = (double)(second == a->rope_xy ? row : col) + a->rope_offset;
                if (a->rope_reference > 0) at *= a->rope_reference / (double)n;
                angle[(row * n + col) * pairs + i] = at / pow(10000, (double)(i - (second ? pairs / 2 : 0)) / (double)(pairs / 2));
            }
    return angle;
}

static inline void plain_image(pupil_clip *c, const double *params, const double *images, int64_t n, double *out)
{
    const pupil_arch *a = pupil_clip_arch(c);
    const char *top = a->trunk_names ? "visual.trunk." : "visual.";
#define P(clip, timm) plain_param(c, params, top, a->trunk_names ? timm : clip)
    int64_t np = (a->image_size / a->patch) * (a->image_size / a->patch), tok = np + a->class_token, w = a->image.width;
    int64_t len = 3 * a->patch * a->patch;
    double *patches = doubles(n * np * len), *rows = doubles(n * np * w), *x = doubles(n * tok * w), *pooled = doubles(n * w);
    double *angle = a->rope ? plain_angles(a) : NULL;
    int32_t *cu = pupil_alloc((size_t)(n + 1) * sizeof *cu);
    pupil_plain_patchify(patches, images, n, a->image_size, a->patch);
    pupil_plain_linear(rows, patches, P("conv1.weight", "patch_embed.proj.weight"), P("-", "patch_embed.proj.bias"), n * np, len, w);
    for (int64_t i = 0; i < n; i++) {
        cu[i + 1] = (int32_t)((i + 1) * tok);
        double *xi = x + i * tok * w;
        if (a->class_token) memcpy(xi, P("class_embedding", "cls_token"), (size_t)w * sizeof *xi);
        memcpy(xi + (tok - np) * w, rows + i * np * w, (size_t)(np * w) * sizeof *xi);
        plain_add(xi, P("positional_embedding", "pos_embed"), tok * w);
    }
    plain_inner(x, P("ln_pre.weight", "norm_pre.weight"), P("ln_pre.bias", "norm_pre.bias"), n * tok, w, a->image.eps);
    plain_blocks(c, params,
                 &(plain_tower){a->trunk_names ? "visual.trunk.blocks." : "visual.transformer.resblocks.", a->trunk_names, &a->image,
                                false, a->swiglu, angle, tok, a->class_token}, x, cu, n);
    pupil_plain_layernorm(x, x, P("ln_post.weight", "norm.weight"), P("ln_post.bias", "norm.bias"), n * tok, w, a->image.eps);
    if (a->pool == PUPIL_POOL_MAP) plain_map(c, params, x, cu, n, pooled);
    for (int64_t i = 0; i < n; i++)
        plain_project(a->pool == PUPIL_POOL_MAP ? pooled + i * w : x + i * tok * w, w, P("proj", "-"), P("-", "head.weight"),
                      P("-", "head.bias"), a->embed_dim, out + i * a->embed_dim);
    DROP(patches, rows, x, pooled, angle, cu);
#undef P
}

/* Rows as given by cu; sequence s is pooled at row pool[s], which need not be its last. */
static inline void plain_text(pupil_clip *c, const double *params, const int32_t *ids, const int32_t *cu, const int32_t *pool,
                              int64_t n, double *out)
{
    const pupil_arch *a = pupil_clip_arch(c);
    const char *top = a->text_prefix ? "text." : "";
#define P(name) plain_param(c, params, top, name)
    int64_t w = a->text.width;
    double *x = doubles(cu[n] * w);
    pupil_plain_embed(x, ids, cu, n, P("token_embedding.weight"), P("positional_embedding"), w);
    plain_blocks(c, params,
                 &(plain_tower){a->text_prefix ? "text.transformer.resblocks." : "transformer.resblocks.", false, &a->text,
                                !a->text_all_to_all, false, NULL, 0, 0}, x, cu, n);
    pupil_plain_layernorm(x, x, P("ln_final.weight"), P("ln_final.bias"), cu[n], w, a->text.eps);
    for (int64_t s = 0; s < n; s++)
        plain_project(x + pool[s] * w, w, P("text_projection"), P("text_projection.weight"), P("text_projection.bias"), a->embed_dim,
                      out + s * a->embed_dim);
    pupil_free(&x);
#undef P
}

#endif
