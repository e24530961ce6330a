/* The model against a plain one in double: features, and the gradient of every tensor by differences of the
 * plain one. And what must not matter: padding, room, other rows of the batch, keeping activations. */
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

/* What the scalar sum(features * cotangent) is, of one side. */
static double plain_value(world *w, int which)
{
    double *out = doubles(w->n * w->embed);
    if (which == 0) plain_image(w->c, w->params, w->images, w->n, out);
    else plain_text(w->c, w->params, w->ids, w->cu, w->end, w->n, out);
    double v = dot_of(out, w->cotangent[which], w->n * w->embed);
    pupil_free(&out);
    return v;
}

static void fast_features(world *w, pupil_acts *a, pupil_scratch *s, float *image, float *text)
{
    pupil_weights *flat = pupil_weights_flat(w->fparams);
    pupil_image_forward(w->c, flat, a, s, w->fimages, w->n, image);
    pupil_text_forward(w->c, flat, a, s, w->ids, w->cu, w->n, text);
    pupil_weights_free(&flat);
}

static void features(void **state)
{
    for (int k = 0; k < PUPIL_COUNT(tiny); k++) {
        world w;
        world_new(&w, &tiny[k], 5);
        pupil_acts *a = pupil_acts_new(w.c, 5, true);
        pupil_scratch *s = pupil_scratch_new(w.c, 5);
        float *got[2] = {floats(5 * w.embed), floats(5 * w.embed)};
        double *want[2] = {doubles(5 * w.embed), doubles(5 * w.embed)};
        fast_features(&w, a, s, got[0], got[1]);
        plain_image(w.c, w.params, w.images, 5, want[0]);
        plain_text(w.c, w.params, w.ids, w.cu, w.end, 5, want[1]);
        for (int side = 0; side < 2; side++) {
            CHECK(relative_l2(got[side], want[side], 5 * w.embed) < 3e-6,
                  "model %d, side %d: relative error %.3g", k, side,
                  relative_l2(got[side], want[side], 5 * w.embed));
            DROP(got[side], want[side]);
        }
        pupil_acts_free(&a);
        pupil_scratch_free(&s);
        world_end(&w);
    }
}

/* Along a random direction over the whole tensor, and along two single elements. */
static void check_tensor(world *w, int side, const char *name, double *x, const float *grad, int64_t count,
                         double scale)
{
    double *keep = doubles(count), *dir = doubles(count);
    memcpy(keep, x, (size_t)count * sizeof *x);
    for (int64_t probe = 0; probe < 3; probe++) {
        int64_t one = (count - 1) * (2 * probe - 2) / 3; /* 0 and two thirds through */
        for (int64_t i = 0; i < count; i++) dir[i] = probe ? i == one : 0;
        if (!probe) {
            double *random = normals(77, count, 0, 1), size = l2(random, count);
            for (int64_t i = 0; i < count; i++) dir[i] = random[i] / size;
            pupil_free(&random);
        }
        double h = 1e-5, v[2], got = 0;
        for (int sign = 0; sign < 2; sign++) {
            for (int64_t i = 0; i < count; i++) x[i] = keep[i] + (sign ? -h : h) * dir[i];
            v[sign] = plain_value(w, side);
        }
        memcpy(x, keep, (size_t)count * sizeof *x);
        for (int64_t i = 0; i < count; i++) got += (double)grad[i] * dir[i];
        double want = (v[0] - v[1]) / (2 * h);
        CHECK(fabs(got - want) <= 2e-5 * scale + 1e-6, "%s, probe %d: %.9g, by differences %.9g (size %.3g)",
              name, (int)probe, got, want, scale);
    }
    DROP(keep, dir);
}

