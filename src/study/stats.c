/* stats.c: rank correlations with ties, their bootstrap, least squares. Sums are in double and in a fixed order, so the same
 * data give the same bits; deterministic values agree with SciPy's to 1e-9 (tests/study). */
#include "study.h"

#include <stdlib.h>
#include <string.h>

double stats_mean(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return n ? sum / n : NAN;
}

double stats_sd(const double *x, int n)
{
    double mean = stats_mean(x, n), sum = 0;
    for (int i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(sum / (n - 1)) : NAN;
}

typedef struct {
    double x;
    int i;
} placed;

static int by_value(const void *a, const void *b)
{
    double x = ((const placed *)a)->x, y = ((const placed *)b)->x;
    return (x > y) - (x < y);
}

void stats_ranks(const double *x, int n, double *ret)
{
    placed *p = pupil_alloc((size_t)(n + 1) * sizeof *p);
    for (int i = 0; i < n; i++) p[i] = (placed){x[i], i};
    if (n) qsort(p, (size_t)n, sizeof *p, by_value);
    for (int i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && p[end].x == p[i].x;) end++;
        for (int k = i; k < end; k++) ret[p[k].i] = (i + 1 + end) / 2.0;
    }
    pupil_free(&p);
}

double stats_pearson(const double *x, const double *y, int n)
{
    double mx = stats_mean(x, n), my = stats_mean(y, n), xx = 0, yy = 0, xy = 0;
    for (int i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return n > 1 && xx > 0 && yy > 0 ? fmax(-1, fmin(1, xy / sqrt(xx) / sqrt(yy))) : NAN;
}

double stats_spearman(const double *x, const double *y, int n)
{
    double *rank = pupil_alloc((size_t)(n + 1) * 2 * sizeof *rank);
    stats_ranks(x, n, rank);
    stats_ranks(y, n, rank + n);
    double r = stats_pearson(rank, rank + n, n);
    pupil_free(&rank);
    return r;
}

typedef struct {
    double x, y;
} point;

static int by_point(const void *a, const void *b)
{
    const point *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->y > q->y) - (p->y < q->y);
}

/* Sort y by merging; returns how many pairs were the wrong way round. */
static double inversions(double *y, double *room, int n)
{
    if (n < 2) return 0;
    int half = n / 2, i = 0, j = half;
    double count = inversions(y, room, half) + inversions(y + half, room, n - half);
    for (int k = 0; k < n; k++) {
        bool left = j == n || (i < half && y[i] <= y[j]);
        if (!left) count += half - i;
        room[k] = left ? y[i++] : y[j++];
    }
    memcpy(y, room, (size_t)n * sizeof *y);
    return count;
}

/* tau-b (Kendall 1945): (concordant - discordant) / sqrt((pairs - ties of x) (pairs - ties of y)), counted as Knight (1966) does:
 * sorted by x, then y, the discordant pairs are the inversions of y. */
