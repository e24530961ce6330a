/* AdamW, schedule, norm and clipping against plain double twins; ranges and who owns them change no bit. */
#include "../proof.h"

#include "pupil/math.h"
#include "pupil/optim.h"

static const pupil_conf_train settings = {.steps = 100,
                                          .lr = 5e-4,
                                          .wd = 0.2,
                                          .beta1 = 0.9,
                                          .beta2 = 0.98,
                                          .eps = 1e-6,
                                          .warmup = 10,
                                          .grad_clip_norm = 1};

static void schedule(void **state)
{
    pupil_conf_train c = settings;
    /* open_clip's cosine_lr by hand: warm-up from lr/10 to lr, half of it half-way, towards 0 */
    assert_true(fabs(pupil_lr_at(&c, 0) - 5e-5) < 1e-18 && fabs(pupil_lr_at(&c, 9) - 5e-4) < 1e-18 &&
                fabs(pupil_lr_at(&c, 10) - 5e-4) < 1e-18);
    assert_true(fabs(pupil_lr_at(&c, 55) - 2.5e-4) < 1e-18 &&
                fabs(pupil_lr_at(&c, 32) - 5e-4 * 0.5 * (1 + cos(M_PI * 22 / 90))) < 1e-18);
    for (int64_t s = 10; s < 99; s++)
        assert_true(pupil_lr_at(&c, s + 1) < pupil_lr_at(&c, s) && pupil_lr_at(&c, s + 1) > 0);
    c.warmup = 0;
    assert_true(pupil_lr_at(&c, 0) == 5e-4);
    c.steps = c.warmup = 5; /* nothing but warm-up */
    for (int64_t s = 0; s < 5; s++) assert_true(fabs(pupil_lr_at(&c, s) - 1e-4 * (double)(s + 1)) < 1e-18);
    assert_true(isfinite(pupil_lr_at(&c, 5)));
}

static void schedules(void **state)
{
    pupil_conf_train c = settings;
    c.lr_min = 1e-4;
    assert_true(fabs(pupil_lr_at(&c, 4) - 2.5e-4) < 1e-18); /* the warm-up is from 0 in all of them */
    assert_true(fabs(pupil_lr_at(&c, 55) - 3e-4) < 1e-18 && fabs(pupil_lr_at(&c, 100) - 1e-4) < 1e-18);
    c.lr_schedule = PUPIL_LR_LINEAR;
    assert_true(fabs(pupil_lr_at(&c, 10) - 5e-4) < 1e-18 && fabs(pupil_lr_at(&c, 40) - (1e-4 + 4e-4 * 2 / 3)) < 1e-18);
    assert_true(fabs(pupil_lr_at(&c, 100) - 1e-4) < 1e-18 && fabs(pupil_lr_at(&c, 5) - 3e-4) < 1e-18);
    c.lr_schedule = PUPIL_LR_CONSTANT;
    assert_true(pupil_lr_at(&c, 9) == 5e-4 && pupil_lr_at(&c, 57) == 5e-4 && pupil_lr_at(&c, 99) == 5e-4);
}

static void clipping(void **state)
{
    assert_true(pupil_clip_factor(0, 1) == 1 && pupil_clip_factor(0.5, 1) == 1 &&
                pupil_clip_factor(123, 0) == 1);
    assert_true(fabs(pupil_clip_factor(4, 1) - 1 / (4 + 1e-6)) < 1e-16);
}

static void ranges(void **state)
{
    static const int64_t sizes[] = {
        0, 1, 16, PUPIL_CHUNK - 1, PUPIL_CHUNK, PUPIL_CHUNK + 1, 10 * PUPIL_CHUNK + 5, 3000001};
    for (int i = 0; i < PUPIL_COUNT(sizes); i++)
        for (int ranks = 1; ranks <= 13; ranks++) {
            int64_t at[14];
            pupil_optim_ranges(sizes[i], ranks, at);
            assert_int_equal(at[0], 0);
            assert_int_equal(at[ranks], sizes[i]);
            for (int r = 0; r < ranks; r++) {
                assert_true(at[r] <= at[r + 1]);
                assert_true(at[r] % PUPIL_CHUNK == 0 || at[r] == sizes[i]);
                assert_true(at[r + 1] - at[r] <= (sizes[i] / PUPIL_CHUNK / ranks + 2) * PUPIL_CHUNK);
            }
        }
}

enum { N = 3 * PUPIL_CHUNK + 4321 };