static void gradients_of_every_tensor(void **state)
{
    for (int k = 0; k < PUPIL_COUNT(tiny); k++) {
        world w;
        world_new(&w, &tiny[k], 3);
        const pupil_table *t = pupil_clip_table(w.c);
        pupil_acts *a = pupil_acts_new(w.c, 3, true);
        pupil_scratch *s = pupil_scratch_new(w.c, 3);
        float *out = floats(3 * w.embed), *grads = floats(w.total), *dimages = floats(3 * w.pixels),
              *again = floats(w.total);
        for (int round = 0; round < 2; round++) { /* the second time on top of the first, in used room */
            fast_features(&w, a, s, out, out);
            pupil_image_backward(w.c, w.fparams, a, s, w.fcotangent[0], again, dimages);
            pupil_text_backward(w.c, w.fparams, a, s, w.fcotangent[1], again);
            if (round == 0) memcpy(grads, again, (size_t)w.total * sizeof *grads);
        }
        double *twice = to_doubles(grads, w.total);
        for (int64_t i = 0; i < w.total; i++) twice[i] *= 2;
        CHECK(relative_l2(again, twice, w.total) < 1e-6, "model %d: gradients do not add up", k);
        int64_t covered = 0;
        for (int64_t i = 0; i < t->n; i++) {
            const pupil_tensor *x = &t->t[i];
            double *g = to_doubles(grads + x->offset, x->count), size = l2(g, x->count);
            int side = !strncmp(x->name, "visual.", 7) ? 0 : 1;
            if (tiny[k].no_k_bias && strstr(x->name, "qkv.bias")) { /* k has none: it stays 0 */
                for (int64_t part = 0, third = x->count / 3; part < 3; part++)
                    if (part != 1)
                        check_tensor(&w, side, x->name, w.params + x->offset + part * third, grads + x->offset + part * third, third, size);
                    else assert_true(l2(g + third, third) == 0);
            } else {
                check_tensor(&w, side, x->name, w.params + x->offset, grads + x->offset, x->count, size);
            }
            if (strncmp(x->name, "logit_", 6)) CHECK(size > 1e-3, "%s has no gradient", x->name);
            for (int64_t j = x->count; j < (x->count + 15) / 16 * 16; j++)
                assert_true(grads[x->offset + j] == 0); /* gaps stay zero */
            covered += (x->count + 15) / 16 * 16;
            pupil_free(&g);
        }
        assert_int_equal(covered, w.total);
        check_tensor(&w, 0, "images", w.images, dimages, 3 * w.pixels, 10);
        DROP(out, grads, dimages, again, twice);
        pupil_acts_free(&a);
        pupil_scratch_free(&s);
        world_end(&w);
    }
}

