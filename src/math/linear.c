/* linear.c: y = x w^T + b and its gradients; bias, residual and activation passes around the GEMMs. */
#include "kernel.h"

#include <math.h>
#include <omp.h>

PUPIL_CLONES static void bias_rows(float *y, const float *b, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        float *row = y + i * width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) row[j] += b[j];
    }
}

void pupil_linear_forward(float *y, const float *x, const float *w, const float *b, int64_t n, int64_t in, int64_t out)
{
    pupil_gemm(false, true, n, out, in, 1, x, in, w, in, 0, y, out);
    if (!b) return;
#pragma omp parallel num_threads(kernel_threads((double)n * (double)out))
    {
        int64_t r0, r1 = kernel_share(n, omp_get_thread_num(), omp_get_num_threads(), &r0);
        bias_rows(y + r0 * out, b, r1 - r0, out);
    }
}

/* db[j0..j1) += column sums of dy[n,width]: rows in order, so the sum does not depend on the threads. */
PUPIL_CLONES static void column_sums(float *db, const float *dy, int64_t n, int64_t width, int64_t j0, int64_t j1)
{
    enum { RUN = 256 };
    for (int64_t j = j0; j < j1; j += RUN) {
        int64_t len = PUPIL_MIN((int64_t)RUN, j1 - j);
        float sum[RUN] = {0};
        for (int64_t i = 0; i < n; i++) {
            const float *row = dy + i * width + j;
#pragma omp simd
            for (int64_t c = 0; c < len; c++) sum[c] += row[c];
        }
        for (int64_t c = 0; c < len; c++) db[j + c] += sum[c];
    }
}

void pupil_linear_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                           int64_t n, int64_t in, int64_t out)
{
    if (dw) pupil_gemm(true, false, out, in, n, 1, dy, out, x, in, 1, dw, in);
    if (dx) pupil_gemm(false, false, n, in, out, 1, dy, out, w, in, 0, dx, in);
    if (!db) return;
#pragma omp parallel num_threads(kernel_threads((double)n * (double)out))
    {
        int64_t j0, j1 = kernel_share(out, omp_get_thread_num(), omp_get_num_threads(), &j0);
        column_sums(db, dy, n, out, j0, j1);
    }
}

PUPIL_CLONES static void bias_residual_rows(float *y, const float *res, const float *x, const float *b, int64_t n,
                                            int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        const float *r = res + i * width, *xi = x + i * width;
        float *yi = y + i * width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) yi[j] = r[j] + (xi[j] + b[j]);
    }
}

void pupil_bias_residual(float *y, const float *res, const float *x, const float *b, int64_t n, int64_t width)
{
#pragma omp parallel num_threads(kernel_threads((double)n * (double)width))
    {
        int64_t r0, r1 = kernel_share(n, omp_get_thread_num(), omp_get_num_threads(), &r0);
        bias_residual_rows(y + r0 * width, res + r0 * width, x + r0 * width, b, r1 - r0, width);
    }
}

/* erf(x) in float, rational in x^2 on [-4, 4] (the minimax pair used by Eigen and XLA), error about 1e-7. */
static inline float erf_fast(float x)
{
    x = x < -4.0f ? -4.0f : x > 4.0f ? 4.0f : x;
    float s = x * x;
    float p = -2.72614225801306e-10f;
    p = p * s + 2.77068142495902e-08f;
    p = p * s + -2.10102402082508e-06f;
    p = p * s + -5.69250639462346e-05f;
    p = p * s + -7.34990630326855e-04f;
    p = p * s + -2.95459980854025e-03f;
    p = p * s + -1.60960333262415e-02f;
    float q = -1.45660718464996e-05f;
    q = q * s + -2.13374055278905e-04f;
    q = q * s + -1.68282697438203e-03f;
    q = q * s + -7.37332916720468e-03f;
    q = q * s + -1.42647390514189e-02f;
    return x * p / q;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + kernel_exp(-x)); }

/* 2 sqrt(2/pi) (x + 0.044715 x^3): 1/2 (1 + tanh(u)) is sigmoid(2 u). */
static inline float tanh_argument(float x) { return x * (1.59576912f + 0.07135482f * x * x); }

const char *pupil_activation_name(pupil_activation act)
{
    static const char *const name[] = {"gelu", "quick_gelu", "gelu_tanh"};
    return name[act];
}

