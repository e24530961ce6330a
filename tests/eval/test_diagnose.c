/* test_diagnose.c: zero-shot classification, similarity to the teacher, spread and rank, each against a plain twin in double
 * or a case whose value is known. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "eigen.h"
#include "pupil/eval.h"

#define NEAR(got, want, eps)                                                                                 \
    do {                                                                                                     \
        double got_ = (got), want_ = (want);                                                                 \
        if (!(fabs(got_ - want_) <= (eps))) fail_msg("%.12g, expected %.12g", got_, want_);                   \
    } while (0)

static float *noise(int64_t n, int64_t dim, uint64_t index)
{
    float *x = pupil_alloc((size_t)(n * dim) * sizeof *x);
    pupil_rng r = pupil_rng_at(3, PUPIL_STREAM_TEST, index);
    for (int64_t i = 0; i < n * dim; i++) x[i] = (float)pupil_rng_normal(&r);
    return x;
}

static double *unit_twin(const float *x, int64_t n, int64_t dim)
{
    double *u = pupil_alloc((size_t)(n * dim) * sizeof *u);
    for (int64_t i = 0; i < n; i++) {
        double square = 0;
        for (int64_t d = 0; d < dim; d++) square += (double)x[i * dim + d] * (double)x[i * dim + d];
        for (int64_t d = 0; d < dim; d++) u[i * dim + d] = (double)x[i * dim + d] / sqrt(square);
    }
    return u;
}

static double dot(const double *a, const double *b, int64_t dim)
{
    double sum = 0;
    for (int64_t d = 0; d < dim; d++) sum += a[d] * b[d];
    return sum;
}

/* ---- eigenvalues ---------------------------------------------------------------------------------- */
static void test_eigenvalues(void **state)
{
    /* the second-difference matrix: 2 - 2 cos(k pi / (n + 1)), hidden by a reflection */
    enum { N = 9 };
    double a[N * N] = {0}, v[N], h[N * N], t[N * N] = {0}, b[N * N] = {0}, got[N], square = 0;
    for (int i = 0; i < N; i++) {
        v[i] = sin(i + 1.0);
        square += v[i] * v[i];
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            h[i * N + j] = (i == j) - 2 * v[i] * v[j] / square;
            a[i * N + j] = i == j ? 2 : i - j == 1 || j - i == 1 ? -1 : 0;
        }
    for (int i = 0; i < N * N; i++)
        for (int k = 0; k < N; k++) t[i] += h[i / N * N + k] * a[k * N + i % N];
    for (int i = 0; i < N * N; i++)
        for (int k = 0; k < N; k++) b[i] += t[i / N * N + k] * h[k * N + i % N];
    eigenvalues(b, N, got);
    for (int k = 1; k <= N; k++) {
        double want = 2 - 2 * cos(k * 3.14159265358979323846 / (N + 1)), nearest = 9;
        for (int i = 0; i < N; i++) nearest = PUPIL_MIN(nearest, fabs(got[i] - want));
        assert_true(nearest < 1e-13);
    }
    double zero[4] = {0}, one = 7, value[2];
    eigenvalues(zero, 2, value);
    assert_true(value[0] == 0 && value[1] == 0);
    eigenvalues(&one, 1, value);
    assert_true(value[0] == 7);
}

/* Moments of all sizes: trace, sum of squares, and the number of those above zero of a matrix of known rank. */
static void test_eigenvalues_of_any_size(void **state)
{
    for (int64_t n = 1; n <= 40; n++) {
        int64_t rank = (n + 1) / 2, above = 0;
        float *x = noise(n, rank, (uint64_t)n);
        double *g = pupil_alloc((size_t)(n * n) * sizeof *g), *value = pupil_alloc((size_t)n * sizeof *value), trace = 0, squares = 0,
               sum = 0, square_sum = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                for (int64_t k = 0; k < rank; k++) g[i * n + j] += (double)x[i * rank + k] * (double)x[j * rank + k];
                squares += g[i * n + j] * g[i * n + j];
            }
        for (int64_t i = 0; i < n; i++) trace += g[i * n + i];
        eigenvalues(g, n, value);
        for (int64_t i = 0; i < n; i++) {
            sum += value[i];
            square_sum += value[i] * value[i];
            above += value[i] > 1e-9 * trace;
        }
        NEAR(sum, trace, 1e-11 * trace);
        NEAR(square_sum, squares, 1e-11 * squares);
        assert_int_equal(above, rank);
        pupil_free(&x);
        pupil_free(&g);
        pupil_free(&value);
    }
}

