/* norm.c: layer norm, RMS norm and L2 normalisation over rows, forward and backward. Row sums run in float with
 * simd reductions; sums over rows (dgamma, dbeta) run in row order per column. */
#include "kernel.h"

#include <math.h>
#include <omp.h>

PUPIL_CLONES static void layernorm_rows(float *y, float *mean, float *rstd, const float *x, const float *gamma,
                                        const float *beta, int64_t n, int64_t width, float eps)
{
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * width;
        float *yi = y + i * width, sum = 0, sq = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < width; j++) sum += xi[j];
        float mu = sum / (float)width;
#pragma omp simd reduction(+ : sq)
        for (int64_t j = 0; j < width; j++) sq += (xi[j] - mu) * (xi[j] - mu);
        float r = 1.0f / sqrtf(sq / (float)width + eps);
#pragma omp simd
        for (int64_t j = 0; j < width; j++) yi[j] = (xi[j] - mu) * r * gamma[j] + beta[j];
        if (mean) mean[i] = mu;
        if (rstd) rstd[i] = r;
    }
}

void pupil_layernorm_forward(float *y, float *mean, float *rstd, const float *x, const float *gamma,
                             const float *beta, int64_t n, int64_t width, float eps)
{
#pragma omp parallel num_threads(kernel_threads((double)n * (double)width))
    {
        int64_t r0, r1 = kernel_share(n, omp_get_thread_num(), omp_get_num_threads(), &r0);
        layernorm_rows(y + r0 * width, mean ? mean + r0 : NULL, rstd ? rstd + r0 : NULL, x + r0 * width, gamma, beta,
                       r1 - r0, width, eps);
    }
}

PUPIL_CLONES static void layernorm_back_rows(float *dx, const float *dy, const float *x, const float *mean,
                                             const float *rstd, const float *gamma, int64_t n, int64_t width, bool add)
{
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * width, *di = dy + i * width;
        float *oi = dx + i * width, mu = mean[i], r = rstd[i], s1 = 0, s2 = 0;
#pragma omp simd reduction(+ : s1, s2)
        for (int64_t j = 0; j < width; j++) {
            float g = di[j] * gamma[j];
            s1 += g;
            s2 += g * ((xi[j] - mu) * r);
        }
        s1 /= (float)width;
        s2 /= (float)width;
        if (add) {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) oi[j] += r * (di[j] * gamma[j] - s1 - (xi[j] - mu) * r * s2);
        } else {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) oi[j] = r * (di[j] * gamma[j] - s1 - (xi[j] - mu) * r * s2);
        }
    }
}

PUPIL_CLONES static void layernorm_back_params(float *dgamma, float *dbeta, const float *dy, const float *x,
                                               const float *mean, const float *rstd, int64_t n, int64_t width,
                                               int64_t j0, int64_t j1)
{
    enum { RUN = 256 };
    for (int64_t j = j0; j < j1; j += RUN) {
        int64_t len = PUPIL_MIN((int64_t)RUN, j1 - j);
        float g[RUN] = {0}, b[RUN] = {0};
        for (int64_t i = 0; i < n; i++) {
            const float *di = dy + i * width + j, *xi = x + i * width + j;
            float mu = mean[i], r = rstd[i];
#pragma omp simd
            for (int64_t c = 0; c < len; c++) {
                g[c] += di[c] * ((xi[c] - mu) * r);
                b[c] += di[c];
            }
        }
        for (int64_t c = 0; c < len; c++) {
            dgamma[j + c] += g[c];
            dbeta[j + c] += b[c];
        }
    }
}

void pupil_layernorm_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *mean,
                              const float *rstd, const float *gamma, int64_t n, int64_t width, bool add)
{
#pragma omp parallel num_threads(kernel_threads((double)n * (double)width))
    {
        int t = omp_get_thread_num(), nt = omp_get_num_threads();
        int64_t a, b = kernel_share(width, t, nt, &a);
        layernorm_back_params(dgamma, dbeta, dy, x, mean, rstd, n, width, a, b);
        b = kernel_share(n, t, nt, &a);
#pragma omp barrier
        layernorm_back_rows(dx + a * width, dy + a * width, x + a * width, mean + a, rstd + a, gamma, b - a, width, add);
    }
}

