/* pixels.c: nearest neighbours on pixels with exact integers, the baseline of those who cannot see. */
#include "pupil/eval.h"

#include "pupil/math.h"

#include <string.h>

enum { TILE = 256 };

/* Bytes less 128 have products of at most 2^14, so sums of 1,024 of them are integers below 2^24: a float GEMM
 * over that many columns is exact, whatever its order, and runs at the speed of a BLAS. */
enum { EXACT = 1024 };

typedef struct {
    float *a, *b, *c; /* [TILE, EXACT] of each side, [TILE, TILE] */
    int64_t *dot;     /* [TILE, TILE] */
} pixel_work;

static void load_pixels(float *tile, const uint8_t *x, int64_t rows, int64_t bytes, int64_t first, int64_t k)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < k; j++) tile[r * k + j] = (float)(x[r * bytes + first + j] - 128);
}

/* w->dot = products of rows of x with rows of y, centred. */
static void dot_tile(pixel_work *w, const uint8_t *x, int64_t rows, const uint8_t *y, int64_t cols, int64_t bytes)
{
    memset(w->dot, 0, (size_t)(TILE * TILE) * sizeof *w->dot);
    for (int64_t first = 0; first < bytes; first += EXACT) {
        int64_t k = PUPIL_MIN((int64_t)EXACT, bytes - first);
        load_pixels(w->a, x, rows, bytes, first, k);
        load_pixels(w->b, y, cols, bytes, first, k);
        pupil_gemm(false, true, rows, cols, k, 1, w->a, k, w->b, k, 0, w->c, TILE);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < cols; j++) w->dot[r * TILE + j] += (int64_t)w->c[r * TILE + j];
    }
}

static int64_t *square_norms(const uint8_t *x, int64_t n, int64_t bytes)
{
    int64_t *out = pupil_alloc((size_t)n * sizeof *out);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < bytes; j++) {
            int64_t u = x[i * bytes + j] - 128;
            out[i] += u * u;
        }
    return out;
}

double pupil_pixel_nearest(const uint8_t *train, const int64_t *train_label, int64_t n_train, const uint8_t *test,
                           const int64_t *test_label, int64_t n_test, int64_t bytes)
{
    if (n_train == 0 || n_test == 0) return 0;
    pixel_work w = {pupil_alloc(TILE * EXACT * sizeof(float)), pupil_alloc(TILE * EXACT * sizeof(float)),
                    pupil_alloc(TILE * TILE * sizeof(float)), pupil_alloc(TILE * TILE * sizeof(int64_t))};
    int64_t *norm = square_norms(train, n_train, bytes), right = 0;
    for (int64_t t0 = 0; t0 < n_test; t0 += TILE) {
        int64_t rows = PUPIL_MIN((int64_t)TILE, n_test - t0), nearest[TILE], least[TILE];
        for (int64_t r = 0; r < rows; r++) nearest[r] = 0, least[r] = INT64_MAX;
        for (int64_t i0 = 0; i0 < n_train; i0 += TILE) {
            int64_t cols = PUPIL_MIN((int64_t)TILE, n_train - i0);
            dot_tile(&w, test + t0 * bytes, rows, train + i0 * bytes, cols, bytes);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t j = 0; j < cols; j++) {
                    int64_t distance = norm[i0 + j] - 2 * w.dot[r * TILE + j]; /* less the test picture's norm */
                    if (distance < least[r]) least[r] = distance, nearest[r] = i0 + j;
                }
        }
        for (int64_t r = 0; r < rows; r++) right += train_label[nearest[r]] == test_label[t0 + r];
    }
    pupil_free(&norm);
    pupil_free(&w.a);
    pupil_free(&w.b);
    pupil_free(&w.c);
    pupil_free(&w.dot);
    return (double)right / (double)n_test;
}
