/* kernel.h (private to math): how a hot loop is compiled, and exp in a form that vectorises.
 * PUPIL_CLONES builds a function for AVX-512, AVX2 and the base line; the loader picks once. OpenMP regions are
 * outlined before cloning, so a cloned function holds no parallel region: regions call cloned functions. */
#ifndef PUPIL_MATH_KERNEL_H
#define PUPIL_MATH_KERNEL_H

#include "pupil/math.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PUPIL_CLONES __attribute__((noinline, target_clones("avx512f", "avx2", "default")))
#else
#define PUPIL_CLONES __attribute__((noinline))
#endif

/* exp(x) within 2 units in the last place on [-87.3, 88.3], clamped outside: 2^n e^r, |r| <= ln2/2, Taylor to r^7. */
static inline float kernel_exp(float x)
{
    x = x < -87.3f ? -87.3f : x > 88.3f ? 88.3f : x;
    float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9841270e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
    union {
        uint32_t u;
        float f;
    } two = {.u = (uint32_t)((int32_t)n + 127) << 23};
    return p * two.f;
}

/* Rows [*ret_first, return) of n for this thread of a parallel region: fixed split, whole rows. */
static inline int64_t kernel_share(int64_t n, int thread, int threads, int64_t *ret_first)
{
    *ret_first = n * thread / threads;
    return n * (thread + 1) / threads;
}

/* Scratch of at least `bytes`, private to the calling thread, kept until it grows. */
void *kernel_scratch(size_t bytes);

/* Threads worth starting for `work` float operations. */
int kernel_threads(double work);

#endif
