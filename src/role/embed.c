/* embed.c: embeddings of many pictures or texts by all ranks. Work is cut into runs, each computed with the
 * same shapes whoever takes it, so the result does not depend on the number of ranks. */
#include "job.h"

#include <string.h>

typedef struct {
    job *j;
    const embedder *e;
    pupil_split split;
    const int64_t *sample;    /* pictures or captions ... */
    const char *const *text;  /* ... or texts */
    bool pictures;
    pupil_tokens *tokens;     /* wanted are token features, laid out already; or embeddings, where this is NULL */
} request;

/* An embedding that is not finite ends the run or becomes zeros, as data.on_error says. */
static int judge(const request *q, int64_t at, int64_t n, float *out)
{
    int64_t dim = pupil_clip_arch(q->e->clip)->embed_dim;
    for (int64_t i = 0; i < n; i++) {
        if (pupil_floats_finite(out + i * dim, dim)) continue;
        if (!q->j->conf->data.skip_bad)
            return pupil_fail(PUPIL_ENUMERIC, "%s: its embedding of %s %lld is not finite; data.on_error: skip goes on without it", q->e->name,
                              q->pictures ? "picture" : "text", (long long)(q->text ? at + i : q->sample[at + i]));
        memset(out + i * dim, 0, (size_t)dim * sizeof *out);
    }
    return 0;
}

/* Token features of the run that `a` has just seen. What is not finite becomes zeros where judge() let it pass. */
static void keep_tokens(const request *q, const pupil_acts *a, int64_t at, int64_t n)
{
    pupil_tokens *t = q->tokens;
    int64_t rows = t->first[at + n] - t->first[at];
    float *x = pupil_alloc((size_t)(rows * t->width) * sizeof *x);
    if (q->pictures) pupil_image_tokens(q->e->clip, a, x);
    else pupil_text_tokens(q->e->clip, a, x);
    for (int64_t r = 0; r < rows; r++) {
        uint16_t *to = t->f16 + (t->first[at] + r) * t->width;
        if (pupil_f16_pack(to, x + r * t->width, t->width) < t->width) memset(to, 0, (size_t)t->width * sizeof *to);
    }
    pupil_free(&x);
}

static int one_run(const request *q, batch *b, pupil_acts *a, pupil_scratch *s, int64_t at, int64_t n, float *out)
{
    const pupil_arch *arch = pupil_clip_arch(q->e->clip);
    if (q->pictures) PUPIL_TRY(batch_images(b, q->j, arch, q->split, q->sample + at, n));
    else if (q->text) batch_texts(b, q->text + at, n);
    else PUPIL_TRY(batch_captions(b, q->j, q->split, q->sample + at, NULL, 0, n));
    if (q->pictures)
        pupil_image_forward(q->e->clip, q->e->weights, a, s, b->images, n, out);
    else
        pupil_text_forward(q->e->clip, q->e->weights, a, s, b->ids, b->cu, n, out);
    PUPIL_TRY(judge(q, at, n, out));
    if (q->tokens) keep_tokens(q, a, at, n);
    return 0;
}

static int all_runs(const request *q, int64_t n, float *ret)
{
    pupil_comm *c = q->j->world;
    const pupil_arch *arch = pupil_clip_arch(q->e->clip);
    int64_t run = batch_run(arch), runs = (n + run - 1) / run, dim = arch->embed_dim;
    int me = pupil_comm_rank(c), size = pupil_comm_size(c), r = 0;
    int64_t first = pupil_slot_first(runs, size, me), end = pupil_slot_first(runs, size, me + 1);
    batch b;
    batch_new(&b, q->e->tok, arch, run, run);
    pupil_acts *a = pupil_acts_new(q->e->clip, run, false);
    pupil_scratch *s = pupil_scratch_new(q->e->clip, run);
    double since = pupil_now();
    char eta[32];
    float *unwanted = q->tokens ? pupil_alloc((size_t)(run * dim) * sizeof *unwanted) : NULL;
    for (int64_t k = first; k < end && r == 0; k++) {
        r = pupil_signal_seen() ? pupil_fail(PUPIL_ESTOP, "stopped by signal %d during the evaluation", pupil_signal_seen())
                                : one_run(q, &b, a, s, k * run, PUPIL_MIN(run, n - k * run), unwanted ? unwanted : ret + k * run * dim);
        double left = (pupil_now() - since) / (double)(k + 1 - first) * (double)(end - k - 1);
        pupil_progress(false, "evaluate  %s: %s %lld/%lld   ETA %s", q->e->name, q->pictures ? "pictures" : "texts",
                       (long long)((k + 1 - first) * run), (long long)((end - first) * run), pupil_duration(left, eta));
    }
    batch_free(&b);
    pupil_acts_free(&a);
    pupil_scratch_free(&s);
    pupil_free(&unwanted);
    PUPIL_TRY(pupil_agree(c, r));
    size_t *at = pupil_alloc((size_t)(size + 1) * sizeof *at);
    for (int p = 0; p <= size; p++) {
        size_t items = (size_t)PUPIL_MIN(n, pupil_slot_first(runs, size, p) * run);
        at[p] = q->tokens ? (size_t)(q->tokens->first[items] * q->tokens->width) * sizeof(uint16_t) : items * (size_t)dim * sizeof(float);
    }
    r = pupil_gather_ranges(c, q->tokens ? (void *)q->tokens->f16 : (void *)ret, at);
    pupil_free(&at);
    return r;
}

