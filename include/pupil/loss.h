/** loss: exact global losses from local rows (DESIGN 5.3).
 *
 *  The global batch is cut into slots; every slot computes its own rows against the gathered embeddings of the
 *  whole batch, with shapes that do not depend on the number of ranks. Of other rows it needs the log-sum-exps
 *  alone, so no gradient of features travels. Protocol of a step, for each own slot:
 *      pupil_loss_prepare()   normalise, project: fills this slot's rows of the batch matrices
 *      gather (caller)        the batch matrices of pupil_loss_gathered()
 *      pupil_loss_stats()     this slot's log-sum-exps
 *      gather (caller)        the statistics
 *      pupil_loss_grad()      values and gradients of this slot's rows
 *
 *  v, t: student image and text features, L2-normalised; V, T: teacher's; s, S: logit scales (after exp); B the
 *  batch; D the diagonal labels; CE and KL are means over rows. Terms (CLIP-KD, arXiv 2307.12732):
 *      task  1/2 [CE(D, s v t^T) + CE(D, s t v^T)]
 *      crd   1/2 [KL(sm(S V T^T) || sm(s v t^T)) + KL(sm(S T V^T) || sm(s t v^T))]
 *      icl   1/2 [CE(D, c v' T^T) + CE(D, c t' V^T)];  c = exp(icl_scale) published, icl_scale itself as released
 *      fd    mean over elements of (v'-V)^2, plus the same for text (sum: over dimensions, mean over rows)
 *  v' = v if the widths are equal, else normalise(W_v raw + b_v) with trained heads; t' likewise.
 *  Not collective, all of it.
 */
#ifndef PUPIL_LOSS_H
#define PUPIL_LOSS_H

#include "pupil/base.h"

enum { PUPIL_TERM_TASK, PUPIL_TERM_CRD, PUPIL_TERM_ICL, PUPIL_TERM_FD, PUPIL_TERMS };
extern const char *const pupil_term_name[PUPIL_TERMS];

typedef struct {
    int64_t batch, slots; /* global pairs; a slot has batch/slots rows */
    int64_t dim;          /* student's embedding width */
    int64_t teacher_dim;  /* 0: no teacher */
    double weight[PUPIL_TERMS];
    bool icl_raw;   /* as released: c is the parameter itself */
    bool fd_sum;    /* dimension-free FD */
    double teacher_scale; /* S, after exp */
} pupil_loss_conf;

/** Parameters of the loss, or their gradients: pointers into the flat arrays; NULL where the term is not used. */
typedef struct {
    float *logit_scale;                        /* log of s */
    float *image_w, *image_b, *text_w, *text_b; /* heads, Linear layout [teacher_dim, dim], [teacher_dim] */
    float *icl_scale;
} pupil_loss_params;

typedef struct pupil_loss pupil_loss;
/** Room for a rank that works on `local_slots` slots. */
pupil_loss *pupil_loss_new(const pupil_loss_conf *c, int64_t local_slots);
void pupil_loss_free(pupil_loss **l);
bool pupil_loss_wants_teacher(const pupil_loss_conf *c);
bool pupil_loss_has_heads(const pupil_loss_conf *c); /* FD or ICL with different widths */

/** A batch matrix [batch, width]: row i belongs to slot i/(batch/slots). */
typedef struct {
    float *rows;
    int64_t width;
} pupil_batch_matrix;
/** The matrices to gather after prepare: n of them (borrowed). */
int pupil_loss_gathered(pupil_loss *l, pupil_batch_matrix ret[4]);
/** The statistics to gather after stats: [batch][*ret_width] doubles. */
double *pupil_loss_statistics(pupil_loss *l, int64_t *ret_width);

/** image, text: raw student features [rows, dim] of slot `slot`, the rank's `local`-th; teacher_*: [rows, teacher_dim],
 *  any scale, NULL without a teacher. */
void pupil_loss_prepare(pupil_loss *l, int64_t slot, int64_t local, const float *image, const float *text,
                        const float *teacher_image, const float *teacher_text, const pupil_loss_params *p);
void pupil_loss_stats(pupil_loss *l, int64_t slot, int64_t local, const pupil_loss_params *p);
/** dimage, dtext [rows, dim] = gradient of the weighted sum w.r.t. the raw features; grads += parameters'.
 *  value[PUPIL_TERMS]: this slot's share of each unweighted term (they add up over slots). */
void pupil_loss_grad(pupil_loss *l, int64_t slot, int64_t local, const float *image, const float *text,
                     const pupil_loss_params *p, const pupil_loss_params *grads, float *dimage, float *dtext,
                     double value[PUPIL_TERMS]);

#endif
