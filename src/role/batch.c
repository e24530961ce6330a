/* batch.c: micro-batches: pictures decoded, resized and normalised for a tower, by all threads of the rank; captions tokenised
 * and packed. */
#include "job.h"

#include "pupil/math.h"

#include <string.h>

int64_t batch_run(const pupil_arch *a)
{
    enum { BYTES = 256 << 20 };
    int64_t n = BATCH_RUN;
    while (n > 1 && pupil_acts_bytes(a, n, (double)a->context, false) > BYTES) n /= 2;
    return n;
}

void batch_new(batch *b, const pupil_tokenizer *tok, const pupil_arch *a, int64_t room, int64_t texts)
{
    *b = (batch){.tok = tok, .room = room, .context = a->context, .pixels = 3 * a->image_size * a->image_size};
    b->images = pupil_alloc((size_t)(room * b->pixels) * sizeof *b->images);
    b->ids = pupil_alloc((size_t)(texts * b->context) * sizeof *b->ids);
    b->cu = pupil_alloc((size_t)(texts + 1) * sizeof *b->cu);
    b->u8 = pupil_alloc((size_t)(pupil_math_threads() * b->pixels));
    b->decoded = pupil_alloc((size_t)room * sizeof *b->decoded);
}

void batch_free(batch *b)
{
    pupil_free(&b->images);
    pupil_free(&b->ids);
    pupil_free(&b->cu);
    pupil_free(&b->u8);
    for (int64_t i = 0; i < b->room; i++) pupil_image_free(&b->decoded[i]);
    pupil_free(&b->decoded);
}

/* ---- pictures ------------------------------------------------------------------------------------------ */
/* What is to be done with n pictures. */
typedef struct {
    batch *b;
    const job *j;
    pupil_preprocess p;
    pupil_view_recipe recipe;
    pupil_split split;
    const int64_t *sample, *view; /* view: NULL: `same` for all */
    int64_t same;
    enum { LOAD, DECODE, SEE } what; /* LOAD: decode and see, and forget the picture */
} pictures;

/* Picture i of the batch, as its view of its sample. */
static int see(const pictures *q, const pupil_image *im, int64_t i, uint8_t *u8)
{
    pupil_view v = pupil_view_at(&q->recipe, q->sample[i], q->view ? q->view[i] : q->same, im->w, im->h);
    PUPIL_TRY(pupil_context(pupil_preprocess_view(&q->p, im, &v, u8), "sample %lld", (long long)q->sample[i]));
    pupil_preprocess_normalize(&q->p, u8, q->b->images + i * q->b->pixels);
    return 0;
}

static int one(const pictures *q, int64_t i, uint8_t *u8)
{
    pupil_image im, *kept = &q->b->decoded[i];
    if (q->what == SEE) return see(q, kept, i, u8);
    if (q->what == DECODE) {
        pupil_image_free(kept);
        return pupil_dataset_image(q->j->data, q->split, q->sample[i], kept);
    }
    PUPIL_TRY(pupil_dataset_image(q->j->data, q->split, q->sample[i], &im));
    int r = see(q, &im, i, u8);
    pupil_image_free(&im);
    return r;
}

/* On all threads; the error is that of the first picture that has one. */
static int all(const pictures *q, int64_t n)
{
    int code = 0, threads = pupil_math_threads();
    int64_t first = n;
    char *reason = NULL;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t i = 0; i < n; i++) {
        int r = one(q, i, q->b->u8 + pupil_math_thread() * q->b->pixels);
        if (r == 0) continue;
#pragma omp critical
        if (i < first) {
            first = i;
            code = r;
            pupil_free(&reason);
            reason = pupil_strdup(pupil_reason());
        }
    }
    if (code < 0) pupil_fail(code, "%s", reason);
    pupil_free(&reason);
    return code;
}

int batch_images(batch *b, const job *j, const pupil_arch *a, pupil_split split, const int64_t *sample, int64_t n)
{
    return all(&(pictures){.b = b, .j = j, .p = pupil_role_preprocess(a), .split = split, .sample = sample}, n);
}

int batch_views(batch *b, const job *j, const pupil_arch *a, const int64_t *sample, const int64_t *view, int64_t n)
{
    return all(&(pictures){.b = b, .j = j, .p = pupil_role_preprocess(a), .recipe = pupil_view_of_conf(&j->conf->data.view), .split = PUPIL_TRAIN,
                           .sample = sample, .view = view}, n);
}

int batch_decode(batch *b, const job *j, const int64_t *sample, int64_t n)
{
    return all(&(pictures){.b = b, .j = j, .split = PUPIL_TRAIN, .sample = sample, .what = DECODE}, n);
}

int batch_see(batch *b, const job *j, const pupil_arch *a, const int64_t *sample, int64_t view, int64_t n)
{
    return all(&(pictures){.b = b, .j = j, .p = pupil_role_preprocess(a), .recipe = pupil_view_of_conf(&j->conf->data.view), .sample = sample,
                           .same = view, .what = SEE}, n);
}

/* ---- captions ------------------------------------------------------------------------------------------ */
static void append_text(batch *b, int64_t i, const char *text)
{
    b->cu[0] = 0;
    b->cu[i + 1] = b->cu[i] + pupil_tokenizer_encode(b->tok, text, (int)b->context, b->ids + b->cu[i]);
}

int batch_captions(batch *b, const job *j, pupil_split split, const int64_t *sample, const int64_t *which, int64_t at, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        char *text;
        int k = which ? (int)(which[i] % pupil_dataset_captions(j->data, split, sample[i])) : 0;
        PUPIL_TRY(pupil_dataset_caption(j->data, split, sample[i], k, &text));
        append_text(b, at + i, text);
        pupil_free(&text);
    }
    return 0;
}

void batch_texts(batch *b, const char *const *text, int64_t n)
{
    for (int64_t i = 0; i < n; i++) append_text(b, i, text[i]);
}