/* What is not frozen has the gradient it has with nothing frozen, bit for bit; below the lowest of them nothing is walked. */
static void freezing(void **state)
{
    static const struct {
        const char *parts[3];
        int untouched; /* names that hold this have no gradient: 0 nothing known, 1 image, 2 text, 3 the image tower's stem */
    } cases[] = {{{"text"}, 2},         {{"image"}, 1},           {{"image.stem"}, 3}, {{"image.stem", "image.blocks.0-0"}, 3},
                 {{"text.blocks"}, 0},  {{"image.head"}, 0},      {{"logit_scale"}, 0}, {{"image.stem", "image.blocks", "text"}, 2}};
    for (int k = 0; k < PUPIL_COUNT(tiny); k++)
        for (int i = 0; i < PUPIL_COUNT(cases); i++) {
            world w;
            world_new(&w, &tiny[k], 3);
            const pupil_table *t = pupil_clip_table(w.c);
            pupil_acts *a = pupil_acts_new(w.c, 3, true);
            pupil_scratch *s = pupil_scratch_new(w.c, 3);
            float *out = floats(3 * w.embed), *g[2] = {floats(w.total), floats(w.total)};
            for (int frozen = 0; frozen < 2; frozen++) {
                for (int p = 0; p < 3 && cases[i].parts[p] && frozen; p++) GOOD(pupil_clip_freeze(w.c, cases[i].parts[p]));
                fast_features(&w, a, s, out, out);
                pupil_image_backward(w.c, w.fparams, a, s, w.fcotangent[0], g[frozen], NULL);
                pupil_text_backward(w.c, w.fparams, a, s, w.fcotangent[1], g[frozen]);
            }
            int left = 0;
            for (int64_t n = 0; n < t->n; n++) {
                const pupil_tensor *x = &t->t[n];
                int of = !strncmp(x->name, "visual.", 7) ? 1 : 2;
                bool stem = of == 1 && (strstr(x->name, "conv1") || strstr(x->name, "patch_embed") || strstr(x->name, "pos_embed") || strstr(x->name, "positional"));
                left += !x->frozen;
                if (!x->frozen) assert_memory_equal(g[0] + x->offset, g[1] + x->offset, (size_t)x->count * sizeof(float));
                if (strncmp(x->name, "logit_", 6) && (cases[i].untouched == of || (cases[i].untouched == 3 && stem))) {
                    assert_true(x->frozen);
                    for (int64_t j = 0; j < x->count; j++) assert_true(g[1][x->offset + j] == 0);
                }
            }
            CHECK(left > 0 && left < t->n, "model %d, case %d: %d tensors are left", k, i, left);
            DROP(out, g[0], g[1]);
            pupil_acts_free(&a);
            pupil_scratch_free(&s);
            world_end(&w);
        }
    pupil_clip *c = pupil_clip_new(&tiny[0]);
    static const char *const wrong[] = {"", "images", "image.", "image.blocks.2", "image.blocks.1-0", "image.blocks.-1", "image.blocks.0-1x", "text.neck"};
    for (int i = 0; i < PUPIL_COUNT(wrong); i++)
        BAD(pupil_clip_freeze(c, wrong[i]), PUPIL_EUSER, "is no part of the model, expected image, text, logit_scale");
    pupil_clip_free(&c);
}

