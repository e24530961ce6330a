/* inherit.c: a smaller model from the weights of a larger one of its family (TinyCLIP's manual inheritance). Every tensor is
 * a matrix whose rows and columns each run along one axis of the model (channels, heads, ...). For each axis a list says
 * which of the larger model's places are taken; a rule names the axes of each tensor, and that is all. */
#include "clip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum { ALL, CHANNEL, HEADS, QKV, MLP, FC, POSITION, EMBED, POOL_HEADS, POOL_QKV, POOL_MLP } axis;

/* The first rule whose name ends the tensor's counts. */
static const struct {
    const char *end;
    axis rows, cols;
} rules[] = {
    {"attn_pool.latent", CHANNEL, ALL},
    {"attn_pool.in_proj_weight", POOL_QKV, CHANNEL},
    {"attn_pool.in_proj_bias", POOL_QKV, ALL},
    {"attn_pool.proj.weight", CHANNEL, POOL_HEADS},
    {"attn_pool.mlp.fc1.weight", POOL_MLP, CHANNEL},
    {"attn_pool.mlp.fc1.bias", POOL_MLP, ALL},
    {"attn_pool.mlp.fc2.weight", CHANNEL, POOL_MLP},
    {".attn.in_proj_weight", QKV, CHANNEL},
    {".attn.qkv.weight", QKV, CHANNEL},
    {".attn.in_proj_bias", QKV, ALL},
    {".attn.qkv.bias", QKV, ALL},
    {".attn.norm.weight", HEADS, ALL},
    {".attn.norm.bias", HEADS, ALL},
    {".attn.out_proj.weight", CHANNEL, HEADS},
    {".attn.proj.weight", CHANNEL, HEADS},
    {".mlp.c_fc.weight", FC, CHANNEL},
    {".mlp.fc1.weight", FC, CHANNEL},
    {".mlp.c_fc.bias", FC, ALL},
    {".mlp.fc1.bias", FC, ALL},
    {".mlp.norm.weight", MLP, ALL},
    {".mlp.norm.bias", MLP, ALL},
    {".mlp.c_proj.weight", CHANNEL, MLP},
    {".mlp.fc2.weight", CHANNEL, MLP},
    {"positional_embedding", POSITION, CHANNEL},
    {".pos_embed", POSITION, CHANNEL},
    {"token_embedding.weight", ALL, CHANNEL},
    {"visual.proj", CHANNEL, EMBED},
    {"trunk.head.weight", EMBED, CHANNEL},
    {"trunk.head.bias", EMBED, ALL},
    {"text_projection", CHANNEL, EMBED},
    {"text_projection.weight", EMBED, CHANNEL},
    {"text_projection.bias", EMBED, ALL},
    {"logit_scale", ALL, ALL},
    {"logit_bias", ALL, ALL},
    {"", CHANNEL, ALL}, /* class token, patches, norms, and biases of what writes to the stream */
};

/* What is taken along one axis: place i is place at[i] of the larger model's. group: places that go together. */
typedef struct {
    int64_t n, of, group, *at;
    double *square; /* [of / group], sums of squares, or strengths that were given; NULL: the first are taken */
} taken;

typedef struct {
    const pupil_clip *from, *to;
    pupil_weights *weights;
    taken channel[2], embed, pool_heads, pool_mlp; /* by tower: image, text */
    taken *heads[2], *mlp[2];                      /* by layer of `to` */
} plan;

static const pupil_tower_arch *tower_of(const pupil_arch *a, int t) { return t ? &a->text : &a->image; }

static taken taken_new(int64_t n, int64_t of, int64_t group, bool scored)
{
    return (taken){.n = n, .of = of, .group = group, .at = pupil_alloc((size_t)n * sizeof(int64_t)),
                   .square = scored ? pupil_alloc((size_t)(of / group) * sizeof(double)) : NULL};
}

static void taken_free(taken *t)
{
    pupil_free(&t->at);
    pupil_free(&t->square);
}

static void plan_new(plan *p, bool scored)
{
    const pupil_arch *a = &p->from->arch, *b = &p->to->arch;
    for (int s = 0; s < 2; s++) {
        const pupil_tower_arch *x = tower_of(a, s), *y = tower_of(b, s);
        p->channel[s] = taken_new(y->width, x->width, 1, scored);
        p->heads[s] = pupil_alloc((size_t)y->layers * sizeof(taken));
        p->mlp[s] = pupil_alloc((size_t)y->layers * sizeof(taken));
        for (int64_t l = 0; l < y->layers; l++) {
            p->heads[s][l] = taken_new(y->width, x->width, x->width / x->heads, scored);
            p->mlp[s][l] = taken_new(y->mlp, x->mlp, 1, scored);
        }
    }
    p->embed = taken_new(b->embed_dim, a->embed_dim, 1, scored);
    if (a->pool != PUPIL_POOL_MAP) return;
    p->pool_heads = taken_new(b->image.width, a->image.width, a->image.width / a->pool_heads, scored);
    p->pool_mlp = taken_new(b->pool_mlp, a->pool_mlp, 1, scored);
}

