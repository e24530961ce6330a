/* fusion.h (private to eval): the fusion head. */
#ifndef PUPIL_EVAL_FUSION_H
#define PUPIL_EVAL_FUSION_H

#include "layers.h"
#include "pupil/eval.h"

enum { OF_IMAGE, OF_TEXT, STREAMS };

/* A layer of one stream. */
typedef struct {
    attend_at self, cross;
    mlp_at mlp;
} fusion_block;
typedef struct {
    attend_acts self, cross;
    mlp_acts mlp;
} fusion_acts;

struct pupil_fusion {
    pupil_fusion_arch arch;
    layer_shape shape;
    pupil_table table;
    int64_t in_w[STREAMS], in_b[STREAMS], norm[STREAMS];
    int64_t fc_w, fc_b, out_w, out_b;
    fusion_block (*block)[STREAMS]; /* [layers] */
    fusion_acts (*acts)[STREAMS];   /* of the last forward pass */
    arena memory;
};

/* One stream of a batch: rows of all questions, packed. */
typedef struct {
    int64_t n, rows, in;     /* in: width of its features */
    int32_t *first, *count;  /* [n] */
    float *feature, *x;      /* [rows, in], [rows, width] */
    const float *end;        /* what leaves the last layer */
    float *normed, *rstd;
} fusion_stream;
typedef struct {
    fusion_stream s[STREAMS];
    float *pooled, *h, *act, *z; /* [n, 2 width + arch.pooled]: the means, then the probe's features; [n, width], [n, answers] */
} fusion_batch;
void fusion_forward(pupil_fusion *f, const float *params, const pupil_fusing *item, int64_t n, fusion_batch *b);

#endif
