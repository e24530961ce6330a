/* Learned masks: the gradient of weights, of log alpha and of the Lagrangian by differences; the share of gates that are drawn
 * closed is the expected one; open gates change nothing; and the smaller model is the masked one. */
#include "../proof.h"

#include "pupil/model.h"

#define SIZES                                                                                                 \
    .image = {.width = 24, .layers = 3, .heads = 3, .mlp = 20, .eps = 1e-6},                                   \
    .text = {.width = 12, .layers = 2, .heads = 3, .mlp = 14, .eps = 1e-5}, .image_size = 20, .patch = 5,      \
    .context = 7, .vocab = 13, .std = {1, 1, 1}, .interpolation = "bicubic", .resize_mode = "shortest", .embed_dim = 6
static const pupil_arch families[] = {
    {SIZES, .class_token = true, .pre_norm = true, .image_proj = PUPIL_PROJ_MATRIX},
    {SIZES, .class_token = true, .patch_bias = true, .image_proj = PUPIL_PROJ_LINEAR, .swiglu = true, .no_k_bias = true,
     .trunk_names = true, .text_prefix = true},
};
static const pupil_mask_draw draw = {.seed = 3, .step = 40};

typedef struct {
    pupil_clip *c;
    pupil_masks m;
    float *p;
    int64_t total;
} net;

/* Parameters drawn anew; log alpha around `alpha`. */
static net net_new(const pupil_arch *a, double alpha, double spread)
{
    net n = {.c = pupil_clip_new(a)};
    GOOD(pupil_masks_check(a, "s"));
    pupil_masks_add(n.c, &n.m);
    const pupil_table *t = pupil_clip_table(n.c);
    n.total = t->total;
    n.p = floats(n.total);
    for (int64_t i = 0; i < t->n; i++) {
        pupil_rng r = pupil_rng_at(12, PUPIL_STREAM_TEST, (uint64_t)i);
        bool logs = strstr(t->t[i].name, "log_alpha") != NULL;
        for (int64_t j = 0; j < t->t[i].count; j++)
            n.p[t->t[i].offset + j] = (float)((logs ? alpha : 0) + (logs ? spread : 0.3) * pupil_rng_normal(&r));
    }
    return n;
}

static void net_free(net *n)
{
    pupil_clip_free(&n->c);
    pupil_free(&n->p);
}

static void gradients_by_differences(void **state)
{
    for (int f = 0; f < PUPIL_COUNT(families); f++) {
        net n = net_new(&families[f], 0.2, 0.5);
        float *masked = floats(n.total), *grads = floats(n.total);
        double *weight = normals(7, n.total, 0, 1);
        for (int64_t i = 0; i < n.total; i++) grads[i] = (float)weight[i];
        for (int64_t i = n.m.first; i < n.total; i++) grads[i] = (float)(weight[i] = 0);
        pupil_masks_backward(n.c, &n.m, n.p, &draw, grads);
        int64_t moved = 0;
        pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, 5);
        for (int k = 0; k < 400; k++) {
            int64_t s = k % 2, i = k < 200 ? n.m.alpha[s] + (int64_t)pupil_rng_below(&r, (uint64_t)n.m.n[s])
                                           : (int64_t)pupil_rng_below(&r, (uint64_t)n.m.first);
            float keep = n.p[i], h = 1.0f / 256;
            double value[2] = {0, 0};
            for (int side = 0; side < 2; side++) {
                n.p[i] = keep + (side ? h : -h);
                pupil_masks_apply(n.c, &n.m, n.p, &draw, masked);
                for (int64_t j = 0; j < n.m.first; j++) value[side] += weight[j] * (double)masked[j];
            }
            n.p[i] = keep;
            double want = (value[1] - value[0]) / (2 * (double)h), got = (double)grads[i];
            moved += i >= n.m.first && got != 0;
            /* a gate that closes or opens within the difference has none */
            if (i >= n.m.first && (got == 0) != (want == 0)) continue;
            CHECK(fabs(want - got) <= 2e-3 * (1 + fabs(want)), "parameter %d: %g, by differences %g", (int)i, got, want);
        }
        CHECK(moved > 40, "only %d gates have a slope", (int)moved);
        pupil_free(&masked);
        pupil_free(&grads);
        pupil_free(&weight);
        net_free(&n);
    }
}

