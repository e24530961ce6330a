/* engine.c: which BLAS kernel runs, how many threads, and the one door to sgemm. */
#include "kernel.h"

#if __has_include(<cblas.h>)
#include <cblas.h>
#else
#include <mkl_cblas.h>
#endif
#include <omp.h>
#include <string.h>
#include <strings.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static int threads = 1;

#if PUPIL_OPENBLAS
const char *pupil_blas_kernel(void) { return openblas_get_corename(); }
static void blas_threads(int n) { openblas_set_num_threads(n); }
#else /* others choose well, and follow OpenMP */
const char *pupil_blas_kernel(void) { return "(another BLAS)"; }
static void blas_threads(int n) { (void)n; }
#endif

const char *pupil_blas_better_kernel(void)
{
#if PUPIL_OPENBLAS && defined(__x86_64__)
    static const char *const avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids", "Zen"};
    static const char *const avx2[] = {"Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids"};
    const char *now = pupil_blas_kernel();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        for (int i = 0; i < PUPIL_COUNT(avx512); i++)
            if (!strcasecmp(now, avx512[i])) return NULL;
        return "SKYLAKEX";
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        for (int i = 0; i < PUPIL_COUNT(avx2); i++)
            if (!strcasecmp(now, avx2[i])) return NULL;
        return "HASWELL";
    }
#endif
    return NULL;
}

/* Numbers below 1e-38 count as zero on every thread: probabilities and moments that small would otherwise slow
 * the GEMMs many times over, and change nothing. */
static void flush_denormals(void)
{
#if defined(__x86_64__)
#pragma omp parallel num_threads(threads)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* flush to zero, denormals are zero */
#endif
}

void pupil_math_set_threads(int n)
{
    threads = PUPIL_MAX(1, n);
    omp_set_dynamic(0);
    omp_set_num_threads(threads);
    blas_threads(threads);
    flush_denormals();
}

int pupil_math_threads(void) { return threads; }

int pupil_math_thread(void) { return omp_get_thread_num(); }

int kernel_threads(double work) { return work < 20000 ? 1 : threads; }

void pupil_row_products(double *z, double alpha, const float *a, int64_t lda, int64_t m, const float *b, int64_t ldb, int64_t n, int64_t k)
{
    double *wide = kernel_scratch((size_t)((m + n) * k) * sizeof *wide), *x = wide, *y = wide + m * k;
    for (int64_t i = 0; i < m; i++)
        for (int64_t c = 0; c < k; c++) x[i * k + c] = (double)a[i * lda + c];
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < k; c++) y[i * k + c] = (double)b[i * ldb + c];
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)k, alpha, x, (int)k, y, (int)k, 0, z, (int)n);
}


void *kernel_scratch(size_t bytes)
{
    static _Thread_local void *block;
    static _Thread_local size_t have;
    if (bytes > have) {
        pupil_free_(block);
        block = pupil_alloc(bytes);
        have = bytes;
    }
    return block;
}

void pupil_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0) return;
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n,
                (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}
