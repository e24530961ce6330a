/* Every backward against central differences of the plain twin in double. L = sum(c * f(x)) for a random c;
 * the step of 1e-5 leaves about 1e-9 in the difference quotient, so what is seen is the float32 error of the
 * fast kernel. */
#include "../proof.h"

#include "pupil/math.h"

static const int64_t odd[] = {1, 3, 17, 64, 65};

typedef double (*objective)(void *what);

/* dL/dx[i] at up to 40 places of x[n], against got[]. `base` is what got[] held before the kernel added to
 * it. */
static void gradient(const char *name, objective f, void *what, double *x, const float *got, double base,
                     int64_t n, double tolerance)
{
    int64_t step = n <= 40 ? 1 : n / 37;
    double scale = 0, worst = 0;
    for (int64_t i = 0; i < n; i += step) {
        double keep = x[i], h = 1e-5;
        x[i] = keep + h;
        double up = f(what);
        x[i] = keep - h;
        double want = (up - f(what)) / (2 * h);
        x[i] = keep;
        scale = fmax(scale, fabs(want));
        double e = fabs((double)got[i] - base - want);
        if (!(e <= worst)) worst = e;
    }
    CHECK(worst <= tolerance * fmax(scale, 1), "d%s: error %.3g on gradients up to %.3g", name, worst, scale);
}

/* An array that already holds 0.5 everywhere: what must be added to, not overwritten. */
static float *halves(int64_t n)
{
    float *x = floats(n);
    for (int64_t i = 0; i < n; i++) x[i] = 0.5f;
    return x;
}

typedef struct {
    int64_t n, in, out, heads, hd, nseq;
    double *x, *w, *b, *y, *c;
    bool causal;
    pupil_activation act;
    int32_t *cu, *pool;
} work;

static double linear_value(void *p)
{
    work *k = p;
    pupil_plain_linear(k->y, k->x, k->w, k->b, k->n, k->in, k->out);
    return dot_of(k->y, k->c, k->n * k->out);
}

static void linear(void **state)
{
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            work k = {.n = odd[i], .in = odd[j], .out = odd[(i + j) % 5]};
            k.x = normals(1, k.n * k.in, 0, 1), k.w = normals(2, k.out * k.in, 0, 1),
            k.b = normals(3, k.out, 0, 1);
            k.c = normals(4, k.n * k.out, 0, 1), k.y = doubles(k.n * k.out);
            float *x = to_floats(k.x, k.n * k.in), *w = to_floats(k.w, k.out * k.in),
                  *dy = to_floats(k.c, k.n * k.out);
            float *dx = halves(k.n * k.in), *dw = halves(k.out * k.in), *db = halves(k.out);
            pupil_linear_backward(dx, dw, db, dy, x, w, k.n, k.in, k.out);
            gradient("x", linear_value, &k, k.x, dx, 0, k.n * k.in, 1e-5);
            gradient("w", linear_value, &k, k.w, dw, 0.5, k.out * k.in, 1e-5);
            gradient("b", linear_value, &k, k.b, db, 0.5, k.out, 1e-5);
            float *dw2 = halves(k.out * k.in);
            pupil_linear_backward(NULL, dw2, NULL, dy, x, w, k.n, k.in, k.out);
            assert_memory_equal(dw, dw2, (size_t)(k.out * k.in) * sizeof *dw);
            DROP(k.x, k.w, k.b, k.c, k.y, x, w, dy, dx, dw, db, dw2);
        }
}

static double act_value(void *p)
{
    work *k = p;
    double s = 0;
    for (int64_t i = 0; i < k->n; i++) s += k->c[i] * pupil_plain_act(k->x[i], k->act);
    return s;
}

static void activation(void **state)
{
    for (pupil_activation act = PUPIL_GELU; act <= PUPIL_GELU_TANH; act++) {
        work k = {.n = 997, .act = act};
        k.x = normals(1, k.n, 0, 3), k.c = normals(2, k.n, 0, 1);
        float *h = to_floats(k.x, k.n), *dy = to_floats(k.c, k.n), *dh = floats(k.n);
        pupil_act_backward(dh, dy, h, k.n, act);
        gradient("h", act_value, &k, k.x, dh, 0, k.n, 3e-6);
        pupil_act_backward(dy, dy, h, k.n, act); /* in place */
        assert_memory_equal(dh, dy, (size_t)k.n * sizeof *dy);
        DROP(k.x, k.c, h, dy, dh);
    }
}

