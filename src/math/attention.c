/* attention.c: softmax(q k^T / sqrt(hd)) v over packed sequences, one (sequence, head) at a time in parallel with
 * single-threaded small GEMMs. Backward recomputes the probabilities, so nothing of size n x n is kept. */
#include "kernel.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Rows of z[n, ld] become probabilities over their first len entries, of row i at most seen + i; the rest becomes 0. */
PUPIL_CLONES static void softmax_rows(float *z, int64_t n, int64_t ld, int64_t len, int64_t seen)
{
    for (int64_t i = 0; i < n; i++) {
        float *zi = z + i * ld, top = -INFINITY, sum = 0;
        int64_t m = PUPIL_MIN(len, seen + i);
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < m; j++) top = zi[j] > top ? zi[j] : top;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < m; j++) {
            zi[j] = kernel_exp(zi[j] - top);
            sum += zi[j];
        }
        float inv = 1.0f / sum;
#pragma omp simd
        for (int64_t j = 0; j < m; j++) zi[j] *= inv;
        for (int64_t j = m; j < len; j++) zi[j] = 0;
    }
}

/* ds = p * (dp - sum_j dp p) * scale per row, in place of dp. */
PUPIL_CLONES static void softmax_back_rows(float *dp, const float *p, int64_t n, int64_t len, float scale)
{
    for (int64_t i = 0; i < n; i++) {
        float *di = dp + i * len, s = 0;
        const float *pi = p + i * len;
#pragma omp simd reduction(+ : s)
        for (int64_t j = 0; j < len; j++) s += di[j] * pi[j];
#pragma omp simd
        for (int64_t j = 0; j < len; j++) di[j] = pi[j] * (di[j] - s) * scale;
    }
}

/* The piece of one (sequence, head): where its queries, keys and values lie. */
typedef struct {
    int64_t first, n;  /* key rows */
    int64_t qrow, nq;  /* query rows */
    int64_t orow;      /* first output row */
    bool causal;
} piece;

static piece piece_of(const int32_t *cu, int64_t s, bool causal, const int32_t *pool)
{
    piece c = {.first = cu[s], .n = cu[s + 1] - cu[s], .causal = causal};
    c.qrow = pool ? pool[s] : c.first;
    c.nq = pool ? 1 : c.n;
    c.orow = pool ? s : c.first;
    if (pool && causal) c.n = c.qrow - c.first + 1;
    if (pool) c.causal = false;
    return c;
}

static void probabilities(float *p, const float *qkv, const piece *c, int64_t h, int64_t width, int64_t hd)
{
    int64_t ld = 3 * width;
    pupil_gemm(false, true, c->nq, c->n, hd, 1.0f / sqrtf((float)hd), qkv + c->qrow * ld + h * hd, ld,
               qkv + c->first * ld + width + h * hd, ld, 0, p, c->n);
    softmax_rows(p, c->nq, c->n, c->n, c->causal ? 1 : c->n);
}

void pupil_attention_forward(float *out, const float *qkv, const int32_t *cu, int64_t nseq, int64_t heads, int64_t hd,
                             bool causal, const int32_t *pool)
{
    int64_t width = heads * hd, ld = 3 * width;
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)cu[nseq] * (double)width * 16))
    for (int64_t sh = 0; sh < nseq * heads; sh++) {
        int64_t s = sh / heads, h = sh % heads;
        piece c = piece_of(cu, s, causal, pool);
        float *p = kernel_scratch((size_t)(c.nq * c.n) * sizeof *p);
        probabilities(p, qkv, &c, h, width, hd);
        pupil_gemm(false, false, c.nq, hd, c.n, 1, p, c.n, qkv + c.first * ld + 2 * width + h * hd, ld, 0,
                   out + c.orow * width + h * hd, width);
    }
}