static void plan_free(plan *p)
{
    for (int s = 0; s < 2; s++) {
        taken_free(&p->channel[s]);
        for (int64_t l = 0; l < tower_of(&p->to->arch, s)->layers; l++) {
            taken_free(&p->heads[s][l]);
            taken_free(&p->mlp[s][l]);
        }
        pupil_free(&p->heads[s]);
        pupil_free(&p->mlp[s]);
    }
    taken_free(&p->embed);
    taken_free(&p->pool_heads);
    taken_free(&p->pool_mlp);
}

/* ---- one tensor ------------------------------------------------------------------------------------ */
typedef struct {
    const pupil_tensor *to, *from;
    int tower;     /* 0 image, 1 text */
    int64_t layer; /* of `to` */
    axis of[2];    /* rows, columns */
    int64_t rows, cols, from_rows, from_cols;
} pair;

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), m = strlen(with);
    return n >= m && !strcmp(s + n - m, with);
}

static void shape(const pupil_tensor *t, int64_t *rows, int64_t *cols)
{
    *rows = t->ndim ? t->shape[0] : 1;
    *cols = t->count / *rows;
}

/* The tensor that x comes from: the same name, with the number of the layer it is taken from. */
static pair pair_of(const plan *p, const pupil_tensor *x)
{
    pair r = {.to = x, .tower = x->offset >= p->to->image_end};
    char name[sizeof x->name];
    const char *at = strstr(x->name, "blocks.");
    strcpy(name, x->name);
    if (at) {
        char *rest;
        const pupil_arch *a = &p->from->arch, *b = &p->to->arch;
        at += strlen("blocks.");
        r.layer = strtol(at, &rest, 10);
        int64_t step = tower_of(a, r.tower)->layers / tower_of(b, r.tower)->layers;
        snprintf(name, sizeof name, "%.*s%d%s", (int)(at - x->name), x->name, (int)(r.layer * step), rest);
    }
    r.from = pupil_table_find(&p->from->table, name);
    PUPIL_REQUIRE(r.from);
    int i = 0;
    while (!ends(x->name, rules[i].end)) i++;
    r.of[0] = rules[i].rows;
    r.of[1] = rules[i].cols;
    shape(r.to, &r.rows, &r.cols);
    shape(r.from, &r.from_rows, &r.from_cols);
    return r;
}

/* The list of an axis; NULL: all is taken, or (positions) what is left over of the first. */
static taken *list_of(plan *p, const pair *x, axis a)
{
    switch (a) {
    case CHANNEL: return &p->channel[x->tower];
    case HEADS:
    case QKV: return &p->heads[x->tower][x->layer];
    case MLP:
    case FC: return &p->mlp[x->tower][x->layer];
    case EMBED: return p->from->arch.image_proj == PUPIL_PROJ_NONE ? &p->channel[0] : &p->embed;
    case POOL_HEADS:
    case POOL_QKV: return &p->pool_heads;
    case POOL_MLP: return &p->pool_mlp;
    default: return NULL;
    }
}

/* Place i of the smaller model's axis in the larger one: lists repeat for q, k and v, and for both halves of SwiGLU. */
static int64_t place(const taken *t, int64_t i) { return t ? i / t->n * t->of + t->at[i % t->n] : i; }

static void copy(plan *p, const pair *x, const float *from, float *to)
{
    const taken *rows = list_of(p, x, x->of[0]), *cols = list_of(p, x, x->of[1]);
    for (int64_t r = 0; r < x->rows; r++) {
        const float *line = from + place(rows, r) * x->from_cols;
        for (int64_t c = 0; c < x->cols; c++) to[r * x->cols + c] = line[place(cols, c)];
    }
}

/* Image positions of another grid: the larger model's, resized, of its own width yet. */
static float *resized(const plan *p, const pair *x, const float *from)
{
    const pupil_arch *a = &p->from->arch, *b = &p->to->arch;
    int64_t own = a->class_token, width = x->from_cols;
    float *all = pupil_alloc((size_t)(x->rows * width) * sizeof *all);
    memcpy(all, from, (size_t)(own * width) * sizeof *all);
    pupil_positions_resize(all + own * width, b->image_size / b->patch, from + own * width, a->image_size / a->patch, width);
    return all;
}

