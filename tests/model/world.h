/* world.h: small models of every family with random parameters, and a batch for each. */
#ifndef PUPIL_TESTS_MODEL_WORLD_H
#define PUPIL_TESTS_MODEL_WORLD_H

#include "plain_clip.h"
/* What makes an architecture CLIP. */
#define CLIP_PARTS .image.eps = 1e-5, .text.eps = 1e-5, .class_token = true, .pre_norm = true, .image_proj = PUPIL_PROJ_MATRIX

static const pupil_arch tiny[] = {
    {.image_size = 8,
     .patch = 4,
     .image.width = 12,
     .image.layers = 2,
     .image.heads = 3,
     .image.mlp = 30,
     .context = 7,
     .vocab = 13,
     .text.width = 10,
     .text.layers = 1,
     .text.heads = 2,
     .text.mlp = 40,
     .embed_dim = 6,
     CLIP_PARTS,
     .image.act = PUPIL_QUICK_GELU,
     .text.act = PUPIL_QUICK_GELU},
    {.image_size = 6,
     .patch = 2,
     .image.width = 16,
     .image.layers = 3,
     .image.heads = 1,
     .image.mlp = 20,
     .context = 9,
     .vocab = 30,
     .text.width = 24,
     .text.layers = 3,
     .text.heads = 3,
     .text.mlp = 24,
     .embed_dim = 20,
     CLIP_PARTS},
    {.image_size = 5,
     .patch = 5,
     .image.width = 33,
     .image.layers = 1,
     .image.heads = 33,
     .image.mlp = 17,
     .context = 2,
     .vocab = 5,
     .text.width = 7,
     .text.layers = 2,
     .text.heads = 1,
     .text.mlp = 9,
     .embed_dim = 1,
     CLIP_PARTS},
    /* SigLIP */
    {.image = {12, 2, 3, 20, PUPIL_GELU_TANH, 1e-6},
     .text = {10, 2, 2, 17, PUPIL_GELU_TANH, 1e-6},
     .image_size = 9,
     .patch = 3,
     .context = 5,
     .vocab = 13,
     .embed_dim = 12,
     .patch_bias = true,
     .pool = PUPIL_POOL_MAP,
     .pool_heads = 2,
     .pool_mlp = 18,
     .trunk_names = true,
     .text_all_to_all = true,
     .text_proj_bias = true,
     .text_prefix = true,
     .logit_bias = true},
    /* EVA02 */
    {.image = {16, 2, 2, 11, PUPIL_GELU, 1e-6},
     .text = {10, 1, 2, 17, PUPIL_GELU, 1e-5},
     .image_size = 12,
     .patch = 4,
     .context = 6,
     .vocab = 11,
     .embed_dim = 9,
     .class_token = true,
     .patch_bias = true,
     .image_proj = PUPIL_PROJ_LINEAR,
     .rope = true,
     .rope_reference = 5,
     .swiglu = true,
     .inner_norm = true,
     .no_k_bias = true,
     .trunk_names = true,
     .text_prefix = true},
    /* EVA01 */
    {.image = {12, 3, 3, 20, PUPIL_GELU, 1e-6},
     .text = {8, 1, 1, 12, PUPIL_GELU, 1e-5},
     .image_size = 6,
     .patch = 3,
     .context = 4,
     .vocab = 9,
     .embed_dim = 7,
     .class_token = true,
     .patch_bias = true,
     .image_proj = PUPIL_PROJ_LINEAR,
     .no_k_bias = true,
     .trunk_names = true,
     .text_prefix = true},
    /* PE-Core with and without a class token */
    {.image = {16, 2, 2, 24, PUPIL_GELU, 1e-5},
     .text = {10, 1, 2, 17, PUPIL_GELU, 1e-5},
     .image_size = 6,
     .patch = 2,
     .context = 4,
     .vocab = 9,
     .embed_dim = 5,
     .class_token = true,
     .pre_norm = true,
     .pool = PUPIL_POOL_MAP,
     .pool_heads = 4,
     .pool_mlp = 30,
     .image_proj = PUPIL_PROJ_LINEAR,
     .rope = true,
     .rope_xy = true,
     .rope_reference = 4,
     .rope_offset = 1,
     .trunk_names = true,
     .text_prefix = true},
    {.image = {8, 1, 1, 24, PUPIL_QUICK_GELU, 1e-5},
     .text = {10, 1, 2, 17, PUPIL_GELU, 1e-5},
     .image_size = 6,
     .patch = 2,
     .context = 4,
     .vocab = 9,
     .embed_dim = 5,
     .pre_norm = true,
     .pool = PUPIL_POOL_MAP,
     .pool_heads = 1,
     .pool_mlp = 9,
     .image_proj = PUPIL_PROJ_LINEAR,
     .rope = true,
     .rope_xy = true,
     .trunk_names = true,
     .text_prefix = true},
};

