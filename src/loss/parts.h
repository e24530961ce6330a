/* parts.h (private to loss): the features a configuration works on, and the families of terms over them.
 *
 * A family registers in open() what it needs: matrices to be gathered, columns of row statistics, logits
 * ("boards"). Then, slot by slot, round() fills this slot's rows of what the round gathers, and grad() adds
 * values, gradients w.r.t. the slot's rows of the student's matrices, and the parameters' gradients. */
#ifndef PUPIL_LOSS_PARTS_H
#define PUPIL_LOSS_PARTS_H

#include "pupil/loss.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

enum { IMAGE, TEXT };
enum { ROUNDS = 4, SQUARES = 8, MATRICES = 112 };
/* Which tensor of the loss. */
enum {
    HEAD_W,
    HEAD_B,
    HEAD2_W,
    HEAD2_B,
    CROSS_SCALE,
    FUSION_W,
    FUSION_B,
    FUSION2_W,
    FUSION2_B,
    FUSION_SCALE,
    BIAS
};

/* Features of the batch; the rows of other slots are here after the gather of its round only. */
typedef struct {
    float *rows; /* [batch, width] */
    int64_t width;
    int shared;  /* gathered after this round; -1: own rows are all that is needed */
    float *norm; /* [batch] lengths before normalisation, or NULL */
    float *grad; /* [slot rows, width] of the slot at hand; NULL: a teacher's */
} matrix;

/* A logit scale: a constant, or a parameter's exp, its inverse, or the parameter itself, times a factor. */
typedef struct {
    enum { FIXED, LOGIT, INVERSE_LOGIT, TENSOR_EXP, TENSOR_RAW } kind;
    int tensor;
    double factor;
} scale;

/* Own rows of one matrix over all rows of another: logits and their log-sum-exp. */
typedef struct {
    matrix *own, *all;
    scale scale;
    int lse; /* column of the statistics of round 1 */
} board;

/* A softmax pulled to a target: the labels of the diagonal, or the mean of the teachers' softmaxes. */
typedef struct {
    int term, board;
    enum { LABELS, CROSS_ENTROPY, KL, REVERSED_KL } mode;
    double share;       /* in the term's value */
    double row, column; /* of own's rows over all, and of all's rows over own */
    int mirror;         /* board of `all` over `own`, if column != 0 */
    int targets, target[PUPIL_LOSS_TEACHERS], target_mirror[PUPIL_LOSS_TEACHERS];
    double part[PUPIL_LOSS_TEACHERS];
    int kl, twin; /* REVERSED_KL: column of each row's KL; the aim of the mirror */
} aim;

struct pupil_loss {
    pupil_loss_conf c;
    int64_t rows; /* of a slot */
    int captions, rounds;
    pupil_loss_tensor tensor[PUPIL_LOSS_TENSORS];
    int tensors;

    matrix matrix[MATRICES];
    int matrices;
    matrix *unit[PUPIL_LOSS_STREAMS], *raw[PUPIL_LOSS_STREAMS];
    matrix *teacher[PUPIL_LOSS_TEACHERS][PUPIL_LOSS_STREAMS];
    matrix
        *head[PUPIL_LOSS_TEACHERS][PUPIL_LOSS_STREAMS]; /* v', t': unit itself where the widths are equal */
    matrix *fused[PUPIL_LOSS_TEACHERS][PUPIL_LOSS_STREAMS];
    matrix *residual[PUPIL_LOSS_TEACHERS][2][2]; /* gradient.c: [caption][side] */

    double *stat[ROUNDS]; /* [batch][stats] */
    int64_t stats[ROUNDS];
    board *board;
    int64_t boards, boards_room;
    aim *aim;
    int64_t aims, aims_room;
    int gd_stat[PUPIL_LOSS_TEACHERS][2][2], dist_stat[PUPIL_LOSS_TEACHERS][2][2],
        dist_pull[PUPIL_LOSS_TEACHERS][2][2], std_stat[PUPIL_LOSS_TEACHERS][2][2],
        rkd_sum[PUPIL_LOSS_TEACHERS][PUPIL_LOSS_STREAMS], rkd_pull[PUPIL_LOSS_TEACHERS][PUPIL_LOSS_STREAMS];

    double *square[SQUARES]; /* [slot rows, batch], as many as families asked for */
    int squares;
    double *column; /* [batch] */
    float *wide[3]; /* [slot rows, widest] */
    float *narrow;  /* [slot rows, batch]: a square rounded for a product */
};

