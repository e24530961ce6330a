/* test_planes.c: several views and captions of a sample, in each number format: what is read is what was written, rounded as
 * the format's plain definition has it; each plane by itself; what the rounding costs is told. */
#include "store_proof.h"

#include "cache.h"

enum { BLOCK = 9, DIM = 20, SAMPLES = 31, VIEWS = 3, CAPTIONS = 2 };

static float value(int64_t sample, int side, int k, int64_t d)
{
    uint64_t r = pupil_rng_u64(7, PUPIL_STREAM_TEST, (uint64_t)(((sample * 2 + side) * 8 + k) * 64 + d));
    return ((float)(r % 200001) - 100000.0f) / 30000.0f;
}

/* Plain definitions, a value at a time. */
static double half_ulp(pupil_stored dtype, double x, double most)
{
    int e;
    frexp(x, &e);
    return dtype == PUPIL_STORED_F32 ? 0 : dtype == PUPIL_STORED_I8 ? most / 254 * 1.0001 : ldexp(1, e - (dtype == PUPIL_STORED_F16 ? 12 : 9));
}

static int write_all(const char *dir, const pupil_cache_shape *s)
{
    pupil_identity id = {0};
    pupil_cache *c;
    pupil_cache_writer *w = NULL;
    int64_t generation, published;
    float *x[2] = {floats(VIEWS * BLOCK * DIM), floats(CAPTIONS * BLOCK * DIM)};
    pupil_identity_add(&id, "teacher.logit_scale", "50");
    pupil_identity_shape(&id, s);
    int r = pupil_cache_open(dir, &id, s, &c);
    if (r == 0) r = pupil_cache_generation(c, &generation);
    if (r == 0) r = pupil_cache_writer_new(c, generation, 0, 3, &w);
    for (int64_t b = 0; b < blocks_of(s) && r == 0; b++) {
        int64_t rows = rows_of(s, b);
        for (int side = 0; side < 2; side++)
            for (int k = 0; k < (side ? CAPTIONS : VIEWS); k++)
                for (int64_t i = 0; i < rows * DIM; i++) x[side][k * rows * DIM + i] = value(b * BLOCK + i / DIM, side, k, i % DIM);
        r = pupil_cache_writer_add(w, b, x[0], x[1], rows, &published);
    }
    if (r == 0) r = pupil_cache_writer_flush(w, &published);
    pupil_cache_writer_free(&w);
    pupil_cache_free(&c);
    pupil_identity_free(&id);
    for (int k = 0; k < 2; k++) pupil_free(&x[k]);
    return r;
}

static void check_plane(pupil_cache *c, const pupil_cache_shape *s, int64_t b, int side, int k)
{
    const float *x;
    int64_t rows;
    GOOD(pupil_cache_read(c, b, side, k, &x, &rows));
    assert_int_equal(rows, rows_of(s, b));
    for (int64_t i = 0; i < rows; i++) {
        double most = 0;
        for (int64_t d = 0; d < DIM; d++) most = fmax(most, fabs((double)value(b * BLOCK + i, side, k, d)));
        for (int64_t d = 0; d < DIM; d++) {
            double want = (double)value(b * BLOCK + i, side, k, d), got = (double)x[i * DIM + d];
            CHECK(fabs(want - got) <= half_ulp(s->dtype, want, most), "%s block %lld side %d plane %d row %lld: %g is read as %g",
                  pupil_stored_name[s->dtype], (long long)b, side, k, (long long)i, want, got);
        }
    }
}

static void every_format(void **state)
{
    (void)state;
    for (int type = 0; type < PUPIL_STORED_TYPES; type++) {
        const pupil_cache_shape s = {SAMPLES, BLOCK, DIM, (pupil_stored)type, VIEWS, CAPTIONS};
        char *dir = folder_new();
        pupil_cache *c;
        pupil_buf text = {0}, problems = {0};
        int64_t n;
        GOOD(write_all(dir, &s));
        GOOD(pupil_cache_open_any(dir, &c));
        const pupil_cache_shape *got = pupil_cache_shape_of(c);
        assert_true(got->samples == SAMPLES && got->block == BLOCK && got->dim == DIM && got->dtype == s.dtype && got->views == VIEWS &&
                    got->captions == CAPTIONS);
        pupil_cache_window(c, 4);
        for (int round = 0; round < 2; round++)
            for (int64_t b = blocks_of(&s) - 1; b >= 0; b--) {
                for (int k = 0; k < VIEWS; k++) check_plane(c, &s, b, 0, k);
                for (int k = CAPTIONS - 1; k >= 0; k--) check_plane(c, &s, b, 1, k);
            }
        GOOD(pupil_cache_verify(c, &problems, &n));
        assert_int_equal(n, 0);
        GOOD(pupil_cache_describe(c, true, &text));
        assert_true(!strstr(text.s, "\"error\"") == (type == PUPIL_STORED_F32));
        assert_non_null(strstr(text.s, "\"views\": 3, \"captions\": 2"));
        double each = pupil_cache_sample_bytes(&s), want[] = {200, 400, 200, 120};
        assert_true(each == want[type]);
        pupil_buf_free(&text);
        pupil_cache_free(&c);
        folder_end(&dir);
    }
}

