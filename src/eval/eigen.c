/* eigen.c: eigenvalues of a symmetric matrix: Householder reflections to a tridiagonal one, then QL steps with implicit
 * shifts (Golub & Van Loan, Matrix Computations, 8.3). */
#include "eigen.h"

#include "pupil/base.h"

#include <float.h>
#include <math.h>

/* a := a - v w' - w v' over its leading m x m lower triangle, which is the reflection H a H for H = 1 - beta v v'. */
static void reflect(double *a, int64_t n, int64_t m, const double *v, double beta, double *w)
{
    double vw = 0;
    for (int64_t i = 0; i < m; i++) w[i] = 0;
    for (int64_t i = 0; i < m; i++) { /* w = beta a v, from the lower triangle */
        const double *row = a + i * n;
        double sum = row[i] * v[i];
        for (int64_t j = 0; j < i; j++) {
            sum += row[j] * v[j];
            w[j] += row[j] * v[i];
        }
        w[i] += sum;
    }
    for (int64_t i = 0; i < m; i++) vw += (w[i] *= beta) * v[i];
    for (int64_t i = 0; i < m; i++) w[i] -= beta * vw / 2 * v[i];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j <= i; j++) a[i * n + j] -= v[i] * w[j] + w[i] * v[j];
}

/* Diagonal d[n] and off-diagonal e[n - 1] of a similar tridiagonal matrix. */
static void tridiagonal(double *a, int64_t n, double *d, double *e)
{
    double *v = pupil_alloc((size_t)n * sizeof *v), *w = pupil_alloc((size_t)n * sizeof *w);
    for (int64_t k = n - 1; k > 0; k--) { /* row k left of the diagonal becomes (0, ..., 0, e) */
        double norm = 0, *row = a + k * n;
        for (int64_t j = 0; j < k; j++) norm += row[j] * row[j];
        norm = sqrt(norm);
        d[k] = row[k];
        e[k - 1] = row[k - 1] > 0 ? -norm : norm;
        if (norm == 0) continue;
        for (int64_t j = 0; j < k; j++) v[j] = row[j];
        v[k - 1] -= e[k - 1];
        double square = 0;
        for (int64_t j = 0; j < k; j++) square += v[j] * v[j];
        reflect(a, n, k, v, 2 / square, w);
    }
    if (n) d[0] = a[0];
    pupil_free(&v);
    pupil_free(&w);
}

/* One QL sweep of rows l .. m with the shift that Wilkinson proposed. */
static void sweep(double *d, double *e, int64_t l, int64_t m)
{
    double g = (d[l + 1] - d[l]) / (2 * e[l]), s = 1, c = 1, p = 0;
    g = d[m] - d[l] + e[l] / (g + copysign(hypot(g, 1), g));
    for (int64_t i = m - 1; i >= l; i--) {
        double f = s * e[i], b = c * e[i], r = hypot(f, g);
        if (i + 1 < m) e[i + 1] = r;
        if (r == 0) {
            d[i + 1] -= p;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        double t = (d[i] - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
    }
    d[l] -= p;
    e[l] = g;
}

void eigenvalues(double *a, int64_t n, double *ret)
{
    enum { PATIENCE = 60 };
    double *e = pupil_alloc((size_t)n * sizeof *e);
    tridiagonal(a, n, ret, e);
    for (int64_t l = 0; l < n; l++)
        for (int k = 0; k < PATIENCE; k++) {
            int64_t m = l;
            while (m + 1 < n && fabs(e[m]) > DBL_EPSILON * (fabs(ret[m]) + fabs(ret[m + 1]))) m++;
            if (m == l) break;
            sweep(ret, e, l, m);
            if (m < n - 1) e[m] = 0;
        }
    pupil_free(&e);
}