PUPIL_CLONES static void act_rows(float *y, float *h, const float *b, int64_t n, int64_t width, pupil_activation act)
{
    for (int64_t i = 0; i < n; i++) {
        float *hi = h + i * width, *yi = y + i * width;
        if (b) {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) hi[j] += b[j];
        }
        if (act == PUPIL_QUICK_GELU) {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) yi[j] = hi[j] * sigmoid(1.702f * hi[j]);
        } else if (act == PUPIL_GELU_TANH) {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) yi[j] = hi[j] * sigmoid(tanh_argument(hi[j]));
        } else {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) yi[j] = 0.5f * hi[j] * (1.0f + erf_fast(hi[j] * 0.70710678f));
        }
    }
}

void pupil_bias_act_forward(float *y, float *h, const float *b, int64_t n, int64_t width, pupil_activation act)
{
#pragma omp parallel num_threads(kernel_threads((double)n * (double)width))
    {
        int64_t r0, r1 = kernel_share(n, omp_get_thread_num(), omp_get_num_threads(), &r0);
        act_rows(y + r0 * width, h + r0 * width, b, r1 - r0, width, act);
    }
}

PUPIL_CLONES static void act_back(float *dh, const float *dy, const float *h, int64_t n, pupil_activation act)
{
    if (act == PUPIL_QUICK_GELU) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            float s = sigmoid(1.702f * h[j]);
            dh[j] = dy[j] * (s + 1.702f * h[j] * s * (1.0f - s));
        }
    } else if (act == PUPIL_GELU_TANH) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            float x = h[j] < -12.0f ? -12.0f : h[j] > 12.0f ? 12.0f : h[j]; /* flat beyond, and cubes stay finite */
            float t = kernel_exp(-tanh_argument(x)), s = 1.0f / (1.0f + t); /* t s is 1 - s without its rounding */
            dh[j] = dy[j] * (s + x * s * (t * s) * (1.59576912f + 0.21406445f * x * x));
        }
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            float x = h[j], phi = 0.39894228f * kernel_exp(-0.5f * x * x);
            dh[j] = dy[j] * (0.5f * (1.0f + erf_fast(x * 0.70710678f)) + x * phi);
        }
    }
}

void pupil_act_backward(float *dh, const float *dy, const float *h, int64_t count, pupil_activation act)
{
#pragma omp parallel num_threads(kernel_threads((double)count))
    {
        int64_t i0, i1 = kernel_share(count, omp_get_thread_num(), omp_get_num_threads(), &i0);
        act_back(dh + i0, dy + i0, h + i0, i1 - i0, act);
    }
}

PUPIL_CLONES static void swiglu_rows(float *y, float *h, const float *b, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        float *g = h + 2 * i * width, *x = g + width, *yi = y + i * width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) {
            g[j] += b[j];
            x[j] += b[width + j];
            yi[j] = g[j] * sigmoid(g[j]) * x[j];
        }
    }
}

void pupil_bias_swiglu_forward(float *y, float *h, const float *b, int64_t n, int64_t width)
{
#pragma omp parallel num_threads(kernel_threads(2 * (double)n * (double)width))
    {
        int64_t r0, r1 = kernel_share(n, omp_get_thread_num(), omp_get_num_threads(), &r0);
        swiglu_rows(y + r0 * width, h + 2 * r0 * width, b, r1 - r0, width);
    }
}

PUPIL_CLONES static void swiglu_back(float *dh, const float *dy, const float *h, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        const float *g = h + 2 * i * width, *x = g + width, *d = dy + i * width;
        float *dg = dh + 2 * i * width, *dx = dg + width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) {
            float s = sigmoid(g[j]);
            dx[j] = d[j] * g[j] * s;
            dg[j] = d[j] * x[j] * (s + g[j] * s * (1.0f - s));
        }
    }
}

void pupil_swiglu_backward(float *dh, const float *dy, const float *h, int64_t n, int64_t width)
{
#pragma omp parallel num_threads(kernel_threads(2 * (double)n * (double)width))
    {
        int64_t r0, r1 = kernel_share(n, omp_get_thread_num(), omp_get_num_threads(), &r0);
        swiglu_back(dh + 2 * r0 * width, dy + r0 * width, h + 2 * r0 * width, r1 - r0, width);
    }
}