/* A model with every parameter random and none zero, and a batch for it. */
typedef struct {
    pupil_clip *c;
    int64_t n, pixels, total, embed;
    double *params, *images, *cotangent[2];
    float *fparams, *fimages, *fcotangent[2];
    int32_t *ids, *cu, *end; /* captions packed; end[s]: row of the end token */
} world;

static void world_new(world *w, const pupil_arch *a, int64_t n)
{
    w->c = pupil_clip_new(a);
    const pupil_table *t = pupil_clip_table(w->c);
    w->n = n, w->total = t->total, w->embed = a->embed_dim, w->pixels = 3 * a->image_size * a->image_size;
    w->params = doubles(t->total);
    for (int64_t i = 0; i < t->n; i++) {
        const pupil_tensor *x = &t->t[i];
        bool gain = (strstr(x->name, "ln_") || strstr(x->name, "norm")) && strstr(x->name, "weight");
        double *v = normals((uint64_t)i + 100, x->count, gain ? 1 : 0, gain ? 0.2 : x->ndim >= 2 ? 0.3 : 0.5);
        memcpy(w->params + x->offset, v, (size_t)x->count * sizeof *v);
        if (a->no_k_bias && strstr(x->name, "qkv.bias"))
            memset(w->params + x->offset + x->count / 3, 0, (size_t)(x->count / 3) * sizeof *v);
        pupil_free(&v);
    }
    w->images = normals(1, n * w->pixels, 0, 1);
    for (int k = 0; k < 2; k++) w->cotangent[k] = normals(2 + (uint64_t)k, n * a->embed_dim, 0, 1);
    w->cu = pupil_alloc((size_t)(n + 1) * sizeof *w->cu);
    w->end = pupil_alloc((size_t)n * sizeof *w->end);
    w->ids = pupil_alloc((size_t)(n * a->context) * sizeof *w->ids);
    for (int64_t s = 0; s < n; s++) {
        int64_t len =
            s == 0 ? a->context : 1 + (s * 3) % a->context; /* one that fills the context, and one of 1 */
        for (int64_t i = 0; i < len; i++)
            w->ids[w->cu[s] + i] = (int32_t)(i + 1 == len ? a->vocab - 1 : (i * 5 + s) % (a->vocab - 1));
        w->cu[s + 1] = w->cu[s] + (int32_t)len;
        w->end[s] = w->cu[s + 1] - 1;
    }
    w->fparams = to_floats(w->params, w->total);
    w->fimages = to_floats(w->images, n * w->pixels);
    for (int k = 0; k < 2; k++) w->fcotangent[k] = to_floats(w->cotangent[k], n * a->embed_dim);
}

static void world_end(world *w)
{
    DROP(w->params, w->images, w->cotangent[0], w->cotangent[1], w->fparams, w->fimages, w->fcotangent[0],
         w->fcotangent[1], w->ids, w->cu, w->end);
    pupil_clip_free(&w->c);
}

static void fast_features(world *w, pupil_acts *a, pupil_scratch *s, float *image, float *text)
{
    pupil_weights *flat = pupil_weights_flat(w->fparams);
    pupil_image_forward(w->c, flat, a, s, w->fimages, w->n, image);
    pupil_text_forward(w->c, flat, a, s, w->ids, w->cu, w->n, text);
    pupil_weights_free(&flat);
}

#endif
