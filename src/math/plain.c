/* plain.c: the plain twins. Double precision, textbook order, no blocking, no BLAS: what the fast kernels mean. */
#include "pupil/math.h"

#include <math.h>

void pupil_plain_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                      const double *b, int64_t ldb, double beta, double *c, int64_t ldc)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = 0;
            for (int64_t l = 0; l < k; l++)
                s += (ta ? a[l * lda + i] : a[i * lda + l]) * (tb ? b[j * ldb + l] : b[l * ldb + j]);
            c[i * ldc + j] = alpha * s + (beta != 0 ? beta * c[i * ldc + j] : 0);
        }
}

void pupil_plain_linear(double *y, const double *x, const double *w, const double *b, int64_t n, int64_t in, int64_t out)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < out; o++) {
            double s = b ? b[o] : 0;
            for (int64_t j = 0; j < in; j++) s += x[i * in + j] * w[o * in + j];
            y[i * out + o] = s;
        }
}

double pupil_plain_act(double x, pupil_activation act)
{
    switch (act) {
    case PUPIL_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case PUPIL_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    default: return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    }
}

void pupil_plain_layernorm(double *y, const double *x, const double *gamma, const double *beta, int64_t n, int64_t width,
                           double eps)
{
    for (int64_t i = 0; i < n; i++) {
        double mean = 0, var = 0;
        for (int64_t j = 0; j < width; j++) mean += x[i * width + j] / (double)width;
        for (int64_t j = 0; j < width; j++) var += pow(x[i * width + j] - mean, 2) / (double)width;
        for (int64_t j = 0; j < width; j++)
            y[i * width + j] = (x[i * width + j] - mean) / sqrt(var + eps) * gamma[j] + beta[j];
    }
}

static void plain_query(double *out, const double *q, const double *k, const double *v, int64_t n, int64_t hd, int64_t ld)
{
    double total = 0;
    for (int64_t d = 0; d < hd; d++) out[d] = 0;
    for (int64_t j = 0; j < n; j++) {
        double dot = 0;
        for (int64_t d = 0; d < hd; d++) dot += q[d] * k[j * ld + d];
        double e = exp(dot / sqrt((double)hd));
        total += e;
        for (int64_t d = 0; d < hd; d++) out[d] += e * v[j * ld + d];
    }
    for (int64_t d = 0; d < hd; d++) out[d] /= total;
}

void pupil_plain_attention(double *out, const double *qkv, const int32_t *cu, int64_t nseq, int64_t heads, int64_t hd,
                           bool causal, const int32_t *pool)
{
    int64_t width = heads * hd, ld = 3 * width;
    for (int64_t s = 0; s < nseq; s++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t r = pool ? pool[s] : cu[s]; r <= (pool ? pool[s] : cu[s + 1] - 1); r++) {
                int64_t n = causal ? r - cu[s] + 1 : cu[s + 1] - cu[s];
                const double *k = qkv + cu[s] * ld + width + h * hd;
                plain_query(out + (pool ? s : r) * width + h * hd, qkv + r * ld + h * hd, k, k + width, n, hd, ld);
            }
}

void pupil_plain_normalize(double *y, const double *x, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        double s = 0;
        for (int64_t j = 0; j < width; j++) s += x[i * width + j] * x[i * width + j];
        for (int64_t j = 0; j < width; j++) y[i * width + j] = x[i * width + j] / fmax(sqrt(s), 1e-12);
    }
}

double pupil_plain_logsumexp(const double *z, int64_t n)
{
    double top = z[0], s = 0;
    for (int64_t j = 1; j < n; j++) top = fmax(top, z[j]);
    for (int64_t j = 0; j < n; j++) s += exp(z[j] - top);
    return top + log(s);
}

void pupil_plain_patchify(double *rows, const double *images, int64_t n, int64_t size, int64_t patch)
{
    int64_t side = size / patch, at = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t p = 0; p < side * side; p++)
            for (int64_t c = 0; c < 3; c++)
                for (int64_t y = 0; y < patch; y++)
                    for (int64_t x = 0; x < patch; x++)
                        rows[at++] = images[((i * 3 + c) * size + p / side * patch + y) * size + p % side * patch + x];
}

void pupil_plain_embed(double *x, const int32_t *ids, const int32_t *cu, int64_t nseq, const double *table,
                       const double *pos, int64_t width)
{
    for (int64_t s = 0; s < nseq; s++)
        for (int64_t r = cu[s]; r < cu[s + 1]; r++)
            for (int64_t j = 0; j < width; j++)
                x[r * width + j] = table[ids[r] * width + j] + pos[(r - cu[s]) * width + j];
}

void pupil_plain_pool_attention(double *out, const double *q, const double *kv, const int32_t *cu, int64_t nseq, int64_t heads,
                                int64_t hd)
{
    int64_t width = heads * hd, ld = 2 * width;
    for (int64_t s = 0; s < nseq; s++)
        for (int64_t h = 0; h < heads; h++)
            plain_query(out + s * width + h * hd, q + h * hd, kv + cu[s] * ld + h * hd, kv + cu[s] * ld + width + h * hd,
                        cu[s + 1] - cu[s], hd, ld);
}

void pupil_plain_rope(double *qkv, const double *angle, int64_t rows, int64_t tokens, int64_t first, int64_t heads, int64_t hd)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t x = 0; x < 2 * heads * hd && r % tokens >= first; x += 2) { /* pairs of q, then of k */
            double *p = qkv + r * 3 * heads * hd + x, a = p[0], b = p[1];
            double t = angle[(r % tokens - first) * (hd / 2) + x % hd / 2];
            p[0] = a * cos(t) - b * sin(t);
            p[1] = a * sin(t) + b * cos(t);
        }
}

void pupil_plain_swiglu(double *y, const double *h, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) {
            double g = h[2 * i * width + j];
            y[i * width + j] = g / (1 + exp(-g)) * h[(2 * i + 1) * width + j];
        }
}

void pupil_plain_rmsnorm(double *y, const double *x, const double *gamma, int64_t n, int64_t width, double eps)
{
    for (int64_t i = 0; i < n; i++) {
        double s = 0;
        for (int64_t j = 0; j < width; j++) s += x[i * width + j] * x[i * width + j];
        for (int64_t j = 0; j < width; j++) y[i * width + j] = x[i * width + j] / sqrt(s / (double)width + eps) * gamma[j];
    }
}

void pupil_plain_attend(double *out, const double *q, int64_t ldq, const double *k, const double *v, int64_t ldkv, const pupil_spans *at,
                        const pupil_heads *c)
{
    for (int64_t s = 0; s < at->n; s++)
        for (int64_t h = 0; h < c->heads; h++)
            for (int64_t i = 0; i < at->nq[s]; i++) {
                int64_t seen = c->causal ? at->nk[s] - at->nq[s] + i + 1 : at->nk[s], r = at->q[s] + i;
                int64_t key = at->k[s] * ldkv + h * c->kv_heads / c->heads * c->hd;
                plain_query(out + (r * c->heads + h) * c->hd, q + r * ldq + h * c->hd, k + key, v + key, seen, c->hd, ldkv);
            }
}

void pupil_plain_rope_halves(double *x, int64_t ld, const double *angle, const int32_t *at, int64_t rows, int64_t heads, int64_t hd)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < heads * hd / 2; i++) {
            int64_t half = hd / 2, d = i % half;
            double *p = x + r * ld + i / half * hd + d, a = p[0], b = p[half], t = angle[at[r] * half + d];
            p[0] = a * cos(t) - b * sin(t);
            p[half] = b * cos(t) + a * sin(t);
        }
}