/* The patches kept, as pictures of their own size with the positions that those patches have. */
static void some_patches_alone(void **state)
{
    enum { N = 3, SIDE = 2, KEPT = SIDE * SIDE };
    for (int k = 0; k < PUPIL_COUNT(tiny); k++) {
        if (tiny[k].rope || tiny[k].image_size / tiny[k].patch < 3) continue;
        pupil_arch small = tiny[k];
        small.image_size = SIDE * small.patch;
        world w;
        world_new(&w, &tiny[k], N);
        int64_t across = tiny[k].image_size / tiny[k].patch, np = across * across, p = tiny[k].patch, size = tiny[k].image_size,
                own = tiny[k].class_token, width = tiny[k].image.width, side = SIDE * p;
        int32_t patch[N * KEPT], all[N * 64];
        for (int i = 0; i < N; i++)
            for (int j = 0; j < KEPT; j++) patch[i * KEPT + j] = (int32_t)(j * (np - 1 - i) / (KEPT - 1));
        for (int i = 0; i < N * np; i++) all[i] = (int32_t)(i % np);
        pupil_clip *c = pupil_clip_new(&small);
        const pupil_table *t = pupil_clip_table(c), *big = pupil_clip_table(w.c);
        const char *pos = tiny[k].trunk_names ? "visual.trunk.pos_embed" : "visual.positional_embedding";
        float *params = floats(t->total), *grads = floats(t->total), *want = floats(w.total), *got = floats(w.total), *image = floats(3 * side * side),
              *out = floats(N * w.embed), *whole = floats(N * w.embed), *one = floats(w.embed);
        pupil_weights *flat = pupil_weights_flat(params), *flat_big = pupil_weights_flat(w.fparams);
        pupil_acts *a = pupil_acts_new(w.c, N, true), *b = pupil_acts_new(c, 1, true);
        pupil_scratch *s = pupil_scratch_new(w.c, N), *u = pupil_scratch_new(c, 1);
        pupil_image_forward(w.c, flat_big, a, s, w.fimages, N, whole);
        pupil_image_forward_patches(w.c, flat_big, a, s, w.fimages, N, all, np, out);
        assert_memory_equal(out, whole, (size_t)(N * w.embed) * sizeof *out);
        pupil_image_forward_patches(w.c, flat_big, a, s, w.fimages, N, patch, KEPT, out);
        pupil_image_backward(w.c, w.fparams, a, s, w.fcotangent[0], got, NULL);
        for (int i = 0; i < N; i++) {
            memset(grads, 0, (size_t)t->total * sizeof *grads);
            for (int64_t n = 0; n < t->n; n++) { /* the same weights, and the positions of the patches kept */
                const pupil_tensor *x = &t->t[n], *y = pupil_table_find(big, x->name);
                bool is_pos = !strcmp(x->name, pos);
                for (int64_t j = 0; j < x->count; j++) {
                    int64_t row = j / width;
                    int64_t from = is_pos && row >= own ? (own + patch[i * KEPT + row - own]) * width + j % width : j;
                    params[x->offset + j] = w.fparams[y->offset + from];
                }
            }
            for (int64_t ch = 0; ch < 3; ch++)
                for (int64_t y = 0; y < side; y++)
                    for (int64_t x = 0; x < side; x++) {
                        int64_t q = patch[i * KEPT + y / p * SIDE + x / p];
                        image[(ch * side + y) * side + x] =
                            w.fimages[((i * 3 + ch) * size + q / across * p + y % p) * size + q % across * p + x % p];
                    }
            pupil_image_forward(c, flat, b, u, image, 1, one);
            for (int64_t j = 0; j < w.embed; j++)
                CHECK(fabsf(one[j] - out[i * w.embed + j]) < 2e-5f * (1 + fabsf(one[j])), "model %d, picture %d: %g, alone %g", k, i,
                      (double)out[i * w.embed + j], (double)one[j]);
            pupil_image_backward(c, params, b, u, w.fcotangent[0] + i * w.embed, grads, NULL);
            for (int64_t n = 0; n < t->n; n++) {
                const pupil_tensor *x = &t->t[n], *y = pupil_table_find(big, x->name);
                bool is_pos = !strcmp(x->name, pos);
                for (int64_t j = 0; j < x->count; j++) {
                    int64_t row = j / width;
                    int64_t to = is_pos && row >= own ? (own + patch[i * KEPT + row - own]) * width + j % width : j;
                    want[y->offset + to] += grads[x->offset + j];
                }
            }
        }
        double *exact = to_doubles(want, w.total);
        CHECK(relative_l2(got, exact, w.total) < 2e-5, "model %d: gradients are off by %g", k, relative_l2(got, exact, w.total));
        DROP(params, grads, want, got, image, out, whole, one, exact);
        pupil_weights_free(&flat);
        pupil_weights_free(&flat_big);
        pupil_acts_free(&a);
        pupil_acts_free(&b);
        pupil_scratch_free(&s);
        pupil_scratch_free(&u);
        pupil_clip_free(&c);
        world_end(&w);
    }
}

/* A causal tower's row does not see what follows: captions padded to the context give the same features. */
static void packed_captions_equal_padded_ones(void **state)
{
    world w;
    world_new(&w, &tiny[1], 6);
    int64_t ctx = tiny[1].context;
    int32_t cu[7], end[6], *ids = pupil_alloc((size_t)(6 * ctx) * sizeof *ids);
    for (int s = 0; s < 6; s++) {
        cu[s] = (int32_t)(s * ctx), cu[s + 1] = cu[s] + (int32_t)ctx;
        int32_t len = w.cu[s + 1] - w.cu[s];
        end[s] = cu[s] + len - 1;
        for (int i = 0; i < ctx; i++)
            ids[cu[s] + i] = i < len ? w.ids[w.cu[s] + i] : s % 2 ? 0 : (int32_t)tiny[1].vocab - 1;
    }
    double *want = doubles(6 * w.embed);
    plain_text(w.c, w.params, ids, cu, end, 6, want);
    pupil_acts *a = pupil_acts_new(w.c, 6, false);
    pupil_scratch *s = pupil_scratch_new(w.c, 6);
    float *got = floats(6 * w.embed);
    pupil_weights *flat = pupil_weights_flat(w.fparams);
    pupil_text_forward(w.c, flat, a, s, w.ids, w.cu, 6, got);
    pupil_weights_free(&flat);
    CHECK(relative_l2(got, want, 6 * w.embed) < 3e-6, "relative error %.3g",
          relative_l2(got, want, 6 * w.embed));
    DROP(want, got, ids);
    pupil_acts_free(&a);
    pupil_scratch_free(&s);
    world_end(&w);
}