static double swiglu_value(void *p)
{
    work *k = p;
    pupil_plain_swiglu(k->y, k->x, k->n, k->in);
    return dot_of(k->y, k->c, k->n * k->in);
}

static void swiglu(void **state)
{
    for (int i = 0; i < 5; i++) {
        work k = {.n = odd[i], .in = odd[4 - i]};
        int64_t outs = k.n * k.in;
        k.x = normals(1, 2 * outs, 0, 2), k.c = normals(2, outs, 0, 1), k.y = doubles(outs);
        float *h = to_floats(k.x, 2 * outs), *dy = to_floats(k.c, outs), *dh = floats(2 * outs), *y = floats(outs);
        float *none = floats(2 * k.in);
        swiglu_value(&k);
        pupil_bias_swiglu_forward(y, h, none, k.n, k.in);
        CHECK(max_error(y, k.y, outs) < 1e-5, "swiglu: error %.3g", max_error(y, k.y, outs));
        pupil_swiglu_backward(dh, dy, h, k.n, k.in);
        gradient("h", swiglu_value, &k, k.x, dh, 0, 2 * outs, 1e-5);
        DROP(k.x, k.c, k.y, h, dy, dh, y, none);
    }
}

static double norm_value(void *p)
{
    work *k = p;
    pupil_plain_layernorm(k->y, k->x, k->w, k->b, k->n, k->in, 1e-5);
    return dot_of(k->y, k->c, k->n * k->in);
}

static void layer_norm(void **state)
{
    for (int i = 0; i < 5; i++)
        for (int j = 1; j < 5; j++) {
            work k = {.n = odd[i], .in = odd[j]};
            int64_t count = k.n * k.in;
            k.x = normals(1, count, 2, 1.5), k.w = normals(2, k.in, 1, 0.3), k.b = normals(3, k.in, 0, 1),
            k.c = normals(4, count, 0, 1), k.y = doubles(count);
            float *x = to_floats(k.x, count), *g = to_floats(k.w, k.in), *b = to_floats(k.b, k.in),
                  *dy = to_floats(k.c, count), *y = floats(count);
            float *mean = floats(k.n), *rstd = floats(k.n), *dx = halves(count), *add = halves(count),
                  *dg = halves(k.in), *db = halves(k.in);
            pupil_layernorm_forward(y, mean, rstd, x, g, b, k.n, k.in, 1e-5f);
            pupil_layernorm_backward(dx, dg, db, dy, x, mean, rstd, g, k.n, k.in, false);
            gradient("x", norm_value, &k, k.x, dx, 0, count, 3e-5);
            gradient("gamma", norm_value, &k, k.w, dg, 0.5, k.in, 1e-5);
            gradient("beta", norm_value, &k, k.b, db, 0.5, k.in, 1e-5);
            pupil_layernorm_backward(add, dg, db, dy, x, mean, rstd, g, k.n, k.in, true);
            gradient("x", norm_value, &k, k.x, add, 0.5, count, 3e-5);
            pupil_layernorm_backward(dy, dg, db, dy, x, mean, rstd, g, k.n, k.in, false); /* in place of dy */
            assert_memory_equal(dx, dy, (size_t)count * sizeof *dy);
            DROP(k.x, k.w, k.b, k.c, k.y, x, g, b, dy, y, mean, rstd, dx, add, dg, db);
        }
}

static double attention_value(void *p)
{
    work *k = p;
    pupil_plain_attention(k->y, k->x, k->cu, k->nseq, k->heads, k->hd, k->causal, k->pool);
    return dot_of(k->y, k->c, (k->pool ? k->nseq : k->n) * k->heads * k->hd);
}

