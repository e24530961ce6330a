/* distance.c: RKD's distances: the Euclidean distances of all pairs of a batch, over their mean, student's
 * and teacher's compared by smooth L1 with psi(u) = u^2/2 for |u| < 1, else |u| - 1/2.
 *
 * Rows i of D = |e_i - e_j| are a slot's own. The means need the sums of all rows (round 1); as every
 * distance moves the student's mean, its gradient needs sum_ij psi' D_ij, too (round 2). */
#include "relation.h"

static double length2(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return s;
}

void relation_squares(const pupil_loss *l, const matrix *m, double *square)
{
    for (int64_t j = 0; j < l->c.batch; j++) square[j] = length2(m->rows + j * m->width, m->width);
}

void relation_gram(const pupil_loss *l, const matrix *m, int64_t first, double *gram)
{
    pupil_row_products(gram, 1, m->rows + first * m->width, m->width, l->rows, m->rows, m->width, l->c.batch,
                       m->width);
}

void relation_pull(const pupil_loss *l, const slot *at, const matrix *m, const double *w)
{
    int64_t b = l->c.batch, d = m->width;
    loss_pull(l, m, 1, w, m);
    for (int64_t i = 0; i < l->rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < b; j++) sum += w[i * b + j];
        for (int64_t x = 0; x < d; x++)
            m->grad[i * d + x] -= (float)(sum * (double)m->rows[(at->first + i) * d + x]);
    }
}

enum { SUM_STUDENT, SUM_TEACHER, SUMS };

static bool wanted(const pupil_loss *l, int s)
{
    return on(l, PUPIL_TERM_RKD_DISTANCE) && side_on(term_of(l, PUPIL_TERM_RKD_DISTANCE), s);
}

static void distance_open(pupil_loss *l)
{
    loss_squares(l, on(l, PUPIL_TERM_RKD_DISTANCE) ? 3 : 0);
    for (int k = 0; k < l->c.teachers; k++)
        for (int s = 0; s <= l->captions; s++) {
            if (!wanted(l, s)) continue;
            loss_share(relation_student(l, PUPIL_TERM_RKD_DISTANCE, s), 0);
            loss_share(l->teacher[k][s], 0);
            l->rkd_sum[k][s] = loss_stats(l, 1, SUMS);
            l->rkd_pull[k][s] = loss_stats(l, 2, 1);
        }
}

/* d[rows, batch] of own rows. */
static void distances(const pupil_loss *l, const slot *at, const matrix *m, double *d)
{
    int64_t b = l->c.batch;
    relation_squares(l, m, l->column);
    relation_gram(l, m, at->first, d);
    for (int64_t i = 0; i < l->rows; i++)
        for (int64_t j = 0; j < b; j++)
            d[i * b + j] = j == at->first + i
                               ? 0
                               : relation_distance(d[i * b + j], l->column[at->first + i], l->column[j]);
}

static double row_sum(const double *x, int64_t n)
{
    double s = 0;
    for (int64_t j = 0; j < n; j++) s += x[j];
    return s;
}

/* 1 / mean distance, or 0 where all rows coincide. */
static double inverse_mean(const pupil_loss *l, int column)
{
    double s = 0, b = (double)l->c.batch;
    for (int64_t i = 0; i < l->c.batch; i++) s += stat_at(l, 1, i)[column];
    return s > 0 ? b * (b - 1) / s : 0;
}

static double psi(double u)
{
    return fabs(u) < 1 ? u * u / 2 : fabs(u) - 0.5;
}
static double psi_slope(double u)
{
    return fmax(-1, fmin(1, u));
}

static void both_distances(pupil_loss *l, const slot *at, int k, int s)
{
    distances(l, at, relation_student(l, PUPIL_TERM_RKD_DISTANCE, s), l->square[0]);
    distances(l, at, l->teacher[k][s], l->square[1]);
}

static void distance_rows(pupil_loss *l, int round, const slot *at, int k, int s)
{
    int64_t b = l->c.batch;
    const double *d = l->square[0], *t = l->square[1];
    both_distances(l, at, k, s);
    double of_d = round == 2 ? inverse_mean(l, l->rkd_sum[k][s] + SUM_STUDENT) : 0,
           of_t = round == 2 ? inverse_mean(l, l->rkd_sum[k][s] + SUM_TEACHER) : 0;
    for (int64_t i = 0; i < l->rows; i++) {
        double *sum = stat_at(l, 1, at->first + i) + l->rkd_sum[k][s], pull = 0;
        if (round == 1) {
            sum[SUM_STUDENT] = row_sum(d + i * b, b);
            sum[SUM_TEACHER] = row_sum(t + i * b, b);
            continue;
        }
        for (int64_t j = i * b; j < (i + 1) * b; j++) pull += psi_slope(d[j] * of_d - t[j] * of_t) * d[j];
        stat_at(l, 2, at->first + i)[l->rkd_pull[k][s]] = pull;
    }
}

static void distance_round(pupil_loss *l, int round, const slot *at)
{
    for (int k = 0; k < l->c.teachers && (round == 1 || round == 2); k++)
        for (int s = 0; s <= l->captions; s++)
            if (wanted(l, s)) distance_rows(l, round, at, k, s);
}

static void distance_rows_grad(pupil_loss *l, const slot *at, int k, int s)
{
    int64_t n = l->rows, b = l->c.batch;
    double all = (double)b * (double)b, share = l->c.teacher[k].weight * times_seen(l, s) / all, value = 0,
           pulls = 0;
    double *d = l->square[0], *t = l->square[1], *w = l->square[2];
    both_distances(l, at, k, s);
    double of_d = inverse_mean(l, l->rkd_sum[k][s] + SUM_STUDENT),
           of_t = inverse_mean(l, l->rkd_sum[k][s] + SUM_TEACHER);
    for (int64_t i = 0; i < b; i++) pulls += stat_at(l, 2, i)[l->rkd_pull[k][s]];
    double through_mean = b > 1 ? pulls * of_d * of_d / (all - (double)b) : 0;
    double twice = 2 * share * term_of(l, PUPIL_TERM_RKD_DISTANCE)->weight; /* D_ij = D_ji */
    for (int64_t i = 0; i < n * b; i++) {
        double u = d[i] * of_d - t[i] * of_t;
        value += psi(u);
        w[i] = d[i] > 0 ? -twice * (psi_slope(u) * of_d - through_mean) / d[i] : 0;
    }
    at->value[PUPIL_TERM_RKD_DISTANCE] += share * value;
    relation_pull(l, at, relation_student(l, PUPIL_TERM_RKD_DISTANCE, s), w);
}

static void distance_grad(pupil_loss *l, const slot *at)
{
    for (int k = 0; k < l->c.teachers; k++)
        for (int s = 0; s <= l->captions; s++)
            if (wanted(l, s)) distance_rows_grad(l, at, k, s);
}

const family family_distance = {distance_open, distance_round, distance_grad};
