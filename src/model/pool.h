/* pool.h (private to model): attention pooling, SigLIP's MAP head: one learned query sees all rows of a sequence. */
#ifndef PUPIL_MODEL_POOL_H
#define PUPIL_MODEL_POOL_H

#include "pupil/model.h"

typedef struct {
    int64_t width, heads, mlp;
    pupil_activation act;
    float eps;
    /* offsets from the tensors that come with it (see pool_add) */
    int64_t latent, in_w, in_b, out_w, out_b, norm_w, norm_b, fc_w, fc_b, proj_w, proj_b;
} pool;

typedef struct {
    float *q, *kv;                                     /* [width], [rows, 2*width] */
    float *att, *mid, *mean, *rstd, *ln, *h, *g, *out; /* [nseq, ...] */
} pool_acts;

typedef struct {
    float *dq, *dkv, *dmid, *dln, *datt, *dh;
} pool_scratch;

/* Offsets are counted from `base` of the flat array; params, grads below begin there. */
void pool_add(pool *p, pupil_table *table, const char *prefix, int64_t base);
void pool_acts_new(pool_acts *a, const pool *p, int64_t rows, int64_t nseq);
void pool_acts_free(pool_acts *a);
void pool_scratch_new(pool_scratch *s, const pool *p, int64_t rows, int64_t nseq);
void pool_scratch_free(pool_scratch *s);
/* x[rows,width] -> a->out[nseq,width]. */
void pool_forward(const pool *p, const float *w, pool_acts *a, const float *x, const int32_t *cu, int64_t nseq);
/* dx[rows,width] = gradient; grads +=. dout may be changed. */
void pool_backward(const pool *p, const float *w, pool_acts *a, pool_scratch *s, const float *x, const int32_t *cu, int64_t nseq,
                   float *dout, float *dx, float *grads);

#endif