static void attention(void **state)
{
    static const int64_t head[][2] = {{1, 16}, {3, 5}, {2, 1}};
    int32_t cu[5] = {0, 1, 18, 21, 40}, pool[4];
    for (int j = 0; j < 3; j++)
        for (int mode = 0; mode < 6; mode++) {
            work k = {.n = cu[4],
                      .nseq = 4,
                      .heads = head[j][0],
                      .hd = head[j][1],
                      .causal = mode % 2,
                      .cu = cu,
                      .pool = mode >= 2 ? pool : NULL};
            for (int s = 0; s < 4; s++) pool[s] = mode < 4 ? cu[s + 1] - 1 : cu[s] + (cu[s + 1] - cu[s]) / 2;
            int64_t width = k.heads * k.hd, in = k.n * 3 * width, outs = (k.pool ? k.nseq : k.n) * width;
            k.x = normals(1, in, 0, 1), k.c = normals(2, outs, 0, 1), k.y = doubles(outs);
            float *qkv = to_floats(k.x, in), *dy = to_floats(k.c, outs), *d = floats(in);
            for (int64_t i = 0; i < in; i++) d[i] = NAN; /* all of it is written */
            pupil_attention_backward(d, dy, qkv, cu, k.nseq, k.heads, k.hd, k.causal, k.pool);
            assert_true(pupil_all_finite(d, in));
            gradient("qkv", attention_value, &k, k.x, d, 0, in, 1e-5);
            for (int64_t i = 0; i < in; i += 7) { /* denser, over rows that sequences share a border with */
                double keep = k.x[i];
                k.x[i] = keep + 1e-5;
                double up = attention_value(&k);
                k.x[i] = keep - 1e-5;
                double want = (up - attention_value(&k)) / 2e-5;
                k.x[i] = keep;
                CHECK(fabs((double)d[i] - want) < 2e-5, "dqkv[%d], mode %d: %.8g, expected %.8g", (int)i,
                      mode, (double)d[i], want);
            }
            DROP(k.x, k.c, k.y, qkv, dy, d);
        }
}

static double pool_value(void *p)
{
    work *k = p;
    pupil_plain_pool_attention(k->y, k->w, k->x, k->cu, k->nseq, k->heads, k->hd);
    return dot_of(k->y, k->c, k->nseq * k->heads * k->hd);
}

static void pool_attention(void **state)
{
    static const int64_t head[][2] = {{1, 16}, {3, 5}, {2, 1}};
    int32_t cu[5] = {0, 1, 18, 21, 40};
    for (int j = 0; j < 3; j++) {
        work k = {.n = cu[4], .nseq = 4, .heads = head[j][0], .hd = head[j][1], .cu = cu};
        int64_t width = k.heads * k.hd, in = k.n * 2 * width, outs = k.nseq * width;
        k.x = normals(1, in, 0, 1), k.w = normals(3, width, 0, 1), k.c = normals(2, outs, 0, 1), k.y = doubles(outs);
        float *kv = to_floats(k.x, in), *q = to_floats(k.w, width), *dy = to_floats(k.c, outs), *y = floats(outs);
        float *dkv = floats(in), *dq = floats(width);
        for (int64_t i = 0; i < in; i++) dkv[i] = NAN; /* all of it is written */
        pool_value(&k);
        pupil_pool_attention_forward(y, q, kv, cu, k.nseq, k.heads, k.hd);
        CHECK(max_error(y, k.y, outs) < 1e-5, "attention pooling: error %.3g", max_error(y, k.y, outs));
        pupil_pool_attention_backward(dq, dkv, dy, q, kv, cu, k.nseq, k.heads, k.hd);
        gradient("kv", pool_value, &k, k.x, dkv, 0, in, 1e-5);
        gradient("q", pool_value, &k, k.w, dq, 0, width, 1e-5);
        DROP(k.x, k.w, k.c, k.y, kv, q, dy, y, dkv, dq);
    }
}

static void rotary_positions(void **state)
{
    enum { TOKENS = 5, FIRST = 1, HEADS = 3, HD = 8, ROWS = 4 * TOKENS, COUNT = ROWS * 3 * HEADS * HD };
    double *x = normals(1, COUNT, 0, 1), *angle = normals(2, (TOKENS - FIRST) * HD / 2, 0, 3), *want = doubles(COUNT);
    float *f = to_floats(x, COUNT), c[(TOKENS - FIRST) * HD / 2], s[(TOKENS - FIRST) * HD / 2];
    for (int i = 0; i < PUPIL_COUNT(c); i++) c[i] = (float)cos(angle[i]), s[i] = (float)sin(angle[i]);
    memcpy(want, x, COUNT * sizeof *x);
    pupil_plain_rope(want, angle, ROWS, TOKENS, FIRST, HEADS, HD);
    pupil_rope(f, c, s, ROWS, TOKENS, FIRST, HEADS, HD, false);
    CHECK(max_error(f, want, COUNT) < 2e-6, "rope: error %.3g", max_error(f, want, COUNT));
    assert_true(max_error(f, x, COUNT) > 1); /* something was turned */
    pupil_rope(f, c, s, ROWS, TOKENS, FIRST, HEADS, HD, true); /* a rotation's gradient is its inverse */
    CHECK(max_error(f, x, COUNT) < 2e-6, "turned back: error %.3g", max_error(f, x, COUNT));
    DROP(x, angle, want, f);
}