void pupil_attention_backward(float *dqkv, const float *dout, const float *qkv, const int32_t *cu, int64_t nseq,
                              int64_t heads, int64_t hd, bool causal, const int32_t *pool)
{
    int64_t width = heads * hd, ld = 3 * width;
    if (pool) memset(dqkv, 0, (size_t)(cu[nseq] * ld) * sizeof *dqkv);
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)cu[nseq] * (double)width * 16))
    for (int64_t sh = 0; sh < nseq * heads; sh++) {
        int64_t s = sh / heads, h = sh % heads;
        piece c = piece_of(cu, s, causal, pool);
        const float *q = qkv + c.qrow * ld + h * hd, *k = qkv + c.first * ld + width + h * hd, *v = k + width;
        float *dq = dqkv + c.qrow * ld + h * hd, *dk = dqkv + c.first * ld + width + h * hd, *dv = dk + width;
        const float *dy = dout + c.orow * width + h * hd;
        float *p = kernel_scratch((size_t)(2 * c.nq * c.n) * sizeof *p), *dp = p + c.nq * c.n;
        probabilities(p, qkv, &c, h, width, hd);
        pupil_gemm(true, false, c.n, hd, c.nq, 1, p, c.n, dy, width, 0, dv, ld);
        pupil_gemm(false, true, c.nq, c.n, hd, 1, dy, width, v, ld, 0, dp, c.n);
        softmax_back_rows(dp, p, c.nq, c.n, 1.0f / sqrtf((float)hd));
        pupil_gemm(false, false, c.nq, hd, c.n, 1, dp, c.n, k, ld, 0, dq, ld);
        pupil_gemm(true, false, c.n, hd, c.nq, 1, dp, c.n, q, ld, 0, dk, ld);
    }
}

void pupil_pool_attention_forward(float *out, const float *q, const float *kv, const int32_t *cu, int64_t nseq,
                                  int64_t heads, int64_t hd)
{
    int64_t width = heads * hd, ld = 2 * width;
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)cu[nseq] * (double)width * 4))
    for (int64_t sh = 0; sh < nseq * heads; sh++) {
        int64_t s = sh / heads, h = sh % heads, n = cu[s + 1] - cu[s];
        const float *k = kv + cu[s] * ld + h * hd, *v = k + width;
        float *p = kernel_scratch((size_t)n * sizeof *p);
        pupil_gemm(false, true, 1, n, hd, 1.0f / sqrtf((float)hd), q + h * hd, hd, k, ld, 0, p, n);
        softmax_rows(p, 1, n, n, n);
        pupil_gemm(false, false, 1, hd, n, 1, p, n, v, ld, 0, out + s * width + h * hd, hd);
    }
}

void pupil_pool_attention_backward(float *dq, float *dkv, const float *dout, const float *q, const float *kv,
                                   const int32_t *cu, int64_t nseq, int64_t heads, int64_t hd)
{
    int64_t width = heads * hd, ld = 2 * width;
    float scale = 1.0f / sqrtf((float)hd);
    memset(dq, 0, (size_t)width * sizeof *dq);
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)cu[nseq] * (double)width * 8))
    for (int64_t h = 0; h < heads; h++)
        for (int64_t s = 0; s < nseq; s++) { /* in order, since all sequences add to one query */
            int64_t n = cu[s + 1] - cu[s];
            const float *k = kv + cu[s] * ld + h * hd, *v = k + width, *dy = dout + s * width + h * hd;
            float *dk = dkv + cu[s] * ld + h * hd, *dv = dk + width;
            float *p = kernel_scratch((size_t)(2 * n) * sizeof *p), *dp = p + n;
            pupil_gemm(false, true, 1, n, hd, scale, q + h * hd, hd, k, ld, 0, p, n);
            softmax_rows(p, 1, n, n, n);
            pupil_gemm(true, false, n, hd, 1, 1, p, n, dy, hd, 0, dv, ld);
            pupil_gemm(false, true, 1, n, hd, 1, dy, hd, v, ld, 0, dp, n);
            softmax_back_rows(dp, p, 1, n, scale);
            pupil_gemm(false, false, 1, hd, n, 1, dp, n, k, ld, 1, dq + h * hd, hd);
            pupil_gemm(true, false, n, hd, 1, 1, dp, n, q + h * hd, hd, 0, dk, ld);
        }
}

/* Probabilities p[nq, nk] of head h of sequence s. */
static void attend_probabilities(float *p, const float *q, int64_t ldq, const float *k, int64_t ldkv, const pupil_spans *at, int64_t s,
                                 const pupil_heads *c)
{
    int64_t nq = at->nq[s], nk = at->nk[s];
    pupil_gemm(false, true, nq, nk, c->hd, 1.0f / sqrtf((float)c->hd), q, ldq, k, ldkv, 0, p, nk);
    softmax_rows(p, nq, nk, nk, c->causal ? nk - nq + 1 : nk);
}