double stats_kendall(const double *x, const double *y, int n)
{
    point *p = pupil_alloc((size_t)(n + 1) * sizeof *p);
    double *by = pupil_alloc((size_t)(2 * n + 1) * sizeof *by), pairs = n * (n - 1.0) / 2, ties_x = 0, ties_y = 0, both = 0;
    for (int i = 0; i < n; i++) p[i] = (point){x[i], y[i]};
    if (n) qsort(p, (size_t)n, sizeof *p, by_point);
    for (int i = 1, run = 0, twin = 0; i < n; i++) {
        run = p[i].x == p[i - 1].x ? run + 1 : 0;
        twin = run && p[i].y == p[i - 1].y ? twin + 1 : 0;
        ties_x += run;
        both += twin;
    }
    for (int i = 0; i < n; i++) by[i] = p[i].y;
    double discordant = inversions(by, by + n, n);
    for (int i = 1, run = 0; i < n; i++) ties_y += run = by[i] == by[i - 1] ? run + 1 : 0;
    pupil_free(&p);
    pupil_free(&by);
    double sum = pairs - ties_x - ties_y + both - 2 * discordant;
    return pairs > ties_x && pairs > ties_y ? sum / sqrt(pairs - ties_x) / sqrt(pairs - ties_y) : NAN;
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear between the two nearest, as numpy.quantile does. */
static double quantile(const double *sorted, int n, double q)
{
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

estimate stats_bootstrap(double (*f)(const double *, const double *, int), const double *x, const double *y, int n, uint64_t seed)
{
    enum { RESAMPLES = 2000 };
    estimate e = {.value = f(x, y, n), .low = NAN, .high = NAN};
    double *a = pupil_alloc((size_t)(2 * n + RESAMPLES) * sizeof *a), *b = a + n, *seen = b + n;
    int count = 0;
    for (int k = 0; k < RESAMPLES && n > 2; k++) {
        pupil_rng g = pupil_rng_at(seed, PUPIL_STREAM_BOOTSTRAP, (uint64_t)k);
        for (int i = 0; i < n; i++) {
            uint64_t from = pupil_rng_below(&g, (uint64_t)n);
            a[i] = x[from];
            b[i] = y[from];
        }
        double v = f(a, b, n);
        if (isfinite(v)) seen[count++] = v;
    }
    if (count > 1) {
        qsort(seen, (size_t)count, sizeof *seen, by_double);
        e.low = quantile(seen, count, 0.025);
        e.high = quantile(seen, count, 0.975);
    }
    pupil_free(&a);
    return e;
}

/* ---- least squares ------------------------------------------------------------------------------------- */
static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* X = Q R column by column, each twice against those before it; then R beta = Q' y. A column that leaves less than 1e-7 of
 * its length is a combination of the others. */
void stats_ols(const double *const *x, int k, const double *y, int n, int lost, ols *ret)
{
    static const double NOTHING = 1e-7;
    double r[OLS_MOST][OLS_MOST] = {{0}}, c[OLS_MOST], inverse[OLS_MOST][OLS_MOST] = {{0}};
    int column[OLS_MOST], used = 0;
    double *q = pupil_alloc((size_t)(OLS_MOST * n + 1) * sizeof *q), *rest = pupil_alloc((size_t)(n + 1) * sizeof *rest);
    *ret = (ols){.rows = n};
    memcpy(rest, y, (size_t)n * sizeof *rest);
    for (int j = 0; j < k; j++) {
        double *v = q + used * n, before = sqrt(dot(x[j], x[j], n));
        ret->beta[j] = ret->se[j] = NAN;
        memcpy(v, x[j], (size_t)n * sizeof *v);
        for (int i = 0; i < used; i++) r[i][used] = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i < used; i++) {
                double s = dot(q + i * n, v, n);
                r[i][used] += s;
                for (int t = 0; t < n; t++) v[t] -= s * q[i * n + t];
            }
        double left = sqrt(dot(v, v, n));
        if (!(left > NOTHING * before) || used >= n - lost - 1) continue;
        for (int t = 0; t < n; t++) v[t] /= left;
        r[used][used] = left;
        c[used] = dot(v, rest, n);
        for (int t = 0; t < n; t++) rest[t] -= c[used] * v[t];
        column[used++] = j;
    }
    double sse = dot(rest, rest, n), total = dot(y, y, n), s2 = sse / (n - used - lost);
    for (int i = used - 1; i >= 0; i--) {
        double b = c[i];
        for (int j = i + 1; j < used; j++) b -= r[i][j] * ret->beta[column[j]];
        ret->beta[column[i]] = b / r[i][i];
        inverse[i][i] = 1 / r[i][i];
        for (int j = i + 1; j < used; j++) {
            double sum = 0;
            for (int t = i + 1; t <= j; t++) sum += r[i][t] * inverse[t][j];
            inverse[i][j] = -sum / r[i][i];
        }
    }
    for (int i = 0; i < used; i++) ret->se[column[i]] = sqrt(s2 * dot(inverse[i] + i, inverse[i] + i, used - i));
    ret->used = used;
    ret->r2 = total > 0 ? 1 - sse / total : NAN;
    pupil_free(&q);
    pupil_free(&rest);
}
