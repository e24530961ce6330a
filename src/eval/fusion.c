/* fusion.c: the fusion head: co-attention between the tokens of a picture and those of a question, forward and backward. */
#include "fusion.h"

#include "probe.h"
#include "pupil/math.h"

#include <math.h>
#include <string.h>

static int64_t add(pupil_table *t, const char *name, const char *stream, int64_t rows, int64_t cols, pupil_init init, double value)
{
    char whole[96];
    snprintf(whole, sizeof whole, "%s%s", stream, name);
    return pupil_table_add(t, whole, cols ? 2 : 1, (int64_t[]){rows, cols}, init, value);
}

static void add_blocks(pupil_fusion *f)
{
    const pupil_fusion_arch *a = &f->arch;
    double out = pow(3.0 * (double)a->layers, -0.5), attend = out * pow((double)a->width, -0.5), mlp = out * pow((double)a->mlp, -0.5);
    f->block = pupil_alloc((size_t)a->layers * sizeof *f->block);
    f->acts = pupil_alloc((size_t)a->layers * sizeof *f->acts);
    for (int64_t l = 0; l < a->layers; l++)
        for (int s = 0; s < STREAMS; s++) {
            char name[3][48];
            static const char *const part[] = {"self", "cross", "mlp"};
            for (int k = 0; k < 3; k++) snprintf(name[k], sizeof name[k], "%s.%d.%s.", s == OF_IMAGE ? "image" : "text", (int)l, part[k]);
            f->block[l][s] = (fusion_block){attend_add(&f->table, &f->shape, name[0], false, attend),
                                            attend_add(&f->table, &f->shape, name[1], true, attend), mlp_add(&f->table, &f->shape, name[2], mlp)};
        }
}

static int64_t pooled_width(const pupil_fusion *f) { return 2 * f->arch.width + f->arch.pooled; }

pupil_fusion *pupil_fusion_new(const pupil_fusion_arch *a)
{
    static const char *const stream[] = {"image.", "text."};
    pupil_fusion *f = pupil_alloc(sizeof *f);
    PUPIL_REQUIRE(a->width % a->heads == 0);
    f->arch = *a;
    f->shape = (layer_shape){a->width, a->heads, a->heads, a->width / a->heads, a->mlp, 1e-5f, pupil_alloc((size_t)(2 * a->mlp) * sizeof(float))};
    pupil_table *t = &f->table;
    for (int s = 0; s < STREAMS; s++) {
        int64_t in = s == OF_IMAGE ? a->image_width : a->text_width;
        f->in_w[s] = add(t, "in.weight", stream[s], a->width, in, PUPIL_INIT_NORMAL, pow((double)in, -0.5));
        f->in_b[s] = add(t, "in.bias", stream[s], a->width, 0, PUPIL_INIT_CONST, 0);
        f->norm[s] = add(t, "norm.weight", stream[s], a->width, 0, PUPIL_INIT_CONST, 1);
    }
    add_blocks(f);
    f->fc_w = add(t, "fc.weight", "", a->width, pooled_width(f), PUPIL_INIT_NORMAL, pow((double)pooled_width(f), -0.5));
    f->fc_b = add(t, "fc.bias", "", a->width, 0, PUPIL_INIT_CONST, 0);
    f->out_w = add(t, "out.weight", "", a->answers, a->width, PUPIL_INIT_NORMAL, 0.1 * pow((double)a->width, -0.5));
    f->out_b = add(t, "out.bias", "", a->answers, 0, PUPIL_INIT_CONST, 0);
    return f;
}

void pupil_fusion_free(pupil_fusion **f)
{
    if (!*f) return;
    pupil_free(&(*f)->shape.zeros);
    pupil_free(&(*f)->block);
    pupil_free(&(*f)->acts);
    pupil_table_free(&(*f)->table);
    arena_free(&(*f)->memory);
    pupil_free(f);
}

const pupil_table *pupil_fusion_table(const pupil_fusion *f) { return &f->table; }

void pupil_fusion_start(const pupil_fusion *f, const float *target, int64_t n, float *params)
{
    probe_prior(target, n, f->arch.answers, params + f->out_b);
}