void pupil_attend_forward(float *out, const float *q, int64_t ldq, const float *k, const float *v, int64_t ldkv, const pupil_spans *at,
                          const pupil_heads *c)
{
    int64_t width = c->heads * c->hd, group = c->heads / c->kv_heads;
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)at->n * (double)width * 256))
    for (int64_t sh = 0; sh < at->n * c->heads; sh++) {
        int64_t s = sh / c->heads, h = sh % c->heads, row = at->k[s] * ldkv + h / group * c->hd;
        float *p = kernel_scratch((size_t)at->nq[s] * (size_t)at->nk[s] * sizeof *p);
        attend_probabilities(p, q + at->q[s] * ldq + h * c->hd, ldq, k + row, ldkv, at, s, c);
        pupil_gemm(false, false, at->nq[s], c->hd, at->nk[s], 1, p, at->nk[s], v + row, ldkv, 0, out + at->q[s] * width + h * c->hd, width);
    }
}

void pupil_attend_backward(float *dq, float *dk, float *dv, const float *dout, const float *q, int64_t ldq, const float *k, const float *v,
                           int64_t ldkv, const pupil_spans *at, const pupil_heads *c)
{
    int64_t width = c->heads * c->hd, group = c->heads / c->kv_heads;
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)at->n * (double)width * 256))
    for (int64_t sg = 0; sg < at->n * c->kv_heads; sg++) {
        int64_t s = sg / c->kv_heads, g = sg % c->kv_heads, nq = at->nq[s], nk = at->nk[s], row = at->k[s] * ldkv + g * c->hd;
        float *p = kernel_scratch((size_t)(2 * nq * nk) * sizeof *p), *dp = p + nq * nk;
        for (int64_t h = g * group; h < (g + 1) * group; h++) { /* in order: the heads of a group add to one key */
            int64_t head = at->q[s] * ldq + h * c->hd;
            const float *dy = dout + at->q[s] * width + h * c->hd;
            float add = h > g * group ? 1 : 0;
            attend_probabilities(p, q + head, ldq, k + row, ldkv, at, s, c);
            pupil_gemm(true, false, nk, c->hd, nq, 1, p, nk, dy, width, add, dv + row, ldkv);
            pupil_gemm(false, true, nq, nk, c->hd, 1, dy, width, v + row, ldkv, 0, dp, nk);
            softmax_back_rows(dp, p, nq, nk, 1.0f / sqrtf((float)c->hd));
            pupil_gemm(false, false, nq, c->hd, nk, 1, dp, nk, k + row, ldkv, 0, dq + head, ldq);
            pupil_gemm(true, false, nk, c->hd, nq, 1, dp, nk, q + head, ldq, add, dk + row, ldkv);
        }
    }
}

PUPIL_CLONES static void rope_row(float *x, const float *cosine, const float *sine, int64_t heads, int64_t hd, float sign)
{
    for (int64_t h = 0; h < heads; h++, x += hd)
        for (int64_t i = 0; i < hd / 2; i++) {
            float a = x[2 * i], b = x[2 * i + 1], c = cosine[i], s = sign * sine[i];
            x[2 * i] = a * c - b * s;
            x[2 * i + 1] = b * c + a * s;
        }
}

void pupil_rope(float *qkv, const float *cosine, const float *sine, int64_t rows, int64_t tokens, int64_t first, int64_t heads,
                int64_t hd, bool inverse)
{
    int64_t width = heads * hd;
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)rows * (double)width))
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = r % tokens - first;
        if (at < 0) continue;
        for (int64_t part = 0; part < 2; part++) /* q, k */
            rope_row(qkv + (3 * r + part) * width, cosine + at * (hd / 2), sine + at * (hd / 2), heads, hd, inverse ? -1 : 1);
    }
}

PUPIL_CLONES static void rope_halves_row(float *x, const float *cosine, const float *sine, int64_t heads, int64_t hd, float sign)
{
    int64_t half = hd / 2;
    for (int64_t h = 0; h < heads; h++, x += hd)
        for (int64_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half], c = cosine[i], s = sign * sine[i];
            x[i] = a * c - b * s;
            x[i + half] = b * c + a * s;
        }
}

void pupil_rope_halves(float *x, int64_t ld, const float *cosine, const float *sine, const int32_t *at, int64_t rows, int64_t heads,
                       int64_t hd, bool inverse)
{
#pragma omp parallel for schedule(static) num_threads(kernel_threads((double)rows * (double)(heads * hd)))
    for (int64_t r = 0; r < rows; r++)
        rope_halves_row(x + r * ld, cosine + at[r] * (hd / 2), sine + at[r] * (hd / 2), heads, hd, inverse ? -1 : 1);
}
