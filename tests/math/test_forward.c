/* Every fast kernel against its plain twin in double, over a grid of odd shapes. Tolerances are relative to
 * the size of what is summed: a float32 sum of n terms of size s is good to about 1e-6 s sqrt(n). */
#include "../proof.h"

#include "pupil/math.h"

static const int64_t odd[] = {1, 3, 17, 64, 65, 197};

static void near(const char *what, const float *got, const double *want, int64_t n, double tolerance)
{
    double e = max_error(got, want, n);
    CHECK(e <= tolerance, "%s: error %.3g, allowed %.3g", what, e, tolerance);
}

static void gemm_all_transposes(void **state)
{
    for (int t = 0; t < 4; t++)
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 6; j++) {
                bool ta = t & 1, tb = t & 2;
                int64_t m = odd[i], n = odd[j], k = odd[(i + 2 * j + t) % 6], lda = (ta ? m : k) + 2,
                        ldb = (tb ? k : n) + 1, ldc = n + 3;
                double *a = normals(1, (ta ? k : m) * lda, 0, 1), *b = normals(2, (tb ? n : k) * ldb, 0, 1),
                       *c = normals(3, m * ldc, 0, 1);
                float *fa = to_floats(a, (ta ? k : m) * lda), *fb = to_floats(b, (tb ? n : k) * ldb),
                      *fc = to_floats(c, m * ldc);
                double alpha = 0.75, beta = t % 2 ? 0.5 : 0;
                pupil_gemm(ta, tb, m, n, k, (float)alpha, fa, lda, fb, ldb, (float)beta, fc, ldc);
                pupil_plain_gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
                near("gemm", fc, c, m * ldc,
                     4e-6 * sqrt((double)k) + 1e-6); /* also what lies between the rows */
                DROP(a, b, c, fa, fb, fc);
            }
}

static void linear_and_bias_residual(void **state)
{
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            int64_t n = odd[i], in = odd[(i + j) % 6], out = odd[j];
            double *x = normals(1, n * in, 0, 1), *w = normals(2, out * in, 0, 1), *b = normals(3, out, 0, 1),
                   *y = doubles(n * out);
            float *fx = to_floats(x, n * in), *fw = to_floats(w, out * in), *fb = to_floats(b, out),
                  *fy = floats(n * out);
            pupil_plain_linear(y, x, w, b, n, in, out);
            pupil_linear_forward(fy, fx, fw, fb, n, in, out);
            near("linear", fy, y, n * out, 4e-6 * sqrt((double)in) + 1e-6);
            pupil_linear_forward(fy, fx, fw, NULL, n, in, out);
            double *res = normals(4, n * out, 0, 1);
            float *fres = to_floats(res, n * out);
            for (int64_t k = 0; k < n * out; k++) y[k] += res[k];
            pupil_bias_residual(fy, fres, fy, fb, n, out); /* in place of x */
            near("bias and residual", fy, y, n * out, 4e-6 * sqrt((double)in) + 1e-6);
            pupil_linear_forward(fy, fx, fw, NULL, n, in, out);
            pupil_bias_residual(fres, fres, fy, fb, n, out); /* in place of res */
            near("bias and residual", fres, y, n * out, 4e-6 * sqrt((double)in) + 1e-6);
            DROP(x, w, b, y, res, fx, fw, fb, fy, fres);
        }
}

static void activations_on_a_fine_grid(void **state)
{
    enum { N = 200001 };
    for (pupil_activation act = PUPIL_GELU; act <= PUPIL_GELU_TANH; act++) {
        float *h = floats(N), *y = floats(N), *d = floats(N), *ones = floats(N), zero[1] = {0};
        double worst = 0, worst_relative = 0, worst_slope = 0, at = 0;
        for (int i = 0; i < N; i++) h[i] = (float)(-10 + 20.0 * i / (N - 1)), ones[i] = 1;
        pupil_bias_act_forward(y, h, zero, N, 1, act);
        pupil_act_backward(d, ones, h, N, act);
        for (int i = 0; i < N; i++) {
            double x = (double)h[i], want = pupil_plain_act(x, act), e = fabs((double)y[i] - want);
            double slope = (pupil_plain_act(x + 1e-5, act) - pupil_plain_act(x - 1e-5, act)) / 2e-5;
            worst = fmax(worst, e);
            if (x > -3 && e / fabs(want) > worst_relative && fabs(want) > 1e-3)
                worst_relative = e / fabs(want), at = x;
            worst_slope = fmax(worst_slope, fabs((double)d[i] - slope));
        }
        print_message("%s on [-10, 10]: error %.2g, relative %.2g (at %.3f), slope %.2g\n",
                      pupil_activation_name(act), worst, worst_relative, at, worst_slope);
        assert_true(worst < 1.5e-6 && worst_relative < 1e-4 && worst_slope < 1e-6);
        DROP(h, y, d, ones);
    }
    for (pupil_activation act = PUPIL_GELU; act <= PUPIL_GELU_TANH; act++) { /* far out: x or 0, never NaN */
        float h[4] = {-1e30f, -200, 200, 1e30f}, y[4], d[4], one[4] = {1, 1, 1, 1}, zero[1] = {0};
        pupil_bias_act_forward(y, h, zero, 4, 1, act);
        pupil_act_backward(d, one, h, 4, act);
        assert_true(fabsf(y[0]) < 1e-5f && fabsf(y[1]) < 1e-5f && y[2] == 200 && y[3] == 1e30f);
        assert_true(fabsf(d[0]) < 1e-5f && fabsf(d[1]) < 1e-5f && d[2] == 1 && d[3] == 1);
    }
}

