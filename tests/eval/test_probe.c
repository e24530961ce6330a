/* test_probe.c: the head's gradient against differences, what it must and must not be able to learn, determinism. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "pupil/math.h"

#define assert_near(got, want, eps) assert_true(fabs((got) - (want)) <= (eps))

static float *noise(int64_t n, double scale, uint64_t index)
{
    float *x = pupil_alloc((size_t)n * sizeof *x);
    pupil_rng r = pupil_rng_at(2, PUPIL_STREAM_TEST, index);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * pupil_rng_normal(&r));
    return x;
}

/* The loss written as a textbook would, in double. */
static double plain_loss(const probe *p, const float *x, const float *target, int64_t n)
{
    const float *w1 = p->param, *w2 = w1 + p->hidden * p->features, *b1 = p->param + p->matrices, *b2 = b1 + p->hidden;
    double loss = 0, a[64];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < p->hidden; k++) {
            double h = (double)b1[k];
            for (int64_t j = 0; j < p->features; j++) h += (double)w1[k * p->features + j] * (double)x[i * p->features + j];
            a[k] = h * 0.5 * (1 + erf(h / sqrt(2)));
        }
        for (int64_t k = 0; k < p->answers; k++) {
            double z = (double)b2[k];
            for (int64_t j = 0; j < p->hidden; j++) z += (double)w2[k * p->hidden + j] * a[j];
            loss += log(1 + exp(z)) - (double)target[i * p->answers + k] * z;
        }
    }
    return loss / (double)n;
}

static void test_gradient(void **state)
{
    enum { N = 7, FEATURES = 11, HIDDEN = 6, ANSWERS = 5 };
    probe p;
    probe_init(&p, FEATURES, HIDDEN, ANSWERS, N + 3, 9);
    float *x = noise(N * FEATURES, 1, 1), *bias = noise(HIDDEN + ANSWERS, 0.5, 2), target[N * ANSWERS];
    memcpy(p.param + p.matrices, bias, (HIDDEN + ANSWERS) * sizeof *bias);
    for (int64_t i = 0; i < HIDDEN * ANSWERS; i++) p.param[HIDDEN * FEATURES + i] *= 20; /* logits of both signs */
    for (int i = 0; i < N * ANSWERS; i++) target[i] = (float)(i * 7 % 11) / 10;
    double loss = probe_gradient(&p, x, target, N);
    assert_near(loss, plain_loss(&p, x, target, N), 1e-5 * loss);
    for (int64_t i = 0; i < p.count; i++) {
        float w = p.param[i], step = 1e-3f;
        p.param[i] = w + step;
        float up = p.param[i];
        double above = plain_loss(&p, x, target, N);
        p.param[i] = w - step;
        double below = plain_loss(&p, x, target, N), slope = (above - below) / (double)(up - p.param[i]);
        p.param[i] = w;
        assert_near((double)p.grad[i], slope, 2e-5 * (1 + fabs(slope)));
    }
    pupil_free(&x);
    pupil_free(&bias);
    probe_free(&p);
}

static void test_large_logits(void **state)
{
    probe p;
    probe_init(&p, 2, 3, 70, 1, 9);
    float x[2] = {1, -1}, target[70] = {1};
    for (int k = 0; k < 70; k++) p.param[p.matrices + 3 + k] = k % 2 ? 500 : -500;
    double loss = probe_gradient(&p, x, target, 1);
    assert_near(loss, 36 * 500.0 + 0, 30); /* 35 wrong highs, one wrong low */
    for (int64_t i = 0; i < p.count; i++) assert_true(isfinite((double)p.grad[i]));
    probe_free(&p);
}

/* A planted world: the picture holds a colour and a shape among noise, the question asks for one of them, and
 * colour questions come with a prior. Full inputs can answer; each half alone cannot beat its own limit. */
enum { DIM = 32, IMAGES = 900, TRAIN = 2400, TEST = 800, EPOCHS = 12, COLOURS = 4, SHAPES = 3, ANSWERS = COLOURS + SHAPES };
typedef struct {
    pupil_probe_data train, test;
    float *target;
    int32_t *truth;
} world;

