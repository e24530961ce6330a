/* retrieval.c: the square protocol (pair i <-> i) in tiles, and nearest neighbours on pixels with exact integers.
 *
 * Every tile product has the same full shape (short tiles are padded with zeros), so that the BLAS computes each
 * score by the same instructions: rows that are equal get scores that are equal to the bit, and ties are ties. */
#include "pupil/eval.h"

#include "pupil/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 256 };

/* ---- recall from 0-based ranks -------------------------------------------------------------------- */
static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts `rank`. */
static pupil_recall recall_of(int64_t *rank, int64_t n)
{
    pupil_recall out = {0};
    if (n == 0) return out;
    int64_t within[3] = {0}, limit[3] = {1, 5, 10};
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < 3; k++) within[k] += rank[i] < limit[k];
        sum += (double)rank[i];
    }
    qsort(rank, (size_t)n, sizeof *rank, by_value);
    out.r1 = (double)within[0] / (double)n;
    out.r5 = (double)within[1] / (double)n;
    out.r10 = (double)within[2] / (double)n;
    out.mean_rank = sum / (double)n + 1;
    out.median_rank = floor((double)(rank[(n - 1) / 2] + rank[n / 2]) / 2) + 1;
    return out;
}

/* Is candidate `other` of score s ranked before the true one, `own`, of score `at`? */
static bool before(double s, int64_t other, double at, int64_t own) { return s > at || (s == at && other < own); }

void pupil_retrieval_matrix(const double *similarity, int64_t n, pupil_recall *ret_image_to_text,
                            pupil_recall *ret_text_to_image)
{
    int64_t *of_image = pupil_alloc((size_t)n * sizeof *of_image), *of_text = pupil_alloc((size_t)n * sizeof *of_text);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = similarity[i * n + j];
            of_image[i] += before(s, j, similarity[i * n + i], i);
            of_text[j] += before(s, i, similarity[j * n + j], j);
        }
    *ret_image_to_text = recall_of(of_image, n);
    *ret_text_to_image = recall_of(of_text, n);
    pupil_free(&of_image);
    pupil_free(&of_text);
}

/* ---- recall from features ------------------------------------------------------------------------- */
typedef struct {
    const float *image, *text;
    int64_t n, dim;
    float *a, *b, *s; /* unit rows of one tile of images and of texts, and their scores */
    float *own;       /* [n] score of pair i */
    int64_t *of_image, *of_text;
} square;

/* Unit rows first .. of x into a full tile, zeros below. */
static int64_t load_tile(float *tile, const float *x, int64_t first, int64_t n, int64_t dim)
{
    int64_t rows = PUPIL_MIN((int64_t)TILE, n - first);
    float norm[TILE];
    pupil_normalize_forward(tile, norm, x + first * dim, rows, dim);
    memset(tile + rows * dim, 0, (size_t)(TILE - rows) * (size_t)dim * sizeof *tile);
    return rows;
}

static void score_tile(square *q)
{
    pupil_gemm(false, true, TILE, TILE, q->dim, 1, q->a, q->dim, q->b, q->dim, 0, q->s, TILE);
}

static void count_tile(square *q, int64_t i0, int64_t rows, int64_t j0, int64_t cols)
{
    for (int64_t i = i0; i < i0 + rows; i++) {
        const float *s = q->s + (i - i0) * TILE;
        int64_t count = 0;
        for (int64_t j = j0; j < j0 + cols; j++) {
            count += before((double)s[j - j0], j, (double)q->own[i], i);
            q->of_text[j] += before((double)s[j - j0], i, (double)q->own[j], j);
        }
        q->of_image[i] += count;
    }
}

static void rank_all(square *q)
{
    for (int64_t i0 = 0; i0 < q->n; i0 += TILE) {
        int64_t rows = load_tile(q->a, q->image, i0, q->n, q->dim);
        load_tile(q->b, q->text, i0, q->n, q->dim);
        score_tile(q);
        for (int64_t i = 0; i < rows; i++) q->own[i0 + i] = q->s[i * TILE + i];
    }
    for (int64_t i0 = 0; i0 < q->n; i0 += TILE) {
        int64_t rows = load_tile(q->a, q->image, i0, q->n, q->dim);
        for (int64_t j0 = 0; j0 < q->n; j0 += TILE) {
            int64_t cols = load_tile(q->b, q->text, j0, q->n, q->dim);
            score_tile(q);
            count_tile(q, i0, rows, j0, cols);
        }
    }
}

int pupil_retrieval_square(const float *image, const float *text, int64_t n, int64_t dim, pupil_recall *ret_image_to_text,
                           pupil_recall *ret_text_to_image)
{
    if (!pupil_all_finite(image, n * dim) || !pupil_all_finite(text, n * dim))
        return pupil_fail(PUPIL_ENUMERIC, "retrieval: an embedding is not finite");
    square q = {.image = image, .text = text, .n = n, .dim = dim};
    q.a = pupil_alloc((size_t)(TILE * dim) * sizeof *q.a);
    q.b = pupil_alloc((size_t)(TILE * dim) * sizeof *q.b);
    q.s = pupil_alloc((size_t)(TILE * TILE) * sizeof *q.s);
    q.own = pupil_alloc((size_t)n * sizeof *q.own);
    q.of_image = pupil_alloc((size_t)n * sizeof *q.of_image);
    q.of_text = pupil_alloc((size_t)n * sizeof *q.of_text);
    rank_all(&q);
    *ret_image_to_text = recall_of(q.of_image, n);
    *ret_text_to_image = recall_of(q.of_text, n);
    float **owned[] = {&q.a, &q.b, &q.s, &q.own};
    for (int i = 0; i < PUPIL_COUNT(owned); i++) pupil_free(owned[i]);
    pupil_free(&q.of_image);
    pupil_free(&q.of_text);
    return 0;
}

/* ---- nearest pictures ----------------------------------------------------------------------------- */
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
