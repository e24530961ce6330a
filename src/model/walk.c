/* walk.c: the two walks over a model's table, forward and backward.
 *   image: patches (or some of them) -> linear -> [class | patches] + positions -> (norm) -> blocks -> class row -> norm -> projection
 *                                                              or: -> blocks -> norm -> attention pooling (-> projection)
 *   text:  token + position embedding -> blocks -> last row -> norm -> projection
 * Forward takes weights wherever they are; backward wants the flat array, and forward's activations. */
#include "clip.h"

#include <string.h>

/* out[n,embed] = x[n,width] projected; -1: no such tensor. Rows of w count from the piece. */
static void project(const float *w, int64_t proj, int64_t bias, const float *x, int64_t n, int64_t width, int64_t embed, float *out)
{
    if (proj < 0) memcpy(out, x, (size_t)(n * width) * sizeof *out);
    else if (bias >= 0) pupil_linear_forward(out, x, w + proj, w + bias, n, width, embed);
    else pupil_gemm(false, false, n, embed, width, 1, x, width, w + proj, embed, 0, out, embed);
}

static void project_backward(const float *w, float *g, int64_t proj, int64_t bias, const float *x, const float *dout, int64_t n,
                             int64_t width, int64_t embed, float *dx)
{
    if (proj < 0) {
        memcpy(dx, dout, (size_t)(n * width) * sizeof *dx);
    } else if (bias >= 0) {
        pupil_linear_backward(dx, g + proj, g + bias, dout, x, w + proj, n, width, embed);
    } else {
        pupil_gemm(true, false, width, embed, n, 1, x, width, dout, embed, 1, g + proj, embed);
        pupil_gemm(false, true, n, width, embed, 1, dout, embed, w + proj, embed, 0, dx, width);
    }
}

/* ---- image ---------------------------------------------------------------------------------------- */
/* rows[n,kept,len] = the patches kept of rows[n,np,len], in place. */
static void keep_patches(const pupil_acts *a, int64_t n, int64_t np, int64_t len)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < a->kept; j++)
            memmove(a->patches + (i * a->kept + j) * len, a->patches + (i * np + a->patch[i * a->kept + j]) * len, (size_t)len * sizeof *a->patches);
}

/* x[rows of image i] += their positions, or (back) d/dpositions += x. */
static void add_positions(const pupil_clip *c, const pupil_acts *a, int64_t i, const float *w, float *g, float *x, bool back)
{
    int64_t own = c->arch.class_token, width = c->arch.image.width, rows = a->kept + own;
    bool all = a->kept == clip_patches(&c->arch);
    for (int64_t r = 0; r < (all ? 1 : rows); r++) {
        int64_t at = (r < own || all ? r : own + a->patch[i * a->kept + r - own]) * width, n = all ? rows * width : width;
        if (back) pupil_add(g + at, x + r * width, n);
        else pupil_add(x + r * width, w + at, n);
    }
}

static void image_stem(const pupil_clip *c, const float *w, pupil_acts *a, pupil_scratch *s, const float *images, int64_t n)
{
    const pupil_arch *arch = &c->arch;
    int64_t width = arch->image.width, np = a->kept, tok = np + arch->class_token, len = 3 * arch->patch * arch->patch;
    pupil_patchify(a->patches, images, n, arch->image_size, arch->patch);
    if (np < clip_patches(arch)) keep_patches(a, n, clip_patches(arch), len);
    pupil_linear_forward(s->patch_rows, a->patches, w + c->v_conv, c->v_conv_b < 0 ? NULL : w + c->v_conv_b, n * np, len, width);
    float *stream = a->image.t.block[0].x, *pre = arch->pre_norm ? a->pre : stream;
    for (int64_t i = 0; i < n; i++) {
        float *x = pre + i * tok * width;
        if (arch->class_token) memcpy(x, w + c->v_class, (size_t)width * sizeof *x);
        memcpy(x + (tok - np) * width, s->patch_rows + i * np * width, (size_t)(np * width) * sizeof *x);
        add_positions(c, a, i, w + c->v_pos, NULL, x, false);
    }
    if (arch->pre_norm)
        pupil_layernorm_forward(stream, a->pre_mean, a->pre_rstd, pre, w + c->v_pre_w, w + c->v_pre_b, n * tok, width, c->image.eps);
}

