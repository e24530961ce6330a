/** math: pure functions on arrays, forward/backward pairs, each with a plain twin that defines it.
 *
 *  Row-major float arrays; shapes are in each comment, sizes come last. Backward functions add to parameter
 *  gradients (`dw`, `db`, `dgamma`, ...: +=) and write input gradients (`dx`: =) unless said. Results depend on
 *  the inputs, the BLAS kernel and the number of threads per rank only, never on time or rank.
 *  Not collective; no allocation except thread-local scratch that is kept. The plain twins (pupil_plain_*)
 *  compute in double, in the order a textbook would, and are what tests compare with.
 */
#ifndef PUPIL_MATH_H
#define PUPIL_MATH_H

#include "pupil/base.h"

/* ---- the engine --------------------------------------------------------------------------------- */
/** The OpenBLAS kernel in use ("SkylakeX", "Prescott", ...). */
const char *pupil_blas_kernel(void);
/** The OPENBLAS_CORETYPE this CPU deserves, or NULL when the kernel in use is as good (DESIGN 5.7). */
const char *pupil_blas_better_kernel(void);
/** Threads of OpenMP and OpenBLAS from now on. */
void pupil_math_set_threads(int n);
int pupil_math_threads(void);
/** Which of them this is, inside a parallel region. */
int pupil_math_thread(void);

/** C = alpha op(A) op(B) + beta C; op(A) is [m,k], op(B) is [k,n]; leading dimensions in elements. */
void pupil_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/** z[m,n] = alpha a[m,k] b[n,k]^T in double, of float rows. */
void pupil_row_products(double *z, double alpha, const float *a, int64_t lda, int64_t m, const float *b, int64_t ldb, int64_t n,
                        int64_t k);

/* ---- linear ------------------------------------------------------------------------------------- */
/** y[n,out] = x[n,in] w[out,in]^T + b[out]; b may be NULL. */
void pupil_linear_forward(float *y, const float *x, const float *w, const float *b, int64_t n, int64_t in, int64_t out);
/** dx[n,in] = dy w; dw += dy^T x; db += column sums of dy; each may be NULL. */
void pupil_linear_backward(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                           int64_t n, int64_t in, int64_t out);
/** y[i,:] = res[i,:] + x[i,:] + b[:]; y may be x or res. */
void pupil_bias_residual(float *y, const float *res, const float *x, const float *b, int64_t n, int64_t width);

/* ---- activations -------------------------------------------------------------------------------- */
/** x Phi(x), the exact GELU (Hendrycks & Gimpel 2016); x sigmoid(1.702 x); their tanh form
 *  x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
typedef enum { PUPIL_GELU, PUPIL_QUICK_GELU, PUPIL_GELU_TANH } pupil_activation;
/** "gelu", "quick_gelu", "gelu_tanh". */
const char *pupil_activation_name(pupil_activation act);
/** y = act(h), h[n,width] += b first (h keeps the sum for backward); b may be NULL. */
void pupil_bias_act_forward(float *y, float *h, const float *b, int64_t n, int64_t width, pupil_activation act);
/** dh = dy act'(h); dh may be dy. */
void pupil_act_backward(float *dh, const float *dy, const float *h, int64_t count, pupil_activation act);
/** SwiGLU (Shazeer 2020): h[n,2*width] = [g | x] += b first; y[n,width] = g sigmoid(g) x. */
void pupil_bias_swiglu_forward(float *y, float *h, const float *b, int64_t n, int64_t width);
/** dh[n,2*width] = gradient. */
void pupil_swiglu_backward(float *dh, const float *dy, const float *h, int64_t n, int64_t width);

/* ---- layer norm --------------------------------------------------------------------------------- */
/** y = (x - mean)/sqrt(var + eps) gamma + beta over rows of `width`; keeps mean[n], rstd[n] (may be NULL). */
void pupil_layernorm_forward(float *y, float *mean, float *rstd, const float *x, const float *gamma,
                             const float *beta, int64_t n, int64_t width, float eps);
/** dx[n,width] = gradient, or += it when `add`; dgamma, dbeta +=. */
void pupil_layernorm_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *mean,
                              const float *rstd, const float *gamma, int64_t n, int64_t width, bool add);

