/* retrieval.c: who is found among whom. Images and texts in tiles, each text being of one image; ranks are counted, never
 * sorted, so 5,000 x 25,000 needs the memory of one tile and of the ranks.
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

pupil_recall pupil_recall_of(const int64_t *rank, int64_t n)
{
    pupil_recall out = {0};
    if (n == 0) return out;
    int64_t within[3] = {0}, limit[3] = {1, 5, 10}, *sorted = pupil_alloc((size_t)n * sizeof *sorted);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < 3; k++) within[k] += rank[i] < limit[k];
        sum += (double)rank[i];
        sorted[i] = rank[i];
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    out.r1 = (double)within[0] / (double)n;
    out.r5 = (double)within[1] / (double)n;
    out.r10 = (double)within[2] / (double)n;
    out.mean_rank = sum / (double)n + 1;
    out.median_rank = floor((double)(sorted[(n - 1) / 2] + sorted[n / 2]) / 2) + 1;
    pupil_free(&sorted);
    return out;
}

/* ---- the ranks of all pairs, score by score --------------------------------------------------------- */
typedef struct {
    int64_t images, texts;
    const int64_t *image_of;
    double *own;              /* [texts] score of a text with its image */
    double *best;             /* [images] the best score with one of its texts, and which text, the first of equals */
    int64_t *best_text;       /* -1: it has none */
    int64_t *of_image, *of_text; /* ranks; either may be NULL */
} ranking;

/* Is candidate `other` of score s ranked before the true one, `own`, of score `at`? */
static bool before(double s, int64_t other, double at, int64_t own) { return s > at || (s == at && other < own); }

static void ranking_new(ranking *r, int64_t images, int64_t texts, const int64_t *image_of, int64_t *of_image, int64_t *of_text)
{
    *r = (ranking){.images = images, .texts = texts, .image_of = image_of, .of_image = of_image, .of_text = of_text};
    r->own = pupil_alloc((size_t)texts * sizeof *r->own);
    r->best = pupil_alloc((size_t)images * sizeof *r->best);
    r->best_text = pupil_alloc((size_t)images * sizeof *r->best_text);
    for (int64_t i = 0; i < images; i++) r->best_text[i] = -1;
    if (of_image) memset(of_image, 0, (size_t)images * sizeof *of_image);
    if (of_text) memset(of_text, 0, (size_t)texts * sizeof *of_text);
}

static void ranking_free(ranking *r)
{
    pupil_free(&r->own);
    pupil_free(&r->best);
    pupil_free(&r->best_text);
}

/* First pass: the scores of the true pairs. Texts come in ascending order. */
static void note_own(ranking *r, int64_t image, int64_t text, double s)
{
    if (r->image_of[text] != image) return;
    r->own[text] = s;
    if (r->best_text[image] < 0 || s > r->best[image]) {
        r->best[image] = s;
        r->best_text[image] = text;
    }
}

/* Second pass. */
static void count_pair(ranking *r, int64_t image, int64_t text, double s)
{
    if (r->of_image) r->of_image[image] += before(s, text, r->best[image], r->best_text[image]);
    if (r->of_text) r->of_text[text] += before(s, image, r->own[text], r->image_of[text]);
}

/* An image without texts is never found. */
static void finish(ranking *r)
{
    for (int64_t i = 0; i < r->images && r->of_image; i++)
        if (r->best_text[i] < 0) r->of_image[i] = r->texts;
}

void pupil_retrieval_matrix_ranks(const double *similarity, int64_t images, int64_t texts, const int64_t *image_of,
                                  int64_t *ret_of_image, int64_t *ret_of_text)
{
    ranking r;
    ranking_new(&r, images, texts, image_of, ret_of_image, ret_of_text);
    for (int64_t j = 0; j < texts; j++) note_own(&r, image_of[j], j, similarity[image_of[j] * texts + j]);
    for (int64_t i = 0; i < images; i++)
        for (int64_t j = 0; j < texts; j++) count_pair(&r, i, j, similarity[i * texts + j]);
    finish(&r);
    ranking_free(&r);
}

/* ---- the same from features ------------------------------------------------------------------------- */
typedef struct {
    const float *image, *text;
    int64_t dim;
    float *a, *b, *s; /* unit rows of one tile of images and of texts, and their scores */
} tiles;

/* Unit rows first .. of x into a full tile, zeros below. */
static int64_t load_tile(float *tile, const float *x, int64_t first, int64_t n, int64_t dim)
{
    int64_t rows = PUPIL_MIN((int64_t)TILE, n - first);
    float norm[TILE];
    pupil_normalize_forward(tile, norm, x + first * dim, rows, dim);
    memset(tile + rows * dim, 0, (size_t)(TILE - rows) * (size_t)dim * sizeof *tile);
    return rows;
}