PUPIL_CLONES static void rmsnorm_rows(float *y, float *rstd, const float *x, const float *gamma, int64_t n, int64_t width, float eps)
{
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * width;
        float *yi = y + i * width, sq = 0;
#pragma omp simd reduction(+ : sq)
        for (int64_t j = 0; j < width; j++) sq += xi[j] * xi[j];
        float r = 1.0f / sqrtf(sq / (float)width + eps);
#pragma omp simd
        for (int64_t j = 0; j < width; j++) yi[j] = xi[j] * r * gamma[j];
        rstd[i] = r;
    }
}

void pupil_rmsnorm_forward(float *y, float *rstd, const float *x, const float *gamma, int64_t n, int64_t width, float eps)
{
#pragma omp parallel num_threads(kernel_threads((double)n * (double)width))
    {
        int64_t r0, r1 = kernel_share(n, omp_get_thread_num(), omp_get_num_threads(), &r0);
        rmsnorm_rows(y + r0 * width, rstd + r0, x + r0 * width, gamma, r1 - r0, width, eps);
    }
}

/* dx += its rows; dgamma[j0..j1) += over all rows, in their order. */
PUPIL_CLONES static void rmsnorm_back_rows(float *dx, const float *dy, const float *x, const float *rstd, const float *gamma, int64_t n,
                                           int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * width, *di = dy + i * width;
        float *oi = dx + i * width, r = rstd[i], s = 0;
#pragma omp simd reduction(+ : s)
        for (int64_t j = 0; j < width; j++) s += di[j] * gamma[j] * xi[j];
        s *= r * r / (float)width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) oi[j] += r * (di[j] * gamma[j] - xi[j] * s);
    }
}

PUPIL_CLONES static void rmsnorm_back_gamma(float *dgamma, const float *dy, const float *x, const float *rstd, int64_t n, int64_t width,
                                            int64_t j0, int64_t j1)
{
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * width, *di = dy + i * width;
        float r = rstd[i];
#pragma omp simd
        for (int64_t j = j0; j < j1; j++) dgamma[j] += di[j] * (xi[j] * r);
    }
}

void pupil_rmsnorm_backward(float *dx, float *dgamma, const float *dy, const float *x, const float *rstd, const float *gamma, int64_t n,
                            int64_t width)
{
#pragma omp parallel num_threads(kernel_threads((double)n * (double)width))
    {
        int t = omp_get_thread_num(), nt = omp_get_num_threads();
        int64_t a, b = kernel_share(width, t, nt, &a);
        if (dgamma) rmsnorm_back_gamma(dgamma, dy, x, rstd, n, width, a, b);
        b = kernel_share(n, t, nt, &a);
        rmsnorm_back_rows(dx + a * width, dy + a * width, x + a * width, rstd + a, gamma, b - a, width);
    }
}

PUPIL_CLONES static void normalize_rows(float *y, float *norm, const float *x, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * width;
        double s = 0;
        for (int64_t j = 0; j < width; j++) s += (double)xi[j] * xi[j];
        norm[i] = (float)PUPIL_MAX(sqrt(s), 1e-12);
        for (int64_t j = 0; j < width; j++) y[i * width + j] = xi[j] / norm[i];
    }
}

void pupil_normalize_forward(float *y, float *norm, const float *x, int64_t n, int64_t width)
{
    normalize_rows(y, norm, x, n, width);
}

void pupil_normalize_backward(float *dx, const float *dy, const float *y, const float *norm, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        const float *yi = y + i * width, *di = dy + i * width;
        double dot = 0;
        for (int64_t j = 0; j < width; j++) dot += (double)yi[j] * di[j];
        for (int64_t j = 0; j < width; j++) dx[i * width + j] += (float)((di[j] - yi[j] * dot) / norm[i]);
    }
}
