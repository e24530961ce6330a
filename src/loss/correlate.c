/* correlate.c: terms over both logits of a pair of modalities that compare whole rows: DIST (Pearson
 * correlation of the softmaxes' rows and columns) and logit standardisation (softmaxes of standardised rows).
 *
 * For one direction, P and Q are the softmaxes of student and teacher. An own row i of P is seen here whole,
 * and so is an own column of the other direction's P. What another row needs of these is gathered: DIST its
 * sums (round 2) and the pull h_i = sum_j P_ij dP_ij (round 3), standardisation its mean, spread and
 * log-sum-exp (round 1). */
#include "parts.h"

/* ---- DIST ----------------------------------------------------------------------------------------- */
/* Sums of a row or column of P and Q, from which its correlation and the slope of it follow. */
enum { SUM_P, SUM_Q, SUM_PP, SUM_PQ, SUM_QQ, SUMS };

typedef struct {
    double rho, mean_p, mean_q, by_q, by_p; /* d rho/dP = by_q (Q - mean_q) - by_p (P - mean_p) */
} pearson;

/* rho = cov / sqrt(max(var var', eps^2)); the slope of a clamped root is 0. */
static pearson pearson_of(const double s[SUMS], double n)
{
    const double least = 1e-16;
    double mp = s[SUM_P] / n, mq = s[SUM_Q] / n;
    double pp = fmax(0, s[SUM_PP] - n * mp * mp), qq = fmax(0, s[SUM_QQ] - n * mq * mq),
           pq = s[SUM_PQ] - n * mp * mq;
    double root = sqrt(fmax(pp * qq, least)), rho = pq / root;
    return (pearson){rho, mp, mq, 1 / root, pp * qq > least ? rho / pp : 0};
}

static double slope_at(const pearson *r, double p, double q)
{
    return r->by_q * (q - r->mean_q) - r->by_p * (p - r->mean_p);
}

static void sums_of(double s[SUMS], const double *p, const double *q, int64_t n)
{
    double a[SUMS] = {0};
    for (int64_t j = 0; j < n; j++) {
        double x = p[j], y = q[j];
        a[SUM_P] += x, a[SUM_Q] += y, a[SUM_PP] += x * x, a[SUM_PQ] += x * y, a[SUM_QQ] += y * y;
    }
    memcpy(s, a, sizeof a);
}

typedef struct {
    int k, c, side, student, student_mirror, teacher, teacher_mirror;
} view;

static view view_of(pupil_loss *l, int k, int c, int side)
{
    int s = stream_of(side, c), o = stream_of(!side, c);
    double tau = term_of(l, PUPIL_TERM_DIST)->tau;
    scale own = {LOGIT, 0, 1 / tau}, his = {FIXED, 0, l->c.teacher[k].scale / tau};
    return (view){k,
                  c,
                  side,
                  loss_board(l, l->unit[s], l->unit[o], own),
                  loss_board(l, l->unit[o], l->unit[s], own),
                  loss_board(l, l->teacher[k][s], l->teacher[k][o], his),
                  loss_board(l, l->teacher[k][o], l->teacher[k][s], his)};
}

static void dist_open(pupil_loss *l)
{
    loss_squares(l, on(l, PUPIL_TERM_DIST) ? 4 : 0);
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_DIST); k++)
        for (int c = 0; c < l->captions; c++)
            for (int side = 0; side < 2; side++) {
                view_of(l, k, c, side);
                l->dist_stat[k][c][side] = loss_stats(l, 2, 2 * SUMS); /* own row, own column */
                l->dist_pull[k][c][side] = loss_stats(l, 3, 1);
            }
}

/* z, and the softmaxes p, q of own rows or (columns) of own columns. */
static void softmaxes(pupil_loss *l, const slot *at, const view *v, bool columns, double *z, double *p,
                      double *q)
{
    board_logits(l, at, v->teacher, z);
    if (columns) board_columns(l, v->teacher_mirror, z, q);
    else board_rows(l, at, v->teacher, z, q);
    board_logits(l, at, v->student, z);
    if (columns) board_columns(l, v->student_mirror, z, p);
    else board_rows(l, at, v->student, z, p);
}

static void dist_sums(pupil_loss *l, const slot *at, const view *v)
{
    int64_t b = l->c.batch;
    double *z = l->square[0], *p = l->square[1], *q = l->square[2];
    for (int columns = 0; columns < 2; columns++) {
        softmaxes(l, at, v, columns, z, p, q);
        for (int64_t i = 0; i < l->rows; i++)
            sums_of(stat_at(l, 2, at->first + i) + l->dist_stat[v->k][v->c][v->side] + columns * SUMS,
                    p + i * b, q + i * b, b);
    }
}

/* Correlations of row `row` of `side`: its row, or (columns) its column of the other direction. */
static pearson correlation(const pupil_loss *l, const view *v, int side, int64_t row, bool columns)
{
    return pearson_of(stat_at(l, 2, row) + l->dist_stat[v->k][v->c][side] + columns * SUMS,
                      (double)l->c.batch);
}

