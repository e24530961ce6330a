/* tower.h (private to model): one pre-LN transformer over packed sequences, for both towers. */
#ifndef PUPIL_MODEL_TOWER_H
#define PUPIL_MODEL_TOWER_H

#include "pupil/model.h"

/* Offsets of one block's tensors in the flat array. */
typedef struct {
    int64_t ln1_w, ln1_b, qkv_w, qkv_b, out_w, out_b, ln2_w, ln2_b, fc_w, fc_b, proj_w, proj_b;
} block_at;

typedef struct {
    int64_t width, layers, heads, mlp;
    bool causal;
    pupil_activation act;
    float eps;
    block_at *block; /* [layers], owned */
} tower;

/* What backward needs of one block: x is the residual stream entering it. */
typedef struct {
    float *x, *mean1, *rstd1, *ln1, *qkv, *att, *mid, *mean2, *rstd2, *ln2, *h, *g;
} block_acts;

typedef struct {
    int64_t rows; /* room */
    block_acts *block;
    float *out;   /* [nseq,width] the pooled rows of the stream after the last block */
    float *memory;
} tower_acts;

typedef struct {
    float *dx, *dmid, *dln, *dqkv, *datt, *dh; /* backward, [rows, ...] */
    float *memory;
} tower_scratch;

/* nseq sequences packed as cu[nseq+1]; pool[s] is the row whose output is wanted. */
typedef struct {
    const int32_t *cu, *pool;
    int64_t nseq;
} packing;

void tower_add(tower *t, pupil_table *table, const char *prefix);
void tower_free(tower *t);
void tower_acts_new(tower_acts *a, const tower *t, int64_t rows, int64_t nseq, bool keep);
void tower_acts_free(tower_acts *a);
void tower_scratch_new(tower_scratch *s, const tower *t, int64_t rows);
void tower_scratch_free(tower_scratch *s);
/* a->block[0].x holds the input stream; the pooled rows come out in a->out. */
void tower_forward(const tower *t, const float *params, tower_acts *a, const packing *p);
/* dout[nseq,width] -> s->dx[rows,width] = gradient of the input stream; grads +=. */
void tower_backward(const tower *t, const float *params, tower_acts *a, tower_scratch *s, const packing *p,
                    const float *dout, float *grads);
/* Floats of activations a row costs. */
double tower_row_floats(const tower *t, bool keep);

#endif