static void the_lagrangian_by_differences(void **state)
{
    net n = net_new(&families[0], 0.5, 1);
    double target = 0.7;
    float *grads = floats(n.total), *none = floats(n.total);
    double value = pupil_masks_penalty(&n.m, n.p, target, grads), by_hand = 0;
    for (int s = 0; s < 2; s++) {
        double d = target - pupil_masks_sparsity(&n.m, n.p, s);
        const float *l = n.p + n.m.multipliers[s];
        CHECK(d > 0.1, "nothing is missing of tower %d", s);
        by_hand += (double)l[0] * d + (double)l[1] * d * d;
    }
    CHECK(fabs(value - by_hand) <= 1e-9, "penalty %g, by hand %g", value, by_hand);
    for (int64_t i = 0; i < n.total; i++) {
        bool multiplier = false;
        for (int s = 0; s < 2; s++) multiplier |= i >= n.m.multipliers[s] && i < n.m.multipliers[s] + 2;
        float keep = n.p[i], h = 1.0f / 64;
        if (i < n.m.first) {
            CHECK(grads[i] == 0, "weight %d has a penalty", (int)i);
            continue;
        }
        n.p[i] = keep + h;
        double high = pupil_masks_penalty(&n.m, n.p, target, none);
        n.p[i] = keep - h;
        double want = (high - pupil_masks_penalty(&n.m, n.p, target, none)) / (2 * (double)h);
        n.p[i] = keep;
        CHECK(fabs((multiplier ? -want : want) - (double)grads[i]) <= 1e-5, "parameter %d: %g, by differences %g", (int)i, (double)grads[i], want);
    }
    memset(grads, 0, (size_t)n.total * sizeof *grads);
    CHECK(pupil_masks_penalty(&n.m, n.p, 0.01, grads) == 0, "what is sparse enough is punished");
    for (int64_t i = 0; i < n.total; i++) CHECK(grads[i] == 0, "what is sparse enough has a gradient");
    pupil_free(&grads);
    pupil_free(&none);
    net_free(&n);
}

/* Of all draws of many steps. */
static void closed_as_often_as_expected(void **state)
{
    net n = net_new(&families[0], 0.3, 1);
    float *masked = floats(n.total);
    int64_t closed[2] = {0, 0}, of[2] = {0, 0};
    const char *const names[] = {"visual.transformer.resblocks.%d.mlp.c_proj.weight", "transformer.resblocks.%d.mlp.c_proj.weight"};
    for (uint64_t step = 0; step < 400; step++) {
        pupil_masks_apply(n.c, &n.m, n.p, &(pupil_mask_draw){9, step}, masked);
        for (int s = 0; s < 2; s++)
            for (int l = 0; l < (s ? 2 : 3); l++) {
                char name[96];
                snprintf(name, sizeof name, names[s], l);
                const pupil_tensor *t = pupil_table_find(pupil_clip_table(n.c), name);
                for (int64_t i = 0; i < t->shape[1]; i++) closed[s] += masked[t->offset + i] == 0;
                of[s] += t->shape[1];
            }
    }
    for (int s = 0; s < 2; s++) {
        double seen = (double)closed[s] / (double)of[s], want = pupil_masks_sparsity(&n.m, n.p, s);
        CHECK(fabs(seen - want) < 0.015, "tower %d: %g of its gates are closed, expected %g", s, seen, want);
    }
    pupil_free(&masked);
    net_free(&n);
}