/* dP of own rows (or own columns) into d; without the share of the direction. */
static void dist_slopes(const pupil_loss *l, const slot *at, const view *v, bool columns, const double *p,
                        const double *q, int64_t i, double *d)
{
    const pupil_loss_term *t = term_of(l, PUPIL_TERM_DIST);
    int64_t b = l->c.batch;
    pearson own = correlation(l, v, v->side, at->first + i, columns);
    double of_own = columns ? t->gamma : t->beta, of_other = columns ? t->beta : t->gamma;
    for (int64_t j = 0; j < b; j++) {
        pearson r = correlation(l, v, !v->side, j, !columns);
        double x = p[i * b + j], y = q[i * b + j];
        d[j] = -t->tau * t->tau / (double)b * (of_own * slope_at(&own, x, y) + of_other * slope_at(&r, x, y));
    }
}

static void dist_pulls(pupil_loss *l, const slot *at, const view *v)
{
    int64_t b = l->c.batch;
    double *z = l->square[0], *p = l->square[1], *q = l->square[2];
    softmaxes(l, at, v, false, z, p, q);
    for (int64_t i = 0; i < l->rows; i++) {
        double h = 0;
        dist_slopes(l, at, v, false, p, q, i, l->column);
        for (int64_t j = 0; j < b; j++) h += p[i * b + j] * l->column[j];
        stat_at(l, 3, at->first + i)[l->dist_pull[v->k][v->c][v->side]] = h;
    }
}

static void dist_round(pupil_loss *l, int round, const slot *at)
{
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_DIST) && round >= 2; k++)
        for (int c = 0; c < l->captions; c++)
            for (int side = 0; side < 2; side++) {
                view v = view_of(l, k, c, side);
                if (round == 2) dist_sums(l, at, &v);
                else dist_pulls(l, at, &v);
            }
}

/* g += weight P (dP - h) of one direction. */
static void dist_direction(pupil_loss *l, const slot *at, const view *v, bool columns, double weight,
                           double *z, double *g)
{
    int64_t b = l->c.batch;
    double *p = l->square[1], *q = l->square[2];
    softmaxes(l, at, v, columns, z, p, q);
    int h = l->dist_pull[v->k][v->c][columns ? !v->side : v->side];
    for (int64_t i = 0; i < l->rows; i++) {
        dist_slopes(l, at, v, columns, p, q, i, l->column);
        for (int64_t j = 0; j < b; j++)
            g[i * b + j] +=
                weight * p[i * b + j] * (l->column[j] - stat_at(l, 3, columns ? j : at->first + i)[h]);
    }
}

static void dist_view_grad(pupil_loss *l, const slot *at, const view *v)
{
    const pupil_loss_term *t = term_of(l, PUPIL_TERM_DIST);
    int64_t count = l->rows * l->c.batch;
    double *z = l->square[0], *g = l->square[3];
    double share = l->c.teacher[v->k].weight, rows = share * way_of(t, v->side),
           columns = share * way_of(t, !v->side);
    for (int64_t i = 0; i < l->rows; i++) {
        double row = t->beta * (1 - correlation(l, v, v->side, at->first + i, false).rho);
        double column = t->gamma * (1 - correlation(l, v, v->side, at->first + i, true).rho);
        at->value[PUPIL_TERM_DIST] += t->tau * t->tau / (double)l->c.batch * (rows * row + columns * column);
    }
    const board *o = &l->board[v->student];
    memset(g, 0, (size_t)count * sizeof *g);
    dist_direction(l, at, v, false, t->weight * rows, z, g);
    scale_grad(&o->scale, at, loss_dot(g, z, count));
    dist_direction(l, at, v, true, t->weight * columns, z, g);
    loss_pull(l, o->own, scale_of(&o->scale, at->p), g, o->all);
}

static void dist_grad(pupil_loss *l, const slot *at)
{
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_DIST); k++)
        for (int c = 0; c < l->captions; c++)
            for (int side = 0; side < 2; side++) {
                view v = view_of(l, k, c, side);
                dist_view_grad(l, at, &v);
            }
}

const family family_dist = {dist_open, dist_round, dist_grad};

/* ---- logit standardisation ------------------------------------------------------------------------ */
/* Of a row: mean, 1/(spread + 1e-7), log-sum-exp of the standardised row over tau, for student and teacher;
 * the student's spread, and sum (p - q) times its standardised row. */
enum { MEAN, INVERSE, LSE, SPREAD, PULL, MEAN_T, INVERSE_T, LSE_T, STDS };

static void std_open(pupil_loss *l)
{
    loss_squares(l, on(l, PUPIL_TERM_LOGIT_STD) ? 3 : 0);
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_LOGIT_STD); k++)
        for (int c = 0; c < l->captions; c++)
            for (int side = 0; side < 2; side++) {
                l->std_stat[k][c][side] = loss_stats(l, 1, STDS);
                loss_share(l->unit[stream_of(side, c)], 0);
                loss_share(l->teacher[k][stream_of(side, c)], 0);
            }
}

