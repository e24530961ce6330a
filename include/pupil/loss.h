/** loss: exact global losses from local rows (DESIGN 5.3).
 *
 *  The global batch is cut into slots; every slot computes its own rows against the gathered embeddings of
 * the whole batch, with shapes that do not depend on the number of ranks. Of other rows it needs a few
 * numbers a row (log-sum-exps, sums), so no gradient of features travels. What crosses slots is summed from
 * gathered rows in row order. A step, for each own slot: for round in 0 .. pupil_loss_rounds()-1
 *          pupil_loss_round()     this slot's rows of what the round makes
 *          gather (caller)        the arrays of pupil_loss_gathered(round)
 *      pupil_loss_grad()          values and gradients of this slot's rows
 *  Memory: some matrices [batch, width] and [slot rows, batch]; never [batch, batch].
 *
 *  v, t: student image and text features, L2-normalised; V, T: a teacher's; s, S: logit scales (after exp); B
 * the batch; D the diagonal labels; CE and KL are means over rows. v' = v if the widths are equal, else a
 * trained head of it. The terms and their formulas are the table pupil_term[]. Terms that speak of one
 * teacher are computed for each teacher, times its weight; ensembles see all teachers at once. With two
 * captions a sample everything is computed for (image, first caption) and (image, second caption), and added.
 *  Not collective, all of it.
 */
#ifndef PUPIL_LOSS_H
#define PUPIL_LOSS_H

#include "pupil/base.h"

/* ---- the terms ------------------------------------------------------------------------------------ */
typedef enum {
    PUPIL_TERM_TASK,
    PUPIL_TERM_SIGMOID,
    PUPIL_TERM_CRD,
    PUPIL_TERM_ICL,
    PUPIL_TERM_CROSS_KD,
    PUPIL_TERM_FD,
    PUPIL_TERM_GD,
    PUPIL_TERM_AFD,
    PUPIL_TERM_AFFINITY,
    PUPIL_TERM_ENSEMBLE,
    PUPIL_TERM_SOFT_SIGMOID,
    PUPIL_TERM_HINTON,
    PUPIL_TERM_LOGIT_STD,
    PUPIL_TERM_DIST,
    PUPIL_TERM_RKD_DISTANCE,
    PUPIL_TERM_RKD_ANGLE,
    PUPIL_TERM_VL,
    PUPIL_TERM_PVL,
    PUPIL_TERM_UDIST,
    PUPIL_TERMS
} pupil_term_kind;

/** Which rows a term of one modality is computed for; their values add up. */
typedef enum { PUPIL_SIDES_BOTH, PUPIL_SIDES_IMAGE, PUPIL_SIDES_TEXT } pupil_loss_sides;

/** Options of a term; those its formula does not name have no effect. */
typedef struct {
    double weight; /* 0 leaves the term out */
    double scale;  /* affinity: pins both logit scales; ensemble: the teachers'. 0: their own */
    double tau, beta, gamma;
    bool as_released;       /* icl, cross_kd, afd: the scale is the raw parameter; gd: the scale where 1/scale
                               belongs */
    bool sum;               /* fd: over dimensions, not their mean */
    bool reversed;          /* crd: KL(student || teacher) */
    bool raw;               /* rkd: of the student's features before normalisation */
    bool one_way;           /* terms over both softmaxes: image to text alone, instead of the mean of both */
    pupil_loss_sides sides; /* fd, rkd, vl, pvl, udist */
} pupil_loss_term;

enum {
    PUPIL_WANTS_TEACHER = 1,
    PUPIL_WANTS_HEADS = 2,  /* where the widths differ */
    PUPIL_WANTS_CROSS = 4,  /* a trained scale between student and teacher */
    PUPIL_WANTS_FUSION = 8, /* heads over [student; teacher], and their trained scale */
    PUPIL_WANTS_BIAS = 16   /* a logit bias */
};
typedef struct {
    const char *name;
    unsigned wants;
    pupil_loss_term init; /* options as published; weight: what the source uses */
    const char *formula, *source;
} pupil_term_info;
extern const pupil_term_info pupil_term[PUPIL_TERMS];
/** The term of this name, or -1. */
int pupil_term_find(const char *name);

