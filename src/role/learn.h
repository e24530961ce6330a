/* learn.h (private to role): training a small head on all ranks. */
#ifndef PUPIL_ROLE_LEARN_H
#define PUPIL_ROLE_LEARN_H

#include "job.h"

enum { LESSON_SLOTS = 8 }; /* a batch is cut into so many */

/* What is learned from n items: `gradient` adds that of their losses' sum, times scale, to grads and gives that sum. */
typedef struct {
    const char *name; /* for the progress line */
    const pupil_table *table;
    float *params;         /* the same on all ranks, before and after; the first `trained` of them are trained */
    int64_t trained;
    int64_t n, epochs, batch;
    double lr, slow_lr;
    int64_t slow;          /* the first so many are trained at slow_lr instead; bounds of tensors */
    uint64_t seed, order;  /* of the items in each epoch: `order` keeps two lessons of one seed apart */
    const int32_t *weight; /* by item: how much of a batch's mean loss it is; NULL: the same */
    int (*gradient)(void *ctx, const float *params, const int64_t *item, int64_t n, double scale, float *grads, double *ret);
    void *ctx;
} lesson;
/* AdamW with a twentieth of warm-up and a cosine. A batch is cut into fixed slots that ranks share, so that what is learned does
 * not depend on how many ranks there are. Collective over the world. PUPIL_ESTOP on a signal | PUPIL_ENUMERIC | what a
 * gradient returned. */
int learn(job *j, const lesson *l);

#endif