static void activation_adds_the_bias_and_keeps_the_sum(void **state)
{
    for (int i = 0; i < 6; i++) {
        int64_t n = odd[i], width = odd[5 - i];
        double *h = normals(1, n * width, 0, 2), *b = normals(2, width, 0, 1), *y = doubles(n * width);
        float *fh = to_floats(h, n * width), *fb = to_floats(b, width), *fy = floats(n * width);
        pupil_bias_act_forward(fy, fh, fb, n, width, i % 3);
        for (int64_t k = 0; k < n * width; k++) y[k] = pupil_plain_act(h[k] += b[k % width], i % 3);
        near("activation", fy, y, n * width, 3e-6);
        near("kept sum", fh, h, n * width, 1e-6);
        DROP(h, b, y, fh, fb, fy);
    }
}

static void layer_norm(void **state)
{
    for (int i = 0; i < 6; i++)
        for (int j = 1; j < 6; j++) {
            int64_t n = odd[i], width = odd[j];
            double *x = normals(1, n * width, 3, 2), *g = normals(2, width, 1, 0.3),
                   *b = normals(3, width, 0, 1), *y = doubles(n * width);
            float *fx = to_floats(x, n * width), *fg = to_floats(g, width), *fb = to_floats(b, width),
                  *fy = floats(n * width);
            float *mean = floats(n), *rstd = floats(n);
            pupil_plain_layernorm(y, x, g, b, n, width, 1e-5);
            pupil_layernorm_forward(fy, mean, rstd, fx, fg, fb, n, width, 1e-5f);
            near("layer norm", fy, y, n * width, 2e-5);
            memset(fy, 0, (size_t)(n * width) * sizeof *fy);
            pupil_layernorm_forward(fy, NULL, NULL, fx, fg, fb, n, width, 1e-5f);
            near("layer norm", fy, y, n * width, 2e-5);
            pupil_layernorm_forward(fx, mean, rstd, fx, fg, fb, n, width, 1e-5f); /* in place */
            near("layer norm in place", fx, y, n * width, 2e-5);
            DROP(x, g, b, y, fx, fg, fb, fy, mean, rstd);
        }
    float flat[4] = {5, 5, 5, 5}, y[4], one[4] = {1, 1, 1, 1}, zero[4] = {0}; /* no variance: beta, not NaN */
    pupil_layernorm_forward(y, NULL, NULL, flat, one, zero, 1, 4, 1e-5f);
    for (int i = 0; i < 4; i++) assert_true(y[i] == 0);
}

/* Lengths 1, 3, 17, ... in one packing; pooled or not, causal or not. */
static void attention_packed(void **state)
{
    static const int64_t head[][2] = {{1, 64}, {3, 17}, {2, 32}, {5, 1}};
    int32_t cu[7] = {0}, pool[6];
    for (int s = 0; s < 6; s++) cu[s + 1] = cu[s] + (int32_t)odd[(s * 5 + 2) % 6]; /* not sorted */
    for (int k = 0; k < 4; k++)
        for (int mode = 0; mode < 6; mode++) {
            int64_t heads = head[k][0], hd = head[k][1], width = heads * hd, rows = cu[6];
            bool causal = mode % 2, pooled = mode >= 2;
            for (int s = 0; s < 6; s++)
                pool[s] =
                    mode < 4 ? cu[s + 1] - 1 : cu[s] + (cu[s + 1] - cu[s]) / 2; /* the end, or the middle */
            int64_t outs = (pooled ? 6 : rows) * width;
            double *qkv = normals(1, rows * 3 * width, 0, 1.5), *want = doubles(outs);
            float *f = to_floats(qkv, rows * 3 * width), *got = floats(outs);
            pupil_plain_attention(want, qkv, cu, 6, heads, hd, causal, pooled ? pool : NULL);
            pupil_attention_forward(got, f, cu, 6, heads, hd, causal, pooled ? pool : NULL);
            near("attention", got, want, outs, 1e-5);
            DROP(qkv, want, f, got);
        }
}

