/* clip.c: a model's table, for every family of pupil_arch, and the memory of its walks (walk.c). Names are open_clip's:
 * its own ViT ("visual.transformer..."), or timm's under "visual.trunk.", two of which stand for what files keep in
 * several tensors: "attn.qkv" and "attn_pool.in_proj" (layout.c). */
#include "clip.h"

#include <math.h>
#include <string.h>

static int64_t add(pupil_clip *c, const piece *p, const char *name, int ndim, const int64_t *shape, pupil_init init, double value)
{
    return pupil_table_add(&c->table, name, ndim, shape, init, value) - p->at;
}

static int64_t add1(pupil_clip *c, const piece *p, const char *name, int64_t n, pupil_init init, double value)
{
    return add(c, p, name, 1, (int64_t[]){n}, init, value);
}

static int64_t add2(pupil_clip *c, const piece *p, const char *name, int64_t rows, int64_t cols, double std)
{
    return add(c, p, name, 2, (int64_t[]){rows, cols}, PUPIL_INIT_NORMAL, std);
}

static piece begin(const pupil_clip *c) { return (piece){.at = c->table.total}; }
static void end(const pupil_clip *c, piece *p) { p->count = c->table.total - p->at; }

/* Angles of patch (row, column): a quarter of the head's width for one coordinate, a quarter for the other, each
 * times 10000^(-i/bands) (timm's "cat" form). */
static void rope_tables(tower *t, const pupil_arch *a)
{
    int64_t across = a->image_size / a->patch, hd = t->width / t->heads, bands = hd / 4;
    t->rope_tokens = clip_tokens(a);
    t->rope_first = a->class_token;
    t->cosine = pupil_alloc((size_t)(across * across * hd / 2) * sizeof *t->cosine);
    t->sine = pupil_alloc((size_t)(across * across * hd / 2) * sizeof *t->sine);
    for (int64_t p = 0; p < across * across; p++) {
        int64_t at[2] = {p / across, p % across};
        for (int64_t i = 0; i < 2 * bands; i++) {
            double x = (double)at[(i >= bands) != a->rope_xy] + a->rope_offset;
            if (a->rope_reference > 0) x = x / (double)across * a->rope_reference;
            double angle = x * pow(10000, -(double)(i % bands) / (double)bands);
            t->cosine[p * 2 * bands + i] = (float)cos(angle);
            t->sine[p * 2 * bands + i] = (float)sin(angle);
        }
    }
}

static void add_image_tower(pupil_clip *c)
{
    const pupil_arch *a = &c->arch;
    bool trunk = a->trunk_names;
    int64_t w = a->image.width;
    double std = pow((double)w, -0.5);
    c->v_stem = begin(c);
    piece *s = &c->v_stem;
    c->v_class = c->v_conv_b = c->v_pre_w = c->v_pre_b = c->v_proj = c->v_proj_b = -1;
    if (a->class_token) c->v_class = add1(c, s, trunk ? "visual.trunk.cls_token" : "visual.class_embedding", w, PUPIL_INIT_NORMAL, std);
    c->v_pos = add2(c, s, trunk ? "visual.trunk.pos_embed" : "visual.positional_embedding", clip_tokens(a), w, std);
    c->v_conv = add(c, s, trunk ? "visual.trunk.patch_embed.proj.weight" : "visual.conv1.weight", 4,
                    (int64_t[]){w, 3, a->patch, a->patch}, PUPIL_INIT_NORMAL, pow(3.0 * (double)(a->patch * a->patch), -0.5));
    if (a->patch_bias) c->v_conv_b = add1(c, s, "visual.trunk.patch_embed.proj.bias", w, PUPIL_INIT_CONST, 0);
    if (a->pre_norm) {
        c->v_pre_w = add1(c, s, trunk ? "visual.trunk.norm_pre.weight" : "visual.ln_pre.weight", w, PUPIL_INIT_CONST, 1);
        c->v_pre_b = add1(c, s, trunk ? "visual.trunk.norm_pre.bias" : "visual.ln_pre.bias", w, PUPIL_INIT_CONST, 0);
    }
    end(c, s);
    c->image = (tower){.width = w, .layers = a->image.layers, .heads = a->image.heads, .mlp = a->image.mlp, .act = a->image.act,
                       .eps = (float)a->image.eps, .all_rows = a->pool == PUPIL_POOL_MAP, .swiglu = a->swiglu,
                       .inner_norm = a->inner_norm, .no_k_bias = a->no_k_bias, .trunk_names = trunk};
    if (a->rope) rope_tables(&c->image, a);
    tower_add(&c->image, &c->table, trunk ? "visual.trunk." : "visual.");
    c->v_head = begin(c);
    piece *h = &c->v_head;
    c->v_post_w = add1(c, h, trunk ? "visual.trunk.norm.weight" : "visual.ln_post.weight", w, PUPIL_INIT_CONST, 1);
    c->v_post_b = add1(c, h, trunk ? "visual.trunk.norm.bias" : "visual.ln_post.bias", w, PUPIL_INIT_CONST, 0);
    if (a->pool == PUPIL_POOL_MAP) {
        c->map = (pool){.width = w, .heads = a->pool_heads, .mlp = a->pool_mlp, .act = a->image.act, .eps = (float)a->image.eps};
        pool_add(&c->map, &c->table, "visual.trunk.attn_pool.", h->at);
    }
    if (a->image_proj == PUPIL_PROJ_MATRIX) c->v_proj = add2(c, h, "visual.proj", w, a->embed_dim, std);
    if (a->image_proj == PUPIL_PROJ_LINEAR) {
        c->v_proj = add2(c, h, "visual.trunk.head.weight", a->embed_dim, w, std);
        c->v_proj_b = add1(c, h, "visual.trunk.head.bias", a->embed_dim, PUPIL_INIT_CONST, 0);
    }
    end(c, h);
    c->image_end = c->table.total;
}