static bool has_own(const ranking *r, int64_t i0, int64_t rows, int64_t j0, int64_t cols)
{
    for (int64_t j = j0; j < j0 + cols; j++)
        if (r->image_of[j] >= i0 && r->image_of[j] < i0 + rows) return true;
    return false;
}

/* `take` of each score, tile by tile; texts ascend for each image. all: else only tiles with a true pair. */
static void walk(tiles *t, ranking *r, bool all, void (*take)(ranking *, int64_t, int64_t, double))
{
    for (int64_t i0 = 0; i0 < r->images; i0 += TILE) {
        int64_t rows = load_tile(t->a, t->image, i0, r->images, t->dim);
        for (int64_t j0 = 0; j0 < r->texts; j0 += TILE) {
            int64_t cols = PUPIL_MIN((int64_t)TILE, r->texts - j0);
            if (!all && !has_own(r, i0, rows, j0, cols)) continue;
            load_tile(t->b, t->text, j0, r->texts, t->dim);
            pupil_gemm(false, true, TILE, TILE, t->dim, 1, t->a, t->dim, t->b, t->dim, 0, t->s, TILE);
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < cols; j++) take(r, i0 + i, j0 + j, (double)t->s[i * TILE + j]);
        }
    }
}

int pupil_retrieval_ranks(const float *image, int64_t images, const float *text, int64_t texts, int64_t dim,
                          const int64_t *image_of, int64_t *ret_of_image, int64_t *ret_of_text)
{
    if (!pupil_all_finite(image, images * dim) || !pupil_all_finite(text, texts * dim))
        return pupil_fail(PUPIL_ENUMERIC, "retrieval: an embedding is not finite");
    for (int64_t j = 0; j < texts; j++)
        if (image_of[j] < 0 || image_of[j] >= images)
            return pupil_fail(PUPIL_EUSER, "retrieval: text %lld is of image %lld, and there are %lld", (long long)j,
                              (long long)image_of[j], (long long)images);
    tiles t = {.image = image, .text = text, .dim = dim};
    ranking r;
    t.a = pupil_alloc((size_t)(TILE * dim) * sizeof *t.a);
    t.b = pupil_alloc((size_t)(TILE * dim) * sizeof *t.b);
    t.s = pupil_alloc((size_t)(TILE * TILE) * sizeof *t.s);
    ranking_new(&r, images, texts, image_of, ret_of_image, ret_of_text);
    walk(&t, &r, false, note_own);
    walk(&t, &r, true, count_pair);
    finish(&r);
    ranking_free(&r);
    pupil_free(&t.a);
    pupil_free(&t.b);
    pupil_free(&t.s);
    return 0;
}

/* ---- the square protocol ------------------------------------------------------------------------------ */
typedef struct {
    int64_t *same, *of_image, *of_text; /* [n]: 0, 1, ...; ranks */
} square;

static void square_new(square *q, int64_t n)
{
    int64_t **each[] = {&q->same, &q->of_image, &q->of_text};
    for (int k = 0; k < PUPIL_COUNT(each); k++) *each[k] = pupil_alloc((size_t)n * sizeof(int64_t));
    for (int64_t i = 0; i < n; i++) q->same[i] = i;
}

static void square_end(square *q, int64_t n, pupil_recall *ret_image_to_text, pupil_recall *ret_text_to_image)
{
    if (ret_image_to_text) *ret_image_to_text = pupil_recall_of(q->of_image, n);
    if (ret_text_to_image) *ret_text_to_image = pupil_recall_of(q->of_text, n);
    pupil_free(&q->same);
    pupil_free(&q->of_image);
    pupil_free(&q->of_text);
}

void pupil_retrieval_matrix(const double *similarity, int64_t n, pupil_recall *ret_image_to_text,
                            pupil_recall *ret_text_to_image)
{
    square q;
    square_new(&q, n);
    pupil_retrieval_matrix_ranks(similarity, n, n, q.same, q.of_image, q.of_text);
    square_end(&q, n, ret_image_to_text, ret_text_to_image);
}

int pupil_retrieval_square(const float *image, const float *text, int64_t n, int64_t dim, pupil_recall *ret_image_to_text,
                           pupil_recall *ret_text_to_image)
{
    square q;
    square_new(&q, n);
    int r = pupil_retrieval_ranks(image, n, text, n, dim, q.same, q.of_image, q.of_text);
    square_end(&q, n, r == 0 ? ret_image_to_text : NULL, r == 0 ? ret_text_to_image : NULL);
    return r;
}
