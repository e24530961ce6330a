/* tower.c: the transformer blocks of both towers, forward and backward: pre-norm attention and MLP, with EVA02's variations
 * (rotary positions, SwiGLU, a norm before each last projection) where the tower asks for them.
 *
 * Where one row of each sequence leaves the tower (class token, end token), the last block computes keys and values
 * for all rows but queries, projection and MLP for the pooled rows alone: the same result for a quarter of the work of that
 * block. Weights come span by span, a block at a time, so that they need not be in memory as floats. */
#include "tower.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

typedef struct {
    const char *clip, *trunk; /* the name in open_clip's own towers, and in timm's */
    int64_t *at, rows, cols;
    pupil_init init;
    double value;
} block_tensor;

/* The tensors of one block, in the order of the table; returns how many. */
static int block_tensors(tower *t, block_tensor list[16])
{
    int64_t w = t->width, m = t->mlp, h = t->swiglu ? 2 * m : m;
    double attn = pow((double)w, -0.5), proj = attn * pow(2.0 * (double)t->layers, -0.5), fc = pow(2.0 * (double)w, -0.5);
    block_at *b = &t->at;
    const block_tensor all[16] = {
        {"ln_1.weight", "norm1.weight", &b->ln1_w, w, 0, PUPIL_INIT_CONST, 1},
        {"ln_1.bias", "norm1.bias", &b->ln1_b, w, 0, PUPIL_INIT_CONST, 0},
        {"attn.in_proj_weight", "attn.qkv.weight", &b->qkv_w, 3 * w, w, PUPIL_INIT_NORMAL, attn},
        {"attn.in_proj_bias", "attn.qkv.bias", &b->qkv_b, 3 * w, 0, PUPIL_INIT_CONST, 0},
        {NULL, "attn.norm.weight", &b->an_w, w, 0, PUPIL_INIT_CONST, 1},
        {NULL, "attn.norm.bias", &b->an_b, w, 0, PUPIL_INIT_CONST, 0},
        {"attn.out_proj.weight", "attn.proj.weight", &b->out_w, w, w, PUPIL_INIT_NORMAL, proj},
        {"attn.out_proj.bias", "attn.proj.bias", &b->out_b, w, 0, PUPIL_INIT_CONST, 0},
        {"ln_2.weight", "norm2.weight", &b->ln2_w, w, 0, PUPIL_INIT_CONST, 1},
        {"ln_2.bias", "norm2.bias", &b->ln2_b, w, 0, PUPIL_INIT_CONST, 0},
        {"mlp.c_fc.weight", "mlp.fc1.weight", &b->fc_w, h, w, PUPIL_INIT_NORMAL, fc},
        {"mlp.c_fc.bias", "mlp.fc1.bias", &b->fc_b, h, 0, PUPIL_INIT_CONST, 0},
        {NULL, "mlp.norm.weight", &b->gn_w, m, 0, PUPIL_INIT_CONST, 1},
        {NULL, "mlp.norm.bias", &b->gn_b, m, 0, PUPIL_INIT_CONST, 0},
        {"mlp.c_proj.weight", "mlp.fc2.weight", &b->proj_w, w, m, PUPIL_INIT_NORMAL, proj},
        {"mlp.c_proj.bias", "mlp.fc2.bias", &b->proj_b, w, 0, PUPIL_INIT_CONST, 0},
    };
    int n = 0;
    for (int i = 0; i < PUPIL_COUNT(all); i++) {
        bool inner = !all[i].clip;
        *all[i].at = -1;
        if (!inner || t->inner_norm) list[n++] = all[i];
    }
    return n;
}

void tower_add(tower *t, pupil_table *table, const char *prefix)
{
    block_tensor list[16];
    int n = block_tensors(t, list);
    t->first = table->total;
    for (int64_t l = 0; l < t->layers; l++) {
        int64_t begin = table->total;
        for (int i = 0; i < n; i++) {
            char name[96];
            snprintf(name, sizeof name, "%s%s.%d.%s", prefix, t->trunk_names ? "blocks" : "transformer.resblocks", (int)l,
                     t->trunk_names ? list[i].trunk : list[i].clip);
            *list[i].at = pupil_table_add(table, name, list[i].cols ? 2 : 1, (int64_t[]){list[i].rows, list[i].cols},
                                          list[i].init, list[i].value) - begin;
        }
        t->stride = table->total - begin;
    }
}

void tower_free(tower *t)
{
    pupil_free(&t->cosine);
    pupil_free(&t->sine);
}