/* ---- a configuration ------------------------------------------------------------------------------ */
enum { PUPIL_LOSS_TEACHERS = 8, PUPIL_LOSS_STREAMS = 3, PUPIL_LOSS_TENSORS = 10 * PUPIL_LOSS_TEACHERS + 1 };

typedef struct {
    int64_t dim;
    double scale, bias; /* of its logits; scale after exp */
    double weight;
} pupil_loss_teacher;

typedef struct {
    int64_t batch, slots; /* global pairs; a slot has batch/slots rows */
    int64_t dim;          /* student's embedding width */
    int captions;         /* of a sample: 1 or 2 (0 is 1) */
    int teachers;
    pupil_loss_teacher teacher[PUPIL_LOSS_TEACHERS];
    pupil_loss_term term[PUPIL_TERMS];
    bool plain_heads; /* nano-clip: v' = W v + b, not normalised; else normalise(W raw + b), CLIP-KD's */
} pupil_loss_conf;

/** Fills in the terms' published options, with weight 0. */
void pupil_loss_defaults(pupil_loss_conf *c);
/** Some term with a weight wants this (PUPIL_WANTS_*). */
bool pupil_loss_wants(const pupil_loss_conf *c, unsigned what);
/** The weighted sum of the terms. */
double pupil_loss_total(const pupil_loss_conf *c, const double value[PUPIL_TERMS]);

/** A tensor the loss trains, beside the student's logit scale. Matrices decay, the rest does not. */
typedef struct {
    char name[48]; /* "loss.visual_proj.weight", ...; of a further teacher "loss.visual_proj.1.weight", ... */
    int ndim;      /* Linear layout [out, in], or [n], or a scalar */
    int64_t dim[2];
    bool normal; /* drawn with standard deviation `init` (the variance of torch's Linear), else all `init` */
    double init;
    int what, teacher; /* the loss's own marks */
} pupil_loss_tensor;
/** The tensors of a configuration, in a fixed order; returns how many. */
int pupil_loss_tensors(const pupil_loss_conf *c, pupil_loss_tensor ret[PUPIL_LOSS_TENSORS]);

/** Parameters, or their gradients: tensor[i] is the i-th of pupil_loss_tensors(). */
typedef struct {
    float *logit_scale; /* log of s */
    float *tensor[PUPIL_LOSS_TENSORS];
} pupil_loss_params;

/* ---- a step --------------------------------------------------------------------------------------- */
typedef struct pupil_loss pupil_loss;
pupil_loss *pupil_loss_new(const pupil_loss_conf *c);
void pupil_loss_free(pupil_loss **l);

/** Rows of one slot. Streams: image, text, second text. student: raw features [rows, dim]; teacher: [rows,
 * its dim] of any length. What the configuration does not use may be NULL. */
typedef struct {
    const float *student[PUPIL_LOSS_STREAMS];
    const float *teacher[PUPIL_LOSS_TEACHERS][PUPIL_LOSS_STREAMS];
} pupil_loss_input;

/** An array with `bytes` a row of the batch; row i belongs to slot i/(batch/slots). */
typedef struct {
    void *rows;
    size_t bytes;
} pupil_loss_rows;
enum { PUPIL_LOSS_GATHERED = 128 };

int pupil_loss_rounds(const pupil_loss *l);
void pupil_loss_round(pupil_loss *l, int round, int64_t slot, const pupil_loss_input *in,
                      const pupil_loss_params *p);
/** The arrays to gather after a round: n of them (borrowed), maybe none. */
int pupil_loss_gathered(pupil_loss *l, int round, pupil_loss_rows ret[PUPIL_LOSS_GATHERED]);
/** dstudent[stream][rows, dim] = gradient of the weighted sum w.r.t. the raw features; grads += parameters'.
 *  value: this slot's share of each unweighted term (they add up over slots). */
void pupil_loss_grad(pupil_loss *l, int64_t slot, const pupil_loss_input *in, const pupil_loss_params *p,
                     const pupil_loss_params *grads, float *const dstudent[PUPIL_LOSS_STREAMS],
                     double value[PUPIL_TERMS]);

#endif
