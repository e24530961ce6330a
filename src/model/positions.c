/* positions.c: learned positions of one grid for another, as open_clip's resize_pos_embed has them: bicubic (a = -1/2)
 * over a support that widens with the reduction, weights normalised, one axis after the other. */
#include "pupil/model.h"

#include <math.h>

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* n2 rows from n rows of `width` floats, which lie `step` floats apart in both. */
static void resize_axis(float *to, int64_t n2, const float *from, int64_t n, int64_t step, int64_t width, double *weight)
{
    double scale = (double)n / (double)n2, wide = fmax(scale, 1), support = 2 * wide;
    for (int64_t i = 0; i < n2; i++) {
        double center = scale * ((double)i + 0.5), sum = 0;
        int64_t first = PUPIL_MAX((int64_t)(center - support + 0.5), (int64_t)0),
                last = PUPIL_MIN((int64_t)(center + support + 0.5), n);
        for (int64_t k = first; k < last; k++) sum += weight[k] = cubic(((double)k - center + 0.5) / wide);
        for (int64_t c = 0; c < width; c++) {
            double x = 0;
            for (int64_t k = first; k < last; k++) x += weight[k] / sum * (double)from[k * step + c];
            to[i * step + c] = (float)x;
        }
    }
}

void pupil_positions_resize(float *to, int64_t n2, const float *from, int64_t n, int64_t width)
{
    float *half = pupil_alloc((size_t)(n * n2 * width) * sizeof *half);
    double *weight = pupil_alloc((size_t)n * sizeof *weight);
    for (int64_t y = 0; y < n; y++) resize_axis(half + y * n2 * width, n2, from + y * n * width, n, width, width, weight);
    resize_axis(to, n2, half, n, n2 * width, n2 * width, weight);
    pupil_free(&half);
    pupil_free(&weight);
}