static void add_text_tower(pupil_clip *c)
{
    const pupil_arch *a = &c->arch;
    const char *prefix = a->text_prefix ? "text." : "";
    int64_t w = a->text.width;
    char name[96];
#define NAMED(s) (snprintf(name, sizeof name, "%s" s, prefix), name)
    piece whole = {0};
    c->t_table = add2(c, &whole, NAMED("token_embedding.weight"), a->vocab, w, 0.02);
    c->t_stem = begin(c);
    c->t_pos = add2(c, &c->t_stem, NAMED("positional_embedding"), a->context, w, 0.01);
    end(c, &c->t_stem);
    c->text = (tower){.width = w, .layers = a->text.layers, .heads = a->text.heads, .mlp = a->text.mlp, .act = a->text.act,
                      .eps = (float)a->text.eps, .causal = !a->text_all_to_all};
    tower_add(&c->text, &c->table, prefix);
    c->t_head = begin(c);
    piece *h = &c->t_head;
    c->t_final_w = add1(c, h, NAMED("ln_final.weight"), w, PUPIL_INIT_CONST, 1);
    c->t_final_b = add1(c, h, NAMED("ln_final.bias"), w, PUPIL_INIT_CONST, 0);
    c->t_proj_b = -1;
    if (a->text_proj_bias) {
        c->t_proj = add2(c, h, NAMED("text_projection.weight"), a->embed_dim, w, pow((double)w, -0.5));
        c->t_proj_b = add1(c, h, NAMED("text_projection.bias"), a->embed_dim, PUPIL_INIT_CONST, 0);
    } else {
        c->t_proj = add2(c, h, NAMED("text_projection"), w, a->embed_dim, pow((double)w, -0.5));
    }
#undef NAMED
    end(c, h);
}

static void add_scale(pupil_clip *c)
{
    c->scale = pupil_table_add(&c->table, "logit_scale", 0, NULL, PUPIL_INIT_CONST, 2.659260036932778 /* ln(1/0.07) */);
    c->bias = c->arch.logit_bias ? pupil_table_add(&c->table, "logit_bias", 0, NULL, PUPIL_INIT_CONST, -10) : -1;
}

pupil_clip *pupil_clip_new(const pupil_arch *a)
{
    pupil_clip *c = pupil_alloc(sizeof *c);
    c->arch = *a;
    add_image_tower(c);
    if (a->text.layers) add_text_tower(c);
    c->text_end = c->table.total;
    add_scale(c);
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

int64_t pupil_arch_patches(const pupil_arch *a) { return clip_patches(a); }
int64_t pupil_arch_tokens(const pupil_arch *a) { return clip_tokens(a); }
const pupil_arch *pupil_clip_arch(const pupil_clip *c) { return &c->arch; }
pupil_table *pupil_clip_table(pupil_clip *c) { return &c->table; }
double pupil_clip_scale(const pupil_clip *c, pupil_weights *w) { return exp((double)*weights_span(w, c->scale, 1)); }
double pupil_clip_bias(const pupil_clip *c, pupil_weights *w) { return c->bias < 0 ? 0 : (double)*weights_span(w, c->bias, 1); }
int64_t pupil_clip_scale_offset(const pupil_clip *c) { return c->scale; }

int64_t pupil_clip_params(const pupil_clip *c, int which)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->table.n; i++) {
        const pupil_tensor *t = &c->table.t[i];
        int in = t->offset < c->image_end ? 0 : t->offset < c->text_end ? 1 : 2;
        if (in == which || (which < 0 && t->offset <= PUPIL_MAX(c->scale, c->bias))) n += t->count;
    }
    if (which <= 0 && c->arch.no_k_bias) n -= c->arch.image.layers * c->arch.image.width; /* zeros, and not the model's */
    return n;
}