/* Ties go to even, zeros stay zeros, the largest value is +-127. */
static void eight_bits(void **state)
{
    (void)state;
    const pupil_cache_shape s = {4, 4, 4, PUPIL_STORED_I8, 1, 1};
    float x[16] = {127, 0.5f, 1.5f, -2.5f, 0, 0, 0, 0, -1, 1, 0.25f, 0, 1e-30f, 0, 0, 0}, y[16];
    char raw[64];
    assert_int_equal(shape_plane_bytes(&s), 32);
    assert_int_equal(plane_pack(&s, raw, x, 4), 16);
    const int8_t want[16] = {127, 0, 2, -2, 0, 0, 0, 0, -127, 127, 32, 0, 127, 0, 0, 0};
    assert_memory_equal(raw, want, sizeof want);
    assert_true(plane_unpack(&s, y, raw, 4));
    assert_true(y[0] == 127 && y[1] == 0 && y[4] == 0 && y[8] == -1 && y[12] > 0.99e-30f && y[12] < 1.01e-30f);
    x[6] = NAN;
    assert_int_equal(plane_pack(&s, raw, x, 4), 6);
    x[6] = INFINITY;
    assert_int_equal(plane_pack(&s, raw, x, 4), 6);
}

static void bfloat16(void **state)
{
    (void)state;
    const pupil_cache_shape s = {4, 4, 4, PUPIL_STORED_BF16, 1, 1};
    float x[16] = {1, 1.00390625f, 1.01171875f, -1.00390625f, 3e38f, 1e-40f, 0, -0.0f, 65520, 0.1f}, y[16];
    char raw[64];
    assert_int_equal(plane_pack(&s, raw, x, 4), 16);
    assert_true(plane_unpack(&s, y, raw, 4));
    assert_true(y[0] == 1 && y[1] == 1 && y[2] == 1.015625f && y[3] == -1); /* ties to even */
    assert_true(fabsf(y[4] - 3e38f) < 1e36f && y[6] == 0 && fabsf(y[9] - 0.1f) < 2e-4f);
    x[5] = 3.4e38f; /* rounds to infinity */
    assert_int_equal(plane_pack(&s, raw, x, 4), 5);
}

/* Cosine and KL against sums written down anew. */
static void cost(void **state)
{
    (void)state;
    enum { ROWS = 40, D = 6 };
    float x[2][ROWS * D], y[2][ROWS * D];
    stored_error e = {0};
    double mean = 0, least = 1, kl = 0;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < ROWS * D; i++) {
            x[s][i] = value(i / D, s, 0, i % D);
            y[s][i] = x[s][i] + 0.01f * value(i / D, s, 1, i % D);
        }
    const float *const a[2] = {x[0], x[1]}, *const b[2] = {y[0], y[1]};
    error_cosine(&e, x[0], y[0], ROWS, D);
    error_affinity(&e, a, b, ROWS, D, 20);
    for (int i = 0; i < ROWS; i++) {
        double dot = 0, xx = 0, yy = 0;
        for (int d = 0; d < D; d++) {
            dot += (double)x[0][i * D + d] * (double)y[0][i * D + d];
            xx += pow((double)x[0][i * D + d], 2);
            yy += pow((double)y[0][i * D + d], 2);
        }
        mean += dot / sqrt(xx * yy) / ROWS;
        least = fmin(least, dot / sqrt(xx * yy));
    }
    for (int i = 0; i < 32; i++) {
        double z[2][32], sum[2] = {0};
        for (int m = 0; m < 2; m++)
            for (int j = 0; j < 32; j++) {
                const float *p = (m ? y[0] : x[0]) + i * D, *q = (m ? y[1] : x[1]) + j * D;
                double dot = 0, pp = 0, qq = 0;
                for (int d = 0; d < D; d++) dot += (double)p[d] * (double)q[d], pp += pow((double)p[d], 2), qq += pow((double)q[d], 2);
                z[m][j] = 20 * dot / sqrt(pp * qq);
                sum[m] += exp(z[m][j]);
            }
        for (int j = 0; j < 32; j++) kl += exp(z[0][j]) / sum[0] * (z[0][j] - log(sum[0]) - z[1][j] + log(sum[1])) / 32;
    }
    /* sums of float32, but of what changed */
    double lost = 1 - mean, most = 1 - least;
    CHECK(fabs(1 - e.cosine / ROWS - lost) < 1e-5 * lost && fabs(1 - e.cosine_least - most) < 1e-5 * most, "%g and %g are lost, expected %g and %g",
          1 - e.cosine / ROWS, 1 - e.cosine_least, lost, most);
    assert_true(fabs(e.affinity_kl - kl) < 1e-9 && kl > 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_format), cmocka_unit_test(eight_bits), cmocka_unit_test(bfloat16), cmocka_unit_test(cost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