/** RMS norm (Zhang & Sennrich 2019), Llama's: y = x / sqrt(mean(x^2) + eps) gamma; keeps rstd[n]. */
void pupil_rmsnorm_forward(float *y, float *rstd, const float *x, const float *gamma, int64_t n, int64_t width, float eps);
/** dx[n,width] += gradient; dgamma += (may be NULL). */
void pupil_rmsnorm_backward(float *dx, float *dgamma, const float *dy, const float *x, const float *rstd, const float *gamma, int64_t n,
                            int64_t width);

/* ---- attention ---------------------------------------------------------------------------------- */
/** Sequences packed end to end: sequence s is rows cu[s] .. cu[s+1]-1.
 *  qkv[rows, 3*heads*hd] = [q | k | v]; out[rows, heads*hd] = softmax(q k^T / sqrt(hd)) v per head;
 *  `causal`: row i sees rows <= i of its sequence. `pool` (may be NULL): only query row pool[s] of each sequence
 *  is computed and out is [nseq, heads*hd]; it sees its whole sequence up to itself when causal. */
void pupil_attention_forward(float *out, const float *qkv, const int32_t *cu, int64_t nseq, int64_t heads, int64_t hd,
                             bool causal, const int32_t *pool);
/** dqkv = gradient (all of it is written); probabilities are recomputed from qkv. */
void pupil_attention_backward(float *dqkv, const float *dout, const float *qkv, const int32_t *cu, int64_t nseq,
                              int64_t heads, int64_t hd, bool causal, const int32_t *pool);

/** Sequence s asks with rows q[s] .. q[s]+nq[s]-1 about rows k[s] .. k[s]+nk[s]-1: its own, another stream's, or a cache's. */
typedef struct {
    const int32_t *q, *nq, *k, *nk;
    int64_t n;
} pupil_spans;
/** Heads of queries and of keys: head h reads key head h / (heads/kv_heads) (grouped queries, Ainslie et al. 2023). causal: the
 *  last query of a sequence sees all its keys, each one before it one fewer (nq <= nk). */
typedef struct {
    int64_t heads, kv_heads, hd;
    bool causal;
} pupil_heads;
/** out[rows of q, heads*hd] = softmax(q k^T / sqrt(hd)) v. q[.., ldq], k and v[.., ldkv]. Rows that are in no sequence stay. */
void pupil_attend_forward(float *out, const float *q, int64_t ldq, const float *k, const float *v, int64_t ldkv, const pupil_spans *at,
                          const pupil_heads *c);
/** dq, dk, dv (laid as q, k, v) = gradient; a row of k must be of one sequence alone. */
void pupil_attend_backward(float *dq, float *dk, float *dv, const float *dout, const float *q, int64_t ldq, const float *k, const float *v,
                           int64_t ldkv, const pupil_spans *at, const pupil_heads *c);

/** A query of its own for all sequences (attention pooling): q[heads*hd], kv[rows, 2*heads*hd] = [k | v];
 *  out[nseq, heads*hd] = softmax(q k^T / sqrt(hd)) v per head. */
void pupil_pool_attention_forward(float *out, const float *q, const float *kv, const int32_t *cu, int64_t nseq,
                                  int64_t heads, int64_t hd);
/** dkv = gradient, dq[heads*hd] = sum over sequences. */
void pupil_pool_attention_backward(float *dq, float *dkv, const float *dout, const float *q, const float *kv,
                                   const int32_t *cu, int64_t nseq, int64_t heads, int64_t hd);
/** Rotary positions (Su et al. 2021, interleaved pairs): row r of each run of `tokens` rows, from row `first` on, has
 *  its q and k pairs (2i, 2i+1) of every head turned by angle i of table row r-first: angle[tokens-first, hd/2].
 *  inverse: turned back, which is the gradient. qkv[rows, 3*heads*hd], in place. */
void pupil_rope(float *qkv, const float *cosine, const float *sine, int64_t rows, int64_t tokens, int64_t first, int64_t heads,
                int64_t hd, bool inverse);

/** Rotary positions as Llama has them, pairs (i, i + hd/2): row r of x[rows, ld], whose first heads*hd are turned in place,
 *  stands at row at[r] of cosine, sine[positions, hd/2]. inverse: turned back, which is the gradient. */
void pupil_rope_halves(float *x, int64_t ld, const float *cosine, const float *sine, const int32_t *at, int64_t rows, int64_t heads,
                       int64_t hd, bool inverse);