/* ---- likeness --------------------------------------------------------------------------------------- */
static double hsic_twin(const double *k, const double *l, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n * n; i++) sum += k[i] * l[i];
    return sum;
}

/* H x x' H */
static double *centred_kernel(const float *x, int64_t n, int64_t dim)
{
    double *k = pupil_alloc((size_t)(n * n) * sizeof *k), *row = pupil_alloc((size_t)n * sizeof *row), all = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            for (int64_t d = 0; d < dim; d++) k[i * n + j] += (double)x[i * dim + d] * (double)x[j * dim + d];
            row[i] += k[i * n + j] / (double)n;
            all += k[i * n + j] / (double)(n * n);
        }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) k[i * n + j] += all - row[i] - row[j];
    pupil_free(&row);
    return k;
}

static void test_cka(void **state)
{
    enum { N = 90, A = 24, B = 37 };
    float *x = noise(N, A, 1), *y = noise(N, B, 2);
    for (int i = 0; i < N; i++) /* partly alike, and off centre */
        for (int d = 0; d < A; d++) y[i * B + d] = 0.5f * y[i * B + d] + x[i * A + d] + 3;
    double *k = centred_kernel(x, N, A), *l = centred_kernel(y, N, B);
    NEAR(pupil_linear_cka(x, A, y, B, N), hsic_twin(k, l, N) / sqrt(hsic_twin(k, k, N) * hsic_twin(l, l, N)), 1e-10);
    float *turned = pupil_alloc(N * A * sizeof *turned);
    for (int i = 0; i < N; i++)
        for (int d = 0; d < A; d++) turned[i * A + d] = -4 * x[i * A + (d + 5) % A] + 1;
    NEAR(pupil_linear_cka(x, A, turned, A, N), 1, 1e-6);
    float still[2] = {1, 1};
    assert_true(pupil_linear_cka(still, 1, still, 1, 2) == 0);
    pupil_free(&x);
    pupil_free(&y);
    pupil_free(&k);
    pupil_free(&l);
    pupil_free(&turned);
}

static double kl_twin(const double *tv, const double *tt, int64_t td, double ts, const double *sv, const double *st, int64_t sd, double ss, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double zt = 0, zs = 0;
        for (int64_t j = 0; j < n; j++) {
            zt += exp(ts * dot(tv + i * td, tt + j * td, td));
            zs += exp(ss * dot(sv + i * sd, st + j * sd, sd));
        }
        for (int64_t j = 0; j < n; j++) {
            double a = ts * dot(tv + i * td, tt + j * td, td) - log(zt), b = ss * dot(sv + i * sd, st + j * sd, sd) - log(zs);
            sum += exp(a) * (a - b);
        }
    }
    return sum / (double)n;
}

static void test_affinity(void **state)
{
    enum { N = 130, T = 20, S = 12 };
    float *tv = noise(N, T, 3), *tt = noise(N, T, 4), *sv = noise(N, S, 5), *st = noise(N, S, 6);
    double *a = unit_twin(tv, N, T), *b = unit_twin(tt, N, T), *c = unit_twin(sv, N, S), *d = unit_twin(st, N, S);
    pupil_pairs_of teacher = {tv, tt, T, 20}, student = {sv, st, S, 7};
    double want = (kl_twin(a, b, T, 20, c, d, S, 7, N) + kl_twin(b, a, T, 20, d, c, S, 7, N)) / 2;
    NEAR(pupil_affinity_kl(&teacher, &student, N), want, 1e-5 * want);
    NEAR(pupil_affinity_kl(&teacher, &teacher, N), 0, 1e-12);
    double align = 0, spread = 0;
    for (int i = 0; i < N; i++) {
        align += 2 - 2 * dot(a + i * T, b + i * T, T);
        for (int j = 0; j < i; j++) spread += exp(-4 * (1 - dot(a + i * T, a + j * T, T)));
    }
    NEAR(pupil_alignment(tv, tt, N, T), align / N, 1e-6);
    NEAR(pupil_uniformity(tv, N, T), log(spread / (N * (N - 1) / 2)), 1e-6);
    assert_true(pupil_uniformity(tv, 1, T) == 0);
    float *each[] = {tv, tt, sv, st};
    double *twin[] = {a, b, c, d};
    for (int i = 0; i < 4; i++) {
        pupil_free(&each[i]);
        pupil_free(&twin[i]);
    }
}