int embed_images(job *j, const embedder *e, pupil_split split, const int64_t *sample, int64_t n, float *ret)
{
    return all_runs(&(request){j, e, split, sample, NULL, true, NULL}, n, ret);
}

int embed_captions(job *j, const embedder *e, pupil_split split, const int64_t *sample, int64_t n, float *ret)
{
    return all_runs(&(request){j, e, split, sample, NULL, false, NULL}, n, ret);
}

int embed_texts(job *j, const embedder *e, const char *const *text, int64_t n, float *ret)
{
    return all_runs(&(request){j, e, PUPIL_TEST, NULL, text, false, NULL}, n, ret);
}

static int all_tokens(request *q, int64_t n, double *room, pupil_tokens *ret)
{
    char want[32], have[32];
    double bytes = (double)ret->first[n] * (double)ret->width * sizeof *ret->f16;
    if (bytes > *room)
        return pupil_fail(PUPIL_EUSER, "token features of %lld %s of %s take %s, and eval.token_gib leaves %s; allow more, or lower eval.vqa.train_questions",
                          (long long)n, q->pictures ? "pictures" : "questions", q->e->name, pupil_bytes_text(bytes, want), pupil_bytes_text(*room, have));
    *room -= bytes;
    q->tokens = ret;
    ret->n = n;
    ret->f16 = pupil_alloc((size_t)(ret->first[n] * ret->width) * sizeof *ret->f16);
    return all_runs(q, n, NULL);
}

int embed_image_tokens(job *j, const embedder *e, pupil_split split, const int64_t *sample, int64_t n, double *room, pupil_tokens *ret)
{
    const pupil_arch *a = pupil_clip_arch(e->clip);
    ret->width = a->image.width;
    ret->first = pupil_alloc((size_t)(n + 1) * sizeof *ret->first);
    for (int64_t i = 0; i < n; i++) ret->first[i + 1] = ret->first[i] + pupil_arch_tokens(a);
    return all_tokens(&(request){j, e, split, sample, NULL, true, NULL}, n, room, ret);
}

int embed_text_tokens(job *j, const embedder *e, const char *const *text, int64_t n, double *room, pupil_tokens *ret)
{
    const pupil_arch *a = pupil_clip_arch(e->clip);
    int32_t *ids = pupil_alloc((size_t)a->context * sizeof *ids);
    ret->width = a->text.width;
    ret->first = pupil_alloc((size_t)(n + 1) * sizeof *ret->first);
    for (int64_t i = 0; i < n; i++) ret->first[i + 1] = ret->first[i] + pupil_tokenizer_encode(e->tok, text[i], (int)a->context, ids);
    pupil_free(&ids);
    return all_tokens(&(request){j, e, PUPIL_TEST, NULL, text, false, NULL}, n, room, ret);
}

/* ids up to and including the first end token (the largest id, as CLIP marks it); all of them for a tower that sees its
 * padding. */
static int32_t cut_caption(const pupil_arch *a, const int64_t *row, int64_t context, int32_t *out)
{
    int32_t n = 0;
    while (n < context) {
        out[n] = (int32_t)row[n];
        if (row[n++] == a->vocab - 1 && !a->text_all_to_all) break;
    }
    return n;
}