static void attention_with_large_logits(void **state)
{
    enum { N = 33, HD = 16 };
    int32_t cu[2] = {0, N};
    double *qkv = normals(7, N * 3 * HD, 0, 1), *want = doubles(N * HD);
    for (int i = 0; i < N; i++)
        for (int d = 0; d < 2 * HD; d++) qkv[i * 3 * HD + d] *= 12; /* logits of a few hundred */
    float *f = to_floats(qkv, N * 3 * HD), *got = floats(N * HD);
    pupil_plain_attention(want, qkv, cu, 1, 1, HD, true, NULL);
    pupil_attention_forward(got, f, cu, 1, 1, HD, true, NULL);
    near("attention", got, want, N * HD, 5e-4); /* float32 logits of 500 are good to 3e-5 */
    DROP(qkv, want, f, got);
}

static void rows(void **state)
{
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            int64_t n = odd[i], width = odd[j];
            double *x = normals(1, n * width, 0, 3), *y = doubles(n * width), *lse = doubles(n),
                   *col = normals(2, width, 10, 1);
            float *fx = to_floats(x, n * width), *fy = floats(n * width), *norm = floats(n);
            pupil_plain_normalize(y, x, n, width);
            pupil_normalize_forward(fy, norm, fx, n, width);
            near("normalise", fy, y, n * width, 2e-7);
            for (int64_t r = 0; r < n; r++)
                assert_true(fabs((double)norm[r] - l2(x + r * width, width)) <=
                            1e-6 * l2(x + r * width, width));
            for (int64_t k = 0; k < n * width; k++) fx[k] = (float)(x[k] *= 20); /* logits */
            pupil_logsumexp_rows(lse, fx, n, width);
            for (int64_t k = 0; k < n * width; k++) x[k] = (double)fx[k];
            for (int64_t r = 0; r < n; r++) {
                double want = pupil_plain_logsumexp(x + r * width, width);
                CHECK(fabs(lse[r] - want) < 3e-7, "log-sum-exp: error %.3g", fabs(lse[r] - want));
            }
            pupil_exp_minus(fy, fx, lse, NULL, n, width);
            double worst = 0;
            for (int64_t k = 0; k < n * width; k++)
                worst = fmax(worst, fabs((double)fy[k] - exp(x[k] - lse[k / width])));
            CHECK(worst < 2e-6, "softmax by rows: error %.3g", worst);
            for (int64_t c = 0; c < width; c++) col[c] += 180;
            pupil_exp_minus(fy, fx, NULL, col, n, width);
            worst = 0;
            for (int64_t k = 0; k < n * width; k++) {
                double a = fmax(-87.3, fmin(88.3, x[k] - col[k % width]));
                worst = fmax(worst, fabs((double)fy[k] / exp(a) - 1));
            }
            CHECK(worst < 1e-5, "exponentials by columns: error %.3g", worst);
            DROP(x, y, lse, col, fx, fy, norm);
        }
    float zero[3] = {0}, y[3], norm;
    pupil_normalize_forward(y, &norm, zero, 1, 3);
    assert_true(y[0] == 0 && y[2] == 0 && norm > 0);
}

/* The exponential behind them all, through differences with a zero subtrahend: error in units of the last
 * place. */
static void exponential_accuracy(void **state)
{
    enum { N = 400000 };
    float *z = floats(N), *p = floats(N);
    double zero[1] = {0}, worst = 0;
    for (int i = 0; i < N; i++) z[i] = (float)(-87.2 + (87.2 + 88.2) * i / (N - 1));
    pupil_exp_minus(p, z, zero, NULL, 1, N);
    for (int i = 0; i < N; i++) {
        double want = exp((double)z[i]);
        worst = fmax(worst,
                     fabs((double)p[i] - want) / (double)(nextafterf((float)want, INFINITY) - (float)want));
    }
    print_message("exp on [-87.2, 88.2]: %.2f units in the last place\n", worst);
    assert_true(worst < 2);
    float far[5] = {-1000, -INFINITY, 88.7f, 1000, NAN};
    pupil_exp_minus(p, far, zero, NULL, 1, 5);
    assert_true(p[0] < 1.3e-38f && p[1] < 1.3e-38f && isfinite(p[2]) && p[2] > 1e38f && isfinite(p[3]) &&
                isnan(p[4]));
    DROP(z, p);
}