static void embed(pupil_clip *c, float *params, float *out)
{
    enum { PAIRS = 3 };
    const pupil_arch *a = pupil_clip_arch(c);
    int64_t pixels = PAIRS * 3 * a->image_size * a->image_size;
    float *image = floats(pixels);
    int32_t ids[PAIRS * 7], cu[PAIRS + 1] = {0};
    pupil_rng r = pupil_rng_at(5, PUPIL_STREAM_TEST, 99);
    for (int64_t i = 0; i < pixels; i++) image[i] = (float)pupil_rng_normal(&r);
    for (int i = 0; i < PAIRS * 7; i++) ids[i] = (int32_t)pupil_rng_below(&r, 13);
    for (int i = 0; i < PAIRS; i++) cu[i + 1] = cu[i] + 4 + i;
    pupil_weights *w = pupil_weights_flat(params);
    pupil_acts *acts = pupil_acts_new(c, PAIRS, false);
    pupil_scratch *s = pupil_scratch_new(c, PAIRS);
    pupil_image_forward(c, w, acts, s, image, PAIRS, out);
    pupil_text_forward(c, w, acts, s, ids, cu, PAIRS, out + PAIRS * a->embed_dim);
    pupil_acts_free(&acts);
    pupil_scratch_free(&s);
    pupil_weights_free(&w);
    pupil_free(&image);
}

/* As many gates closed in every layer, and the others half open, open or anything: the smaller model is the masked one. */
static void the_smaller_model_is_the_masked_one(void **state)
{
    for (int f = 0; f < PUPIL_COUNT(families); f++) {
        net n = net_new(&families[f], 1, 1);
        static const double some[] = {0.3, 1.5, 4.6, -0.4, 3};
        for (int s = 0; s < 2; s++)
            for (int64_t i = 0; i < n.m.n[s]; i++) n.p[n.m.alpha[s] + i] = (float)(i % 2 ? -50 : some[i % 5]);
        pupil_masks_clamp(&n.m, n.p);
        float *masked = floats(n.total), want[36], got[36];
        pupil_masks_apply(n.c, &n.m, n.p, NULL, masked);
        embed(n.c, masked, want);
        pupil_arch a = families[f];
        a.image.mlp = 10, a.text.mlp = 7;
        pupil_clip *to = pupil_clip_new(&a);
        float *small = floats(pupil_clip_table(to)->total);
        GOOD(pupil_masks_fuse(n.c, &n.m, n.p, to, small));
        embed(to, small, got);
        for (int i = 0; i < 36; i++) CHECK(fabsf(want[i] - got[i]) <= 2e-5f * (1 + fabsf(want[i])), "%g became %g", (double)want[i], (double)got[i]);
        pupil_clip_free(&to);
        pupil_free(&small);
        pupil_free(&masked);
        net_free(&n);
    }
}

static void open_gates_change_nothing(void **state)
{
    net n = net_new(&families[0], 0, 0);
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < n.m.n[s]; i++) n.p[n.m.alpha[s] + i] = 1e9f;
    pupil_masks_clamp(&n.m, n.p);
    float *masked = floats(n.total);
    pupil_masks_apply(n.c, &n.m, n.p, NULL, masked);
    assert_memory_equal(masked, n.p, (size_t)n.total * sizeof *masked);
    pupil_arch a = pupil_masks_arch(n.c, &n.m, n.p);
    assert_int_equal(a.image.mlp, 20);
    assert_int_equal(a.text.mlp, 14);
    pupil_free(&masked);
    net_free(&n);
}

static void refused(void **state)
{
    pupil_arch map = families[0], norm = families[1];
    map.pool = PUPIL_POOL_MAP;
    norm.inner_norm = true;
    assert_int_equal(pupil_masks_check(&map, "student.prune"), PUPIL_EUSER);
    assert_non_null(strstr(pupil_reason(), "student.prune: not for a model with attention pooling"));
    assert_int_equal(pupil_masks_check(&norm, "student.prune"), PUPIL_EUSER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_by_differences),
        cmocka_unit_test(the_lagrangian_by_differences),
        cmocka_unit_test(closed_as_often_as_expected),
        cmocka_unit_test(the_smaller_model_is_the_masked_one),
        cmocka_unit_test(open_gates_change_nothing),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
