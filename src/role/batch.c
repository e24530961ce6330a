/* batch.c: micro-batches: pictures decoded, resized and normalised for a tower; captions tokenised and packed. */
#include "job.h"

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
    b->u8 = pupil_alloc((size_t)b->pixels);
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

/* Picture i of the batch, as this view of sample `sample`. */
static int see(batch *b, const pupil_preprocess *p, const pupil_view_recipe *recipe, const pupil_image *im, int64_t sample, int64_t view, int64_t i)
{
    pupil_view v = pupil_view_at(recipe, sample, view, im->w, im->h);
    PUPIL_TRY(pupil_context(pupil_preprocess_view(p, im, &v, b->u8), "sample %lld", (long long)sample));
    pupil_preprocess_normalize(p, b->u8, b->images + i * b->pixels);
    return 0;
}

static int load_images(batch *b, const job *j, const pupil_arch *a, pupil_split split, const pupil_view_recipe *recipe,
                       const int64_t *sample, const int64_t *view, int64_t n)
{
    pupil_preprocess p = pupil_role_preprocess(a);
    for (int64_t i = 0; i < n; i++) {
        pupil_image im;
        PUPIL_TRY(pupil_dataset_image(j->data, split, sample[i], &im));
        int r = see(b, &p, recipe, &im, sample[i], view ? view[i] : 0, i);
        pupil_image_free(&im);
        PUPIL_TRY(r);
    }
    return 0;
}

int batch_images(batch *b, const job *j, const pupil_arch *a, pupil_split split, const int64_t *sample, int64_t n)
{
    static const pupil_view_recipe whole;
    return load_images(b, j, a, split, &whole, sample, NULL, n);
}

int batch_views(batch *b, const job *j, const pupil_arch *a, const int64_t *sample, const int64_t *view, int64_t n)
{
    pupil_view_recipe recipe = pupil_view_of_conf(&j->conf->data.view);
    return load_images(b, j, a, PUPIL_TRAIN, &recipe, sample, view, n);
}

int batch_decode(batch *b, const job *j, const int64_t *sample, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        pupil_image_free(&b->decoded[i]);
        PUPIL_TRY(pupil_dataset_image(j->data, PUPIL_TRAIN, sample[i], &b->decoded[i]));
    }
    return 0;
}

int batch_see(batch *b, const job *j, const pupil_arch *a, const int64_t *sample, int64_t view, int64_t n)
{
    pupil_view_recipe recipe = pupil_view_of_conf(&j->conf->data.view);
    pupil_preprocess p = pupil_role_preprocess(a);
    for (int64_t i = 0; i < n; i++) PUPIL_TRY(see(b, &p, &recipe, &b->decoded[i], sample[i], view, i));
    return 0;
}

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
