/* relation.h (private to loss): Gram matrices, which both relational terms (RKD) are computed from. */
#ifndef PUPIL_LOSS_RELATION_H
#define PUPIL_LOSS_RELATION_H

#include "parts.h"

/* The student's features that a relational term compares. */
static inline matrix *relation_student(const pupil_loss *l, int term, int s)
{
    return term_of(l, term)->raw ? l->raw[s] : l->unit[s];
}
/* square[batch] = squared lengths. */
void relation_squares(const pupil_loss *l, const matrix *m, double *square);
/* gram[rows, batch] of rows `first` on with all rows. */
void relation_gram(const pupil_loss *l, const matrix *m, int64_t first, double *gram);
/* |e_i - e_j|, or 0 where rows of float32 cannot be told apart. */
static inline double relation_distance(double gram, double square_i, double square_j)
{
    double d2 = square_i + square_j - 2 * gram;
    return d2 > 4e-7 * (square_i + square_j) ? sqrt(d2) : 0;
}
/* m's gradient += sum_x w[i, x] (e_x - e_i) for own rows i. */
void relation_pull(const pupil_loss *l, const slot *at, const matrix *m, const double *w);

#endif
