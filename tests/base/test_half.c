/* test_half.c: every half there is, every rounding there can be, and the fast way against the plain one. */
#include "../proof.h"

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* The value of a finite half, from its definition. */
static double value_of(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double x = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -x : x;
}

static void every_half(void **state)
{
    (void)state;
    uint16_t all[63488], back[63488]; /* the finite ones */
    float fast[63488], plain[63488];
    int64_t n = 0;
    for (uint32_t h = 0; h < 65536; h++)
        if ((h & 0x7c00) != 0x7c00) all[n++] = (uint16_t)h;
    assert_int_equal(n, PUPIL_COUNT(all));
    assert_true(pupil_f16_unpack(fast, all, n));
    assert_true(pupil_plain_f16_unpack(plain, all, n));
    for (int64_t i = 0; i < n; i++)
        CHECK((double)fast[i] == value_of(all[i]) && !signbit(fast[i]) == !(all[i] & 0x8000),
              "half %04x reads as %g", all[i], (double)fast[i]);
    assert_memory_equal(fast, plain, sizeof fast);
    assert_int_equal(pupil_f16_pack(back, fast, n), n);
    assert_memory_equal(back, all, sizeof all);
    assert_int_equal(pupil_plain_f16_pack(back, fast, n), n);
    assert_memory_equal(back, all, sizeof all);
}

/* Between neighbours a < b: below the middle gives a, above gives b, the middle gives the even one. */
static void every_rounding(void **state)
{
    (void)state;
    for (uint16_t h = 0; h < 0x7bff; h++) {
        float a = (float)value_of(h), b = (float)value_of((uint16_t)(h + 1)), mid = (a + b) / 2;
        float in[8] = {nextafterf(mid, a), mid, nextafterf(mid, b), -mid, a, b, nextafterf(a, b),
                       nextafterf(b, a)};
        uint16_t even = (uint16_t)(h + (h & 1)), next = (uint16_t)(h + 1);
        uint16_t want[8] = {h, even, next, (uint16_t)(even | 0x8000), h, next, h, next}, got[8], plain[8];
        assert_int_equal(pupil_f16_pack(got, in, 8), 8);
        assert_int_equal(pupil_plain_f16_pack(plain, in, 8), 8);
        assert_memory_equal(got, want, sizeof want);
        assert_memory_equal(plain, want, sizeof want);
    }
}

static void what_does_not_fit_is_found(void **state)
{
    (void)state;
    const float bad[] = {
        65520.0f, -65520.0f, 1e30f, INFINITY, -INFINITY, NAN, float_of(0x7f800001), float_of(0xffffffff)};
    float x[37];
    uint16_t h[37];
    for (int i = 0; i < 37; i++) x[i] = 65519.996f;
    assert_int_equal(pupil_f16_pack(h, x, 37), 37);
    assert_int_equal(h[0], 0x7bff);
    for (int at = 0; at < 37; at++) {
        for (int k = 0; k < PUPIL_COUNT(bad); k++) {
            float keep = x[at];
            x[at] = bad[k];
            assert_int_equal(pupil_f16_pack(h, x, 37), at);
            assert_int_equal(pupil_plain_f16_pack(h, x, 37), at);
            x[at] = keep;
        }
    }
}

static void what_is_not_finite_is_found(void **state)
{
    (void)state;
    static const uint16_t bad[] = {0x7c00, 0xfc00, 0x7c01, 0xffff};
    uint16_t h[37] = {0};
    float x[37];
    for (int at = 0; at < 37; at++)
        for (int k = 0; k < PUPIL_COUNT(bad); k++) {
            h[at] = bad[k];
            assert_false(pupil_f16_unpack(x, h, 37) || pupil_plain_f16_unpack(x, h, 37));
            h[at] = 0x7bff;
        }
    assert_true(pupil_f16_unpack(x, h, 37));
}

static void random_bits(void **state)
{
    (void)state;
    enum { N = 1 << 18 };
    float *x = floats(N);
    uint16_t *fast = pupil_alloc(N * 2), *plain = pupil_alloc(N * 2);
    pupil_rng r = pupil_rng_at(2, PUPIL_STREAM_TEST, 0);
    for (int64_t i = 0; i < N; i++) do
            x[i] = float_of((uint32_t)pupil_rng_next(&r));
        while (!(fabsf(x[i]) < 65520.0f));
    assert_int_equal(pupil_f16_pack(fast, x, N), N);
    assert_int_equal(pupil_plain_f16_pack(plain, x, N), N);
    assert_memory_equal(fast, plain, N * 2);
    pupil_free(&x);
    pupil_free(&fast);
    pupil_free(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half),
        cmocka_unit_test(every_rounding),
        cmocka_unit_test(what_does_not_fit_is_found),
        cmocka_unit_test(what_is_not_finite_is_found),
        cmocka_unit_test(random_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
