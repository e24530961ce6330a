/* test_tokens.c: token features of the towers, and the way back from their gradient. */
#include "world.h"

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(token_features), cmocka_unit_test(token_gradients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