static void keeping_activations_changes_no_bit(void **state)
{
    for (int k = 0; k < PUPIL_COUNT(tiny); k++) {
        world w;
        world_new(&w, &tiny[k], 5);
        float *out[4][2];
        pupil_scratch *s = pupil_scratch_new(w.c, 9);
        for (int i = 0; i < 4; i++) {
            pupil_acts *a = pupil_acts_new(w.c, i < 2 ? 5 : 9, i % 2); /* and with room to spare */
            for (int side = 0; side < 2; side++) out[i][side] = floats(5 * w.embed);
            fast_features(&w, a, s, out[i][0], out[i][1]);
            for (int side = 0; side < 2 && i; side++)
                assert_memory_equal(out[0][side], out[i][side], (size_t)(5 * w.embed) * sizeof(float));
            pupil_acts_free(&a);
        }
        for (int i = 0; i < 4; i++) DROP(out[i][0], out[i][1]);
        pupil_scratch_free(&s);
        world_end(&w);
    }
}

/* BLAS may take another path for other shapes: a row's features agree closely whatever else is in the batch.
 * With the same shapes they agree to the bit. Prints what was seen. */
static void a_row_hardly_depends_on_the_batch(void **state)
{
    pupil_arch arch = {.image_size = 64,
                       .patch = 16,
                       .image.width = 192,
                       .image.layers = 2,
                       .image.heads = 3,
                       .image.mlp = 768,
                       .context = 16,
                       .vocab = 100,
                       .text.width = 128,
                       .text.layers = 2,
                       .text.heads = 2,
                       .text.mlp = 512,
                       .embed_dim = 64,
     CLIP_PARTS};
    enum { B = 12 };
    world w;
    world_new(&w, &arch, B);
    pupil_acts *a = pupil_acts_new(w.c, B, true);
    pupil_scratch *s = pupil_scratch_new(w.c, B);
    float *all[2] = {floats(B * 64), floats(B * 64)}, *few[2] = {floats(B * 64), floats(B * 64)};
    fast_features(&w, a, s, all[0], all[1]);
    for (int64_t n = 1; n < B; n += 2) {
        w.n = n;
        fast_features(&w, a, s, few[0], few[1]);
        for (int side = 0; side < 2; side++) {
            double *want = to_doubles(all[side], n * 64), e = relative_l2(few[side], want, n * 64);
            int same = memcmp(all[side], few[side], (size_t)(n * 64) * sizeof(float)) == 0;
            print_message("%s rows in a batch of %d against %d: relative difference %.1g%s\n",
                          side ? "text" : "image", (int)n, B, e, same ? " (same bits)" : "");
            assert_true(e < 1e-6);
            pupil_free(&want);
        }
    }
    w.n = B;
    for (int64_t i = 2 * w.pixels; i < B * w.pixels; i++)
        w.fimages[i] = -w.fimages[i]; /* the other rows change, the shapes do not */
    for (int64_t i = w.cu[2]; i < w.cu[B]; i++) w.ids[i] = (w.ids[i] + 1) % 100;
    fast_features(&w, a, s, few[0], few[1]);
    for (int side = 0; side < 2; side++) {
        assert_memory_equal(all[side], few[side], 2 * 64 * sizeof(float));
        assert_memory_not_equal(all[side] + 2 * 64, few[side] + 2 * 64, 64 * sizeof(float));
        DROP(all[side], few[side]);
    }
    pupil_acts_free(&a);
    pupil_scratch_free(&s);
    world_end(&w);
}