static void test_effective_rank(void **state)
{
    enum { N = 60, D = 12, USED = 5 };
    float *x = pupil_alloc(N * D * sizeof *x), *wide = pupil_alloc(D * N * sizeof *wide);
    for (int i = 0; i < N; i++) x[i * D + i % USED] = 2; /* equal shares of five directions */
    NEAR(pupil_effective_rank(x, N, D), USED, 1e-9);
    for (int i = 0; i < D; i++) wide[i * N + i % USED + 9] = 3; /* fewer rows than columns: shares 3, 3, 2, 2, 2 of 12 */
    double entropy = 0, sum = 2 * sqrt(3) + 3 * sqrt(2);
    for (int k = 0; k < USED; k++) {
        double p = sqrt(k < 2 ? 3 : 2) / sum;
        entropy -= p * log(p);
    }
    NEAR(pupil_effective_rank(wide, D, N), exp(entropy), 1e-9);
    NEAR(pupil_effective_rank(x, 1, D), 1, 1e-9);
    pupil_free(&x);
    pupil_free(&wide);
}

/* ---- zero-shot ---------------------------------------------------------------------------------------- */
static void test_zero_shot(void **state)
{
    enum { CLASSES = 300, TEMPLATES = 3, DIM = 40, N = 500 };
    float *text = noise(CLASSES * TEMPLATES, DIM, 7), *image = noise(N, DIM, 8), *w = pupil_alloc(CLASSES * DIM * sizeof *w);
    for (int k = 0; k < DIM; k++) text[k] *= 50; /* a long embedding counts no more than a short one */
    pupil_zero_shot_weights(text, CLASSES, TEMPLATES, DIM, w);
    double *u = unit_twin(text, CLASSES * TEMPLATES, DIM), *v = unit_twin(image, N, DIM);
    for (int c = 0; c < CLASSES; c++) {
        double mean[DIM] = {0}, norm = 0;
        for (int k = 0; k < TEMPLATES * DIM; k++) mean[k % DIM] += u[c * TEMPLATES * DIM + k];
        for (int k = 0; k < DIM; k++) norm += mean[k] * mean[k];
        for (int k = 0; k < DIM; k++) NEAR((double)w[c * DIM + k], mean[k] / sqrt(norm), 1e-6);
    }
    int64_t label[N], rank[N], subset[CLASSES / 3];
    double *score = pupil_alloc(CLASSES * sizeof *score);
    for (int third = 0; third < 2; third++) {
        for (int k = 0; k < CLASSES / 3; k++) subset[k] = 3 * k + 1;
        for (int i = 0; i < N; i++) label[i] = third ? 3 * (i % (CLASSES / 3)) + 1 : i % CLASSES;
        assert_int_equal(pupil_zero_shot_ranks(image, N, DIM, w, CLASSES, third ? subset : NULL, CLASSES / 3, label, rank), 0);
        for (int i = 0; i < N; i++) {
            int64_t want = 0;
            for (int c = 0; c < CLASSES; c++) {
                score[c] = 0;
                for (int k = 0; k < DIM; k++) score[c] += (double)w[c * DIM + k] * v[i * DIM + k];
            }
            for (int c = 0; c < CLASSES; c++) want += (!third || c % 3 == 1) && score[c] > score[label[i]];
            assert_int_equal(rank[i], want);
        }
    }
    label[3] = 0;
    assert_int_equal(pupil_zero_shot_ranks(image, N, DIM, w, CLASSES, subset, CLASSES / 3, label, rank), PUPIL_EUSER);
    assert_non_null(strstr(pupil_reason(), "picture 3 is of class 0"));
    memcpy(w + 5 * DIM, w + 2 * DIM, DIM * sizeof *w);
    assert_int_equal(pupil_nearest_text(w + 5 * DIM, w, CLASSES, DIM), 2);
    pupil_free(&text);
    pupil_free(&image);
    pupil_free(&w);
    pupil_free(&u);
    pupil_free(&v);
    pupil_free(&score);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eigenvalues), cmocka_unit_test(test_eigenvalues_of_any_size), cmocka_unit_test(test_cka),
        cmocka_unit_test(test_affinity),    cmocka_unit_test(test_effective_rank),          cmocka_unit_test(test_zero_shot),
    };
    return cmocka_run_group_tests_name("diagnose", tests, NULL, NULL);
}