/* ---- which are the strongest ------------------------------------------------------------------------- */
static void add_squares(plan *p, const pair *x, const float *w)
{
    taken *list[2] = {list_of(p, x, x->of[0]), list_of(p, x, x->of[1])};
    for (int64_t r = 0; r < x->from_rows; r++)
        for (int64_t c = 0; c < x->from_cols; c++) {
            double v = (double)w[r * x->from_cols + c];
            if (list[0]) list[0]->square[r % list[0]->of / list[0]->group] += v * v;
            if (list[1]) list[1]->square[c % list[1]->of / list[1]->group] += v * v;
        }
}

/* The n/group groups with the largest sums, in their order; of equal ones the first. */
static void choose(taken *t)
{
    int64_t groups = t->of / (t->group ? t->group : 1), k = 0;
    for (int64_t g = 0; g < groups && k < t->n; g++) {
        int64_t stronger = 0;
        for (int64_t h = 0; h < groups && t->square; h++)
            stronger += t->square[h] > t->square[g] || (h < g && !(t->square[h] < t->square[g]));
        if (t->square && stronger >= t->n / t->group) continue;
        for (int64_t i = 0; i < t->group; i++) t->at[k++] = g * t->group + i;
    }
    PUPIL_REQUIRE(k == t->n);
}

static void choose_all(plan *p)
{
    for (int s = 0; s < 2; s++) {
        choose(&p->channel[s]);
        for (int64_t l = 0; l < tower_of(&p->to->arch, s)->layers; l++) {
            choose(&p->heads[s][l]);
            choose(&p->mlp[s][l]);
        }
    }
    choose(&p->embed);
    if (p->pool_heads.n) choose(&p->pool_heads);
    if (p->pool_mlp.n) choose(&p->pool_mlp);
}

/* ---- what cannot be ---------------------------------------------------------------------------------- */
static int check_tower(const pupil_tower_arch *a, const pupil_tower_arch *b, const char *side_name, const char *what)
{
    const struct {
        const char *name;
        int64_t a, b;
    } size[] = {{"width", a->width, b->width}, {"layers", a->layers, b->layers}, {"heads", a->heads, b->heads}, {"mlp width", a->mlp, b->mlp}};
    for (int i = 0; i < PUPIL_COUNT(size); i++)
        if (size[i].b > size[i].a)
            return pupil_fail(PUPIL_EUSER, "%s: %s %s is %lld, but only %lld can be inherited", what, side_name, size[i].name,
                              (long long)size[i].b, (long long)size[i].a);
    if (b->width / b->heads != a->width / a->heads)
        return pupil_fail(PUPIL_EUSER, "%s: %s heads are %lld wide, those inherited %lld: heads are taken whole", what, side_name,
                          (long long)(b->width / b->heads), (long long)(a->width / a->heads));
    if (a->act != b->act)
        return pupil_fail(PUPIL_EUSER, "%s: the %s tower's activation is %s, that of the weights inherited %s", what, side_name,
                          pupil_activation_name(b->act), pupil_activation_name(a->act));
    return 0;
}

static bool differ(double a, double b) { return a < b || a > b; }

static int check_family(const pupil_arch *a, const pupil_arch *b, const char *what)
{
    bool texts = !b->text.layers || (a->text_all_to_all == b->text_all_to_all && a->text_proj_bias == b->text_proj_bias &&
                                     a->text_prefix == b->text_prefix && a->logit_bias == b->logit_bias && !differ(a->text.eps, b->text.eps));
    bool same = texts && a->class_token == b->class_token && a->pre_norm == b->pre_norm && a->patch_bias == b->patch_bias && a->pool == b->pool &&
                a->image_proj == b->image_proj && a->rope == b->rope && a->rope_xy == b->rope_xy && a->swiglu == b->swiglu &&
                a->inner_norm == b->inner_norm && a->no_k_bias == b->no_k_bias && a->trunk_names == b->trunk_names &&
                !differ(a->image.eps, b->image.eps) && !differ(a->rope_reference, b->rope_reference) && !differ(a->rope_offset, b->rope_offset);
    return same ? 0 : pupil_fail(PUPIL_EUSER, "%s: a %s model cannot inherit from a %s one of other parts", what,
                                 pupil_arch_family(b), pupil_arch_family(a));
}

