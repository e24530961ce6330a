/* pool.c: attention pooling (SigLIP's MAP head, after Lee et al. 2019):
 *   a = out(attention(q = Wq latent, k = Wk x, v = Wv x));  result = a + proj(act(fc(norm(a))))
 * in_w holds Wq, Wk, Wv one below the other. */
#include "pool.h"

#include <math.h>
#include <string.h>

void pool_add(pool *p, pupil_table *table, const char *prefix, int64_t base)
{
    int64_t w = p->width, m = p->mlp;
    double std = pow((double)w, -0.5);
    struct {
        const char *name;
        int64_t *at, rows, cols;
        pupil_init init;
        double value;
    } const list[] = {
        {"latent", &p->latent, w, 0, PUPIL_INIT_NORMAL, std},
        {"in_proj_weight", &p->in_w, 3 * w, w, PUPIL_INIT_NORMAL, std},
        {"in_proj_bias", &p->in_b, 3 * w, 0, PUPIL_INIT_CONST, 0},
        {"proj.weight", &p->out_w, w, w, PUPIL_INIT_NORMAL, std},
        {"proj.bias", &p->out_b, w, 0, PUPIL_INIT_CONST, 0},
        {"norm.weight", &p->norm_w, w, 0, PUPIL_INIT_CONST, 1},
        {"norm.bias", &p->norm_b, w, 0, PUPIL_INIT_CONST, 0},
        {"mlp.fc1.weight", &p->fc_w, m, w, PUPIL_INIT_NORMAL, std},
        {"mlp.fc1.bias", &p->fc_b, m, 0, PUPIL_INIT_CONST, 0},
        {"mlp.fc2.weight", &p->proj_w, w, m, PUPIL_INIT_NORMAL, pow((double)m, -0.5)},
        {"mlp.fc2.bias", &p->proj_b, w, 0, PUPIL_INIT_CONST, 0},
    };
    for (int i = 0; i < PUPIL_COUNT(list); i++) {
        char name[96];
        snprintf(name, sizeof name, "%s%s", prefix, list[i].name);
        *list[i].at = pupil_table_add(table, name, list[i].cols ? 2 : 1, (int64_t[]){list[i].rows, list[i].cols}, list[i].init,
                                      list[i].value) - base;
    }
}

static float *room(int64_t n) { return pupil_alloc((size_t)n * sizeof(float)); }

void pool_acts_new(pool_acts *a, const pool *p, int64_t rows, int64_t nseq)
{
    int64_t w = p->width;
    *a = (pool_acts){room(w), room(rows * 2 * w), room(nseq * w), room(nseq * w), room(nseq), room(nseq),
                     room(nseq * w), room(nseq * p->mlp), room(nseq * p->mlp), room(nseq * w)};
}

void pool_acts_free(pool_acts *a)
{
    float **all[] = {&a->q, &a->kv, &a->att, &a->mid, &a->mean, &a->rstd, &a->ln, &a->h, &a->g, &a->out};
    for (int i = 0; i < PUPIL_COUNT(all); i++) pupil_free(all[i]);
}

void pool_scratch_new(pool_scratch *s, const pool *p, int64_t rows, int64_t nseq)
{
    int64_t w = p->width;
    *s = (pool_scratch){room(w), room(rows * 2 * w), room(nseq * w), room(nseq * w), room(nseq * w), room(nseq * p->mlp)};
}

void pool_scratch_free(pool_scratch *s)
{
    float **all[] = {&s->dq, &s->dkv, &s->dmid, &s->dln, &s->datt, &s->dh};
    for (int i = 0; i < PUPIL_COUNT(all); i++) pupil_free(all[i]);
}

void pool_forward(const pool *p, const float *w, pool_acts *a, const float *x, const int32_t *cu, int64_t nseq)
{
    int64_t n = p->width, rows = cu[nseq];
    pupil_linear_forward(a->q, w + p->latent, w + p->in_w, w + p->in_b, 1, n, n);
    pupil_linear_forward(a->kv, x, w + p->in_w + n * n, w + p->in_b + n, rows, n, 2 * n);
    pupil_pool_attention_forward(a->att, a->q, a->kv, cu, nseq, p->heads, n / p->heads);
    pupil_linear_forward(a->mid, a->att, w + p->out_w, w + p->out_b, nseq, n, n);
    pupil_layernorm_forward(a->ln, a->mean, a->rstd, a->mid, w + p->norm_w, w + p->norm_b, nseq, n, p->eps);
    pupil_linear_forward(a->h, a->ln, w + p->fc_w, NULL, nseq, n, p->mlp);
    pupil_bias_act_forward(a->g, a->h, w + p->fc_b, nseq, p->mlp, p->act);
    pupil_linear_forward(a->out, a->g, w + p->proj_w, NULL, nseq, p->mlp, n);
    pupil_bias_residual(a->out, a->mid, a->out, w + p->proj_b, nseq, n);
}

void pool_backward(const pool *p, const float *w, pool_acts *a, pool_scratch *s, const float *x, const int32_t *cu, int64_t nseq,
                   float *dout, float *dx, float *g)
{
    int64_t n = p->width, rows = cu[nseq];
    pupil_linear_backward(s->dh, g + p->proj_w, g + p->proj_b, dout, a->g, w + p->proj_w, nseq, p->mlp, n);
    pupil_act_backward(s->dh, s->dh, a->h, nseq * p->mlp, p->act);
    pupil_linear_backward(s->dln, g + p->fc_w, g + p->fc_b, s->dh, a->ln, w + p->fc_w, nseq, n, p->mlp);
    pupil_layernorm_backward(dout, g + p->norm_w, g + p->norm_b, s->dln, a->mid, a->mean, a->rstd, w + p->norm_w, nseq, n, true);
    pupil_linear_backward(s->datt, g + p->out_w, g + p->out_b, dout, a->att, w + p->out_w, nseq, n, n);
    pupil_pool_attention_backward(s->dq, s->dkv, s->datt, a->q, a->kv, cu, nseq, p->heads, n / p->heads);
    pupil_linear_backward(dx, g + p->in_w + n * n, g + p->in_b + n, s->dkv, x, w + p->in_w + n * n, rows, n, 2 * n);
    pupil_linear_backward(s->dmid, g + p->in_w, g + p->in_b, s->dq, w + p->latent, w + p->in_w, 1, n, n);
    pupil_add(g + p->latent, s->dmid, n);
}
