/* rows.c: log-sum-exps and exponentials for the losses (sums in double), patches, token embeddings, and the
 * vector operations of the optimiser. */
#include "kernel.h"

#include <math.h>
#include <omp.h>
#include <string.h>

PUPIL_CLONES static double lse_row(const float *z, int64_t width)
{
    float top = -INFINITY;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < width; j++) top = z[j] > top ? z[j] : top;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < width; j++) sum += (double)kernel_exp(z[j] - top);
    return (double)top + log(sum);
}

void pupil_logsumexp_rows(double *lse, const float *z, int64_t n, int64_t width)
{
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)n * (double)width * 8))
    for (int64_t i = 0; i < n; i++) lse[i] = lse_row(z + i * width, width);
}

PUPIL_CLONES static void exp_minus_row(float *p, const float *z, double row, const double *col, int64_t width)
{
    if (col) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) p[j] = kernel_exp((float)((double)z[j] - col[j]));
    } else {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) p[j] = kernel_exp((float)((double)z[j] - row));
    }
}

void pupil_exp_minus(float *p, const float *z, const double *row, const double *col, int64_t n, int64_t width)
{
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)n * (double)width * 8))
    for (int64_t i = 0; i < n; i++) exp_minus_row(p + i * width, z + i * width, row ? row[i] : 0, col, width);
}

PUPIL_CLONES double pupil_logsumexp(const double *z, int64_t n)
{
    double top = -INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < n; j++) top = z[j] > top ? z[j] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) sum += kernel_exp_double(z[j] - top);
    return top + log(sum);
}

PUPIL_CLONES void pupil_exp_less(double *p, const double *z, double less, const double *col, int64_t n)
{
    if (col) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) p[j] = kernel_exp_double(z[j] - less - col[j]);
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) p[j] = kernel_exp_double(z[j] - less);
    }
}

/* One image between [3,size,size] and rows of patches; `to_rows` gives the direction. */
static void patches_of(float *rows, float *image, int64_t size, int64_t patch, bool to_rows)
{
    int64_t side = size / patch, len = 3 * patch * patch;
    for (int64_t py = 0; py < side; py++)
        for (int64_t c = 0; c < 3; c++)
            for (int64_t y = 0; y < patch; y++)
                for (int64_t px = 0; px < side; px++) {
                    float *a = rows + (py * side + px) * len + (c * patch + y) * patch;
                    float *b = image + (c * size + py * patch + y) * size + px * patch;
                    memcpy(to_rows ? a : b, to_rows ? b : a, (size_t)patch * sizeof *a);
                }
}

static void patches_all(float *rows, float *images, int64_t n, int64_t size, int64_t patch, bool to_rows)
{
    int64_t side = size / patch;
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)(n * 3 * size * size)))
    for (int64_t i = 0; i < n; i++)
        patches_of(rows + i * side * side * 3 * patch * patch, images + i * 3 * size * size, size, patch, to_rows);
}

void pupil_patchify(float *rows, const float *images, int64_t n, int64_t size, int64_t patch)
{
    patches_all(rows, (float *)(uintptr_t)images, n, size, patch, true);
}

void pupil_unpatchify(float *images, const float *rows, int64_t n, int64_t size, int64_t patch)
{
    if (size % patch) memset(images, 0, (size_t)(n * 3 * size * size) * sizeof *images);
    patches_all((float *)(uintptr_t)rows, images, n, size, patch, false);
}

void pupil_embed_forward(float *x, const int32_t *ids, const int32_t *cu, int64_t nseq, const float *table,
                         const float *pos, int64_t width)
{
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)cu[nseq] * (double)width))
    for (int64_t s = 0; s < nseq; s++)
        for (int32_t r = cu[s]; r < cu[s + 1]; r++) {
            const float *t = table + (int64_t)ids[r] * width, *p = pos + (int64_t)(r - cu[s]) * width;
            float *xr = x + (int64_t)r * width;
            for (int64_t j = 0; j < width; j++) xr[j] = t[j] + p[j];
        }
}

void pupil_embed_backward(float *dtable, float *dpos, const float *dx, const int32_t *ids, const int32_t *cu,
                          int64_t nseq, int64_t width)
{
#pragma omp parallel num_threads(kernel_threads((double)cu[nseq] * (double)width))
    {
        int64_t j0, j1 = kernel_share(width, omp_get_thread_num(), omp_get_num_threads(), &j0);
        for (int64_t s = 0; s < nseq; s++)
            for (int32_t r = cu[s]; r < cu[s + 1]; r++) {
                float *t = dtable + (int64_t)ids[r] * width, *p = dpos + (int64_t)(r - cu[s]) * width;
                const float *d = dx + (int64_t)r * width;
                for (int64_t j = j0; j < j1; j++) {
                    t[j] += d[j];
                    p[j] += d[j];
                }
            }
    }
}

PUPIL_CLONES static void add_run(float *y, const float *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

void pupil_add(float *y, const float *x, int64_t n)
{
#pragma omp parallel num_threads(kernel_threads((double)n))
    {
        int64_t i0, i1 = kernel_share(n, omp_get_thread_num(), omp_get_num_threads(), &i0);
        add_run(y + i0, x + i0, i1 - i0);
    }
}

PUPIL_CLONES static double sumsq_run(const float *x, int64_t n)
{
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return s;
}

void pupil_sumsq_chunks(double *sums, const float *x, int64_t n)
{
    int64_t chunks = (n + PUPIL_CHUNK - 1) / PUPIL_CHUNK;
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)n))
    for (int64_t c = 0; c < chunks; c++)
        sums[c] = sumsq_run(x + c * PUPIL_CHUNK, PUPIL_MIN((int64_t)PUPIL_CHUNK, n - c * PUPIL_CHUNK));
}

bool pupil_all_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        union {
            float f;
            uint32_t u;
        } v = {.f = x[i]};
        bad |= (v.u & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}
