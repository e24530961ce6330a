/* probe.h (private to eval): the two-layer head, so that tests can hold its gradient against differences. */
#ifndef PUPIL_EVAL_PROBE_H
#define PUPIL_EVAL_PROBE_H

#include "pupil/eval.h"

/** z = W2 gelu(W1 x + b1) + b2. Parameters lie in one arena: W1[hidden,features] W2[answers,hidden] b1 b2. */
typedef struct {
    int64_t features, hidden, answers, batch; /* batch: the most rows of one call */
    int64_t matrices, count;                  /* parameters with decay (W1, W2), parameters in all */
    float *param, *grad;
    float *h, *a, *z, *dz, *da; /* [batch,...]: before and after GELU, logits and gradients */
} probe;

void probe_init(probe *p, int64_t features, int64_t hidden, int64_t answers, int64_t batch, uint64_t seed);
void probe_free(probe *p);
/** Logits p->z[n,answers] of x[n,features]. */
void probe_forward(probe *p, const float *x, int64_t n);
/** Forward, then p->grad = gradient of the returned loss: binary cross-entropy summed over answers, mean over rows. */
double probe_gradient(probe *p, const float *x, const float *target, int64_t n);

/* What other heads over an answer list need, too. */
/** Sum over count logits of the binary cross-entropy with soft labels; dz = its gradient times scale. */
double probe_cross_entropy(float *dz, const float *z, const float *target, int64_t count, float scale);
/** bias[answers] = log-odds of the mean targets. */
void probe_prior(const float *target, int64_t n, int64_t answers, float *bias);
/** The first of the largest. */
int32_t probe_argmax(const float *z, int64_t n);

#endif
