/* eigen.h (private to eval): eigenvalues of small symmetric matrices. */
#ifndef PUPIL_EVAL_EIGEN_H
#define PUPIL_EVAL_EIGEN_H

#include <stdint.h>

/** Eigenvalues of the symmetric a[n][n], in no particular order; `a` is overwritten, its lower triangle alone is read. */
void eigenvalues(double *a, int64_t n, double *ret);

#endif