static void plant(world *w, pupil_probe_data *data, int64_t n, float *image, int64_t first, const float *code, uint64_t stream)
{
    float *question = noise(n * DIM, 0.02, stream);
    int64_t *row = pupil_alloc((size_t)n * sizeof *row);
    *data = (pupil_probe_data){image, question, row, IMAGES, n};
    pupil_rng r = pupil_rng_at(3, PUPIL_STREAM_TEST, stream);
    for (int64_t i = 0; i < n; i++) {
        row[i] = first + (int64_t)pupil_rng_below(&r, IMAGES / 2);
        int64_t colour = row[i] % COLOURS, shape = row[i] / COLOURS % SHAPES, ask = (int64_t)pupil_rng_below(&r, 2);
        for (int j = 0; j < DIM; j++) question[i * DIM + j] += code[(ANSWERS + ask) * DIM + j] + code[(ANSWERS + 2) * DIM + j];
        int32_t answer = (int32_t)(ask ? COLOURS + shape : colour);
        if (first == 0) w->target[i * ANSWERS + answer] = 1;
        else w->truth[i] = answer;
    }
}

static world make_world(void)
{
    world w = {.target = pupil_alloc(TRAIN * ANSWERS * sizeof(float)), .truth = pupil_alloc(TEST * sizeof(int32_t))};
    float *code = noise((ANSWERS + 3) * DIM, 0.2, 5), *image = noise(IMAGES * DIM, 0.1, 6);
    for (int64_t i = 0; i < IMAGES; i++)
        for (int j = 0; j < DIM; j++)
            image[i * DIM + j] += code[i % COLOURS * DIM + j] + code[(COLOURS + i / COLOURS % SHAPES) * DIM + j] +
                                  3 * code[(ANSWERS + 2) * DIM + j]; /* a large shared mean, as CLIP's embeddings have */
    plant(&w, &w.train, TRAIN, image, 0, code, 7);
    plant(&w, &w.test, TEST, image, IMAGES / 2, code, 8);
    pupil_free(&code);
    return w;
}

static void world_free(world *w)
{
    void *owned[] = {(void *)w->train.image, (void *)w->train.question, (void *)w->train.image_row,
                     (void *)w->test.question, (void *)w->test.image_row, w->target, w->truth};
    for (int i = 0; i < PUPIL_COUNT(owned); i++) pupil_free(&owned[i]);
}

static void count_tick(void *ctx, int64_t done, int64_t of)
{
    int64_t *calls = ctx;
    assert_int_equal(done, ++*calls);
    assert_int_equal(of, EPOCHS);
}

static double run(const world *w, pupil_probe_inputs inputs, uint64_t seed, int32_t *answer)
{
    pupil_probe_conf c = {.inputs = inputs, .dim = DIM, .hidden = 64, .epochs = EPOCHS, .batch = 128, .lr = 2e-3, .seed = seed};
    int64_t calls = 0, right = 0;
    assert_int_equal(pupil_probe_run(&c, &w->train, w->target, ANSWERS, &w->test, answer, count_tick, &calls), 0);
    assert_int_equal(calls, EPOCHS);
    for (int i = 0; i < TEST; i++) right += answer[i] == w->truth[i];
    return (double)right / TEST;
}

static void test_learns_what_it_sees(void **state)
{
    world w = make_world();
    int32_t *answer = pupil_alloc(TEST * sizeof *answer), *again = pupil_alloc(TEST * sizeof *again);
    double full = run(&w, PUPIL_PROBE_FULL, 1, answer), question = run(&w, PUPIL_PROBE_QUESTION, 1, again);
    double image = run(&w, PUPIL_PROBE_IMAGE, 1, again);
    print_message("full %.3f, question only %.3f, image only %.3f\n", full, question, image);
    assert_true(full > 0.97);
    assert_true(question < 0.40); /* 1/4 and 1/3 by chance */
    assert_true(image > 0.4 && image < 0.6); /* knows both answers, not which is asked for */
    run(&w, PUPIL_PROBE_FULL, 1, again);
    assert_memory_equal(answer, again, TEST * sizeof *answer);
    pupil_free(&answer);
    pupil_free(&again);
    world_free(&w);
}

static void test_refusals(void **state)
{
    world w = make_world();
    int32_t answer[TEST];
    memset(answer, 77, sizeof answer);
    pupil_probe_conf c = {.dim = DIM, .hidden = 8, .epochs = 1, .batch = 64, .lr = 1e-3, .seed = 1};
    ((float *)w.train.question)[5] = NAN;
    assert_int_equal(pupil_probe_run(&c, &w.train, w.target, ANSWERS, &w.test, answer, NULL, NULL), PUPIL_ENUMERIC);
    w.train.n = 0;
    assert_int_equal(pupil_probe_run(&c, &w.train, w.target, ANSWERS, &w.test, answer, NULL, NULL), PUPIL_EUSER);
    assert_int_equal(answer[0], 0x4d4d4d4d); /* untouched */
    world_free(&w);
}

int main(void)
{
    pupil_math_set_threads(1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradient), cmocka_unit_test(test_large_logits),
                                       cmocka_unit_test(test_learns_what_it_sees), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