static double normalize_value(void *p)
{
    work *k = p;
    pupil_plain_normalize(k->y, k->x, k->n, k->in);
    return dot_of(k->y, k->c, k->n * k->in);
}

static void normalize(void **state)
{
    for (int i = 0; i < 5; i++) {
        work k = {.n = odd[i], .in = odd[4 - i] + 1};
        int64_t count = k.n * k.in;
        k.x = normals(1, count, 0, 1), k.c = normals(2, count, 0, 1), k.y = doubles(count);
        float *x = to_floats(k.x, count), *dy = to_floats(k.c, count), *y = floats(count),
              *norm = floats(k.n), *dx = halves(count);
        pupil_normalize_forward(y, norm, x, k.n, k.in);
        pupil_normalize_backward(dx, dy, y, norm, k.n, k.in);
        gradient("x", normalize_value, &k, k.x, dx, 0.5, count, 2e-6);
        DROP(k.x, k.c, k.y, x, dy, y, norm, dx);
    }
}

static double rms_norm_value(void *p)
{
    work *k = p;
    pupil_plain_rmsnorm(k->y, k->x, k->w, k->n, k->in, 1e-5);
    return dot_of(k->y, k->c, k->n * k->in);
}

static void rms_norm(void **state)
{
    for (int i = 0; i < 5; i++) {
        work k = {.n = odd[i], .in = odd[4 - i] + 1};
        int64_t count = k.n * k.in;
        k.x = normals(1, count, 0.3, 1), k.w = normals(2, k.in, 1, 0.3), k.c = normals(3, count, 0, 1), k.y = doubles(count);
        float *x = to_floats(k.x, count), *w = to_floats(k.w, k.in), *dy = to_floats(k.c, count), *y = floats(count), *rstd = floats(k.n),
              *dx = halves(count), *dw = halves(k.in);
        pupil_rmsnorm_forward(y, rstd, x, w, k.n, k.in, 1e-5f);
        rms_norm_value(&k);
        CHECK(max_error(y, k.y, count) < 5e-6, "rms norm: error %.3g", max_error(y, k.y, count));
        pupil_rmsnorm_backward(dx, dw, dy, x, rstd, w, k.n, k.in);
        gradient("x", rms_norm_value, &k, k.x, dx, 0.5, count, 2e-6);
        gradient("gamma", rms_norm_value, &k, k.w, dw, 0.5, k.in, 1e-5);
        DROP(k.x, k.w, k.c, k.y, x, w, dy, y, rstd, dx, dw);
    }
}

/* Queries of one stream about keys of another, rows of both laid with gaps and out of order. */
enum { ASKED = 12, SEEN = 20, SEQUENCES = 3 };
static const int32_t q_first[] = {7, 0, 3}, q_count[] = {4, 2, 1}, k_first[] = {0, 14, 6}, k_count[] = {6, 3, 8};
typedef struct {
    pupil_heads h;
    double *q, *kv, *out, *c;
} asking;

static double attend_value(void *p)
{
    asking *k = p;
    pupil_spans at = {q_first, q_count, k_first, k_count, SEQUENCES};
    int64_t wq = k->h.heads * k->h.hd, wkv = k->h.kv_heads * k->h.hd;
    pupil_plain_attend(k->out, k->q, wq, k->kv, k->kv + wkv, 2 * wkv, &at, &k->h);
    return dot_of(k->out, k->c, ASKED * wq);
}