static void norm_by_ranges(void **state)
{
    double *x = normals(1, N, 0.1, 2), want = l2(x, N), whole[4], norm = 0;
    float *g = to_floats(x, N);
    pupil_grad_sumsq(g, 0, N, whole);
    norm = pupil_grad_norm(whole, N);
    assert_true(fabs(norm / want - 1) < 1e-12);
    for (int ranks = 2; ranks <= 6; ranks++) {
        int64_t at[7];
        double sums[4] = {-1, -1, -1, -1};
        pupil_optim_ranges(N, ranks, at);
        for (int r = 0; r < ranks; r++) pupil_grad_sumsq(g + at[r], at[r], at[r + 1], sums);
        assert_memory_equal(sums, whole, sizeof sums);
        assert_true(pupil_grad_norm(sums, N) == norm);
    }
    DROP(x, g);
}

/* torch.optim.AdamW by its documentation, in double. */
static void plain_adamw(double *p, double *m, double *v, const double *g, int64_t n, double lr, double wd,
                        double clip, int64_t t)
{
    const pupil_conf_train *c = &settings;
    for (int64_t i = 0; i < n; i++) {
        double gi = g[i] * clip;
        p[i] -= lr * wd * p[i];
        m[i] = c->beta1 * m[i] + (1 - c->beta1) * gi;
        v[i] = c->beta2 * v[i] + (1 - c->beta2) * gi * gi;
        double mh = m[i] / (1 - pow(c->beta1, (double)t)), vh = v[i] / (1 - pow(c->beta2, (double)t));
        p[i] -= lr * mh / (sqrt(vh) + c->eps);
    }
}

static const pupil_decay_run runs[] = {
    {0, 1000, true, 0, 0}, {1008, 20000, false, 0, 0}, {21008, N - 21008 - 16, true, 0, 0}}; /* with gaps */

static void step_against_the_plain_one(void **state)
{
    double *p = normals(1, N, 0, 1), *m = doubles(N), *v = doubles(N);
    float *fp = to_floats(p, N), *fm = floats(N), *fv = floats(N), *start = to_floats(p, N);
    for (int64_t t = 1; t <= 20; t++) {
        double *g = normals((uint64_t)t + 5, N, 0.01, 0.1), lr = pupil_lr_at(&settings, t - 1),
               clip = t % 2 ? 0.37 : 1;
        float *fg = to_floats(g, N);
        for (int r = 0; r < 3; r++)
            plain_adamw(p + runs[r].offset, m + runs[r].offset, v + runs[r].offset, g + runs[r].offset,
                        runs[r].count, lr, runs[r].decay ? settings.wd : 0, clip, t);
        pupil_adamw(fp, fm, fv, fg, 0, N, runs, 3, &settings, lr, clip, t);
        DROP(g, fg);
    }
    double e = max_error(fp, p, N), em = max_error(fm, m, N), ev = max_error(fv, v, N);
    print_message("20 steps: parameters off by %.1e, moments by %.1e and %.1e\n", e, em, ev);
    assert_true(e < 5e-6 && em < 1e-7 && ev < 1e-8);
    static const int64_t gaps[] = {1000, 1003, 1007, N - 16, N - 1};
    for (int i = 0; i < PUPIL_COUNT(gaps); i++)
        assert_true(fp[gaps[i]] == start[gaps[i]] && fm[gaps[i]] == 0); /* what no run covers stays */
    DROP(p, m, v, fp, fm, fv, start);
}

static void ranges_change_no_bit(void **state)
{
    double *p = normals(1, N, 0, 1), *g = normals(2, N, 0, 1);
    float *fg = to_floats(g, N), *want[3];
    for (int i = 0; i < 3; i++) want[i] = i ? floats(N) : to_floats(p, N);
    for (int t = 1; t <= 3; t++)
        pupil_adamw(want[0], want[1], want[2], fg, 0, N, runs, 3, &settings, 1e-3, 0.5, t);
    for (int ranks = 2; ranks <= 7; ranks++) {
        int64_t at[8];
        float *got[3];
        pupil_optim_ranges(N, ranks, at);
        for (int i = 0; i < 3; i++) got[i] = i ? floats(N) : to_floats(p, N);
        for (int t = 1; t <= 3; t++)
            for (int r = ranks - 1; r >= 0; r--)
                pupil_adamw(got[0], got[1], got[2], fg + at[r], at[r], at[r + 1], runs, 3, &settings, 1e-3,
                            0.5, t);
        for (int i = 0; i < 3; i++) {
            assert_memory_equal(got[i], want[i], N * sizeof(float));
            pupil_free(&got[i]);
        }
    }
    DROP(p, g, fg, want[0], want[1], want[2]);
}