/* The slot at hand. g, value: in grad() only. */
typedef struct {
    int64_t slot, first; /* first row */
    const pupil_loss_input *in;
    const pupil_loss_params *p, *g;
    double *value;
} slot;

/* ---- loss.c -------------------------------------------------------------------------------------- */
static inline const pupil_loss_term *term_of(const pupil_loss *l, int t)
{
    return &l->c.term[t];
}
static inline bool on(const pupil_loss *l, int t)
{
    return l->c.term[t].weight != 0;
}
/* Text stream of a caption; stream of a side. */
static inline int stream_of(int side, int caption)
{
    return side == IMAGE ? IMAGE : TEXT + caption;
}
/* A side is wanted by a term of one modality; how often its rows count (each caption is seen with the image).
 */
static inline bool side_on(const pupil_loss_term *t, int side)
{
    return t->sides == PUPIL_SIDES_BOTH || (t->sides == PUPIL_SIDES_IMAGE) == (side == IMAGE);
}
static inline double times_seen(const pupil_loss *l, int stream)
{
    return stream == IMAGE ? l->captions : 1;
}
/* Shares of the two softmaxes of a term: of image over text, of text over image. */
static inline double way_of(const pupil_loss_term *t, int side)
{
    return t->one_way ? side == IMAGE : 0.5;
}

matrix *loss_matrix(pupil_loss *l, int64_t width, bool normalised, bool student);
/* The matrix is gathered after this round. */
void loss_share(matrix *m, int round);
/* `n` columns of row statistics gathered after `round`; returns the first. */
int loss_stats(pupil_loss *l, int round, int n);
static inline double *stat_at(const pupil_loss *l, int round, int64_t row)
{
    return l->stat[round] + row * l->stats[round];
}
/* Room for `n` squares. */
void loss_squares(pupil_loss *l, int n);
int loss_tensor(const pupil_loss *l, int what, int teacher);
/* Part of a teacher in an ensemble: its weight over the sum of weights. */
double loss_part(const pupil_loss *l, int teacher);

double scale_of(const scale *s, const pupil_loss_params *p);
/* dlog = d/d log(scale), added to the parameter's gradient. */
void scale_grad(const scale *s, const slot *at, double dlog);
/* z[rows, batch] = factor own[rows, width] all^T */
void loss_logits(const pupil_loss *l, const slot *at, double *z, double factor, const matrix *own,
                 const matrix *all);
/* own's gradient += factor g[rows, batch] all */
void loss_pull(const pupil_loss *l, const matrix *own, double factor, const double *g, const matrix *all);
/* The same for any rows: out[rows, width] (rows ldo apart) += factor g all, all's rows lda apart. */
void loss_pull_rows(const pupil_loss *l, float *out, int64_t ldo, double factor, const double *g,
                    const float *all, int64_t lda, int64_t width);
double loss_dot(const double *a, const double *b, int64_t n);
/* lse[rows] of z[rows, batch]; p = exp(z - row) or exp(z - col), p may be z. */
void loss_lse(const pupil_loss *l, double *lse, const double *z);
void loss_exp(const pupil_loss *l, double *p, const double *z, const double *row, const double *col);

/* ---- pair.c -------------------------------------------------------------------------------------- */
/* The board of own over all at this scale, made on first use. */
int loss_board(pupil_loss *l, matrix *own, matrix *all, scale s);
/* z and p[rows, batch] = softmax of own's rows; or columns: of all's rows seen from here, whose board is
 * `mirror`. */
void board_logits(const pupil_loss *l, const slot *at, int b, double *z);
void board_rows(const pupil_loss *l, const slot *at, int b, const double *z, double *p);
void board_columns(const pupil_loss *l, int mirror, const double *z, double *p);

/* ---- feature.c ----------------------------------------------------------------------------------- */
void features_new(pupil_loss *l);
void features_forward(pupil_loss *l, const slot *at);
/* From the matrices' gradients to dstudent and the heads' gradients. */
void features_backward(pupil_loss *l, const slot *at, float *const dstudent[PUPIL_LOSS_STREAMS]);

/* ---- families ------------------------------------------------------------------------------------ */
typedef struct {
    void (*open)(pupil_loss *l);
    void (*round)(pupil_loss *l, int round, const slot *at); /* rounds 1 and up; may be NULL */
    void (*grad)(pupil_loss *l, const slot *at);
} family;
extern const family family_pairs, family_sigmoid, family_fd, family_gd, family_distance, family_angle,
    family_dist, family_std;

#endif