double tower_row_floats(const tower *t, bool keep)
{
    double w = (double)t->width, m = (double)t->mlp, h = t->swiglu ? 2 * m : m;
    double row = 6 * w + h + 4, once = 2 * w; /* x qkv(3) att mid | h | means, rstds; ln1, ln2 */
    if (t->swiglu || t->inner_norm) row += m;
    else if (keep) once += m;
    if (t->inner_norm) row += w + m + 4;
    return once + (keep ? row * (double)t->layers : row + w);
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

/* May backward compute it again? */
static bool again(const tower *t) { return !t->swiglu && !t->inner_norm; }

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
        b->ln1 = l ? a->block->ln1 : carve(&memory, &total, rows * w);
        b->qkv = carve(&memory, &total, rows * 3 * w);
        b->att = b->an = carve(&memory, &total, rows * w);
        b->mid = carve(&memory, &total, rows * w);
        b->ln2 = l ? a->block->ln2 : carve(&memory, &total, rows * w);
        b->h = b->g = carve(&memory, &total, rows * (t->swiglu ? 2 : 1) * t->mlp);
        if (again(t) && l) b->g = a->block->g;
        else if (keep || t->swiglu) b->g = carve(&memory, &total, rows * t->mlp);
        b->gn = b->g;
        b->mean1 = carve(&memory, &total, rows);
        b->rstd1 = carve(&memory, &total, rows);
        b->mean2 = carve(&memory, &total, rows);
        b->rstd2 = carve(&memory, &total, rows);
        if (!t->inner_norm) continue;
        b->an = carve(&memory, &total, rows * w);
        b->gn = carve(&memory, &total, rows * t->mlp);
        b->mean3 = carve(&memory, &total, rows);
        b->rstd3 = carve(&memory, &total, rows);
        b->mean4 = carve(&memory, &total, rows);
        b->rstd4 = carve(&memory, &total, rows);
    }
    a->out = carve(&memory, &total, (t->all_rows ? rows : nseq) * w);
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
    s->datt = s->dan = carve(&memory, &total, rows * w);
    s->dh = s->dg = carve(&memory, &total, rows * (t->swiglu ? 2 : 1) * t->mlp);
    if (t->swiglu) s->dg = carve(&memory, &total, rows * t->mlp);
    s->dgn = s->dg;
    if (t->inner_norm) {
        s->dan = carve(&memory, &total, rows * w);
        s->dgn = carve(&memory, &total, rows * t->mlp);
    }
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

static void attend(const tower *t, const float *w, block_acts *a, const packing *p, bool last)
{
    const block_at *at = &t->at;
    int64_t rows = p->cu[p->nseq], width = t->width, hd = width / t->heads;
    pupil_layernorm_forward(a->ln1, a->mean1, a->rstd1, a->x, w + at->ln1_w, w + at->ln1_b, rows, width, t->eps);
    pupil_linear_forward(a->qkv, a->ln1, w + at->qkv_w, w + at->qkv_b, rows, width, 3 * width);
    if (t->cosine) pupil_rope(a->qkv, t->cosine, t->sine, rows, t->rope_tokens, t->rope_first, t->heads, hd, false);
    pupil_attention_forward(a->att, a->qkv, p->cu, p->nseq, t->heads, hd, t->causal, last ? p->pool : NULL);
    if (t->inner_norm)
        pupil_layernorm_forward(a->an, a->mean3, a->rstd3, a->att, w + at->an_w, w + at->an_b, last ? p->nseq : rows, width,
                                t->eps);
}

static void block_forward(const tower *t, const float *w, block_acts *a, const packing *p, bool last, float *out)
{
    const block_at *at = &t->at;
    int64_t width = t->width, q = last ? p->nseq : p->cu[p->nseq], h = t->swiglu ? 2 * t->mlp : t->mlp;
    attend(t, w, a, p, last);
    pupil_linear_forward(a->mid, a->an, w + at->out_w, NULL, q, width, width);
    const float *stream = a->x;
    if (last) { /* ln2 is free until the next line but one: it holds the pooled rows for a moment */
        gather_rows(a->ln2, a->x, p, width);
        stream = a->ln2;
    }
    pupil_bias_residual(a->mid, stream, a->mid, w + at->out_b, q, width);
    pupil_layernorm_forward(a->ln2, a->mean2, a->rstd2, a->mid, w + at->ln2_w, w + at->ln2_b, q, width, t->eps);
    pupil_linear_forward(a->h, a->ln2, w + at->fc_w, NULL, q, width, h);
    if (t->swiglu) pupil_bias_swiglu_forward(a->g, a->h, w + at->fc_b, q, t->mlp);
    else pupil_bias_act_forward(a->g, a->h, w + at->fc_b, q, t->mlp, t->act);
    if (t->inner_norm)
        pupil_layernorm_forward(a->gn, a->mean4, a->rstd4, a->g, w + at->gn_w, w + at->gn_b, q, t->mlp, t->eps);
    pupil_linear_forward(out, a->gn, w + at->proj_w, NULL, q, t->mlp, width);
    pupil_bias_residual(out, a->mid, out, w + at->proj_b, q, width);
}

