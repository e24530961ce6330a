/* diagnose.c: what an embedding is like, and how like its teacher's it is. Products of rows are single precision in tiles,
 * everything that is summed or squared again is double. */
#include "eigen.h"

#include "pupil/eval.h"
#include "pupil/math.h"

#include <float.h>
#include <math.h>
#include <string.h>

static float *unit_rows(const float *x, int64_t n, int64_t dim)
{
    float *out = pupil_alloc((size_t)(n * dim) * sizeof *out), *norm = pupil_alloc((size_t)n * sizeof *norm);
    pupil_normalize_forward(out, norm, x, n, dim);
    pupil_free(&norm);
    return out;
}

/* ---- products over rows, in double ------------------------------------------------------------------- */
static double *centred(const float *x, int64_t n, int64_t dim)
{
    double *out = pupil_alloc((size_t)(n * dim) * sizeof *out);
    for (int64_t d = 0; d < dim; d++) {
        double mean = 0;
        for (int64_t i = 0; i < n; i++) mean += (double)x[i * dim + d];
        mean /= (double)n;
        for (int64_t i = 0; i < n; i++) out[i * dim + d] = (double)x[i * dim + d] - mean;
    }
    return out;
}

/* g[dx][dy] = x' y */
static double *product(const double *x, int64_t dx, const double *y, int64_t dy, int64_t n)
{
    double *g = pupil_alloc((size_t)(dx * dy) * sizeof *g);
    for (int64_t i = 0; i < n; i++)
        for (int64_t a = 0; a < dx; a++)
            for (int64_t b = 0; b < dy; b++) g[a * dy + b] += x[i * dx + a] * y[i * dy + b];
    return g;
}

static double squares(const double *x, int64_t dx, const double *y, int64_t dy, int64_t n)
{
    double *g = product(x, dx, y, dy, n), sum = 0;
    for (int64_t k = 0; k < dx * dy; k++) sum += g[k] * g[k];
    pupil_free(&g);
    return sum;
}

double pupil_linear_cka(const float *x, int64_t dx, const float *y, int64_t dy, int64_t n)
{
    double *a = centred(x, n, dx), *b = centred(y, n, dy);
    double both = squares(a, dx, b, dy, n), first = squares(a, dx, a, dx, n), second = squares(b, dy, b, dy, n);
    pupil_free(&a);
    pupil_free(&b);
    return first > 0 && second > 0 ? both / (sqrt(first) * sqrt(second)) : 0;
}

double pupil_effective_rank(const float *x, int64_t n, int64_t dim)
{
    bool wide = n < dim; /* the smaller of x x' and x' x has all the eigenvalues that count */
    int64_t rank = wide ? n : dim, rows = wide ? dim : n;
    float *unit = unit_rows(x, n, dim);
    double *a = pupil_alloc((size_t)(n * dim) * sizeof *a), *value = pupil_alloc((size_t)rank * sizeof *value);
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < dim; d++) a[wide ? d * n + i : i * dim + d] = (double)unit[i * dim + d];
    double *g = product(a, rank, a, rank, rows), most = 0, sum = 0, entropy = 0;
    eigenvalues(g, rank, value);
    for (int64_t k = 0; k < rank; k++) most = PUPIL_MAX(most, value[k]);
    for (int64_t k = 0; k < rank; k++) { /* what rounding leaves of a zero is zero */
        value[k] = value[k] > (double)rank * DBL_EPSILON * most ? sqrt(value[k]) : 0;
        sum += value[k];
    }
    for (int64_t k = 0; k < rank; k++)
        if (value[k] > 0) entropy -= value[k] / sum * log(value[k] / sum);
    pupil_free(&unit);
    pupil_free(&a);
    pupil_free(&value);
    pupil_free(&g);
    return exp(entropy);
}

/* ---- distances and affinities -------------------------------------------------------------------------- */
enum { ROWS = 64 };

double pupil_alignment(const float *image, const float *text, int64_t n, int64_t dim)
{
    float *v = unit_rows(image, n, dim), *t = unit_rows(text, n, dim);
    double sum = 0;
    for (int64_t k = 0; k < n * dim; k++) sum += ((double)v[k] - (double)t[k]) * ((double)v[k] - (double)t[k]);
    pupil_free(&v);
    pupil_free(&t);
    return n ? sum / (double)n : 0;
}

double pupil_uniformity(const float *x, int64_t n, int64_t dim)
{
    float *unit = unit_rows(x, n, dim), *s = pupil_alloc((size_t)(ROWS * n) * sizeof *s);
    double sum = 0;
    for (int64_t i0 = 0; i0 < n; i0 += ROWS) {
        int64_t rows = PUPIL_MIN((int64_t)ROWS, n - i0);
        pupil_gemm(false, true, rows, n, dim, 1, unit + i0 * dim, dim, unit, dim, 0, s, n);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = i0 + i + 1; j < n; j++) sum += exp(-4 * (1 - (double)s[i * n + j]));
    }
    pupil_free(&unit);
    pupil_free(&s);
    return n > 1 ? log(sum / ((double)n * (double)(n - 1) / 2)) : 0;
}

/* p[n] = log softmax(scale s) */
static void log_softmax(const float *s, int64_t n, double scale, double *p)
{
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) most = PUPIL_MAX(most, p[j] = scale * (double)s[j]);
    for (int64_t j = 0; j < n; j++) sum += exp(p[j] - most);
    for (int64_t j = 0; j < n; j++) p[j] -= most + log(sum);
}

typedef struct {
    float *of, *among, *s; /* unit rows; scores of ROWS rows */
    int64_t dim;
    double scale, *p;
} affinity;

static void affinity_new(affinity *a, const pupil_pairs_of *m, bool texts, int64_t n)
{
    *a = (affinity){.of = unit_rows(texts ? m->text : m->image, n, m->dim), .among = unit_rows(texts ? m->image : m->text, n, m->dim),
                    .dim = m->dim, .scale = m->scale};
    a->s = pupil_alloc((size_t)(ROWS * n) * sizeof *a->s);
    a->p = pupil_alloc((size_t)n * sizeof *a->p);
}

static void affinity_free(affinity *a)
{
    pupil_free(&a->of);
    pupil_free(&a->among);
    pupil_free(&a->s);
    pupil_free(&a->p);
}

/* a->p of row i; rows come one after the other. */
static void affinity_row(affinity *a, int64_t i, int64_t n)
{
    int64_t rows = PUPIL_MIN((int64_t)ROWS, n - i);
    if (i % ROWS == 0)
        pupil_gemm(false, true, rows, n, a->dim, 1, a->of + i * a->dim, a->dim, a->among, a->dim, 0, a->s, n);
    log_softmax(a->s + i % ROWS * n, n, a->scale, a->p);
}

double pupil_affinity_kl(const pupil_pairs_of *teacher, const pupil_pairs_of *student, int64_t n)
{
    double sum = 0;
    for (int texts = 0; texts < 2; texts++) {
        affinity t, s;
        affinity_new(&t, teacher, texts, n);
        affinity_new(&s, student, texts, n);
        for (int64_t i = 0; i < n; i++) {
            affinity_row(&t, i, n);
            affinity_row(&s, i, n);
            for (int64_t j = 0; j < n; j++) sum += exp(t.p[j]) * (t.p[j] - s.p[j]);
        }
        affinity_free(&t);
        affinity_free(&s);
    }
    return n ? sum / (2 * (double)n) : 0;
}
