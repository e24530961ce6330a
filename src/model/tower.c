/* tower.c: the transformer blocks of both towers, forward and backward.
 *
 * Only one row of each sequence leaves a CLIP tower (class token, end token). So the last block computes keys
 * and values for all rows but queries, projection and MLP for the pooled rows alone: the same result for a quarter
 * of the work of that block. */
#include "tower.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

void tower_add(tower *t, pupil_table *table, const char *prefix)
{
    int64_t w = t->width, m = t->mlp;
    double attn = pow((double)w, -0.5), proj = attn * pow(2.0 * (double)t->layers, -0.5), fc = pow(2.0 * (double)w, -0.5);
    t->block = pupil_alloc((size_t)t->layers * sizeof *t->block);
    for (int64_t l = 0; l < t->layers; l++) {
        block_at *b = &t->block[l];
        struct {
            const char *name;
            int64_t *at, rows, cols;
            pupil_init init;
            double value;
        } const list[] = {
            {"ln_1.weight", &b->ln1_w, w, 0, PUPIL_INIT_CONST, 1},
            {"ln_1.bias", &b->ln1_b, w, 0, PUPIL_INIT_CONST, 0},
            {"attn.in_proj_weight", &b->qkv_w, 3 * w, w, PUPIL_INIT_NORMAL, attn},
            {"attn.in_proj_bias", &b->qkv_b, 3 * w, 0, PUPIL_INIT_CONST, 0},
            {"attn.out_proj.weight", &b->out_w, w, w, PUPIL_INIT_NORMAL, proj},
            {"attn.out_proj.bias", &b->out_b, w, 0, PUPIL_INIT_CONST, 0},
            {"ln_2.weight", &b->ln2_w, w, 0, PUPIL_INIT_CONST, 1},
            {"ln_2.bias", &b->ln2_b, w, 0, PUPIL_INIT_CONST, 0},
            {"mlp.c_fc.weight", &b->fc_w, m, w, PUPIL_INIT_NORMAL, fc},
            {"mlp.c_fc.bias", &b->fc_b, m, 0, PUPIL_INIT_CONST, 0},
            {"mlp.c_proj.weight", &b->proj_w, w, m, PUPIL_INIT_NORMAL, proj},
            {"mlp.c_proj.bias", &b->proj_b, w, 0, PUPIL_INIT_CONST, 0},
        };
        for (int i = 0; i < PUPIL_COUNT(list); i++) {
            char name[96];
            snprintf(name, sizeof name, "%stransformer.resblocks.%d.%s", prefix, (int)l, list[i].name);
            *list[i].at = pupil_table_add(table, name, list[i].cols ? 2 : 1, (int64_t[]){list[i].rows, list[i].cols},
                                          list[i].init, list[i].value);
        }
    }
}

void tower_free(tower *t) { pupil_free(&t->block); }

double tower_row_floats(const tower *t, bool keep)
{
    double row = 8.0 * (double)t->width + 2.0 * (double)t->mlp + 4; /* x ln1 qkv(3) att mid ln2 | h g | means, rstds */
    return keep ? row * (double)t->layers : row + (double)t->width;
}

/* Carve `count` floats, rounded up to a cache line. With at == NULL only the size is counted. */
static float *carve(float **at, size_t *total, int64_t count)
{
    size_t n = ((size_t)count + 15) / 16 * 16;
    float *p = *at;
    if (p) *at += n;
    *total += n;
    return p;
}

static size_t acts_carve(tower_acts *a, const tower *t, int64_t rows, int64_t nseq, bool keep, float *memory)
{
    size_t total = 0;
    int64_t w = t->width;
    float *ping = NULL;
    for (int64_t l = 0; l < t->layers; l++) {
        block_acts *b = &a->block[l];
        if (!keep && l > 0) { /* inference: two streams in turn, all else shared */
            *b = a->block[0];
            if (l == 1) ping = carve(&memory, &total, rows * w);
            if (l % 2) b->x = ping;
            continue;
        }
        b->x = carve(&memory, &total, rows * w);
        b->ln1 = carve(&memory, &total, rows * w);
        b->qkv = carve(&memory, &total, rows * 3 * w);
        b->att = carve(&memory, &total, rows * w);
        b->mid = carve(&memory, &total, rows * w);
        b->ln2 = carve(&memory, &total, rows * w);
        b->h = carve(&memory, &total, rows * t->mlp);
        b->g = carve(&memory, &total, rows * t->mlp);
        b->mean1 = carve(&memory, &total, rows);
        b->rstd1 = carve(&memory, &total, rows);
        b->mean2 = carve(&memory, &total, rows);
        b->rstd2 = carve(&memory, &total, rows);
    }
    a->out = carve(&memory, &total, nseq * w);
    return total;
}

void tower_acts_new(tower_acts *a, const tower *t, int64_t rows, int64_t nseq, bool keep)
{
    a->rows = rows;
    a->block = pupil_alloc((size_t)t->layers * sizeof *a->block);
    a->memory = pupil_alloc(acts_carve(a, t, rows, nseq, keep, NULL) * sizeof(float));
    acts_carve(a, t, rows, nseq, keep, a->memory);
}

void tower_acts_free(tower_acts *a)
{
    pupil_free(&a->block);
    pupil_free(&a->memory);
}

static size_t scratch_carve(tower_scratch *s, const tower *t, int64_t rows, float *memory)
{
    size_t total = 0;
    int64_t w = t->width;
    s->dx = carve(&memory, &total, rows * w);
    s->dmid = carve(&memory, &total, rows * w);
    s->dln = carve(&memory, &total, rows * w);
    s->dqkv = carve(&memory, &total, rows * 3 * w);
    s->datt = carve(&memory, &total, rows * w);
    s->dh = carve(&memory, &total, rows * t->mlp);
    return total;
}

