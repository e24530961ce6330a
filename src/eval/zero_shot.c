/* zero_shot.c: classes and answers told by their texts alone. Whose text is nearest is retrieval among few: each picture is a
 * "text" whose "image" is its class, so ties and tiles are those of retrieval.c. */
#include "pupil/eval.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

void pupil_zero_shot_weights(const float *text, int64_t classes, int64_t templates, int64_t dim, float *ret)
{
    float *unit = pupil_alloc((size_t)(templates * dim) * sizeof *unit), *norm = pupil_alloc((size_t)templates * sizeof *norm);
    float *mean = pupil_alloc((size_t)dim * sizeof *mean), one;
    for (int64_t c = 0; c < classes; c++) {
        pupil_normalize_forward(unit, norm, text + c * templates * dim, templates, dim);
        for (int64_t d = 0; d < dim; d++) {
            double sum = 0;
            for (int64_t t = 0; t < templates; t++) sum += (double)unit[t * dim + d];
            mean[d] = (float)(sum / (double)templates);
        }
        pupil_normalize_forward(ret + c * dim, &one, mean, 1, dim);
    }
    pupil_free(&unit);
    pupil_free(&norm);
    pupil_free(&mean);
}

int pupil_zero_shot_ranks(const float *image, int64_t n, int64_t dim, const float *weights, int64_t classes, const int64_t *subset,
                          int64_t n_subset, const int64_t *label, int64_t *ret_rank)
{
    if (!subset) return pupil_retrieval_ranks(weights, classes, image, n, dim, label, NULL, ret_rank);
    float *chosen = pupil_alloc((size_t)(n_subset * dim) * sizeof *chosen);
    int64_t *place = pupil_alloc((size_t)classes * sizeof *place), *among = pupil_alloc((size_t)n * sizeof *among);
    int r = 0;
    for (int64_t c = 0; c < classes; c++) place[c] = -1;
    for (int64_t k = 0; k < n_subset; k++) {
        PUPIL_REQUIRE(subset[k] >= 0 && subset[k] < classes);
        place[subset[k]] = k;
        memcpy(chosen + k * dim, weights + subset[k] * dim, (size_t)dim * sizeof *chosen);
    }
    for (int64_t i = 0; i < n && r == 0; i++) {
        among[i] = label[i] >= 0 && label[i] < classes ? place[label[i]] : -1;
        if (among[i] < 0)
            r = pupil_fail(PUPIL_EUSER, "zero-shot: picture %lld is of class %lld, which is not in the subset", (long long)i, (long long)label[i]);
    }
    if (r == 0) r = pupil_retrieval_ranks(chosen, n_subset, image, n, dim, among, NULL, ret_rank);
    pupil_free(&chosen);
    pupil_free(&place);
    pupil_free(&among);
    return r;
}

int64_t pupil_nearest_text(const float *image, const float *text, int64_t n, int64_t dim)
{
    int64_t best = 0;
    double highest = -INFINITY;
    for (int64_t k = 0; k < n; k++) {
        double dot = 0, square = 0;
        for (int64_t d = 0; d < dim; d++) {
            dot += (double)image[d] * (double)text[k * dim + d];
            square += (double)text[k * dim + d] * (double)text[k * dim + d];
        }
        double score = square > 0 ? dot / sqrt(square) : 0;
        if (score > highest) highest = score, best = k;
    }
    return best;
}
