/* pixels.c: the baseline that has learned nothing, at 32 x 32. A question is answered as the same question (or else one
 * of its type) was answered about the training picture nearest in pixels; a picture gets that one's caption. */
#include "results.h"

#include "pupil/math.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, PIXELS = 3 * SIDE * SIDE, RUN = 64 };

static int thumbnail(const job *j, pupil_split split, int64_t sample, uint8_t u8[PIXELS])
{
    pupil_preprocess p = pupil_preprocess_default(SIDE);
    pupil_image im;
    p.mode = PUPIL_RESIZE_SQUASH;
    PUPIL_TRY(pupil_dataset_image(j->data, split, sample, &im));
    int r = pupil_preprocess_u8(&p, &im, u8);
    pupil_image_free(&im);
    return r;
}

/* Pictures as centred float rows [n, PIXELS]; half[i] = |row|^2 / 2. */
static int thumbnails(const job *j, pupil_split split, const int64_t *image, int64_t n, float *row, float *half)
{
    uint8_t u8[PIXELS];
    for (int64_t i = 0; i < n; i++) {
        PUPIL_TRY(thumbnail(j, split, image[i], u8));
        double s = 0;
        for (int k = 0; k < PIXELS; k++) {
            float x = ((float)u8[k] - 127.5f) / 127.5f;
            row[i * PIXELS + k] = x;
            s += (double)x * x;
        }
        half[i] = (float)(s / 2);
    }
    return 0;
}

/* Training questions ordered by text (or type), so that alike ones stand together. */
typedef struct {
    const char *key;
    int64_t row;    /* picture */
    int32_t answer; /* in the list, or -1 */
    int64_t at;     /* order in the set, to keep ties stable */
} known;

static int by_key(const void *a, const void *b)
{
    const known *x = a, *y = b;
    int c = strcmp(x->key, y->key);
    return c ? c : x->at < y->at ? -1 : x->at > y->at;
}

static known *sorted(const asked *train, const pupil_answers *list, bool by_type)
{
    known *k = pupil_alloc((size_t)train->n * sizeof *k);
    for (int64_t i = 0; i < train->n; i++) {
        const pupil_vqa_question *q = &train->set->q[i];
        k[i] = (known){by_type ? q->question_type : q->question, train->row[i], pupil_answers_find(list, q->answer), i};
    }
    qsort(k, (size_t)train->n, sizeof *k, by_key);
    return k;
}

/* The answer of the nearest picture among entries with this key, or -1. near[row]: larger is nearer. */
static int32_t nearest(const known *k, int64_t n, const char *key, const float *near)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (strcmp(k[mid].key, key) < 0) lo = mid + 1;
        else hi = mid;
    }
    int64_t best = -1;
    for (int64_t i = lo; i < n && !strcmp(k[i].key, key); i++)
        if (k[i].answer >= 0 && (best < 0 || near[k[i].row] > near[k[best].row])) best = i;
    return best < 0 ? -1 : k[best].answer;
}

int pixel_answers(const job *j, const asked *train, const asked *test, const pupil_answers *list, int32_t *ret)
{
    int64_t n = train->n_images, m = test->n_images;
    float *a = pupil_alloc((size_t)(n * PIXELS) * sizeof *a), *b = pupil_alloc((size_t)(m * PIXELS) * sizeof *b);
    float *half = pupil_alloc((size_t)(n + m) * sizeof *half), *near = pupil_alloc((size_t)(m * n) * sizeof *near);
    int r = thumbnails(j, PUPIL_TRAIN, train->image, n, a, half);
    if (r == 0) r = thumbnails(j, PUPIL_TEST, test->image, m, b, half + n);
    for (int64_t at = 0; at < m && r == 0; at += RUN)
        pupil_gemm(false, true, PUPIL_MIN((int64_t)RUN, m - at), n, PIXELS, 1, b + at * PIXELS, PIXELS, a, PIXELS, 0, near + at * n, n);
    for (int64_t i = 0; i < m * n && r == 0; i++) near[i] -= half[i % n];
    known *text = sorted(train, list, false), *type = sorted(train, list, true);
    for (int64_t i = 0; i < test->n && r == 0; i++) {
        const pupil_vqa_question *q = &test->set->q[i];
        const float *row = near + test->row[i] * n;
        int32_t answer = nearest(text, train->n, q->question, row);
        if (answer < 0) answer = nearest(type, train->n, q->question_type, row);
        ret[i] = PUPIL_MAX(answer, 0);
    }
    pupil_free(&text);
    pupil_free(&type);
    pupil_free(&a);
    pupil_free(&b);
    pupil_free(&half);
    pupil_free(&near);
    return r;
}

/* Thumbnails of samples 0 .. n-1, and their captions as numbers that are equal where the captions are. */
static int captioned(const job *j, pupil_split split, int64_t n, uint8_t *u8, int64_t *label)
{
    for (int64_t i = 0; i < n; i++) {
        char *text;
        PUPIL_TRY(thumbnail(j, split, i, u8 + i * PIXELS));
        PUPIL_TRY(pupil_dataset_caption(j->data, split, i, 0, &text));
        label[i] = (int64_t)pupil_fnv1a(text, strlen(text));
        pupil_free(&text);
    }
    return 0;
}

int pixel_retrieval(const job *j, int64_t pairs, double *ret_r1)
{
    int64_t n = pupil_dataset_count(j->data, PUPIL_TRAIN), *label = pupil_alloc((size_t)(n + pairs) * sizeof *label);
    uint8_t *u8 = pupil_alloc((size_t)((n + pairs) * PIXELS));
    int r = captioned(j, PUPIL_TRAIN, n, u8, label);
    if (r == 0) r = captioned(j, PUPIL_TEST, pairs, u8 + n * PIXELS, label + n);
    if (r == 0) *ret_r1 = pupil_pixel_nearest(u8, label, n, u8 + n * PIXELS, label + n, pairs, PIXELS);
    pupil_free(&u8);
    pupil_free(&label);
    return r;
}