void pupil_image_forward_patches(const pupil_clip *c, pupil_weights *weights, pupil_acts *a, pupil_scratch *s, const float *images,
                                 int64_t n, const int32_t *patch, int64_t kept, float *out)
{
    const pupil_arch *arch = &c->arch;
    a->kept = kept ? kept : clip_patches(arch);
    int64_t width = arch->image.width, tok = a->kept + arch->class_token;
    bool map = arch->pool == PUPIL_POOL_MAP;
    side *v = &a->image;
    PUPIL_REQUIRE(n * tok <= v->t.rows && (!kept || !arch->rope));
    if (kept) memcpy(a->patch, patch, (size_t)(n * kept) * sizeof *patch);
    v->n = n;
    for (int64_t i = 0; i <= n; i++) v->cu[i] = (int32_t)(i * tok);
    for (int64_t i = 0; i < n; i++) v->pool[i] = (int32_t)(i * tok);
    image_stem(c, weights_span(weights, c->v_stem.at, c->v_stem.count), a, s, images, n);
    tower_forward(&c->image, weights, &v->t, &(packing){v->cu, v->pool, n});
    const float *w = weights_span(weights, c->v_head.at, c->v_head.count);
    pupil_layernorm_forward(v->norm, v->mean, v->rstd, v->t.out, w + c->v_post_w, w + c->v_post_b, map ? n * tok : n, width,
                            c->image.eps);
    if (map) pool_forward(&c->map, w, &a->map, v->norm, v->cu, n);
    project(w, c->v_proj, c->v_proj_b, map ? a->map.out : v->norm, n, width, arch->embed_dim, out);
}

void pupil_image_forward(const pupil_clip *c, pupil_weights *weights, pupil_acts *a, pupil_scratch *s, const float *images,
                         int64_t n, float *out)
{
    pupil_image_forward_patches(c, weights, a, s, images, n, NULL, 0, out);
}

static void image_stem_backward(const pupil_clip *c, const float *w, pupil_acts *a, pupil_scratch *s, float *g, float *dimages)
{
    const pupil_arch *arch = &c->arch;
    int64_t n = a->image.n, width = arch->image.width, np = a->kept, tok = np + arch->class_token;
    int64_t len = 3 * arch->patch * arch->patch;
    float *dpre = s->image.dx;
    if (arch->pre_norm) {
        dpre = s->image.dln;
        pupil_layernorm_backward(dpre, g + c->v_pre_w, g + c->v_pre_b, s->image.dx, a->pre, a->pre_mean, a->pre_rstd,
                                 w + c->v_pre_w, n * tok, width, false);
    }
    for (int64_t i = 0; i < n; i++) {
        float *d = dpre + i * tok * width;
        if (arch->class_token) pupil_add(g + c->v_class, d, width);
        add_positions(c, a, i, NULL, g + c->v_pos, d, true);
        memcpy(s->patch_rows + i * np * width, d + (tok - np) * width, (size_t)(np * width) * sizeof *d);
    }
    pupil_linear_backward(NULL, g + c->v_conv, c->v_conv_b < 0 ? NULL : g + c->v_conv_b, s->patch_rows, a->patches, w + c->v_conv,
                          n * np, len, width);
    if (!dimages) return;
    pupil_gemm(false, false, n * np, len, width, 1, s->patch_rows, width, w + c->v_conv, len, 0, a->patches, len);
    pupil_unpatchify(dimages, a->patches, n, arch->image_size, arch->patch);
}

void pupil_image_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout,
                          float *grads, float *dimages)
{
    const pupil_arch *arch = &c->arch;
    side *v = &a->image;
    int64_t n = v->n, width = arch->image.width, rows = n * (a->kept + arch->class_token), to = c->walk_to[0];
    PUPIL_REQUIRE(!dimages || (to == 0 && a->kept == clip_patches(arch)));
    if (to > c->image.layers + 1) return;
    bool map = arch->pool == PUPIL_POOL_MAP;
    const float *w = params + c->v_head.at;
    float *g = grads + c->v_head.at;
    project_backward(w, g, c->v_proj, c->v_proj_b, map ? a->map.out : v->norm, dout, n, width, arch->embed_dim, s->dpooled);
    if (map) {
        memcpy(s->dpool, s->dpooled, (size_t)(n * width) * sizeof *s->dpool);
        pool_backward(&c->map, w, &a->map, &s->map, v->norm, v->cu, n, s->dpool, s->dpooled, g);
    }
    pupil_layernorm_backward(s->image.dx, g + c->v_post_w, g + c->v_post_b, s->dpooled, v->t.out, v->mean, v->rstd, w + c->v_post_w,
                             map ? rows : n, width, false);
    grads_are_final(&s->tell, c->v_head.at, c->v_head.at + c->v_head.count);
    if (to <= c->image.layers)
        tower_backward(&c->image, params, &v->t, &s->image, &(packing){v->cu, v->pool, n}, grads, c->image.layers, PUPIL_MAX(to - 1, (int64_t)0), &s->tell);
    if (to > 0) return;
    image_stem_backward(c, params + c->v_stem.at, a, s, grads + c->v_stem.at, dimages);
    grads_are_final(&s->tell, c->v_stem.at, c->v_stem.at + c->v_stem.count);
}