static void patches_and_back(void **state)
{
    static const int64_t sizes[][3] = {{1, 4, 2},   {3, 15, 5}, {2, 28, 14}, {1, 32, 32},
                                       {2, 9, 1},   {5, 64, 16}, {2, 15, 4}};
    for (int i = 0; i < PUPIL_COUNT(sizes); i++) {
        int64_t n = sizes[i][0], size = sizes[i][1], patch = sizes[i][2], count = n * 3 * size * size;
        double *x = normals(1, count, 0, 1), *y = doubles(count);
        float *fx = to_floats(x, count), *fy = floats(count), *back = floats(count);
        pupil_plain_patchify(y, x, n, size, patch);
        pupil_patchify(fy, fx, n, size, patch);
        near("patches", fy, y, count, 0);
        for (int64_t k = 0; k < count; k++) {
            int64_t whole = size - size % patch;
            back[k] = 9;
            if (k % size >= whole || k / size % size >= whole) x[k] = 0;
        }
        pupil_unpatchify(back, fy, n, size, patch);
        near("back", back, x, count, 0);
        DROP(x, y, fx, fy, back);
    }
}

static void embeddings(void **state)
{
    enum { WIDTH = 65, VOCAB = 11 };
    int32_t cu[5] = {0, 1, 18, 20, 24}, ids[24];
    for (int i = 0; i < 24; i++) ids[i] = (i * 7) % VOCAB;
    double *table = normals(1, VOCAB * WIDTH, 0, 1), *pos = normals(2, 17 * WIDTH, 0, 1),
           *want = doubles(24 * WIDTH);
    float *ft = to_floats(table, VOCAB * WIDTH), *fp = to_floats(pos, 17 * WIDTH), *got = floats(24 * WIDTH);
    pupil_plain_embed(want, ids, cu, 4, table, pos, WIDTH);
    pupil_embed_forward(got, ids, cu, 4, ft, fp, WIDTH);
    near("embedding", got, want, 24 * WIDTH, 1e-6);
    /* backward: each row's gradient to its token and its position */
    double *dx = normals(3, 24 * WIDTH, 0, 1), *dt = doubles(VOCAB * WIDTH), *dp = doubles(17 * WIDTH);
    float *fdx = to_floats(dx, 24 * WIDTH), *fdt = floats(VOCAB * WIDTH), *fdp = floats(17 * WIDTH);
    for (int s = 0; s < 4; s++)
        for (int r = cu[s]; r < cu[s + 1]; r++)
            for (int j = 0; j < WIDTH; j++)
                dt[ids[r] * WIDTH + j] += dx[r * WIDTH + j], dp[(r - cu[s]) * WIDTH + j] += dx[r * WIDTH + j];
    pupil_embed_backward(fdt, fdp, fdx, ids, cu, 4, WIDTH);
    near("token gradient", fdt, dt, VOCAB * WIDTH, 2e-6);
    near("position gradient", fdp, dp, 17 * WIDTH, 2e-6);
    DROP(table, pos, want, ft, fp, got, dx, dt, dp, fdx, fdt, fdp);
}

static void vectors(void **state)
{
    int64_t n = 2 * PUPIL_CHUNK + 777;
    double *x = normals(1, n, 0, 1), sums[3], sum = 0;
    float *f = to_floats(x, n), *y = to_floats(x, n);
    pupil_sumsq_chunks(sums, f, n);
    for (int c = 0; c < 3; c++) {
        sum = pow(l2(x + c * PUPIL_CHUNK, PUPIL_MIN((int64_t)PUPIL_CHUNK, n - c * PUPIL_CHUNK)), 2);
        assert_true(fabs(sums[c] - sum) <= 1e-12 * sum);
    }
    pupil_add(y, f, n);
    for (int64_t i = 0; i < n; i++) assert_true(y[i] == 2 * f[i]);
    assert_true(pupil_all_finite(f, n) && pupil_all_finite(f, 0));
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        float keep = f[n - 1 - i];
        f[n - 1 - i] = bad[i];
        assert_false(pupil_all_finite(f, n));
        f[n - 1 - i] = keep;
    }
    DROP(x, f, y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_all_transposes),
        cmocka_unit_test(linear_and_bias_residual),
        cmocka_unit_test(activations_on_a_fine_grid),
        cmocka_unit_test(activation_adds_the_bias_and_keeps_the_sum),
        cmocka_unit_test(layer_norm),
        cmocka_unit_test(attention_packed),
        cmocka_unit_test(attention_with_large_logits),
        cmocka_unit_test(rows),
        cmocka_unit_test(exponential_accuracy),
        cmocka_unit_test(patches_and_back),
        cmocka_unit_test(embeddings),
        cmocka_unit_test(vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
