/* The same bits: run again, on other threads where a kernel claims so, and wherever in memory the arrays lie.
 * The last is what makes a slot's rows come out the same whichever place among a rank's slots they have. */
#include "../proof.h"

#include "pupil/math.h"

enum { N = 131, WIDTH = 192, HEADS = 3, HD = 64, SEQ = 4 };
static const int32_t cu[SEQ + 1] = {0, 50, 51, 84, N};

/* All kernels on one set of inputs, written to fresh memory that starts `shift` floats after a cache line. */
static float *all_kernels(int shift, int64_t *ret_n)
{
    const int64_t wide = N * 3 * WIDTH, room = 64 * wide;
    float *memory = floats(room + 64), *at = memory + shift;
#define TAKE(n) (at += (n), at - (n))
    double *in = normals(9, wide, 0, 1);
    float *x = TAKE(wide), *g = TAKE(WIDTH), *b = TAKE(3 * WIDTH), *w = TAKE(3 * WIDTH * WIDTH);
    for (int64_t i = 0; i < wide; i++) x[i] = (float)in[i];
    for (int64_t i = 0; i < WIDTH; i++) g[i] = (float)in[i + 7];
    for (int64_t i = 0; i < 3 * WIDTH; i++) b[i] = (float)in[i + 1000];
    for (int64_t i = 0; i < 3 * WIDTH * WIDTH; i++) w[i] = (float)in[i % wide] * 0.1f;
    float *out = at, *y = TAKE(wide), *mean = TAKE(N), *rstd = TAKE(N), *dx = TAKE(N * WIDTH),
          *dg = TAKE(WIDTH), *db = TAKE(WIDTH);
    pupil_layernorm_forward(y, mean, rstd, x, g, b, N, WIDTH, 1e-5f);
    pupil_layernorm_backward(dx, dg, db, y, x, mean, rstd, g, N, WIDTH, false);
    float *qkv = TAKE(wide), *att = TAKE(N * WIDTH), *dqkv = TAKE(wide), *dw = TAKE(3 * WIDTH * WIDTH),
          *db3 = TAKE(3 * WIDTH), *dln = TAKE(N * WIDTH);
    pupil_linear_forward(qkv, y, w, b, N, WIDTH, 3 * WIDTH);
    pupil_attention_forward(att, qkv, cu, SEQ, HEADS, HD, true, NULL);
    pupil_attention_backward(dqkv, att, qkv, cu, SEQ, HEADS, HD, true, NULL);
    pupil_linear_backward(dln, dw, db3, dqkv, y, w, N, WIDTH, 3 * WIDTH);
    float *act = TAKE(wide), *dact = TAKE(wide), *unit = TAKE(N * WIDTH), *norm = TAKE(N),
          *dn = TAKE(N * WIDTH), *p = TAKE(wide), *lse = TAKE(2 * N);
    memcpy(dact, x, (size_t)wide * sizeof *x);
    pupil_bias_act_forward(act, dact, b, N, 3 * WIDTH, false);
    pupil_act_backward(dact, act, dact, wide, false);
    pupil_normalize_forward(unit, norm, x, N, WIDTH);
    pupil_normalize_backward(dn, dx, unit, norm, N, WIDTH);
    double sums[N];
    pupil_logsumexp_rows(sums, x, N, 3 * WIDTH);
    pupil_exp_minus(p, x, sums, NULL, N, 3 * WIDTH);
    memcpy(lse, sums, sizeof sums);
    double sq[8];
    float *tail = TAKE(16);
    pupil_sumsq_chunks(sq, x, wide);
    memcpy(tail, sq, sizeof sq / 8 * (size_t)((wide + PUPIL_CHUNK - 1) / PUPIL_CHUNK));
    *ret_n = at - out;
    assert_true(at - memory < room);
    float *copy = floats(*ret_n);
    memcpy(copy, out, (size_t)*ret_n * sizeof *out);
    DROP(memory, in);
    return copy;
}

static int64_t differences(const float *a, const float *b, int64_t n)
{
    int64_t d = 0;
    for (int64_t i = 0; i < n; i++) d += memcmp(a + i, b + i, sizeof *a) != 0;
    return d;
}

static void twice_the_same(void **state)
{
    int64_t n;
    for (int threads = 1; threads <= 2; threads++) {
        pupil_math_set_threads(threads);
        float *a = all_kernels(0, &n), *b = all_kernels(0, &n);
        assert_int_equal(differences(a, b, n), 0);
        DROP(a, b);
    }
    pupil_math_set_threads(1);
}

static void wherever_in_memory(void **state)
{
    int64_t n;
    pupil_math_set_threads(1);
    float *a = all_kernels(0, &n);
    for (int shift = 1; shift < 16; shift += 2) {
        float *b = all_kernels(shift, &n);
        CHECK(differences(a, b, n) == 0,
              "%d of %d values differ when arrays start %d floats after a cache line",
              (int)differences(a, b, n), (int)n, shift);
        DROP(b);
    }
    DROP(a);
}

/* Kernels whose sums do not cross threads: the same bits on two threads as on one. */
static void on_two_threads(void **state)
{
    enum { ROWS = 500, W = 300 };
    float *result[2][8];
    double *in = normals(5, ROWS * W, 0, 1), *c = normals(6, ROWS * W, 0, 1);
    float *x = to_floats(in, ROWS * W), *dy = to_floats(c, ROWS * W), *w = floats(1 * W),
          *g = to_floats(c, W);
    for (int t = 0; t < 2; t++) {
        pupil_math_set_threads(t + 1);
        float **r = result[t];
        for (int i = 0; i < 8; i++) r[i] = floats(ROWS * W);
        float *mean = floats(ROWS), *rstd = floats(ROWS);
        pupil_linear_backward(NULL, NULL, r[0], dy, NULL, NULL, ROWS, 1, W); /* column sums alone */
        pupil_layernorm_forward(r[1], mean, rstd, x, g, g, ROWS, W, 1e-5f);
        pupil_layernorm_backward(r[2], r[3], r[4], dy, x, mean, rstd, g, ROWS, W, false);
        pupil_act_backward(r[5], dy, x, ROWS * W, true);
        pupil_add(r[6], x, ROWS * W);
        double sums[ROWS];
        pupil_logsumexp_rows(sums, x, ROWS, W);
        pupil_exp_minus(r[7], x, sums, NULL, ROWS, W);
        DROP(mean, rstd);
    }
    for (int i = 0; i < 8; i++) {
        CHECK(differences(result[0][i], result[1][i], ROWS * W) == 0,
              "result %d differs between 1 and 2 threads", i);
        DROP(result[0][i], result[1][i]);
    }
    pupil_math_set_threads(1);
    DROP(in, c, x, dy, w, g);
}

static void engine(void **state)
{
    assert_true(strlen(pupil_blas_kernel()) > 0);
    const char *better = pupil_blas_better_kernel();
    print_message("OpenBLAS kernel %s, better %s\n", pupil_blas_kernel(), better ? better : "none");
    if (getenv("OPENBLAS_CORETYPE") && *getenv("OPENBLAS_CORETYPE")) assert_null(better);
    pupil_math_set_threads(0);
    assert_int_equal(pupil_math_threads(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twice_the_same),
        cmocka_unit_test(wherever_in_memory),
        cmocka_unit_test(on_two_threads),
        cmocka_unit_test(engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