/* ---- text ----------------------------------------------------------------------------------------- */
void pupil_text_forward(const pupil_clip *c, pupil_weights *weights, pupil_acts *a, pupil_scratch *s, const int32_t *ids,
                        const int32_t *cu, int64_t n, float *out)
{
    (void)s;
    side *t = &a->text;
    int64_t width = c->text.width;
    PUPIL_REQUIRE(n * c->arch.context <= t->t.rows);
    for (int64_t i = 0; i < n; i++) PUPIL_REQUIRE(cu[i] < cu[i + 1] && cu[i + 1] - cu[i] <= c->arch.context);
    for (int64_t i = 0; i < cu[n]; i++) PUPIL_REQUIRE(ids[i] >= 0 && ids[i] < c->arch.vocab);
    t->n = n;
    memcpy(t->cu, cu, (size_t)(n + 1) * sizeof *cu);
    memcpy(a->ids, ids, (size_t)cu[n] * sizeof *ids);
    for (int64_t i = 0; i < n; i++) t->pool[i] = cu[i + 1] - 1;
    const int32_t *row;
    const float *table = weights_rows(weights, c->t_table, width, ids, cu[n], &row);
    pupil_embed_forward(t->t.block[0].x, row, cu, n, table, weights_span(weights, c->t_stem.at, c->t_stem.count) + c->t_pos, width);
    tower_forward(&c->text, weights, &t->t, &(packing){t->cu, t->pool, n});
    const float *w = weights_span(weights, c->t_head.at, c->t_head.count);
    pupil_layernorm_forward(t->norm, t->mean, t->rstd, t->t.out, w + c->t_final_w, w + c->t_final_b, n, width, c->text.eps);
    project(w, c->t_proj, c->t_proj_b, t->norm, n, width, c->arch.embed_dim, out);
}

void pupil_text_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout,
                         float *grads)
{
    side *t = &a->text;
    int64_t width = c->text.width, to = c->walk_to[1];
    if (to > c->text.layers + 1) return;
    const float *w = params + c->t_head.at;
    float *g = grads + c->t_head.at;
    project_backward(w, g, c->t_proj, c->t_proj_b, t->norm, dout, t->n, width, c->arch.embed_dim, s->dpooled);
    pupil_layernorm_backward(s->text.dx, g + c->t_final_w, g + c->t_final_b, s->dpooled, t->t.out, t->mean, t->rstd,
                             w + c->t_final_w, t->n, width, false);
    grads_are_final(&s->tell, c->t_head.at, c->t_head.at + c->t_head.count);
    if (to <= c->text.layers)
        tower_backward(&c->text, params, &t->t, &s->text, &(packing){t->cu, t->pool, t->n}, grads, c->text.layers, PUPIL_MAX(to - 1, (int64_t)0), &s->tell);
    if (to > 0) return;
    pupil_embed_backward(grads + c->t_table, grads + c->t_stem.at + c->t_pos, s->text.dx, a->ids, t->cu, t->n, width);
    grads_are_final(&s->tell, c->t_table, c->t_stem.at + c->t_stem.count);
}

/* ---- token features ------------------------------------------------------------------------------- */
static void tokens(const tower *t, const side *s, float *out)
{
    int64_t width = t->width;
    float *ones = pupil_alloc((size_t)(2 * width) * sizeof *ones), *zeros = ones + width;
    for (int64_t j = 0; j < width; j++) ones[j] = 1;
    pupil_layernorm_forward(out, NULL, NULL, s->t.block[t->layers - 1].x, ones, zeros, s->cu[s->n], width, t->eps);
    pupil_free(&ones);
}

void pupil_image_tokens(const pupil_clip *c, const pupil_acts *a, float *out) { tokens(&c->image, &a->image, out); }
void pupil_text_tokens(const pupil_clip *c, const pupil_acts *a, float *out) { tokens(&c->text, &a->text, out); }

/* dout[rows,width] of the features -> s->dx, the gradient of the stream that enters the tower's first block. */
static void tokens_backward(const tower *t, const float *params, side *x, tower_scratch *s, const float *dout, float *grads)
{
    const block_acts *last = &x->t.block[t->layers - 1];
    float *ones = pupil_alloc((size_t)(3 * t->width) * sizeof *ones), *unwanted = ones + t->width;
    for (int64_t j = 0; j < t->width; j++) ones[j] = 1;
    pupil_layernorm_backward(s->dx, unwanted, unwanted + t->width, dout, last->x, last->mean1, last->rstd1, ones, x->cu[x->n], t->width, false);
    pupil_free(&ones);
    tower_backward(t, params, &x->t, s, &(packing){x->cu, x->pool, x->n}, grads, t->layers - 1, 0, &(pupil_grads_final){0});
}

void pupil_image_tokens_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout, float *grads)
{
    tokens_backward(&c->image, params, &a->image, &s->image, dout, grads);
    image_stem_backward(c, params + c->v_stem.at, a, s, grads + c->v_stem.at, NULL);
}

void pupil_text_tokens_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout, float *grads)
{
    side *t = &a->text;
    tokens_backward(&c->text, params, t, &s->text, dout, grads);
    pupil_embed_backward(grads + c->t_table, grads + c->t_stem.at + c->t_pos, s->text.dx, a->ids, t->cu, t->n, c->text.width);
}
