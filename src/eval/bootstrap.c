/* bootstrap.c: percentile intervals (Efron, 1979) from a counter-based generator: resample k is a function of
 * (seed, k) alone. */
#include "pupil/eval.h"

#include <math.h>
#include <stdlib.h>

enum { RESAMPLES = 1000 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between the two values it falls between. */
static double percentile(const double *sorted, int n, double p)
{
    double at = p * (n - 1);
    int low = (int)floor(at), high = PUPIL_MIN(low + 1, n - 1);
    return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

pupil_interval pupil_bootstrap(const double *x, int64_t n, uint64_t seed)
{
    double mean[RESAMPLES];
    if (n == 0) return (pupil_interval){0};
    for (int k = 0; k < RESAMPLES; k++) {
        pupil_rng r = pupil_rng_at(seed, PUPIL_STREAM_BOOTSTRAP, (uint64_t)k);
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += x[pupil_rng_below(&r, (uint64_t)n)];
        mean[k] = sum / (double)n;
    }
    qsort(mean, RESAMPLES, sizeof *mean, by_value);
    return (pupil_interval){percentile(mean, RESAMPLES, 0.025), percentile(mean, RESAMPLES, 0.975)};
}