/* ---- forward -------------------------------------------------------------------------------------- */
static void stream_in(pupil_fusion *f, const float *params, const pupil_fusing *item, int64_t n, int s, fusion_stream *b)
{
    arena *m = &f->memory;
    *b = (fusion_stream){.n = n, .in = s == OF_IMAGE ? f->arch.image_width : f->arch.text_width};
    b->first = (int32_t *)(void *)arena_take(m, n), b->count = (int32_t *)(void *)arena_take(m, n);
    for (int64_t i = 0; i < n; i++) {
        b->first[i] = (int32_t)b->rows;
        b->count[i] = (int32_t)(s == OF_IMAGE ? item[i].image_rows : item[i].text_rows);
        b->rows += b->count[i];
    }
    b->feature = arena_take(m, b->rows * b->in);
    b->x = arena_take(m, b->rows * f->arch.width);
    for (int64_t i = 0; i < n; i++)
        memcpy(b->feature + b->first[i] * b->in, s == OF_IMAGE ? item[i].image : item[i].text, (size_t)(b->count[i] * b->in) * sizeof *b->feature);
    pupil_linear_forward(b->x, b->feature, params + f->in_w[s], params + f->in_b[s], b->rows, b->in, f->arch.width);
}

/* Each stream looks at itself, then at what the other one is by then. */
static void layer_forward(pupil_fusion *f, const float *params, int64_t l, fusion_batch *b)
{
    for (int s = 0; s < STREAMS; s++) {
        const fusion_stream *own = &b->s[s];
        attend_acts *a = &f->acts[l][s].self;
        *a = (attend_acts){.x = own->end, .y = own->end, .rows = own->rows, .rows_y = own->rows};
        a->spans = (pupil_spans){own->first, own->count, own->first, own->count, own->n};
        attend_forward(&f->shape, &f->block[l][s].self, params, &f->memory, a);
    }
    for (int s = 0; s < STREAMS; s++) {
        fusion_stream *own = &b->s[s], *other = &b->s[!s];
        attend_acts *a = &f->acts[l][s].cross;
        *a = (attend_acts){.x = f->acts[l][s].self.out, .y = f->acts[l][!s].self.out, .rows = own->rows, .rows_y = other->rows};
        a->spans = (pupil_spans){own->first, own->count, other->first, other->count, own->n};
        attend_forward(&f->shape, &f->block[l][s].cross, params, &f->memory, a);
        f->acts[l][s].mlp = (mlp_acts){.x = a->out, .rows = own->rows};
        mlp_forward(&f->shape, &f->block[l][s].mlp, params, &f->memory, &f->acts[l][s].mlp);
        own->end = f->acts[l][s].mlp.out;
    }
}

/* The mean of each question's normed rows, the picture's first. */
static void pool(pupil_fusion *f, const float *params, fusion_batch *b, int s)
{
    int64_t width = f->arch.width;
    fusion_stream *t = &b->s[s];
    t->normed = arena_take(&f->memory, t->rows * width);
    t->rstd = arena_take(&f->memory, t->rows);
    pupil_rmsnorm_forward(t->normed, t->rstd, t->end, params + f->norm[s], t->rows, width, f->shape.eps);
    for (int64_t i = 0; i < t->n; i++) {
        float *mean = b->pooled + i * pooled_width(f) + s * width;
        memset(mean, 0, (size_t)width * sizeof *mean);
        for (int64_t r = 0; r < t->count[i]; r++) pupil_add(mean, t->normed + (t->first[i] + r) * width, width);
        for (int64_t j = 0; j < width; j++) mean[j] /= (float)t->count[i];
    }
}

void fusion_forward(pupil_fusion *f, const float *params, const pupil_fusing *item, int64_t n, fusion_batch *b)
{
    int64_t width = f->arch.width, all = pooled_width(f);
    arena *m = &f->memory;
    arena_reset(m);
    for (int s = 0; s < STREAMS; s++) {
        stream_in(f, params, item, n, s, &b->s[s]);
        b->s[s].end = b->s[s].x;
    }
    for (int64_t l = 0; l < f->arch.layers; l++) layer_forward(f, params, l, b);
    b->pooled = arena_take(m, n * all);
    b->h = arena_take(m, n * width), b->act = arena_take(m, n * width), b->z = arena_take(m, n * f->arch.answers);
    for (int s = 0; s < STREAMS; s++) pool(f, params, b, s);
    for (int64_t i = 0; i < n; i++) memcpy(b->pooled + i * all + 2 * width, item[i].pooled, (size_t)f->arch.pooled * sizeof *b->pooled);
    pupil_linear_forward(b->h, b->pooled, params + f->fc_w, NULL, n, all, width);
    pupil_bias_act_forward(b->act, b->h, params + f->fc_b, n, width, PUPIL_GELU);
    pupil_linear_forward(b->z, b->act, params + f->out_w, params + f->out_b, n, width, f->arch.answers);
}

