/* clip.c: the two towers of CLIP (Radford et al. 2021) over the flat parameter array.
 *   image: patches -> linear -> [class | patches] + positions -> ln_pre -> blocks -> class row -> ln_post -> proj
 *   text:  token + position embedding -> causal blocks -> end-token row -> ln_final -> text_projection */
#include "tower.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

struct pupil_clip {
    pupil_arch arch;
    pupil_table table;
    tower image, text;
    int64_t v_class, v_pos, v_conv, v_pre_w, v_pre_b, v_post_w, v_post_b, v_proj;
    int64_t t_table, t_pos, t_final_w, t_final_b, t_proj, scale;
    int64_t image_end, text_end; /* first offset after each tower */
};

/* One tower's side of a micro-batch. */
typedef struct {
    tower_acts t;
    int64_t n;                 /* sequences of the last forward */
    int32_t *cu, *pool;
    float *pooled, *mean, *rstd; /* ln_post/ln_final of the pooled rows */
} side;

struct pupil_acts {
    side image, text;
    float *patches;                    /* [n*np, 3pp] */
    float *pre, *pre_mean, *pre_rstd;  /* the stream before ln_pre */
    int32_t *ids;
};

struct pupil_scratch {
    tower_scratch image, text;
    float *patch_rows; /* [n*np, max(width, 3pp)] */
    float *dpool;      /* [n, max width] */
    float *dpooled;
};

static int64_t side_of(const pupil_arch *a) { return a->image_size / a->patch; }
static int64_t tokens_of(const pupil_arch *a) { return side_of(a) * side_of(a) + 1; }

static int64_t add1(pupil_table *t, const char *name, int64_t n, pupil_init init, double value)
{
    return pupil_table_add(t, name, 1, (int64_t[]){n}, init, value);
}

static int64_t add2(pupil_table *t, const char *name, int64_t rows, int64_t cols, double std)
{
    return pupil_table_add(t, name, 2, (int64_t[]){rows, cols}, PUPIL_INIT_NORMAL, std);
}

pupil_clip *pupil_clip_new(const pupil_arch *a)
{
    pupil_clip *c = pupil_alloc(sizeof *c);
    pupil_table *t = &c->table;
    c->arch = *a;
    c->image = (tower){a->image.width, a->image.layers, a->image.heads, a->image.mlp, false, a->image.act, (float)a->image.eps, NULL};
    c->text = (tower){a->text.width, a->text.layers, a->text.heads, a->text.mlp, true, a->text.act, (float)a->text.eps, NULL};
    double vs = pow((double)a->image.width, -0.5);
    c->v_class = add1(t, "visual.class_embedding", a->image.width, PUPIL_INIT_NORMAL, vs);
    c->v_pos = add2(t, "visual.positional_embedding", tokens_of(a), a->image.width, vs);
    c->v_conv = pupil_table_add(t, "visual.conv1.weight", 4, (int64_t[]){a->image.width, 3, a->patch, a->patch},
                                PUPIL_INIT_NORMAL, pow(3.0 * (double)(a->patch * a->patch), -0.5));
    c->v_pre_w = add1(t, "visual.ln_pre.weight", a->image.width, PUPIL_INIT_CONST, 1);
    c->v_pre_b = add1(t, "visual.ln_pre.bias", a->image.width, PUPIL_INIT_CONST, 0);
    tower_add(&c->image, t, "visual.");
    c->v_post_w = add1(t, "visual.ln_post.weight", a->image.width, PUPIL_INIT_CONST, 1);
    c->v_post_b = add1(t, "visual.ln_post.bias", a->image.width, PUPIL_INIT_CONST, 0);
    c->v_proj = add2(t, "visual.proj", a->image.width, a->embed_dim, vs);
    c->image_end = t->total;
    c->t_table = add2(t, "token_embedding.weight", a->vocab, a->text.width, 0.02);
    c->t_pos = add2(t, "positional_embedding", a->context, a->text.width, 0.01);
    tower_add(&c->text, t, "");
    c->t_final_w = add1(t, "ln_final.weight", a->text.width, PUPIL_INIT_CONST, 1);
    c->t_final_b = add1(t, "ln_final.bias", a->text.width, PUPIL_INIT_CONST, 0);
    c->t_proj = add2(t, "text_projection", a->text.width, a->embed_dim, pow((double)a->text.width, -0.5));
    c->text_end = t->total;
    c->scale = pupil_table_add(t, "logit_scale", 0, NULL, PUPIL_INIT_CONST, 2.659260036932778 /* ln(1/0.07) */);
    return c;
}