static float *room(int64_t n) { return pupil_alloc((size_t)n * sizeof(float)); }

static void side_new(side *s, const tower *t, int64_t rows, int64_t batch, bool keep)
{
    int64_t normed = t->all_rows ? rows : batch;
    tower_acts_new(&s->t, t, rows, batch, keep);
    s->cu = pupil_alloc((size_t)(batch + 1) * sizeof *s->cu);
    s->pool = pupil_alloc((size_t)batch * sizeof *s->pool);
    s->norm = room(normed * t->width);
    s->mean = room(normed);
    s->rstd = room(normed);
}

static void side_free(side *s)
{
    tower_acts_free(&s->t);
    pupil_free(&s->cu);
    pupil_free(&s->pool);
    pupil_free(&s->norm);
    pupil_free(&s->mean);
    pupil_free(&s->rstd);
}

pupil_acts *pupil_acts_new(const pupil_clip *c, int64_t batch, bool keep) { return pupil_acts_new_captions(c, batch, 1, keep); }

pupil_acts *pupil_acts_new_captions(const pupil_clip *c, int64_t batch, int64_t captions, bool keep)
{
    const pupil_arch *a = &c->arch;
    int64_t rows = batch * clip_tokens(a), texts = batch * captions;
    pupil_acts *x = pupil_alloc(sizeof *x);
    side_new(&x->image, &c->image, rows, batch, keep);
    side_new(&x->text, &c->text, texts * a->context, texts, keep);
    if (a->pool == PUPIL_POOL_MAP) pool_acts_new(&x->map, &c->map, rows, batch);
    x->patches = room(batch * clip_patches(a) * 3 * a->patch * a->patch);
    x->patch = pupil_alloc((size_t)(batch * clip_patches(a)) * sizeof *x->patch);
    if (a->pre_norm) {
        x->pre = room(rows * a->image.width);
        x->pre_mean = room(rows);
        x->pre_rstd = room(rows);
    }
    x->ids = pupil_alloc((size_t)(texts * a->context) * sizeof *x->ids);
    return x;
}

void pupil_acts_free(pupil_acts **a)
{
    if (!*a) return;
    side_free(&(*a)->image);
    side_free(&(*a)->text);
    pool_acts_free(&(*a)->map);
    pupil_free(&(*a)->patches);
    pupil_free(&(*a)->patch);
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
    int64_t rows = batch * clip_tokens(a), w = PUPIL_MAX(batch * a->image.width, batch * a->text.width);
    tower_scratch_new(&s->image, &c->image, rows);
    tower_scratch_new(&s->text, &c->text, batch * a->context);
    s->patch_rows = room(batch * clip_patches(a) * PUPIL_MAX(a->image.width, 3 * a->patch * a->patch));
    if (a->pool == PUPIL_POOL_MAP) {
        pool_scratch_new(&s->map, &c->map, rows, batch);
        s->dpool = room(batch * a->image.width);
        w = PUPIL_MAX(w, rows * a->image.width);
    }
    s->dpooled = room(w);
    return s;
}

void pupil_scratch_tell(pupil_scratch *s, pupil_grads_final tell) { s->tell = tell; }

void pupil_scratch_free(pupil_scratch **s)
{
    if (!*s) return;
    tower_scratch_free(&(*s)->image);
    tower_scratch_free(&(*s)->text);
    pool_scratch_free(&(*s)->map);
    pupil_free(&(*s)->patch_rows);
    pupil_free(&(*s)->dpool);
    pupil_free(&(*s)->dpooled);
    pupil_free(s);
}

double pupil_acts_bytes(const pupil_arch *a, int64_t batch, double tokens, bool keep)
{
    tower v = {.width = a->image.width, .layers = a->image.layers, .mlp = a->image.mlp, .swiglu = a->swiglu, .inner_norm = a->inner_norm};
    tower t = {.width = a->text.width, .layers = a->text.layers, .mlp = a->text.mlp};
    double own = (double)(a->image.width * (a->pool == PUPIL_POOL_MAP ? 5 : 1) + 3 * a->patch * a->patch);
    double image = (double)clip_tokens(a) * (tower_row_floats(&v, keep) + own);
    return 4.0 * (double)batch * (image + tokens * tower_row_floats(&t, keep));
}