void pupil_fusion_answer(pupil_fusion *f, const float *params, const pupil_fusing *item, int64_t n, int32_t *ret_answer)
{
    fusion_batch b;
    fusion_forward(f, params, item, n, &b);
    for (int64_t i = 0; i < n; i++) ret_answer[i] = probe_argmax(b.z + i * f->arch.answers, f->arch.answers);
}

/* ---- backward ------------------------------------------------------------------------------------- */
/* dz -> the gradient of both streams' ends. */
static void head_backward(pupil_fusion *f, const float *params, const fusion_batch *b, const float *dz, float *g, float *dx[STREAMS])
{
    int64_t n = b->s[0].n, width = f->arch.width, all = pooled_width(f);
    arena *m = &f->memory;
    float *dact = arena_take(m, n * width), *dpooled = arena_take(m, n * all);
    pupil_linear_backward(dact, g + f->out_w, g + f->out_b, dz, b->act, params + f->out_w, n, width, f->arch.answers);
    pupil_act_backward(dact, dact, b->h, n * width, PUPIL_GELU);
    pupil_linear_backward(dpooled, g + f->fc_w, g + f->fc_b, dact, b->pooled, params + f->fc_w, n, all, width);
    for (int s = 0; s < STREAMS; s++) {
        const fusion_stream *t = &b->s[s];
        float *d = arena_take(m, t->rows * width);
        for (int64_t i = 0; i < n; i++)
            for (int64_t r = 0; r < t->count[i]; r++)
                for (int64_t j = 0; j < width; j++) d[(t->first[i] + r) * width + j] = dpooled[i * all + s * width + j] / (float)t->count[i];
        dx[s] = arena_take(m, t->rows * width);
        memset(dx[s], 0, (size_t)(t->rows * width) * sizeof *dx[s]);
        pupil_rmsnorm_backward(dx[s], g + f->norm[s], d, t->end, t->rstd, params + f->norm[s], t->rows, width);
    }
}

static void layer_backward(pupil_fusion *f, const float *params, int64_t l, const fusion_batch *b, float *g, float *dx[STREAMS])
{
    arena *m = &f->memory;
    float *seen[STREAMS]; /* gradient of a stream as the other one looks at it */
    for (int s = 0; s < STREAMS; s++) {
        seen[s] = arena_take(m, b->s[s].rows * f->arch.width);
        memset(seen[s], 0, (size_t)(b->s[s].rows * f->arch.width) * sizeof *seen[s]);
    }
    for (int s = 0; s < STREAMS; s++) {
        mlp_backward(&f->shape, &f->block[l][s].mlp, params, m, &f->acts[l][s].mlp, dx[s], g);
        attend_backward(&f->shape, &f->block[l][s].cross, params, m, &f->acts[l][s].cross, dx[s], seen[!s], g);
    }
    for (int s = 0; s < STREAMS; s++) {
        pupil_add(dx[s], seen[s], b->s[s].rows * f->arch.width);
        attend_backward(&f->shape, &f->block[l][s].self, params, m, &f->acts[l][s].self, dx[s], dx[s], g);
    }
}

static void in_backward(pupil_fusion *f, const float *params, const pupil_fusing *item, int s, const fusion_stream *b, const float *dx, float *g)
{
    float *d = item[0].dimage ? arena_take(&f->memory, b->rows * b->in) : NULL;
    pupil_linear_backward(d, g + f->in_w[s], g + f->in_b[s], dx, b->feature, params + f->in_w[s], b->rows, b->in, f->arch.width);
    for (int64_t i = 0; d && i < b->n; i++)
        memcpy(s == OF_IMAGE ? item[i].dimage : item[i].dtext, d + b->first[i] * b->in, (size_t)(b->count[i] * b->in) * sizeof *d);
}

double pupil_fusion_gradient(pupil_fusion *f, const float *params, const pupil_fusing *item, int64_t n, double scale, float *grads)
{
    fusion_batch b;
    float *dx[STREAMS];
    int64_t answers = f->arch.answers;
    if (n == 0) return 0;
    fusion_forward(f, params, item, n, &b);
    float *target = arena_take(&f->memory, n * answers), *dz = arena_take(&f->memory, n * answers);
    for (int64_t i = 0; i < n; i++) memcpy(target + i * answers, item[i].target, (size_t)answers * sizeof *target);
    double loss = probe_cross_entropy(dz, b.z, target, n * answers, (float)scale) * scale;
    head_backward(f, params, &b, dz, grads, dx);
    for (int64_t l = f->arch.layers - 1; l >= 0; l--) layer_backward(f, params, l, &b, grads, dx);
    for (int s = 0; s < STREAMS; s++) in_backward(f, params, item, s, &b.s[s], dx[s], grads);
    return loss;
}
