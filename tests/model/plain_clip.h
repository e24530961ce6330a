/* plain_clip.h: CLIP's two towers in double, straight from the definition: every block for every row, no
 * packing of work, no BLAS. What src/model must agree with. Parameters lie as in the model's table. */
#ifndef PUPIL_TESTS_PLAIN_CLIP_H
#define PUPIL_TESTS_PLAIN_CLIP_H

#include "pupil/math.h"
#include "pupil/model.h"

#include "../proof.h"

static inline const double *plain_param(pupil_clip *c, const double *params, const char *fmt,
                                        const char *prefix, int64_t layer)
{
    char name[96];
    snprintf(name, sizeof name, fmt, prefix, (int)layer);
    const pupil_tensor *t = pupil_table_find(pupil_clip_table(c), name);
    CHECK(t, "no tensor %s", name);
    return params + t->offset;
}

static inline void plain_add(double *y, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

typedef struct {
    const char *prefix; /* "visual." or "" */
    int64_t width, layers, heads, mlp;
    bool causal;
    pupil_activation act;
} plain_tower;

/* x[rows,width] through all blocks. */
static inline void plain_blocks(pupil_clip *c, const double *params, const plain_tower *t, double *x,
                                const int32_t *cu, int64_t nseq)
{
#define P(what) plain_param(c, params, "%stransformer.resblocks.%d." what, t->prefix, l)
    int64_t n = cu[nseq], w = t->width, m = t->mlp;
    double *y = doubles(n * w), *qkv = doubles(n * 3 * w), *att = doubles(n * w), *h = doubles(n * m);
    for (int64_t l = 0; l < t->layers; l++) {
        pupil_plain_layernorm(y, x, P("ln_1.weight"), P("ln_1.bias"), n, w, 1e-5);
        pupil_plain_linear(qkv, y, P("attn.in_proj_weight"), P("attn.in_proj_bias"), n, w, 3 * w);
        pupil_plain_attention(att, qkv, cu, nseq, t->heads, w / t->heads, t->causal, NULL);
        pupil_plain_linear(y, att, P("attn.out_proj.weight"), P("attn.out_proj.bias"), n, w, w);
        plain_add(x, y, n * w);
        pupil_plain_layernorm(y, x, P("ln_2.weight"), P("ln_2.bias"), n, w, 1e-5);
        pupil_plain_linear(h, y, P("mlp.c_fc.weight"), P("mlp.c_fc.bias"), n, w, m);
        for (int64_t i = 0; i < n * m; i++) h[i] = pupil_plain_act(h[i], t->act);
        pupil_plain_linear(y, h, P("mlp.c_proj.weight"), P("mlp.c_proj.bias"), n, m, w);
        plain_add(x, y, n * w);
    }
    DROP(y, qkv, att, h);
#undef P
}

/* out[nseq,embed] = LN(x[pool[s]]) proj */
static inline void plain_head(pupil_clip *c, const double *params, const double *x, const int32_t *pool,
                              int64_t nseq, int64_t width, const char *ln, const char *proj, double *out)
{
    int64_t embed = pupil_clip_arch(c)->embed_dim;
    char name[2][96];
    snprintf(name[0], sizeof name[0], "%s.weight", ln);
    snprintf(name[1], sizeof name[1], "%s.bias", ln);
    double *row = doubles(width);
    for (int64_t s = 0; s < nseq; s++) {
        pupil_plain_layernorm(row, x + pool[s] * width, plain_param(c, params, name[0], "", 0),
                              plain_param(c, params, name[1], "", 0), 1, width, 1e-5);
        pupil_plain_gemm(false, false, 1, embed, width, 1, row, width, plain_param(c, params, proj, "", 0),
                         embed, 0, out + s * embed, embed);
    }
    pupil_free(&row);
}

static inline void plain_image(pupil_clip *c, const double *params, const double *images, int64_t n,
                               double *out)
{
    const pupil_arch *a = pupil_clip_arch(c);
    int64_t side = a->image_size / a->patch, np = side * side, tok = np + 1, w = a->image.width,
            len = 3 * a->patch * a->patch;
    double *patches = doubles(n * np * len), *rows = doubles(n * np * w), *x = doubles(n * tok * w),
           *pre = doubles(n * tok * w);
    int32_t *cu = pupil_alloc((size_t)(n + 1) * sizeof *cu);
    pupil_plain_patchify(patches, images, n, a->image_size, a->patch);
    pupil_plain_linear(rows, patches, plain_param(c, params, "visual.conv1.weight", "", 0), NULL, n * np, len,
                       w);
    for (int64_t i = 0; i < n; i++) {
        cu[i + 1] = (int32_t)((i + 1) * tok);
        double *xi = pre + i * tok * w;
        memcpy(xi, plain_param(c, params, "visual.class_embedding", "", 0), (size_t)w * sizeof *xi);
        memcpy(xi + w, rows + i * np * w, (size_t)(np * w) * sizeof *xi);
        plain_add(xi, plain_param(c, params, "visual.positional_embedding", "", 0), tok * w);
    }
    pupil_plain_layernorm(x, pre, plain_param(c, params, "visual.ln_pre.weight", "", 0),
                          plain_param(c, params, "visual.ln_pre.bias", "", 0), n * tok, w, 1e-5);
    plain_blocks(c, params,
                 &(plain_tower){"visual.", w, a->image.layers, a->image.heads, a->image.mlp, false, a->image.act}, x, cu,
                 n);
    plain_head(c, params, x, cu, n, w, "visual.ln_post", "visual.proj", out);
    DROP(patches, rows, x, pre, cu);
}

/* Rows as given by cu; sequence s is pooled at row pool[s], which need not be its last. */
static inline void plain_text(pupil_clip *c, const double *params, const int32_t *ids, const int32_t *cu,
                              const int32_t *pool, int64_t n, double *out)
{
    const pupil_arch *a = pupil_clip_arch(c);
    double *x = doubles(cu[n] * a->text.width);
    pupil_plain_embed(x, ids, cu, n, plain_param(c, params, "token_embedding.weight", "", 0),
                      plain_param(c, params, "positional_embedding", "", 0), a->text.width);
    plain_blocks(c, params,
                 &(plain_tower){"", a->text.width, a->text.layers, a->text.heads, a->text.mlp, true, a->text.act}, x,
                 cu, n);
    plain_head(c, params, x, pool, n, a->text.width, "ln_final", "text_projection", out);
    pupil_free(&x);
}

#endif