/* Mean, inverse and lse of a row; returns its spread (sample standard deviation). */
static double standardise(double s[3], const double *z, int64_t n, double tau)
{
    double sum = 0, square = 0, top = -INFINITY, e = 0;
    for (int64_t j = 0; j < n; j++) sum += z[j];
    double mean = sum / (double)n;
    for (int64_t j = 0; j < n; j++) square += (z[j] - mean) * (z[j] - mean);
    double spread = n > 1 ? sqrt(square / (double)(n - 1)) : 0, inverse = 1 / (spread + 1e-7);
    for (int64_t j = 0; j < n; j++) top = fmax(top, (z[j] - mean) * inverse / tau);
    for (int64_t j = 0; j < n; j++) e += exp((z[j] - mean) * inverse / tau - top);
    s[0] = mean, s[1] = inverse, s[2] = top + log(e);
    return spread;
}

/* Own logits of student and teacher, unscaled by tau. */
static void std_logits(pupil_loss *l, const slot *at, int k, int c, int side, double *z, double *y)
{
    int s = stream_of(side, c), o = stream_of(!side, c);
    loss_logits(l, at, z, exp((double)*at->p->logit_scale), l->unit[s], l->unit[o]);
    loss_logits(l, at, y, l->c.teacher[k].scale, l->teacher[k][s], l->teacher[k][o]);
}

static void std_round(pupil_loss *l, int round, const slot *at)
{
    double tau = term_of(l, PUPIL_TERM_LOGIT_STD)->tau;
    int64_t b = l->c.batch;
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_LOGIT_STD) && round == 1; k++)
        for (int u = 0; u < 2 * l->captions; u++) {
            std_logits(l, at, k, u / 2, u % 2, l->square[0], l->square[1]);
            for (int64_t i = 0; i < l->rows; i++) {
                const double *z = l->square[0] + i * b, *y = l->square[1] + i * b;
                double *s = stat_at(l, 1, at->first + i) + l->std_stat[k][u / 2][u % 2];
                s[SPREAD] = standardise(s + MEAN, z, b, tau);
                standardise(s + MEAN_T, y, b, tau);
                s[PULL] = 0;
                for (int64_t j = 0; j < b; j++) {
                    double x = (z[j] - s[MEAN]) * s[INVERSE], X = (y[j] - s[MEAN_T]) * s[INVERSE_T];
                    s[PULL] += (exp(x / tau - s[LSE]) - exp(X / tau - s[LSE_T])) * x;
                }
            }
        }
}

/* g += weight dz of row (or column entry) with statistics s; returns the KL's share of the entry. */
static double std_entry(const double *s, double tau, double n, double weight, double z, double y, double *g)
{
    double x = (z - s[MEAN]) * s[INVERSE], X = (y - s[MEAN_T]) * s[INVERSE_T];
    double lp = x / tau - s[LSE], lq = X / tau - s[LSE_T], q = exp(lq);
    double bend = s[SPREAD] > 0 && n > 1 ? s[PULL] * x / (s[INVERSE] * s[SPREAD] * (n - 1)) : 0;
    *g += weight * s[INVERSE] / tau * (exp(lp) - q - bend);
    return q * (lq - lp);
}

static void std_view_grad(pupil_loss *l, const slot *at, int k, int c, int side)
{
    const pupil_loss_term *t = term_of(l, PUPIL_TERM_LOGIT_STD);
    int64_t n = l->rows, b = l->c.batch;
    double *z = l->square[0], *y = l->square[1], *g = l->square[2];
    double share = l->c.teacher[k].weight * t->tau * t->tau / (double)b;
    const scale own = {LOGIT, 0, 1};
    std_logits(l, at, k, c, side, z, y);
    memset(g, 0, (size_t)(n * b) * sizeof *g);
    for (int columns = 0; columns < 2; columns++) {
        double of_way = share * way_of(t, columns ? !side : side), kl = 0;
        int at_stat = l->std_stat[k][c][columns ? !side : side];
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < b; j++)
                kl += std_entry(stat_at(l, 1, columns ? j : at->first + i) + at_stat, t->tau, (double)b,
                                t->weight * of_way, z[i * b + j], y[i * b + j], &g[i * b + j]);
        if (columns) break;
        at->value[PUPIL_TERM_LOGIT_STD] += of_way * kl;
        scale_grad(&own, at, loss_dot(g, z, n * b));
    }
    loss_pull(l, l->unit[stream_of(side, c)], scale_of(&own, at->p), g, l->unit[stream_of(!side, c)]);
}

static void std_grad(pupil_loss *l, const slot *at)
{
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_LOGIT_STD); k++)
        for (int u = 0; u < 2 * l->captions; u++) std_view_grad(l, at, k, u / 2, u % 2);
}

const family family_std = {std_open, std_round, std_grad};