/* Parameter counts of open_clip's models with CLIP's 49,408 tokens; for ViT-T-16 that of the trunk as timm
 * has it (5,524,416), which has a bias at the patches (width) where CLIP has a norm before the blocks (2
 * width). */
static void presets_have_the_published_sizes(void **state)
{
    static const struct {
        const char *name;
        int64_t image_trunk, image, text, all;
    } known[] = {{"ViT-T-16", 5524416 + 192, 0, 0, 0},
                 {"ViT-B-32", 87456000, 87849216, 63428096, 151277313},
                 {"ViT-B-16", 85799424, 86192640, 63428096, 149620737},
                 {"ViT-L-14", 303179776, 303966208, 123650304, 427616513}};
    for (int i = 0; i < PUPIL_COUNT(known); i++) {
        pupil_conf_model m = {.name = (char *)(uintptr_t)known[i].name, .act = PUPIL_ACT_PRESET};
        pupil_arch a;
        GOOD(pupil_arch_from_conf(&m, 49408, "student.model", &a));
        pupil_clip *c = pupil_clip_new(&a);
        int64_t image = pupil_clip_params(c, 0), text = pupil_clip_params(c, 1),
                all = pupil_clip_params(c, -1);
        CHECK(image - a.image.width * a.embed_dim == known[i].image_trunk, "%s: image trunk %lld", known[i].name,
              (long long)(image - a.image.width * a.embed_dim));
        if (known[i].all) {
            CHECK(image == known[i].image && text == known[i].text && all == known[i].all,
                  "%s: %lld + %lld, %lld in all", known[i].name, (long long)image, (long long)text,
                  (long long)all);
        }
        assert_int_equal(all, image + text + 1);
        pupil_table *t = pupil_clip_table(c);
        pupil_table_add(t, "loss.head", 2, (int64_t[]){3, 5}, PUPIL_INIT_NORMAL,
                        1); /* a guest does not count */
        assert_int_equal(pupil_clip_params(c, -1), all);
        pupil_clip_free(&c);
    }
}

static void initial_parameters(void **state)
{
    pupil_clip *c = pupil_clip_new(&tiny[1]);
    pupil_table *t = pupil_clip_table(c);
    float *p = floats(t->total), *q = floats(t->total + 64);
    pupil_table_init(t, 5, p);
    pupil_weights *flat = pupil_weights_flat(p);
    assert_true(fabs(pupil_clip_scale(c, flat) - 1 / 0.07) < 1e-5);
    pupil_weights_free(&flat);
    assert_true(p[pupil_clip_scale_offset(c)] == (float)log(1 / 0.07));
    for (int64_t i = 0; i < t->n; i++) {
        const pupil_tensor *x = &t->t[i];
        assert_int_equal(x->offset % 16, 0);
        assert_true(x->decay == (x->ndim >= 2));
        double *v = to_doubles(p + x->offset, x->count);
        if (x->init == PUPIL_INIT_CONST)
            for (int64_t j = 0; j < x->count; j++) assert_true(p[x->offset + j] == (float)x->value);
        else
            CHECK(fabs(l2(v, x->count) / sqrt((double)x->count) / x->value - 1) <
                      5 / sqrt(2.0 * (double)x->count),
                  "%s: standard deviation %g, expected %g", x->name, l2(v, x->count) / sqrt((double)x->count),
                  x->value);
        pupil_free(&v);
    }
    int64_t before = t->total;
    pupil_table_add(t, "loss.head", 2, (int64_t[]){3, 5}, PUPIL_INIT_NORMAL,
                    1); /* a guest does not move the others */
    pupil_table_init(t, 5, q);
    assert_memory_equal(p, q, (size_t)before * sizeof *p);
    memset(q, 0, (size_t)t->total * sizeof *q);
    for (int part = 6; part >= 0; part--) pupil_table_init_part(t, 5, part, 7, q);
    assert_memory_equal(p, q, (size_t)before * sizeof *p);
    pupil_table_init(t, 6, q);
    assert_memory_not_equal(p, q, 64);
    DROP(p, q);
    pupil_clip_free(&c);
}