void pupil_clip_free(pupil_clip **c)
{
    if (!*c) return;
    tower_free(&(*c)->image);
    tower_free(&(*c)->text);
    pupil_table_free(&(*c)->table);
    pupil_free(c);
}

const pupil_arch *pupil_clip_arch(const pupil_clip *c) { return &c->arch; }
pupil_table *pupil_clip_table(pupil_clip *c) { return &c->table; }
double pupil_clip_scale(const pupil_clip *c, const float *params) { return exp((double)params[c->scale]); }
int64_t pupil_clip_scale_offset(const pupil_clip *c) { return c->scale; }

int64_t pupil_clip_params(const pupil_clip *c, int which)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->table.n; i++) {
        const pupil_tensor *t = &c->table.t[i];
        int in = t->offset < c->image_end ? 0 : t->offset < c->text_end ? 1 : 2;
        if (in == which || (which < 0 && t->offset <= c->scale)) n += t->count;
    }
    return n;
}

static void side_new(side *s, const tower *t, int64_t rows, int64_t batch, bool keep)
{
    tower_acts_new(&s->t, t, rows, batch, keep);
    s->cu = pupil_alloc((size_t)(batch + 1) * sizeof *s->cu);
    s->pool = pupil_alloc((size_t)batch * sizeof *s->pool);
    s->pooled = pupil_alloc((size_t)(batch * t->width) * sizeof *s->pooled);
    s->mean = pupil_alloc((size_t)batch * sizeof *s->mean);
    s->rstd = pupil_alloc((size_t)batch * sizeof *s->rstd);
}

static void side_free(side *s)
{
    tower_acts_free(&s->t);
    pupil_free(&s->cu);
    pupil_free(&s->pool);
    pupil_free(&s->pooled);
    pupil_free(&s->mean);
    pupil_free(&s->rstd);
}

pupil_acts *pupil_acts_new(const pupil_clip *c, int64_t batch, bool keep)
{
    const pupil_arch *a = &c->arch;
    int64_t rows = batch * tokens_of(a), np = tokens_of(a) - 1;
    pupil_acts *x = pupil_alloc(sizeof *x);
    side_new(&x->image, &c->image, rows, batch, keep);
    side_new(&x->text, &c->text, batch * a->context, batch, keep);
    x->patches = pupil_alloc((size_t)(batch * np * 3 * a->patch * a->patch) * sizeof *x->patches);
    x->pre = pupil_alloc((size_t)(rows * a->image.width) * sizeof *x->pre);
    x->pre_mean = pupil_alloc((size_t)rows * sizeof *x->pre_mean);
    x->pre_rstd = pupil_alloc((size_t)rows * sizeof *x->pre_rstd);
    x->ids = pupil_alloc((size_t)(batch * a->context) * sizeof *x->ids);
    return x;
}

void pupil_acts_free(pupil_acts **a)
{
    if (!*a) return;
    side_free(&(*a)->image);
    side_free(&(*a)->text);
    pupil_free(&(*a)->patches);
    pupil_free(&(*a)->pre);
    pupil_free(&(*a)->pre_mean);
    pupil_free(&(*a)->pre_rstd);
    pupil_free(&(*a)->ids);
    pupil_free(a);
}

