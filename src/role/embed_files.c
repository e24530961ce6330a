/* embed_files.c: embeddings of pictures and lines of text by one model, with its own preprocessing and tokenizer. Runs have
 * the same shape as elsewhere, so a picture's embedding is the same bits as in a cache or an evaluation. */
#include "job.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    pupil_arch arch;
    pupil_clip *clip;
    pupil_weights *weights;
    pupil_tokenizer *tok; /* NULL: no texts */
    pupil_acts *acts;
    pupil_scratch *scratch;
    batch b;
    int64_t run;
} embedding;

static int open_model(embedding *e, const char *dir, bool texts)
{
    PUPIL_TRY(pupil_model_dir_arch(dir, &e->arch));
    if (texts) PUPIL_TRY(pupil_tokenizer_open(dir, &e->tok));
    if (texts) PUPIL_TRY(tokenizers_fit(e->tok, &e->arch, dir));
    e->clip = pupil_clip_new(&e->arch);
    PUPIL_TRY(pupil_model_dir_open(dir, e->clip, &e->weights));
    e->run = batch_run(&e->arch);
    e->acts = pupil_acts_new(e->clip, e->run, false);
    e->scratch = pupil_scratch_new(e->clip, e->run);
    batch_new(&e->b, e->tok, &e->arch, e->run, e->run);
    return 0;
}

static void close_model(embedding *e)
{
    batch_free(&e->b);
    pupil_acts_free(&e->acts);
    pupil_scratch_free(&e->scratch);
    pupil_weights_free(&e->weights);
    pupil_clip_free(&e->clip);
    pupil_tokenizer_free(&e->tok);
}

static int load_picture(embedding *e, const pupil_preprocess *p, const char *path, int64_t i)
{
    char *bytes = NULL;
    size_t n = 0;
    pupil_image im = {0};
    PUPIL_TRY(pupil_read_file(path, 0, &bytes, &n));
    int r = pupil_image_decode(bytes, n, &im);
    if (r == 0) r = pupil_preprocess_u8(p, &im, e->b.u8);
    if (r == 0) pupil_preprocess_normalize(p, e->b.u8, e->b.images + i * e->b.pixels);
    pupil_image_free(&im);
    pupil_free(&bytes);
    return pupil_context(r, "%s", path);
}

static int embed_pictures(embedding *e, const char *const *path, int64_t n, float *out)
{
    pupil_preprocess p = pupil_role_preprocess(&e->arch);
    for (int64_t at = 0; at < n; at += e->run) {
        int64_t some = PUPIL_MIN(e->run, n - at);
        for (int64_t i = 0; i < some; i++) PUPIL_TRY(load_picture(e, &p, path[at + i], i));
        pupil_image_forward(e->clip, e->weights, e->acts, e->scratch, e->b.images, some, out + at * e->arch.embed_dim);
        pupil_progress(at + some == n, "embed    picture %lld/%lld", (long long)(at + some), (long long)n);
    }
    return 0;
}

static void embed_lines(embedding *e, const char *const *text, int64_t n, float *out)
{
    for (int64_t at = 0; at < n; at += e->run) {
        int64_t some = PUPIL_MIN(e->run, n - at);
        batch_texts(&e->b, text + at, some);
        pupil_text_forward(e->clip, e->weights, e->acts, e->scratch, e->b.ids, e->b.cu, some, out + at * e->arch.embed_dim);
        pupil_progress(at + some == n, "embed    text %lld/%lld", (long long)(at + some), (long long)n);
    }
}

static int write_features(const embedding *e, pupil_h5 *h, const char *const *path, int64_t n, const float *image, int64_t m, const float *text)
{
    int64_t dim = e->arch.embed_dim;
    double scale = pupil_clip_scale(e->clip, e->weights), bias = pupil_clip_bias(e->clip, e->weights);
    pupil_buf names = {0};
    for (int64_t i = 0; i < n; i++) pupil_buf_printf(&names, "%s%s", i ? "\n" : "", path[i]);
    int r = n ? pupil_h5_write(h, "image_features", PUPIL_H5_F32, 2, (int64_t[]){n, dim}, image) : 0;
    if (r == 0 && m) r = pupil_h5_write(h, "text_features", PUPIL_H5_F32, 2, (int64_t[]){m, dim}, text);
    if (r == 0 && n && names.len < 60000) r = pupil_h5_write_text(h, "images", names.s); /* what an attribute can hold */
    if (r == 0) r = pupil_h5_write(h, "logit_scale", PUPIL_H5_F64, 0, NULL, &scale);
    if (r == 0 && e->arch.logit_bias) r = pupil_h5_write(h, "logit_bias", PUPIL_H5_F64, 0, NULL, &bias);
    pupil_buf_free(&names);
    return r;
}

int pupil_role_embed_files(const char *model_dir, const char *const *image, int64_t n, const char *const *text, int64_t m, const char *out)
{
    embedding e = {0};
    char *part = pupil_format("%s.part", out);
    pupil_h5 *h = NULL;
    float *feat[2] = {NULL};
    int r = open_model(&e, model_dir, m > 0);
    if (r == 0) {
        feat[0] = pupil_alloc((size_t)((n + 1) * e.arch.embed_dim) * sizeof(float));
        feat[1] = pupil_alloc((size_t)((m + 1) * e.arch.embed_dim) * sizeof(float));
        r = embed_pictures(&e, image, n, feat[0]);
    }
    if (r == 0) embed_lines(&e, text, m, feat[1]);
    if (r == 0) r = pupil_h5_create(part, &h);
    if (r == 0) r = write_features(&e, h, image, n, feat[0], m, feat[1]);
    int closed = h ? pupil_h5_close(&h) : 0;
    if (r == 0) r = closed;
    if (r == 0) r = pupil_publish(part, out);
    else remove(part);
    for (int k = 0; k < 2; k++) pupil_free(&feat[k]);
    pupil_free(&part);
    close_model(&e);
    return r;
}
