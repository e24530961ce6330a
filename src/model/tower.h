/* tower.h (private to model): one pre-norm transformer over packed sequences, for both towers of every family. */
#ifndef PUPIL_MODEL_TOWER_H
#define PUPIL_MODEL_TOWER_H

#include "pupil/model.h"
#include "weights.h"

/* Offsets of a block's tensors from the block's first; -1: it has none. */
typedef struct {
    int64_t ln1_w, ln1_b, qkv_w, qkv_b, an_w, an_b, out_w, out_b, ln2_w, ln2_b, fc_w, fc_b, gn_w, gn_b, proj_w, proj_b;
} block_at;

typedef struct {
    int64_t width, layers, heads, mlp;
    pupil_activation act;
    float eps;
    bool causal;
    bool all_rows;                      /* all rows of the stream are wanted, not the pooled ones alone */
    bool swiglu, inner_norm, no_k_bias; /* see pupil_arch */
    bool trunk_names;
    int64_t rope_tokens, rope_first;    /* rows a sequence, and the first of them that is turned */
    float *cosine, *sine;               /* [rope_tokens - rope_first, head width / 2], owned; NULL: no RoPE */
    block_at at;
    int64_t first, stride;              /* block l's tensors begin at first + l*stride of the flat array */
} tower;

/* What backward needs of one block: x is the residual stream entering it. Outputs of norms and of a plain activation cost
 * little: ln1, ln2 and, without inner norm and SwiGLU, g are one array for all blocks, and computed again by backward. */
typedef struct {
    float *x, *mean1, *rstd1, *ln1, *qkv, *att, *mean3, *rstd3, *an, *mid, *mean2, *rstd2, *ln2, *h, *g, *mean4, *rstd4, *gn;
} block_acts;

typedef struct {
    int64_t rows; /* room */
    block_acts *block;
    float *out;   /* the stream after the last block: [rows,width], or its pooled rows [nseq,width] */
    float *memory;
} tower_acts;

typedef struct {
    float *dx, *dmid, *dln, *dqkv, *datt, *dan, *dh, *dg, *dgn; /* backward, [rows, ...] */
    float *memory;
} tower_scratch;

/* nseq sequences packed as cu[nseq+1]; pool[s] is the row whose output is wanted. */
typedef struct {
    const int32_t *cu, *pool;
    int64_t nseq;
} packing;

/* Adds the blocks' tensors to the table; all fields above `at` are the caller's, but for the RoPE tables. */
void tower_add(tower *t, pupil_table *table, const char *prefix);
void tower_free(tower *t);
void tower_acts_new(tower_acts *a, const tower *t, int64_t rows, int64_t nseq, bool keep);
void tower_acts_free(tower_acts *a);
void tower_scratch_new(tower_scratch *s, const tower *t, int64_t rows);
void tower_scratch_free(tower_scratch *s);
/* a->block[0].x holds the input stream; a->out is made. */
void tower_forward(const tower *t, pupil_weights *w, tower_acts *a, const packing *p);
/* s->dx -> s->dx[rows,width] = gradient of the stream that enters block `first`; grads +=, told by block. What comes in is that of
 * what leaves block end - 1: shaped as a->out behind the last one, else [rows,width]. */
void tower_backward(const tower *t, const float *params, tower_acts *a, tower_scratch *s, const packing *p, float *grads, int64_t end,
                    int64_t first, const pupil_grads_final *tell);
static inline void grads_are_final(const pupil_grads_final *tell, int64_t first, int64_t end)
{
    if (tell->call) tell->call(tell->ctx, first, end);
}
/* Floats of activations a row costs. */
double tower_row_floats(const tower *t, bool keep);

#endif