pupil_scratch *pupil_scratch_new(const pupil_clip *c, int64_t batch)
{
    const pupil_arch *a = &c->arch;
    pupil_scratch *s = pupil_alloc(sizeof *s);
    int64_t np = tokens_of(a) - 1, wide = PUPIL_MAX(a->image.width, 3 * a->patch * a->patch);
    tower_scratch_new(&s->image, &c->image, batch * tokens_of(a));
    tower_scratch_new(&s->text, &c->text, batch * a->context);
    s->patch_rows = pupil_alloc((size_t)(batch * np * wide) * sizeof *s->patch_rows);
    int64_t w = PUPIL_MAX(a->image.width, a->text.width);
    s->dpool = pupil_alloc((size_t)(batch * w) * sizeof *s->dpool);
    s->dpooled = pupil_alloc((size_t)(batch * w) * sizeof *s->dpooled);
    return s;
}

void pupil_scratch_free(pupil_scratch **s)
{
    if (!*s) return;
    tower_scratch_free(&(*s)->image);
    tower_scratch_free(&(*s)->text);
    pupil_free(&(*s)->patch_rows);
    pupil_free(&(*s)->dpool);
    pupil_free(&(*s)->dpooled);
    pupil_free(s);
}

double pupil_acts_bytes(const pupil_arch *a, int64_t batch, double tokens, bool keep)
{
    tower v = {.width = a->image.width, .layers = a->image.layers, .mlp = a->image.mlp};
    tower t = {.width = a->text.width, .layers = a->text.layers, .mlp = a->text.mlp};
    double image = (double)tokens_of(a) * (tower_row_floats(&v, keep) + (double)(a->image.width + 3 * a->patch * a->patch));
    return 4.0 * (double)batch * (image + tokens * tower_row_floats(&t, keep));
}

/* features = LN(pooled rows) proj */
static void head_forward(const tower *t, const float *params, int64_t ln_w, int64_t ln_b, int64_t proj, int64_t embed,
                         side *s, float *out)
{
    pupil_layernorm_forward(s->pooled, s->mean, s->rstd, s->t.out, params + ln_w, params + ln_b, s->n, t->width, t->eps);
    pupil_gemm(false, false, s->n, embed, t->width, 1, s->pooled, t->width, params + proj, embed, 0, out, embed);
}

static void head_backward(const tower *t, const float *params, int64_t ln_w, int64_t ln_b, int64_t proj, int64_t embed,
                          side *s, const float *dout, float *grads, float *dpooled, float *dpool)
{
    int64_t w = t->width;
    pupil_gemm(true, false, w, embed, s->n, 1, s->pooled, w, dout, embed, 1, grads + proj, embed);
    pupil_gemm(false, true, s->n, w, embed, 1, dout, embed, params + proj, embed, 0, dpooled, w);
    pupil_layernorm_backward(dpool, grads + ln_w, grads + ln_b, dpooled, s->t.out, s->mean, s->rstd, params + ln_w, s->n,
                             w, false);
}

void pupil_image_forward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *images,
                         int64_t n, float *out)
{
    const pupil_arch *arch = &c->arch;
    int64_t w = arch->image.width, tok = tokens_of(arch), np = tok - 1, len = 3 * arch->patch * arch->patch;
    side *v = &a->image;
    PUPIL_REQUIRE(n * tok <= v->t.rows);
    v->n = n;
    for (int64_t i = 0; i <= n; i++) v->cu[i] = (int32_t)(i * tok);
    for (int64_t i = 0; i < n; i++) v->pool[i] = (int32_t)(i * tok);
    pupil_patchify(a->patches, images, n, arch->image_size, arch->patch);
    pupil_linear_forward(s->patch_rows, a->patches, params + c->v_conv, NULL, n * np, len, w);
    for (int64_t i = 0; i < n; i++) {
        float *x = a->pre + i * tok * w;
        memcpy(x, params + c->v_class, (size_t)w * sizeof *x);
        memcpy(x + w, s->patch_rows + i * np * w, (size_t)(np * w) * sizeof *x);
        pupil_add(x, params + c->v_pos, tok * w);
    }
    pupil_layernorm_forward(v->t.block[0].x, a->pre_mean, a->pre_rstd, a->pre, params + c->v_pre_w, params + c->v_pre_b,
                            n * tok, w, c->image.eps);
    tower_forward(&c->image, params, &v->t, &(packing){v->cu, v->pool, n});
    head_forward(&c->image, params, c->v_post_w, c->v_post_b, c->v_proj, arch->embed_dim, v, out);
}

