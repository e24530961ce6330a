/** optim: parameters advanced by ranges, whole or sharded, with the same bits.
 *
 *  AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, warm-up + cosine, global-norm clipping. Ranges are cut
 *  at multiples of PUPIL_CHUNK elements, and the norm is summed per chunk and then over chunks in order, so
 *  who owns which range does not change a bit.
 */
#ifndef PUPIL_OPTIM_H
#define PUPIL_OPTIM_H

#include "pupil/base.h"
#include "pupil/conf.h"

/** A run of elements that share one decay setting. What is not in a run is not advanced: it is frozen, and there is
 *  no gradient of it, and no moments. */
typedef struct {
    int64_t offset, count; /* in gradient, moments and average */
    bool decay;
    int64_t shift;         /* element i of them is parameter i + shift */
    double lr;             /* its own, constant learning rate; 0: the step's */
} pupil_decay_run;

/** at[0..size]: rank r owns elements [at[r], at[r+1]) of n; bounds are multiples of PUPIL_CHUNK. Not collective. */
void pupil_optim_ranges(int64_t n, int size, int64_t *at);

/** open_clip's schedules: lr (step+1)/warmup; then, with x = (step-warmup)/(steps-warmup), lr_min + (lr-lr_min) times
 *  1/2 (1 + cos(pi x)) or 1-x; or lr. step from 0. */
double pupil_lr_at(const pupil_conf_train *c, int64_t step);

/** Sum of squares of chunk c of grad into sums[c], for the chunks of [begin, end) (begin a multiple of PUPIL_CHUNK);
 *  grad points at element begin. Not collective. */
void pupil_grad_sumsq(const float *grad, int64_t begin, int64_t end, double *sums);
/** Norm from all chunk sums, added in order. */
double pupil_grad_norm(const double *sums, int64_t n);
/** min(1, max_norm/(norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; 1 when max_norm is 0. */
double pupil_clip_factor(double norm, double max_norm);

/** One AdamW step on elements [begin, end) of the runs: params, m and v are whole arrays; grad points at element begin.
 *  step counts from 1. lr is the step's. runs: all that is to be advanced. Not collective. */
void pupil_adamw(float *params, float *m, float *v, const float *grad, int64_t begin, int64_t end,
                 const pupil_decay_run *runs, int64_t nruns, const pupil_conf_train *c, double lr, double clip, int64_t step);
/** average += (1 - decay) (params - average), on elements [begin, end) of the runs. Not collective. */
void pupil_ema(float *average, const float *params, int64_t begin, int64_t end, const pupil_decay_run *runs, int64_t nruns,
               double decay);

#endif