/* ---- rows --------------------------------------------------------------------------------------- */
/** y = x / max(|x|, 1e-12) per row; norm[n] kept. */
void pupil_normalize_forward(float *y, float *norm, const float *x, int64_t n, int64_t width);
/** dx += (dy - y (y . dy)) / norm. */
void pupil_normalize_backward(float *dx, const float *dy, const float *y, const float *norm, int64_t n, int64_t width);
/** lse[i] = log sum_j exp(z[i,j]), sums in double. */
void pupil_logsumexp_rows(double *lse, const float *z, int64_t n, int64_t width);
/** p[i,j] = exp(z[i,j] - row[i]); row or col (the other NULL) gives the subtrahend. p may be z. */
void pupil_exp_minus(float *p, const float *z, const double *row, const double *col, int64_t n, int64_t width);

/** log sum_j exp(z[j]), and p[j] = exp(z[j] - less - col[j]) (col may be NULL, p may be z), in double. */
double pupil_logsumexp(const double *z, int64_t n);
void pupil_exp_less(double *p, const double *z, double less, const double *col, int64_t n);

/* ---- pictures and tokens ------------------------------------------------------------------------ */
/** Non-overlapping patches of images[n,3,size,size] -> rows[n*(size/patch)^2, 3*patch*patch], as the weight
 *  layout [width,3,patch,patch] of the patch convolution wants them. */
void pupil_patchify(float *rows, const float *images, int64_t n, int64_t size, int64_t patch);
/** images = the inverse of pupil_patchify; 0 where no patch reaches. */
void pupil_unpatchify(float *images, const float *rows, int64_t n, int64_t size, int64_t patch);
/** x[r,:] = table[ids[r],:] + pos[r - cu[s],:]. */
void pupil_embed_forward(float *x, const int32_t *ids, const int32_t *cu, int64_t nseq, const float *table,
                         const float *pos, int64_t width);
void pupil_embed_backward(float *dtable, float *dpos, const float *dx, const int32_t *ids, const int32_t *cu,
                          int64_t nseq, int64_t width);

/* ---- vectors ------------------------------------------------------------------------------------ */
void pupil_add(float *y, const float *x, int64_t n); /* y += x */
/** Sum of squares in double, over fixed runs of PUPIL_CHUNK elements: sums[c] for chunk c of x[n]. */
#define PUPIL_CHUNK 16384
void pupil_sumsq_chunks(double *sums, const float *x, int64_t n);
bool pupil_all_finite(const float *x, int64_t n);

/* ---- plain twins (double) ----------------------------------------------------------------------- */
void pupil_plain_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                      const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
void pupil_plain_linear(double *y, const double *x, const double *w, const double *b, int64_t n, int64_t in, int64_t out);
double pupil_plain_act(double x, pupil_activation act);
void pupil_plain_layernorm(double *y, const double *x, const double *gamma, const double *beta, int64_t n, int64_t width,
                           double eps);
void pupil_plain_attention(double *out, const double *qkv, const int32_t *cu, int64_t nseq, int64_t heads, int64_t hd,
                           bool causal, const int32_t *pool);
void pupil_plain_pool_attention(double *out, const double *q, const double *kv, const int32_t *cu, int64_t nseq,
                                int64_t heads, int64_t hd);
/** angle[tokens-first, hd/2]; q and k of qkv turned, v left. */
void pupil_plain_rope(double *qkv, const double *angle, int64_t rows, int64_t tokens, int64_t first, int64_t heads, int64_t hd);
void pupil_plain_rmsnorm(double *y, const double *x, const double *gamma, int64_t n, int64_t width, double eps);
void pupil_plain_attend(double *out, const double *q, int64_t ldq, const double *k, const double *v, int64_t ldkv, const pupil_spans *at,
                        const pupil_heads *c);
/** angle[positions, hd/2]. */
void pupil_plain_rope_halves(double *x, int64_t ld, const double *angle, const int32_t *at, int64_t rows, int64_t heads, int64_t hd);
void pupil_plain_swiglu(double *y, const double *h, int64_t n, int64_t width); /* h[n,2*width] with its bias */
void pupil_plain_normalize(double *y, const double *x, int64_t n, int64_t width);
double pupil_plain_logsumexp(const double *z, int64_t n);
void pupil_plain_patchify(double *rows, const double *images, int64_t n, int64_t size, int64_t patch);
void pupil_plain_embed(double *x, const int32_t *ids, const int32_t *cu, int64_t nseq, const double *table,
                       const double *pos, int64_t width);

#endif
