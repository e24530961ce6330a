/* groups.h (private to eval): accuracies by the name of a group. */
#ifndef PUPIL_EVAL_GROUPS_H
#define PUPIL_EVAL_GROUPS_H

#include "names.h"
#include "pupil/eval.h"

/* Summed in the order they come, groups in order of first appearance. Zero-initialise. */
typedef struct {
    names name;
    double *sum;
    int64_t *n, sums, counts; /* sums, counts: allocated */
} groups;
void groups_add(groups *g, const char *name, double accuracy);
/* Percent; leaves `g` empty. */
pupil_vqa_group *groups_finish(groups *g, int *ret_n);

#endif