void tower_scratch_new(tower_scratch *s, const tower *t, int64_t rows)
{
    s->memory = pupil_alloc(scratch_carve(s, t, rows, NULL) * sizeof(float));
    scratch_carve(s, t, rows, s->memory);
}

void tower_scratch_free(tower_scratch *s) { pupil_free(&s->memory); }

/* The stream's pooled rows, packed: to[s,:] = from[pool[s],:]. */
static void gather_rows(float *to, const float *from, const packing *p, int64_t width)
{
    for (int64_t s = 0; s < p->nseq; s++)
        memcpy(to + s * width, from + (int64_t)p->pool[s] * width, (size_t)width * sizeof *to);
}

static void block_forward(const tower *t, const float *params, const block_at *w, block_acts *a, const packing *p,
                          bool last, float *out)
{
    int64_t rows = p->cu[p->nseq], width = t->width, q = last ? p->nseq : rows;
    pupil_layernorm_forward(a->ln1, a->mean1, a->rstd1, a->x, params + w->ln1_w, params + w->ln1_b, rows, width, t->eps);
    pupil_linear_forward(a->qkv, a->ln1, params + w->qkv_w, params + w->qkv_b, rows, width, 3 * width);
    pupil_attention_forward(a->att, a->qkv, p->cu, p->nseq, t->heads, width / t->heads, t->causal, last ? p->pool : NULL);
    pupil_linear_forward(a->mid, a->att, params + w->out_w, NULL, q, width, width);
    const float *stream = a->x;
    if (last) { /* ln2 is free until the next line but one: it holds the pooled rows for a moment */
        gather_rows(a->ln2, a->x, p, width);
        stream = a->ln2;
    }
    pupil_bias_residual(a->mid, stream, a->mid, params + w->out_b, q, width);
    pupil_layernorm_forward(a->ln2, a->mean2, a->rstd2, a->mid, params + w->ln2_w, params + w->ln2_b, q, width, t->eps);
    pupil_linear_forward(a->h, a->ln2, params + w->fc_w, NULL, q, width, t->mlp);
    pupil_bias_act_forward(a->g, a->h, params + w->fc_b, q, t->mlp, t->act);
    pupil_linear_forward(out, a->g, params + w->proj_w, NULL, q, t->mlp, width);
    pupil_bias_residual(out, a->mid, out, params + w->proj_b, q, width);
}

void tower_forward(const tower *t, const float *params, tower_acts *a, const packing *p)
{
    for (int64_t l = 0; l < t->layers; l++) {
        bool last = l + 1 == t->layers;
        block_forward(t, params, &t->block[l], &a->block[l], p, last, last ? a->out : a->block[l + 1].x);
    }
}

/* s->dx holds d/d(output) over q rows and becomes d/d(input stream) over all rows. */
static void block_backward(const tower *t, const float *params, const block_at *w, block_acts *a, tower_scratch *s,
                           const packing *p, bool last, float *grads)
{
    int64_t rows = p->cu[p->nseq], width = t->width, q = last ? p->nseq : rows;
    pupil_linear_backward(s->dh, grads + w->proj_w, grads + w->proj_b, s->dx, a->g, params + w->proj_w, q, t->mlp, width);
    pupil_act_backward(s->dh, s->dh, a->h, q * t->mlp, t->act);
    pupil_linear_backward(s->dln, grads + w->fc_w, grads + w->fc_b, s->dh, a->ln2, params + w->fc_w, q, width, t->mlp);
    memcpy(s->dmid, s->dx, (size_t)(q * width) * sizeof *s->dmid);
    pupil_layernorm_backward(s->dmid, grads + w->ln2_w, grads + w->ln2_b, s->dln, a->mid, a->mean2, a->rstd2,
                             params + w->ln2_w, q, width, true);
    pupil_linear_backward(s->datt, grads + w->out_w, grads + w->out_b, s->dmid, a->att, params + w->out_w, q, width, width);
    pupil_attention_backward(s->dqkv, s->datt, a->qkv, p->cu, p->nseq, t->heads, width / t->heads, t->causal,
                             last ? p->pool : NULL);
    pupil_linear_backward(s->dln, grads + w->qkv_w, grads + w->qkv_b, s->dqkv, a->ln1, params + w->qkv_w, rows, width,
                          3 * width);
    if (last) {
        memset(s->dx, 0, (size_t)(rows * width) * sizeof *s->dx);
        for (int64_t i = 0; i < q; i++)
            memcpy(s->dx + (int64_t)p->pool[i] * width, s->dmid + i * width, (size_t)width * sizeof *s->dx);
    } else {
        float *swap = s->dx;
        s->dx = s->dmid;
        s->dmid = swap;
    }
    pupil_layernorm_backward(s->dx, grads + w->ln1_w, grads + w->ln1_b, s->dln, a->x, a->mean1, a->rstd1,
                             params + w->ln1_w, rows, width, true);
}

void tower_backward(const tower *t, const float *params, tower_acts *a, tower_scratch *s, const packing *p,
                    const float *dout, float *grads)
{
    memcpy(s->dx, dout, (size_t)(p->nseq * t->width) * sizeof *dout);
    for (int64_t l = t->layers - 1; l >= 0; l--)
        block_backward(t, params, &t->block[l], &a->block[l], s, p, l + 1 == t->layers, grads);
}
