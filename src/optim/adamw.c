/* adamw.c: decoupled weight decay, moments and the step, in PyTorch's order of operations:
 *   p -= lr wd p;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g g;  p -= lr/(1-b1^t) m / (sqrt(v)/sqrt(1-b2^t) + eps) */
#include "pupil/optim.h"

#include "pupil/math.h"

#include <math.h>

void pupil_optim_ranges(int64_t n, int size, int64_t *at)
{
    int64_t chunks = (n + PUPIL_CHUNK - 1) / PUPIL_CHUNK;
    for (int r = 0; r <= size; r++) at[r] = PUPIL_MIN(n, chunks * r / size * PUPIL_CHUNK);
}

double pupil_lr_at(const pupil_conf_train *c, int64_t step)
{
    if (step < c->warmup) return c->lr * (double)(step + 1) / (double)c->warmup;
    double e = (double)(step - c->warmup), es = (double)PUPIL_MAX(1, c->steps - c->warmup);
    double left = c->lr_schedule == PUPIL_LR_LINEAR ? fmax(0, 1 - e / es) : 0.5 * (1 + cos(M_PI * e / es));
    return c->lr_schedule == PUPIL_LR_CONSTANT ? c->lr : c->lr_min + left * (c->lr - c->lr_min);
}

void pupil_grad_sumsq(const float *grad, int64_t begin, int64_t end, double *sums)
{
    PUPIL_REQUIRE(begin % PUPIL_CHUNK == 0);
    if (end > begin) pupil_sumsq_chunks(sums + begin / PUPIL_CHUNK, grad, end - begin);
}

double pupil_grad_norm(const double *sums, int64_t n)
{
    double s = 0;
    for (int64_t c = 0; c < (n + PUPIL_CHUNK - 1) / PUPIL_CHUNK; c++) s += sums[c];
    return sqrt(s);
}

double pupil_clip_factor(double norm, double max_norm)
{
    return max_norm > 0 ? fmin(1, max_norm / (norm + 1e-6)) : 1;
}

typedef struct {
    float b1, c1, b2, c2, decay, rate, denom, eps, clip; /* c = 1 - b, rounded once */
} coefficients;

static void advance(float *p, float *m, float *v, const float *g, int64_t n, const coefficients *k, bool decay)
{
    float keep = decay ? k->decay : 1.0f;
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * k->clip;
        float mi = k->b1 * m[i] + k->c1 * gi, vi = k->b2 * v[i] + k->c2 * gi * gi;
        m[i] = mi;
        v[i] = vi;
        p[i] = p[i] * keep - k->rate * mi / (sqrtf(vi) * k->denom + k->eps);
    }
}

void pupil_adamw(float *params, float *m, float *v, const float *grad, int64_t begin, int64_t end,
                 const pupil_decay_run *runs, int64_t nruns, const pupil_conf_train *c, double lr, double clip, int64_t step)
{
    double t = (double)step;
    coefficients k = {.b1 = (float)c->beta1,
                      .c1 = (float)(1 - c->beta1),
                      .b2 = (float)c->beta2,
                      .c2 = (float)(1 - c->beta2),
                      .decay = (float)(1 - lr * c->wd),
                      .rate = (float)(lr / (1 - pow(c->beta1, t))),
                      .denom = (float)(1 / sqrt(1 - pow(c->beta2, t))),
                      .eps = (float)c->eps,
                      .clip = (float)clip};
    for (int64_t i = 0; i < nruns; i++) {
        int64_t a = PUPIL_MAX(begin, runs[i].offset), b = PUPIL_MIN(end, runs[i].offset + runs[i].count);
        coefficients own = k;
        if (runs[i].lr > 0) own.rate = (float)(runs[i].lr / (1 - pow(c->beta1, t)));
        if (a < b) advance(params + a + runs[i].shift, m + a, v + a, grad + (a - begin), b - a, &own, runs[i].decay);
    }
}

void pupil_ema(float *average, const float *params, int64_t begin, int64_t end, const pupil_decay_run *runs, int64_t nruns,
               double decay)
{
    const float rate = (float)(1 - decay);
    for (int64_t i = 0; i < nruns; i++) {
        int64_t a = PUPIL_MAX(begin, runs[i].offset), b = PUPIL_MIN(end, runs[i].offset + runs[i].count);
        const float *p = params + runs[i].shift;
        for (int64_t k = a; k < b; k++) average[k] += rate * (p[k] - average[k]);
    }
}