/* Rows of mean 0 and variance 1: of one block's text tower those of embedding + position; of a causal one, rows of a text that
 * goes on are those of the text that ends there. Pictures are apart, and a patch shows in its own row the most. */
static void token_features(void **state)
{
    for (int k = 0; k < 2; k++) {
        world w;
        world_new(&w, &tiny[k], 3);
        int64_t vw = tiny[k].image.width, tw = tiny[k].text.width, tok = pupil_arch_tokens(&tiny[k]), texts = w.cu[3];
        pupil_acts *a = pupil_acts_new(w.c, 3, false);
        pupil_scratch *s = pupil_scratch_new(w.c, 3);
        pupil_weights *flat = pupil_weights_flat(w.fparams);
        float *image = floats(3 * w.embed), *text = floats(3 * w.embed), *v = floats(3 * tok * vw), *t = floats(texts * tw), *cut = floats(texts * tw);
        float *again = floats(3 * tok * vw);
        fast_features(&w, a, s, image, text);
        pupil_image_tokens(w.c, a, v);
        pupil_text_tokens(w.c, a, t);
        for (int64_t r = 0; r < 3 * tok; r++) {
            double mean = 0, square = 0;
            for (int64_t j = 0; j < vw; j++) mean += (double)v[r * vw + j] / (double)vw, square += pow((double)v[r * vw + j], 2) / (double)vw;
            assert_true(fabs(mean) < 1e-5 && fabs(square - 1) < 0.02);
        }
        const double *table = w.params + pupil_table_find(pupil_clip_table(w.c), "token_embedding.weight")->offset;
        const double *pos = w.params + pupil_table_find(pupil_clip_table(w.c), "positional_embedding")->offset;
        double *ones = doubles(2 * tw), *x = doubles(tw);
        for (int64_t j = 0; j < tw; j++) ones[j] = 1;
        for (int i = 0; i < 3; i++)
            for (int32_t r = w.cu[i]; r < w.cu[i + 1]; r++) {
                int32_t cu[] = {0, r + 1 - w.cu[i]};
                pupil_text_forward(w.c, flat, a, s, w.ids + w.cu[i], cu, 1, text);
                pupil_text_tokens(w.c, a, cut);
                double *row = to_doubles(t + r * tw, tw);
                CHECK(max_error(cut + (cu[1] - 1) * tw, row, tw) < 1e-5, "text %d, row %d: %.3g", i, r, max_error(cut + (cu[1] - 1) * tw, row, tw));
                for (int64_t j = 0; j < tw; j++) x[j] = table[w.ids[r] * tw + j] + pos[(r - w.cu[i]) * tw + j];
                pupil_plain_layernorm(x, x, ones, ones + tw, 1, tw, 1e-5);
                assert_int_equal(max_error(t + r * tw, x, tw) < 1e-5, tiny[k].text.layers == 1);
                pupil_free(&row);
            }
        w.fimages[w.pixels] += 1; /* a pixel of the second picture's first patch */
        pupil_image_forward(w.c, flat, a, s, w.fimages, 3, image);
        pupil_image_tokens(w.c, a, again);
        assert_memory_equal(again, v, (size_t)(tok * vw) * sizeof *v);
        assert_memory_equal(again + 2 * tok * vw, v + 2 * tok * vw, (size_t)(tok * vw) * sizeof *v);
        double *old = to_doubles(v, 3 * tok * vw);
        double own = max_error(again + (tok + 1) * vw, old + (tok + 1) * vw, vw), other = max_error(again + (tok + 3) * vw, old + (tok + 3) * vw, vw);
        assert_true(own > other && other > 0);
        DROP(image, text, v, t, cut, again, old, ones, x);
        pupil_weights_free(&flat);
        pupil_acts_free(&a);
        pupil_scratch_free(&s);
        world_end(&w);
    }
}

