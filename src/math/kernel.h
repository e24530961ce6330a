/* kernel.h (private to math): how hot loops share their work, and exp in a form that vectorises. */
#ifndef PUPIL_MATH_KERNEL_H
#define PUPIL_MATH_KERNEL_H

#include "pupil/math.h"

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

/* The same in double, within 2 units in the last place on [-708, 709]: Taylor to r^13. */
static inline double kernel_exp_double(double x)
{
    x = x < -708 ? -708 : x > 709 ? 709 : x;
    double n = (x * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0;
    double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    double p = 1.6059043836821613e-10;
    p = p * r + 2.0876756987868098e-9;
    p = p * r + 2.5052108385441720e-8;
    p = p * r + 2.7557319223985888e-7;
    p = p * r + 2.7557319223985893e-6;
    p = p * r + 2.4801587301587302e-5;
    p = p * r + 1.9841269841269841e-4;
    p = p * r + 1.3888888888888889e-3;
    p = p * r + 8.3333333333333333e-3;
    p = p * r + 4.1666666666666667e-2;
    p = p * r + 1.6666666666666667e-1;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1;
    union {
        uint64_t u;
        double f;
    } two = {.u = (uint64_t)((int64_t)n + 1023) << 52};
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