int pupil_inherit_check(const pupil_arch *a, const pupil_arch *b, const char *what)
{
    PUPIL_TRY(check_family(a, b, what));
    PUPIL_TRY(check_tower(&a->image, &b->image, "vision", what));
    if (b->text.layers) PUPIL_TRY(check_tower(&a->text, &b->text, "text", what));
    if (a->patch != b->patch)
        return pupil_fail(PUPIL_EUSER, "%s: patch_size is %lld, that of the weights inherited %lld", what, (long long)b->patch, (long long)a->patch);
    if (b->text.layers && a->vocab != b->vocab)
        return pupil_fail(PUPIL_EUSER, "%s: the vocabulary has %lld ids, that of the weights inherited %lld; take that model's tokenizer", what,
                          (long long)b->vocab, (long long)a->vocab);
    if (b->embed_dim > a->embed_dim)
        return pupil_fail(PUPIL_EUSER, "%s: embed_dim is %lld, but only %lld can be inherited", what, (long long)b->embed_dim, (long long)a->embed_dim);
    if (b->text.layers && (b->context > a->context || (a->text_all_to_all && b->context != a->context)))
        return pupil_fail(PUPIL_EUSER, "%s: context_length is %lld, that of the weights inherited %lld", what, (long long)b->context, (long long)a->context);
    if (a->pool == PUPIL_POOL_MAP && (b->pool_mlp > a->pool_mlp || b->pool_heads > a->pool_heads ||
                                      b->image.width / b->pool_heads != a->image.width / a->pool_heads))
        return pupil_fail(PUPIL_EUSER, "%s: attention pooling has heads of %lld and an MLP of %lld, those inherited are %lld and %lld", what,
                          (long long)(b->image.width / b->pool_heads), (long long)b->pool_mlp, (long long)(a->image.width / a->pool_heads),
                          (long long)a->pool_mlp);
    return 0;
}

void pupil_take_text(const pupil_clip *from, pupil_weights *weights, const pupil_clip *to, float *params)
{
    for (int64_t i = 0; i < to->table.n; i++) {
        const pupil_tensor *x = &to->table.t[i], *y;
        if (x->offset < to->image_end || x->offset >= to->text_end) continue;
        y = pupil_table_find(&from->table, x->name);
        PUPIL_REQUIRE(y && y->count == x->count);
        memcpy(params + x->offset, weights_span(weights, y->offset, y->count), (size_t)y->count * sizeof *params);
    }
}

/* What was chosen, into the smaller model. */
static void carry_over(plan *p, float *params)
{
    const pupil_table *t = &p->to->table;
    choose_all(p);
    for (int64_t i = 0; i < t->n; i++) {
        if (!strncmp(t->t[i].name, "loss.", 5)) continue;
        pair x = pair_of(p, &t->t[i]);
        const float *w = weights_span(p->weights, x.from->offset, x.from->count);
        float *grid = x.of[0] == POSITION && x.tower == 0 && x.rows != x.from_rows ? resized(p, &x, w) : NULL;
        copy(p, &x, grid ? grid : w, params + x.to->offset);
        pupil_free(&grid);
    }
}

int pupil_inherit(pupil_clip *from, pupil_weights *weights, pupil_select select, pupil_clip *to, float *params, const char *what)
{
    PUPIL_TRY(pupil_inherit_check(&from->arch, &to->arch, what));
    plan p = {.from = from, .to = to, .weights = weights};
    plan_new(&p, select == PUPIL_SELECT_MAGNITUDE);
    for (int64_t i = 0; i < to->table.n && select == PUPIL_SELECT_MAGNITUDE; i++) {
        if (!strncmp(to->table.t[i].name, "loss.", 5) || to->table.t[i].ndim < 2) continue;
        pair x = pair_of(&p, &to->table.t[i]);
        add_squares(&p, &x, weights_span(weights, x.from->offset, x.from->count));
    }
    carry_over(&p, params);
    plan_free(&p);
    return 0;
}

int pupil_inherit_channels(pupil_clip *from, pupil_weights *weights, const float *const strength[2], pupil_clip *to, float *params,
                           const char *what)
{
    PUPIL_TRY(pupil_inherit_check(&from->arch, &to->arch, what));
    plan p = {.from = from, .to = to, .weights = weights};
    plan_new(&p, false);
    for (int s = 0; s < 2; s++)
        for (int64_t l = 0; l < tower_of(&to->arch, s)->layers; l++) {
            taken *t = &p.mlp[s][l];
            t->square = pupil_alloc((size_t)t->of * sizeof *t->square);
            for (int64_t i = 0; i < t->of; i++) t->square[i] = (double)strength[s][l * t->of + i];
        }
    carry_over(&p, params);
    plan_free(&p);
    return 0;
}