/* sum(token features * cotangent) of one side, of the float parameters. */
static double tokens_value(world *w, pupil_acts *a, pupil_scratch *s, int side, const float *cotangent, float *out, float *pooled)
{
    double sum = 0;
    fast_features(w, a, s, pooled, pooled);
    if (side == 0) pupil_image_tokens(w->c, a, out);
    else pupil_text_tokens(w->c, a, out);
    int64_t n = side ? w->cu[w->n] * pupil_clip_arch(w->c)->text.width : w->n * pupil_arch_tokens(pupil_clip_arch(w->c)) * pupil_clip_arch(w->c)->image.width;
    for (int64_t i = 0; i < n; i++) sum += (double)out[i] * cotangent[i];
    return sum;
}

/* Of every tensor below the last block, along a random direction, by differences of the float features; of the others none. */
static void token_gradients(void **state)
{
    for (int k = 0; k < PUPIL_COUNT(tiny); k++) {
        world w;
        world_new(&w, &tiny[k], 3);
        const pupil_table *t = pupil_clip_table(w.c);
        int64_t room = PUPIL_MAX(3 * pupil_arch_tokens(&tiny[k]) * tiny[k].image.width, w.cu[3] * tiny[k].text.width);
        pupil_acts *a = pupil_acts_new(w.c, 3, true);
        pupil_scratch *s = pupil_scratch_new(w.c, 3);
        float *pooled = floats(3 * w.embed), *out = floats(room), *grads = floats(w.total);
        double *random = normals(9, room, 0, 1);
        float *cotangent = to_floats(random, room);
        fast_features(&w, a, s, pooled, pooled);
        pupil_image_tokens_backward(w.c, w.fparams, a, s, cotangent, grads);
        pupil_text_tokens_backward(w.c, w.fparams, a, s, cotangent, grads);
        int with = 0, without = 0;
        for (int64_t i = 0; i < t->n; i++) {
            const pupil_tensor *x = &t->t[i];
            float *p = w.fparams + x->offset;
            double *dir = normals(77, x->count, 0, 1), size = l2(dir, x->count), want, got = 0, h = 4e-3, v[2];
            double *keep = to_doubles(p, x->count), *g = to_doubles(grads + x->offset, x->count), norm = l2(g, x->count);
            if (tiny[k].no_k_bias && strstr(x->name, "qkv.bias")) memset(dir + x->count / 3, 0, (size_t)(x->count / 3) * sizeof *dir);
            for (int sign = 0; sign < 2; sign++) {
                for (int64_t j = 0; j < x->count; j++) p[j] = (float)(keep[j] + (sign ? -h : h) * dir[j] / size);
                v[sign] = tokens_value(&w, a, s, !strncmp(x->name, "visual.", 7) ? 0 : 1, cotangent, out, pooled);
            }
            for (int64_t j = 0; j < x->count; j++) p[j] = (float)keep[j], got += g[j] * dir[j] / size;
            want = (v[0] - v[1]) / (2 * h);
            CHECK(fabs(got - want) <= 0.01 * norm + 5e-3, "model %d, %s: %.6g, by differences %.6g (size %.3g)", k, x->name, got, want, norm);
            norm > 0 ? with++ : without++;
            DROP(dir, keep, g);
        }
        assert_true(with >= 3 && without > 12); /* a model of one block trains its embeddings alone */
        DROP(pooled, out, grads, random, cotangent);
        pupil_acts_free(&a);
        pupil_scratch_free(&s);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features),
        cmocka_unit_test(gradients_of_every_tensor),
        cmocka_unit_test(freezing),
        cmocka_unit_test(some_patches_alone),
        cmocka_unit_test(packed_captions_equal_padded_ones),
        cmocka_unit_test(keeping_activations_changes_no_bit),
        cmocka_unit_test(a_row_hardly_depends_on_the_batch),
        cmocka_unit_test(token_features),
        cmocka_unit_test(token_gradients),
        cmocka_unit_test(presets_have_the_published_sizes),
        cmocka_unit_test(initial_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