/* The second run at its own rate is as if all had gone at that rate. */
static void a_run_at_its_own_rate(void **state)
{
    enum { EACH = 40 };
    double *x = normals(3, 2 * EACH, 0, 1), *y = normals(4, 2 * EACH, 0, 1);
    float *p[3], *m[3], *v[3], *g = to_floats(y, 2 * EACH);
    pupil_decay_run own[] = {{0, EACH, true, 0, 0}, {EACH, EACH, false, 0, 0.02}}, same[] = {{0, EACH, true, 0, 0}, {EACH, EACH, false, 0, 0}};
    for (int k = 0; k < 3; k++) {
        p[k] = to_floats(x, 2 * EACH);
        m[k] = floats(2 * EACH);
        v[k] = floats(2 * EACH);
        for (int t = 1; t < 4; t++) pupil_adamw(p[k], m[k], v[k], g, 0, 2 * EACH, k ? same : own, 2, &settings, k == 2 ? 0.02 : 0.1, 1, t);
    }
    assert_memory_equal(p[0], p[1], EACH * sizeof(float));
    assert_memory_equal(p[0] + EACH, p[2] + EACH, EACH * sizeof(float));
    CHECK(memcmp(p[0] + EACH, p[1] + EACH, EACH * sizeof(float)), "both rates are the same");
    for (int k = 0; k < 3; k++) {
        pupil_free(&p[k]);
        pupil_free(&m[k]);
        pupil_free(&v[k]);
    }
    pupil_free(&g);
    pupil_free(&x);
    pupil_free(&y);
}

static void no_gradient_means_decay_alone(void **state)
{
    float p[4] = {1, -2, 0.5f, 0}, m[4] = {0}, v[4] = {0}, g[4] = {0};
    pupil_decay_run all = {0, 4, true, 0, 0};
    pupil_adamw(p, m, v, g, 0, 4, &all, 1, &settings, 0.01, 1, 1);
    float keep = (float)(1 - 0.01 * 0.2);
    assert_true(p[0] == keep && p[1] == -2 * keep && p[2] == 0.5f * keep && p[3] == 0);
}

/* Runs that lie apart in the parameters and together in all else do what one would do alone. */
static void runs_may_lie_apart(void **state)
{
    enum { FIRST = 40, GAP = 24, SECOND = 32 };
    pupil_decay_run apart[] = {{0, FIRST, true, 0, 0}, {FIRST, SECOND, false, GAP, 0}};
    double *x = normals(1, FIRST + GAP + SECOND, 0, 1), *y = normals(2, FIRST + SECOND, 0, 1);
    float *p = to_floats(x, FIRST + GAP + SECOND), *g = to_floats(y, FIRST + SECOND), *m = floats(FIRST + SECOND), *v = floats(FIRST + SECOND);
    float *a = to_floats(x, FIRST), *b = to_floats(x + FIRST + GAP, SECOND), *am = floats(FIRST), *av = floats(FIRST), *bm = floats(SECOND),
          *bv = floats(SECOND);
    pupil_decay_run one[] = {{0, FIRST, true, 0, 0}}, two[] = {{0, SECOND, false, 0, 0}};
    for (int t = 1; t < 4; t++) {
        pupil_adamw(p, m, v, g, 0, FIRST + SECOND, apart, 2, &settings, 0.1, 1, t);
        pupil_adamw(a, am, av, g, 0, FIRST, one, 1, &settings, 0.1, 1, t);
        pupil_adamw(b, bm, bv, g + FIRST, 0, SECOND, two, 1, &settings, 0.1, 1, t);
    }
    assert_memory_equal(p, a, FIRST * sizeof *p);
    assert_memory_equal(p + FIRST + GAP, b, SECOND * sizeof *p);
    assert_memory_equal(m + FIRST, bm, SECOND * sizeof *m);
    for (int i = 0; i < GAP; i++) assert_true(p[FIRST + i] == (float)x[FIRST + i]);
    float *mean = floats(FIRST + SECOND), *part = floats(FIRST + SECOND);
    double want[FIRST + SECOND] = {0};
    for (int t = 0; t < 30; t++) {
        pupil_ema(mean, p, 0, FIRST + SECOND, apart, 2, 0.9);
        pupil_ema(part, p, 0, 17, apart, 2, 0.9);
        pupil_ema(part, p, 17, FIRST + SECOND, apart, 2, 0.9);
        for (int i = 0; i < FIRST + SECOND; i++) want[i] = 0.9 * want[i] + 0.1 * (double)p[i < FIRST ? i : i + GAP];
        for (int i = 0; i < FIRST + GAP + SECOND; i++) p[i] += 0.01f;
    }
    assert_true(max_error(mean, want, FIRST + SECOND) < 1e-6);
    assert_memory_equal(mean, part, (FIRST + SECOND) * sizeof *mean);
    DROP(x, y, p, g, m, v, a, b, am, av, bm, bv, mean, part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedule),
        cmocka_unit_test(schedules),
        cmocka_unit_test(runs_may_lie_apart),
        cmocka_unit_test(clipping),
        cmocka_unit_test(ranges),
        cmocka_unit_test(norm_by_ranges),
        cmocka_unit_test(step_against_the_plain_one),
        cmocka_unit_test(ranges_change_no_bit),
        cmocka_unit_test(a_run_at_its_own_rate),
        cmocka_unit_test(no_gradient_means_decay_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