void pupil_image_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout,
                          float *grads, float *dimages)
{
    const pupil_arch *arch = &c->arch;
    int64_t w = arch->image.width, tok = tokens_of(arch), np = tok - 1, len = 3 * arch->patch * arch->patch;
    side *v = &a->image;
    head_backward(&c->image, params, c->v_post_w, c->v_post_b, c->v_proj, arch->embed_dim, v, dout, grads, s->dpooled,
                  s->dpool);
    tower_backward(&c->image, params, &v->t, &s->image, &(packing){v->cu, v->pool, v->n}, s->dpool, grads);
    float *dpre = s->image.dln;
    pupil_layernorm_backward(dpre, grads + c->v_pre_w, grads + c->v_pre_b, s->image.dx, a->pre, a->pre_mean, a->pre_rstd,
                             params + c->v_pre_w, v->n * tok, w, false);
    for (int64_t i = 0; i < v->n; i++) {
        const float *d = dpre + i * tok * w;
        pupil_add(grads + c->v_class, d, w);
        pupil_add(grads + c->v_pos, d, tok * w);
        memcpy(s->patch_rows + i * np * w, d + w, (size_t)(np * w) * sizeof *d);
    }
    pupil_gemm(true, false, w, len, v->n * np, 1, s->patch_rows, w, a->patches, len, 1, grads + c->v_conv, len);
    if (!dimages) return;
    pupil_gemm(false, false, v->n * np, len, w, 1, s->patch_rows, w, params + c->v_conv, len, 0, a->patches, len);
    pupil_unpatchify(dimages, a->patches, v->n, arch->image_size, arch->patch);
}

void pupil_text_forward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const int32_t *ids,
                        const int32_t *cu, int64_t n, float *out)
{
    (void)s;
    side *t = &a->text;
    PUPIL_REQUIRE(n * c->arch.context <= t->t.rows);
    for (int64_t i = 0; i < n; i++) PUPIL_REQUIRE(cu[i] < cu[i + 1] && cu[i + 1] - cu[i] <= c->arch.context);
    for (int64_t i = 0; i < cu[n]; i++) PUPIL_REQUIRE(ids[i] >= 0 && ids[i] < c->arch.vocab);
    t->n = n;
    memcpy(t->cu, cu, (size_t)(n + 1) * sizeof *cu);
    memcpy(a->ids, ids, (size_t)cu[n] * sizeof *ids);
    for (int64_t i = 0; i < n; i++) t->pool[i] = cu[i + 1] - 1;
    pupil_embed_forward(t->t.block[0].x, ids, cu, n, params + c->t_table, params + c->t_pos, c->arch.text.width);
    tower_forward(&c->text, params, &t->t, &(packing){t->cu, t->pool, n});
    head_forward(&c->text, params, c->t_final_w, c->t_final_b, c->t_proj, c->arch.embed_dim, t, out);
}

void pupil_text_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout,
                         float *grads)
{
    side *t = &a->text;
    head_backward(&c->text, params, c->t_final_w, c->t_final_b, c->t_proj, c->arch.embed_dim, t, dout, grads, s->dpooled,
                  s->dpool);
    tower_backward(&c->text, params, &t->t, &s->text, &(packing){t->cu, t->pool, t->n}, s->dpool, grads);
    pupil_embed_backward(grads + c->t_table, grads + c->t_pos, s->text.dx, a->ids, t->cu, t->n, c->arch.text.width);
}
