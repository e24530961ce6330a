/* reader.h (private to eval): the generative reader, and the parts that decoding shares with training. */
#ifndef PUPIL_EVAL_READER_H
#define PUPIL_EVAL_READER_H

#include "layers.h"
#include "pupil/eval.h"

typedef struct {
    attend_at attend;
    mlp_at mlp;
} reader_block;

struct pupil_reader {
    pupil_reader_arch arch;
    layer_shape shape;
    pupil_table table;
    int64_t fc_w, fc_b, proj_w, proj_b; /* projector */
    int64_t embed, head, norm; /* head: embed, where they are tied */
    reader_block *block;
    rotary rope;
    arena memory;
    attend_acts *attend; /* [layers]: of the last forward pass */
    mlp_acts *mlp;
};

/* Sequences packed end to end: picture, then the first ids[i] ids of item i. Of each, the last tail rows are to be read out. */
typedef struct {
    const pupil_reading *item;
    int64_t n, rows, tails, image_rows; /* all rows, rows read out, rows of pictures */
    int32_t *first, *count, *seen, *at; /* [n], [n], [n], [rows]: positions; seen: rows there are to look at, those of a cache, too */
    int32_t *tail_first, *tail, *tail_row, *tail_at; /* [n], [n], [tails]: rows of the stream, and their positions */
    float *pixels, *h, *act;            /* the projector's, [image_rows, ...] */
    float *x;                           /* the stream that enters the decoder */
} reader_batch;
/* given: the sequences end with what is given, and their last row is read out; else all but the last id, and the rows from
 * the last one given. */
void reader_pack(pupil_reader *r, const float *params, const pupil_reading *item, int64_t n, bool given, reader_batch *b);
/* The rows read out, at the end. */
typedef struct {
    float *normed, *rstd, *z; /* z: their logits */
} reader_end;
/* The decoder's walk over a batch. cache[layers] (NULL: none): where keys and values of row r go as row to[r], sequence i having its rows from key[i] on. */
void reader_forward(pupil_reader *r, const float *params, const reader_batch *b, float *const *cache, const int32_t *key,
                    const int32_t *to, reader_end *e);

#endif
