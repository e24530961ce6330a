/* The model against a plain one in double: features, and the gradient of every tensor by differences of the
 * plain one. And what must not matter: padding, room, other rows of the batch, keeping activations. */
#include "world.h"

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
        cmocka_unit_test(presets_have_the_published_sizes),
        cmocka_unit_test(initial_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