static void attend(void **state)
{
    static const pupil_heads shapes[] = {{4, 2, 6, true}, {4, 4, 5, false}, {6, 2, 8, false}, {3, 1, 4, true}};
    for (int i = 0; i < PUPIL_COUNT(shapes); i++) {
        asking k = {.h = shapes[i]};
        int64_t wq = k.h.heads * k.h.hd, wkv = k.h.kv_heads * k.h.hd;
        pupil_spans at = {q_first, q_count, k_first, k_count, SEQUENCES};
        k.q = normals(1, ASKED * wq, 0, 1), k.kv = normals(2, SEEN * 2 * wkv, 0, 1), k.c = normals(3, ASKED * wq, 0, 1);
        k.out = doubles(ASKED * wq);
        float *q = to_floats(k.q, ASKED * wq), *kv = to_floats(k.kv, SEEN * 2 * wkv), *dout = to_floats(k.c, ASKED * wq), *out = floats(ASKED * wq);
        float *dq = floats(ASKED * wq), *dkv = floats(SEEN * 2 * wkv);
        attend_value(&k);
        pupil_attend_forward(out, q, wq, kv, kv + wkv, 2 * wkv, &at, &k.h);
        CHECK(max_error(out, k.out, ASKED * wq) < 5e-6, "attend %d: error %.3g", i, max_error(out, k.out, ASKED * wq));
        pupil_attend_backward(dq, dkv, dkv + wkv, dout, q, wq, kv, kv + wkv, 2 * wkv, &at, &k.h);
        for (int64_t r = 0; r < ASKED * wq; r++) gradient("q", attend_value, &k, k.q + r, dq + r, 0, 1, 1e-5);
        for (int64_t r = 0; r < SEEN * 2 * wkv; r++) gradient("kv", attend_value, &k, k.kv + r, dkv + r, 0, 1, 1e-5);
        DROP(k.q, k.kv, k.c, k.out, q, kv, dout, out, dq, dkv);
    }
}

/* q, k and v alike and every row its own key: what packed self-attention gives. */
static void attend_is_attention(void **state)
{
    enum { ROWS = 11, HEADS = 3, HD = 4, WIDTH = HEADS * HD };
    static const int32_t cu[] = {0, 4, 11}, count[] = {4, 7};
    double *x = normals(1, ROWS * 3 * WIDTH, 0, 1);
    float *qkv = to_floats(x, ROWS * 3 * WIDTH), a[ROWS * WIDTH], b[ROWS * WIDTH];
    for (int causal = 0; causal < 2; causal++) {
        pupil_spans at = {cu, count, cu, count, 2};
        pupil_attention_forward(a, qkv, cu, 2, HEADS, HD, causal, NULL);
        pupil_attend_forward(b, qkv, 3 * WIDTH, qkv + WIDTH, qkv + 2 * WIDTH, 3 * WIDTH, &at, &(pupil_heads){HEADS, HEADS, HD, causal});
        assert_memory_equal(a, b, sizeof a);
    }
    DROP(x, qkv);
}

static void rotary_halves(void **state)
{
    enum { ROWS = 7, HEADS = 3, HD = 8, LD = HEADS * HD + 5, PLACES = 6, COUNT = ROWS * LD };
    static const int32_t at[ROWS] = {0, 1, 5, 5, 2, 0, 3};
    double *x = normals(1, COUNT, 0, 1), *angle = normals(2, PLACES * HD / 2, 0, 3), *want = doubles(COUNT);
    float *f = to_floats(x, COUNT), c[PLACES * HD / 2], s[PLACES * HD / 2];
    for (int i = 0; i < PUPIL_COUNT(c); i++) c[i] = (float)cos(angle[i]), s[i] = (float)sin(angle[i]);
    memcpy(want, x, COUNT * sizeof *x);
    pupil_plain_rope_halves(want, LD, angle, at, ROWS, HEADS, HD);
    pupil_rope_halves(f, LD, c, s, at, ROWS, HEADS, HD, false);
    CHECK(max_error(f, want, COUNT) < 2e-6, "rope: error %.3g", max_error(f, want, COUNT));
    assert_true(max_error(f, x, COUNT) > 1);
    pupil_rope_halves(f, LD, c, s, at, ROWS, HEADS, HD, true);
    CHECK(max_error(f, x, COUNT) < 2e-6, "turned back: error %.3g", max_error(f, x, COUNT));
    DROP(x, angle, want, f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear),    cmocka_unit_test(activation), cmocka_unit_test(layer_norm),
        cmocka_unit_test(attention), cmocka_unit_test(normalize),  cmocka_unit_test(swiglu),
        cmocka_unit_test(pool_attention), cmocka_unit_test(rotary_positions),
        cmocka_unit_test(rms_norm),  cmocka_unit_test(attend),     cmocka_unit_test(attend_is_attention), cmocka_unit_test(rotary_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