void tower_forward(const tower *t, pupil_weights *w, tower_acts *a, const packing *p)
{
    for (int64_t l = 0; l < t->layers; l++) {
        bool end = l + 1 == t->layers;
        block_forward(t, weights_span(w, t->first + l * t->stride, t->stride), &a->block[l], p, end && !t->all_rows,
                      end ? a->out : a->block[l + 1].x);
    }
}

/* s->dx -> s->dln, the gradient of ln2's output; dx stays. */
static void mlp_backward(const tower *t, const float *w, block_acts *a, tower_scratch *s, int64_t q, float *g)
{
    const block_at *at = &t->at;
    int64_t width = t->width, m = t->mlp;
    pupil_layernorm_forward(a->ln2, NULL, NULL, a->mid, w + at->ln2_w, w + at->ln2_b, q, width, t->eps);
    if (again(t)) pupil_bias_act_forward(a->g, a->h, NULL, q, m, t->act);
    pupil_linear_backward(s->dgn, g + at->proj_w, g + at->proj_b, s->dx, a->gn, w + at->proj_w, q, m, width);
    if (t->inner_norm)
        pupil_layernorm_backward(s->dg, g + at->gn_w, g + at->gn_b, s->dgn, a->g, a->mean4, a->rstd4, w + at->gn_w, q, m, false);
    if (t->swiglu) pupil_swiglu_backward(s->dh, s->dg, a->h, q, m);
    else pupil_act_backward(s->dh, s->dg, a->h, q * m, t->act);
    pupil_linear_backward(s->dln, g + at->fc_w, g + at->fc_b, s->dh, a->ln2, w + at->fc_w, q, width, t->swiglu ? 2 * m : m);
}

/* s->dmid -> s->dln, the gradient of ln1's output; dmid stays. */
static void attend_backward(const tower *t, const float *w, block_acts *a, tower_scratch *s, const packing *p, bool last, float *g)
{
    const block_at *at = &t->at;
    int64_t rows = p->cu[p->nseq], width = t->width, hd = width / t->heads, q = last ? p->nseq : rows;
    pupil_layernorm_forward(a->ln1, NULL, NULL, a->x, w + at->ln1_w, w + at->ln1_b, rows, width, t->eps);
    pupil_linear_backward(s->dan, g + at->out_w, g + at->out_b, s->dmid, a->an, w + at->out_w, q, width, width);
    if (t->inner_norm)
        pupil_layernorm_backward(s->datt, g + at->an_w, g + at->an_b, s->dan, a->att, a->mean3, a->rstd3, w + at->an_w, q, width,
                                 false);
    pupil_attention_backward(s->dqkv, s->datt, a->qkv, p->cu, p->nseq, t->heads, hd, t->causal, last ? p->pool : NULL);
    if (t->cosine) pupil_rope(s->dqkv, t->cosine, t->sine, rows, t->rope_tokens, t->rope_first, t->heads, hd, true);
    pupil_linear_backward(s->dln, g + at->qkv_w, g + at->qkv_b, s->dqkv, a->ln1, w + at->qkv_w, rows, width, 3 * width);
    if (t->no_k_bias) memset(g + at->qkv_b + width, 0, (size_t)width * sizeof *g);
}

/* s->dx holds d/d(output) over q rows and becomes d/d(input stream) over all rows. */
static void block_backward(const tower *t, const float *w, block_acts *a, tower_scratch *s, const packing *p, bool last, float *g)
{
    const block_at *at = &t->at;
    int64_t rows = p->cu[p->nseq], width = t->width, q = last ? p->nseq : rows;
    mlp_backward(t, w, a, s, q, g);
    memcpy(s->dmid, s->dx, (size_t)(q * width) * sizeof *s->dmid);
    pupil_layernorm_backward(s->dmid, g + at->ln2_w, g + at->ln2_b, s->dln, a->mid, a->mean2, a->rstd2, w + at->ln2_w, q, width,
                             true);
    attend_backward(t, w, a, s, p, last, g);
    if (last) {
        memset(s->dx, 0, (size_t)(rows * width) * sizeof *s->dx);
        for (int64_t i = 0; i < q; i++)
            memcpy(s->dx + (int64_t)p->pool[i] * width, s->dmid + i * width, (size_t)width * sizeof *s->dx);
    } else {
        float *swap = s->dx;
        s->dx = s->dmid;
        s->dmid = swap;
    }
    pupil_layernorm_backward(s->dx, g + at->ln1_w, g + at->ln1_b, s->dln, a->x, a->mean1, a->rstd1, w + at->ln1_w, rows, width,
                             true);
}

void tower_backward(const tower *t, const float *params, tower_acts *a, tower_scratch *s, const packing *p, float *grads, int64_t end,
                    int64_t first, const pupil_grads_final *tell)
{
    for (int64_t l = end - 1; l >= first; l--) {
        int64_t at = t->first + l * t->stride;
        block_backward(t, params + at, &a->block[l], s, p, l + 1 == t->layers && !t->all_rows, grads + at);
        grads_are_final(tell, at, at + t->stride);
    }
}