static int embed_file(pupil_h5 *in, pupil_h5 *out, const pupil_clip *c, pupil_weights *w, const char *path)
{
    const pupil_arch *a = pupil_clip_arch(c);
    int nd_i, nd_t;
    int64_t di[8], dt[8], dim = a->embed_dim, px = 3 * a->image_size * a->image_size;
    PUPIL_TRY(pupil_h5_shape(in, "inputs/images", &nd_i, di));
    PUPIL_TRY(pupil_h5_shape(in, "inputs/token_ids", &nd_t, dt));
    if (nd_i != 4 || di[1] != 3 || di[2] != a->image_size || di[3] != a->image_size)
        return pupil_fail(PUPIL_EFORMAT, "%s: inputs/images should be [N,3,%lld,%lld]", path, (long long)a->image_size, (long long)a->image_size);
    if (nd_t != 2 || dt[0] != di[0] || dt[1] > a->context)
        return pupil_fail(PUPIL_EFORMAT, "%s: inputs/token_ids should be [%lld, up to %lld]", path, (long long)di[0], (long long)a->context);
    int64_t n = di[0], *ids = pupil_alloc((size_t)(n * dt[1]) * sizeof *ids);
    float *images = pupil_alloc((size_t)(n * px) * sizeof *images), *feat = pupil_alloc((size_t)(2 * n * dim) * sizeof *feat);
    int32_t *packed = pupil_alloc((size_t)(n * dt[1]) * sizeof *packed), *cu = pupil_alloc((size_t)(n + 1) * sizeof *cu);
    int r = pupil_h5_read(in, "inputs/images", PUPIL_H5_F32, n * px, images);
    if (r == 0) r = pupil_h5_read(in, "inputs/token_ids", PUPIL_H5_I64, n * dt[1], ids);
    for (int64_t i = 0; i < n * dt[1] && r == 0; i++)
        if (ids[i] < 0 || ids[i] >= a->vocab) r = pupil_fail(PUPIL_EFORMAT, "%s: token id %lld is outside the vocabulary of %lld", path, (long long)ids[i], (long long)a->vocab);
    if (r == 0) {
        for (int64_t i = 0; i < n; i++) cu[i + 1] = cu[i] + cut_caption(a, ids + i * dt[1], dt[1], packed + cu[i]);
        pupil_acts *acts = pupil_acts_new(c, n, false);
        pupil_scratch *s = pupil_scratch_new(c, n);
        pupil_image_forward(c, w, acts, s, images, n, feat);
        pupil_text_forward(c, w, acts, s, packed, cu, n, feat + n * dim);
        pupil_acts_free(&acts);
        pupil_scratch_free(&s);
        double scale = pupil_clip_scale(c, w), bias = pupil_clip_bias(c, w);
        r = pupil_h5_write(out, "image_features", PUPIL_H5_F32, 2, (int64_t[]){n, dim}, feat);
        if (r == 0) r = pupil_h5_write(out, "text_features", PUPIL_H5_F32, 2, (int64_t[]){n, dim}, feat + n * dim);
        if (r == 0) r = pupil_h5_write(out, "logit_scale", PUPIL_H5_F64, 0, NULL, &scale);
        if (r == 0 && a->logit_bias) r = pupil_h5_write(out, "logit_bias", PUPIL_H5_F64, 0, NULL, &bias);
    }
    pupil_free(&ids);
    pupil_free(&images);
    pupil_free(&feat);
    pupil_free(&packed);
    pupil_free(&cu);
    return r;
}

int pupil_role_embed(const char *model_dir, const char *in_path, const char *out_path)
{
    pupil_arch a;
    PUPIL_TRY(pupil_model_dir_arch(model_dir, &a));
    pupil_clip *c = pupil_clip_new(&a);
    pupil_weights *w = NULL;
    char *part = pupil_format("%s.part", out_path);
    pupil_h5 *in = NULL, *out = NULL;
    int r = pupil_model_dir_open(model_dir, c, &w);
    if (r == 0) r = pupil_h5_open(in_path, &in);
    if (r == 0) r = pupil_h5_create(part, &out);
    if (r == 0) r = embed_file(in, out, c, w, in_path);
    if (in) pupil_h5_close(&in);
    int closed = out ? pupil_h5_close(&out) : 0;
    if (r == 0) r = closed;
    if (r == 0) r = pupil_publish(part, out_path);
    else remove(part);
    pupil_free(&part);
    pupil_weights_free(&w);
    pupil_clip_free(&c);
    return r;
}
